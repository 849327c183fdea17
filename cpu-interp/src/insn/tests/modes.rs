//! Changes of mode, and what control registers refuse.

use super::rig::*;
use iced_x86::code_asm::*;

/// MOV CRn, EAX (or RAX).
fn mov_cr(n: u8) -> [u8; 4] {
    [0x0F, 0x22, 0xC0 | n << 3, 0xF4]
}

#[test]
fn from_real_mode_to_protected_and_back_to_unreal() {
    let mut r = Rig::real();
    r.gdt(DS0, flat(0xC093));
    r.gdt(CS0, descriptor(0x1_0000, 0xFFFF, 0x009B));
    r.write(0x500, &[0x17, 0, GDT as u8, (GDT >> 8) as u8, 0, 0]);
    r.write(DATA + 0x10_0000, &[0x5A]);
    let end = r.run(|a| {
        let mut protected = a.create_label();
        a.lgdt(fword_ptr(0x500)).unwrap();
        a.mov(eax, cr0).unwrap();
        a.or(al, 1).unwrap();
        a.mov(cr0, eax).unwrap();
        a.jmp(protected).unwrap();
        a.set_label(&mut protected).unwrap();
        a.mov(bx, DS0 as u32).unwrap();
        a.mov(ds, bx).unwrap();
        a.and(al, 0xFEu32 as i32).unwrap();
        a.mov(cr0, eax).unwrap();
        a.xor(ax, ax).unwrap();
        a.mov(ds, ax).unwrap();
        a.mov(ebx, (DATA + 0x10_0000) as u32).unwrap();
        a.mov(cl, byte_ptr(ebx)).unwrap();
        a.hlt().unwrap();
    });
    assert!(matches!(end, End::Halt(_)), "{end:?}");
    let s = r.state();
    assert_eq!((s.gpr[1] & 0xFF, s.cr0 & 1), (0x5A, 0));
    assert_eq!((s.segments[3].base, s.segments[3].limit), (0, u32::MAX), "the limit stays");
}

#[test]
fn from_protected_mode_to_64_bit_code_and_back() {
    let mut r = Rig::protected();
    let long = Rig::long();
    let tables: Vec<u8> = (0..6u64).flat_map(|p| long.read::<4096>(TABLES + p * 4096)).collect();
    r.write(TABLES, &tables);
    r.gdt(FREE, flat(0xA09B));
    // 64-bit code: sets RBX, jumps back through [DATA] to 32-bit code.
    r.write(DATA, &[0, 0x90, 1, 0, CS0 as u8, 0]);
    r.write(0x1_8000, &[0x48, 0xC7, 0xC3, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x2C, 0x25, 0, 0, 3, 0]);
    // 32-bit code: paging off, LME off.
    let back = r.assemble(|a| {
        a.mov(eax, cr0).unwrap();
        a.btr(eax, 31).unwrap();
        a.mov(cr0, eax).unwrap();
        a.mov(ecx, 0xC000_0080u32).unwrap();
        a.rdmsr().unwrap();
        a.hlt().unwrap();
    });
    r.write(0x1_9000, &back);
    let end = r.run(|a| {
        a.mov(eax, 0x20).unwrap();
        a.mov(cr4, eax).unwrap();
        a.mov(eax, TABLES as u32).unwrap();
        a.mov(cr3, eax).unwrap();
        a.mov(ecx, 0xC000_0080u32).unwrap();
        a.mov(eax, 0x100).unwrap();
        a.xor(edx, edx).unwrap();
        a.wrmsr().unwrap();
        a.mov(eax, cr0).unwrap();
        a.bts(eax, 31).unwrap();
        a.mov(cr0, eax).unwrap();
        a.db(&[0xEA, 0, 0x80, 1, 0, FREE as u8, 0]).unwrap();
    });
    assert_eq!(end, End::Halt(0x1_9000 + back.len() as u64));
    let s = r.state();
    assert_eq!((s.gpr[3], s.efer, s.gpr[0]), (u64::MAX, 0x100, 0x100), "LMA follows PG");
}

