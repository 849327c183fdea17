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
