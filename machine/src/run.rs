//! The run loop: slices in turn, alarms between them, idling, what chips and people ask.
//!
//! A vCPU's *turn* is a number of instructions; it is run in one or more *slices*, which end where
//! an alarm is due. With guest time from a count of instructions a slice ends exactly at the next
//! alarm, and turns do not depend on anything outside, so that a run is deterministic. With the
//! host's clock a slice has no length of its own: [`SliceTimer`](crate::slice_timer::SliceTimer) ends it when the alarm is due.

use crate::board::Board;
use crate::clock::TimeSource;
use crate::control::{MachineControl, MachineEvent, Shot};
use crate::events::{ExternalEvent, Intake};
use crate::exit::{ExitReason, TripleFault};
use crate::machine::{Machine, VcpuSlot};
use crate::pace::Pace;
use crate::vcpu_bus::VcpuBus;
use std::time::Duration;
use trimotor_bus::GuestTime;
use trimotor_cpu::backend::{ShutdownReport, VcpuExit};
use trimotor_devices::requests::MachineRequest;

/// The longest slice and the turn of a vCPU that is alone, in instructions: a tenth of a
/// millisecond for the translator. The end of a slice costs as much as a thousand instructions.
const SLICE: u64 = 200_000;
/// A vCPU's turn where several want to run: short, as one may spin on a lock that another holds.
const SHARED_TURN: u64 = 20_000;
/// The turn of a vCPU whose engine counts no instructions, in nanoseconds.
const TIMED_TURN_NS: u64 = 5_000_000;
/// With the host's clock: fewer instructions than this end a turn. Engines run whole blocks, and what is left behind
/// the last one would be run in single steps.
const SHORTEST_REST: u64 = 100;
/// How often back ends are looked at while the guest runs, in nanoseconds of guest time.
pub(crate) const POLL_NS: u64 = 1_000_000;
/// The same while a network has more frames than a card gets at one look.
const SOON_NS: u64 = 50_000;
/// How long the machine sleeps at most while something waits for room, at the keyboard or the host, which gives no notice.
const RETRY_SLEEP: Duration = Duration::from_millis(20);
/// How long it sleeps otherwise. What happens wakes it; this bounds what a notice that was forgotten costs.
pub(crate) const LONGEST_SLEEP: Duration = Duration::from_secs(1);

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
        self.intake.flush();
        let now = self.board.clock.latest();
        self.publish(now, true);
        take_shots(&self.control, &self.board, now);
        self.control.tell(&MachineEvent::Ended(reason.clone()));
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
    fn rests_for_good(&self) -> bool {
        self.board.clock.counts_instructions()
            && self.board.timers.earliest().is_none()
            && !self.board.requests.pending()
            && !self.vcpus.iter().any(VcpuSlot::can_run)
    }

    /// One slice or one rest, and what comes between.
    fn step(&mut self) -> Option<ExitReason> {
        // Before anything else, as a machine that is saved while the outside is looked at has no request under way.
        if self.board.requests.pending() {
            self.intake.count_step();
            if let Some(reason) = self.do_requests() {
                return Some(reason);
            }
        }
        if self.control.wants_attention() {
            self.let_rest_pass();
        }
        let now = self.board.clock.now();
        if self.planned.is_due(now, || self.instructions()) {
            self.switch_as_planned(now);
        }
        if self.control.next_shot_ns() <= now.ns() {
            take_shots(&self.control, &self.board, now);
        }
        // While the machine is paused time stands still, and the next poll never comes.
        if self.paused
            || self.control.wants_attention()
            || now.ns() >= self.next_poll_ns
            || self.finish_instruction && self.at_position
            || self.intake.replays()
        {
            if let Some(reason) = self.look_outside(now) {
                return Some(reason);
            }
            if std::mem::take(&mut self.went_back) {
                // What was looked up before is of another time.
                return None;
            }
            if self.paused && !self.finish_instruction {
                if !self.control.wants_attention() {
                    self.control.sleep(longest_sleep(&self.intake));
                }
                return None;
            }
        }
        // With a replay, a rest may have passed.
        let now = self.board.clock.now();
        if self.output_waits.as_ref().is_some_and(|output_waits| output_waits()) {
            self.control.sleep(OUTPUT_WAIT);
            return None;
        }
        if self.board.timers.earliest_ns() <= now.ns() {
            self.intake.reach(self.instructions());
            self.intake.count_step();
            self.board.advance_due(&mut TimeSource::Board(&self.board.clock), &mut self.intake);
            if self.intake.diverged().is_some() {
                return Some(ExitReason::Diverged);
            }
            if !self.board.clock.counts_instructions() {
                // The interrupt may be for another vCPU, which need not wait for the end of this one's turn.
                self.turn.left = 0;
            }
        }
        match self.pick() {
            Some(cpu) => self.slice(cpu, now),
            None => self.rest(now),
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
        self.intake.begin_turn(next);
        Some(next)
    }

    /// Runs a vCPU for a slice.
    fn slice(&mut self, cpu: usize, now: GuestTime) -> Option<ExitReason> {
        let outside = self.control.next_shot_ns().min(self.planned.next_ns());
        let alarm = self.board.timers.earliest_ns().min(outside);
        let counts = self.board.clock.counts_instructions();
        let budget =
            if counts { self.turn.left.min(alarm.saturating_sub(now.ns())).max(1) } else { self.turn.left };
        let budget = match self.stop_at.min(self.planned.next_instructions()) {
            u64::MAX => budget,
            stop_at => budget.min(stop_at - self.instructions()),
        };
        let budget = if self.finish_instruction && counts { budget.min(1) } else { budget };
        let budget = match self.intake.next_stop() {
            None => budget,
            Some(stop) => match budget.min(stop.saturating_sub(self.instructions())) {
                // The machine must do something else before the event.
                0 => return self.recorded_step(now),
                budget => budget,
            },
        };
        // Accesses that bring an earlier event end the slice.
        let end = if counts { now.ns().saturating_add(budget) } else { alarm.min(self.next_poll_ns) };
        let end = if self.uncounted { end.min(now.ns().saturating_add(TIMED_TURN_NS)) } else { end };
        self.board.timers.expect(end);
        if let Some(timer) = &self.timer {
            timer.set(cpu, self.board.clock.host_ns(GuestTime(end)));
        }
        if !self.control.begin_slice(cpu) {
            return None;
        }
        self.board.clock.begin_slice();
        let slot = &mut self.vcpus[cpu];
        let before = slot.vcpu.retired();
        let exit = slot.run(&mut VcpuBus::in_turn(&self.board, cpu), budget);
        self.control.end_slice();
        let retired = slot.vcpu.retired().wrapping_sub(before);
        self.board.clock.set_retired(retired);
        self.board.timers.expect(u64::MAX);
        self.at_position = retired == budget || exit == VcpuExit::Halted;
        // With counted time turns are a matter of the guest's run alone, whoever outside ends runs. Otherwise one that retired
        // nothing still uses up its turn a little, so that nobody starves.
        self.turn.left = self.turn.left.saturating_sub(if counts { retired } else { retired.max(1) });
        if self.uncounted || !counts && self.turn.left < SHORTEST_REST {
            // A budget that covers no block would be stepped.
            self.turn.left = 0;
        }
        match exit {
            VcpuExit::Budget => {}
            VcpuExit::Faulting => self.turn.left = 0,
            VcpuExit::Halted => {
                slot.halt();
                self.turn.left = 0;
            }
            VcpuExit::Debugger => self.stopped_for_debugger(cpu),
            VcpuExit::Shutdown(report) => return self.shutdown_unless_debugged(cpu, *report),
        }
        None
    }

    /// With a replay, where an event waits that is taken at this instruction: the machine is on its way there if it has done
    /// something since it looked last.
    fn recorded_step(&mut self, now: GuestTime) -> Option<ExitReason> {
        if self.intake.step() != self.looked_at_step {
            return None;
        }
        self.intake.diverge(now, "run on");
        Some(ExitReason::Diverged)
    }

    /// Nobody can run: time passes.
    fn rest(&mut self, now: GuestTime) -> Option<ExitReason> {
        if self.paused {
            // Nothing runs that could end within an instruction.
            self.at_position = true;
            return None;
        }
        if self.intake.has_more_frames() {
            self.next_poll_ns = 0;
            return None;
        }
        let earliest = self.board.timers.earliest();
        if self.board.clock.counts_instructions()
            && let Some(event) = earliest
        {
            if self.intake.replays() && self.intake.step() != self.looked_at_step {
                // Something may have come before the rest, or within it.
                return None;
            }
            if let Some(rest) = self.rest_left(event) {
                self.intake.flush();
                self.publish(now, true);
                self.control.sleep(rest.min(longest_sleep(&self.intake)));
                return None;
            }
            self.intake.count_step();
            self.board.clock.skip_to(event);
            return None;
        }
        if self.intake.next_stop().is_some() {
            return self.recorded_step(now);
        }
        // Output that waits goes out before the machine sleeps.
        self.intake.flush();
        self.publish(now, true);
        let now = self.board.clock.now();
        let longest = longest_sleep(&self.intake);
        let outside = self.control.next_shot_ns().min(self.planned.next_ns());
        let next = self.board.timers.earliest_ns().min(outside);
        let limit = Duration::from_nanos(next.saturating_sub(now.ns())).min(longest);
        if !limit.is_zero() && self.pick().is_none() {
            self.control.sleep(limit);
        }
        None
    }

    /// With a counted clock, has rests take as long as they say, so that a network or a person keeps up with the guest; without, time leaps
    /// over them. In a run that is logged time passes within a rest too, whenever something comes.
    pub fn keep_pace(&mut self) {
        if self.board.clock.counts_instructions() {
            self.pace = Some(Pace::new(self.board.clock.host_now_ns(), self.board.clock.latest()));
        }
    }
    /// Time goes on where it stood still: what the host's clock showed meanwhile is no part of a rest.
    pub(crate) fn let_time_go_on(&mut self) {
        self.board.clock.resume();
        if self.pace.is_some() {
            self.keep_pace();
        }
    }
    /// How long the host waits before time may leap to an alarm.
    fn rest_left(&mut self, alarm: GuestTime) -> Option<Duration> {
        let pace = self.pace.as_mut()?;
        let now = self.board.clock.now();
        let left = alarm.since(now).saturating_sub(pace.allowance(self.board.clock.host_now_ns(), now));
        (left > 0).then(|| Duration::from_nanos(left))
    }
    /// Before something is taken that came within a rest: time goes on to here.
    fn let_rest_pass(&mut self) {
        let Some(pace) = &mut self.pace else { return };
        if self.paused || !self.intake.is_logged() || self.vcpus.iter().any(VcpuSlot::can_run) {
            return;
        }
        let now = self.board.clock.now();
        let allowed = pace.allowance(self.board.clock.host_now_ns(), now);
        let until_ns = now.ns().saturating_add(allowed).min(self.board.timers.earliest_ns());
        if until_ns > now.ns() && self.board.timers.earliest().is_some() {
            self.intake.reach(self.instructions());
            self.intake.note(now, || ExternalEvent::TimePassed { until_ns });
            self.board.clock.skip_to(GuestTime(until_ns));
        }
    }

    /// Commands, back ends, and what others see of the machine.
    fn look_outside(&mut self, now: GuestTime) -> Option<ExitReason> {
        self.control.attended();
        self.looked_at_step = self.intake.step();
        self.intake.reach(self.instructions());
        let counts = self.board.clock.counts_instructions();
        let may_take_events = !counts || self.at_position || !self.vcpus.iter().any(VcpuSlot::can_run);
        if self.control.wants_end() && (may_take_events || !self.intake.is_logged()) {
            self.control.ended();
            self.intake.note(now, || ExternalEvent::Quit);
            return Some(ExitReason::Quit);
        }
        if let Some(reason) = self.obey_all(may_take_events) {
            return Some(reason);
        }
        if self.went_back {
            return None;
        }
        self.finish_instruction =
            !may_take_events && (!self.paused || self.control.has_command() || self.control.wants_end());
        if may_take_events && let Some(reason) = self.take_events() {
            return Some(reason);
        }
        if may_take_events {
            self.record_check(now);
        }
        if self.intake.replay_ends(now) {
            return Some(ExitReason::Quit);
        }
        if self.intake.diverged().is_some() {
            return Some(ExitReason::Diverged);
        }
        let next_poll = if self.intake.has_more_frames() { SOON_NS } else { POLL_NS };
        self.next_poll_ns = now.ns().saturating_add(next_poll);
        let wanted = self.paused || self.control.wants_screen();
        self.publish(now, wanted);
        None
    }
    fn take_events(&mut self) -> Option<ExitReason> {
        let time = &mut TimeSource::Board(&self.board.clock);
        self.intake.take_from_host(&self.board, time);
        if !self.paused {
            self.intake.take_frames(&self.board, time);
        }
        if !self.board.clock.counts_instructions() {
            self.board.deliver_completions(time, &mut self.intake);
        }
        loop {
            let time = &mut TimeSource::Board(&self.board.clock);
            match self.intake.take_from_log(&self.board, time)? {
                ExternalEvent::Quit => return Some(ExitReason::Quit),
                ExternalEvent::Reset => {
                    if let Some(reason) = self.start_over() {
                        return Some(reason);
                    }
                }
                ExternalEvent::TimePassed { until_ns } => {
                    let earliest = self.board.timers.earliest_ns();
                    self.board.clock.skip_to(GuestTime(until_ns.min(earliest)));
                }
                ExternalEvent::Check(recorded) => {
                    let (now, vcpus) = (self.board.clock.latest(), self.check());
                    self.intake.check(now, &recorded, &vcpus);
                }
                _ => {}
            }
        }
    }
    fn publish(&mut self, now: GuestTime, screen_wanted: bool) {
        self.control.publish_progress(now, self.instructions());
        let (leds, absolute) = self.board.input_modes();
        self.control.publish_input(leds, absolute);
        if screen_wanted {
            publish_screen(&self.control, &self.board, &mut self.published_screen, now);
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
            MachineRequest::Pause => {
                self.stand_still().set_paused(true);
                None
            }
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
        self.intake.flush();
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

/// How long the machine may sleep where nothing happens.
pub(crate) fn longest_sleep(intake: &Intake) -> Duration {
    if intake.waits_for_room() { RETRY_SLEEP } else { LONGEST_SLEEP }
}

/// Shows the screen to others, if it has changed since it was `published`.
pub(crate) fn publish_screen(
    control: &MachineControl,
    board: &Board,
    published: &mut Option<u64>,
    now: GuestTime,
) {
    let Some(display) = board.refs.display else { return };
    // Looked at under the display's lock, shown to others without it.
    let screen = board.devices.with(display, |display| {
        let changes = display.changes(now, control.has_viewers());
        let changed = *published != Some(changes) || control.picture_is_outdated();
        *published = Some(changes);
        changed.then(|| {
            control.draw_picture(|surface, all| display.draw(now, surface, all));
            display.screen()
        })
    });
    if let Some(screen) = screen {
        control.publish_screen(screen);
    }
}

/// Hands out the screen to whom it was promised for this time.
pub(crate) fn take_shots(control: &MachineControl, board: &Board, now: GuestTime) {
    control.take_shots(now, || shot(control, board, now));
}

/// What the screen shows now.
pub(crate) fn shot(control: &MachineControl, board: &Board, now: GuestTime) -> Shot {
    let seen = board.refs.display.map(|display| {
        board.devices.with(display, |display| {
            (control.copy_picture(|surface, all| display.draw(now, surface, all)), display.screen())
        })
    });
    let (picture, text) = seen.unwrap_or_default();
    Shot { time: now, picture, text }
}

impl VcpuSlot {
    /// Whether the vCPU has something to do. Asking changes nothing: how often that is done depends on who looks at the machine.
    #[inline]
    pub(crate) fn can_run(&self) -> bool {
        !self.held && self.halted.is_none_or(|awaited| self.signals.pending() & awaited != 0)
    }
    /// Runs the vCPU.
    pub(crate) fn run(&mut self, bus: &mut VcpuBus<'_>, budget: u64) -> VcpuExit {
        self.halted = None;
        self.vcpu.run(bus, budget)
    }
    /// The vCPU halted. What ends that is a matter of its state alone, which stays as it is until it runs again: a signal
    /// that came after its last look, or comes later, is found pending.
    pub(crate) fn halt(&mut self) {
        self.halted = Some(self.vcpu.open_signals());
    }
}
