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
use crate::hot::{loads, registers};
use crate::op::{Op, Row};
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

/// The second register operand, as a source.
#[inline(always)]
pub(crate) fn second<T: Guest>(core: &Core, op: &Op) -> T {
    core.vec(op.r2)
}
/// The third register operand, as a source.
#[inline(always)]
pub(crate) fn third<T: Guest>(core: &Core, op: &Op) -> T {
    core.vec(op.r3)
}

/// The legacy row of an operation on two vectors: `op xmm1, xmm2/m128`.
pub(crate) const fn sse<F>(code: Code, f: F) -> Row
where
    F: Fn(V128, V128) -> V128 + Copy + 'static,
{
    let finish = move |core: &mut Core, op: &Op, b| core.set_vec(op.r1, f(core.vec(op.r1), b));
    loads::<true, V128, _, _>(code, second, finish)
}
/// The VEX.128 row of an operation on two vectors: `op xmm1, xmm2, xmm3/m128`.
pub(crate) const fn narrow<F>(avx: Code, f: F) -> Row
where
    F: Fn(V128, V128) -> V128 + Copy + 'static,
{
    let finish = move |core: &mut Core, op: &Op, b| set_xmm(core, op.r1, f(core.vec(op.r2), b));
    loads::<false, V128, _, _>(avx, third, finish)
}
/// The VEX.256 row of an operation across halves: `op ymm1, ymm2, ymm3/m256`.
pub(crate) const fn across<F>(avx256: Code, f: F) -> Row
where
    F: Fn(V256, V256) -> V256 + Copy + 'static,
{
    let finish = move |core: &mut Core, op: &Op, b| core.set_vec(op.r1, f(core.vec(op.r2), b));
    loads::<false, V256, _, _>(avx256, third, finish)
}
/// The VEX.256 row of an operation on two vectors.
pub(crate) const fn wide<F>(avx256: Code, f: F) -> Row
where
    F: Fn(V128, V128) -> V128 + Copy + 'static,
{
    across(avx256, move |a, b| [f(a[0], b[0]), f(a[1], b[1])])
}
/// Rows of an operation on two vectors.
pub(crate) const fn binary<F>(legacy: Code, avx: Code, avx256: Code, f: F) -> [Row; 3]
where
    F: Fn(V128, V128) -> V128 + Copy + 'static,
{
    [sse(legacy, f), narrow(avx, f), wide(avx256, f)]
}

/// The legacy row of an operation on two vectors and an immediate byte.
pub(crate) const fn sse_imm<F>(code: Code, f: F) -> Row
where
    F: Fn(V128, V128, u8) -> V128 + Copy + 'static,
{
    let finish = move |core: &mut Core, op: &Op, b| core.set_vec(op.r1, f(core.vec(op.r1), b, op.imm as u8));
    loads::<true, V128, _, _>(code, second, finish)
}
/// The VEX.128 row of an operation on two vectors and an immediate byte.
pub(crate) const fn narrow_imm<F>(avx: Code, f: F) -> Row
where
    F: Fn(V128, V128, u8) -> V128 + Copy + 'static,
{
    let finish = move |core: &mut Core, op: &Op, b| set_xmm(core, op.r1, f(core.vec(op.r2), b, op.imm as u8));
    loads::<false, V128, _, _>(avx, third, finish)
}
/// The VEX.256 row of an operation across halves with an immediate byte.
pub(crate) const fn across_imm<F>(avx256: Code, f: F) -> Row
where
    F: Fn(V256, V256, u8) -> V256 + Copy + 'static,
{
    let finish = move |core: &mut Core, op: &Op, b| core.set_vec(op.r1, f(core.vec(op.r2), b, op.imm as u8));
    loads::<false, V256, _, _>(avx256, third, finish)
}
/// Rows of an operation on two vectors and an immediate byte; the high half of the VEX.256
/// form sees the immediate shifted right by `SHIFT`.
pub(crate) const fn binary_imm<const SHIFT: u32, F>(legacy: Code, avx: Code, avx256: Code, f: F) -> [Row; 3]
where
    F: Fn(V128, V128, u8) -> V128 + Copy + 'static,
{
    let halves = move |a: V256, b: V256, imm| [f(a[0], b[0], imm), f(a[1], b[1], imm >> SHIFT)];
    [sse_imm(legacy, f), narrow_imm(avx, f), across_imm(avx256, halves)]
}

