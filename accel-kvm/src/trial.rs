//! One tiny guest in a VM of its own.

// KVM takes guest memory as a host address: the one unsafe call of this crate.
#![allow(unsafe_code)]

use crate::KvmUnusable;
use crate::guests::{CODE, DATA, IN_PORT, IN_VALUE, Mode, OUT_PORT, PAGE_TABLES, TinyGuest};
use crate::probe::Progress;
use kvm_bindings::{CpuId, kvm_regs, kvm_segment, kvm_sregs, kvm_userspace_memory_region};
use kvm_ioctls::{Cap, Kvm, VcpuExit, VcpuFd, VmFd};
use std::io;
use std::sync::Arc;
use trimotor_bus::{GuestMemory, PhysAddr};

/// Where Intel's KVM keeps three pages for real mode on processors that cannot run it directly: in the
/// hole below 4 GiB, where no guest memory is.
const TSS_ADDRESS: usize = 0xFFFB_D000;
/// How much of its RAM the guest sees, in bytes: up to the VGA window.
const MAPPED: u64 = 0xA_0000;
/// How often a guest may leave KVM before it is stopped: twice what any of them needs.
const MAX_EXITS: usize = 8;

const CR0_PE_MP_ET_NE_WP_PG: u64 = 1 << 0 | 1 << 1 | 1 << 4 | 1 << 5 | 1 << 16 | 1 << 31;
const CR4_PAE_OSFXSR_OSXMMEXCPT: u64 = 1 << 5 | 1 << 9 | 1 << 10;
const CR4_OSXSAVE: u64 = 1 << 18;
const EFER_LME_LMA: u64 = 1 << 8 | 1 << 10;
/// CPUID.1:ECX bit of XSAVE, without which CR4.OSXSAVE cannot be set.
const CPUID_XSAVE: u32 = 26;

/// A refusal of `step`.
pub fn refused(step: &'static str) -> impl Fn(kvm_ioctls::Error) -> KvmUnusable {
    move |error| {
        let error = io::Error::from(error);
        let busy = error.kind() == io::ErrorKind::ResourceBusy;
        KvmUnusable::Refused { step, reason: error.to_string(), busy }
    }
}

/// Whether CPUID.1:ECX has `bit`.
pub fn has_feature(cpuid: &CpuId, bit: u32) -> bool {
    cpuid.as_slice().iter().any(|leaf| leaf.function == 1 && leaf.ecx >> bit & 1 != 0)
}

/// A VM with one vCPU, in the state in which `guest` starts.
pub struct Trial {
    // In the order of dropping: KVM lets go of the memory before it is unmapped.
    vcpu: VcpuFd,
    _vm: VmFd,
    memory: Arc<GuestMemory>,
    guest: TinyGuest,
}

impl Trial {
    /// Creates VM and vCPU, maps memory, loads the guest and its registers.
    ///
    /// # Errors
    /// [`KvmUnusable::Refused`].
    pub fn new(kvm: &Kvm, cpuid: &CpuId, guest: TinyGuest) -> Result<Self, KvmUnusable> {
        let memory = GuestMemory::new(1 << 20, &[]).map_err(|error| KvmUnusable::Refused {
            step: "memory for a guest",
            reason: error.to_string(),
            busy: false,
        })?;
        memory.write(PhysAddr(CODE), guest.code);
        let vm = kvm.create_vm().map_err(refused("KVM_CREATE_VM"))?;
        if vm.check_extension(Cap::SetTssAddr) {
            vm.set_tss_address(TSS_ADDRESS).map_err(refused("KVM_SET_TSS_ADDR"))?;
        }
        let region = kvm_userspace_memory_region {
            slot: 0,
            flags: 0,
            guest_phys_addr: 0,
            memory_size: MAPPED,
            userspace_addr: memory.backing(PhysAddr(0)).read as u64,
        };
        // SAFETY: the first MAPPED bytes of the 1 MiB of RAM are one mapping, which `memory` owns; it
        // goes into the same struct as the VM and is dropped after it.
        unsafe { vm.set_user_memory_region(region) }.map_err(refused("KVM_SET_USER_MEMORY_REGION"))?;
        let vcpu = vm.create_vcpu(0).map_err(refused("KVM_CREATE_VCPU"))?;
        vcpu.set_cpuid2(cpuid).map_err(refused("KVM_SET_CPUID2"))?;
        let trial = Self { vcpu, _vm: vm, memory, guest };
        trial.set_registers(has_feature(cpuid, CPUID_XSAVE))?;
        Ok(trial)
    }

    fn set_registers(&self, xsave: bool) -> Result<(), KvmUnusable> {
        let mut sregs = self.vcpu.get_sregs().map_err(refused("KVM_GET_SREGS"))?;
        match self.guest.mode {
            Mode::Real => (sregs.cs.base, sregs.cs.selector) = (0, 0),
            Mode::Long => {
                self.map_identity();
                enter_long_mode(&mut sregs, xsave);
            }
        }
        self.vcpu.set_sregs(&sregs).map_err(refused("KVM_SET_SREGS"))?;
        // Bit 1 of RFLAGS is always one.
        let regs = kvm_regs { rip: CODE, rflags: 2, ..Default::default() };
        self.vcpu.set_regs(&regs).map_err(refused("KVM_SET_REGS"))
    }

