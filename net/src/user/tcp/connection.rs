//! One connection: the guest's end of it, and the host's socket that stands for the other end.
//!
//! What the guest sends in order goes to the socket at once; what the socket does not take is kept, and the window that the guest
//! sees shrinks by that. What the socket gives is kept until the guest has acknowledged it. So each direction is held up by
//! its own receiver, and by nothing else.
//!
//! | phase | what is waited for |
//! |---|---|
//! | `Connecting` | the host's socket; the guest's SYN is not answered yet |
//! | `SynReceived` | the guest's acknowledgment of our SYN |
//! | `SynSent` | the guest's SYN; the connection came from the host |
//! | `Open` | data, until both ends have ended |
//! | `TimeWait` | stray segments of the guest, for a moment |

use super::receive::{FromGuest, Taken};
use super::segment::{Outgoing, Segment};
use super::send::ToGuest;
use super::sequence::Seq;
use crate::frame::{Frame, Offloads};
use crate::user::link::Link;
use crate::wire::headers::tcp_flags::{ACK, FIN, RST, SYN};
use rustix::fd::OwnedFd;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// How often a SYN is sent again.
const MOST_SYNS: u32 = 6;
/// How often data are sent again before the guest is taken for dead: with the time doubling from 0.2 s to a minute, some six minutes.
const MOST_RETRIES: u32 = 12;
/// The time until a SYN is sent again, at first (RFC 6298, 2.1).
const SYN_TIME: Duration = Duration::from_secs(1);
/// How long stray segments are answered. Nothing lives long on this cable.
const TIME_WAIT: Duration = Duration::from_secs(1);
/// The shift of our windows.
pub const OUR_SCALE: u8 = 7;

/// Both ends, as the guest sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    /// The guest's end.
    pub guest: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
}

/// See the module's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Phase {
    Connecting,
    SynReceived,
    SynSent,
    Open,
    TimeWait,
}

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    Keep,
    /// It goes on, and has more to do as soon as it is its turn again.
    More,
    /// It goes on, and has more to do once the card's queue has room.
    WaitForRoom,
    /// Both ends have ended.
    Finished,
    /// The host's end failed: the guest is to be told, with a reset.
    Reset,
    /// The guest's end failed: the host's peer is to be told.
    Abort,
}

/// A connection.
pub struct Connection {
    /// Both ends.
    pub flow: Flow,
    /// How far it is.
    pub phase: Phase,
    /// The host's end, until both ends have ended.
    pub socket: Option<OwnedFd>,
    /// To the guest.
    pub out: ToGuest,
    /// From the guest.
    pub inward: FromGuest,
    /// It is in the list of those with something to do.
    pub is_listed: bool,
    /// The guest sees nothing of what we have until a segment says so.
    pub ack_due: bool,
    /// When something happened the last time.
    pub active: Instant,
    /// When to look without a reason.
    pub deadline: Option<Instant>,
    retries: u32,
    scaling: bool,
    sack: bool,
    /// Bytes that each direction may keep.
    limit: usize,
}

