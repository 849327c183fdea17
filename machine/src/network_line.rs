//! The cable of a network card, between card and network.
//!
//! What a card sends goes to the network at once, on the thread that runs the card: [`NetBackend::send`] does not wait, and
//! the guest cannot see what becomes of a frame. What comes is an [external event](crate::events) each: the
//! intake asks the card for room, takes a frame out of the network ([`NetworkLine::next_frame`]) and gives it to the card. A frame
//! that the card has no room for stays here.
//!
//! A network wakes the machine when it has something. Where the machine finds no room it says so here
//! ([`NetworkLine::wait_for_room`]), and the card's word of room wakes it; while frames flow, that costs a load.

use crate::networks::NetworkFacts;
use crate::registry::DeviceId;
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use trimotor_devices::network::NetworkCable;
use trimotor_net::{Frame, NetBackend, Offloads, Waker};

/// Frames that are lost at one look, at most, while the cable is out.
const MOST_LOST: usize = 256;

/// The machine's view of a cable. Cheap to clone.
#[derive(Clone)]
pub(crate) struct NetworkLine {
    cable: Arc<Cable>,
}

struct Cable {
    network: String,
    device: DeviceId,
    facts: NetworkFacts,
    backend: Option<Arc<dyn NetBackend>>,
    waker: Waker,
    /// A log takes the host's place.
    replays: AtomicBool,
    /// The card had no room when it was asked last.
    waits_for_room: AtomicBool,
    /// The card has tried the frame that waits, and a log has it. No part of a saved machine: what is logged begins there.
    tried: AtomicBool,
    /// Somebody has pulled the cable out of the card. No part of a saved machine: the host's end is not either.
    pulled: AtomicBool,
    seen: Mutex<NetworkLineStateV1>,
}

/// What a card was told of its cable, and the frame that waits there for it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct NetworkLineStateV1 {
    carrier: bool,
    waiting: Option<Frame>,
}

impl NetworkLine {
    pub(crate) fn new(
        network: &str,
        device: DeviceId,
        facts: NetworkFacts,
        backend: Option<Arc<dyn NetBackend>>,
        waker: Waker,
    ) -> Self {
        if let Some(backend) = &backend {
            backend.set_waker(waker.clone());
        }
        let seen = NetworkLineStateV1 { carrier: facts.carrier, waiting: None };
        let cable = Cable {
            network: network.to_owned(),
            device,
            facts,
            backend,
            waker,
            replays: AtomicBool::new(false),
            waits_for_room: AtomicBool::new(false),
            tried: AtomicBool::new(false),
            pulled: AtomicBool::new(false),
            seen: Mutex::new(seen),
        };
        Self { cable: Arc::new(cable) }
    }
    fn seen(&self) -> MutexGuard<'_, NetworkLineStateV1> {
        self.cable.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// The host's end, while the host is there.
    fn host(&self) -> Option<&dyn NetBackend> {
        let replays = self.cable.replays.load(Ordering::Relaxed);
        self.cable.backend.as_deref().filter(|_| !replays)
    }
    /// The card.
    pub(crate) fn device(&self) -> DeviceId {
        self.cable.device
    }
    pub(crate) fn replay(&self) {
        self.cable.replays.store(true, Ordering::Relaxed);
    }
    /// The network's id.
    pub(crate) fn network(&self) -> &str {
        &self.cable.network
    }
    /// Pulls the cable out of the card, or puts it in. The card is told at the next look at it.
    pub(crate) fn pull(&self, pulled: bool) {
        self.cable.pulled.store(pulled, Ordering::Relaxed);
    }
    /// Whether the cable is out.
    pub(crate) fn is_pulled(&self) -> bool {
        self.cable.pulled.load(Ordering::Relaxed)
    }
    /// Whether the other end is connected, where that is not what the card was told last.
    pub(crate) fn carrier_change(&self) -> Option<bool> {
        let connected = self.host()?.carrier() && !self.is_pulled();
        (connected != self.seen().carrier).then_some(connected)
    }
    /// The card is told of this.
    pub(crate) fn set_carrier(&self, connected: bool) {
        self.seen().carrier = connected;
    }
    /// The frame that comes next, and whether the card [has tried](Self::put_back) that one.
    pub(crate) fn next_frame(&self) -> Option<(Frame, bool)> {
        let host = self.host()?;
        let waiting = self.seen().waiting.take();
        let tried = self.cable.tried.swap(false, Ordering::Relaxed);
        if self.is_pulled() {
            // What the network sends is lost on the way, as much of it as has come.
            (0..MOST_LOST).take_while(|_| host.receive().is_some()).for_each(drop);
            return None;
        }
        match waiting {
            Some(frame) => Some((frame, tried)),
            None => Some((host.receive()?, false)),
        }
    }
    /// The card had no room for this one, and has tried it or not.
    pub(crate) fn put_back(&self, frame: Frame, tried: bool) {
        self.seen().waiting = Some(frame);
        self.cable.tried.store(tried, Ordering::Relaxed);
    }
    /// The frame that waits, where the card has tried it.
    pub(crate) fn tried(&self) -> Option<Frame> {
        self.seen().waiting.clone().filter(|_| self.cable.tried.load(Ordering::Relaxed))
    }
    /// With a replay: the card has taken a frame.
    pub(crate) fn forget_waiting(&self) {
        self.seen().waiting = None;
        self.cable.tried.store(false, Ordering::Relaxed);
    }
    /// The card, which is locked, has no room: when it has, the machine must be woken; or need not any more. Returns whether it had to before.
    pub(crate) fn wait_for_room(&self, wait: bool) -> bool {
        self.cable.waits_for_room.swap(wait, Ordering::Relaxed)
    }
    pub(crate) fn save(&self) -> NetworkLineStateV1 {
        self.seen().clone()
    }
    pub(crate) fn restore(&self, state: NetworkLineStateV1) {
        *self.seen() = state;
    }
}

/// The card's end.
impl NetworkCable for NetworkLine {
    fn send(&self, frame: Frame) {
        if let Some(host) = self.host().filter(|_| !self.is_pulled()) {
            host.send(frame);
        }
    }
    fn accepts(&self) -> Offloads {
        self.cable.facts.accepts
    }
    fn card_accepts(&self, offloads: Offloads) {
        log::debug!("the card at {} takes {offloads:?}", self.cable.network);
        if let Some(host) = self.host() {
            host.card_accepts(offloads);
        }
    }
    fn mtu(&self) -> u16 {
        self.cable.facts.mtu
    }
    fn queues(&self) -> u16 {
        self.cable.facts.queues
    }
    fn carrier(&self) -> bool {
        self.seen().carrier
    }
    /// The card is locked by whoever calls, as it was when it had no room: neither can miss the other.
    fn room(&self) {
        let waits = &self.cable.waits_for_room;
        if waits.load(Ordering::Relaxed) && waits.swap(false, Ordering::Relaxed) {
            (self.cable.waker)();
        }
    }
}
