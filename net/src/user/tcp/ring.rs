//! A ring of bytes that grows as it is used, up to a limit.

use std::io::IoSlice;

/// The first size.
const FIRST: usize = 16 << 10;

/// Bytes in order: appended at one end, taken at the other.
#[derive(Default)]
pub struct Ring {
    bytes: Vec<u8>,
    start: usize,
    length: usize,
}

impl Ring {
    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.length
    }
    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }
    /// Bytes of memory that it has.
    pub fn capacity(&self) -> usize {
        self.bytes.len()
    }
    /// Makes room for `more` bytes.
    pub fn reserve(&mut self, more: usize) {
        let needed = self.length + more;
        if needed > self.bytes.len() {
            let (front, back) = self.slices(0, self.length);
            // Zeros of the host: what is never used costs no memory.
            let mut bytes = vec![0; needed.next_power_of_two().max(FIRST)];
            bytes[..front.len()].copy_from_slice(front);
            bytes[front.len()..self.length].copy_from_slice(back);
            self.bytes = bytes;
            self.start = 0;
        }
    }
    /// Gives memory back where nothing is in it.
    pub fn release(&mut self) {
        if self.length == 0 {
            *self = Self::default();
        }
    }
    /// Appends bytes.
    pub fn append(&mut self, bytes: &[u8]) {
        self.reserve(bytes.len());
        let free = self.free();
        let n = free.len().min(bytes.len());
        free[..n].copy_from_slice(&bytes[..n]);
        self.appended(n);
        let rest = &bytes[n..];
        self.free()[..rest.len()].copy_from_slice(rest);
        self.appended(rest.len());
    }
    /// Room behind the last byte, as far as it is in one piece. To be told with [`Ring::appended`] what was put there.
    pub fn free(&mut self) -> &mut [u8] {
        let size = self.bytes.len();
        if self.length == size {
            return &mut [];
        }
        let end = (self.start + self.length) % size;
        let until = if end < self.start { self.start } else { size };
        &mut self.bytes[end..until]
    }
    /// So many bytes were put into [`Ring::free`].
    pub fn appended(&mut self, n: usize) {
        self.length = (self.length + n).min(self.bytes.len());
    }
    /// `length` bytes from the `offset`th on, in two pieces. Both must be within the ring.
    pub fn slices(&self, offset: usize, length: usize) -> (&[u8], &[u8]) {
        if length == 0 {
            return (&[], &[]);
        }
        let size = self.bytes.len();
        let begin = (self.start + offset) % size;
        let first = length.min(size - begin);
        (&self.bytes[begin..begin + first], &self.bytes[..length - first])
    }
    /// All bytes, in two pieces, to be written.
    pub fn to_write(&self) -> [IoSlice<'_>; 2] {
        let (front, back) = self.slices(0, self.length);
        [IoSlice::new(front), IoSlice::new(back)]
    }
    /// Takes bytes off the front.
    pub fn consume(&mut self, n: usize) {
        let n = n.min(self.length);
        self.length -= n;
        self.start = if self.length == 0 { 0 } else { (self.start + n) % self.bytes.len() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    #[test]
    fn it_holds_what_a_queue_of_bytes_holds() {
        let mut ring = Ring::default();
        let mut expected = VecDeque::new();
        let mut random = 1_u32;
        for step in 0..3000 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let n = (random >> 8) as usize % 5000;
            if random >> 31 == 0 && ring.len() < 100_000 {
                let bytes: Vec<u8> = (0..n).map(|byte| (byte + step) as u8).collect();
                ring.append(&bytes);
                expected.extend(bytes);
            } else {
                ring.consume(n);
                expected.drain(..n.min(expected.len()));
            }
            let offset = ring.len() / 3;
            let (front, back) = ring.slices(offset, ring.len() - offset);
            assert!(front.iter().chain(back).eq(expected.iter().skip(offset)));
        }
    }
}
