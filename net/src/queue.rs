//! Frames that wait for a card.

use crate::backend::Waker;
use crate::bell::Bell;
use crate::frame::Frame;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A bounded queue from a network's thread to the machine, which is woken when it is no longer empty.
pub struct FrameQueue {
    state: Mutex<State>,
    most_bytes: usize,
}

#[derive(Default)]
struct State {
    frames: VecDeque<Frame>,
    bytes: usize,
    pushed: u64,
    waker: Option<Waker>,
}

impl FrameQueue {
    /// A queue of frames with `most_bytes` bytes together at most. A single longer frame has room where nothing else waits.
    pub fn new(most_bytes: usize) -> Self {
        Self { state: Mutex::default(), most_bytes }
    }
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// Whom to wake.
    pub fn set_waker(&self, waker: Waker) {
        self.state().waker = Some(waker);
    }
    /// Wakes the machine, though no frame has come.
    pub fn wake(&self) {
        let waker = self.state().waker.clone();
        if let Some(waker) = waker {
            waker();
        }
    }
    /// Bytes for which there is room.
    pub fn room(&self) -> usize {
        self.most_bytes.saturating_sub(self.state().bytes)
    }
    /// Appends a frame: how many were appended before it.
    ///
    /// # Errors
    /// There is no room; the frame comes back.
    pub fn push(&self, frame: Frame) -> Result<u64, Frame> {
        let mut state = self.state();
        if !state.frames.is_empty() && state.bytes + frame.bytes.len() > self.most_bytes {
            return Err(frame);
        }
        let was_empty = state.frames.is_empty();
        state.bytes += frame.bytes.len();
        state.frames.push_back(frame);
        let number = state.pushed;
        state.pushed += 1;
        let waker = state.waker.clone().filter(|_| was_empty);
        drop(state);
        if let Some(waker) = waker {
            waker();
        }
        Ok(number)
    }
    /// How many frames were taken: a frame with a smaller number than this waits no longer.
    pub fn taken(&self) -> u64 {
        let state = self.state();
        state.pushed - state.frames.len() as u64
    }
    /// Takes the frame that waits longest; a network that waits for room (`wants_room`) is told by its bell once there are at least `room` bytes of it.
    pub(crate) fn pop_for(&self, wants_room: &AtomicBool, room: usize, bell: &Bell) -> Option<Frame> {
        let frame = self.pop();
        if wants_room.load(Ordering::SeqCst)
            && self.room() >= room
            && wants_room.swap(false, Ordering::SeqCst)
        {
            bell.ring();
        }
        frame
    }
    /// Takes the frame that waits longest.
    pub fn pop(&self) -> Option<Frame> {
        let mut state = self.state();
        let frame = state.frames.pop_front()?;
        state.bytes -= frame.bytes.len();
        Some(frame)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn a_full_queue_gives_frames_back_and_the_first_one_wakes() {
        let queue = FrameQueue::new(100);
        assert_eq!(queue.taken(), 0);
        let woken = Arc::new(AtomicUsize::new(0));
        let count = woken.clone();
        queue.set_waker(Arc::new(move || _ = count.fetch_add(1, Ordering::Relaxed)));
        queue.push(vec![1; 200].into()).unwrap();
        assert_eq!(queue.room(), 0);
        assert_eq!(queue.push(vec![2; 1].into()).unwrap_err().bytes, [2]);
        assert_eq!(queue.pop().unwrap().bytes.len(), 200);
        assert_eq!(queue.push(vec![3; 60].into()).unwrap(), 1);
        assert_eq!(queue.taken(), 1);
        queue.push(vec![4; 40].into()).unwrap();
        assert_eq!(queue.push(vec![5; 1].into()).unwrap_err().bytes, [5]);
        assert_eq!(woken.load(Ordering::Relaxed), 2);
        assert_eq!(queue.room(), 0);
        assert_eq!(queue.pop().unwrap().bytes.len(), 60);
        assert_eq!(queue.pop().unwrap().bytes.len(), 40);
        assert!(queue.pop().is_none());
    }
}
