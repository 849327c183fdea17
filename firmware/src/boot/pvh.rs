//! PVH: the entry that Xen defined for kernels in hardware-virtualised guests, without firmware.
//!
//! An ELF note gives a 32-bit entry point; EBX points to `hvm_start_info`, which lists modules
//! and the memory map.
//!
//! Source: Xen's "HVM direct boot ABI" (`docs/misc/pvh.pandoc`) and public header
//! `arch-x86/hvm/start_info.h`.

use super::bytes::Record;
use super::detect::not_a;
use super::entry::{EntryState, RBX};
use super::error::BootError;
use super::{BootRequest, Environment, KernelKind, MAX_COMMAND_LINE, PlacedModule, check_command_line, elf};
use trimotor_bus::PhysAddr;

/// `XEN_HVM_START_MAGIC_VALUE`: "xEn3" with the top bit set.
const START_MAGIC: u32 = 0x336E_C578;
const START_INFO_BYTES: usize = 56;
const MODULE_ENTRY_BYTES: usize = 32;
const MEMORY_MAP_ENTRY_BYTES: usize = 24;

/// Plans the boot of a PVH kernel.
pub(crate) fn load(
    mut request: BootRequest,
    env: &mut Environment<'_>,
) -> Result<(String, EntryState), BootError> {
    let image = elf::parse_kernel(&request, KernelKind::Pvh)?;
    let modules = request.take_modules();
    let BootRequest { kernel, command_line, .. } = request;
    check_command_line(&kernel.name, &command_line, MAX_COMMAND_LINE)?;
    let entry = image
        .pvh_entry
        .ok_or_else(|| not_a(KernelKind::Pvh, "PVH entry note (Linux: CONFIG_PVH)", &kernel))?;
    image.place(&kernel, &mut env.layout)?;
    let placed = env.place_modules(modules)?;
    let info = start_info(&kernel.name, &command_line, &placed, env)?;
    let mut state = env.enter_protected(&kernel.name, entry)?;
    state.gpr[RBX] = info.0;
    Ok((format!("{} (PVH)", kernel.name), state))
}

/// `struct hvm_start_info` with what it points to.
fn start_info(
    file: &str,
    command_line: &str,
    modules: &[PlacedModule],
    env: &mut Environment<'_>,
) -> Result<PhysAddr, BootError> {
    let mut list = Record::new(modules.len() * MODULE_ENTRY_BYTES);
    for (i, module) in modules.iter().enumerate() {
        let at = i * MODULE_ENTRY_BYTES;
        list.u64(at, module.start);
        list.u64(at + 8, module.end - module.start);
        list.u64(at + 16, env.place_string(file, &module.string)?);
    }
    let entries = env.memory().entries();
    let mut map = Record::new(entries.len() * MEMORY_MAP_ENTRY_BYTES);
    for (i, entry) in entries.iter().enumerate() {
        map.put(i * MEMORY_MAP_ENTRY_BYTES, &entry.to_bytes());
    }
    let mut info = Record::new(START_INFO_BYTES);
    info.u32(0, START_MAGIC);
    info.u32(4, 1); // version
    info.u32(12, modules.len() as u32);
    if !modules.is_empty() {
        info.u64(16, env.layout.boot_data(file, 8, list.0)?.0);
    }
    info.u64(24, env.place_string(file, command_line)?);
    info.u64(32, env.tables.rsdp.0);
    info.u64(40, env.layout.boot_data(file, 8, map.0)?.0);
    info.u32(48, entries.len() as u32);
    env.layout.boot_data(file, 8, info.0)
}
