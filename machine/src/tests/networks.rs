//! Networks on a board.

use super::cards::Ticking;
use super::{DeviceConfig, HostServices, Machine, MachineConfig, flat_plan};
use crate::network_line::NetworkLine;
use crate::networks::Networks;
use crate::registry::{DeviceId, Registry};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use trimotor_cpu::model::CpuModel;
use trimotor_devices::network::NetworkCable;
use trimotor_net::{Frame, FrameQueue, NetBackend, Offloads, Waker};

/// Bytes that wait in a network.
const QUEUE_BYTES: usize = 1 << 20;

/// A network that sends back what it gets.
pub(super) struct Loopback {
    queue: FrameQueue,
    accepts: Offloads,
    disconnected: AtomicBool,
    queues: u16,
}
impl Loopback {
    pub(super) fn new(accepts: Offloads) -> Arc<Self> {
        Self::with_queues(accepts, 1)
    }
    pub(super) fn with_queues(accepts: Offloads, queues: u16) -> Arc<Self> {
        let queue = FrameQueue::new(QUEUE_BYTES);
        Arc::new(Self { queue, accepts, disconnected: AtomicBool::new(false), queues })
    }
    /// Lets a frame come that nobody sent.
    pub(super) fn inject(&self, bytes: &[u8]) {
        assert!(self.queue.push(bytes.to_vec().into()).is_ok());
    }
    pub(super) fn is_empty(&self) -> bool {
        self.queue.room() == QUEUE_BYTES
    }
    pub(super) fn set_connected(&self, connected: bool) {
        self.disconnected.store(!connected, SeqCst);
        self.queue.wake();
    }
}
impl NetBackend for Loopback {
    fn send(&self, frame: Frame) {
        // A network that is too busy drops frames.
        _ = self.queue.push(frame);
    }
    fn receive(&self) -> Option<Frame> {
        self.queue.pop()
    }
    fn accepts(&self) -> Offloads {
        self.accepts
    }
    fn set_waker(&self, waker: Waker) {
        self.queue.set_waker(waker);
    }
    fn carrier(&self) -> bool {
        !self.disconnected.load(SeqCst)
    }
    fn queues(&self) -> u16 {
        self.queues
    }
    fn info(&self) -> String {
        "loopback".to_owned()
    }
}

fn ids() -> [DeviceId; 2] {
    let mut registry = Registry::default();
    ["a", "b"].map(|name| registry.add(name, trimotor_devices::post_port::PostPort::new()).id())
}
/// A machine's networks with one of the id `net0`, which counts how many times it wakes the machine.
fn networks() -> (Networks, Arc<Loopback>, Arc<AtomicUsize>) {
    let loopback = Loopback::new(Offloads { checksum: true, ..Offloads::default() });
    let woken = Arc::new(AtomicUsize::new(0));
    let count = woken.clone();
    let given: BTreeMap<_, Arc<dyn NetBackend>> = [("net0".to_owned(), loopback.clone() as _)].into();
    let waker: Waker = Arc::new(move || _ = count.fetch_add(1, SeqCst));
    (Networks::new(given, None, waker), loopback, woken)
}
fn line() -> (Networks, NetworkLine, Arc<Loopback>, Arc<AtomicUsize>) {
    let (mut networks, loopback, woken) = networks();
    let line = networks.connect("net0", ids()[0]).unwrap();
    (networks, line, loopback, woken)
}

#[test]
fn a_network_has_one_card() {
    let (mut networks, _, _) = networks();
    let [first, second] = ids();
    assert_eq!(networks.unused().collect::<Vec<_>>(), ["net0"]);
    let missing = networks.connect("net1", first).err().unwrap();
    assert_eq!(
        missing,
        "netdev=net1: there is no network with this id (--netdev user,id=net1 makes one); without a card: net0"
    );
    assert!(networks.connect("net0", first).is_ok());
    let taken = networks.connect("net0", second).err().unwrap();
    assert_eq!(taken, "netdev=net0: another card has this network; without a card: none");
    assert_eq!(networks.unused().count(), 0);
    assert_eq!(networks.info(), [("net0".to_owned(), "loopback".to_owned())]);
}

#[test]
fn frames_go_to_the_network_and_wait_on_the_cable() {
    let (_networks, line, _, woken) = line();
    assert!(line.accepts().checksum && line.mtu() == 1500);
    line.send(vec![1; 60].into());
    line.send(vec![2; 60].into());
    assert_eq!(woken.load(SeqCst), 1, "the first one wakes the machine");
    let (first, tried) = line.next_frame().unwrap();
    assert_eq!((&first.bytes[..], tried), (&[1; 60][..], false));
    line.put_back(first, true);
    assert_eq!(line.tried().unwrap().bytes, [1; 60]);
    let (first, tried) = line.next_frame().unwrap();
    assert_eq!((&first.bytes[..], tried), (&[1; 60][..], true));
    assert!(line.tried().is_none());
    let (second, tried) = line.next_frame().unwrap();
    assert_eq!((&second.bytes[..], tried), (&[2; 60][..], false));
    assert!(line.next_frame().is_none());
}

