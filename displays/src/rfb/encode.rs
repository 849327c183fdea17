//! Parts of the picture as a viewer takes them (RFC 6143, "Encodings"; Tight from the community's edition of the protocol).

use super::pixels::PixelFormat;
use flate2::{Compress, Compression, FlushCompress, Status};
use std::collections::HashMap;
use trimotor_devices::display::{Rect, Surface};

/// How a part is encoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Encoding {
    /// Pixel after pixel.
    Raw,
    /// Tiles of 16 by 16: a colour, or two with the rectangles that have the second, or raw.
    Hextile,
    /// Raw through zlib.
    Zlib,
    /// A colour, a few, or all through zlib.
    Tight,
    /// Tiles of 64 by 64 like that, all through zlib.
    Zrle,
}

impl Encoding {
    /// From its number.
    pub fn from_number(number: i32) -> Option<Encoding> {
        match number {
            0 => Some(Encoding::Raw),
            5 => Some(Encoding::Hextile),
            6 => Some(Encoding::Zlib),
            7 => Some(Encoding::Tight),
            16 => Some(Encoding::Zrle),
            _ => None,
        }
    }
    fn number(self) -> i32 {
        match self {
            Encoding::Raw => 0,
            Encoding::Hextile => 5,
            Encoding::Zlib => 6,
            Encoding::Tight => 7,
            Encoding::Zrle => 16,
        }
    }
}

/// The widest part: Tight can have no wider ones.
pub const MAX_PART_WIDTH: usize = 2048;
/// Pixels of a part at most: raw, that is a megabyte.
const MAX_PART_PIXELS: usize = 256 << 10;
/// A side of ZRLE's tiles, and of Hextile's.
const ZRLE_TILE: usize = 64;
const HEXTILE: usize = 16;
/// Colours that ZRLE numbers in fewer bits than a byte.
const ZRLE_PALETTE: usize = 16;
/// Colours that Tight numbers: a byte each.
const TIGHT_PALETTE: usize = 256;
/// Tight sends fewer bytes than this without zlib.
const TIGHT_LEAST: usize = 12;
/// Tight's ways of sending, in the upper four bits: zlib's stream 0 with a filter's number, and a single colour.
const TIGHT_STREAM_WITH_FILTER: u8 = 0x40;
const TIGHT_FILL: u8 = 0x80;
const TIGHT_COPY_FILTER: u8 = 0;
const TIGHT_PALETTE_FILTER: u8 = 1;
/// zlib's level where the viewer asks for none: fast, as most parts are flat.
const DEFAULT_LEVEL: u32 = 2;

/// Cuts a part into such as can be encoded.
pub fn cut(part: Rect) -> Vec<Rect> {
    let mut parts = Vec::new();
    for left in (0..part.width).step_by(MAX_PART_WIDTH) {
        let width = (part.width - left).min(MAX_PART_WIDTH);
        let lines = (MAX_PART_PIXELS / width).max(1);
        for top in (0..part.height).step_by(lines) {
            let height = (part.height - top).min(lines);
            parts.push(Rect { x: part.x + left, y: part.y + top, width, height });
        }
    }
    parts
}

/// Encodes for one viewer, whose zlib goes on from part to part.
pub struct Encoder {
    /// How pixels are sent.
    pub format: PixelFormat,
    level: u32,
    zrle: Option<Compress>,
    zlib: Option<Compress>,
    tight: Option<Compress>,
}

impl Default for Encoder {
    fn default() -> Self {
        Self { format: PixelFormat::default(), level: DEFAULT_LEVEL, zrle: None, zlib: None, tight: None }
    }
}

/// The values of a part's pixels, as the viewer has them.
struct Part {
    width: usize,
    height: usize,
    values: Vec<u32>,
}

