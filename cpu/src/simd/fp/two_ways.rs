//! What the host has two instructions for: each against the other.

use super::compare::{compare_doubles, compare_singles};
use super::tests::{DAZ, FTZ, under};
use super::*;

/// All rounding modes with and without DAZ and FTZ.
fn controls() -> impl Iterator<Item = u32> {
    (0..16).map(|bits| ((bits & 3) << 13) | ((bits >> 2 & 1) * DAZ) | ((bits >> 3) * FTZ))
}

const SINGLES: [u32; 14] = [
    0x0000_0000,
    0x8000_0000,
    0x3F80_0000,
    0xBF80_0000,
    0x7F80_0000,
    0xFF80_0000,
    0x7FC0_1234,
    0x7F80_0001,
    0xFFA0_0000,
    0x0000_0001,
    0x807F_FFFF,
    0x7F7F_FFFF,
    0x0080_0000,
    0x3FC0_0000,
];
const DOUBLES: [u64; 14] = [
    0,
    1 << 63,
    0x3FF0 << 48,
    0xBFF0 << 48,
    0x7FF0 << 48,
    0xFFF0 << 48,
    0x7FF8_0000_0000_1234,
    0x7FF0_0000_0000_0001,
    0xFFF4 << 48,
    1,
    0x800F_FFFF_FFFF_FFFF,
    0x7FEF_FFFF_FFFF_FFFF,
    0x0010 << 48,
    0x3FF8 << 48,
];

#[test]
fn predicates_by_ordering_are_those_of_the_instruction() {
    for control in [0, DAZ] {
        for (i, a) in SINGLES.into_iter().enumerate() {
            for b in SINGLES {
                let (a, b) = (singles([a, SINGLES[i / 2], a, b]), singles([b, a, SINGLES[i], a]));
                for predicate in 0..32 {
                    let packed = under(control, || u128::from_xmm(CmpPs::apply(a, b, predicate)));
                    let ordered = under(control, || u128::from_xmm(compare_singles(a, b, predicate, 4)));
                    assert_eq!(packed, ordered, "{a:x?} {b:x?} {predicate}");
                    let scalar = under(control, || u128::from_xmm(CmpSs::apply(a, b, predicate)));
                    let ordered = under(control, || u128::from_xmm(compare_singles(a, b, predicate, 1)));
                    assert_eq!(scalar, ordered, "{a:x?} {b:x?} {predicate}");
                }
            }
        }
        for (i, a) in DOUBLES.into_iter().enumerate() {
            for b in DOUBLES {
                let (a, b) = (doubles([a, DOUBLES[i / 2]]), doubles([b, a]));
                for predicate in 0..32 {
                    let packed = under(control, || u128::from_xmm(CmpPd::apply(a, b, predicate)));
                    let ordered = under(control, || u128::from_xmm(compare_doubles(a, b, predicate, 2)));
                    assert_eq!(packed, ordered, "{a:x?} {b:x?} {predicate}");
                    let scalar = under(control, || u128::from_xmm(CmpSd::apply(a, b, predicate)));
                    let ordered = under(control, || u128::from_xmm(compare_doubles(a, b, predicate, 1)));
                    assert_eq!(scalar, ordered, "{a:x?} {b:x?} {predicate}");
                }
            }
        }
    }
}

/// The instruction with its own immediate, for immediates that differ in both halves.
fn native_dot_singles(a: Xmm, b: Xmm, imm: u8) -> Xmm {
    fn dpps<const IMM: u8>(a: Xmm, b: Xmm) -> Xmm {
        let result;
        // SAFETY: touches its operand registers and the flags of MXCSR only.
        unsafe {
            std::arch::asm!("dpps {a}, {b}, {imm}", a = inlateout(xmm_reg) a => result, b = in(xmm_reg) b, imm = const IMM)
        };
        result
    }
    with_immediate!(imm, [0x00 0x1F 0x2F 0x35 0x4A 0x71 0x8F 0x96 0xA3 0xB1 0xC8 0xD4 0xE1 0xF0 0xF7 0xFF], dpps(a, b))
}

#[test]
fn dot_products_leave_out_what_the_immediate_does() {
    let mut seed = 1u32;
    let mut pick = || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        SINGLES[(seed >> 16) as usize % SINGLES.len()]
    };
    for control in controls() {
        for _ in 0..200 {
            let a = singles([pick(), pick(), pick(), pick()]);
            let b = singles([pick(), pick(), pick(), pick()]);
            for imm in [
                0x00, 0x1F, 0x2F, 0x35, 0x4A, 0x71, 0x8F, 0x96, 0xA3, 0xB1, 0xC8, 0xD4, 0xE1, 0xF0, 0xF7,
                0xFF,
            ] {
                let ours = under(control, || u128::from_xmm(DotPs::apply(a, b, imm)));
                let native = under(control, || u128::from_xmm(native_dot_singles(a, b, imm)));
                assert_eq!(ours, native, "{a:x?} {b:x?} {imm:x}");
            }
        }
    }
}
