//! Controllers of drives.

use super::devices::wire;
use super::{CHANGED_STATES, check_states};
use std::sync::Arc;
use trimotor_bus::{BusMaster, GuestMemory, MmioDevice, PciFunction, Port, PortDevice, Width};
use trimotor_devices::device::Nowhere;
use trimotor_devices::dma8237::Dma8237;
use trimotor_devices::drive::{Drive, DriveConfig, DrivePlace, Media, Medium};
use trimotor_devices::flash::{BLOCK_BYTES, Flash};
use trimotor_devices::floppy::FloppyController;
use trimotor_devices::ide::{BUS_MASTER_BAR, IDETIM, IdeController};
use trimotor_devices::requests::MachineRequests;
use trimotor_devices::{Completion, OutsideRef};
use trimotor_storage::MemoryDisk;

#[test]
fn ide_controller() {
    let drive = |unit: u8, media, medium: Option<Vec<u8>>| {
        let config = DriveConfig::new("drive", DrivePlace::Ide { channel: 0, unit }, media);
        Some(Drive::new(config, medium.map(|content| Arc::new(MemoryDisk::new(content)) as Medium)))
    };
    let make = || {
        let memory = BusMaster::new(GuestMemory::new(1 << 20, &[]).unwrap());
        let drives = [
            [drive(0, Media::Disk, Some(vec![7; 64 << 10])), drive(1, Media::Cdrom, Some(vec![8; 64 << 10]))],
            [drive(0, Media::Cdrom, None), None],
        ];
        let outside: OutsideRef = Arc::new(Nowhere);
        IdeController::new([wire(), wire()], memory, &outside, &MachineRequests::new(), drives)
    };
    check_states("IDE", CHANGED_STATES / 3, make, |ide, user| {
        user.configuration(ide);
        for at in IDETIM {
            ide.config_write(at, Width::Word, 0x8000, user.now);
        }
        ide.config_write(4, Width::Word, 5, user.now);
        user.ports(ide, 0x1F0..=0x1F7);
        user.ports(ide, 0x170..=0x177);
        user.bar(ide, BUS_MASTER_BAR, 16);
        // A command that moves something, and the answer of a worker.
        let now = user.now;
        for (port, value) in [(0x1F6, 0x40), (0x1F2, 2), (0x1F3, 1), (0x1F4, 0), (0x1F5, 0)] {
            ide.port_write(Port(port), Width::Byte, value, now);
        }
        let command = [0x20, 0xC8, 0x30, 0xCA, 0xE7, 0xEC, 0xB0][user.random.below(7) as usize];
        ide.port_write(Port(0x1F7), Width::Byte, command, now);
        let (number, kind) = (user.random.below(20) << 2 | user.random.below(4), user.random.below(6) as u8);
        ide.complete(number, &vec![kind; user.random.below(1100) as usize], now);
        user.ports(ide, 0x1F0..=0x1F0);
        user.time(ide);
    });
}

#[test]
fn floppy_controller() {
    let make = || {
        let dma = Dma8237::new(GuestMemory::new(1 << 20, &[]).unwrap());
        let config = DriveConfig::new("a", DrivePlace::Floppy { unit: 0 }, Media::Floppy);
        let medium: Medium = Arc::new(MemoryDisk::new(vec![7; 737_280]));
        let drives = [Some(Drive::new(config, Some(medium))), None];
        FloppyController::new(wire(), dma.channel(2), Arc::new(Nowhere), MachineRequests::new(), drives)
    };
    check_states("floppy", CHANGED_STATES, make, |floppy, user| {
        user.ports(floppy, 0x3F2..=0x3F5);
        user.ports(floppy, 0x3F7..=0x3F7);
        let now = user.now;
        // Out of reset, and a command without DMA: specify, read, write, format, read ID, seek.
        let mut out = |port: u16, value: u32| floppy.port_write(Port(port), Width::Byte, value, now);
        out(0x3F2, 0x1C);
        let commands: [&[u32]; 6] = [
            &[0x03, 0xAF, 0x03],
            &[0xE6, 0, 0, 0, 1, 2, 9, 0x1B, 0xFF],
            &[0xC5, 0, 0, 0, 1, 2, 1, 0x1B, 0xFF],
            &[0x4D, 0, 2, 9, 0x54, 0xF6],
            &[0x4A, 0],
            &[0x0F, 0, 3],
        ];
        for byte in commands[user.random.below(6) as usize] {
            out(0x3F5, *byte);
        }
        let (token, kind) = (user.random.below(20), user.random.below(6) as u8);
        floppy.complete(token, &vec![kind; user.random.below(1100) as usize], now);
        user.ports(floppy, 0x3F4..=0x3F5);
        user.time(floppy);
    });
}

#[test]
fn flash() {
    let make = || {
        let config = DriveConfig::new("vars", DrivePlace::Unattached, Media::Disk);
        let medium: Medium = Arc::new(MemoryDisk::new(vec![0xFF; 2 * BLOCK_BYTES as usize]));
        let drive = Drive::new(config, Some(medium));
        Flash::new(drive, Arc::new(Nowhere), MachineRequests::new()).unwrap()
    };
    check_states("flash", CHANGED_STATES / 5, make, |flash, user| {
        user.memory(flash, 2 * u64::from(BLOCK_BYTES));
        // A command that does something, and perhaps the answer of a worker.
        let offset = user.random.below(2 * u64::from(BLOCK_BYTES));
        let cycles: [&[u64]; 5] =
            [&[0x10, 0x55], &[0x20, 0xD0], &[0xE8, 1, 2, 3, 0xD0], &[0xE8, 3, 4], &[0x90]];
        for cycle in cycles[user.random.below(5) as usize] {
            flash.mmio_write(offset, Width::Byte, *cycle, user.now);
        }
        let (token, kind) = (user.random.below(20), user.random.below(6) as u8);
        flash.complete(token, &[kind], user.now);
        user.time(flash);
    });
}