#[test]
fn cr0_refuses_impossible_combinations() {
    for (value, ok) in [
        (0x8000_0030u64, false), // PG without PE
        (0x2000_0031, false),    // NW without CD
        (0x6000_0031, true),
        (0x0001_0031, true),
        (0x1FF8_FFC1, true), // bits that do not exist stay zero
    ] {
        let mut r = Rig::protected();
        r.change(|s| s.gpr[0] = value);
        let end = r.run_bytes(&mov_cr(0));
        assert_eq!(end, if ok { End::Halt(CODE + 4) } else { End::Vector(13) }, "{value:#x}");
        if ok {
            assert_eq!(r.state().cr0, value & 0xE005_003F | 0x10);
        }
    }
    for (value, lme, pae, ok) in [(0x8000_0031u64, true, false, false), (0x1_0000_0031, false, false, true)] {
        let mut r = Rig::protected();
        r.change(|s| {
            s.gpr[0] = value;
            s.efer = (lme as u64) << 8;
            s.cr4 = (pae as u64) << 5;
        });
        let end = r.run_bytes(&mov_cr(0));
        assert_eq!(end, if ok { End::Halt(CODE + 4) } else { End::Vector(13) }, "{value:#x}");
    }
    // In 64-bit mode: the upper half, and paging off.
    for value in [1u64 << 32 | 0x8000_0031, 0x31] {
        let mut r = Rig::long();
        r.change(|s| s.gpr[0] = value);
        assert_eq!(r.run_bytes(&mov_cr(0)), End::Vector(13), "{value:#x}");
    }
}

#[test]
fn cr4_cr3_and_efer_refuse_what_long_mode_forbids() {
    for (n, value, ok) in [
        (4u8, 0x680u64, false), // PAE off
        (4, 0x16A0, false),     // LA57 on
        (4, 0x6A0 | 1 << 17, true),
        (4, 0x6A0 | 1 << 13, false), // VMXE is not there
        (4, 0x6A0 | 1 << 40, false),
        (3, TABLES | 1 << 45, false),
        (3, TABLES | 1 << 63, false), // only with PCIDE
        (3, TABLES, true),
        (8, 16, false),
        (8, 15, true),
        (2, 0x1234_5678_9ABC_DEF0, true),
    ] {
        let mut r = Rig::long();
        r.change(|s| s.gpr[0] = value);
        let mut code = mov_cr(n & 7).to_vec();
        if n == 8 {
            code.insert(0, 0x44);
        }
        let end = r.run_bytes(&code);
        assert_eq!(matches!(end, End::Halt(_)), ok, "CR{n} {value:#x}: {end:?}");
    }
    // PCIDE with a CR3 whose low bits are set.
    let mut r = Rig::long();
    r.change(|s| {
        s.cr3 |= 0x18;
        s.gpr[0] = 0x6A0 | 1 << 17;
    });
    assert_eq!(r.run_bytes(&mov_cr(4)), End::Vector(13));
    // EFER: reserved bits, LME while paging.
    for (value, ok) in [(0x1D01u64, false), (0xC01, false), (0x501, true), (0x901, true), (0xD00, true)] {
        let mut r = Rig::long();
        r.change(|s| (s.gpr[0], s.gpr[1], s.gpr[2]) = (value, 0xC000_0080, 0));
        let end = r.run_bytes(&[0x0F, 0x30, 0xF4]);
        let expected = ok && value & 0x100 != 0;
        assert_eq!(matches!(end, End::Halt(_)), expected, "EFER {value:#x}: {end:?}");
    }
    // CR1, CR5 do not exist.
    let mut r = Rig::long();
    assert_eq!(r.run_bytes(&mov_cr(1)), End::Vector(6));
}

#[test]
fn control_registers_are_for_ring_0() {
    for code in [
        &[0x0F, 0x20, 0xC0][..],
        &[0x0F, 0x22, 0xD8],
        &[0x0F, 0x06],
        &[0x0F, 0x01, 0xF0],
        &[0x0F, 0x09],
        &[0x0F, 0x01, 0x15, 0, 0, 3, 0],
        &[0x0F, 0x01, 0x3D, 0, 0, 3, 0],
        &[0x0F, 0x30],
        &[0x0F, 0x32],
        &[0xF4],
        &[0x0F, 0x21, 0xF8],
        &[0x0F, 0x00, 0xD0],
        &[0x0F, 0x00, 0xD8],
    ] {
        let mut r = Rig::protected();
        r.ring3();
        assert_eq!(r.run_bytes(code), End::Vector(13), "{code:x?}");
        assert_eq!((r.stack(0), r.stack(1)), (0, CODE));
    }
}

#[test]
fn smsw_lmsw_clts() {
    let mut r = Rig::protected();
    r.change(|s| s.cr0 |= 8);
    // SMSW EAX; CLTS; MOV ECX, CR0; LMSW of 0: PE stays
    let code = [0x0F, 0x01, 0xE0, 0x0F, 0x06, 0x0F, 0x20, 0xC1, 0x31, 0xD2, 0x0F, 0x01, 0xF2, 0xF4];
    assert_eq!(r.run_bytes(&code), End::Halt(CODE + 14));
    let s = r.state();
    assert_eq!((s.gpr[0], s.gpr[1], s.cr0), (0x39, 0x31, 0x31));
}
