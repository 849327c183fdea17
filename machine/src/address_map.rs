//! Which port and which guest-physical address is whose.
//!
//! Fixed regions are placed when the board is built; PCI functions move theirs while the guest runs. The map is a
//! value: a change makes a new one, and each vCPU looks things up in the one that it has, without a lock
//! ([`MapCell`]). A port is found in one load from a table, an address by binary search among ranges that do not
//! overlap.
//!
//! Where regions overlap, fixed ones are found before moved ones, and of the moved ones that of the device with
//! the lower number.

use crate::registry::DeviceId;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use trimotor_bus::pci::{PciRegion, PciSpace};
use trimotor_bus::{PhysAddr, Port, Width};

/// What answers a port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PortTarget {
    /// Nothing.
    Nobody,
    /// The PIC pair with the ELCR.
    Pic,
    /// PCI configuration mechanism 1.
    PciConfig,
    /// A device at its fixed ports.
    Device(Chip),
    /// A device behind a backdoor port ([`RegisterPort`](trimotor_bus::RegisterPort)).
    Backdoor(DeviceId),
    /// A device's base address register, whose region starts at this port.
    Bar(DeviceId, u8, Port),
}

/// What answers an address that is not RAM or ROM.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MemoryTarget {
    /// The IOAPIC.
    IoApic,
    /// A device at its fixed address.
    Device(Chip),
    /// A device's base address register.
    Bar(DeviceId, u8),
}

/// A device with fixed ports or addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Chip {
    /// The device.
    pub device: DeviceId,
    /// Whether its answers depend on the time. Looking at the host's clock takes as long as a simple access.
    pub timed: bool,
}

/// A range of addresses and what answers there.
#[derive(Clone, Debug)]
struct Range {
    addresses: RangeInclusive<u64>,
    /// Where the region starts: an offset counts from here.
    base: u64,
    target: MemoryTarget,
}

/// The map.
#[derive(Clone)]
pub struct AddressMap {
    /// An index into `targets` for each port.
    ports: Box<[u16]>,
    /// The first is `Nobody`.
    targets: Vec<PortTarget>,
    /// Ascending, without overlap.
    memory: Vec<Range>,
    fixed_ports: Vec<(Port, u16, PortTarget)>,
    fixed_memory: Vec<Range>,
    moved: Vec<(DeviceId, PciRegion)>,
}

impl Default for AddressMap {
    fn default() -> Self {
        Self {
            ports: vec![0; 1 << 16].into_boxed_slice(),
            targets: vec![PortTarget::Nobody],
            memory: Vec::new(),
            fixed_ports: Vec::new(),
            fixed_memory: Vec::new(),
            moved: Vec::new(),
        }
    }
}

impl AddressMap {
    /// What answers a port.
    #[inline]
    pub fn port(&self, port: Port) -> PortTarget {
        self.targets[usize::from(self.ports[usize::from(port.0)])]
    }
    /// Whether an access is divided into byte cycles, because its last port is another device's than its first, or
    /// beyond the last port of all.
    #[inline]
    pub fn divides(&self, port: Port, width: Width) -> bool {
        let more = width.bytes().min(4) as u16 - 1;
        more != 0 && port.0.checked_add(more).is_none_or(|last| self.port(Port(last)) != self.port(port))
    }
    /// What answers an address, and the offset into its region.
    #[inline]
    pub fn memory(&self, addr: PhysAddr) -> Option<(MemoryTarget, u64)> {
        self.range(addr).map(|range| (range.target, addr.0 - range.base))
    }
    fn range(&self, addr: PhysAddr) -> Option<&Range> {
        let after = self.memory.partition_point(|range| *range.addresses.start() <= addr.0);
        self.memory[..after].last().filter(|range| range.addresses.contains(&addr.0))
    }

