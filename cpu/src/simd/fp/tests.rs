//! Known results.

use super::*;
use crate::flags::ArithFlags;
use trimotor_test_needs::{host_cpu, skip};

const INVALID: u32 = 1;
const DENORMAL: u32 = 2;
const DIVIDE_BY_ZERO: u32 = 4;
const OVERFLOW: u32 = 8;
const UNDERFLOW: u32 = 16;
const INEXACT: u32 = 32;
const MASKED: u32 = 0x1F80;
pub(super) const DAZ: u32 = 1 << 6;
pub(super) const FTZ: u32 = 1 << 15;

/// What `operation` gives under MXCSR's control bits `control`, and the flags that it raises.
#[inline(never)]
pub(super) fn under<R>(control: u32, operation: impl FnOnce() -> R) -> (R, u32) {
    load_mxcsr(control & !0x3F | MASKED);
    let result = operation();
    let mxcsr = read_mxcsr();
    load_mxcsr(MASKED);
    (result, mxcsr & 0x3F)
}

fn f32x4(values: [f32; 4]) -> Xmm {
    singles(values.map(f32::to_bits))
}
fn f64x2(values: [f64; 2]) -> Xmm {
    doubles(values.map(f64::to_bits))
}
fn low32(xmm: Xmm) -> f32 {
    f32::from_bits(u32::from_xmm(xmm))
}
fn low64(xmm: Xmm) -> f64 {
    f64::from_bits(u64::from_xmm(xmm))
}
fn binary<T: Binary>(a: Xmm, b: Xmm) -> u128 {
    u128::from_xmm(T::apply(a, b))
}

#[test]
fn scalar_operations_keep_the_other_elements_of_the_first_operand() {
    let (a, b) = (f64x2([6.0, 7.0]), f64x2([2.0, 9.0]));
    for (result, expected) in [
        (binary::<AddSd>(a, b), 8.0),
        (binary::<SubSd>(a, b), 4.0),
        (binary::<MulSd>(a, b), 12.0),
        (binary::<DivSd>(a, b), 3.0),
        (binary::<MinSd>(a, b), 2.0),
        (binary::<MaxSd>(a, b), 6.0),
        (binary::<SqrtSd>(a, f64x2([16.0, 1.0])), 4.0),
        (binary::<CvtSs2Sd>(a, f32x4([2.5, 1.0, 1.0, 1.0])), 2.5),
    ] {
        assert_eq!(result, u128::from_xmm(f64x2([expected, 7.0])));
    }
    let (a, b) = (f32x4([6.0, 7.0, 8.0, 9.0]), f32x4([2.0; 4]));
    for (result, expected) in [
        (binary::<AddSs>(a, b), 8.0),
        (binary::<SubSs>(a, b), 4.0),
        (binary::<MulSs>(a, b), 12.0),
        (binary::<DivSs>(a, b), 3.0),
        (binary::<MinSs>(a, b), 2.0),
        (binary::<MaxSs>(a, b), 6.0),
        (binary::<SqrtSs>(a, f32x4([16.0; 4])), 4.0),
        (binary::<CvtSd2Ss>(a, f64x2([2.5, 1.0])), 2.5),
    ] {
        assert_eq!(result, u128::from_xmm(f32x4([expected, 7.0, 8.0, 9.0])));
    }
}

