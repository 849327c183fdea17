//! The controller as a driver uses it.

use super::*;
use crate::device::{Completion, Device, Job, Outside};
use crate::dma8237::Dma8237;
use crate::drive::{Drive, DriveConfig, DrivePlace, Media, Medium, RemovableDrives};
use crate::requests::MachineRequests;
use std::sync::{Arc, Mutex};
use trimotor_bus::{GuestMemory, GuestTime, IrqLine, IrqSink, PhysAddr, PortDevice, SaveState, Timed, Width};
use trimotor_storage::MemoryDisk;

#[derive(Default)]
struct Waiting(Mutex<Vec<(u64, Job)>>);
impl Outside for Waiting {
    fn begin(&self, token: u64, _due: GuestTime, job: Job) {
        self.0.lock().unwrap().push((token, job));
    }
}
#[derive(Default)]
struct Pin(Mutex<bool>);
impl IrqSink for Pin {
    fn set_level(&self, _line: u8, high: bool) {
        *self.0.lock().unwrap() = high;
    }
}

struct Bench {
    floppy: FloppyController,
    dma: Dma8237,
    memory: Arc<GuestMemory>,
    waiting: Arc<Waiting>,
    pin: Arc<Pin>,
    now: GuestTime,
}

fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|i| (i / 512 * 3 + i) as u8).collect()
}
fn medium(bytes: usize) -> Arc<MemoryDisk> {
    Arc::new(MemoryDisk::new(pattern(bytes)))
}

impl Bench {
    /// A controller out of reset with this disk in A:, at its data rate.
    fn new(disk: Option<Medium>, rate: u8) -> Self {
        let memory = GuestMemory::new(1 << 20, &[]).unwrap();
        let mut dma = Dma8237::new(memory.clone());
        let now = GuestTime::ZERO;
        for (port, value) in [(0xD6, 0xC0), (0xD4, 0)] {
            dma.port_write(Port(port), Width::Byte, value, now);
        }
        let (waiting, pin) = (Arc::new(Waiting::default()), Arc::new(Pin::default()));
        let config = DriveConfig::new("a", DrivePlace::Floppy { unit: 0 }, Media::Floppy);
        let floppy = FloppyController::new(
            IrqLine::new(pin.clone(), 6),
            dma.channel(2),
            waiting.clone(),
            MachineRequests::new(),
            [Some(Drive::new(config, disk)), None],
        );
        let mut bench = Self { floppy, dma, memory, waiting, pin, now };
        bench.out(0x3F7, rate);
        bench.out(0x3F2, 0x1C);
        bench.wait();
        assert!(bench.irq());
        for drive in 0..4 {
            assert_eq!(bench.command(&[8], 2), [0xC0 | drive, 0]);
        }
        assert!(!bench.irq());
        bench.command(&[3, 0xAF, 2], 0);
        bench
    }
    fn out(&mut self, port: u16, value: u8) {
        self.floppy.port_write(Port(port), Width::Byte, value.into(), self.now);
    }
    fn input(&mut self, port: u16) -> u8 {
        self.floppy.port_read(Port(port), Width::Byte, self.now) as u8
    }
    fn irq(&self) -> bool {
        *self.pin.0.lock().unwrap()
    }
    /// All that takes time is done.
    fn wait(&mut self) {
        while let Some(at) = self.floppy.next_event() {
            self.now = at;
            self.floppy.advance(at);
        }
        loop {
            let mut jobs = self.waiting.0.lock().unwrap();
            if jobs.is_empty() {
                break;
            }
            let (token, job) = jobs.remove(0);
            drop(jobs);
            self.floppy.complete(token, &job(), self.now);
        }
    }
    /// Gives a command, and takes a result of so many bytes.
    fn command(&mut self, bytes: &[u8], result: usize) -> Vec<u8> {
        for byte in bytes {
            assert_eq!(self.input(0x3F4) & 0xC0, 0x80, "{bytes:x?}");
            self.out(0x3F5, *byte);
        }
        self.wait();
        let result: Vec<_> = (0..result)
            .map(|_| {
                assert_eq!(self.input(0x3F4) & 0xF0, 0xD0, "{bytes:x?}");
                self.input(0x3F5)
            })
            .collect();
        assert_eq!(self.input(0x3F4) & 0xD0, 0x80, "{bytes:x?}");
        result
    }
    /// Sets up the channel for so many bytes at 20000h.
    fn channel(&mut self, bytes: u16, mode: u8) {
        let mut out =
            |port: u16, value: u8| self.dma.port_write(Port(port), Width::Byte, value.into(), self.now);
        out(0x0C, 0);
        for byte in [0, 0] {
            out(0x04, byte);
        }
        for byte in (bytes - 1).to_le_bytes() {
            out(0x05, byte);
        }
        out(0x81, 2);
        out(0x0B, mode);
        out(0x0A, 2);
    }
    fn memory(&self, bytes: usize) -> Vec<u8> {
        let mut read = vec![0; bytes];
        self.memory.read(PhysAddr(0x2_0000), &mut read);
        read
    }
    fn seek(&mut self, cylinder: u8) {
        self.command(&[0x0F, 0, cylinder], 0);
        assert_eq!(self.command(&[8], 2), [0x20, cylinder]);
    }
}

