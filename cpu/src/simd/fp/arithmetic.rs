//! Arithmetic: ADD to RSQRT, horizontal sums, dot products, rounding to integral values.

use std::arch::asm;

use super::{
    Binary, BinaryImm, Operation, Results, Step, Unary, Xmm, and, binary, doubles, singles, unary,
    with_immediate,
};
use Operation::{Add, AddSubtract, Divide, Multiply, Subtract};

const EXACT: Results = Results::NeverTiny;
const HADD: Operation = Operation::Horizontal { subtract: false };
const HSUB: Operation = Operation::Horizontal { subtract: true };

/// Results in all single-precision elements.
const fn ps(operation: Operation) -> Results {
    Results::F32(4, operation)
}
/// Results in all double-precision elements.
const fn pd(operation: Operation) -> Results {
    Results::F64(2, operation)
}
/// A result in the lowest single-precision element.
const fn ss(operation: Operation) -> Results {
    Results::F32(1, operation)
}
/// A result in the lowest double-precision element.
const fn sd(operation: Operation) -> Results {
    Results::F64(1, operation)
}

binary! {
    AddPs "addps" ps(Add);
    AddPd "addpd" pd(Add);
    AddSs "addss" ss(Add);
    AddSd "addsd" sd(Add);
    SubPs "subps" ps(Subtract);
    SubPd "subpd" pd(Subtract);
    SubSs "subss" ss(Subtract);
    SubSd "subsd" sd(Subtract);
    MulPs "mulps" ps(Multiply);
    MulPd "mulpd" pd(Multiply);
    MulSs "mulss" ss(Multiply);
    MulSd "mulsd" sd(Multiply);
    DivPs "divps" ps(Divide);
    DivPd "divpd" pd(Divide);
    DivSs "divss" ss(Divide);
    DivSd "divsd" sd(Divide);
    MinPs "minps" EXACT;
    MinPd "minpd" EXACT;
    MinSs "minss" EXACT;
    MinSd "minsd" EXACT;
    MaxPs "maxps" EXACT;
    MaxPd "maxpd" EXACT;
    MaxSs "maxss" EXACT;
    MaxSd "maxsd" EXACT;
    SqrtSs "sqrtss" EXACT;
    SqrtSd "sqrtsd" EXACT;
    RcpSs "rcpss" EXACT;
    RsqrtSs "rsqrtss" EXACT;
    HaddPs "haddps" ps(HADD);
    HaddPd "haddpd" pd(HADD);
    HsubPs "hsubps" ps(HSUB);
    HsubPd "hsubpd" pd(HSUB);
    AddsubPs "addsubps" ps(AddSubtract);
    AddsubPd "addsubpd" pd(AddSubtract);
}

unary! {
    SqrtPs "sqrtps" EXACT;
    SqrtPd "sqrtpd" EXACT;
    RcpPs "rcpps" EXACT;
    RsqrtPs "rsqrtps" EXACT;
}

/// Types that implement [`BinaryImm`] by a ROUND instruction, whose immediate's low four bits count.
macro_rules! round {
    ($($name:ident $mnemonic:literal;)*) => {$(
        #[doc = concat!("`", $mnemonic, "`. The packed forms do not look at the first operand.")]
        pub struct $name;
        impl BinaryImm for $name {
            const RESULTS: Results = EXACT;
            #[inline(always)]
            fn apply(first: Xmm, second: Xmm, imm: u8) -> Xmm {
                #[inline(always)]
                fn round<const IMM: u8>(first: Xmm, second: Xmm) -> Xmm {
                    let result;
                    // SAFETY: touches its operand registers and the flags of MXCSR only.
                    unsafe {
                        asm!(
                            concat!($mnemonic, " {first}, {second}, {imm}"),
                            first = inlateout(xmm_reg) first => result,
                            second = in(xmm_reg) second,
                            imm = const IMM,
                            options(nomem, nostack, preserves_flags)
                        )
                    };
                    result
                }
                with_immediate!(imm & 15, [0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15], round(first, second))
            }
        }
    )*};
}

round! {
    RoundPs "roundps";
    RoundPd "roundpd";
    RoundSs "roundss";
    RoundSd "roundsd";
}

/// Types that implement [`BinaryImm`] by a dot product. The immediate's high half selects
/// the products to be summed, the low half the elements that receive the sum.
///
/// An element that is not selected counts as +0 and raises nothing: so do two zeros
/// multiplied, and the instruction can be one with a fixed immediate.
macro_rules! dot_product {
    ($($name:ident $mnemonic:literal $all:literal $mask:ident $steps:expr, $results:expr;)*) => {$(
        #[doc = concat!("`", $mnemonic, "`.")]
        pub struct $name;
        impl BinaryImm for $name {
            const RESULTS: Results = $results;
            const STEPS: &'static [Step] = $steps;
            #[inline(always)]
            fn apply(first: Xmm, second: Xmm, imm: u8) -> Xmm {
                let selected = $mask(imm >> 4);
                let first = and(first, selected);
                let second = and(second, selected);
                let result;
                // SAFETY: touches its operand registers and the flags of MXCSR only.
                unsafe {
                    asm!(
                        concat!($mnemonic, " {first}, {second}, ", $all),
                        first = inlateout(xmm_reg) first => result,
                        second = in(xmm_reg) second,
                        options(nomem, nostack, preserves_flags)
                    )
                };
                and(result, $mask(imm))
            }
        }
    )*};
}

dot_product! {
    DotPs "dpps" "255" mask_of_singles &[
        Step::of::<MulPs>(selected_singles),
        Step::of::<HaddPs>(products_of_singles),
        Step::of::<HaddPs>(sums_of_pairs),
    ], ps(Operation::Other);
    DotPd "dppd" "51" mask_of_doubles &[
        Step::of::<MulPd>(selected_doubles),
        Step::of::<HaddPd>(products_of_doubles),
    ], pd(Operation::Other);
}

fn selected_singles(first: Xmm, second: Xmm, imm: u8) -> [Xmm; 2] {
    let selected = mask_of_singles(imm >> 4);
    [and(first, selected), and(second, selected)]
}

fn products_of_singles(first: Xmm, second: Xmm, imm: u8) -> [Xmm; 2] {
    let [first, second] = selected_singles(first, second, imm);
    [MulPs::apply(first, second), singles([0; 4])]
}

fn sums_of_pairs(first: Xmm, second: Xmm, imm: u8) -> [Xmm; 2] {
    let [products, zero] = products_of_singles(first, second, imm);
    [HaddPs::apply(products, zero), zero]
}

fn selected_doubles(first: Xmm, second: Xmm, imm: u8) -> [Xmm; 2] {
    let selected = mask_of_doubles(imm >> 4);
    [and(first, selected), and(second, selected)]
}

fn products_of_doubles(first: Xmm, second: Xmm, imm: u8) -> [Xmm; 2] {
    let [first, second] = selected_doubles(first, second, imm);
    [MulPd::apply(first, second), doubles([0; 2])]
}

/// All ones in the elements whose bit of `select` is set.
#[inline(always)]
fn mask_of_singles(select: u8) -> Xmm {
    let ones = |bit: u8| ((select >> bit & 1) as u32).wrapping_neg();
    singles([ones(0), ones(1), ones(2), ones(3)])
}

/// All ones in the elements whose bit of `select` is set.
#[inline(always)]
fn mask_of_doubles(select: u8) -> Xmm {
    let ones = |bit: u8| ((select >> bit & 1) as u64).wrapping_neg();
    doubles([ones(0), ones(1)])
}
