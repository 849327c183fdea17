//! A person at a window, with a window system that notes what it is told.

use super::*;
use crate::testing::{Did, FakeGuest};
use std::os::fd::BorrowedFd;
use std::sync::atomic::Ordering;
use trimotor_devices::pointer::{PointerButton, PointerEvent};

/// What the window system was told.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Told {
    Size(usize, usize),
    FullScreen,
    PointerVisible(bool),
    Grab(Option<Grab>),
    Drawn(Rect),
    FrameEnded,
}

#[derive(Default)]
struct FakeHost {
    screen: Option<(usize, usize)>,
    refuses_grabs: bool,
    told: Vec<Told>,
    title: String,
    /// The colour that was drawn last.
    colour: u32,
}

impl FakeHost {
    fn take(&mut self) -> Vec<Told> {
        std::mem::take(&mut self.told)
    }
    fn drawn(&mut self) -> Vec<Rect> {
        let rect = |told| if let Told::Drawn(rect) = told { Some(rect) } else { None };
        self.take().into_iter().filter_map(rect).collect()
    }
}

impl Host for FakeHost {
    fn inputs(&mut self) -> Result<Vec<Input>, Lost> {
        Ok(Vec::new())
    }
    fn descriptor(&self) -> BorrowedFd<'_> {
        rustix::stdio::stdin()
    }
    fn screen(&self) -> Option<(usize, usize)> {
        self.screen
    }
    fn show(&mut self, (width, height): (usize, usize), title: &str) -> Result<(), Lost> {
        self.told.push(Told::Size(width, height));
        self.set_title(title)
    }
    fn set_title(&mut self, title: &str) -> Result<(), Lost> {
        title.clone_into(&mut self.title);
        Ok(())
    }
    fn set_size(&mut self, (width, height): (usize, usize)) -> Result<(), Lost> {
        self.told.push(Told::Size(width, height));
        Ok(())
    }
    fn toggle_full_screen(&mut self) -> Result<(), Lost> {
        self.told.push(Told::FullScreen);
        Ok(())
    }
    fn set_pointer_visible(&mut self, visible: bool) -> Result<(), Lost> {
        self.told.push(Told::PointerVisible(visible));
        Ok(())
    }
    fn grab(&mut self, grab: Option<Grab>) -> Result<bool, Lost> {
        if self.refuses_grabs && grab.is_some() {
            return Ok(false);
        }
        self.told.push(Told::Grab(grab));
        Ok(true)
    }
    fn draw(&mut self, part: Rect, pixels: &[u32]) -> Result<(), Lost> {
        assert_eq!(pixels.len(), part.area());
        self.colour = pixels[0];
        self.told.push(Told::Drawn(part));
        Ok(())
    }
    fn end_frame(&mut self) -> Result<(), Lost> {
        self.told.push(Told::FrameEnded);
        Ok(())
    }
    fn flush(&mut self) -> Result<(), Lost> {
        Ok(())
    }
}

fn rect(x: usize, y: usize, width: usize, height: usize) -> Rect {
    Rect { x, y, width, height }
}

/// A window of a guest with a picture of that size, on a screen, after the first turn.
struct Desk {
    guest: Arc<FakeGuest>,
    host: FakeHost,
    session: Session,
    now: Instant,
}

impl Desk {
    fn new(width: usize, height: usize, options: Options) -> Desk {
        let guest = FakeGuest::new(width, height);
        let mut host = FakeHost { screen: Some((1920, 1080)), ..FakeHost::default() };
        let session = Session::begin(guest.clone(), "disk.img", options, &mut host).unwrap();
        let mut desk = Desk { guest, host, session, now: Instant::now() };
        desk.turn();
        desk
    }
    /// The next turn, a second later.
    fn turn(&mut self) -> Option<Instant> {
        self.now += Duration::from_secs(1);
        self.session.turn(self.now, &mut self.host).unwrap()
    }
    fn take(&mut self, input: Input) {
        assert_eq!(self.session.take(input, &mut self.host), Ok(None));
    }
    fn resize(&mut self, width: usize, height: usize) {
        self.take(Input::Resized { width, height });
    }
    fn strike(&mut self, keys: &[(KeyCode, bool)]) {
        keys.iter().for_each(|(key, down)| self.take(Input::Key { key: *key, down: *down }));
    }
    /// Ctrl and Alt with a key, down and up.
    fn chord(&mut self, key: KeyCode) {
        use KeyCode::{AltLeft, ControlRight};
        self.strike(&[(ControlRight, true), (AltLeft, true), (key, true), (key, false)]);
        self.strike(&[(AltLeft, false), (ControlRight, false)]);
    }
    fn button(&mut self, number: u8, down: bool) {
        self.take(Input::Button { number, down });
    }
    fn set_absolute(&mut self, absolute: bool) {
        self.guest.absolute.store(absolute, Ordering::Relaxed);
        self.turn();
        self.host.take();
    }
}

