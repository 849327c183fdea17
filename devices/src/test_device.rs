//! The device that CPU test suites expect on a virtual PC: a handful of ports and a piece of
//! memory whose only use is to be tested with.
//!
//! | where | what |
//! |---|---|
//! | ports 2000h to 2017h | writing sets interrupt input n to bit 0 of the value |
//! | ports E0h to E3h | read what was written |
//! | port E4h (dword) | the processor's engine drops what it derived from the page at that physical address |
//! | memory FF000000h, 64 KiB | reads what was written |
//!
//! It is no PC part, so a machine has it only where it is asked for.

use crate::device::Device;
use crate::isa_cycles;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use trimotor_bus::{
    GuestTime, IrqSink, MmioDevice, PhysAddr, Port, PortDevice, RestoreError, SaveState, Width,
};

/// Ports that drive interrupt inputs.
pub const IRQ_PORTS: Port = Port(0x2000);
/// How many.
pub const IRQ_COUNT: u16 = 24;
/// Four ports that read what was written.
pub const ECHO_PORTS: Port = Port(0xE0);
/// The port that takes a physical address.
pub const FLUSH_PORT: Port = Port(0xE4);
/// The memory.
pub const ECHO_MEMORY: PhysAddr = PhysAddr(0xFF00_0000);
/// Its bytes.
pub const ECHO_MEMORY_BYTES: u64 = 64 << 10;

/// What can make engines forget a page.
pub trait PageFlush: Send {
    /// Engines drop what they derived from the page of `addr`: code, TLB entries, shadows.
    fn flush_page(&mut self, addr: PhysAddr);
}

/// The device.
pub struct TestDevice {
    irqs: Arc<dyn IrqSink>,
    flush: Box<dyn PageFlush>,
    levels: u32,
    echo: [u8; 4],
    memory: Vec<u8>,
}

/// The saved state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestDeviceStateV1 {
    levels: u32,
    echo: [u8; 4],
    memory: Vec<u8>,
}

impl TestDevice {
    /// A device that drives inputs of `irqs`.
    pub fn new(irqs: Arc<dyn IrqSink>, flush: Box<dyn PageFlush>) -> Self {
        Self { irqs, flush, levels: 0, echo: [0; 4], memory: vec![0; ECHO_MEMORY_BYTES as usize] }
    }

    fn set_level(&mut self, line: u16, high: bool) {
        let bit = 1 << line;
        self.levels = if high { self.levels | bit } else { self.levels & !bit };
        self.irqs.set_level(line as u8, high);
    }

    /// Bytes of the memory from `offset` on that an access of `width` touches.
    fn touched(&self, offset: u64, width: Width) -> std::ops::Range<usize> {
        let start = offset.min(ECHO_MEMORY_BYTES) as usize;
        start..(start + width.bytes()).min(self.memory.len())
    }
}

impl PortDevice for TestDevice {
    fn port_read(&mut self, port: Port, width: Width, _now: GuestTime) -> u32 {
        isa_cycles::read_bytes(port, width, |p| match p.0 {
            0xE0..=0xE3 => self.echo[(p.0 - ECHO_PORTS.0) as usize],
            _ => 0xFF,
        })
    }

    fn port_write(&mut self, port: Port, width: Width, value: u32, _now: GuestTime) {
        if port == FLUSH_PORT {
            return self.flush.flush_page(PhysAddr((value & width.mask() as u32) as u64));
        }
        if let Some(line) = port.0.checked_sub(IRQ_PORTS.0).filter(|line| *line < IRQ_COUNT) {
            return self.set_level(line, value & 1 != 0);
        }
        isa_cycles::write_bytes(port, width, value, |p, byte| {
            if let 0xE0..=0xE3 = p.0 {
                self.echo[(p.0 - ECHO_PORTS.0) as usize] = byte;
            }
        });
    }
}

