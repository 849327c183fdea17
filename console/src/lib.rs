//! What people look at and type into: the terminal display, its keyboard, serial ports.
//!
//! This crate faces the host. It draws the PC's VGA text screen in a terminal
//! ([`screen`], [`view`], [`render`]), turns what the terminal sends into key strokes of a
//! PC keyboard ([`decode`], [`keys`]), passes bytes between the terminal and a serial
//! port ([`escape`], [`session`]), shows its pictures ([`graphics`]) as the terminal can ([`abilities`], [`reports`]), waits for all of the host on one thread ([`reactor`]), and gives the terminal back as it was on every way
//! out ([`terminal`], [`traces`]). A running PC appears here as the small trait
//! [`session::Guest`]; the program implements it for the board.

pub mod abilities;
pub mod background_writer;
pub mod charset;
pub mod colours;
pub mod console_port;
pub mod decode;
mod desk;
pub mod duplex;
pub mod escape;
pub mod graphics;
pub mod input;
pub mod keys;
mod monitor_view;
pub mod mouse;
pub mod outlet;
pub mod overlay;
pub mod probe;
pub mod reactor;
pub mod render;
pub mod reports;
pub mod screen;
pub mod serial;
pub mod session;
pub mod silence;
pub mod status;
pub mod svg;
pub mod terminal;
pub mod traces;
pub mod view;
