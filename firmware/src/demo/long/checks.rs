//! Self-checks: small computations with known results, exceptions that must come, and the clock.

use super::colour;
use super::interrupts::{guard, unguard};
use crate::demo::asm::{Asm, Build, Routine};
use crate::demo::layout::*;
use iced_x86::code_asm::*;
use trimotor_bus::board;

/// Ticks over which the clocks are compared.
const TICKS: u32 = 10;
/// PM timer counts in that time: its clock is three times the PIT's.
const PM_COUNTS: u32 = TICKS * 11932 * 3;
/// How often the clocks may differ before they are called wrong.
const ATTEMPTS: u32 = 8;
/// Looks at the tick counter before a dead timer is given up.
const PATIENCE: u32 = 200_000_000;

pub(super) fn routines(s: &mut Asm) -> Build {
    report(s)?;
    s.routine(Routine::Checks)?;
    s.say_in(colour::CYAN, "checks\n")?;
    s.mov(qword_ptr(vars::FAILURES), 0)?;
    integer(s)?;
    x87(s)?;
    sse(s)?;
    avx(s)?;
    self_modifying_code(s)?;
    exceptions(s)?;
    clocks(s)?;
    let (good, end) = (s.create_label(), s.create_label());
    s.mov(rax, qword_ptr(vars::FAILURES))?;
    s.test(rax, rax)?;
    s.je(good)?;
    s.colour(colour::RED)?;
    s.say("         ")?;
    s.invoke(Routine::PrintDec)?;
    s.say(" failed!\n")?;
    s.jmp(end)?;
    s.bind(good)?;
    s.say_in(colour::GREEN, "         all as it should be\n")?;
    s.bind(end)?;
    s.colour(colour::PLAIN)?;
    s.ret()
}

/// Outcomes of a check, beside 0, which is failure.
const GOOD: u32 = 1;
/// The processor lacks what would be checked.
const NONE: u32 = 2;
/// The host is too busy to tell.
const LATE: u32 = 3;

/// AL: the outcome; RSI: what was checked.
fn report(s: &mut Asm) -> Build {
    let late = s.create_label();
    let (good, skipped, text) = (s.create_label(), s.create_label(), s.create_label());
    s.routine(Routine::Report)?;
    s.push(rsi)?;
    for (outcome, label) in [(GOOD, good), (NONE, skipped), (LATE, late)] {
        s.cmp(al, outcome)?;
        s.je(label)?;
    }
    s.inc(qword_ptr(vars::FAILURES))?;
    s.say_in(colour::RED, "  [fail] ")?;
    s.jmp(text)?;
    s.bind(late)?;
    s.say_in(colour::YELLOW, "  [late] ")?;
    s.jmp(text)?;
    s.bind(skipped)?;
    s.say("  [none] ")?;
    s.jmp(text)?;
    s.bind(good)?;
    s.say_in(colour::GREEN, "  [ ok ] ")?;
    s.bind(text)?;
    s.pop(rsi)?;
    s.invoke(Routine::Print)?;
    s.ret()
}

/// Ends a check: control comes here with success, or by a jump to `failed`.
fn verdict(s: &mut Asm, failed: CodeLabel, text: &str) -> Build {
    let end = s.create_label();
    let text = s.pool.text(text);
    s.mov(al, GOOD)?;
    s.jmp(end)?;
    s.bind(failed)?;
    s.xor(eax, eax)?;
    s.bind(end)?;
    s.mov(esi, text as u32)?;
    s.invoke(Routine::Report)
}

/// Fails where `register` is not `value`. Changes R15.
fn expect(s: &mut Asm, register: AsmRegister64, value: u64, failed: CodeLabel) -> Build {
    s.mov(r15, value)?;
    s.cmp(register, r15)?;
    s.jne(failed)
}

