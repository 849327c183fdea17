//! The four planes, and the way of a byte from the processor to them (IBM PS/2 Hardware Interface Technical
//! Reference, "Video Subsystem", graphics controller).
//!
//! A *word* of four bytes, one a plane, is the unit. The planes are the first 256 KiB of the frame buffer, in one of three
//! orders ([`Order`]), by how the processor reaches them:
//!
//! | sequencer 4 | address A of the window | as a byte of the frame buffer |
//! |---|---|---|
//! | planes apart | offset A of the planes in the map mask | 4A + plane |
//! | odd/even (text, CGA) | offset A without bit 0, planes 0 and 2, or 1 and 3 for odd A | A for planes 0 and 1, 1_0000h + A for 2 and 3 |
//! | chain 4 (mode 13h) | offset A with bits 15:14 in the place of bits 1:0, plane by bits 1:0 | A |
//!
//! So with odd/even and with chain 4 the window is a piece of the frame buffer, which vCPUs write without the adapter
//! ([`super::window`]). Changing the bits brings the bytes into the other order, so that programs see the
//! planes as the hardware has them. DISPI modes of 4 bits a pixel have more words, which the bank register reaches.

use super::registers::Registers;
use trimotor_bus::MemoryRegion;

/// Bytes in one plane.
pub const PLANE_BYTES: usize = 64 << 10;
/// Bytes in all planes.
pub const MEMORY_BYTES: usize = 4 * PLANE_BYTES;

/// The frame buffer, and the latch of the last read.
pub struct Planes {
    pub(super) memory: MemoryRegion,
    pub(super) latch: u32,
}

/// In which order the bytes of the planes are in the frame buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Order {
    /// Word n is the bytes 4n to 4n + 3, plane 0 first.
    #[default]
    Words,
    /// Those words come first that a processor reaches: offsets whose bits 1:0 are bits 15:14.
    Chain4,
    /// Four parts of 64 KiB: planes 0 and 1 of even offsets, byte by byte in turn; planes 2 and 3 of them; the same of odd
    /// offsets.
    OddEven,
}

impl Order {
    /// The order that registers ask for.
    pub fn of(r: &Registers, dispi: bool) -> Self {
        match (r.chained(), r.odd_even() && !dispi) {
            (true, _) => Self::Chain4,
            (false, true) => Self::OddEven,
            (false, false) => Self::Words,
        }
    }
    /// The number of a word in this order, for an offset in the planes.
    pub fn word_at(self, offset: u16) -> u32 {
        match self {
            Self::Words | Self::OddEven => offset.into(),
            Self::Chain4 => u32::from(offset >> 2 | (offset ^ offset >> 14) << 14),
        }
    }
    /// Where a word's bytes are in the frame buffer: of planes 0 and 1, and of planes 2 and 3.
    pub fn bytes(self, word: u32) -> [u64; 2] {
        match self {
            Self::Words | Self::Chain4 => [4 * u64::from(word), 4 * u64::from(word) + 2],
            Self::OddEven => {
                let at = u64::from(word & 0xFFFE) | u64::from(word & 1) << 17;
                [at, at + PLANE_BYTES as u64]
            }
        }
    }
    /// The word that is in a copy of the planes in this order, plane 0 first.
    pub fn word_in(self, copy: &[u8], word: u32) -> [u8; 4] {
        let pair = |at: u64| copy.get(at as usize..at as usize + 2).map_or([0; 2], |pair| [pair[0], pair[1]]);
        let [low, high] = self.bytes(word).map(pair);
        [low[0], low[1], high[0], high[1]]
    }
    /// Whether a byte of the planes belongs to plane 2, which has the fonts.
    pub fn is_font(self, byte: usize) -> bool {
        match self {
            Self::Words | Self::Chain4 => byte % 4 == 2,
            Self::OddEven => byte & PLANE_BYTES != 0 && byte.is_multiple_of(2),
        }
    }
}

impl Planes {
    /// In this frame buffer.
    pub fn new(memory: MemoryRegion) -> Self {
        Self { memory, latch: 0 }
    }

    /// A word, plane 0 in its least significant byte.
    pub fn word(&self, order: Order, word: u32) -> u32 {
        let mut bytes = [0; 4];
        let [low, high] = order.bytes(word);
        if high == low + 2 {
            self.memory.read(low, &mut bytes);
        } else {
            self.memory.read(low, &mut bytes[..2]);
            self.memory.read(high, &mut bytes[2..]);
        }
        u32::from_le_bytes(bytes)
    }
    /// Brings the bytes from one order into another.
    pub fn reorder(&self, from: Order, to: Order) {
        let mut old = vec![0; MEMORY_BYTES];
        self.memory.read(0, &mut old);
        let mut new = vec![0; MEMORY_BYTES];
        for offset in 0..=u16::MAX {
            let word = from.word_in(&old, from.word_at(offset));
            for (at, pair) in to.bytes(to.word_at(offset)).into_iter().zip(word.chunks_exact(2)) {
                new[at as usize..at as usize + 2].copy_from_slice(pair);
            }
        }
        if new != old {
            self.memory.write(0, &new);
        }
    }

