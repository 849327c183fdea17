//! A network card: Intel's 82540EM, the PRO/1000 MT Desktop Adapter (e1000).
//!
//! | part | file |
//! |---|---|
//! | the numbers | [`registers`] |
//! | reading and writing registers | `access` |
//! | descriptors in memory | [`ring`] |
//! | packets out, and what is done to them before | [`transmit`], [`offload`], [`checksum`] |
//! | frames in, and which of them | [`receive`], [`filter`] |
//! | interrupts and the timers that gather them | [`interrupts`] |
//! | the EEPROM with the address, the PHY with the link | [`eeprom`], [`phy`] |
//! | counts | [`statistics`] |
//!
//! The driver sees 128 KiB of registers behind BAR 0, each of 32 bits (narrower writes are filled up with zeros), and the same
//! registers behind two ports of BAR 2: the offset goes to the first (IOADDR), the value to the one four bytes
//! further (IODATA). INTA# is the interrupt. An expansion ROM is there if the card was given one.
//!
//! To send, a driver writes descriptors into a ring and then the ring's tail (TDT), a doorbell: the card takes the
//! descriptors at once. A network has no speed of its own, so that the ring is empty afterwards. To receive, it gives
//! buffers by the tail of the other ring (RDT); frames for which there is none wait in the network and are not lost. The tails
//! are all that vCPUs write without the card's lock.
//!
//! Left out, as nothing here stands for it: flow control by pause frames (the PHY's partner offers none), wake-up and power
//! management, the parts that manage a computer from afar (SMBus), flash memory, MSI (whose capability the chip has, and errata
//! advise against), half duplex, what test equipment reads from the packet buffer.
//!
//! Source: PCI/PCI-X Family of Gigabit Ethernet Controllers Software Developer's Manual (8254x manual).

mod access;
pub mod checksum;
pub mod eeprom;
pub mod filter;
pub mod interrupts;
pub mod offload;
pub mod phy;
pub mod receive;
pub mod registers;
pub mod ring;
mod saved;
pub mod statistics;
#[cfg(test)]
mod tests;
pub mod transmit;

pub use saved::E1000StateV1;

use crate::device::{Device, Doorbells};
use crate::network::{CableRef, MacAddress, NetworkCard};
use crate::pci::config_space::{COMMAND_MASTER, ROM_SLOT};
use crate::pci::{Bar, ConfigSpace, Identity};
use eeprom::Eeprom;
use filter::Filter;
use interrupts::Interrupts;
use phy::Phy;
use receive::{Received, Receiver};
use registers::*;
use statistics::Statistics;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use transmit::Transmitter;
use trimotor_bus::pci::PciRegion;
use trimotor_bus::{BusMaster, GuestTime, IrqLine, MemoryRegion, PciBars, PciFunction, Timed, Width};
use trimotor_net::{Frame, Offloads};

/// The doorbells: transmit and receive tail.
pub const TRANSMIT_BELL: u8 = 0;
/// See [`TRANSMIT_BELL`].
pub const RECEIVE_BELL: u8 = 1;

/// After so long, in nanoseconds of guest time, the card goes on with a ring that was too much for one go.
const CONTINUE_NS: u64 = 50_000;
/// The packet buffer's part for the receiver after reset, in KiB, of 64.
const PACKET_BUFFER: u32 = 48;
const CTRL_AFTER_RESET: u32 = ctrl::FD | ctrl::SLU | ctrl::SPEED_1000;

/// The card.
pub struct E1000 {
    intx: IrqLine,
    memory: BusMaster,
    cable: CableRef,

    rom: Option<MemoryRegion>,

