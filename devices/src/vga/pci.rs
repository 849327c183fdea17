//! The adapter as a PCI function: 1234h:1111h, as QEMU's standard VGA is.
//!
//! | BAR | |
//! |---|---|
//! | 0 | the frame buffer, prefetchable memory |
//! | 2 | 4 KiB of registers: EDID at 000h, VGA ports 3C0h to 3DFh at 400h, DISPI registers (16 bits each) at 500h, byte order at 600h |
//! | ROM | the video BIOS, where the adapter was given one |
//!
//! At 600h a dword tells the size of this last part, 8 bytes; at 604h 1E1E1E1Eh makes pixels of more than 8 bits
//! little-endian, and BEBEBEBEh big-endian. The VGA's own ports and its window answer whatever the command register says,
//! as those of the adapter that firmware uses. No interrupt.

use super::dispi::REGISTERS;
use super::{FIRST_MMIO_PORT, Vga, edid};
use crate::pci::config_space::ROM_SLOT;
use crate::pci::{Bar, ConfigSpace, Identity};
use trimotor_bus::pci::PciRegion;
use trimotor_bus::{GuestTime, MemoryRegion, PciBars, PciFunction, Port, Width};

/// The BAR of the frame buffer.
pub const FRAME_BUFFER_BAR: u8 = 0;
/// The BAR of the registers.
pub const REGISTER_BAR: u8 = 2;
/// The number of the ROM's base address register.
pub const ROM_BAR: u8 = ROM_SLOT as u8;
/// Bytes of the registers.
pub const REGISTER_BYTES: u32 = 4096;

const PORTS: std::ops::Range<u64> = 0x400..0x420;
const DISPI: std::ops::Range<u64> = 0x500..0x500 + 2 * REGISTERS as u64;
const EXTENDED_SIZE: u64 = 0x600;
const BYTE_ORDER: u64 = 0x604;
const EXTENDED_BYTES: u32 = 8;
const LITTLE_ENDIAN: u32 = 0x1E1E_1E1E;
const BIG_ENDIAN: u32 = 0xBEBE_BEBE;

/// The function's configuration space.
pub(super) fn config_space(memory: &MemoryRegion, rom: Option<&MemoryRegion>) -> ConfigSpace {
    let mut config = ConfigSpace::new(Identity {
        vendor: 0x1234,
        device: 0x1111,
        revision: 2,
        class: 0x03_00_00,
        subsystem: (0x1AF4, 0x1100),
        multifunction: false,
        interrupt_pin: 0,
    });
    let size = memory.bytes() as u32;
    config.add_bar(FRAME_BUFFER_BAR.into(), Bar::Memory32 { size, prefetchable: true });
    config.add_bar(REGISTER_BAR.into(), Bar::Memory32 { size: REGISTER_BYTES, prefetchable: false });
    if let Some(rom) = rom {
        config.add_bar(ROM_SLOT, Bar::Rom { size: rom.bytes() as u32 });
    }
    config
}

impl PciFunction for Vga {
    fn config_read(&mut self, offset: u8, width: Width) -> u32 {
        self.config.read(offset, width)
    }
    fn config_write(&mut self, offset: u8, width: Width, value: u32, _now: GuestTime) -> bool {
        self.config.write(offset, width, value)
    }
    fn decoded_regions(&self) -> Vec<PciRegion> {
        self.config.decoded_regions()
    }
}

impl PciBars for Vga {
    fn bar_read(&mut self, bar: u8, offset: u64, width: Width, now: GuestTime) -> u64 {
        let mut bytes = [0xFF; 8];
        match bar {
            FRAME_BUFFER_BAR => self.planes.memory.read(offset, &mut bytes),
            REGISTER_BAR => {
                for (i, byte) in bytes.iter_mut().enumerate().take(width.bytes()) {
                    *byte = self.register_byte(offset + i as u64, now);
                }
            }
            _ => {
                if let Some(rom) = &self.rom {
                    rom.read(offset, &mut bytes);
                }
            }
        }
        u64::from_le_bytes(bytes) & width.mask()
    }
    fn bar_write(&mut self, bar: u8, offset: u64, width: Width, value: u64, now: GuestTime) {
        let bytes = value.to_le_bytes();
        let bytes = &bytes[..width.bytes()];
        match bar {
            FRAME_BUFFER_BAR => self.planes.memory.write(offset, bytes),
            REGISTER_BAR => self.write_registers(offset, bytes, now),
            _ => {}
        }
    }
}

impl Vga {
    fn register_byte(&mut self, offset: u64, now: GuestTime) -> u8 {
        let of_dword = |value: u32| (value >> (8 * (offset & 3))) as u8;
        match offset {
            _ if offset < edid::EDID_BYTES as u64 => self.edid[offset as usize],
            _ if PORTS.contains(&offset) => self.read_port(port(offset), now),
            _ if DISPI.contains(&offset) => {
                let value = self.dispi.read(((offset - DISPI.start) / 2) as u16);
                (value >> (8 * (offset & 1))) as u8
            }
            EXTENDED_SIZE..BYTE_ORDER => of_dword(EXTENDED_BYTES),
            BYTE_ORDER..0x608 => of_dword(if self.big_endian { BIG_ENDIAN } else { LITTLE_ENDIAN }),
            PORTS_END..=0xFFF => 0xFF,
            _ => 0,
        }
    }
    fn write_registers(&mut self, offset: u64, bytes: &[u8], _now: GuestTime) {
        if offset == BYTE_ORDER && bytes.len() == 4 {
            let big_endian = match u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) {
                LITTLE_ENDIAN => false,
                BIG_ENDIAN => true,
                _ => return,
            };
            self.changes += u64::from(std::mem::replace(&mut self.big_endian, big_endian) != big_endian);
            return;
        }
        let mut at = offset;
        for pair in bytes.chunks(2) {
            match at {
                _ if PORTS.contains(&at) => {
                    for (i, byte) in
                        pair.iter().enumerate().filter(|(i, _)| PORTS.contains(&(at + *i as u64)))
                    {
                        self.write_port(port(at + i as u64), *byte);
                    }
                }
                // The registers are 16 bits wide: bytes and odd addresses reach none.
                _ if DISPI.contains(&at) && at & 1 == 0 && pair.len() == 2 => {
                    let index = (at - DISPI.start) / 2;
                    self.write_dispi(index as u16, u16::from_le_bytes([pair[0], pair[1]]));
                }
                _ => {}
            }
            at += pair.len() as u64;
        }
    }
}

/// What follows the ports reads as ones, where it is nothing.
const PORTS_END: u64 = PORTS.end;

fn port(offset: u64) -> Port {
    Port(FIRST_MMIO_PORT + (offset - PORTS.start) as u16)
}
