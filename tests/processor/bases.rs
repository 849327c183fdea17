//! Bases are checked against the width of linear addresses that CPUID tells, not against the one in use.
//!
//! Source: SDM Vol. 2, LGDT/LIDT, LLDT, LTR, WRMSR, INVPCID; Vol. 1, "Canonical Addressing".

use crate::rig::*;
use trimotor_test_support::engines::usable as engines;

/// Canonical with 57 bits, and not with 48.
const WIDE: u64 = 0x00AB_0000_0000_0000;
/// Canonical with neither.
const BAD: u64 = 0x0180_0000_0000_0000;

#[test]
fn of_tables() {
    // LGDT [RBX]; LIDT [RBX].
    for code in [[0x0F, 0x01, 0x13, 0xF4], [0x0F, 0x01, 0x1B, 0xF4]] {
        for engine in engines() {
            for (base, end) in
                [(WIDE, End::Halt(CODE + 4)), (!WIDE, End::Halt(CODE + 4)), (BAD, End::Vector(13))]
            {
                let mut r = Rig::long(engine);
                r.m.write(DATA, &[0x7F, 0]);
                r.u64s(DATA + 2, &[base]);
                r.change(|s| s.gpr[3] = DATA);
                assert_eq!(r.run(&code), end, "{engine} {base:#x}");
            }
        }
    }
}

#[test]
fn of_system_segments() {
    // LLDT AX; LTR AX.
    for (code, attributes) in [([0x0F, 0x00, 0xD0, 0xF4], 0x82), ([0x0F, 0x00, 0xD8, 0xF4], 0x89)] {
        for engine in engines() {
            for (base, end) in [(WIDE, End::Halt(CODE + 4)), (BAD, End::Vector(13))] {
                let mut r = Rig::long(engine);
                r.gdt(FREE, descriptor(base, 0x67, attributes));
                r.gdt(FREE + 8, base >> 32);
                r.change(|s| s.gpr[0] = FREE.into());
                assert_eq!(r.run(&code), end, "{engine} {base:#x}");
                let s = r.state();
                let loaded = if attributes == 0x82 { s.ldtr } else { s.tr };
                if base == WIDE {
                    assert_eq!((loaded.base, loaded.selector), (WIDE, FREE), "{engine}");
                } else {
                    assert_eq!(r.stack(0), u64::from(FREE), "{engine}: the error code");
                    assert_ne!(loaded.selector, FREE, "{engine}");
                }
            }
        }
    }
}

#[test]
fn of_msrs_and_of_fs() {
    const SYSENTER_ESP: u64 = 0x175;
    const SYSENTER_EIP: u64 = 0x176;
    const LSTAR: u64 = 0xC000_0082;
    const CSTAR: u64 = 0xC000_0083;
    const FS_BASE: u64 = 0xC000_0100;
    const GS_BASE: u64 = 0xC000_0101;
    const KERNEL_GS_BASE: u64 = 0xC000_0102;
    for engine in engines() {
        for msr in [SYSENTER_ESP, SYSENTER_EIP, LSTAR, CSTAR, FS_BASE, GS_BASE, KERNEL_GS_BASE] {
            for (value, end) in [(WIDE, End::Halt(CODE + 3)), (BAD, End::Vector(13))] {
                let mut r = Rig::long(engine);
                r.change(|s| (s.gpr[0], s.gpr[1], s.gpr[2]) = (value & 0xFFFF_FFFF, msr, value >> 32));
                assert_eq!(r.run(&[0x0F, 0x30, 0xF4]), end, "{engine} {msr:#x}");
            }
        }
        // WRFSBASE RAX; an access through it is one to an address that is not canonical.
        for (value, end) in [(WIDE, End::Halt(CODE + 6)), (BAD, End::Vector(13))] {
            let mut r = Rig::long(engine);
            r.change(|s| (s.gpr[0], s.cr4) = (value, s.cr4 | 1 << 16));
            assert_eq!(r.run(&[0xF3, 0x48, 0x0F, 0xAE, 0xD0, 0xF4]), end, "{engine}");
            let mut r = Rig::long(engine);
            r.change(|s| (s.gpr[0], s.cr4) = (WIDE, s.cr4 | 1 << 16));
            assert_eq!(
                r.run(&[0xF3, 0x48, 0x0F, 0xAE, 0xD0, 0x64, 0x8A, 0x03, 0xF4]),
                End::Vector(13),
                "{engine}"
            );
            assert_eq!((r.stack(0), r.stack(1)), (0, CODE + 5), "{engine}");
        }
    }
}

/// What lies at an address that is not canonical cannot be read: #GP(0) of whoever looks into the table.
#[test]
fn of_a_table_that_cannot_be_reached() {
    for engine in engines() {
        for base in [WIDE, 0x7FFF_FFFF_FFC4] {
            let mut r = Rig::long(engine);
            // MOV DS, AX, with the descriptor beyond or across the end of the lower half. The page before it is
            // mapped.
            r.u64s(0x1000 + 255 * 8, &[0x2007]);
            r.u64s(0x2000 + 511 * 8, &[0x3007]);
            r.u64s(0x3000 + 511 * 8, &[0x1_0007]);
            r.change(|s| (s.gdtr.base, s.gpr[0]) = (base, 0x38));
            // Delivery needs the table too: #DF, then shutdown.
            assert_eq!(r.run(&[0x8E, 0xD8]), End::Shutdown, "{engine} {base:#x}");
            // The LDT is another table.
            let mut r = Rig::long(engine);
            r.u64s(0x1000 + 255 * 8, &[0x2007]);
            r.u64s(0x2000 + 511 * 8, &[0x3007]);
            r.u64s(0x3000 + 511 * 8, &[0x1_0007]);
            r.change(|s| {
                (s.ldtr.base, s.ldtr.limit, s.ldtr.attributes, s.gpr[0]) = (base, 0x7F, 0x82, 0x3C);
            });
            assert_eq!(r.run(&[0x8E, 0xD8]), End::Vector(13), "{engine} {base:#x}");
            assert_eq!((r.stack(0), r.stack(1)), (0, CODE), "{engine} {base:#x}");
        }
    }
}
