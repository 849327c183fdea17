//! What vCPUs on threads of their own cost each other: 1, 2 and 4 of them read ports, end interrupts, set timers, and write
//! registers and the doorbell of one card. And what it costs to have another engine go on with all of them (`switch`).
//!
//! Each vCPU does the same number of operations, on devices of its own where there are any: its local APIC, its serial port. The
//! time is that of one operation of one vCPU, so that it stays the same from 1 to 2 vCPUs on a host with two
//! cores where nobody waits for a lock. With 4 vCPUs on such a host it doubles at least.

#![allow(clippy::unwrap_used, reason = "a guest that does not assemble ends the bench")]

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use iced_x86::code_asm::*;
use std::sync::Arc;
use std::time::{Duration, Instant};
use trimotor_cpu::model::CpuModel;
use trimotor_firmware::boot::{self, BootFile, BootRequest, KernelKind};
use trimotor_machine::{
    DeviceConfig, Engine, ExitReason, HostClock, HostServices, Machine, MachineConfig, OnReset,
};

/// Where a flat image begins, where other processors start, and the code that all run.
const IMAGE: u64 = 0x7C00;
const START_UP: u64 = 0x8000;
const PROTECTED: u64 = 0x8100;
/// Descriptors: null, code and data, flat; and what LGDT reads.
const GDT: u64 = 0x8400;
const GDTR: u64 = 0x8418;
/// Counters that all share.
const NUMBER: u64 = 0x9000;
const ARRIVED: u64 = 0x9040;
const DONE: u64 = 0x9080;
/// Registers of the local APIC.
const APIC: u64 = 0xFEE0_0000;
const SPURIOUS: u64 = APIC + 0xF0;
const ICR: u64 = APIC + 0x300;
const DEBUG_EXIT: u32 = 0xF4;
/// Where the demonstration card's registers are put, and two of them.
const CARD: u64 = 0xD000_0000;
const CARD_SCRATCH: u64 = CARD + 0x08;
const CARD_DOORBELL: u64 = CARD + 0x58;

/// Operations of a vCPU in one run.
const OPERATIONS: u32 = 200_000;

/// What a vCPU does again and again; EBX is its number.
#[derive(Clone, Copy)]
enum Operation {
    /// Reads the scratch register of a serial port, each vCPU another one's.
    Port,
    /// Reads a port of the interval timer, which all share.
    SharedPort,
    /// Ends an interrupt.
    EndOfInterrupt,
    /// Starts the local APIC's timer.
    Timer,
    /// Sets the task priority.
    Priority,
    /// Writes a register of a card that all share.
    CardRegister,
    /// Rings the doorbell of that card, which then finds no request.
    Doorbell,
}

