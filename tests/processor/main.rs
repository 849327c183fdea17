//! What the manual says of traps, stacks, segments, page faults and NMI, on all engines: rules that programs
//! of user mode cannot show on the host's CPU.

#![allow(clippy::unwrap_used, reason = "tests in tables")]

mod bases;
mod breakpoints;
mod debug_traps;
mod nmi;
mod page_faults;
mod rig;
mod segments;
mod stacks;
mod stale_translations;
