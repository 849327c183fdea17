//! A hub: several cards and networks on one cable. What one sends, all others get.
//!
//! A hub has no thread. A card's frames are given on by who sends them; a network's by who wakes the hub, and by cards that have made room.
//! Long frames and missing checksums are finished for those members that do not take them.
//!
//! Where a card has no room, the networks' frames wait for it, as long as it takes some now and then. A card that
//! takes none for a while holds up nobody: it misses frames.

use crate::backend::{NetBackend, Waker};
use crate::frame::{Frame, Offloads};
use crate::queue::FrameQueue;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant};

/// Bytes of frames that may wait for a card.
const QUEUE_BYTES: usize = 1 << 20;
/// A card that took nothing for so long is not waited for.
const PATIENCE: Duration = Duration::from_millis(200);
/// What the hub takes from its members.
const ACCEPTS: Offloads = Offloads { checksum: true, tcp4: true, tcp6: true, ecn: true, udp: true };

/// A hub.
pub struct Hub {
    inner: Arc<Inner>,
}

struct Inner {
    members: RwLock<Vec<Member>>,
    began: Instant,
    next_number: AtomicU64,
}

#[derive(Clone)]
struct Member {
    number: u64,
    end: End,
}

#[derive(Clone)]
enum End {
    Card(Arc<CardEnd>),
    Network(Arc<NetworkEnd>),
}

struct CardEnd {
    queue: FrameQueue,
    accepts: Mutex<Offloads>,
    /// When it took a frame, in milliseconds of the hub's life.
    took: AtomicU64,
    missed: AtomicU64,
    /// Some network waits for room here.
    wanted: AtomicBool,
}

struct NetworkEnd {
    network: Arc<dyn NetBackend>,
    /// Held by who takes its frames: two would change their order.
    taking: Mutex<()>,
    again: AtomicBool,
}

impl Default for Hub {
    fn default() -> Self {
        Self::new()
    }
}

impl Hub {
    /// A hub without members.
    pub fn new() -> Self {
        let members = RwLock::default();
        Self { inner: Arc::new(Inner { members, began: Instant::now(), next_number: AtomicU64::new(0) }) }
    }
    /// A place for a card, which is taken as long as what is returned lives.
    pub fn port(&self) -> HubPort {
        let end = Arc::new(CardEnd {
            queue: FrameQueue::new(QUEUE_BYTES),
            accepts: Mutex::default(),
            took: AtomicU64::new(self.inner.now()),
            missed: AtomicU64::new(0),
            wanted: AtomicBool::new(false),
        });
        let number = self.inner.add(End::Card(end.clone()));
        HubPort { hub: self.inner.clone(), number, end }
    }
    /// Joins a network.
    pub fn join(&self, network: Arc<dyn NetBackend>) {
        let end = Arc::new(NetworkEnd { network, taking: Mutex::new(()), again: AtomicBool::new(false) });
        let number = self.inner.add(End::Network(end.clone()));
        let hub: Weak<Inner> = Arc::downgrade(&self.inner);
        let own = Arc::downgrade(&end);
        end.network.card_accepts(ACCEPTS);
        end.network.set_waker(Arc::new(move || {
            if let (Some(hub), Some(end)) = (hub.upgrade(), own.upgrade()) {
                hub.take_from(number, &end);
            }
        }));
        self.inner.take_from(number, &end);
    }
}

