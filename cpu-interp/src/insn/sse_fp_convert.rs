//! Conversions between single, double and integers, packed and scalar.
//!
//! The VEX.256 forms that change the element size read or write 128 bits on the one side
//! and 256 on the other. What MMX registers take part in is in `sse_fp_mmx`.
//!
//! Source: SDM Vol. 2, CVTDQ2PD to CVTTSS2SI.

use iced_x86::Code::{self, *};
use trimotor_cpu::simd::fp::{self, Element, FromInteger, ToInteger, Unary, Xmm, doubles, to_doubles};

use super::sse_fp_form::{Form, form_row};
use super::sse_fp_shape::{concat, scalar, set_zeroing_upper, total, unary, unary_legacy, unary_vex128};
use crate::access::Guest;
use crate::core::{Core, Int};
use crate::op::{Done, Op, Row};

/// `r1 = f(r2/m64)`, legacy: two elements become twice as wide.
#[inline(always)]
fn widen_legacy<F: Form, T: Unary>(core: &mut Core, op: &Op) -> Done {
    let source = F::source::<u64>(core, op, op.r2)?.to_xmm();
    let result = F::vector(core, op, T::RESULTS, [source; 3], || T::apply(source))?;
    core.set_vec(op.r1, result);
    Ok(())
}

/// `r1 = f(r2/m64)`, VEX.128.
#[inline(always)]
fn widen_vex128<F: Form, T: Unary>(core: &mut Core, op: &Op) -> Done {
    let source = F::source::<u64>(core, op, op.r2)?.to_xmm();
    let result = F::vector(core, op, T::RESULTS, [source; 3], || T::apply(source))?;
    set_zeroing_upper(core, op.r1, result);
    Ok(())
}

/// `r1 = f(r2/m128)`, VEX.256: four elements become twice as wide.
#[inline(always)]
fn widen_vex256<F: Form, T: Unary>(core: &mut Core, op: &Op) -> Done {
    let [low, high] = F::source::<[u64; 2]>(core, op, op.r2)?.map(u64::to_xmm);
    let result = F::pair(core, op, T::RESULTS, [[low, high]; 3], || [T::apply(low), T::apply(high)])?;
    core.set_vec(op.r1, result);
    Ok(())
}

/// `r1 = f(r2/m256)`, VEX.256: four elements become half as wide.
#[inline(always)]
fn narrow_vex256<F: Form, T: Unary>(core: &mut Core, op: &Op) -> Done {
    let source: [Xmm; 2] = F::source(core, op, op.r2)?;
    let halves = F::pair(core, op, T::RESULTS, [source; 3], || source.map(T::apply))?;
    set_zeroing_upper(core, op.r1, doubles(halves.map(|half| to_doubles(half)[0])));
    Ok(())
}

/// `r1 = f(r1, r2/m)` from a general register, legacy.
#[inline(always)]
fn from_integer_legacy<F: Form, T: FromInteger<Integer: Int + Guest>>(core: &mut Core, op: &Op) -> Done {
    let integer = F::integer(core, op, op.r2)?;
    let first = core.vec(op.r1);
    let result = F::other(core, op, || T::apply(first, integer))?;
    core.set_vec(op.r1, result);
    Ok(())
}

/// `r1 = f(r2, r3/m)` from a general register, VEX.
#[inline(always)]
fn from_integer_vex<F: Form, T: FromInteger<Integer: Int + Guest>>(core: &mut Core, op: &Op) -> Done {
    let integer = F::integer(core, op, op.r3)?;
    let first = core.vec(op.r2);
    let result = F::other(core, op, || T::apply(first, integer))?;
    set_zeroing_upper(core, op.r1, result);
    Ok(())
}

/// General register `r1 = f(r2/m)`.
#[inline(always)]
fn into_integer<F: Form, T: ToInteger<Integer: Int>, E: Element + Guest>(core: &mut Core, op: &Op) -> Done {
    let source = F::source::<E>(core, op, op.r2)?.to_xmm();
    let integer = F::other(core, op, || T::apply(source))?;
    core.set_reg(op.r1, integer);
    Ok(())
}

/// The rows of a conversion to elements twice as wide: legacy, VEX.128, VEX.256.
const fn widen<T: Unary + 'static>(codes: [Code; 3]) -> [Row; 3] {
    [
        form_row!(codes[0], |core, op, F| widen_legacy::<F, T>(core, op)),
        form_row!(codes[1], |core, op, F| widen_vex128::<F, T>(core, op)),
        form_row!(codes[2], |core, op, F| widen_vex256::<F, T>(core, op)),
    ]
}

/// The rows of a conversion to elements half as wide: legacy, VEX.128, VEX.256.
const fn narrow<T: Unary + 'static>(codes: [Code; 3]) -> [Row; 3] {
    [
        form_row!(codes[0], |core, op, F| unary_legacy::<F>(core, op, T::RESULTS, T::apply)),
        form_row!(codes[1], |core, op, F| unary_vex128::<F>(core, op, T::RESULTS, T::apply)),
        form_row!(codes[2], |core, op, F| narrow_vex256::<F, T>(core, op)),
    ]
}

