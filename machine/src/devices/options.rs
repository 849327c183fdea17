//! Devices as a configuration names them: `isa-debug-exit,iobase=0xf4`.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use trimotor_bus::{PciAddress, Port};
use trimotor_devices::network::MacAddress;

/// An option of a kind of device.
#[derive(Clone, Copy, Debug)]
pub struct DeviceOption {
    /// Its name.
    pub name: &'static str,
    /// What its value is, as help prints it.
    pub value: &'static str,
    /// What it does, in a few words.
    pub help: &'static str,
}

/// A device in a configuration: its kind, and options by name.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DeviceConfig {
    /// The kind's name.
    pub kind: String,
    /// Its options.
    pub options: BTreeMap<String, String>,
}

impl DeviceConfig {
    /// A device without options.
    pub fn new(kind: &str) -> Self {
        Self { kind: kind.to_owned(), options: BTreeMap::new() }
    }
    /// With one option more.
    pub fn with(mut self, option: &str, value: impl fmt::Display) -> Self {
        self.options.insert(option.to_owned(), value.to_string());
        self
    }
}

/// `KIND[,OPTION=VALUE]...`
impl FromStr for DeviceConfig {
    type Err = DeviceError;
    fn from_str(text: &str) -> Result<Self, DeviceError> {
        let mut parts = text.split(',');
        let kind = super::kind(parts.next().unwrap_or_default())?;
        let mut config = DeviceConfig::new(kind.name);
        for part in parts {
            let refuse = |reason| DeviceError::Refused { device: kind.name.to_owned(), reason };
            let Some((name, value)) = part.split_once('=') else {
                return Err(refuse(format!("{part:?} has no value: options are written NAME=VALUE")));
            };
            if !kind.options.iter().any(|option| option.name == name) {
                let known: Vec<_> = kind.options.iter().map(|option| option.name).collect();
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                return Err(refuse(format!("no option {name:?}; its options: {known}")));
            }
            if config.options.insert(name.to_owned(), value.to_owned()).is_some() {
                return Err(refuse(format!("option {name} is given twice")));
            }
        }
        Ok(config)
    }
}

impl fmt::Display for DeviceConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.kind)?;
        self.options.iter().try_for_each(|(name, value)| write!(f, ",{name}={value}"))
    }
}

/// A device that a board cannot have.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DeviceError {
    /// It cannot be left out.
    #[error("{name:?} is no device that a board can be without; it can be without {known}")]
    NotRemovable {
        /// The name.
        name: String,
        /// Those that can be left out.
        known: String,
    },
    /// No such kind.
    #[error("there is no device {name:?}; there are {known} (`trimotor devices` lists them)")]
    Kind {
        /// The name.
        name: String,
        /// The names that there are.
        known: String,
    },
    /// A drive that the machine cannot have.
    #[error("drive {id}: {reason}")]
    Drive {
        /// The drive.
        id: String,
        /// Why.
        reason: String,
    },
    /// The kind is there, and cannot be added so.
    #[error("--device {device}: {reason}")]
    Refused {
        /// The device.
        device: String,
        /// Why, and what would help.
        reason: String,
    },
}

/// The options of one device while it is built.
pub struct Options<'a> {
    config: &'a DeviceConfig,
}

