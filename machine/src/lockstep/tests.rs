//! Lockstep finds what is planted, and nothing where nothing is.

use super::{Outcome, Plan, Progress, run};
use crate::{ClockSource, Engine, ExitReason, HostServices, Machine, MachineConfig, MachineError};
use std::sync::Arc;
use trimotor_cpu::model::CpuModel;
use trimotor_firmware::boot::{self, BootFile, BootRequest, KernelKind};
use trimotor_firmware::tables::{MemoryMap, Platform};

/// Counts to 1000 with the timer's interrupts off, asks for a random number, stores it, counts again,
/// and ends by the debug exit.
const CODE: [u8; 39] = [
    0xB9, 0xE8, 0x03, // mov cx, 1000
    0x40, // inc ax
    0xE2, 0xFD, // loop -3
    0x0F, 0xC7, 0xF3, // rdrand bx
    0x89, 0x1E, 0x00, 0x60, // mov [6000h], bx
    0x31, 0xDB, // xor bx, bx
    0xF8, // clc
    0xB9, 0xE8, 0x03, // mov cx, 1000
    0x40, // inc ax
    0xE2, 0xFD, // loop -3
    0xBA, 0xFB, 0x03, 0xB0, 0x03, 0xEE, // 8 bits: mov dx, 3FBh; mov al, 3; out dx, al
    0xBA, 0xF8, 0x03, // mov dx, 3F8h
    0xB0, b'x', 0xEE, // mov al, 'x'; out dx, al
    0xB0, 0x15, 0xE6, 0xF4, // mov al, 15h; out F4h, al
    0xF4, // hlt
];
/// What runs before RDRAND.
const BEFORE_RDRAND: u64 = 1 + 2 * 1000;

/// Machines whose random numbers come from these seeds.
fn with_seeds(seeds: [u64; 2]) -> impl FnMut(usize, HostServices) -> Result<Machine, MachineError> {
    move |side, services| {
        let config = MachineConfig {
            memory_bytes: 4 << 20,
            engine: Some(Engine::Interp),
            clock: ClockSource::Instructions,
            debug_exit: Some(0xF4),
            random_seed: seeds[side],
            ..MachineConfig::default()
        };
        let platform = Platform {
            memory: MemoryMap::new(config.memory_bytes, 0),
            vcpus: 1,
            hpet: true,
            serial_ports: config.serial_ports,
        };
        let mut request = BootRequest::new(BootFile { name: "test".into(), bytes: CODE.to_vec() });
        request.kind = Some(KernelKind::Flat);
        let plan = boot::load(request, &platform).unwrap();
        let model = Arc::new(CpuModel::parse("max", 1_000_000_000).unwrap());
        Machine::new(config, model, services, Box::new(plan))
    }
}

fn lockstep(seeds: [u64; 2], every: u64, memory_every: u64) -> (Outcome, Vec<u8>) {
    let plan = Plan { every, memory_every, until: 1_000_000 };
    let mut output = Vec::new();
    let mut progress = |progress: Progress<'_>| {
        if let Progress::Same(_, new) = progress {
            output.extend_from_slice(new);
        }
    };
    let outcome = run(plan, &mut with_seeds(seeds), &mut progress).unwrap();
    (outcome, output)
}

#[test]
fn equal_machines_are_the_same_however_they_are_cut() {
    for every in [1, 7, 1000, 1_000_000] {
        let (outcome, output) = lockstep([5, 5], every, 10);
        let Outcome::Same(instructions, Some(ExitReason::DebugExit(0x15))) = outcome else {
            panic!("{every}: {outcome:?}");
        };
        assert_eq!(instructions, BEFORE_RDRAND + 4 + 2001 + 8, "{every}");
        assert_eq!(output, b"x");
    }
}

#[test]
fn the_instruction_that_differs_is_found() {
    for (every, memory_every) in [(1, 1), (300, 1), (1_000_000, 1), (100, 50)] {
        let (outcome, _) = lockstep([5, 6], every, memory_every);
        let Outcome::Different(difference) = outcome else { panic!("{every}: {outcome:?}") };
        assert_eq!(difference.instructions, BEFORE_RDRAND + 1, "{every}");
        let last = difference.executed.last().unwrap();
        assert_eq!(last.text, "rdrand bx", "{every}");
        assert!(difference.lines[0].starts_with("vCPU 0 RBX: 0x"), "{:?}", difference.lines);
        assert!(difference.to_string().contains("loop"), "{difference}");
    }
}
