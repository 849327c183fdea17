//! The control plane: what other threads may ask of a machine, and what it tells them.
//!
//! [`MachineControl`] is a handle that is cheap to clone; all holders have equal rights. Its methods return at once. A
//! [`Command`] waits in a queue; the machine's thread takes it as soon as the vCPU that runs has been kicked, which
//! [`send`](MachineControl::send) does, and answers through the [`Answer`] that `send` gave. What happens to the machine as a
//! whole is told to observers as [`MachineEvent`]s.
//!
//! Commands never wait for the guest. What the guest may not be ready for (keys, text) waits in a queue of its own
//! (`input`), and the end of the run is a flag: neither can stand in the way of the other.

pub mod command;
pub mod debug;
pub mod definition;
pub mod expression;
pub mod format;
mod input;
pub mod media;
mod pictures;
pub mod reply;
mod shots;
pub mod trace;

pub use command::{Command, CommandError, DEFINITIONS, Look, Outcome};
pub use debug::{DebugAction, DebugAddress, DebugRequest};
pub use definition::{Definition, ParseError, Summary, Words};
pub use media::MediumAnswer;
pub use pictures::Viewer;
pub use reply::{Answer, Counts, DriveStatus, MachineEvent, Reply, Status};
pub use shots::{Shot, ShotTaker};

use crate::engines::Engine;
use crate::switch::Switched;
pub(crate) use input::Input;
use reply::ReplyTo;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use trimotor_bus::event_flags::EventFlags;
use trimotor_bus::{GuestTime, VcpuSignals};
use trimotor_devices::i8042::Layout;
use trimotor_devices::vga::TextScreen;

/// Commands that wait before more are refused. The machine takes them within milliseconds.
const MAX_COMMANDS: usize = 256;

/// The inbox or a back end has something: the machine's thread must look at both.
const ATTENTION: u32 = 1 << 0;
/// The run must end.
const QUIT: u32 = 1 << 1;
/// Something else has changed that the machine's thread may sleep for: an alarm, the end of a vCPU's thread.
const NUDGE: u32 = 1 << 2;

/// `running` where no vCPU runs on the machine's thread.
const NOBODY: usize = usize::MAX;

/// A command that waits.
pub(crate) struct Waiting {
    pub(crate) command: Command,
    pub(crate) reply_to: ReplyTo,
}

#[derive(Default)]
struct Inbox {
    commands: VecDeque<Waiting>,
    input: VecDeque<Input>,
    media: VecDeque<media::MediumChange>,
    /// There is no machine any more.
    closed: bool,
}

type Observer = Box<dyn Fn(&MachineEvent) + Send + Sync>;

struct Shared {
    /// What the machine's thread looks at, and sleeps on.
    flags: EventFlags,
    /// The pins of the vCPUs, once there is a machine.
    vcpus: OnceLock<Vec<Arc<VcpuSignals>>>,
    /// The vCPU that runs on the machine's thread, or [`NOBODY`].
    running: AtomicUsize,
    inbox: Mutex<Inbox>,
    observers: Mutex<Vec<Observer>>,
    screen: Mutex<Option<TextScreen>>,
    pictures: pictures::SharedPictures,
    shots: shots::Shots,
    /// Somebody took the screen that was published last, and may want the next one.
    screen_wanted: AtomicBool,
    time_ns: AtomicU64,
    instructions: AtomicU64,
    paused: AtomicBool,
    engine: Mutex<Engine>,
    /// The bits of [`Leds`](trimotor_devices::i8042::Leds).
    leds: AtomicU8,
    pointer_is_absolute: AtomicBool,
    layout: Mutex<Layout>,
}

/// The handle.
#[derive(Clone)]
pub struct MachineControl {
    shared: Arc<Shared>,
}

impl Default for MachineControl {
    fn default() -> Self {
        let shared = Shared {
            flags: EventFlags::new(),
            vcpus: OnceLock::new(),
            running: AtomicUsize::new(NOBODY),
            inbox: Mutex::default(),
            observers: Mutex::default(),
            screen: Mutex::default(),
            pictures: Mutex::default(),
            shots: shots::Shots::default(),
            screen_wanted: AtomicBool::new(false),
            time_ns: AtomicU64::new(0),
            instructions: AtomicU64::new(0),
            paused: AtomicBool::new(false),
            engine: Mutex::new(Engine::Interp),
            leds: AtomicU8::new(0),
            pointer_is_absolute: AtomicBool::new(false),
            layout: Mutex::default(),
        };
        Self { shared: Arc::new(shared) }
    }
}

