//! Registers that programs and kernels read and write often besides the general ones: selectors, the bases of FS and
//! GS, the time-stamp counter, RFLAGS.AC.

use super::Translator;
use super::address::gpr_number;
use super::classify::Kind;
use crate::emitter::{AluOp, Condition, Label, Reg, Width};
use crate::layout::{
    HOST, T0, T2, control_register, gpr, segment_base, segment_descriptor_base, selector, state,
};
use crate::native::TimeStampRequest;
use iced_x86::{Code, Instruction, Mnemonic, OpKind, Register};
use trimotor_cpu::registers::Cr4;
use trimotor_cpu_interp::core::mode;

/// The kind of `i`, if it is one of these, in the mode `m`.
pub(super) fn kind(i: &Instruction, m: u32) -> Option<Kind> {
    use Mnemonic as M;
    match i.mnemonic() {
        M::Mov if reads_selector(i) => Some(Kind::ReadSegment),
        M::Rdfsbase | M::Rdgsbase | M::Wrfsbase | M::Wrgsbase => Some(Kind::SegmentBase),
        M::Rdtsc | M::Rdtscp => Some(Kind::TimeStamp),
        M::Clac | M::Stac if m & mode::USER == 0 => Some(Kind::AccessControl),
        _ => None,
    }
}

fn reads_selector(i: &Instruction) -> bool {
    matches!(i.code(), Code::Mov_rm16_Sreg | Code::Mov_r32m16_Sreg | Code::Mov_r64m16_Sreg)
        && i.op0_kind() == OpKind::Register
}

impl Translator<'_> {
    /// MOV from a segment register to a general one.
    pub(super) fn read_segment(&mut self, i: &Instruction) {
        let n = gpr_number(i.op0_register());
        let from = state(selector(i.op1_register().number() as u8));
        if i.op0_register().size() > 2 {
            let host = HOST[n as usize].unwrap_or(T2);
            self.e.movzx_rm(Width::Word, host, from);
            return self.register_out(n, host);
        }
        let host = HOST[n as usize].unwrap_or(T2);
        self.e.mov_rm(Width::Word, host, from);
        if host == T2 {
            self.e.mov_mr(Width::Word, gpr(n), T2);
        }
    }

    /// RDFSBASE, RDGSBASE, WRFSBASE, WRGSBASE.
    pub(super) fn segment_base(&mut self, i: &Instruction) {
        let pending = self.may_fall_back();
        self.e.mov_rm(Width::Dword, T0, state(control_register(4)));
        self.e.test_ri(Width::Dword, T0, Cr4::FSGSBASE.bits() as i32);
        self.e.jcc(Condition::Equal, pending.slow_label());
        let gs = matches!(i.mnemonic(), Mnemonic::Rdgsbase | Mnemonic::Wrgsbase);
        let segment = (if gs { Register::GS } else { Register::FS }).number() as u8;
        let n = gpr_number(i.op0_register());
        let wide = i.op0_register().size() == 8;
        let width = if wide { Width::Qword } else { Width::Dword };
        if matches!(i.mnemonic(), Mnemonic::Rdfsbase | Mnemonic::Rdgsbase) {
            let host = HOST[n as usize].unwrap_or(T2);
            self.e.mov_rm(width, host, segment_base(segment));
            self.register_out(n, host);
            return self.resume(pending);
        }
        let host = self.register_in(n, T2);
        self.e.mov_rr(width, T2, host);
        if wide {
            self.require_canonical(T2, pending.slow_label());
        }
        self.e.mov_mr(Width::Qword, segment_base(segment), T2);
        self.e.mov_mr(Width::Qword, state(segment_descriptor_base(segment)), T2);
        self.resume(pending);
    }

    /// RDTSC and RDTSCP.
    pub(super) fn time_stamp(&mut self, i: &Instruction) {
        let pending = self.may_fall_back();
        let request = TimeStampRequest { left: self.left, with_aux: i.mnemonic() == Mnemonic::Rdtscp };
        self.e.mov_ri(T0, request.pack() as u64);
        self.e.call_placed(self.thunks.time_stamp);
        self.e.jcc(Condition::NotEqual, pending.slow_label());
        self.resume(pending);
    }

    /// CLAC and STAC.
    pub(super) fn access_control(&mut self, i: &Instruction) {
        let pending = self.may_fall_back();
        self.require_cpl0(&pending);
        self.e.mov_ri(T0, (i.mnemonic() == Mnemonic::Stac) as u64);
        self.e.call_placed(self.thunks.access_control);
        self.resume(pending);
    }

    /// Goes to `slow` where `register` is not a canonical address of 48 bits. Destroys T0 and flags.
    pub(super) fn require_canonical(&mut self, register: Reg, slow: Label) {
        self.e.mov_rr(Width::Qword, T0, register);
        self.e.shift_ri(4, Width::Qword, T0, 16);
        self.e.shift_ri(7, Width::Qword, T0, 16);
        self.e.alu_rr(AluOp::Cmp, Width::Qword, T0, register);
        self.e.jcc(Condition::NotEqual, slow);
    }
}
