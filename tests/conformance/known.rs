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

/// Files in which some cases differ, and why.
const LISTED: &[(&str, &str)] = &[];

/// The reason why a case of this file may differ.
pub fn excuse(file: &str, bytes: &[u8]) -> Option<&'static str> {
    if bytes.first() == Some(&0xF0) || bytes.iter().take(4).any(|&b| b == 0xF0) {
        return Some("LOCK on an instruction that does not allow it is #UD since the 80386");
    }
    LISTED.iter().find(|(name, _)| *name == file).map(|(_, reason)| *reason)
}

/// Whether the file is listed.
pub fn is_listed(file: &str) -> bool {
    LISTED.iter().any(|(name, _)| *name == file)
}
