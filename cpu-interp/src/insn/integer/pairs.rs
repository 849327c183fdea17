//! Pairs of moves, sums, logic and shifts between registers: straight-line code.
//!
//! The first op of such a pair gets a handler that does the work of both and goes on behind the second
//! one: one dispatch less, and where the second sets all flags the first need not compute them. The
//! second op stays as it is, for jumps that lead to it. Neither can fault, leave the block or
//! reach memory, so nothing else knows of the pair.

use super::alu::{Operand, operand_bytes};
use crate::core::Core;
use crate::op::{At, Exit, Handler, Op, go};
use iced_x86::{Instruction, Mnemonic, OpKind};
use std::marker::PhantomData;
use trimotor_cpu::alu::operation::{Add, And, Or, Rol, Ror, Shl, Shr, Sub, Xor};
use trimotor_cpu::alu::{Binary, Shift};
use trimotor_cpu::flags::ArithFlags;

/// What takes part in pairs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Move,
    Add,
    Sub,
    And,
    Or,
    Xor,
    AddImmediate,
    AndImmediate,
    RotateLeft,
    RotateRight,
    ShiftLeft,
    ShiftRight,
}

/// An instruction that takes part, and its operands' size in bytes (4 or 8).
pub(crate) type Member = (Kind, usize);

/// Whether `i` takes part in pairs.
pub(crate) fn member(i: &Instruction) -> Option<Member> {
    let size = operand_bytes(i);
    if i.op_count() != 2 || i.op0_kind() != OpKind::Register || !matches!(size, 4 | 8) {
        return None;
    }
    let kind = if i.op1_kind() == OpKind::Register {
        match i.mnemonic() {
            // MOV to and from segment, control and debug registers is something else.
            Mnemonic::Mov if i.op0_register().is_gpr() && i.op1_register().is_gpr() => Kind::Move,
            Mnemonic::Add => Kind::Add,
            Mnemonic::Sub => Kind::Sub,
            Mnemonic::And => Kind::And,
            Mnemonic::Or => Kind::Or,
            Mnemonic::Xor => Kind::Xor,
            _ => return None,
        }
    } else if i.op1_kind() != OpKind::Memory {
        match i.mnemonic() {
            Mnemonic::Add => Kind::AddImmediate,
            Mnemonic::And => Kind::AndImmediate,
            Mnemonic::Rol => Kind::RotateLeft,
            Mnemonic::Ror => Kind::RotateRight,
            Mnemonic::Shl | Mnemonic::Sal => Kind::ShiftLeft,
            Mnemonic::Shr => Kind::ShiftRight,
            _ => return None,
        }
    } else {
        return None;
    };
    Some((kind, size))
}

/// The work of an op.
trait Part: 'static {
    /// It sets all flags, whatever they were, and does not look at them.
    const SETS_ALL_FLAGS: bool;
    /// Does it; returns the flags, given those before.
    fn work(core: &mut Core, op: At<'_>, f: ArithFlags) -> ArithFlags;
}

