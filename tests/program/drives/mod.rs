//! Drives, with drivers and programs of Debian's in the guest, and the host's tools to look at what they left.

pub mod cds;
pub mod disks;
pub mod failing_hosts;
pub mod floppies;
pub mod guest;
pub mod host_errors;
pub mod killed;
pub mod writer;
