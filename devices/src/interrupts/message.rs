//! Messages between IOAPIC and local APICs (SDM Vol. 3A, Interrupt Command Register).

use serde::{Deserialize, Serialize};

/// What the receiving local APIC does with a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum DeliveryMode {
    /// Deliver the vector to all destinations.
    Fixed,
    /// Deliver the vector to the destination with the lowest priority.
    LowestPriority,
    /// System-management interrupt.
    Smi,
    /// Non-maskable interrupt.
    Nmi,
    /// INIT.
    Init,
    /// Start-up, with the page number of the code as vector.
    StartUp,
    /// An interrupt whose vector the PIC supplies.
    ExtInt,
}

impl DeliveryMode {
    /// The mode of a 3-bit field, `None` for the reserved encoding.
    pub fn from_bits(bits: u32) -> Option<Self> {
        Some(match bits & 7 {
            0 => Self::Fixed,
            1 => Self::LowestPriority,
            2 => Self::Smi,
            4 => Self::Nmi,
            5 => Self::Init,
            6 => Self::StartUp,
            7 => Self::ExtInt,
            _ => return None,
        })
    }
}

/// To whom a message goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Destination {
    /// Every local APIC.
    All,
    /// Every local APIC but the sender (by index).
    AllBut(usize),
    /// One local APIC by index: the sender itself.
    Only(usize),
    /// The local APIC with this id.
    Physical(u32),
    /// All local APICs that the 8-bit logical destination of the xAPIC names.
    Logical8(u8),
    /// All local APICs that the 32-bit logical destination of the x2APIC names.
    Logical32(u32),
}

impl Destination {
    /// The meaning of an 8-bit destination, as in xAPIC mode and at the IOAPIC.
    pub fn from_8_bits(destination: u8, logical: bool) -> Self {
        match (logical, destination) {
            (true, d) => Self::Logical8(d),
            (false, 0xFF) => Self::All,
            (false, d) => Self::Physical(u32::from(d)),
        }
    }
    /// The meaning of a 32-bit destination, as in x2APIC mode.
    pub fn from_32_bits(destination: u32, logical: bool) -> Self {
        match (logical, destination) {
            (_, u32::MAX) => Self::All,
            (true, d) => Self::Logical32(d),
            (false, d) => Self::Physical(d),
        }
    }
}

/// An interrupt message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ApicMessage {
    /// To whom.
    pub destination: Destination,
    /// What to do.
    pub mode: DeliveryMode,
    /// The vector, for modes that have one.
    pub vector: u8,
    /// Level triggered: its EOI is broadcast.
    pub level: bool,
}

impl ApicMessage {
    /// The message that a write of `data` to `address` is (SDM Vol. 3A, "Message Signalled Interrupts"); `None` where
    /// the address is no interrupt controller's or the delivery mode is reserved.
    pub fn from_msi(address: u64, data: u32) -> Option<Self> {
        const BASE: u64 = 0xFEE;
        const REDIRECTION_HINT: u64 = 1 << 3;
        const LOGICAL: u64 = 1 << 2;
        const LEVEL_TRIGGERED: u32 = 1 << 15;
        if address >> 20 != BASE {
            return None;
        }
        let mode = DeliveryMode::from_bits(data >> 8)?;
        // The destination mode counts where the redirection hint is set only.
        let logical = address & (REDIRECTION_HINT | LOGICAL) == REDIRECTION_HINT | LOGICAL;
        Some(Self {
            destination: Destination::from_8_bits((address >> 12) as u8, logical),
            mode,
            vector: data as u8,
            level: data & LEVEL_TRIGGERED != 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn msi_writes_are_messages() {
        let fixed = ApicMessage::from_msi(0xFEE0_3000, 0x41).unwrap();
        assert_eq!((fixed.destination, fixed.vector), (Destination::Physical(3), 0x41));
        assert_eq!((fixed.mode, fixed.level), (DeliveryMode::Fixed, false));
        let lowest = ApicMessage::from_msi(0xFEE0_F00C, 0xC152).unwrap();
        assert_eq!(
            (lowest.destination, lowest.mode),
            (Destination::Logical8(0x0F), DeliveryMode::LowestPriority)
        );
        assert!(lowest.level);
        for (address, data) in [(0xFED0_0000, 0x41), (0x1_FEE0_0000, 0x41), (0, 0), (0xFEE0_0000, 0x341)] {
            assert_eq!(ApicMessage::from_msi(address, data), None, "{address:#x} {data:#x}");
        }
    }
}
