//! Guest memory: RAM, ROM, the windows of the first megabyte, memory of devices, and page states.
//!
//! RAM is one mapping: below the PCI hole from 0, the rest from 4 GiB. Pages cost nothing until they are touched, and come in
//! large ones where use grows (`use_map.rs`). The first
//! megabyte is divided into [windows] of 16 KiB, each of which reads from RAM, ROM or a device
//! and writes to RAM, nowhere or a device (the PAM and SMRAM registers of the chipset
//! and the VGA window decide). Firmware ROM also stands below 4 GiB. Devices have [memory of their own](MemoryRegion), which
//! appears where their base address registers point ([`GuestMemory::show`]). What is none of these, the bus answers.
//!
//! | at an address below 1 MiB | elsewhere |
//! |---|---|
//! | what the window says: RAM, firmware ROM, or device memory and option ROMs | RAM, firmware ROM, or device memory and option ROMs, in this order |
//!
//! A *RAM page* is a 4 KiB page of main memory or of a device's memory. They are numbered in the order in which they lie in
//! the mapping: main memory first. Each has a *state* ([`PageState`]): whether engines hold decoded
//! code from it, shadow a page table in it, or must note that it is written. A device's write to a page with code returns
//! only after the vCPUs that run have dropped that code ([`peers`](crate::peers)). Engines
//! look at the state when they fill a TLB entry, so that their own writes pay nothing on ordinary pages.

// Raw pointers into the mapping are handed to the engines' MMU here, and only here.
#![allow(unsafe_code)]

mod compare;
mod discard;
mod page_state;
mod ram_file;
mod region;
mod shown;
mod slots;
mod use_map;
mod windows;

pub use page_state::PageState;
pub use ram_file::RamFile;
pub use region::{DEVICE_MEMORY_LIMIT, MemoryRegion, RegionInfo};
pub use shown::{MAX_SHOWN, Shown};
pub use slots::MemorySlot;
pub use windows::{SMRAM, Smram, View, WINDOW_SIZE, WindowRead, WindowWrite};

use crate::address::{PAGE_SHIFT, PAGE_SIZE, PhysAddr};
use crate::device::DmaBus;
use crate::guest_copy;
use crate::peers::{PageRange, Peers};
use crate::table_tracking::TableTracking;
use shown::ShownMap;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use use_map::{BLOCK_BYTES, UseMap};
use vm_memory::MmapRegion;
use windows::Windows;

/// Where RAM below 4 GiB ends at the latest: above it lies the PCI hole.
pub const LOW_RAM_LIMIT: u64 = 0xC000_0000;
/// Where the rest of RAM starts.
pub const HIGH_RAM_BASE: u64 = 1 << 32;
/// The least RAM that a machine can have, in bytes.
pub const MIN_RAM: u64 = 1 << 20;
/// The most RAM that a machine can have, in bytes.
pub const MAX_RAM: u64 = 64 << 30;
/// The largest firmware ROM below 4 GiB, in bytes.
pub const MAX_ROM: usize = 16 << 20;

/// What stands behind a guest-physical page, with host addresses of the page's first byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PageBacking {
    /// Where reads and instruction fetches come from; null: ask the bus.
    pub read: *mut u8,
    /// Where writes go; null: ask the bus (which may drop them).
    pub write: *mut u8,
    /// The RAM page number for [`GuestMemory::page_state`], if `read` is RAM or memory of a device.
    pub ram_page: Option<u64>,
}

impl PageBacking {
    const NOTHING: PageBacking =
        PageBacking { read: std::ptr::null_mut(), write: std::ptr::null_mut(), ram_page: None };
}

/// Guest memory could not be made.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// The size is outside what the PC can have.
    #[error("memory of {bytes} bytes: a PC has 1 MiB to 64 GiB, in whole pages of 4 KiB")]
    Size {
        /// The size asked for.
        bytes: u64,
    },
    /// The host refuses the mapping.
    #[error("memory of {bytes} bytes: the host cannot map it: {reason}")]
    Host {
        /// The size asked for.
        bytes: u64,
        /// The host's words.
        reason: String,
    },
    /// ROM images are whole pages, 16 MiB at most.
    #[error("firmware of {bytes} bytes: must be whole pages of 4 KiB, 16 MiB at most")]
    Rom {
        /// The image's size.
        bytes: usize,
    },
    /// A device's memory is whole pages, and all devices together have a limit.
    #[error("device memory of {bytes} bytes: must be whole pages of 4 KiB, 1 GiB at most for all devices")]
    Region {
        /// The size asked for.
        bytes: u64,
    },
}

