//! All virtio devices under one driver: set up, looked at, and whether they work.

use super::super::balloon::{Balloon, BalloonConfig};
use super::super::blk::Blk;
use super::super::console::{Console, PortConfig};
use super::super::net::Net;
use super::super::registers::{common, feature};
use super::super::rng::Rng;
use super::blk::{SPLIT, bench_of};
use super::*;
use crate::network::{MacAddress, NetworkCard, TestCable};
use crate::serial::TestCable as SerialCable;
use trimotor_net::{Frame, Offloads};
use trimotor_storage::MemoryDisk;

/// Where buffers are: what the driver of a test says, and what [`Probe::works`] uses.
pub(super) const DATA: u64 = 0x20_0000;
pub(super) const OWN: u64 = 0x28_0000;
/// Buffers of each queue.
pub(super) const SIZE: u16 = 16;
pub(super) const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

/// A device that can be tried.
pub(super) trait Probe: VirtioDevice + Sized {
    /// What is at its other ends.
    type Ends;
    /// A card with it.
    fn bench() -> (Bench<Self>, Self::Ends);
    /// Has the device look at those of its queues that it does not look at when it is told of them.
    fn poke(driver: &mut Driver<Self>);
    /// Whether it does what it is for, right after its driver began.
    fn works(driver: &mut Driver<Self>) -> bool;
}

/// A driver with all queues of a device.
pub(super) struct Driver<D: Probe> {
    pub(super) bench: Bench<D>,
    pub(super) ends: D::Ends,
    pub(super) rings: Vec<Ring>,
}

impl<D: Probe> Driver<D> {
    /// A device in use.
    pub(super) fn new() -> Self {
        let mut driver = Self::without_driver();
        driver.begin();
        driver
    }
    pub(super) fn without_driver() -> Self {
        let (bench, ends) = D::bench();
        Self { bench, ends, rings: Vec::new() }
    }
    /// Resets the device and begins to use it, with all features but packed rings.
    pub(super) fn begin(&mut self) {
        let features = self.bench.offered() & !feature::RING_PACKED;
        assert!(self.bench.choose(features));
        let queues = self.bench.get(common::NUM_QUEUES, Width::Word) as u16;
        self.rings = (0..queues).map(|queue| self.bench.queue(queue, SIZE, SPLIT)).collect();
        self.bench.ready();
    }
    /// Offers a chain of these descriptors, and tells of it.
    pub(super) fn offer(&mut self, queue: usize, chain: &[(u64, u32, u16)]) {
        self.rings[queue].offer_direct(&self.bench.memory, chain);
        self.bench.notify(queue as u64);
    }
    /// Offers bytes, and tells of them.
    pub(super) fn say(&mut self, queue: usize, bytes: &[u8]) {
        self.bench.memory.write(PhysAddr(OWN), bytes);
        self.offer(queue, &[(OWN, bytes.len() as u32, 0)]);
    }
    pub(super) fn used(&mut self, queue: usize) -> Option<(u16, u32)> {
        self.rings[queue].take_used(&self.bench.memory)
    }
    /// Resets the device: then it works.
    pub(super) fn assert_works_after_reset(&mut self, what: &str) {
        self.begin();
        self.bench.finish_all();
        assert!(D::works(self), "{what}: it works after a reset");
        assert!(!self.bench.needs_reset(), "{what}");
    }
}

/// Calls a function for each device.
macro_rules! for_each_device {
    ($check:ident) => {
        $check::<super::super::net::Net>();
        $check::<super::super::blk::Blk>();
        $check::<super::super::console::Console>();
        $check::<super::super::rng::Rng>();
        $check::<super::super::balloon::Balloon>();
    };
}
pub(super) use for_each_device;

pub(super) fn frame(bytes: usize) -> Frame {
    let mut frame = MAC.to_vec();
    frame.resize(bytes, 7);
    frame.into()
}

impl Probe for Net {
    type Ends = TestCable;
    fn bench() -> (Bench<Self>, TestCable) {
        let cable = TestCable::new(Offloads { checksum: true, tcp4: true, tcp6: true, ecn: true, udp: true });
        let end = Arc::new(cable.clone());
        (Bench::new(|_| Net::new(end, MacAddress(MAC), 1, 64)), cable)
    }
    fn poke(driver: &mut Driver<Self>) {
        _ = driver.bench.card.has_room() && driver.bench.card.receive(&frame(60), NOW);
    }
    fn works(driver: &mut Driver<Self>) -> bool {
        driver.ends.take_sent();
        driver.say(1, &[0; 12 + 60]);
        let sends = driver.ends.take_sent() == [Frame::from(vec![0; 60])] && driver.used(1).is_some();
        driver.offer(0, &[(OWN, 1500, ring::WRITE)]);
        let receives = driver.bench.card.has_room() && driver.bench.card.receive(&frame(60), NOW);
        // Promiscuous.
        driver.bench.memory.write(PhysAddr(OWN + 0x1000), &[0, 0, 1, 99]);
        driver.offer(2, &[(OWN + 0x1000, 3, 0), (OWN + 0x1003, 1, ring::WRITE)]);
        let obeys = driver.bench.bytes(OWN + 0x1003, 1) == [0];
        sends && receives && driver.used(0) == Some((0, 72)) && obeys
    }
}

