//! Where things lie in the guest: the same physical places in all modes, and the linear pages that
//! modes with paging give them.

/// Bytes of RAM: the least that a machine has.
pub const RAM: u64 = 1 << 20;
/// Bytes of a page.
pub const PAGE: u64 = 4096;

/// Page tables: the root, then a page for each level.
pub const ROOT: u64 = 0x1000;
pub const PDPT: u64 = 0x2000;
pub const PD: u64 = 0x3000;
/// Of the supervisor's low pages.
pub const LOW_TABLE: u64 = 0x4000;
/// Of the pages that the random code uses.
pub const TABLE: u64 = 0x5000;
pub const GDT: u64 = 0x8000;
pub const IDT: u64 = 0x9000;
pub const HANDLERS: u64 = 0xA000;
pub const TSS: u64 = 0xB000;
/// For each byte of the code pages, how many bytes the instruction has that begins there; 0: none.
pub const LENGTHS: u64 = 0xC000;
pub const CODE: u64 = 0x1_0000;
pub const CODE_BYTES: u64 = 4 * PAGE;
pub const DATA: u64 = 0x1_4000;
pub const DATA_BYTES: u64 = 8 * PAGE;
pub const STACK: u64 = 0x1_C000;
pub const STACK_BYTES: u64 = 2 * PAGE;
/// The end of the supervisor's stack, and of the one of the IST.
pub const KERNEL_STACK: u64 = 0x1_F000;
pub const IST_STACK: u64 = 0x2_0000;
/// Two pages for pages whose mapping changes.
pub const SPARE: u64 = 0x2_0000;
/// Where real-mode code can come with its segments ends.
pub const ACTIVE_END: u64 = 0x2_C000;
/// System-management mode's handler and state save area.
pub const SMM_HANDLER: u64 = 0x3_8000;
pub const SMM_SAVE: u64 = 0x3_F000;
/// A device: the VGA window.
pub const DEVICE: u64 = 0xA_0000;

/// What cases change and what is compared after each, in pages: the rest is looked at now and then.
pub static ACTIVE: [std::ops::Range<u64>; 3] = [0..ACTIVE_END, SMM_HANDLER..0x3_9000, SMM_SAVE..0x4_0000];

/// All of RAM.
pub static WHOLE: std::ops::Range<u64> = 0..RAM;

/// Linear addresses with paging.
pub mod linear {
    use super::PAGE;
    /// The first page of [`super::TABLE`].
    pub const BASE: u64 = 0x40_0000;
    pub const CODE: u64 = BASE;
    pub const DATA: u64 = BASE + 8 * PAGE;
    pub const READ_ONLY: u64 = BASE + 17 * PAGE;
    pub const OTHER_PRIVILEGE: u64 = BASE + 18 * PAGE;
    pub const NO_EXECUTE: u64 = BASE + 19 * PAGE;
    /// The code pages once more.
    pub const ALIAS: u64 = BASE + 20 * PAGE;
    /// Pages whose mapping changes.
    pub const PLAY: u64 = BASE + 24 * PAGE;
    pub const PLAY_PAGES: u64 = 4;
    pub const DEVICE: u64 = BASE + 28 * PAGE;
    pub const STACK: u64 = BASE + 30 * PAGE;
    /// The table of these pages.
    pub const TABLE: u64 = BASE + 40 * PAGE;
}

/// Selectors of the GDT in [`super::world`].
pub mod selector {
    pub const CODE64: u16 = 0x08;
    pub const DATA: u16 = 0x10;
    pub const USER_CODE32: u16 = 0x1B;
    pub const USER_DATA: u16 = 0x23;
    pub const USER_CODE64: u16 = 0x2B;
    pub const CODE32: u16 = 0x30;
    pub const TSS: u16 = 0x38;
    /// Segments that do not begin at 0.
    pub const ODD_CODE: u16 = 0x48;
    pub const ODD_DATA: u16 = 0x50;
    pub const ODD_EXTRA: u16 = 0x58;
    pub const ODD_STACK: u16 = 0x60;
    pub const ODD_DOWN: u16 = 0x68;
    pub const ODD_DEVICE: u16 = 0x70;
}
