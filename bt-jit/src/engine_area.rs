//! What the translator keeps with each vCPU beside the interpreter's [`Core`], at fixed places from it.
//!
//! Core and area lie in one allocation, which [`CoreStack`](crate::core_stack) owns, and translated code addresses both from the
//! core's first byte. The core has a pointer to the area that the interpreter does not look at.

#![allow(unsafe_code, reason = "the core's pointer to the area is followed")]

use std::mem::offset_of;
use trimotor_cpu_interp::core::Core;

/// Inline caches of one vCPU: the first half for reads, the other for writes.
pub const INLINE_CACHES: usize = 2048;

/// Where an access in user code last found its page: a copy of an entry of the shadow page table, one for each
/// site instead of one for each page, so that it is found without computing an index. Valid until
/// `Mmu::invalidations` changes.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct InlineCache {
    /// The linear page.
    pub tag: u64,
    /// What turns a linear address of the page into a host address.
    pub delta: u64,
}

impl InlineCache {
    /// The tag of an empty inline cache: no address there is canonical. There is no tag that no address matches, so
    /// an empty inline cache leads to the host's lowest page. No process has that: the access faults, and the
    /// translator's handler goes its slow path.
    pub const NOWHERE: u64 = 0x5A3D_96C1_7B4E_2000;
    /// Host addresses that empty inline caches lead to are below this.
    pub const NOWHERE_BYTES: u64 = 4096;
    /// An inline cache without a page.
    pub const EMPTY: InlineCache =
        InlineCache { tag: InlineCache::NOWHERE, delta: InlineCache::NOWHERE.wrapping_neg() };
}

/// What the translator keeps with each vCPU, at fixed places behind the [`Core`] so that translated code reaches it.
///
/// Its alignment makes it known how its places and those of the CPU state look to a host that tells places apart by ten bits of
/// their displacement: see the end of `layout.rs`.
#[repr(C, align(1024))]
pub struct EngineArea {
    /// The host's stack pointer while translated code runs.
    pub host_stack: u64,
    /// Offset within its page of the instruction where translated code was left.
    pub exit_offset: u64,
    /// Why translated code was left.
    pub exit_reason: u64,
    /// Non-zero while the vector registers are in the host's and not in [`CpuState`](trimotor_cpu::CpuState).
    pub vector_live: u64,
    /// Non-zero while the x87 registers are in the host's.
    pub x87_live: u64,
    /// A place for one register.
    pub spare: [u64; 3],
    /// Keeps the next ones away from busy places of the CPU state.
    pub padding: [u64; 32],
    /// Host addresses that check groups share.
    pub check_groups: [u64; 16],
    /// An operand that lost flags are computed from again.
    pub flags_operand: u64,
    /// Where sites in user code last found their pages. See [`InlineCache`].
    pub inline_caches: [InlineCache; INLINE_CACHES],
    /// Page numbers (the low 32 bits) that inline caches last missed: hints for when to fill one.
    pub ic_candidates: [u32; INLINE_CACHES],
    /// Slots that are not empty, a bit each.
    pub ics_used: [u64; INLINE_CACHES / 64],
    /// `Mmu::invalidations` that the inline caches hold for.
    pub ics_invalidations: u64,
    /// What translated x87 code leaves here.
    pub x87: X87Area,
    /// The word of the vCPU's pins (`VcpuSignals::pending_word`).
    pub pending: *const std::sync::atomic::AtomicU32,
    /// The table that indirect jumps look into, for `jumps_key`.
    pub jumps: *mut u8,
    /// The `CpuState::jump_key` that the table is for.
    pub jumps_key: u64,
    /// How many more links to other pages are followed by way of the table before one is made anew.
    pub probes: u64,
    /// All such tables of the vCPU.
    pub jump_tables: *mut u8,
    /// The translator.
    pub translator: *mut u8,
    /// How often inline caches missed, or accesses that have given them up were made, until somebody looks.
    pub ic_misses: [u32; INLINE_CACHES],
}

