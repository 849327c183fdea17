//! Exceptions that an instruction raises, in a form that fits a register.

use std::fmt;

/// An exception on its way to delivery: vector and error code.
///
/// The linear address of a page fault goes to [`CpuState::fault_address`]
/// (CR2 is loaded at delivery). One machine word, so that `Result<u64, Fault>` is
/// returned in two registers.
///
/// Source: SDM Vol. 3A, Interrupt and Exception Handling.
///
/// [`CpuState::fault_address`]: crate::CpuState::fault_address
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct Fault(u64);

const HAS_ERROR_CODE: u64 = 1 << 8;
const SPECIAL: u64 = 1 << 16;

impl Fault {
    /// #DE, divide error.
    pub const DE: Fault = Fault(0);
    /// #DB, debug exception; DR6 is already set.
    pub const DB: Fault = Fault(1);
    /// NMI.
    pub const NMI: Fault = Fault(2);
    /// #BP, breakpoint (INT3).
    pub const BP: Fault = Fault(3);
    /// #OF, overflow (INTO).
    pub const OF: Fault = Fault(4);
    /// #BR, bound range exceeded.
    pub const BR: Fault = Fault(5);
    /// #UD, invalid opcode.
    pub const UD: Fault = Fault(6);
    /// #NM, device not available.
    pub const NM: Fault = Fault(7);
    /// #DF, double fault.
    pub const DF: Fault = Fault(8 | HAS_ERROR_CODE);
    /// #MF, x87 floating-point error.
    pub const MF: Fault = Fault(16);
    /// #MC, machine check.
    pub const MC: Fault = Fault(18);
    /// #XM, SIMD floating-point exception.
    pub const XM: Fault = Fault(19);
    /// Not an exception: the instruction retired and the run must look around before
    /// the next one (halted, shut down, or a mode that only the run loop knows).
    pub const LEAVE: Fault = Fault(SPECIAL);
    /// Not an exception: a repeated instruction made progress and must be resumed at
    /// the same RIP, so that interrupts are looked at between iterations.
    pub const RESUME: Fault = Fault(SPECIAL | 1);

    /// #TS, invalid TSS, with a selector error code.
    pub const fn ts(error_code: u16) -> Fault {
        Self::with_code(10, error_code)
    }
    /// #NP, segment not present.
    pub const fn np(error_code: u16) -> Fault {
        Self::with_code(11, error_code)
    }
    /// #SS, stack fault.
    pub const fn ss(error_code: u16) -> Fault {
        Self::with_code(12, error_code)
    }
    /// #GP, general protection.
    pub const fn gp(error_code: u16) -> Fault {
        Self::with_code(13, error_code)
    }
    /// #PF, page fault; the linear address is in `CpuState::fault_address`.
    pub const fn pf(error_code: u16) -> Fault {
        Self::with_code(14, error_code)
    }
    /// #AC, alignment check.
    pub const AC: Fault = Self::with_code(17, 0);

    /// An exception of `vector` with an error code.
    pub const fn with_code(vector: u8, error_code: u16) -> Fault {
        Fault(vector as u64 | HAS_ERROR_CODE | (error_code as u64) << 32)
    }
    /// The vector, 0 to 31.
    pub const fn vector(self) -> u8 {
        self.0 as u8
    }
    /// The error code that delivery pushes, where the vector has one.
    pub const fn error_code(self) -> Option<u16> {
        if self.0 & HAS_ERROR_CODE != 0 { Some((self.0 >> 32) as u16) } else { None }
    }
    /// Whether this is [`LEAVE`](Self::LEAVE) or [`RESUME`](Self::RESUME) and no exception.
    pub const fn is_special(self) -> bool {
        self.0 & SPECIAL != 0
    }
    /// The mnemonic of a vector, as the manual spells it.
    pub const fn name(vector: u8) -> &'static str {
        match vector {
            0 => "#DE",
            1 => "#DB",
            2 => "NMI",
            3 => "#BP",
            4 => "#OF",
            5 => "#BR",
            6 => "#UD",
            7 => "#NM",
            8 => "#DF",
            10 => "#TS",
            11 => "#NP",
            12 => "#SS",
            13 => "#GP",
            14 => "#PF",
            16 => "#MF",
            17 => "#AC",
            18 => "#MC",
            19 => "#XM",
            _ => "interrupt",
        }
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.is_special(), self.error_code()) {
            (true, _) if *self == Fault::LEAVE => write!(f, "LEAVE"),
            (true, _) => write!(f, "RESUME"),
            (_, Some(code)) => write!(f, "{}({code:#x})", Fault::name(self.vector())),
            (_, None) => write!(f, "{}", Fault::name(self.vector())),
        }
    }
}
