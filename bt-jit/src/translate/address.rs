//! Memory operands: the linear address, and the inline check against the shadow page table.

use super::classify::must_be_aligned;
use super::cold::{After, Cold};
use super::plan::Member;
use super::rematerialize::{Keeps, Recipe};
use super::{Flags, Translator};
use crate::emitter::{AluOp, Condition, Label, Mem, Reg, Scale, Width};
use crate::engine_area::INLINE_CACHES;
use crate::layout::{
    CHECK_GROUPS, HOST, HOST_PAGE, READ_TAG, T0, T1, T2, TLB, WRITE_TAG, ic_delta, ic_tag, page_rip,
    segment_base, state, table_entry,
};
use crate::thunks::inline_cache;
use iced_x86::{Instruction, Register};
use trimotor_cpu_interp::core::mode;
use trimotor_cpu_interp::lower::iced_address_bits;

/// What an access does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Access {
    Read,
    Write,
}

/// The number of a general register, of any size.
#[inline]
pub(super) fn gpr_number(r: Register) -> u8 {
    let wide = (r as u32).wrapping_sub(Register::AX as u32);
    if wide < 3 * 16 {
        return wide as u8 & 15;
    }
    match (r as u32).wrapping_sub(Register::AL as u32) {
        low @ 0..4 => low as u8,
        // AH and its kin, then SPL and all that follow.
        other @ 4..20 => other as u8 - 4,
        _ => r.full_register().number() as u8,
    }
}

fn scale_of(i: &Instruction) -> Scale {
    match i.memory_index_scale() {
        1 => Scale::One,
        2 => Scale::Two,
        4 => Scale::Four,
        _ => Scale::Eight,
    }
}

/// A constant of an address, which is cut to `width`, as two displacements: an instruction's own, the place in the
/// page that RIP is counted from and the way to a group's first byte may come to more than one holds.
fn displacements(width: Width, constant: i64) -> (i32, i32) {
    if width != Width::Qword {
        return (constant as i32, 0);
    }
    let near = constant.clamp(i32::MIN.into(), i32::MAX.into());
    (near as i32, (constant - near) as i32)
}

