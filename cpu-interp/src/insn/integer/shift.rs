//! Handlers of shifts and rotates, by the rows of `cpu/src/alu/table.rs`.

use super::alu::{Operand, operand_bytes};
use super::{by_kind, done, missed, modify, modify_slow};
use crate::access::Guest;
use crate::core::{Core, Int};
use crate::op::{At, Done, Exit, Handler, Op, body, next};
use iced_x86::{Instruction, OpKind, Register};
use trimotor_cpu::alu::{DoubleShift, Shift, WideAlu};
use trimotor_cpu::flags::ArithFlags;

/// The count is the immediate.
fn by_imm<S: Shift, T: Operand>(core: &mut Core, op: At<'_>) -> Exit {
    let (r, f) = S::of::<T>(core.reg(op.r1), op.imm as u8, core.state.arith);
    core.state.arith = f;
    core.set_reg(op.r1, r);
    next(core, op)
}
/// The count is CL.
fn by_cl<S: Shift, T: Operand>(core: &mut Core, op: At<'_>) -> Exit {
    let (r, f) = S::of::<T>(core.reg(op.r1), core.reg::<u8>(8), core.state.arith);
    core.state.arith = f;
    core.set_reg(op.r1, r);
    next(core, op)
}
/// Memory; `CL` says where the count is.
fn memory<S: Shift, T: Operand, const CL: bool, const K: u8>(core: &mut Core, op: At<'_>) -> Exit {
    let count = if CL { core.reg::<u8>(8) } else { op.imm as u8 };
    match modify::<T, ArithFlags, K>(core, op, move |core, a| S::of::<T>(a, count, core.state.arith)) {
        Some(f) => core.state.arith = f,
        None => return missed::<K>(core, op, memory::<S, T, CL, 2>),
    }
    done::<K>(core, op)
}
fn memory_imm<S: Shift, T: Operand, const K: u8>(core: &mut Core, op: At<'_>) -> Exit {
    memory::<S, T, false, K>(core, op)
}
fn memory_cl<S: Shift, T: Operand, const K: u8>(core: &mut Core, op: At<'_>) -> Exit {
    memory::<S, T, true, K>(core, op)
}

fn form<S: Shift, T: Operand>(i: &Instruction, op: &Op) -> Handler {
    match (i.op0_kind() == OpKind::Register, counts_by_cl(i, 1)) {
        (true, false) => by_imm::<S, T>,
        (true, true) => by_cl::<S, T>,
        (false, false) => by_kind!(op, memory_imm::<S, T>),
        (false, true) => by_kind!(op, memory_cl::<S, T>),
    }
}
/// Whether the count, operand `n`, is CL.
fn counts_by_cl(i: &Instruction, n: u32) -> bool {
    i.op_kind(n) == OpKind::Register && i.op_register(n) == Register::CL
}
/// The handler for shift or rotate `i`.
pub(super) fn single<S: Shift>(i: &Instruction, op: &Op) -> Handler {
    match operand_bytes(i) {
        1 => form::<S, u8>(i, op),
        2 => form::<S, u16>(i, op),
        4 => form::<S, u32>(i, op),
        _ => form::<S, u64>(i, op),
    }
}
/// The handler for double shift `i`.
pub(super) fn double<S: DoubleShift>(i: &Instruction, _op: &Op) -> Handler {
    match (operand_bytes(i), counts_by_cl(i, 2)) {
        (2, false) => body(double_shift::<S, u16, false>),
        (2, true) => body(double_shift::<S, u16, true>),
        (4, false) => body(double_shift::<S, u32, false>),
        (4, true) => body(double_shift::<S, u32, true>),
        (_, false) => body(double_shift::<S, u64, false>),
        (_, true) => body(double_shift::<S, u64, true>),
    }
}

/// SHLD or SHRD; `CL`: the count is CL, else the immediate.
fn double_shift<S: DoubleShift, T: WideAlu + Int + Guest, const CL: bool>(core: &mut Core, op: &Op) -> Done {
    let count = if CL { core.reg::<u8>(8) } else { op.imm as u8 };
    let f = if op.has_mem() {
        modify_slow::<T, _>(core, op, |core, a| S::of(a, core.reg(op.r1), count, core.state.arith))?
    } else {
        let (r, f) = S::of::<T>(core.reg(op.r1), core.reg(op.r2), count, core.state.arith);
        core.set_reg(op.r1, r);
        f
    };
    core.state.arith = f;
    Ok(())
}
