//! Split rings (2.7): a table of descriptors, the driver's ring of chains that are available, and the device's of
//! chains that are used.

use super::chain::{Descriptor, INDIRECT, NEXT, read_table};
use super::{Chain, Numbers, Queue, RingError, Rules, fence_all};
use trimotor_bus::{BusMaster, PhysAddr};

/// Flag of the driver's ring: no interrupts, please.
const NO_INTERRUPT: u16 = 1;

impl Queue {
    fn available(&self, memory: &BusMaster) -> Result<u16, RingError> {
        let ahead = memory.read_u16(self.driver + 2)?.wrapping_sub(self.at.next_avail);
        // The driver cannot have made more available than there are descriptors.
        if ahead > self.size { Err(RingError::TooFar) } else { Ok(ahead) }
    }
    pub(super) fn split_has_more(&self, memory: &BusMaster) -> Result<bool, RingError> {
        Ok(self.available(memory)? > 0)
    }
    pub(super) fn split_pop(&mut self, memory: &BusMaster, rules: Rules) -> Result<Option<Chain>, RingError> {
        if self.available(memory)? == 0 {
            return Ok(None);
        }
        // What the index tells of is read after the index.
        fence_all();
        let slot = self.at.next_avail & (self.size - 1);
        let head = memory.read_u16(self.driver + 4 + 2 * u64::from(slot))?;
        let chain = self.split_chain(memory, head, rules)?;
        self.at.next_avail = self.at.next_avail.wrapping_add(1);
        Ok(Some(chain))
    }
    fn split_chain(&self, memory: &BusMaster, head: u16, rules: Rules) -> Result<Chain, RingError> {
        let mut chain = Chain::new(head, 1);
        let mut index = head;
        // No chain has more descriptors than the table: this ends loops too.
        for _ in 0..self.size {
            if index >= self.size {
                return Err(RingError::Index);
            }
            let mut bytes = [0; 16];
            memory.read_exact(PhysAddr(self.desc + 16 * u64::from(index)), &mut bytes)?;
            let descriptor = Descriptor::split(&bytes);
            if descriptor.flags & INDIRECT != 0 {
                if !rules.indirect || descriptor.flags & NEXT != 0 {
                    return Err(RingError::Indirect);
                }
                add_table(&mut chain, &read_table(memory, &descriptor)?)?;
                return Ok(chain);
            }
            chain.add(&descriptor)?;
            if descriptor.flags & NEXT == 0 {
                return Ok(chain);
            }
            index = descriptor.next;
        }
        Err(RingError::TooLong)
    }

    pub(super) fn split_push(&mut self, memory: &BusMaster, done: &[(Chain, u32)]) -> Result<(), RingError> {
        for (chain, written) in done {
            let slot = self.at.next_used & (self.size - 1);
            let mut entry = [0; 8];
            entry[..2].copy_from_slice(&chain.id.to_le_bytes());
            entry[4..].copy_from_slice(&written.to_le_bytes());
            memory.write_exact(PhysAddr(self.device + 4 + 8 * u64::from(slot)), &entry)?;
            self.at.next_used = self.at.next_used.wrapping_add(1);
        }
        fence_all();
        memory.write_u16(self.device + 2, self.at.next_used)
    }
    pub(super) fn split_wants_interrupt(
        &mut self,
        memory: &BusMaster,
        rules: Rules,
    ) -> Result<bool, RingError> {
        let old = std::mem::replace(&mut self.at.signalled, self.at.next_used);
        let new = self.at.next_used;
        if !rules.event_idx {
            return Ok(memory.read_u16(self.driver)? & NO_INTERRUPT == 0);
        }
        let event = memory.read_u16(self.driver + 4 + 2 * u64::from(self.size))?;
        Ok(new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old))
    }
    /// The driver is to tell of the next chain.
    pub(super) fn split_arm(&self, memory: &BusMaster, rules: Rules) -> Result<(), RingError> {
        if rules.event_idx {
            memory.write_u16(self.device + 4 + 8 * u64::from(self.size), self.at.next_avail)?;
        }
        Ok(())
    }
}

/// Follows a table of descriptors from its first.
fn add_table(chain: &mut Chain, table: &[[u8; 16]]) -> Result<(), RingError> {
    let mut index = 0;
    for _ in 0..table.len() {
        let descriptor = Descriptor::split(table.get(index).ok_or(RingError::Index)?);
        if descriptor.flags & INDIRECT != 0 {
            return Err(RingError::Indirect);
        }
        chain.add(&descriptor)?;
        if descriptor.flags & NEXT == 0 {
            return Ok(());
        }
        index = usize::from(descriptor.next);
    }
    Err(RingError::TooLong)
}
