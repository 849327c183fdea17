//! Memory of devices that vCPUs and DMA reach without asking them: where it is shown.

use crate::board::{Board, NO_PAGE};
use crate::registry::{DeviceId, Locked};
use std::ops::RangeInclusive;
use std::sync::atomic::Ordering;
use std::sync::{MutexGuard, PoisonError};
use trimotor_bus::address::PAGE_SIZE;
use trimotor_bus::memory::Shown;
use trimotor_bus::{MemoryRegion, PhysAddr};

/// Memory of devices that vCPUs reach without asking them.
#[derive(Default)]
pub(crate) struct DeviceMemory {
    /// What is behind which base address register.
    pub(crate) bars: Vec<(DeviceId, u8, MemoryRegion)>,
    /// What devices show at their fixed addresses.
    pub(crate) fixed: Vec<(DeviceId, Shown)>,
}

impl Board {
    /// Shows memory of a device at its fixed addresses as the device says, if that has changed. It is locked.
    #[inline]
    pub(crate) fn show_fixed(&self, id: DeviceId, device: &mut Locked<'_>) {
        if let Some(change) = device.shown_change() {
            let mut memory = self.device_memory();
            memory.fixed.retain(|(owner, _)| *owner != id);
            memory.fixed.extend(change.map(|shown| (id, shown)));
            self.show(&memory);
        }
    }
    /// Shows devices' memory where their base address registers are now, but for what other devices, and the local APICs,
    /// are in front of. vCPUs that run have dropped the old map when this returns.
    pub(crate) fn show_memory(&self) {
        self.show(&self.device_memory());
    }
    fn device_memory(&self) -> MutexGuard<'_, DeviceMemory> {
        self.device_memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn show(&self, memory: &DeviceMemory) {
        let mut shown = Vec::new();
        // Fixed addresses are in front of those that move.
        for (_, Shown { at, bytes, region, offset }) in &memory.fixed {
            for piece in self.without_apics(at.0..=at.0 + (bytes - 1)) {
                shown.extend(whole_pages(&piece, offset + (piece.start() - at.0), region));
            }
        }
        for (addresses, offset, device, bar) in self.map.current().visible_bars() {
            let Some((.., region)) = memory.bars.iter().find(|(d, b, _)| (*d, *b) == (device, bar)) else {
                continue;
            };
            for piece in self.without_apics(addresses.clone()) {
                let offset = offset + (piece.start() - addresses.start());
                shown.extend(whole_pages(&piece, offset, region));
            }
        }
        self.memory.show(&shown);
    }
    /// A range of addresses without the pages of local APICs.
    fn without_apics(&self, addresses: RangeInclusive<u64>) -> Vec<RangeInclusive<u64>> {
        let mut apics: Vec<u64> = self.apic_pages.iter().map(|page| page.load(Ordering::Relaxed)).collect();
        apics.sort_unstable();
        apics.dedup();
        let (mut at, end) = (*addresses.start(), *addresses.end());
        let mut pieces = Vec::new();
        for page in apics.into_iter().filter(|page| addresses.contains(page) && *page != NO_PAGE) {
            if page > at {
                pieces.push(at..=page - 1);
            }
            at = page.saturating_add(PAGE_SIZE);
        }
        if at <= end {
            pieces.push(at..=end);
        }
        pieces
    }
}

/// The whole pages of a range of addresses, at whose start the byte at `offset` of a region is.
fn whole_pages(addresses: &RangeInclusive<u64>, offset: u64, region: &MemoryRegion) -> Option<Shown> {
    let start = addresses.start().checked_next_multiple_of(PAGE_SIZE)?;
    let end = addresses.end().checked_add(1)? & !(PAGE_SIZE - 1);
    let offset = offset + (start - addresses.start());
    let bytes = end.checked_sub(start)?;
    Some(Shown { at: PhysAddr(start), bytes, region: region.clone(), offset })
}
