//! The 82093AA I/O APIC.
//!
//! It takes 24 interrupt wires and turns each assertion into a message to local APICs,
//! by a redirection table of 24 entries: vector, delivery mode, destination, trigger
//! mode, mask. Two registers in memory at FEC00000h reach everything: IOREGSEL (offset 0)
//! selects, IOWIN (offset 10h) reads and writes.
//!
//! A level-triggered entry sets Remote IRR when its message is accepted and stays silent
//! until the EOI of that vector is broadcast; if the wire is still asserted it sends again.
//! An edge that arrives while its entry is masked is lost, as on the chip.
//!
//! A wire is *asserted* or not: the polarity bit is kept but has no effect, because the
//! boards' inverters and the bit always agree where a system works.
//!
//! Pins: 0 is the PIC's INT (for virtual wire through the IOAPIC), 2 is ISA interrupt 0,
//! the other ISA interrupts have their own number.
//!
//! Source: Intel 82093AA data sheet (290566).

mod glue;
mod registers;

pub use registers::RedirectionEntry;

use crate::interrupts::message::{ApicMessage, DeliveryMode};
use serde::{Deserialize, Serialize};
use trimotor_bus::board::{IOAPIC_ID, IOAPIC_PINS};
use trimotor_bus::{RestoreError, SaveState};

const PINS: usize = IOAPIC_PINS as usize;
/// Version 11h, and the number of the last entry.
const VERSION: u32 = (IOAPIC_PINS as u32 - 1) << 16 | 0x11;

/// Everything that the IOAPIC remembers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct IoApicStateV1 {
    select: u8,
    id: u8,
    /// Asserted wires, a bit each.
    lines: u32,
    entries: [u64; PINS],
}

/// The model of the IOAPIC: pure, no wires; messages are return values.
#[derive(Clone, Debug)]
pub struct IoApic {
    state: IoApicStateV1,
}

impl Default for IoApic {
    fn default() -> Self {
        Self::new()
    }
}

impl IoApic {
    /// The chip at power-on: all entries masked.
    pub fn new() -> Self {
        Self {
            state: IoApicStateV1 {
                select: 0,
                id: IOAPIC_ID,
                lines: 0,
                entries: [RedirectionEntry::MASKED.bits(); PINS],
            },
        }
    }
    /// Back to power-on; wires keep their levels.
    pub fn reset(&mut self) {
        let lines = self.state.lines;
        *self = Self::new();
        self.state.lines = lines;
    }

    /// Asserts or releases a wire; the message that this makes, if any.
    pub fn set_line(&mut self, pin: u8, asserted: bool) -> Option<ApicMessage> {
        if pin >= IOAPIC_PINS {
            return None;
        }
        let bit = 1u32 << pin;
        let rose = asserted && self.state.lines & bit == 0;
        if asserted {
            self.state.lines |= bit;
        } else {
            self.state.lines &= !bit;
        }
        let entry = self.entry(pin);
        if entry.contains(RedirectionEntry::LEVEL) {
            self.service(pin)
        } else {
            rose.then(|| self.send(pin))?
        }
    }
    /// Whether a wire is asserted.
    pub fn line(&self, pin: u8) -> bool {
        self.state.lines >> (pin & 31) & 1 != 0
    }
    /// The message of a level-triggered entry that is asserted, unmasked and not in service.
    pub fn service(&mut self, pin: u8) -> Option<ApicMessage> {
        let entry = self.entry(pin);
        let ready = entry.contains(RedirectionEntry::LEVEL)
            && !entry.contains(RedirectionEntry::REMOTE_IRR)
            && self.state.lines & 1 << pin != 0;
        if ready { self.send(pin) } else { None }
    }
    /// An EOI broadcast of `vector`: the pins whose entries it released, a bit each. The
    /// caller then asks [`service`](Self::service) for each.
    pub fn end_of_interrupt(&mut self, vector: u8) -> u32 {
        let mut released = 0;
        for (pin, bits) in self.state.entries.iter_mut().enumerate() {
            let entry = RedirectionEntry::from_bits_retain(*bits);
            if entry.vector() == vector && entry.contains(RedirectionEntry::REMOTE_IRR) {
                *bits &= !RedirectionEntry::REMOTE_IRR.bits();
                released |= 1 << pin;
            }
        }
        released
    }
    /// Whether the entry of the pin that carries the PIC's output passes ExtINT.
    pub fn passes_external(&self, pin: u8) -> bool {
        let entry = self.entry(pin);
        entry.delivery_mode() == Some(DeliveryMode::ExtInt) && !entry.contains(RedirectionEntry::MASKED)
    }
    /// The redirection entry of a pin (below 24), for the monitor.
    pub fn entry(&self, pin: u8) -> RedirectionEntry {
        RedirectionEntry::from_bits_retain(self.state.entries[pin as usize % PINS])
    }

