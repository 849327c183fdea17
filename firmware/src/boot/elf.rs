//! ELF executables as boot loaders see them: program headers, the entry point and notes.
//!
//! Only headers are parsed (with goblin); symbol tables and dynamic linking do not matter here.
//!
//! Source: System V ABI, "Object Files"; Xen's public header `elfnote.h` for the notes.

use super::bytes::{Fields, work};
use super::detect::{KernelKind, not_a};
use super::error::BootError;
use super::foreign::{self, Foreign};
use super::layout::Layout;
use super::{BootFile, BootRequest};
use goblin::container::{Container, Ctx, Endian};
use goblin::elf::Elf;
use goblin::elf::header::{EM_386, EM_X86_64, ET_EXEC};
use goblin::elf::program_header::{PT_INTERP, PT_LOAD, PT_NOTE, ProgramHeader};
use std::ops::Range;

/// The most program headers that a kernel may have: real ones have fewer than 20.
const MAX_PROGRAM_HEADERS: usize = 256;
/// The most that all notes of a kernel together may have: real ones have some hundred bytes.
const MAX_NOTE_BYTES: u64 = 64 << 10;
/// The longest name of an operating system that is kept.
const MAX_NAME_BYTES: usize = 64;
/// Xen note type: entry point in 32-bit protected mode without paging.
const XEN_ELFNOTE_PHYS32_ENTRY: u32 = 18;
/// Xen note type: the operating system's name.
const XEN_ELFNOTE_GUEST_OS: u32 = 6;

/// A part of the file that belongs in memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment {
    /// Physical address.
    pub physical: u64,
    /// Virtual address.
    pub linear: u64,
    /// Offset in the file.
    pub offset: u64,
    /// Bytes in the file.
    pub file_bytes: u64,
    /// Bytes in memory; what the file does not fill is zero.
    pub memory_bytes: u64,
}

impl Segment {
    fn physical_range(&self) -> Range<u64> {
        self.physical..self.physical.saturating_add(self.memory_bytes)
    }
}

/// What a loader needs to know of an ELF executable.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Image {
    /// 64-bit code (`EM_X86_64`).
    pub is_64: bool,
    /// The entry point as the header gives it.
    pub entry: u64,
    /// Loadable segments, not empty, at least one.
    pub segments: Vec<Segment>,
    /// The PVH entry point, from its note.
    pub pvh_entry: Option<u32>,
    /// The operating system's name, from its Xen note.
    pub guest_os: Option<String>,
}

const ADVICE: &str = "give a kernel that is linked as an executable for x86 or x86-64";

fn unusable(file: &BootFile, problem: String) -> BootError {
    BootError::Unusable { file: file.name.clone(), problem, advice: ADVICE }
}

/// Reads an ELF executable's headers and checks that its segments lie within the file.
///
/// # Errors
/// Truncated files, other machines, files that are no executables.
pub fn parse(file: &BootFile) -> Result<Image, BootError> {
    let bytes = &file.bytes;
    let actual = bytes.len() as u64;
    let truncated = |what, needed| BootError::Truncated { file: file.name.clone(), what, needed, actual };
    let ehdr_bytes = if Fields(bytes).u8(4) == Some(1) { 52 } else { 64 };
    if actual < ehdr_bytes {
        return Err(truncated("its ELF header", ehdr_bytes));
    }
    let header =
        Elf::parse_header(bytes).map_err(|e| unusable(file, format!("its ELF header is bad ({e})")))?;
    let is_64 = header.e_machine == EM_X86_64;
    if !(is_64 || header.e_machine == EM_386) || bytes[5] != 1 {
        return Err(BootError::Foreign {
            file: file.name.clone(),
            looks_like: format!("an ELF file for {}", goblin::elf::header::machine_to_str(header.e_machine)),
            advice: ADVICE,
        });
    }
    if header.e_type != ET_EXEC && header.e_type != goblin::elf::header::ET_DYN {
        let Foreign { looks_like, advice } = foreign::elf_object(bytes);
        return Err(BootError::Foreign { file: file.name.clone(), looks_like, advice });
    }
    let count = usize::from(header.e_phnum);
    if count == 0 || count > MAX_PROGRAM_HEADERS {
        return Err(unusable(file, format!("it has {count} program headers")));
    }
    let ctx = context(bytes);
    let table_end = header.e_phoff.saturating_add(count as u64 * ProgramHeader::size(ctx) as u64);
    if table_end > actual {
        return Err(truncated("its program headers", table_end));
    }
    let headers = ProgramHeader::parse(bytes, header.e_phoff as usize, count, ctx)
        .map_err(|e| unusable(file, format!("its program headers are bad ({e})")))?;
    if headers.iter().any(|p| p.p_type == PT_INTERP) {
        return Err(BootError::Foreign {
            file: file.name.clone(),
            looks_like: "a program for an operating system (it asks for a dynamic linker)".into(),
            advice: ADVICE,
        });
    }
    let segments = load_segments(file, &headers)?;
    let mut image = Image { is_64, entry: header.e_entry, segments, pvh_entry: None, guest_os: None };
    // Many headers may lead to the same notes.
    let mut left = MAX_NOTE_BYTES;
    for note in headers.iter().filter(|p| p.p_type == PT_NOTE) {
        let Some(rest) = left.checked_sub(note.p_filesz) else { continue };
        left = rest;
        if let Some(notes) = Fields(bytes).slice(note.p_offset, note.p_filesz) {
            image.read_notes(notes, note.p_align);
        }
    }
    Ok(image)
}

