//! pvpanic: a port by which a guest's kernel tells the machine that it panicked.
//!
//! One port, 505h unless another is chosen. A read answers the events that the device knows, a bit each; a
//! write reports those whose bits are set. Other bits are ignored.
//!
//! | bit | event |
//! |---|---|
//! | 0 | the guest panicked: what happens then is the machine's configuration |
//! | 1 | the guest panicked and a crash kernel of its own takes over: the guest goes on |
//!
//! The DSDT names the device by the id QEMU0001, by which Linux's `pvpanic-mmio` and other systems' drivers find
//! it. No interrupt. A person is told of each event once until reset, so that a guest cannot fill the
//! log: that is all the state there is. Bit 2 (orderly shutdown) of later drivers is left out: ACPI's S5 is there.
//!
//! Source: pvpanic, "ISA Interface".

use crate::device::Device;
use crate::isa_cycles;
use crate::requests::{MachineRequest, MachineRequests};
use bitflags::bitflags;
use serde::{Deserialize, Serialize};
use trimotor_bus::{GuestTime, Port, PortDevice, RestoreError, SaveState, Width, board};

bitflags! {
    /// What a guest reports.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct PanicEvents: u8 {
        /// The guest panicked.
        const PANICKED = 1 << 0;
        /// The guest panicked, and its crash kernel takes over.
        const CRASH_LOADED = 1 << 1;
    }
}

/// The device.
pub struct PvPanic {
    requests: MachineRequests,
    port: Port,
    told: PanicEvents,
}

/// The saved state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PvPanicStateV1 {
    told: u8,
}

impl PvPanic {
    /// The device at [`board::PVPANIC`].
    pub fn new(requests: MachineRequests) -> Self {
        Self { requests, port: board::PVPANIC, told: PanicEvents::empty() }
    }
    /// Hardware reset: what happens next is told anew.
    pub fn reset(&mut self) {
        self.told = PanicEvents::empty();
    }

    fn report(&mut self, events: PanicEvents) {
        let fresh = events - self.told;
        self.told |= events;
        if fresh.contains(PanicEvents::CRASH_LOADED) {
            log::warn!("the guest panicked and starts its crash kernel");
        }
        if fresh.contains(PanicEvents::PANICKED) {
            log::warn!("the guest panicked");
        }
        if events.contains(PanicEvents::PANICKED) {
            self.requests.request(MachineRequest::GuestPanic);
        }
    }
}

impl PortDevice for PvPanic {
    fn port_read(&mut self, port: Port, width: Width, _now: GuestTime) -> u32 {
        isa_cycles::read_bytes(port, width, |p| if p == self.port { PanicEvents::all().bits() } else { 0xFF })
    }
    /// A wide write is a byte cycle a port, of which only one is this one.
    fn port_write(&mut self, port: Port, width: Width, value: u32, _now: GuestTime) {
        isa_cycles::write_bytes(port, width, value, |p, byte| {
            if p == self.port {
                self.report(PanicEvents::from_bits_truncate(byte));
            }
        });
    }
}

impl Device for PvPanic {
    fn reset(&mut self, _now: GuestTime) {
        PvPanic::reset(self);
    }
    fn info(&self) -> String {
        format!("port {:#x}, events so far {:?}", self.port.0, self.told)
    }
    fn ports(&mut self) -> Option<&mut dyn PortDevice> {
        Some(self)
    }
}

impl SaveState for PvPanic {
    type State = PvPanicStateV1;
    fn save(&self) -> PvPanicStateV1 {
        let Self { requests: _, port: _, told } = self;
        PvPanicStateV1 { told: told.bits() }
    }
    fn restore(&mut self, state: PvPanicStateV1) -> Result<(), RestoreError> {
        let PvPanicStateV1 { told } = state;
        let refused = RestoreError { part: "pvpanic", field: "told", value: format!("{told:#x}") };
        self.told = PanicEvents::from_bits(told).ok_or(refused)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: GuestTime = GuestTime::ZERO;

    #[test]
    fn a_driver_finds_the_events_and_reports_a_panic() {
        let requests = MachineRequests::new();
        let mut device = PvPanic::new(requests.clone());
        assert_eq!(device.port_read(board::PVPANIC, Width::Byte, NOW), 0b11);
        assert_eq!(device.port_read(board::PVPANIC, Width::Word, NOW), 0xFF03);
        for harmless in [0, 0b10, 0b100, 0xFC] {
            device.port_write(board::PVPANIC, Width::Byte, harmless, NOW);
            assert_eq!(requests.take(), None, "{harmless:#x}");
        }
        device.port_write(board::PVPANIC, Width::Byte, 1, NOW);
        assert_eq!(requests.take(), Some(MachineRequest::GuestPanic));
        // The upper half of a wide write belongs to the next port, the lower one of the port before to nobody.
        device.port_write(board::PVPANIC, Width::Word, 0x0100, NOW);
        assert_eq!(requests.take(), None);
        device.port_write(Port(board::PVPANIC.0 - 1), Width::Word, 0x0100, NOW);
        assert_eq!(requests.take(), Some(MachineRequest::GuestPanic));
    }

    #[test]
    fn states_come_back_and_impossible_ones_are_refused() {
        let mut device = PvPanic::new(MachineRequests::new());
        device.port_write(board::PVPANIC, Width::Byte, 3, NOW);
        let saved = device.save();
        device.reset();
        assert_ne!(device.save(), saved);
        device.restore(saved.clone()).unwrap();
        assert_eq!(device.save(), saved);
        assert!(device.restore(PvPanicStateV1 { told: 4 }).is_err());
        assert_eq!(device.save(), saved);
    }
}
