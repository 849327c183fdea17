//! How an instruction is translated.

use super::forms::form;
use super::{registers, strings, system};
use iced_x86::{
    Code, CpuidFeature, EncodingKind, FlowControl, Instruction, MemorySize, Mnemonic, OpKind, Register,
};
use trimotor_cpu::alu;
use trimotor_cpu_interp::core::mode;
use trimotor_cpu_interp::lower::{Lowering, iced_address_bits, near_operand_bits};

/// How an instruction is translated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names are the manual's")]
pub enum Kind {
    /// It does nothing.
    Nothing,
    /// As it is, with other registers.
    Generic {
        /// It uses vector registers.
        vector: bool,
    },
    /// An x87 instruction, as it is.
    X87,
    /// An MMX instruction, as it is, with other general registers.
    Mmx,
    Sahf,
    Lea,
    Push,
    Pop,
    Leave,
    /// CBW and its kin.
    Extend,
    /// MUL, and IMUL with one operand.
    Multiply,
    Divide,
    CompareExchange,
    /// PCMPESTRI, PCMPESTRM, PCMPISTRI, PCMPISTRM.
    CompareStrings,
    /// CLI, STI, CLD, STD.
    SetFlag,
    PushFlags,
    PopFlags,
    SwapGs,
    /// MOV from a control register.
    ReadControl,
    /// BT and its kin with a bit number in a register and memory.
    BitString,
    /// MOVS, STOS, LODS, SCAS, CMPS.
    String,
    /// MOV from a segment register to a general one.
    ReadSegment,
    /// RDFSBASE, WRFSBASE and the same of GS.
    SegmentBase,
    /// RDTSC and RDTSCP.
    TimeStamp,
    /// CLAC and STAC.
    AccessControl,
    /// SYSCALL.
    Syscall,
    /// SYSRET to 64-bit mode.
    Sysret,
    Jcc,
    Jmp,
    Call,
    JmpIndirect,
    CallIndirect,
    Ret,
    /// The block ends before it, and it is stepped.
    Step,
    /// Falls back to the interpreter.
    Fallback,
    /// Falls back to the interpreter, and the block ends after it.
    FallbackLast,
}

impl Kind {
    /// Whether vector registers must be in the host's.
    pub fn uses_vector(self) -> bool {
        matches!(self, Kind::Generic { vector: true } | Kind::CompareStrings)
    }
    /// Whether the x87 registers must be in the host's.
    pub fn uses_x87(self) -> bool {
        matches!(self, Kind::X87 | Kind::Mmx)
    }
    /// Whether no instruction follows in the block.
    pub fn ends_block(self) -> bool {
        matches!(self, Kind::Step | Kind::FallbackLast | Kind::Syscall | Kind::Sysret)
    }
    /// Whether accesses before it tell nothing of those after it.
    pub fn parts_groups(self) -> bool {
        matches!(self, Kind::Fallback | Kind::FallbackLast | Kind::Step | Kind::AccessControl)
    }
}

/// Which instruction forms the host has.
pub struct HostFeatures(Vec<bool>);

