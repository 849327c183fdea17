//! The chip as firmware uses it.

use super::*;
use crate::device::{Job, Outside};
use crate::drive::{DriveConfig, DrivePlace, Media, OnDiskError};
use crate::requests::MachineRequest;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use trimotor_storage::block::check_range;
use trimotor_storage::{BlockBackend, BlockLimits, MemoryDisk};

const NOW: GuestTime = GuestTime(1000);

/// Workers that work when a test says so.
#[derive(Default)]
struct Waiting(Mutex<Vec<(u64, Job)>>);
impl Outside for Waiting {
    fn begin(&self, token: u64, _due: GuestTime, job: Job) {
        self.0.lock().unwrap().push((token, job));
    }
}

/// A disk that can be full.
struct Disk {
    content: MemoryDisk,
    full: AtomicBool,
}
impl BlockBackend for Disk {
    fn size(&self) -> u64 {
        self.content.size()
    }
    fn limits(&self) -> BlockLimits {
        self.content.limits()
    }
    fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), BlockError> {
        self.content.read(offset, into)
    }
    fn write(&self, offset: u64, from: &[u8]) -> Result<(), BlockError> {
        check_range(offset, from.len() as u64, self.size())?;
        if self.full.load(Ordering::Relaxed) {
            return Err(BlockError::NoSpace);
        }
        self.content.write(offset, from)
    }
    fn flush(&self) -> Result<(), BlockError> {
        Ok(())
    }
    fn write_zeroes(&self, offset: u64, bytes: u64, unmap: bool) -> Result<(), BlockError> {
        self.content.write_zeroes(offset, bytes, unmap)
    }
    fn discard(&self, offset: u64, bytes: u64) -> Result<(), BlockError> {
        self.content.discard(offset, bytes)
    }
}

struct Bench {
    flash: Flash,
    disk: Arc<Disk>,
    waiting: Arc<Waiting>,
    requests: MachineRequests,
}

impl Bench {
    fn new(on_write_error: OnDiskError) -> Self {
        let content = MemoryDisk::new(vec![0xFF; 4 * BLOCK_BYTES as usize]);
        let disk = Arc::new(Disk { content, full: AtomicBool::new(false) });
        let waiting = Arc::new(Waiting::default());
        let requests = MachineRequests::new();
        let flash = make(disk.clone(), on_write_error, waiting.clone(), &requests);
        Self { flash, disk, waiting, requests }
    }
    fn write(&mut self, offset: u64, cycles: &[u8]) {
        for byte in cycles {
            self.flash.mmio_write(offset, Width::Byte, (*byte).into(), NOW);
        }
    }
    fn read(&mut self, offset: u64) -> u8 {
        self.flash.mmio_read(offset, Width::Byte, NOW) as u8
    }
    fn status(&mut self) -> u8 {
        self.write(0, &[0x70]);
        let status = self.read(0);
        self.write(0, &[0xFF]);
        status
    }
    /// Lets the worker work and gives its answer back; false where there is nothing to do.
    fn work(&mut self, now: GuestTime) -> bool {
        let Some((token, job)) = self.waiting.0.lock().unwrap().pop() else { return false };
        let answer = job();
        self.flash.complete(token, &answer, now);
        true
    }
    fn on_disk(&self, offset: u64) -> u8 {
        let mut byte = [0];
        self.disk.read(offset, &mut byte).unwrap();
        byte[0]
    }
}

fn make(
    disk: Arc<dyn BlockBackend>,
    on_write_error: OnDiskError,
    outside: OutsideRef,
    requests: &MachineRequests,
) -> Flash {
    let config =
        DriveConfig { on_write_error, ..DriveConfig::new("vars", DrivePlace::Unattached, Media::Disk) };
    Flash::new(Drive::new(config, Some(disk)), outside, requests.clone()).unwrap()
}

#[test]
fn edk_finds_flash_by_a_status_of_zero() {
    let mut bench = Bench::new(OnDiskError::Report);
    bench.write(0, &[0x50]);
    assert_eq!(bench.read(0), 0xFF, "no RAM: a command does not stay");
    bench.write(0, &[0x70]);
    assert_eq!(bench.read(0), 0);
    bench.write(0, &[0xFF]);
    assert_eq!(bench.read(0), 0xFF);
}

