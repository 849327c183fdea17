//! Drives as a driver uses them: registers, interrupts, tables in memory.

use super::registers::{block::*, command, *};
use super::*;
use crate::device::{Job, Outside};
use crate::drive::{DriveConfig, DrivePlace, OnDiskError};
use std::sync::{Arc, Mutex};
use trimotor_bus::device::DmaBus;
use trimotor_bus::{GuestMemory, IrqSink, PhysAddr};
use trimotor_storage::{BlockBackend, BlockError, BlockLimits, MemoryDisk};

mod atapi;
mod disk;

const NOW: GuestTime = GuestTime(1_000_000);

/// Jobs wait here until a test runs them.
#[derive(Default)]
struct Waiting(Mutex<Vec<(u64, Job)>>);
impl Outside for Waiting {
    fn begin(&self, token: u64, due: GuestTime, job: Job) {
        assert!(due > NOW, "a drive takes time");
        self.0.lock().unwrap().push((token, job));
    }
}
#[derive(Default)]
struct Pins(Mutex<[bool; 16]>);
impl IrqSink for Pins {
    fn set_level(&self, line: u8, high: bool) {
        self.0.lock().unwrap()[usize::from(line)] = high;
    }
}

struct Bench {
    ide: IdeController,
    memory: Arc<GuestMemory>,
    waiting: Arc<Waiting>,
    pins: Arc<Pins>,
    requests: MachineRequests,
}

impl Bench {
    /// A controller with these drives at the primary channel.
    fn new(drives: [Option<Drive>; 2]) -> Self {
        let memory = GuestMemory::new(1 << 20, &[]).unwrap();
        let (waiting, pins) = (Arc::new(Waiting::default()), Arc::new(Pins::default()));
        let (outside, requests): (OutsideRef, _) = (waiting.clone(), MachineRequests::new());
        let irqs = IRQS.map(|irq| IrqLine::new(pins.clone(), irq));
        let master = BusMaster::new(memory.clone());
        let ide = IdeController::new(irqs, master, &outside, &requests, [drives, [None, None]]);
        let mut bench = Self { ide, memory, waiting, pins, requests };
        bench.open();
        bench
    }
    /// What firmware sets up.
    fn open(&mut self) {
        for at in IDETIM {
            self.ide.config_write(at, Width::Word, 0x8000, NOW);
        }
        self.ide.config_write(0x20, Width::Dword, 0xC001, NOW);
        self.ide.config_write(0x04, Width::Word, 5, NOW);
    }
    fn get(&mut self, register: u16) -> u8 {
        self.ide.port_read(Port(0x1F0 + register), Width::Byte, NOW) as u8
    }
    fn set(&mut self, register: u16, value: u8) {
        self.ide.port_write(Port(0x1F0 + register), Width::Byte, value.into(), NOW);
    }
    fn control(&mut self, value: u8) {
        self.ide.port_write(Port(0x3F6), Width::Byte, value.into(), NOW);
    }
    fn status(&mut self) -> u8 {
        self.ide.port_read(Port(0x3F6), Width::Byte, NOW) as u8
    }
    fn irq(&self) -> bool {
        self.pins.0.lock().unwrap()[14]
    }
    /// Whether there was an interrupt; a driver then reads the status.
    fn take_irq(&mut self) -> bool {
        let was = self.irq();
        self.get(COMMAND);
        assert!(!self.irq());
        was
    }
    /// Runs the oldest job, if there is one.
    fn work(&mut self) -> bool {
        let mut jobs = self.waiting.0.lock().unwrap();
        if jobs.is_empty() {
            return false;
        }
        let (token, job) = jobs.remove(0);
        drop(jobs);
        self.ide.complete(token, &job(), NOW);
        true
    }
    fn work_all(&mut self) {
        while self.work() {}
    }
    /// A 28-bit command.
    fn command(&mut self, code: u8, sector: u32, count: u8) {
        let [low, mid, high, top] = sector.to_le_bytes();
        for (register, value) in [
            (DEVICE, LBA | top),
            (COUNT, count),
            (LBA_LOW, low),
            (LBA_MID, mid),
            (LBA_HIGH, high),
            (COMMAND, code),
        ] {
            self.set(register, value);
        }
    }
    fn read_words(&mut self, words: usize) -> Vec<u8> {
        (0..words)
            .flat_map(|_| (self.ide.port_read(Port(0x1F0), Width::Word, NOW) as u16).to_le_bytes())
            .collect()
    }
    fn write_words(&mut self, bytes: &[u8]) {
        for word in bytes.chunks(2) {
            let value = u32::from(word[0]) | u32::from(word[1]) << 8;
            self.ide.port_write(Port(0x1F0), Width::Word, value, NOW);
        }
    }
    /// A table at 1000h with these regions, and the bus master set up for it.
    fn table(&mut self, regions: &[(u32, u16)], to_memory: bool) {
        for (i, (address, bytes)) in regions.iter().enumerate() {
            let last = if i + 1 == regions.len() { 0x8000_0000u32 } else { 0 };
            let at = PhysAddr(0x1000 + 8 * i as u64);
            self.memory.write(at, &address.to_le_bytes());
            self.memory.write(at.offset(4), &(u32::from(*bytes) | last).to_le_bytes());
        }
        self.master(4, Width::Dword, 0x1000);
        self.master(2, Width::Byte, 6);
        self.master(0, Width::Byte, if to_memory { 8 } else { 0 });
    }
    fn master(&mut self, offset: u64, width: Width, value: u64) {
        self.ide.bar_write(BUS_MASTER_BAR, offset, width, value, NOW);
    }
    fn start(&mut self, to_memory: bool) {
        self.master(0, Width::Byte, if to_memory { 9 } else { 1 });
    }
    fn master_status(&mut self) -> u8 {
        self.ide.bar_read(BUS_MASTER_BAR, 2, Width::Byte, NOW) as u8
    }
    fn memory(&self, at: u64, bytes: usize) -> Vec<u8> {
        let mut read = vec![0; bytes];
        self.memory.dma_read(PhysAddr(at), &mut read);
        read
    }
}

/// Content by which each sector is known.
fn pattern(sectors: usize) -> Vec<u8> {
    (0..sectors * 512).map(|i| (i / 512 * 7 + i) as u8).collect()
}
fn place(unit: u8) -> DrivePlace {
    DrivePlace::Ide { channel: 0, unit }
}
fn disk_with(change: impl FnOnce(&mut DriveConfig), content: Arc<dyn BlockBackend>) -> Drive {
    let mut config = DriveConfig::new("hd", place(0), Media::Disk);
    change(&mut config);
    Drive::new(config, Some(content))
}
/// A disk of so many sectors.
fn bench(sectors: usize) -> (Bench, Arc<MemoryDisk>) {
    let disk = Arc::new(MemoryDisk::new(pattern(sectors)));
    (Bench::new([Some(disk_with(|_| {}, disk.clone())), None]), disk)
}
