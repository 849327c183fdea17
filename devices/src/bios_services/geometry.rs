//! Cylinders, heads and sectors: how a BIOS numbers the sectors of a disk for programs that know no other way.
//!
//! A hard disk has a *physical* geometry, which it tells in its IDENTIFY data (16 heads and 63 sectors a track for all that
//! is larger than a few hundred megabytes), and a *logical* one, which INT 13h uses. INT 13h has 10 bits for the cylinder, so a disk
//! of more than 1024 cylinders is translated: *LBA-assisted* translation takes 63 sectors a track and as few of 16, 32, 64,
//! 128 or 255 heads as bring the cylinders down to 1024. It depends on the size of the disk alone. Some programs guess a geometry from
//! the partition table; PC BIOSes of the time do so for disks from other controllers at most, so this one looks at no
//! partition table. What lies behind cylinder 1023 (8.4 GB) is reached by EDD's functions only.

use crate::floppy::{self, disks};
use serde::{Deserialize, Serialize};

/// A geometry.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Geometry {
    /// Cylinders.
    pub cylinders: u32,
    /// Heads: tracks of a cylinder.
    pub heads: u32,
    /// Sectors of a track, which are counted from 1.
    pub sectors: u32,
}

/// Cylinders that INT 13h can name.
const MAX_CYLINDERS: u32 = 1024;
/// Sectors of a track that INT 13h can name.
const MAX_SECTORS: u32 = 63;
/// The most cylinders that IDENTIFY data tell: larger disks tell this many (ATA/ATAPI-5, "IDENTIFY DEVICE", word 1).
const MAX_PHYSICAL_CYLINDERS: u64 = 16383;
/// Heads of a physical geometry.
const PHYSICAL_HEADS: u32 = 16;

impl Geometry {
    /// What IDENTIFY data tell of a disk of so many sectors.
    pub fn physical(sectors: u64) -> Self {
        let cylinders = sectors / u64::from(PHYSICAL_HEADS * MAX_SECTORS);
        let cylinders = cylinders.clamp(1, MAX_PHYSICAL_CYLINDERS) as u32;
        Self { cylinders, heads: PHYSICAL_HEADS, sectors: MAX_SECTORS }
    }
    /// What INT 13h uses for a disk of so many sectors.
    pub fn logical(sectors: u64) -> Self {
        let physical = Self::physical(sectors);
        if physical.cylinders <= MAX_CYLINDERS {
            return physical;
        }
        let tracks = sectors / u64::from(MAX_SECTORS);
        let fits = |heads: &u32| tracks / u64::from(*heads) <= u64::from(MAX_CYLINDERS);
        let heads = [16, 32, 64, 128].into_iter().find(fits).unwrap_or(255);
        let cylinders = (tracks / u64::from(heads)).min(u64::from(MAX_CYLINDERS)) as u32;
        Self { cylinders, heads, sectors: MAX_SECTORS }
    }
    /// Sectors of the whole.
    pub fn total(&self) -> u64 {
        u64::from(self.cylinders) * u64::from(self.heads) * u64::from(self.sectors)
    }
    /// The number of a sector from the start of the disk, if there is one of this cylinder, head and sector.
    pub fn sector_number(&self, (cylinder, head, sector): (u16, u8, u8)) -> Option<u64> {
        let (cylinder, head, sector) = (u32::from(cylinder), u32::from(head), u32::from(sector));
        if cylinder >= self.cylinders || head >= self.heads || !(1..=self.sectors).contains(&sector) {
            return None;
        }
        let track = u64::from(cylinder) * u64::from(self.heads) + u64::from(head);
        Some(track * u64::from(self.sectors) + u64::from(sector - 1))
    }
    /// The geometry without the last cylinder, which a PC AT keeps for diagnostics: functions 08h and 15h do not count it, though it can be read.
    pub fn told(&self) -> Self {
        Self { cylinders: self.cylinders.saturating_sub(1).max(1), ..*self }
    }
    /// The geometry in CX and DH as function 08h has it: the last cylinder, head and sector.
    pub fn last(&self) -> (u16, u8) {
        let cylinder = self.cylinders.saturating_sub(1).min(MAX_CYLINDERS - 1) as u16;
        let head = self.heads.saturating_sub(1).min(255) as u8;
        let sector = self.sectors.min(MAX_SECTORS) as u16;
        (cylinder << 8 | cylinder >> 2 & 0xC0 | sector, head)
    }
}

/// What a floppy medium or drive is, as its numbers in CMOS memory and in BL of function 08h.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FloppyFormat {
    /// The type of the drives that are made for it.
    pub drive_type: u8,
    /// Its geometry.
    pub geometry: Geometry,
    /// The data rate as the diskette parameter tables of BIOSes have it: 00h 500 kbit/s, 40h 300, 80h 250, C0h 1000.
    pub rate: u8,
    /// The media state (40:90h) once it is found in its own drive.
    pub media_state: u8,
    /// Its diskette parameter table, but for the two bytes behind (last track and rate).
    pub parameters: [u8; 11],
}

