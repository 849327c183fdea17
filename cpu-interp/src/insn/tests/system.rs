//! Fast system calls, MSRs, UMIP, time stamps, XSETBV, CPUID, SMM, INIT and SIPI.

use super::rig::*;
use trimotor_bus::PhysAddr;
use trimotor_bus::VcpuSignals;
use trimotor_bus::memory::{Smram, View};
use trimotor_cpu::ArchState;
use trimotor_cpu::state::Activity;

#[test]
fn syscall_and_sysret() {
    let mut r = Rig::long();
    r.ring3();
    r.change(|s| {
        s.msrs.star = (0x10u64 << 48) | (CS0 as u64) << 32;
        s.msrs.lstar = 0x1_8000;
        s.msrs.fmask = 0x4_0600;
        s.rflags = 0x4_0602;
        s.cr4 |= 1 << 20;
    });
    r.page(0x1_8000, 0x1_8003);
    r.write(0x1_8000, &[0xF4]);
    assert_eq!(r.run_bytes(&[0x0F, 0x05]), End::Halt(0x1_8001));
    let s = r.state();
    assert_eq!((s.gpr[1], s.gpr[11], s.rflags), (CODE + 2, 0x4_0602, 2));
    assert_eq!((s.cpl, s.segments[1].selector, s.segments[2].selector), (0, CS0, CS0 + 8));
    assert_eq!((s.segments[1].attributes, s.segments[2].attributes), (0xA09B, 0xC093));
    // And back: SYSRETQ to CS 23h, SS 1Bh here (STAR 63:48 = 10h).
    r.write(0x1_8000, &[0x48, 0x0F, 0x07]);
    r.write(CODE + 2, &[0xEB, 0xFE]);
    r.change(|s| {
        s.rip = 0x1_8000;
        s.activity = Activity::Active;
    });
    assert_eq!(r.go(), End::Running);
    let s = r.state();
    assert_eq!((s.rip, s.cpl, s.rflags), (CODE + 2, 3, 0x4_0602));
    assert_eq!((s.segments[1].selector, s.segments[2].selector), (0x23, 0x1B));
    // SYSRET to 32-bit code keeps SS; a return address that is not canonical is #GP(0).
    for (code, rcx, end) in [
        (&[0x48u8, 0x0F, 0x07][..], 1u64 << 47, End::Vector(13)),
        (&[0x0F, 0x07], 1 << 47 | 0x1_8010, End::Running),
    ] {
        let mut r = Rig::long();
        r.change(|s| {
            s.msrs.star = 0x10u64 << 48;
            (s.gpr[1], s.gpr[11]) = (rcx, 2);
        });
        r.write(0x1_8010, &[0xEB, 0xFE]);
        assert_eq!(r.run_bytes(code), end);
        if end == End::Running {
            let s = r.state();
            assert_eq!((s.rip, s.segments[1].selector, s.segments[1].attributes), (0x1_8010, 0x13, 0xC0FB));
        }
    }
}

#[test]
fn syscall_does_not_exist_outside_64_bit_mode_or_without_sce() {
    let mut r = Rig::protected();
    r.change(|s| s.efer = 1);
    assert_eq!(r.run_bytes(&[0x0F, 0x05]), End::Vector(6));
    let mut r = Rig::long();
    r.change(|s| s.efer &= !1);
    assert_eq!(r.run_bytes(&[0x0F, 0x05]), End::Vector(6));
    let mut r = Rig::long();
    r.ring3();
    assert_eq!(r.run_bytes(&[0x48, 0x0F, 0x07]), End::Vector(13));
}

