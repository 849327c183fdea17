//! From guest bytes to blocks of ops: iced-x86 decodes, [`lower`](crate::lower) chooses the
//! handlers, and the cache keeps the result.

#![allow(unsafe_code, reason = "code bytes are read from guest memory by pointer")]

use crate::access::By;
use crate::cache::{BlockHeader, MAX_BLOCK_OPS};
use crate::core::{Core, mode};
use crate::debugger::PageOffsets;
use crate::insn::integer::{fused, pairs};
use crate::jump;
use crate::lower::{Lowering, bare_op};
use crate::op::Op;
use iced_x86::{Decoder, DecoderError, FlowControl, Instruction};
use trimotor_bus::{Width, guest_copy};
use trimotor_cpu::Fault;
use trimotor_cpu::mmu::Access;

/// The most instructions of one block.
pub const MAX_INSTRUCTIONS: usize = 64;
/// The longest instruction.
pub(crate) const MAX_LENGTH: usize = 15;
/// Mode bit of blocks of one instruction, for stepping.
const SINGLE: u32 = 1 << 23;
/// Mode bit of blocks that end at conditional jumps too, for traces.
pub(crate) const STRAIGHT: u32 = 1 << 22;
/// The limit that makes such a block.
pub(crate) const STRAIGHT_LIMIT: usize = MAX_INSTRUCTIONS - 1;

impl Core {
    /// Decodes a block at host address `host` and keeps it; `None` where its first instruction crosses
    /// into the next page.
    pub(crate) fn decode_tracked(&mut self, rip: u64, host: usize, limit: usize) -> Option<*const Op> {
        self.track_code_page(host);
        let mut bytes = [0u8; MAX_INSTRUCTIONS * MAX_LENGTH];
        let len = bytes.len().min(4096 - (host & 4095)).min(limit * MAX_LENGTH);
        // SAFETY: `host` lies in a mapped page of guest memory, and `len` bytes stay within it.
        unsafe { guest_copy::read(host as *const u8, &mut bytes[..len]) };
        let mut builder = Builder::new(self, rip, host & 4095);
        let size = builder.decode(&bytes[..len], limit);
        if size == 0 {
            return None;
        }
        builder.finish(size);
        let Builder { ops, instructions, .. } = builder;
        let kind = match limit {
            1 => SINGLE,
            STRAIGHT_LIMIT => STRAIGHT,
            _ => 0,
        };
        let head = BlockHeader {
            charge: instructions as i64,
            host,
            mode: self.state.mode | kind,
            bytes: size as u16,
            ops: ops.len() as u16,
        };
        let first = self.insert_block(head, &ops, true);
        if self.code_changed(host, &bytes[..size]) {
            let memory = self.memory.clone();
            self.code_cache().written(&memory, host as *mut u8, size as u64);
            return self.decode_tracked(rip, host, limit);
        }
        Some(first)
    }

    /// Decodes the one instruction at host address `host` for now; `None` where it crosses into the next page.
    fn decode_unkept(&mut self, rip: u64, host: usize) -> Option<*const Op> {
        let mut bytes = [0u8; MAX_LENGTH];
        let len = MAX_LENGTH.min(4096 - (host & 4095));
        // SAFETY: `host` lies in a mapped page of guest memory, and `len` bytes stay within it.
        unsafe { guest_copy::read(host as *const u8, &mut bytes[..len]) };
        let mut builder = Builder::new(self, rip, host & 4095);
        let size = builder.decode(&bytes[..len], 1);
        if size == 0 {
            return None;
        }
        builder.finish(size);
        let Builder { mut ops, .. } = builder;
        // What follows in the page would be decoded, and kept, only to see that there is no budget for it. From one
        // page to the next the end must be what it always is: it touches that page.
        if let Some(end) = ops.last_mut().filter(|_| (host & 4095) + size < 4096) {
            end.handler = crate::jump::end_lookup;
        }
        let (mode, bytes, count) = (self.state.mode, size as u16, ops.len() as u16);
        Some(self.insert_block(BlockHeader { charge: 1, host: 0, mode, bytes, ops: count }, &ops, false))
    }

