//! Cables between machines: sockets of each kind, with Linux at both ends, and QEMU and passt at the other one.

use crate::services::Folder;
use crate::station::{NAMESPACES, PING, must, namespace};
use std::io::Read;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use trimotor_net::socket::config::{Place, SocketConfig};
use trimotor_net::socket::datagram::DatagramNet;
use trimotor_net::socket::passt::{PasstConfig, PasstNet};
use trimotor_net::socket::stream::StreamNet;
use trimotor_net::{Hub, NetBackend, Tap, TapConfig};
use trimotor_test_needs::{self as needs, Need, QEMU, Tests};

const PASST: Need = Need { name: "passt", check: || needs::program("passt", "passt") };

pub fn tests() -> Tests {
    Tests::new()
        .test_needing(&[NAMESPACES, PING], a_connection_joins_two_machines)
        .test_needing(&[NAMESPACES, PING], a_unix_socket_joins_two_machines)
        .test_needing(&[NAMESPACES, PING], datagrams_join_two_machines)
        .test_needing(&[NAMESPACES, PING], a_group_joins_three_machines)
        .test(nobody_hears_itself_in_a_group)
        .test(the_carrier_follows_the_connection)
        .test(a_frame_that_is_too_long_ends_the_connection)
        .test(what_cannot_be_connected_is_named)
        .test_needing(&[NAMESPACES, QEMU], qemus_network_serves_our_machine)
        .test_needing(&[NAMESPACES, PASST, PING], passt_serves_our_machine)
}

/// A machine: a network namespace with an interface on a cable.
struct Machine {
    namespace: Child,
    interface: String,
    _hub: Hub,
}

