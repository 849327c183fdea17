//! Translations of pages that devices answer for.
//!
//! The shadow page tables lead to host memory, so that registers of devices are in none of them. As a processor's TLB has
//! translations of uncached pages too, the last few are kept here: an access to the same page walks the guest's tables only once.
//! They hold as long as [`Mmu::invalidations`](super::Mmu::invalidations) stays: the tables that they came from are tracked as
//! all are.

use super::walk::Access;
use trimotor_bus::PhysAddr;

/// How many are kept. A driver uses a page or two at a time.
const ENTRIES: usize = 16;
/// A bit of the key that an empty entry lacks.
const THERE: u64 = 1 << 11;

#[derive(Clone, Copy, Default)]
struct Entry {
    /// The linear page, in its low bits the kind of table and the kind of access.
    key: u64,
    /// The guest-physical page.
    page: u64,
}

/// The translations of one vCPU.
#[derive(Default)]
pub(super) struct DevicePages {
    entries: [Entry; ENTRIES],
    /// The count that they hold for.
    invalidations: u64,
}

/// `None`: code is not fetched from devices often.
fn key(kind: usize, linear: u64, access: Access) -> Option<u64> {
    let write = match access {
        Access::Read => 0,
        Access::Write => 1,
        Access::Execute => return None,
    };
    Some(linear & !0xFFF | THERE | (kind as u64) << 1 | write)
}
/// Reads and writes of a page have entries of their own: text is scrolled by both in turn.
fn index(key: u64) -> usize {
    (key >> 11 & !1 | key & 1) as usize % ENTRIES
}

impl DevicePages {
    /// The guest-physical address of a byte, if its page is known.
    #[inline]
    pub(super) fn find(
        &self,
        invalidations: u64,
        kind: usize,
        linear: u64,
        access: Access,
    ) -> Option<PhysAddr> {
        let key = key(kind, linear, access)?;
        let entry = self.entries[index(key)];
        let holds = entry.key == key && invalidations == self.invalidations;
        holds.then_some(PhysAddr(entry.page | linear & 0xFFF))
    }
    /// Keeps a translation that a walk has found.
    pub(super) fn note(
        &mut self,
        invalidations: u64,
        kind: usize,
        linear: u64,
        access: Access,
        phys: PhysAddr,
    ) {
        if invalidations != self.invalidations {
            *self = Self { entries: Default::default(), invalidations };
        }
        if let Some(key) = key(kind, linear, access) {
            self.entries[index(key)] = Entry { key, page: phys.0 & !0xFFF };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_known_for_its_kind_and_access_until_something_goes() {
        let mut pages = DevicePages::default();
        assert_eq!(pages.find(0, 0, 0, Access::Read), None);
        pages.note(7, 1, 0x1234, Access::Write, PhysAddr(0xFEE0_0234));
        assert_eq!(pages.find(7, 1, 0x1FF8, Access::Write), Some(PhysAddr(0xFEE0_0FF8)));
        for (invalidations, kind, linear, access) in [
            (8, 1, 0x1FF8, Access::Write),
            (7, 0, 0x1FF8, Access::Write),
            (7, 1, 0x1FF8, Access::Read),
            (7, 1, 0x1FF8, Access::Execute),
            (7, 1, 0x1_1FF8, Access::Write),
        ] {
            assert_eq!(pages.find(invalidations, kind, linear, access), None, "{linear:#x}");
        }
        pages.note(8, 0, 0x5000, Access::Read, PhysAddr(0xA_0000));
        assert_eq!(pages.find(8, 1, 0x1FF8, Access::Write), None);
        pages.note(8, 0, 0x5000, Access::Execute, PhysAddr(0));
        assert_eq!(pages.find(8, 0, 0x5000, Access::Read), Some(PhysAddr(0xA_0000)));
    }
}