#[test]
fn sysenter_and_sysexit() {
    let mut r = Rig::protected();
    r.ring3();
    r.change(|s| {
        s.msrs.sysenter_cs = CS0 as u64;
        s.msrs.sysenter_esp = STACK0;
        s.msrs.sysenter_eip = 0x1_8000;
        s.rflags = 0x202;
    });
    r.write(0x1_8000, &[0xF4]);
    assert_eq!(r.run_bytes(&[0x0F, 0x34]), End::Halt(0x1_8001));
    let s = r.state();
    assert_eq!((s.cpl, s.gpr[4], s.rflags, s.segments[2].selector), (0, STACK0, 2, CS0 + 8));
    r.write(0x1_8000, &[0x0F, 0x35]);
    r.write(CODE + 2, &[0xEB, 0xFE]);
    r.change(|s| {
        s.rip = 0x1_8000;
        (s.gpr[1], s.gpr[2]) = (STACK, CODE + 2);
        s.activity = Activity::Active;
    });
    assert_eq!(r.go(), End::Running);
    let s = r.state();
    assert_eq!((s.cpl, s.rip, s.gpr[4], s.segments[1].selector), (3, CODE + 2, STACK, CS0 + 16 | 3));
    // Without a code segment: #GP(0).
    let mut r = Rig::protected();
    r.ring3();
    assert_eq!(r.run_bytes(&[0x0F, 0x34]), End::Vector(13));
}

#[test]
fn swapgs_and_bases() {
    let mut r = Rig::long();
    r.change(|s| {
        s.segments[5].base = 0x1000;
        s.msrs.kernel_gs_base = DATA;
        s.cr4 |= 1 << 16;
    });
    r.write(DATA + 8, &[0x77]);
    // SWAPGS; MOV AL, GS:[8]; RDGSBASE RBX; WRFSBASE RBX
    let code = [
        0x0F, 0x01, 0xF8, 0x65, 0x8A, 0x04, 0x25, 8, 0, 0, 0, 0xF3, 0x48, 0x0F, 0xAE, 0xCB, 0xF3, 0x48, 0x0F,
        0xAE, 0xD3, 0xF4,
    ];
    assert!(matches!(r.run_bytes(&code), End::Halt(_)));
    let s = r.state();
    assert_eq!((s.gpr[0] & 0xFF, s.gpr[3], s.segments[4].base), (0x77, DATA, DATA));
    assert_eq!(s.msrs.kernel_gs_base, 0x1000);
    let mut r = Rig::long();
    assert_eq!(r.run_bytes(&[0xF3, 0x48, 0x0F, 0xAE, 0xCB]), End::Vector(6), "without CR4.FSGSBASE");
    let mut r = Rig::long();
    r.ring3();
    assert_eq!(r.run_bytes(&[0x0F, 0x01, 0xF8]), End::Vector(13));
}

#[test]
fn msrs_refuse_reserved_bits_and_odd_addresses() {
    // MSR, value, whether the write is taken, and reads back.
    for (n, value, ok) in [
        (0xC000_0082u32, 0xFFFF_8000_0000_0000u64, true), // LSTAR
        (0xC000_0082, 0x8000_0000_0000_0000, false),
        (0xC000_0084, 0xFFFF_FFFF, true),
        (0xC000_0084, 1 << 32, false),
        (0xC000_0100, 1 << 47, true), // FS_BASE: 57 bits
        (0xC000_0100, 1 << 56, false),
        (0xC000_0102, 0x7FFF_FFFF_FFFF, true),
        (0xC000_0103, 1 << 32, false), // TSC_AUX
        (0x176, 1 << 63, false),       // SYSENTER_EIP
        (0x277, 0x0007_0406_0007_0401, true),
        (0x277, 0x0007_0406_0007_0402, false),
        (0x2FF, 0xC06, true),
        (0x2FF, 0xC02, false),
        (0x2FF, 0x1C06, false),
        (0x200, 0xFF_0000_0006, true),
        (0x200, 0x100_0000_0006, false), // beyond MAXPHYADDR
        (0x201, 0xFF_0000_0800, true),
        (0x201, 0x400, false),
        (0x250, 0x0606_0606_0606_0606, true),
        (0x250, 0x0606_0606_0606_0603, false),
        (0xFE, 0, false), // MTRRCAP is read-only
        (0x10A, 0, false),
        (0x401, 0, true),
        (0x401, 1, false), // MC0_STATUS
        (0x400, u64::MAX, true),
        (0xDA0, 1, false),
        (0x1234, 0, false),
    ] {
        let mut r = Rig::long();
        r.change(|s| (s.gpr[0], s.gpr[1], s.gpr[2]) = (value & 0xFFFF_FFFF, n as u64, value >> 32));
        let end = r.run_bytes(&[0x0F, 0x30, 0x31, 0xC0, 0x31, 0xD2, 0x0F, 0x32, 0xF4]);
        if ok {
            assert_eq!(end, End::Halt(CODE + 9), "{n:#x} {value:#x}");
            let s = r.state();
            assert_eq!(s.gpr[0] | s.gpr[2] << 32, value, "{n:#x}");
        } else {
            assert_eq!(end, End::Vector(13), "{n:#x} {value:#x}");
            assert_eq!((r.stack(0), r.stack(1)), (0, CODE));
        }
    }
}

