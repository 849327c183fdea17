//! The debug console, port E9h, and port 402h, where SeaBIOS and OVMF write to it.
//!
//! A guest writes bytes to either port and they come out at the other end; a read answers E9h,
//! which tells a guest that the port is there. No state, no interrupt.

use crate::device::Device;
use crate::isa_cycles;
use trimotor_bus::{GuestTime, Port, PortDevice, RestoreError, SaveState, Width};

/// Where the bytes go. Must not wait; what it cannot take is lost.
pub trait DebugSink: Send {
    /// Takes one byte.
    fn byte(&mut self, byte: u8);
}

/// The port.
pub struct DebugPort {
    sink: Box<dyn DebugSink>,
}

/// What a read answers.
const PRESENT: u8 = 0xE9;

impl DebugPort {
    /// A port whose bytes go to `sink`.
    pub fn new(sink: Box<dyn DebugSink>) -> Self {
        Self { sink }
    }
}

impl PortDevice for DebugPort {
    fn port_read(&mut self, _port: Port, width: Width, _now: GuestTime) -> u32 {
        width.mask() as u32 & !0xFF | PRESENT as u32
    }
    /// A wide write is a byte cycle a port, of which only the first is this one.
    fn port_write(&mut self, port: Port, width: Width, value: u32, _now: GuestTime) {
        isa_cycles::write_bytes(port, width, value, |p, byte| {
            if p == port {
                self.sink.byte(byte);
            }
        });
    }
}

impl Device for DebugPort {
    fn reset(&mut self, _now: GuestTime) {}
    fn info(&self) -> String {
        "ports e9h and 402h".to_owned()
    }
    fn ports(&mut self) -> Option<&mut dyn PortDevice> {
        Some(self)
    }
}

/// It remembers nothing.
impl SaveState for DebugPort {
    type State = ();
    fn save(&self) {}
    fn restore(&mut self, (): ()) -> Result<(), RestoreError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    struct Log(Arc<Mutex<Vec<u8>>>);
    impl DebugSink for Log {
        fn byte(&mut self, byte: u8) {
            self.0.lock().unwrap().push(byte);
        }
    }

    #[test]
    fn bytes_come_out_and_the_port_is_found() {
        let log = Arc::new(Mutex::new(Vec::new()));
        let mut port = DebugPort::new(Box::new(Log(log.clone())));
        let at = Port(0xE9);
        assert_eq!(port.port_read(at, Width::Byte, GuestTime::ZERO), 0xE9);
        port.port_write(at, Width::Byte, 0x41, GuestTime::ZERO);
        port.port_write(at, Width::Word, 0x4342, GuestTime::ZERO);
        assert_eq!(*log.lock().unwrap(), b"AB");
    }
}
