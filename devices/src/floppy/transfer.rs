//! Data between disk and memory or FIFO.

use super::chip::FloppyController;
use super::commands::*;
use super::geometry::Geometry;
use super::state::{MOST_DATA, Phase};
use crate::disk_work::{Follows, Outcome, RETRY_NS, Work, follows};
use trimotor_bus::GuestTime;

/// Bytes of a sector, and its number in the commands.
const SECTOR: usize = 512;
const SECTOR_CODE: u8 = 2;
/// SPECIFY: no DMA.
const NO_DMA: u8 = 1;
/// CONFIGURE: commands that move data seek before.
const IMPLIED_SEEK: u8 = 1 << 6;

/// The sectors of a command.
#[derive(Clone, Copy)]
struct Range {
    cylinder: u8,
    head: u8,
    first: u8,
    /// The last sector of a side.
    last: u8,
    /// Both sides.
    multi_track: bool,
    geometry: Geometry,
}

impl Range {
    /// Number of the first sector on the disk.
    fn start(&self) -> u64 {
        let track = u64::from(self.cylinder) * u64::from(self.geometry.heads) + u64::from(self.head);
        track * u64::from(self.geometry.sectors) + u64::from(self.first) - 1
    }
    /// How many there are.
    fn sectors(&self) -> usize {
        let first_side = usize::from(self.last - self.first) + 1;
        let goes_on = self.multi_track && self.head == 0 && self.geometry.heads > 1;
        // The other side follows on the disk where this one is read to its end.
        if goes_on && self.last == self.geometry.sectors {
            first_side + usize::from(self.last)
        } else {
            first_side
        }
    }
    /// The side of the last of `sectors` of them.
    fn last_side(&self, sectors: usize) -> u8 {
        let index = usize::from(self.first) - 1 + sectors.saturating_sub(1);
        if self.multi_track && index >= usize::from(self.last) { 1 } else { self.head }
    }
    /// Cylinder, head and sector behind `sectors` of them.
    fn behind(&self, sectors: usize) -> [u8; 4] {
        let last = usize::from(self.last);
        let sides = if self.multi_track { usize::from(self.geometry.heads) } else { 1 };
        let side = if self.multi_track { usize::from(self.head) } else { 0 };
        let index = side * last + usize::from(self.first) - 1 + sectors;
        if index >= sides * last {
            let head = if self.multi_track { 0 } else { self.head };
            return [self.cylinder.wrapping_add(1), head, 1, SECTOR_CODE];
        }
        let head = if self.multi_track { (index / last) as u8 } else { self.head };
        [self.cylinder, head, (index % last) as u8 + 1, SECTOR_CODE]
    }
}

impl FloppyController {
    fn writes(&self) -> bool {
        matches!(self.operation(), op::WRITE | op::WRITE_DELETED | op::FORMAT)
    }
    fn by_dma(&self) -> bool {
        self.state.specify[1] & NO_DMA == 0
    }
    /// The sectors that the command names, or its statuses 1 and 2.
    fn range(&self) -> Result<Range, (u8, u8)> {
        let (drive, head) = self.drive_and_head();
        let Some((medium, geometry, cylinder)) = self.readable(drive) else {
            return Err((MISSING_ADDRESS_MARK, 0));
        };
        if head >= geometry.heads || !self.is_double_density() {
            return Err((MISSING_ADDRESS_MARK, 0));
        }
        if self.writes() && medium.limits().read_only {
            return Err((NOT_WRITABLE, 0));
        }
        let [first, end] = match self.operation() {
            op::READ_TRACK => [1, self.byte(6)],
            op::FORMAT => [1, geometry.sectors],
            _ => [self.byte(4), self.byte(6)],
        };
        if self.operation() != op::FORMAT {
            if self.byte(2) != cylinder {
                return Err((NO_DATA, WRONG_CYLINDER));
            }
            if self.byte(3) != head || self.byte(5) != SECTOR_CODE || !(1..=geometry.sectors).contains(&first)
            {
                return Err((NO_DATA, 0));
            }
        }
        // An end before the beginning is never met: the track's end comes first.
        let last = if end < first { geometry.sectors } else { end.min(geometry.sectors) };
        let multi_track = self.byte(0) & MULTI_TRACK != 0 && self.operation() != op::FORMAT;
        Ok(Range { cylinder, head, first, last, multi_track, geometry })
    }

