//! What a CD-ROM drive says of itself and of its disc.

use super::commands::{Answer, Packet, Result};
use super::{MediaEvent, sense};
use crate::ide::identify::REVISION;
use crate::ide::unit::Unit;

/// Q sub-channel: the track has data, its position follows.
const DATA_TRACK: u8 = 0x14;
/// The number of the track behind the last one.
const LEAD_OUT: u8 = 0xAA;
/// Frames before the first sector: two seconds.
const FIRST_FRAME: u32 = 150;

/// A sector's address in a table of contents: as a number, or as minute, second and frame.
fn address(sector: u32, as_time: bool) -> [u8; 4] {
    if !as_time {
        return sector.to_be_bytes();
    }
    let [minute, second, frame] = time(sector);
    [0, minute, second, frame]
}
fn time(sector: u32) -> [u8; 3] {
    let frames = sector.saturating_add(FIRST_FRAME);
    // A DVD has more minutes than the field can hold.
    let minute = (frames / (75 * 60)).min(0xFF) as u8;
    [minute, (frames / 75 % 60) as u8, (frames % 75) as u8]
}
/// Puts the number of bytes that follow in front.
fn with_length(body: &[u8]) -> Vec<u8> {
    let mut data = (body.len() as u16).to_be_bytes().to_vec();
    data.extend_from_slice(body);
    data
}

impl Unit {
    pub(super) fn request_sense(&mut self, packet: &Packet) -> Result {
        let Some(atapi) = &mut self.atapi else { return Err(sense::NO_SUCH_COMMAND) };
        let mut reason = std::mem::take(&mut atapi.sense);
        if reason == sense::NOTHING {
            reason = atapi.attention.take().unwrap_or_default();
        }
        let mut data = vec![0; 18];
        (data[0], data[2], data[7], data[12], data[13]) = (0x70, reason.0, 10, reason.1, reason.2);
        Ok(Answer::Data(data, packet.length(4, 1)))
    }
    pub(super) fn inquiry(&self, packet: &Packet) -> Result {
        if packet.byte(1) & 1 != 0 || packet.byte(2) != 0 {
            return Err(sense::FIELD);
        }
        // CD-ROM device, removable medium, ATAPI, form 2.
        let mut data = vec![5, 0x80, 0, 0x21, 31, 0, 0, 0];
        data.extend_from_slice(format!("{:8}{:16}{REVISION:4}", "TRIMOTOR", "DVD-ROM").as_bytes());
        Ok(Answer::Data(data, packet.length(4, 1)))
    }
    pub(super) fn read_capacity(&self) -> Result {
        let last = self.disc_sectors()?.saturating_sub(1);
        Ok(Answer::Data([last.to_be_bytes(), 2048u32.to_be_bytes()].concat(), 8))
    }
    pub(super) fn read_toc(&self, packet: &Packet) -> Result {
        let sectors = self.disc_sectors()?;
        let (as_time, first, wanted) = (packet.byte(1) & 2 != 0, packet.byte(6), packet.length(7, 2));
        // The format was in the last byte once.
        let format = match packet.byte(2) & 0xF {
            0 => packet.byte(9) >> 6,
            format => format,
        };
        let track = |number: u8, sector: u32| {
            let [a, b, c, d] = address(sector, as_time);
            [0, DATA_TRACK, number, 0, a, b, c, d]
        };
        let mut body = vec![1, 1];
        match format {
            0 if first > 1 && first != LEAD_OUT => return Err(sense::FIELD),
            0 => {
                if first <= 1 {
                    body.extend(track(1, 0));
                }
                body.extend(track(LEAD_OUT, sectors));
            }
            1 => body.extend(track(1, 0)),
            2 => {
                let mut point = |point: u8, [minute, second, frame]: [u8; 3]| {
                    body.extend([1, DATA_TRACK, 0, point, 0, 0, 0, 0, minute, second, frame]);
                };
                point(0xA0, [1, 0, 0]);
                point(0xA1, [1, 0, 0]);
                point(0xA2, time(sectors));
                point(1, time(0));
            }
            _ => return Err(sense::FIELD),
        }
        Ok(Answer::Data(with_length(&body), wanted))
    }
    pub(super) fn read_sub_channel(&self, packet: &Packet) -> Result {
        /// No audio is played, and there is nothing to tell of it.
        const NO_AUDIO: u8 = 0x15;
        self.disc()?;
        let (as_time, wanted) = (packet.byte(1) & 2 != 0, packet.length(7, 2));
        let mut data = vec![0, NO_AUDIO, 0, 0];
        if packet.byte(2) & 0x40 != 0 {
            match packet.byte(3) {
                1 => {
                    data.extend([1, DATA_TRACK, 1, 1]);
                    data.extend(address(0, as_time));
                    data.extend(address(0, as_time));
                }
                // No catalogue number, no recording code.
                format @ (2 | 3) => {
                    data.extend([format, if format == 3 { DATA_TRACK } else { 0 }]);
                    data.resize(24, 0);
                }
                _ => return Err(sense::FIELD),
            }
            data[3] = data.len() as u8 - 4;
        }
        Ok(Answer::Data(data, wanted))
    }
    pub(super) fn read_disc_information(&self, packet: &Packet) -> Result {
        self.disc()?;
        let mut body = vec![0; 32];
        body[0] = 0x0E; // Complete, and so is its last session.
        (body[1], body[2], body[3], body[4]) = (1, 1, 1, 1);
        body[5] = 0x20; // Unrestricted use.
        body[14..22].fill(0xFF); // Nowhere to write.
        Ok(Answer::Data(with_length(&body), packet.length(7, 2)))
    }
    pub(super) fn read_track_information(&self, packet: &Packet) -> Result {
        let sectors = self.disc_sectors()?;
        let (kind, number) = (packet.byte(1) & 3, packet.number(2, 4));
        match kind {
            0 if number < u64::from(sectors) => {}
            1 | 2 if number == 1 => {}
            _ => return Err(sense::FIELD),
        }
        let mut body = vec![0; 34];
        (body[0], body[1], body[3], body[4]) = (1, 1, 4, 1);
        body[22..26].copy_from_slice(&sectors.to_be_bytes());
        Ok(Answer::Data(with_length(&body), packet.length(7, 2)))
    }
    pub(super) fn mechanism_status(&self, packet: &Packet) -> Result {
        let open = self.atapi.as_ref().is_some_and(|atapi| atapi.tray_open);
        let data = vec![0, u8::from(open) << 4, 0, 0, 0, 1, 0, 0];
        Ok(Answer::Data(data, packet.length(8, 2)))
    }
    pub(super) fn get_event_status(&mut self, packet: &Packet) -> Result {
        const POLLED: u8 = 1;
        const MEDIA_CLASS: u8 = 4;
        if packet.byte(1) & POLLED == 0 {
            return Err(sense::FIELD);
        }
        let (wanted, disc) = (packet.length(7, 2), self.medium().is_some());
        let Some(atapi) = self.atapi.as_mut().filter(|_| packet.byte(4) & 1 << MEDIA_CLASS != 0) else {
            // No class that there is.
            return Ok(Answer::Data(vec![0, 2, 0x80, 1 << MEDIA_CLASS], wanted));
        };
        // The event has been told once the host takes it.
        let event = if wanted > 4 { std::mem::take(&mut atapi.event) } else { MediaEvent::Nothing };
        let status = u8::from(atapi.tray_open) | u8::from(disc && !atapi.tray_open) << 1;
        Ok(Answer::Data(vec![0, 6, MEDIA_CLASS, 1 << MEDIA_CLASS, event as u8, status, 0, 0], wanted))
    }
}
