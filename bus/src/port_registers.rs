//! Registers of a vCPU that a port sees beside EAX.

/// The lower halves of the registers that a call through a backdoor port takes and gives: see
/// [`CpuBus::port_call`](crate::CpuBus::port_call).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PortRegisters {
    /// EAX.
    pub eax: u32,
    /// EBX.
    pub ebx: u32,
    /// ECX.
    pub ecx: u32,
    /// EDX, in whose lower half the port is.
    pub edx: u32,
    /// ESI.
    pub esi: u32,
    /// EDI.
    pub edi: u32,
}

/// A device behind a backdoor port: a program calls it by an IN instruction, and the device sees and changes registers that the
/// instruction does not name. No chip can do so; hypervisors do.
pub trait RegisterPort: Send {
    /// A program executed `IN EAX, DX` at this device's port. Returns whether that is a call; where not, the port is read as
    /// any other.
    fn port_call(&mut self, registers: &mut PortRegisters, now: crate::GuestTime) -> bool;
}