#[test]
fn programming_clears_bits_and_erasing_sets_a_block() {
    let mut bench = Bench::new(OnDiskError::Report);
    bench.write(0x1005, &[0x10, 0xF0, 0xFF]);
    assert_eq!(bench.read(0x1005), 0xF0);
    bench.write(0x1005, &[0x40, 0x3C]);
    assert_eq!(bench.read(0x1005), 0x80, "the status, until it is told otherwise");
    bench.write(0x1005, &[0xFF]);
    assert_eq!(bench.read(0x1005), 0x30);
    assert_eq!(bench.flash.mmio_read(0x1004, Width::Dword, NOW), 0xFFFF_30FF);
    bench.write(0x1800, &[0x20, 0xD0, 0xFF]);
    assert_eq!(bench.read(0x1005), 0xFF);
    assert_eq!(bench.status(), 0x80);
    bench.write(0x1800, &[0x20, 0x00]);
    assert_eq!(bench.status(), 0xB0, "no confirmation");
}

#[test]
fn the_buffer_programs_many_bytes() {
    let mut bench = Bench::new(OnDiskError::Report);
    bench.write(0x2000, &[0xE8]);
    assert_eq!(bench.read(0x2000), 0x80);
    bench.write(0x2000, &[1]);
    bench.write(0x2003, &[0x11]);
    bench.write(0x2004, &[0x22]);
    bench.write(0x2000, &[0xD0, 0xFF]);
    assert_eq!([0x2002, 0x2003, 0x2004, 0x2005].map(|at| bench.read(at)), [0xFF, 0x11, 0x22, 0xFF]);
    bench.write(0x2000, &[0xE8, 0, 0x33, 0xFF]);
    assert_eq!((bench.status(), bench.read(0x2000)), (0xB0, 0xFF), "not confirmed");
}

#[test]
fn it_says_what_it_is() {
    let mut bench = Bench::new(OnDiskError::Report);
    bench.write(0, &[0x90]);
    assert_eq!([0, 1, 2, 0x1000].map(|at| bench.read(at)), [0x89, 0x18, 0, 0x89]);
    bench.write(0, &[0x98]);
    assert_eq!(
        [0x10, 0x11, 0x12, 0x27, 0x2C, 0x2D, 0x2F, 0x30].map(|at| bench.read(at)),
        [b'Q', b'R', b'Y', 14, 1, 3, 16, 0]
    );
}

#[test]
fn what_changes_goes_to_the_file_by_one_worker_at_a_time() {
    let mut bench = Bench::new(OnDiskError::Report);
    bench.write(5, &[0x10, 1]);
    bench.write(0x3005, &[0x10, 2]);
    assert_eq!(bench.waiting.0.lock().unwrap().len(), 1);
    assert_eq!(bench.on_disk(5), 0xFF);
    assert!(bench.work(NOW));
    assert_eq!((bench.on_disk(5), bench.on_disk(0x3005)), (1, 2), "it takes what is there when it comes");
    assert!(bench.work(NOW), "the second block was not known to be written");
    assert!(!bench.work(NOW));
    // Nothing changes, nothing is written.
    bench.write(5, &[0x10, 0xFF]);
    bench.write(0x2000, &[0x20, 0xD0]);
    assert!(!bench.work(NOW));
}

#[test]
fn a_full_host_pauses_the_machine_and_nothing_is_lost() {
    let mut bench = Bench::new(OnDiskError::StopWithoutSpace);
    bench.disk.full.store(true, Ordering::Relaxed);
    bench.write(7, &[0x10, 7]);
    assert!(bench.work(NOW));
    assert_eq!(bench.requests.take(), Some(MachineRequest::Pause));
    let again = bench.flash.next_event().unwrap();
    bench.disk.full.store(false, Ordering::Relaxed);
    bench.flash.advance(again);
    assert!(bench.work(again));
    assert_eq!(bench.on_disk(7), 7);
    assert_eq!(bench.flash.next_event(), None);
}

