//! Saving and restoring of the extended state: FXSAVE, XSAVE and their kin, MXCSR.
//!
//! The XSAVE area starts with the 512 bytes of FXSAVE (x87, then MXCSR and XMM), a header of
//! 64 bytes that says which components are there, and the further components: upper halves of
//! YMM, PKRU. In the standard form each has its fixed place (CPUID leaf Dh), in the compacted
//! one only those asked for take space.
//!
//! Left out: the modified optimisation of XSAVEOPT and XSAVES (which may skip what has not
//! changed since the last XRSTOR, and need not).
//!
//! Source: SDM Vol. 1, Managing State Using the XSAVE Feature Set; Vol. 2, FXSAVE, FXRSTOR.

use iced_x86::Code::*;
use trimotor_cpu::Fault;
use trimotor_cpu::model::cpuid::{AVX_STATE, PKRU_STATE};
use trimotor_cpu::registers::{Cr0, Cr4, xfeature};
use trimotor_cpu::state::X87State;

use crate::core::{Core, mode};
use crate::op::{Done, Op, Row, Unit, body, row};
use trimotor_cpu::simd::fp::MXCSR_MASK;

/// Offsets in the area.
const MXCSR: u64 = 24;
const ST: u64 = 32;
const XMM: u64 = 160;
const HEADER: u64 = 512;
const FIRST_EXTENDED: u64 = 576;
/// XCOMP_BV: the area has the compacted form.
const COMPACTED: u64 = 1 << 63;
/// MXCSR after RESET.
const MXCSR_INIT: u32 = 0x1F80;

/// Which state components are not in their initial configuration (XINUSE).
pub(crate) fn in_use(core: &Core) -> u64 {
    let s = &core.state;
    let used = |part: std::ops::Range<usize>| s.ymm.iter().any(|y| y.0[part.clone()].iter().any(|&q| q != 0));
    let mut components = 0;
    for (bit, is_used) in [
        (xfeature::X87, s.x87 != X87State::INIT),
        (xfeature::SSE, used(0..2)),
        (xfeature::AVX, used(2..4)),
        (xfeature::PKRU, s.pkru != 0),
    ] {
        components |= if is_used { bit } else { 0 };
    }
    components
}

/// How many vector registers the mode has.
fn vectors(core: &Core) -> usize {
    if core.state.mode & mode::CODE_SIZE == mode::CODE64 { 16 } else { 8 }
}

/// The place of extended component `bit` in the area.
fn place(bit: u64, xcomp_bv: u64) -> u64 {
    if xcomp_bv & COMPACTED == 0 {
        return if bit == xfeature::AVX { AVX_STATE.0 } else { PKRU_STATE.0 } as u64;
    }
    let avx_before = bit != xfeature::AVX && xcomp_bv & xfeature::AVX != 0;
    FIRST_EXTENDED + if avx_before { AVX_STATE.1 as u64 } else { 0 }
}

/// The component of MXCSR and XMM, to the memory operand.
fn save_xmm(core: &mut Core, op: &Op) -> Done {
    let mut image = [0; 256];
    let count = vectors(core);
    for (part, y) in image.chunks_exact_mut(16).zip(&core.state.ymm) {
        part[..8].copy_from_slice(&y.0[0].to_le_bytes());
        part[8..].copy_from_slice(&y.0[1].to_le_bytes());
    }
    core.write_bytes(op, XMM, &image[..16 * count])
}

fn load_xmm(core: &mut Core, op: &Op) -> Result<[[u64; 2]; 16], Fault> {
    let count = vectors(core);
    let mut image = [0; 256];
    core.read_bytes(op, XMM, &mut image[..16 * count])?;
    Ok(halves(&image))
}

/// Pairs of quadwords.
fn halves(image: &[u8; 256]) -> [[u64; 2]; 16] {
    let qword = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| image[at + i]));
    std::array::from_fn(|n| [qword(16 * n), qword(16 * n + 8)])
}

/// MXCSR and its mask, to the memory operand.
fn save_mxcsr(core: &mut Core, op: &Op) -> Done {
    core.sync_mxcsr();
    let value = core.state.mxcsr as u64 | (MXCSR_MASK as u64) << 32;
    core.write_bytes(op, MXCSR, &value.to_le_bytes())
}

