//! `commit` in a monitor: what a disk's image has itself goes into the image that it stands on, while the guest runs.

use crate::drives::HostDrive;
use crate::host_images::HostImages;
use crate::img;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use trimotor_storage::{BlockBackend, BlockError, ImageOptions, backing_path, open};

/// The images of a machine's disks, by the drives' ids.
pub type Disks = BTreeMap<String, Weak<dyn BlockBackend>>;

/// The image that a drive's image stands on.
///
/// # Errors
/// It stands on none, or cannot.
pub fn base_of(drive: &HostDrive, disks: &Disks) -> Result<ImageOptions, String> {
    let id = &drive.config.id;
    let refuse = |why: &str| Err(format!("drive {id}: {why}"));
    let Some(medium) = disks.get(id).and_then(Weak::upgrade) else { return refuse("it has ended") };
    let Some(file) = &drive.spec.file else { return refuse("it is empty") };
    let Some(image) = medium.as_qcow2() else {
        return refuse("its image is not qcow2, so it stands on no other one: there is nothing to commit");
    };
    if medium.limits().read_only {
        return refuse("it is read-only: there is nothing to commit");
    }
    if drive.spec.snapshot {
        // What the guest wrote is in a temporary image on the file.
        let format = drive.spec.format;
        return Ok(ImageOptions { format, ..ImageOptions::new(file) });
    }
    let header = image.header();
    let Some(name) = header.backing else {
        return refuse("its image stands on no other one: there is nothing to commit");
    };
    let path = backing_path(file, &name).map_err(|why| format!("drive {id}: {why}"))?;
    let format = header.backing_format.as_deref().and_then(|format| format.parse().ok());
    Ok(ImageOptions { format, ..ImageOptions::new(&path) })
}

/// Writes what a drive's image has itself to the image below; which one that is. Requests of the guest to this drive wait
/// meanwhile.
///
/// # Errors
/// See [`base_of`]; the image below is in use, or the host fails.
pub fn drive(drive: &HostDrive, disks: &Disks) -> Result<PathBuf, String> {
    let id = &drive.config.id;
    let below = base_of(drive, disks)?;
    let medium: Option<Arc<dyn BlockBackend>> = disks.get(id).and_then(Weak::upgrade);
    let Some(medium) = medium else { return Err(format!("drive {id}: it has ended")) };
    let Some(image) = medium.as_qcow2() else { return Err(format!("drive {id}: it is not qcow2")) };
    let size = medium.size();
    let opened = |writes: bool| {
        let refused = |error: &dyn std::fmt::Display| BlockError::Refused(error.to_string());
        if !writes {
            return open(&below.clone().read_only(), &HostImages).map_err(|error| refused(&error));
        }
        img::grow(&below, size).map_err(|error| refused(&error))?;
        open(&below, &HostImages).map_err(|error| refused(&error))
    };
    image.commit_to_backing(opened).map_err(|error| format!("drive {id}: {error}"))?;
    Ok(below.path)
}
