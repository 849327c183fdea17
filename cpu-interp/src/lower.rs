//! Lowering: from an iced-x86 instruction to ops.
//!
//! Operands are laid out in one way for all instructions (see [`Op`]): registers in operand
//! order into `r1` to `r3`, the memory operand into base, index, scale, displacement and segment,
//! the immediate into `imm`. Then the handler is chosen: near transfers of control here, the
//! integer instructions that are specialised by operand form in [`crate::insn::integer`], everything
//! else by the rows of the instruction families.

use crate::core::mode;
use crate::insn;
use crate::jump::{self, near};
use crate::op::{Handler, Op, Row, Unit, body, info};
use iced_x86::{
    Code, CpuidFeature, DecoderOptions, EncodingKind, Instruction, MemorySize, Mnemonic, OpKind, Register,
};
use std::sync::OnceLock;
use trimotor_cpu::Fault;
use trimotor_cpu::model::CpuModel;
use trimotor_cpu::state::reg_file;

/// What lowering depends on.
pub struct Lowering<'a> {
    /// The mode (see [`mode`]).
    pub mode: u32,
    /// What the CPU has.
    pub model: &'a CpuModel,
    /// RIP of the block.
    pub rip: u64,
    /// Offset of the block within its page.
    pub page_offset: usize,
    /// Other vCPUs may run at the same time: locked instructions take the way that makes them atomic.
    pub atomic: bool,
}

/// An op without operands.
pub fn bare_op(handler: Handler, offset: u16) -> Op {
    Op {
        handler,
        imm: 0,
        disp: 0,
        base: reg_file::ZERO,
        index: reg_file::ZERO,
        scale: 0,
        seg: reg_file::SEG_BASE + 3 * 8,
        r1: 0,
        r2: 0,
        r3: 0,
        len: 0,
        offset,
        left: 0,
        info: 0,
    }
}

fn undefined(_core: &mut crate::core::Core, _op: &Op) -> crate::op::Done {
    Err(Fault::UD)
}
fn unavailable(_core: &mut crate::core::Core, _op: &Op) -> crate::op::Done {
    Err(Fault::NM)
}
fn too_long(_core: &mut crate::core::Core, _op: &Op) -> crate::op::Done {
    Err(Fault::gp(0))
}
fn load_temp(core: &mut crate::core::Core, op: &Op) -> crate::op::Done {
    core.state.reg_file[(reg_file::TEMP / 8) as usize] = op.imm;
    Ok(())
}

/// Rows by code. Built once from the families' tables.
fn table() -> &'static [Option<Row>] {
    static TABLE: OnceLock<Vec<Option<Row>>> = OnceLock::new();
    TABLE.get_or_init(|| {
        let mut table = vec![None; iced_x86::Code::values().count()];
        for row in insn::families().iter().flat_map(|rows| rows.iter()) {
            table[row.code as usize] = Some(*row);
        }
        table
    })
}

/// Forms that no CPU and no mode refuses: the integer instructions that all have.
fn is_always_there(code: Code) -> bool {
    static FORMS: OnceLock<Vec<bool>> = OnceLock::new();
    let forms = FORMS.get_or_init(|| Code::values().map(never_refused).collect());
    forms[code as usize]
}
fn never_refused(code: Code) -> bool {
    use CpuidFeature as F;
    // What has X64 is decoded in 64-bit mode only.
    let base = |f: &CpuidFeature| {
        matches!(f, F::INTEL8086 | F::INTEL186 | F::INTEL286 | F::INTEL386 | F::INTEL486 | F::X64)
    };
    let row_unit = table()[code as usize].map_or(Unit::Auto, |row| row.unit);
    code.encoding() == EncodingKind::Legacy
        && code.cpuid_features().iter().all(base)
        && matches!(row_unit, Unit::Auto | Unit::None)
        && code.mnemonic() != Mnemonic::Wait
}

/// Whether the interpreter has the instruction form.
pub fn implements(code: Code) -> bool {
    table()[code as usize].is_some() || insn::integer::implements(code) || is_near_transfer(code)
}

/// Whether it is a near jump, call or return.
pub fn is_near_transfer(code: Code) -> bool {
    code.is_jmp_short_or_near()
        || code.is_jcc_short_or_near()
        || code.is_call_near()
        || code.is_jmp_near_indirect()
        || code.is_call_near_indirect()
        || code.is_loop()
        || code.is_loopcc()
        || code.is_jcx_short()
        || matches!(
            code,
            Code::Retnw
                | Code::Retnd
                | Code::Retnq
                | Code::Retnw_imm16
                | Code::Retnd_imm16
                | Code::Retnq_imm16
        )
}