impl Part {
    /// Black beyond the picture's edges.
    fn new(picture: &Surface, place: Rect, format: &PixelFormat) -> Part {
        let mut values = Vec::with_capacity(place.area());
        // Most pixels are as the one before.
        let (mut last, mut value) = (0, format.value(0));
        for y in place.y..place.y + place.height {
            let line = picture.line(y);
            let start = place.x.min(line.len());
            let pixels = &line[start..(start + place.width).min(line.len())];
            for pixel in pixels {
                if *pixel != last {
                    (last, value) = (*pixel, format.value(*pixel));
                }
                values.push(value);
            }
            values.resize(values.len() + place.width - pixels.len(), format.value(0));
        }
        Part { width: place.width, height: place.height, values }
    }
    fn tile(&self, x: usize, y: usize, side: usize) -> Part {
        let (width, height) = (side.min(self.width - x), side.min(self.height - y));
        let lines = self.values.chunks_exact(self.width).skip(y).take(height);
        let values = lines.flat_map(|line| &line[x..x + width]).copied().collect();
        Part { width, height, values }
    }
    fn tiles(&self, side: usize) -> impl Iterator<Item = Part> {
        let columns = move |y| (0..self.width).step_by(side).map(move |x| (x, y));
        (0..self.height).step_by(side).flat_map(columns).map(move |(x, y)| self.tile(x, y, side))
    }
    /// Its colours in the order of their first pixels, and each pixel's number among them; `None` where there are more.
    fn palette(&self, most: usize) -> Option<(Vec<u32>, Vec<u8>)> {
        let mut numbers: HashMap<u32, u8> = HashMap::new();
        let (mut colours, mut pixels) = (Vec::new(), Vec::with_capacity(self.values.len()));
        let mut last = None;
        for value in &self.values {
            let number = match last {
                Some((before, number)) if before == *value => number,
                _ => match numbers.get(value) {
                    Some(number) => *number,
                    None if colours.len() == most => return None,
                    None => {
                        let number = colours.len() as u8;
                        numbers.insert(*value, number);
                        colours.push(*value);
                        number
                    }
                },
            };
            last = Some((*value, number));
            pixels.push(number);
        }
        Some((colours, pixels))
    }
}

/// Numbers of pixels in so many bits, each line in whole bytes.
fn packed(numbers: &[u8], width: usize, bits: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(numbers.len().div_ceil(8 / bits));
    for line in numbers.chunks(width.max(1)) {
        for several in line.chunks(8 / bits) {
            let byte = several.iter().fold(0, |byte, number| byte << bits | number);
            bytes.push(byte << (bits * (8 / bits - several.len())));
        }
    }
    bytes
}

/// All of `bytes` through a stream that goes on, up to a whole byte.
fn deflated(stream: &mut Option<Compress>, level: u32, bytes: &[u8]) -> Vec<u8> {
    let stream = stream.get_or_insert_with(|| Compress::new(Compression::new(level), true));
    let mut to = Vec::with_capacity(bytes.len() / 4 + 64);
    let start = stream.total_in();
    loop {
        let taken = (stream.total_in() - start) as usize;
        let status = stream.compress_vec(&bytes[taken..], &mut to, FlushCompress::Sync);
        let all = (stream.total_in() - start) as usize == bytes.len();
        // With room left, all that there was has come out.
        if all && to.len() < to.capacity() || !matches!(status, Ok(Status::Ok | Status::BufError)) {
            return to;
        }
        to.reserve(to.capacity().max(64));
    }
}

