//! An ELF kernel's section headers, for kernels that print names in their own back traces.
//!
//! Boot loaders hand the section header table on (Multiboot 1 in the information structure,
//! Multiboot 2 as a tag). Sections that belong to no segment, such as symbols and strings, are put
//! into memory first, and their headers say where.
//!
//! Source: System V ABI, "Sections"; Multiboot Specification version 0.6.96, "Boot information format".

use super::BootFile;
use super::bytes::{Fields, work};
use super::elf::context;
use super::layout::Layout;
use goblin::elf::section_header::{SHT_NOBITS, SHT_NULL};
use goblin::elf::{Elf, SectionHeader};
use trimotor_bus::memory::LOW_RAM_LIMIT;

/// The most section headers that are passed on: kernels have fewer than 100.
const MAX_HEADERS: usize = 16384;
/// Sections are aligned so in memory; what they hold (symbols, strings) asks for 8.
const ALIGN: usize = 16;

/// A section header table whose addresses are those in guest memory.
pub(crate) struct SectionTable {
    /// Headers in the table.
    pub count: u32,
    /// Bytes of a header.
    pub entry_bytes: u32,
    /// Which of them names the sections.
    pub names: u32,
    /// The headers.
    pub headers: Vec<u8>,
}

/// Puts the sections of `kernel` that have no address yet into memory; `None` where the file is
/// no ELF file or has no usable section header table.
pub(crate) fn place(kernel: &BootFile, layout: &mut Layout) -> Option<SectionTable> {
    let (mut headers, names) = read(&kernel.bytes)?;
    // All of them together in one place. Sections that overlap in the file could fill all memory.
    let mut block = Vec::new();
    let mut placed = Vec::new();
    for (index, s) in headers.iter().enumerate() {
        let is_loose = s.sh_addr == 0 && s.sh_size > 0 && !matches!(s.sh_type, SHT_NULL | SHT_NOBITS);
        let room = (kernel.bytes.len() as u64).saturating_sub(block.len() as u64);
        if !is_loose || s.sh_size > room {
            continue;
        }
        if let Some(bytes) = Fields(&kernel.bytes).slice(s.sh_offset, s.sh_size) {
            placed.push((index, block.len() as u64));
            block.extend_from_slice(bytes);
            block.resize(block.len().next_multiple_of(ALIGN), 0);
        }
    }
    if let Some(at) = layout.place_module(block.len() as u64, LOW_RAM_LIMIT) {
        placed.iter().for_each(|&(index, offset)| headers[index].sh_addr = at + offset);
        layout.write(at, block);
    }
    let is_64 = kernel.bytes.get(4) == Some(&2);
    Some(SectionTable {
        count: headers.len() as u32,
        entry_bytes: if is_64 { 64 } else { 40 },
        names,
        headers: headers.iter().flat_map(|s| header_bytes(s, is_64)).collect(),
    })
}

/// The section headers, at least one, and which of them names the sections.
fn read(bytes: &[u8]) -> Option<(Vec<SectionHeader>, u32)> {
    let header = Elf::parse_header(bytes).ok()?;
    let (offset, count) = (usize::try_from(header.e_shoff).ok()?, usize::from(header.e_shnum));
    let ctx = context(bytes);
    let size = count.checked_mul(SectionHeader::size(ctx))?;
    if count == 0 || count > MAX_HEADERS || offset == 0 || offset.checked_add(size)? > bytes.len() {
        return None;
    }
    work(size as u64);
    let headers = SectionHeader::parse(bytes, offset, count, ctx).ok()?;
    Some((headers, u32::from(header.e_shstrndx)))
}

/// A header as it stands in the table.
fn header_bytes(s: &SectionHeader, is_64: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    out.extend_from_slice(&(s.sh_name as u32).to_le_bytes());
    out.extend_from_slice(&s.sh_type.to_le_bytes());
    let natural = |out: &mut Vec<u8>, value: u64| {
        let bytes = value.to_le_bytes();
        out.extend_from_slice(if is_64 { &bytes } else { &bytes[..4] });
    };
    for word in [s.sh_flags, s.sh_addr, s.sh_offset, s.sh_size] {
        natural(&mut out, word);
    }
    out.extend_from_slice(&s.sh_link.to_le_bytes());
    out.extend_from_slice(&s.sh_info.to_le_bytes());
    natural(&mut out, s.sh_addralign);
    natural(&mut out, s.sh_entsize);
    out
}
