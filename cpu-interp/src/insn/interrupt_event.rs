//! Delivery of interrupts and exceptions through the IVT, the IDT and task gates
//! (SDM Vol. 3A, Interrupt and Exception Handling; Vol. 2, INT n).

use crate::core::Core;
use crate::insn::branch_record;
use crate::insn::far::check_target;
use crate::insn::far_stack::Stack;
use crate::insn::gates::{inner_stack, long_stack_pointer, task_gate_target};
use crate::insn::segment_descriptor::{Descriptor, code_of, is_null, kind, read_descriptor, set_accessed};
use crate::insn::segment_load::paragraph_segment;
use crate::insn::task::{self, Switch};
use trimotor_cpu::flags::Rflags;
use trimotor_cpu::{Fault, SegReg, Segment};

/// Where an event comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Source {
    /// INTR.
    External,
    /// NMI.
    Nmi,
    /// An exception of the CPU.
    Exception,
    /// INT n.
    Software,
    /// INT3 and INTO.
    SoftwareException,
    /// INT1: no privilege check.
    PrivilegedSoftware,
}

impl Source {
    /// An instruction asked for it.
    fn is_software(self) -> bool {
        self.is_checked_software() || self == Source::PrivilegedSoftware
    }
    /// INT n, INT3, INTO: the gate's DPL is checked, and errors do not tell of an external event.
    fn is_checked_software(self) -> bool {
        matches!(self, Source::Software | Source::SoftwareException)
    }
}

/// An interrupt or exception to deliver.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event {
    pub(crate) vector: u8,
    pub(crate) source: Source,
    pub(crate) error_code: Option<u16>,
    /// RIP to return to.
    pub(crate) return_rip: u64,
}

/// What delivery did where it succeeded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Delivered {
    /// `state.rip` is at the handler.
    Handler,
    /// A task switch is done, and in the new task a fault stands before its first instruction.
    TaskFault(Fault),
}

/// Delivers `event`: pushes the frame and sets CS, RIP, SS, RSP and flags; `state.rip` is the
/// handler's.
///
/// # Faults
/// A fault on the way, with EXT set as it should be; nothing is changed then.
pub(crate) fn deliver(core: &mut Core, event: Event) -> Result<Delivered, Fault> {
    let result = if !core.state.protected() {
        real_mode(core, event)
    } else if core.state.long_mode() {
        long_mode(core, event)
    } else {
        protected_mode(core, event)
    };
    match result {
        Ok(done) => {
            // The handler begins without an interrupt shadow and without a single-step trap of
            // the instruction that led here.
            core.state.shadow_at = u64::MAX;
            core.state.pending_debug &= !SINGLE_STEP;
            core.repeating_at = u64::MAX;
            if !event.source.is_software() {
                branch_record::record_event(core, event.return_rip);
            }
            if event.source == Source::Nmi {
                core.state.nmi_blocked = true;
            }
            Ok(done)
        }
        Err(fault) => Err(with_ext(fault, event.source)),
    }
}

/// DR6.BS.
pub(crate) const SINGLE_STEP: u64 = 1 << 14;

/// Sets the EXT bit of a selector error code.
fn with_ext(fault: Fault, source: Source) -> Fault {
    match (fault.vector(), fault.error_code()) {
        (vector @ 10..=13, Some(code)) if !source.is_checked_software() => Fault::with_code(vector, code | 1),
        _ => fault,
    }
}

/// Whether the pushed RFLAGS has RF set: faults other than debug exceptions, and interrupts after an
/// iteration of a repeated string instruction but the last (SDM Vol. 3B, "Instruction-Breakpoint
/// Exception Condition").
fn pushes_rf(core: &Core, event: &Event) -> bool {
    match event.source {
        Source::Exception => !matches!(event.vector, 1 | 3 | 4 | 18),
        Source::External | Source::Nmi => core.is_repeating(),
        _ => false,
    }
}

fn flags_image(core: &Core, event: &Event) -> u64 {
    core.state.rflags() | if pushes_rf(core, event) { Rflags::RF.bits() } else { 0 }
}