    /// All base address registers in memory as the guest sees them, in ascending order: what of them no other region is in
    /// front of. (First and last address, offset of the first one in the BAR's region, device, BAR.)
    pub fn visible_bars(&self) -> impl Iterator<Item = (RangeInclusive<u64>, u64, DeviceId, u8)> + '_ {
        self.memory.iter().filter_map(|range| match range.target {
            MemoryTarget::Bar(device, bar) => {
                Some((range.addresses.clone(), range.addresses.start() - range.base, device, bar))
            }
            MemoryTarget::IoApic | MemoryTarget::Device(_) => None,
        })
    }

    /// All addresses that are not RAM or ROM, in ascending order, and what answers there.
    pub fn memory_ranges(&self) -> impl Iterator<Item = (RangeInclusive<u64>, MemoryTarget)> + '_ {
        self.memory.iter().map(|range| (range.addresses.clone(), range.target))
    }
    /// All ports that something answers, in ascending order, neighbours of one owner joined.
    pub fn port_ranges(&self) -> Vec<(RangeInclusive<u16>, PortTarget)> {
        let mut ranges: Vec<(RangeInclusive<u16>, PortTarget)> = Vec::new();
        for port in 0..=u16::MAX {
            let target = self.port(Port(port));
            match ranges.last_mut() {
                _ if target == PortTarget::Nobody => {}
                Some((range, owner))
                    if *owner == target && u32::from(*range.end()) + 1 == u32::from(port) =>
                {
                    *range = *range.start()..=port;
                }
                _ => ranges.push((port..=port, target)),
            }
        }
        ranges
    }

    /// Places `count` ports from `first` on for good.
    pub fn place_ports(&mut self, first: Port, count: u16, target: PortTarget) {
        self.fixed_ports.push((first, count, target));
        self.rebuild();
    }
    /// Places `bytes` bytes of addresses from `base` on for good.
    pub fn place_memory(&mut self, base: PhysAddr, bytes: u64, target: MemoryTarget) {
        if let Some(last) = base.0.checked_add(bytes.saturating_sub(1)) {
            self.fixed_memory.push(Range { addresses: base.0..=last, base: base.0, target });
        }
        self.rebuild();
    }
    /// A PCI function now decodes these regions. Returns whether that is a change.
    pub fn move_regions(&mut self, device: DeviceId, regions: &[PciRegion]) -> bool {
        if self.regions_of(device).eq(regions.iter().copied()) {
            return false;
        }
        self.moved.retain(|(owner, _)| *owner != device);
        self.moved.extend(regions.iter().map(|region| (device, *region)));
        self.moved.sort_by_key(|(owner, region)| (*owner, region.bar));
        self.rebuild();
        true
    }
    /// What a PCI function decodes.
    pub fn regions_of(&self, device: DeviceId) -> impl Iterator<Item = PciRegion> + '_ {
        self.moved.iter().filter(move |(owner, _)| *owner == device).map(|(_, region)| *region)
    }

    fn rebuild(&mut self) {
        self.ports.fill(0);
        self.targets.truncate(1);
        for (first, count, target) in self.fixed_ports.clone() {
            self.open_ports(u64::from(first.0), u64::from(count), target);
        }
        let mut ranges = self.fixed_memory.clone();
        for (device, region) in self.moved.clone() {
            let PciRegion { bar, space, base, size } = region;
            match space {
                PciSpace::Io => self.open_ports(base, size, PortTarget::Bar(device, bar, Port(base as u16))),
                PciSpace::Memory => {
                    let addresses = base..=base.saturating_add(size - 1);
                    ranges.push(Range { addresses, base, target: MemoryTarget::Bar(device, bar) });
                }
            }
        }
        self.memory = without_overlap(&ranges);
    }
    /// Gives ports to `target`, where none had them before.
    fn open_ports(&mut self, first: u64, count: u64, target: PortTarget) {
        let Ok(index) = u16::try_from(self.targets.len()) else { return };
        self.targets.push(target);
        let end = first.saturating_add(count).min(1 << 16);
        for owner in &mut self.ports[first.min(end) as usize..end as usize] {
            if *owner == 0 {
                *owner = index;
            }
        }
    }
}

/// The ranges cut so that the first one that covers an address has it, in ascending order.
fn without_overlap(ranges: &[Range]) -> Vec<Range> {
    let mut free: Vec<Range> = Vec::with_capacity(ranges.len());
    for range in ranges {
        let mut at = *range.addresses.start();
        let last = *range.addresses.end();
        loop {
            // The first range that ends at or after `at`.
            let next = free.partition_point(|taken| *taken.addresses.end() < at);
            let taken = free.get(next).map(|taken| taken.addresses.clone());
            let until = match &taken {
                Some(taken) if taken.contains(&at) => None,
                Some(taken) if *taken.start() <= last => Some(*taken.start() - 1),
                _ => Some(last),
            };
            if let Some(until) = until {
                free.insert(next, Range { addresses: at..=until, ..range.clone() });
            }
            match taken.map(|taken| *taken.end()) {
                Some(end) if end < last => at = end + 1,
                _ => break,
            }
        }
    }
    free
}

