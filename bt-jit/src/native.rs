//! Rust functions for single instructions that translated code calls by leaf thunks, which keep most of the guest's
//! registers where they are: no site, no ops of the interpreter.
//!
//! A function of [`Thunks::leaf`](crate::thunks) finds RAX, RCX, RDX, RSP, RSI, RDI and R8 to R11 in the state, and may
//! write them. The others are in host registers; so may be the vector and x87 registers.

#![allow(unsafe_code, reason = "translated code passes the core that it was entered with")]

use crate::thunks::answer;
use crate::vcpu::{go_on, parts};
use trimotor_cpu::flags::Rflags;
use trimotor_cpu_interp::core::Core;

/// What RDTSC and RDTSCP ask for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TimeStampRequest {
    /// Instructions of the block after it.
    pub left: u8,
    /// IA32_TSC_AUX too (RDTSCP).
    pub with_aux: bool,
}

impl TimeStampRequest {
    /// As the thunk's argument.
    pub fn pack(self) -> u32 {
        self.left as u32 | (self.with_aux as u32) << 8
    }
    fn unpack(word: u32) -> TimeStampRequest {
        TimeStampRequest { left: word as u8, with_aux: word >> 8 & 1 != 0 }
    }
}

/// RDTSC and RDTSCP. Not zero: it falls back to the interpreter.
pub(crate) extern "sysv64" fn time_stamp(core: *mut Core, request: u32) -> u64 {
    // SAFETY: called by a thunk, with the core that translated code was entered with.
    let core = unsafe { &mut *core };
    let request = TimeStampRequest::unpack(request);
    !core.read_time_stamp(request.left, request.with_aux) as u64
}

/// CLAC and STAC at CPL 0.
pub(crate) extern "sysv64" fn access_control(core: *mut Core, on: u32) -> u64 {
    // SAFETY: as above.
    let core = unsafe { &mut *core };
    core.state.rflags.set(Rflags::AC, on != 0);
    core.mmu.select(&mut core.state);
    answer::CONTINUE
}

/// SYSCALL in 64-bit mode, enabled; `next` is the offset of what follows it in its page.
pub(crate) extern "sysv64" fn syscall(core: *mut Core, next: u32) -> u64 {
    // SAFETY: as above.
    let (core, code) = unsafe { parts(core) };
    core.enter_by_syscall(next as u64);
    go_on(core, code)
}

/// SYSRET to a canonical address of 64-bit mode, enabled, at CPL 0.
pub(crate) extern "sysv64" fn sysret(core: *mut Core, _: u32) -> u64 {
    // SAFETY: as above.
    let (core, code) = unsafe { parts(core) };
    core.return_by_sysret();
    go_on(core, code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_survive_their_way() {
        for left in [0, 1, 63] {
            for with_aux in [false, true] {
                let request = TimeStampRequest { left, with_aux };
                assert_eq!(TimeStampRequest::unpack(request.pack()), request);
            }
        }
    }
}
