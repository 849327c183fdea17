//! The integer instructions that are specialised by operand form.

use crate::lower::Lowering;
use crate::op::{Handler, Op};
use iced_x86::{Code, Instruction};

/// The handler for `i`, if it is one of this module's.
pub(crate) fn select(_lowering: &Lowering<'_>, _i: &Instruction, _op: &mut Op) -> Option<Handler> {
    None
}

/// Whether this module has the form.
pub(crate) fn implements(_code: Code) -> bool {
    false
}
