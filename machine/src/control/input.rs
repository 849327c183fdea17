//! Input that waits at the handle: keys, text, and what a hand does with a pointing device.
//!
//! Keys and text wait until the guest has taken what came before. The pointer never waits for keys: where keys are
//! blocked, it goes past them. Moves add up while they wait.

use super::{MachineControl, lock};
use std::sync::atomic::Ordering;
use trimotor_devices::i8042::{KeyCode, Layout, Leds};
use trimotor_devices::pointer::PointerEvent;

/// Keys, texts and pointer events that wait before more are refused: a person's typing, not a paste.
const MAX_INPUT: usize = 256;

/// Input that waits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Input {
    Key(KeyCode, bool),
    Keys(Vec<(KeyCode, bool)>),
    Text(Layout, String),
    /// All keys and buttons that are down go up.
    ReleaseAll,
    Pointer(PointerEvent),
}

/// For everybody.
impl MachineControl {
    /// A key goes down or up. Returns false where too many wait; try again later.
    pub fn key(&self, key: KeyCode, down: bool) -> bool {
        self.give(Input::Key(key, down))
    }
    /// Types text, on a keyboard of the layout that [`set_layout`](Self::set_layout) says. Characters that no key types are left
    /// out. Returns false where too much waits; try again later.
    pub fn type_text(&self, text: &str) -> bool {
        self.give(Input::Text(self.layout(), text.to_owned()))
    }
    /// The keyboard layout that the guest is set to; that of the United States unless told otherwise. Keys are where they are,
    /// whatever it is: it matters where characters are to become keys.
    pub fn set_layout(&self, layout: Layout) {
        *lock(&self.shared.layout) = layout;
    }
    /// See [`set_layout`](Self::set_layout).
    pub fn layout(&self) -> Layout {
        *lock(&self.shared.layout)
    }
    /// Keys go down and up as soon as the guest has taken what came before. Returns false where too much waits; try again
    /// later.
    pub fn type_keys(&self, keys: Vec<(KeyCode, bool)>) -> bool {
        self.give(Input::Keys(keys))
    }
    /// All keys and pointer buttons that are down go up, behind the input that waits: for a window that lost the focus, or a
    /// viewer that left. Never refused.
    pub fn release_all_keys(&self) {
        let mut inbox = lock(&self.shared.inbox);
        if inbox.input.back() != Some(&Input::ReleaseAll) {
            inbox.input.push_back(Input::ReleaseAll);
        }
        drop(inbox);
        self.wake();
    }
    /// A hand did something with the pointing device. Moves, positions and turns of the wheel that wait add up. Returns
    /// false where too much else waits; try again later.
    pub fn pointer(&self, event: PointerEvent) -> bool {
        let mut inbox = lock(&self.shared.inbox);
        if let Some(Input::Pointer(last)) = inbox.input.back_mut()
            && let Some(merged) = last.merged(event)
        {
            *last = merged;
            drop(inbox);
            self.wake();
            return true;
        }
        drop(inbox);
        self.give(Input::Pointer(event))
    }
    /// Whether the guest takes [`PointerEvent::Position`] as it is, a moment ago. Where not, a window must grab the pointer
    /// and give [`PointerEvent::Motion`]: a guest that accelerates the pointer draws it elsewhere than positions say.
    /// Observers are told of changes ([`MachineEvent::PointerModeChanged`](super::MachineEvent::PointerModeChanged)).
    pub fn pointer_is_absolute(&self) -> bool {
        self.shared.pointer_is_absolute.load(Ordering::Relaxed)
    }
    /// The keyboard's indicators, a moment ago. Observers are told of changes
    /// ([`MachineEvent::LedsChanged`](super::MachineEvent::LedsChanged)).
    pub fn leds(&self) -> Leds {
        Leds::from_bits_truncate(self.shared.leds.load(Ordering::Relaxed))
    }
    fn give(&self, input: Input) -> bool {
        let mut inbox = lock(&self.shared.inbox);
        if inbox.input.len() >= MAX_INPUT {
            return false;
        }
        inbox.input.push_back(input);
        drop(inbox);
        self.wake();
        true
    }
}

/// For the machine's own thread.
impl MachineControl {
    /// The oldest input.
    pub(crate) fn take_input(&self) -> Option<Input> {
        lock(&self.shared.inbox).input.pop_front()
    }
    /// The oldest pointer event, past the keys that wait before it.
    pub(crate) fn take_pointer(&self) -> Option<PointerEvent> {
        let input = &mut lock(&self.shared.inbox).input;
        let at = input.iter().position(|input| matches!(input, Input::Pointer(_)))?;
        match input.remove(at) {
            Some(Input::Pointer(event)) => Some(event),
            _ => None,
        }
    }
    /// Puts input back that the guest has no room for yet.
    pub(crate) fn put_back(&self, input: Input) {
        lock(&self.shared.inbox).input.push_front(input);
    }
    /// Whether input waits for room at the keyboard.
    pub(crate) fn has_input(&self) -> bool {
        !lock(&self.shared.inbox).input.is_empty()
    }
    /// What the guest has made of its input devices.
    pub(crate) fn publish_input(&self, leds: Leds, pointer_is_absolute: bool) {
        use super::MachineEvent;
        if self.shared.leds.swap(leds.bits(), Ordering::Relaxed) != leds.bits() {
            self.tell(&MachineEvent::LedsChanged(leds));
        }
        if self.shared.pointer_is_absolute.swap(pointer_is_absolute, Ordering::Relaxed) != pointer_is_absolute
        {
            self.tell(&MachineEvent::PointerModeChanged { absolute: pointer_is_absolute });
        }
    }
}
