//! What the BIOS keeps in low memory about disks: the BIOS data area at 400h, and the extended one (EBDA), whose
//! segment the word at 40Eh has.
//!
//! | EBDA offset | bytes | what |
//! |---|---|---|
//! | 3Dh, 4Dh | 16 each | parameters of the first two hard disks; vectors 41h and 46h point there |
//! | 200h | 8 times 16 | EDD's device parameters of each hard disk (function 48h) |
//! | 280h | 2 times 16 | diskette parameters of each floppy drive (functions 08h and 18h) |
//! | 300h | 256 | a name or a message about booting, which ends with a zero byte |

use super::frame::real_mode;
use trimotor_bus::{BusMaster, DmaBus, PhysAddr};

/// Equipment word: bit 0 is set where there are floppy drives, and bits 7:6 are their number minus one.
pub const EQUIPMENT: PhysAddr = PhysAddr(0x410);
/// Which floppy drives were calibrated, a bit each.
pub const FLOPPY_CALIBRATED: PhysAddr = PhysAddr(0x43E);
/// Status of the last call for a floppy drive.
pub const FLOPPY_STATUS: PhysAddr = PhysAddr(0x441);
/// Status of the last call for a hard disk.
pub const DISK_STATUS: PhysAddr = PhysAddr(0x474);
/// Number of hard disks.
pub const DISK_COUNT: PhysAddr = PhysAddr(0x475);
/// What is known of the floppy drives: for each 4 bits, of which bit 0 says that it has 80 tracks, bit 1 several data
/// rates, and bit 2 that this was found out.
pub const FLOPPY_INFO: PhysAddr = PhysAddr(0x48F);
/// State of the medium in each floppy drive, a byte each.
pub const MEDIA_STATE: PhysAddr = PhysAddr(0x490);
/// The present track of each floppy drive, a byte each.
pub const FLOPPY_TRACK: PhysAddr = PhysAddr(0x494);
/// The segment of the extended BIOS data area.
const EBDA_SEGMENT: PhysAddr = PhysAddr(0x40E);

/// Offset of the parameters of the first two hard disks.
pub const FIXED_DISK_PARAMETERS: [u16; 2] = [0x3D, 0x4D];
/// Offset of EDD's device parameters; 16 bytes for each hard disk.
pub const DEVICE_PARAMETERS: u16 = 0x200;
/// Offset of the diskette parameters; 16 bytes for each floppy drive.
pub const DISKETTE_PARAMETERS: u16 = 0x280;
/// Offset of messages.
pub const MESSAGE: u16 = 0x300;
/// Bytes of a message with its last zero byte.
const MESSAGE_BYTES: usize = 256;

/// Interrupt vectors that point to the parameters of the first two hard disks.
pub const DISK_VECTORS: [u8; 2] = [0x41, 0x46];

/// Reads a byte.
pub fn read_byte(memory: &BusMaster, at: PhysAddr) -> u8 {
    let mut byte = [0];
    memory.dma_read(at, &mut byte);
    byte[0]
}
/// Reads a word.
pub fn read_word(memory: &BusMaster, at: PhysAddr) -> u16 {
    let mut bytes = [0; 2];
    memory.dma_read(at, &mut bytes);
    u16::from_le_bytes(bytes)
}
/// The segment of the extended BIOS data area.
pub fn ebda(memory: &BusMaster) -> u16 {
    read_word(memory, EBDA_SEGMENT)
}
/// Writes bytes into the extended BIOS data area; returns their segment and offset.
pub fn put(memory: &BusMaster, offset: u16, bytes: &[u8]) -> (u16, u16) {
    let segment = ebda(memory);
    memory.dma_write(real_mode(segment, offset), bytes);
    (segment, offset)
}
/// Sets an interrupt vector.
pub fn set_vector(memory: &BusMaster, vector: u8, (segment, offset): (u16, u16)) {
    let bytes = u32::from(segment) << 16 | u32::from(offset);
    memory.dma_write(PhysAddr(4 * u64::from(vector)), &bytes.to_le_bytes());
}
/// Writes a message, cut to what there is room for and to letters that any display has; returns where it is.
pub fn put_message(memory: &BusMaster, text: &str) -> (u16, u16) {
    let plain = text.chars().map(|c| if c.is_ascii_graphic() || c == ' ' { c as u8 } else { b'?' });
    let mut bytes: Vec<u8> = plain.take(MESSAGE_BYTES - 1).collect();
    bytes.push(0);
    put(memory, MESSAGE, &bytes)
}
