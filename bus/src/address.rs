//! Newtypes for the address spaces of a PC, so that they cannot be mixed up.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Bytes in the smallest page.
pub const PAGE_SIZE: u64 = 4096;
/// `log2(PAGE_SIZE)`.
pub const PAGE_SHIFT: u32 = 12;

/// A guest-physical address, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[repr(transparent)]
pub struct PhysAddr(pub u64);

/// A linear address, in bytes: after segmentation, before paging.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[repr(transparent)]
pub struct LinearAddr(pub u64);

/// An I/O port number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[repr(transparent)]
pub struct Port(pub u16);

impl PhysAddr {
    /// The address of the 4 KiB page that holds this address.
    #[inline]
    pub const fn page(self) -> PhysAddr {
        PhysAddr(self.0 & !(PAGE_SIZE - 1))
    }
    /// The 4 KiB page's number: the address divided by 4096.
    #[inline]
    pub const fn frame(self) -> u64 {
        self.0 >> PAGE_SHIFT
    }
    /// The offset within the 4 KiB page, 0 to 4095.
    #[inline]
    pub const fn page_offset(self) -> u64 {
        self.0 & (PAGE_SIZE - 1)
    }
    /// This address plus `bytes`, wrapping at 2^64.
    #[inline]
    pub const fn offset(self, bytes: u64) -> PhysAddr {
        PhysAddr(self.0.wrapping_add(bytes))
    }
}

impl LinearAddr {
    /// The address of the 4 KiB page that holds this address.
    #[inline]
    pub const fn page(self) -> LinearAddr {
        LinearAddr(self.0 & !(PAGE_SIZE - 1))
    }
    /// The offset within the 4 KiB page, 0 to 4095.
    #[inline]
    pub const fn page_offset(self) -> u64 {
        self.0 & (PAGE_SIZE - 1)
    }
    /// This address plus `bytes`, wrapping at 2^64.
    #[inline]
    pub const fn offset(self, bytes: u64) -> LinearAddr {
        LinearAddr(self.0.wrapping_add(bytes))
    }
}

impl fmt::Debug for PhysAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "phys {:#x}", self.0)
    }
}
impl fmt::Debug for LinearAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "linear {:#x}", self.0)
    }
}
impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "port {:#06x}", self.0)
    }
}

/// How many bytes one bus access moves.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[repr(u8)]
pub enum Width {
    /// One byte.
    Byte = 1,
    /// Two bytes.
    Word = 2,
    /// Four bytes.
    Dword = 4,
    /// Eight bytes (MMIO only; ports have no such access).
    Qword = 8,
}

impl Width {
    /// The number of bytes: 1, 2, 4 or 8.
    #[inline]
    pub const fn bytes(self) -> usize {
        self as usize
    }
    /// All ones in as many bytes: what an access that nobody answers reads.
    #[inline]
    pub const fn mask(self) -> u64 {
        match self {
            Width::Byte => 0xFF,
            Width::Word => 0xFFFF,
            Width::Dword => 0xFFFF_FFFF,
            Width::Qword => u64::MAX,
        }
    }
    /// The width of `bytes` bytes, or `None` where it is not 1, 2, 4 or 8.
    #[inline]
    pub const fn from_bytes(bytes: usize) -> Option<Width> {
        match bytes {
            1 => Some(Width::Byte),
            2 => Some(Width::Word),
            4 => Some(Width::Dword),
            8 => Some(Width::Qword),
            _ => None,
        }
    }
    /// The little-endian number that the first bytes of a slice are.
    ///
    /// # Panics
    /// The slice has fewer bytes.
    #[inline]
    pub fn value_of(self, bytes: &[u8]) -> u64 {
        match (self, bytes) {
            (Width::Byte, [a, ..]) => (*a).into(),
            (Width::Word, [a, b, ..]) => u16::from_le_bytes([*a, *b]).into(),
            (Width::Dword, [a, b, c, d, ..]) => u32::from_le_bytes([*a, *b, *c, *d]).into(),
            (Width::Qword, [a, b, c, d, e, f, g, h, ..]) => {
                u64::from_le_bytes([*a, *b, *c, *d, *e, *f, *g, *h])
            }
            _ => panic!("{} bytes are not {self:?}", bytes.len()),
        }
    }
}
