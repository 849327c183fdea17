//! The unit in integers against the host's: whole instructions on random units, everything bit for bit.

use super::*;
use crate::flags::ArithFlags;
use crate::simd::int::Vectors;

type Execute = fn(&mut X87State, u8, ArithFlags, &mut [u8; 16]) -> ArithFlags;

/// Opcodes with the host's way and ours.
macro_rules! cases {
    ($($opcode:literal)+) => {
        &[$(($opcode, native::execute::<$opcode>, soft::execute::<$opcode>),)+]
    };
}

const ARITHMETIC: &[(u16, Execute, Execute)] = cases! {
    0x001 0x009 0x021 0x029 0x031 0x039 0x401 0x409 0x421 0x429 0x431 0x439
    0x601 0x609 0x621 0x629 0x631 0x639 0x201 0x209 0x221 0x229 0x231 0x239
    0x0C1 0x0C9 0x0E1 0x0E9 0x0F1 0x0F9 0x4C1 0x4C9 0x4E1 0x4E9 0x4F1 0x4F9
    0x6C1 0x6C9 0x6E1 0x6E9 0x6F1 0x6F9 0x1FA 0x1FC
};
const COMPARISONS: &[(u16, Execute, Execute)] = cases! {
    0x011 0x019 0x411 0x419 0x611 0x619 0x211 0x219 0x0D1 0x0D9 0x6D9 0x5E1 0x5E9 0x2E9
    0x3F1 0x7F1 0x3E9 0x7E9 0x1E4 0x1E5
};
const MOVES: &[(u16, Execute, Execute)] = cases! {
    0x101 0x501 0x701 0x301 0x729 0x329 0x1C1 0x1C9 0x5D1 0x5D9 0x1D9 0x1E0 0x1E1
    0x1E8 0x1E9 0x1EA 0x1EB 0x1EC 0x1ED 0x1EE
    0x2C1 0x2C9 0x2D1 0x2D9 0x3C1 0x3C9 0x3D1 0x3D9
    0x111 0x119 0x511 0x519 0x339 0x711 0x719 0x311 0x319 0x739 0x709 0x309 0x509 0x731
};
const PARTIAL: &[(u16, Execute, Execute)] = cases! { 0x1FD 0x1F4 0x1F8 0x1F5 };

/// Random units and operands.
pub(super) struct Units {
    random: Vectors,
    /// Where the exponents of this unit are.
    exponent: u64,
}

