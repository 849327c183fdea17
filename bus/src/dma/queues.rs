//! A card's way to guest memory as crates for virtio queues want it: a [`vm_memory::GuestMemory`].
//!
//! Such a memory hands out slices, a page each here, and calls the bitmap of a slice after each write to it. The bitmap is
//! [`WriteHook`], which does what [`GuestMemory::write`](crate::GuestMemory::write) does after it wrote.

// Slices are made of pointers into guest memory; see the SAFETY note.
#![allow(unsafe_code)]

use super::BusMaster;
use crate::address::{PAGE_SHIFT, PAGE_SIZE};
use crate::memory::PageState;
use crate::{GuestMemory, PhysAddr};
use std::fmt;
use std::iter::FusedIterator;
use std::sync::atomic::Ordering;
use vm_memory::bitmap::{BS, Bitmap, BitmapSlice, WithBitmapSlice};
use vm_memory::guest_memory::{Error, GuestMemorySliceIterator, Result};
use vm_memory::{GuestAddress, GuestMemoryMmap, Permissions, VolatileSlice};

/// What is told of writes to a slice that begins at a byte of the mapping of guest memory.
#[derive(Clone, Copy)]
pub struct WriteHook<'m> {
    memory: &'m GuestMemory,
    /// The offset of the slice's first byte: RAM page number and offset in the page.
    start: u64,
}

impl fmt::Debug for WriteHook<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteHook").field("start", &self.start).finish_non_exhaustive()
    }
}
impl<'m> WithBitmapSlice<'_> for WriteHook<'m> {
    type S = WriteHook<'m>;
}
impl BitmapSlice for WriteHook<'_> {}
impl<'m> Bitmap for WriteHook<'m> {
    fn mark_dirty(&self, offset: usize, len: usize) {
        let (mut at, end) = (self.start + offset as u64, self.start + (offset + len) as u64);
        while at < end {
            let piece = (PAGE_SIZE - at % PAGE_SIZE).min(end - at);
            self.memory.device_wrote(at >> PAGE_SHIFT, at % PAGE_SIZE, piece);
            at += piece;
        }
    }
    fn dirty_at(&self, offset: usize) -> bool {
        let ram_page = (self.start + offset as u64) >> PAGE_SHIFT;
        self.memory.page_state(ram_page).load(Ordering::Acquire) & PageState::CLEAN == 0
    }
    fn slice_at(&self, offset: usize) -> WriteHook<'m> {
        WriteHook { start: self.start + offset as u64, ..*self }
    }
}

/// Names [`WriteHook`] with the lifetime of the slice that it is for.
#[derive(Debug)]
pub struct WriteHooks(());
impl<'m> WithBitmapSlice<'m> for WriteHooks {
    type S = Option<WriteHook<'m>>;
}
/// It is never made.
impl Bitmap for WriteHooks {
    fn mark_dirty(&self, _offset: usize, _len: usize) {}
    fn dirty_at(&self, _offset: usize) -> bool {
        false
    }
    fn slice_at(&self, _offset: usize) -> Option<WriteHook<'_>> {
        None
    }
}

/// The slices of a range, a page each.
struct Slices<'m> {
    master: &'m BusMaster,
    at: u64,
    left: u64,
    access: Permissions,
}

impl<'m> Slices<'m> {
    fn slice(&self, bytes: u64) -> Option<VolatileSlice<'m, Option<WriteHook<'m>>>> {
        if !self.master.enabled() {
            return None;
        }
        let memory: &'m GuestMemory = &self.master.memory;
        let backing = memory.backing(PhysAddr(self.at));
        let page = match self.access {
            Permissions::No => return None,
            Permissions::Read => backing.read,
            Permissions::Write => backing.write,
            Permissions::ReadWrite if backing.read == backing.write => backing.write,
            Permissions::ReadWrite => return None,
        };
        if page.is_null() {
            return None;
        }
        let offset = self.at % PAGE_SIZE;
        let hook = memory
            .ram_page_of_host(page)
            .map(|ram_page| WriteHook { memory, start: (ram_page << PAGE_SHIFT) + offset });
        let at = page.wrapping_add(offset as usize);
        // SAFETY: the bytes lie within a mapped page, which stays as long as `memory` does; all access it atomically, or in
        // code that is not Rust's.
        Some(unsafe { VolatileSlice::with_bitmap(at, bytes as usize, hook, None) })
    }
}

