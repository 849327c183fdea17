//! String comparisons against the host's.

#![allow(unsafe_code, reason = "the host's own instructions")]

use super::super::host::Vectors;
use super::*;

/// Mask, index and RFLAGS of the host's four instructions.
macro_rules! check {
    ($vectors:ident: $($control:literal)+) => {$(
        let (a, b) = similar(&mut $vectors);
        let control = StringControl($control);
        let (index, flags): (u32, u64);
        let mask;
        // SAFETY: reads and writes registers and the flags; the stack is declared as used.
        unsafe {
            std::arch::asm!(concat!("pcmpistri {0}, {1}, ", $control), "pushfq", "pop {2}",
                in(xmm_reg) a.0, in(xmm_reg) b.0, out(reg) flags, out("ecx") index);
            std::arch::asm!(concat!("pcmpistrm {0}, {1}, ", $control),
                in(xmm_reg) a.0, in(xmm_reg) b.0, out("xmm0") mask);
        }
        let found = compare_strings(a, control.implicit_length(a), b, control.implicit_length(b), control);
        assert_eq!((found.index(), found.mask()), (index, V128(mask)), "{a:?} {b:?} {:#x}", $control);
        assert_eq!(flags_of(found), flags & 0x8D5);

        let lengths = [$vectors.word() as i32 % 20, $vectors.word() as i32 % 20];
        let (index, flags): (u32, u64);
        // SAFETY: as above.
        unsafe {
            std::arch::asm!(concat!("pcmpestri {0}, {1}, ", $control), "pushfq", "pop {2}",
                in(xmm_reg) a.0, in(xmm_reg) b.0, out(reg) flags, in("eax") lengths[0], in("edx") lengths[1],
                out("ecx") index);
        }
        let [la, lb] = lengths.map(|l| control.explicit_length(l as i64));
        let found = compare_strings(a, la, b, lb, control);
        assert_eq!(found.index(), index, "{a:?} {la} {b:?} {lb} {:#x}", $control);
        assert_eq!(flags_of(found), flags & 0x8D5);
    )+};
}

fn flags_of(found: StringMatch) -> u64 {
    let bit = |set: bool, at: u32| (set as u64) << at;
    bit(found.bits != 0, 0)
        | bit(found.second_ends, 6)
        | bit(found.first_ends, 7)
        | bit(found.bits & 1 != 0, 11)
}

/// Vectors of few distinct bytes, so that there is something to find.
fn similar(vectors: &mut Vectors) -> (V128, V128) {
    let few = |v: V128, mask: u8| V128::from_lanes(v.lanes::<[u8; 16]>().map(|byte| byte & mask));
    let mask = [0x01, 0x03, 0x81, 0xFF, 0x07][(vectors.word() % 5) as usize];
    let (a, b) = (few(vectors.vector(), mask), few(vectors.vector(), mask));
    if vectors.word() & 7 == 0 { (a, a) } else { (a, b) }
}

#[test]
fn the_portable_body_finds_what_the_host_finds() {
    let mut vectors = Vectors::new();
    for control in (0..=0xFF).map(StringControl) {
        let n = control.elements();
        for round in 0..200 {
            let (a, b) = similar(&mut vectors);
            let length = |word: u64| if round % 4 == 0 { n } else { (word % (n as u64 + 1)) as u32 };
            let (la, lb) = (length(vectors.word()), length(vectors.word()));
            let expected = host::matches(a, la, b, lb, control);
            assert_eq!(
                portable_matches(a, la, b, lb, control),
                expected,
                "{a:?} {la} {b:?} {lb} {control:?}"
            );
        }
        for round in 0..20u32 {
            let (v, _) = similar(&mut vectors);
            let elements = control.elements_of(v);
            let first_null = (0..n).find(|&i| elements[i as usize] == 0).unwrap_or(n);
            assert_eq!(control.implicit_length(v), first_null, "{v:?} {control:?} {round}");
        }
    }
}

#[test]
fn string_comparisons_are_the_hosts() {
    let mut vectors = Vectors::new();
    for _ in 0..400 {
        check!(vectors: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 0x10 0x11 0x14 0x17 0x18 0x19 0x1C 0x1D
            0x30 0x31 0x34 0x37 0x38 0x39 0x3C 0x3D 0x40 0x41 0x44 0x47 0x48 0x49 0x4C 0x4D 0x58 0x5D 0x70
            0x72 0x74 0x78 0x79 0x7A 0x7C 0x7F);
    }
}
