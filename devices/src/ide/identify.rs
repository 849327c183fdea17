//! What drives say of themselves: 256 words (ATA/ATAPI-7, "IDENTIFY DEVICE", "IDENTIFY PACKET DEVICE").

use super::ata::{MOST_28_BIT, TRIM_SECTORS};
use super::unit::Unit;

/// Sectors of a block of READ MULTIPLE at most.
pub(super) const MOST_MULTIPLE: u16 = 16;
/// What a disk calls itself.
const DISK_MODEL: &str = "TRIMOTOR HARDDISK";
/// What a CD-ROM drive calls itself.
pub(super) const CDROM_MODEL: &str = "TRIMOTOR DVD-ROM";
/// The version of the drives' firmware.
pub(super) const REVISION: &str = "1.0";

struct Words([u16; 256]);

impl Words {
    fn set(&mut self, first: usize, values: &[u16]) {
        for (word, value) in self.0.iter_mut().skip(first).zip(values) {
            *word = *value;
        }
    }
    /// A text: two characters a word, the first one in the upper half, filled up with blanks.
    fn text(&mut self, first: usize, words: usize, text: &str) {
        let mut bytes = text.bytes().chain(std::iter::repeat(b' '));
        for word in self.0.iter_mut().skip(first).take(words) {
            *word = u16::from_be_bytes([bytes.next().unwrap_or(b' '), bytes.next().unwrap_or(b' ')]);
        }
    }
    /// The bytes, with a signature and a sum that makes all of them zero.
    fn bytes(mut self) -> Vec<u8> {
        self.0[255] = 0xA5;
        let bytes: Vec<u8> = self.0.iter().flat_map(|word| word.to_le_bytes()).collect();
        let sum = bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
        self.0[255] |= u16::from(0u8.wrapping_sub(sum)) << 8;
        self.0.iter().flat_map(|word| word.to_le_bytes()).collect()
    }
}

/// The serial number of a drive that is given none.
pub(super) fn serial(unit: &Unit) -> String {
    let own = || format!("TM{:05}", u32::from(unit.wires.number) + 1);
    unit.wires.drive.config().serial.clone().unwrap_or_else(own)
}

/// Words 63 and 88: the modes that there are, and the one that is chosen.
fn modes(chosen: u8) -> (u16, u16) {
    let bit = 0x100u16 << (chosen & 7);
    if chosen & 0x40 != 0 { (7, 0x3F | bit) } else { (7 | bit, 0x3F) }
}

fn common(unit: &Unit, model: &str) -> Words {
    let mut words = Words([0; 256]);
    words.text(10, 10, &serial(unit));
    words.text(23, 4, REVISION);
    words.text(27, 20, model);
    // PIO and DMA timings: modes 0 to 4, cycles of 120 ns. What words 54 to 58, 64 to 70 and 88 say counts.
    words.set(51, &[0x200, 0x200, 7]);
    let (multiword, ultra) = modes(unit.settings.dma_mode);
    words.set(63, &[multiword, 3, 120, 120, 120, 120]);
    words.set(88, &[ultra]);
    // Hardware reset: device 0 or 1, found by its jumper; the cable has 80 wires.
    let by_jumper = if unit.wires.number & 1 == 0 { 0x0003 } else { 0x0300 };
    words.set(93, &[0x6000 | by_jumper]);
    words
}

/// A disk.
pub(super) fn disk(unit: &Unit) -> Vec<u8> {
    let s = &unit.settings;
    let mut words = common(unit, DISK_MODEL);
    let cylinders = (unit.sectors / (16 * 63)).clamp(1, 16383) as u16;
    // Words 4 and 5, bytes of a track and of a sector, are of the first ATA; the BIOS of Bochs reads as many as word 5 says.
    words.set(0, &[0x0040, cylinders, 0, 16, 63 * 512, 512, 63]);
    words.set(20, &[3, 512]); // A two-ported buffer of 256 KiB.
    words.set(47, &[0x8000 | MOST_MULTIPLE]);
    words.set(48, &[1]); // The data register takes dwords.
    words.set(49, &[0x2F00, 0x4000]); // DMA, LBA, IORDY, standby timer as the standard says.
    let reachable = s.chs_sectors().min(unit.sectors) as u32;
    words.set(54, &[s.cylinders, s.heads.into(), s.track_sectors.into()]);
    words.set(57, &[reachable as u16, (reachable >> 16) as u16]);
    words.set(59, &[0x100 | u16::from(s.multiple)]);
    let short = unit.sectors.min(MOST_28_BIT) as u32;
    words.set(60, &[short as u16, (short >> 16) as u16]);
    words.set(80, &[0x00F0, 0]); // ATA-4 to ATA-7.
    // SMART, power management, write cache, look-ahead, WRITE and READ BUFFER, NOP.
    let switches = |smart: bool, cache: bool, ahead: bool| {
        0x7008 | u16::from(smart) | u16::from(cache) << 5 | u16::from(ahead) << 6
    };
    // 48-bit addresses, FLUSH CACHE and its EXT form; SMART error log and self-tests, WRITE DMA FUA EXT.
    let cache_can_be_on = !unit.wires.drive.config().write_through;
    words.set(82, &[switches(true, cache_can_be_on, true), 0x7400, 0x4043]);
    words.set(85, &[switches(s.smart, s.write_cache, s.look_ahead), 0x3400, 0x4043]);
    let mut sectors = [0; 4];
    for (i, word) in sectors.iter_mut().enumerate() {
        *word = (unit.sectors >> (16 * i)) as u16;
    }
    words.set(100, &sectors);
    if unit.trims() {
        words.set(105, &[TRIM_SECTORS as u16]);
        words.set(169, &[1]);
    }
    words.bytes()
}

/// A CD-ROM drive.
pub(super) fn packet_device(unit: &Unit) -> Vec<u8> {
    let mut words = common(unit, CDROM_MODEL);
    // Packet device, CD-ROM, removable; DRQ within 50 us of PACKET; packets of 12 bytes.
    words.set(0, &[0x85C0]);
    words.set(49, &[0x0F00]);
    words.set(71, &[30, 30]);
    words.set(80, &[0x0070, 0]); // ATA/ATAPI-4 to -6.
    // Power management, PACKET, DEVICE RESET, NOP.
    words.set(82, &[0x4218, 0x4000, 0x4000, 0x4218, 0, 0x4000]);
    words.bytes()
}