impl HostFeatures {
    /// Asks the host.
    pub fn detect() -> HostFeatures {
        let mut has = vec![false; CpuidFeature::values().count()];
        use CpuidFeature as F;
        for f in [
            F::INTEL8086,
            F::INTEL186,
            F::INTEL286,
            F::INTEL386,
            F::INTEL486,
            F::X64,
            F::MULTIBYTENOP,
            F::CMOV,
            F::SSE,
            F::SSE2,
            F::CX8,
            F::PAUSE,
            F::FPU,
            F::FPU287,
            F::FPU387,
            F::MMX,
            F::CET_IBT,
            F::CET_SS,
        ] {
            has[f as usize] = true;
        }
        #[cfg(target_arch = "x86_64")]
        {
            macro_rules! ask {
                ($($feature:ident, $name:tt);*) => {
                    $(has[F::$feature as usize] = std::is_x86_feature_detected!($name);)*
                };
            }
            ask!(SSE3, "sse3"; SSSE3, "ssse3"; SSE4_1, "sse4.1"; SSE4_2, "sse4.2"; POPCNT, "popcnt";
                 AES, "aes"; PCLMULQDQ, "pclmulqdq"; SHA, "sha"; AVX, "avx"; AVX2, "avx2"; FMA, "fma";
                 F16C, "f16c"; BMI1, "bmi1"; BMI2, "bmi2"; ADX, "adx"; MOVBE, "movbe"; LZCNT, "lzcnt";
                 CMPXCHG16B, "cmpxchg16b");
        }
        HostFeatures::with(&has)
    }
    /// A host that has everything: what is translated then is the same everywhere.
    pub fn all() -> HostFeatures {
        HostFeatures::with(&vec![true; CpuidFeature::values().count()])
    }
    /// A host that has the features whose places in `has` are true.
    fn with(has: &[bool]) -> HostFeatures {
        let forms = Code::values().map(|code| code.cpuid_features().iter().all(|&f| has[f as usize]));
        HostFeatures(forms.collect())
    }
    fn has(&self, i: &Instruction) -> bool {
        self.0[i.code() as usize]
    }
}

/// How `i` is translated in the mode of `lowering`.
pub fn classify(i: &Instruction, lowering: &Lowering<'_>, host: &HostFeatures) -> Kind {
    let wide = lowering.mode & mode::CODE_SIZE == mode::CODE64;
    let form = form(i.code());
    if let Some(kind) = form.kind
        && lowering.mode & mode::ALIGN == 0
        && (!has_memory(i) || memory_is_flat(i, lowering.mode, wide))
    {
        return kind;
    }
    if let Some(kind) = form.near
        && wide
        && lowering.mode & mode::ALIGN == 0
        && (!has_memory(i) || memory_is_flat(i, lowering.mode, wide))
    {
        return kind;
    }
    classify_rare(i, lowering, host, wide)
}

/// The kind of all instructions of a form that each processor has, where their memory operand is flat and no
/// alignment is checked; `None`: it is looked at closer.
pub(super) fn kind_of_form(code: Code) -> Option<Kind> {
    use Code as C;
    use Mnemonic as M;
    use iced_x86::OpCodeOperandKind as K;
    if !always_there(code) {
        return None;
    }
    match code {
        C::Lea_r32_m | C::Lea_r64_m => return Some(Kind::Lea),
        C::Push_r64 | C::Push_rm64 | C::Pushq_imm8 | C::Pushq_imm32 => return Some(Kind::Push),
        C::Pop_r64 => return Some(Kind::Pop),
        C::Imul_rm8 | C::Imul_rm16 | C::Imul_rm32 | C::Imul_rm64 => return None,
        _ => {}
    }
    let special = matches!(code.mnemonic(), M::Bt | M::Bts | M::Btr | M::Btc);
    let generic = is_generic(code.mnemonic()) || code.mnemonic() == M::Imul;
    let form = code.op_code();
    let explicit = (0..form.op_count()).all(|n| {
        matches!(
            form.op_kind(n),
            K::r8_or_mem
                | K::r16_or_mem
                | K::r32_or_mem
                | K::r64_or_mem
                | K::r8_reg
                | K::r16_reg
                | K::r32_reg
                | K::r64_reg
                | K::r8_opcode
                | K::r16_opcode
                | K::r32_opcode
                | K::r64_opcode
                | K::al
                | K::ax
                | K::eax
                | K::rax
                | K::cl
                | K::imm8
                | K::imm8_const_1
                | K::imm8sex16
                | K::imm8sex32
                | K::imm8sex64
                | K::imm16
                | K::imm32
                | K::imm32sex64
                | K::imm64
        )
    });
    (generic && explicit && !special).then_some(Kind::Generic { vector: false })
}
/// The kind of near transfers of a form, in 64-bit mode.
pub(super) fn near_kind_of_form(code: Code) -> Option<Kind> {
    let near = trimotor_cpu_interp::lower::is_near_transfer(code) && always_there(code);
    near.then(|| near_kind(code, true))
}
fn always_there(code: Code) -> bool {
    use CpuidFeature as F;
    let base = |f: &CpuidFeature| {
        matches!(f, F::INTEL8086 | F::INTEL186 | F::INTEL286 | F::INTEL386 | F::INTEL486 | F::X64)
    };
    code.encoding() == EncodingKind::Legacy && code.cpuid_features().iter().all(base)
}
/// Whether one of the first operands, which those of ordinary forms are, is in memory.
#[inline]
fn has_memory(i: &Instruction) -> bool {
    i.op0_kind() == OpKind::Memory || i.op1_kind() == OpKind::Memory || i.op2_kind() == OpKind::Memory
}

