//! INT 13h for hard disks: the functions of the PC AT, by cylinder, head and sector.
//!
//! | AH | function | AH | function |
//! |---|---|---|---|
//! | 00h, 0Dh | reset | 0Ch | seek |
//! | 01h | status of the last call | 10h | is the drive ready |
//! | 02h, 03h, 04h | read, write, verify | 11h | recalibrate |
//! | 08h | geometry, number of disks | 14h | controller diagnostic |
//! | 09h | initialise by parameter table | 15h | type, number of sectors |
//!
//! Formatting (05h to 07h), long sectors with their ECC (0Ah, 0Bh) and diagnostics of the first PC disks (0Eh to 13h but for those above) are
//! refused: IDE disks do not have them. Functions from 41h on are in [`extensions`](super::extensions).

use super::drives::{Volume, disk_volume};
use super::frame::Frame;
use super::geometry::Geometry;
use super::low_memory::{DISK_STATUS, read_byte};
use super::request::{Destination, Step, Work};
use super::status::Status;
use super::transfer::{Action, Transfer};
use super::{BiosServices, Target};

/// The most sectors of a call: a DMA transfer has 64 KiB (PC AT Technical Reference, BIOS listing, "DISK").
const MAX_COUNT: u8 = 128;
/// AH of function 15h for a hard disk.
const TYPE_HARD_DISK: u8 = 3;

impl BiosServices {
    /// A call for hard disk `index`.
    pub(super) fn disk_call(&mut self, frame: &mut Frame, index: u8) -> Step {
        let Some(drive) = self.drives.disks.get(usize::from(index)) else {
            return Step::Done(Status::BadCommand);
        };
        let Some((volume, geometry)) = disk_volume(drive) else { return Step::Done(Status::NotReady) };
        if frame.ah() >= 0x41 {
            return self.extended_call(frame, Target::Disk(index), Some(&volume));
        }
        self.chs_call(frame, Target::Disk(index), &volume, geometry)
    }

    /// A call by cylinder, head and sector, for a hard disk or one that is emulated.
    pub(super) fn chs_call(
        &mut self,
        frame: &mut Frame,
        target: Target,
        volume: &Volume,
        geometry: Geometry,
    ) -> Step {
        let told = if target == Target::Emulated { geometry } else { geometry.told() };
        match frame.ah() {
            0x00 | 0x09 | 0x0D | 0x10 | 0x11 => Step::Done(Status::Ok),
            0x01 => {
                let status = read_byte(&self.memory, DISK_STATUS);
                frame.set_ah(status);
                frame.set_carry(status != 0);
                Step::Answered
            }
            0x02..=0x04 => self.move_sectors(frame, target, volume, geometry),
            0x08 => {
                let (last, head) = told.last();
                let count = self.disk_count();
                frame.set_al(0);
                frame.set_cx(last);
                frame.set_dx(u16::from(head) << 8 | u16::from(count));
                Step::Done(Status::Ok)
            }
            0x0C => {
                let (cylinder, head, _) = frame.chs();
                let there = geometry.sector_number((cylinder, head, 1)).is_some();
                Step::Done(if there { Status::Ok } else { Status::BadCommand })
            }
            0x14 => {
                frame.set_al(0);
                Step::Done(Status::Ok)
            }
            0x15 => {
                let sectors = told.total().min(volume.sectors) as u32;
                frame.set_cx((sectors >> 16) as u16);
                frame.set_dx(sectors as u16);
                self.set_last_status(frame.drive, Status::Ok);
                frame.set_ah(TYPE_HARD_DISK);
                frame.set_carry(false);
                Step::Answered
            }
            _ => Step::Done(Status::BadCommand),
        }
    }

    /// Functions 02h to 04h.
    fn move_sectors(
        &mut self,
        frame: &mut Frame,
        target: Target,
        volume: &Volume,
        geometry: Geometry,
    ) -> Step {
        let count = frame.al();
        let Some(first) = geometry.sector_number(frame.chs()) else {
            frame.set_al(0);
            return Step::Done(Status::BadCommand);
        };
        if count == 0 || count > MAX_COUNT {
            frame.set_al(0);
            return Step::Done(Status::BadCommand);
        }
        let bytes = usize::from(count) * volume.sector_bytes as usize;
        // The controller is given a segment whose offset is below 16, and counts 64 KiB from there.
        if frame.ah() != 0x04 && usize::from(frame.bx() & 0xF) + bytes > 0x1_0000 {
            frame.set_al(0);
            return Step::Done(Status::DmaBoundary);
        }
        let buffer = frame.es_bx();
        let action = match frame.ah() {
            0x02 => Action::Read,
            0x03 if volume.read_only() => {
                frame.set_al(0);
                return Step::Done(Status::WriteProtected);
            }
            0x03 => Action::Write { bytes: self.read_buffer(buffer, bytes), verify: false },
            _ => Action::Verify,
        };
        let transfer = Transfer { first, count: count.into(), action };
        Step::Wait(Work::Sectors { target, transfer, destination: Destination::Count { buffer } })
    }

    /// Hard disks, with one that is emulated.
    pub(super) fn disk_count(&self) -> u8 {
        let emulated = self.session.as_ref().is_some_and(|s| s.emulates(super::drives::FIRST_DISK));
        self.drives.disks.len() as u8 + u8::from(emulated)
    }
}
