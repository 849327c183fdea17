//! The one way of the outside into the machine.

use super::{
    Divergence, EventLog, ExternalEvent, MediumFacts, Position, PowerOn, Replay, TakenEvent, VcpuCheck, check,
};
use crate::board::Board;
use crate::clock::TimeSource;
use crate::control::media::MediumChange;
use crate::control::{Input, MachineControl};
use crate::networks::NetworkFacts;
use crate::serial_line::SerialLine;
use std::collections::BTreeMap;
use trimotor_bus::GuestTime;
use trimotor_devices::serial::SerialPort;
use trimotor_devices::virtio::Io;
use trimotor_devices::virtio::balloon::Balloon;
use trimotor_devices::virtio::console::Console;

/// Takes external events, one at a time, on the machine's thread. See [the module](super).
pub(crate) struct Intake {
    control: MachineControl,
    /// The serial ports' cables, COM1 first.
    lines: Vec<SerialLine>,
    log: Option<Box<dyn EventLog>>,
    replay: Option<Replay>,
    instructions: u64,
    step: u64,
    /// Whose turn it is.
    cpu: usize,
    /// See [`Self::has_more_frames`].
    pub(super) more_frames: bool,
}

impl Intake {
    pub(crate) fn new(control: MachineControl, lines: Vec<SerialLine>) -> Self {
        Self { control, lines, log: None, replay: None, instructions: 0, step: 0, cpu: 0, more_frames: false }
    }
    /// From now on events are logged; those so far are not.
    pub(crate) fn log_to(&mut self, log: Box<dyn EventLog>) {
        self.log = Some(log);
    }
    /// From now on events come from a log, and nothing is taken from the host.
    pub(crate) fn replay(&mut self, replay: Replay) {
        self.replay = Some(replay);
    }
    /// Adds to the log that is replayed, if one is.
    pub(crate) fn replay_more(&mut self, more: Vec<TakenEvent>) {
        if let Some(replay) = &mut self.replay {
            replay.extend(more);
        }
    }
    pub(crate) fn is_logged(&self) -> bool {
        self.log.is_some()
    }
    pub(crate) fn replays(&self) -> bool {
        self.replay.is_some()
    }
    /// See [`Replay::next_stop`].
    #[inline]
    pub(crate) fn next_stop(&self) -> Option<u64> {
        self.replay.as_ref()?.next_stop()
    }
    pub(crate) fn diverged(&self) -> Option<&Divergence> {
        self.replay.as_ref()?.diverged()
    }
    /// The machine cannot come to the next event of the log.
    pub(crate) fn diverge(&mut self, now: GuestTime, wanted: &str) {
        let here = self.position(now);
        if let Some(replay) = &mut self.replay {
            replay.diverge(here, self.cpu, wanted.to_owned());
        }
    }
    /// Looks whether the log goes on from here: the run ends where nothing more is known of it.
    pub(crate) fn replay_ends(&mut self, now: GuestTime) -> bool {
        let here = self.position(now);
        let Some(replay) = &mut self.replay else { return false };
        replay.check_end(here, self.cpu);
        replay.ends_here()
    }
    /// Whether all of a log was replayed.
    pub(crate) fn replay_is_done(&self) -> bool {
        self.replay.as_ref().is_some_and(Replay::is_done)
    }
    /// Holds the vCPUs against where they had been.
    pub(crate) fn check(&mut self, now: GuestTime, recorded: &[VcpuCheck], vcpus: &[VcpuCheck]) {
        let here = self.position(now);
        if let Some(replay) = &mut self.replay {
            replay.check(here, check::difference(recorded, vcpus));
        }
    }
    /// All vCPUs together have retired so many instructions.
    #[inline]
    pub(crate) fn reach(&mut self, instructions: u64) {
        self.instructions = instructions;
    }
    /// A vCPU's turn begins.
    pub(crate) fn begin_turn(&mut self, cpu: usize) {
        self.cpu = cpu;
        self.count_step();
    }
    /// The machine did something that is no instruction: see [`Position::step`].
    #[inline]
    pub(crate) fn count_step(&mut self) {
        self.step = self.step.wrapping_add(1);
    }
    pub(crate) fn step(&self) -> u64 {
        self.step
    }
    pub(crate) fn set_step(&mut self, step: u64) {
        self.step = step;
    }
    pub(crate) fn lines(&self) -> &[SerialLine] {
        &self.lines
    }
    /// Sends on the output that waits for the host.
    pub(crate) fn flush(&self) {
        self.lines.iter().for_each(SerialLine::flush);
    }
    /// Whether something waits for room, at the keyboard or at the host's end of a cable.
    pub(crate) fn waits_for_room(&self) -> bool {
        self.control.has_input() || self.lines.iter().any(SerialLine::has_output)
    }
    fn position(&self, now: GuestTime) -> Position {
        Position { instructions: self.instructions, step: self.step, time_ns: now.ns() }
    }
    /// Logs an event that is taken now.
    pub(crate) fn note(&mut self, now: GuestTime, event: impl FnOnce() -> ExternalEvent) {
        let at = self.position(now);
        if let Some(log) = &mut self.log {
            log.taken(&TakenEvent { at, event: event() });
        }
    }
    /// Logs what the machine was switched on with.
    pub(crate) fn note_power_on(
        &mut self,
        rtc_seconds: i64,
        random_seed: u64,
        networks: BTreeMap<String, NetworkFacts>,
    ) {
        let serial_connected = self.lines.iter().map(SerialLine::is_connected).collect();
        self.note(GuestTime::ZERO, || {
            ExternalEvent::PowerOn(PowerOn { rtc_seconds, random_seed, serial_connected, networks })
        });
    }