    config: ConfigSpace,
    ctrl: u32,
    /// The registers of [`PLAIN`].
    plain: Vec<u32>,
    packet_buffer: u32,
    /// IOADDR.
    io_address: u32,
    eeprom: Eeprom,
    phy: Phy,
    interrupts: Interrupts,
    filter: Filter,
    receiver: Receiver,
    transmitter: Transmitter,
    statistics: Statistics,
    /// The link is up, as STATUS says and the driver was told.
    link: bool,
    /// The PHY's interrupt, as it was looked at last.
    phy_interrupt: bool,
    /// When the transmitter goes on by itself.
    continues: Option<GuestTime>,
}

impl E1000 {
    /// A card with the address `mac` that interrupts by `intx` and reaches memory by `memory`. `cable` is its end of the
    /// cable, `rom` an expansion ROM of a power of two of bytes.
    pub fn new(
        intx: IrqLine,
        memory: BusMaster,
        cable: CableRef,
        mac: MacAddress,
        rom: Option<MemoryRegion>,
    ) -> Self {
        let mut config = ConfigSpace::new(Identity {
            vendor: VENDOR,
            device: DEVICE,
            revision: REVISION,
            class: 0x02_00_00,
            subsystem: (VENDOR, SUBSYSTEM),
            multifunction: false,
            interrupt_pin: 1,
        });
        config.add_bar(REGISTER_BAR.into(), Bar::Memory32 { size: REGISTER_BYTES, prefetchable: false });
        config.add_bar(IO_BAR.into(), Bar::Io { size: IO_BYTES });
        if let Some(rom) = &rom {
            config.add_bar(ROM_SLOT, Bar::Rom { size: rom.bytes() as u32 });
        }
        let phy = Phy::new(cable.carrier(), GuestTime::ZERO);
        Self {
            intx,
            memory,
            cable,
            rom,
            config,
            ctrl: CTRL_AFTER_RESET,
            plain: plain_reset(),
            packet_buffer: PACKET_BUFFER,
            io_address: 0,
            eeprom: Eeprom::new(mac),
            phy,
            interrupts: Interrupts::default(),
            filter: Filter::new(mac),
            receiver: Receiver::default(),
            transmitter: Transmitter::default(),
            statistics: Statistics::default(),
            link: false,
            phy_interrupt: false,
            continues: None,
        }
    }
    /// The register of the transmit ring's tail, for a doorbell.
    pub fn transmit_tail(&self) -> Arc<AtomicU32> {
        self.transmitter.ring.tail_register()
    }
    /// That of the receive ring.
    pub fn receive_tail(&self) -> Arc<AtomicU32> {
        self.receiver.ring.tail_register()
    }
    /// Reset by CTRL: all but the PHY, the EEPROM's content, and the PCI function.
    fn reset_mac(&mut self) {
        self.ctrl = CTRL_AFTER_RESET;
        self.plain = plain_reset();
        self.packet_buffer = PACKET_BUFFER;
        self.eeprom.reset();
        self.interrupts = Interrupts::default();
        self.filter = Filter::new(self.eeprom.mac());
        self.receiver.ring.reset();
        self.receiver.control = 0;
        self.transmitter.reset();
        self.statistics = Statistics::default();
        self.continues = None;
    }

    /// Whether frames that are sent come back, in the MAC or the PHY.
    fn loops_back(&self) -> bool {
        self.receiver.control & rctl::LBM != 0 || self.phy.loops_back()
    }
    /// Whether frames from the network go anywhere.
    fn listens(&self) -> bool {
        self.receiver.enabled() && self.link && !self.loops_back()
    }
    /// The first step of each access: time passes.
    fn catch_up(&mut self, now: GuestTime) {
        if self.next_event().is_none_or(|at| at > now) {
            return;
        }
        self.phy.advance(now);
        if self.continues.is_some_and(|at| at <= now) {
            self.transmit(now);
        }
        self.settle(now);
    }
    /// The last step of each access: the link and the interrupt are as the registers say.
    fn settle(&mut self, now: GuestTime) {
        let link = self.ctrl & ctrl::SLU != 0 && self.phy.link();
        if std::mem::replace(&mut self.link, link) != link {
            self.interrupts.set(cause::LSC);
        }
        let phy_interrupt = self.phy.interrupts();
        if phy_interrupt && !self.phy_interrupt {
            self.interrupts.set(cause::PHYINT);
        }
        self.phy_interrupt = phy_interrupt;
        let asserted = self.interrupts.update(now);
        let level = self.config.set_interrupt(asserted);
        self.intx.set(level);
    }
    /// Something was written: the network may have been waiting for that.
    fn tell_room(&mut self) {
        if self.has_room() {
            self.cable.room();
        }
    }

