//! Reading and writing registers.

use super::ring::{INDEX_MASK, LENGTH_MASK, Ring};
use super::{E1000, Filter, registers::*};
use trimotor_bus::{GuestTime, Width};

/// Ports behind the I/O BAR.
const IO_ADDRESS: u64 = 0;
const IO_DATA: u64 = 4;
/// RDTR: what waits is told at once.
const FLUSH: u32 = 1 << 31;
/// Kilobytes of the packet buffer, and what of PBA can be written.
const PACKET_BUFFER_KIB: u32 = 64;
pub(super) const PACKET_BUFFER_MASK: u32 = 0x7F;

/// The offsets of `count` registers from `first` on, and which of them.
fn in_table(offset: u64, first: u64, count: u64) -> Option<usize> {
    (offset >= first && offset < first + 4 * count).then(|| (offset - first) as usize / 4)
}

impl E1000 {
    fn status(&self) -> u32 {
        let if_set = |condition: bool, bits: u32| if condition { bits } else { 0 };
        if_set(self.ctrl & ctrl::FD != 0, status::FD) | if_set(self.link, status::LU) | status::SPEED_1000
    }
    /// The ring whose registers are at an offset, and the offset from the first of them.
    fn ring(&self, offset: u64) -> Option<(&Ring, u64)> {
        match offset {
            RDBAL..=RDT => Some((&self.receiver.ring, offset - RDBAL)),
            TDBAL..=TDT => Some((&self.transmitter.ring, offset - TDBAL)),
            _ => None,
        }
    }
    /// Reads the register at an offset, which is a multiple of four. What is no register reads as zero.
    pub(super) fn read(&mut self, offset: u64) -> u32 {
        if let Some((ring, register)) = self.ring(offset) {
            return match register + RDBAL {
                RDBAL => ring.base as u32,
                RDBAH => (ring.base >> 32) as u32,
                RDLEN => ring.length,
                RDH => ring.head,
                RDT => ring.tail(),
                _ => 0,
            };
        }
        match offset {
            CTRL | CTRL_DUP => self.ctrl,
            STATUS => self.status(),
            EECD => self.eeprom.eecd(),
            EERD => self.eeprom.eerd(),
            MDIC => self.phy.mdic(),
            PBA => self.packet_buffer | PACKET_BUFFER_KIB.saturating_sub(self.packet_buffer) << 16,
            ICR => self.interrupts.read(),
            ITR => self.interrupts.interval,
            IMS => self.interrupts.mask(),
            RCTL => self.receiver.control,
            TCTL => self.transmitter.control,
            STATISTICS..=0x40FF => self.statistics.read(offset),
            _ => self.read_table(offset),
        }
    }
    fn read_table(&self, offset: u64) -> u32 {
        let Filter { multicast, vlans, .. } = &self.filter;
        if let Some(number) = in_table(offset, MTA, 128) {
            multicast[number]
        } else if let Some(number) = in_table(offset, VFTA, 128) {
            vlans[number]
        } else if let Some(number) = in_table(offset, RAL, 32) {
            self.filter.address_register(number)
        } else {
            plain_at(offset).map_or(0, |(number, _)| self.plain[number])
        }
    }
    /// Writes the register at an offset, which is a multiple of four.
    pub(super) fn write(&mut self, offset: u64, value: u32, now: GuestTime) {
        match offset {
            CTRL | CTRL_DUP => self.write_ctrl(value, now),
            EECD => self.eeprom.write_eecd(value),
            EERD => self.eeprom.write_eerd(value),
            MDIC => {
                self.phy.write_mdic(value, now);
                self.interrupts.set(cause::MDAC);
            }
            PBA => self.packet_buffer = value & PACKET_BUFFER_MASK,
            ICR => self.interrupts.clear(value),
            ITR => self.interrupts.interval = value & 0xFFFF,
            ICS => self.interrupts.set(value),
            IMS => self.interrupts.unmask(value),
            IMC => self.interrupts.mask_out(value),
            RCTL => self.receiver.control = value & rctl::WRITABLE,
            RDBAL..=RDT => write_ring(&mut self.receiver.ring, offset - RDBAL, value),
            TCTL => {
                self.transmitter.control = value & tctl::WRITABLE;
                self.transmit(now);
            }
            TDBAL..=TDT => {
                write_ring(&mut self.transmitter.ring, offset - TDBAL, value);
                if offset == TDT {
                    self.transmit(now);
                }
            }
            _ => self.write_table(offset, value),
        }
    }
    fn write_table(&mut self, offset: u64, value: u32) {
        let Filter { multicast, vlans, .. } = &mut self.filter;
        if let Some(number) = in_table(offset, MTA, 128) {
            multicast[number] = value;
        } else if let Some(number) = in_table(offset, VFTA, 128) {
            vlans[number] = value;
        } else if let Some(number) = in_table(offset, RAL, 32) {
            self.filter.write_address_register(number, value);
        } else if let Some((number, row)) = plain_at(offset) {
            self.plain[number] = value & row.mask;
            if offset == RDTR && value & FLUSH != 0 {
                self.interrupts.flush_received();
            }
        }
    }
    fn write_ctrl(&mut self, value: u32, now: GuestTime) {
        if value & ctrl::RST != 0 {
            return self.reset_mac();
        }
        if value & !self.ctrl & ctrl::PHY_RST != 0 {
            self.phy.reset(now);
        }
        self.ctrl = value & ctrl::WRITABLE;
    }

    /// Reads a port of the I/O BAR: whole dwords only.
    pub(super) fn read_port(&mut self, offset: u64, width: Width) -> u32 {
        match offset {
            IO_ADDRESS if width == Width::Dword => self.io_address,
            IO_DATA if width == Width::Dword && self.io_address < REGISTER_BYTES => {
                self.read(u64::from(self.io_address) & !3)
            }
            _ => 0,
        }
    }
    /// Writes a port of the I/O BAR.
    pub(super) fn write_port(&mut self, offset: u64, width: Width, value: u32, now: GuestTime) {
        match offset {
            IO_ADDRESS if width == Width::Dword => self.io_address = value,
            IO_DATA if width == Width::Dword && self.io_address < REGISTER_BYTES => {
                self.write(u64::from(self.io_address) & !3, value, now);
            }
            _ => {}
        }
    }
}

/// Writes the register of a ring that is so many bytes behind the first.
fn write_ring(ring: &mut Ring, register: u64, value: u32) {
    match register + RDBAL {
        RDBAL => ring.set_base(false, value),
        RDBAH => ring.set_base(true, value),
        RDLEN => ring.length = value & LENGTH_MASK,
        RDH => ring.head = value & INDEX_MASK,
        RDT => ring.set_tail(value),
        _ => {}
    }
}