#[test]
fn a_disk_is_read_over_both_sides() {
    let disk = medium(1_474_560);
    let mut bench = Bench::new(Some(disk.clone()), 0);
    bench.seek(1);
    bench.channel(512 * 4, 0x46);
    let result = bench.command(&[0xE6, 0, 1, 0, 17, 2, 18, 0x1B, 0xFF], 7);
    assert_eq!(result, [4, 0, 0, 1, 1, 3, 2]);
    let start = (36 + 16) * 512;
    assert_eq!(bench.memory(2048), disk.content()[start..start + 2048]);
    // One side alone ends at its last sector, and says that there was more to come.
    bench.channel(512 * 4, 0x46);
    assert_eq!(bench.command(&[0x66, 0, 1, 0, 17, 2, 18, 0x1B, 0xFF], 7), [0x40, 0x80, 0, 2, 0, 1, 2]);
}

#[test]
fn a_disk_is_written_and_formatted() {
    let disk = medium(737_280);
    let mut bench = Bench::new(Some(disk.clone()), 2);
    bench.memory.write(PhysAddr(0x2_0000), &[0xEE; 700]);
    bench.channel(700, 0x4A);
    // The second sector is filled up with zeroes.
    assert_eq!(bench.command(&[0x45, 4, 0, 1, 2, 2, 9, 0x1B, 0xFF], 7), [4, 0, 0, 0, 1, 4, 2]);
    let content = disk.content();
    assert_eq!((content[10 * 512], content[10 * 512 + 699], content[10 * 512 + 700]), (0xEE, 0xEE, 0));
    let addresses: Vec<u8> = (1..=9).flat_map(|sector| [2, 0, sector, 2]).collect();
    bench.seek(2);
    bench.memory.write(PhysAddr(0x2_0000), &addresses);
    bench.channel(36, 0x4A);
    assert_eq!(bench.command(&[0x4D, 0, 2, 9, 0x54, 0xF6], 7)[..3], [0, 0, 0]);
    let content = disk.content();
    assert!(content[36 * 512..45 * 512].iter().all(|byte| *byte == 0xF6));
    assert_eq!(content[45 * 512..46 * 512], pattern(737_280)[45 * 512..46 * 512]);
}

#[test]
fn what_no_disk_can_give_is_told() {
    let read = |cylinder: u8, head: u8, sector: u8| {
        [0x46 | 0x20, head << 2, cylinder, head, sector, 2, 18, 0x1B, 0xFF]
    };
    let mut bench = Bench::new(Some(Arc::new(MemoryDisk::new(pattern(1_474_560)).read_only())), 0);
    bench.channel(512, 0x46);
    for (command, expected) in [
        (read(1, 0, 1), [0x40, 4, 0x10]),
        (read(0, 0, 19), [0x40, 4, 0]),
        (read(0, 0, 0), [0x40, 4, 0]),
        ([0x45, 0, 0, 0, 1, 2, 18, 0x1B, 0xFF], [0x40, 2, 0]),
        // Drive B: is not there.
        ([0x46, 1, 0, 0, 1, 2, 18, 0x1B, 0xFF], [0x41, 1, 0]),
    ] {
        assert_eq!(bench.command(&command, 7)[..3], expected, "{command:x?}");
    }
    // Another rate finds nothing.
    bench.out(0x3F7, 2);
    assert_eq!(bench.command(&[0x4A, 0], 7)[..3], [0x40, 1, 0]);
    bench.out(0x3F7, 0);
    assert_eq!(bench.command(&[0x4A, 0], 7)[3..], [0, 0, 1, 2]);
    // No DMA channel takes the bytes.
    bench.dma.port_write(Port(0x0A), Width::Byte, 6, bench.now);
    assert_eq!(bench.command(&read(0, 0, 1), 7)[..2], [0x40, 0x10]);
}

