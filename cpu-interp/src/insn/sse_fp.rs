//! Floating-point arithmetic of SSE to SSE4.1 and its AVX forms: ADD, SUB, MUL, DIV, MIN,
//! MAX, SQRT, RCP, RSQRT, horizontal and alternating sums, dot products, ROUND.
//!
//! Source: SDM Vol. 2, by mnemonic.

use iced_x86::Code::*;
use trimotor_cpu::simd::fp;

use super::sse_fp_shape::{
    concat, packed, packed_imm, packed_imm_128, scalar, scalar_imm, total, unary, unary_imm,
};
use crate::op::Row;

const PACKED: &[[Row; 3]] = &[
    packed::<fp::AddPs>([Addps_xmm_xmmm128, VEX_Vaddps_xmm_xmm_xmmm128, VEX_Vaddps_ymm_ymm_ymmm256]),
    packed::<fp::AddPd>([Addpd_xmm_xmmm128, VEX_Vaddpd_xmm_xmm_xmmm128, VEX_Vaddpd_ymm_ymm_ymmm256]),
    packed::<fp::SubPs>([Subps_xmm_xmmm128, VEX_Vsubps_xmm_xmm_xmmm128, VEX_Vsubps_ymm_ymm_ymmm256]),
    packed::<fp::SubPd>([Subpd_xmm_xmmm128, VEX_Vsubpd_xmm_xmm_xmmm128, VEX_Vsubpd_ymm_ymm_ymmm256]),
    packed::<fp::MulPs>([Mulps_xmm_xmmm128, VEX_Vmulps_xmm_xmm_xmmm128, VEX_Vmulps_ymm_ymm_ymmm256]),
    packed::<fp::MulPd>([Mulpd_xmm_xmmm128, VEX_Vmulpd_xmm_xmm_xmmm128, VEX_Vmulpd_ymm_ymm_ymmm256]),
    packed::<fp::DivPs>([Divps_xmm_xmmm128, VEX_Vdivps_xmm_xmm_xmmm128, VEX_Vdivps_ymm_ymm_ymmm256]),
    packed::<fp::DivPd>([Divpd_xmm_xmmm128, VEX_Vdivpd_xmm_xmm_xmmm128, VEX_Vdivpd_ymm_ymm_ymmm256]),
    packed::<fp::MinPs>([Minps_xmm_xmmm128, VEX_Vminps_xmm_xmm_xmmm128, VEX_Vminps_ymm_ymm_ymmm256]),
    packed::<fp::MinPd>([Minpd_xmm_xmmm128, VEX_Vminpd_xmm_xmm_xmmm128, VEX_Vminpd_ymm_ymm_ymmm256]),
    packed::<fp::MaxPs>([Maxps_xmm_xmmm128, VEX_Vmaxps_xmm_xmm_xmmm128, VEX_Vmaxps_ymm_ymm_ymmm256]),
    packed::<fp::MaxPd>([Maxpd_xmm_xmmm128, VEX_Vmaxpd_xmm_xmm_xmmm128, VEX_Vmaxpd_ymm_ymm_ymmm256]),
    packed::<fp::HaddPs>([Haddps_xmm_xmmm128, VEX_Vhaddps_xmm_xmm_xmmm128, VEX_Vhaddps_ymm_ymm_ymmm256]),
    packed::<fp::HaddPd>([Haddpd_xmm_xmmm128, VEX_Vhaddpd_xmm_xmm_xmmm128, VEX_Vhaddpd_ymm_ymm_ymmm256]),
    packed::<fp::HsubPs>([Hsubps_xmm_xmmm128, VEX_Vhsubps_xmm_xmm_xmmm128, VEX_Vhsubps_ymm_ymm_ymmm256]),
    packed::<fp::HsubPd>([Hsubpd_xmm_xmmm128, VEX_Vhsubpd_xmm_xmm_xmmm128, VEX_Vhsubpd_ymm_ymm_ymmm256]),
    packed::<fp::AddsubPs>([
        Addsubps_xmm_xmmm128,
        VEX_Vaddsubps_xmm_xmm_xmmm128,
        VEX_Vaddsubps_ymm_ymm_ymmm256,
    ]),
    packed::<fp::AddsubPd>([
        Addsubpd_xmm_xmmm128,
        VEX_Vaddsubpd_xmm_xmm_xmmm128,
        VEX_Vaddsubpd_ymm_ymm_ymmm256,
    ]),
    unary::<fp::SqrtPs>([Sqrtps_xmm_xmmm128, VEX_Vsqrtps_xmm_xmmm128, VEX_Vsqrtps_ymm_ymmm256]),
    unary::<fp::SqrtPd>([Sqrtpd_xmm_xmmm128, VEX_Vsqrtpd_xmm_xmmm128, VEX_Vsqrtpd_ymm_ymmm256]),
    unary::<fp::RcpPs>([Rcpps_xmm_xmmm128, VEX_Vrcpps_xmm_xmmm128, VEX_Vrcpps_ymm_ymmm256]),
    unary::<fp::RsqrtPs>([Rsqrtps_xmm_xmmm128, VEX_Vrsqrtps_xmm_xmmm128, VEX_Vrsqrtps_ymm_ymmm256]),
    unary_imm::<fp::RoundPs>([
        Roundps_xmm_xmmm128_imm8,
        VEX_Vroundps_xmm_xmmm128_imm8,
        VEX_Vroundps_ymm_ymmm256_imm8,
    ]),
    unary_imm::<fp::RoundPd>([
        Roundpd_xmm_xmmm128_imm8,
        VEX_Vroundpd_xmm_xmmm128_imm8,
        VEX_Vroundpd_ymm_ymmm256_imm8,
    ]),
    packed_imm::<fp::DotPs, 0xFF>([
        Dpps_xmm_xmmm128_imm8,
        VEX_Vdpps_xmm_xmm_xmmm128_imm8,
        VEX_Vdpps_ymm_ymm_ymmm256_imm8,
    ]),
];