/// Instructions whose form does not tell enough.
fn classify_rare(i: &Instruction, lowering: &Lowering<'_>, host: &HostFeatures, wide: bool) -> Kind {
    if i.is_invalid() || lowering.refuses(i) {
        return Kind::FallbackLast;
    }
    if let Some(kind) = near_transfer(i, lowering.mode, wide) {
        return kind;
    }
    if let Some(kind) = system::transfer(i, lowering.mode, wide) {
        return kind;
    }
    if i.flow_control() != FlowControl::Next || !wide && loads_segment(i) {
        return Kind::FallbackLast;
    }
    if does_nothing(i) {
        return Kind::Nothing;
    }
    if let Some(kind) = registers::kind(i, lowering.mode).or_else(|| strings::kind(i, lowering.mode, wide)) {
        return kind;
    }
    if !host.has(i) || !memory_is_flat(i, lowering.mode, wide) || lowering.mode & mode::ALIGN != 0 {
        return Kind::Fallback;
    }
    if let Some(kind) = stack_instruction(i, lowering.mode, wide) {
        return kind;
    }
    if system::is_bit_string(i) && iced_address_bits(i, lowering.mode) != if wide { 64 } else { 32 } {
        return Kind::Fallback; // address and bit number are added before they are cut
    }
    if let Some(kind) = special(i) {
        return kind;
    }
    if is_generic(i.mnemonic()) {
        return Kind::Generic { vector: false };
    }
    super::x87::kind(i).unwrap_or_else(|| vector(i, lowering.mode))
}

/// Near jumps, calls and returns.
fn near_transfer(i: &Instruction, m: u32, wide: bool) -> Option<Kind> {
    let code = i.code();
    if !trimotor_cpu_interp::lower::is_near_transfer(code) {
        return None;
    }
    let natural = near_operand_bits(i, m) == if wide { 64 } else { 32 };
    let stack = wide || m & mode::STACK32 != 0 && m >> (mode::OPEN_SHIFT + 2) & 1 != 0;
    let memory = i.op0_kind() != OpKind::Memory || memory_is_flat(i, m, wide);
    if !natural || m & mode::ALIGN != 0 || !memory {
        return Some(Kind::Step);
    }
    Some(near_kind(code, stack))
}
/// The kind of near transfers; `stack`: the stack is one that translated code can use.
fn near_kind(code: Code, stack: bool) -> Kind {
    if code.is_jcc_short_or_near() {
        Kind::Jcc
    } else if code.is_jmp_short_or_near() {
        Kind::Jmp
    } else if code.is_jmp_near_indirect() {
        Kind::JmpIndirect
    } else if !stack || code.is_loop() || code.is_loopcc() || code.is_jcx_short() {
        Kind::Step
    } else if code.is_call_near() {
        Kind::Call
    } else if code.is_call_near_indirect() {
        Kind::CallIndirect
    } else {
        Kind::Ret
    }
}

