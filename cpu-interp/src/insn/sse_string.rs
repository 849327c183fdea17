//! PCMPESTRI, PCMPESTRM, PCMPISTRI, PCMPISTRM: string comparison in vectors.
//!
//! The legacy forms too take a memory operand of any alignment. REX.W (or VEX.W) makes the
//! explicit lengths 64-bit.

use super::vector_forms::set_xmm;
use crate::core::Core;
use crate::op::{Done, Op, Row, body, row};
use iced_x86::Code::*;
use trimotor_cpu::Fault;
use trimotor_cpu::flags::ArithFlags;
use trimotor_cpu::simd::int::{StringControl, StringMatch, V128, compare_strings};

/// Where the lengths come from.
trait Lengths {
    fn of(core: &Core, control: StringControl, a: V128, b: V128) -> (u32, u32);
}
/// Up to the first null element.
struct Implicit;
/// EAX and EDX.
struct Explicit32;
/// RAX and RDX.
struct Explicit64;

impl Lengths for Implicit {
    fn of(_: &Core, control: StringControl, a: V128, b: V128) -> (u32, u32) {
        (control.implicit_length(a), control.implicit_length(b))
    }
}
impl Lengths for Explicit32 {
    fn of(core: &Core, control: StringControl, _: V128, _: V128) -> (u32, u32) {
        let length = |register| control.explicit_length(core.state.gpr(register) as i32 as i64);
        (length(0), length(2))
    }
}
impl Lengths for Explicit64 {
    fn of(core: &Core, control: StringControl, _: V128, _: V128) -> (u32, u32) {
        let length = |register| control.explicit_length(core.state.gpr(register) as i64);
        (length(0), length(2))
    }
}

/// Compares and sets the flags.
#[inline(never)]
fn compare<L: Lengths>(core: &mut Core, op: &Op) -> Result<StringMatch, Fault> {
    let b: V128 = core.vec_rm(op, op.r2)?;
    let a: V128 = core.vec(op.r1);
    let control = StringControl(op.imm as u8);
    let (a_length, b_length) = L::of(core, control, a, b);
    let found = compare_strings(a, a_length, b, b_length, control);
    let bit = |on: bool, flag: u16| if on { flag } else { 0 };
    core.state.arith = ArithFlags(
        bit(found.bits != 0, ArithFlags::CF)
            | bit(found.second_ends, ArithFlags::ZF)
            | bit(found.first_ends, ArithFlags::SF)
            | bit(found.bits & 1 != 0, ArithFlags::OF),
    );
    Ok(found)
}
/// PCMPESTRI, PCMPISTRI and their VEX forms: the index to ECX.
fn to_index<L: Lengths>(core: &mut Core, op: &Op) -> Done {
    let found = compare::<L>(core, op)?;
    core.state.set_gpr(1, found.index() as u64);
    Ok(())
}
/// PCMPESTRM, PCMPISTRM: the mask to XMM0.
fn to_mask<L: Lengths>(core: &mut Core, op: &Op) -> Done {
    let found = compare::<L>(core, op)?;
    core.set_vec(0, found.mask());
    Ok(())
}
/// VPCMPESTRM, VPCMPISTRM.
fn vex_to_mask<L: Lengths>(core: &mut Core, op: &Op) -> Done {
    let found = compare::<L>(core, op)?;
    set_xmm(core, 0, found.mask());
    Ok(())
}

/// The family's instruction forms.
pub(crate) const ROWS: &[Row] = &[
    row(Pcmpistri_xmm_xmmm128_imm8, body(to_index::<Implicit>)),
    row(Pcmpistrm_xmm_xmmm128_imm8, body(to_mask::<Implicit>)),
    row(Pcmpestri_xmm_xmmm128_imm8, body(to_index::<Explicit32>)),
    row(Pcmpestrm_xmm_xmmm128_imm8, body(to_mask::<Explicit32>)),
    row(Pcmpestri64_xmm_xmmm128_imm8, body(to_index::<Explicit64>)),
    row(Pcmpestrm64_xmm_xmmm128_imm8, body(to_mask::<Explicit64>)),
    row(VEX_Vpcmpistri_xmm_xmmm128_imm8, body(to_index::<Implicit>)),
    row(VEX_Vpcmpistrm_xmm_xmmm128_imm8, body(vex_to_mask::<Implicit>)),
    row(VEX_Vpcmpestri_xmm_xmmm128_imm8, body(to_index::<Explicit32>)),
    row(VEX_Vpcmpestrm_xmm_xmmm128_imm8, body(vex_to_mask::<Explicit32>)),
    row(VEX_Vpcmpestri64_xmm_xmmm128_imm8, body(to_index::<Explicit64>)),
    row(VEX_Vpcmpestrm64_xmm_xmmm128_imm8, body(vex_to_mask::<Explicit64>)),
];
