//! Code that is written again and again soon after it was translated.
//!
//! To translate it each time is wasted: a block that runs once costs a hundred times what the interpreter takes for it, and
//! makes its page tracked, so that each write to it takes the slow path. So where blocks of 64 bytes of code
//! were killed young several times, code there is run an instruction at a time for a while before it is translated
//! again, the longer the more often that has happened. Code that grows old is translated at once, as all other code.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use trimotor_cpu_interp::cache::AddressHasher;

/// A block that lives for so many instructions of the vCPU was worth its translation.
const OLD: u64 = 20_000;
/// Deaths of young blocks that are taken for chance: code that is loaded or patched once.
const CHANCE: u8 = 3;
/// The most instructions that are stepped before a translation: 2 to this.
const MOST_DOUBLINGS: u8 = 6;
/// The most pieces of code that are remembered; with more of them all are forgotten.
const MOST_PIECES: usize = 1024;

/// What is remembered of 64 bytes of code.
#[derive(Default, Clone, Copy, Debug)]
struct Piece {
    /// Young blocks killed since one grew old.
    deaths: u8,
    /// Instructions stepped since the last one was killed.
    waited: u32,
}

/// Pieces of code whose blocks die young.
#[derive(Default, Debug)]
pub struct RetranslationBackoff {
    pieces: HashMap<usize, Piece, BuildHasherDefault<AddressHasher>>,
}

impl RetranslationBackoff {
    /// The block of code at host address `host` was killed when it was `age` instructions old.
    pub fn killed(&mut self, host: usize, age: u64) {
        let piece = host >> 6;
        if age >= OLD {
            self.pieces.remove(&piece);
            return;
        }
        if self.pieces.len() >= MOST_PIECES && !self.pieces.contains_key(&piece) {
            self.pieces.clear();
        }
        let piece = self.pieces.entry(piece).or_default();
        piece.deaths = piece.deaths.saturating_add(1);
        piece.waited = 0;
    }
    /// The code at host address `host` is about to be translated: whether its instruction is rather stepped
    /// this time.
    pub fn waits(&mut self, host: usize) -> bool {
        if self.pieces.is_empty() {
            return false;
        }
        let Some(piece) = self.pieces.get_mut(&(host >> 6)) else { return false };
        let doublings = piece.deaths.saturating_sub(CHANCE).min(MOST_DOUBLINGS);
        let waits = doublings > 0 && piece.waited < 1 << doublings;
        piece.waited += u32::from(waits);
        waits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often code at `host` waits before it is translated.
    fn waits(backoff: &mut RetranslationBackoff, host: usize) -> usize {
        (0..1000).take_while(|_| backoff.waits(host)).count()
    }

    #[test]
    fn who_dies_young_waits_ever_longer() {
        let mut backoff = RetranslationBackoff::default();
        let seen: Vec<_> = (0..12)
            .map(|_| {
                let waited = waits(&mut backoff, 0x1010);
                backoff.killed(0x1000, 10);
                waited
            })
            .collect();
        assert_eq!(seen, [0, 0, 0, 0, 2, 4, 8, 16, 32, 64, 64, 64]);
        assert_eq!(waits(&mut backoff, 0x1040), 0, "the next piece");
    }

    #[test]
    fn who_grew_old_is_translated_at_once() {
        let mut backoff = RetranslationBackoff::default();
        for _ in 0..10 {
            backoff.killed(0x1000, OLD - 1);
        }
        backoff.killed(0x1000, OLD);
        assert_eq!(waits(&mut backoff, 0x1000), 0);
        assert!(backoff.pieces.is_empty());
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut backoff = RetranslationBackoff::default();
        for n in 0..10 * MOST_PIECES {
            backoff.killed(n * 64, 1);
            assert!(backoff.pieces.len() <= MOST_PIECES);
        }
    }
}
