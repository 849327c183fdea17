//! Real guests from the command line. One test program, so that they run side by side.

#[path = "../support/mod.rs"]
mod support;

mod demo;
mod linux;
mod memtest;
mod pvpanic;
mod small_kernels;
mod vmlinux;
mod xen;
