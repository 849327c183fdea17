//! A guest for tests.

use crate::guest::{Bells, Button, Guest, Status, View};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use trimotor_devices::display::{Damage, Surface};
use trimotor_devices::i8042::{KeyCode, Layout, Leds};
use trimotor_devices::pointer::PointerEvent;

/// What was done to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Did {
    Key(KeyCode, bool),
    ReleaseAll,
    Pointer(PointerEvent),
    Press(Button),
}

#[derive(Default)]
pub struct FakeGuest {
    picture: Arc<Mutex<Surface>>,
    did: Mutex<Vec<Did>>,
    refuses: AtomicBool,
    pub absolute: AtomicBool,
    pub leds: AtomicU8,
    bells: Bells,
}

/// A viewer that compares: what differs is new.
struct FakeView(Arc<Mutex<Surface>>);

impl View for FakeView {
    fn update(&mut self, copy: &mut Surface) -> Damage {
        let picture = self.0.lock().unwrap();
        if copy.resize(picture.width(), picture.height()) {
            copy.copy_from(&picture, picture.whole());
            return Damage::whole(copy);
        }
        let mut damage = Damage::default();
        for y in 0..picture.height() {
            if picture.line(y) != copy.line(y) {
                let part = trimotor_devices::display::Rect { x: 0, y, width: picture.width(), height: 1 };
                copy.copy_from(&picture, part);
                damage.add(part);
            }
        }
        damage
    }
}

impl FakeGuest {
    pub fn new(width: usize, height: usize) -> Arc<FakeGuest> {
        let guest = FakeGuest::default();
        guest.absolute.store(true, Ordering::Relaxed);
        *guest.picture.lock().unwrap() = Surface::new(width, height);
        Arc::new(guest)
    }
    pub fn draw(&self, draw: impl FnOnce(&mut Surface)) {
        draw(&mut self.picture.lock().unwrap());
        self.bells.ring();
    }
    pub fn did(&self) -> Vec<Did> {
        self.did.lock().unwrap().clone()
    }
    pub fn keys(&self) -> Vec<(KeyCode, bool)> {
        let key = |did: Did| match did {
            Did::Key(key, down) => Some((key, down)),
            _ => None,
        };
        self.did().into_iter().filter_map(key).collect()
    }
    pub fn refuse_keys(&self, refuses: bool) {
        self.refuses.store(refuses, Ordering::Relaxed);
    }
    fn note(&self, did: Did) {
        self.did.lock().unwrap().push(did);
    }
}

impl Guest for FakeGuest {
    fn view(&self) -> Box<dyn View> {
        Box::new(FakeView(self.picture.clone()))
    }
    fn layout(&self) -> Layout {
        Layout::US
    }
    fn key(&self, key: KeyCode, down: bool) -> bool {
        let takes = !self.refuses.load(Ordering::Relaxed);
        if takes {
            self.note(Did::Key(key, down));
        }
        takes
    }
    fn release_all(&self) {
        self.note(Did::ReleaseAll);
    }
    fn pointer(&self, event: PointerEvent) -> bool {
        self.note(Did::Pointer(event));
        true
    }
    fn pointer_is_absolute(&self) -> bool {
        self.absolute.load(Ordering::Relaxed)
    }
    fn leds(&self) -> Leds {
        Leds::from_bits_truncate(self.leds.load(Ordering::Relaxed))
    }
    fn status(&self) -> Status {
        Status { engine: "fake".to_owned(), ..Status::default() }
    }
    fn press(&self, button: Button) {
        self.note(Did::Press(button));
    }
    fn bells(&self) -> &Bells {
        &self.bells
    }
}
