//! The direction from the guest: what comes in order goes to the host's socket at once.
//!
//! What comes behind something that is missing waits for that, within bounds, and the guest is told of it by selective
//! acknowledgments (RFC 2018).

use super::later::Later;
use super::ring::Ring;
use super::segment::Segment;
use super::sequence::Seq;
use crate::frame::Frame;
use crate::wire::headers::tcp_flags::FIN;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags, Shutdown, sendmsg, shutdown};
use std::io::IoSlice;
use std::ops::Range;

/// The most bytes that are kept for a socket which takes nothing.
pub const MOST_KEPT: usize = 1 << 20;
/// Parts that are written at once: Linux takes 1024.
const MOST_PARTS: usize = 256;

/// See the module.
#[derive(Default)]
pub struct FromGuest {
    /// The number that is expected next.
    pub next: Seq,
    /// What the socket did not take.
    pub kept: Ring,
    /// The socket takes something.
    pub writable: bool,
    /// The first number beyond the window that the guest was told.
    edge: Seq,
    /// What came in this turn.
    fresh: Vec<(Frame, Range<usize>)>,
    /// What waits for something that is missing.
    pub later: Later,
    fin: bool,
    shut: bool,
}

impl FromGuest {
    /// The guest's SYN came: its first byte has the number `next`.
    pub fn begin(&mut self, next: Seq) {
        self.next = next;
        self.edge = next;
        self.writable = true;
    }
    /// Whether a number is one that may come.
    pub fn is_in_window(&self, number: Seq) -> bool {
        !number.is_before(self.next) && number.is_before(self.edge)
    }
    /// Whether a segment begins beyond what may come, or lies far behind.
    pub fn is_too_far(&self, segment: &Segment) -> bool {
        segment.sequence.is_after(self.edge.later(self.next))
    }
    /// Takes a segment's bytes. What waits for others is bounded by `limit`.
    pub fn take(&mut self, segment: &Segment, frame: Frame, limit: usize) -> Taken {
        let length = segment.length();
        if length == 0 {
            // A keep-alive probe has a number that was acknowledged before (RFC 9293, 3.8.4).
            let is_probe = segment.sequence.is_before(self.next);
            return if is_probe { Taken::InOrder } else { Taken::Nothing };
        }
        if self.fin {
            return Taken::InOrder;
        }
        if segment.sequence.is_after(self.next) {
            let end = segment.sequence + segment.payload.len();
            if !end.is_after(self.edge) {
                self.later.put(segment.sequence, frame, segment.payload.clone(), limit);
            }
            return Taken::OutOfOrder;
        }
        let known = self.next - segment.sequence;
        if known >= length {
            return Taken::OutOfOrder;
        }
        let mut payload = segment.payload.clone();
        payload.start += known.min(payload.len());
        let room = if self.edge.is_before(self.next) { 0 } else { self.edge - self.next };
        let is_whole = payload.len() <= room;
        if !is_whole {
            payload.end = payload.start + room;
        }
        self.next += payload.len();
        if !payload.is_empty() {
            self.fresh.push((frame, payload));
        }
        if is_whole && segment.has(FIN) {
            self.fin = true;
            self.next += 1;
            self.later = Later::default();
        }
        while let Some((frame, payload)) = self.later.next(self.next) {
            self.next += payload.len();
            self.fresh.push((frame, payload));
        }
        Taken::InOrder
    }
    /// Writes to the socket what it takes, keeps the rest, and ends the direction where the guest has.
    pub fn write(&mut self, socket: &OwnedFd) -> Result<(), Errno> {
        self.write_kept(socket)?;
        self.write_fresh(socket)?;
        if self.fin && !self.shut && self.kept.is_empty() {
            self.shut = true;
            // It fails only where the connection is gone, which reading tells.
            _ = shutdown(socket, Shutdown::Write);
        }
        Ok(())
    }
    fn write_kept(&mut self, socket: &OwnedFd) -> Result<(), Errno> {
        while self.writable && !self.kept.is_empty() {
            match write(socket, &self.kept.to_write())? {
                Some(n) => self.kept.consume(n),
                None => self.writable = false,
            }
        }
        Ok(())
    }
    fn write_fresh(&mut self, socket: &OwnedFd) -> Result<(), Errno> {
        if self.fresh.is_empty() {
            return Ok(());
        }
        let mut fresh = std::mem::take(&mut self.fresh);
        for parts in fresh.chunks(MOST_PARTS) {
            let mut written = 0;
            if self.writable && self.kept.is_empty() {
                let slices: Vec<_> =
                    parts.iter().map(|(frame, range)| IoSlice::new(&frame.bytes[range.clone()])).collect();
                let total: usize = parts.iter().map(|(_, range)| range.len()).sum();
                written = write(socket, &slices)?.unwrap_or(0);
                // A socket that took a part only takes nothing more for now; when it does, that makes an event.
                self.writable = written == total;
            }
            for (frame, range) in parts {
                let skipped = written.min(range.len());
                written -= skipped;
                self.kept.append(&frame.bytes[range.start + skipped..range.end]);
            }
        }
        fresh.clear();
        self.fresh = fresh;
        Ok(())
    }
    /// Whether the guest has ended and the socket's peer knows all of it.
    pub fn has_ended(&self) -> bool {
        self.shut
    }
    fn room(&self, limit: usize) -> usize {
        limit.min(MOST_KEPT).saturating_sub(self.kept.len())
    }
    /// Whether the guest should hear that there is more room than it was told.
    pub fn window_has_opened(&self, scale: u8, limit: usize) -> bool {
        let most = limit.min(MOST_KEPT).min(0xFFFF << scale);
        let open = self.next + self.room(limit).min(most);
        !self.fin && open.is_after(self.edge) && open - self.edge >= most / 4
    }
    /// Opens the window as far as there is room: its size in bytes, a multiple of what a shift of `scale` can tell.
    pub fn open(&mut self, scale: u8, limit: usize) -> usize {
        let most = 0xFFFF_usize << scale;
        let room = self.room(limit).min(most) >> scale << scale;
        // What was promised stays promised.
        self.edge = self.edge.later(self.next + room);
        (self.edge - self.next).min(most)
    }
}

/// What became of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It had nothing.
    Nothing,
    /// It is to be acknowledged, soon.
    InOrder,
    /// Something is missing before it, or it came before: the guest must hear of each such segment, at once.
    OutOfOrder,
}

/// How much the socket took, or nothing where it must be waited for.
fn write(socket: &OwnedFd, slices: &[IoSlice<'_>]) -> Result<Option<usize>, Errno> {
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    loop {
        match sendmsg(socket, slices, &mut SendAncillaryBuffer::default(), flags) {
            Ok(n) => return Ok(Some(n)),
            Err(Errno::AGAIN) => return Ok(None),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}
