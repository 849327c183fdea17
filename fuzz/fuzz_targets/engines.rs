//! Random bytes as code, in 16-, 32- and 64-bit mode, on interpreter and translator: an engine comes back after its
//! budget, and both did the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use trimotor_cpu::VcpuExit;
use trimotor_fuzz::Input;
use trimotor_machine::engines::Engine;
use trimotor_test_support::bare::{BareMachine, LONG_MODE_CODE};

/// Instructions of a run.
const BUDGET: u64 = 200;

/// A machine about to run `code`.
fn machine(engine: Engine, mode: usize, code: &[u8]) -> BareMachine {
    if mode == 0 {
        let mut machine = BareMachine::on(engine, 1 << 20);
        machine.write(0x1_0000, code);
        machine.set_real_mode(&[0, 1, 2, 3, 0x1000, 0x2000, 0x3000, 0x4000, 0x8000, 6, 7, 8, 0, 0x202]);
        return machine;
    }
    let mut machine = BareMachine::long_mode_on(engine, code);
    if mode == 1 {
        // Compatibility mode.
        let mut state = machine.vcpu.state();
        state.segments[1].attributes = 0xC09B;
        machine.vcpu.set_state(&state);
    }
    debug_assert_eq!(machine.vcpu.state().rip, LONG_MODE_CODE);
    machine
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let mode = input.below(3);
    let code = input.bytes(1024);
    let [interp, jit] = [Engine::Interp, Engine::Jit].map(|engine| {
        let mut machine = machine(engine, mode, code);
        let exit = machine.vcpu.run(&mut machine.bus, BUDGET);
        assert!(machine.vcpu.retired() <= BUDGET, "{engine}: a budget is never exceeded");
        let mut state = machine.vcpu.state();
        state.retired = machine.vcpu.retired();
        (matches!(exit, VcpuExit::Shutdown(_)), state, machine.bus.port_writes)
    });
    assert_eq!(interp, jit);
});
