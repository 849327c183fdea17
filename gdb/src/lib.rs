//! The gdb stub: gdb's remote protocol at the other end of a stream of bytes.
//!
//! ```text
//!   bytes --> gdbstub's state machine --> Target --> the machine, by its handle
//!     ^                                     |
//!     +----- Session <--- MachineEvent -----+------> the monitor's commands
//! ```
//!
//! | part | file |
//! |---|---|
//! | one peer: what it sends, what it is told | [`session`] |
//! | what gdb may ask of the machine | [`target`] |
//! | breakpoints and watchpoints | `points` |
//! | the registers, by view | [`registers`] |
//! | the x87 unit as gdb has it | [`x87`] |
//! | the target description: the registers as XML | [`description`] |
//!
//! Packets are the crate gdbstub's business. A session knows no socket: whoever has one hands in what came
//! ([`session::Happening`]) and writes what goes out.

pub mod description;
mod points;
pub mod registers;
pub mod session;
pub mod target;
pub mod x87;

pub use registers::View;
pub use session::{End, Happening, Session};