/// The file's class; the caller has checked that it is little-endian and long enough.
pub(crate) fn context(bytes: &[u8]) -> Ctx {
    let container = if bytes[4] == 1 { Container::Little } else { Container::Big };
    Ctx::new(container, Endian::Little)
}

fn load_segments(file: &BootFile, headers: &[ProgramHeader]) -> Result<Vec<Segment>, BootError> {
    let mut segments = Vec::new();
    for p in headers.iter().filter(|p| p.p_type == PT_LOAD && p.p_memsz > 0) {
        let end = p.p_offset.saturating_add(p.p_filesz);
        if end > file.bytes.len() as u64 {
            return Err(BootError::Truncated {
                file: file.name.clone(),
                what: "a program segment",
                needed: end,
                actual: file.bytes.len() as u64,
            });
        }
        if p.p_filesz > p.p_memsz || p.p_paddr.checked_add(p.p_memsz).is_none() {
            return Err(unusable(file, format!("its program segment at {:#x} is bad", p.p_paddr)));
        }
        segments.push(Segment {
            physical: p.p_paddr,
            linear: p.p_vaddr,
            offset: p.p_offset,
            file_bytes: p.p_filesz,
            memory_bytes: p.p_memsz,
        });
    }
    // Copies are made of what segments refer to, so the same bytes must not count again and again.
    let total: u64 = segments.iter().map(|s: &Segment| s.file_bytes).sum();
    if total > 2 * file.bytes.len() as u64 {
        return Err(unusable(file, "its program segments are larger than the file".into()));
    }
    if segments.is_empty() {
        return Err(unusable(file, "it has no program segment to load".into()));
    }
    Ok(segments)
}

impl Image {
    /// Notes are (name size, descriptor size, type, name, descriptor), each part padded to 4
    /// bytes (to 8 where the segment is aligned so).
    fn read_notes(&mut self, notes: &[u8], align: u64) {
        let align = if align == 8 { 8 } else { 4 };
        let fields = Fields(notes);
        let mut at: u64 = 0;
        while let (Some(name_bytes), Some(desc_bytes), Some(kind)) =
            (fields.u32(at as usize), fields.u32(at as usize + 4), fields.u32(at as usize + 8))
        {
            let name_at = at + 12;
            let desc_at = (name_at + u64::from(name_bytes)).next_multiple_of(align);
            let (Some(name), Some(desc)) =
                (fields.slice(name_at, name_bytes.into()), fields.slice(desc_at, desc_bytes.into()))
            else {
                return;
            };
            if name == b"Xen\0" {
                match kind {
                    XEN_ELFNOTE_PHYS32_ENTRY => self.pvh_entry = Fields(desc).u32(0),
                    XEN_ELFNOTE_GUEST_OS => {
                        let text = String::from_utf8_lossy(&desc[..desc.len().min(MAX_NAME_BYTES)]);
                        self.guest_os = Some(text.trim_end_matches('\0').to_owned());
                    }
                    _ => {}
                }
            }
            at = (desc_at + u64::from(desc_bytes)).next_multiple_of(align);
        }
    }

    /// Whether this is a Linux kernel: its notes or its banner say so.
    pub fn is_linux(&self, bytes: &[u8]) -> bool {
        const BANNER: &[u8] = b"Linux version ";
        work(bytes.len() as u64);
        self.guest_os.as_deref() == Some("linux") || bytes.windows(BANNER.len()).any(|w| w == BANNER)
    }

    /// The entry point as a physical address: some kernels give the linear one.
    pub fn physical_entry(&self) -> Option<u64> {
        let within = |start: u64, s: &Segment| self.entry >= start && self.entry - start < s.memory_bytes;
        if self.segments.iter().any(|s| within(s.physical, s)) {
            return Some(self.entry);
        }
        let segment = self.segments.iter().find(|s| within(s.linear, s))?;
        Some(self.entry - segment.linear + segment.physical)
    }

    /// The physical addresses from the first to the last segment.
    pub fn extent(&self) -> Range<u64> {
        let start = self.segments.iter().map(|s| s.physical).min().unwrap_or(0);
        let end = self.segments.iter().map(|s| s.physical_range().end).max().unwrap_or(0);
        start..end
    }

    /// Claims memory for the segments and fills it.
    ///
    /// # Errors
    /// Where no RAM is, or too little.
    pub(crate) fn place(&self, file: &BootFile, layout: &mut Layout) -> Result<(), BootError> {
        let mut ranges: Vec<_> = self.segments.iter().map(Segment::physical_range).collect();
        ranges.sort_by_key(|r| r.start);
        if let Some(pair) = ranges.windows(2).find(|w| w[0].end > w[1].start) {
            return Err(unusable(file, format!("two of its program segments cover {:#x}", pair[1].start)));
        }
        for range in ranges {
            layout.claim(&file.name, range)?;
        }
        for s in &self.segments {
            let bytes = Fields(&file.bytes).slice(s.offset, s.file_bytes).unwrap_or_default();
            layout.write(s.physical, bytes.to_vec());
            layout.zero(s.physical + s.file_bytes, s.memory_bytes - s.file_bytes);
        }
        Ok(())
    }
}

/// The kernel file of a request, which is to be of this kind, as ELF.
pub(crate) fn parse_kernel(request: &BootRequest, kind: KernelKind) -> Result<Image, BootError> {
    if !request.kernel.bytes.starts_with(b"\x7FELF") {
        return Err(not_a(kind, "ELF header", &request.kernel));
    }
    parse(&request.kernel)
}
