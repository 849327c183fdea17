//! The run loop: slices in turn, alarms between them, idling, what chips and people ask.
//!
//! A vCPU's *turn* is a number of instructions; it is run in one or more *slices*, which end where
//! an alarm is due. With guest time from a count of instructions a slice ends exactly at the next
//! alarm, and turns do not depend on anything outside, so that a run is deterministic. With the
//! host's clock a slice has no length of its own: [`SliceTimer`](crate::slice_timer::SliceTimer) ends it when the alarm is due.

use crate::board::Board;
use crate::clock::TimeSource;
use crate::control::{Command, Input, MachineControl};
use crate::exit::{ExitReason, TripleFault};
use crate::machine::{Machine, VcpuSlot};
use crate::vcpu_bus::VcpuBus;
use std::time::Duration;
use trimotor_bus::GuestTime;
use trimotor_cpu::backend::{ShutdownReport, VcpuExit};
use trimotor_devices::requests::MachineRequest;
use trimotor_devices::serial::SerialPort;

/// The longest slice and the turn of a vCPU that is alone, in instructions: a tenth of a
/// millisecond for the translator. The end of a slice costs as much as a thousand instructions.
const SLICE: u64 = 200_000;
/// A vCPU's turn where several want to run: short, as one may spin on a lock that another holds.
const SHARED_TURN: u64 = 20_000;
/// With the host's clock: fewer instructions than this end a turn. Engines run whole blocks, and what is left behind
/// the last one would be run in single steps.
const SHORTEST_REST: u64 = 100;
/// How often back ends are looked at while the guest runs, in nanoseconds of guest time.
pub(crate) const POLL_NS: u64 = 1_000_000;
/// How long the machine sleeps at most: back ends that cannot wake it are looked at then.
pub(crate) const LONGEST_SLEEP: Duration = Duration::from_millis(20);

/// With a counted clock: how long the machine stands still before it looks again whether the host has taken output.
const OUTPUT_WAIT: Duration = Duration::from_millis(1);

/// Whose turn it is.
#[derive(Clone, Copy, Debug, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct Turn {
    cpu: usize,
    /// Instructions left.
    left: u64,
}

impl Turn {
    /// Whether a machine with so many vCPUs can be at this turn.
    pub(crate) fn is_possible(self, vcpus: usize) -> bool {
        self.cpu < vcpus && self.left <= SLICE
    }
}

impl Machine {
    /// Runs until something ends the run. May be called again after [`ExitReason::Quit`].
    pub fn run(&mut self) -> ExitReason {
        let reason = loop {
            if self.at_once
                && !self.paused
                && let Some(reason) = self.run_at_once()
            {
                break reason;
            }
            if let Some(reason) = self.step() {
                break reason;
            }
        };
        self.board.poll_serials(&mut TimeSource::Board(&self.board.clock));
        self.publish(self.board.clock.latest(), true);
        reason
    }

    /// Runs until all vCPUs together have retired `instructions` since the machine was made, exactly,
    /// or until something ends the run; returns what it was. With guest time from a count of
    /// instructions, a run that is cut into such parts is the same as a run in one piece.
    ///
    /// Returns early, with fewer instructions, where nothing will ever happen again: all vCPUs halt,
    /// and no alarm is set.
    pub fn run_until(&mut self, instructions: u64) -> Option<ExitReason> {
        self.stop_at = instructions;
        let reason = loop {
            if self.instructions() >= instructions || self.rests_for_good() {
                break None;
            }
            if let Some(reason) = self.step() {
                break Some(reason);
            }
        };
        self.stop_at = u64::MAX;
        reason
    }
    fn rests_for_good(&mut self) -> bool {
        self.board.clock.counts_instructions()
            && self.board.timers.earliest().is_none()
            && !self.board.requests.pending()
            && !self.vcpus.iter_mut().any(VcpuSlot::can_run)
    }

    /// One slice or one rest, and what comes between.
    fn step(&mut self) -> Option<ExitReason> {
        let now = self.board.clock.now();
        // While the machine is paused time stands still, and the next poll never comes.
        if self.paused || self.control.wants_attention() || now.ns() >= self.next_poll_ns {
            if let Some(reason) = self.look_outside(now) {
                return Some(reason);
            }
            if self.paused {
                self.control.sleep(LONGEST_SLEEP);
                return None;
            }
        }
        if self.board.requests.pending()
            && let Some(reason) = self.do_requests()
        {
            return Some(reason);
        }
        if self.paused {
            // A request did it: a panic of the guest's.
            return None;
        }
        if self.output_waits.as_ref().is_some_and(|output_waits| output_waits()) {
            self.control.sleep(OUTPUT_WAIT);
            return None;
        }
        if self.board.timers.earliest_ns() <= now.ns() {
            self.board.advance_due(&mut TimeSource::Board(&self.board.clock));
            if !self.board.clock.counts_instructions() {
                // The interrupt may be for another vCPU, which need not wait for the end of this one's turn.
                self.turn.left = 0;
            }
        }
        match self.pick() {
            Some(cpu) => self.slice(cpu, now),
            None => {
                self.rest(now);
                None
            }
        }
    }

