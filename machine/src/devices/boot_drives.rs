//! The drives and the boot order as the BIOS's services take them.

use crate::config::{BootConfig, BootDevice};
use trimotor_devices::bios_services::{AtaPlace, BootKind, BootOrder, DiskDrive, Drives, FloppyDrive};
use trimotor_devices::drive::{Drive, DrivePlace, Media};
use trimotor_devices::pci::SOUTH_BRIDGE_SLOT;

/// Bus, device and function of the IDE controller.
const IDE_CONTROLLER: (u8, u8, u8) = (0, SOUTH_BRIDGE_SLOT, 1);
/// How long the key for the menu is waited for, in tenths of a second, unless the configuration says.
const PROMPT_TENTHS: u8 = 25;

/// The drives that the BIOS has numbers for, in the order of their places; behind them virtio disks, whose ids are in `virtio`.
pub(super) fn drives<'a>(all: impl Iterator<Item = &'a Drive>, virtio: &[&str]) -> Drives {
    let mut sorted: Vec<&Drive> = all.collect();
    sorted.sort_by_key(|drive| drive.config().place);
    let mut drives = Drives::default();
    let mut unattached = Vec::new();
    for drive in sorted {
        match drive.config().place {
            DrivePlace::Floppy { .. } => drives.floppies.push(FloppyDrive::new(drive.clone())),
            DrivePlace::Ide { channel, unit } => {
                let place = AtaPlace { controller: IDE_CONTROLLER, channel, unit };
                let of_kind = match drive.config().media {
                    Media::Disk => &mut drives.disks,
                    Media::Cdrom => &mut drives.cds,
                    Media::Floppy => continue,
                };
                of_kind.push(DiskDrive { place: Some(place), drive: drive.clone() });
            }
            DrivePlace::Unattached => unattached.push(drive),
        }
    }
    // In the order of their cards.
    for id in virtio {
        if let Some(drive) = unattached.iter().find(|drive| drive.config().id == *id) {
            drives.disks.push(DiskDrive { place: None, drive: (*drive).clone() });
        }
    }
    drives
}

/// What is booted.
pub(super) fn order(config: &BootConfig) -> BootOrder {
    let kind = |device: &BootDevice| match device {
        BootDevice::Floppy => BootKind::Floppy,
        BootDevice::Disk => BootKind::HardDisk,
        BootDevice::Cdrom => BootKind::CdRom,
        BootDevice::Network => BootKind::Network,
    };
    let kinds = |devices: &Vec<BootDevice>| devices.iter().map(kind).collect();
    let tenths = config.splash_ms.map(|ms| ms.div_ceil(100).min(u8::MAX.into()) as u8);
    BootOrder {
        order: kinds(&config.order),
        once: config.once.as_ref().map(kinds),
        menu: config.menu,
        prompt_tenths: if config.menu { tenths.unwrap_or(PROMPT_TENTHS) } else { tenths.unwrap_or(0) },
    }
}
