//! The serial EEPROM: 64 words behind four wires (8254x manual, "EEPROM Interface"; Microwire, as a 93C46 has it).
//!
//! With chip select high, the chip takes a bit at each rising edge of the clock: a start bit, two bits of operation, six of
//! address. A read then gives 16 bits, the highest first, and goes on with the next word; a write takes 16. Erasing
//! and writing need an enabling command first, and are carried out when chip select goes low. The drivers of Intel's
//! boards check that the words up to 3Fh add up to BABAh.
//!
//! | word | what |
//! |---|---|
//! | 00h to 02h | the Ethernet address |
//! | 03h | compatibility |
//! | 08h, 09h | number of the printed board |
//! | 0Ah, 0Fh | initialization control |
//! | 0Bh to 0Eh | subsystem and vendor, device and vendor of the PCI function |
//! | 3Fh | checksum |

use super::registers::{DEVICE, SUBSYSTEM, VENDOR};
use crate::network::MacAddress;

/// Words of the EEPROM.
pub const WORDS: usize = 64;
/// What all words add up to.
const SUM: u16 = 0xBABA;

/// Bits of EECD: clock, chip select, data to the chip and from it, write enable of flash memory, request and grant, and that there
/// is a chip.
const SK: u32 = 1 << 0;
const CS: u32 = 1 << 1;
const DI: u32 = 1 << 2;
const DO: u32 = 1 << 3;
const FWE: u32 = 3 << 4;
const REQUEST: u32 = 1 << 6;
const GRANT: u32 = 1 << 7;
const PRESENT: u32 = 1 << 8;

/// Bits of EERD.
const START: u32 = 1 << 0;
const DONE: u32 = 1 << 4;

/// Bits of a command behind the start bit.
const COMMAND_BITS: u32 = 8;

/// What the chip is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) enum Phase {
    /// It waits for a start bit.
    #[default]
    Idle,
    /// It takes a command: so many bits so far.
    Command {
        /// Bits taken.
        bits: u32,
        /// Their value.
        value: u32,
    },
    /// It gives the words from `address` on.
    Read {
        /// The word.
        address: u8,
        /// Bits given of it.
        bits: u32,
    },
    /// It takes a word for a command.
    Write {
        /// The command.
        command: u8,
        /// Bits taken.
        bits: u32,
        /// Their value.
        value: u32,
    },
    /// It has what it needs, and waits for chip select to go low.
    Armed {
        /// The command.
        command: u8,
        /// The word.
        value: u16,
    },
}

/// The chip and the register that has its wires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Eeprom {
    pub(super) words: [u16; WORDS],
    pub(super) phase: Phase,
    /// Writes are enabled.
    pub(super) enabled: bool,
    /// What the chip drives.
    pub(super) output: bool,
    /// The driver's bits of EECD.
    pub(super) eecd: u32,
    pub(super) eerd: u32,
}

impl Phase {
    /// Whether the chip can be in this phase.
    pub(super) fn is_possible(self) -> bool {
        let takes_word = |command: u8| command >> 6 == 0b01 || command >> 4 == 0b01;
        match self {
            Phase::Idle => true,
            Phase::Command { bits, value } => bits < COMMAND_BITS && value < 1 << bits,
            Phase::Read { address, bits } => usize::from(address) < WORDS && bits < 16,
            Phase::Write { command, bits, value } => takes_word(command) && bits < 16 && value < 1 << bits,
            Phase::Armed { command, value } => {
                takes_word(command) || value == 0xFFFF && (command >> 6 == 0b11 || command >> 4 == 0b10)
            }
        }
    }
}

impl Eeprom {
    /// Bits of EECD that keep what is written.
    pub(super) const EECD_WRITABLE: u32 = SK | CS | DI | FWE | REQUEST;

