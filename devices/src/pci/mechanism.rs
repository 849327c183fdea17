//! Configuration mechanism 1 (PCI Local Bus Specification 3.0, section 3.2.2.3.2): a dword written to
//! CF8h selects bus, device, function and register, and CFCh to CFFh are a window on that register.

use serde::{Deserialize, Serialize};
use trimotor_bus::{GuestTime, PciAddress, PciFunction, Port, RestoreError, SaveState, Width, board};

/// Bit 31 of the address register: CFCh to CFFh are a window on configuration space.
const ENABLE: u32 = 1 << 31;
/// The bits of the address register that exist.
const ADDRESS_BITS: u32 = 0x80FF_FFFC;

/// Where configuration cycles end: the functions on the bus.
pub trait ConfigCycles {
    /// Lets `access` at the function at `at`; `None` where there is none.
    fn function<R>(&mut self, at: PciAddress, access: impl FnOnce(&mut dyn PciFunction) -> R) -> Option<R>;
}

/// The address register.
#[derive(Debug, Default)]
pub struct ConfigMechanism {
    address: u32,
}

/// The saved state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigMechanismStateV1 {
    address: u32,
}

impl ConfigMechanism {
    /// Bus reset.
    pub fn reset(&mut self) {
        self.address = 0;
    }

    /// Function and register that the address register selects, if it is enabled.
    fn selected(&self) -> Option<(PciAddress, u8)> {
        let a = self.address;
        let at =
            PciAddress { bus: (a >> 16) as u8, device: (a >> 11) as u8 & 31, function: (a >> 8) as u8 & 7 };
        (a & ENABLE != 0).then_some((at, a as u8 & 0xFC))
    }

    /// A read of ports CF8h to CFFh. Byte and word accesses of the address register are not its: CF9h is
    /// reset control.
    pub fn port_read(&self, port: Port, width: Width, functions: &mut impl ConfigCycles) -> u32 {
        let nobody = width.mask() as u32;
        match (port, self.selected()) {
            (board::PCI_CONFIG_ADDRESS, _) if width == Width::Dword => self.address,
            (Port(0xCFC..=0xCFF), Some((at, register))) => {
                let lane = (port.0 & 3) as usize;
                let value = functions.function(at, |f| read(f, register | lane as u8, width));
                let value = value.unwrap_or(nobody);
                // Bytes past CFFh are other ports.
                let lanes = 4 - lane;
                if width.bytes() > lanes { value | (u32::MAX << (8 * lanes)) & nobody } else { value }
            }
            _ => nobody,
        }
    }

    /// A write of ports CF8h to CFFh. Returns the function whose decoded regions may have changed.
    pub fn port_write(
        &mut self,
        port: Port,
        width: Width,
        value: u32,
        now: GuestTime,
        functions: &mut impl ConfigCycles,
    ) -> Option<PciAddress> {
        match (port, self.selected()) {
            (board::PCI_CONFIG_ADDRESS, _) if width == Width::Dword => {
                self.address = value & ADDRESS_BITS;
                None
            }
            (Port(0xCFC..=0xCFF), Some((at, register))) => {
                let lane = (port.0 & 3) as usize;
                let bytes = width.bytes().min(4 - lane);
                let changed =
                    functions.function(at, |f| write(f, register | lane as u8, bytes, value, now))?;
                changed.then_some(at)
            }
            _ => None,
        }
    }
}

/// Reads `width` bytes of configuration space, aligned or not. Past the end: ones.
pub fn read(function: &mut dyn PciFunction, offset: u8, width: Width) -> u32 {
    let bytes = width.bytes().min(4);
    if usize::from(offset).is_multiple_of(bytes) {
        return function.config_read(offset, width);
    }
    (0..bytes).fold(0, |value, i| {
        let byte = offset.checked_add(i as u8).map_or(0xFF, |o| function.config_read(o, Width::Byte));
        value | (byte & 0xFF) << (8 * i)
    })
}

/// Writes `bytes` bytes (1 to 4) of configuration space, aligned or not; returns whether the function's decoded
/// regions may have changed.
pub fn write(function: &mut dyn PciFunction, offset: u8, bytes: usize, value: u32, now: GuestTime) -> bool {
    let whole = match bytes {
        1 => Some(Width::Byte),
        2 => Some(Width::Word),
        4 => Some(Width::Dword),
        _ => None,
    };
    if let Some(width) = whole
        && usize::from(offset).is_multiple_of(bytes)
    {
        return function.config_write(offset, width, value, now);
    }
    (0..bytes.min(4)).fold(false, |changed, i| {
        let Some(at) = offset.checked_add(i as u8) else { return changed };
        changed | function.config_write(at, Width::Byte, value >> (8 * i) & 0xFF, now)
    })
}

