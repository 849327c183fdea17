//! INT 13h and INT 40h for floppy drives.
//!
//! | AH | function | AH | function |
//! |---|---|---|---|
//! | 00h | reset | 08h | parameters of the drive |
//! | 01h | status of the last call | 15h | does the drive notice a changed medium |
//! | 02h, 03h, 04h | read, write, verify | 16h | was the medium changed |
//! | 05h | format a track | 17h, 18h | the medium that is going to be formatted |
//!
//! A drive of this emulator always notices that its medium was changed. The first call after that fails with status 06h, as on a
//! PC AT, and the next one works; programs look at what is in the drive again and repeat the call. A drive without a medium times
//! out (80h).
//!
//! The DMA controller counts within 64 KiB: a buffer that crosses such a boundary is refused (09h).

use super::drives::floppy_medium;
use super::frame::Frame;
use super::geometry::{FLOPPY_FORMATS, FloppyFormat, Geometry, format_of_drive};
use super::low_memory::{
    DISKETTE_PARAMETERS, FLOPPY_CALIBRATED, FLOPPY_STATUS, FLOPPY_TRACK, MEDIA_STATE, put, read_byte,
};
use super::request::{Destination, Step, Work};
use super::status::Status;
use super::transfer::{Action, Transfer};
use super::{BiosServices, Target};
use trimotor_bus::{DmaBus, PhysAddr};

/// AH of function 15h: the drive notices changes.
const TYPE_WITH_CHANGE_LINE: u8 = 2;
/// The vector of the diskette parameter table that programs may set.
const PARAMETER_VECTOR: PhysAddr = PhysAddr(4 * 0x1E);
/// The byte in that table with what formatting fills sectors with.
const FILL_OFFSET: u64 = 8;
/// What formatting says of a sector of 512 bytes.
const SIZE_512: u8 = 2;

impl BiosServices {
    /// A call for floppy drive `index`.
    pub(super) fn floppy_call(&mut self, frame: &mut Frame, index: u8) -> Step {
        let Some(drive) = self.drives.floppies.get(usize::from(index)) else {
            return Step::Done(Status::BadCommand);
        };
        let drive_type = drive.drive_type;
        match frame.ah() {
            0x00 => {
                self.memory.dma_write(FLOPPY_CALIBRATED, &[0]);
                Step::Done(Status::Ok)
            }
            0x01 => {
                let status = read_byte(&self.memory, FLOPPY_STATUS);
                frame.set_ah(status);
                frame.set_carry(status != 0);
                Step::Answered
            }
            0x02..=0x05 => self.floppy_access(frame, index),
            0x08 => self.floppy_parameters(frame, index, drive_type),
            0x15 => {
                frame.set_ah(TYPE_WITH_CHANGE_LINE);
                frame.set_carry(false);
                Step::Answered
            }
            0x16 => Step::Done(if drive.drive.medium().is_none() {
                Status::TimeOut
            } else if self.note_floppy_medium(index) {
                Status::MediumChanged
            } else {
                Status::Ok
            }),
            0x17 => self.expect_type(frame, index, drive_type),
            0x18 => self.expect_format(frame, index, drive_type),
            _ => Step::Done(Status::BadCommand),
        }
    }

