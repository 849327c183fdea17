//! Loading segment registers: MOV, POP, LDS and its kin, LLDT, LTR.
//!
//! In real mode a load replaces selector and base and leaves limit and attributes, which is
//! what "unreal" mode lives on. In virtual-8086 mode it gives 64 KiB of ring-3 data. In
//! protected mode the descriptor is fetched and checked (SDM Vol. 3A, Protection; Vol. 2,
//! MOV).

use crate::core::Core;
use crate::insn::segment_descriptor::{
    Descriptor, code_of, is_null, kind, read_descriptor, read_upper, set_accessed, set_busy,
};
use trimotor_cpu::{Fault, SegReg, Segment};

/// A segment as a load in virtual-8086 mode gives it.
pub(crate) const fn v86_segment(selector: u16) -> Segment {
    Segment { base: (selector as u64) << 4, limit: 0xFFFF, attributes: 0xF3, selector }
}

/// Whether segment registers are loaded without descriptors: real or virtual-8086 mode.
pub(crate) fn selectors_are_paragraphs(core: &Core) -> bool {
    !core.state.protected() || core.state.v86()
}

/// What loading `selector` into a register gives in real or virtual-8086 mode.
pub(crate) fn paragraph_segment(core: &Core, reg: SegReg, selector: u16) -> Segment {
    if core.state.v86() {
        return v86_segment(selector);
    }
    let old = core.state.seg(reg);
    let attributes = if reg == SegReg::Cs {
        old.attributes & !0x6F | Segment::S | Segment::P | Segment::RW | Segment::ACCESSED
    } else {
        old.attributes
    };
    Segment { base: (selector as u64) << 4, limit: old.limit, attributes, selector }
}

/// Fetches and checks what MOV or POP load into `reg` (not CS).
///
/// # Faults
/// #GP, #NP, #SS with the selector; #PF from the table.
pub(crate) fn fetch_segment(core: &mut Core, reg: SegReg, selector: u16) -> Result<Segment, Fault> {
    if selectors_are_paragraphs(core) {
        return Ok(paragraph_segment(core, reg, selector));
    }
    if reg == SegReg::Ss {
        let cpl = core.state.cpl;
        if is_null(selector) {
            let allowed = core.state.is_64bit_code() && cpl != 3 && (selector & 3) as u8 == cpl;
            return if allowed { Ok(Segment::null(selector)) } else { Err(Fault::gp(0)) };
        }
        return fetch_stack_segment(core, selector, cpl, Fault::gp);
    }
    if is_null(selector) {
        return Ok(Segment::null(selector));
    }
    let bad = Fault::gp(code_of(selector));
    let mut d = read_descriptor(core, selector)?.ok_or(bad)?;
    if !d.is_readable() {
        return Err(bad);
    }
    if !d.is_conforming() && (selector & 3) as u8 > d.dpl() || !d.is_conforming() && core.state.cpl > d.dpl()
    {
        return Err(bad);
    }
    if !d.present() {
        return Err(Fault::np(code_of(selector)));
    }
    set_accessed(core, &mut d)?;
    Ok(d.segment(selector))
}

/// Fetches and checks a stack segment for privilege `cpl`; `selector` is not null. `bad` makes the
/// fault for a wrong one: #GP for loads and returns, #TS for stacks from a TSS.
///
/// # Faults
/// `bad`, or #SS if it is not present, with the selector; #PF from the table.
pub(crate) fn fetch_stack_segment(
    core: &mut Core,
    selector: u16,
    cpl: u8,
    bad: fn(u16) -> Fault,
) -> Result<Segment, Fault> {
    let wrong = bad(code_of(selector));
    let mut d = read_descriptor(core, selector)?.ok_or(wrong)?;
    if (selector & 3) as u8 != cpl || !d.is_writable_data() || d.dpl() != cpl {
        return Err(wrong);
    }
    if !d.present() {
        return Err(Fault::ss(code_of(selector)));
    }
    set_accessed(core, &mut d)?;
    Ok(d.segment(selector))
}

/// Fetches and checks what LLDT loads; `bad` makes the fault for a wrong one (#GP, or #TS in a
/// task switch).
///
/// # Faults
/// `bad` or #NP (#TS in a task switch) with the selector; #PF from the table.
pub(crate) fn fetch_ldt(
    core: &mut Core,
    selector: u16,
    bad: fn(u16) -> Fault,
    absent: fn(u16) -> Fault,
) -> Result<Segment, Fault> {
    if is_null(selector) {
        return Ok(Segment::null(selector));
    }
    let d = fetch_system(core, selector, bad)?;
    if d.kind() != kind::LDT {
        return Err(bad(code_of(selector)));
    }
    if !d.present() {
        return Err(absent(code_of(selector)));
    }
    if core.state.long_mode() && !core.is_canonical_base(d.base()) {
        return Err(bad(code_of(selector)));
    }
    Ok(d.segment(selector))
}

/// Fetches a system descriptor from the GDT, 16 bytes of it in long mode.
fn fetch_system(core: &mut Core, selector: u16, bad: fn(u16) -> Fault) -> Result<Descriptor, Fault> {
    let wrong = bad(code_of(selector));
    if selector & 4 != 0 {
        return Err(wrong);
    }
    let d = read_descriptor(core, selector)?.ok_or(wrong)?;
    if !d.is_system() {
        return Err(wrong);
    }
    if core.state.long_mode() { read_upper(core, selector, d)?.ok_or(wrong) } else { Ok(d) }
}

/// LTR: fetches, checks, and marks busy in the table.
///
/// # Faults
/// #GP(0) for a null selector, #GP or #NP with the selector; #PF from the table.
pub(crate) fn fetch_tss(core: &mut Core, selector: u16) -> Result<Segment, Fault> {
    if is_null(selector) {
        return Err(Fault::gp(0));
    }
    let bad = Fault::gp(code_of(selector));
    let mut d = fetch_system(core, selector, Fault::gp)?;
    let available =
        d.kind() == kind::TSS32_AVAILABLE || d.kind() == kind::TSS16_AVAILABLE && !core.state.long_mode();
    if !available {
        return Err(bad);
    }
    if !d.present() {
        return Err(Fault::np(code_of(selector)));
    }
    if core.state.long_mode() && !core.is_canonical_base(d.base()) {
        return Err(Fault::gp(code_of(selector)));
    }
    set_busy(core, d.at, true)?;
    d.low |= 2 << 40;
    Ok(d.segment(selector))
}

/// After a change to an outer privilege level: data segments that the new level must not see
/// become null. Only the selector does, and the segment cannot be used: unlike a load of a null selector this
/// leaves the base, which 64-bit code goes on to use for FS and GS.
pub(crate) fn drop_inner_segments(core: &mut Core) {
    let cpl = core.state.cpl;
    for reg in [SegReg::Es, SegReg::Ds, SegReg::Fs, SegReg::Gs] {
        let s = *core.state.seg(reg);
        let conforming = s.is_code() && s.attributes & Segment::DC != 0;
        if s.present() && !conforming && s.dpl() < cpl {
            core.state.segments[reg as usize] = Segment { selector: 0, attributes: 0, ..s };
        }
    }
}
