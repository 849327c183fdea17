//! Register operands: from the guest's to the host's.

use super::Translator;
use crate::emitter::{Reg, Width};
use crate::layout::{HOST, gpr};
use iced_x86::{Instruction, Register};

/// Host registers by size, as iced-x86 names them.
pub(super) fn sized(register: Reg, bytes: usize) -> Register {
    let first = match bytes {
        1 => return BYTES[register as usize],
        2 => Register::AX,
        4 => Register::EAX,
        _ => Register::RAX,
    };
    first + register as u32
}

/// The host register with the size of `r`.
#[inline]
pub(super) fn renamed(r: Register, host: Reg) -> Register {
    sized(host, if r < Register::AX { 1 } else { 2 << ((r as usize - Register::AX as usize) >> 4) })
}

const BYTES: [Register; 16] = [
    Register::AL,
    Register::CL,
    Register::DL,
    Register::BL,
    Register::SPL,
    Register::BPL,
    Register::SIL,
    Register::DIL,
    Register::R8L,
    Register::R9L,
    Register::R10L,
    Register::R11L,
    Register::R12L,
    Register::R13L,
    Register::R14L,
    Register::R15L,
];

/// Whether `r` is AH, CH, DH or BH.
pub(super) fn is_high_byte(r: Register) -> bool {
    matches!(r, Register::AH | Register::CH | Register::DH | Register::BH)
}

impl Translator<'_> {
    /// The host register that holds guest register `n`, or `free`, loaded with it.
    pub(super) fn register_in(&mut self, n: u8, free: Reg) -> Reg {
        match HOST[n as usize & 15] {
            Some(host) => host,
            None => {
                self.e.mov_rm(Width::Qword, free, gpr(n));
                free
            }
        }
    }
    /// Guest register `n` was computed in `from`.
    pub(super) fn register_out(&mut self, n: u8, from: Reg) {
        if HOST[n as usize & 15].is_none() {
            self.e.mov_mr(Width::Qword, gpr(n), from);
        }
    }
    /// Encodes an instruction of iced-x86 whose operands are the host's.
    pub(super) fn encode(&mut self, i: &Instruction) {
        if super::encode::encode(self.e, i) {
            return;
        }
        let result = self.encoder.encode(i, 0);
        let bytes = self.encoder.take_buffer();
        match result {
            Ok(_) => self.e.raw(&bytes),
            Err(error) => unreachable!("{i} cannot be encoded: {error}"),
        }
        let mut bytes = bytes;
        bytes.clear();
        self.encoder.set_buffer(bytes);
    }
}

/// The width of an operand of `bytes` bytes.
pub(super) fn width_of(bytes: usize) -> Width {
    match bytes {
        1 => Width::Byte,
        2 => Width::Word,
        4 => Width::Dword,
        _ => Width::Qword,
    }
}
