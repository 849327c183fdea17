//! The disk.

use super::super::blk::{Blk, MOST_PART, feature};
use super::super::registers::{common, legacy, modern};
use super::*;
use crate::drive::{Drive, DriveConfig, DrivePlace, Media, OnDiskError};
use crate::drive_limits::{DriveLimits, Rate, Rates};
use crate::requests::{MachineRequest, MachineRequests};
use trimotor_bus::{SaveState, Timed};
use trimotor_storage::{BlockBackend, BlockError, BlockLimits, MemoryDisk};

pub(super) const SPLIT: Format = Format { packed: false, indirect: false };
const HEADER: u64 = 0x1000;
const STATUS: u64 = 0x1800;
const DATA: u64 = 0x20_0000;

/// A disk in memory that gives space back, and fails where a test says so.
struct Disk {
    content: MemoryDisk,
    fails: Mutex<Option<BlockError>>,
}
impl Disk {
    fn new(sectors: usize) -> Arc<Self> {
        let content = (0..sectors * 512).map(|at| (at / 512) as u8).collect();
        Arc::new(Self { content: MemoryDisk::new(content), fails: Mutex::default() })
    }
    fn may_fail(&self) -> Result<(), BlockError> {
        self.fails.lock().unwrap().take().map_or(Ok(()), Err)
    }
}
impl BlockBackend for Disk {
    fn size(&self) -> u64 {
        self.content.size()
    }
    fn limits(&self) -> BlockLimits {
        BlockLimits { discard_bytes: Some(512), ..self.content.limits() }
    }
    fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), BlockError> {
        self.may_fail()?;
        self.content.read(offset, into)
    }
    fn write(&self, offset: u64, from: &[u8]) -> Result<(), BlockError> {
        self.may_fail()?;
        self.content.write(offset, from)
    }
    fn flush(&self) -> Result<(), BlockError> {
        self.may_fail()
    }
    fn write_zeroes(&self, offset: u64, bytes: u64, unmap: bool) -> Result<(), BlockError> {
        self.content.write_zeroes(offset, bytes, unmap)
    }
    fn discard(&self, offset: u64, bytes: u64) -> Result<(), BlockError> {
        self.content.write(offset, &vec![0xDD; bytes as usize])
    }
}

pub(super) fn bench_of(
    disk: Arc<dyn BlockBackend>,
    queues: u16,
    change: impl FnOnce(&mut DriveConfig),
) -> (Bench<Blk>, MachineRequests) {
    let mut config = DriveConfig::new("d0", DrivePlace::Unattached, Media::Disk);
    (config.discard, config.serial) = (true, Some("serial-1".to_owned()));
    change(&mut config);
    let requests = MachineRequests::new();
    let asked = requests.clone();
    let drive = Drive::new(config, Some(disk));
    (Bench::new(|outside| Blk::new(drive, outside, requests, queues, 128)), asked)
}
fn bench(sectors: usize) -> (Bench<Blk>, Arc<Disk>) {
    let disk = Disk::new(sectors);
    (bench_of(disk.clone(), 1, |_| {}).0, disk)
}

impl Bench<Blk> {
    /// A request with its data in these pieces.
    pub(super) fn request(&mut self, ring: &mut Ring, kind: u32, sector: u64, data: &[ring::Piece]) -> u16 {
        let mut header = [0; 16];
        header[..4].copy_from_slice(&kind.to_le_bytes());
        header[8..].copy_from_slice(&sector.to_le_bytes());
        self.memory.write(PhysAddr(HEADER), &header);
        self.memory.write(PhysAddr(STATUS), &[0xEE]);
        let pieces = [&[(HEADER, 16, false)], data, &[(STATUS, 1, true)]].concat();
        let id = ring.offer(&self.memory, &pieces);
        self.notify(0);
        id
    }
    /// Does a request; returns its status and how many bytes the device says that it wrote.
    fn doing(&mut self, ring: &mut Ring, kind: u32, sector: u64, data: &[ring::Piece]) -> (u8, u32) {
        let id = self.request(ring, kind, sector, data);
        self.finish_all();
        let (used, written) = ring.take_used(&self.memory).expect("a request that ends");
        assert_eq!(used, id);
        (self.bytes(STATUS, 1)[0], written)
    }
}

