//! Instructions that are emitted as they are: the operation stays, registers become the host's, and a
//! memory operand becomes the checked host address.

use super::address::{Access, gpr_number};
use super::forms::form;
use super::operands::{is_high_byte, renamed, sized, width_of};
use super::rematerialize::Keeps;
use super::undefined_flags::{is_bit_scan, one_step};
use super::{ARITHMETIC, Flags, Translator};
use crate::emitter::{Mem, Reg, Width};
use crate::layout::{FLAGS_OPERAND, HOST, T0, T1, T2, state};
use iced_x86::{Code, Instruction, Mnemonic, OpCodeOperandKind, OpKind, Register};
use trimotor_cpu::alu::{self, Shape};
use trimotor_cpu_interp::lower::iced_address_bits;

/// What an operand is used for.
#[derive(Clone, Copy)]
struct Use {
    operand: u32,
    read: bool,
    written: bool,
}

impl Translator<'_> {
    /// Emits `i` with host operands.
    pub(super) fn generic(&mut self, i: &Instruction) {
        let accesses = self.plan.steps[self.number].accesses;
        let mut uses = [Use { operand: 0, read: false, written: false }; 5];
        let count = i.op_count() as usize;
        for (n, place) in uses.iter_mut().enumerate().take(count) {
            let (read, written) = accesses.operand(n as u32);
            *place = Use { operand: n as u32, read, written };
        }
        let uses = &uses[..count];
        let form = form(i.code());
        if form.may_swap && swaps_high_byte(i) || self.needs_flags_of_the_interpreter(i) {
            self.spill_all();
            return self.fall_back(i);
        }
        let mut g = *i;
        g.set_code(form.general);
        let memory = uses.iter().find(|u| i.op_kind(u.operand) == OpKind::Memory);
        let keeps = self.plan.recipe(self.number).map_or(Keeps::Nothing, |recipe| recipe.keeps);
        let mut pending = None;
        if let Some(u) = memory {
            let access = if u.written { Access::Write } else { Access::Read };
            let operand = self.operand(i, access);
            point_at(&mut g, sized(T1, 8), operand.displacement);
            pending = operand.pending;
            self.scratch.pin(T1);
            if keeps == Keeps::Memory {
                self.keep_memory(&mut g, u.operand, operand.displacement);
            }
            if keeps == Keeps::Register && self.lost_flags().is_some_and(|lost| lost.keeps != Keeps::Nothing)
            {
                // Both keep something in the same place, and a fault of the access needs what is there now.
                self.load_memory(&mut g, u.operand, operand.displacement);
            }
        }
        let (read, written) = self.plan.flags[self.number].uses;
        let partial = written != 0 && written != ARITHMETIC;
        let scans = is_bit_scan(i);
        if scans {
            self.prepare_scan_flags();
        } else if self.flags == Flags::Memory && needs_carry_only(read, written) {
            self.load_carry();
        } else if read != 0 || partial {
            self.need_flags();
        }
        self.with_registers(i, &mut g, uses, memory.is_some(), keeps);
        if scans {
            self.scan_flags(i);
        } else if i.mnemonic() == Mnemonic::Imul {
            self.flags_are(Flags::Product);
        } else if written != 0 {
            self.flags_are(Flags::Host);
        } else if pending.is_some() && self.flags == Flags::Both {
            self.flags = Flags::Memory;
        }
        if let Some(pending) = pending {
            self.resume(pending);
        }
    }

    /// Emits `g` after its register operands became the host's; `memory`: it has a memory operand, at T1.
    fn with_registers(
        &mut self,
        i: &Instruction,
        g: &mut Instruction,
        uses: &[Use],
        memory: bool,
        keeps: Keeps,
    ) {
        let mut rotated = None;
        let mut copied = 0u8;
        for u in uses {
            if i.op_kind(u.operand) != OpKind::Register || !i.op_register(u.operand).is_gpr() {
                continue;
            }
            let r = i.op_register(u.operand);
            let n = gpr_number(r);
            if is_high_byte(r) {
                let Some(host) = HOST[n as usize] else { unreachable!("{r:?} has a register") };
                if u.written && memory {
                    // The access may yet fault, and the register must be what it was then.
                    let copy = self.take_scratch();
                    rotated = Some((copy, host));
                    g.set_op_register(u.operand, sized(copy, 1));
                } else if u.written {
                    copied |= self.keep_low(i, g, uses, n, host);
                    rotated = Some((host, host));
                    g.set_op_register(u.operand, sized(host, 1));
                } else {
                    let copy = self.take_scratch();
                    self.e.rorx(Width::Qword, copy, host, 8);
                    g.set_op_register(u.operand, sized(copy, 1));
                }
                continue;
            }
            if let Some(host) = HOST[n as usize & 15] {
                if copied >> u.operand & 1 == 0 {
                    g.set_op_register(u.operand, renamed(r, host));
                }
                continue;
            }
            let in_memory = self.scratch.holder(n).is_none() && !self.used_soon(n);
            if in_memory && !memory && keeps == Keeps::Nothing && stays_in_memory(i, *u) {
                g.set_op_kind(u.operand, OpKind::Memory);
                point_at(g, Register::RSP, n as i32 * 8);
                continue;
            }
            let same = |v: &Use| {
                i.op_kind(v.operand) == OpKind::Register
                    && i.op_register(v.operand).full_register() == r.full_register()
            };
            let load = uses.iter().any(|v| same(v) && (v.read || i.op_register(v.operand).size() < 4));
            let host = self.guest_register(n, load, u.written);
            if copied >> u.operand & 1 == 0 {
                g.set_op_register(u.operand, renamed(r, host));
            }
        }
        if let Some((copy, host)) = rotated {
            self.e.rorx(Width::Qword, copy, host, 8);
        }
        if keeps == Keeps::Register {
            let n = gpr_number(i.op0_register());
            if let Some(host) = HOST[n as usize].or(self.scratch.holder(n)) {
                self.e.mov_mr(Width::Qword, state(FLAGS_OPERAND), host);
            }
        }
        if self.takes_last_step_alone(i) {
            self.encode_in_two_steps(g);
        } else {
            self.encode(g);
        }
        if let Some((copy, host)) = rotated {
            self.e.rorx(Width::Qword, host, copy, 56);
        }
    }

    /// Rotates by all but one, and then by one.
    fn encode_in_two_steps(&mut self, g: &mut Instruction) {
        let Some(code) = one_step(g.code()) else { unreachable!("{:?} is a rotation", g.code()) };
        g.set_immediate8(g.immediate8() - 1);
        self.encode(g);
        g.set_code(code);
        g.set_immediate8(1);
        self.encode(g);
    }
    /// Loads the memory operand, number `n` of `g`, which becomes a register, and keeps it for the
    /// instruction's recipe.
    fn keep_memory(&mut self, g: &mut Instruction, n: u32, displacement: i32) {
        let host = self.load_memory(g, n, displacement);
        self.e.mov_mr(Width::Qword, state(FLAGS_OPERAND), host);
    }
    /// Loads the memory operand, number `n` of `g`, into a scratch register, which takes its place.
    fn load_memory(&mut self, g: &mut Instruction, n: u32, displacement: i32) -> Reg {
        let bytes = g.memory_size().size();
        let (host, place) = (self.take_scratch(), Mem::base(T1, displacement));
        match width_of(bytes) {
            width @ (Width::Byte | Width::Word) => self.e.movzx_rm(width, host, place),
            width => self.e.mov_rm(width, host, place),
        }
        g.set_op_kind(n, OpKind::Register);
        g.set_op_register(n, sized(host, bytes));
        g.set_segment_prefix(Register::None);
        host
    }

    /// `host` will be rotated to reach its high byte: where its low byte is also read, that is
    /// copied first. Gives the operands that became copies, a bit each.
    fn keep_low(&mut self, i: &Instruction, g: &mut Instruction, uses: &[Use], n: u8, host: Reg) -> u8 {
        let mut copied = 0;
        for u in uses {
            let other = i.op_kind(u.operand) == OpKind::Register && i.op_register(u.operand).is_gpr();
            if !other || is_high_byte(i.op_register(u.operand)) || gpr_number(i.op_register(u.operand)) != n {
                continue;
            }
            let copy = self.take_scratch();
            self.e.mov_rr(Width::Qword, copy, host);
            g.set_op_register(u.operand, sized(copy, i.op_register(u.operand).size()));
            copied |= 1 << u.operand;
        }
        copied
    }

    /// LEA: the address is the result.
    pub(super) fn lea(&mut self, i: &Instruction) {
        let n = gpr_number(i.op0_register());
        let bytes = i.op0_register().size();
        if bytes == 2 {
            self.spill_all();
            self.effective_address(i, T1, 0);
            self.scratch.forget_all();
            let host = self.register_in(n, T2);
            self.e.mov_rr(Width::Word, host, T1);
            return self.register_out(n, host);
        }
        for r in [i.memory_base(), i.memory_index()].into_iter().filter(|r| r.is_gpr()) {
            self.guest_register(gpr_number(r), true, false);
        }
        let host = self.guest_register(n, false, true);
        let width = if iced_address_bits(i, self.source.mode) == 64 { width_of(bytes) } else { Width::Dword };
        self.address_as(i, host, 0, width);
    }

    /// CWDE, CDQE, CDQ, CQO. Flags stay.
    pub(super) fn extend(&mut self, i: &Instruction) {
        use crate::layout::RAX;
        match i.mnemonic() {
            Mnemonic::Cwde => {
                self.encode_two(Code::Movsx_r32_rm16, sized(RAX, 4), sized(RAX, 2));
            }
            Mnemonic::Cdqe => {
                self.encode_two(Code::Movsxd_r64_rm32, sized(RAX, 8), sized(RAX, 4));
            }
            mnemonic => {
                let wide = mnemonic == Mnemonic::Cqo;
                self.spill(T0);
                self.e.mov_ri(T0, if wide { 63 } else { 31 });
                let width = if wide { Width::Qword } else { Width::Dword };
                self.e.sarx(width, Reg::Rdx, RAX, T0);
            }
        }
    }
    fn encode_two(&mut self, code: Code, a: Register, b: Register) {
        match Instruction::with2(code, a, b) {
            Ok(i) => self.encode(&i),
            Err(error) => unreachable!("{code:?}: {error}"),
        }
    }

    /// CMPXCHG, CMPXCHG8B, CMPXCHG16B: the accumulator goes through the host's.
    pub(super) fn compare_exchange(&mut self, i: &Instruction) {
        use crate::layout::RAX;
        if (0..i.op_count()).any(|n| i.op_kind(n) == OpKind::Register && is_high_byte(i.op_register(n))) {
            return self.fall_back(i);
        }
        let memory = i.op0_kind() == OpKind::Memory;
        if !memory {
            // The register may be the accumulator itself.
            return self.fall_back(i);
        }
        let mut g = *i;
        let operand = self.operand(i, Access::Write);
        point_at(&mut g, sized(T1, 8), operand.displacement);
        let (read, written) = flag_use(i);
        if read != 0 || written != ARITHMETIC {
            self.need_flags();
        }
        self.e.mov_rr(Width::Qword, T0, RAX);
        if i.op_count() == 2 {
            let r = i.op1_register();
            let n = gpr_number(r);
            let host = if n == 0 { T0 } else { self.register_in(n, T2) };
            g.set_op1_register(sized(host, r.size()));
        }
        self.encode(&g);
        self.e.mov_rr(Width::Qword, RAX, T0);
        self.flags_are(Flags::Host);
        if let Some(pending) = operand.pending {
            self.resume(pending);
        }
    }
}