    /// Functions 02h to 05h.
    fn floppy_access(&mut self, frame: &mut Frame, index: u8) -> Step {
        let step = self.floppy_access_or_why_not(frame, index).unwrap_or_else(Step::Done);
        if matches!(step, Step::Done(_)) {
            frame.set_al(0);
        }
        step
    }
    fn floppy_access_or_why_not(&mut self, frame: &mut Frame, index: u8) -> Result<Step, Status> {
        let drive = self.drives.floppies.get(usize::from(index)).ok_or(Status::BadCommand)?;
        let drive_type = drive.drive_type;
        let (volume, format) = floppy_medium(drive).ok_or(Status::TimeOut)?;
        if self.note_floppy_medium(index) {
            return Err(Status::MediumChanged);
        }
        let fits = format.filter(|format| drive_takes(drive_type, format.drive_type));
        let format = fits.ok_or(Status::UnsupportedMedium)?;
        let (cylinder, head, sector) = frame.chs();
        let state = format.media_state_in(drive_type);
        self.memory.dma_write(MEDIA_STATE.offset(index.into()), &[state]);
        self.memory.dma_write(FLOPPY_TRACK.offset(index.into()), &[cylinder as u8]);
        let calibrated = read_byte(&self.memory, FLOPPY_CALIBRATED) | 1 << index;
        self.memory.dma_write(FLOPPY_CALIBRATED, &[calibrated]);
        let target = Target::Floppy(index);
        if frame.ah() == 0x05 {
            return self.format_track(frame, target, format);
        }
        let count = frame.al();
        if count == 0 || u32::from(count) > format.geometry.sectors * 2 {
            return Err(Status::BadCommand);
        }
        let first = format.geometry.sector_number((cylinder, head, sector)).ok_or(Status::SectorNotFound)?;
        let bytes = usize::from(count) * 512;
        let buffer = frame.es_bx();
        if frame.ah() != 0x04 && (buffer.0 & 0xFFFF) as usize + bytes > 0x1_0000 {
            return Err(Status::DmaBoundary);
        }
        // The controller goes from head 0 to head 1 and stops at the end of the cylinder.
        let per_cylinder = u64::from(format.geometry.heads * format.geometry.sectors);
        if first % per_cylinder + u64::from(count) > per_cylinder {
            return Err(Status::SectorNotFound);
        }
        let action = match frame.ah() {
            0x02 => Action::Read,
            0x03 if volume.read_only() => return Err(Status::WriteProtected),
            0x03 => Action::Write { bytes: self.read_buffer(buffer, bytes), verify: false },
            _ => Action::Verify,
        };
        let transfer = Transfer { first, count: count.into(), action };
        Ok(Step::Wait(Work::Sectors { target, transfer, destination: Destination::Count { buffer } }))
    }

    /// Function 05h: ES:BX has cylinder, head, sector and size of each sector of the track. An image has the sectors that it has, so
    /// only its own format can be made again.
    fn format_track(&self, frame: &Frame, target: Target, format: &FloppyFormat) -> Result<Step, Status> {
        let (cylinder, head, _) = frame.chs();
        let sectors = format.geometry.sectors;
        let first = format.geometry.sector_number((cylinder, head, 1)).ok_or(Status::SectorNotFound)?;
        let Target::Floppy(index) = target else { return Err(Status::BadCommand) };
        let drive = self.drives.floppies.get(usize::from(index)).ok_or(Status::BadCommand)?;
        if drive.drive.medium().is_none_or(|medium| medium.limits().read_only) {
            return Err(Status::WriteProtected);
        }
        let buffer = frame.es_bx();
        let marks = self.read_buffer(buffer, sectors as usize * 4);
        if (buffer.0 & 0xFFFF) as usize + marks.len() > 0x1_0000 {
            return Err(Status::DmaBoundary);
        }
        let mut seen = 0u64;
        for mark in marks.chunks_exact(4) {
            let here = mark[0] == cylinder as u8 && mark[1] == head && mark[3] == SIZE_512;
            if !here || !(1..=sectors).contains(&u32::from(mark[2])) {
                return Err(Status::UnsupportedMedium);
            }
            seen |= 1 << mark[2];
        }
        if seen.count_ones() != sectors {
            return Err(Status::UnsupportedMedium);
        }
        let fill = read_byte(&self.memory, self.parameter_table().offset(FILL_OFFSET));
        let transfer = Transfer { first, count: sectors as u16, action: Action::Fill(fill) };
        Ok(Step::Wait(Work::Sectors { target, transfer, destination: Destination::Nothing }))
    }
    /// Where vector 1Eh points to.
    fn parameter_table(&self) -> PhysAddr {
        let mut bytes = [0; 4];
        self.memory.dma_read(PARAMETER_VECTOR, &mut bytes);
        super::frame::real_mode(
            u16::from_le_bytes([bytes[2], bytes[3]]),
            u16::from_le_bytes([bytes[0], bytes[1]]),
        )
    }

