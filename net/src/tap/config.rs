//! How a TAP network is described: the options of `--netdev tap`, with QEMU's names.

use super::ioctl::NAME_BYTES;
use crate::error::NetError;
use std::os::fd::RawFd;
use std::path::PathBuf;

/// The options, with what they are for.
pub const OPTIONS: &[(&str, &str)] = &[
    ("ifname", "NAME: the interface; one that is there, or a new one (tap%d: the first that is free)"),
    ("script", "FILE|no: a program that sets the interface up; it is given the name (no)"),
    ("downscript", "FILE|no: a program that is run at the end (no)"),
    ("br", "BRIDGE: have the bridge helper make an interface on this bridge"),
    ("helper", "FILE: the bridge helper (QEMU's)"),
    ("vnet_hdr", "on|off: leave checksums and segments of TCP to the host's kernel (on)"),
    ("queues", "COUNT: queues of the interface, one for each pair of a virtio card's (1)"),
    ("fd", "NUMBER: an open interface that this program was started with"),
    ("fds", "NUMBER:NUMBER...: the same, with several queues"),
    ("vhost", "off: there is no vhost, as the card is in this program"),
];

/// Queues of an interface at most, as many as a card has pairs of them.
pub const MOST_QUEUES: u16 = 16;
/// Options that say how an interface is opened, which one that is open already does not need.
const OPENING: [&str; 6] = ["ifname", "script", "downscript", "br", "helper", "vnet_hdr"];

/// Where Linux distributions have QEMU's bridge helper.
const HELPERS: [&str; 3] = [
    "/usr/lib/qemu/qemu-bridge-helper",
    "/usr/libexec/qemu-bridge-helper",
    "/usr/local/libexec/qemu-bridge-helper",
];

/// A TAP network, as it is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TapConfig {
    /// The interface.
    pub interface: String,
    /// A program that sets the interface up.
    pub script: Option<PathBuf>,
    /// A program that is run at the end.
    pub downscript: Option<PathBuf>,
    /// The bridge that the helper puts an interface on.
    pub bridge: Option<String>,
    /// The helper, if not one of the usual ones.
    pub helper: Option<PathBuf>,
    /// Checksums and segments are left to the kernel.
    pub offloads: bool,
    /// Queues, from 1 to [`MOST_QUEUES`].
    pub queues: u16,
    /// The numbers of the files that it is opened by, a file for each queue; empty: it is opened by its name.
    pub files: Vec<RawFd>,
}

impl Default for TapConfig {
    fn default() -> Self {
        Self {
            interface: "tap%d".into(),
            script: None,
            downscript: None,
            bridge: None,
            helper: None,
            offloads: true,
            queues: 1,
            files: Vec::new(),
        }
    }
}

impl TapConfig {
    /// A network from options and their values.
    ///
    /// # Errors
    /// An option is unknown, or a value is not one.
    pub fn from_options<'a>(options: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, NetError> {
        let mut config = Self::default();
        let mut given = Vec::new();
        for (option, value) in options {
            config.set(option, value)?;
            given.push((option, value));
        }
        let files = given.iter().find(|(option, _)| matches!(*option, "fd" | "fds"));
        if let Some((option, value)) = files {
            let also = |name: &str| given.iter().any(|(option, _)| *option == name);
            if let Some(other) = OPENING.iter().chain(&["queues"]).find(|name| also(name)) {
                let problem = format!("the interface is open already: {other}= says nothing beside it");
                return Err(NetError::value(option, value, problem));
            }
            if also("fd") && also("fds") {
                return Err(NetError::value(option, value, "fd= and fds= say the same: give one of them"));
            }
        }
        if config.queues > 1 && config.bridge.is_some() {
            let problem = "the bridge helper makes interfaces with one queue; make one with several on the bridge by `ip tuntap`, \
                           and name it with ifname=";
            return Err(NetError::value("queues", &config.queues.to_string(), problem));
        }
        Ok(config)
    }
    /// Sets one option.
    ///
    /// # Errors
    /// It is unknown, or the value is not one.
    pub fn set(&mut self, option: &str, value: &str) -> Result<(), NetError> {
        let program = || (value != "no" && !value.is_empty()).then(|| PathBuf::from(value));
        match option {
            "ifname" => self.interface = interface(option, value)?,
            "script" => self.script = program(),
            "downscript" => self.downscript = program(),
            "br" => self.bridge = Some(interface(option, value)?),
            "helper" => self.helper = program(),
            "queues" => {
                let count = value.parse().ok().filter(|count| (1..=MOST_QUEUES).contains(count));
                let wrong =
                    || NetError::value(option, value, format!("expected a number from 1 to {MOST_QUEUES}"));
                self.queues = count.ok_or_else(wrong)?;
            }
            "fd" => self.files = vec![file(option, value)?],
            "fds" => {
                self.files = value.split(':').map(|number| file(option, number)).collect::<Result<_, _>>()?;
                let twice = |at: usize| self.files[..at].contains(&self.files[at]);
                if (0..self.files.len()).any(twice) || self.files.len() > usize::from(MOST_QUEUES) {
                    let problem =
                        format!("expected up to {MOST_QUEUES} different numbers with colons between them");
                    return Err(NetError::value(option, value, problem));
                }
            }
            "vhost" if value == "off" => {}
            "vhost" | "vhostfd" | "vhostfds" | "vhostforce" => {
                let problem = "there is no vhost: the card is in this program, which moves the frames itself; leave it out";
                return Err(NetError::value(option, value, problem));
            }
            "vnet_hdr" => {
                self.offloads = match value {
                    "on" | "" => true,
                    "off" => false,
                    _ => return Err(NetError::value(option, value, "expected on or off")),
                }
            }
            _ => {
                let known = OPTIONS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
                return Err(NetError::Option { network: "tap", option: option.into(), known });
            }
        }
        Ok(())
    }
    /// The bridge helper.
    ///
    /// # Errors
    /// There is none.
    pub fn find_helper(&self) -> Result<PathBuf, NetError> {
        let usual = || HELPERS.iter().map(PathBuf::from).find(|path| path.exists());
        self.helper.clone().or_else(usual).ok_or_else(|| NetError::Missing {
            network: "tap",
            problem: format!(
                "no bridge helper at {}; install QEMU's (Debian: qemu-system-common), or say helper=FILE",
                HELPERS.join(", ")
            ),
        })
    }
}

