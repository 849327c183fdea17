//! Machines that sockets join: two of ours, and one of ours with one of QEMU's.

use super::guest::{Booting, Shell};
use crate::support::engines::JIT;
use crate::support::guests::DEBIAN;
use crate::support::needs::{Need, QEMU, Tests, free_port, program};
use crate::support::small_guest::Scratch;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Reads captures.
const TSHARK: Need = Need { name: "tshark", check: || program("tshark", "tshark") };
/// What is sent over each cable.
const BYTES: usize = 5 << 20;

pub fn tests() -> Tests {
    Tests::needing(&[DEBIAN, JIT])
        .test_needing(&[TSHARK], two_machines_share_cables_of_each_kind)
        .test_needing(&[QEMU], a_machine_of_ours_shares_cables_with_one_of_qemus)
}

/// The address of a machine's card: its machine, and the cable that it is on.
fn mac(machine: usize, cable: usize) -> String {
    format!("52:54:00:00:0{machine}:0{cable}")
}

/// Two machines at the same cables, with addresses on each.
struct Pair {
    one: Shell,
    two: Shell,
}

impl Pair {
    fn new(one: Booting, two: Booting, cables: usize) -> Self {
        let mut pair = Self { one: one.ready(), two: two.ready() };
        for cable in 1..=cables {
            for (number, shell) in [(1, &mut pair.one), (2, &mut pair.two)] {
                let interface = shell.interface(&mac(number, cable));
                shell.must(&format!("ip addr add 10.1.{cable}.{number}/24 dev {interface}"));
                shell.must(&format!("ip link set {interface} up"));
            }
        }
        for shell in [&mut pair.one, &mut pair.two] {
            shell.must(&format!("dd if=/dev/urandom of=/tmp/file bs=64k count={} 2> /dev/null", BYTES >> 16));
        }
        pair
    }
    /// Pings over a cable, and sends a file each way.
    fn talk(&mut self, cable: usize) {
        self.one.ping(&format!("10.1.{cable}.2"));
        self.two.ping(&format!("10.1.{cable}.1"));
        send(&mut self.one, &mut self.two, &format!("10.1.{cable}.2"));
        send(&mut self.two, &mut self.one, &format!("10.1.{cable}.1"));
    }
    fn power_off(self) {
        self.one.power_off();
        self.two.power_off();
    }
}

/// Sends a file with netcat. The receiver sends its sum back when the sender has no more, and half of the connection is closed.
fn send(from: &mut Shell, to: &mut Shell, address: &str) {
    to.must("nc -l -p 5000 -e md5sum &");
    let sum = from.must("md5sum < /tmp/file");
    let received = from.must(&format!("until nc {address} 5000 < /tmp/file; do sleep 1; done"));
    assert!(received.contains(&sum), "{sum} was sent, and there is:\n{received}");
}

