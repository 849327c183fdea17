//! Hardware task switches (SDM Vol. 3A, Task Management).
//!
//! A switch is in two halves. The first checks and touches everything that can be checked in the
//! old task, and a fault in it changes nothing. Then the old state is saved, TR, CR3, EIP, flags
//! and registers come from the new TSS, and what goes wrong from there (a bad LDT or segment
//! selector) is a fault of the new task, before its first instruction.

use crate::core::Core;
use crate::insn::segment_descriptor::{
    Descriptor, code_of, is_null, kind, read_descriptor, set_accessed, set_busy,
};
use crate::insn::segment_load::{fetch_ldt, v86_segment};
use crate::insn::task_segment::{Layout, TaskImage, TaskSegment};
use crate::insn::{debug, interrupt};
use crate::op::Done;
use trimotor_cpu::flags::Rflags;
use trimotor_cpu::registers::Cr0;
use trimotor_cpu::{Fault, SegReg, Segment};

/// What causes a switch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Switch {
    /// JMP.
    Jump,
    /// CALL: the new task is nested.
    Call,
    /// An interrupt or exception: nested too; the saved flags may have RF set.
    Interrupt {
        /// Set RF in the saved flags.
        rf: bool,
    },
    /// IRET to the task that called.
    Iret,
}

impl Switch {
    fn nests(self) -> bool {
        matches!(self, Switch::Call | Switch::Interrupt { .. })
    }
}

/// Switches from an instruction body that goes on at `next_rip` when the task is resumed.
///
/// # Faults
/// Those of the old task. Those of the new one are delivered from here.
pub(crate) fn switch_from_body(
    core: &mut Core,
    selector: u16,
    d: Descriptor,
    how: Switch,
    next_rip: u64,
) -> Done {
    if let Some(fault) = switch(core, selector, d, how, next_rip)? {
        return interrupt::raise_after_commit(core, fault);
    }
    core.leave(core.state.rip)
}

/// The smallest limit of a TSS of this type.
fn smallest_limit(layout: Layout) -> u32 {
    if layout == Layout::Bits32 { 0x67 } else { 0x2B }
}

/// Switches to the task of TSS descriptor `d`, whose type and presence were checked.
///
/// `Ok(Some(fault))`: the switch is done, and `fault` stands in the new task before its first
/// instruction.
///
/// # Faults
/// Those of the old task: #TS with the TSS's selector, #PF. Nothing is changed then.
pub(crate) fn switch(
    core: &mut Core,
    selector: u16,
    mut d: Descriptor,
    how: Switch,
    return_rip: u64,
) -> Result<Option<Fault>, Fault> {
    let layout = if d.kind() & 8 != 0 { Layout::Bits32 } else { Layout::Bits16 };
    if d.limit() < smallest_limit(layout) {
        return Err(Fault::ts(code_of(selector)));
    }
    let old = core.state.tr;
    let old_layout = if old.kind() & 8 != 0 { Layout::Bits32 } else { Layout::Bits16 };
    if old.limit < smallest_limit(old_layout) {
        return Err(Fault::ts(code_of(old.selector)));
    }
    let new_segment = TaskSegment { base: d.base(), layout };
    let old_segment = TaskSegment { base: old.base, layout: old_layout };
    let mut image = new_segment.read(core)?;
    let mut flags = core.state.rflags();
    match how {
        Switch::Iret => flags &= !Rflags::NT.bits(),
        Switch::Interrupt { rf: true } => flags |= Rflags::RF.bits(),
        _ => {}
    }
    let old_tss_at = busy_byte(core, old.selector);
    old_segment.save(core, flags, return_rip)?;
    if how.nests() {
        core.write_system::<u16>(new_segment.base, old.selector)?;
        image.flags |= Rflags::NT.bits();
    }
    if matches!(how, Switch::Jump | Switch::Iret)
        && let Some(at) = old_tss_at
    {
        set_busy(core, at, false)?;
    }
    if how != Switch::Iret {
        set_busy(core, d.at, true)?;
    }
    d.low |= 2 << 40;
    core.state.tr = d.segment(selector);
    Ok(load_task(core, &image, layout).err())
}

/// Linear address of the descriptor of the present TSS.
fn busy_byte(core: &Core, selector: u16) -> Option<u64> {
    let offset = (selector & !7) as u64;
    let inside = selector & 4 == 0 && !is_null(selector) && offset + 7 <= core.state.gdtr.limit as u64;
    inside.then(|| core.state.gdtr.base.wrapping_add(offset) & 0xFFFF_FFFF)
}

