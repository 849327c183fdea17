//! The trimotor program.
fn main() {}
