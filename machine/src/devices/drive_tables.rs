//! What firmware is told of the drives: bytes of CMOS memory, and files of fw_cfg.

use crate::config::{BootConfig, BootDevice, MachineConfig};
use trimotor_bus::PciAddress;
use trimotor_devices::drive::{Drive, DrivePlace, Media};
use trimotor_devices::floppy;
use trimotor_devices::rtc::Rtc;

/// Equipment: a floppy drive is there, and bits 7 and 6 one less than there are.
const EQUIPMENT: u8 = 0x14;
/// Types of the floppy drives.
const FLOPPY_TYPES: u8 = 0x10;
/// Types of the first two hard disks: Fh says that a byte of its own follows.
const DISK_TYPES: u8 = 0x12;
/// Types of the first and the second hard disk, and where their parameters begin, 9 bytes each.
const DISKS: [(u8, u8); 2] = [(0x19, 0x1B), (0x1A, 0x24)];
/// The type of a disk whose parameters follow.
const OWN_PARAMETERS: u8 = 47;
/// Boot order: the first in the lower half of 3Dh, the second in its upper half, the third in the upper half of 38h.
const BOOT_ORDER: (u8, u8) = (0x3D, 0x38);
/// The sum of bytes 10h to 2Dh.
const CHECKSUM: u8 = 0x2E;

/// Writes what CMOS memory says of the drives and of the boot order.
pub(super) fn write_cmos<'a>(
    rtc: &mut Rtc,
    drives: impl Iterator<Item = &'a Drive> + Clone,
    boot: &BootConfig,
) {
    let floppies = drives.clone().filter(|drive| drive.config().media == Media::Floppy);
    let floppies = floppies.filter(|drive| drive.config().place != DrivePlace::Unattached).count();
    rtc.set_byte(FLOPPY_TYPES, floppy::cmos_types(drives.clone()));
    if floppies > 0 {
        let equipment = rtc.byte(EQUIPMENT);
        rtc.set_byte(EQUIPMENT, equipment | 1 | (floppies.min(2) as u8 - 1) << 6);
    }
    for drive in drives.filter(|drive| drive.config().media == Media::Disk) {
        // The drives of the first channel, as an AT has two.
        let DrivePlace::Ide { channel: 0, unit } = drive.config().place else { continue };
        let Some((kind, parameters)) = DISKS.get(usize::from(unit)) else { continue };
        let types = rtc.byte(DISK_TYPES);
        rtc.set_byte(DISK_TYPES, types | if unit == 0 { 0xF0 } else { 0x0F });
        rtc.set_byte(*kind, OWN_PARAMETERS);
        let sectors = drive.medium().map_or(0, |medium| medium.size() / 512);
        let cylinders = (sectors / (16 * 63)).clamp(1, 16383) as u16;
        let [low, high] = cylinders.to_le_bytes();
        // Cylinders, heads, no precompensation, more than eight heads, landing zone, sectors.
        let bytes = [low, high, 16, 0xFF, 0xFF, 0xC8, low, high, 63];
        for (at, byte) in (*parameters..).zip(bytes) {
            rtc.set_byte(at, byte);
        }
    }
    let sum: u16 = (0x10..CHECKSUM).map(|at| u16::from(rtc.byte(at))).sum();
    let [high, low] = sum.to_be_bytes();
    rtc.set_byte(CHECKSUM, high);
    rtc.set_byte(CHECKSUM + 1, low);
    write_boot_order(rtc, boot.once.as_ref().unwrap_or(&boot.order));
}

/// Writes the order in which firmware tries to boot.
pub(crate) fn write_boot_order(rtc: &mut Rtc, order: &[BootDevice]) {
    let code = |at: usize| match order.get(at) {
        None => 0,
        Some(BootDevice::Floppy) => 1,
        Some(BootDevice::Disk) => 2,
        Some(BootDevice::Cdrom) => 3,
        Some(BootDevice::Network) => 4,
    };
    rtc.set_byte(BOOT_ORDER.0, code(0) | code(1) << 4);
    // Bit 0: a floppy needs no boot signature to be tried.
    let other = rtc.byte(BOOT_ORDER.1) & 0x0E;
    rtc.set_byte(BOOT_ORDER.1, other | code(2) << 4 | 1);
}

/// Files and items of fw_cfg about booting: name, content.
pub(super) fn boot_files<'a>(
    config: &MachineConfig,
    drives: impl Iterator<Item = &'a Drive> + Clone,
    virtio: &[(String, PciAddress)],
) -> Vec<(&'static str, Vec<u8>)> {
    let boot = &config.boot;
    let mut files = Vec::new();
    // A file stays over resets: with an order for the first time alone, CMOS memory says it.
    if boot.once.is_none() {
        let paths: Vec<_> =
            boot.order.iter().flat_map(|device| paths(*device, drives.clone(), virtio)).collect();
        if !paths.is_empty() {
            files.push(("bootorder", format!("{}\0", paths.join("\n")).into_bytes()));
        }
    }
    if let Some(wait) = boot.splash_ms {
        files.push(("etc/boot-menu-wait", (wait.min(0xFFFF) as u16).to_le_bytes().to_vec()));
    }
    files
}

