//! The IDE controller of the PIIX3: two channels with two drives each, disks and CD-ROM drives.
//!
//! | ports | what |
//! |---|---|
//! | 1F0h to 1F7h, 3F6h, IRQ 14 | primary channel |
//! | 170h to 177h, 376h, IRQ 15 | secondary channel |
//! | 16 ports behind BAR 4 of PCI 00:01.1 | bus masters, eight ports a channel |
//!
//! A channel's *command block* (1F0h) has the data register, the address and count of sectors, the device register that selects
//! one of two drives, and the command register. A command ends with an interrupt. Data goes through the data register, a
//! block of sectors for each interrupt (PIO), or the bus master moves it to the pages that a table in memory names (DMA). Addresses
//! are cylinder, head and sector, 28 bits, or 48 bits: registers then hold two bytes each, written one after the other.
//!
//! | part | file |
//! |---|---|
//! | bits and commands | [`registers`] |
//! | a channel: selection, resets, interrupt | `channel.rs` |
//! | a drive: phases of a command | `unit.rs`, `transfer.rs` |
//! | commands of disks, what they say of themselves, SMART | `ata.rs`, `identify.rs`, `smart.rs` |
//! | CD-ROM drives | `atapi` |
//! | bus masters | `bus_master.rs` |
//! | what workers of the host do | `disk_work.rs`, beside this folder |
//!
//! The configuration space has the timings (IDETIM 40h and 42h, whose bit 15 opens the channel's ports, and SIDETIM 44h), which
//! drivers read and which have no effect on speed. Both channels are open from the start, unlike a real PIIX3's, because OVMF
//! expects it of a virtual PC.
//!
//! Left out: queued commands, the host protected area beyond READ NATIVE MAX, security. Ultra DMA modes can be chosen
//! in the drives; the PIIX3 has none, and its driver chooses multiword DMA.
//!
//! Source: ATA/ATAPI-7 volumes 1 and 2; Intel 82371SB data sheet, "IDE interface"; SFF-8038i.

mod ata;
mod atapi;
mod bus_master;
mod channel;
mod identify;
pub mod registers;
mod smart;
mod state;
#[cfg(test)]
mod tests;
mod transfer;
mod unit;

pub use state::UnitStateV1;

use crate::device::{Completion, Device, OutsideRef};
use crate::drive::{Drive, Media, Medium, MediumError, RemovableDrives};
use crate::isa_cycles;
use crate::pci::config_space::{
    Bar, COMMAND as PCI_COMMAND, COMMAND_IO, COMMAND_MASTER, ConfigSpace, ConfigSpaceStateV1, Identity,
    STATUS,
};
use crate::requests::MachineRequests;
use bus_master::BusMasterChannelStateV1;
use channel::Channel;
use registers::block::DATA;
use serde::{Deserialize, Serialize};
use trimotor_bus::pci::PciRegion;
use trimotor_bus::{
    BusMaster, GuestTime, IrqLine, PciBars, PciFunction, Port, PortDevice, RestoreError, SaveState, Timed,
    Width,
};
use unit::{Unit, Wires};

/// First port of each channel's command block.
pub const COMMAND_BLOCKS: [Port; 2] = [Port(0x1F0), Port(0x170)];
/// The port of each channel's device control and alternate status.
pub const CONTROLS: [Port; 2] = [Port(0x3F6), Port(0x376)];
/// Each channel's interrupt.
pub const IRQS: [u8; 2] = [14, 15];
/// Which BAR has the bus masters.
pub const BUS_MASTER_BAR: u8 = 4;
/// Timing registers of the channels in configuration space.
pub const IDETIM: [u8; 2] = [0x40, 0x42];
/// Bit 7 of the upper byte of IDETIM: the channel answers its ports.
const DECODES: u8 = 0x80;

/// The controller.
pub struct IdeController {
    memory: BusMaster,
    config: ConfigSpace,
    channels: [Channel; 2],
}

/// The saved state of a channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelStateV1 {
    units: [Option<UnitStateV1>; 2],
    bus_master: BusMasterChannelStateV1,
    selected: u8,
    control: u8,
    line: bool,
}

/// The saved state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdeStateV1 {
    config: ConfigSpaceStateV1,
    channels: [ChannelStateV1; 2],
}

/// What a port is.
enum Register {
    Block(usize, u16),
    Control(usize),
}

fn register(port: Port) -> Option<Register> {
    for (channel, (first, control)) in COMMAND_BLOCKS.iter().zip(CONTROLS).enumerate() {
        match port.0.wrapping_sub(first.0) {
            register @ 0..=7 => return Some(Register::Block(channel, register)),
            _ if port == control => return Some(Register::Control(channel)),
            _ => {}
        }
    }
    None
}

