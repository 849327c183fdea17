//! `--expect`, `--exit-on` and `--timeout`: ends of a run that scripts ask for.
//!
//! A [`Watch`] reads along what the guest writes to COM1, a byte at a time in the order of writing, so that it does not
//! matter how the bytes come, and with `--icount` each run ends after the same instruction. What it finds first decides.

use crate::error::{EXIT_EXPECTED_TEXT_MISSING, EXIT_TIMEOUT, Failure};
use crate::note::{self, note};
use crate::overheard::Overheard;
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use std::{io, process};
use trimotor_console::reactor::{self, Registration};
use trimotor_console::terminal;
use trimotor_devices::serial::SerialBackend;
use trimotor_machine::{MachineControl, MachineEvent};

/// How long a machine may take to end once its time is up.
const GRACE: Duration = Duration::from_secs(10);

/// The handle of a machine that is made later.
pub type LaterControl = Arc<OnceLock<MachineControl>>;

/// A text that is looked for in a stream (the algorithm of Knuth, Morris and Pratt).
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    text: String,
    /// For each prefix the length of the longest shorter one that it ends with.
    shorter: Vec<usize>,
    matched: usize,
}

impl Pattern {
    /// Nothing of the stream was read yet. An empty text is never found.
    pub(crate) fn new(text: &str) -> Pattern {
        let bytes = text.as_bytes();
        let mut shorter = vec![0; bytes.len()];
        let mut length = 0;
        for at in 1..bytes.len() {
            while length > 0 && bytes[at] != bytes[length] {
                length = shorter[length - 1];
            }
            length += usize::from(bytes[at] == bytes[length]);
            shorter[at] = length;
        }
        Pattern { text: text.to_owned(), shorter, matched: 0 }
    }
    /// Whether the text ends with this byte of the stream.
    pub(crate) fn byte(&mut self, byte: u8) -> bool {
        let bytes = self.text.as_bytes();
        while self.matched > 0 && bytes[self.matched] != byte {
            self.matched = self.shorter[self.matched - 1];
        }
        self.matched += usize::from(bytes[self.matched] == byte);
        if self.matched < bytes.len() {
            return false;
        }
        self.matched = self.shorter[bytes.len() - 1];
        true
    }
}

/// What ended a run before the machine did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// All of `--expect` came.
    Met,
    /// A text of `--exit-on` came.
    Text,
    /// The time was up.
    TimedOut(Duration),
}

#[derive(Default)]
struct State {
    expected: VecDeque<Pattern>,
    exit_on: Vec<Pattern>,
    verdict: Option<Verdict>,
    /// What else is done when a text comes.
    calls: Vec<(Pattern, Call)>,
}

/// Done once, on the machine's thread.
type Call = Box<dyn FnOnce(&MachineControl) + Send>;

impl State {
    /// Reads a byte; the verdict with the text that brought it, if there is one now.
    fn byte(&mut self, byte: u8) -> Option<(Verdict, String)> {
        if let Some(met) = self.expected.pop_front_if(|first| first.byte(byte))
            && self.expected.is_empty()
        {
            return Some((Verdict::Met, met.text));
        }
        // Not `find`: each reads every byte.
        let read = |text: &mut Pattern| text.byte(byte).then(|| text.text.clone());
        let found: Vec<_> = self.exit_on.iter_mut().filter_map(read).collect();
        found.into_iter().next().map(|text| (Verdict::Text, text))
    }
}

/// Watches for the ends of a run. Cheap to clone.
#[derive(Clone)]
pub struct Watch {
    state: Arc<Mutex<State>>,
    control: LaterControl,
    /// Texts end nothing: the run has an end of its own.
    only_judges: bool,
}

