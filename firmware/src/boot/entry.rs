//! The state in which the first processor enters the guest, as plain data.
//!
//! Only what boot protocols prescribe is here; everything else (FPU, debug registers, MSRs) has
//! its value after reset (SDM Vol. 3A, Processor State After Reset).

use trimotor_bus::PhysAddr;

/// CR0.PE: protected mode.
pub const CR0_PE: u64 = 1 << 0;
/// CR0.ET: reads as one on every processor since the Pentium.
pub const CR0_ET: u64 = 1 << 4;
/// CR0.PG: paging.
pub const CR0_PG: u64 = 1 << 31;
/// CR4.PAE: physical address extension, which long mode requires.
pub const CR4_PAE: u64 = 1 << 5;
/// EFER.LME: long mode enabled.
pub const EFER_LME: u64 = 1 << 8;
/// EFER.LMA: long mode active.
pub const EFER_LMA: u64 = 1 << 10;

/// Which of the three ways a processor can start in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EntryMode {
    /// 16-bit real mode.
    Real,
    /// 32-bit protected mode with flat segments and without paging.
    Protected32,
    /// 64-bit mode with 4-level paging.
    Long64,
}

/// A segment register with its hidden part.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct EntrySegment {
    /// The visible selector.
    pub selector: u16,
    /// The segment's first linear address.
    pub base: u64,
    /// The last valid offset, in bytes (granularity already applied).
    pub limit: u32,
    /// Descriptor bits 40 to 47: P, DPL, S and the type.
    pub access: u8,
    /// Descriptor bits 52 to 55 as bits 0 to 3: AVL, L, D/B, G.
    pub flags: u8,
}

impl EntrySegment {
    /// A real-mode segment: base is 16 times the selector, limit FFFFh.
    pub const fn real(selector: u16, access: u8) -> Self {
        Self { selector, base: (selector as u64) << 4, limit: 0xFFFF, access, flags: 0 }
    }
    /// A flat 4 GiB segment.
    pub const fn flat(selector: u16, access: u8, flags: u8) -> Self {
        Self { selector, base: 0, limit: u32::MAX, access, flags }
    }
    /// The 8-byte descriptor that loads as this segment (SDM Vol. 3A, Segment Descriptors).
    pub const fn descriptor(&self) -> u64 {
        let limit = (if self.flags & 8 != 0 { self.limit >> 12 } else { self.limit }) as u64;
        (limit & 0xFFFF)
            | (self.base & 0xFF_FFFF) << 16
            | (self.access as u64) << 40
            | (limit >> 16 & 0xF) << 48
            | (self.flags as u64 & 0xF) << 52
            | (self.base >> 24 & 0xFF) << 56
    }
}

/// GDTR or IDTR.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct EntryTable {
    /// Linear address of the table.
    pub base: u64,
    /// The last valid offset, in bytes.
    pub limit: u16,
}

/// Registers of the first processor at the guest's first instruction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EntryState {
    /// The mode that CR0, CR4 and EFER below amount to.
    pub mode: EntryMode,
    /// RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8 to R15: in encoding order.
    pub gpr: [u64; 16],
    /// Instruction pointer, an offset in CS.
    pub rip: u64,
    /// RFLAGS; bit 1 is set, interrupts are off.
    pub rflags: u64,
    /// Code segment.
    pub cs: EntrySegment,
    /// Data segment.
    pub ds: EntrySegment,
    /// Extra segment.
    pub es: EntrySegment,
    /// Stack segment.
    pub ss: EntrySegment,
    /// FS.
    pub fs: EntrySegment,
    /// GS.
    pub gs: EntrySegment,
    /// Task register.
    pub tr: EntrySegment,
    /// Local descriptor table register: always null here.
    pub ldtr: EntrySegment,
    /// Global descriptor table register.
    pub gdtr: EntryTable,
    /// Interrupt descriptor table register.
    pub idtr: EntryTable,
    /// CR0.
    pub cr0: u64,
    /// CR3: the page table's root, in long mode.
    pub cr3: u64,
    /// CR4.
    pub cr4: u64,
    /// The EFER MSR.
    pub efer: u64,
}

