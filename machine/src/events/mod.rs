//! External events: all that a guest cannot compute by itself.
//!
//! A guest's run follows from its configuration, what it boots, and what comes from outside: keys, bytes at a serial port,
//! results of I/O, frames from a network, what a person commands, the host's time. All of that passes [`Intake`], one
//! event at a time, on the machine's thread, and nothing else in the machine listens to the outside:
//!
//! ```text
//!   MachineControl (commands, keys) --+
//!   SerialLine (bytes, room, carrier) +--> Intake --> stamped, logged --> board and vCPUs
//!   NetworkLine (frames, carrier) ----+       ^
//!   Completions (results of I/O) -----+       |
//!                                             |  instead of all of them
//!                                        Replay (a log)
//! ```
//!
//! Where an event is taken is a [`Position`]. With guest time from a count of instructions, a machine that is made from the
//! same configuration and gets the same events at the same positions is the same at each instruction. So recording is
//! keeping the log, and replaying is reading it in the place of the host; devices and vCPUs know of neither.
//! With the host's clock the log says what came when, but cannot be replayed.
//!
//! **Positions that both runs have.** Nothing must be taken where only one of two runs stops. A run of a vCPU that somebody
//! outside ended early may stop within a repeated string instruction, or behind the delivery of a fault, and a replay, which
//! knows nothing of that somebody, would not stop there. So events are taken only where a run retired exactly the
//! instructions that it was given, or the vCPU halted. And what the machine does at one instruction is itself a sequence (an
//! alarm rings, a vCPU's turn begins, time skips ahead): [`Position::step`] counts it.
//!
//! What a device writes to the outside is no event, as the guest cannot see it. Whether there is room for it is one, where
//! the guest sees that: a serial port's transmitter stays busy ([`ExternalEvent::SerialRoom`]). The debug console takes
//! or loses each byte, and the guest sees neither.

pub(crate) mod check;
mod file;
mod frames;
mod input;
mod intake;
mod log;
mod medium;
pub mod recording_file;
mod replay;

pub use check::VcpuCheck;
pub use file::{read_events, write_events};
pub(crate) use intake::Intake;
pub use log::{EventLog, MemoryLog};
pub use medium::MediumFacts;
pub use recording_file::{EndV1, LogReader, LogWriter, RecordingV1, is_recording};
pub(crate) use replay::Replay;
pub use replay::{Difference, Divergence, EventSource, ReplayEnd};

use crate::control::Input;
use crate::networks::NetworkFacts;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use trimotor_devices::i8042::{KeyCode, Layout};
use trimotor_devices::pointer::PointerEvent;
use trimotor_net::Frame;

/// Where in a run an event is taken.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug, Serialize, Deserialize)]
pub struct Position {
    /// Instructions that all vCPUs have retired. Exact where vCPUs run in turn; where they run on threads of their own, what
    /// was known a moment ago.
    pub instructions: u64,
    /// How many times the machine did something of its own: an alarm, the begin of a turn, a request of the guest's.
    pub step: u64,
    /// Guest time in nanoseconds.
    pub time_ns: u64,
}

/// An event with its position. In a log, positions never go back.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TakenEvent {
    /// Where it was taken.
    pub at: Position,
    /// What came.
    pub event: ExternalEvent,
}