    /// Chooses the vCPU that runs now: whose turn it is, or the next one that can run.
    fn pick(&mut self) -> Option<usize> {
        let count = self.vcpus.len();
        let current = self.turn.cpu;
        if self.turn.left > 0 && self.vcpus[current].can_run() {
            return Some(current);
        }
        let next = (1..=count).map(|i| (current + i) % count).find(|cpu| self.vcpus[*cpu].can_run())?;
        let alone = (0..count).all(|cpu| cpu == next || !self.vcpus[cpu].can_run());
        self.turn = Turn { cpu: next, left: if alone { SLICE } else { SHARED_TURN } };
        Some(next)
    }

    /// Runs a vCPU for a slice.
    fn slice(&mut self, cpu: usize, now: GuestTime) -> Option<ExitReason> {
        let alarm = self.board.timers.earliest_ns();
        let counts = self.board.clock.counts_instructions();
        let budget =
            if counts { self.turn.left.min(alarm.saturating_sub(now.ns())).max(1) } else { self.turn.left };
        let budget = match self.stop_at {
            u64::MAX => budget,
            stop_at => budget.min(stop_at - self.instructions()),
        };
        // Accesses that bring an earlier event end the slice.
        let end = if counts { now.ns().saturating_add(budget) } else { alarm.min(self.next_poll_ns) };
        self.board.timers.expect(end);
        if let Some(timer) = &self.timer {
            timer.set(cpu, self.board.clock.host_ns(GuestTime(end)));
            if self.control.wants_attention() {
                // What came before the timer was set kicked nobody.
                return None;
            }
        }
        self.board.clock.begin_slice();
        let slot = &mut self.vcpus[cpu];
        let before = slot.vcpu.retired();
        let exit = slot.vcpu.run(&mut VcpuBus::in_turn(&self.board, cpu), budget);
        let retired = slot.vcpu.retired().wrapping_sub(before);
        self.board.clock.set_retired(retired);
        self.board.timers.expect(u64::MAX);
        // A run that retired nothing still uses up its turn a little, so that nobody starves.
        self.turn.left = self.turn.left.saturating_sub(retired.max(1));
        if !counts && self.turn.left < SHORTEST_REST {
            // A budget that covers no block would be stepped.
            self.turn.left = 0;
        }
        match exit {
            VcpuExit::Budget => {}
            VcpuExit::Halted => slot.halt(),
            VcpuExit::Shutdown(report) => return Some(self.shutdown(cpu, *report)),
        }
        None
    }

    /// Nobody can run: time passes.
    fn rest(&mut self, now: GuestTime) {
        let earliest = self.board.timers.earliest();
        if self.board.clock.counts_instructions()
            && let Some(event) = earliest
        {
            self.board.clock.skip_to(event);
            return;
        }
        // Output that waits goes out before the machine sleeps.
        self.board.poll_serials(&mut TimeSource::Board(&self.board.clock));
        self.publish(now, false);
        let now = self.board.clock.now();
        let limit = self
            .board
            .timers
            .earliest()
            .map_or(LONGEST_SLEEP, |event| Duration::from_nanos(event.since(now)).min(LONGEST_SLEEP));
        if !limit.is_zero() && self.pick().is_none() {
            self.control.sleep(limit);
        }
    }

    /// Commands, back ends, and what others see of the machine.
    fn look_outside(&mut self, now: GuestTime) -> Option<ExitReason> {
        self.control.attended();
        if self.control.wants_end() {
            self.control.ended();
            return Some(ExitReason::Quit);
        }
        while let Some(command) = self.control.take_command() {
            if let Some(reason) = self.obey(command) {
                return Some(reason);
            }
        }
        let time = &mut TimeSource::Board(&self.board.clock);
        self.board.take_input(&self.control, time);
        if !self.board.clock.counts_instructions() {
            self.board.deliver_completions(time);
        }
        self.board.poll_serials(time);
        self.next_poll_ns = now.ns().saturating_add(POLL_NS);
        let wanted = self.control.take_screen_wanted();
        self.publish(now, wanted);
        None
    }
    fn obey(&mut self, command: Command) -> Option<ExitReason> {
        match command {
            Command::Pause => self.set_paused(true),
            Command::Resume => self.set_paused(false),
            Command::Reset => {
                if let Err(error) = self.reset() {
                    log::error!("{error}");
                    return Some(ExitReason::Quit);
                }
            }
            Command::Statistics => self.control.publish_statistics(self.statistics()),
            other => self.board.obey(other, &mut TimeSource::Board(&self.board.clock)),
        }
        None
    }
    pub(crate) fn set_paused(&mut self, paused: bool) {
        self.paused = paused;
        self.control.publish_paused(paused);
        if paused {
            self.board.clock.pause();
        } else {
            self.board.clock.resume();
        }
    }
    fn publish(&mut self, now: GuestTime, screen_wanted: bool) {
        self.control.publish_progress(now, self.instructions());
        if screen_wanted {
            publish_screen(&self.control, &self.board, &mut self.published_screen);
        }
    }

