//! `--monitor`: commands typed at sockets, pseudo-terminals and the terminal.

pub mod client;
pub mod commands;
pub mod commit;
pub mod document;
pub mod hostile;
pub mod linux;
pub mod terminal;
