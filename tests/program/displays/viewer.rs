//! A VNC viewer with raw pixels (RFC 6143), for tests.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

/// No picture takes as long: the guard against hanging.
const PATIENCE: Duration = Duration::from_secs(300);

/// Tries until a server is there.
pub fn connected<T>(mut connect: impl FnMut() -> std::io::Result<T>) -> T {
    let start = Instant::now();
    loop {
        match connect() {
            Ok(stream) => return stream,
            Err(error) if start.elapsed() > PATIENCE => panic!("no server: {error}"),
            Err(_) => thread::sleep(Duration::from_millis(20)),
        }
    }
}

pub struct Viewer<S> {
    pub stream: S,
    pub width: usize,
    pub height: usize,
    /// Pixels 00RRGGBBh.
    pub pixels: Vec<u32>,
}

impl Viewer<UnixStream> {
    pub fn unix(path: &str) -> Self {
        let stream = connected(|| UnixStream::connect(path));
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Viewer::begin(stream)
    }
}

impl Viewer<TcpStream> {
    pub fn tcp(port: u16) -> Self {
        let stream = connected(|| TcpStream::connect(("127.0.0.1", port)));
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Viewer::begin(stream)
    }
}

impl<S: Read + Write> Viewer<S> {
    fn begin(stream: S) -> Self {
        let mut viewer = Viewer { stream, width: 0, height: 0, pixels: Vec::new() };
        assert_eq!(viewer.take::<12>(), *b"RFB 003.008\n");
        viewer.say(b"RFB 003.008\n");
        assert_eq!(viewer.take::<2>(), [1, 1], "no password is asked for");
        viewer.say(&[1]);
        assert_eq!(viewer.take::<4>(), [0; 4]);
        // It shares.
        viewer.say(&[1]);
        let init = viewer.take::<24>();
        let side = |at: usize| usize::from(u16::from_be_bytes([init[at], init[at + 1]]));
        viewer.resize(side(0), side(2));
        assert_eq!(viewer.take::<8>(), *b"Trimotor");
        // Raw, and DesktopSize.
        viewer.say(&[2, 0, 0, 2, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0x21]);
        viewer
    }
    fn resize(&mut self, width: usize, height: usize) {
        (self.width, self.height) = (width, height);
        self.pixels = vec![0; width * height];
    }
    pub fn say(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.stream.read_exact(&mut bytes).expect("the server answers");
        bytes
    }
    pub fn request(&mut self, incremental: bool) {
        let [w, h] = [self.width, self.height].map(|side| (side as u16).to_be_bytes());
        self.say(&[3, incremental.into(), 0, 0, 0, 0, w[0], w[1], h[0], h[1]]);
    }
    /// Takes an update.
    pub fn update(&mut self) {
        let [kind, _, high, low] = self.take::<4>();
        assert_eq!(kind, 0);
        for _ in 0..u16::from_be_bytes([high, low]) {
            let header = self.take::<12>();
            let [x, y, width, height] =
                [0, 2, 4, 6].map(|at| usize::from(u16::from_be_bytes([header[at], header[at + 1]])));
            match i32::from_be_bytes(header[8..].try_into().unwrap()) {
                0 => {
                    let mut bytes = vec![0; 4 * width * height];
                    self.stream.read_exact(&mut bytes).unwrap();
                    for (at, pixel) in bytes.chunks_exact(4).enumerate() {
                        let place = (y + at / width) * self.width + x + at % width;
                        self.pixels[place] = u32::from_le_bytes(pixel.try_into().unwrap()) & 0x00FF_FFFF;
                    }
                }
                -223 => self.resize(width, height),
                other => panic!("the encoding {other} was not asked for"),
            }
        }
    }
    /// Looks until the picture is as it should be.
    pub fn look_until(&mut self, what: &str, is_right: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        self.request(false);
        loop {
            self.update();
            if is_right(self) {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "the picture never has {what}");
            self.request(true);
        }
    }
    /// Pixels of the lines from `from` up to `to` that are not those of the left top.
    pub fn drawn(&self, from: usize, to: usize) -> usize {
        let lines = &self.pixels
            [(from * self.width).min(self.pixels.len())..(to * self.width).min(self.pixels.len())];
        lines.iter().filter(|pixel| **pixel != self.pixels[0]).count()
    }
    /// Takes all of the picture as it is now.
    pub fn whole(&mut self) {
        self.request(false);
        loop {
            let before = (self.width, self.height);
            self.update();
            // A screen of another size is told alone, and the request still stands.
            if (self.width, self.height) == before {
                return;
            }
        }
    }
    /// Strikes the keys of a text, by keysyms.
    pub fn strike(&mut self, text: &str) {
        for character in text.chars() {
            self.key(if character == '\r' { 0xFF0D } else { u32::from(character) });
        }
    }
    /// Strikes the key with this keysym.
    pub fn key(&mut self, keysym: u32) {
        for down in [1, 0] {
            let mut message = vec![4, down, 0, 0];
            message.extend(keysym.to_be_bytes());
            self.say(&message);
        }
    }
    /// Moves the pointer there, with these buttons down (bit 0 is the left one).
    pub fn point(&mut self, x: u16, y: u16, buttons: u8) {
        let (x, y) = (x.to_be_bytes(), y.to_be_bytes());
        self.say(&[5, buttons, x[0], x[1], y[0], y[1]]);
    }
}
