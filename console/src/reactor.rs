//! The one thread that waits for the host.
//!
//! Standard input, signals, sockets, pseudo-terminals and timers each are a [`Handler`]; the thread asks all of them what
//! they wait for, waits with poll(2), and calls those for whom something came. Where nothing comes it does not
//! wake up. A handler must never wait itself: what may (writing to a terminal, a file) is the business of
//! [`background_writer`](crate::background_writer).
//!
//! There is a handful of descriptors, so that asking anew each time costs less than keeping a table in the kernel, and
//! poll, other than epoll, takes regular files too: standard input may be one.

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

/// Something of the host that is waited for.
pub trait Handler: Send {
    /// What to wait for; `None` where nothing will come any more: the handler is dropped then. Asked before each wait.
    fn wants(&mut self) -> Option<Wants<'_>>;
    /// Called where something of `came` came, or the deadline is over (then nothing may have come). Must not wait.
    fn act(&mut self, came: PollFlags);
}

/// What a handler waits for.
#[derive(Default)]
pub struct Wants<'a> {
    /// The descriptor, and what of it. Errors and hang-ups are always told.
    pub descriptor: Option<(BorrowedFd<'a>, PollFlags)>,
    /// The latest time to call the handler.
    pub deadline: Option<Instant>,
}

struct Entry {
    handler: Box<dyn Handler>,
    state: Arc<EntryState>,
}

/// What a handler's owner shares with the thread.
#[derive(Default)]
struct EntryState {
    cancelled: AtomicBool,
    gone: Mutex<bool>,
    told: Condvar,
}

impl Drop for Entry {
    fn drop(&mut self) {
        *lock(&self.state.gone) = true;
        self.state.told.notify_all();
    }
}