fn pointer(event: PointerEvent) -> Did {
    Did::Pointer(event)
}
fn pressed(button: PointerButton, down: bool) -> Did {
    pointer(PointerEvent::Button { button, down })
}

#[test]
fn only_what_changed_is_drawn_and_an_idle_screen_is_not() {
    let mut desk = Desk::new(720, 400, Options::default());
    let told = desk.host.take();
    assert_eq!(told[0], Told::Size(720, 400));
    assert!(
        told.contains(&Told::Drawn(rect(0, 0, 720, 400))) && told.ends_with(&[Told::FrameEnded]),
        "{told:?}"
    );
    assert_eq!(desk.host.title, "Trimotor - disk.img (fake) - running, 0 MIPS");
    desk.guest.draw(|picture| picture.line_mut(7).fill(0x00AB_CDEF));
    // Not before what was drawn is taken.
    desk.session.guest_changed();
    desk.turn();
    assert_eq!(desk.host.drawn(), []);
    desk.take(Input::FrameTaken);
    desk.turn();
    assert_eq!(desk.host.drawn(), [rect(0, 7, 720, 1)]);
    assert_eq!(desk.host.colour, 0x00AB_CDEF);
    desk.take(Input::FrameTaken);
    // The guest rings for something else; nothing is new.
    desk.session.guest_changed();
    desk.turn();
    assert_eq!(desk.host.take(), []);
    desk.take(Input::Exposed(rect(10, 20, 30, 40)));
    desk.turn();
    assert_eq!(desk.host.drawn(), [rect(10, 20, 30, 40)]);
}

#[test]
fn frames_are_not_drawn_more_often_than_a_screen_shows_them() {
    let mut desk = Desk::new(720, 400, Options::default());
    desk.take(Input::FrameTaken);
    desk.host.take();
    desk.guest.draw(|picture| picture.line_mut(7).fill(1));
    desk.session.guest_changed();
    let soon = desk.now + Duration::from_millis(1);
    assert_eq!(desk.session.turn(soon, &mut desk.host), Ok(Some(desk.now + FRAME)));
    assert_eq!(desk.host.drawn(), []);
    assert!(desk.session.turn(desk.now + FRAME, &mut desk.host).is_ok());
    assert_eq!(desk.host.drawn().len(), 1);
    // A window that nobody sees is not drawn at all.
    desk.take(Input::FrameTaken);
    desk.take(Input::Shown(false));
    desk.guest.draw(|picture| picture.line_mut(8).fill(1));
    desk.session.guest_changed();
    desk.turn();
    assert_eq!(desk.host.take(), []);
    desk.take(Input::Shown(true));
    desk.turn();
    assert_eq!(desk.host.drawn(), [rect(0, 8, 720, 1)]);
}

