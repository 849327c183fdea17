//! Which port is whose: a table of 65536 bytes, so that an access finds its chip in one load.

use trimotor_bus::{Port, Width, board};
use trimotor_devices::{post_port, test_device, vga_text, x87_error};

/// Who answers a port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum PortOwner {
    /// No chip; PCI cards are asked.
    Nobody,
    /// The PIC pair with the ELCR.
    Pic,
    /// The PIT and port 61h.
    Pit,
    /// The keyboard controller.
    I8042,
    /// The real-time clock.
    Rtc,
    /// Port 80h.
    Post,
    /// Port F0h.
    X87Error,
    /// The DMA controllers.
    Dma,
    /// CF9h and 92h.
    ResetControl,
    /// The ACPI power-management block and SMI_CMD.
    AcpiPm,
    /// COM1; the others follow.
    Serial0,
    /// COM2.
    Serial1,
    /// COM3.
    Serial2,
    /// COM4.
    Serial3,
    /// The VGA.
    Vga,
    /// The debug console.
    DebugPort,
    /// isa-debug-exit.
    DebugExit,
    /// pvpanic.
    PvPanic,
    /// fw_cfg.
    FwCfg,
    /// PCI configuration mechanism 1.
    PciConfig,
    /// The test device.
    Test,
}

/// The table.
pub struct PortMap {
    owners: Box<[PortOwner; 1 << 16]>,
    /// Where the power-management block is.
    pm_base: Option<Port>,
}

impl Default for PortMap {
    fn default() -> Self {
        Self::new()
    }
}