impl Units {
    pub(super) fn new() -> Units {
        Units { random: Vectors::new(), exponent: 0 }
    }
    fn pick(&mut self, count: u64) -> u64 {
        (self.random.word() >> 20) % count
    }
    fn digits(&mut self) -> u64 {
        let bits = self.random.word();
        match self.pick(8) {
            0 => 0,
            1 => u64::MAX,
            2 => 1 << (bits & 63),
            3 => !0 << (bits & 63),
            4 => bits & 3,
            5 => bits & !0 << 40 | self.pick(3) << 39,
            _ => bits,
        }
    }
    /// A register near `self.exponent`, or something special.
    fn register(&mut self) -> Fpr {
        let digits = self.digits();
        let near = self.exponent.wrapping_add(self.pick(4));
        let (exponent, integer) = match self.pick(16) {
            0 => (0, 0),
            1 => (0x7FFF, 1 << 63),
            2 => (0x7FFF, 1 << 63),
            3 => (0, 1 << 63),
            4 => return self.special(),
            5 => (self.random.word(), 1 << 63),
            6 => (self.exponent.wrapping_add(self.pick(200)), 1 << 63),
            7 => (0x3FFF + self.pick(70), 1 << 63),
            _ => (near, 1 << 63),
        };
        let digits = if integer != 0 { digits | integer } else { digits & !(1 << 63) };
        self.assembled(exponent, digits)
    }
    fn assembled(&mut self, exponent: u64, digits: u64) -> Fpr {
        let head = exponent & 0x7FFF | self.pick(2) << 15;
        Fpr((u128::from(head) << 64 | u128::from(digits)).to_le_bytes())
    }
    /// Zeros, infinities, and what is unsupported.
    fn special(&mut self) -> Fpr {
        let digits = self.digits() & !(1 << 63);
        match self.pick(4) {
            0 => self.assembled(0, 0),
            1 => self.assembled(0x7FFF, 1 << 63),
            2 => self.assembled(0x7FFF, digits),
            _ => {
                let exponent = self.random.word() | 1;
                self.assembled(exponent, digits)
            }
        }
    }
    fn memory(&mut self) -> [u8; 16] {
        let digits = self.digits();
        let single =
            self.pick(2) << 31 | (self.exponent & 0x7F | self.pick(4) << 6 & 0xFF) << 23 | digits >> 41;
        let double = self.pick(2) << 63 | (self.exponent & 0x7F) << 52 | digits >> 12;
        let low = match self.pick(6) {
            0 => digits,
            1 => single,
            2 => double,
            3 => 0x7FF << 52 | digits >> 12 | self.pick(2) << 63,
            4 => 0xFF << 23 | digits >> 41 | self.pick(2) << 31,
            _ => self.random.word(),
        };
        (u128::from(self.random.word()) << 64 | u128::from(low)).to_le_bytes()
    }
    pub(super) fn unit(&mut self) -> X87State {
        self.exponent = match self.pick(6) {
            0 => 0,
            1 => 0x7FFB,
            2 => 0x3F81 - self.pick(40),
            3 => 0x3C01 - self.pick(70),
            4 => 0x3FFF + [0, 15, 31, 63, 127, 1023][self.pick(6) as usize] - self.pick(3),
            _ => self.random.word() & 0x7FFF,
        };
        let mut x = X87State::INIT;
        x.regs = std::array::from_fn(|_| self.register());
        x.top = self.pick(8) as u8;
        x.empty = if self.pick(4) == 0 { self.random.word() as u8 } else { 0x80u8.rotate_left(x.top.into()) };
        let masks = match self.pick(3) {
            0 => self.random.word() as u16 & control::MASKS,
            1 => control::MASKS & !(1 << self.pick(6)),
            _ => control::MASKS,
        };
        let precision = [0, 0x200, 0x300][self.pick(3) as usize];
        x.set_control(masks | precision | (self.pick(4) as u16) << 10);
        // Nothing waits unless exceptions are ignored: then it goes on waiting.
        let flags = self.random.word() as u16 & (status::EXCEPTIONS | status::SF | status::CC);
        x.status = if self.pick(8) == 0 { flags } else { flags & (x.control | !status::EXCEPTIONS) };
        x.refresh_summary();
        x
    }
}

/// FCOMI, FUCOMI and FCMOVcc: the manual has them clear C1, which some processors leave.
fn leaves_c1(opcode: u16) -> bool {
    opcode & 0xC0 == 0xC0 && matches!(opcode >> 8, 2 | 3 | 7) && opcode != 0x2E9
}

fn check(cases: &[(u16, Execute, Execute)], count: usize) {
    let mut units = Units::new();
    let mut wrong = 0;
    for &(opcode, on_host, ours) in cases {
        let mut shown = 0;
        for _ in 0..count {
            let before = units.unit();
            let memory_before = units.memory();
            if PARTIAL.iter().any(|row| row.0 == opcode) && underflow_differs(&before) {
                continue;
            }
            let names_st0 = opcode & 0xC0 == 0xC0 && !(0x1E0..0x200).contains(&opcode);
            let fixed = matches!(opcode, 0x6D9 | 0x2E9) || !names_st0;
            let i = if fixed { 1 } else { units.pick(8) as u8 };
            let flags = ArithFlags(units.random.word() as u16 & ArithFlags::ALL);
            let (mut x, mut y, mut m, mut n) = (before, before, memory_before, memory_before);
            let expected = on_host(&mut x, i, flags, &mut m);
            let found = ours(&mut y, i, flags, &mut n);
            if leaves_c1(opcode) {
                x.status = x.status & !status::C1 | y.status & status::C1;
            }
            if (x, expected, m) != (y, found, n) && shown < 2 {
                let memory = |m: [u8; 16]| u128::from_le_bytes(m);
                eprintln!(
                    "{opcode:03x} st{i} {:04x} {:032x}\n before {}",
                    flags.0,
                    memory(memory_before),
                    show(&before)
                );
                eprintln!(" host   {} {:04x} {:032x}", show(&x), expected.0, memory(m));
                eprintln!(" ours   {} {:04x} {:032x}", show(&y), found.0, memory(n));
                shown += 1;
                wrong += 1;
            }
        }
    }
    assert_eq!(wrong, 0);
}

