//! Drives as the command line names them: their files are found, opened, and handed to the machine.
//!
//! | part | file |
//! |---|---|
//! | the options | [`args`] |
//! | `--drive file=F,if=ide`: its text | [`spec`] |
//! | its limits, `bps=` and `iops=` | [`limits`] |
//! | what a file's content looks like | [`content`] |
//! | which drive is where | [`place`] |
//! | UEFI firmware's code and variables | [`flash`] |
//! | opening images, floppy images that end early | [`open`], [`short_floppy`] |

mod args;
mod content;
pub mod flash;
mod limits;
mod open;
mod place;
mod short_floppy;
mod spec;

pub use args::DriveArgs;
pub use place::HostDrive;

use crate::error::Failure;
use spec::Interface;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use trimotor_machine::{BootConfig, DeviceConfig, DriveConfig, Medium};
use trimotor_storage::Format;

/// The drives of a machine and what is in them.
#[derive(Default)]
pub struct Drives {
    /// What the machine is told of them.
    pub configs: Vec<DriveConfig>,
    /// What is in them, by id.
    pub media: BTreeMap<String, Medium>,
    /// What is booted from them.
    pub boot: BootConfig,
    /// What they need of devices beside the board's own controllers: flash with UEFI firmware's variables, cards with virtio disks.
    pub devices: Vec<DeviceConfig>,
    /// What the host has to know of the drives.
    pub host: Vec<HostDrive>,
}

impl Drives {
    /// The files that are in the drives, by their ids.
    pub fn files(&self) -> BTreeMap<String, PathBuf> {
        let file = |drive: &HostDrive| Some((drive.config.id.clone(), drive.spec.file.clone()?));
        self.host.iter().filter_map(file).collect()
    }
}

/// Opens another medium for a drive that takes one. Its other properties stay as the options say.
///
/// # Errors
/// A file that cannot be used; the message names it.
pub fn open_other(
    drive: &HostDrive,
    file: &Path,
    format: Option<Format>,
    read_only: Option<bool>,
) -> Result<Medium, Failure> {
    let spec = spec::DriveSpec {
        file: Some(file.to_owned()),
        format,
        read_only: read_only.unwrap_or(drive.spec.read_only),
        ..drive.spec.clone()
    };
    let other = HostDrive { config: drive.config.clone(), spec, option: "image" };
    open::medium(&other)?.ok_or_else(|| Failure::bad(format!("{}: no medium", file.display())))
}

/// Opens all drives that the options name. With `throw_away` no file is written: what the guest writes goes with the run.
/// `now` may say, by a drive's id, that another file is in it than the options say, or none.
///
/// # Errors
/// An option or a file that cannot be used; the message names it.
pub fn open(
    args: &DriveArgs,
    image: Option<&Path>,
    throw_away: bool,
    now: impl Fn(&str) -> Option<Option<PathBuf>>,
) -> Result<Drives, Failure> {
    let (mut drives, boots_from) = place::all(args, image)?;
    let variables = flash::variables(args)?;
    let on = |kind: &str, drive: &HostDrive| DeviceConfig::new(kind).with("drive", &drive.config.id);
    let mut devices: Vec<_> = variables.iter().map(|drive| on("pflash", drive)).collect();
    drives.extend(variables);
    for drive in &mut drives {
        drive.spec.snapshot |= throw_away;
        if let Some(file) = now(&drive.config.id) {
            drive.spec.file = file;
        }
    }
    let mut media = BTreeMap::new();
    for drive in &drives {
        if let Some(medium) = open::medium(drive)? {
            media.insert(drive.config.id.clone(), medium);
        }
    }
    let boot = args.boot.as_ref().map_or_else(|| place::boot_order(boots_from), |boot| boot.0.clone());
    let virtio = drives.iter().filter(|drive| drive.spec.interface == Interface::Virtio);
    devices.extend(virtio.map(|drive| on("virtio-blk-pci", drive)));
    let configs = drives.iter().map(|drive| drive.config.clone()).collect();
    Ok(Drives { configs, media, boot, devices, host: drives })
}
