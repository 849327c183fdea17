//! A viewer of our own, which takes updates to pieces.

use super::{Config, Session, auth};
use crate::connection::{Ended, OUTPUT_LIMIT, Output, Session as _};
use crate::testing::{Did, FakeGuest};
use flate2::{Decompress, FlushDecompress};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use trimotor_devices::display::Surface;
use trimotor_devices::i8042::KeyCode;
use trimotor_devices::pointer::PointerEvent;

/// Long enough for the next frame.
const LATER: Duration = Duration::from_millis(100);

struct Viewer {
    session: Session,
    out: Output,
    now: Instant,
    /// What came and was not looked at.
    bytes: Vec<u8>,
    picture: Surface,
    zlib: Decompress,
}

fn config(password: Option<&str>) -> Config {
    Config { password: password.map(str::to_owned) }
}

impl Viewer {
    fn new(guest: &Arc<FakeGuest>, password: Option<&str>) -> Viewer {
        let session = Session::new(config(password), guest.clone(), Box::new(|| ())).unwrap();
        Viewer {
            session,
            out: Output::default(),
            now: Instant::now(),
            bytes: Vec::new(),
            picture: Surface::default(),
            zlib: Decompress::new(true),
        }
    }
    /// One that runs, of version 3.8, with these encodings.
    fn running(guest: &Arc<FakeGuest>, encodings: &[i32]) -> Viewer {
        let mut viewer = Viewer::new(guest, None);
        assert_eq!(viewer.take(12), b"RFB 003.008\n");
        viewer.say(b"RFB 003.008\n");
        assert_eq!(viewer.take(2), [1, 1]);
        viewer.say(&[1]);
        assert_eq!(viewer.take(4), [0; 4]);
        viewer.say(&[1]);
        let size = viewer.take(24);
        let name = viewer.take(8);
        assert_eq!((&size[20..], &*name), (&[0, 0, 0, 8][..], &b"Trimotor"[..]));
        let side = |at: usize| usize::from(u16::from_be_bytes([size[at], size[at + 1]]));
        viewer.picture = Surface::new(side(0), side(2));
        viewer.say(&set_encodings(encodings));
        viewer
    }
    fn try_say(&mut self, bytes: &[u8]) -> Result<(), Ended> {
        // In two pieces, as networks do.
        let (first, second) = bytes.split_at(bytes.len() / 2);
        self.session.receive(first, &mut self.out)?;
        self.session.receive(second, &mut self.out)
    }
    fn say(&mut self, bytes: &[u8]) {
        self.try_say(bytes).unwrap();
    }
    fn turn(&mut self) -> Result<Option<Instant>, Ended> {
        self.now += LATER;
        let turned = self.session.turn(self.now, &mut self.out);
        self.bytes.extend(self.out.take());
        turned
    }
    #[track_caller]
    fn take(&mut self, length: usize) -> Vec<u8> {
        for _ in 0..1000 {
            if self.bytes.len() >= length {
                break;
            }
            self.turn().unwrap();
        }
        assert!(self.bytes.len() >= length, "{length} bytes do not come: {:?}", self.bytes);
        self.bytes.drain(..length).collect()
    }
    fn word(&mut self) -> usize {
        usize::from(u16::from_be_bytes(self.take(2).try_into().unwrap()))
    }
    fn double(&mut self) -> u32 {
        u32::from_be_bytes(self.take(4).try_into().unwrap())
    }
    fn request(&mut self, incremental: bool) {
        let [w, h] = [self.picture.width(), self.picture.height()].map(|side| (side as u16).to_be_bytes());
        self.say(&[3, incremental.into(), 0, 0, 0, 0, w[0], w[1], h[0], h[1]]);
    }
    fn pixel(&mut self) -> u32 {
        let [blue, green, red, _] = self.take(4).try_into().unwrap();
        u32::from_be_bytes([0, red, green, blue])
    }
    fn inflated(&mut self, packed: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(8 << 20);
        self.zlib.decompress_vec(packed, &mut bytes, FlushDecompress::Sync).unwrap();
        bytes
    }
    /// An update; the pseudo-rectangles in it: x, y, number, what stands behind.
    #[track_caller]
    fn update(&mut self) -> Vec<(usize, usize, i32, Vec<u8>)> {
        assert_eq!(self.take(2), [0, 0], "an update begins");
        let mut told = Vec::new();
        for _ in 0..self.word() {
            let [x, y, width, height] = [self.word(), self.word(), self.word(), self.word()];
            let number = self.double() as i32;
            match number {
                0 => {
                    for line in y..y + height {
                        for column in x..x + width {
                            let pixel = self.pixel();
                            self.picture.line_mut(line)[column] = pixel;
                        }
                    }
                }
                5 => self.hextile(x, y, width, height),
                7 => self.tight(x, y, width, height),
                16 => self.zrle(x, y, width, height),
                -223 => {
                    self.picture = Surface::new(width, height);
                    told.push((x, y, number, Vec::new()));
                }
                -308 => {
                    self.picture = Surface::new(width, height);
                    let content = self.take(4 + 16);
                    told.push((x, y, number, content));
                }
                -261 => {
                    let content = self.take(1);
                    told.push((x, y, number, content));
                }
                -239 | -257 | -258 => told.push((x, y, number, Vec::new())),
                _ => panic!("a rectangle with the unknown encoding {number}"),
            }
        }
        told
    }
    fn fill(&mut self, (x, y, width, height): (usize, usize, usize, usize), colour: u32) {
        (y..y + height).for_each(|line| self.picture.line_mut(line)[x..x + width].fill(colour));
    }
    fn hextile(&mut self, x: usize, y: usize, width: usize, height: usize) {
        for top in (y..y + height).step_by(16) {
            for left in (x..x + width).step_by(16) {
                let (w, h) = (16.min(x + width - left), 16.min(y + height - top));
                let kind = self.take(1)[0];
                if kind & 1 != 0 {
                    for line in top..top + h {
                        for column in left..left + w {
                            let pixel = self.pixel();
                            self.picture.line_mut(line)[column] = pixel;
                        }
                    }
                    continue;
                }
                assert!(kind & 2 != 0, "each tile of ours names its background");
                let background = self.pixel();
                self.fill((left, top, w, h), background);
                if kind & 8 != 0 {
                    let foreground = self.pixel();
                    for _ in 0..self.take(1)[0] {
                        let [place, size] = self.take(2).try_into().unwrap();
                        let (px, py) = (usize::from(place >> 4), usize::from(place & 15));
                        let (pw, ph) = (usize::from(size >> 4) + 1, usize::from(size & 15) + 1);
                        self.fill((left + px, top + py, pw, ph), foreground);
                    }
                }
            }
        }
    }
    fn numbered(
        &mut self,
        place: (usize, usize, usize, usize),
        colours: &[u32],
        numbers: &[u8],
        bits: usize,
    ) {
        let (x, y, width, height) = place;
        let line_bytes = (width * bits).div_ceil(8);
        for (line, bytes) in numbers.chunks(line_bytes).take(height).enumerate() {
            for column in 0..width {
                let bit = column * bits;
                let number = bytes[bit / 8] >> (8 - bits - bit % 8) & ((1u16 << bits) - 1) as u8;
                self.picture.line_mut(y + line)[x + column] = colours[usize::from(number)];
            }
        }
    }
    fn zrle(&mut self, x: usize, y: usize, width: usize, height: usize) {
        let length = self.double() as usize;
        let packed = self.take(length);
        let bytes = self.inflated(&packed);
        let mut rest = &bytes[..];
        let mut next = |count: usize| -> &[u8] {
            let (first, others) = rest.split_at(count);
            rest = others;
            first
        };
        let rgb = |from: &[u8]| u32::from_be_bytes([0, from[2], from[1], from[0]]);
        for top in (y..y + height).step_by(64) {
            for left in (x..x + width).step_by(64) {
                let (w, h) = (64.min(x + width - left), 64.min(y + height - top));
                let count = usize::from(next(1)[0]);
                assert!(count <= 16);
                if count == 0 {
                    for (at, pixel) in next(3 * w * h).chunks(3).map(rgb).enumerate() {
                        self.picture.line_mut(top + at / w)[left + at % w] = pixel;
                    }
                    continue;
                }
                let colours: Vec<u32> = next(3 * count).chunks(3).map(rgb).collect();
                let bits = [0, 0, 1, 2, 2][count.min(4)].max(if count > 4 { 4 } else { 0 });
                if bits == 0 {
                    self.fill((left, top, w, h), colours[0]);
                } else {
                    let numbers = next((w * bits).div_ceil(8) * h).to_vec();
                    self.numbered((left, top, w, h), &colours, &numbers, bits);
                }
            }
        }
        assert!(rest.is_empty(), "{} bytes are left", rest.len());
    }
    fn tight(&mut self, x: usize, y: usize, width: usize, height: usize) {
        let kind = self.take(1)[0];
        let rgb = |from: &[u8]| u32::from_be_bytes([0, from[0], from[1], from[2]]);
        if kind == 0x80 {
            let colour = rgb(&self.take(3));
            return self.fill((x, y, width, height), colour);
        }
        assert_eq!(kind, 0x40);
        let palette = self.take(1)[0] == 1;
        let count = if palette { usize::from(self.take(1)[0]) + 1 } else { 0 };
        let colours: Vec<u32> = self.take(3 * count).chunks(3).map(rgb).collect();
        let length = match count {
            0 => 3 * width * height,
            2 => width.div_ceil(8) * height,
            _ => width * height,
        };
        let bytes = if length < 12 {
            self.take(length)
        } else {
            let (mut packed, mut shift) = (0, 0);
            loop {
                let byte = usize::from(self.take(1)[0]);
                packed |= (byte & if shift == 14 { 0xFF } else { 0x7F }) << shift;
                shift += 7;
                if byte & 0x80 == 0 || shift == 21 {
                    break;
                }
            }
            let packed = self.take(packed);
            self.inflated(&packed)
        };
        assert_eq!(bytes.len(), length);
        match count {
            0 => {
                for (at, pixel) in bytes.chunks(3).map(rgb).enumerate() {
                    self.picture.line_mut(y + at / width)[x + at % width] = pixel;
                }
            }
            2 => self.numbered((x, y, width, height), &colours, &bytes, 1),
            _ => self.numbered((x, y, width, height), &colours, &bytes, 8),
        }
    }
}

