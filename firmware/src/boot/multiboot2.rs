//! Multiboot 2: the header is a list of tags, and so is what the kernel is told.
//!
//! A kernel is entered in 32-bit protected mode with 36D76289h in EAX and the address of the tag
//! list in EBX. Left out: EFI tags and entry points (there is no EFI), graphics modes, relocation
//! (a kernel that offers it is loaded where it is linked), APM, network and SMBIOS tags.
//!
//! Source: Multiboot2 Specification version 2.0.

use super::bytes::{Fields, Record};
use super::detect::not_a;
use super::entry::{EntryState, RAX, RBX};
use super::error::BootError;
use super::multiboot1::{LoadAddresses, place_addresses, place_elf, text_framebuffer};
use super::sections::SectionTable;
use super::{
    BOOT_LOADER_NAME, BootFile, BootRequest, Environment, KernelKind, MAX_COMMAND_LINE, PlacedModule,
    check_command_line, sections,
};
use crate::tables::e820::EBDA_BASE;

const HEADER_MAGIC: u32 = 0xE852_50D6;
/// What EAX holds at entry.
const LOADER_MAGIC: u64 = 0x36D7_6289;
const SEARCH_BYTES: usize = 32768;
const ARCHITECTURE_I386: u32 = 0;

/// Header tag types.
mod header_tag {
    pub const END: u16 = 0;
    pub const INFORMATION_REQUEST: u16 = 1;
    pub const ADDRESS: u16 = 2;
    pub const ENTRY: u16 = 3;
    pub const CONSOLE: u16 = 4;
    pub const FRAMEBUFFER: u16 = 5;
    pub const MODULE_ALIGN: u16 = 6;
    pub const EFI_BOOT_SERVICES: u16 = 7;
    pub const EFI_ENTRY_I386: u16 = 8;
    pub const EFI_ENTRY_AMD64: u16 = 9;
    pub const RELOCATABLE: u16 = 10;
    /// Tag flag: the loader may ignore the tag.
    pub const OPTIONAL: u16 = 1;
}

/// Information tag types.
mod info_tag {
    pub const END: u32 = 0;
    pub const COMMAND_LINE: u32 = 1;
    pub const LOADER_NAME: u32 = 2;
    pub const MODULE: u32 = 3;
    pub const MEMORY: u32 = 4;
    pub const MEMORY_MAP: u32 = 6;
    pub const FRAMEBUFFER: u32 = 8;
    pub const ELF_SECTIONS: u32 = 9;
    pub const ACPI_OLD: u32 = 14;
    pub const ACPI_NEW: u32 = 15;
    pub const LOAD_BASE: u32 = 21;
    /// Types that this loader gives.
    pub const GIVEN: [u32; 10] = [
        COMMAND_LINE,
        LOADER_NAME,
        MODULE,
        MEMORY,
        MEMORY_MAP,
        FRAMEBUFFER,
        ELF_SECTIONS,
        ACPI_OLD,
        ACPI_NEW,
        LOAD_BASE,
    ];
}

/// A Multiboot 2 header found in a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Header {
    offset: usize,
    bytes: usize,
}

/// Looks for the header: a qword-aligned magic whose checksum fits. The header with all its tags
/// must be in the part of the file that is searched (section "The layout of Multiboot2 header").
pub(crate) fn find_header(bytes: &[u8]) -> Option<Header> {
    let fields = Fields(&bytes[..bytes.len().min(SEARCH_BYTES)]);
    (0..SEARCH_BYTES).step_by(8).find_map(|offset| {
        if fields.u32(offset)? != HEADER_MAGIC {
            return None;
        }
        let (architecture, length) = (fields.u32(offset + 4)?, fields.u32(offset + 8)?);
        let sum = HEADER_MAGIC.wrapping_add(architecture).wrapping_add(length);
        let is_ours = architecture == ARCHITECTURE_I386 && length as usize <= SEARCH_BYTES - offset;
        (is_ours && sum.wrapping_add(fields.u32(offset + 12)?) == 0)
            .then_some(Header { offset, bytes: length as usize })
    })
}

