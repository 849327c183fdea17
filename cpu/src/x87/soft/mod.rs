//! The x87 unit in integers: whole instructions, for hosts that have no such unit.
//!
//! [`execute`] does on the guest's unit what the host's does in `host`: results, TOP, tags,
//! flags and condition codes, whatever is masked. Tests hold the two against each other on
//! random units.
//!
//! Each instruction has the same three steps. Empty registers are looked for ([`stack`]); the
//! result is computed from operands taken apart, with the exceptions that it raises
//! ([`Outcome`]); and it is committed, unless an exception found before the result is
//! unmasked. NaNs are this unit's own matter: of two, the one with the larger significand wins.
//!
//! Source: SDM Vol. 1, "Programming with the x87 FPU"; Vol. 2, the instructions by name.

mod arithmetic;
mod compare;
mod decimal;
mod load;
mod partial;
mod stack;
mod store;
mod transcendental;

use super::status;
use crate::flags::ArithFlags;
use crate::softfloat::round::{Limits, Rounding, round};
use crate::softfloat::{Class, EXTENDED, Format, Number, flag};
use crate::state::{Fpr, X87State};

/// Exceptions found before a result is computed: if unmasked, there is none.
const BEFORE: u32 = flag::INVALID | flag::DENORMAL | flag::ZERO_DIVIDE;

/// What an instruction computes.
#[derive(Clone, Copy, Debug)]
struct Outcome {
    /// The exceptions that it raises.
    flags: u32,
    /// The result, rounded.
    number: Number,
    /// The result is larger in magnitude than the exact one.
    up: bool,
}

impl Outcome {
    /// A result that needs no rounding.
    fn exactly(number: Number) -> Outcome {
        Outcome { flags: 0, number, up: false }
    }
    /// An invalid operation.
    const INVALID: Outcome = Outcome { flags: flag::INVALID, number: Number::INDEFINITE, up: false };

    /// A result that is to be rounded to the precision and in the mode of `control`.
    fn rounded(exact: Number, control: u16) -> Outcome {
        Outcome::limited(exact, limits(control, precision(control)))
    }
    fn limited(exact: Number, limits: Limits) -> Outcome {
        let rounded = round(exact, limits);
        Outcome { flags: rounded.flags, number: rounded.number, up: rounded.up }
    }
    /// With the denormal-operand exception if one of these operands asks for it.
    fn of(mut self, operands: &[Number]) -> Outcome {
        if operands.iter().any(|operand| operand.denormal) {
            self.flags |= flag::DENORMAL;
        }
        self
    }
}

/// Bits that precision control keeps.
fn precision(control: u16) -> u32 {
    match control >> 8 & 3 {
        0 => 24,
        2 => 53,
        _ => 64,
    }
}

/// Rounding control.
fn rounding(control: u16) -> Rounding {
    Rounding::from_bits((control >> 10).into())
}

/// How a result for a register is rounded: an unmasked overflow or underflow wraps its exponent.
fn limits(control: u16, precision: u32) -> Limits {
    let wrapped = u32::from(!control) & (flag::OVERFLOW | flag::UNDERFLOW);
    Limits { format: EXTENDED, precision, rounding: rounding(control), wrapped }
}

/// What an operation gives whose operands are not all numbers: `None` if they are.
fn not_numbers(operands: &[Number]) -> Option<Outcome> {
    if operands.iter().any(|operand| operand.class == Class::Unsupported) {
        return Some(Outcome::INVALID);
    }
    let number = chosen_nan(operands)?;
    let signaling = operands.iter().any(|operand| operand.class == Class::SignalingNan);
    Some(Outcome { flags: if signaling { flag::INVALID } else { 0 }, number, up: false })
}

/// The NaN that wins, made quiet: a quiet one before a signaling one, then the larger significand, then
/// the positive one.
fn chosen_nan(operands: &[Number]) -> Option<Number> {
    let rank = |nan: &Number| (nan.class == Class::QuietNan, nan.significand, !nan.negative);
    operands.iter().copied().filter(|operand| operand.is_nan()).max_by_key(rank).map(Number::quieted)
}

