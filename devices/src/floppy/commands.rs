//! Commands and their results.

use super::chip::FloppyController;
use super::state::{MOST_COMMAND, Phase};
use crate::disk_work::Work;
use trimotor_bus::GuestTime;

/// Status 0: the command ended abnormally.
pub(super) const ABNORMAL: u8 = 0x40;
/// Status 1: no address mark.
pub(super) const MISSING_ADDRESS_MARK: u8 = 1 << 0;
/// Status 1: write protected.
pub(super) const NOT_WRITABLE: u8 = 1 << 1;
/// Status 1: no such sector.
pub(super) const NO_DATA: u8 = 1 << 2;
/// Status 1: the host was too slow.
pub(super) const OVERRUN: u8 = 1 << 4;
/// Status 1: wrong checksum. Status 2: of the data.
pub(super) const DATA_ERROR: u8 = 1 << 5;
/// Status 1: the transfer went beyond the last sector.
pub(super) const END_OF_CYLINDER: u8 = 1 << 7;
/// Status 2: another cylinder is under the head.
pub(super) const WRONG_CYLINDER: u8 = 1 << 4;

/// The first byte: several tracks (both sides).
pub(super) const MULTI_TRACK: u8 = 1 << 7;
/// The first byte: double density, which all these disks have.
const MFM: u8 = 1 << 6;

/// Operation codes: the last five bits of the first byte.
pub(super) mod op {
    pub const READ_TRACK: u8 = 0x02;
    pub const SPECIFY: u8 = 0x03;
    pub const SENSE_DRIVE: u8 = 0x04;
    pub const WRITE: u8 = 0x05;
    pub const READ: u8 = 0x06;
    pub const RECALIBRATE: u8 = 0x07;
    pub const SENSE_INTERRUPT: u8 = 0x08;
    pub const WRITE_DELETED: u8 = 0x09;
    pub const READ_ID: u8 = 0x0A;
    pub const READ_DELETED: u8 = 0x0C;
    pub const FORMAT: u8 = 0x0D;
    pub const DUMP_REGISTERS: u8 = 0x0E;
    pub const SEEK: u8 = 0x0F;
    pub const VERSION: u8 = 0x10;
    pub const PERPENDICULAR: u8 = 0x12;
    pub const CONFIGURE: u8 = 0x13;
    pub const LOCK: u8 = 0x14;
    pub const VERIFY: u8 = 0x16;
}

/// Bytes of a command by its first one; `None` where the chip knows none.
fn length(first: u8) -> Option<usize> {
    let (code, flags) = (first & 0x1F, first & 0xE0);
    Some(match code {
        op::READ_TRACK | op::WRITE | op::READ | op::WRITE_DELETED | op::READ_DELETED | op::VERIFY => {
            MOST_COMMAND
        }
        op::FORMAT if flags & !MFM == 0 => 6,
        op::CONFIGURE if flags == 0 => 4,
        op::SPECIFY if flags == 0 => 3,
        op::SEEK if matches!(flags, 0 | 0x80 | 0xC0) => 3,
        op::SENSE_DRIVE | op::RECALIBRATE | op::PERPENDICULAR if flags == 0 => 2,
        op::READ_ID if flags & !MFM == 0 => 2,
        op::SENSE_INTERRUPT | op::DUMP_REGISTERS | op::VERSION if flags == 0 => 1,
        op::LOCK if flags & 0x7F == 0 => 1,
        _ => return None,
    })
}

/// Whether these bytes are a command that lacks some, or nothing yet.
pub(super) fn is_begun(bytes: &[u8]) -> bool {
    bytes.first().is_none_or(|first| length(*first).is_some_and(|length| bytes.len() < length))
}

impl FloppyController {
    pub(super) fn byte(&self, at: usize) -> u8 {
        self.state.command.get(at).copied().unwrap_or(0)
    }
    /// Drive and head that the second byte names.
    pub(super) fn drive_and_head(&self) -> (u8, u8) {
        (self.byte(1) & 3, self.byte(1) >> 2 & 1)
    }
    /// The command's operation.
    pub(super) fn operation(&self) -> u8 {
        self.byte(0) & 0x1F
    }
    pub(super) fn is_double_density(&self) -> bool {
        self.byte(0) & MFM != 0
    }

