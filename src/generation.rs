//! `--vmgenid`: the VM generation ID, by which a guest learns that it is another machine than it was.

use crate::error::Failure;
use std::str::FromStr;
use trimotor_machine::generation::{AUTO, GUID, VMGENID};
use trimotor_machine::{DeviceConfig, Guid, Machine};

/// Which ID the guest finds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Generation {
    /// A random one.
    Auto,
    /// This one.
    Is(Guid),
}

impl FromStr for Generation {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if text == AUTO {
            return Ok(Self::Auto);
        }
        text.parse().map(Self::Is).map_err(|reason| format!("{reason}, or {AUTO}"))
    }
}

impl Generation {
    /// The device that a machine gets.
    pub fn device(self) -> DeviceConfig {
        match self {
            Self::Auto => DeviceConfig::new(VMGENID),
            Self::Is(id) => DeviceConfig::new(VMGENID).with(GUID, id),
        }
    }
    /// Has a machine that goes on from a file be another one.
    ///
    /// # Errors
    /// It was saved without the device.
    pub fn begin(self, machine: &mut Machine) -> Result<(), Failure> {
        let id = match self {
            Self::Auto => None,
            Self::Is(id) => Some(id),
        };
        if machine.begin_generation(id) {
            return Ok(());
        }
        Err(Failure::bad(
            "--vmgenid: the machine was saved without the device, which a guest finds when it boots only",
        ))
    }
}
