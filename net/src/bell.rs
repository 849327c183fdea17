//! A bell that wakes a network's thread, how such a thread waits for it and for one file more, and how it is ended.

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread::JoinHandle;
use std::time::Duration;

/// A bell.
pub struct Bell {
    file: OwnedFd,
}

impl Bell {
    /// A silent one.
    ///
    /// # Errors
    /// The host has no more file descriptors.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self { file: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)? })
    }
    /// Rings it.
    pub fn ring(&self) {
        // It can fail only where it rings already.
        _ = rustix::io::write(&self.file, &1_u64.to_ne_bytes());
    }
    /// Silences it, for who waits for it by its file.
    pub fn silence(&self) {
        // It can fail only where it is silent already.
        _ = rustix::io::read(&self.file, &mut [0; 8]);
    }
    /// Waits until it rings, or one of the wanted events of a file happens, or time is up: the file's events.
    pub fn wait(&self, file: Option<(&OwnedFd, PollFlags)>, timeout: Option<Duration>) -> PollFlags {
        let mut files = vec![PollFd::new(&self.file, PollFlags::IN)];
        if let Some((file, wanted)) = file {
            files.push(PollFd::from_borrowed_fd(file.as_fd(), wanted));
        }
        let timeout = timeout.map(|timeout| Timespec {
            tv_sec: timeout.as_secs() as i64,
            tv_nsec: timeout.subsec_nanos().into(),
        });
        // It is interrupted by signals only: then nothing happened.
        _ = poll(&mut files, timeout.as_ref());
        if files[0].revents().contains(PollFlags::IN) {
            self.silence();
        }
        files.get(1).map_or(PollFlags::empty(), PollFd::revents)
    }
}

/// Its file is readable while it rings.
impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Waits for the end of a network's thread, which was told to end. Where the thread itself drops the network's last holder (a waker
/// can), it ends behind that.
pub fn join(thread: &mut Option<JoinHandle<()>>) {
    if let Some(thread) = thread.take().filter(|thread| thread.thread().id() != std::thread::current().id()) {
        // What it panicked of was printed.
        _ = thread.join();
    }
}