impl<'a> Options<'a> {
    /// Those of `config`.
    pub fn new(config: &'a DeviceConfig) -> Self {
        Self { config }
    }
    /// An option's value as it was written.
    pub fn text(&self, name: &str) -> Option<&'a str> {
        self.config.options.get(name).map(String::as_str)
    }
    /// A number, decimal or hexadecimal with 0x, between `least` and `most`.
    ///
    /// # Errors
    /// Something else.
    pub fn number(&self, name: &str, default: u64, least: u64, most: u64) -> Result<u64, DeviceError> {
        let Some(text) = self.text(name) else { return Ok(default) };
        let number = match text.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16),
            None => text.parse(),
        };
        match number {
            Ok(number) if (least..=most).contains(&number) => Ok(number),
            _ => Err(self.refuse(&format!("{name}={text}: not a number from {least:#x} to {most:#x}"))),
        }
    }
    /// A switch: `on` or `off`.
    ///
    /// # Errors
    /// Something else.
    pub fn switch(&self, name: &str, default: bool) -> Result<bool, DeviceError> {
        match self.text(name) {
            None => Ok(default),
            Some("on" | "true") => Ok(true),
            Some("off" | "false") => Ok(false),
            Some(text) => Err(self.refuse(&format!("{name}={text}: neither on nor off"))),
        }
    }
    /// A port.
    ///
    /// # Errors
    /// No port number.
    pub fn port(&self, name: &str, default: Port) -> Result<u16, DeviceError> {
        Ok(self.number(name, default.0.into(), 0, 0xFFFF)? as u16)
    }
    /// The place of a PCI card, `addr=SLOT` or `addr=SLOT.FUNCTION` in hexadecimal, if it is given.
    ///
    /// # Errors
    /// No place on bus 0.
    pub fn pci_address(&self) -> Result<Option<PciAddress>, DeviceError> {
        let Some(text) = self.text("addr") else { return Ok(None) };
        let (slot, function) = text.split_once('.').unwrap_or((text, "0"));
        let parsed = (u8::from_str_radix(slot.trim_start_matches("0x"), 16), function.parse());
        match parsed {
            (Ok(slot @ 0..=31), Ok(function @ 0..=7)) => Ok(Some(PciAddress::new(slot, function))),
            _ => {
                Err(self.refuse(&format!("addr={text}: not a slot from 0 to 1f with a function from 0 to 7")))
            }
        }
    }
    /// An Ethernet address, `mac=52:54:00:12:34:56`, if it is given.
    ///
    /// # Errors
    /// Something else, or the address of a group.
    pub fn mac(&self) -> Result<Option<MacAddress>, DeviceError> {
        let parse =
            |text: &str| text.parse().map_err(|reason: String| self.refuse(&format!("mac: {reason}")));
        self.text("mac").map(parse).transpose()
    }
    /// The error that this device cannot be built, for `reason`.
    pub fn refuse(&self, reason: &str) -> DeviceError {
        DeviceError::Refused { device: self.config.to_string(), reason: reason.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configurations_are_read_as_they_are_printed() {
        let config: DeviceConfig = "isa-debug-exit,iobase=0x501".parse().unwrap();
        assert_eq!(config, DeviceConfig::new("isa-debug-exit").with("iobase", "0x501"));
        assert_eq!(config.to_string(), "isa-debug-exit,iobase=0x501");
        assert_eq!(Options::new(&config).port("iobase", Port(0xF4)), Ok(0x501));
        let plain = DeviceConfig::new("isa-debug-exit");
        assert_eq!(Options::new(&plain).port("iobase", Port(0xF4)), Ok(0xF4));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, says) in [
            ("e1001", "there is no device \"e1001\""),
            ("pit", "there is no device \"pit\""),
            ("isa-debug-exit,iobase", "no value"),
            ("isa-debug-exit,port=3", "no option \"port\"; its options: iobase"),
            ("isa-serial,x=1", "its options: none"),
            ("isa-debug-exit,iobase=1,iobase=2", "twice"),
        ] {
            let error = text.parse::<DeviceConfig>().unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
        let config: DeviceConfig = "isa-debug-exit,iobase=65536".parse().unwrap();
        let error = Options::new(&config).port("iobase", Port(0)).unwrap_err().to_string();
        assert_eq!(
            error,
            "--device isa-debug-exit,iobase=65536: iobase=65536: not a number from 0x0 to 0xffff"
        );
    }

    #[test]
    fn places_of_cards_are_hexadecimal() {
        let card = |addr: &str| DeviceConfig::new("card").with("addr", addr);
        for (text, place) in [("3", Some((3, 0))), ("1f.7", Some((31, 7))), ("0x10", Some((16, 0)))] {
            let expected = place.map(|(slot, function)| PciAddress::new(slot, function));
            assert_eq!(Options::new(&card(text)).pci_address(), Ok(expected), "{text}");
        }
        for text in ["20", "3.8", "", "3.", "x"] {
            assert!(Options::new(&card(text)).pci_address().is_err(), "{text}");
        }
    }
}
