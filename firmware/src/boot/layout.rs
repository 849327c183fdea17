//! Where things go in guest memory: nothing overlaps, everything stands in RAM.
//!
//! Boot data (zero page, command line, descriptor tables, information structures) goes below
//! 640 KiB (see [`Layout::keep_boot_data_low`]), kernels where they ask to stand, initrds and modules in what is free. The regions
//! that the firmware keeps ([`LOW_FREE`] begins above them) are never given away.

use super::bytes::work;
use super::error::{BootError, Bytes};
use super::plan::{Content, MemoryWrite};
use crate::tables::MemoryMap;
use std::ops::Range;
use trimotor_bus::PhysAddr;

/// Conventional memory that a loader may use: above the interrupt vectors and the BIOS data
/// area, below the extended BIOS data area.
pub const LOW_FREE: Range<u64> = 0x1000..0x9_F000;
/// Where boot data goes: lower than Linux's own unpacking code borrows memory for a moment, below
/// the extended BIOS data area.
const BOOT_DATA: Range<u64> = LOW_FREE.start..0x9_0000;
/// Where boot data goes for kernels that use memory before they look at what is in it.
const LOW_BOOT_DATA: Range<u64> = 0x1_0000..BOOT_DATA.end;
/// Where memory above the legacy area starts.
pub const ONE_MIB: u64 = 1 << 20;

/// The guest's memory while a boot plan is made.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    low_ram: u64,
    /// What is given away: in ascending order, neither overlapping nor touching.
    taken: Vec<Range<u64>>,
    boot_data_low: bool,
    pub writes: Vec<MemoryWrite>,
}

impl Layout {
    pub fn new(memory: &MemoryMap) -> Self {
        Self { low_ram: memory.low_ram_bytes(), taken: Vec::new(), boot_data_low: false, writes: Vec::new() }
    }

    /// From now on boot data goes from 64 KiB up instead of from 576 KiB down. Small kernels put
    /// their first stack under 9000:0 or under 640 KiB, and the code that starts other processors
    /// into the first 64 KiB; boot loaders keep their data in between.
    pub fn keep_boot_data_low(&mut self) {
        self.boot_data_low = true;
    }

    /// Gives `range` away. Ranges that touch become one, so that looking for a place stays cheap
    /// however many things are placed.
    fn take(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let first = self.taken.partition_point(|r| r.end < range.start);
        let last = self.taken.partition_point(|r| r.start <= range.end);
        let touching = &self.taken[first..last];
        let start = touching.first().map_or(range.start, |r| r.start.min(range.start));
        let end = touching.last().map_or(range.end, |r| r.end.max(range.end));
        self.taken.splice(first..last, std::iter::once(start..end));
    }

    /// Marks what a kernel asks for; `file` names it in errors.
    pub fn claim(&mut self, file: &str, range: Range<u64>) -> Result<(), BootError> {
        if range.is_empty() {
            return Ok(());
        }
        let in_low = range.start >= LOW_FREE.start && range.end <= LOW_FREE.end;
        let ram_limit = trimotor_bus::memory::LOW_RAM_LIMIT;
        if !in_low && (range.start < ONE_MIB || range.end > ram_limit) {
            return Err(BootError::NoRamThere { file: file.into(), start: range.start, end: range.end });
        }
        if range.end > self.low_ram {
            return Err(BootError::MemoryTooSmall {
                file: file.into(),
                needed: Bytes(range.end),
                actual: Bytes(self.low_ram),
                // Round up generously: a kernel that just fits has no room to work in.
                would_do: Bytes((range.end + range.end / 4).next_multiple_of(16 << 20).min(ram_limit)),
            });
        }
        self.take(range);
        Ok(())
    }

