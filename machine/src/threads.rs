//! vCPUs on threads of their own.
//!
//! With an engine whose vCPUs may run at the same time, guest time from the host's clock and more than one
//! vCPU, [`Machine::run_at_once`] gives each a thread. Each device is behind a lock of its own, which a vCPU takes
//! for an access to it; the time and RAM need none. A vCPU waits for its local APIC timer itself: it looks between two turns,
//! and sleeps until then when it halts. The machine's own thread waits for the devices' alarms, commands and back ends. Whatever concerns vCPUs themselves (reset, pause, A20, statistics) ends their threads first:
//! it is rare, and finds a machine that stands still.

use crate::board::Board;
use crate::clock::TimeSource;
use crate::control::MachineControl;
use crate::control::reply::Status;
use crate::events::Intake;
use crate::exit::ExitReason;
use crate::machine::{Machine, VcpuSlot};
use crate::run::{LONGEST_SLEEP, POLL_NS, longest_sleep, publish_screen, take_shots};
use crate::switch::PlannedSwitches;
use crate::timers::EventSource;
use crate::vcpu_bus::VcpuBus;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use trimotor_bus::VcpuSignals;
use trimotor_cpu::backend::{ShutdownReport, VcpuExit};

/// Instructions of a turn, at most. What other vCPUs ask, and the local APIC timer, are looked at when it is over: some ten
/// microseconds.
const TURN: u64 = 30_000;
/// Instructions of a turn, at least: the end of one costs as much as a hundred.
const SHORTEST_TURN: u64 = 1_000;
/// A turn that took longer makes the next one shorter: some instructions take a hundred times as long as others.
const LONG_TURN: Duration = Duration::from_micros(60);
/// The stack of a vCPU's thread: address space, of which what is used is touched.
const STACK_BYTES: usize = 64 << 20;

/// What the threads share while they run.
struct Shared<'a> {
    board: &'a Board,
    control: MachineControl,
    /// The threads are to end.
    stop: AtomicBool,
    /// vCPUs whose threads sleep.
    idle: AtomicUsize,
    /// The machine's thread sleeps until something happens, as all vCPUs do; otherwise it looks around by itself.
    sleeps_long: AtomicBool,
    /// What each vCPU has retired.
    retired: Vec<AtomicU64>,
    /// A vCPU that stopped for a debugger, if one has.
    stopped: Mutex<Option<usize>>,
    /// The vCPU that is in shutdown, if one is.
    shutdown: Mutex<Option<(usize, Box<ShutdownReport>)>>,
}

impl Shared<'_> {
    fn instructions(&self) -> u64 {
        self.retired.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }
    fn all_idle(&self) -> bool {
        self.idle.load(Ordering::SeqCst) == self.retired.len()
    }
}

