//! Memory as a whole, while no vCPU runs: for saving, and for comparing two machines.

// Whole pages are looked at as slices; see the SAFETY notes.
#![allow(unsafe_code)]

use super::GuestMemory;
use crate::address::{PAGE_SHIFT, PAGE_SIZE};
use crate::peers::PageRange;
use std::ops::Range;

impl GuestMemory {
    /// A whole page. No vCPU runs.
    fn page(&self, ram_page: u64) -> &[u8] {
        assert!(ram_page < self.mapped_pages());
        // SAFETY: a whole page of the mapping, and no vCPU runs.
        unsafe { std::slice::from_raw_parts(self.ram_page_host(ram_page), PAGE_SIZE as usize) }
    }
    /// The pages of a range of RAM pages that hold anything but zeros, with their numbers, while no vCPU runs.
    pub fn pages_in_use(&self, range: PageRange) -> impl Iterator<Item = (u64, Vec<u8>)> + '_ {
        let wanted = range.pages();
        let within = move |touched: Range<u64>| touched.start.max(wanted.start)..touched.end.min(wanted.end);
        self.touched().into_iter().flat_map(within).filter_map(|page| {
            let bytes = self.page(page);
            bytes.iter().any(|byte| *byte != 0).then(|| (page, bytes.to_vec()))
        })
    }
    /// The numbers of the pages of a range that hold anything but zeros, while no vCPU runs.
    pub fn numbers_in_use(&self, range: PageRange) -> Vec<u64> {
        let wanted = range.pages();
        let within = |touched: Range<u64>| touched.start.max(wanted.start)..touched.end.min(wanted.end);
        let pages = self.touched().into_iter().flat_map(within);
        pages.filter(|page| self.page(*page).iter().any(|byte| *byte != 0)).collect()
    }
    /// The bytes of a RAM page.
    ///
    /// # Panics
    /// Where there is no such page.
    pub fn ram_page_bytes(&self, ram_page: u64) -> Vec<u8> {
        assert!(ram_page < self.mapped_pages());
        let mut bytes = vec![0; PAGE_SIZE as usize];
        self.read_ram(ram_page, 0, &mut bytes);
        bytes
    }
    /// Writes a whole RAM page, whatever the windows say.
    ///
    /// # Panics
    /// Where there is no such page, or `bytes` is no page.
    pub fn write_ram_page(&self, ram_page: u64, bytes: &[u8]) {
        assert!(ram_page < self.mapped_pages() && bytes.len() as u64 == PAGE_SIZE);
        self.write_ram(ram_page, 0, bytes);
    }
    /// The RAM pages whose content differs between two memories of the same size, in ascending
    /// order: for lockstep of two machines that do not run now.
    pub fn differing_pages(&self, other: &GuestMemory) -> Vec<u64> {
        assert_eq!(self.ram_bytes(), other.ram_bytes(), "two machines of the same configuration");
        let mut pages: Vec<u64> = self.touched().into_iter().chain(other.touched()).flatten().collect();
        pages.sort_unstable();
        pages.dedup();
        pages.retain(|page| self.page(*page) != other.page(*page));
        pages
    }
    /// What a RAM page is to people: its address, or which device's it is.
    pub fn describe_page(&self, ram_page: u64) -> String {
        if let Some(region) = self.regions().iter().find(|region| region.pages.pages().contains(&ram_page)) {
            let offset = (ram_page - region.pages.first) << PAGE_SHIFT;
            return format!("{offset:#x} of {}", region.name);
        }
        self.ram_page_addr(ram_page).map_or_else(String::new, |addr| format!("{:#x}", addr.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PhysAddr;

    #[test]
    fn differing_pages_are_found_where_only_one_memory_was_touched() {
        let (a, b) = (GuestMemory::new(16 << 20, &[]).unwrap(), GuestMemory::new(16 << 20, &[]).unwrap());
        a.write(PhysAddr(0x5000), &[0; 4]);
        b.write(PhysAddr(0x7FFF), &[1, 2]);
        a.write(PhysAddr(0x8000), &[2]);
        a.write(PhysAddr(0xFF_FFFF), &[9]);
        assert_eq!(a.differing_pages(&b), [7, 0xFFF]);
        assert_eq!(b.differing_pages(&a), a.differing_pages(&b));
        assert!(a.differing_pages(&a).is_empty());
        let (of_a, _) = (a.add_device_memory("x", 8192).unwrap(), b.add_device_memory("x", 8192).unwrap());
        of_a.write(0x1000, &[1]);
        let pages = a.differing_pages(&b);
        assert_eq!(a.describe_page(pages[0]), "0x7000");
        assert_eq!(a.describe_page(*pages.last().unwrap()), "0x1000 of x");
    }

    #[test]
    fn pages_in_use_are_those_with_content() {
        let m = GuestMemory::new(1 << 20, &[]).unwrap();
        let region = m.add_device_memory("x", 8192).unwrap();
        m.write(PhysAddr(0x5000), &[0; 4]);
        m.write(PhysAddr(0x6000), &[1]);
        region.write(0x1000, &[2]);
        let pages = |range| m.pages_in_use(range).map(|(page, bytes)| (page, bytes[0])).collect::<Vec<_>>();
        assert_eq!(pages(PageRange { first: 0, count: 256 }), [(6, 1)]);
        assert_eq!(pages(region.pages()), [(257, 2)]);
        assert!(pages(PageRange { first: 7, count: 10 }).is_empty());
    }
}
