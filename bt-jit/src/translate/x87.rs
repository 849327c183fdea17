//! x87 and MMX instructions: they run as they are on the host's x87, which has the guest's registers and
//! control word (see [`crate::x87`]). Control instructions that could unmask an exception fall back
//! to the interpreter, and so do those that store or load the whole unit.

use super::address::Access;
use super::classify::Kind;
use super::cold::Cold;
use super::generic::{flag_use, point_at};
use super::operands::sized;
use super::{Flags, Translator};
use crate::code_memory::CodeOffset;
use crate::emitter::{AluOp, Condition, Label, Mem, Width};
use crate::layout::{
    RAX, SPARE, T0, T1, T2, X87_LIVE, X87_OFFSET, X87_OPERAND, X87_PAGE, X87_SEGMENT, page_rip, state,
};
use iced_x86::{EncodingKind, Instruction, Mnemonic, OpKind};
use trimotor_cpu::x87::control;

/// The kind of an x87 or MMX instruction that runs on the host's.
pub(super) fn kind(i: &Instruction) -> Option<Kind> {
    if is_control(i.mnemonic()) || is_operation(i.mnemonic()) {
        Some(Kind::X87)
    } else if is_mmx(i) {
        Some(Kind::Mmx)
    } else {
        None
    }
}

/// Instructions that leave the pointers to the last instruction alone.
fn is_control(m: Mnemonic) -> bool {
    use Mnemonic as M;
    matches!(m, M::Wait | M::Fnop | M::Fldcw | M::Fnstcw | M::Fnstsw)
}

/// Instructions that the unit notes as the last one.
fn is_operation(m: Mnemonic) -> bool {
    use Mnemonic as M;
    is_arithmetic(m)
        || matches!(
            m,
            M::Fld
                | M::Fild
                | M::Fbld
                | M::Fst
                | M::Fstp
                | M::Fist
                | M::Fistp
                | M::Fisttp
                | M::Fbstp
                | M::Fxch
                | M::Fld1
                | M::Fldl2t
                | M::Fldl2e
                | M::Fldpi
                | M::Fldlg2
                | M::Fldln2
                | M::Fldz
                | M::Fcmovb
                | M::Fcmove
                | M::Fcmovbe
                | M::Fcmovu
                | M::Fcmovnb
                | M::Fcmovne
                | M::Fcmovnbe
                | M::Fcmovnu
                | M::Fdecstp
                | M::Fincstp
                | M::Ffree
                | M::Ffreep
        )
}

/// Operations and comparisons.
fn is_arithmetic(m: Mnemonic) -> bool {
    use Mnemonic as M;
    matches!(
        m,
        M::Fadd
            | M::Faddp
            | M::Fiadd
            | M::Fmul
            | M::Fmulp
            | M::Fimul
            | M::Fsub
            | M::Fsubp
            | M::Fisub
            | M::Fsubr
            | M::Fsubrp
            | M::Fisubr
            | M::Fdiv
            | M::Fdivp
            | M::Fidiv
            | M::Fdivr
            | M::Fdivrp
            | M::Fidivr
            | M::Fcom
            | M::Fcomp
            | M::Fcompp
            | M::Ficom
            | M::Ficomp
            | M::Fucom
            | M::Fucomp
            | M::Fucompp
            | M::Fcomi
            | M::Fcomip
            | M::Fucomi
            | M::Fucomip
            | M::Ftst
            | M::Fxam
            | M::Fchs
            | M::Fabs
            | M::Fsqrt
            | M::Frndint
            | M::Fsin
            | M::Fcos
            | M::Fsincos
            | M::Fptan
            | M::Fpatan
            | M::F2xm1
            | M::Fyl2x
            | M::Fyl2xp1
            | M::Fscale
            | M::Fprem
            | M::Fprem1
            | M::Fxtract
    )
}

/// EMMS, and MMX instructions whose operands are all explicit and have no part in XMM registers.
fn is_mmx(i: &Instruction) -> bool {
    if i.mnemonic() == Mnemonic::Emms {
        return true;
    }
    let mut registers = (0..i.op_count()).filter(|&n| i.op_kind(n) == OpKind::Register);
    let any = registers.clone().any(|n| i.op_register(n).is_mm());
    let sized = i.memory_size().size() <= 8;
    let legacy = i.encoding() == EncodingKind::Legacy;
    let plain = registers.all(|n| i.op_register(n).is_mm() || i.op_register(n).is_gpr());
    // These convert floating-point numbers, with SSE's exceptions.
    let converts = matches!(
        i.mnemonic(),
        Mnemonic::Cvtps2pi | Mnemonic::Cvttps2pi | Mnemonic::Cvtpd2pi | Mnemonic::Cvttpd2pi
    );
    any && plain && sized && legacy && !converts && i.mnemonic() != Mnemonic::Maskmovq
}

