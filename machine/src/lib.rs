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
//! | the devices, each behind a lock | [`registry`] |
//! | what happens between devices and vCPUs, reset | [`board`] |
//! | which port and which address is whose | [`address_map`] |
//! | the board as one vCPU sees it | [`vcpu_bus`] |
//! | when devices want to be woken | [`timers`] |
//! | requests of devices that workers carry out | `completions` |
//! | guest time | [`clock`] |
//! | slices, turns, idling, requests | [`run`] |
//! | the end of a slice by the host's clock | `slice_timer` |
//! | what other threads may do to a running machine | [`control`] |
//! | entering a guest that firmware planned | [`boot`] |
//! | how a run ends | [`exit`] |
//! | the whole machine to a value and back | [`save`] |
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
pub mod devices;
pub mod engines;
pub mod exit;
pub mod lockstep;
pub mod machine;
pub mod registry;
pub mod run;
pub mod save;
mod slice_timer;
#[cfg(test)]
mod tests;
mod threads;
pub mod timers;
pub mod vcpu_bus;

pub use clock::HostClock;
pub use config::{ClockSource, MachineConfig, OnPanic, OnReset};
pub use control::MachineControl;
pub use devices::{DeviceConfig, DeviceError};
pub use engines::{Engine, EngineOptions, EngineStatus, Unusable};
pub use exit::{ExitReason, TripleFault};
pub use machine::{BootSource, HostServices, Machine, MachineError};