impl IdeController {
    /// A controller with these drives: by channel, then unit.
    pub fn new(
        irqs: [IrqLine; 2],
        memory: BusMaster,
        outside: &OutsideRef,
        requests: &MachineRequests,
        drives: [[Option<Drive>; 2]; 2],
    ) -> Self {
        let mut config = ConfigSpace::new(Identity {
            vendor: 0x8086,
            device: 0x7010,
            revision: 0,
            class: 0x01_01_80,
            subsystem: (0x1AF4, 0x1100),
            multifunction: true,
            interrupt_pin: 0,
        });
        config.preset(STATUS, &[0x80, 0x02]);
        config.allow(PCI_COMMAND, &[(COMMAND_IO | COMMAND_MASTER) as u8, 0]);
        config.allow(0x0C, &[0, 0xF0]);
        config.allow(0x3C, &[0]);
        config.add_bar(usize::from(BUS_MASTER_BAR), Bar::Io { size: 16 });
        config.allow(IDETIM[0], &[0xFF, 0xF3, 0xFF, 0xF3, 0xFF]);
        // A PIIX3 comes out of reset with its channels closed. OVMF, written for virtual PCs, never opens them.
        for timing in IDETIM {
            config.preset(timing + 1, &[DECODES]);
        }
        let mut number = 0;
        let mut unit = |drive: Option<Drive>| {
            let wires = drive.map(|drive| {
                let (outside, requests) = (outside.clone(), requests.clone());
                Wires { drive, outside, requests, number }
            });
            number += 1;
            wires.map(Unit::new)
        };
        let units = drives.map(|pair| pair.map(&mut unit));
        let mut parts = irqs.into_iter().zip(units);
        let channels = std::array::from_fn(|_| match parts.next() {
            Some((irq, units)) => Channel::new(irq, memory.clone(), units),
            None => Channel::new(IrqLine::unconnected(), memory.clone(), [None, None]),
        });
        Self { memory, config, channels }
    }
    /// Whether a channel answers its ports.
    fn decodes(&self, channel: usize) -> bool {
        let timing = IDETIM.get(channel).map_or(0, |at| self.config.read(at + 1, Width::Byte) as u8);
        timing & DECODES != 0 && self.config.command(COMMAND_IO)
    }
    fn open(&mut self, channel: usize) -> Option<&mut Channel> {
        if self.decodes(channel) { self.channels.get_mut(channel) } else { None }
    }
    fn units(&self) -> impl Iterator<Item = &Unit> {
        self.channels.iter().flat_map(|channel| channel.units.iter().flatten())
    }
}

impl PortDevice for IdeController {
    fn port_read(&mut self, port: Port, width: Width, now: GuestTime) -> u32 {
        if let Some(Register::Block(channel, DATA)) = register(port) {
            let Some(channel) = self.open(channel) else { return width.mask() as u32 };
            return channel.data_read(width.bytes().min(4), now);
        }
        isa_cycles::read_bytes(port, width, |port| match register(port) {
            Some(Register::Block(channel, register)) if register != DATA => {
                self.open(channel).map_or(0xFF, |channel| channel.read(register))
            }
            Some(Register::Control(channel)) => self.open(channel).map_or(0xFF, |channel| channel.status()),
            _ => 0xFF,
        })
    }
    fn port_write(&mut self, port: Port, width: Width, value: u32, now: GuestTime) {
        if let Some(Register::Block(channel, DATA)) = register(port) {
            if let Some(channel) = self.open(channel) {
                channel.data_write(width.bytes().min(4), value, now);
            }
            return;
        }
        isa_cycles::write_bytes(port, width, value, |port, byte| match register(port) {
            Some(Register::Block(channel, register)) if register != DATA => {
                if let Some(channel) = self.open(channel) {
                    channel.write(register, byte, now);
                }
            }
            Some(Register::Control(channel)) => {
                if let Some(channel) = self.open(channel) {
                    channel.write_control(byte);
                }
            }
            _ => {}
        });
    }
}

impl PciFunction for IdeController {
    fn config_read(&mut self, offset: u8, width: Width) -> u32 {
        self.config.read(offset, width)
    }
    fn config_write(&mut self, offset: u8, width: Width, value: u32, _now: GuestTime) -> bool {
        let moved = self.config.write(offset, width, value);
        self.memory.enable(self.config.command(COMMAND_MASTER));
        moved
    }
    fn decoded_regions(&self) -> Vec<PciRegion> {
        self.config.decoded_regions()
    }
}

