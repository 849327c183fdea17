//! A repeated string instruction of billions of elements does not keep a vCPU from ending its run.

#![allow(clippy::unwrap_used, reason = "a guest that does not assemble ends the test")]

use iced_x86::code_asm::*;
use trimotor_cpu::VcpuExit;

mod bare;
use bare::{BareMachine, LONG_MODE_CODE, LONG_MODE_DATA, engines};

#[test]
fn a_run_ends_within_a_repeated_instruction() {
    for engine in engines() {
        let mut a = CodeAssembler::new(64).unwrap();
        a.mov(rsi, LONG_MODE_DATA).unwrap();
        a.mov(rcx, 1u64 << 40).unwrap();
        a.mov(edx, 0x80).unwrap();
        a.rep().outsb().unwrap();
        a.hlt().unwrap();
        let mut m = BareMachine::long_mode_on(engine, &a.assemble(LONG_MODE_CODE).unwrap());
        m.vcpu.set_exact_budget(false);
        let mut left = 1u64 << 40;
        for round in 0..3 {
            let exit = m.vcpu.run(&mut m.bus, 1_000_000);
            assert_eq!(exit, VcpuExit::Budget, "{engine}");
            let now = m.vcpu.state().gpr[1];
            assert!(now < left, "{engine}: it goes on, round {round}");
            left = now;
        }
        assert_eq!(
            m.bus.port_writes.len() as u64,
            (1 << 40) - left,
            "{engine}: each element was written once"
        );
    }
}
