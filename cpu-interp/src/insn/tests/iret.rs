//! IRET.

use super::rig::*;

const FLAGS_ALL: u32 = 0x003F_7FD7;

/// Puts doublewords on the stack and runs IRETD at CPL 0 (or `cpl`).
fn iretd(r: &mut Rig, frame: &[u32]) -> End {
    let sp = STACK - frame.len() as u64 * 4;
    for (i, value) in frame.iter().enumerate() {
        r.write(sp + i as u64 * 4, &value.to_le_bytes());
    }
    r.change(|s| s.gpr[4] = sp);
    r.run_bytes(&[0xCF])
}

const SPIN: u64 = 0x1_8000;

fn protected() -> Rig {
    let r = Rig::protected();
    r.write(SPIN, &[0xEB, 0xFE]);
    r
}

#[test]
fn flags_follow_privilege() {
    // CPL, IOPL before; which of IF and IOPL change.
    for (cpl, iopl, if_changes, iopl_changes) in
        [(0, 0, true, true), (3, 0, false, false), (3, 3, true, false)]
    {
        let mut r = protected();
        let (cs, old) = if cpl == 3 { (CS3, iopl << 12 | 2) } else { (CS0, iopl << 12 | 2) };
        if cpl == 3 {
            r.ring3();
        }
        r.change(|s| s.rflags = old);
        let image = FLAGS_ALL & !0x2_4100; // without VM, NT and TF
        assert_eq!(iretd(&mut r, &[SPIN as u32, cs as u32, image]), End::Running);
        let flags = r.state().rflags;
        assert_eq!(flags & 0x200 != 0, if_changes, "CPL {cpl}, IOPL {iopl}: {flags:#x}");
        assert_eq!(flags >> 12 & 3, if iopl_changes { 3 } else { iopl }, "CPL {cpl}: {flags:#x}");
        assert_eq!(flags & 0x18_0000 != 0, cpl == 0, "VIF and VIP, CPL {cpl}: {flags:#x}");
        assert_eq!(flags & 0x24_0CD5, 0x24_0CD5);
    }
}

#[test]
fn outward_with_a_new_stack() {
    let mut r = protected();
    let end = iretd(&mut r, &[SPIN as u32, CS3 as u32, 0x202, 0x2_4000, DS3 as u32]);
    assert_eq!(end, End::Running);
    let s = r.state();
    assert_eq!((s.cpl, s.gpr[4], s.segments[2].selector, s.rflags), (3, 0x2_4000, DS3, 0x202));
    assert_eq!(s.segments[3].selector, 0);
}

#[test]
fn what_is_popped_is_checked() {
    let table: &[(&[u32], u8, u64)] = &[
        (&[0, 0, 2], 13, 0),
        (&[0, DS0 as u32, 2], 13, DS0 as u64),
        (&[0, CS0 as u32 | 1, 2, 0, 0], 13, CS0 as u64),
        (&[0, CS3 as u32, 2, 0, DS0 as u32], 13, DS0 as u64),
        (&[0, CS3 as u32, 2, 0, 0], 13, 0),
        (&[0, FREE as u32, 2], 11, FREE as u64),
        (&[0x2000, FREE as u32 + 8, 2], 13, 0),
        (&[0, CS3 as u32, 2, 0, FREE as u32 + 16 + 3], 12, FREE as u64 + 16),
    ];
    for &(frame, vector, code) in table {
        let mut r = protected();
        r.gdt(FREE, flat(0xC01B));
        r.gdt(FREE + 8, descriptor(0, 0xFFF, 0x409B));
        r.gdt(FREE + 16, flat(0xC073));
        assert_eq!(iretd(&mut r, frame), End::Vector(vector), "{frame:x?}");
        assert_eq!((r.stack(0), r.stack(1)), (code, CODE), "{frame:x?}");
    }
}

#[test]
fn real_mode_forms() {
    let mut r = Rig::real();
    for (i, w) in [5u16, 0x1000, 0x7FD7].iter().enumerate() {
        r.write(0x7000 - 6 + i as u64 * 2, &w.to_le_bytes());
    }
    r.write(CODE + 5, &[0xF4]);
    r.change(|s| s.gpr[4] = 0x7000 - 6);
    // TF is in the image: the HLT is followed by a single step, so clear it here.
    r.write(0x7000 - 2, &0x7ED7u16.to_le_bytes());
    assert_eq!(r.run_bytes(&[0xCF]), End::Halt(6));
    assert_eq!(r.state().rflags, 0x7ED7);
    assert_eq!(r.state().gpr[4], 0x7000);
}

#[test]
fn long_mode_always_pops_the_stack() {
    let mut r = Rig::long();
    let frame = [CODE + 0x100, CS0 as u64, 2, 0x2_4000, 0];
    for (i, q) in frame.iter().enumerate() {
        r.write(STACK - 40 + i as u64 * 8, &q.to_le_bytes());
    }
    r.write(CODE + 0x100, &[0xF4]);
    r.change(|s| s.gpr[4] = STACK - 40);
    assert_eq!(r.run_bytes(&[0x48, 0xCF]), End::Halt(CODE + 0x101));
    assert_eq!((r.state().gpr[4], r.state().segments[2].selector), (0x2_4000, 0));
    // A null SS for ring 3, a target that is not canonical, and NT.
    for (frame, nt) in [
        ([CODE, CS3 as u64, 2, 0x2_4000, 3], false),
        ([1 << 63, CS0 as u64, 2, 0x2_4000, DS0 as u64], false),
        ([CODE, CS0 as u64, 2, 0x2_4000, DS0 as u64], true),
    ] {
        let mut r = Rig::long();
        for (i, q) in frame.iter().enumerate() {
            r.write(STACK - 40 + i as u64 * 8, &q.to_le_bytes());
        }
        r.change(|s| {
            s.gpr[4] = STACK - 40;
            s.rflags |= (nt as u64) << 14;
        });
        assert_eq!(r.run_bytes(&[0x48, 0xCF]), End::Vector(13), "{frame:x?}");
        assert_eq!((r.stack(0), r.stack(1)), (0, CODE), "{frame:x?}");
    }
}

#[test]
fn long_mode_to_compatibility_mode() {
    let mut r = Rig::long();
    let frame = [CODE + 0x100, FREE as u64 | 3, 2, 0x1_0002_4000, DS3 as u64];
    for (i, q) in frame.iter().enumerate() {
        r.write(STACK - 40 + i as u64 * 8, &q.to_le_bytes());
    }
    r.write(CODE + 0x100, &[0x40, 0xEB, 0xFE]); // INC EAX
    r.change(|s| s.gpr[4] = STACK - 40);
    assert_eq!(r.run_bytes(&[0x48, 0xCF]), End::Running);
    let s = r.state();
    assert_eq!((s.gpr[0], s.gpr[4], s.rip, s.cpl), (1, 0x2_4000, CODE + 0x101, 3));
}
