//! What a debugger outside the guest asks of a vCPU: breakpoints, watchpoints, single steps.
//!
//! None of it is visible to the guest: DR0 to DR7, RFLAGS.TF and RFLAGS.RF are the guest's own, and no byte of its memory
//! is replaced. All addresses are linear.

/// Where a vCPU is to stop.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DebugPoints {
    /// Before the instructions at these linear addresses.
    pub breakpoints: Vec<u64>,
    /// After instructions that access this memory.
    pub watchpoints: Vec<Watchpoint>,
}

/// Memory whose accesses stop the vCPU that makes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watchpoint {
    /// The first linear address.
    pub address: u64,
    /// Bytes.
    pub bytes: u64,
    /// Which accesses.
    pub kind: WatchKind,
}

/// Which accesses a watchpoint is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchKind {
    /// Writes.
    Write,
    /// Reads.
    Read,
    /// Both.
    Access,
}

impl WatchKind {
    /// Whether it is for writes, or for reads.
    pub fn includes(self, write: bool) -> bool {
        match self {
            WatchKind::Write => write,
            WatchKind::Read => !write,
            WatchKind::Access => true,
        }
    }
}

/// Why a vCPU stopped for the debugger, between two instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DebugStop {
    /// A breakpoint is at the next instruction.
    Breakpoint,
    /// The last instruction, or the event that was delivered last, accessed watched memory.
    Watchpoint(Watchpoint),
    /// The step that was asked for is done.
    Step,
    /// The vCPU met a triple fault, and is in shutdown.
    Shutdown,
}