/// The guest's memory. Shared by engines and devices; all methods take `&self`.
pub struct GuestMemory {
    /// Where the next field points. Never looked at again: it is unmapped with the rest.
    _mapping: MmapRegion<()>,
    /// RAM, and behind it the memory of devices: [`mapped_pages`](Self::mapped_pages), from the start of a large page of the host's.
    base: *mut u8,
    used: UseMap,
    low_bytes: u64,
    high_bytes: u64,
    states: Box<[AtomicU8]>,
    /// Private mapping of the firmware ROM, so that guests of all engines can map it.
    rom: Option<MmapRegion<()>>,
    windows: Windows,
    shown: ShownMap,
    regions: Mutex<Vec<RegionInfo>>,
    map_generation: AtomicU64,
    tables: TableTracking,
    peers: Peers,
    /// RAM began with what is in a file ([`RamFile`]).
    has_file: bool,
}

// SAFETY: `base` is an address in the mapping that `_mapping` owns for as long as
// `self` lives. Guest memory is shared by nature: this module accesses it atomically (`guest_copy`), but for
// `compare`, which is for machines that stand still. What engines do with the pointers is theirs to justify.
unsafe impl Send for GuestMemory {}
// SAFETY: as above; all other fields are Sync.
unsafe impl Sync for GuestMemory {}

impl GuestMemory {
    /// RAM of `bytes` bytes and, below 4 GiB, `rom`. The last 128 KiB of the ROM (or all of a
    /// shorter one) also appear below 1 MiB; the window A0000h to BFFFFh belongs to devices.
    ///
    /// # Errors
    /// See [`MemoryError`].
    pub fn new(bytes: u64, rom: &[u8]) -> Result<Arc<Self>, MemoryError> {
        Ok(Arc::new(Self::make(bytes, rom)?))
    }
    fn make(bytes: u64, rom: &[u8]) -> Result<Self, MemoryError> {
        if !(MIN_RAM..=MAX_RAM).contains(&bytes) || !bytes.is_multiple_of(PAGE_SIZE) {
            return Err(MemoryError::Size { bytes });
        }
        if !(rom.len() as u64).is_multiple_of(PAGE_SIZE) || rom.len() > MAX_ROM {
            return Err(MemoryError::Rom { bytes: rom.len() });
        }
        let host = |reason: String| MemoryError::Host { bytes, reason };
        let mapped = bytes + DEVICE_MEMORY_LIMIT;
        // A block more, so that the memory can begin at the start of one, and its last one is whole.
        let mapping =
            MmapRegion::new((mapped + 2 * BLOCK_BYTES) as usize).map_err(|e| host(e.to_string()))?;
        let to_block = mapping.as_ptr().align_offset(BLOCK_BYTES as usize);
        let rom = if rom.is_empty() {
            None
        } else {
            let region = MmapRegion::<()>::new(rom.len()).map_err(|e| host(e.to_string()))?;
            // SAFETY: the region was just mapped with rom.len() bytes, and nobody else has it.
            unsafe { std::ptr::copy_nonoverlapping(rom.as_ptr(), region.as_ptr(), rom.len()) };
            Some(region)
        };
        let pages = (mapped >> PAGE_SHIFT) as usize;
        let low_bytes = bytes.min(LOW_RAM_LIMIT);
        let memory = Self {
            base: mapping.as_ptr().wrapping_add(to_block),
            _mapping: mapping,
            used: UseMap::new(mapped >> PAGE_SHIFT),
            low_bytes,
            high_bytes: bytes - low_bytes,
            states: zeroed_bytes(pages),
            rom,
            windows: Windows::new(),
            shown: ShownMap::new(),
            regions: Mutex::default(),
            map_generation: AtomicU64::new(1),
            tables: TableTracking::new(pages),
            peers: Peers::new(pages),
            has_file: false,
        };
        memory.set_window(0xA_0000..0xC_0000, WindowRead::Device, WindowWrite::Device);
        if memory.rom.is_some() {
            let shown = memory.rom_bytes().min(128 << 10).next_multiple_of(WINDOW_SIZE);
            memory.set_window(0x10_0000 - shown..0x10_0000, WindowRead::Rom, WindowWrite::Nowhere);
        }
        Ok(memory)
    }

