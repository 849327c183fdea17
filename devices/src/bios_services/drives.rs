//! The drives that the BIOS knows, their numbers, and what is in them.
//!
//! | number | drive |
//! |---|---|
//! | 00h, 01h | floppy drives |
//! | 80h and up | hard disks, in the order of their channels, then virtio disks; the one that was booted from comes first |
//! | E0h and up | CD-ROM drives |
//!
//! While a disk on a CD is emulated (El Torito), it is 00h or 80h, and the drives of that kind have the next number each.

use super::geometry::{FloppyFormat, Geometry, format_of_drive, format_of_medium};
use super::status::Status;
use crate::drive::{Drive, Media, Medium};
use crate::floppy::DriveKind;
use std::fmt;
use std::sync::{Arc, Weak};
use trimotor_storage::{BlockBackend, BlockError};

/// The number of the first hard disk.
pub const FIRST_DISK: u8 = 0x80;
/// The number of the first CD-ROM drive.
pub const FIRST_CD: u8 = 0xE0;
/// Hard disks that have numbers.
pub const MAX_DISKS: usize = 8;
/// Floppy drives that have numbers.
pub const MAX_FLOPPIES: usize = 2;
/// CD-ROM drives that have numbers.
pub const MAX_CDS: usize = 8;
/// Bytes of a sector of floppies and hard disks.
pub const SECTOR: u64 = 512;
/// Bytes of a sector of CDs.
pub const CD_SECTOR: u64 = 2048;

/// Where a hard disk or a CD-ROM drive is connected to an IDE controller.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AtaPlace {
    /// Bus, device and function of the controller.
    pub controller: (u8, u8, u8),
    /// Channel: 0 is the primary one.
    pub channel: u8,
    /// 0 is the master, 1 the slave.
    pub unit: u8,
}

impl fmt::Display for AtaPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let channel = if self.channel == 0 { "primary" } else { "secondary" };
        write!(f, "{channel} {}", if self.unit == 0 { "master" } else { "slave" })
    }
}

/// A floppy drive.
#[derive(Clone)]
pub struct FloppyDrive {
    /// Its type, as CMOS memory has it: 1 is 360K, 2 1.2M, 3 720K, 4 1.44M, 5 2.88M.
    pub drive_type: u8,
    /// The drive itself.
    pub drive: Drive,
}

/// A hard disk or a CD-ROM drive.
#[derive(Clone)]
pub struct DiskDrive {
    /// Where at an IDE controller it is. A virtio disk is at none.
    pub place: Option<AtaPlace>,
    /// The drive itself. A hard disk always has its medium.
    pub drive: Drive,
}

/// All drives of the machine.
#[derive(Clone, Default)]
pub struct Drives {
    /// Floppy drives, A: first.
    pub floppies: Vec<FloppyDrive>,
    /// Hard disks.
    pub disks: Vec<DiskDrive>,
    /// CD-ROM drives.
    pub cds: Vec<DiskDrive>,
}

impl Drives {
    /// Those that have numbers.
    pub(super) fn numbered(mut self) -> Self {
        self.floppies.truncate(MAX_FLOPPIES);
        self.disks.truncate(MAX_DISKS);
        self.cds.truncate(MAX_CDS);
        self
    }
}

impl FloppyDrive {
    /// The drive, of the type that the floppy controller takes it for.
    pub fn new(drive: Drive) -> Self {
        Self { drive_type: DriveKind::of(&drive).cmos_type(), drive }
    }
    /// The format that it is made for.
    pub fn format(&self) -> Option<&'static FloppyFormat> {
        format_of_drive(self.drive_type)
    }
}

/// A run of sectors that INT 13h reads and writes as a disk: a medium, or an image on a CD.
#[derive(Clone)]
pub struct Volume {
    pub(super) medium: Medium,
    /// Where sector 0 begins, in bytes.
    first_byte: u64,
    /// How many sectors there are.
    pub(super) sectors: u64,
    /// Bytes of each.
    pub(super) sector_bytes: u64,
    read_only: bool,
    /// What is written is flushed at once.
    write_through: bool,
}

