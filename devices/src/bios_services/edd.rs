//! Tables of the Enhanced Disk Drive Specification (EDD) 3.0, and the older fixed disk parameter table.

use super::drives::{AtaPlace, CD_SECTOR, DiskDrive, SECTOR, Volume};
use super::geometry::Geometry;

/// The version of EDD in AH of function 41h.
pub const VERSION: u8 = 0x30;
/// What function 41h says that there is: extended access (bit 0), locking and ejecting (bit 1), EDD (bit 2).
pub const SUBSETS: u16 = 0x0007;

/// The smallest result buffer: that of EDD 1.0.
const RESULT_V1: u16 = 0x1A;
/// With a pointer to the device parameters.
const RESULT_V2: u16 = 0x1E;
/// With the device path.
const RESULT_V3: u16 = 0x42;

/// Result of function 48h: geometry in bytes 4 to 15 is valid.
const GEOMETRY_VALID: u16 = 1 << 1;
/// The medium is removable.
const REMOVABLE: u16 = 1 << 2;
/// Writing with verification is done.
const VERIFIES: u16 = 1 << 3;
/// Changes of the medium are noticed.
const CHANGE_LINE: u16 = 1 << 4;
/// The medium can be locked.
const LOCKABLE: u16 = 1 << 5;
/// The drive has no medium.
const NO_MEDIUM: u16 = 1 << 6;
/// DMA across 64 KiB boundaries is no error.
const ANY_BOUNDARY: u16 = 1 << 0;

fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)).wrapping_neg()
}

/// Ports and interrupt of an IDE channel in compatibility mode.
fn channel_ports(place: AtaPlace) -> (u16, u16, u8) {
    if place.channel == 0 { (0x1F0, 0x3F6, 14) } else { (0x170, 0x376, 15) }
}

/// The device parameter table (EDD 3.0, "Device parameter table extension"): how a driver reaches the drive by itself.
pub fn device_parameters(place: AtaPlace, sectors: u64, removable: bool) -> [u8; 16] {
    let (base, control, irq) = channel_ports(place);
    let slave = place.unit & 1;
    // CHS translation, LBA, and how is translated: LBA-assisted.
    let translated = Geometry::logical(sectors) != Geometry::physical(sectors);
    let disk: u16 = if translated { 1 << 3 | 1 << 4 | 1 << 9 } else { 1 << 4 };
    let flags: u16 = if removable { 1 << 4 | 1 << 5 | 1 << 6 } else { disk };
    let mut table = [0; 16];
    table[0..2].copy_from_slice(&base.to_le_bytes());
    table[2..4].copy_from_slice(&control.to_le_bytes());
    // Bits 7 and 5 are always set, bit 6 means LBA.
    table[4] = 0xE0 | slave << 4;
    table[6] = irq;
    table[10..12].copy_from_slice(&flags.to_le_bytes());
    table[14] = 0x11;
    table[15] = checksum(&table[..15]);
    table
}

/// What function 48h tells of a drive.
pub struct DriveParameters<'a> {
    /// The drive.
    pub drive: &'a DiskDrive,
    /// What is in it.
    pub volume: Option<&'a Volume>,
    /// Whether it is a CD-ROM drive.
    pub cd: bool,
    /// Segment and offset of its device parameter table, if it has one.
    pub table: Option<(u16, u16)>,
}

/// The result of function 48h for a buffer of `room` bytes (its first word), if that is enough.
pub fn drive_parameters(of: &DriveParameters<'_>, room: u16) -> Option<Vec<u8>> {
    let size = match room {
        0..RESULT_V1 => return None,
        RESULT_V1..RESULT_V2 => RESULT_V1,
        RESULT_V2..RESULT_V3 => RESULT_V2,
        // No path says where it is.
        _ if of.drive.place.is_none() => RESULT_V2,
        _ => RESULT_V3,
    };
    let sectors = of.volume.map_or(0, |volume| volume.sectors);
    let physical = Geometry::physical(sectors);
    // A geometry whose product is not the size says nothing of a disk behind 8.4 GB (EDD 3.0, function 48h).
    let chs = !of.cd && physical.cylinders < 16383;
    let mut flags = ANY_BOUNDARY;
    if chs {
        flags |= GEOMETRY_VALID;
    }
    if of.cd {
        flags |= REMOVABLE | CHANGE_LINE | LOCKABLE;
        if of.volume.is_none() {
            flags |= NO_MEDIUM;
        }
    } else {
        flags |= VERIFIES;
    }
    let mut result = vec![0; usize::from(size)];
    let mut put = |at: usize, bytes: &[u8]| {
        if let Some(part) = result.get_mut(at..at + bytes.len()) {
            part.copy_from_slice(bytes);
        }
    };
    put(0, &size.to_le_bytes());
    put(2, &flags.to_le_bytes());
    if of.cd {
        put(4, &[0xFF; 12]);
    } else {
        for (index, number) in [physical.cylinders, physical.heads, physical.sectors].into_iter().enumerate()
        {
            put(4 + 4 * index, &number.to_le_bytes());
        }
    }
    let total = if of.cd && of.volume.is_none() { u64::MAX } else { sectors };
    put(16, &total.to_le_bytes());
    put(24, &(if of.cd { CD_SECTOR } else { SECTOR } as u16).to_le_bytes());
    let (segment, offset) = of.table.unwrap_or((0xFFFF, 0xFFFF));
    put(26, &offset.to_le_bytes());
    put(28, &segment.to_le_bytes());
    if let (RESULT_V3, Some(place)) = (size, of.drive.place) {
        put(30, &device_path(place, of.cd));
    }
    Some(result)
}

/// The device path (EDD 3.0, "Device path"): 36 bytes with their key and checksum.
fn device_path(place: AtaPlace, cd: bool) -> [u8; 36] {
    let (bus, device, function) = place.controller;
    let mut path = [0; 36];
    path[0..2].copy_from_slice(&0xBEDD_u16.to_le_bytes());
    path[2] = 36;
    path[6..10].copy_from_slice(b"PCI ");
    path[10..18].copy_from_slice(if cd { b"ATAPI   " } else { b"ATA     " });
    path[18..22].copy_from_slice(&[bus, device, function, place.channel]);
    path[26] = place.unit;
    path[35] = checksum(&path[..35]);
    path
}

/// The fixed disk parameter table that vectors 41h and 46h point to. Where the disk is translated, it has both geometries (byte
/// 3 is A0h then).
pub fn fixed_disk_parameters(sectors: u64) -> [u8; 16] {
    let (logical, physical) = (Geometry::logical(sectors), Geometry::physical(sectors));
    let mut table = [0; 16];
    table[0..2].copy_from_slice(&(logical.cylinders as u16).to_le_bytes());
    table[2] = logical.heads as u8;
    // No retries are switched off; bit 3 says more than eight heads.
    table[8] = 0xC0 | u8::from(physical.heads > 8) << 3;
    table[14] = logical.sectors as u8;
    if logical == physical {
        table[5..7].fill(0xFF);
        table[12..14].copy_from_slice(&(logical.cylinders as u16).to_le_bytes());
    } else {
        table[3] = 0xA0;
        table[4] = physical.sectors as u8;
        table[9..11].copy_from_slice(&(physical.cylinders as u16).to_le_bytes());
        table[11] = physical.heads as u8;
        table[15] = checksum(&table[..15]);
    }
    table
}