    /// Writes into memory that was claimed before.
    pub fn write(&mut self, at: u64, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            self.writes.push(MemoryWrite { addr: PhysAddr(at), content: Content::Bytes(bytes) });
        }
    }
    /// Clears memory that was claimed before.
    pub fn zero(&mut self, at: u64, bytes: u64) {
        if bytes > 0 {
            self.writes.push(MemoryWrite { addr: PhysAddr(at), content: Content::Zeros(bytes) });
        }
    }

    /// The free stretches of `within`, in ascending order.
    fn free(&self, within: Range<u64>) -> Vec<Range<u64>> {
        work(self.taken.len() as u64);
        let mut free = Vec::new();
        let mut at = within.start;
        for range in &self.taken {
            if range.start > at {
                free.push(at..range.start.min(within.end));
            }
            at = at.max(range.end);
        }
        if at < within.end {
            free.push(at..within.end);
        }
        free.retain(|r| !r.is_empty());
        free
    }

    /// The largest free stretch above 1 MiB and below `limit`, in bytes.
    pub fn largest_free(&self, limit: u64) -> u64 {
        let end = self.low_ram.min(limit);
        self.free(ONE_MIB..end.max(ONE_MIB)).iter().map(|r| r.end - r.start).max().unwrap_or(0)
    }

    /// Takes a place above everything that is taken, else the lowest free one above 1 MiB: some
    /// kernels use the memory behind them before they look at what the loader put there.
    pub fn place_module(&mut self, bytes: u64, limit: u64) -> Option<u64> {
        let end = self.taken.iter().map(|r| r.end).filter(|&e| e <= limit).max().unwrap_or(0);
        self.place_lowest(bytes, 4096, end.max(ONE_MIB)..limit)
            .or_else(|| self.place_lowest(bytes, 4096, ONE_MIB..limit))
    }

    /// Takes the lowest free place in `within`, to the next aligned address.
    pub fn place_lowest(&mut self, bytes: u64, align: u64, within: Range<u64>) -> Option<u64> {
        let within = within.start..within.end.min(self.low_ram);
        let place = self.free(within).into_iter().find_map(|r| {
            let at = r.start.checked_next_multiple_of(align)?;
            let fits = at < r.end && r.end - at >= bytes;
            fits.then(|| at..(at + bytes).next_multiple_of(align).min(r.end))
        })?;
        self.take(place.clone());
        Some(place.start)
    }

    /// Takes the highest free place in `within`, with what the alignment leaves behind it.
    pub fn place_highest(&mut self, bytes: u64, align: u64, within: Range<u64>) -> Option<u64> {
        let within = within.start..within.end.min(self.low_ram);
        let place = self.free(within).into_iter().rev().find_map(|r| {
            let at = r.end.checked_sub(bytes)? / align * align;
            (at >= r.start).then_some(at..r.end)
        })?;
        self.take(place.clone());
        Some(place.start)
    }

    /// Places boot data in conventional memory, where it has room, and writes it.
    pub fn boot_data(&mut self, file: &str, align: u64, bytes: Vec<u8>) -> Result<PhysAddr, BootError> {
        let size = bytes.len() as u64;
        let low = if self.boot_data_low { self.place_lowest(size, align, LOW_BOOT_DATA) } else { None };
        let at = low
            .or_else(|| self.place_highest(size, align, BOOT_DATA))
            .or_else(|| self.place_highest(size, align, LOW_FREE))
            .or_else(|| self.place_highest(size, align, ONE_MIB..self.low_ram))
            .ok_or_else(|| BootError::MemoryTooSmall {
                file: file.into(),
                needed: Bytes(self.low_ram + size),
                actual: Bytes(self.low_ram),
                would_do: Bytes((self.low_ram + size).next_multiple_of(16 << 20)),
            })?;
        self.write(at, bytes);
        Ok(PhysAddr(at))
    }

    /// Replaces the bytes of the last write, where they depend on their place.
    pub fn refill(&mut self, bytes: Vec<u8>) {
        if let Some(last) = self.writes.last_mut() {
            last.content = Content::Bytes(bytes);
        }
    }

    /// The error for a module or initrd that found no place below `limit`.
    pub fn no_room(&self, file: &str, bytes: u64, limit: u64) -> BootError {
        let room = self.largest_free(limit);
        let used = self.taken.iter().map(|r| r.end).filter(|&e| e <= limit).max().unwrap_or(ONE_MIB);
        let needed = used.saturating_add(bytes).saturating_add(used / 4);
        let advice = if needed <= limit && needed <= trimotor_bus::memory::LOW_RAM_LIMIT {
            let would_do = Bytes(needed.next_multiple_of(16 << 20));
            format!("--memory {would_do} would do")
        } else {
            format!("this kernel can reach {} of memory for it, so make it smaller", Bytes(limit))
        };
        BootError::ModuleTooLarge { file: file.into(), actual: Bytes(bytes), room: Bytes(room), advice }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(mib: u64) -> Layout {
        Layout::new(&MemoryMap::new(mib << 20, 0))
    }

    #[test]
    fn placed_things_do_not_overlap() {
        let mut l = layout(16);
        l.claim("k", ONE_MIB..3 << 20).unwrap();
        let a = l.place_highest(4 << 20, 4096, ONE_MIB..u64::MAX).unwrap();
        assert_eq!(a, 12 << 20);
        let b = l.place_lowest(4 << 20, 4096, ONE_MIB..u64::MAX).unwrap();
        assert_eq!(b, 3 << 20);
        assert_eq!(l.largest_free(u64::MAX), 5 << 20);
        assert_eq!(l.place_lowest(6 << 20, 4096, ONE_MIB..u64::MAX), None);
        assert!(l.no_room("i", 6 << 20, u64::MAX).to_string().contains("--memory 32M"));
    }

    #[test]
    fn a_kernel_outside_ram_is_refused_with_a_size_that_would_do() {
        let e = layout(16).claim("k", ONE_MIB..40 << 20).unwrap_err();
        assert!(e.to_string().contains("--memory 64M"), "{e}");
        for range in [0xB_8000..0xB_9000, 0..0x100, 0xF000_0000..0xF000_1000, 5 << 32..6 << 32] {
            let e = layout(16).claim("k", range).unwrap_err();
            assert!(matches!(e, BootError::NoRamThere { .. }), "{e}");
        }
    }
}