fn set_encodings(numbers: &[i32]) -> Vec<u8> {
    let mut message = vec![2, 0];
    message.extend((numbers.len() as u16).to_be_bytes());
    numbers.iter().for_each(|number| message.extend(number.to_be_bytes()));
    message
}

/// A picture with flat parts, text-like parts, and noise.
fn draw_test_picture(picture: &mut Surface) {
    let mut noise = 12345u32;
    let (width, height) = (picture.width(), picture.height());
    for y in 0..height {
        for x in 0..width {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            picture.line_mut(y)[x] = match (x * 4 / width, y * 2 / height) {
                (0, _) => 0x0000_00AA,
                (1, 0) => [0, 0x00AA_AAAA][(noise >> 31) as usize],
                (1, _) => [1, 2, 0x00FF_0000][(noise >> 16) as usize % 3],
                (2, 0) => (noise >> 16) % 11,
                (2, _) => (noise >> 16) % 200 * 0x0001_0101,
                _ => noise >> 8,
            };
        }
    }
}

#[test]
fn every_encoding_shows_the_same_picture() {
    for encoding in [0, 5, 7, 16] {
        let guest = FakeGuest::new(517, 203);
        guest.draw(draw_test_picture);
        let mut viewer = Viewer::running(&guest, &[encoding]);
        viewer.request(false);
        assert!(viewer.update().is_empty());
        guest.draw(|picture| assert!(viewer.picture == *picture, "encoding {encoding}"));
        // A second one goes on with the same zlib.
        guest.draw(|picture| picture.line_mut(100)[7..40].fill(0x0011_2233));
        viewer.request(true);
        viewer.update();
        guest.draw(|picture| assert!(viewer.picture == *picture, "encoding {encoding}, second update"));
    }
}

