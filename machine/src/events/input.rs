//! Keys, text and pointer events on their way to the devices.

use crate::board::Board;
use crate::clock::TimeSource;
use crate::control::Input;
use trimotor_devices::i8042::{I8042, Leds};
use trimotor_devices::pointer::{PointerButton, PointerEvent};

impl Board {
    /// Gives input to the devices; returns what of it was taken, and what there is no room for. Without a device for it
    /// input is lost.
    pub(super) fn take_input(
        &self,
        input: Input,
        time: &mut TimeSource<'_>,
    ) -> (Option<Input>, Option<Input>) {
        let Some(keyboard) = self.refs.keyboard else { return (None, None) };
        match input {
            Input::Key(key, down) => {
                let typed = self.operate(keyboard, time, |keyboard, now| keyboard.type_event(key, down, now));
                if typed { (Some(input), None) } else { (None, Some(input)) }
            }
            Input::Keys(mut keys) => {
                let type_keys = |keyboard: &mut I8042, now| {
                    keys.iter().take_while(|(key, down)| keyboard.type_event(*key, *down, now)).count()
                };
                let typed = self.operate(keyboard, time, type_keys);
                let rest = keys.split_off(typed);
                let some = |keys: Vec<_>| (!keys.is_empty()).then_some(Input::Keys(keys));
                (some(keys), some(rest))
            }
            Input::Text(layout, text) => {
                let type_text = |keyboard: &mut I8042, now| keyboard.type_text(layout, &text, now);
                let typed = self.operate(keyboard, time, type_text);
                let at = text.char_indices().nth(typed).map_or(text.len(), |(at, _)| at);
                let some = |text: &str| (!text.is_empty()).then(|| Input::Text(layout, text.to_owned()));
                (some(&text[..at]), some(&text[at..]))
            }
            Input::ReleaseAll => {
                self.operate(keyboard, time, |keyboard, now| keyboard.release_all(now));
                for button in PointerButton::ALL {
                    self.point(PointerEvent::Button { button, down: false }, time);
                }
                (Some(input), None)
            }
            Input::Pointer(event) => {
                self.point(event, time);
                (Some(input), None)
            }
        }
    }
    /// Tells the pointing device that the guest uses of an event.
    fn point(&self, event: PointerEvent, time: &mut TimeSource<'_>) {
        let taken = self
            .refs
            .vmmouse
            .is_some_and(|vmmouse| self.operate(vmmouse, time, |vmmouse, _| vmmouse.event(event)));
        if let Some(mouse) = self.refs.keyboard {
            self.operate(mouse, time, |mouse, now| {
                // The guest asks the other device when the mouse interrupts.
                if taken { mouse.nudge_mouse(now) } else { mouse.point(event, now) }
            });
        }
    }
    /// The keyboard's indicators, and whether the guest takes positions of the pointer.
    pub(crate) fn input_modes(&self) -> (Leds, bool) {
        let leds = self.refs.keyboard.map(|keyboard| self.devices.with(keyboard, |keyboard| keyboard.leds()));
        let absolute = self
            .refs
            .vmmouse
            .is_some_and(|vmmouse| self.devices.with(vmmouse, |vmmouse| vmmouse.is_absolute()));
        (leds.unwrap_or_default(), absolute)
    }
}
