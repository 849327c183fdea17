//! Virtqueues: how buffers go from driver to device and back.
//!
//! | format | the driver offers buffers | the device gives them back | file |
//! |---|---|---|---|
//! | split (2.7) | indices of descriptors in its ring | indices in another ring | `split.rs` |
//! | packed (2.8) | by flags of descriptors | by flags of the same descriptors | `packed.rs` |
//!
//! [`Queue::pop`] takes a buffer ([`Chain`]), [`Queue::push`] gives some back, [`Queue::wants_interrupt`] says whether the driver
//! wants to hear of it, and [`Queue::arm`] asks it to tell of the next buffer.
//!
//! rust-vmm's `virtio-queue` has split rings only, and lets a driver's mistakes pass as empty queues here and there. So
//! both formats are our own, with one interface and one kind of error: whatever a ring says that it cannot say ([`RingError`])
//! has the device ask for a reset. Each descriptor is read once, and a table as a whole, before it is checked.

mod chain;
mod packed;
mod split;

pub use chain::{Chain, ChainStateV1, MOST_DESCRIPTORS, Segment};
pub(crate) use chain::{read, write};

use super::registers::{LEGACY_PAGE, NO_VECTOR, feature};
use crate::saved_state::saved_state;
use std::sync::atomic::{Ordering, fence};
use trimotor_bus::{BusMaster, NotMemory, PhysAddr};

/// The largest queue that a device here may have.
pub const MOST_SIZE: u16 = 1024;

/// A ring says what it cannot say.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RingError {
    /// An address behind which no memory is.
    #[error("it names an address where no memory is")]
    NotMemory,
    /// A buffer that goes over the end of the address space.
    #[error("a buffer goes over the end of the address space")]
    Wraps,
    /// More buffers than the queue has descriptors.
    #[error("more buffers are available than it has descriptors")]
    TooFar,
    /// A chain that is longer than its table: it has a loop, perhaps.
    #[error("a chain of descriptors is too long, or a loop")]
    TooLong,
    /// A descriptor that the table does not have.
    #[error("it names a descriptor that is not there")]
    Index,
    /// What is read behind what is written.
    #[error("a buffer to read follows a buffer to write")]
    Order,
    /// An indirect table where none may be.
    #[error("an indirect table where none may be")]
    Indirect,
    /// An indirect table of no whole number of descriptors.
    #[error("an indirect table of a length that no table has")]
    Table,
    /// A request without what each of them has.
    #[error("a request is shorter than its header and status")]
    Short,
    /// A request that the device has no way to refuse.
    #[error("a request that cannot be one")]
    Malformed,
}
impl From<NotMemory> for RingError {
    fn from(_: NotMemory) -> Self {
        Self::NotMemory
    }
}

/// What was negotiated about rings.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rules {
    pub(super) packed: bool,
    pub(super) event_idx: bool,
    pub(super) indirect: bool,
}
impl Rules {
    /// By the features that were chosen.
    pub fn of(features: u64) -> Self {
        let has = |bit| features & bit != 0;
        Self {
            packed: has(feature::RING_PACKED),
            event_idx: has(feature::EVENT_IDX),
            indirect: has(feature::INDIRECT_DESC),
        }
    }
}

/// A place in a packed ring: a descriptor, and the wrap counter there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Place {
    index: u16,
    wrap: bool,
}
impl Place {
    const WRAP: u16 = 1 << 15;
    fn after(self, places: u16, size: u16) -> Self {
        let (index, size) = (u32::from(self.index) + u32::from(places), u32::from(size));
        // A restored chain may be longer than its ring.
        Self { index: (index % size) as u16, wrap: self.wrap ^ (index / size % 2 != 0) }
    }
    /// Places from `earlier` to here, modulo twice the ring.
    fn distance_from(self, earlier: Self, size: u16) -> u16 {
        let round = if self.wrap == earlier.wrap { 0 } else { size };
        (self.index + round + 2 * size - earlier.index) % (2 * size)
    }
    /// As event structures have it.
    fn event(self) -> u16 {
        self.index | if self.wrap { Self::WRAP } else { 0 }
    }
    fn from_event(event: u16) -> Self {
        Self { index: event & !Self::WRAP, wrap: event & Self::WRAP != 0 }
    }
}

