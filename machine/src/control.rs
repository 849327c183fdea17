//! What other threads may do to a running machine.
//!
//! [`MachineControl`] is a handle that is cheap to clone. Its methods return at once: they leave a
//! command, and the machine's thread takes it between two slices, within a fraction of a
//! millisecond. While the machine idles or is paused they wake it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use trimotor_bus::GuestTime;
use trimotor_devices::i8042::KeyCode;
use trimotor_devices::vga_text::TextScreen;

/// Commands that wait before keys are refused: a person's typing, not a paste.
const MAX_WAITING: usize = 256;

impl Command {
    /// Whether the vCPUs must stand still while it is done.
    pub(crate) fn concerns_vcpus(&self) -> bool {
        matches!(
            self,
            Command::Pause | Command::Resume | Command::Reset | Command::Statistics | Command::Quit
        )
    }
}

/// A command to the machine's thread.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Command {
    Key(KeyCode, bool),
    Text(String),
    Pause,
    Resume,
    Reset,
    PowerButton,
    Nmi,
    SerialBreak(usize),
    Statistics,
    Quit,
}

#[derive(Default)]
struct Inbox {
    commands: VecDeque<Command>,
    screen_wanted: bool,
}

#[derive(Default)]
struct Shared {
    /// The inbox or a back end has something: the one flag that the machine's thread looks at.
    attention: AtomicBool,
    inbox: Mutex<Inbox>,
    woken: Condvar,
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
        self.attend(&self.inbox());
    }
    /// A key goes down or up. Returns false where too many wait; try again later.
    pub fn key(&self, key: KeyCode, down: bool) -> bool {
        self.send_bounded(Command::Key(key, down))
    }
    /// Types text on a US keyboard. Returns false where too much waits; try again later.
    pub fn type_text(&self, text: &str) -> bool {
        self.send_bounded(Command::Text(text.to_owned()))
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
    /// Ends the run.
    pub fn quit(&self) {
        self.send(Command::Quit);
    }
    /// The text screen as it was a moment ago, `None` in graphics modes and before the first
    /// look; asks for a fresh one.
    pub fn screen(&self) -> Option<TextScreen> {
        let mut inbox = self.inbox();
        inbox.screen_wanted = true;
        self.attend(&inbox);
        drop(inbox);
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
    /// Raises the flag and wakes a sleeping machine. Holding the inbox makes this safe against a
    /// machine that is about to sleep.
    fn attend(&self, _inbox: &Inbox) {
        self.shared.attention.store(true, Ordering::Release);
        self.shared.woken.notify_all();
    }
    fn send(&self, command: Command) {
        let mut inbox = self.inbox();
        inbox.commands.push_back(command);
        self.attend(&inbox);
    }
    fn send_bounded(&self, command: Command) -> bool {
        let mut inbox = self.inbox();
        if inbox.commands.len() >= MAX_WAITING {
            return false;
        }
        inbox.commands.push_back(command);
        self.attend(&inbox);
        true
    }

    /// Whether the machine's thread has something to look at.
    #[inline]
    pub(crate) fn wants_attention(&self) -> bool {
        self.shared.attention.load(Ordering::Relaxed)
    }
    /// Lowers the flag.
    pub(crate) fn attended(&self) {
        self.shared.attention.store(false, Ordering::Release);
    }
    /// The oldest command.
    pub(crate) fn take_command(&self) -> Option<Command> {
        self.inbox().commands.pop_front()
    }
    /// Puts a command back that cannot be done yet.
    pub(crate) fn put_back(&self, command: Command) {
        self.inbox().commands.push_front(command);
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
    /// Sleeps until someone wants attention, at most for `limit`.
    pub(crate) fn sleep(&self, limit: Duration) {
        let inbox = self.inbox();
        if !self.wants_attention() {
            _ = self.shared.woken.wait_timeout(inbox, limit);
        }
    }
}
