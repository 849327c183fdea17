//! Where code is collected: bytes that are written a word at a time, whatever of it counts.
//!
//! There is room for so many bytes and no more, so that nothing has to grow: what does not fit is lost, and noticed at
//! the end.

/// Room behind the end that is always there.
const SLACK: usize = 16;
/// The most bytes: more than the longest block has.
pub(super) const MOST_BYTES: usize = 64 << 10;
const ROOM: usize = MOST_BYTES + SLACK;

/// Bytes, the first `len` of which count.
#[derive(Debug)]
pub(super) struct Buffer {
    bytes: Box<[u8; ROOM]>,
    len: usize,
}

impl Default for Buffer {
    fn default() -> Self {
        Buffer { bytes: Box::new([0; ROOM]), len: 0 }
    }
}

impl Buffer {
    /// Whether nothing was lost.
    pub(super) fn is_whole(&self) -> bool {
        self.len <= MOST_BYTES
    }
    /// How many bytes count.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }
    /// None.
    pub(super) fn clear(&mut self) {
        self.len = 0;
    }
    /// The bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len.min(MOST_BYTES)]
    }
    /// The bytes, to be overwritten.
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.len.min(MOST_BYTES)]
    }
    /// Appends the low `count` bytes of `word`, up to 8.
    #[inline]
    pub(super) fn put(&mut self, word: u64, count: usize) {
        self.room()[..8].copy_from_slice(&word.to_le_bytes());
        self.len += count;
    }
    /// Appends the low `count` bytes of `word`, up to 7, and the low `more` bytes of `next`, up to 4.
    #[inline]
    pub(super) fn put_two(&mut self, word: u64, count: usize, next: u32, more: usize) {
        let room = self.room();
        room[..8].copy_from_slice(&word.to_le_bytes());
        let at = count & 7;
        room[at..at + 4].copy_from_slice(&next.to_le_bytes());
        self.len += at + more;
    }
    /// Room for 16 bytes behind the end.
    #[inline]
    fn room(&mut self) -> &mut [u8; SLACK] {
        match self.bytes[self.len.min(MOST_BYTES)..].first_chunk_mut() {
            Some(room) => room,
            None => unreachable!("there is slack"),
        }
    }
    /// Appends a byte.
    #[inline]
    pub(super) fn push(&mut self, byte: u8) {
        self.put(byte as u64, 1);
    }
    /// Appends bytes.
    #[inline]
    pub(super) fn extend<const N: usize>(&mut self, more: [u8; N]) {
        const { assert!(N <= SLACK) };
        self.room()[..N].copy_from_slice(&more);
        self.len += N;
    }
    /// Appends any number of bytes.
    pub(super) fn append(&mut self, more: &[u8]) {
        if let Some(room) = self.bytes.get_mut(self.len..self.len + more.len()) {
            room.copy_from_slice(more);
        }
        self.len += more.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_slices_follow_each_other() {
        let mut b = Buffer::default();
        for n in 0..5000u64 {
            b.put(n, 2);
            b.push(0x55);
            b.extend([1, 2, 3]);
        }
        assert_eq!(b.len(), 30_000);
        for n in 0..5000 {
            assert_eq!(b.bytes()[n * 6..][..6], [n as u8, (n >> 8) as u8, 0x55, 1, 2, 3]);
        }
        b.clear();
        b.put_two(0x03_0201, 3, 0x0605_0408, 1);
        b.put(9, 1);
        assert_eq!(b.bytes(), [1, 2, 3, 8, 9]);
        b.clear();
        b.append(&[7; 5000]);
        assert_eq!(b.bytes(), [7; 5000]);
    }

    #[test]
    fn what_does_not_fit_is_noticed() {
        let mut b = Buffer::default();
        b.append(&[1; MOST_BYTES - 1]);
        b.push(2);
        assert!(b.is_whole());
        assert_eq!(b.bytes()[MOST_BYTES - 2..], [1, 2]);
        b.put(3, 8);
        b.put_two(3, 1, 4, 1);
        b.append(&[5; 3]);
        assert!(!b.is_whole());
        assert_eq!(b.bytes()[MOST_BYTES - 2..], [1, 2]);
        b.clear();
        assert!(b.is_whole());
    }
}