    /// That of a board with this address.
    pub fn new(mac: MacAddress) -> Self {
        let mut words = [0; WORDS];
        for (word, pair) in words.iter_mut().zip(mac.0.chunks(2)) {
            *word = u16::from_le_bytes([pair[0], pair[1]]);
        }
        let fixed = [
            (0x03, 0x0000),
            (0x04, 0xFFFF),
            (0x08, 0xC004),
            (0x09, 0x0010),
            // Signature, and: IDs are loaded from here.
            (0x0A, 0x4403),
            (0x0B, SUBSYSTEM),
            (0x0C, VENDOR),
            (0x0D, DEVICE),
            (0x0E, VENDOR),
            (0x0F, 0xB040),
        ];
        fixed.into_iter().for_each(|(at, word): (usize, u16)| words[at] = word);
        let sum = words.iter().fold(0u16, |sum, word| sum.wrapping_add(*word));
        words[WORDS - 1] = SUM.wrapping_sub(sum);
        Self { words, phase: Phase::Idle, enabled: false, output: true, eecd: 0, eerd: 0 }
    }
    /// Reset of the board: the wires go low, the words stay.
    pub fn reset(&mut self) {
        *self =
            Self { words: self.words, phase: Phase::Idle, enabled: false, output: true, eecd: 0, eerd: 0 };
    }
    /// The Ethernet address that it has.
    pub fn mac(&self) -> MacAddress {
        let mut bytes = [0; 6];
        for (pair, word) in bytes.chunks_mut(2).zip(self.words) {
            pair.copy_from_slice(&word.to_le_bytes());
        }
        MacAddress(bytes)
    }

    /// EECD. Who asks for the wires has them.
    pub fn eecd(&self) -> u32 {
        let grant = if self.eecd & REQUEST != 0 { GRANT } else { 0 };
        self.eecd | PRESENT | grant | if self.output { DO } else { 0 }
    }
    /// Writes EECD.
    pub fn write_eecd(&mut self, value: u32) {
        let before = self.eecd;
        self.eecd = value & Self::EECD_WRITABLE;
        if self.eecd & CS == 0 {
            if before & CS != 0 {
                self.carry_out();
            }
            return;
        }
        if self.eecd & SK != 0 && before & SK == 0 {
            self.clock(value & DI != 0);
        }
    }
    /// EERD: the word that was asked for.
    pub fn eerd(&self) -> u32 {
        self.eerd
    }
    /// Writes EERD. The word is there at once.
    pub fn write_eerd(&mut self, value: u32) {
        let address = value & 0xFF00;
        self.eerd = address;
        if value & START != 0 {
            let word = self.words[(address >> 8) as usize % WORDS];
            self.eerd |= DONE | u32::from(word) << 16;
        }
    }

