//! What the tests of the whole program and of its engines share.
//!
//! [`needs`] says what a test needs of the host and lists the tests of a program; [`engines`] are the engines that tests
//! run on. [`bare`] is a vCPU with memory and nothing else, [`random`] makes operands for random instructions.
//! [`program`] runs the program, on a terminal of [`pty`] too, with guests of a few instructions ([`small_guest`]) or
//! those of the world ([`guests`]).

#![allow(clippy::unwrap_used, reason = "a failure to set a test up ends the test")]

pub mod bare;
pub mod engines;
pub mod guests;
pub mod program;
pub mod pty;
pub mod random;
pub mod small_guest;

pub use trimotor_test_needs as needs;
