//! Which accesses use an inline cache: those that stay *monomorphic*, at one page for long.
//!
//! An inline cache (`fallback.rs`) finds the page of the last access at little cost, and costs a jump that was predicted wrongly
//! where that is another one. Cold code counts these misses. Where they come often, the access counts as *megamorphic*:
//! its check is overwritten with a jump to a look-up in the shadow page table, whose cost is always the same, and which counts
//! all accesses. One period later the two counts show whether many accesses missed; if few did, the access gets its inline
//! cache back. Now and then all accesses get another chance.

use crate::code_memory::{CodeMemory, CodeOffset};
use crate::engine_area::{INLINE_CACHES, area};
use std::ops::Range;
use trimotor_cpu_interp::core::Core;

/// The misses are examined after so many instructions.
const PERIOD: u64 = 4 << 20;
/// A miss in so many instructions of the guest is worth a look at how many accesses hit.
const INSTRUCTIONS_PER_MISS: u64 = 4096;
/// So many accesses by the table cost as much as one that misses its inline cache: some 5 cycles against 35.
const ACCESSES_PER_MISS: u64 = 7;
/// After so many looks accesses get their inline caches back.
const LOOKS_PER_CHANCE: u32 = 256;
/// Bytes of the jump.
const JUMP_BYTES: usize = 5;

/// An access with an inline cache, in bytes from the start of its block's code.
#[derive(Clone, Copy, Debug)]
pub struct InlineCacheSite {
    /// The inline cache's number.
    pub ic: u32,
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

/// A megamorphic access: it looks into the table.
#[derive(Clone, Copy)]
struct Megamorphic {
    ic: usize,
    placed: Placed,
    /// Misses of the inline cache in a [`PERIOD`] of its last use, until they were compared with all accesses.
    misses: Option<u64>,
}

/// The accesses that use inline caches, and the megamorphic ones.
pub struct InlineCachePolicy {
    /// The accesses that share each inline cache. Which of them misses is not known: hot ones are few, so mostly one.
    users: Box<[Vec<Placed>]>,
    /// Slots that mostly hit, however often they miss.
    monomorphic: Box<[bool]>,
    /// Accesses by the table.
    by_table: Vec<Megamorphic>,
    /// Instructions that had retired at the last look.
    looked_at: u64,
    looks: u32,
    /// Accesses found megamorphic so far.
    pub megamorphic: u64,
    /// Those of them that have an inline cache again, because they mostly hit.
    pub monomorphic_again: u64,
}

impl Default for InlineCachePolicy {
    fn default() -> Self {
        let users = vec![Vec::new(); INLINE_CACHES].into_boxed_slice();
        let monomorphic = vec![false; INLINE_CACHES].into_boxed_slice();
        InlineCachePolicy {
            users,
            monomorphic,
            by_table: Vec::new(),
            looked_at: 0,
            looks: 0,
            megamorphic: 0,
            monomorphic_again: 0,
        }
    }
}

impl InlineCachePolicy {
    /// Block code was placed at `entry`.
    pub fn placed(&mut self, memory: &CodeMemory, entry: CodeOffset, sites: &[InlineCacheSite]) {
        for site in sites {
            let (check, by_table) = (CodeOffset(entry.0 + site.check), CodeOffset(entry.0 + site.by_table));
            let bytes = memory.read_array(check);
            self.users[site.ic as usize].push(Placed { check, by_table, bytes });
        }
    }
    /// Code in `range` is gone.
    pub fn forget(&mut self, range: &Range<u32>) {
        for users in self.users.iter_mut() {
            users.retain(|placed| !range.contains(&placed.check.0));
        }
        self.by_table.retain(|megamorphic| !range.contains(&megamorphic.placed.check.0));
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
        let misses = std::mem::replace(&mut area(core).ic_misses, [0; INLINE_CACHES]);
        let counts = misses.map(|n| u64::from(n) * PERIOD / passed);
        if self.looks.is_multiple_of(LOOKS_PER_CHANCE) {
            self.monomorphic.fill(false);
            for megamorphic in std::mem::take(&mut self.by_table) {
                self.give_back(megamorphic, memory);
            }
            return;
        }
        for mut megamorphic in std::mem::take(&mut self.by_table) {
            let misses = megamorphic.misses.take();
            if misses.is_some_and(|misses| counts[megamorphic.ic] > misses * ACCESSES_PER_MISS) {
                self.monomorphic[megamorphic.ic] = true;
                self.monomorphic_again += 1;
                self.give_back(megamorphic, memory);
            } else {
                self.by_table.push(megamorphic);
            }
        }
        for (ic, misses) in counts.into_iter().enumerate() {
            if misses * INSTRUCTIONS_PER_MISS > PERIOD && !self.monomorphic[ic] {
                self.give_up(ic, misses, memory);
            }
        }
    }

    /// The accesses of an inline cache go by the table from now on.
    fn give_up(&mut self, ic: usize, misses: u64, memory: &mut CodeMemory) {
        for placed in std::mem::take(&mut self.users[ic]) {
            let jump = placed.by_table.0.wrapping_sub(placed.check.0 + JUMP_BYTES as u32);
            let [a, b, c, d] = jump.to_le_bytes();
            memory.write(placed.check, &[0xE9, a, b, c, d]);
            self.by_table.push(Megamorphic { ic, placed, misses: Some(misses) });
            self.megamorphic += 1;
        }
    }
    fn give_back(&mut self, megamorphic: Megamorphic, memory: &mut CodeMemory) {
        memory.write(megamorphic.placed.check, &megamorphic.placed.bytes);
        self.users[megamorphic.ic].push(megamorphic.placed);
    }
}
