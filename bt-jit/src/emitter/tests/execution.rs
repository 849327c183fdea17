//! Small functions, run from code memory.

// Calls emitted code.
#![allow(unsafe_code)]

use super::*;
use crate::{CodeMemory, CodeOffset};

/// Calls the code at `at` as a function of two integers.
fn call(memory: &CodeMemory, at: CodeOffset, a: u64, b: u64) -> u64 {
    memory.serialize();
    // SAFETY: the tests emit functions of the System V convention that keep what it wants kept.
    let function: extern "sysv64" fn(u64, u64) -> u64 = unsafe { std::mem::transmute(memory.entry(at)) };
    function(a, b)
}

/// Runs a function whose arguments are in RDI and RSI and whose result is in RAX; RET is added.
fn run(a: u64, b: u64, emit: impl FnOnce(&mut Emitter)) -> u64 {
    let mut emitter = Emitter::new();
    emit(&mut emitter);
    emitter.ret();
    let mut memory = CodeMemory::new(4096).unwrap();
    let at = memory.place(emitter.finish().unwrap(), 16).unwrap();
    call(&memory, at, a, b)
}

#[test]
fn alu_operations_compute() {
    let (a, b) = (0x8000_0001_FFFF_FFF0_u64, 0x7FFF_FFFF_0000_0123_u64);
    for (op, expected) in [
        (AluOp::Add, a.wrapping_add(b)),
        (AluOp::Or, a | b),
        (AluOp::And, a & b),
        (AluOp::Sub, a.wrapping_sub(b)),
        (AluOp::Xor, a ^ b),
        (AluOp::Cmp, a),
    ] {
        let wide = run(a, b, |e| {
            e.mov_rr(Width::Qword, Reg::Rax, Reg::Rdi);
            e.alu_rr(op, Width::Qword, Reg::Rax, Reg::Rsi);
        });
        assert_eq!(wide, expected, "{op:?}");
        let byte = run(a, b, |e| {
            e.mov_rr(Width::Qword, Reg::Rax, Reg::Rdi);
            e.alu_rr(op, Width::Byte, Reg::Rax, Reg::Rsi);
        });
        assert_eq!(byte, a & !0xFF | expected & 0xFF, "{op:?} of bytes");
    }
}

#[test]
fn a_128_bit_addition_carries() {
    let mut numbers = [u64::MAX, u64::MAX, 1, 2];
    let carry = run(numbers.as_mut_ptr() as u64, 0, |e| {
        let word = |index: i32| Mem::base(Reg::Rdi, index * 8);
        e.mov_rm(Width::Qword, Reg::Rcx, word(2));
        e.alu_mr(AluOp::Add, Width::Qword, word(0), Reg::Rcx);
        e.mov_rm(Width::Qword, Reg::Rcx, word(3));
        e.alu_mr(AluOp::Adc, Width::Qword, word(1), Reg::Rcx);
        e.mov_ri(Reg::Rax, 0);
        e.alu_ri(AluOp::Adc, Width::Dword, Reg::Rax, 0);
    });
    assert_eq!((numbers, carry), ([0, 2, 1, 2], 1));
}

#[test]
fn a_loop_sums() {
    let sum = run(100, 0, |e| {
        let (again, done) = (e.label(), e.label());
        e.mov_ri(Reg::Rax, 0);
        e.bind(again);
        e.test_rr(Width::Qword, Reg::Rdi, Reg::Rdi);
        e.jcc(Condition::Equal, done);
        e.alu_rr(AluOp::Add, Width::Qword, Reg::Rax, Reg::Rdi);
        e.alu_ri(AluOp::Sub, Width::Qword, Reg::Rdi, 1);
        e.jmp(again);
        e.bind(done);
    });
    assert_eq!(sum, 5050);
}

#[test]
fn calls_return_and_the_stack_keeps() {
    let result = run(7, 5, |e| {
        let (double, end) = (e.label(), e.label());
        e.push(Reg::Rbx);
        e.mov_rr(Width::Qword, Reg::Rbx, Reg::Rsi);
        e.call(double);
        e.alu_rr(AluOp::Add, Width::Qword, Reg::Rax, Reg::Rbx);
        e.pop(Reg::Rbx);
        e.jmp(end);
        e.bind(double);
        e.lea(Width::Qword, Reg::Rax, Mem::indexed(Reg::Rdi, Reg::Rdi, Scale::One, 0));
        e.ret();
        e.bind(end);
    });
    assert_eq!(result, 19);
}

