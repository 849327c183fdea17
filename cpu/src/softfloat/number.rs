//! Numbers taken apart, and the formats that they come from.

/// A binary format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// Bits in all.
    pub width: u32,
    /// Bits of the significand, with the integer bit.
    pub precision: u32,
    /// Whether the integer bit is stored, as in the double extended format of the x87 unit.
    pub explicit: bool,
}

/// Half precision.
pub const HALF: Format = Format { width: 16, precision: 11, explicit: false };
/// Single precision.
pub const SINGLE: Format = Format { width: 32, precision: 24, explicit: false };
/// Double precision.
pub const DOUBLE: Format = Format { width: 64, precision: 53, explicit: false };
/// Double extended precision.
pub const EXTENDED: Format = Format { width: 80, precision: 64, explicit: true };

/// The integer bit of a significand.
pub const INTEGER_BIT: u128 = 1 << 127;
/// The bit of a NaN's significand that makes it quiet.
pub const QUIET_BIT: u128 = 1 << 126;

/// What a number is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Zero.
    Zero,
    /// Neither zero nor infinite.
    Finite,
    /// Infinite.
    Infinity,
    /// A NaN that raises no exception where it is used.
    QuietNan,
    /// A NaN that raises the invalid-operation exception.
    SignalingNan,
    /// An encoding that the x87 unit refuses: pseudo-NaN, pseudo-infinity, unnormal.
    Unsupported,
}

/// A number: `significand` times 2 to the power of `exponent` - 127.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number {
    /// What the number is.
    pub class: Class,
    /// The sign; zeros and NaNs have one too.
    pub negative: bool,
    /// Whether it was encoded with an exponent of zero: subnormal or pseudo-denormal.
    pub denormal: bool,
    /// The exponent of the integer bit, for finite numbers.
    pub exponent: i32,
    /// Finite: the integer bit is bit 127, and set but in a subnormal result of rounding. NaN: the
    /// same, with the payload below.
    pub significand: u128,
}

impl Number {
    /// A zero.
    pub const fn zero(negative: bool) -> Number {
        Number { class: Class::Zero, negative, denormal: false, exponent: 0, significand: 0 }
    }
    /// An infinity.
    pub const fn infinity(negative: bool) -> Number {
        Number { class: Class::Infinity, negative, denormal: false, exponent: 0, significand: INTEGER_BIT }
    }
    /// The real indefinite: what a masked invalid operation gives.
    pub const INDEFINITE: Number = Number {
        class: Class::QuietNan,
        negative: true,
        denormal: false,
        exponent: 0,
        significand: INTEGER_BIT | QUIET_BIT,
    };
    /// A finite number from a significand that is not zero, wherever its first digit is.
    pub const fn finite(negative: bool, exponent: i32, significand: u128) -> Number {
        let zeros = significand.leading_zeros();
        Number {
            class: Class::Finite,
            negative,
            denormal: false,
            exponent: exponent - zeros as i32,
            significand: significand << zeros,
        }
    }
    /// An integer.
    pub const fn integer(value: i64) -> Number {
        if value == 0 {
            Number::zero(false)
        } else {
            Number::finite(value < 0, 127, value.unsigned_abs() as u128)
        }
    }
    /// Whether it is a NaN, quiet or signaling.
    pub fn is_nan(self) -> bool {
        matches!(self.class, Class::QuietNan | Class::SignalingNan)
    }
    /// Whether it is zero.
    pub fn is_zero(self) -> bool {
        self.class == Class::Zero
    }
    /// Whether it is infinite.
    pub fn is_infinite(self) -> bool {
        self.class == Class::Infinity
    }
    /// The NaN made quiet.
    pub fn quieted(self) -> Number {
        Number { class: Class::QuietNan, significand: self.significand | QUIET_BIT, ..self }
    }
    /// With the other sign.
    pub fn negated(self) -> Number {
        Number { negative: !self.negative, ..self }
    }
    /// Without its sign.
    pub fn magnitude(self) -> Number {
        Number { negative: false, ..self }
    }
}

impl Format {
    /// What is added to an exponent where it is stored; also the largest exponent.
    pub const fn bias(self) -> i32 {
        (1 << (self.exponent_bits() - 1)) - 1
    }
    /// The smallest exponent of a normal number.
    pub const fn least(self) -> i32 {
        1 - self.bias()
    }
    const fn exponent_bits(self) -> u32 {
        self.width - self.precision - self.explicit as u32
    }
    /// Bits of the significand that are stored.
    const fn stored(self) -> u32 {
        self.precision - !self.explicit as u32
    }

    /// Takes an encoding apart.
    pub fn unpack(self, bits: u128) -> Number {
        let special = (1u128 << self.exponent_bits()) - 1;
        let exponent = bits >> self.stored() & special;
        let negative = bits >> (self.width - 1) & 1 != 0;
        let hidden = !self.explicit && exponent != 0;
        let field = bits & ((1 << self.stored()) - 1) | (hidden as u128) << self.stored();
        let significand = field << (128 - self.precision);
        let normalized = significand & INTEGER_BIT != 0;
        let number = |class| Number { class, negative, denormal: false, exponent: 0, significand };
        match exponent {
            0 if significand == 0 => number(Class::Zero),
            0 => Number { denormal: true, ..Number::finite(negative, self.least(), significand) },
            _ if !normalized => number(Class::Unsupported),
            _ if exponent != special => {
                Number { exponent: exponent as i32 - self.bias(), ..number(Class::Finite) }
            }
            _ if significand == INTEGER_BIT => number(Class::Infinity),
            _ if significand & QUIET_BIT != 0 => number(Class::QuietNan),
            _ => number(Class::SignalingNan),
        }
    }

    /// Encodes a number that fits: one that was rounded to this format, or is not finite. A NaN loses
    /// the end of its payload.
    pub fn pack(self, number: Number) -> u128 {
        let special = (1 << self.exponent_bits()) - 1;
        let exponent = match number.class {
            Class::Zero => 0,
            Class::Finite if number.significand & INTEGER_BIT == 0 => 0,
            Class::Finite => (number.exponent + self.bias()) as u128,
            _ => special,
        };
        let field = number.significand >> (128 - self.precision);
        let field = field & ((1 << self.stored()) - 1);
        (number.negative as u128) << (self.width - 1) | exponent << self.stored() | field
    }
}
