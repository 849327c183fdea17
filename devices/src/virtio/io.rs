//! The queues of a device, as the device sees them while it is called.

use super::queue::{self, Chain, Progress, RingError, Segment};
use super::transport::Transport;
use trimotor_bus::BusMaster;

/// Buffers that a device takes in one call at most. A driver that fills its ring as fast as the device empties it is served
/// again a moment later, when others had their turn.
const MOST_TAKEN: u32 = 1024;

/// The queues of a device for the time of a call. Whatever is wrong with a queue has the device ask for a reset; from then
/// on nothing is available.
pub struct Io<'t> {
    transport: &'t mut Transport,
    taken: u32,
}

impl<'t> Io<'t> {
    pub(super) fn new(transport: &'t mut Transport) -> Self {
        Self { transport, taken: 0 }
    }
    /// The features that were chosen.
    pub fn features(&self) -> u64 {
        self.transport.features
    }
    /// Whether the driver has all of these features.
    pub fn has(&self, features: u64) -> bool {
        self.transport.features & features == features
    }
    /// The way to guest memory.
    pub fn memory(&self) -> &BusMaster {
        &self.transport.memory
    }
    /// Whether the driver uses this queue.
    pub fn uses(&self, queue: usize) -> bool {
        self.transport.uses(queue)
    }
    /// Buffers that a queue has at most, as the driver has made it.
    pub fn size(&self, queue: usize) -> usize {
        self.transport.queues.get(queue).map_or(0, |queue| queue.size.into())
    }
    /// Whether a queue has a buffer.
    pub fn has_more(&mut self, queue: usize) -> bool {
        if !self.uses(queue) {
            return false;
        }
        let t = &mut *self.transport;
        let more = t.queues[queue].has_more(&t.memory, t.rules());
        self.good(more).unwrap_or(false)
    }
    /// The next buffer of a queue, if there is one.
    pub fn pop(&mut self, queue: usize) -> Option<Chain> {
        if !self.uses(queue) {
            return None;
        }
        if self.taken >= MOST_TAKEN {
            self.transport.look_again(queue);
            return None;
        }
        self.taken += 1;
        let t = &mut *self.transport;
        let rules = t.rules();
        let popped = t.queues[queue].pop(&t.memory, rules);
        self.good(popped).flatten()
    }
    /// Asks the driver to tell of the next buffer. Returns whether there is one already: then take it.
    #[must_use]
    pub fn arm(&mut self, queue: usize) -> bool {
        if !self.uses(queue) || self.transport.is_looked_at_again(queue) {
            return false;
        }
        let t = &mut *self.transport;
        let armed = t.queues[queue].arm(&t.memory, t.rules());
        self.good(armed).unwrap_or(false)
    }
    /// Whether a device that works on one buffer for long may go on; if not, it is called for this queue a moment later. It
    /// asks after each piece of work as large as a usual buffer.
    pub fn may_go_on(&mut self, queue: usize) -> bool {
        self.taken += 1;
        if self.taken >= MOST_TAKEN {
            self.transport.look_again(queue);
        }
        self.taken < MOST_TAKEN
    }
    /// How far a queue is, for [`rewind`](Self::rewind).
    pub fn progress(&self, queue: usize) -> Option<Progress> {
        self.uses(queue).then(|| self.transport.queues[queue].progress())
    }
    /// Puts buffers back that were taken since.
    pub fn rewind(&mut self, queue: usize, to: Progress) {
        if let Some(queue) = self.transport.queues.get_mut(queue) {
            queue.rewind(to);
        }
    }
    /// Gives a buffer back, of which the first `written` bytes were written.
    pub fn push(&mut self, queue: usize, chain: Chain, written: u64) {
        self.push_all(queue, &[(chain, written.min(u32::MAX.into()) as u32)]);
    }
    /// Gives buffers back, which the driver sees all at once.
    pub fn push_all(&mut self, queue: usize, done: &[(Chain, u32)]) {
        if done.is_empty() || !self.uses(queue) {
            return;
        }
        let t = &mut *self.transport;
        let rules = t.rules();
        let pushed = t.queues[queue].push(&t.memory, rules, done);
        if self.good(pushed).is_some() {
            self.transport.used(queue);
        }
    }
    /// Reads a part of a buffer, from byte `offset` on. `None`: it cannot be read, and the device asks for a reset.
    #[must_use]
    pub fn read(&mut self, from: &[Segment], offset: u64, into: &mut [u8]) -> Option<()> {
        let read = queue::read(&self.transport.memory, from, offset, into);
        self.good(read)
    }
    /// Writes a part of a buffer, from byte `offset` on. `None` as for [`read`](Self::read).
    #[must_use]
    pub fn write(&mut self, to: &[Segment], offset: u64, from: &[u8]) -> Option<()> {
        let written = queue::write(&self.transport.memory, to, offset, from);
        self.good(written)
    }
    /// The device's configuration has changed by itself.
    pub fn config_changed(&mut self) {
        self.transport.config_changed();
    }
    /// The driver did what no driver may: the device asks for a reset.
    pub fn fail(&mut self, why: RingError) {
        self.transport.fail(why);
    }
    fn good<T>(&mut self, result: Result<T, RingError>) -> Option<T> {
        result.map_err(|error| self.transport.fail(error)).ok()
    }
}
