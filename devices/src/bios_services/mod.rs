//! The BIOS's disk services: what INT 13h, INT 40h and the start from a disk do, behind three ports.
//!
//! Our BIOS is code in ROM, but for what touches disks. There a stub of a few instructions saves the caller's registers on the stack, as
//! a [`Frame`], and writes the frame's physical address here. The device reads the frame and the caller's buffers by DMA, has a worker
//! thread read or write the disk, and writes results to guest memory. The stub waits, loads the registers and returns.
//!
//! | port | access | what |
//! |---|---|---|
//! | 520h | dword write | the address of a frame: begins a call |
//! | 524h | byte read | bit 0: no call is under way |
//!
//! There is no interrupt. A call that needs no disk is done when the write returns. A call that is begun while another one is under
//! way is refused at once with status AAh, as a drive that is not ready, and the other one goes on.
//!
//! | service | what |
//! |---|---|
//! | 13h, 40h | disk calls: by DL [`hard_disk`], [`extensions`], [`floppy`], [`cd_boot`] |
//! | 0100h | power-on: counts drives and writes their tables ([`low_memory`]) |
//! | 0101h | loads what entry AL of the boot order boots from ([`boot`]) |
//! | 0102h | names entry AL |
//! | 0103h | says whether a menu is wanted |
//!
//! Anything else returns with AH = 86h and the carry flag set.
//!
//! **Past the controller.** The device reads and writes the content of a drive directly; it touches no register of the IDE or
//! floppy controller. That is allowed, because BIOS calls and an operating system's own driver take turns: whoever uses INT 13h
//! waits for its end, and a driver has finished its commands before a program can call the BIOS again. The controllers of this emulator
//! keep no sector in a cache of their own, so what one way wrote the other way reads. Registers stay as the driver
//! left them. A read-only disk is write-protected here too (03h), a drive whose medium was taken out has none (80h, 31h), and that a medium was
//! changed is told once in INT 13h's own way (06h).
//!
//! **Time.** Where guest time counts instructions, a call takes what a disk of 2000 took roughly, without its mechanics: [`CALL_NS`] and
//! [`BYTE_NS`] for each byte.
//!
//! Left out: PCI BIOS calls, which the ROM makes itself, because a device must not use another one; buffers in device memory
//! (a bus master does not reach it: such a buffer takes nothing and reads as ones).

pub mod boot;
pub mod cd_boot;
pub mod drives;
pub mod edd;
pub mod el_torito;
pub mod extensions;
pub mod floppy;
pub mod frame;
pub mod geometry;
pub mod hard_disk;
pub mod low_memory;
mod post;
pub mod request;
mod saved;
mod saved_request;
pub mod status;
pub mod transfer;

pub use boot::{BootKind, BootOrder};
pub use drives::{AtaPlace, DiskDrive, Drives, FloppyDrive};
pub use saved::BiosServicesStateV1;

use crate::device::{Completion, Device, Job, OutsideRef};
use crate::disk_work::{self, Follows, RETRY_NS, follows};
use crate::drive::{Direction, Drive};
use crate::requests::MachineRequests;
use cd_boot::Session;
use drives::{FIRST_CD, FIRST_DISK, MediumWatch};
use frame::Frame;
use low_memory::{DISK_STATUS, FLOPPY_STATUS};
use request::{Destination, Request, Step, Work};
use status::Status;
use transfer::{Action, Outcome};
use trimotor_bus::{BusMaster, DmaBus, GuestTime, PhysAddr, Port, PortDevice, Timed, Width};

/// The first port.
pub const FIRST_PORT: Port = Port(0x520);
/// How many ports there are.
pub const PORTS: u16 = 5;
const BEGIN: Port = FIRST_PORT;
const STATUS: Port = Port(0x524);
/// Nanoseconds that a call takes.
pub const CALL_NS: u64 = 100_000;
/// Nanoseconds that it takes more for each byte: 100 MB a second.
pub const BYTE_NS: u64 = 10;
/// AH for services that do not exist.
const NO_SERVICE: u8 = 0x86;
/// Bit 20 of an address.
const A20: u64 = 1 << 20;

