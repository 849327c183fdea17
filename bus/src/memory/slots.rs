//! The map of memory as a list: what KVM makes its slots from, and people look at.

use super::{GuestMemory, HIGH_RAM_BASE, WINDOW_SIZE, WindowRead, WindowWrite};
use crate::PhysAddr;
use crate::address::{PAGE_SHIFT, PAGE_SIZE};

/// A range of guest-physical memory that lies in host memory. Everything else comes to the bus.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemorySlot {
    /// The first address.
    pub at: PhysAddr,
    /// How many bytes: whole pages.
    pub bytes: u64,
    /// The host address of the first byte.
    pub host: *mut u8,
    /// Writes do not go there: they come to the bus.
    pub read_only: bool,
    /// Somebody asks which pages of it are written ([`GuestMemory::take_dirty`]).
    pub log_dirty: bool,
}

impl GuestMemory {
    /// All memory outside system-management mode, in ascending order, neighbours joined. Holds for this
    /// [`map_generation`](Self::map_generation). A window whose reads come from ROM while its writes go to RAM is left out:
    /// both come to the bus.
    pub fn slots(&self) -> Vec<MemorySlot> {
        let mut slots: Vec<MemorySlot> = Vec::new();
        for at in (0..(1 << 20).min(self.low_bytes)).step_by(WINDOW_SIZE as usize) {
            let (read, write) = self.window(PhysAddr(at));
            let backing = self.backing(PhysAddr(at));
            let is_memory = read != WindowRead::Device && !backing.read.is_null();
            if is_memory && (write != WindowWrite::Ram || backing.read == backing.write) {
                add(&mut slots, at, WINDOW_SIZE, backing.read, write != WindowWrite::Ram, false);
            }
        }
        if self.low_bytes > 1 << 20 {
            let rest = self.low_bytes - (1 << 20);
            add(&mut slots, 1 << 20, rest, self.backing(PhysAddr(1 << 20)).read, false, false);
        }
        if self.high_bytes > 0 {
            let host = self.backing(PhysAddr(HIGH_RAM_BASE)).read;
            add(&mut slots, HIGH_RAM_BASE, self.high_bytes, host, false, false);
        }
        if self.rom_bytes() > 0 {
            let at = HIGH_RAM_BASE - self.rom_bytes();
            add(&mut slots, at, self.rom_bytes(), self.backing(PhysAddr(at)).read, true, false);
        }
        for piece in self.shown.all() {
            for page in 0..piece.pages {
                let at = (piece.frame + page) << PAGE_SHIFT;
                if self.has_nothing_in_front(PhysAddr(at)) {
                    let host = self.ram_page_host(piece.ram_page + page);
                    add(&mut slots, at, PAGE_SIZE, host, !piece.writable, piece.writable);
                }
            }
        }
        slots.sort_unstable_by_key(|slot| slot.at);
        slots
    }
    /// Whether what is shown of devices' memory at a page is seen.
    fn has_nothing_in_front(&self, page: PhysAddr) -> bool {
        if page.0 < 1 << 20 {
            return self.window(page).0 == WindowRead::Device;
        }
        self.ram_offset(page).is_none() && self.rom_pointer(page).is_null()
    }
}

/// Adds a range; the last one grows where the range continues it.
fn add(slots: &mut Vec<MemorySlot>, at: u64, bytes: u64, host: *mut u8, read_only: bool, log_dirty: bool) {
    if let Some(last) = slots.last_mut()
        && last.at.0 + last.bytes == at
        && last.host.wrapping_add(last.bytes as usize) == host
        && (last.read_only, last.log_dirty) == (read_only, log_dirty)
    {
        last.bytes += bytes;
        return;
    }
    slots.push(MemorySlot { at: PhysAddr(at), bytes, host, read_only, log_dirty });
}

#[cfg(test)]
mod tests {
    use super::super::{LOW_RAM_LIMIT, Shown};
    use super::*;

    fn summary(m: &GuestMemory) -> Vec<(u64, u64, bool, bool)> {
        m.slots().iter().map(|slot| (slot.at.0, slot.bytes, slot.read_only, slot.log_dirty)).collect()
    }

    #[test]
    fn slots_follow_windows_and_what_is_shown() {
        let m = GuestMemory::new(LOW_RAM_LIMIT + (1 << 20), &vec![0; 64 << 10]).unwrap();
        let high = (HIGH_RAM_BASE, 1 << 20, false, false);
        let rom = (0xFFFF_0000, 64 << 10, true, false);
        let low = (0x10_0000, LOW_RAM_LIMIT - (1 << 20), false, false);
        let expected = [
            (0, 0xA_0000, false, false),
            (0xC_0000, 0x3_0000, false, false),
            (0xF_0000, 0x1_0000, true, false),
        ];
        assert_eq!(summary(&m), [expected.as_slice(), &[low, rom, high]].concat());
        m.set_window(0xF_0000..0x10_0000, WindowRead::Ram, WindowWrite::Nowhere);
        m.set_window(0xC_0000..0xD_0000, WindowRead::Rom, WindowWrite::Ram);
        let region = m.add_device_memory("frame buffer", 16 << 12).unwrap();
        let option = m.add_rom("option ROM", &[], 4096).unwrap();
        m.show(&[
            Shown { at: PhysAddr(0xE000_0000), bytes: 16 << 12, region, offset: 0 },
            Shown { at: PhysAddr(0xE001_0000), bytes: 4096, region: option, offset: 0 },
        ]);
        let expected = [
            (0, 0xA_0000, false, false),
            (0xD_0000, 0x2_0000, false, false),
            (0xF_0000, 0x1_0000, true, false),
            low,
            (0xE000_0000, 0x1_0000, false, true),
            (0xE001_0000, 0x1000, true, false),
            rom,
            high,
        ];
        assert_eq!(summary(&m), expected);
    }
}