    /// Decodes the one instruction at `rip`, which may cross pages or come from a device. It is kept
    /// only where `keep` is true and its bytes lie in one page of memory.
    ///
    /// # Faults
    /// Those of the fetch of its further bytes; #GP(0) where it is too long or crosses CS's limit.
    pub(crate) fn decode_alone(&mut self, rip: u64, linear: u64, keep: bool) -> Result<*const Op, Fault> {
        let limit = self.bytes_to_limit(rip);
        if let Some(host) = self.fetch_host(linear)?
            && limit >= MAX_LENGTH
        {
            let mode = self.state.mode | SINGLE;
            let found = if keep { self.code_cache().find(host, mode) } else { self.decode_unkept(rip, host) };
            if let Some(first) = found {
                return Ok(first);
            }
            if keep && let Some(first) = self.decode_tracked(rip, host, 1) {
                return Ok(first);
            }
        }
        let crossing = limit >= MAX_LENGTH;
        if crossing && let Some(first) = self.find_crossing(linear)? {
            return Ok(first);
        }
        let (bytes, len, fault) = self.fetch_bytes(linear, limit);
        let mut builder = Builder::new(self, rip, (linear & 4095) as usize);
        let size = builder.decode(&bytes[..len], 1);
        if size == 0 {
            return Err(fault.unwrap_or(Fault::gp(0)));
        }
        builder.finish(size);
        let Builder { ops, .. } = builder;
        let head = BlockHeader {
            charge: 1,
            host: 0,
            mode: self.state.mode,
            bytes: size as u16,
            ops: ops.len() as u16,
        };
        if crossing
            && size > 4096 - (linear & 4095) as usize
            && let Some(host) = self.fetch_host(linear)?
        {
            let mode = self.state.mode;
            return Ok(self.code_cache().insert_crossing((host, mode), head, &ops, bytes));
        }
        Ok(self.insert_block(head, &ops, false))
    }

    /// The kept decoding of an instruction at `linear` that crosses pages, if its bytes are still the
    /// same on both.
    ///
    /// # Faults
    /// Those of the fetch from the second page.
    fn find_crossing(&mut self, linear: u64) -> Result<Option<*const Op>, Fault> {
        let Some(host) = self.fetch_host(linear)? else { return Ok(None) };
        let mode = self.state.mode;
        let Some((first, size, kept)) = self.code_cache().find_crossing((host, mode)) else {
            return Ok(None);
        };
        let next_page = (linear | 4095).wrapping_add(1) & self.linear_mask(By::Instruction);
        let Some(second) = self.fetch_host(next_page)? else { return Ok(None) };
        let here = 4096 - (host & 4095);
        let mut bytes = [0; MAX_LENGTH];
        // SAFETY: both host addresses lie in mapped pages, the first `here` bytes before its page's
        // end, and the rest of an instruction is shorter than a page.
        unsafe {
            guest_copy::read(host as *const u8, &mut bytes[..here]);
            guest_copy::read(second as *const u8, &mut bytes[here..size]);
        }
        Ok((bytes[..size] == kept[..size]).then_some(first))
    }

    /// Bytes from `rip` to CS's limit, at most 15.
    fn bytes_to_limit(&self, rip: u64) -> usize {
        if self.state.mode & mode::OPEN_CS != 0 {
            return MAX_LENGTH;
        }
        let limit = self.state.seg(trimotor_cpu::SegReg::Cs).limit as u64;
        (limit + 1).saturating_sub(rip).min(MAX_LENGTH as u64) as usize
    }

    /// Fetches up to `limit` bytes; where a fault ends them early, the fault.
    fn fetch_bytes(&mut self, linear: u64, limit: usize) -> ([u8; MAX_LENGTH], usize, Option<Fault>) {
        let mut bytes = [0; MAX_LENGTH];
        let mut done = 0;
        while done < limit {
            let at = linear.wrapping_add(done as u64) & self.linear_mask(By::Instruction);
            if done > 0 && !self.canonical(at) {
                return (bytes, done, Some(Fault::gp(0)));
            }
            let m = match self.translate(at, Access::Execute) {
                Ok(m) => m,
                Err(fault) => return (bytes, done, Some(fault)),
            };
            let piece = (limit - done).min(4096 - (at & 4095) as usize);
            for i in 0..piece {
                bytes[done + i] = if m.host.is_null() {
                    self.current = std::ptr::null();
                    let attention = self.attention;
                    let at = m.phys.offset(i as u64);
                    let byte = self.on_bus(|bus| bus.mmio_read(at, Width::Byte)) as u8;
                    // It ends no instruction that has not begun: the run loop looks around behind this one.
                    self.attention = attention;
                    byte
                } else {
                    // SAFETY: the page is mapped and the piece lies within it.
                    unsafe { m.host.add(i).read_volatile() }
                };
            }
            done += piece;
        }
        (bytes, done, None)
    }

