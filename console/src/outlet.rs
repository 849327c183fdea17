//! The way of serial output from the machine's thread to the session.
//!
//! The machine writes a byte at a time and must not wait for a slow terminal at each one;
//! the session takes all that has gathered. Where the session falls behind, the machine
//! waits, so that the buffer stays bounded and nothing is lost.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// Bytes that may gather before the machine waits.
const CAPACITY: usize = 1 << 20;

/// The writing end. Cheap to clone.
#[derive(Clone)]
pub struct SerialOutlet {
    shared: Arc<Shared>,
}

struct Shared {
    gathered: Mutex<Gathered>,
    taken: Condvar,
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
        let shared = Shared { gathered: Mutex::default(), taken: Condvar::new(), wake: Box::new(wake) };
        Self { shared: Arc::new(shared) }
    }
    /// Appends `bytes`. After [`close`](Self::close) they are dropped.
    pub fn send(&self, bytes: &[u8]) {
        let mut gathered = self.shared.gathered.lock().unwrap_or_else(PoisonError::into_inner);
        while gathered.bytes.len() >= CAPACITY && !gathered.closed {
            gathered = self.shared.taken.wait(gathered).unwrap_or_else(PoisonError::into_inner);
        }
        if gathered.closed {
            return;
        }
        let was_empty = gathered.bytes.is_empty();
        gathered.bytes.extend_from_slice(bytes);
        drop(gathered);
        if was_empty {
            (self.shared.wake)();
        }
    }
    /// Takes what has gathered.
    pub fn take(&self) -> Vec<u8> {
        let mut gathered = self.shared.gathered.lock().unwrap_or_else(PoisonError::into_inner);
        self.shared.taken.notify_all();
        std::mem::take(&mut gathered.bytes)
    }
    /// Nobody takes any more: the writer never waits again.
    pub fn close(&self) {
        self.shared.gathered.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.shared.taken.notify_all();
    }
}

impl Write for SerialOutlet {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.send(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
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
        outlet.send(b"a");
        outlet.send(b"b");
        assert_eq!(outlet.take(), b"ab");
        assert_eq!(woken.load(Ordering::Relaxed), 1);
        outlet.send(b"c");
        assert_eq!(woken.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_full_outlet_waits_until_it_is_closed() {
        let outlet = SerialOutlet::new(|| {});
        outlet.send(&vec![0; CAPACITY]);
        let writer = outlet.clone();
        let thread = std::thread::spawn(move || writer.send(b"more"));
        outlet.close();
        thread.join().unwrap();
        assert_eq!(outlet.take().len(), CAPACITY);
    }
}
