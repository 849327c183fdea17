//! The redirection entry's bits (82093AA, I/O Redirection Table Registers).

use crate::interrupts::message::DeliveryMode;

bitflags::bitflags! {
    /// One 64-bit redirection entry.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct RedirectionEntry: u64 {
        /// The interrupt vector.
        const VECTOR = 0xFF;
        /// How the destination handles it.
        const DELIVERY_MODE = 7 << 8;
        /// The destination is logical.
        const LOGICAL = 1 << 11;
        /// A message waits to be sent. Never seen set: sending takes no time here.
        const DELIVERY_STATUS = 1 << 12;
        /// Active low. Kept, without effect.
        const ACTIVE_LOW = 1 << 13;
        /// A level-triggered message was accepted and not yet ended.
        const REMOTE_IRR = 1 << 14;
        /// Level triggered.
        const LEVEL = 1 << 15;
        /// Masked.
        const MASKED = 1 << 16;
        /// Destination APIC id or logical set.
        const DESTINATION = 0xFF << 56;
        /// What writes can change.
        const WRITABLE = Self::VECTOR.bits() | Self::DELIVERY_MODE.bits() | Self::LOGICAL.bits()
            | Self::ACTIVE_LOW.bits() | Self::LEVEL.bits() | Self::MASKED.bits() | Self::DESTINATION.bits();
    }
}

impl RedirectionEntry {
    /// The vector.
    pub fn vector(self) -> u8 {
        self.bits() as u8
    }
    /// The destination.
    pub fn destination(self) -> u8 {
        (self.bits() >> 56) as u8
    }
    /// The delivery mode, `None` for reserved encodings (and start-up, which an IOAPIC cannot send).
    pub fn delivery_mode(self) -> Option<DeliveryMode> {
        DeliveryMode::from_bits((self.bits() >> 8) as u32 & 7).filter(|m| *m != DeliveryMode::StartUp)
    }
}
