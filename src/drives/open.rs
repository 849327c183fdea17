//! Opens what is in drives.

use super::place::{HostDrive, refuse};
use super::short_floppy::ShortFloppy;
use crate::error::Failure;
use crate::host_images::HostImages;
use std::sync::Arc;
use trimotor_devices::floppy::Geometry;
use trimotor_machine::{Media, Medium};
use trimotor_storage::{Discard, ImageOptions};

/// Opens what is in a drive; nothing where the drive is empty.
///
/// # Errors
/// A file that cannot be opened, or is in a format that is not read.
pub fn medium(drive: &HostDrive) -> Result<Option<Medium>, Failure> {
    let refuse = |reason: &str| refuse(drive.option, &drive.spec, reason);
    let spec = &drive.spec;
    let Some(path) = &spec.file else {
        return match drive.config.media {
            Media::Disk => Err(refuse("a hard disk needs a file: file=FILE")),
            Media::Cdrom | Media::Floppy => Ok(None),
        };
    };
    let read_only = spec.read_only || drive.config.media == Media::Cdrom;
    let snapshot = spec.snapshot && !read_only;
    let options = ImageOptions {
        format: spec.format,
        read_only,
        snapshot,
        cache: spec.cache,
        discard: if spec.discard { Discard::Unmap } else { Discard::Ignore },
        ..ImageOptions::new(path)
    };
    // The message begins with the file's name.
    let option = if drive.option == "image" { String::new() } else { format!("{}: ", drive.option) };
    let medium = trimotor_storage::open(&options, &HostImages)
        .map_err(|error| Failure::bad(format!("{option}{error}")))?;
    if medium.size() == 0 {
        return Err(refuse("is empty"));
    }
    if drive.config.media == Media::Floppy && Geometry::of(medium.size()).is_none() {
        let short = ShortFloppy::new(medium).ok_or_else(|| {
            refuse(
                "is larger than any floppy disk: 160K, 180K, 320K, 360K, 720K, 1200K, 1440K, 1680K or 2880K",
            )
        })?;
        return Ok(Some(Arc::new(short)));
    }
    Ok(Some(medium))
}
