//! minifb's connection to the compositor, for a second user on the same thread.
//!
//! libwayland gives each user of a connection a queue. Who reads from the connection sorts what came into all queues, so that
//! minifb's reading is ours too.
#![allow(
    unsafe_code,
    reason = "the connection and the window's surface are had from minifb as pointers of libwayland"
)]

use super::super::host::Lost;
use raw_window_handle::{HasDisplayHandle, HasWindowHandle, RawDisplayHandle, RawWindowHandle};
use wayland_client::backend::{Backend, ObjectId};
use wayland_client::protocol::wl_surface::WlSurface;
use wayland_client::{Connection, Proxy};

/// What a window of minifb has.
pub struct Shared {
    /// Its connection.
    pub connection: Connection,
    /// Its surface.
    pub surface: WlSurface,
}

/// The connection and the surface of a window, which must outlive them.
///
/// # Errors
/// It is no window of Wayland's.
pub fn of(window: &minifb::Window) -> Result<Shared, Lost> {
    let lost = |error: &dyn std::fmt::Display| Lost(format!("the window's handle: {error}"));
    let display = window.display_handle().map_err(|error| lost(&error))?.as_raw();
    let handle = window.window_handle().map_err(|error| lost(&error))?.as_raw();
    let (RawDisplayHandle::Wayland(display), RawWindowHandle::Wayland(handle)) = (display, handle) else {
        return Err(lost(&"of another window system"));
    };
    // SAFETY: the pointer is minifb's wl_display. `Shown` drops all that comes from here before the window, whose it is.
    let backend = unsafe { Backend::from_foreign_display(display.display.as_ptr().cast()) };
    // SAFETY: the pointer is the wl_surface of that window, which is there as long as the window is.
    let id = unsafe { ObjectId::from_ptr(WlSurface::interface(), handle.surface.as_ptr().cast()) };
    let connection = Connection::from_backend(backend);
    let surface = WlSurface::from_id(&connection, id.map_err(|error| lost(&error))?);
    Ok(Shared { surface: surface.map_err(|error| lost(&error))?, connection })
}
