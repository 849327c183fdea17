//! Which memory accesses of a block share one check.
//!
//! Accesses whose addresses differ by constants (fields of one object, locals on the stack, a row of
//! pushes) form a *group*. The first one checks the whole range, which must lie in one page, and keeps the
//! host address; the others need no check, and no flags are saved for them, since they cannot fault. Where
//! the check fails, the block goes on in a variant of itself without groups: see
//! [`Translator::establish`](super::Translator).
//!
//! To find the groups, registers are followed through the block as *root plus constant*: MOV copies, ADD, SUB,
//! LEA, PUSH and POP add to the constant, everything else makes a new root.

use super::address::gpr_number;
use super::classify::{Kind, must_be_aligned};
use super::flow::arguments;
use super::forms::form;
use super::rematerialize::{FlagStep, Recipe};
use super::scratch_registers::keeps_cached;
use iced_x86::{
    Instruction, InstructionInfoFactory, InstructionInfoOptions, Mnemonic, OpAccess, OpKind, Register,
};
use trimotor_cpu_interp::lower::iced_address_bits;

/// The most groups of one block: places for their host addresses.
pub(super) const MAX_CHECK_GROUPS: usize = 16;
/// The longest range of a group, in bytes. The longer, the more often it crosses a page.
const LONGEST: i64 = 256;
/// The root of addresses relative to RIP.
const RIP_ROOT: u32 = 1 << 30;
const NO_ROOT: u32 = u32::MAX;

/// What the operands of an instruction are used for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Accesses {
    /// Operands that are read, a bit each.
    read: u8,
    /// Operands that are written.
    written: u8,
}

impl Accesses {
    /// As iced-x86 has them.
    pub(super) fn asked(i: &Instruction, info: &mut InstructionInfoFactory) -> Accesses {
        let options = InstructionInfoOptions::NO_MEMORY_USAGE | InstructionInfoOptions::NO_REGISTER_USAGE;
        let info = info.info_options(i, options);
        let mut accesses = Accesses { read: 0, written: 0 };
        for n in 0..i.op_count() {
            let (read, written) = match info.op_access(n) {
                OpAccess::Read | OpAccess::CondRead => (1, 0),
                OpAccess::Write => (0, 1),
                OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite => (1, 1),
                _ => (0, 0),
            };
            accesses.read |= read << n;
            accesses.written |= written << n;
        }
        accesses
    }
    /// Whether operand `n` is read, and whether it is written.
    #[inline]
    pub(super) fn operand(&self, n: u32) -> (bool, bool) {
        (self.read >> n & 1 != 0, self.written >> n & 1 != 0)
    }
}

/// An access that belongs to a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Member {
    /// Which group.
    pub group: u8,
    /// Bytes from the group's first byte.
    pub offset: i32,
}

/// A group.
#[derive(Clone, Copy, Debug)]
pub(super) struct CheckGroup {
    /// Bytes.
    pub bytes: u32,
    /// One of its accesses writes.
    pub write: bool,
    /// A power of two that the address of the byte at the offset must be a multiple of, for all accesses that
    /// must be aligned.
    pub align: Option<(u32, i32)>,
    /// The instruction that has the first access.
    pub first: usize,
    /// The instruction that has the last one.
    pub last: usize,
}

/// What is known of one instruction.
#[derive(Clone, Copy)]
pub(super) struct Step {
    pub accesses: Accesses,
    /// The memory operand's group.
    pub operand: Option<Member>,
    /// The group of what it pushes or pops.
    pub stack: Option<Member>,
    /// General registers that its operands name, a bit each.
    pub registers: u16,
    /// Those that it writes as operands.
    pub written: u16,
    /// Which operand is in memory.
    pub memory: Option<u8>,
    /// It works with what scratch registers hold.
    pub keeps_cached: bool,
}

impl Step {
    /// What the operands of `i` tell.
    fn of(i: &Instruction, kind: Kind, info: &mut InstructionInfoFactory) -> Step {
        let accesses = form(i.code()).accesses(i, info);
        let (mut registers, mut written, mut memory) = (0, 0, None);
        for n in 0..i.op_count() {
            match i.op_kind(n) {
                OpKind::Register if i.op_register(n).is_gpr() => {
                    let bit = 1 << gpr_number(i.op_register(n));
                    registers |= bit;
                    if accesses.operand(n).1 {
                        written |= bit;
                    }
                }
                OpKind::Memory => {
                    memory = memory.or(Some(n as u8));
                    for r in [i.memory_base(), i.memory_index()] {
                        if r.is_gpr() {
                            registers |= 1 << gpr_number(r);
                        }
                    }
                }
                _ => {}
            }
        }
        Step {
            accesses,
            operand: None,
            stack: None,
            registers,
            written,
            memory,
            keeps_cached: keeps_cached(kind),
        }
    }
}

