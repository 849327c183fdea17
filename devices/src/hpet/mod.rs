//! The high precision event timer.
//!
//! A 64-bit counter at 100 MHz and three comparators, in 1 KiB of memory at FED00000h. Each
//! comparator raises an interrupt when the counter reaches it, once or (timer 0) periodically,
//! edge or level triggered, on an IOAPIC pin of its choice; with legacy replacement timer 0
//! takes the PIT's place and timer 1 the RTC's.
//!
//! Left out: delivery by message (no timer offers it).
//!
//! Source: IA-PC HPET specification 1.0a.

mod glue;
mod timer;

pub use glue::Hpet;
pub use timer::{HpetStateV1, TimerStateV1};
