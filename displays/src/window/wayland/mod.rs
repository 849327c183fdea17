//! A window of a Wayland compositor, by the crate minifb.
//!
//! minifb makes the window, draws into it and closes it. It names keys by what they type, knows some 100 of them, and grabs no
//! pointer. So the same connection has a second queue here ([`seat`]), to which the compositor tells of keys by Linux's codes
//! and of the pointer ([`shared`] says how the two share it).
//!
//! What Wayland, or minifb, does not have: a program cannot give its window another size, so that the picture is scaled to
//! the one that the compositor gave; the screen's size is not known; and there is no full screen. A compositor without pointer
//! constraints grabs no pointer.

mod seat;
mod shared;

use super::NoWindow;
use super::host::{Grab, Host, Input, Lost};
use minifb::{Scale, ScaleMode, UseGPU, WindowOptions};
use seat::Seat;
use shared::Shared;
use std::os::fd::{AsFd, BorrowedFd};
use trimotor_devices::display::Rect;
use wayland_client::globals::{GlobalList, GlobalListContents, registry_queue_init};
use wayland_client::protocol::wl_registry::{self, WlRegistry};
use wayland_client::protocol::wl_seat::{self, Capability, WlSeat};
use wayland_client::protocol::wl_surface::WlSurface;
use wayland_client::{Connection, Dispatch, EventQueue, QueueHandle, WEnum};
use wayland_protocols::xdg::decoration::zv1::client::zxdg_decoration_manager_v1::ZxdgDecorationManagerV1;

/// What compositors know the program by.
const APPLICATION: &str = "trimotor";

/// A window, once it is shown.
struct Shown {
    // What uses the window's connection goes before the window.
    seat: Seat,
    queue: EventQueue<Seat>,
    connection: Connection,
    surface: WlSurface,
    window: minifb::Window,
    size: (usize, usize),
    /// The window's pixels, each 00RRGGBBh.
    pixels: Vec<u32>,
}

/// A compositor, and a window there.
pub struct Wayland {
    shown: Option<Shown>,
    /// The compositor draws frames with titles around windows.
    has_frames: bool,
    probe: Connection,
}

/// What is asked of the compositor before there is a window.
struct Probe {
    devices: Capability,
}

impl Dispatch<WlSeat, ()> for Probe {
    fn event(
        probe: &mut Self,
        _: &WlSeat,
        event: wl_seat::Event,
        (): &(),
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        if let wl_seat::Event::Capabilities { capabilities: WEnum::Value(devices) } = event {
            probe.devices = devices;
        }
    }
}

impl Dispatch<WlRegistry, GlobalListContents> for Probe {
    fn event(
        _: &mut Self,
        _: &WlRegistry,
        _: wl_registry::Event,
        _: &GlobalListContents,
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
    }
}

/// Connects to the compositor that the environment names.
///
/// # Errors
/// There is none, or it lacks what a window needs.
pub fn open() -> Result<Wayland, NoWindow> {
    let refused = |error: &dyn std::fmt::Display| {
        NoWindow(format!("{error}; XDG_RUNTIME_DIR must be the folder that has the compositor's socket"))
    };
    let probe = Connection::connect_to_env().map_err(|error| refused(&error))?;
    let (globals, mut queue): (GlobalList, EventQueue<Probe>) =
        registry_queue_init(&probe).map_err(|error| refused(&error))?;
    let offered = globals.contents().clone_list();
    let has = |name: &str| offered.iter().any(|global| global.interface == name);
    for needed in ["wl_compositor", "wl_shm", "wl_seat", "xdg_wm_base"] {
        if !has(needed) {
            return Err(NoWindow(format!("the compositor has no {needed}")));
        }
    }
    let _seat: WlSeat = globals.bind(&queue.handle(), 5..=5, ()).map_err(|error| refused(&error))?;
    let mut found = Probe { devices: Capability::empty() };
    queue.roundtrip(&mut found).map_err(|error| refused(&error))?;
    // minifb asks for both without looking, which the compositor takes for a fault.
    if !found.devices.contains(Capability::Keyboard | Capability::Pointer) {
        return Err(NoWindow("the compositor has no keyboard, or no pointer".to_owned()));
    }
    let frames = <ZxdgDecorationManagerV1 as wayland_client::Proxy>::interface().name;
    Ok(Wayland { shown: None, has_frames: has(frames), probe })
}

