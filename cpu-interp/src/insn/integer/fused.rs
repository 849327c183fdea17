//! Pairs: a comparison or counter step and the conditional jump behind it.
//!
//! The first op of such a pair gets a handler that does its own work and then that of the
//! jump behind it, without going through the dispatch between them. The jump's op stays where it is,
//! with its link, its position and its place in the instruction count; nothing else knows of
//! the pair. Only jumps that are linked within their page take part.

use super::alu::{self, Operand, operand_bytes};
use super::{BASE, SLOW, kind_of, load, missed};
use crate::core::Core;
use crate::jump::take_link;
use crate::op::{At, Exit, Handler, Op, next};
use iced_x86::{Instruction, Mnemonic, OpKind};
use trimotor_cpu::alu::operation::{Add, And, Cmp, Dec, Sub, Test};
use trimotor_cpu::alu::{Binary, Unary};
use trimotor_cpu::flags::ArithFlags;

/// The jump behind `op`, given the flags that `op` left.
#[inline(always)]
fn jump<const CC: u8>(core: &mut Core, op: At<'_>, f: ArithFlags) -> Exit {
    let jcc = op.next();
    if f.condition(CC) { take_link(core, jcc) } else { next(core, jcc) }
}

fn rr<O: Binary, T: Operand, const CC: u8>(core: &mut Core, op: At<'_>) -> Exit {
    let (r, f) = O::of::<T>(core.reg(op.r1), core.reg(op.r2), core.state.arith);
    core.state.arith = f;
    if O::WRITES {
        core.set_reg(op.r1, r);
    }
    jump::<CC>(core, op, f)
}
fn ri<O: Binary, T: Operand, const CC: u8>(core: &mut Core, op: At<'_>) -> Exit {
    let (r, f) = O::of::<T>(core.reg(op.r1), T::cut(op.imm), core.state.arith);
    core.state.arith = f;
    if O::WRITES {
        core.set_reg(op.r1, r);
    }
    jump::<CC>(core, op, f)
}
fn one<O: Unary, T: Operand, const CC: u8>(core: &mut Core, op: At<'_>) -> Exit {
    let (r, f) = O::of::<T>(core.reg(op.r1), core.state.arith);
    core.state.arith = f;
    core.set_reg(op.r1, r);
    jump::<CC>(core, op, f)
}
/// Register and memory of base and displacement.
fn rm<O: Binary, T: Operand, const CC: u8>(core: &mut Core, op: At<'_>) -> Exit {
    let Some(b) = load::<T, BASE>(core, op) else { return missed::<BASE>(core, op, alu::rm::<O, T, SLOW>) };
    let f = O::of::<T>(core.reg(op.r1), b, core.state.arith).1;
    core.state.arith = f;
    jump::<CC>(core, op, f)
}
/// Memory of base and displacement, and an immediate.
fn mi<O: Binary, T: Operand, const CC: u8>(core: &mut Core, op: At<'_>) -> Exit {
    let Some(a) = load::<T, BASE>(core, op) else { return missed::<BASE>(core, op, alu::mi::<O, T, SLOW>) };
    let f = O::of::<T>(a, T::cut(op.imm), core.state.arith).1;
    core.state.arith = f;
    jump::<CC>(core, op, f)
}

/// The variant of a handler for condition `cc`; the parity and overflow conditions have none.
macro_rules! by_condition {
    ($cc:expr, $f:ident < $($g:ty),* >) => {
        match $cc {
            2 => $f::<$($g,)* 2>,
            3 => $f::<$($g,)* 3>,
            4 => $f::<$($g,)* 4>,
            5 => $f::<$($g,)* 5>,
            6 => $f::<$($g,)* 6>,
            7 => $f::<$($g,)* 7>,
            8 => $f::<$($g,)* 8>,
            9 => $f::<$($g,)* 9>,
            12 => $f::<$($g,)* 12>,
            13 => $f::<$($g,)* 13>,
            14 => $f::<$($g,)* 14>,
            15 => $f::<$($g,)* 15>,
            _ => return None,
        }
    };
}
/// The same for the conditions that loops end with.
macro_rules! by_loop_condition {
    ($cc:expr, $f:ident < $($g:ty),* >) => {
        match $cc {
            4 => $f::<$($g,)* 4>,
            5 => $f::<$($g,)* 5>,
            8 => $f::<$($g,)* 8>,
            9 => $f::<$($g,)* 9>,
            _ => return None,
        }
    };
}

fn compare<T: Operand>(i: &Instruction, op: &Op, cc: u8) -> Option<Handler> {
    let base = kind_of(op) == BASE;
    Some(match (i.mnemonic(), i.op0_kind(), i.op1_kind()) {
        (Mnemonic::Cmp, OpKind::Register, OpKind::Register) => by_condition!(cc, rr<Cmp, T>),
        (Mnemonic::Test, OpKind::Register, OpKind::Register) => by_condition!(cc, rr<Test, T>),
        (Mnemonic::Cmp, OpKind::Register, OpKind::Memory) if base => by_condition!(cc, rm<Cmp, T>),
        (_, OpKind::Register, OpKind::Memory) | (_, OpKind::Memory, OpKind::Register) => return None,
        (Mnemonic::Cmp, OpKind::Memory, _) if base => by_condition!(cc, mi<Cmp, T>),
        (Mnemonic::Test, OpKind::Memory, _) if base => by_loop_condition!(cc, mi<Test, T>),
        (_, OpKind::Memory, _) => return None,
        (Mnemonic::Cmp, ..) => by_condition!(cc, ri<Cmp, T>),
        _ => by_loop_condition!(cc, ri<Test, T>),
    })
}
fn step<T: Operand>(i: &Instruction, cc: u8) -> Option<Handler> {
    let register = |n| i.op_count() <= n || i.op_kind(n) == OpKind::Register;
    if !register(0) || i.op_count() > 1 && (i.op1_kind() == OpKind::Memory || register(1)) {
        return None;
    }
    Some(match i.mnemonic() {
        Mnemonic::Add => by_loop_condition!(cc, ri<Add, T>),
        Mnemonic::Sub => by_loop_condition!(cc, ri<Sub, T>),
        Mnemonic::And => by_loop_condition!(cc, ri<And, T>),
        _ => by_loop_condition!(cc, one<Dec, T>),
    })
}

/// The handler for `i` (lowered to `op`) and the linked Jcc of condition `cc` behind it.
pub(crate) fn select(i: &Instruction, op: &Op, cc: u8) -> Option<Handler> {
    let size = operand_bytes(i);
    match i.mnemonic() {
        Mnemonic::Cmp | Mnemonic::Test => match size {
            1 => compare::<u8>(i, op, cc),
            4 => compare::<u32>(i, op, cc),
            8 => compare::<u64>(i, op, cc),
            _ => None,
        },
        Mnemonic::Add | Mnemonic::Sub | Mnemonic::And | Mnemonic::Dec => match size {
            4 => step::<u32>(i, cc),
            8 => step::<u64>(i, cc),
            _ => None,
        },
        _ => None,
    }
}
