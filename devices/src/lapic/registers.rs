//! Register numbers and bits of the local APIC (SDM Vol. 3A, Local APIC Register Address Map).
//! A register's number is its offset in the page divided by 16, and its MSR minus 800h.

/// Local APIC id.
pub const ID: u8 = 0x02;
/// Version.
pub const VERSION: u8 = 0x03;
/// Task priority.
pub const TPR: u8 = 0x08;
/// Arbitration priority.
pub const APR: u8 = 0x09;
/// Processor priority.
pub const PPR: u8 = 0x0A;
/// End of interrupt.
pub const EOI: u8 = 0x0B;
/// Remote read.
pub const RRD: u8 = 0x0C;
/// Logical destination.
pub const LDR: u8 = 0x0D;
/// Destination format.
pub const DFR: u8 = 0x0E;
/// Spurious-interrupt vector.
pub const SVR: u8 = 0x0F;
/// In-service bits, first of eight registers.
pub const ISR: u8 = 0x10;
/// Trigger-mode bits, first of eight registers.
pub const TMR: u8 = 0x18;
/// Request bits, first of eight registers.
pub const IRR: u8 = 0x20;
/// Error status.
pub const ESR: u8 = 0x28;
/// Interrupt command, bits 31 to 0.
pub const ICR_LOW: u8 = 0x30;
/// Interrupt command, bits 63 to 32.
pub const ICR_HIGH: u8 = 0x31;
/// LVT timer; thermal, performance, LINT0, LINT1 and error follow.
pub const LVT_TIMER: u8 = 0x32;
/// LVT error, the last.
pub const LVT_ERROR: u8 = 0x37;
/// Initial count.
pub const INITIAL_COUNT: u8 = 0x38;
/// Current count.
pub const CURRENT_COUNT: u8 = 0x39;
/// Divide configuration.
pub const DIVIDE: u8 = 0x3E;
/// Self IPI (x2APIC mode only).
pub const SELF_IPI: u8 = 0x3F;

/// Version 14h with LVT entries 0 to 5.
pub const VERSION_VALUE: u32 = 0x0005_0014;
/// SVR: software enable.
pub const SVR_ENABLE: u32 = 1 << 8;
/// SVR bits that exist: vector, enable, focus checking.
pub const SVR_WRITABLE: u32 = 0x3FF;

/// IA32_APIC_BASE.
pub const MSR_APIC_BASE: u32 = 0x1B;
/// IA32_TSC_DEADLINE.
pub const MSR_TSC_DEADLINE: u32 = 0x6E0;
/// First MSR of x2APIC mode.
pub const MSR_X2APIC: u32 = 0x800;

/// ESR: an accepted vector is below 16.
pub const ERROR_RECEIVED_VECTOR: u32 = 1 << 6;
/// ESR: a sent vector is below 16.
pub const ERROR_SENT_VECTOR: u32 = 1 << 5;
/// ESR: access to a register that does not exist.
pub const ERROR_REGISTER: u32 = 1 << 7;

/// All ESR bits that can be set.
pub const ERRORS: u32 = ERROR_RECEIVED_VECTOR | ERROR_SENT_VECTOR | ERROR_REGISTER;

/// Index of an LVT entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub enum LvtEntry {
    /// The timer.
    Timer = 0,
    /// Thermal sensor.
    Thermal = 1,
    /// Performance counters.
    Performance = 2,
    /// Pin LINT0.
    Lint0 = 3,
    /// Pin LINT1.
    Lint1 = 4,
    /// Errors.
    Error = 5,
}

bitflags::bitflags! {
    /// A local vector table entry.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Lvt: u32 {
        /// Vector.
        const VECTOR = 0xFF;
        /// Delivery mode.
        const DELIVERY_MODE = 7 << 8;
        /// Delivery status, read only, always idle here.
        const DELIVERY_STATUS = 1 << 12;
        /// Pin polarity.
        const ACTIVE_LOW = 1 << 13;
        /// A level-triggered fixed interrupt of a LINT pin is in service.
        const REMOTE_IRR = 1 << 14;
        /// Level triggered.
        const LEVEL = 1 << 15;
        /// Masked.
        const MASKED = 1 << 16;
        /// Timer: periodic.
        const PERIODIC = 1 << 17;
        /// Timer: TSC deadline.
        const TSC_DEADLINE = 1 << 18;
    }
}

impl Lvt {
    /// The vector.
    pub fn vector(self) -> u8 {
        self.bits() as u8
    }
    /// The bits that software can write in the entry.
    pub fn writable(entry: LvtEntry) -> Lvt {
        let plain = Lvt::VECTOR | Lvt::MASKED;
        match entry {
            LvtEntry::Timer => plain | Lvt::PERIODIC | Lvt::TSC_DEADLINE,
            LvtEntry::Thermal | LvtEntry::Performance => plain | Lvt::DELIVERY_MODE,
            LvtEntry::Lint0 | LvtEntry::Lint1 => plain | Lvt::DELIVERY_MODE | Lvt::ACTIVE_LOW | Lvt::LEVEL,
            LvtEntry::Error => plain,
        }
    }
}

impl LvtEntry {
    /// The entry of a register number from [`LVT_TIMER`] to [`LVT_ERROR`].
    pub fn of_register(register: u8) -> Option<Self> {
        Some(match register.checked_sub(LVT_TIMER)? {
            0 => Self::Timer,
            1 => Self::Thermal,
            2 => Self::Performance,
            3 => Self::Lint0,
            4 => Self::Lint1,
            5 => Self::Error,
            _ => return None,
        })
    }
}

bitflags::bitflags! {
    /// IA32_APIC_BASE.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct ApicBase: u64 {
        /// This is the bootstrap processor.
        const BSP = 1 << 8;
        /// x2APIC mode.
        const X2APIC = 1 << 10;
        /// Enabled.
        const ENABLE = 1 << 11;
        /// The registers' page.
        const PAGE = 0x000F_FFFF_FFFF_F000;
        /// Enabled, at FEE00000h.
        const RESET = 0xFEE0_0000 | 1 << 11;
    }
}
