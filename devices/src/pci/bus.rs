//! Bus 0, its slots, and configuration mechanism 1 (PCI Local Bus Specification 3.0,
//! section 3.2.2.3.2).

use super::{I440fx, Piix3Isa, Piix4Pm, PirqRouter, SOUTH_BRIDGE_SLOT};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use trimotor_bus::pci::{PciRegion, PciSpace};
use trimotor_bus::{
    GuestMemory, GuestTime, PciAddress, PciFunction, PhysAddr, Port, PortDevice, RestoreError, SaveState,
    Width, board,
};

/// Bit 31 of the address register: CFCh to CFFh are a window on configuration space.
const ENABLE: u32 = 1 << 31;
/// The bits of the address register that exist.
const ADDRESS_BITS: u32 = 0x80FF_FFFC;

/// What answers behind a function's base address registers.
pub trait PciBars: Send {
    /// Bus reset (RST#): command register, BARs and all else of the card as after power-on.
    fn reset(&mut self);
    /// Reads `width` bytes at `offset` into the region of `bar`.
    fn bar_read(&mut self, bar: u8, offset: u64, width: Width, now: GuestTime) -> u64;
    /// Writes the low `width` bytes of `value` at `offset` into the region of `bar`.
    fn bar_write(&mut self, bar: u8, offset: u64, width: Width, value: u64, now: GuestTime);
}

/// A card: configuration space and what its BARs open.
pub trait PciCard: PciFunction + PciBars {}
impl<T: PciFunction + PciBars> PciCard for T {}

/// Who decodes an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Decoded {
    /// The function.
    pub function: PciAddress,
    /// Which of its BARs ([`super::piix::PM_BLOCK`] for the power-management block).
    pub bar: u8,
    /// Bytes into the region.
    pub offset: u64,
}

/// PCI bus 0 with the chipset's own functions and cards in slots.
pub struct PciBus {
    host_bridge: I440fx,
    isa_bridge: Piix3Isa,
    power_management: Piix4Pm,
    cards: Vec<(PciAddress, Box<dyn PciCard>)>,
    regions: Vec<(PciAddress, PciRegion)>,
    address: u32,
}

/// The saved state of the bus and the chipset's functions. Cards save themselves.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PciBusStateV1 {
    address: u32,
    host_bridge: super::i440fx::I440fxStateV1,
    isa_bridge: super::ConfigSpaceStateV1,
    power_management: super::ConfigSpaceStateV1,
}

impl PciBus {
    /// A bus with the host bridge of `memory` at 00:00.0, the ISA bridge that sets the routes
    /// of `router` at 00:01.0 and power management at 00:01.3.
    pub fn new(memory: Arc<GuestMemory>, router: Arc<PirqRouter>, power_management: Piix4Pm) -> Self {
        let mut bus = Self {
            host_bridge: I440fx::new(memory),
            isa_bridge: Piix3Isa::new(router),
            power_management,
            cards: Vec::new(),
            regions: Vec::new(),
            address: 0,
        };
        bus.collect_regions();
        bus
    }

    /// Puts a card into a slot of bus 0.
    ///
    /// # Panics
    /// Where the address is taken or not on bus 0: the board's own mistake.
    pub fn insert(&mut self, at: PciAddress, card: Box<dyn PciCard>) {
        assert!(at.bus == 0 && at.device < 32 && at.function < 8, "{at:?} is not on bus 0");
        assert!(self.function(at).is_none(), "{at:?} is taken");
        self.cards.push((at, card));
        self.collect_regions();
    }

    /// The host bridge, for what the board drives: SMM.
    pub fn host_bridge(&mut self) -> &mut I440fx {
        &mut self.host_bridge
    }
    /// Where the power-management ports are now.
    pub fn pm_base(&self) -> Option<Port> {
        self.power_management.pm_base()
    }
    /// The functions on the bus, in the order of their addresses.
    pub fn functions(&self) -> Vec<PciAddress> {
        let chipset = [(0, 0), (SOUTH_BRIDGE_SLOT, 0), (SOUTH_BRIDGE_SLOT, 3)];
        let mut all: Vec<_> = chipset.map(|(d, f)| PciAddress::new(d, f)).to_vec();
        all.extend(self.cards.iter().map(|(at, _)| *at));
        all.sort();
        all
    }