/// The 80 bits of a register.
fn bits(register: &Fpr) -> u128 {
    u128::from_le_bytes(register.0) & (u128::MAX >> 48)
}

/// ST(`i`) taken apart.
fn operand(x: &X87State, i: u8) -> Number {
    EXTENDED.unpack(bits(x.st(i)))
}

/// The register that holds a number.
fn register(number: Number) -> Fpr {
    Fpr(EXTENDED.pack(number).to_le_bytes())
}

/// Sets exception flags and clears C1; whether the instruction can go on. If not, there is no result, and
/// nothing is known of its exceptions.
fn raise(x: &mut X87State, flags: u32) -> bool {
    let goes_on = flags & BEFORE & !u32::from(x.control) == 0;
    let raised = if goes_on { flags } else { flags & BEFORE };
    x.status = x.status & !status::C1 | raised as u16;
    goes_on
}

/// Sets the exception flags of a result, puts it into ST(`i`), and rounding into C1; whether it was
/// committed.
fn commit(x: &mut X87State, i: u8, outcome: Outcome) -> bool {
    if !raise(x, outcome.flags) {
        return false;
    }
    if outcome.up {
        x.status |= status::C1;
    }
    let to = x.physical(i);
    x.regs[to] = register(outcome.number);
    x.empty &= !(1 << to);
    true
}

/// An operand in memory.
fn memory_operand(format: Format, memory: &[u8; 16]) -> Number {
    format.unpack(u128::from_le_bytes(*memory) & (u128::MAX >> (128 - format.width)))
}

/// The two's complement integer in the first `bits` bits of memory.
fn memory_integer(memory: &[u8; 16], bits: u32) -> i64 {
    let unused = 128 - bits;
    (i128::from_le_bytes(*memory) << unused >> unused) as i64
}

/// Executes the register form or memory form of one instruction on the guest's unit with
/// every effect that the architecture defines, masked or not: results, TOP, tags, status.
/// Exceptions that wait already go on waiting.
///
/// `OPCODE` holds the low three bits of the first byte and the second byte, as FOP does:
/// for register operands with `rm` = 1, which stands for ST(`i`); for memory operands with
/// `mod` = 0 and `rm` = 1, which stands for `memory`. `flags` are the arithmetic flags
/// before, and the ones after are returned (FCMOVcc, FCOMI).
pub fn execute<const OPCODE: u16>(
    state: &mut X87State,
    i: u8,
    flags: ArithFlags,
    memory: &mut [u8; 16],
) -> ArithFlags {
    run(OPCODE, state, i, flags, memory)
}

#[inline(never)]
fn run(opcode: u16, x: &mut X87State, i: u8, flags: ArithFlags, memory: &mut [u8; 16]) -> ArithFlags {
    let waiting = x.status & !x.control & status::EXCEPTIONS;
    x.status &= !(status::ES | status::B | waiting);
    let (group, modrm) = (opcode >> 8, opcode as u8);
    let flags = if modrm < 0xC0 {
        memory_form(group, modrm >> 3 & 7, x, memory);
        flags
    } else {
        register_form(group, modrm, x, i, flags)
    };
    x.status |= waiting;
    x.refresh_summary();
    flags
}

