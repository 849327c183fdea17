//! Instructions on segment registers and descriptors: MOV, PUSH and POP of segment registers, LDS
//! and its kin, LLDT, LTR, LAR, LSL, VERR, VERW, ARPL (SDM Vol. 2).

use crate::core::{Core, Int};
use crate::insn::far::load_pointer;
use crate::insn::segment_descriptor::{Descriptor, is_null, kind, read_descriptor};
use crate::insn::segment_load::{fetch_ldt, fetch_segment, fetch_tss};
use crate::op::{Done, Op, Row, body, row};
use iced_x86::Code;
use trimotor_cpu::flags::ArithFlags;
use trimotor_cpu::{Fault, SegReg};

const ES: u8 = SegReg::Es as u8;
const CS: u8 = SegReg::Cs as u8;
const SS: u8 = SegReg::Ss as u8;
const DS: u8 = SegReg::Ds as u8;
const FS: u8 = SegReg::Fs as u8;
const GS: u8 = SegReg::Gs as u8;

pub(crate) const ROWS: &[Row] = &[
    row(Code::Mov_Sreg_rm16, body(mov_to_segment)),
    row(Code::Mov_Sreg_r32m16, body(mov_to_segment)),
    row(Code::Mov_Sreg_r64m16, body(mov_to_segment)),
    row(Code::Mov_rm16_Sreg, body(mov_from_segment::<u16>)),
    row(Code::Mov_r32m16_Sreg, body(mov_from_segment::<u32>)),
    row(Code::Mov_r64m16_Sreg, body(mov_from_segment::<u64>)),
    row(Code::Pushw_ES, body(push_segment::<2, ES>)),
    row(Code::Pushw_CS, body(push_segment::<2, CS>)),
    row(Code::Pushw_SS, body(push_segment::<2, SS>)),
    row(Code::Pushw_DS, body(push_segment::<2, DS>)),
    row(Code::Pushw_FS, body(push_segment::<2, FS>)),
    row(Code::Pushw_GS, body(push_segment::<2, GS>)),
    row(Code::Pushd_ES, body(push_segment::<4, ES>)),
    row(Code::Pushd_CS, body(push_segment::<4, CS>)),
    row(Code::Pushd_SS, body(push_segment::<4, SS>)),
    row(Code::Pushd_DS, body(push_segment::<4, DS>)),
    row(Code::Pushd_FS, body(push_segment::<4, FS>)),
    row(Code::Pushd_GS, body(push_segment::<4, GS>)),
    row(Code::Pushq_FS, body(push_segment::<8, FS>)),
    row(Code::Pushq_GS, body(push_segment::<8, GS>)),
    row(Code::Popw_ES, body(pop_segment::<2, ES>)),
    row(Code::Popw_SS, body(pop_segment::<2, SS>)),
    row(Code::Popw_DS, body(pop_segment::<2, DS>)),
    row(Code::Popw_FS, body(pop_segment::<2, FS>)),
    row(Code::Popw_GS, body(pop_segment::<2, GS>)),
    row(Code::Popd_ES, body(pop_segment::<4, ES>)),
    row(Code::Popd_SS, body(pop_segment::<4, SS>)),
    row(Code::Popd_DS, body(pop_segment::<4, DS>)),
    row(Code::Popd_FS, body(pop_segment::<4, FS>)),
    row(Code::Popd_GS, body(pop_segment::<4, GS>)),
    row(Code::Popq_FS, body(pop_segment::<8, FS>)),
    row(Code::Popq_GS, body(pop_segment::<8, GS>)),
    row(Code::Les_r16_m1616, body(load_far::<u16, 2, ES>)),
    row(Code::Les_r32_m1632, body(load_far::<u32, 4, ES>)),
    row(Code::Lds_r16_m1616, body(load_far::<u16, 2, DS>)),
    row(Code::Lds_r32_m1632, body(load_far::<u32, 4, DS>)),
    row(Code::Lss_r16_m1616, body(load_far::<u16, 2, SS>)),
    row(Code::Lss_r32_m1632, body(load_far::<u32, 4, SS>)),
    row(Code::Lss_r64_m1664, body(load_far::<u64, 8, SS>)),
    row(Code::Lfs_r16_m1616, body(load_far::<u16, 2, FS>)),
    row(Code::Lfs_r32_m1632, body(load_far::<u32, 4, FS>)),
    row(Code::Lfs_r64_m1664, body(load_far::<u64, 8, FS>)),
    row(Code::Lgs_r16_m1616, body(load_far::<u16, 2, GS>)),
    row(Code::Lgs_r32_m1632, body(load_far::<u32, 4, GS>)),
    row(Code::Lgs_r64_m1664, body(load_far::<u64, 8, GS>)),
    row(Code::Lldt_rm16, body(lldt)),
    row(Code::Lldt_r32m16, body(lldt)),
    row(Code::Lldt_r64m16, body(lldt)),
    row(Code::Ltr_rm16, body(ltr)),
    row(Code::Ltr_r32m16, body(ltr)),
    row(Code::Ltr_r64m16, body(ltr)),
    row(Code::Lar_r16_rm16, body(lar::<u16>)),
    row(Code::Lar_r32_r32m16, body(lar::<u32>)),
    row(Code::Lar_r64_r64m16, body(lar::<u64>)),
    row(Code::Lsl_r16_rm16, body(lsl::<u16>)),
    row(Code::Lsl_r32_r32m16, body(lsl::<u32>)),
    row(Code::Lsl_r64_r64m16, body(lsl::<u64>)),
    row(Code::Verr_rm16, body(verify::<false>)),
    row(Code::Verr_r32m16, body(verify::<false>)),
    row(Code::Verr_r64m16, body(verify::<false>)),
    row(Code::Verw_rm16, body(verify::<true>)),
    row(Code::Verw_r32m16, body(verify::<true>)),
    row(Code::Verw_r64m16, body(verify::<true>)),
    row(Code::Arpl_rm16_r16, body(arpl)),
    row(Code::Arpl_r32m16_r32, body(arpl)),
];