    /// Bytes of RAM.
    pub fn ram_bytes(&self) -> u64 {
        self.low_bytes + self.high_bytes
    }
    /// Bytes of RAM below the PCI hole; RAM starts at 0.
    pub fn low_ram_bytes(&self) -> u64 {
        self.low_bytes
    }
    /// Bytes of RAM from 4 GiB on.
    pub fn high_ram_bytes(&self) -> u64 {
        self.high_bytes
    }
    /// Pages of main memory.
    pub fn ram_pages(&self) -> usize {
        (self.ram_bytes() >> PAGE_SHIFT) as usize
    }
    /// The RAM pages of main memory.
    pub fn main_memory(&self) -> PageRange {
        PageRange { first: 0, count: self.ram_bytes() >> PAGE_SHIFT }
    }
    /// RAM pages: of main memory, and all that devices can have.
    #[inline]
    pub fn mapped_pages(&self) -> u64 {
        self.states.len() as u64
    }
    /// Bytes of firmware ROM below 4 GiB.
    pub fn rom_bytes(&self) -> u64 {
        self.rom.as_ref().map_or(0, |r| r.size() as u64)
    }
    /// The vCPUs that share this memory.
    #[inline]
    pub fn peers(&self) -> &Peers {
        &self.peers
    }
    /// Which page-table entries translations came from.
    #[inline]
    pub fn tables(&self) -> &TableTracking {
        &self.tables
    }

    /// Changes whenever the map of guest-physical memory changes: engines then drop what
    /// they derived from it.
    pub fn map_generation(&self) -> u64 {
        self.map_generation.load(Ordering::Acquire)
    }
    /// The map has changed: waits until no vCPU that runs guest code uses the old one.
    fn map_changed(&self) {
        let generation = self.map_generation.fetch_add(1, Ordering::SeqCst) + 1;
        self.peers.map_changed(generation);
    }

    /// What stands behind the page of `addr`, outside system-management mode.
    pub fn backing(&self, addr: PhysAddr) -> PageBacking {
        self.backing_for(addr, View::Plain)
    }
    /// What stands behind the page of `addr` for `view`.
    pub fn backing_for(&self, addr: PhysAddr, view: View) -> PageBacking {
        let page = addr.page();
        if page.0 < 1 << 20 {
            return self.backing_of_window(page, view);
        }
        if let Some(offset) = self.ram_offset(page) {
            let ram = self.page_in_use(offset >> PAGE_SHIFT);
            return PageBacking { read: ram, write: ram, ram_page: Some(offset >> PAGE_SHIFT) };
        }
        let rom = self.rom_pointer(page);
        if !rom.is_null() {
            return PageBacking { read: rom, ..PageBacking::NOTHING };
        }
        self.backing_of_device(page)
    }
    fn backing_of_window(&self, page: PhysAddr, view: View) -> PageBacking {
        let (read, write) = self.windows.at(page, view);
        let ram = self.page_in_use(page.frame());
        let mut backing = match read {
            WindowRead::Ram => {
                PageBacking { read: ram, ram_page: Some(page.frame()), ..PageBacking::NOTHING }
            }
            WindowRead::Rom => {
                PageBacking { read: self.rom_pointer(PhysAddr(page.0 + 0xFFF0_0000)), ..PageBacking::NOTHING }
            }
            WindowRead::Device => self.backing_of_device(page),
        };
        backing.write = match write {
            WindowWrite::Ram => ram,
            WindowWrite::Nowhere => std::ptr::null_mut(),
            WindowWrite::Device if read == WindowRead::Device => backing.write,
            WindowWrite::Device => self.backing_of_device(page).write,
        };
        backing
    }
    /// What of devices' memory is shown at a page.
    fn backing_of_device(&self, page: PhysAddr) -> PageBacking {
        let Some((ram_page, writable)) = self.shown.find(page.frame()) else { return PageBacking::NOTHING };
        let read = self.page_in_use(ram_page);
        PageBacking {
            read,
            write: if writable { read } else { std::ptr::null_mut() },
            ram_page: Some(ram_page),
        }
    }