impl Operation {
    const ALL: [(&'static str, Self); 7] = [
        ("port", Self::Port),
        ("shared port", Self::SharedPort),
        ("EOI", Self::EndOfInterrupt),
        ("timer", Self::Timer),
        ("TPR", Self::Priority),
        ("card register", Self::CardRegister),
        ("doorbell", Self::Doorbell),
    ];
    fn emit(self, a: &mut CodeAssembler) -> Result<(), IcedError> {
        match self {
            Self::Port => a.in_(al, dx),
            Self::SharedPort => a.in_(al, 0x61u32),
            Self::EndOfInterrupt => a.mov(dword_ptr(APIC + 0xB0), 0),
            Self::Timer => a.mov(dword_ptr(APIC + 0x380), 0x7FFF_FFFF),
            Self::Priority => a.mov(dword_ptr(APIC + 0x80), 0x10),
            Self::CardRegister => a.mov(dword_ptr(CARD_SCRATCH), ebx),
            Self::Doorbell => a.mov(dword_ptr(CARD_DOORBELL), ebx),
        }
    }
}

/// Enters protected mode, from the image's start and from where other processors start.
fn enter_protected(at: u64) -> Vec<u8> {
    let mut a = CodeAssembler::new(16).unwrap();
    let mut emit = || {
        a.cli()?;
        a.lgdt(fword_ptr(GDTR))?;
        a.mov(eax, cr0)?;
        a.or(al, 1)?;
        a.mov(cr0, eax)
    };
    emit().unwrap();
    let mut code = a.assemble(at).unwrap();
    // JMP 08h:PROTECTED with a 32-bit offset.
    code.extend([0x66, 0xEA]);
    code.extend((PROTECTED as u32).to_le_bytes());
    code.extend([0x08, 0x00]);
    code
}

fn protected(operation: Operation, vcpus: u32) -> Result<Vec<u8>, IcedError> {
    let mut a = CodeAssembler::new(32)?;
    let (mut first, mut other, mut wait, mut again, mut end, mut rest) = (
        a.create_label(),
        a.create_label(),
        a.create_label(),
        a.create_label(),
        a.create_label(),
        a.create_label(),
    );
    a.mov(eax, 0x10)?;
    a.mov(ds, ax)?;
    a.mov(es, ax)?;
    a.mov(ss, ax)?;
    a.mov(ebx, 1)?;
    a.lock().xadd(dword_ptr(NUMBER), ebx)?;
    a.mov(dword_ptr(SPURIOUS), 0x1FF)?;
    a.test(ebx, ebx)?;
    a.jne(other)?;
    // The card in slot 3: BAR 2, and memory accesses; no bus mastering.
    for (register, value) in [(0x18, CARD as u32), (0x1C, 0), (0x04, 2)] {
        a.mov(edx, 0xCF8)?;
        a.mov(eax, 0x8000_1800u32 | register)?;
        a.out(dx, eax)?;
        a.mov(edx, 0xCFC)?;
        a.mov(eax, value)?;
        a.out(dx, eax)?;
    }
    if vcpus > 1 {
        // INIT and start-up to all others.
        a.mov(dword_ptr(ICR), 0xC_4500)?;
        a.mov(dword_ptr(ICR), 0xC_4600 | (START_UP >> 12) as u32)?;
    }
    a.set_label(&mut other)?;
    // COM1 to COM4 by number: 3F8h, 2F8h, 3E8h, 2E8h; scratch registers.
    a.mov(edx, 0x3FF)?;
    a.mov(eax, ebx)?;
    a.and(eax, 1)?;
    a.shl(eax, 8)?;
    a.sub(edx, eax)?;
    a.mov(eax, ebx)?;
    a.and(eax, 2)?;
    a.shl(eax, 3)?;
    a.sub(edx, eax)?;
    a.lock().inc(dword_ptr(ARRIVED))?;
    a.set_label(&mut wait)?;
    a.pause()?;
    a.cmp(dword_ptr(ARRIVED), vcpus)?;
    a.jne(wait)?;
    a.mov(ecx, OPERATIONS)?;
    a.set_label(&mut again)?;
    operation.emit(&mut a)?;
    a.dec(ecx)?;
    a.jne(again)?;
    a.lock().inc(dword_ptr(DONE))?;
    a.test(ebx, ebx)?;
    a.je(first)?;
    a.set_label(&mut rest)?;
    a.hlt()?;
    a.jmp(rest)?;
    a.set_label(&mut first)?;
    a.pause()?;
    a.cmp(dword_ptr(DONE), vcpus)?;
    a.jne(first)?;
    a.set_label(&mut end)?;
    a.mov(al, 0)?;
    a.out(DEBUG_EXIT, al)?;
    a.jmp(end)?;
    a.assemble(PROTECTED)
}

fn image(operation: Operation, vcpus: u32) -> Vec<u8> {
    let mut image = vec![0; 0x1000];
    let mut put = |at: u64, bytes: &[u8]| {
        image[(at - IMAGE) as usize..][..bytes.len()].copy_from_slice(bytes);
    };
    put(IMAGE, &enter_protected(IMAGE));
    put(START_UP, &enter_protected(START_UP));
    put(PROTECTED, &protected(operation, vcpus).unwrap());
    put(GDT + 8, &0x00CF_9A00_0000_FFFFu64.to_le_bytes());
    put(GDT + 16, &0x00CF_9200_0000_FFFFu64.to_le_bytes());
    put(GDTR, &23u16.to_le_bytes());
    put(GDTR + 2, &(GDT as u32).to_le_bytes());
    image
}

struct Clock(Instant);
impl HostClock for Clock {
    fn now_ns(&self) -> u64 {
        self.0.elapsed().as_nanos() as u64
    }
}

/// A machine that has run the guest once, and how long that took.
fn ran(operation: Operation, vcpus: u8, memory_bytes: u64) -> (Machine, Duration) {
    let mut devices = vec![DeviceConfig::new("isa-serial"); 4];
    devices.push(DeviceConfig::new("isa-debug-exit"));
    devices.push(DeviceConfig::new("demo-card"));
    let config = MachineConfig {
        memory_bytes,
        cpus: vcpus,
        engine: Some(Engine::Jit),
        devices,
        on_reset: OnReset::Exit,
        ..MachineConfig::default()
    };
    let code = image(operation, vcpus.into());
    let mut request = BootRequest::new(BootFile { name: "bench".into(), bytes: code });
    request.kind = Some(KernelKind::Flat);
    let plan = boot::load(request, &config.platform()).unwrap();
    let services = HostServices::new(Arc::new(Clock(Instant::now())));
    let model = Arc::new(CpuModel::parse("x86-64-v3", 1_000_000_000).unwrap());
    let mut machine = Machine::new(config, model, services, Box::new(plan)).unwrap();
    let begin = Instant::now();
    assert_eq!(machine.run(), ExitReason::DebugExit(0));
    let took = begin.elapsed();
    (machine, took)
}

/// From the translator to the interpreter or back, for a guest of 512 MiB.
fn switches(c: &mut Criterion) {
    let mut group = c.benchmark_group("switch");
    for vcpus in [1, 4] {
        let (mut machine, _) = ran(Operation::Port, vcpus, 512 << 20);
        for (from, to) in [(Engine::Jit, Engine::Interp), (Engine::Interp, Engine::Jit)] {
            let id = BenchmarkId::new(format!("{from} to {to}"), format!("{vcpus} vCPUs"));
            group.bench_function(id, |b| {
                b.iter_custom(|rounds| {
                    let mut switch = || {
                        machine.switch_engine(from).unwrap();
                        machine.switch_engine(to).unwrap().took
                    };
                    (0..rounds).map(|_| switch()).sum()
                });
            });
        }
    }
    group.finish();
}

fn processors(c: &mut Criterion) {
    for (name, operation) in Operation::ALL {
        let mut group = c.benchmark_group(name);
        group
            .sample_size(10)
            .measurement_time(Duration::from_secs(2))
            .warm_up_time(Duration::from_millis(200));
        for vcpus in [1, 2, 4] {
            let id = BenchmarkId::from_parameter(format!("{vcpus} vCPUs"));
            group.bench_function(id, |b| {
                b.iter_custom(|rounds| {
                    let time: Duration = (0..rounds).map(|_| ran(operation, vcpus, 4 << 20).1).sum();
                    // One operation of each vCPU.
                    time / OPERATIONS
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, processors, switches);
criterion_main!(benches);
