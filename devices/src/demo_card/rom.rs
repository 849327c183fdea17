//! The demonstration card's expansion ROM (PCI Local Bus Specification 3.0, section 6.3.1): two images of 512 bytes.
//!
//! The first is for EFI, and has no program: firmware of other kinds goes on to the second, which is for PCs.
//!
//! | offset in it | what |
//! |---|---|
//! | 00h | the signature 55h AAh, and the image's length in units of 512 bytes |
//! | 03h | the initialization routine: notes at 50h which PCI function the BIOS says the card is, and corrects the checksum |
//! | 18h | where the PCI data structure is |
//! | 20h | the PCI data structure: vendor and device, class code, code type, whether it is the last image |
//! | 40h | a function for the card's drivers to call: it returns [`ANSWER`] in EAX, in 32-bit and 64-bit code |
//! | 50h | the PCI function, bus in the upper byte; zero in the ROM |

use super::registers::{DEVICE, VENDOR};

/// Bytes of the ROM: what its base address register decodes.
pub const BYTES: u32 = 8192;
/// Bytes of the image.
const IMAGE_BYTES: usize = 512;
/// The offset of the function in the ROM.
pub const FUNCTION: u64 = IMAGE_BYTES as u64 + FUNCTION_OFFSET as u64;
/// The same in its image.
const FUNCTION_OFFSET: usize = 0x40;
/// Where the image for PCs notes the PCI function.
pub const NOTED: u8 = 0x50;
/// What the function returns.
pub const ANSWER: u32 = 0x4F4D_4544;
/// The offset of the PCI data structure.
const DATA: usize = 0x20;
/// Bytes of the PCI data structure.
const DATA_BYTES: u8 = 24;
/// Code types of images.
const CODE_PC: u8 = 0;
const CODE_EFI: u8 = 3;
/// MOV EAX with an immediate operand, and RET.
const MOV_EAX: u8 = 0xB8;
const RETURN: u8 = 0xC3;
/// The initialization routine: MOV CS:[50h], AX; SUB CS:[1FFh], AL; SUB CS:[1FFh], AH; RETF.
const INITIALIZE: [u8; 15] =
    [0x2E, 0xA3, NOTED, 0, 0x2E, 0x28, 0x06, 0xFF, 0x01, 0x2E, 0x28, 0x26, 0xFF, 0x01, 0xCB];

/// All images. The bytes of each add up to 0 modulo 256, as firmware checks.
pub fn images() -> Vec<u8> {
    [image(CODE_EFI, false), image(CODE_PC, true)].concat()
}
fn image(code: u8, is_last: bool) -> Vec<u8> {
    let mut image = vec![0; IMAGE_BYTES];
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    let blocks = (IMAGE_BYTES / 512) as u8;
    put(0, &[0x55, 0xAA, blocks]);
    put(0x18, &[DATA as u8, 0]);
    put(DATA, b"PCIR");
    put(DATA + 4, &VENDOR.to_le_bytes());
    put(DATA + 6, &DEVICE.to_le_bytes());
    put(DATA + 10, &[DATA_BYTES, 0]);
    // Class FFh, no subclass, and the length again.
    put(DATA + 13, &[0, 0, 0xFF, blocks, 0]);
    put(DATA + 20, &[code, if is_last { 0x80 } else { 0 }]);
    if code == CODE_PC {
        put(3, &INITIALIZE);
        put(FUNCTION_OFFSET, &[MOV_EAX]);
        put(FUNCTION_OFFSET + 1, &ANSWER.to_le_bytes());
        put(FUNCTION_OFFSET + 5, &[RETURN]);
    }
    let sum = image.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    image[IMAGE_BYTES - 1] = sum.wrapping_neg();
    image
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn firmware_finds_images_whose_sum_is_zero() {
        let images = images();
        assert!(images.len() <= BYTES as usize);
        for (image, code) in images.chunks(IMAGE_BYTES).zip([CODE_EFI, CODE_PC]) {
            assert_eq!(image[..2], [0x55, 0xAA]);
            assert_eq!(image.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)), 0);
            let data = usize::from(image[0x18]);
            assert_eq!(&image[data..data + 4], b"PCIR");
            assert_eq!(image[data + 4..data + 8], [0x36, 0x1B, 0x01, 0x7D]);
            assert_eq!(image[data + 20], code);
        }
    }
}
