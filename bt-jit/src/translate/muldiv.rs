//! Multiplication and division with the implicit register pair.

use super::address::{Access, gpr_number};
use super::generic::point_at;
use super::operands::{sized, width_of};
use super::{Flags, Translator};
use crate::emitter::{AluOp, Condition, Mem, Reg, Width};
use crate::layout::{RAX, T0, T1, T2};
use iced_x86::{Instruction, Mnemonic, OpKind};

impl Translator<'_> {
    /// MUL and IMUL of the accumulator.
    pub(super) fn multiply(&mut self, i: &Instruction) {
        let mut g = *i;
        let mut pending = None;
        if i.op0_kind() == OpKind::Memory {
            let operand = self.operand(i, Access::Read);
            point_at(&mut g, sized(T1, 8), operand.displacement);
            pending = operand.pending;
        }
        if i.op0_kind() == OpKind::Register {
            let r = i.op0_register();
            let host = self.register_in(gpr_number(r), T2);
            g.set_op0_register(sized(host, r.size()));
        }
        self.e.mov_rr(Width::Qword, T0, RAX);
        self.encode(&g);
        self.e.mov_rr(Width::Qword, RAX, T0);
        self.flags_are(Flags::Product);
        if let Some(pending) = pending {
            self.resume(pending);
        }
    }

    /// DIV and IDIV. What would raise #DE, and dividends that are not extended from the lower half
    /// (signed), fall back to the interpreter. Flags stay as they are.
    pub(super) fn divide(&mut self, i: &Instruction) {
        let (bytes, pending) = if i.op0_kind() == OpKind::Memory {
            let bytes = i.memory_size().size();
            let operand = self.operand(i, Access::Read);
            self.e.mov_rm(width_of(bytes), T2, Mem::base(T1, operand.displacement));
            // The checks below destroy flags.
            self.spill_flags();
            let pending = operand.pending.unwrap_or_else(|| {
                let slow = self.e.label();
                self.pending(slow)
            });
            (bytes, pending)
        } else {
            self.spill_flags();
            let bytes = i.op0_register().size();
            let host = self.register_in(gpr_number(i.op0_register()), T2);
            if host != T2 {
                self.e.mov_rr(width_of(bytes), T2, host);
            }
            let slow = self.e.label();
            (bytes, self.pending(slow))
        };
        let width = width_of(bytes);
        let slow = pending.slow_label();
        if i.mnemonic() == Mnemonic::Div {
            self.e.alu_rr(AluOp::Cmp, width, Reg::Rdx, T2);
            self.e.jcc(Condition::AboveOrEqual, slow);
            self.e.mov_rr(Width::Qword, T0, RAX);
        } else {
            self.e.mov_rr(width, T0, RAX);
            self.e.shift_ri(7, width, T0, bytes as u8 * 8 - 1);
            self.e.alu_rr(AluOp::Cmp, width, T0, Reg::Rdx);
            self.e.jcc(Condition::NotEqual, slow);
            // 0 and -1 raise #DE or may.
            self.e.lea(width, T0, Mem::base(T2, 1));
            self.e.alu_ri(AluOp::Cmp, width, T0, 1);
            self.e.jcc(Condition::BelowOrEqual, slow);
            self.e.mov_rr(Width::Qword, T0, RAX);
        }
        let mut g = *i;
        if i.op0_kind() == OpKind::Memory {
            g.set_op0_kind(OpKind::Register);
        }
        g.set_op0_register(sized(T2, bytes));
        g.set_segment_prefix(iced_x86::Register::None);
        self.encode(&g);
        self.e.mov_rr(Width::Qword, RAX, T0);
        self.flags = Flags::Memory;
        self.resume(pending);
    }
}
