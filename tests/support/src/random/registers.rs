//! x87, SSE and AVX registers between an XSAVE area and the exchange form.

use super::layout::XSAVE_BYTES;
use trimotor_cpu::ArchState;
use trimotor_cpu::arch_state::X87Arch;
use trimotor_cpu::state::X87State;

/// x87, SSE and AVX registers from an XSAVE area.
pub fn take_registers(x: &[u8; XSAVE_BYTES], a: &mut ArchState) {
    let mut unit = X87State::INIT;
    unit.load_fx_header(x[..24].try_into().unwrap(), true);
    unit.load_fx_registers(x[32..160].try_into().unwrap());
    a.x87 = X87Arch::from(&unit);
    a.mxcsr = u32::from_le_bytes(x[24..28].try_into().unwrap());
    let qword = |at: usize| u64::from_le_bytes(x[at..at + 8].try_into().unwrap());
    for (n, y) in a.ymm.iter_mut().enumerate() {
        *y = [qword(160 + 16 * n), qword(168 + 16 * n), qword(576 + 16 * n), qword(584 + 16 * n)];
    }
}

/// The reverse of [`take_registers`].
pub fn give_registers(a: &ArchState, x: &mut [u8; XSAVE_BYTES]) {
    let unit = X87State::from(&a.x87);
    x[..24].copy_from_slice(&unit.fx_header(true));
    x[24..28].copy_from_slice(&a.mxcsr.to_le_bytes());
    x[32..160].copy_from_slice(&unit.fx_registers());
    for (n, y) in a.ymm.iter().enumerate() {
        for (at, value) in [160 + 16 * n, 168 + 16 * n, 576 + 16 * n, 584 + 16 * n].into_iter().zip(y) {
            x[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
    }
}
