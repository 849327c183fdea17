//! What a store costs in main memory and in memory of a device: the same, and a little more where somebody asks which pages
//! change.

#![allow(clippy::unwrap_used, reason = "a guest that does not assemble ends the bench")]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use iced_x86::code_asm::*;
use std::sync::Arc;
use trimotor_bus::empty_board::EmptyBoard;
use trimotor_bus::memory::Shown;
use trimotor_bus::{GuestMemory, MemoryRegion, PhysAddr, VcpuSignals};
use trimotor_cpu::model::CpuModel;
use trimotor_cpu::{ArchState, Vcpu, VcpuExit};
use trimotor_machine::engines::Engine;
use trimotor_test_support::bare::{LONG_MODE_CODE, map_one_to_one, set_long_mode};

/// RAM ends here, and the device's memory begins.
const RAM_BYTES: u64 = 8 << 20;
/// What is stored to: 2 MiB of either.
const BYTES: u64 = 2 << 20;
const IN_RAM: u64 = 0x50_0000;
const IN_DEVICE: u64 = RAM_BYTES;

struct Bench {
    vcpu: Box<dyn Vcpu>,
    region: MemoryRegion,
    start: ArchState,
}

impl Bench {
    /// A guest that stores a quadword to each eight bytes of 2 MiB from RDI on.
    fn new(engine: Engine) -> Self {
        let mut a = CodeAssembler::new(64).unwrap();
        let mut again = a.create_label();
        a.mov(ecx, (BYTES / 8) as u32).unwrap();
        a.set_label(&mut again).unwrap();
        a.mov(qword_ptr(rdi), rcx).unwrap();
        a.add(rdi, 8).unwrap();
        a.dec(ecx).unwrap();
        a.jne(again).unwrap();
        a.hlt().unwrap();
        let memory = GuestMemory::new(RAM_BYTES, &[]).unwrap();
        map_one_to_one(&memory);
        memory.write(PhysAddr(LONG_MODE_CODE), &a.assemble(LONG_MODE_CODE).unwrap());
        let region = memory.add_device_memory("frame buffer", BYTES).unwrap();
        memory.show(&[Shown { at: PhysAddr(IN_DEVICE), bytes: BYTES, region: region.clone(), offset: 0 }]);
        let model = Arc::new(CpuModel::parse("max", 1_000_000_000).unwrap());
        let mut vcpu = engine.start().unwrap().create_vcpu(0, &model, &memory, &VcpuSignals::new()).unwrap();
        set_long_mode(&mut *vcpu);
        let start = vcpu.state();
        Self { vcpu, region, start }
    }
    fn fill(&mut self, at: u64) {
        // This empties the shadow page tables: a walk for each page is part of the time, in all cases alike.
        let mut state = self.start.clone();
        state.gpr[7] = at;
        self.vcpu.set_state(&state);
        loop {
            match self.vcpu.run(&mut EmptyBoard::default(), u64::MAX) {
                VcpuExit::Halted => return,
                VcpuExit::Budget => {}
                exit => panic!("{exit:?}"),
            }
        }
    }
}

fn stores(c: &mut Criterion) {
    let mut group = c.benchmark_group("stores");
    group.throughput(Throughput::Elements(BYTES / 8));
    for engine in [Engine::Interp, Engine::Jit] {
        if engine.start().is_err() {
            continue;
        }
        let mut bench = Bench::new(engine);
        group.bench_function(BenchmarkId::new("main memory", engine), |b| b.iter(|| bench.fill(IN_RAM)));
        group.bench_function(BenchmarkId::new("device memory", engine), |b| b.iter(|| bench.fill(IN_DEVICE)));
        group.bench_function(BenchmarkId::new("device memory, dirty pages taken each time", engine), |b| {
            b.iter(|| {
                bench.fill(IN_DEVICE);
                bench.region.take_dirty(0..BYTES).len()
            });
        });
        group.bench_function(BenchmarkId::new("asking an idle device memory", engine), |b| {
            b.iter(|| bench.region.take_dirty(0..BYTES).len());
        });
    }
    group.finish();
}

criterion_group!(benches, stores);
criterion_main!(benches);
