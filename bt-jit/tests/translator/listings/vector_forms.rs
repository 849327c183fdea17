//! Vector instructions whose host code is listed one by one.

use super::forms::Forms;
use super::render::KERNEL64;
use iced_x86::IcedError;
use iced_x86::code_asm::*;

/// All files of vector forms.
pub const ALL: &[Forms] = &[
    ("mmx.txt", "MMX", KERNEL64, mmx),
    ("sse.txt", "SSE to SSE4.2, AES", KERNEL64, sse),
    ("avx.txt", "AVX, AVX2, FMA", KERNEL64, avx),
];

fn mmx(a: &mut CodeAssembler) -> Result<(), IcedError> {
    a.movq(mm0, qword_ptr(rsi))?;
    a.paddb(mm0, mm1)?;
    a.emms()
}

fn sse(a: &mut CodeAssembler) -> Result<(), IcedError> {
    a.movaps(xmm0, xmm1)?;
    a.movaps(xmm0, xmmword_ptr(rsi))?;
    a.movups(xmm8, xmmword_ptr(rsi + 16))?;
    a.movdqu(xmmword_ptr(rdi), xmm0)?;
    a.movq(xmm0, rax)?;
    a.movd(r8d, xmm0)?;
    a.movss(xmm0, dword_ptr(rsi))?;
    a.addps(xmm0, xmm1)?;
    a.addsd(xmm0, qword_ptr(rsi))?;
    a.mulpd(xmm2, xmmword_ptr(rsi))?;
    a.ucomisd(xmm0, xmm1)?;
    a.cvtsi2sd(xmm0, rax)?;
    a.cvttsd2si(rax, xmm0)?;
    a.pxor(xmm0, xmm0)?;
    a.pcmpeqb(xmm0, xmmword_ptr(rsi))?;
    a.pmovmskb(eax, xmm0)?;
    a.pshufb(xmm0, xmm1)?;
    a.pinsrq(xmm0, rax, 1)?;
    a.ptest(xmm0, xmm1)?;
    a.aesenc(xmm0, xmm1)?;
    a.pcmpistri(xmm0, xmm1, 0)?;
    a.pcmpestri(xmm0, xmmword_ptr(rsi), 0)?;
    a.pcmpestrm(xmm1, xmm2, 0)?;
    a.movntdq(xmmword_ptr(rdi), xmm0)?;
    a.ldmxcsr(dword_ptr(rsi))
}

fn avx(a: &mut CodeAssembler) -> Result<(), IcedError> {
    a.vmovdqu(ymm0, ymmword_ptr(rsi))?;
    a.vmovdqa(ymm0, ymmword_ptr(rsi))?;
    a.vmovdqu(ymmword_ptr(rdi), ymm0)?;
    a.vpaddd(ymm0, ymm1, ymm2)?;
    a.vpcmpeqb(ymm0, ymm1, ymmword_ptr(rdi))?;
    a.vpmovmskb(eax, ymm0)?;
    a.vbroadcastss(ymm0, dword_ptr(rsi))?;
    a.vfmadd231pd(ymm0, ymm1, ymmword_ptr(rsi))?;
    a.vaddsd(xmm0, xmm1, xmm2)?;
    a.vextracti128(xmm0, ymm1, 1)?;
    a.vpmaskmovd(ymm0, ymm1, ymmword_ptr(rsi))?;
    a.vzeroupper()
}