fn loads_segment(i: &Instruction) -> bool {
    use Mnemonic as M;
    matches!(i.mnemonic(), M::Lds | M::Les | M::Lss | M::Lfs | M::Lgs)
        || matches!(i.mnemonic(), M::Mov | M::Pop)
            && i.op0_kind() == OpKind::Register
            && i.op0_register().is_segment_register()
}

/// Whether a memory operand, if there is one, is reached by base, index and displacement alone, through an
/// open segment.
fn memory_is_flat(i: &Instruction, m: u32, wide: bool) -> bool {
    let (base, index) = (i.memory_base(), i.memory_index());
    if wide && base.is_gpr64() && (index == Register::None || index.is_gpr64()) {
        return true; // its displacement has 32 bits
    }
    for n in 0..i.op_count() {
        match i.op_kind(n) {
            OpKind::Memory => {}
            OpKind::Register
            | OpKind::Immediate8
            | OpKind::Immediate8_2nd
            | OpKind::Immediate16
            | OpKind::Immediate32
            | OpKind::Immediate64
            | OpKind::Immediate8to16
            | OpKind::Immediate8to32
            | OpKind::Immediate8to64
            | OpKind::Immediate32to64
            | OpKind::NearBranch16
            | OpKind::NearBranch32
            | OpKind::NearBranch64
            | OpKind::FarBranch16
            | OpKind::FarBranch32 => continue,
            _ => return false,
        }
        if i.mnemonic() == Mnemonic::Lea {
            return iced_address_bits(i, m) != 16 && !i.memory_index().is_vector_register();
        }
        if i.memory_index().is_vector_register() || iced_address_bits(i, m) == 16 {
            return false;
        }
        if iced_address_bits(i, m) == 64 && i32::try_from(i.memory_displacement64() as i64).is_err() {
            return false;
        }
        let segment = match i.memory_segment() {
            Register::ES => 0,
            Register::CS => 1,
            Register::SS => 2,
            Register::FS => 4,
            Register::GS => 5,
            _ => 3,
        };
        if !wide && (segment == 1 || m >> (mode::OPEN_SHIFT + segment) & 1 == 0) {
            return false;
        }
    }
    true
}

fn stack_instruction(i: &Instruction, m: u32, wide: bool) -> Option<Kind> {
    use Code as C;
    let stack = wide || m & mode::STACK32 != 0 && m >> (mode::OPEN_SHIFT + 2) & 1 != 0;
    let kind = match i.code() {
        C::Push_r64 | C::Push_rm64 | C::Pushq_imm8 | C::Pushq_imm32 if wide => Kind::Push,
        C::Push_r32 | C::Push_rm32 | C::Pushd_imm8 | C::Pushd_imm32 if !wide => Kind::Push,
        C::Pop_r64 if wide => Kind::Pop,
        C::Pop_r32 if !wide => Kind::Pop,
        C::Pop_rm64 if wide && i.op0_kind() == OpKind::Register => Kind::Pop,
        C::Pop_rm32 if !wide && i.op0_kind() == OpKind::Register => Kind::Pop,
        C::Pushfq if wide => Kind::PushFlags,
        C::Popfq if wide => Kind::PopFlags,
        C::Leaveq if wide => Kind::Leave,
        C::Leaved if !wide => Kind::Leave,
        _ => return None,
    };
    Some(if stack { kind } else { Kind::Fallback })
}

/// Hints, which have no effect here.
fn does_nothing(i: &Instruction) -> bool {
    use Mnemonic as M;
    matches!(
        i.mnemonic(),
        M::Nop
            | M::Endbr64
            | M::Endbr32
            | M::Pause
            | M::Reservednop
            | M::Prefetchnta
            | M::Prefetcht0
            | M::Prefetcht1
            | M::Prefetcht2
            | M::Prefetchw
    )
}