struct Shared {
    /// Makes the thread ask all handlers anew.
    wake: OwnedFd,
    arriving: Mutex<Vec<Entry>>,
    thread: OnceLock<ThreadId>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The thread and what it shares, once somebody needed it.
static REACTOR: Mutex<Option<Arc<Shared>>> = Mutex::new(None);

fn reactor() -> io::Result<Arc<Shared>> {
    let mut started = lock(&REACTOR);
    if let Some(shared) = &*started {
        return Ok(shared.clone());
    }
    let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let shared = Arc::new(Shared { wake, arriving: Mutex::default(), thread: OnceLock::new() });
    let for_thread = shared.clone();
    std::thread::Builder::new().name("reactor".to_owned()).spawn(move || run(&for_thread))?;
    *started = Some(shared.clone());
    Ok(shared)
}

/// Adds a handler, which stays until it wants nothing more or what this returns is dropped.
///
/// # Errors
/// The host has no thread or descriptor left.
pub fn add(handler: impl Handler + 'static) -> io::Result<Registration> {
    let shared = reactor()?;
    let state = Arc::new(EntryState::default());
    let entry = Entry { handler: Box::new(handler), state: state.clone() };
    lock(&shared.arriving).push(entry);
    shared.wake();
    Ok(Registration { shared, state, keeps: false })
}

/// Calls `action` after `limit`, unless what this returns is dropped before.
///
/// # Errors
/// See [`add`].
pub fn after(limit: Duration, action: impl FnOnce() + Send + 'static) -> io::Result<Registration> {
    let deadline = Instant::now().checked_add(limit);
    add(Timer { deadline, action: Some(Box::new(action)) })
}

/// Has all handlers asked anew what they want.
pub fn wake() {
    if let Some(shared) = &*lock(&REACTOR) {
        shared.wake();
    }
}

/// A handler's owner holds it. When it is dropped, the handler is gone.
pub struct Registration {
    shared: Arc<Shared>,
    state: Arc<EntryState>,
    keeps: bool,
}

impl Registration {
    /// Leaves the handler there for good.
    pub fn keep(mut self) {
        self.keeps = true;
    }
    /// Has the handler asked anew what it wants.
    pub fn wake(&self) {
        self.shared.wake();
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if self.keeps {
            return;
        }
        self.state.cancelled.store(true, Ordering::Release);
        self.shared.wake();
        if self.shared.thread.get() == Some(&std::thread::current().id()) {
            // It is not called any more, and goes with the next look.
            return;
        }
        let mut gone = lock(&self.state.gone);
        while !*gone {
            gone = self.state.told.wait(gone).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl std::fmt::Debug for Registration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Registration")
    }
}

impl Shared {
    fn wake(&self) {
        // A counter that is full is awake enough.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }
}

/// The thread.
fn run(shared: &Shared) {
    let _ = shared.thread.set(std::thread::current().id());
    let mut entries: Vec<Entry> = Vec::new();
    loop {
        entries.append(&mut lock(&shared.arriving));
        // Those that want nothing more, and those whose owner has gone, are dropped here.
        entries.retain_mut(|entry| {
            !entry.state.cancelled.load(Ordering::Acquire) && entry.handler.wants().is_some()
        });
        let came = wait(shared, &mut entries);
        for (entry, came) in entries.iter_mut().zip(came) {
            if let Some(came) = came.filter(|_| !entry.state.cancelled.load(Ordering::Acquire)) {
                entry.handler.act(came);
            }
        }
    }
}

/// Waits; for each entry, what it must be called with.
fn wait(shared: &Shared, entries: &mut [Entry]) -> Vec<Option<PollFlags>> {
    let wants: Vec<Wants<'_>> =
        entries.iter_mut().map(|entry| entry.handler.wants().unwrap_or_default()).collect();
    let mut descriptors = vec![PollFd::new(&shared.wake, PollFlags::IN)];
    let watched = wants.iter().filter_map(|wants| wants.descriptor);
    descriptors.extend(watched.map(|(fd, flags)| PollFd::from_borrowed_fd(fd, flags)));
    let deadline = wants.iter().filter_map(|wants| wants.deadline).min();
    let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    let limit = left.and_then(|left| Timespec::try_from(left).ok());
    if let Err(error) = poll(&mut descriptors, limit.as_ref())
        && error != rustix::io::Errno::INTR
    {
        // Too little memory, for a moment: no reason to spin.
        log::error!("poll: {error}");
        std::thread::sleep(Duration::from_millis(100));
    }
    if !descriptors[0].revents().is_empty() {
        let _ = rustix::io::read(&shared.wake, &mut [0; 8]);
    }
    let now = Instant::now();
    let mut told = descriptors[1..].iter().map(PollFd::revents);
    let came = |wants: &Wants<'_>| {
        let came = wants.descriptor.and_then(|_| told.next()).unwrap_or(PollFlags::empty());
        let late = wants.deadline.is_some_and(|deadline| deadline <= now);
        (late || !came.is_empty()).then_some(came)
    };
    wants.iter().map(came).collect()
}

struct Timer {
    deadline: Option<Instant>,
    action: Option<Box<dyn FnOnce() + Send>>,
}
impl Handler for Timer {
    fn wants(&mut self) -> Option<Wants<'_>> {
        self.action.as_ref()?;
        Some(Wants { descriptor: None, deadline: self.deadline })
    }
    fn act(&mut self, _came: PollFlags) {
        if let Some(action) = self.action.take() {
            action();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;
    use std::sync::mpsc::{Sender, channel};

    struct Listener(UnixStream, Sender<PollFlags>);
    impl Handler for Listener {
        fn wants(&mut self) -> Option<Wants<'_>> {
            Some(Wants { descriptor: Some((self.0.as_fd(), PollFlags::IN)), deadline: None })
        }
        fn act(&mut self, came: PollFlags) {
            let _ = rustix::io::read(&self.0, &mut [0; 8]);
            let _ = self.1.send(came);
        }
    }

    #[test]
    fn what_comes_is_told_until_the_owner_goes() {
        let (near, far) = UnixStream::pair().unwrap();
        let (sender, told) = channel();
        let registration = add(Listener(near, sender)).unwrap();
        for _ in 0..3 {
            rustix::io::write(&far, b"x").unwrap();
            assert!(told.recv().unwrap().contains(PollFlags::IN));
        }
        drop(registration);
        assert!(told.recv().is_err(), "the handler is gone");
        assert!(rustix::io::write(&far, b"x").is_err(), "and its descriptor");
    }

    #[test]
    fn timers_come_in_order_and_not_after_they_were_dropped() {
        let (sender, told) = channel();
        let timer = |ms, name| {
            let sender = sender.clone();
            after(Duration::from_millis(ms), move || _ = sender.send(name)).unwrap()
        };
        let timers = [timer(30, "late"), timer(1, "soon")];
        drop(timer(2, "never"));
        assert_eq!((told.recv(), told.recv()), (Ok("soon"), Ok("late")));
        drop(timers);
    }
}
