//! The shuffles by immediate and mask against the host's instructions.

use super::super::host::Vectors;
use super::*;

/// The host's instruction with an immediate, `a` being source and destination.
macro_rules! host {
    ($name:literal, $a:expr, $b:expr, $immediate:literal) => {{
        let mut r = $a.0;
        // SAFETY: reads and writes vector registers only.
        unsafe { std::arch::asm!(concat!($name, " {0}, {1}, ", $immediate), inout(xmm_reg) r, in(xmm_reg) $b.0) };
        V128(r)
    }};
    ($name:literal, $a:expr, $immediate:literal) => {{
        let mut r = $a.0;
        // SAFETY: reads and writes vector registers only.
        unsafe { std::arch::asm!(concat!($name, " {0}, ", $immediate), inout(xmm_reg) r) };
        V128(r)
    }};
}

macro_rules! check_immediates {
    ($vectors:ident: $($immediate:literal)+) => {$(
        let (a, b) = ($vectors.vector(), $vectors.vector());
        assert_eq!(pshufd(b, $immediate), host!("pshufd", a, b, $immediate));
        assert_eq!(pshuflw(b, $immediate), host!("pshuflw", a, b, $immediate));
        assert_eq!(pshufhw(b, $immediate), host!("pshufhw", a, b, $immediate));
        assert_eq!(shufps(a, b, $immediate), host!("shufps", a, b, $immediate));
        assert_eq!(shufpd(a, b, $immediate), host!("shufpd", a, b, $immediate));
        assert_eq!(palignr(a, b, $immediate), host!("palignr", a, b, $immediate));
        assert_eq!(pblendw(a, b, $immediate), host!("pblendw", a, b, $immediate));
        assert_eq!(blendps(a, b, $immediate), host!("blendps", a, b, $immediate));
        assert_eq!(blendpd(a, b, $immediate), host!("blendpd", a, b, $immediate));
        assert_eq!(psrldq(a, $immediate), host!("psrldq", a, $immediate));
        assert_eq!(pslldq(a, $immediate), host!("pslldq", a, $immediate));
        let lane = extract::<u32, 4>(b, $immediate >> 6);
        assert_eq!(insertps(a, lane, $immediate), host!("insertps", a, b, $immediate));
    )+};
}

#[test]
fn shuffles_by_immediate_are_the_hosts() {
    let mut vectors = Vectors::new();
    for _ in 0..50 {
        check_immediates!(vectors: 0 1 2 3 4 5 7 8 9 11 13 14 15 16 17 18 20 23 27 30 31 32 33 39 0x1B 0x4E
            0x55 0x5A 0x63 0x72 0x88 0x93 0x9C 0xA5 0xB1 0xC6 0xD8 0xE1 0xE4 0xF0 0xFE 0xFF);
    }
}

#[test]
fn variable_blends_are_the_hosts() {
    macro_rules! host {
        ($name:literal, $a:expr, $b:expr, $mask:expr) => {{
            let mut r = $a.0;
            // SAFETY: reads and writes vector registers only.
            unsafe {
                std::arch::asm!(concat!($name, " {0}, {1}, xmm0"), inout(xmm_reg) r, in(xmm_reg) $b.0,
                    in("xmm0") $mask.0)
            };
            V128(r)
        }};
    }
    let mut vectors = Vectors::new();
    for _ in 0..1000 {
        let (a, b, mask) = (vectors.vector(), vectors.vector(), vectors.vector());
        assert_eq!(pblendvb(a, b, mask), host!("pblendvb", a, b, mask));
        assert_eq!(blendvps(a, b, mask), host!("blendvps", a, b, mask));
        assert_eq!(blendvpd(a, b, mask), host!("blendvpd", a, b, mask));
    }
}

#[test]
fn lanes_are_inserted_and_extracted_modulo_their_number() {
    let a = V128::from_lanes(std::array::from_fn::<u8, 16, _>(|i| i as u8));
    assert_eq!(extract::<u8, 16>(a, 0x13), 3);
    assert_eq!(extract::<u16, 8>(a, 0xFF), 0x0F0E);
    assert_eq!(extract::<u64, 2>(insert::<u64, 2>(a, 3, 42), 1), 42);
    assert_eq!(insert::<u64, 2>(a, 3, 42).low(), a.low());
}

#[test]
fn permutations_cross_the_halves() {
    let v = |from: u32| V128::from_lanes([from, from + 1, from + 2, from + 3]);
    let a = [v(0), v(4)];
    let order = [V128::from_lanes([7u32, 6, 5, 12]), V128::from_lanes([3u32, 2, 9, 0])];
    let expected = [V128::from_lanes([7u32, 6, 5, 4]), V128::from_lanes([3u32, 2, 1, 0])];
    assert_eq!(vpermd(order, a), expected);
    assert_eq!(vpermq(a, 0x1B), [V128::from_lanes([6u32, 7, 4, 5]), V128::from_lanes([2u32, 3, 0, 1])]);
    let b = [v(8), v(12)];
    assert_eq!(vperm2f128(a, b, 0x31), [v(4), v(12)]);
    assert_eq!(vperm2f128(a, b, 0x82), [v(8), V128::ZERO]);
    let n = V128::from_lanes([2u64, 1]);
    assert_eq!(permilpd(a[0], n), V128::from_lanes([2u32, 3, 0, 1]));
    assert_eq!(
        permilps(a[1], V128::from_lanes([3u32, 6, 1, 0xFFFF_FFFC])),
        V128::from_lanes([7u32, 6, 5, 4])
    );
}