const fn format(
    drive_type: u8,
    disk: floppy::Geometry,
    rate: u8,
    media_state: u8,
    first: u8,
    gaps: [u8; 2],
) -> FloppyFormat {
    FloppyFormat {
        drive_type,
        geometry: Geometry {
            cylinders: disk.cylinders as u32,
            heads: disk.heads as u32,
            sectors: disk.sectors as u32,
        },
        rate,
        media_state,
        parameters: [first, 2, 0x25, 2, disk.sectors, gaps[0], 0xFF, gaps[1], FILL_BYTE, 0x0F, 0x08],
    }
}

impl FloppyFormat {
    /// The media state (40:90h) once it is found in a drive of a type: a drive for 1.2M turns faster than one for 360K, and steps twice for
    /// each of its tracks.
    pub fn media_state_in(&self, drive_type: u8) -> u8 {
        const WITH_DOUBLE_STEPS: u8 = 0x74;
        if (drive_type, self.drive_type) == (2, 1) { WITH_DOUBLE_STEPS } else { self.media_state }
    }
}

/// What formatting fills sectors with.
pub const FILL_BYTE: u8 = 0xF6;

/// The formats of drive types 1 to 5; the one with 21 sectors that software was sold on; older ones of the first type's drives.
pub const FLOPPY_FORMATS: [FloppyFormat; 9] = [
    format(1, disks::K360, 0x80, 0x93, 0xDF, [0x2A, 0x50]),
    format(2, disks::K1200, 0x00, 0x15, 0xDF, [0x1B, 0x54]),
    format(3, disks::K720, 0x80, 0x97, 0xDF, [0x2A, 0x50]),
    format(4, disks::K1440, 0x00, 0x17, 0xAF, [0x1B, 0x6C]),
    format(5, disks::K2880, 0xC0, 0xD7, 0xAF, [0x1B, 0x53]),
    format(4, disks::K1680, 0x00, 0x17, 0xAF, [0x0C, 0x1C]),
    format(1, disks::K320, 0x80, 0x93, 0xDF, [0x2A, 0x50]),
    format(1, disks::K180, 0x80, 0x93, 0xDF, [0x2A, 0x50]),
    format(1, disks::K160, 0x80, 0x93, 0xDF, [0x2A, 0x50]),
];

/// The format of drives of a type.
pub fn format_of_drive(drive_type: u8) -> Option<&'static FloppyFormat> {
    FLOPPY_FORMATS.iter().find(|format| format.drive_type == drive_type)
}
/// The format of a medium of so many bytes.
pub fn format_of_medium(bytes: u64) -> Option<&'static FloppyFormat> {
    FLOPPY_FORMATS.iter().find(|format| format.geometry.total() * 512 == bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chs(cylinders: u32, heads: u32, sectors: u32) -> Geometry {
        Geometry { cylinders, heads, sectors }
    }

    #[test]
    fn disks_are_translated_by_their_size() {
        const MIB: u64 = 2048;
        let facts = [
            (10 * MIB, chs(20, 16, 63)),
            (1024 * 16 * 63, chs(1024, 16, 63)),
            (1025 * 16 * 63, chs(512, 32, 63)),
            (1024 * MIB, chs(520, 64, 63)),
            (2048 * MIB, chs(520, 128, 63)),
            (4096 * MIB, chs(522, 255, 63)),
            (8192 * MIB, chs(1024, 255, 63)),
            (2_000_000 * MIB, chs(1024, 255, 63)),
            (0, chs(1, 16, 63)),
            (1, chs(1, 16, 63)),
        ];
        for (sectors, geometry) in facts {
            assert_eq!(Geometry::logical(sectors), geometry, "{sectors} sectors");
        }
        assert_eq!(Geometry::physical(8192 * MIB).cylinders, 16383);
        assert_eq!(Geometry::physical(u64::MAX).cylinders, 16383);
    }

    #[test]
    fn sectors_are_counted_from_one() {
        let geometry = chs(80, 2, 18);
        assert_eq!(geometry.sector_number((0, 0, 1)), Some(0));
        assert_eq!(geometry.sector_number((1, 1, 18)), Some(71));
        for bad in [(0, 0, 0), (0, 0, 19), (0, 2, 1), (80, 0, 1)] {
            assert_eq!(geometry.sector_number(bad), None, "{bad:?}");
        }
        assert_eq!(geometry.last(), (79 << 8 | 18, 1));
        assert_eq!(chs(1024, 255, 63).last(), (0xFFFF, 254));
    }

    #[test]
    fn media_are_known_by_their_size() {
        let sizes =
            [(1440, 4), (1680, 4), (1200, 2), (720, 3), (360, 1), (2880, 5), (320, 1), (180, 1), (160, 1)];
        for (kib, drive_type) in sizes {
            assert_eq!(format_of_medium(kib << 10).map(|f| f.drive_type), Some(drive_type), "{kib} KiB");
        }
        assert_eq!(format_of_medium(1441 << 10), None);
        assert_eq!(format_of_drive(4).map(|f| f.geometry.sectors), Some(18));
        assert_eq!(format_of_drive(0), None);
    }
}
