//! Pings through the user-mode network.

use crate::client;
use crate::station::{NAMESPACES, PING, Station};
use std::net::{IpAddr, UdpSocket};
use std::process::Command;
use trimotor_net::UserNetConfig;
use trimotor_test_needs::{self as needs, Need, Tests};

pub fn tests() -> Tests {
    Tests::needing(&[NAMESPACES, PING])
        .test(the_networks_own_stations_answer)
        .test(long_pings_come_in_fragments)
        .test(pings_reach_beyond)
        .test_needing(&[SETPRIV], pings_need_no_privilege_where_the_host_allows_them)
        .test(the_router_tells_of_packets_that_were_under_way_too_long)
        .test(a_restricted_guest_is_told)
}

fn the_networks_own_stations_answer() {
    let station = Station::new(UserNetConfig::default());
    for address in ["10.0.2.2", "10.0.2.3"] {
        station.must(&format!("ping -n -c 3 -i 0.01 -W 5 {address}"));
    }
    station.must(&format!("ip -6 addr add fec0::15/64 dev {} nodad", station.interface));
    for address in ["fec0::2", "fec0::3", &format!("fe80::2%{}", station.interface)] {
        station.must(&format!("ping -n -c 3 -i 0.01 -W 5 {address}"));
    }
}

fn long_pings_come_in_fragments() {
    let station = Station::new(UserNetConfig::default());
    station.must("ping -n -c 2 -i 0.01 -W 5 -s 9000 10.0.2.2");
    station.must(&format!("ip -6 addr add fec0::15/64 dev {} nodad", station.interface));
    station.must("ping -n -c 2 -i 0.01 -W 5 -s 9000 fec0::2");
}

/// An address of the host that is not its loopback, if it has one.
fn address_of_host() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().unwrap().ip())
}

fn pings_reach_beyond() {
    let Some(host) = address_of_host() else { return };
    let station = Station::new(UserNetConfig::default());
    let said = station.must(&format!("ping -n -c 3 -i 0.01 -W 5 {host}"));
    assert!(said.contains(" 0% packet loss"), "{said}");
}

/// Takes privileges away.
const SETPRIV: Need = Need { name: "setpriv", check: || needs::program("setpriv", "util-linux") };

fn pings_need_no_privilege_where_the_host_allows_them() {
    // The network runs in a namespace, where the sysctl is our own, without the right to raw sockets.
    let ping = |groups: &str| {
        let script = format!(
            "ip link set lo up; ip addr add 198.51.100.1/32 dev lo; \
             echo '{groups}' > /proc/sys/net/ipv4/ping_group_range; \
             exec setpriv --bounding-set=-net_raw --inh-caps=-net_raw -- \"$0\""
        );
        let mut command = Command::new("unshare");
        command.args(["-n", "sh", "-c", &script]).arg(std::env::current_exe().unwrap());
        let output = command.env(client::VARIABLE, "ping 198.51.100.1:0").output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert_eq!(ping("0 2147483647"), "0 0 [7, 7, 7, 7] from 198.51.100.1\n");
    // Destination unreachable, communication administratively prohibited.
    assert_eq!(ping("1 0"), "3 13 from 10.0.2.2\n");
}

fn the_router_tells_of_packets_that_were_under_way_too_long() {
    let station = Station::new(UserNetConfig::default());
    let output = station.run("ping -n -c 1 -W 5 -t 1 192.0.2.9");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("From 10.0.2.2") && said.contains("Time to live exceeded"), "{said}");
}

fn a_restricted_guest_is_told() {
    let station = Station::new(UserNetConfig { restrict: true, ..UserNetConfig::default() });
    station.must("ping -n -c 1 -W 5 10.0.2.2");
    let output = station.run("ping -n -c 1 -W 5 192.0.2.9");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("From 10.0.2.2") && said.contains("Packet filtered"), "{said}");
}
