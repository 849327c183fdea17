//! Arithmetic: ADD to RSQRT, horizontal sums, dot products, rounding to integral values.

use std::arch::asm;

use super::{
    Binary, BinaryImm, Results, Step, Unary, Xmm, and, binary, doubles, singles, unary, with_immediate,
};

const PS: Results = Results::F32(4);
const PD: Results = Results::F64(2);
const SS: Results = Results::F32(1);
const SD: Results = Results::F64(1);
const EXACT: Results = Results::NeverTiny;

binary! {
    AddPs "addps" PS;
    AddPd "addpd" PD;
    AddSs "addss" SS;
    AddSd "addsd" SD;
    SubPs "subps" PS;
    SubPd "subpd" PD;
    SubSs "subss" SS;
    SubSd "subsd" SD;
    MulPs "mulps" PS;
    MulPd "mulpd" PD;
    MulSs "mulss" SS;
    MulSd "mulsd" SD;
    DivPs "divps" PS;
    DivPd "divpd" PD;
    DivSs "divss" SS;
    DivSd "divsd" SD;
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
    HaddPs "haddps" PS;
    HaddPd "haddpd" PD;
    HsubPs "hsubps" PS;
    HsubPd "hsubpd" PD;
    AddsubPs "addsubps" PS;
    AddsubPd "addsubpd" PD;
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
    DotPs "dpps" "255" mask_of_singles &[products_of_singles, sums_of_pairs, sum_of_singles], PS;
    DotPd "dppd" "51" mask_of_doubles &[products_of_doubles, sum_of_doubles], PD;
}

fn products_of_singles(first: Xmm, second: Xmm, imm: u8) -> Xmm {
    let selected = mask_of_singles(imm >> 4);
    MulPs::apply(and(first, selected), and(second, selected))
}

fn sums_of_pairs(first: Xmm, second: Xmm, imm: u8) -> Xmm {
    HaddPs::apply(products_of_singles(first, second, imm), singles([0; 4]))
}

fn sum_of_singles(first: Xmm, second: Xmm, imm: u8) -> Xmm {
    HaddPs::apply(sums_of_pairs(first, second, imm), singles([0; 4]))
}

fn products_of_doubles(first: Xmm, second: Xmm, imm: u8) -> Xmm {
    let selected = mask_of_doubles(imm >> 4);
    MulPd::apply(and(first, selected), and(second, selected))
}

fn sum_of_doubles(first: Xmm, second: Xmm, imm: u8) -> Xmm {
    HaddPd::apply(products_of_doubles(first, second, imm), doubles([0; 2]))
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
