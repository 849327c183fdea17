use super::*;

fn flags(names: &str) -> u16 {
    let bit = |c| match c {
        'c' => ArithFlags::CF,
        'p' => ArithFlags::PF,
        'a' => ArithFlags::AF,
        'z' => ArithFlags::ZF,
        's' => ArithFlags::SF,
        _ => ArithFlags::OF,
    };
    names.chars().map(bit).sum::<u16>()
}

#[test]
fn results_and_flags_are_those_of_the_manual() {
    assert_eq!(0xFFu8.add(1), (0, ArithFlags(flags("cpaz"))));
    assert_eq!(0x7Fu8.add(1), (0x80, ArithFlags(flags("aso"))));
    assert_eq!(0u32.sub(1), (u32::MAX, ArithFlags(flags("cpas"))));
    assert_eq!(0x8000u16.neg(), (0x8000, ArithFlags(flags("cpso"))));
    let carry = ArithFlags(ArithFlags::CF);
    assert_eq!(0xFFFF_FFFF_FFFF_FFFFu64.adc(0, carry), (0, ArithFlags(flags("cpaz"))));
    assert_eq!(5u8.sbb(5, carry), (0xFF, ArithFlags(flags("cpas"))));
    assert_eq!(0x7Fu8.inc(carry).1, ArithFlags(flags("caso")));
    assert_eq!(1u8.dec(ArithFlags(0)).1, ArithFlags(flags("pz")));
    assert_eq!(0x81u8.rol(1, ArithFlags(flags("zs"))), (3, ArithFlags(flags("czso"))));
    assert_eq!(0x80u8.rcl(1, carry).0, 1);
    assert_eq!(7u32.shl(32, carry), (7, carry));
    assert_eq!(0u16.bsf(0x1234, carry), (0x1234, ArithFlags(flags("cz"))));
    // Whatever the host's flags were before: those that the manual leaves undefined are the guest's.
    for before in ["", "cpazso"] {
        let after = before.replace('z', "");
        assert_eq!(0x10u64.bsr(0, ArithFlags(flags(before))), (4, ArithFlags(flags(&after))));
    }
    assert_eq!(0xFFFFu16.imul(3), (0xFFFD, ArithFlags(0)));
    assert_eq!(0x4000u16.imul(4), (0, ArithFlags(flags("co"))));
    assert_eq!(0x8000u16.shld(0x8000, 1, ArithFlags(0)).0, 1);
}

#[cfg(all(target_arch = "x86_64", not(feature = "portable")))]
mod against_the_host {
    use super::super::portable::{self, Word};
    use super::super::{Alu, WideAlu};
    use crate::flags::ArithFlags;
    use std::fmt::Debug;

