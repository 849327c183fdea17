//! The serial port COM1 for those who look at the guest from elsewhere, beside its own other end.
//!
//! What the guest writes is kept, as much as a screenful of history needs, and can be read from any place on by any number of
//! readers. What they type is given to the guest before what its own other end has.

use crate::guest::Bells;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use trimotor_devices::serial::SerialBackend;

/// Output that is kept, in bytes.
const HISTORY: usize = 256 << 10;
/// Input that waits for the guest before more is refused, in bytes.
const WAITING: usize = 64 << 10;

#[derive(Default)]
struct State {
    history: VecDeque<u8>,
    /// The place of the history's first byte in all that the guest wrote.
    start: u64,
    input: VecDeque<u8>,
}

/// What readers share.
#[derive(Default)]
pub struct SerialTap {
    state: Mutex<State>,
    readers: AtomicUsize,
    bells: Mutex<Option<Bells>>,
    kick: Mutex<Option<Box<dyn Fn() + Send + Sync>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SerialTap {
    /// `backend` with this tap on it. `kick` is called from other threads when somebody typed.
    pub fn on(
        self: &Arc<Self>,
        backend: Box<dyn SerialBackend>,
        kick: Box<dyn Fn() + Send + Sync>,
    ) -> Box<dyn SerialBackend> {
        *lock(&self.kick) = Some(kick);
        Box::new(TappedPort { backend, tap: self.clone() })
    }
    /// Rings these bells when the guest wrote something.
    pub fn ring(&self, bells: Bells) {
        *lock(&self.bells) = Some(bells);
    }
    /// What the guest wrote from `place` on, at most `limit` bytes, and the place behind it. What is too old is left out.
    pub fn read(&self, place: u64, limit: usize) -> (Vec<u8>, u64) {
        let state = lock(&self.state);
        let skipped = (place.saturating_sub(state.start) as usize).min(state.history.len());
        let bytes: Vec<u8> = state.history.iter().skip(skipped).take(limit).copied().collect();
        let end = state.start + (skipped + bytes.len()) as u64;
        (bytes, end)
    }
    /// Somebody typed; what there is no room for is lost, as on a cable without flow control.
    pub fn type_bytes(&self, bytes: &[u8]) {
        let mut state = lock(&self.state);
        let room = WAITING.saturating_sub(state.input.len());
        state.input.extend(&bytes[..bytes.len().min(room)]);
        drop(state);
        if let Some(kick) = &*lock(&self.kick) {
            kick();
        }
    }
    /// Somebody is at this end of the cable while what is returned is there.
    pub fn join(self: &Arc<Self>) -> Joined {
        self.readers.fetch_add(1, Ordering::Relaxed);
        Joined(self.clone())
    }
}

/// See [`SerialTap::join`].
pub struct Joined(Arc<SerialTap>);

impl Drop for Joined {
    fn drop(&mut self) {
        self.0.readers.fetch_sub(1, Ordering::Relaxed);
    }
}

struct TappedPort {
    backend: Box<dyn SerialBackend>,
    tap: Arc<SerialTap>,
}

impl SerialBackend for TappedPort {
    fn write(&mut self, bytes: &[u8]) -> usize {
        let taken = self.backend.write(bytes);
        if taken > 0 {
            let mut state = lock(&self.tap.state);
            state.history.extend(&bytes[..taken]);
            let old = state.history.len().saturating_sub(HISTORY);
            state.history.drain(..old);
            state.start += old as u64;
            drop(state);
            if let Some(bells) = &*lock(&self.tap.bells) {
                bells.ring();
            }
        }
        taken
    }
    fn flush(&mut self) {
        self.backend.flush();
    }
    fn read(&mut self, into: &mut [u8]) -> usize {
        let mut state = lock(&self.tap.state);
        let count = state.input.len().min(into.len());
        state.input.drain(..count).zip(&mut *into).for_each(|(byte, place)| *place = byte);
        drop(state);
        count + self.backend.read(&mut into[count..])
    }
    fn connected(&self) -> bool {
        self.backend.connected() || self.tap.readers.load(Ordering::Relaxed) > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nothing;
    impl SerialBackend for Nothing {
        fn write(&mut self, bytes: &[u8]) -> usize {
            bytes.len()
        }
        fn flush(&mut self) {}
        fn read(&mut self, _into: &mut [u8]) -> usize {
            0
        }
        fn connected(&self) -> bool {
            false
        }
    }

    #[test]
    fn readers_see_what_was_written_and_what_is_too_old_goes() {
        let tap = Arc::new(SerialTap::default());
        let mut port = tap.on(Box::new(Nothing), Box::new(|| ()));
        port.write(b"hello");
        assert_eq!(tap.read(0, 3), (b"hel".to_vec(), 3));
        assert_eq!(tap.read(3, 100), (b"lo".to_vec(), 5));
        assert_eq!(tap.read(5, 100), (Vec::new(), 5));
        assert_eq!(tap.read(1000, 100), (Vec::new(), 5), "a place that never was");
        port.write(&vec![b'x'; 2 * HISTORY]);
        let (bytes, end) = tap.read(5, usize::MAX);
        assert_eq!((bytes.len(), end), (HISTORY, 5 + 2 * HISTORY as u64));
    }

    #[test]
    fn what_is_typed_reaches_the_guest_and_is_bounded() {
        let tap = Arc::new(SerialTap::default());
        let mut port = tap.on(Box::new(Nothing), Box::new(|| ()));
        tap.type_bytes(b"ls\r");
        let mut into = [0; 2];
        assert_eq!((port.read(&mut into), &into), (2, b"ls"));
        assert_eq!((port.read(&mut into), into[0]), (1, b'\r'));
        (0..100).for_each(|_| tap.type_bytes(&[b'x'; 4096]));
        let mut all = vec![0; 100 * 4096];
        assert_eq!(port.read(&mut all), WAITING);
        assert!(!port.connected());
        let joined = tap.join();
        assert!(port.connected());
        drop(joined);
        assert!(!port.connected());
    }
}
