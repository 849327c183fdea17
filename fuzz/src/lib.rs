//! What fuzz targets share.

pub mod images;
pub mod jobs;

/// Takes values from a fuzzer's bytes, in order; zeros where there are no more.
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// The next bytes, little-endian.
    pub fn number(&mut self, bytes: usize) -> u64 {
        let taken = self.bytes(bytes);
        taken.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }
    /// A number below `n`, which is not zero.
    pub fn below(&mut self, n: usize) -> usize {
        self.number(if n > 256 { 2 } else { 1 }) as usize % n
    }
    /// At most so many of the next bytes.
    pub fn bytes(&mut self, most: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(most.min(self.0.len()));
        self.0 = rest;
        taken
    }
}
