//! PUSH, POP and LEAVE.

use super::address::{Access, Pending, gpr_number};
use super::{Flags, Translator};
use crate::emitter::{Mem, Reg, Width};
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
    /// Puts the host address of the place that PUSH writes into T1. Destroys T0 and flags.
    pub(super) fn push_address(&mut self, slow: crate::emitter::Label) {
        let (bytes, width) = (self.stack_bytes(), self.stack_width());
        self.e.lea(width, T1, Mem::base(RSP, -bytes));
        self.check(bytes as u32, Access::Write, false, slow);
    }
    /// Puts the host address of the place that POP reads into T1. Destroys T0 and flags.
    pub(super) fn pop_address(&mut self, slow: crate::emitter::Label) {
        let (bytes, width) = (self.stack_bytes(), self.stack_width());
        self.e.mov_rr(width, T1, RSP);
        self.check(bytes as u32, Access::Read, false, slow);
    }

    /// PUSH of a register, an immediate or memory.
    pub(super) fn push(&mut self, i: &Instruction) {
        let (bytes, width) = (self.stack_bytes(), self.stack_width());
        let pending = if i.op0_kind() == OpKind::Memory {
            let pending = self.operand_address(i, Access::Read);
            self.e.mov_rm(width, T2, Mem::base(T1, 0));
            pending
        } else {
            self.spill_flags();
            let slow = self.e.label();
            self.pending(slow)
        };
        self.push_address(pending.slow_label());
        match i.op0_kind() {
            OpKind::Register => {
                let host = self.register_in(gpr_number(i.op0_register()), T2);
                self.e.mov_mr(width, Mem::base(T1, 0), host);
            }
            OpKind::Memory => self.e.mov_mr(width, Mem::base(T1, 0), T2),
            _ => self.e.mov_mi(width, Mem::base(T1, 0), i.immediate(0) as i32),
        }
        self.move_stack(-bytes);
        self.finish_stack(pending);
    }
    fn finish_stack(&mut self, pending: Pending) {
        self.flags = Flags::Memory;
        self.resume(pending);
    }

    /// POP to a register.
    pub(super) fn pop(&mut self, i: &Instruction) {
        let (bytes, width) = (self.stack_bytes(), self.stack_width());
        self.spill_flags();
        let slow = self.e.label();
        let pending = self.pending(slow);
        self.pop_address(slow);
        let n = gpr_number(i.op0_register());
        let host = HOST[n as usize].unwrap_or(T2);
        self.e.mov_rm(width, host, Mem::base(T1, 0));
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
        self.spill_flags();
        let slow = self.e.label();
        let pending = self.pending(slow);
        self.e.mov_rr(width, T1, Reg::Rbp);
        self.check(bytes as u32, Access::Read, false, slow);
        self.e.lea(width, RSP, Mem::base(Reg::Rbp, bytes));
        self.e.mov_rm(width, Reg::Rbp, Mem::base(T1, 0));
        self.finish_stack(pending);
    }
}
