//! Which drive is where: places that options name, and free ones for the rest.

use super::args::DriveArgs;
use super::content::{self, Content};
use super::spec::{DriveSpec, Interface};
use crate::error::Failure;
use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::path::Path;
use trimotor_machine::{BootConfig, BootDevice, DriveConfig, DrivePlace, Media};
use trimotor_storage::CacheMode;

/// Where CD-ROM drives go first: the master of the second channel.
const CDROM_INDEX: u8 = 2;
/// Drives on the IDE controller.
const IDE_DRIVES: u8 = 4;
/// Drives on the floppy controller.
const FLOPPY_DRIVES: u8 = 2;

/// A drive, and what the host has to know of it.
pub struct HostDrive {
    /// What the machine is told.
    pub config: DriveConfig,
    /// What the options say.
    pub spec: DriveSpec,
    /// The option, for messages.
    pub option: &'static str,
}

/// All drives that the options and a bare image name, and what the machine boots from if a bare image says so.
///
/// # Errors
/// A place that is taken or does not exist, or an image that is none.
pub fn all(args: &DriveArgs, image: Option<&Path>) -> Result<(Vec<HostDrive>, Option<BootDevice>), Failure> {
    let mut wanted: Vec<(&'static str, DriveSpec)> = Vec::new();
    let mut boots_from = None;
    if let Some(path) = image {
        let (spec, device) = bare(path)?;
        boots_from = Some(device);
        wanted.push(("image", spec));
    }
    let drives = args.drive.iter().filter(|spec| spec.interface != Interface::Flash);
    wanted.extend(drives.map(|spec| ("--drive", spec.clone())));
    if let Some(path) = &args.cdrom {
        let drive = DriveSpec {
            cdrom: true,
            index: Some(CDROM_INDEX),
            ..DriveSpec::new(Some(path.clone()), Interface::Ide)
        };
        wanted.push(("--cdrom", drive));
    }
    wanted.extend(
        args.floppy.iter().map(|path| ("--floppy", DriveSpec::new(Some(path.clone()), Interface::Floppy))),
    );
    // Those with a place of their own first.
    let mut placed: Vec<Option<DrivePlace>> = Vec::new();
    for (option, spec) in &wanted {
        let place = named_place(spec).map_err(|reason| refuse(option, spec, &reason))?;
        if let Some(place) = place
            && place != DrivePlace::Unattached
            && let Some(other) = placed.iter().position(|taken| *taken == Some(place))
        {
            let reason = format!("{} is at this place already", name(wanted[other].0, &wanted[other].1));
            return Err(refuse(option, spec, &reason));
        }
        placed.push(place);
    }
    for (at, (option, spec)) in wanted.iter().enumerate() {
        if placed[at].is_none() {
            let free = candidates(spec).into_iter().find(|place| !placed.contains(&Some(*place)));
            placed[at] =
                Some(free.ok_or_else(|| refuse(option, spec, "no place is free at its controller"))?);
        }
    }
    let mut drives = Vec::new();
    for (number, ((option, spec), place)) in wanted.into_iter().zip(placed).enumerate() {
        let place = place.unwrap_or(DrivePlace::Unattached);
        drives.push(HostDrive { config: config(&spec, place, number), spec, option });
    }
    Ok((drives, boots_from))
}

/// The drive that a bare image is for.
fn bare(path: &Path) -> Result<(DriveSpec, BootDevice), Failure> {
    let look = || {
        let mut file = File::open(path)?;
        if file.metadata()?.is_dir() {
            return Err(std::io::ErrorKind::IsADirectory.into());
        }
        let size = file.seek(SeekFrom::End(0))?;
        content::of(&file, size)
    };
    let content = look().map_err(|error| Failure::bad(format!("{}: {error}", path.display())))?;
    let file = Some(path.to_owned());
    Ok(match content {
        Content::Cd => {
            let cd =
                DriveSpec { cdrom: true, index: Some(CDROM_INDEX), ..DriveSpec::new(file, Interface::Ide) };
            (cd, BootDevice::Cdrom)
        }
        Content::Floppy => (DriveSpec::new(file, Interface::Floppy), BootDevice::Floppy),
        Content::Disk | Content::Image => (DriveSpec::new(file, Interface::Ide), BootDevice::Disk),
        Content::Kernel => {
            let path = path.display();
            return Err(Failure::bad(format!(
                "{path}: a kernel is named by an option: trimotor run --kernel {path}"
            )));
        }
    })
}

/// The order in which firmware tries, where no option says it: first what a bare image is for.
pub fn boot_order(first: Option<BootDevice>) -> BootConfig {
    let mut boot = BootConfig::default();
    if let Some(first) = first {
        boot.order.retain(|device| *device != first);
        boot.order.insert(0, first);
    }
    boot
}

/// The place that the options name, if they do.
fn named_place(spec: &DriveSpec) -> Result<Option<DrivePlace>, String> {
    let index = match (spec.index, spec.bus, spec.unit) {
        (Some(index), ..) => Some(index),
        (None, None, None) => None,
        (None, bus, unit) if spec.interface == Interface::Ide => {
            match (bus.unwrap_or(0), unit.unwrap_or(0)) {
                (bus @ 0..=1, unit @ 0..=1) => Some(bus * 2 + unit),
                _ => {
                    return Err(
                        "an IDE controller has bus=0 and bus=1, each with unit=0 and unit=1".to_owned()
                    );
                }
            }
        }
        (None, None | Some(0), unit) => unit,
        (None, Some(_), _) => return Err("a floppy controller has bus=0 alone".to_owned()),
    };
    match (spec.interface, index) {
        (Interface::None | Interface::Virtio, None) | (Interface::Flash, _) => {
            Ok(Some(DrivePlace::Unattached))
        }
        (Interface::Virtio, Some(_)) => {
            Err("a virtio disk is a card of its own: --device virtio-blk-pci,drive=ID,addr=SLOT says where"
                .to_owned())
        }
        (Interface::None, Some(_)) => {
            Err("a drive with if=none is at no controller: it has no place".to_owned())
        }
        (_, None) => Ok(None),
        (Interface::Ide, Some(index)) if index < IDE_DRIVES => Ok(Some(ide(index))),
        (Interface::Ide, Some(_)) => Err("an IDE controller has four drives, index=0 to index=3".to_owned()),
        (Interface::Floppy, Some(unit)) if unit < FLOPPY_DRIVES => Ok(Some(DrivePlace::Floppy { unit })),
        (Interface::Floppy, Some(_)) => {
            Err("a floppy controller has two drives, index=0 and index=1".to_owned())
        }
    }
}

/// The places for a drive without one, best first.
fn candidates(spec: &DriveSpec) -> Vec<DrivePlace> {
    match spec.interface {
        Interface::Ide if spec.cdrom => [2, 3, 0, 1].map(ide).to_vec(),
        Interface::Ide => [0, 1, 2, 3].map(ide).to_vec(),
        Interface::Floppy => (0..FLOPPY_DRIVES).map(|unit| DrivePlace::Floppy { unit }).collect(),
        Interface::None | Interface::Flash | Interface::Virtio => vec![DrivePlace::Unattached],
    }
}

fn ide(index: u8) -> DrivePlace {
    DrivePlace::Ide { channel: index / 2, unit: index % 2 }
}

fn config(spec: &DriveSpec, place: DrivePlace, number: usize) -> DriveConfig {
    let media = match spec.interface {
        Interface::Floppy => Media::Floppy,
        _ if spec.cdrom => Media::Cdrom,
        _ => Media::Disk,
    };
    let id = spec.id.clone().unwrap_or_else(|| match place {
        DrivePlace::Ide { channel, unit } => {
            format!("ide{channel}-{}{unit}", if media == Media::Cdrom { "cd" } else { "hd" })
        }
        DrivePlace::Floppy { unit } => format!("floppy{unit}"),
        DrivePlace::Unattached if spec.interface == Interface::Virtio => format!("virtio{number}"),
        DrivePlace::Unattached => format!("drive{number}"),
    });
    DriveConfig {
        serial: spec.serial.clone(),
        on_read_error: spec.on_read_error,
        on_write_error: spec.on_write_error,
        discard: spec.discard,
        write_through: spec.cache == CacheMode::Writethrough,
        limits: spec.limits,
        ..DriveConfig::new(&id, place, media)
    }
}

/// An option and its file, for messages.
pub fn name(option: &str, spec: &DriveSpec) -> String {
    match &spec.file {
        Some(file) if option == "image" => file.display().to_string(),
        Some(file) if option == "--drive" => format!("--drive file={}", file.display()),
        Some(file) => format!("{option} {}", file.display()),
        None => option.to_owned(),
    }
}

/// The message that a drive cannot be had.
pub fn refuse(option: &str, spec: &DriveSpec, reason: &str) -> Failure {
    Failure::bad(format!("{}: {reason}", name(option, spec)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn args(drives: &[&str], cdrom: bool, floppies: usize) -> DriveArgs {
        DriveArgs {
            drive: drives.iter().map(|text| text.parse().unwrap()).collect(),
            cdrom: cdrom.then(|| PathBuf::from("cd")),
            floppy: vec![PathBuf::from("f"); floppies],
            boot: None,
            pflash: Vec::new(),
        }
    }
    fn ids(drives: &[&str], cdrom: bool, floppies: usize) -> Result<Vec<String>, String> {
        let (drives, _) = all(&args(drives, cdrom, floppies), None).map_err(|error| error.to_string())?;
        Ok(drives.into_iter().map(|drive| drive.config.id).collect())
    }

    #[test]
    fn drives_get_the_places_that_are_named_and_those_that_are_free() {
        let ids = |drives: &[&str], cdrom, floppies| ids(drives, cdrom, floppies).unwrap();
        assert_eq!(ids(&["file=a", "file=b"], false, 0), ["ide0-hd0", "ide0-hd1"]);
        assert_eq!(ids(&["file=a", "file=b,index=0"], false, 0), ["ide0-hd1", "ide0-hd0"]);
        assert_eq!(
            ids(&["file=a", "media=cdrom"], true, 2),
            ["ide0-hd0", "ide1-cd1", "ide1-cd0", "floppy0", "floppy1"]
        );
        assert_eq!(
            ids(&["file=a,bus=1,unit=1", "file=b,if=floppy,unit=1", "file=c,if=none"], false, 0),
            ["ide1-hd1", "floppy1", "drive2"]
        );
        assert_eq!(ids(&["file=a,id=root"], false, 0), ["root"]);
    }

    #[test]
    fn places_that_are_not_there_are_named() {
        for (drives, cdrom, floppies, says) in [
            (&["file=a,index=0", "file=b,index=0"][..], false, 0, "--drive file=a is at this place"),
            (&["file=a,index=2"], true, 0, "--cdrom cd: --drive file=a is at this place"),
            (&["file=a,index=4"], false, 0, "four drives"),
            (&["file=a,bus=2"], false, 0, "bus=1"),
            (&["file=a,if=floppy,index=2"], false, 0, "two drives"),
            (&["file=a,if=none,index=2"], false, 0, "no place"),
            (&[], false, 3, "no place is free"),
            (&["file=a"; 5], false, 0, "no place is free"),
        ] {
            let error = ids(drives, cdrom, floppies).unwrap_err();
            assert!(error.contains(says), "{drives:?}: {error}");
        }
    }

    #[test]
    fn what_a_bare_image_is_for_boots_first() {
        use BootDevice::{Cdrom, Disk, Floppy};
        assert_eq!(boot_order(None).order, [Disk, Cdrom, Floppy]);
        assert_eq!(boot_order(Some(Floppy)).order, [Floppy, Disk, Cdrom]);
    }
}
