//! The status line: what the machine does, and the keys that matter.

use crate::session::Status;
use std::time::{Duration, Instant};

/// The speed is an average over this long.
const SPEED_INTERVAL: Duration = Duration::from_secs(1);

/// A piece of the line, and how much it matters.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Piece {
    text: String,
    weight: u8,
}

/// The line before it is cut to the terminal's width.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct StatusLine {
    pieces: Vec<Piece>,
}

/// Between pieces.
const SEPARATOR: &str = " │ ";

impl StatusLine {
    /// Appends a piece; those with the least weight go first where there is no room.
    pub fn push(&mut self, weight: u8, text: impl Into<String>) {
        self.pieces.push(Piece { text: text.into(), weight });
    }
    /// The line in `columns`, without the pieces that find no room.
    pub fn fit(&self, columns: usize) -> String {
        let mut pieces = self.pieces.clone();
        loop {
            let texts: Vec<_> = pieces.iter().map(|piece| piece.text.as_str()).collect();
            let line = format!(" {}", texts.join(SEPARATOR));
            let least = pieces.iter().enumerate().min_by_key(|(_, piece)| piece.weight).map(|(at, _)| at);
            match least {
                Some(least) if line.chars().count() > columns && pieces.len() > 1 => {
                    drop(pieces.remove(least))
                }
                _ => return line,
            }
        }
    }
}

/// Millions of instructions a second of host time.
#[derive(Default, Debug)]
pub(crate) struct Speed {
    since: Option<(Instant, u64)>,
    mips: Option<f64>,
}

impl Speed {
    pub(crate) fn measure(&mut self, status: &Status, now: Instant) -> Option<f64> {
        let instructions = status.instructions?;
        let (since, before) = *self.since.get_or_insert((now, instructions));
        let passed = now.duration_since(since);
        if passed >= SPEED_INTERVAL {
            self.mips = Some(instructions.saturating_sub(before) as f64 / passed.as_secs_f64() / 1e6);
            self.since = Some((now, instructions));
        }
        self.mips
    }
}

/// What every machine has in its line: the engine, guest time, `mips` where the speed is known, and the keys behind `prefix`.
pub(crate) fn of_machine(status: &Status, mips: Option<f64>, prefix: Option<&str>) -> StatusLine {
    let mut line = StatusLine::default();
    line.push(4, status.engine.as_str());
    if status.paused {
        line.push(6, "paused");
    }
    line.push(3, format!("{:.1} s", status.guest_time_ns as f64 / 1e9));
    if let Some(mips) = mips {
        line.push(1, format!("{mips:.0} MIPS"));
    }
    if let Some(prefix) = prefix {
        line.push(5, format!("{prefix} h: keys, {prefix} x: leave"));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_matters_least_goes_first() {
        let mut line = StatusLine::default();
        line.push(2, "jit");
        line.push(1, "12 s");
        line.push(3, "Ctrl-A h: keys");
        assert_eq!(line.fit(80), " jit │ 12 s │ Ctrl-A h: keys");
        assert_eq!(line.fit(22), " jit │ Ctrl-A h: keys");
        assert_eq!(line.fit(10), " Ctrl-A h: keys");
    }

    #[test]
    fn speed_is_instructions_over_host_time() {
        let mut speed = Speed::default();
        let start = Instant::now();
        let at = |instructions| Status { instructions: Some(instructions), ..Status::default() };
        assert_eq!(speed.measure(&at(0), start), None);
        assert_eq!(speed.measure(&at(400_000_000), start + Duration::from_secs(2)), Some(200.0));
        assert_eq!(speed.measure(&Status::default(), start), None);
    }

    #[test]
    fn the_status_line_says_engine_time_and_speed() {
        let status =
            Status { engine: "interp".to_owned(), guest_time_ns: 12_340_000_000, ..Status::default() };
        let line = |mips, columns| of_machine(&status, mips, Some("Ctrl-B")).fit(columns);
        assert_eq!(line(None, 80), " interp │ 12.3 s │ Ctrl-B h: keys, Ctrl-B x: leave");
        assert!(line(Some(99.6), 80).contains("100 MIPS"));
        let paused = Status { paused: true, ..status.clone() };
        assert!(of_machine(&paused, None, None).fit(80).contains("interp │ paused │"));
        assert_eq!(line(Some(99.6), 40), " Ctrl-B h: keys, Ctrl-B x: leave");
    }
}
