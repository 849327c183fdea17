//! All floating-point vector instructions against the host that executes them natively:
//! results, flags and exceptions, for all kinds of operands and environments.

use std::sync::{Arc, Mutex};

use iced_x86::{
    Code, CpuidFeature, Encoder, EncodingKind, Instruction, Mnemonic, OpCodeOperandKind, OpKind, Register,
};
use trimotor_bus::{GuestMemory, PhysAddr, VcpuSignals};
use trimotor_cpu::flags::ArithFlags;
use trimotor_cpu::model::CpuModel;
use trimotor_cpu::registers::{Cr0, Cr4, Efer};
use trimotor_cpu::simd::fp;
use trimotor_cpu::{Fault, SegReg};
use trimotor_test_needs::{host_cpu, skip};

use super::fp_env;
use super::sse_fp_native::{INDEX, Native, Operands};
use crate::core::Core;
use crate::lower::{self, Lowering, bare_op};
use crate::op::{At, Exit, Op, Row, run};

/// Where the page tables and the memory operand stand.
const TABLES: u64 = 0x1000;
const MEMORY: u64 = 0x8000;

/// Flags. With an unmasked overflow or underflow the host tells by PE whether the fraction was
/// rounded, as if exponents had no bounds; we tell whether the masked result is inexact.
const OVERFLOW: u32 = 1 << 3;
const UNDERFLOW: u32 = 1 << 4;
const PRECISION: u32 = 1 << 5;

fn rows() -> impl Iterator<Item = &'static Row> {
    [
        super::f16c::ROWS,
        super::fma::ROWS,
        super::sse_fp::ROWS,
        super::sse_fp_compare::ROWS,
        super::sse_fp_convert::ROWS,
        super::sse_fp_mmx::ROWS,
    ]
    .into_iter()
    .flatten()
}

/// Whether an instruction belongs to the families here, by its name.
fn is_floating_point(mnemonic: Mnemonic) -> bool {
    let name = format!("{mnemonic:?}").to_lowercase();
    let stem = name.strip_prefix('v').unwrap_or(&name);
    let (operation, format) = stem.split_at(stem.len() - 2);
    let arithmetic = [
        "add", "sub", "mul", "div", "min", "max", "sqrt", "rcp", "rsqrt", "cmp", "hadd", "hsub", "addsub",
        "dp", "round", "comi", "ucomi",
    ];
    let fused = ["fmadd", "fmsub", "fnmadd", "fnmsub", "fmaddsub", "fmsubadd"];
    matches!(format, "ps" | "pd" | "ss" | "sd")
        && (arithmetic.contains(&operation)
            || fused
                .iter()
                .any(|f| operation.strip_prefix(f).is_some_and(|o| ["132", "213", "231"].contains(&o))))
        || stem.starts_with("cvt")
            && !stem.contains("bf16")
            && !stem.contains("cvtnee")
            && !stem.contains("cvtneo")
}

#[test]
fn every_form_has_a_row() {
    let missing: Vec<Code> = Code::values()
        .filter(|c| matches!(c.op_code().encoding(), EncodingKind::Legacy | EncodingKind::VEX))
        .filter(|c| !matches!(c, Code::Cmpsd_m32_m32)) // the string instruction
        .filter(|c| is_floating_point(c.mnemonic()) && !lower::implements(*c))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
    let mut codes: Vec<u32> = rows().map(|row| row.code as u32).collect();
    codes.sort();
    assert!(codes.windows(2).all(|pair| pair[0] != pair[1]), "a form has two rows");
    for row in rows() {
        let (name, mnemonic) = (format!("{:?}", row.code), row.code.mnemonic());
        assert!(is_floating_point(mnemonic), "{name}");
    }
}

/// A deterministic stream of operand bits.
pub(super) struct Bits(pub u64);

