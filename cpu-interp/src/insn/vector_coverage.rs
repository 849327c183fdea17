//! Every form of the vector and bit-manipulation instructions has a handler.

use crate::lower::implements;
use iced_x86::{Code, CpuidFeature as F, EncodingKind};

/// The instruction sets that must be complete.
const COMPLETE: &[F] = &[
    F::MMX,
    F::SSE,
    F::SSE2,
    F::SSE3,
    F::SSSE3,
    F::SSE4_1,
    F::SSE4_2,
    F::AES,
    F::PCLMULQDQ,
    F::SHA,
    F::AVX,
    F::AVX2,
    F::FMA,
    F::F16C,
    F::BMI1,
    F::BMI2,
    F::ADX,
    F::MOVBE,
    F::POPCNT,
    F::LZCNT,
    F::RDRAND,
    F::RDSEED,
    F::CLFSH,
    F::CLFLUSHOPT,
    F::CLWB,
    F::PREFETCHW,
];

#[test]
fn every_form_of_the_advertised_sets_has_a_handler() {
    let missing: Vec<Code> = Code::values()
        .filter(|code| matches!(code.encoding(), EncodingKind::Legacy | EncodingKind::VEX))
        .filter(|code| code.cpuid_features().iter().all(|feature| COMPLETE.contains(feature)))
        .filter(|&code| !implements(code))
        .collect();
    assert!(missing.is_empty(), "no handler for {missing:?}");
}

#[test]
fn no_form_has_two_rows() {
    let mut seen = vec![0; Code::values().count()];
    for row in super::families().iter().flat_map(|rows| rows.iter()) {
        seen[row.code as usize] += 1;
    }
    let twice: Vec<Code> = Code::values().filter(|&code| seen[code as usize] > 1).collect();
    assert!(twice.is_empty(), "in two tables: {twice:?}");
}
