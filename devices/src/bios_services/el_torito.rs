//! What a CD says about how to boot from it: El Torito Bootable CD-ROM Format Specification 1.0.
//!
//! Sector 17 of the CD is the *boot record volume descriptor*; it points to the *boot catalog*, whose first entry, 32 bytes,
//! validates it and whose second is the one to boot by default. Sections of further entries may follow, each for a platform of its
//! own; they are looked at where the default entry is for another platform (UEFI firmware's is EFh).
//!
//! An entry says what is emulated: nothing (some sectors are loaded and started, and the program then reads the CD by EDD's functions), a
//! floppy of 1.2, 1.44 or 2.88 MB, or a hard disk with a partition table of one partition.

use super::drives::{CD_SECTOR, SECTOR, Volume, VolumeError};
use super::geometry::{Geometry, format_of_drive};
use super::status::Status;
use serde::{Deserialize, Serialize};

/// The sector of the boot record volume descriptor.
const BOOT_RECORD: u64 = 17;
/// Bytes of a catalog's entry.
const ENTRY: usize = 32;
/// The platform of PCs with a BIOS.
const PLATFORM_X86: u8 = 0;
/// The first byte of an entry to boot from.
const BOOTABLE: u8 = 0x88;
/// Where an image goes whose load segment is zero.
const DEFAULT_SEGMENT: u16 = 0x7C0;

/// What an image on a CD is seen as.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Emulation {
    /// No disk is emulated.
    None,
    /// A floppy drive of this type, whose medium the image is.
    Floppy(u8),
    /// A hard disk.
    HardDisk,
}

/// An entry of a boot catalog, as far as it concerns us.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BootEntry {
    /// What is emulated.
    pub emulation: Emulation,
    /// The media type byte as it stands, with the flags of drivers in the image.
    pub media_type: u8,
    /// The segment that the image's beginning is loaded to.
    pub load_segment: u16,
    /// Sectors of 512 bytes that are loaded.
    pub load_sectors: u16,
    /// The sector of the CD where the image begins.
    pub image: u32,
}

/// Why a CD is not booted from.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
pub enum CatalogError {
    /// A sector is missing or unreadable.
    #[error("sector {0} cannot be read")]
    Unreadable(u64),
    /// The CD is a CD with files or music and no more.
    #[error("no El Torito boot record at sector 17")]
    NoBootRecord,
    /// The validation entry does not begin as one.
    #[error("the boot catalog at sector {0} does not begin with a validation entry")]
    NoValidation(u32),
    /// The validation entry lacks its last two bytes.
    #[error("the validation entry of the boot catalog lacks its key bytes 55 AA")]
    NoKey,
    /// The words of the validation entry do not add up to zero.
    #[error("the validation entry of the boot catalog has a wrong checksum")]
    Checksum,
    /// All entries are for other platforms.
    #[error("the boot catalog has no entry for a PC BIOS; its first one is for platform {0:02X}h")]
    Platform(u8),
    /// The entry says that it is not bootable.
    #[error("the boot catalog's entry is marked as not bootable")]
    NotBootable,
    /// A media type that the specification does not have.
    #[error("the boot catalog's entry has the unknown media type {0:X}h")]
    MediaType(u8),
    /// The image begins behind the end of the CD, or ends there.
    #[error("the boot image at sector {0} lies behind the end of the CD")]
    ImageOutside(u32),
    /// What is to be loaded does not fit.
    #[error(
        "the boot image has {bytes} bytes to load at segment {segment:04X}h, which end behind {limit:#x}"
    )]
    TooLarge {
        /// Bytes to load.
        bytes: u64,
        /// Where to.
        segment: u16,
        /// The end of memory for it.
        limit: u64,
    },
    /// A hard disk image without a partition table.
    #[error("the hard disk image at sector {0} has no partition table with one partition")]
    NoPartition(u32),
}

fn word(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).map_or(0, |b| u16::from_le_bytes([b[0], b[1]]))
}
fn dword(bytes: &[u8], at: usize) -> u32 {
    u32::from(word(bytes, at)) | u32::from(word(bytes, at + 2)) << 16
}
fn sector(cd: &Volume, number: u64) -> Result<Vec<u8>, CatalogError> {
    let mut bytes = vec![0; CD_SECTOR as usize];
    cd.read(number, &mut bytes).map_err(|_| CatalogError::Unreadable(number))?;
    Ok(bytes)
}

/// The sector of the boot catalog.
///
/// # Errors
/// The CD has no boot record.
pub fn find_catalog(cd: &Volume) -> Result<u32, CatalogError> {
    let record = sector(cd, BOOT_RECORD)?;
    let name = b"EL TORITO SPECIFICATION";
    // A descriptor of type 0, the standard's name, version 1.
    let is_record = record.starts_with(b"\0CD001\x01") && record[7..].starts_with(name);
    if is_record { Ok(dword(&record, 0x47)) } else { Err(CatalogError::NoBootRecord) }
}