impl Bits {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
    fn single(&mut self) -> u32 {
        const SPECIAL: [u32; 14] = [
            0,
            0x3F80_0000,
            0x7F80_0000,
            0x7FC0_1234,
            0x7F80_0001,
            0x7FA0_0000,
            1,
            0x007F_FFFF,
            0x7F7F_FFFF,
            0x0080_0000,
            0x4B80_0001,
            0x3FC0_0000,
            0x4F00_0000,
            0x3F00_0000,
        ];
        let r = self.next();
        let sign = (r as u32) << 31;
        let exponent = |from: u64, count: u64| ((from + (r >> 8) % count) as u32) << 23;
        let fraction = (r >> 32) as u32 & 0x7F_FFFF;
        sign | match r >> 1 & 7 {
            0..3 => SPECIAL[(r >> 8) as usize % SPECIAL.len()],
            3 => exponent(0, 3) | fraction,
            4 => exponent(252, 3) | fraction,
            5 => exponent(120, 30) | fraction & 0x7C_0000,
            6 => exponent(100, 60) | fraction,
            _ => r as u32 >> 1 ^ fraction,
        }
    }
    fn double(&mut self) -> u64 {
        const SPECIAL: [u64; 14] = [
            0,
            0x3FF0 << 48,
            0x7FF0 << 48,
            0x7FF8_0000_0000_1234,
            0x7FF0_0000_0000_0001,
            0x7FF4 << 48,
            1,
            0x000F_FFFF_FFFF_FFFF,
            0x7FEF_FFFF_FFFF_FFFF,
            0x0010 << 48,
            0x41E0 << 48,
            0x43E0 << 48,
            0x3FF8 << 48,
            0x380F_FFFF_F000_0000,
        ];
        let r = self.next();
        let sign = r << 63;
        let exponent = |from: u64, count: u64| (from + (r >> 8) % count) << 52;
        let fraction = self.next() >> 12;
        sign | match r >> 1 & 7 {
            0..3 => SPECIAL[(r >> 8) as usize % SPECIAL.len()],
            3 => exponent(0, 3) | fraction,
            4 => exponent(2044, 3) | fraction,
            5 => exponent(1020, 60) | fraction & 0xF_F800_0000_0000,
            6 => exponent(870, 300) | fraction,
            _ => r >> 1 ^ fraction,
        }
    }
    /// 64 bits that look like elements of some kind.
    fn elements(&mut self, kind: u64) -> u64 {
        match kind {
            0..4 => (self.single() as u64) << 32 | self.single() as u64,
            4..8 => self.double(),
            8 => self.next(),
            9 => (self.next() as i32 >> (self.next() & 31)) as u32 as u64 | self.next() << 32,
            _ => self.next() as i64 as u64 >> (self.next() & 63),
        }
    }
    pub fn operands(&mut self, mxcsr: u32) -> Operands {
        let mut operands = Operands::new();
        operands.mxcsr = mxcsr;
        let kind = self.next() % 11;
        let same = self.next() & 15 == 0;
        for ymm in &mut operands.ymm {
            *ymm = [0; 4].map(|_: u64| self.elements(kind));
        }
        if same {
            operands.ymm[2] = operands.ymm[1];
        }
        operands.memory = [0; 4].map(|_: u64| self.elements(kind));
        operands.mm = [0; 2].map(|_: u64| self.elements(kind));
        let integer = 8 + self.next() % 3;
        operands.rax = self.elements(integer);
        operands
    }
}

/// The instruction of form `code` on registers 1, 2 and 3 (or all 1), RAX, and if `memory`
/// [RSI] or [RSI + 2 * RCX - 2 * INDEX].
/// `None` where the form has no such operand.
fn instruction(code: Code, memory: bool, same: bool, imm: u8) -> Option<Instruction> {
    use OpCodeOperandKind as K;
    let mut i = Instruction::default();
    i.set_code(code);
    let (mut number, mut has_memory) = (0u32, false);
    for (n, kind) in code.op_code().op_kinds().iter().enumerate() {
        let n = n as u32;
        let or_mem =
            matches!(kind, K::xmm_or_mem | K::ymm_or_mem | K::mm_or_mem | K::r32_or_mem | K::r64_or_mem);
        if *kind == K::imm8 {
            i.set_op_kind(n, OpKind::Immediate8);
            i.set_immediate8(imm);
            continue;
        }
        if or_mem && memory {
            i.set_op_kind(n, OpKind::Memory);
            i.set_memory_base(Register::RSI);
            if imm & 1 != 0 {
                i.set_memory_index(Register::RCX);
                i.set_memory_index_scale(2);
                i.set_memory_displ_size(1);
                i.set_memory_displacement64((INDEX * 2).wrapping_neg());
            }
            has_memory = true;
            continue;
        }
        number = if same { 1 } else { number + 1 };
        let register = match kind {
            K::xmm_reg | K::xmm_vvvv | K::xmm_or_mem => Register::XMM0 + number,
            K::ymm_reg | K::ymm_vvvv | K::ymm_or_mem => Register::YMM0 + number,
            K::mm_reg | K::mm_or_mem => Register::MM0 + (number & 1),
            K::r32_reg | K::r32_or_mem => Register::EAX,
            K::r64_reg | K::r64_or_mem => Register::RAX,
            other => panic!("{code:?}: {other:?}"),
        };
        i.set_op_kind(n, OpKind::Register);
        i.set_op_register(n, register);
    }
    (has_memory == memory).then_some(i)
}

