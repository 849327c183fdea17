//! Another engine goes on with the guest while it runs.

pub mod boot;
pub mod command_line;
pub mod documents;
pub mod kvm;
pub mod load;
pub mod lockstep;
