//! GET CONFIGURATION and READ DVD STRUCTURE: what the drive can do with the disc that is in it.

use super::commands::{Answer, Packet, Result};
use super::sense;
use crate::ide::unit::Unit;

/// Profiles: kinds of discs.
const CD_ROM: u16 = 0x08;
const DVD_ROM: u16 = 0x10;
/// A disc with more sectors than a CD of 80 minutes is a DVD.
const MOST_CD_SECTORS: u32 = 80 * 60 * 75;
/// Where the data area of a DVD begins.
const DVD_DATA: u32 = 0x3_0000;

/// A feature: its number, version, whether it stays whatever the disc, and its data.
fn feature(number: u16, version: u8, persistent: bool, current: bool, data: &[u8]) -> Vec<u8> {
    let flags = version << 2 | u8::from(persistent) << 1 | u8::from(current);
    let [high, low] = number.to_be_bytes();
    let mut bytes = vec![high, low, flags, data.len() as u8];
    bytes.extend_from_slice(data);
    bytes
}

impl Unit {
    /// The profile of the disc, 0 without one.
    fn profile(&self) -> u16 {
        match self.disc_sectors() {
            Ok(sectors) if sectors > MOST_CD_SECTORS => DVD_ROM,
            Ok(_) => CD_ROM,
            Err(_) => 0,
        }
    }
    pub(super) fn get_configuration(&self, packet: &Packet) -> Result {
        let (which, first, wanted) = (packet.byte(1) & 3, packet.number(2, 2) as u16, packet.length(7, 2));
        if which == 3 {
            return Err(sense::FIELD);
        }
        let profile = self.profile();
        let is = |other: u16| profile == other;
        let listed = |number: u16| {
            let [high, low] = number.to_be_bytes();
            [high, low, u8::from(is(number)), 0]
        };
        let (readable, cd, dvd) = (profile != 0, is(CD_ROM), is(DVD_ROM));
        let features = [
            (0x0000, true, feature(0, 0, true, true, &[listed(DVD_ROM), listed(CD_ROM)].concat())),
            // Core: at ATAPI.
            (0x0001, true, feature(1, 2, true, true, &[0, 0, 0, 2, 0, 0, 0, 0])),
            // Morphing: events are polled.
            (0x0002, true, feature(2, 1, true, true, &[2, 0, 0, 0])),
            // Removable medium: a tray, that ejects and locks.
            (0x0003, true, feature(3, 0, true, true, &[0x29, 0, 0, 0])),
            // Random readable: blocks of 2048 bytes, one at a time.
            (0x0010, readable, feature(0x10, 0, false, readable, &[0, 0, 8, 0, 0, 1, 0, 0])),
            (0x001E, cd, feature(0x1E, 0, false, cd, &[])),
            (0x001F, dvd, feature(0x1F, 0, false, dvd, &[])),
            (0x0100, true, feature(0x100, 0, true, true, &[])),
            (0x0105, true, feature(0x105, 0, true, true, &[])),
        ];
        let wanted_feature = |number: u16, current: bool| match which {
            0 => number >= first,
            1 => number >= first && current,
            _ => number == first,
        };
        let listed: Vec<u8> = features
            .into_iter()
            .filter(|(number, current, _)| wanted_feature(*number, *current))
            .flat_map(|(.., bytes)| bytes)
            .collect();
        let mut data = (listed.len() as u32 + 4).to_be_bytes().to_vec();
        data.extend([0, 0]);
        data.extend(profile.to_be_bytes());
        data.extend(listed);
        Ok(Answer::Data(data, wanted))
    }
    pub(super) fn read_dvd_structure(&self, packet: &Packet) -> Result {
        let sectors = self.disc_sectors()?;
        // Physical format; the others need a real disc.
        if self.profile() != DVD_ROM || packet.byte(7) != 0 || packet.byte(6) != 0 {
            return Err(sense::FIELD);
        }
        let mut data = vec![0; 4 + 2048];
        data[..2].copy_from_slice(&2050u16.to_be_bytes());
        // DVD-ROM, part version 1; 120 mm; one layer, read only.
        (data[4], data[5], data[6]) = (0x01, 0x0F, 0x01);
        data[8..12].copy_from_slice(&DVD_DATA.to_be_bytes());
        let last = DVD_DATA.saturating_add(sectors.saturating_sub(1));
        data[12..16].copy_from_slice(&last.to_be_bytes());
        Ok(Answer::Data(data, packet.length(8, 2)))
    }
}