    /// Sends what the driver has given.
    fn transmit(&mut self, now: GuestTime) {
        let (loops, link, cable) = (self.loops_back(), self.link, &self.cable);
        let around = transmit::Surroundings {
            memory: &self.memory,
            accepts: if loops { Offloads::default() } else { cable.accepts() },
            vlan: (self.ctrl & ctrl::VME != 0).then_some(self.plain[VET_NUMBER] as u16),
            txdctl: self.plain[TXDCTL_NUMBER],
        };
        let mut looped = Vec::new();
        let mut send = |frame: Frame| {
            if loops {
                looped.push(frame);
            } else if link {
                cable.send(frame);
            }
        };
        let ran = self.transmitter.run(&around, &mut self.statistics, &mut send);
        self.interrupts.set(ran.causes);
        if ran.delayed {
            self.interrupts.sent(self.plain[TIDV_NUMBER], self.plain[TADV_NUMBER], now);
        }
        self.continues = ran.more.then(|| now + CONTINUE_NS);
        if self.receiver.enabled() {
            looped.iter().for_each(|frame| _ = self.store(frame, now));
        }
    }
    /// Puts a frame into memory, if it passes the filters; returns whether there was room.
    fn store(&mut self, frame: &Frame, now: GuestTime) -> bool {
        let around = receive::Surroundings {
            memory: &self.memory,
            filter: &self.filter,
            vlan_type: self.plain[VET_NUMBER] as u16,
            strips: self.ctrl & ctrl::VME != 0,
            rxcsum: self.plain[RXCSUM_NUMBER],
            small: self.plain[RSRPD_NUMBER],
        };
        match self.receiver.receive(frame, &around, &mut self.statistics) {
            Received::NoRoom => false,
            Received::Dropped => true,
            Received::Stored(causes) => {
                self.interrupts.set(causes);
                self.interrupts.received(self.plain[RDTR_NUMBER], self.plain[RADV_NUMBER], now);
                true
            }
        }
    }
}

/// Where registers of [`PLAIN`] are that the card itself looks up.
const VET_NUMBER: usize = plain_number(VET);
const RDTR_NUMBER: usize = plain_number(RDTR);
const RADV_NUMBER: usize = plain_number(RADV);
const RSRPD_NUMBER: usize = plain_number(RSRPD);
const RXCSUM_NUMBER: usize = plain_number(RXCSUM);
const TIDV_NUMBER: usize = plain_number(TIDV);
const TADV_NUMBER: usize = plain_number(TADV);
const TXDCTL_NUMBER: usize = plain_number(TXDCTL);

impl NetworkCard for E1000 {
    fn has_room(&mut self) -> bool {
        !self.listens() || self.memory.enabled() && self.receiver.ring.ready() > 0
    }
    fn receive(&mut self, frame: &Frame, now: GuestTime) -> bool {
        self.catch_up(now);
        // It said that it takes no such frames.
        let usable = frame.bytes.len() >= 14 && frame.segmentation.is_none();
        let taken = if !usable || !self.listens() {
            true
        } else if let Some(open) = frame.checksum {
            let mut bytes = frame.bytes.clone();
            let (start, end) = (usize::from(open.start), bytes.len());
            checksum::fill(&mut bytes, start, end, start + usize::from(open.offset));
            self.store(&bytes.into(), now)
        } else {
            self.store(frame, now)
        };
        self.settle(now);
        taken
    }
    fn carrier(&mut self, connected: bool, now: GuestTime) {
        self.catch_up(now);
        self.phy.set_carrier(connected, now);
        self.settle(now);
    }
}

