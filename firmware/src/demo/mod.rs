//! The embedded demo guest: what runs when `trimotor` is given nothing else.
//!
//! It is a small program for the bare machine, written here with an assembler and assembled when
//! it is asked for. It starts in real mode, passes through protected mode with two-level paging
//! into long mode, sets up interrupts, says what it finds, checks itself, and ends at a prompt
//! whose commands show things: a page fault on purpose, CPUID, memory, PCI. It reads the PS/2
//! keyboard and the serial port COM1 alike, and writes to both screen and COM1.
//!
//! | file | part |
//! |---|---|
//! | [`layout`] | where everything stands |
//! | [`asm`] | the assembler, text pool, names of routines |
//! | [`real`], [`protected`] | the first two modes |
//! | [`long`] | long mode: everything else |

pub mod asm;
pub mod layout;
pub mod long;
pub mod protected;
pub mod real;

use crate::boot::flat::FLAT_LOAD;
use crate::boot::{BootPlan, EntryState, MemoryWrite};
use crate::tables::{FirmwareTables, MemoryMap, Platform};
use iced_x86::IcedError;
use trimotor_bus::PhysAddr;

/// What it asks with for a command; it waits behind that for good.
pub const PROMPT: &str = "trimotor> ";

/// The demo cannot be assembled: a fault of this program, not of its user.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The assembler refuses an instruction.
    #[error("the demo guest cannot be assembled: {0}")]
    Assemble(#[from] IcedError),
    /// A part has grown past its place.
    #[error("the demo guest's {part} has {bytes} bytes but its place only {room}")]
    TooLarge {
        /// Which part.
        part: &'static str,
        /// Its size.
        bytes: usize,
        /// The size of its place.
        room: u64,
    },
}

/// The demo's image, to stand at 7C00h and to be entered there in real mode.
///
/// # Errors
/// See [`DemoError`].
pub fn image() -> Result<Vec<u8>, DemoError> {
    let (sector, mut early_texts) = real::assemble()?;
    let texts_end = layout::EARLY_TEXT + early_texts.len() as u64;
    let (protected, protected_texts) = protected::assemble(texts_end)?;
    early_texts.extend_from_slice(&protected_texts);
    let (long, long_texts) = long::assemble()?;
    let mut image = Vec::new();
    for (part, base, end, bytes) in [
        ("real-mode part", layout::REAL_CODE, layout::EARLY_TEXT, sector),
        ("early texts", layout::EARLY_TEXT, layout::PROTECTED_CODE, early_texts),
        ("protected-mode part", layout::PROTECTED_CODE, layout::LONG_CODE, protected),
        ("long-mode part", layout::LONG_CODE, layout::LONG_TEXT, long),
        ("texts", layout::LONG_TEXT, layout::IMAGE_END, long_texts),
    ] {
        let room = end - base;
        if bytes.len() as u64 > room {
            return Err(DemoError::TooLarge { part, bytes: bytes.len(), room });
        }
        image.resize((base - layout::REAL_CODE) as usize, 0);
        image.extend_from_slice(&bytes);
    }
    Ok(image)
}

/// The memory map as the demo finds it: a count, then entries of 20 bytes.
fn memory_map(memory: &MemoryMap) -> Vec<u8> {
    let entries = memory.entries();
    let count = (entries.len() as u32).to_le_bytes();
    count.into_iter().chain(entries.iter().flat_map(|e| e.to_bytes())).collect()
}

/// Plans the start of the demo on `platform`; it needs 1 MiB of RAM.
///
/// # Errors
/// See [`DemoError`].
pub fn plan(platform: &Platform) -> Result<BootPlan, DemoError> {
    let mut writes = FirmwareTables::build(platform).writes;
    writes.push(MemoryWrite::bytes(PhysAddr(layout::MEMORY_MAP), memory_map(&platform.memory)));
    writes.push(MemoryWrite::bytes(PhysAddr(FLAT_LOAD), image()?));
    Ok(BootPlan { name: "the demo guest".into(), writes, entry: Some(EntryState::real(FLAT_LOAD as u16)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_image_fits_below_the_tables_it_builds() {
        let image = image().unwrap();
        assert!(layout::REAL_CODE + image.len() as u64 <= layout::IMAGE_END);
        const { assert!(layout::IMAGE_END < layout::FAULT_STACK_TOP - 0x8000) };
        assert_eq!(FLAT_LOAD, layout::REAL_CODE);
        assert_eq!(image[0], 0xFA, "it starts with CLI");
        assert_eq!(image[510..512], [0x55, 0xAA]);
    }

    #[test]
    fn the_plan_fits_in_the_smallest_machine() {
        let platform = Platform {
            memory: MemoryMap::new(1 << 20, 0),
            vcpus: 1,
            hpet: false,
            serial_ports: 1,
            pvpanic: false,
            vmgenid: false,
            pm_base: trimotor_bus::board::PM_BASE,
        };
        let plan = plan(&platform).unwrap();
        let memory = trimotor_bus::GuestMemory::new(1 << 20, &[]).unwrap();
        plan.apply(&memory).unwrap();
        assert_eq!(memory.read_u32(PhysAddr(layout::MEMORY_MAP)), 4);
    }
}
