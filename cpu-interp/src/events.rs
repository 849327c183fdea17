//! What the run loop asks of the system part of the CPU between instructions.
//!
//! Being connected to the instruction families of `insn`.

use crate::core::Core;
use trimotor_cpu::Fault;
use trimotor_cpu::state::Activity;

/// Delivers an exception of the instruction at `state.rip` (which had no effect); double and triple
/// faults follow here. A triple fault leaves the CPU in [`Activity::Shutdown`] with its report.
pub fn raise(core: &mut Core, _fault: Fault) {
    core.state.activity = Activity::Shutdown;
}
/// Delivers an external interrupt; wakes a halted CPU.
pub fn external(_core: &mut Core, _vector: u8) {}
/// Delivers an NMI; wakes a halted CPU.
pub fn nmi(_core: &mut Core) {}
/// INIT: the state after INIT, waiting for SIPI where the vCPU is no bootstrap processor.
pub fn init(_core: &mut Core) {}
/// Start-up IPI: real mode at `vector << 12`.
pub fn startup(_core: &mut Core, _vector: u8) {}
/// System-management interrupt.
pub fn enter_smm(_core: &mut Core) {}
/// Delivers #DB for conditions in `state.pending_debug` (bits as in DR6; bit 63 marks a data
/// breakpoint that is enabled), after the instruction that met them.
pub fn after_instruction(core: &mut Core) {
    core.state.pending_debug = 0;
}
/// Whether an instruction breakpoint stands at the next instruction; DR6 is then set.
pub fn before_instruction(_core: &mut Core) -> bool {
    false
}
/// Whether the instruction that just retired may itself have set RFLAGS.RF (IRET, task switch).
pub fn sets_rf(_core: &Core) -> bool {
    false
}
/// An instruction that began with TF set retired: adds the single-step condition (DR6.BS).
pub fn single_step_done(core: &mut Core) {
    core.state.pending_debug |= 1 << 14;
}
