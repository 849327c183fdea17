//! vCPUs on threads of their own.
//!
//! With an engine whose vCPUs may run at the same time, guest time from the host's clock and more than one
//! vCPU, [`Machine::run_at_once`] gives each a thread. Each device is behind a lock of its own, which a vCPU takes
//! for an access to it; the time and RAM need none. The machine's own thread waits for alarms, commands and
//! back ends. Whatever concerns vCPUs themselves (reset, pause, A20, statistics) ends their threads first:
//! it is rare, and finds a machine that stands still.

use crate::board::Board;
use crate::clock::TimeSource;
use crate::control::MachineControl;
use crate::exit::ExitReason;
use crate::machine::{Machine, VcpuSlot};
use crate::run::{LONGEST_SLEEP, POLL_NS, publish_screen};
use crate::vcpu_bus::VcpuBus;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use trimotor_bus::VcpuSignals;
use trimotor_cpu::backend::{ShutdownReport, VcpuExit};

/// Instructions of a run. Interrupts of other vCPUs, and what they ask, are looked at when it is over:
/// some ten microseconds.
const TURN: u64 = 30_000;
/// The stack of a vCPU's thread: address space, of which what is used is touched.
const STACK_BYTES: usize = 64 << 20;

/// What the threads share while they run.
struct Shared<'a> {
    board: &'a Board,
    control: MachineControl,
    /// The threads are to end.
    stop: AtomicBool,
    /// What each vCPU has retired.
    retired: Vec<AtomicU64>,
    /// The vCPU that is in shutdown, if one is.
    shutdown: Mutex<Option<(usize, Box<ShutdownReport>)>>,
}

impl Shared<'_> {
    fn instructions(&self) -> u64 {
        self.retired.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }
}

impl Machine {
    /// Runs all vCPUs until one is in shutdown, which is the run's end, or until something is to be done that
    /// they must stand still for.
    pub(crate) fn run_at_once(&mut self) -> Option<ExitReason> {
        let signals = self.board.signals.clone();
        let shared = Shared {
            board: &self.board,
            control: self.control.clone(),
            stop: AtomicBool::new(false),
            retired: self.vcpus.iter().map(|slot| AtomicU64::new(slot.vcpu.retired())).collect(),
            shutdown: Mutex::new(None),
        };
        std::thread::scope(|scope| {
            let stop = Stop { shared: &shared, signals: &signals };
            for (cpu, slot) in self.vcpus.iter_mut().enumerate() {
                let shared = &shared;
                let thread = std::thread::Builder::new().name(format!("vcpu{cpu}")).stack_size(STACK_BYTES);
                let started = thread.spawn_scoped(scope, move || run_vcpu(shared, cpu, slot));
                if let Err(error) = started {
                    log::error!("no thread for vCPU {cpu}: {error}; they run in turn");
                    self.at_once = false;
                    return;
                }
            }
            supervise(&shared, &mut self.published_screen);
            drop(stop);
        });
        let shutdown = shared.shutdown.into_inner().unwrap_or_else(PoisonError::into_inner);
        self.board.timers.expect(u64::MAX);
        // The commands and requests that ended it are looked at now.
        self.next_poll_ns = 0;
        let (cpu, report) = shutdown?;
        Some(self.shutdown(cpu, *report))
    }
}

/// Ends all threads when it is dropped.
struct Stop<'a, 'b> {
    shared: &'a Shared<'b>,
    signals: &'a [std::sync::Arc<VcpuSignals>],
}
impl Drop for Stop<'_, '_> {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.signals.iter().for_each(|signals| signals.raise(VcpuSignals::KICK));
    }
}

/// The machine's thread: alarms, commands, back ends.
fn supervise(shared: &Shared<'_>, published: &mut Option<u64>) {
    let (control, board) = (&shared.control, shared.board);
    let mut time = TimeSource::Thread(board.clock.running());
    let mut next_poll = 0;
    loop {
        let now = time.now();
        if control.wants_attention() || now.ns() >= next_poll {
            control.attended();
            if obey(control, board, &mut time) {
                return;
            }
            board.deliver_completions(&mut time);
            board.poll_serials(&mut time);
            next_poll = now.ns() + POLL_NS;
            control.publish_progress(now, shared.instructions());
            if control.take_screen_wanted() {
                publish_screen(control, board, published);
            }
        }
        if board.requests.pending() || shared.stop.load(Ordering::SeqCst) {
            return;
        }
        board.advance_due(&mut time);
        let until = board.timers.earliest_ns().min(next_poll);
        board.timers.expect(until);
        // An event that came before the line above told nobody.
        let until = board.timers.earliest_ns().min(until);
        let sleep = Duration::from_nanos(until.saturating_sub(time.now().ns()));
        if !sleep.is_zero() {
            control.sleep(sleep.min(LONGEST_SLEEP));
        }
        board.timers.expect(0);
    }
}

/// Does what is asked of the chips; true where the vCPUs must stand still for the next command, or for the end.
fn obey(control: &MachineControl, board: &Board, time: &mut TimeSource<'_>) -> bool {
    while let Some(command) = control.take_command_if(|command| !command.concerns_vcpus()) {
        board.obey(command, time);
    }
    board.take_input(control, time);
    control.wants_end() || control.has_command()
}

/// A vCPU's thread.
fn run_vcpu(shared: &Shared<'_>, cpu: usize, slot: &mut VcpuSlot) {
    let _ending = Ending(shared);
    let mut bus = VcpuBus::beside(shared.board, cpu, &shared.control);
    while !shared.stop.load(Ordering::SeqCst) {
        if !slot.can_run() {
            slot.signals.wait(slot.halted.unwrap_or(0), LONGEST_SLEEP);
            slot.signals.take(VcpuSignals::KICK);
            continue;
        }
        let exit = slot.vcpu.run(&mut bus, TURN);
        shared.retired[cpu].store(slot.vcpu.retired(), Ordering::Relaxed);
        match exit {
            VcpuExit::Budget => {}
            VcpuExit::Halted => slot.halt(),
            VcpuExit::Shutdown(report) => {
                let mut shutdown = shared.shutdown.lock().unwrap_or_else(PoisonError::into_inner);
                shutdown.get_or_insert((cpu, report));
                return;
            }
        }
    }
}

/// When one thread ends, for whatever reason, all do.
struct Ending<'a, 'b>(&'a Shared<'b>);
impl Drop for Ending<'_, '_> {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::SeqCst);
        self.0.control.nudge();
    }
}
