//! The power-management function of the PIIX4: its configuration space ([`Piix4Pm`]) and the registers
//! that it places ([`AcpiPm`]), as one device.

use super::{AcpiPm, AcpiPmStateV1};
use crate::device::Device;
use crate::pci::{ConfigSpaceStateV1, Piix4Pm, PmPlace};
use serde::{Deserialize, Serialize};
use trimotor_bus::board::PM_BASE;
use trimotor_bus::{
    GuestTime, PciBars, PciFunction, Port, PortDevice, RestoreError, SaveState, Timed, Width,
};

/// The device. Its ports are SMI_CMD and the one that follows; the power-management block moves with
/// configuration space.
pub struct PowerManagement {
    config: Piix4Pm,
    /// The registers, as the machine's power button and sleep states reach them.
    pub registers: AcpiPm,
}

/// The saved state.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PowerManagementStateV1 {
    config: ConfigSpaceStateV1,
    registers: AcpiPmStateV1,
}

impl PowerManagement {
    /// The function `config` in front of `registers`.
    pub fn new(config: Piix4Pm, registers: AcpiPm) -> Self {
        Self { config, registers }
    }
    /// A handle that tells where the block of ports is.
    pub fn place(&self) -> PmPlace {
        self.config.place()
    }
}

/// An offset into the block as the port that the registers know it by.
fn port(offset: u64) -> Port {
    Port(PM_BASE.0.wrapping_add(offset as u16))
}

impl Device for PowerManagement {
    fn reset(&mut self, now: GuestTime) {
        self.config.reset();
        self.registers.reset(now);
    }
    fn info(&self) -> String {
        match self.config.pm_base() {
            Some(base) => format!("block at port {:#x}", base.0),
            None => "block closed".to_owned(),
        }
    }
    fn ports(&mut self) -> Option<&mut dyn PortDevice> {
        Some(&mut self.registers)
    }
    fn timed(&mut self) -> Option<&mut dyn Timed> {
        Some(&mut self.registers)
    }
    fn pci(&mut self) -> Option<&mut dyn PciFunction> {
        Some(&mut self.config)
    }
    fn bars(&mut self) -> Option<&mut dyn PciBars> {
        Some(self)
    }
}

impl PciBars for PowerManagement {
    fn bar_read(&mut self, _bar: u8, offset: u64, width: Width, now: GuestTime) -> u64 {
        self.registers.port_read(port(offset), width, now).into()
    }
    fn bar_write(&mut self, _bar: u8, offset: u64, width: Width, value: u64, now: GuestTime) {
        self.registers.port_write(port(offset), width, value as u32, now);
    }
}

impl SaveState for PowerManagement {
    type State = PowerManagementStateV1;
    fn save(&self) -> PowerManagementStateV1 {
        let Self { config, registers } = self;
        PowerManagementStateV1 { config: config.save(), registers: registers.save() }
    }
    fn restore(&mut self, state: PowerManagementStateV1) -> Result<(), RestoreError> {
        let PowerManagementStateV1 { config, registers } = state;
        let before = self.config.save();
        self.config.restore(config)?;
        self.registers.restore(registers).inspect_err(|_| {
            // What was saved a moment ago is what this function can be.
            _ = self.config.restore(before);
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::requests::{MachineRequest, MachineRequests};
    use trimotor_bus::IrqLine;

    #[test]
    fn the_block_answers_where_configuration_space_says() {
        let requests = MachineRequests::new();
        let registers = AcpiPm::new(IrqLine::unconnected(), requests.clone());
        let mut device = PowerManagement::new(Piix4Pm::default(), registers);
        let regions = device.pci().unwrap().decoded_regions();
        assert_eq!((regions[0].base, regions[0].size), (PM_BASE.0.into(), 64));
        assert!(device.pci().unwrap().config_write(0x40, Width::Dword, 0xB001, GuestTime::ZERO));
        // SLP_EN of PM1 control, with the type of soft off.
        device.bars().unwrap().bar_write(7, 4, Width::Word, 1 << 13, GuestTime::ZERO);
        assert_eq!(requests.take(), Some(MachineRequest::PowerOff));
    }
}
