//! MMX: packed integers in the mantissas of the x87 registers.
//!
//! MMi is bits 63:0 of x87 register Ri by its physical number, whatever TOP is. An MMX
//! instruction that retires sets TOP to 0 and tags all registers valid, and what it writes
//! gets an exponent and sign of all ones, so that x87 code sees a NaN. EMMS, which tags all
//! registers empty again, is with the x87 instructions. An unmasked x87 exception that is
//! pending is raised first (#MF).
//!
//! Sources: SDM Vol. 3A, "The MMX State and MMX Register Aliasing" and "Effect of MMX
//! Instructions on Pending x87 Floating-Point Exceptions".

use super::vector_forms::{concat, length};
use crate::access::Guest;
use crate::core::{Core, Int};
use crate::op::{Done, Op, Row, body, row};
use iced_x86::Code::{self, *};
use trimotor_cpu::Fault;
use trimotor_cpu::simd::int::{self, V128};

/// The bits of a PSHUFB control that count for eight bytes.
const SHUFFLE_BITS: V128 = V128::from_lanes([0x87u8; 16]);

/// Register MMi, in the low half of a vector.
#[inline(always)]
fn mm(core: &Core, register: u8) -> V128 {
    V128::from_low(core.state.x87.mmx(register))
}
/// Writes MMi with the low half of `value`.
#[inline(always)]
fn set_mm(core: &mut Core, register: u8, value: V128) {
    core.state.x87.set_mmx(register, value.low());
}
/// TOP and tags as an MMX instruction leaves them. To be called when it cannot fault any more.
#[inline(always)]
fn enter_mmx(core: &mut Core) {
    core.state.x87.enter_mmx();
}

/// MM register `register`, or the memory operand.
#[inline(always)]
fn source<T: Guest + Int>(core: &mut Core, op: &Op, register: u8) -> Result<V128, Fault> {
    if op.has_mem() { Ok(V128::from_low(core.load::<T>(op)?.to_u64())) } else { Ok(mm(core, register)) }
}

/// The row of an operation on two vectors: `op mm, mm/m64`.
const fn binary<F>(code: Code, f: F) -> Row
where
    F: Fn(V128, V128) -> V128 + Copy + 'static,
{
    two_operands::<u64, F>(code, f)
}
/// The same with a memory operand of 32 bits: `op mm, mm/m32`.
const fn interleave<F>(code: Code, f: F) -> Row
where
    F: Fn(V128, V128) -> V128 + Copy + 'static,
{
    two_operands::<u32, F>(code, f)
}
const fn two_operands<T: Guest + Int, F>(code: Code, f: F) -> Row
where
    F: Fn(V128, V128) -> V128 + Copy + 'static,
{
    let step = move |core: &mut Core, op: &Op| {
        core.waiting_x87()?;
        let b = source::<T>(core, op, op.r2)?;
        enter_mmx(core);
        set_mm(core, op.r1, f(mm(core, op.r1), b));
        Ok(())
    };
    row(code, body(step))
}
/// The row of an operation with an immediate: `op mm, mm/m64, imm8`.
const fn with_imm<F>(code: Code, f: F) -> Row
where
    F: Fn(V128, V128, u8) -> V128 + Copy + 'static,
{
    let step = move |core: &mut Core, op: &Op| {
        core.waiting_x87()?;
        let b = source::<u64>(core, op, op.r2)?;
        enter_mmx(core);
        set_mm(core, op.r1, f(mm(core, op.r1), b, op.imm as u8));
        Ok(())
    };
    row(code, body(step))
}
/// The row of a shift by an immediate: `op mm, imm8`.
const fn shift_by_imm<F>(code: Code, f: F) -> Row
where
    F: Fn(V128, V128) -> V128 + Copy + 'static,
{
    let step = move |core: &mut Core, op: &Op| {
        core.waiting_x87()?;
        enter_mmx(core);
        set_mm(core, op.r1, f(mm(core, op.r1), V128::from_low(op.imm as u8 as u64)));
        Ok(())
    };
    row(code, body(step))
}