impl Watch {
    /// For these texts; the machine whose `control` comes later is asked to end.
    pub fn new(expect: &[String], exit_on: &[String], control: LaterControl) -> Watch {
        let patterns = |texts: &[String]| texts.iter().map(|text| Pattern::new(text)).collect::<Vec<_>>();
        let state =
            State { expected: patterns(expect).into(), exit_on: patterns(exit_on), ..State::default() };
        Watch { state: Arc::new(Mutex::new(state)), control, only_judges: false }
    }
    /// Texts are looked for, but do not end the run: a replay ends where its recording does.
    pub fn end_nothing(&mut self) {
        self.only_judges = true;
    }
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// `backend` with this watch on what goes to it; as it is where there is nothing to watch for.
    pub fn on(&self, backend: Box<dyn SerialBackend>) -> Box<dyn SerialBackend> {
        let state = self.state();
        if state.expected.is_empty() && state.exit_on.is_empty() && state.calls.is_empty() {
            return backend;
        }
        drop(state);
        let watch = self.clone();
        Box::new(Overheard::new(backend, move |bytes: &[u8]| watch.read(bytes)))
    }
    fn read(&self, bytes: &[u8]) {
        let mut state = self.state();
        if !state.calls.is_empty()
            && let Some(control) = self.control.get()
        {
            for byte in bytes {
                state
                    .calls
                    .extract_if(.., |(pattern, _)| pattern.byte(*byte))
                    .for_each(|(_, call)| call(control));
            }
        }
        if state.verdict.is_none() {
            let Some((verdict, text)) = bytes.iter().find_map(|byte| state.byte(*byte)) else { return };
            if let Some(control) = self.control.get() {
                control.tell(&MachineEvent::WatchHit(text));
            }
            self.decide(&mut state, verdict);
        }
    }
    fn decide(&self, state: &mut State, verdict: Verdict) {
        if state.verdict.is_none() {
            let timed_out = matches!(verdict, Verdict::TimedOut(_));
            state.verdict = Some(verdict);
            match self.control.get() {
                Some(control) if timed_out => control.quit(),
                Some(_) if self.only_judges => {}
                Some(control) => control.quit_after_slice(),
                None => {}
            }
        }
    }
    /// Has `call` called when the guest writes `text` for the first time, on the machine's thread: it must return at once.
    /// What is watched for is named before [`on`](Self::on).
    pub fn call_on(&self, text: &str, call: impl FnOnce(&MachineControl) + Send + 'static) {
        self.state().calls.push((Pattern::new(text), Box::new(call)));
    }
    /// Nothing more is called.
    pub fn forget_calls(&self) {
        self.state().calls.clear();
    }
    /// What ended the run, if this did.
    pub fn verdict(&self) -> Option<Verdict> {
        self.state().verdict.clone()
    }
    /// The first text of `--expect` that has not come.
    pub fn missing(&self) -> Option<String> {
        self.state().expected.front().map(|pattern| pattern.text.clone())
    }

    /// Ends the run after `limit`, unless what is returned is dropped before.
    ///
    /// # Errors
    /// The host has no thread left.
    pub fn start_timer(&self, limit: Duration) -> io::Result<[Registration; 2]> {
        let (watch, hung) = (self.clone(), self.clone());
        let up = move || watch.decide(&mut watch.state(), Verdict::TimedOut(limit));
        Ok([reactor::after(limit, up)?, reactor::after(limit.saturating_add(GRACE), move || hung.give_up())?])
    }
    /// Ends the program, whatever the machine hangs in: whoever asked for a time-out does not want to wait.
    fn give_up(&self) {
        terminal::restore();
        note(format_args!("trimotor: --timeout: the machine did not end within {GRACE:?} of being asked"));
        note::finish();
        let code = if self.missing().is_some() { EXIT_EXPECTED_TEXT_MISSING } else { EXIT_TIMEOUT };
        process::exit(code.into());
    }
    /// How the program ends, where the machine's own end would be `own`, and `was_left` says that a signal ended it.
    ///
    /// # Errors
    /// Expected text has not come, the time was up, or what `own` has.
    pub fn outcome<T>(&self, success: T, own: Result<T, Failure>, was_left: bool) -> Result<T, Failure> {
        let own = match self.verdict() {
            Some(Verdict::Met) => return Ok(success),
            Some(Verdict::Text) => Ok(success),
            Some(Verdict::TimedOut(limit)) => Err(Failure::TimedOut(limit)),
            None => own,
        };
        match (self.missing(), own) {
            (Some(_), Err(host @ Failure::Host(_))) => Err(host),
            (Some(text), own) if !was_left => {
                let why = own.err().map(|failure| failure.to_string());
                Err(Failure::TextMissing(MissingText { text, why }))
            }
            (_, own) => own,
        }
    }
}