impl Connection {
    /// A connection that the guest wants: its SYN is answered when the host's socket is connected.
    pub fn from_guest(flow: Flow, syn: &Segment, ours: Seq, link: &Link) -> Self {
        let mut connection = Self::new(flow, ours, link);
        connection.take_syn(syn);
        connection
    }
    /// A connection to the guest: its SYN is to be sent.
    pub fn from_host(flow: Flow, socket: OwnedFd, ours: Seq, link: &Link) -> Self {
        let mut connection = Self::new(flow, ours, link);
        connection.socket = Some(socket);
        connection.phase = Phase::SynSent;
        connection.scaling = true;
        connection.sack = true;
        connection
    }
    fn new(flow: Flow, ours: Seq, link: &Link) -> Self {
        let headers = if flow.guest.is_ipv4() { 40 } else { 60 };
        Self {
            flow,
            phase: Phase::Connecting,
            socket: None,
            out: ToGuest::new(ours, (link.mtu - headers) as u16),
            inward: FromGuest::default(),
            is_listed: false,
            ack_due: false,
            active: link.now,
            deadline: None,
            retries: 0,
            scaling: false,
            sack: false,
            limit: super::MUCH,
        }
    }
    fn take_syn(&mut self, syn: &Segment) {
        self.inward.begin(syn.sequence + 1);
        self.out.mss = self.out.mss.min(syn.mss);
        self.scaling = syn.scale.is_some();
        self.sack = syn.sack;
        self.out.scale = syn.scale.unwrap_or(0);
        // A SYN's window is not scaled.
        self.out.window = syn.window.into();
    }
    /// Bytes of memory that it holds.
    pub fn memory(&self) -> usize {
        self.out.ring.capacity() + self.inward.kept.capacity() + self.inward.later.bytes()
    }
    /// The host's socket is connected.
    pub fn connected(&mut self, link: &mut Link) {
        self.phase = Phase::SynReceived;
        self.send_syn(link);
    }
    /// Sends our SYN, and looks again if it is not answered.
    pub fn send_syn(&mut self, link: &mut Link) {
        let flags = if self.phase == Phase::SynSent { SYN } else { SYN | ACK };
        let [high, low] = self.out.own_mss.to_be_bytes();
        let mut options = vec![2, 4, high, low];
        if self.scaling {
            options.extend_from_slice(&[1, 3, 3, OUR_SCALE]);
        }
        if self.sack {
            options.extend_from_slice(&[1, 1, 4, 2]);
        }
        let window = self.inward.open(self.scale(), self.limit).min(0xFFFF) as u16;
        let first = self.out.first;
        self.segment(flags, first, window, &options).send(link, Offloads::default());
        self.deadline = Some(link.now + SYN_TIME * (1 << self.retries.min(MOST_SYNS)));
    }
    /// The shift of the windows that we send.
    fn scale(&self) -> u8 {
        if self.scaling { OUR_SCALE } else { 0 }
    }
    fn segment<'a>(&self, flags: u16, sequence: Seq, window: u16, options: &'a [u8]) -> Outgoing<'a> {
        Outgoing {
            source: self.flow.remote,
            destination: self.flow.guest,
            sequence,
            acknowledgment: self.inward.next,
            flags,
            window,
            options,
            payload: (&[], &[]),
            mss: self.out.mss,
        }
    }
    /// The window to be sent, after it was opened as far as there is room.
    fn window(&mut self) -> u16 {
        let scale = self.scale();
        (self.inward.open(scale, self.limit) >> scale).min(0xFFFF) as u16
    }
    /// Tells the guest that the connection is no more.
    pub fn send_reset(&self, link: &mut Link) {
        let flags = if self.phase == Phase::SynSent { RST } else { RST | ACK };
        // Before the guest has seen our SYN, nothing has a number yet.
        let sequence = if self.phase == Phase::Connecting { Seq(0) } else { self.out.next };
        self.segment(flags, sequence, 0, &[]).send(link, Offloads::default());
    }

    /// A segment from the guest.
    pub fn receive(&mut self, segment: &Segment, frame: Frame, link: &mut Link) -> Verdict {
        self.active = link.now;
        match self.phase {
            Phase::Connecting => match segment.has(RST) {
                true => Verdict::Abort,
                false => Verdict::Keep,
            },
            Phase::SynSent => self.receive_answer(segment, frame, link),
            Phase::SynReceived => self.receive_first(segment, frame, link),
            Phase::Open => self.receive_open(segment, frame, link),
            Phase::TimeWait => {
                self.ack_due = !segment.has(RST);
                Verdict::Keep
            }
        }
    }
    /// Of a connection that came from the host: the guest's answer to our SYN.
    fn receive_answer(&mut self, segment: &Segment, frame: Frame, link: &mut Link) -> Verdict {
        let is_ours = segment.has(ACK) && segment.acknowledgment == self.out.first + 1;
        if segment.has(RST) {
            return if is_ours { Verdict::Abort } else { Verdict::Keep };
        }
        if !segment.has(SYN) || !is_ours {
            if segment.has(ACK) {
                super::segment::refuse(link, segment, self.flow.guest, self.flow.remote);
            }
            return Verdict::Keep;
        }
        self.take_syn(segment);
        self.ack_due = true;
        self.opened();
        // Data with a SYN come again.
        drop(frame);
        Verdict::Keep
    }
    /// Of a connection that the guest wanted: the acknowledgment of our SYN.
    fn receive_first(&mut self, segment: &Segment, frame: Frame, link: &mut Link) -> Verdict {
        if segment.has(RST) {
            let is_exact = segment.sequence == self.inward.next;
            return if is_exact { Verdict::Abort } else { Verdict::Keep };
        }
        if segment.has(SYN) {
            self.send_syn(link);
            return Verdict::Keep;
        }
        if !segment.has(ACK) {
            return Verdict::Keep;
        }
        if segment.acknowledgment != self.out.first + 1 {
            super::segment::refuse(link, segment, self.flow.guest, self.flow.remote);
            return Verdict::Keep;
        }
        self.opened();
        self.receive_open(segment, frame, link)
    }
    fn opened(&mut self) {
        self.phase = Phase::Open;
        self.retries = 0;
        self.deadline = None;
        self.out.opened();
    }
    fn receive_open(&mut self, segment: &Segment, frame: Frame, link: &mut Link) -> Verdict {
        if segment.has(RST) {
            // RFC 5961, 3.2: only the exact number resets; others are asked about.
            if segment.sequence == self.inward.next {
                return Verdict::Abort;
            }
            self.ack_due |= self.inward.is_in_window(segment.sequence);
            return Verdict::Keep;
        }
        if segment.has(SYN) {
            // RFC 5961, 4.2.
            self.ack_due = true;
            return Verdict::Keep;
        }
        if !segment.has(ACK) {
            return Verdict::Keep;
        }
        if self.inward.is_too_far(segment) {
            self.ack_due = true;
            return Verdict::Keep;
        }
        let acknowledged = self.out.acknowledge(segment, link.now);
        if acknowledged.is_progress || self.out.window == 0 {
            self.retries = 0;
        }
        self.ack_due |= acknowledged.is_beyond;
        if acknowledged.is_progress {
            self.deadline = self.out.in_flight().gt(&0).then(|| link.now + self.out.rto);
        }
        if acknowledged.resend {
            self.resend_first(link);
        }
        match self.inward.take(segment, frame, self.limit) {
            Taken::Nothing => {}
            Taken::InOrder => self.ack_due = true,
            Taken::OutOfOrder => self.acknowledge(link),
        }
        Verdict::Keep
    }
    fn resend_first(&mut self, link: &mut Link) {
        let window = self.window();
        let accepts = link.shared.card_accepts();
        self.out.restart_timing();
        let n = self.out.ring.len().min(self.out.mss.into());
        let ends = self.out.fin_sent && n == self.out.ring.len();
        let flags = ACK | if ends { FIN } else { 0 };
        let mut segment = self.segment(flags, self.out.first_unacknowledged, window, &[]);
        segment.payload = self.out.ring.slices(0, n);
        let number = segment.send(link, accepts);
        self.out.sent_frame(number);
        crate::user::shared::count(&link.shared.counters.retransmissions, 1);
    }

    /// Does what there is to do: writes to the socket, reads from it, sends to the guest. `limit` bounds what each direction keeps.
    pub fn work(&mut self, link: &mut Link, limit: usize) -> Verdict {
        self.limit = limit;
        if matches!(self.phase, Phase::Connecting | Phase::SynReceived | Phase::SynSent) {
            return Verdict::Keep;
        }
        let Some(socket) = &self.socket else {
            self.acknowledge_if_due(link);
            return Verdict::Keep;
        };
        if self.inward.write(socket).is_err() || self.out.read(socket, limit).is_err() {
            return Verdict::Reset;
        }
        let sent = self.send_data(link);
        self.ack_due |= self.inward.window_has_opened(self.scale(), limit);
        self.acknowledge_if_due(link);
        if self.inward.has_ended() && self.out.fin_acknowledged {
            self.socket = None;
            self.phase = Phase::TimeWait;
            self.deadline = Some(link.now + TIME_WAIT);
            return Verdict::Keep;
        }
        sent
    }
    fn acknowledge_if_due(&mut self, link: &mut Link) {
        if self.ack_due {
            self.acknowledge(link);
        }
    }
    fn acknowledge(&mut self, link: &mut Link) {
        let window = self.window();
        let blocks = if self.sack { self.inward.later.option() } else { Vec::new() };
        self.segment(ACK, self.out.next, window, &blocks).send(link, Offloads::default());
        self.ack_due = false;
    }
    /// Sends what the guest's window and the card's queue allow.
    fn send_data(&mut self, link: &mut Link) -> Verdict {
        let accepts = link.shared.card_accepts();
        let mut quantum = super::QUANTUM;
        while let Some(piece) = self.out.next_piece(self.flow.guest.is_ipv4(), accepts) {
            if piece.length > 0 && !link.has_room() {
                return Verdict::WaitForRoom;
            }
            if quantum == 0 {
                return Verdict::More;
            }
            quantum = quantum.saturating_sub(piece.length);
            let window = self.window();
            let mut segment = self.segment(piece.flags, self.out.next, window, &[]);
            segment.payload = self.out.ring.slices(self.out.in_flight(), piece.length);
            let number = segment.send(link, accepts);
            self.out.sent(&piece, number, link.now);
            self.ack_due = false;
            self.deadline.get_or_insert(link.now + self.out.rto);
        }
        if self.out.is_held_up() {
            self.deadline.get_or_insert(link.now + self.out.rto);
        }
        Verdict::Keep
    }
    /// The deadline has come.
    pub fn late(&mut self, link: &mut Link) -> Verdict {
        self.deadline = None;
        match self.phase {
            Phase::Connecting => Verdict::Keep,
            Phase::TimeWait => Verdict::Finished,
            Phase::SynReceived | Phase::SynSent => {
                self.retries += 1;
                if self.retries > MOST_SYNS {
                    return Verdict::Abort;
                }
                self.send_syn(link);
                Verdict::Keep
            }
            Phase::Open => self.late_open(link),
        }
    }
    fn late_open(&mut self, link: &mut Link) -> Verdict {
        let held_up = self.out.is_held_up();
        if self.out.in_flight() == 0 && !held_up {
            return Verdict::Keep;
        }
        // A guest that stands still has not lost what waits for its card.
        if self.out.waits_in_queue(link.shared.queue.taken()) {
            self.deadline = Some(link.now + self.out.rto);
            return Verdict::Keep;
        }
        self.retries += 1;
        if self.retries > MOST_RETRIES {
            return Verdict::Reset;
        }
        crate::user::shared::count(&link.shared.counters.retransmissions, 1);
        self.out.start_again(held_up);
        Verdict::Keep
    }
}
