//! The forms that a packed instruction comes in, made from one pure function.
//!
//! The manual gives most packed instructions three forms: legacy (the destination is also
//! the first source, bits above 127 of its YMM register stay, and a memory operand must be
//! aligned), VEX.128 (three operands, bits above 127 become zero) and VEX.256 (the operation
//! on both halves). [`binary`], [`unary`] and their relatives turn a function on 128-bit
//! vectors into the three rows.

#![allow(unsafe_code, reason = "says which types are plain data")]

use crate::access::Guest;
use crate::core::{Core, Int};
use crate::op::{Done, Op, Row, body, row};
use iced_x86::Code;
use trimotor_cpu::Fault;
use trimotor_cpu::simd::int::V128;

/// Both halves of a YMM register, low first.
pub(crate) type V256 = [V128; 2];

// SAFETY: vectors are plain data of any bit pattern.
unsafe impl Guest for V128 {}
// SAFETY: as above.
unsafe impl Guest for V256 {}

/// Writes an XMM register and clears the rest of its YMM register, as VEX.128 forms do.
#[inline(always)]
pub(crate) fn set_xmm(core: &mut Core, register: u8, value: V128) {
    core.set_vec::<V256>(register, [value, V128::ZERO]);
}

/// An aligned 128-bit memory operand, or XMM register `register`: the source of legacy forms.
///
/// # Faults
/// #GP(0) where a memory operand is not aligned; those of the load.
#[inline(always)]
pub(crate) fn legacy_source(core: &mut Core, op: &Op, register: u8) -> Result<V128, Fault> {
    if op.has_mem() { core.load_aligned(op) } else { Ok(core.vec(register)) }
}

/// `f(destination, source)`: `op xmm1, xmm2/m128`.
#[inline(always)]
fn legacy(core: &mut Core, op: &Op, f: impl Fn(V128, V128) -> V128) -> Done {
    let b = legacy_source(core, op, op.r2)?;
    let a: V128 = core.vec(op.r1);
    core.set_vec(op.r1, f(a, b));
    Ok(())
}

/// `f(first, second)`: `op xmm1, xmm2, xmm3/m128`.
#[inline(always)]
fn vex128(core: &mut Core, op: &Op, f: impl Fn(V128, V128) -> V128) -> Done {
    let b: V128 = core.vec_rm(op, op.r3)?;
    let a: V128 = core.vec(op.r2);
    set_xmm(core, op.r1, f(a, b));
    Ok(())
}

/// `f(first, second)` on both halves: `op ymm1, ymm2, ymm3/m256`.
#[inline(always)]
fn vex256(core: &mut Core, op: &Op, f: impl Fn(V256, V256) -> V256) -> Done {
    let b: V256 = core.vec_rm(op, op.r3)?;
    let a: V256 = core.vec(op.r2);
    core.set_vec(op.r1, f(a, b));
    Ok(())
}

/// Rows of an operation on two vectors.
pub(crate) const fn binary<F>(sse: Code, avx: Code, avx256: Code, f: F) -> [Row; 3]
where
    F: Fn(V128, V128) -> V128 + Copy + 'static,
{
    [
        row(sse, body(move |core: &mut Core, op: &Op| legacy(core, op, f))),
        row(avx, body(move |core: &mut Core, op: &Op| vex128(core, op, f))),
        wide(avx256, f),
    ]
}

/// The VEX.256 row of an operation on two vectors.
pub(crate) const fn wide<F>(avx256: Code, f: F) -> Row
where
    F: Fn(V128, V128) -> V128 + Copy + 'static,
{
    let halves = move |core: &mut Core, op: &Op| vex256(core, op, |a, b| [f(a[0], b[0]), f(a[1], b[1])]);
    row(avx256, body(halves))
}

/// The VEX.128 row of an operation on two vectors.
pub(crate) const fn narrow<F>(avx: Code, f: F) -> Row
where
    F: Fn(V128, V128) -> V128 + Copy + 'static,
{
    row(avx, body(move |core: &mut Core, op: &Op| vex128(core, op, f)))
}