/// The drives of a kind as Open Firmware names them.
fn paths<'a>(
    device: BootDevice,
    drives: impl Iterator<Item = &'a Drive>,
    virtio: &[(String, PciAddress)],
) -> Vec<String> {
    let path = |drive: &Drive| {
        let config = drive.config();
        let wanted = match device {
            BootDevice::Disk => Media::Disk,
            BootDevice::Cdrom => Media::Cdrom,
            BootDevice::Floppy => Media::Floppy,
            BootDevice::Network => return None,
        };
        match config.place {
            _ if config.media != wanted => None,
            DrivePlace::Ide { channel, unit } => {
                Some(format!("/pci@i0cf8/ide@1,1/drive@{channel}/disk@{unit}"))
            }
            DrivePlace::Floppy { unit } => Some(format!("/pci@i0cf8/isa@1/fdc@03f0/floppy@{unit}")),
            DrivePlace::Unattached => {
                let (_, at) = virtio.iter().find(|(id, _)| *id == config.id)?;
                Some(format!("/pci@i0cf8/scsi@{:x}/disk@0,0", at.device))
            }
        }
    };
    drives.filter_map(path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use trimotor_bus::IrqLine;
    use trimotor_devices::drive::DriveConfig;
    use trimotor_devices::rtc::CmosSizes;
    use trimotor_storage::MemoryDisk;

    #[test]
    fn firmware_is_told_of_drives_and_of_the_boot_order() {
        let drive = |place, media, bytes: usize| {
            Drive::new(DriveConfig::new("d", place, media), Some(Arc::new(MemoryDisk::new(vec![0; bytes]))))
        };
        let drives = [
            drive(DrivePlace::Ide { channel: 0, unit: 0 }, Media::Disk, 16 * 63 * 512 * 5),
            drive(DrivePlace::Ide { channel: 1, unit: 0 }, Media::Cdrom, 4096),
            drive(DrivePlace::Floppy { unit: 0 }, Media::Floppy, 1_474_560),
            drive(DrivePlace::Floppy { unit: 1 }, Media::Floppy, 368_640),
            drive(DrivePlace::Unattached, Media::Disk, 4096),
        ];
        let virtio = [("d".to_owned(), PciAddress::new(10, 0))];
        let mut config = MachineConfig::default();
        config.boot.once = Some(vec![BootDevice::Cdrom]);
        config.boot.splash_ms = Some(500);
        let mut rtc = Rtc::new(IrqLine::unconnected(), IrqLine::unconnected(), 0, CmosSizes::default());
        write_cmos(&mut rtc, drives.iter(), &config.boot);
        let bytes = |rtc: &Rtc, at: &[u8]| at.iter().map(|at| rtc.byte(*at)).collect::<Vec<_>>();
        assert_eq!(bytes(&rtc, &[0x10, 0x12, 0x14, 0x19]), [0x42, 0xF0, 0x47, 47]);
        assert_eq!(bytes(&rtc, &[0x1B, 0x1C, 0x1D, 0x23]), [5, 0, 16, 63]);
        assert_eq!(bytes(&rtc, &[0x3D, 0x38]), [3, 1]);
        let sum: u16 = (0x10..0x2E).map(|at| u16::from(rtc.byte(at))).sum();
        assert_eq!(bytes(&rtc, &[0x2E, 0x2F]), sum.to_be_bytes());
        assert_eq!(boot_files(&config, drives.iter(), &virtio), [("etc/boot-menu-wait", vec![0xF4, 1])]);
        config.boot.once = None;
        write_boot_order(&mut rtc, &config.boot.order);
        assert_eq!(bytes(&rtc, &[0x3D, 0x38]), [0x32, 0x11]);
        let files = boot_files(&config, drives.iter(), &virtio);
        let order = String::from_utf8(files[0].1.clone()).unwrap();
        assert_eq!(
            order.lines().collect::<Vec<_>>(),
            [
                "/pci@i0cf8/ide@1,1/drive@0/disk@0",
                "/pci@i0cf8/scsi@a/disk@0,0",
                "/pci@i0cf8/ide@1,1/drive@1/disk@0",
                "/pci@i0cf8/isa@1/fdc@03f0/floppy@0",
                "/pci@i0cf8/isa@1/fdc@03f0/floppy@1\0"
            ]
        );
    }
}