#[test]
fn time_stamps_and_tsd() {
    // WRMSR of IA32_TSC, RDTSCP: the guest clock of the rig stands still.
    let mut r = Rig::long();
    r.change(|s| {
        s.msrs.tsc_aux = 7;
        (s.gpr[0], s.gpr[1], s.gpr[2]) = (0x1234, 0x10, 5);
    });
    assert_eq!(r.run_bytes(&[0x0F, 0x30, 0x0F, 0x01, 0xF9, 0xF4]), End::Halt(CODE + 6));
    let s = r.state();
    assert_eq!((s.gpr[0], s.gpr[2], s.gpr[1]), (0x1234, 5, 7));
    assert_eq!(s.msrs.tsc_adjust, 0x5_0000_1234 - 1000);
    for (tsd, cpl, end) in [(true, 3, End::Vector(13)), (true, 0, End::Running), (false, 3, End::Running)] {
        let mut r = Rig::long();
        if cpl == 3 {
            r.ring3();
        }
        r.change(|s| s.cr4 |= (tsd as u64) << 2);
        assert_eq!(r.run_bytes(&[0x0F, 0x31, 0xEB, 0xFE]), end);
    }
}

#[test]
fn umip_hides_system_registers_from_user_mode() {
    for code in [
        &[0x0Fu8, 0x01, 0x05, 0, 0, 3, 0][..], // SGDT
        &[0x0F, 0x01, 0x0D, 0, 0, 3, 0],
        &[0x0F, 0x00, 0xC0],
        &[0x0F, 0x00, 0xC8],
        &[0x0F, 0x01, 0xE0],
    ] {
        for (umip, cpl, ok) in [(true, 3, false), (true, 0, true), (false, 3, true)] {
            let mut r = Rig::protected();
            if cpl == 3 {
                r.ring3();
            }
            r.change(|s| s.cr4 = (umip as u64) << 11);
            let end = r.run_bytes(&[code, &[0xEB, 0xFE]].concat());
            assert_eq!(end, if ok { End::Running } else { End::Vector(13) }, "{code:x?}");
        }
    }
}

#[test]
fn table_registers() {
    // With a 16-bit operand size LGDT takes 24 bits of base; SGDT stores 32.
    let mut r = Rig::protected();
    r.write(DATA, &[0xFF, 7, 0, 0x10, 0, 0x55]);
    let code = [0x66, 0x0F, 0x01, 0x15, 0, 0, 3, 0, 0x0F, 0x01, 0x05, 0x10, 0, 3, 0, 0xF4];
    assert_eq!(r.run_bytes(&code), End::Halt(CODE + 16));
    assert_eq!((r.state().gdtr.base, r.state().gdtr.limit), (0x1000, 0x7FF));
    assert_eq!(r.read::<6>(DATA + 0x10), [0xFF, 7, 0, 0x10, 0, 0]);
    let mut r = Rig::long();
    r.write(DATA + 2, &(1u64 << 63).to_le_bytes());
    assert_eq!(r.run_bytes(&[0x0F, 0x01, 0x1C, 0x25, 0, 0, 3, 0]), End::Vector(13));
}