/// An operation that reads its sources one after the other (PACKSSWB, PHADDW), on eight bytes
/// each.
#[inline(always)]
fn joined(a: V128, b: V128, f: impl Fn(V128, V128) -> V128) -> V128 {
    let both = int::punpcklqdq(a, b);
    f(both, both)
}
#[inline(always)]
fn high_half(v: V128) -> V128 {
    int::punpckhqdq(v, v)
}
/// PALIGNR on eight bytes.
#[inline(always)]
fn palignr(a: V128, b: V128, count: u8) -> V128 {
    int::psrldq(int::punpcklqdq(b, a), count)
}

#[rustfmt::skip] // One line an instruction: the table is read by columns.
const PACKED: &[Row] = &[
    binary(Paddb_mm_mmm64, int::paddb),
    binary(Paddw_mm_mmm64, int::paddw),
    binary(Paddd_mm_mmm64, int::paddd),
    binary(Paddq_mm_mmm64, int::paddq),
    binary(Psubb_mm_mmm64, int::psubb),
    binary(Psubw_mm_mmm64, int::psubw),
    binary(Psubd_mm_mmm64, int::psubd),
    binary(Psubq_mm_mmm64, int::psubq),
    binary(Paddsb_mm_mmm64, int::paddsb),
    binary(Paddsw_mm_mmm64, int::paddsw),
    binary(Paddusb_mm_mmm64, int::paddusb),
    binary(Paddusw_mm_mmm64, int::paddusw),
    binary(Psubsb_mm_mmm64, int::psubsb),
    binary(Psubsw_mm_mmm64, int::psubsw),
    binary(Psubusb_mm_mmm64, int::psubusb),
    binary(Psubusw_mm_mmm64, int::psubusw),
    binary(Pavgb_mm_mmm64, int::pavgb),
    binary(Pavgw_mm_mmm64, int::pavgw),
    binary(Pminub_mm_mmm64, int::pminub),
    binary(Pminsw_mm_mmm64, int::pminsw),
    binary(Pmaxub_mm_mmm64, int::pmaxub),
    binary(Pmaxsw_mm_mmm64, int::pmaxsw),
    binary(Pmullw_mm_mmm64, int::pmullw),
    binary(Pmulhw_mm_mmm64, int::pmulhw),
    binary(Pmulhuw_mm_mmm64, int::pmulhuw),
    binary(Pmulhrsw_mm_mmm64, int::pmulhrsw),
    binary(Pmuludq_mm_mmm64, int::pmuludq),
    binary(Pmaddwd_mm_mmm64, int::pmaddwd),
    binary(Pmaddubsw_mm_mmm64, int::pmaddubsw),
    binary(Psadbw_mm_mmm64, int::psadbw),
    binary(Psignb_mm_mmm64, int::psignb),
    binary(Psignw_mm_mmm64, int::psignw),
    binary(Psignd_mm_mmm64, int::psignd),
    binary(Pand_mm_mmm64, int::pand),
    binary(Pandn_mm_mmm64, int::pandn),
    binary(Por_mm_mmm64, int::por),
    binary(Pxor_mm_mmm64, int::pxor),
    binary(Pcmpeqb_mm_mmm64, int::pcmpeqb),
    binary(Pcmpeqw_mm_mmm64, int::pcmpeqw),
    binary(Pcmpeqd_mm_mmm64, int::pcmpeqd),
    binary(Pcmpgtb_mm_mmm64, int::pcmpgtb),
    binary(Pcmpgtw_mm_mmm64, int::pcmpgtw),
    binary(Pcmpgtd_mm_mmm64, int::pcmpgtd),
    binary(Phaddw_mm_mmm64, |a, b| joined(a, b, int::phaddw)),
    binary(Phaddd_mm_mmm64, |a, b| joined(a, b, int::phaddd)),
    binary(Phaddsw_mm_mmm64, |a, b| joined(a, b, int::phaddsw)),
    binary(Phsubw_mm_mmm64, |a, b| joined(a, b, int::phsubw)),
    binary(Phsubd_mm_mmm64, |a, b| joined(a, b, int::phsubd)),
    binary(Phsubsw_mm_mmm64, |a, b| joined(a, b, int::phsubsw)),
    binary(Packsswb_mm_mmm64, |a, b| joined(a, b, int::packsswb)),
    binary(Packssdw_mm_mmm64, |a, b| joined(a, b, int::packssdw)),
    binary(Packuswb_mm_mmm64, |a, b| joined(a, b, int::packuswb)),
    binary(Pabsb_mm_mmm64, |_, b| int::pabsb(b)),
    binary(Pabsw_mm_mmm64, |_, b| int::pabsw(b)),
    binary(Pabsd_mm_mmm64, |_, b| int::pabsd(b)),
    binary(Punpckhbw_mm_mmm64, |a, b| high_half(int::punpcklbw(a, b))),
    binary(Punpckhwd_mm_mmm64, |a, b| high_half(int::punpcklwd(a, b))),
    binary(Punpckhdq_mm_mmm64, |a, b| high_half(int::punpckldq(a, b))),
    binary(Pshufb_mm_mmm64, |a, b| int::pshufb(a, int::pand(b, SHUFFLE_BITS))),
    interleave(Punpcklbw_mm_mmm32, int::punpcklbw),
    interleave(Punpcklwd_mm_mmm32, int::punpcklwd),
    interleave(Punpckldq_mm_mmm32, int::punpckldq),
    binary(Psllw_mm_mmm64, int::psllw), shift_by_imm(Psllw_mm_imm8, int::psllw),
    binary(Pslld_mm_mmm64, int::pslld), shift_by_imm(Pslld_mm_imm8, int::pslld),
    binary(Psllq_mm_mmm64, int::psllq), shift_by_imm(Psllq_mm_imm8, int::psllq),
    binary(Psrlw_mm_mmm64, int::psrlw), shift_by_imm(Psrlw_mm_imm8, int::psrlw),
    binary(Psrld_mm_mmm64, int::psrld), shift_by_imm(Psrld_mm_imm8, int::psrld),
    binary(Psrlq_mm_mmm64, int::psrlq), shift_by_imm(Psrlq_mm_imm8, int::psrlq),
    binary(Psraw_mm_mmm64, int::psraw), shift_by_imm(Psraw_mm_imm8, int::psraw),
    binary(Psrad_mm_mmm64, int::psrad), shift_by_imm(Psrad_mm_imm8, int::psrad),
    with_imm(Pshufw_mm_mmm64_imm8, |_, b, order| int::pshuflw(b, order)),
    with_imm(Palignr_mm_mmm64_imm8, palignr),
];

