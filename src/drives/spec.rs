//! The texts behind `--drive` and `--boot`: options with commas between them, as QEMU takes them.

use super::limits::LimitSpec;
use std::path::PathBuf;
use std::str::FromStr;
use trimotor_machine::{BootConfig, BootDevice, DriveLimits, OnDiskError};
use trimotor_storage::{CacheMode, Format};

/// A serial number's most characters, as IDENTIFY DEVICE has room for.
const MAX_SERIAL: usize = 20;

/// Which controller a drive is at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Interface {
    Ide,
    /// A virtio disk.
    Virtio,
    Floppy,
    /// UEFI firmware's flash memory.
    Flash,
    None,
}

/// A drive as `--drive` names it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DriveSpec {
    pub file: Option<PathBuf>,
    pub interface: Interface,
    pub id: Option<String>,
    pub cdrom: bool,
    pub index: Option<u8>,
    pub bus: Option<u8>,
    pub unit: Option<u8>,
    pub format: Option<Format>,
    pub snapshot: bool,
    pub read_only: bool,
    pub cache: CacheMode,
    pub discard: bool,
    pub serial: Option<String>,
    pub on_write_error: OnDiskError,
    pub on_read_error: OnDiskError,
    pub limits: DriveLimits,
}

impl DriveSpec {
    /// A drive with the defaults of all options.
    pub fn new(file: Option<PathBuf>, interface: Interface) -> Self {
        Self {
            file,
            interface,
            id: None,
            cdrom: false,
            index: None,
            bus: None,
            unit: None,
            format: None,
            snapshot: false,
            read_only: false,
            cache: CacheMode::default(),
            discard: false,
            serial: None,
            on_write_error: OnDiskError::StopWithoutSpace,
            on_read_error: OnDiskError::Report,
            limits: DriveLimits::default(),
        }
    }
    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let expected = |what: &str| Err(format!("{name}={value}: {what}"));
        match name {
            "file" if value.is_empty() => return expected("names no file"),
            "file" => self.file = Some(PathBuf::from(value)),
            "if" => {
                self.interface = match value {
                    "ide" => Interface::Ide,
                    "floppy" => Interface::Floppy,
                    "pflash" => Interface::Flash,
                    "virtio" => Interface::Virtio,
                    "none" => Interface::None,
                    _ => return expected("there are ide, virtio, floppy, pflash and none"),
                }
            }
            "id" => {
                let letters = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
                if !value.starts_with(|c: char| c.is_ascii_alphabetic()) || !value.chars().all(letters) {
                    return expected("begins with a letter, and has letters, digits, - . _");
                }
                self.id = Some(value.to_owned());
            }
            "media" => {
                self.cdrom = match value {
                    "disk" => false,
                    "cdrom" => true,
                    _ => return expected("there are disk and cdrom"),
                }
            }
            "index" => self.index = Some(number(name, value)?),
            "bus" => self.bus = Some(number(name, value)?),
            "unit" => self.unit = Some(number(name, value)?),
            "format" => self.format = Some(value.parse()?),
            "snapshot" => self.snapshot = switch(name, value)?,
            "readonly" | "read-only" => self.read_only = switch(name, value)?,
            "cache" => {
                self.cache = match value {
                    "writeback" => CacheMode::Writeback,
                    "none" => CacheMode::None,
                    "writethrough" => CacheMode::Writethrough,
                    "unsafe" => CacheMode::Unsafe,
                    _ => return expected("there are writeback, none, writethrough and unsafe"),
                }
            }
            "discard" => {
                self.discard = match value {
                    "unmap" | "on" => true,
                    "ignore" | "off" => false,
                    _ => return expected("there are unmap and ignore"),
                }
            }
            "serial" => {
                let printable = value.bytes().all(|byte| (b' '..=b'~').contains(&byte));
                if value.len() > MAX_SERIAL || !printable {
                    return expected("up to 20 printable ASCII characters");
                }
                self.serial = Some(value.to_owned());
            }
            "werror" => self.on_write_error = on_error(name, value)?,
            "rerror" => self.on_read_error = on_error(name, value)?,
            _ => return Err(format!("no option {name:?} (see `trimotor run --help`)")),
        }
        Ok(())
    }
}

impl FromStr for DriveSpec {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let mut drive = DriveSpec::new(None, Interface::Ide);
        let mut limits = LimitSpec::default();
        for (name, value) in options(text)? {
            match limits.set(&name, &value) {
                Some(taken) => taken?,
                None => drive.set(&name, &value)?,
            }
        }
        drive.limits = limits.limits()?;
        if drive.interface == Interface::Flash && !drive.limits.is_none() {
            return Err(
                "a flash memory has no limits: bps= and iops= are for disks, CDs and floppies".to_owned()
            );
        }
        if drive.index.is_some() && (drive.bus.is_some() || drive.unit.is_some()) {
            return Err("index= and bus=,unit= say the same: give one of them".to_owned());
        }
        if drive.cdrom && matches!(drive.interface, Interface::Floppy | Interface::Flash | Interface::Virtio)
        {
            return Err("media=cdrom: only IDE drives take CDs".to_owned());
        }
        Ok(drive)
    }
}

/// What `--boot` says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BootSpec(pub BootConfig);

impl FromStr for BootSpec {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let mut boot = BootConfig::default();
        if !text.contains('=') {
            boot.order = order(text)?;
            return Ok(Self(boot));
        }
        for (name, value) in options(text)? {
            match name.as_str() {
                "order" => boot.order = order(&value)?,
                "once" => boot.once = Some(order(&value)?),
                "menu" => boot.menu = switch(&name, &value)?,
                "splash-time" => {
                    let time = value.parse().ok().filter(|time| *time <= 0xFFFF);
                    boot.splash_ms = Some(time.ok_or("splash-time: milliseconds, up to 65535")?);
                }
                _ => return Err(format!("no option {name:?}: there are order, once, menu and splash-time")),
            }
        }
        Ok(Self(boot))
    }
}