#[test]
fn an_update_comes_when_something_is_new_and_was_asked_for() {
    let guest = FakeGuest::new(8, 8);
    let mut viewer = Viewer::running(&guest, &[0]);
    viewer.request(true);
    viewer.update();
    viewer.request(true);
    viewer.turn().unwrap();
    assert!(viewer.bytes.is_empty(), "nothing is new");
    guest.draw(|picture| picture.line_mut(3)[0] = 9);
    viewer.update();
    assert_eq!(viewer.picture.line(3)[0], 9);
    guest.draw(|picture| picture.line_mut(4)[0] = 9);
    viewer.turn().unwrap();
    assert!(viewer.bytes.is_empty(), "nobody asked");
}

#[test]
fn versions_3_3_and_3_7_are_spoken() {
    let guest = FakeGuest::new(8, 8);
    let mut old = Viewer::new(&guest, None);
    old.take(12);
    old.say(b"RFB 003.003\n");
    assert_eq!(old.take(4), [0, 0, 0, 1]);
    old.say(&[1]);
    assert_eq!(old.take(32)[..4], [0, 8, 0, 8]);
    let mut newer = Viewer::new(&guest, None);
    newer.take(12);
    newer.say(b"RFB 003.007\n");
    assert_eq!(newer.take(2), [1, 1]);
    newer.say(&[1]);
    newer.say(&[1]);
    assert_eq!(newer.take(32)[..4], [0, 8, 0, 8]);
}

