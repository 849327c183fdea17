//! Ways to reset beside the keyboard controller: the PIIX3's reset control register (CF9h) and
//! system control port A (92h), whose bit 1 also drives A20.
//!
//! CF9h: bit 1 chooses a hard reset, and a rise of bit 2 does it. Hard and soft reset are the
//! same here: the whole machine starts again. Port 92h: a rise of bit 0 resets.
//!
//! Source: 82371SB (PIIX3) data sheet, Reset Control Register; PS/2 Technical Reference, port 92h.

use crate::device::Device;
use crate::requests::{A20Source, MachineRequests, ResetCause};
use serde::{Deserialize, Serialize};
use trimotor_bus::board::{RESET_CONTROL, SYSTEM_CONTROL_A};
use trimotor_bus::{GuestTime, Port, PortDevice, RestoreError, SaveState, Width};

const RESET_CPU: u8 = 1 << 2;
const FAST_RESET: u8 = 1 << 0;
const A20: u8 = 1 << 1;

/// Both registers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ResetControlStateV1 {
    reset_control: u8,
    system_control_a: u8,
}

/// The bits of CF9h that are kept.
const RESET_CONTROL_BITS: u8 = 0x0E;

/// The two reset registers. Byte-wide: CF9h lies within the PCI address register, which takes
/// only 32-bit accesses.
#[derive(Debug)]
pub struct ResetControl {
    requests: MachineRequests,
    state: ResetControlStateV1,
}

impl ResetControl {
    /// At power-on, with A20 open, as a BIOS leaves it.
    pub fn new(requests: MachineRequests) -> Self {
        requests.set_a20(A20Source::SystemControlA, true);
        Self { requests, state: ResetControlStateV1 { reset_control: 0, system_control_a: A20 } }
    }
    /// Back to power-on.
    pub fn reset(&mut self) {
        *self = Self::new(self.requests.clone());
    }
}

impl PortDevice for ResetControl {
    fn port_read(&mut self, port: Port, width: Width, _now: GuestTime) -> u32 {
        match port {
            RESET_CONTROL => width.mask() as u32 & !0xFF | u32::from(self.state.reset_control),
            SYSTEM_CONTROL_A => width.mask() as u32 & !0xFF | u32::from(self.state.system_control_a),
            _ => width.mask() as u32,
        }
    }
    fn port_write(&mut self, port: Port, _width: Width, value: u32, _now: GuestTime) {
        let value = value as u8;
        match port {
            RESET_CONTROL => {
                let rises = value & !self.state.reset_control & RESET_CPU != 0;
                self.state.reset_control = value & RESET_CONTROL_BITS;
                if rises {
                    self.requests.reset(ResetCause::ResetControl);
                }
            }
            SYSTEM_CONTROL_A => {
                let rises = value & !self.state.system_control_a & FAST_RESET != 0;
                self.state.system_control_a = value & (FAST_RESET | A20);
                self.requests.set_a20(A20Source::SystemControlA, value & A20 != 0);
                if rises {
                    self.requests.reset(ResetCause::SystemControlA);
                }
            }
            _ => {}
        }
    }
}

impl SaveState for ResetControl {
    type State = ResetControlStateV1;
    fn save(&self) -> ResetControlStateV1 {
        let Self { requests: _, state } = self;
        state.clone()
    }
    fn restore(&mut self, state: ResetControlStateV1) -> Result<(), RestoreError> {
        for (field, value, possible) in [
            ("reset_control", state.reset_control, RESET_CONTROL_BITS),
            ("system_control_a", state.system_control_a, FAST_RESET | A20),
        ] {
            if value & !possible != 0 {
                return Err(RestoreError { part: "reset control", field, value: format!("{value:#x}") });
            }
        }
        self.requests.set_a20(A20Source::SystemControlA, state.system_control_a & A20 != 0);
        self.state = state;
        Ok(())
    }
}

impl Device for ResetControl {
    fn reset(&mut self, _now: GuestTime) {
        ResetControl::reset(self);
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
    use crate::requests::MachineRequest;

    #[test]
    fn cf9_resets_on_the_rise_of_bit_2() {
        let requests = MachineRequests::new();
        let mut chip = ResetControl::new(requests.clone());
        let mut write = |value| chip.port_write(RESET_CONTROL, Width::Byte, value, GuestTime::ZERO);
        write(0x02);
        assert_eq!(requests.take(), None);
        write(0x06);
        assert_eq!(requests.take(), Some(MachineRequest::Reset(ResetCause::ResetControl)));
        write(0x06);
        assert_eq!(requests.take(), None);
    }

    #[test]
    fn port_92_gates_a20_and_resets() {
        let requests = MachineRequests::new();
        let mut chip = ResetControl::new(requests.clone());
        assert!(requests.a20());
        chip.port_write(SYSTEM_CONTROL_A, Width::Byte, 0, GuestTime::ZERO);
        assert!(!requests.a20());
        chip.port_write(SYSTEM_CONTROL_A, Width::Byte, 3, GuestTime::ZERO);
        assert!(requests.a20());
        assert_eq!(requests.take(), Some(MachineRequest::Reset(ResetCause::SystemControlA)));
        assert_eq!(chip.port_read(SYSTEM_CONTROL_A, Width::Byte, GuestTime::ZERO), 3);
    }
}
