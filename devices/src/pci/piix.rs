//! The south bridge's functions: PIIX3 ISA bridge (8086:7000) and PIIX4 power management
//! (8086:7113), functions 0 and 3 of slot 1.
//!
//! The ISA bridge's registers 60h to 63h route PCI links to ISA interrupts ([`PirqRouter`]);
//! the rest is stored. The power-management function places its block of ports by PMBA (40h)
//! and opens it by PMREGMISC (80h); what answers in the block is a chip of its own.
//!
//! Left out: the SMBus controller (its base register is stored and opens nothing), USB, and
//! device traps.

use super::config_space::*;
use super::pirq::{LINKS, PirqRouter, ROUTE_DISABLED};
use crate::device::Device;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use trimotor_bus::pci::{PciRegion, PciSpace};
use trimotor_bus::{GuestTime, PciFunction, Port, RestoreError, SaveState, Width, board};

/// The slot of the south bridge on bus 0.
pub const SOUTH_BRIDGE_SLOT: u8 = 1;
/// The first of the four route registers.
pub const PIRQRCA: u8 = 0x60;
/// Base address of the power-management ports.
pub const PMBA: u8 = 0x40;
/// Bit 0 opens the power-management ports.
pub const PMREGMISC: u8 = 0x80;
/// The number by which [`PciRegion::bar`] tells the power-management block: no BAR has it.
pub const PM_BLOCK: u8 = 7;

/// The ISA bridge.
pub struct Piix3Isa {
    router: Arc<PirqRouter>,
    config: ConfigSpace,
}

impl Piix3Isa {
    /// The bridge that sets the routes of `router`.
    pub fn new(router: Arc<PirqRouter>) -> Self {
        let mut config = ConfigSpace::new(Identity {
            vendor: 0x8086,
            device: 0x7000,
            revision: 0,
            class: 0x06_01_00,
            subsystem: (0x1AF4, 0x1100),
            multifunction: true,
            interrupt_pin: 0,
        });
        config.preset(COMMAND, &[0x07, 0]); // I/O, memory and master are wired to one.
        config.allow(COMMAND, &[0, (COMMAND_SERR >> 8) as u8]);
        config.preset(STATUS, &[0x00, 0x02]);
        config.preset(0x4C, &[0x4D]);
        config.preset(0x4E, &[0x03]);
        config.allow(0x4C, &[0xFF, 0, 0xFF, 0xFF]); // ISA recovery timer, X-bus chip select.
        config.preset(PIRQRCA, &[ROUTE_DISABLED; LINKS]);
        config.allow(PIRQRCA, &[0x8F; LINKS]);
        config.preset(0x69, &[0x02]);
        config.allow(0x69, &[0xFE, 0x9F, 0x9F]); // Top of memory, miscellaneous status.
        config.allow(0x70, &[0xEF, 0xEF]); // Motherboard device routes.
        config.allow(0x76, &[0xFF; 3]); // DMA, programmable chip select.
        config.allow(0x80, &[0x7F]); // APIC base relocation.
        config.allow(0x82, &[0x0F]); // Deterministic latency control.
        config.allow(0xA0, &[0xFF; 16]); // SMI control and timers.
        let bridge = Self { router, config };
        bridge.apply();
        bridge
    }

    /// Bus reset: the links go nowhere.
    pub fn reset(&mut self) {
        self.config.reset();
        self.apply();
    }

    fn apply(&self) {
        for link in 0..LINKS {
            self.router.set_route(link, self.config.read(PIRQRCA + link as u8, Width::Byte) as u8);
        }
    }
}

impl PciFunction for Piix3Isa {
    fn config_read(&mut self, offset: u8, width: Width) -> u32 {
        self.config.read(offset, width)
    }
    fn config_write(&mut self, offset: u8, width: Width, value: u32, _now: GuestTime) -> bool {
        self.config.write(offset, width, value);
        self.apply();
        false
    }
    fn decoded_regions(&self) -> Vec<PciRegion> {
        Vec::new()
    }
}

impl SaveState for Piix3Isa {
    type State = ConfigSpaceStateV1;
    fn save(&self) -> ConfigSpaceStateV1 {
        let Self { router: _, config } = self;
        config.save()
    }
    fn restore(&mut self, state: ConfigSpaceStateV1) -> Result<(), RestoreError> {
        self.config.restore(state)?;
        self.apply();
        self.router.drive_all();
        Ok(())
    }
}

/// Where a power-management block is now, for who describes the machine to an operating system.
#[derive(Clone, Debug)]
pub struct PmPlace(Arc<AtomicU16>);

impl PmPlace {
    /// The block's first port; where it is closed, where it usually is.
    pub fn base(&self) -> Port {
        Port(self.0.load(Ordering::Acquire))
    }
}

/// The power-management function.
pub struct Piix4Pm {
    config: ConfigSpace,
    place: PmPlace,
}

