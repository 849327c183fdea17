//! CPU models by name, and what CPUID says of them.

/// A CPU model with its features, as CPUID tells them.
#[derive(Clone, Debug)]
pub struct CpuModel {
    /// The name on the command line.
    pub name: String,
    /// CPUID.1:EAX: family, model, stepping.
    pub signature: u32,
    /// MAXPHYADDR.
    pub phys_bits: u32,
    /// Frequency of the time-stamp counter, in hertz.
    pub tsc_hz: u64,
}

impl CpuModel {
    /// Whether 1 GiB pages are offered.
    pub fn gib_pages(&self) -> bool {
        true
    }
    /// Whether an instruction of one of iced-x86's features exists on this CPU.
    pub fn allows_iced(&self, _feature: iced_x86::CpuidFeature) -> bool {
        true
    }
}
