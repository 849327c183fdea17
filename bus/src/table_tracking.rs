//! Which MMUs must learn of writes to guest page tables.
//!
//! Engines keep translations for as long as the page-table entries that they came from stay as they
//! are. Such a page of RAM has the state [`PAGE_TABLE`](crate::memory::PageState::PAGE_TABLE), so that
//! writes to it come to the slow path, and a *mark* for each 8 bytes (a *granule*: one entry of 8
//! bytes or two of 4) that some vCPU's translations came from. A write to a granule without a mark
//! costs a look at the mark and no more: that is what filling a fresh page table does. A write to a
//! marked granule takes the mark away, and all MMUs drop what came from there.
//!
//! Each MMU knows for itself what that is. The one whose vCPU wrote drops it at once; the others read
//! the list of *events* before they take an interrupt and before they flush anything, which is early
//! enough: a translation may outlive a write to its entry until the INVLPG that the other vCPU is asked for.
//!
//! vCPUs may run at the same time. A walker marks a granule and then reads its entry again; a writer changes an entry and
//! then looks at its mark: at least one of them sees the other. [`Peers`](crate::peers::Peers) makes sure that no page
//! with marks is written inline.

use crate::sync::{AtomicU32, AtomicU64, Mutex, MutexGuard, zeroed_u64};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

/// Granules of a page.
pub const GRANULES: u32 = 512;
/// Words of marks for a page.
const WORDS: usize = GRANULES as usize / 64;
/// How many events are kept for MMUs that do not run: an MMU that comes later drops everything.
const EVENTS: usize = 1 << 14;

/// A marked granule was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TableEvent {
    /// The RAM page number.
    pub ram_page: u64,
    /// The granule, 0 to 511.
    pub granule: u32,
}

#[derive(Default)]
struct Events {
    list: Vec<TableEvent>,
    /// How many older ones were forgotten.
    forgotten: u64,
}

/// The marks of all of RAM, and the events.
pub struct TableTracking {
    /// [`WORDS`] words a page. Zeroed memory that costs nothing until it is touched.
    marks: Box<[AtomicU64]>,
    trackers: AtomicU32,
    count: AtomicU64,
    events: Mutex<Events>,
}

impl TableTracking {
    /// For `pages` pages of RAM.
    pub fn new(pages: usize) -> TableTracking {
        TableTracking {
            marks: zeroed_u64(pages * WORDS),
            trackers: AtomicU32::new(0),
            count: AtomicU64::new(0),
            events: Mutex::new(Events::default()),
        }
    }

    /// An MMU more tracks; returns how many events it need not look at.
    pub fn attach(&self) -> u64 {
        self.trackers.fetch_add(1, Ordering::AcqRel);
        self.count()
    }
    /// An MMU less tracks.
    pub fn detach(&self) {
        self.trackers.fetch_sub(1, Ordering::AcqRel);
    }

    /// The word and the bit of a granule's mark.
    #[inline]
    fn mark_of(&self, ram_page: u64, granule: u32) -> (&AtomicU64, u64) {
        (&self.marks[ram_page as usize * WORDS + granule as usize / 64], 1 << (granule % 64))
    }
    /// Marks a granule; true if it had no mark.
    #[inline]
    pub fn mark(&self, ram_page: u64, granule: u32) -> bool {
        let (word, bit) = self.mark_of(ram_page, granule);
        word.load(Ordering::Acquire) & bit == 0 && word.fetch_or(bit, Ordering::SeqCst) & bit == 0
    }
    fn take(&self, ram_page: u64, granule: u32) -> bool {
        let (word, bit) = self.mark_of(ram_page, granule);
        word.load(Ordering::Acquire) & bit != 0 && word.fetch_and(!bit, Ordering::SeqCst) & bit != 0
    }
    #[inline]
    fn has_mark(&self, ram_page: u64, granule: u32) -> bool {
        let (word, bit) = self.mark_of(ram_page, granule);
        word.load(Ordering::Acquire) & bit != 0
    }
    /// Whether any granule of a page has a mark.
    pub fn is_marked(&self, ram_page: u64) -> bool {
        let first = ram_page as usize * WORDS;
        self.marks[first..first + WORDS].iter().any(|w| w.load(Ordering::Acquire) != 0)
    }

