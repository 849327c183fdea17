//! Guests that boot.

mod counted;
pub mod demo;
pub mod linux;
pub mod memtest;
pub mod pvpanic;
pub mod saved;
pub mod small_kernels;
pub mod stress;
mod vmlinux;
pub mod xen;