    /// Reads a byte at `address` bytes from A0000h. `bank` is the first word behind the window. `None`: the window is not
    /// there.
    pub fn read(&mut self, r: &Registers, order: Order, bank: u32, address: u64) -> Option<u8> {
        let at = window(r, address)?;
        let (mut plane, offset) = if r.chained() {
            ((at & 3) as usize, chain_4(at))
        } else if r.graphics[5] & 0x10 != 0 {
            ((r.graphics[4] & 2) as usize | (at & 1) as usize, (at & 0xFFFE) as u16)
        } else {
            ((r.graphics[4] & 3) as usize, at as u16)
        };
        plane &= 3;
        self.latch = self.word(order, bank.saturating_add(order.word_at(offset)));
        if r.graphics[5] & 0x08 == 0 {
            return Some((self.latch >> (8 * plane)) as u8);
        }
        // Read mode 1: which pixels have the colour to compare, in the planes that count.
        let different = (self.latch ^ spread(r.graphics[2])) & spread(r.graphics[7]);
        let bytes = different.to_le_bytes();
        Some(!(bytes[0] | bytes[1] | bytes[2] | bytes[3]))
    }

    /// Writes bytes from `address` bytes behind A0000h on, one after the other. Returns whether memory changed.
    pub fn write(&mut self, r: &Registers, order: Order, bank: u32, address: u64, bytes: &[u8]) -> bool {
        let map = r.sequencer[2];
        let (chained, odd_even) = (r.chained(), r.odd_even());
        if !chained && !odd_even && order == Order::Words {
            // A single access needs little room.
            return match bytes.len() {
                ..=8 => self.write_words::<8>(r, bank, address, bytes),
                _ => self.write_words::<64>(r, bank, address, bytes),
            };
        }
        let mut run = Run::default();
        let mut changed = false;
        for (n, value) in bytes.iter().enumerate() {
            let Some(at) = window(r, address + n as u64) else { continue };
            let (planes, offset) = if chained {
                (map & 1 << (at & 3), chain_4(at))
            } else if odd_even {
                (map & if at & 1 == 0 { 0b0101 } else { 0b1010 }, (at & 0xFFFE) as u16)
            } else {
                (map, at as u16)
            };
            let word = bank.saturating_add(order.word_at(offset));
            let data = self.combine(r, *value);
            let mask = spread(planes);
            if order == Order::OddEven {
                changed |= self.change_halves(word, |old| old & !mask | data & mask);
                continue;
            }
            if !run.has_room_for(word) {
                changed |= run.write(&self.memory);
            }
            run.change(word, &self.memory, |old| old & !mask | data & mask);
        }
        changed | run.write(&self.memory)
    }

    /// The same with planes apart, where a byte's word follows the one of the byte before; `RUN` words at once.
    fn write_words<const RUN: usize>(&self, r: &Registers, bank: u32, address: u64, bytes: &[u8]) -> bool {
        let mask = spread(r.sequencer[2]);
        let mut changed = false;
        let mut done = 0;
        while done < bytes.len() {
            let address = address + done as u64;
            let Some(at) = window(r, address) else {
                done += 1;
                continue;
            };
            // At its end the window is shut; one of 128 KiB goes on at the planes' beginning.
            let (base, opened) = opened(r);
            let room = (PLANE_BYTES - at as usize).min((base + opened - address) as usize).min(RUN);
            let piece = &bytes[done..bytes.len().min(done + room)];
            let first = 4 * u64::from(bank.saturating_add(at));
            let mut words = [[0; 4]; RUN];
            let words = &mut words[..piece.len()];
            self.memory.read(first, words.as_flattened_mut());
            let mut differs = false;
            for (word, value) in words.iter_mut().zip(piece) {
                let old = u32::from_le_bytes(*word);
                let new = old & !mask | self.combine(r, *value) & mask;
                differs |= new != old;
                *word = new.to_le_bytes();
            }
            if differs {
                self.memory.write(first, words.as_flattened());
                changed = true;
            }
            done += piece.len();
        }
        changed
    }
    /// Changes a word whose halves are apart. Returns whether that makes a difference.
    fn change_halves(&self, word: u32, new: impl FnOnce(u32) -> u32) -> bool {
        let old = self.word(Order::OddEven, word);
        let new = new(old);
        let pairs = [(old as u16, new as u16), ((old >> 16) as u16, (new >> 16) as u16)];
        for (at, (old, new)) in Order::OddEven.bytes(word).into_iter().zip(pairs) {
            if old != new {
                self.memory.write(at, &new.to_le_bytes());
            }
        }
        old != new
    }

    /// The write modes: what goes to the four planes.
    fn combine(&self, r: &Registers, value: u8) -> u32 {
        let rotated = value.rotate_right((r.graphics[3] & 7) as u32);
        let set = spread(r.graphics[0]);
        match r.graphics[5] & 3 {
            0 => {
                let enable = spread(r.graphics[1]);
                let data = each(rotated) & !enable | set & enable;
                self.masked(r, data, r.graphics[8])
            }
            1 => self.latch,
            2 => self.masked(r, spread(value), r.graphics[8]),
            _ => self.masked(r, set, rotated & r.graphics[8]),
        }
    }

