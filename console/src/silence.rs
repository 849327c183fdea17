//! A serial port from which nothing comes: what the person at it is told.

use crate::session::Guest;
use std::time::{Duration, Instant};

/// How long the port may be silent before something is said.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the guest's screen is waited for, which is asked for first.
const ASKING: Duration = Duration::from_millis(200);

/// Watches for the first output, and has something said once if none comes.
#[derive(Debug)]
pub struct Silence {
    since: Option<Instant>,
    asked: bool,
}

impl Silence {
    /// Begins now.
    pub fn new() -> Self {
        Self { since: Some(Instant::now()), asked: false }
    }
    /// Output came: nothing is ever said.
    pub fn broken(&mut self) {
        self.since = None;
    }
    /// How long after `now` there may be something to say; `None` where never.
    pub fn patience(&self, now: Instant) -> Option<Duration> {
        let until = if self.asked { PATIENCE + ASKING } else { PATIENCE };
        Some(until.saturating_sub(now.duration_since(self.since?)))
    }
    /// What is to be said at the time `now`.
    pub fn advice(&mut self, now: Instant, guest: &mut dyn Guest) -> Option<String> {
        let silent = now.duration_since(self.since?);
        if silent >= PATIENCE && !self.asked {
            // The first answer is the screen of some time ago.
            self.asked = true;
            guest.screen();
        }
        if silent < PATIENCE + ASKING {
            return None;
        }
        self.since = None;
        let screen = guest.screen();
        guest.advice_on_silence(PATIENCE.as_secs(), screen.as_ref())
    }
}

impl Default for Silence {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graphics::View;
    use crate::keys::{KeyCode, Layout};
    use crate::session::Status;
    use trimotor_devices::pointer::PointerEvent;
    use trimotor_devices::vga::{TextScreen, Vga};

    /// A guest whose screen is there once it was asked for.
    #[derive(Default)]
    struct Quiet {
        screens: usize,
    }
    impl Guest for Quiet {
        fn screen(&mut self) -> Option<TextScreen> {
            self.screens += 1;
            (self.screens > 1).then(|| Vga::alone().screen().unwrap())
        }
        fn advice_on_silence(&mut self, seconds: u64, screen: Option<&TextScreen>) -> Option<String> {
            Some(format!("{seconds} {}", screen.is_some()))
        }
        fn key(&mut self, _key: KeyCode, _down: bool) -> bool {
            true
        }
        fn layout(&self) -> Layout {
            Layout::US
        }
        fn serial_input(&mut self, bytes: &[u8]) -> usize {
            bytes.len()
        }
        fn serial_break(&mut self) {}
        fn call_on_change(&mut self, _notify: Box<dyn Fn() + Send + Sync>) {}
        fn switch_engine(&mut self) {}
        fn ask_report(&mut self) {}
        fn report(&mut self) -> Option<Vec<String>> {
            None
        }
        fn view(&mut self) -> Box<dyn View> {
            panic!("nobody looks")
        }
        fn pointer(&mut self, _event: PointerEvent) -> bool {
            true
        }
        fn pointer_is_absolute(&mut self) -> bool {
            false
        }
        fn set_paused(&mut self, _paused: bool) {}
        fn status(&mut self) -> Status {
            Status::default()
        }
    }

    #[test]
    fn silence_is_told_once() {
        let (mut silence, mut guest) = (Silence::new(), Quiet::default());
        let start = silence.since.unwrap();
        let mut at = |milliseconds| silence.advice(start + Duration::from_millis(milliseconds), &mut guest);
        assert_eq!(at(4999), None);
        assert_eq!(at(5000), None, "the screen was asked for just now");
        assert_eq!(at(5199), None);
        assert_eq!(at(5200).as_deref(), Some("5 true"));
        assert_eq!(at(60_000), None);
    }

    #[test]
    fn output_ends_the_watch() {
        let (mut silence, mut guest) = (Silence::new(), Quiet::default());
        silence.broken();
        assert_eq!(silence.advice(Instant::now() + Duration::from_secs(100), &mut guest), None);
        assert_eq!(guest.screens, 0);
    }
}