/// The memory operand, or general register `r1`: the operand of one-operand instructions.
pub(crate) fn first_operand(core: &mut Core, op: &Op) -> Result<u16, Fault> {
    if op.has_mem() { core.load::<u16>(op) } else { Ok(core.reg::<u16>(op.r1)) }
}

/// Puts a checked segment into its register, and leaves the block only where code must be decoded
/// in another way from here on.
fn commit(core: &mut Core, op: &Op, reg: SegReg, segment: trimotor_cpu::Segment) -> Done {
    core.state.segments[reg as usize] = segment;
    if reg == SegReg::Ss {
        core.set_shadow(true);
    }
    let before = core.state.mode;
    core.mode_changed();
    if core.state.mode == before && (reg != SegReg::Ss || core.signals.pending() == 0) {
        return Ok(());
    }
    let next = core.next_rip(op);
    core.leave(next)
}

fn mov_to_segment(core: &mut Core, op: &Op) -> Done {
    let Some(reg) = SegReg::from_encoding(op.r1) else { return Err(Fault::UD) };
    if reg == SegReg::Cs {
        return Err(Fault::UD);
    }
    let selector = core.rm::<u16>(op)?;
    let segment = fetch_segment(core, reg, selector)?;
    commit(core, op, reg, segment)
}

fn mov_from_segment<T: Int>(core: &mut Core, op: &Op) -> Done {
    let number = if op.has_mem() { op.r1 } else { op.r2 };
    let selector = core.state.segments[number.min(5) as usize].selector;
    if op.has_mem() {
        return core.store::<u16>(op, selector);
    }
    core.set_reg(op.r1, T::cut(selector as u64));
    Ok(())
}

fn push_segment<const SIZE: u64, const REG: u8>(core: &mut Core, _op: &Op) -> Done {
    let selector = core.state.segments[REG as usize].selector;
    match SIZE {
        2 => core.push::<u16>(selector),
        // Processors since the P6 write only 16 bits of the 32-bit slot.
        4 => {
            let sp = core.stack_pointer().wrapping_sub(4) & core.stack_mask();
            let write = trimotor_cpu::mmu::Access::Write;
            let linear = core.segment_linear(SegReg::Ss, sp, 2, write)?;
            core.write_linear::<u16>(linear, selector)?;
            core.set_stack_pointer(sp);
            Ok(())
        }
        _ => core.push::<u64>(selector as u64),
    }
}

fn pop_segment<const SIZE: u64, const REG: u8>(core: &mut Core, op: &Op) -> Done {
    let Some(reg) = SegReg::from_encoding(REG) else { return Err(Fault::UD) };
    let selector = match SIZE {
        2 => core.peek::<u16>(0)?,
        4 => core.peek::<u32>(0)? as u16,
        _ => core.peek::<u64>(0)? as u16,
    };
    let segment = fetch_segment(core, reg, selector)?;
    core.drop_stack(SIZE);
    commit(core, op, reg, segment)
}

fn load_far<T: Int, const SIZE: u64, const REG: u8>(core: &mut Core, op: &Op) -> Done {
    let Some(reg) = SegReg::from_encoding(REG) else { return Err(Fault::UD) };
    if !op.has_mem() {
        return Err(Fault::UD);
    }
    let pointer = load_pointer::<SIZE>(core, op)?;
    let segment = fetch_segment(core, reg, pointer.selector)?;
    core.set_reg(op.r1, T::cut(pointer.offset));
    commit_without_shadow(core, op, reg, segment)
}