    /// Bus reset of all functions and the address register.
    pub fn reset(&mut self) {
        self.address = 0;
        self.host_bridge.reset();
        self.isa_bridge.reset();
        self.power_management.reset();
        for (_, card) in &mut self.cards {
            card.reset();
        }
        self.collect_regions();
    }

    fn function(&mut self, at: PciAddress) -> Option<&mut dyn PciFunction> {
        const POWER: PciAddress = PciAddress::new(SOUTH_BRIDGE_SLOT, 3);
        const ISA: PciAddress = PciAddress::new(SOUTH_BRIDGE_SLOT, 0);
        const HOST: PciAddress = PciAddress::new(0, 0);
        match at {
            HOST => Some(&mut self.host_bridge),
            ISA => Some(&mut self.isa_bridge),
            POWER => Some(&mut self.power_management),
            _ => {
                let (_, card) = self.cards.iter_mut().find(|(a, _)| *a == at)?;
                Some(card.as_mut() as &mut dyn PciFunction)
            }
        }
    }

    fn collect_regions(&mut self) {
        let mut regions = Vec::new();
        let power = PciAddress::new(SOUTH_BRIDGE_SLOT, 3);
        regions.extend(self.power_management.decoded_regions().into_iter().map(|r| (power, r)));
        for (at, card) in &self.cards {
            regions.extend(card.decoded_regions().into_iter().map(|r| (*at, r)));
        }
        self.regions = regions;
    }

    /// Reads a configuration register; ones where no function is. Aligned or not.
    pub fn config_read(&mut self, at: PciAddress, offset: u8, width: Width) -> u32 {
        let Some(function) = self.function(at) else { return width.mask() as u32 };
        let bytes = width.bytes();
        if (offset as usize).is_multiple_of(bytes) && bytes <= 4 {
            return function.config_read(offset, width);
        }
        (0..bytes.min(4)).fold(0, |value, i| {
            let byte = offset.checked_add(i as u8).map_or(0xFF, |o| function.config_read(o, Width::Byte));
            value | (byte & 0xFF) << (8 * i)
        })
    }

    /// Writes a configuration register. Aligned or not.
    pub fn config_write(&mut self, at: PciAddress, offset: u8, width: Width, value: u32, now: GuestTime) {
        let Some(function) = self.function(at) else { return };
        let bytes = width.bytes();
        if (offset as usize).is_multiple_of(bytes) && bytes <= 4 {
            function.config_write(offset, width, value, now);
        } else {
            for i in 0..bytes.min(4) {
                if let Some(o) = offset.checked_add(i as u8) {
                    function.config_write(o, Width::Byte, value >> (8 * i) & 0xFF, now);
                }
            }
        }
        self.collect_regions();
    }

    /// Who decodes `address` of `space` now. Where regions overlap, the first function's wins.
    pub fn decode(&self, space: PciSpace, address: u64) -> Option<Decoded> {
        self.regions.iter().find_map(|(function, r)| {
            let offset = address.checked_sub(r.base)?;
            (r.space == space && offset < r.size).then_some(Decoded {
                function: *function,
                bar: r.bar,
                offset,
            })
        })
    }
    /// All regions that are decoded now.
    pub fn regions(&self) -> &[(PciAddress, PciRegion)] {
        &self.regions
    }

    /// A read of memory space by a card's BAR; `None` where no card decodes it.
    pub fn memory_read(&mut self, addr: PhysAddr, width: Width, now: GuestTime) -> Option<u64> {
        let (card, hit) = self.card(PciSpace::Memory, addr.0)?;
        Some(card.bar_read(hit.bar, hit.offset, width, now))
    }
    /// A write of memory space; `None` where no card decodes it.
    pub fn memory_write(&mut self, addr: PhysAddr, width: Width, value: u64, now: GuestTime) -> Option<()> {
        let (card, hit) = self.card(PciSpace::Memory, addr.0)?;
        card.bar_write(hit.bar, hit.offset, width, value, now);
        Some(())
    }
    /// A read of I/O space by a card's BAR; `None` where no card decodes it.
    pub fn io_read(&mut self, port: Port, width: Width, now: GuestTime) -> Option<u32> {
        let (card, hit) = self.card(PciSpace::Io, port.0 as u64)?;
        Some(card.bar_read(hit.bar, hit.offset, width, now) as u32)
    }
    /// A write of I/O space; `None` where no card decodes it.
    pub fn io_write(&mut self, port: Port, width: Width, value: u32, now: GuestTime) -> Option<()> {
        let (card, hit) = self.card(PciSpace::Io, port.0 as u64)?;
        card.bar_write(hit.bar, hit.offset, width, value as u64, now);
        Some(())
    }

