//! Names of exceptions, MSRs and bits, as the manual has them.

use crate::msr::*;
use crate::registers::{Cr0, Cr4, Efer};
use std::borrow::Cow;

/// What an exception is called (SDM Vol. 3A, "Exception and Interrupt Vectors").
pub fn exception(vector: u8) -> &'static str {
    match vector {
        0 => "divide error",
        1 => "debug exception",
        2 => "NMI",
        3 => "breakpoint",
        4 => "overflow",
        5 => "BOUND range exceeded",
        6 => "invalid opcode",
        7 => "device not available",
        8 => "double fault",
        10 => "invalid TSS",
        11 => "segment not present",
        12 => "stack-segment fault",
        13 => "general protection",
        14 => "page fault",
        16 => "x87 floating-point error",
        17 => "alignment check",
        18 => "machine check",
        19 => "SIMD floating-point exception",
        _ => "reserved",
    }
}

macro_rules! named {
    ($($name:ident)*) => { &[$(($name, stringify!($name))),*] };
}

/// MSRs by their numbers.
const MSRS: &[(u32, &str)] = named! {
    IA32_TSC IA32_PLATFORM_ID IA32_APIC_BASE IA32_FEATURE_CONTROL IA32_TSC_ADJUST IA32_SPEC_CTRL IA32_PRED_CMD
    IA32_BIOS_UPDT_TRIG IA32_BIOS_SIGN_ID IA32_SMBASE MSR_PLATFORM_INFO IA32_MTRRCAP IA32_ARCH_CAPABILITIES IA32_SYSENTER_CS
    IA32_SYSENTER_ESP IA32_SYSENTER_EIP IA32_MCG_CAP IA32_MCG_STATUS IA32_MCG_CTL IA32_PERF_STATUS IA32_MISC_ENABLE
    MSR_LASTBRANCH_TOS IA32_DEBUGCTL MSR_LER_FROM_LIP MSR_LER_TO_LIP IA32_MTRR_FIX64K_00000 IA32_MTRR_FIX16K_80000
    IA32_MTRR_FIX16K_A0000 IA32_PAT IA32_MTRR_DEF_TYPE IA32_TSC_DEADLINE IA32_XSS IA32_EFER IA32_STAR IA32_LSTAR IA32_CSTAR
    IA32_FMASK IA32_FS_BASE IA32_GS_BASE IA32_KERNEL_GS_BASE IA32_TSC_AUX
};

/// Registers of the local APIC, by their MSRs from 800h on.
const X2APIC: &[(u32, &str)] = &[
    (0x802, "APICID"),
    (0x803, "VERSION"),
    (0x808, "TPR"),
    (0x80A, "PPR"),
    (0x80B, "EOI"),
    (0x80D, "LDR"),
    (0x80F, "SIVR"),
    (0x828, "ESR"),
    (0x82F, "LVT_CMCI"),
    (0x830, "ICR"),
    (0x832, "LVT_TIMER"),
    (0x833, "LVT_THERMAL"),
    (0x834, "LVT_PMI"),
    (0x835, "LVT_LINT0"),
    (0x836, "LVT_LINT1"),
    (0x837, "LVT_ERROR"),
    (0x838, "INIT_COUNT"),
    (0x839, "CUR_COUNT"),
    (0x83E, "DIV_CONF"),
    (0x83F, "SELF_IPI"),
];

/// The name of an MSR.
pub fn msr(index: u32) -> Option<Cow<'static, str>> {
    let find = |table: &[(u32, &'static str)]| {
        table.iter().find(|(number, _)| *number == index).map(|(_, name)| *name)
    };
    if let Some(name) = find(MSRS) {
        return Some(name.into());
    }
    if let Some(name) = find(X2APIC) {
        return Some(format!("IA32_X2APIC_{name}").into());
    }
    match index {
        0x810..=0x827 => {
            let name = ["ISR", "TMR", "IRR"][(index as usize - 0x810) / 8];
            Some(format!("IA32_X2APIC_{name}{}", index % 8).into())
        }
        IA32_MTRR_PHYSBASE0..0x220 => {
            let what = if index.is_multiple_of(2) { "BASE" } else { "MASK" };
            Some(format!("IA32_MTRR_PHYS{what}{}", (index - IA32_MTRR_PHYSBASE0) / 2).into())
        }
        IA32_MTRR_FIX4K_C0000..0x270 => {
            Some(format!("IA32_MTRR_FIX4K_{:X}", 0xC0000 + (index - IA32_MTRR_FIX4K_C0000) * 0x8000).into())
        }
        IA32_MC0_CTL..0x428 => {
            let (bank, register) = ((index - IA32_MC0_CTL) / 4, index as usize % 4);
            Some(format!("IA32_MC{bank}_{}", ["CTL", "STATUS", "ADDR", "MISC"][register]).into())
        }
        _ => None,
    }
}

/// The bits that are set in an MSR, where they have names here.
pub fn msr_bits(index: u32, value: u64) -> impl Iterator<Item = &'static str> {
    let bits = if index == IA32_EFER { value } else { 0 };
    Efer::from_bits_truncate(bits).iter_names().map(|(name, _)| name)
}

/// The same for a control register.
pub fn control_bits(register: u8, value: u64) -> impl Iterator<Item = &'static str> {
    let of = |number: u8| if register == number { value } else { 0 };
    let cr0 = Cr0::from_bits_truncate(of(0)).iter_names().map(|(name, _)| name);
    cr0.chain(Cr4::from_bits_truncate(of(4)).iter_names().map(|(name, _)| name))
}
