//! Packed rings (2.8): one ring of descriptors, which the driver makes available and the device marks as used. Bits 7 and
//! 15 of a descriptor's flags say which it is, compared with a counter that changes each time round.

use super::chain::{DESCRIPTOR_BYTES, Descriptor, INDIRECT, NEXT, WRITE, read_table};
use super::{Chain, Numbers, Place, Queue, RingError, Rules, fence_all};
use trimotor_bus::{BusMaster, PhysAddr};

const AVAILABLE: u16 = 1 << 7;
const USED: u16 = 1 << 15;
/// Event flags: no notifications.
const DISABLE: u16 = 1;
/// Event flags: one for a certain descriptor.
const AT_DESCRIPTOR: u16 = 2;

impl Queue {
    fn descriptor_at(&self, index: u16) -> u64 {
        self.desc + DESCRIPTOR_BYTES * u64::from(index)
    }
    pub(super) fn packed_has_more(&self, memory: &BusMaster) -> Result<bool, RingError> {
        let Place { index, wrap } = self.at.packed_avail();
        let flags = memory.read_u16(self.descriptor_at(index) + 14)?;
        Ok((flags & AVAILABLE != 0) == wrap && (flags & USED != 0) != wrap)
    }
    pub(super) fn packed_pop(
        &mut self,
        memory: &BusMaster,
        rules: Rules,
    ) -> Result<Option<Chain>, RingError> {
        if !self.packed_has_more(memory)? {
            return Ok(None);
        }
        // The rest of a descriptor is read after the flags that made it available.
        fence_all();
        let mut chain = Chain::default();
        let mut place = self.at.packed_avail();
        for places in 1..=self.size {
            let mut bytes = [0; 16];
            memory.read_exact(PhysAddr(self.descriptor_at(place.index)), &mut bytes)?;
            let descriptor = Descriptor::packed(&bytes);
            place = place.after(1, self.size);
            let is_last = descriptor.flags & NEXT == 0;
            if descriptor.flags & INDIRECT != 0 {
                if !rules.indirect || !is_last {
                    return Err(RingError::Indirect);
                }
                // In a table all descriptors count, and only their write flags.
                for entry in read_table(memory, &descriptor)? {
                    let entry = Descriptor::packed(&entry);
                    chain.add(&Descriptor { flags: entry.flags & WRITE, ..entry })?;
                }
            } else {
                chain.add(&descriptor)?;
            }
            if is_last {
                (chain.id, chain.places) = (descriptor.next, places);
                self.at.set_packed_avail(place);
                return Ok(Some(chain));
            }
        }
        Err(RingError::TooLong)
    }

    pub(super) fn packed_push(&mut self, memory: &BusMaster, done: &[(Chain, u32)]) -> Result<(), RingError> {
        let mut first = None;
        for (chain, written) in done {
            let Place { index, wrap } = self.at.packed_used();
            let at = self.descriptor_at(index);
            let mut entry = [0; 6];
            entry[..4].copy_from_slice(&written.to_le_bytes());
            entry[4..].copy_from_slice(&chain.id.to_le_bytes());
            memory.write_exact(PhysAddr(at + 8), &entry)?;
            let flags = if wrap { AVAILABLE | USED } else { 0 } | if *written > 0 { WRITE } else { 0 };
            if first.is_none() {
                first = Some((at, flags));
            } else {
                fence_all();
                memory.write_u16(at + 14, flags)?;
            }
            self.at.set_packed_used(self.at.packed_used().after(chain.places, self.size));
            self.at.since_signal = self.at.since_signal.saturating_add(chain.places);
        }
        // The driver looks at them in order: with the first it sees all.
        if let Some((at, flags)) = first {
            fence_all();
            memory.write_u16(at + 14, flags)?;
        }
        Ok(())
    }
    pub(super) fn packed_wants_interrupt(
        &mut self,
        memory: &BusMaster,
        rules: Rules,
    ) -> Result<bool, RingError> {
        let moved = std::mem::take(&mut self.at.since_signal);
        // The offset was written before the flags that make it count.
        let flags = memory.read_u16(self.driver + 2)? & 3;
        if flags != AT_DESCRIPTOR || !rules.event_idx {
            return Ok(flags != DISABLE);
        }
        fence_all();
        let event = Place::from_event(memory.read_u16(self.driver)?);
        if event.index >= self.size {
            return Err(RingError::Index);
        }
        // How far behind the last descriptor that was used the wanted one is, going back.
        let back = self.at.packed_used().distance_from(event, self.size);
        Ok((1..=moved).contains(&back))
    }
    pub(super) fn packed_arm(&self, memory: &BusMaster, rules: Rules) -> Result<(), RingError> {
        if rules.event_idx {
            memory.write_u16(self.device, self.at.packed_avail().event())?;
            fence_all();
            memory.write_u16(self.device + 2, AT_DESCRIPTOR)?;
        }
        Ok(())
    }
}