/// Index of RAX in [`EntryState::gpr`].
pub const RAX: usize = 0;
/// Index of RDX in [`EntryState::gpr`].
pub const RDX: usize = 2;
/// Index of RBX in [`EntryState::gpr`].
pub const RBX: usize = 3;
/// Index of RSP in [`EntryState::gpr`].
pub const RSP: usize = 4;
/// Index of RSI in [`EntryState::gpr`].
pub const RSI: usize = 6;

const CODE: u8 = 0x9B;
const DATA: u8 = 0x93;
const BUSY_TSS: u8 = 0x8B;
/// G and D/B.
const FLAT32: u8 = 0b1100;
/// G and L.
const FLAT64: u8 = 0b1010;

/// Where the segments stand in the GDT that the guest finds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Selectors {
    /// Code.
    pub code: u16,
    /// Data and stack.
    pub data: u16,
    /// Task state.
    pub task: u16,
}

impl Selectors {
    /// As the Linux boot protocol prescribes them: `__BOOT_CS` and `__BOOT_DS`.
    pub const LINUX: Self = Self { code: 0x10, data: 0x18, task: 0x20 };
    /// For protocols that leave the selectors open (Multiboot, PVH). Kernels should load a GDT of
    /// their own, but small ones keep what they find and put selector 8 into their IDT, because
    /// boot loaders give code the first descriptor and data the second.
    pub const FIRST: Self = Self { code: 0x08, data: 0x10, task: 0x18 };
}

impl EntryState {
    fn with_segments(mode: EntryMode, cs: EntrySegment, data: EntrySegment, tr: EntrySegment) -> Self {
        Self {
            mode,
            gpr: [0; 16],
            rip: 0,
            rflags: 2,
            cs,
            ds: data,
            es: data,
            ss: data,
            fs: data,
            gs: data,
            tr,
            ldtr: EntrySegment { selector: 0, base: 0, limit: 0xFFFF, access: 0x82, flags: 0 },
            gdtr: EntryTable { base: 0, limit: 0xFFFF },
            idtr: EntryTable { base: 0, limit: 0x3FF },
            cr0: CR0_ET,
            cr3: 0,
            cr4: 0,
            efer: 0,
        }
    }

    /// Real mode at `0000:entry`, stack growing down from the same address.
    pub fn real(entry: u16) -> Self {
        let tr = EntrySegment { limit: 0xFFFF, access: BUSY_TSS, ..EntrySegment::default() };
        let mut state = Self::with_segments(
            EntryMode::Real,
            EntrySegment::real(0, CODE),
            EntrySegment::real(0, DATA),
            tr,
        );
        state.rip = u64::from(entry);
        state.gpr[RSP] = u64::from(entry);
        state
    }

    /// 32-bit protected mode without paging. GDTR gets its base where the table is placed.
    pub fn protected32(entry: u32, selectors: Selectors) -> Self {
        let Selectors { code, data, task } = selectors;
        let mut state = Self::with_segments(
            EntryMode::Protected32,
            EntrySegment::flat(code, CODE, FLAT32),
            EntrySegment::flat(data, DATA, FLAT32),
            EntrySegment { selector: task, limit: 0x67, access: BUSY_TSS, ..EntrySegment::default() },
        );
        state.rip = u64::from(entry);
        state.cr0 |= CR0_PE;
        state.gdtr = EntryTable { base: 0, limit: state.gdt_bytes().len() as u16 - 1 };
        state.idtr = EntryTable::default();
        state
    }

    /// 64-bit mode with the page tables at `cr3`, for Linux.
    pub fn long64(entry: u64, cr3: PhysAddr) -> Self {
        let mut state = Self::protected32(0, Selectors::LINUX);
        state.mode = EntryMode::Long64;
        state.rip = entry;
        state.cs = EntrySegment::flat(Selectors::LINUX.code, CODE, FLAT64);
        state.cr0 |= CR0_PG;
        state.cr3 = cr3.0;
        state.cr4 = CR4_PAE;
        state.efer = EFER_LME | EFER_LMA;
        state
    }