impl Translator<'_> {
    /// The thunk that instructions of this block fall back to the interpreter by.
    pub(super) fn op_thunk(&self) -> CodeOffset {
        match (self.x87, self.vector) {
            (false, false) => self.thunks.op,
            (false, true) => self.thunks.op_vector,
            (true, false) => self.thunks.op_x87,
            (true, true) => self.thunks.op_x87_vector,
        }
    }

    /// At the entry of a block of `count` instructions: the x87 registers must be in the host's.
    pub(super) fn enter_x87(&mut self, count: usize) {
        let (at, resume) = (self.e.label(), self.e.label());
        self.e.alu_mi(AluOp::Cmp, Width::Byte, state(X87_LIVE), 0);
        self.e.jcc(Condition::Equal, at);
        self.e.bind(resume);
        self.cold.push(Cold::LoadX87 { at, resume, refund: count as u8 });
    }
    /// Cold: loads them, or leaves for the variant of the block that hands its x87 instructions over.
    pub(super) fn load_x87(&mut self, resume: Label, refund: u8) {
        let refused = self.e.label();
        self.e.call_placed(self.thunks.load_x87);
        self.e.test_rr(Width::Qword, T0, T0);
        self.e.jcc(Condition::Equal, refused);
        self.e.jmp(resume);
        self.e.bind(refused);
        self.refund(refund);
        self.e.mov_ri(T0, self.source.offset as u64);
        self.e.jmp_placed(self.thunks.exit_x87);
    }

    /// An x87 instruction.
    pub(super) fn x87(&mut self, i: &Instruction) {
        match i.mnemonic() {
            // No exception can be pending.
            Mnemonic::Wait | Mnemonic::Fnop => {}
            Mnemonic::Fldcw => self.load_control(i),
            Mnemonic::Fnstsw if i.op0_kind() == OpKind::Register => {
                self.e.fnstsw_ax();
                self.e.mov_rr(Width::Word, RAX, T0);
            }
            mnemonic => self.x87_as_it_is(i, !is_control(mnemonic)),
        }
    }

    fn x87_as_it_is(&mut self, i: &Instruction, noted: bool) {
        let mut g = *i;
        let memory = (0..i.op_count()).find(|&n| i.op_kind(n) == OpKind::Memory);
        let mut pending = None;
        if let Some(n) = memory {
            let (_, written) = self.plan.steps[self.number].accesses.operand(n);
            let operand = self.operand(i, if written { Access::Write } else { Access::Read });
            point_at(&mut g, sized(T1, 8), operand.displacement);
            pending = operand.pending;
        }
        let (read, written) = flag_use(i);
        if read | written != 0 {
            // Where a comparison leaves some of the flags alone, they are there.
            self.need_flags();
            // FCOMI and FCMOVcc clear C1 by Intel's manual (the latter by the interpreter's choice),
            // and leave it alone on AMD's processors.
            self.e.clear_c1();
        }
        self.encode(&g);
        if written != 0 {
            self.flags_are(Flags::Host);
        }
        if noted {
            self.note_x87(i, memory.is_some());
        }
        if let Some(pending) = pending {
            self.resume(pending);
        }
    }

    /// Notes the instruction and its memory operand for [`crate::x87::store`]. Destroys T0, T1 and T2, keeps
    /// flags.
    fn note_x87(&mut self, i: &Instruction, memory: bool) {
        if !self.x87_noted {
            self.x87_noted = true;
            self.e.mov_rm(Width::Qword, T0, page_rip());
            self.e.mov_mr(Width::Qword, state(X87_PAGE), T0);
        }
        self.x87_last = Some(self.offset);
        if memory {
            self.effective_address(i, T1, 0);
            self.e.mov_mr(Width::Qword, state(X87_OPERAND), T1);
            let segment = i.memory_segment().number() as i32;
            self.e.mov_mi(Width::Dword, state(X87_SEGMENT), segment);
        }
    }

    /// Before instruction `i`: if it may leave the block, the last x87 instruction is noted.
    pub(super) fn note_before(&mut self, i: &Instruction, kind: Kind) {
        let stays = match kind {
            Kind::X87 => i.mnemonic() != Mnemonic::Fldcw,
            Kind::Generic { .. } | Kind::Mmx | Kind::Lea | Kind::Nothing | Kind::Extend => true,
            _ => false,
        };
        if !stays || self.plan.may_fault(self.number) {
            self.note_last();
        }
    }
    /// Notes the last x87 instruction, if there was one since that was done. Keeps flags.
    pub(super) fn note_last(&mut self) {
        if let Some(offset) = self.x87_last.take() {
            self.e.mov_mi(Width::Dword, state(X87_OFFSET), offset as i32);
        }
    }

    /// FLDCW: falls back to the interpreter where it unmasks an exception. The word that is loaded is the one that was looked
    /// at: a device may write to the guest's in between.
    fn load_control(&mut self, i: &Instruction) {
        let operand = self.operand(i, Access::Read);
        self.spill_flags();
        let pending = operand.pending.unwrap_or_else(|| {
            let slow = self.e.label();
            self.pending(slow)
        });
        const MASKS: i32 = control::MASKS as i32;
        self.e.movzx_rm(Width::Word, T0, Mem::base(T1, operand.displacement));
        self.e.mov_rr(Width::Dword, T2, T0);
        self.e.alu_ri(AluOp::And, Width::Dword, T2, MASKS);
        self.e.alu_ri(AluOp::Cmp, Width::Dword, T2, MASKS);
        self.e.jcc(Condition::NotEqual, pending.slow_label());
        self.e.mov_mr(Width::Qword, state(SPARE), T0);
        self.e.fldcw_stack(SPARE);
        self.resume(pending);
    }

    /// SAHF, which follows FNSTSW AX in code for processors without FCOMI.
    pub(super) fn load_flags_from_ah(&mut self) {
        self.need_flags();
        self.e.mov_rr(Width::Dword, T0, RAX);
        self.e.sahf();
        self.flags_are(Flags::Host);
    }
}