impl Shown {
    fn new(size: (usize, usize), has_frames: bool) -> Result<Shown, Lost> {
        let options = WindowOptions {
            // Without this minifb says on standard output that it found no frames.
            borderless: !has_frames,
            resize: true,
            scale: Scale::X1,
            scale_mode: ScaleMode::UpperLeft,
            use_gpu: UseGPU::Disabled,
            ..WindowOptions::default()
        };
        let window = minifb::Window::new(APPLICATION, size.0, size.1, options);
        let mut window = window.map_err(|error| Lost(error.to_string()))?;
        // The wait is ours.
        window.set_target_fps(0);
        let Shared { connection, surface } = shared::of(&window)?;
        let (globals, mut queue) =
            registry_queue_init(&connection).map_err(|error| Lost(error.to_string()))?;
        let mut seat = Seat::new(&globals, &queue.handle()).map_err(Lost)?;
        queue.roundtrip(&mut seat).map_err(|error| Lost(error.to_string()))?;
        Ok(Shown { seat, queue, connection, surface, window, size, pixels: vec![0; size.0 * size.1] })
    }
    fn inputs(&mut self) -> Result<Vec<Input>, Lost> {
        // Reads what came, for both queues.
        self.window.update();
        self.queue.dispatch_pending(&mut self.seat).map_err(|error| Lost(error.to_string()))?;
        let mut inputs = std::mem::take(&mut self.seat.inputs);
        let size = self.window.get_size();
        if size != self.size {
            self.size = size;
            self.pixels = vec![0; size.0 * size.1];
            inputs.push(Input::Resized { width: size.0, height: size.1 });
        }
        if !self.window.is_open() {
            // minifb makes no difference between a person who closes it and a compositor that is gone.
            match self.connection.roundtrip() {
                Ok(_) => inputs.push(Input::Closed),
                Err(error) => return Err(Lost(error.to_string())),
            }
        }
        Ok(inputs)
    }
    fn draw(&mut self, part: Rect, pixels: &[u32]) {
        for (line, pixels) in pixels.chunks(part.width.max(1)).enumerate() {
            let start = (part.y + line) * self.size.0 + part.x;
            if let Some(to) = self.pixels.get_mut(start..start + pixels.len()) {
                to.copy_from_slice(pixels);
            }
        }
    }
    fn end_frame(&mut self) -> Result<(), Lost> {
        // The compositor tells when it wants the next one, which is with the commit that minifb makes.
        self.seat.await_frame(&self.surface, &self.queue.handle());
        let (width, height) = self.size;
        self.window.update_with_buffer(&self.pixels, width, height).map_err(|error| Lost(error.to_string()))
    }
}

impl Wayland {
    fn window(&mut self) -> Result<&mut Shown, Lost> {
        self.shown.as_mut().ok_or_else(|| Lost("the window is not shown".to_owned()))
    }
}

impl Host for Wayland {
    fn inputs(&mut self) -> Result<Vec<Input>, Lost> {
        self.window()?.inputs()
    }
    fn descriptor(&self) -> BorrowedFd<'_> {
        match &self.shown {
            Some(shown) => shown.connection.as_fd(),
            None => self.probe.as_fd(),
        }
    }
    fn screen(&self) -> Option<(usize, usize)> {
        None
    }
    fn show(&mut self, size: (usize, usize), title: &str) -> Result<(), Lost> {
        self.shown = Some(Shown::new(size, self.has_frames)?);
        self.set_title(title)
    }
    fn set_title(&mut self, title: &str) -> Result<(), Lost> {
        self.window()?.window.set_title(title);
        Ok(())
    }
    fn set_size(&mut self, _size: (usize, usize)) -> Result<(), Lost> {
        Ok(())
    }
    fn toggle_full_screen(&mut self) -> Result<(), Lost> {
        Ok(())
    }
    fn set_pointer_visible(&mut self, visible: bool) -> Result<(), Lost> {
        let shown = self.window()?;
        // minifb shows it again with the next button otherwise.
        shown.window.set_cursor_visibility(visible);
        if !visible {
            shown.seat.hide_pointer();
        }
        Ok(())
    }
    fn grab(&mut self, grab: Option<Grab>) -> Result<bool, Lost> {
        let shown = self.window()?;
        let granted = shown.seat.grab(grab, &shown.surface, &shown.queue.handle());
        if granted {
            shown.window.set_cursor_visibility(grab != Some(Grab::Pointer));
        }
        Ok(granted)
    }
    fn draw(&mut self, part: Rect, pixels: &[u32]) -> Result<(), Lost> {
        self.window()?.draw(part, pixels);
        Ok(())
    }
    fn end_frame(&mut self) -> Result<(), Lost> {
        self.window()?.end_frame()
    }
    fn flush(&mut self) -> Result<(), Lost> {
        match self.window()?.connection.flush() {
            Ok(()) => Ok(()),
            Err(wayland_client::backend::WaylandError::Io(error))
                if error.kind() == std::io::ErrorKind::WouldBlock =>
            {
                Ok(())
            }
            Err(error) => Err(Lost(error.to_string())),
        }
    }
}