    fn masked(&self, r: &Registers, data: u32, bits: u8) -> u32 {
        let data = match r.graphics[3] >> 3 & 3 {
            0 => data,
            1 => data & self.latch,
            2 => data | self.latch,
            _ => data ^ self.latch,
        };
        let mask = each(bits);
        data & mask | self.latch & !mask
    }
}

/// Words one after the other, which are written at once.
#[derive(Default)]
struct Run {
    first: u32,
    bytes: [u8; 32],
    words: usize,
    changed: bool,
}

impl Run {
    /// Whether a word is one of them, or can be the next one.
    fn has_room_for(&self, word: u32) -> bool {
        let n = word.wrapping_sub(self.first) as usize;
        self.words == 0 || n < self.words || n == self.words && 4 * n < self.bytes.len()
    }
    /// Changes a word that there is room for.
    fn change(&mut self, word: u32, memory: &MemoryRegion, new: impl FnOnce(u32) -> u32) {
        if self.words == 0 {
            self.first = word;
        }
        let n = word.wrapping_sub(self.first) as usize;
        let Some(bytes) = self.bytes.get_mut(4 * n..4 * n + 4) else { return };
        if n == self.words {
            memory.read(4 * u64::from(word), bytes);
            self.words += 1;
        }
        let old = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        let new = new(old);
        self.changed |= new != old;
        bytes.copy_from_slice(&new.to_le_bytes());
    }
    /// Writes them, if they changed, and begins anew.
    fn write(&mut self, memory: &MemoryRegion) -> bool {
        let changed = std::mem::take(&mut self.changed);
        if changed {
            memory.write(4 * u64::from(self.first), &self.bytes[..4 * self.words]);
        }
        self.words = 0;
        changed
    }
}

/// What the graphics controller's register 6 opens: where it begins, in bytes from A0000h, and its bytes.
pub fn opened(r: &Registers) -> (u64, u64) {
    match r.graphics[6] >> 2 & 3 {
        0 => (0, 0x2_0000),
        1 => (0, 0x1_0000),
        2 => (0x1_0000, 0x8000),
        _ => (0x1_8000, 0x8000),
    }
}
/// The address within that.
fn window(r: &Registers, address: u64) -> Option<u32> {
    if r.misc & 2 == 0 {
        return None; // The processor's access is off.
    }
    let (base, bytes) = opened(r);
    let at = address.checked_sub(base).filter(|&at| at < bytes)?;
    Some(at as u32 & 0xFFFF)
}

/// The offset that chain 4 makes of an address in the window.
fn chain_4(at: u32) -> u16 {
    (at & 0xFFFC | at >> 14 & 3) as u16
}

/// Bit `plane` of the low four bits, as all ones in that plane's byte.
fn spread(bits: u8) -> u32 {
    const SPREAD: [u32; 16] = {
        let mut words = [0u32; 16];
        let mut n = 0;
        while n < 16 {
            let mut plane = 0;
            while plane < 4 {
                words[n] |= if n >> plane & 1 != 0 { 0xFF << (8 * plane) } else { 0 };
                plane += 1;
            }
            n += 1;
        }
        words
    };
    SPREAD[usize::from(bits & 15)]
}

/// The same byte for each plane.
fn each(byte: u8) -> u32 {
    byte as u32 * 0x0101_0101
}

#[cfg(test)]
mod tests {
    use super::*;
    use trimotor_bus::GuestMemory;

    #[test]
    fn planes_come_back_from_each_order() {
        let memory = GuestMemory::new(1 << 20, &[]).unwrap();
        let planes = Planes::new(memory.add_device_memory("planes", MEMORY_BYTES as u64).unwrap());
        let words = |order: Order| (0..=u16::MAX).map(move |n| (n, order.word_at(n)));
        for n in 0..0x1_0000u32 {
            planes.memory.write(4 * u64::from(n), &n.wrapping_mul(0x9E37_79B9).to_le_bytes());
        }
        let orders =
            [Order::Words, Order::Chain4, Order::OddEven, Order::Chain4, Order::Words, Order::OddEven];
        for pair in orders.windows(2) {
            planes.reorder(pair[0], pair[1]);
            for (offset, word) in words(pair[1]) {
                assert_eq!(planes.word(pair[1], word), u32::from(offset).wrapping_mul(0x9E37_79B9));
            }
        }
        assert!((0..0x1_0000).step_by(4).all(|at| Order::Chain4.word_at(chain_4(at)) == at / 4));
        let fonts = |order: Order| words(order).all(|(_, word)| order.is_font(order.bytes(word)[1] as usize));
        assert!([Order::Words, Order::Chain4, Order::OddEven].into_iter().all(fonts));
        // Text: characters and attributes in turn.
        assert_eq!([0, 2, 4].map(|word| Order::OddEven.bytes(word)[0]), [0, 2, 4]);
    }
}
