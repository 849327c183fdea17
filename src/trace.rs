//! `--trace`: where lines go.
//!
//! A thread writes them, and the vCPUs wait for it where it is slower than they are: a trace has no gaps. Where it takes nothing
//! for a while, because nobody reads, or fails, the trace ends with a message, and the guest goes on.

use crate::note::note;
use std::fs::File;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;
use trimotor_console::background_writer;
use trimotor_console::terminal::MessageWriter;
use trimotor_cpu::trace::{SinkEnded, TraceSink};
use trimotor_machine::{TraceOpener, TraceTarget};

/// Bytes that wait before vCPUs do.
const MOST_WAITING: usize = 16 << 20;
/// Bytes that are written at a time: what is slower than that in [`PATIENCE`] is taken for stuck.
const PIECE: usize = 1 << 20;
/// The same for standard error, which others share.
const TERMINAL_PIECE: usize = 32 << 10;
/// How long a target that takes nothing is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// All that is open, so that it can be waited for at the end.
#[derive(Clone, Default)]
pub struct Traces(Arc<Mutex<Vec<Arc<Sink>>>>);

impl Traces {
    /// Opens targets for a machine.
    pub fn opener(&self) -> TraceOpener {
        let all = self.0.clone();
        Box::new(move |target, limit| {
            let sink = Sink::open(target, limit)?;
            let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
            // Those that nobody but their thread has, and that have written all, are over.
            all.retain(|sink| Arc::strong_count(sink) > 2 || sink.state().is_busy());
            all.push(sink.clone());
            Ok(sink as Arc<dyn TraceSink>)
        })
    }
    /// Waits until all lines are written.
    pub fn finish(&self) {
        for sink in self.0.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            sink.finish();
        }
    }
}

/// A target with its thread.
pub struct Sink {
    /// What it is called.
    name: String,
    limit: u64,
    state: Mutex<State>,
    /// Something happened to `state`.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: Vec<u8>,
    /// The thread writes something.
    writing: bool,
    /// Bytes that it has written.
    written: u64,
    /// Bytes that vCPUs have given.
    given: u64,
    /// Why no more is taken.
    ended: Option<String>,
    /// What waits is not written any more.
    broken: bool,
}

impl State {
    /// Whether something is still to be written.
    fn is_busy(&self) -> bool {
        self.writing || !self.waiting.is_empty()
    }
}

/// What a thread writes to.
enum Output {
    File(File),
    Terminal,
}

impl Output {
    fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        match self {
            Output::File(file) => file.write_all(piece),
            Output::Terminal => {
                MessageWriter.write_all(piece)?;
                background_writer::stderr().drain(PATIENCE);
                Ok(())
            }
        }
    }
}

