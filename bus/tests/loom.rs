//! What threads tell each other, in all interleavings of their steps: the sleep of vCPUs and of the machine's thread,
//! writes to page tables, and the right to write pages unseen.
//!
//! `cargo test --release -p trimotor-bus --features loom --test loom`. Under loom a sleep has no time limit, so that a
//! wake-up that is lost is a deadlock, which loom reports with the threads' steps.

#![allow(clippy::unwrap_used, reason = "a thread that panicked ends the test")]

use loom::sync::atomic::{AtomicU64, Ordering, fence};
use loom::sync::{Arc, Mutex};
use loom::thread;
use std::time::Duration;
use trimotor_bus::event_flags::EventFlags;
use trimotor_bus::peers::{Peers, Written};
use trimotor_bus::table_watch::{TableEvent, TableWatch};
use trimotor_bus::{PhysAddr, VcpuSignals};

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

/// A page-table entry that vCPU 0 writes and vCPU 1 derives a translation from: it has the new one, or is told.
/// `marked`: another translation came from it before.
fn an_entry_is_written_while_it_is_used(marked: bool) {
    loom::model(move || {
        let watch = Arc::new(TableWatch::new(1));
        let (mut writer_saw, mut walker_saw) = (watch.attach(), watch.attach());
        let entry = Arc::new(AtomicU64::new(0));
        if marked {
            watch.mark(0, 3);
        }
        let walker = {
            let (watch, entry) = (watch.clone(), entry.clone());
            thread::spawn(move || {
                watch.mark(0, 3);
                // As the look at the page's state is.
                fence(Ordering::SeqCst);
                entry.load(Ordering::Relaxed)
            })
        };
        entry.store(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        watch.written(0, 3, &mut writer_saw);
        let used = walker.join().unwrap();
        let told = watch.events_since(&mut walker_saw).unwrap();
        assert!(used == 1 || told == [TableEvent { ram_page: 0, granule: 3 }], "{used} {told:?}");
    });
}

#[test]
fn an_entry_without_a_mark_is_written_while_it_is_used() {
    an_entry_is_written_while_it_is_used(false);
}

#[test]
fn an_entry_with_a_mark_is_written_while_it_is_used() {
    an_entry_is_written_while_it_is_used(true);
}

/// A page that has settled has no event to come: what is derived from it afterwards stays.
#[test]
fn no_event_comes_after_a_page_has_settled() {
    loom::model(|| {
        let watch = Arc::new(TableWatch::new(1));
        let (mut writer_saw, mut other_saw) = (watch.attach(), watch.attach());
        watch.mark(0, 3);
        let writer = {
            let watch = watch.clone();
            thread::spawn(move || watch.written(0, 3, &mut writer_saw))
        };
        let before = other_saw;
        let settled = watch.settled(0, before);
        assert!(!settled, "it has a mark, or its event was not seen");
        assert!(writer.join().unwrap());
        assert_eq!(watch.events_since(&mut other_saw).unwrap().len(), 1);
        assert!(watch.settled(0, other_saw));
    });
}

/// vCPU 0 gives itself the right to write a page unseen while vCPU 1 comes to watch it: what was written unseen, vCPU 1
/// reads.
#[test]
fn a_watched_page_is_not_written_unseen() {
    loom::model(|| {
        let peers = Arc::new(Peers::new(1));
        (0..2).for_each(|cpu| peers.attach(cpu));
        let (state, memory) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let writer = {
            let (peers, state, memory) = (peers.clone(), state.clone(), memory.clone());
            thread::spawn(move || {
                peers.enter(0);
                peers.serve_protect(0, |_| {});
                peers.add_writer(0, 0);
                fence(Ordering::SeqCst);
                let unseen = state.load(Ordering::Acquire) == 0;
                if unseen {
                    memory.store(1, Ordering::Relaxed);
                }
                peers.serve_protect(0, |_| peers.drop_writer(0, 0));
                peers.leave(0);
                unseen
            })
        };
        state.fetch_or(1, Ordering::AcqRel);
        fence(Ordering::SeqCst);
        if peers.has_other_writers(1, 0) {
            peers.protect(1, 0, || {});
        }
        let read = memory.load(Ordering::Relaxed);
        let unseen = writer.join().unwrap();
        assert!(!unseen || read == 1, "written unseen after it was read");
    });
}

/// vCPU 0 writes code of vCPU 1 and then tells of it: vCPU 1 runs the new code once it knows.
#[test]
fn who_knows_of_new_code_runs_it() {
    loom::model(|| {
        let peers = Arc::new(Peers::new(1));
        (0..2).for_each(|cpu| peers.attach(cpu));
        let (memory, known) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let runner = {
            let (peers, memory, known) = (peers.clone(), memory.clone(), known.clone());
            thread::spawn(move || {
                peers.enter(1);
                peers.begin_code(1, 0, || {});
                peers.add_code(1, 0, 1);
                let mut code = memory.load(Ordering::Relaxed);
                if peers.has_written(1) {
                    let mut dropped = false;
                    peers.serve_written(1, |_| dropped = true);
                    if dropped {
                        code = memory.load(Ordering::Relaxed);
                    }
                }
                // Blocks that are linked: nothing is looked at between the one that reads the flag and the code.
                let knows = known.load(Ordering::Acquire) == 1;
                peers.serve_written(1, |_| {});
                peers.leave(1);
                (knows, code)
            })
        };
        memory.store(1, Ordering::Relaxed);
        let write = Written { addr: PhysAddr(0), bytes: 4, by_device: false };
        peers.code_written(0, 0, 1, write, || {});
        known.store(1, Ordering::Release);
        let (knows, code) = runner.join().unwrap();
        assert!(!knows || code == 1, "old code was run");
    });
}

/// Two that ask each other at once do not wait in a circle.
#[test]
fn two_that_ask_each_other_both_come_on() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(|| {
        let peers = Arc::new(Peers::new(2));
        (0..2).for_each(|cpu| {
            peers.attach(cpu);
            peers.add_writer(cpu, cpu as u64);
            peers.enter(cpu);
        });
        let ask = |cpu: usize, peers: Arc<Peers>| {
            peers.protect(cpu, 1 - cpu as u64, || peers.serve_protect(cpu, |_| {}));
            peers.leave(cpu);
        };
        let other = peers.clone();
        let thread = thread::spawn(move || ask(1, other));
        ask(0, peers);
        thread.join().unwrap();
    });
}