#[test]
fn a_host_that_fails_is_reported_and_tried_again_with_the_next_write() {
    let mut bench = Bench::new(OnDiskError::Report);
    bench.disk.full.store(true, Ordering::Relaxed);
    bench.write(7, &[0x10, 7]);
    assert!(bench.work(NOW));
    assert_eq!((bench.status(), bench.requests.take()), (0xB0, None));
    bench.disk.full.store(false, Ordering::Relaxed);
    bench.write(8, &[0x10, 8]);
    assert!(bench.work(NOW));
    assert_eq!((bench.on_disk(7), bench.on_disk(8)), (7, 8));
}

#[test]
fn the_end_of_the_machine_writes_what_came_last() {
    let mut bench = Bench::new(OnDiskError::Report);
    bench.write(1, &[0x10, 1]);
    let Bench { flash, disk, waiting, .. } = bench;
    drop(flash);
    let byte = |at: u64| {
        let mut byte = [0];
        disk.read(at, &mut byte).unwrap();
        byte[0]
    };
    assert_eq!(byte(1), 0xFF, "a log that is replayed has nothing carried out");
    let requests = MachineRequests::new();
    let mut flash = make(disk.clone(), OnDiskError::Report, waiting.clone(), &requests);
    flash.mmio_write(1, Width::Byte, 0x10, NOW);
    flash.mmio_write(1, Width::Byte, 1, NOW);
    let (_, job) = waiting.0.lock().unwrap().pop().unwrap();
    job();
    flash.mmio_write(2, Width::Byte, 0x10, NOW);
    flash.mmio_write(2, Width::Byte, 2, NOW);
    drop(flash);
    assert_eq!((byte(1), byte(2)), (1, 2));
}

#[test]
fn a_saved_chip_goes_on_and_writes_what_was_not_written() {
    let mut bench = Bench::new(OnDiskError::Report);
    bench.write(0x1001, &[0x10, 9]);
    bench.write(0, &[0xE8, 1, 0x55]);
    let state = bench.flash.save();
    let fresh = Bench::new(OnDiskError::Report);
    let mut other = fresh;
    other.flash.restore(state.clone()).unwrap();
    assert_eq!(other.flash.save(), state);
    other.write(1, &[0x66]);
    other.write(0, &[0xD0, 0xFF]);
    assert_eq!([0, 1, 0x1001].map(|at| other.read(at)), [0x55, 0x66, 9]);
    while other.work(NOW) {}
    assert_eq!([0, 1, 0x1001].map(|at| other.on_disk(at)), [0x55, 0x66, 9]);
    let mut hostile = state;
    hostile.unwritten[0].block = 4;
    assert!(other.flash.restore(hostile).is_err());
}

#[test]
fn a_reset_ends_commands_and_loses_nothing() {
    let mut bench = Bench::new(OnDiskError::Report);
    bench.write(3, &[0x10, 3, 0x20]);
    bench.waiting.0.lock().unwrap().clear();
    bench.flash.reset(NOW);
    assert_eq!(bench.read(3), 3);
    assert!(bench.work(NOW));
    assert_eq!(bench.on_disk(3), 3);
}

#[test]
fn a_read_only_file_is_a_locked_chip() {
    let content = MemoryDisk::new(vec![0xFF; 4096]).read_only();
    let mut flash =
        make(Arc::new(content), OnDiskError::Report, Arc::new(Waiting::default()), &MachineRequests::new());
    for byte in [0x10, 0] {
        flash.mmio_write(0, Width::Byte, byte, NOW);
    }
    assert_eq!(flash.mmio_read(0, Width::Byte, NOW), 0x92);
    flash.mmio_write(0, Width::Byte, 0xFF, NOW);
    assert_eq!(flash.mmio_read(0, Width::Byte, NOW), 0xFF);
}

#[test]
fn sizes_that_no_chip_has_are_refused() {
    for bytes in [512, 4096 + 512, (8 << 20) + 4096] {
        let config = DriveConfig::new("vars", DrivePlace::Unattached, Media::Disk);
        let drive = Drive::new(config, Some(Arc::new(MemoryDisk::new(vec![0; bytes]))));
        let made = Flash::new(drive, Arc::new(Waiting::default()), MachineRequests::new());
        assert!(matches!(made, Err(FlashError::Size { .. })), "{bytes}");
    }
}
