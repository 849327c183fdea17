//! Linux boots the same with a trace as without, and engines write the same lines of it.

use crate::boot::counted::boot;
use crate::support::engines::JIT;
use crate::support::guests::{DEBIAN, Guest};
use crate::support::needs::Tests;
use std::sync::{Arc, Mutex};
use trimotor_cpu::trace::{SinkEnded, TraceSink};
use trimotor_machine::{Engine, ExitReason, Machine, TraceSpec};

pub fn tests() -> Tests {
    Tests::needing(&[DEBIAN, JIT])
        .test(a_boot_with_a_trace_is_the_boot_without)
        .test(instructions_of_a_boot_are_the_same_on_both_engines)
        .test(four_processors_are_traced_in_turn)
}

/// Lines that a machine has written.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl TraceSink for Lines {
    fn write(&self, lines: &[u8]) -> Result<(), SinkEnded> {
        self.0.lock().expect("no thread panicked").extend_from_slice(lines);
        Ok(())
    }
    fn ended(&self) -> Option<String> {
        None
    }
}

impl Lines {
    fn trace(&self, machine: &mut Machine, spec: &str) {
        let (spec, lines): (TraceSpec, _) = (spec.parse().expect("a trace"), self.clone());
        machine
            .trace(Some(&spec), Box::new(move |_, _| Ok(Arc::new(lines.clone()) as Arc<dyn TraceSink>)))
            .expect("it is traced");
    }
    fn take(&self) -> String {
        let lines = std::mem::take(&mut *self.0.lock().expect("no thread panicked"));
        String::from_utf8(lines).expect("text")
    }
}

/// All that costs an untraced guest nothing.
const EVENTS: &str = "exc,int,io,mmio,msr,cr";

/// Two texts are the same; where not, the first line that differs.
fn assert_same(one: &str, other: &str) {
    if let Some((a, b)) = one.lines().zip(other.lines()).find(|(a, b)| a != b) {
        panic!("{a}\n{b}");
    }
    assert_eq!(one.lines().count(), other.lines().count());
}

fn a_boot_with_a_trace_is_the_boot_without() {
    let start = |engine| boot(engine, Guest::CloudKernel, Guest::PowerOff, |_| ());
    let (mut whole, log) = start(Engine::Jit);
    assert_eq!(whole.run(), ExitReason::PowerOff);
    let mut texts = Vec::new();
    for engine in [Engine::Jit, Engine::Interp] {
        let ((mut traced, traced_log), lines) = (start(engine), Lines::default());
        lines.trace(&mut traced, EVENTS);
        assert_eq!(traced.run(), ExitReason::PowerOff);
        assert_eq!(traced.instructions(), whole.instructions());
        assert_eq!(traced_log.text(), log.text());
        assert_eq!(traced.vcpu_state(0), whole.vcpu_state(0));
        assert!(traced.memory().differing_pages(whole.memory()).is_empty(), "memory differs");
        texts.push(lines.take());
    }
    assert_same(&texts[0], &texts[1]);
    for wanted in [
        " cpl3 #PF(0014) page fault, instruction fetch, user, not present, cr2=0000",
        " cpl0 external interrupt, vector ",
        " cpl0 mov cr3, ",
        " cpl0 wrmsr IA32_LSTAR = ffffffff",
        " cpl0 wrmsr IA32_EFER = ",
        " cpl0 wrmsr IA32_X2APIC_EOI = 0\n",
        " cpl0 out 3f8h, al = ",
        " (PCI configuration)\n",
        " (IOAPIC IOWIN)\n",
    ] {
        assert!(texts[0].contains(wanted), "no {wanted:?}");
    }
}

fn instructions_of_a_boot_are_the_same_on_both_engines() {
    const FROM: u64 = 40_000_000;
    const INSTRUCTIONS: u64 = 1_000_000;
    let run = |engine| {
        let (mut machine, _) = boot(engine, Guest::CloudKernel, Guest::PowerOff, |_| ());
        assert_eq!(machine.run_until(FROM), None);
        let lines = Lines::default();
        lines.trace(&mut machine, "insn,exc,int,io,mmio,msr,cr");
        assert_eq!(machine.run_until(FROM + INSTRUCTIONS), None);
        (machine, lines.take())
    };
    let ((jit, by_jit), (interp, by_interp)) = (run(Engine::Jit), run(Engine::Interp));
    assert_same(&by_jit, &by_interp);
    assert_eq!(jit.vcpu_state(0), interp.vcpu_state(0));
    assert!(jit.memory().differing_pages(interp.memory()).is_empty(), "memory differs");
    // Each instruction that retired has its line, in order.
    let count = |line: &str| line.split(' ').nth(1).and_then(|count| count.parse::<u64>().ok());
    let mut counts: Vec<u64> = by_jit.lines().filter_map(count).collect();
    assert!(counts.is_sorted());
    counts.dedup();
    assert!(counts.iter().copied().eq(FROM..FROM + INSTRUCTIONS), "{} of them", counts.len());
    // And the run is the one without a trace.
    let (mut untraced, _) = boot(Engine::Jit, Guest::CloudKernel, Guest::PowerOff, |_| ());
    assert_eq!(untraced.run_until(FROM + INSTRUCTIONS), None);
    assert_eq!(untraced.vcpu_state(0), jit.vcpu_state(0));
}

fn four_processors_are_traced_in_turn() {
    let run = |engine, spec| {
        let lines = Lines::default();
        let (mut machine, _) = boot(engine, Guest::CloudKernel, Guest::PowerOff, |config| config.cpus = 4);
        lines.trace(&mut machine, spec);
        assert_eq!(machine.run(), ExitReason::PowerOff);
        lines.take()
    };
    let (jit, interp) = (run(Engine::Jit, "int,cr"), run(Engine::Interp, "int,cr"));
    assert_same(&jit, &interp);
    for wanted in ["cpu1 ", "cpu3 ", " SIPI, vector ", " INIT\n"] {
        assert!(jit.contains(wanted), "no {wanted:?}");
    }
    let one = run(Engine::Jit, "int,cr,cpu=2");
    assert!(one.lines().all(|line| line.starts_with("cpu2 ")));
    assert_eq!(one.lines().count(), jit.lines().filter(|line| line.starts_with("cpu2 ")).count());
}
