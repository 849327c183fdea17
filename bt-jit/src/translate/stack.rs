//! PUSH, POP and LEAVE.

use super::address::{Access, Pending, gpr_number};
use super::{Flags, Translator};
use crate::emitter::{Label, Mem, Reg, Width};
use crate::layout::{HOST, RSP, T1, T2, gpr};
use iced_x86::{Instruction, OpKind};

impl Translator<'_> {
    /// Bytes that PUSH moves.
    pub(super) fn stack_bytes(&self) -> i32 {
        if self.wide { 8 } else { 4 }
    }
    pub(super) fn stack_width(&self) -> Width {
        if self.wide { Width::Qword } else { Width::Dword }
    }
    /// Moves the stack pointer. Keeps flags.
    pub(super) fn move_stack(&mut self, by: i32) {
        let width = self.stack_width();
        self.e.lea(width, RSP, Mem::base(RSP, by));
    }
    /// Makes the place that PUSH writes reachable: T1 plus the displacement that is returned. Where the
    /// table does not have it: `slow`, or the instruction is stepped. Destroys T0 and flags,
    /// which must be in memory unless the access belongs to a group.
    pub(super) fn push_address(&mut self, slow: Option<Label>) -> i32 {
        let bytes = self.stack_bytes();
        self.stack_address(RSP, -bytes, Access::Write, slow)
    }
    /// The same for the place that POP reads.
    pub(super) fn pop_address(&mut self, slow: Option<Label>) -> i32 {
        self.stack_address(RSP, 0, Access::Read, slow)
    }
    fn stack_address(&mut self, base: Reg, offset: i32, access: Access, slow: Option<Label>) -> i32 {
        let (bytes, width) = (self.stack_bytes(), self.stack_width());
        let Some(member) = self.plan.steps[self.number].stack else {
            let slow = slow.unwrap_or_else(|| self.step_label());
            self.e.lea(width, T1, Mem::base(base, offset));
            self.check(bytes as u32, access, false, slow);
            return 0;
        };
        if self.establishes(member) {
            self.spill_for_check();
            self.e.lea(width, T1, Mem::base(base, offset - member.offset));
            self.establish(member);
        } else {
            self.group_address(member);
        }
        member.offset
    }
    /// The slow path of an instruction that only accesses the stack; `None` where it needs none.
    pub(super) fn stack_pending(&mut self) -> Option<Pending> {
        if self.plan.steps[self.number].stack.is_some() {
            return None;
        }
        self.spill_for_check();
        let slow = self.e.label();
        Some(self.pending(slow))
    }
    pub(super) fn finish_stack(&mut self, pending: Option<Pending>) {
        if let Some(pending) = pending {
            debug_assert!(matches!(self.flags, Flags::Memory | Flags::Recipe));
            self.resume(pending);
        }
    }

    /// PUSH of a register, an immediate or memory.
    pub(super) fn push(&mut self, i: &Instruction) {
        let (bytes, width) = (self.stack_bytes(), self.stack_width());
        let pending = if i.op0_kind() == OpKind::Memory {
            let operand = self.operand(i, Access::Read);
            self.e.mov_rm(width, T2, Mem::base(T1, operand.displacement));
            operand.pending.or_else(|| self.stack_pending())
        } else {
            self.stack_pending()
        };
        let at = self.push_address(pending.as_ref().map(Pending::slow_label));
        let place = Mem::base(T1, at);
        match i.op0_kind() {
            OpKind::Register => {
                let host = self.register_in(gpr_number(i.op0_register()), T2);
                self.e.mov_mr(width, place, host);
            }
            OpKind::Memory => self.e.mov_mr(width, place, T2),
            _ => self.e.mov_mi(width, place, i.immediate(0) as i32),
        }
        self.move_stack(-bytes);
        self.finish_stack(pending);
    }

    /// POP to a register.
    pub(super) fn pop(&mut self, i: &Instruction) {
        let (bytes, width) = (self.stack_bytes(), self.stack_width());
        let pending = self.stack_pending();
        let at = self.pop_address(pending.as_ref().map(Pending::slow_label));
        let n = gpr_number(i.op0_register());
        let host = HOST[n as usize].unwrap_or(T2);
        self.e.mov_rm(width, host, Mem::base(T1, at));
        if host == T2 {
            self.e.mov_mr(Width::Qword, gpr(n), T2);
        }
        if host != RSP {
            self.move_stack(bytes);
        }
        self.finish_stack(pending);
    }

    /// LEAVE.
    pub(super) fn leave(&mut self) {
        let (bytes, width) = (self.stack_bytes(), self.stack_width());
        let pending = self.stack_pending();
        let slow = pending.as_ref().map(Pending::slow_label);
        let at = self.stack_address(Reg::Rbp, 0, Access::Read, slow);
        // The access comes first: where an empty inline cache let it through, the instruction begins anew.
        self.e.mov_rm(width, T2, Mem::base(T1, at));
        self.e.lea(width, RSP, Mem::base(Reg::Rbp, bytes));
        self.e.mov_rr(width, Reg::Rbp, T2);
        self.finish_stack(pending);
    }
}
