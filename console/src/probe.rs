//! Asks the terminal what it can do, and waits for its answers: for a report, where no session runs that would take them.

use crate::abilities::{Abilities, PATIENCE};
use crate::reports::{Piece, Reports};
use crate::terminal;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{read, write};
use rustix::stdio::{stdin, stdout};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use std::time::Instant;

/// Takes back what questions may have left on the line, where a terminal does not know them.
const CLEAR_LINE: &[u8] = b"\r\x1b[0m\x1b[K";
/// Bytes of answers that are read at a time.
const READ_BYTES: usize = 1024;

/// Gives the terminal's modes back.
struct Raw(Termios);
impl Drop for Raw {
    fn drop(&mut self) {
        // What came and was no answer is not typed into the shell.
        let _ = tcsetattr(stdin(), OptionalActions::Flush, &self.0);
    }
}

/// What the terminal on standard input and output can do; what is known without asking where it cannot be asked. It takes
/// [`PATIENCE`] at most.
pub fn terminal() -> Abilities {
    let mut abilities = Abilities::of_environment(None);
    let size = terminal::size();
    abilities.take_window(terminal::pixels(), size);
    let Ok(modes) = tcgetattr(stdin()) else { return abilities };
    let mut raw = modes.clone();
    raw.make_raw();
    let began = Instant::now();
    let questions = abilities.questions(began);
    if tcsetattr(stdin(), OptionalActions::Now, &raw).is_err() {
        return abilities;
    }
    let _raw = Raw(modes);
    if write(stdout(), &questions).is_err() {
        return abilities;
    }
    let mut reports = Reports::default();
    reports.expect(true, false);
    while !abilities.answers() {
        let Some(bytes) = read_within(began) else { break };
        for piece in reports.push(&bytes) {
            if let Piece::Report(report) = piece {
                abilities.take(&report, size);
            }
        }
    }
    let _ = write(stdout(), CLEAR_LINE);
    abilities
}

/// What comes until there has been time enough since `began`.
fn read_within(began: Instant) -> Option<Vec<u8>> {
    let left = PATIENCE.checked_sub(began.elapsed())?;
    let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
    let stdin = stdin();
    match poll(&mut [PollFd::new(&stdin, PollFlags::IN)], Some(&left)) {
        Ok(1..) => {}
        _ => return None,
    }
    let mut bytes = vec![0; READ_BYTES];
    let length = read(stdin, &mut bytes[..]).ok().filter(|length| *length > 0)?;
    bytes.truncate(length);
    Some(bytes)
}