impl Lowering<'_> {
    /// How iced must decode for this CPU: without TZCNT and LZCNT, their encodings are BSF and BSR with a
    /// prefix that means nothing.
    pub fn decoder_options(&self) -> u32 {
        let mut options = DecoderOptions::NONE;
        if !self.model.allows_iced(CpuidFeature::BMI1) {
            options |= DecoderOptions::NO_MPFX_0FBC;
        }
        if !self.model.allows_iced(CpuidFeature::LZCNT) {
            options |= DecoderOptions::NO_MPFX_0FBD;
        }
        options
    }

    /// Where `i` is a conditional jump that is linked within its page: its condition.
    pub fn linked_condition(&self, i: &Instruction) -> Option<u8> {
        if !i.code().is_jcc_short_or_near() || self.mode & mode::OPEN_CS == 0 {
            return None;
        }
        let bits = near_operand_bits(i, self.mode);
        let natural = if self.mode & mode::CODE_SIZE == mode::CODE64 { 64 } else { 32 };
        let relative = i.near_branch_target().wrapping_sub(self.rip) as i64;
        let within = (0..4096).contains(&(self.page_offset as i64 + relative));
        (bits == natural && within).then(|| condition_number(i.code().condition_code() as u8))
    }

    /// Appends the ops of `i`, which starts `offset` bytes into the block.
    pub fn lower(&self, i: &Instruction, offset: u16, ops: &mut Vec<Op>) {
        let mut op = bare_op(body(undefined), offset);
        op.len = i.len() as u8;
        if i.is_invalid() {
            if i.len() >= 15 {
                op.handler = body(too_long);
            }
            ops.push(op);
            return;
        }
        if let Some(handler) = self.refusal(i) {
            op.handler = handler;
            ops.push(op);
            return;
        }
        self.operands(i, &mut op, ops);
        if is_near_transfer(i.code()) {
            self.near_transfer(i, &mut op);
        } else if let Some(handler) = insn::integer::select(self, i, &mut op) {
            op.handler = handler;
        } else if let Some(row) = table()[i.code() as usize] {
            op.handler = row.select(&op);
        } else {
            log::debug!("no handler for {:?}", i.code());
        }
        ops.push(op);
    }

    /// #UD or #NM where the model lacks the instruction or its unit is switched off.
    pub(crate) fn refusal(&self, i: &Instruction) -> Option<Handler> {
        if is_always_there(i.code()) {
            return None;
        }
        if i.cpuid_features().iter().any(|&f| !self.model.allows_iced(f)) {
            return Some(body(undefined));
        }
        let on = |bit: u32| self.mode & bit != 0;
        let vex = i.encoding() == EncodingKind::VEX;
        if vex && !on(mode::PROTECTED) {
            return Some(body(undefined));
        }
        if matches!(i.encoding(), EncodingKind::EVEX | EncodingKind::XOP | EncodingKind::MVEX) {
            return Some(body(undefined));
        }
        let unit = match table()[i.code() as usize] {
            Some(row) if row.unit != Unit::Auto => row.unit,
            _ => unit_of(i, vex),
        };
        let (ud, nm) = match unit {
            Unit::Auto | Unit::None => return None,
            Unit::X87 if i.mnemonic() == Mnemonic::Wait => (false, on(mode::TS) && on(mode::MP)),
            Unit::X87 => (false, on(mode::EM) || on(mode::TS)),
            Unit::Mmx => (on(mode::EM), on(mode::TS)),
            Unit::Sse => (on(mode::EM) || !on(mode::SSE), on(mode::TS)),
            Unit::Avx => (!on(mode::AVX), on(mode::TS)),
        };
        if ud {
            Some(body(undefined))
        } else if nm {
            Some(body(unavailable))
        } else {
            None
        }
    }

    /// Lays the operands out.
    fn operands(&self, i: &Instruction, op: &mut Op, ops: &mut Vec<Op>) {
        let mut registers = [0u8; 4];
        let mut count = 0;
        let mut immediates = 0;
        for n in 0..i.op_count() {
            match i.op_kind(n) {
                OpKind::Register => {
                    registers[count.min(3)] = register_operand(i.op_register(n));
                    count += 1;
                }
                OpKind::Memory => self.memory(i, op, ops),
                OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64 => {}
                OpKind::FarBranch16 => {
                    op.imm = (i.far_branch_selector() as u64) << 32 | i.far_branch16() as u64;
                }
                OpKind::FarBranch32 => {
                    op.imm = (i.far_branch_selector() as u64) << 32 | i.far_branch32() as u64;
                }
                OpKind::Immediate8_2nd => op.imm |= (i.immediate8_2nd() as u64) << 32,
                kind if is_string(kind) => self.string(i, kind, op),
                _ => {
                    op.imm = i.immediate(n);
                    immediates += 1;
                }
            }
        }
        if count > 3 || i.op_count() == 4 && i.op_kind(3) == OpKind::Register {
            op.imm |= (registers[count - 1] as u64) << if immediates > 0 { 8 } else { 0 };
        }
        [op.r1, op.r2, op.r3] = [registers[0], registers[1], registers[2]];
        if i.memory_index().is_vector_register() {
            // Gathers have two register operands: the third is the index.
            op.r3 = i.memory_index().number() as u8;
        }
        if i.has_rep_prefix() || i.has_repe_prefix() {
            op.info |= info::REP;
        }
        if i.has_repne_prefix() {
            op.info |= info::REPNE;
        }
        if self.mode & mode::FP_CHECKED != 0 {
            op.info |= info::FP_CHECKED;
        }
    }

    fn memory(&self, i: &Instruction, op: &mut Op, ops: &mut Vec<Op>) {
        let (base, index) = (i.memory_base(), i.memory_index());
        op.info |= info::MEM;
        let bits = iced_address_bits(i, self.mode);
        op.seg = reg_file::SEG_BASE + segment_number(i.memory_segment()) * 8;
        self.address_size(op, bits);
        if self.atomic && (i.has_lock_prefix() || i.mnemonic() == Mnemonic::Xchg) {
            op.info |= info::GENERAL;
        }
        if base == Register::RIP || base == Register::EIP {
            op.base = reg_file::BLOCK_RIP;
            let relative = i.memory_displacement64().wrapping_sub(self.rip) as i64;
            let relative = if bits == 32 { relative as i32 as i64 } else { relative };
            match i32::try_from(relative) {
                Ok(disp) => op.disp = disp,
                Err(_) => {
                    let mut temp = bare_op(body(load_temp), op.offset);
                    temp.imm = relative as u64;
                    ops.push(temp);
                    op.index = reg_file::TEMP;
                }
            }
            return;
        }
        if base != Register::None {
            op.base = base.full_register().number() as u8 * 8;
        }
        if index.is_vector_register() {
            op.scale = i.memory_index_scale().trailing_zeros() as u8;
        } else if index != Register::None {
            op.index = index.full_register().number() as u8 * 8;
            op.scale = i.memory_index_scale().trailing_zeros() as u8;
        }
        let displacement = i.memory_displacement64();
        if bits == 64 && i32::try_from(displacement as i64).is_err() {
            // MOV with a 64-bit address.
            let mut temp = bare_op(body(load_temp), op.offset);
            temp.imm = displacement;
            ops.push(temp);
            op.index = reg_file::TEMP;
        } else {
            op.disp = displacement as i32;
        }
    }

    /// String operands: the segment of the source, and the address size.
    fn string(&self, i: &Instruction, kind: OpKind, op: &mut Op) {
        let (bits, source) = match kind {
            OpKind::MemorySegSI | OpKind::MemorySegDI => (16, true),
            OpKind::MemorySegESI | OpKind::MemorySegEDI => (32, true),
            OpKind::MemorySegRSI | OpKind::MemorySegRDI => (64, true),
            OpKind::MemoryESDI => (16, false),
            OpKind::MemoryESEDI => (32, false),
            _ => (64, false),
        };
        self.address_size(op, bits);
        if source {
            op.seg = reg_file::SEG_BASE + segment_number(i.memory_segment()) * 8;
        }
    }

    fn address_size(&self, op: &mut Op, bits: u32) {
        op.info |= match bits {
            16 => info::ADDR16,
            32 => info::ADDR32,
            _ => 0,
        };
        let natural = match self.mode & mode::CODE_SIZE {
            mode::CODE64 => bits == 64,
            _ => bits == 32,
        };
        let open = self.mode >> (mode::OPEN_SHIFT + op.segment() as u32) & 1 != 0;
        // CS counts as open for fetches; data accesses through it are rare and take the checked way.
        let through_cs = op.segment() == 1 && self.mode & mode::CODE_SIZE != mode::CODE64;
        if !natural || !open || through_cs || self.mode & mode::ALIGN != 0 {
            op.info |= info::GENERAL;
        }
    }

    /// Near JMP, Jcc, CALL, RET, LOOP.
    fn near_transfer(&self, i: &Instruction, op: &mut Op) {
        let code = i.code();
        let bits = near_operand_bits(i, self.mode);
        let is64 = self.mode & mode::CODE_SIZE == mode::CODE64;
        let open = self.mode & mode::OPEN_CS != 0;
        let direct =
            matches!(i.op0_kind(), OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64);
        let mut link = false;
        if direct {
            let relative = i.near_branch_target().wrapping_sub(self.rip) as i64;
            // In 16 and 32-bit code, cutting the sum makes up for what is lost here.
            op.disp = relative as i32;
            if is64 && i32::try_from(relative).is_err() {
                // A displacement of nearly 2 GiB plus the offset within the block.
                let condition =
                    if code.is_jcc_short_or_near() { code.condition_code() as u8 - 1 } else { 16 };
                op.r1 = condition;
                op.r2 = 64;
                op.r3 = if code.is_call_near() { near::CALL_WIDE } else { near::JMP_WIDE };
                op.imm = relative as u64;
                op.handler = jump::near_general;
                return;
            }
            let target = self.page_offset as i64 + relative;
            link = open && bits >= 32 && (0..4096).contains(&target);
        }
        let fast = open && bits == if is64 { 64 } else { 32 };
        if code.is_jcc_short_or_near() {
            let cc = code.condition_code() as u8;
            op.r1 = bits as u8;
            op.r2 = condition_number(cc);
            op.handler = match (fast, link) {
                (true, true) => JCC_LINK[op.r2 as usize],
                (true, false) => JCC_PAGE[op.r2 as usize],
                _ => jump::jcc_checked,
            };
        } else if code.is_jmp_short_or_near() {
            op.r1 = bits as u8;
            op.handler = match (fast, link) {
                (true, true) => jump::jmp_link,
                (true, false) => jump::jmp_page,
                _ => jump::jmp_checked,
            };
        } else if code.is_loop() || code.is_loopcc() || code.is_jcx_short() {
            op.r1 = bits as u8;
            op.r2 = match i.mnemonic() {
                Mnemonic::Loopne => 0,
                Mnemonic::Loope => 1,
                Mnemonic::Loop => 2,
                _ => 3,
            };
            let counter = loop_counter_bits(code);
            op.info |= match counter {
                16 => info::ADDR16,
                32 => info::ADDR32,
                _ => 0,
            };
            op.handler = jump::loop_rel;
        } else {
            self.call_or_ret(i, op, bits, is64 && bits == 64, link);
        }
    }

    fn call_or_ret(&self, i: &Instruction, op: &mut Op, bits: u32, fast: bool, link: bool) {
        let code = i.code();
        let kind = if code.is_call_near() {
            near::CALL_DIRECT
        } else if code.is_call_near_indirect() {
            near::CALL_INDIRECT
        } else if code.is_jmp_near_indirect() {
            near::JMP_INDIRECT
        } else {
            near::RET
        };
        op.r2 = bits as u8;
        op.r3 = kind;
        op.handler = match (fast, kind) {
            (false, _) => jump::near_general,
            (true, near::CALL_DIRECT) if link => jump::call_near64::<true>,
            (true, near::CALL_DIRECT) => jump::call_near64::<false>,
            (true, near::CALL_INDIRECT) => jump::indirect64::<true>,
            (true, near::JMP_INDIRECT) => jump::indirect64::<false>,
            (true, _) => jump::ret_near64,
        };
    }
}

