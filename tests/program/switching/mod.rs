//! Another engine goes on with the guest while it runs.

pub mod boot;
pub mod command_line;
pub mod documents;
pub mod load;
pub mod lockstep;
