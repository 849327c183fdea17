//! CPU models by name, and what CPUID says of them.
//!
//! # Models
//! `x86-64-v1`, `-v2` and `-v3` are the levels of the x86-64 psABI with what operating systems of
//! such machines expect besides (x2APIC, TSC deadline, SMEP and so on); `max` has all that this
//! project implements. `+feature` and `-feature` change single ones. CPUID never claims what is
//! missing.
//!
//! # Vendor, family and model
//! The vendor is GenuineIntel: SYSCALL exists in 64-bit mode only and SYSENTER in all, leaf 4 tells
//! of caches and leaf 15h of the TSC's frequency, which Linux reads from Intel's processors only
//! (it then calibrates neither TSC nor APIC timer).
//!
//! What an operating system does against speculation costs a lot when it is emulated: with an
//! Intel vendor and nothing else said, Linux switches page tables at each system call, and turns
//! indirect calls into thunks. This CPU does not speculate. There are two ways to say so, and both
//! are used: IA32_ARCH_CAPABILITIES has the "not affected" bits, and family 6 model 36h (the
//! in-order Atom "Saltwell") is one of those that Linux, in its 32-bit and 64-bit kernels, knows to
//! have no speculative execution: `/sys/devices/system/cpu/vulnerabilities` reads "Not affected"
//! throughout. Features are told by their bits as always, so that the model number takes nothing
//! away.
//!
//! # Time
//! The crystal of leaf 15h is the clock of the local APIC's timer
//! ([`APIC_TIMER_HZ`](trimotor_bus::board::APIC_TIMER_HZ)), as Linux concludes.
//!
//! Source: SDM Vol. 2, CPUID; SDM Vol. 4; x86-64 psABI, "Micro-Architecture Levels".

pub mod cpuid;
mod feature;
mod parse;

pub use cpuid::CpuidState;
pub use feature::{FEATURES, Feature, FeatureSet, Level, Place, Row};
pub use parse::{ModelError, NAMES};

use crate::registers::{Cr4, Efer, xfeature};
use iced_x86::CpuidFeature;

/// Family 6, model 36h, stepping 1.
const SIGNATURE: u32 = 0x0003_0661;
/// MAXPHYADDR of models with long mode: 1 TiB.
const PHYS_BITS: u32 = 40;
/// MAXPHYADDR without long mode.
const PHYS_BITS_PAE: u32 = 36;

/// IA32_ARCH_CAPABILITIES: RDCL_NO, SKIP_L1DFL_VMENTRY, SSB_NO, MDS_NO, PSCHANGE_MC_NO, TAA_NO,
/// SBDR_SSDP_NO, FBSDP_NO, PSDP_NO, BHI_NO, PBRSB_NO, GDS_NO, RFDS_NO, ITS_NO.
pub const ARCH_CAPABILITIES: u64 = 1
    | 1 << 3
    | 1 << 4
    | 1 << 5
    | 1 << 6
    | 1 << 8
    | 1 << 13
    | 1 << 14
    | 1 << 15
    | 1 << 20
    | 1 << 24
    | 1 << 26
    | 1 << 27
    | 1 << 62;

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
    /// How many vCPUs the machine has, 1 to 255; each is a core of one package.
    pub cpus: u32,
    features: FeatureSet,
}

impl CpuModel {
    fn of(name: &str, features: FeatureSet, tsc_hz: u64) -> CpuModel {
        let phys_bits = if features.has(Feature::Lm) { PHYS_BITS } else { PHYS_BITS_PAE };
        CpuModel { name: name.to_owned(), signature: SIGNATURE, phys_bits, tsc_hz, cpus: 1, features }
    }

    /// Whether the CPU has a feature.
    #[inline]
    pub fn has(&self, feature: Feature) -> bool {
        self.features.has(feature)
    }
    /// All its features.
    pub fn features(&self) -> FeatureSet {
        self.features
    }
    /// Without what engines carry out by instructions of the same name only, where this host lacks
    /// them: FMA and F16C. (All else they need is in every x86-64 host of the last decade, or done by
    /// software.)
    pub fn limited_to_host(self) -> CpuModel {
        #[cfg(target_arch = "x86_64")]
        let (fma, f16c) = (crate::simd::fp::host_offers_fma(), crate::simd::fp::host_offers_f16c());
        #[cfg(not(target_arch = "x86_64"))]
        let (fma, f16c) = (false, false);
        let mut features = self.features;
        for (feature, offered) in [(Feature::Fma, fma), (Feature::F16c, f16c)] {
            features = features.with(feature, features.has(feature) && offered);
        }
        CpuModel { features, ..self }
    }
    /// Without some features and those that need them; the name says which.
    #[must_use]
    pub fn without(mut self, features: &[Feature]) -> CpuModel {
        let gone = self.with_dependents(features);
        for feature in gone {
            self.features = self.features.with(feature, false);
            self.name = format!("{},-{}", self.name, FEATURES[feature as usize].name);
        }
        self
    }
    /// Those of `features` that the CPU has, and what it has that needs them.
    pub fn with_dependents(&self, features: &[Feature]) -> Vec<Feature> {
        let mut gone = Vec::new();
        loop {
            let needs_gone = |row: &&Row| {
                let lost =
                    features.contains(&row.feature) || row.needs.iter().any(|need| gone.contains(need));
                self.has(row.feature) && lost && !gone.contains(&row.feature)
            };
            match FEATURES.iter().find(needs_gone) {
                Some(row) => gone.push(row.feature),
                None => return gone,
            }
        }
    }
    /// Whether 1 GiB pages are offered.
    pub fn gib_pages(&self) -> bool {
        self.has(Feature::GibPages)
    }
    /// The state components that XCR0 may enable.
    pub fn xcr0_supported(&self) -> u64 {
        let mut bits = xfeature::X87;
        for (feature, bit) in
            [(Feature::Sse, xfeature::SSE), (Feature::Avx, xfeature::AVX), (Feature::Pku, xfeature::PKRU)]
        {
            if self.has(feature) {
                bits |= bit;
            }
        }
        bits
    }

