//! Delivery of interrupts and exceptions, and what comes of faults on the way.

use super::rig::*;
use trimotor_bus::VcpuSignals;

/// UD2.
const UD2: [u8; 2] = [0x0F, 0x0B];
/// MOV EAX, [0FFFFFFF0h + ...]: beyond a limit that tests set.
const INT80: [u8; 2] = [0xCD, 0x80];

#[test]
fn real_mode_pushes_three_words_and_clears_if_and_tf() {
    let mut r = Rig::real();
    r.change(|s| s.rflags = 0x202);
    assert_eq!(r.run_bytes(&[0xCD, 0x21]), End::Vector(0x21));
    assert_eq!((r.stack(0), r.stack(1), r.stack(2)), (2, 0x1000, 0x202));
    assert_eq!(r.state().rflags & 0x300, 0);
    let mut r = Rig::real();
    assert_eq!(r.run_bytes(&UD2), End::Vector(6));
    assert_eq!(r.stack(0), 0);
    // A vector beyond the IDT's limit is #GP, and no error code is pushed.
    let mut r = Rig::real();
    r.change(|s| s.idtr.limit = 0x80);
    assert_eq!(r.run_bytes(&[0xCD, 0x21]), End::Vector(13));
    assert_eq!((r.stack(0), r.stack(1)), (0, 0x1000));
}

#[test]
fn the_same_level_keeps_the_stack_and_trap_gates_keep_if() {
    for (attributes, keeps) in [(0x8E, false), (0x8F, true)] {
        let mut r = Rig::protected();
        r.idt(0x80, gate(CS0, HANDLERS + 0x800, attributes, 0), 0);
        r.change(|s| s.rflags = 0x4302);
        assert_eq!(r.run_bytes(&INT80), End::Vector(0x80));
        assert_eq!((r.stack(0), r.stack(1), r.stack(2)), (CODE + 2, CS0 as u64, 0x4302));
        let flags = r.state().rflags;
        assert_eq!((flags & 0x200 != 0, flags & 0x4100), (keeps, 0));
        assert_eq!(r.state().gpr[4], STACK - 12);
    }
}

#[test]
fn from_ring_3_the_stack_of_the_tss_is_used() {
    let mut r = Rig::protected();
    r.ring3();
    r.idt(0x80, gate(CS0, HANDLERS + 0x800, 0xEE, 0), 0);
    assert_eq!(r.run_bytes(&INT80), End::Vector(0x80));
    let frame: Vec<u64> = (0..5).map(|n| r.stack(n)).collect();
    assert_eq!(frame, [CODE + 2, CS3 as u64, 2, STACK, DS3 as u64]);
    assert_eq!((r.state().cpl, r.state().gpr[4]), (0, STACK0 - 20));
    // To ring 1, by its own stack.
    let mut r = Rig::protected();
    r.ring3();
    r.idt(0x80, gate(CS1 & !3, HANDLERS + 0x801, 0xEE, 0), 0);
    r.write(HANDLERS + 0x801, &[0xEB, 0xFE]);
    assert_eq!(r.run_bytes(&INT80), End::Running);
    let s = r.state();
    assert_eq!((s.cpl, s.segments[2].selector, s.gpr[4]), (1, DS1, STACK1 - 20));
}

#[test]
fn gates_of_the_idt_are_checked() {
    // gate 80h, CPL, vector, error code.
    let table: &[(u64, u8, u8, u64)] = &[
        (gate(CS0, 0, 0x8E, 0), 3, 13, 0x402), // DPL 0 for INT n
        (gate(CS0, 0, 0x0E, 0), 0, 11, 0x402),
        (gate(CS0, 0, 0x8C, 0), 0, 13, 0x402), // a call gate
        (gate(CS0, 0, 0x9E, 0), 0, 13, 0x402), // S set
        (gate(0, 0, 0x8E, 0), 0, 13, 0),
        (gate(0x800, 0, 0x8E, 0), 0, 13, 0x800),
        (gate(DS0, 0, 0x8E, 0), 0, 13, DS0 as u64),
        (gate(CS3, 0, 0x8E, 0), 0, 13, CS3 as u64 & !3),
        (gate(FREE, 0, 0x8E, 0), 0, 11, FREE as u64),
    ];
    for &(d, cpl, vector, code) in table {
        let mut r = Rig::protected();
        r.gdt(FREE, flat(0xC01B));
        if cpl == 3 {
            r.ring3();
        }
        r.idt(0x80, d, 0);
        assert_eq!(r.run_bytes(&INT80), End::Vector(vector), "{d:#x}");
        assert_eq!((r.stack(0), r.stack(1)), (code, CODE), "{d:#x}");
    }
}

