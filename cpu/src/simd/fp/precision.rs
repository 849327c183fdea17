//! The precision exception beside an unmasked overflow or underflow.
//!
//! The handler of such an exception is meant to get the result with its exponent wrapped into range,
//! so MXCSR.PE tells whether *that* result is inexact: whether the exact one has more digits than the
//! format, however large or small it is. The host, which computes with all exceptions masked, says
//! something else: it calls every overflow inexact, and every tiny result that lost digits to its
//! range alone. So exact results are computed here, as integers; it is rare and need not be fast.
//!
//! Source: SDM Vol. 1, "Numeric Overflow Exception (#O)" and "Numeric Underflow Exception (#U)".

use super::{Element, Operation, Results, Xmm};

/// Denormals are zeros.
const DAZ: u32 = 1 << 6;
/// Flush to zero.
const FTZ: u32 = 1 << 15;
/// The masks of overflow and underflow.
const OVERFLOW_MASK: u32 = 1 << 10;
const UNDERFLOW_MASK: u32 = 1 << 11;
/// Sums whose terms lie further apart than this have more digits than any format.
const WIDEST_SUM: u32 = 120;

/// A binary format.
#[derive(Clone, Copy)]
struct Format {
    width: usize,
    /// Digits stored.
    fraction: u32,
}

const HALF: Format = Format { width: 16, fraction: 10 };
const SINGLE: Format = Format { width: 32, fraction: 23 };
const DOUBLE: Format = Format { width: 64, fraction: 52 };

impl Format {
    fn bias(self) -> i32 {
        (1 << (self.width as u32 - self.fraction - 2)) - 1
    }
    /// The value of element `lane` of a vector; `None` where it is not finite.
    fn value(self, xmm: Xmm, lane: usize, daz: bool) -> Option<Exact> {
        let bits = (u128::from_xmm(xmm) >> (lane * self.width)) as u64 & (u64::MAX >> (64 - self.width));
        let fraction = bits & ((1 << self.fraction) - 1);
        let exponent_bits = self.width as u32 - self.fraction - 1;
        let exponent = (bits >> self.fraction) as i32 & ((1 << exponent_bits) - 1);
        if exponent == (1 << exponent_bits) - 1 {
            return None;
        }
        let digits = match (exponent, daz) {
            (0, true) => 0,
            (0, false) => fraction,
            _ => fraction | 1 << self.fraction,
        };
        let negative = bits >> (self.width - 1) != 0;
        let digits = i128::from(digits) * if negative { -1 } else { 1 };
        Some(Exact::new(digits, exponent.max(1) - self.bias() - self.fraction as i32))
    }
}

/// A number: `digits` (odd, or zero) times 2 to the power of `exponent`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Exact {
    digits: i128,
    exponent: i32,
}

impl Exact {
    fn new(digits: i128, exponent: i32) -> Self {
        if digits == 0 {
            return Self { digits: 0, exponent: 0 };
        }
        let zeros = digits.trailing_zeros();
        Self { digits: digits >> zeros, exponent: exponent + zeros as i32 }
    }
    /// Binary digits between the first and the last that is not zero.
    fn length(self) -> u32 {
        128 - self.digits.unsigned_abs().leading_zeros()
    }
    /// The exponent of the first digit.
    fn top(self) -> i32 {
        self.exponent + self.length() as i32 - 1
    }
    fn negated(self) -> Self {
        Self { digits: -self.digits, ..self }
    }
    fn times(self, other: Self) -> Self {
        Self::new(self.digits * other.digits, self.exponent + other.exponent)
    }
    /// The sum; `None` where it has too many digits for any format.
    fn plus(self, other: Self) -> Option<Self> {
        if self.digits == 0 || other.digits == 0 {
            return Some(if self.digits == 0 { other } else { self });
        }
        let (high, low) = if self.exponent >= other.exponent { (self, other) } else { (other, self) };
        let apart = (high.exponent - low.exponent) as u32;
        if high.length() + apart > WIDEST_SUM {
            return None;
        }
        Some(Self::new((high.digits << apart) + low.digits, low.exponent))
    }
    /// The quotient; `None` where its digits do not end.
    fn over(self, other: Self) -> Option<Self> {
        (self.digits % other.digits == 0)
            .then(|| Self::new(self.digits / other.digits, self.exponent - other.exponent))
    }
    /// Whether rounding to `format` loses something, or the masked answer to a result out of range does.
    fn loses(self, format: Format, mxcsr: u32) -> bool {
        let precision = format.fraction + 1;
        if self.digits == 0 {
            return false;
        }
        let (most, least) = (format.bias(), 1 - format.bias());
        let overflows = self.top() > most && mxcsr & OVERFLOW_MASK != 0;
        let tiny = self.top() < least && mxcsr & UNDERFLOW_MASK != 0;
        // VCVTPS2PH does not look at FTZ.
        let flushed = mxcsr & FTZ != 0 && format.width != HALF.width;
        let below = self.exponent < least - format.fraction as i32;
        self.length() > precision || overflows || tiny && (flushed || below)
    }
}

