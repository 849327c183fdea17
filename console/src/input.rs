//! What comes from the host's side: bytes on standard input, signals, a new window size.
//!
//! One thread waits for all of them with poll(2) and hands them on as [`HostEvent`]s.
//! The first SIGINT, SIGQUIT, SIGTERM or SIGHUP asks the session to end; a second one, or one that comes when the session
//! is over, gives the terminal back and ends the process. So the thread that waits for signals lives as long as the
//! process: whatever else the end of the program waits for, a signal ends it.

use crate::background_writer;
use crate::terminal;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use signal_hook::consts::signal::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGWINCH};
use signal_hook::iterator::{Signals, SignalsInfo};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Bytes read from standard input at a time.
const READ_BYTES: usize = 4096;

/// How long a standard error that takes nothing is waited for at the end.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// Something that happened on the host's side.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HostEvent {
    /// Bytes were typed, or came through the pipe.
    Input(Vec<u8>),
    /// Standard input has ended.
    InputEnd,
    /// The terminal changed its size.
    Resize,
    /// A signal asks the program to end.
    EndSignal(i32),
}

/// The threads that wait. The one that reads ends when this is dropped.
#[derive(Debug)]
pub struct HostInput {
    stop: Option<UnixStream>,
    reader: Option<JoinHandle<()>>,
}

impl HostInput {
    /// Starts to wait, and calls `deliver` with each event. Where `deliver` returns false,
    /// nobody listens any more and the reading ends.
    ///
    /// # Errors
    /// The host gives no signal handler, thread or socket pair.
    pub fn start(deliver: impl Fn(HostEvent) -> bool + Clone + Send + 'static) -> io::Result<Self> {
        let signals = Signals::new([SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGWINCH])?;
        let (stop, stopped) = UnixStream::pair()?;
        let deliver_signal = deliver.clone();
        thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || wait_for_signals(signals, &deliver_signal))?;
        let reader = thread::Builder::new()
            .name("stdin".to_owned())
            .spawn(move || read_standard_input(&stopped, &deliver))?;
        Ok(Self { stop: Some(stop), reader: Some(reader) })
    }
}

impl Drop for HostInput {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

fn wait_for_signals(mut signals: SignalsInfo, deliver: &impl Fn(HostEvent) -> bool) {
    let mut asked = false;
    for signal in signals.forever() {
        if signal == SIGWINCH {
            deliver(HostEvent::Resize);
            continue;
        }
        let heard = !asked && deliver(HostEvent::EndSignal(signal));
        asked = true;
        if !heard {
            terminal::restore();
            background_writer::stderr().drain(LAST_WAIT);
            std::process::exit(128 + signal);
        }
    }
}

fn read_standard_input(stopped: &UnixStream, deliver: &impl Fn(HostEvent) -> bool) {
    let stdin = io::stdin();
    let mut bytes = [0; READ_BYTES];
    loop {
        let mut waiting = [
            PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(stopped.as_fd(), PollFlags::IN),
        ];
        match poll(&mut waiting, None::<&Timespec>) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(_) => break,
        }
        if !waiting[1].revents().is_empty() {
            return;
        }
        if waiting[0].revents().is_empty() {
            continue;
        }
        match rustix::io::read(&stdin, &mut bytes[..]) {
            Ok(0) => break,
            Ok(length) => {
                if !deliver(HostEvent::Input(bytes[..length].to_vec())) {
                    return;
                }
            }
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
            Err(_) => break,
        }
    }
    deliver(HostEvent::InputEnd);
}