#[test]
fn sectors_go_both_ways_in_each_format() {
    for format in ALL_RINGS {
        let (mut bench, disk) = bench(64);
        let mut ring = bench.start(16, format, 0);
        for round in 0..30u8 {
            bench.memory.write(PhysAddr(DATA), &[round; 1024]);
            let data = [(DATA, 100, false), (DATA + 100, 924, false)];
            assert_eq!(bench.doing(&mut ring, 1, 3, &data), (0, 1), "{format:?}");
            assert_eq!(disk.content.content()[3 * 512..5 * 512], [round; 1024]);
            let data = [(DATA + 0x1FFF, 512, true), (DATA + 0x4000, 512, true)];
            assert_eq!(bench.doing(&mut ring, 0, 4, &data), (0, 1025), "{format:?}");
            assert_eq!(bench.bytes(DATA + 0x1FFF, 512), [round; 512]);
            assert_eq!(bench.bytes(DATA + 0x4000, 512), [5; 512]);
        }
        assert!(!bench.needs_reset());
    }
}

#[test]
fn a_large_request_goes_in_parts() {
    let (mut bench, _) = bench(8192);
    let mut ring = bench.start(16, SPLIT, 0);
    let bytes = MOST_PART as u32 + 512;
    bench.request(&mut ring, 0, 1, &[(DATA, bytes, true)]);
    bench.finish(0);
    assert_eq!((bench.jobs(), ring.take_used(&bench.memory)), (1, None));
    bench.finish(0);
    assert_eq!(ring.take_used(&bench.memory), Some((0, bytes + 1)));
    assert_eq!(bench.bytes(DATA + MOST_PART, 512), [(1 + MOST_PART / 512) as u8; 512]);
}

#[test]
fn the_other_requests() {
    let (mut bench, disk) = bench(64);
    let mut ring = bench.start(16, SPLIT, 0);
    assert_eq!(bench.doing(&mut ring, 4, 0, &[]), (0, 1), "flush");
    assert_eq!(bench.doing(&mut ring, 8, 0, &[(DATA, 20, true)]), (0, 21), "serial number");
    assert_eq!(bench.bytes(DATA, 20), b"serial-1\0\0\0\0\0\0\0\0\0\0\0\0");
    let range = |sector: u64, count: u32, flags: u32| {
        [sector.to_le_bytes().as_slice(), &count.to_le_bytes(), &flags.to_le_bytes()].concat()
    };
    let mut ranges = |bench: &mut Bench<Blk>, kind, list: &[Vec<u8>]| {
        let list = list.concat();
        bench.memory.write(PhysAddr(DATA), &list);
        bench.doing(&mut ring, kind, 0, &[(DATA, list.len() as u32, false)]).0
    };
    assert_eq!(ranges(&mut bench, 13, &[range(2, 1, 0), range(4, 2, 1)]), 0);
    let content = disk.content.content();
    assert_eq!([2, 3, 4, 5, 6].map(|sector| content[sector * 512]), [0, 3, 0, 0, 6]);
    assert_eq!(ranges(&mut bench, 11, &[range(8, 1, 0)]), 0);
    assert_eq!(disk.content.content()[8 * 512], 0xDD);
    for (kind, list, status) in [
        (11, range(8, 1, 1), 2),
        (13, range(8, 1, 2), 2),
        (13, range(63, 2, 0), 1),
        (13, range(u64::MAX, 1, 0), 1),
        (13, range(u64::MAX >> 8, 1, 0), 1),
        (13, range(0, u32::MAX, 0), 1),
        (13, vec![0; 8], 1),
        (13, vec![0; 17 * 16], 1),
        (2, vec![], 2),
        (99, vec![], 2),
    ] {
        assert_eq!(ranges(&mut bench, kind, std::slice::from_ref(&list)), status, "{kind} {list:?}");
    }
    for (kind, sector, length, write) in [
        (0, 64, 512, true),
        (0, 63, 1024, true),
        (0, 0, 511, true),
        (1, u64::MAX, 512, false),
        (0, u64::MAX, 0, true),
    ] {
        let status = bench.doing(&mut ring, kind, sector, &[(DATA, length, write)]).0;
        assert_eq!(status, 1, "{kind} {sector} {length}");
    }
    assert!(!bench.needs_reset());
}

