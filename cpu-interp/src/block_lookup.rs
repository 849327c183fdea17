//! Which block is at an address: one that is kept, or one that is decoded now.

#![allow(unsafe_code, reason = "blocks and entries of the shadow table are reached by pointer")]

use crate::cache::header;
use crate::core::{Core, mode};
use crate::decode::{STRAIGHT, STRAIGHT_LIMIT};
use crate::op::Op;
use trimotor_cpu::mmu::{Access, tlb_index};
use trimotor_cpu::{Fault, SegReg};

impl Core {
    /// The block at `rip`, for a link or a jump cache entry; `None`: the run loop must do it (faults,
    /// full cache, code that cannot be linked).
    pub(crate) fn lookup_linked(&mut self, rip: u64) -> Option<*const Op> {
        if !self.code().has_room() {
            return None;
        }
        let linear = self.code_linear(rip).ok()?;
        if self.debugger.cuts_at(linear) {
            return None;
        }
        let host = self.fetch_host(linear).ok()??;
        if self.state.mode & mode::OPEN_CS == 0 {
            return None;
        }
        let mode = self.state.mode;
        let first = match self.code().find(host, mode) {
            Some(first) => first,
            None if host & 4095 > 4096 - 15 && self.has_crossing(host) => return None,
            None => self.decode_tracked(rip, host, crate::decode::MAX_INSTRUCTIONS)?,
        };
        let key = self.state.jump_key;
        *self.jumps.entry(linear) = crate::cache::JumpEntry { linear, key, first };
        Some(first)
    }

    fn has_crossing(&mut self, host: usize) -> bool {
        let mode = self.state.mode;
        self.code().find_crossing((host, mode)).is_some()
    }
    /// Begins a look-up that may decode: a full cache is emptied.
    fn make_room(&mut self) {
        self.counts.lookups += 1;
        if !self.code().has_room() {
            let memory = self.memory.clone();
            self.code().flush(&memory);
            self.jumps.clear();
        }
    }
    /// The kept block of `mode` whose bytes begin at `host`, decoded now if there is none; nothing where it goes into another page, or
    /// leaves CS's limit.
    fn find_or_decode(&mut self, rip: u64, host: usize, mode: u32, limit: usize) -> Option<*const Op> {
        let first = match self.code().find(host, mode) {
            Some(first) => Some(first),
            None if host & 4095 > 4096 - 15 && self.has_crossing(host) => None,
            None => self.decode_tracked(rip, host, limit),
        };
        first.filter(|first| self.within_limit(rip, *first))
    }

    /// The block at `rip`, decoded now if it must be; at most `limit` instructions long; 0: one that is not kept.
    ///
    /// # Faults
    /// Those of the fetch: #GP(0) by limit or address, #PF.
    pub(crate) fn find_block(&mut self, rip: u64, limit: usize) -> Result<*const Op, Fault> {
        self.make_room();
        let linear = self.code_linear(rip)?;
        let host = self.fetch_host(linear)?;
        if limit > 1
            && let Some(host) = host
        {
            let mode = self.state.mode;
            if let Some(first) = self.find_or_decode(rip, host, mode, limit) {
                if self.state.mode & mode::OPEN_CS != 0 && !self.debugger.cuts_at(linear) {
                    let key = self.state.jump_key;
                    *self.jumps.entry(linear) = crate::cache::JumpEntry { linear, key, first };
                }
                return Ok(first);
            }
        }
        self.decode_alone(rip, linear, limit > 0)
    }

    /// The block at `rip` that ends at the first jump.
    ///
    /// # Faults
    /// As [`find_block`](Self::find_block).
    pub(crate) fn find_straight(&mut self, rip: u64) -> Result<*const Op, Fault> {
        self.make_room();
        let linear = self.code_linear(rip)?;
        let mode = self.state.mode | STRAIGHT;
        if let Some(host) = self.fetch_host(linear)?
            && let Some(first) = self.find_or_decode(rip, host, mode, STRAIGHT_LIMIT)
        {
            return Ok(first);
        }
        self.decode_alone(rip, linear, true)
    }

    /// Whether a block at `rip` lies within CS's limit as a whole.
    fn within_limit(&self, rip: u64, first: *const Op) -> bool {
        // SAFETY: `first` is the first op of a block.
        let bytes = unsafe { (*header(first)).bytes } as u64;
        self.state.mode & mode::OPEN_CS != 0 || rip + bytes - 1 <= self.state.seg(SegReg::Cs).limit as u64
    }

    /// The linear address of the instruction at `rip`.
    ///
    /// # Faults
    /// #GP(0): outside CS's limit, or not canonical.
    fn code_linear(&self, rip: u64) -> Result<u64, Fault> {
        if self.state.mode & mode::CODE_SIZE == mode::CODE64 {
            return if self.canonical(rip) { Ok(rip) } else { Err(Fault::gp(0)) };
        }
        let cs = self.state.seg(SegReg::Cs);
        if rip > cs.limit as u64 {
            return Err(Fault::gp(0));
        }
        Ok(cs.base.wrapping_add(rip) & 0xFFFF_FFFF)
    }

    /// Host address of the code byte at `linear`; `None`: it comes from a device.
    ///
    /// # Faults
    /// #PF.
    pub(crate) fn fetch_host(&mut self, linear: u64) -> Result<Option<usize>, Fault> {
        // SAFETY: the table has an entry for each index.
        let e = unsafe { &*self.state.tlb.add(tlb_index(linear)) };
        let offset = linear.wrapping_sub(e.exec_tag);
        if offset < 4096 {
            return Ok(Some(e.host as usize + offset as usize));
        }
        let m = self.translate(linear, Access::Execute)?;
        Ok(if m.host.is_null() { None } else { Some(m.host as usize) })
    }
}
