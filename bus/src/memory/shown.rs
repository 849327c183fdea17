//! Where the memory of devices is in guest-physical memory.
//!
//! A [`MemoryRegion`](super::MemoryRegion) appears where the board *shows* it: behind a base address register that the
//! guest moves while it runs. The board hands over a list of all that is shown ([`GuestMemory::show`]); engines look
//! addresses up in it when a translation is missing, and so does DMA. A look-up takes no lock: the list lies in atomic
//! words under a version that is odd while somebody changes them, and who read amid a change reads again.

use super::GuestMemory;
use crate::address::PAGE_SHIFT;
use crate::{MemoryRegion, PhysAddr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Mutex, PoisonError};

/// How many pieces can be shown at the same time. A guest that overlaps regions so that there are more of them gets the
/// rest as registers of the devices: slowly, but with the same content.
pub const MAX_SHOWN: usize = 64;

/// A piece of a region, and where it appears: whole pages.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The first address.
    pub at: PhysAddr,
    /// How many bytes.
    pub bytes: u64,
    /// The region.
    pub region: MemoryRegion,
    /// The offset of the first byte within the region.
    pub offset: u64,
}

/// The same in pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Piece {
    /// The number of the guest-physical page at which it starts.
    pub(super) frame: u64,
    pub(super) pages: u64,
    pub(super) ram_page: u64,
    pub(super) writable: bool,
}

impl Shown {
    /// The piece, where it is one: whole pages that the region has.
    fn piece(&self) -> Option<Piece> {
        let whole = [self.at.0, self.bytes, self.offset].iter().all(|n| n & ((1 << PAGE_SHIFT) - 1) == 0);
        let end = self.offset.checked_add(self.bytes)?;
        let fits = end <= self.region.bytes() && self.at.0.checked_add(self.bytes).is_some();
        (whole && fits && self.bytes > 0).then(|| Piece {
            frame: self.at.frame(),
            pages: self.bytes >> PAGE_SHIFT,
            ram_page: self.region.pages().first + (self.offset >> PAGE_SHIFT),
            writable: !self.region.is_rom(),
        })
    }
}

/// A piece in atomic words.
#[derive(Default)]
struct Slot {
    frame: AtomicU64,
    pages: AtomicU64,
    ram_page: AtomicU64,
    writable: AtomicU64,
}

impl Slot {
    fn load(&self) -> Piece {
        Piece {
            frame: self.frame.load(Ordering::Relaxed),
            pages: self.pages.load(Ordering::Relaxed),
            ram_page: self.ram_page.load(Ordering::Relaxed),
            writable: self.writable.load(Ordering::Relaxed) != 0,
        }
    }
    fn store(&self, piece: Piece) {
        self.frame.store(piece.frame, Ordering::Relaxed);
        self.pages.store(piece.pages, Ordering::Relaxed);
        self.ram_page.store(piece.ram_page, Ordering::Relaxed);
        self.writable.store(piece.writable.into(), Ordering::Relaxed);
    }
}

/// What is shown, in the order of addresses.
pub(super) struct ShownMap {
    /// Odd while the rest is being changed.
    version: AtomicU64,
    count: AtomicUsize,
    slots: [Slot; MAX_SHOWN],
    /// The same for whoever has time for a lock; held while the rest is being changed.
    list: Mutex<Vec<Piece>>,
}

