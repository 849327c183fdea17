//! Looking at a machine: what `info` and `x` show.
//!
//! What concerns vCPUs (registers, memory as they see it, page tables) is looked at from a
//! [`Standstill`]; the board can be looked at while they run. Texts are for people who know QEMU's monitor,
//! and read as those do. All of them are bounded, whatever the guest has set up.
//!
//! | part | file |
//! |---|---|
//! | registers, what the vCPUs do | [`registers`] |
//! | memory and instructions | [`memory`] |
//! | page tables | [`paging`] |
//! | addresses, ports, devices, PCI functions | [`places`] |

mod memory;
mod paging;
mod places;
mod registers;

use crate::control::{CommandError, Look};
use crate::machine::VcpuSlot;
use crate::obey::Standstill;

impl Standstill<'_> {
    /// Looks at vCPUs.
    pub(crate) fn look(&mut self, look: &Look) -> Result<String, CommandError> {
        match look {
            Look::Memory { physical, format, at, cpu } => {
                let number = cpu.unwrap_or(0);
                self.vcpu(number)?;
                let at = at.value(&self.machine.vcpus[number].vcpu.state()).map_err(CommandError::Failed)?;
                memory::dump(self.machine, number, at, *format, *physical).map_err(CommandError::Failed)
            }
            Look::Value { format, value, cpu } => {
                let state = self.vcpu(cpu.unwrap_or(0))?.vcpu.state();
                let value = value.value(&state).map_err(CommandError::Failed)?;
                let shortest = if u32::try_from(value).is_ok() { 4 } else { 8 };
                Ok(format.value(value, format.size.unwrap_or(shortest)).trim().to_owned())
            }
            Look::Registers { all: false, cpu } => {
                let number = cpu.unwrap_or(0);
                let slot = self.vcpu(number)?;
                Ok(registers::text(number, &slot.vcpu.state(), slot.halted.is_some()))
            }
            Look::Registers { all: true, .. } => {
                let vcpus = self.machine.vcpus.iter().enumerate();
                let text = |(number, slot): (usize, &VcpuSlot)| {
                    registers::text(number, &slot.vcpu.state(), slot.halted.is_some())
                };
                Ok(vcpus.map(text).collect::<Vec<_>>().join("\n"))
            }
            Look::Vcpus => {
                let vcpus = self.machine.vcpus.iter().enumerate();
                let line = |(number, slot): (usize, &VcpuSlot)| {
                    registers::place(number, &slot.vcpu.state(), slot.halted.is_some())
                };
                Ok(vcpus.map(line).collect::<Vec<_>>().join("\n"))
            }
            Look::Mappings { cpu } => {
                let state = self.vcpu(cpu.unwrap_or(0))?.vcpu.state();
                Ok(paging::mappings(&self.machine.board.memory, &state))
            }
            Look::Translations { cpu } => {
                let state = self.vcpu(cpu.unwrap_or(0))?.vcpu.state();
                Ok(paging::translations(&self.machine.board.memory, &state))
            }
            Look::AddressMap | Look::DeviceTree | Look::Pci | Look::Topic(_) => self.machine.board.look(look),
        }
    }
    pub(crate) fn vcpu(&mut self, cpu: usize) -> Result<&mut VcpuSlot, CommandError> {
        let last = self.machine.vcpus.len() - 1;
        self.machine.vcpus.get_mut(cpu).ok_or(CommandError::NoVcpu { cpu, last })
    }
}
