//! In optimised builds handlers tail-call each other: the host's stack must not grow with the number
//! of guest instructions. Guest loops with many kinds of instructions run a million instructions on
//! a thread with a small stack; a handler that does not tail-call overflows it, which ends the test
//! program.

use crate::support::bare::{BareMachine, LONG_MODE_CODE, LONG_MODE_DATA};
use crate::support::needs::Tests;
use iced_x86::code_asm::*;

pub fn tests() -> Tests {
    Tests::new().test(the_stack_does_not_grow_with_the_instructions)
}

/// Enough for a run that does not grow, for a thousandth of one that does.
const STACK_BYTES: usize = 160 << 10;
/// Instructions of one run.
const RUN: u64 = 1_000_000;

type Emit = fn(&mut CodeAssembler) -> Result<(), IcedError>;

fn integer(a: &mut CodeAssembler) -> Result<(), IcedError> {
    a.add(rax, rcx)?;
    a.adc(eax, dword_ptr(rsi + 4))?;
    a.sub(qword_ptr(rsi + 8), rax)?;
    a.xor(word_ptr(rsi + rcx * 2 + 16), dx)?;
    a.inc(byte_ptr(rsi + 3))?;
    a.shl(rax, 3)?;
    a.ror(dword_ptr(rsi), cl)?;
    a.shld(rax, rdx, 5)?;
    a.imul_3(eax, edx, 17)?;
    a.mul(rcx)?;
    a.xor(edx, edx)?;
    a.mov(ebx, 7)?;
    a.div(rbx)?;
    a.cmovne(rax, rbx)?;
    a.setg(al)?;
    a.bt(rax, 5)?;
    a.bts(dword_ptr(rsi), edx)?;
    a.bsf(rcx, rax)?;
    a.bswap(rdx)?;
    a.xchg(qword_ptr(rsi), rax)?;
    a.lock().cmpxchg(qword_ptr(rsi), rcx)?;
    a.lock().xadd(dword_ptr(rsi), ecx)?;
    a.push(rax)?;
    a.pop(rcx)?;
    a.lea(rdx, rsi + rcx * 4 + 1)?;
    a.movsx(rax, byte_ptr(rsi))?;
    a.cdq()?;
    a.lahf()?;
    a.pushfq()?;
    a.popfq()?;
    a.xor(ecx, ecx)
}
fn strings(a: &mut CodeAssembler) -> Result<(), IcedError> {
    a.mov(rsi, LONG_MODE_DATA)?;
    a.mov(rdi, LONG_MODE_DATA + 0x2000)?;
    a.mov(ecx, 100)?;
    a.rep().movsb()?;
    a.mov(ecx, 10)?;
    a.rep().stosq()?;
    a.mov(ecx, 5)?;
    a.repe().cmpsb()?;
    a.lodsd()?;
    a.scasb()
}
fn x87(a: &mut CodeAssembler) -> Result<(), IcedError> {
    a.fninit()?;
    a.fld1()?;
    a.fld(qword_ptr(rsi))?;
    a.fadd_2(st0, st1)?;
    a.fmulp(st1, st0)?;
    a.fsqrt()?;
    a.fild(dword_ptr(rsi))?;
    a.fcomip(st0, st1)?;
    a.fsin()?;
    a.fstp(qword_ptr(rsi + 64))?;
    a.fnstcw(word_ptr(rsi + 80))?;
    a.fldcw(word_ptr(rsi + 80))
}
fn vectors(a: &mut CodeAssembler) -> Result<(), IcedError> {
    a.movdqu(xmm0, xmmword_ptr(rsi + 1))?;
    a.paddb(xmm0, xmm1)?;
    a.pshufb(xmm0, xmm2)?;
    a.pcmpeqb(xmm1, xmmword_ptr(rsi + 32))?;
    a.pmovmskb(eax, xmm1)?;
    a.psrldq(xmm0, 3)?;
    a.pcmpistri(xmm0, xmm1, 12)?;
    a.movups(xmmword_ptr(rsi + 5), xmm0)?;
    a.cvtsi2sd(xmm3, eax)?;
    a.addsd(xmm3, qword_ptr(rsi))?;
    a.divps(xmm3, xmm4)?;
    a.ucomisd(xmm3, xmm4)?;
    a.cmpps(xmm3, xmm4, 1)?;
    a.cvttsd2si(rax, xmm3)?;
    a.vpaddd(ymm5, ymm6, ymmword_ptr(rsi))?;
    a.vpermq(ymm5, ymm5, 0x4E)?;
    a.vpshufb(ymm6, ymm5, ymm6)?;
    a.vfmadd231pd(ymm5, ymm6, ymm7)?;
    a.vmovdqu(ymmword_ptr(rsi + 64), ymm5)?;
    a.vzeroupper()?;
    a.aesenc(xmm0, xmm1)?;
    a.pclmulqdq(xmm0, xmm1, 1)?;
    a.popcnt(rax, rdx)?;
    a.andn(rax, rbx, rcx)?;
    a.pext(rax, rbx, rcx)
}
fn calls(a: &mut CodeAssembler) -> Result<(), IcedError> {
    let (mut function, mut over) = (a.create_label(), a.create_label());
    a.call(function)?;
    a.lea(rax, ptr(function))?;
    a.call(rax)?;
    a.test(rsi, rsi)?;
    a.jne(over)?;
    a.set_label(&mut function)?;
    a.cmp(eax, 5)?;
    a.ret()?;
    a.set_label(&mut over)?;
    a.nop()
}

fn the_stack_does_not_grow_with_the_instructions() {
    let kinds: [(&str, Emit); 5] =
        [("integer", integer), ("strings", strings), ("x87", x87), ("vectors", vectors), ("calls", calls)];
    for (name, emit) in kinds {
        println!("{name}");
        let mut a = CodeAssembler::new(64).unwrap();
        a.mov(rsi, LONG_MODE_DATA).unwrap();
        let mut top = a.create_label();
        a.set_label(&mut top).unwrap();
        emit(&mut a).unwrap();
        a.jmp(top).unwrap();
        let code = a.assemble(LONG_MODE_CODE).unwrap();
        // Made here: a vCPU is large, and is built on the stack.
        let mut machine = BareMachine::long_mode(&code);
        let run = move || {
            let exit = machine.vcpu.run(&mut machine.bus, RUN);
            (exit, machine.vcpu.retired())
        };
        let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(run).unwrap();
        let (exit, retired) = thread.join().unwrap();
        assert_eq!(exit, trimotor_cpu::VcpuExit::Budget, "{name}");
        assert_eq!(retired, RUN, "{name}: the budget is exact");
    }
}