fn stop(_core: &mut Core, _op: At<'_>) -> Exit {
    Exit::Lookup
}

fn model() -> Arc<CpuModel> {
    Arc::new(CpuModel::parse("max", 1_000_000_000).unwrap())
}

/// A core in 64-bit mode with all vector units on.
pub(super) fn core() -> Box<Core> {
    let memory = GuestMemory::new(16 << 20, &[]).unwrap();
    memory.write(PhysAddr(TABLES), &((TABLES + 0x1000) | 7).to_le_bytes());
    memory.write(PhysAddr(TABLES + 0x1000), &0x87u64.to_le_bytes());
    let mut core = Box::new(Core::new(0, model(), memory, VcpuSignals::new()));
    let s = &mut core.state;
    s.cr0 = Cr0::PE | Cr0::PG | Cr0::NE | Cr0::ET;
    s.cr4 = Cr4::PAE | Cr4::OSFXSR | Cr4::OSXMMEXCPT | Cr4::OSXSAVE;
    s.efer = Efer::LME | Efer::LMA;
    s.xcr0 = 7;
    s.cr3 = TABLES;
    s.segments[SegReg::Cs as usize].attributes = 0xA09B;
    core.mmu.load_cr3(&mut core.state);
    core.mode_changed();
    core
}

/// One instruction form, decoded for the interpreter and loaded for the host.
pub(super) struct Pair {
    ops: Vec<Op>,
    name: String,
    mmx: bool,
    /// Flags that are not compared.
    undefined: u64,
}

/// Flags that the manual leaves undefined, and in which Intel's processors differ from AMD's, with which the engines agree; none
/// on another host.
fn undefined_flags(mnemonic: Mnemonic) -> u64 {
    use Mnemonic as M;
    match mnemonic {
        _ if !trimotor_test_needs::intel_host() => 0,
        M::Tzcnt | M::Lzcnt => 0x894,
        M::Andn | M::Blsi | M::Blsr | M::Blsmsk | M::Bzhi => 0x14,
        M::Bextr => 0x94,
        _ => 0,
    }
}

impl Pair {
    pub fn new(core: &mut Core, native: &mut Native, mut i: Instruction, mxcsr: u32) -> Pair {
        core.state.mxcsr = mxcsr;
        core.mode_changed();
        let mut encoder = Encoder::new(64);
        i.set_len(encoder.encode(&i, 0).unwrap());
        let mmx = (0..i.op_count()).any(|n| i.op_kind(n) == OpKind::Register && i.op_register(n).is_mm());
        native.load(&encoder.take_buffer(), mmx);
        let mut ops = Vec::new();
        Lowering { mode: core.state.mode, model: &core.model, rip: 0, page_offset: 0, atomic: false }
            .lower(&i, 0, &mut ops);
        ops.push(bare_op(stop, 0));
        Pair { ops, name: format!("{:?} {i}", i.code()), mmx, undefined: undefined_flags(i.mnemonic()) }
    }