#[test]
fn the_window_follows_the_guest_s_mode_until_somebody_resizes_it() {
    let mut desk = Desk::new(640, 480, Options::default());
    // It began with the size of text.
    assert_eq!(desk.host.take()[..2], [Told::Size(720, 400), Told::PointerVisible(false)]);
    desk.resize(720, 400);
    desk.turn();
    desk.resize(640, 480);
    let mode = |desk: &mut Desk, width, height| {
        desk.guest.draw(|picture| _ = picture.resize(width, height));
        desk.session.guest_changed();
        desk.take(Input::FrameTaken);
        desk.host.take();
        desk.turn();
        desk.host.take().into_iter().find(|told| matches!(told, Told::Size(..)))
    };
    assert_eq!(mode(&mut desk, 1024, 768), Some(Told::Size(1024, 768)));
    // Two modes after each other: the answers come later.
    assert_eq!(mode(&mut desk, 800, 600), Some(Told::Size(800, 600)));
    desk.resize(1024, 768);
    desk.resize(800, 600);
    // Larger than the screen: as much of it as there is.
    assert_eq!(mode(&mut desk, 4096, 2160), Some(Told::Size(1920, 1012)));
    desk.resize(1920, 1012);
    assert_eq!(mode(&mut desk, 640, 480), Some(Told::Size(640, 480)));
    desk.resize(640, 480);
    // A person.
    desk.resize(1000, 700);
    assert_eq!(mode(&mut desk, 320, 200), None);
    // Small pictures are shown larger, in up to half of the screen.
    desk.chord(KeyCode::U);
    assert_eq!(desk.host.take(), [Told::Size(640, 400)]);
    desk.resize(640, 400);
    assert_eq!(mode(&mut desk, 720, 400), Some(Told::Size(720, 400)));
}

#[test]
fn keys_go_to_the_guest_and_up_with_the_focus() {
    use KeyCode::{A, AltLeft, AltRight, ControlLeft, F1, NonUsBackslash};
    let mut desk = Desk::new(720, 400, Options::default());
    // The host repeats what is held; the guest's keyboard does so itself.
    desk.strike(&[(A, true), (A, true), (A, false), (AltRight, true), (NonUsBackslash, true)]);
    assert_eq!(desk.guest.keys(), [(A, true), (A, false), (AltRight, true), (NonUsBackslash, true)]);
    desk.button(1, true);
    desk.take(Input::FocusLost);
    let up: Vec<_> = desk.guest.keys().into_iter().skip(4).collect();
    assert_eq!(up.len(), 2);
    assert!(up.contains(&(AltRight, false)) && up.contains(&(NonUsBackslash, false)), "{up:?}");
    assert!(desk.guest.did().contains(&pressed(PointerButton::Left, false)));
    // Chords that are the guest's.
    let before = desk.guest.keys().len();
    desk.strike(&[(ControlLeft, true), (AltLeft, true), (F1, true), (F1, false)]);
    assert_eq!(desk.guest.keys()[before..], [(ControlLeft, true), (AltLeft, true), (F1, true), (F1, false)]);
}

#[test]
fn chords_of_the_window_leave_no_key_down() {
    use KeyCode::{AltLeft, ControlRight, F, G, Q};
    let mut desk = Desk::new(720, 400, Options::default());
    desk.host.take();
    desk.chord(G);
    assert_eq!(desk.host.take(), [Told::Grab(Some(Grab::Keyboard))], "the guest takes positions");
    desk.turn();
    assert!(desk.host.title.ends_with("Ctrl-Alt-G releases the keyboard"), "{}", desk.host.title);
    desk.chord(G);
    assert_eq!(desk.host.take(), [Told::Grab(None)]);
    desk.chord(F);
    assert_eq!(desk.host.take(), [Told::FullScreen]);
    let keys = desk.guest.keys();
    assert!(!keys.iter().any(|(key, _)| [F, G].contains(key)), "{keys:?}");
    for key in [AltLeft, ControlRight] {
        let strokes: Vec<bool> =
            keys.iter().filter(|(held, _)| *held == key).map(|(_, down)| *down).collect();
        assert_eq!(strokes, [true, false].repeat(3), "{key:?}");
    }
    desk.strike(&[(ControlRight, true), (AltLeft, true)]);
    let end = desk.session.take(Input::Key { key: Q, down: true }, &mut desk.host);
    assert_eq!(end, Ok(Some(WindowEnd::Closed)));
    assert_eq!(desk.session.take(Input::Closed, &mut desk.host), Ok(Some(WindowEnd::Closed)));
}

