//! A debug mode: each hit of a shadow page table is held against a walk of the guest's page tables.
//!
//! Engines look translations up inline, where nothing can be checked. So while the mode is on they get
//! a table in which nothing is found: every access comes to [`Mmu::translate`](super::Mmu::translate),
//! which knows what the real table would have said, walks, and compares. Entries with fewer rights than
//! the guest's tables give are right, as they cost a miss only.
//!
//! A guest may change its tables and rely on the old translation until it invalidates it, though few do:
//! a difference tells of a guest that forgot, or of an engine that did.

use super::entry::{TLB_ENTRIES, TlbEntry};
use super::spaces::Mapped;
use super::walk::Access;
use crate::fault::Fault;

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
    /// Compares the host page of a hit with what a walk gives.
    pub(super) fn compare(
        &mut self,
        linear: u64,
        access: Access,
        hit: Option<*mut u8>,
        walked: &Result<Mapped, Fault>,
    ) {
        let Some(host) = hit else { return };
        self.found.hits += 1;
        let offset = (linear & 0xFFF) as usize;
        let says = match walked {
            Ok(mapped) if mapped.host == host.wrapping_add(offset) => return,
            Ok(mapped) => format!("physical address {:#x}", mapped.phys.0),
            Err(fault) => format!("{fault:?}"),
        };
        self.found.differences += 1;
        if self.found.differences <= LOGGED {
            log::error!(
                "{access:?} at linear address {linear:#x} hits a translation where a walk gives {says}"
            );
        }
    }
}