    /// Takes what the host has for the devices: input that the guest has room for, and changes at the serial ports. While a
    /// log is replayed, it is dropped.
    pub(crate) fn take_from_host(&mut self, board: &Board, time: &mut TimeSource<'_>) {
        while let Some(MediumChange { drive, medium, force, answer }) = self.control.take_medium_change() {
            if self.replays() {
                log::warn!("the medium of {drive} stays: the machine replays a recording");
                continue;
            }
            let facts = medium.as_ref().filter(|_| self.is_logged()).map(MediumFacts::of);
            answer(board.change_medium(&drive, medium, force, time));
            self.note(time.latest(), || ExternalEvent::MediumChange { drive, medium: facts, force });
        }
        if self.replays() {
            while self.control.take_input().is_some() {}
            // Unread input could keep a peer waiting, or its keys from the console.
            self.lines.iter().for_each(SerialLine::forget_input);
            return self.flush();
        }
        while let Some(input) = self.control.take_input() {
            let (taken, rest) = board.take_input(input, time);
            if let Some(taken) = taken {
                self.note(time.latest(), || taken.into());
            }
            if let Some(rest) = rest {
                self.control.put_back(rest);
                // The pointer does not wait for the keyboard.
                while let Some(event) = self.control.take_pointer() {
                    _ = board.take_input(Input::Pointer(event), time);
                    self.note(time.latest(), || ExternalEvent::Pointer(event));
                }
                break;
            }
        }
        for port in 0..self.lines.len() {
            self.lines[port].flush();
            while let Some(event) = self.lines[port].next_event(port) {
                self.apply(&event, board, time);
                self.note(time.latest(), || event);
            }
        }
    }
    /// Takes the events that the log has at this position; returns the first one that concerns more than the board.
    pub(crate) fn take_from_log(
        &mut self,
        board: &Board,
        time: &mut TimeSource<'_>,
    ) -> Option<ExternalEvent> {
        loop {
            let here = self.position(time.latest());
            let taken = self.replay.as_mut()?.take_at(here)?;
            self.note(time.latest(), || taken.event.clone());
            match &taken.event {
                ExternalEvent::Reset
                | ExternalEvent::Quit
                | ExternalEvent::Check(_)
                | ExternalEvent::TimePassed { .. } => {
                    return Some(taken.event);
                }
                ExternalEvent::Frame { device, frame } => {
                    if !board.replay_frame(device, frame, time) {
                        self.diverge(
                            time.latest(),
                            &format!("a frame for {device}, which has no room for it"),
                        );
                        return None;
                    }
                    continue;
                }
                ExternalEvent::NoRoom { device, frame } => {
                    if !board.replay_no_room(device, frame.as_ref(), time) {
                        self.diverge(time.latest(), &format!("{device} with room for a frame"));
                        return None;
                    }
                    continue;
                }
                ExternalEvent::NoRoomAgain { device } => {
                    if !board.replay_no_room_again(device, time) {
                        self.diverge(time.latest(), &format!("{device} with room for a frame"));
                        return None;
                    }
                    continue;
                }
                _ => {}
            }
            self.apply(&taken.event, board, time);
        }
    }
    /// The result of a request that is delivered now: its worker's, or the log's.
    pub(crate) fn completion(
        &mut self,
        device: &str,
        request: u64,
        result: Vec<u8>,
        now: GuestTime,
    ) -> Vec<u8> {
        let here = self.position(now);
        let result = match &mut self.replay {
            Some(replay) => replay.take_completion(here, self.cpu, device, request),
            None => result,
        };
        self.note(now, || ExternalEvent::Completion {
            device: device.to_owned(),
            request,
            result: result.clone(),
        });
        result
    }