    /// How many events there have been.
    #[inline]
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }
    /// A granule was written. Takes its mark away and tells the other MMUs; true if it had one. `seen` is
    /// how many events the writer has seen: its own counts as seen.
    #[inline]
    pub fn written(&self, ram_page: u64, granule: u32, seen: &mut u64) -> bool {
        self.has_mark(ram_page, granule) && self.take_and_tell(ram_page, granule, seen)
    }
    fn take_and_tell(&self, ram_page: u64, granule: u32, seen: &mut u64) -> bool {
        if self.has_one_tracker() {
            return self.take(ram_page, granule);
        }
        // Both under the lock: see `is_quiescent`.
        let mut events = self.events();
        if !self.take(ram_page, granule) {
            return false;
        }
        if events.list.len() == EVENTS {
            events.list.drain(..EVENTS / 2);
            events.forgotten += EVENTS as u64 / 2;
        }
        events.list.push(TableEvent { ram_page, granule });
        let before = self.count.fetch_add(1, Ordering::AcqRel);
        if *seen == before {
            *seen = before + 1;
        }
        true
    }
    /// Whether a page has no marks and all events are among the first `seen` ones: nothing that will be
    /// told later concerns what came from its present content.
    pub fn is_quiescent(&self, ram_page: u64, seen: u64) -> bool {
        if self.has_one_tracker() {
            return !self.is_marked(ram_page);
        }
        let _events = self.events();
        self.count() == seen && !self.is_marked(ram_page)
    }
    fn has_one_tracker(&self) -> bool {
        self.trackers.load(Ordering::Acquire) < 2
    }
    fn events(&self) -> MutexGuard<'_, Events> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// The events after the first `seen` ones, which are then seen; `None` where some of them were
    /// forgotten.
    pub fn events_since(&self, seen: &mut u64) -> Option<Vec<TableEvent>> {
        let events = self.events();
        let skip = seen.checked_sub(events.forgotten);
        *seen = events.forgotten + events.list.len() as u64;
        Some(events.list.get(skip? as usize..)?.to_vec())
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_taken_once() {
        let w = TableTracking::new(4);
        let mut seen = w.attach();
        assert!(w.mark(3, 511));
        assert!(!w.mark(3, 511));
        assert!(w.is_marked(3) && !w.is_marked(2));
        assert!(!w.is_quiescent(3, seen) && w.is_quiescent(2, seen));
        assert!(!w.written(3, 510, &mut seen));
        assert!(w.written(3, 511, &mut seen));
        assert!(!w.written(3, 511, &mut seen));
        assert!(!w.is_marked(3));
        assert_eq!((seen, w.count()), (0, 0), "a single tracker tells nobody");
    }

    #[test]
    fn others_learn_of_events_and_who_is_late_is_told_so() {
        let w = TableTracking::new(1);
        let (mut a, mut b) = (w.attach(), w.attach());
        let write = |seen: &mut u64| {
            w.mark(0, 7);
            assert!(w.written(0, 7, seen));
        };
        write(&mut a);
        assert_eq!((a, w.count()), (1, 1), "the teller has seen its own");
        assert!(w.is_quiescent(0, a) && !w.is_quiescent(0, b));
        assert_eq!(w.events_since(&mut b), Some(vec![TableEvent { ram_page: 0, granule: 7 }]));
        assert_eq!(w.events_since(&mut b), Some(vec![]));
        for _ in 0..=EVENTS {
            write(&mut a);
        }
        assert_eq!(w.events_since(&mut b), None);
        assert_eq!(w.events_since(&mut b), Some(vec![]));
    }
}
