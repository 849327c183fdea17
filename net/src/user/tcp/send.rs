//! The direction to the guest: bytes from the host's socket, kept until they are acknowledged.
//!
//! There is no congestion on this cable, and the card's queue holds us up where the guest is slow; so there is no congestion
//! window. What was lost is found by three acknowledgments of the same byte, or by time (RFC 9293, RFC 6298, RFC 6582).

use super::ring::Ring;
use super::segment::Segment;
use super::sequence::Seq;
use crate::frame::Offloads;
use crate::wire::headers::tcp_flags::{ACK, FIN, PSH};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use std::time::{Duration, Instant};

/// The bounds of the time after which data are sent again. The lower one is Linux's.
const SHORTEST_RTO: Duration = Duration::from_millis(200);
const LONGEST_RTO: Duration = Duration::from_secs(60);
/// How much is read from a socket at once, at first and at most.
const FIRST_READ: usize = 16 << 10;
const MOST_READ: usize = 256 << 10;
/// The longest segment with its headers: an IP packet's length has 16 bits.
const LONGEST_PACKET: usize = 65_535;

/// See the module.
pub struct ToGuest {
    /// The number of our SYN.
    pub first: Seq,
    /// The first number that is not acknowledged.
    pub first_unacknowledged: Seq,
    /// The number that is sent next.
    pub next: Seq,
    /// The guest's window, in bytes from `first_unacknowledged` on.
    pub window: usize,
    /// The shift of the guest's windows.
    pub scale: u8,
    /// Bytes in a segment.
    pub mss: u16,
    /// Bytes in a segment that we take.
    pub own_mss: u16,
    /// Bytes from `first_unacknowledged` on.
    pub ring: Ring,
    /// The socket may have something to read.
    pub readable: bool,
    /// The socket's peer has ended: reading goes on until the end is read.
    pub hung_up: bool,
    /// The end was read.
    pub ended: bool,
    /// Our FIN was sent.
    pub fin_sent: bool,
    /// Our FIN was acknowledged.
    pub fin_acknowledged: bool,
    /// After this time data are sent again.
    pub rto: Duration,
    latest: Seq,
    read_size: usize,
    duplicates: u32,
    recovering: bool,
    recover: Seq,
    timed: Option<(Seq, Instant)>,
    smoothed: Option<(Duration, Duration)>,
    last_frame: Option<u64>,
    probe: bool,
}

/// A segment that may be sent.
pub struct Piece {
    /// Bytes of payload.
    pub length: usize,
    /// The flags.
    pub flags: u16,
}

/// What an acknowledgment said.
pub struct Acknowledged {
    /// Something was acknowledged that was not before.
    pub is_progress: bool,
    /// It acknowledges what was never sent.
    pub is_beyond: bool,
    /// The first segment is to be sent again.
    pub resend: bool,
}

impl ToGuest {
    /// Nothing was sent; our SYN will have the number `first`.
    pub fn new(first: Seq, own_mss: u16) -> Self {
        Self {
            first,
            first_unacknowledged: first,
            next: first,
            window: 0,
            scale: 0,
            mss: own_mss,
            own_mss,
            ring: Ring::default(),
            // What came before the socket was watched makes no event.
            readable: true,
            hung_up: false,
            ended: false,
            fin_sent: false,
            fin_acknowledged: false,
            rto: SHORTEST_RTO,
            latest: first,
            read_size: FIRST_READ,
            duplicates: 0,
            recovering: false,
            recover: first,
            timed: None,
            smoothed: None,
            last_frame: None,
            probe: false,
        }
    }
    /// Our SYN was acknowledged.
    pub fn opened(&mut self) {
        let next = self.first + 1;
        (self.first_unacknowledged, self.next, self.latest, self.recover) = (next, next, next, next);
    }
    /// Numbers that are sent and not acknowledged.
    pub fn in_flight(&self) -> usize {
        self.next - self.first_unacknowledged
    }
    fn unsent(&self) -> usize {
        self.ring.len().saturating_sub(self.in_flight())
    }
    /// There is something to send, and the guest's window is closed.
    pub fn is_held_up(&self) -> bool {
        self.unsent() > 0 && self.window == 0
    }
    /// Whether the last frame that was sent still waits for the card, which has taken so many.
    pub fn waits_in_queue(&self, taken: u64) -> bool {
        self.last_frame.is_some_and(|last| last >= taken)
    }

