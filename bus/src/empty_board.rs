//! A board with nothing on it, for tests of engines without a machine.

use crate::cpu_bus::NoSuchMsr;
use crate::{CpuBus, GuestTime, PhysAddr, Port, PortRegisters, Width};

/// Nobody answers; the time is a count of instructions, a nanosecond each, within the present run.
#[derive(Default, Debug)]
pub struct EmptyBoard {
    /// Writes to ports: port, bytes, value. They go nowhere.
    pub port_writes: Vec<(u16, usize, u32)>,
    retired: u64,
}

impl CpuBus for EmptyBoard {
    fn set_retired(&mut self, instructions: u64) {
        self.retired = instructions;
    }
    fn port_read(&mut self, _port: Port, width: Width) -> u32 {
        width.mask() as u32
    }
    fn port_write(&mut self, port: Port, width: Width, value: u32) {
        self.port_writes.push((port.0, width.bytes(), value));
    }
    fn port_call(&mut self, _port: Port, _registers: &mut PortRegisters) -> bool {
        false
    }
    fn mmio_read(&mut self, _addr: PhysAddr, width: Width) -> u64 {
        width.mask()
    }
    fn mmio_write(&mut self, _addr: PhysAddr, _width: Width, _value: u64) {}
    fn now(&mut self) -> GuestTime {
        GuestTime(self.retired)
    }
    fn acknowledge_interrupt(&mut self) -> Option<u8> {
        None
    }
    fn apic_msr_read(&mut self, _index: u32) -> Result<u64, NoSuchMsr> {
        Err(NoSuchMsr)
    }
    fn apic_msr_write(&mut self, _index: u32, _value: u64) -> Result<(), NoSuchMsr> {
        Err(NoSuchMsr)
    }
    fn set_tsc_offset(&mut self, _offset: u64) {}
    fn set_ferr(&mut self, _asserted: bool) -> bool {
        true
    }
    fn task_priority(&mut self) -> u8 {
        0
    }
    fn set_task_priority(&mut self, _priority: u8) {}
    fn random(&mut self) -> u64 {
        4
    }
}