impl PciBars for IdeController {
    fn bar_read(&mut self, _bar: u8, offset: u64, width: Width, _now: GuestTime) -> u64 {
        let byte = |at: u64| match self.channels.get((at / 8) as usize) {
            Some(channel) => channel.bus_master.read(at as u8 & 7),
            None => 0xFF,
        };
        (0..width.bytes() as u64)
            .fold(0, |value, i| value | u64::from(byte(offset.saturating_add(i))) << (8 * i))
    }
    fn bar_write(&mut self, _bar: u8, offset: u64, width: Width, value: u64, now: GuestTime) {
        for i in 0..width.bytes() as u64 {
            let at = offset.saturating_add(i);
            if let Some(channel) = self.channels.get_mut((at / 8) as usize) {
                channel.write_bus_master(at as u8 & 7, (value >> (8 * i)) as u8, now);
            }
        }
    }
}

impl Completion for IdeController {
    fn complete(&mut self, token: u64, result: &[u8], now: GuestTime) {
        let (channel, unit) = ((token >> 1 & 1) as usize, (token & 1) as usize);
        if let Some(channel) = self.channels.get_mut(channel) {
            channel.complete(unit, token, result, now);
        }
    }
}

impl Timed for IdeController {
    fn next_event(&self) -> Option<GuestTime> {
        self.channels.iter().filter_map(Channel::next_event).min()
    }
    fn advance(&mut self, now: GuestTime) {
        self.channels.iter_mut().for_each(|channel| channel.advance(now));
    }
}

impl RemovableDrives for IdeController {
    fn change_medium(
        &mut self,
        id: &str,
        medium: Option<Medium>,
        force: bool,
        _now: GuestTime,
    ) -> Result<(), MediumError> {
        let units = self.channels.iter_mut().flat_map(|channel| channel.units.iter_mut().flatten());
        let mut units: Vec<_> = units.collect();
        let Some(unit) = units.iter_mut().find(|unit| unit.wires.drive.config().id == id) else {
            let known: Vec<_> = units.iter().map(|unit| unit.wires.drive.config().id.clone()).collect();
            return Err(MediumError::NoDrive { id: id.to_owned(), known: known.join(", ") });
        };
        if unit.wires.drive.config().media == Media::Disk {
            return Err(MediumError::Fixed { id: id.to_owned() });
        }
        if unit.change_disc(medium, force) { Ok(()) } else { Err(MediumError::Locked { id: id.to_owned() }) }
    }
}

impl Device for IdeController {
    fn reset(&mut self, _now: GuestTime) {
        self.config.reset();
        self.memory.enable(false);
        self.channels.iter_mut().for_each(Channel::reset);
    }
    fn info(&self) -> String {
        let drives = self.units().map(|unit| {
            let state = if unit.busy() { "busy" } else { "ready" };
            format!("{} {state}", unit.wires.drive.config().id)
        });
        let drives: Vec<_> = drives.collect();
        if drives.is_empty() { "no drives".to_owned() } else { drives.join(", ") }
    }
    fn ports(&mut self) -> Option<&mut dyn PortDevice> {
        Some(self)
    }
    fn timed(&mut self) -> Option<&mut dyn Timed> {
        Some(self)
    }
    fn pci(&mut self) -> Option<&mut dyn PciFunction> {
        Some(self)
    }
    fn bars(&mut self) -> Option<&mut dyn PciBars> {
        Some(self)
    }
    fn removable_drives(&mut self) -> Option<&mut dyn RemovableDrives> {
        Some(self)
    }
    fn completion(&mut self) -> Option<&mut dyn Completion> {
        Some(self)
    }
}

impl SaveState for IdeController {
    type State = IdeStateV1;
    fn save(&self) -> IdeStateV1 {
        let Self { memory: _, config, channels } = self;
        IdeStateV1 { config: config.save(), channels: channels.each_ref().map(Channel::save) }
    }
    fn restore(&mut self, state: IdeStateV1) -> Result<(), RestoreError> {
        let IdeStateV1 { config, channels } = state;
        self.config.check(&config)?;
        for (own, channel) in self.channels.iter().zip(&channels) {
            own.check(channel)?;
        }
        self.config.restore(config)?;
        self.memory.enable(self.config.command(COMMAND_MASTER));
        for (own, channel) in self.channels.iter_mut().zip(channels) {
            own.restore(channel);
        }
        Ok(())
    }
}