    fn card(&mut self, space: PciSpace, address: u64) -> Option<(&mut dyn PciCard, Decoded)> {
        let hit = self.decode(space, address)?;
        let (_, card) = self.cards.iter_mut().find(|(at, _)| *at == hit.function)?;
        Some((card.as_mut(), hit))
    }

    /// Function and register that the address register selects, if it is enabled.
    fn selected(&self) -> Option<(PciAddress, u8)> {
        let a = self.address;
        let at =
            PciAddress { bus: (a >> 16) as u8, device: (a >> 11) as u8 & 31, function: (a >> 8) as u8 & 7 };
        (a & ENABLE != 0).then_some((at, a as u8 & 0xFC))
    }
}

/// Ports CF8h to CFFh, without CF9h: byte and word accesses of the address register are not its.
impl PortDevice for PciBus {
    fn port_read(&mut self, port: Port, width: Width, _now: GuestTime) -> u32 {
        let nobody = width.mask() as u32;
        match (port, self.selected()) {
            (board::PCI_CONFIG_ADDRESS, _) if width == Width::Dword => self.address,
            (Port(0xCFC..=0xCFF), Some((at, register))) => {
                let lane = (port.0 & 3) as usize;
                let value = self.config_read(at, register | lane as u8, width);
                // Bytes past CFFh are other ports.
                let lanes = 4 - lane;
                if width.bytes() > lanes { value | (u32::MAX << (8 * lanes)) & nobody } else { value }
            }
            _ => nobody,
        }
    }

    fn port_write(&mut self, port: Port, width: Width, value: u32, now: GuestTime) {
        match (port, self.selected()) {
            (board::PCI_CONFIG_ADDRESS, _) if width == Width::Dword => self.address = value & ADDRESS_BITS,
            (Port(0xCFC..=0xCFF), Some((at, register))) => {
                let lane = (port.0 & 3) as usize;
                if lane + width.bytes() <= 4 {
                    self.config_write(at, register | lane as u8, width, value, now);
                } else {
                    for i in 0..4 - lane {
                        let byte = value >> (8 * i) & 0xFF;
                        self.config_write(at, register | (lane + i) as u8, Width::Byte, byte, now);
                    }
                }
            }
            _ => {}
        }
    }
}