#[test]
fn xsetbv_is_checked() {
    for (ecx, value, osxsave, vector) in [
        (0u64, 7u64, true, None),
        (0, 3, true, None),
        (0, 6, true, Some(13)),
        (0, 5, true, Some(13)),
        (0, 0xF, true, Some(13)),
        (1, 7, true, Some(13)),
        (0, 7, false, Some(6)),
    ] {
        let mut r = Rig::long();
        r.change(|s| {
            s.cr4 |= (osxsave as u64) << 18;
            (s.gpr[0], s.gpr[1], s.gpr[2]) = (value, ecx, 0);
        });
        let end = r.run_bytes(&[0x0F, 0x01, 0xD1, 0x0F, 0x01, 0xD0, 0xF4]);
        match vector {
            None => {
                assert_eq!(end, End::Halt(CODE + 7));
                assert_eq!((r.state().gpr[0], r.state().xcr0), (value, value));
            }
            Some(v) => assert_eq!(end, End::Vector(v), "{value:#x}"),
        }
    }
}

#[test]
fn cpuid_follows_cr4() {
    let mut r = Rig::long();
    r.change(|s| {
        s.cr4 |= 1 << 18;
        s.gpr[0] = 0xFFFF_FFFF_0000_0001;
    });
    assert_eq!(r.run_bytes(&[0x0F, 0xA2, 0xF4]), End::Halt(CODE + 3));
    let s = r.state();
    assert_eq!((s.gpr[1] >> 27 & 1, s.gpr[2] >> 9 & 1, s.gpr[0] >> 32), (1, 1, 0));
}

#[test]
fn smi_saves_and_rsm_restores() {
    let mut r = Rig::long();
    r.change(|s| {
        s.rflags = 0x246;
        for n in 0..16 {
            s.gpr[n] = 0x1111_1111_1111_1111u64.wrapping_mul(n as u64);
        }
        s.gpr[4] = STACK;
    });
    r.write(0x3_8000, &[0xF4]); // SMBASE + 8000h
    r.write(CODE, &[0xEB, 0xFE]);
    let before = r.state();
    r.signals.raise(VcpuSignals::SMI);
    assert_eq!(r.go(), End::Vector(0)); // RIP is 8001h
    let s = r.state();
    assert_eq!(s.rip, 0x8001);
    assert!(s.in_smm && s.nmi_blocked);
    assert_eq!((s.cr0 & 0x8000_0001, s.efer, s.cr4, s.rflags), (0, 0, 0, 2));
    assert_eq!(
        (s.segments[1].base, s.segments[1].selector, s.segments[3].limit),
        (0x3_0000, 0x3000, u32::MAX)
    );
    assert_eq!(r.u64(0x3_FFF8), 0, "RAX");
    assert_eq!(r.u64(0x3_FF78), CODE, "RIP");
    assert_eq!(r.u32(0x3_FEFC), 0x3_0064);
    // The handler moves SMBASE and returns.
    r.write(0x3_FF00, &0x2_0000u32.to_le_bytes());
    r.write(0x3_8001, &[0x0F, 0xAA]);
    r.change(|s| s.activity = Activity::Active);
    assert_eq!(r.go(), End::Running);
    let mut after = r.state();
    assert_eq!(after.msrs.smbase, 0x2_0000);
    after.msrs.smbase = before.msrs.smbase;
    after.retired = before.retired;
    assert_eq!(after, before);
    // Outside SMM there is no RSM.
    let mut r = Rig::long();
    assert_eq!(r.run_bytes(&[0x0F, 0xAA]), End::Vector(6));
}

/// A device that asks for an SMI at each access to port 77h, until it is taken away.
fn smi_at_port_77(r: &mut Rig) {
    r.bus.signal_port = Some((0x77, r.signals.clone(), VcpuSignals::SMI));
}