/// Expected text that did not come.
#[derive(Debug)]
pub struct MissingText {
    text: String,
    /// What else is to be said of the run's end.
    why: Option<String>,
}

impl fmt::Display for MissingText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(why) = &self.why {
            writeln!(f, "{why}")?;
        }
        write!(f, "--expect: the run ended without {:?} on COM1", self.text)
    }
}

/// A time on the command line: a number with ms, s, m or h; seconds without.
///
/// # Errors
/// What is no such time; the message says how to write it.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let help = "write a time like 60s, 5m, 1h or 500ms";
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit_ms: u64 = match &text[digits.len()..] {
        "ms" => 1,
        "" | "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        other => return Err(format!("\"{other}\" is no unit: {help}")),
    };
    let number: u64 = digits.parse().map_err(|_| format!("\"{digits}\" is no number: {help}"))?;
    match number.checked_mul(unit_ms) {
        Some(0) => Err(format!("a run of no time at all: {help}")),
        Some(ms) => Ok(Duration::from_millis(ms)),
        None => Err(format!("too long: {help}")),
    }
}

/// A text to look for on the command line.
///
/// # Errors
/// It is empty.
pub fn parse_text(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("an empty text is everywhere: name one".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(expect: &[&str], exit_on: &[&str]) -> Watch {
        let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        Watch::new(&texts(expect), &texts(exit_on), LaterControl::default())
    }
    /// What is found in `output`, in whole and a byte at a time.
    #[track_caller]
    fn found(expect: &[&str], exit_on: &[&str], output: &str) -> (Option<Verdict>, Option<String>) {
        let (whole, cut) = (watch(expect, exit_on), watch(expect, exit_on));
        whole.read(output.as_bytes());
        output.bytes().for_each(|byte| cut.read(&[byte]));
        assert_eq!((whole.verdict(), whole.missing()), (cut.verdict(), cut.missing()));
        (whole.verdict(), whole.missing())
    }

    #[test]
    fn texts_are_found_wherever_they_begin() {
        assert_eq!(found(&["aab"], &[], "aaab"), (Some(Verdict::Met), None));
        assert_eq!(found(&["abcabd"], &[], "abcabcabd"), (Some(Verdict::Met), None));
        assert_eq!(found(&["login: "], &[], "login:\nlogin"), (None, Some("login: ".to_owned())));
        assert_eq!(found(&[], &["äö"], "xäö"), (Some(Verdict::Text), None));
    }

    #[test]
    fn expected_texts_come_in_their_order_and_do_not_overlap() {
        assert_eq!(found(&["one", "two"], &[], "two one"), (None, Some("two".to_owned())));
        assert_eq!(found(&["one", "two"], &[], "two one two"), (Some(Verdict::Met), None));
        assert_eq!(found(&["aa", "aa"], &[], "aaa"), (None, Some("aa".to_owned())));
        assert_eq!(found(&["aa", "aa"], &[], "aaaa"), (Some(Verdict::Met), None));
    }

    #[test]
    fn what_comes_first_decides() {
        let panic = ["Kernel panic"];
        assert_eq!(found(&["login:"], &panic, "Kernel panic login:").0, Some(Verdict::Text));
        assert_eq!(found(&["login:"], &panic, "login: Kernel panic").0, Some(Verdict::Met));
        assert_eq!(found(&["same"], &["same"], "same").0, Some(Verdict::Met));
    }

    #[test]
    fn times_are_read() {
        for (text, ms) in
            [("60s", 60_000), ("60", 60_000), ("5m", 300_000), ("1h", 3_600_000), ("250ms", 250)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "s", "0", "1d", "-1s", "1.5s", "99999999999999999999h", "9999999999999999999h"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