impl SaveState for PciBus {
    type State = PciBusStateV1;
    fn save(&self) -> PciBusStateV1 {
        let Self { host_bridge, isa_bridge, power_management, cards: _, regions: _, address } = self;
        PciBusStateV1 {
            address: *address,
            host_bridge: host_bridge.save(),
            isa_bridge: isa_bridge.save(),
            power_management: power_management.save(),
        }
    }
    fn restore(&mut self, state: PciBusStateV1) -> Result<(), RestoreError> {
        let PciBusStateV1 { address, host_bridge, isa_bridge, power_management } = state;
        if address & !ADDRESS_BITS != 0 {
            let value = format!("{address:#x}");
            return Err(RestoreError { part: "PCI bus", field: "address", value });
        }
        let before = self.save();
        let restored = self
            .host_bridge
            .restore(host_bridge)
            .and_then(|()| self.isa_bridge.restore(isa_bridge))
            .and_then(|()| self.power_management.restore(power_management));
        if restored.is_err() {
            // Each function is unchanged or restored; put back those that were.
            let PciBusStateV1 { address: _, host_bridge, isa_bridge, power_management } = before;
            self.host_bridge.restore(host_bridge)?;
            self.isa_bridge.restore(isa_bridge)?;
            self.power_management.restore(power_management)?;
            return restored;
        }
        self.address = address;
        self.collect_regions();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pci::{Bar, ConfigSpace, Identity};
    use trimotor_bus::IrqLine;

    struct Card {
        config: ConfigSpace,
        written: u64,
    }
    impl PciFunction for Card {
        fn config_read(&mut self, offset: u8, width: Width) -> u32 {
            self.config.read(offset, width)
        }
        fn config_write(&mut self, offset: u8, width: Width, value: u32, _now: GuestTime) {
            self.config.write(offset, width, value);
        }
        fn decoded_regions(&self) -> Vec<PciRegion> {
            self.config.decoded_regions()
        }
    }
    impl PciBars for Card {
        fn reset(&mut self) {
            self.config.reset();
            self.written = 0;
        }
        fn bar_read(&mut self, bar: u8, offset: u64, _width: Width, _now: GuestTime) -> u64 {
            self.written + bar as u64 * 0x1000 + offset
        }
        fn bar_write(&mut self, _bar: u8, _offset: u64, _width: Width, value: u64, _now: GuestTime) {
            self.written = value;
        }
    }

    fn bus() -> PciBus {
        struct Nowhere(IrqLine);
        impl trimotor_bus::IrqSink for Nowhere {
            fn set_level(&self, _line: u8, high: bool) {
                self.0.set(high);
            }
        }
        let memory = GuestMemory::new(1 << 20, &[]).unwrap();
        let router = PirqRouter::new(Arc::new(Nowhere(IrqLine::unconnected())));
        PciBus::new(memory, router, Piix4Pm::default())
    }
    fn card() -> Box<Card> {
        let mut config = ConfigSpace::new(Identity {
            vendor: 0x1234,
            device: 1,
            revision: 0,
            class: 0,
            subsystem: (0, 0),
            multifunction: false,
            interrupt_pin: 1,
        });
        config.add_bar(0, Bar::Io { size: 32 });
        config.add_bar(1, Bar::Memory32 { size: 4096, prefetchable: false });
        Box::new(Card { config, written: 0 })
    }
    fn select(b: &mut PciBus, device: u32, function: u32, register: u32) {
        let address = ENABLE | device << 11 | function << 8 | register;
        b.port_write(Port(0xCF8), Width::Dword, address, GuestTime::ZERO);
    }
    fn read(b: &mut PciBus, port: u16, width: Width) -> u32 {
        b.port_read(Port(port), width, GuestTime::ZERO)
    }

    #[test]
    fn mechanism_1_is_found_as_linux_looks_for_it() {
        let mut b = bus();
        b.port_write(Port(0xCFB), Width::Byte, 1, GuestTime::ZERO);
        b.port_write(Port(0xCF8), Width::Dword, 0x8000_0000, GuestTime::ZERO);
        assert_eq!(read(&mut b, 0xCF8, Width::Dword), 0x8000_0000);
        assert_eq!(read(&mut b, 0xCFC, Width::Dword), 0x1237_8086);
    }

    #[test]
    fn all_widths_and_lanes_reach_the_register() {
        let mut b = bus();
        select(&mut b, 1, 0, 0);
        assert_eq!(read(&mut b, 0xCFC, Width::Word), 0x8086);
        assert_eq!(read(&mut b, 0xCFE, Width::Word), 0x7000);
        assert_eq!(read(&mut b, 0xCFD, Width::Word), 0x0080);
        assert_eq!(read(&mut b, 0xCFF, Width::Byte), 0x70);
        assert_eq!(read(&mut b, 0xCFF, Width::Word), 0xFF70);
        assert_eq!(read(&mut b, 0xCFE, Width::Dword), 0xFFFF_7000);
        select(&mut b, 1, 0, 0x60);
        b.port_write(Port(0xCFE), Width::Byte, 0x0B, GuestTime::ZERO);
        assert_eq!(read(&mut b, 0xCFC, Width::Dword), 0x800B_8080);
        b.port_write(Port(0xCFF), Width::Word, 0x0A0A, GuestTime::ZERO);
        assert_eq!(read(&mut b, 0xCFC, Width::Dword), 0x0A0B_8080);
    }

    #[test]
    fn nobody_answers_ones() {
        let mut b = bus();
        for (device, function) in [(0, 1), (1, 1), (5, 0)] {
            select(&mut b, device, function, 0);
            assert_eq!(read(&mut b, 0xCFC, Width::Dword), 0xFFFF_FFFF);
        }
        select(&mut b, 0, 0, 0x1_0000); // Bus 1.
        assert_eq!(read(&mut b, 0xCFC, Width::Word), 0xFFFF);
        b.port_write(Port(0xCF8), Width::Dword, 0, GuestTime::ZERO);
        assert_eq!(read(&mut b, 0xCFC, Width::Dword), 0xFFFF_FFFF);
    }

    #[test]
    fn bars_reach_their_card() {
        let mut b = bus();
        b.insert(PciAddress::new(3, 0), card());
        assert_eq!(b.functions().len(), 4);
        select(&mut b, 3, 0, 0x10);
        b.port_write(Port(0xCFC), Width::Dword, 0xC020, GuestTime::ZERO);
        select(&mut b, 3, 0, 0x14);
        b.port_write(Port(0xCFC), Width::Dword, 0xFEB0_0000, GuestTime::ZERO);
        assert_eq!(b.io_read(Port(0xC020), Width::Byte, GuestTime::ZERO), None);
        select(&mut b, 3, 0, 4);
        b.port_write(Port(0xCFC), Width::Word, 3, GuestTime::ZERO);
        assert_eq!(b.io_read(Port(0xC03F), Width::Byte, GuestTime::ZERO), Some(0x1F));
        assert_eq!(b.io_read(Port(0xC040), Width::Byte, GuestTime::ZERO), None);
        b.memory_write(PhysAddr(0xFEB0_0004), Width::Dword, 5, GuestTime::ZERO).unwrap();
        assert_eq!(b.memory_read(PhysAddr(0xFEB0_0FFF), Width::Dword, GuestTime::ZERO), Some(5 + 0x1FFF));
        let pm = b.decode(PciSpace::Io, board::PM_TIMER.0 as u64).unwrap();
        assert_eq!((pm.function, pm.offset), (PciAddress::new(1, 3), 8));
    }

    #[test]
    fn a_refused_state_changes_nothing() {
        let mut b = bus();
        select(&mut b, 1, 0, 0x60);
        let before = b.save();
        b.port_write(Port(0xCFC), Width::Byte, 0x0B, GuestTime::ZERO);
        let mut bad = before.clone();
        bad.power_management = super::super::ConfigSpace::new(Identity {
            vendor: 1,
            device: 1,
            revision: 1,
            class: 1,
            subsystem: (0, 0),
            multifunction: false,
            interrupt_pin: 0,
        })
        .save();
        assert!(b.restore(bad).is_err());
        assert_eq!(read(&mut b, 0xCFC, Width::Byte), 0x0B);
        b.restore(before).unwrap();
        assert_eq!(read(&mut b, 0xCFC, Width::Byte), 0x80);
    }

    #[test]
    fn any_configuration_access_is_survived() {
        let mut b = bus();
        b.insert(PciAddress::new(3, 0), card());
        let mut seed = 11u64;
        for _ in 0..50_000 {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let width = [Width::Byte, Width::Word, Width::Dword][(seed >> 50) as usize % 3];
            let (device, function) = [(0, 0), (1, 0), (1, 3), (3, 0)][(seed >> 40) as usize % 4];
            select(&mut b, device, function, (seed >> 32) as u32 & 0xFC);
            let port = Port(0xCF8 + (seed >> 60) as u16 % 8);
            b.port_write(port, width, (seed >> 16) as u32, GuestTime::ZERO);
            b.port_read(port, width, GuestTime::ZERO);
            b.memory_write(PhysAddr(seed >> 28), width, seed, GuestTime::ZERO);
            b.io_read(Port(seed as u16), width, GuestTime::ZERO);
        }
        select(&mut b, 0, 0, 0);
        assert_eq!(read(&mut b, 0xCFC, Width::Dword), 0x1237_8086);
        let state = b.save();
        assert!(b.restore(state).is_ok());
    }

    #[test]
    fn a_reset_closes_what_cards_decode() {
        let mut b = bus();
        let at = PciAddress::new(3, 0);
        b.insert(at, card());
        b.config_write(at, 0x10, Width::Dword, 0xC000, GuestTime::ZERO);
        b.config_write(at, 4, Width::Word, 1, GuestTime::ZERO);
        assert!(b.io_read(Port(0xC000), Width::Byte, GuestTime::ZERO).is_some());
        b.reset();
        assert_eq!(b.io_read(Port(0xC000), Width::Byte, GuestTime::ZERO), None);
        assert_eq!(b.config_read(at, 4, Width::Word), 0);
        assert_eq!(b.config_read(at, 0x10, Width::Dword), 1, "an I/O BAR without an address");
    }
}