impl<'m> Iterator for Slices<'m> {
    type Item = Result<VolatileSlice<'m, Option<WriteHook<'m>>>>;
    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        let bytes = (PAGE_SIZE - self.at % PAGE_SIZE).min(self.left);
        let Some(slice) = self.slice(bytes) else {
            self.left = 0;
            return Some(Err(Error::InvalidGuestAddress(GuestAddress(self.at))));
        };
        self.at = self.at.wrapping_add(bytes);
        self.left -= bytes;
        Some(Ok(slice))
    }
}
impl FusedIterator for Slices<'_> {}
impl<'m> GuestMemorySliceIterator<'m, Option<WriteHook<'m>>> for Slices<'m> {}

/// While the card may not be bus master, there is no memory.
impl vm_memory::GuestMemory for BusMaster {
    /// Never seen: a crate that had it could pass the hook by.
    type PhysicalMemory = GuestMemoryMmap<()>;
    type Bitmap = WriteHooks;

    fn check_range(&self, addr: GuestAddress, count: usize, access: Permissions) -> bool {
        Slices { master: self, at: addr.0, left: count as u64, access }.all(|slice| slice.is_ok())
    }
    fn get_slices<'m>(
        &'m self,
        addr: GuestAddress,
        count: usize,
        access: Permissions,
    ) -> Result<impl GuestMemorySliceIterator<'m, BS<'m, WriteHooks>>> {
        if addr.0.checked_add(count as u64).is_none() {
            return Err(Error::GuestAddressOverflow);
        }
        Ok(Slices { master: self, at: addr.0, left: count as u64, access })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Shown;
    use std::sync::Arc;
    use vm_memory::{Bytes, GuestMemory as _};

    fn master() -> (Arc<GuestMemory>, BusMaster) {
        let memory = GuestMemory::new(1 << 20, &[]).unwrap();
        memory.peers().attach(0);
        let master = BusMaster::new(memory.clone());
        master.enable(true);
        (memory, master)
    }
    fn told(memory: &GuestMemory) -> Vec<(u64, u64, u64)> {
        let mut told = Vec::new();
        memory.peers().serve_written(0, |w| told.extend(w.map(|w| (w.ram_page, w.offset, w.bytes))));
        told
    }

    #[test]
    fn what_a_queue_crate_writes_passes_the_hook() {
        let (memory, master) = master();
        for page in [5, 6] {
            memory.page_state(page).fetch_or(PageState::CODE, Ordering::SeqCst);
        }
        master.write_slice(&[1; 16], GuestAddress(0x5FF8)).unwrap();
        assert_eq!(told(&memory), [(5, 0xFF8, 8), (6, 0, 8)]);
        master.write_obj(7u32, GuestAddress(0x5010)).unwrap();
        master.store(9u16, GuestAddress(0x6002), Ordering::Release).unwrap();
        assert_eq!(told(&memory), [(5, 0x10, 4), (6, 2, 2)]);
        let mut file: &[u8] = &[3; 32];
        master.read_exact_volatile_from(GuestAddress(0x5100), &mut file, 32).unwrap();
        assert_eq!(told(&memory), [(5, 0x100, 32)]);
        assert_eq!(master.read_obj::<u32>(GuestAddress(0x5010)).unwrap(), 7);
        assert_eq!(master.load::<u16>(GuestAddress(0x6002), Ordering::Acquire).unwrap(), 9);
        assert!(told(&memory).is_empty(), "reads tell nobody");
        assert!(master.physical_memory().is_none());
    }

    #[test]
    fn it_reaches_what_the_card_reaches() {
        let (memory, master) = master();
        let vram = memory.add_device_memory("vram", 4096).unwrap();
        memory.show(&[Shown { at: PhysAddr(0xE000_0000), bytes: 4096, region: vram.clone(), offset: 0 }]);
        _ = vram.take_dirty(0..4096);
        master.write_obj(7u32, GuestAddress(0xE000_0010)).unwrap();
        assert_eq!(vram.take_dirty(0..4096), std::slice::from_ref(&(0..4096)));
        for (addr, bytes) in [(0xFFFFC, 8), (0xA_0000, 1), (0xE000_0FFF, 2), (u64::MAX, 1), (u64::MAX, 2)] {
            assert!(master.write_slice(&vec![1; bytes], GuestAddress(addr)).is_err(), "{addr:#x}");
            assert!(!master.check_range(GuestAddress(addr), bytes, Permissions::Write), "{addr:#x}");
        }
        master.enable(false);
        assert!(master.read_obj::<u32>(GuestAddress(0x1000)).is_err());
        assert!(master.write_obj(1u32, GuestAddress(0x1000)).is_err());
    }
}