#[test]
fn a_password_is_asked_for_and_a_wrong_one_answered_late() {
    let guest = FakeGuest::new(8, 8);
    for (version, word) in [("3.8", "right"), ("3.8", "wrong"), ("3.3", "right"), ("3.3", "wrong")] {
        let mut viewer = Viewer::new(&guest, Some("right"));
        viewer.take(12);
        if version == "3.8" {
            viewer.say(b"RFB 003.008\n");
            assert_eq!(viewer.take(2), [1, 2]);
            viewer.say(&[2]);
        } else {
            viewer.say(b"RFB 003.003\n");
            assert_eq!(viewer.take(4), [0, 0, 0, 2]);
        }
        let challenge: [u8; 16] = viewer.take(16).try_into().unwrap();
        viewer.say(&auth::answer(&challenge, word));
        if word == "right" {
            assert_eq!(viewer.take(4), [0; 4]);
            continue;
        }
        let answered = viewer.turn().unwrap().unwrap();
        assert!(viewer.bytes.is_empty() && answered > viewer.now);
        // What comes meanwhile counts for nothing.
        viewer.say(&[1; 100]);
        let ended = std::iter::repeat_with(|| viewer.turn()).find_map(Result::err);
        assert!(matches!(ended, Some(Ended::Refused(_))));
        assert_eq!(viewer.bytes[..4], [0, 0, 0, 1]);
        assert_eq!(viewer.bytes.len() > 4, version == "3.8");
    }
    // None is not offered.
    let mut viewer = Viewer::new(&guest, Some("right"));
    viewer.say(b"RFB 003.008\n");
    assert!(matches!(viewer.try_say(&[1, 1]), Err(Ended::Refused(_))));
}

