//! The x87 registers between the vCPU's state and the host's.
//!
//! Translated x87 code runs on the host's x87, with the guest's control word. Blocks with such code
//! have the registers loaded at their entry, where they stay until translated code is left for
//! Rust: thunks load and save an image in the [`EngineArea`](crate::engine_area::EngineArea),
//! which is made from the state here, and put back here.
//!
//! While an exception is unmasked the registers stay in the state, and a variant of the block runs whose
//! x87 instructions fall back to the interpreter: the host must never report one of the guest's exceptions. So nothing can be pending while the
//! registers are in the host's.
//!
//! The host's own pointers to the last instruction lead to host code. The guest's are made from
//! what translated code notes.

use crate::engine_area::{X87Area, area, area_of};
use trimotor_cpu::SegReg;
use trimotor_cpu::state::reg_file;
use trimotor_cpu::x87::control;
use trimotor_cpu::x87::environment::{Layout, SAVE_BYTES};
use trimotor_cpu_interp::core::Core;

/// The layout that FRSTOR and FNSAVE have in the host's 64-bit mode.
const LAYOUT: Layout = Layout { wide: true, real: false };

/// Makes the image for FRSTOR. False: the registers must stay in the state.
pub fn load(core: &mut Core) -> bool {
    let x = &core.state.x87;
    if x.control & control::MASKS != control::MASKS || x.pending() {
        return false;
    }
    let (image, _) = x.save_image(LAYOUT);
    let page = core.reg64(reg_file::BLOCK_RIP);
    let area = &mut area(core).x87;
    area.image[..SAVE_BYTES].copy_from_slice(&image);
    area.page = page;
    (area.offset, area.segment) = (X87Area::NONE, X87Area::NONE);
    true
}

/// Puts the image that FNSAVE made back into the state, if translated code had the registers.
#[inline]
pub fn store(core: &mut Core) {
    if area_of(core).x87_live != 0 {
        store_image(core);
    }
}

fn store_image(core: &mut Core) {
    area(core).x87_live = 0;
    let area = &area_of(core).x87;
    let mut x = core.state.x87;
    x.restore_image(&area.image, LAYOUT);
    let before = &core.state.x87;
    (x.last_opcode, x.last_cs, x.last_ip) = (before.last_opcode, before.last_cs, before.last_ip);
    (x.last_ds, x.last_dp) = (before.last_ds, before.last_dp);
    // Segment registers change in Rust only, so these are still the ones that the instruction ran with.
    if area.offset != X87Area::NONE {
        x.last_ip = core.cut_rip(area.page.wrapping_add(area.offset as u64));
        x.last_cs = core.state.segments[SegReg::Cs as usize].selector;
    }
    if area.segment != X87Area::NONE {
        x.last_dp = area.operand;
        x.last_ds = core.state.segments[area.segment as usize % 6].selector;
    }
    core.state.x87 = x;
}