/// Clears what delivery clears; `interrupt_gate` clears IF too.
fn clear_flags(core: &mut Core, interrupt_gate: bool) {
    let mut clear = Rflags::TF | Rflags::NT | Rflags::RF | Rflags::VM;
    if interrupt_gate {
        clear |= Rflags::IF;
    }
    core.state.rflags.remove(clear);
}

/// The interrupt vector table: four bytes a vector.
fn real_mode(core: &mut Core, event: Event) -> Result<Delivered, Fault> {
    let at = event.vector as u64 * 4;
    if at + 3 > core.state.idtr.limit as u64 {
        return Err(Fault::gp(event.vector as u16 * 8 + 2));
    }
    let entry = core.read_system::<u32>(core.state.idtr.base.wrapping_add(at))?;
    let mut stack = Stack::current(core);
    stack.push(core, core.state.rflags(), 2)?;
    stack.push(core, core.state.seg(SegReg::Cs).selector as u64, 2)?;
    stack.push(core, event.return_rip, 2)?;
    let cs = paragraph_segment(core, SegReg::Cs, (entry >> 16) as u16);
    core.state.set_gpr(4, stack.sp);
    core.state.segments[SegReg::Cs as usize] = cs;
    core.state.rflags.remove(Rflags::IF | Rflags::TF | Rflags::AC | Rflags::RF);
    core.state.rip = entry as u64 & 0xFFFF;
    core.mode_changed();
    Ok(Delivered::Handler)
}

/// Reads the gate of a vector. `size` is 8, or 16 in long mode.
fn read_gate(core: &mut Core, event: &Event, size: u64) -> Result<Descriptor, Fault> {
    let idt_code = event.vector as u16 * 8 + 2;
    let at = event.vector as u64 * size;
    if at + size - 1 > core.state.idtr.limit as u64 {
        return Err(Fault::gp(idt_code));
    }
    let at = core.state.idtr.base.wrapping_add(at);
    let low = core.read_system::<u64>(at)?;
    let high = if size == 16 { core.read_system::<u64>(at.wrapping_add(8))? & 0xFFFF_FFFF } else { 0 };
    let gate = Descriptor { low, high, at };
    let known = gate.is_system()
        && match gate.kind() {
            kind::INTERRUPT_GATE32 | kind::TRAP_GATE32 => true,
            kind::TASK_GATE | kind::INTERRUPT_GATE16 | kind::TRAP_GATE16 => size == 8,
            _ => false,
        };
    if !known || event.source.is_checked_software() && gate.dpl() < core.state.cpl {
        return Err(Fault::gp(idt_code));
    }
    if !gate.present() {
        return Err(Fault::np(idt_code));
    }
    Ok(gate)
}

/// Fetches and checks the handler's code segment.
fn handler_segment(core: &mut Core, gate: &Descriptor) -> Result<Descriptor, Fault> {
    let selector = gate.gate_selector();
    if is_null(selector) {
        return Err(Fault::gp(0));
    }
    let bad = Fault::gp(code_of(selector));
    let d = read_descriptor(core, selector)?.ok_or(bad)?;
    if !d.is_code() || d.dpl() > core.state.cpl {
        return Err(bad);
    }
    if core.state.long_mode() && (!d.is_long() || d.is_32bit()) {
        return Err(bad);
    }
    if !d.present() {
        return Err(Fault::np(code_of(selector)));
    }
    Ok(d)
}