impl Probe for Blk {
    type Ends = ();
    fn bench() -> (Bench<Self>, ()) {
        (bench_of(Arc::new(MemoryDisk::new(vec![5; 4096])), 2, |_| {}).0, ())
    }
    fn poke(_driver: &mut Driver<Self>) {}
    fn works(driver: &mut Driver<Self>) -> bool {
        driver.bench.memory.write(PhysAddr(OWN), &[0; 1024]);
        driver.offer(1, &[(OWN, 16, 0), (OWN + 16, 513, ring::WRITE)]);
        driver.bench.finish_all();
        driver.used(1) == Some((0, 513)) && driver.bench.bytes(OWN + 16, 512) == [5; 512]
    }
}

impl Probe for Console {
    type Ends = [SerialCable; 2];
    fn bench() -> (Bench<Self>, [SerialCable; 2]) {
        let ends = [SerialCable::new(1 << 20), SerialCable::new(1 << 20)];
        let port = |(number, cable): (u32, &SerialCable)| PortConfig {
            number,
            console: number == 0,
            name: Some("port".to_owned()),
            cable: Box::new(cable.clone()),
        };
        let ports = (0..).zip(&ends).map(port).collect();
        (Bench::new(|_| Console::new(ports)), ends)
    }
    fn poke(driver: &mut Driver<Self>) {
        driver.ends.iter().for_each(|end| end.type_in(b"hello"));
        for message in [[0, 0, 0, 0, 0, 0, 1, 0], [0, 0, 0, 0, 6, 0, 1, 0], [1, 0, 0, 0, 6, 0, 1, 0]] {
            driver.say(3, &message);
        }
        driver.bench.card.with_device(NOW, Console::poll);
    }
    fn works(driver: &mut Driver<Self>) -> bool {
        // What is left of before.
        let mut rest = [0; 4096];
        for end in &mut driver.ends {
            while crate::serial::SerialBackend::read(end, &mut rest) > 0 {}
            end.take_output();
            end.set_room(1 << 20);
        }
        driver.say(3, &[1, 0, 0, 0, 6, 0, 1, 0]);
        driver.say(5, b"to the host");
        driver.ends[1].type_in(b"to the guest");
        driver.offer(4, &[(OWN, 100, ring::WRITE)]);
        let receives = driver.used(4) == Some((0, 12)) && driver.bench.bytes(OWN, 12) == b"to the guest";
        receives && driver.ends[1].take_output() == b"to the host" && driver.used(5).is_some()
    }
}

impl Probe for Rng {
    type Ends = ();
    fn bench() -> (Bench<Self>, ()) {
        (Bench::new(|outside| Rng::new(outside, Arc::new(|_, into: &mut [u8]| into.fill(9)), None)), ())
    }
    fn poke(_driver: &mut Driver<Self>) {}
    fn works(driver: &mut Driver<Self>) -> bool {
        driver.offer(0, &[(OWN, 16, ring::WRITE)]);
        driver.bench.finish_all();
        driver.used(0) == Some((0, 16)) && driver.bench.bytes(OWN, 16) == [9; 16]
    }
}

impl Probe for Balloon {
    type Ends = ();
    fn bench() -> (Bench<Self>, ()) {
        let config = BalloonConfig {
            deflate_on_oom: true,
            free_page_reporting: true,
            free_page_hint: true,
            stats_every_ns: 0,
        };
        (Bench::new(|_| Balloon::new(config, 4 << 20)), ())
    }
    fn poke(driver: &mut Driver<Self>) {
        driver.bench.card.with_device(NOW, |balloon, io| {
            balloon.leave(3 << 20, io);
            balloon.ask_for_free_pages(io);
        });
    }
    fn works(driver: &mut Driver<Self>) -> bool {
        let page = 0x3F_0000;
        driver.bench.memory.write(PhysAddr(page), &[7; 4096]);
        let before = driver.bench.card.device().status().given_back;
        driver.say(0, &((page >> 12) as u32).to_le_bytes());
        let given = driver.bench.card.device().status().given_back - before;
        driver.used(0).is_some() && given == 1 && driver.bench.bytes(page, 4096) == [0; 4096]
    }
}
