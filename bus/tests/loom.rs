//! What threads tell each other, in all interleavings of their steps: the sleep of vCPUs and of the machine's thread,
//! writes to page tables, and the right to write pages inline.
//!
//! `cargo test --release -p trimotor-bus --features loom --test loom`. Under loom a sleep has no time limit, so that a
//! wake-up that is lost is a deadlock, which loom reports with the threads' steps.

#![allow(clippy::unwrap_used, reason = "a thread that panicked ends the test")]

use loom::sync::atomic::{AtomicU64, Ordering, fence};
use loom::sync::{Arc, Mutex};
use loom::thread;
use std::time::Duration;
use trimotor_bus::VcpuSignals;
use trimotor_bus::event_flags::EventFlags;
use trimotor_bus::peers::{Peers, Written};
use trimotor_bus::table_tracking::{TableEvent, TableTracking};

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
        let tracking = Arc::new(TableTracking::new(1));
        let (mut writer_saw, mut walker_saw) = (tracking.attach(), tracking.attach());
        let entry = Arc::new(AtomicU64::new(0));
        if marked {
            tracking.mark(0, 3);
        }
        let walker = {
            let (tracking, entry) = (tracking.clone(), entry.clone());
            thread::spawn(move || {
                tracking.mark(0, 3);
                // As the look at the page's state is.
                fence(Ordering::SeqCst);
                entry.load(Ordering::Relaxed)
            })
        };
        entry.store(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        tracking.written(0, 3, &mut writer_saw);
        let used = walker.join().unwrap();
        let told = tracking.events_since(&mut walker_saw).unwrap();
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

/// A quiescent page has no event to come: what is derived from it afterwards stays.
#[test]
fn no_event_comes_after_a_page_is_quiescent() {
    loom::model(|| {
        let tracking = Arc::new(TableTracking::new(1));
        let (mut writer_saw, mut other_saw) = (tracking.attach(), tracking.attach());
        tracking.mark(0, 3);
        let writer = {
            let tracking = tracking.clone();
            thread::spawn(move || tracking.written(0, 3, &mut writer_saw))
        };
        let before = other_saw;
        let quiescent = tracking.is_quiescent(0, before);
        assert!(!quiescent, "it has a mark, or its event was not seen");
        assert!(writer.join().unwrap());
        assert_eq!(tracking.events_since(&mut other_saw).unwrap().len(), 1);
        assert!(tracking.is_quiescent(0, other_saw));
    });
}

/// vCPU 0 gives itself the right to write a page inline while vCPU 1 comes to track it: what was written inline, vCPU 1
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
                let inline = state.load(Ordering::Acquire) == 0;
                if inline {
                    memory.store(1, Ordering::Relaxed);
                }
                peers.serve_protect(0, |_| peers.drop_writer(0, 0));
                peers.leave(0);
                inline
            })
        };
        state.fetch_or(1, Ordering::AcqRel);
        fence(Ordering::SeqCst);
        if peers.has_other_writers(1, 0) {
            peers.protect(1, 0, || {});
        }
        let read = memory.load(Ordering::Relaxed);
        let inline = writer.join().unwrap();
        assert!(!inline || read == 1, "written inline after it was read");
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
        let write = Written { ram_page: 0, offset: 0, bytes: 4, by_device: false };
        peers.code_written(0, 0, 1, write, || {});
        known.store(1, Ordering::Release);
        let (knows, code) = runner.join().unwrap();
        assert!(!knows || code == 1, "old code was run");
    });
}

/// A device writes code of a vCPU under its lock, and then tells of it; the vCPU takes the same lock in a call to the board.
/// It runs the new code once it knows, and neither waits for the other for ever.
#[test]
fn a_device_may_wait_under_its_lock() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let peers = Arc::new(Peers::new(1));
        (0..2).for_each(|cpu| peers.attach(cpu));
        let (memory, known) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let device = Arc::new(Mutex::new(()));
        peers.begin_code(1, 0, || {});
        peers.add_code(1, 0, 1);
        peers.enter(1);
        let runner = {
            let (peers, memory, known) = (peers.clone(), memory.clone(), known.clone());
            let device = device.clone();
            thread::spawn(move || {
                let mut code = 0;
                let serve = |code: &mut u64| {
                    peers.serve_written(1, |_| *code = memory.load(Ordering::Relaxed));
                };
                peers.leave(1);
                drop(device.lock().unwrap());
                peers.enter(1);
                serve(&mut code);
                let knows = known.load(Ordering::Acquire) == 1;
                let ran = code;
                serve(&mut code);
                peers.leave(1);
                (knows, ran)
            })
        };
        let locked = device.lock().unwrap();
        memory.store(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        peers.device_wrote_code(1, Written { ram_page: 0, offset: 0, bytes: 4, by_device: true });
        known.store(1, Ordering::Release);
        drop(locked);
        let (knows, ran) = runner.join().unwrap();
        assert!(!knows || ran == 1, "old code was run");
    });
}

/// The memory map changes while a vCPU uses it: what it stores at an old place is stored before the change returns.
#[test]
fn nothing_is_stored_by_an_old_map() {
    loom::model(|| {
        let peers = Arc::new(Peers::new(1));
        (0..2).for_each(|cpu| peers.attach(cpu));
        let (map, stored) = (Arc::new(AtomicU64::new(1)), Arc::new(AtomicU64::new(0)));
        (0..2).for_each(|cpu| peers.follows_map(cpu, 1));
        let runner = {
            let (peers, map, stored) = (peers.clone(), map.clone(), stored.clone());
            thread::spawn(move || {
                peers.enter(1);
                fence(Ordering::SeqCst);
                let follows = map.load(Ordering::SeqCst);
                peers.follows_map(1, follows);
                if follows == 1 {
                    stored.store(1, Ordering::Relaxed);
                }
                peers.leave(1);
                follows
            })
        };
        map.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        peers.map_changed(2);
        let before = stored.load(Ordering::Acquire);
        let follows = runner.join().unwrap();
        assert_eq!(before, u64::from(follows == 1), "stored at the old place after it was gone");
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