    /// The global descriptor table for this state: code, data and task state where their selectors
    /// say, null descriptors elsewhere.
    pub fn gdt_bytes(&self) -> Vec<u8> {
        let index = |segment: &EntrySegment| usize::from(segment.selector / 8);
        // A TSS descriptor in long mode has 16 bytes; the upper eight are base bits 32 to 63: zero.
        let mut table = vec![0; index(&self.tr) + 2];
        for segment in [&self.cs, &self.ds, &self.tr] {
            table[index(segment)] = segment.descriptor();
        }
        table.iter().flat_map(|d: &u64| d.to_le_bytes()).collect()
    }
}

/// Page tables that map the first 4 GiB to themselves with 2 MiB pages: one PML4, one
/// page-directory-pointer table and four page directories, to stand at `at`
/// (SDM Vol. 3A, 4-Level Paging).
pub fn identity_page_tables(at: PhysAddr) -> Vec<u8> {
    const PRESENT_WRITABLE: u64 = 0b11;
    const PAGE_SIZE_BIT: u64 = 1 << 7;
    let mut entries = vec![0u64; IDENTITY_TABLE_BYTES / 8];
    entries[0] = (at.0 + 0x1000) | PRESENT_WRITABLE;
    for directory in 0..4 {
        entries[512 + directory] = (at.0 + 0x2000 + directory as u64 * 0x1000) | PRESENT_WRITABLE;
    }
    for (page, entry) in entries[1024..].iter_mut().enumerate() {
        *entry = (page as u64) << 21 | PAGE_SIZE_BIT | PRESENT_WRITABLE;
    }
    entries.iter().flat_map(|e| e.to_le_bytes()).collect()
}

/// Bytes that [`identity_page_tables`] gives.
pub const IDENTITY_TABLE_BYTES: usize = 6 * 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flat_descriptors_have_their_well_known_values() {
        let s = EntryState::protected32(0x10_0000, Selectors::LINUX);
        assert_eq!(s.cs.descriptor(), 0x00CF_9B00_0000_FFFF);
        assert_eq!(s.ds.descriptor(), 0x00CF_9300_0000_FFFF);
        let s = EntryState::long64(0x10_0000, PhysAddr(0x1000));
        assert_eq!(s.cs.descriptor(), 0x00AF_9B00_0000_FFFF);
    }

    #[test]
    fn descriptors_stand_where_the_selectors_say() {
        for selectors in [Selectors::LINUX, Selectors::FIRST] {
            let s = EntryState::protected32(0x10_0000, selectors);
            let table = s.gdt_bytes();
            assert_eq!(usize::from(s.gdtr.limit), table.len() - 1);
            for segment in [s.cs, s.ds, s.es, s.ss, s.tr] {
                let at = usize::from(segment.selector);
                let found = u64::from_le_bytes(table[at..at + 8].try_into().unwrap());
                assert_eq!(found, segment.descriptor(), "{selectors:?}");
            }
            assert_eq!(table[..8], [0; 8], "the null descriptor");
        }
    }

    #[test]
    fn identity_tables_map_each_address_to_itself() {
        let at = PhysAddr(0x8_0000);
        let bytes = identity_page_tables(at);
        let entry = |table: u64, index: u64| {
            let offset = (table - at.0 + index * 8) as usize;
            u64::from_le_bytes(bytes[offset..offset + 8].try_into().unwrap())
        };
        for address in [0u64, 0x20_0000, 0xFFFF_F000, 0x1234_5678] {
            let pdpt = entry(at.0, address >> 39) & !0xFFF;
            let directory = entry(pdpt, address >> 30 & 511) & !0xFFF;
            let leaf = entry(directory, address >> 21 & 511);
            assert_eq!(leaf & 0xFFF, 0x83);
            assert_eq!((leaf & !0x1F_FFFF) | (address & 0x1F_FFFF), address);
        }
    }
}