    /// The bits of CR4 that this CPU has.
    pub fn cr4_known(&self) -> Cr4 {
        let mut known = Cr4::TSD | Cr4::PCE;
        let pairs = [
            (Feature::Vme, Cr4::VME | Cr4::PVI),
            (Feature::De, Cr4::DE),
            (Feature::Pse, Cr4::PSE),
            (Feature::Pae, Cr4::PAE),
            (Feature::Mce, Cr4::MCE),
            (Feature::Pge, Cr4::PGE),
            (Feature::Fxsr, Cr4::OSFXSR),
            (Feature::Sse, Cr4::OSXMMEXCPT),
            (Feature::Umip, Cr4::UMIP),
            (Feature::La57, Cr4::LA57),
            (Feature::Fsgsbase, Cr4::FSGSBASE),
            (Feature::Pcid, Cr4::PCIDE),
            (Feature::Xsave, Cr4::OSXSAVE),
            (Feature::Smep, Cr4::SMEP),
            (Feature::Smap, Cr4::SMAP),
            (Feature::Pku, Cr4::PKE),
        ];
        for (feature, bits) in pairs {
            if self.has(feature) {
                known |= bits;
            }
        }
        known
    }

    /// The bits of IA32_EFER that can be written on this CPU.
    pub fn efer_known(&self) -> Efer {
        let pairs = [(Feature::Syscall, Efer::SCE), (Feature::Lm, Efer::LME), (Feature::Nx, Efer::NXE)];
        pairs.into_iter().filter(|(feature, _)| self.has(*feature)).map(|(_, bit)| bit).collect()
    }

    /// Whether an instruction of one of iced-x86's features exists on this CPU.
    pub fn allows_iced(&self, feature: CpuidFeature) -> bool {
        use CpuidFeature as I;
        let needed = match feature {
            I::INTEL8086 | I::INTEL186 | I::INTEL286 | I::INTEL386 | I::INTEL486 | I::CPUID => return true,
            I::MULTIBYTENOP | I::PAUSE | I::RDPMC | I::SMM => return true,
            // Hints in the space of reserved NOPs: they do nothing without the feature.
            I::CET_IBT | I::CET_SS | I::CLDEMOTE | I::PREFETCHITI => return true,
            // WBNOINVD is WBINVD with a prefix that older processors ignore.
            I::WBNOINVD => return true,
            I::X64 => Feature::Lm,
            I::FPU | I::FPU287 | I::FPU387 => Feature::Fpu,
            I::MMX => Feature::Mmx,
            I::FXSR => Feature::Fxsr,
            I::SSE => Feature::Sse,
            I::SSE2 => Feature::Sse2,
            I::SSE3 => Feature::Sse3,
            I::SSSE3 => Feature::Ssse3,
            I::SSE4_1 => Feature::Sse41,
            I::SSE4_2 => Feature::Sse42,
            I::POPCNT => Feature::Popcnt,
            I::AES => Feature::Aes,
            I::PCLMULQDQ => Feature::Pclmulqdq,
            I::SHA => Feature::Sha,
            I::AVX => Feature::Avx,
            I::AVX2 => Feature::Avx2,
            I::FMA => Feature::Fma,
            I::F16C => Feature::F16c,
            I::BMI1 => Feature::Bmi1,
            I::BMI2 => Feature::Bmi2,
            I::LZCNT => Feature::Abm,
            I::ADX => Feature::Adx,
            I::MOVBE => Feature::Movbe,
            I::CMOV => Feature::Cmov,
            I::CX8 => Feature::Cx8,
            I::CMPXCHG16B => Feature::Cx16,
            I::RDRAND => Feature::Rdrand,
            I::RDSEED => Feature::Rdseed,
            I::RDTSCP => Feature::Rdtscp,
            I::RDPID => Feature::Rdpid,
            I::FSGSBASE => Feature::Fsgsbase,
            I::XSAVE => Feature::Xsave,
            I::XSAVEOPT => Feature::Xsaveopt,
            I::XSAVEC => Feature::Xsavec,
            I::XSAVES => Feature::Xsaves,
            I::CLFSH => Feature::Clflush,
            I::CLFLUSHOPT => Feature::Clflushopt,
            I::INVPCID => Feature::Invpcid,
            I::SMAP => Feature::Smap,
            I::PKU => Feature::Pku,
            I::PREFETCHW => Feature::Prefetchw,
            I::MSR => Feature::Msr,
            I::TSC => Feature::Tsc,
            I::SEP => Feature::Sep,
            I::SYSCALL => Feature::Syscall,
            _ => return false,
        };
        self.has(needed)
    }
}