    /// Executes the instruction both ways; native code only once `native` has it loaded.
    pub fn check(&self, core: &mut Core, native: &Native, before: Operands) {
        let mut expected = before;
        native.run(&mut expected);
        for (ymm, value) in core.state.ymm.iter_mut().zip(before.ymm) {
            ymm.0 = value;
        }
        for (fpr, value) in core.state.x87.regs.iter_mut().zip(before.mm) {
            fpr.0[..8].copy_from_slice(&value.to_le_bytes());
        }
        core.state.set_gpr(0, before.rax);
        core.state.set_gpr(1, INDEX);
        core.state.set_gpr(6, MEMORY);
        core.state.arith = ArithFlags(ArithFlags::ALL);
        core.state.mxcsr = before.mxcsr;
        for (n, value) in before.memory.into_iter().enumerate() {
            core.memory.write(PhysAddr(MEMORY + n as u64 * 8), &value.to_le_bytes());
        }
        fp_env::enter_guest_fp(core);
        let exit = self.step(core);
        fp_env::leave_guest_fp(core);
        let mut ours = expected;
        for (value, ymm) in ours.ymm.iter_mut().zip(&core.state.ymm) {
            *value = ymm.0;
        }
        for (n, value) in ours.memory.iter_mut().enumerate() {
            *value = core.memory.read_u64(PhysAddr(MEMORY + n as u64 * 8));
        }
        if self.mmx {
            for (value, fpr) in ours.mm.iter_mut().zip(&core.state.x87.regs) {
                *value = u64::from_le_bytes(fpr.0[..8].try_into().unwrap());
            }
        }
        ours.rax = core.state.gpr(0);
        ours.mxcsr = core.state.mxcsr;
        ours.rflags = expected.rflags & !0x8D5 | core.state.arith.to_rflags();
        ours.rflags = ours.rflags & !self.undefined | expected.rflags & self.undefined;
        ours.faulted = (exit == Exit::Fault) as u32;
        if ours.faulted != 0 && ours.mxcsr & !(ours.mxcsr >> 7) & (OVERFLOW | UNDERFLOW) != 0 {
            ours.mxcsr = ours.mxcsr & !PRECISION | expected.mxcsr & PRECISION;
        }
        // How the host estimates is its own affair ("relative error ≤ 1.5 ∗ 2^-12", SDM Vol. 2B).
        let estimates = ["rcp", "rsqrt"].iter().any(|name| self.name.to_lowercase().contains(name));
        // Which of several NaNs a dot product has is another on Intel's processors.
        let dots = self.name.to_lowercase().contains("dpp") && trimotor_test_needs::intel_host();
        if ours != expected && !(cfg!(feature = "portable") && (estimates || dots)) {
            panic!("{}\nbefore {before:x?}\nours {ours:x?}\nhost {expected:x?}", self.name);
        }
        if exit == Exit::Fault {
            assert_eq!(core.fault, Fault::XM);
        }
    }

    #[allow(unsafe_code, reason = "runs ops")]
    fn step(&self, core: &mut Core) -> Exit {
        core.attention = false;
        // SAFETY: `ops` ends with an op that returns.
        let first = unsafe { At::new(self.ops.as_ptr()) };
        run(core, first)
    }
}

/// The forms share the signal handler's page.
pub(super) static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// RCP and RSQRT.
fn is_approximation(code: Code) -> bool {
    let name = format!("{code:?}").to_lowercase();
    name.contains("rcp") || name.contains("rsqrt")
}

fn check_all(seed: u64, rounds: usize, mut mxcsr: impl FnMut(&mut Bits) -> u32) {
    if skip(host_cpu("AVX", is_x86_feature_detected!("avx"))) {
        return;
    }
    let _guard = ONE_AT_A_TIME.lock();
    let (mut core, mut native, mut bits) = (core(), Native::new(), Bits(seed));
    let without_fma = skip(host_cpu("FMA", fp::host_offers_fma()));
    let without_f16c = skip(host_cpu("F16C", fp::host_offers_f16c()));
    for row in rows() {
        let uses = |feature| row.code.cpuid_features().contains(&feature);
        if without_fma && uses(CpuidFeature::FMA) || without_f16c && uses(CpuidFeature::F16C) {
            continue;
        }
        // Approximations are the processor's own; the portable ones are tested for their error.
        if cfg!(feature = "portable") && is_approximation(row.code) {
            continue;
        }
        for _ in 0..rounds {
            let imm = bits.next() as u8;
            let (memory, same) = (bits.next() & 1 != 0, bits.next() & 7 == 0);
            let Some(i) = instruction(row.code, memory, same, imm) else { continue };
            let control = mxcsr(&mut bits);
            let pair = Pair::new(&mut core, &mut native, i, control);
            for _ in 0..50 {
                let operands = bits.operands(control);
                pair.check(&mut core, &native, operands);
            }
        }
    }
}