impl PortMap {
    /// The ports that every board has.
    pub fn new() -> Self {
        let owners = vec![PortOwner::Nobody; 1 << 16].into_boxed_slice();
        // A slice of exactly this length: the conversion cannot fail.
        let owners = owners.try_into().unwrap_or_else(|_| unreachable!("the length is right"));
        let mut map = Self { owners, pm_base: None };
        map.place(Port(0x00), 0x10, PortOwner::Dma);
        map.place(Port(0x81), 0x0F, PortOwner::Dma);
        map.place(Port(0xC0), 0x20, PortOwner::Dma);
        for pic in [board::PIC_MASTER, board::PIC_SLAVE, board::ELCR] {
            map.place(pic, 2, PortOwner::Pic);
        }
        map.place(board::PIT, 4, PortOwner::Pit);
        map.place(board::SYSTEM_CONTROL_B, 1, PortOwner::Pit);
        map.place(board::I8042_DATA, 1, PortOwner::I8042);
        map.place(board::I8042_COMMAND, 1, PortOwner::I8042);
        map.place(board::CMOS, 4, PortOwner::Rtc);
        map.place(post_port::POST_PORT, 1, PortOwner::Post);
        map.place(x87_error::COPROCESSOR_ERROR, 1, PortOwner::X87Error);
        map.place(board::SYSTEM_CONTROL_A, 1, PortOwner::ResetControl);
        map.place(board::SMI_COMMAND, 2, PortOwner::AcpiPm);
        map.place(vga_text::FIRST_PORT, vga_text::LAST_PORT.0 - vga_text::FIRST_PORT.0 + 1, PortOwner::Vga);
        map.place(board::DEBUG_PORT, 1, PortOwner::DebugPort);
        map.place(board::FW_CFG, 12, PortOwner::FwCfg);
        map.place(board::PCI_CONFIG_ADDRESS, 8, PortOwner::PciConfig);
        map.place(board::RESET_CONTROL, 1, PortOwner::ResetControl);
        map
    }
    /// Places serial port `index`, 0 to 3.
    pub fn place_serial(&mut self, index: usize) {
        let owner =
            [PortOwner::Serial0, PortOwner::Serial1, PortOwner::Serial2, PortOwner::Serial3][index & 3];
        self.place(board::SERIAL[index & 3], 8, owner);
    }
    /// Places the test device.
    pub fn place_test_device(&mut self) {
        self.place(test_device::IRQ_PORTS, test_device::IRQ_COUNT, PortOwner::Test);
        // Four bytes that echo, and a dword.
        self.place(test_device::ECHO_PORTS, 8, PortOwner::Test);
    }
    /// Moves the power-management block to where the PIIX4 now decodes it.
    pub fn move_pm(&mut self, base: Option<Port>) {
        if base == self.pm_base {
            return;
        }
        if let Some(old) = self.pm_base {
            // What lies amid the block and is another chip's, or the APM ports, stays.
            for port in old.0..=old.0.saturating_add(board::PM_BYTES - 1) {
                if self.pm_offset(Port(port)).is_some() && self.owner(Port(port)) == PortOwner::AcpiPm {
                    self.place(Port(port), 1, PortOwner::Nobody);
                }
            }
        }
        if let Some(new) = base {
            // A base on top of another chip opens only what nobody has.
            self.place_where_nobody_is(new, board::PM_BYTES, PortOwner::AcpiPm);
        }
        self.pm_base = base;
    }
    /// A port's offset into the power-management block, if it is in it.
    pub fn pm_offset(&self, port: Port) -> Option<u16> {
        let is_apm = port == board::SMI_COMMAND || port.0 == board::SMI_COMMAND.0 + 1;
        port.0.checked_sub(self.pm_base?.0).filter(|offset| *offset < board::PM_BYTES && !is_apm)
    }
    /// Gives `count` ports from `first` on to `owner`.
    pub fn place(&mut self, first: Port, count: u16, owner: PortOwner) {
        for port in first.0..=first.0.saturating_add(count - 1) {
            self.owners[usize::from(port)] = owner;
        }
    }
    /// Gives those of `count` ports from `first` on that nobody has to `owner`.
    fn place_where_nobody_is(&mut self, first: Port, count: u16, owner: PortOwner) {
        for port in first.0..=first.0.saturating_add(count - 1) {
            if self.owner(Port(port)) == PortOwner::Nobody {
                self.place(Port(port), 1, owner);
            }
        }
    }
    /// Places isa-debug-exit, whose register is a dword.
    pub fn place_debug_exit(&mut self, port: Port) {
        self.place(port, 1, PortOwner::DebugExit);
        self.place_where_nobody_is(port, 4, PortOwner::DebugExit);
    }
    /// Whether an access is divided into byte cycles, because its last port is another chip's than its first, or
    /// beyond the last port of all.
    #[inline]
    pub fn divides(&self, port: Port, width: Width) -> bool {
        let more = width.bytes().min(4) as u16 - 1;
        more != 0 && port.0.checked_add(more).is_none_or(|last| self.owner(Port(last)) != self.owner(port))
    }
    /// Who answers a port.
    #[inline]
    pub fn owner(&self, port: Port) -> PortOwner {
        self.owners[usize::from(port.0)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_have_their_owners() {
        let mut map = PortMap::new();
        assert_eq!(map.owner(Port(0xCF8)), PortOwner::PciConfig);
        assert_eq!(map.owner(Port(0xCF9)), PortOwner::ResetControl);
        assert_eq!(map.owner(Port(0x21)), PortOwner::Pic);
        assert_eq!(map.owner(Port(0x80)), PortOwner::Post);
        assert_eq!(map.owner(Port(0xFFFF)), PortOwner::Nobody);
        map.place_serial(0);
        assert_eq!(map.owner(Port(0x3FF)), PortOwner::Serial0);
    }

    #[test]
    fn wide_accesses_are_divided_between_chips() {
        let map = PortMap::new();
        for (port, width, divided) in [
            (0x21, Width::Byte, false),
            (0x20, Width::Word, false),
            (0x21, Width::Word, true),
            (0x60, Width::Word, true),
            (0x3C4, Width::Word, false),
            // CF9h lies amid the address register, which is accessed as a whole.
            (0xCF8, Width::Dword, false),
            (0xCF8, Width::Word, true),
            (0xFFFE, Width::Word, false),
            (0xFFFE, Width::Dword, true),
            (0xFFFF, Width::Word, true),
        ] {
            assert_eq!(map.divides(Port(port), width), divided, "{port:#x} {width:?}");
        }
    }

    #[test]
    fn the_pm_block_moves() {
        let mut map = PortMap::new();
        map.move_pm(Some(board::PM_BASE));
        assert_eq!(map.owner(Port(0x608)), PortOwner::AcpiPm);
        map.move_pm(Some(Port(0xB000)));
        assert_eq!(map.owner(Port(0x608)), PortOwner::Nobody);
        assert_eq!(map.pm_offset(Port(0xB008)), Some(8));
        map.move_pm(Some(Port(0x40)));
        assert_eq!(map.owner(Port(0x40)), PortOwner::Pit);
        assert_eq!(map.owner(Port(0x48)), PortOwner::AcpiPm);
        // Onto the APM ports.
        map.move_pm(Some(Port(0x80)));
        assert_eq!((map.owner(Port(0x40)), map.owner(Port(0x48))), (PortOwner::Pit, PortOwner::Nobody));
        assert_eq!((map.pm_offset(Port(0xB1)), map.pm_offset(board::SMI_COMMAND)), (Some(0x31), None));
        map.move_pm(None);
        assert_eq!(map.owner(board::SMI_COMMAND), PortOwner::AcpiPm);
        assert_eq!(map.owner(Port(0xB1)), PortOwner::Nobody);
    }
}
