//! Arithmetic: ADD to RSQRT, horizontal sums, dot products, rounding to integral values.

use super::approximate;
use super::lanes::{alternating, each, horizontal, map, rounded};
use super::{
    Binary, BinaryImm, Environment, Operation, Results, Step, Unary, Xmm, and, binary, doubles,
    host_or_portable, singles, soft, unary,
};
use crate::softfloat::{DOUBLE, SINGLE};
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
    AddPs "addps" ps(Add) => each(SINGLE, 4, soft::add);
    AddPd "addpd" pd(Add) => each(DOUBLE, 2, soft::add);
    AddSs "addss" ss(Add) => each(SINGLE, 1, soft::add);
    AddSd "addsd" sd(Add) => each(DOUBLE, 1, soft::add);
    SubPs "subps" ps(Subtract) => each(SINGLE, 4, soft::subtract);
    SubPd "subpd" pd(Subtract) => each(DOUBLE, 2, soft::subtract);
    SubSs "subss" ss(Subtract) => each(SINGLE, 1, soft::subtract);
    SubSd "subsd" sd(Subtract) => each(DOUBLE, 1, soft::subtract);
    MulPs "mulps" ps(Multiply) => each(SINGLE, 4, soft::multiply);
    MulPd "mulpd" pd(Multiply) => each(DOUBLE, 2, soft::multiply);
    MulSs "mulss" ss(Multiply) => each(SINGLE, 1, soft::multiply);
    MulSd "mulsd" sd(Multiply) => each(DOUBLE, 1, soft::multiply);
    DivPs "divps" ps(Divide) => each(SINGLE, 4, soft::divide);
    DivPd "divpd" pd(Divide) => each(DOUBLE, 2, soft::divide);
    DivSs "divss" ss(Divide) => each(SINGLE, 1, soft::divide);
    DivSd "divsd" sd(Divide) => each(DOUBLE, 1, soft::divide);
    MinPs "minps" EXACT => each(SINGLE, 4, soft::minimum);
    MinPd "minpd" EXACT => each(DOUBLE, 2, soft::minimum);
    MinSs "minss" EXACT => each(SINGLE, 1, soft::minimum);
    MinSd "minsd" EXACT => each(DOUBLE, 1, soft::minimum);
    MaxPs "maxps" EXACT => each(SINGLE, 4, soft::maximum);
    MaxPd "maxpd" EXACT => each(DOUBLE, 2, soft::maximum);
    MaxSs "maxss" EXACT => each(SINGLE, 1, soft::maximum);
    MaxSd "maxsd" EXACT => each(DOUBLE, 1, soft::maximum);
    SqrtSs "sqrtss" EXACT => each(SINGLE, 1, soft::square_root);
    SqrtSd "sqrtsd" EXACT => each(DOUBLE, 1, soft::square_root);
    RcpSs "rcpss" EXACT => each(SINGLE, 1, approximate::reciprocal);
    RsqrtSs "rsqrtss" EXACT => each(SINGLE, 1, approximate::reciprocal_root);
    HaddPs "haddps" ps(HADD) => horizontal(SINGLE, soft::add);
    HaddPd "haddpd" pd(HADD) => horizontal(DOUBLE, soft::add);
    HsubPs "hsubps" ps(HSUB) => horizontal(SINGLE, soft::subtract);
    HsubPd "hsubpd" pd(HSUB) => horizontal(DOUBLE, soft::subtract);
    AddsubPs "addsubps" ps(AddSubtract) => alternating(SINGLE);
    AddsubPd "addsubpd" pd(AddSubtract) => alternating(DOUBLE);
}

unary! {
    SqrtPs "sqrtps" EXACT => map(SINGLE, soft::square_root);
    SqrtPd "sqrtpd" EXACT => map(DOUBLE, soft::square_root);
    RcpPs "rcpps" EXACT => map(SINGLE, approximate::reciprocal);
    RsqrtPs "rsqrtps" EXACT => map(SINGLE, approximate::reciprocal_root);
}

