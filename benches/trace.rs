//! What a trace costs: a loop with a call, and memory that it reads and writes, without a trace, with one of all that the loop does
//! not do, with the last instructions kept, and with a line for each instruction in a file.

#![allow(clippy::unwrap_used, reason = "a guest that does not assemble ends the bench")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use iced_x86::code_asm::*;
use std::fs::File;
use std::io::{Seek, Write};
use std::sync::{Arc, Mutex};
use trimotor_cpu::VcpuExit;
use trimotor_cpu::trace::{Filter, Kinds, SinkEnded, TraceSink, VcpuTrace};
use trimotor_test_support::bare::{BareMachine, LONG_MODE_CODE, LONG_MODE_DATA};
use trimotor_test_support::engines::usable;

/// Instructions of a run.
const INSTRUCTIONS: u64 = 2_000_000;

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

/// A file that begins anew where it would grow without bound.
struct InFile(Mutex<(File, u64)>);

impl TraceSink for InFile {
    fn write(&self, lines: &[u8]) -> Result<(), SinkEnded> {
        let mut state = self.0.lock().unwrap();
        if state.1 > 1 << 30 {
            state.0.rewind().unwrap();
            state.1 = 0;
        }
        state.1 += lines.len() as u64;
        state.0.write_all(lines).map_err(|_| SinkEnded)
    }
    fn ended(&self) -> Option<String> {
        None
    }
}

fn traces(c: &mut Criterion) {
    let code = code();
    let path = std::env::temp_dir().join(format!("trimotor-bench-{}.trace", std::process::id()));
    for engine in usable() {
        let mut group = c.benchmark_group(format!("trace/{engine}"));
        group.throughput(Throughput::Elements(INSTRUCTIONS)).sample_size(20);
        let file: Arc<dyn TraceSink> = Arc::new(InFile(Mutex::new((File::create(&path).unwrap(), 0))));
        let events = Kinds::all() - Kinds::INSN;
        for (name, kinds, sink) in [
            ("no trace", Kinds::empty(), None),
            ("events that do not come", events, Some(file.clone())),
            ("the last instructions", Kinds::INSN, None),
            ("instructions in a file", Kinds::INSN, Some(file)),
        ] {
            let mut m = BareMachine::long_mode_on(engine, &code);
            if !kinds.is_empty() {
                m.vcpu.set_trace(Some(Box::new(VcpuTrace::new(0, kinds, Filter::default(), sink))));
            }
            group.bench_function(name, |b| {
                b.iter(|| assert_eq!(m.vcpu.run(&mut m.bus, INSTRUCTIONS), VcpuExit::Budget));
            });
        }
        group.finish();
    }
    let _ = std::fs::remove_file(path);
}

criterion_group!(benches, traces);
criterion_main!(benches);
