//! What the tests of the whole program and of its engines share.
//!
//! [`needs`] says what a test needs of the host and lists the tests of a program; [`engines`] are the engines that tests
//! run on. [`bare`] is a vCPU with memory and nothing else, [`random`] makes operands for random instructions.
//! [`program`] runs the program, on a terminal of [`pty`] too, with guests of a few instructions ([`small_guest`], which [`screen_guest`] helps to draw) or
//! those of the world ([`guests`]); [`host_time`] is for benches.

#![allow(clippy::unwrap_used, reason = "a failure to set a test up ends the test")]

pub mod bare;
pub mod engines;
pub mod guests;
pub mod host_time;
pub mod program;
pub mod pty;
pub mod random;
pub mod screen_guest;
pub mod small_guest;

pub use trimotor_test_needs as needs;