/// What a result is, exactly.
enum Outcome {
    Exactly(Exact),
    /// It has more digits than any format.
    Endless,
    /// Not finite, or not of this operation: nothing is rounded.
    NotRounded,
}

/// MXCSR.PE after an operation that raised an unmasked overflow or underflow, and no unmasked invalid,
/// denormal or divide-by-zero exception. `mxcsr` has the masks and modes of the guest.
pub fn is_inexact(results: Results, operands: [Xmm; 3], mxcsr: u32) -> bool {
    let (lanes, format) = match results {
        Results::NeverTiny => return false,
        Results::F16(lanes, _) => (lanes, HALF),
        Results::F32(lanes, _) => (lanes, SINGLE),
        Results::F64(lanes, _) => (lanes, DOUBLE),
    };
    (0..lanes).any(|lane| match exact(results, format, operands, lane, mxcsr & DAZ != 0) {
        Some(Outcome::Exactly(value)) => value.loses(format, mxcsr),
        Some(Outcome::Endless) => true,
        Some(Outcome::NotRounded) | None => false,
    })
}

/// The exact result of element `lane`; `None` where an operand is not finite.
fn exact(results: Results, format: Format, operands: [Xmm; 3], lane: usize, daz: bool) -> Option<Outcome> {
    let [first, second, third] = operands;
    let source = |xmm, lane| format.value(xmm, lane, daz);
    let sum = |a: Exact, b: Exact| a.plus(b).map_or(Outcome::Endless, Outcome::Exactly);
    let odd = lane & 1 == 1;
    Some(match results.operation() {
        Operation::Other => Outcome::NotRounded,
        Operation::Add => sum(source(first, lane)?, source(second, lane)?),
        Operation::Subtract => sum(source(first, lane)?, source(second, lane)?.negated()),
        Operation::AddSubtract => {
            let second = source(second, lane)?;
            sum(source(first, lane)?, if odd { second } else { second.negated() })
        }
        Operation::Horizontal { subtract } => {
            let half = 64 / format.width;
            let from = if lane < half { first } else { second };
            let at = lane % half * 2;
            let right = source(from, at + 1)?;
            sum(source(from, at)?, if subtract { right.negated() } else { right })
        }
        Operation::Multiply => Outcome::Exactly(source(first, lane)?.times(source(second, lane)?)),
        Operation::Divide => match (source(first, lane)?, source(second, lane)?) {
            (_, Exact { digits: 0, .. }) => Outcome::NotRounded,
            (a, b) => a.over(b).map_or(Outcome::Endless, Outcome::Exactly),
        },
        Operation::Fused { order, negative_product, negative_sum } => {
            let [a, b, c] = order.map(|number| operands_of(number, [first, second, third]));
            let product = source(a, lane)?.times(source(b, lane)?);
            let addend = source(c, lane)?;
            let subtracted = negative_sum[usize::from(odd)];
            sum(
                if negative_product { product.negated() } else { product },
                if subtracted { addend.negated() } else { addend },
            )
        }
        Operation::Narrow if format.width == HALF.width => Outcome::Exactly(SINGLE.value(first, lane, daz)?),
        Operation::NarrowSecond => Outcome::Exactly(DOUBLE.value(second, lane, daz)?),
        Operation::Narrow => Outcome::Exactly(DOUBLE.value(first, lane, daz)?),
    })
}

