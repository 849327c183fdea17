//! Direct boot: starting a kernel file without firmware code.
//!
//! A boot loader reads a kernel, puts it where it wants to stand, describes the machine to it in
//! the structures of some protocol, and jumps to it in a prescribed processor state. This module
//! does the same before the first instruction runs. Five protocols are understood:
//!
//! | kind | recognised by | entry | told where things are by |
//! |---|---|---|---|
//! | Linux `bzImage` ([`bzimage`]) | `HdrS` at 202h | 64-bit at +200h, else 32-bit | zero page in RSI/ESI |
//! | Linux `vmlinux` ([`vmlinux`]) | ELF | 64-bit or 32-bit | zero page in RSI/ESI |
//! | PVH ([`pvh`]) | ELF note 18 of `Xen` | 32-bit | `hvm_start_info` in EBX |
//! | Multiboot 1 ([`multiboot1`]) | 1BADB002h | 32-bit | information structure in EBX |
//! | Multiboot 2 ([`multiboot2`]) | E85250D6h | 32-bit | tag list in EBX |
//! | flat ([`flat`]) | asked for by name | real mode at 0000:7C00h | nothing |
//!
//! Left out: unpacking a `bzImage` payload in the host (the kernel unpacks itself), `zImage`
//! kernels before boot protocol 2.02, EFI entry points.
//!
//! Guest files are hostile: each field is checked before it is used, sizes are bounded by the
//! file's or the memory's size, and [`BootError`] names the file and what would work.

pub(crate) mod bytes;
pub mod bzimage;
pub mod detect;
pub mod elf;
pub mod entry;
pub mod error;
pub mod flat;
mod foreign;
pub mod layout;
pub mod multiboot1;
pub mod multiboot2;
pub mod plan;
pub mod pvh;
mod sections;
#[cfg(test)]
mod tests;
pub mod vmlinux;
pub mod zero_page;

pub use detect::{KernelKind, detect};
pub use entry::{EntryMode, EntrySegment, EntryState, EntryTable, Selectors};
pub use error::{BootError, Bytes};
pub use plan::{ApplyError, BootPlan, Content, MemoryWrite};

use crate::tables::{FirmwareTables, MemoryMap, Platform};
use layout::Layout;

/// The stack of kernels that have none of their own yet.
const STACK_BYTES: usize = 16 << 10;

/// The name that the loader gives for itself to kernels that ask.
pub const BOOT_LOADER_NAME: &str = "Trimotor";

/// A guest file, read whole by the caller.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BootFile {
    /// The name for messages: the path as the person gave it.
    pub name: String,
    /// The content.
    pub bytes: Vec<u8>,
}

/// A file to hand to the kernel, with its own command line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BootModule {
    /// The file.
    pub file: BootFile,
    /// Its command line; where empty, the file's name stands for it.
    pub command_line: String,
}

impl BootModule {
    fn string(&self) -> &str {
        if self.command_line.is_empty() { &self.file.name } else { &self.command_line }
    }
}

/// What to boot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BootRequest {
    /// The kernel.
    pub kernel: BootFile,
    /// The kind of kernel, where the person says it; otherwise it is detected.
    pub kind: Option<KernelKind>,
    /// Linux's initial RAM disk; other kernels receive it as their first module.
    pub initrd: Option<BootFile>,
    /// Modules in order, for PVH and Multiboot kernels.
    pub modules: Vec<BootModule>,
    /// The kernel's command line.
    pub command_line: String,
}

impl BootRequest {
    /// A request for `kernel` alone.
    pub fn new(kernel: BootFile) -> Self {
        Self { kernel, kind: None, initrd: None, modules: Vec::new(), command_line: String::new() }
    }
    /// The initrd and the modules, in the order in which a kernel sees them.
    fn take_modules(&mut self) -> Vec<BootModule> {
        let initrd = self.initrd.take().map(|file| BootModule { file, command_line: String::new() });
        initrd.into_iter().chain(std::mem::take(&mut self.modules)).collect()
    }
}

