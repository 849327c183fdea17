//! The board as one vCPU sees it.

use crate::alarms::Alarm;
use crate::board::{Board, NO_PAGE};
use crate::mmio::{self, MmioOwner};
use crate::ports::PortOwner;
use trimotor_bus::cpu_bus::NoSuchMsr;
use trimotor_bus::{CpuBus, GuestTime, MmioDevice, PhysAddr, Port, PortDevice, VcpuSignals, Width, board};
use trimotor_devices::isa_cycles;

/// MSRs of the local APIC after whose writes its timer may want to be woken at another time.
const TIMER_MSRS: [u32; 6] = [0x1B, 0x6E0, 0x80F, 0x832, 0x838, 0x83E];
/// The same as offsets in its page.
const TIMER_OFFSETS: [u64; 4] = [0x0F0, 0x320, 0x380, 0x3E0];

/// The board as vCPU `cpu` sees it, for one run.
pub struct VcpuBus<'a> {
    pub(crate) board: &'a mut Board,
    pub(crate) cpu: usize,
}

impl VcpuBus<'_> {
    /// Asks a chip again when it wants to be woken, and ends the slice where that is within it.
    #[inline]
    fn refresh(&mut self, alarm: Alarm) {
        self.board.refresh(alarm);
        if self.board.alarms.earliest_ns() < self.board.slice_end_ns {
            self.board.signals[self.cpu].raise(VcpuSignals::KICK);
        }
    }
    /// Ends the slice where a chip asked something of the machine.
    #[inline]
    fn look_at_requests(&mut self) {
        if self.board.requests.pending() {
            self.board.signals[self.cpu].raise(VcpuSignals::KICK);
        }
    }
    /// The power-management block's port as its chip knows it, wherever the PIIX4 decodes it.
    fn pm_port(&self, port: Port) -> Port {
        self.board.ports.pm_offset(port).map_or(port, |offset| Port(board::PM_BASE.0 + offset))
    }
    fn pci_config_write(&mut self, port: Port, width: Width, value: u32, now: GuestTime) {
        self.board.pci.port_write(port, width, value, now);
        if port.0 >= board::PCI_CONFIG_DATA.0 {
            self.board.ports.move_pm(self.board.pci.pm_base());
        }
    }
    fn in_apic_page(&self, addr: PhysAddr) -> bool {
        let page = self.board.apic_pages[self.cpu];
        page == addr.page().0 && page != NO_PAGE
    }
    fn serial(owner: PortOwner) -> usize {
        owner as usize - PortOwner::Serial0 as usize
    }
}

