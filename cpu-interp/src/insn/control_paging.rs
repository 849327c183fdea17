//! CR3 and the PDPTEs of PAE paging (SDM Vol. 3A, Paging).

use crate::core::Core;
use trimotor_bus::memory::View;
use trimotor_cpu::Fault;
use trimotor_cpu::registers::{Cr0, Cr4, Efer};

/// Bit 63 of a value for CR3 with CR4.PCIDE: keep what the TLB holds of the PCID. We always do.
const NO_FLUSH: u64 = 1 << 63;

/// Whether registers as given mean PAE paging with its four PDPTE registers.
pub(crate) fn uses_pdptes(cr0: Cr0, cr4: Cr4, efer: Efer) -> bool {
    cr0.contains(Cr0::PG) && cr4.contains(Cr4::PAE) && !efer.contains(Efer::LMA)
}

/// Bits that physical addresses do not have.
fn beyond_physical(core: &Core) -> u64 {
    !0 << core.model.phys_bits
}

/// Reads the PDPTEs that `cr3` points to.
///
/// # Faults
/// #GP(0): a present one has a reserved bit set.
pub(crate) fn read_pdptes(core: &mut Core, cr3: u64) -> Result<[u64; 4], Fault> {
    let at = cr3 & 0xFFFF_FFE0 & core.state.a20_mask;
    let mut bytes = [0u8; 32];
    core.memory.read_for(trimotor_bus::PhysAddr(at), &mut bytes, View::of(core.state.in_smm));
    let reserved = 0x1E6 | beyond_physical(core);
    let mut pdptes = [0u64; 4];
    for (entry, piece) in pdptes.iter_mut().zip(bytes.as_chunks::<8>().0) {
        *entry = u64::from_le_bytes(*piece);
        if *entry & 1 != 0 && *entry & reserved != 0 {
            return Err(Fault::gp(0));
        }
    }
    Ok(pdptes)
}

/// Loads CR3 as MOV does; the caller ends the block.
///
/// # Faults
/// #GP(0): reserved bits of CR3 or of a PDPTE.
pub(crate) fn load_cr3(core: &mut Core, value: u64) -> Result<(), Fault> {
    let s = &core.state;
    let pcide = s.cr4.contains(Cr4::PCIDE);
    let value = if pcide { value & !NO_FLUSH } else { value };
    if s.long_mode() && value & beyond_physical(core) != 0 {
        return Err(Fault::gp(0));
    }
    if uses_pdptes(s.cr0, s.cr4, s.efer) {
        core.state.pdpte = read_pdptes(core, value)?;
    }
    core.state.cr3 = value;
    let state = &mut core.state;
    core.mmu.load_cr3(state);
    Ok(())
}
