//! Virtual-8086 mode, with and without VME.

use super::rig::*;
use trimotor_cpu::Segment;

/// The V86 code runs at 1000:0, its stack is 2000:1000.
fn rig(iopl: u64, vme: bool) -> Rig {
    let mut r = Rig::protected();
    r.write(TSS + 102, &(0x68u16 + 32).to_le_bytes());
    r.gdt(TR, descriptor(TSS, 0x68 + 32 + 0x2000, 0x8B));
    r.change(|s| {
        let seg = |selector: u16| Segment {
            base: (selector as u64) << 4,
            limit: 0xFFFF,
            attributes: 0xF3,
            selector,
        };
        s.segments = [seg(0x3000), seg(0x1000), seg(0x2000), seg(0x3000), seg(0x3000), seg(0x3000)];
        s.rflags = 0x2_0002 | iopl << 12;
        s.cpl = 3;
        s.rip = 0;
        s.gpr[4] = 0x1000;
        s.cr4 = vme as u64;
        s.tr.limit = 0x68 + 32 + 0x2000;
    });
    // The bitmap for I/O: all allowed but ports 40h to 47h.
    r.write(TSS + 0x68 + 32 + 8, &[0xFF]);
    r
}

#[test]
fn an_interrupt_pushes_nine_doublewords_and_nulls_the_segments() {
    let mut r = rig(3, false);
    r.idt(0x80, gate(CS0, HANDLERS + 0x800, 0xEE, 0), 0);
    assert_eq!(r.run_bytes(&[0xCD, 0x80]), End::Vector(0x80));
    let frame: Vec<u64> = (0..9).map(|n| r.stack(n)).collect();
    assert_eq!(frame, [2, 0x1000, 0x2_3002, 0x1000, 0x2000, 0x3000, 0x3000, 0x3000, 0x3000]);
    let s = r.state();
    assert_eq!((s.cpl, s.rflags & 0x2_0000), (0, 0));
    assert!([0, 3, 4, 5].iter().all(|&i| s.segments[i].selector == 0));
    // The handler must be in ring 0.
    let mut r = rig(3, false);
    r.idt(0x80, gate(CS1 & !3, 0, 0xEE, 0), 0);
    assert_eq!(r.run_bytes(&[0xCD, 0x80]), End::Vector(13));
    assert_eq!(r.stack(0), CS1 as u64 & !3);
}

#[test]
fn iret_to_v86_and_what_it_loads() {
    let mut r = Rig::protected();
    let frame = [0x10u32, 0x1000, 0x2_0202, 0x1000, 0x2000, 0x3000, 0x3001, 0x3002, 0x3003];
    for (i, d) in frame.iter().enumerate() {
        r.write(STACK - 36 + i as u64 * 4, &d.to_le_bytes());
    }
    r.write(0x1_0010, &[0xEB, 0xFE]);
    r.change(|s| {
        s.gpr[4] = STACK - 36;
        s.rip = 0x1_1000;
    });
    r.write(0x1_1000, &[0xCF]);
    assert_eq!(r.go(), End::Running);
    let s = r.state();
    assert_eq!((s.cpl, s.rip, s.rflags, s.gpr[4]), (3, 0x10, 0x2_0202, 0x1000));
    assert_eq!(s.segments.map(|s| s.selector), [0x3000, 0x1000, 0x2000, 0x3001, 0x3002, 0x3003]);
    assert!(s.segments.iter().all(|s| s.limit == 0xFFFF && s.base == (s.selector as u64) << 4));
}

#[test]
fn sensitive_instructions_fault_below_iopl_3() {
    // CLI, STI, PUSHF, POPF, INT n, IRET.
    for code in [&[0xFAu8][..], &[0xFB], &[0x9C], &[0x9D], &[0xCD, 0x80], &[0xCF]] {
        let mut r = rig(0, false);
        assert_eq!(r.run_bytes(code), End::Vector(13), "{code:x?}");
        assert_eq!((r.stack(0), r.stack(1)), (0, 0), "{code:x?}");
    }
    // INT3 and INTO are not sensitive to IOPL.
    let mut r = rig(0, false);
    r.idt(3, gate(CS0, HANDLERS + 0x30, 0xEE, 0), 0);
    assert_eq!(r.run_bytes(&[0xCC]), End::Vector(3));
    // HLT and MOV CR are privileged, selector instructions do not exist.
    for (code, vector) in [
        (&[0xF4u8][..], 13),
        (&[0x0F, 0x20, 0xC0], 13),
        (&[0x0F, 0x00, 0xC8], 6),
        (&[0x0F, 0x02, 0xC0], 6),
        (&[0x63, 0xC0], 6),
        (&[0x0F, 0x01, 0xE0], 255),
    ] {
        let mut r = rig(3, false);
        let mut bytes = code.to_vec();
        bytes.extend([0xEB, 0xFE]);
        let expected = if vector == 255 { End::Running } else { End::Vector(vector) };
        assert_eq!(r.run_bytes(&bytes), expected, "{code:x?}");
    }
}

