//! What retires no instruction for long does not keep a vCPU from ending its run: a repeated string instruction of
//! billions of elements, faults that lead to faults.

use iced_x86::code_asm::*;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;
use trimotor_bus::VcpuSignals;
use trimotor_cpu::VcpuExit;
use trimotor_machine::engines::Engine;

use crate::support::bare::{BareMachine, LONG_MODE_CODE, LONG_MODE_DATA};
use crate::support::engines::ENGINES;
use crate::support::needs::Tests;

pub fn tests() -> Tests {
    Tests::new()
        .each(&ENGINES, a_run_ends_within_a_repeated_instruction)
        .each(&ENGINES, a_run_ends_among_faults_that_lead_to_faults)
        .each(&ENGINES, kicks_do_not_change_how_many_faults_are_too_many)
}

fn a_run_ends_within_a_repeated_instruction(engine: Engine) {
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
    assert_eq!(m.bus.port_writes.len() as u64, (1 << 40) - left, "{engine}: each element was written once");
}

/// UD2, and the vector of #UD leads to it. SP is 1000h.
fn faulting(engine: Engine) -> BareMachine {
    const INVALID_OPCODE: u64 = 6;
    let mut m = BareMachine::on(engine, 1 << 20);
    m.write(0x1_0000, &[0x0F, 0x0B]);
    m.write(4 * INVALID_OPCODE, &[0, 0, 0, 0x10]);
    m.set_real_mode(&[0, 0, 0, 0, 0x1000, 0x5000, 0, 0, 0x1000, 0, 0, 0, 0, 0]);
    m
}

fn a_run_ends_among_faults_that_lead_to_faults(engine: Engine) {
    for exact in [false, true] {
        let mut m = faulting(engine);
        m.vcpu.set_exact_budget(exact);
        let mut pushed = 0;
        for round in 0..3 {
            assert_eq!(m.vcpu.run(&mut m.bus, 1_000_000), VcpuExit::Faulting, "{engine}");
            assert_eq!(m.vcpu.retired(), 0, "{engine}");
            let now = 0x1000u16.wrapping_sub(m.vcpu.state().gpr[4] as u16);
            let frames = now.wrapping_sub(pushed) / 6;
            assert!(exact || frames == 256, "{engine}: faults were delivered, round {round}: {frames}");
            pushed = now;
        }
    }
}

/// With counted time the vCPU's turn ends there, in a recording that somebody disturbs and in its replay alike.
fn kicks_do_not_change_how_many_faults_are_too_many(engine: Engine) {
    let mut m = faulting(engine);
    let signals = m.signals.clone();
    let (done, mut cut) = (AtomicBool::new(false), 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(SeqCst) {
                signals.raise(VcpuSignals::KICK);
                std::thread::sleep(Duration::from_micros(50));
            }
        });
        for round in 0..8 {
            while m.vcpu.run(&mut m.bus, 1_000_000) == VcpuExit::Budget {
                cut += 1;
            }
            // 65,536 frames of 6 bytes.
            assert_eq!(m.vcpu.state().gpr[4], 0x1000, "{engine}, round {round}");
        }
        done.store(true, SeqCst);
    });
    assert!(cut > 0, "{engine}: no run was cut");
}