/// What tshark says of the frames that a filter lets through: a field of each.
fn tshark(file: &str, filter: &str, field: &str) -> Vec<String> {
    let mut command = Command::new("tshark");
    command.args(["-r", file, "-Y", filter, "-T", "fields", "-e", field]);
    let output = command.output().expect("tshark runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

/// A connection, datagrams and a group, from cards of both models, beside each other.
fn two_machines_share_cables_of_each_kind() {
    let (port, one_udp, two_udp, group) = (free_port(), free_port(), free_port(), free_port());
    let capture = Scratch::new("cable.pcapng");
    let datagrams = |local: u16, remote: u16| {
        format!(
            "dgram,local.type=inet,local.host=127.0.0.1,local.port={local},remote.type=inet,\
             remote.host=127.0.0.1,remote.port={remote}"
        )
    };
    let group = format!("socket,mcast=230.1.2.5:{group},localaddr=127.0.0.1");
    let card = |network: &str, model: &str, machine: usize, cable: usize| {
        format!("{network},model={model},mac={}", mac(machine, cable))
    };
    let cards = [
        card(&format!("socket,listen=127.0.0.1:{port},pcap={}", capture.path()), "e1000", 1, 1),
        card(&datagrams(one_udp, two_udp), "virtio", 1, 2),
        card(&group, "e1000", 1, 3),
    ];
    let one = Booting::start(&["--nic", &cards[0], "--nic", &cards[1], "--nic", &cards[2]]);
    let stream = format!("stream,server=off,addr.type=inet,addr.host=127.0.0.1,addr.port={port},reconnect=1");
    let cards = [
        card(&stream, "virtio", 2, 1),
        card(&datagrams(two_udp, one_udp), "e1000", 2, 2),
        card(&group, "e1000", 2, 3),
    ];
    let two = Booting::start(&["--nic", &cards[0], "--nic", &cards[1], "--nic", &cards[2]]);
    let mut pair = Pair::new(one, two, 3);
    (1..=3).for_each(|cable| pair.talk(cable));
    pair.power_off();
    let capture = capture.path();
    assert_eq!(tshark(&capture, "icmp.type == 8", "icmp.seq").len(), 6, "echo requests, three each way");
    assert_eq!(tshark(&capture, "icmp.type == 0", "icmp.seq").len(), 6, "echo replies");
    for sender in ["10.1.1.1", "10.1.1.2"] {
        let filter = format!("ip.src == {sender} && tcp.dstport == 5000 && !tcp.analysis.retransmission");
        let lengths = tshark(&capture, &filter, "tcp.len");
        let bytes: usize = lengths.iter().filter_map(|length| length.parse::<usize>().ok()).sum();
        assert_eq!(bytes, BYTES, "{sender}");
    }
    // What this machine sends is captured as its card sent it, and cut up afterwards. What it gets has been cut.
    let frames = tshark(&capture, "tcp && ip.src == 10.1.1.2", "frame.len");
    let longest = frames.iter().filter_map(|length| length.parse::<usize>().ok()).max();
    assert_eq!(longest, Some(1514), "frames on a cable are as long as Ethernet's");
}

/// Waits for a socket that a machine listens at.
fn wait_for(path: &Path) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !path.exists() {
        assert!(Instant::now() < deadline, "nobody listens at {}", path.display());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// QEMU's older form, its newer one, and a group.
fn a_machine_of_ours_shares_cables_with_one_of_qemus() {
    let (port, group, socket) = (free_port(), free_port(), Scratch::new("cable"));
    let group = format!("mcast=230.1.2.6:{group},localaddr=127.0.0.1");
    let cards = [
        format!("socket,listen=127.0.0.1:{port},model=e1000,mac={}", mac(1, 1)),
        format!("stream,server=on,addr.type=unix,addr.path={},model=virtio,mac={}", socket.path(), mac(1, 2)),
        format!("socket,{group},model=virtio,mac={}", mac(1, 3)),
    ];
    let ours = Booting::start(&["--nic", &cards[0], "--nic", &cards[1], "--nic", &cards[2]]);
    // Networks are opened in their order.
    wait_for(&socket.0);
    let networks = [
        format!("socket,id=n1,connect=127.0.0.1:{port}"),
        format!("stream,id=n2,server=off,addr.type=unix,addr.path={}", socket.path()),
        format!("socket,id=n3,{group}"),
    ];
    let cards = [1, 2, 3].map(|cable| {
        let model = if cable == 2 { "e1000" } else { "virtio-net-pci" };
        // Their own ROMs have nothing to boot.
        format!("{model},netdev=n{cable},mac={},romfile=", mac(2, cable))
    });
    let options = networks.iter().flat_map(|network| ["-netdev", network]);
    let options = options.chain(cards.iter().flat_map(|card| ["-device", card]));
    let theirs = Booting::start_in_qemu(&options.collect::<Vec<_>>());
    let mut pair = Pair::new(ours, theirs, 3);
    (1..=3).for_each(|cable| pair.talk(cable));
    pair.power_off();
}
