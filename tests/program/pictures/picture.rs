//! A picture: read from files, kept for people, compared, and read as text.

use crate::support::needs::{Need, program};
use crate::support::small_guest::Scratch;
use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Reads text in pictures.
pub const READER: Need = Need { name: "tesseract", check: || program("tesseract", "tesseract-ocr") };

/// All bits of the components.
pub const EXACT: u32 = 0x00FF_FFFF;
/// The bits that components of six bits have: adapters fill the others up in several ways.
pub const SIX_BITS: u32 = 0x00FC_FCFC;
/// A part of a picture, in pixels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Part {
    pub x: usize,
    pub y: usize,
    pub width: usize,
    pub height: usize,
}

impl Part {
    pub fn has(&self, x: usize, y: usize) -> bool {
        (self.x..self.x + self.width).contains(&x) && (self.y..self.y + self.height).contains(&y)
    }
}

#[derive(Clone, PartialEq, Eq)]
pub struct Picture {
    pub width: usize,
    pub height: usize,
    /// 00RRGGBBh.
    pub pixels: Vec<u32>,
}

impl Picture {
    pub fn at(&self, x: usize, y: usize) -> u32 {
        self.pixels[y * self.width + x]
    }
    /// Red, green and blue of a pixel.
    pub fn rgb(&self, x: usize, y: usize) -> [u8; 3] {
        let [_, r, g, b] = self.at(x, y).to_be_bytes();
        [r, g, b]
    }
    /// Reads a PNG file; what is transparent is shown on black.
    pub fn from_png(path: &Path) -> Picture {
        let mut decoder = png::Decoder::new(BufReader::new(File::open(path).unwrap()));
        decoder.set_transformations(png::Transformations::EXPAND | png::Transformations::STRIP_16);
        let mut reader = decoder.read_info().unwrap();
        let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut bytes).unwrap();
        let pixel = |c: &[u8]| match *c {
            [r, g, b] => u32::from_be_bytes([0, r, g, b]),
            [r, g, b, alpha] => {
                let shown = |c: u8| (u16::from(c) * u16::from(alpha) / 255) as u8;
                u32::from_be_bytes([0, shown(r), shown(g), shown(b)])
            }
            ref other => panic!("{} has {} bytes a pixel", path.display(), other.len()),
        };
        let pixels = bytes[..info.buffer_size()].chunks_exact(info.color_type.samples()).map(pixel).collect();
        Picture { width: info.width as usize, height: info.height as usize, pixels }
    }
    /// Reads the PPM file (P6) that QEMU's `screendump` writes.
    pub fn from_ppm(file: &[u8]) -> Picture {
        let mut at = 0;
        let mut word = || {
            let start = at;
            at += file[start..].iter().position(u8::is_ascii_whitespace).unwrap() + 1;
            std::str::from_utf8(&file[start..at - 1]).unwrap().to_owned()
        };
        assert_eq!(word(), "P6");
        let (width, height) = (word().parse().unwrap(), word().parse().unwrap());
        assert_eq!(word(), "255");
        let pixels = file[at..].chunks_exact(3).map(|c| u32::from_be_bytes([0, c[0], c[1], c[2]])).collect();
        Picture { width, height, pixels }
    }
    /// Writes it as PNG.
    pub fn write(&self, path: &Path) {
        let file = BufWriter::new(File::create(path).unwrap());
        let mut encoder = png::Encoder::new(file, self.width as u32, self.height as u32);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        let bytes: Vec<u8> = self.pixels.iter().flat_map(|pixel| pixel.to_be_bytes()[1..].to_vec()).collect();
        encoder.write_header().unwrap().write_image_data(&bytes).unwrap();
    }
    /// Keeps it for people, in `target/test-artefacts`.
    pub fn keep(&self, name: &str) -> PathBuf {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("test-artefacts");
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join(format!("{name}.png"));
        self.write(&path);
        path
    }
    pub fn part(&self, part: Part) -> Picture {
        let line = |y: usize| &self.pixels[y * self.width + part.x..][..part.width];
        let pixels = (part.y..part.y + part.height).flat_map(line).copied().collect();
        Picture { width: part.width, height: part.height, pixels }
    }
    /// As much of a part as there is.
    pub fn part_within(&self, part: Part) -> Picture {
        let (x, y) = (part.x.min(self.width), part.y.min(self.height));
        self.part(Part {
            x,
            y,
            width: part.width.min(self.width - x),
            height: part.height.min(self.height - y),
        })
    }
    /// The places where two pictures of one size differ in bits of `mask`; all of them where the sizes differ.
    pub fn differing(&self, other: &Picture, mask: u32) -> Vec<(usize, usize)> {
        let place = |at: usize| (at % self.width, at / self.width);
        if (self.width, self.height) != (other.width, other.height) {
            return (0..self.pixels.len()).map(place).collect();
        }
        let pairs = self.pixels.iter().zip(&other.pixels).enumerate();
        pairs.filter(|(_, (a, b))| (*a ^ *b) & mask != 0).map(|(at, _)| place(at)).collect()
    }
    /// How many colours it has, at most `most`.
    pub fn colours(&self, most: usize) -> usize {
        let mut seen = std::collections::BTreeSet::new();
        for pixel in &self.pixels {
            if seen.insert(pixel) && seen.len() == most {
                break;
            }
        }
        seen.len()
    }
    /// What a text recognizer reads. It expects letters as large as in print, so that it gets the picture three times as large.
    pub fn text(&self) -> String {
        const TIMES: usize = 3;
        if self.pixels.is_empty() || self.colours(2) < 2 {
            return String::new();
        }
        let line = |y: usize| {
            let line = self.pixels[y * self.width..][..self.width].iter();
            line.flat_map(|pixel| [*pixel; TIMES]).collect::<Vec<_>>()
        };
        let pixels = (0..self.height).flat_map(|y| line(y).repeat(TIMES)).collect();
        let large = Picture { width: TIMES * self.width, height: TIMES * self.height, pixels };
        let file = Scratch::new("read.png");
        large.write(&file.0);
        let output = Command::new("tesseract")
            .args([&file.path(), "stdout", "--psm", "11"])
            // One thread is faster than its several where others compute, too.
            .env("OMP_THREAD_LIMIT", "1")
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}