#[test]
fn a_read_only_disk_is_not_written() {
    let disk = Arc::new(MemoryDisk::new(vec![3; 4096]).read_only());
    let (mut bench, _) = bench_of(disk, 1, |_| {});
    let offered = bench.offered();
    assert_eq!(offered & (feature::RO | feature::DISCARD | feature::WRITE_ZEROES), feature::RO);
    let mut ring = bench.start(16, SPLIT, 0);
    assert_eq!(bench.doing(&mut ring, 1, 0, &[(DATA, 512, false)]).0, 1);
    assert_eq!(bench.doing(&mut ring, 0, 0, &[(DATA, 512, true)]).0, 0);
}

#[test]
fn requests_complete_in_any_order_and_survive_saving() {
    let (mut bench, _) = bench(64);
    let mut ring = bench.start(16, SPLIT, 0);
    let first = bench.request(&mut ring, 0, 1, &[(DATA, 512, true)]);
    let second = bench.request(&mut ring, 0, 2, &[(DATA + 512, 512, true)]);
    bench.finish(1);
    assert_eq!(ring.take_used(&bench.memory), Some((second, 513)));
    let saved = bench.card.save();
    bench.waiting.0.lock().unwrap().clear();
    bench.set(common::STATUS, Width::Byte, 0);
    bench.card.restore(saved).unwrap();
    bench.finish(0);
    assert_eq!(ring.take_used(&bench.memory), Some((first, 513)));
    assert_eq!(bench.bytes(DATA, 1), [1]);
}

#[test]
fn a_reset_waits_for_workers_and_forgets_their_answers() {
    let (mut bench, disk) = bench(64);
    let mut ring = bench.start(16, SPLIT, 0);
    bench.memory.write(PhysAddr(DATA), &[0x77; 512]);
    bench.request(&mut ring, 1, 9, &[(DATA, 512, false)]);
    let mut ring = bench.start(16, SPLIT, 0);
    bench.request(&mut ring, 0, 9, &[(DATA + 512, 512, true)]);
    assert_eq!(bench.jobs(), 1, "the new request waits");
    bench.finish(0);
    assert_eq!(ring.take_used(&bench.memory), None);
    bench.finish(0);
    assert_eq!(ring.take_used(&bench.memory), Some((0, 513)));
    assert_eq!((bench.bytes(DATA + 512, 1), disk.content.content()[9 * 512]), (vec![0x77], 0x77));
}

#[test]
fn what_is_under_way_is_bounded() {
    let (mut bench, _) = bench(8192);
    let mut ring = bench.start(128, SPLIT, 0);
    for _ in 0..42 {
        bench.request(&mut ring, 0, 0, &[(DATA, MOST_PART as u32, true)]);
    }
    assert_eq!(bench.jobs(), 32);
    bench.finish_all();
    assert_eq!(std::iter::from_fn(|| ring.take_used(&bench.memory)).count(), 42);
}