#[test]
fn an_smi_tells_of_the_access_that_caused_it_and_rsm_can_do_it_again() {
    let mut r = Rig::long();
    smi_at_port_77(&mut r);
    r.write(0x3_8000, &[0xF4]);
    // mov al, 5; out 77h, al; hlt
    r.write(CODE, &[0xB0, 5, 0xE6, 0x77, 0xF4]);
    assert_eq!(r.go(), End::Vector(0));
    assert_eq!((r.u32(0x3_FEC0), r.u64(0x3_FEA0)), (0x77_0012, CODE + 2), "OUT, one byte");
    assert_eq!(r.u64(0x3_FF78), CODE + 4);
    // The handler asks for the instruction again; the device has had enough.
    r.bus.signal_port = None;
    r.write(0x3_FEC8, &[0xFF]);
    r.write(0x3_8001, &[0x0F, 0xAA]);
    r.change(|s| s.activity = Activity::Active);
    assert_eq!(r.go(), End::Halt(CODE + 5));
    assert_eq!(r.bus.port_writes, [(0x77, 5), (0x77, 5)]);
}

#[test]
fn a_repeated_output_is_done_again_from_the_iteration_that_caused_the_smi() {
    let mut r = Rig::long();
    smi_at_port_77(&mut r);
    r.write(0x3_8000, &[0xF4]);
    r.write(DATA, b"abc");
    r.change(|s| (s.gpr[1], s.gpr[2], s.gpr[6]) = (3, 0x77, DATA));
    r.write(CODE, &[0xF3, 0x6E, 0xF4]); // rep outsb; hlt
    assert_eq!(r.go(), End::Vector(0));
    assert_eq!(r.u32(0x3_FEC0), 0x77_001E);
    assert_eq!((r.u64(0x3_FEA0), r.u64(0x3_FEA8), r.u64(0x3_FEB0)), (CODE, 3, DATA));
    assert_eq!((r.u64(0x3_FF78), r.u64(0x3_FFF0)), (CODE, 2), "RIP and RCX");
    r.bus.signal_port = None;
    r.write(0x3_FEC8, &[0xFF]);
    r.write(0x3_8001, &[0x0F, 0xAA]);
    r.change(|s| s.activity = Activity::Active);
    assert_eq!(r.go(), End::Halt(CODE + 3));
    let written: Vec<u8> = r.bus.port_writes.iter().map(|&(_, value)| value as u8).collect();
    assert_eq!(written, b"aabc");
}

#[test]
fn smram_is_seen_in_system_management_mode_only() {
    let mut r = Rig::protected();
    r.change(|s| s.msrs.smbase = 0xA_0000);
    // The handler, behind the VGA window: mov [8800h], ds; hlt
    r.memory.set_smram(Smram::Open);
    let handler = [0x8C, 0x1E, 0x00, 0x88, 0xF4];
    assert_eq!(r.memory.write_for(PhysAddr(0xA_8000), &handler, View::Smm), 5);
    r.write(CODE, &[0xEB, 0xFE]);
    r.signals.raise(VcpuSignals::SMI);
    r.go();
    assert_eq!((r.state().rip, r.state().in_smm), (0x8005, true));
    let mut rip = [0; 8];
    assert_eq!(r.memory.read_for(PhysAddr(0xA_FF78), &mut rip, View::Smm), 8);
    assert_eq!(u64::from_le_bytes(rip), CODE);
    assert_eq!(r.memory.read(PhysAddr(0xA_FF78), &mut rip), 0, "others see the VGA window");
}

#[test]
fn smram_that_is_closed_to_data_still_gives_code() {
    let mut r = Rig::protected();
    r.change(|s| s.msrs.smbase = 0xA_0000);
    // The handler: mov al, [cs:7000h]; mov [cs:7000h], al; hlt. Its data is the VGA window's.
    let handler = [0x2E, 0xA0, 0x00, 0x70, 0x2E, 0xA2, 0x01, 0x70, 0xF4];
    r.memory.set_smram(Smram::Open);
    r.memory.write_for(PhysAddr(0xA_8000), &handler, View::Smm);
    r.memory.write_for(PhysAddr(0xA_7000), &[5], View::Smm);
    r.memory.set_smram(Smram::Code);
    r.write(CODE, &[0xEB, 0xFE]);
    r.signals.raise(VcpuSignals::SMI);
    r.go();
    assert_eq!((r.state().rip, r.state().in_smm), (0x8009, true));
    assert_eq!(r.state().gpr[0] as u8, 0xFF, "nobody answers at the VGA window");
    r.memory.set_smram(Smram::Open);
    let mut data = [0; 2];
    r.memory.read_for(PhysAddr(0xA_7000), &mut data, View::Smm);
    assert_eq!(data, [5, 0]);
}

