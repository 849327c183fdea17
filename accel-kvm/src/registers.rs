//! General and system registers between [`ArchState`] and KVM's structures.

use kvm_bindings::{
    KVM_VCPUEVENT_VALID_NMI_PENDING, KVM_VCPUEVENT_VALID_SHADOW, KVM_X86_SHADOW_INT_MOV_SS,
    KVM_X86_SHADOW_INT_STI, kvm_debugregs, kvm_dtable, kvm_msr_entry, kvm_regs, kvm_segment, kvm_sregs,
    kvm_vcpu_events,
};
use trimotor_bus::{GuestMemory, PhysAddr};
use trimotor_cpu::registers::{Cr0, Cr4, Efer};
use trimotor_cpu::segment::TableRegister;
use trimotor_cpu::state::Activity;
use trimotor_cpu::{ArchState, Segment, msr};

/// The local APIC where it is after RESET, and enabled: KVM asks no more of it, as the machine has its own.
const APIC_BASE: u64 = 0xFEE0_0800;
/// RFLAGS.VM.
const RFLAGS_VM: u64 = 1 << 17;

/// MSRs that the guest reads and writes in KVM. All others come to the machine: see `vm.rs`.
pub const MSRS: [u32; 10] = [
    msr::IA32_SYSENTER_CS,
    msr::IA32_SYSENTER_ESP,
    msr::IA32_SYSENTER_EIP,
    msr::IA32_PAT,
    msr::IA32_STAR,
    msr::IA32_LSTAR,
    msr::IA32_CSTAR,
    msr::IA32_FMASK,
    msr::IA32_KERNEL_GS_BASE,
    msr::IA32_TSC_AUX,
];

/// General registers.
pub fn to_regs(s: &ArchState) -> kvm_regs {
    let [rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15] = s.gpr;
    let (rip, rflags) = (s.rip, s.rflags);
    kvm_regs { rax, rbx, rcx, rdx, rsi, rdi, rsp, rbp, r8, r9, r10, r11, r12, r13, r14, r15, rip, rflags }
}
/// The same out of KVM.
pub fn from_regs(r: &kvm_regs, s: &mut ArchState) {
    s.gpr = [
        r.rax, r.rcx, r.rdx, r.rbx, r.rsp, r.rbp, r.rsi, r.rdi, r.r8, r.r9, r.r10, r.r11, r.r12, r.r13,
        r.r14, r.r15,
    ];
    (s.rip, s.rflags) = (r.rip, r.rflags | 2);
}

fn to_segment(s: &Segment) -> kvm_segment {
    let bit = |mask: u16| u8::from(s.attributes & mask != 0);
    let present = bit(Segment::P);
    kvm_segment {
        base: s.base,
        limit: s.limit,
        selector: s.selector,
        type_: s.kind(),
        present,
        dpl: s.dpl(),
        db: bit(Segment::DB),
        s: bit(Segment::S),
        l: bit(Segment::L),
        g: bit(Segment::G),
        avl: bit(Segment::AVL),
        unusable: 1 - present,
        padding: 0,
    }
}
fn from_segment(s: &kvm_segment) -> Segment {
    let flag = |on: u8, mask: u16| if on != 0 { mask } else { 0 };
    let attributes = u16::from(s.type_ & 15)
        | u16::from(s.dpl & 3) << 5
        | flag(s.s, Segment::S)
        | flag(s.present, Segment::P)
        | flag(s.avl, Segment::AVL)
        | flag(s.l, Segment::L)
        | flag(s.db, Segment::DB)
        | flag(s.g, Segment::G);
    let attributes = if s.unusable != 0 || s.present == 0 { 0 } else { attributes };
    Segment { base: s.base, limit: s.limit, attributes, selector: s.selector }
}

