//! A run of any budget ends soon after another thread kicks the vCPU, and takes other signals as soon: endless loops of
//! cheap and of dear instructions, with budgets that no run would spend in years.

use iced_x86::code_asm::*;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};
use trimotor_bus::{PhysAddr, VcpuSignals};
use trimotor_cpu::VcpuExit;
use trimotor_cpu::state::Activity;

use crate::support::bare::{BareMachine, LONG_MODE_CODE, LONG_MODE_DATA};
use crate::support::engines::{ALL_ENGINES, ENGINES};
use crate::support::needs::Tests;
use trimotor_machine::engines::Engine;

pub fn tests() -> Tests {
    Tests::new()
        .each(&ALL_ENGINES, a_kick_ends_a_run_without_end)
        .each(&ALL_ENGINES, an_nmi_is_taken_in_a_run_without_end)
        .each(&ENGINES, a_kick_comes_after_what_is_delivered)
        .each(&ENGINES, a_kick_does_not_hide_a_halt)
}

type Emit = fn(&mut CodeAssembler) -> Result<(), IcedError>;

const LOOPS: &[(&str, Emit)] = &[
    ("a jump to itself", |_| Ok(())),
    ("compute", |a| a.lea(rax, rax + 1)),
    ("memory", |a| a.inc(qword_ptr(rsi + 8))),
    ("call and return", |a| {
        let mut inner = a.create_label();
        let mut over = a.create_label();
        a.call(inner)?;
        a.jmp(over)?;
        a.set_label(&mut inner)?;
        a.ret()?;
        a.set_label(&mut over)?;
        a.nop()
    }),
    ("RDTSC", |a| a.rdtsc()),
    ("FSIN", |a| a.fsin()),
    ("IN", |a| a.in_(al, 0x80)),
    ("CPUID", |a| a.cpuid()),
    ("SSE", |a| a.sqrtpd(xmm0, xmm1)),
];

/// Runs an endless loop of `body` with a budget without end, until its exit; `signal` is raised once it runs.
fn run_until(engine: Engine, signal: u32, body: Emit, exact: bool) -> (VcpuExit, BareMachine) {
    let mut a = CodeAssembler::new(64).unwrap();
    let mut again = a.create_label();
    a.fninit().unwrap();
    a.fld1().unwrap();
    a.mov(rsi, LONG_MODE_DATA).unwrap();
    a.mov(byte_ptr(rsi), 1).unwrap();
    a.set_label(&mut again).unwrap();
    body(&mut a).unwrap();
    a.jmp(again).unwrap();
    let mut m = BareMachine::long_mode_on(engine, &a.assemble(LONG_MODE_CODE).unwrap());
    m.vcpu.set_exact_budget(exact);
    let (memory, signals) = (m.memory.clone(), m.signals.clone());
    let raised = &AtomicBool::new(false);
    let exit = std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut runs = [0];
            while runs[0] == 0 {
                memory.read(PhysAddr(LONG_MODE_DATA), &mut runs);
                std::thread::yield_now();
            }
            signals.raise(signal);
            raised.store(true, SeqCst);
        });
        let mut exit = m.vcpu.run(&mut m.bus, u64::MAX);
        // What another engine does for KVM ends runs early.
        let began = Instant::now();
        while engine == Engine::Kvm
            && exit == VcpuExit::Budget
            && !(raised.load(SeqCst) && m.signals.pending() == 0)
        {
            assert!(began.elapsed() < Duration::from_secs(60), "no end");
            exit = m.vcpu.run(&mut m.bus, u64::MAX);
        }
        exit
    });
    (exit, m)
}

fn a_kick_ends_a_run_without_end(engine: Engine) {
    for &(name, body) in LOOPS {
        for exact in [false, true] {
            let (exit, m) = run_until(engine, VcpuSignals::KICK, body, exact);
            assert_eq!(exit, VcpuExit::Budget, "{name}, exact: {exact}");
            // KVM tells of no instruction that does not leave it.
            assert!(m.vcpu.retired() > 4 || engine == Engine::Kvm, "{name}, exact: {exact}: it ran");
            assert_eq!(m.signals.pending(), 0, "{name}, exact: {exact}: the kick is taken");
        }
    }
}

fn an_nmi_is_taken_in_a_run_without_end(engine: Engine) {
    for &(name, body) in LOOPS {
        // There is no interrupt table, so that its delivery ends in shutdown.
        let (exit, _) = run_until(engine, VcpuSignals::NMI, body, false);
        assert!(matches!(exit, VcpuExit::Shutdown(_)), "{name}: {exit:?}");
    }
}

/// Else a run that was kicked would stand elsewhere than one that was not, at the same instruction.
fn a_kick_comes_after_what_is_delivered(engine: Engine) {
    const NMI: u64 = 2;
    let mut m = BareMachine::on(engine, 1 << 20);
    m.write(4 * NMI, &[0x34, 0x12, 0, 0x10]);
    m.set_real_mode(&[0, 0, 0, 0, 0x1000, 0x5000, 0, 0, 0x1000, 0, 0, 0, 0, 0]);
    m.signals.raise(VcpuSignals::KICK | VcpuSignals::NMI);
    assert_eq!(m.vcpu.run(&mut m.bus, 100), VcpuExit::Budget, "{engine}");
    assert_eq!((m.vcpu.retired(), m.vcpu.state().rip), (0, 0x1234), "{engine}");
    assert_eq!(m.signals.pending(), 0, "{engine}");
}

fn a_kick_does_not_hide_a_halt(engine: Engine) {
    let mut m = BareMachine::on(engine, 1 << 20);
    let mut state = m.vcpu.state();
    state.activity = Activity::Halted;
    m.vcpu.set_state(&state);
    m.signals.raise(VcpuSignals::KICK);
    assert_eq!(m.vcpu.run(&mut m.bus, 100), VcpuExit::Halted, "{engine}");
    assert_eq!(m.signals.pending(), 0, "{engine}");
}
