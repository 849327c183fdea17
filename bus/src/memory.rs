//! Guest memory: RAM, ROM, the windows of the first megabyte, and page states.
//!
//! RAM is one memfd, mapped through vm-memory: below the PCI hole from 0, the rest
//! from 4 GiB. Pages cost nothing until they are touched. The first megabyte is
//! divided into 64 windows of 16 KiB, each of which reads from RAM, ROM or a device
//! and writes to RAM, nowhere or a device (the PAM and SMRAM registers of the chipset
//! and the VGA window decide). Firmware ROM also stands below 4 GiB.
//!
//! Each 4 KiB page of RAM has a *state* ([`PageState`]): whether engines hold decoded
//! code from it or shadow a page table in it. A device's write to such a page is told to all
//! vCPUs, which look at it before they run their next block ([`Peers::serve_written`]). Engines
//! look at the state when they fill a TLB entry, so that their own writes pay nothing on ordinary pages.

// Raw pointers into the mapping are handed to the engines' MMU here, and only here.
#![allow(unsafe_code)]

use crate::address::{PAGE_SHIFT, PAGE_SIZE, PhysAddr};
use crate::device::DmaBus;
use crate::guest_copy;
use crate::peers::Peers;
use crate::table_watch::TableWatch;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use vm_memory::{
    FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion, GuestRegionMmap,
    MmapRegion,
};

/// Where RAM below 4 GiB ends at the latest: above it lies the PCI hole.
pub const LOW_RAM_LIMIT: u64 = 0xC000_0000;
/// Where the rest of RAM starts.
pub const HIGH_RAM_BASE: u64 = 1 << 32;
/// The least RAM that a machine can have, in bytes.
pub const MIN_RAM: u64 = 1 << 20;
/// The most RAM that a machine can have, in bytes.
pub const MAX_RAM: u64 = 64 << 30;
/// The size of one window of the first megabyte.
pub const WINDOW_SIZE: u64 = 16 << 10;
const WINDOWS: usize = 64;
/// Where system-management mode may have memory of its own, behind the VGA window.
pub const SMRAM: std::ops::Range<u64> = 0xA_0000..0xC_0000;

/// Whose view of memory is meant: SMRAM is there for some only.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum View {
    /// Of a processor in system-management mode, for data.
    Smm,
    /// Of a processor in system-management mode, for instruction fetches.
    SmmCode,
    /// Of all others, and of bus masters.
    Plain,
}

impl View {
    /// The view that a processor which is in system-management mode, or is not, has of data.
    pub fn of(in_smm: bool) -> Self {
        if in_smm { View::Smm } else { View::Plain }
    }
    /// The view that it has of code.
    pub fn of_code(in_smm: bool) -> Self {
        if in_smm { View::SmmCode } else { View::Plain }
    }
}

/// What processors in system-management mode see at [`SMRAM`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Smram {
    /// The VGA window, as all others do.
    Hidden = 0,
    /// They fetch code from RAM; data is that of the VGA window.
    Code = 1,
    /// RAM.
    Open = 2,
}

/// Bits of a RAM page's state.
#[derive(Clone, Copy, Debug)]
pub struct PageState;
impl PageState {
    /// An engine holds decoded or translated code from this page.
    pub const CODE: u8 = 1 << 0;
    /// An engine shadows a page table in this page.
    pub const PAGE_TABLE: u8 = 1 << 1;
}

/// What a window of the first megabyte does with reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum WindowRead {
    /// RAM answers.
    Ram = 0,
    /// Firmware ROM answers.
    Rom = 1,
    /// A device answers (or nobody).
    Device = 2,
}

/// What a window of the first megabyte does with writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum WindowWrite {
    /// RAM takes them.
    Ram = 0,
    /// They are dropped.
    Nowhere = 1,
    /// A device takes them.
    Device = 2,
}

/// What stands behind a guest-physical page, with host addresses of the page's first byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PageBacking {
    /// Where reads and instruction fetches come from; null: ask the bus.
    pub read: *mut u8,
    /// Where writes go; null: ask the bus (which may drop them).
    pub write: *mut u8,
    /// The RAM page number for [`GuestMemory::page_state`], if `read` is RAM.
    pub ram_page: Option<u64>,
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
}

