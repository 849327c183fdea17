//! The screen as it is at one moment of guest time, for screenshots.

use super::{ATTENTION, MachineControl, lock};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use trimotor_bus::GuestTime;
use trimotor_devices::display::Surface;
use trimotor_devices::vga::TextScreen;

/// Shots that wait before more are refused: each may be a screen's size once it is taken.
const MAX_SHOTS: usize = 256;

/// What the screen shows at a moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shot {
    /// The moment.
    pub time: GuestTime,
    /// The picture; without pixels where the machine has no display.
    pub picture: Surface,
    /// The characters, in text modes.
    pub text: Option<TextScreen>,
}

/// Takes a shot, on the machine's thread: it must return at once.
pub type ShotTaker = Box<dyn FnOnce(Shot) + Send>;

/// The shots that wait.
pub(super) struct Shots {
    waiting: Mutex<Vec<(GuestTime, ShotTaker)>>,
    /// The earliest one's time; the largest number where none waits.
    next_ns: AtomicU64,
}

impl Default for Shots {
    fn default() -> Self {
        Self { waiting: Mutex::default(), next_ns: AtomicU64::new(u64::MAX) }
    }
}

impl Shots {
    fn find_next(&self, waiting: &[(GuestTime, ShotTaker)]) {
        let next = waiting.iter().map(|(time, _)| time.ns()).min();
        self.next_ns.store(next.unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

impl MachineControl {
    /// Has `take` called with the screen at guest time `when`, at once where that is over. With a counted clock that is between
    /// two instructions that are the same in each run. Returns false where too many wait.
    ///
    /// Does not disturb the instruction that runs: who wants the screen now, and has no guest time to name, calls
    /// [`wake`](Self::wake) afterwards.
    pub fn shoot(&self, when: GuestTime, take: ShotTaker) -> bool {
        let shots = &self.shared.shots;
        let mut waiting = lock(&shots.waiting);
        if waiting.len() >= MAX_SHOTS {
            return false;
        }
        waiting.push((when, take));
        shots.find_next(&waiting);
        drop(waiting);
        // A machine that sleeps looks anew until when.
        self.shared.flags.raise(ATTENTION);
        true
    }
    /// Drops the shots that wait, untaken.
    pub fn forget_shots(&self) {
        let mut waiting = lock(&self.shared.shots.waiting);
        waiting.clear();
        self.shared.shots.find_next(&waiting);
    }
    /// When the next shot is to be taken; the largest number for never.
    #[inline]
    pub(crate) fn next_shot_ns(&self) -> u64 {
        self.shared.shots.next_ns.load(Ordering::Relaxed)
    }
    /// Hands out the shots that are due, each made by `make`.
    pub(crate) fn take_shots(&self, now: GuestTime, make: impl Fn() -> Shot) {
        let shots = &self.shared.shots;
        let mut waiting = lock(&shots.waiting);
        let due: Vec<_> = waiting.extract_if(.., |(time, _)| *time <= now).collect();
        shots.find_next(&waiting);
        drop(waiting);
        due.into_iter().for_each(|(_, take)| take(make()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn shots_are_taken_when_they_are_due() {
        let control = MachineControl::default();
        let (sender, taken) = channel();
        for time in [30, 10, 20] {
            let sender = sender.clone();
            assert!(control.shoot(GuestTime(time), Box::new(move |shot| sender.send((time, shot)).unwrap())));
        }
        assert_eq!(control.next_shot_ns(), 10);
        let at = |now| {
            control.take_shots(GuestTime(now), || Shot {
                time: GuestTime(now),
                picture: Surface::default(),
                text: None,
            });
            taken.try_iter().map(|(time, shot)| (time, shot.time.ns())).collect::<Vec<_>>()
        };
        assert_eq!(at(9), []);
        assert_eq!(at(20), [(10, 20), (20, 20)]);
        assert_eq!(control.next_shot_ns(), 30);
        assert_eq!(at(100), [(30, 100)]);
        assert_eq!(control.next_shot_ns(), u64::MAX);
        (0..MAX_SHOTS).for_each(|_| assert!(control.shoot(GuestTime::ZERO, Box::new(|_| ()))));
        assert!(!control.shoot(GuestTime::ZERO, Box::new(|_| ())), "too many wait");
    }
}
