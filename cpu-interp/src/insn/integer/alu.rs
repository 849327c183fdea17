//! The instructions of the ALU, by the rows of `cpu/src/alu/table.rs`: handlers for one and two operands, and the choice among
//! all. Shifts have theirs in [`shift`].

use super::{by_kind, done, load, missed, modify, shift};
use crate::access::Guest;
use crate::core::{Core, Int};
use crate::op::{At, Exit, Handler, Op, next};
use iced_x86::{Code, Instruction, OpKind};
use trimotor_cpu::alu::{Alu, Binary, Operation, Unary, instruction, operation};
use trimotor_cpu::alu_instructions;
use trimotor_cpu::flags::ArithFlags;

/// An operand type of ALU instructions.
pub(crate) trait Operand: Int + Alu + Guest {}
impl Operand for u8 {}
impl Operand for u16 {}
impl Operand for u32 {}
impl Operand for u64 {}

fn rr<O: Binary, T: Operand>(core: &mut Core, op: At<'_>) -> Exit {
    let (r, f) = O::of::<T>(core.reg(op.r1), core.reg(op.r2), core.state.arith);
    core.state.arith = f;
    if O::WRITES {
        core.set_reg(op.r1, r);
    }
    next(core, op)
}
fn ri<O: Binary, T: Operand>(core: &mut Core, op: At<'_>) -> Exit {
    let (r, f) = O::of::<T>(core.reg(op.r1), T::cut(op.imm), core.state.arith);
    core.state.arith = f;
    if O::WRITES {
        core.set_reg(op.r1, r);
    }
    next(core, op)
}
/// A register and memory.
pub(super) fn rm<O: Binary, T: Operand, const K: u8>(core: &mut Core, op: At<'_>) -> Exit {
    let Some(b) = load::<T, K>(core, op) else { return missed::<K>(core, op, rm::<O, T, 2>) };
    let (r, f) = O::of::<T>(core.reg(op.r1), b, core.state.arith);
    core.state.arith = f;
    if O::WRITES {
        core.set_reg(op.r1, r);
    }
    done::<K>(core, op)
}
/// Memory and a second source, which `SOURCE` says: 0 is `r1`, 1 the immediate.
fn mem<O: Binary, T: Operand, const SOURCE: u8, const K: u8>(core: &mut Core, op: At<'_>) -> Exit {
    let b = if SOURCE == 0 { core.reg::<T>(op.r1) } else { T::cut(op.imm) };
    if !O::WRITES {
        let Some(a) = load::<T, K>(core, op) else {
            return missed::<K>(core, op, mem::<O, T, SOURCE, 2>);
        };
        core.state.arith = O::of::<T>(a, b, core.state.arith).1;
        return done::<K>(core, op);
    }
    match modify::<T, ArithFlags, K>(core, op, move |core, a| O::of::<T>(a, b, core.state.arith)) {
        Some(f) => core.state.arith = f,
        None => return missed::<K>(core, op, mem::<O, T, SOURCE, 2>),
    }
    done::<K>(core, op)
}
fn mr<O: Binary, T: Operand, const K: u8>(core: &mut Core, op: At<'_>) -> Exit {
    mem::<O, T, 0, K>(core, op)
}
/// Memory and an immediate.
pub(super) fn mi<O: Binary, T: Operand, const K: u8>(core: &mut Core, op: At<'_>) -> Exit {
    mem::<O, T, 1, K>(core, op)
}
fn one_r<O: Unary, T: Operand>(core: &mut Core, op: At<'_>) -> Exit {
    let (r, f) = O::of::<T>(core.reg(op.r1), core.state.arith);
    core.state.arith = f;
    core.set_reg(op.r1, r);
    next(core, op)
}
fn one_m<O: Unary, T: Operand, const K: u8>(core: &mut Core, op: At<'_>) -> Exit {
    match modify::<T, ArithFlags, K>(core, op, move |core, a| O::of::<T>(a, core.state.arith)) {
        Some(f) => core.state.arith = f,
        None => return missed::<K>(core, op, one_m::<O, T, 2>),
    }
    done::<K>(core, op)
}

fn binary_form<O: Binary, T: Operand>(i: &Instruction, op: &Op) -> Handler {
    match (i.op0_kind(), i.op1_kind()) {
        (OpKind::Register, OpKind::Register) => rr::<O, T>,
        (OpKind::Register, OpKind::Memory) => by_kind!(op, rm::<O, T>),
        (OpKind::Memory, OpKind::Register) => by_kind!(op, mr::<O, T>),
        (OpKind::Memory, _) => by_kind!(op, mi::<O, T>),
        _ => ri::<O, T>,
    }
}
fn unary_form<O: Unary, T: Operand>(i: &Instruction, op: &Op) -> Handler {
    if i.op0_kind() == OpKind::Register { one_r::<O, T> } else { by_kind!(op, one_m::<O, T>) }
}

/// Operand size in bytes of an instruction with a register or memory first operand.
pub(crate) fn operand_bytes(i: &Instruction) -> usize {
    match i.op0_kind() {
        OpKind::Register => i.op0_register().size(),
        _ => i.memory_size().size(),
    }
}

fn binary<O: Binary>(i: &Instruction, op: &Op) -> Handler {
    match operand_bytes(i) {
        1 => binary_form::<O, u8>(i, op),
        2 => binary_form::<O, u16>(i, op),
        4 => binary_form::<O, u32>(i, op),
        _ => binary_form::<O, u64>(i, op),
    }
}
fn unary<O: Unary>(i: &Instruction, op: &Op) -> Handler {
    match operand_bytes(i) {
        1 => unary_form::<O, u8>(i, op),
        2 => unary_form::<O, u16>(i, op),
        4 => unary_form::<O, u32>(i, op),
        _ => unary_form::<O, u64>(i, op),
    }
}

/// Chooses by an instruction's shape among the functions that choose by size and form.
macro_rules! by_shape {
    (Binary $name:ident $i:ident $op:ident) => {
        binary::<operation::$name>($i, $op)
    };
    (Compare $name:ident $i:ident $op:ident) => {
        binary::<operation::$name>($i, $op)
    };
    (Unary $name:ident $i:ident $op:ident) => {
        unary::<operation::$name>($i, $op)
    };
    (Shift $name:ident $i:ident $op:ident) => {
        shift::single::<operation::$name>($i, $op)
    };
    (DoubleShift $name:ident $i:ident $op:ident) => {
        shift::double::<operation::$name>($i, $op)
    };
}
macro_rules! define_select {
    ($([$($mnemonic:ident)+] $shape:ident $name:ident $operands:tt $e:expr; $locks:literal;
        $reads:ident, $changes:ident, $undefined:ident; $recompute:ident)*) => {
        /// The handler for `i`, if it is an instruction of the ALU.
        pub(crate) fn select(i: &Instruction, op: &Op) -> Option<Handler> {
            Some(match instruction(i.mnemonic())?.operation {
                $(Operation::$name => by_shape!($shape $name i op),)*
            })
        }
    };
}
alu_instructions!(define_select);

/// Whether [`select`] knows the form.
pub(crate) fn implements(code: Code) -> bool {
    instruction(code.mnemonic()).is_some()
}
