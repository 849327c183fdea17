//! Accesses that wander: their slot holds the wrong page again and again.
//!
//! A slot (`handover.rs`) finds the page of the last access at little cost, and costs a jump that was predicted wrongly
//! where that is another one. Cold code counts these misses. Where they come often, the access's check is
//! overwritten with a jump to one by the table, whose cost is always the same; and now and then all such
//! accesses are given another chance with their slots.

use crate::code_memory::{CodeMemory, CodeOffset};
use std::ops::Range;
use trimotor_cpu_interp::core::Core;
use trimotor_cpu_interp::handover::SLOTS;

/// Misses are looked at after so many instructions.
const PERIOD: u64 = 4 << 20;
/// A miss in so many instructions of the guest is too many: it costs some 25 cycles.
const INSTRUCTIONS_PER_MISS: u64 = 64;
/// After so many looks accesses get their slots back.
const LOOKS_PER_CHANCE: u32 = 256;
/// Bytes of the jump.
const JUMP_BYTES: usize = 5;

/// An access with a slot, in bytes from the start of its block's code.
#[derive(Clone, Copy, Debug)]
pub struct SlotSite {
    /// The slot's number.
    pub slot: u32,
    /// Where its check begins: linear code of more than five bytes that nothing jumps into.
    pub check: u32,
    /// Cold code that checks by the table, and comes back behind the check.
    pub by_table: u32,
}

/// One that was placed.
#[derive(Clone, Copy)]
struct Placed {
    check: CodeOffset,
    by_table: CodeOffset,
    /// What stands at `check`.
    bytes: [u8; JUMP_BYTES],
}

/// The accesses that use slots, and those that do not any more.
pub struct Wanderers {
    /// The accesses that share each slot. Which of them misses is not known: hot ones are few, so mostly one.
    users: Box<[Vec<Placed>]>,
    /// Accesses by the table, and their slots.
    by_table: Vec<(usize, Placed)>,
    /// Instructions that had retired at the last look.
    looked_at: u64,
    looks: u32,
}

impl Default for Wanderers {
    fn default() -> Self {
        let users = vec![Vec::new(); SLOTS].into_boxed_slice();
        Wanderers { users, by_table: Vec::new(), looked_at: 0, looks: 0 }
    }
}

impl Wanderers {
    /// Block code was placed at `entry`.
    pub fn placed(&mut self, memory: &CodeMemory, entry: CodeOffset, sites: &[SlotSite]) {
        for site in sites {
            let (check, by_table) = (CodeOffset(entry.0 + site.check), CodeOffset(entry.0 + site.by_table));
            let bytes = memory.read_array(check);
            self.users[site.slot as usize].push(Placed { check, by_table, bytes });
        }
    }
    /// Code in `range` is gone.
    pub fn forget(&mut self, range: &Range<u32>) {
        for users in self.users.iter_mut() {
            users.retain(|placed| !range.contains(&placed.check.0));
        }
        self.by_table.retain(|(_, placed)| !range.contains(&placed.check.0));
    }
    /// Looks at the misses, if it is time. No translated code may be running or be returned to.
    pub fn look(&mut self, core: &mut Core, memory: &mut CodeMemory) {
        let passed = core.state.retired.wrapping_sub(self.looked_at);
        if passed < PERIOD {
            return;
        }
        self.looked_at = core.state.retired;
        self.looks += 1;
        if self.looks.is_multiple_of(LOOKS_PER_CHANCE) {
            for (slot, placed) in std::mem::take(&mut self.by_table) {
                memory.write(placed.check, &placed.bytes);
                self.users[slot].push(placed);
            }
        }
        for (slot, misses) in core.engine.slot_misses.iter_mut().enumerate() {
            if std::mem::take(misses) as u64 * INSTRUCTIONS_PER_MISS <= passed {
                continue;
            }
            for placed in self.users[slot].drain(..) {
                let jump = placed.by_table.0.wrapping_sub(placed.check.0 + JUMP_BYTES as u32);
                let [a, b, c, d] = jump.to_le_bytes();
                memory.write(placed.check, &[0xE9, a, b, c, d]);
                self.by_table.push((slot, placed));
            }
        }
    }
}
