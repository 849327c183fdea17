//! The coprocessor error of the PC/AT: FERR# becomes IRQ 13, and port F0h answers.
//!
//! With CR0.NE clear, an unmasked x87 exception is no exception of the processor: at the next waiting
//! x87 instruction it asserts FERR# and stops until an interrupt comes. The chipset turns FERR#
//! into interrupt request 13. The handler writes port F0h, which withdraws the request and asserts
//! IGNNE#: the processor then executes x87 instructions in spite of the error, so that the handler
//! can look at the unit and clear it. IGNNE# falls with FERR#.
//!
//! Source: SDM Vol. 1, x87 FPU Exception Handling (MS-DOS compatibility mode); PIIX3 data sheet,
//! Coprocessor Error.

use crate::device::Device;
use serde::{Deserialize, Serialize};
use trimotor_bus::{GuestTime, IrqLine, Port, PortDevice, RestoreError, SaveState, Width};

/// The port that takes the error back.
pub const COPROCESSOR_ERROR: Port = Port(0xF0);
/// The interrupt request.
pub const COPROCESSOR_IRQ: u8 = 13;

/// The chipset's part in x87 errors.
pub struct X87Error {
    irq: IrqLine,
    ferr: bool,
    ignne: bool,
}

/// The saved state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct X87ErrorStateV1 {
    ferr: bool,
    ignne: bool,
}

impl X87Error {
    /// With its wire to the interrupt controllers.
    pub fn new(irq: IrqLine) -> Self {
        Self { irq, ferr: false, ignne: false }
    }
    /// FERR# as the processor drives it; returns IGNNE#.
    pub fn set_ferr(&mut self, asserted: bool) -> bool {
        self.ferr = asserted;
        self.ignne &= asserted;
        self.drive();
        self.ignne
    }
    /// RESET.
    pub fn reset(&mut self) {
        self.set_ferr(false);
    }
    fn drive(&self) {
        self.irq.set(self.ferr && !self.ignne);
    }
}

impl PortDevice for X87Error {
    fn port_read(&mut self, _port: Port, width: Width, _now: GuestTime) -> u32 {
        width.mask() as u32
    }
    fn port_write(&mut self, _port: Port, _width: Width, _value: u32, _now: GuestTime) {
        self.ignne = self.ferr;
        self.drive();
    }
}

impl SaveState for X87Error {
    type State = X87ErrorStateV1;
    fn save(&self) -> X87ErrorStateV1 {
        let Self { irq: _, ferr, ignne } = self;
        X87ErrorStateV1 { ferr: *ferr, ignne: *ignne }
    }
    fn restore(&mut self, state: X87ErrorStateV1) -> Result<(), RestoreError> {
        let X87ErrorStateV1 { ferr, ignne } = state;
        (self.ferr, self.ignne) = (ferr, ignne);
        self.drive();
        Ok(())
    }
}

impl Device for X87Error {
    fn reset(&mut self, _now: GuestTime) {
        X87Error::reset(self);
    }
    fn info(&self) -> String {
        format!("{:?}", self.save())
    }
    fn ports(&mut self) -> Option<&mut dyn PortDevice> {
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use trimotor_bus::IrqSink;

    #[derive(Default)]
    struct Wire(AtomicBool);
    impl IrqSink for Wire {
        fn set_level(&self, _line: u8, high: bool) {
            self.0.store(high, Ordering::Relaxed);
        }
    }

    #[test]
    fn an_error_interrupts_until_port_f0h_is_written() {
        let wire = Arc::new(Wire::default());
        let high = || wire.0.load(Ordering::Relaxed);
        let mut error = X87Error::new(IrqLine::new(wire.clone(), COPROCESSOR_IRQ));
        error.port_write(COPROCESSOR_ERROR, Width::Byte, 0, GuestTime::ZERO);
        assert!(!error.set_ferr(true), "a write without an error does not ignore the next one");
        assert!(high());
        error.port_write(COPROCESSOR_ERROR, Width::Byte, 0, GuestTime::ZERO);
        assert!(!high());
        assert!(error.set_ferr(true), "the handler may go on");
        assert!(!error.set_ferr(false));
        assert!(!error.set_ferr(true), "the next error interrupts again");
        assert!(high());
    }
}