    /// Page tables that map the first 2 MiB to themselves, present and writable.
    fn map_identity(&self) {
        let [pml4, pdpt, directory] = PAGE_TABLES;
        const PRESENT_WRITABLE: u64 = 3;
        const LARGE: u64 = 1 << 7;
        let entries = [(pml4, pdpt), (pdpt, directory), (directory, LARGE)];
        for (at, to) in entries {
            self.memory.write(PhysAddr(at), &(to | PRESENT_WRITABLE).to_le_bytes());
        }
    }

    /// Whether KVM_RUN returns at once when `immediate_exit` asks for it.
    ///
    /// # Errors
    /// [`KvmUnusable::Refused`]: it does something else.
    pub fn returns_at_once(&mut self) -> Result<(), KvmUnusable> {
        self.vcpu.set_kvm_immediate_exit(1);
        let reason = match self.vcpu.run() {
            Err(error) if io::Error::from(error).kind() == io::ErrorKind::Interrupted => None,
            Err(error) => Some(error.to_string()),
            Ok(exit) => Some(format!("the guest ran: {exit:?}")),
        };
        self.vcpu.set_kvm_immediate_exit(0);
        let step = "to leave KVM_RUN at once (immediate_exit)";
        reason.map_or(Ok(()), |reason| Err(KvmUnusable::Refused { step, reason, busy: false }))
    }

    /// Runs the guest to its HLT.
    ///
    /// # Errors
    /// What it did instead, in words.
    pub fn run(&mut self, progress: &Progress) -> Result<(), String> {
        let mut out = Vec::new();
        for _ in 0..MAX_EXITS {
            if progress.is_stopped() {
                return Err("the probe was given up".to_owned());
            }
            match self.vcpu.run() {
                Ok(VcpuExit::Hlt) => return self.check(&out),
                Ok(VcpuExit::IoOut(OUT_PORT, data)) => out.extend_from_slice(data),
                Ok(VcpuExit::IoIn(IN_PORT, data)) => data.fill(IN_VALUE),
                // A signal of the surrounding program.
                Err(error) if io::Error::from(error).kind() == io::ErrorKind::Interrupted => {}
                Ok(exit) => {
                    let what = in_words(&exit);
                    return Err(format!("{what}{}", self.place()));
                }
                Err(error) => return Err(format!("KVM_RUN: {}", io::Error::from(error))),
            }
        }
        Err(format!("it does not come to its HLT{}", self.place()))
    }

    fn check(&self, out: &[u8]) -> Result<(), String> {
        if out != self.guest.out {
            return Err(format!("it wrote {out:02x?} to its port, not {:02x?}", self.guest.out));
        }
        let mut stored = vec![0; self.guest.stored.len()];
        self.memory.read(PhysAddr(DATA), &mut stored);
        if stored != self.guest.stored {
            return Err(format!("it stored {stored:02x?}, not {:02x?}", self.guest.stored));
        }
        Ok(())
    }

    /// Where it stands, with the code there: " at 1009h (66 0f fe c0 ...)". Empty where that tells nothing.
    fn place(&self) -> String {
        let Ok(regs) = self.vcpu.get_regs() else { return String::new() };
        let Some(rest) = regs.rip.checked_sub(CODE).and_then(|at| self.guest.code.get(at as usize..)) else {
            return format!(" at {:x}h, outside its code", regs.rip);
        };
        let bytes: Vec<_> = rest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        format!(" at {:x}h ({} ...)", regs.rip, bytes.join(" "))
    }
}

/// The registers of 64-bit mode at CPL 0, with flat segments. SDM Vol. 3A, IA-32e mode initialization.
fn enter_long_mode(sregs: &mut kvm_sregs, xsave: bool) {
    let flat = kvm_segment { base: 0, limit: u32::MAX, present: 1, s: 1, g: 1, ..Default::default() };
    sregs.cs = kvm_segment { selector: 0x08, type_: 11, l: 1, ..flat };
    let data = kvm_segment { selector: 0x10, type_: 3, db: 1, ..flat };
    (sregs.ds, sregs.es, sregs.fs, sregs.gs, sregs.ss) = (data, data, data, data, data);
    sregs.cr3 = PAGE_TABLES[0];
    sregs.cr4 = CR4_PAE_OSFXSR_OSXMMEXCPT | if xsave { CR4_OSXSAVE } else { 0 };
    sregs.efer = EFER_LME_LMA;
    sregs.cr0 = CR0_PE_MP_ET_NE_WP_PG;
}

fn in_words(exit: &VcpuExit<'_>) -> String {
    match exit {
        VcpuExit::Shutdown => "it shuts down".to_owned(),
        VcpuExit::InternalError => "the instruction emulator gives up".to_owned(),
        VcpuExit::FailEntry(reason, _) => format!("the processor refuses to enter it, reason {reason:#x}"),
        VcpuExit::IoIn(port, _) | VcpuExit::IoOut(port, _) => format!("it accesses port {port:#x}"),
        VcpuExit::MmioRead(addr, _) | VcpuExit::MmioWrite(addr, _) => {
            format!("it accesses {addr:#x}, where no memory is")
        }
        other => format!("it ends with {other:?}"),
    }
}
