//! The 8254 programmable interval timer, and port 61h beside it.
//!
//! Three 16-bit counters count down a 1.193182 MHz clock in one of six modes: counter 0 makes
//! interrupt 0, counter 1 once refreshed memory, counter 2 sounds the speaker and times
//! calibration loops, its gate and output being bits of port 61h. Ports 40h to 42h are the
//! counters; 43h takes control words: mode, byte order, latch and read-back commands.
//!
//! A counter is not stepped: it is a function of the tick at which it was loaded, so that
//! reading and skipping cost the same whatever the distance. The board wakes it for rising
//! edges of counter 0 only.
//!
//! Source: Intel 8254 data sheet (231164); IBM PC/AT Technical Reference, port 61h.

mod counter;
mod glue;

pub use counter::{Counter, CounterStateV1};
pub use glue::{Pit, PitStateV1};
