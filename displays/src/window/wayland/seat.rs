//! Keyboard and pointer of a Wayland compositor.

use super::super::host::{Grab, Input};
use crate::keys::linux_code;
use wayland_client::globals::{GlobalList, GlobalListContents};
use wayland_client::protocol::wl_callback::{self, WlCallback};
use wayland_client::protocol::wl_keyboard::{self, KeyState, WlKeyboard};
use wayland_client::protocol::wl_pointer::{self, Axis, ButtonState, WlPointer};
use wayland_client::protocol::wl_registry::{self, WlRegistry};
use wayland_client::protocol::wl_seat::WlSeat;
use wayland_client::protocol::wl_surface::WlSurface;
use wayland_client::{Connection, Dispatch, QueueHandle, WEnum, delegate_noop};
use wayland_protocols::wp::keyboard_shortcuts_inhibit::zv1::client::{
    zwp_keyboard_shortcuts_inhibit_manager_v1::ZwpKeyboardShortcutsInhibitManagerV1,
    zwp_keyboard_shortcuts_inhibitor_v1::ZwpKeyboardShortcutsInhibitorV1,
};
use wayland_protocols::wp::pointer_constraints::zv1::client::{
    zwp_locked_pointer_v1::ZwpLockedPointerV1,
    zwp_pointer_constraints_v1::{Lifetime, ZwpPointerConstraintsV1},
};
use wayland_protocols::wp::relative_pointer::zv1::client::{
    zwp_relative_pointer_manager_v1::ZwpRelativePointerManagerV1,
    zwp_relative_pointer_v1::{self, ZwpRelativePointerV1},
};

/// Buttons by Linux's codes, and as [`Input::Button`] has them.
const BUTTONS: [(u32, u8); 5] = [(0x110, 1), (0x111, 3), (0x112, 2), (0x113, 8), (0x114, 9)];
/// How far a surface scrolls with a notch of a wheel that does not tell of notches.
const NOTCH: f64 = 10.0;
/// Notches of one event that are passed on. More are no wheel.
const MOST_NOTCHES: i32 = 20;

/// What the compositor has for a window that wants pointer and keyboard to itself.
#[derive(Debug)]
struct Grabs {
    constraints: Option<ZwpPointerConstraintsV1>,
    relative: Option<ZwpRelativePointerManagerV1>,
    shortcuts: Option<ZwpKeyboardShortcutsInhibitManagerV1>,
    /// What is held now.
    lock: Option<(ZwpLockedPointerV1, ZwpRelativePointerV1)>,
    inhibitor: Option<ZwpKeyboardShortcutsInhibitorV1>,
}

/// The devices, and what came from them.
#[derive(Debug)]
pub struct Seat {
    /// What came and was not taken yet.
    pub inputs: Vec<Input>,
    seat: WlSeat,
    _keyboard: WlKeyboard,
    pointer: WlPointer,
    /// The number of the event that brought the pointer into the window.
    entered: Option<u32>,
    grabs: Grabs,
    /// Parts of a pixel that the grabbed pointer moved.
    rest: (f64, f64),
    /// Parts of a notch, down and to the right; whether this group of events told of notches.
    scrolled: [f64; 2],
    notches: bool,
}

