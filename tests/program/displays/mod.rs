//! The guest's screen as viewers see it: ours, real ones, a browser, and files.

mod compositor;
mod drawing_guest;
mod kept_terminal;
mod picture;
pub mod screenshots;
mod seen;
pub mod sixel_reader;
pub mod terminal_pictures;
pub mod tmux;
pub mod viewer;
pub mod vnc;
pub mod web;
mod webdriver;
pub mod window;
pub mod window_input;
pub mod window_wayland;
mod xserver;
