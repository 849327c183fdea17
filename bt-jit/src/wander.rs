//! Accesses that wander: their slot holds the wrong page again and again.
//!
//! A slot (`handover.rs`) finds the page of the last access at little cost, and costs a jump that was predicted wrongly
//! where that is another one. Cold code counts these misses. Where they come often, the access's check is
//! overwritten with a jump to one by the table, whose cost is always the same, and which counts all accesses. So it is
//! known one look later whether the misses were many of them; if not, the access has its slot back. Now and then all
//! accesses are given another chance.

use crate::code_memory::{CodeMemory, CodeOffset};
use std::ops::Range;
use trimotor_cpu_interp::core::Core;
use trimotor_cpu_interp::handover::SLOTS;

/// Misses are looked at after so many instructions.
const PERIOD: u64 = 4 << 20;
/// A miss in so many instructions of the guest is worth a look at how many accesses hit.
const INSTRUCTIONS_PER_MISS: u64 = 4096;
/// So many accesses by the table cost as much as one that misses its slot: some 5 cycles against 35.
const ACCESSES_PER_MISS: u64 = 7;
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

/// An access that goes by the table.
#[derive(Clone, Copy)]
struct GivenUp {
    slot: usize,
    placed: Placed,
    /// Misses of the slot in a [`PERIOD`] of its last use, until they were compared with all accesses.
    misses: Option<u64>,
}

/// The accesses that use slots, and those that do not any more.
pub struct Wanderers {
    /// The accesses that share each slot. Which of them misses is not known: hot ones are few, so mostly one.
    users: Box<[Vec<Placed>]>,
    /// Slots that mostly hit, however often they miss.
    settled: Box<[bool]>,
    /// Accesses by the table.
    by_table: Vec<GivenUp>,
    /// Instructions that had retired at the last look.
    looked_at: u64,
    looks: u32,
    /// Accesses that gave their slots up so far.
    pub given_up: u64,
    /// Those among them that had them back because they mostly hit.
    pub settled_accesses: u64,
}

impl Default for Wanderers {
    fn default() -> Self {
        let users = vec![Vec::new(); SLOTS].into_boxed_slice();
        let settled = vec![false; SLOTS].into_boxed_slice();
        Wanderers {
            users,
            settled,
            by_table: Vec::new(),
            looked_at: 0,
            looks: 0,
            given_up: 0,
            settled_accesses: 0,
        }
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
        self.by_table.retain(|given_up| !range.contains(&given_up.placed.check.0));
    }
    /// Looks at the misses, if it is time. No translated code may be running or be returned to.
    pub fn look(&mut self, core: &mut Core, memory: &mut CodeMemory) {
        let passed = core.state.retired.wrapping_sub(self.looked_at);
        if passed < PERIOD {
            return;
        }
        self.looked_at = core.state.retired;
        self.looks += 1;
        // As many as there would have been in one period.
        let counts = core.engine.slot_misses.map(|n| u64::from(n) * PERIOD / passed);
        core.engine.slot_misses.fill(0);
        if self.looks.is_multiple_of(LOOKS_PER_CHANCE) {
            self.settled.fill(false);
            for given_up in std::mem::take(&mut self.by_table) {
                self.give_back(given_up, memory);
            }
            return;
        }
        for mut given_up in std::mem::take(&mut self.by_table) {
            let misses = given_up.misses.take();
            if misses.is_some_and(|misses| counts[given_up.slot] > misses * ACCESSES_PER_MISS) {
                self.settled[given_up.slot] = true;
                self.settled_accesses += 1;
                self.give_back(given_up, memory);
            } else {
                self.by_table.push(given_up);
            }
        }
        for (slot, misses) in counts.into_iter().enumerate() {
            if misses * INSTRUCTIONS_PER_MISS > PERIOD && !self.settled[slot] {
                self.give_up(slot, misses, memory);
            }
        }
    }

    /// The accesses of a slot go by the table from now on.
    fn give_up(&mut self, slot: usize, misses: u64, memory: &mut CodeMemory) {
        for placed in std::mem::take(&mut self.users[slot]) {
            let jump = placed.by_table.0.wrapping_sub(placed.check.0 + JUMP_BYTES as u32);
            let [a, b, c, d] = jump.to_le_bytes();
            memory.write(placed.check, &[0xE9, a, b, c, d]);
            self.by_table.push(GivenUp { slot, placed, misses: Some(misses) });
            self.given_up += 1;
        }
    }
    fn give_back(&mut self, given_up: GivenUp, memory: &mut CodeMemory) {
        memory.write(given_up.placed.check, &given_up.placed.bytes);
        self.users[given_up.slot].push(given_up.placed);
    }
}