    /// The host address of a RAM page that is about to be used.
    #[inline]
    fn page_in_use(&self, ram_page: u64) -> *mut u8 {
        self.touch(ram_page);
        self.ram_page_host(ram_page)
    }
    /// The offset of a RAM address in the mapping, whatever the windows say.
    #[inline]
    fn ram_offset(&self, addr: PhysAddr) -> Option<u64> {
        if addr.0 < self.low_bytes {
            Some(addr.0)
        } else if addr.0 >= HIGH_RAM_BASE && addr.0 - HIGH_RAM_BASE < self.high_bytes {
            Some(addr.0 - HIGH_RAM_BASE + self.low_bytes)
        } else {
            None
        }
    }
    /// The RAM page number of a host address within the mapping.
    #[inline]
    pub fn ram_page_of_host(&self, host: *const u8) -> Option<u64> {
        let offset = (host as u64).wrapping_sub(self.base as u64);
        (offset < self.mapped_pages() << PAGE_SHIFT).then_some(offset >> PAGE_SHIFT)
    }
    /// The host address of a RAM page that [`backing`](Self::backing) gave before, wherever it is shown.
    #[inline]
    pub fn ram_page_host(&self, ram_page: u64) -> *mut u8 {
        self.base.wrapping_add((ram_page << PAGE_SHIFT) as usize)
    }
    /// Host address of a ROM byte, null where there is none.
    fn rom_pointer(&self, addr: PhysAddr) -> *mut u8 {
        match &self.rom {
            Some(rom) if addr.0 < HIGH_RAM_BASE && addr.0 >= HIGH_RAM_BASE - rom.size() as u64 => {
                rom.as_ptr().wrapping_add((addr.0 - (HIGH_RAM_BASE - rom.size() as u64)) as usize)
            }
            _ => std::ptr::null_mut(),
        }
    }

    /// Reads memory as the board sees it; returns how many bytes RAM or ROM backed. Others read FFh.
    pub fn read(&self, addr: PhysAddr, into: &mut [u8]) -> usize {
        self.read_for(addr, into, View::Plain)
    }
    /// [`read`](Self::read) as `view` sees memory.
    pub fn read_for(&self, addr: PhysAddr, into: &mut [u8], view: View) -> usize {
        let mut backed = 0;
        for (at, piece) in page_pieces(addr, into.len()) {
            let part = &mut into[piece];
            let source = self.backing_for(at, view).read;
            if source.is_null() {
                part.fill(0xFF);
            } else {
                // SAFETY: `source` is a whole mapped page and the piece lies within it.
                unsafe { guest_copy::read(source.add(at.page_offset() as usize), part) };
                backed += part.len();
            }
        }
        backed
    }
    /// Writes memory as the board sees it, for a device; returns how many bytes RAM or a device's memory took. ROM does
    /// not change. vCPUs that hold code from there have dropped it when this returns, and page by page on the way.
    pub fn write(&self, addr: PhysAddr, from: &[u8]) -> usize {
        self.write_for(addr, from, View::Plain)
    }
    /// [`write`](Self::write) as `view` sees memory.
    pub fn write_for(&self, addr: PhysAddr, from: &[u8], view: View) -> usize {
        let mut taken = 0;
        for (at, piece) in page_pieces(addr, from.len()) {
            let part = &from[piece];
            // What can be written is RAM, or memory of a device.
            if let Some(ram_page) = self.ram_page_of_host(self.backing_for(at, view).write) {
                self.write_ram(ram_page, at.page_offset(), part);
                taken += part.len();
            }
        }
        taken
    }
    /// Writes memory as `view` sees it, for a vCPU amid an instruction, which cannot wait for itself: all vCPUs look at what
    /// was written before their next block.
    pub fn write_by_vcpu(&self, addr: PhysAddr, from: &[u8], view: View) {
        for (at, piece) in page_pieces(addr, from.len()) {
            let part = &from[piece];
            if let Some(ram_page) = self.ram_page_of_host(self.backing_for(at, view).write) {
                // SAFETY: a whole page of the mapping, and the piece lies within it.
                unsafe {
                    guest_copy::write(self.ram_page_host(ram_page).add(at.page_offset() as usize), part)
                };
                self.note_write_to(ram_page, at.page_offset(), part.len() as u64);
            }
        }
    }
    /// Reads `into` from `offset` bytes behind the start of a RAM page.
    fn read_ram(&self, ram_page: u64, offset: u64, into: &mut [u8]) {
        let start = PhysAddr((ram_page << PAGE_SHIFT) + offset);
        assert!(start.0 + into.len() as u64 <= self.mapped_pages() << PAGE_SHIFT);
        for (at, piece) in page_pieces(start, into.len()) {
            let page = self.page_in_use(at.frame());
            // SAFETY: a whole page of the mapping, as was just checked, and the piece lies within it.
            unsafe { guest_copy::read(page.add(at.page_offset() as usize), &mut into[piece]) };
        }
    }
    /// Writes `from` at `offset` bytes behind the start of a RAM page, for a device.
    fn write_ram(&self, ram_page: u64, offset: u64, from: &[u8]) {
        let start = PhysAddr((ram_page << PAGE_SHIFT) + offset);
        assert!(start.0 + from.len() as u64 <= self.mapped_pages() << PAGE_SHIFT);
        for (at, piece) in page_pieces(start, from.len()) {
            let part = &from[piece];
            let page = self.page_in_use(at.frame());
            // SAFETY: a whole page of the mapping, as was just checked, and the piece lies within it.
            unsafe { guest_copy::write(page.add(at.page_offset() as usize), part) };
            self.device_wrote(at.frame(), at.page_offset(), part.len() as u64);
        }
    }
    /// Reads a little-endian u32, all ones where nothing backs it.
    pub fn read_u32(&self, addr: PhysAddr) -> u32 {
        let mut b = [0; 4];
        self.read(addr, &mut b);
        u32::from_le_bytes(b)
    }
    /// Reads a little-endian u64, all ones where nothing backs it.
    pub fn read_u64(&self, addr: PhysAddr) -> u64 {
        let mut b = [0; 8];
        self.read(addr, &mut b);
        u64::from_le_bytes(b)
    }
}