/// Legacy and VEX.128 rows of an operation on one vector and the immediate byte.
pub(crate) const fn unary128<F>(legacy: Code, avx: Code, f: F) -> [Row; 2]
where
    F: Fn(V128, u8) -> V128 + Copy + 'static,
{
    let to_xmm = move |core: &mut Core, op: &Op, a| core.set_vec(op.r1, f(a, op.imm as u8));
    [loads::<true, V128, _, _>(legacy, second, to_xmm), unary_narrow(avx, f)]
}
/// The VEX.128 row of an operation on one vector and the immediate byte.
pub(crate) const fn unary_narrow<F>(avx: Code, f: F) -> Row
where
    F: Fn(V128, u8) -> V128 + Copy + 'static,
{
    let finish = move |core: &mut Core, op: &Op, a| set_xmm(core, op.r1, f(a, op.imm as u8));
    loads::<false, V128, _, _>(avx, second, finish)
}
/// The VEX.256 row of an operation across the halves of a vector, with the immediate byte.
pub(crate) const fn unary_across<F>(avx256: Code, f: F) -> Row
where
    F: Fn(V256, u8) -> V256 + Copy + 'static,
{
    let finish = move |core: &mut Core, op: &Op, a| core.set_vec(op.r1, f(a, op.imm as u8));
    loads::<false, V256, _, _>(avx256, second, finish)
}
/// Rows of an operation on one vector and, for those that have one, the immediate byte.
pub(crate) const fn unary<F>(legacy: Code, avx: Code, avx256: Code, f: F) -> [Row; 3]
where
    F: Fn(V128, u8) -> V128 + Copy + 'static,
{
    let [legacy, avx] = unary128(legacy, avx, f);
    [legacy, avx, unary_across(avx256, move |a, imm| [f(a[0], imm), f(a[1], imm)])]
}

/// Rows of an operation whose legacy and VEX.128 forms read only `T` of their source, and
/// whose VEX.256 form reads `W` of it and makes a half of each of `W`'s halves.
pub(crate) const fn widening<T, W, F>(legacy: Code, avx: Code, avx256: Code, f: F) -> [Row; 3]
where
    T: Guest + Int,
    W: Guest + Split,
    F: Fn(V128) -> V128 + Copy + 'static,
{
    let part = move |a: T| f(V128::from_low(a.to_u64()));
    let to_xmm = move |core: &mut Core, op: &Op, a| core.set_vec(op.r1, part(a));
    let to_low = move |core: &mut Core, op: &Op, a| set_xmm(core, op.r1, part(a));
    let to_ymm = move |core: &mut Core, op: &Op, a: W| {
        core.set_vec::<V256>(op.r1, a.split().map(|half| f(V128::from_low(half))));
    };
    [
        loads::<false, T, _, _>(legacy, second, to_xmm),
        loads::<false, T, _, _>(avx, second, to_low),
        loads::<false, W, _, _>(avx256, second, to_ymm),
    ]
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
    let both = move |core: &mut Core, op: &Op, count: V128| {
        let a: V256 = core.vec(op.r2);
        core.set_vec(op.r1, a.map(|half| f(half, count)));
    };
    let [legacy, avx, avx256] = by_vector;
    let [a, b, c] = [sse(legacy, f), narrow(avx, f), loads::<false, V128, _, _>(avx256, third, both)];
    let [d, e, g] = shift_by_imm(by_imm, move |a, count| f(a, V128::from_low(count as u64)));
    [a, b, c, d, e, g]
}

/// Rows of a shift by an immediate.
pub(crate) const fn shift_by_imm<F>(codes: [Code; 3], f: F) -> [Row; 3]
where
    F: Fn(V128, u8) -> V128 + Copy + 'static,
{
    let legacy = move |core: &mut Core, op: &Op| core.set_vec(op.r1, f(core.vec(op.r1), op.imm as u8));
    let vex = move |core: &mut Core, op: &Op| set_xmm(core, op.r1, f(core.vec(op.r2), op.imm as u8));
    let halves = move |core: &mut Core, op: &Op| {
        let a: V256 = core.vec(op.r2);
        core.set_vec(op.r1, a.map(|half| f(half, op.imm as u8)));
    };
    [registers(codes[0], legacy), registers(codes[1], vex), registers(codes[2], halves)]
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
