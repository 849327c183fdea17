//! Draws kitty's images ("Terminal graphics protocol" in kitty's documentation), as far as they are sent with the command.

use crate::Terminal;
use flate2::read::ZlibDecoder;
use std::collections::HashMap;
use std::io::Read;

/// An image on the screen.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    number: u32,
    /// Pixels of the screen: left, top, width, height.
    place: (usize, usize, usize, usize),
    width: usize,
    height: usize,
    pixels: Vec<u8>,
}

impl Image {
    pub(crate) fn pixel(&self, x: usize, y: usize) -> Option<[u8; 3]> {
        let (left, top, width, height) = self.place;
        if !(left..left + width).contains(&x) || !(top..top + height).contains(&y) {
            return None;
        }
        let at = (y - top) * self.height / height * self.width + (x - left) * self.width / width;
        Some([self.pixels[3 * at], self.pixels[3 * at + 1], self.pixels[3 * at + 2]])
    }
}

/// An image that comes in pieces.
#[derive(Clone, Debug)]
pub(crate) struct Loading {
    keys: HashMap<String, String>,
    text: Vec<u8>,
}

fn decode(text: &[u8]) -> Vec<u8> {
    let value = |character: u8| match character {
        b'A'..=b'Z' => character - b'A',
        b'a'..=b'z' => character - b'a' + 26,
        b'0'..=b'9' => character - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        other => panic!("{other:02x} in base64"),
    };
    let mut bytes = Vec::new();
    for group in text.chunks(4) {
        let used = group.iter().take_while(|character| **character != b'=').count();
        let bits =
            (0..4).fold(0u32, |bits, at| bits << 6 | if at < used { u32::from(value(group[at])) } else { 0 });
        bytes.extend(&bits.to_be_bytes()[1..used]);
    }
    bytes
}

impl Terminal {
    /// Obeys a command: `key=value,...;base64`.
    pub(crate) fn obey_kitty(&mut self, command: &[u8]) {
        let command = std::str::from_utf8(command).unwrap();
        let (keys, payload) = command.split_once(';').unwrap_or((command, ""));
        let keys: HashMap<String, String> = keys
            .split(',')
            .filter_map(|key| key.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        assert!(payload.len() <= 4096, "{} characters in a command", payload.len());
        let more = keys.get("m").is_some_and(|more| more == "1");
        let loading = match self.loading.take() {
            Some(mut loading) => {
                assert!(
                    keys.keys().all(|key| key == "m" || key == "q"),
                    "{keys:?} in the middle of an image"
                );
                loading.text.extend(payload.bytes());
                loading
            }
            None => Loading { keys, text: payload.into() },
        };
        if more {
            self.loading = Some(loading);
            return;
        }
        match loading.keys.get("a").map(String::as_str) {
            Some("q") if self.answers.kitty => {
                let number = &loading.keys["i"];
                self.say(&format!("\x1b_Gi={number};OK\x1b\\"));
            }
            Some("T") => self.draw_image(&loading),
            Some("d") => {
                assert_eq!(loading.keys["d"], "A");
                self.images.clear();
            }
            _ => {}
        }
    }
    fn draw_image(&mut self, loading: &Loading) {
        self.pictures += 1;
        let number = |key: &str| loading.keys.get(key).map(|value| value.parse::<usize>().unwrap());
        let keys = &loading.keys;
        assert_eq!((&*keys["f"], &*keys["o"], &*keys["t"], &*keys["C"]), ("24", "z", "d", "1"));
        let mut pixels = Vec::new();
        ZlibDecoder::new(&*decode(&loading.text)).read_to_end(&mut pixels).unwrap();
        let (width, height) = (number("s").unwrap(), number("v").unwrap());
        assert_eq!(pixels.len(), 3 * width * height);
        let (cell_width, cell_height) = self.cell_pixels;
        let shown_width = number("c").map_or(width, |columns| columns * cell_width);
        let shown_height = number("r").map_or(height, |rows| rows * cell_height);
        let place = (self.cursor.0 * cell_width, self.cursor.1 * cell_height, shown_width, shown_height);
        let image = number("i").unwrap() as u32;
        self.images.retain(|other| other.number != image);
        self.images.push(Image { number: image, place, width, height, pixels });
    }
}
