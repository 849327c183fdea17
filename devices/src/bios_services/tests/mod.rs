//! Calls as a stub in ROM makes them, on drives in memory.

mod boot;
mod cd;
mod disk;
mod failures;
mod floppy;
mod hostile;

use super::drives::{AtaPlace, DiskDrive, Drives, FloppyDrive};
use super::*;
use crate::device::{Job, Outside};
use crate::drive::{Drive, DriveConfig, DrivePlace, Media, Medium};
use std::sync::{Arc, Mutex};
use trimotor_bus::GuestMemory;
use trimotor_storage::MemoryDisk;

/// Where frames are.
const FRAME: u64 = 0x8000;
/// Where buffers are.
const BUFFER: u64 = 0x2_0000;
/// Where packets are.
const PACKET: u64 = 0x9000;
/// The extended BIOS data area.
const EBDA: u16 = 0x9FC0;

/// A drive whose medium a test changes.
pub struct Bay {
    medium: Mutex<Option<Arc<MemoryDisk>>>,
    drive: Mutex<Option<Drive>>,
}

impl Bay {
    fn empty() -> Arc<Self> {
        Arc::new(Self { medium: Mutex::new(None), drive: Mutex::new(None) })
    }
    fn with(content: Vec<u8>) -> Arc<Self> {
        let bay = Self::empty();
        bay.insert(Some(MemoryDisk::new(content)));
        bay
    }
    /// The drive as the machine has it.
    fn drive(&self, place: DrivePlace, media: Media) -> Drive {
        let drive = Drive::new(DriveConfig::new("a drive", place, media), None);
        *self.drive.lock().unwrap() = Some(drive.clone());
        self.show();
        drive
    }
    fn insert(&self, disk: Option<MemoryDisk>) {
        *self.medium.lock().unwrap() = disk.map(Arc::new);
        self.show();
    }
    fn show(&self) {
        if let Some(drive) = &*self.drive.lock().unwrap() {
            drive.set_medium(self.medium.lock().unwrap().clone().map(|disk| disk as Medium));
        }
    }
    fn content(&self) -> Vec<u8> {
        self.medium.lock().unwrap().as_ref().unwrap().content()
    }
}

/// Jobs that wait until a test has them done.
#[derive(Default)]
struct Jobs(Mutex<Vec<(u64, GuestTime, Job)>>);
impl Outside for Jobs {
    fn begin(&self, token: u64, due: GuestTime, job: Job) {
        self.0.lock().unwrap().push((token, due, job));
    }
}

/// Drives and the services for them.
pub struct Bios {
    memory: Arc<GuestMemory>,
    jobs: Arc<Jobs>,
    machine: MachineRequests,
    services: BiosServices,
    floppies: Vec<Arc<Bay>>,
    disks: Vec<Arc<Bay>>,
}

/// Sectors with a number in each: their own.
pub fn numbered(sectors: u32, bytes: usize) -> Vec<u8> {
    let mut content = vec![0; sectors as usize * bytes];
    for (number, sector) in (0u32..).zip(content.chunks_exact_mut(bytes)) {
        sector[..4].copy_from_slice(&number.to_le_bytes());
    }
    content
}
fn place(unit: u8) -> AtaPlace {
    AtaPlace { controller: (0, 1, 1), channel: unit >> 1, unit: unit & 1 }
}