impl Translator<'_> {
    /// Puts the effective address of the memory operand plus `more` into `to`, cut to its size. May destroy
    /// T1 and T2; keeps flags.
    pub(super) fn effective_address(&mut self, i: &Instruction, to: Reg, more: i32) {
        let bits = iced_address_bits(i, self.source.mode);
        let width = if bits == 64 { Width::Qword } else { Width::Dword };
        self.address_as(i, to, more, width);
    }
    /// The same, cut to `width`, which is not wider than the address is.
    pub(super) fn address_as(&mut self, i: &Instruction, to: Reg, more: i32, width: Width) {
        let bits = iced_address_bits(i, self.source.mode);
        let displacement = i.memory_displacement64();
        if i.is_ip_rel_memory_operand() {
            // The decoder counted RIP from the page's first byte.
            self.e.mov_rm(Width::Qword, to, page_rip());
            let relative = if bits == 64 { displacement as i64 } else { displacement as i32 as i64 };
            let (near, rest) = displacements(width, relative + more as i64);
            self.e.lea(width, to, Mem::base(to, near));
            return self.move_on(width, to, rest);
        }
        let (displacement, rest) = displacements(width, displacement as i32 as i64 + more as i64);
        let base = i.memory_base();
        let index = i.memory_index();
        let cached = (index != Register::None).then(|| self.scratch.holder(gpr_number(index))).flatten();
        let free =
            if cached == Some(T1) || self.is_kept_for_later(base) && cached != Some(T2) { T2 } else { T1 };
        let base = (base != Register::None).then(|| self.address_register(base, free));
        let free = if base == Some(T2) { T1 } else { T2 };
        let index = (index != Register::None).then(|| (self.address_register(index, free), scale_of(i)));
        let place = match (base, index) {
            (Some(base), Some((index, scale))) => Mem::indexed(base, index, scale, displacement),
            (Some(base), None) if displacement == 0 => {
                if base != to || width == Width::Dword {
                    self.e.mov_rr(width, to, base);
                }
                return;
            }
            (Some(base), None) => Mem::base(base, displacement),
            (None, index) => Mem::without_base(index, displacement),
        };
        self.e.lea(width, to, place);
        self.move_on(width, to, rest);
    }
    /// Adds what one displacement did not hold to the address in `to`. Keeps flags.
    fn move_on(&mut self, width: Width, to: Reg, rest: i32) {
        if rest != 0 {
            self.e.lea(width, to, Mem::base(to, rest));
        }
    }
    /// Whether the base of an address is better loaded into T2, which checks leave alone: it is used again soon, and
    /// T2 is free.
    fn is_kept_for_later(&self, base: Register) -> bool {
        base != Register::None && self.scratch.is_empty(T2) && self.used_soon(gpr_number(base))
    }
    /// A host register with the guest register: its own, or `free`.
    fn address_register(&mut self, r: Register, free: Reg) -> Reg {
        let n = gpr_number(r);
        match HOST[n as usize & 15] {
            Some(host) => host,
            None => self.cached_or_loaded(n, free),
        }
    }

    /// Puts the linear address of the memory operand plus `more` into T1. Destroys flags and T2.
    pub(super) fn linear_operand(&mut self, i: &Instruction, more: i32) {
        self.write_back();
        self.effective_address(i, T1, more);
        self.scratch.forget(T1);
        let width = if self.wide { Width::Qword } else { Width::Dword };
        match i.memory_segment() {
            Register::FS => self.e.alu_rm(AluOp::Add, width, T1, segment_base(4)),
            Register::GS => self.e.alu_rm(AluOp::Add, width, T1, segment_base(5)),
            _ => {}
        }
    }

    /// Turns the linear address in T1 into the host address of `bytes` bytes, or goes to `slow`.
    /// Destroys T0 and flags, which must be in memory.
    pub(super) fn check(&mut self, bytes: u32, access: Access, aligned: bool, slow: Label) {
        debug_assert!(matches!(self.flags, Flags::Memory | Flags::Recipe));
        // What no check lets through finds the state in memory.
        self.write_back();
        self.scratch.forget(T0);
        self.scratch.forget(T1);
        if self.source.mode & mode::USER != 0 {
            return self.check_inline_cache(bytes, access, aligned, slow);
        }
        self.check_by_table(bytes, access, aligned, slow);
    }
    /// The same by the table.
    pub(super) fn check_by_table(&mut self, bytes: u32, access: Access, aligned: bool, slow: Label) {
        let tag = if access == Access::Write { WRITE_TAG } else { READ_TAG };
        self.table_entry();
        self.e.alu_rm(AluOp::Sub, Width::Qword, T1, Mem::base(T0, tag));
        if aligned {
            self.e.test_ri(Width::Dword, T1, bytes as i32 - 1);
            self.e.jcc(Condition::NotEqual, slow);
        }
        self.e.alu_ri(AluOp::Cmp, Width::Qword, T1, 4096 - bytes as i32);
        self.e.jcc(Condition::Above, slow);
        self.e.alu_rm(AluOp::Add, Width::Qword, T1, Mem::base(T0, HOST_PAGE));
    }

    /// The same in user code: looks into an inline cache of the site's own first, which needs no index.
    fn check_inline_cache(&mut self, bytes: u32, access: Access, aligned: bool, slow: Label) {
        let half = INLINE_CACHES as u32 / 2;
        let number = (self.source.first_ic + self.out.inline_caches) % half;
        self.out.inline_caches += 1;
        let ic = if access == Access::Write { half + number } else { number };
        let by_table = self.e.label();
        self.open_ics.push((ic, self.e.offset(), by_table));
        self.e.mov_rr(Width::Qword, T0, T1);
        self.e.alu_rm(AluOp::Sub, Width::Qword, T0, state(ic_tag(ic)));
        if aligned {
            self.e.test_ri(Width::Dword, T0, bytes as i32 - 1);
            self.e.jcc(Condition::NotEqual, slow);
        }
        self.e.alu_ri(AluOp::Cmp, Width::Qword, T0, 4096 - bytes as i32);
        let at = self.e.label();
        self.e.jcc(Condition::Above, at);
        self.e.alu_rm(AluOp::Add, Width::Qword, T1, state(ic_delta(ic)));
        let resume = self.e.label();
        self.e.bind(resume);
        let write = access == Access::Write;
        self.cold.push(Cold::FillInlineCache { at, ic, bytes, write, slow, resume });
        self.cold.push(Cold::ByTable { at: by_table, ic, bytes, access, aligned, slow, resume });
    }
    /// Cold: looks into the table, and takes the page into the inline cache if it was the last one asked for too.
    /// Keeps T2.
    pub(super) fn fill_ic(&mut self, ic: u32, bytes: u32, write: bool, slow: Label, resume: Label) {
        self.e.mov_ri(T0, inline_cache::request(ic, bytes) as u64);
        self.e.call_placed(if write { self.thunks.fill_write } else { self.thunks.fill_read });
        self.e.jcc(Condition::BelowOrEqual, resume);
        self.e.jmp(slow);
    }

    /// Puts the address of the table's entry for the linear address in T1 into T0. Destroys flags.
    pub(super) fn table_entry(&mut self) {
        table_entry(self.e, state(TLB));
    }

    /// Makes the memory operand reachable by T1: its host address is T1 plus the displacement that is
    /// returned. Where the table does not have it, the instruction falls back to the interpreter or the block goes on
    /// without groups. A check destroys flags (which go to memory), T0 and T2. The cold
    /// code that may be pending is finished by [`resume`](Self::resume).
    pub(super) fn operand(&mut self, i: &Instruction, access: Access) -> Operand {
        let bytes = i.memory_size().size().max(1) as u32;
        let aligned = must_be_aligned(i);
        if let Some(member) = self.plan.steps[self.number].operand {
            if self.establishes(member) {
                self.spill_for_check();
                let back = -member.offset;
                self.linear_operand(i, back);
                self.establish(member);
            } else {
                self.group_address(member);
            }
            let checked = self.plan.groups[member.group as usize].align.is_some();
            let pending = (aligned && !checked).then(|| self.check_alignment(member.offset, bytes));
            return Operand { displacement: member.offset, pending };
        }
        self.spill_for_check();
        self.linear_operand(i, 0);
        let slow = self.e.label();
        self.check(bytes, access, aligned, slow);
        Operand { displacement: 0, pending: Some(self.pending(slow)) }
    }

    // ---- groups ----

    /// Whether the instruction has its group's first access, and has not made it yet.
    pub(super) fn establishes(&self, member: Member) -> bool {
        self.established & 1 << member.group == 0
    }
    /// Turns the linear address of the group's first byte, in T1, into its host address, and keeps it. Where
    /// the group does not lie in one page of the table, the block goes on without check coalescing from this
    /// instruction on. Destroys T0 and flags, which must be in memory.
    pub(super) fn establish(&mut self, member: Member) {
        let group = self.plan.groups[member.group as usize];
        let access = if group.write { Access::Write } else { Access::Read };
        let at = self.e.label();
        if let Some((bytes, offset)) = group.align {
            let place = if offset == 0 { T1 } else { T0 };
            if place == T0 {
                self.spill(T0);
                self.e.lea(Width::Dword, T0, Mem::base(T1, offset));
            }
            self.e.test_ri(Width::Dword, place, bytes as i32 - 1);
            self.e.jcc(Condition::NotEqual, at);
        }
        self.check(group.bytes, access, false, at);
        let lost = self.lost_flags();
        self.cold.push(Cold::Uncoalesced { at, lost, offset: self.offset, refund: self.left + 1 });
        self.e.mov_mr(Width::Qword, state(CHECK_GROUPS + member.group as i32 * 8), T1);
        self.established |= 1 << member.group;
        self.scratch.set_group(member.group);
    }
    /// Puts the host address of the group's first byte into T1. Keeps flags.
    pub(super) fn group_address(&mut self, member: Member) {
        if self.scratch.has_group(member.group) {
            return;
        }
        self.spill(T1);
        self.scratch.set_group(member.group);
        self.e.mov_rm(Width::Qword, T1, state(CHECK_GROUPS + member.group as i32 * 8));
    }
    /// Hands the instruction over where T1 plus `displacement` is not aligned.
    fn check_alignment(&mut self, displacement: i32, bytes: u32) -> Pending {
        self.spill_for_check();
        self.write_back();
        self.spill(T0);
        self.e.lea(Width::Dword, T0, Mem::base(T1, displacement));
        self.e.test_ri(Width::Dword, T0, bytes as i32 - 1);
        let slow = self.e.label();
        self.e.jcc(Condition::NotEqual, slow);
        self.pending(slow)
    }

    /// The cold code of an access whose slow path is interpreter fallback.
    pub(super) fn pending(&mut self, slow: Label) -> Pending {
        Pending { slow, site: self.fallback_site(), lost: self.lost_flags() }
    }
    /// Here the slow path of an access comes back.
    pub(super) fn resume(&mut self, pending: Pending) {
        let resume = self.e.label();
        self.e.bind(resume);
        // What the interpreter did may have changed what the kept addresses of groups rest on.
        // What it keeps for the recipe of its flags is not there behind the slow path.
        let keeps = self.plan.recipe(self.number).is_some_and(|r| r.keeps != Keeps::Nothing);
        let way = if self.plan.live_across(self.number) || keeps {
            After::Uncoalesced { next: self.offset + self.len as u16, refund: self.left }
        } else {
            self.scratch.forget_groups();
            After::Resume { at: resume, reload: self.scratch.registers(false) }
        };
        self.cold.push(Cold::Op { at: pending.slow, lost: pending.lost, site: pending.site, way });
    }
}

/// A memory operand that can be reached.
#[must_use]
pub(super) struct Operand {
    /// From T1.
    pub displacement: i32,
    pub pending: Option<Pending>,
}

/// A slow path that is not finished.
#[must_use]
pub(super) struct Pending {
    slow: Label,
    site: u32,
    /// How the flags get into memory there.
    lost: Option<Recipe>,
}

impl Pending {
    /// Where further checks of the same instruction go.
    pub(super) fn slow_label(&self) -> Label {
        self.slow
    }
}
