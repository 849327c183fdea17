//! A machine on a host with a name server and a network beyond, which it reaches by a router of ours, by passt, and by a bridge.

use super::files::{self, bytes, md5};
use super::guest::{Booting, Shell};
use super::hosts::{BEYOND, BEYOND6, NAME, World};
use crate::support::engines::JIT;
use crate::support::guests::DEBIAN;
use crate::support::needs::{NAMESPACES, Need, Tests, program};
use std::io::{Read, Write};
use std::net::TcpStream;

const DNSMASQ: Need = Need { name: "dnsmasq", check: || program("dnsmasq", "dnsmasq-base") };
const PASST: Need = Need { name: "passt", check: || program("passt", "passt") };

const USER: &str = "52:54:00:00:00:01";
const PASST_CARD: &str = "52:54:00:00:00:02";
const TAP: &str = "52:54:00:00:00:03";
const BYTES: usize = 10 << 20;
/// A port of the guest that passt forwards.
const FORWARDED: u16 = 5000;

pub fn tests() -> Tests {
    Tests::needing(&[DEBIAN, JIT, NAMESPACES, DNSMASQ, PASST])
        .test(a_router_of_ours_passt_and_a_bridge_lead_beyond)
}

/// One machine with three cards, of which one is up at a time.
fn a_router_of_ours_passt_and_a_bridge_lead_beyond() {
    let world = World::new();
    let content = bytes(BYTES);
    world.serve(vec![("/big".to_owned(), content.clone())]);
    world.host.must(
        "ip link add br0 type bridge; ip addr add 192.168.50.1/24 dev br0; ip link set br0 up
        ip tuntap add dev tap0 mode tap; ip link set tap0 master br0; ip link set tap0 up",
    );
    let cards = [
        format!("user,model=e1000,mac={USER}"),
        format!("passt,arg=-t,arg={FORWARDED},model=virtio,mac={PASST_CARD}"),
        format!("tap,ifname=tap0,model=virtio,mac={TAP}"),
    ];
    let options = ["--nic", &cards[0], "--nic", &cards[1], "--nic", &cards[2]];
    let mut shell = Booting::start_on(&world.host, &options).ready();
    let sum = md5(&content);
    names_and_both_versions_of_ip(&mut shell, &sum);
    passt_gives_the_host_s_address(&mut shell, &world, &content);
    a_bridge_is_isolated_and_routed(&mut shell, &world, &content);
    shell.power_off();
}

fn down(shell: &mut Shell, interface: &str) {
    shell.must(&format!("ip link set {interface} down; ip addr flush dev {interface}"));
}
/// Loads what is beyond, from this address or name.
#[track_caller]
fn load(shell: &mut Shell, from: &str, sum: &str) {
    let loaded = shell.run(&format!("wget -q -O /tmp/big http://{from}/big; md5sum < /tmp/big"));
    assert!(loaded.contains(sum), "{from}: {loaded}");
}
/// Sends what was loaded back.
#[track_caller]
fn send_back(shell: &mut Shell, world: &World, content: &[u8]) {
    let (listener, address) = world.listen();
    let received = files::sink_at(listener);
    shell.must(&format!("nc {} {} < /tmp/big", address.ip(), address.port()));
    assert!(received.recv().expect("the bytes come") == content, "other bytes came");
}

fn names_and_both_versions_of_ip(shell: &mut Shell, sum: &str) {
    let interface = shell.interface(USER);
    let told = shell.run(&format!("up {interface}"));
    assert!(told.contains("10.0.2.15"), "{told}");
    // By the host's own name server, and by this network's.
    let found = shell.must(&format!("nslookup {NAME}; nslookup host.internal"));
    for address in [BEYOND, BEYOND6, "10.0.2.2"] {
        assert!(found.contains(address), "{found}");
    }
    shell.ping(BEYOND);
    load(shell, NAME, sum);
    // An address that the guest makes of the router's prefix.
    shell.must(&format!(
        "until ip -6 addr show dev {interface} | grep 'fec0::' | grep -v tentative; do sleep 1; done"
    ));
    let route = shell.must("ip -6 route");
    assert!(route.contains("default via fe80::2"), "{route}");
    for address in ["fec0::2", BEYOND6] {
        let said = shell.run(&format!("ping6 -c 3 -W 10 {address}"));
        assert!(said.contains("3 packets received"), "{said}");
    }
    load(shell, &format!("[{BEYOND6}]"), sum);
    down(shell, &interface);
}

/// passt has the guest take the host's address, and its loopback is at the address of the host's router.
fn passt_gives_the_host_s_address(shell: &mut Shell, world: &World, content: &[u8]) {
    let interface = shell.interface(PASST_CARD);
    let told = shell.run(&format!("up {interface}"));
    assert!(told.contains("198.51.100.10"), "{told}");
    let sum = md5(content);
    load(shell, BEYOND, &sum);
    load(shell, NAME, &sum);
    send_back(shell, world, content);
    shell.must(&format!(
        "nc -l -p {FORWARDED} -e cat & until netstat -ltn | grep -q :{FORWARDED}; do sleep 0.1; done"
    ));
    let mut stream = world.host.enter(|| TcpStream::connect(("127.0.0.1", FORWARDED)).unwrap());
    stream.write_all(b"hello\n").unwrap();
    let mut answer = [0; 6];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"hello\n");
    down(shell, &interface);
}

/// A host that forwards nothing is all that machines on its bridge reach.
fn a_bridge_is_isolated_and_routed(shell: &mut Shell, world: &World, content: &[u8]) {
    let interface = shell.interface(TAP);
    shell.must(&format!(
        "ip addr add 192.168.50.2/24 dev {interface} && ip link set {interface} up && \
         ip route add default via 192.168.50.1"
    ));
    shell.ping("192.168.50.1");
    let said = shell.run(&format!("ping -c 1 -W 2 {BEYOND}"));
    assert!(said.contains("0 packets received"), "{said}");
    world.host.must("echo 1 > /proc/sys/net/ipv4/ip_forward");
    shell.ping(BEYOND);
    load(shell, BEYOND, &md5(content));
    send_back(shell, world, content);
    world.host.must("echo 0 > /proc/sys/net/ipv4/ip_forward");
    let said = shell.run(&format!("ping -c 1 -W 2 {BEYOND}"));
    assert!(said.contains("0 packets received"), "{said}");
    let complaints = shell.run(
        "dmesg | grep -iE 'virtio.*(error|fail|broken)|e1000.*(hang|error|fail)|NETDEV WATCHDOG|bad gso'",
    );
    assert_eq!(complaints, "");
}
