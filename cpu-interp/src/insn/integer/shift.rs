//! SHL, SHR, SAR, ROL, ROR, RCL, RCR, SHLD, SHRD.

#![allow(unsafe_code, reason = "handlers walk the ops of a block by pointer")]

use super::alu::{Operand, operand_bytes};
use super::{by_kind, done, missed, modify, modify_slow};
use crate::access::Guest;
use crate::core::{Core, Int};
use crate::op::{Done, Exit, Handler, Op, Row, body, next, row};
use iced_x86::{Code, Instruction, Mnemonic, OpKind, Register};
use trimotor_cpu::alu::WideAlu;
use trimotor_cpu::flags::ArithFlags;

/// A shift or rotate.
pub(crate) trait Shift: 'static {
    fn of<T: Operand>(a: T, count: u8, f: ArithFlags) -> (T, ArithFlags);
}
macro_rules! shifts {
    ($($name:ident, $method:ident;)*) => {$(
        pub(crate) struct $name;
        impl Shift for $name {
            #[inline(always)]
            fn of<T: Operand>(a: T, count: u8, f: ArithFlags) -> (T, ArithFlags) { a.$method(count, f) }
        }
    )*};
}
shifts! { Shl, shl; Shr, shr; Sar, sar; Rol, rol; Ror, ror; Rcl, rcl; Rcr, rcr; }

/// The count is the immediate.
unsafe fn by_imm<S: Shift, T: Operand>(core: &mut Core, op: *const Op) -> Exit {
    // SAFETY: handlers get ops of the running block.
    unsafe {
        let (r, f) = S::of::<T>(core.reg((*op).r1), (*op).imm as u8, core.state.arith);
        core.state.arith = f;
        core.set_reg((*op).r1, r);
        next(core, op)
    }
}
/// The count is CL.
unsafe fn by_cl<S: Shift, T: Operand>(core: &mut Core, op: *const Op) -> Exit {
    // SAFETY: handlers get ops of the running block.
    unsafe {
        let (r, f) = S::of::<T>(core.reg((*op).r1), core.reg::<u8>(8), core.state.arith);
        core.state.arith = f;
        core.set_reg((*op).r1, r);
        next(core, op)
    }
}
/// Memory; `CL` says where the count is.
unsafe fn memory<S: Shift, T: Operand, const CL: bool, const K: u8>(core: &mut Core, op: *const Op) -> Exit {
    // SAFETY: handlers get ops of the running block.
    unsafe {
        let count = if CL { core.reg::<u8>(8) } else { (*op).imm as u8 };
        match modify::<T, ArithFlags, K>(core, op, move |core, a| S::of::<T>(a, count, core.state.arith)) {
            Some(f) => core.state.arith = f,
            None => return missed::<K>(core, op, memory::<S, T, CL, 2>),
        }
        done::<K>(core, op)
    }
}
unsafe fn memory_imm<S: Shift, T: Operand, const K: u8>(core: &mut Core, op: *const Op) -> Exit {
    // SAFETY: handlers get ops of the running block.
    unsafe { memory::<S, T, false, K>(core, op) }
}
unsafe fn memory_cl<S: Shift, T: Operand, const K: u8>(core: &mut Core, op: *const Op) -> Exit {
    // SAFETY: handlers get ops of the running block.
    unsafe { memory::<S, T, true, K>(core, op) }
}

fn form<S: Shift, T: Operand>(i: &Instruction, op: &Op) -> Handler {
    let cl = i.op1_kind() == OpKind::Register && i.op1_register() == Register::CL;
    match (i.op0_kind() == OpKind::Register, cl) {
        (true, false) => by_imm::<S, T>,
        (true, true) => by_cl::<S, T>,
        (false, false) => by_kind!(op, memory_imm::<S, T>),
        (false, true) => by_kind!(op, memory_cl::<S, T>),
    }
}
fn sized<S: Shift>(i: &Instruction, op: &Op) -> Handler {
    match operand_bytes(i) {
        1 => form::<S, u8>(i, op),
        2 => form::<S, u16>(i, op),
        4 => form::<S, u32>(i, op),
        _ => form::<S, u64>(i, op),
    }
}

/// The handler for `i`, if it is one of this module's.
pub(crate) fn select(i: &Instruction, op: &mut Op) -> Option<Handler> {
    if implements(i.code()) && i.op1_kind() == OpKind::Register {
        op.r2 = 0;
    }
    Some(match i.mnemonic() {
        Mnemonic::Shl | Mnemonic::Sal => sized::<Shl>(i, op),
        Mnemonic::Shr => sized::<Shr>(i, op),
        Mnemonic::Sar => sized::<Sar>(i, op),
        Mnemonic::Rol => sized::<Rol>(i, op),
        Mnemonic::Ror => sized::<Ror>(i, op),
        Mnemonic::Rcl => sized::<Rcl>(i, op),
        Mnemonic::Rcr => sized::<Rcr>(i, op),
        _ => return None,
    })
}

/// Whether [`select`] knows the form.
pub(crate) fn implements(code: Code) -> bool {
    use Mnemonic as M;
    matches!(code.mnemonic(), M::Shl | M::Sal | M::Shr | M::Sar | M::Rol | M::Ror | M::Rcl | M::Rcr)
}

/// SHLD (`LEFT`) or SHRD; `CL`: the count is CL, else the immediate.
fn double<T: WideAlu + Int + Guest, const LEFT: bool, const CL: bool>(core: &mut Core, op: &Op) -> Done {
    let count = if CL { core.reg::<u8>(8) } else { op.imm as u8 };
    let of = |a: T, b: T, f| if LEFT { a.shld(b, count, f) } else { a.shrd(b, count, f) };
    let f = if op.has_mem() {
        modify_slow::<T, _>(core, op, |core, a| of(a, core.reg(op.r1), core.state.arith))?
    } else {
        let (r, f) = of(core.reg(op.r1), core.reg(op.r2), core.state.arith);
        core.set_reg(op.r1, r);
        f
    };
    core.state.arith = f;
    Ok(())
}

/// Double shifts.
pub(crate) const ROWS: &[Row] = &[
    row(Code::Shld_rm16_r16_imm8, body(double::<u16, true, false>)),
    row(Code::Shld_rm32_r32_imm8, body(double::<u32, true, false>)),
    row(Code::Shld_rm64_r64_imm8, body(double::<u64, true, false>)),
    row(Code::Shld_rm16_r16_CL, body(double::<u16, true, true>)),
    row(Code::Shld_rm32_r32_CL, body(double::<u32, true, true>)),
    row(Code::Shld_rm64_r64_CL, body(double::<u64, true, true>)),
    row(Code::Shrd_rm16_r16_imm8, body(double::<u16, false, false>)),
    row(Code::Shrd_rm32_r32_imm8, body(double::<u32, false, false>)),
    row(Code::Shrd_rm64_r64_imm8, body(double::<u64, false, false>)),
    row(Code::Shrd_rm16_r16_CL, body(double::<u16, false, true>)),
    row(Code::Shrd_rm32_r32_CL, body(double::<u32, false, true>)),
    row(Code::Shrd_rm64_r64_CL, body(double::<u64, false, true>)),
];
