//! The pair of 8259A interrupt controllers.
//!
//! Each 8259A takes eight request inputs, resolves their priority and asks the CPU for
//! one interrupt at a time; the CPU answers with an acknowledge cycle and gets a vector.
//! The PC has two: the master at ports 20h and 21h, the slave at A0h and A1h, whose output
//! is the master's input 2. The PIIX3 adds a register per chip (4D0h, 4D1h: ELCR) that makes
//! single inputs level triggered and replaces ICW1's LTIM bit.
//!
//! Programming: ICW1 to ICW4 initialise (vector base in ICW2, automatic end of interrupt
//! and nesting mode in ICW4), OCW1 is the mask, OCW2 ends interrupts and rotates
//! priorities, OCW3 selects what a read returns, polls, and sets the special mask mode.
//!
//! An edge makes a request once, and only as long as the input stays high: one that falls before the
//! acknowledge cycle takes the request back, and INT with it. If the CPU acknowledges all the same, the chip
//! answers with its input 7 and sets no in-service bit (the spurious interrupt). Devices therefore hold
//! their wires until the CPU has had the time, as they do on a PC. Left out:
//! the 8080 mode (ICW4 bit 0 clear) answers as the 8086 mode does, and buffered mode has
//! no effect, as the pins that it is about are not on this board.
//!
//! Source: Intel 8259A data sheet (231468); 82371SB (PIIX3) data sheet, ELCR.

mod chip;
mod pair;

pub use chip::{Pic8259, PicStateV1};
pub use pair::{PicPair, PicPairStateV1};
