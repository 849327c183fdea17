//! The monitor: commands as text, typed by people and by programs, at the other end of a stream of bytes.
//!
//! ```text
//!   bytes --> LineEditor --> a line --> Order (two tables) --> the machine, by its handle
//!     ^           |                          |                   +--> the host, as the trait Host
//!     +-- echo ---+                          v
//!     +---------------------------------- a text
//! ```
//!
//! | part | file |
//! |---|---|
//! | one peer: what it types, what it is told | [`session`] |
//! | editing a line, history | [`editor`] |
//! | which commands there are beside the machine's | [`commands`] |
//! | how they are carried out | [`obey`] |
//! | what Tab offers | [`complete`] |
//! | answers as text, help | [`text`] |
//! | what the program does for a monitor | [`host`] |
//!
//! The machine's own commands are [`DEFINITIONS`](trimotor_machine::control::DEFINITIONS); names and forms are those of QEMU's monitor. A
//! session knows no socket and no terminal: whoever has one reads from it and writes to it, on a thread that may wait.

pub mod commands;
pub mod complete;
pub mod editor;
pub mod host;
pub mod obey;
pub mod session;
pub mod text;

pub use host::Host;
pub use obey::Monitor;
pub use session::Session;