/// The legacy row of an operation on two vectors.
pub(crate) const fn sse<F>(code: Code, f: F) -> Row
where
    F: Fn(V128, V128) -> V128 + Copy + 'static,
{
    row(code, body(move |core: &mut Core, op: &Op| legacy(core, op, f)))
}

/// The VEX.256 row of an operation across halves.
pub(crate) const fn across<F>(avx256: Code, f: F) -> Row
where
    F: Fn(V256, V256) -> V256 + Copy + 'static,
{
    row(avx256, body(move |core: &mut Core, op: &Op| vex256(core, op, f)))
}

/// Rows of an operation on two vectors and an immediate byte; the high half of the VEX.256
/// form sees the immediate shifted right by `SHIFT`.
pub(crate) const fn binary_imm<const SHIFT: u32, F>(sse: Code, avx: Code, avx256: Code, f: F) -> [Row; 3]
where
    F: Fn(V128, V128, u8) -> V128 + Copy + 'static,
{
    let legacy = move |core: &mut Core, op: &Op| legacy(core, op, |a, b| f(a, b, op.imm as u8));
    let halves = move |core: &mut Core, op: &Op| {
        let imm = op.imm as u8;
        vex256(core, op, |a, b| [f(a[0], b[0], imm), f(a[1], b[1], imm >> SHIFT)])
    };
    [row(sse, body(legacy)), narrow_imm(avx, f), row(avx256, body(halves))]
}

/// The VEX.128 row of an operation on two vectors and an immediate byte.
pub(crate) const fn narrow_imm<F>(avx: Code, f: F) -> Row
where
    F: Fn(V128, V128, u8) -> V128 + Copy + 'static,
{
    row(avx, body(move |core: &mut Core, op: &Op| vex128(core, op, |a, b| f(a, b, op.imm as u8))))
}

/// The VEX.256 row of an operation across halves with an immediate byte.
pub(crate) const fn across_imm<F>(avx256: Code, f: F) -> Row
where
    F: Fn(V256, V256, u8) -> V256 + Copy + 'static,
{
    row(avx256, body(move |core: &mut Core, op: &Op| vex256(core, op, |a, b| f(a, b, op.imm as u8))))
}

/// Rows of an operation on one vector and, for those that have one, the immediate byte.
pub(crate) const fn unary<const SHIFT: u32, F>(sse: Code, avx: Code, avx256: Code, f: F) -> [Row; 3]
where
    F: Fn(V128, u8) -> V128 + Copy + 'static,
{
    let halves = move |core: &mut Core, op: &Op| {
        let a: V256 = core.vec_rm(op, op.r2)?;
        core.set_vec(op.r1, [f(a[0], op.imm as u8), f(a[1], (op.imm as u8) >> SHIFT)]);
        Ok(())
    };
    let [sse, avx] = unary128(sse, avx, f);
    [sse, avx, row(avx256, body(halves))]
}

/// Legacy and VEX.128 rows of an operation on one vector and the immediate byte.
pub(crate) const fn unary128<F>(sse: Code, avx: Code, f: F) -> [Row; 2]
where
    F: Fn(V128, u8) -> V128 + Copy + 'static,
{
    let legacy = move |core: &mut Core, op: &Op| {
        let a = legacy_source(core, op, op.r2)?;
        core.set_vec(op.r1, f(a, op.imm as u8));
        Ok(())
    };
    let vex = move |core: &mut Core, op: &Op| {
        let a: V128 = core.vec_rm(op, op.r2)?;
        set_xmm(core, op.r1, f(a, op.imm as u8));
        Ok(())
    };
    [row(sse, body(legacy)), row(avx, body(vex))]
}