#[test]
fn packed_operations_work_on_all_elements() {
    let (a, b) = (f32x4([1.0, 2.0, 3.0, 4.0]), f32x4([4.0, 8.0, 2.0, 0.5]));
    for (result, expected) in [
        (binary::<AddPs>(a, b), [5.0, 10.0, 5.0, 4.5]),
        (binary::<SubPs>(a, b), [-3.0, -6.0, 1.0, 3.5]),
        (binary::<MulPs>(a, b), [4.0, 16.0, 6.0, 2.0]),
        (binary::<DivPs>(a, b), [0.25, 0.25, 1.5, 8.0]),
        (binary::<MinPs>(a, b), [1.0, 2.0, 2.0, 0.5]),
        (binary::<MaxPs>(a, b), [4.0, 8.0, 3.0, 4.0]),
        (binary::<HaddPs>(a, b), [3.0, 7.0, 12.0, 2.5]),
        (binary::<HsubPs>(a, b), [-1.0, -1.0, -4.0, 1.5]),
        (binary::<AddsubPs>(a, b), [-3.0, 10.0, 1.0, 4.5]),
    ] {
        assert_eq!(result, u128::from_xmm(f32x4(expected)));
    }
    let (a, b) = (f64x2([1.0, 2.0]), f64x2([4.0, 8.0]));
    for (result, expected) in [
        (binary::<AddPd>(a, b), [5.0, 10.0]),
        (binary::<SubPd>(a, b), [-3.0, -6.0]),
        (binary::<MulPd>(a, b), [4.0, 16.0]),
        (binary::<DivPd>(a, b), [0.25, 0.25]),
        (binary::<MinPd>(a, b), [1.0, 2.0]),
        (binary::<MaxPd>(a, b), [4.0, 8.0]),
        (binary::<HaddPd>(a, b), [3.0, 12.0]),
        (binary::<HsubPd>(a, b), [-1.0, -4.0]),
        (binary::<AddsubPd>(a, b), [-3.0, 10.0]),
    ] {
        assert_eq!(result, u128::from_xmm(f64x2(expected)));
    }
}

#[test]
fn mxcsr_rounds_flushes_and_collects_flags() {
    let third = |control| under(control, || low64(DivSd::apply(f64x2([1.0; 2]), f64x2([3.0; 2]))).to_bits());
    assert_eq!(third(0), (0x3FD5_5555_5555_5555, INEXACT));
    assert_eq!(third(2 << 13), (0x3FD5_5555_5555_5556, INEXACT));
    let (a, b) = (1u32.to_xmm(), singles([0x3F00_0000, 0, 0, 0]));
    let product = |control| {
        let (result, flags) = under(control, || MulSs::apply(a, b));
        (u32::from_xmm(result), flags)
    };
    assert_eq!(product(0), (0, DENORMAL | UNDERFLOW | INEXACT));
    assert_eq!(product(2 << 13), (1, DENORMAL | UNDERFLOW | INEXACT));
    assert_eq!(product(2 << 13 | FTZ), (0, DENORMAL | UNDERFLOW | INEXACT));
    assert_eq!(product(2 << 13 | DAZ), (0, 0));
    let zero = under(0, || DivSd::apply(f64x2([1.0, 0.0]), f64x2([0.0, 0.0])));
    assert_eq!((low64(zero.0), zero.1), (f64::INFINITY, DIVIDE_BY_ZERO));
    let large = f32x4([f32::MAX, 0.0, 0.0, 0.0]);
    let square = under(0, || MulSs::apply(large, large));
    assert_eq!((low32(square.0), square.1), (f32::INFINITY, OVERFLOW | INEXACT));
}

#[test]
fn the_first_nan_wins_and_is_quieted() {
    let add = |a: u32, b: u32| {
        let (result, flags) = under(0, || AddSs::apply(a.to_xmm(), b.to_xmm()));
        (u32::from_xmm(result), flags)
    };
    assert_eq!(add(0x7FC0_1234, 0x7FC0_5678), (0x7FC0_1234, 0));
    assert_eq!(add(0x7FC0_1234, 0x7F80_0001), (0x7FC0_1234, INVALID));
    assert_eq!(add(0x7F80_0001, 0x7FC0_5678), (0x7FC0_0001, INVALID));
    assert_eq!(add(0x3F80_0000, 0xFFA0_0000), (0xFFE0_0000, INVALID));
    assert_eq!(add(0x7F80_0000, 0xFF80_0000), (0xFFC0_0000, INVALID));
}

