//! Paging: the page walk, and the shadow page tables that engines look translations up in.

mod address_space;
mod address_spaces;
mod check;
mod device_pages;
mod entry;
mod fill;
mod guest_tables;
mod keep;
mod reverse_map;
mod table;
#[cfg(test)]
mod tests;
mod tracking;
mod walk;
mod write_tracking;

pub use address_spaces::Mmu;
pub use check::TlbDifferences;
pub use entry::{TLB_ENTRIES, TlbEntry, WRITE_PROTECTED, tlb_index};
pub use fill::{FillRequest, Mapped};
pub use keep::StaleUse;
pub use walk::{Access, PageWalk, WalkConfig, WalkFault, WalkResult, walk};
