//! Which guest-physical address that is not RAM is whose.
//!
//! A short chain of compares, the most frequent first: the local APIC's page differs by vCPU and
//! comes before this.

use trimotor_bus::{PhysAddr, board};
use trimotor_devices::test_device;

/// Who answers an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MmioOwner {
    /// The VGA window, with the offset into it.
    Vga(u64),
    /// The IOAPIC.
    IoApic(u64),
    /// The HPET.
    Hpet(u64),
    /// The test device's memory.
    Test(u64),
    /// A PCI card's BAR, or nobody.
    Pci,
}

/// Bytes of the IOAPIC's page.
const IOAPIC_BYTES: u64 = 4096;

/// Who answers `addr`.
#[inline]
pub fn owner(addr: PhysAddr, test_device: bool) -> MmioOwner {
    let within = |base: PhysAddr, bytes: u64| {
        let offset = addr.0.wrapping_sub(base.0);
        (offset < bytes).then_some(offset)
    };
    if let Some(offset) = within(board::VGA_WINDOW, board::VGA_WINDOW_END.0 - board::VGA_WINDOW.0) {
        MmioOwner::Vga(offset)
    } else if let Some(offset) = within(board::IOAPIC, IOAPIC_BYTES) {
        MmioOwner::IoApic(offset)
    } else if let Some(offset) = within(board::HPET, board::HPET_BYTES) {
        MmioOwner::Hpet(offset)
    } else if let Some(offset) =
        within(test_device::ECHO_MEMORY, test_device::ECHO_MEMORY_BYTES).filter(|_| test_device)
    {
        MmioOwner::Test(offset)
    } else {
        MmioOwner::Pci
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_their_owners() {
        assert_eq!(owner(PhysAddr(0xB_8002), false), MmioOwner::Vga(0x1_8002));
        assert_eq!(owner(PhysAddr(0xFEC0_0010), false), MmioOwner::IoApic(0x10));
        assert_eq!(owner(PhysAddr(0xFED0_00F0), false), MmioOwner::Hpet(0xF0));
        assert_eq!(owner(PhysAddr(0xFF00_0004), true), MmioOwner::Test(4));
        assert_eq!(owner(PhysAddr(0xFF00_0004), false), MmioOwner::Pci);
        assert_eq!(owner(PhysAddr(0xC000_0000), false), MmioOwner::Pci);
    }
}
