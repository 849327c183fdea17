//! The board as one vCPU sees it.

use crate::address_map::{AddressMap, Chip, MapView, MemoryTarget, PortTarget};
use crate::board::{Board, NO_PAGE};
use crate::clock::TimeSource;
use crate::control::MachineControl;
use crate::labels;
use crate::registry::{DeviceId, Locked};
use std::time::Duration;
use trimotor_bus::cpu_bus::NoSuchMsr;
use trimotor_bus::{CpuBus, GuestTime, Label, PhysAddr, Port, PortRegisters, VcpuSignals, Width};
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
    /// The thread that waits for the devices' events, where it is another one.
    waiter: Option<&'a MachineControl>,
    /// On a thread of its own: when the local APIC timer expires, in nanoseconds of guest time; the largest number if it does not.
    deadline_ns: u64,
}

impl<'a> VcpuBus<'a> {
    /// For a vCPU that runs on the machine's thread.
    pub fn in_turn(board: &'a Board, cpu: usize) -> Self {
        let time = TimeSource::Board(&board.clock);
        Self { board, cpu, time, map: board.map.view(), waiter: None, deadline_ns: u64::MAX }
    }
    /// For a vCPU on a thread of its own, beside the machine's.
    pub(crate) fn beside(board: &'a Board, cpu: usize, waiter: &'a MachineControl) -> Self {
        let time = TimeSource::Thread(board.clock.running());
        let mut bus =
            Self { board, cpu, time, map: board.map.view(), waiter: Some(waiter), deadline_ns: u64::MAX };
        bus.refresh_apic_timer();
        bus
    }
    /// On a thread of its own, between two runs: raises the interrupt of the local APIC timer if it has expired. Returns
    /// the time now, and for how long nothing comes from the timer.
    #[inline]
    pub(crate) fn wait_for_timer(&mut self) -> (GuestTime, Duration) {
        let now = self.time.now();
        if now.ns() >= self.deadline_ns {
            self.board.fabric.advance_timer(self.cpu, now);
            self.refresh_apic_timer();
        }
        (now, Duration::from_nanos(self.deadline_ns.saturating_sub(now.ns())))
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
        } else {
            self.board.show_fixed(id, &mut device);
        }
        drop(device);
        self.after_access(now);
        answer
    }
    /// An access to a base address register's region; `None` where it has moved away from where the map had it, before the
    /// device was locked: the address is looked up once more then.
    fn access_bar<R>(
        &mut self,
        id: DeviceId,
        is_there: impl FnOnce(&AddressMap) -> bool,
        action: impl FnOnce(&mut Locked<'_>, GuestTime) -> R,
    ) -> Option<R> {
        let mut device = self.board.devices.lock(id);
        // Regions move under their device's lock.
        if !is_there(self.map.get(&self.board.map)) {
            return None;
        }
        let now = self.time.now();
        let answer = action(&mut device, now);
        self.board.refresh(id, &mut device);
        drop(device);
        self.after_access(now);
        Some(answer)
    }
    /// On a thread of its own: rings a doorbell, where a write goes to one, without the device's lock. One that moves away
    /// meanwhile may ring once more, which harms nobody.
    #[inline]
    fn rings(&self, device: DeviceId, bar: u8, offset: u64, value: u64) -> bool {
        let Some(waiter) = self.waiter else { return false };
        let rings = self.board.doorbells.ring(device, bar, offset, value);
        if rings {
            waiter.nudge();
        }
        rings
    }
    /// What an access at `now` may have brought about.
    #[inline]
    fn after_access(&self, now: GuestTime) {
        if self.board.timers.wait_ends_sooner() || self.board.requests.pending() {
            self.end_wait();
        }
        if now.ns() >= self.deadline_ns {
            // A loop of accesses is slow beside other code: the turn ends, so that the timer's interrupt is in time.
            self.board.signals[self.cpu].raise(VcpuSignals::KICK);
        }
    }
    /// Ends the slice, or wakes the machine's thread: something is to be done before that was known.
    #[cold]
    fn end_wait(&self) {
        match self.waiter {
            Some(control) => control.nudge(),
            None => self.board.signals[self.cpu].raise(VcpuSignals::KICK),
        }
    }
    /// The vCPU may have set its timer. On a thread of its own it waits for it itself.
    fn refresh_apic_timer(&mut self) {
        if self.waiter.is_some() {
            let next = self.board.fabric.publish_next_event(self.cpu, |event| event);
            self.deadline_ns = next.map_or(u64::MAX, GuestTime::ns);
            return;
        }
        self.board.refresh_apic_timer(self.cpu);
        if self.board.timers.wait_ends_sooner() {
            self.end_wait();
        }
    }
    /// The device, and the offset there, that answers all of a range as memory does: without time, so without interrupts.
    fn plain_memory(&mut self, addr: PhysAddr, bytes: u64) -> Option<(DeviceId, u64)> {
        if self.in_apic_page(addr) {
            return None;
        }
        let (first, offset) = self.map.memory(&self.board.map, addr)?;
        let end = addr.offset(bytes.saturating_sub(1));
        let (last, last_offset) = self.map.memory(&self.board.map, end)?;
        match first {
            MemoryTarget::Device(Chip { device, timed: false })
                if last == first && last_offset - offset == bytes.saturating_sub(1) =>
            {
                Some((device, offset))
            }
            _ => None,
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
            PortTarget::Nobody | PortTarget::Backdoor(_) => nobody,
            PortTarget::Pic => isa_cycles::read_bytes(port, width, |p| self.board.fabric.pic_read(p)),
            PortTarget::PciConfig => self.board.pci_read(port, width),
            PortTarget::Device(Chip { device, timed }) => self.access(device, timed, |device, now| {
                device.ports().map_or(nobody, |ports| ports.port_read(port, width, now))
            }),
            target @ PortTarget::Bar(device, bar, base) => {
                let there = |map: &AddressMap| map.port(port) == target;
                let read = self.access_bar(device, there, |device, now| {
                    let offset = u64::from(port.0 - base.0);
                    device.bars().map_or(nobody, |bars| bars.bar_read(bar, offset, width, now) as u32)
                });
                read.unwrap_or_else(|| self.port_read(port, width))
            }
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
            PortTarget::Nobody | PortTarget::Backdoor(_) => {}
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
            PortTarget::Bar(device, bar, base)
                if self.rings(device, bar, (port.0 - base.0).into(), value.into()) => {}
            target @ PortTarget::Bar(device, bar, base) => {
                let there = |map: &AddressMap| map.port(port) == target;
                let written = self.access_bar(device, there, |device, now| {
                    if let Some(bars) = device.bars() {
                        bars.bar_write(bar, u64::from(port.0 - base.0), width, value.into(), now);
                    }
                });
                written.unwrap_or_else(|| self.port_write(port, width, value));
            }
        }
    }

    fn port_call(&mut self, port: Port, registers: &mut PortRegisters) -> bool {
        let PortTarget::Backdoor(device) = self.map.get(&self.board.map).port(port) else { return false };
        self.access(device, true, |device, now| {
            device.register_port().is_some_and(|backdoor| backdoor.port_call(registers, now))
        })
    }

    fn mmio_read(&mut self, addr: PhysAddr, width: Width) -> u64 {
        if self.in_apic_page(addr) {
            let now = self.time.now();
            return self.board.fabric.apic_read(self.cpu, addr.page_offset(), width, now);
        }
        let nobody = width.mask();
        match self.map.memory(&self.board.map, addr) {
            None => nobody,
            Some((MemoryTarget::IoApic, offset)) => self.board.fabric.ioapic_read(offset, width),
            Some((MemoryTarget::Device(Chip { device, timed }), offset)) => {
                self.access(device, timed, |device, now| {
                    device.memory().map_or(nobody, |memory| memory.mmio_read(offset, width, now))
                })
            }
            target @ Some((MemoryTarget::Bar(device, bar), offset)) => {
                let there = |map: &AddressMap| map.memory(addr) == target;
                let read = self.access_bar(device, there, |device, now| {
                    device.bars().map_or(nobody, |bars| bars.bar_read(bar, offset, width, now))
                });
                read.unwrap_or_else(|| self.mmio_read(addr, width))
            }
        }
    }

    fn mmio_write(&mut self, addr: PhysAddr, width: Width, value: u64) {
        if self.in_apic_page(addr) {
            let now = self.time.now();
            let offset = addr.page_offset();
            self.board.fabric.apic_write(self.cpu, offset, width, value, now);
            if TIMER_OFFSETS.contains(&offset) {
                self.refresh_apic_timer();
            }
            return;
        }
        match self.map.memory(&self.board.map, addr) {
            None => {}
            Some((MemoryTarget::IoApic, offset)) => self.board.fabric.ioapic_write(offset, value),
            Some((MemoryTarget::Device(Chip { device, timed }), offset)) => {
                self.access(device, timed, |device, now| {
                    if let Some(memory) = device.memory() {
                        memory.mmio_write(offset, width, value, now);
                    }
                });
            }
            Some((MemoryTarget::Bar(device, bar), offset)) if self.rings(device, bar, offset, value) => {}
            target @ Some((MemoryTarget::Bar(device, bar), offset)) => {
                let there = |map: &AddressMap| map.memory(addr) == target;
                let written = self.access_bar(device, there, |device, now| {
                    if let Some(bars) = device.bars() {
                        bars.bar_write(bar, offset, width, value, now);
                    }
                });
                written.unwrap_or_else(|| self.mmio_write(addr, width, value));
            }
        }
    }

    fn mmio_write_run(&mut self, addr: PhysAddr, width: Width, bytes: &[u8]) -> bool {
        let Some((device, offset)) = self.plain_memory(addr, bytes.len() as u64) else { return false };
        self.access(device, false, |device, now| {
            if let Some(memory) = device.memory() {
                memory.mmio_write_run(offset, width, bytes, now);
            }
        });
        true
    }
    fn mmio_copy_run(&mut self, from: PhysAddr, to: PhysAddr, width: Width, count: usize) -> bool {
        let bytes = (count * width.bytes()) as u64;
        let (from, to) = (self.plain_memory(from, bytes), self.plain_memory(to, bytes));
        let (Some((device, from)), Some((other, to))) = (from, to) else { return false };
        if device != other {
            return false;
        }
        self.access(device, false, |device, now| {
            let Some(memory) = device.memory() else { return };
            for at in (0..bytes).step_by(width.bytes()) {
                let value = memory.mmio_read(from + at, width, now);
                memory.mmio_write(to + at, width, value, now);
            }
        });
        true
    }

    #[inline]
    fn now(&mut self) -> GuestTime {
        self.time.now()
    }
    fn set_tsc_offset(&mut self, offset: u64) {
        let now = self.time.now();
        self.board.fabric.set_tsc_offset(self.cpu, offset, now);
        self.refresh_apic_timer();
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
            self.refresh_apic_timer();
        }
        Ok(())
    }
    fn task_priority(&mut self) -> u8 {
        self.board.fabric.task_priority(self.cpu)
    }
    fn set_task_priority(&mut self, priority: u8) {
        self.board.fabric.set_task_priority(self.cpu, priority);
    }
    fn port_label(&mut self, port: Port) -> Label {
        let board = self.board;
        board.port_label(self.map.get(&board.map).port(port))
    }
    fn memory_label(&mut self, addr: PhysAddr) -> Label {
        if self.in_apic_page(addr) {
            return labels::local_apic(addr.page_offset());
        }
        let board = self.board;
        self.map
            .memory(&board.map, addr)
            .map_or(Label::NONE, |(target, offset)| board.memory_label(target, offset))
    }
    fn random(&mut self) -> u64 {
        self.board.next_random()
    }
}