#[test]
fn init_and_sipi() {
    let mut r = Rig::long();
    r.signals.raise(VcpuSignals::INIT);
    r.change(|s| {
        s.ymm[3] = [1, 2, 3, 4];
        s.msrs.star = 5;
        s.cr0 |= 0x4000_0000;
    });
    r.vcpu.run(&mut r.bus, 0);
    let s = r.state();
    assert_eq!((s.rip, s.segments[1].base, s.segments[1].selector), (0xFFF0, 0xFFFF_0000, 0xF000));
    assert_eq!((s.cr0, s.efer, s.cr4, s.gpr[2]), (0x4000_0010, 0, 0, 0x3_0661));
    assert_eq!((s.ymm[3], s.msrs.star), ([1, 2, 3, 4], 5), "INIT keeps these");
}

#[test]
fn undefined_and_privileged_oddities() {
    for (code, vector) in [
        (&[0x0Fu8, 0x0B][..], 6),
        (&[0x0F, 0xFF, 0xC0], 6),
        (&[0x0F, 0xB9, 0xC0], 6),
        (&[0x0F, 0x01, 0xC8], 6), // MONITOR is not offered
        (&[0x0F, 0x01, 0xC1], 6), // VMCALL
        (&[0x0F, 0x33], 13),      // RDPMC
        (&[0xF0, 0x90], 6),       // LOCK NOP
        (&[0x0F, 0x01, 0xCA], 6), // CLAC at CPL 3, below
    ] {
        let mut r = Rig::long();
        r.ring3();
        assert_eq!(r.run_bytes(code), End::Vector(vector), "{code:x?}");
    }
}

#[test]
fn a_backdoor_port_takes_and_gives_registers() {
    let call = [0xED];
    let old = 0xAAAA_BBBB_0000_0000u64;
    let registers = |s: &mut ArchState| {
        s.gpr = std::array::from_fn(|n| old | n as u64);
        s.gpr[0] = CALL_MAGIC.into();
        s.gpr[2] = old | u64::from(CALL_PORT);
        s.gpr[4] = STACK;
    };
    let mut r = Rig::long();
    r.change(registers);
    r.run_bytes(&call);
    let s = r.state();
    // EAX from EBX, EBX from ECX, ECX from ESI, ESI from EDI, EDI from EAX; EDX was left alone.
    let expected = [3, 6, old | u64::from(CALL_PORT), 1, STACK, old | 5, 7, u64::from(CALL_MAGIC)];
    assert_eq!(s.gpr[..8], expected);
    assert_eq!(s.gpr[8..], std::array::from_fn::<u64, 8, _>(|n| old | (n + 8) as u64));
    // What is no call is a read, and so is a read of another width.
    for (code, eax, expected) in [
        (&[0xED][..], 5, 0x1122_3344 + u64::from(CALL_PORT)),
        (
            &[0x66, 0xED],
            CALL_MAGIC,
            u64::from(CALL_MAGIC & 0xFFFF_0000) | (0x3344 + u64::from(CALL_PORT)) & 0xFFFF,
        ),
    ] {
        let mut r = Rig::long();
        r.change(registers);
        r.change(|s| s.gpr[0] = eax.into());
        r.run_bytes(code);
        assert_eq!((r.state().gpr[0], r.state().gpr[3]), (expected, old | 3));
    }
    // A program without the right to the port does not reach it.
    let mut r = Rig::long();
    r.change(registers);
    r.ring3();
    assert_eq!(r.run_bytes(&call), End::Vector(13));
}