/// The plan of a block.
#[derive(Default)]
pub(super) struct Plan {
    pub steps: Vec<Step>,
    /// What instructions mean for flags.
    pub flags: Vec<FlagStep>,
    /// The block is a loop: the instruction whose flags are there where it begins anew, and their recipe.
    pub looped: Option<(usize, Recipe)>,
    pub groups: Vec<CheckGroup>,
    /// Where groups are found.
    candidates: Vec<Candidate>,
    members: Vec<CandidateMember>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Key {
    base: u32,
    index: u32,
    scale: u32,
}

/// A group while it is found.
struct Candidate {
    key: Key,
    low: i64,
    high: i64,
    write: bool,
    open: bool,
    first: usize,
    last: usize,
    /// How many accesses it has.
    members: usize,
    /// The group that it has become.
    group: Option<u8>,
    /// Offset and size of the access whose alignment is strictest.
    aligned: Option<(i64, i64)>,
    /// Not all accesses that must be aligned can be so at once.
    torn: bool,
}

impl Candidate {
    /// An access of `size` bytes at `at`, that must be aligned. Sizes are powers of two, so that an address
    /// that suits the largest one suits all.
    fn align(&mut self, (at, size): (i64, i64)) {
        let Some((before, strictest)) = self.aligned else {
            self.aligned = Some((at, size));
            return;
        };
        self.torn |= (at - before) % size.min(strictest) != 0;
        if size > strictest {
            self.aligned = Some((at, size));
        }
    }
    /// See [`CheckGroup::align`]; `None` where there is no such number.
    fn common_alignment(&self) -> Option<(u32, i32)> {
        let (at, size) = self.aligned.filter(|_| !self.torn)?;
        Some((size as u32, ((at - self.low) % size) as i32))
    }
}

/// An access, in bytes from its group's root.
struct Place {
    offset: i64,
    bytes: i64,
    write: bool,
    /// It must be aligned to its size.
    aligned: bool,
}

#[derive(Clone, Copy)]
struct Value {
    root: u32,
    delta: i64,
}

/// Follows registers and collects accesses.
struct Tracker<'a> {
    values: [Value; 16],
    next_root: u32,
    candidates: &'a mut Vec<Candidate>,
    members: &'a mut Vec<CandidateMember>,
    mode: u32,
    wide: bool,
}

/// An access of a candidate.
#[derive(Clone, Copy)]
struct CandidateMember {
    candidate: usize,
    instruction: usize,
    /// What it pushes or pops, not its memory operand.
    stack: bool,
    offset: i64,
}

impl Plan {
    /// Makes the plan for a block; without groups where `coalesce` is false.
    pub(super) fn make(
        &mut self,
        instructions: &[Instruction],
        kinds: &[Kind],
        info: &mut InstructionInfoFactory,
        mode: u32,
        wide: bool,
        coalesce: bool,
    ) {
        let Plan { steps, groups, candidates, members, .. } = self;
        steps.clear();
        groups.clear();
        candidates.clear();
        members.clear();
        steps.extend(instructions.iter().zip(kinds).map(|(i, &kind)| Step::of(i, kind, info)));
        if coalesce {
            let values = std::array::from_fn(|n| Value { root: n as u32, delta: 0 });
            let mut tracker = Tracker { values, next_root: 16, candidates, members, mode, wide };
            for (n, (i, kind)) in instructions.iter().zip(kinds).enumerate() {
                tracker.note_accesses(n, i, *kind, &steps[n]);
                tracker.follow(i, *kind, &steps[n]);
            }
            self.coalesce_checks();
        }
        self.plan_flags(instructions, kinds);
        self.looped = None;
        if coalesce {
            self.find_loop(instructions, kinds);
        }
    }
    /// Candidates with several accesses become groups.
    fn coalesce_checks(&mut self) {
        let Plan { steps, groups, candidates, members, .. } = self;
        for c in candidates.iter_mut().filter(|c| c.members > 1).take(MAX_CHECK_GROUPS) {
            c.group = Some(groups.len() as u8);
            let bytes = (c.high - c.low) as u32;
            let align = c.common_alignment();
            groups.push(CheckGroup { bytes, write: c.write, align, first: c.first, last: c.last });
        }
        for m in members {
            let c = &candidates[m.candidate];
            let Some(group) = c.group else { continue };
            let member = Some(Member { group, offset: (m.offset - c.low) as i32 });
            let step = &mut steps[m.instruction];
            if m.stack {
                step.stack = member;
            } else {
                step.operand = member;
            }
        }
    }

