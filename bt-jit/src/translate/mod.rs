//! From a block of guest instructions to host code.
//!
//! A block starts anywhere, lies within one page, and goes on through conditional jumps that are not
//! taken, and through direct jumps and calls within the page to their targets, and back ([`follow`]). [`classify`] says for each instruction how it is translated; most are emitted as
//! they are, with other registers and a checked address ([`generic`]). What is not translated
//! falls back to the interpreter, one instruction at a time.
//!
//! # The arithmetic flags
//! At the start of a block they are in memory. Within a block they are in the host's flags or in memory,
//! or in both ([`Flags`]). Before anything that destroys the host's flags or may fault they are put into
//! memory, so that a fault or an interrupt finds all six as the hardware would leave them.

mod address;
mod classify;
mod cold;
mod encode;
mod flow;
mod follow;
mod forms;
mod generic;
mod loops;
mod muldiv;
mod operands;
mod plan;
mod registers;
mod rematerialize;
mod scratch_registers;
mod stack;
mod strings;
mod system;
mod undefined_flags;
mod x87;

use crate::code_memory::CodeOffset;
use crate::emitter::{AluOp, Condition, Emitter, EmitterError, Label, Mem, Width};
use crate::inline_cache_policy::InlineCacheSite;
use crate::layout::{ARITH, BUDGET, EXEC_TAG, HOST_PAGE, T0, T1, T2, VECTOR_LIVE, page_rip, state};
use crate::positions::NO_INSTRUCTION;
use crate::thunks::{Thunks, load_flags};
pub use classify::{HostFeatures, Kind};
use cold::Cold;
use iced_x86::{Encoder, Instruction, InstructionInfoFactory};
use plan::Plan;
use rematerialize::Recipe;
use scratch_registers::ScratchRegisters;
use std::ops::Range;
use trimotor_cpu::flags::ArithFlags;
use trimotor_cpu::mmu::TLB_ENTRIES;
use trimotor_cpu::model::CpuModel;
use trimotor_cpu_interp::core::mode;
use trimotor_cpu_interp::debugger::PageOffsets;

/// The most instructions of one block.
pub const MAX_INSTRUCTIONS: usize = 64;
/// What a page number is cut to for the index of an entry of the shadow page table.
pub const TABLE_INDEX_MASK: i32 = TLB_ENTRIES as i32 - 1;
/// The longest instruction, in bytes.
pub const MAX_LENGTH: usize = 15;
/// The six arithmetic flags as iced-x86 names them.
pub const ARITHMETIC: u32 = iced_x86::RflagsBits::OF
    | iced_x86::RflagsBits::SF
    | iced_x86::RflagsBits::ZF
    | iced_x86::RflagsBits::AF
    | iced_x86::RflagsBits::CF
    | iced_x86::RflagsBits::PF;

/// Where the guest's arithmetic flags are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flags {
    /// In memory only.
    Memory,
    /// In the host's flags only.
    Host,
    /// After a multiplication: CF and OF are in the host's flags, the others are clear.
    Product,
    /// In both.
    Both,
    /// In neither, but there is a recipe for them: see [`rematerialize`].
    Recipe,
}

/// An instruction that may fall back to the interpreter: what is needed to lower it when that happens first.
#[derive(Clone, Copy, Debug)]
pub struct FallbackSite {
    /// Its bytes.
    pub bytes: [u8; MAX_LENGTH],
    /// Its length.
    pub len: u8,
    /// Instructions of the block after it.
    pub left: u8,
    /// Offset within its page.
    pub offset: u16,
    /// The mode of its block.
    pub mode: u32,
}

/// A jump to code that may not exist yet.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// Where its displacement stands.
    pub patch_at: CodeOffset,
    /// Where it leads when it is not linked.
    pub stub: CodeOffset,
    /// The target's offset from the first byte of the page that is jumped from.
    pub target: i32,
    /// Where the key stands that a jump to another page is valid for.
    pub key: Option<CodeOffset>,
    /// It leads to the variant without check coalescing.
    pub uncoalesced: bool,
}

/// A link under translation.
#[derive(Clone, Copy)]
struct OpenLink {
    patch_at: usize,
    stub: Label,
    target: i32,
    key: Option<usize>,
    uncoalesced: bool,
}

