//! Flags of BSF, BSR, TZCNT and LZCNT. The manual leaves most of them undefined, and processors differ: they are as the
//! interpreter has them, whatever the host's instruction left.

use super::Translator;
use super::recover::Event;
use super::{Flags, Plan};
use crate::emitter::{AluOp, Width};
use crate::layout::{ARITH, T0, state};
use iced_x86::{Instruction, Mnemonic};
use trimotor_cpu::flags::ArithFlags;

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
    /// Before the instruction: its flags are to be put together from those before it.
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
        self.vacate(T0);
        self.e.lahf();
        self.e.alu_ri(AluOp::And, Width::Dword, T0, defined.into());
        self.e.alu_mi(AluOp::And, Width::Dword, state(ARITH), kept.into());
        self.e.alu_mr(AluOp::Or, Width::Dword, state(ARITH), T0);
    }
}