/// How far device and driver are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// Split: the running number of the next chain. Packed: its place.
    next_avail: u16,
    avail_wrap: bool,
    /// The same of the next chain that is given back.
    next_used: u16,
    used_wrap: bool,
    /// Split: `next_used` when an interrupt was last thought of.
    signalled: u16,
    /// Packed: places that were used since.
    since_signal: u16,
}
saved_state! {
    /// The saved progress.
    pub struct ProgressStateV1 of Progress {
        next_avail: u16,
        avail_wrap: bool,
        next_used: u16,
        used_wrap: bool,
        signalled: u16,
        since_signal: u16,
    }
}
impl Progress {
    const START: Self = Self {
        next_avail: 0,
        avail_wrap: true,
        next_used: 0,
        used_wrap: true,
        signalled: 0,
        since_signal: 0,
    };
    fn packed_avail(&self) -> Place {
        Place { index: self.next_avail, wrap: self.avail_wrap }
    }
    fn set_packed_avail(&mut self, place: Place) {
        (self.next_avail, self.avail_wrap) = (place.index, place.wrap);
    }
    fn packed_used(&self) -> Place {
        Place { index: self.next_used, wrap: self.used_wrap }
    }
    fn set_packed_used(&mut self, place: Place) {
        (self.next_used, self.used_wrap) = (place.index, place.wrap);
    }
}

/// A queue as its registers have it, and how far it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Queue {
    /// The largest size, which it has after a reset.
    pub(super) most: u16,
    pub(super) size: u16,
    pub(super) enabled: bool,
    pub(super) vector: u16,
    /// Guest-physical addresses: of the descriptors, of the driver's and of the device's area.
    pub(super) desc: u64,
    pub(super) driver: u64,
    pub(super) device: u64,
    /// How far it is.
    at: Progress,
}

/// The saved state of a queue.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct QueueStateV1 {
    size: u16,
    enabled: bool,
    vector: u16,
    desc: u64,
    driver: u64,
    device: u64,
    at: ProgressStateV1,
}

impl Queue {
    /// A queue that is not in use.
    ///
    /// # Panics
    /// A size that no queue may have: the device's own mistake.
    pub fn new(most: u16) -> Self {
        assert!(most.is_power_of_two() && most <= MOST_SIZE, "a queue of {most}");
        Self {
            most,
            size: most,
            enabled: false,
            vector: NO_VECTOR,
            desc: 0,
            driver: 0,
            device: 0,
            at: Progress::START,
        }
    }
    /// As after a reset.
    pub(super) fn reset(&mut self) {
        *self = Self::new(self.most);
    }
    /// The driver begins to use it.
    ///
    /// # Errors
    /// A size that rings of this format cannot have.
    pub(super) fn enable(&mut self, rules: Rules) -> Result<(), RingError> {
        if !rules.packed && !self.size.is_power_of_two() {
            return Err(RingError::Malformed);
        }
        // Addresses of rings stay below the end of the address space, so that sums in here do.
        if [self.desc, self.driver, self.device].iter().any(|at| *at > u64::MAX >> 8) {
            return Err(RingError::Wraps);
        }
        (self.enabled, self.at) = (true, Progress::START);
        Ok(())
    }
    /// The legacy layout: all three parts from one page on, the third at a page boundary (2.7.2). Page 0: not in use.
    pub(super) fn place_legacy(&mut self, page: u32) {
        let size = u64::from(self.size);
        self.desc = u64::from(page) * LEGACY_PAGE;
        self.driver = self.desc + 16 * size;
        self.device = (self.driver + 6 + 2 * size).next_multiple_of(LEGACY_PAGE);
        (self.enabled, self.at) = (page != 0, Progress::START);
    }