/// Which unit an instruction needs, by its encoding and registers.
fn unit_of(i: &Instruction, vex: bool) -> Unit {
    use iced_x86::CpuidFeature as F;
    let vector = (0..i.op_count())
        .any(|n| i.op_kind(n) == OpKind::Register && (i.op_register(n).is_vector_register()));
    let mmx = (0..i.op_count()).any(|n| i.op_kind(n) == OpKind::Register && i.op_register(n).is_mm());
    if vex {
        return if vector
            || matches!(
                i.mnemonic(),
                Mnemonic::Vzeroupper | Mnemonic::Vzeroall | Mnemonic::Vldmxcsr | Mnemonic::Vstmxcsr
            ) {
            Unit::Avx
        } else {
            Unit::None
        };
    }
    if vector {
        return Unit::Sse;
    }
    if mmx {
        return Unit::Mmx;
    }
    let mut unit = Unit::None;
    for f in i.cpuid_features() {
        unit = match f {
            F::FPU | F::FPU287 | F::FPU387 => Unit::X87,
            F::MMX => Unit::Mmx,
            F::SSE3 if i.is_stack_instruction() => unit,
            F::SSE if matches!(i.mnemonic(), Mnemonic::Ldmxcsr | Mnemonic::Stmxcsr) => Unit::Sse,
            F::SSE3 if i.mnemonic() == Mnemonic::Fisttp => Unit::X87,
            _ => unit,
        };
    }
    if matches!(i.mnemonic(), Mnemonic::Fisttp | Mnemonic::Wait) {
        unit = Unit::X87;
    }
    unit
}

