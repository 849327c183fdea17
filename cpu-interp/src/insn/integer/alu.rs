//! ADD, OR, ADC, SBB, AND, SUB, XOR, CMP, TEST, INC, DEC, NEG, NOT.

#![allow(unsafe_code, reason = "handlers walk the ops of a block by pointer")]

use super::{by_kind, done, load, missed, modify};
use crate::access::Guest;
use crate::core::{Core, Int};
use crate::op::{Exit, Handler, Op, next};
use iced_x86::{Code, Instruction, Mnemonic, OpKind};
use trimotor_cpu::alu::Alu;
use trimotor_cpu::flags::ArithFlags;

/// An operand type of ALU instructions.
pub(crate) trait Operand: Int + Alu + Guest {}
impl Operand for u8 {}
impl Operand for u16 {}
impl Operand for u32 {}
impl Operand for u64 {}

/// An operation with two sources.
pub(crate) trait Binary: 'static {
    /// False for CMP and TEST, which only set flags.
    const WRITES: bool = true;
    fn of<T: Operand>(a: T, b: T, f: ArithFlags) -> (T, ArithFlags);
    /// The handler with all checks for a register and memory.
    fn slow_rm<T: Operand>() -> Handler
    where
        Self: Sized,
    {
        rm::<Self, T, 2>
    }
    /// The handler with all checks for memory and an immediate.
    fn slow_mi<T: Operand>() -> Handler
    where
        Self: Sized,
    {
        mi::<Self, T, 2>
    }
}
macro_rules! binaries {
    ($($name:ident, $writes:literal, |$a:ident, $b:ident, $f:ident| $e:expr;)*) => {$(
        pub(crate) struct $name;
        impl Binary for $name {
            const WRITES: bool = $writes;
            #[inline(always)]
            fn of<T: Operand>($a: T, $b: T, $f: ArithFlags) -> (T, ArithFlags) { let _ = $f; $e }
        }
    )*};
}
binaries! {
    Add, true, |a, b, f| a.add(b);
    Or, true, |a, b, f| a.or(b);
    Adc, true, |a, b, f| a.adc(b, f);
    Sbb, true, |a, b, f| a.sbb(b, f);
    And, true, |a, b, f| a.and(b);
    Sub, true, |a, b, f| a.sub(b);
    Xor, true, |a, b, f| a.xor(b);
    Cmp, false, |a, b, f| a.sub(b);
    Test, false, |a, b, f| a.and(b);
}

/// An operation with one source.
pub(crate) trait Unary: 'static {
    fn of<T: Operand>(a: T, f: ArithFlags) -> (T, ArithFlags);
}
macro_rules! unaries {
    ($($name:ident, |$a:ident, $f:ident| $e:expr;)*) => {$(
        pub(crate) struct $name;
        impl Unary for $name {
            #[inline(always)]
            fn of<T: Operand>($a: T, $f: ArithFlags) -> (T, ArithFlags) { let _ = $f; $e }
        }
    )*};
}
unaries! {
    Inc, |a, f| a.inc(f);
    Dec, |a, f| a.dec(f);
    Neg, |a, f| a.neg();
    Not, |a, f| (T::cut(!a.to_u64()), f);
}