// ---- moves ----

/// MOVQ mm, mm/m64.
fn load(core: &mut Core, op: &Op) -> Done {
    core.waiting_x87()?;
    let value = source::<u64>(core, op, op.r2)?;
    enter_mmx(core);
    set_mm(core, op.r1, value);
    Ok(())
}
/// MOVQ mm/m64, mm; MOVNTQ.
fn store(core: &mut Core, op: &Op) -> Done {
    core.waiting_x87()?;
    if op.has_mem() {
        core.store::<u64>(op, mm(core, op.r1).low())?;
        enter_mmx(core);
    } else {
        enter_mmx(core);
        set_mm(core, op.r1, mm(core, op.r2));
    }
    Ok(())
}
/// MOVD mm, r/m32; MOVQ mm, r/m64.
fn from_general<T: Guest + Int>(core: &mut Core, op: &Op) -> Done {
    core.waiting_x87()?;
    let value: T = core.rm(op)?;
    enter_mmx(core);
    set_mm(core, op.r1, V128::from_low(value.to_u64()));
    Ok(())
}
/// MOVD r/m32, mm; MOVQ r/m64, mm.
fn to_general<T: Guest + Int>(core: &mut Core, op: &Op) -> Done {
    core.waiting_x87()?;
    if op.has_mem() {
        core.store(op, T::cut(mm(core, op.r1).low()))?;
    } else {
        core.set_reg(op.r1, T::cut(mm(core, op.r2).low()));
    }
    enter_mmx(core);
    Ok(())
}
/// MOVQ2DQ xmm, mm.
fn movq2dq(core: &mut Core, op: &Op) -> Done {
    core.waiting_x87()?;
    enter_mmx(core);
    core.set_vec(op.r1, mm(core, op.r2));
    Ok(())
}
/// MOVDQ2Q mm, xmm.
fn movdq2q(core: &mut Core, op: &Op) -> Done {
    core.waiting_x87()?;
    enter_mmx(core);
    set_mm(core, op.r1, core.vec(op.r2));
    Ok(())
}
/// PINSRW mm, r32/m16, imm8.
fn pinsrw(core: &mut Core, op: &Op) -> Done {
    core.waiting_x87()?;
    let value: u16 = core.rm(op)?;
    enter_mmx(core);
    set_mm(core, op.r1, int::insert::<u16, 8>(mm(core, op.r1), op.imm as u8 & 3, value));
    Ok(())
}
/// PEXTRW r32, mm, imm8.
fn pextrw(core: &mut Core, op: &Op) -> Done {
    core.waiting_x87()?;
    enter_mmx(core);
    let value = int::extract::<u16, 8>(mm(core, op.r2), op.imm as u8 & 3);
    core.set_reg::<u64>(op.r1, value as u64);
    Ok(())
}
/// PMOVMSKB r32, mm.
fn pmovmskb(core: &mut Core, op: &Op) -> Done {
    core.waiting_x87()?;
    enter_mmx(core);
    core.set_reg::<u32>(op.r1, int::pmovmskb(mm(core, op.r2)));
    Ok(())
}
/// MASKMOVQ: stores the bytes of the first register whose mask byte has its sign set.
fn maskmovq(core: &mut Core, op: &Op) -> Done {
    core.waiting_x87()?;
    let (value, mask) = (mm(core, op.r1), mm(core, op.r2));
    super::masked::store_bytes(core, op, value, int::pmovmskb(mask))?;
    enter_mmx(core);
    Ok(())
}

