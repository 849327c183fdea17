//! Output written by a thread of its own.
//!
//! A terminal that was stopped (Ctrl-S) or a pipe that nobody reads makes write(2) wait for as long as it likes. So
//! nobody but such a thread calls it: the session stays able to obey its keys and signals, and no vCPU waits for a
//! chip that is locked for the sake of a slow host. What waits is bounded.

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

/// Bytes that wait before there is no [room](BackgroundWriter::room).
const CAPACITY: usize = 64 << 10;
/// Bytes that wait at most: what is written without asking for room is dropped beyond it.
const HARD_LIMIT: usize = 64 << 20;
/// Offered bytes that are written without waiting for a flush.
const EAGER_BYTES: usize = 8 << 10;

/// The writing end. Cheap to clone; when the last one is dropped, the thread ends with what waits then.
#[derive(Clone)]
pub struct BackgroundWriter {
    end: Arc<End>,
}

/// Closes the queue when it is dropped.
struct End(Arc<Shared>);
impl Drop for End {
    fn drop(&mut self) {
        self.0.queue().closed = true;
        self.0.filled.notify_all();
    }
}

struct Shared {
    queue: Mutex<Queue>,
    /// Something waits that the thread is to write.
    filled: Condvar,
    /// Something was written.
    written: Condvar,
    /// Nothing must be written any more.
    stopped: AtomicBool,
    /// Called when something was written.
    on_room: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

#[derive(Default)]
struct Queue {
    waiting: Vec<u8>,
    /// The thread is to write what waits.
    flushed: bool,
    /// Bytes that the thread has in hand.
    in_hand: usize,
    /// Why nothing can be written any more.
    failed: Option<Errno>,
    closed: bool,
    /// Bytes that were written.
    count: u64,
}

impl Queue {
    fn pending(&self) -> usize {
        self.waiting.len() + self.in_hand
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

static STDOUT: OnceLock<BackgroundWriter> = OnceLock::new();

/// Standard output, written in the background.
pub fn stdout() -> &'static BackgroundWriter {
    STDOUT.get_or_init(|| BackgroundWriter::of_copy("stdout", rustix::io::dup(rustix::stdio::stdout())))
}
/// Whether nothing waits for standard output. Signal handlers may ask: where the writer is locked something does.
pub fn stdout_is_idle() -> bool {
    let Some(writer) = STDOUT.get() else { return true };
    writer.end.0.queue.try_lock().is_ok_and(|queue| queue.pending() == 0 || queue.failed.is_some())
}
/// Nothing that waits for standard output is written any more: a signal handler writes what comes last.
pub fn stop_stdout() {
    if let Some(writer) = STDOUT.get() {
        writer.end.0.stopped.store(true, Ordering::Relaxed);
    }
}

/// Standard error, written in the background.
pub fn stderr() -> &'static BackgroundWriter {
    static WRITER: OnceLock<BackgroundWriter> = OnceLock::new();
    WRITER.get_or_init(|| BackgroundWriter::of_copy("stderr", rustix::io::dup(rustix::stdio::stderr())))
}

impl BackgroundWriter {
    /// A writer to `to`, whose thread has the name `name`. Where the host gives no thread, all writes fail.
    pub fn start(name: &str, to: OwnedFd) -> BackgroundWriter {
        let writer = BackgroundWriter::without_thread();
        let shared = writer.end.0.clone();
        let thread = std::thread::Builder::new().name(name.to_owned());
        if let Err(error) = thread.spawn(move || write_what_waits(&shared, &to)) {
            writer.queue().failed = Some(Errno::from_io_error(&error).unwrap_or(Errno::AGAIN));
        }
        writer
    }
    fn of_copy(name: &str, to: Result<OwnedFd, Errno>) -> BackgroundWriter {
        match to {
            Ok(to) => BackgroundWriter::start(name, to),
            // It is closed.
            Err(error) => {
                let writer = BackgroundWriter::without_thread();
                writer.queue().failed = Some(error);
                writer
            }
        }
    }
    fn without_thread() -> BackgroundWriter {
        let (filled, written) = (Condvar::new(), Condvar::new());
        let (stopped, on_room) = (AtomicBool::new(false), OnceLock::new());
        let shared = Shared { queue: Mutex::default(), filled, written, stopped, on_room };
        BackgroundWriter { end: Arc::new(End(Arc::new(shared))) }
    }
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.end.0.queue()
    }
    /// Calls `on_room`, from the thread, whenever something was written; only the first call counts.
    pub fn call_on_room(&self, on_room: impl Fn() + Send + Sync + 'static) {
        let _ = self.end.0.on_room.set(Box::new(on_room));
    }
    /// Bytes that there is room for.
    pub fn room(&self) -> usize {
        CAPACITY.saturating_sub(self.queue().pending())
    }
    /// Takes as many bytes as there is room for; returns how many. They may wait for [`flush`](Self::flush_now).
    pub fn offer(&self, bytes: &[u8]) -> usize {
        let room = self.room().min(bytes.len());
        self.append(&bytes[..room]);
        room
    }
    /// Takes all bytes, whatever waits. They may wait for [`flush`](Self::flush_now).
    pub fn append(&self, bytes: &[u8]) {
        let mut queue = self.queue();
        if queue.failed.is_none() && queue.pending() + bytes.len() <= HARD_LIMIT {
            queue.waiting.extend_from_slice(bytes);
        }
        if queue.waiting.len() >= EAGER_BYTES {
            self.flush_queue(queue);
        }
    }
    /// Has what waits written.
    pub fn flush_now(&self) {
        self.flush_queue(self.queue());
    }
    fn flush_queue(&self, mut queue: MutexGuard<'_, Queue>) {
        if !queue.waiting.is_empty() && !std::mem::replace(&mut queue.flushed, true) {
            drop(queue);
            self.end.0.filled.notify_one();
        }
    }
    /// Why nothing can be written any more, if that is so.
    pub fn failure(&self) -> Option<io::Error> {
        self.queue().failed.map(io::Error::from)
    }
    /// Whether nothing waits, or nothing can be written any more.
    pub fn is_idle(&self) -> bool {
        let queue = self.queue();
        queue.pending() == 0 || queue.failed.is_some()
    }
    /// Bytes that were written so far: whether anybody takes them.
    pub fn count(&self) -> u64 {
        self.queue().count
    }
    /// Waits until all has been written, as long as some of it is each time within `patience`.
    pub fn drain(&self, patience: Duration) {
        self.flush_now();
        let mut queue = self.queue();
        loop {
            let before = queue.count;
            // A condition variable may wake without a reason, and the thread also tells what it told before.
            let (then, waited) = self
                .end
                .0
                .written
                .wait_timeout_while(queue, patience, |queue| {
                    queue.pending() > 0 && queue.failed.is_none() && queue.count == before
                })
                .unwrap_or_else(PoisonError::into_inner);
            queue = then;
            if waited.timed_out() || queue.pending() == 0 || queue.failed.is_some() {
                return;
            }
        }
    }
}

