//! The guest in a browser: a page of our own, and what it says over its WebSocket.
//!
//! The page is three files, built into the program. Its address has a secret in it (`?token=`), without which neither page nor
//! socket can be had, and the socket is for pages from this server only.
//!
//! Messages to the page are bytes, the first of which says what it is: the screen's size, a part of the picture (its place, and its
//! pixels through zlib), the end of a frame, output of the serial port, or how the machine is, in JSON. Messages from the page
//! are JSON. The next frame is made when the page has said that it drew the last one.

use crate::connection::{Ended, Output};
use crate::guest::{Button, Guest, Status, View};
use crate::http::Request;
use crate::keys::{self, Hands};
use crate::rfb;
use crate::rfb::encode::cut;
use crate::serial_tap::{Joined, SerialTap};
use crate::server::Route;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};
use trimotor_devices::display::{Rect, Surface};
use trimotor_devices::pointer::FARTHEST;

const PAGE: &[u8] = include_bytes!("page/index.html");
const SCRIPTS: [(&str, &[u8]); 4] = [
    ("/page.js", include_bytes!("page/page.js")),
    ("/rendition.js", include_bytes!("page/rendition.js")),
    ("/screen.js", include_bytes!("page/screen.js")),
    ("/terminal.js", include_bytes!("page/terminal.js")),
];
const STYLE: &[u8] = include_bytes!("page/style.css");

/// Where a request leads.
pub(crate) fn route(request: &Request, token: &str, serial: &Arc<SerialTap>, vnc: &rfb::Config) -> Route {
    let forbidden = Route::Answer(
        "403 Forbidden",
        "text/plain; charset=utf-8",
        b"This address lacks its token. Use the whole address that Trimotor printed.\n",
    );
    let may = request.has_token(token);
    match &*request.path {
        "/" if may => Route::Answer("200 OK", "text/html; charset=utf-8", PAGE),
        "/socket" if may && request.is_of_same_origin() => Route::Web(serial.clone()),
        // For noVNC, whose page is another server's.
        "/websockify" if may => Route::Vnc(vnc.clone()),
        "/" | "/socket" | "/websockify" => forbidden,
        "/style.css" => Route::Answer("200 OK", "text/css; charset=utf-8", STYLE),
        path => match SCRIPTS.iter().find(|script| script.0 == path) {
            Some((_, script)) => Route::Answer("200 OK", "text/javascript; charset=utf-8", script),
            None => Route::Answer("404 Not Found", "text/plain; charset=utf-8", b"There is no such page.\n"),
        },
    }
}

/// What a message to the page is.
mod kind {
    pub const SIZE: u8 = 1;
    pub const PART: u8 = 2;
    pub const FRAME_END: u8 = 3;
    pub const SERIAL: u8 = 4;
    pub const STATUS: u8 = 5;
}

/// Between two frames at least.
const FRAME: Duration = Duration::from_millis(25);
/// How often the page is told how the machine is, which changes all the time.
const STATUS_INTERVAL: Duration = Duration::from_millis(500);
/// Serial output in a message, in bytes.
const SERIAL_PIECE: usize = 16 << 10;

/// What the page says.
#[derive(Deserialize, PartialEq, Debug)]
#[serde(tag = "is", rename_all = "snake_case", deny_unknown_fields)]
enum FromPage {
    /// The frame is on the screen.
    Drawn,
    /// A key by its place.
    Key { code: String, down: bool },
    /// The page lost the keyboard.
    Release,
    /// The pointer's place, from 0 to 1.
    Point { x: f64, y: f64 },
    /// The pointer's move.
    Move { dx: f64, dy: f64 },
    /// The buttons that are down, as browsers number them: left, right, middle, back, forward.
    Buttons { mask: u16 },
    /// Notches of the wheel.
    Wheel { down: i32, right: i32 },
    /// Typed at the serial port.
    Serial { text: String },
    /// A button of the machine.
    Press { button: PageButton },
}

#[derive(Deserialize, PartialEq, Eq, Clone, Copy, Debug)]
#[serde(rename_all = "snake_case")]
enum PageButton {
    Power,
    Reset,
    Pause,
    Resume,
}

