//! What this host's KVM offers its guests, whatever they are.

use crate::probe::backing;
use crate::vector_state::Layout;
use kvm_bindings::{CpuId, KVM_MAX_CPUID_ENTRIES, kvm_cpuid_entry2};
use kvm_ioctls::{Cap, Kvm, VcpuFd};

/// What a VM may have.
#[derive(Clone, Debug)]
pub struct Offer {
    /// Guest instructions run on hardware.
    pub hardware: bool,
    /// The features that a guest may be shown, and those that it sees in any case.
    pub cpuid: CpuId,
    /// Where XSAVE has what.
    pub layout: Layout,
    /// The frequency of the time-stamp counter, in Hz, where that cannot be chosen.
    pub tsc_hz: Option<u64>,
}

impl Offer {
    /// Asks KVM, and a vCPU of a VM that ends here.
    ///
    /// # Errors
    /// The request that was refused, and why.
    pub fn find(kvm: &Kvm) -> Result<Offer, String> {
        let refused = |step: &'static str| move |error: kvm_ioctls::Error| format!("{step}: {error}");
        let supported =
            kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES).map_err(refused("KVM_GET_SUPPORTED_CPUID"))?;
        let vm = kvm.create_vm().map_err(refused("KVM_CREATE_VM"))?;
        let vcpu = vm.create_vcpu(0).map_err(refused("KVM_CREATE_VCPU"))?;
        let scales = kvm.check_extension(Cap::TscControl);
        let tsc_hz = if scales { None } else { vcpu.get_tsc_khz().ok().map(|khz| u64::from(khz) * 1000) };
        let cpuid = with_forced(&supported, &vcpu)?;
        let layout = layout(&supported);
        Ok(Offer { hardware: backing().is_hardware(), cpuid, layout, tsc_hz: tsc_hz.filter(|hz| *hz > 0) })
    }
}

/// `supported`, and what a vCPU shows though it was not asked to: a KVM of software runs user mode on the host's processor, where
/// CPUID is the processor's.
fn with_forced(supported: &CpuId, vcpu: &VcpuFd) -> Result<CpuId, String> {
    vcpu.set_cpuid2(supported).map_err(|error| format!("KVM_SET_CPUID2: {error}"))?;
    let shown = vcpu.get_cpuid2(KVM_MAX_CPUID_ENTRIES).map_err(|error| format!("KVM_GET_CPUID2: {error}"))?;
    let mut cpuid = supported.clone();
    for entry in cpuid.as_mut_slice() {
        if let Some(shown) = leaf(&shown, entry.function, entry.index) {
            entry.eax |= shown.eax;
            entry.ebx |= shown.ebx;
            entry.ecx |= shown.ecx;
            entry.edx |= shown.edx;
        }
    }
    Ok(cpuid)
}

fn leaf(cpuid: &CpuId, function: u32, index: u32) -> Option<kvm_cpuid_entry2> {
    cpuid.as_slice().iter().find(|entry| (entry.function, entry.index) == (function, index)).copied()
}

/// Where KVM_GET_XSAVE has the components that CPUID leaf Dh lists.
fn layout(supported: &CpuId) -> Layout {
    let components = leaf(supported, 0xD, 0).map_or(3, |entry| entry.eax);
    let pkru = (components >> 9 & 1 != 0).then(|| leaf(supported, 0xD, 9)).flatten();
    Layout {
        avx: components >> 2 & 1 != 0,
        pkru: pkru.map(|entry| entry.ebx as usize).filter(|offset| (576..4092).contains(offset)),
    }
}
