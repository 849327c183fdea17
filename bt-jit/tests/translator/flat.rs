//! A machine of memory and a vCPU alone, for 32-bit code in flat segments without paging.

use std::sync::Arc;
use trimotor_bus::{GuestMemory, PhysAddr, VcpuSignals};
use trimotor_cpu::model::CpuModel;
use trimotor_cpu::state::Activity;
use trimotor_cpu::{CpuBackend, Segment, Vcpu};

/// Where code lies.
pub const CODE: u64 = 0x1000;
/// Where data lies, in the next page.
pub const DATA: u64 = 0x2000;

/// A vCPU of `engine` about to run `code`, beside `data`.
pub fn vcpu(engine: &mut dyn CpuBackend, code: &[u8], data: &[u8]) -> (Arc<GuestMemory>, Box<dyn Vcpu>) {
    let memory = GuestMemory::new(1 << 20, &[]).unwrap();
    memory.write(PhysAddr(CODE), code);
    memory.write(PhysAddr(DATA), data);
    let model = Arc::new(CpuModel::parse("max", 1_000_000_000).unwrap());
    let mut vcpu = engine.create_vcpu(0, &model, &memory, &VcpuSignals::new()).unwrap();
    let mut state = vcpu.state();
    let flat = |selector, attributes| Segment { base: 0, limit: 0xFFFF_FFFF, attributes, selector };
    state.segments = [flat(0x10, 0xC093); 6];
    state.segments[1] = flat(0x08, 0xC09B);
    state.cr0 = 0x31;
    state.rip = CODE;
    state.rflags = 2;
    state.activity = Activity::Active;
    vcpu.set_state(&state);
    (memory, vcpu)
}
