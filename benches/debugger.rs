//! What a debugger costs a guest that reaches none of its breakpoints: a loop with a call, and memory that it reads and writes,
//! without a debugger, with one that has set nothing, and with breakpoints and watchpoints beside what the loop uses.

#![allow(clippy::unwrap_used, reason = "a guest that does not assemble ends the bench")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use iced_x86::code_asm::*;
use trimotor_cpu::{DebugPoints, VcpuExit, WatchKind, Watchpoint};
use trimotor_test_support::bare::{BareMachine, LONG_MODE_CODE, LONG_MODE_DATA};
use trimotor_test_support::engines::usable;

/// Instructions of a run.
const INSTRUCTIONS: u64 = 10_000_000;

fn code() -> Vec<u8> {
    let mut a = CodeAssembler::new(64).unwrap();
    let (mut again, mut function) = (a.create_label(), a.create_label());
    a.mov(rsi, LONG_MODE_DATA).unwrap();
    a.set_label(&mut again).unwrap();
    a.add(qword_ptr(rsi), 1).unwrap();
    a.mov(rax, qword_ptr(rsi + 8)).unwrap();
    a.call(function).unwrap();
    a.jmp(again).unwrap();
    a.set_label(&mut function).unwrap();
    a.lea(rbx, rbx + rax).unwrap();
    a.ret().unwrap();
    a.assemble(LONG_MODE_CODE).unwrap()
}

/// What is set: a name, and the points.
fn settings() -> Vec<(&'static str, Option<DebugPoints>)> {
    let breakpoints = |at: &[u64]| Some(DebugPoints { breakpoints: at.to_vec(), watchpoints: Vec::new() });
    let watched = Watchpoint { address: LONG_MODE_DATA + 0x1000, bytes: 8, kind: WatchKind::Access };
    // MOV RSI has ten bytes: the loop begins behind it.
    let head = LONG_MODE_CODE + 10;
    vec![
        ("no debugger", None),
        ("nothing set", breakpoints(&[])),
        ("a breakpoint in the page", breakpoints(&[LONG_MODE_CODE + 0x800])),
        ("a breakpoint at the loop's offset in another page", breakpoints(&[head + 0x1000])),
        (
            "a watchpoint in the next page",
            Some(DebugPoints { breakpoints: Vec::new(), watchpoints: vec![watched] }),
        ),
    ]
}

fn not_hit(c: &mut Criterion) {
    let code = code();
    for engine in usable() {
        let mut group = c.benchmark_group(format!("debugger/{engine}"));
        group.throughput(Throughput::Elements(INSTRUCTIONS)).sample_size(20);
        for (name, points) in settings() {
            let mut m = BareMachine::long_mode_on(engine, &code);
            m.vcpu.set_debug_points(points.as_ref());
            group.bench_function(name, |b| {
                b.iter(|| assert_eq!(m.vcpu.run(&mut m.bus, INSTRUCTIONS), VcpuExit::Budget));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, not_hit);
criterion_main!(benches);
