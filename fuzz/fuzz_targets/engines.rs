//! Random bytes as code, in 16-, 32- and 64-bit mode, on interpreter and translator: an engine comes back after its
//! budget, and both did the same.
//!
//! Code that writes page-table entries and invalidates nothing is not compared: how long the old translation is used
//! is an engine's own, as it is a processor's.

#![no_main]

use libfuzzer_sys::fuzz_target;
use trimotor_bus::PhysAddr;
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

/// The page tables without the flags that walks set.
fn tables(machine: &BareMachine) -> Vec<u64> {
    const ACCESSED_AND_DIRTY: u64 = 0x60;
    let entries = (0x1000..0x4000).chain(0x1_0000..0x1_8000).step_by(8);
    entries.map(|at| machine.memory.read_u64(PhysAddr(at)) & !ACCESSED_AND_DIRTY).collect()
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let mode = input.below(3);
    let code = input.bytes(1024);
    let [interp, jit] = [Engine::Interp, Engine::Jit].map(|engine| {
        let mut machine = machine(engine, mode, code);
        let before = tables(&machine);
        let exit = machine.vcpu.run(&mut machine.bus, BUDGET);
        assert!(machine.vcpu.retired() <= BUDGET, "{engine}: a budget is never exceeded");
        let mut state = machine.vcpu.state();
        state.retired = machine.vcpu.retired();
        let tables_written = mode != 0 && tables(&machine) != before;
        (tables_written, matches!(exit, VcpuExit::Shutdown(_)), state, machine.bus.port_writes)
    });
    assert!(interp == jit || interp.0 || jit.0, "{interp:x?}\n{jit:x?}");
});
