//! Requests of a device under test, done one at a time where the fuzzer's input says so.

use std::sync::Mutex;
use trimotor_bus::GuestTime;
use trimotor_devices::{Job, Outside};

/// Jobs that wait.
#[derive(Default)]
pub struct Jobs(Mutex<Vec<(u64, Job)>>);

impl Outside for Jobs {
    fn begin(&self, token: u64, _due: GuestTime, job: Job) {
        self.0.lock().expect("one thread").push((token, job));
    }
}

impl Jobs {
    /// Forgets what waits.
    pub fn clear(&self) {
        self.0.lock().expect("one thread").clear();
    }
    /// Does the oldest job: its token and its answer; nothing where none waits.
    ///
    /// # Panics
    /// More than `most` wait, or the answer has more than `max_answer` bytes: the device is wrong.
    pub fn do_oldest(&self, most: usize, max_answer: usize) -> Option<(u64, Vec<u8>)> {
        let mut waiting = self.0.lock().expect("one thread");
        assert!(waiting.len() <= most, "{} requests at a time", waiting.len());
        if waiting.is_empty() {
            return None;
        }
        let (token, job) = waiting.remove(0);
        drop(waiting);
        let answer = job();
        assert!(answer.len() <= max_answer, "{} bytes", answer.len());
        Some((token, answer))
    }
}
