//! isa-debug-exit: a port by which a guest ends the program with an exit code.
//!
//! A write of `value` ends the run; the program's exit code is `(value << 1) | 1`, so that it
//! is never 0: a test suite's success is a code of its choice. Port and number of ports are
//! configured (by default F4h, one). Reads answer 0. No state, no interrupt.

use crate::device::Device;
use crate::requests::{MachineRequest, MachineRequests};
use trimotor_bus::{GuestTime, Port, PortDevice, RestoreError, SaveState, Width, board};

/// The port.
pub struct DebugExit {
    requests: MachineRequests,
    port: Port,
}

impl DebugExit {
    /// The device at `port`, usually [`board::DEBUG_EXIT`].
    pub fn new(port: Port, requests: MachineRequests) -> Self {
        Self { requests, port }
    }
    /// The device where test suites expect it.
    pub fn standard(requests: MachineRequests) -> Self {
        Self::new(board::DEBUG_EXIT, requests)
    }
    /// Where it is.
    pub fn port(&self) -> Port {
        self.port
    }
    /// The program's exit code for a value that the guest wrote; a process has eight bits of it.
    pub fn exit_code(value: u32) -> u8 {
        (value << 1) as u8 | 1
    }
}

impl PortDevice for DebugExit {
    fn port_read(&mut self, _port: Port, _width: Width, _now: GuestTime) -> u32 {
        0
    }
    fn port_write(&mut self, port: Port, width: Width, value: u32, _now: GuestTime) {
        if port == self.port {
            self.requests.request(MachineRequest::DebugExit(value & width.mask() as u32));
        }
    }
}

impl Device for DebugExit {
    fn reset(&mut self, _now: GuestTime) {}
    fn info(&self) -> String {
        format!("port {:#x}", self.port.0)
    }
    fn ports(&mut self) -> Option<&mut dyn PortDevice> {
        Some(self)
    }
}

/// It remembers nothing.
impl SaveState for DebugExit {
    type State = ();
    fn save(&self) {}
    fn restore(&mut self, (): ()) -> Result<(), RestoreError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_leaves_with_an_odd_code() {
        let requests = MachineRequests::new();
        let mut exit = DebugExit::standard(requests.clone());
        exit.port_read(exit.port(), Width::Byte, GuestTime::ZERO);
        exit.port_write(Port(0xF5), Width::Byte, 1, GuestTime::ZERO);
        assert_eq!(requests.take(), None);
        exit.port_write(exit.port(), Width::Dword, 0x10, GuestTime::ZERO);
        assert_eq!(requests.take(), Some(MachineRequest::DebugExit(0x10)));
        assert_eq!(DebugExit::exit_code(0x10), 0x21);
        assert_eq!(DebugExit::exit_code(0), 1);
    }
}