#[test]
fn bytes_go_through_the_fifo_without_dma() {
    let disk = medium(368_640);
    let mut bench = Bench::new(Some(disk.clone()), 1);
    bench.command(&[3, 0xAF, 3], 0);
    // 360 KB disks have one track for two of the drive's.
    bench.seek(4);
    for byte in [0x66, 0, 2, 0, 9, 2, 9, 0x1B, 0xFF] {
        bench.out(0x3F5, byte);
    }
    bench.wait();
    assert!(bench.irq() && bench.input(0x3F4) == 0xF0);
    let bytes: Vec<_> = (0..512).map(|_| bench.input(0x3F5)).collect();
    let start = (2 * 18 + 8) * 512;
    assert_eq!(bytes, disk.content()[start..start + 512]);
    let result: Vec<_> = (0..7).map(|_| bench.input(0x3F5)).collect();
    assert_eq!(result, [0x40, 0x80, 0, 3, 0, 1, 2]);
    for byte in [0x45, 0, 2, 0, 9, 2, 9, 0x1B, 0xFF] {
        bench.out(0x3F5, byte);
    }
    assert_eq!(bench.input(0x3F4), 0xB0);
    (0..512).for_each(|_| bench.out(0x3F5, 0x5A));
    bench.wait();
    assert_eq!((bench.input(0x3F4) & 0xD0, disk.content()[start + 511]), (0xD0, 0x5A));
}

#[test]
fn the_chip_tells_what_it_is() {
    let mut bench = Bench::new(Some(medium(1_474_560)), 0);
    assert_eq!(bench.command(&[0x10], 1), [0x90]);
    bench.command(&[0x13, 0, 0x57, 0], 0);
    assert_eq!(bench.command(&[0x94], 1), [0x10]);
    // LOCK keeps what CONFIGURE set over a reset.
    bench.out(0x3F2, 0);
    assert_eq!(bench.input(0x3F4), 0);
    bench.out(0x3F2, 0x1C);
    bench.wait();
    assert!(!bench.irq(), "drives are not polled");
    assert_eq!(bench.command(&[0x0E], 10)[7..9], [0x80, 0x57]);
    // PART ID came with a later chip.
    assert_eq!(bench.command(&[0x18], 1), [0x80]);
    assert_eq!(bench.command(&[0x04, 0], 1), [0x38]);
    assert_eq!(bench.command(&[8], 1), [0x80]);
    bench.command(&[0x07, 1], 0);
    assert_eq!(bench.command(&[8], 2), [0x71, 0]);
}

#[test]
fn the_change_line_falls_when_the_head_moves() {
    let mut bench = Bench::new(None, 0);
    bench.seek(1);
    assert_eq!(bench.input(0x3F7), 0x80);
    bench.floppy.change_medium("a", Some(medium(1_474_560)), false, bench.now).unwrap();
    assert_eq!(bench.input(0x3F7), 0x80);
    bench.seek(0);
    assert_eq!(bench.input(0x3F7), 0);
    bench.floppy.change_medium("a", None, false, bench.now).unwrap();
    assert_eq!(bench.input(0x3F7), 0x80);
    assert!(bench.floppy.change_medium("b", None, false, bench.now).is_err());
    assert!(bench.floppy.info().contains("empty"));
}

#[test]
fn a_command_goes_on_in_a_controller_that_was_restored() {
    let disk = medium(1_474_560);
    let mut bench = Bench::new(Some(disk.clone()), 0);
    for byte in [0x66, 0, 0, 0, 1, 2, 18, 0x1B, 0xFF] {
        bench.channel(512, 0x46);
        bench.out(0x3F5, byte);
    }
    let saved = bench.floppy.save();
    let mut other = Bench::new(Some(disk.clone()), 0);
    other.channel(512, 0x46);
    other.floppy.restore(saved).unwrap();
    other.wait();
    assert!(other.irq());
    assert_eq!(other.memory(512), disk.content()[..512]);
}

#[test]
fn drives_are_known_by_their_disks() {
    for (bytes, kind, cmos) in [
        (368_640, DriveKind::Inch5, 0x20),
        (1_228_800, DriveKind::Inch5, 0x20),
        (737_280, DriveKind::Inch3, 0x40),
        (1_474_560, DriveKind::Inch3, 0x40),
        (2_949_120, DriveKind::Inch3Extra, 0x50),
    ] {
        let config = DriveConfig::new("a", DrivePlace::Floppy { unit: 0 }, Media::Floppy);
        let drive = Drive::new(config, Some(medium(bytes)));
        assert_eq!((DriveKind::of(&drive), cmos_types([&drive].into_iter())), (kind, cmos));
        assert_eq!(Geometry::of(bytes as u64).unwrap().bytes(), bytes as u64);
        assert_eq!(drive.medium().unwrap().size(), bytes as u64);
    }
}
