//! The portable definitions against the host's instructions: results and flags bit for bit, under
//! all rounding modes, with and without DAZ and FTZ.

use super::environment::host;
use super::*;
use crate::flags::ArithFlags;
use crate::simd::int::Vectors;
use trimotor_test_needs::{host_cpu, skip};

/// An operation's name, the host's instruction, and the portable definition.
pub(super) type UnaryCase = (&'static str, fn(Xmm) -> Xmm, fn(&mut Environment, Xmm) -> Xmm);
pub(super) type BinaryCase = (&'static str, fn(Xmm, Xmm) -> Xmm, fn(&mut Environment, Xmm, Xmm) -> Xmm);
pub(super) type ImmediateCase =
    (&'static str, fn(Xmm, Xmm, u8) -> Xmm, fn(&mut Environment, Xmm, Xmm, u8) -> Xmm);
pub(super) type TernaryCase =
    (&'static str, fn(Xmm, Xmm, Xmm) -> Xmm, fn(&mut Environment, Xmm, Xmm, Xmm) -> Xmm);
pub(super) type OrderingCase =
    (&'static str, fn(Xmm, Xmm) -> ArithFlags, fn(&mut Environment, Xmm, Xmm) -> ArithFlags);
pub(super) type FromIntegerCase = (&'static str, fn(Xmm, u64) -> Xmm, fn(&mut Environment, Xmm, u64) -> Xmm);
pub(super) type ToIntegerCase = (&'static str, fn(Xmm) -> u64, fn(&mut Environment, Xmm) -> u64);

const MASKED: u32 = environment::MXCSR_DEFAULT;

/// All rounding modes with and without DAZ and FTZ, and with the precision flag set already or not.
fn controls() -> impl Iterator<Item = u32> {
    let bit = |bits: u32, from: u32, to: u32| (bits >> from & 1) << to;
    (0..32).map(move |bits| MASKED | (bits & 3) << 13 | bit(bits, 2, 6) | bit(bits, 3, 15) | bit(bits, 4, 5))
}

/// Computes by the host under `control`: the result, and MXCSR afterwards.
#[inline(never)]
fn by_host<R>(control: u32, compute: impl FnOnce() -> R) -> (R, u32) {
    host::load_mxcsr(control);
    let result = compute();
    let mxcsr = host::read_mxcsr();
    host::load_mxcsr(MASKED);
    (result, mxcsr)
}

/// Computes in the portable way.
fn portably<R>(control: u32, compute: impl FnOnce(&mut Environment) -> R) -> (R, u32) {
    let mut environment = Environment::new(control);
    let result = compute(&mut environment);
    (result, environment.mxcsr())
}

/// Elements with random digits and exponents that meet: near each other, near the ends of the range, and
/// the special values.
struct Operands {
    random: Vectors,
    /// Around where the exponents of this case are.
    exponent: u64,
}

impl Operands {
    fn new() -> Operands {
        Operands { random: Vectors::new(), exponent: 0 }
    }
    /// Begins a case.
    fn next(&mut self) {
        self.exponent = match self.random.word() % 6 {
            0 => 0,
            1 => 0x7F8,
            2 => 0x200,
            3 => 0x600,
            4 => 0x3FF,
            _ => self.random.word(),
        };
    }
    fn element(&mut self, width: u32, fraction: u32) -> u64 {
        let exponent_bits = width - fraction - 1;
        let ones = (1u64 << exponent_bits) - 1;
        let (digits, choice) = (self.random.word(), self.random.word());
        let fraction_mask = (1u64 << fraction) - 1;
        let digits = match choice & 7 {
            0 => 0,
            1 => fraction_mask,
            2 => 1 << ((choice >> 16) % u64::from(fraction)),
            3 => fraction_mask & (!0 << ((choice >> 16) % u64::from(fraction))),
            4 => (choice >> 16) & 3,
            _ => digits & fraction_mask,
        };
        let around = self.exponent.wrapping_mul(ones) / 0x7FF;
        let exponent = match choice >> 3 & 7 {
            0 => 0,
            1 => ones,
            2 => digits ^ choice >> 20,
            3 => around.wrapping_add(choice >> 40 & 63),
            _ => around.wrapping_add(choice >> 40 & 3),
        };
        (choice >> 63) << (width - 1) | (exponent & ones) << fraction | digits
    }
    /// A vector of singles or (for even draws) doubles or integers near what converts.
    fn vector(&mut self, format: usize) -> Xmm {
        match format {
            0 => singles(std::array::from_fn(|_| self.element(32, 23) as u32)),
            1 => doubles(std::array::from_fn(|_| self.element(64, 52))),
            2 => {
                doubles(std::array::from_fn(|_| (0..4).fold(0, |bits, _| bits << 16 | self.element(16, 10))))
            }
            _ => doubles(std::array::from_fn(|_| self.integer())),
        }
    }
    /// An integer of any length.
    fn integer(&mut self) -> u64 {
        let (bits, shift) = (self.random.word(), self.random.word());
        ((bits as i64) >> (shift & 63)) as u64
    }
}

/// Checks `count` draws of operands under each control.
fn check<R: PartialEq + std::fmt::Debug>(
    name: &str,
    count: usize,
    on_host: impl Fn(&[Xmm; 3], u64) -> R,
    portable: impl Fn(&mut Environment, &[Xmm; 3], u64) -> R,
) {
    if name.starts_with("Dot") && trimotor_test_needs::intel_host() {
        // Which of several NaNs a dot product has is another on Intel's processors.
        return;
    }
    let mut operands = Operands::new();
    for n in 0..count {
        operands.next();
        let vectors: [Xmm; 3] = std::array::from_fn(|_| operands.vector(n & 3));
        let integer = operands.integer();
        for control in controls() {
            let expected = by_host(control, || on_host(&vectors, integer));
            let ours = portably(control, |environment| portable(environment, &vectors, integer));
            let shown = vectors.map(u128::from_xmm);
            assert_eq!(ours, expected, "{name} {shown:032x?} {integer:x} control {control:x}");
        }
    }
}

/// Whether an operation is an approximation.
fn approximates(name: &str) -> bool {
    name.starts_with("Rcp") || name.starts_with("Rsqrt")
}

#[test]
fn operations_of_one_and_two_operands_are_the_hosts() {
    for cases in [arithmetic::UNARY, convert::UNARY] {
        for &(name, on_host, portable) in cases.iter().filter(|case| !approximates(case.0)) {
            let host = |v: &[Xmm; 3], _| u128::from_xmm(on_host(v[0]));
            check(name, 2000, host, |e, v, _| u128::from_xmm(portable(e, v[0])));
        }
    }
    for cases in [arithmetic::BINARY, convert::BINARY] {
        for &(name, on_host, portable) in cases.iter().filter(|case| !approximates(case.0)) {
            let host = |v: &[Xmm; 3], _| u128::from_xmm(on_host(v[0], v[1]));
            check(name, 4000, host, |e, v, _| u128::from_xmm(portable(e, v[0], v[1])));
        }
    }
}

#[test]
fn operations_with_an_immediate_are_the_hosts() {
    for cases in [arithmetic::ROUND, arithmetic::DOT, compare::COMPARE] {
        for &(name, on_host, portable) in cases {
            let host = |v: &[Xmm; 3], i| u128::from_xmm(on_host(v[0], v[1], i as u8));
            check(name, 4000, host, |e, v, i| u128::from_xmm(portable(e, v[0], v[1], i as u8)));
        }
    }
}

#[test]
fn orderings_and_integer_conversions_are_the_hosts() {
    for &(name, on_host, portable) in compare::ORDERINGS {
        check(name, 4000, |v, _| on_host(v[0], v[1]).0, |e, v, _| portable(e, v[0], v[1]).0);
    }
    for &(name, on_host, portable) in convert::FROM_INTEGER {
        let host = |v: &[Xmm; 3], i| u128::from_xmm(on_host(v[0], i));
        check(name, 4000, host, |e, v, i| u128::from_xmm(portable(e, v[0], i)));
    }
    for &(name, on_host, portable) in convert::TO_INTEGER {
        check(name, 4000, |v, _| on_host(v[0]), |e, v, _| portable(e, v[0]));
    }
}

#[test]
fn fused_operations_are_the_hosts() {
    if skip(host_cpu("FMA", is_x86_feature_detected!("fma"))) {
        return;
    }
    for &(name, on_host, portable) in fma::TERNARY {
        let host = |v: &[Xmm; 3], _| u128::from_xmm(on_host(v[0], v[1], v[2]));
        check(name, 1000, host, |e, v, _| u128::from_xmm(portable(e, v[0], v[1], v[2])));
    }
}

/// Draws meet three special values too rarely.
#[test]
fn fused_special_values_are_the_hosts() {
    if skip(host_cpu("FMA", is_x86_feature_detected!("fma"))) {
        return;
    }
    const SPECIAL: [u32; 7] = [0, 1, 0x3F80_0000, 0x7F80_0000, 0xFF80_0000, 0x7FC0_0001, 0x7F80_0001];
    for n in 0..SPECIAL.len().pow(3) {
        let v = [n % 7, n / 7 % 7, n / 49].map(|n| singles([SPECIAL[n]; 4]));
        for &(name, on_host, portable) in fma::TERNARY {
            let expected = by_host(MASKED, || u128::from_xmm(on_host(v[0], v[1], v[2])));
            let ours = portably(MASKED, |e| u128::from_xmm(portable(e, v[0], v[1], v[2])));
            assert_eq!(ours, expected, "{name} {:032x?}", v.map(u128::from_xmm));
        }
    }
}

#[test]
fn halves_are_the_hosts() {
    if skip(host_cpu("F16C", is_x86_feature_detected!("f16c"))) {
        return;
    }
    for &(name, on_host, portable) in half::UNARY {
        check(name, 4000, |v, _| u128::from_xmm(on_host(v[0])), |e, v, _| u128::from_xmm(portable(e, v[0])));
    }
    let host = |v: &[Xmm; 3], i| u128::from_xmm(half::ToHalves::host(v[0], i as u8));
    check("vcvtps2ph", 8000, host, |e, v, i| u128::from_xmm(half::ToHalves::portable(e, v[0], i as u8)));
}

#[test]
fn approximations_are_as_close_as_the_manual_says() {
    let mut operands = Operands::new();
    let exact = |name: &str, x: f64| if name.starts_with("Rcp") { 1.0 / x } else { 1.0 / x.sqrt() };
    for &(name, on_host, portable) in arithmetic::UNARY.iter().filter(|case| approximates(case.0)) {
        for _ in 0..4000 {
            operands.next();
            let source = operands.vector(0);
            let (host, host_flags) = by_host(MASKED, || to_singles(on_host(source)));
            let (ours, flags) = portably(MASKED, |environment| to_singles(portable(environment, source)));
            assert_eq!((flags, host_flags), (MASKED, MASKED));
            for ((bits, host), ours) in to_singles(source).into_iter().zip(host).zip(ours) {
                let [x, host, ours] = [bits, host, ours].map(f32::from_bits);
                let wanted = exact(name, x.into());
                // At the edge of what is flushed to zero, either may be.
                let edge = host == 0.0 && wanted.abs() >= 0.999 * f64::from(f32::MIN_POSITIVE);
                if edge && ours == 0.0 {
                    continue;
                }
                if host.is_finite() && host != 0.0 || edge {
                    let error = (f64::from(ours) / wanted - 1.0).abs();
                    assert!(error <= 1.5 / 4096.0, "{name} {bits:x}: {ours} for {wanted}");
                } else {
                    assert_eq!(ours.to_bits(), host.to_bits(), "{name} {bits:x}");
                }
            }
        }
    }
}