const MOVES: &[Row] = &[
    row(Movq_mm_mmm64, body(load)),
    row(Movq_mmm64_mm, body(store)),
    row(Movntq_m64_mm, body(store)),
    row(Movd_mm_rm32, body(from_general::<u32>)),
    row(Movq_mm_rm64, body(from_general::<u64>)),
    row(Movd_rm32_mm, body(to_general::<u32>)),
    row(Movq_rm64_mm, body(to_general::<u64>)),
    row(Movq2dq_xmm_mm, body(movq2dq)),
    row(Movdq2q_mm_xmm, body(movdq2q)),
    row(Pinsrw_mm_r32m16_imm8, body(pinsrw)),
    row(Pinsrw_mm_r64m16_imm8, body(pinsrw)),
    row(Pextrw_r32_mm_imm8, body(pextrw)),
    row(Pextrw_r64_mm_imm8, body(pextrw)),
    row(Pmovmskb_r32_mm, body(pmovmskb)),
    row(Pmovmskb_r64_mm, body(pmovmskb)),
    row(Maskmovq_rDI_mm_mm, body(maskmovq)),
];

const PARTS: &[&[Row]] = &[PACKED, MOVES];

/// The family's instruction forms.
pub(crate) const ROWS: &[Row] = &concat::<{ length(PARTS) }>(PARTS);
