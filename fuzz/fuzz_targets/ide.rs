//! The IDE controller: registers of disks and of a CD-ROM drive, bus masters with any tables, resets, changed discs, and saved
//! states that were changed.
//!
//! No access panics; what a worker gives is bounded; a drive that is busy becomes ready when its workers are done, unless its
//! bus master stopped; a state comes back, and one that is refused changes nothing.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::sync::Arc;
use trimotor_bus::{
    BusMaster, GuestMemory, GuestTime, IrqLine, PciBars, PciFunction, PhysAddr, Port, PortDevice, SaveState,
    Timed, Width,
};
use trimotor_devices::drive::{Drive, DriveConfig, DrivePlace, Media, Medium, OnDiskError, RemovableDrives};
use trimotor_devices::ide::{BUS_MASTER_BAR, IDETIM, IdeController};
use trimotor_devices::requests::MachineRequests;
use trimotor_devices::{Completion, Device, OutsideRef, SavedBytes};
use trimotor_fuzz::Input;
use trimotor_fuzz::jobs::Jobs;
use trimotor_storage::MemoryDisk;

/// The most bytes of a worker's answer: a part, and how it went.
const MAX_ANSWER: usize = (256 << 10) + 1;
const WIDTHS: [Width; 3] = [Width::Byte, Width::Word, Width::Dword];
/// Commands, most of which do something.
const COMMANDS: [u8; 28] = [
    0x08, 0x20, 0x24, 0x25, 0x29, 0x30, 0x34, 0x35, 0x40, 0x42, 0x06, 0x90, 0x91, 0xA0, 0xA0, 0xA0, 0xA1,
    0xB0, 0xC4, 0xC5, 0xC6, 0xC8, 0xCA, 0xE0, 0xE7, 0xEC, 0xEF, 0xF8,
];
/// Operation codes of packets.
const PACKETS: [u8; 23] = [
    0x00, 0x03, 0x12, 0x15, 0x1A, 0x1B, 0x1E, 0x25, 0x28, 0x2B, 0x42, 0x43, 0x46, 0x4A, 0x51, 0x52, 0x55,
    0x5A, 0xA8, 0xAD, 0xBB, 0xBD, 0xBE,
];

fn drive(unit: u8, media: Media, medium: Medium) -> Option<Drive> {
    let mut config =
        DriveConfig::new(if unit == 0 { "hd" } else { "cd" }, DrivePlace::Ide { channel: 0, unit }, media);
    config.discard = true;
    config.on_write_error = OnDiskError::Report;
    Some(Drive::new(config, Some(medium)))
}
fn controller(jobs: &Arc<Jobs>, memory: &Arc<GuestMemory>) -> IdeController {
    let outside: OutsideRef = jobs.clone();
    let disk: Medium = Arc::new(MemoryDisk::new(vec![1; 2000 * 512]));
    let disc: Medium = Arc::new(MemoryDisk::new(vec![2; 200 * 2048]).read_only());
    let drives = [[drive(0, Media::Disk, disk), drive(1, Media::Cdrom, disc)], [None, None]];
    let irqs = [IrqLine::unconnected(), IrqLine::unconnected()];
    let mut ide =
        IdeController::new(irqs, BusMaster::new(memory.clone()), &outside, &MachineRequests::new(), drives);
    for at in IDETIM {
        ide.config_write(at, Width::Word, 0x8000, GuestTime::ZERO);
    }
    ide.config_write(4, Width::Word, 5, GuestTime::ZERO);
    ide
}

/// Does the oldest job.
fn work(ide: &mut IdeController, jobs: &Jobs, now: GuestTime) -> bool {
    let Some((token, answer)) = jobs.do_oldest(2, MAX_ANSWER) else { return false };
    ide.complete(token, &answer, now);
    true
}