/// Letters of drives.
fn order(text: &str) -> Result<Vec<BootDevice>, String> {
    let mut order = Vec::new();
    for letter in text.chars() {
        let device = match letter {
            'a' | 'b' => BootDevice::Floppy,
            'c' => BootDevice::Disk,
            'd' => BootDevice::Cdrom,
            'n' => BootDevice::Network,
            _ => {
                return Err(format!(
                    "{letter:?}: the letters are a (floppy), c (hard disk), d (CD), n (network)"
                ));
            }
        };
        if order.contains(&device) {
            return Err(format!("{text}: a kind of drive is named twice"));
        }
        order.push(device);
    }
    if order.is_empty() { Err("names no drive".to_owned()) } else { Ok(order) }
}

/// `NAME=VALUE,NAME=VALUE`; a comma in a value is doubled.
fn options(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut parts = vec![String::new()];
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match (letter, parts.last_mut()) {
            (',', _) if letters.peek() != Some(&',') => parts.push(String::new()),
            (',', Some(part)) => {
                letters.next();
                part.push(',');
            }
            (_, Some(part)) => part.push(letter),
            (_, None) => {}
        }
    }
    let mut options: Vec<(String, String)> = Vec::new();
    for part in parts {
        let Some((name, value)) = part.split_once('=') else {
            return Err(format!(
                "{part:?} has no value: options are written NAME=VALUE, as in file=disk.img"
            ));
        };
        if options.iter().any(|(other, _)| other == name) {
            return Err(format!("option {name} is given twice"));
        }
        options.push((name.to_owned(), value.to_owned()));
    }
    Ok(options)
}

fn number(name: &str, value: &str) -> Result<u8, String> {
    value.parse().map_err(|_| format!("{name}={value}: not a number from 0 to 255"))
}

fn switch(name: &str, value: &str) -> Result<bool, String> {
    match value {
        "on" | "yes" => Ok(true),
        "off" | "no" => Ok(false),
        _ => Err(format!("{name}={value}: write on or off")),
    }
}

fn on_error(name: &str, value: &str) -> Result<OnDiskError, String> {
    match value {
        "report" => Ok(OnDiskError::Report),
        "ignore" => Ok(OnDiskError::Ignore),
        "stop" => Ok(OnDiskError::Stop),
        "enospc" => Ok(OnDiskError::StopWithoutSpace),
        _ => Err(format!("{name}={value}: there are report, ignore, stop and enospc")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trimotor_machine::{Rate, Rates};

    #[test]
    fn drives_are_read() {
        let text = "file=a,,b.img,if=none,id=d1,bus=1,unit=0,format=raw,snapshot=on,readonly=on,\
                    cache=writethrough,discard=unmap,serial=S 1,werror=stop,rerror=ignore,iops=50";
        let drive: DriveSpec = text.parse().unwrap();
        let expected = DriveSpec {
            id: Some("d1".to_owned()),
            bus: Some(1),
            unit: Some(0),
            format: Some(Format::Raw),
            snapshot: true,
            read_only: true,
            cache: CacheMode::Writethrough,
            discard: true,
            serial: Some("S 1".to_owned()),
            on_write_error: OnDiskError::Stop,
            on_read_error: OnDiskError::Ignore,
            limits: DriveLimits {
                requests: Rates { total: Some(Rate { per_s: 50, burst: None }), ..Rates::default() },
                ..DriveLimits::default()
            },
            ..DriveSpec::new(Some(PathBuf::from("a,b.img")), Interface::None)
        };
        assert_eq!(drive, expected);
    }

    #[test]
    fn what_is_wrong_with_a_drive_is_said() {
        for (text, says) in [
            ("disk.img", "file=disk.img"),
            ("file=", "names no file"),
            ("file=a,if=scsi", "ide, virtio, floppy, pflash and none"),
            ("file=a,id=1", "begins with a letter"),
            ("file=a,file=b", "given twice"),
            ("file=a,index=0,unit=1", "give one of them"),
            ("file=a,index=-1", "0 to 255"),
            ("file=a,if=floppy,media=cdrom", "only IDE drives take CDs"),
            ("file=a,turbo=on", "no option \"turbo\""),
            ("file=a,bps=fast", "bps=fast: expected a number"),
            ("file=a,if=pflash,bps=5", "a flash memory has no limits"),
            ("file=a,werror=maybe", "enospc"),
            ("file=a,snapshot=maybe", "on or off"),
            ("file=a,format=dmg", "qcow2"),
            ("file=a,serial=123456789012345678901", "20"),
        ] {
            let error = text.parse::<DriveSpec>().unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn boot_orders_are_read() {
        use BootDevice::{Cdrom, Disk, Floppy, Network};
        let boot = |text: &str| text.parse::<BootSpec>().map(|spec| spec.0);
        let config = boot("order=cdan,once=d,menu=on,splash-time=3000").unwrap();
        assert_eq!(config.order, [Disk, Cdrom, Floppy, Network]);
        assert_eq!((config.once, config.menu, config.splash_ms), (Some(vec![Cdrom]), true, Some(3000)));
        assert_eq!(boot("d").unwrap().order, [Cdrom]);
        for text in
            ["x", "", "order=", "order=cc", "menu=maybe", "splash-time=65536", "strict=on", "c,menu=on"]
        {
            assert!(boot(text).is_err(), "{text}");
        }
    }
}
