//! A queue of an interface: a file of the TUN driver, and the thread that reads it.

use super::ioctl;
use crate::backend::Waker;
use crate::bell::Bell;
use crate::frame::Frame;
use crate::queue::FrameQueue;
use crate::wire::vnet;
use rustix::event::PollFlags;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use std::io::{IoSlice, IoSliceMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Bytes of frames that may wait for the card.
const QUEUE_BYTES: usize = 1 << 20;
/// The longest frame: an IP packet with its Ethernet header and a VLAN's.
const LONGEST: usize = 65_535 + 18;
/// The shortest: both addresses and the type.
const SHORTEST: usize = 14;
/// So long after an interface was found down it is looked at again.
const DOWN: Duration = Duration::from_millis(500);

/// A queue, with a thread that ends with it.
pub struct TapQueue {
    inner: Arc<Inner>,
    thread: Option<JoinHandle<()>>,
}

struct Inner {
    file: OwnedFd,
    has_header: bool,
    /// Which one it is, where the interface has several.
    number: Option<u16>,
    frames: FrameQueue,
    bell: Bell,
    stop: AtomicBool,
    wants_room: AtomicBool,
    sent: AtomicU64,
    dropped: AtomicU64,
    received: AtomicU64,
}

/// Frames that went through a queue so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// From the guest to the kernel.
    pub sent: u64,
    /// From the guest, and the kernel did not take them.
    pub dropped: u64,
    /// For the guest.
    pub received: u64,
}

impl TapQueue {
    /// Begins to read a file that does not block.
    pub fn start(
        file: OwnedFd,
        has_header: bool,
        number: Option<u16>,
        interface: &str,
    ) -> std::io::Result<Self> {
        let inner = Arc::new(Inner {
            file,
            has_header,
            number,
            frames: FrameQueue::new(QUEUE_BYTES),
            bell: Bell::new()?,
            stop: AtomicBool::new(false),
            wants_room: AtomicBool::new(false),
            sent: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            received: AtomicU64::new(0),
        });
        let of_thread = inner.clone();
        let name = format!("tap {interface}");
        let thread = std::thread::Builder::new().name(name).spawn(move || of_thread.run())?;
        Ok(Self { inner, thread: Some(thread) })
    }
    /// Sends a frame.
    pub fn send(&self, frame: Frame) {
        match self.inner.has_header {
            true => self.inner.write(&frame),
            false => frame.finish(|frame| self.inner.write(&frame)),
        }
    }
    /// The frame that waits longest.
    pub fn receive(&self) -> Option<Frame> {
        let Inner { frames, wants_room, bell, .. } = &*self.inner;
        frames.pop_for(wants_room, QUEUE_BYTES * 3 / 4, bell)
    }
    /// Whom to wake.
    pub fn set_waker(&self, waker: Waker) {
        self.inner.frames.set_waker(waker);
    }
    /// Says what frames that come may leave open.
    pub fn set_offloads(&self, offloads: usize) -> Result<(), Errno> {
        ioctl::set_offloads(&self.inner.file, offloads)
    }
    /// Ends the thread. The file stays open.
    pub fn stop(&mut self) {
        self.inner.stop.store(true, Ordering::Release);
        self.inner.bell.ring();
        crate::bell::join(&mut self.thread);
    }
    /// What went through it so far.
    pub fn counts(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Inner { sent, dropped, received, .. } = &*self.inner;
        Counts { sent: read(sent), dropped: read(dropped), received: read(received) }
    }
}

impl Drop for TapQueue {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Inner {
    /// Reads frames until the end.
    fn run(&self) {
        let mut buffer = vec![0; LONGEST];
        while !self.stop.load(Ordering::Acquire) {
            // Frames that find no room wait in the kernel, which drops what becomes too many.
            self.wants_room.store(true, Ordering::SeqCst);
            let has_room = self.frames.room() > QUEUE_BYTES / 2;
            if has_room {
                self.wants_room.store(false, Ordering::SeqCst);
                match self.read(&mut buffer) {
                    Ok(()) => continue,
                    Err(Errno::AGAIN | Errno::INTR) => {}
                    // The interface is down.
                    Err(Errno::IO | Errno::BADFD) => {
                        _ = self.bell.wait(None, Some(DOWN));
                        continue;
                    }
                    Err(error) => return log::warn!("a TAP interface can be read no longer: {error}"),
                }
            }
            let wanted = has_room.then_some((&self.file, PollFlags::IN));
            self.bell.wait(wanted, None);
        }
    }
    fn read(&self, buffer: &mut [u8]) -> Result<(), Errno> {
        let mut header = [0; vnet::BYTES];
        let length = if self.has_header {
            let mut parts = [IoSliceMut::new(&mut header), IoSliceMut::new(buffer)];
            rustix::io::readv(&self.file, &mut parts)?.saturating_sub(vnet::BYTES)
        } else {
            rustix::io::read(&self.file, &mut *buffer)?
        };
        if length < SHORTEST {
            return Ok(());
        }
        if let Some(mut frame) = vnet::frame(&header, buffer[..length].to_vec()) {
            self.received.fetch_add(1, Ordering::Relaxed);
            frame.queue = self.number;
            _ = self.frames.push(frame);
        }
        Ok(())
    }
    fn write(&self, frame: &Frame) {
        let header = vnet::header(frame);
        let parts = [IoSlice::new(&header), IoSlice::new(&frame.bytes)];
        let parts = if self.has_header { &parts[..] } else { &parts[1..] };
        let is_sent = rustix::io::writev(&self.file, parts).is_ok();
        let counter = if is_sent { &self.sent } else { &self.dropped };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}