/// Slot offset of a general register, or the number of another one.
fn register_operand(r: Register) -> u8 {
    use Register as R;
    match r {
        R::AH => 1,
        R::CH => 8 + 1,
        R::DH => 16 + 1,
        R::BH => 24 + 1,
        r if r.is_gpr() => r.full_register().number() as u8 * 8,
        r if r.is_segment_register() => segment_number(r),
        r => r.number() as u8,
    }
}

fn segment_number(r: Register) -> u8 {
    match r {
        Register::ES => 0,
        Register::CS => 1,
        Register::SS => 2,
        Register::FS => 4,
        Register::GS => 5,
        _ => 3,
    }
}

/// Address size of the memory operand in bits.
pub fn iced_address_bits(i: &Instruction, m: u32) -> u32 {
    let of = |r: Register| match r.size() {
        2 => Some(16),
        4 => Some(32),
        8 => Some(64),
        _ => None,
    };
    let (base, index) = (i.memory_base(), i.memory_index());
    if base != Register::None
        && let Some(bits) = of(base)
    {
        return bits;
    }
    if index != Register::None
        && !index.is_vector_register()
        && let Some(bits) = of(index)
    {
        return bits;
    }
    match i.memory_displ_size() {
        2 => 16,
        4 => 32,
        8 => 64,
        _ if m & mode::CODE_SIZE == mode::CODE64 => 64,
        _ if m & mode::CODE_SIZE == mode::CODE32 => 32,
        _ => 16,
    }
}

