//! Saved machines whose vCPUs somebody changed: refused, or run without harm to the program.

use super::cards::{card_config, card_machine, driver, leave, restored};
use super::chips::engines;
use super::random::Random;
use super::*;
use trimotor_cpu::{ArchState, SegReg, Segment};

/// Changed states of each engine.
const CHANGED: u64 = 300;
/// Instructions that each runs.
const RUN: u64 = 300;

/// How long a machine may stay halted.
const PATIENCE: std::time::Duration = std::time::Duration::from_millis(5);

/// Runs some instructions. A machine that halts for good is ended.
pub(super) fn run_a_little(machine: &mut Machine) {
    let (control, (done, is_done)) = (machine.control(), std::sync::mpsc::channel::<()>());
    let ender = std::thread::spawn(move || {
        if is_done.recv_timeout(PATIENCE) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            control.quit();
        }
    });
    let end = machine.instructions().saturating_add(RUN);
    _ = machine.run_until(end);
    drop(done);
    ender.join().unwrap();
}

/// The state in 64-bit mode, with page tables where there happen to be none.
fn in_long_mode(state: &ArchState) -> ArchState {
    let mut state = state.clone();
    state.cr0 |= 1 << 31;
    state.cr4 |= 1 << 5;
    state.efer |= 1 << 8 | 1 << 10;
    state.segments[SegReg::Cs as usize].attributes |= Segment::L;
    state
}

/// Changes bits of it; `None` where that is no state any more.
fn changed(state: &ArchState, random: &mut Random) -> Option<ArchState> {
    let mut bytes = postcard::to_stdvec(state).unwrap();
    for _ in 0..=random.below(5) {
        // Registers that the engines depend on come first, and vectors and machine checks last.
        let among = if random.below(4) == 0 { bytes.len() } else { bytes.len() / 2 };
        let at = random.below(among);
        bytes[at] ^= 1 << random.below(8);
    }
    postcard::from_bytes(&bytes).ok()
}

#[test]
fn changed_vcpus_are_refused_or_run() {
    let image = driver(|a| leave(a, 1));
    for engine in engines() {
        let config = card_config(engine, 1, ClockSource::Instructions);
        let (mut machine, _) = card_machine(config, &image);
        assert_eq!(machine.run_until(4), None);
        let saved = machine.save().unwrap();
        let flat = saved.vcpus[0].state.clone();
        let long = in_long_mode(&flat);
        let (mut random, mut ran, mut refused) = (Random(engine as u64), 0, 0);
        for round in 0..CHANGED {
            let base = if round % 2 == 0 { &flat } else { &long };
            let Some(state) = changed(base, &mut random) else { continue };
            let mut hostile = saved.clone();
            hostile.vcpus[0].state = state;
            let bytes = postcard::to_stdvec(&hostile).unwrap();
            match restored(&bytes, engine, Log::default()) {
                Ok(mut machine) => {
                    run_a_little(&mut machine);
                    ran += 1;
                }
                Err(error) => {
                    assert!(error.to_string().contains("vCPU"), "{error}");
                    refused += 1;
                }
            }
        }
        assert!(ran > CHANGED / 4 && refused > CHANGED / 100, "{engine}: {ran} ran, {refused} were refused");
    }
}