/// 32-bit protected mode and virtual-8086 mode.
fn protected_mode(core: &mut Core, event: Event) -> Result<Delivered, Fault> {
    let gate = read_gate(core, &event, 8)?;
    if gate.kind() == kind::TASK_GATE {
        return through_task_gate(core, event, gate);
    }
    let mut d = handler_segment(core, &gate)?;
    let size: u64 = if gate.kind() & 8 != 0 { 4 } else { 2 };
    let v86 = core.state.v86();
    let level = if d.is_conforming() { core.state.cpl } else { d.dpl() };
    if v86 && level != 0 {
        return Err(Fault::gp(code_of(gate.gate_selector())));
    }
    let inward = level < core.state.cpl;
    let old = Stack::current(core);
    let mut stack = if inward { inner_stack(core, level)? } else { old };
    check_target(core, &d, gate.gate_offset())?;
    if v86 {
        for reg in [SegReg::Gs, SegReg::Fs, SegReg::Ds, SegReg::Es] {
            stack.push(core, core.state.seg(reg).selector as u64, size)?;
        }
    }
    if inward {
        stack.push(core, old.segment.selector as u64, size)?;
        stack.push(core, old.sp, size)?;
    }
    stack.push(core, flags_image(core, &event), size)?;
    stack.push(core, core.state.seg(SegReg::Cs).selector as u64, size)?;
    stack.push(core, event.return_rip, size)?;
    if let Some(code) = event.error_code {
        stack.push(core, code as u64, size)?;
    }
    set_accessed(core, &mut d)?;
    if v86 {
        for reg in [SegReg::Gs, SegReg::Fs, SegReg::Ds, SegReg::Es] {
            core.state.segments[reg as usize] = Segment::null(0);
        }
    }
    clear_flags(core, gate.kind() & 1 == 0);
    enter_handler(
        core,
        stack,
        level,
        d.segment(gate.gate_selector() & !3 | level as u16),
        gate.gate_offset(),
    );
    Ok(Delivered::Handler)
}

fn enter_handler(core: &mut Core, stack: Stack, level: u8, cs: Segment, offset: u64) {
    stack.commit(core);
    core.state.cpl = level;
    core.state.segments[SegReg::Cs as usize] = cs;
    core.state.rip = offset;
    core.mode_changed();
}

/// Long mode: 16-byte gates, always a 64-bit handler, an aligned frame with SS:RSP.
fn long_mode(core: &mut Core, event: Event) -> Result<Delivered, Fault> {
    let gate = read_gate(core, &event, 16)?;
    let mut d = handler_segment(core, &gate)?;
    let level = if d.is_conforming() { core.state.cpl } else { d.dpl() };
    let inward = level < core.state.cpl;
    let old = Stack::current(core);
    let segment = if inward { Segment::null(level as u16) } else { old.segment };
    let sp = match gate.gate_ist() {
        0 if inward => long_stack_pointer(core, 4 + level as u64 * 8)?,
        0 => old.sp,
        ist => long_stack_pointer(core, 28 + ist as u64 * 8)?,
    };
    let mut stack = Stack::switched(segment, sp & !15, level, true);
    check_target(core, &d, gate.gate_offset())?;
    stack.push(core, old.segment.selector as u64, 8)?;
    stack.push(core, old.sp, 8)?;
    stack.push(core, flags_image(core, &event), 8)?;
    stack.push(core, core.state.seg(SegReg::Cs).selector as u64, 8)?;
    stack.push(core, event.return_rip, 8)?;
    if let Some(code) = event.error_code {
        stack.push(core, code as u64, 8)?;
    }
    set_accessed(core, &mut d)?;
    clear_flags(core, gate.kind() & 1 == 0);
    enter_handler(
        core,
        stack,
        level,
        d.segment(gate.gate_selector() & !3 | level as u16),
        gate.gate_offset(),
    );
    Ok(Delivered::Handler)
}

/// A task gate in the IDT: a nested task, with the error code on its stack.
fn through_task_gate(core: &mut Core, event: Event, gate: Descriptor) -> Result<Delivered, Fault> {
    let (selector, d) = task_gate_target(core, gate)?;
    let rf = pushes_rf(core, &event);
    if let Some(fault) = task::switch(core, selector, d, Switch::Interrupt { rf }, event.return_rip)? {
        return Ok(Delivered::TaskFault(fault));
    }
    if let Some(code) = event.error_code {
        let size = if d.kind() & 8 != 0 { 4 } else { 2 };
        let mut stack = Stack::current(core);
        match stack.push(core, code as u64, size) {
            Ok(()) => core.state.set_gpr(4, stack.sp),
            Err(fault) => return Ok(Delivered::TaskFault(with_ext(fault, event.source))),
        }
    }
    Ok(Delivered::Handler)
}