fn show(x: &X87State) -> String {
    let registers: Vec<String> = (0..8)
        .map(|i| {
            let bits = u128::from_le_bytes(x.st(i).0);
            format!("{}{:04x}:{:016x}", if x.is_empty(i) { "-" } else { "" }, bits >> 64, bits as u64)
        })
        .collect();
    format!("top {} control {:03x} status {:04x} {}", x.top, x.control, x.status, registers.join(" "))
}

#[test]
fn arithmetic_is_the_hosts() {
    check(ARITHMETIC, 6000);
}

#[test]
fn comparisons_are_the_hosts() {
    check(COMPARISONS, 6000);
}

#[test]
fn loads_stores_and_moves_are_the_hosts() {
    check(MOVES, 6000);
}

#[test]
fn scaling_and_remainders_are_the_hosts() {
    check(PARTIAL, 20000);
}

const FUNCTIONS: &[(u16, Execute, Execute)] = cases! { 0x1F0 0x1F1 0x1F2 0x1F3 0x1F9 0x1FB 0x1FE 0x1FF };

/// Whether Intel's processors may differ from AMD's, with which the engines agree: in when an operand or a result that is denormal
/// raises an underflow.
fn underflow_differs(before: &X87State) -> bool {
    const UNDERFLOW_MASK: u16 = 1 << 4;
    let st0 = before.regs[usize::from(before.top & 7)].0;
    let tiny = u16::from_le_bytes([st0[8], st0[9]]) & 0x7FFF <= 1;
    (tiny || before.control & UNDERFLOW_MASK == 0) && trimotor_test_needs::intel_host()
}

/// Gives `x` what differs in `y` by no more than one unit of the last place of a result.
fn within_one_ulp(x: &mut X87State, y: &X87State) {
    for (a, b) in x.regs.iter_mut().zip(y.regs) {
        let (found, wanted) = (u128::from_le_bytes(a.0), u128::from_le_bytes(b.0));
        // The next magnitude beyond the largest significand has the next exponent.
        let rank = |bits: u128| (bits >> 64 << 63) + (bits & (u128::MAX >> 65));
        if rank(found).abs_diff(rank(wanted)) <= 1 {
            *a = b;
        }
    }
}

#[test]
fn functions_are_the_hosts_within_one_ulp() {
    let mut units = Units::new();
    let mut wrong = 0;
    for &(opcode, on_host, ours) in FUNCTIONS {
        let mut shown = 0;
        for _ in 0..5000 {
            let before = units.unit();
            if underflow_differs(&before) {
                continue;
            }
            let (mut x, mut y) = (before, before);
            on_host(&mut x, 1, ArithFlags(0), &mut [0; 16]);
            ours(&mut y, 1, ArithFlags(0), &mut [0; 16]);
            let (host, found) = (show(&x), show(&y));
            within_one_ulp(&mut x, &y);
            x.status = x.status & !status::C1 | y.status & status::C1;
            if x != y && shown < 2 {
                eprintln!("{opcode:03x}\n before {}\n host   {host}\n ours   {found}", show(&before));
                shown += 1;
                wrong += 1;
            }
        }
    }
    assert_eq!(wrong, 0);
}