impl Machine {
    fn new(cable: Arc<dyn NetBackend>) -> Self {
        let namespace = namespace();
        let tap = TapConfig { interface: "trimotor%d".into(), ..TapConfig::default() };
        let tap = Arc::new(Tap::open(&tap).unwrap_or_else(|error| panic!("{error}")));
        let interface = tap.name().to_owned();
        let hub = Hub::new();
        hub.join(cable);
        hub.join(tap);
        must("ip", &["link", "set", &interface, "netns", &namespace.id().to_string()]);
        let machine = Self { namespace, interface, _hub: hub };
        machine.must(&format!("ip link set lo up; ip link set {} up", machine.interface));
        machine
    }
    fn with_address(cable: Arc<dyn NetBackend>, address: &str) -> Self {
        let machine = Self::new(cable);
        machine.must(&format!("ip addr add {address}/24 dev {}", machine.interface));
        machine
    }
    fn must(&self, command: &str) -> String {
        let id = self.namespace.id().to_string();
        let output = Command::new("nsenter").args(["-t", &id, "-n", "sh", "-c", command]).output().unwrap();
        assert!(output.status.success(), "{command}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        _ = self.namespace.kill();
        _ = self.namespace.wait();
    }
}

fn talk(a: Arc<dyn NetBackend>, b: Arc<dyn NetBackend>) {
    let a = Machine::with_address(a, "192.168.9.1");
    let _b = Machine::with_address(b, "192.168.9.2");
    a.must("ping -n -c 3 -i 0.01 -W 10 192.168.9.2");
    a.must("ping -n -c 2 -i 0.01 -W 10 -s 5000 192.168.9.2");
}

fn free_place() -> Place {
    Place::Internet((Ipv4Addr::LOCALHOST, needs::free_port()).into())
}

fn a_connection_joins_two_machines() {
    let place = free_place();
    let a = StreamNet::listen(&place).unwrap();
    let b = StreamNet::connect(&place, None).unwrap();
    talk(Arc::new(a), Arc::new(b));
}

fn a_unix_socket_joins_two_machines() {
    let folder = Folder::new("cable-unix");
    let place = Place::Unix(folder.0.join("socket"));
    // What another one left behind is in nobody's way.
    drop(UnixListener::bind(folder.0.join("socket")).unwrap());
    let a = StreamNet::listen(&place).unwrap();
    let error = StreamNet::listen(&place).err().unwrap().to_string();
    assert!(error.contains("cannot listen"), "{error}");
    let b = StreamNet::connect(&place, Some(Duration::from_millis(100))).unwrap();
    talk(Arc::new(a), Arc::new(b));
}

fn datagrams_join_two_machines() {
    let (one, two) = (free_place(), free_place());
    talk(Arc::new(DatagramNet::pair(&one, &two).unwrap()), Arc::new(DatagramNet::pair(&two, &one).unwrap()));
    let folder = Folder::new("cable-datagrams");
    let [one, two] = ["one", "two"].map(|name| Place::Unix(folder.0.join(name)));
    talk(Arc::new(DatagramNet::pair(&one, &two).unwrap()), Arc::new(DatagramNet::pair(&two, &one).unwrap()));
}

/// A cable by a group. Each test has a group of its own.
fn group(group: &str) -> DatagramNet {
    let options = [("mcast", group), ("localaddr", "127.0.0.1")];
    let SocketConfig::Multicast { group, interface } = SocketConfig::socket(options).unwrap() else {
        panic!()
    };
    DatagramNet::multicast(group, interface).unwrap_or_else(|error| panic!("{error}"))
}

fn a_group_joins_three_machines() {
    let machines: Vec<Machine> = (1..=3)
        .map(|n| Machine::with_address(Arc::new(group("230.1.2.3:41234")), &format!("192.168.8.{n}")))
        .collect();
    machines[0].must("ping -n -c 2 -i 0.01 -W 10 192.168.8.2; ping -n -c 2 -i 0.01 -W 10 192.168.8.3");
    machines[2].must("ping -n -c 2 -i 0.01 -W 10 192.168.8.2");
}

fn within(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn nobody_hears_itself_in_a_group() {
    let (a, b) = (group("230.1.2.4:41235"), group("230.1.2.4:41235"));
    a.send(vec![1; 60].into());
    let mut heard = None;
    within("nothing is heard", || {
        heard = b.receive().filter(|frame| frame.bytes == [1; 60]);
        heard.is_some()
    });
    assert!(a.receive().is_none());
}

fn the_carrier_follows_the_connection() {
    let Place::Internet(address) = free_place() else { panic!() };
    let place = Place::Internet(address);
    let cable = StreamNet::connect(&place, Some(Duration::from_millis(50))).unwrap();
    assert!(!cable.carrier());
    let listener = TcpListener::bind(address).unwrap();
    let (mut other, _) = listener.accept().unwrap();
    within("no carrier", || cable.carrier());
    cable.send(vec![5; 60].into());
    let mut bytes = [0; 64];
    other.read_exact(&mut bytes).unwrap();
    assert_eq!((&bytes[..4], &bytes[4..]), (&[0, 0, 0, 60][..], &[5; 60][..]));
    drop(other);
    within("the carrier stays", || !cable.carrier());
    let _again = listener.accept().unwrap();
    within("no carrier", || cable.carrier());
}

fn a_frame_that_is_too_long_ends_the_connection() {
    let place = free_place();
    let cable = StreamNet::listen(&place).unwrap();
    let Place::Internet(address) = place else { panic!() };
    let mut other = TcpStream::connect(address).unwrap();
    std::io::Write::write_all(&mut other, &[0xFF; 100]).unwrap();
    let ended = other.read(&mut [0]);
    assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
    within("the carrier stays", || !cable.carrier());
    assert!(cable.receive().is_none());
}

fn what_cannot_be_connected_is_named() {
    let error = StreamNet::connect(&Place::Unix("/nothing/here".into()), None).err().unwrap().to_string();
    assert!(error.contains("no connection to /nothing/here") && error.contains("reconnect"), "{error}");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = Place::Internet(taken.local_addr().unwrap());
    let error = StreamNet::listen(&place).err().unwrap().to_string();
    assert!(error.contains("cannot listen at 127.0.0.1"), "{error}");
}

/// QEMU joins its user-mode network and a socket by a hub: our machine is at its other end.
fn qemus_network_serves_our_machine() {
    let place = free_place();
    let cable = Arc::new(StreamNet::listen(&place).unwrap());
    let mut qemu = Command::new("qemu-system-x86_64")
        .args(["-M", "none", "-display", "none", "-nodefaults", "-monitor", "none"])
        .args(["-netdev", "user,id=u", "-netdev", "hubport,hubid=1,id=h1,netdev=u"])
        .args([
            "-netdev",
            &format!("socket,id=s,connect={place}"),
            "-netdev",
            "hubport,hubid=1,id=h2,netdev=s",
        ])
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    within("QEMU does not connect", || cable.carrier());
    let machine = Machine::with_address(cable, "10.0.2.15");
    machine.must("ping -n -c 3 -i 0.01 -W 10 10.0.2.2");
    qemu.kill().unwrap();
    qemu.wait().unwrap();
}

fn passt_serves_our_machine() {
    let passt = PasstNet::start(&PasstConfig::default()).unwrap_or_else(|error| panic!("{error}"));
    let machine = Machine::new(Arc::new(passt));
    // It answers for any address as the gateway that the host has, or makes one up.
    let listed = machine.must(&format!(
        "ip addr add 169.254.2.1/16 dev {0}; arping -c 1 -w 10 -I {0} 169.254.2.2 || true",
        machine.interface
    ));
    assert!(listed.contains("Received 1 response") || listed.contains("reply from"), "{listed}");
}