/// Operand 1, 2 or 3.
fn operands_of(number: u8, operands: [Xmm; 3]) -> Xmm {
    operands[usize::from(number - 1)]
}

#[cfg(test)]
mod tests {
    use super::super::{doubles, singles};
    use super::*;

    /// All masked but overflow and underflow.
    const UNMASKED: u32 = 0x1F80 & !OVERFLOW_MASK & !UNDERFLOW_MASK;

    fn check(results: Results, operands: [Xmm; 3], inexact: bool) {
        assert_eq!(is_inexact(results, operands, UNMASKED), inexact, "{results:?} {operands:?}");
    }

    #[test]
    fn products_and_quotients_are_judged_by_their_digits_alone() {
        let both = |a: f32, b: f32| [a, b, b].map(|value| singles([value.to_bits(), 0, 0, 0]));
        let multiply = Results::F32(1, Operation::Multiply);
        check(multiply, both(f32::MAX, 2.0), false);
        check(multiply, both(f32::MAX, 3.0), true);
        check(multiply, both(f32::MIN_POSITIVE, 0.75), false);
        check(multiply, both(f32::from_bits(3), f32::from_bits(0x00C0_0001)), true);
        check(multiply, both(f32::from_bits(3), f32::from_bits(0x0080_0000)), false);
        check(multiply, both(f32::INFINITY, 3.0), false);
        let divide = Results::F32(1, Operation::Divide);
        check(divide, both(f32::MAX, 0.5), false);
        check(divide, both(f32::MIN_POSITIVE, 3.0), true);
        check(divide, both(1.0, 0.0), false);
    }

    #[test]
    fn sums_far_apart_are_inexact() {
        let sum = Results::F64(2, Operation::Add);
        let pair = |a: f64, b: f64| [doubles([a.to_bits(), 0]), doubles([b.to_bits(), 0]), doubles([0; 2])];
        check(sum, pair(f64::MAX, f64::MAX), false);
        check(sum, pair(f64::MAX, 1.0), true);
        check(sum, pair(f64::MAX, f64::MAX / 2.0), true);
        check(sum, pair(f64::from_bits(1), f64::from_bits(2)), false);
    }

    #[test]
    fn fused_products_keep_all_their_digits() {
        let fused = Operation::Fused { order: [2, 1, 3], negative_product: false, negative_sum: [true; 2] };
        let x = doubles([(1.0f64 + 2.0 * f64::EPSILON).to_bits(), 0]);
        let one = doubles([1.0f64.to_bits(), 0]);
        let results = Results::F64(1, fused);
        // (1 + e)^2 - 1 = 2e + e^2: 53 digits for this e.
        check(results, [x, x, one], false);
        let huge = doubles([f64::MAX.to_bits(), 0]);
        check(results, [x, huge, one], true);
    }

    #[test]
    fn a_denormal_operand_taken_for_zero_is_exact() {
        let large = 2f32.powi(100).to_bits();
        let operands = [singles([large, 1, 0, 0]); 3];
        let narrow = |mxcsr| is_inexact(Results::F16(4, Operation::Narrow), operands, mxcsr);
        assert!(narrow(UNMASKED | UNDERFLOW_MASK));
        assert!(!narrow(UNMASKED | UNDERFLOW_MASK | DAZ));
    }

    #[test]
    fn a_masked_answer_beside_it_counts_as_inexact() {
        let multiply = Results::F32(2, Operation::Multiply);
        let large = 2f32.powi(100).to_bits();
        let small = 2f32.powi(-100).to_bits();
        let operand = singles([large, small, 0, 0]);
        let only = |mask| is_inexact(multiply, [operand; 3], UNMASKED | mask);
        assert!(!only(0));
        assert!(only(OVERFLOW_MASK) && only(UNDERFLOW_MASK));
    }
}