/// Segments, tables and control registers.
pub fn to_sregs(s: &ArchState, boots: bool) -> kvm_sregs {
    let [es, cs, ss, ds, fs, gs] = s.segments.each_ref().map(to_segment);
    // The privilege level is SS's.
    let ss = kvm_segment { dpl: s.cpl & 3, ..ss };
    let table = |t: &TableRegister| kvm_dtable { base: t.base, limit: t.limit, padding: [0; 3] };
    let tr = to_segment(&s.tr);
    // Hardware takes no other TR than that of a busy task.
    let tr =
        if tr.unusable != 0 { kvm_segment { type_: 11, present: 1, unusable: 0, s: 0, ..tr } } else { tr };
    kvm_sregs {
        cs,
        ds,
        es,
        fs,
        gs,
        ss,
        tr,
        ldt: to_segment(&s.ldtr),
        gdt: table(&s.gdtr),
        idt: table(&s.idtr),
        cr0: s.cr0,
        cr2: s.cr2,
        cr3: s.cr3,
        cr4: s.cr4,
        cr8: 0,
        efer: s.efer,
        apic_base: APIC_BASE | u64::from(boots) << 8,
        interrupt_bitmap: [0; 4],
    }
}
/// The same out of KVM; RFLAGS are in `s` already. PDPTEs are read from the table that CR3 points to.
pub fn from_sregs(r: &kvm_sregs, memory: &GuestMemory, s: &mut ArchState) {
    s.segments = [&r.es, &r.cs, &r.ss, &r.ds, &r.fs, &r.gs].map(from_segment);
    s.ldtr = from_segment(&r.ldt);
    s.tr = from_segment(&r.tr);
    let table = |t: &kvm_dtable| TableRegister { base: t.base, limit: t.limit };
    (s.gdtr, s.idtr) = (table(&r.gdt), table(&r.idt));
    (s.cr0, s.cr2, s.cr3, s.cr4, s.efer) = (r.cr0, r.cr2, r.cr3, r.cr4, r.efer);
    s.cpl = if r.cr0 & Cr0::PE.bits() == 0 {
        0
    } else if s.rflags & RFLAGS_VM != 0 {
        3
    } else {
        // SS.DPL where the mode has just become protected, and CS is of real mode still; CS.RPL where a KVM of software left SS as
        // it was before SYSCALL.
        (r.ss.dpl & 3).min(r.cs.selector as u8 & 3)
    };
    let pae = r.cr0 & Cr0::PG.bits() != 0 && r.cr4 & Cr4::PAE.bits() != 0 && r.efer & Efer::LMA.bits() == 0;
    if pae {
        let table = r.cr3 & 0xFFFF_FFE0;
        s.pdpte = std::array::from_fn(|i| memory.read_u64(PhysAddr(table + 8 * i as u64)));
    }
}

/// Debug registers.
pub fn to_debug(s: &ArchState) -> kvm_debugregs {
    let [d0, d1, d2, d3, _, _, dr6, dr7] = s.dr;
    kvm_debugregs { db: [d0, d1, d2, d3], dr6, dr7, ..Default::default() }
}
/// The same out of KVM.
pub fn from_debug(r: &kvm_debugregs, s: &mut ArchState) {
    s.dr[..4].copy_from_slice(&r.db);
    (s.dr[6], s.dr[7]) = (r.dr6, r.dr7);
}

/// Shadows and blocked NMIs, and that no event is under way.
pub fn to_events(s: &ArchState) -> kvm_vcpu_events {
    let flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW;
    let mut events = kvm_vcpu_events { flags, ..Default::default() };
    events.nmi.masked = s.nmi_blocked.into();
    if s.interrupt_shadow {
        let kind = if s.shadow_is_ss { KVM_X86_SHADOW_INT_MOV_SS } else { KVM_X86_SHADOW_INT_STI };
        events.interrupt.shadow = kind as u8;
    }
    events
}
/// The same out of KVM; events under way are not part of it.
pub fn from_events(events: &kvm_vcpu_events, s: &mut ArchState) {
    let shadow = u32::from(events.interrupt.shadow);
    s.interrupt_shadow = shadow != 0;
    s.shadow_is_ss = shadow & KVM_X86_SHADOW_INT_MOV_SS != 0;
    // One that is about to be delivered blocks none yet.
    s.nmi_blocked = events.nmi.masked != 0 && events.nmi.injected == 0;
}

