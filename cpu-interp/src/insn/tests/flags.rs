//! CLI, STI, POPF, PUSHF under privilege, and ports under IOPL.

use super::rig::*;

/// A rig at a CPL with IOPL; what the code does is followed by a place to stay.
fn rig(cpl: u8, iopl: u64) -> Rig {
    let mut r = Rig::protected();
    if cpl == 3 {
        r.ring3();
    }
    r.change(|s| s.rflags = 2 | iopl << 12);
    r
}
fn with_spin(code: &[u8]) -> Vec<u8> {
    [code, &[0xEB, 0xFE]].concat()
}

#[test]
fn cli_and_sti_need_iopl() {
    for code in [0xFAu8, 0xFB] {
        assert_eq!(rig(3, 0).run_bytes(&[code]), End::Vector(13));
        for (cpl, iopl) in [(0, 0), (3, 3)] {
            let mut r = rig(cpl, iopl);
            r.change(|s| s.rflags |= if code == 0xFA { 0x200 } else { 0 });
            assert_eq!(r.run_bytes(&with_spin(&[code])), End::Running);
            assert_eq!(r.state().rflags >> 9 & 1, (code & 1) as u64);
        }
    }
}

#[test]
fn protected_mode_virtual_interrupts() {
    for (code, vip, ok, vif) in
        [(0xFBu8, false, true, 1), (0xFB, true, false, 0), (0xFA, false, true, 0), (0xFA, true, true, 0)]
    {
        let mut r = rig(3, 0);
        r.change(|s| {
            s.cr4 |= 2;
            s.rflags |= (vip as u64) << 20 | ((code == 0xFA) as u64) << 19;
        });
        let end = r.run_bytes(&with_spin(&[code]));
        assert_eq!(end, if ok { End::Running } else { End::Vector(13) });
        if ok {
            assert_eq!(r.state().rflags >> 19 & 1, vif);
        }
    }
}

#[test]
fn popf_by_privilege_and_size() {
    // CPL, IOPL before, 32-bit form, flags after an image of all ones but TF.
    for (cpl, iopl, wide, expected) in [
        (0u8, 0u64, true, 0x24_7ED7u64),
        (0, 0, false, 0x7ED7),
        (3, 0, true, 0x24_4CD7),
        (3, 3, true, 0x24_7ED7),
        (3, 3, false, 0x7ED7),
    ] {
        let mut r = rig(cpl, iopl);
        r.write(STACK - 4, &0xFFFF_FEFFu32.to_le_bytes());
        r.change(|s| s.gpr[4] = STACK - 4);
        let code: &[u8] = if wide { &[0x9D] } else { &[0x66, 0x9D] };
        assert_eq!(r.run_bytes(&with_spin(code)), End::Running);
        let s = r.state();
        assert_eq!(s.rflags, expected, "CPL {cpl}, IOPL {iopl}");
        assert_eq!(s.gpr[4], STACK - if wide { 0 } else { 2 });
    }
}

#[test]
fn pushf_hides_vm_and_rf() {
    let mut r = rig(0, 3);
    r.change(|s| s.rflags |= 0x24_0200);
    assert_eq!(r.run_bytes(&[0x9C, 0xF4]), End::Halt(CODE + 2));
    assert_eq!(r.stack(0), 0x24_3202);
}

#[test]
fn ports_by_iopl_and_bitmap() {
    // CPL, IOPL, bytes of the TSS, whether OUT 80h, AL and OUT 80h, EAX go through.
    for (cpl, iopl, limit, byte, narrow, wide) in [
        (0u8, 0u64, 0x67u32, 0xFFu8, true, true),
        (3, 3, 0x67, 0xFF, true, true),
        (3, 0, 0x67, 0, false, false),
        (3, 0, 0x68 + 0x20, 0, true, true),
        (3, 0, 0x68 + 0x20, 0x08, true, false),
        (3, 0, 0x68 + 0x20, 0x10, true, true),
        (3, 0, 0x68 + 0x20, 0x01, false, false),
        (3, 0, 0x68 + 0x10, 0, false, false), // the byte after the port's must be there
    ] {
        for (code, allowed) in [(&[0xE6u8, 0x80][..], narrow), (&[0xE7, 0x80], wide)] {
            let mut r = rig(cpl, iopl);
            r.write(TSS + 0x68 + 0x10, &[byte]);
            r.change(|s| s.tr.limit = limit);
            let end = r.run_bytes(&with_spin(code));
            assert_eq!(
                end,
                if allowed { End::Running } else { End::Vector(13) },
                "{limit:#x} {byte:#x} {code:x?}"
            );
            assert_eq!(r.bus.port_writes.len(), allowed as usize);
        }
    }
}

#[test]
fn repeated_port_strings() {
    let mut r = Rig::protected();
    r.write(DATA, &[1, 2, 3, 4, 5]);
    let end = r.run(|a| {
        use iced_x86::code_asm::*;
        a.mov(esi, DATA as u32).unwrap();
        a.mov(ecx, 5).unwrap();
        a.mov(edx, 0x300).unwrap();
        a.rep().outsb().unwrap();
        a.mov(edi, DATA as u32 + 0x104).unwrap();
        a.mov(ecx, 3).unwrap();
        a.std().unwrap();
        a.rep().insw().unwrap();
        a.hlt().unwrap();
    });
    assert!(matches!(end, End::Halt(_)), "{end:?}");
    assert_eq!(r.bus.port_writes, [(0x300, 1), (0x300, 2), (0x300, 3), (0x300, 4), (0x300, 5)]);
    let s = r.state();
    assert_eq!((s.gpr[1], s.gpr[6], s.gpr[7]), (0, DATA + 5, DATA + 0x104 - 6));
    assert_eq!(r.u64(DATA + 0x100), 0x3644_3644_3644 & 0xFFFF_FFFF_FFFF);
    // A fault in the middle leaves the count of what is left.
    let mut r = Rig::protected();
    r.change(|s| {
        s.segments[3].limit = DATA as u32 + 2;
        s.segments[3].attributes = 0x4093;
        (s.gpr[1], s.gpr[2], s.gpr[6]) = (9, 0x300, DATA);
    });
    assert_eq!(r.run_bytes(&[0xF3, 0x6E]), End::Vector(13));
    let s = r.state();
    assert_eq!((s.gpr[1], s.gpr[6], r.bus.port_writes.len()), (6, DATA + 3, 3));
}
