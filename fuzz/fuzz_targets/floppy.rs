//! The floppy controller with the ISA DMA controllers: any bytes in their registers, commands that do something, changed disks,
//! and saved states that were changed.
//!
//! No access panics; what a worker gives is bounded; after a reset the controller takes commands.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::sync::Arc;
use trimotor_bus::{GuestMemory, GuestTime, IrqLine, Port, PortDevice, SaveState, Timed, Width};
use trimotor_devices::dma8237::Dma8237;
use trimotor_devices::drive::{Drive, DriveConfig, DrivePlace, Media, Medium, RemovableDrives};
use trimotor_devices::floppy::FloppyController;
use trimotor_devices::requests::MachineRequests;
use trimotor_devices::{Completion, Device, SavedBytes};
use trimotor_fuzz::Input;
use trimotor_fuzz::jobs::Jobs;
use trimotor_storage::MemoryDisk;

/// The most bytes of a worker's answer: a cylinder, and how it went.
const MAX_ANSWER: usize = 2 * 36 * 512 + 1;
/// Sizes of disks, one of which is none's.
const SIZES: [usize; 4] = [368_640, 737_280, 1_474_560, 5000];
/// Operation codes.
const COMMANDS: [u8; 18] = [2, 3, 4, 5, 6, 7, 8, 9, 0xA, 0xC, 0xD, 0xE, 0xF, 0x10, 0x12, 0x13, 0x14, 0x16];

fn disk(bytes: usize) -> Medium {
    Arc::new(MemoryDisk::new(vec![5; bytes]))
}
fn work(floppy: &mut FloppyController, jobs: &Jobs, now: GuestTime) -> bool {
    let Some((token, answer)) = jobs.do_oldest(1, MAX_ANSWER) else { return false };
    floppy.complete(token, &answer, now);
    true
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let memory = GuestMemory::new(1 << 20, &[]).expect("memory");
    let jobs = Arc::new(Jobs::default());
    let mut dma = Dma8237::new(memory);
    let drive = |unit: u8, bytes: usize| {
        let config =
            DriveConfig::new(if unit == 0 { "a" } else { "b" }, DrivePlace::Floppy { unit }, Media::Floppy);
        Some(Drive::new(config, Some(disk(bytes))))
    };
    let drives = [drive(0, SIZES[input.below(4)]), drive(1, 737_280)];
    let requests = MachineRequests::new();
    let mut floppy =
        FloppyController::new(IrqLine::unconnected(), dma.channel(2), jobs.clone(), requests, drives);
    let mut now = GuestTime::ZERO;
    for (port, value) in [(0xD6, 0xC0), (0xD4, 0)] {
        dma.port_write(Port(port), Width::Byte, value, now);
    }
    floppy.port_write(Port(0x3F2), Width::Byte, 0x1C, now);
    while !input.is_empty() {
        now = now + 1000;
        match input.below(12) {
            0 => {
                let port = Port([0x3F2, 0x3F3, 0x3F4, 0x3F5, 0x3F7][input.below(5)]);
                floppy.port_write(port, Width::Byte, input.number(1) as u32, now);
            }
            1 => _ = floppy.port_read(Port(0x3F2 + input.below(4) as u16), Width::Dword, now),
            2 | 3 => {
                let first = COMMANDS[input.below(COMMANDS.len())] | (input.number(1) as u8 & 0xC0) | 0x40;
                floppy.port_write(Port(0x3F5), Width::Byte, first.into(), now);
                for byte in input.number(8).to_le_bytes() {
                    floppy.port_write(Port(0x3F5), Width::Byte, u32::from(byte & 0x57), now);
                }
            }
            4 => {
                for _ in 0..input.below(600) {
                    _ = floppy.port_read(Port(0x3F5), Width::Byte, now);
                }
            }
            5 => {
                let port =
                    [input.below(16) as u16, 0x81 + input.below(15) as u16, 0xC0 + input.below(32) as u16];
                dma.port_write(Port(port[input.below(3)]), Width::Byte, input.number(1) as u32, now);
            }
            6 => {
                // Channel 2 as a driver sets it up.
                let setup =
                    [(0x0C, 0), (0x04, 0), (0x04, 0x10), (0x05, 0xFF), (0x05, 1), (0x81, 2), (0x0A, 2)];
                for (port, value) in setup {
                    dma.port_write(Port(port), Width::Byte, value, now);
                }
                dma.port_write(Port(0x0B), Width::Byte, input.number(1) as u32 & 0xFC | 2, now);
            }
            7 => {
                let medium = (input.below(2) == 0).then(|| disk(SIZES[input.below(4)]));
                _ = floppy.change_medium(["a", "b", "c"][input.below(3)], medium, false, now);
            }
            8 => {
                let saved = floppy.save_bytes().expect("it can be saved");
                let mut changed = saved.clone();
                for _ in 0..=input.below(3) {
                    let at = input.below(changed.len());
                    changed[at] = input.number(1) as u8;
                }
                jobs.clear();
                if floppy.restore_bytes(&changed).is_err() {
                    assert_eq!(floppy.save_bytes().ok(), Some(saved), "changed by a state that it refused");
                }
                let state = floppy.save();
                jobs.clear();
                floppy.restore(state).expect("its own state");
            }
            9 => {
                while let Some(at) = floppy.next_event().filter(|at| *at < GuestTime(u64::MAX / 2)) {
                    now = now.max(at);
                    floppy.advance(now);
                }
            }
            _ => _ = work(&mut floppy, &jobs, now),
        }
    }
    _ = (floppy.info(), dma.info());
    for value in [0, 0x1C] {
        floppy.port_write(Port(0x3F2), Width::Byte, value, now);
    }
    while work(&mut floppy, &jobs, now) {}
    assert_eq!(floppy.port_read(Port(0x3F4), Width::Byte, now), 0x80);
});