/// The MSRs of [`MSRS`].
pub fn to_msrs(s: &ArchState) -> [kvm_msr_entry; MSRS.len()] {
    let m = &s.msrs;
    let values = [
        m.sysenter_cs,
        m.sysenter_esp,
        m.sysenter_eip,
        m.pat,
        m.star,
        m.lstar,
        m.cstar,
        m.fmask,
        m.kernel_gs_base,
        m.tsc_aux,
    ];
    std::array::from_fn(|i| kvm_msr_entry { index: MSRS[i], data: values[i], ..Default::default() })
}
/// The same out of KVM.
pub fn from_msrs(entries: &[kvm_msr_entry], s: &mut ArchState) {
    let m = &mut s.msrs;
    for entry in entries {
        let field = match entry.index {
            msr::IA32_SYSENTER_CS => &mut m.sysenter_cs,
            msr::IA32_SYSENTER_ESP => &mut m.sysenter_esp,
            msr::IA32_SYSENTER_EIP => &mut m.sysenter_eip,
            msr::IA32_PAT => &mut m.pat,
            msr::IA32_STAR => &mut m.star,
            msr::IA32_LSTAR => &mut m.lstar,
            msr::IA32_CSTAR => &mut m.cstar,
            msr::IA32_FMASK => &mut m.fmask,
            msr::IA32_KERNEL_GS_BASE => &mut m.kernel_gs_base,
            msr::IA32_TSC_AUX => &mut m.tsc_aux,
            _ => continue,
        };
        *field = entry.data;
    }
}

/// Whether a state is one that KVM can go on from; else what of it it cannot have.
pub fn needs_interpreter(s: &ArchState, hardware: bool) -> Option<&'static str> {
    /// RFLAGS.TF.
    const TF: u64 = 1 << 8;
    /// CR0.PG.
    const PG: u64 = 1 << 31;
    /// EFER.SCE.
    const SCE: u64 = 1;
    /// EFER.LMA.
    const LMA: u64 = 1 << 10;
    if !s.a20 {
        return Some("A20 gate closed");
    }
    if s.in_smm {
        return Some("system-management mode");
    }
    if !matches!(s.activity, Activity::Active | Activity::Halted) {
        return Some("waiting for start-up");
    }
    if s.pending_debug != 0 || s.msrs.debugctl != 0 || s.msrs.xss != 0 {
        return Some("debug or XSS state");
    }
    if !hardware && s.cr0 & PG != 0 && s.efer & LMA == 0 {
        // kvm_pvm goes on without paging then.
        return Some("paging outside long mode");
    }
    if !hardware && s.efer & SCE != 0 {
        // kvm_pvm goes on behind SYSCALL with the rights of user mode.
        return Some("system calls");
    }
    if !hardware && (s.rflags & TF != 0 || s.dr[7] & 0xFF != 0) {
        return Some("guest's own debugging");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use trimotor_cpu::CpuState;

    #[test]
    fn the_privilege_level_is_that_after_syscall() {
        let memory = GuestMemory::new(1 << 20, &[]).expect("memory");
        let mut s = CpuState::at_reset(0x661).to_arch();
        let level = |ss: u8, cs: u16, s: &mut ArchState| {
            let ss = kvm_segment { dpl: ss, ..Default::default() };
            let cs = kvm_segment { selector: cs, ..Default::default() };
            from_sregs(&kvm_sregs { cr0: 1, ss, cs, ..Default::default() }, &memory, s);
            s.cpl
        };
        assert_eq!(level(3, 0x10, &mut s), 0, "SS as before SYSCALL");
        assert_eq!(level(0, 0x07C3, &mut s), 0, "CS as in real mode");
        assert_eq!(level(3, 0x33, &mut s), 3);
    }

    #[test]
    fn registers_come_back_as_they_went() {
        let memory = GuestMemory::new(1 << 20, &[]).expect("memory");
        let mut s = CpuState::at_reset(0x661).to_arch();
        s.gpr = std::array::from_fn(|i| i as u64 + 0x100);
        s.cr0 = 0x8001_0033;
        s.cpl = 3;
        s.segments = [Segment { base: 0, limit: u32::MAX, attributes: 0xC0F3, selector: 0x2B }; 6];
        s.segments[5] = Segment { base: 0x1234, ..Segment::null(3) };
        s.dr = [1, 2, 3, 4, 0, 0, 0xFFFF_0FF1, 0x401];
        (s.interrupt_shadow, s.shadow_is_ss, s.nmi_blocked) = (true, true, true);
        (s.msrs.lstar, s.msrs.tsc_aux) = (7, 8);
        let mut back = CpuState::at_reset(0x661).to_arch();
        back.retired = s.retired;
        from_regs(&to_regs(&s), &mut back);
        from_sregs(&to_sregs(&s, true), &memory, &mut back);
        from_debug(&to_debug(&s), &mut back);
        from_events(&to_events(&s), &mut back);
        from_msrs(&to_msrs(&s), &mut back);
        assert_eq!(back, s);
    }
}