/// XCHG and XADD of a high byte and another register; a shift of CH by CL.
pub(super) fn swaps_high_byte(i: &Instruction) -> bool {
    let shifts_ch = i.op_count() == 2
        && i.op0_kind() == OpKind::Register
        && i.op0_register() == Register::CH
        && i.op1_kind() == OpKind::Register
        && i.op1_register() == Register::CL
        && flag_use(i).0 == ARITHMETIC;
    shifts_ch
        || matches!(i.mnemonic(), Mnemonic::Xchg | Mnemonic::Xadd)
            && (0..2).any(|n| i.op_kind(n) == OpKind::Register && is_high_byte(i.op_register(n)))
}
/// Whether that may be so of an instruction of this form.
pub(super) fn may_swap_high_byte(code: Code) -> bool {
    let form = code.op_code();
    let shift = form.op_count() == 2 && form.op_kind(1) == OpCodeOperandKind::cl;
    shift || matches!(code.mnemonic(), Mnemonic::Xchg | Mnemonic::Xadd)
}

/// The memory operand becomes `[base + displacement]`.
pub(super) fn point_at(g: &mut Instruction, base: Register, displacement: i32) {
    g.set_memory_base(base);
    g.set_memory_index(Register::None);
    g.set_memory_index_scale(1);
    g.set_memory_displacement64(displacement as i64 as u64);
    g.set_memory_displ_size(u32::from(displacement != 0));
    g.set_segment_prefix(Register::None);
}