/// The entry that a PC BIOS boots from.
///
/// # Errors
/// See [`CatalogError`].
pub fn find_entry(cd: &Volume) -> Result<BootEntry, CatalogError> {
    let at = find_catalog(cd)?;
    let catalog = sector(cd, at.into())?;
    let (validation, entries) = catalog.split_at(ENTRY);
    if validation[0] != 1 {
        return Err(CatalogError::NoValidation(at));
    }
    if validation[30..] != [0x55, 0xAA] {
        return Err(CatalogError::NoKey);
    }
    if (0..ENTRY / 2).fold(0u16, |sum, i| sum.wrapping_add(word(validation, 2 * i))) != 0 {
        return Err(CatalogError::Checksum);
    }
    let platform = validation[1];
    let entry = if platform == PLATFORM_X86 { entries.get(..ENTRY) } else { entry_of_section(entries) };
    let entry = entry.ok_or(CatalogError::Platform(platform))?;
    if entry[0] != BOOTABLE {
        return Err(CatalogError::NotBootable);
    }
    let media_type = entry[1];
    let emulation = match media_type & 0x0F {
        0 => Emulation::None,
        1 => Emulation::Floppy(2),
        2 => Emulation::Floppy(4),
        3 => Emulation::Floppy(5),
        4 => Emulation::HardDisk,
        other => return Err(CatalogError::MediaType(other)),
    };
    let load_segment = match word(entry, 2) {
        0 => DEFAULT_SEGMENT,
        segment => segment,
    };
    // An image of which nothing is loaded cannot be started: one sector is.
    let load_sectors = word(entry, 6).max(1);
    Ok(BootEntry { emulation, media_type, load_segment, load_sectors, image: dword(entry, 8) })
}

/// The first entry of the first section for PCs with a BIOS. `entries` begins with the default entry, of another platform.
fn entry_of_section(entries: &[u8]) -> Option<&[u8]> {
    const HEADER: u8 = 0x90;
    const LAST_HEADER: u8 = 0x91;
    const EXTENSION: u8 = 0x44;
    let mut at = entries.chunks_exact(ENTRY).skip(1);
    while let Some(header) = at.next() {
        let count = usize::from(word(header, 2));
        match header[0] {
            EXTENSION => {}
            HEADER | LAST_HEADER if header[1] == PLATFORM_X86 && count > 0 => return at.next(),
            HEADER if count > 0 => _ = at.nth(count - 1),
            HEADER => {}
            _ => return None,
        }
    }
    None
}

impl BootEntry {
    /// The disk that is emulated, with its geometry.
    ///
    /// # Errors
    /// The image of a hard disk has no partition table that tells its geometry, or the image lies outside of the CD.
    pub fn disk(&self, cd: &Volume) -> Result<Option<Geometry>, CatalogError> {
        let outside = CatalogError::ImageOutside(self.image);
        if !cd.has(self.image.into(), u64::from(self.load_sectors).div_ceil(CD_SECTOR / SECTOR)) {
            return Err(outside);
        }
        match self.emulation {
            Emulation::None => Ok(None),
            Emulation::Floppy(drive_type) => Ok(format_of_drive(drive_type).map(|format| format.geometry)),
            Emulation::HardDisk => {
                let first = sector(cd, self.image.into())?;
                let geometry = geometry_of_partition(&first).ok_or(CatalogError::NoPartition(self.image))?;
                Ok(Some(geometry))
            }
        }
    }
    /// The sectors to load, if they fit below `limit`.
    ///
    /// # Errors
    /// They do not, or cannot be read.
    pub fn load(&self, cd: &Volume, limit: u64) -> Result<Vec<u8>, CatalogError> {
        let bytes = u64::from(self.load_sectors) * SECTOR;
        let segment = self.load_segment;
        if (u64::from(segment) << 4) + bytes > limit {
            return Err(CatalogError::TooLarge { bytes, segment, limit });
        }
        let image = Volume::image(cd.medium.clone(), self.image, self.load_sectors.into());
        let mut loaded = vec![0; bytes as usize];
        match image.read(0, &mut loaded) {
            Ok(()) => Ok(loaded),
            Err(VolumeError { status: Status::SectorNotFound, .. }) => {
                Err(CatalogError::ImageOutside(self.image))
            }
            Err(_) => Err(CatalogError::Unreadable(self.image.into())),
        }
    }
}

/// The geometry that the last sector of the first partition tells (El Torito, "Hard disk emulation": an image has one
/// partition, the first of its table, which ends where the disk does).
fn geometry_of_partition(first: &[u8]) -> Option<Geometry> {
    if first.get(510..512)? != [0x55, 0xAA] {
        return None;
    }
    let entry = first.get(446..462)?;
    let (head, sector, cylinder) = (entry[5], entry[6] & 0x3F, u32::from(entry[7]));
    let cylinder = cylinder | u32::from(entry[6] & 0xC0) << 2;
    let used = entry[4] != 0 && sector != 0;
    used.then(|| Geometry { cylinders: cylinder + 1, heads: u32::from(head) + 1, sectors: sector.into() })
}