#[test]
fn room_wakes_the_machine_where_it_waits_for_it() {
    let (_networks, line, _, woken) = line();
    line.room();
    assert_eq!(woken.load(SeqCst), 0, "nobody waits");
    line.wait_for_room(true);
    line.room();
    line.room();
    assert_eq!(woken.load(SeqCst), 1);
}

#[test]
fn a_carrier_change_is_told_once() {
    let (_networks, line, loopback, woken) = line();
    assert!(line.carrier_change().is_none() && line.carrier());
    loopback.set_connected(false);
    assert_eq!((line.carrier_change(), line.carrier(), woken.load(SeqCst)), (Some(false), true, 1));
    line.set_carrier(false);
    assert!(line.carrier_change().is_none() && !line.carrier());
}

#[test]
fn a_cable_that_is_pulled_carries_nothing() {
    let (_networks, line, loopback, _) = line();
    loopback.inject(&[1; 60]);
    line.put_back(vec![2; 60].into(), false);
    line.pull(true);
    assert_eq!((line.carrier_change(), line.is_pulled()), (Some(false), true));
    line.send(vec![3; 60].into());
    assert!(line.next_frame().is_none() && loopback.is_empty(), "all of it is lost");
    line.pull(false);
    assert!(line.next_frame().is_none());
    line.set_carrier(false);
    assert_eq!(line.carrier_change(), Some(true));
    loopback.inject(&[4; 60]);
    assert_eq!(line.next_frame().unwrap().0.bytes, [4; 60]);
}

#[test]
fn a_frame_that_waits_is_saved() {
    let (networks, line, loopback, _) = line();
    loopback.inject(&[7; 60]);
    let (frame, _) = line.next_frame().unwrap();
    line.put_back(frame, false);
    let saved = networks.save();
    let (other, restored, far, _) = self::line();
    other.restore(saved.clone()).unwrap();
    far.inject(&[8; 60]);
    assert_eq!(restored.next_frame().unwrap().0.bytes, [7; 60]);
    assert_eq!(restored.next_frame().unwrap().0.bytes, [8; 60]);
    let (without, _, _) = self::networks();
    assert!(without.restore(saved).is_err());
}

#[test]
fn a_replay_neither_sends_nor_takes() {
    let (networks, line, loopback, _) = line();
    networks.replay();
    loopback.set_connected(false);
    line.send(vec![1; 60].into());
    loopback.inject(&[2; 60]);
    assert!(line.next_frame().is_none() && line.carrier_change().is_none());
    assert_eq!(loopback.receive().unwrap().bytes, [2; 60]);
}

#[test]
fn a_virtio_card_has_a_pair_of_queues_for_each_of_its_network() {
    let card = |queues: u16, options: &[(&str, &str)]| {
        let mut card = DeviceConfig::new("virtio-net-pci").with("netdev", "n");
        for (name, value) in options {
            card = card.with(name, value);
        }
        let config = MachineConfig { devices: vec![card], ..super::config() };
        let network: Arc<dyn NetBackend> = Loopback::with_queues(Offloads::default(), queues);
        let services = HostServices {
            networks: [("n".to_owned(), network)].into(),
            ..HostServices::new(Arc::new(Ticking::default()))
        };
        let model = Arc::new(CpuModel::parse("max", 1_000_000_000).unwrap());
        let plan = flat_plan(&config, &[0xF4]);
        let mut machine =
            Machine::new(config, model, services, Box::new(plan)).map_err(|error| error.to_string())?;
        let board = machine.board();
        let card = board.devices.find("virtio-net@00:03.0").unwrap();
        let info = board.devices.lock(card).info();
        Ok::<_, String>(info.rsplit(", ").next().unwrap().to_owned())
    };
    for (queues, options, pairs) in [
        (1, &[][..], "1 of 1"),
        (4, &[], "1 of 4"),
        (4, &[("mq", "on")], "1 of 4"),
        (4, &[("mq", "off")], "1 of 1"),
        (4, &[("queues", "2")], "1 of 2"),
        (1, &[("queues", "3"), ("mq", "on")], "1 of 3"),
        (40, &[], "1 of 16"),
    ] {
        assert_eq!(card(queues, options), Ok(format!("{pairs} pairs of queues")), "{queues} {options:?}");
    }
    let refused = card(1, &[("queues", "2"), ("mq", "off")]).unwrap_err();
    assert!(refused.contains("mq=off is one pair of queues"), "{refused}");
}
