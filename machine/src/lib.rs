//! The board: one PC, put together and run.
//!
//! [`Machine`] owns guest memory, the chips and the vCPUs, and runs them: up to eight vCPUs in
//! turn on the thread that calls [`Machine::run`], each for a slice of instructions. Everything
//! that happens by itself (timers, keys that arrive) happens between slices, or at an access
//! that shortens the slice. Guest time is the host's monotonic clock, handed in, or a count of
//! instructions; with the latter a run is a function of its inputs.
//!
//! | part | file |
//! |---|---|
//! | what a person configures | [`config`] |
//! | which engines there are (the only file that names them) | [`engines`] |
//! | which devices there are (the only file that lists them) | [`devices`] |
//! | the drives, and what is in them | [`drives`] |
//! | the networks, and which card has which | [`networks`] |
//! | the devices, each behind a lock | [`registry`] |
//! | what happens between devices and vCPUs, reset | [`board`] |
//! | which port and which address is whose | [`address_map`] |
//! | the board as one vCPU sees it | [`vcpu_bus`] |
//! | when devices want to be woken | [`timers`] |
//! | what comes from outside, stamped, logged and replayed | [`events`] |
//! | the log of a run, and a machine that replays it | `recording` |
//! | requests of devices that workers carry out | `completions` |
//! | the cables of the serial ports | `serial_line` |
//! | the cables of network cards | `network_line` |
//! | guest time | [`clock`] |
//! | slices, turns, idling, requests | [`run`] |
//! | the end of a slice by the host's clock | `slice_timer` |
//! | rests that take as long as they say, where time is counted | `pace` |
//! | what other threads may ask of a running machine | [`control`] |
//! | how it is done, while the vCPUs stand still | `obey` |
//! | what `info` and `x` show of it | `inspect` |
//! | what debuggers see and change, and where vCPUs stop for them | `debugger` |
//! | entering a guest that firmware planned | [`boot`] |
//! | how a run ends | [`exit`] |
//! | when the machine is another one to its guest | `generation` |
//! | the whole machine to a value and back, and to a file | [`save`] |
//! | another engine for a machine that runs | `switch` |
//! | what is traced, and by which vCPU | `trace` |
//! | what ports and addresses are called in traces | `labels` |
//! | two machines side by side, compared | [`lockstep`] |
//!
//! No file here reads the host's clock, randomness, environment or files: the program hands
//! them in.

pub mod address_map;
pub mod board;
pub mod boot;
pub mod clock;
mod completions;
pub mod config;
pub mod control;
mod debugger;
mod device_memory;
pub mod devices;
pub mod doorbells;
mod drives;
pub mod engines;
pub mod events;
pub mod exit;
pub mod generation;
mod inspect;
mod labels;
pub mod lockstep;
pub mod machine;
mod network_line;
pub mod networks;
mod obey;
mod pace;
mod recording;
pub mod registry;
pub mod run;
pub mod save;
mod serial_line;
mod slice_timer;
mod switch;
#[cfg(test)]
mod tests;
mod threads;
pub mod timers;
mod trace;
pub mod vcpu_bus;

pub use clock::HostClock;
pub use config::{BootConfig, BootDevice, ClockSource, MachineConfig, OnPanic, OnReset};
pub use control::trace::{TraceSpec, TraceTarget};
pub use control::{
    Answer, Command, CommandError, MachineControl, MachineEvent, Reply, Shot, ShotTaker, Viewer,
};
pub use devices::{DeviceConfig, DeviceError};
pub use engines::{Engine, EngineOptions, EngineStatus, Unusable};
pub use exit::{ExitReason, TripleFault};
pub use machine::{BootSource, HostServices, HostState, Machine, MachineError};
pub use switch::{PlannedSwitch, SwitchTime, Switched};
pub use trace::TraceOpener;
pub use trimotor_devices::drive::{DriveConfig, DrivePlace, Media, Medium, MediumError, OnDiskError};
pub use trimotor_devices::drive_limits::{DriveLimits, Rate, Rates};
pub use trimotor_devices::virtio::balloon::BalloonStatus;
pub use trimotor_devices::vmgenid::Guid;
