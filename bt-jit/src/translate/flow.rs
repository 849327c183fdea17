//! Transfers of control: direct jumps become links, indirect ones look into the jump table.

use super::address::Access;
use super::cold::Cold;
use super::{OpenLink, Translator};
use crate::emitter::{AluOp, Condition, Label, Mem, Width};
use crate::layout::{JUMP_KEY, RSP, SPARE, T0, T1, T2, page_rip, state};
use crate::thunks::probe_jump_table;
use iced_x86::{Instruction, OpKind};

/// Bytes of arguments that RET takes off the stack.
pub(super) fn arguments(i: &Instruction) -> u16 {
    if i.op_count() > 0 { i.immediate16() } else { 0 }
}

/// What happens where the jump table does not have the target, which is in T1.
pub(super) struct Miss {
    /// The instruction, to be stepped where the target is not canonical.
    offset: u16,
    left: u8,
    /// Added to the stack pointer before the jump (RET).
    pop: Option<i32>,
}

fn condition(number: u8) -> Condition {
    use Condition as C;
    [
        C::Overflow,
        C::NotOverflow,
        C::Below,
        C::AboveOrEqual,
        C::Equal,
        C::NotEqual,
        C::BelowOrEqual,
        C::Above,
        C::Sign,
        C::NotSign,
        C::Parity,
        C::NotParity,
        C::Less,
        C::GreaterOrEqual,
        C::LessOrEqual,
        C::Greater,
    ][number as usize & 15]
}

/// The condition of a Jcc, by its number in opcodes.
fn condition_of(i: &Instruction) -> Condition {
    use iced_x86::ConditionCode as N;
    condition(match i.condition_code() {
        N::o | N::None => 0,
        N::no => 1,
        N::b => 2,
        N::ae => 3,
        N::e => 4,
        N::ne => 5,
        N::be => 6,
        N::a => 7,
        N::s => 8,
        N::ns => 9,
        N::p => 10,
        N::np => 11,
        N::l => 12,
        N::ge => 13,
        N::le => 14,
        N::g => 15,
    })
}

/// The target's offset from the first byte of the page, for which the decoder's RIP was 0.
pub(super) fn target_of(i: &Instruction) -> Option<i32> {
    match i.op0_kind() {
        OpKind::NearBranch64 => i32::try_from(i.near_branch64() as i64).ok(),
        _ => Some(i.near_branch32() as i32),
    }
}