#[test]
fn what_a_viewer_understands_it_is_told() {
    let guest = FakeGuest::new(8, 8);
    guest.absolute.store(false, Ordering::Relaxed);
    guest.leds.store(2, Ordering::Relaxed);
    let mut viewer = Viewer::running(&guest, &[0, -239, -257, -258, -261]);
    viewer.request(true);
    let told = viewer.update();
    let numbers: Vec<_> = told.iter().map(|told| told.2).collect();
    assert_eq!(numbers, [-239, -258, -257, -261]);
    assert_eq!((told[2].0, &told[3].3), (0, &vec![2]));
    // Moves, as the guest takes no places.
    viewer.say(&[5, 0, 0x80, 0x09, 0x7F, 0xFA]);
    assert_eq!(guest.did(), [Did::Pointer(PointerEvent::Motion { dx: 10, dy: -5 })]);
    guest.absolute.store(true, Ordering::Relaxed);
    guest.leds.store(0, Ordering::Relaxed);
    viewer.request(true);
    let told = viewer.update();
    assert_eq!(told, [(1, 0, -257, Vec::new()), (0, 0, -261, vec![0])]);
    viewer.say(&[5, 0, 0, 7, 0, 0]);
    assert_eq!(guest.did()[1], Did::Pointer(PointerEvent::Position { x: 0xFFFF, y: 0 }));
    // Keys by their scan codes.
    viewer.say(&[255, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0x9D]);
    assert_eq!(guest.keys(), [(KeyCode::ControlRight, true)]);
    drop(viewer);
    assert_eq!(guest.keys().last(), Some(&(KeyCode::ControlRight, false)));
}

#[test]
fn a_screen_of_another_size_is_told_or_cut() {
    for (encodings, told) in [(&[0, -223][..], true), (&[0, -308], true), (&[0], false)] {
        let guest = FakeGuest::new(20, 10);
        let mut viewer = Viewer::running(&guest, encodings);
        viewer.request(false);
        viewer.update();
        viewer.request(true);
        guest.draw(|picture| {
            picture.resize(30, 5);
            picture.line_mut(4).fill(7);
        });
        let sizes = viewer.update();
        assert_eq!(sizes.len(), usize::from(told), "{encodings:?}");
        if told {
            assert_eq!((viewer.picture.width(), viewer.picture.height()), (30, 5));
            // Nothing new was asked for.
            viewer.update();
        }
        assert_eq!(viewer.picture.line(4)[..20], [7; 20]);
        assert_eq!(viewer.picture.line(9).iter().sum::<u32>(), 0);
    }
    // It cannot make it another size.
    let guest = FakeGuest::new(20, 10);
    let mut viewer = Viewer::running(&guest, &[0, -308]);
    viewer.say(&[251, 0, 0, 100, 0, 100, 0, 0]);
    viewer.request(true);
    let told = viewer.update();
    assert_eq!((told[0].0, told[0].1, told[0].3[0]), (1, 1, 1));
}

#[test]
fn fences_and_updates_without_requests() {
    let guest = FakeGuest::new(8, 8);
    let mut viewer = Viewer::running(&guest, &[0, -312, -313]);
    assert_eq!(viewer.take(1), [150], "continuous updates are offered");
    assert_eq!(viewer.take(9), [248, 0, 0, 0, 0x80, 0, 0, 0, 0], "and fences");
    viewer.say(&[248, 0, 0, 0, 0x80, 0, 0xFF, 3, 2, 5, 6]);
    assert_eq!(viewer.take(11), [248, 0, 0, 0, 0, 0, 0, 3, 2, 5, 6]);
    viewer.say(&[248, 0, 0, 0, 0, 0, 0, 3, 0]);
    viewer.say(&[150, 1, 0, 0, 0, 0, 0, 8, 0, 8]);
    viewer.update();
    guest.draw(|picture| picture.line_mut(2)[2] = 5);
    viewer.update();
    assert_eq!(viewer.picture.line(2)[2], 5);
    viewer.say(&[150, 0, 0, 0, 0, 0, 0, 8, 0, 8]);
    assert_eq!(viewer.take(1), [150]);
}