/// What the header's tags ask for.
#[derive(Clone, Copy, Debug, Default)]
struct Wishes {
    addresses: Option<LoadAddresses>,
    entry: Option<u32>,
    relocatable: bool,
}

fn unusable(kernel: &BootFile, problem: String) -> BootError {
    BootError::Unusable {
        file: kernel.name.clone(),
        problem,
        advice: "see the Multiboot2 Specification, section \"OS image format\"",
    }
}

fn read_tags(kernel: &BootFile, header: Header) -> Result<Wishes, BootError> {
    let fields = Fields(&kernel.bytes);
    let end = header.offset.saturating_add(header.bytes);
    let mut wishes = Wishes::default();
    let mut at = header.offset + 16;
    while at + 8 <= end {
        let tag = (fields.u16(at), fields.u16(at + 2), fields.u32(at + 4));
        let (Some(kind), Some(flags), Some(size)) = tag else { break };
        if kind == header_tag::END {
            return Ok(wishes);
        }
        if size < 8 {
            break;
        }
        read_tag(kernel, header, at, (kind, flags, size as usize), &mut wishes)?;
        at = at.saturating_add(size as usize).saturating_add(7) & !7;
    }
    Err(unusable(kernel, "its Multiboot 2 header tags do not end".into()))
}

fn read_tag(
    kernel: &BootFile,
    header: Header,
    at: usize,
    (kind, flags, size): (u16, u16, usize),
    wishes: &mut Wishes,
) -> Result<(), BootError> {
    let fields = Fields(&kernel.bytes);
    let dword = |n: usize| {
        (8 + 4 * n + 4 <= size)
            .then(|| fields.u32(at + 8 + 4 * n))
            .flatten()
            .ok_or_else(|| unusable(kernel, format!("its Multiboot 2 header tag {kind} is too short")))
    };
    let required = flags & header_tag::OPTIONAL == 0;
    match kind {
        header_tag::INFORMATION_REQUEST => {
            for n in 0..(size - 8) / 4 {
                let wanted = dword(n)?;
                if required && !info_tag::GIVEN.contains(&wanted) {
                    return Err(unusable(
                        kernel,
                        format!("it requires Multiboot 2 information {wanted}, which this PC cannot give"),
                    ));
                }
            }
        }
        header_tag::ADDRESS => {
            let (header_addr, load) = (u64::from(dword(0)?), u64::from(dword(1)?));
            wishes.addresses = Some(LoadAddresses {
                file_offset: (header.offset as u64 + load).checked_sub(header_addr).unwrap_or(u64::MAX),
                load,
                load_end: u64::from(dword(2)?),
                bss_end: u64::from(dword(3)?),
                entry: 0,
            });
        }
        header_tag::ENTRY => wishes.entry = Some(dword(0)?),
        header_tag::RELOCATABLE => wishes.relocatable = true,
        // Text mode is there, modules stand on page borders, EFI tags matter under EFI only.
        header_tag::CONSOLE | header_tag::FRAMEBUFFER | header_tag::MODULE_ALIGN => {}
        header_tag::EFI_BOOT_SERVICES | header_tag::EFI_ENTRY_I386 | header_tag::EFI_ENTRY_AMD64 => {}
        _ if required => {
            return Err(unusable(kernel, format!("it requires the unknown Multiboot 2 feature {kind}")));
        }
        _ => {}
    }
    Ok(())
}

