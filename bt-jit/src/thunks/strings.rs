//! REP MOVS and REP STOS that stay within a page on each side: one host instruction, on host addresses.

use crate::emitter::{AluOp, Condition, Emitter, Label, Mem, Reg, Width};
use crate::layout::{HOST_PAGE, RAX, READ_TAG, SPARE, T0, T1, T2, TLB, WRITE_TAG, state};
use crate::translate::TABLE_INDEX_MASK;

/// What the return address takes of the host's stack.
const PUSHED: i32 = 8;

/// Which of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StringMove {
    /// MOVS, else STOS.
    pub copies: bool,
    /// log2 of an element's size.
    pub size: u8,
    /// Addresses of 64 bits, else of 32.
    pub wide: bool,
}

impl StringMove {
    /// How many there are.
    pub const COUNT: usize = 16;

    /// All, by number.
    pub fn all() -> [StringMove; Self::COUNT] {
        std::array::from_fn(|n| StringMove { copies: n & 8 != 0, size: n as u8 & 3, wide: n & 4 != 0 })
    }
    /// Its number.
    pub fn number(self) -> usize {
        (self.copies as usize) << 3 | (self.wide as usize) << 2 | self.size as usize
    }
    /// What listings and profilers call it.
    pub fn name(self) -> &'static str {
        const NAMES: [&str; StringMove::COUNT] = [
            "stosb32", "stosw32", "stosd32", "stosq32", "stosb", "stosw", "stosd", "stosq", "movsb32",
            "movsw32", "movsd32", "movsq32", "movsb", "movsw", "movsd", "movsq",
        ];
        NAMES[self.number()]
    }
    fn width(self) -> Width {
        if self.wide { Width::Qword } else { Width::Dword }
    }

    /// Emits the thunk, which is called with the direction flag clear and the guest's arithmetic flags in
    /// memory. ZF says that the instruction is done; else nothing has changed, and it falls back to the interpreter.
    pub fn emit(self, e: &mut Emitter) {
        let slow = e.label();
        // A count of elements that a page holds, so that no sum below overflows.
        e.alu_ri(AluOp::Cmp, self.width(), Reg::Rcx, 4096 >> self.size);
        e.jcc(Condition::Above, slow);
        if !self.wide {
            // Without iterations no register changes, not even in its upper half.
            e.alu_ri(AluOp::Cmp, Width::Dword, Reg::Rcx, 0);
            e.jcc(Condition::Equal, slow);
            e.mov_rr(Width::Dword, Reg::Rcx, Reg::Rcx);
        }
        if self.copies {
            self.host_address(e, Reg::Rsi, READ_TAG, slow);
            e.mov_mr(Width::Qword, state(PUSHED + SPARE), T1);
        }
        self.host_address(e, Reg::Rdi, WRITE_TAG, slow);
        e.mov_rr(Width::Qword, T2, Reg::Rdi);
        e.mov_rr(Width::Qword, Reg::Rdi, T1);
        if self.copies {
            e.mov_rr(Width::Qword, T0, Reg::Rsi);
            e.mov_rm(Width::Qword, Reg::Rsi, state(PUSHED + SPARE));
        } else {
            e.mov_rr(Width::Qword, T0, RAX);
        }
        self.repeat(e);
        e.alu_rr(AluOp::Sub, Width::Qword, Reg::Rdi, T1);
        if self.copies {
            e.lea(self.width(), Reg::Rsi, Mem::indexed(T0, Reg::Rdi, crate::emitter::Scale::One, 0));
        }
        e.alu_rr(AluOp::Add, self.width(), Reg::Rdi, T2);
        e.alu_rr(AluOp::Cmp, Width::Dword, T0, T0);
        e.ret();
        e.bind(slow);
        e.alu_ri(AluOp::Or, Width::Dword, T0, 1);
        e.ret();
    }

    /// Puts the host address that `index` leads to into T1, where all bytes lie in one page that `tag` grants.
    fn host_address(self, e: &mut Emitter, index: Reg, tag: i32, slow: Label) {
        const ENTRY_SHIFT: u8 = 5;
        e.mov_rr(self.width(), T1, index);
        e.rorx(Width::Dword, T0, T1, 12 - ENTRY_SHIFT);
        e.alu_ri(AluOp::And, Width::Dword, T0, TABLE_INDEX_MASK << ENTRY_SHIFT);
        e.alu_rm(AluOp::Add, Width::Qword, T0, state(PUSHED + TLB));
        e.alu_rm(AluOp::Sub, Width::Qword, T1, Mem::base(T0, tag));
        e.alu_ri(AluOp::Cmp, Width::Qword, T1, 4095);
        e.jcc(Condition::Above, slow);
        e.mov_rr(Width::Dword, T2, Reg::Rcx);
        e.shift_ri(4, Width::Dword, T2, self.size);
        e.alu_rr(AluOp::Add, Width::Dword, T2, T1);
        e.alu_ri(AluOp::Cmp, Width::Dword, T2, 4096);
        e.jcc(Condition::Above, slow);
        e.alu_rm(AluOp::Add, Width::Qword, T1, Mem::base(T0, HOST_PAGE));
    }

    fn repeat(self, e: &mut Emitter) {
        let opcode = if self.copies { 0xA4 } else { 0xAA };
        match self.size {
            0 => e.raw(&[0xF3, opcode]),
            1 => e.raw(&[0x66, 0xF3, opcode | 1]),
            2 => e.raw(&[0xF3, opcode | 1]),
            _ => e.raw(&[0xF3, 0x48, opcode | 1]),
        }
    }
}