/// The drive that a call is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// A floppy drive.
    Floppy(u8),
    /// A hard disk.
    Disk(u8),
    /// A CD-ROM drive.
    Cd(u8),
    /// The disk that is emulated from a CD.
    Emulated,
}

/// What is remembered of a CD-ROM drive.
#[derive(Clone, Default)]
struct CdState {
    /// How often function 45h locked the medium, and did not unlock it.
    locks: u8,
    /// Which medium calls have been told of.
    watch: MediumWatch,
}

/// The device.
pub struct BiosServices {
    memory: BusMaster,
    outside: OutsideRef,
    machine: MachineRequests,

    drives: Drives,
    boot: BootOrder,

    /// Which medium of each floppy drive calls have been told of.
    floppy_watches: Vec<MediumWatch>,
    cds: Vec<CdState>,
    /// The hard disk that has number 80h.
    first_disk: u8,
    /// The CD that was booted from.
    session: Option<Session>,
    /// How often the power-on service was called; the battery keeps it.
    starts: u64,
    /// Calls that waited for a worker so far: the number of a request.
    begun: u64,
    request: Option<Request>,
    /// The host failed and the machine was paused: when the request is done again.
    again_at: Option<GuestTime>,
    /// Whether a failure of the host has been told since the last success.
    told: bool,
}

impl BiosServices {
    /// The services for these drives. `memory` is opened: the guest has no switch for it.
    pub fn new(
        memory: BusMaster,
        outside: OutsideRef,
        machine: MachineRequests,
        drives: Drives,
        boot: BootOrder,
    ) -> Self {
        memory.enable(true);
        let drives = drives.numbered();
        Self {
            floppy_watches: vec![MediumWatch::default(); drives.floppies.len()],
            cds: vec![CdState::default(); drives.cds.len()],
            memory,
            outside,
            machine,
            drives,
            boot,
            first_disk: 0,
            session: None,
            starts: 0,
            begun: 0,
            request: None,
            again_at: None,
            told: false,
        }
    }

