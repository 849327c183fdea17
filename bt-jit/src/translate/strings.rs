//! MOVS, STOS, LODS, SCAS and CMPS; comparisons of strings in vector registers. Single ones are translated in place; REP MOVS and REP STOS call a thunk that does
//! what lies within a page on each side. Where the direction flag is set, and other repeated ones, fall back to the interpreter.

use super::Translator;
use super::address::{Access, Pending};
use super::classify::takes_lengths;
use super::generic::point_at;
use super::operands::{sized, width_of};
use super::{Flags, Kind};
use crate::emitter::{AluOp, Condition, Mem, Reg, Width};
use crate::layout::{RAX, RFLAGS, T0, T1, T2, state};
use crate::thunks::StringMove;
use iced_x86::{Code, Instruction, Mnemonic, OpKind, Register};
use trimotor_cpu::flags::Rflags;
use trimotor_cpu_interp::core::mode;

/// The kind of a string instruction, where it is translated in the mode `m`.
pub(super) fn kind(i: &Instruction, m: u32, wide: bool) -> Option<Kind> {
    use Mnemonic as M;
    if !i.is_string_instruction() {
        return None;
    }
    let repeated = i.has_rep_prefix() || i.has_repne_prefix();
    match i.mnemonic() {
        M::Movsb | M::Movsw | M::Movsq | M::Stosb | M::Stosw | M::Stosd | M::Stosq => {}
        // SSE has a MOVSD and a CMPSD too.
        M::Movsd if i.code() == Code::Movsd_m32_m32 => {}
        M::Cmpsd if i.code() == Code::Cmpsd_m32_m32 && !repeated => {}
        M::Lodsb | M::Lodsw | M::Lodsd | M::Lodsq if !repeated => {}
        M::Scasb | M::Scasw | M::Scasd | M::Scasq if !repeated => {}
        M::Cmpsb | M::Cmpsw | M::Cmpsq if !repeated => {}
        _ => return None,
    }
    let natural = (0..i.op_count()).all(|n| {
        use iced_x86::OpKind as K;
        match i.op_kind(n) {
            K::MemorySegRSI | K::MemoryESRDI => wide,
            K::MemorySegESI | K::MemoryESEDI => !wide,
            K::MemorySegSI | K::MemorySegDI | K::MemoryESDI | K::MemorySegRDI | K::MemorySegEDI => false,
            _ => true,
        }
    });
    let open = |segment: usize| wide || m >> (mode::OPEN_SHIFT as usize + segment) & 1 != 0;
    let reads = !matches!(i.mnemonic(), M::Stosb | M::Stosw | M::Stosd | M::Stosq)
        && !matches!(i.mnemonic(), M::Scasb | M::Scasw | M::Scasd | M::Scasq);
    let source = match i.memory_segment() {
        _ if !reads => true,
        Register::DS => open(3),
        Register::ES => open(0),
        Register::SS => open(2),
        Register::CS => wide,
        _ => false,
    };
    (natural && open(0) && source && m & mode::ALIGN == 0).then_some(Kind::String)
}

/// Bytes of an element.
fn element(i: &Instruction) -> usize {
    i.memory_size().size()
}