/// What was saved comes back; what was changed is taken or refused whole.
fn restore(ide: &mut IdeController, jobs: &Jobs, input: &mut Input<'_>) {
    let saved = ide.save_bytes().expect("it can be saved");
    jobs.clear();
    ide.restore_bytes(&saved).expect("its own state");
    assert_eq!(ide.save_bytes().ok().as_ref(), Some(&saved));
    let mut changed = saved.clone();
    for _ in 0..=input.below(3) {
        let at = input.below(changed.len());
        changed[at] = input.number(1) as u8;
    }
    jobs.clear();
    if ide.restore_bytes(&changed).is_err() {
        assert_eq!(ide.save_bytes().ok().as_ref(), Some(&saved), "changed by a state that it refused");
    }
    // The requests that it names are begun anew, once.
    jobs.clear();
    let state = ide.save();
    ide.restore(state).expect("its own state");
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let memory = GuestMemory::new(1 << 20, &[]).expect("memory");
    let jobs = Arc::new(Jobs::default());
    let mut ide = controller(&jobs, &memory);
    let mut now = GuestTime::ZERO;
    while !input.is_empty() {
        now = now + 1000;
        let out = |ide: &mut IdeController, port: u16, value: u8| {
            ide.port_write(Port(port), Width::Byte, value.into(), now);
        };
        match input.below(16) {
            0 => _ = ide.port_read(Port(0x1F0 + input.below(8) as u16), WIDTHS[input.below(3)], now),
            1 => {
                let (port, width) = (0x1F0 + input.below(8) as u16, WIDTHS[input.below(3)]);
                ide.port_write(Port(port), width, input.number(4) as u32, now);
            }
            2 => out(&mut ide, 0x3F6, input.number(1) as u8),
            3 | 4 => {
                // An address, and a command.
                for (port, value) in (0x1F1..=0x1F6).zip(input.number(6).to_le_bytes()) {
                    out(&mut ide, port, if port == 0x1F6 { value & 0x5F } else { value });
                }
                out(&mut ide, 0x1F7, COMMANDS[input.below(COMMANDS.len())]);
            }
            5 => {
                // A packet for the CD-ROM drive.
                out(&mut ide, 0x1F6, 0x10);
                out(&mut ide, 0x1F1, input.number(1) as u8 & 1);
                out(&mut ide, 0x1F7, 0xA0);
                let mut packet = [0; 12];
                packet[0] = PACKETS[input.below(PACKETS.len())];
                packet[1..9].copy_from_slice(&input.number(8).to_le_bytes());
                for word in packet.chunks(2) {
                    let value = u32::from(word[0]) | u32::from(word[1]) << 8;
                    ide.port_write(Port(0x1F0), Width::Word, value, now);
                }
            }
            6 | 7 => {
                // The data register, for a block.
                for _ in 0..input.below(300) {
                    _ = ide.port_read(Port(0x1F0), Width::Dword, now);
                }
            }
            8 => {
                let value = input.number(4) as u32;
                (0..128).for_each(|_| ide.port_write(Port(0x1F0), Width::Dword, value, now));
            }
            9 => {
                // A table, and its start.
                for i in 0..4u64 {
                    memory.write(PhysAddr(0x1000 + 8 * i), &input.number(8).to_le_bytes());
                }
                ide.bar_write(BUS_MASTER_BAR, 4, Width::Dword, 0x1000, now);
                ide.bar_write(BUS_MASTER_BAR, 0, Width::Byte, 0, now);
                ide.bar_write(BUS_MASTER_BAR, 0, Width::Byte, input.number(1) & 9, now);
            }
            10 => {
                let (offset, width) = (input.below(16) as u64, WIDTHS[input.below(3)]);
                ide.bar_write(BUS_MASTER_BAR, offset, width, input.number(4) & width.mask(), now);
                _ = ide.bar_read(BUS_MASTER_BAR, offset, width, now);
            }
            11 => {
                let disc: Option<Medium> =
                    (input.below(2) == 0).then(|| Arc::new(MemoryDisk::new(vec![3; 4096])) as Medium);
                _ = ide.change_medium("cd", disc, input.below(2) == 0, now);
            }
            12 => restore(&mut ide, &jobs, &mut input),
            13 => {
                ide.advance(now + input.number(4));
                now = now + (1 << 33);
            }
            _ => _ = work(&mut ide, &jobs, now),
        }
        assert!(ide.save_bytes().expect("it can be saved").len() < 2 << 20);
    }
    _ = ide.info();
    // After a reset and with all that is under way done, the disk answers.
    ide.config_write(IDETIM[0], Width::Word, 0x8000, now);
    ide.config_write(4, Width::Word, 5, now);
    for value in [0, 4, 0] {
        ide.port_write(Port(0x3F6), Width::Byte, value, now);
    }
    while work(&mut ide, &jobs, now) {}
    assert_eq!(ide.port_read(Port(0x3F6), Width::Byte, now), 0x50);
});
