//! What processors after the 80286 do differently, and which flags the manual leaves undefined.

/// FLAGS bits that are compared at all: bits 12 to 15 changed with the 80386.
const FLAGS: u16 = 0x0FD5;
const CF: u16 = 0x001;
const PF: u16 = 0x004;
const AF: u16 = 0x010;
const ZF: u16 = 0x040;
const SF: u16 = 0x080;
const OF: u16 = 0x800;

/// The opcode byte (and /n) that a recording's file name gives.
fn opcode(file: &str) -> (u8, Option<u8>) {
    let (op, ext) = file.split_once('.').map_or((file, None), |(a, b)| (a, b.parse().ok()));
    (u8::from_str_radix(op, 16).unwrap_or(0), ext)
}

/// The flags that are defined after the instruction.
pub fn defined_flags(file: &str, bytes: &[u8]) -> u16 {
    let undefined = match opcode(file) {
        (0x27 | 0x2F, _) => OF,
        (0x37 | 0x3F, _) => OF | SF | ZF | PF,
        (0xD4 | 0xD5, _) => OF | AF | CF,
        (0x69 | 0x6B, _) | (0xF6 | 0xF7, Some(4 | 5)) => SF | ZF | AF | PF,
        (0xF6 | 0xF7, Some(6 | 7)) => OF | SF | ZF | AF | PF | CF,
        (0x08..=0x0D | 0x20..=0x25 | 0x30..=0x35 | 0x84 | 0x85 | 0xA8 | 0xA9, _) => AF,
        (0x80..=0x83, Some(1 | 4 | 6)) | (0xF6 | 0xF7, Some(0 | 1)) => AF,
        (0xD0 | 0xD1, Some(4..=7)) => AF,
        (0xD0 | 0xD1, _) => 0,
        (0xC0 | 0xC1, ext) => counted(ext, bytes.last().copied()),
        (0xD2 | 0xD3, ext) => counted(ext, None),
        _ => 0,
    };
    FLAGS & !undefined
}

/// Undefined flags of a shift or rotate by `count` (if the recording tells it).
fn counted(ext: Option<u8>, count: Option<u8>) -> u16 {
    let overflow = if count.is_some_and(|c| c & 31 == 1) { 0 } else { OF };
    match ext {
        Some(4..=6) => overflow | AF | CF,
        Some(7) => overflow | AF,
        _ => overflow,
    }
}

/// Why a case may differ from what a later processor does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Reason {
    /// LOCK on an instruction that does not allow it is #UD since the 80386.
    Lock,
    /// Limit violations in the stack segment raise #SS (12) since the 80386; the 80286 raises
    /// #GP (13) for all segments in real mode.
    StackSegment,
    /// The 80286 allows instructions of 10 bytes, later processors 15.
    Length,
    /// A string instruction that faults leaves its registers as they were since the 80386; the 80286
    /// has already changed them.
    StringFault,
    /// Opcodes that got a meaning: FS and GS.
    NewSegments,
    /// A far pointer at offset FFFEh: the 80286 reads its second word at offset 0, later processors
    /// check the whole pointer against the limit.
    PointerWrap,
}

impl Reason {
    /// All of them: each must be met by some recording.
    pub const ALL: [Reason; 6] = [
        Reason::Lock,
        Reason::StackSegment,
        Reason::Length,
        Reason::StringFault,
        Reason::NewSegments,
        Reason::PointerWrap,
    ];
}

/// The reason why a case of this file may differ; `exception` is the recorded vector.
pub fn excuse(file: &str, bytes: &[u8], exception: Option<u8>) -> Option<Reason> {
    let prefixes = bytes.iter().take_while(|b| matches!(b, 0x26 | 0x2E | 0x36 | 0x3E | 0xF0 | 0xF2 | 0xF3));
    if prefixes.clone().any(|&b| b == 0xF0) {
        return Some(Reason::Lock);
    }
    let overrun = exception == Some(13);
    // The recorded bytes end with the HLT behind the instruction.
    if overrun && bytes.len() > 11 {
        return Some(Reason::Length);
    }
    let (op, ext) = opcode(file);
    match op {
        0x6C..=0x6F | 0xA4..=0xA7 | 0xAA..=0xAF if overrun => Some(Reason::StringFault),
        0x8C | 0x8E if matches!(modrm_reg(bytes), Some(4..=7)) => Some(Reason::NewSegments),
        0xFF if matches!(ext, Some(3 | 5)) && exception.is_none() => Some(Reason::PointerWrap),
        _ if overrun => Some(Reason::StackSegment),
        _ => None,
    }
}

/// The reg field of the ModRM byte.
fn modrm_reg(bytes: &[u8]) -> Option<u8> {
    let prefixes =
        bytes.iter().take_while(|b| matches!(b, 0x26 | 0x2E | 0x36 | 0x3E | 0xF0 | 0xF2 | 0xF3)).count();
    bytes.get(prefixes + 1).map(|m| m >> 3 & 7)
}