#[test]
fn exceptions_and_external_interrupts_set_ext() {
    // #UD through a gate that is not present: #NP with EXT.
    let mut r = Rig::protected();
    r.idt(6, gate(CS0, 0, 0x0E, 0), 0);
    assert_eq!(r.run_bytes(&UD2), End::Vector(11));
    assert_eq!((r.stack(0), r.stack(1)), (6 * 8 + 2 + 1, CODE));
    // An external interrupt likewise; DPL does not count for it.
    for (attributes, expected) in [(0x8E, 0x41), (0x0E, 11)] {
        let mut r = Rig::protected();
        r.ring3();
        r.idt(0x41, gate(CS0, HANDLERS + 0x410, attributes, 0), 0);
        r.change(|s| s.rflags = 0x202);
        r.bus.vectors.push(0x41);
        r.signals.set_intr(true);
        assert_eq!(r.run_bytes(&[0xEB, 0xFE]), End::Vector(expected));
        if expected == 11 {
            assert_eq!(r.stack(0), 0x41 * 8 + 2 + 1);
        }
    }
}

#[test]
fn faults_have_rf_in_their_image_and_traps_have_not() {
    let mut r = Rig::protected();
    assert_eq!(r.run_bytes(&UD2), End::Vector(6));
    assert_eq!(r.stack(2), 0x1_0002);
    let mut r = Rig::protected();
    assert_eq!(r.run_bytes(&[0xCC]), End::Vector(3));
    assert_eq!((r.stack(0), r.stack(2)), (CODE + 1, 2));
    let mut r = Rig::protected();
    r.change(|s| s.rflags = 0x802);
    assert_eq!(r.run_bytes(&[0xCE]), End::Vector(4));
    assert_eq!(r.stack(0), CODE + 1);
    let mut r = Rig::protected();
    assert_eq!(r.run_bytes(&[0xCE, 0xF4]), End::Halt(CODE + 2));
}

#[test]
fn double_faults_and_shutdown() {
    // #GP (from the limit of DS) whose gate is not present: #NP, and that makes #DF.
    let mov = [0xA1, 0, 0, 0, 0];
    let null_ds = |r: &mut Rig| r.change(|s| s.segments[3] = trimotor_cpu::Segment::null(0));
    let mut r = Rig::protected();
    null_ds(&mut r);
    r.idt(13, 0, 0);
    assert_eq!(r.run_bytes(&mov), End::Vector(8));
    assert_eq!((r.stack(0), r.stack(1)), (0, CODE));
    // And with no gate for #DF either: shutdown, with the chain.
    let mut r = Rig::protected();
    null_ds(&mut r);
    r.idt(13, 0, 0);
    r.idt(8, 0, 0);
    let End::Shutdown(report) = r.run_bytes(&mov) else { panic!("no shutdown") };
    assert_eq!(report.chain.len(), 4, "{report:?}");
    assert!(report.chain[0].starts_with("#GP(0x0) at 0008:00010000"), "{report:?}");
    assert!(report.chain[1].starts_with("#GP(0x6b)"), "{report:?}");
    assert!(report.chain[2].starts_with("#DF(0x0)"), "{report:?}");
    assert!(report.details.iter().any(|d| d.contains("gate 0xd of the IDT")), "{report:?}");
    // A benign exception first: the second is delivered on its own.
    let mut r = Rig::protected();
    r.idt(6, 0, 0);
    assert_eq!(r.run_bytes(&UD2), End::Vector(13));
    assert_eq!(r.stack(0), 6 * 8 + 2 + 1);
}