fn integer(s: &mut Asm) -> Build {
    const A: u64 = 0x0123_4567_89AB_CDEF;
    const B: u64 = 0xFEDC_BA98_7654_3210;
    const PRODUCT: u128 = A as u128 * B as u128;
    let failed = s.create_label();
    s.mov(rax, A)?;
    s.mov(rbx, B)?;
    s.mul(rbx)?;
    expect(s, rax, PRODUCT as u64, failed)?;
    expect(s, rdx, (PRODUCT >> 64) as u64, failed)?;
    s.div(rbx)?;
    expect(s, rax, A, failed)?;
    expect(s, rdx, 0, failed)?;
    s.mov(rax, B)?;
    s.add(rax, rax)?;
    s.adc(rdx, 0)?;
    expect(s, rdx, 1, failed)?;
    s.rol(rax, 20)?;
    s.bswap(rax)?;
    expect(s, rax, (B << 1).rotate_left(20).swap_bytes(), failed)?;
    s.xor(eax, eax)?;
    s.mov(ecx, 1000)?;
    let next = s.here()?;
    s.add(eax, ecx)?;
    s.loop_(next)?;
    expect(s, rax, 500_500, failed)?;
    verdict(s, failed, "integer: 128-bit product and its division, carry, rotation, a loop\n")
}

fn x87(s: &mut Asm) -> Build {
    const PI_MANTISSA: u64 = 0xC90F_DAA2_2168_C235;
    let failed = s.create_label();
    s.fninit()?;
    s.fldpi()?;
    s.fstp(tbyte_ptr(SCRATCH))?;
    s.mov(rax, qword_ptr(SCRATCH))?;
    expect(s, rax, PI_MANTISSA, failed)?;
    s.movzx(eax, word_ptr(SCRATCH + 8))?;
    expect(s, rax, 0x4000, failed)?;
    // 20! by multiplication, exact in 64 bits of mantissa.
    s.fld1()?;
    s.mov(dword_ptr(SCRATCH), 20)?;
    let next = s.here()?;
    s.fimul(dword_ptr(SCRATCH))?;
    s.dec(dword_ptr(SCRATCH))?;
    s.jne(next)?;
    s.fistp(qword_ptr(SCRATCH))?;
    s.mov(rax, qword_ptr(SCRATCH))?;
    expect(s, rax, (1..=20).product(), failed)?;
    s.mov(dword_ptr(SCRATCH), 144)?;
    s.fild(dword_ptr(SCRATCH))?;
    s.fsqrt()?;
    s.fistp(qword_ptr(SCRATCH))?;
    s.mov(rax, qword_ptr(SCRATCH))?;
    expect(s, rax, 12, failed)?;
    verdict(s, failed, "x87: pi to 64 bits, 20!, the root of 144\n")
}

fn sse(s: &mut Asm) -> Build {
    let failed = s.create_label();
    let doubles = |values: [f64; 2]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>();
    let a = s.pool.data(&doubles([1.5, -2.0]));
    let b = s.pool.data(&doubles([2.5, 0.125]));
    s.movupd(xmm0, xmmword_ptr(a))?;
    s.movupd(xmm1, xmmword_ptr(b))?;
    s.mulpd(xmm0, xmm1)?;
    s.movq(rax, xmm0)?;
    expect(s, rax, 3.75f64.to_bits(), failed)?;
    s.unpckhpd(xmm0, xmm0)?;
    s.movq(rax, xmm0)?;
    expect(s, rax, (-0.25f64).to_bits(), failed)?;
    s.mov(eax, 1_000_000)?;
    s.cvtsi2sd(xmm2, rax)?;
    s.sqrtsd(xmm2, xmm2)?;
    s.cvttsd2si(rax, xmm2)?;
    expect(s, rax, 1000, failed)?;
    s.pcmpeqd(xmm3, xmm3)?;
    s.paddd(xmm3, xmm3)?;
    s.movq(rax, xmm3)?;
    expect(s, rax, 0xFFFF_FFFE_FFFF_FFFE, failed)?;
    verdict(s, failed, "SSE2: packed doubles and integers, a root\n")
}

