//! Integer and bit operations on 128-bit vectors, named as the instructions are.
//!
//! An operation that the manual gives a legacy, a VEX.128 and a VEX.256 form is one
//! function here: the 256-bit forms apply it to both halves. The first operand is the
//! legacy form's destination.

mod aes;
mod arithmetic;
mod host;
mod logic;
mod sha;
mod shuffle;
mod string;
mod v128;

pub use aes::*;
pub use arithmetic::*;
#[cfg(all(test, target_arch = "x86_64"))]
pub(crate) use host::Vectors;
pub use logic::*;
pub use sha::*;
pub use shuffle::*;
pub use string::*;
pub use v128::{Lane, V128};