impl Seat {
    /// The first seat.
    ///
    /// # Errors
    /// The compositor has none.
    pub fn new(globals: &GlobalList, queue: &QueueHandle<Seat>) -> Result<Seat, String> {
        let seat: WlSeat =
            globals.bind(queue, 5..=5, ()).map_err(|error| format!("no keyboard and pointer: {error}"))?;
        let grabs = Grabs {
            constraints: globals.bind(queue, 1..=1, ()).ok(),
            relative: globals.bind(queue, 1..=1, ()).ok(),
            shortcuts: globals.bind(queue, 1..=1, ()).ok(),
            lock: None,
            inhibitor: None,
        };
        let (keyboard, pointer) = (seat.get_keyboard(queue, ()), seat.get_pointer(queue, ()));
        Ok(Seat {
            inputs: Vec::new(),
            seat,
            _keyboard: keyboard,
            pointer,
            entered: None,
            grabs,
            rest: (0.0, 0.0),
            scrolled: [0.0; 2],
            notches: false,
        })
    }
    /// Has the compositor tell when it wants the frame after the next commit's.
    pub fn await_frame(&self, surface: &WlSurface, queue: &QueueHandle<Seat>) {
        surface.frame(queue, ());
    }
    /// Takes the pointer's picture away while it is in the window.
    pub fn hide_pointer(&self) {
        if let Some(entered) = self.entered {
            self.pointer.set_cursor(entered, None, 0, 0);
        }
    }
    /// Grabs, or lets go; false where the compositor has no such thing.
    pub fn grab(&mut self, grab: Option<Grab>, surface: &WlSurface, queue: &QueueHandle<Seat>) -> bool {
        if let Some((lock, relative)) = self.grabs.lock.take() {
            relative.destroy();
            lock.destroy();
        }
        if let Some(inhibitor) = self.grabs.inhibitor.take() {
            inhibitor.destroy();
        }
        let Some(grab) = grab else { return true };
        if grab == Grab::Pointer {
            let (Some(constraints), Some(relative)) = (&self.grabs.constraints, &self.grabs.relative) else {
                return false;
            };
            let lock =
                constraints.lock_pointer(surface, &self.pointer, None, Lifetime::Persistent, queue, ());
            self.grabs.lock = Some((lock, relative.get_relative_pointer(&self.pointer, queue, ())));
            self.hide_pointer();
        }
        if let Some(shortcuts) = &self.grabs.shortcuts {
            self.grabs.inhibitor = Some(shortcuts.inhibit_shortcuts(surface, &self.seat, queue, ()));
        }
        grab == Grab::Pointer || self.grabs.inhibitor.is_some()
    }
    fn pointer_event(&mut self, event: wl_pointer::Event) {
        use wl_pointer::Event;
        match event {
            Event::Enter { serial, surface_x, surface_y, .. } => {
                self.entered = Some(serial);
                self.at(surface_x, surface_y);
            }
            Event::Leave { .. } => self.entered = None,
            Event::Motion { surface_x, surface_y, .. } => self.at(surface_x, surface_y),
            Event::Button { button, state: WEnum::Value(state), .. } => {
                let number = BUTTONS.iter().find(|row| row.0 == button).map(|row| row.1);
                let down = state == ButtonState::Pressed;
                self.inputs.extend(number.map(|number| Input::Button { number, down }));
            }
            Event::AxisDiscrete { axis: WEnum::Value(axis), discrete } => {
                self.notches = true;
                self.turn(axis, discrete);
            }
            Event::Axis { axis: WEnum::Value(axis), value, .. } if !self.notches => {
                let along = usize::from(axis == Axis::HorizontalScroll);
                self.scrolled[along] += value / NOTCH;
                let whole = self.scrolled[along].trunc();
                self.scrolled[along] -= whole;
                self.turn(axis, whole as i32);
            }
            Event::Frame => self.notches = false,
            _ => {}
        }
    }
    fn at(&mut self, x: f64, y: f64) {
        if self.grabs.lock.is_none() {
            self.inputs.push(Input::At { x: x as i32, y: y as i32 });
        }
    }
    /// The wheel was turned by so many notches, down or to the right.
    fn turn(&mut self, axis: Axis, notches: i32) {
        let [back, on] = if axis == Axis::HorizontalScroll { [6, 7] } else { [4, 5] };
        let number = if notches < 0 { back } else { on };
        for _ in 0..notches.saturating_abs().min(MOST_NOTCHES) {
            self.inputs.extend([true, false].map(|down| Input::Button { number, down }));
        }
    }
}

impl Dispatch<WlKeyboard, ()> for Seat {
    fn event(
        seat: &mut Self,
        _: &WlKeyboard,
        event: wl_keyboard::Event,
        (): &(),
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        match event {
            wl_keyboard::Event::Key { key, state: WEnum::Value(state), .. } => {
                let down = state == KeyState::Pressed;
                seat.inputs.extend(linux_code(key).map(|key| Input::Key { key, down }));
            }
            wl_keyboard::Event::Leave { .. } => seat.inputs.push(Input::FocusLost),
            _ => {}
        }
    }
}

impl Dispatch<WlPointer, ()> for Seat {
    fn event(
        seat: &mut Self,
        _: &WlPointer,
        event: wl_pointer::Event,
        (): &(),
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        seat.pointer_event(event);
    }
}

impl Dispatch<ZwpRelativePointerV1, ()> for Seat {
    fn event(
        seat: &mut Self,
        _: &ZwpRelativePointerV1,
        event: zwp_relative_pointer_v1::Event,
        (): &(),
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        if let zwp_relative_pointer_v1::Event::RelativeMotion { dx, dy, .. } = event {
            let (x, y) = (seat.rest.0 + dx, seat.rest.1 + dy);
            seat.rest = (x.fract(), y.fract());
            seat.inputs.push(Input::Moved { dx: x as i32, dy: y as i32 });
        }
    }
}

impl Dispatch<WlCallback, ()> for Seat {
    fn event(
        seat: &mut Self,
        _: &WlCallback,
        _: wl_callback::Event,
        (): &(),
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        seat.inputs.push(Input::FrameTaken);
    }
}

impl Dispatch<WlRegistry, GlobalListContents> for Seat {
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

delegate_noop!(Seat: ignore WlSeat);
delegate_noop!(Seat: ignore WlSurface);
delegate_noop!(Seat: ignore ZwpPointerConstraintsV1);
delegate_noop!(Seat: ignore ZwpLockedPointerV1);
delegate_noop!(Seat: ignore ZwpRelativePointerManagerV1);
delegate_noop!(Seat: ignore ZwpKeyboardShortcutsInhibitManagerV1);
delegate_noop!(Seat: ignore ZwpKeyboardShortcutsInhibitorV1);
