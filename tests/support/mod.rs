//! What the tests of the whole program share: guests, running the program, reading its output.

// Each test program uses a part of this.
#![allow(dead_code)]

pub mod engines;
pub mod guests;
pub mod program;
pub mod pty;
pub mod small_guest;
