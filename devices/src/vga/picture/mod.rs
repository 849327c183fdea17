//! The picture on the screen, in pixels, as a monitor shows it.
//!
//! Its width is that of the dots shown (8 or 9 for a character, twice as many with a halved dot clock), its height the
//! lines between two retraces: 720x400 for mode 3, 640x400 for modes 4 to 6, Dh and 13h, whose lines or pixels are shown
//! twice, 640x350 for Fh and 10h, 640x480 for 11h and 12h. In DISPI modes it is the mode's size. The border (overscan) is
//! not part of it.
//!
//! Nothing is drawn that is on the surface already. What memory was written is known by pages
//! ([`MemoryRegion::take_dirty`](trimotor_bus::MemoryRegion::take_dirty)). Of a VGA's 256 KiB a copy is kept: text is drawn
//! by cells whose character, attribute or cursor differ from what was drawn there, lines of pixels where a page of
//! theirs was written. Each line drawn is compared with the surface, and the part that differs is the damage.
//!
//! [`text`] draws characters, [`pixels`] the VGA's graphics modes, [`linear`] DISPI modes, and [`dirty`] knows the pages.

mod dirty;
mod linear;
mod pixels;
#[cfg(test)]
mod tests;
mod text;

use super::crtc::{Addressing, lines_shown, scan_lines};
use super::dispi::{Dispi, DispiMode};
use super::planes::{MEMORY_BYTES, Order, Planes};
use super::registers::*;
use crate::display::{Damage, MAX_HEIGHT, MAX_WIDTH, Rect, Surface};
use dirty::DirtyPages;
use trimotor_bus::GuestTime;

/// What draws, and what it remembers of what it drew.
pub(super) struct Picture {
    dirty: DirtyPages,
    /// The planes as they were drawn.
    copy: Vec<u8>,
    /// What the drawing was made by.
    drawn: Option<Drawn>,
    text: text::Cells,
    lines: pixels::Lines,
}

/// All that a drawing depends on, beside memory.
#[derive(Clone, PartialEq, Debug)]
enum Drawn {
    /// Nothing but black.
    Blank {
        width: usize,
        height: usize,
    },
    Text(Box<Look>),
    Pixels(Box<Look>),
    Linear(Box<LinearLook>),
}

/// The registers that count.
#[derive(Clone, PartialEq, Debug)]
struct Look {
    sequencer: [u8; SEQUENCER_REGISTERS],
    crtc: [u8; CRTC_REGISTERS],
    graphics_mode: u8,
    attribute: [u8; ATTRIBUTE_REGISTERS],
    colours: [u32; 256],
}

#[derive(Clone, PartialEq, Debug)]
struct LinearLook {
    mode: DispiMode,
    big_endian: bool,
    colours: [u32; 256],
    /// With 4 bits a pixel.
    palette: [u32; 16],
}

/// What is looked at.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub registers: &'a Registers,
    pub dispi: &'a Dispi,
    pub planes: &'a Planes,
    pub big_endian: bool,
    pub now: GuestTime,
}

impl Source<'_> {
    fn drawn(&self) -> Drawn {
        let r = self.registers;
        let on = r.screen_on();
        if let Some(mode) = self.dispi.mode() {
            if !on {
                return Drawn::Blank { width: mode.width, height: mode.height };
            }
            let palette = std::array::from_fn(|code| super::dac::rgb(r.colour(code as u8)));
            let colours = if mode.bits <= 8 { r.dac.colours() } else { [0; 256] };
            return Drawn::Linear(Box::new(LinearLook {
                mode,
                big_endian: self.big_endian,
                colours,
                palette,
            }));
        }
        if !on {
            let (width, height) = size(r);
            return Drawn::Blank { width, height };
        }
        let mut crtc = r.crtc;
        if !r.is_graphics() {
            // Cells know of the cursor, and of where they are in memory.
            crtc[CRTC_CURSOR_START..=CRTC_CURSOR_LOCATION + 1].fill(0);
        }
        let look = Box::new(Look {
            sequencer: r.sequencer,
            crtc,
            graphics_mode: r.graphics[5] & 0x60,
            attribute: r.attribute,
            colours: r.dac.colours(),
        });
        if r.is_graphics() { Drawn::Pixels(look) } else { Drawn::Text(look) }
    }
    /// The bytes of the frame buffer that are shown.
    fn shown(&self) -> std::ops::Range<u64> {
        match self.dispi.mode() {
            // One more, where a line begins amid eight pixels.
            Some(mode) => mode.start..mode.start + mode.pitch * mode.height as u64 + 4,
            None => 0..MEMORY_BYTES as u64,
        }
    }
}

/// The picture's size, which registers of a guest's choice keep within what a surface can be.
fn size(r: &Registers) -> (usize, usize) {
    let dots = if r.is_graphics() { 8 } else { r.dots() };
    let width = (r.crtc[1] as usize + 1) * dots * if r.half_clock() { 2 } else { 1 };
    (width.min(MAX_WIDTH), lines_shown(r).min(MAX_HEIGHT))
}

