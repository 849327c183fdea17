//! Control registers: MOV CR, CLTS, LMSW, SMSW, XGETBV, XSETBV (SDM Vol. 3A, Control Registers).

use crate::core::{Core, Int};
use crate::insn::control_paging::{load_cr3, read_pdptes, uses_pdptes};
use crate::insn::segment::first_operand;
use crate::op::{Done, Op, Row, body, row};
use iced_x86::Code;
use trimotor_cpu::model::Feature;
use trimotor_cpu::registers::{Cr0, Cr4, Efer, xfeature};
use trimotor_cpu::trace::record::XCR0;
use trimotor_cpu::{Fault, SegReg, Segment};

pub(crate) const ROWS: &[Row] = &[
    row(Code::Mov_r32_cr, body(mov_from_cr::<u32>)),
    row(Code::Mov_r64_cr, body(mov_from_cr::<u64>)),
    row(Code::Mov_cr_r32, body(mov_to_cr::<u32>)),
    row(Code::Mov_cr_r64, body(mov_to_cr::<u64>)),
    row(Code::Clts, body(clts)),
    row(Code::Lmsw_rm16, body(lmsw)),
    row(Code::Lmsw_r32m16, body(lmsw)),
    row(Code::Lmsw_r64m16, body(lmsw)),
    row(Code::Smsw_rm16, body(smsw::<u16>)),
    row(Code::Smsw_r32m16, body(smsw::<u32>)),
    row(Code::Smsw_r64m16, body(smsw::<u64>)),
    row(Code::Xgetbv, body(xgetbv)),
    row(Code::Xsetbv, body(xsetbv)),
];

/// # Faults
/// #GP(0) unless CPL is 0.
pub(crate) fn require_cpl0(core: &Core) -> Done {
    if core.state.cpl == 0 { Ok(()) } else { Err(Fault::gp(0)) }
}

/// # Faults
/// #GP(0) where CR4.UMIP keeps user mode from reading system registers.
pub(crate) fn check_umip(core: &Core) -> Done {
    if core.state.cr4.contains(Cr4::UMIP) && core.state.cpl != 0 { Err(Fault::gp(0)) } else { Ok(()) }
}

fn check_number(number: u8) -> Done {
    if matches!(number, 0 | 2 | 3 | 4 | 8) { Ok(()) } else { Err(Fault::UD) }
}

fn mov_from_cr<T: Int>(core: &mut Core, op: &Op) -> Done {
    check_number(op.r2)?;
    require_cpl0(core)?;
    let value = match op.r2 {
        0 => core.state.cr0.bits(),
        2 => core.state.cr2,
        3 => core.state.cr3,
        4 => core.state.cr4.bits(),
        _ => core.on_bus(|bus| bus.task_priority()) as u64,
    };
    core.set_reg(op.r1, T::cut(value));
    Ok(())
}

#[inline(never)]
fn mov_to_cr<T: Int>(core: &mut Core, op: &Op) -> Done {
    check_number(op.r1)?;
    require_cpl0(core)?;
    let value = core.reg::<T>(op.r2).to_u64();
    match op.r1 {
        0 => write_cr0(core, value)?,
        2 => {
            core.state.cr2 = value;
            core.trace_control("mov", 2, value);
            return Ok(());
        }
        3 => load_cr3(core, value)?,
        4 => write_cr4(core, value)?,
        _ if value > 15 => return Err(Fault::gp(0)),
        _ => core.on_bus(|bus| bus.set_task_priority(value as u8)),
    }
    core.trace_control("mov", op.r1, value);
    let next = core.next_rip(op);
    core.leave(next)
}

/// Writes CR0 with all its checks.
///
/// # Faults
/// #GP(0).
pub(crate) fn write_cr0(core: &mut Core, value: u64) -> Result<(), Fault> {
    let bad = Err(Fault::gp(0));
    if value >> 32 != 0 {
        return bad;
    }
    let new = Cr0::from_bits_truncate(value) | Cr0::ET;
    let s = &core.state;
    let old = s.cr0;
    if new.contains(Cr0::PG) && !new.contains(Cr0::PE) || new.contains(Cr0::NW) && !new.contains(Cr0::CD) {
        return bad;
    }
    let mut efer = s.efer;
    let paging_on = new.contains(Cr0::PG) && !old.contains(Cr0::PG);
    let paging_off = !new.contains(Cr0::PG) && old.contains(Cr0::PG);
    if paging_on && efer.contains(Efer::LME) {
        let cs_long = s.seg(SegReg::Cs).attributes & Segment::L != 0;
        if !s.cr4.contains(Cr4::PAE) || cs_long || s.tr.kind() & 8 == 0 {
            return bad;
        }
        efer.insert(Efer::LMA);
    }
    if paging_off {
        if s.is_64bit_code() || s.cr4.contains(Cr4::PCIDE) {
            return bad;
        }
        efer.remove(Efer::LMA);
    }
    let relevant = Cr0::PG | Cr0::CD | Cr0::NW;
    if uses_pdptes(new, s.cr4, efer) && (old ^ new).intersects(relevant) {
        core.state.pdpte = read_pdptes(core, core.state.cr3)?;
    }
    core.state.cr0 = new;
    core.state.efer = efer;
    if (old ^ new).intersects(Cr0::PG | Cr0::WP) {
        core.mmu.reconfigure(&mut core.state);
    }
    core.mode_changed();
    Ok(())
}