#[test]
fn ports_go_by_the_bitmap_whatever_iopl_is() {
    let mut r = rig(3, false);
    assert_eq!(r.run_bytes(&[0xE6, 0x20, 0xE6, 0x40]), End::Vector(13));
    assert_eq!(r.bus.port_writes, [(0x20, 0)]);
    assert_eq!(r.stack(1), 2);
    // Two bytes at 3Fh touch 40h.
    let mut r = rig(3, false);
    assert_eq!(r.run_bytes(&[0xE7, 0x3F]), End::Vector(13));
}

#[test]
fn vme_redirects_software_interrupts_by_the_bitmap() {
    for iopl in [0u64, 3] {
        // Clear bit: through the table at 0.
        let mut r = rig(iopl, true);
        r.write(0x80 * 4, &0x1000_0100u32.to_le_bytes());
        r.write(0x1_0100, &[0xEB, 0xFE]);
        r.change(|s| s.rflags |= 0x8_0200 & if iopl == 3 { 0x200 } else { 0x8_0000 });
        assert_eq!(r.run_bytes(&[0xCD, 0x80]), End::Running);
        let s = r.state();
        assert_eq!((s.rip, s.gpr[4]), (0x100, 0x1000 - 6));
        let words: Vec<u16> = (0..3).map(|n| r.u16(0x2_0000 + 0x1000 - 6 + n * 2)).collect();
        assert_eq!(words, [2, 0x1000, 0x3202], "IOPL {iopl}");
        assert_eq!(s.rflags & 0x8_0200, 0, "IOPL {iopl}");
        // Set bit: the IDT with IOPL 3, #GP(0) below.
        let mut r = rig(iopl, true);
        r.write(TSS + 0x68 + 0x80 / 8, &[1]);
        r.idt(0x80, gate(CS0, HANDLERS + 0x800, 0xEE, 0), 0);
        assert_eq!(r.run_bytes(&[0xCD, 0x80]), End::Vector(if iopl == 3 { 0x80 } else { 13 }));
    }
}

#[test]
fn vme_keeps_a_virtual_interrupt_flag() {
    // STI; PUSHF; CLI; PUSHF
    let mut r = rig(0, true);
    assert_eq!(r.run_bytes(&[0xFB, 0x9C, 0xFA, 0x9C, 0xEB, 0xFE]), End::Running);
    assert_eq!((r.u16(0x2_0FFE), r.u16(0x2_0FFC)), (0x3202, 0x3002));
    assert_eq!(r.state().rflags & 0x200, 0, "IF itself stays");
    // POPF sets VIF; with VIP that is #GP(0), as are TF and 32-bit forms.
    for (image, vip, bytes, vector) in [
        (0x0202u16, false, &[0x9Du8][..], None),
        (0x0202, true, &[0x9D], Some(13)),
        (0x0102, false, &[0x9D], Some(13)),
        (0x0202, false, &[0x66, 0x9D], Some(13)),
        (0x0202, false, &[0x66, 0x9C], Some(13)),
    ] {
        let mut r = rig(0, true);
        r.write(0x2_0FF0, &image.to_le_bytes());
        r.change(|s| {
            s.gpr[4] = 0xFF0;
            s.rflags |= (vip as u64) << 20;
        });
        let mut code = bytes.to_vec();
        code.extend([0xEB, 0xFE]);
        let end = r.run_bytes(&code);
        match vector {
            Some(v) => assert_eq!(end, End::Vector(v), "{bytes:x?}"),
            None => {
                assert_eq!(end, End::Running);
                assert_eq!(r.state().rflags & 0x8_0200, 0x8_0000);
            }
        }
    }
    // STI with VIP: the monitor is to deliver what waits.
    let mut r = rig(0, true);
    r.change(|s| s.rflags |= 1 << 20);
    assert_eq!(r.run_bytes(&[0xFB]), End::Vector(13));
}

#[test]
fn vme_iret() {
    let mut r = rig(0, true);
    for (i, w) in [0x20u16, 0x1000, 0x3202].iter().enumerate() {
        r.write(0x2_0F00 + i as u64 * 2, &w.to_le_bytes());
    }
    r.write(0x1_0020, &[0xEB, 0xFE]);
    r.change(|s| s.gpr[4] = 0xF00);
    assert_eq!(r.run_bytes(&[0xCF]), End::Running);
    let s = r.state();
    assert_eq!((s.rip, s.gpr[4] & 0xFFFF, s.rflags & 0x8_3200), (0x20, 0xF06, 0x8_0000));
}

#[test]
fn offsets_wrap_no_further_than_64_kib() {
    // A word at FFFFh: #GP(0); in the stack segment #SS(0).
    let mut r = rig(3, false);
    assert_eq!(r.run_bytes(&[0xA1, 0xFF, 0xFF]), End::Vector(13));
    let mut r = rig(3, false);
    r.change(|s| s.gpr[4] = 1);
    assert_eq!(r.run_bytes(&[0x50]), End::Vector(12));
    assert_eq!(r.stack(0), 0);
}