/// LSS needs no interrupt shadow: it loads the pointer too.
fn commit_without_shadow(core: &mut Core, op: &Op, reg: SegReg, segment: trimotor_cpu::Segment) -> Done {
    core.state.segments[reg as usize] = segment;
    let before = core.state.mode;
    core.mode_changed();
    if core.state.mode == before {
        return Ok(());
    }
    let next = core.next_rip(op);
    core.leave(next)
}

/// Instructions that know selectors only exist in protected mode.
pub(crate) fn require_protected(core: &Core) -> Done {
    if core.state.protected() && !core.state.v86() { Ok(()) } else { Err(Fault::UD) }
}

fn require_cpl0(core: &Core) -> Done {
    if core.state.cpl == 0 { Ok(()) } else { Err(Fault::gp(0)) }
}

fn lldt(core: &mut Core, op: &Op) -> Done {
    require_protected(core)?;
    require_cpl0(core)?;
    let selector = first_operand(core, op)?;
    core.state.ldtr = fetch_ldt(core, selector, Fault::gp, Fault::np)?;
    Ok(())
}

fn ltr(core: &mut Core, op: &Op) -> Done {
    require_protected(core)?;
    require_cpl0(core)?;
    let selector = first_operand(core, op)?;
    core.state.tr = fetch_tss(core, selector)?;
    Ok(())
}

fn set_zf(core: &mut Core, zf: bool) {
    let flags = &mut core.state.arith.0;
    *flags = *flags & !ArithFlags::ZF | if zf { ArithFlags::ZF } else { 0 };
}

/// The descriptor that LAR, LSL, VERR and VERW look at, if CPL and RPL may see it.
fn visible_descriptor(core: &mut Core, selector: u16) -> Result<Option<Descriptor>, Fault> {
    if is_null(selector) {
        return Ok(None);
    }
    let rpl = (selector & 3) as u8;
    let cpl = core.state.cpl;
    Ok(read_descriptor(core, selector)?.filter(|d| d.is_conforming() || d.dpl() >= cpl && d.dpl() >= rpl))
}

fn lar<T: Int>(core: &mut Core, op: &Op) -> Done {
    require_protected(core)?;
    let selector = core.rm::<u16>(op)?;
    let long = core.state.long_mode();
    let found = visible_descriptor(core, selector)?.filter(|d| {
        !d.is_system()
            || match d.kind() {
                kind::LDT | kind::TSS32_AVAILABLE | kind::TSS32_BUSY | kind::CALL_GATE32 => true,
                kind::TSS16_AVAILABLE | kind::TSS16_BUSY | kind::CALL_GATE16 | kind::TASK_GATE => !long,
                _ => false,
            }
    });
    if let Some(d) = found {
        let rights = d.low >> 32 & 0x00FF_FF00;
        core.set_reg(op.r1, T::cut(rights));
    }
    set_zf(core, found.is_some());
    Ok(())
}

fn lsl<T: Int>(core: &mut Core, op: &Op) -> Done {
    require_protected(core)?;
    let selector = core.rm::<u16>(op)?;
    let long = core.state.long_mode();
    let found = visible_descriptor(core, selector)?.filter(|d| {
        !d.is_system()
            || match d.kind() {
                kind::LDT | kind::TSS32_AVAILABLE | kind::TSS32_BUSY => true,
                kind::TSS16_AVAILABLE | kind::TSS16_BUSY => !long,
                _ => false,
            }
    });
    if let Some(d) = found {
        core.set_reg(op.r1, T::cut(d.limit() as u64));
    }
    set_zf(core, found.is_some());
    Ok(())
}

fn verify<const WRITE: bool>(core: &mut Core, op: &Op) -> Done {
    require_protected(core)?;
    let selector = first_operand(core, op)?;
    let found = visible_descriptor(core, selector)?;
    let allowed = found.is_some_and(|d| if WRITE { d.is_writable_data() } else { d.is_readable() });
    set_zf(core, allowed);
    Ok(())
}

/// ARPL: a destination that it does not change is not written.
fn arpl(core: &mut Core, op: &Op) -> Done {
    require_protected(core)?;
    let (dest, source) = if op.has_mem() {
        (core.load::<u16>(op)?, core.reg::<u16>(op.r1))
    } else {
        (core.reg::<u16>(op.r1), core.reg::<u16>(op.r2))
    };
    let raise = dest & 3 < source & 3;
    if raise {
        let raised = dest & !3 | source & 3;
        if op.has_mem() {
            core.store::<u16>(op, raised)?;
        } else {
            core.set_reg::<u16>(op.r1, raised);
        }
    }
    set_zf(core, raise);
    Ok(())
}
