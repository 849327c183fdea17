//! The VM: memory slots that follow the machine's map, and what all its vCPUs share.
//!
//! Interrupt controllers and timers are the machine's own (KVM_CREATE_IRQCHIP is not asked for). So are all MSRs but the few that
//! guests use all the time (`registers.rs`): a filter has KVM leave the guest for the others.

#![allow(unsafe_code, reason = "KVM takes guest memory as host addresses")]

use crate::offer::Offer;
use crate::registers::MSRS;
use crate::requests;
use crate::vector_state::Layout;
use kvm_bindings::{
    KVM_CAP_EXIT_ON_EMULATION_FAILURE, KVM_CAP_X86_USER_SPACE_MSR, KVM_MSR_EXIT_REASON_VALID_MASK,
    kvm_enable_cap,
};
use kvm_ioctls::{Cap, Kvm, MsrFilterDefaultAction, MsrFilterRange, MsrFilterRangeFlags, VmFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use trimotor_bus::GuestMemory;
use trimotor_bus::memory::MemorySlot;
use trimotor_cpu::msr;

/// Where Intel's KVM keeps three pages for real mode on processors that cannot run it directly: in the hole below 4 GiB, where no
/// guest memory is.
const TSS_ADDRESS: usize = 0xFFFB_D000;
/// More slots than any map has; what is beyond stays with the bus.
const MOST_SLOTS: usize = 500;

/// A VM.
pub struct Vm {
    // Before the memory, so that KVM lets go of it before it is unmapped.
    fd: VmFd,
    /// The guest's memory.
    pub memory: Arc<GuestMemory>,
    /// Guest instructions run on hardware.
    pub hardware: bool,
    /// Where XSAVE has what.
    pub layout: Layout,
    slots: Mutex<Vec<Option<MemorySlot>>>,
    /// The generation of the map that the slots are for.
    generation: AtomicU64,
    /// How often KVM has run guest code: what engines derived from memory before may be outdated.
    runs: AtomicU64,
}

// SAFETY: the slots' host addresses are numbers for KVM, and are not followed here. All else is Send and Sync by itself.
unsafe impl Send for Vm {}
// SAFETY: as above; the list of slots is behind a lock.
unsafe impl Sync for Vm {}

impl Vm {
    /// A VM with `memory` as it is now, for vCPUs that `offer` tells of.
    ///
    /// # Errors
    /// The request that was refused, and why.
    pub fn new(kvm: &Kvm, memory: &Arc<GuestMemory>, offer: &Offer) -> Result<Vm, String> {
        let refused = |what: &str, error: kvm_ioctls::Error| format!("{what}: {error}");
        let fd = kvm.create_vm().map_err(|error| refused("KVM_CREATE_VM", error))?;
        if fd.check_extension(Cap::SetTssAddr) {
            fd.set_tss_address(TSS_ADDRESS).map_err(|error| refused("KVM_SET_TSS_ADDR", error))?;
        }
        enable(&fd, KVM_CAP_X86_USER_SPACE_MSR, KVM_MSR_EXIT_REASON_VALID_MASK.into())
            .map_err(|error| refused("KVM_CAP_X86_USER_SPACE_MSR", error))?;
        // What cannot be emulated in user mode comes out too, where KVM can do so; else the guest sees #UD there.
        let _ = enable(&fd, KVM_CAP_EXIT_ON_EMULATION_FAILURE, 1);
        filter_msrs(&fd).map_err(|error| refused("KVM_X86_SET_MSR_FILTER", error))?;
        let vm = Vm {
            fd,
            memory: memory.clone(),
            hardware: offer.hardware,
            layout: offer.layout,
            slots: Mutex::default(),
            generation: AtomicU64::new(u64::MAX),
            runs: AtomicU64::new(0),
        };
        vm.follow_map()?;
        Ok(vm)
    }
    /// The VM's descriptor.
    pub fn fd(&self) -> &VmFd {
        &self.fd
    }
    /// How often KVM has run guest code.
    pub fn runs(&self) -> u64 {
        self.runs.load(Ordering::Relaxed)
    }
    /// KVM is about to run guest code.
    pub fn count_run(&self) {
        self.runs.fetch_add(1, Ordering::Relaxed);
    }
    /// Makes the slots those of the present map, where it has changed.
    ///
    /// # Errors
    /// The host refuses a slot; the next call tries anew.
    pub fn follow_map(&self) -> Result<(), String> {
        let generation = self.memory.map_generation();
        if self.generation.load(Ordering::Relaxed) == generation {
            return Ok(());
        }
        let mut have = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let mut wanted = self.memory.slots();
        wanted.truncate(MOST_SLOTS);
        self.note_dirty(&have);
        for (number, slot) in have.iter_mut().enumerate() {
            if slot.is_some_and(|slot| !wanted.contains(&slot)) {
                self.set(number, None)?;
                *slot = None;
            }
        }
        for slot in wanted {
            if have.contains(&Some(slot)) {
                continue;
            }
            let number = have.iter().position(Option::is_none).unwrap_or_else(|| {
                have.push(None);
                have.len() - 1
            });
            self.set(number, Some(&slot))?;
            have[number] = Some(slot);
        }
        self.generation.store(generation, Ordering::Relaxed);
        Ok(())
    }
    fn set(&self, number: usize, slot: Option<&MemorySlot>) -> Result<(), String> {
        // SAFETY: slots are of `memory`, which owns their host memory, never unmaps it while it lives, and lives longer than
        // `fd`; vCPUs hold the VM.
        unsafe { requests::set_memory(&self.fd, number as u32, slot) }
            .map_err(|error| format!("KVM_SET_USER_MEMORY_REGION: {error}"))
    }
    /// Tells the memory which pages the guest has written of those that somebody asks for.
    pub fn collect_dirty(&self) {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        self.note_dirty(&slots);
    }
    fn note_dirty(&self, slots: &[Option<MemorySlot>]) {
        for (number, slot) in slots.iter().enumerate() {
            let Some(slot) = slot.filter(|slot| slot.log_dirty) else { continue };
            let Ok(log) = self.fd.get_dirty_log(number as u32, slot.bytes as usize) else { continue };
            let Some(first) = self.memory.ram_page_of_host(slot.host) else { continue };
            for (i, word) in log.into_iter().enumerate().filter(|(_, word)| *word != 0) {
                for bit in (0..64).filter(|bit| word >> bit & 1 != 0) {
                    self.memory.note_dirty(first + 64 * i as u64 + bit);
                }
            }
        }
    }
}

fn enable(fd: &VmFd, cap: u32, argument: u64) -> Result<(), kvm_ioctls::Error> {
    fd.enable_cap(&kvm_enable_cap { cap, args: [argument, 0, 0, 0], ..Default::default() })
}

/// Has the guest leave KVM for all MSRs but those that KVM keeps, and EFER and the segment bases.
fn filter_msrs(fd: &VmFd) -> Result<(), kvm_ioctls::Error> {
    let allowed: Vec<u32> =
        MSRS.into_iter().chain([msr::IA32_EFER, msr::IA32_FS_BASE, msr::IA32_GS_BASE]).collect();
    let bitmap = [1u8];
    let range = |base: &u32| MsrFilterRange {
        flags: MsrFilterRangeFlags::READ | MsrFilterRangeFlags::WRITE,
        base: *base,
        msr_count: 1,
        bitmap: &bitmap,
    };
    let ranges: Vec<_> = allowed.iter().map(range).collect();
    fd.set_msr_filter(MsrFilterDefaultAction::DENY, &ranges)
}
