//! What all engines share about the CPU: architectural state, flags, segmentation,
//! exceptions, the page walk and the shadow page tables, CPUID models, and the traits
//! between machine and engine ([`CpuBackend`], [`Vcpu`]).
//!
//! No device is known here, and nothing of the host but its x86-64 instructions.

#[cfg(not(target_endian = "little"))]
compile_error!("guest registers and memory are accessed in place: the host must be little endian");

pub mod alu;
pub mod arch_check;
pub mod arch_difference;
pub mod arch_state;
pub mod backend;
pub mod code_observer;
pub mod debugger;
pub mod fault;
pub mod flags;
pub mod mmu;
pub mod model;
pub mod msr;
pub mod registers;
pub mod segment;
pub mod simd;
pub mod softfloat;
pub mod state;
pub mod trace;
pub mod x87;

pub use arch_difference::Difference;
pub use arch_state::ArchState;
pub use backend::{BackendError, CpuBackend, Vcpu, VcpuExit};
pub use debugger::{DebugPoints, DebugStop, WatchKind, Watchpoint};
pub use fault::Fault;
pub use segment::{SegReg, Segment, TableRegister};
pub use state::CpuState;
