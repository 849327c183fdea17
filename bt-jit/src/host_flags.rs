//! What the host's processor does where the manual leaves flags undefined.

#![allow(unsafe_code, reason = "flags are seen by instructions")]

use std::arch::asm;
use std::cell::Cell;
use std::sync::OnceLock;

thread_local! {
    static ASSUMED: Cell<Option<bool>> = const { Cell::new(None) };
}

/// What this thread translates is for a host that agrees, or for one that does not, whatever this one does: for listings, which
/// are to be the same on all hosts.
pub fn assume_on_this_thread(agrees: bool) {
    ASSUMED.set(Some(agrees));
}

/// Whether the host's rotations by more than 1, and its BMI instructions, leave the flags that the interpreter does. It is tried.
pub(crate) fn host_agrees() -> bool {
    if let Some(assumed) = ASSUMED.get() {
        return assumed;
    }
    static AGREES: OnceLock<bool> = OnceLock::new();
    *AGREES.get_or_init(|| {
        let (kept, missed, parity): (u8, u8, u8);
        // SAFETY: arithmetic on registers that are declared, by instructions that each host of the translator has.
        unsafe {
            // OF is 1, and that of a rotation that ends without one is 0; then the other way round.
            asm!("add {x}, 1", "mov {x}, 1", "rol {x}, 2", "seto {of}",
                x = inout(reg_byte) 0x7Fu8 => _, of = out(reg_byte) kept);
            asm!("test {x}, {x}", "rol {x}, 2", "seto {of}",
                x = inout(reg_byte) 0x40u8 => _, of = out(reg_byte) missed);
            // 6 has two bits.
            asm!("blsr {x:e}, {x:e}", "setp {pf}", x = inout(reg) 7u32 => _, pf = out(reg_byte) parity);
        }
        (kept, missed, parity) == (0, 1, 1)
    })
}
