//! The Ethernet addresses of this machine's cards.
//!
//! Two machines on a network need different ones, and one machine should keep its own: systems name their interfaces, and
//! routers lease addresses, by them. So they are made from the host's identity and the machine's first drive; a machine without drives has
//! others each time. With `--icount` they are always the same, as all is.

use super::{Machine, cards};
use crate::host_services;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use trimotor_devices::network::MacAddress;
use trimotor_machine::DeviceConfig;
use trimotor_net::{MacTranslation, NetBackend};

/// The prefix of QEMU's and KVM's virtual cards. It is none of a manufacturer's.
const PREFIX: [u8; 3] = [0x52, 0x54, 0x00];
/// What tells hosts apart.
const MACHINE_ID: &str = "/etc/machine-id";

/// Gives an address to each card that has none.
pub fn give(devices: &mut [DeviceConfig], machine: &Machine<'_>) {
    if machine.counted {
        return;
    }
    let seed = machine.identity.and_then(of_file).unwrap_or_else(|| host_services::random_seed(false));
    let nameless =
        devices.iter_mut().filter(|device| cards::is_card(device) && !device.options.contains_key("mac"));
    for (number, device) in nameless.enumerate() {
        device.options.insert("mac".to_owned(), address(seed, number as u64).to_string());
    }
}

/// Has the network of each card see another address than the guest has, which was saved with it: other clones have the same one.
pub fn translate(networks: &mut BTreeMap<String, Arc<dyn NetBackend>>, devices: &[DeviceConfig]) {
    let seed = host_services::random_seed(false);
    for (number, card) in devices.iter().filter(|device| cards::is_card(device)).enumerate() {
        let guest = card.options.get("mac").and_then(|mac| mac.parse::<MacAddress>().ok());
        let network = card.options.get("netdev").and_then(|id| networks.get_mut(id));
        if let (Some(guest), Some(network)) = (guest, network) {
            let seen = address(seed, number as u64);
            *network = Arc::new(MacTranslation::new(network.clone(), guest.0, seen.0));
        }
    }
}

/// A number that the same file on the same host always has.
fn of_file(path: &Path) -> Option<u64> {
    let path = path.canonicalize().ok()?;
    let host = std::fs::read(MACHINE_ID).unwrap_or_default();
    Some(fnv(&[host.as_slice(), path.as_os_str().as_encoded_bytes()].concat()))
}
/// FNV-1a: short, and the same in each build.
fn fnv(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3))
}
fn address(seed: u64, number: u64) -> MacAddress {
    let mixed = fnv(&[seed.to_le_bytes(), number.to_le_bytes()].concat());
    let [a, b, c] = PREFIX;
    let [d, e, f, ..] = (mixed ^ mixed >> 32).to_le_bytes();
    MacAddress([a, b, c, d, e, f])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_keeps_its_addresses_and_others_have_others() {
        let given = |identity: Option<&str>, counted| {
            let card = DeviceConfig::new("e1000");
            let named = DeviceConfig::new("e1000").with("mac", "52:54:00:00:00:09");
            let mut devices = [card.clone(), named, DeviceConfig::new("isa-serial"), card];
            let machine = Machine {
                devices: &[],
                boots_from_drives: true,
                boots_from_network: false,
                counted,
                identity: identity.map(Path::new),
            };
            give(&mut devices, &machine);
            devices.map(|device| device.options.get("mac").cloned())
        };
        let (own, other) = (given(Some("/etc/passwd"), false), given(Some("/etc/group"), false));
        assert_eq!(own, given(Some("/etc/../etc/passwd"), false));
        assert_eq!(own[1].as_deref(), Some("52:54:00:00:00:09"));
        assert!(own[0].as_ref().unwrap().starts_with("52:54:00:") && own[2].is_none());
        assert!(own[0] != own[3] && own[0] != other[0]);
        assert_ne!(given(None, false), given(None, false));
        assert_eq!(given(None, true)[0], None, "the board's own");
    }
}
