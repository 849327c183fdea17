//! Commands of disks (ATA/ATAPI-7, "Command descriptions").

use super::bus_master::Dma;
use super::identify;
use super::registers::*;
use super::state::{Power, Purpose, Transfer};
use super::unit::{SECTOR, Unit};
use crate::disk_work::{Work, ranges};
use crate::ide::registers::command::*;
use trimotor_bus::GuestTime;

/// Sectors of a TRIM list at most.
pub(super) const TRIM_SECTORS: u32 = 8;
/// Sectors that a 28-bit address can reach.
pub(super) const MOST_28_BIT: u64 = (1 << 28) - 1;

impl Unit {
    /// A byte is written to the command register.
    pub(super) fn command(&mut self, code: u8, dma: &mut Dma<'_>, now: GuestTime) {
        if code == DEVICE_RESET && self.atapi.is_some() {
            self.soft_reset();
            return;
        }
        if self.busy() || self.settings.power == Power::Sleep {
            return;
        }
        self.intrq = false;
        self.task.error = 0;
        if self.atapi.is_some() {
            self.packet_device_command(code, dma, now);
        } else {
            self.disk_command(code, dma, now);
        }
    }

    fn disk_command(&mut self, code: u8, dma: &mut Dma<'_>, now: GuestTime) {
        match code {
            READ_SECTORS | READ_SECTORS_ONCE | READ_SECTORS_EXT => self.read(code, 1, dma, now),
            READ_MULTIPLE | READ_MULTIPLE_EXT => match self.settings.multiple {
                0 => self.refuse(),
                sectors => self.read(code, sectors.into(), dma, now),
            },
            READ_DMA | READ_DMA_ONCE | READ_DMA_EXT => self.read(code, 0, dma, now),
            WRITE_SECTORS | WRITE_SECTORS_ONCE | WRITE_SECTORS_EXT | WRITE_VERIFY => {
                self.write(code, 1, dma, now);
            }
            WRITE_MULTIPLE | WRITE_MULTIPLE_EXT | WRITE_MULTIPLE_FUA_EXT => match self.settings.multiple {
                0 => self.refuse(),
                sectors => self.write(code, sectors.into(), dma, now),
            },
            WRITE_DMA | WRITE_DMA_ONCE | WRITE_DMA_EXT | WRITE_DMA_FUA_EXT => self.write(code, 0, dma, now),
            READ_VERIFY | READ_VERIFY_ONCE | READ_VERIFY_EXT => {
                if let Some(transfer) = self.addressed(Purpose::Worker, code == READ_VERIFY_EXT) {
                    self.start(transfer, dma, now);
                }
            }
            FLUSH_CACHE | FLUSH_CACHE_EXT => self.begin(Work::Flush, now),
            IDENTIFY => {
                let words = identify::disk(self);
                self.start_reply(words, SECTOR as u32, false, dma, now);
            }
            RECALIBRATE..=RECALIBRATE_LAST | IDLE_IMMEDIATE | IDLE => self.wake(),
            SEEK..=SEEK_LAST => match self.address(false) {
                Some(sector) if sector < self.sectors => self.wake(),
                _ => self.finish(IDNF),
            },
            STANDBY_IMMEDIATE | STANDBY => self.rest(Power::Standby, now),
            SLEEP => self.rest(Power::Sleep, now),
            CHECK_POWER => {
                self.task.count[0] = if self.settings.power == Power::Active { 0xFF } else { 0 };
                self.finish(0);
            }
            INITIALIZE_PARAMETERS => self.initialize_parameters(),
            SET_MULTIPLE => match self.task.count[0] {
                sectors @ (0 | 1 | 2 | 4 | 8 | 16) => {
                    self.settings.multiple = sectors;
                    self.finish(0);
                }
                _ => self.refuse(),
            },
            SET_FEATURES => self.set_features(now),
            READ_NATIVE_MAX | READ_NATIVE_MAX_EXT => {
                let extended = code == READ_NATIVE_MAX_EXT;
                let last =
                    if extended { self.sectors } else { self.sectors.min(MOST_28_BIT) }.saturating_sub(1);
                self.transfer.extended = extended;
                self.task.device |= LBA;
                self.tell_address(last);
                self.finish(0);
            }
            READ_BUFFER => {
                let bytes = self.settings.sector_buffer.clone();
                self.start_reply(bytes, SECTOR as u32, false, dma, now);
            }
            WRITE_BUFFER => self.start_taking(Purpose::SectorBuffer, SECTOR as usize, false, dma, now),
            SMART => self.smart(dma, now),
            DATA_SET_MANAGEMENT => self.data_set_management(dma, now),
            // NOP among them: it always ends so.
            _ => self.refuse(),
        }
    }