#[test]
fn orderings_give_the_flags_of_the_manual() {
    let (less, equal, greater, unordered) =
        (ArithFlags::CF, ArithFlags::ZF, 0, ArithFlags::CF | ArithFlags::ZF | ArithFlags::PF);
    let check = |a: u32, b: u32, expected: u16, quiet: u32, signaling: u32| {
        assert_eq!(under(0, || ucomiss(a.to_xmm(), b.to_xmm())), (ArithFlags(expected), quiet));
        assert_eq!(under(0, || comiss(a.to_xmm(), b.to_xmm())), (ArithFlags(expected), signaling));
    };
    check(0x3F80_0000, 0x3FC0_0000, less, 0, 0);
    check(0x0000_0000, 0x8000_0000, equal, 0, 0);
    check(0x7F80_0000, 0x3FC0_0000, greater, 0, 0);
    check(0x7FC0_0000, 0x3FC0_0000, unordered, 0, INVALID);
    check(0x7F80_0001, 0x3FC0_0000, unordered, INVALID, INVALID);
    check(0x0000_0001, 0x3FC0_0000, less, DENORMAL, DENORMAL);
}

#[test]
fn dot_products_sum_and_spread() {
    let (a, b) = (f64x2([2.0, 3.0]), f64x2([5.0, 7.0]));
    for (imm, expected) in
        [(0x33, [31.0, 31.0]), (0x11, [10.0, 0.0]), (0x22, [0.0, 21.0]), (0x30, [0.0, 0.0])]
    {
        assert_eq!(u128::from_xmm(DotPd::apply(a, b, imm)), u128::from_xmm(f64x2(expected)));
    }
}

#[test]
fn rounding_takes_its_mode_from_the_immediate_or_mxcsr() {
    let values =
        [(2.5, [2.0, 2.0, 3.0, 2.0]), (-2.5, [-2.0, -3.0, -2.0, -2.0]), (0.75, [1.0, 0.0, 1.0, 0.0])];
    for (value, rounded) in values {
        for mode in 0..4u8 {
            let expected = rounded[mode as usize];
            let from_imm = under(0, || low64(RoundSd::apply(f64x2([9.0; 2]), f64x2([value; 2]), mode)));
            assert_eq!(from_imm, (expected, INEXACT));
            let quietly = under(0, || low64(RoundPd::apply(f64x2([9.0; 2]), f64x2([value; 2]), mode | 8)));
            assert_eq!(quietly, (expected, 0));
            let from_mxcsr = under((mode as u32) << 13, || {
                low32(RoundPs::apply(f32x4([9.0; 4]), f32x4([value as f32; 4]), 4))
            });
            assert_eq!(from_mxcsr, (expected as f32, INEXACT));
        }
    }
    let scalar = RoundSs::apply(f32x4([1.0, 2.0, 3.0, 4.0]), f32x4([7.5; 4]), 0);
    assert_eq!(u128::from_xmm(scalar), u128::from_xmm(f32x4([8.0, 2.0, 3.0, 4.0])));
}

#[test]
fn conversions_round_truncate_and_refuse() {
    let source = f64x2([-2.75, 3e9]);
    assert_eq!(under(0, || CvtSd2Si32::apply(source)), (-3i32 as u32, INEXACT));
    assert_eq!(under(0, || CvttSd2Si64::apply(source)), (-2i64 as u64, INEXACT));
    let (packed, flags) = under(0, || u128::from_xmm(CvttPd2Dq::apply(source)));
    assert_eq!((packed, flags), (0x8000_0000_FFFF_FFFE, INVALID | INEXACT));
    assert_eq!(under(0, || CvttSs2Si32::apply(f32x4([f32::NAN; 4]))), (1 << 31, INVALID));
    assert_eq!(under(0, || CvtSs2Si64::apply(f32x4([1e20; 4]))), (1 << 63, INVALID));
    assert_eq!(under(0, || low32(CvtSi2Ss32::apply(source, 0x0100_0001))), (16_777_216.0, INEXACT));
    assert_eq!(low64(CvtSi2Sd64::apply(source, u64::MAX)), -1.0);
    assert_eq!(to_singles(CvtPd2Ps::apply(f64x2([1.5, -2.0]))), [1.5f32.to_bits(), (-2f32).to_bits(), 0, 0]);
    assert_eq!(
        to_doubles(CvtDq2Pd::apply(singles([7, u32::MAX, 1, 1]))),
        [7f64.to_bits(), (-1f64).to_bits()]
    );
}