/// What came from outside.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ExternalEvent {
    /// The first event of a machine that was switched on.
    PowerOn(PowerOn),
    /// A key went down or up.
    Key(KeyCode, bool),
    /// These keys went down and up, one after the other.
    Keys(Vec<(KeyCode, bool)>),
    /// So much text was typed on a keyboard of that layout.
    Text(Layout, String),
    /// All keys and pointer buttons that were down went up.
    ReleaseAll,
    /// A hand did something with the pointing device.
    Pointer(PointerEvent),
    /// Bytes arrive at a serial port (COM1 is 0), for it to receive at the speed of its line.
    SerialInput {
        /// The port.
        port: usize,
        /// The bytes.
        #[serde(with = "serde_bytes")]
        bytes: Vec<u8>,
    },
    /// Somebody connected to a serial port, or left.
    SerialConnected {
        /// The port.
        port: usize,
        /// Whether there is somebody.
        connected: bool,
    },
    /// The other end of a serial port takes no more bytes for now, or does so again.
    SerialRoom {
        /// The port.
        port: usize,
        /// Whether there is room.
        room: bool,
    },
    /// A break arrives at a serial port.
    SerialBreak {
        /// The port.
        port: usize,
    },
    /// A device's request is done.
    Completion {
        /// The device, by its name on the board.
        device: String,
        /// The request's number there.
        request: u64,
        /// What its worker gave.
        #[serde(with = "serde_bytes")]
        result: Vec<u8>,
    },
    /// A frame arrives at a network card, which has room for it.
    Frame {
        /// The card, by its name on the board.
        device: String,
        /// The frame.
        frame: Frame,
    },
    /// The network at the other end of a card's cable was connected, or disconnected.
    Carrier {
        /// The card, by its name on the board.
        device: String,
        /// Whether it is connected.
        connected: bool,
    },
    /// A medium was taken out of a drive, or another one put in.
    MediumChange {
        /// The drive.
        drive: String,
        /// What there is of the medium now, if there is one: what is read from it comes with [`Completion`](Self::Completion)s.
        medium: Option<MediumFacts>,
        /// Whether a locked door was opened.
        force: bool,
    },
    /// So many bytes of memory are to be left for the guest.
    Balloon {
        /// Bytes.
        bytes: u64,
    },
    /// The guest is asked for memory that is free.
    BalloonHint,
    /// An NMI.
    Nmi,
    /// The power button.
    PowerButton,
    /// The reset button.
    Reset,
    /// The run was ended.
    Quit,
    /// A network card was asked for room for a frame, and has none. So it has its driver tell when there is some, which the guest sees.
    NoRoom {
        /// The card, by its name on the board.
        device: String,
        /// The frame that it did not take, if one was tried.
        frame: Option<Frame>,
    },
    /// Nothing came: where the vCPUs were, so that a replay can see whether it is still the same run.
    Check(Vec<VcpuCheck>),
    /// All vCPUs halt, and of what they wait for so much is over: see [`Machine::keep_pace`](crate::Machine::keep_pace).
    TimePassed {
        /// Guest time in nanoseconds.
        until_ns: u64,
    },
    /// The card tried the same frame as it did last, and has no room yet.
    NoRoomAgain {
        /// The card, by its name on the board.
        device: String,
    },
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { instructions, step, time_ns } = self;
        write!(f, "{instructions} instructions (step {step}, {}.{:09} s)", time_ns / NS, time_ns % NS)
    }
}

/// Nanoseconds of a second.
const NS: u64 = 1_000_000_000;

/// In a few words, whatever comes with it.
impl fmt::Display for ExternalEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SerialInput { port, bytes } => write!(f, "{} bytes for COM{}", bytes.len(), port + 1),
            Self::Completion { device, request, result } => {
                write!(f, "the end of request {request} of {device} ({} bytes)", result.len())
            }
            Self::Frame { device, frame } => write!(f, "a frame of {} bytes for {device}", frame.bytes.len()),
            Self::NoRoom { device, .. } | Self::NoRoomAgain { device } => {
                write!(f, "{device} without room for a frame")
            }
            Self::Text(_, text) => write!(f, "{} typed characters", text.chars().count()),
            Self::Keys(keys) => write!(f, "{} keys", keys.len()),
            Self::PowerOn(_) => f.write_str("the power button"),
            Self::Check(_) => f.write_str("a comparison of registers"),
            Self::TimePassed { until_ns } => {
                write!(f, "a rest until {}.{:09} s", until_ns / NS, until_ns % NS)
            }
            event => write!(f, "{event:?}"),
        }
    }
}

/// What the host says once, when a machine is switched on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PowerOn {
    /// The time of day that the real-time clock begins with, in seconds since 1970.
    pub rtc_seconds: i64,
    /// The seed of RDRAND and RDSEED.
    pub random_seed: u64,
    /// Whether somebody is at the other end of each serial port, COM1 first.
    pub serial_connected: Vec<bool>,
    /// What the machine sees of its networks, by their ids.
    pub networks: BTreeMap<String, NetworkFacts>,
}

impl From<Input> for ExternalEvent {
    fn from(input: Input) -> ExternalEvent {
        match input {
            Input::Key(key, down) => ExternalEvent::Key(key, down),
            Input::Keys(keys) => ExternalEvent::Keys(keys),
            Input::Text(layout, text) => ExternalEvent::Text(layout, text),
            Input::ReleaseAll => ExternalEvent::ReleaseAll,
            Input::Pointer(event) => ExternalEvent::Pointer(event),
        }
    }
}
