//! The interrupt vector table at 0, as a BIOS leaves it, with what little stands behind it.
//!
//! There is no BIOS code behind direct boot: software interrupts return at once. Interrupts of the 8259As do
//! what keeps the PC going until a system installs handlers of its own: each ends its interrupt at the
//! controllers, the timer's counts ticks in the BIOS data area and calls INT 1Ch, the keyboard's takes the byte.
//! The entry points are where the IBM PC had them.
//!
//! | vector | from | does |
//! |---|---|---|
//! | 08h | F000:FEA5 | counts at 0040:006C, calls INT 1Ch, ends interrupt 0 |
//! | 09h | F000:E987 | reads port 60h, ends interrupt 1 |
//! | 0Ah to 0Fh | F000:FF23 | ends the master's interrupt |
//! | 70h to 77h | F000:FF2B | ends the slave's interrupt and the master's |
//! | others | F000:FF53 | IRET |
//!
//! Source: IBM PC/AT Technical Reference, "System BIOS".

use crate::boot::MemoryWrite;
use trimotor_bus::PhysAddr;

/// The segment of all handlers.
const SEGMENT: u16 = 0xF000;

/// A handler: its offset in [`SEGMENT`], its code, and the vectors that lead to it.
struct Handler {
    offset: u16,
    code: &'static [u8],
    vectors: std::ops::RangeInclusive<u8>,
}

/// The first one is for all vectors that no other has.
const HANDLERS: [Handler; 5] = [
    Handler { offset: 0xFF53, code: &[0xCF], vectors: 0..=0xFF },
    Handler {
        offset: 0xFEA5,
        code: &[
            0x50, 0x1E, // push ax; push ds
            0x31, 0xC0, 0x8E, 0xD8, // xor ax, ax; mov ds, ax
            0x66, 0xFF, 0x06, 0x6C, 0x04, // inc dword [46Ch]
            0xCD, 0x1C, // int 1Ch
            0xB0, 0x20, 0xE6, 0x20, // mov al, 20h; out 20h, al
            0x1F, 0x58, 0xCF, // pop ds; pop ax; iret
        ],
        vectors: 0x08..=0x08,
    },
    Handler {
        offset: 0xE987,
        // push ax; in al, 60h; mov al, 20h; out 20h, al; pop ax; iret
        code: &[0x50, 0xE4, 0x60, 0xB0, 0x20, 0xE6, 0x20, 0x58, 0xCF],
        vectors: 0x09..=0x09,
    },
    Handler {
        offset: 0xFF23,
        // push ax; mov al, 20h; out 20h, al; pop ax; iret
        code: &[0x50, 0xB0, 0x20, 0xE6, 0x20, 0x58, 0xCF],
        vectors: 0x0A..=0x0F,
    },
    Handler {
        offset: 0xFF2B,
        // push ax; mov al, 20h; out A0h, al; out 20h, al; pop ax; iret
        code: &[0x50, 0xB0, 0x20, 0xE6, 0xA0, 0xE6, 0x20, 0x58, 0xCF],
        vectors: 0x70..=0x77,
    },
];

/// The table and the handlers.
pub(super) fn writes() -> Vec<MemoryWrite> {
    let mut table = vec![0u8; 4 * 256];
    for handler in &HANDLERS {
        for vector in handler.vectors.clone() {
            let at = 4 * usize::from(vector);
            table[at..at + 2].copy_from_slice(&handler.offset.to_le_bytes());
            table[at + 2..at + 4].copy_from_slice(&SEGMENT.to_le_bytes());
        }
    }
    let code = HANDLERS.iter().map(|handler| {
        let addr = u64::from(SEGMENT) * 16 + u64::from(handler.offset);
        MemoryWrite::bytes(PhysAddr(addr), handler.code.to_vec())
    });
    std::iter::once(MemoryWrite::bytes(PhysAddr(0), table)).chain(code).collect()
}