impl ShownMap {
    /// With nothing shown.
    pub(super) fn new() -> ShownMap {
        ShownMap {
            version: AtomicU64::new(0),
            count: AtomicUsize::new(0),
            slots: std::array::from_fn(|_| Slot::default()),
            list: Mutex::default(),
        }
    }
    /// Reads something of the words that no change came into.
    fn steady<R>(&self, read: impl Fn(&[Slot]) -> R) -> R {
        loop {
            let before = self.version.load(Ordering::Acquire);
            if before & 1 == 0 {
                let count = self.count.load(Ordering::Relaxed).min(MAX_SHOWN);
                let found = read(&self.slots[..count]);
                fence(Ordering::Acquire);
                if self.version.load(Ordering::Relaxed) == before {
                    return found;
                }
            }
            std::thread::yield_now();
        }
    }
    /// The RAM page that is shown at a guest-physical page, and whether it may be written.
    #[inline]
    pub(super) fn find(&self, frame: u64) -> Option<(u64, bool)> {
        if self.count.load(Ordering::Relaxed) == 0 && self.version.load(Ordering::Acquire) & 1 == 0 {
            return None;
        }
        self.steady(|slots| {
            let after = slots.partition_point(|slot| slot.frame.load(Ordering::Relaxed) <= frame);
            let piece = slots[..after].last()?.load();
            // What was read amid a change is any numbers, and thrown away afterwards.
            let page = frame.wrapping_sub(piece.frame);
            (page < piece.pages).then_some((piece.ram_page.wrapping_add(page), piece.writable))
        })
    }
    /// The first guest-physical page where a RAM page is shown.
    pub(super) fn place_of(&self, ram_page: u64) -> Option<u64> {
        self.steady(|slots| {
            slots.iter().map(Slot::load).find_map(|piece| {
                let page = ram_page.checked_sub(piece.ram_page)?;
                (page < piece.pages).then_some(piece.frame.wrapping_add(page))
            })
        })
    }
    /// All pieces.
    pub(super) fn all(&self) -> Vec<Piece> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
    /// Replaces all of it; true if that is a change.
    fn replace(&self, pieces: Vec<Piece>) -> bool {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        if *list == pieces {
            return false;
        }
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version + 1, Ordering::Relaxed);
        fence(Ordering::Release);
        for (slot, piece) in self.slots.iter().zip(&pieces) {
            slot.store(*piece);
        }
        self.count.store(pieces.len(), Ordering::Relaxed);
        self.version.store(version + 2, Ordering::Release);
        *list = pieces;
        true
    }
}

