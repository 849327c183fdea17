//! Instructions whose host code is listed one by one: integers, the stack, the system.

use super::Assemble;
use super::render::{KERNEL64, Setting, USER32};
use iced_x86::IcedError;
use iced_x86::code_asm::*;

/// File, title, setting, and the instructions.
pub type Forms = (&'static str, &'static str, Setting, Assemble);

/// All files of forms, apart from those with vectors.
pub const ALL: &[Forms] = &[
    ("alu.txt", "the instructions of the ALU", KERNEL64, super::alu::all),
    ("integer_registers.txt", "integer instructions on registers", KERNEL64, integer_registers),
    ("integer_memory.txt", "integer instructions with memory operands", KERNEL64, integer_memory),
    ("flags.txt", "instructions that use or make some of the flags", KERNEL64, flags),
    ("shifts.txt", "shifts and rotates", KERNEL64, shifts),
    ("bits.txt", "bit instructions and bit strings", KERNEL64, bits),
    ("muldiv.txt", "multiplication and division", KERNEL64, muldiv),
    ("stack.txt", "the stack", KERNEL64, stack),
    ("atomic.txt", "read-modify-write instructions with and without LOCK", KERNEL64, atomic),
    ("string.txt", "string instructions", KERNEL64, string),
    ("system.txt", "system instructions", KERNEL64, system),
    ("x87.txt", "the x87 unit", KERNEL64, x87),
    ("mode32.txt", "32-bit code", USER32, mode32),
];

fn integer_registers(a: &mut CodeAssembler) -> Result<(), IcedError> {
    a.mov(rax, rcx)?;
    a.mov(ecx, edx)?;
    a.mov(r8, rax)?;
    a.mov(r9d, r10d)?;
    a.mov(r12, 0x1234_5678_9ABC_DEF0u64)?;
    a.mov(eax, 1)?;
    a.mov(r8d, -1)?;
    a.mov(al, cl)?;
    a.mov(ah, cl)?;
    a.mov(bl, ch)?;
    a.mov(cx, dx)?;
    a.add(rax, rcx)?;
    a.add(ecx, 100)?;
    a.add(r8, r9)?;
    a.add(dl, 1)?;
    a.add(dh, 1)?;
    a.sub(rsp, 0x28)?;
    a.and(eax, 0xFF)?;
    a.xor(eax, eax)?;
    a.or(r11, rbx)?;
    a.cmp(rdi, rsi)?;
    a.cmp(r8, 4)?;
    a.test(eax, eax)?;
    a.neg(rdx)?;
    a.not(rdx)?;
    a.inc(r10)?;
    a.movzx(eax, cl)?;
    a.movzx(ecx, ah)?;
    a.movsx(rdx, cx)?;
    a.movsxd(rax, ecx)?;
    a.lea(rax, rcx + rdx * 4 + 16)?;
    a.lea(eax, r8 + r9)?;
    a.lea(rdi, ptr(0x2000u64))?;
    a.xchg(rax, rbx)?;
    a.bswap(rcx)?;
    a.cdq()?;
    a.cqo()?;
    a.cdqe()?;
    a.andn(rax, rcx, rdx)?;
    a.nop()
}

fn integer_memory(a: &mut CodeAssembler) -> Result<(), IcedError> {
    a.mov(rax, qword_ptr(rcx))?;
    a.mov(ecx, dword_ptr(rdi + rax * 8 + 0x40))?;
    a.mov(r8, qword_ptr(r9 + r10 * 2))?;
    a.mov(al, byte_ptr(rsi))?;
    a.mov(ah, byte_ptr(rsi))?;
    a.mov(rax, qword_ptr(0x2000u64))?;
    a.mov(rax, qword_ptr(0x28).gs())?;
    a.mov(qword_ptr(rdx + 8), rax)?;
    a.mov(dword_ptr(rdx), -1)?;
    a.mov(qword_ptr(r12), r9)?;
    a.mov(byte_ptr(rdi), dh)?;
    a.mov(eax, dword_ptr(ecx + 4))?;
    a.add(rax, qword_ptr(rbx))?;
    a.add(qword_ptr(rbx), rax)?;
    a.cmp(byte_ptr(rdi), 0)?;
    a.test(dword_ptr(rsi + 4), 0x80)?;
    a.inc(dword_ptr(rax))?;
    a.movzx(eax, byte_ptr(rsi))?;
    a.movsxd(rcx, dword_ptr(rsi))?;
    a.imul_3(rax, qword_ptr(rsi), 12)?;
    a.movbe(eax, dword_ptr(rsi))?;
    a.movnti(qword_ptr(rdi), rax)
}

fn flags(a: &mut CodeAssembler) -> Result<(), IcedError> {
    a.adc(rax, rcx)?;
    a.sbb(eax, eax)?;
    a.adc(rax, qword_ptr(rsi))?;
    a.sete(al)?;
    a.setg(r8b)?;
    a.setne(byte_ptr(rdi))?;
    a.cmove(rax, rcx)?;
    a.cmovl(r9, qword_ptr(rsi))?;
    a.inc(rcx)?;
    a.stc()?;
    a.clc()?;
    a.cmc()?;
    a.adcx(rax, rcx)?;
    a.adox(rax, rcx)?;
    a.lahf()?;
    a.sahf()
}

fn shifts(a: &mut CodeAssembler) -> Result<(), IcedError> {
    a.shl(rax, 4)?;
    a.shr(ecx, 1)?;
    a.sar(r8, 63)?;
    a.shl(rdx, cl)?;
    a.shl(rcx, cl)?;
    a.rol(eax, 7)?;
    a.ror(rax, cl)?;
    a.rcl(rdx, 1)?;
    a.rcr(ecx, cl)?;
    a.shld(rax, rdx, 12)?;
    a.shrd(rax, rdx, cl)?;
    a.shl(dword_ptr(rsi), cl)?;
    a.sar(qword_ptr(rsi), 1)?;
    a.shlx(rax, rcx, rdx)?;
    a.rorx(rax, rcx, 13)
}