/// The map as vCPUs share it: read without a lock through a [`MapView`], replaced as a whole.
#[derive(Default)]
pub struct MapCell {
    current: Mutex<Arc<AddressMap>>,
    generation: AtomicU64,
}

impl MapCell {
    /// With this map.
    pub fn new(map: AddressMap) -> Self {
        Self { current: Mutex::new(Arc::new(map)), generation: AtomicU64::new(0) }
    }
    /// Changes the map; `change` says whether it did, and so does this.
    pub fn change(&self, change: impl FnOnce(&mut AddressMap) -> bool) -> bool {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = change(Arc::make_mut(&mut current));
        if changed {
            self.generation.fetch_add(1, Ordering::Release);
        }
        changed
    }
    /// The map now.
    pub fn current(&self) -> Arc<AddressMap> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
    /// A view for one thread.
    pub fn view(&self) -> MapView {
        // The generation first: a change in between makes the view look again, which is harmless.
        let generation = self.generation.load(Ordering::Acquire);
        MapView { map: self.current(), generation, last: None }
    }
}

/// The map as one thread sees it.
pub struct MapView {
    map: Arc<AddressMap>,
    generation: u64,
    /// The range of the last memory access, where the next one is likely to go.
    last: Option<Range>,
}

impl MapView {
    /// The map, taken anew if it has changed.
    #[inline]
    pub fn get(&mut self, cell: &MapCell) -> &AddressMap {
        if self.generation != cell.generation.load(Ordering::Acquire) {
            *self = cell.view();
        }
        &self.map
    }
    /// What answers an address now, and the offset into its region.
    #[inline]
    pub fn memory(&mut self, cell: &MapCell, addr: PhysAddr) -> Option<(MemoryTarget, u64)> {
        self.get(cell);
        if let Some(range) = &self.last
            && range.addresses.contains(&addr.0)
        {
            return Some((range.target, addr.0 - range.base));
        }
        self.last = self.map.range(addr).cloned();
        self.last.as_ref().map(|range| (range.target, addr.0 - range.base))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Registry;
    use trimotor_devices::post_port::PostPort;

    fn ids() -> [DeviceId; 3] {
        let mut registry = Registry::default();
        ["a", "b", "c"].map(|name| registry.add(name, PostPort::new()).id())
    }
    fn memory(bar: u8, base: u64, size: u64) -> PciRegion {
        PciRegion { bar, space: PciSpace::Memory, base, size }
    }
    fn io(base: u64, size: u64) -> PciRegion {
        PciRegion { bar: 0, space: PciSpace::Io, base, size }
    }

    #[test]
    fn fixed_ports_win_over_moved_ones() {
        let [chip, card, _] = ids();
        let mut map = AddressMap::default();
        let fixed = PortTarget::Device(Chip { device: chip, timed: true });
        map.place_ports(Port(0xC008), 8, fixed);
        assert!(map.move_regions(card, &[io(0xC000, 32)]));
        assert!(!map.move_regions(card, &[io(0xC000, 32)]));
        let moved = PortTarget::Bar(card, 0, Port(0xC000));
        assert_eq!([0xC007, 0xC008, 0xC010].map(|p| map.port(Port(p))), [moved, fixed, moved]);
        assert!(map.move_regions(card, &[io(0xFFF0, 32)]));
        assert_eq!(map.port(Port(0xC007)), PortTarget::Nobody);
        assert_eq!(map.port(Port(0xFFFF)), PortTarget::Bar(card, 0, Port(0xFFF0)));
        assert!(map.move_regions(card, &[]));
        assert_eq!(map.port(Port(0xFFFF)), PortTarget::Nobody);
    }

    #[test]
    fn ports_are_listed_by_their_owners() {
        let [chip, card, _] = ids();
        let mut map = AddressMap::default();
        let fixed = PortTarget::Device(Chip { device: chip, timed: true });
        map.place_ports(Port(0xC008), 8, fixed);
        map.place_ports(Port(0xFFFF), 1, PortTarget::Pic);
        map.move_regions(card, &[io(0xC000, 32)]);
        let moved = PortTarget::Bar(card, 0, Port(0xC000));
        assert_eq!(
            map.port_ranges(),
            [
                (0xC000..=0xC007, moved),
                (0xC008..=0xC00F, fixed),
                (0xC010..=0xC01F, moved),
                (0xFFFF..=0xFFFF, PortTarget::Pic),
            ]
        );
    }

    #[test]
    fn the_first_of_overlapping_ranges_has_an_address() {
        let [chip, low, high] = ids();
        let mut map = AddressMap::default();
        let fixed = MemoryTarget::Device(Chip { device: chip, timed: false });
        map.place_memory(PhysAddr(0x3000), 0x1000, fixed);
        map.move_regions(high, &[memory(2, 0x1000, 0x8000)]);
        map.move_regions(low, &[memory(1, 0x5000, 0x1000), memory(4, u64::MAX - 0xFFF, 0x1000)]);
        let at = |addr| map.memory(PhysAddr(addr));
        assert_eq!(at(0xFFF), None);
        assert_eq!(at(0x1000), Some((MemoryTarget::Bar(high, 2), 0)));
        assert_eq!(at(0x3FFF), Some((fixed, 0xFFF)));
        assert_eq!(at(0x4000), Some((MemoryTarget::Bar(high, 2), 0x3000)));
        assert_eq!(at(0x5FFF), Some((MemoryTarget::Bar(low, 1), 0xFFF)));
        assert_eq!(at(0x8FFF), Some((MemoryTarget::Bar(high, 2), 0x7FFF)));
        assert_eq!(at(0x9000), None);
        assert_eq!(at(u64::MAX), Some((MemoryTarget::Bar(low, 4), 0xFFF)));
    }

    /// Against a map that asks range after range, with regions from a fixed sequence.
    #[test]
    fn overlaps_are_cut_as_asking_each_range_in_turn_would() {
        let mut seed = 1u64;
        let mut next = |limit: u64| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 33) % limit
        };
        let [device, ..] = ids();
        for _ in 0..500 {
            let ranges: Vec<Range> = (0..next(7))
                .map(|bar| {
                    let (base, size) = (next(60), 1 + next(20));
                    let target = MemoryTarget::Bar(device, bar as u8);
                    Range { addresses: base..=base + size - 1, base, target }
                })
                .collect();
            let cut = AddressMap { memory: without_overlap(&ranges), ..AddressMap::default() };
            for addr in 0..90 {
                let first = ranges.iter().find(|range| range.addresses.contains(&addr));
                let expected = first.map(|range| (range.target, addr - range.base));
                assert_eq!(cut.memory(PhysAddr(addr)), expected, "{addr} in {ranges:?}");
            }
        }
    }

    #[test]
    fn wide_accesses_are_divided_between_devices() {
        let [chip, other, _] = ids();
        let mut map = AddressMap::default();
        map.place_ports(Port(0x20), 2, PortTarget::Pic);
        map.place_ports(Port(0x60), 1, PortTarget::Device(Chip { device: chip, timed: true }));
        for (first, count) in [(0xCF8, 1), (0xCFA, 6)] {
            map.place_ports(Port(first), count, PortTarget::PciConfig);
        }
        map.place_ports(Port(0xCF9), 1, PortTarget::Device(Chip { device: other, timed: false }));
        for (port, width, divided) in [
            (0x21, Width::Byte, false),
            (0x20, Width::Word, false),
            (0x21, Width::Word, true),
            (0x60, Width::Word, true),
            // CF9h lies amid the address register, which is accessed as a whole.
            (0xCF8, Width::Dword, false),
            (0xCF8, Width::Word, true),
            (0xFFFE, Width::Word, false),
            (0xFFFE, Width::Dword, true),
            (0xFFFF, Width::Word, true),
        ] {
            assert_eq!(map.divides(Port(port), width), divided, "{port:#x} {width:?}");
        }
    }

    #[test]
    fn a_view_follows_changes() {
        let cell = MapCell::default();
        let mut view = cell.view();
        let mut other = cell.view();
        cell.change(|map| {
            map.place_ports(Port(0x80), 1, PortTarget::Pic);
            true
        });
        assert_eq!(view.get(&cell).port(Port(0x80)), PortTarget::Pic);
        assert_eq!(other.get(&cell).port(Port(0x81)), PortTarget::Nobody);
        assert_eq!(cell.current().port(Port(0x80)), PortTarget::Pic);
    }
}
