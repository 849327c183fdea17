//! One whole x87 instruction on the host, between FRSTOR and FNSAVE.

#![allow(unsafe_code, reason = "the host's x87 is reached through inline assembly")]

use super::status;
use crate::flags::ArithFlags;
use crate::state::{Fpr, X87State};
use std::arch::asm;

/// Where the registers start in the 32-bit protected-mode image of FSAVE.
const REGISTERS: usize = 28;

/// The image of FSAVE and FRSTOR.
#[repr(C, align(16))]
struct Image([u8; 112]);

impl Image {
    /// The guest's unit as an instruction with operands ST0 and ST(`i`) sees it. The
    /// encodings used here name ST1 (or ST0 for `i` = 0), so ST(`i`) stands there.
    fn new(state: &X87State, i: u8) -> Image {
        let mut image = Image([0; 112]);
        let mut tags = 0xFFFF_u16;
        for (place, from) in [(0, 0), (1, if i == 0 { 1 } else { i }), (7, 7)] {
            let at = REGISTERS + 10 * place;
            image.0[at..at + 10].copy_from_slice(&state.st(from).0[..10]);
            if !state.is_empty(from) {
                tags &= !(3 << (2 * state.physical(place as u8)));
            }
        }
        let status_word = state.status_word() & !(status::ES | status::B | waiting(state));
        for (at, word) in [(0, state.control), (4, status_word), (8, tags)] {
            image.0[at..at + 2].copy_from_slice(&word.to_le_bytes());
        }
        image
    }

    fn word(&self, at: usize) -> u16 {
        u16::from_le_bytes([self.0[at], self.0[at + 1]])
    }

    /// Takes back what [`new`](Self::new) laid out, after the instruction.
    fn store(&self, state: &mut X87State, i: u8) {
        let status_word = self.word(4);
        let tags = self.word(8);
        let new_top = (status_word >> 11 & 7) as u8;
        let old_top = state.top;
        for (place, to) in [(0, 0), (1, if i == 0 { 1 } else { i }), (7, 7)] {
            if place == 7 && i == 7 && new_top != old_top.wrapping_sub(1) & 7 {
                // ST7 was laid out twice, and only a push writes to the second place.
                continue;
            }
            let host = (old_top + place) & 7;
            let guest = ((old_top + to) & 7) as usize;
            let at = REGISTERS + 10 * (host.wrapping_sub(new_top) & 7) as usize;
            let mut value = [0; 16];
            value[..10].copy_from_slice(&self.0[at..at + 10]);
            state.regs[guest] = Fpr(value);
            let empty = tags >> (2 * host) & 3 == 3;
            state.empty = state.empty & !(1 << guest) | (empty as u8) << guest;
        }
        state.status = status_word & !status::TOP | waiting(state);
        state.top = new_top;
        state.refresh_summary();
    }
}

/// Unmasked exceptions that wait already (the guest runs with CR0.NE clear and ignores them).
/// The host must not see them: it would report them.
fn waiting(state: &X87State) -> u16 {
    state.status & !state.control & status::EXCEPTIONS
}

/// Executes the register form or memory form of one instruction on the guest's unit with
/// every effect that the architecture defines, masked or not: results, TOP, tags, status.
/// Exceptions that wait already go on waiting.
///
/// `OPCODE` holds the low three bits of the first byte and the second byte, as FOP does:
/// for register operands with `rm` = 1, which stands for ST(`i`); for memory operands with
/// `mod` = 0 and `rm` = 1, which stands for `memory`. `flags` are the arithmetic flags
/// before, and the ones after are returned (FCMOVcc, FCOMI).
pub fn execute<const OPCODE: u16>(
    state: &mut X87State,
    i: u8,
    flags: ArithFlags,
    memory: &mut [u8; 16],
) -> ArithFlags {
    let mut image = Image::new(state, i);
    let itself = OPCODE & 0xC0 == 0xC0 && i == 0;
    let p = image.0.as_mut_ptr();
    let mut ax = flags.0;
    // SAFETY: the image has the 108 bytes that FRSTOR and FNSAVE access; the instruction
    // accesses at most 10 bytes of `memory`. No exception is pending when the instruction
    // starts, and FNSAVE, which reports none, leaves the unit as FNINIT does: that
    // is what the ABI wants at the end.
    unsafe {
        if itself {
            asm!(
                "frstor [{p}]", "add al, 127", "sahf",
                ".byte {first}, {second}",
                "lahf", "seto al", "fnsave [{p}]",
                p = in(reg) p,
                first = const 0xD8 | OPCODE >> 8,
                second = const OPCODE & 0xF8,
                in("rcx") memory.as_mut_ptr(),
                inout("ax") ax,
            );
        } else {
            asm!(
                "frstor [{p}]", "add al, 127", "sahf",
                ".byte {first}, {second}",
                "lahf", "seto al", "fnsave [{p}]",
                p = in(reg) p,
                first = const 0xD8 | OPCODE >> 8,
                second = const OPCODE & 0xFF,
                in("rcx") memory.as_mut_ptr(),
                inout("ax") ax,
            );
        }
    }
    image.store(state, i);
    ArithFlags(ax & ArithFlags::ALL)
}