/// Where CPUID has AVX and XCR0 its state.
fn avx(s: &mut Asm) -> Build {
    let (failed, none, end) = (s.create_label(), s.create_label(), s.create_label());
    s.mov(eax, 1)?;
    s.cpuid()?;
    s.and(ecx, 1 << 28 | 1 << 27)?;
    s.cmp(ecx, 1 << 28 | 1 << 27)?;
    s.jne(none)?;
    s.xor(ecx, ecx)?;
    s.xgetbv()?;
    s.and(eax, 0b110)?;
    s.cmp(eax, 0b110)?;
    s.jne(none)?;
    let floats: Vec<u8> = (1..=8).flat_map(|i| (i as f32).to_le_bytes()).collect();
    let floats = s.pool.data(&floats);
    s.vmovups(ymm0, ymmword_ptr(floats))?;
    s.vmulps(ymm1, ymm0, ymm0)?;
    s.vaddps(ymm1, ymm1, ymm0)?;
    s.vmovups(ymmword_ptr(SCRATCH), ymm1)?;
    s.vzeroupper()?;
    for lane in 0..8u64 {
        let n = (lane + 1) as f32;
        s.cmp(dword_ptr(SCRATCH + 4 * lane), (n * n + n).to_bits())?;
        s.jne(failed)?;
    }
    verdict(s, failed, "AVX: eight floats at once: n * n + n\n")?;
    s.jmp(end)?;
    s.bind(none)?;
    let text = s.pool.text("AVX: this processor has none\n");
    s.mov(esi, text as u32)?;
    s.mov(al, NONE)?;
    s.invoke(Routine::Report)?;
    s.bind(end)
}

/// Writes `mov eax, 1; ret`, calls it, changes the 1 into a 2, and calls it again.
fn self_modifying_code(s: &mut Asm) -> Build {
    const CODE: u64 = SCRATCH + 0x100;
    let failed = s.create_label();
    s.mov(rax, u64::from_le_bytes([0xB8, 1, 0, 0, 0, 0xC3, 0x90, 0x90]))?;
    s.mov(qword_ptr(CODE), rax)?;
    s.mov(ebx, CODE as u32)?;
    for result in [1, 2] {
        s.call(rbx)?;
        expect(s, rax, result, failed)?;
        s.inc(byte_ptr(rbx + 1))?;
    }
    verdict(s, failed, "code that changes itself is seen at once\n")
}

/// Makes an exception happen with `cause` and compares vector, error code and (for page faults)
/// CR2 with what they must be.
fn expect_exception(
    s: &mut Asm,
    text: &str,
    expected: (u32, u32, Option<u64>),
    cause: impl FnOnce(&mut Asm) -> Build,
) -> Build {
    let (caught, failed) = (s.create_label(), s.create_label());
    let (vector, error, address) = expected;
    guard(s, caught)?;
    cause(s)?;
    unguard(s)?;
    s.jmp(failed)?;
    s.bind(caught)?;
    s.cmp(qword_ptr(vars::FAULT_VECTOR), vector as i32)?;
    s.jne(failed)?;
    s.cmp(qword_ptr(vars::FAULT_ERROR), error as i32)?;
    s.jne(failed)?;
    if let Some(address) = address {
        s.cmp(qword_ptr(vars::FAULT_CR2), address as i32)?;
        s.jne(failed)?;
    }
    verdict(s, failed, text)
}

fn exceptions(s: &mut Asm) -> Build {
    expect_exception(s, "writing a read-only page faults\n", (14, 3, Some(READ_ONLY_PAGE + 8)), |s| {
        s.mov(byte_ptr(READ_ONLY_PAGE + 8), 1)
    })?;
    expect_exception(
        s,
        "reading an unmapped page faults, CR2 says where\n",
        (14, 0, Some(MISSING_PAGE)),
        |s| {
            s.mov(ecx, MISSING_PAGE as u32)?;
            s.mov(rcx, qword_ptr(rcx))
        },
    )?;
    let (none, end) = (s.create_label(), s.create_label());
    s.cmp(byte_ptr(vars::HAS_NX), 0)?;
    s.je(none)?;
    expect_exception(s, "running a no-execute page faults\n", (14, 0x11, Some(NO_EXECUTE_PAGE)), |s| {
        s.mov(byte_ptr(NO_EXECUTE_PAGE), 0xC3)?;
        s.mov(ecx, NO_EXECUTE_PAGE as u32)?;
        s.call(rcx)
    })?;
    s.jmp(end)?;
    s.bind(none)?;
    let text = s.pool.text("no-execute pages: this processor has none\n");
    s.mov(esi, text as u32)?;
    s.mov(al, NONE)?;
    s.invoke(Routine::Report)?;
    s.bind(end)?;
    expect_exception(s, "dividing by zero is an exception\n", (0, 0, None), |s| {
        s.xor(ecx, ecx)?;
        s.idiv(rcx)
    })?;
    expect_exception(s, "so is an opcode that does not exist\n", (6, 0, None), |s| s.ud2())?;
    expect_exception(s, "so is an address beyond 48 bits\n", (13, 0, None), |s| {
        s.mov(rcx, 0x8000_0000_0000_0000u64)?;
        s.mov(rcx, qword_ptr(rcx))
    })
}