#[test]
fn loads_extend_and_stores_keep_to_their_width() {
    let mut bytes = 0xFFFF_FFFF_FFFF_FF80_u64;
    let at = &raw mut bytes as u64;
    let memory = Mem::base(Reg::Rdi, 0);
    assert_eq!(run(at, 0, |e| e.movzx_rm(Width::Byte, Reg::Rax, memory)), 0x80);
    assert_eq!(run(at, 0, |e| e.movsx_rm(Width::Byte, Reg::Rax, memory)) as i64, -128);
    assert_eq!(run(at, 0, |e| e.movzx_rm(Width::Dword, Reg::Rax, memory)), 0xFFFF_FF80);
    assert_eq!(run(at, 0, |e| e.movsx_rm(Width::Dword, Reg::Rax, memory)) as i64, -128);
    let stored = run(at, 0x1234_5678, |e| {
        e.mov_mr(Width::Word, Mem::base(Reg::Rdi, 2), Reg::Rsi);
        e.mov_mi(Width::Byte, Mem::base(Reg::Rdi, 7), 1);
        e.mov_rm(Width::Qword, Reg::Rax, memory);
    });
    assert_eq!(stored, 0x01FF_FFFF_5678_FF80);
}

/// Flags saved with LAHF and SETO, lost, and brought back: SAHF for five of them, and an addition
/// that overflows where AL is 1 for OF.
#[test]
fn flags_survive_being_saved_and_brought_back() {
    for (a, b) in [(i64::MAX, 1), (i64::MIN, 1), (-1, 1), (0, 0), (5, 3), (3, 5), (i64::MIN, i64::MIN)] {
        for (condition, suffix) in CONDITIONS {
            let flags = |saved: bool| {
                run(a as u64, b as u64, |e| {
                    e.alu_rr(AluOp::Cmp, Width::Qword, Reg::Rdi, Reg::Rsi);
                    if saved {
                        e.lahf();
                        e.seto(Reg::Rax);
                        e.alu_rr(AluOp::Xor, Width::Dword, Reg::Rcx, Reg::Rcx);
                        e.alu_ri(AluOp::Add, Width::Byte, Reg::Rax, 0x7F);
                        e.sahf();
                    }
                    e.mov_ri(Reg::Rax, 0);
                    e.setcc(condition, Reg::Rax);
                })
            };
            assert_eq!(flags(true), flags(false), "{suffix} after cmp {a}, {b}");
        }
    }
}

#[test]
fn blocks_are_linked_and_linked_again() {
    let mut memory = CodeMemory::new(4096).unwrap();
    let mut emitter = Emitter::new();
    emitter.mov_ri(Reg::Rax, 1);
    let site = emitter.jmp_to_patch();
    emitter.ret();
    let first = memory.place(emitter.finish().unwrap(), 16).unwrap();
    let targets = [2, 3].map(|value| {
        emitter.clear();
        emitter.mov_ri(Reg::Rax, value);
        emitter.ret();
        memory.place(emitter.finish().unwrap(), 16).unwrap()
    });
    assert_eq!(call(&memory, first, 0, 0), 1, "unlinked, it goes on");
    for (target, value) in [(targets[0], 2), (targets[1], 3), (targets[0], 2)] {
        memory.link(CodeOffset(first.0 + site as u32), target);
        assert_eq!(call(&memory, first, 0, 0), value);
    }
}

#[test]
fn addresses_in_registers_are_called_and_jumped_to() {
    let mut memory = CodeMemory::new(4096).unwrap();
    let mut emitter = Emitter::new();
    emitter.lea(Width::Qword, Reg::Rax, Mem::base(Reg::Rsi, 1));
    emitter.ret();
    let callee = memory.place(emitter.finish().unwrap(), 16).unwrap();
    emitter.clear();
    emitter.mov_ri(Reg::R11, memory.entry(callee) as u64);
    emitter.call_r(Reg::R11);
    emitter.mov_rr(Width::Qword, Reg::Rsi, Reg::Rax);
    emitter.jmp_r(Reg::R11);
    let caller = memory.place(emitter.finish().unwrap(), 16).unwrap();
    assert_eq!(call(&memory, caller, 0, 40), 42);
}

#[test]
fn code_in_reused_memory_is_the_new_code() {
    let mut memory = CodeMemory::new(4096).unwrap();
    let mut emitter = Emitter::new();
    for value in 1..50 {
        emitter.clear();
        emitter.mov_ri(Reg::Rax, value);
        emitter.ret();
        let at = memory.place(emitter.finish().unwrap(), 16).unwrap();
        assert_eq!((at, call(&memory, at, 0, 0)), (CodeOffset(0), value));
        memory.reuse(0..4096);
        memory.serialize();
    }
}