impl Machine {
    /// Runs all vCPUs until one is in shutdown, which is the run's end, or until something is to be done that
    /// they must stand still for.
    pub(crate) fn run_at_once(&mut self) -> Option<ExitReason> {
        let signals = self.board.signals.clone();
        for cpu in 0..signals.len() {
            // Each waits for its own timer now.
            self.board.timers.set(EventSource::ApicTimer(cpu), None);
        }
        let shared = Shared {
            board: &self.board,
            control: self.control.clone(),
            stop: AtomicBool::new(false),
            idle: AtomicUsize::new(0),
            sleeps_long: AtomicBool::new(false),
            retired: self.vcpus.iter().map(|slot| AtomicU64::new(slot.vcpu.retired())).collect(),
            stopped: Mutex::new(None),
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
            supervise(&shared, &mut self.intake, &mut self.published_screen, &self.planned);
            drop(stop);
        });
        let stopped = shared.stopped.into_inner().unwrap_or_else(PoisonError::into_inner);
        let shutdown = shared.shutdown.into_inner().unwrap_or_else(PoisonError::into_inner);
        (0..signals.len()).for_each(|cpu| self.board.refresh_apic_timer(cpu));
        // Those that rang at the very end: whoever looks at the devices now finds nothing outstanding.
        self.board.answer_doorbells(&mut TimeSource::Board(&self.board.clock));
        self.board.timers.expect(u64::MAX);
        // The commands and requests that ended it are looked at now.
        self.next_poll_ns = 0;
        if let Some(cpu) = stopped {
            self.stopped_for_debugger(cpu);
        }
        let (cpu, report) = shutdown?;
        self.shutdown_unless_debugged(cpu, *report)
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
fn supervise(
    shared: &Shared<'_>,
    intake: &mut Intake,
    published: &mut Option<u64>,
    planned: &PlannedSwitches,
) {
    let (control, board) = (&shared.control, shared.board);
    let mut time = TimeSource::Thread(board.clock.running());
    let (mut next_poll, mut was_idle) = (0, false);
    loop {
        let now = time.now();
        // What the last one of them wrote before it fell asleep goes out at once.
        let idle = shared.all_idle();
        if control.wants_attention() || now.ns() >= next_poll || idle && !was_idle {
            control.attended();
            intake.reach(shared.instructions());
            if obey(shared, intake, &mut time) {
                return;
            }
            intake.take_from_host(board, &mut time);
            intake.take_frames(board, &mut time);
            board.deliver_completions(&mut time, intake);
            next_poll = if intake.has_more_frames() { 0 } else { now.ns() + POLL_NS };
            control.publish_progress(now, shared.instructions());
            let (leds, absolute) = board.input_modes();
            control.publish_input(leds, absolute);
            if idle || control.wants_screen() {
                publish_screen(control, board, published, now);
            }
        }
        if control.next_shot_ns() <= now.ns() {
            take_shots(control, board, now);
        }
        board.answer_doorbells(&mut time);
        was_idle = idle;
        let switches = planned.is_due(now, || shared.instructions());
        if switches || board.requests.pending() || shared.stop.load(Ordering::SeqCst) {
            return;
        }
        board.advance_due(&mut time, intake);
        shared.sleeps_long.store(idle, Ordering::SeqCst);
        let idle = idle && shared.all_idle();
        let next_look = if idle { control.next_shot_ns() } else { next_poll };
        let until = board.timers.earliest_ns().min(next_look).min(planned.next_ns());
        board.timers.expect(until);
        // An event that came before the line above told nobody.
        let until = board.timers.earliest_ns().min(until);
        let sleep = Duration::from_nanos(until.saturating_sub(time.now().ns()));
        if !sleep.is_zero() {
            control.sleep(sleep.min(longest_sleep(intake)));
        }
        shared.sleeps_long.store(false, Ordering::SeqCst);
        board.timers.expect(0);
    }
}

/// Obeys commands that vCPUs may run beside; true where they must stand still for the next one, or for the end.
fn obey(shared: &Shared<'_>, intake: &mut Intake, time: &mut TimeSource<'_>) -> bool {
    while let Some(waiting) = shared.control.take_command_if(|command| !command.needs_standstill()) {
        let (time_now, instructions) = (time.now(), shared.instructions());
        let engine = shared.control.engine();
        let status = Status { paused: false, engine, time: time_now, instructions };
        let outcome = shared.board.obey(&waiting.command, status, intake, time);
        // Nobody need wait for it.
        let _ = waiting.reply_to.try_send(outcome);
    }
    shared.control.wants_end() || shared.control.has_command()
}

/// A vCPU's thread.
fn run_vcpu(shared: &Shared<'_>, cpu: usize, slot: &mut VcpuSlot) {
    let _ending = Ending(shared);
    let mut bus = VcpuBus::beside(shared.board, cpu, &shared.control);
    let mut turn = TURN;
    let (mut began, mut rest) = bus.wait_for_timer();
    while !shared.stop.load(Ordering::SeqCst) {
        if !slot.can_run() {
            shared.idle.fetch_add(1, Ordering::SeqCst);
            slot.signals.wait(slot.halted.unwrap_or(0), rest.min(LONGEST_SLEEP));
            slot.signals.take(VcpuSignals::KICK);
            shared.idle.fetch_sub(1, Ordering::SeqCst);
            if shared.sleeps_long.swap(false, Ordering::SeqCst) {
                shared.control.nudge();
            }
            (began, rest) = bus.wait_for_timer();
            continue;
        }
        let exit = slot.run(&mut bus, turn);
        let before = began;
        (began, rest) = bus.wait_for_timer();
        turn = next_turn(turn, Duration::from_nanos(began.since(before)));
        shared.retired[cpu].store(slot.vcpu.retired(), Ordering::Relaxed);
        match exit {
            VcpuExit::Budget | VcpuExit::Faulting => {}
            VcpuExit::Halted => slot.halt(),
            VcpuExit::Debugger => {
                shared.stopped.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(cpu);
                return;
            }
            VcpuExit::Shutdown(report) => {
                let mut shutdown = shared.shutdown.lock().unwrap_or_else(PoisonError::into_inner);
                shutdown.get_or_insert((cpu, report));
                return;
            }
        }
    }
}

/// The length of the turn after one of `turn` instructions that took so long.
fn next_turn(turn: u64, took: Duration) -> u64 {
    if took > LONG_TURN {
        (turn / 2).max(SHORTEST_TURN)
    } else if took < LONG_TURN / 4 {
        (turn * 2).min(TURN)
    } else {
        turn
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_follow_the_time_that_they_take() {
        let (short, fair, long) =
            (Duration::from_micros(5), Duration::from_micros(30), Duration::from_millis(3));
        let mut turn = TURN;
        for _ in 0..20 {
            turn = next_turn(turn, long);
        }
        assert_eq!(turn, SHORTEST_TURN);
        assert_eq!(next_turn(turn, fair), turn);
        assert_eq!(next_turn(turn, short), 2 * turn);
        assert_eq!(next_turn(TURN, short), TURN);
    }
}