fn bits(a: &mut CodeAssembler) -> Result<(), IcedError> {
    a.bt(rax, 5)?;
    a.bts(ecx, edx)?;
    a.btr(r8, r9)?;
    a.bt(dword_ptr(rsi), 3)?;
    a.bt(qword_ptr(rdi), rax)?;
    a.bts(qword_ptr(rdi), rax)?;
    a.lock().bts(qword_ptr(rdi), rax)?;
    a.bsf(rax, rcx)?;
    a.bsr(eax, ecx)?;
    a.tzcnt(rax, rcx)?;
    a.lzcnt(eax, dword_ptr(rsi))?;
    a.popcnt(rax, rcx)?;
    a.blsr(rax, rcx)?;
    a.bextr(rax, rcx, rdx)?;
    a.pdep(rax, rcx, rdx)?;
    a.crc32(rax, rcx)
}

fn muldiv(a: &mut CodeAssembler) -> Result<(), IcedError> {
    a.imul_2(rax, rcx)?;
    a.imul_3(eax, ecx, 100)?;
    a.imul(rcx)?;
    a.mul(rcx)?;
    a.mul(cl)?;
    a.mul(r9d)?;
    a.mul(qword_ptr(rsi))?;
    a.mulx(rax, rcx, rbx)?;
    a.div(rcx)?;
    a.div(ecx)?;
    a.idiv(r8)?;
    a.idiv(dword_ptr(rsi))?;
    a.div(cl)
}

fn stack(a: &mut CodeAssembler) -> Result<(), IcedError> {
    a.push(rbp)?;
    a.push(r8)?;
    a.push(rsp)?;
    a.push(0x20)?;
    a.push(qword_ptr(rsi))?;
    a.pop(rbp)?;
    a.pop(r9)?;
    a.pop(rsp)?;
    a.leave()?;
    a.pushfq()?;
    a.popfq()
}

fn atomic(a: &mut CodeAssembler) -> Result<(), IcedError> {
    a.lock().add(dword_ptr(rdi), 1)?;
    a.lock().dec(qword_ptr(rdi))?;
    a.lock().xadd(dword_ptr(rdi), eax)?;
    a.xchg(qword_ptr(rdi), rax)?;
    a.cmpxchg(qword_ptr(rdi), rdx)?;
    a.lock().cmpxchg(dword_ptr(rdi), edx)?;
    a.cmpxchg(ecx, edx)?;
    a.lock().cmpxchg16b(xmmword_ptr(rdi))?;
    a.lock().cmpxchg8b(qword_ptr(rdi))?;
    a.mfence()
}

fn string(a: &mut CodeAssembler) -> Result<(), IcedError> {
    a.rep().movsb()?;
    a.rep().movsq()?;
    a.rep().stosq()?;
    a.repe().cmpsb()?;
    a.repne().scasb()?;
    a.lodsb()?;
    a.stosd()?;
    a.movsq()?;
    a.scasb()?;
    a.cmpsq()
}

fn system(a: &mut CodeAssembler) -> Result<(), IcedError> {
    a.cli()?;
    a.sti()?;
    a.cld()?;
    a.std()?;
    a.swapgs()?;
    a.mov(rax, cr3)?;
    a.mov(rcx, cr2)?;
    a.mov(cr3, rax)?;
    a.rdtsc()?;
    a.cpuid()?;
    a.rdmsr()?;
    a.invlpg(byte_ptr(rdi))?;
    a.in_(al, dx)?;
    a.clac()?;
    a.stac()?;
    a.xgetbv()?;
    a.rdtscp()?;
    a.mov(eax, ds)?;
    a.mov(r9w, gs)?;
    a.rdfsbase(rax)?;
    a.wrgsbase(rcx)?;
    a.wrfsbase(edx)?;
    a.syscall()?;
    a.sysretq()?;
    a.prefetcht0(byte_ptr(rsi))?;
    a.pause()
}

fn x87(a: &mut CodeAssembler) -> Result<(), IcedError> {
    a.fld(qword_ptr(rsi))?;
    a.fld(tword_ptr(rsi))?;
    a.fild(dword_ptr(rsi))?;
    a.fld1()?;
    a.fadd_2(st0, st1)?;
    a.faddp(st1, st0)?;
    a.fmul(qword_ptr(rsi))?;
    a.fdivp(st1, st0)?;
    a.fxch(st0, st1)?;
    a.fcomip(st0, st1)?;
    a.fstp(qword_ptr(rdi))?;
    a.fistp(qword_ptr(rdi))?;
    a.fnstcw(word_ptr(rdi))?;
    a.fldcw(word_ptr(rdi))?;
    a.fsqrt()?;
    a.fsin()
}

fn mode32(a: &mut CodeAssembler) -> Result<(), IcedError> {
    a.mov(eax, ecx)?;
    a.mov(eax, dword_ptr(esi + ecx * 4 + 8))?;
    a.mov(dword_ptr(esp + 4), eax)?;
    a.mov(eax, dword_ptr(0x14).gs())?;
    a.mov(eax, dword_ptr(0x0804_9000))?;
    a.add(dword_ptr(ebx), 1)?;
    a.inc(eax)?;
    a.push(ebp)?;
    a.push(0x10)?;
    a.pop(ebx)?;
    a.leave()?;
    a.lea(eax, ecx + edx * 2)?;
    a.pushfd()?;
    a.pushad()?;
    a.daa()?;
    a.les(eax, fword_ptr(ebx))
}