    pub(super) fn command_byte(&mut self, value: u8, now: GuestTime) {
        self.state.command.push(value);
        match length(self.byte(0)) {
            None => self.answer(vec![0x80]),
            Some(length) if self.state.command.len() >= length => self.execute(now),
            Some(_) => {}
        }
    }
    /// Gives a result without an interrupt.
    fn answer(&mut self, result: Vec<u8>) {
        self.state.result = result;
        self.state.result_read = 0;
        self.state.phase = Phase::Result;
    }
    /// Ends a command that moves data or looks for sectors: a result with an interrupt.
    pub(super) fn end(&mut self, statuses: [u8; 3], address: [u8; 4]) {
        let (drive, head) = self.drive_and_head();
        let [status, one, two] = statuses;
        let mut result = vec![status | head << 2 | drive, one, two];
        result.extend(address);
        self.answer(result);
        self.state.buffer = Vec::new();
        self.state.position = 0;
        self.state.result_interrupt = true;
    }
    /// Ends a command without success; the address is that of the command.
    pub(super) fn fail(&mut self, one: u8, two: u8) {
        let address = [self.byte(2), self.byte(3), self.byte(4), self.byte(5)];
        self.end([ABNORMAL, one, two], address);
    }

    fn execute(&mut self, now: GuestTime) {
        let (drive, _) = self.drive_and_head();
        match self.operation() {
            op::SPECIFY => {
                self.state.specify = [self.byte(1), self.byte(2)];
                self.idle();
            }
            op::SENSE_DRIVE => self.sense_drive(),
            op::RECALIBRATE => {
                self.seek(drive, 0, now);
                self.idle();
            }
            op::SEEK => {
                let (cylinder, by) = (self.head(drive).cylinder, self.byte(2));
                let to = match self.byte(0) & 0xC0 {
                    0 => by,
                    0xC0 => cylinder.saturating_add(by),
                    _ => cylinder.saturating_sub(by),
                };
                self.seek(drive, to, now);
                self.idle();
            }
            op::SENSE_INTERRUPT => self.sense_interrupt(),
            op::VERSION => self.answer(vec![0x90]),
            op::DUMP_REGISTERS => self.dump_registers(),
            op::PERPENDICULAR => {
                let (value, old) = (self.byte(1), self.state.perpendicular);
                // The bits of the drives change where bit 7 allows it.
                let drives = if value & 0x80 != 0 { value & 0x3C } else { old & 0x3C };
                self.state.perpendicular = drives | value & 3;
                self.idle();
            }
            op::CONFIGURE => {
                (self.state.configure, self.state.precompensation) = (self.byte(2) & 0x7F, self.byte(3));
                self.idle();
            }
            op::LOCK => {
                self.state.lock = self.byte(0) & 0x80 != 0;
                self.answer(vec![u8::from(self.state.lock) << 4]);
            }
            // Looking for the next address mark takes a while.
            op::READ_ID => self.begin(Work::Nothing, now),
            op::FORMAT => self.start_format(now),
            _ => self.start_data(now),
        }
    }
    fn sense_drive(&mut self) {
        let (drive, head) = self.drive_and_head();
        let mut status = 0x28 | head << 2 | drive;
        if let Some(unit) = self.unit(drive) {
            let protected = unit.drive.medium().is_none_or(|medium| medium.limits().read_only);
            status |= u8::from(protected) << 6 | u8::from(self.head(drive).track == 0) << 4;
        }
        self.answer(vec![status]);
    }
    fn sense_interrupt(&mut self) {
        let waiting = self.state.heads.iter_mut().find(|head| head.interrupt.is_some());
        match waiting.and_then(|head| Some((head.interrupt.take()?, head.cylinder))) {
            Some((status, cylinder)) => self.answer(vec![status, cylinder]),
            None => self.answer(vec![0x80]),
        }
    }
    fn dump_registers(&mut self) {
        let s = &self.state;
        let mut result: Vec<u8> = s.heads.iter().map(|head| head.cylinder).collect();
        result.extend(s.specify);
        // Sectors of a track, as the last command that named them had it.
        result.push(0);
        result.extend([u8::from(s.lock) << 7 | s.perpendicular, s.configure, s.precompensation]);
        self.answer(result);
    }
    /// READ ID: which sector comes next under the head.
    pub(super) fn tell_id(&mut self, now: GuestTime) {
        /// Nanoseconds of a turn.
        const TURN_NS: u64 = 200_000_000;
        let (drive, head) = self.drive_and_head();
        match self.readable(drive) {
            Some((_, geometry, cylinder)) if head < geometry.heads && self.is_double_density() => {
                let sectors = u64::from(geometry.sectors);
                let next = now.ns() % TURN_NS * sectors / TURN_NS;
                self.end([0, 0, 0], [cylinder, head, next as u8 + 1, 2]);
            }
            _ => self.end([ABNORMAL, MISSING_ADDRESS_MARK, 0], [0, head, 0, 0]),
        }
    }
}
