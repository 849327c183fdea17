//! The VM generation ID: when a machine gets another one, and which.
//!
//! | what happens | ID |
//! |---|---|
//! | the machine is made | the configuration's, or one that follows from its random seed |
//! | it goes on from a file, alone | stays: it is the same machine |
//! | it goes on from a file as one of many | another one |
//! | it goes back to a snapshot (`loadvm`) | another one, neither the snapshot's nor that of the run that is lost |
//!
//! With the host's clock a new ID is of the host's random bytes. With a counted clock it follows from those before, so that a run is the
//! same each time: then two clones have the same, unless one is given.

use crate::board::Board;
use crate::config::{ClockSource, MachineConfig};
use crate::devices::{DeviceConfig, DeviceError, Options};
use crate::machine::Machine;
use trimotor_bus::board;
use trimotor_devices::vmgenid::Guid;

/// The device's name in a configuration and on the board.
pub const VMGENID: &str = "vmgenid";
/// Its option with the ID.
pub const GUID: &str = "guid";
/// The value of it that leaves the choice to the machine.
pub const AUTO: &str = "auto";

impl Machine {
    /// The VM generation ID, where the machine has one.
    pub fn generation_id(&self) -> Option<Guid> {
        self.board.generation_id()
    }
    /// Makes this another machine than it was: its guest finds this VM generation ID, or a new one, and is told. The machine must not
    /// run. False: it has no such device.
    pub fn begin_generation(&mut self, id: Option<Guid>) -> bool {
        let Some(now) = self.generation_id() else { return false };
        let id = id.unwrap_or_else(|| self.new_generation_id(now, now));
        self.board.set_generation_id(id);
        true
    }
    /// The same where the machine went back; it had the ID `before`.
    pub(crate) fn begin_generation_after(&mut self, before: Option<Guid>) {
        if let (Some(before), Some(now)) = (before, self.generation_id()) {
            let id = self.new_generation_id(before, now);
            self.board.set_generation_id(id);
        }
    }
    /// An ID that is new to a machine that had the ID `before` and is in a state with the ID `now`.
    fn new_generation_id(&self, before: Guid, now: Guid) -> Guid {
        match &self.host_state {
            Some(host) if self.config.clock == ClockSource::Host => Guid::of_random(host.random()),
            _ => following(before, now),
        }
    }
}

impl Board {
    fn generation_id(&self) -> Option<Guid> {
        self.refs.vmgenid.map(|device| self.devices.with(device, |device| device.id()))
    }
    fn set_generation_id(&self, id: Guid) {
        if let Some(device) = self.refs.vmgenid {
            self.devices.with(device, |device| device.set_id(id));
        }
        // The GUID first: the guest looks when it hears of it.
        if let Some(power) = self.refs.power {
            self.devices.with(power, |power| power.registers.raise_gpe(board::GENERATION_GPE));
        }
    }
    /// Tells the device where the tables of a boot plan, which runs no firmware, have its page.
    pub(crate) fn place_generation_page(&self) {
        if let Some(device) = self.refs.vmgenid {
            self.devices.with(device, |device| device.set_page(board::GENERATION_PAGE));
        }
    }
}

/// The ID that a new machine has.
///
/// # Errors
/// The option `guid` is no GUID.
pub(crate) fn first_id(config: &MachineConfig, options: &Options<'_>) -> Result<Guid, DeviceError> {
    match options.text(GUID) {
        None | Some(AUTO) => {
            let seed = u128::from(config.random_seed);
            Ok(following(Guid(seed.to_be_bytes()), Guid([0; 16])))
        }
        Some(text) => text.parse().map_err(|reason: String| options.refuse(&format!("{GUID}={reason}"))),
    }
}

/// These devices but for the VM generation ID, which is another one in each generation.
pub(crate) fn without_ids(devices: &[DeviceConfig]) -> Vec<DeviceConfig> {
    let mut devices = devices.to_vec();
    for device in devices.iter_mut().filter(|device| device.kind == VMGENID) {
        device.options.remove(GUID);
    }
    devices
}

/// An ID that follows from two others, and is most likely neither (the halves are mixed as MurmurHash3 finishes its own).
fn following(before: Guid, now: Guid) -> Guid {
    const ODD: u64 = 0x9E37_79B9_7F4A_7C15;
    let halves = [before, now].map(|id| u128::from_be_bytes(id.0)).map(|id| [(id >> 64) as u64, id as u64]);
    let half = |start: u64| {
        halves.iter().flatten().fold(start, |mixed, half| {
            let mut mixed = (mixed ^ half).wrapping_mul(ODD);
            mixed = (mixed ^ mixed >> 33).wrapping_mul(0xFF51_AFD7_ED55_8CCD);
            mixed = (mixed ^ mixed >> 33).wrapping_mul(0xC4CE_B9FE_1A85_EC53);
            mixed ^ mixed >> 33
        })
    };
    Guid::of_random((u128::from(half(1)) << 64 | u128::from(half(2))).to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn ids_that_follow_are_new() {
        let mut seen = BTreeSet::new();
        let mut id = Guid([0; 16]);
        for number in 0..1000u128 {
            assert!(seen.insert(id.0));
            let other = Guid((number + 1).to_be_bytes());
            assert!(seen.insert(following(id, other).0) && seen.insert(following(other, id).0));
            id = following(id, id);
        }
    }
}
