//! Paging: the page walk, and the shadow page tables that engines look translations up in.

mod check;
mod entry;
mod fill;
mod guest_tables;
mod keep;
mod space;
mod spaces;
mod table;
#[cfg(test)]
mod tests;
mod tracking;
mod walk;
mod watched;
mod writable;

pub use check::TlbDifferences;
pub use entry::{HELD, TLB_ENTRIES, TlbEntry, tlb_index};
pub use fill::{FillRequest, Mapped};
pub use keep::StaleUse;
pub use spaces::Mmu;
pub use walk::{Access, PageWalk, WalkConfig, WalkFault, WalkResult, walk};