/// Whether a store in memory form `reg` of its group pops.
fn memory_form(group: u16, reg: u8, x: &mut X87State, memory: &mut [u8; 16]) {
    use crate::softfloat::{DOUBLE, SINGLE};
    match (group, reg) {
        (0, _) => arithmetic::with_operand(x, reg, memory_operand(SINGLE, memory)),
        (2, _) => arithmetic::with_operand(x, reg, Number::integer(memory_integer(memory, 32))),
        (4, _) => arithmetic::with_operand(x, reg, memory_operand(DOUBLE, memory)),
        (6, _) => arithmetic::with_operand(x, reg, Number::integer(memory_integer(memory, 16))),
        (1, 0) => load::real(x, memory_operand(SINGLE, memory)),
        (5, 0) => load::real(x, memory_operand(DOUBLE, memory)),
        (3, 5) => load::raw(x, Fpr((u128::from_le_bytes(*memory) & (u128::MAX >> 48)).to_le_bytes())),
        (3, 0) => load::integer(x, Number::integer(memory_integer(memory, 32))),
        (7, 0) => load::integer(x, Number::integer(memory_integer(memory, 16))),
        (7, 5) => load::integer(x, Number::integer(memory_integer(memory, 64))),
        (7, 4) => load::integer(x, decimal::from_decimal(memory)),
        (1, 2 | 3) => store::real(x, SINGLE, memory, reg == 3),
        (5, 2 | 3) => store::real(x, DOUBLE, memory, reg == 3),
        (3, 7) => store::extended(x, memory),
        (3 | 5 | 7, 1) => store::integer(x, [32, 64, 16][usize::from(group - 3) / 2], memory, true, true),
        (3, 2 | 3) => store::integer(x, 32, memory, false, reg == 3),
        (7, 2 | 3) => store::integer(x, 16, memory, false, reg == 3),
        (7, 7) => store::integer(x, 64, memory, false, true),
        (7, 6) => store::decimal(x, memory),
        _ => unreachable!("x87 instruction {group}/{reg} has no operand in memory that is executed here"),
    }
}

fn register_form(group: u16, modrm: u8, x: &mut X87State, i: u8, flags: ArithFlags) -> ArithFlags {
    let reg = modrm >> 3 & 7;
    match (group, reg) {
        (0, 2 | 3) => compare::ordered(x, i, true, reg - 2),
        (0, _) => arithmetic::of_registers(x, reg, 0, i, false),
        // The reversed forms change places here.
        (4 | 6, 0 | 1) => arithmetic::of_registers(x, reg, i, 0, group == 6),
        (4 | 6, 4..=7) => arithmetic::of_registers(x, reg ^ 1, i, 0, group == 6),
        (6, 3) => compare::ordered(x, 1, true, 2),
        (2, 5) => compare::ordered(x, 1, false, 2),
        (5, 4 | 5) => compare::ordered(x, i, false, reg - 4),
        (3, 5 | 6) | (7, 5 | 6) => return compare::to_flags(x, i, reg == 6, group == 7),
        (2 | 3, 0..=3) => {
            let condition = 2 + 2 * reg + 2 * (reg == 3) as u8;
            stack::conditional_move(x, i, flags.condition(condition) != (group == 3));
        }
        (1, 0) => load::copy(x, i),
        (1, 1) => stack::exchange(x, i),
        (1, 3) => stack::copy_unchecked(x, i),
        (5, 2 | 3) => stack::copy(x, i, reg == 3),
        (1, 4..) => one_operand(modrm, x),
        _ => unreachable!("x87 instruction {group}, {modrm:#x} is not executed here"),
    }
    flags
}

/// The instructions D9 E0 to D9 FF.
fn one_operand(modrm: u8, x: &mut X87State) {
    match modrm {
        0xE0 => arithmetic::sign(x, |negative| !negative),
        0xE1 => arithmetic::sign(x, |_| false),
        0xE4 => compare::with_zero(x),
        0xE5 => compare::examine(x),
        0xE8..=0xEE => load::raw(x, super::constant(usize::from(modrm - 0xE8), x.control)),
        0xF0 => transcendental::exp2_minus_1(x),
        0xF1 => transcendental::logarithm(x),
        0xF2 => transcendental::tangent(x),
        0xF3 => transcendental::arctangent(x),
        0xF4 => partial::extract(x),
        0xF5 => partial::remainder(x, true),
        0xF8 => partial::remainder(x, false),
        0xF9 => transcendental::logarithm_plus_1(x),
        0xFA => arithmetic::square_root(x),
        0xFB => transcendental::sine_and_cosine(x),
        0xFC => arithmetic::round_to_integral(x),
        0xFD => partial::scale(x),
        0xFE => transcendental::sine(x),
        0xFF => transcendental::cosine(x),
        _ => unreachable!("D9 {modrm:02X} is not executed here"),
    }
}