    /// A frame's address was written: the call begins.
    fn begin(&mut self, at: PhysAddr, now: GuestTime) {
        let mut frame = Frame::read(&self.memory, at);
        if self.request.is_some() {
            frame.set_status(Status::NotReady);
            frame.write(&self.memory);
            return;
        }
        match self.call(&mut frame) {
            Step::Done(status) => self.finish(frame, Some(status)),
            Step::Answered => self.finish(frame, None),
            Step::Wait(work) => self.wait_for(frame, work, now),
        }
    }
    /// Has a worker do something for a call.
    fn wait_for(&mut self, frame: Frame, work: Work, now: GuestTime) {
        let begins = self.limited(&work).map_or(now, |(drive, cost)| drive.admit(Some(cost), now));
        let due = begins + (CALL_NS + BYTE_NS * work.bytes());
        self.begun = self.begun.wrapping_add(1);
        let request = Request { frame, work, due };
        self.start_worker(&request);
        self.request = Some(request);
    }
    /// The drive that a call for sectors is about, and what the call costs of the drive's limits.
    fn limited(&self, work: &Work) -> Option<(Drive, (Direction, u64))> {
        let Work::Sectors { target, transfer, .. } = work else { return None };
        let direction = match transfer.action {
            Action::Write { .. } | Action::Fill(_) => Direction::Write,
            Action::Read | Action::Verify => Direction::Read,
        };
        Some((self.drive_of(*target)?, (direction, work.bytes())))
    }
    /// What follows where the host failed to move sectors; nothing where it did not fail.
    fn after_failure(&mut self, work: &Work, outcome: &Outcome<'_>) -> Option<Follows> {
        let Work::Sectors { target, transfer, .. } = work else { return None };
        let Some(failure) = &outcome.host else {
            self.told &= outcome.status != Status::Ok;
            return None;
        };
        let drive = self.drive_of(*target)?;
        let as_controller = match transfer.action {
            Action::Write { .. } | Action::Fill(_) => disk_work::Work::Write { offset: 0, through: false },
            Action::Read | Action::Verify => disk_work::Work::Read { offset: 0, bytes: 0 },
        };
        Some(follows(drive.config(), as_controller, failure, &mut self.told, &self.machine))
    }
    /// The drive that a target's sectors are in.
    fn drive_of(&self, target: Target) -> Option<Drive> {
        let Drives { floppies, disks, cds } = &self.drives;
        Some(match target {
            Target::Floppy(index) => floppies.get(usize::from(index))?.drive.clone(),
            Target::Disk(index) => disks.get(usize::from(index))?.drive.clone(),
            Target::Cd(index) => cds.get(usize::from(index))?.drive.clone(),
            Target::Emulated => cds.get(usize::from(self.session?.cd))?.drive.clone(),
        })
    }
    fn call(&mut self, frame: &mut Frame) -> Step {
        match frame.service {
            0x13 => self.disk_service(frame),
            0x40 if frame.drive < FIRST_DISK => self.disk_service(frame),
            0x40 => Step::Done(Status::BadCommand),
            0x100 => self.power_on_call(frame),
            0x101 => self.boot_call(frame),
            0x102 => self.name_call(frame),
            0x103 => self.menu_call(frame),
            _ => {
                frame.set_ah(NO_SERVICE);
                frame.set_carry(true);
                Step::Answered
            }
        }
    }
    fn disk_service(&mut self, frame: &mut Frame) -> Step {
        if (0x4A..=0x4D).contains(&frame.ah()) {
            return self.emulation_call(frame);
        }
        match self.target(frame.drive) {
            Some(Target::Floppy(index)) => self.floppy_call(frame, index),
            Some(Target::Disk(index)) => self.disk_call(frame, index),
            Some(Target::Cd(index)) => self.cd_call(frame, index),
            Some(Target::Emulated) => self.emulated_call(frame),
            None => self.no_drive(frame),
        }
    }
    /// The drive of a number.
    fn target(&self, number: u8) -> Option<Target> {
        if self.session.is_some_and(|session| session.emulates(number)) {
            return Some(Target::Emulated);
        }
        let shift = |first| u8::from(self.session.is_some_and(|session| session.emulates(first)));
        if number >= FIRST_CD {
            let index = number - FIRST_CD;
            return (usize::from(index) < self.drives.cds.len()).then_some(Target::Cd(index));
        }
        if number >= FIRST_DISK {
            let index = (number - FIRST_DISK).checked_sub(shift(FIRST_DISK))?;
            return (usize::from(index) < self.drives.disks.len())
                .then(|| Target::Disk(self.ordered_disk(index)));
        }
        let index = number.checked_sub(shift(0))?;
        (usize::from(index) < self.drives.floppies.len()).then_some(Target::Floppy(index))
    }
    /// The hard disk of a number, counted from 80h: the one that was booted from is the first.
    fn ordered_disk(&self, index: u8) -> u8 {
        match index {
            0 => self.first_disk,
            _ if index <= self.first_disk => index - 1,
            _ => index,
        }
    }
    /// A call for a drive that does not exist.
    fn no_drive(&self, frame: &mut Frame) -> Step {
        match frame.ah() {
            // A PC AT tells how many drives there are, and nothing more.
            0x08 if frame.drive < FIRST_DISK => {
                frame.set_ax(0);
                frame.set_bx(0);
                frame.set_cx(0);
                frame.set_dx(self.floppy_count().into());
                frame.es = 0;
                frame.set_di(0);
                Step::Done(Status::Ok)
            }
            0x08 => Step::Done(Status::NoParameters),
            0x15 => {
                frame.set_ah(0);
                frame.set_carry(false);
                Step::Answered
            }
            _ => Step::Done(Status::BadCommand),
        }
    }