    /// Reads from the host's socket, as far as there is room.
    pub fn read(&mut self, socket: &OwnedFd, limit: usize) -> Result<(), Errno> {
        while self.readable && !self.ended && self.ring.len() < limit {
            let wanted = self.read_size.min(limit - self.ring.len());
            if self.ring.capacity() - self.ring.len() < wanted.min(MOST_READ / 2) {
                self.ring.reserve(wanted);
            }
            let free = self.ring.free();
            let wanted = wanted.min(free.len());
            match recv(socket, &mut free[..wanted], RecvFlags::DONTWAIT) {
                Ok((0, _)) => self.ended = true,
                Ok((n, _)) => {
                    self.ring.appended(n);
                    if n == wanted {
                        self.read_size = (self.read_size * 2).min(MOST_READ);
                    } else if !self.hung_up {
                        // Less than asked for: that was all, and what comes later makes an event.
                        self.readable = false;
                    }
                }
                Err(Errno::AGAIN) => self.readable = false,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The next segment that the guest's window allows.
    pub fn next_piece(&self, is_ipv4: bool, accepts: Offloads) -> Option<Piece> {
        let mss = usize::from(self.mss);
        let (unsent, in_flight) = (self.unsent(), self.in_flight());
        let room = self.window.saturating_sub(in_flight).max(usize::from(self.probe && in_flight == 0));
        let whole = accepts.checksum && if is_ipv4 { accepts.tcp4 } else { accepts.tcp6 };
        let most = if whole { (LONGEST_PACKET - 60) / mss * mss } else { mss };
        let length = unsent.min(room).min(most);
        // A part of a segment only where no more will come or nothing is under way (RFC 9293, 3.8.6.2.1).
        if length < unsent && length < mss && in_flight > 0 {
            return None;
        }
        let last = length == unsent;
        let ends = last && self.ended && !self.fin_sent;
        if length == 0 && !ends {
            return None;
        }
        let flags = ACK | if last { PSH } else { 0 } | if ends { FIN } else { 0 };
        Some(Piece { length, flags })
    }
    /// A segment was sent.
    pub fn sent(&mut self, piece: &Piece, frame: Option<u64>, now: Instant) {
        let ends = piece.flags & FIN != 0;
        // What is sent the second time tells nothing about time (Karn's algorithm).
        if self.timed.is_none() && self.next == self.latest {
            self.timed = Some((self.next + 1, now));
        }
        self.next += piece.length + usize::from(ends);
        self.fin_sent |= ends;
        self.probe = false;
        self.latest = self.latest.later(self.next);
        self.sent_frame(frame);
    }
    /// The number of a frame in the card's queue.
    pub fn sent_frame(&mut self, number: Option<u64>) {
        self.last_frame = number.or(self.last_frame);
    }
    /// What is under way is not timed.
    pub fn restart_timing(&mut self) {
        self.timed = None;
    }
    /// Nothing was acknowledged for too long: all is sent again, or one byte where the window is closed.
    pub fn start_again(&mut self, held_up: bool) {
        self.next = self.first_unacknowledged;
        self.fin_sent = false;
        self.timed = None;
        self.duplicates = 0;
        self.recovering = false;
        self.recover = self.latest;
        self.probe = held_up || self.window == 0;
        self.rto = (self.rto * 2).min(LONGEST_RTO);
    }

    /// The acknowledgment and window of a segment.
    pub fn acknowledge(&mut self, segment: &Segment, now: Instant) -> Acknowledged {
        let mut result = Acknowledged { is_progress: false, is_beyond: false, resend: false };
        let number = segment.acknowledgment;
        if number.is_after(self.latest) {
            result.is_beyond = true;
            return result;
        }
        if number.is_before(self.first_unacknowledged) {
            return result;
        }
        let window = usize::from(segment.window) << self.scale;
        if number == self.first_unacknowledged {
            let is_duplicate = segment.length() == 0 && window == self.window && window > 0;
            if is_duplicate && self.latest != number {
                self.duplicates += 1;
                if self.duplicates == 3 && !self.recovering && !number.is_before(self.recover) {
                    self.recovering = true;
                    self.recover = self.latest;
                    result.resend = true;
                }
            }
            self.window = window;
            return result;
        }
        result.is_progress = true;
        self.progress(number, now);
        self.window = window;
        if self.recovering {
            if number.is_before(self.recover) {
                result.resend = true;
            } else {
                self.recovering = false;
            }
        }
        result
    }
    fn progress(&mut self, number: Seq, now: Instant) {
        let acknowledged = number - self.first_unacknowledged;
        let bytes = acknowledged.min(self.ring.len());
        self.ring.consume(bytes);
        self.fin_acknowledged |= acknowledged > bytes;
        self.first_unacknowledged = number;
        if self.next.is_before(number) {
            self.next = number;
            self.fin_sent |= self.fin_acknowledged;
        }
        self.duplicates = 0;
        self.probe = false;
        if let Some((timed, at)) = self.timed.filter(|(timed, _)| !number.is_before(*timed)) {
            debug_assert!(!timed.is_after(number));
            self.timed = None;
            self.measured(now.saturating_duration_since(at));
        } else if let Some((smoothed, variation)) = self.smoothed {
            self.rto = rto(smoothed, variation);
        }
    }
    /// RFC 6298, 2.
    fn measured(&mut self, time: Duration) {
        let (smoothed, variation) = match self.smoothed {
            None => (time, time / 2),
            Some((smoothed, variation)) => {
                ((smoothed * 7 + time) / 8, (variation * 3 + smoothed.abs_diff(time)) / 4)
            }
        };
        self.smoothed = Some((smoothed, variation));
        self.rto = rto(smoothed, variation);
    }
}

fn rto(smoothed: Duration, variation: Duration) -> Duration {
    (smoothed + variation * 4).clamp(SHORTEST_RTO, LONGEST_RTO)
}
