//! Operations as instructions use them.

use super::kernels::*;
use super::operations::*;
use super::*;
use crate::flags::ArithFlags;

const ONE: u64 = 0x3FF0_0000_0000_0000;
const THREE: u64 = 0x4008_0000_0000_0000;

fn m64(bits: u64) -> Memory {
    let mut m = [0; 16];
    m[..8].copy_from_slice(&bits.to_le_bytes());
    m
}
fn loaded(values: &[u64]) -> X87State {
    let mut x = X87State::INIT;
    for &v in values {
        x.load::<LoadM64, 0x501>(&mut m64(v));
    }
    x
}
fn stored(x: &mut X87State) -> u64 {
    let mut m = [0; 16];
    match x.store::<StoreM64, 0x519>(&mut m) {
        Stored::Fast(status) => x.status = status,
        Stored::Whole(after, _) => *x = *after,
    }
    u64::from_le_bytes(std::array::from_fn(|i| m[i]))
}

#[test]
fn a_third_rounds_as_the_control_word_asks() {
    for (control, expected) in [
        (0x37F, 0x3FFD_AAAA_AAAA_AAAA_AAAB_u128),
        (0x77F, 0x3FFD_AAAA_AAAA_AAAA_AAAA),
        (0xB7F, 0x3FFD_AAAA_AAAA_AAAA_AAAB),
        (0x27F, 0x3FFD_AAAA_AAAA_AAAA_A800),
        (0x07F, 0x3FFD_AAAA_AB00_0000_0000),
    ] {
        let mut x = loaded(&[THREE, ONE]);
        x.set_control(control);
        x.arithmetic_st0::<Fdiv, 0x0F1>(1);
        assert_eq!(u128::from_le_bytes(x.st(0).0), expected, "control {control:#x}");
        let up = expected & 0xF != 0xA && control != 0x27F;
        assert_eq!(x.status & status::PE, status::PE);
        assert_eq!(x.status & status::C1 != 0, up, "control {control:#x}");
    }
}

#[test]
fn a_masked_stack_fault_gives_the_indefinite() {
    let mut x = loaded(&[ONE]);
    x.arithmetic_sti::<Fadd, 0x6C1, true>(1);
    assert_eq!(x.status & 0xFF, status::IE | status::SF);
    assert_eq!(x.status & status::C1, 0);
    assert_eq!((x.top, x.empty), (0, 0xFE));
    assert_eq!(*x.st(0), INDEFINITE);
    for _ in 0..8 {
        x.load_m80::<0x329>(&[1; 10]);
    }
    assert_eq!(x.status & status::C1, status::C1, "overflow");
    assert_eq!(*x.st(0), INDEFINITE);
}

#[test]
fn an_unmasked_zero_divide_waits_and_leaves_the_operands() {
    let mut x = loaded(&[0, ONE]);
    x.set_control(0x37B);
    x.arithmetic_st0::<Fdiv, 0x0F1>(1);
    assert!(x.pending());
    assert_eq!(x.status & status::B, status::B);
    assert_eq!(stored_after_clear(x), ONE);
}

fn stored_after_clear(mut x: X87State) -> u64 {
    x.clear_exceptions();
    stored(&mut x)
}

#[test]
fn an_unmasked_invalid_store_is_suppressed() {
    let mut x = loaded(&[0x4400_0000_0000_0000]);
    x.set_control(0x37E);
    let mut m = [0; 16];
    let Stored::Whole(after, stored) = x.store::<StoreI32, 0x319>(&mut m) else { panic!("slow") };
    assert!(!stored && after.pending());
    assert_eq!(after.top, x.top);
}

#[test]
fn flags_that_were_cleared_come_back_only_when_raised_again() {
    let mut x = loaded(&[THREE, ONE]);
    x.arithmetic_st0::<Fdiv, 0x0F1>(1);
    assert_eq!(x.status & status::EXCEPTIONS, status::PE);
    x.clear_exceptions();
    let mut y = loaded(&[ONE, ONE]);
    y.arithmetic_st0::<Fadd, 0x0C1>(1);
    assert_eq!(y.status & status::EXCEPTIONS, 0, "the host's stale flag does not show");
}

