//! The pointer while it is grabbed.
//!
//! X tells where the pointer is, and it stops at the screen's edge. So it is sent back to the window's middle whenever it is
//! far from there. What the server tells after it did so begins with the middle: each event has the number of the last request
//! that the server carried out before it, and that tells the two apart.

use x11rb::connection::Connection;
use x11rb::errors::ReplyOrIdError;
use x11rb::protocol::xproto::{ConnectionExt as _, Cursor, EventMask};
use x11rb::rust_connection::RustConnection;

/// What is told of the pointer.
pub fn events() -> EventMask {
    EventMask::BUTTON_PRESS | EventMask::BUTTON_RELEASE | EventMask::POINTER_MOTION
}

/// See the module's documentation. Places are in the window's pixels.
#[derive(Default, Debug)]
pub struct Pointer {
    at: (i32, i32),
    /// It was sent to a place by the request of this number, which the server may not have come to.
    sent: Option<(u16, (i32, i32))>,
}

impl Pointer {
    /// It is sent to a place by a request of that number.
    pub fn sent_to(&mut self, request: u16, place: (i32, i32)) {
        self.sent = Some((request, place));
    }
    /// An event tells that it is at a place; `request` was carried out last before that. Returns how far it was moved.
    pub fn moved(&mut self, request: u16, to: (i32, i32)) -> (i32, i32) {
        if let Some((sent, place)) = self.sent
            // Numbers have 16 bits; those of the last 32,768 requests are after it.
            && request.wrapping_sub(sent) < 1 << 15
        {
            self.at = place;
            self.sent = None;
        }
        let from = std::mem::replace(&mut self.at, to);
        (to.0 - from.0, to.1 - from.1)
    }
    /// Whether it is to be sent to the middle of a window of that size.
    pub fn must_go_back(&self, size: (usize, usize)) -> bool {
        let far = |at: i32, length: usize| {
            let length = length as i32;
            (at - length / 2).abs() > length / 4
        };
        self.sent.is_none() && (far(self.at.0, size.0) || far(self.at.1, size.1))
    }
}

/// A cursor without a pixel.
///
/// # Errors
/// The connection fails.
pub fn no_cursor(connection: &RustConnection, window: u32) -> Result<Cursor, ReplyOrIdError> {
    let (pixmap, cursor) = (connection.generate_id()?, connection.generate_id()?);
    connection.create_pixmap(1, pixmap, window, 1, 1)?;
    // What the pixmap has does not matter, but it must be nothing: a graphics context clears it.
    let graphics = connection.generate_id()?;
    connection.create_gc(graphics, pixmap, &Default::default())?;
    let dot = x11rb::protocol::xproto::Rectangle { x: 0, y: 0, width: 1, height: 1 };
    connection.poly_fill_rectangle(pixmap, graphics, &[dot])?;
    connection.free_gc(graphics)?;
    connection.create_cursor(cursor, pixmap, pixmap, 0, 0, 0, 0, 0, 0, 0, 0)?;
    connection.free_pixmap(pixmap)?;
    Ok(cursor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn going_back_is_no_move() {
        let mut pointer = Pointer::default();
        pointer.sent_to(65_530, (50, 50));
        // The server told this before it came to the request, and this after.
        assert_eq!(pointer.moved(65_529, (10, 10)), (10, 10));
        assert_eq!(pointer.moved(65_529, (12, 9)), (2, -1));
        assert_eq!(pointer.moved(65_530, (50, 50)), (0, 0));
        assert_eq!(pointer.moved(65_530, (53, 50)), (3, 0));
        assert!(!pointer.must_go_back((100, 100)));
        assert_eq!(pointer.moved(65_531, (80, 50)), (27, 0));
        assert!(pointer.must_go_back((100, 100)));
        pointer.sent_to(2, (50, 50));
        assert!(!pointer.must_go_back((100, 100)), "it is on its way");
        // Numbers begin anew; a server that tells nothing of the way back.
        assert_eq!(pointer.moved(3, (49, 52)), (-1, 2));
    }
}
