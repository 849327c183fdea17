//! What the machine's threads and the network's thread share: frames on their way, and a bell.

use super::command::Command;
use crate::bell::Bell;
use crate::frame::{Frame, Offloads};
use crate::queue::FrameQueue;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Bytes of frames from the guest that wait for the network's thread. A window of TCP of 1 MiB fits in, and three more.
const MOST_INPUT_BYTES: usize = 4 << 20;
/// What a frame costs beside its bytes.
const FRAME_COST: usize = 128;
/// Bytes of frames that may wait for the card. Streams fill half of it: the rest is for what cannot wait (answers).
pub const QUEUE_BYTES: usize = 1 << 20;
/// A stream that found no room is told when less than this waits for the card.
const QUEUE_LOW: usize = QUEUE_BYTES / 4;

/// Counters, for people.
#[derive(Default)]
#[allow(missing_docs)]
pub struct Counters {
    pub frames_from_guest: AtomicU64,
    pub bytes_from_guest: AtomicU64,
    pub frames_to_guest: AtomicU64,
    pub bytes_to_guest: AtomicU64,
    pub dropped_from_guest: AtomicU64,
    pub dropped_to_guest: AtomicU64,
    pub retransmissions: AtomicU64,
    pub tcp: AtomicU64,
    pub udp: AtomicU64,
    pub icmp: AtomicU64,
}

/// Adds to a counter.
pub fn count(counter: &AtomicU64, n: usize) {
    counter.fetch_add(n as u64, Ordering::Relaxed);
}

#[derive(Default)]
struct Input {
    frames: VecDeque<Frame>,
    bytes: usize,
    commands: Vec<Command>,
    stop: bool,
}

/// What the network's thread finds when it looks.
#[derive(Default)]
pub struct Taken {
    /// Frames from the guest, in order.
    pub frames: VecDeque<Frame>,
    /// What the network's holder wants.
    pub commands: Vec<Command>,
    /// The network is to end.
    pub stop: bool,
}

/// Both sides' data.
pub struct Shared {
    input: Mutex<Input>,
    asleep: AtomicBool,
    /// Readable when the thread is to look.
    pub bell: Bell,
    /// Frames for the card.
    pub queue: FrameQueue,
    wants_room: AtomicBool,
    card_accepts: AtomicU8,
    /// Counters, for people.
    pub counters: Counters,
}

impl Shared {
    /// # Errors
    /// The host has no more file descriptors.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            input: Mutex::default(),
            asleep: AtomicBool::new(false),
            bell: Bell::new()?,
            queue: FrameQueue::new(QUEUE_BYTES),
            wants_room: AtomicBool::new(false),
            card_accepts: AtomicU8::new(0),
            counters: Counters::default(),
        })
    }
    fn input(&self) -> MutexGuard<'_, Input> {
        self.input.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn ring_if_asleep(&self) {
        if self.asleep.swap(false, Ordering::SeqCst) {
            self.bell.ring();
        }
    }
    /// A frame from the guest; dropped where too many wait.
    pub fn put(&self, frame: Frame) {
        let cost = frame.bytes.len() + FRAME_COST;
        let mut input = self.input();
        if input.bytes + cost > MOST_INPUT_BYTES {
            drop(input);
            return count(&self.counters.dropped_from_guest, 1);
        }
        input.bytes += cost;
        input.frames.push_back(frame);
        drop(input);
        self.ring_if_asleep();
    }
    /// A wish of the network's holder.
    pub fn command(&self, command: Command) {
        self.input().commands.push(command);
        self.ring_if_asleep();
    }
    /// The network's thread ends soon.
    pub fn stop(&self) {
        self.input().stop = true;
        self.bell.ring();
    }
    /// All that waits for the network's thread.
    pub fn take(&self) -> Taken {
        let mut input = self.input();
        input.bytes = 0;
        Taken {
            frames: std::mem::take(&mut input.frames),
            commands: std::mem::take(&mut input.commands),
            stop: input.stop,
        }
    }
    /// The network's thread is about to sleep: whether nothing waits, so that it may.
    pub fn may_sleep(&self) -> bool {
        self.asleep.store(true, Ordering::SeqCst);
        let input = self.input();
        let nothing = input.frames.is_empty() && input.commands.is_empty() && !input.stop;
        drop(input);
        if !nothing {
            self.woke();
        }
        nothing
    }
    /// The network's thread is awake.
    pub fn woke(&self) {
        self.asleep.store(false, Ordering::SeqCst);
    }
    /// A frame for the card, which makes room for others.
    pub fn next_for_card(&self) -> Option<Frame> {
        self.queue.pop_for(&self.wants_room, QUEUE_BYTES - QUEUE_LOW, &self.bell)
    }
    /// Whether streams may give the card more.
    pub fn has_room(&self) -> bool {
        self.queue.room() > QUEUE_BYTES / 2
    }
    /// Has the bell rung when there is room again: whether there is already.
    pub fn ask_for_room(&self) -> bool {
        self.wants_room.store(true, Ordering::SeqCst);
        self.queue.room() >= QUEUE_BYTES - QUEUE_LOW && self.wants_room.swap(false, Ordering::SeqCst)
    }
    /// What the card's driver takes.
    pub fn card_accepts(&self) -> Offloads {
        let bits = self.card_accepts.load(Ordering::Relaxed);
        Offloads {
            checksum: bits & 1 != 0,
            tcp4: bits & 2 != 0,
            tcp6: bits & 4 != 0,
            ecn: bits & 8 != 0,
            udp: bits & 16 != 0,
        }
    }
    /// The card's driver takes this from now on.
    pub fn set_card_accepts(&self, offloads: Offloads) {
        let Offloads { checksum, tcp4, tcp6, ecn, udp } = offloads;
        let bits =
            [checksum, tcp4, tcp6, ecn, udp].iter().rev().fold(0, |bits, bit| bits << 1 | u8::from(*bit));
        self.card_accepts.store(bits, Ordering::Relaxed);
    }
}
