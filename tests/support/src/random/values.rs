//! Random numbers, and values that find mistakes: borders, powers of two, zeros, NaNs, denormals.

use super::layout::{SCRATCH_BYTES, WRITABLE, XSAVE_BYTES, Xsave};

/// SplitMix64.
#[derive(Clone)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }
    /// Any 64 bits.
    #[expect(clippy::should_implement_trait, reason = "it never ends, so there is no Option")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    }
    /// 0 to `n` - 1.
    pub fn below(&mut self, n: u64) -> u64 {
        ((self.next() >> 32) * n) >> 32
    }
    /// True `n` times in a hundred.
    pub fn percent(&mut self, n: u64) -> bool {
        self.below(100) < n
    }
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}

/// An integer of 64 bits.
pub fn integer(r: &mut Random) -> u64 {
    match r.below(10) {
        0 => 0,
        1 => u64::MAX,
        2 => r.below(256),
        3 => 1 << r.below(64),
        4 => (1u64 << r.below(64)).wrapping_sub(1),
        5 => (r.next() as i32) as i64 as u64,
        6 => r.pick(&[
            0x7F,
            0x80,
            0xFF,
            0x7FFF,
            0x8000,
            0xFFFF,
            0x7FFF_FFFF,
            0x8000_0000,
            0xFFFF_FFFF,
            1 << 63,
        ]),
        7 => r.next() >> r.below(64),
        _ => r.next(),
    }
}

fn single(r: &mut Random) -> u32 {
    let sign = (r.next() as u32) & 0x8000_0000;
    sign | match r.below(14) {
        0 => 0,
        1 => 0x7F80_0000,
        2 => 0x7FC0_0000 | r.below(1 << 22) as u32,
        3 => 0x7F80_0001 + r.below(1 << 21) as u32,
        4 => 1 + r.below(0x7F_FFFE) as u32,
        5 => r.pick(&[1, 0x7F_FFFF, 0x80_0000, 0x7F7F_FFFF]),
        6 => r.pick(&[
            0x3F80_0000,
            0x3F00_0000,
            0x4B00_0000,
            0x4EFF_FFFF,
            0x4F00_0000,
            0x5EFF_FFFF,
            0x5F00_0000,
        ]),
        7 => (r.below(60) as f32 - 30.0 + 0.5 * r.below(2) as f32).abs().to_bits(),
        8 => 0x3F80_0000 + r.below(4) as u32,
        9 => (r.next() as u32) & 0x7FFF_FFFF,
        _ => 0x3000_0000 + r.below(0x2000_0000) as u32,
    }
}

fn double(r: &mut Random) -> u64 {
    let sign = r.next() & 1 << 63;
    sign | match r.below(14) {
        0 => 0,
        1 => 0x7FF0 << 48,
        2 => 0x7FF8 << 48 | r.below(1 << 30),
        3 => (0x7FF0 << 48) + 1 + r.below(1 << 30),
        4 => 1 + r.next() % 0xF_FFFF_FFFF_FFFE,
        5 => r.pick(&[1, 0xF_FFFF_FFFF_FFFF, 0x10_0000_0000_0000, 0x7FEF_FFFF_FFFF_FFFF]),
        6 => r.pick(&[
            0x3FF0_0000_0000_0000,
            0x41DF_FFFF_FFC0_0000,
            0x41E0_0000_0000_0000,
            0x43DF_FFFF_FFFF_FFFF,
            0x43E0_0000_0000_0000,
            0x3690_0000_0000_0000,
            0x3800_0000_0000_0000,
            0x47EF_FFFF_F000_0000,
        ]),
        7 => (r.below(60) as f64 - 30.0 + 0.5 * r.below(2) as f64).abs().to_bits(),
        8 => 0x3FF0_0000_0000_0000 + r.below(4),
        9 => r.next() & !(1 << 63),
        _ => 0x3C00_0000_0000_0000 + (r.next() & 0x07FF_FFFF_FFFF_FFFF),
    }
}

/// An 80-bit value in any of its classes, the unsupported ones too.
fn extended(r: &mut Random) -> [u8; 10] {
    let sign = (r.next() as u16) & 0x8000;
    let integer_bit = 1u64 << 63;
    let (exponent, significand) = match r.below(16) {
        0 => (0, 0),
        1 => (0x7FFF, integer_bit),
        2 => (0x7FFF, integer_bit | 1 << 62 | r.next() >> 2),
        3 => (0x7FFF, integer_bit | (1 + (r.next() >> 2))),
        4 => (0, r.next() >> 1),
        5 => (0, integer_bit | r.next()),
        6 => (r.below(0x7FFF) as u16, r.next() >> 1),
        7 => (0x7FFF, r.next() >> 1),
        8 => (0x3FFF + r.below(70) as u16, integer_bit | r.next() << r.below(64)),
        9 => (0x3FFF - r.below(70) as u16, integer_bit | r.next()),
        10 => (
            r.pick(&[1, 0x7FFE, 0x3FFF, 0x403E, 0x3C01, 0x43FE, 0x3F81, 0x407E]),
            r.pick(&[integer_bit, u64::MAX]),
        ),
        11 => (r.below(0x7FFF) as u16, integer_bit | r.next()),
        _ => (0x3FE0 + r.below(0x40) as u16, integer_bit | r.next()),
    };
    let mut bytes = [0; 10];
    bytes[..8].copy_from_slice(&significand.to_le_bytes());
    bytes[8..].copy_from_slice(&(sign | exponent).to_le_bytes());
    bytes
}