#[test]
fn a_guest_with_a_mouse_gets_moves_after_a_click() {
    let mut desk = Desk::new(720, 400, Options::default());
    desk.set_absolute(false);
    desk.take(Input::At { x: 5, y: 5 });
    desk.button(4, true);
    desk.button(4, false);
    assert_eq!((desk.guest.did(), desk.host.take()), (vec![], vec![]), "nothing without a grab");
    desk.button(1, true);
    desk.button(1, false);
    assert_eq!(desk.host.take(), [Told::Grab(Some(Grab::Pointer))]);
    assert_eq!(desk.guest.did(), [], "the click is the window's");
    desk.turn();
    assert!(desk.host.title.ends_with("Ctrl-Alt-G releases the pointer"), "{}", desk.host.title);
    desk.take(Input::Moved { dx: 3, dy: -4 });
    desk.button(3, true);
    desk.button(5, true);
    desk.button(5, false);
    let wanted = [
        pointer(PointerEvent::Motion { dx: 3, dy: -4 }),
        pressed(PointerButton::Right, true),
        pointer(PointerEvent::Wheel { down: 1, right: 0 }),
    ];
    assert_eq!(desk.guest.did(), wanted);
    // The focus goes, and with it grab and buttons.
    desk.host.take();
    desk.take(Input::FocusLost);
    assert_eq!(desk.host.take(), [Told::Grab(None)]);
    assert_eq!(desk.guest.did()[3..], [pressed(PointerButton::Right, false)]);
    // The button goes up now, and the guest has heard of it.
    desk.button(3, false);
    assert_eq!(desk.guest.did().len(), 4);
}

#[test]
fn what_another_program_has_is_not_grabbed() {
    let mut desk = Desk::new(720, 400, Options::default());
    desk.set_absolute(false);
    desk.host.refuses_grabs = true;
    desk.button(1, true);
    desk.button(1, false);
    desk.chord(KeyCode::G);
    assert_eq!(desk.host.take(), []);
    desk.turn();
    assert!(desk.host.title.ends_with("running, 0 MIPS"), "{}", desk.host.title);
}

#[test]
fn a_guest_that_takes_positions_gets_them_without_a_grab() {
    let mut desk = Desk::new(720, 400, Options::default());
    // Twice as large, with 30 and 50 pixels beside it.
    desk.resize(1500, 900);
    desk.turn();
    desk.take(Input::At { x: 30, y: 50 });
    desk.take(Input::At { x: 1500, y: 849 });
    desk.button(2, true);
    desk.button(2, false);
    let wanted = [
        pointer(PointerEvent::Position { x: 0, y: 0 }),
        pointer(PointerEvent::Position { x: 0xFFFF, y: 0xFFFF }),
        pressed(PointerButton::Middle, true),
        pressed(PointerButton::Middle, false),
    ];
    assert_eq!(desk.guest.did(), wanted);
    // The pointer is the guest's to draw, until its driver goes.
    desk.host.take();
    desk.guest.absolute.store(false, Ordering::Relaxed);
    desk.turn();
    assert!(desk.host.take().contains(&Told::PointerVisible(true)));
}

#[test]
fn a_grab_ends_when_the_guest_begins_to_take_positions() {
    let mut desk = Desk::new(720, 400, Options::default());
    desk.set_absolute(false);
    desk.button(1, true);
    desk.button(1, false);
    desk.host.take();
    desk.guest.absolute.store(true, Ordering::Relaxed);
    desk.turn();
    assert_eq!(desk.host.take()[..2], [Told::Grab(None), Told::PointerVisible(false)]);
}

#[test]
fn keys_that_the_guest_has_no_room_for_are_tried_again() {
    let mut desk = Desk::new(720, 400, Options::default());
    desk.take(Input::FrameTaken);
    desk.guest.refuse_keys(true);
    desk.strike(&[(KeyCode::A, true)]);
    assert_eq!(desk.turn(), Some(desk.now + RETRY));
    desk.guest.refuse_keys(false);
    desk.turn();
    assert_eq!(desk.guest.keys(), [(KeyCode::A, true)]);
}

#[test]
fn a_scale_that_is_asked_for_is_kept_in_all_modes() {
    let mut desk = Desk::new(320, 200, Options { scale: Some(3), fills: false });
    let sizes: Vec<_> = desk.host.take().into_iter().filter(|told| matches!(told, Told::Size(..))).collect();
    // The first is the size of text, three times of which the screen has no room for.
    assert_eq!(sizes, [Told::Size(1920, 1066), Told::Size(960, 600)]);
}