    /// What chips ask of the machine.
    fn do_requests(&mut self) -> Option<ExitReason> {
        let request = self.board.requests.take();
        self.apply_a20();
        match request? {
            MachineRequest::PowerOff => Some(ExitReason::PowerOff),
            MachineRequest::DebugExit(value) => Some(ExitReason::DebugExit(value)),
            MachineRequest::GuestPanic => self.guest_panic(),
            MachineRequest::Reset(cause) => self.guest_reset(cause),
            MachineRequest::Suspend => {
                log::warn!("the guest asks for S3, which the tables do not offer: it wakes at once");
                if let Some(power) = self.board.refs.power {
                    self.board.devices.with(power, |power| power.registers.wake());
                }
                None
            }
        }
    }

    /// A vCPU is in shutdown: the run's end.
    pub(crate) fn shutdown(&mut self, cpu: usize, report: ShutdownReport) -> ExitReason {
        self.board.poll_serials(&mut TimeSource::Board(&self.board.clock));
        ExitReason::TripleFault(Box::new(self.triple_fault(cpu, report)))
    }
    fn triple_fault(&mut self, cpu: usize, report: ShutdownReport) -> TripleFault {
        let vcpu = &mut self.vcpus[cpu].vcpu;
        let state = vcpu.state();
        let mut code = vec![0; 16];
        let cs = &state.segments[trimotor_cpu::SegReg::Cs as usize];
        let read = vcpu.read_linear(cs.base.wrapping_add(state.rip), &mut code);
        code.truncate(read);
        TripleFault { cpu, report, state, code }
    }
}

/// Shows the screen to others, if it has changed since it was `published`.
pub(crate) fn publish_screen(control: &MachineControl, board: &Board, published: &mut Option<u64>) {
    let Some(display) = board.refs.display else { return };
    // Looked at under the display's lock, shown to others without it.
    let screen = board.devices.with(display, |display| {
        let changed = *published != Some(display.changes());
        *published = Some(display.changes());
        changed.then(|| display.screen())
    });
    if let Some(screen) = screen {
        control.publish_screen(screen);
    }
}

impl Board {
    /// Does what a command asks of the chips. Those that concern vCPUs are not for the board.
    pub(crate) fn obey(&self, command: Command, time: &mut TimeSource<'_>) {
        match command {
            Command::PowerButton => {
                if let Some(power) = self.refs.power {
                    self.operate(power, time, |power, _| power.registers.press_power_button());
                }
            }
            Command::Nmi => self.fabric.pulse_nmi(),
            Command::SerialBreak(port) => {
                if let Some(serial) = self.refs.serials.get(port) {
                    self.operate(*serial, time, SerialPort::receive_break);
                }
            }
            Command::Pause | Command::Resume | Command::Reset | Command::Statistics => {}
        }
    }
    /// Gives the guest the input that it has room for; the rest stays in its queue.
    pub(crate) fn take_input(&self, control: &MachineControl, time: &mut TimeSource<'_>) {
        while let Some(input) = control.take_input() {
            if let Some(rest) = self.type_input(input, time) {
                control.put_back(rest);
                break;
            }
        }
    }
    /// Gives input to the keyboard controller; returns what it has no room for. Without a keyboard input is lost.
    fn type_input(&self, input: Input, time: &mut TimeSource<'_>) -> Option<Input> {
        let keyboard = self.refs.keyboard?;
        match input {
            Input::Key(key, down) => {
                let typed = self.operate(keyboard, time, |keyboard, now| keyboard.type_event(key, down, now));
                (!typed).then_some(input)
            }
            Input::Text(text) => {
                let typed = self.operate(keyboard, time, |keyboard, now| keyboard.type_text(&text, now));
                let rest: String = text.chars().skip(typed).collect();
                (!rest.is_empty()).then_some(Input::Text(rest))
            }
        }
    }
}

impl VcpuSlot {
    /// Whether the vCPU has something to do.
    #[inline]
    pub(crate) fn can_run(&mut self) -> bool {
        let Some(awaited) = self.halted else { return true };
        if self.signals.pending() & awaited == 0 {
            return false;
        }
        self.halted = None;
        true
    }
    /// The vCPU halted. What ends that is a matter of its state alone, which stays as it is until it runs again: a signal
    /// that came after its last look, or comes later, is found pending.
    pub(crate) fn halt(&mut self) {
        self.halted = Some(self.vcpu.open_signals());
    }
}