/// Plans a direct boot on `platform`; the plan holds the firmware tables too.
///
/// # Errors
/// [`BootError`] names the file that is wrong and what would work.
pub fn load(mut request: BootRequest, platform: &Platform) -> Result<BootPlan, BootError> {
    check_command_lines(&request)?;
    let kind = match request.kind {
        Some(kind) => kind,
        None => detect(&request.kernel)?,
    };
    if matches!(kind, KernelKind::BzImage | KernelKind::Vmlinux | KernelKind::Flat)
        && !request.modules.is_empty()
    {
        let file = request.kernel.name.clone();
        // One module and no initrd is clear enough.
        if request.initrd.is_some() || request.modules.len() > 1 {
            return Err(BootError::NoModules { file, kind: kind.describe() });
        }
        request.initrd = request.modules.pop().map(|m| m.file);
    }
    let tables = FirmwareTables::build(platform);
    let mut layout = Layout::new(&platform.memory);
    if matches!(kind, KernelKind::Pvh | KernelKind::Multiboot1 | KernelKind::Multiboot2) {
        layout.keep_boot_data_low();
    }
    let mut environment = Environment { layout, tables: &tables };
    let (how, entry) = match kind {
        KernelKind::BzImage => bzimage::load(request, &mut environment)?,
        KernelKind::Vmlinux => vmlinux::load(request, &mut environment)?,
        KernelKind::Pvh => pvh::load(request, &mut environment)?,
        KernelKind::Multiboot1 => multiboot1::load(request, &mut environment)?,
        KernelKind::Multiboot2 => multiboot2::load(request, &mut environment)?,
        KernelKind::Flat => flat::load(request, &mut environment)?,
    };
    let mut writes = tables.writes.clone();
    writes.append(&mut environment.layout.writes);
    Ok(BootPlan { name: how, writes, entry: Some(entry) })
}

/// What the loaders share: the guest's memory so far and the firmware tables.
pub(crate) struct Environment<'a> {
    pub layout: Layout,
    pub tables: &'a FirmwareTables,
}

impl Environment<'_> {
    fn memory(&self) -> &MemoryMap {
        &self.tables.memory
    }
    /// Writes the GDT for `entry`'s segments and points GDTR at it.
    fn place_gdt(&mut self, file: &str, mut entry: EntryState) -> Result<EntryState, BootError> {
        entry.gdtr.base = self.layout.boot_data(file, 16, entry.gdt_bytes())?.0;
        Ok(entry)
    }
    /// The state for kernels of Multiboot and PVH: 32-bit protected mode, flat segments, and a
    /// stack. The protocols promise no stack, but small kernels call their first function on the
    /// one that they find.
    fn enter_protected(&mut self, file: &str, entry: u32) -> Result<EntryState, BootError> {
        let mut state = EntryState::protected32(entry, Selectors::FIRST);
        let stack = self.layout.boot_data(file, 16, vec![0; STACK_BYTES])?;
        state.gpr[entry::RSP] = stack.0 + STACK_BYTES as u64;
        self.place_gdt(file, state)
    }
    /// A NUL-terminated string in low memory.
    fn place_string(&mut self, file: &str, text: &str) -> Result<u64, BootError> {
        Ok(self.layout.boot_data(file, 16, [text.as_bytes(), b"\0"].concat())?.0)
    }
    /// Places modules on page borders above the kernel; returns start and end of each.
    fn place_modules(&mut self, modules: Vec<BootModule>) -> Result<Vec<PlacedModule>, BootError> {
        const LIMIT: u64 = trimotor_bus::memory::LOW_RAM_LIMIT;
        let mut placed = Vec::with_capacity(modules.len());
        for module in modules {
            let string = module.string().to_owned();
            let BootFile { name, bytes } = module.file;
            let size = bytes.len() as u64;
            let start = self
                .layout
                .place_module(size.max(1), LIMIT)
                .ok_or_else(|| self.layout.no_room(&name, size, LIMIT))?;
            self.layout.write(start, bytes);
            placed.push(PlacedModule { start, end: start + size, file: name, string });
        }
        Ok(placed)
    }
}

/// A module's place in guest memory.
#[derive(Clone, Debug)]
pub(crate) struct PlacedModule {
    pub start: u64,
    pub end: u64,
    pub file: String,
    pub string: String,
}

fn check_command_lines(request: &BootRequest) -> Result<(), BootError> {
    let kernel = (&request.kernel.name, &request.command_line);
    let modules = request.modules.iter().map(|m| (&m.file.name, &m.command_line));
    for (file, text) in std::iter::once(kernel).chain(modules) {
        if text.contains('\0') {
            return Err(BootError::CommandLineNul { file: file.clone() });
        }
    }
    Ok(())
}

/// The longest command line for protocols that set no limit of their own: conventional memory
/// must hold it beside everything else.
pub const MAX_COMMAND_LINE: usize = 64 << 10;

fn check_command_line(file: &str, text: &str, limit: usize) -> Result<(), BootError> {
    if text.len() > limit {
        return Err(BootError::CommandLineTooLong {
            file: file.into(),
            actual: text.len() as u64,
            limit: limit as u64,
        });
    }
    Ok(())
}
