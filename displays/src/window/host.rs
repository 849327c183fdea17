//! What a window needs of the host's window system, as a trait: X11 and Wayland implement it, and tests.

use std::os::fd::BorrowedFd;
use trimotor_devices::display::Rect;
use trimotor_devices::i8042::KeyCode;

/// Something that came from the window system. Places are in the window's pixels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Input {
    /// A key went down or up. Repeats may come as going down again.
    Key {
        /// Which one, by its place.
        key: KeyCode,
        /// Whether it is down.
        down: bool,
    },
    /// Keys go to another window from now on.
    FocusLost,
    /// The pointer is here.
    At {
        /// From the left.
        x: i32,
        /// From the top.
        y: i32,
    },
    /// The pointer, which is grabbed, was moved by so much.
    Moved {
        /// To the right.
        dx: i32,
        /// Down.
        dy: i32,
    },
    /// A button went down or up, numbered from 1 as X has them: left, middle, right, wheel up, down, left, right, back, forward.
    Button {
        /// The number.
        number: u8,
        /// Whether it is down.
        down: bool,
    },
    /// The window has this size now.
    Resized {
        /// In pixels.
        width: usize,
        /// In pixels.
        height: usize,
    },
    /// What was drawn in this part is lost.
    Exposed(Rect),
    /// Whether anything of the window can be seen.
    Shown(bool),
    /// What was drawn up to [`Host::end_frame`] is on its way to the screen: more may be drawn.
    FrameTaken,
    /// The person closed the window.
    Closed,
}

/// What is grabbed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Grab {
    /// The pointer, which is hidden and kept in the window, and tells of moves; and the keyboard.
    Pointer,
    /// The keyboard: keys that the desktop has for itself come here too.
    Keyboard,
}

/// The window system is gone, or the window is.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Lost(pub String);

/// A window of the host's window system. What it is told takes effect at [`flush`](Self::flush) at the latest.
pub trait Host {
    /// What came since it was asked last. Never waits for more.
    ///
    /// # Errors
    /// The window is gone.
    fn inputs(&mut self) -> Result<Vec<Input>, Lost>;
    /// Becomes readable when there may be inputs.
    fn descriptor(&self) -> BorrowedFd<'_>;
    /// The screen's width and height in pixels, where that is known.
    fn screen(&self) -> Option<(usize, usize)>;
    /// Shows the window, of this size, and with this title.
    ///
    /// # Errors
    /// The window is gone.
    fn show(&mut self, size: (usize, usize), title: &str) -> Result<(), Lost>;
    /// The title.
    ///
    /// # Errors
    /// The window is gone.
    fn set_title(&mut self, title: &str) -> Result<(), Lost>;
    /// Wants another size, in pixels. [`Input::Resized`] says what it has become.
    ///
    /// # Errors
    /// The window is gone.
    fn set_size(&mut self, size: (usize, usize)) -> Result<(), Lost>;
    /// Fills the screen, or does so no longer.
    ///
    /// # Errors
    /// The window is gone.
    fn toggle_full_screen(&mut self) -> Result<(), Lost>;
    /// Whether the host's pointer can be seen over the window while nothing is grabbed.
    ///
    /// # Errors
    /// The window is gone.
    fn set_pointer_visible(&mut self, visible: bool) -> Result<(), Lost>;
    /// Grabs, or lets go of what is grabbed; false where another program has it, or the window system has no such thing.
    ///
    /// # Errors
    /// The window is gone.
    fn grab(&mut self, grab: Option<Grab>) -> Result<bool, Lost>;
    /// Draws a part: its pixels line after line, each 00RRGGBBh.
    ///
    /// # Errors
    /// The window is gone.
    fn draw(&mut self, part: Rect, pixels: &[u32]) -> Result<(), Lost>;
    /// All of a frame was drawn. [`Input::FrameTaken`] comes when the next may begin.
    ///
    /// # Errors
    /// The window is gone.
    fn end_frame(&mut self) -> Result<(), Lost>;
    /// Sends what was not sent yet.
    ///
    /// # Errors
    /// The window is gone.
    fn flush(&mut self) -> Result<(), Lost>;
}
