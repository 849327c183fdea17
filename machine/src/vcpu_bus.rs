//! The board as one vCPU sees it.

use crate::address_map::{Chip, MapView, MemoryTarget, PortTarget};
use crate::board::{Board, NO_PAGE};
use crate::clock::TimeSource;
use crate::control::MachineControl;
use crate::registry::{DeviceId, Locked};
use trimotor_bus::cpu_bus::NoSuchMsr;
use trimotor_bus::{CpuBus, GuestTime, PhysAddr, Port, VcpuSignals, Width};
use trimotor_devices::isa_cycles;

/// MSRs of the local APIC after whose writes its timer may want to be woken at another time.
const TIMER_MSRS: [u32; 6] = [0x1B, 0x6E0, 0x80F, 0x832, 0x838, 0x83E];
/// The same as offsets in its page.
const TIMER_OFFSETS: [u64; 4] = [0x0F0, 0x320, 0x380, 0x3E0];

/// The board as vCPU `cpu` sees it, for one run.
pub struct VcpuBus<'a> {
    board: &'a Board,
    cpu: usize,
    time: TimeSource<'a>,
    map: MapView,
    /// The thread that waits for events, where it is another one.
    waiter: Option<&'a MachineControl>,
}

impl<'a> VcpuBus<'a> {
    /// For a vCPU that runs on the machine's thread.
    pub fn in_turn(board: &'a Board, cpu: usize) -> Self {
        Self { board, cpu, time: TimeSource::Board(&board.clock), map: board.map.view(), waiter: None }
    }
    /// For a vCPU on a thread of its own, beside the machine's.
    pub(crate) fn beside(board: &'a Board, cpu: usize, waiter: &'a MachineControl) -> Self {
        let time = TimeSource::Thread(board.clock.running());
        Self { board, cpu, time, map: board.map.view(), waiter: Some(waiter) }
    }

    /// An access to a device, with all that follows from it.
    #[inline]
    fn access<R>(
        &mut self,
        id: DeviceId,
        timed: bool,
        action: impl FnOnce(&mut Locked<'_>, GuestTime) -> R,
    ) -> R {
        let mut device = self.board.devices.lock(id);
        let now = if timed { self.time.now() } else { self.time.latest() };
        let answer = action(&mut device, now);
        if timed {
            self.board.refresh(id, &mut device);
        }
        drop(device);
        if self.board.timers.wait_ends_sooner() || self.board.requests.pending() {
            self.end_wait();
        }
        answer
    }
    /// Ends the slice, or wakes the machine's thread: something is to be done before that was known.
    #[cold]
    fn end_wait(&self) {
        match self.waiter {
            Some(control) => control.nudge(),
            None => self.board.signals[self.cpu].raise(VcpuSignals::KICK),
        }
    }
    fn refresh_apic_timers(&self) {
        self.board.refresh_apic_timers();
        if self.board.timers.wait_ends_sooner() {
            self.end_wait();
        }
    }
    #[inline]
    fn in_apic_page(&self, addr: PhysAddr) -> bool {
        let page = self.board.apic_page(self.cpu);
        page == addr.page().0 && page != NO_PAGE
    }
}

impl CpuBus for VcpuBus<'_> {
    #[inline]
    fn set_retired(&mut self, instructions: u64) {
        self.time.set_retired(instructions);
    }

    fn port_read(&mut self, port: Port, width: Width) -> u32 {
        let nobody = width.mask() as u32;
        let map = self.map.get(&self.board.map);
        if map.divides(port, width) {
            return isa_cycles::read_bytes(port, width, |p| self.port_read(p, Width::Byte) as u8);
        }
        match map.port(port) {
            PortTarget::Nobody => nobody,
            PortTarget::Pic => isa_cycles::read_bytes(port, width, |p| self.board.fabric.pic_read(p)),
            PortTarget::PciConfig => self.board.pci_read(port, width),
            PortTarget::Device(Chip { device, timed }) => self.access(device, timed, |device, now| {
                device.ports().map_or(nobody, |ports| ports.port_read(port, width, now))
            }),
            PortTarget::Bar(device, bar, base) => self.access(device, true, |device, now| {
                let offset = u64::from(port.0 - base.0);
                device.bars().map_or(nobody, |bars| bars.bar_read(bar, offset, width, now) as u32)
            }),
        }
    }