    /// Begins a command that moves sectors.
    pub(super) fn start_data(&mut self, now: GuestTime) {
        let (drive, _) = self.drive_and_head();
        if self.state.configure & IMPLIED_SEEK != 0 {
            self.implied_seek(drive, self.byte(2));
        }
        let range = match self.range() {
            Ok(range) => range,
            Err((one, two)) => return self.fail(one, two),
        };
        let offset = range.start() * SECTOR as u64;
        let most = (range.sectors() * SECTOR).min(MOST_DATA);
        if self.operation() == op::VERIFY {
            return self.begin(Work::Verify { offset, bytes: most as u64 }, now);
        }
        let wanted = if self.by_dma() { self.dma.room() } else { most };
        if wanted == 0 {
            // Nobody takes the first byte in time.
            return self.fail(OVERRUN, 0);
        }
        let bytes = wanted.next_multiple_of(SECTOR).min(most);
        if !self.writes() {
            return self.begin(Work::Read { offset, bytes: bytes as u32 }, now);
        }
        self.state.buffer = vec![0; bytes];
        self.state.position = 0;
        if !self.by_dma() {
            self.state.phase = Phase::DataOut;
            return;
        }
        let moved = self.dma.from_memory(&mut self.state.buffer);
        if moved.bytes == 0 {
            return self.fail(OVERRUN, 0);
        }
        // What is missing of the last sector is zero.
        self.state.buffer.truncate(moved.bytes.next_multiple_of(SECTOR));
        self.state.terminal_count = moved.terminal_count;
        self.write_buffer(offset, now);
    }
    fn write_buffer(&mut self, offset: u64, now: GuestTime) {
        let (drive, _) = self.drive_and_head();
        let through = self.unit(drive).is_some_and(|unit| unit.drive.config().write_through);
        self.begin(Work::Write { offset, through }, now);
    }
    /// FORMAT TRACK: the host gives the address of each sector.
    pub(super) fn start_format(&mut self, now: GuestTime) {
        if let Err((one, two)) = self.range() {
            return self.fail(one, two);
        }
        let bytes = usize::from(self.byte(3)) * 4;
        if bytes == 0 {
            return self.end([0; 3], [0; 4]);
        }
        self.state.buffer = vec![0; bytes];
        self.state.position = 0;
        if !self.by_dma() {
            self.state.phase = Phase::DataOut;
            return;
        }
        let moved = self.dma.from_memory(&mut self.state.buffer);
        if moved.bytes < bytes {
            return self.fail(OVERRUN, 0);
        }
        self.format(now);
    }
    /// The addresses are there: the sectors among them that this track has are filled.
    fn format(&mut self, now: GuestTime) {
        let range = match self.range() {
            Ok(range) => range,
            Err((one, two)) => return self.fail(one, two),
        };
        let Range { cylinder, head, geometry, .. } = range;
        let mut list = vec![self.byte(5)];
        for address in self.state.buffer.chunks_exact(4) {
            let [c, h, r, n] = [address[0], address[1], address[2], address[3]];
            if (c, h, n) == (cylinder, head, SECTOR_CODE) && (1..=geometry.sectors).contains(&r) {
                let sector = range.start() + u64::from(r) - 1;
                list.extend((sector as u16).to_le_bytes());
            }
        }
        self.state.buffer = list;
        self.begin(Work::Fill, now);
    }