/// How the machine is, as the page is told.
#[derive(Serialize)]
struct PageStatus<'a> {
    engine: &'a str,
    seconds: f64,
    instructions: u64,
    paused: bool,
    absolute: bool,
    leds: u8,
}

/// The most that a pointer is moved by one message, so that no number is beyond what the guest's devices add up.
const FARTHEST_MOVE: f64 = 10_000.0;
/// The most notches of a wheel.
const MOST_NOTCHES: i32 = 100;

/// A page that is shown somewhere.
pub(crate) struct Session {
    guest: Arc<dyn Guest>,
    hands: Hands,
    view: Box<dyn View>,
    picture: Surface,
    /// Parts of the frame that has begun.
    rest: VecDeque<Rect>,
    /// The page has drawn the last frame.
    drawn: bool,
    last_frame: Option<Instant>,
    serial: Arc<SerialTap>,
    _joined: Joined,
    /// The place in the serial port's output.
    place: u64,
    told: Option<(Instant, bool, bool, u8)>,
}

impl Session {
    pub(crate) fn new(guest: Arc<dyn Guest>, serial: Arc<SerialTap>) -> Session {
        Session {
            hands: Hands::new(guest.clone()),
            view: guest.view(),
            guest,
            picture: Surface::default(),
            rest: VecDeque::new(),
            drawn: true,
            last_frame: None,
            _joined: serial.join(),
            serial,
            place: 0,
            told: None,
        }
    }
    fn obey(&mut self, message: FromPage) {
        match message {
            FromPage::Drawn => self.drawn = true,
            FromPage::Key { code, down } => {
                if let Some(key) = keys::browser_code(&code) {
                    self.hands.key(key, down);
                }
            }
            FromPage::Release => self.hands.release_all(),
            FromPage::Point { x, y } => {
                // Not a number becomes 0.
                let place = |at: f64| (at.clamp(0.0, 1.0) * f64::from(FARTHEST)) as usize;
                let all = usize::from(FARTHEST) + 1;
                self.hands.point(place(x), place(y), all, all);
            }
            FromPage::Move { dx, dy } => {
                let counts = |by: f64| by.clamp(-FARTHEST_MOVE, FARTHEST_MOVE) as i32;
                self.hands.shift(counts(dx), counts(dy));
            }
            FromPage::Buttons { mask } => {
                // RFB's order: left, middle, right; behind the wheel back and forward.
                let bit = |from: u16, to: u16| (mask >> from & 1) << to;
                self.hands.buttons(bit(0, 0) | bit(1, 2) | bit(2, 1) | bit(3, 7) | bit(4, 8));
            }
            FromPage::Wheel { down, right } => {
                let notches = |by: i32| by.clamp(-MOST_NOTCHES, MOST_NOTCHES);
                self.hands.turn(notches(down), notches(right));
            }
            FromPage::Serial { text } => self.serial.type_bytes(text.as_bytes()),
            FromPage::Press { button } => self.guest.press(match button {
                PageButton::Power => Button::Power,
                PageButton::Reset => Button::Reset,
                PageButton::Pause => Button::Pause,
                PageButton::Resume => Button::Resume,
            }),
        }
    }
    fn tell_status(&mut self, now: Instant, out: &mut Output) -> Instant {
        let Status { engine, guest_time_ns, instructions, paused } = self.guest.status();
        let (absolute, leds) = (self.guest.pointer_is_absolute(), self.guest.leds().bits());
        let is_due = self.told.is_none_or(|(at, paused_then, absolute_then, leds_then)| {
            now >= at + STATUS_INTERVAL || (paused_then, absolute_then, leds_then) != (paused, absolute, leds)
        });
        if is_due {
            self.told = Some((now, paused, absolute, leds));
            let seconds = guest_time_ns as f64 / 1e9;
            let status = PageStatus { engine: &engine, seconds, instructions, paused, absolute, leds };
            let mut message = vec![kind::STATUS];
            // Numbers and a name: that cannot fail.
            message.extend(serde_json::to_vec(&status).unwrap_or_default());
            out.push(message);
        }
        self.told.map_or(now, |told| told.0) + STATUS_INTERVAL
    }
    fn tell_serial(&mut self, out: &mut Output) {
        while out.has_room() {
            let (bytes, place) = self.serial.read(self.place, SERIAL_PIECE);
            self.place = place;
            if bytes.is_empty() {
                return;
            }
            out.push([&[kind::SERIAL][..], &bytes].concat());
        }
    }
    /// Begins a frame, if there is something new.
    fn begin_frame(&mut self, out: &mut Output) -> bool {
        let damage = self.view.update(&mut self.picture);
        if damage.is_empty() || self.picture.pixels().is_empty() {
            return false;
        }
        if damage.resized() {
            let size = [self.picture.width(), self.picture.height()];
            let size = size.map(|side| (side as u16).to_be_bytes()).concat();
            out.push([&[kind::SIZE][..], &size].concat());
        }
        let whole = self.picture.whole();
        let parts = damage.rects().iter().map(|part| part.intersection(&whole));
        self.rest = parts.filter(|part| !part.is_empty()).flat_map(cut).collect();
        self.drawn = false;
        true
    }
    /// The rest of a frame, as far as there is room.
    fn go_on(&mut self, out: &mut Output) {
        while out.has_room()
            && let Some(part) = self.rest.pop_front()
        {
            out.push(part_message(&self.picture, part));
            if self.rest.is_empty() {
                out.push(vec![kind::FRAME_END]);
            }
        }
    }
}

