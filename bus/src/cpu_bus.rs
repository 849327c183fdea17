//! The board as a vCPU sees it.

use crate::{GuestTime, Label, PhysAddr, Port, PortRegisters, Width};

/// What an engine calls on the board while it runs a vCPU.
///
/// Accesses to RAM do not come here: the engine reaches RAM through
/// [`GuestMemory`](crate::GuestMemory). Every method may change devices and raise
/// pins of [`VcpuSignals`](crate::VcpuSignals); the engine looks at them after each call.
pub trait CpuBus {
    /// Says how many instructions this vCPU has retired since the current `run` began.
    /// Called before any other method, so that the board can tell the time of the access.
    fn set_retired(&mut self, instructions: u64);

    /// Reads a port (1, 2 or 4 bytes). Nobody there: all ones.
    fn port_read(&mut self, port: Port, width: Width) -> u32;
    /// Writes a port (1, 2 or 4 bytes).
    fn port_write(&mut self, port: Port, width: Width, value: u32);

    /// `IN EAX, DX` at a port, before it is read: where the port is a backdoor whose device takes and gives more registers
    /// ([`RegisterPort`](crate::RegisterPort)), it has done what was asked, changed `registers`, and the port is not
    /// read. The engine writes those registers that have another value now, and clears their upper halves. False for all other ports.
    fn port_call(&mut self, port: Port, registers: &mut PortRegisters) -> bool;

    /// Reads memory that is not RAM or ROM. Nobody there: all ones.
    fn mmio_read(&mut self, addr: PhysAddr, width: Width) -> u64;
    /// Writes memory that is not RAM.
    fn mmio_write(&mut self, addr: PhysAddr, width: Width, value: u64);

    /// What several elements of a repeated string instruction write: `bytes`, in elements of `width` bytes, from `addr` on,
    /// which is aligned to `width`; all within a page. False, and nothing is written, where they must come one by one, because a
    /// device's interrupt may have to be taken in between.
    fn mmio_write_run(&mut self, _addr: PhysAddr, _width: Width, _bytes: &[u8]) -> bool {
        false
    }
    /// The same for a copy of `count` elements from another place that is not RAM: each element is read before it is written, and
    /// before the next one is read.
    fn mmio_copy_run(&mut self, _from: PhysAddr, _to: PhysAddr, _width: Width, _count: usize) -> bool {
        false
    }

    /// The guest time now. The time-stamp counter is derived from it.
    fn now(&mut self) -> GuestTime;
    /// Tells the local APIC what this vCPU now adds to the machine's time-stamp counter (after
    /// writes of IA32_TIME_STAMP_COUNTER and IA32_TSC_ADJUST), modulo 2^64: its deadline timer
    /// compares with the sum.
    fn set_tsc_offset(&mut self, offset: u64);

    /// FERR#, the pin that tells of an unmasked x87 error while CR0.NE is clear; returns IGNNE#: the
    /// processor is to go on in spite of it.
    fn set_ferr(&mut self, asserted: bool) -> bool;

    /// The interrupt acknowledge cycle: the vector to deliver, or `None` where the
    /// request went away.
    fn acknowledge_interrupt(&mut self) -> Option<u8>;

    /// Reads an MSR of the local APIC: IA32_APIC_BASE (1Bh), IA32_TSC_DEADLINE (6E0h),
    /// x2APIC (800h to 8FFh). `Err` means #GP(0).
    fn apic_msr_read(&mut self, index: u32) -> Result<u64, NoSuchMsr>;
    /// Writes an MSR of the local APIC. `Err` means #GP(0).
    fn apic_msr_write(&mut self, index: u32, value: u64) -> Result<(), NoSuchMsr>;
    /// The task priority as CR8 shows it, 0 to 15.
    fn task_priority(&mut self) -> u8;
    /// Sets the task priority, 0 to 15, as a write to CR8 does.
    fn set_task_priority(&mut self, priority: u8);

    /// Whose a port is, for people who read a trace; without a device's lock.
    fn port_label(&mut self, _port: Port) -> Label {
        Label::NONE
    }
    /// Whose an address is that is not RAM or ROM, and which register it is where the board knows that.
    fn memory_label(&mut self, _addr: PhysAddr) -> Label {
        Label::NONE
    }

    /// 64 random bits for RDRAND and RDSEED. With a deterministic machine, a seeded sequence.
    fn random(&mut self) -> u64;
}

/// The MSR does not exist, or the value is not allowed: the guest sees #GP(0).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSuchMsr;