/// Types that implement [`BinaryImm`] by a ROUND instruction, whose immediate's low four bits count.
macro_rules! round {
    ($($name:ident $mnemonic:literal $format:ident $count:literal;)*) => {
        $(
            #[doc = concat!("`", $mnemonic, "`. The packed forms do not look at the first operand.")]
            pub struct $name;
            impl $name {
                #[cfg(all(target_arch = "x86_64", any(test, not(feature = "portable"))))]
                #[inline(always)]
                fn host(first: Xmm, second: Xmm, imm: u8) -> Xmm {
                    #[inline(always)]
                    fn round<const IMM: u8>(first: Xmm, second: Xmm) -> Xmm {
                        let result;
                        // SAFETY: touches its operand registers and the flags of MXCSR only.
                        unsafe {
                            std::arch::asm!(
                                concat!($mnemonic, " {first}, {second}, {imm}"),
                                first = inlateout(xmm_reg) first => result,
                                second = in(xmm_reg) second,
                                imm = const IMM,
                                options(nomem, nostack, preserves_flags)
                            )
                        };
                        result
                    }
                    super::with_immediate!(
                        imm & 15,
                        [0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15],
                        round(first, second)
                    )
                }
                #[allow(dead_code, reason = "for tests, and for hosts other than x86-64")]
                fn portable(environment: &mut Environment, first: Xmm, second: Xmm, imm: u8) -> Xmm {
                    rounded(environment, $format, $count, first, second, imm)
                }
            }
            impl BinaryImm for $name {
                const RESULTS: Results = EXACT;
                #[inline(always)]
                fn apply(first: Xmm, second: Xmm, imm: u8) -> Xmm {
                    host_or_portable!(first, second, imm)
                }
            }
        )*
        /// Each ROUND, by the host and portable.
        #[cfg(all(test, target_arch = "x86_64"))]
        pub(super) const ROUND: &[super::against_host::ImmediateCase] =
            &[$((stringify!($name), $name::host, $name::portable),)*];
    };
}

round! {
    RoundPs "roundps" SINGLE 4;
    RoundPd "roundpd" DOUBLE 2;
    RoundSs "roundss" SINGLE 1;
    RoundSd "roundsd" DOUBLE 1;
}

/// Types that implement [`BinaryImm`] by a dot product. The immediate's high half selects
/// the products to be summed, the low half the elements that receive the sum.
///
/// An element that is not selected counts as +0 and raises nothing: so do two zeros
/// multiplied, and the instruction can be one with a fixed immediate.
macro_rules! dot_product {
    ($($name:ident $mnemonic:literal $all:literal $mask:ident $steps:expr, $results:expr => $portable:ident;)*) => {
        $(
            #[doc = concat!("`", $mnemonic, "`.")]
            pub struct $name;
            impl $name {
                #[cfg(all(target_arch = "x86_64", any(test, not(feature = "portable"))))]
                #[inline(always)]
                fn host(first: Xmm, second: Xmm, imm: u8) -> Xmm {
                    let selected = $mask(imm >> 4);
                    let first = and(first, selected);
                    let second = and(second, selected);
                    let result;
                    // SAFETY: touches its operand registers and the flags of MXCSR only.
                    unsafe {
                        std::arch::asm!(
                            concat!($mnemonic, " {first}, {second}, ", $all),
                            first = inlateout(xmm_reg) first => result,
                            second = in(xmm_reg) second,
                            options(nomem, nostack, preserves_flags)
                        )
                    };
                    and(result, $mask(imm))
                }
                #[allow(dead_code, reason = "for tests, and for hosts other than x86-64")]
                fn portable(environment: &mut Environment, first: Xmm, second: Xmm, imm: u8) -> Xmm {
                    let selected = $mask(imm >> 4);
                    let sum = $portable(environment, and(first, selected), and(second, selected));
                    and(sum, $mask(imm))
                }
            }
            impl BinaryImm for $name {
                const RESULTS: Results = $results;
                const STEPS: &'static [Step] = $steps;
                #[inline(always)]
                fn apply(first: Xmm, second: Xmm, imm: u8) -> Xmm {
                    host_or_portable!(first, second, imm)
                }
            }
        )*
        /// Each dot product, by the host and portable.
        #[cfg(all(test, target_arch = "x86_64"))]
        pub(super) const DOT: &[super::against_host::ImmediateCase] =
            &[$((stringify!($name), $name::host, $name::portable),)*];
    };
}

dot_product! {
    DotPs "dpps" "255" mask_of_singles &[
        Step::of::<MulPs>(selected_singles),
        Step::of::<HaddPs>(products_of_singles),
        Step::of::<HaddPs>(sums_of_pairs),
    ], ps(Operation::Other) => dot_singles;
    DotPd "dppd" "51" mask_of_doubles &[
        Step::of::<MulPd>(selected_doubles),
        Step::of::<HaddPd>(products_of_doubles),
    ], pd(Operation::Other) => dot_doubles;
}

/// The sum of all products, in all elements.
#[allow(dead_code, reason = "for tests, and for hosts other than x86-64")]
fn dot_singles(environment: &mut Environment, first: Xmm, second: Xmm) -> Xmm {
    let products = MulPs::portable(environment, first, second);
    let pairs = HaddPs::portable(environment, products, products);
    HaddPs::portable(environment, pairs, pairs)
}

/// The sum of both products, in both elements.
#[allow(dead_code, reason = "for tests, and for hosts other than x86-64")]
fn dot_doubles(environment: &mut Environment, first: Xmm, second: Xmm) -> Xmm {
    let products = MulPd::portable(environment, first, second);
    HaddPd::portable(environment, products, products)
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