/// MXCSR from the memory operand.
///
/// # Faults
/// #GP(0) for reserved bits.
fn load_mxcsr(core: &mut Core, op: &Op) -> Result<u32, Fault> {
    let mut bytes = [0; 4];
    core.read_bytes(op, MXCSR, &mut bytes)?;
    let value = u32::from_le_bytes(bytes);
    if value & !MXCSR_MASK != 0 { Err(Fault::gp(0)) } else { Ok(value) }
}

fn save_x87(core: &mut Core, op: &Op, wide: bool) -> Done {
    let header = core.state.x87.fx_header(wide);
    let registers = core.state.x87.fx_registers();
    core.write_bytes(op, 0, &header)?;
    core.write_bytes(op, ST, &registers)
}

fn load_x87(core: &mut Core, op: &Op, wide: bool) -> Result<X87State, Fault> {
    let (mut header, mut registers) = ([0; 24], [0; 128]);
    core.read_bytes(op, 0, &mut header)?;
    core.read_bytes(op, ST, &mut registers)?;
    let mut x = X87State::INIT;
    x.load_fx_header(&header, wide);
    x.load_fx_registers(&registers);
    Ok(x)
}

/// #GP(0) unless the operand is aligned to `to` bytes.
fn require_aligned(core: &Core, op: &Op, to: u64) -> Done {
    let linear = core.reg64(op.seg).wrapping_add(core.effective(op));
    if linear & (to - 1) != 0 { Err(Fault::gp(0)) } else { Ok(()) }
}

/// Commits a new MXCSR, last of all: unmasking an exception changes what code is decoded to.
fn commit_mxcsr(core: &mut Core, op: &Op, value: u32) -> Done {
    if core.set_mxcsr(value) {
        core.mode_changed();
        let next = core.next_rip(op);
        return core.leave(next);
    }
    Ok(())
}

fn fxsave<const WIDE: bool>(core: &mut Core, op: &Op) -> Done {
    require_aligned(core, op, 16)?;
    core.check_store(op, 0, 512)?;
    save_x87(core, op, WIDE)?;
    save_mxcsr(core, op)?;
    if core.state.cr4.contains(Cr4::OSFXSR) { save_xmm(core, op) } else { Ok(()) }
}

fn fxrstor<const WIDE: bool>(core: &mut Core, op: &Op) -> Done {
    require_aligned(core, op, 16)?;
    core.sync_mxcsr();
    let x87 = load_x87(core, op, WIDE)?;
    if !core.state.cr4.contains(Cr4::OSFXSR) {
        core.state.x87 = x87;
        return Ok(());
    }
    let mxcsr = load_mxcsr(core, op)?;
    let xmm = load_xmm(core, op)?;
    let count = vectors(core);
    core.state.x87 = x87;
    for (y, value) in core.state.ymm.iter_mut().zip(xmm).take(count) {
        y.0[..2].copy_from_slice(&value);
    }
    commit_mxcsr(core, op, mxcsr)
}

/// What XSAVE and XRSTOR of all kinds check first; returns RFBM.
///
/// # Faults
/// #UD without CR4.OSXSAVE, #NM by CR0.TS, #GP(0) for a misaligned area, and for XSAVES and
/// XRSTORS where CPL is not 0.
fn enter(core: &mut Core, op: &Op, supervisor: bool) -> Result<u64, Fault> {
    let s = &core.state;
    if !s.cr4.contains(Cr4::OSXSAVE) {
        return Err(Fault::UD);
    }
    if s.cr0.contains(Cr0::TS) {
        return Err(Fault::NM);
    }
    if supervisor && s.cpl != 0 {
        return Err(Fault::gp(0));
    }
    require_aligned(core, op, 64)?;
    let s = &core.state;
    let asked = s.gpr(0) & 0xFFFF_FFFF | s.gpr(2) << 32;
    let enabled = s.xcr0 | if supervisor { s.msrs.xss } else { 0 };
    Ok(asked & enabled)
}

/// The components of `which` beyond the legacy region.
fn save_extended(core: &mut Core, op: &Op, which: u64, xcomp_bv: u64) -> Done {
    if which & xfeature::AVX != 0 {
        let mut image = [0; 256];
        for (part, y) in image.chunks_exact_mut(16).zip(&core.state.ymm) {
            part[..8].copy_from_slice(&y.0[2].to_le_bytes());
            part[8..].copy_from_slice(&y.0[3].to_le_bytes());
        }
        let count = vectors(core);
        core.write_bytes(op, place(xfeature::AVX, xcomp_bv), &image[..16 * count])?;
    }
    if which & xfeature::PKRU != 0 {
        let value = core.state.pkru as u64;
        core.write_bytes(op, place(xfeature::PKRU, xcomp_bv), &value.to_le_bytes())?;
    }
    Ok(())
}

