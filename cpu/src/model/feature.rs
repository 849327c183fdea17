//! The features a CPU model can have: names as in Linux's `/proc/cpuinfo`, places in CPUID, the
//! level that brings them, and what they need.

/// Where CPUID tells of a feature.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// Leaf (EAX).
    pub leaf: u32,
    /// Subleaf (ECX).
    pub subleaf: u32,
    /// Register: 0 EAX, 1 EBX, 2 ECX, 3 EDX.
    pub register: u8,
    /// Bit of it.
    pub bit: u8,
}

/// The first of the named models that has a feature.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    /// x86-64-v1.
    V1,
    /// x86-64-v2.
    V2,
    /// x86-64-v3.
    V3,
    /// max.
    Max,
}

/// A row of the table of features.
pub struct Row {
    /// The feature.
    pub feature: Feature,
    /// Its name on the command line and in Linux.
    pub name: &'static str,
    /// Its place in CPUID.
    pub place: Place,
    /// The level that brings it.
    pub level: Level,
    /// What it needs.
    pub needs: &'static [Feature],
}

macro_rules! features {
    ($($variant:ident, $name:literal, $leaf:literal:$subleaf:literal $register:ident[$bit:literal], $level:ident, [$($need:ident),*];)*) => {
        /// A CPU feature that CPUID tells of.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[repr(u8)]
        #[allow(missing_docs, reason = "the names are the manual's")]
        pub enum Feature { $($variant),* }

        /// All features, in the order of their numbers.
        pub const FEATURES: &[Row] = &[$(Row {
            feature: Feature::$variant,
            name: $name,
            place: Place { leaf: $leaf, subleaf: $subleaf, register: register::$register, bit: $bit },
            level: Level::$level,
            needs: &[$(Feature::$need),*],
        }),*];
    };
}

#[allow(non_upper_case_globals, reason = "read in the table as the manual writes them")]
mod register {
    pub(super) const eax: u8 = 0;
    pub(super) const ebx: u8 = 1;
    pub(super) const ecx: u8 = 2;
    pub(super) const edx: u8 = 3;
}

