//! A debug mode: each hit of a shadow page table is compared with a walk of the guest's page tables.
//!
//! Engines look translations up inline, where nothing can be checked. So while the mode is on they get
//! a table in which nothing is found: every access comes to [`Mmu::translate`](super::Mmu::translate),
//! which looks into the real table and, if it finds something there, walks and compares. Entries with fewer rights than
//! the guest's tables give are right, as they cost a miss only.
//!
//! A guest may change its tables and rely on the old translation until it invalidates it, though few do:
//! a difference tells of a guest that forgot, or of an engine that did.

use super::entry::{TLB_ENTRIES, TlbEntry};
use super::walk::{Access, WalkFault};
use trimotor_bus::PhysAddr;

/// Differences that are logged; more are only counted, as the guest can make any number.
const LOGGED: u64 = 16;

/// What the mode has found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TlbDifferences {
    /// Hits compared.
    pub hits: u64,
    /// Hits that a walk contradicts.
    pub differences: u64,
}

/// The mode, while it is on.
pub(super) struct TlbCheck {
    nothing: Box<[TlbEntry]>,
    pub(super) found: TlbDifferences,
}

impl TlbCheck {
    pub(super) fn new() -> TlbCheck {
        TlbCheck {
            nothing: (0..TLB_ENTRIES).map(TlbEntry::empty).collect(),
            found: TlbDifferences::default(),
        }
    }
    /// The table for engines.
    pub(super) fn table(&mut self) -> *mut TlbEntry {
        self.nothing.as_mut_ptr()
    }
    /// Compares where a hit leads with what a walk gives: host addresses of the byte.
    pub(super) fn compare(
        &mut self,
        linear: u64,
        access: Access,
        hit: *mut u8,
        walked: Result<(PhysAddr, *mut u8), WalkFault>,
    ) {
        self.found.hits += 1;
        let says = match walked {
            Ok((_, host)) if host == hit => return,
            Ok((phys, _)) => format!("physical address {:#x}", phys.0),
            Err(fault) => format!("a page fault with error code {:#x}", fault.error_code),
        };
        self.found.differences += 1;
        if self.found.differences <= LOGGED {
            log::error!(
                "{access:?} at linear address {linear:#x} hits a translation where a walk gives {says}"
            );
        }
    }
}