    /// Writes the caller's registers, with `status` where the call did not set AH and the carry flag itself.
    fn finish(&mut self, mut frame: Frame, status: Option<Status>) {
        if let Some(status) = status {
            self.set_last_status(frame.drive, status);
            frame.set_status(status);
        }
        frame.write(&self.memory);
    }
    /// What function 01h tells afterwards.
    fn set_last_status(&self, drive: u8, status: Status) {
        let at = if drive < FIRST_DISK { FLOPPY_STATUS } else { DISK_STATUS };
        self.memory.dma_write(at, &[status as u8]);
    }

    /// Has a worker do what a request needs.
    fn start_worker(&self, request: &Request) {
        let job = self.job(&request.work).unwrap_or_else(|| Box::new(Vec::new));
        match self.limited(&request.work) {
            Some((drive, _)) => drive.give(&self.outside, self.begun, request.due, job),
            None => self.outside.begin(self.begun, request.due, job),
        }
    }
    /// What a worker does; nothing where the drive is empty by now.
    fn job(&self, work: &Work) -> Option<Job> {
        let limit = u64::from(low_memory::ebda(&self.memory)) << 4;
        match work.clone() {
            Work::Sectors { target, transfer, .. } => {
                let volume = self.target_volume(target)?;
                Some(Box::new(move || transfer.carry_out(&volume)))
            }
            Work::Boot { entry } => self.boot_job(entry),
            Work::Catalog { cd, first, count, .. } => {
                let volume = self.target_volume(Target::Cd(cd))?;
                Some(Box::new(move || cd_boot::carry_out_catalog(&volume, first, count)))
            }
            Work::Emulate { packet, start } => {
                let volume = self.target_volume(Target::Cd(self.cd_of_packet(&packet)?))?;
                Some(Box::new(move || cd_boot::carry_out_load(&volume, &packet, start, limit)))
            }
        }
    }

    /// Bytes of a buffer of the caller.
    fn read_buffer(&self, at: PhysAddr, bytes: usize) -> Vec<u8> {
        let mut read = vec![0; bytes];
        let mut done = 0;
        for (at, bytes) in self.pieces(at, bytes) {
            self.memory.dma_read(at, &mut read[done..done + bytes]);
            done += bytes;
        }
        read
    }
    /// What was read of a request, and zeros for the rest of its sectors.
    fn with_zeros(&self, work: &Work, read: &[u8]) -> Vec<u8> {
        let mut bytes = read.to_vec();
        if let Work::Sectors { target, transfer, .. } = work
            && transfer.action == Action::Read
            && let Some(volume) = self.target_volume(*target)
        {
            bytes.resize(usize::from(transfer.count) * volume.sector_bytes as usize, 0);
        }
        bytes
    }
    /// Fills a buffer of the caller.
    fn write_buffer(&self, at: PhysAddr, from: &[u8]) {
        let mut rest = from;
        for (at, bytes) in self.pieces(at, from.len()) {
            let (piece, behind) = rest.split_at(bytes.min(rest.len()));
            self.memory.dma_write(at, piece);
            rest = behind;
        }
    }
    /// A range of memory in pieces within a page each. With gate A20 closed, a program's own copy would find no
    /// address line 20, so nor does this one.
    fn pieces(&self, at: PhysAddr, bytes: usize) -> impl Iterator<Item = (PhysAddr, usize)> + use<> {
        let mask = if self.machine.a20() { u64::MAX } else { !A20 };
        let (mut at, mut left) = (at, bytes);
        std::iter::from_fn(move || {
            let size = left.min((0x1000 - at.page_offset()) as usize);
            let piece = (size > 0).then_some((PhysAddr(at.0 & mask), size));
            at = at.offset(size as u64);
            left -= size;
            piece
        })
    }
}