impl SaveState for ConfigMechanism {
    type State = ConfigMechanismStateV1;
    fn save(&self) -> ConfigMechanismStateV1 {
        let Self { address } = self;
        ConfigMechanismStateV1 { address: *address }
    }
    fn restore(&mut self, state: ConfigMechanismStateV1) -> Result<(), RestoreError> {
        let ConfigMechanismStateV1 { address } = state;
        if address & !ADDRESS_BITS != 0 {
            let value = format!("{address:#x}");
            return Err(RestoreError { part: "PCI configuration mechanism", field: "address", value });
        }
        self.address = address;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pci::{Bar, ConfigSpace, Identity};
    use trimotor_bus::pci::PciRegion;

    struct Function(ConfigSpace);
    impl PciFunction for Function {
        fn config_read(&mut self, offset: u8, width: Width) -> u32 {
            self.0.read(offset, width)
        }
        fn config_write(&mut self, offset: u8, width: Width, value: u32, _now: GuestTime) -> bool {
            self.0.write(offset, width, value)
        }
        fn decoded_regions(&self) -> Vec<PciRegion> {
            self.0.decoded_regions()
        }
    }

    /// One function in slot 3.
    struct Slot3(Function);
    impl ConfigCycles for Slot3 {
        fn function<R>(
            &mut self,
            at: PciAddress,
            access: impl FnOnce(&mut dyn PciFunction) -> R,
        ) -> Option<R> {
            (at == PciAddress::new(3, 0)).then(|| access(&mut self.0))
        }
    }

    fn bus() -> (ConfigMechanism, Slot3) {
        let mut config = ConfigSpace::new(Identity {
            vendor: 0x8086,
            device: 0x7000,
            revision: 0,
            class: 0,
            subsystem: (0, 0),
            multifunction: false,
            interrupt_pin: 1,
        });
        config.add_bar(0, Bar::Io { size: 32 });
        config.preset(0x60, &[0x80; 4]);
        config.allow(0x60, &[0x8F; 4]);
        (ConfigMechanism::default(), Slot3(Function(config)))
    }
    fn select(mechanism: &mut ConfigMechanism, slot: &mut Slot3, address: u32) {
        mechanism.port_write(board::PCI_CONFIG_ADDRESS, Width::Dword, address, GuestTime::ZERO, slot);
    }

    #[test]
    fn mechanism_1_is_found_as_linux_looks_for_it() {
        let (mut m, mut slot) = bus();
        m.port_write(Port(0xCFB), Width::Byte, 1, GuestTime::ZERO, &mut slot);
        select(&mut m, &mut slot, 0x8000_0000);
        assert_eq!(m.port_read(Port(0xCF8), Width::Dword, &mut slot), 0x8000_0000);
        select(&mut m, &mut slot, 0x8000_1800);
        assert_eq!(m.port_read(Port(0xCFC), Width::Dword, &mut slot), 0x7000_8086);
    }

    #[test]
    fn all_widths_and_lanes_reach_the_register() {
        let (mut m, mut slot) = bus();
        select(&mut m, &mut slot, 0x8000_1800);
        let reads = [
            (0xCFC, Width::Word, 0x8086),
            (0xCFE, Width::Word, 0x7000),
            (0xCFD, Width::Word, 0x0080),
            (0xCFF, Width::Byte, 0x70),
            (0xCFF, Width::Word, 0xFF70),
            (0xCFE, Width::Dword, 0xFFFF_7000),
        ];
        for (port, width, value) in reads {
            assert_eq!(m.port_read(Port(port), width, &mut slot), value, "{port:#x} {width:?}");
        }
        select(&mut m, &mut slot, 0x8000_1860);
        m.port_write(Port(0xCFE), Width::Byte, 0x0B, GuestTime::ZERO, &mut slot);
        assert_eq!(m.port_read(Port(0xCFC), Width::Dword, &mut slot), 0x800B_8080);
        m.port_write(Port(0xCFF), Width::Word, 0x0A0A, GuestTime::ZERO, &mut slot);
        assert_eq!(m.port_read(Port(0xCFC), Width::Dword, &mut slot), 0x0A0B_8080);
        m.port_write(Port(0xCFD), Width::Dword, 0x0101_0101, GuestTime::ZERO, &mut slot);
        assert_eq!(m.port_read(Port(0xCFC), Width::Dword, &mut slot), 0x0101_0180);
    }

    #[test]
    fn nobody_answers_ones() {
        let (mut m, mut slot) = bus();
        for address in [0x8000_1900, 0x8000_2800, 0x8001_1800, 0x0000_1800] {
            select(&mut m, &mut slot, address);
            assert_eq!(m.port_read(Port(0xCFC), Width::Dword, &mut slot), 0xFFFF_FFFF, "{address:#x}");
            assert_eq!(m.port_write(Port(0xCFC), Width::Dword, 0, GuestTime::ZERO, &mut slot), None);
        }
    }

    #[test]
    fn writes_that_change_what_is_decoded_are_told() {
        let (mut m, mut slot) = bus();
        let at = PciAddress::new(3, 0);
        for (register, value, told) in
            [(0x10, 0xC000, Some(at)), (0x04, 1, Some(at)), (0x04, 1, None), (0x3C, 11, None)]
        {
            select(&mut m, &mut slot, 0x8000_1800 | register);
            let told_now = m.port_write(Port(0xCFC), Width::Dword, value, GuestTime::ZERO, &mut slot);
            assert_eq!(told_now, told, "{register:#x}");
        }
        assert_eq!(slot.0.decoded_regions()[0].base, 0xC000);
    }

    #[test]
    fn a_state_with_bits_that_do_not_exist_is_refused() {
        let (mut m, _) = bus();
        assert!(m.restore(ConfigMechanismStateV1 { address: 3 }).is_err());
        m.restore(ConfigMechanismStateV1 { address: 0x8000_1800 }).unwrap();
        assert_eq!(m.selected(), Some((PciAddress::new(3, 0), 0)));
    }
}