impl GuestMemory {
    /// Shows regions, and none but these from now on. Where pieces overlap, the first of the list is shown; where RAM or
    /// firmware ROM is, none. Pieces that are not whole pages are left out, and so is what is too much
    /// ([`MAX_SHOWN`]): the bus answers there.
    ///
    /// Changes [`map_generation`](Self::map_generation) if it is a change, and then waits until no vCPU that runs guest code
    /// uses what was shown before. Called by what is no vCPU, or by a vCPU in a call to the board.
    pub fn show(&self, shown: &[Shown]) {
        let mut pieces: Vec<Piece> = Vec::new();
        for piece in shown.iter().filter_map(Shown::piece) {
            let overlaps = |other: &Piece| {
                piece.frame < other.frame + other.pages && other.frame < piece.frame + piece.pages
            };
            if pieces.len() < MAX_SHOWN && !pieces.iter().any(overlaps) {
                pieces.push(piece);
            }
        }
        pieces.sort_unstable_by_key(|piece| piece.frame);
        if self.shown.replace(pieces) {
            self.map_changed();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    fn shown(region: &MemoryRegion, at: u64, bytes: u64, offset: u64) -> Shown {
        Shown { at: PhysAddr(at), bytes, region: region.clone(), offset }
    }

    #[test]
    fn device_memory_appears_where_it_is_shown_and_goes() {
        let m = GuestMemory::new(1 << 20, &[]).unwrap();
        let region = m.add_device_memory("frame buffer", 3 << 12).unwrap();
        let (at, mut bytes) = (0xE000_0000, [0; 2]);
        assert_eq!(m.write(PhysAddr(at), &[1, 2]), 0);
        let generation = m.map_generation();
        m.show(&[shown(&region, at, 3 << 12, 0)]);
        assert_ne!(m.map_generation(), generation);
        assert_eq!(m.write(PhysAddr(at + 0x1FFF), &[1, 2]), 2);
        region.read(0x1FFF, &mut bytes);
        assert_eq!(bytes, [1, 2]);
        assert_eq!(m.read(PhysAddr(at + 0x2FFF), &mut bytes), 1, "it ends there");
        let generation = m.map_generation();
        m.show(&[shown(&region, at, 3 << 12, 0)]);
        assert_eq!(m.map_generation(), generation, "nothing changed");
        m.show(&[shown(&region, 1 << 40, 0x1000, 0x2000)]);
        assert_eq!(m.read(PhysAddr(1 << 40), &mut bytes), 2);
        assert_eq!(bytes, [2, 0]);
        assert_eq!(m.read(PhysAddr(at), &mut bytes), 0);
        assert_eq!(m.ram_page_addr(region.pages().first + 2), Some(PhysAddr(1 << 40)));
        assert_eq!(m.ram_page_addr(region.pages().first), None);
    }

    #[test]
    fn a_rom_is_read_only_and_ones_follow_its_image() {
        let m = GuestMemory::new(1 << 20, &[]).unwrap();
        let rom = m.add_rom("option ROM", &[0x55, 0xAA], 8 << 10).unwrap();
        m.show(&[shown(&rom, 0xFEB0_0000, 8 << 10, 0)]);
        let mut bytes = [0; 3];
        assert_eq!(m.read(PhysAddr(0xFEB0_0000), &mut bytes), 3);
        assert_eq!(bytes, [0x55, 0xAA, 0xFF]);
        assert_eq!(m.write(PhysAddr(0xFEB0_0000), &[1]), 0);
        rom.write(0, &[1]);
        m.read(PhysAddr(0xFEB0_0000), &mut bytes);
        assert_eq!(bytes[0], 0x55, "nor does its card write it");
    }

    #[test]
    fn ram_is_in_front_and_windows_show_what_is_behind_them() {
        let m = GuestMemory::new(1 << 20, &[]).unwrap();
        let region = m.add_device_memory("vga", 128 << 10).unwrap();
        m.show(&[shown(&region, 0, 128 << 10, 0)]);
        assert_eq!(m.write(PhysAddr(0x1000), &[7]), 1);
        let mut byte = [9];
        region.read(0x1000, &mut byte);
        assert_eq!(byte, [0], "it went to RAM");
        m.show(&[shown(&region, 0xA_0000, 128 << 10, 0)]);
        assert_eq!(m.write(PhysAddr(0xA_0000), &[8]), 1);
        region.read(0, &mut byte);
        assert_eq!(byte, [8]);
    }

    #[test]
    fn pieces_that_cannot_be_are_left_out() {
        let m = GuestMemory::new(1 << 20, &[]).unwrap();
        let region = m.add_device_memory("odd", 1 << 20).unwrap();
        m.show(&[
            shown(&region, 0xE000_0800, 0x1000, 0),
            shown(&region, 0xE000_0000, 0x2000, 0xF_F000),
            shown(&region, u64::MAX - 0xFFF, 0x1000, 0),
            shown(&region, 0xE100_0000, 0x2000, 0),
            shown(&region, 0xE100_1000, 0x2000, 0),
        ]);
        assert_eq!(m.shown.all().len(), 1);
        let many: Vec<Shown> =
            (0..200).map(|n| shown(&region, 0xE000_0000 + n * 0x2000, 0x1000, 0)).collect();
        m.show(&many);
        assert_eq!(m.shown.all().len(), MAX_SHOWN);
    }

    /// While one thread moves a region, others find it at one place or the other, whole.
    #[test]
    fn a_look_up_sees_one_state_or_the_other() {
        let m = GuestMemory::new(1 << 20, &[]).unwrap();
        let region = m.add_device_memory("moving", 2 << 12).unwrap();
        let first = region.pages().first;
        let done = Arc::new(AtomicBool::new(false));
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        for (frame, offset) in [(0xE_0000, 0), (0xE_0001, 1), (0xF_0000, 0), (0xF_0001, 1)] {
                            let found = m.shown.find(frame);
                            assert!(found.is_none_or(|found| found == (first + offset, true)), "{found:?}");
                        }
                    }
                });
            }
            for n in 0..20_000u64 {
                let at = if n & 1 == 0 { 0xE000_0000 } else { 0xF000_0000 };
                m.show(&[shown(&region, at, 2 << 12, 0)]);
            }
            done.store(true, Ordering::Relaxed);
        });
    }
}