#[test]
fn long_mode_frames_are_aligned_and_have_ss_and_rsp() {
    let mut r = Rig::long();
    r.change(|s| s.gpr[4] = STACK - 3);
    assert_eq!(r.run_bytes(&UD2), End::Vector(6));
    let frame: Vec<u64> = (0..5).map(|n| r.stack(n)).collect();
    assert_eq!(frame, [CODE, CS0 as u64, 0x1_0002, STACK - 3, DS0 as u64]);
    assert_eq!(r.state().gpr[4], STACK - 16 - 40);
    assert_eq!(r.state().segments[2].selector, DS0);
    // From ring 3: RSP0 and a null SS.
    let mut r = Rig::long();
    r.ring3();
    assert_eq!(r.run_bytes(&UD2), End::Vector(6));
    assert_eq!((r.state().gpr[4], r.state().segments[2].selector), (STACK0 - 40, 0));
    assert_eq!((r.stack(3), r.stack(4)), (STACK, DS3 as u64));
    // IST, at the same level too.
    let mut r = Rig::long();
    r.idt(6, gate(CS0, HANDLERS + 0x60, 0x8E, 1), 0);
    assert_eq!(r.run_bytes(&UD2), End::Vector(6));
    assert_eq!((r.state().gpr[4], r.state().segments[2].selector), (IST1 - 40, DS0));
    // Offsets have 64 bits: one that is not canonical is #GP(0).
    let mut r = Rig::long();
    r.idt(6, gate(CS0, HANDLERS + 0x60, 0x8E, 0), 0x8000_0000);
    assert_eq!(r.run_bytes(&UD2), End::Vector(13));
    assert_eq!(r.stack(0), 1);
}

#[test]
fn long_mode_checks_what_is_its_own() {
    // A 32-bit code segment, a 16-bit gate and a task gate; a stack pointer that is not canonical.
    for (d, code) in [
        (gate(FREE + 8, 0, 0x8E, 0), FREE as u64 + 9),
        (gate(CS0, 0, 0x86, 0), 6 * 8 + 3),
        (gate(TR, 0, 0x85, 0), 6 * 8 + 3),
    ] {
        let mut r = Rig::long();
        r.idt(6, d, 0);
        assert_eq!(r.run_bytes(&UD2), End::Vector(13), "{d:#x}");
        assert_eq!(r.stack(0), code, "{d:#x}");
    }
    let mut r = Rig::long();
    r.write(TSS + 36, &0x1234_5678_0000_0000u64.to_le_bytes());
    r.idt(6, gate(CS0, HANDLERS + 0x60, 0x8E, 1), 0);
    assert_eq!(r.run_bytes(&UD2), End::Vector(12));
    assert_eq!(r.stack(0), 1);
    // The TSS too short for IST 7.
    let mut r = Rig::long();
    r.change(|s| s.tr.limit = 0x50);
    r.idt(6, gate(CS0, HANDLERS + 0x60, 0x8E, 7), 0);
    assert_eq!(r.run_bytes(&UD2), End::Vector(10));
    assert_eq!(r.stack(0), TR as u64 + 1);
}

#[test]
fn a_fault_in_delivery_leaves_registers_as_they_were() {
    let mut r = Rig::long();
    r.ring3();
    r.page(STACK0 - 0x1000, 0); // the stack's page is not there: #PF, then #DF by the IST
    r.idt(8, gate(CS0, HANDLERS + 0x80, 0x8E, 1), 0);
    r.change(|s| s.gpr[3] = 7);
    assert_eq!(r.run_bytes(&UD2), End::Vector(14 - 6)); // #PF while delivering #PF is #DF
    assert_eq!((r.stack(0), r.stack(1), r.stack(4)), (0, CODE, STACK));
    assert_eq!(r.state().cr2, STACK0 - 8);
}

#[test]
fn nmi_is_blocked_until_iret_and_wakes_a_halted_cpu() {
    let mut r = Rig::protected();
    r.signals.raise(VcpuSignals::NMI);
    assert_eq!(r.run_bytes(&[0x90, 0xF4]), End::Vector(2));
    assert!(r.state().nmi_blocked);
    // The handler halted; a second NMI waits.
    r.signals.raise(VcpuSignals::NMI);
    let at = r.state().rip;
    assert_eq!(r.go(), End::Vector(2));
    assert_eq!(r.state().rip, at);
    // IRET unblocks: the next NMI comes at once.
    r.write(at, &[0xCF]);
    r.change(|s| s.activity = trimotor_cpu::state::Activity::Active);
    assert_eq!(r.go(), End::Vector(2));
    assert_eq!(r.stack(0), CODE);
}

#[test]
fn sti_and_mov_ss_inhibit_interrupts_for_one_instruction() {
    for (code, at) in [(&[0xFB, 0x43, 0x43, 0xF4][..], 2), (&[0xFB, 0x8E, 0xD0, 0x43, 0xF4][..], 4)] {
        let mut r = Rig::protected();
        r.change(|s| s.gpr[0] = DS0 as u64);
        r.bus.vectors.push(0x41);
        r.signals.set_intr(true);
        assert_eq!(r.run_bytes(code), End::Vector(0x41));
        assert_eq!(r.stack(0), CODE + at, "{code:x?}");
    }
}
