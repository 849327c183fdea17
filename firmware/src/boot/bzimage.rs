//! Linux `bzImage`: a real-mode setup part, whose header describes the kernel, and a
//! protected-mode part, which unpacks the kernel proper.
//!
//! The setup part is only read here, never run: the loader does its work (memory map, screen) and
//! enters the protected-mode part: at +200h in 64-bit mode where the header's `xloadflags` offer
//! it, else at its start in 32-bit mode. The protected-mode part goes to its preferred address;
//! from there on the kernel needs `init_size` bytes to unpack itself.
//!
//! Source: the Linux kernel's "The Linux/x86 Boot Protocol".

use super::bytes::Fields;
use super::detect::{KernelKind, is_bzimage, not_a};
use super::entry::{EntryState, IDENTITY_TABLE_BYTES, RSI, Selectors, identity_page_tables};
use super::error::BootError;
use super::layout::ONE_MIB;
use super::zero_page::{SETUP_HEADER, SETUP_HEADER_END, ZeroPage};
use super::{BootFile, BootRequest, Environment, check_command_line};
use trimotor_bus::PhysAddr;

const SECTOR: u64 = 512;
/// `loadflags`: the protected-mode part belongs at 1 MiB or above.
const LOADED_HIGH: u8 = 1 << 0;
/// `xloadflags`: there is a 64-bit entry point at +200h.
const XLF_KERNEL_64: u16 = 1 << 0;
/// Where a kernel that is not loaded high belongs.
const LOW_LOAD: u64 = 0x1_0000;
/// Offset of the 64-bit entry point in the protected-mode part.
const ENTRY_64: u64 = 0x200;

/// The fields of the setup header that a loader reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SetupHeader {
    /// Bytes of the real-mode part, boot sector included.
    pub setup_bytes: u64,
    /// Bytes of the protected-mode part, to the next multiple of 16.
    pub system_bytes: u64,
    /// Boot protocol version: major in the high byte.
    pub version: u16,
    /// Offset in the file where the header ends.
    pub header_end: usize,
    /// The protected-mode part belongs at 1 MiB or above.
    pub loaded_high: bool,
    /// The protected-mode part may stand at any aligned address.
    pub relocatable: bool,
    /// Alignment for a relocatable kernel.
    pub alignment: u64,
    /// There is a 64-bit entry point.
    pub entry_64: bool,
    /// The highest address that the initrd's last byte may have.
    pub initrd_addr_max: u64,
    /// The longest command line, without its NUL.
    pub cmdline_size: u64,
    /// Where the kernel would like to stand (0: no wish).
    pub pref_address: u64,
    /// Bytes that the kernel needs from its address on until it reads the memory map.
    pub init_size: u64,
}

impl SetupHeader {
    /// Reads and checks the header.
    ///
    /// # Errors
    /// Files without such a header, truncated ones, and protocol versions before 2.02.
    pub fn read(file: &BootFile) -> Result<Self, BootError> {
        let f = Fields(&file.bytes);
        let actual = file.bytes.len() as u64;
        let truncated = |what, needed| BootError::Truncated { file: file.name.clone(), what, needed, actual };
        if !is_bzimage(f) {
            return Err(not_a(KernelKind::BzImage, "setup header (\"HdrS\" at 202h, 55h AAh at 1FEh)", file));
        }
        let version = f.u16(0x206).ok_or_else(|| truncated("its setup header", 0x290))?;
        if !(0x0202..0x0300).contains(&version) {
            return Err(BootError::Unusable {
                file: file.name.clone(),
                problem: format!(
                    "its setup header (at 202h) gives boot protocol {}.{:02}",
                    version >> 8,
                    version & 0xFF
                ),
                advice: "2.02 (Linux 2.4.0) and later of version 2 are understood",
            });
        }
        let header = Self::read_fields(f, version).ok_or_else(|| truncated("its setup header", 0x290))?;
        if header.setup_bytes < SETUP_HEADER_END as u64 || actual <= header.setup_bytes {
            return Err(truncated("its real-mode part", header.setup_bytes + 1));
        }
        // The size field counts in units of 16 bytes, so the file may be up to 15 bytes shorter.
        let needed = header.setup_bytes + header.system_bytes;
        if actual + 15 < needed {
            return Err(truncated("its protected-mode part", needed));
        }
        Ok(header)
    }

    /// Fields that a protocol version lacks have the value that the protocol gives them.
    fn read_fields(f: Fields<'_>, version: u16) -> Option<Self> {
        let since = |v: u16| version >= v;
        let sectors = match f.u8(0x1F1)? {
            0 => 4,
            n => u64::from(n),
        };
        Some(Self {
            setup_bytes: (sectors + 1) * SECTOR,
            system_bytes: u64::from(f.u32(0x1F4)?) * 16,
            version,
            header_end: (0x202 + usize::from(f.u8(0x201)?)).clamp(0x22C, SETUP_HEADER_END),
            loaded_high: f.u8(0x211)? & LOADED_HIGH != 0,
            relocatable: since(0x205) && f.u8(0x234)? != 0,
            alignment: if since(0x205) { u64::from(f.u32(0x230)?).max(1) } else { ONE_MIB },
            entry_64: since(0x20C) && f.u16(0x236)? & XLF_KERNEL_64 != 0,
            initrd_addr_max: if since(0x203) { u64::from(f.u32(0x22C)?) } else { 0x37FF_FFFF },
            cmdline_size: if since(0x206) { u64::from(f.u32(0x238)?) } else { 255 },
            pref_address: if since(0x20A) { f.u64(0x258)? } else { 0 },
            init_size: if since(0x20A) { u64::from(f.u32(0x260)?) } else { 0 },
        })
    }

