//! The commands of a CD-ROM drive.

use super::{MOST_BLOCK, MediaEvent, Sense, sense};
use crate::drive::Medium;
use crate::ide::bus_master::Dma;
use crate::ide::identify;
use crate::ide::registers::{ABRT, DRDY, ERR, REASON_COMMAND, REASON_TO_HOST, command as ata};
use crate::ide::state::{Phase, Purpose, Transfer};
use crate::ide::unit::{CD_SECTOR, Unit};
use trimotor_bus::GuestTime;

/// Bytes of a packet.
const PACKET_BYTES: usize = 12;
/// Most bytes of parameters that MODE SELECT takes.
const MOST_PARAMETERS: usize = 512;

/// What a command answers.
pub(super) enum Answer {
    /// It is done.
    Done,
    /// Bytes, of which the host wants so many at most.
    Data(Vec<u8>, usize),
    /// Sectors from this one on.
    Sectors(u64, u32),
    /// The host must send so many bytes.
    Takes(usize),
}
pub(super) type Result = std::result::Result<Answer, Sense>;

/// Fields of a packet: big-endian numbers.
pub(super) struct Packet([u8; PACKET_BYTES]);
impl Packet {
    pub(super) fn byte(&self, at: usize) -> u8 {
        self.0.get(at).copied().unwrap_or(0)
    }
    pub(super) fn number(&self, at: usize, bytes: usize) -> u64 {
        (at..at + bytes).fold(0, |value, i| value << 8 | u64::from(self.byte(i)))
    }
    pub(super) fn length(&self, at: usize, bytes: usize) -> usize {
        self.number(at, bytes) as usize
    }
}

/// Operation codes.
mod op {
    pub const TEST_UNIT_READY: u8 = 0x00;
    pub const REQUEST_SENSE: u8 = 0x03;
    pub const INQUIRY: u8 = 0x12;
    pub const MODE_SELECT_6: u8 = 0x15;
    pub const MODE_SENSE_6: u8 = 0x1A;
    pub const START_STOP_UNIT: u8 = 0x1B;
    pub const PREVENT_ALLOW: u8 = 0x1E;
    pub const READ_CAPACITY: u8 = 0x25;
    pub const READ_10: u8 = 0x28;
    pub const SEEK: u8 = 0x2B;
    pub const READ_SUB_CHANNEL: u8 = 0x42;
    pub const READ_TOC: u8 = 0x43;
    pub const GET_CONFIGURATION: u8 = 0x46;
    pub const GET_EVENT_STATUS: u8 = 0x4A;
    pub const READ_DISC_INFORMATION: u8 = 0x51;
    pub const READ_TRACK_INFORMATION: u8 = 0x52;
    pub const MODE_SELECT_10: u8 = 0x55;
    pub const MODE_SENSE_10: u8 = 0x5A;
    pub const READ_12: u8 = 0xA8;
    pub const READ_DVD_STRUCTURE: u8 = 0xAD;
    pub const SET_SPEED: u8 = 0xBB;
    pub const MECHANISM_STATUS: u8 = 0xBD;
    pub const READ_CD: u8 = 0xBE;
}