/// What a translation gives, besides the code in the emitter.
#[derive(Default, Debug)]
pub struct Translation {
    /// Where the guest code is: offsets from the first byte of the page. What is beyond its end is in the next one.
    pub ranges: Vec<Range<usize>>,
    /// Guest instructions.
    pub instructions: usize,
    /// Where the cold code begins, in bytes from the start.
    pub cold: usize,
    /// The stub for a dead block, in bytes from the start.
    pub dead: usize,
    /// Sites, from the first free number on.
    pub sites: Vec<FallbackSite>,
    /// Links, from the first free number on.
    pub links: Vec<Link>,
    /// Slots of user code used.
    pub inline_caches: u32,
    /// The accesses that use them.
    pub ic_sites: Vec<InlineCacheSite>,
    /// Where each instruction's code starts: guest offset within the page, host bytes from the start.
    pub positions: Vec<(u16, u32)>,
    /// Where each piece of cold code starts: the number of its instruction within the block
    /// ([`NO_INSTRUCTION`] for the way in, exits and links), host bytes from the start.
    pub cold_positions: Vec<(u8, u32)>,
}

impl Translation {
    /// Empties it and keeps its buffers.
    fn clear(&mut self) {
        let Translation { ranges, sites, links, ic_sites, positions, cold_positions, .. } = self;
        ranges.clear();
        sites.clear();
        links.clear();
        ic_sites.clear();
        positions.clear();
        cold_positions.clear();
        (self.instructions, self.cold, self.dead, self.inline_caches) = (0, 0, 0, 0);
    }
}

/// What the translator keeps from block to block.
pub struct Tools {
    /// Where the code goes.
    pub emitter: Emitter,
    encoder: Encoder,
    info: InstructionInfoFactory,
    features: HostFeatures,
    instructions: Vec<Instruction>,
    kinds: Vec<Kind>,
    /// Offsets behind calls that were followed.
    returns: Vec<i32>,
    scratch: Scratch,
}

/// Buffers of the translation of a block, which the next one uses again.
#[derive(Default)]
struct Scratch {
    plan: Plan,
    cold: Vec<Cold>,
    cold_of: Vec<u8>,
    open_links: Vec<OpenLink>,
    open_ics: Vec<(u32, usize, Label)>,
    out: Translation,
}

impl Default for Tools {
    fn default() -> Self {
        Self::new()
    }
}

impl Tools {
    /// Tools for this host.
    pub fn new() -> Tools {
        Tools::for_host(HostFeatures::detect())
    }
    /// Tools for a host with these features.
    pub fn for_host(features: HostFeatures) -> Tools {
        Tools {
            emitter: Emitter::new(),
            encoder: Encoder::new(64),
            info: InstructionInfoFactory::new(),
            features,
            instructions: Vec::new(),
            kinds: Vec::new(),
            returns: Vec::new(),
            scratch: Scratch::default(),
        }
    }
    /// Takes back what a translation gave, for its buffers.
    pub fn recycle(&mut self, made: Translation) {
        self.scratch.out = made;
    }
}

/// What a block is translated for.
pub struct Source<'a> {
    /// The mode (see [`mode`]).
    pub mode: u32,
    /// What the CPU has.
    pub model: &'a CpuModel,
    /// The bytes of the page, and behind them those of the next one that belong to the instruction that crosses.
    pub bytes: &'a [u8],
    /// Offset of the first byte within its page.
    pub offset: u16,
    /// For one instruction that crosses into the next page: host address of that page.
    pub second_page: Option<u64>,
    /// Where blocks end at the latest, and to which none goes on.
    pub cuts: &'a PageOffsets,
    /// Each access is to have a check of its own.
    pub uncoalesced: bool,
    /// The x87 registers stay in the state.
    pub x87_fallback: bool,
    /// Where the code will be placed.
    pub base: CodeOffset,
    /// The number that the first site gets.
    pub first_fallback: u32,
    /// The number that the first link gets.
    pub first_link: u32,
    /// Host address of a count of executions, if they are counted.
    pub counter: Option<u64>,
    /// The number that the first inline cache of user code gets, modulo half of them.
    pub first_ic: u32,
}