/// Writes CR4 with all its checks.
///
/// # Faults
/// #GP(0).
pub(crate) fn write_cr4(core: &mut Core, value: u64) -> Result<(), Fault> {
    let bad = Err(Fault::gp(0));
    let new = Cr4::from_bits_retain(value);
    let s = &core.state;
    let old = s.cr4;
    let changed = Cr4::from_bits_retain(old.bits() ^ value);
    if value & !core.model.cr4_known().bits() != 0 {
        return bad;
    }
    if s.long_mode() && (!new.contains(Cr4::PAE) || changed.contains(Cr4::LA57)) {
        return bad;
    }
    if new.contains(Cr4::PCIDE) && !old.contains(Cr4::PCIDE) && (!s.long_mode() || s.cr3 & 0xFFF != 0) {
        return bad;
    }
    let reloads = Cr4::PSE | Cr4::PAE | Cr4::PGE | Cr4::SMEP;
    if uses_pdptes(s.cr0, new, s.efer) && changed.intersects(reloads) {
        core.state.pdpte = read_pdptes(core, core.state.cr3)?;
    }
    core.state.cr4 = new;
    let flushes = reloads | Cr4::PCIDE | Cr4::SMAP | Cr4::PKE | Cr4::LA57;
    if changed.intersects(flushes) {
        core.mmu.reconfigure(&mut core.state);
    }
    core.mode_changed();
    Ok(())
}

fn clts(core: &mut Core, op: &Op) -> Done {
    require_cpl0(core)?;
    core.state.cr0.remove(Cr0::TS);
    core.mode_changed();
    core.trace_control("clts", 0, core.state.cr0.bits());
    let next = core.next_rip(op);
    core.leave(next)
}

fn lmsw(core: &mut Core, op: &Op) -> Done {
    require_cpl0(core)?;
    let value = first_operand(core, op)? as u64;
    let old = core.state.cr0.bits();
    // PE can be set here, but not cleared.
    write_cr0(core, old & !0xE | value & 0xF | old & 1)?;
    core.trace_control("lmsw", 0, core.state.cr0.bits());
    let next = core.next_rip(op);
    core.leave(next)
}

fn smsw<T: Int>(core: &mut Core, op: &Op) -> Done {
    check_umip(core)?;
    let value = core.state.cr0.bits();
    if op.has_mem() {
        return core.store::<u16>(op, value as u16);
    }
    core.set_reg(op.r1, T::cut(value));
    Ok(())
}

fn require_osxsave(core: &Core) -> Done {
    if core.state.cr4.contains(Cr4::OSXSAVE) { Ok(()) } else { Err(Fault::UD) }
}

fn xgetbv(core: &mut Core, _op: &Op) -> Done {
    require_osxsave(core)?;
    let value = match core.state.gpr(1) as u32 {
        0 => core.state.xcr0,
        1 if core.model.has(Feature::Xgetbv1) => core.state.xcr0 & super::xsave::in_use(core),
        _ => return Err(Fault::gp(0)),
    };
    core.state.set_gpr(0, value & 0xFFFF_FFFF);
    core.state.set_gpr(2, value >> 32);
    Ok(())
}

fn xsetbv(core: &mut Core, op: &Op) -> Done {
    require_osxsave(core)?;
    require_cpl0(core)?;
    let value = core.state.gpr(0) & 0xFFFF_FFFF | core.state.gpr(2) << 32;
    let avx_without_sse = value & xfeature::AVX != 0 && value & xfeature::SSE == 0;
    if core.state.gpr(1) as u32 != 0
        || value & xfeature::X87 == 0
        || value & !core.model.xcr0_supported() != 0
        || avx_without_sse
    {
        return Err(Fault::gp(0));
    }
    core.state.xcr0 = value;
    core.mode_changed();
    core.trace_control("xsetbv", XCR0, value);
    let next = core.next_rip(op);
    core.leave(next)
}
