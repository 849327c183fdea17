//! KVM as an engine.

use crate::model;
use crate::probe::backing;
use crate::vcpu::KvmVcpu;
use crate::vm::{Vm, supported_cpuid};
use kvm_ioctls::{Cap, Kvm};
use std::sync::Arc;
use trimotor_bus::{GuestMemory, VcpuSignals};
use trimotor_cpu::backend::{BackendError, CpuBackend, Lacks, Vcpu};
use trimotor_cpu::model::CpuModel;

/// The host's KVM, with another engine for what it cannot do.
pub struct KvmEngine {
    kvm: Kvm,
    other: Box<dyn CpuBackend>,
    /// The VM of the vCPUs that were made last.
    vm: Option<Arc<Vm>>,
}

impl KvmEngine {
    /// Opens KVM. `other` makes the vCPUs that run what KVM cannot.
    ///
    /// # Errors
    /// The host's words.
    pub fn new(other: Box<dyn CpuBackend>) -> Result<KvmEngine, String> {
        let kvm = Kvm::new().map_err(|error| format!("/dev/kvm does not open: {error}"))?;
        Ok(KvmEngine { kvm, other, vm: None })
    }
    /// The VM with this memory.
    fn vm(&mut self, memory: &Arc<GuestMemory>) -> Result<Arc<Vm>, String> {
        match &self.vm {
            Some(vm) if Arc::ptr_eq(&vm.memory, memory) => Ok(vm.clone()),
            _ => {
                let vm = Arc::new(Vm::new(&self.kvm, memory, backing().is_hardware())?);
                self.vm = Some(vm.clone());
                Ok(vm)
            }
        }
    }
}

impl CpuBackend for KvmEngine {
    fn name(&self) -> &'static str {
        "kvm"
    }
    fn counts_instructions(&self) -> bool {
        false
    }
    fn lacks(&self, model: &CpuModel) -> Lacks {
        let features =
            supported_cpuid(&self.kvm).map(|cpuid| model::lacking(model, &cpuid)).unwrap_or_default();
        let tsc_hz = if self.kvm.check_extension(Cap::TscControl) { None } else { host_tsc_hz(&self.kvm) };
        Lacks { features, tsc_hz: tsc_hz.filter(|hz| *hz != model.tsc_hz) }
    }
    fn create_vcpu(
        &mut self,
        id: u32,
        model: &Arc<CpuModel>,
        memory: &Arc<GuestMemory>,
        signals: &Arc<VcpuSignals>,
    ) -> Result<Box<dyn Vcpu>, BackendError> {
        let unavailable = |reason| BackendError::Unavailable { engine: "kvm", reason };
        let vm = self.vm(memory).map_err(unavailable)?;
        let missing = model::lacking(model, &vm.supported);
        let model =
            if missing.is_empty() { model.clone() } else { Arc::new((**model).clone().without(&missing)) };
        let other = self.other.create_vcpu(id, &model, memory, signals)?;
        let vcpu = KvmVcpu::new(&vm, id, &model, signals, other).map_err(unavailable)?;
        Ok(Box::new(vcpu))
    }
}

/// The frequency of the guests' time-stamp counter where KVM cannot scale it.
fn host_tsc_hz(kvm: &Kvm) -> Option<u64> {
    let vm = kvm.create_vm().ok()?;
    let khz = vm.create_vcpu(0).ok()?.get_tsc_khz().ok()?;
    (khz > 0).then(|| u64::from(khz) * 1000)
}
