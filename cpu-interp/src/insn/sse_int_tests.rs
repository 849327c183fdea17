//! The integer vector and bit-manipulation instructions against the host that executes them
//! natively, in all operand forms.

use iced_x86::{Code, CpuidFeature as F, Instruction, OpCodeOperandKind as K, OpKind, Register};
use trimotor_test_needs::{host_cpu, skip};

use super::sse_fp_native::Native;
use super::sse_fp_tests::{Bits, ONE_AT_A_TIME, Pair, core};

const MXCSR: u32 = 0x1F80;

fn codes() -> impl Iterator<Item = Code> {
    [
        super::avx_int::ROWS,
        super::bmi::ROWS,
        super::crypto::ROWS,
        super::masked::ROWS,
        super::mmx::ROWS,
        super::sse_int::ROWS,
        super::sse_lanes::ROWS,
        super::sse_move::ROWS,
        super::sse_string::ROWS,
    ]
    .into_iter()
    .flatten()
    .map(|row| row.code)
}

/// The features of these forms that a host with AVX may lack.
fn features_of_host() -> [(F, bool); 9] {
    [
        (F::AVX2, is_x86_feature_detected!("avx2")),
        (F::AES, is_x86_feature_detected!("aes")),
        (F::PCLMULQDQ, is_x86_feature_detected!("pclmulqdq")),
        (F::SHA, is_x86_feature_detected!("sha")),
        (F::BMI1, is_x86_feature_detected!("bmi1")),
        (F::BMI2, is_x86_feature_detected!("bmi2")),
        (F::LZCNT, is_x86_feature_detected!("lzcnt")),
        (F::ADX, is_x86_feature_detected!("adx")),
        (F::MOVBE, is_x86_feature_detected!("movbe")),
    ]
}

/// Forms without a result.
fn is_hint(code: Code) -> bool {
    let hints = [F::CLWB, F::PREFETCHW, F::PREFETCHWT1];
    code.cpuid_features().iter().any(|feature| hints.contains(feature))
}

/// Registers that the harness does not set up (RDI, RDX), and instructions that write RCX.
fn outside_the_harness(code: Code) -> bool {
    let name = format!("{code:?}");
    ["Maskmovq", "askmovdqu", "Mulx", "cmpestr"].iter().any(|part| name.contains(part))
}

/// The instruction of form `code` on registers 1, 2 and 3, RAX, and [RSI] if `memory`. `None`
/// where the form has no such operands.
fn instruction(code: Code, memory: bool, imm: u8) -> Option<Instruction> {
    let mut i = Instruction::default();
    i.set_code(code);
    let (mut number, mut has_memory) = (0u32, false);
    for (n, &kind) in code.op_code().op_kinds().iter().enumerate() {
        let n = n as u32;
        let only_memory =
            matches!(kind, K::mem | K::mem_vsib32x | K::mem_vsib32y | K::mem_vsib64x | K::mem_vsib64y);
        let or_memory = format!("{kind:?}").ends_with("_or_mem");
        if kind == K::imm8 {
            i.set_op_kind(n, OpKind::Immediate8);
            i.set_immediate8(imm);
            continue;
        }
        if only_memory || or_memory && memory {
            i.set_op_kind(n, OpKind::Memory);
            i.set_memory_base(Register::RSI);
            match kind {
                K::mem_vsib32x | K::mem_vsib64x => i.set_memory_index(Register::XMM3),
                K::mem_vsib32y | K::mem_vsib64y => i.set_memory_index(Register::YMM3),
                _ => {}
            }
            has_memory = true;
            continue;
        }
        let register = match kind {
            K::xmm_is4 => Register::XMM0,
            K::ymm_is4 => Register::YMM0,
            K::r8_or_mem => Register::AL,
            K::r16_reg | K::r16_or_mem => Register::AX,
            K::r32_reg | K::r32_vvvv | K::r32_or_mem => Register::EAX,
            K::r64_reg | K::r64_vvvv | K::r64_or_mem => Register::RAX,
            _ => {
                number += 1;
                match kind {
                    K::xmm_reg | K::xmm_rm | K::xmm_vvvv | K::xmm_or_mem => Register::XMM0 + number,
                    K::ymm_reg | K::ymm_rm | K::ymm_vvvv | K::ymm_or_mem => Register::YMM0 + number,
                    K::mm_reg | K::mm_rm | K::mm_or_mem => Register::MM0 + (number & 1),
                    other => panic!("{code:?}: {other:?}"),
                }
            }
        };
        i.set_op_kind(n, OpKind::Register);
        i.set_op_register(n, register);
    }
    let mandatory = code.op_code().op_kinds().iter().any(|&kind| {
        matches!(kind, K::mem | K::mem_vsib32x | K::mem_vsib32y | K::mem_vsib64x | K::mem_vsib64y)
    });
    (has_memory == memory || mandatory).then_some(i)
}

#[test]
fn results_and_flags_are_the_hosts() {
    if skip(host_cpu("AVX", is_x86_feature_detected!("avx"))) {
        return;
    }
    let _guard = ONE_AT_A_TIME.lock();
    let (mut core, mut native, mut bits) = (core(), Native::new(), Bits(0x0123_4567_89AB_CDEF));
    let mut wrong = Vec::new();
    let lacks =
        |&(feature, there): &(F, bool)| skip(host_cpu(&format!("{feature:?}"), there)).then_some(feature);
    let lacking: Vec<F> = features_of_host().iter().filter_map(lacks).collect();
    let on_host = |code: Code| !code.cpuid_features().iter().any(|feature| lacking.contains(feature));
    for code in codes().filter(|&code| on_host(code) && !is_hint(code) && !outside_the_harness(code)) {
        let gather_mask = match format!("{code:?}") {
            name if !name.contains("gather") => u64::MAX,
            name if name.contains("vm32") => 0x17_0000_0017,
            _ => 0x17,
        };
        let all_rounds = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for round in 0..24 {
                let imm = bits.next() as u8;
                let Some(i) = instruction(code, round & 1 != 0, imm) else { continue };
                let pair = Pair::new(&mut core, &mut native, i, MXCSR);
                for _ in 0..20 {
                    let mut operands = bits.operands(MXCSR);
                    operands.ymm[3] = operands.ymm[3].map(|lanes| lanes & gather_mask);
                    pair.check(&mut core, &native, operands);
                }
            }
        }));
        if all_rounds.is_err() {
            wrong.push(code);
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}