    /// Reads sectors; `multiple` to a block, or by DMA (0).
    fn read(&mut self, code: u8, multiple: u32, dma: &mut Dma<'_>, now: GuestTime) {
        let extended = matches!(code, READ_SECTORS_EXT | READ_DMA_EXT | READ_MULTIPLE_EXT);
        if let Some(transfer) = self.addressed(Purpose::Read, extended) {
            let block = multiple * SECTOR as u32;
            self.start(Transfer { dma: multiple == 0, block, ..transfer }, dma, now);
        }
    }
    fn write(&mut self, code: u8, multiple: u32, dma: &mut Dma<'_>, now: GuestTime) {
        let through = matches!(code, WRITE_DMA_FUA_EXT | WRITE_MULTIPLE_FUA_EXT);
        let extended = through || matches!(code, WRITE_SECTORS_EXT | WRITE_DMA_EXT | WRITE_MULTIPLE_EXT);
        if let Some(transfer) = self.addressed(Purpose::Write, extended) {
            let block = multiple * SECTOR as u32;
            self.start(Transfer { dma: multiple == 0, block, through, ..transfer }, dma, now);
        }
    }
    /// The sectors that the registers name; without them the command has ended.
    fn addressed(&mut self, purpose: Purpose, extended: bool) -> Option<Transfer> {
        self.settings.power = Power::Active;
        let t = &self.task;
        let left = match (extended, t.count) {
            (true, [0, 0]) => 0x1_0000,
            (true, [low, high]) => u32::from(u16::from_le_bytes([low, high])),
            (false, [0, _]) => 0x100,
            (false, [count, _]) => count.into(),
        };
        self.transfer.extended = extended;
        let Some(sector) = self.address(extended) else {
            self.finish(IDNF);
            return None;
        };
        if sector.checked_add(left.into()).is_none_or(|end| end > self.sectors) {
            self.tell_address(sector.max(self.sectors));
            self.finish(IDNF);
            return None;
        }
        Some(Transfer { purpose, sector, left, extended, ..Transfer::default() })
    }
    /// The sector that the registers name.
    fn address(&self, extended: bool) -> Option<u64> {
        let t = &self.task;
        let byte = |value: u8, shift: u32| u64::from(value) << shift;
        let low = byte(t.lba_low[0], 0) | byte(t.lba_mid[0], 8) | byte(t.lba_high[0], 16);
        if extended {
            let high = byte(t.lba_low[1], 24) | byte(t.lba_mid[1], 32) | byte(t.lba_high[1], 40);
            return Some(high | low);
        }
        if t.device & LBA != 0 {
            return Some(byte(t.device & 0xF, 24) | low);
        }
        let s = &self.settings;
        let (cylinder, head, sector) = (low >> 8, u64::from(t.device & 0xF), low & 0xFF);
        let (heads, track) = (u64::from(s.heads), u64::from(s.track_sectors));
        if head >= heads || !(1..=track).contains(&sector) {
            return None;
        }
        Some((cylinder * heads + head) * track + sector - 1)
    }
    /// Puts a sector's address into the registers, in the form that the command has used.
    pub(super) fn tell_address(&mut self, sector: u64) {
        if self.atapi.is_some() {
            return;
        }
        let bytes = sector.to_le_bytes();
        let t = &mut self.task;
        t.count = [0; 2];
        if self.transfer.extended {
            (t.lba_low, t.lba_mid) = ([bytes[0], bytes[3]], [bytes[1], bytes[4]]);
            t.lba_high = [bytes[2], bytes[5]];
        } else if t.device & LBA != 0 {
            (t.lba_low[0], t.lba_mid[0], t.lba_high[0]) = (bytes[0], bytes[1], bytes[2]);
            t.device = t.device & 0xF0 | bytes[3] & 0xF;
        } else {
            let (heads, track) = (u64::from(self.settings.heads), u64::from(self.settings.track_sectors));
            let (track_number, in_track) = (sector / track.max(1), sector % track.max(1));
            let [low, high, ..] = (track_number / heads.max(1)).to_le_bytes();
            (t.lba_low[0], t.lba_mid[0], t.lba_high[0]) = (in_track as u8 + 1, low, high);
            t.device = t.device & 0xF0 | (track_number % heads.max(1)) as u8 & 0xF;
        }
    }

