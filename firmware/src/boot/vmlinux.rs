//! Linux `vmlinux`: the kernel as the linker made it, without the unpacking part.
//!
//! A 64-bit kernel is entered in 64-bit mode at its ELF entry point, as its own unpacking part
//! would, with the zero page in RSI; a 32-bit one in 32-bit mode, with the zero page in ESI.

use super::bzimage::{enter_linux, place_initrd};
use super::entry::EntryState;
use super::error::BootError;
use super::zero_page::ZeroPage;
use super::{BootRequest, Environment, KernelKind, check_command_line, elf};

/// Linux's COMMAND_LINE_SIZE on x86 is 2048, NUL included.
const COMMAND_LINE_LIMIT: usize = 2047;

/// Plans the boot of a `vmlinux`.
pub(crate) fn load(
    request: BootRequest,
    env: &mut Environment<'_>,
) -> Result<(String, EntryState), BootError> {
    let image = elf::parse_kernel(&request, KernelKind::Vmlinux)?;
    let BootRequest { kernel, initrd, command_line, .. } = request;
    check_command_line(&kernel.name, &command_line, COMMAND_LINE_LIMIT)?;
    let entry =
        image.physical_entry().filter(|&e| e <= u64::from(u32::MAX)).ok_or_else(|| BootError::Unusable {
            file: kernel.name.clone(),
            problem: format!("its entry point {:#x} lies outside its segments", image.entry),
            advice: "give the kernel's bzImage (vmlinuz) instead",
        })?;
    image.place(&kernel, &mut env.layout)?;
    let mut page = ZeroPage::without_header(env.tables);
    if let Some(initrd) = initrd {
        // A 32-bit kernel maps low memory only; 64-bit ones reach everything.
        let limit = if image.is_64 { trimotor_bus::memory::LOW_RAM_LIMIT } else { 0x3800_0000 };
        let (start, bytes) = place_initrd(initrd, limit, env)?;
        page.initrd(start, bytes);
    }
    let state = enter_linux(&kernel.name, page, &command_line, entry, image.is_64, env)?;
    let bits = if image.is_64 { 64 } else { 32 };
    Ok((format!("{} (Linux vmlinux, {bits}-bit entry)", kernel.name), state))
}