impl DmaBus for GuestMemory {
    fn dma_read(&self, addr: PhysAddr, into: &mut [u8]) {
        self.read(addr, into);
    }
    fn dma_write(&self, addr: PhysAddr, from: &[u8]) {
        self.write(addr, from);
    }
}

/// A zero byte for each of `count` pages. Zeroed memory of such a size comes straight from the host's zero page.
pub(crate) fn zeroed_bytes(count: usize) -> Box<[AtomicU8]> {
    let bytes = vec![0u8; count].into_boxed_slice();
    // SAFETY: AtomicU8 has the layout of u8.
    unsafe { Box::from_raw(Box::into_raw(bytes) as *mut [AtomicU8]) }
}

/// Cuts `len` bytes from `addr` on into pieces that do not cross a page.
fn page_pieces(addr: PhysAddr, len: usize) -> impl Iterator<Item = (PhysAddr, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == len {
            return None;
        }
        let at = addr.offset(done as u64);
        let size = (len - done).min((PAGE_SIZE - at.page_offset()) as usize);
        let piece = done..done + size;
        done += size;
        Some((at, piece))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_above_the_hole_starts_at_4_gib() {
        let m = GuestMemory::new(LOW_RAM_LIMIT + (1 << 20), &[]).unwrap();
        assert_eq!(m.write(PhysAddr(HIGH_RAM_BASE + 5), b"hello"), 5);
        let mut b = [0; 5];
        assert_eq!(m.read(PhysAddr(HIGH_RAM_BASE + 5), &mut b), 5);
        assert_eq!(&b, b"hello");
        assert_eq!(m.read(PhysAddr(LOW_RAM_LIMIT), &mut b), 0);
        assert_eq!(b, [0xFF; 5]);
        let page = m.ram_page(PhysAddr(HIGH_RAM_BASE)).unwrap();
        assert_eq!(m.ram_page_addr(page), Some(PhysAddr(HIGH_RAM_BASE)));
        assert_eq!(m.ram_page_of_host(m.backing(PhysAddr(HIGH_RAM_BASE)).read), Some(page));
    }

    #[test]
    fn rom_shows_below_4_gib_and_below_1_mib_and_does_not_change() {
        let mut rom = vec![0; 64 << 10];
        rom[0xFFF0] = 0xEA;
        let m = GuestMemory::new(1 << 20, &rom).unwrap();
        let mut b = [0; 1];
        for at in [0xFFFF_FFF0, 0xF_FFF0] {
            assert_eq!(m.read(PhysAddr(at), &mut b), 1);
            assert_eq!(b[0], 0xEA);
            assert_eq!(m.write(PhysAddr(at), &[0]), 0);
        }
        m.set_window(0xF_0000..0x10_0000, WindowRead::Ram, WindowWrite::Ram);
        assert_eq!(m.write(PhysAddr(0xF_FFF0), &[7]), 1);
        m.read(PhysAddr(0xF_FFF0), &mut b);
        assert_eq!(b[0], 7);
    }

    #[test]
    fn sizes_that_no_pc_has_are_refused() {
        for bytes in [0, 4096, (1 << 20) + 1, (64 << 30) + 4096, u64::MAX] {
            assert!(GuestMemory::new(bytes, &[]).is_err());
        }
    }
}