    /// Whether a group has its address kept before instruction `n` is over and is used after it.
    pub(super) fn live_across(&self, n: usize) -> bool {
        self.groups.iter().any(|g| g.first <= n && n < g.last)
    }
}

impl Tracker<'_> {
    fn stack_bytes(&self) -> i64 {
        if self.wide { 8 } else { 4 }
    }

    /// The accesses of instruction `n`, before its effects.
    fn note_accesses(&mut self, n: usize, i: &Instruction, kind: Kind, step: &Step) {
        if kind.parts_groups() {
            self.candidates.iter_mut().for_each(|c| c.open = false);
            return;
        }
        if let Some(operand) = step.memory
            && !matches!(
                kind,
                Kind::Lea | Kind::Nothing | Kind::BitString | Kind::CallIndirect | Kind::JmpIndirect
            )
            && let Some((key, offset)) = self.address(i)
        {
            let written = step.accesses.operand(operand as u32).1 || kind == Kind::CompareExchange;
            let aligned = must_be_aligned(i);
            let bytes = i.memory_size().size().max(1) as i64;
            self.add(n, false, key, Place { offset, bytes, write: written, aligned });
        }
        let bytes = self.stack_bytes();
        let rsp = self.values[4];
        let (at, write) = match kind {
            Kind::Push | Kind::PushFlags | Kind::Call => (Value { delta: rsp.delta - bytes, ..rsp }, true),
            Kind::Pop | Kind::PopFlags | Kind::Ret => (rsp, false),
            Kind::Leave => (self.values[5], false),
            _ => return,
        };
        let key = Key { base: at.root, index: NO_ROOT, scale: 1 };
        self.add(n, true, key, Place { offset: at.delta, bytes, write, aligned: false });
    }

    fn add(&mut self, n: usize, stack: bool, key: Key, place: Place) {
        let Place { offset, bytes, write, aligned } = place;
        let end = offset + bytes;
        let aligned = aligned.then_some((offset, bytes));
        let member = |candidate| CandidateMember { candidate, instruction: n, stack, offset };
        for (k, c) in self.candidates.iter_mut().enumerate().filter(|(_, c)| c.open && c.key == key) {
            let (low, high) = (c.low.min(offset), c.high.max(end));
            if high - low <= LONGEST {
                (c.low, c.high, c.write, c.last) = (low, high, c.write | write, n);
                c.members += 1;
                self.members.push(member(k));
                if let Some(aligned) = aligned {
                    c.align(aligned);
                }
                return;
            }
        }
        self.members.push(member(self.candidates.len()));
        let (low, high, open, first, last) = (offset, end, true, n, n);
        self.candidates.push(Candidate {
            key,
            low,
            high,
            write,
            open,
            first,
            last,
            members: 1,
            group: None,
            aligned,
            torn: false,
        });
    }

    /// Root and constant of the memory operand, where its address is one that groups are made of.
    fn address(&self, i: &Instruction) -> Option<(Key, i64)> {
        let natural = if self.wide { 64 } else { 32 };
        if matches!(i.memory_segment(), Register::FS | Register::GS)
            || iced_address_bits(i, self.mode) != natural
        {
            return None;
        }
        let displacement = if self.wide {
            i.memory_displacement64() as i64
        } else {
            i.memory_displacement32() as i32 as i64
        };
        if i.is_ip_rel_memory_operand() {
            return Some((Key { base: RIP_ROOT, index: NO_ROOT, scale: 1 }, displacement));
        }
        let (mut key, mut offset) = (Key { base: NO_ROOT, index: NO_ROOT, scale: 1 }, displacement);
        if i.memory_base() != Register::None {
            let base = self.values[gpr_number(i.memory_base()) as usize & 15];
            key.base = base.root;
            offset += base.delta;
        }
        if i.memory_index() != Register::None {
            let index = self.values[gpr_number(i.memory_index()) as usize & 15];
            key.scale = i.memory_index_scale();
            key.index = index.root;
            offset += index.delta * key.scale as i64;
        }
        i32::try_from(offset).is_ok().then_some((key, offset))
    }

    fn renew(&mut self, n: u8) {
        self.values[n as usize & 15] = Value { root: self.next_root, delta: 0 };
        self.next_root += 1;
    }
    fn shift(&mut self, n: u8, by: i64) {
        let value = &mut self.values[n as usize & 15];
        value.delta += by;
        if i32::try_from(value.delta).is_err() {
            self.renew(n);
        }
    }

    /// The effects of an instruction on registers.
    fn follow(&mut self, i: &Instruction, kind: Kind, step: &Step) {
        const RSP: u8 = 4;
        let bytes = self.stack_bytes();
        match kind {
            Kind::Generic { .. } if self.follow_constant(i) => return,
            Kind::Lea if self.follow_lea(i) => return,
            Kind::Fallback | Kind::FallbackLast => (0..16).for_each(|n| self.renew(n)),
            Kind::Push | Kind::PushFlags | Kind::Call | Kind::CallIndirect => self.shift(RSP, -bytes),
            Kind::Pop | Kind::PopFlags => self.shift(RSP, bytes),
            Kind::Ret => self.shift(RSP, bytes + arguments(i) as i64),
            Kind::Leave => {
                self.values[4] = self.values[5];
                self.shift(RSP, bytes);
                self.renew(5);
            }
            Kind::Extend | Kind::Multiply | Kind::Divide | Kind::CompareExchange => {
                self.renew(0);
                self.renew(2);
            }
            Kind::CompareStrings => self.renew(1),
            // What any of them writes.
            Kind::String | Kind::TimeStamp => [0, 1, 2, 6, 7].into_iter().for_each(|n| self.renew(n)),
            _ => {}
        }
        let mut written = step.written;
        while written != 0 {
            self.renew(written.trailing_zeros() as u8);
            written &= written - 1;
        }
    }

    fn is_full(&self, r: Register) -> bool {
        r.is_gpr() && r.size() as i64 == self.stack_bytes()
    }

    /// MOV, ADD, SUB, INC and DEC that keep the root; false for all others.
    fn follow_constant(&mut self, i: &Instruction) -> bool {
        if i.op_count() == 0 || i.op0_kind() != OpKind::Register || !self.is_full(i.op0_register()) {
            return false;
        }
        let to = gpr_number(i.op0_register());
        let register = i.op_count() == 2 && i.op1_kind() == OpKind::Register;
        let constant = (i.op_count() == 2 && i.op1_kind() != OpKind::Memory && !register)
            .then(|| i.try_immediate(1).ok())
            .flatten();
        let constant = constant.map(|c| if self.wide { c as i64 } else { c as i32 as i64 });
        match (i.mnemonic(), constant) {
            (Mnemonic::Mov, None) if register && self.is_full(i.op1_register()) => {
                self.values[to as usize] = self.values[gpr_number(i.op1_register()) as usize & 15];
            }
            (Mnemonic::Add, Some(c)) if i32::try_from(c).is_ok() => self.shift(to, c),
            (Mnemonic::Sub, Some(c)) if i32::try_from(c).is_ok() => self.shift(to, -c),
            (Mnemonic::Inc, _) => self.shift(to, 1),
            (Mnemonic::Dec, _) => self.shift(to, -1),
            _ => return false,
        }
        true
    }
    /// LEA of a register plus a constant.
    fn follow_lea(&mut self, i: &Instruction) -> bool {
        let natural = if self.wide { 64 } else { 32 };
        if !self.is_full(i.op0_register())
            || i.memory_index() != Register::None
            || i.memory_base() == Register::None
            || i.is_ip_rel_memory_operand()
            || iced_address_bits(i, self.mode) != natural
        {
            return false;
        }
        let to = gpr_number(i.op0_register());
        self.values[to as usize] = self.values[gpr_number(i.memory_base()) as usize & 15];
        let displacement = i.memory_displacement64();
        self.shift(to, if self.wide { displacement as i64 } else { displacement as i32 as i64 });
        true
    }
}