    fn wake(&mut self) {
        self.settings.power = Power::Active;
        self.finish(0);
    }
    /// Stops the drive, once what it caches is on the medium.
    fn rest(&mut self, power: Power, now: GuestTime) {
        self.settings.power = power;
        self.begin(Work::Flush, now);
    }
    fn initialize_parameters(&mut self) {
        let (heads, track) = ((self.task.device & 0xF) + 1, self.task.count[0]);
        if track == 0 {
            return self.refuse();
        }
        let cylinder = u64::from(heads) * u64::from(track);
        let s = &mut self.settings;
        (s.heads, s.track_sectors) = (heads, track);
        s.cylinders = (self.sectors / cylinder).clamp(1, 0xFFFF) as u16;
        self.finish(0);
    }
    pub(super) fn set_features(&mut self, now: GuestTime) {
        let (mode, disk) = (self.task.count[0], self.atapi.is_none());
        let can_cache = disk && !self.wires.drive.config().write_through;
        let s = &mut self.settings;
        match self.task.feature[0] {
            0x02 if can_cache => s.write_cache = true,
            0x82 if disk => {
                s.write_cache = false;
                return self.begin(Work::Flush, now);
            }
            0x03 => match mode {
                // PIO modes up to 4 set themselves up.
                0x00 | 0x01 | 0x08..=0x0C => {}
                0x20..=0x22 | 0x40..=0x45 => s.dma_mode = mode,
                _ => return self.refuse(),
            },
            0xAA if disk => s.look_ahead = true,
            0x55 if disk => s.look_ahead = false,
            // Settings stay over a reset, or do not: they do not change by one of these drives' resets.
            0x66 | 0xCC => {}
            _ => return self.refuse(),
        }
        self.finish(0);
    }
    /// Whether the guest may give up ranges.
    pub(super) fn trims(&self) -> bool {
        self.wires.drive.config().discard
            && self.medium().is_some_and(|medium| {
                let limits = medium.limits();
                limits.discard_bytes.is_some() && !limits.read_only
            })
    }
    fn data_set_management(&mut self, dma: &mut Dma<'_>, now: GuestTime) {
        let sectors = u32::from(u16::from_le_bytes(self.task.count));
        if !self.trims() || self.task.feature[0] != 1 || !(1..=TRIM_SECTORS).contains(&sectors) {
            return self.refuse();
        }
        let bytes = sectors as usize * SECTOR as usize;
        self.start_taking(Purpose::TrimList, bytes, true, dma, now);
    }
    /// The list of ranges is there.
    pub(super) fn trim(&mut self, now: GuestTime) {
        let fits = |(sector, count): (u64, u64)| sector.saturating_add(count) <= self.sectors;
        if ranges(&self.buffer).all(fits) { self.begin(Work::Trim, now) } else { self.finish(IDNF | ABRT) }
    }
}
