//! FMA3: fused multiply-add, on packed and scalar operands.
//!
//! Source: SDM Vol. 2, VFMADD132PS and its kin.

use iced_x86::Code::{self, *};
use trimotor_cpu::simd::fp::{self, Element, Ternary, Xmm};

use super::sse_fp_form::{Form, form_row};
use super::sse_fp_shape::{concat, set_zeroing_upper, total};
use crate::access::Guest;
use crate::core::Core;
use crate::op::{Done, Op, Row};

/// `r1 = f(r1, r2, r3/m128)`.
#[inline(always)]
fn vex128<F: Form, T: Ternary>(core: &mut Core, op: &Op) -> Done {
    let third = F::source(core, op, op.r3)?;
    let (first, second) = (core.vec(op.r1), core.vec(op.r2));
    let result = F::vector(core, op, T::RESULTS, [first, second, third], || T::apply(first, second, third))?;
    set_zeroing_upper(core, op.r1, result);
    Ok(())
}

/// `r1 = f(r1, r2, r3/m256)`, in each half.
#[inline(always)]
fn vex256<F: Form, T: Ternary>(core: &mut Core, op: &Op) -> Done {
    let third: [Xmm; 2] = F::source(core, op, op.r3)?;
    let (first, second): ([Xmm; 2], [Xmm; 2]) = (core.vec(op.r1), core.vec(op.r2));
    let result = F::pair(core, op, T::RESULTS, [first, second, third], || {
        [T::apply(first[0], second[0], third[0]), T::apply(first[1], second[1], third[1])]
    })?;
    core.set_vec(op.r1, result);
    Ok(())
}

/// `r1 = f(r1, r2, r3/m)` where the memory operand is one element.
#[inline(always)]
fn scalar<F: Form, T: Ternary, E: Element + Guest>(core: &mut Core, op: &Op) -> Done {
    let third = F::source::<E>(core, op, op.r3)?.to_xmm();
    let (first, second) = (core.vec(op.r1), core.vec(op.r2));
    let result = F::vector(core, op, T::RESULTS, [first, second, third], || T::apply(first, second, third))?;
    set_zeroing_upper(core, op.r1, result);
    Ok(())
}

/// The rows of a packed operation: VEX.128, VEX.256.
const fn packed<T: Ternary + 'static>(codes: [Code; 2]) -> [Row; 2] {
    [
        form_row!(codes[0], |core, op, F| vex128::<F, T>(core, op)),
        form_row!(codes[1], |core, op, F| vex256::<F, T>(core, op)),
    ]
}

/// The row of a scalar operation, whose memory operand is an `E`.
const fn single<T: Ternary + 'static, E: Element + Guest>(code: Code) -> Row {
    form_row!(code, |core, op, F| scalar::<F, T, E>(core, op))
}

