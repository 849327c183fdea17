//! Whole blocks: how instructions stand together, jumps, groups of accesses, the cold code.

use super::Assemble;
use super::render::{KERNEL64, Setting, USER32, USER64};
use iced_x86::IcedError;
use iced_x86::code_asm::*;

/// File, title, setting, and the blocks with their titles.
pub type Blocks = (&'static str, &'static str, Setting, &'static [(&'static str, Assemble)]);

/// All files of blocks.
pub const ALL: &[Blocks] = &[
    ("blocks_flow.txt", "jumps, calls and returns", KERNEL64, FLOW),
    ("blocks_flags.txt", "the arithmetic flags between instructions", KERNEL64, FLAGS),
    ("blocks_check_groups.txt", "accesses that share one check", KERNEL64, CHECK_GROUPS),
    ("blocks_fallback.txt", "what falls back to the interpreter", KERNEL64, HANDOVER),
    ("blocks_user.txt", "user code, whose accesses have inline caches", USER64, USER),
    ("blocks_mode32.txt", "32-bit code", USER32, MODE32),
];

/// A loop's last block: the worked example of docs/translator.md.
fn loop_with_load(a: &mut CodeAssembler) -> Result<(), IcedError> {
    let mut top = a.create_label();
    a.set_label(&mut top)?;
    a.add(rax, qword_ptr(rdi))?;
    a.add(rdi, 8)?;
    a.dec(rcx)?;
    a.jne(top)
}

const FLOW: &[(&str, Assemble)] = &[
    ("a loop that sums numbers", loop_with_load),
    ("JMP within the page", |a| a.jmp(0x200u64)),
    ("JMP to another page", |a| a.jmp(0x5100u64)),
    ("Jcc in the middle of a block", |a| {
        a.test(rax, rax)?;
        a.je(0x300u64)?;
        a.mov(rcx, rax)?;
        a.ret()
    }),
    ("Jcc to another page, the last of its block", |a| {
        a.cmp(rax, rcx)?;
        a.jb(0xFFFF_FFFF_FFFF_F800u64)
    }),
    ("JMP over code that does not run", |a| {
        a.add(rax, rcx)?;
        a.jmp(0x106u64)?;
        a.nop()?;
        a.sub(rdx, rbx)?;
        a.ret()
    }),
    ("CALL", |a| a.call(0x5100u64)),
    ("CALL within the page, and its RET", |a| {
        a.mov(rdi, rbx)?;
        a.call(0x10Eu64)?;
        a.add(rax, rbx)?;
        a.jmp(rax)?;
        a.nop()?;
        a.lea(rax, rdi * 2)?;
        a.ret()
    }),
    ("CALL of an address in a register", |a| a.call(rax)),
    ("JMP to an address in memory", |a| a.jmp(qword_ptr(rax * 8 + 0x1000))),
    ("RET", |a| a.ret()),
    ("RET that takes arguments off", |a| a.ret_1(16)),
];

const USER: &[(&str, Assemble)] = &[
    ("a loop that sums numbers", loop_with_load),
    ("a loop that begins anew with its flags in neither place", |a| {
        let mut top = a.create_label();
        a.set_label(&mut top)?;
        a.movzx(edx, byte_ptr(r8))?;
        a.add(r8, 1)?;
        a.add(rbx, rdx)?;
        a.cmp(r13, r8)?;
        a.jne(top)
    }),
    ("an aligned vector that is stored", |a| {
        a.movaps(xmmword_ptr(rdi), xmm0)?;
        a.jmp(0x200u64)
    }),
];

