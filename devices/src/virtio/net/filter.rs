//! Which frames the guest wants (5.1.6.5.1 to 5.1.6.5.3): by mode, address and VLAN.

use serde::{Deserialize, Serialize};

/// Addresses of each kind that are kept; with more, all of the kind are wanted.
pub const MOST_ADDRESSES: usize = 64;
/// VLANs that there are, and words of a bit each.
const VLANS: usize = 4096;
const VLAN_WORDS: usize = VLANS / 64;
/// The type of a frame with a VLAN tag.
const TAGGED: [u8; 2] = [0x81, 0x00];

/// Modes, by the numbers of their commands.
pub mod mode {
    /// All frames.
    pub const PROMISCUOUS: u8 = 0;
    /// All multicasts.
    pub const ALL_MULTI: u8 = 1;
    /// All unicasts.
    pub const ALL_UNI: u8 = 2;
    /// No multicasts.
    pub const NO_MULTI: u8 = 3;
    /// No unicasts.
    pub const NO_UNI: u8 = 4;
    /// No broadcasts.
    pub const NO_BROADCAST: u8 = 5;
    /// How many there are.
    pub const COUNT: u8 = 6;
}

/// Addresses of a kind, or all of them.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Addresses {
    list: Vec<[u8; 6]>,
    all: bool,
}
impl Addresses {
    /// Those of a command.
    pub(super) fn new(list: Vec<[u8; 6]>) -> Self {
        if list.len() > MOST_ADDRESSES {
            Self { list: Vec::new(), all: true }
        } else {
            Self { list, all: false }
        }
    }
    fn has(&self, address: &[u8; 6]) -> bool {
        self.all || self.list.contains(address)
    }
}

/// The filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Filter {
    /// A bit for each mode.
    modes: u8,
    unicast: Addresses,
    multicast: Addresses,
    vlans: [u64; VLAN_WORDS],
}

/// The saved filter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilterStateV1 {
    modes: u8,
    unicast: Addresses,
    multicast: Addresses,
    vlans: Vec<u64>,
}

/// All frames, for drivers that know no modes, and no VLAN.
impl Default for Filter {
    fn default() -> Self {
        Self {
            modes: 1 << mode::PROMISCUOUS,
            unicast: Addresses::default(),
            multicast: Addresses::default(),
            vlans: [0; VLAN_WORDS],
        }
    }
}

impl Filter {
    pub(super) fn set_mode(&mut self, mode: u8, on: bool) {
        self.modes = self.modes & !(1 << mode) | u8::from(on) << mode;
    }
    pub(super) fn set_addresses(&mut self, unicast: Vec<[u8; 6]>, multicast: Vec<[u8; 6]>) {
        self.unicast = Addresses::new(unicast);
        self.multicast = Addresses::new(multicast);
    }
    /// Returns whether there is such a VLAN.
    pub(super) fn set_vlan(&mut self, vlan: u16, wanted: bool) -> bool {
        let Some(word) = self.vlans.get_mut(usize::from(vlan) / 64) else { return false };
        *word = *word & !(1 << (vlan % 64)) | u64::from(wanted) << (vlan % 64);
        true
    }
    fn has_mode(&self, mode: u8) -> bool {
        self.modes >> mode & 1 != 0
    }
    /// Whether the guest, whose address is `mac`, wants a frame.
    pub(super) fn wants(&self, frame: &[u8], mac: [u8; 6], by_vlan: bool) -> bool {
        let Some(to) = frame.first_chunk::<6>() else { return false };
        if by_vlan && frame.get(12..14) == Some(&TAGGED) {
            let tag = frame.get(14..16).map_or(0, |tag| u16::from_be_bytes([tag[0], tag[1]]) & 0xFFF);
            if self.vlans[usize::from(tag) / 64] >> (tag % 64) & 1 == 0 {
                return false;
            }
        }
        if self.has_mode(mode::PROMISCUOUS) {
            return true;
        }
        if *to == [0xFF; 6] {
            return !self.has_mode(mode::NO_BROADCAST);
        }
        if to[0] & 1 != 0 {
            let wanted = self.has_mode(mode::ALL_MULTI) || self.multicast.has(to);
            return wanted && !self.has_mode(mode::NO_MULTI);
        }
        let wanted = self.has_mode(mode::ALL_UNI) || *to == mac || self.unicast.has(to);
        wanted && !self.has_mode(mode::NO_UNI)
    }

    pub(super) fn save(&self) -> FilterStateV1 {
        let Self { modes, unicast, multicast, vlans } = self.clone();
        FilterStateV1 { modes, unicast, multicast, vlans: vlans.to_vec() }
    }
    pub(super) fn restored(state: &FilterStateV1) -> Option<Self> {
        let FilterStateV1 { modes, unicast, multicast, vlans } = state.clone();
        let few = [&unicast, &multicast].iter().all(|addresses| addresses.list.len() <= MOST_ADDRESSES);
        let vlans = vlans.try_into().ok()?;
        (few && modes >> mode::COUNT == 0).then_some(Self { modes, unicast, multicast, vlans })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: [u8; 6] = [0x52, 0x54, 0, 1, 2, 3];
    const OTHER: [u8; 6] = [0x52, 0x54, 0, 9, 9, 9];
    const GROUP: [u8; 6] = [1, 0, 0x5E, 0, 0, 1];

    fn frame(to: [u8; 6], vlan: Option<u16>) -> Vec<u8> {
        let mut frame = [to.as_slice(), &OTHER, &[8, 0], &[0; 50]].concat();
        if let Some(vlan) = vlan {
            frame.splice(12..12, [&TAGGED[..], &vlan.to_be_bytes()].concat());
        }
        frame
    }

    #[test]
    fn modes_addresses_and_vlans() {
        let mut filter = Filter::default();
        let wants = |filter: &Filter, to| filter.wants(&frame(to, None), MAC, true);
        assert!(wants(&filter, OTHER));
        filter.set_mode(mode::PROMISCUOUS, false);
        assert_eq!([MAC, OTHER, GROUP, [0xFF; 6]].map(|to| wants(&filter, to)), [true, false, false, true]);
        filter.set_addresses(vec![OTHER], vec![GROUP]);
        assert_eq!([OTHER, GROUP].map(|to| wants(&filter, to)), [true, true]);
        filter.set_addresses(Vec::new(), vec![MAC; MOST_ADDRESSES + 1]);
        assert_eq!([OTHER, GROUP].map(|to| wants(&filter, to)), [false, true]);
        for (mode, to) in [(mode::NO_BROADCAST, [0xFF; 6]), (mode::NO_MULTI, GROUP), (mode::NO_UNI, MAC)] {
            filter.set_mode(mode, true);
            assert!(!wants(&filter, to), "{mode}");
        }
        let mut filter = Filter::default();
        assert!(!filter.wants(&frame(MAC, Some(5)), MAC, true));
        assert!(filter.wants(&frame(MAC, Some(5)), MAC, false));
        assert!(filter.set_vlan(5, true) && !filter.set_vlan(4096, true));
        assert!(filter.wants(&frame(MAC, Some(0xE005)), MAC, true), "priority is no VLAN");
        assert!(!filter.wants(&[1, 2], MAC, false));
        assert_eq!(Filter::restored(&filter.save()), Some(filter));
    }
}