unsafe fn rr<O: Binary, T: Operand>(core: &mut Core, op: *const Op) -> Exit {
    // SAFETY: handlers get ops of the running block.
    unsafe {
        let (r, f) = O::of::<T>(core.reg((*op).r1), core.reg((*op).r2), core.state.arith);
        core.state.arith = f;
        if O::WRITES {
            core.set_reg((*op).r1, r);
        }
        next(core, op)
    }
}
unsafe fn ri<O: Binary, T: Operand>(core: &mut Core, op: *const Op) -> Exit {
    // SAFETY: handlers get ops of the running block.
    unsafe {
        let (r, f) = O::of::<T>(core.reg((*op).r1), T::cut((*op).imm), core.state.arith);
        core.state.arith = f;
        if O::WRITES {
            core.set_reg((*op).r1, r);
        }
        next(core, op)
    }
}
unsafe fn rm<O: Binary, T: Operand, const K: u8>(core: &mut Core, op: *const Op) -> Exit {
    // SAFETY: handlers get ops of the running block.
    unsafe {
        let Some(b) = load::<T, K>(core, op) else { return missed::<K>(core, op, rm::<O, T, 2>) };
        let (r, f) = O::of::<T>(core.reg((*op).r1), b, core.state.arith);
        core.state.arith = f;
        if O::WRITES {
            core.set_reg((*op).r1, r);
        }
        done::<K>(core, op)
    }
}
/// Memory and a second source, which `SOURCE` says: 0 is `r1`, 1 the immediate.
unsafe fn mem<O: Binary, T: Operand, const SOURCE: u8, const K: u8>(core: &mut Core, op: *const Op) -> Exit {
    // SAFETY: handlers get ops of the running block.
    unsafe {
        let b = if SOURCE == 0 { core.reg::<T>((*op).r1) } else { T::cut((*op).imm) };
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
}
unsafe fn mr<O: Binary, T: Operand, const K: u8>(core: &mut Core, op: *const Op) -> Exit {
    // SAFETY: handlers get ops of the running block.
    unsafe { mem::<O, T, 0, K>(core, op) }
}
unsafe fn mi<O: Binary, T: Operand, const K: u8>(core: &mut Core, op: *const Op) -> Exit {
    // SAFETY: handlers get ops of the running block.
    unsafe { mem::<O, T, 1, K>(core, op) }
}
unsafe fn one_r<O: Unary, T: Operand>(core: &mut Core, op: *const Op) -> Exit {
    // SAFETY: handlers get ops of the running block.
    unsafe {
        let (r, f) = O::of::<T>(core.reg((*op).r1), core.state.arith);
        core.state.arith = f;
        core.set_reg((*op).r1, r);
        next(core, op)
    }
}
unsafe fn one_m<O: Unary, T: Operand, const K: u8>(core: &mut Core, op: *const Op) -> Exit {
    // SAFETY: handlers get ops of the running block.
    unsafe {
        match modify::<T, ArithFlags, K>(core, op, move |core, a| O::of::<T>(a, core.state.arith)) {
            Some(f) => core.state.arith = f,
            None => return missed::<K>(core, op, one_m::<O, T, 2>),
        }
        done::<K>(core, op)
    }
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

/// The handler for `i`, if it is one of this module's.
pub(crate) fn select(i: &Instruction, op: &mut Op) -> Option<Handler> {
    Some(match i.mnemonic() {
        Mnemonic::Add => binary::<Add>(i, op),
        Mnemonic::Or => binary::<Or>(i, op),
        Mnemonic::Adc => binary::<Adc>(i, op),
        Mnemonic::Sbb => binary::<Sbb>(i, op),
        Mnemonic::And => binary::<And>(i, op),
        Mnemonic::Sub => binary::<Sub>(i, op),
        Mnemonic::Xor => binary::<Xor>(i, op),
        Mnemonic::Cmp => binary::<Cmp>(i, op),
        Mnemonic::Test => binary::<Test>(i, op),
        Mnemonic::Inc => unary::<Inc>(i, op),
        Mnemonic::Dec => unary::<Dec>(i, op),
        Mnemonic::Neg => unary::<Neg>(i, op),
        Mnemonic::Not => unary::<Not>(i, op),
        _ => return None,
    })
}

/// Whether [`select`] knows the form.
pub(crate) fn implements(code: Code) -> bool {
    use Mnemonic as M;
    matches!(
        code.mnemonic(),
        M::Add
            | M::Or
            | M::Adc
            | M::Sbb
            | M::And
            | M::Sub
            | M::Xor
            | M::Cmp
            | M::Test
            | M::Inc
            | M::Dec
            | M::Neg
            | M::Not
    )
}