    /// A rising edge of the clock, with chip select high.
    fn clock(&mut self, data: bool) {
        let shift = |value: u32| value << 1 | u32::from(data);
        self.phase = match self.phase {
            Phase::Idle if data => Phase::Command { bits: 0, value: 0 },
            Phase::Idle => Phase::Idle,
            Phase::Command { bits, value } if bits + 1 < COMMAND_BITS => {
                Phase::Command { bits: bits + 1, value: shift(value) }
            }
            Phase::Command { value, .. } => self.command(shift(value) as u8),
            Phase::Read { address, bits } => {
                let word = self.words[usize::from(address) % WORDS];
                self.output = word & (0x8000 >> bits) != 0;
                match bits {
                    15 => Phase::Read { address: (address + 1) % WORDS as u8, bits: 0 },
                    _ => Phase::Read { address, bits: bits + 1 },
                }
            }
            Phase::Write { command, bits, value } if bits < 15 => {
                Phase::Write { command, bits: bits + 1, value: shift(value) }
            }
            Phase::Write { command, value, .. } => Phase::Armed { command, value: shift(value) as u16 },
            Phase::Armed { .. } => self.phase,
        };
    }
    /// A command is complete: two bits of operation, six of address.
    fn command(&mut self, command: u8) -> Phase {
        match command >> 6 {
            0b10 => {
                // A zero comes before the word.
                self.output = false;
                Phase::Read { address: command & 0x3F, bits: 0 }
            }
            0b01 => Phase::Write { command, bits: 0, value: 0 },
            0b11 => Phase::Armed { command, value: 0xFFFF },
            _ => match command >> 4 {
                0b01 => Phase::Write { command, bits: 0, value: 0 },
                0b10 => Phase::Armed { command, value: 0xFFFF },
                enable => {
                    self.enabled = enable == 0b11;
                    Phase::Idle
                }
            },
        }
    }
    /// Chip select went low: what was prepared is done, and the chip is ready at once.
    fn carry_out(&mut self) {
        if let Phase::Armed { command, value } = self.phase
            && self.enabled
        {
            match command >> 6 {
                0b00 => self.words.fill(value),
                _ => self.words[usize::from(command & 0x3F)] = value,
            }
        }
        self.phase = Phase::Idle;
        self.output = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn eeprom() -> Eeprom {
        Eeprom::new(MacAddress([0x52, 0x54, 0, 0x12, 0x34, 0x56]))
    }
    fn shift_out(eeprom: &mut Eeprom, bits: u32, value: u32) {
        for bit in (0..bits).rev() {
            let data = if value & 1 << bit != 0 { DI } else { 0 };
            eeprom.write_eecd(CS | REQUEST | data);
            eeprom.write_eecd(CS | REQUEST | data | SK);
            eeprom.write_eecd(CS | REQUEST | data);
        }
    }
    fn shift_in(eeprom: &mut Eeprom) -> u16 {
        (0..16).fold(0, |word, _| {
            eeprom.write_eecd(CS | REQUEST | SK);
            let bit = eeprom.eecd() & DO != 0;
            eeprom.write_eecd(CS | REQUEST);
            word << 1 | u16::from(bit)
        })
    }
    fn deselect(eeprom: &mut Eeprom) {
        eeprom.write_eecd(REQUEST);
    }

    #[test]
    fn its_wires_read_all_words_and_they_add_up() {
        let mut eeprom = eeprom();
        assert_eq!(eeprom.eecd() & (PRESENT | GRANT), PRESENT);
        eeprom.write_eecd(REQUEST);
        assert_eq!(eeprom.eecd() & GRANT, GRANT);
        let mut words = Vec::new();
        for address in 0..WORDS as u32 {
            shift_out(&mut eeprom, 3, 0b110);
            shift_out(&mut eeprom, 6, address);
            words.push(shift_in(&mut eeprom));
            deselect(&mut eeprom);
        }
        assert_eq!(words[..3], [0x5452, 0x1200, 0x5634]);
        assert_eq!(words.iter().fold(0u16, |sum, word| sum.wrapping_add(*word)), 0xBABA);
        // In one go.
        shift_out(&mut eeprom, 9, 0b110 << 6);
        let again: Vec<_> = (0..WORDS).map(|_| shift_in(&mut eeprom)).collect();
        assert_eq!(again, words);
    }

    #[test]
    fn eerd_has_the_word_at_once() {
        let mut eeprom = eeprom();
        eeprom.write_eerd(0x0D00 | START);
        assert_eq!(eeprom.eerd(), 0x100E_0D10);
    }

    #[test]
    fn writes_need_to_be_enabled() {
        let mut eeprom = eeprom();
        let write = |eeprom: &mut Eeprom, address, word| {
            shift_out(eeprom, 3, 0b101);
            shift_out(eeprom, 6, address);
            shift_out(eeprom, 16, word);
            deselect(eeprom);
        };
        write(&mut eeprom, 0x20, 0x1234);
        assert_eq!(eeprom.words[0x20], 0);
        shift_out(&mut eeprom, 9, 0b1_0011_0000);
        deselect(&mut eeprom);
        write(&mut eeprom, 0x20, 0x1234);
        assert_eq!(eeprom.words[0x20], 0x1234);
        // Erase a word, then all.
        shift_out(&mut eeprom, 9, 0b111 << 6 | 0x20);
        deselect(&mut eeprom);
        assert_eq!((eeprom.words[0x20], eeprom.words[0]), (0xFFFF, 0x5452));
        shift_out(&mut eeprom, 9, 0b1_0010_0000);
        deselect(&mut eeprom);
        assert_eq!(eeprom.words, [0xFFFF; WORDS]);
        // Disabled again; a command that ends early is none.
        shift_out(&mut eeprom, 9, 0b1_0000_0000);
        deselect(&mut eeprom);
        write(&mut eeprom, 1, 5);
        shift_out(&mut eeprom, 5, 0b11000);
        deselect(&mut eeprom);
        assert_eq!((eeprom.words[1], eeprom.phase), (0xFFFF, Phase::Idle));
    }
}
