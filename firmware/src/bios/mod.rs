//! Our own BIOS: the ROM that a PC without a kernel at hand starts from.
//!
//! A ROM of 128 KiB stands below 1 MiB and, once more, below 4 GiB, where the first processor starts at FFFFFFF0h.
//! Its code, *POST* (power-on self-test), sets up the chipset, runs the video BIOS and the option ROMs of cards, and
//! loads a boot sector. What it leaves behind are services that a boot loader or DOS calls by software interrupts,
//! and handlers of hardware interrupts.
//!
//! The code is written here with an assembler, a file a subject, and assembled when a machine is made, together with the
//! tables that describe this machine ([`crate::tables`]).
//!
//! | part | what |
//! |---|---|
//! | [`layout`] | where everything stands |
//! | [`asm`] | the assembler: modules, routines with names |
//! | [`post`] | from the reset vector to the boot sector |
//! | [`services`] | interrupts that programs call, and those of the hardware |
//! | [`entries`] | entry points at fixed addresses |
//!
//! INT 10h is not here: the video adapter's ROM has it ([`crate::vga_bios`]), which POST finds and calls.
//!
//! Services of disks need no code here: their stubs ([`services::port`]) hand the caller's registers to
//! a device that carries them out.
//!
//! Source: IBM PC/AT Technical Reference, "System BIOS"; IBM PS/2 and PC BIOS Interface Technical Reference; BIOS Boot
//! Specification 1.01.

pub mod asm;
pub mod entries;
pub mod layout;
pub mod post;
pub mod services;
#[cfg(test)]
mod tests;

use crate::boot::Content;
use crate::pci_bios;
use crate::tables::{FirmwareTables, Platform};
use asm::Assembled;
use iced_x86::IcedError;
use layout::*;

/// The ROM cannot be made: a fault of this program, not of its user.
#[derive(Debug, thiserror::Error)]
pub enum BiosError {
    /// The assembler refuses an instruction.
    #[error("the BIOS cannot be assembled: {0}")]
    Assemble(#[from] IcedError),
    /// A routine is used that nobody wrote.
    #[error("the BIOS has no routine {routine}")]
    Missing {
        /// Its name.
        routine: &'static str,
    },
    /// A part has grown past its place.
    #[error("the {part} of a BIOS ends at {end:#x}, past its place, which ends at {limit:#x}")]
    TooLarge {
        /// Which part.
        part: &'static str,
        /// Where it ends.
        end: usize,
        /// Where it should end.
        limit: usize,
    },
}

/// The ROM and what is known of it.
pub struct Bios {
    /// 128 KiB that end at 1 MiB and at 4 GiB.
    pub image: Vec<u8>,
    /// Names of routines and their physical addresses after POST, in ascending order.
    pub symbols: Vec<(u32, String)>,
}

/// The ROM for `platform`.
///
/// # Errors
/// See [`BiosError`].
pub fn build(platform: &Platform) -> Result<Bios, BiosError> {
    let mut image = Image::new(ROM_BYTES);
    for write in FirmwareTables::build(platform).writes {
        // Vectors, BDA and EBDA are POST's to write.
        if let (Some(at), Content::Bytes(bytes)) =
            (write.addr.0.checked_sub(u64::from(ROM_BASE)), &write.content)
        {
            image.place("tables", at as usize, bytes, at as usize + bytes.len())?;
        }
    }
    let system = system(platform)?;
    let end = |offset: u32| offset_in_rom(SYSTEM_SEGMENT, offset);
    image.place("code", end(SYSTEM_CODE), &system.code, end(SYSTEM_DATA))?;
    image.place("data", end(SYSTEM_DATA), &system.data, end(FIXED_ENTRIES))?;
    entries::place(&mut image, &system)?;
    place_pci_tables(&mut image)?;
    Ok(Bios { image: image.0, symbols: system.addresses(SYSTEM_SEGMENT) })
}

/// PCI interrupt routing and the BIOS32 service directory, which are found by signature.
fn place_pci_tables(image: &mut Image) -> Result<(), BiosError> {
    let base = u32::from(SYSTEM_SEGMENT) << 4;
    let entry = DIRECTORY + 0x10;
    let code = pci_bios::entry_32()?;
    let directory_at = entry + code.len() as u32;
    let header = pci_bios::directory_header(base + directory_at);
    let directory = pci_bios::directory_32(entry as u16)?;
    let mut put = |at: u32, bytes: &[u8]| {
        image.place(
            "PCI tables",
            offset_in_rom(SYSTEM_SEGMENT, at),
            bytes,
            offset_in_rom(SYSTEM_SEGMENT, SYSTEM_CODE),
        )
    };
    put(PCI_ROUTING, &pci_bios::routing_table())?;
    put(DIRECTORY, &header)?;
    put(entry, &code)?;
    put(directory_at, &directory)
}

fn system(platform: &Platform) -> Result<Assembled, BiosError> {
    let mut module = asm::Module::new(SYSTEM_CODE, SYSTEM_DATA)?;
    post::write(&mut module, platform)?;
    services::write(&mut module, platform)?;
    module.finish()
}

/// Where a byte of a segment stands in the ROM.
const fn offset_in_rom(segment: u16, offset: u32) -> usize {
    (((segment as u32) << 4) + offset - ROM_BASE) as usize
}

/// The ROM while it is filled.
pub struct Image(Vec<u8>);

impl Image {
    /// So many bytes of zeros.
    pub(crate) fn new(bytes: usize) -> Self {
        Self(vec![0; bytes])
    }
    /// Its bytes.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }
    /// Puts bytes at an offset of the ROM.
    ///
    /// # Errors
    /// They do not end before `limit`.
    pub(crate) fn place(
        &mut self,
        part: &'static str,
        at: usize,
        bytes: &[u8],
        limit: usize,
    ) -> Result<(), BiosError> {
        let end = at + bytes.len();
        let room = self.0.get_mut(at..end).filter(|_| end <= limit);
        room.ok_or(BiosError::TooLarge { part, end, limit })?.copy_from_slice(bytes);
        Ok(())
    }
}