    /// Whether a buffer is available.
    ///
    /// # Errors
    /// See [`RingError`].
    pub fn has_more(&self, memory: &BusMaster, rules: Rules) -> Result<bool, RingError> {
        if rules.packed { self.packed_has_more(memory) } else { self.split_has_more(memory) }
    }
    /// Takes the next buffer, if one is available.
    ///
    /// # Errors
    /// See [`RingError`].
    pub fn pop(&mut self, memory: &BusMaster, rules: Rules) -> Result<Option<Chain>, RingError> {
        if rules.packed { self.packed_pop(memory, rules) } else { self.split_pop(memory, rules) }
    }
    /// Gives buffers back, each with the number of bytes that were written. The driver sees all of them at once.
    ///
    /// # Errors
    /// See [`RingError`].
    pub fn push(&mut self, memory: &BusMaster, rules: Rules, done: &[(Chain, u32)]) -> Result<(), RingError> {
        if rules.packed { self.packed_push(memory, done) } else { self.split_push(memory, done) }
    }
    /// Whether the driver wants an interrupt for what was given back since this was last asked.
    ///
    /// # Errors
    /// See [`RingError`].
    pub fn wants_interrupt(&mut self, memory: &BusMaster, rules: Rules) -> Result<bool, RingError> {
        fence_all();
        if rules.packed {
            self.packed_wants_interrupt(memory, rules)
        } else {
            self.split_wants_interrupt(memory, rules)
        }
    }
    /// Has the driver tell of the next buffer. Returns whether one has come meanwhile, of which it may not tell.
    ///
    /// # Errors
    /// See [`RingError`].
    pub fn arm(&self, memory: &BusMaster, rules: Rules) -> Result<bool, RingError> {
        if rules.packed {
            self.packed_arm(memory, rules)?
        } else {
            self.split_arm(memory, rules)?
        };
        fence_all();
        self.has_more(memory, rules)
    }
    /// How far it is, to come back to.
    pub fn progress(&self) -> Progress {
        self.at
    }
    /// Takes back that buffers were taken since [`progress`](Self::progress); none was given back meanwhile.
    pub fn rewind(&mut self, to: Progress) {
        (self.at.next_avail, self.at.avail_wrap) = (to.next_avail, to.avail_wrap);
    }

    pub(super) fn save(&self) -> QueueStateV1 {
        let Self { most: _, size, enabled, vector, desc, driver, device, at } = self;
        QueueStateV1 {
            size: *size,
            enabled: *enabled,
            vector: *vector,
            desc: *desc,
            driver: *driver,
            device: *device,
            at: (*at).into(),
        }
    }
    /// This queue in a saved state, if it can be so.
    pub(super) fn restored(&self, state: QueueStateV1, rules: Rules) -> Option<Self> {
        let QueueStateV1 { size, enabled, vector, desc, driver, device, at } = state;
        let at = Progress::from(at);
        let size_fits =
            (1..=self.most).contains(&size) && (rules.packed || !enabled || size.is_power_of_two());
        let near = [desc, driver, device].iter().all(|at| !enabled || *at <= u64::MAX >> 8);
        let within = !rules.packed || !enabled || (at.next_avail < size && at.next_used < size);
        (size_fits && near && within).then_some(Self {
            most: self.most,
            size,
            enabled,
            vector,
            desc,
            driver,
            device,
            at,
        })
    }
}

/// Accesses before are seen before those behind, also stores before loads.
fn fence_all() {
    fence(Ordering::SeqCst);
}

/// Numbers in guest memory.
trait Numbers {
    fn read_u16(&self, addr: u64) -> Result<u16, RingError>;
    fn write_u16(&self, addr: u64, value: u16) -> Result<(), RingError>;
}
impl Numbers for BusMaster {
    fn read_u16(&self, addr: u64) -> Result<u16, RingError> {
        let mut bytes = [0; 2];
        self.read_exact(PhysAddr(addr), &mut bytes)?;
        Ok(u16::from_le_bytes(bytes))
    }
    fn write_u16(&self, addr: u64, value: u16) -> Result<(), RingError> {
        Ok(self.write_exact(PhysAddr(addr), &value.to_le_bytes())?)
    }
}