/// Loads the new task's registers; an error is a fault of the new task.
fn load_task(core: &mut Core, image: &TaskImage, layout: Layout) -> Result<(), Fault> {
    let s = &mut core.state;
    s.cr0.insert(Cr0::TS);
    let loads_cr3 = layout == Layout::Bits32 && s.cr0.contains(Cr0::PG);
    s.rip = image.eip;
    let kept = if layout == Layout::Bits16 {
        s.rflags() & 0xFFFF_0000 & !Rflags::VM.bits() & !Rflags::RF.bits()
    } else {
        0
    };
    s.set_rflags(image.flags & 0x3F_7FD7 | kept | 2);
    // A 16-bit TSS has no upper halves: they become all ones.
    let upper = if layout == Layout::Bits16 { 0xFFFF_0000 } else { 0 };
    for (i, value) in image.registers.iter().enumerate() {
        s.set_gpr(i, upper | value);
    }
    let v86 = s.v86();
    for reg in SegReg::ALL {
        let selector = image.selectors[reg as usize];
        // Until they are checked, segments are as unusable as null ones.
        s.segments[reg as usize] = if v86 { v86_segment(selector) } else { Segment::null(selector) };
    }
    s.ldtr = Segment::null(image.ldt);
    s.dr[7] &= !0x155;
    s.shadow_at = u64::MAX;
    s.cpl = if v86 { 3 } else { (image.selectors[SegReg::Cs as usize] & 3) as u8 };
    let loaded = if loads_cr3 { crate::insn::control_paging::load_cr3(core, image.cr3) } else { Ok(()) };
    core.mode_changed();
    let result = loaded.and_then(|()| load_segments(core, image)).and_then(|()| {
        if image.eip > core.state.seg(SegReg::Cs).limit as u64 { Err(Fault::gp(0)) } else { Ok(()) }
    });
    core.mode_changed();
    result?;
    if image.debug_trap {
        core.state.pending_debug |= debug::TASK_TRAP;
        return Err(debug::take_debug(core));
    }
    Ok(())
}

/// Loads LDTR and the segment registers of the new task; what cannot be loaded is left unusable.
fn load_segments(core: &mut Core, image: &TaskImage) -> Result<(), Fault> {
    core.state.ldtr = fetch_ldt(core, image.ldt, Fault::ts, Fault::ts)?;
    if core.state.v86() {
        return Ok(());
    }
    let cpl = core.state.cpl;
    let cs = image.selectors[SegReg::Cs as usize];
    core.state.segments[SegReg::Cs as usize] = fetch_code(core, cs)?;
    let ss = image.selectors[SegReg::Ss as usize];
    if is_null(ss) {
        return Err(Fault::ts(0));
    }
    core.state.segments[SegReg::Ss as usize] =
        crate::insn::segment_load::fetch_stack_segment(core, ss, cpl, Fault::ts)?;
    for reg in [SegReg::Ds, SegReg::Es, SegReg::Fs, SegReg::Gs] {
        let selector = image.selectors[reg as usize];
        core.state.segments[reg as usize] = fetch_data(core, selector)?;
    }
    Ok(())
}

fn fetch_code(core: &mut Core, selector: u16) -> Result<Segment, Fault> {
    let bad = Fault::ts(code_of(selector));
    if is_null(selector) {
        return Err(Fault::ts(0));
    }
    let mut d = read_descriptor(core, selector)?.ok_or(bad)?;
    let rpl = (selector & 3) as u8;
    if !d.is_code() || if d.is_conforming() { d.dpl() > rpl } else { d.dpl() != rpl } {
        return Err(bad);
    }
    if !d.present() {
        return Err(Fault::np(code_of(selector)));
    }
    set_accessed(core, &mut d)?;
    Ok(d.segment(selector))
}

fn fetch_data(core: &mut Core, selector: u16) -> Result<Segment, Fault> {
    if is_null(selector) {
        return Ok(Segment::null(selector));
    }
    let bad = Fault::ts(code_of(selector));
    let mut d = read_descriptor(core, selector)?.ok_or(bad)?;
    let seen = d.is_conforming() || d.dpl() >= core.state.cpl && d.dpl() >= (selector & 3) as u8;
    if !d.is_readable() || !seen {
        return Err(bad);
    }
    if !d.present() {
        return Err(Fault::np(code_of(selector)));
    }
    set_accessed(core, &mut d)?;
    Ok(d.segment(selector))
}

/// IRET with NT set: back to the task in the link field of the TSS.
///
/// # Faults
/// #TS with the link or the current TSS's selector, #NP; #PF.
pub(crate) fn return_to_caller(core: &mut Core, next_rip: u64) -> Done {
    let tr = core.state.tr;
    let link = core.read_system::<u16>(tr.base)?;
    let bad = Fault::ts(code_of(link));
    if link & 4 != 0 || is_null(link) {
        return Err(bad);
    }
    let d = read_descriptor(core, link)?.ok_or(bad)?;
    if !d.is_system() || !matches!(d.kind(), kind::TSS16_BUSY | kind::TSS32_BUSY) {
        return Err(bad);
    }
    if !d.present() {
        return Err(Fault::np(code_of(link)));
    }
    switch_from_body(core, link, d, Switch::Iret, next_rip)
}
