//! One interrupt input that several devices pull: COM1 and COM3, COM2 and COM4, PCI and ISA.
//!
//! Each device drives a wire of its own, and the input is high while any of them is. On an
//! ISA bus two such cards would fight; with level-triggered inputs and open collectors, or a
//! gate as here, they do not. An edge-triggered input sees a second device's request only
//! once the first is gone, which is why drivers of shared ports poll all of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use trimotor_bus::{IrqLine, IrqSink};

/// The gate in front of the shared input.
#[derive(Debug)]
pub struct SharedIrq {
    input: IrqLine,
    high: AtomicU32,
}

impl SharedIrq {
    /// A gate in front of `input`.
    pub fn new(input: IrqLine) -> Arc<Self> {
        Arc::new(Self { input, high: AtomicU32::new(0) })
    }
    /// The wire of device `number`, 0 to 31.
    pub fn wire(self: &Arc<Self>, number: u8) -> IrqLine {
        assert!(number < 32, "a gate has 32 inputs, not number {number}");
        IrqLine::new(self.clone(), number)
    }
}

impl IrqSink for SharedIrq {
    fn set_level(&self, line: u8, high: bool) {
        let bit = 1u32 << (line & 31);
        let now = if high {
            self.high.fetch_or(bit, Ordering::AcqRel) | bit
        } else {
            self.high.fetch_and(!bit, Ordering::AcqRel) & !bit
        };
        self.input.set(now != 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    struct Pin(AtomicBool);
    impl IrqSink for Pin {
        fn set_level(&self, _line: u8, high: bool) {
            self.0.store(high, Ordering::SeqCst);
        }
    }

    #[test]
    fn the_input_is_high_while_any_wire_is() {
        let pin = Arc::new(Pin(AtomicBool::new(false)));
        let gate = SharedIrq::new(IrqLine::new(pin.clone(), 4));
        let (a, b) = (gate.wire(0), gate.wire(31));
        let level = || pin.0.load(Ordering::SeqCst);
        a.set(true);
        b.set(true);
        a.set(false);
        assert!(level());
        b.set(false);
        assert!(!level());
    }
}
