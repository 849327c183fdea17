//! Flash memory: any cycles, workers that come late, resets, and saved states that were changed.
//!
//! No access panics; at most one worker is under way; what programming and erasing left is what the file holds when the machine
//! has ended.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::sync::Arc;
use trimotor_bus::{GuestTime, MmioDevice, SaveState, Timed, Width};
use trimotor_devices::drive::{Drive, DriveConfig, DrivePlace, Media};
use trimotor_devices::flash::{BLOCK_BYTES, Flash};
use trimotor_devices::requests::MachineRequests;
use trimotor_devices::{Completion, Device, SavedBytes};
use trimotor_fuzz::Input;
use trimotor_fuzz::jobs::Jobs;
use trimotor_storage::{BlockBackend, MemoryDisk};

const BYTES: u64 = 3 * BLOCK_BYTES as u64;
/// First cycles of commands.
const COMMANDS: [u8; 10] = [0x10, 0x40, 0x20, 0x50, 0x70, 0x90, 0x98, 0xD0, 0xE8, 0xFF];

fn make(disk: &Arc<MemoryDisk>, jobs: &Arc<Jobs>) -> Flash {
    let drive = Drive::new(DriveConfig::new("vars", DrivePlace::Unattached, Media::Disk), Some(disk.clone()));
    Flash::new(drive, jobs.clone(), MachineRequests::new()).expect("a chip of this size")
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let (disk, jobs) = (Arc::new(MemoryDisk::new(vec![0xFF; BYTES as usize])), Arc::new(Jobs::default()));
    let mut flash = make(&disk, &jobs);
    let mut now = GuestTime::ZERO;
    let mut worked = false;
    while !input.is_empty() {
        now = now + 1000;
        let offset = input.number(2) % (BYTES + 16);
        let width = [Width::Byte, Width::Word, Width::Dword, Width::Qword][input.below(4)];
        match input.below(10) {
            0..=2 => flash.mmio_write(offset, width, input.number(8) & width.mask(), now),
            3..=4 => {
                let command = COMMANDS[input.below(COMMANDS.len())];
                flash.mmio_write(offset, Width::Byte, command.into(), now);
            }
            5 => assert_eq!(flash.mmio_read(offset, width, now) & !width.mask(), 0),
            6 => {
                if let Some((token, answer)) = jobs.do_oldest(1, 1) {
                    worked = true;
                    flash.complete(token, &answer, now);
                }
            }
            7 => {
                jobs.clear();
                flash.reset(now);
            }
            8 => {
                // An answer that nobody waits for.
                flash.complete(input.number(1) + (1 << 32), &[input.number(1) as u8], now);
                now = now + 2_000_000;
                flash.advance(now);
            }
            _ => {
                // Changed, a state is refused or lived with; then what the file holds is anything.
                let mut bytes = flash.save_bytes().expect("a state");
                let at = input.number(2) as usize % bytes.len();
                bytes[at] ^= input.number(1) as u8;
                jobs.clear();
                if make(&disk, &jobs).restore_bytes(&bytes).is_ok() {
                    jobs.clear();
                }
                let state = flash.save();
                flash.restore(state.clone()).expect("its own state");
                assert_eq!(flash.save(), state);
            }
        }
        _ = flash.info();
    }
    if !worked {
        return;
    }
    flash.reset(now);
    let content: Vec<u8> = (0..BYTES).map(|at| flash.mmio_read(at, Width::Byte, now) as u8).collect();
    drop(flash);
    let mut kept = vec![0; BYTES as usize];
    disk.read(0, &mut kept).expect("memory");
    assert!(kept == content, "the file differs from the chip");
});