impl Bios {
    /// A machine after power-on: drives A: of 1.44 MB and B: of 360 KB, two hard disks, a CD.
    pub fn new() -> Self {
        let floppies = vec![Bay::with(numbered(2880, 512)), Bay::empty()];
        let disks = vec![Bay::with(numbered(20 * 16 * 63, 512)), Bay::with(numbered(3 * 16 * 63, 512))];
        Self::with(floppies, disks, vec![Bay::with(numbered(400, 2048))], BootOrder::default())
    }
    pub fn with(floppies: Vec<Arc<Bay>>, disks: Vec<Arc<Bay>>, cds: Vec<Arc<Bay>>, order: BootOrder) -> Self {
        let memory = GuestMemory::new(4 << 20, &[]).unwrap();
        memory.write(PhysAddr(0x40E), &EBDA.to_le_bytes());
        let machine = MachineRequests::new();
        machine.set_a20(crate::requests::A20Source::SystemControlA, true);
        let jobs = Arc::new(Jobs::default());
        let types = [4, 1];
        let floppy = |(bay, drive_type): (&Arc<Bay>, u8)| FloppyDrive {
            drive_type,
            drive: bay.drive(DrivePlace::Unattached, Media::Floppy),
        };
        let ata = |media: Media| {
            move |(unit, bay): (u8, &Arc<Bay>)| DiskDrive {
                place: Some(place(unit)),
                drive: bay.drive(DrivePlace::Unattached, media),
            }
        };
        let drives = Drives {
            floppies: floppies.iter().zip(types).map(floppy).collect(),
            disks: (0..).zip(&disks).map(ata(Media::Disk)).collect(),
            cds: (2..).zip(&cds).map(ata(Media::Cdrom)).collect(),
        };
        let master = BusMaster::new(memory.clone());
        let services = BiosServices::new(master, jobs.clone(), machine.clone(), drives, order);
        let mut bios = Self { memory, jobs, machine, services, floppies, disks };
        bios.call(0x100, |_| ());
        bios
    }
    fn begin(&mut self, service: u16, set: impl FnOnce(&mut Frame)) {
        self.begin_at(FRAME, service, set);
    }
    fn begin_at(&mut self, at: u64, service: u16, set: impl FnOnce(&mut Frame)) {
        let zero = [0; frame::FRAME_BYTES];
        self.memory.write(PhysAddr(at), &zero);
        self.memory.write(PhysAddr(at), &service.to_le_bytes());
        let mut frame = self.frame(at);
        set(&mut frame);
        self.master(|memory| frame.write(memory));
        self.services.port_write(Port(0x520), Width::Dword, at as u32, GuestTime::ZERO);
    }
    fn master<R>(&self, with: impl FnOnce(&BusMaster) -> R) -> R {
        let master = BusMaster::new(self.memory.clone());
        master.enable(true);
        with(&master)
    }
    fn frame(&self, at: u64) -> Frame {
        self.master(|memory| Frame::read(memory, PhysAddr(at)))
    }
    fn done(&mut self) -> bool {
        self.services.port_read(Port(0x524), Width::Byte, GuestTime::ZERO) == 0xFF
    }
    /// Workers do what waits for them.
    fn work(&mut self) {
        let jobs = std::mem::take(&mut *self.jobs.0.lock().unwrap());
        for (token, due, job) in jobs {
            let result = job();
            self.services.complete(token, &result, due);
        }
    }
    /// A whole call.
    pub fn call(&mut self, service: u16, set: impl FnOnce(&mut Frame)) -> Frame {
        self.begin(service, set);
        self.work();
        assert!(self.done());
        self.frame(FRAME)
    }
    /// INT 13h with AX, BX, CX, DX; ES:BX is a segment's offset.
    pub fn int13(&mut self, ax: u16, bx: u16, cx: u16, dx: u16) -> Frame {
        self.call(0x13, |frame| {
            frame.set_ax(ax);
            frame.set_bx(bx);
            frame.set_cx(cx);
            frame.set_dx(dx);
            frame.es = (BUFFER >> 4) as u16;
            frame.ds = 0;
            frame.esi = PACKET as u32;
        })
    }
    /// A call with an EDD packet.
    pub fn packet(&mut self, ax: u16, drive: u8, first: u64, count: u16) -> Frame {
        let mut packet = vec![16, 0];
        packet.extend(count.to_le_bytes());
        packet.extend(((BUFFER >> 4) << 16).to_le_bytes()[..4].iter());
        packet.extend(first.to_le_bytes());
        self.memory.write(PhysAddr(PACKET), &packet);
        self.int13(ax, 0, 0, drive.into())
    }
    pub fn bytes(&self, at: u64, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.memory.read(PhysAddr(at), &mut bytes);
        bytes
    }
    pub fn number_at(&self, at: u64) -> u32 {
        self.memory.read_u32(PhysAddr(at))
    }
    pub fn put(&self, at: u64, bytes: &[u8]) {
        self.memory.write(PhysAddr(at), bytes);
    }
    /// The text at a segment and an offset.
    pub fn text(&self, frame: &Frame) -> String {
        let bytes = self.bytes(frame.es_bx().0, 256);
        bytes.iter().take_while(|byte| **byte != 0).map(|byte| *byte as char).collect()
    }
}

