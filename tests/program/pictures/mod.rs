//! Graphical guests that nobody here wrote, looked at through the display adapter and VNC: menus of boot loaders, Debian's
//! graphical installer, X.Org, Linux's consoles.
//!
//! What such a picture must be is asked of others: QEMU shows the same medium, the guest's own files have its fonts and logos,
//! and a text recognizer reads what people would read. Pictures that were looked at are kept in `target/test-artefacts`.

pub mod clients;
pub mod consoles;
mod font;
pub mod installer;
pub mod menus;
pub mod picture;
mod qemu;
pub mod screen;
pub mod x;
