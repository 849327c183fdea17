//! One channel: two places for drives that share registers and an interrupt.
//!
//! What the host writes to the command block both drives take; bit 4 of the device register says which of them answers reads
//! and carries out commands. A read of the status releases the interrupt.

use super::bus_master::{BusMasterChannel, Dma};
use super::registers::{block::*, command::EXECUTE_DIAGNOSTIC, *};
use super::state::Phase;
use super::unit::Unit;
use super::{ChannelStateV1, UnitStateV1};
use trimotor_bus::{BusMaster, GuestTime, IrqLine, RestoreError};

/// What a channel without a drive reads: nobody drives the lines, and a resistor pulls bit 7 low.
const FLOATING: u8 = 0x7F;

/// A channel.
pub(super) struct Channel {
    irq: IrqLine,
    memory: BusMaster,
    pub(super) units: [Option<Unit>; 2],
    pub(super) bus_master: BusMasterChannel,
    selected: u8,
    control: u8,
    /// The level of the interrupt.
    line: bool,
}

impl Channel {
    pub(super) fn new(irq: IrqLine, memory: BusMaster, units: [Option<Unit>; 2]) -> Self {
        let bus_master = BusMasterChannel::default();
        Self { irq, memory, units, bus_master, selected: 0, control: 0, line: false }
    }
    /// Hardware reset.
    pub(super) fn reset(&mut self) {
        self.bus_master = BusMasterChannel::default();
        (self.selected, self.control) = (0, 0);
        self.units.iter_mut().flatten().for_each(Unit::hard_reset);
        self.drive();
    }
    fn unit(&self) -> Option<&Unit> {
        self.units.get(usize::from(self.selected))?.as_ref()
    }
    /// Lets the selected drive act.
    fn act(&mut self, action: impl FnOnce(&mut Unit, &mut Dma<'_>)) {
        let Self { units, bus_master, memory, selected, .. } = self;
        if let Some(Some(unit)) = units.get_mut(usize::from(*selected)) {
            action(unit, &mut Dma { channel: bus_master, memory });
        }
    }
    /// Drives the interrupt; its rise is noted by the bus master.
    fn drive(&mut self) {
        let wanted = self.unit().is_some_and(|unit| unit.intrq) && self.control & NIEN == 0;
        if wanted && !self.line {
            self.bus_master.note_interrupt();
        }
        self.line = wanted;
        self.irq.set(wanted);
    }

    /// The data register.
    pub(super) fn data_read(&mut self, bytes: usize, now: GuestTime) -> u32 {
        let mut value = if self.units.iter().flatten().next().is_none() { FLOATING.into() } else { 0 };
        self.act(|unit, dma| {
            if unit.phase == Phase::DataIn {
                value = unit.data_read(bytes);
                unit.after_data(dma, now);
            }
        });
        self.drive();
        value
    }
    pub(super) fn data_write(&mut self, bytes: usize, value: u32, now: GuestTime) {
        self.act(|unit, dma| {
            if matches!(unit.phase, Phase::DataOut | Phase::Packet) {
                unit.data_write(bytes, value);
                unit.after_data(dma, now);
            }
        });
        self.drive();
    }

    /// Reads a register of the command block, other than data.
    pub(super) fn read(&mut self, register: u16) -> u8 {
        let value = match (register, self.unit()) {
            (COMMAND, _) => self.status(),
            (_, None) => self.nobody(),
            (_, Some(unit)) => {
                let (task, before) = (&unit.task, usize::from(self.control & HOB != 0));
                match register {
                    FEATURE => task.error,
                    COUNT => task.count[before],
                    LBA_LOW => task.lba_low[before],
                    LBA_MID => task.lba_mid[before],
                    LBA_HIGH => task.lba_high[before],
                    _ => task.device | OBSOLETE,
                }
            }
        };
        if register == COMMAND {
            self.act(|unit, _| unit.intrq = false);
            self.drive();
        }
        value
    }
    /// What is read where the selected drive is not there: the other one answers for it.
    fn nobody(&self) -> u8 {
        if self.units.iter().flatten().next().is_some() { 0 } else { FLOATING }
    }
    /// Status, without an effect on the interrupt.
    pub(super) fn status(&self) -> u8 {
        match self.unit() {
            Some(_) if self.control & SRST != 0 => BSY,
            Some(unit) => unit.status(),
            None => self.nobody(),
        }
    }
    /// Writes a register of the command block, other than data.
    pub(super) fn write(&mut self, register: u16, value: u8, now: GuestTime) {
        self.control &= !HOB;
        if self.control & SRST != 0 {
            return;
        }
        if register == COMMAND {
            if value == EXECUTE_DIAGNOSTIC {
                self.diagnose();
            } else {
                self.act(|unit, dma| unit.command(value, dma, now));
            }
            return self.drive();
        }
        // Registers stay while a command is under way; packet devices are selected and reset nevertheless.
        let busy = self.unit().is_some_and(Unit::busy);
        if register == DEVICE && !busy {
            self.selected = u8::from(value & DEV != 0);
        }
        for unit in self.units.iter_mut().flatten().filter(|unit| !unit.busy()) {
            let task = &mut unit.task;
            let shift = |old: &mut [u8; 2]| *old = [value, old[0]];
            match register {
                FEATURE => shift(&mut task.feature),
                COUNT => shift(&mut task.count),
                LBA_LOW => shift(&mut task.lba_low),
                LBA_MID => shift(&mut task.lba_mid),
                LBA_HIGH => shift(&mut task.lba_high),
                _ => task.device = value & !OBSOLETE,
            }
        }
        self.drive();
    }
    /// Device control.
    pub(super) fn write_control(&mut self, value: u8) {
        let resets = value & !self.control & SRST != 0;
        self.control = value & (NIEN | SRST | HOB);
        if resets {
            self.reset_units();
        }
        self.drive();
    }
    fn reset_units(&mut self) {
        self.selected = 0;
        for unit in self.units.iter_mut().flatten() {
            unit.soft_reset();
            unit.task.device = 0;
        }
    }
    /// EXECUTE DEVICE DIAGNOSTIC: both drives do it, and device 0 answers.
    fn diagnose(&mut self) {
        if self.units.iter().flatten().any(Unit::busy) {
            return;
        }
        self.reset_units();
        if let [Some(first), _] = &mut self.units {
            first.intrq = true;
        }
    }

    /// Writes a byte of the bus master's registers.
    pub(super) fn write_bus_master(&mut self, offset: u8, value: u8, now: GuestTime) {
        if self.bus_master.write(offset, value) {
            let Self { units, bus_master, memory, .. } = self;
            for unit in units.iter_mut().flatten() {
                unit.bus_master(&mut Dma { channel: bus_master, memory }, now);
            }
        }
        self.drive();
    }
    /// A worker is done for a drive.
    pub(super) fn complete(&mut self, unit: usize, token: u64, answer: &[u8], now: GuestTime) {
        let Self { units, bus_master, memory, .. } = self;
        if let Some(Some(unit)) = units.get_mut(unit) {
            unit.complete(token, answer, &mut Dma { channel: bus_master, memory }, now);
        }
        self.drive();
    }
    pub(super) fn next_event(&self) -> Option<GuestTime> {
        self.units.iter().flatten().filter_map(Unit::next_event).min()
    }
    pub(super) fn advance(&mut self, now: GuestTime) {
        self.units.iter_mut().flatten().for_each(|unit| unit.advance(now));
        self.drive();
    }

    pub(super) fn save(&self) -> ChannelStateV1 {
        let Self { irq: _, memory: _, units, bus_master, selected, control, line } = self;
        ChannelStateV1 {
            units: units.each_ref().map(|unit| unit.as_ref().map(Unit::save)),
            bus_master: bus_master.clone().into(),
            selected: *selected,
            control: *control,
            line: *line,
        }
    }
    /// Whether this channel can be so.
    pub(super) fn check(&self, state: &ChannelStateV1) -> Result<(), RestoreError> {
        let refuse = |field, value: String| Err(RestoreError { part: "IDE channel", field, value });
        let ChannelStateV1 { units, bus_master, selected, control, line } = state;
        BusMasterChannel::from(bus_master.clone()).check()?;
        if *selected > 1 || control & !(NIEN | SRST | HOB) != 0 {
            return refuse("control", format!("{selected} {control:#x}"));
        }
        let mut wanted = false;
        for (index, (own, unit)) in self.units.iter().zip(units).enumerate() {
            match (own, unit) {
                (Some(own), Some(unit)) => {
                    unit.check(own.atapi.is_some(), own.wires.number)?;
                    wanted |= usize::from(*selected) == index && unit.intrq && control & NIEN == 0;
                }
                (None, None) => {}
                (_, unit) => {
                    return refuse("drive", if unit.is_some() { "there" } else { "missing" }.to_owned());
                }
            }
        }
        if *line != wanted {
            return refuse("interrupt", line.to_string());
        }
        Ok(())
    }
    /// Takes a state that [`check`](Self::check) has accepted.
    pub(super) fn restore(&mut self, state: ChannelStateV1) {
        let ChannelStateV1 { units, bus_master, selected, control, line } = state;
        (self.bus_master, self.selected, self.control, self.line) =
            (bus_master.into(), selected, control, line);
        for (own, unit) in self.units.iter_mut().zip(units) {
            if let (Some(own), Some(unit)) = (own, unit) {
                let unit: UnitStateV1 = unit;
                own.restore(unit);
            }
        }
        self.irq.set(self.line);
    }
}