impl Encoder {
    /// zlib's level from now on, 0 to 9; streams that have begun keep theirs.
    pub fn set_level(&mut self, level: u32) {
        self.level = level.clamp(1, 9);
    }
    /// Appends a part with its header.
    pub fn encode(&mut self, picture: &Surface, place: Rect, encoding: Encoding, to: &mut Vec<u8>) {
        header(place, encoding.number(), to);
        let part = Part::new(picture, place, &self.format);
        match encoding {
            Encoding::Raw => self.raw(&part, to),
            Encoding::Hextile => part.tiles(HEXTILE).for_each(|tile| self.hextile(&tile, to)),
            Encoding::Zlib => {
                let mut pixels = Vec::new();
                self.raw(&part, &mut pixels);
                let bytes = deflated(&mut self.zlib, self.level, &pixels);
                to.extend((bytes.len() as u32).to_be_bytes());
                to.extend(bytes);
            }
            Encoding::Tight => self.tight(&part, to),
            Encoding::Zrle => {
                let mut tiles = Vec::new();
                part.tiles(ZRLE_TILE).for_each(|tile| self.zrle(&tile, &mut tiles));
                let bytes = deflated(&mut self.zrle, self.level, &tiles);
                to.extend((bytes.len() as u32).to_be_bytes());
                to.extend(bytes);
            }
        }
    }
    fn raw(&self, part: &Part, to: &mut Vec<u8>) {
        to.reserve(part.values.len() * self.format.bytes());
        part.values.iter().for_each(|value| self.format.put(*value, to));
    }
    /// RFC 6143, "Hextile Encoding": raw is bit 0, a background bit 1, a foreground bit 2, rectangles of it bit 3.
    fn hextile(&self, tile: &Part, to: &mut Vec<u8>) {
        let put = |value, to: &mut Vec<u8>| self.format.put(value, to);
        let (colours, pixels) = match tile.palette(2) {
            Some(palette) => palette,
            None => {
                to.push(1);
                return self.raw(tile, to);
            }
        };
        if let [colour] = colours[..] {
            to.push(2);
            return put(colour, to);
        }
        let mut rectangles = Vec::new();
        for (y, line) in pixels.chunks(tile.width).enumerate() {
            let mut x = 0;
            for run in line.chunk_by(|left, right| left == right) {
                if run[0] == 1 {
                    rectangles.push([(x << 4 | y) as u8, ((run.len() - 1) << 4) as u8]);
                }
                x += run.len();
            }
        }
        // Sixteen lines of eight runs at most: the count fits in a byte. Where they are longer than the pixels, these go.
        if 2 * rectangles.len() + 2 * self.format.bytes() >= tile.values.len() * self.format.bytes() {
            to.push(1);
            return self.raw(tile, to);
        }
        to.push(2 | 4 | 8);
        put(colours[0], to);
        put(colours[1], to);
        to.push(rectangles.len() as u8);
        to.extend(rectangles.as_flattened());
    }
    /// RFC 6143, "ZRLE": the number of colours of a packed palette; 1 is a single one, 0 none.
    fn zrle(&self, tile: &Part, to: &mut Vec<u8>) {
        let Some((colours, pixels)) = tile.palette(ZRLE_PALETTE) else {
            to.push(0);
            return tile.values.iter().for_each(|value| self.compact(*value, to));
        };
        to.push(colours.len() as u8);
        colours.iter().for_each(|colour| self.compact(*colour, to));
        let bits = match colours.len() {
            0 | 1 => return,
            2 => 1,
            3 | 4 => 2,
            _ => 4,
        };
        to.extend(packed(&pixels, tile.width, bits));
    }
    fn compact(&self, value: u32, to: &mut Vec<u8>) {
        let start = to.len();
        self.format.put(value, to);
        match self.format.compact() {
            Some(0) => to.truncate(start + 3),
            Some(_) => _ = to.remove(start),
            None => {}
        }
    }
    fn tight(&mut self, part: &Part, to: &mut Vec<u8>) {
        let Some((colours, pixels)) = part.palette(TIGHT_PALETTE) else {
            to.extend([TIGHT_STREAM_WITH_FILTER, TIGHT_COPY_FILTER]);
            let mut bytes = Vec::new();
            part.values.iter().for_each(|value| self.tight_pixel(*value, &mut bytes));
            return self.tight_bytes(&bytes, to);
        };
        if let [colour] = colours[..] {
            to.push(TIGHT_FILL);
            return self.tight_pixel(colour, to);
        }
        to.extend([TIGHT_STREAM_WITH_FILTER, TIGHT_PALETTE_FILTER, (colours.len() - 1) as u8]);
        colours.iter().for_each(|colour| self.tight_pixel(*colour, to));
        let bytes = if colours.len() == 2 { packed(&pixels, part.width, 1) } else { pixels };
        self.tight_bytes(&bytes, to);
    }
    fn tight_pixel(&self, value: u32, to: &mut Vec<u8>) {
        if self.format.is_tight() {
            to.extend(self.format.red_green_blue(value));
        } else {
            self.format.put(value, to);
        }
    }
    fn tight_bytes(&mut self, bytes: &[u8], to: &mut Vec<u8>) {
        if bytes.len() < TIGHT_LEAST {
            to.extend(bytes);
            return;
        }
        let bytes = deflated(&mut self.tight, self.level, bytes);
        // Seven bits a byte, the lowest first; the third has eight.
        let length = bytes.len();
        match length {
            0..0x80 => to.push(length as u8),
            0x80..0x4000 => to.extend([length as u8 | 0x80, (length >> 7) as u8]),
            _ => to.extend([length as u8 | 0x80, (length >> 7) as u8 | 0x80, (length >> 14) as u8]),
        }
        to.extend(bytes);
    }
}

/// Appends a rectangle's header (RFC 6143, "FramebufferUpdate").
pub fn header(place: Rect, encoding: i32, to: &mut Vec<u8>) {
    for number in [place.x, place.y, place.width, place.height] {
        to.extend((number as u16).to_be_bytes());
    }
    to.extend(encoding.to_be_bytes());
}