impl MmioDevice for TestDevice {
    fn mmio_read(&mut self, offset: u64, width: Width, _now: GuestTime) -> u64 {
        let mut bytes = [0xFF; 8];
        let range = self.touched(offset, width);
        bytes[..range.len()].copy_from_slice(&self.memory[range]);
        u64::from_le_bytes(bytes) & width.mask()
    }
    fn mmio_write(&mut self, offset: u64, width: Width, value: u64, _now: GuestTime) {
        let range = self.touched(offset, width);
        let bytes = value.to_le_bytes();
        self.memory[range.clone()].copy_from_slice(&bytes[..range.len()]);
    }
}

impl SaveState for TestDevice {
    type State = TestDeviceStateV1;
    fn save(&self) -> TestDeviceStateV1 {
        let Self { irqs: _, flush: _, levels, echo, memory } = self;
        TestDeviceStateV1 { levels: *levels, echo: *echo, memory: memory.clone() }
    }
    fn restore(&mut self, state: TestDeviceStateV1) -> Result<(), RestoreError> {
        let TestDeviceStateV1 { levels, echo, memory } = state;
        let refuse = |field, value| Err(RestoreError { part: "test device", field, value });
        if levels >> IRQ_COUNT != 0 {
            return refuse("levels", format!("{levels:#x}"));
        }
        if memory.len() != self.memory.len() {
            return refuse("memory", format!("{} bytes", memory.len()));
        }
        (self.echo, self.memory) = (echo, memory);
        for line in 0..IRQ_COUNT {
            self.set_level(line, levels >> line & 1 != 0);
        }
        Ok(())
    }
}

impl Device for TestDevice {
    fn reset(&mut self, _now: GuestTime) {}
    fn info(&self) -> String {
        format!("interrupt inputs {:#x}", self.levels)
    }
    fn ports(&mut self) -> Option<&mut dyn PortDevice> {
        Some(self)
    }
    fn memory(&mut self) -> Option<&mut dyn MmioDevice> {
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    struct Log(Mutex<Vec<(u8, bool)>>);
    impl IrqSink for Log {
        fn set_level(&self, line: u8, high: bool) {
            self.0.lock().unwrap().push((line, high));
        }
    }
    struct Flushed(Arc<Mutex<Vec<PhysAddr>>>);
    impl PageFlush for Flushed {
        fn flush_page(&mut self, addr: PhysAddr) {
            self.0.lock().unwrap().push(addr);
        }
    }

    #[test]
    fn everything_does_what_the_table_says() {
        const NOW: GuestTime = GuestTime::ZERO;
        let (log, flushed) = (Arc::new(Log(Mutex::default())), Arc::default());
        let mut t = TestDevice::new(log.clone(), Box::new(Flushed(Arc::clone(&flushed))));
        t.port_write(Port(0x2005), Width::Byte, 1, NOW);
        t.port_write(Port(0x2005), Width::Byte, 0, NOW);
        t.port_write(Port(0x2018), Width::Byte, 1, NOW);
        assert_eq!(*log.0.lock().unwrap(), [(5, true), (5, false)]);
        t.port_write(Port(0xE0), Width::Dword, 0x1234_5678, NOW);
        t.port_write(Port(0xE1), Width::Byte, 0xAB, NOW);
        assert_eq!(t.port_read(Port(0xE0), Width::Dword, NOW), 0x1234_AB78);
        assert_eq!(t.port_read(Port(0xE2), Width::Word, NOW), 0x1234);
        t.port_write(FLUSH_PORT, Width::Dword, 0x12_3000, NOW);
        assert_eq!(*flushed.lock().unwrap(), [PhysAddr(0x12_3000)]);
        t.mmio_write(8, Width::Qword, 0x1122_3344_5566_7788, NOW);
        assert_eq!(t.mmio_read(10, Width::Dword, NOW), 0x3344_5566);
        t.mmio_write(0xFFFE, Width::Dword, 0x0A0B_0C0D, NOW);
        assert_eq!(t.mmio_read(0xFFFE, Width::Dword, NOW), 0xFFFF_0C0D);
        assert_eq!(t.mmio_read(u64::MAX, Width::Byte, NOW), 0xFF);
        t.port_write(Port(0x2017), Width::Byte, 1, NOW);
        let state = t.save();
        t.restore(state.clone()).unwrap();
        assert!(t.restore(TestDeviceStateV1 { levels: 1 << 24, ..state }).is_err());
    }
}