/// A part of the picture: its place, and red, green, blue and 255 of each pixel through zlib.
fn part_message(picture: &Surface, part: Rect) -> Vec<u8> {
    let mut message = vec![kind::PART];
    for number in [part.x, part.y, part.width, part.height] {
        message.extend((number as u16).to_be_bytes());
    }
    let mut pixels = Vec::with_capacity(4 * part.area());
    for y in part.y..part.y + part.height {
        for pixel in &picture.line(y)[part.x..part.x + part.width] {
            let [_, red, green, blue] = pixel.to_be_bytes();
            pixels.extend([red, green, blue, 0xFF]);
        }
    }
    let mut encoder = ZlibEncoder::new(message, Compression::fast());
    // Memory does not fail.
    let _ = encoder.write_all(&pixels);
    encoder.finish().unwrap_or_default()
}

impl crate::connection::Session for Session {
    fn receive(&mut self, bytes: &[u8], _out: &mut Output) -> Result<(), Ended> {
        let message = serde_json::from_slice(bytes)
            .map_err(|error| Ended::refused(format!("a message that no page sends: {error}")))?;
        self.obey(message);
        Ok(())
    }
    fn turn(&mut self, now: Instant, out: &mut Output) -> Result<Option<Instant>, Ended> {
        let mut next = self.tell_status(now, out);
        if !self.hands.feed() {
            next = next.min(now + keys::RETRY);
        }
        self.tell_serial(out);
        let due = self.last_frame.map_or(now, |last| last + FRAME);
        if self.drawn && self.rest.is_empty() {
            if now < due {
                next = next.min(due);
            } else if self.begin_frame(out) {
                self.last_frame = Some(now);
            }
        }
        self.go_on(out);
        Ok(Some(next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::Session as _;
    use crate::http;
    use crate::testing::{Did, FakeGuest};
    use flate2::read::ZlibDecoder;
    use std::io::Read;
    use trimotor_devices::i8042::KeyCode;
    use trimotor_devices::pointer::{PointerButton, PointerEvent};

    fn answer_to(line: &str, more: &str) -> Route {
        let text = format!("GET {line} HTTP/1.1\r\nHost: localhost:1\r\n{more}\r\n");
        let (request, _) = http::parse(text.as_bytes()).unwrap().unwrap();
        route(&request, "secret", &Arc::default(), &rfb::Config::default())
    }
    fn status(route: Route) -> &'static str {
        match route {
            Route::Answer(status, ..) => &status[..3],
            Route::Vnc(_) => "vnc",
            Route::Web(_) => "web",
        }
    }

    #[test]
    fn nothing_of_the_guest_is_had_without_the_token() {
        let same = "Origin: http://localhost:1\r\n";
        for (line, more, wanted) in [
            ("/?token=secret", "", "200"),
            ("/", "", "403"),
            ("/?token=Secret", "", "403"),
            ("/?token=secret2", "", "403"),
            ("/page.js", "", "200"),
            ("/../src/lib.rs", "", "404"),
            ("/socket?token=secret", same, "web"),
            ("/socket?token=secret", "Origin: http://evil.example\r\n", "403"),
            ("/socket", same, "403"),
            ("/websockify?token=secret", "Origin: http://localhost:6080\r\n", "vnc"),
            ("/websockify?token=", "", "403"),
        ] {
            assert_eq!(status(answer_to(line, more)), wanted, "{line}");
        }
    }

    fn session(guest: &Arc<FakeGuest>) -> Session {
        Session::new(guest.clone(), Arc::default())
    }
    fn messages(session: &mut Session, now: Instant) -> Vec<Vec<u8>> {
        let mut out = Output::default();
        session.turn(now, &mut out).unwrap();
        std::iter::from_fn(|| out.pop()).filter(|message| message[0] != kind::STATUS).collect()
    }
    fn say(session: &mut Session, text: &str) -> Result<(), Ended> {
        session.receive(text.as_bytes(), &mut Output::default())
    }

    #[test]
    fn a_frame_follows_when_the_last_one_was_drawn() {
        let guest = FakeGuest::new(3, 2);
        let mut session = session(&guest);
        let mut now = Instant::now();
        let first = messages(&mut session, now);
        assert_eq!(first[0], [kind::SIZE, 0, 3, 0, 2]);
        assert_eq!(first[1][..9], [kind::PART, 0, 0, 0, 0, 0, 3, 0, 2]);
        assert_eq!(first[2], [kind::FRAME_END]);
        guest.draw(|picture| picture.line_mut(1)[2] = 0x0012_3456);
        now += FRAME;
        assert!(messages(&mut session, now).is_empty(), "the first one was not drawn yet");
        say(&mut session, r#"{"is":"drawn"}"#).unwrap();
        let second = messages(&mut session, now);
        assert_eq!(second[0][..9], [kind::PART, 0, 0, 0, 1, 0, 3, 0, 1]);
        let mut pixels = Vec::new();
        ZlibDecoder::new(&second[0][9..]).read_to_end(&mut pixels).unwrap();
        assert_eq!(pixels, [0, 0, 0, 255, 0, 0, 0, 255, 0x12, 0x34, 0x56, 255]);
    }

    #[test]
    fn what_the_page_says_is_done() {
        let guest = FakeGuest::new(3, 2);
        let mut session = session(&guest);
        for text in [
            r#"{"is":"key","code":"KeyA","down":true}"#,
            r#"{"is":"key","code":"Unheard","down":true}"#,
            r#"{"is":"point","x":1.5,"y":-2}"#,
            r#"{"is":"buttons","mask":2}"#,
            r#"{"is":"move","dx":1e300,"dy":-2.7}"#,
            r#"{"is":"press","button":"reset"}"#,
            r#"{"is":"release"}"#,
        ] {
            say(&mut session, text).unwrap();
        }
        let right = |down| Did::Pointer(PointerEvent::Button { button: PointerButton::Right, down });
        let all = [
            Did::Key(KeyCode::A, true),
            Did::Pointer(PointerEvent::Position { x: 0xFFFF, y: 0 }),
            right(true),
            Did::Pointer(PointerEvent::Motion { dx: 10_000, dy: -2 }),
            Did::Press(Button::Reset),
            right(false),
            Did::Key(KeyCode::A, false),
        ];
        assert_eq!(guest.did(), all);
        for text in ["", "{}", r#"{"is":"other"}"#, "\u{0}", r#"{"is":"buttons","mask":-1}"#] {
            assert!(matches!(say(&mut session, text), Err(Ended::Refused(_))), "{text}");
        }
    }
}