/// The guest's memory. Shared by engines and devices; all methods take `&self`.
pub struct GuestMemory {
    mmap: GuestMemoryMmap<()>,
    low: *mut u8,
    low_bytes: u64,
    high: *mut u8,
    high_bytes: u64,
    states: Box<[AtomicU8]>,
    /// Private mapping of the firmware ROM, so that guests of all engines can map it.
    rom: Option<MmapRegion<()>>,
    windows: [AtomicU8; WINDOWS],
    /// What vCPUs in system-management mode see at [`SMRAM`], whatever the windows say: a [`Smram`].
    smram: AtomicU8,
    map_generation: AtomicU64,
    tables: TableWatch,
    peers: Peers,
}

// SAFETY: the raw pointers are the bases of mappings that `mmap` owns for as long as
// `self` lives. Guest memory is shared by nature: this module accesses it atomically (`guest_copy`), but for
// `differing_pages`, which is for machines that stand still. What engines do with the pointers is theirs to justify.
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
        if !(MIN_RAM..=MAX_RAM).contains(&bytes) || !bytes.is_multiple_of(PAGE_SIZE) {
            return Err(MemoryError::Size { bytes });
        }
        if !(rom.len() as u64).is_multiple_of(PAGE_SIZE) || rom.len() > 16 << 20 {
            return Err(MemoryError::Rom { bytes: rom.len() });
        }
        let host = |reason: String| MemoryError::Host { bytes, reason };
        let memfd = rustix::fs::memfd_create("guest-ram", rustix::fs::MemfdFlags::CLOEXEC)
            .map_err(|e| host(e.to_string()))?;
        rustix::fs::ftruncate(&memfd, bytes).map_err(|e| host(e.to_string()))?;
        let file = Arc::new(std::fs::File::from(memfd));
        let low_bytes = bytes.min(LOW_RAM_LIMIT);
        let high_bytes = bytes - low_bytes;
        let mut regions = Vec::new();
        for (base, offset, size) in [(0, 0, low_bytes), (HIGH_RAM_BASE, low_bytes, high_bytes)] {
            if size == 0 {
                continue;
            }
            let region = MmapRegion::from_file(FileOffset::from_arc(file.clone(), offset), size as usize)
                .map_err(|e| host(e.to_string()))?;
            let region = GuestRegionMmap::new(region, GuestAddress(base))
                .ok_or_else(|| host("the region wraps around".into()))?;
            regions.push(region);
        }
        let mmap = GuestMemoryMmap::from_regions(regions).map_err(|e| host(e.to_string()))?;
        let base_of = |at: u64| mmap.get_host_address(GuestAddress(at)).map_err(|e| host(e.to_string()));
        let low = base_of(0)?;
        let high = if high_bytes > 0 { base_of(HIGH_RAM_BASE)? } else { std::ptr::null_mut() };
        let rom = if rom.is_empty() {
            None
        } else {
            let region = MmapRegion::<()>::new(rom.len()).map_err(|e| host(e.to_string()))?;
            // SAFETY: the region was just mapped with rom.len() bytes, and nobody else has it.
            unsafe { std::ptr::copy_nonoverlapping(rom.as_ptr(), region.as_ptr(), rom.len()) };
            Some(region)
        };
        let pages = (bytes >> PAGE_SHIFT) as usize;
        let states = zeroed_bytes(pages);
        let memory = Self {
            mmap,
            low,
            low_bytes,
            high,
            high_bytes,
            states,
            rom,
            windows: std::array::from_fn(|_| AtomicU8::new(0)),
            smram: AtomicU8::new(Smram::Hidden as u8),
            map_generation: AtomicU64::new(1),
            tables: TableWatch::new(pages),
            peers: Peers::new(pages),
        };
        memory.set_window(0xA_0000..0xC_0000, WindowRead::Device, WindowWrite::Device);
        if memory.rom.is_some() {
            let shown = memory.rom_bytes().min(128 << 10).next_multiple_of(WINDOW_SIZE);
            memory.set_window(0x10_0000 - shown..0x10_0000, WindowRead::Rom, WindowWrite::Nowhere);
        }
        Ok(Arc::new(memory))
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
    /// Bytes of firmware ROM below 4 GiB.
    pub fn rom_bytes(&self) -> u64 {
        self.rom.as_ref().map_or(0, |r| r.size() as u64)
    }
    /// The mapping, for crates that work with vm-memory (KVM slots, virtio queues).
    pub fn mmap(&self) -> &GuestMemoryMmap<()> {
        &self.mmap
    }

    /// Decides what the windows of the first megabyte that `range` covers do. Both ends are
    /// multiples of 16 KiB, below 1 MiB. Changes [`map_generation`](Self::map_generation).
    pub fn set_window(&self, range: std::ops::Range<u64>, read: WindowRead, write: WindowWrite) {
        assert!(
            range.end <= 1 << 20
                && range.start.is_multiple_of(WINDOW_SIZE)
                && range.end.is_multiple_of(WINDOW_SIZE)
        );
        for at in range.step_by(WINDOW_SIZE as usize) {
            self.windows[(at / WINDOW_SIZE) as usize]
                .store(read as u8 | (write as u8) << 4, Ordering::Release);
        }
        self.map_generation.fetch_add(1, Ordering::AcqRel);
    }
    /// What a window of the first megabyte does now.
    pub fn window(&self, addr: PhysAddr) -> (WindowRead, WindowWrite) {
        let w = self.windows[(addr.0 / WINDOW_SIZE) as usize].load(Ordering::Acquire);
        let read = [WindowRead::Ram, WindowRead::Rom, WindowRead::Device][(w & 3) as usize];
        let write = [WindowWrite::Ram, WindowWrite::Nowhere, WindowWrite::Device][(w >> 4 & 3) as usize];
        (read, write)
    }
    /// Decides what vCPUs in system-management mode see at [`SMRAM`]. Changes
    /// [`map_generation`](Self::map_generation) where it does anything.
    pub fn set_smram(&self, shown: Smram) {
        if self.smram.swap(shown as u8, Ordering::AcqRel) != shown as u8 {
            self.map_generation.fetch_add(1, Ordering::AcqRel);
        }
    }
    /// Whether `view` sees RAM at [`SMRAM`], whatever the windows say.
    fn sees_smram(&self, view: View) -> bool {
        let least = match view {
            View::Plain => return false,
            View::SmmCode => Smram::Code,
            View::Smm => Smram::Open,
        };
        self.smram.load(Ordering::Acquire) >= least as u8
    }
    /// Changes whenever the map of guest-physical memory changes: engines then drop what
    /// they derived from it.
    pub fn map_generation(&self) -> u64 {
        self.map_generation.load(Ordering::Acquire)
    }

    /// What stands behind the page of `addr`, outside system-management mode.
    pub fn backing(&self, addr: PhysAddr) -> PageBacking {
        self.backing_for(addr, View::Plain)
    }
    /// What stands behind the page of `addr` for `view`.
    pub fn backing_for(&self, addr: PhysAddr, view: View) -> PageBacking {
        const NOTHING: PageBacking =
            PageBacking { read: std::ptr::null_mut(), write: std::ptr::null_mut(), ram_page: None };
        let page = addr.page();
        if page.0 < 1 << 20 {
            let smram = SMRAM.contains(&page.0) && self.sees_smram(view);
            let (read, write) = if smram { (WindowRead::Ram, WindowWrite::Ram) } else { self.window(page) };
            let ram = self.ram_pointer(page);
            return PageBacking {
                read: match read {
                    WindowRead::Ram => ram,
                    WindowRead::Rom => self.rom_pointer(PhysAddr(page.0 + 0xFFF0_0000)),
                    WindowRead::Device => std::ptr::null_mut(),
                },
                write: if write == WindowWrite::Ram { ram } else { std::ptr::null_mut() },
                ram_page: (read == WindowRead::Ram).then_some(page.frame()),
            };
        }
        let ram = self.ram_pointer(page);
        if !ram.is_null() {
            return PageBacking { read: ram, write: ram, ram_page: self.ram_page(page) };
        }
        PageBacking { read: self.rom_pointer(page), ..NOTHING }
    }

    /// The RAM page number (an index of page states) of a RAM address, whatever the windows say.
    pub fn ram_page(&self, addr: PhysAddr) -> Option<u64> {
        if addr.0 < self.low_bytes {
            Some(addr.frame())
        } else if addr.0 >= HIGH_RAM_BASE && addr.0 - HIGH_RAM_BASE < self.high_bytes {
            Some((addr.0 - HIGH_RAM_BASE + self.low_bytes) >> PAGE_SHIFT)
        } else {
            None
        }
    }
    /// The RAM page number of a host address within the RAM mapping.
    pub fn ram_page_of_host(&self, host: *const u8) -> Option<u64> {
        let at = host as u64;
        let (low, high) = (self.low as u64, self.high as u64);
        if at.wrapping_sub(low) < self.low_bytes {
            Some((at - low) >> PAGE_SHIFT)
        } else if at.wrapping_sub(high) < self.high_bytes {
            Some((at - high + self.low_bytes) >> PAGE_SHIFT)
        } else {
            None
        }
    }
    /// The guest-physical address of a RAM page number.
    pub fn ram_page_addr(&self, ram_page: u64) -> PhysAddr {
        let offset = ram_page << PAGE_SHIFT;
        PhysAddr(if offset < self.low_bytes { offset } else { offset - self.low_bytes + HIGH_RAM_BASE })
    }
    /// The host address of a RAM page, whatever the windows say.
    pub fn ram_page_host(&self, ram_page: u64) -> *mut u8 {
        self.ram_pointer(self.ram_page_addr(ram_page))
    }
    /// The state bits of a RAM page.
    #[inline]
    pub fn page_state(&self, ram_page: u64) -> &AtomicU8 {
        &self.states[ram_page as usize]
    }

    /// The vCPUs that share this memory.
    #[inline]
    pub fn peers(&self) -> &Peers {
        &self.peers
    }
    /// Which page-table entries translations came from.
    #[inline]
    pub fn tables(&self) -> &TableWatch {
        &self.tables
    }
    /// Pages of RAM.
    pub fn ram_pages(&self) -> usize {
        self.states.len()
    }

    /// Host address of a RAM byte, null where there is no RAM.
    fn ram_pointer(&self, addr: PhysAddr) -> *mut u8 {
        if addr.0 < self.low_bytes {
            self.low.wrapping_add(addr.0 as usize)
        } else if addr.0 >= HIGH_RAM_BASE && addr.0 - HIGH_RAM_BASE < self.high_bytes {
            self.high.wrapping_add((addr.0 - HIGH_RAM_BASE) as usize)
        } else {
            std::ptr::null_mut()
        }
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

    /// Notes a write that was made through a pointer, not by a vCPU: if the page has a state, all vCPUs
    /// are told ([`Peers::device_wrote`]).
    pub fn note_write(&self, addr: PhysAddr, bytes: u64) {
        let Some(page) = self.ram_page(addr) else { return };
        if self.page_state(page).load(Ordering::SeqCst) != 0 {
            self.peers.device_wrote(addr, bytes);
        }
    }

    /// The parts of RAM that were ever touched, as ranges of RAM offsets (as if all of RAM were one
    /// piece), in ascending order; the rest reads as zeros. Where the host cannot tell, all of RAM.
    fn touched(&self) -> Vec<std::ops::Range<u64>> {
        use rustix::fs::{SeekFrom, seek};
        let all = || std::iter::once(0..self.ram_bytes()).collect();
        let mut regions = self.mmap.iter().filter_map(|region| region.file_offset());
        let Some(file) = regions.next().map(FileOffset::file) else { return all() };
        let (mut ranges, mut at) = (Vec::new(), 0);
        // ENXIO says that no data follow.
        while let Ok(start) = seek(file, SeekFrom::Data(at)) {
            let Ok(end) = seek(file, SeekFrom::Hole(start)) else { return all() };
            ranges.push(start..end);
            at = end;
        }
        ranges
    }
    /// The pages of RAM that hold anything but zeros, with their numbers, while no vCPU runs.
    pub fn pages_in_use(&self) -> impl Iterator<Item = (u64, Vec<u8>)> + '_ {
        self.touched().into_iter().flat_map(page_numbers).filter_map(|page| {
            let mut bytes = vec![0; PAGE_SIZE as usize];
            // SAFETY: a whole page of mapped RAM, and no vCPU runs.
            unsafe {
                std::ptr::copy_nonoverlapping(self.ram_page_host(page), bytes.as_mut_ptr(), bytes.len())
            };
            bytes.iter().any(|byte| *byte != 0).then_some((page, bytes))
        })
    }
    /// Writes a whole page of RAM, whatever the windows say.
    ///
    /// # Panics
    /// Where there is no such page, or `bytes` is no page.
    pub fn write_ram_page(&self, ram_page: u64, bytes: &[u8]) {
        assert!(ram_page < self.ram_pages() as u64 && bytes.len() as u64 == PAGE_SIZE);
        // SAFETY: a whole page of mapped RAM, as was just checked.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.ram_page_host(ram_page), bytes.len()) };
        self.note_write(self.ram_page_addr(ram_page), PAGE_SIZE);
    }
    /// The pages of RAM whose content differs between two memories of the same size, in ascending
    /// order: for lockstep of two machines that do not run now.
    pub fn differing_pages(&self, other: &GuestMemory) -> Vec<PhysAddr> {
        assert_eq!(self.ram_bytes(), other.ram_bytes(), "two machines of the same configuration");
        let mut pages: Vec<u64> =
            self.touched().into_iter().chain(other.touched()).flat_map(page_numbers).collect();
        pages.sort_unstable();
        pages.dedup();
        let differs = |page: &u64| {
            let addr = self.ram_page_addr(*page);
            let (a, b) = (self.ram_pointer(addr), other.ram_pointer(addr));
            // SAFETY: both are whole pages of mapped RAM of the same size, and no vCPU runs.
            let [a, b] = [a, b].map(|p| unsafe { std::slice::from_raw_parts(p, PAGE_SIZE as usize) });
            a != b
        };
        pages.into_iter().filter(differs).map(|page| self.ram_page_addr(page)).collect()
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
    /// Writes memory as the board sees it; returns how many bytes RAM took. ROM does not change.
    pub fn write(&self, addr: PhysAddr, from: &[u8]) -> usize {
        self.write_for(addr, from, View::Plain)
    }
    /// [`write`](Self::write) as `view` sees memory.
    pub fn write_for(&self, addr: PhysAddr, from: &[u8], view: View) -> usize {
        let mut taken = 0;
        for (at, piece) in page_pieces(addr, from.len()) {
            let part = &from[piece];
            let target = self.backing_for(at, view).write;
            if !target.is_null() {
                // SAFETY: `target` is a whole mapped page of RAM and the piece lies within it.
                unsafe { guest_copy::write(target.add(at.page_offset() as usize), part) };
                self.note_write(at, part.len() as u64);
                taken += part.len();
            }
        }
        taken
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

/// The RAM page numbers of a range of RAM offsets.
fn page_numbers(range: std::ops::Range<u64>) -> std::ops::Range<u64> {
    range.start >> PAGE_SHIFT..range.end.div_ceil(PAGE_SIZE)
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
        assert_eq!(m.ram_page_addr(page), PhysAddr(HIGH_RAM_BASE));
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
    fn smram_is_there_for_system_management_mode_only() {
        let m = GuestMemory::new(1 << 20, &[]).unwrap();
        let at = PhysAddr(0xA_8000);
        assert_eq!(m.write_for(at, &[1], View::Smm), 0);
        let generation = m.map_generation();
        m.set_smram(Smram::Open);
        assert_ne!(m.map_generation(), generation);
        assert_eq!(m.write_for(at, &[7], View::Smm), 1);
        assert_eq!(m.write(at, &[9]), 0, "bus masters see the VGA window");
        let mut byte = [0];
        assert_eq!((m.read(at, &mut byte), byte), (0, [0xFF]));
        assert_eq!((m.read_for(at, &mut byte, View::Smm), byte), (1, [7]));
        m.set_smram(Smram::Code);
        assert_eq!(m.read_for(at, &mut byte, View::Smm), 0);
        assert_eq!((m.read_for(at, &mut byte, View::SmmCode), byte), (1, [7]));
        m.set_smram(Smram::Hidden);
        assert_eq!(m.read_for(at, &mut byte, View::SmmCode), 0);
    }

    #[test]
    fn a_device_write_to_a_code_page_is_told() {
        let m = GuestMemory::new(1 << 20, &[]).unwrap();
        m.peers().attach(0);
        m.write(PhysAddr(0x3000), &[1]);
        assert!(!m.peers().has_written(0));
        m.page_state(4).fetch_or(PageState::CODE, Ordering::AcqRel);
        m.write(PhysAddr(0x3FFF), &[1, 2]);
        let mut told = Vec::new();
        m.peers().serve_written(0, |w| told.extend(w.map(|w| (w.addr, w.bytes, w.by_device))));
        assert_eq!(told, [(PhysAddr(0x4000), 1, true)]);
        assert!(!m.peers().has_written(0));
    }

    #[test]
    fn differing_pages_are_found_where_only_one_memory_was_touched() {
        let (a, b) = (GuestMemory::new(16 << 20, &[]).unwrap(), GuestMemory::new(16 << 20, &[]).unwrap());
        a.write(PhysAddr(0x5000), &[0; 4]);
        b.write(PhysAddr(0x7FFF), &[1, 2]);
        a.write(PhysAddr(0x8000), &[2]);
        a.write(PhysAddr(0xFF_FFFF), &[9]);
        assert_eq!(a.differing_pages(&b), [PhysAddr(0x7000), PhysAddr(0xFF_F000)]);
        assert_eq!(b.differing_pages(&a), a.differing_pages(&b));
        assert_eq!(a.differing_pages(&a), []);
    }

    #[test]
    fn sizes_that_no_pc_has_are_refused() {
        for bytes in [0, 4096, (1 << 20) + 1, (64 << 30) + 4096, u64::MAX] {
            assert!(GuestMemory::new(bytes, &[]).is_err());
        }
    }
}