/// Plans the boot of a Multiboot 2 kernel.
pub(crate) fn load(
    mut request: BootRequest,
    env: &mut Environment<'_>,
) -> Result<(String, EntryState), BootError> {
    let modules = request.take_modules();
    let header = find_header(&request.kernel.bytes).ok_or_else(|| {
        not_a(KernelKind::Multiboot2, "header E85250D6h in its first 32768 bytes", &request.kernel)
    })?;
    let wishes = read_tags(&request.kernel, header)?;
    check_command_line(&request.kernel.name, &request.command_line, MAX_COMMAND_LINE)?;
    let entry = match wishes.addresses {
        Some(addresses) => {
            place_addresses(&request.kernel, &addresses, env)?;
            wishes
                .entry
                .ok_or_else(|| unusable(&request.kernel, "it has an address tag but no entry tag".into()))?
        }
        None => {
            let entry = place_elf(&request, KernelKind::Multiboot2, env)?;
            wishes.entry.unwrap_or(entry)
        }
    };
    let BootRequest { kernel, command_line, .. } = request;
    let placed = env.place_modules(modules)?;
    let sections = sections::place(&kernel, &mut env.layout);
    let list = tag_list(&command_line, &placed, sections.as_ref(), wishes.relocatable, env);
    let info = env.layout.boot_data(&kernel.name, 8, list)?;
    let mut state = env.enter_protected(&kernel.name, entry)?;
    state.gpr[RAX] = LOADER_MAGIC;
    state.gpr[RBX] = info.0;
    Ok((format!("{} (Multiboot 2)", kernel.name), state))
}

/// The whole information structure: total size, reserved, tags on 8-byte borders.
fn tag_list(
    command_line: &str,
    modules: &[PlacedModule],
    sections: Option<&SectionTable>,
    relocatable: bool,
    env: &Environment<'_>,
) -> Vec<u8> {
    let mut list = TagList(vec![0; 8]);
    let z = |s: &str| [s.as_bytes(), b"\0"].concat();
    list.tag(info_tag::COMMAND_LINE, &z(command_line));
    list.tag(info_tag::LOADER_NAME, &z(BOOT_LOADER_NAME));
    for module in modules {
        let mut r = Record::new(8);
        r.u32(0, module.start as u32);
        r.u32(4, module.end as u32);
        list.tag(info_tag::MODULE, &[r.0, z(&module.string)].concat());
    }
    let mut r = Record::new(8);
    r.u32(0, (EBDA_BASE >> 10) as u32);
    r.u32(4, env.memory().upper_kib() as u32);
    list.tag(info_tag::MEMORY, &r.0);
    // Entry size and version, then entries of 24 bytes.
    let mut map = vec![24, 0, 0, 0, 0, 0, 0, 0];
    for entry in env.memory().entries() {
        map.extend_from_slice(&entry.to_bytes());
        map.extend_from_slice(&[0; 4]);
    }
    list.tag(info_tag::MEMORY_MAP, &map);
    list.tag(info_tag::FRAMEBUFFER, &[&text_framebuffer()[..], &[0, 0]].concat());
    if let Some(table) = sections {
        let mut r = Record::new(12);
        r.u32(0, table.count);
        r.u32(4, table.entry_bytes);
        r.u32(8, table.names);
        list.tag(info_tag::ELF_SECTIONS, &[r.0, table.headers.clone()].concat());
    }
    list.tag(info_tag::ACPI_OLD, &env.tables.rsdp_bytes[..20]);
    list.tag(info_tag::ACPI_NEW, &env.tables.rsdp_bytes);
    if relocatable {
        let base = env.layout.writes.first().map_or(0, |w| w.addr.0 as u32);
        list.tag(info_tag::LOAD_BASE, &base.to_le_bytes());
    }
    list.tag(info_tag::END, &[]);
    let total = list.0.len() as u32;
    list.0[..4].copy_from_slice(&total.to_le_bytes());
    list.0
}

struct TagList(Vec<u8>);

impl TagList {
    fn tag(&mut self, kind: u32, content: &[u8]) {
        self.0.extend_from_slice(&kind.to_le_bytes());
        self.0.extend_from_slice(&(content.len() as u32 + 8).to_le_bytes());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(8), 0);
    }
}