/// The number of a file that this program was started with.
fn file(option: &str, value: &str) -> Result<RawFd, NetError> {
    // The first three are input, output and messages.
    let number = value.parse().ok().filter(|number| *number > 2);
    number.ok_or_else(|| NetError::value(option, value, "expected the number of an open file, from 3 on"))
}

/// A name that Linux takes for an interface.
fn interface(option: &str, value: &str) -> Result<String, NetError> {
    let is_right = |byte: u8| byte.is_ascii_graphic() && byte != b'/' && byte != b':';
    match (1..NAME_BYTES).contains(&value.len())
        && value.bytes().all(is_right)
        && value != "."
        && value != ".."
    {
        true => Ok(value.into()),
        false => {
            Err(NetError::value(option, value, "an interface's name has 1 to 15 characters, no / and no :"))
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read() {
        let config =
            TapConfig::from_options([("ifname", "tap7"), ("script", "no"), ("vnet_hdr", "off")]).unwrap();
        assert_eq!((config.interface.as_str(), config.script, config.offloads), ("tap7", None, false));
        for (option, value) in [("ifname", "a/b"), ("ifname", ""), ("ifname", "sixteen-letters-"), ("x", "y")]
        {
            assert!(TapConfig::from_options([(option, value)]).is_err(), "{option}={value}");
        }
    }

    #[test]
    fn queues_and_files_are_read() {
        let config =
            TapConfig::from_options([("ifname", "tap7"), ("queues", "4"), ("vhost", "off")]).unwrap();
        assert_eq!((config.queues, config.files), (4, vec![]));
        assert_eq!(TapConfig::from_options([("fd", "7")]).unwrap().files, [7]);
        assert_eq!(TapConfig::from_options([("fds", "7:9:8")]).unwrap().files, [7, 9, 8]);
        for (options, says) in [
            (&[("queues", "0")][..], "from 1 to 16"),
            (&[("queues", "17")], "from 1 to 16"),
            (&[("queues", "2"), ("br", "br0")], "one queue"),
            (&[("vhost", "on")], "there is no vhost"),
            (&[("vhostfd", "3")], "there is no vhost"),
            (&[("fd", "x")], "number of an open file"),
            (&[("fd", "2")], "from 3 on"),
            (&[("fds", "3:3")], "different numbers"),
            (&[("fds", "3:")], "number of an open file"),
            (&[("fd", "3"), ("fds", "4:5")], "give one of them"),
            (&[("ifname", "tap7"), ("fd", "3")], "ifname= says nothing"),
            (&[("fds", "3:4"), ("queues", "2")], "queues= says nothing"),
        ] {
            let error = TapConfig::from_options(options.iter().copied()).unwrap_err().to_string();
            assert!(error.contains(says), "{options:?}: {error}");
        }
    }
}