#[test]
fn a_viewer_of_a_map_gets_one() {
    let guest = FakeGuest::new(2, 1);
    guest.draw(|picture| picture.line_mut(0).copy_from_slice(&[0, 0x00FF_FFFF]));
    let mut viewer = Viewer::running(&guest, &[0]);
    viewer.say(&[0, 0, 0, 0, 8, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let map = viewer.take(6 + 256 * 6);
    assert_eq!(map[..6], [1, 0, 0, 0, 1, 0]);
    viewer.request(false);
    assert_eq!(viewer.take(18)[16..], [0, 255]);
    // What makes no picture ends it.
    assert!(viewer.try_say(&[0, 0, 0, 0, 24, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0]).is_err());
}

#[test]
fn texts_for_the_clipboard_are_read_over() {
    let guest = FakeGuest::new(2, 1);
    let mut viewer = Viewer::running(&guest, &[0]);
    let length = 100_000usize;
    let mut message = vec![6, 0, 0, 0];
    message.extend((length as u32).to_be_bytes());
    message.extend(vec![4; length]);
    message.extend([4, 1, 0, 0, 0, 0, 0, b'q']);
    message.chunks(1000).for_each(|piece| viewer.say(piece));
    assert_eq!(guest.keys(), [(KeyCode::Q, true)]);
}

#[test]
fn a_viewer_that_asks_and_takes_nothing_costs_no_memory() {
    let guest = FakeGuest::new(1024, 768);
    let mut noise = 1u32;
    let mut viewer = Viewer::running(&guest, &[0, -312]);
    viewer.bytes.clear();
    let mut out = Output::default();
    for round in 0..2000u32 {
        let _ = viewer.session.receive(&[3, 0, 0, 0, 0, 0, 4, 0, 3, 0], &mut out);
        if viewer.session.takes_input() {
            let _ = viewer.session.receive(&[248, 0, 0, 0, 0x80, 0, 0, 0, 4, 1, 2, 3, 4], &mut out);
        }
        guest.draw(|picture| {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(round);
            picture.line_mut(round as usize % 768).fill(noise >> 8);
        });
        // As a connection does: no more is made while there is no room.
        if out.has_room() {
            viewer.now += LATER;
            viewer.session.turn(viewer.now, &mut out).unwrap();
        }
    }
    assert!(!out.has_room());
    assert!(out.take().len() < OUTPUT_LIMIT + (2 << 20), "a part, and answers to fences");
}

#[test]
fn who_wants_to_be_alone_says_so() {
    let guest = FakeGuest::new(2, 1);
    for (shared, alone) in [(0, true), (1, false)] {
        let was_alone = Arc::new(AtomicBool::new(false));
        let noted = was_alone.clone();
        let tell = Box::new(move || noted.store(true, Ordering::Relaxed));
        let mut session = Session::new(Config::default(), guest.clone(), tell).unwrap();
        let mut out = Output::default();
        session.receive(b"RFB 003.008\n\x01", &mut out).unwrap();
        session.receive(&[shared], &mut out).unwrap();
        assert_eq!(was_alone.load(Ordering::Relaxed), alone);
    }
}

#[test]
fn garbage_ends_the_conversation_and_silence_does_too() {
    let guest = FakeGuest::new(2, 1);
    for greeting in [&b"GET / HTTP/1.1\r\n"[..], b"RFB 002.000\n", b"RFB 003x008\n", &[0; 12]] {
        let mut viewer = Viewer::new(&guest, None);
        assert!(viewer.try_say(greeting).is_err(), "{greeting:?}");
    }
    let mut viewer = Viewer::new(&guest, None);
    let end = viewer.turn().unwrap().unwrap();
    assert!(viewer.session.turn(end, &mut viewer.out).is_err());
    let mut viewer = Viewer::running(&guest, &[0]);
    assert!(viewer.try_say(&[99]).is_err());
}
