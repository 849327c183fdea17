//! Linux's zero page, `struct boot_params`: what a boot loader tells a Linux kernel.
//!
//! Its first part describes the screen, its second (from 1F1h) is the kernel's own setup header,
//! completed by the loader, and 2D0h on is the memory map.
//!
//! Source: the Linux kernel's "The Linux/x86 Boot Protocol" and "Zero Page".

use super::bytes::Record;
use crate::tables::{FirmwareTables, MemoryMap};
use trimotor_bus::PhysAddr;

/// Bytes in the zero page.
pub const ZERO_PAGE_BYTES: usize = 4096;
/// Where the setup header starts, in a `bzImage` and in the zero page.
pub const SETUP_HEADER: usize = 0x1F1;
/// Where the setup header must end at the latest.
pub const SETUP_HEADER_END: usize = 0x290;

const ACPI_RSDP_ADDR: usize = 0x070;
const EXT_RAMDISK_IMAGE: usize = 0x0C0;
const EXT_RAMDISK_SIZE: usize = 0x0C4;
const EXT_CMD_LINE_PTR: usize = 0x0C8;
const ALT_MEM_K: usize = 0x1E0;
const E820_ENTRIES: usize = 0x1E8;
const VID_MODE: usize = 0x1FA;
const BOOT_FLAG: usize = 0x1FE;
const HEADER_MAGIC: usize = 0x202;
const VERSION: usize = 0x206;
const TYPE_OF_LOADER: usize = 0x210;
const LOADFLAGS: usize = 0x211;
const CODE32_START: usize = 0x214;
const RAMDISK_IMAGE: usize = 0x218;
const RAMDISK_SIZE: usize = 0x21C;
const CMD_LINE_PTR: usize = 0x228;
const KERNEL_ALIGNMENT: usize = 0x230;
const E820_TABLE: usize = 0x2D0;

/// `type_of_loader`: a loader without an assigned number.
const LOADER_UNDEFINED: u8 = 0xFF;
/// `loadflags`: the protected-mode code was loaded at 1 MiB or above.
const LOADED_HIGH: u8 = 1 << 0;
/// `vid_mode`: "normal", the mode that is set now.
const VID_MODE_NORMAL: u16 = 0xFFFF;

/// The zero page being filled.
pub(crate) struct ZeroPage(Record);

impl ZeroPage {
    /// A zero page for a kernel with this setup header (the bytes from 1F1h on).
    pub fn with_header(header: &[u8], tables: &FirmwareTables) -> Self {
        let mut page = Self(Record::new(ZERO_PAGE_BYTES));
        page.0.put(SETUP_HEADER, &header[..header.len().min(SETUP_HEADER_END - SETUP_HEADER)]);
        page.screen();
        page.memory(&tables.memory);
        page.0.u64(ACPI_RSDP_ADDR, tables.rsdp.0);
        page.0.u8(TYPE_OF_LOADER, LOADER_UNDEFINED);
        page.0.u16(VID_MODE, VID_MODE_NORMAL);
        page
    }

    /// A zero page for a kernel without setup header, as an ELF `vmlinux` is: the header is
    /// the one that such a kernel would have had.
    pub fn without_header(tables: &FirmwareTables) -> Self {
        let mut page = Self::with_header(&[], tables);
        page.0.u16(BOOT_FLAG, 0xAA55);
        page.0.put(HEADER_MAGIC, b"HdrS");
        page.0.u16(VERSION, 0x020F);
        page.0.u8(LOADFLAGS, LOADED_HIGH);
        page.0.u32(KERNEL_ALIGNMENT, 1 << 24);
        page
    }

    /// VGA text mode 3: 80 columns, 25 lines, 16 scan lines a character.
    fn screen(&mut self) {
        const ORIG_VIDEO_MODE: usize = 0x06;
        const ORIG_VIDEO_COLS: usize = 0x07;
        const ORIG_VIDEO_LINES: usize = 0x0E;
        const ORIG_VIDEO_IS_VGA: usize = 0x0F;
        const ORIG_VIDEO_POINTS: usize = 0x10;
        self.0.u8(ORIG_VIDEO_MODE, 3);
        self.0.u8(ORIG_VIDEO_COLS, 80);
        self.0.u8(ORIG_VIDEO_LINES, 25);
        self.0.u8(ORIG_VIDEO_IS_VGA, 1);
        self.0.u16(ORIG_VIDEO_POINTS, 16);
    }

    fn memory(&mut self, memory: &MemoryMap) {
        const EXT_MEM_K: usize = 0x02;
        self.0.u16(EXT_MEM_K, memory.upper_kib().min(0xFC00) as u16);
        self.0.u32(ALT_MEM_K, memory.upper_kib() as u32);
        let entries = memory.entries();
        for (i, entry) in entries.iter().enumerate() {
            self.0.put(E820_TABLE + i * 20, &entry.to_bytes());
        }
        self.0.u8(E820_ENTRIES, entries.len() as u8);
    }

    pub fn command_line(&mut self, at: PhysAddr) {
        self.0.u32(CMD_LINE_PTR, at.0 as u32);
        self.0.u32(EXT_CMD_LINE_PTR, (at.0 >> 32) as u32);
    }
    pub fn initrd(&mut self, start: u64, bytes: u64) {
        self.0.u32(RAMDISK_IMAGE, start as u32);
        self.0.u32(EXT_RAMDISK_IMAGE, (start >> 32) as u32);
        self.0.u32(RAMDISK_SIZE, bytes as u32);
        self.0.u32(EXT_RAMDISK_SIZE, (bytes >> 32) as u32);
    }
    /// Where the protected-mode part of a `bzImage` was loaded.
    pub fn code32_start(&mut self, at: u64) {
        self.0.u32(CODE32_START, at as u32);
    }
    pub fn into_bytes(self) -> Vec<u8> {
        self.0.0
    }
}
