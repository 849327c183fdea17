//! What the machine answers, and what it tells by itself.

use super::command::{CommandError, Outcome};
use crate::engines::Engine;
use crate::exit::ExitReason;
use crate::save::MachineStateV1;
use crate::switch::Switched;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::time::Duration;
use trimotor_bus::GuestTime;
use trimotor_cpu::{ArchState, DebugStop};
use trimotor_devices::drive::DriveConfig;
use trimotor_devices::i8042::Leds;
use trimotor_devices::virtio::balloon::BalloonStatus;

/// What a vCPU counted: see [`Vcpu::statistics`](trimotor_cpu::Vcpu::statistics).
pub type Counts = Vec<(String, u64)>;

/// The machine's answer to a command that was done.
#[derive(Clone, Debug)]
pub enum Reply {
    /// There is nothing to say.
    Done,
    /// The machine.
    Saved(Box<MachineStateV1>),
    /// What the vCPUs counted.
    Statistics {
        /// The engine that drives them.
        engine: Engine,
        /// What each counted.
        vcpus: Vec<Counts>,
    },
    /// The engine that drives the vCPUs.
    Engine(Engine),
    /// Another engine drives the vCPUs, or the same as before.
    Switched(Switched),
    /// Each device's name with a line about it.
    Devices(Vec<(String, String)>),
    /// Each network's id with what its back end says.
    Networks(Vec<(String, String)>),
    /// The drives.
    Drives(Vec<DriveStatus>),
    /// How far the machine is.
    Status(Status),
    /// How the balloon is doing.
    Balloon(BalloonStatus),
    /// Lines for people.
    Text(String),
    /// A vCPU's state.
    State(Box<ArchState>),
    /// What memory holds.
    Bytes(Vec<u8>),
}

/// A drive, and what is in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DriveStatus {
    /// Its properties.
    pub config: DriveConfig,
    /// The size of what is in it, in bytes; nothing where it is empty.
    pub bytes: Option<u64>,
    /// What is in it cannot be written.
    pub read_only: bool,
}

/// How far a machine is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Status {
    /// Whether it is paused.
    pub paused: bool,
    /// The engine that drives its vCPUs.
    pub engine: Engine,
    /// Guest time.
    pub time: GuestTime,
    /// Instructions that all vCPUs have retired.
    pub instructions: u64,
}

/// The answer that is to come. May be dropped: the command is done all the same.
#[derive(Debug)]
pub struct Answer {
    outcome: Receiver<Outcome>,
}

/// What the machine answers to.
pub(crate) type ReplyTo = SyncSender<Outcome>;

impl Answer {
    /// An answer and what gives it.
    pub(crate) fn new() -> (ReplyTo, Answer) {
        let (sender, outcome) = sync_channel(1);
        (sender, Answer { outcome })
    }
    /// Waits for the answer. The machine must run, or run soon, on another thread.
    ///
    /// # Errors
    /// See [`CommandError`].
    pub fn wait(self) -> Outcome {
        self.outcome.recv().unwrap_or(Err(CommandError::Ended))
    }
    /// Waits for the answer for so long; `None` where none came.
    pub fn wait_for(&self, limit: Duration) -> Option<Outcome> {
        match self.outcome.recv_timeout(limit) {
            Ok(outcome) => Some(outcome),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(Err(CommandError::Ended)),
        }
    }
    /// The answer, if it has come.
    pub fn try_take(&self) -> Option<Outcome> {
        match self.outcome.try_recv() {
            Ok(outcome) => Some(outcome),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Err(CommandError::Ended)),
        }
    }
}

/// What happened to the machine as a whole, whoever caused it.
#[derive(Clone, PartialEq, Debug)]
pub enum MachineEvent {
    /// The vCPUs and guest time stand still.
    Paused,
    /// They go on.
    Resumed,
    /// A vCPU stopped for a debugger, between two instructions; [`Paused`](Self::Paused) follows.
    Stopped {
        /// The vCPU.
        cpu: usize,
        /// Why.
        stop: DebugStop,
    },
    /// The machine was reset, and starts over.
    Reset,
    /// Another engine drives the vCPUs, or was asked for and does already.
    EngineSwitched(Switched),
    /// The text screen that [`MachineControl::screen`](crate::MachineControl::screen) gives is another one.
    ScreenChanged,
    /// The guest switched the keyboard's indicators.
    LedsChanged(Leds),
    /// The guest takes positions of the pointer from now on, or only its moves: see
    /// [`MachineControl::pointer_is_absolute`](crate::MachineControl::pointer_is_absolute).
    PointerModeChanged {
        /// Whether it takes positions.
        absolute: bool,
    },
    /// The guest reported that its kernel panicked.
    Panicked,
    /// A text that is watched for came out of a serial port.
    WatchHit(String),
    /// The run is over.
    Ended(ExitReason),
}