    /// Where the protected-mode part goes.
    fn load_address(&self) -> u64 {
        if !self.loaded_high {
            return LOW_LOAD;
        }
        if !self.relocatable || self.pref_address < ONE_MIB {
            return ONE_MIB;
        }
        // A preferred address that is not aligned contradicts the header; the kernel would move.
        self.pref_address.checked_next_multiple_of(self.alignment).unwrap_or(self.pref_address)
    }
}

/// Plans the boot of a `bzImage`.
pub(crate) fn load(
    request: BootRequest,
    env: &mut Environment<'_>,
) -> Result<(String, EntryState), BootError> {
    let BootRequest { mut kernel, initrd, command_line, .. } = request;
    let header = SetupHeader::read(&kernel)?;
    let limit = usize::try_from(header.cmdline_size).unwrap_or(usize::MAX).min(super::MAX_COMMAND_LINE);
    check_command_line(&kernel.name, &command_line, limit)?;

    let mut page = ZeroPage::with_header(&kernel.bytes[SETUP_HEADER..header.header_end], env.tables);
    let system = kernel.bytes.split_off(header.setup_bytes as usize);
    let load_at = header.load_address();
    claim_kernel(&kernel.name, &header, load_at, system.len() as u64, env)?;
    env.layout.write(load_at, system);
    page.code32_start(load_at);

    if let Some(initrd) = initrd {
        let (start, bytes) = place_initrd(initrd, header.initrd_addr_max.saturating_add(1), env)?;
        page.initrd(start, bytes);
    }
    let entry = load_at + if header.entry_64 { ENTRY_64 } else { 0 };
    let state = enter_linux(&kernel.name, page, &command_line, entry, header.entry_64, env)?;
    let bits = if header.entry_64 { 64 } else { 32 };
    Ok((format!("{} (Linux bzImage, {bits}-bit entry)", kernel.name), state))
}

/// Takes the memory that the kernel stands in and unpacks itself into.
fn claim_kernel(
    file: &str,
    header: &SetupHeader,
    load_at: u64,
    system_bytes: u64,
    env: &mut Environment<'_>,
) -> Result<(), BootError> {
    // What the file says about itself must fit in 32-bit memory before it is added up.
    let too_far = |start| BootError::NoRamThere { file: file.into(), start, end: u64::MAX };
    let end = load_at.checked_add(system_bytes.max(header.init_size)).ok_or_else(|| too_far(load_at))?;
    env.layout.claim(file, load_at..end)?;
    if header.pref_address > load_at {
        // A kernel that cannot be relocated moves itself to its preferred address.
        let unpacked_end =
            header.pref_address.checked_add(header.init_size).ok_or_else(|| too_far(header.pref_address))?;
        env.layout.claim(file, end.min(unpacked_end)..unpacked_end)?;
    }
    Ok(())
}

/// Places the initrd as high as the kernel can reach, as boot loaders do, so that it is out of
/// the unpacking kernel's way; returns start and bytes.
pub(crate) fn place_initrd(
    initrd: BootFile,
    limit: u64,
    env: &mut Environment<'_>,
) -> Result<(u64, u64), BootError> {
    if is_bzimage(Fields(&initrd.bytes)) {
        return Err(BootError::Unusable {
            file: initrd.name,
            problem: "the initrd is a Linux kernel (bzImage)".into(),
            advice: "give it with --kernel, and a cpio archive with --initrd",
        });
    }
    let bytes = initrd.bytes.len() as u64;
    if bytes == 0 {
        return Err(BootError::Unusable {
            file: initrd.name,
            problem: "the initrd is empty".into(),
            advice: "give a cpio archive, compressed or not, or leave --initrd out",
        });
    }
    let start = env
        .layout
        .place_highest(bytes, 4096, ONE_MIB..limit)
        .ok_or_else(|| env.layout.no_room(&initrd.name, bytes, limit))?;
    env.layout.write(start, initrd.bytes);
    Ok((start, bytes))
}

/// Places zero page, command line, GDT and (for 64-bit entry) page tables, and gives the state
/// in which Linux is entered.
pub(crate) fn enter_linux(
    file: &str,
    mut page: ZeroPage,
    command_line: &str,
    entry: u64,
    entry_64: bool,
    env: &mut Environment<'_>,
) -> Result<EntryState, BootError> {
    let text = env.place_string(file, command_line)?;
    page.command_line(PhysAddr(text));
    let zero_page = env.layout.boot_data(file, 4096, page.into_bytes())?;
    let mut state = if entry_64 {
        // The tables hold their own address, so they are placed first and filled afterwards.
        let tables = env.layout.boot_data(file, 4096, vec![0; IDENTITY_TABLE_BYTES])?;
        env.layout.refill(identity_page_tables(tables));
        EntryState::long64(entry, tables)
    } else {
        EntryState::protected32(entry as u32, Selectors::LINUX)
    };
    state.gpr[RSI] = zero_page.0;
    env.place_gdt(file, state)
}
