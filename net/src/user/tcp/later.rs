//! Segments that came before their turn.

use super::sequence::Seq;
use crate::frame::Frame;
use std::ops::Range;

/// Segments that wait. What is lost is lost in bursts of a few.
const MOST_SEGMENTS: usize = 128;
/// Blocks that a header has room for.
const MOST_BLOCKS: usize = 4;

struct Segment {
    begin: Seq,
    frame: Frame,
    payload: Range<usize>,
}

impl Segment {
    fn end(&self) -> Seq {
        self.begin + self.payload.len()
    }
}

/// Segments that wait for what is missing before them.
#[derive(Default)]
pub struct Later {
    /// By their beginnings. They may overlap.
    segments: Vec<Segment>,
    bytes: usize,
    /// Where the newest begins.
    newest: Seq,
}

impl Later {
    /// Bytes of memory that they hold.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
    /// One more, if all frames have `most` bytes at most with it.
    pub fn put(&mut self, begin: Seq, frame: Frame, payload: Range<usize>, most: usize) {
        let end = begin + payload.len();
        let is_known =
            self.segments.iter().any(|known| !known.begin.is_after(begin) && !end.is_after(known.end()));
        self.newest = begin;
        let cost = frame.bytes.len();
        if payload.is_empty() || is_known || self.segments.len() >= MOST_SEGMENTS || self.bytes + cost > most
        {
            return;
        }
        self.bytes += cost;
        let at = self.segments.partition_point(|known| known.begin.is_before(begin));
        self.segments.insert(at, Segment { begin, frame, payload });
    }
    /// The one whose turn it is when `next` is expected, without what is known of it.
    pub fn next(&mut self, next: Seq) -> Option<(Frame, Range<usize>)> {
        while self.segments.first().is_some_and(|first| !first.begin.is_after(next)) {
            let mut first = self.segments.remove(0);
            self.bytes -= first.frame.bytes.len();
            if first.end().is_after(next) {
                first.payload.start += next - first.begin;
                return Some((first.frame, first.payload));
            }
        }
        None
    }
    /// The option of TCP that tells what is here, the newest first (RFC 2018, 4).
    pub fn option(&self) -> Vec<u8> {
        let mut blocks: Vec<(Seq, Seq)> = Vec::new();
        for segment in &self.segments {
            match blocks.last_mut() {
                Some((_, end)) if !segment.begin.is_after(*end) => *end = end.later(segment.end()),
                _ => blocks.push((segment.begin, segment.end())),
            }
        }
        let has_newest =
            |(begin, end): &(Seq, Seq)| !begin.is_after(self.newest) && self.newest.is_before(*end);
        if let Some(newest) = blocks.iter().position(has_newest) {
            blocks[..=newest].rotate_right(1);
        }
        blocks.truncate(MOST_BLOCKS);
        if blocks.is_empty() {
            return Vec::new();
        }
        let mut option = vec![1, 1, 5, 2 + 8 * blocks.len() as u8];
        for (begin, end) in blocks {
            option.extend_from_slice(&begin.0.to_be_bytes());
            option.extend_from_slice(&end.0.to_be_bytes());
        }
        option
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn put(later: &mut Later, begin: u32, length: usize) {
        later.put(Seq(begin), vec![begin as u8; length].into(), 0..length, 1 << 20);
    }

    #[test]
    fn segments_come_when_it_is_their_turn() {
        let mut later = Later::default();
        put(&mut later, u32::MAX - 9, 10);
        put(&mut later, 20, 10);
        put(&mut later, 0, 15);
        put(&mut later, 22, 3);
        assert_eq!(
            later.option(),
            [1, 1, 5, 18, 0, 0, 0, 20, 0, 0, 0, 30, 0xFF, 0xFF, 0xFF, 0xF6, 0, 0, 0, 15]
        );
        assert!(later.next(Seq(u32::MAX - 20)).is_none());
        // Five of the first are known.
        assert_eq!(later.next(Seq(u32::MAX - 4)).unwrap().1, 5..10);
        assert_eq!(later.next(Seq(0)).unwrap().1, 0..15);
        assert!(later.next(Seq(15)).is_none());
        assert_eq!(later.bytes(), 10);
        assert!(later.next(Seq(40)).is_none());
        assert_eq!((later.bytes(), later.option()), (0, Vec::new()));
    }

    #[test]
    fn there_is_a_bound() {
        let mut later = Later::default();
        for n in 0..1000 {
            put(&mut later, n * 70_000, 60_000);
        }
        assert!(later.bytes() <= 1 << 20 && later.option().len() == 36);
    }
}
