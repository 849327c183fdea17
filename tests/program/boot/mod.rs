//! Guests that boot.

pub mod demo;
pub mod linux;
pub mod memtest;
mod vmlinux;
pub mod xen;