impl Inner {
    fn now(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }
    fn add(&self, end: End) -> u64 {
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        self.members.write().unwrap_or_else(PoisonError::into_inner).push(Member { number, end });
        number
    }
    fn members(&self) -> Vec<Member> {
        self.members.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
    /// Gives on what a network has, as far as cards have room.
    fn take_from(&self, number: u64, end: &NetworkEnd) {
        end.again.store(true, Ordering::SeqCst);
        while end.again.load(Ordering::SeqCst) {
            let Ok(_taking) = end.taking.try_lock() else { return };
            let members = self.members();
            while end.again.swap(false, Ordering::SeqCst) {
                while self.has_room(&members, number) {
                    let Some(frame) = end.network.receive() else { break };
                    give(&members, number, frame);
                }
            }
        }
    }
    /// Whether all cards that take anything have room. One that has none is told that it is waited for.
    fn has_room(&self, members: &[Member], from: u64) -> bool {
        members.iter().filter(|member| member.number != from).all(|member| match &member.end {
            End::Network(_) => true,
            End::Card(card) => {
                let has_room = || card.queue.room() > QUEUE_BYTES / 2;
                if has_room() {
                    return true;
                }
                card.wanted.store(true, Ordering::SeqCst);
                let is_stuck = self.now().saturating_sub(card.took.load(Ordering::Relaxed))
                    > PATIENCE.as_millis() as u64;
                has_room() || is_stuck
            }
        })
    }
}

/// Gives a frame to all members but one.
fn give(members: &[Member], from: u64, frame: Frame) {
    let mut others = members.iter().filter(|member| member.number != from).peekable();
    let mut frame = Some(frame);
    while let Some(member) = others.next() {
        let own = if others.peek().is_some() { frame.clone() } else { frame.take() };
        if let Some(own) = own {
            member.end.give(own);
        }
    }
}

/// Whether a receiver takes a frame as it is.
fn takes(accepts: Offloads, frame: &Frame) -> bool {
    use crate::frame::SegmentationKind::{Tcp4, Tcp6, Udp};
    let segments = frame.segmentation.is_none_or(|segmentation| {
        let kind = match segmentation.kind {
            Tcp4 => accepts.tcp4,
            Tcp6 => accepts.tcp6,
            Udp => accepts.udp,
        };
        kind && (accepts.ecn || !segmentation.ecn)
    });
    segments && (accepts.checksum || frame.checksum.is_none())
}

impl End {
    fn give(&self, frame: Frame) {
        let accepts = match self {
            Self::Card(card) => *card.accepts.lock().unwrap_or_else(PoisonError::into_inner),
            Self::Network(network) => network.network.accepts(),
        };
        match takes(accepts, &frame) {
            true => self.give_whole(frame),
            false => frame.finish(|frame| self.give_whole(frame)),
        }
    }
    fn give_whole(&self, frame: Frame) {
        match self {
            Self::Network(network) => network.network.send(frame),
            Self::Card(card) => {
                if card.queue.push(frame).is_err() {
                    card.missed.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }
}

/// A card's place at a hub.
pub struct HubPort {
    hub: Arc<Inner>,
    number: u64,
    end: Arc<CardEnd>,
}

impl NetBackend for HubPort {
    fn send(&self, frame: Frame) {
        give(&self.hub.members(), self.number, frame);
    }
    fn receive(&self) -> Option<Frame> {
        let frame = self.end.queue.pop();
        self.end.took.store(self.hub.now(), Ordering::Relaxed);
        if self.end.queue.room() > QUEUE_BYTES * 3 / 4 && self.end.wanted.swap(false, Ordering::SeqCst) {
            for member in self.hub.members() {
                if let End::Network(network) = &member.end {
                    self.hub.take_from(member.number, network);
                }
            }
        }
        frame
    }
    fn accepts(&self) -> Offloads {
        ACCEPTS
    }
    fn card_accepts(&self, offloads: Offloads) {
        *self.end.accepts.lock().unwrap_or_else(PoisonError::into_inner) = offloads;
    }
    fn set_waker(&self, waker: Waker) {
        self.end.queue.set_waker(waker);
    }
    fn mtu(&self) -> u16 {
        let mtu = |member: &Member| match &member.end {
            End::Network(network) => Some(network.network.mtu()),
            End::Card(_) => None,
        };
        self.hub.members().iter().filter_map(mtu).min().unwrap_or(1500)
    }
    fn info(&self) -> String {
        let mut text = format!("hub: {} missed here", self.end.missed.load(Ordering::Relaxed));
        for member in self.hub.members() {
            match &member.end {
                End::Card(_) if member.number == self.number => text += "\n  this card",
                End::Card(_) => text += "\n  a card",
                End::Network(network) => {
                    text += &format!("\n  {}", network.network.info().replace('\n', "\n  "))
                }
            }
        }
        text
    }
}

impl Drop for HubPort {
    fn drop(&mut self) {
        let mut members = self.hub.members.write().unwrap_or_else(PoisonError::into_inner);
        members.retain(|member| member.number != self.number);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    #[derive(Default)]
    struct Stub {
        sent: Mutex<Vec<Frame>>,
        waiting: Mutex<VecDeque<Frame>>,
        waker: Mutex<Option<Waker>>,
    }
    impl Stub {
        fn has(&self, frame: Frame) {
            self.waiting.lock().unwrap().push_back(frame);
            let waker = self.waker.lock().unwrap().clone();
            waker.unwrap()();
        }
    }
    impl NetBackend for Stub {
        fn send(&self, frame: Frame) {
            self.sent.lock().unwrap().push(frame);
        }
        fn receive(&self) -> Option<Frame> {
            self.waiting.lock().unwrap().pop_front()
        }
        fn set_waker(&self, waker: Waker) {
            *self.waker.lock().unwrap() = Some(waker);
        }
        fn info(&self) -> String {
            "stub".into()
        }
    }

    #[test]
    fn all_others_get_what_one_sends() {
        let hub = Hub::new();
        let network = Arc::new(Stub::default());
        let (a, b) = (hub.port(), hub.port());
        hub.join(network.clone());
        a.send(vec![1; 60].into());
        assert!(a.receive().is_none());
        assert_eq!(b.receive().unwrap().bytes, [1; 60]);
        assert_eq!(network.sent.lock().unwrap().len(), 1);
        network.has(vec![2; 60].into());
        assert_eq!(a.receive().unwrap().bytes, [2; 60]);
        assert_eq!(b.receive().unwrap().bytes, [2; 60]);
        drop(b);
        a.send(vec![3; 60].into());
        assert_eq!(network.sent.lock().unwrap().len(), 2);
    }

    #[test]
    fn a_network_waits_for_a_card_without_room() {
        let hub = Hub::new();
        let network = Arc::new(Stub::default());
        let card = hub.port();
        hub.join(network.clone());
        for n in 0..100_u8 {
            network.has(vec![n; 60_000].into());
        }
        let waits = network.waiting.lock().unwrap().len();
        assert!(waits > 50, "{waits}");
        for n in 0..100 {
            assert_eq!(card.receive().unwrap().bytes[0], n);
        }
        assert!(card.receive().is_none());
    }
}