impl Volume {
    /// What is in a drive, in sectors of 512 bytes, or of 2048 for a CD.
    pub fn of(drive: &Drive) -> Option<Self> {
        let medium = drive.medium()?;
        let cd = drive.config().media == Media::Cdrom;
        let mut volume = Self::whole(medium, if cd { CD_SECTOR } else { SECTOR });
        volume.read_only |= cd;
        volume.write_through = drive.config().write_through;
        Some(volume)
    }
    /// A whole medium, in sectors of so many bytes.
    pub fn whole(medium: Medium, sector_bytes: u64) -> Self {
        let sectors = medium.size() / sector_bytes;
        let read_only = medium.limits().read_only;
        Self { medium, first_byte: 0, sectors, sector_bytes, read_only, write_through: false }
    }
    /// An image of `sectors` sectors of 512 bytes on a CD, from its sector `first` on, as far as the CD has it.
    pub fn image(cd: Medium, first: u32, sectors: u64) -> Self {
        let first_byte = u64::from(first) * CD_SECTOR;
        let there = cd.size().saturating_sub(first_byte) / SECTOR;
        let sectors = sectors.min(there);
        Self { first_byte, sectors, read_only: true, ..Self::whole(cd, SECTOR) }
    }
    /// Whether it has all of these sectors.
    pub fn has(&self, first: u64, count: u64) -> bool {
        first.checked_add(count).is_some_and(|end| end <= self.sectors)
    }
    /// Whether nothing can be written to it.
    pub fn read_only(&self) -> bool {
        self.read_only
    }
    /// Reads sectors, as many as `into` has room for.
    pub fn read(&self, first: u64, into: &mut [u8]) -> Result<(), VolumeError> {
        let offset = self.offset(first, into.len() as u64)?;
        let failed = |error| VolumeError { status: Status::Unreadable, host: Some(error) };
        self.medium.read(offset, into).map_err(failed)
    }
    /// Writes whole sectors.
    pub fn write(&self, first: u64, from: &[u8]) -> Result<(), VolumeError> {
        let offset = self.offset(first, from.len() as u64)?;
        if self.read_only {
            return Err(Status::WriteProtected.into());
        }
        let flush = || if self.write_through { self.medium.flush() } else { Ok(()) };
        self.medium.write(offset, from).and_then(|()| flush()).map_err(|error| match error {
            BlockError::ReadOnly => Status::WriteProtected.into(),
            error => VolumeError { status: Status::WriteFault, host: Some(error) },
        })
    }
    fn offset(&self, first: u64, bytes: u64) -> Result<u64, Status> {
        if !self.has(first, bytes.div_ceil(self.sector_bytes)) {
            return Err(Status::SectorNotFound);
        }
        // A volume lies within its medium, whose size in bytes has 64 bits.
        Ok(self.first_byte + first * self.sector_bytes)
    }
}

/// Sectors could not be read or written.
#[derive(Debug)]
pub struct VolumeError {
    /// What a caller is told.
    pub status: Status,
    /// What the host says, where it is the host that failed.
    pub host: Option<BlockError>,
}
impl From<Status> for VolumeError {
    fn from(status: Status) -> Self {
        Self { status, host: None }
    }
}

/// What a floppy drive has in it.
pub(super) fn floppy_medium(floppy: &FloppyDrive) -> Option<(Volume, Option<&'static FloppyFormat>)> {
    let volume = Volume::of(&floppy.drive)?;
    let format = format_of_medium(volume.medium.size());
    Some((volume, format))
}

/// The geometry that INT 13h has for a hard disk.
pub(super) fn disk_volume(disk: &DiskDrive) -> Option<(Volume, Geometry)> {
    let volume = Volume::of(&disk.drive)?;
    let geometry = Geometry::logical(volume.sectors);
    Some((volume, geometry))
}

/// Which medium a drive was seen with, so that another one is noticed. It holds no medium: the host may close what was taken
/// out.
#[derive(Clone, Default)]
pub struct MediumWatch {
    seen: Option<Weak<dyn BlockBackend>>,
    changed: bool,
}

impl MediumWatch {
    /// Takes what is in the drive now as known.
    pub fn settle(&mut self, drive: &Drive) {
        self.seen = drive.medium().map(|medium| Arc::downgrade(&medium));
        self.changed = false;
    }
    /// Whether another medium is in the drive than when it was last settled.
    pub fn changed(&self, drive: &Drive) -> bool {
        let place = |medium: Option<*const dyn BlockBackend>| medium.map(<*const _>::cast::<()>);
        let now = drive.medium();
        let (now, seen) = (now.as_ref().map(Arc::as_ptr), self.seen.as_ref().map(Weak::as_ptr));
        self.changed || place(now) != place(seen)
    }
    /// The watch of a restored machine, in whose drive the same medium is.
    pub fn restored(drive: &Drive, changed: bool) -> Self {
        let mut watch = Self::default();
        watch.settle(drive);
        Self { changed, ..watch }
    }
}