#[test]
fn results_and_flags_are_the_hosts_with_exceptions_masked() {
    check_all(0x1234_5678_9ABC_DEF1, 40, |bits| bits.next() as u32 & 0xE07F | 0x1F80);
}

#[test]
fn unmasked_exceptions_are_raised_as_by_the_host() {
    check_all(0xFEDC_BA98_7654_3211, 40, |bits| bits.next() as u32 & 0xFFC0);
}

/// Executes one instruction form with a memory operand at `address`, and returns the fault.
fn fault_at(core: &mut Core, code: Code, address: u64) -> Option<Fault> {
    let i = instruction(code, true, false, 0).unwrap();
    let mut native = Native::new();
    let pair = Pair::new(core, &mut native, i, core.state.mxcsr);
    core.state.set_gpr(6, address);
    fp_env::enter_guest_fp(core);
    let exit = pair.step(core);
    fp_env::leave_guest_fp(core);
    (exit == Exit::Fault).then_some(core.fault)
}

#[test]
fn only_legacy_forms_of_128_bits_want_alignment() {
    let _guard = ONE_AT_A_TIME.lock();
    let mut core = core();
    for row in rows() {
        let Some(i) = instruction(row.code, true, false, 0) else { continue };
        let legacy = row.code.op_code().encoding() == EncodingKind::Legacy;
        let aligned = legacy && i.memory_size().size() == 16;
        let expected = aligned.then_some(Fault::gp(0));
        assert_eq!(fault_at(&mut core, row.code, MEMORY + 4), expected, "{:?}", row.code);
        assert_eq!(fault_at(&mut core, row.code, MEMORY + 16), None, "{:?}", row.code);
    }
}

#[test]
fn page_faults_come_before_floating_point_exceptions_and_leave_no_flags() {
    let _guard = ONE_AT_A_TIME.lock();
    let mut core = core();
    core.state.mxcsr = 0;
    core.state.ymm[1].0 = [0x7FF4 << 48; 4];
    for code in [Code::Addpd_xmm_xmmm128, Code::Cvttsd2si_r64_xmmm64, Code::VEX_Vcvtps2ph_xmmm128_ymm_imm8] {
        assert_eq!(fault_at(&mut core, code, 1 << 40).map(Fault::vector), Some(14), "{code:?}");
        assert_eq!(core.state.mxcsr, 0);
    }
}

#[test]
fn without_osxmmexcpt_an_unmasked_exception_is_an_invalid_opcode() {
    let _guard = ONE_AT_A_TIME.lock();
    let mut core = core();
    core.state.cr4 -= Cr4::OSXMMEXCPT;
    core.state.mxcsr = 0x1F00;
    core.state.ymm[1].0 = [0x7FF4 << 48; 4];
    assert_eq!(fault_at(&mut core, Code::Addsd_xmm_xmmm64, MEMORY), Some(Fault::UD));
    assert_eq!(core.state.mxcsr, 0x1F01);
}

#[test]
fn mxcsr_keeps_its_flags_over_runs_and_changes_within_them() {
    let _guard = ONE_AT_A_TIME.lock();
    let mut core = core();
    core.state.mxcsr = 0x1F90;
    core.state.ymm[1].0 = [0x7FF4 << 48; 4];
    assert_eq!(fault_at(&mut core, Code::Addsd_xmm_xmmm64, MEMORY), None);
    assert_eq!(core.state.mxcsr, 0x1F91);
    fp_env::enter_guest_fp(&mut core);
    assert!(!core.set_mxcsr(0x9F80));
    core.sync_mxcsr();
    assert_eq!(core.state.mxcsr, 0x9F80);
    assert!(core.set_mxcsr(0x1F00));
    fp_env::leave_guest_fp(&mut core);
    assert_eq!((core.state.mxcsr, fp_env::host_mxcsr()), (0x1F00, 0x1F80));
}