impl Doorbells for E1000 {
    fn rung(&mut self, bells: u64, now: GuestTime) {
        self.catch_up(now);
        if bells & 1 << TRANSMIT_BELL != 0 {
            self.transmit(now);
        }
        self.settle(now);
        self.tell_room();
    }
}

impl Timed for E1000 {
    fn next_event(&self) -> Option<GuestTime> {
        [self.phy.next_event(), self.interrupts.next_event(), self.continues].into_iter().flatten().min()
    }
    fn advance(&mut self, now: GuestTime) {
        self.catch_up(now);
    }
}

impl PciFunction for E1000 {
    fn config_read(&mut self, offset: u8, width: Width) -> u32 {
        self.config.read(offset, width)
    }
    fn config_write(&mut self, offset: u8, width: Width, value: u32, now: GuestTime) -> bool {
        let moved = self.config.write(offset, width, value);
        self.memory.enable(self.config.command(COMMAND_MASTER));
        self.catch_up(now);
        self.settle(now);
        self.tell_room();
        moved
    }
    fn decoded_regions(&self) -> Vec<PciRegion> {
        self.config.decoded_regions()
    }
}

impl PciBars for E1000 {
    fn bar_read(&mut self, bar: u8, offset: u64, width: Width, now: GuestTime) -> u64 {
        self.catch_up(now);
        let value = match bar {
            REGISTER_BAR => {
                let low = u64::from(self.read(offset & !3)) >> (8 * (offset & 3));
                let high = if width == Width::Qword { self.read((offset & !3) + 4) } else { 0 };
                low | u64::from(high) << 32
            }
            IO_BAR => u64::from(self.read_port(offset, width)),
            _ => {
                let mut bytes = [0xFF; 8];
                if let Some(rom) = &self.rom {
                    rom.read(offset, &mut bytes);
                }
                u64::from_le_bytes(bytes)
            }
        };
        self.settle(now);
        value & width.mask()
    }
    fn bar_write(&mut self, bar: u8, offset: u64, width: Width, value: u64, now: GuestTime) {
        self.catch_up(now);
        match bar {
            REGISTER_BAR if offset & 3 == 0 => {
                self.write(offset, value as u32, now);
                if width == Width::Qword {
                    self.write(offset + 4, (value >> 32) as u32, now);
                }
            }
            IO_BAR => self.write_port(offset, width, value as u32, now),
            _ => {}
        }
        self.settle(now);
        self.tell_room();
    }
}

impl Device for E1000 {
    fn reset(&mut self, now: GuestTime) {
        self.config.reset();
        self.memory.enable(false);
        self.io_address = 0;
        self.reset_mac();
        self.phy.reset(now);
        self.settle(now);
        self.tell_room();
    }
    fn info(&self) -> String {
        let (receive, transmit) = (&self.receiver.ring, &self.transmitter.ring);
        format!(
            "{}, link {}, {} receive and {} transmit descriptors, {} free for frames",
            self.eeprom.mac(),
            if self.link { "up" } else { "down" },
            receive.descriptors(),
            transmit.descriptors(),
            receive.ready(),
        )
    }
    fn pci(&mut self) -> Option<&mut dyn PciFunction> {
        Some(self)
    }
    fn bars(&mut self) -> Option<&mut dyn PciBars> {
        Some(self)
    }
    fn timed(&mut self) -> Option<&mut dyn Timed> {
        Some(self)
    }
    fn doorbells(&mut self) -> Option<&mut dyn Doorbells> {
        Some(self)
    }
    fn network_card(&mut self) -> Option<&mut dyn NetworkCard> {
        Some(self)
    }
}