const SCALAR: &[[Row; 2]] = &[
    scalar::<fp::AddSs, u32>([Addss_xmm_xmmm32, VEX_Vaddss_xmm_xmm_xmmm32]),
    scalar::<fp::AddSd, u64>([Addsd_xmm_xmmm64, VEX_Vaddsd_xmm_xmm_xmmm64]),
    scalar::<fp::SubSs, u32>([Subss_xmm_xmmm32, VEX_Vsubss_xmm_xmm_xmmm32]),
    scalar::<fp::SubSd, u64>([Subsd_xmm_xmmm64, VEX_Vsubsd_xmm_xmm_xmmm64]),
    scalar::<fp::MulSs, u32>([Mulss_xmm_xmmm32, VEX_Vmulss_xmm_xmm_xmmm32]),
    scalar::<fp::MulSd, u64>([Mulsd_xmm_xmmm64, VEX_Vmulsd_xmm_xmm_xmmm64]),
    scalar::<fp::DivSs, u32>([Divss_xmm_xmmm32, VEX_Vdivss_xmm_xmm_xmmm32]),
    scalar::<fp::DivSd, u64>([Divsd_xmm_xmmm64, VEX_Vdivsd_xmm_xmm_xmmm64]),
    scalar::<fp::MinSs, u32>([Minss_xmm_xmmm32, VEX_Vminss_xmm_xmm_xmmm32]),
    scalar::<fp::MinSd, u64>([Minsd_xmm_xmmm64, VEX_Vminsd_xmm_xmm_xmmm64]),
    scalar::<fp::MaxSs, u32>([Maxss_xmm_xmmm32, VEX_Vmaxss_xmm_xmm_xmmm32]),
    scalar::<fp::MaxSd, u64>([Maxsd_xmm_xmmm64, VEX_Vmaxsd_xmm_xmm_xmmm64]),
    scalar::<fp::SqrtSs, u32>([Sqrtss_xmm_xmmm32, VEX_Vsqrtss_xmm_xmm_xmmm32]),
    scalar::<fp::SqrtSd, u64>([Sqrtsd_xmm_xmmm64, VEX_Vsqrtsd_xmm_xmm_xmmm64]),
    scalar::<fp::RcpSs, u32>([Rcpss_xmm_xmmm32, VEX_Vrcpss_xmm_xmm_xmmm32]),
    scalar::<fp::RsqrtSs, u32>([Rsqrtss_xmm_xmmm32, VEX_Vrsqrtss_xmm_xmm_xmmm32]),
    scalar_imm::<fp::RoundSs, u32, 0xFF>([Roundss_xmm_xmmm32_imm8, VEX_Vroundss_xmm_xmm_xmmm32_imm8]),
    scalar_imm::<fp::RoundSd, u64, 0xFF>([Roundsd_xmm_xmmm64_imm8, VEX_Vroundsd_xmm_xmm_xmmm64_imm8]),
];

/// DPPD has no 256-bit form.
const DPPD: [Row; 2] =
    packed_imm_128::<fp::DotPd, 0xFF>([Dppd_xmm_xmmm128_imm8, VEX_Vdppd_xmm_xmm_xmmm128_imm8]);

const PARTS: &[&[Row]] = &[PACKED.as_flattened(), SCALAR.as_flattened(), &DPPD];

pub(crate) const ROWS: &[Row] = &concat::<{ total(PARTS) }>(PARTS);
