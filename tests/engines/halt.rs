//! What ends a halt, as engines tell it: the signals that a vCPU would take as its state stands.

use iced_x86::code_asm::*;
use trimotor_bus::VcpuSignals as S;
use trimotor_cpu::VcpuExit;
use trimotor_cpu::state::Activity;

use crate::support::bare::{BareMachine, LONG_MODE_CODE};
use crate::support::engines::ALL_ENGINES;
use crate::support::needs::Tests;
use trimotor_machine::engines::Engine;

pub fn tests() -> Tests {
    Tests::new()
        .each(&ALL_ENGINES, hlt_with_interrupts_on_ends_at_any_signal)
        .each(&ALL_ENGINES, hlt_with_interrupts_off_ends_at_nmi_smi_and_init)
        .each(&ALL_ENGINES, an_interrupt_that_is_pending_at_hlt_is_not_slept_through)
        .each(&ALL_ENGINES, a_processor_that_waits_for_sipi_takes_init_and_sipi)
}

/// The signals that end the HLT behind `before`.
fn open_at_hlt(engine: Engine, check: impl Fn(u32, &str), before: impl Fn(&mut CodeAssembler)) {
    let mut a = CodeAssembler::new(64).unwrap();
    before(&mut a);
    a.hlt().unwrap();
    let mut m = BareMachine::long_mode_on(engine, &a.assemble(LONG_MODE_CODE).unwrap());
    assert!(m.run_to_hlt(100), "{engine}");
    check(m.vcpu.open_signals(), engine.name());
}

fn hlt_with_interrupts_on_ends_at_any_signal(engine: Engine) {
    let all = S::INTR | S::NMI | S::SMI | S::INIT;
    // The shadow of STI covers HLT itself, not the halt.
    open_at_hlt(engine, |open, engine| assert_eq!(open, all, "{engine}"), |a| a.sti().unwrap());
}

fn hlt_with_interrupts_off_ends_at_nmi_smi_and_init(engine: Engine) {
    let others = S::NMI | S::SMI | S::INIT;
    open_at_hlt(engine, |open, engine| assert_eq!(open, others, "{engine}"), |a| a.cli().unwrap());
}

fn an_interrupt_that_is_pending_at_hlt_is_not_slept_through(engine: Engine) {
    let mut a = CodeAssembler::new(64).unwrap();
    a.cli().unwrap();
    a.hlt().unwrap();
    let mut m = BareMachine::long_mode_on(engine, &a.assemble(LONG_MODE_CODE).unwrap());
    m.signals.raise(S::INTR);
    assert!(m.run_to_hlt(100), "{engine}: masked");
    assert_eq!(m.signals.pending() & m.vcpu.open_signals(), 0, "{engine}: INTR waits");
    let mut state = m.vcpu.state();
    state.rflags |= 1 << 9;
    m.vcpu.set_state(&state);
    assert_eq!(m.signals.pending() & m.vcpu.open_signals(), S::INTR, "{engine}: INTR wakes");
}

fn a_processor_that_waits_for_sipi_takes_init_and_sipi(engine: Engine) {
    let mut m = BareMachine::on(engine, 1 << 20);
    let mut state = m.vcpu.state();
    state.activity = Activity::WaitForSipi;
    m.vcpu.set_state(&state);
    m.signals.raise(S::INTR | S::NMI);
    assert_eq!(m.vcpu.run(&mut m.bus, 100), VcpuExit::Halted, "{engine}");
    assert_eq!(m.vcpu.open_signals(), S::INIT | S::SIPI, "{engine}");
}