impl Unit {
    /// A byte in the command register of a packet device.
    pub(in crate::ide) fn packet_device_command(&mut self, code: u8, dma: &mut Dma<'_>, now: GuestTime) {
        match code {
            ata::PACKET => self.packet(),
            ata::IDENTIFY_PACKET => {
                let words = identify::packet_device(self);
                self.start_reply(words, 512, false, dma, now);
            }
            ata::SET_FEATURES => self.set_features(now),
            ata::IDLE_IMMEDIATE | ata::STANDBY_IMMEDIATE | ata::IDLE | ata::STANDBY => self.finish(0),
            ata::CHECK_POWER => {
                self.finish(0);
                self.task.count[0] = 0xFF;
            }
            ata::IDENTIFY | ata::READ_SECTORS => {
                // Hosts know by the signature that this is no disk.
                self.refuse();
                let error = self.task.error;
                self.set_signature();
                (self.task.error, self.task.status) = (error, DRDY | ERR);
            }
            _ => self.refuse(),
        }
    }
    /// PACKET: takes the command's bytes.
    fn packet(&mut self) {
        let by_dma = self.task.feature[0] & 1 != 0;
        let limit = u32::from(u16::from_le_bytes([self.task.lba_mid[0], self.task.lba_high[0]])) & !1;
        if let Some(atapi) = &mut self.atapi {
            atapi.by_dma = by_dma;
            atapi.limit = if limit == 0 { MOST_BLOCK } else { limit };
        }
        self.transfer = Transfer { block: PACKET_BYTES as u32, ..Transfer::default() };
        self.buffer = vec![0; PACKET_BYTES];
        (self.position, self.block_end) = (0, PACKET_BYTES);
        self.task.count[0] = REASON_COMMAND;
        self.phase = Phase::Packet;
    }
    /// The packet is there.
    pub(in crate::ide) fn packet_command(&mut self, dma: &mut Dma<'_>, now: GuestTime) {
        let mut packet = Packet([0; PACKET_BYTES]);
        for (byte, from) in packet.0.iter_mut().zip(&self.buffer) {
            *byte = *from;
        }
        let Some((by_dma, limit)) = self.atapi.as_ref().map(|atapi| (atapi.by_dma, atapi.limit)) else {
            return self.refuse();
        };
        match self.carry_out(&packet, now) {
            Ok(Answer::Done) => self.succeed(),
            Ok(Answer::Data(mut data, wanted)) => {
                data.truncate(wanted);
                self.note_sense(sense::NOTHING);
                self.start_reply(data, limit, by_dma, dma, now);
            }
            Ok(Answer::Sectors(_, 0)) => self.succeed(),
            Ok(Answer::Sectors(sector, left)) => {
                self.note_sense(sense::NOTHING);
                let transfer = Transfer {
                    purpose: Purpose::Read,
                    dma: by_dma,
                    sector,
                    left,
                    block: limit,
                    ..Transfer::default()
                };
                self.start(transfer, dma, now);
            }
            Ok(Answer::Takes(bytes)) => self.start_taking(Purpose::Parameters, bytes, by_dma, dma, now),
            Err(reason) => self.fail_with(reason),
        }
    }
    fn note_sense(&mut self, reason: Sense) {
        if let Some(atapi) = &mut self.atapi {
            atapi.sense = reason;
        }
    }
    fn succeed(&mut self) {
        self.note_sense(sense::NOTHING);
        self.finish(0);
    }
    fn fail_with(&mut self, reason: Sense) {
        self.note_sense(reason);
        self.finish(reason.0 << 4 | ABRT);
    }
    /// A worker could not read.
    pub(in crate::ide) fn medium_failed(&mut self, empty: bool) {
        self.fail_with(if empty { sense::NO_DISC_CLOSED } else { sense::UNREADABLE });
        self.task.count[0] = REASON_COMMAND | REASON_TO_HOST;
    }

    fn carry_out(&mut self, packet: &Packet, now: GuestTime) -> Result {
        self.notice_change();
        let code = packet.byte(0);
        let always =
            matches!(code, op::INQUIRY | op::REQUEST_SENSE | op::GET_CONFIGURATION | op::GET_EVENT_STATUS);
        if !always && let Some(attention) = self.atapi.as_mut().and_then(|atapi| atapi.attention.take()) {
            return Err(attention);
        }
        match code {
            op::TEST_UNIT_READY => self.disc().map(|_| Answer::Done),
            op::REQUEST_SENSE => self.request_sense(packet),
            op::INQUIRY => self.inquiry(packet),
            op::START_STOP_UNIT => self.start_stop(packet),
            op::PREVENT_ALLOW => {
                if let Some(atapi) = &mut self.atapi {
                    atapi.locked = packet.byte(4) & 1 != 0;
                }
                Ok(Answer::Done)
            }
            op::READ_CAPACITY => self.read_capacity(),
            op::READ_10 => self.read_sectors(packet.number(2, 4), packet.number(7, 2)),
            op::READ_12 => self.read_sectors(packet.number(2, 4), packet.number(6, 4)),
            op::READ_CD => self.read_cd(packet),
            op::SEEK => self.read_sectors(packet.number(2, 4), 1).map(|_| Answer::Done),
            op::READ_SUB_CHANNEL => self.read_sub_channel(packet),
            op::READ_TOC => self.read_toc(packet),
            op::GET_CONFIGURATION => self.get_configuration(packet),
            op::GET_EVENT_STATUS => self.get_event_status(packet),
            op::READ_DISC_INFORMATION => self.read_disc_information(packet),
            op::READ_TRACK_INFORMATION => self.read_track_information(packet),
            op::READ_DVD_STRUCTURE => self.read_dvd_structure(packet),
            op::MODE_SENSE_6 | op::MODE_SENSE_10 => self.mode_sense(packet, code == op::MODE_SENSE_10),
            op::MODE_SELECT_6 | op::MODE_SELECT_10 => {
                let bytes =
                    if code == op::MODE_SELECT_10 { packet.length(7, 2) } else { packet.length(4, 1) };
                match bytes {
                    0 => Ok(Answer::Done),
                    // Six-byte headers are what no CD-ROM driver sends today.
                    _ if bytes > MOST_PARAMETERS || code == op::MODE_SELECT_6 => Err(sense::FIELD),
                    _ => Ok(Answer::Takes(bytes.next_multiple_of(2))),
                }
            }
            op::MECHANISM_STATUS => self.mechanism_status(packet),
            op::SET_SPEED => Ok(Answer::Done),
            _ => {
                _ = now;
                Err(sense::NO_SUCH_COMMAND)
            }
        }
    }
    /// MODE SELECT's parameters are there.
    pub(in crate::ide) fn take_parameters(&mut self) {
        let parameters = std::mem::take(&mut self.buffer);
        match self.mode_select(&parameters) {
            Ok(()) => self.succeed(),
            Err(reason) => self.fail_with(reason),
        }
    }

