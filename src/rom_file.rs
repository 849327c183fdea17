//! Firmware from files: `--bios`, `--pflash`, `--vga-rom`, `--option-rom`.

use crate::args::RunArgs;
use crate::drives;
use crate::error::Failure;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use trimotor_firmware::boot::Bytes;

/// The largest ROM below 4 GiB.
const MOST_BYTES: u64 = 16 << 20;
/// ROMs are whole blocks of so many bytes: the windows below 1 MiB are as large.
const BLOCK: u64 = 64 << 10;
/// Flash memory has smaller ones.
const FLASH_BLOCK: u64 = 4 << 10;
/// The largest option ROM: there is no more room below 1 MiB.
const MOST_OPTION_ROM_BYTES: u64 = 128 << 10;
const OPTION_ROM_BLOCK: u64 = 512;

/// A ROM image, which is kept: a machine that starts over finds the same.
pub(crate) struct RomFile {
    /// Its path.
    pub(crate) name: String,
    /// Its content.
    pub(crate) bytes: Vec<u8>,
}

impl RomFile {
    /// Reads a file of whole blocks.
    fn open(flag: &str, path: &Path, most: u64, block: u64) -> Result<Self, Failure> {
        let name = path.to_string_lossy().into_owned();
        let mut bytes = Vec::new();
        // One byte more than the limit tells that a file is too large, or has no end.
        let read = File::open(path).and_then(|file| file.take(most + 1).read_to_end(&mut bytes));
        read.map_err(|error| Failure::bad(format!("{flag} {name}: {error}")))?;
        let size = bytes.len() as u64;
        if size == 0 || size > most || !size.is_multiple_of(block) {
            return Err(Failure::bad(format!(
                "{flag} {name}: {}{} are no ROM: it has at most {}, in whole blocks of {}",
                if size > most { "more than " } else { "" },
                Bytes(size.min(most)),
                Bytes(most),
                Bytes(block),
            )));
        }
        Ok(Self { name, bytes })
    }
}

/// What firmware the command line asks for.
pub(crate) struct Firmware {
    /// The ROM; none: the built-in BIOS.
    pub(crate) rom: Option<RomFile>,
    /// Files for it, by their names in fw_cfg: option ROMs.
    pub(crate) files: Vec<(String, Vec<u8>)>,
    /// The VGA's ROM, where it is not the built-in one.
    pub(crate) vga_rom: Option<RomFile>,
}

impl Firmware {
    /// Reads the files.
    ///
    /// # Errors
    /// [`Failure::BadInput`] for a file that cannot be read or is no ROM by its size.
    pub(crate) fn open(run: &RunArgs) -> Result<Self, Failure> {
        let code = drives::flash::code(&run.machine.drives)?;
        let rom = match (&run.bios, code.as_ref().and_then(|spec| spec.file.as_deref())) {
            (Some(_), Some(_)) => {
                return Err(Failure::bad(
                    "--bios and --pflash: both are the firmware's code; give one of them",
                ));
            }
            (Some(path), None) => Some(RomFile::open("--bios", path, MOST_BYTES, BLOCK)?),
            (None, Some(path)) => Some(RomFile::open("--pflash", path, MOST_BYTES, FLASH_BLOCK)?),
            (None, None) => None,
        };
        let option_rom =
            |flag: &str, path: &Path| RomFile::open(flag, path, MOST_OPTION_ROM_BYTES, OPTION_ROM_BLOCK);
        let vga_rom = run.vga_rom.as_deref().map(|path| option_rom("--vga-rom", path)).transpose()?;
        let mut files = Vec::new();
        for (number, path) in run.option_rom.iter().enumerate() {
            // By number: two files may have the same name, or one that is too long.
            files.push((format!("genroms/option-{number}.rom"), option_rom("--option-rom", path)?.bytes));
        }
        Ok(Self { rom, files, vga_rom })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_no_rom_are_refused_by_name() {
        let refused = |path: &str| {
            RomFile::open("--bios", Path::new(path), MOST_BYTES, BLOCK)
                .err()
                .map(|failure| failure.to_string())
        };
        assert!(refused("/nonexistent").is_some_and(|message| message.starts_with("--bios /nonexistent: ")));
        assert!(refused("/dev/null").is_some_and(|message| message.contains("no ROM")));
        assert!(refused("/dev/zero").is_some_and(|message| message.contains("more than 16M")));
    }
}