impl Default for EngineArea {
    fn default() -> Self {
        EngineArea {
            host_stack: 0,
            exit_offset: 0,
            exit_reason: 0,
            vector_live: 0,
            x87_live: 0,
            spare: [0; 3],
            ic_misses: [0; INLINE_CACHES],
            flags_operand: 0,
            padding: [0; 32],
            check_groups: [0; 16],
            // All in use and out of date, so that they are emptied before the first use.
            inline_caches: [InlineCache::EMPTY; INLINE_CACHES],
            ic_candidates: [0; INLINE_CACHES],
            ics_used: [u64::MAX; INLINE_CACHES / 64],
            ics_invalidations: u64::MAX,
            x87: X87Area::default(),
            pending: std::ptr::null(),
            jumps: std::ptr::null_mut(),
            jumps_key: 0,
            probes: 0,
            jump_tables: std::ptr::null_mut(),
            translator: std::ptr::null_mut(),
        }
    }
}

/// The x87 registers on their way to the host's and back, and what translated code notes of the
/// last instruction: [`NONE`](X87Area::NONE) where none ran since the registers were loaded.
#[repr(C)]
pub struct X87Area {
    /// The image of FRSTOR and FNSAVE, in its 32-bit form.
    pub image: [u8; 112],
    /// RIP of the first byte of the last instruction's page.
    pub page: u64,
    /// Offset of the last memory operand in its segment.
    pub operand: u64,
    /// Offset of the last instruction in its page.
    pub offset: u32,
    /// Number of the last memory operand's segment.
    pub segment: u32,
}

impl X87Area {
    /// Nothing was noted.
    pub const NONE: u32 = u32::MAX;
}

impl Default for X87Area {
    fn default() -> Self {
        X87Area { image: [0; 112], page: 0, operand: 0, offset: Self::NONE, segment: Self::NONE }
    }
}

/// A vCPU's core and its area, as they lie in memory.
#[repr(C)]
pub struct CoreAndArea {
    /// First, so that a pointer to the whole is one to the core, and to the CPU state in it.
    pub core: Core,
    /// What is the translator's.
    pub area: EngineArea,
}

impl CoreAndArea {
    /// Bytes from the core's first byte to the area.
    pub const AREA: usize = offset_of!(CoreAndArea, area);
}

/// The area of `core`, which a [`CoreStack`](crate::core_stack::CoreStack) owns. As long as it is borrowed, so is the core.
#[inline(always)]
pub(crate) fn area(core: &mut Core) -> &mut EngineArea {
    debug_assert!(!core.engine_area.is_null(), "a core of the translator");
    // SAFETY: `CoreStack::new` set the pointer to the area, which lives as long as the core. It is reached by this function and
    // `area_of` only, so that the borrow of the core is one of the area, and by translated code, which runs in between.
    unsafe { &mut *core.engine_area.cast() }
}
/// The same to look at.
#[inline(always)]
pub(crate) fn area_of(core: &Core) -> &EngineArea {
    debug_assert!(!core.engine_area.is_null(), "a core of the translator");
    // SAFETY: as in `area`.
    unsafe { &*core.engine_area.cast() }
}

/// Empties the inline caches where translations may have gone since they were filled.
#[inline]
pub(crate) fn check_inline_caches(core: &mut Core) {
    let invalidations = core.mmu.invalidations;
    let area = area(core);
    if area.ics_invalidations != invalidations {
        area.ics_invalidations = invalidations;
        area.clear_inline_caches();
    }
}

impl EngineArea {
    #[cold]
    fn clear_inline_caches(&mut self) {
        for (n, word) in self.ics_used.iter_mut().enumerate() {
            while *word != 0 {
                self.inline_caches[n * 64 + word.trailing_zeros() as usize] = InlineCache::EMPTY;
                *word &= *word - 1;
            }
        }
    }
}
