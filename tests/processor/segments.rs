//! ARPL, and segments that become null.

use crate::rig::*;
use trimotor_cpu::Segment;
use trimotor_test_support::bare::leaf_entry;
use trimotor_test_support::engines::usable as engines;

/// ARPL stores only where it raises the RPL: a page or a segment that cannot be written stops nothing else.
#[test]
fn arpl_that_changes_nothing_stores_nothing() {
    // ARPL [EBX], AX.
    const ARPL: [u8; 3] = [0x63, 0x03, 0xF4];
    for engine in engines() {
        for (dest, source, raised) in [(0x13u16, 2u64, None), (0x12, 2, None), (0x10, 3, Some(0x13u16))] {
            // A segment that is read only.
            let mut r = Rig::protected(engine);
            r.m.write(DATA, &dest.to_le_bytes());
            r.change(|s| {
                s.segments[3].attributes = 0xC091;
                (s.gpr[0], s.gpr[3], s.rflags) = (source, DATA, 0x42);
            });
            let end = r.run(&ARPL);
            let expected = if raised.is_some() { End::Vector(13) } else { End::Halt(CODE + 3) };
            assert_eq!(end, expected, "{engine} {dest:#x}");
            // One that can be written.
            let mut r = Rig::protected(engine);
            r.m.write(DATA, &dest.to_le_bytes());
            r.change(|s| (s.gpr[0], s.gpr[3]) = (source, DATA));
            assert_eq!(r.run(&ARPL), End::Halt(CODE + 3), "{engine} {dest:#x}");
            assert_eq!(r.read(DATA) as u16, raised.unwrap_or(dest), "{engine} {dest:#x}");
            assert_eq!(r.state().rflags & 0x40 != 0, raised.is_some(), "{engine} {dest:#x}");
            // A page that is read only, from compatibility mode (64-bit mode has no ARPL).
            let mut r = Rig::long(engine);
            r.u64s(leaf_entry(DATA), &[DATA | 5]);
            r.m.write(DATA, &dest.to_le_bytes());
            r.change(|s| {
                s.segments[1].attributes = 0xC09B;
                (s.gpr[0], s.gpr[3]) = (source, DATA);
            });
            let expected = if raised.is_some() { End::Vector(14) } else { End::Halt(CODE + 3) };
            assert_eq!(r.run(&ARPL), expected, "{engine} {dest:#x}");
        }
    }
}

const BASE: u64 = 0x7FFF_1234_5000;

/// A return to ring 3 takes ring 0's segments away, but not the bases of FS and GS.
#[test]
fn a_return_outwards_keeps_bases() {
    // IRETQ and RETFQ to the HLT of CODE + 16, which faults there: a handler sees what the return left.
    for (code, frame) in [
        (&[0x48, 0xCF][..], [CODE + 16, CS3.into(), 2, STACK, DS3.into()]),
        (&[0x48, 0xCB], [CODE + 16, CS3.into(), STACK, DS3.into(), 0]),
    ] {
        for engine in engines() {
            let mut r = Rig::long(engine);
            r.u64s(STACK - 40, &frame);
            r.m.write(CODE + 16, &[0xF4]);
            r.change(|s| {
                s.gpr[4] = STACK - 40;
                for n in [0, 3, 4, 5] {
                    s.segments[n] =
                        Segment { base: BASE, limit: u32::MAX, attributes: 0xC093, selector: DS0 };
                }
                // A segment of ring 3 stays.
                s.segments[5] =
                    Segment { base: BASE + 8, limit: u32::MAX, attributes: 0xC0F3, selector: DS3 };
            });
            assert_eq!(r.run(code), End::Vector(13), "{engine}");
            assert_eq!((r.stack(1), r.stack(2)), (CODE + 16, CS3.into()), "{engine}");
            let s = r.state();
            let [es, ds, fs, gs] = [0, 3, 4, 5].map(|n| (s.segments[n].selector, s.segments[n].present()));
            assert_eq!([es, ds, fs, gs], [(0, false), (0, false), (0, false), (DS3, true)], "{engine}");
            assert_eq!((s.segments[4].base, s.segments[5].base), (BASE, BASE + 8), "{engine}");
        }
    }
}

/// The base is in use after such a return: a program reads through FS.
#[test]
fn a_program_uses_the_base_that_was_kept() {
    for engine in engines() {
        let mut r = Rig::long(engine);
        r.u64s(STACK - 40, &[CODE + 16, CS3.into(), 2, STACK, DS3.into()]);
        // MOV AL, FS:[8]; HLT.
        r.m.write(CODE + 16, &[0x64, 0x8A, 0x04, 0x25, 8, 0, 0, 0, 0xF4]);
        r.m.write(DATA + 8, &[0x5A]);
        r.change(|s| {
            s.gpr[4] = STACK - 40;
            s.segments[4] = Segment { base: DATA, limit: u32::MAX, attributes: 0xC093, selector: DS0 };
        });
        assert_eq!(r.run(&[0x48, 0xCF]), End::Vector(13), "{engine}");
        assert_eq!(r.state().gpr[0] & 0xFF, 0x5A, "{engine}");
    }
}

/// Loading a null selector clears the base, as Intel's processors do.
#[test]
fn loading_null_clears_the_base() {
    // MOV FS, EAX; PUSH 0, POP FS; LFS EAX, [RBX].
    for code in [&[0x8E, 0xE0][..], &[0x6A, 0, 0x0F, 0xA1], &[0x0F, 0xB4, 0x03]] {
        for engine in engines() {
            let mut r = Rig::long(engine);
            r.change(|s| (s.segments[4].base, s.gpr[0], s.gpr[3]) = (BASE, 0, DATA));
            let end = r.run(&[code, &[0xF4]].concat());
            assert_eq!(end, End::Halt(CODE + code.len() as u64 + 1), "{engine}");
            assert_eq!(r.state().segments[4], Segment::null(0), "{engine}");
        }
    }
}