/// Instructions with a translation of their own.
fn special(i: &Instruction) -> Option<Kind> {
    use Code as C;
    use Mnemonic as M;
    let kind = match i.mnemonic() {
        M::Lea => Kind::Lea,
        M::Sahf => Kind::Sahf,
        M::Cwde | M::Cdqe | M::Cdq | M::Cqo => Kind::Extend,
        M::Mul if i.code() != C::Mul_rm8 => Kind::Multiply,
        M::Imul if matches!(i.code(), C::Imul_rm16 | C::Imul_rm32 | C::Imul_rm64) => Kind::Multiply,
        M::Imul if i.code() != C::Imul_rm8 => Kind::Generic { vector: false },
        M::Div | M::Idiv if matches!(i.code(), C::Div_rm32 | C::Div_rm64 | C::Idiv_rm32 | C::Idiv_rm64) => {
            Kind::Divide
        }
        M::Cmpxchg | M::Cmpxchg16b | M::Cmpxchg8b => Kind::CompareExchange,
        M::Bt | M::Bts | M::Btr | M::Btc if system::is_bit_string(i) => Kind::BitString,
        M::Bt | M::Bts | M::Btr | M::Btc
            if i.op0_kind() == OpKind::Memory && i.op1_kind() == OpKind::Register =>
        {
            Kind::Fallback
        }
        M::Cli | M::Sti | M::Cld | M::Std => Kind::SetFlag,
        M::Swapgs => Kind::SwapGs,
        M::Mov if reads_plain_control(i) => Kind::ReadControl,
        M::Mov if moves_special_register(i) => Kind::Fallback,
        _ => return None,
    };
    Some(kind)
}

/// MOV from CR0, CR2, CR3 or CR4.
fn reads_plain_control(i: &Instruction) -> bool {
    matches!(i.code(), Code::Mov_r32_cr | Code::Mov_r64_cr)
        && matches!(i.op1_register(), Register::CR0 | Register::CR2 | Register::CR3 | Register::CR4)
}

fn moves_special_register(i: &Instruction) -> bool {
    (0..2).any(|n| i.op_kind(n) == OpKind::Register && !i.op_register(n).is_gpr())
}

/// Integer instructions whose operands are all explicit, or CL: those of the ALU and others.
fn is_generic(mnemonic: Mnemonic) -> bool {
    use Mnemonic as M;
    let others = matches!(
        mnemonic,
        M::Mov
            | M::Movzx
            | M::Movsx
            | M::Movsxd
            | M::Movbe
            | M::Movnti
            | M::Bswap
            | M::Xchg
            | M::Xadd
            | M::Seto
            | M::Setno
            | M::Setb
            | M::Setae
            | M::Sete
            | M::Setne
            | M::Setbe
            | M::Seta
            | M::Sets
            | M::Setns
            | M::Setp
            | M::Setnp
            | M::Setl
            | M::Setge
            | M::Setle
            | M::Setg
            | M::Cmovo
            | M::Cmovno
            | M::Cmovb
            | M::Cmovae
            | M::Cmove
            | M::Cmovne
            | M::Cmovbe
            | M::Cmova
            | M::Cmovs
            | M::Cmovns
            | M::Cmovp
            | M::Cmovnp
            | M::Cmovl
            | M::Cmovge
            | M::Cmovle
            | M::Cmovg
            | M::Bt
            | M::Bts
            | M::Btr
            | M::Btc
            | M::Andn
            | M::Bextr
            | M::Blsi
            | M::Blsr
            | M::Blsmsk
            | M::Bzhi
            | M::Pdep
            | M::Pext
            | M::Rorx
            | M::Sarx
            | M::Shlx
            | M::Shrx
            | M::Adcx
            | M::Adox
            | M::Popcnt
            | M::Bsf
            | M::Bsr
            | M::Tzcnt
            | M::Lzcnt
            | M::Crc32
            | M::Clc
            | M::Stc
            | M::Cmc
            | M::Mfence
            | M::Lfence
            | M::Sfence
    );
    others || alu::instruction(mnemonic).is_some()
}

