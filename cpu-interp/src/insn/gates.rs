//! Call gates and task gates (SDM Vol. 3A, Protection, "Gate Descriptors"), and the stacks that
//! a TSS holds for inner privilege levels.

use crate::core::Core;
use crate::insn::far::{Transfer, check_target, enter};
use crate::insn::far_stack::Stack;
use crate::insn::segment_descriptor::{Descriptor, code_of, is_null, kind, read_descriptor, set_accessed};
use crate::insn::segment_load::fetch_stack_segment;
use crate::insn::task::{self, Switch};
use crate::op::{Done, Op};
use trimotor_cpu::{Fault, SegReg, Segment};

/// JMP or CALL through the task gate `gate` of `selector`.
pub(crate) fn through_task_gate(
    core: &mut Core,
    op: &Op,
    selector: u16,
    gate: Descriptor,
    how: Transfer,
) -> Done {
    check_gate(core, selector, gate)?;
    let (tss, d) = task_gate_target(core, gate)?;
    let switch = if how == Transfer::Jump { Switch::Jump } else { Switch::Call };
    let next = core.next_rip(op);
    task::switch_from_body(core, tss, d, switch, next)
}

/// The available TSS that a task gate names.
///
/// # Faults
/// #GP or #NP with the TSS selector; #PF.
pub(crate) fn task_gate_target(core: &mut Core, gate: Descriptor) -> Result<(u16, Descriptor), Fault> {
    let tss = gate.gate_selector();
    let bad = Fault::gp(code_of(tss));
    if tss & 4 != 0 || is_null(tss) {
        return Err(bad);
    }
    let d = read_descriptor(core, tss)?.ok_or(bad)?;
    if !d.is_system() || !matches!(d.kind(), kind::TSS16_AVAILABLE | kind::TSS32_AVAILABLE) {
        return Err(bad);
    }
    if !d.present() {
        return Err(Fault::np(code_of(tss)));
    }
    Ok((tss, d))
}

/// Privilege and presence of a call or task gate.
fn check_gate(core: &Core, selector: u16, gate: Descriptor) -> Result<(), Fault> {
    if gate.dpl() < core.state.cpl || gate.dpl() < (selector & 3) as u8 {
        return Err(Fault::gp(code_of(selector)));
    }
    if !gate.present() {
        return Err(Fault::np(code_of(selector)));
    }
    Ok(())
}

/// JMP or CALL through the call gate `gate` of `selector`.
pub(crate) fn through_call_gate(
    core: &mut Core,
    op: &Op,
    selector: u16,
    gate: Descriptor,
    how: Transfer,
) -> Done {
    check_gate(core, selector, gate)?;
    let long = core.state.long_mode();
    let target = gate.gate_selector();
    if is_null(target) {
        return Err(Fault::gp(0));
    }
    let bad = Fault::gp(code_of(target));
    let mut d = read_descriptor(core, target)?.ok_or(bad)?;
    let cpl = core.state.cpl;
    if !d.is_code() || d.dpl() > cpl || long && (!d.is_long() || d.is_32bit()) {
        return Err(bad);
    }
    if how == Transfer::Jump && !d.is_conforming() && d.dpl() != cpl {
        return Err(bad);
    }
    if !d.present() {
        return Err(Fault::np(code_of(target)));
    }
    let size: u64 = if long {
        8
    } else if gate.kind() == kind::CALL_GATE32 {
        4
    } else {
        2
    };
    let offset = gate.gate_offset();
    let inward = how != Transfer::Jump && !d.is_conforming() && d.dpl() < cpl;
    if !inward {
        check_target(core, &d, offset)?;
        set_accessed(core, &mut d)?;
        let cs = d.segment(target & !3 | cpl as u16);
        let how = if how == Transfer::Jump { how } else { Transfer::Call(size) };
        return enter(core, op, cs, offset, how);
    }
    call_inward(core, op, gate, d, size)
}

/// CALL through a gate to an inner level: a new stack, with the parameters copied.
fn call_inward(core: &mut Core, op: &Op, gate: Descriptor, mut d: Descriptor, size: u64) -> Done {
    let level = d.dpl();
    let old = Stack::current(core);
    let mut stack = inner_stack(core, level)?;
    check_target(core, &d, gate.gate_offset())?;
    stack.push(core, old.segment.selector as u64, size)?;
    stack.push(core, old.sp & if size == 2 { 0xFFFF } else { u64::MAX }, size)?;
    if size != 8 {
        for i in (0..gate.gate_parameters() as u64).rev() {
            let parameter = old.peek(core, i * size, size)?;
            stack.push(core, parameter, size)?;
        }
    }
    let old_cs = core.state.seg(SegReg::Cs).selector as u64;
    let next = core.next_rip(op);
    stack.push(core, old_cs, size)?;
    stack.push(core, next, size)?;
    set_accessed(core, &mut d)?;
    core.state.cpl = level;
    core.state.segments[SegReg::Cs as usize] = d.segment(gate.gate_selector() & !3 | level as u16);
    stack.commit(core);
    core.mode_changed();
    core.leave(gate.gate_offset())
}

/// The stack for privilege `level` that the TSS holds. In long mode its SS is null.
///
/// # Faults
/// #TS with the TSS's or the stack's selector, #SS with the stack's selector, #SS(0) for a
/// pointer that is not canonical; #PF.
pub(crate) fn inner_stack(core: &mut Core, level: u8) -> Result<Stack, Fault> {
    if core.state.long_mode() {
        let sp = long_stack_pointer(core, 4 + level as u64 * 8)?;
        return Ok(Stack::switched(Segment::null(level as u16), sp, level, true));
    }
    let tr = core.state.tr;
    let wide = tr.kind() & 8 != 0;
    let (at, last) = if wide {
        let at = 4 + level as u64 * 8;
        (at, at + 5)
    } else {
        let at = 2 + level as u64 * 4;
        (at, at + 3)
    };
    if last > tr.limit as u64 {
        return Err(Fault::ts(code_of(tr.selector)));
    }
    let at = tr.base.wrapping_add(at);
    let (sp, ss) = if wide {
        (core.read_system::<u32>(at)? as u64, core.read_system::<u16>(at.wrapping_add(4))?)
    } else {
        (core.read_system::<u16>(at)? as u64, core.read_system::<u16>(at.wrapping_add(2))?)
    };
    if is_null(ss) {
        return Err(Fault::ts(0));
    }
    let segment = fetch_stack_segment(core, ss, level, Fault::ts)?;
    Ok(Stack::switched(segment, sp, level, false))
}

/// A stack pointer of the 64-bit TSS at `offset`: RSP0 to RSP2 or IST1 to IST7.
///
/// # Faults
/// #TS with the TSS's selector, #SS(0) if not canonical; #PF.
pub(crate) fn long_stack_pointer(core: &mut Core, offset: u64) -> Result<u64, Fault> {
    let tr = core.state.tr;
    if offset + 7 > tr.limit as u64 {
        return Err(Fault::ts(code_of(tr.selector)));
    }
    let sp = core.read_system::<u64>(tr.base.wrapping_add(offset))?;
    if core.canonical(sp) { Ok(sp) } else { Err(Fault::ss(0)) }
}
