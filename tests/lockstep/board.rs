//! A board that notes everything that a vCPU does with it, and answers by what it has noted.

use crate::map::CODE;
use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use trimotor_bus::cpu_bus::NoSuchMsr;
use trimotor_bus::{CpuBus, GuestMemory, GuestTime, PhysAddr, Port, PortRegisters, VcpuSignals, Width};

/// Ports with an effect: raise INTR, withdraw it, end the run, write to code as a device, NMI.
pub const PORT_INTR: u8 = 0x60;
pub const PORT_WITHDRAW: u8 = 0x61;
pub const PORT_KICK: u8 = 0x62;
pub const PORT_DMA: u8 = 0x63;
pub const PORT_NMI: u8 = 0x64;

/// An access, with the number of instructions retired before it in the run.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Noted {
    pub retired: u64,
    pub what: Access,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Access {
    PortRead(u16, usize),
    PortWrite(u16, usize, u32),
    Read(u64, usize),
    Write(u64, usize, u64),
    Acknowledge(Option<u8>),
    MsrRead(u32),
    MsrWrite(u32, u64),
    Priority(u8),
    TscOffset(u64),
    Ferr(bool),
    Random,
}

/// How many accesses are kept as they were: a repeated string instruction may do billions.
const NOTES: usize = 1 << 16;
/// How many interrupts may wait.
const VECTORS: usize = 256;
/// The golden ratio's bits, which spread a number's over all of 64.
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;

pub struct Board {
    pub memory: Arc<GuestMemory>,
    pub signals: Arc<VcpuSignals>,
    /// The first [`NOTES`] of them.
    pub noted: Vec<Noted>,
    /// How many there were, and a sum over those that `noted` has no room for.
    pub accesses: (u64, u64),
    /// Vectors of interrupts that wait.
    pub vectors: VecDeque<u8>,
    /// Whether a port write ended the run.
    pub kicked: bool,
    /// Instructions of earlier parts of the run, where it is run in parts.
    pub earlier: u64,
    retired: u64,
}

impl Board {
    pub fn new(memory: Arc<GuestMemory>, signals: Arc<VcpuSignals>) -> Board {
        let (noted, vectors) = (Vec::new(), VecDeque::new());
        Board { memory, signals, noted, accesses: (0, 0), vectors, kicked: false, earlier: 0, retired: 0 }
    }
    pub fn reset(&mut self) {
        self.noted.clear();
        self.accesses = (0, 0);
        self.vectors.clear();
        self.signals.lower(u32::MAX);
        self.kicked = false;
        self.retired = 0;
    }
    /// An interrupt waits.
    pub fn interrupt(&mut self, vector: u8) {
        if self.vectors.len() < VECTORS {
            self.vectors.push_back(vector);
        }
        self.signals.set_intr(true);
    }
    fn note(&mut self, what: Access) -> u64 {
        let noted = Noted { retired: self.retired, what };
        let (count, sum) = &mut self.accesses;
        *count += 1;
        if self.noted.len() < NOTES {
            self.noted.push(noted);
        } else {
            let mut hasher = DefaultHasher::new();
            noted.hash(&mut hasher);
            *sum = sum.rotate_left(1) ^ hasher.finish();
        }
        // An answer that depends on all that went before.
        count.wrapping_mul(SPREAD) ^ self.retired << 7
    }
    fn effect(&mut self, port: u8, value: u32) {
        match port {
            PORT_INTR => self.interrupt(0x20 | value as u8),
            PORT_WITHDRAW => {
                self.vectors.clear();
                self.signals.set_intr(false);
            }
            PORT_KICK => {
                self.kicked = true;
                self.signals.raise(VcpuSignals::KICK);
            }
            PORT_DMA => {
                let at = CODE + u64::from(value & 0x3FFF);
                self.memory.write(PhysAddr(at), &[0x90, (value >> 8) as u8][..1 + (value & 1) as usize]);
            }
            PORT_NMI => self.signals.raise(VcpuSignals::NMI),
            _ => {}
        }
    }
}

impl CpuBus for Board {
    fn set_retired(&mut self, instructions: u64) {
        self.retired = self.earlier + instructions;
    }
    fn port_read(&mut self, port: Port, width: Width) -> u32 {
        (self.note(Access::PortRead(port.0, width.bytes())) & width.mask()) as u32
    }
    fn port_write(&mut self, port: Port, width: Width, value: u32) {
        self.note(Access::PortWrite(port.0, width.bytes(), value));
        if port.0 < 0x100 {
            self.effect(port.0 as u8, value);
        }
    }
    fn port_call(&mut self, _port: Port, _registers: &mut PortRegisters) -> bool {
        false
    }
    fn mmio_read(&mut self, addr: PhysAddr, width: Width) -> u64 {
        self.note(Access::Read(addr.0, width.bytes())) & width.mask()
    }
    fn mmio_write(&mut self, addr: PhysAddr, width: Width, value: u64) {
        self.note(Access::Write(addr.0, width.bytes(), value));
    }
    fn now(&mut self) -> GuestTime {
        GuestTime(self.retired)
    }
    fn set_tsc_offset(&mut self, offset: u64) {
        self.note(Access::TscOffset(offset));
    }
    fn set_ferr(&mut self, asserted: bool) -> bool {
        self.note(Access::Ferr(asserted));
        true
    }
    fn acknowledge_interrupt(&mut self) -> Option<u8> {
        let vector = self.vectors.pop_front();
        self.note(Access::Acknowledge(vector));
        self.signals.set_intr(!self.vectors.is_empty());
        vector
    }
    fn apic_msr_read(&mut self, index: u32) -> Result<u64, NoSuchMsr> {
        let answer = self.note(Access::MsrRead(index));
        if index & 1 == 0 { Ok(answer) } else { Err(NoSuchMsr) }
    }
    fn apic_msr_write(&mut self, index: u32, value: u64) -> Result<(), NoSuchMsr> {
        self.note(Access::MsrWrite(index, value));
        if index & 1 == 0 { Ok(()) } else { Err(NoSuchMsr) }
    }
    fn task_priority(&mut self) -> u8 {
        (self.accesses.0 & 15) as u8
    }
    fn set_task_priority(&mut self, priority: u8) {
        self.note(Access::Priority(priority));
    }
    fn random(&mut self) -> u64 {
        self.note(Access::Random)
    }
}
