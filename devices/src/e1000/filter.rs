//! Which frames the receiver takes (8254x manual, "Packet Address Filtering" and "VLAN Packet Filtering").
//!
//! | table | what |
//! |---|---|
//! | RAL, RAH | sixteen addresses; the first is the card's own |
//! | MTA | 4096 bits, one for each value that 12 bits of a group's address may have |
//! | VFTA | 4096 bits, one for each VLAN |

use super::registers::rctl;
use crate::network::MacAddress;

/// Address registers.
pub const ADDRESSES: usize = 16;
/// Registers of each table of bits.
pub const TABLE: usize = 128;

/// Bits of RAH: the address counts, and what it is compared with.
const VALID: u32 = 1 << 31;
const SELECT: u32 = 3 << 16;
const RAH_WRITABLE: u32 = VALID | SELECT | 0xFFFF;

/// What a frame passed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pass {
    /// A filter for just this address, or the one for broadcasts.
    Exact,
    /// One that lets others pass too.
    Inexact,
}

/// The tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Low and high register of each address.
    pub(super) addresses: [[u32; 2]; ADDRESSES],
    pub(super) multicast: [u32; TABLE],
    pub(super) vlans: [u32; TABLE],
}

/// A VLAN tag without its Ethertype.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tag(pub u16);

impl Filter {
    /// After reset: the card's own address, as its EEPROM has it.
    pub fn new(mac: MacAddress) -> Self {
        let [a, b, c, d, e, f] = mac.0;
        let mut addresses = [[0; 2]; ADDRESSES];
        addresses[0] = [u32::from_le_bytes([a, b, c, d]), u32::from(u16::from_le_bytes([e, f])) | VALID];
        Self { addresses, multicast: [0; TABLE], vlans: [0; TABLE] }
    }
    /// Whether the registers are such as a driver can have made them.
    pub(super) fn is_possible(&self) -> bool {
        self.addresses.iter().all(|[_, high]| high & !RAH_WRITABLE == 0)
    }
    /// Reads a register of RAL and RAH, by its number.
    pub fn address_register(&self, number: usize) -> u32 {
        self.addresses[number / 2 % ADDRESSES][number % 2]
    }
    /// Writes one.
    pub fn write_address_register(&mut self, number: usize, value: u32) {
        let mask = if number.is_multiple_of(2) { u32::MAX } else { RAH_WRITABLE };
        self.addresses[number / 2 % ADDRESSES][number % 2] = value & mask;
    }

    /// What lets a frame with this destination and source pass, if anything does.
    pub fn address(&self, destination: [u8; 6], source: [u8; 6], rctl: u32) -> Option<Pass> {
        if self.addresses.iter().any(|registers| matches(*registers, destination, source)) {
            return Some(Pass::Exact);
        }
        if destination == [0xFF; 6] {
            let all = rctl & (rctl::BAM | rctl::MPE) != 0;
            return all.then_some(Pass::Exact);
        }
        let is_group = destination[0] & 1 != 0;
        let promiscuous = if is_group { rctl::MPE } else { rctl::UPE };
        let passes = rctl & promiscuous != 0 || is_group && self.has_group(destination, rctl);
        passes.then_some(Pass::Inexact)
    }
    fn has_group(&self, group: [u8; 6], rctl: u32) -> bool {
        let high = u32::from(group[4]) | u32::from(group[5]) << 8;
        let shift = [4, 3, 2, 0][(rctl >> rctl::MO_SHIFT & 3) as usize];
        has_bit(&self.multicast, high >> shift & 0xFFF)
    }
    /// Whether a frame with this tag, if with any, passes.
    pub fn vlan(&self, tag: Option<Tag>, rctl: u32) -> bool {
        let Some(Tag(tag)) = tag.filter(|_| rctl & rctl::VFE != 0) else { return true };
        let cfi = tag & 1 << 12 != 0;
        if rctl & rctl::CFIEN != 0 && cfi != (rctl & rctl::CFI != 0) {
            return false;
        }
        has_bit(&self.vlans, u32::from(tag & 0xFFF))
    }
}

fn matches([low, high]: [u32; 2], destination: [u8; 6], source: [u8; 6]) -> bool {
    let compared = match (high & VALID != 0, high & SELECT) {
        (true, 0) => destination,
        (true, 0x1_0000) => source,
        _ => return false,
    };
    let [a, b, c, d] = low.to_le_bytes();
    let [e, f, ..] = high.to_le_bytes();
    compared == [a, b, c, d, e, f]
}
fn has_bit(table: &[u32; TABLE], bit: u32) -> bool {
    table[(bit >> 5) as usize % TABLE] & 1 << (bit & 31) != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
    const OTHER: [u8; 6] = [0x52, 0x54, 0, 0, 0, 1];
    const GROUP: [u8; 6] = [0x01, 0, 0x5E, 0, 0x12, 0xA5];

    #[test]
    fn addresses_pass_by_register_mode_and_hash() {
        let mut filter = Filter::new(MacAddress(OWN));
        let pass = |filter: &Filter, to, rctl| filter.address(to, OTHER, rctl);
        assert_eq!(pass(&filter, OWN, 0), Some(Pass::Exact));
        assert_eq!(pass(&filter, OTHER, 0), None);
        assert_eq!(pass(&filter, OTHER, rctl::UPE), Some(Pass::Inexact));
        assert_eq!(pass(&filter, [0xFF; 6], 0), None);
        assert_eq!(pass(&filter, [0xFF; 6], rctl::BAM), Some(Pass::Exact));
        assert_eq!(pass(&filter, GROUP, rctl::UPE | rctl::BAM), None);
        assert_eq!(pass(&filter, GROUP, rctl::MPE), Some(Pass::Inexact));
        // As Linux hashes it, for each offset: bits 47:36, 46:35, 45:34 and 43:32 of the address.
        for (offset, hash) in [(0u32, 0xA51), (1, 0x4A2), (2, 0x944), (3, 0x512)] {
            filter.multicast = [0; TABLE];
            filter.multicast[hash >> 5] = 1 << (hash & 31);
            for other in 0..4 {
                let expected = (other == offset).then_some(Pass::Inexact);
                assert_eq!(pass(&filter, GROUP, other << rctl::MO_SHIFT), expected, "{offset} {other}");
            }
        }
        // A second address, compared with the source.
        filter.write_address_register(2, 0x0000_5452);
        filter.write_address_register(3, VALID | 0x1_0000 | 0x0100);
        assert_eq!(pass(&filter, GROUP, 0), Some(Pass::Exact));
        assert_eq!(filter.address_register(3), VALID | 0x1_0100);
    }

    #[test]
    fn vlans_pass_where_their_bit_is_set() {
        let mut filter = Filter::new(MacAddress(OWN));
        filter.vlans[100 / 32] = 1 << (100 % 32);
        assert!(filter.vlan(Some(Tag(5)), 0) && filter.vlan(None, rctl::VFE));
        assert!(!filter.vlan(Some(Tag(5)), rctl::VFE));
        assert!(filter.vlan(Some(Tag(0xF000 | 100)), rctl::VFE));
        assert!(!filter.vlan(Some(Tag(0xF000 | 100)), rctl::VFE | rctl::CFIEN));
        assert!(filter.vlan(Some(Tag(0xF000 | 100)), rctl::VFE | rctl::CFIEN | rctl::CFI));
    }
}
