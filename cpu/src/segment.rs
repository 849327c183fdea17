//! Segment registers with their hidden parts (SDM Vol. 3A, Protected-Mode Memory Management).

use serde::{Deserialize, Serialize};

/// The six segment registers, in the order in which instructions encode them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum SegReg {
    /// ES.
    Es = 0,
    /// CS.
    Cs = 1,
    /// SS.
    Ss = 2,
    /// DS.
    Ds = 3,
    /// FS.
    Fs = 4,
    /// GS.
    Gs = 5,
}

impl SegReg {
    /// All six, in encoding order.
    pub const ALL: [SegReg; 6] = [SegReg::Es, SegReg::Cs, SegReg::Ss, SegReg::Ds, SegReg::Fs, SegReg::Gs];
    /// From the encoding, 0 to 5.
    pub const fn from_encoding(n: u8) -> Option<SegReg> {
        if n < 6 { Some(Self::ALL[n as usize]) } else { None }
    }
}

/// A segment register, LDTR or TR: selector and hidden part.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[repr(C)]
pub struct Segment {
    /// First linear address.
    pub base: u64,
    /// Last offset, in bytes (granularity applied).
    pub limit: u32,
    /// The descriptor's attribute bits 8 to 23 of its second dword, shifted down by 8:
    /// type (0-3), S (4), DPL (5-6), P (7), limit 19:16 (8-11, not used), AVL (12), L (13), D/B (14), G (15).
    pub attributes: u16,
    /// The visible selector.
    pub selector: u16,
}

impl Segment {
    /// S: a code or data segment, not a system one.
    pub const S: u16 = 1 << 4;
    /// P: present.
    pub const P: u16 = 1 << 7;
    /// AVL.
    pub const AVL: u16 = 1 << 12;
    /// L: 64-bit code.
    pub const L: u16 = 1 << 13;
    /// D/B: 32-bit code or stack, or the upper bound of an expand-down segment.
    pub const DB: u16 = 1 << 14;
    /// G: the limit counts pages.
    pub const G: u16 = 1 << 15;
    /// Type bit 0: accessed.
    pub const ACCESSED: u16 = 1;
    /// Type bit 1: writable data or readable code.
    pub const RW: u16 = 1 << 1;
    /// Type bit 2: expand-down data or conforming code.
    pub const DC: u16 = 1 << 2;
    /// Type bit 3: code.
    pub const CODE: u16 = 1 << 3;

    /// A segment as real mode loads it: base is 16 times the selector, 64 KiB, read/write.
    pub const fn real_mode(selector: u16) -> Segment {
        Segment { base: (selector as u64) << 4, limit: 0xFFFF, attributes: 0x93, selector }
    }
    /// An unusable segment: a null selector.
    pub const fn null(selector: u16) -> Segment {
        Segment { base: 0, limit: 0, attributes: 0, selector }
    }
    /// The four type bits.
    #[inline]
    pub const fn kind(&self) -> u8 {
        (self.attributes & 15) as u8
    }
    /// DPL, 0 to 3.
    #[inline]
    pub const fn dpl(&self) -> u8 {
        (self.attributes >> 5 & 3) as u8
    }
    /// P.
    #[inline]
    pub const fn present(&self) -> bool {
        self.attributes & Self::P != 0
    }
    /// A code segment.
    #[inline]
    pub const fn is_code(&self) -> bool {
        self.attributes & (Self::S | Self::CODE) == Self::S | Self::CODE
    }
    /// D/B.
    #[inline]
    pub const fn is_32bit(&self) -> bool {
        self.attributes & Self::DB != 0
    }
    /// Whether the segment is a present, writable data segment of 4 GiB that grows up, or
    /// readable code of 4 GiB: no access through it can fail its limit or type check
    /// (writes through code segments excepted).
    pub const fn is_open(&self) -> bool {
        let data = self.attributes & (Self::P | Self::S | Self::CODE | Self::DC | Self::RW);
        data == Self::P | Self::S | Self::RW && self.limit == u32::MAX
    }
}

/// GDTR or IDTR.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct TableRegister {
    /// Linear address of the table.
    pub base: u64,
    /// Last offset.
    pub limit: u16,
}
