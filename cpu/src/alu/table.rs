//! The instructions of the integer ALU, a row each: all that engines need to know of one.
//!
//! An instruction is added by adding its row to [`alu_instructions`](crate::alu_instructions), and its operation to
//! [`Alu`] or [`WideAlu`] if it has a new one. From the row come
//! - the type in [`operation`] that the interpreter specialises its handlers by, and their choice by operand form,
//! - that the translator emits the instruction as it is, which flags it saves for it, and how it computes them anew,
//! - the listings of host code that the translator's tests compare with.
//!
//! Which forms an instruction has (registers, memory, immediate) is known from its encoding, and so is nothing else.

use super::{Alu, WideAlu};
use crate::flags::ArithFlags;
use iced_x86::{Mnemonic, RflagsBits};
use std::sync::OnceLock;

/// What the operands of an instruction are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// A destination that is also the first source, and a second source.
    Binary,
    /// Two sources: flags are all that is written.
    Compare,
    /// A destination that is also the source.
    Unary,
    /// A destination that is also the source, and a count: an immediate or CL.
    Shift,
    /// A destination that is also the first source, a register, and a count.
    DoubleShift,
}

/// How flags that were not kept can be computed anew.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Recompute {
    /// By the instruction itself, whose operands are still there.
    Compare,
    /// From the result alone, as TEST of it with itself.
    FromResult,
    /// From the result and the second source: the first source is had by the inverse operation.
    Undo,
    /// By the instruction itself, if its destination was kept as it was before.
    Again,
    /// Not: they are kept.
    Never,
}

/// One instruction.
#[derive(Clone, Copy, Debug)]
pub struct AluInstruction {
    /// Its mnemonics: more than one for encodings of the same effect.
    pub mnemonics: &'static [Mnemonic],
    /// What it does.
    pub operation: Operation,
    /// Its operands.
    pub shape: Shape,
    /// It may have a LOCK prefix if its destination is in memory.
    pub locks: bool,
    /// Arithmetic flags that it reads, as iced's [`RflagsBits`].
    pub reads: u32,
    /// Arithmetic flags that it changes. A shift by zero changes none.
    pub changes: u32,
    /// Those of them that the manual leaves undefined, for some counts at least. They are the same in all engines.
    pub undefined: u32,
    /// How its flags can be computed anew.
    pub recompute: Recompute,
}

/// An operation with two sources.
pub trait Binary: 'static {
    /// False for CMP and TEST, which only set flags.
    const WRITES: bool;
    /// The result, and the flags after it, given those before.
    fn of<T: Alu>(a: T, b: T, f: ArithFlags) -> (T, ArithFlags);
}
/// An operation with one source.
pub trait Unary: 'static {
    /// The result, and the flags after it, given those before.
    fn of<T: Alu>(a: T, f: ArithFlags) -> (T, ArithFlags);
}
/// A shift or rotate.
pub trait Shift: 'static {
    /// The result, and the flags after it, given those before.
    fn of<T: Alu>(a: T, count: u8, f: ArithFlags) -> (T, ArithFlags);
}
/// A shift that moves bits of a register in.
pub trait DoubleShift: 'static {
    /// The result, and the flags after it, given those before.
    fn of<T: WideAlu>(a: T, b: T, count: u8, f: ArithFlags) -> (T, ArithFlags);
}

/// No flags.
const NONE: u32 = 0;
/// CF.
const C: u32 = RflagsBits::CF;
/// AF.
const A: u32 = RflagsBits::AF;
/// CF and OF.
const CO: u32 = RflagsBits::CF | RflagsBits::OF;
/// AF and OF.
const AO: u32 = RflagsBits::AF | RflagsBits::OF;
/// OF.
const O: u32 = RflagsBits::OF;
/// All arithmetic flags.
pub const ALL: u32 = CO | RflagsBits::SF | RflagsBits::ZF | RflagsBits::AF | RflagsBits::PF;
/// All but CF.
const NOT_C: u32 = ALL & !C;

