//! Multiboot 1: a header anywhere in the file's first 8 KiB says how to load a kernel, and a
//! fixed structure tells it about memory, modules and the screen.
//!
//! The kernel is an ELF executable, or any file whose header gives load addresses (bit 16). It is
//! entered in 32-bit protected mode with 2BADB002h in EAX and the structure's address in EBX.
//! Left out: boot device, a.out symbols, drive and APM tables, BIOS configuration table, graphics modes (the
//! screen is in text mode, and the structure says so).
//!
//! Source: Multiboot Specification version 0.6.96.

use super::bytes::{Fields, Record};
use super::detect::not_a;
use super::entry::{EntryState, RAX, RBX};
use super::error::BootError;
use super::sections::SectionTable;
use super::{
    BOOT_LOADER_NAME, BootFile, BootRequest, Environment, KernelKind, MAX_COMMAND_LINE, PlacedModule,
    check_command_line, elf, sections,
};
use crate::tables::e820::EBDA_BASE;
use trimotor_bus::PhysAddr;

const HEADER_MAGIC: u32 = 0x1BAD_B002;
/// What EAX holds at entry.
const LOADER_MAGIC: u64 = 0x2BAD_B002;
const SEARCH_BYTES: usize = 8192;

/// Header flags.
const ADDRESSES_VALID: u32 = 1 << 16;
/// Flag bits that a loader must understand or refuse; 0 to 2 are understood.
const REQUIRED: u32 = 0xFFFF;
const UNDERSTOOD: u32 = 0b111;

/// Information structure flags.
mod info {
    pub const MEMORY: u32 = 1 << 0;
    pub const COMMAND_LINE: u32 = 1 << 2;
    pub const MODULES: u32 = 1 << 3;
    pub const ELF_SECTIONS: u32 = 1 << 5;
    pub const MEMORY_MAP: u32 = 1 << 6;
    pub const LOADER_NAME: u32 = 1 << 9;
    pub const FRAMEBUFFER: u32 = 1 << 12;
    /// Bytes up to and with the framebuffer fields.
    pub const BYTES: usize = 116;
}

/// How the header asks to be loaded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct LoadAddresses {
    /// File offset of the first byte to load.
    pub file_offset: u64,
    pub load: u64,
    /// 0: to the end of the file.
    pub load_end: u64,
    /// 0: no zeroed part.
    pub bss_end: u64,
    pub entry: u32,
}

/// A Multiboot 1 header found in a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Header {
    offset: usize,
    flags: u32,
}

/// Looks for the header: a dword-aligned magic whose checksum fits.
pub(crate) fn find_header(bytes: &[u8]) -> Option<Header> {
    let fields = Fields(&bytes[..bytes.len().min(SEARCH_BYTES)]);
    (0..SEARCH_BYTES).step_by(4).find_map(|offset| {
        if fields.u32(offset)? != HEADER_MAGIC {
            return None;
        }
        let (flags, checksum) = (fields.u32(offset + 4)?, fields.u32(offset + 8)?);
        let sum = HEADER_MAGIC.wrapping_add(flags).wrapping_add(checksum);
        (sum == 0).then_some(Header { offset, flags })
    })
}

/// Plans the boot of a Multiboot 1 kernel.
pub(crate) fn load(
    mut request: BootRequest,
    env: &mut Environment<'_>,
) -> Result<(String, EntryState), BootError> {
    let modules = request.take_modules();
    let header = find_header(&request.kernel.bytes).ok_or_else(|| {
        not_a(KernelKind::Multiboot1, "header 1BADB002h in its first 8192 bytes", &request.kernel)
    })?;
    let unknown = header.flags & REQUIRED & !UNDERSTOOD;
    if unknown != 0 {
        return Err(BootError::Unusable {
            file: request.kernel.name.clone(),
            problem: format!("its Multiboot header requires unknown features {unknown:#x}"),
            advice: "Multiboot 1 defines bits 0 to 2",
        });
    }
    check_command_line(&request.kernel.name, &request.command_line, MAX_COMMAND_LINE)?;
    let entry = if header.flags & ADDRESSES_VALID != 0 {
        let addresses = header_addresses(&request.kernel, header)?;
        place_addresses(&request.kernel, &addresses, env)?
    } else {
        place_elf(&request, KernelKind::Multiboot1, env)?
    };
    let BootRequest { kernel, command_line, .. } = request;
    let placed = env.place_modules(modules)?;
    // Sections are told of where the kernel was loaded as ELF.
    let sections = match header.flags & ADDRESSES_VALID {
        0 => sections::place(&kernel, &mut env.layout),
        _ => None,
    };
    let info = information(&kernel.name, &command_line, &placed, sections, env)?;
    let mut state = env.enter_protected(&kernel.name, entry)?;
    state.gpr[RAX] = LOADER_MAGIC;
    state.gpr[RBX] = info.0;
    Ok((format!("{} (Multiboot 1)", kernel.name), state))
}

fn header_addresses(kernel: &BootFile, header: Header) -> Result<LoadAddresses, BootError> {
    let fields = Fields(&kernel.bytes);
    let field = |n: usize| {
        fields.u32(header.offset + 12 + 4 * n).ok_or_else(|| BootError::Truncated {
            file: kernel.name.clone(),
            what: "its Multiboot header",
            needed: header.offset as u64 + 32,
            actual: kernel.bytes.len() as u64,
        })
    };
    let (header_addr, load) = (u64::from(field(0)?), u64::from(field(1)?));
    Ok(LoadAddresses {
        file_offset: (header.offset as u64 + load).checked_sub(header_addr).unwrap_or(u64::MAX),
        load,
        load_end: u64::from(field(2)?),
        bss_end: u64::from(field(3)?),
        entry: field(4)?,
    })
}

