//! The expansion ROMs of cards: what firmware boots from a network with.

use super::cards;
use crate::error::Failure;
use crate::note::note;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use trimotor_machine::DeviceConfig;

/// The largest ROM.
const MOST_BYTES: u64 = 16 << 20;
/// What a ROM begins with (PCI Local Bus Specification 3.0, "PCI Expansion ROM Header Format").
const SIGNATURE: [u8; 2] = [0x55, 0xAA];
/// Where Debian, Fedora and others put iPXE's ROMs. A file's name alone is looked for there, as QEMU does.
const FOLDERS: [&str; 4] =
    ["/usr/lib/ipxe/qemu", "/usr/share/ipxe/qemu", "/usr/share/qemu", "/usr/share/ipxe"];

/// Reads the ROMs that cards name. Where the machine boots from the network, cards without one get iPXE's.
///
/// # Errors
/// A file that cannot be read, or is no ROM.
pub fn read(
    devices: &mut [DeviceConfig],
    boots_from_network: bool,
) -> Result<BTreeMap<String, Vec<u8>>, Failure> {
    if boots_from_network {
        devices.iter_mut().filter(|device| cards::is_card(device)).for_each(give);
    }
    let named = devices.iter().filter_map(|device| device.options.get("romfile"));
    named.filter(|name| !name.is_empty()).map(|name| Ok((name.clone(), open(name)?))).collect()
}

/// Gives a card the ROM that iPXE has for it.
fn give(card: &mut DeviceConfig) {
    if card.options.contains_key("romfile") {
        return;
    }
    let model = if card.kind.starts_with("virtio") { "virtio" } else { card.kind.as_str() };
    let name = format!("pxe-{model}.rom");
    match find(&name) {
        Some(path) => _ = card.options.insert("romfile".to_owned(), path.to_string_lossy().into_owned()),
        None => note(format_args!(
            "trimotor: to boot from the network the card needs a ROM, and {name} is nowhere: install iPXE's (Debian: \
             apt-get install ipxe-qemu), or give romfile=FILE to the card"
        )),
    }
}
fn find(name: &str) -> Option<PathBuf> {
    FOLDERS.iter().map(|folder| Path::new(folder).join(name)).find(|path| path.is_file())
}

fn open(name: &str) -> Result<Vec<u8>, Failure> {
    let path = Path::new(name);
    let elsewhere = if path.exists() || name.contains('/') { None } else { find(name) };
    let mut bytes = Vec::new();
    let read = File::open(elsewhere.as_deref().unwrap_or(path))
        .and_then(|file| file.take(MOST_BYTES + 1).read_to_end(&mut bytes));
    read.map_err(|error| Failure::bad(format!("romfile={name}: {error}")))?;
    if bytes.len() as u64 > MOST_BYTES || !bytes.starts_with(&SIGNATURE) {
        let reason = "is no expansion ROM: such a file begins with the bytes 55 AA, and has at most 16M";
        return Err(Failure::bad(format!("romfile={name}: {reason}")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_no_rom_are_refused_by_name() {
        for (name, says) in [
            ("/nonexistent", "No such file"),
            ("/dev/null", "no expansion ROM"),
            ("/dev/zero", "no expansion ROM"),
        ] {
            let mut devices = [DeviceConfig::new("e1000").with("romfile", name)];
            let error = read(&mut devices, false).unwrap_err().to_string();
            assert!(error.starts_with(&format!("romfile={name}: ")) && error.contains(says), "{error}");
        }
        let mut without = [DeviceConfig::new("e1000").with("romfile", "")];
        assert!(read(&mut without, true).unwrap().is_empty());
    }
}