/// The table: calls the macro `$then` with its rows. Engines make from them what must be known when they are compiled, such
/// as a handler for each operation.
///
/// Columns: mnemonics; shape and operation (of first source `a`, second source `b`, count `n` and flags `f`); whether it takes
/// LOCK; flags read, changed, undefined; how they are computed anew.
#[macro_export]
macro_rules! alu_instructions {
    ($then:ident) => {
        $then! {
            [Add] Binary Add(a, b, _, _) a.add(b); true; NONE, ALL, NONE; Undo
            [Or] Binary Or(a, b, _, _) a.or(b); true; NONE, ALL, A; FromResult
            [Adc] Binary Adc(a, b, _, f) a.adc(b, f); true; C, ALL, NONE; Never
            [Sbb] Binary Sbb(a, b, _, f) a.sbb(b, f); true; C, ALL, NONE; Never
            [And] Binary And(a, b, _, _) a.and(b); true; NONE, ALL, A; FromResult
            [Sub] Binary Sub(a, b, _, _) a.sub(b); true; NONE, ALL, NONE; Undo
            [Xor] Binary Xor(a, b, _, _) a.xor(b); true; NONE, ALL, A; FromResult
            [Cmp] Compare Cmp(a, b, _, _) a.sub(b); false; NONE, ALL, NONE; Compare
            [Test] Compare Test(a, b, _, _) a.and(b); false; NONE, ALL, A; Compare
            [Inc] Unary Inc(a, _, _, f) a.inc(f); true; NONE, NOT_C, NONE; Never
            [Dec] Unary Dec(a, _, _, f) a.dec(f); true; NONE, NOT_C, NONE; Never
            [Neg] Unary Neg(a, _, _, _) a.neg(); true; NONE, ALL, NONE; Again
            [Not] Unary Not(a, _, _, f) (!a, f); true; NONE, NONE, NONE; Never
            [Shl Sal] Shift Shl(a, _, n, f) a.shl(n, f); false; NONE, ALL, AO; Again
            [Shr] Shift Shr(a, _, n, f) a.shr(n, f); false; NONE, ALL, AO; Again
            [Sar] Shift Sar(a, _, n, f) a.sar(n, f); false; NONE, ALL, AO; Again
            [Rol] Shift Rol(a, _, n, f) a.rol(n, f); false; NONE, CO, O; Never
            [Ror] Shift Ror(a, _, n, f) a.ror(n, f); false; NONE, CO, O; Never
            [Rcl] Shift Rcl(a, _, n, f) a.rcl(n, f); false; C, CO, O; Never
            [Rcr] Shift Rcr(a, _, n, f) a.rcr(n, f); false; C, CO, O; Never
            [Shld] DoubleShift Shld(a, b, n, f) a.shld(b, n, f); false; NONE, ALL, AO; Never
            [Shrd] DoubleShift Shrd(a, b, n, f) a.shrd(b, n, f); false; NONE, ALL, AO; Never
        }
    };
}

/// The trait of a row's shape for the row's operation.
macro_rules! implement {
    (Binary $name:ident $a:tt $b:tt $n:tt $f:tt $e:expr) => {
        implement!(@binary true $name $a $b $f $e);
    };
    (Compare $name:ident $a:tt $b:tt $n:tt $f:tt $e:expr) => {
        implement!(@binary false $name $a $b $f $e);
    };
    (@binary $writes:literal $name:ident $a:tt $b:tt $f:tt $e:expr) => {
        impl Binary for operation::$name {
            const WRITES: bool = $writes;
            #[inline(always)]
            fn of<T: Alu>($a: T, $b: T, $f: ArithFlags) -> (T, ArithFlags) {
                $e
            }
        }
    };
    (Unary $name:ident $a:tt $b:tt $n:tt $f:tt $e:expr) => {
        impl Unary for operation::$name {
            #[inline(always)]
            fn of<T: Alu>($a: T, $f: ArithFlags) -> (T, ArithFlags) {
                $e
            }
        }
    };
    (Shift $name:ident $a:tt $b:tt $n:tt $f:tt $e:expr) => {
        impl Shift for operation::$name {
            #[inline(always)]
            fn of<T: Alu>($a: T, $n: u8, $f: ArithFlags) -> (T, ArithFlags) {
                $e
            }
        }
    };
    (DoubleShift $name:ident $a:tt $b:tt $n:tt $f:tt $e:expr) => {
        impl DoubleShift for operation::$name {
            #[inline(always)]
            fn of<T: WideAlu>($a: T, $b: T, $n: u8, $f: ArithFlags) -> (T, ArithFlags) {
                $e
            }
        }
    };
}
macro_rules! define {
    ($([$($mnemonic:ident)+] $shape:ident $name:ident($a:tt, $b:tt, $n:tt, $f:tt) $e:expr; $locks:literal;
        $reads:ident, $changes:ident, $undefined:ident; $recompute:ident)*) => {
        /// What an instruction does.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[allow(missing_docs, reason = "the names are the manual's")]
        pub enum Operation {
            $($name,)*
        }
        /// A type for each operation: handlers are specialised by it.
        #[allow(missing_docs, reason = "the names are the manual's")]
        pub mod operation {
            $(pub struct $name;)*
        }
        $(implement!($shape $name $a $b $n $f $e);)*
        /// All instructions.
        pub const ALU_INSTRUCTIONS: &[AluInstruction] = &[$(AluInstruction {
            mnemonics: &[$(Mnemonic::$mnemonic),+],
            operation: Operation::$name,
            shape: Shape::$shape,
            locks: $locks,
            reads: $reads,
            changes: $changes,
            undefined: $undefined,
            recompute: Recompute::$recompute,
        },)*];
    };
}
alu_instructions!(define);

