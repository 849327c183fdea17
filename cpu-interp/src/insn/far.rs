//! Far jumps, calls and returns (SDM Vol. 2, JMP, CALL, RET; Vol. 3A, Protection).
//!
//! In real and virtual-8086 mode a selector is a paragraph. In protected mode it names a code
//! segment, a call gate (`gates`), a task gate or a TSS (`task`); in long mode code segments
//! and 64-bit call gates only.

use crate::core::Core;
use crate::insn::far_stack::Stack;
use crate::insn::gates;
use crate::insn::segment_descriptor::{
    Descriptor, code_of, is_null, kind, read_descriptor, read_upper, set_accessed,
};
use crate::insn::segment_load::{
    drop_inner_segments, fetch_stack_segment, paragraph_segment, selectors_are_paragraphs,
};
use crate::insn::task::{self, Switch};
use crate::op::{Done, Op, Row, body, row};
use iced_x86::Code;
use trimotor_cpu::{Fault, SegReg, Segment};

pub(crate) const ROWS: &[Row] = &[
    row(Code::Jmp_ptr1616, body(jmp_immediate)),
    row(Code::Jmp_ptr1632, body(jmp_immediate)),
    row(Code::Jmp_m1616, body(jmp_memory::<2>)),
    row(Code::Jmp_m1632, body(jmp_memory::<4>)),
    row(Code::Jmp_m1664, body(jmp_memory::<8>)),
    row(Code::Call_ptr1616, body(call_immediate::<2>)),
    row(Code::Call_ptr1632, body(call_immediate::<4>)),
    row(Code::Call_m1616, body(call_memory::<2>)),
    row(Code::Call_m1632, body(call_memory::<4>)),
    row(Code::Call_m1664, body(call_memory::<8>)),
    row(Code::Retfw, body(retf::<2>)),
    row(Code::Retfd, body(retf::<4>)),
    row(Code::Retfq, body(retf::<8>)),
    row(Code::Retfw_imm16, body(retf::<2>)),
    row(Code::Retfd_imm16, body(retf::<4>)),
    row(Code::Retfq_imm16, body(retf::<8>)),
];

/// A far pointer.
#[derive(Clone, Copy)]
pub(crate) struct FarPointer {
    pub(crate) selector: u16,
    pub(crate) offset: u64,
}

/// What a transfer is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transfer {
    Jump,
    /// With the operand size in bytes.
    Call(u64),
}

/// The pointer in the instruction: offset in bits 0 to 31, selector in bits 32 to 47.
fn immediate_pointer(op: &Op) -> FarPointer {
    FarPointer { selector: (op.imm >> 32) as u16, offset: op.imm & 0xFFFF_FFFF }
}

/// Loads the far pointer of the memory operand; `SIZE` is the offset's size in bytes.
///
/// # Faults
/// Those of the loads.
pub(crate) fn load_pointer<const SIZE: u64>(core: &mut Core, op: &Op) -> Result<FarPointer, Fault> {
    let mut bytes = [0u8; 10];
    core.read_bytes(op, 0, &mut bytes[..SIZE as usize + 2])?;
    let mut offset = [0u8; 8];
    offset[..SIZE as usize].copy_from_slice(&bytes[..SIZE as usize]);
    let selector = u16::from_le_bytes([bytes[SIZE as usize], bytes[SIZE as usize + 1]]);
    Ok(FarPointer { selector, offset: u64::from_le_bytes(offset) })
}

#[inline(never)]
fn jmp_immediate(core: &mut Core, op: &Op) -> Done {
    transfer(core, op, immediate_pointer(op), Transfer::Jump)
}
#[inline(never)]
fn jmp_memory<const SIZE: u64>(core: &mut Core, op: &Op) -> Done {
    let target = load_pointer::<SIZE>(core, op)?;
    transfer(core, op, target, Transfer::Jump)
}
#[inline(never)]
fn call_immediate<const SIZE: u64>(core: &mut Core, op: &Op) -> Done {
    transfer(core, op, immediate_pointer(op), Transfer::Call(SIZE))
}
#[inline(never)]
fn call_memory<const SIZE: u64>(core: &mut Core, op: &Op) -> Done {
    let target = load_pointer::<SIZE>(core, op)?;
    transfer(core, op, target, Transfer::Call(SIZE))
}

