//! The way of a guest's output to the session.
//!
//! The guest writes a byte at a time and never waits; the session takes all that has gathered. What may gather is bounded.
//! Where the session falls behind, because nobody reads what it writes, there are two ways, neither of which loses
//! anything: see [`WhenFull`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes that may gather.
const CAPACITY: usize = 1 << 20;
/// Bytes that gather at most, where more than that is taken: many times what a guest writes in a slice.
const HARD_LIMIT: usize = 64 << 20;

/// What becomes of a guest's output while too much of it waits already.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum WhenFull {
    /// It is refused, and the chip keeps it, as at a slow line.
    #[default]
    Refuse,
    /// It is taken, and the machine stands still between two slices until there is room: with a counted clock the guest
    /// must not notice how fast the host is.
    TakeAll,
}

/// The writing end. Cheap to clone.
#[derive(Clone)]
pub struct SerialOutlet {
    shared: Arc<Shared>,
}

struct Shared {
    gathered: Mutex<Gathered>,
    wake: Box<dyn Fn() + Send + Sync>,
}

#[derive(Default)]
struct Gathered {
    bytes: Vec<u8>,
    closed: bool,
}

impl SerialOutlet {
    /// An outlet that calls `wake` when it stops being empty.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self { shared: Arc::new(Shared { gathered: Mutex::default(), wake: Box::new(wake) }) }
    }
    /// Appends `bytes`, or as many as there is room for where it is full; returns how many, from the first. After
    /// [`close`](Self::close) they are dropped.
    pub fn send(&self, bytes: &[u8], when_full: WhenFull) -> usize {
        let mut gathered = self.gathered();
        if gathered.closed {
            return bytes.len();
        }
        let limit = match when_full {
            WhenFull::Refuse => CAPACITY,
            WhenFull::TakeAll => HARD_LIMIT,
        };
        let taken = limit.saturating_sub(gathered.bytes.len()).min(bytes.len());
        let was_empty = gathered.bytes.is_empty();
        gathered.bytes.extend_from_slice(&bytes[..taken]);
        drop(gathered);
        if was_empty && taken > 0 {
            (self.shared.wake)();
        }
        taken
    }
    /// Whether there is no room.
    pub fn is_full(&self) -> bool {
        let gathered = self.gathered();
        gathered.bytes.len() >= CAPACITY && !gathered.closed
    }
    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.gathered().bytes.is_empty()
    }
    /// Takes what has gathered, at most `most` bytes of it.
    pub fn take(&self, most: usize) -> Vec<u8> {
        let mut gathered = self.gathered();
        let most = most.min(gathered.bytes.len());
        let rest = gathered.bytes.split_off(most);
        std::mem::replace(&mut gathered.bytes, rest)
    }
    /// Nobody takes any more: what comes is dropped.
    pub fn close(&self) {
        self.gathered().closed = true;
    }
    fn gathered(&self) -> MutexGuard<'_, Gathered> {
        self.shared.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for SerialOutlet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SerialOutlet")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn wakes_once_for_all_that_gathers() {
        let woken = Arc::new(AtomicUsize::new(0));
        let count = woken.clone();
        let outlet = SerialOutlet::new(move || {
            count.fetch_add(1, Ordering::Relaxed);
        });
        outlet.send(b"a", WhenFull::Refuse);
        outlet.send(b"b", WhenFull::Refuse);
        assert_eq!(outlet.take(1), b"a");
        assert_eq!(outlet.take(9), b"b");
        assert_eq!(woken.load(Ordering::Relaxed), 1);
        outlet.send(b"c", WhenFull::Refuse);
        assert_eq!(woken.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_full_outlet_holds_nobody_up_and_loses_nothing() {
        let outlet = SerialOutlet::new(|| {});
        assert_eq!(outlet.send(&vec![0; CAPACITY + 5], WhenFull::Refuse), CAPACITY);
        assert_eq!(outlet.send(b"more", WhenFull::Refuse), 0);
        assert!(outlet.is_full());
        assert_eq!(outlet.send(b"more", WhenFull::TakeAll), 4);
        assert_eq!(outlet.take(usize::MAX).len(), CAPACITY + 4);
        assert!(!outlet.is_full() && outlet.is_empty());
    }

    #[test]
    fn a_closed_outlet_drops_what_comes() {
        let outlet = SerialOutlet::new(|| {});
        outlet.send(b"before", WhenFull::Refuse);
        outlet.close();
        assert_eq!(outlet.send(b"after", WhenFull::Refuse), 5);
        assert_eq!(outlet.take(99), b"before");
    }
}
