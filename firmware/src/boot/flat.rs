//! A flat image: loaded to 7C00h and entered there in real mode, as a BIOS enters a boot sector,
//! but of any size up to the end of conventional memory.
//!
//! The first 30 KiB of memory stay with the image's stack and the BIOS data area. There is no
//! BIOS behind it: software interrupts return at once, so the image must drive the hardware itself. The
//! timer ticks as a BIOS has it, once interrupts are let in ([`crate::tables::ivt`]).

use super::entry::{EntryState, RDX};
use super::error::BootError;
use super::{BootRequest, Environment};

/// Where the image is loaded and entered.
pub const FLAT_LOAD: u64 = 0x7C00;
/// The longest image: conventional memory ends at the extended BIOS data area.
pub const FLAT_MAX: u64 = super::layout::LOW_FREE.end - FLAT_LOAD;
/// DL at entry: the first hard disk, by BIOS convention.
const FIRST_DISK: u64 = 0x80;

/// Plans the boot of a flat image.
pub(crate) fn load(
    request: BootRequest,
    env: &mut Environment<'_>,
) -> Result<(String, EntryState), BootError> {
    let BootRequest { kernel, .. } = request;
    let bytes = kernel.bytes.len() as u64;
    if bytes > FLAT_MAX {
        return Err(BootError::Unusable {
            file: kernel.name,
            problem: format!("a flat image of {bytes} bytes does not fit from 7C00h to 9F000h"),
            advice: "619520 bytes are the most",
        });
    }
    env.layout.claim(&kernel.name, FLAT_LOAD..FLAT_LOAD + bytes)?;
    env.layout.write(FLAT_LOAD, kernel.bytes);
    let mut state = EntryState::real(FLAT_LOAD as u16);
    state.gpr[RDX] = FIRST_DISK;
    Ok((format!("{} (flat image)", kernel.name), state))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_limit_in_the_advice_is_right() {
        assert_eq!(super::FLAT_MAX, 0x9_F000 - 0x7C00);
        assert_eq!(super::FLAT_MAX, 619_520);
    }
}