/// Whether a register operand that stays in memory is best used there: it is written as a whole, and the
/// instruction has a form with a memory operand in its place that means the same. Operands that are only read
/// are loaded with a MOV of all 64 bits, which processors forward from the last store at no cost.
fn stays_in_memory(i: &Instruction, u: Use) -> bool {
    use Mnemonic as M;
    use iced_x86::OpCodeOperandKind as K;
    let vector =
        (0..i.op_count()).any(|n| i.op_kind(n) == OpKind::Register && i.op_register(n).is_vector_register());
    // XOR and SUB of a register with itself count as reading neither.
    let twice = i.op_count() == 2 && i.op1_kind() == OpKind::Register && i.op0_register() == i.op1_register();
    if twice
        || !u.written
        || i.op_register(u.operand).size() != 8
        || vector
        || matches!(i.mnemonic(), M::Xchg | M::Bt | M::Bts | M::Btr | M::Btc)
    {
        return false;
    }
    let place = form(i.code()).general.op_code().op_kind(u.operand);
    matches!(place, K::r8_or_mem | K::r16_or_mem | K::r32_or_mem | K::r64_or_mem)
}

/// Arithmetic flags that `i` reads (or may keep), and that it writes.
pub(super) fn flag_use(i: &Instruction) -> (u32, u32) {
    form(i.code()).flag_use(i)
}
/// The same, found out.
pub(super) fn flag_use_of(i: &Instruction) -> (u32, u32) {
    if let Some(row) = alu::instruction(i.mnemonic()) {
        if !matches!(row.shape, Shape::Shift | Shape::DoubleShift) {
            return (row.reads, row.changes);
        }
        // A shift keeps all flags if its count is zero, and some in any case if it does not change all.
        let kept = row.changes != ARITHMETIC || shift_count(i) == 0;
        return (if kept { ARITHMETIC } else { row.reads }, ARITHMETIC);
    }
    // These keep some flags: see `undefined_flags`.
    if is_bit_scan(i) {
        return (ARITHMETIC, ARITHMETIC);
    }
    (i.rflags_read() & ARITHMETIC, i.rflags_modified() & ARITHMETIC)
}
/// The count of a shift; 0 where it is not known.
pub(super) fn shift_count(i: &Instruction) -> u8 {
    if i.op_kind(i.op_count() - 1) != OpKind::Immediate8 {
        return 0;
    }
    let bytes =
        if i.op0_kind() == OpKind::Register { i.op0_register().size() } else { i.memory_size().size() };
    i.immediate8() & if bytes == 8 { 63 } else { 31 }
}