fn is_string(kind: OpKind) -> bool {
    matches!(
        kind,
        OpKind::MemorySegSI
            | OpKind::MemorySegESI
            | OpKind::MemorySegRSI
            | OpKind::MemorySegDI
            | OpKind::MemorySegEDI
            | OpKind::MemorySegRDI
            | OpKind::MemoryESDI
            | OpKind::MemoryESEDI
            | OpKind::MemoryESRDI
    )
}

/// Operand size of a near transfer in bits.
pub fn near_operand_bits(i: &Instruction, m: u32) -> u32 {
    if m & mode::CODE_SIZE == mode::CODE64 {
        // Intel ignores the operand-size prefix here in 64-bit mode; so do we, and so iced decodes.
        return 64;
    }
    match i.code() {
        // Without an operand, iced reports the first one as a register that is none.
        Code::Retnw | Code::Retnw_imm16 => return 16,
        Code::Retnd | Code::Retnd_imm16 => return 32,
        _ => {}
    }
    match i.op0_kind() {
        OpKind::NearBranch16 => 16,
        OpKind::NearBranch32 => 32,
        OpKind::Register => i.op0_register().size() as u32 * 8,
        OpKind::Memory => match i.memory_size() {
            MemorySize::UInt16 | MemorySize::WordOffset => 16,
            _ => 32,
        },
        _ => 32,
    }
}

fn loop_counter_bits(code: Code) -> u32 {
    use Code as C;
    match code {
        C::Jcxz_rel8_16
        | C::Jcxz_rel8_32
        | C::Loop_rel8_16_CX
        | C::Loop_rel8_32_CX
        | C::Loope_rel8_16_CX
        | C::Loope_rel8_32_CX
        | C::Loopne_rel8_16_CX
        | C::Loopne_rel8_32_CX => 16,
        C::Jrcxz_rel8_16
        | C::Jrcxz_rel8_64
        | C::Loop_rel8_16_RCX
        | C::Loop_rel8_64_RCX
        | C::Loope_rel8_16_RCX
        | C::Loope_rel8_64_RCX
        | C::Loopne_rel8_16_RCX
        | C::Loopne_rel8_64_RCX => 64,
        _ => 32,
    }
}

/// The condition number of Jcc's opcode from iced's order.
fn condition_number(cc: u8) -> u8 {
    // iced: None, o, no, b, ae, e, ne, be, a, s, ns, p, np, l, ge, le, g
    cc - 1
}

macro_rules! by_condition {
    ($f:path) => {{
        use $f as f;
        [
            f::<0>, f::<1>, f::<2>, f::<3>, f::<4>, f::<5>, f::<6>, f::<7>, f::<8>, f::<9>, f::<10>, f::<11>,
            f::<12>, f::<13>, f::<14>, f::<15>,
        ]
    }};
}
static JCC_LINK: [Handler; 16] = by_condition!(jump::jcc_link);
static JCC_PAGE: [Handler; 16] = by_condition!(jump::jcc_page);