#[test]
fn operands_far_down_the_stack_are_found_either_way() {
    for control in [0x37F, 0x37E] {
        let mut x = loaded(&[THREE, ONE, ONE, ONE, ONE, ONE, ONE, ONE]);
        x.set_control(control);
        x.arithmetic_sti::<Fadd, 0x6C1, true>(7);
        assert_eq!((x.top, x.empty), (1, 1));
        x.top = 7;
        x.empty = 0;
        let four = x.regs[7];
        assert_eq!(u128::from_le_bytes(four.0), 0x4001_8000_0000_0000_0000, "control {control:#x}");
    }
}

#[test]
fn compares_set_condition_codes_or_flags() {
    let mut x = loaded(&[THREE, ONE]);
    x.compare_st::<Fcom, 0x0D1, 0>(1);
    assert_eq!(x.status & status::CC, status::C0);
    for control in [0x37F, 0x37E] {
        x.set_control(control);
        let flags = x.compare_flags::<0x3F1, false, false>(1, ArithFlags(0));
        assert_eq!(flags.0, ArithFlags::CF);
    }
}

#[test]
fn constants_are_those_of_the_host() {
    for modes in 0..16 {
        let word = modes << 8 | 0x7F;
        for n in 0..7 {
            let mut x = X87State::INIT;
            x.set_control(word);
            match n {
                0 => x.whole::<0x1E8>(1),
                1 => x.whole::<0x1E9>(1),
                2 => x.whole::<0x1EA>(1),
                3 => x.whole::<0x1EB>(1),
                4 => x.whole::<0x1EC>(1),
                5 => x.whole::<0x1ED>(1),
                _ => x.whole::<0x1EE>(1),
            }
            assert_eq!(*x.st(0), constant(n, word), "constant {n}, control {word:#x}");
        }
    }
}

#[test]
fn mmx_registers_are_the_significands() {
    let mut x = X87State { top: 3, ..X87State::INIT };
    x.enter_mmx();
    x.set_mmx(2, 0x1234);
    assert_eq!(x.mmx(2), 0x1234);
    assert_eq!((x.top, x.empty, x.regs[2].0[9]), (0, 0, 0xFF));
    x.leave_mmx();
    assert_eq!(x.tag_word(), 0xFFFF);
}

#[test]
fn circular_functions_refuse_what_is_too_large() {
    const TWO_TO_63: u64 = 0x43E0_0000_0000_0000;
    let mut x = loaded(&[TWO_TO_63]);
    x.unary::<Fsin, 0x1FE, { status::C1 | status::C2 }>();
    assert_eq!(x.status & (status::C2 | status::PE), status::C2);
    assert_eq!(stored(&mut x), TWO_TO_63);
    let mut x = loaded(&[0]);
    x.unary::<Fcos, 0x1FF, { status::C1 | status::C2 }>();
    assert_eq!((x.status & status::C2, stored(&mut x)), (0, ONE));
}

#[test]
fn the_tangent_has_one_above_it() {
    let mut x = loaded(&[0]);
    x.whole::<0x1F2>(1);
    assert_eq!((x.top, stored(&mut x)), (6, ONE));
    x.drop_top();
    assert_eq!(stored(&mut x), 0);
}

#[test]
fn an_angle_of_a_diagonal_is_a_quarter_of_pi() {
    let mut x = loaded(&[ONE, ONE]);
    x.binary_pop::<Fpatan, 0x1F3>();
    assert_eq!(u128::from_le_bytes(x.st(0).0), 0x3FFE_C90F_DAA2_2168_C235);
    let mut x = loaded(&[ONE, 0x4020_0000_0000_0000]);
    x.binary_pop::<Fyl2x, 0x1F1>();
    assert_eq!((x.top, stored(&mut x)), (7, THREE));
}

#[test]
fn decimals_go_to_memory_and_back() {
    let mut m = [0x56, 0x34, 0x12, 0, 0, 0, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0];
    let mut x = X87State::INIT;
    x.load::<LoadBcd, 0x721>(&mut m);
    assert_eq!(stored(&mut x), (-123_456f64).to_bits());
    let mut back = [0; 16];
    assert!(!matches!(x.store::<StoreBcd, 0x731>(&mut back), Stored::Whole(_, false)));
    assert_eq!(back[..10], m[..10]);
}
