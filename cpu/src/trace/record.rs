//! What is traced, before it is text.

use crate::fault::Fault;
use trimotor_bus::{Label, PhysAddr, Port, Width};

/// Where a vCPU was when something happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// Instructions that it had retired.
    pub retired: u64,
    /// RIP of the instruction.
    pub rip: u64,
    /// The same as a linear address.
    pub linear: u64,
    /// Selector of CS.
    pub selector: u16,
    /// The CPL.
    pub cpl: u8,
}

/// Something that happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Record {
    /// Where.
    pub place: Place,
    /// What.
    pub what: What,
}

/// See [`Record`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum What {
    /// An instruction retired, or did something that has a record of its own, or faulted.
    Instruction {
        /// Its bytes.
        bytes: [u8; 15],
        /// How many there are; 0: they cannot be read.
        len: u8,
        /// It was decoded for code of 16, 32 or 64 bits.
        bits: u8,
    },
    /// An exception is delivered, or an instruction is in the way of its delivery.
    Exception {
        /// The exception.
        fault: Fault,
        /// CR2, where it is a page fault.
        cr2: u64,
    },
    /// An interrupt is delivered.
    Interrupt(InterruptKind),
    /// A port was read or written.
    Port {
        /// Which.
        port: Port,
        /// Written.
        write: bool,
        /// By INS or OUTS.
        string: bool,
        /// How many bytes.
        width: Width,
        /// What it gave or got.
        value: u32,
        /// Whose it is.
        label: Label,
    },
    /// Memory of a device was read or written.
    Mmio {
        /// Where.
        address: PhysAddr,
        /// Written.
        write: bool,
        /// How many bytes.
        width: Width,
        /// What it gave or got.
        value: u64,
        /// Whose it is.
        label: Label,
    },
    /// RDMSR or WRMSR.
    Msr {
        /// Its number.
        index: u32,
        /// Written.
        write: bool,
        /// What it has now.
        value: u64,
    },
    /// A control register was written.
    Control {
        /// By this instruction.
        mnemonic: &'static str,
        /// CR0 to CR8; [`XCR0`].
        register: u8,
        /// What was written; for CLTS and LMSW what the register has now.
        value: u64,
    },
}

/// The number that XCR0 has in [`What::Control`].
pub const XCR0: u8 = 16;

/// What interrupts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InterruptKind {
    /// INTR, with the vector that the board gave.
    External(u8),
    /// INT n, INT3, INTO, INT1: the vector.
    Software(u8),
    /// NMI.
    Nmi,
    /// A system-management interrupt.
    Smi,
    /// INIT.
    Init,
    /// A start-up IPI with this vector.
    Startup(u8),
}
