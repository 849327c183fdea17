//! Floating-point comparisons: CMPPS and kin, which give masks, and COMIS and UCOMIS, which
//! give flags.
//!
//! A legacy CMP has a predicate of three bits, the VEX forms have one of five.

use iced_x86::Code::*;
use trimotor_cpu::flags::ArithFlags;
use trimotor_cpu::simd::fp::{self, Element, Xmm};

use super::sse_fp_form::{Form, form_row};
use super::sse_fp_shape::{concat, packed_imm, scalar_imm, total};
use crate::access::Guest;
use crate::core::Core;
use crate::op::{Done, Op, Row};

/// Sets the flags by comparing `r1` with `r2/m`.
#[inline(always)]
fn order<F: Form, E: Element + Guest>(core: &mut Core, op: &Op, f: impl Fn(Xmm, Xmm) -> ArithFlags) -> Done {
    let second = F::source::<E>(core, op, op.r2)?.to_xmm();
    let first = core.vec(op.r1);
    core.state.arith = F::other(core, op, || f(first, second))?;
    Ok(())
}

const ORDERINGS: &[Row] = &[
    form_row!(Comiss_xmm_xmmm32, |core, op, F| order::<F, u32>(core, op, fp::comiss)),
    form_row!(Comisd_xmm_xmmm64, |core, op, F| order::<F, u64>(core, op, fp::comisd)),
    form_row!(Ucomiss_xmm_xmmm32, |core, op, F| order::<F, u32>(core, op, fp::ucomiss)),
    form_row!(Ucomisd_xmm_xmmm64, |core, op, F| order::<F, u64>(core, op, fp::ucomisd)),
    form_row!(VEX_Vcomiss_xmm_xmmm32, |core, op, F| order::<F, u32>(core, op, fp::comiss)),
    form_row!(VEX_Vcomisd_xmm_xmmm64, |core, op, F| order::<F, u64>(core, op, fp::comisd)),
    form_row!(VEX_Vucomiss_xmm_xmmm32, |core, op, F| order::<F, u32>(core, op, fp::ucomiss)),
    form_row!(VEX_Vucomisd_xmm_xmmm64, |core, op, F| order::<F, u64>(core, op, fp::ucomisd)),
];

const PACKED: &[[Row; 3]] = &[
    packed_imm::<fp::CmpPs, 7>([
        Cmpps_xmm_xmmm128_imm8,
        VEX_Vcmpps_xmm_xmm_xmmm128_imm8,
        VEX_Vcmpps_ymm_ymm_ymmm256_imm8,
    ]),
    packed_imm::<fp::CmpPd, 7>([
        Cmppd_xmm_xmmm128_imm8,
        VEX_Vcmppd_xmm_xmm_xmmm128_imm8,
        VEX_Vcmppd_ymm_ymm_ymmm256_imm8,
    ]),
];

const SCALAR: &[[Row; 2]] = &[
    scalar_imm::<fp::CmpSs, u32, 7>([Cmpss_xmm_xmmm32_imm8, VEX_Vcmpss_xmm_xmm_xmmm32_imm8]),
    scalar_imm::<fp::CmpSd, u64, 7>([Cmpsd_xmm_xmmm64_imm8, VEX_Vcmpsd_xmm_xmm_xmmm64_imm8]),
];

const PARTS: &[&[Row]] = &[ORDERINGS, PACKED.as_flattened(), SCALAR.as_flattened()];

pub(crate) const ROWS: &[Row] = &concat::<{ total(PARTS) }>(PARTS);
