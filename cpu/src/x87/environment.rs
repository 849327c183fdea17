//! The images of FSTENV, FSAVE and FXSAVE in memory.
//!
//! FSTENV and FSAVE have four layouts, by operand size and by whether instruction pointers
//! are selector and offset (protected mode) or one linear address (real and virtual-8086
//! mode). FXSAVE and XSAVE share a fifth, where registers take 16 bytes each.
//!
//! Source: SDM Vol. 1, Saving the x87 FPU's State with FSTENV/FNSTENV and FSAVE/FNSAVE, and
//! FXSAVE Layouts.

use crate::state::{Fpr, X87State};

/// A layout of FSTENV and FSAVE.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Layout {
    /// 32-bit operand size: 28 bytes instead of 14.
    pub wide: bool,
    /// Real or virtual-8086 mode: linear addresses instead of selectors and offsets.
    pub real: bool,
}

/// The longest environment in bytes.
pub const ENVIRONMENT_BYTES: usize = 28;
/// The longest image of FSAVE in bytes.
pub const SAVE_BYTES: usize = ENVIRONMENT_BYTES + 80;

impl Layout {
    /// Bytes of the environment: 14 or 28.
    pub const fn bytes(self) -> usize {
        if self.wide { 28 } else { 14 }
    }
}

/// Reads the `n`th field of an environment.
fn field(image: &[u8], layout: Layout, n: usize) -> u32 {
    if layout.wide {
        u32::from_le_bytes([image[4 * n], image[4 * n + 1], image[4 * n + 2], image[4 * n + 3]])
    } else {
        u16::from_le_bytes([image[2 * n], image[2 * n + 1]]) as u32
    }
}

fn real_address(selector: u16, offset: u64) -> u32 {
    ((selector as u32) << 4).wrapping_add(offset as u32)
}

impl X87State {
    /// The environment (FNSTENV); the first [`Layout::bytes`] bytes count.
    pub fn environment(&self, layout: Layout) -> [u8; ENVIRONMENT_BYTES] {
        let ones = 0xFFFF_0000_u32;
        let words = [self.control, self.status_word(), self.tag_word()]
            .map(|w| if layout.wide { w as u32 | ones } else { w as u32 });
        let opcode = (self.last_opcode & 0x7FF) as u32;
        let pointers = match (layout.real, layout.wide) {
            (false, true) => [
                self.last_ip as u32,
                self.last_cs as u32 | opcode << 16,
                self.last_dp as u32,
                self.last_ds as u32 | ones,
            ],
            (false, false) => {
                [self.last_ip as u32, self.last_cs as u32, self.last_dp as u32, self.last_ds as u32]
            }
            (true, wide) => {
                let ip = real_address(self.last_cs, self.last_ip);
                let dp = real_address(self.last_ds, self.last_dp);
                let high = |a: u32| if wide { a >> 16 << 12 } else { a >> 16 << 12 & 0xF000 };
                [ip & 0xFFFF, high(ip) | opcode, dp & 0xFFFF, high(dp)]
            }
        };
        let mut image = [0; ENVIRONMENT_BYTES];
        for (n, value) in words.into_iter().chain(pointers).enumerate() {
            if layout.wide {
                image[4 * n..4 * n + 4].copy_from_slice(&value.to_le_bytes());
            } else {
                image[2 * n..2 * n + 2].copy_from_slice(&(value as u16).to_le_bytes());
            }
        }
        image
    }

    /// Loads an environment (FLDENV). `image` has at least [`Layout::bytes`] bytes.
    pub fn load_environment(&mut self, image: &[u8], layout: Layout) {
        self.set_control(field(image, layout, 0) as u16);
        self.set_status_word(field(image, layout, 1) as u16);
        self.set_tag_word(field(image, layout, 2) as u16);
        let [ip, cs, dp, ds] = [3, 4, 5, 6].map(|n| field(image, layout, n));
        if layout.real {
            // The linear address alone is known: it is kept as an offset from selector 0.
            let high = |f: u32| f >> 12 << 16;
            (self.last_ip, self.last_cs) = ((ip & 0xFFFF | high(cs)) as u64, 0);
            (self.last_dp, self.last_ds) = ((dp & 0xFFFF | high(ds)) as u64, 0);
            self.last_opcode = cs as u16 & 0x7FF;
        } else {
            (self.last_ip, self.last_cs) = (ip as u64, cs as u16);
            (self.last_dp, self.last_ds) = (dp as u64, ds as u16);
            self.last_opcode = if layout.wide { (cs >> 16) as u16 & 0x7FF } else { 0 };
        }
    }