const PACKED: &[[Row; 2]] = &[
    packed::<fp::Fmadd132Ps>([VEX_Vfmadd132ps_xmm_xmm_xmmm128, VEX_Vfmadd132ps_ymm_ymm_ymmm256]),
    packed::<fp::Fmadd132Pd>([VEX_Vfmadd132pd_xmm_xmm_xmmm128, VEX_Vfmadd132pd_ymm_ymm_ymmm256]),
    packed::<fp::Fmadd213Ps>([VEX_Vfmadd213ps_xmm_xmm_xmmm128, VEX_Vfmadd213ps_ymm_ymm_ymmm256]),
    packed::<fp::Fmadd213Pd>([VEX_Vfmadd213pd_xmm_xmm_xmmm128, VEX_Vfmadd213pd_ymm_ymm_ymmm256]),
    packed::<fp::Fmadd231Ps>([VEX_Vfmadd231ps_xmm_xmm_xmmm128, VEX_Vfmadd231ps_ymm_ymm_ymmm256]),
    packed::<fp::Fmadd231Pd>([VEX_Vfmadd231pd_xmm_xmm_xmmm128, VEX_Vfmadd231pd_ymm_ymm_ymmm256]),
    packed::<fp::Fmsub132Ps>([VEX_Vfmsub132ps_xmm_xmm_xmmm128, VEX_Vfmsub132ps_ymm_ymm_ymmm256]),
    packed::<fp::Fmsub132Pd>([VEX_Vfmsub132pd_xmm_xmm_xmmm128, VEX_Vfmsub132pd_ymm_ymm_ymmm256]),
    packed::<fp::Fmsub213Ps>([VEX_Vfmsub213ps_xmm_xmm_xmmm128, VEX_Vfmsub213ps_ymm_ymm_ymmm256]),
    packed::<fp::Fmsub213Pd>([VEX_Vfmsub213pd_xmm_xmm_xmmm128, VEX_Vfmsub213pd_ymm_ymm_ymmm256]),
    packed::<fp::Fmsub231Ps>([VEX_Vfmsub231ps_xmm_xmm_xmmm128, VEX_Vfmsub231ps_ymm_ymm_ymmm256]),
    packed::<fp::Fmsub231Pd>([VEX_Vfmsub231pd_xmm_xmm_xmmm128, VEX_Vfmsub231pd_ymm_ymm_ymmm256]),
    packed::<fp::Fnmadd132Ps>([VEX_Vfnmadd132ps_xmm_xmm_xmmm128, VEX_Vfnmadd132ps_ymm_ymm_ymmm256]),
    packed::<fp::Fnmadd132Pd>([VEX_Vfnmadd132pd_xmm_xmm_xmmm128, VEX_Vfnmadd132pd_ymm_ymm_ymmm256]),
    packed::<fp::Fnmadd213Ps>([VEX_Vfnmadd213ps_xmm_xmm_xmmm128, VEX_Vfnmadd213ps_ymm_ymm_ymmm256]),
    packed::<fp::Fnmadd213Pd>([VEX_Vfnmadd213pd_xmm_xmm_xmmm128, VEX_Vfnmadd213pd_ymm_ymm_ymmm256]),
    packed::<fp::Fnmadd231Ps>([VEX_Vfnmadd231ps_xmm_xmm_xmmm128, VEX_Vfnmadd231ps_ymm_ymm_ymmm256]),
    packed::<fp::Fnmadd231Pd>([VEX_Vfnmadd231pd_xmm_xmm_xmmm128, VEX_Vfnmadd231pd_ymm_ymm_ymmm256]),
    packed::<fp::Fnmsub132Ps>([VEX_Vfnmsub132ps_xmm_xmm_xmmm128, VEX_Vfnmsub132ps_ymm_ymm_ymmm256]),
    packed::<fp::Fnmsub132Pd>([VEX_Vfnmsub132pd_xmm_xmm_xmmm128, VEX_Vfnmsub132pd_ymm_ymm_ymmm256]),
    packed::<fp::Fnmsub213Ps>([VEX_Vfnmsub213ps_xmm_xmm_xmmm128, VEX_Vfnmsub213ps_ymm_ymm_ymmm256]),
    packed::<fp::Fnmsub213Pd>([VEX_Vfnmsub213pd_xmm_xmm_xmmm128, VEX_Vfnmsub213pd_ymm_ymm_ymmm256]),
    packed::<fp::Fnmsub231Ps>([VEX_Vfnmsub231ps_xmm_xmm_xmmm128, VEX_Vfnmsub231ps_ymm_ymm_ymmm256]),
    packed::<fp::Fnmsub231Pd>([VEX_Vfnmsub231pd_xmm_xmm_xmmm128, VEX_Vfnmsub231pd_ymm_ymm_ymmm256]),
    packed::<fp::Fmaddsub132Ps>([VEX_Vfmaddsub132ps_xmm_xmm_xmmm128, VEX_Vfmaddsub132ps_ymm_ymm_ymmm256]),
    packed::<fp::Fmaddsub132Pd>([VEX_Vfmaddsub132pd_xmm_xmm_xmmm128, VEX_Vfmaddsub132pd_ymm_ymm_ymmm256]),
    packed::<fp::Fmaddsub213Ps>([VEX_Vfmaddsub213ps_xmm_xmm_xmmm128, VEX_Vfmaddsub213ps_ymm_ymm_ymmm256]),
    packed::<fp::Fmaddsub213Pd>([VEX_Vfmaddsub213pd_xmm_xmm_xmmm128, VEX_Vfmaddsub213pd_ymm_ymm_ymmm256]),
    packed::<fp::Fmaddsub231Ps>([VEX_Vfmaddsub231ps_xmm_xmm_xmmm128, VEX_Vfmaddsub231ps_ymm_ymm_ymmm256]),
    packed::<fp::Fmaddsub231Pd>([VEX_Vfmaddsub231pd_xmm_xmm_xmmm128, VEX_Vfmaddsub231pd_ymm_ymm_ymmm256]),
    packed::<fp::Fmsubadd132Ps>([VEX_Vfmsubadd132ps_xmm_xmm_xmmm128, VEX_Vfmsubadd132ps_ymm_ymm_ymmm256]),
    packed::<fp::Fmsubadd132Pd>([VEX_Vfmsubadd132pd_xmm_xmm_xmmm128, VEX_Vfmsubadd132pd_ymm_ymm_ymmm256]),
    packed::<fp::Fmsubadd213Ps>([VEX_Vfmsubadd213ps_xmm_xmm_xmmm128, VEX_Vfmsubadd213ps_ymm_ymm_ymmm256]),
    packed::<fp::Fmsubadd213Pd>([VEX_Vfmsubadd213pd_xmm_xmm_xmmm128, VEX_Vfmsubadd213pd_ymm_ymm_ymmm256]),
    packed::<fp::Fmsubadd231Ps>([VEX_Vfmsubadd231ps_xmm_xmm_xmmm128, VEX_Vfmsubadd231ps_ymm_ymm_ymmm256]),
    packed::<fp::Fmsubadd231Pd>([VEX_Vfmsubadd231pd_xmm_xmm_xmmm128, VEX_Vfmsubadd231pd_ymm_ymm_ymmm256]),
];