/// A block under translation.
pub(crate) struct Translator<'a> {
    e: &'a mut Emitter,
    encoder: &'a mut Encoder,
    instructions: &'a [Instruction],
    plan: &'a mut Plan,
    source: &'a Source<'a>,
    thunks: &'a Thunks,
    wide: bool,
    flags: Flags,
    /// How the flags in the host's are computed again, and the instruction that set them.
    recipe: Option<(usize, Recipe)>,
    vector: bool,
    /// The x87 registers are in the host's.
    x87: bool,
    /// An x87 instruction's page has been noted.
    x87_noted: bool,
    /// The last x87 instruction, while its offset has not been noted.
    x87_last: Option<u16>,
    cold: &'a mut Vec<Cold>,
    /// Numbers of the instructions that the cold code belongs to.
    cold_of: &'a mut Vec<u8>,
    open_links: &'a mut Vec<OpenLink>,
    /// Slots, where their checks begin, and the checks by the table.
    open_ics: &'a mut Vec<(u32, usize, Label)>,
    out: &'a mut Translation,
    /// The instruction that is being translated: number, offset in its page, length, instructions after it.
    number: usize,
    /// Groups whose addresses are kept, a bit each.
    established: u32,
    /// What the scratch registers hold.
    scratch: ScratchRegisters,
    /// The block's first host instruction.
    start: Label,
    /// Where the block begins anew from its own end.
    again: Option<Label>,
    /// That is what is emitted now.
    anew: bool,
    offset: u16,
    len: u8,
    left: u8,
    /// The block goes on where the instruction transfers control to.
    goes_on: bool,
}

impl Tools {
    /// Translates the block; `None` where not even its first instruction lies within the page.
    ///
    /// # Errors
    /// A bug in what is emitted.
    pub fn translate(
        &mut self,
        source: &Source<'_>,
        thunks: &Thunks,
    ) -> Result<Option<Translation>, EmitterError> {
        self.decode(source);
        if self.kinds.is_empty() {
            return Ok(None);
        }
        let wide = source.mode & mode::CODE_SIZE == mode::CODE64;
        let Tools { emitter, encoder, info, instructions, kinds, scratch, .. } = self;
        let Scratch { plan, cold, cold_of, open_links, open_ics, out } = scratch;
        plan.make(instructions, kinds, info, source.mode, wide, !source.uncoalesced);
        emitter.clear();
        emitter.set_base(source.base);
        cold.clear();
        cold_of.clear();
        open_links.clear();
        open_ics.clear();
        out.clear();
        let start = emitter.label();
        let mut t = Translator {
            e: emitter,
            encoder,
            instructions,
            plan,
            source,
            thunks,
            wide,
            flags: Flags::Memory,
            recipe: None,
            vector: kinds.iter().any(|k| k.uses_vector()),
            x87: kinds.iter().any(|k| k.uses_x87()),
            x87_noted: false,
            x87_last: None,
            cold,
            cold_of,
            open_links,
            open_ics,
            out,
            number: 0,
            established: 0,
            scratch: ScratchRegisters::default(),
            start,
            again: None,
            anew: false,
            offset: source.offset,
            len: 0,
            left: 0,
            goes_on: false,
        };
        t.block(instructions, kinds);
        t.resolve_links();
        Ok(Some(std::mem::take(out)))
    }
}

