//! Tests of the system part: what no host process can run natively.
#![allow(clippy::unwrap_used, clippy::type_complexity, clippy::precedence, reason = "tests in tables")]

mod debug;
mod flags;
mod gates;
mod interrupts;
mod iret;
mod machine_check;
mod modes;
mod newer;
mod paging;
mod pairs;
mod rig;
mod segments;
mod shadow;
mod system;
mod tasks;
mod v86;