    /// The disc, where there is one that can be read.
    pub(super) fn disc(&self) -> std::result::Result<Medium, Sense> {
        let open = self.atapi.as_ref().is_some_and(|atapi| atapi.tray_open);
        match self.medium() {
            _ if open => Err(sense::NO_DISC_OPEN),
            Some(medium) => Ok(medium),
            None => Err(sense::NO_DISC_CLOSED),
        }
    }
    /// The sectors of the disc.
    pub(super) fn disc_sectors(&self) -> std::result::Result<u32, Sense> {
        Ok(u32::try_from(self.disc()?.size() / CD_SECTOR).unwrap_or(u32::MAX))
    }
    fn read_sectors(&self, sector: u64, count: u64) -> Result {
        let sectors = self.disc_sectors()?;
        match sector.checked_add(count) {
            Some(end) if end <= u64::from(sectors) => Ok(Answer::Sectors(sector, count as u32)),
            _ => Err(sense::OUT_OF_RANGE),
        }
    }
    fn read_cd(&self, packet: &Packet) -> Result {
        const USER_DATA: u8 = 0x10;
        let (kind, parts) = (packet.byte(1) >> 2 & 7, packet.byte(9));
        // Sectors are of any kind or mode 1.
        if !matches!(kind, 0 | 2) || packet.byte(10) & 7 != 0 {
            return Err(sense::FIELD);
        }
        let (sector, count) = (packet.number(2, 4), packet.number(6, 3));
        match parts & 0xF8 {
            0 => self.read_sectors(sector, count).map(|_| Answer::Done),
            USER_DATA => self.read_sectors(sector, count),
            _ => Err(sense::FIELD),
        }
    }
    fn start_stop(&mut self, packet: &Packet) -> Result {
        let (start, load) = (packet.byte(4) & 1 != 0, packet.byte(4) & 2 != 0);
        let disc = self.medium().is_some();
        let Some(atapi) = self.atapi.as_mut().filter(|_| load) else { return Ok(Answer::Done) };
        match (start, atapi.tray_open) {
            (false, _) if atapi.locked => return Err(sense::LOCKED),
            (false, false) => {
                atapi.tray_open = true;
                atapi.event = MediaEvent::Removal;
            }
            (true, true) => {
                atapi.tray_open = false;
                if disc {
                    atapi.event = MediaEvent::NewMedia;
                    atapi.attention = Some(sense::NEW_DISC);
                }
            }
            (true, false) | (false, true) => {}
        }
        Ok(Answer::Done)
    }
    /// A person takes the disc out or puts one in; false where the guest holds it.
    pub(in crate::ide) fn change_disc(&mut self, disc: Option<Medium>, force: bool) -> bool {
        let Some(atapi) = &mut self.atapi else { return false };
        if atapi.locked && !atapi.tray_open && !force {
            atapi.event = MediaEvent::EjectRequest;
            return false;
        }
        if disc.is_some() {
            (atapi.tray_open, atapi.event) = (false, MediaEvent::NewMedia);
            atapi.attention = Some(sense::NEW_DISC);
        } else {
            (atapi.tray_open, atapi.locked, atapi.event) = (true, false, MediaEvent::Removal);
        }
        self.wires.drive.set_medium(disc);
        self.seen_changes = self.wires.drive.changes();
        true
    }
    /// Sees that the disc was taken out, or changed, by a way that is not this controller's: a call of the BIOS.
    fn notice_change(&mut self) {
        let changes = self.wires.drive.changes();
        if std::mem::replace(&mut self.seen_changes, changes) == changes {
            return;
        }
        let disc = self.medium().is_some();
        if let Some(atapi) = &mut self.atapi {
            (atapi.tray_open, atapi.locked) = (!disc, false);
            atapi.event = if disc { MediaEvent::NewMedia } else { MediaEvent::Removal };
            if disc {
                atapi.attention = Some(sense::NEW_DISC);
            }
        }
    }
}
