//! A stream of bytes between the session's terminal and a thread that serves who sits there: the monitor's.
//!
//! The session never waits: it gives what was typed, as much as there is room for, and takes what there is to show. The other
//! end waits, as at a socket, and so does not have to be a session's. Both directions are bounded.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Bytes that wait in each direction.
const CAPACITY: usize = 64 << 10;

struct Shared {
    state: Mutex<State>,
    /// Something was given, taken or closed.
    changed: Condvar,
    wake: Box<dyn Fn() + Send + Sync>,
}

#[derive(Default)]
struct State {
    input: VecDeque<u8>,
    output: VecDeque<u8>,
    closed: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }
}

/// The session's end. Cheap to clone.
#[derive(Clone)]
pub struct SessionEnd(Arc<Shared>);

/// The end of the thread that serves: reading and writing wait.
pub struct ServingEnd(Arc<Shared>);

/// Both ends. `wake` is called when there is something to show, where there was nothing.
pub fn duplex(wake: impl Fn() + Send + Sync + 'static) -> (SessionEnd, ServingEnd) {
    let shared = Arc::new(Shared { state: Mutex::default(), changed: Condvar::new(), wake: Box::new(wake) });
    (SessionEnd(shared.clone()), ServingEnd(shared))
}

impl SessionEnd {
    /// Gives what was typed; returns how many bytes there was room for.
    pub fn give(&self, bytes: &[u8]) -> usize {
        let mut state = self.0.lock();
        let room = CAPACITY.saturating_sub(state.input.len()).min(bytes.len());
        state.input.extend(&bytes[..room]);
        drop(state);
        self.0.changed.notify_all();
        room
    }
    /// Takes what there is to show, at most `most` bytes of it.
    pub fn take(&self, most: usize) -> Vec<u8> {
        let mut state = self.0.lock();
        let count = most.min(state.output.len());
        let taken = state.output.drain(..count).collect();
        drop(state);
        self.0.changed.notify_all();
        taken
    }
    /// Whether there is something to show.
    pub fn has_output(&self) -> bool {
        !self.0.lock().output.is_empty()
    }
    /// Nobody sits there any more: the other end reads its end, and its writes fail.
    pub fn close(&self) {
        self.0.lock().closed = true;
        self.0.changed.notify_all();
    }
}

impl std::fmt::Debug for SessionEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SessionEnd")
    }
}

impl Read for ServingEnd {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut state = self.0.lock();
        while state.input.is_empty() && !state.closed {
            state = self.0.wait(state);
        }
        let count = into.len().min(state.input.len());
        for (place, byte) in into.iter_mut().zip(state.input.drain(..count)) {
            *place = byte;
        }
        Ok(count)
    }
}

impl Write for ServingEnd {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.0.lock();
        while state.output.len() >= CAPACITY && !state.closed {
            state = self.0.wait(state);
        }
        if state.closed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let was_empty = state.output.is_empty();
        let count = (CAPACITY - state.output.len()).min(bytes.len());
        state.output.extend(&bytes[..count]);
        drop(state);
        if was_empty && count > 0 {
            (self.0.wake)();
        }
        Ok(count)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn bytes_pass_both_ways_within_bounds() {
        let (wakes, woken) = channel();
        let (session, mut serving) = duplex(move || _ = wakes.send(()));
        assert_eq!(session.give(&[7; 2 * CAPACITY]), CAPACITY);
        assert_eq!(session.give(b"more"), 0);
        let mut bytes = [0; 5];
        assert_eq!((serving.read(&mut bytes).unwrap(), bytes), (5, [7; 5]));
        let writer = std::thread::spawn(move || {
            serving.write_all(&[9; CAPACITY + 100]).unwrap();
            serving
        });
        let mut taken = 0;
        while taken < CAPACITY + 100 {
            woken.recv().unwrap();
            // Whatever was written since it was empty.
            while session.has_output() {
                taken += session.take(1000).len();
            }
        }
        let mut serving = writer.join().unwrap();
        session.close();
        assert!(serving.write_all(b"x").is_err());
        let mut rest = Vec::new();
        assert_eq!(serving.read_to_end(&mut rest).unwrap(), CAPACITY - 5, "what was typed before is read");
    }
}