impl Piix4Pm {
    /// The function with its block at `base` and open, as firmware leaves it; with `None`
    /// closed, as after reset, for firmware that places it itself.
    pub fn new(base: Option<Port>) -> Self {
        let mut config = ConfigSpace::new(Identity {
            vendor: 0x8086,
            device: 0x7113,
            revision: 3,
            class: 0x06_80_00,
            subsystem: (0x1AF4, 0x1100),
            multifunction: true,
            interrupt_pin: 1,
        });
        config.preset(STATUS, &[0x80, 0x02]);
        config.allow(COMMAND, &[COMMAND_IO as u8, 0]);
        config.preset(INTERRUPT_LINE, &[board::SCI_IRQ]);
        let bits = base.map_or(0, |port| port.0 & !(board::PM_BYTES - 1)) | 1;
        config.preset(PMBA, &bits.to_le_bytes());
        config.allow(PMBA, &(!(board::PM_BYTES - 1)).to_le_bytes());
        config.allow(0x44, &[0xFF; 0x28]); // Counters, general-purpose control, device activity.
        // APMC_EN of device activity B: SMIs from port B2h are set up already. They are not modelled: what they would do, turn
        // ACPI on and off, the registers do; and firmware that finds the bit set waits for none.
        config.preset(0x5B, &[0x02]);
        config.preset(PMREGMISC, &[base.is_some() as u8]);
        config.allow(PMREGMISC, &[0x01]);
        config.preset(0x90, &[0x01]);
        config.allow(0x90, &[0xF0, 0xFF, 0, 0]); // SMBus base.
        config.allow(0xD2, &[0x0F, 0xFF, 0xFF, 0xFF, 0xFF]); // SMBus host configuration.
        let function = Self { config, place: PmPlace(Arc::default()) };
        function.tell_place();
        function
    }

    /// Bus reset: as built.
    pub fn reset(&mut self) {
        self.config.reset();
        self.tell_place();
    }
    /// A handle that tells where the block is.
    pub fn place(&self) -> PmPlace {
        self.place.clone()
    }
    fn tell_place(&self) {
        self.place.0.store(self.pm_base().unwrap_or(board::PM_BASE).0, Ordering::Release);
    }

    /// Where the power-management block answers now, if it does.
    pub fn pm_base(&self) -> Option<Port> {
        let base = self.config.u16(PMBA) & !(board::PM_BYTES - 1);
        let open = self.config.read(PMREGMISC, Width::Byte) & 1 != 0;
        (open && base != 0).then_some(Port(base))
    }
}

impl Default for Piix4Pm {
    fn default() -> Self {
        Self::new(Some(board::PM_BASE))
    }
}

impl PciFunction for Piix4Pm {
    fn config_read(&mut self, offset: u8, width: Width) -> u32 {
        self.config.read(offset, width)
    }
    fn config_write(&mut self, offset: u8, width: Width, value: u32, _now: GuestTime) -> bool {
        let before = self.pm_base();
        self.config.write(offset, width, value);
        self.tell_place();
        self.pm_base() != before
    }
    fn decoded_regions(&self) -> Vec<PciRegion> {
        let region = |base: Port| PciRegion {
            bar: PM_BLOCK,
            space: PciSpace::Io,
            base: base.0 as u64,
            size: board::PM_BYTES as u64,
        };
        self.pm_base().map(region).into_iter().collect()
    }
}

impl SaveState for Piix4Pm {
    type State = ConfigSpaceStateV1;
    fn save(&self) -> ConfigSpaceStateV1 {
        let Self { config, place: _ } = self;
        config.save()
    }
    fn restore(&mut self, state: ConfigSpaceStateV1) -> Result<(), RestoreError> {
        self.config.restore(state)?;
        self.tell_place();
        Ok(())
    }
}

impl Device for Piix3Isa {
    fn reset(&mut self, _now: GuestTime) {
        Piix3Isa::reset(self);
    }
    fn info(&self) -> String {
        format!(
            "PCI links routed to {:02x?}",
            (0..4).map(|link| self.config.read(PIRQRCA + link, Width::Byte)).collect::<Vec<_>>()
        )
    }
    fn pci(&mut self) -> Option<&mut dyn PciFunction> {
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use trimotor_bus::IrqSink;

    struct Log(Mutex<Vec<(u8, bool)>>);
    impl IrqSink for Log {
        fn set_level(&self, line: u8, high: bool) {
            self.0.lock().unwrap().push((line, high));
        }
    }

    #[test]
    fn route_registers_route() {
        let log = Arc::new(Log(Mutex::default()));
        let router = PirqRouter::new(log.clone());
        let mut isa = Piix3Isa::new(router.clone());
        assert_eq!(isa.config_read(0, Width::Dword), 0x7000_8086);
        assert_eq!(isa.config_read(0x0E, Width::Byte), 0x80);
        assert_eq!(isa.config_read(PIRQRCA, Width::Dword), 0x8080_8080);
        isa.config_write(PIRQRCA, Width::Dword, 0x0B0A_0B0A, GuestTime::ZERO);
        router.wire(1, 1).set(true);
        router.wire(1, 2).set(true);
        assert_eq!(*log.0.lock().unwrap(), [(10, true), (11, true)]);
        let state = isa.save();
        isa.reset();
        isa.restore(state).unwrap();
        // Both are high again, as the last word on each input says.
        let drives = log.0.lock().unwrap();
        for irq in 0..16 {
            let last = drives.iter().rev().find(|(driven, _)| *driven == irq);
            assert_eq!(last.is_some_and(|(_, high)| *high), matches!(irq, 10 | 11), "{irq}");
        }
    }

    #[test]
    fn the_pm_block_moves_and_closes() {
        let mut pm = Piix4Pm::default();
        assert_eq!(pm.pm_base(), Some(board::PM_BASE));
        assert_eq!(pm.config_read(PMBA, Width::Dword), board::PM_BASE.0 as u32 | 1);
        pm.config_write(PMBA, Width::Dword, 0xB03F, GuestTime::ZERO);
        assert_eq!(pm.decoded_regions()[0].base, 0xB000);
        pm.config_write(PMREGMISC, Width::Byte, 0, GuestTime::ZERO);
        assert_eq!(pm.pm_base(), None);
        assert_eq!(Piix4Pm::new(None).pm_base(), None);
    }
}
