//! UDP through the user-mode network.

use crate::station::{NAMESPACES, NETCAT, Station};
use std::net::UdpSocket;
use trimotor_net::UserNetConfig;
use trimotor_test_needs::Tests;

pub fn tests() -> Tests {
    Tests::needing(&[NAMESPACES])
        .test(datagrams_of_any_length_come_back)
        .test(nobody_at_a_port_is_told)
        .test_needing(&[NETCAT], a_port_of_the_guest_stays_one_port)
}

/// A server that sends all back: its port.
pub fn echo(at: &str) -> u16 {
    let socket = UdpSocket::bind(at).unwrap();
    let port = socket.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut bytes = vec![0; 65_535];
        loop {
            let (n, peer) = socket.recv_from(&mut bytes).unwrap();
            socket.send_to(&bytes[..n], peer).unwrap();
        }
    });
    port
}

fn datagrams_of_any_length_come_back() {
    let (ipv4, ipv6) = (echo("127.0.0.1:0"), echo("[::1]:0"));
    let station = Station::new(UserNetConfig::default());
    station.must(&format!("ip -6 addr add fec0::15/64 dev {} nodad", station.interface));
    // Longer ones than a packet come and go in fragments.
    assert_eq!(station.client(&format!("udp 10.0.2.2:{ipv4} 60000")), "60000");
    assert_eq!(station.client(&format!("udp [fec0::2]:{ipv6} 60000")), "60000");
}

fn nobody_at_a_port_is_told() {
    let (_kept, nobody) = super::services::nobody();
    let nobody = nobody.port();
    let station = Station::new(UserNetConfig::default());
    assert_eq!(station.client(&format!("udp 10.0.2.2:{nobody} 10")), "ConnectionRefused");
    assert_eq!(station.client("udp 10.0.2.3:54 10"), "ConnectionRefused");
}

fn a_port_of_the_guest_stays_one_port() {
    let servers: Vec<UdpSocket> = (0..3).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
    let ports: Vec<String> = servers.iter().map(|s| s.local_addr().unwrap().port().to_string()).collect();
    let station = Station::new(UserNetConfig::default());
    let command = ports
        .iter()
        .map(|port| format!("printf x | nc -u -p 5555 -q 0 -w 1 10.0.2.2 {port}"))
        .collect::<Vec<_>>()
        .join("; ");
    station.run(&command);
    let seen: Vec<u16> =
        servers.iter().map(|server| server.recv_from(&mut [0; 9]).unwrap().1.port()).collect();
    assert!(seen.iter().all(|port| *port == seen[0]), "{seen:?}");
}