impl Translator<'_> {
    /// Links and inline caches as they are known now that all labels are bound.
    fn resolve_links(&mut self) {
        let Translator { e, out, open_links, open_ics, .. } = self;
        out.ic_sites.extend(open_ics.iter().map(|&(ic, check, by_table)| InlineCacheSite {
            ic,
            check: check as u32,
            by_table: e.bound(by_table) as u32,
        }));
        let code_start = self.source.base.0;
        for link in open_links.iter() {
            let stub = e.bound(link.stub);
            out.links.push(Link {
                patch_at: CodeOffset(code_start + link.patch_at as u32),
                stub: CodeOffset(code_start + stub as u32),
                target: link.target,
                key: link.key.map(|at| CodeOffset(code_start + at as u32)),
                uncoalesced: link.uncoalesced,
            });
            let displacement = stub as i32 - (link.patch_at as i32 + 4);
            e.patch(link.patch_at, &displacement.to_le_bytes());
        }
    }

    /// The whole block: entry, instructions, the way on, and the cold code.
    fn block(&mut self, instructions: &[Instruction], kinds: &[Kind]) {
        let count = kinds.len();
        self.out.instructions = count;
        let out_of_budget = self.e.label();
        self.e.bind(self.start);
        self.e.alu_mi(AluOp::Sub, Width::Qword, state(BUDGET), count as i32);
        self.e.jcc(Condition::Sign, out_of_budget);
        self.count_execution();
        if let Some(host) = self.source.second_page {
            self.check_second_page(host, count);
        }
        if self.x87 {
            self.enter_x87(count);
        }
        if self.vector {
            let (load, loaded) = (self.e.label(), self.e.label());
            self.e.alu_mi(AluOp::Cmp, Width::Byte, state(VECTOR_LIVE), 0);
            self.e.jcc(Condition::Equal, load);
            self.e.bind(loaded);
            self.cold.push(Cold::LoadVector { at: load, resume: loaded });
        }
        self.cold_of.resize(self.cold.len(), NO_INSTRUCTION);
        self.body(instructions, kinds);
        self.emit_again(instructions, kinds);
        self.emit_cold(count, out_of_budget);
    }

    /// The instructions and the way on.
    fn body(&mut self, instructions: &[Instruction], kinds: &[Kind]) {
        let count = kinds.len();
        let mut ended = false;
        for (n, (i, kind)) in instructions.iter().zip(kinds).enumerate() {
            self.number = n;
            self.offset = i.ip() as u16;
            self.len = i.len() as u8;
            self.left = (count - 1 - n) as u8;
            self.goes_on = n + 1 < count;
            self.note_position();
            if !self.anew {
                self.add_range(i.ip() as usize..i.ip() as usize + i.len());
            }
            let next = instructions.get(n + 1).map(|next| next.ip() as u16);
            self.note_before(i, *kind);
            self.prepare_scratch(*kind);
            ended = self.instruction(i, *kind, next);
            self.leave_scratch(*kind);
            self.cold_of.resize(self.cold.len(), n as u8);
        }
        if !ended {
            let next = self.offset as i32 + self.len as i32;
            self.note_last();
            self.spill_all();
            self.save_flags();
            self.go_to(next);
        }
    }
    fn note_position(&mut self) {
        let host = self.e.offset() as u32;
        if self.anew {
            self.out.cold_positions.push((self.number as u8, host));
        } else {
            self.out.positions.push((self.offset, host));
        }
    }
    /// Counts an execution, if they are counted. Destroys T0 and flags.
    fn count_execution(&mut self) {
        if let Some(counter) = self.source.counter {
            self.e.mov_ri(T0, counter);
            self.e.alu_mi(AluOp::Add, Width::Qword, Mem::base(T0, 0), 1);
        }
    }

    /// The block has code in `range`.
    fn add_range(&mut self, range: Range<usize>) {
        match self.out.ranges.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => self.out.ranges.push(range),
        }
    }

    /// One instruction, before the one at offset `next`; true if control does not come out behind it.
    fn instruction(&mut self, i: &Instruction, kind: Kind, next: Option<u16>) -> bool {
        match kind {
            Kind::Nothing => {}
            Kind::Generic { .. } | Kind::Mmx => self.generic(i),
            Kind::X87 => self.x87(i),
            Kind::Sahf => self.load_flags_from_ah(),
            Kind::Lea => self.lea(i),
            Kind::Push => self.push(i),
            Kind::Pop => self.pop(i),
            Kind::Leave => self.leave(),
            Kind::Extend => self.extend(i),
            Kind::Multiply => self.multiply(i),
            Kind::Divide => self.divide(i),
            Kind::CompareExchange => self.compare_exchange(i),
            Kind::CompareStrings => self.compare_vector_strings(i),
            Kind::SetFlag => self.set_flag(i),
            Kind::PushFlags => self.push_flags(),
            Kind::PopFlags => self.pop_flags(),
            Kind::SwapGs => self.swap_gs(),
            Kind::ReadControl => self.read_control_register(i),
            Kind::BitString => self.bit_string(i),
            Kind::String => self.string(i),
            Kind::ReadSegment => self.read_segment(i),
            Kind::SegmentBase => self.segment_base(i),
            Kind::TimeStamp => self.time_stamp(i),
            Kind::AccessControl => self.access_control(i),
            Kind::Syscall | Kind::Sysret => {
                self.system_call(kind);
                return true;
            }
            Kind::Jcc => self.jcc(i),
            Kind::Jmp => return self.jmp(i),
            Kind::Call => return self.call(i),
            Kind::JmpIndirect => return self.jmp_indirect(i),
            Kind::CallIndirect => return self.call_indirect(i),
            Kind::Ret => return self.ret(i, next),
            Kind::Step => {
                self.save_flags();
                self.step_here();
                return true;
            }
            Kind::Fallback => self.fall_back(i),
            Kind::FallbackLast => {
                self.fall_back(i);
                // Where it does not transfer control itself (INTO, for one).
                let next = self.offset as i32 + self.len as i32;
                self.look_up(next);
                return true;
            }
        }
        false
    }

    /// The instruction crosses pages: steps it unless the second page is the one it was decoded from.
    fn check_second_page(&mut self, host: u64, count: usize) {
        let at = self.e.label();
        self.cold.push(Cold::Step { at, lost: None, offset: self.source.offset, refund: count as u8 });
        let width = self.stack_width();
        self.e.mov_rm(Width::Qword, T1, page_rip());
        self.e.alu_ri(AluOp::Add, width, T1, 4096);
        self.table_entry();
        self.e.alu_rm(AluOp::Cmp, Width::Qword, T1, Mem::base(T0, EXEC_TAG));
        self.e.jcc(Condition::NotEqual, at);
        self.e.mov_ri(T2, host);
        self.e.alu_rm(AluOp::Cmp, Width::Qword, T2, Mem::base(T0, HOST_PAGE));
        self.e.jcc(Condition::NotEqual, at);
    }

    // ---- flags ----

    /// Puts the flags into memory. Destroys T0 (and T2 where they are computed again), keeps the host's flags.
    fn save_flags(&mut self) {
        self.follow_own_recipe();
        match self.flags {
            Flags::Host => {
                self.emit_save_flags();
                self.flags = Flags::Both;
            }
            Flags::Product => {
                self.emit_save_product();
                self.flags = Flags::Memory;
            }
            Flags::Memory | Flags::Both | Flags::Recipe => {}
        }
    }
    fn emit_save_product(&mut self) {
        self.spill(T0);
        self.e.seto(T0);
        self.e.mov_high_from_low(T0);
        self.e.mov_mr(Width::Dword, state(ARITH), T0);
    }
    fn emit_save_flags(&mut self) {
        self.spill(T0);
        self.e.lahf();
        self.e.seto(T0);
        self.e.mov_mr(Width::Dword, state(ARITH), T0);
    }
    /// The host's flags are about to be destroyed: keeps the guest's in memory.
    fn spill_flags(&mut self) {
        self.save_flags();
        self.flags = Flags::Memory;
    }
    /// Puts the flags into the host's. Destroys T0 and T2.
    fn need_flags(&mut self) {
        self.follow_own_recipe();
        if self.flags == Flags::Product {
            self.save_flags();
        }
        if self.flags == Flags::Memory {
            self.emit_load_flags();
            self.flags = Flags::Both;
        }
    }
    /// Puts CF into the host's flags, whose others are lost.
    fn load_carry(&mut self) {
        const CF: u8 = ArithFlags::CF.trailing_zeros() as u8;
        self.e.bt_mi(Width::Dword, state(ARITH), CF);
    }
    fn emit_load_flags(&mut self) {
        self.spill(T0);
        load_flags(self.e, 0);
    }

    // ---- what falls back to the interpreter ----

    /// A site for the instruction under translation.
    fn fallback_site(&mut self) -> u32 {
        let mut bytes = [0; MAX_LENGTH];
        let at = self.offset as usize;
        let len = self.len as usize;
        bytes[..len].copy_from_slice(&self.source.bytes[at..at + len]);
        let number = self.source.first_fallback + self.out.sites.len() as u32;
        let (len, left, offset, mode) = (self.len, self.left, self.offset, self.source.mode);
        self.out.sites.push(FallbackSite { bytes, len, left, offset, mode });
        number
    }
    /// Falls back to the interpreter for the instruction.
    fn fall_back(&mut self, _i: &Instruction) {
        self.note_last();
        self.spill_flags();
        let site = self.fallback_site();
        self.e.mov_ri(T0, site as u64);
        self.e.call_placed(self.op_thunk());
        self.flags = Flags::Both;
    }
}
