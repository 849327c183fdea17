//! Regions of code memory: what was translated one after the other lies in one region, and goes with it.
//!
//! When code memory is full, the oldest region is emptied and filled anew. Hot code of it is translated
//! again where it is missed, a block at a time, and all other code stays.

use crate::code_memory::CodeOffset;
use crate::positions::Pieces;
use crate::translate::{FallbackSite, Link};
use iced_x86::{Code, Decoder};
use std::collections::HashMap;
use std::ops::Range;
use trimotor_cpu::model::CpuModel;
use trimotor_cpu_interp::core::mode;
use trimotor_cpu_interp::fallback::lower_one;
use trimotor_cpu_interp::lower::Lowering;
use trimotor_cpu_interp::op::Op;

/// The most regions. More of them cost a fuller sweep of the links more often, and keep code longer.
const MOST_REGIONS: usize = 16;
/// The least bytes of a region. No block is as large.
const LEAST_BYTES: usize = 64 << 10;

/// The number of a block, link or site: that of its region above, its own in the region below.
const REGION_SHIFT: u32 = 24;

/// The number of the `n`th block, link or site of region `region`.
pub fn number(region: usize, n: usize) -> u32 {
    debug_assert!(n < 1 << REGION_SHIFT, "each takes more than 4 of at most 64 MiB");
    (region as u32) << REGION_SHIFT | n as u32
}
/// The region of a number.
pub fn region_of(number: u32) -> usize {
    (number >> REGION_SHIFT) as usize
}
/// What a number counts within its region.
pub fn index_of(number: u32) -> usize {
    (number & ((1 << REGION_SHIFT) - 1)) as usize
}

/// A translated block.
#[derive(Debug)]
pub struct Block {
    /// Host address of its first guest byte, and its mode.
    pub key: (usize, u32),
    /// Where its code starts.
    pub entry: CodeOffset,
    /// The stub that a dead block's entry leads to.
    pub dead: CodeOffset,
    /// It can be found.
    pub alive: bool,
    /// Links that lead here.
    pub incoming: Vec<u32>,
    /// Bytes of its code.
    pub bytes: u32,
    /// Instructions that the vCPU had retired when it was made, as of the last time that this was counted.
    pub born: u64,
    /// Its guest code: offsets in the page of its first byte, cut at the page's end.
    pub guest: Box<[Range<u16>]>,
    /// Its [`positions`](crate::positions), as a place in those of the region.
    pub positions: (u32, u32),
    /// Its count of executions, where they are counted.
    pub counter: Option<u32>,
}

/// A link, and the page that it stands in.
pub struct PlacedLink {
    /// As it was translated.
    pub link: Link,
    /// Host address of the page that is jumped from.
    pub page: usize,
    /// The block that it leads to.
    pub target: Option<u32>,
}

/// A site, and its ops once it fell back to the interpreter.
pub struct PlacedFallback {
    /// As it was translated.
    pub site: FallbackSite,
    ops: *const Op,
    /// Times that it fell back to the interpreter.
    runs: u64,
}

impl PlacedFallback {
    /// A site that has not fallen back yet.
    pub fn new(site: FallbackSite) -> PlacedFallback {
        PlacedFallback { site, ops: std::ptr::null(), runs: 0 }
    }
    fn bits(&self) -> u32 {
        if self.site.mode & mode::CODE_SIZE == mode::CODE64 { 64 } else { 32 }
    }
    fn bytes(&self) -> &[u8] {
        &self.site.bytes[..self.site.len as usize]
    }
    fn lower(&self, model: &CpuModel) -> Box<[Op]> {
        let site = &self.site;
        let lowering = Lowering { mode: site.mode, model, rip: 0, page_offset: 0, atomic: true };
        let options = lowering.decoder_options();
        let i = Decoder::with_ip(self.bits(), self.bytes(), site.offset as u64, options).decode();
        lower_one(model, site.mode, 0, &i, site.offset, site.left)
    }
}

/// A part of code memory and what lies in it.
pub struct Region {
    /// Its place in code memory.
    pub place: Range<u32>,
    /// Blocks, by where their code lies.
    pub blocks: Vec<Block>,
    /// Links from these blocks.
    pub links: Vec<PlacedLink>,
    /// Their instructions that may fall back to the interpreter.
    pub sites: Vec<PlacedFallback>,
    /// Which guest instructions the blocks' code belongs to, packed.
    pub positions: Vec<u8>,
    /// Ops of sites; boxed so that they stay where they are.
    ops: Vec<Box<[Op]>>,
}

impl Region {
    /// Regions for code memory from `start` to `end`.
    pub fn all(start: usize, end: usize) -> Vec<Region> {
        let count = (end / LEAST_BYTES).clamp(1, MOST_REGIONS);
        let bytes = ((end - start) / count) & !63;
        let place = |n: usize| (start + n * bytes) as u32..(start + (n + 1) * bytes) as u32;
        (0..count).map(|n| Region::new(place(n))).collect()
    }
    fn new(place: Range<u32>) -> Region {
        Region {
            place,
            blocks: Vec::new(),
            links: Vec::new(),
            sites: Vec::new(),
            positions: Vec::new(),
            ops: Vec::new(),
        }
    }
    /// Takes everything out.
    pub fn take(&mut self) -> Region {
        let place = self.place.clone();
        std::mem::replace(self, Region::new(place))
    }

    /// Which guest instructions the code of `block` belongs to.
    pub fn pieces(&self, block: &Block) -> Pieces<'_> {
        let (from, to) = (block.positions.0 as usize, block.positions.1 as usize);
        Pieces::new(self.positions.get(from..to).unwrap_or_default())
    }
    /// The block whose code holds the byte at `at`, dead ones included.
    pub fn block_at(&self, at: CodeOffset) -> Option<&Block> {
        let after = self.blocks.partition_point(|block| block.entry <= at);
        let block = self.blocks.get(after.checked_sub(1)?)?;
        (at.0 - block.entry.0 < block.bytes).then_some(block)
    }

    /// The ops of site `n`.
    pub fn ops(&mut self, model: &CpuModel, n: usize) -> *const Op {
        let placed = &mut self.sites[n];
        placed.runs += 1;
        if placed.ops.is_null() {
            let ops = placed.lower(model);
            placed.ops = ops.as_ptr();
            self.ops.push(ops);
        }
        placed.ops
    }
    /// Adds how often each instruction form fell back to the interpreter.
    pub fn count_forms(&self, forms: &mut HashMap<Code, u64>) {
        for placed in self.sites.iter().filter(|placed| placed.runs > 0) {
            let code = Decoder::new(placed.bits(), placed.bytes(), 0).decode().code();
            *forms.entry(code).or_default() += placed.runs;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_lie_side_by_side_and_hold_any_block() {
        for bytes in [1 << 18, 1 << 20, 64 << 20, 1 << 30] {
            let regions = Region::all(1000, bytes);
            assert!(regions.len() >= 4, "{bytes}");
            assert!(regions.windows(2).all(|pair| pair[0].place.end == pair[1].place.start));
            assert_eq!(regions[0].place.start, 1000);
            assert!(regions.last().unwrap().place.end as usize <= bytes);
            assert!(regions.iter().all(|region| region.place.len() > 60 << 10));
        }
    }

    #[test]
    fn numbers_tell_the_region() {
        let n = number(15, 77);
        assert_eq!((region_of(n), index_of(n)), (15, 77));
    }
}
