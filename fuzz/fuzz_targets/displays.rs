//! What viewers and browsers send: RFB from its greeting on, WebSocket frames, messages of the page.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::sync::Arc;
use std::time::{Duration, Instant};
use trimotor_devices::display::{Damage, Rect, Surface};
use trimotor_devices::i8042::{KeyCode, Layout, Leds};
use trimotor_devices::pointer::PointerEvent;
use trimotor_displays::connection::{OUTPUT_LIMIT, Output, Session};
use trimotor_displays::guest::Button;
use trimotor_displays::{Bells, Guest, Status, View, fuzzing, rfb};
use trimotor_fuzz::Input;

/// A guest whose screen changes with each look, in size too.
#[derive(Default)]
struct Restless(Bells);

struct Looks(usize);

impl View for Looks {
    fn update(&mut self, copy: &mut Surface) -> Damage {
        self.0 += 1;
        if copy.resize(100 + 50 * (self.0 / 5 % 3), 70) {
            return Damage::whole(copy);
        }
        let y = self.0 % copy.height();
        copy.line_mut(y).iter_mut().zip(self.0 as u32..).for_each(|(pixel, colour)| *pixel = colour * 77);
        let mut damage = Damage::default();
        damage.add(Rect { x: 0, y, width: copy.width(), height: 1 });
        damage
    }
}

impl Guest for Restless {
    fn view(&self) -> Box<dyn View> {
        Box::new(Looks(0))
    }
    fn layout(&self) -> Layout {
        Layout::all().last().unwrap_or_default()
    }
    fn key(&self, key: KeyCode, _down: bool) -> bool {
        key != KeyCode::Escape
    }
    fn release_all(&self) {}
    fn pointer(&self, _event: PointerEvent) -> bool {
        true
    }
    fn pointer_is_absolute(&self) -> bool {
        false
    }
    fn leds(&self) -> Leds {
        Leds::CAPS_LOCK
    }
    fn status(&self) -> Status {
        Status::default()
    }
    fn press(&self, _button: Button) {}
    fn bells(&self) -> &Bells {
        &self.0
    }
}

/// A peer that sends this; it reads what comes only now and then.
fn converse(session: &mut dyn Session, mut input: Input<'_>) {
    let (mut out, mut now) = (Output::default(), Instant::now());
    while !input.is_empty() {
        let length = 1 + input.below(40);
        let reads = input.below(4) != 0;
        let piece = input.bytes(length).to_vec();
        if out.has_room() && session.takes_input() && session.receive(&piece, &mut out).is_err() {
            return;
        }
        now += Duration::from_millis(10);
        if out.has_room() && session.turn(now, &mut out).is_err() {
            return;
        }
        let waiting = if reads { out.take().len() } else { 0 };
        assert!(waiting < OUTPUT_LIMIT + (3 << 20), "{waiting} bytes waited");
    }
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let guest: Arc<dyn Guest> = Arc::new(Restless::default());
    match input.below(4) {
        kind @ (0 | 1) => {
            let config = rfb::Config { password: (kind == 1).then(|| "secret".to_owned()) };
            let Ok(mut session) = rfb::Session::new(config, guest, Box::new(|| ())) else { return };
            if kind == 0 {
                // Past the greeting, where most of it is.
                let _ = session.receive(b"RFB 003.008\n\x01\x01", &mut Output::default());
            }
            converse(&mut session, input);
        }
        2 => fuzzing::page(guest, |session| converse(session, input)),
        _ => {
            fuzzing::request(input.0);
            fuzzing::web_socket(input.0, |bytes| assert!(bytes.len() <= data.len()));
        }
    }
});
