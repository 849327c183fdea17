//! Integer and bit operations on 128-bit vectors.

mod v128;

pub use v128::{Lane, V128};
