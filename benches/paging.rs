//! What decoding, translation misses and page walks cost, in nanoseconds.

#![allow(clippy::unwrap_used, reason = "a loop that does not assemble ends the bench")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use iced_x86::code_asm::*;
use std::hint::black_box;
use trimotor_bus::{LinearAddr, PhysAddr};
use trimotor_cpu::mmu::{Access, PageWalk, WalkConfig, walk};
use trimotor_cpu::registers::{Cr0, Cr4, Efer};

use trimotor_test_support::bare::{BareMachine, LONG_MODE_CODE, LONG_MODE_DATA};

/// A loop that touches one byte of each of `pages` pages in turn, and after each round where `flush`
/// says so does what drops all translations: MOV to a debug register. (MOV to CR3 keeps them.)
fn touching(pages: u32, flush: bool) -> BareMachine {
    let mut a = CodeAssembler::new(64).unwrap();
    let (mut round, mut top) = (a.create_label(), a.create_label());
    a.set_label(&mut round).unwrap();
    a.mov(rsi, LONG_MODE_DATA).unwrap();
    a.mov(ecx, pages).unwrap();
    a.set_label(&mut top).unwrap();
    a.mov(al, byte_ptr(rsi)).unwrap();
    a.add(rsi, 4096).unwrap();
    a.dec(ecx).unwrap();
    a.jne(top).unwrap();
    if flush {
        a.mov(dr0, rax).unwrap();
    }
    a.jmp(round).unwrap();
    BareMachine::long_mode(&a.assemble(LONG_MODE_CODE).unwrap())
}

fn translations(c: &mut Criterion) {
    const PAGES: u32 = 1000;
    const RUN: u64 = 100_000;
    let mut group = c.benchmark_group("translation");
    group.throughput(Throughput::Elements(RUN / 4));
    for (name, flush) in [("hit", false), ("miss", true)] {
        let mut machine = touching(PAGES, flush);
        group.bench_function(name, |b| b.iter(|| machine.vcpu.run(&mut machine.bus, RUN)));
    }
    group.finish();
}

/// Page tables of four levels in which every entry is the same: a table at address 0.
struct Everywhere;
impl PageWalk for Everywhere {
    fn read_entry(&mut self, _addr: PhysAddr, _bytes: u8) -> u64 {
        black_box(0x67)
    }
    fn set_bits(&mut self, _addr: PhysAddr, _old: u64, _bits: u64, _bytes: u8) -> bool {
        true
    }
}

fn page_walk(c: &mut Criterion) {
    let config = WalkConfig {
        cr0: Cr0::PE | Cr0::PG | Cr0::WP,
        cr3: 0,
        cr4: Cr4::PAE,
        efer: Efer::LMA | Efer::LME | Efer::NXE,
        pkru: 0,
        ac: false,
        pdpte: [0; 4],
        phys_bits: 40,
        gib_pages: true,
        a20_mask: u64::MAX,
    };
    c.bench_function("walk/4 levels", |b| {
        b.iter(|| walk(&mut Everywhere, &config, LinearAddr(black_box(0x1234_5678)), Access::Write, true))
    });
}

/// Decoding: code that is killed by a write before each execution.
fn decode(c: &mut Criterion) {
    const INSTRUCTIONS: u64 = 60;
    let mut a = CodeAssembler::new(64).unwrap();
    let mut top = a.create_label();
    a.set_label(&mut top).unwrap();
    for n in 0..INSTRUCTIONS as i32 / 4 {
        a.mov(rax, qword_ptr(rsi + n)).unwrap();
        a.add(rax, rcx).unwrap();
        a.lea(rdx, rax + rcx * 4 + n).unwrap();
        a.xor(edx, 0x55).unwrap();
    }
    a.jmp(top).unwrap();
    let code = a.assemble(LONG_MODE_CODE).unwrap();
    let mut machine = BareMachine::long_mode(&code);
    let mut group = c.benchmark_group("decode");
    group.throughput(Throughput::Elements(INSTRUCTIONS + 1));
    group.bench_function("block", |b| {
        b.iter(|| {
            machine.write(LONG_MODE_CODE, &code);
            machine.vcpu.run(&mut machine.bus, INSTRUCTIONS + 1)
        })
    });
    group.finish();
}

criterion_group!(benches, translations, page_walk, decode);
criterion_main!(benches);