/// Whether all stores up to the last component would succeed.
fn check_area(core: &mut Core, op: &Op, rfbm: u64, xcomp_bv: u64) -> Done {
    let mut end = FIRST_EXTENDED;
    for (bit, size) in [(xfeature::AVX, AVX_STATE.1), (xfeature::PKRU, PKRU_STATE.1)] {
        if rfbm & bit != 0 {
            end = place(bit, xcomp_bv) + size as u64;
        }
    }
    core.check_store(op, 0, end)
}

/// XSAVE, and XSAVEOPT, which leaves out what is in its initial configuration.
fn xsave<const WIDE: bool, const OPTIMISED: bool>(core: &mut Core, op: &Op) -> Done {
    let rfbm = enter(core, op, false)?;
    core.sync_mxcsr();
    check_area(core, op, rfbm, 0)?;
    let mut old = [0; 8];
    core.read_bytes(op, HEADER, &mut old)?;
    let in_use = in_use(core);
    let written = if OPTIMISED { rfbm & in_use } else { rfbm };
    if written & xfeature::X87 != 0 {
        save_x87(core, op, WIDE)?;
    }
    if rfbm & (xfeature::SSE | xfeature::AVX) != 0 {
        save_mxcsr(core, op)?;
    }
    if written & xfeature::SSE != 0 {
        save_xmm(core, op)?;
    }
    save_extended(core, op, written, 0)?;
    let xstate_bv = u64::from_le_bytes(old) & !rfbm | in_use & rfbm;
    core.write_bytes(op, HEADER, &xstate_bv.to_le_bytes())
}

/// XSAVEC and XSAVES: the compacted form.
fn xsavec<const WIDE: bool, const SUPERVISOR: bool>(core: &mut Core, op: &Op) -> Done {
    let rfbm = enter(core, op, SUPERVISOR)?;
    core.sync_mxcsr();
    let xcomp_bv = rfbm | COMPACTED;
    check_area(core, op, rfbm, xcomp_bv)?;
    let mxcsr_used = if core.state.mxcsr != MXCSR_INIT { xfeature::SSE } else { 0 };
    let written = rfbm & (in_use(core) | mxcsr_used);
    if written & xfeature::X87 != 0 {
        save_x87(core, op, WIDE)?;
    }
    if written & xfeature::SSE != 0 {
        save_mxcsr(core, op)?;
        save_xmm(core, op)?;
    }
    save_extended(core, op, written, xcomp_bv)?;
    let mut header = [0; 16];
    header[..8].copy_from_slice(&written.to_le_bytes());
    header[8..].copy_from_slice(&xcomp_bv.to_le_bytes());
    core.write_bytes(op, HEADER, &header)
}

/// The header's XSTATE_BV and XCOMP_BV, checked.
///
/// # Faults
/// #GP(0) for what no XSAVE of this processor writes.
fn load_header(core: &mut Core, op: &Op, supervisor: bool) -> Result<(u64, u64), Fault> {
    let mut header = [0; 64];
    core.read_bytes(op, HEADER, &mut header)?;
    let qword = |n: usize| u64::from_le_bytes(std::array::from_fn(|i| header[8 * n + i]));
    let (xstate_bv, xcomp_bv) = (qword(0), qword(1));
    let enabled = core.state.xcr0 | if supervisor { core.state.msrs.xss } else { 0 };
    let bad = if xcomp_bv & COMPACTED == 0 {
        supervisor || xstate_bv & !enabled != 0 || xcomp_bv != 0 || qword(2) != 0
    } else {
        xcomp_bv & !(enabled | COMPACTED) != 0 || xstate_bv & !xcomp_bv != 0 || (2..8).any(|n| qword(n) != 0)
    };
    if bad { Err(Fault::gp(0)) } else { Ok((xstate_bv, xcomp_bv)) }
}