impl std::fmt::Debug for MachineControl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MachineControl").field("guest_time", &self.guest_time()).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// For everybody.
impl MachineControl {
    /// Has the machine do something.
    pub fn send(&self, command: Command) -> Answer {
        let (reply_to, answer) = Answer::new();
        let mut inbox = lock(&self.shared.inbox);
        let refused = if inbox.closed {
            Some(CommandError::Ended)
        } else if inbox.commands.len() >= MAX_COMMANDS {
            log::warn!("{command} is refused: the machine has not taken the commands before it");
            Some(CommandError::TooMany(MAX_COMMANDS))
        } else {
            None
        };
        if let Some(error) = refused {
            drop(inbox);
            // It has room for the one answer.
            let _ = reply_to.try_send(Err(error));
            return answer;
        }
        if command == Command::Quit {
            drop(inbox);
            self.quit();
            let _ = reply_to.try_send(Ok(Reply::Done));
            return answer;
        }
        inbox.commands.push_back(Waiting { command, reply_to });
        drop(inbox);
        self.wake();
        answer
    }
    /// Calls `observer` with each event from now on, on the machine's thread, for as long as there is a handle. It must
    /// return at once.
    pub fn observe(&self, observer: impl Fn(&MachineEvent) + Send + Sync + 'static) {
        lock(&self.shared.observers).push(Box::new(observer));
    }
    /// Tells the observers of something that happened.
    pub fn tell(&self, event: &MachineEvent) {
        lock(&self.shared.observers).iter().for_each(|observer| observer(event));
    }
    /// Wakes the machine to look at its back ends: a serial port has input, or room for output.
    pub fn wake(&self) {
        self.shared.flags.raise(ATTENTION);
        // After the flag, as the machine's thread looks at it after it said which vCPU runs: one of the two sees the other.
        fence(Ordering::SeqCst);
        if let Some(vcpus) = self.shared.vcpus.get()
            && let Some(signals) = vcpus.get(self.shared.running.load(Ordering::Relaxed))
        {
            signals.raise(VcpuSignals::KICK);
        }
    }
    /// Ends the run, whatever else waits.
    pub fn quit(&self) {
        self.shared.flags.raise(QUIT);
        self.wake();
    }
    /// Ends the run when the slice that runs is over, so that the guest finishes the line that it writes.
    pub fn quit_after_slice(&self) {
        self.shared.flags.raise(QUIT | ATTENTION);
    }
    /// The text screen as it was a moment ago, `None` in graphics modes and before the first
    /// look. Observers are told of the next one that is another ([`MachineEvent::ScreenChanged`]).
    pub fn screen(&self) -> Option<TextScreen> {
        self.shared.screen_wanted.store(true, Ordering::Relaxed);
        lock(&self.shared.screen).clone()
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
    /// The engine that drives the vCPUs.
    pub fn engine(&self) -> Engine {
        *lock(&self.shared.engine)
    }
}

/// For the machine's own thread.
impl MachineControl {
    /// These are the vCPUs that a wake-up kicks.
    pub(crate) fn set_vcpus(&self, signals: Vec<Arc<VcpuSignals>>) {
        // A handle has one machine.
        let _ = self.shared.vcpus.set(signals);
    }
    /// A vCPU is about to run on the machine's thread. Where it must not, as something waits already, returns false.
    pub(crate) fn begin_slice(&self, cpu: usize) -> bool {
        self.shared.running.store(cpu, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let may_run = !self.wants_attention();
        if !may_run {
            self.end_slice();
        }
        may_run
    }
    /// It runs no more.
    pub(crate) fn end_slice(&self) {
        self.shared.running.store(NOBODY, Ordering::Relaxed);
    }
    /// There is no machine any more: answers to commands that wait, and to those that come, say so.
    pub(crate) fn close(&self) {
        let mut inbox = lock(&self.shared.inbox);
        inbox.closed = true;
        inbox.commands.clear();
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
    /// The oldest command, where it is one of those that `wanted` accepts.
    pub(crate) fn take_command_if(&self, wanted: impl FnOnce(&Command) -> bool) -> Option<Waiting> {
        lock(&self.shared.inbox).commands.pop_front_if(|waiting| wanted(&waiting.command))
    }
    /// Whether a command waits.
    pub(crate) fn has_command(&self) -> bool {
        !lock(&self.shared.inbox).commands.is_empty()
    }
    /// Whether somebody may want another screen than that published last.
    pub(crate) fn wants_screen(&self) -> bool {
        self.shared.screen_wanted.load(Ordering::Relaxed)
    }
    pub(crate) fn publish_screen(&self, screen: Option<TextScreen>) {
        *lock(&self.shared.screen) = screen;
        self.shared.screen_wanted.store(false, Ordering::Relaxed);
        self.tell(&MachineEvent::ScreenChanged);
    }
    pub(crate) fn publish_progress(&self, time: GuestTime, instructions: u64) {
        self.shared.time_ns.store(time.ns(), Ordering::Relaxed);
        self.shared.instructions.store(instructions, Ordering::Relaxed);
    }
    pub(crate) fn publish_engine(&self, engine: Engine) {
        *lock(&self.shared.engine) = engine;
    }
    pub(crate) fn publish_switch(&self, switched: Switched) {
        self.publish_engine(switched.to);
        self.tell(&MachineEvent::EngineSwitched(switched));
    }
    pub(crate) fn publish_paused(&self, paused: bool) {
        if self.shared.paused.swap(paused, Ordering::Relaxed) != paused {
            self.tell(if paused { &MachineEvent::Paused } else { &MachineEvent::Resumed });
        }
    }
    /// Sleeps until something wakes the machine's thread, at most for `limit`.
    pub(crate) fn sleep(&self, limit: Duration) {
        self.shared.flags.sleep(ATTENTION | NUDGE, limit);
        self.shared.flags.lower(NUDGE);
    }
}
