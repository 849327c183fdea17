//! KVM as an engine.

use crate::model;
use crate::offer::Offer;
use crate::vcpu::KvmVcpu;
use crate::vm::Vm;
use kvm_ioctls::Kvm;
use std::sync::Arc;
use trimotor_bus::{GuestMemory, VcpuSignals};
use trimotor_cpu::backend::{BackendError, CpuBackend, Lacks, Vcpu};
use trimotor_cpu::model::CpuModel;

/// The host's KVM, with another engine for what it cannot do.
pub struct KvmEngine {
    kvm: Kvm,
    offer: Offer,
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
        let offer = Offer::find(&kvm)?;
        Ok(KvmEngine { kvm, offer, other, vm: None })
    }
    /// The VM with this memory.
    fn vm(&mut self, memory: &Arc<GuestMemory>) -> Result<Arc<Vm>, String> {
        match &self.vm {
            Some(vm) if Arc::ptr_eq(&vm.memory, memory) => Ok(vm.clone()),
            _ => {
                let vm = Arc::new(Vm::new(&self.kvm, memory, &self.offer)?);
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
        let tsc_hz = self.offer.tsc_hz.filter(|hz| *hz != model.tsc_hz);
        Lacks { features: model::lacking(model, &self.offer.cpuid, self.offer.hardware), tsc_hz }
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
        let other = self.other.create_vcpu(id, model, memory, signals)?;
        let vcpu = KvmVcpu::new(&vm, id, model, signals, other).map_err(unavailable)?;
        Ok(Box::new(vcpu))
    }
}
