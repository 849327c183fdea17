//! System instructions that kernels execute often: the interrupt flag, RFLAGS on the stack, SWAPGS, control
//! registers read. They are translated for CPL 0; at other levels, and where something has to be looked at
//! (a pin is high, RFLAGS bits change that change the mode), they fall back to the interpreter.

use super::address::{Access, Pending, gpr_number};
use super::classify::Kind;
use super::{Flags, Translator};
use crate::emitter::{AluOp, Condition, Mem, Reg, Width};
use crate::layout::{
    ARITH, BUDGET, BUDGET_MARK, CPL, EFER, HOST, KERNEL_GS_BASE, PENDING, RETIRED, RFLAGS, SHADOW_AT,
    SHADOW_IS_SS, T0, T1, T2, control_register, gpr, segment_base, segment_descriptor_base, state,
};
use iced_x86::{Code, Instruction, Mnemonic, OpKind};
use trimotor_cpu::flags::Rflags;
use trimotor_cpu::registers::Efer;
use trimotor_cpu_interp::core::mode;

const IF: i32 = Rflags::IF.bits() as i32;
const DF: i32 = Rflags::DF.bits() as i32;
const GS: u8 = 5;

impl Translator<'_> {
    /// A slow path for an instruction that falls back to the interpreter in some cases. Flags go to memory.
    pub(super) fn may_fall_back(&mut self) -> Pending {
        self.spill_flags();
        let slow = self.e.label();
        self.pending(slow)
    }
    /// Hands over at any CPL but 0.
    pub(super) fn require_cpl0(&mut self, pending: &Pending) {
        self.e.alu_mi(AluOp::Cmp, Width::Byte, state(CPL), 0);
        self.e.jcc(Condition::NotEqual, pending.slow_label());
    }
    /// Hands over where a pin of the vCPU is high. Destroys T0.
    fn require_quiet_pins(&mut self, pending: &Pending) {
        self.e.mov_rm(Width::Qword, T0, state(PENDING));
        self.e.alu_mi(AluOp::Cmp, Width::Dword, Mem::base(T0, 0), 0);
        self.e.jcc(Condition::NotEqual, pending.slow_label());
    }

    /// CLI, STI, CLD, STD.
    pub(super) fn set_flag(&mut self, i: &Instruction) {
        match i.mnemonic() {
            Mnemonic::Cld => {
                self.spill_flags();
                self.e.alu_mi(AluOp::And, Width::Dword, state(RFLAGS), !DF);
            }
            Mnemonic::Std => {
                self.spill_flags();
                self.e.alu_mi(AluOp::Or, Width::Dword, state(RFLAGS), DF);
            }
            Mnemonic::Cli => {
                let pending = self.may_fall_back();
                self.require_cpl0(&pending);
                self.e.alu_mi(AluOp::And, Width::Dword, state(RFLAGS), !IF);
                self.resume(pending);
            }
            _ => self.sti(),
        }
    }
    /// STI. Where it sets IF, interrupts are inhibited for one more instruction.
    fn sti(&mut self) {
        let pending = self.may_fall_back();
        self.require_cpl0(&pending);
        let done = self.e.label();
        self.e.mov_rm(Width::Dword, T0, state(RFLAGS));
        self.e.test_ri(Width::Dword, T0, IF);
        self.e.jcc(Condition::NotEqual, done);
        self.require_quiet_pins(&pending);
        self.e.alu_mi(AluOp::Or, Width::Dword, state(RFLAGS), IF);
        // The count of retired instructions, this one included.
        self.e.mov_rm(Width::Qword, T0, state(RETIRED));
        self.e.alu_rm(AluOp::Add, Width::Qword, T0, state(BUDGET_MARK));
        self.e.alu_rm(AluOp::Sub, Width::Qword, T0, state(BUDGET));
        if self.left > 0 {
            self.e.alu_ri(AluOp::Sub, Width::Qword, T0, self.left as i32);
        }
        self.e.mov_mr(Width::Qword, state(SHADOW_AT), T0);
        self.e.mov_mi(Width::Byte, state(SHADOW_IS_SS), 0);
        self.e.bind(done);
        self.resume(pending);
    }

    /// PUSHF of the natural size.
    pub(super) fn push_flags(&mut self) {
        let (bytes, width) = (self.stack_bytes(), self.stack_width());
        self.spill_flags();
        let pending = self.stack_pending();
        let at = self.push_address(pending.as_ref().map(Pending::slow_label));
        // AH has SF, ZF, AF, PF and CF in their places, AL is OF.
        self.e.movzx_rm(Width::Word, T0, state(ARITH));
        self.e.mov_rr(Width::Dword, T2, T0);
        self.e.shift_ri(5, Width::Dword, T2, 8);
        self.e.alu_ri(AluOp::And, Width::Dword, T0, 1);
        self.e.shift_ri(4, Width::Dword, T0, 11);
        self.e.alu_rr(AluOp::Or, Width::Dword, T2, T0);
        self.e.alu_rm(AluOp::Or, Width::Dword, T2, state(RFLAGS));
        let hidden = (Rflags::VM | Rflags::RF).bits() as i32;
        self.e.alu_ri(AluOp::And, Width::Dword, T2, !hidden);
        self.e.mov_mr(width, Mem::base(T1, at), T2);
        self.move_stack(-bytes);
        self.flags = Flags::Memory;
        self.finish_stack(pending);
    }

    /// POPF of the natural size, where no bits but the arithmetic ones and IF change.
    pub(super) fn pop_flags(&mut self) {
        let (bytes, width) = (self.stack_bytes(), self.stack_width());
        self.spill_flags();
        let pending = match self.stack_pending() {
            Some(pending) => pending,
            None => self.may_fall_back(),
        };
        let slow = pending.slow_label();
        let at = self.pop_address(Some(slow));
        self.require_cpl0(&pending);
        self.e.mov_rm(width, T2, Mem::base(T1, at));
        self.e.mov_rr(Width::Qword, T1, T2);
        self.e.alu_rm(AluOp::Xor, Width::Qword, T1, state(RFLAGS));
        let free = Rflags::ARITH.bits() as i32 | IF;
        self.e.test_ri(Width::Qword, T1, !free);
        self.e.jcc(Condition::NotEqual, slow);
        self.require_quiet_pins(&pending);
        self.e.alu_ri(AluOp::And, Width::Dword, T1, IF);
        self.e.alu_mr(AluOp::Xor, Width::Qword, state(RFLAGS), T1);
        self.e.mov_rr(Width::Dword, T0, T2);
        self.e.alu_ri(AluOp::And, Width::Dword, T0, 0xD5);
        self.e.shift_ri(4, Width::Dword, T0, 8);
        self.e.shift_ri(5, Width::Dword, T2, 11);
        self.e.alu_ri(AluOp::And, Width::Dword, T2, 1);
        self.e.alu_rr(AluOp::Or, Width::Dword, T0, T2);
        self.e.mov_mr(Width::Dword, state(ARITH), T0);
        self.move_stack(bytes);
        self.flags = Flags::Memory;
        self.resume(pending);
    }

    /// SWAPGS.
    pub(super) fn swap_gs(&mut self) {
        let pending = self.may_fall_back();
        self.require_cpl0(&pending);
        self.e.mov_rm(Width::Qword, T0, state(KERNEL_GS_BASE));
        self.e.mov_rm(Width::Qword, T1, segment_base(GS));
        self.e.mov_mr(Width::Qword, segment_base(GS), T0);
        self.e.mov_mr(Width::Qword, state(segment_descriptor_base(GS)), T0);
        self.e.mov_mr(Width::Qword, state(KERNEL_GS_BASE), T1);
        self.resume(pending);
    }

    /// SYSCALL and SYSRET, which end the block. Where they are to fault they fall back to the interpreter.
    pub(super) fn system_call(&mut self, kind: Kind) {
        let next = self.offset as u64 + self.len as u64;
        let pending = self.may_fall_back();
        self.e.mov_rm(Width::Dword, T0, state(EFER));
        self.e.test_ri(Width::Byte, T0, Efer::SCE.bits() as i32);
        self.e.jcc(Condition::Equal, pending.slow_label());
        if kind == Kind::Syscall {
            self.e.mov_ri(T0, next);
            self.e.jmp_placed(self.thunks.syscall);
        } else {
            self.require_cpl0(&pending);
            self.require_canonical(Reg::Rcx, pending.slow_label());
            self.e.jmp_placed(self.thunks.sysret);
        }
        self.resume(pending);
        self.look_up(next as i32);
    }

    /// MOV from CR0, CR2, CR3 or CR4.
    pub(super) fn read_control_register(&mut self, i: &Instruction) {
        let pending = self.may_fall_back();
        self.require_cpl0(&pending);
        let n = gpr_number(i.op0_register());
        let host = HOST[n as usize].unwrap_or(T2);
        let from = state(control_register(i.op1_register().number()));
        self.e.mov_rm(self.stack_width(), host, from);
        if host == T2 {
            self.e.mov_mr(Width::Qword, gpr(n), T2);
        }
        self.resume(pending);
    }

    /// BT, BTS, BTR, BTC of a bit string in memory: the bit number reaches beyond the operand.
    pub(super) fn bit_string(&mut self, i: &Instruction) {
        let bytes = i.op1_register().size();
        let write = i.mnemonic() != Mnemonic::Bt;
        self.spill_flags();
        let slow = self.e.label();
        self.linear_operand(i, 0);
        let n = gpr_number(i.op1_register());
        // The part of the number that counts whole operands, as bytes.
        let number = self.register_in(n, T2);
        if bytes == 4 {
            self.movsxd(T2, number);
        } else if number != T2 {
            self.e.mov_rr(Width::Qword, T2, number);
        }
        self.e.shift_ri(7, Width::Qword, T2, 3);
        self.e.alu_ri(AluOp::And, Width::Qword, T2, -(bytes as i32));
        self.e.alu_rr(AluOp::Add, self.stack_width(), T1, T2);
        let access = if write { Access::Write } else { Access::Read };
        self.check(bytes as u32, access, false, slow);
        let pending = self.pending(slow);
        let number = self.register_in(n, T2);
        if number != T2 {
            self.e.mov_rr(Width::Dword, T2, number);
        }
        self.e.alu_ri(AluOp::And, Width::Dword, T2, bytes as i32 * 8 - 1);
        self.need_flags(); // all but CF stay
        let mut g = *i;
        super::generic::point_at(&mut g, super::operands::sized(T1, 8), 0);
        g.set_op1_register(super::operands::sized(T2, bytes));
        self.encode(&g);
        self.flags_are(Flags::Host);
        self.resume(pending);
    }
    fn movsxd(&mut self, to: Reg, from: Reg) {
        let (to, from) = (super::operands::sized(to, 8), super::operands::sized(from, 4));
        match Instruction::with2(Code::Movsxd_r64_rm32, to, from) {
            Ok(i) => self.encode(&i),
            Err(error) => unreachable!("MOVSXD: {error}"),
        }
    }
}

/// The kind of a fast transfer between privilege levels of 64-bit mode, in the mode `m`.
pub(super) fn transfer(i: &Instruction, m: u32, wide: bool) -> Option<Kind> {
    match i.code() {
        Code::Syscall if wide => Some(Kind::Syscall),
        Code::Sysretq if wide && m & mode::USER == 0 => Some(Kind::Sysret),
        _ => None,
    }
}

/// Whether `i` is a BT, BTS, BTR or BTC of 32 or 64 bits with a bit number in a register and a memory
/// operand.
pub(super) fn is_bit_string(i: &Instruction) -> bool {
    matches!(i.mnemonic(), Mnemonic::Bt | Mnemonic::Bts | Mnemonic::Btr | Mnemonic::Btc)
        && i.op0_kind() == OpKind::Memory
        && i.op1_kind() == OpKind::Register
        && i.op1_register().size() >= 4
}