/// Ten timer interrupts, measured with the ACPI PM timer and the time-stamp counter.
fn clocks(s: &mut Asm) -> Build {
    let (dead, report, wait_tick) = (s.create_label(), s.create_label(), s.create_label());
    let (bad, end) = (s.create_label(), s.create_label());
    // On a busy host an interrupt may come late, so there are several attempts.
    s.mov(r14d, ATTEMPTS)?;
    let attempt = s.here()?;
    s.mov(ebx, 1)?;
    s.call(wait_tick)?;
    s.jb(dead)?;
    read_clocks(s)?;
    s.mov(r12d, ebx)?;
    s.mov(r13, rax)?;
    s.mov(ebx, TICKS)?;
    s.call(wait_tick)?;
    s.jb(dead)?;
    read_clocks(s)?;
    s.sub(ebx, r12d)?;
    s.and(ebx, 0xFF_FFFF)?;
    s.mov(r12d, ebx)?;
    s.sub(rax, r13)?;
    s.mov(r13, rax)?;
    s.cmp(r12d, PM_COUNTS - PM_COUNTS / 20)?;
    s.jb(bad)?;
    s.cmp(r12d, PM_COUNTS + PM_COUNTS / 20)?;
    s.ja(bad)?;
    s.mov(al, GOOD)?;
    s.jmp(report)?;
    s.bind(bad)?;
    s.dec(r14d)?;
    s.jne(attempt)?;
    // Late interrupts are lost when the next one is due, on a busy host as on a busy PC: that is
    // no fault. Interrupts that come too often are.
    s.mov(al, LATE)?;
    s.cmp(r12d, PM_COUNTS)?;
    s.ja(report)?;
    s.xor(eax, eax)?;
    s.bind(report)?;
    let text = s.pool.text("clocks: 10 ticks took ");
    s.mov(esi, text as u32)?;
    s.invoke(Routine::Report)?;
    s.mov(eax, r12d)?;
    s.invoke(Routine::PrintDec)?;
    s.say(&format!(" PM timer counts ({PM_COUNTS} expected);\n         the time-stamp counter runs at "))?;
    // Ten ticks are a tenth of a second, so cycles in them over 100000 are megahertz.
    s.mov(rax, r13)?;
    s.xor(edx, edx)?;
    s.mov(ecx, 100_000)?;
    s.div(rcx)?;
    s.invoke(Routine::PrintDec)?;
    s.say(" MHz\n")?;
    s.jmp(end)?;
    s.bind(dead)?;
    let text = s.pool.text("clocks: no timer interrupts come\n");
    s.mov(esi, text as u32)?;
    s.xor(eax, eax)?;
    s.invoke(Routine::Report)?;
    s.jmp(end)?;
    wait_for_ticks(s, wait_tick)?;
    s.bind(end)
}

/// EBX: the PM timer, RAX: the time-stamp counter. Changes RDX.
fn read_clocks(s: &mut Asm) -> Build {
    s.mov(edx, u32::from(board::PM_TIMER.0))?;
    s.in_(eax, dx)?;
    s.mov(ebx, eax)?;
    s.rdtsc()?;
    s.shl(rdx, 32)?;
    s.or(rax, rdx)
}

/// Waits for EBX ticks from now on; carry where they do not come. Changes RAX, RBX, RCX.
fn wait_for_ticks(s: &mut Asm, label: CodeLabel) -> Build {
    let come = s.create_label();
    s.bind(label)?;
    s.add(rbx, qword_ptr(vars::TICKS))?;
    s.mov(ecx, PATIENCE)?;
    let again = s.here()?;
    s.cmp(qword_ptr(vars::TICKS), rbx)?;
    s.jae(come)?;
    s.pause()?;
    s.dec(ecx)?;
    s.jne(again)?;
    s.stc()?;
    s.ret()?;
    s.bind(come)?;
    s.clc()?;
    s.ret()
}
