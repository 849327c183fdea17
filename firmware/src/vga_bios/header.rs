//! What stands at the ROM's beginning.
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 00h | 3 | 55h AAh, and the ROM's length in blocks of 512 bytes |
//! | 03h | 3 | jump to `start`, the INIT function |
//! | 18h | 2 | offset of the PCI data structure |
//! | 1Eh | 33 | "IBM", by which programs know a video BIOS, and its name |
//! | 60h | 24 | PCI data structure |
//! | 78h | 4 | physical address of the frame buffer, which `start` writes |
//! | 7Ch | 1 | makes the sum of all bytes zero |
//! | 80h | 256 | the monitor's EDID, for which `start` asks the card |
//!
//! Source: PCI Firmware Specification 3.0, "PCI Expansion ROM Header Format", "PCI Data Structure Format".

use super::edid;
use crate::bios::asm::Assembled;
use crate::bios::layout::VIDEO_MOST_BYTES;
use crate::bios::{BiosError, Image};
use crate::tables::checksum;

/// Bytes in front of data and code.
pub const BYTES: u32 = EDID + edid::BYTES as u32;
/// Offset of the EDID.
pub const EDID: u32 = 0x80;
/// Offset of the frame buffer's physical address; 0: there is none.
pub const FRAME_BUFFER: u32 = 0x78;
/// Offset of the byte that makes the sum zero.
pub const CHECKSUM: u32 = 0x7C;
/// Offset of the ROM's length in [`BLOCK_BYTES`].
pub const BLOCKS: u32 = 2;
/// Bytes of a block.
pub const BLOCK_BYTES: usize = 512;
/// The card's vendor and device.
pub const CARD: u32 = 0x1111_1234;

const PCI_POINTER: usize = 0x18;
const NAME: usize = 0x1E;
const PCI_DATA: usize = 0x60;
/// VGA: base class 03h, subclass 00h, interface 00h, the last byte first.
const CLASS: [u8; 3] = [0x00, 0x00, 0x03];
/// Option ROMs stand on borders of 2 KiB.
const GRANULE: usize = 2048;

/// The ROM of a module: header, data, code.
pub(super) fn image(module: &Assembled) -> Result<Vec<u8>, BiosError> {
    let end = module.code_base as usize + module.code.len();
    let bytes = end.next_multiple_of(GRANULE);
    if bytes > VIDEO_MOST_BYTES {
        return Err(BiosError::TooLarge { part: "video BIOS", end, limit: VIDEO_MOST_BYTES });
    }
    let mut rom = Image::new(bytes);
    let blocks = (bytes / BLOCK_BYTES) as u8;
    let start = module.offset("start")?.wrapping_sub(6).to_le_bytes();
    let mut put = |at: usize, bytes: &[u8]| rom.place("video BIOS", at, bytes, end);
    put(0, &[0x55, 0xAA, blocks, 0xE9, start[0], start[1]])?;
    put(PCI_POINTER, &[PCI_DATA as u8, 0])?;
    put(NAME, b"IBM VGA compatible BIOS. Trimotor")?;
    put(PCI_DATA, &pci_data(blocks))?;
    put(EDID as usize, &edid::blocks())?;
    put(BYTES as usize, &module.data)?;
    put(module.code_base as usize, &module.code)?;
    let mut rom = rom.into_bytes();
    rom[CHECKSUM as usize] = checksum(&rom);
    Ok(rom)
}

fn pci_data(blocks: u8) -> [u8; 24] {
    let mut data = [0; 24];
    data[..4].copy_from_slice(b"PCIR");
    data[4..8].copy_from_slice(&CARD.to_le_bytes());
    data[0x0A] = 24;
    data[0x0D..0x10].copy_from_slice(&CLASS);
    data[0x10] = blocks;
    // Revision 1 of the code, which is for a PC (type 0) and the last image of the ROM.
    data[0x12] = 1;
    data[0x15] = 0x80;
    data
}