    /// The host has read all that there is.
    pub(super) fn data_read(&mut self) {
        let sectors = self.state.buffer.len() / SECTOR;
        self.moved(sectors, false);
    }
    /// The host has written all that was asked for.
    pub(super) fn data_written(&mut self, now: GuestTime) {
        if self.operation() == op::FORMAT {
            return self.format(now);
        }
        match self.range() {
            Ok(range) => self.write_buffer(range.start() * SECTOR as u64, now),
            Err((one, two)) => self.fail(one, two),
        }
    }
    /// Ends a command that has moved so many sectors. Without a terminal count it went on to the last one, and wanted more.
    fn moved(&mut self, sectors: usize, terminal_count: bool) {
        let range = match self.range() {
            Ok(range) => range,
            Err((one, two)) => return self.fail(one, two),
        };
        let (address, side) = (range.behind(sectors), range.last_side(sectors) << 2);
        if terminal_count {
            self.end([side, 0, 0], address);
        } else {
            let beyond = if range.last == self.byte(6) { END_OF_CYLINDER } else { NO_DATA };
            self.end([ABNORMAL | side, beyond, 0], address);
        }
    }

    /// Has a worker do `work`, with what is in the buffer.
    pub(super) fn begin(&mut self, work: Work, now: GuestTime) {
        let unit = self.unit(self.drive_and_head().0);
        let due = match unit {
            Some(unit) => unit.drive.due(work, &self.state.buffer, now),
            None => now + work.duration_ns(self.state.buffer.len()),
        };
        let token = self.state.next_request;
        self.state.next_request = (token + 1) & (u64::MAX >> 2);
        self.state.work = work;
        self.state.phase = Phase::Executing { token, due_ns: due.ns() };
        self.send(token, due);
    }
    /// Gives the worker what is under way.
    pub(super) fn send(&self, token: u64, due: GuestTime) {
        let (drive, _) = self.drive_and_head();
        let work = self.state.work;
        let carries = matches!(work, Work::Write { .. } | Work::Fill);
        let data = if carries { self.state.buffer.clone() } else { Vec::new() };
        if work == Work::Nothing {
            return self.outside.begin(token, due, Box::new(|| vec![0]));
        }
        match self.unit(drive) {
            Some(unit) => unit.drive.give(&self.outside, token, due, work.job(unit.drive.medium(), data)),
            None => self.outside.begin(token, due, work.job(None, data)),
        }
    }
    /// A worker's answer to what is under way.
    pub(super) fn completed(&mut self, answer: &[u8], now: GuestTime) {
        let (drive, work) = (self.drive_and_head().0, self.state.work);
        let failure = match Outcome::of(answer) {
            Outcome::Done(data) => {
                if let Some(Some(unit)) = self.units.get_mut(usize::from(drive)) {
                    unit.told = false;
                }
                return self.worked(data, now);
            }
            failure => failure,
        };
        let Some(Some(unit)) = self.units.get_mut(usize::from(drive)) else {
            return self.fail(MISSING_ADDRESS_MARK, 0);
        };
        match follows(unit.drive.config(), work, &failure, &mut unit.told, &self.requests) {
            Follows::Again => self.state.phase = Phase::Stopped { retry_ns: (now + RETRY_NS).ns() },
            Follows::Success => self.worked(&[], now),
            Follows::Error => match failure {
                Outcome::NoMedium => self.fail(MISSING_ADDRESS_MARK, 0),
                Outcome::ReadOnly => self.fail(NOT_WRITABLE, 0),
                _ => self.fail(DATA_ERROR, DATA_ERROR),
            },
        }
    }
    fn worked(&mut self, data: &[u8], now: GuestTime) {
        match self.state.work {
            Work::Read { bytes, .. } => {
                let mut data = data.to_vec();
                data.resize((bytes as usize).min(MOST_DATA), 0);
                if self.by_dma() {
                    let moved = self.dma.to_memory(&data);
                    self.moved(moved.bytes.div_ceil(SECTOR), moved.terminal_count);
                } else if data.is_empty() {
                    self.fail(NO_DATA, 0);
                } else {
                    (self.state.buffer, self.state.position) = (data, 0);
                    self.state.phase = Phase::DataIn;
                }
            }
            Work::Write { .. } => {
                let (sectors, terminal_count) = (self.state.buffer.len() / SECTOR, self.state.terminal_count);
                self.moved(sectors, terminal_count);
            }
            Work::Verify { bytes, .. } => self.moved(bytes as usize / SECTOR, true),
            Work::Fill => self.end([0; 3], [self.byte(2), self.byte(3), self.byte(4), self.byte(5)]),
            _ => self.tell_id(now),
        }
    }
}
