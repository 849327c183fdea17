//! Paging: the page walk, and the shadow page tables that engines look translations up in.

mod check;
mod entry;
mod spaces;
mod walk;

pub use check::TlbDifferences;
pub use entry::{TLB_ENTRIES, TlbEntry, tlb_index};
pub use spaces::{FillRequest, Mapped, Mmu};
pub use walk::{Access, PageWalk, WalkConfig, WalkFault, WalkResult, walk};