/// Whether an instruction that reads and writes these arithmetic flags needs CF only: it reads no other, and
/// overwrites the others, or writes none.
fn needs_carry_only(read: u32, written: u32) -> bool {
    use iced_x86::RflagsBits as F;
    match written {
        0 => read == F::CF,
        ARITHMETIC => read == F::CF,
        _ => read & !F::CF == 0 && written == ARITHMETIC & !F::CF,
    }
}

/// The form of an instruction whose operands are free to choose, for one that fixes the accumulator.
pub(super) fn general_code(code: Code) -> Code {
    use Code as C;
    if alu::instruction(code.mnemonic()).is_some() {
        return general_alu_code(code);
    }
    match code {
        C::Mov_AL_moffs8 => C::Mov_r8_rm8,
        C::Mov_AX_moffs16 => C::Mov_r16_rm16,
        C::Mov_EAX_moffs32 => C::Mov_r32_rm32,
        C::Mov_RAX_moffs64 => C::Mov_r64_rm64,
        C::Mov_moffs8_AL => C::Mov_rm8_r8,
        C::Mov_moffs16_AX => C::Mov_rm16_r16,
        C::Mov_moffs32_EAX => C::Mov_rm32_r32,
        C::Mov_moffs64_RAX => C::Mov_rm64_r64,
        C::Xchg_r16_AX => C::Xchg_rm16_r16,
        C::Xchg_r32_EAX => C::Xchg_rm32_r32,
        C::Xchg_r64_RAX => C::Xchg_rm64_r64,
        code => code,
    }
}
/// The same of the ALU's: the form of the same instruction with ModRM in place of what the opcode fixes.
fn general_alu_code(code: Code) -> Code {
    use OpCodeOperandKind as K;
    /// The alias of 80h, which 64-bit mode lacks.
    const ALIAS: u32 = 0x82;
    let kinds = |code: Code| -> Vec<K> {
        let form = code.op_code();
        (0..form.op_count()).map(|n| form.op_kind(n)).collect()
    };
    let mut general = kinds(code);
    let Some(first) = general.first_mut() else { return code };
    *first = match *first {
        K::al => K::r8_or_mem,
        K::ax => K::r16_or_mem,
        K::eax => K::r32_or_mem,
        K::rax => K::r64_or_mem,
        K::r16_opcode => K::r16_or_mem,
        K::r32_opcode => K::r32_or_mem,
        _ if code.op_code().op_code() == ALIAS => *first,
        _ => return code,
    };
    let mut forms = Code::values().filter(|other| other.mnemonic() == code.mnemonic());
    forms.find(|&other| other.op_code().op_code() != ALIAS && kinds(other) == general).unwrap_or(code)
}
