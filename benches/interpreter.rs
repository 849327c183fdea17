//! How fast the interpreter is on loops that stress one thing each, in instructions per second.

#![allow(clippy::unwrap_used, reason = "a loop that does not assemble ends the bench")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use iced_x86::code_asm::*;

use trimotor_test_support::bare::{BareMachine, LONG_MODE_CODE, LONG_MODE_DATA};

/// Instructions of one measured run.
const RUN: u64 = 1_000_000;

fn loops() -> Vec<(&'static str, CodeAssembler)> {
    let new = || CodeAssembler::new(64).expect("64 bits are supported");
    let mut list = Vec::new();

    // A table-driven CRC: dependent loads, shifts, a short loop.
    let mut a = new();
    let mut top = a.create_label();
    a.mov(rsi, LONG_MODE_DATA).unwrap();
    a.mov(rdi, LONG_MODE_DATA + 0x10000).unwrap();
    a.xor(ecx, ecx).unwrap();
    a.set_label(&mut top).unwrap();
    a.movzx(eax, byte_ptr(rsi + rcx)).unwrap();
    a.xor(eax, edx).unwrap();
    a.movzx(eax, al).unwrap();
    a.shr(edx, 8).unwrap();
    a.xor(edx, dword_ptr(rdi + rax * 4)).unwrap();
    a.inc(rcx).unwrap();
    a.and(rcx, 0x7FFF).unwrap();
    a.cmp(rcx, -1).unwrap();
    a.jne(top).unwrap();
    list.push(("crc", a));

    // Calls and returns with a small frame.
    let mut a = new();
    let (mut top, mut function, mut leaf) = (a.create_label(), a.create_label(), a.create_label());
    a.set_label(&mut top).unwrap();
    a.call(function).unwrap();
    a.jmp(top).unwrap();
    a.set_label(&mut function).unwrap();
    a.push(rbx).unwrap();
    a.mov(rbx, rdi).unwrap();
    a.call(leaf).unwrap();
    a.add(rax, rbx).unwrap();
    a.pop(rbx).unwrap();
    a.ret().unwrap();
    a.set_label(&mut leaf).unwrap();
    a.lea(rax, rdi + 1).unwrap();
    a.ret().unwrap();
    list.push(("call", a));

    // Stores and loads over 256 KiB.
    let mut a = new();
    let mut top = a.create_label();
    a.mov(rsi, LONG_MODE_DATA).unwrap();
    a.xor(ecx, ecx).unwrap();
    a.set_label(&mut top).unwrap();
    a.mov(rax, qword_ptr(rsi + rcx)).unwrap();
    a.add(rax, rcx).unwrap();
    a.mov(qword_ptr(rsi + rcx), rax).unwrap();
    a.add(rcx, 72).unwrap();
    a.and(ecx, 0x3FFFF).unwrap();
    a.jmp(top).unwrap();
    list.push(("stream", a));

    // Register arithmetic only.
    let mut a = new();
    let mut top = a.create_label();
    a.mov(ecx, 1).unwrap();
    a.set_label(&mut top).unwrap();
    a.imul_2(rax, rcx).unwrap();
    a.add(rax, rdx).unwrap();
    a.xor(rdx, rax).unwrap();
    a.rol(rdx, 13).unwrap();
    a.sub(rbx, rdx).unwrap();
    a.inc(rcx).unwrap();
    a.test(rcx, rcx).unwrap();
    a.jne(top).unwrap();
    list.push(("alu", a));
    list.push(("double", scalar_doubles()));
    list.push(("packed", packed_singles()));
    list
}

/// Scalar floating point as compilers make it: distances between points of an array.
fn scalar_doubles() -> CodeAssembler {
    let mut a = CodeAssembler::new(64).expect("64 bits are supported");
    let (mut top, mut near) = (a.create_label(), a.create_label());
    a.mov(rsi, LONG_MODE_DATA).unwrap();
    a.xor(ecx, ecx).unwrap();
    a.set_label(&mut top).unwrap();
    a.pxor(xmm0, xmm0).unwrap();
    a.cvtsi2sd(xmm0, ecx).unwrap();
    a.movsd_2(xmm1, qword_ptr(rsi + rcx * 8)).unwrap();
    a.movapd(xmm2, xmm1).unwrap();
    a.subsd(xmm2, xmm0).unwrap();
    a.mulsd(xmm2, xmm2).unwrap();
    a.mulsd(xmm1, xmm0).unwrap();
    a.addsd(xmm2, qword_ptr(rsi + 8)).unwrap();
    a.divsd(xmm1, xmm2).unwrap();
    a.addsd(xmm3, xmm1).unwrap();
    a.movsd_2(qword_ptr(rsi + rcx * 8), xmm3).unwrap();
    a.ucomisd(xmm3, xmm0).unwrap();
    a.jae(near).unwrap();
    a.cvttsd2si(eax, xmm2).unwrap();
    a.set_label(&mut near).unwrap();
    a.inc(ecx).unwrap();
    a.and(ecx, 0xFFF).unwrap();
    a.jmp(top).unwrap();
    a
}

/// Packed floating point: y += a * x.
fn packed_singles() -> CodeAssembler {
    let mut a = CodeAssembler::new(64).expect("64 bits are supported");
    let mut top = a.create_label();
    a.mov(rsi, LONG_MODE_DATA).unwrap();
    a.xor(ecx, ecx).unwrap();
    a.set_label(&mut top).unwrap();
    a.movaps(xmm0, xmmword_ptr(rsi + rcx)).unwrap();
    a.mulps(xmm0, xmm1).unwrap();
    a.addps(xmm0, xmmword_ptr(rsi + rcx + 0x10000)).unwrap();
    a.movaps(xmmword_ptr(rsi + rcx + 0x10000), xmm0).unwrap();
    a.add(rcx, 16).unwrap();
    a.and(ecx, 0xFFFF).unwrap();
    a.jmp(top).unwrap();
    a
}

fn guest_loops(c: &mut Criterion) {
    let mut group = c.benchmark_group("interp");
    group.throughput(Throughput::Elements(RUN));
    for (name, mut assembler) in loops() {
        let code = assembler.assemble(LONG_MODE_CODE).expect("the loop assembles");
        let mut machine = BareMachine::long_mode(&code);
        group.bench_function(name, |b| b.iter(|| machine.vcpu.run(&mut machine.bus, RUN)));
    }
    group.finish();
}

criterion_group!(benches, guest_loops);
criterion_main!(benches);