impl Translator<'_> {
    /// PCMPESTRI, PCMPESTRM, PCMPISTRI, PCMPISTRM. ECX, EDX and XMM0 are the host's; lengths in rAX are brought there.
    pub(super) fn compare_vector_strings(&mut self, i: &Instruction) {
        let mut g = *i;
        let mut pending = None;
        if i.op1_kind() == OpKind::Memory {
            let operand = self.operand(i, Access::Read);
            point_at(&mut g, sized(T1, 8), operand.displacement);
            pending = operand.pending;
        }
        if takes_lengths(i.mnemonic()) {
            self.e.mov_rr(Width::Qword, T0, RAX);
        }
        self.encode(&g);
        self.flags_are(Flags::Host);
        if let Some(pending) = pending {
            self.resume(pending);
        }
    }
    /// A string instruction of [`kind`].
    pub(super) fn string(&mut self, i: &Instruction) {
        use Mnemonic as M;
        let pending = self.may_fall_back();
        self.e.mov_rm(Width::Dword, T0, state(RFLAGS));
        self.e.test_ri(Width::Dword, T0, Rflags::DF.bits() as i32);
        self.e.jcc(Condition::NotEqual, pending.slow_label());
        if i.has_rep_prefix() || i.has_repne_prefix() {
            let copies = matches!(i.mnemonic(), M::Movsb | M::Movsw | M::Movsd | M::Movsq);
            let size = element(i).trailing_zeros() as u8;
            let what = StringMove { copies, size, wide: self.wide };
            self.e.call_placed(self.thunks.strings[what.number()]);
            self.e.jcc(Condition::NotEqual, pending.slow_label());
            return self.resume(pending);
        }
        match i.mnemonic() {
            M::Movsb | M::Movsw | M::Movsd | M::Movsq => self.move_string(i, &pending),
            M::Stosb | M::Stosw | M::Stosd | M::Stosq => self.store_string(i, &pending),
            M::Lodsb | M::Lodsw | M::Lodsd | M::Lodsq => self.load_string(i, &pending),
            M::Scasb | M::Scasw | M::Scasd | M::Scasq => self.scan_string(i, &pending),
            _ => self.compare_strings(i, &pending),
        }
        self.resume(pending);
    }

    /// Makes the element at `index` reachable by T1. Destroys T0.
    fn element_at(&mut self, index: Reg, i: &Instruction, access: Access, pending: &Pending) {
        let width = self.stack_width();
        self.e.mov_rr(width, T1, index);
        self.check(element(i) as u32, access, false, pending.slow_label());
    }
    /// Moves an index register on. Keeps flags.
    fn advance(&mut self, index: Reg, i: &Instruction) {
        let width = self.stack_width();
        self.e.lea(width, index, Mem::base(index, element(i) as i32));
    }

    fn move_string(&mut self, i: &Instruction, pending: &Pending) {
        let width = width_of(element(i));
        self.element_at(Reg::Rsi, i, Access::Read, pending);
        self.e.mov_rm(width, T2, Mem::base(T1, 0));
        self.element_at(Reg::Rdi, i, Access::Write, pending);
        self.e.mov_mr(width, Mem::base(T1, 0), T2);
        self.advance(Reg::Rsi, i);
        self.advance(Reg::Rdi, i);
    }
    fn store_string(&mut self, i: &Instruction, pending: &Pending) {
        self.element_at(Reg::Rdi, i, Access::Write, pending);
        self.e.mov_mr(width_of(element(i)), Mem::base(T1, 0), RAX);
        self.advance(Reg::Rdi, i);
    }
    fn load_string(&mut self, i: &Instruction, pending: &Pending) {
        self.element_at(Reg::Rsi, i, Access::Read, pending);
        self.e.mov_rm(width_of(element(i)), RAX, Mem::base(T1, 0));
        self.advance(Reg::Rsi, i);
    }
    fn scan_string(&mut self, i: &Instruction, pending: &Pending) {
        self.element_at(Reg::Rdi, i, Access::Read, pending);
        self.e.alu_rm(AluOp::Cmp, width_of(element(i)), RAX, Mem::base(T1, 0));
        self.flags_are(Flags::Host);
        self.advance(Reg::Rdi, i);
    }
    fn compare_strings(&mut self, i: &Instruction, pending: &Pending) {
        let width = width_of(element(i));
        self.element_at(Reg::Rsi, i, Access::Read, pending);
        self.e.mov_rm(width, T2, Mem::base(T1, 0));
        self.element_at(Reg::Rdi, i, Access::Read, pending);
        self.e.alu_rm(AluOp::Cmp, width, T2, Mem::base(T1, 0));
        self.flags_are(Flags::Host);
        self.advance(Reg::Rsi, i);
        self.advance(Reg::Rdi, i);
    }
}
