//! The instructions, a module a family. Each family's `ROWS` names its instruction forms and
//! the function that carries each out.

use crate::op::Row;

pub mod fp_env;
pub mod integer;

/// The tables of all families.
pub(crate) fn families() -> &'static [&'static [Row]] {
    &[]
}