    pub(crate) fn code_cache(&mut self) -> &mut crate::cache::CodeCache {
        // SAFETY: `run_with` set `code` for the run, and nobody else uses it meanwhile.
        unsafe { &mut *self.code }
    }

    fn insert_block(&mut self, head: BlockHeader, ops: &[Op], tracked: bool) -> *const Op {
        let memory = self.memory.clone();
        self.code_cache().insert(&memory, head, ops, tracked)
    }
}

/// A block being built.
struct Builder<'a> {
    lowering: Lowering<'a>,
    /// Where it ends at the latest.
    cuts: &'a PageOffsets,
    ops: Vec<Op>,
    /// For each op, what it is in a pair.
    members: Vec<Option<pairs::Member>>,
    instructions: usize,
}

impl<'a> Builder<'a> {
    fn new(core: &'a Core, rip: u64, page_offset: usize) -> Builder<'a> {
        let lowering =
            Lowering { mode: core.state.mode, model: &core.model, rip, page_offset, atomic: core.atomic };
        Builder {
            lowering,
            cuts: core.debugger.cuts(),
            ops: Vec::with_capacity(16),
            members: Vec::with_capacity(16),
            instructions: 0,
        }
    }

    /// Decodes up to `limit` instructions; returns how many bytes they have.
    fn decode(&mut self, bytes: &[u8], limit: usize) -> usize {
        let bits = match self.lowering.mode & mode::CODE_SIZE {
            mode::CODE16 => 16,
            mode::CODE32 => 32,
            _ => 64,
        };
        let mut decoder = Decoder::with_ip(bits, bytes, self.lowering.rip, self.lowering.decoder_options());
        let mut instruction = Instruction::default();
        let mut size = 0;
        let mut previous = None;
        while self.instructions < limit && size < bytes.len() && self.ops.len() + 4 < MAX_BLOCK_OPS {
            if self.instructions > 0 && self.cuts.contains(self.lowering.page_offset + size) {
                break;
            }
            decoder.decode_out(&mut instruction);
            if instruction.is_invalid() && decoder.last_error() == DecoderError::NoMoreBytes {
                let rest = bytes.len() - size;
                if rest < MAX_LENGTH {
                    break; // it goes on beyond what we have
                }
            }
            let before = self.ops.len();
            self.lowering.lower(&instruction, size as u16, &mut self.ops);
            if let (Some(first), Some(cc)) = (&previous, self.lowering.linked_condition(&instruction))
                && let Some(handler) = fused::select(first, &self.ops[before - 1], cc)
            {
                self.ops[before - 1].handler = handler;
                self.members[before - 1] = None;
            }
            let fusable =
                self.ops.len() > before && !instruction.is_invalid() && !instruction.has_lock_prefix();
            let alone = fusable && self.ops.len() == before + 1;
            self.members.resize(self.ops.len(), None);
            if alone {
                self.members[before] = pairs::member(&instruction);
            }
            previous = fusable.then_some(instruction);
            size += instruction.len();
            self.instructions += 1;
            for op in &mut self.ops[before..] {
                op.left = self.instructions as u8; // turned round in `finish`
            }
            let flow = instruction.flow_control();
            let ended = matches!(
                flow,
                FlowControl::UnconditionalBranch
                    | FlowControl::IndirectBranch
                    | FlowControl::Return
                    | FlowControl::Call
                    | FlowControl::IndirectCall
                    | FlowControl::Exception
                    | FlowControl::Interrupt
            ) || flow == FlowControl::ConditionalBranch && limit == STRAIGHT_LIMIT
                || instruction.is_invalid();
            if ended {
                break;
            }
        }
        size
    }

    /// Adds the ending and fills in what is known only now.
    fn finish(&mut self, size: usize) {
        for op in &mut self.ops {
            op.left = self.instructions as u8 - op.left;
        }
        pairs::fuse(&mut self.ops, &self.members);
        let open = self.lowering.mode & mode::OPEN_CS != 0;
        let within = self.lowering.page_offset + size < 4096;
        let handler = match (open, within) {
            (true, true) => jump::jmp_link,
            (true, false) => jump::jmp_page,
            (false, _) => jump::end_lookup,
        };
        let mut end = bare_op(handler, size as u16);
        end.disp = size as i32;
        self.ops.push(end);
    }
}