/// Status and carry flag of a call.
pub fn status(frame: &Frame) -> u8 {
    assert_eq!(frame.flags & 1 != 0, frame.ah() != 0, "carry with AH {:02X}h", frame.ah());
    frame.ah()
}

#[test]
fn a_call_within_a_call_is_refused() {
    let mut bios = Bios::new();
    bios.begin(0x13, |frame| {
        frame.set_ax(0x0201);
        frame.set_cx(2);
        frame.set_dx(0x80);
        frame.es = (BUFFER >> 4) as u16;
    });
    assert!(!bios.done());
    bios.begin_at(FRAME + 0x100, 0x13, |frame| frame.set_ax(0x0800));
    assert_eq!(status(&bios.frame(FRAME + 0x100)), 0xAA);
    bios.work();
    assert_eq!((status(&bios.frame(FRAME)), bios.number_at(BUFFER)), (0, 1));
    assert!(bios.done());
}

#[test]
fn only_a_dword_begins_a_call() {
    let mut bios = Bios::new();
    bios.put(FRAME, &[0x13, 0, 0, 0]);
    for (port, width) in [(0x520, Width::Word), (0x521, Width::Byte), (0x524, Width::Dword)] {
        bios.services.port_write(Port(port), width, FRAME as u32, GuestTime::ZERO);
    }
    assert!(bios.done() && bios.jobs.0.lock().unwrap().is_empty());
    assert_eq!(bios.services.port_read(Port(0x520), Width::Dword, GuestTime::ZERO), u32::MAX);
}

#[test]
fn services_that_do_not_exist_are_refused() {
    let mut bios = Bios::new();
    for service in [0, 0x14, 0x104, 0xFFFF] {
        let frame = bios.call(service, |_| ());
        assert_eq!((frame.ah(), frame.flags), (0x86, 1), "{service:#x}");
    }
}

#[test]
fn a_reset_forgets_a_call_under_way() {
    let mut bios = Bios::new();
    bios.begin(0x13, |frame| {
        frame.set_ax(0x0201);
        frame.set_cx(1);
        frame.set_dx(0x80);
    });
    bios.services.reset(GuestTime::ZERO);
    assert!(bios.done());
    let before = bios.frame(FRAME);
    bios.work();
    assert_eq!(bios.frame(FRAME), before);
}

#[test]
fn a_call_goes_on_after_a_restore() {
    use trimotor_bus::SaveState;
    let mut bios = Bios::new();
    bios.put(BUFFER, &[0x77; 512]);
    bios.begin(0x13, |frame| {
        frame.set_ax(0x0301);
        frame.set_cx(3);
        frame.set_dx(0x80);
        frame.es = (BUFFER >> 4) as u16;
    });
    let saved = bios.services.save();
    bios.jobs.0.lock().unwrap().clear();
    bios.services.reset(GuestTime::ZERO);
    // What is written is what the buffer had when the call began.
    bios.put(BUFFER, &[0; 512]);
    bios.services.restore(saved.clone()).unwrap();
    assert_eq!(bios.services.save(), saved);
    bios.work();
    assert_eq!(status(&bios.frame(FRAME)), 0);
    assert_eq!(bios.disks[0].content()[1024..1536], [0x77; 512]);
}
