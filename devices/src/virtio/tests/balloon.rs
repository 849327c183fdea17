//! The balloon.

use super::super::balloon::{Balloon, BalloonConfig, feature};
use super::super::registers::modern;
use super::*;
use trimotor_bus::{SaveState, Timed};

const SPLIT: Format = Format { packed: false, indirect: false };
const NUMBERS: u64 = 0x20_0000;

struct Driver {
    bench: Bench<Balloon>,
    rings: Vec<Ring>,
}
impl Driver {
    fn new(config: BalloonConfig) -> Self {
        let mut bench = Bench::new(|_| Balloon::new(config, 4 << 20));
        let features = bench.offered() & !registers::feature::RING_PACKED;
        assert!(bench.choose(features));
        let queues = bench.get(registers::common::NUM_QUEUES, Width::Word) as u16;
        let rings = (0..queues).map(|queue| bench.queue(queue, 16, SPLIT)).collect();
        bench.ready();
        Self { bench, rings }
    }
    fn offer(&mut self, queue: usize, pieces: &[ring::Piece]) -> bool {
        self.rings[queue].offer(&self.bench.memory, pieces);
        self.bench.notify(queue as u64);
        self.rings[queue].take_used(&self.bench.memory).is_some()
    }
    fn pages(&mut self, queue: usize, numbers: &[u32]) -> bool {
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        self.bench.memory.write(PhysAddr(NUMBERS), &bytes);
        self.offer(queue, &[(NUMBERS, bytes.len() as u32, false)])
    }
    fn given_back(&self) -> u64 {
        self.bench.card.device().status().given_back
    }
    fn ask(&mut self) -> bool {
        self.bench.card.with_device(NOW, Balloon::ask_for_free_pages)
    }
}
const ALL: BalloonConfig = BalloonConfig {
    deflate_on_oom: true,
    free_page_reporting: true,
    free_page_hint: true,
    stats_every_ns: 0,
};

#[test]
fn pages_in_the_balloon_are_zero_afterwards() {
    let mut driver = Driver::new(BalloonConfig::default());
    driver.bench.memory.write(PhysAddr(0x30_0000), &[7; 0x8000]);
    driver.bench.card.with_device(NOW, |balloon, io| balloon.leave(3 << 20, io));
    assert_eq!(driver.bench.get(modern::DEVICE, Width::Dword), 256);
    assert!(driver.bench.pin(), "a change of the configuration");
    // Up, down, twice, past the end of memory, and where page numbers end.
    assert!(driver.pages(0, &[0x300, 0x301, 0x305, 0x304, 0x305, 0xF_FFFF, u32::MAX]));
    assert_eq!(driver.given_back(), 5);
    let firsts: Vec<u8> = (0..8).map(|page| driver.bench.bytes(0x30_0000 + page * 0x1000, 1)[0]).collect();
    assert_eq!(firsts, [0, 0, 7, 7, 0, 0, 7, 7]);
    assert!(driver.pages(1, &[0x300]));
    driver.bench.set(modern::DEVICE + 4, Width::Dword, 4);
    assert_eq!(driver.bench.card.device().status().actual, 4);
    let saved = driver.bench.card.save();
    driver.bench.card.restore(saved).unwrap();
    assert_eq!(driver.bench.get(modern::DEVICE + 4, Width::Dword), 4);
}

#[test]
fn figures_are_asked_for_and_told() {
    let mut driver = Driver::new(BalloonConfig { stats_every_ns: 1000, ..BalloonConfig::default() });
    let figure = |tag: u16, value: u64| [tag.to_le_bytes().as_slice(), &value.to_le_bytes()].concat();
    let figures = [figure(4, 1 << 20), figure(99, 1), figure(5, 4 << 20), vec![1, 2]].concat();
    driver.bench.memory.write(PhysAddr(NUMBERS), &figures);
    assert!(!driver.offer(2, &[(NUMBERS, figures.len() as u32, false)]), "the buffer stays");
    let stats = driver.bench.card.device().status().stats;
    assert_eq!(stats, [("free-memory", 1 << 20), ("total-memory", 4 << 20)]);
    let at = driver.bench.card.next_event().unwrap();
    driver.bench.card.advance(at);
    assert!(driver.rings[2].take_used(&driver.bench.memory).is_some(), "which asks for new ones");
}

#[test]
fn free_pages_go_back_when_they_are_told() {
    let mut driver = Driver::new(ALL);
    driver.bench.memory.write(PhysAddr(0x30_0000), &[7; 0x8000]);
    // Whole pages only.
    assert!(driver.offer(4, &[(0x30_0800, 0x2800, true), (0x30_4000, 0x1000, true)]));
    assert_eq!(driver.given_back(), 3);
    // A pattern that free pages keep.
    driver.bench.set(modern::DEVICE + 12, Width::Dword, 0xAAAA_AAAA);
    assert!(driver.offer(4, &[(0x30_6000, 0x1000, true)]));
    assert_eq!(driver.given_back(), 3);
    driver.bench.set(modern::DEVICE + 12, Width::Dword, 0);

    // Hints count after their question's number only.
    assert!(driver.offer(3, &[(0x30_6000, 0x1000, true)]));
    assert!(driver.ask());
    let id = driver.bench.get(modern::DEVICE + 8, Width::Dword) as u32;
    assert!(id >= 0x8000_0000);
    assert!(driver.pages(3, &[id - 1]));
    assert!(driver.offer(3, &[(0x30_6000, 0x1000, true)]));
    assert_eq!(driver.given_back(), 3);
    assert!(driver.pages(3, &[id]));
    assert!(driver.offer(3, &[(0x30_6000, 0x1000, true)]));
    assert_eq!(driver.given_back(), 4);
    assert!(driver.pages(3, &[0]));
    assert_eq!(driver.bench.get(modern::DEVICE + 8, Width::Dword), 1, "done");
    assert!(driver.offer(3, &[(0x30_7000, 0x1000, true)]));
    assert_eq!(driver.given_back(), 4);
    assert_ne!(driver.bench.offered() & feature::DEFLATE_ON_OOM, 0);
}

#[test]
fn absurd_lists_end_soon() {
    let mut driver = Driver::new(ALL);
    // Where no memory is: the rings stay.
    let gigabytes = [(1 << 40, u32::MAX, true); 4];
    for _ in 0..20 {
        driver.rings[4].offer(&driver.bench.memory, &gigabytes);
        driver.bench.notify(4);
        while let Some(at) = driver.bench.card.next_event() {
            driver.bench.card.advance(at);
        }
        while driver.rings[4].take_used(&driver.bench.memory).is_some() {}
    }
    assert!(!driver.bench.needs_reset());
    driver.rings[0].offer(&driver.bench.memory, &[(0, 4 << 20, false)]);
    driver.bench.notify(0);
    assert!(driver.bench.needs_reset(), "millions of numbers at once");
}
