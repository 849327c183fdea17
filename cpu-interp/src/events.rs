//! What the run loop asks of the system part of the CPU between instructions.

use crate::core::Core;
use crate::insn::{debug, interrupt, smm};
use trimotor_cpu::Fault;
use trimotor_cpu::trace::InterruptKind;

/// Delivers an exception of the instruction at `state.rip` (which had no effect); double and triple
/// faults follow here. A triple fault leaves the CPU in
/// [`Activity::Shutdown`](trimotor_cpu::state::Activity) with its report.
pub fn raise(core: &mut Core, fault: Fault) {
    interrupt::raise(core, fault);
}
/// Delivers an external interrupt; wakes a halted CPU.
pub fn external(core: &mut Core, vector: u8) {
    interrupt::external(core, vector);
}
/// Delivers an NMI; wakes a halted CPU.
pub fn nmi(core: &mut Core) {
    interrupt::nmi(core);
}
/// INIT: the state after INIT, waiting for SIPI where the vCPU is no bootstrap processor.
pub fn init(core: &mut Core) {
    core.trace_interrupt(InterruptKind::Init);
    interrupt::init(core);
}
/// Start-up IPI: real mode at `vector << 12`.
pub fn startup(core: &mut Core, vector: u8) {
    core.trace_interrupt(InterruptKind::Startup(vector));
    interrupt::startup(core, vector);
}
/// System-management interrupt.
pub fn enter_smm(core: &mut Core) {
    core.trace_interrupt(InterruptKind::Smi);
    smm::enter(core);
}
/// Delivers #DB for conditions in `state.pending_debug` (bits as in DR6; bit 63 marks a data
/// breakpoint that is enabled), after the instruction that met them.
pub fn after_instruction(core: &mut Core) {
    debug::after_instruction(core);
}
/// Whether an instruction breakpoint stands at the next instruction; DR6 is then set.
pub fn before_instruction(core: &mut Core) -> bool {
    debug::before_instruction(core)
}
/// Whether the instruction that just retired may itself have set RFLAGS.RF (IRET, task switch).
pub fn sets_rf(core: &Core) -> bool {
    debug::sets_rf(core)
}
/// An instruction that began with TF set retired: adds the single-step condition (DR6.BS).
pub fn single_step_done(core: &mut Core) {
    debug::single_step_done(core);
}