impl CpuBus for VcpuBus<'_> {
    #[inline]
    fn set_retired(&mut self, instructions: u64) {
        self.board.clock.set_retired(instructions);
    }

    fn port_read(&mut self, port: Port, width: Width) -> u32 {
        if self.board.ports.divides(port, width) {
            return isa_cycles::read_bytes(port, width, |p| self.port_read(p, Width::Byte) as u8);
        }
        let nobody = width.mask() as u32;
        let b = &mut *self.board;
        let owner = b.ports.owner(port);
        match owner {
            PortOwner::Nobody => {
                if b.pci.regions().is_empty() {
                    return nobody;
                }
                let now = b.clock.now();
                b.pci.io_read(port, width, now).unwrap_or(nobody)
            }
            PortOwner::Pic => {
                let fabric = &b.fabric;
                isa_cycles::read_bytes(port, width, |p| fabric.pic_read(p))
            }
            PortOwner::X87Error => b.x87_error.port_read(port, width, b.clock.latest()),
            PortOwner::Post => b.post.port_read(port, width, b.clock.latest()),
            PortOwner::Dma => b.dma.port_read(port, width, b.clock.latest()),
            PortOwner::ResetControl => b.reset_control.port_read(port, width, b.clock.latest()),
            PortOwner::PciConfig => b.pci.port_read(port, width, b.clock.latest()),
            PortOwner::FwCfg => b.fw_cfg.port_read(port, width, b.clock.latest()),
            PortOwner::DebugPort => {
                b.debug_port.as_mut().map_or(nobody, |d| d.port_read(port, width, b.clock.latest()))
            }
            PortOwner::DebugExit => {
                b.debug_exit.as_mut().map_or(nobody, |d| d.port_read(port, width, b.clock.latest()))
            }
            PortOwner::PvPanic => {
                b.pvpanic.as_mut().map_or(nobody, |d| d.port_read(port, width, b.clock.latest()))
            }
            PortOwner::Test => {
                b.test_device.as_mut().map_or(nobody, |d| d.port_read(port, width, b.clock.latest()))
            }
            PortOwner::Vga => {
                let now = b.clock.now();
                b.vga.port_read(port, width, now)
            }
            PortOwner::Pit => {
                let now = b.clock.now();
                let value = b.pit.port_read(port, width, now);
                self.refresh(Alarm::Pit);
                value
            }
            PortOwner::Rtc => {
                let now = b.clock.now();
                let value = b.rtc.port_read(port, width, now);
                self.refresh(Alarm::Rtc);
                value
            }
            PortOwner::I8042 => {
                let now = b.clock.now();
                let value = b.i8042.port_read(port, width, now);
                self.refresh(Alarm::I8042);
                value
            }
            PortOwner::AcpiPm => {
                let port = self.pm_port(port);
                let now = self.board.clock.now();
                self.board.acpi_pm.port_read(port, width, now)
            }
            PortOwner::Serial0 | PortOwner::Serial1 | PortOwner::Serial2 | PortOwner::Serial3 => {
                let index = Self::serial(owner);
                let now = b.clock.now();
                let Some(serial) = b.serials.get_mut(index) else { return nobody };
                let value = serial.port_read(port, width, now);
                self.refresh(Alarm::serial(index));
                value
            }
        }
    }

    fn port_write(&mut self, port: Port, width: Width, value: u32) {
        if self.board.ports.divides(port, width) {
            return isa_cycles::write_bytes(port, width, value, |p, byte| {
                self.port_write(p, Width::Byte, byte.into());
            });
        }
        let b = &mut *self.board;
        let owner = b.ports.owner(port);
        match owner {
            PortOwner::Nobody => {
                if !b.pci.regions().is_empty() {
                    let now = b.clock.now();
                    _ = b.pci.io_write(port, width, value, now);
                }
            }
            PortOwner::Pic => {
                let fabric = &b.fabric;
                isa_cycles::write_bytes(port, width, value, |p, byte| fabric.pic_write(p, byte));
            }
            PortOwner::X87Error => b.x87_error.port_write(port, width, value, b.clock.latest()),
            PortOwner::Post => b.post.port_write(port, width, value, b.clock.latest()),
            PortOwner::Dma => b.dma.port_write(port, width, value, b.clock.latest()),
            PortOwner::FwCfg => b.fw_cfg.port_write(port, width, value, b.clock.latest()),
            PortOwner::DebugPort => {
                if let Some(device) = &mut b.debug_port {
                    device.port_write(port, width, value, b.clock.latest());
                }
            }
            PortOwner::Test => {
                if let Some(device) = &mut b.test_device {
                    device.port_write(port, width, value, b.clock.latest());
                }
            }
            PortOwner::DebugExit => {
                if let Some(device) = &mut b.debug_exit {
                    device.port_write(port, width, value, b.clock.latest());
                }
                self.look_at_requests();
            }
            PortOwner::PvPanic => {
                if let Some(device) = &mut b.pvpanic {
                    device.port_write(port, width, value, b.clock.latest());
                }
                self.look_at_requests();
            }
            PortOwner::ResetControl => {
                b.reset_control.port_write(port, width, value, b.clock.latest());
                self.look_at_requests();
            }
            PortOwner::PciConfig => {
                let now = b.clock.now();
                self.pci_config_write(port, width, value, now);
            }
            PortOwner::Vga => {
                let now = b.clock.now();
                b.vga.port_write(port, width, value, now);
            }
            PortOwner::Pit => {
                let now = b.clock.now();
                b.pit.port_write(port, width, value, now);
                self.refresh(Alarm::Pit);
            }
            PortOwner::Rtc => {
                let now = b.clock.now();
                b.rtc.port_write(port, width, value, now);
                self.refresh(Alarm::Rtc);
            }
            PortOwner::I8042 => {
                let now = b.clock.now();
                b.i8042.port_write(port, width, value, now);
                self.refresh(Alarm::I8042);
                self.look_at_requests();
            }
            PortOwner::AcpiPm => {
                let port = self.pm_port(port);
                let now = self.board.clock.now();
                self.board.acpi_pm.port_write(port, width, value, now);
                self.refresh(Alarm::AcpiPm);
                self.look_at_requests();
            }
            PortOwner::Serial0 | PortOwner::Serial1 | PortOwner::Serial2 | PortOwner::Serial3 => {
                let index = Self::serial(owner);
                let now = b.clock.now();
                if let Some(serial) = b.serials.get_mut(index) {
                    serial.port_write(port, width, value, now);
                    self.refresh(Alarm::serial(index));
                }
            }
        }
    }

    fn mmio_read(&mut self, addr: PhysAddr, width: Width) -> u64 {
        if self.in_apic_page(addr) {
            let now = self.board.clock.now();
            return self.board.fabric.apic_read(self.cpu, addr.page_offset(), width, now);
        }
        let b = &mut *self.board;
        match mmio::owner(addr, b.test_device.is_some()) {
            MmioOwner::Vga(offset) => b.vga.mmio_read(offset, width, b.clock.latest()),
            MmioOwner::IoApic(offset) => b.fabric.ioapic_read(offset, width),
            MmioOwner::Hpet(offset) => {
                let now = b.clock.now();
                b.hpet.mmio_read(offset, width, now)
            }
            MmioOwner::Test(offset) => {
                b.test_device.as_mut().map_or(width.mask(), |d| d.mmio_read(offset, width, b.clock.latest()))
            }
            MmioOwner::Pci => {
                let now = b.clock.now();
                b.pci.memory_read(addr, width, now).unwrap_or(width.mask())
            }
        }
    }

    fn mmio_write(&mut self, addr: PhysAddr, width: Width, value: u64) {
        if self.in_apic_page(addr) {
            let now = self.board.clock.now();
            let offset = addr.page_offset();
            self.board.fabric.apic_write(self.cpu, offset, width, value, now);
            if TIMER_OFFSETS.contains(&offset) {
                self.refresh(Alarm::Apic);
            }
            return;
        }
        let b = &mut *self.board;
        match mmio::owner(addr, b.test_device.is_some()) {
            MmioOwner::Vga(offset) => b.vga.mmio_write(offset, width, value, b.clock.latest()),
            MmioOwner::IoApic(offset) => b.fabric.ioapic_write(offset, value),
            MmioOwner::Hpet(offset) => {
                let now = b.clock.now();
                b.hpet.mmio_write(offset, width, value, now);
                self.refresh(Alarm::Hpet);
            }
            MmioOwner::Test(offset) => {
                if let Some(device) = &mut b.test_device {
                    device.mmio_write(offset, width, value, b.clock.latest());
                }
            }
            MmioOwner::Pci => {
                let now = b.clock.now();
                _ = b.pci.memory_write(addr, width, value, now);
            }
        }
    }

    #[inline]
    fn now(&mut self) -> GuestTime {
        self.board.clock.now()
    }
    fn set_tsc_offset(&mut self, offset: u64) {
        let now = self.board.clock.now();
        self.board.fabric.set_tsc_offset(self.cpu, offset, now);
        self.refresh(Alarm::Apic);
    }

    fn set_ferr(&mut self, asserted: bool) -> bool {
        self.board.x87_error.set_ferr(asserted)
    }

    fn acknowledge_interrupt(&mut self) -> Option<u8> {
        let now = self.board.clock.now();
        self.board.fabric.acknowledge(self.cpu, now)
    }
    fn apic_msr_read(&mut self, index: u32) -> Result<u64, NoSuchMsr> {
        let now = self.board.clock.now();
        self.board.fabric.msr_read(self.cpu, index, now)
    }
    fn apic_msr_write(&mut self, index: u32, value: u64) -> Result<(), NoSuchMsr> {
        let now = self.board.clock.now();
        self.board.fabric.msr_write(self.cpu, index, value, now)?;
        if TIMER_MSRS.contains(&index) {
            self.board.note_apic_page(self.cpu);
            self.refresh(Alarm::Apic);
        }
        Ok(())
    }
    fn task_priority(&mut self) -> u8 {
        self.board.fabric.task_priority(self.cpu)
    }
    fn set_task_priority(&mut self, priority: u8) {
        self.board.fabric.set_task_priority(self.cpu, priority);
    }
    fn random(&mut self) -> u64 {
        self.board.next_random()
    }
}
