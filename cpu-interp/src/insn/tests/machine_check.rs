//! Machine-check registers. Nothing raises #MC here; kernels set it up all the same.
//!
//! Source: SDM Vol. 3B, "Machine-Check MSRs".

use super::rig::*;
use trimotor_cpu::msr::{IA32_MC0_CTL, IA32_MCG_CAP, IA32_MCG_CTL, IA32_MCG_STATUS};
use trimotor_cpu::registers::Cr4;
use trimotor_cpu::state::Activity;

/// RDMSR or WRMSR, then HLT, at the start of the rig's code.
fn access(r: &mut Rig, opcode: u8, register: u32, value: u64) -> End {
    r.change(|s| {
        (s.activity, s.rip, s.gpr[4]) = (Activity::Active, CODE, STACK);
        (s.gpr[0], s.gpr[1], s.gpr[2]) = (value & 0xFFFF_FFFF, register.into(), value >> 32);
    });
    r.run_bytes(&[0x0F, opcode, 0xF4])
}
/// What RDMSR gives; `None` for #GP(0).
fn read(r: &mut Rig, register: u32) -> Option<u64> {
    match access(r, 0x32, register, 0) {
        End::Halt(_) => Some(r.state().gpr[0] | r.state().gpr[2] << 32),
        end => {
            assert_eq!(end, End::Vector(13), "RDMSR {register:#x}");
            None
        }
    }
}
/// Whether WRMSR takes the value and RDMSR gives it back; else it was #GP(0).
fn takes(r: &mut Rig, register: u32, value: u64) -> bool {
    match access(r, 0x30, register, value) {
        End::Halt(_) => read(r, register) == Some(value),
        end => {
            assert_eq!(end, End::Vector(13), "WRMSR {register:#x}");
            false
        }
    }
}

#[test]
fn global_registers() {
    let mut r = Rig::long();
    let capabilities = read(&mut r, IA32_MCG_CAP).expect("IA32_MCG_CAP");
    assert_ne!(capabilities & 1 << 8, 0, "there is IA32_MCG_CTL");
    assert!(!takes(&mut r, IA32_MCG_CAP, capabilities), "read-only");
    assert!(takes(&mut r, IA32_MCG_STATUS, 7) && takes(&mut r, IA32_MCG_STATUS, 0));
    assert!(!takes(&mut r, IA32_MCG_STATUS, 8), "no local machine checks");
    assert!(takes(&mut r, IA32_MCG_CTL, u64::MAX));
}

#[test]
fn banks_can_be_enabled_and_cleared() {
    let mut r = Rig::long();
    let banks = read(&mut r, IA32_MCG_CAP).expect("IA32_MCG_CAP") as u32 & 0xFF;
    for control in (0..banks).map(|bank| IA32_MC0_CTL + 4 * bank) {
        assert!(takes(&mut r, control, u64::MAX) && takes(&mut r, control, 0));
        for register in control + 1..control + 4 {
            assert!(takes(&mut r, register, 0), "{register:#x}: STATUS, ADDR and MISC can be cleared");
            assert!(!takes(&mut r, register, 1), "{register:#x}");
        }
    }
    assert_eq!(read(&mut r, IA32_MC0_CTL + 4 * banks), None);
}

#[test]
fn cr4_takes_mce() {
    let mut r = Rig::long();
    r.change(|s| s.gpr[0] = s.cr4 | Cr4::MCE.bits());
    r.run_bytes(&[0x0F, 0x22, 0xE0, 0xF4]); // mov cr4, rax; hlt
    assert_ne!(r.state().cr4 & Cr4::MCE.bits(), 0);
}
