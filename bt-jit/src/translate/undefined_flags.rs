//! Flags that the manual leaves undefined, and in which processors differ: they are as the interpreter has them, whatever the
//! host's instruction left.
//!
//! - BSF, BSR, TZCNT, LZCNT: put together in memory.
//! - ROL, ROR, RCL, RCR by another count than 1: the interpreter, as AMD's processors do, sets OF as the last of that many single
//!   steps would; Intel's keep it. On a host of the other kind the last step is an instruction of its own; by a count in CL the
//!   instruction falls back.
//! - ANDN, BEXTR, BLSI, BLSR, BLSMSK, BZHI: PF is the result's parity for the interpreter. On other hosts they fall back.
//!
//! All that only where somebody may see the flags.

use super::Translator;
use super::generic::shift_count;
use super::rematerialize::Event;
use super::{Flags, Plan};
use crate::emitter::{AluOp, Width};
use crate::host_flags::host_agrees;
use crate::layout::{ARITH, T0, state};
use iced_x86::{Code, Instruction, Mnemonic, OpKind};
use trimotor_cpu::flags::ArithFlags;

fn is_rotation(mnemonic: Mnemonic) -> bool {
    matches!(mnemonic, Mnemonic::Rol | Mnemonic::Ror | Mnemonic::Rcl | Mnemonic::Rcr)
}

/// The form of a rotation by 1, for that by an immediate count.
pub(super) fn one_step(code: Code) -> Option<Code> {
    use Code as C;
    Some(match code {
        C::Rol_rm8_imm8 => C::Rol_rm8_1,
        C::Rol_rm16_imm8 => C::Rol_rm16_1,
        C::Rol_rm32_imm8 => C::Rol_rm32_1,
        C::Rol_rm64_imm8 => C::Rol_rm64_1,
        C::Ror_rm8_imm8 => C::Ror_rm8_1,
        C::Ror_rm16_imm8 => C::Ror_rm16_1,
        C::Ror_rm32_imm8 => C::Ror_rm32_1,
        C::Ror_rm64_imm8 => C::Ror_rm64_1,
        C::Rcl_rm8_imm8 => C::Rcl_rm8_1,
        C::Rcl_rm16_imm8 => C::Rcl_rm16_1,
        C::Rcl_rm32_imm8 => C::Rcl_rm32_1,
        C::Rcl_rm64_imm8 => C::Rcl_rm64_1,
        C::Rcr_rm8_imm8 => C::Rcr_rm8_1,
        C::Rcr_rm16_imm8 => C::Rcr_rm16_1,
        C::Rcr_rm32_imm8 => C::Rcr_rm32_1,
        C::Rcr_rm64_imm8 => C::Rcr_rm64_1,
        _ => return None,
    })
}

/// Of the flags in memory: those that the instruction defines, and those that stay.
fn masks(i: &Instruction) -> Option<(u16, u16)> {
    const ZF: u16 = ArithFlags::ZF;
    match i.mnemonic() {
        Mnemonic::Bsf | Mnemonic::Bsr => Some((ZF, !ZF)),
        Mnemonic::Tzcnt | Mnemonic::Lzcnt => Some((ZF | ArithFlags::CF, ArithFlags::OF)),
        _ => None,
    }
}

/// Whether `i` is one of them.
pub(super) fn is_bit_scan(i: &Instruction) -> bool {
    masks(i).is_some()
}

impl Plan {
    /// Whether all flags are overwritten after instruction `n` before anything may see them.
    fn loses_flags_of(&self, n: usize) -> bool {
        let next = self.flags[n + 1..].iter().find(|step| step.checks || step.event != Event::Nothing);
        next.is_some_and(|step| !step.checks && step.event == Event::Overwrite)
    }
}

impl Translator<'_> {
    /// Whether the host's instruction leaves other flags than the interpreter, somebody may see them, and they cannot be had.
    pub(super) fn needs_flags_of_the_interpreter(&self, i: &Instruction) -> bool {
        use Mnemonic as M;
        let differs = match i.mnemonic() {
            M::Andn | M::Bextr | M::Blsi | M::Blsr | M::Blsmsk | M::Bzhi => true,
            mnemonic => is_rotation(mnemonic) && i.op1_kind() == OpKind::Register,
        };
        differs && !host_agrees() && !self.plan.loses_flags_of(self.number)
    }
    /// Whether `i` is a rotation whose last step must be one of its own, for the sake of OF.
    pub(super) fn takes_last_step_alone(&self, i: &Instruction) -> bool {
        is_rotation(i.mnemonic())
            && shift_count(i) > 1
            && !host_agrees()
            && !self.plan.loses_flags_of(self.number)
    }
    /// Before the instruction: its flags are put together from those before it.
    pub(super) fn prepare_scan_flags(&mut self) {
        if !self.plan.loses_flags_of(self.number) {
            self.spill_flags();
        }
    }
    /// After it: puts its flags into memory, where somebody may see them.
    pub(super) fn scan_flags(&mut self, i: &Instruction) {
        self.flags = Flags::Memory;
        if self.plan.loses_flags_of(self.number) {
            return;
        }
        let Some((defined, kept)) = masks(i) else { return };
        self.spill(T0);
        self.e.lahf();
        self.e.alu_ri(AluOp::And, Width::Dword, T0, defined.into());
        self.e.alu_mi(AluOp::And, Width::Dword, state(ARITH), kept.into());
        self.e.alu_mr(AluOp::Or, Width::Dword, state(ARITH), T0);
    }
}