/// Vector instructions: those whose operands are all explicit, with no SSE exception unmasked, and comparisons of strings.
fn vector(i: &Instruction, m: u32) -> Kind {
    use Mnemonic as M;
    if is_string_comparison(i.mnemonic()) {
        return Kind::CompareStrings;
    }
    let vex = i.encoding() == EncodingKind::VEX;
    let registers = (0..i.op_count()).filter(|&n| i.op_kind(n) == OpKind::Register);
    let mut vectors = 0;
    for n in registers {
        let r = i.op_register(n);
        if r.is_xmm() || r.is_ymm() {
            vectors += 1;
        } else if !r.is_gpr() {
            return Kind::Fallback;
        }
    }
    let cleared = matches!(i.mnemonic(), M::Vzeroupper | M::Vzeroall);
    let implicit = matches!(
        i.mnemonic(),
        M::Maskmovdqu
            | M::Vmaskmovdqu
            | M::Vmaskmovps
            | M::Vmaskmovpd
            | M::Vpmaskmovd
            | M::Vpmaskmovq
            | M::Ldmxcsr
            | M::Stmxcsr
            | M::Vldmxcsr
            | M::Vstmxcsr
    );
    let sized = (0..i.op_count()).all(|n| i.op_kind(n) != OpKind::Memory)
        || i.memory_size() != MemorySize::Unknown && (1..=32).contains(&i.memory_size().size());
    // Outside 64-bit mode they clear the first eight registers only.
    let cleared = cleared && m & mode::CODE_SIZE == mode::CODE64;
    if (vectors == 0 && !cleared) || implicit || !sized || m & mode::FP_CHECKED != 0 {
        return Kind::Fallback;
    }
    if !vex && i.encoding() != EncodingKind::Legacy {
        return Kind::Fallback;
    }
    Kind::Generic { vector: true }
}

/// PCMPESTRI, PCMPESTRM, PCMPISTRI, PCMPISTRM and their VEX forms.
fn is_string_comparison(mnemonic: Mnemonic) -> bool {
    use Mnemonic as M;
    let implicit = matches!(mnemonic, M::Pcmpistri | M::Pcmpistrm | M::Vpcmpistri | M::Vpcmpistrm);
    implicit || takes_lengths(mnemonic)
}
/// Those of them that take lengths in rAX and rDX.
pub(super) fn takes_lengths(mnemonic: Mnemonic) -> bool {
    use Mnemonic as M;
    matches!(
        mnemonic,
        M::Pcmpestri
            | M::Pcmpestrm
            | M::Vpcmpestri
            | M::Vpcmpestrm
            | M::Pcmpestri64
            | M::Pcmpestrm64
            | M::Vpcmpestri64
            | M::Vpcmpestrm64
    )
}

/// Whether a memory operand must be aligned to its size.
pub(super) fn must_be_aligned(i: &Instruction) -> bool {
    use Mnemonic as M;
    if matches!(i.mnemonic(), M::Cmpxchg16b) {
        return true;
    }
    let vector = (0..i.op_count()).any(|n| {
        i.op_kind(n) == OpKind::Register && (i.op_register(n).is_xmm() || i.op_register(n).is_ymm())
    });
    if !vector || i.memory_size().size() < 16 || is_string_comparison(i.mnemonic()) {
        return false;
    }
    if i.encoding() == EncodingKind::VEX {
        return matches!(
            i.mnemonic(),
            M::Vmovaps | M::Vmovapd | M::Vmovdqa | M::Vmovntps | M::Vmovntpd | M::Vmovntdq | M::Vmovntdqa
        );
    }
    !matches!(i.mnemonic(), M::Movups | M::Movupd | M::Movdqu | M::Lddqu)
}