const FLAGS: &[(&str, Assemble)] = &[
    ("flags that only a fault would want: cold code computes them from the sum", |a| {
        a.add(rdi, 8)?;
        a.mov(rax, qword_ptr(rdi))?;
        a.xor(ecx, ecx)?;
        a.jmp(0x200u64)
    }),
    ("a shift keeps what it shifts for that", |a| {
        a.shr(ebx, 7)?;
        a.mov(rax, qword_ptr(rdi))?;
        a.and(ebx, 0x7F)?;
        a.jmp(0x200u64)
    }),
    ("a comparison with memory keeps what it compares, and is made again after a check", |a| {
        a.cmp(byte_ptr(rdi + 8), 0x45)?;
        a.mov(rsi, qword_ptr(rdx))?;
        a.jne(0x200u64)
    }),
    ("flags that are overwritten are not kept", |a| {
        a.add(rax, rcx)?;
        a.sub(rdx, rbx)?;
        a.xor(ecx, ecx)?;
        a.jmp(0x200u64)
    }),
    ("flags stay in the host's over instructions that leave them alone", |a| {
        a.cmp(rax, rcx)?;
        a.mov(rdx, rbx)?;
        a.lea(rsi, rsi + 8)?;
        a.cmovb(rax, rcx)?;
        a.setb(dl)?;
        a.jmp(0x200u64)
    }),
    ("a memory access between comparison and jump", |a| {
        a.cmp(rax, rcx)?;
        a.mov(rdx, qword_ptr(rsi))?;
        a.je(0x200u64)
    }),
    ("addition of long numbers", |a| {
        a.add(rax, rcx)?;
        a.adc(rdx, rbx)?;
        a.adc(r8, 0)?;
        a.jmp(0x200u64)
    }),
];

const CHECK_GROUPS: &[(&str, Assemble)] = &[
    ("fields of one object", |a| {
        a.mov(rax, qword_ptr(rdi))?;
        a.mov(rcx, qword_ptr(rdi + 8))?;
        a.add(rdi, 16)?;
        a.mov(qword_ptr(rdi), rax)?;
        a.jmp(0x200u64)
    }),
    ("a function's entry", |a| {
        a.push(rbp)?;
        a.mov(rbp, rsp)?;
        a.push(r12)?;
        a.push(rbx)?;
        a.sub(rsp, 0x20)?;
        a.mov(qword_ptr(rbp - 0x28), rdi)?;
        a.jmp(0x200u64)
    }),
    ("a function's end", |a| {
        a.add(rsp, 8)?;
        a.pop(rbx)?;
        a.pop(rbp)?;
        a.ret()
    }),
    ("an access between that may fall back to the interpreter", |a| {
        a.mov(rax, qword_ptr(rdi))?;
        a.mov(rdx, qword_ptr(rsi))?;
        a.mov(rcx, qword_ptr(rdi + 8))?;
        a.jmp(0x200u64)
    }),
    ("two groups with vectors, aligned", |a| {
        a.movaps(xmm0, xmmword_ptr(rsi))?;
        a.movaps(xmm1, xmmword_ptr(rsi + 16))?;
        a.movups(xmmword_ptr(rdi), xmm0)?;
        a.movups(xmmword_ptr(rdi + 16), xmm1)?;
        a.jmp(0x200u64)
    }),
];

const HANDOVER: &[(&str, Assemble)] = &[
    ("an instruction in the middle", |a| {
        a.add(rax, rcx)?;
        a.cpuid()?;
        a.add(rax, rcx)?;
        a.jmp(0x200u64)
    }),
    ("an instruction that ends the block", |a| {
        a.mov(rax, rcx)?;
        a.syscall()
    }),
    ("an instruction that is stepped", |a| {
        a.mov(rax, rcx)?;
        a.loop_(0x200u64)
    }),
    ("an undefined instruction", |a| {
        a.mov(rax, rcx)?;
        a.ud2()
    }),
];

const MODE32: &[(&str, Assemble)] = &[
    ("a function's entry", |a| {
        a.push(ebp)?;
        a.mov(ebp, esp)?;
        a.sub(esp, 0x18)?;
        a.mov(eax, dword_ptr(ebp + 8))?;
        a.mov(dword_ptr(esp), eax)?;
        a.call(0x300u64)
    }),
    ("a function's end", |a| {
        a.leave()?;
        a.ret()
    }),
    ("JMP to another page", |a| a.jmp(0x5100u64)),
];
