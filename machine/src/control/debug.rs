//! What debuggers ask of a machine.

use trimotor_cpu::{ArchState, DebugPoints};

/// A request of a debugger. All are done while the vCPUs stand still.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DebugRequest {
    /// Stops the machine, as [`Command::Pause`](super::Command::Pause) does. From now on a triple fault stops it too, the first
    /// time.
    Attach,
    /// Takes all points away.
    Detach {
        /// Whether the machine goes on.
        resume: bool,
    },
    /// A vCPU's state: [`Reply::State`](super::Reply::State).
    State {
        /// The vCPU.
        cpu: usize,
    },
    /// Changes a vCPU's state.
    SetState {
        /// The vCPU.
        cpu: usize,
        /// What it is to be.
        state: Box<ArchState>,
    },
    /// Memory, as far as it can be read: [`Reply::Bytes`](super::Reply::Bytes).
    Read {
        /// Where it begins.
        at: DebugAddress,
        /// How many bytes, [`MOST_BYTES`] at most.
        bytes: usize,
    },
    /// Writes memory: RAM, or that of a device. Nothing is written where a part of it cannot be.
    Write {
        /// Where it begins.
        at: DebugAddress,
        /// What is written, [`MOST_BYTES`] at most.
        bytes: Vec<u8>,
    },
    /// Goes on until a vCPU stops, which [`MachineEvent::Stopped`](super::MachineEvent::Stopped) tells;
    /// [`MachineEvent::Resumed`](super::MachineEvent::Resumed) comes before that in any case.
    Resume {
        /// Where vCPUs stop.
        points: DebugPoints,
        /// What each vCPU does, the first one first; those that are not there go on.
        actions: Vec<DebugAction>,
    },
}

/// The most bytes that are read or written at a time.
pub const MOST_BYTES: usize = 1 << 16;

/// An address as a debugger means it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DebugAddress {
    /// A linear address, by the page tables of a vCPU.
    Linear {
        /// The vCPU.
        cpu: usize,
        /// The address.
        address: u64,
    },
    /// A guest-physical address.
    Physical(u64),
}

/// What a vCPU does when a debugger lets the machine go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DebugAction {
    /// It runs.
    Continue,
    /// It runs one instruction: see [`Vcpu::set_stepping`](trimotor_cpu::Vcpu::set_stepping).
    Step,
    /// It stands still.
    Hold,
}
