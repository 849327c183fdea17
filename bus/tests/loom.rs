//! The sleep of vCPUs and of the machine's thread in all interleavings of the threads that wake them.
//!
//! `cargo test --release -p trimotor-bus --features loom --test loom`. Under loom a sleep has no time limit, so that a
//! wake-up that is lost is a deadlock, which loom reports with the threads' steps.

use loom::sync::{Arc, Mutex};
use loom::thread;
use std::time::Duration;
use trimotor_bus::VcpuSignals;
use trimotor_bus::event_flags::EventFlags;

/// No limit counts under loom.
const LIMIT: Duration = Duration::MAX;

#[test]
fn a_flag_raised_while_the_owner_falls_asleep_wakes_it() {
    loom::model(|| {
        let flags = Arc::new(EventFlags::new());
        let raiser = flags.clone();
        let thread = thread::spawn(move || raiser.raise(1));
        while flags.take(1) == 0 {
            flags.sleep(1, LIMIT);
        }
        thread.join().unwrap();
    });
}

#[test]
fn flags_of_two_threads_are_all_seen() {
    loom::model(|| {
        let flags = Arc::new(EventFlags::new());
        let threads = [1, 2].map(|flag| {
            let raiser = flags.clone();
            thread::spawn(move || raiser.raise(flag))
        });
        let mut seen = 0;
        while seen != 3 {
            seen |= flags.take(3);
            if seen != 3 {
                flags.sleep(3, LIMIT);
            }
        }
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

/// An interrupt controller: how many requests wait, and the pin that says whether any does.
struct Controller {
    waiting: Mutex<u32>,
    signals: std::sync::Arc<VcpuSignals>,
}

impl Controller {
    fn request(&self) {
        let mut waiting = self.waiting.lock().unwrap();
        *waiting += 1;
        self.signals.set_intr(true);
    }
    fn acknowledge(&self) -> bool {
        let mut waiting = self.waiting.lock().unwrap();
        let there = *waiting > 0;
        *waiting -= u32::from(there);
        self.signals.set_intr(*waiting > 0);
        there
    }
}

/// The life of a vCPU whose guest halts between interrupts: a run takes what is pending and ends at the guest's HLT;
/// then the vCPU sleeps until a signal that the HLT waits for is pending.
#[test]
fn a_guest_that_halts_between_interrupts_gets_them_all() {
    loom::model(|| {
        let signals = VcpuSignals::new();
        let controller = Arc::new(Controller { waiting: Mutex::new(0), signals: signals.clone() });
        let device = controller.clone();
        let thread = thread::spawn(move || {
            device.request();
            device.request();
        });
        let mut taken = 0;
        while taken < 2 {
            if signals.pending() & VcpuSignals::INTR == 0 {
                signals.wait(VcpuSignals::INTR, LIMIT);
                continue;
            }
            // One interrupt a run; its handler returns to the HLT.
            taken += u32::from(controller.acknowledge());
        }
        thread.join().unwrap();
        assert_eq!(signals.pending(), 0);
    });
}

/// HLT with interrupts off sleeps through INTR, and ends at the NMI.
#[test]
fn a_halt_with_interrupts_off_ends_at_an_nmi_only() {
    loom::model(|| {
        let signals = VcpuSignals::new();
        let raiser = signals.clone();
        let thread = thread::spawn(move || {
            raiser.set_intr(true);
            raiser.raise(VcpuSignals::NMI);
        });
        while signals.take(VcpuSignals::NMI) == 0 {
            signals.wait(VcpuSignals::NMI, LIMIT);
        }
        thread.join().unwrap();
        assert_eq!(signals.pending(), VcpuSignals::INTR);
    });
}

/// The end of all runs (pause, reset, the end of the program) reaches a vCPU whatever it sleeps for.
#[test]
fn a_kick_ends_every_sleep() {
    loom::model(|| {
        let signals = VcpuSignals::new();
        let raiser = signals.clone();
        let thread = thread::spawn(move || raiser.raise(VcpuSignals::KICK));
        while signals.take(VcpuSignals::KICK) == 0 {
            signals.wait(0, LIMIT);
        }
        thread.join().unwrap();
    });
}