impl Picture {
    /// Nothing was drawn yet.
    pub(super) fn new() -> Self {
        Self {
            dirty: DirtyPages::default(),
            copy: Vec::new(),
            drawn: None,
            text: text::Cells::default(),
            lines: pixels::Lines::default(),
        }
    }
    /// Notes what of the memory that is shown was written since it was last asked; whether anything was.
    pub(super) fn gather(&mut self, source: &Source<'_>) -> bool {
        self.dirty.look(&source.planes.memory, source.shown())
    }
    /// Looks at memory and time: whether a drawing now would differ from the last one. Registers are left to the caller.
    pub(super) fn look(&mut self, source: &Source<'_>) -> bool {
        self.gather(source);
        let blinks = matches!(self.drawn, Some(Drawn::Text(_)))
            && self.text.phase_matters(text::Phase::at(source.registers, source.now));
        self.drawn.is_none() || self.dirty.any() || blinks
    }
    /// Draws what changed, or `all`, and returns which parts of the surface are new.
    pub(super) fn draw(&mut self, source: &Source<'_>, surface: &mut Surface, all: bool) -> Damage {
        self.dirty.look(&source.planes.memory, source.shown());
        let next = source.drawn();
        let all = all || self.drawn.as_ref() != Some(&next);
        let r = source.registers;
        let mut damage = Damage::default();
        let order = Order::of(r, false);
        let (width, height) = match &next {
            Drawn::Blank { width, height } => (*width, *height),
            Drawn::Linear(look) => (look.mode.width, look.mode.height),
            _ => size(r),
        };
        let resized = surface.resize(width, height);
        let all = all || resized;
        match &next {
            Drawn::Blank { .. } if all => {
                let black = vec![0; surface.width()];
                (0..height).for_each(|y| put(surface, &mut damage, 0, y, &black));
            }
            Drawn::Blank { .. } => {}
            Drawn::Linear(look) => {
                linear::draw(look, &source.planes.memory, &self.dirty, surface, &mut damage, all);
            }
            Drawn::Text(look) => {
                let all = self.bring_copy_up_to_date(source.planes, order, all).font || all;
                self.text.draw(
                    r,
                    look,
                    &self.copy,
                    text::Phase::at(r, source.now),
                    surface,
                    &mut damage,
                    all,
                );
            }
            Drawn::Pixels(look) => {
                let pages = self.bring_copy_up_to_date(source.planes, order, all).pages;
                if all {
                    self.lines = pixels::Lines::new(scan_lines(r), Addressing::of(r), order, r.crtc[1]);
                }
                let palette = std::array::from_fn(|code| look.colours[r.palette(code as u8) as usize]);
                let shift = look.graphics_mode >> 5;
                let how = pixels::How { shift, colours: &look.colours, palette, double: r.half_clock() };
                self.lines.draw(&how, &self.copy, if all { u64::MAX } else { pages }, surface, &mut damage);
            }
        }
        self.drawn = Some(next);
        self.dirty.clear();
        if resized { Damage::whole(surface) } else { damage }
    }
    /// Copies pages of the planes that were written, or all of them.
    fn bring_copy_up_to_date(&mut self, planes: &Planes, order: Order, all: bool) -> Copied {
        let mut copied = Copied::default();
        if self.copy.len() != MEMORY_BYTES {
            self.copy = vec![0; MEMORY_BYTES];
        }
        let mut bytes = [0; 4096];
        let dirty = &mut self.dirty;
        for (page, old) in self.copy.chunks_exact_mut(4096).enumerate() {
            if !dirty.take(page) && !all {
                continue;
            }
            planes.memory.read(page as u64 * 4096, &mut bytes);
            if old == bytes {
                continue;
            }
            copied.pages |= 1 << page;
            let differs =
                |(at, (old, new)): (usize, (&u8, &u8))| old != new && order.is_font(page * 4096 + at);
            copied.font = copied.font || old.iter().zip(&bytes).enumerate().any(differs);
            old.copy_from_slice(&bytes);
        }
        copied
    }
}

/// What of the planes was found changed.
#[derive(Default)]
struct Copied {
    /// A bit for each page of 4 KiB.
    pages: u64,
    /// A byte of plane 2.
    font: bool,
}

/// Puts pixels on a line, and adds those that differ to the damage.
fn put(surface: &mut Surface, damage: &mut Damage, x: usize, y: usize, pixels: &[u32]) {
    let Some(line) = surface.line_mut(y).get_mut(x..) else { return };
    let count = pixels.len().min(line.len());
    let (line, pixels) = (&mut line[..count], &pixels[..count]);
    let Some(first) = line.iter().zip(pixels).position(|(old, new)| old != new) else { return };
    let last = line.iter().zip(pixels).rposition(|(old, new)| old != new).unwrap_or(first);
    line[first..=last].copy_from_slice(&pixels[first..=last]);
    damage.add(Rect { x: x + first, y, width: last - first + 1, height: 1 });
}