    /// Does to the board what an event says. Those that concern the machine as a whole are not for here.
    pub(crate) fn apply(&self, event: &ExternalEvent, board: &Board, time: &mut TimeSource<'_>) {
        match event {
            ExternalEvent::Key(key, down) => _ = board.take_input(Input::Key(*key, *down), time),
            ExternalEvent::Keys(keys) => _ = board.take_input(Input::Keys(keys.clone()), time),
            ExternalEvent::Text(layout, text) => {
                _ = board.take_input(Input::Text(*layout, text.clone()), time);
            }
            ExternalEvent::ReleaseAll => _ = board.take_input(Input::ReleaseAll, time),
            ExternalEvent::Pointer(event) => _ = board.take_input(Input::Pointer(*event), time),
            ExternalEvent::SerialInput { port, .. }
            | ExternalEvent::SerialConnected { port, .. }
            | ExternalEvent::SerialRoom { port, .. } => {
                let Some(line) = self.lines.get(*port) else { return };
                line.take(event);
                if let Some(chip) = board.refs.serials.get(*port) {
                    board.operate(*chip, time, SerialPort::poll);
                } else if let Some((_, card)) = board.refs.consoles.iter().find(|(line, _)| line == port) {
                    board.operate(*card, time, |card, now| card.with_device(now, Console::poll));
                }
            }
            ExternalEvent::SerialBreak { port } => {
                if let Some(chip) = board.refs.serials.get(*port) {
                    board.operate(*chip, time, SerialPort::receive_break);
                }
            }
            ExternalEvent::Balloon { bytes } => {
                if let Some(card) = board.refs.balloon {
                    let leave = |balloon: &mut Balloon, io: &mut Io<'_>| balloon.leave(*bytes, io);
                    board.operate(card, time, |card, now| card.with_device(now, leave));
                }
            }
            ExternalEvent::BalloonHint => {
                if let Some(card) = board.refs.balloon {
                    board.operate(card, time, |card, now| card.with_device(now, Balloon::ask_for_free_pages));
                }
            }
            ExternalEvent::PowerButton => {
                if let Some(power) = board.refs.power {
                    board.operate(power, time, |power, _| power.registers.press_power_button());
                }
            }
            // What became of it was told when it was recorded.
            ExternalEvent::MediumChange { drive, medium, force } => {
                let medium = medium.as_ref().filter(|facts| facts.is_possible()).map(MediumFacts::stand_in);
                _ = board.change_medium(drive, medium, *force, time);
            }
            ExternalEvent::Carrier { device, connected } => board.set_carrier(device, *connected, time),
            ExternalEvent::Nmi => board.fabric.pulse_nmi(),
            // A card may refuse a frame, which whoever gives it must know.
            ExternalEvent::Frame { .. }
            | ExternalEvent::NoRoom { .. }
            | ExternalEvent::NoRoomAgain { .. }
            | ExternalEvent::Completion { .. }
            | ExternalEvent::PowerOn(_)
            | ExternalEvent::Reset
            | ExternalEvent::Check(_)
            | ExternalEvent::TimePassed { .. }
            | ExternalEvent::Quit => {}
        }
    }
}