/// Loads a kernel by addresses that its header gives; the entry point is the answer.
pub(crate) fn place_addresses(
    kernel: &BootFile,
    a: &LoadAddresses,
    env: &mut Environment<'_>,
) -> Result<u32, BootError> {
    let bad = || BootError::Unusable {
        file: kernel.name.clone(),
        problem: "the load addresses in its Multiboot header contradict each other".into(),
        advice: "header, load, load end and bss end address must ascend",
    };
    let available = (kernel.bytes.len() as u64).checked_sub(a.file_offset).ok_or_else(bad)?;
    let load_bytes = match a.load_end {
        0 => available,
        end => end.checked_sub(a.load).ok_or_else(bad)?,
    };
    if load_bytes > available {
        return Err(BootError::Truncated {
            file: kernel.name.clone(),
            what: "what its Multiboot header says to load",
            needed: a.file_offset + load_bytes,
            actual: kernel.bytes.len() as u64,
        });
    }
    let load_end = a.load + load_bytes;
    let zero_bytes = match a.bss_end {
        0 => 0,
        end => end.checked_sub(load_end).ok_or_else(bad)?,
    };
    env.layout.claim(&kernel.name, a.load..load_end + zero_bytes)?;
    let bytes = Fields(&kernel.bytes).slice(a.file_offset, load_bytes).ok_or_else(bad)?;
    env.layout.write(a.load, bytes.to_vec());
    env.layout.zero(load_end, zero_bytes);
    Ok(a.entry)
}

/// Loads an ELF kernel; the physical entry point is the answer.
pub(crate) fn place_elf(
    request: &BootRequest,
    kind: KernelKind,
    env: &mut Environment<'_>,
) -> Result<u32, BootError> {
    let image = elf::parse_kernel(request, kind)?;
    let entry = image.physical_entry().and_then(|e| u32::try_from(e).ok());
    let entry = entry.ok_or_else(|| BootError::Unusable {
        file: request.kernel.name.clone(),
        problem: format!("its entry point {:#x} lies outside its segments", image.entry),
        advice: "link the kernel with an entry point below 4 GiB",
    })?;
    image.place(&request.kernel, &mut env.layout)?;
    Ok(entry)
}

/// `text` behind the name of the file that it belongs to. The specification does not ask for the name, but boot
/// loaders of the time put it there, and kernels (Xen, for one) drop the first word.
fn behind_name(file: &str, text: &str) -> String {
    let name = file.rsplit('/').next().unwrap_or(file);
    if text.is_empty() || text == file { name.to_owned() } else { format!("{name} {text}") }
}

/// The information structure with what it points to.
fn information(
    file: &str,
    command_line: &str,
    modules: &[PlacedModule],
    sections: Option<SectionTable>,
    env: &mut Environment<'_>,
) -> Result<PhysAddr, BootError> {
    let mut list = Record::new(modules.len() * 16);
    for (i, module) in modules.iter().enumerate() {
        list.u32(i * 16, module.start as u32);
        list.u32(i * 16 + 4, module.end as u32);
        let string = behind_name(&module.file, &module.string);
        list.u32(i * 16 + 8, env.place_string(file, &string)? as u32);
    }
    // Each map entry is preceded by its own size, which does not count itself.
    let map: Vec<u8> = env
        .memory()
        .entries()
        .iter()
        .flat_map(|e| [&20u32.to_le_bytes()[..], &e.to_bytes()[..]].concat())
        .collect();
    let mut r = Record::new(info::BYTES);
    let mut flags = info::MEMORY
        | info::COMMAND_LINE
        | info::MODULES
        | info::MEMORY_MAP
        | info::LOADER_NAME
        | info::FRAMEBUFFER;
    if let Some(table) = sections {
        flags |= info::ELF_SECTIONS;
        r.u32(28, table.count);
        r.u32(32, table.entry_bytes);
        r.u32(36, env.layout.boot_data(file, 16, table.headers)?.0 as u32);
        r.u32(40, table.names);
    }
    r.u32(0, flags);
    r.u32(4, (EBDA_BASE >> 10) as u32);
    r.u32(8, env.memory().upper_kib() as u32);
    r.u32(16, env.place_string(file, &behind_name(file, command_line))? as u32);
    r.u32(20, modules.len() as u32);
    r.u32(24, env.layout.boot_data(file, 4, list.0)?.0 as u32);
    r.u32(44, map.len() as u32);
    r.u32(48, env.layout.boot_data(file, 4, map)?.0 as u32);
    r.u32(64, env.place_string(file, BOOT_LOADER_NAME)? as u32);
    r.put(88, &text_framebuffer());
    env.layout.boot_data(file, 8, r.0)
}

/// Address, pitch, width, height, bits and type of the VGA text screen, as both Multiboot
/// versions lay them out.
pub(crate) fn text_framebuffer() -> [u8; 22] {
    const EGA_TEXT: u8 = 2;
    let mut r = Record::new(22);
    r.u64(0, 0xB_8000);
    r.u32(8, 160);
    r.u32(12, 80);
    r.u32(16, 25);
    r.u8(20, 16);
    r.u8(21, EGA_TEXT);
    let mut bytes = [0; 22];
    bytes.copy_from_slice(&r.0);
    bytes
}
