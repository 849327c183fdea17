//! The adapter's saved state. The frame buffer is saved by the machine.

use super::dispi::{Dispi, DispiStateV1};
use super::picture::Picture;
use super::registers::{Registers, RegistersStateV1};
use super::{Vga, planes};
use crate::pci::ConfigSpaceStateV1;
use serde::{Deserialize, Serialize};
use trimotor_bus::{RestoreError, SaveState};

/// The saved state of the adapter.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VgaStateV1 {
    registers: RegistersStateV1,
    latch: u32,
    dispi: DispiStateV1,
    big_endian: bool,
    config: ConfigSpaceStateV1,
}

impl SaveState for Vga {
    type State = VgaStateV1;
    fn save(&self) -> VgaStateV1 {
        let Self {
            registers,
            planes: planes::Planes { memory: _, latch },
            dispi,
            big_endian,
            config,
            rom: _,
            edid: _,
            window: _,
            picture: _,
            changes: _,
        } = self;
        VgaStateV1 {
            registers: registers.save(),
            latch: *latch,
            dispi: dispi.save(),
            big_endian: *big_endian,
            config: config.save(),
        }
    }
    fn restore(&mut self, state: VgaStateV1) -> Result<(), RestoreError> {
        let VgaStateV1 { registers, latch, dispi, big_endian, config } = state;
        let dispi = Dispi::restored(dispi, self.planes.memory.bytes())?;
        let registers = Registers::restored(registers)?;
        if registers.dac.eight_bits() != dispi.eight_bit_dac() {
            let value = format!("{} bits otherwise than DISPI has it", registers.dac.eight_bits());
            return Err(RestoreError { part: "VGA", field: "DAC", value });
        }
        self.config.restore(config)?;
        self.registers = registers;
        self.dispi = dispi;
        self.planes.latch = latch;
        self.big_endian = big_endian;
        self.window.forget();
        self.window.registers_changed(&self.registers, &self.dispi);
        self.picture = Picture::new();
        self.changes += 1;
        Ok(())
    }
}
