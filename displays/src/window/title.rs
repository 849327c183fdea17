//! The window's title: which guest, which engine, how it is, and how the pointer gets out.

use super::Grab;
use crate::guest::Status;
use std::time::{Duration, Instant};

/// How often the speed is measured.
const INTERVAL: Duration = Duration::from_secs(1);
/// The longest name of a guest that is shown, in characters.
const LONGEST_NAME: usize = 60;

/// What the title says.
#[derive(Debug)]
pub struct Title {
    name: String,
    /// When the speed was measured last, and how many instructions the guest had retired by then.
    measured: Option<(Instant, u64)>,
    /// Millions of instructions in a second.
    speed: Option<u64>,
    shown: String,
}

impl Title {
    /// Of a guest of that name.
    pub fn new(name: &str) -> Title {
        let name: String =
            name.chars().filter(|character| !character.is_control()).take(LONGEST_NAME).collect();
        Title { name, measured: None, speed: None, shown: String::new() }
    }
    /// The title now, if it is another one than before. Second, when to ask anew at the latest; while the machine stands still
    /// nothing of it changes by itself.
    pub fn next(
        &mut self,
        now: Instant,
        status: &Status,
        grab: Option<Grab>,
    ) -> (Option<String>, Option<Instant>) {
        if status.paused {
            (self.measured, self.speed) = (None, None);
        } else {
            self.measure(now, status.instructions);
        }
        let text = self.text(status, grab);
        let due = self.measured.map(|(when, _)| when + INTERVAL);
        if text == self.shown {
            return (None, due);
        }
        self.shown.clone_from(&text);
        (Some(text), due)
    }
    fn measure(&mut self, now: Instant, instructions: u64) {
        let Some((when, before)) = self.measured else {
            self.measured = Some((now, instructions));
            return;
        };
        let elapsed = now.saturating_duration_since(when);
        if elapsed < INTERVAL {
            return;
        }
        let millions = instructions.saturating_sub(before) as f64 / elapsed.as_secs_f64() / 1e6;
        self.speed = Some(millions.round() as u64);
        self.measured = Some((now, instructions));
    }
    fn text(&self, status: &Status, grab: Option<Grab>) -> String {
        let mut text = format!("Trimotor - {} ({}) - ", self.name, status.engine);
        match (status.paused, self.speed) {
            (true, _) => text += "paused",
            (false, None) => text += "running",
            (false, Some(speed)) => text += &format!("running, {speed} MIPS"),
        }
        match grab {
            Some(Grab::Pointer) => text += " - Ctrl-Alt-G releases the pointer",
            Some(Grab::Keyboard) => text += " - Ctrl-Alt-G releases the keyboard",
            None => {}
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(instructions: u64, paused: bool) -> Status {
        Status { engine: "jit".to_owned(), instructions, paused, ..Status::default() }
    }

    #[test]
    fn it_says_how_the_guest_is() {
        let (mut title, start) = (Title::new("disk\n.img"), Instant::now());
        let second = |number| start + number * INTERVAL;
        let first = title.next(start, &status(0, false), None);
        assert_eq!(first, (Some("Trimotor - disk.img (jit) - running".to_owned()), Some(second(1))));
        // Nothing new before the second is over.
        assert_eq!(title.next(start, &status(5, false), None), (None, Some(second(1))));
        let (text, due) = title.next(second(1), &status(100_000_000, false), None);
        assert_eq!(text.as_deref(), Some("Trimotor - disk.img (jit) - running, 100 MIPS"));
        assert_eq!(due, Some(second(2)));
        let (text, _) = title.next(second(1), &status(100_000_000, false), Some(Grab::Pointer));
        let text = text.unwrap();
        assert!(text.ends_with("100 MIPS - Ctrl-Alt-G releases the pointer"), "{text}");
        // Paused: no speed, and nothing to wait for.
        let paused = title.next(second(9), &status(100_000_000, true), None);
        assert_eq!(paused, (Some("Trimotor - disk.img (jit) - paused".to_owned()), None));
        assert_eq!(title.next(second(10), &status(100_000_000, true), None), (None, None));
    }
}