impl Completion for BiosServices {
    fn complete(&mut self, token: u64, result: &[u8], now: GuestTime) {
        if token != self.begun || self.again_at.is_some() {
            return;
        }
        let Some(Request { mut frame, work, due }) = self.request.take() else { return };
        let mut outcome = Outcome::of(result);
        let rest;
        match self.after_failure(&work, &outcome) {
            Some(Follows::Again) => {
                self.request = Some(Request { frame, work, due });
                self.again_at = Some(now + RETRY_NS);
                return;
            }
            Some(Follows::Success) => {
                // What could not be read is zeros.
                rest = self.with_zeros(&work, outcome.bytes);
                let count = if let Work::Sectors { transfer, .. } = &work { transfer.count } else { 0 };
                outcome = Outcome { status: Status::Ok, count, bytes: &rest, host: None };
            }
            Some(Follows::Error) | None => {}
        }
        let mut status = Some(outcome.status);
        match work {
            Work::Sectors { destination: Destination::Count { buffer }, .. } => {
                self.write_buffer(buffer, outcome.bytes);
                frame.set_al(outcome.count.min(255) as u8);
            }
            Work::Sectors { destination: Destination::Packet { buffer, packet }, .. } => {
                self.write_buffer(buffer, outcome.bytes);
                self.set_packet_count(packet, outcome.count);
            }
            Work::Sectors { destination: Destination::Nothing, .. } => {}
            Work::Catalog { buffer, .. } => self.write_buffer(buffer, outcome.bytes),
            Work::Boot { entry } => {
                self.booted(&mut frame, entry, result);
                status = None;
            }
            Work::Emulate { packet, start } if outcome.status == Status::Ok => {
                status = Some(self.begin_emulation(&mut frame, packet, start, outcome.bytes));
            }
            Work::Emulate { .. } => {}
        }
        self.finish(frame, status);
    }
}

impl Timed for BiosServices {
    fn next_event(&self) -> Option<GuestTime> {
        self.again_at
    }
    fn advance(&mut self, now: GuestTime) {
        if self.again_at.is_some_and(|at| at <= now) {
            self.again_at = None;
            if let Some(Request { frame, work, .. }) = self.request.take() {
                self.wait_for(frame, work, now);
            }
        }
    }
}

impl PortDevice for BiosServices {
    fn port_read(&mut self, port: Port, width: Width, _now: GuestTime) -> u32 {
        let ones = width.mask() as u32;
        if port == STATUS { ones & !1 | u32::from(self.request.is_none()) } else { ones }
    }
    fn port_write(&mut self, port: Port, width: Width, value: u32, now: GuestTime) {
        if port == BEGIN && width == Width::Dword {
            self.begin(PhysAddr(value.into()), now);
        }
    }
}

impl Device for BiosServices {
    fn reset(&mut self, _now: GuestTime) {
        self.first_disk = 0;
        self.session = None;
        self.request = None;
        self.again_at = None;
        // A reset unlocks what a program locked.
        self.cds.iter_mut().for_each(|cd| cd.locks = 0);
    }
    fn info(&self) -> String {
        let Drives { floppies, disks, cds } = &self.drives;
        let doing = match &self.request {
            Some(request) => {
                format!("service {:02X}h, AH {:02X}h under way", request.frame.service, request.frame.ah())
            }
            None => "idle".to_owned(),
        };
        format!("{} floppies, {} hard disks, {} CDs; {doing}", floppies.len(), disks.len(), cds.len())
    }
    fn ports(&mut self) -> Option<&mut dyn PortDevice> {
        Some(self)
    }
    fn timed(&mut self) -> Option<&mut dyn Timed> {
        Some(self)
    }
    fn completion(&mut self) -> Option<&mut dyn Completion> {
        Some(self)
    }
}

#[cfg(test)]
mod tests;