/// Rows of an operation whose legacy and VEX.128 forms read only `T` of their source, and
/// whose VEX.256 form reads `W` of it and makes a half of each of `W`'s halves.
pub(crate) const fn widening<T, W, F>(sse: Code, avx: Code, avx256: Code, f: F) -> [Row; 3]
where
    T: Guest + Int,
    W: Guest + Split,
    F: Fn(V128) -> V128 + Copy + 'static,
{
    let legacy = move |core: &mut Core, op: &Op| {
        let a: T = core.vec_rm(op, op.r2)?;
        core.set_vec(op.r1, f(V128::from_low(a.to_u64())));
        Ok(())
    };
    let vex = move |core: &mut Core, op: &Op| {
        let a: T = core.vec_rm(op, op.r2)?;
        set_xmm(core, op.r1, f(V128::from_low(a.to_u64())));
        Ok(())
    };
    let halves = move |core: &mut Core, op: &Op| {
        let a: W = core.vec_rm(op, op.r2)?;
        core.set_vec::<V256>(op.r1, a.split().map(|half| f(V128::from_low(half))));
        Ok(())
    };
    [row(sse, body(legacy)), row(avx, body(vex)), row(avx256, body(halves))]
}

/// A source of a widening operation, cut in halves.
pub(crate) trait Split: Sized {
    /// The low and the high half.
    fn split(self) -> [u64; 2];
}

impl Split for V128 {
    #[inline(always)]
    fn split(self) -> [u64; 2] {
        self.lanes()
    }
}
impl Split for u64 {
    #[inline(always)]
    fn split(self) -> [u64; 2] {
        [self as u32 as u64, self >> 32]
    }
}
impl Split for u32 {
    #[inline(always)]
    fn split(self) -> [u64; 2] {
        [self as u16 as u64, (self >> 16) as u64]
    }
}

/// Rows of a shift: by the low quadword of a register or memory operand, and by an immediate.
/// The VEX.256 form shifts both halves by the same count.
pub(crate) const fn shift<F>(by_vector: [Code; 3], by_imm: [Code; 3], f: F) -> [Row; 6]
where
    F: Fn(V128, V128) -> V128 + Copy + 'static,
{
    let both = move |core: &mut Core, op: &Op| {
        let count: V128 = core.vec_rm(op, op.r3)?;
        let a: V256 = core.vec(op.r2);
        core.set_vec(op.r1, a.map(|half| f(half, count)));
        Ok(())
    };
    let [sse, avx, avx256] = shift_by_imm(by_imm, move |a, count| f(a, V128::from_low(count as u64)));
    let [v, n, w] = by_vector;
    [self::sse(v, f), narrow(n, f), row(w, body(both)), sse, avx, avx256]
}

/// Rows of a shift by an immediate.
pub(crate) const fn shift_by_imm<F>(codes: [Code; 3], f: F) -> [Row; 3]
where
    F: Fn(V128, u8) -> V128 + Copy + 'static,
{
    let legacy = move |core: &mut Core, op: &Op| {
        let a: V128 = core.vec(op.r1);
        core.set_vec(op.r1, f(a, op.imm as u8));
        Ok(())
    };
    let vex = move |core: &mut Core, op: &Op| {
        let a: V128 = core.vec(op.r2);
        set_xmm(core, op.r1, f(a, op.imm as u8));
        Ok(())
    };
    let halves = move |core: &mut Core, op: &Op| {
        let a: V256 = core.vec(op.r2);
        core.set_vec(op.r1, a.map(|half| f(half, op.imm as u8)));
        Ok(())
    };
    [row(codes[0], body(legacy)), row(codes[1], body(vex)), row(codes[2], body(halves))]
}

/// One table from several.
pub(crate) const fn concat<const N: usize>(tables: &[&[Row]]) -> [Row; N] {
    let mut rows = [tables[0][0]; N];
    let (mut table, mut n) = (0, 0);
    while table < tables.len() {
        let mut i = 0;
        while i < tables[table].len() {
            rows[n] = tables[table][i];
            n += 1;
            i += 1;
        }
        table += 1;
    }
    assert!(n == N, "the table's length is its parts' lengths together");
    rows
}

/// How many rows several tables have together.
pub(crate) const fn length(tables: &[&[Row]]) -> usize {
    let (mut table, mut n) = (0, 0);
    while table < tables.len() {
        n += tables[table].len();
        table += 1;
    }
    n
}
