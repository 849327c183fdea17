//! What other threads may do to a running machine.
//!
//! [`MachineControl`] is a handle that is cheap to clone. Its methods return at once: they leave a
//! command, and the machine's thread takes it between two slices, within a fraction of a
//! millisecond. While the machine idles or is paused they wake it.
//!
//! Commands never wait for the guest. What the guest may not be ready for (keys, text) waits in a queue of its own,
//! and the end of the run is a flag: neither can stand in the way of the other.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use trimotor_bus::GuestTime;
use trimotor_bus::event_flags::EventFlags;
use trimotor_devices::i8042::KeyCode;
use trimotor_devices::vga_text::TextScreen;

/// Keys or texts that wait before more are refused: a person's typing, not a paste.
const MAX_INPUT: usize = 256;
/// Commands that wait before more are dropped. The machine takes them within milliseconds.
const MAX_COMMANDS: usize = 256;

/// The inbox or a back end has something: the machine's thread must look at both.
const ATTENTION: u32 = 1 << 0;
/// The run must end.
const QUIT: u32 = 1 << 1;
/// Something else has changed that the machine's thread may sleep for: an alarm, the end of a vCPU's thread.
const NUDGE: u32 = 1 << 2;

impl Command {
    /// Whether the vCPUs must stand still while it is done.
    pub(crate) fn concerns_vcpus(&self) -> bool {
        matches!(self, Command::Pause | Command::Resume | Command::Reset | Command::Statistics)
    }
}

/// Input that waits until the guest has taken what came before.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Input {
    Key(KeyCode, bool),
    Text(String),
}

/// A command to the machine's thread, which it does at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Command {
    Pause,
    Resume,
    Reset,
    PowerButton,
    Nmi,
    SerialBreak(usize),
    Statistics,
}

#[derive(Default)]
struct Inbox {
    commands: VecDeque<Command>,
    input: VecDeque<Input>,
    screen_wanted: bool,
}

#[derive(Default)]
struct Shared {
    /// What the machine's thread looks at, and sleeps on.
    flags: EventFlags,
    inbox: Mutex<Inbox>,
    screen: Mutex<Option<TextScreen>>,
    time_ns: AtomicU64,
    instructions: AtomicU64,
    paused: AtomicBool,
    statistics: Mutex<Option<Vec<Counts>>>,
}

/// What a vCPU counted: see [`Vcpu::statistics`](trimotor_cpu::Vcpu::statistics).
pub type Counts = Vec<(String, u64)>;

/// The handle.
#[derive(Clone, Default)]
pub struct MachineControl {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for MachineControl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MachineControl").field("guest_time", &self.guest_time()).finish_non_exhaustive()
    }
}

