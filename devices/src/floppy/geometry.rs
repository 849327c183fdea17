//! Kinds of floppy disks and of drives for them.

use crate::drive::{Drive, Media};
use serde::{Deserialize, Serialize};

/// How a disk is divided.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Geometry {
    /// Cylinders.
    pub cylinders: u8,
    /// Sides.
    pub heads: u8,
    /// Sectors of a track, 512 bytes each.
    pub sectors: u8,
}

impl Geometry {
    /// Bytes of the disk.
    pub fn bytes(self) -> u64 {
        u64::from(self.cylinders) * u64::from(self.heads) * u64::from(self.sectors) * 512
    }
    /// The disk with so many bytes.
    pub fn of(bytes: u64) -> Option<Self> {
        GEOMETRIES.iter().map(|(geometry, ..)| *geometry).find(|geometry| geometry.bytes() == bytes)
    }
}

const fn geometry(cylinders: u8, heads: u8, sectors: u8) -> Geometry {
    Geometry { cylinders, heads, sectors }
}

/// The disks that there are, by their kilobytes.
pub mod disks {
    use super::{Geometry, geometry};

    pub const K160: Geometry = geometry(40, 1, 8);
    pub const K180: Geometry = geometry(40, 1, 9);
    pub const K320: Geometry = geometry(40, 2, 8);
    pub const K360: Geometry = geometry(40, 2, 9);
    pub const K720: Geometry = geometry(80, 2, 9);
    pub const K1200: Geometry = geometry(80, 2, 15);
    pub const K1440: Geometry = geometry(80, 2, 18);
    pub const K1680: Geometry = geometry(80, 2, 21);
    pub const K2880: Geometry = geometry(80, 2, 36);
}

/// Data rates as the controller's registers have them.
const K500: u8 = 0;
const K300: u8 = 1;
const K250: u8 = 2;
const M1: u8 = 3;

/// Disks: their geometry, the data rate in the smallest drive that takes them, and that drive.
const GEOMETRIES: [(Geometry, u8, DriveKind); 9] = [
    (disks::K160, K300, DriveKind::Inch5),
    (disks::K180, K300, DriveKind::Inch5),
    (disks::K320, K300, DriveKind::Inch5),
    (disks::K360, K300, DriveKind::Inch5),
    (disks::K1200, K500, DriveKind::Inch5),
    (disks::K720, K250, DriveKind::Inch3),
    (disks::K1440, K500, DriveKind::Inch3),
    (disks::K1680, K500, DriveKind::Inch3),
    (disks::K2880, M1, DriveKind::Inch3Extra),
];

/// A drive.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum DriveKind {
    /// 5.25 inches, 1.2 MB; takes 360 KB disks with two of its tracks for one of theirs.
    Inch5,
    /// 3.5 inches, 1.44 MB.
    Inch3,
    /// 3.5 inches, 2.88 MB.
    Inch3Extra,
}

impl DriveKind {
    /// The drive that is set up for what is in it at power-on; a 1.44 MB drive where it is empty.
    pub fn of(drive: &Drive) -> Self {
        let bytes = drive.medium().map_or(0, |medium| medium.size());
        let found = GEOMETRIES.iter().find(|(geometry, ..)| geometry.bytes() == bytes);
        found.map_or(Self::Inch3, |(.., kind)| *kind)
    }
    /// Its number in CMOS byte 10h.
    pub fn cmos_type(self) -> u8 {
        match self {
            Self::Inch5 => 2,
            Self::Inch3 => 4,
            Self::Inch3Extra => 5,
        }
    }
    /// The geometry of a disk with so many bytes and the data rate at which this drive reads it; nothing where it does not
    /// fit into the drive.
    pub(super) fn reads(self, bytes: u64) -> Option<(Geometry, u8)> {
        let (geometry, rate, kind) = GEOMETRIES.iter().find(|(geometry, ..)| geometry.bytes() == bytes)?;
        let fits = *kind == self || (*kind, self) == (Self::Inch3, Self::Inch3Extra);
        fits.then_some((*geometry, *rate))
    }
    /// How many of the drive's tracks lie between two of such a disk.
    pub(super) fn steps(self, geometry: Geometry) -> u8 {
        if self == Self::Inch5 && geometry.cylinders == 40 { 2 } else { 1 }
    }
}

/// CMOS byte 10h for these drives: A: in the upper half.
pub fn cmos_types<'a>(drives: impl Iterator<Item = &'a Drive>) -> u8 {
    drives.filter(|drive| drive.config().media == Media::Floppy).fold(0, |byte, drive| {
        let kind = DriveKind::of(drive).cmos_type();
        match drive.config().place {
            crate::drive::DrivePlace::Floppy { unit: 0 } => byte | kind << 4,
            crate::drive::DrivePlace::Floppy { unit: 1 } => byte | kind,
            _ => byte,
        }
    })
}