/// JMP or CALL to a far pointer.
fn transfer(core: &mut Core, op: &Op, to: FarPointer, how: Transfer) -> Done {
    if selectors_are_paragraphs(core) {
        let cs = paragraph_segment(core, SegReg::Cs, to.selector);
        if to.offset > cs.limit as u64 {
            return Err(Fault::gp(0));
        }
        return enter(core, op, cs, to.offset, how);
    }
    if is_null(to.selector) {
        return Err(Fault::gp(0));
    }
    let bad = Fault::gp(code_of(to.selector));
    let d = read_descriptor(core, to.selector)?.ok_or(bad)?;
    if d.is_code() {
        let cs = direct_target(core, d, to)?;
        return enter(core, op, cs, to.offset, how);
    }
    if !d.is_system() {
        return Err(bad);
    }
    let long = core.state.long_mode();
    match d.kind() {
        kind::CALL_GATE32 if long => {
            let d = read_upper(core, to.selector, d)?.ok_or(bad)?;
            gates::through_call_gate(core, op, to.selector, d, how)
        }
        kind::CALL_GATE16 | kind::CALL_GATE32 if !long => {
            gates::through_call_gate(core, op, to.selector, d, how)
        }
        kind::TASK_GATE if !long => gates::through_task_gate(core, op, to.selector, d, how),
        kind::TSS16_AVAILABLE | kind::TSS32_AVAILABLE if !long => {
            if d.dpl() < core.state.cpl || d.dpl() < (to.selector & 3) as u8 {
                return Err(bad);
            }
            if !d.present() {
                return Err(Fault::np(code_of(to.selector)));
            }
            let switch = if how == Transfer::Jump { Switch::Jump } else { Switch::Call };
            let next = core.next_rip(op);
            task::switch_from_body(core, to.selector, d, switch, next)
        }
        _ => Err(bad),
    }
}

/// Checks a code segment that a JMP or CALL names itself, and the offset in it.
fn direct_target(core: &mut Core, mut d: Descriptor, to: FarPointer) -> Result<Segment, Fault> {
    let bad = Fault::gp(code_of(to.selector));
    let cpl = core.state.cpl;
    let allowed =
        if d.is_conforming() { d.dpl() <= cpl } else { d.dpl() == cpl && (to.selector & 3) as u8 <= cpl };
    if !allowed || core.state.long_mode() && d.is_long() && d.is_32bit() {
        return Err(bad);
    }
    if !d.present() {
        return Err(Fault::np(code_of(to.selector)));
    }
    check_target(core, &d, to.offset)?;
    set_accessed(core, &mut d)?;
    Ok(d.segment(to.selector & !3 | cpl as u16))
}

/// Whether `offset` can be executed in the code segment of `d`.
///
/// # Faults
/// #GP(0) beyond the limit, or not canonical.
pub(crate) fn check_target(core: &Core, d: &Descriptor, offset: u64) -> Result<(), Fault> {
    let inside = if core.state.long_mode() && d.is_long() {
        core.canonical(offset)
    } else {
        offset <= d.limit() as u64
    };
    if inside { Ok(()) } else { Err(Fault::gp(0)) }
}

/// Pushes the return address where it is a call, and goes to `cs:offset` at the same privilege.
pub(crate) fn enter(core: &mut Core, op: &Op, cs: Segment, offset: u64, how: Transfer) -> Done {
    if let Transfer::Call(size) = how {
        let mut stack = Stack::current(core);
        let (old_cs, next) = (core.state.seg(SegReg::Cs).selector as u64, core.next_rip(op));
        stack.push(core, old_cs, size)?;
        stack.push(core, next, size)?;
        core.state.set_gpr(4, stack.sp);
    }
    core.state.segments[SegReg::Cs as usize] = cs;
    core.mode_changed();
    core.leave(offset)
}

