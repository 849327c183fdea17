//! The MC146818 real-time clock and its CMOS memory.
//!
//! Port 70h selects one of 128 bytes (its bit 7 masks the NMI), port 71h reads and writes it;
//! 72h and 73h reach a second bank of 128. Bytes 0 to 9 and the century byte 32h are the time
//! and the alarm, 0Ah to 0Dh the registers A to D, the rest is memory in which firmware and
//! operating systems keep settings and the memory size.
//!
//! The clock makes interrupt 8 for three reasons, each with its flag in register C and its
//! enable in register B: a periodic rate (register A), the alarm, and the end of each update.
//! Reading C clears the flags and releases the wire.
//!
//! Time is a function of guest time and a base (seconds since 1970 at power-on) that the machine
//! hands in; setting the clock moves the base. Left out: the square-wave pin, daylight saving
//! (bit 0 of B is kept without effect).
//!
//! Source: Motorola MC146818A data sheet; IBM PC/AT Technical Reference, CMOS RAM map.

mod calendar;
mod cmos;
mod glue;
mod registers;

pub use calendar::DateTime;
pub use cmos::CmosSizes;
pub use glue::{Rtc, RtcStateV1};