/// The rows of a conversion from a general register: legacy, VEX.
const fn from_integer<T: FromInteger<Integer: Int + Guest> + 'static>(codes: [Code; 2]) -> [Row; 2] {
    [
        form_row!(codes[0], |core, op, F| from_integer_legacy::<F, T>(core, op)),
        form_row!(codes[1], |core, op, F| from_integer_vex::<F, T>(core, op)),
    ]
}

/// The rows of a conversion to a general register, whose memory operand is an `E`: legacy, VEX.
const fn to_integer<T: ToInteger<Integer: Int> + 'static, E: Element + Guest>(codes: [Code; 2]) -> [Row; 2] {
    [
        form_row!(codes[0], |core, op, F| into_integer::<F, T, E>(core, op)),
        form_row!(codes[1], |core, op, F| into_integer::<F, T, E>(core, op)),
    ]
}

const PACKED: &[[Row; 3]] = &[
    unary::<fp::CvtDq2Ps>([Cvtdq2ps_xmm_xmmm128, VEX_Vcvtdq2ps_xmm_xmmm128, VEX_Vcvtdq2ps_ymm_ymmm256]),
    unary::<fp::CvtPs2Dq>([Cvtps2dq_xmm_xmmm128, VEX_Vcvtps2dq_xmm_xmmm128, VEX_Vcvtps2dq_ymm_ymmm256]),
    unary::<fp::CvttPs2Dq>([Cvttps2dq_xmm_xmmm128, VEX_Vcvttps2dq_xmm_xmmm128, VEX_Vcvttps2dq_ymm_ymmm256]),
    widen::<fp::CvtPs2Pd>([Cvtps2pd_xmm_xmmm64, VEX_Vcvtps2pd_xmm_xmmm64, VEX_Vcvtps2pd_ymm_xmmm128]),
    widen::<fp::CvtDq2Pd>([Cvtdq2pd_xmm_xmmm64, VEX_Vcvtdq2pd_xmm_xmmm64, VEX_Vcvtdq2pd_ymm_xmmm128]),
    narrow::<fp::CvtPd2Ps>([Cvtpd2ps_xmm_xmmm128, VEX_Vcvtpd2ps_xmm_xmmm128, VEX_Vcvtpd2ps_xmm_ymmm256]),
    narrow::<fp::CvtPd2Dq>([Cvtpd2dq_xmm_xmmm128, VEX_Vcvtpd2dq_xmm_xmmm128, VEX_Vcvtpd2dq_xmm_ymmm256]),
    narrow::<fp::CvttPd2Dq>([Cvttpd2dq_xmm_xmmm128, VEX_Vcvttpd2dq_xmm_xmmm128, VEX_Vcvttpd2dq_xmm_ymmm256]),
];

const SCALAR: &[[Row; 2]] = &[
    scalar::<fp::CvtSs2Sd, u32>([Cvtss2sd_xmm_xmmm32, VEX_Vcvtss2sd_xmm_xmm_xmmm32]),
    scalar::<fp::CvtSd2Ss, u64>([Cvtsd2ss_xmm_xmmm64, VEX_Vcvtsd2ss_xmm_xmm_xmmm64]),
    from_integer::<fp::CvtSi2Ss32>([Cvtsi2ss_xmm_rm32, VEX_Vcvtsi2ss_xmm_xmm_rm32]),
    from_integer::<fp::CvtSi2Ss64>([Cvtsi2ss_xmm_rm64, VEX_Vcvtsi2ss_xmm_xmm_rm64]),
    from_integer::<fp::CvtSi2Sd32>([Cvtsi2sd_xmm_rm32, VEX_Vcvtsi2sd_xmm_xmm_rm32]),
    from_integer::<fp::CvtSi2Sd64>([Cvtsi2sd_xmm_rm64, VEX_Vcvtsi2sd_xmm_xmm_rm64]),
    to_integer::<fp::CvtSs2Si32, u32>([Cvtss2si_r32_xmmm32, VEX_Vcvtss2si_r32_xmmm32]),
    to_integer::<fp::CvttSs2Si32, u32>([Cvttss2si_r32_xmmm32, VEX_Vcvttss2si_r32_xmmm32]),
    to_integer::<fp::CvtSs2Si64, u32>([Cvtss2si_r64_xmmm32, VEX_Vcvtss2si_r64_xmmm32]),
    to_integer::<fp::CvttSs2Si64, u32>([Cvttss2si_r64_xmmm32, VEX_Vcvttss2si_r64_xmmm32]),
    to_integer::<fp::CvtSd2Si32, u64>([Cvtsd2si_r32_xmmm64, VEX_Vcvtsd2si_r32_xmmm64]),
    to_integer::<fp::CvttSd2Si32, u64>([Cvttsd2si_r32_xmmm64, VEX_Vcvttsd2si_r32_xmmm64]),
    to_integer::<fp::CvtSd2Si64, u64>([Cvtsd2si_r64_xmmm64, VEX_Vcvtsd2si_r64_xmmm64]),
    to_integer::<fp::CvttSd2Si64, u64>([Cvttsd2si_r64_xmmm64, VEX_Vcvttsd2si_r64_xmmm64]),
];

const PARTS: &[&[Row]] = &[PACKED.as_flattened(), SCALAR.as_flattened()];

pub(crate) const ROWS: &[Row] = &concat::<{ total(PARTS) }>(PARTS);