/// XRSTOR and XRSTORS.
fn xrstor<const WIDE: bool, const SUPERVISOR: bool>(core: &mut Core, op: &Op) -> Done {
    let rfbm = enter(core, op, SUPERVISOR)?;
    core.sync_mxcsr();
    let (xstate_bv, xcomp_bv) = load_header(core, op, SUPERVISOR)?;
    let from_memory = |bit: u64| rfbm & xstate_bv & bit != 0;
    let x87 = if from_memory(xfeature::X87) { load_x87(core, op, WIDE)? } else { X87State::INIT };
    let takes_mxcsr = if xcomp_bv & COMPACTED == 0 {
        rfbm & (xfeature::SSE | xfeature::AVX) != 0
    } else {
        from_memory(xfeature::SSE)
    };
    let mxcsr = if takes_mxcsr { load_mxcsr(core, op)? } else { MXCSR_INIT };
    let xmm = if from_memory(xfeature::SSE) { load_xmm(core, op)? } else { [[0; 2]; 16] };
    let mut upper = [0; 256];
    let count = vectors(core);
    if from_memory(xfeature::AVX) {
        core.read_bytes(op, place(xfeature::AVX, xcomp_bv), &mut upper[..16 * count])?;
    }
    let mut pkru = [0; 4];
    if from_memory(xfeature::PKRU) {
        core.read_bytes(op, place(xfeature::PKRU, xcomp_bv), &mut pkru)?;
    }
    if rfbm & xfeature::X87 != 0 {
        core.state.x87 = x87;
    }
    for (n, y) in core.state.ymm.iter_mut().enumerate().take(count) {
        if rfbm & xfeature::SSE != 0 {
            y.0[..2].copy_from_slice(&xmm[n]);
        }
        if rfbm & xfeature::AVX != 0 {
            y.0[2..].copy_from_slice(&halves(&upper)[n]);
        }
    }
    if rfbm & xfeature::PKRU != 0 && core.state.pkru != u32::from_le_bytes(pkru) {
        core.state.pkru = u32::from_le_bytes(pkru);
        core.mmu.flush_all(&mut core.state);
    }
    if takes_mxcsr || rfbm & xfeature::SSE != 0 { commit_mxcsr(core, op, mxcsr) } else { Ok(()) }
}

fn ldmxcsr(core: &mut Core, op: &Op) -> Done {
    let value = core.load::<u32>(op)?;
    if value & !MXCSR_MASK != 0 {
        return Err(Fault::gp(0));
    }
    commit_mxcsr(core, op, value)
}

fn stmxcsr(core: &mut Core, op: &Op) -> Done {
    core.sync_mxcsr();
    core.store(op, core.state.mxcsr)
}

pub(crate) const ROWS: &[Row] = &[
    row(Fxsave_m512byte, body(fxsave::<false>)).unit(Unit::X87),
    row(Fxsave64_m512byte, body(fxsave::<true>)).unit(Unit::X87),
    row(Fxrstor_m512byte, body(fxrstor::<false>)).unit(Unit::X87),
    row(Fxrstor64_m512byte, body(fxrstor::<true>)).unit(Unit::X87),
    row(Xsave_mem, body(xsave::<false, false>)).unit(Unit::None),
    row(Xsave64_mem, body(xsave::<true, false>)).unit(Unit::None),
    row(Xsaveopt_mem, body(xsave::<false, true>)).unit(Unit::None),
    row(Xsaveopt64_mem, body(xsave::<true, true>)).unit(Unit::None),
    row(Xsavec_mem, body(xsavec::<false, false>)).unit(Unit::None),
    row(Xsavec64_mem, body(xsavec::<true, false>)).unit(Unit::None),
    row(Xsaves_mem, body(xsavec::<false, true>)).unit(Unit::None),
    row(Xsaves64_mem, body(xsavec::<true, true>)).unit(Unit::None),
    row(Xrstor_mem, body(xrstor::<false, false>)).unit(Unit::None),
    row(Xrstor64_mem, body(xrstor::<true, false>)).unit(Unit::None),
    row(Xrstors_mem, body(xrstor::<false, true>)).unit(Unit::None),
    row(Xrstors64_mem, body(xrstor::<true, true>)).unit(Unit::None),
    row(Ldmxcsr_m32, body(ldmxcsr)).unit(Unit::Sse),
    row(VEX_Vldmxcsr_m32, body(ldmxcsr)).unit(Unit::Avx),
    row(Stmxcsr_m32, body(stmxcsr)).unit(Unit::Sse),
    row(VEX_Vstmxcsr_m32, body(stmxcsr)).unit(Unit::Avx),
];