    /// Reads the selected register.
    fn read_selected(&self) -> u32 {
        match self.state.select {
            0 | 2 => u32::from(self.state.id) << 24,
            1 => VERSION,
            index => match self.entry_index(index) {
                Some((pin, false)) => self.state.entries[pin] as u32,
                Some((pin, true)) => (self.state.entries[pin] >> 32) as u32,
                None => 0,
            },
        }
    }
    /// Writes the selected register; the message that this makes, if any.
    fn write_selected(&mut self, value: u32) -> Option<ApicMessage> {
        if self.state.select == 0 {
            self.state.id = (value >> 24) as u8 & 0xF;
            return None;
        }
        let (pin, high) = self.entry_index(self.state.select)?;
        let old = self.state.entries[pin];
        let (writable, value) = if high {
            (RedirectionEntry::WRITABLE.bits() & 0xFFFF_FFFF_0000_0000, u64::from(value) << 32)
        } else {
            (RedirectionEntry::WRITABLE.bits() & 0xFFFF_FFFF, u64::from(value))
        };
        let mut new = (old & !writable) | (value & writable);
        if new & RedirectionEntry::LEVEL.bits() == 0 {
            // Changing an entry to edge and back is how drivers end an interrupt by hand.
            new &= !RedirectionEntry::REMOTE_IRR.bits();
        }
        self.state.entries[pin] = new;
        self.service(pin as u8)
    }
    /// The entry and half (`true`: upper) that a register index means.
    fn entry_index(&self, index: u8) -> Option<(usize, bool)> {
        let pin = usize::from(index.checked_sub(0x10)? / 2);
        (pin < PINS).then_some((pin, index & 1 != 0))
    }
    fn send(&mut self, pin: u8) -> Option<ApicMessage> {
        let entry = self.entry(pin);
        if entry.contains(RedirectionEntry::MASKED) {
            return None;
        }
        let level = entry.contains(RedirectionEntry::LEVEL);
        let mode = entry.delivery_mode()?;
        if level && matches!(mode, DeliveryMode::Fixed | DeliveryMode::LowestPriority) {
            self.state.entries[pin as usize] |= RedirectionEntry::REMOTE_IRR.bits();
        }
        Some(ApicMessage {
            destination: crate::interrupts::message::Destination::from_8_bits(
                entry.destination(),
                entry.contains(RedirectionEntry::LOGICAL),
            ),
            mode,
            vector: entry.vector(),
            level,
        })
    }
}

impl SaveState for IoApic {
    type State = IoApicStateV1;
    fn save(&self) -> IoApicStateV1 {
        let Self { state } = self;
        state.clone()
    }
    fn restore(&mut self, state: IoApicStateV1) -> Result<(), RestoreError> {
        if state.lines >> PINS != 0 {
            let value = format!("{:#x}", state.lines);
            return Err(RestoreError { part: "IOAPIC", field: "lines", value });
        }
        if let Some(entry) = state.entries.iter().find(|entry| *entry & !RedirectionEntry::all().bits() != 0)
        {
            let value = format!("{entry:#x}");
            return Err(RestoreError { part: "IOAPIC", field: "entries", value });
        }
        if state.id > 0xF {
            return Err(RestoreError { part: "IOAPIC", field: "id", value: state.id.to_string() });
        }
        self.state = state;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interrupts::message::Destination;

    fn program(chip: &mut IoApic, pin: u8, low: u32, high: u32) -> Option<ApicMessage> {
        chip.write(0, u32::from(0x11 + pin * 2));
        chip.write(0x10, high);
        chip.write(0, u32::from(0x10 + pin * 2));
        chip.write(0x10, low)
    }

    #[test]
    fn identity() {
        let mut chip = IoApic::new();
        chip.write(0, 1);
        assert_eq!(chip.read(0x10), 0x0017_0011);
    }

    #[test]
    fn an_edge_sends_once_and_is_lost_when_masked() {
        let mut chip = IoApic::new();
        assert_eq!(chip.set_line(4, true), None);
        chip.set_line(4, false);
        assert_eq!(program(&mut chip, 4, 0x34, 1 << 24), None);
        let message = chip.set_line(4, true).unwrap();
        assert_eq!(message.vector, 0x34);
        assert_eq!(message.destination, Destination::Physical(1));
        assert_eq!(chip.set_line(4, true), None);
    }

    #[test]
    fn a_level_sends_again_after_eoi_while_asserted() {
        let mut chip = IoApic::new();
        chip.set_line(10, true);
        assert!(program(&mut chip, 10, 0x8051, 0).unwrap().level);
        assert_eq!(chip.set_line(10, true), None);
        assert_eq!(chip.end_of_interrupt(0x50), 0);
        assert_eq!(chip.end_of_interrupt(0x51), 1 << 10);
        assert!(chip.service(10).is_some());
        chip.set_line(10, false);
        assert_eq!(chip.end_of_interrupt(0x51), 1 << 10);
        assert_eq!(chip.service(10), None);
    }

    #[test]
    fn switching_to_edge_clears_remote_irr() {
        let mut chip = IoApic::new();
        chip.set_line(10, true);
        program(&mut chip, 10, 0x8051, 0);
        assert_ne!(chip.read(0x10) & 1 << 14, 0);
        program(&mut chip, 10, 0x1_0051, 0);
        assert_eq!(chip.read(0x10) & 1 << 14, 0);
        assert!(program(&mut chip, 10, 0x8051, 0).is_some());
    }

    #[test]
    fn registers_that_do_not_exist_do_nothing() {
        let mut chip = IoApic::new();
        for select in [3, 0x0F, 0x40, 0xFF] {
            chip.write(0, select);
            assert_eq!(chip.write(0x10, u32::MAX), None);
            assert_eq!(chip.read(0x10), 0);
        }
    }
}
