//! Interrupt wires from devices to the interrupt controllers.

use std::sync::Arc;

/// The receiving end of interrupt wires: a pair of PICs, an IOAPIC, or both.
pub trait IrqSink: Send + Sync {
    /// Sets the level of input `line`. Setting the level that it has is harmless.
    fn set_level(&self, line: u8, high: bool);
}

/// One wire to an interrupt controller's input.
///
/// A device drives the level; whether the level or its edge counts is the
/// controller's configuration.
#[derive(Clone)]
pub struct IrqLine {
    sink: Arc<dyn IrqSink>,
    line: u8,
}

impl IrqLine {
    /// A wire to input `line` of `sink`.
    pub fn new(sink: Arc<dyn IrqSink>, line: u8) -> Self {
        Self { sink, line }
    }
    /// A wire that leads nowhere, for a device under test or without an interrupt.
    pub fn unconnected() -> Self {
        struct Nowhere;
        impl IrqSink for Nowhere {
            fn set_level(&self, _line: u8, _high: bool) {}
        }
        Self::new(Arc::new(Nowhere), 0)
    }
    /// Drives the wire high (`true`) or low.
    pub fn set(&self, high: bool) {
        self.sink.set_level(self.line, high);
    }
    /// Drives the wire high and low again: one edge.
    pub fn pulse(&self) {
        self.set(true);
        self.set(false);
    }
    /// The input's number at the controller.
    pub fn number(&self) -> u8 {
        self.line
    }
}

impl std::fmt::Debug for IrqLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "IrqLine({})", self.line)
    }
}
