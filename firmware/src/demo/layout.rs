//! Where everything of the demo stands in memory. All of it is below 640 KiB, so that 1 MiB of RAM
//! is enough.
//!
//! | address | what |
//! |---|---|
//! | 0600h | variables |
//! | 1000h | memory map, handed over: a count, then E820 entries of 20 bytes |
//! | 7C00h | real-mode code, one sector with the boot signature |
//! | 7E00h | texts of the first two modes |
//! | 8C00h | protected-mode code |
//! | 9800h | long-mode code |
//! | 18000h | long-mode texts and tables |
//! | 5F000h | top of the stack |
//! | 60000h | page directory and table of protected mode |
//! | 70000h | page tables of long mode, interrupt descriptor table |

/// Real-mode code.
pub const REAL_CODE: u64 = 0x7C00;
/// Texts for real and protected mode.
pub const EARLY_TEXT: u64 = 0x7E00;
/// Protected-mode code.
pub const PROTECTED_CODE: u64 = 0x8C00;
/// Long-mode code.
pub const LONG_CODE: u64 = 0x9800;
/// Texts and tables for long mode.
pub const LONG_TEXT: u64 = 0x1_8000;
/// Where the image must end.
pub const IMAGE_END: u64 = 0x2_8000;
/// The stack grows down from here in protected and long mode.
pub const STACK_TOP: u64 = 0x5_F000;
/// The stack for exceptions that must not use the current one (double fault).
pub const FAULT_STACK_TOP: u64 = 0x5_0000;
/// The memory map handed over.
pub const MEMORY_MAP: u64 = 0x1000;

/// Protected mode: page directory, then the page table of the first 4 MiB.
pub const PAGE_DIRECTORY: u64 = 0x6_0000;
/// Protected mode: the linear address at which video memory is mapped a second time.
pub const VIDEO_ALIAS: u64 = 0x40_0000;
/// Long mode: the top of the page tables.
pub const PML4: u64 = 0x7_0000;
/// Long mode: page-directory-pointer table.
pub const PDPT: u64 = 0x7_1000;
/// Long mode: the page table of the first 2 MiB.
pub const PAGE_TABLE: u64 = 0x7_2000;
/// Long mode: four page directories, for 4 GiB.
pub const PAGE_DIRECTORIES: u64 = 0x7_3000;
/// Interrupt descriptor table.
pub const IDT: u64 = 0x7_8000;
/// A page that is mapped read-only.
pub const READ_ONLY_PAGE: u64 = 0x7_A000;
/// A page that is not mapped.
pub const MISSING_PAGE: u64 = 0x7_B000;
/// A page that is mapped but not executable, where the processor knows NX.
pub const NO_EXECUTE_PAGE: u64 = 0x7_C000;
/// 64 bytes to compute in.
pub const SCRATCH: u64 = 0x7_D000;

/// Video memory in text mode.
pub const VIDEO: u64 = 0xB_8000;
/// Columns of the screen.
pub const COLUMNS: u64 = 80;
/// Rows of the screen.
pub const ROWS: u64 = 25;
/// The first row that scrolls: the header box stays.
pub const FIRST_ROW: u64 = 3;

/// Code segment of 32-bit protected mode.
pub const CODE32: u16 = 0x08;
/// Data segment.
pub const DATA: u16 = 0x10;
/// Code segment of 64-bit mode.
pub const CODE64: u16 = 0x18;
/// Task state segment.
pub const TSS_SELECTOR: u16 = 0x20;

/// Variables.
pub mod vars {
    /// Screen position, in cells: u16.
    pub const CURSOR: u64 = 0x600;
    /// Colour of the next character: u8.
    pub const ATTRIBUTE: u64 = 0x602;
    /// A shift key is down: u8.
    pub const SHIFT: u64 = 0x603;
    /// Caps lock is on: u8.
    pub const CAPS: u64 = 0x604;
    /// A control key is down: u8.
    pub const CONTROL: u64 = 0x605;
    /// The last scan code was E0h: u8.
    pub const EXTENDED: u64 = 0x606;
    /// COM1 is there: u8.
    pub const SERIAL: u64 = 0x607;
    /// Timer interrupts so far: u64.
    pub const TICKS: u64 = 0x608;
    /// Where the next input character is put: u8.
    pub const RING_HEAD: u64 = 0x610;
    /// Where the next input character is taken: u8.
    pub const RING_TAIL: u64 = 0x611;
    /// Keyboard interrupts so far: u32.
    pub const KEY_INTERRUPTS: u64 = 0x614;
    /// Where to go on after an expected exception, or 0: u64.
    pub const FAULT_RESUME: u64 = 0x618;
    /// The stack pointer to go on with: u64.
    pub const FAULT_RSP: u64 = 0x620;
    /// What the last exception was: vector, error code, CR2, RIP, u64 each.
    pub const FAULT_VECTOR: u64 = 0x628;
    /// Its error code.
    pub const FAULT_ERROR: u64 = 0x630;
    /// CR2 at that time.
    pub const FAULT_CR2: u64 = 0x638;
    /// The instruction that caused it.
    pub const FAULT_RIP: u64 = 0x640;
    /// Self-checks that failed: u64.
    pub const FAILURES: u64 = 0x648;
    /// Serial interrupts so far: u32.
    pub const SERIAL_INTERRUPTS: u64 = 0x650;
    /// The processor knows NX: u8.
    pub const HAS_NX: u64 = 0x654;
    /// Feature words of CPUID: u32 each, see `cpu.rs`.
    pub const FEATURES: u64 = 0x660;
    /// The HPET's counts in a second, 0 where there is none: u64.
    pub const HPET_COUNTS_A_SECOND: u64 = 0x680;
    /// The second that the header shows: u64.
    pub const SECOND: u64 = 0x688;
    /// Vendor or brand string.
    pub const NAME: u64 = 0x6A0;
    /// The input ring: 256 bytes.
    pub const RING: u64 = 0x700;
    /// The line being edited.
    pub const LINE: u64 = 0x800;
    /// The task state segment, 104 bytes.
    pub const TSS: u64 = 0x900;
    /// Cleared at start: from 600h to here.
    pub const END: u64 = 0xA00;
}
