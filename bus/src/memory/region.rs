//! Memory that belongs to a device: frame buffers, option ROMs.
//!
//! A device has it allocated once, when the machine is built, and keeps it whatever the guest does with the base address
//! register that shows it ([`super::shown`]). Its pages follow the pages of main memory in the same mapping and in the same
//! numbering (*RAM pages*), so that engines hold code from it, watch it and write it as they do main memory, and DMA
//! reaches it.

use super::{GuestMemory, MemoryError};
use crate::address::{PAGE_SHIFT, PAGE_SIZE};
use crate::peers::PageRange;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, PoisonError};

/// The most bytes that all regions of a machine have together. It is address space, of which what is written is touched.
pub const DEVICE_MEMORY_LIMIT: u64 = 1 << 30;

/// A region as the machine knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RegionInfo {
    /// Its name: for people, and for saved machines.
    pub name: String,
    /// Its RAM pages.
    pub pages: PageRange,
    /// The guest cannot write it.
    pub rom: bool,
}

/// A device's handle to memory of its own.
#[derive(Clone)]
pub struct MemoryRegion {
    memory: Arc<GuestMemory>,
    pages: PageRange,
    rom: bool,
}

impl fmt::Debug for MemoryRegion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryRegion").field("pages", &self.pages).field("rom", &self.rom).finish()
    }
}

impl MemoryRegion {
    /// How many bytes: whole pages.
    pub fn bytes(&self) -> u64 {
        self.pages.count << PAGE_SHIFT
    }
    /// Its RAM pages.
    pub fn pages(&self) -> PageRange {
        self.pages
    }
    /// Whether nobody can write it.
    pub fn is_rom(&self) -> bool {
        self.rom
    }
    /// Reads as the device does, wherever the region is shown. Beyond its end: ones.
    pub fn read(&self, offset: u64, into: &mut [u8]) {
        let inside = self.inside(offset, into.len());
        let (part, beyond) = into.split_at_mut(inside);
        self.memory.read_ram(self.pages.first, offset.min(self.bytes()), part);
        beyond.fill(0xFF);
    }
    /// Writes as the device does; engines see it. Beyond its end, and to a ROM: nothing.
    pub fn write(&self, offset: u64, from: &[u8]) {
        let inside = self.inside(offset, from.len());
        if !self.rom {
            self.memory.write_ram(self.pages.first, offset.min(self.bytes()), &from[..inside]);
        }
    }
    /// How many of so many bytes from `offset` on the region has.
    fn inside(&self, offset: u64, bytes: usize) -> usize {
        self.bytes().saturating_sub(offset).min(bytes as u64) as usize
    }
    /// The bytes within `range` that may have changed since they were last asked for, by whoever wrote them: whole pages,
    /// ascending, neighbours joined. All of it the first time. See [`GuestMemory::take_dirty`].
    pub fn take_dirty(&self, range: Range<u64>) -> Vec<Range<u64>> {
        let first = (range.start >> PAGE_SHIFT).min(self.pages.count);
        let end = range.end.div_ceil(PAGE_SIZE).clamp(first, self.pages.count);
        let asked = PageRange { first: self.pages.first + first, count: end - first };
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for page in self.memory.take_dirty(asked) {
            let start = (page - self.pages.first) << PAGE_SHIFT;
            match ranges.last_mut() {
                Some(last) if last.end == start => last.end += PAGE_SIZE,
                _ => ranges.push(start..start + PAGE_SIZE),
            }
        }
        ranges
    }
}

impl GuestMemory {
    /// Memory of `bytes` bytes for a device, all zeros, shown nowhere yet ([`show`](Self::show)). It stays as long as the
    /// machine does.
    ///
    /// # Errors
    /// No whole pages, or more than there may be ([`DEVICE_MEMORY_LIMIT`]).
    pub fn add_device_memory(
        self: &Arc<Self>,
        name: impl Into<String>,
        bytes: u64,
    ) -> Result<MemoryRegion, MemoryError> {
        self.add_region(name.into(), bytes, false)
    }
    /// A ROM of `bytes` bytes for a device, which begins with `image`; ones follow it.
    ///
    /// # Errors
    /// As [`add_device_memory`](Self::add_device_memory); an image that is larger.
    pub fn add_rom(
        self: &Arc<Self>,
        name: impl Into<String>,
        image: &[u8],
        bytes: u64,
    ) -> Result<MemoryRegion, MemoryError> {
        if image.len() as u64 > bytes {
            return Err(MemoryError::Region { bytes: image.len() as u64 });
        }
        let region = self.add_region(name.into(), bytes, true)?;
        self.write_ram(region.pages.first, 0, image);
        let ones = [0xFF; PAGE_SIZE as usize];
        let mut at = image.len() as u64;
        while at < bytes {
            let piece = (PAGE_SIZE - at % PAGE_SIZE).min(bytes - at);
            self.write_ram(region.pages.first, at, &ones[..piece as usize]);
            at += piece;
        }
        Ok(region)
    }
    fn add_region(
        self: &Arc<Self>,
        name: String,
        bytes: u64,
        rom: bool,
    ) -> Result<MemoryRegion, MemoryError> {
        let mut regions = self.regions.lock().unwrap_or_else(PoisonError::into_inner);
        let first = regions.last().map_or(self.ram_pages() as u64, |last| last.pages.pages().end);
        let left = DEVICE_MEMORY_LIMIT - ((first - self.ram_pages() as u64) << PAGE_SHIFT);
        if bytes == 0 || !bytes.is_multiple_of(PAGE_SIZE) || bytes > left {
            return Err(MemoryError::Region { bytes });
        }
        let pages = PageRange { first, count: bytes >> PAGE_SHIFT };
        regions.push(RegionInfo { name, pages, rom });
        Ok(MemoryRegion { memory: self.clone(), pages, rom })
    }
    /// All regions of devices, in the order in which they were added.
    pub fn regions(&self) -> Vec<RegionInfo> {
        self.regions.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_are_apart_and_limited() {
        let m = GuestMemory::new(1 << 20, &[]).unwrap();
        let a = m.add_device_memory("a", 64 << 20).unwrap();
        let b = m.add_device_memory("b", 4096).unwrap();
        a.write((64 << 20) - 2, &[1, 2, 3]);
        let mut bytes = [0; 3];
        b.read(0, &mut bytes);
        assert_eq!(bytes, [0; 3]);
        a.read((64 << 20) - 2, &mut bytes);
        assert_eq!(bytes, [1, 2, 0xFF]);
        a.read(u64::MAX, &mut bytes);
        assert_eq!(bytes, [0xFF; 3]);
        a.write(u64::MAX, &[1]);
        for bytes in [0, 100, DEVICE_MEMORY_LIMIT, !4095] {
            assert!(m.add_device_memory("c", bytes).is_err(), "{bytes}");
        }
        assert!(m.add_rom("d", &[0; 8192], 4096).is_err());
        assert!(m.add_device_memory("e", DEVICE_MEMORY_LIMIT - (64 << 20) - 4096).is_ok());
        assert_eq!(m.regions().len(), 3);
    }
}