const SCALAR: &[Row] = &[
    single::<fp::Fmadd132Ss, u32>(VEX_Vfmadd132ss_xmm_xmm_xmmm32),
    single::<fp::Fmadd132Sd, u64>(VEX_Vfmadd132sd_xmm_xmm_xmmm64),
    single::<fp::Fmadd213Ss, u32>(VEX_Vfmadd213ss_xmm_xmm_xmmm32),
    single::<fp::Fmadd213Sd, u64>(VEX_Vfmadd213sd_xmm_xmm_xmmm64),
    single::<fp::Fmadd231Ss, u32>(VEX_Vfmadd231ss_xmm_xmm_xmmm32),
    single::<fp::Fmadd231Sd, u64>(VEX_Vfmadd231sd_xmm_xmm_xmmm64),
    single::<fp::Fmsub132Ss, u32>(VEX_Vfmsub132ss_xmm_xmm_xmmm32),
    single::<fp::Fmsub132Sd, u64>(VEX_Vfmsub132sd_xmm_xmm_xmmm64),
    single::<fp::Fmsub213Ss, u32>(VEX_Vfmsub213ss_xmm_xmm_xmmm32),
    single::<fp::Fmsub213Sd, u64>(VEX_Vfmsub213sd_xmm_xmm_xmmm64),
    single::<fp::Fmsub231Ss, u32>(VEX_Vfmsub231ss_xmm_xmm_xmmm32),
    single::<fp::Fmsub231Sd, u64>(VEX_Vfmsub231sd_xmm_xmm_xmmm64),
    single::<fp::Fnmadd132Ss, u32>(VEX_Vfnmadd132ss_xmm_xmm_xmmm32),
    single::<fp::Fnmadd132Sd, u64>(VEX_Vfnmadd132sd_xmm_xmm_xmmm64),
    single::<fp::Fnmadd213Ss, u32>(VEX_Vfnmadd213ss_xmm_xmm_xmmm32),
    single::<fp::Fnmadd213Sd, u64>(VEX_Vfnmadd213sd_xmm_xmm_xmmm64),
    single::<fp::Fnmadd231Ss, u32>(VEX_Vfnmadd231ss_xmm_xmm_xmmm32),
    single::<fp::Fnmadd231Sd, u64>(VEX_Vfnmadd231sd_xmm_xmm_xmmm64),
    single::<fp::Fnmsub132Ss, u32>(VEX_Vfnmsub132ss_xmm_xmm_xmmm32),
    single::<fp::Fnmsub132Sd, u64>(VEX_Vfnmsub132sd_xmm_xmm_xmmm64),
    single::<fp::Fnmsub213Ss, u32>(VEX_Vfnmsub213ss_xmm_xmm_xmmm32),
    single::<fp::Fnmsub213Sd, u64>(VEX_Vfnmsub213sd_xmm_xmm_xmmm64),
    single::<fp::Fnmsub231Ss, u32>(VEX_Vfnmsub231ss_xmm_xmm_xmmm32),
    single::<fp::Fnmsub231Sd, u64>(VEX_Vfnmsub231sd_xmm_xmm_xmmm64),
];

const PARTS: &[&[Row]] = &[PACKED.as_flattened(), SCALAR];

pub(crate) const ROWS: &[Row] = &concat::<{ total(PARTS) }>(PARTS);