impl Translator<'_> {
    /// Goes to the code at `target` bytes from the page's start. Flags are in memory.
    pub(super) fn go_to(&mut self, target: i32) {
        let stub = self.e.label();
        let page = target >> 12;
        if page == 0 {
            let patch_at = self.e.jmp_to_patch();
            self.open_links.push(OpenLink { patch_at, stub, target, key: None, uncoalesced: false });
            return;
        }
        // The page may be mapped otherwise the next time: the link holds for one key.
        let key = self.e.mov_key(T2);
        self.e.alu_rm(AluOp::Cmp, Width::Qword, T2, state(JUMP_KEY));
        self.e.jcc(Condition::NotEqual, stub);
        let width = self.stack_width();
        self.e.alu_mi(AluOp::Add, width, page_rip(), page << 12);
        let patch_at = self.e.jmp_to_patch();
        self.open_links.push(OpenLink { patch_at, stub, target, key: Some(key), uncoalesced: false });
    }
    /// Goes to the code at `offset` in this page, in its variant without check coalescing. Flags are in memory.
    pub(super) fn go_to_uncoalesced(&mut self, offset: u16) {
        let target = offset as i32;
        if target >> 12 != 0 {
            return self.go_to(target);
        }
        let stub = self.e.label();
        let patch_at = self.e.jmp_to_patch();
        self.open_links.push(OpenLink { patch_at, stub, target, key: None, uncoalesced: true });
    }
    /// Has the code at `target` bytes from the page's start looked up: what ran may have changed the mode.
    pub(super) fn look_up(&mut self, target: i32) {
        self.e.mov_rm(Width::Qword, T1, page_rip());
        let width = self.stack_width();
        self.e.lea(width, T1, Mem::base(T1, target));
        self.e.jmp_placed(self.thunks.lookup);
    }
    /// Has the instruction under translation stepped.
    pub(super) fn step_here(&mut self) {
        self.refund(self.left + 1);
        self.e.mov_ri(T0, self.offset as u64);
        self.e.jmp_placed(self.thunks.exit_step);
    }
    pub(super) fn step_label(&mut self) -> Label {
        let at = self.e.label();
        let lost = self.lost_flags();
        self.cold.push(Cold::Step { at, lost, offset: self.offset, refund: self.left + 1 });
        at
    }

    /// Jcc.
    pub(super) fn jcc(&mut self, i: &Instruction) {
        let Some(target) = target_of(i) else {
            // Only code at the ends of the address space reaches so far.
            self.spill_all();
            let skip = self.e.label();
            self.need_flags();
            self.e.jcc(condition_of(&negated(i)), skip);
            self.save_flags();
            self.step_here();
            self.e.bind(skip);
            return;
        };
        let carry = matches!(condition_of(i), Condition::Below | Condition::AboveOrEqual);
        if carry && self.flags == super::Flags::Memory {
            self.load_carry();
        } else {
            self.need_flags();
        }
        if self.left == 0 && self.loop_jump(condition_of(i)) {
            return;
        }
        if self.left == 0 {
            self.spill_all();
            self.save_flags(); // both ways want them in memory
        }
        let save_flags = self.flags == super::Flags::Host;
        if target >> 12 == 0 && !save_flags && self.left == 0 {
            let patch_at = self.e.jcc_to_patch(condition_of(i));
            let stub = self.e.label();
            self.open_links.push(OpenLink { patch_at, stub, target, key: None, uncoalesced: false });
            return;
        }
        let at = self.e.label();
        self.e.jcc(condition_of(i), at);
        let newer = self.scratch.registers(true);
        self.cold.push(Cold::Taken { at, save_flags, refund: self.left, target, newer });
    }

    /// JMP.
    pub(super) fn jmp(&mut self, i: &Instruction) -> bool {
        self.save_flags();
        match target_of(i) {
            Some(target) => self.go_to(target),
            None => self.step_here(),
        }
        true
    }

    /// CALL.
    pub(super) fn call(&mut self, i: &Instruction) -> bool {
        if self.goes_on {
            if self.plan.steps[self.number].stack.is_none() {
                self.spill_for_check();
            }
            let at = self.push_address(None);
            self.push_return(at);
            return false; // at the target
        }
        self.spill_flags();
        let Some(target) = target_of(i) else {
            self.step_here();
            return true;
        };
        let at = self.push_address(None);
        self.push_return(at);
        self.go_to(target);
        true
    }
    /// Stores the address of the next instruction at T1 plus `displacement` and moves the stack pointer. Destroys T2.
    fn push_return(&mut self, displacement: i32) {
        let (bytes, width) = (self.stack_bytes(), self.stack_width());
        self.e.mov_rm(Width::Qword, T2, page_rip());
        self.e.lea(width, T2, Mem::base(T2, self.offset as i32 + self.len as i32));
        self.e.mov_mr(width, Mem::base(T1, displacement), T2);
        self.move_stack(-bytes);
    }

    /// The target of an indirect jump to T1. What the table does not have is stepped.
    fn indirect_target(&mut self, i: &Instruction, slow: Label) {
        let width = self.stack_width();
        if i.op0_kind() == OpKind::Memory {
            self.spill_flags();
            self.linear_operand(i, 0);
            self.check(self.stack_bytes() as u32, Access::Read, false, slow);
            self.e.mov_rm(width, T1, Mem::base(T1, 0));
            return;
        }
        let n = super::address::gpr_number(i.op0_register());
        let host = self.register_in(n, T1);
        if host != T1 {
            self.e.mov_rr(width, T1, host);
        }
    }

    /// JMP to an address in a register or in memory.
    pub(super) fn jmp_indirect(&mut self, i: &Instruction) -> bool {
        self.spill_flags();
        let slow = self.step_label();
        self.indirect_target(i, slow);
        self.jump_to_t1(None);
        true
    }

    /// CALL of an address in a register or in memory.
    pub(super) fn call_indirect(&mut self, i: &Instruction) -> bool {
        self.spill_flags();
        let slow = self.step_label();
        self.indirect_target(i, slow);
        if self.wide {
            // A target that is not canonical faults before anything is pushed.
            self.e.mov_rr(Width::Qword, T0, T1);
            self.e.shift_ri(7, Width::Qword, T0, 47);
            self.e.alu_ri(AluOp::Add, Width::Qword, T0, 1);
            self.e.alu_ri(AluOp::Cmp, Width::Qword, T0, 1);
            self.e.jcc(Condition::Above, slow);
        }
        self.e.mov_mr(Width::Qword, state(SPARE), T1);
        let at = self.push_address(Some(slow));
        self.push_return(at);
        self.e.mov_rm(Width::Qword, T1, state(SPARE));
        self.jump_to_t1(None);
        true
    }

    /// RET.
    pub(super) fn ret(&mut self, i: &Instruction, next: Option<u16>) -> bool {
        let pop = self.stack_bytes() + arguments(i) as i32;
        self.spill_flags_unless_grouped();
        let at = self.pop_address(None);
        let width = self.stack_width();
        self.e.mov_rm(width, T1, Mem::base(T1, at));
        self.spill_flags();
        let Some(next) = next else {
            self.jump_to_t1(Some(pop));
            return true;
        };
        self.e.mov_rm(Width::Qword, T2, page_rip());
        self.e.lea(width, T2, Mem::base(T2, next as i32));
        self.e.alu_rr(AluOp::Cmp, Width::Qword, T1, T2);
        let at = self.e.label();
        self.e.jcc(Condition::NotEqual, at);
        let work = Miss { offset: self.offset, left: 0, pop: Some(pop) };
        self.cold.push(Cold::ReturnElsewhere { at, work, refund: self.left });
        self.move_stack(pop);
        false
    }
    /// Cold: RET does not lead back to the CALL that the block has followed. Flags are in memory.
    pub(super) fn return_elsewhere(&mut self, work: Miss, refund: u8) {
        self.refund(refund);
        let miss = self.e.label();
        probe_jump_table(self.e, miss, work.pop.map(|bytes| (self.stack_width(), bytes)));
        self.e.bind(miss);
        self.miss(work);
    }
    /// The instruction accesses the stack, and only that: puts the flags into memory if that takes a check.
    fn spill_flags_unless_grouped(&mut self) {
        if self.plan.steps[self.number].stack.is_none() {
            self.spill_flags();
        }
    }

    /// Jumps to the guest address in T1, through the table. Flags are in memory.
    fn jump_to_t1(&mut self, pop: Option<i32>) {
        let at = self.e.label();
        self.cold.push(Cold::Miss { at, work: Miss { offset: self.offset, left: self.left, pop } });
        let pop = pop.map(|bytes| (self.stack_width(), bytes));
        probe_jump_table(self.e, at, pop);
    }
    /// Cold: the table does not have the target.
    pub(super) fn miss(&mut self, work: Miss) {
        if self.wide {
            let canonical = self.e.label();
            self.e.mov_rr(Width::Qword, T0, T1);
            self.e.shift_ri(4, Width::Qword, T0, 16);
            self.e.shift_ri(7, Width::Qword, T0, 16);
            self.e.alu_rr(AluOp::Cmp, Width::Qword, T0, T1);
            self.e.jcc(Condition::Equal, canonical);
            // Nothing has been committed: CALL has checked its target before.
            self.refund(work.left + 1);
            self.e.mov_ri(T0, work.offset as u64);
            self.e.jmp_placed(self.thunks.exit_step);
            self.e.bind(canonical);
        }
        if let Some(bytes) = work.pop {
            self.e.lea(self.stack_width(), RSP, Mem::base(RSP, bytes));
        }
        self.e.jmp_placed(self.thunks.lookup);
    }
}

/// The Jcc with the opposite condition.
fn negated(i: &Instruction) -> Instruction {
    let mut n = *i;
    n.negate_condition_code();
    n
}