    /// The image of FNSAVE and its length: the environment, then ST0 to ST7.
    pub fn save_image(&self, layout: Layout) -> ([u8; SAVE_BYTES], usize) {
        let mut image = [0; SAVE_BYTES];
        let at = layout.bytes();
        image[..at].copy_from_slice(&self.environment(layout)[..at]);
        for i in 0..8 {
            let to = at + 10 * i;
            image[to..to + 10].copy_from_slice(&self.st(i as u8).0[..10]);
        }
        (image, at + 80)
    }

    /// Loads the image of FRSTOR.
    pub fn restore_image(&mut self, image: &[u8], layout: Layout) {
        self.load_environment(image, layout);
        for i in 0..8 {
            let from = layout.bytes() + 10 * i;
            let mut value = [0; 16];
            value[..10].copy_from_slice(&image[from..from + 10]);
            let r = self.physical(i as u8);
            self.regs[r] = Fpr(value);
        }
    }

    /// Bytes 0 to 23 of the image of FXSAVE and XSAVE: control, status and tags, and the
    /// pointers, with 64-bit offsets (`wide`: REX.W) or selectors.
    pub fn fx_header(&self, wide: bool) -> [u8; 24] {
        let mut h = [0; 24];
        h[0..2].copy_from_slice(&self.control.to_le_bytes());
        h[2..4].copy_from_slice(&self.status_word().to_le_bytes());
        h[4] = !self.empty;
        h[6..8].copy_from_slice(&(self.last_opcode & 0x7FF).to_le_bytes());
        h[8..16].copy_from_slice(&self.last_ip.to_le_bytes());
        h[16..24].copy_from_slice(&self.last_dp.to_le_bytes());
        if !wide {
            h[12..16].copy_from_slice(&(self.last_cs as u32).to_le_bytes());
            h[20..24].copy_from_slice(&(self.last_ds as u32).to_le_bytes());
        }
        h
    }

    /// Loads what [`fx_header`](Self::fx_header) made.
    pub fn load_fx_header(&mut self, h: &[u8; 24], wide: bool) {
        let word = |at: usize| u16::from_le_bytes([h[at], h[at + 1]]);
        let qword = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| h[at + i]));
        self.set_control(word(0));
        self.set_status_word(word(2));
        self.empty = !h[4];
        self.last_opcode = word(6) & 0x7FF;
        (self.last_ip, self.last_dp) = (qword(8), qword(16));
        if !wide {
            (self.last_cs, self.last_ds) = (word(12), word(20));
            self.last_ip &= 0xFFFF_FFFF;
            self.last_dp &= 0xFFFF_FFFF;
        }
    }

    /// The registers as FXSAVE and XSAVE lay them out: ST0 to ST7, 16 bytes each.
    pub fn fx_registers(&self) -> [u8; 128] {
        let mut image = [0; 128];
        for (i, part) in image.chunks_exact_mut(16).enumerate() {
            part[..10].copy_from_slice(&self.st(i as u8).0[..10]);
        }
        image
    }

    /// Loads the registers, after TOP.
    pub fn load_fx_registers(&mut self, image: &[u8; 128]) {
        for (i, part) in image.chunks_exact(16).enumerate() {
            let r = self.physical(i as u8);
            self.regs[r] = Fpr(std::array::from_fn(|n| if n < 10 { part[n] } else { 0 }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_restores_what_it_saved() {
        for (wide, real) in [(false, false), (true, false), (true, true), (false, true)] {
            let mut x = X87State { top: 5, empty: 0x3C, status: 0x4421, ..X87State::INIT };
            x.last_ip = 0x1234;
            x.last_opcode = 0x5D8;
            for (n, r) in x.regs.iter_mut().enumerate() {
                r.0[7] = 0x80 | n as u8;
                r.0[9] = 0x3F;
            }
            let layout = Layout { wide, real };
            let (image, len) = x.save_image(layout);
            assert_eq!(len, if wide { 108 } else { 94 });
            let mut y = X87State::INIT;
            y.restore_image(&image, layout);
            if !wide && !real {
                x.last_opcode = 0;
            }
            assert_eq!(x, y);
        }
    }

    #[test]
    fn the_real_mode_form_holds_linear_addresses() {
        let x = X87State { last_cs: 0xF000, last_ip: 0xFFF0, last_opcode: 0x1C0, ..X87State::INIT };
        let image = x.environment(Layout { wide: false, real: true });
        assert_eq!(image[6..10], [0xF0, 0xFF, 0xC0, 0xF1]);
    }
}