#[test]
fn a_limit_holds_by_guest_time_and_requests_wait_meanwhile() {
    let limit = Rate { per_s: 1 << 20, burst: Some(1 << 20) };
    let (mut bench, _) = bench_of(Disk::new(8192), 1, |drive| {
        drive.limits =
            DriveLimits { bytes: Rates { total: Some(limit), ..Rates::default() }, ..DriveLimits::default() };
    });
    let mut ring = bench.start(128, SPLIT, 0);
    // 4 MiB in requests of 256 KiB, reads and writes, and flushes, which move nothing.
    for number in 0..16 {
        bench.request(&mut ring, number % 2, 0, &[(DATA, 256 << 10, number % 2 == 0)]);
        bench.request(&mut ring, 4, 0, &[]);
    }
    let due: Vec<u64> =
        bench.waiting.0.lock().unwrap().iter().map(|(_, due, _)| due.ns() / 1_000_000).collect();
    let moves: Vec<u64> = due.iter().copied().step_by(2).collect();
    assert_eq!(moves[..6], [0, 0, 0, 0, 0, 250], "what goes at once, and then four in a second");
    assert_eq!((moves[15], due.iter().skip(1).step_by(2).max()), (2750, Some(&0)));
    bench.finish_all();
    assert_eq!(std::iter::from_fn(|| ring.take_used(&bench.memory)).count(), 32);
}

#[test]
fn what_follows_where_the_host_fails() {
    for (policy, status) in [(OnDiskError::Report, 1), (OnDiskError::Ignore, 0)] {
        let disk = Disk::new(64);
        let (mut bench, requests) = bench_of(disk.clone(), 1, |drive| {
            (drive.on_read_error, drive.on_write_error) = (policy, policy);
        });
        let mut ring = bench.start(16, SPLIT, 0);
        for (kind, write) in [(0, true), (1, false)] {
            *disk.fails.lock().unwrap() = Some(BlockError::NoSpace);
            assert_eq!(bench.doing(&mut ring, kind, 0, &[(DATA, 512, write)]).0, status);
        }
        assert_eq!(requests.take(), None);
    }
    let disk = Disk::new(64);
    let (mut bench, requests) = bench_of(disk.clone(), 1, |_| {});
    let mut ring = bench.start(16, SPLIT, 0);
    bench.memory.write(PhysAddr(DATA), &[9; 512]);
    *disk.fails.lock().unwrap() = Some(BlockError::NoSpace);
    bench.request(&mut ring, 1, 5, &[(DATA, 512, false)]);
    bench.finish(0);
    assert_eq!((requests.take(), ring.take_used(&bench.memory)), (Some(MachineRequest::Pause), None));
    let saved = bench.card.save();
    bench.card.restore(saved).unwrap();
    let again = bench.card.next_event().unwrap();
    bench.card.advance(again);
    bench.finish(0);
    assert_eq!(ring.take_used(&bench.memory), Some((0, 1)));
    assert_eq!(disk.content.content()[5 * 512], 9);
}

#[test]
fn the_configuration_says_what_the_disk_is() {
    let (mut bench, _) = bench_of(Disk::new(16 * 63 * 5), 4, |_| {});
    assert_eq!(bench.get(common::NUM_QUEUES, Width::Word), 4);
    assert_ne!(bench.offered() & feature::MQ, 0);
    let at = modern::DEVICE;
    assert_eq!(bench.get(at, Width::Dword), 16 * 63 * 5);
    assert_eq!((bench.get(at + 12, Width::Dword), bench.get(at + 20, Width::Dword)), (126, 512));
    assert_eq!(bench.get(at + 16, Width::Dword), 5 | 16 << 16 | 63 << 24);
    assert_eq!(bench.get(at + 34, Width::Word), 4);
    assert_eq!(bench.card.bar_read(LEGACY_BAR, legacy::CONFIG[0], Width::Dword, NOW), 16 * 63 * 5);
    bench.start(16, SPLIT, 0);
    assert_eq!(bench.get(at + 32, Width::Byte), 1);
    bench.set(at + 32, Width::Byte, 0);
    assert_eq!(bench.get(at + 32, Width::Byte), 0);
    assert_eq!(bench.get(at + 0xFF8, Width::Qword), 0);
}