    fn port_write(&mut self, port: Port, width: Width, value: u32) {
        let map = self.map.get(&self.board.map);
        if map.divides(port, width) {
            return isa_cycles::write_bytes(port, width, value, |p, byte| {
                self.port_write(p, Width::Byte, byte.into());
            });
        }
        match map.port(port) {
            PortTarget::Nobody => {}
            PortTarget::Pic => {
                isa_cycles::write_bytes(port, width, value, |p, byte| self.board.fabric.pic_write(p, byte));
            }
            PortTarget::PciConfig => {
                let now = self.time.now();
                self.board.pci_write(port, width, value, now);
            }
            PortTarget::Device(Chip { device, timed }) => self.access(device, timed, |device, now| {
                if let Some(ports) = device.ports() {
                    ports.port_write(port, width, value, now);
                }
            }),
            PortTarget::Bar(device, bar, base) => self.access(device, true, |device, now| {
                if let Some(bars) = device.bars() {
                    bars.bar_write(bar, u64::from(port.0 - base.0), width, value.into(), now);
                }
            }),
        }
    }

    fn mmio_read(&mut self, addr: PhysAddr, width: Width) -> u64 {
        if self.in_apic_page(addr) {
            let now = self.time.now();
            return self.board.fabric.apic_read(self.cpu, addr.page_offset(), width, now);
        }
        let nobody = width.mask();
        match self.map.get(&self.board.map).memory(addr) {
            None => nobody,
            Some((MemoryTarget::IoApic, offset)) => self.board.fabric.ioapic_read(offset, width),
            Some((MemoryTarget::Device(Chip { device, timed }), offset)) => {
                self.access(device, timed, |device, now| {
                    device.memory().map_or(nobody, |memory| memory.mmio_read(offset, width, now))
                })
            }
            Some((MemoryTarget::Bar(device, bar), offset)) => self.access(device, true, |device, now| {
                device.bars().map_or(nobody, |bars| bars.bar_read(bar, offset, width, now))
            }),
        }
    }

    fn mmio_write(&mut self, addr: PhysAddr, width: Width, value: u64) {
        if self.in_apic_page(addr) {
            let now = self.time.now();
            let offset = addr.page_offset();
            self.board.fabric.apic_write(self.cpu, offset, width, value, now);
            if TIMER_OFFSETS.contains(&offset) {
                self.refresh_apic_timers();
            }
            return;
        }
        match self.map.get(&self.board.map).memory(addr) {
            None => {}
            Some((MemoryTarget::IoApic, offset)) => self.board.fabric.ioapic_write(offset, value),
            Some((MemoryTarget::Device(Chip { device, timed }), offset)) => {
                self.access(device, timed, |device, now| {
                    if let Some(memory) = device.memory() {
                        memory.mmio_write(offset, width, value, now);
                    }
                });
            }
            Some((MemoryTarget::Bar(device, bar), offset)) => self.access(device, true, |device, now| {
                if let Some(bars) = device.bars() {
                    bars.bar_write(bar, offset, width, value, now);
                }
            }),
        }
    }

    #[inline]
    fn now(&mut self) -> GuestTime {
        self.time.now()
    }
    fn set_tsc_offset(&mut self, offset: u64) {
        let now = self.time.now();
        self.board.fabric.set_tsc_offset(self.cpu, offset, now);
        self.refresh_apic_timers();
    }

    fn set_ferr(&mut self, asserted: bool) -> bool {
        let Some(device) = self.board.refs.x87_error else { return true };
        self.board.devices.with(device, |chip| chip.set_ferr(asserted))
    }

    fn acknowledge_interrupt(&mut self) -> Option<u8> {
        let now = self.time.now();
        self.board.fabric.acknowledge(self.cpu, now)
    }
    fn apic_msr_read(&mut self, index: u32) -> Result<u64, NoSuchMsr> {
        let now = self.time.now();
        self.board.fabric.msr_read(self.cpu, index, now)
    }
    fn apic_msr_write(&mut self, index: u32, value: u64) -> Result<(), NoSuchMsr> {
        let now = self.time.now();
        self.board.fabric.msr_write(self.cpu, index, value, now)?;
        if TIMER_MSRS.contains(&index) {
            self.board.note_apic_page(self.cpu);
            self.refresh_apic_timers();
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