/// RETF, with or without bytes to drop.
#[inline(never)]
fn retf<const SIZE: u64>(core: &mut Core, op: &Op) -> Done {
    let mut stack = Stack::current(core);
    let offset = stack.pop(core, SIZE)?;
    let selector = stack.pop(core, SIZE)? as u16;
    let drop = op.imm & 0xFFFF;
    if selectors_are_paragraphs(core) {
        let cs = paragraph_segment(core, SegReg::Cs, selector);
        if offset > cs.limit as u64 {
            return Err(Fault::gp(0));
        }
        stack.skip(drop);
        core.state.segments[SegReg::Cs as usize] = cs;
        core.state.set_gpr(4, stack.sp);
        core.mode_changed();
        return core.leave(offset);
    }
    let mut d = fetch_return_code(core, selector)?;
    stack.skip(drop);
    if (selector & 3) as u8 == core.state.cpl {
        check_target(core, &d, offset)?;
        set_accessed(core, &mut d)?;
        core.state.segments[SegReg::Cs as usize] = d.segment(selector);
        core.state.set_gpr(4, stack.sp);
        core.mode_changed();
        return core.leave(offset);
    }
    let sp = stack.pop(core, SIZE)?;
    let ss = stack.pop(core, SIZE)? as u16;
    return_outward(core, d, selector, offset, OuterStack { selector: ss, sp, drop })?;
    core.mode_changed();
    core.leave(offset)
}

/// Fetches and checks the code segment that RETF or IRET returns to.
///
/// # Faults
/// #GP(0) for null, #GP or #NP with the selector; #PF from the table.
pub(crate) fn fetch_return_code(core: &mut Core, selector: u16) -> Result<Descriptor, Fault> {
    if is_null(selector) {
        return Err(Fault::gp(0));
    }
    let bad = Fault::gp(code_of(selector));
    let d = read_descriptor(core, selector)?.ok_or(bad)?;
    let rpl = (selector & 3) as u8;
    let allowed = d.is_code()
        && rpl >= core.state.cpl
        && if d.is_conforming() { d.dpl() <= rpl } else { d.dpl() == rpl }
        && !(core.state.long_mode() && d.is_long() && d.is_32bit());
    if !allowed {
        return Err(bad);
    }
    if !d.present() {
        return Err(Fault::np(code_of(selector)));
    }
    Ok(d)
}

/// The stack that a return to an outer level takes up.
#[derive(Clone, Copy)]
pub(crate) struct OuterStack {
    pub(crate) selector: u16,
    pub(crate) sp: u64,
    /// Bytes of parameters to drop from it.
    pub(crate) drop: u64,
}

/// Checks and commits CS, SS, RSP and CPL of a return that pops a stack; data segments that the
/// new level must not see become null. RIP and flags are the caller's.
///
/// # Faults
/// #GP(0), #GP, #NP or #SS with a selector; #PF. Nothing is changed then.
pub(crate) fn return_outward(
    core: &mut Core,
    mut d: Descriptor,
    cs: u16,
    offset: u64,
    outer: OuterStack,
) -> Result<(), Fault> {
    let rpl = (cs & 3) as u8;
    let to_long = core.state.long_mode() && d.is_long();
    let segment = if is_null(outer.selector) {
        if !to_long || rpl == 3 || (outer.selector & 3) as u8 != rpl {
            return Err(Fault::gp(0));
        }
        Segment::null(outer.selector)
    } else {
        fetch_stack_segment(core, outer.selector, rpl, Fault::gp)?
    };
    check_target(core, &d, offset)?;
    set_accessed(core, &mut d)?;
    let sp = match (to_long, segment.is_32bit()) {
        (true, _) => outer.sp,
        (_, true) => outer.sp & 0xFFFF_FFFF,
        _ => core.state.gpr(4) & !0xFFFF | outer.sp & 0xFFFF,
    };
    let mut stack = Stack::switched(segment, sp, rpl, to_long);
    stack.skip(outer.drop);
    stack.commit(core);
    core.state.segments[SegReg::Cs as usize] = d.segment(cs);
    if rpl > core.state.cpl {
        core.state.cpl = rpl;
        drop_inner_segments(core);
    }
    Ok(())
}