    /// Function 08h.
    fn floppy_parameters(&mut self, frame: &mut Frame, index: u8, drive_type: u8) -> Step {
        let count = self.floppy_count();
        let Some(format) = format_of_drive(drive_type) else {
            return Step::Done(Status::BadCommand);
        };
        let (last, head) = format.geometry.last();
        let (segment, offset) = self.put_parameters(index, format);
        frame.set_ax(0);
        frame.set_bx(drive_type.into());
        frame.set_cx(last);
        frame.set_dx(u16::from(head) << 8 | u16::from(count));
        frame.es = segment;
        frame.set_di(offset);
        Step::Done(Status::Ok)
    }
    /// Writes the diskette parameter table of a drive; returns where it is.
    pub(super) fn put_parameters(&self, index: u8, format: &FloppyFormat) -> (u16, u16) {
        let mut table = format.parameters.to_vec();
        table.extend([format.geometry.cylinders.saturating_sub(1) as u8, format.rate]);
        put(&self.memory, DISKETTE_PARAMETERS + 16 * u16::from(index & 1), &table)
    }
    /// Function 17h: AL is 1 for 320K and 360K in a drive for them, 2 for those in a drive for 1.2M, 3 for 1.2M, 4 for 720K.
    fn expect_type(&mut self, frame: &Frame, index: u8, drive_type: u8) -> Step {
        const FORMATS: [(u8, u8, u8); 4] = [(1, 1, 0x93), (2, 1, 0x74), (3, 2, 0x15), (4, 3, 0x97)];
        let Some((_, made, state)) = FORMATS.into_iter().find(|(al, _, _)| *al == frame.al()) else {
            return Step::Done(Status::BadCommand);
        };
        if !drive_takes(drive_type, made) {
            return Step::Done(Status::BadCommand);
        }
        self.note_expected(index, state)
    }
    /// Function 18h: CH and CL have the last cylinder and sector.
    fn expect_format(&mut self, frame: &mut Frame, index: u8, drive_type: u8) -> Step {
        let (cylinder, _, sector) = frame.chs();
        let wanted = |format: &&FloppyFormat| {
            let Geometry { cylinders, sectors, .. } = format.geometry;
            cylinders == u32::from(cylinder) + 1
                && sectors == u32::from(sector)
                && drive_takes(drive_type, format.drive_type)
        };
        let Some(format) = FLOPPY_FORMATS.iter().find(wanted) else {
            return Step::Done(Status::UnsupportedMedium);
        };
        let step = self.note_expected(index, format.media_state_in(drive_type));
        if matches!(step, Step::Done(Status::Ok)) {
            let (segment, offset) = self.put_parameters(index, format);
            frame.es = segment;
            frame.set_di(offset);
        }
        step
    }
    fn note_expected(&mut self, index: u8, media_state: u8) -> Step {
        let drive = self.drives.floppies.get(usize::from(index));
        if drive.is_none_or(|drive| drive.drive.medium().is_none()) {
            return Step::Done(Status::TimeOut);
        }
        self.note_floppy_medium(index);
        self.memory.dma_write(MEDIA_STATE.offset(index.into()), &[media_state]);
        Step::Done(Status::Ok)
    }

    /// Notes which medium is in a drive now; returns whether it is another one than before.
    fn note_floppy_medium(&mut self, index: u8) -> bool {
        let at = usize::from(index);
        let (Some(drive), Some(watch)) = (self.drives.floppies.get(at), self.floppy_watches.get_mut(at))
        else {
            return false;
        };
        let changed = watch.changed(&drive.drive);
        watch.settle(&drive.drive);
        changed
    }
    /// Floppy drives, with one that is emulated.
    pub(super) fn floppy_count(&self) -> u8 {
        let emulated = self.session.as_ref().is_some_and(|session| session.emulates(0));
        self.drives.floppies.len() as u8 + u8::from(emulated)
    }
}

/// Whether a drive reads and writes media that are made for drives of type `made`.
fn drive_takes(drive_type: u8, made: u8) -> bool {
    matches!((drive_type, made), (2, 1) | (4, 3) | (5, 3 | 4)) || drive_type == made
}
