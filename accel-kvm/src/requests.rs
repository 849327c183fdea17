//! Requests to KVM that the crate kvm-ioctls has not for this architecture, and guest memory.

#![allow(unsafe_code, reason = "ioctl(2), and KVM takes guest memory as host addresses")]

use kvm_bindings::{
    KVM_MEM_LOG_DIRTY_PAGES, KVM_MEM_READONLY, KVM_VCPU_TSC_CTRL, KVM_VCPU_TSC_OFFSET, kvm_device_attr,
    kvm_userspace_memory_region, kvm_xsave,
};
use kvm_ioctls::{VcpuFd, VmFd};
use std::io;
use std::os::fd::AsRawFd;
use trimotor_bus::memory::MemorySlot;

/// KVM_INTERRUPT: `_IOW(0xAE, 0x86, struct kvm_interrupt)`.
const KVM_INTERRUPT: u64 = 0x4004_AE86;
/// KVM_SET_DEVICE_ATTR and KVM_GET_DEVICE_ATTR: `_IOW(0xAE, 0xE1 or 0xE2, struct kvm_device_attr)`.
const KVM_SET_DEVICE_ATTR: u64 = 0x4018_AEE1;
const KVM_GET_DEVICE_ATTR: u64 = 0x4018_AEE2;

/// Has the vCPU deliver an external interrupt when it runs next.
///
/// # Errors
/// The host's.
pub fn interrupt(vcpu: &VcpuFd, vector: u8) -> io::Result<()> {
    let vector = u32::from(vector);
    // SAFETY: the request reads one u32 from the address.
    let answer = unsafe { libc::ioctl(vcpu.as_raw_fd(), KVM_INTERRUPT as _, &raw const vector) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// What KVM adds to the host's time-stamp counter for the guest.
///
/// # Errors
/// The host's.
pub fn tsc_offset(vcpu: &VcpuFd) -> io::Result<u64> {
    let mut offset = 0u64;
    device_attribute(vcpu, KVM_GET_DEVICE_ATTR, &raw mut offset)?;
    Ok(offset)
}
/// Sets it.
///
/// # Errors
/// The host's.
pub fn set_tsc_offset(vcpu: &VcpuFd, mut offset: u64) -> io::Result<()> {
    device_attribute(vcpu, KVM_SET_DEVICE_ATTR, &raw mut offset)
}
fn device_attribute(vcpu: &VcpuFd, request: u64, value: *mut u64) -> io::Result<()> {
    let (group, attr) = (KVM_VCPU_TSC_CTRL, u64::from(KVM_VCPU_TSC_OFFSET));
    let attribute = kvm_device_attr { flags: 0, group, attr, addr: value as u64 };
    // SAFETY: the attribute is one u64, which KVM reads or writes at `value`; callers pass a live variable.
    let answer = unsafe { libc::ioctl(vcpu.as_raw_fd(), request as _, &raw const attribute) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Sets vector and x87 state from an area of XSAVE's standard form.
///
/// # Errors
/// The host's.
pub fn set_xsave(vcpu: &VcpuFd, area: &kvm_xsave) -> io::Result<()> {
    // SAFETY: KVM reads as much as KVM_CAP_XSAVE2 tells, which is the 4096 bytes of `kvm_xsave` unless the process asked
    // for dynamically enabled state (arch_prctl), which this program does not.
    unsafe { vcpu.set_xsave(area) }.map_err(io::Error::from)
}

/// Gives the VM a slot of memory, or changes it; without `memory` takes it away.
///
/// # Safety
/// The slot's host memory stays mapped for as long as the VM has the slot.
///
/// # Errors
/// The host's.
pub unsafe fn set_memory(vm: &VmFd, slot: u32, memory: Option<&MemorySlot>) -> io::Result<()> {
    let mut region = kvm_userspace_memory_region { slot, ..Default::default() };
    if let Some(memory) = memory {
        region.guest_phys_addr = memory.at.0;
        region.memory_size = memory.bytes;
        region.userspace_addr = memory.host as u64;
        region.flags |= if memory.read_only { KVM_MEM_READONLY } else { 0 };
        region.flags |= if memory.log_dirty { KVM_MEM_LOG_DIRTY_PAGES } else { 0 };
    }
    // SAFETY: the caller's promise.
    unsafe { vm.set_user_memory_region(region) }.map_err(io::Error::from)
}