impl MachineControl {
    /// Wakes the machine to look at its back ends: a serial port has input.
    pub fn wake(&self) {
        self.shared.flags.raise(ATTENTION);
    }
    /// A key goes down or up. Returns false where too many wait; try again later.
    pub fn key(&self, key: KeyCode, down: bool) -> bool {
        self.give(Input::Key(key, down))
    }
    /// Types text on a US keyboard. Returns false where too much waits; try again later.
    pub fn type_text(&self, text: &str) -> bool {
        self.give(Input::Text(text.to_owned()))
    }
    /// Stops the vCPUs and guest time.
    pub fn pause(&self) {
        self.send(Command::Pause);
    }
    /// Goes on after [`pause`](Self::pause).
    pub fn resume(&self) {
        self.send(Command::Resume);
    }
    /// Presses the reset button.
    pub fn reset(&self) {
        self.send(Command::Reset);
    }
    /// Presses the power button (an ACPI event).
    pub fn power_button(&self) {
        self.send(Command::PowerButton);
    }
    /// Raises an NMI.
    pub fn nmi(&self) {
        self.send(Command::Nmi);
    }
    /// The other end of a serial port (COM1 is 0) sends a break.
    pub fn serial_break(&self, port: usize) {
        self.send(Command::SerialBreak(port));
    }
    /// Asks for the engine's statistics, which [`take_statistics`](Self::take_statistics) gives soon.
    pub fn ask_statistics(&self) {
        self.send(Command::Statistics);
    }
    /// What each vCPU counted, once after it was asked for.
    pub fn take_statistics(&self) -> Option<Vec<Counts>> {
        self.shared.statistics.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
    /// Ends the run, whatever else waits.
    pub fn quit(&self) {
        self.shared.flags.raise(QUIT | ATTENTION);
    }
    /// The text screen as it was a moment ago, `None` in graphics modes and before the first
    /// look; asks for a fresh one.
    pub fn screen(&self) -> Option<TextScreen> {
        self.inbox().screen_wanted = true;
        self.wake();
        self.shared.screen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
    /// Guest time a moment ago.
    pub fn guest_time(&self) -> GuestTime {
        GuestTime(self.shared.time_ns.load(Ordering::Relaxed))
    }
    /// Instructions that all vCPUs have retired, a moment ago.
    pub fn instructions(&self) -> u64 {
        self.shared.instructions.load(Ordering::Relaxed)
    }
    /// Whether the machine is paused.
    pub fn paused(&self) -> bool {
        self.shared.paused.load(Ordering::Relaxed)
    }

    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.shared.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn send(&self, command: Command) {
        let mut inbox = self.inbox();
        if inbox.commands.len() >= MAX_COMMANDS {
            log::warn!("{command:?} is dropped: the machine has not taken the commands before it");
            return;
        }
        inbox.commands.push_back(command);
        drop(inbox);
        self.wake();
    }
    fn give(&self, input: Input) -> bool {
        let mut inbox = self.inbox();
        if inbox.input.len() >= MAX_INPUT {
            return false;
        }
        inbox.input.push_back(input);
        drop(inbox);
        self.wake();
        true
    }

    /// Whether the machine's thread has something to look at.
    #[inline]
    pub(crate) fn wants_attention(&self) -> bool {
        self.shared.flags.raised() & ATTENTION != 0
    }
    /// Lowers that flag, before what it stands for is looked at.
    pub(crate) fn attended(&self) {
        self.shared.flags.lower(ATTENTION);
    }
    /// Whether the run must end.
    pub(crate) fn wants_end(&self) -> bool {
        self.shared.flags.raised() & QUIT != 0
    }
    /// The run ends; the next one does not.
    pub(crate) fn ended(&self) {
        self.shared.flags.lower(QUIT);
    }
    /// Wakes the machine's thread where it sleeps; no command or back end has anything for it.
    pub(crate) fn nudge(&self) {
        self.shared.flags.raise(NUDGE);
    }
    /// The oldest command.
    pub(crate) fn take_command(&self) -> Option<Command> {
        self.inbox().commands.pop_front()
    }
    /// The oldest command, where it is one of those that `wanted` accepts.
    pub(crate) fn take_command_if(&self, wanted: impl FnOnce(&Command) -> bool) -> Option<Command> {
        let mut inbox = self.inbox();
        inbox.commands.pop_front_if(|command| wanted(command))
    }
    /// Whether a command waits.
    pub(crate) fn has_command(&self) -> bool {
        !self.inbox().commands.is_empty()
    }
    /// The oldest input.
    pub(crate) fn take_input(&self) -> Option<Input> {
        self.inbox().input.pop_front()
    }
    /// Puts input back that the guest has no room for yet.
    pub(crate) fn put_back(&self, input: Input) {
        self.inbox().input.push_front(input);
    }
    /// Whether someone asked for the screen since the last call.
    pub(crate) fn take_screen_wanted(&self) -> bool {
        std::mem::take(&mut self.inbox().screen_wanted)
    }
    pub(crate) fn publish_screen(&self, screen: Option<TextScreen>) {
        *self.shared.screen.lock().unwrap_or_else(PoisonError::into_inner) = screen;
    }
    pub(crate) fn publish_progress(&self, time: GuestTime, instructions: u64) {
        self.shared.time_ns.store(time.ns(), Ordering::Relaxed);
        self.shared.instructions.store(instructions, Ordering::Relaxed);
    }
    pub(crate) fn publish_statistics(&self, counts: Vec<Counts>) {
        *self.shared.statistics.lock().unwrap_or_else(PoisonError::into_inner) = Some(counts);
    }
    pub(crate) fn publish_paused(&self, paused: bool) {
        self.shared.paused.store(paused, Ordering::Relaxed);
    }
    /// Sleeps until something wakes the machine's thread, at most for `limit`.
    pub(crate) fn sleep(&self, limit: Duration) {
        self.shared.flags.sleep(ATTENTION | NUDGE, limit);
        self.shared.flags.lower(NUDGE);
    }
}