/// The instruction that `mnemonic` names, if it is one of the ALU's.
#[inline]
pub fn instruction(mnemonic: Mnemonic) -> Option<&'static AluInstruction> {
    static BY_MNEMONIC: OnceLock<Vec<Option<&'static AluInstruction>>> = OnceLock::new();
    let table = BY_MNEMONIC.get_or_init(|| {
        let mut table = vec![None; Mnemonic::values().count()];
        for row in ALU_INSTRUCTIONS {
            for &mnemonic in row.mnemonics {
                table[mnemonic as usize] = Some(row);
            }
        }
        table
    });
    table[mnemonic as usize]
}

#[cfg(test)]
mod tests {
    use super::*;
    use iced_x86::{Code, EncodingKind, Instruction, OpCodeOperandKind, OpKind, Register};

    /// The forms of `row`.
    fn forms(row: &'static AluInstruction) -> impl Iterator<Item = Code> {
        Code::values().filter(|code| {
            row.mnemonics.contains(&code.mnemonic()) && code.encoding() == EncodingKind::Legacy
        })
    }

    #[test]
    fn flags_are_those_of_the_decoder() {
        let mut wrong = Vec::new();
        for row in ALU_INSTRUCTIONS {
            assert!(forms(row).count() > 3, "{row:?}");
            for code in forms(row) {
                let mut i = Instruction::default();
                i.set_code(code);
                // Different registers: a register XOR itself reads none.
                for (n, r) in [Register::EAX, Register::EDX, Register::CL].into_iter().enumerate() {
                    let n = n as u32;
                    if n >= code.op_code().op_count() {
                        break;
                    }
                    // A count of more than one: of one, some flags are defined that are not of others.
                    if matches!(code.op_code().op_kind(n), OpCodeOperandKind::imm8) {
                        i.set_op_kind(n, OpKind::Immediate8);
                        i.set_immediate8(2);
                    } else if code.op_code().op_kind(n) == OpCodeOperandKind::imm8_const_1 {
                        i.set_op_kind(n, OpKind::Immediate8);
                        i.set_immediate8(1);
                    } else {
                        i.set_op_kind(n, OpKind::Register);
                        i.set_op_register(n, r);
                    }
                }
                let decoder =
                    [i.rflags_read(), i.rflags_modified(), i.rflags_undefined()].map(|flags| flags & ALL);
                if [row.reads, row.changes] != decoder[..2] || decoder[2] & !row.undefined != 0 {
                    wrong.push(format!(
                        "{code:?}: {decoder:x?} instead of {:x?}",
                        [row.reads, row.changes, row.undefined]
                    ));
                }
                let locks = code.op_code().can_use_lock_prefix();
                assert!(!locks || row.locks, "{code:?}");
            }
            assert_eq!(forms(row).any(|code| code.op_code().can_use_lock_prefix()), row.locks, "{row:?}");
            assert_eq!(row.undefined & !row.changes, 0, "{row:?}");
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    #[test]
    fn each_mnemonic_has_one_row() {
        for row in ALU_INSTRUCTIONS {
            for &mnemonic in row.mnemonics {
                assert_eq!(instruction(mnemonic).map(|found| found.operation), Some(row.operation));
            }
        }
        assert!(instruction(Mnemonic::Mov).is_none());
    }
}