/// Fills bytes with elements of one kind, or mixed ones.
fn fill(r: &mut Random, into: &mut [u8]) {
    match r.below(8) {
        0 => into.fill(0),
        1 => into.chunks_exact_mut(4).for_each(|c| c.copy_from_slice(&single(r).to_le_bytes())),
        2 => into.chunks_exact_mut(8).for_each(|c| c.copy_from_slice(&double(r).to_le_bytes())),
        3 => into.chunks_exact_mut(4).for_each(|c| c.copy_from_slice(&(integer(r) as u32).to_le_bytes())),
        4 => into.chunks_exact_mut(8).for_each(|c| c.copy_from_slice(&integer(r).to_le_bytes())),
        5 => {
            // Values of like size, so that comparisons and blends see equal ones too.
            let base = single(r);
            into.chunks_exact_mut(4)
                .for_each(|c| c.copy_from_slice(&base.wrapping_add(r.below(3) as u32).to_le_bytes()));
        }
        6 => into.iter_mut().for_each(|b| *b = r.pick(&[0, 1, 0x7F, 0x80, 0xFF, 0x41, 0x61])),
        _ => into.iter_mut().for_each(|b| *b = r.next() as u8),
    }
}

/// A filling of the scratch pages.
pub fn template(r: &mut Random) -> Vec<u8> {
    let mut bytes = vec![0; SCRATCH_BYTES];
    for chunk in bytes.chunks_mut(32) {
        if r.percent(15) {
            chunk[..10].copy_from_slice(&extended(r));
            chunk[16..26].copy_from_slice(&extended(r));
        } else if r.percent(10) {
            for byte in &mut chunk[..] {
                *byte = (r.below(10) << 4 | r.below(10)) as u8;
            }
        } else {
            fill(r, chunk);
        }
    }
    debug_assert!(bytes.len() > WRITABLE);
    bytes
}

/// The x87, SSE and AVX registers. `tame`: no unmasked exceptions, default rounding.
pub fn xsave(r: &mut Random, tame: bool) -> Xsave {
    let mut x = [0u8; XSAVE_BYTES];
    let modes = (r.below(16) as u16) << 8;
    let control = match r.below(10) {
        _ if tame => 0x37F,
        0..5 => 0x37F,
        5..8 => modes | 0x7F,
        _ => modes | r.below(64) as u16 | 0x40,
    };
    let status = match r.below(10) {
        0..4 => 0,
        4..7 => (r.next() as u16) & 0x7F00,
        7 => (r.next() as u16) & 0x7F7F,
        _ => (r.next() as u16) & (0x7F00 | control & 0x3F),
    };
    let status = if tame { status & 0x7F00 } else { status };
    x[0..2].copy_from_slice(&control.to_le_bytes());
    x[2..4].copy_from_slice(&status.to_le_bytes());
    x[4] = match r.below(4) {
        0 => r.next() as u8,
        1 => 0xFF,
        // Half full, so that there is room to push and something to pop.
        _ => 0x0F_u8.rotate_left((status >> 11 & 7) as u32),
    };
    let mask = if r.percent(85) || tame { 0x1F80 } else { (r.below(64) << 7) as u32 };
    let mxcsr = mask | if r.percent(60) || tame { 0 } else { r.next() as u32 & 0xE07F };
    x[24..28].copy_from_slice(&mxcsr.to_le_bytes());
    for st in x[32..160].chunks_exact_mut(16) {
        st[..10].copy_from_slice(&extended(r));
    }
    if r.percent(20) {
        // As MMX code leaves them.
        for st in x[32..160].chunks_exact_mut(16) {
            fill(r, &mut st[..8]);
            st[8..10].fill(0xFF);
        }
        x[4] = 0xFF;
    }
    for n in 0..16 {
        let mut whole = [0; 32];
        if n > 0 && r.percent(15) {
            // A copy of another register, perhaps with a few bits changed.
            let m = r.below(n as u64) as usize;
            whole[..16].copy_from_slice(&x[160 + 16 * m..][..16]);
            whole[16..].copy_from_slice(&x[576 + 16 * m..][..16]);
            let at = r.below(32) as usize;
            whole[at] ^= (r.next() & r.next() & r.next()) as u8;
        } else {
            fill(r, &mut whole);
        }
        x[160 + 16 * n..][..16].copy_from_slice(&whole[..16]);
        x[576 + 16 * n..][..16].copy_from_slice(&whole[16..]);
    }
    x[512] = 7;
    Xsave(x)
}