struct Move<T>(PhantomData<T>);
impl<T: Operand> Part for Move<T> {
    const SETS_ALL_FLAGS: bool = false;
    #[inline(always)]
    fn work(core: &mut Core, op: At<'_>, f: ArithFlags) -> ArithFlags {
        core.set_reg::<T>(op.r1, core.reg(op.r2));
        f
    }
}
struct Registers<O, T>(PhantomData<(O, T)>);
impl<O: Binary, T: Operand> Part for Registers<O, T> {
    const SETS_ALL_FLAGS: bool = true;
    #[inline(always)]
    fn work(core: &mut Core, op: At<'_>, f: ArithFlags) -> ArithFlags {
        let (r, f) = O::of::<T>(core.reg(op.r1), core.reg(op.r2), f);
        core.set_reg(op.r1, r);
        f
    }
}
struct Immediate<O, T>(PhantomData<(O, T)>);
impl<O: Binary, T: Operand> Part for Immediate<O, T> {
    const SETS_ALL_FLAGS: bool = true;
    #[inline(always)]
    fn work(core: &mut Core, op: At<'_>, f: ArithFlags) -> ArithFlags {
        let (r, f) = O::of::<T>(core.reg(op.r1), T::cut(op.imm), f);
        core.set_reg(op.r1, r);
        f
    }
}
struct Shifted<S, T>(PhantomData<(S, T)>);
impl<S: Shift, T: Operand> Part for Shifted<S, T> {
    const SETS_ALL_FLAGS: bool = false;
    #[inline(always)]
    fn work(core: &mut Core, op: At<'_>, f: ArithFlags) -> ArithFlags {
        let (r, f) = S::of::<T>(core.reg(op.r1), op.imm as u8, f);
        core.set_reg(op.r1, r);
        f
    }
}

/// The handler of a pair.
fn pair<A: Part, B: Part>(core: &mut Core, op: At<'_>) -> Exit {
    let before = core.state.arith;
    let first = A::work(core, op, before);
    // The host's flags that nobody looks at are not even taken.
    let f = B::work(core, op.next(), if B::SETS_ALL_FLAGS { before } else { first });
    core.state.arith = f;
    go(core, op.next().next())
}

fn with_first<A: Part, T: Operand>(second: Kind) -> Handler {
    match second {
        Kind::Move => pair::<A, Move<T>>,
        Kind::Add => pair::<A, Registers<Add, T>>,
        Kind::Sub => pair::<A, Registers<Sub, T>>,
        Kind::And => pair::<A, Registers<And, T>>,
        Kind::Or => pair::<A, Registers<Or, T>>,
        Kind::Xor => pair::<A, Registers<Xor, T>>,
        Kind::AddImmediate => pair::<A, Immediate<Add, T>>,
        Kind::AndImmediate => pair::<A, Immediate<And, T>>,
        Kind::RotateLeft => pair::<A, Shifted<Rol, T>>,
        Kind::RotateRight => pair::<A, Shifted<Ror, T>>,
        Kind::ShiftLeft => pair::<A, Shifted<Shl, T>>,
        Kind::ShiftRight => pair::<A, Shifted<Shr, T>>,
    }
}
fn of_size<T: Operand>(first: Kind, second: Kind) -> Handler {
    match first {
        Kind::Move => with_first::<Move<T>, T>(second),
        Kind::Add => with_first::<Registers<Add, T>, T>(second),
        Kind::Sub => with_first::<Registers<Sub, T>, T>(second),
        Kind::And => with_first::<Registers<And, T>, T>(second),
        Kind::Or => with_first::<Registers<Or, T>, T>(second),
        Kind::Xor => with_first::<Registers<Xor, T>, T>(second),
        Kind::AddImmediate => with_first::<Immediate<Add, T>, T>(second),
        Kind::AndImmediate => with_first::<Immediate<And, T>, T>(second),
        Kind::RotateLeft => with_first::<Shifted<Rol, T>, T>(second),
        Kind::RotateRight => with_first::<Shifted<Ror, T>, T>(second),
        Kind::ShiftLeft => with_first::<Shifted<Shl, T>, T>(second),
        Kind::ShiftRight => with_first::<Shifted<Shr, T>, T>(second),
    }
}

/// Gives the first ops of pairs their handlers. `members` has an entry for each op.
pub(crate) fn fuse(ops: &mut [Op], members: &[Option<Member>]) {
    let mut at = 0;
    while at + 1 < members.len() {
        match (members[at], members[at + 1]) {
            (Some((first, size)), Some((second, other))) if size == other => {
                ops[at].handler =
                    if size == 4 { of_size::<u32>(first, second) } else { of_size::<u64>(first, second) };
                at += 2;
            }
            _ => at += 1,
        }
    }
}
