//! The tiny guests of the probe: their code, and what it must leave behind.
//!
//! All are loaded at [`CODE`], are straight-line, and end in HLT. Their data stands at [`DATA`]; the
//! operands of the instruction guests are zero at the start unless the guest says otherwise.
//! Encodings: SDM Vol. 2, Instruction Set Reference.

/// Where guest code is loaded, and RIP at the start.
pub const CODE: u64 = 0x1000;
/// Where guests store their results.
pub const DATA: u64 = 0x2000;
/// The three tables of the identity mapping of long mode: PML4, PDPT, page directory.
pub const PAGE_TABLES: [u64; 3] = [0x3000, 0x4000, 0x5000];

/// The port that guests read.
pub const IN_PORT: u16 = 0x10;
/// What they read there.
pub const IN_VALUE: u8 = 0x5A;
/// The port that guests write.
pub const OUT_PORT: u16 = 0x11;

/// The mode that a guest starts in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Real mode, segment bases 0.
    Real,
    /// 64-bit mode at CPL 0, the first 2 MiB mapped to themselves.
    Long,
}

/// A tiny guest.
#[derive(Clone, Copy, Debug)]
pub struct TinyGuest {
    /// The name, with an article, or the instruction it is about.
    pub name: &'static str,
    /// The mode it starts in.
    pub mode: Mode,
    /// The CPUID.1:ECX bit without which it has no point.
    pub needs: Option<u32>,
    /// Its code.
    pub code: &'static [u8],
    /// What it must write to [`OUT_PORT`], in this order.
    pub out: &'static [u8],
    /// What must stand at [`DATA`] in the end.
    pub stored: &'static [u8],
}

/// Guests that an engine cannot do without: port and memory accesses in both modes.
pub const MODES: [TinyGuest; 2] = [
    TinyGuest {
        name: "a real-mode guest",
        mode: Mode::Real,
        needs: None,
        code: &[
            0xE4,
            IN_PORT as u8, // in al, 10h
            0x04,
            0x01, // add al, 1
            0xE6,
            OUT_PORT as u8, // out 11h, al
            0xA2,
            0x00,
            0x20, // mov [2000h], al
            0xF4, // hlt
        ],
        out: &[IN_VALUE + 1],
        stored: &[IN_VALUE + 1],
    },
    TinyGuest {
        name: "a long-mode guest",
        mode: Mode::Long,
        needs: None,
        code: &[
            0xE4,
            IN_PORT as u8, // in al, 10h
            0xE6,
            OUT_PORT as u8, // out 11h, al
            0x48,
            0xB8,
            0x88,
            0x77,
            0x66,
            0x55,
            0x44,
            0x33,
            0x22,
            0x11, // mov rax, 1122334455667788h
            0x48,
            0xC1,
            0xC0,
            0x08, // rol rax, 8
            0x48,
            0x89,
            0x04,
            0x25,
            0x00,
            0x20,
            0x00,
            0x00, // mov [2000h], rax
            0xE6,
            OUT_PORT as u8, // out 11h, al
            0xF4,           // hlt
        ],
        out: &[IN_VALUE, 0x11],
        stored: &[0x11, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22],
    },
];

/// Guests about one instruction each, of the kinds that every 64-bit operating system uses and
/// that emulators behind a KVM without hardware are known to lack.
pub const INSTRUCTIONS: [TinyGuest; 4] = [
    TinyGuest {
        name: "SSE (movdqu, paddd)",
        mode: Mode::Long,
        needs: None,
        code: &[
            0xC7, 0x04, 0x25, 0x00, 0x20, 0x00, 0x00, 0x03, 0x00, 0x00, 0x00, // mov dword [2000h], 3
            0xF3, 0x0F, 0x6F, 0x04, 0x25, 0x00, 0x20, 0x00, 0x00, // movdqu xmm0, [2000h]
            0x66, 0x0F, 0xFE, 0xC0, // paddd xmm0, xmm0
            0xF3, 0x0F, 0x7F, 0x04, 0x25, 0x00, 0x20, 0x00, 0x00, // movdqu [2000h], xmm0
            0xF4, // hlt
        ],
        out: &[],
        stored: &[6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    },
    TinyGuest {
        name: "x87 (fld1, fadd, fstp)",
        mode: Mode::Long,
        needs: None,
        code: &[
            0xDB, 0xE3, // fninit
            0xD9, 0xE8, // fld1
            0xD8, 0xC0, // fadd st0, st0
            0xDD, 0x1C, 0x25, 0x00, 0x20, 0x00, 0x00, // fstp qword [2000h]
            0xF4, // hlt
        ],
        out: &[],
        stored: &[0, 0, 0, 0, 0, 0, 0, 0x40], // 2.0
    },
    TinyGuest {
        name: "cmpxchg16b",
        mode: Mode::Long,
        needs: Some(13),
        code: &[
            0x31, 0xC0, // xor eax, eax
            0x31, 0xD2, // xor edx, edx
            0xBB, 0x01, 0x00, 0x00, 0x00, // mov ebx, 1
            0xB9, 0x02, 0x00, 0x00, 0x00, // mov ecx, 2
            0xF0, 0x48, 0x0F, 0xC7, 0x0C, 0x25, 0x00, 0x20, 0x00, 0x00, // lock cmpxchg16b [2000h]
            0xF4, // hlt
        ],
        out: &[],
        stored: &[1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0],
    },
    TinyGuest {
        name: "xrstor",
        mode: Mode::Long,
        needs: Some(26),
        code: &[
            0xB8, 0x01, 0x00, 0x00, 0x00, // mov eax, 1: the x87 state, which XCR0 always has
            0x31, 0xD2, // xor edx, edx
            0x0F, 0xAE, 0x2C, 0x25, 0x00, 0x22, 0x00, 0x00, // xrstor [2200h], all zero: initial state
            0xC6, 0x04, 0x25, 0x00, 0x20, 0x00, 0x00, 0x01, // mov byte [2000h], 1
            0xF4, // hlt
        ],
        out: &[],
        stored: &[1],
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guests_end_in_hlt_and_stay_within_their_page() {
        for guest in MODES.iter().chain(&INSTRUCTIONS) {
            assert_eq!(guest.code.last(), Some(&0xF4), "{}", guest.name);
            assert!(guest.code.len() <= 0x1000);
            assert!(guest.stored.iter().any(|&byte| byte != 0), "{}: as untouched memory", guest.name);
        }
    }
}