features! {
    Fpu, "fpu", 1:0 edx[0], V1, [];
    Vme, "vme", 1:0 edx[1], V1, [];
    De, "de", 1:0 edx[2], V1, [];
    Pse, "pse", 1:0 edx[3], V1, [];
    Tsc, "tsc", 1:0 edx[4], V1, [];
    Msr, "msr", 1:0 edx[5], V1, [];
    Pae, "pae", 1:0 edx[6], V1, [];
    Mce, "mce", 1:0 edx[7], V1, [];
    Cx8, "cx8", 1:0 edx[8], V1, [];
    Apic, "apic", 1:0 edx[9], V1, [];
    Sep, "sep", 1:0 edx[11], V1, [];
    Mtrr, "mtrr", 1:0 edx[12], V1, [];
    Pge, "pge", 1:0 edx[13], V1, [];
    Mca, "mca", 1:0 edx[14], V1, [Mce];
    Cmov, "cmov", 1:0 edx[15], V1, [];
    Pat, "pat", 1:0 edx[16], V1, [];
    Pse36, "pse36", 1:0 edx[17], V1, [Pse];
    Clflush, "clflush", 1:0 edx[19], V1, [];
    Mmx, "mmx", 1:0 edx[23], V1, [Fpu];
    Fxsr, "fxsr", 1:0 edx[24], V1, [Fpu];
    Sse, "sse", 1:0 edx[25], V1, [Fxsr];
    Sse2, "sse2", 1:0 edx[26], V1, [Sse];
    Sse3, "pni", 1:0 ecx[0], V2, [Sse2];
    Pclmulqdq, "pclmulqdq", 1:0 ecx[1], V3, [Sse2];
    Ssse3, "ssse3", 1:0 ecx[9], V2, [Sse3];
    Fma, "fma", 1:0 ecx[12], V3, [Avx];
    Cx16, "cx16", 1:0 ecx[13], V2, [Cx8, Lm];
    Pcid, "pcid", 1:0 ecx[17], V3, [Lm];
    Sse41, "sse4_1", 1:0 ecx[19], V2, [Ssse3];
    Sse42, "sse4_2", 1:0 ecx[20], V2, [Sse41];
    X2apic, "x2apic", 1:0 ecx[21], V1, [Apic];
    Movbe, "movbe", 1:0 ecx[22], V3, [];
    Popcnt, "popcnt", 1:0 ecx[23], V2, [];
    TscDeadline, "tsc_deadline_timer", 1:0 ecx[24], V1, [Apic, Tsc];
    Aes, "aes", 1:0 ecx[25], V3, [Sse2];
    Xsave, "xsave", 1:0 ecx[26], V3, [Fxsr];
    Avx, "avx", 1:0 ecx[28], V3, [Xsave, Sse42];
    F16c, "f16c", 1:0 ecx[29], V3, [Avx];
    Rdrand, "rdrand", 1:0 ecx[30], V3, [];
    Hypervisor, "hypervisor", 1:0 ecx[31], V1, [];
    Arat, "arat", 6:0 eax[2], V1, [Apic];
    Fsgsbase, "fsgsbase", 7:0 ebx[0], V3, [Lm];
    TscAdjust, "tsc_adjust", 7:0 ebx[1], V1, [Tsc];
    Bmi1, "bmi1", 7:0 ebx[3], V3, [];
    Avx2, "avx2", 7:0 ebx[5], V3, [Avx];
    Smep, "smep", 7:0 ebx[7], V3, [];
    Bmi2, "bmi2", 7:0 ebx[8], V3, [];
    Invpcid, "invpcid", 7:0 ebx[10], V3, [];
    Rdseed, "rdseed", 7:0 ebx[18], V3, [];
    Adx, "adx", 7:0 ebx[19], V3, [];
    Smap, "smap", 7:0 ebx[20], V3, [];
    Clflushopt, "clflushopt", 7:0 ebx[23], V3, [Clflush];
    Sha, "sha_ni", 7:0 ebx[29], V3, [Sse2];
    Umip, "umip", 7:0 ecx[2], V3, [];
    Pku, "pku", 7:0 ecx[3], Max, [Lm];
    La57, "la57", 7:0 ecx[16], Max, [Lm];
    Rdpid, "rdpid", 7:0 ecx[22], V3, [];
    SpecCtrl, "spec_ctrl", 7:0 edx[26], Max, [];
    ArchCapabilities, "arch_capabilities", 7:0 edx[29], V1, [];
    Xsaveopt, "xsaveopt", 0xD:1 eax[0], V3, [Xsave];
    Xsavec, "xsavec", 0xD:1 eax[1], V3, [Xsave];
    Xgetbv1, "xgetbv1", 0xD:1 eax[2], V3, [Xsave];
    Xsaves, "xsaves", 0xD:1 eax[3], V3, [Xsavec];
    LahfLm, "lahf_lm", 0x80000001:0 ecx[0], V2, [Lm];
    Abm, "abm", 0x80000001:0 ecx[5], V3, [];
    Prefetchw, "3dnowprefetch", 0x80000001:0 ecx[8], V2, [];
    Syscall, "syscall", 0x80000001:0 edx[11], V1, [Lm];
    Nx, "nx", 0x80000001:0 edx[20], V1, [Pae];
    GibPages, "pdpe1gb", 0x80000001:0 edx[26], V2, [Lm];
    Rdtscp, "rdtscp", 0x80000001:0 edx[27], V2, [Tsc];
    Lm, "lm", 0x80000001:0 edx[29], V1, [Pae, Sse2];
    InvariantTsc, "nonstop_tsc", 0x80000007:0 edx[8], V1, [Tsc];
}

const _: () = assert!(FEATURES.len() <= 128, "a feature set is 128 bits");

/// A set of features.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct FeatureSet(u128);

impl FeatureSet {
    /// All features of a level and those below.
    pub fn up_to(level: Level) -> FeatureSet {
        FEATURES.iter().filter(|r| r.level <= level).fold(FeatureSet(0), |s, r| s.with(r.feature, true))
    }
    /// Whether a feature is in.
    #[inline]
    pub const fn has(self, feature: Feature) -> bool {
        self.0 >> feature as u8 & 1 != 0
    }
    /// With a feature in or out.
    pub const fn with(self, feature: Feature, on: bool) -> FeatureSet {
        let bit = 1 << feature as u8;
        FeatureSet(if on { self.0 | bit } else { self.0 & !bit })
    }
    /// The bits of one register of a CPUID leaf.
    pub fn bits(self, leaf: u32, subleaf: u32, register: u8) -> u32 {
        FEATURES
            .iter()
            .filter(|r| {
                let p = r.place;
                (p.leaf, p.subleaf, p.register) == (leaf, subleaf, register) && self.has(r.feature)
            })
            .fold(0, |bits, r| bits | 1 << r.place.bit)
    }
}

impl std::fmt::Debug for FeatureSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(FEATURES.iter().filter(|r| self.has(r.feature)).map(|r| r.name)).finish()
    }
}
