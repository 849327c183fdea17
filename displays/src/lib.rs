//! The guest's screen for people elsewhere: VNC viewers, browsers, picture files.
//!
//! Each server ([`server`]) has a thread that takes connections, and each connection a thread of its own, which waits for
//! its peer, for changes of the screen, and for nothing else ([`connection`]). What a peer says goes to a session, which
//! knows no socket: [`rfb`] speaks VNC's protocol, [`web`] that of the page that this crate serves. A session has its own
//! copy of the picture and its own list of what is new in it, so that a peer that is slow, stopped or hostile concerns neither
//! the guest nor others: what it does not take is not encoded, and changes add up meanwhile.
//!
//! The running PC appears as the trait [`guest::Guest`]; the program implements it for the machine.

pub mod connection;
#[doc(hidden)]
pub mod fuzzing;
pub mod guest;
mod http;
pub mod keys;
pub mod picture_file;
pub mod rfb;
pub mod secrets;
pub mod serial_tap;
pub mod server;
#[cfg(test)]
mod testing;
pub mod web;
pub mod window;

pub use guest::{Bells, Guest, Status, View};
pub use serial_tap::SerialTap;
pub use server::{Access, Listen, Server, ServerError, Service};
