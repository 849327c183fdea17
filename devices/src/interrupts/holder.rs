//! Wires that several devices pull: COM1 and COM3, PCI links and ISA devices, timers of the HPET.
//!
//! Each device has a [`Holder`] of its own, and an input is high while any holder pulls it: a wired-or. On the
//! ISA bus two such cards would fight; with level-triggered inputs and open collectors, or a gate as here, they
//! do not. An edge-triggered input sees a second device's request only once the first is gone, which is why
//! drivers of shared ports poll all of them.

use super::{Chips, InterruptFabric};
use std::sync::Arc;
use trimotor_bus::{IrqLine, IrqSink};

/// The wires that one holder pulls, a bit each.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pulled([u64; 4]);

impl Pulled {
    fn word_and_bit(line: u8) -> (usize, u64) {
        (usize::from(line >> 6), 1 << (line & 63))
    }
    fn set(&mut self, line: u8, high: bool) {
        let (word, bit) = Self::word_and_bit(line);
        self.0[word] = if high { self.0[word] | bit } else { self.0[word] & !bit };
    }
    fn has(&self, line: u8) -> bool {
        let (word, bit) = Self::word_and_bit(line);
        self.0[word] & bit != 0
    }
}

/// One device's end of the fabric's wires.
struct Holder {
    fabric: Arc<InterruptFabric>,
    number: usize,
}

impl IrqSink for Holder {
    fn set_level(&self, line: u8, high: bool) {
        self.fabric.chips().pull(self.number, line, high);
    }
}

impl InterruptFabric {
    /// An end of all wires for a device that drives many of them. It lasts as long as the fabric: the board
    /// asks once for each device.
    pub fn holder(self: &Arc<Self>) -> Arc<dyn IrqSink> {
        let mut chips = self.chips();
        chips.holders.push(Pulled::default());
        Arc::new(Holder { fabric: self.clone(), number: chips.holders.len() - 1 })
    }
    /// An end of the wire with this number, of its own.
    pub fn line(self: &Arc<Self>, number: u8) -> IrqLine {
        IrqLine::new(self.holder(), number)
    }
}

impl Chips {
    /// A holder pulls a wire or lets it go. The wire is driven even where nothing changed for this holder: after
    /// a restore it may have another level than its holders say.
    fn pull(&mut self, holder: usize, line: u8, high: bool) {
        self.holders[holder].set(line, high);
        let level = high || self.holders.iter().any(|pulled| pulled.has(line));
        self.set_wire(line, level);
    }
}