#[test]
fn halves_convert_with_the_rounding_asked_for() {
    if skip(host_cpu("F16C", host_offers_f16c())) {
        return;
    }
    let source = f32x4([1.0, -2.0, 65520.0, 1.0 / 3.0]);
    assert_eq!(u64::from_xmm(cvtps2ph(source, 0)), 0x3555_7C00_C000_3C00);
    assert_eq!(u64::from_xmm(cvtps2ph(source, 3)), 0x3555_7BFF_C000_3C00);
    let up = under(2 << 13, || u64::from_xmm(cvtps2ph(source, 4)));
    assert_eq!(up, (0x3556_7C00_C000_3C00, OVERFLOW | INEXACT));
    let back = CvtPh2Ps::apply(0x0001_7C00_C000_3C00u64.to_xmm());
    assert_eq!(to_singles(back), [1.0, -2.0, f32::INFINITY, 2f32.powi(-24)].map(f32::to_bits));
}

/// Each order and sign of a packed and a scalar multiply-add on 2, 3 and 5.
macro_rules! fused_results {
    ($($op132:ident $op213:ident $op231:ident $results:expr;)*) => {$(
        let (a, b, c) = (f64x2([2.0; 2]), f64x2([3.0; 2]), f64x2([5.0; 2]));
        let results = [$op132::apply(a, b, c), $op213::apply(a, b, c), $op231::apply(a, b, c)].map(low64);
        assert_eq!(results, $results, stringify!($op132));
    )*};
}

#[test]
fn fused_operations_order_and_sign_their_operands() {
    if skip(host_cpu("FMA", host_offers_fma())) {
        return;
    }
    fused_results! {
        Fmadd132Pd Fmadd213Pd Fmadd231Pd [13.0, 11.0, 17.0];
        Fmadd132Sd Fmadd213Sd Fmadd231Sd [13.0, 11.0, 17.0];
        Fmsub132Pd Fmsub213Pd Fmsub231Pd [7.0, 1.0, 13.0];
        Fmsub132Sd Fmsub213Sd Fmsub231Sd [7.0, 1.0, 13.0];
        Fnmadd132Pd Fnmadd213Pd Fnmadd231Pd [-7.0, -1.0, -13.0];
        Fnmadd132Sd Fnmadd213Sd Fnmadd231Sd [-7.0, -1.0, -13.0];
        Fnmsub132Pd Fnmsub213Pd Fnmsub231Pd [-13.0, -11.0, -17.0];
        Fnmsub132Sd Fnmsub213Sd Fnmsub231Sd [-13.0, -11.0, -17.0];
        Fmaddsub132Pd Fmaddsub213Pd Fmaddsub231Pd [7.0, 1.0, 13.0];
        Fmsubadd132Pd Fmsubadd213Pd Fmsubadd231Pd [13.0, 11.0, 17.0];
    }
    let epsilon = f64x2([1.0 + f64::EPSILON, 8.0]);
    let exact = Fmsub213Sd::apply(epsilon, epsilon, f64x2([1.0, 0.0]));
    let expected = [2.0 * f64::EPSILON + f64::EPSILON * f64::EPSILON, 8.0];
    assert_eq!(u128::from_xmm(exact), u128::from_xmm(f64x2(expected)));
}

#[test]
fn tiny_results_are_found_where_the_results_stand() {
    let xmm = singles([1, 0x3F80_0000, 0, 0x8000_0001]);
    assert!(
        Results::F32(1, Operation::Other).any_tiny(xmm) && Results::F32(4, Operation::Other).any_tiny(xmm)
    );
    assert!(!Results::F32(1, Operation::Other).any_tiny(singles([0x8000_0000, 1, 1, 1])));
    assert!(!Results::F64(1, Operation::Other).any_tiny(xmm) && !Results::NeverTiny.any_tiny(xmm));
    assert!(
        Results::F64(2, Operation::Other).any_tiny(doubles([0, 1]))
            && !Results::F64(1, Operation::Other).any_tiny(doubles([0, 1]))
    );
    assert!(Results::F16(2, Operation::Other).any_tiny(singles([0x8001_3C00, 0, 0, 0])));
}
