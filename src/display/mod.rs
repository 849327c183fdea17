//! `--display`: where the guest is shown, in several ways at a time.
//!
//! [`spec`] reads the list, [`choose`] decides with the host what of it can be had. One way at most is on the terminal,
//! where the program's main thread runs it; the others, a window among them, have threads of their own ([`servers`]).

mod choose;
pub mod screenshots;
mod servers;
mod spec;

pub use choose::{Chosen, choose, doctor, tell_keys, way_out};
pub use servers::{Servers, Wiring};
pub use spec::{DISPLAY_HELP, DisplayList};
