//! Guests that boot.

pub mod counted;
pub mod demo;
pub mod input;
pub mod linux;
pub mod memtest;
pub mod pvpanic;
pub mod saved;
pub mod small_kernels;
pub mod stress;
mod vmlinux;
pub mod xen;