    /// Numbers that look random, the same in each run.
    struct Numbers(u64);
    impl Numbers {
        fn next(&mut self) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0
        }
        /// Values near the ends of the ranges are as likely as others.
        fn operand(&mut self) -> u64 {
            let value = self.next();
            match value & 7 {
                0 => [0, 1, u64::MAX][(value >> 8) as usize % 3],
                1 => 1u64.rotate_left((value >> 8) as u32).wrapping_sub(value >> 20 & 1),
                _ => self.next(),
            }
        }
    }

    fn compare<T: Word + Alu + Debug>(numbers: &mut Numbers) {
        let (a, b) = (T::low(numbers.operand()), T::low(numbers.operand()));
        let f = ArithFlags(numbers.next() as u16 & ArithFlags::ALL);
        let count = numbers.next() as u8;
        let check = |name: &str, host: (T, ArithFlags), portable: (T, ArithFlags), undefined: u16| {
            let cut = |(result, flags): (T, ArithFlags)| (result, flags.0 & !undefined);
            assert_eq!(cut(host), cut(portable), "{name} {a:x?}, {b:x?}, {count}, {f:?}");
        };
        check("ADD", a.add(b), portable::add(a, b, 0), 0);
        check("ADC", a.adc(b, f), portable::add(a, b, f.carry()), 0);
        check("SUB", a.sub(b), portable::sub(a, b, 0), 0);
        check("SBB", a.sbb(b, f), portable::sub(a, b, f.carry()), 0);
        check("AND", a.and(b), portable::logical(a.wide() & b.wide()), 0);
        check("OR", a.or(b), portable::logical(a.wide() | b.wide()), 0);
        check("XOR", a.xor(b), portable::logical(a.wide() ^ b.wide()), 0);
        check("INC", a.inc(f), portable::inc(a, f), 0);
        check("DEC", a.dec(f), portable::dec(a, f), 0);
        check("NEG", a.neg(), portable::sub(T::low(0), a, 0), 0);
        let size = T::BITS as u8;
        let masked = count & if size == 64 { 63 } else { 31 };
        let far = if masked > 1 { ArithFlags::OF } else { 0 };
        // The carry of a shift by more than the size is undefined.
        let farther = if masked > size { ArithFlags::CF } else { 0 } | far;
        // AF is undefined: 1 on AMD's processors, 0 on Intel's.
        let adjust = if trimotor_test_needs::intel_host() { ArithFlags::AF } else { 0 };
        let (far, farther) = (far | adjust, farther | adjust);
        let shift = if masked == 0 { 0 } else { farther };
        check("SHL", a.shl(count, f), portable::shl(a, count, f), shift);
        check("SHR", a.shr(count, f), portable::shr(a, count, f), shift);
        check("SAR", a.sar(count, f), portable::sar(a, count, f), if masked == 0 { 0 } else { far });
        check("ROL", a.rol(count, f), portable::rol(a, count, f), 0);
        check("ROR", a.ror(count, f), portable::ror(a, count, f), 0);
        check("RCL", a.rcl(count, f), portable::rcl(a, count, f), 0);
        check("RCR", a.rcr(count, f), portable::rcr(a, count, f), 0);
    }

    fn compare_wide<T: Word + WideAlu + Debug>(numbers: &mut Numbers) {
        compare::<T>(numbers);
        let (a, b) = (T::low(numbers.operand()), T::low(numbers.operand()));
        let f = ArithFlags(numbers.next() as u16 & ArithFlags::ALL);
        let count = numbers.next() as u8;
        assert_eq!(a.imul(b), portable::imul(a, b), "IMUL {a:x?}, {b:x?}");
        assert_eq!(a.bsf(b, f), portable::scan(a, u64::trailing_zeros, b, f), "BSF {a:x?}");
        assert_eq!(a.bsr(b, f), portable::scan(a, u64::ilog2, b, f), "BSR {a:x?}");
        let masked = u32::from(count) & if T::BITS == 64 { 63 } else { 31 };
        if masked > T::BITS {
            return;
        }
        let undefined = match masked {
            0 => 0,
            1 => 0,
            _ => ArithFlags::OF,
        };
        let adjust = masked != 0 && trimotor_test_needs::intel_host();
        let undefined = undefined | if adjust { ArithFlags::AF } else { 0 };
        let cut = |(result, flags): (T, ArithFlags)| (result, flags.0 & !undefined);
        let what = format!("{a:x?}, {b:x?}, {count}, {f:?}");
        assert_eq!(cut(a.shld(b, count, f)), cut(portable::shld(a, b, count, f)), "SHLD {what}");
        assert_eq!(cut(a.shrd(b, count, f)), cut(portable::shrd(a, b, count, f)), "SHRD {what}");
    }

    #[test]
    fn portable_operations_are_the_hosts() {
        let mut numbers = Numbers(0x0123_4567_89AB_CDEF);
        for _ in 0..200_000 {
            compare::<u8>(&mut numbers);
            compare_wide::<u16>(&mut numbers);
            compare_wide::<u32>(&mut numbers);
            compare_wide::<u64>(&mut numbers);
        }
    }
}