impl Sink {
    fn open(target: &TraceTarget, limit: u64) -> Result<Arc<Sink>, String> {
        let (name, output, piece) = match target {
            TraceTarget::File(path) => {
                let file = File::create(path).map_err(|error| format!("{}: {error}", path.display()))?;
                (path.display().to_string(), Output::File(file), PIECE)
            }
            TraceTarget::Terminal | TraceTarget::Last => {
                ("standard error".to_owned(), Output::Terminal, TERMINAL_PIECE)
            }
        };
        let (state, changed) = (Mutex::default(), Condvar::new());
        let sink = Arc::new(Sink { name, limit, state, changed });
        let weak = Arc::downgrade(&sink);
        let builder = thread::Builder::new().name("trace".to_owned());
        let spawned = builder.spawn(move || {
            let mut output = output;
            let mut taken = Vec::new();
            while let Some(sink) = weak.upgrade() {
                sink.write_what_waits(&mut output, &mut taken, piece);
            }
        });
        spawned.map(|_| sink).map_err(|error| format!("a thread for the trace: {error}"))
    }
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// The thread's work: once, or nothing where nothing comes for a while.
    fn write_what_waits(&self, output: &mut Output, taken: &mut Vec<u8>, piece: usize) {
        let state = self.state();
        let is_idle = |state: &mut State| state.waiting.is_empty();
        let waited = self.changed.wait_timeout_while(state, PATIENCE / 50, is_idle);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if state.waiting.is_empty() {
            return;
        }
        taken.clear();
        std::mem::swap(&mut state.waiting, taken);
        state.writing = true;
        drop(state);
        self.changed.notify_all();
        for piece in taken.chunks(piece) {
            if self.state().broken {
                break;
            }
            let done = output.write(piece);
            let mut state = self.state();
            match done {
                Ok(()) => state.written += piece.len() as u64,
                Err(error) => self.end(&mut state, error.to_string()),
            }
            drop(state);
            self.changed.notify_all();
        }
        self.state().writing = false;
        self.changed.notify_all();
    }
    /// Takes no more, and writes nothing that waits.
    fn end(&self, state: &mut State, why: String) {
        state.broken = true;
        state.waiting = Vec::new();
        if state.ended.is_none() {
            note(format_args!("trimotor: the trace to {} ends: {why}", self.name));
            state.ended = Some(why);
        }
        self.changed.notify_all();
    }
    /// Waits as long as `is_full` says so, and something is written now and then.
    fn wait_while<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        is_full: impl Fn(&State) -> bool,
    ) -> MutexGuard<'a, State> {
        while !state.broken && is_full(&state) {
            let before = state.written;
            let stuck = |state: &mut State| !state.broken && is_full(state) && state.written == before;
            let waited = self.changed.wait_timeout_while(state, PATIENCE, stuck);
            let timeout;
            (state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            if timeout.timed_out() && is_full(&state) && state.written == before {
                self.end(&mut state, format!("nothing was taken for {} s", PATIENCE.as_secs()));
            }
        }
        state
    }
}

impl TraceSink for Sink {
    fn write(&self, lines: &[u8]) -> Result<(), SinkEnded> {
        let mut state = self.wait_while(self.state(), |state| state.waiting.len() >= MOST_WAITING);
        if state.ended.is_some() {
            return Err(SinkEnded);
        }
        let room = usize::try_from(self.limit - state.given).unwrap_or(usize::MAX);
        if lines.len() <= room {
            state.given += lines.len() as u64;
            state.waiting.extend_from_slice(lines);
            self.changed.notify_all();
            return Ok(());
        }
        let whole = lines[..room].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        state.given += whole as u64;
        state.waiting.extend_from_slice(&lines[..whole]);
        let why = format!("it has {} bytes, and may not have more than limit={}", state.given, self.limit);
        state.waiting.extend_from_slice(format!("the trace ends: {why}\n").as_bytes());
        note(format_args!(
            "trimotor: the trace to {} ends: {why} (limit=SIZE or limit=none changes that)",
            self.name
        ));
        state.ended = Some(why);
        self.changed.notify_all();
        Err(SinkEnded)
    }
    fn ended(&self) -> Option<String> {
        self.state().ended.clone()
    }
    fn finish(&self) {
        drop(self.wait_while(self.state(), |state| state.is_busy()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str) -> std::path::PathBuf {
        std::env::temp_dir().join(format!("trimotor-trace-{}-{name}", std::process::id()))
    }

    #[test]
    fn a_limit_cuts_between_lines_and_says_so() {
        let path = file("limit");
        let sink = Sink::open(&TraceTarget::File(path.clone()), 10).unwrap();
        assert_eq!(sink.write(b"one\n"), Ok(()));
        assert_eq!(sink.write(b"two\nthree\n"), Err(SinkEnded));
        assert_eq!(sink.write(b"four\n"), Err(SinkEnded));
        sink.finish();
        let text = std::fs::read_to_string(&path).unwrap();
        let _ = std::fs::remove_file(path);
        assert_eq!(text, "one\ntwo\nthe trace ends: it has 8 bytes, and may not have more than limit=10\n");
        assert!(sink.ended().is_some());
    }

    #[test]
    fn a_full_disk_ends_the_trace() {
        let sink = Sink::open(&TraceTarget::File("/dev/full".into()), u64::MAX).unwrap();
        let lines = vec![b'\n'; MOST_WAITING];
        while sink.write(&lines).is_ok() {}
        assert!(sink.ended().unwrap().contains("No space left"));
        assert!(Sink::open(&TraceTarget::File("/nowhere/x".into()), 1).err().unwrap().contains("/nowhere/x"));
    }
}