/// Appends, and flushes at once.
impl Write for &BackgroundWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(error) = self.failure() {
            return Err(error);
        }
        self.append(bytes);
        self.flush_now();
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl std::fmt::Debug for BackgroundWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BackgroundWriter").field("pending", &self.queue().pending()).finish_non_exhaustive()
    }
}

/// The thread.
fn write_what_waits(shared: &Shared, to: &OwnedFd) {
    loop {
        let bytes = {
            let mut queue = shared.queue();
            while !queue.flushed && !queue.closed {
                queue = shared.filled.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
            if queue.waiting.is_empty() && queue.closed {
                return;
            }
            queue.flushed = false;
            queue.in_hand = queue.waiting.len();
            std::mem::take(&mut queue.waiting)
        };
        if let Err(error) = write_out(shared, to, &bytes) {
            let mut queue = shared.queue();
            queue.failed = Some(error);
            queue.in_hand = 0;
            queue.waiting.clear();
        }
        shared.written.notify_all();
        if let Some(on_room) = shared.on_room.get() {
            on_room();
        }
    }
}

fn write_out(shared: &Shared, to: &OwnedFd, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        if shared.stopped.load(Ordering::Relaxed) {
            return Err(Errno::CANCELED);
        }
        match rustix::io::write(to, bytes) {
            Ok(written) => {
                bytes = &bytes[written..];
                let mut queue = shared.queue();
                queue.in_hand = bytes.len();
                queue.count += written as u64;
                drop(queue);
                shared.written.notify_all();
            }
            Err(Errno::INTR) => {}
            // Another program made it non-blocking.
            Err(Errno::AGAIN) => _ = poll(&mut [PollFd::new(to, PollFlags::OUT)], None)?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn pipe() -> (std::fs::File, BackgroundWriter) {
        let (far, near) = rustix::pipe::pipe().unwrap();
        (far.into(), BackgroundWriter::start("test", near))
    }

    #[test]
    fn nobody_waits_for_a_pipe_that_is_not_read() {
        let (mut far, writer) = pipe();
        let sent = vec![b'x'; CAPACITY];
        let mut taken = 0;
        loop {
            match writer.offer(&sent) {
                0 => break,
                more => taken += more,
            }
        }
        assert!(taken >= CAPACITY && writer.room() == 0);
        // What is there is given up.
        writer.drain(Duration::ZERO);
        let mut got = vec![0; taken];
        far.read_exact(&mut got).unwrap();
        writer.drain(Duration::MAX);
        assert!(writer.is_idle() && writer.count() == taken as u64);
    }

    #[test]
    fn all_is_written_before_the_thread_ends() {
        let (mut far, writer) = pipe();
        let sent: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
        let expected = sent.clone();
        writer.append(&sent);
        drop(writer);
        let mut got = Vec::new();
        far.read_to_end(&mut got).unwrap();
        assert!(got == expected);
    }

    #[test]
    fn a_wake_up_without_a_reason_ends_no_wait() {
        let (mut far, writer) = pipe();
        let sent = vec![b'x'; 4 * CAPACITY];
        writer.append(&sent);
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    writer.end.0.written.notify_all();
                }
            });
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(50));
                far.read_exact(&mut vec![0; sent.len()]).unwrap();
            });
            writer.drain(Duration::from_secs(60));
            done.store(true, Ordering::Relaxed);
        });
        assert!(writer.is_idle() && writer.count() == sent.len() as u64);
    }

    #[test]
    fn a_pipe_without_a_reader_fails_and_holds_nobody_up() {
        let (far, writer) = pipe();
        drop(far);
        assert!((&writer).write(b"x").is_ok());
        writer.drain(Duration::MAX);
        assert_eq!(writer.failure().map(|error| error.kind()), Some(io::ErrorKind::BrokenPipe));
        assert!((&writer).write(b"x").is_err());
        assert!(writer.is_idle());
    }
}
