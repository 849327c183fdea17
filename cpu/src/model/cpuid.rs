//! The leaves of CPUID.

use super::{CpuModel, Feature};
use crate::registers::xfeature;
use trimotor_bus::board::APIC_TIMER_HZ;

/// Last basic leaf.
const LAST_BASIC: u32 = 0x16;
/// Last leaf for hypervisors.
const LAST_HYPERVISOR: u32 = 0x4000_0010;
/// First and last leaf of KVM's interface. Drivers look for its vendor in steps of 100h (Linux, "KVM CPUID bits").
const KVM: u32 = 0x4000_0100;
const LAST_KVM: u32 = 0x4000_0101;
/// Its vendor. Linux drives a VMware mouse on VMware and KVM only; nothing else of the interface is offered.
const KVM_VENDOR: &[u8; 12] = b"KVMKVMKVM\0\0\0";
/// Last extended leaf.
const LAST_EXTENDED: u32 = 0x8000_0008;
/// The vendor.
const VENDOR: &[u8; 12] = b"GenuineIntel";
/// The vendor of leaf 40000000h: nobody's interface, only the timing leaf 40000010h.
const HYPERVISOR_VENDOR: &[u8; 12] = b"TrimotorTrim";

/// Where XSAVE's standard form has the upper halves of YMM registers, and their size.
pub const AVX_STATE: (u32, u32) = (576, 256);
/// Where XSAVE's standard form has PKRU, and its size.
pub const PKRU_STATE: (u32, u32) = (832, 8);

/// What CPUID depends on besides the model.
#[derive(Clone, Copy, Debug, Default)]
pub struct CpuidState {
    /// CR4.OSXSAVE.
    pub osxsave: bool,
    /// CR4.PKE.
    pub ospke: bool,
    /// The local APIC is enabled in IA32_APIC_BASE.
    pub apic_enabled: bool,
    /// The instruction runs in 64-bit mode.
    pub in_64bit_mode: bool,
    /// XCR0.
    pub xcr0: u64,
    /// IA32_XSS.
    pub xss: u64,
    /// The vCPU's number and APIC id.
    pub vcpu: u32,
}

fn word(text: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|i| text.get(at + i).copied().unwrap_or(0)))
}

/// One cache of leaf 4.
struct Cache {
    level: u32,
    /// 1 data, 2 instruction, 3 unified.
    kind: u32,
    ways: u32,
    sets: u32,
    /// All vCPUs share it.
    shared: bool,
}

const CACHES: [Cache; 4] = [
    Cache { level: 1, kind: 1, ways: 8, sets: 64, shared: false },
    Cache { level: 1, kind: 2, ways: 8, sets: 64, shared: false },
    Cache { level: 2, kind: 3, ways: 16, sets: 1024, shared: false },
    Cache { level: 3, kind: 3, ways: 16, sets: 16384, shared: true },
];

impl CpuModel {
    /// What CPUID puts into EAX, EBX, ECX and EDX.
    pub fn cpuid(&self, leaf: u32, subleaf: u32, state: &CpuidState) -> [u32; 4] {
        // Beyond the last leaf, Intel's processors answer as for the last basic one.
        let leaf = match leaf {
            0..=LAST_BASIC | 0x4000_0000..=LAST_HYPERVISOR | KVM..=LAST_KVM | 0x8000_0000..=LAST_EXTENDED => {
                leaf
            }
            _ => LAST_BASIC,
        };
        match leaf {
            0 => [LAST_BASIC, word(VENDOR, 0), word(VENDOR, 8), word(VENDOR, 4)],
            1 => self.version(state),
            // Leaf 4 tells of the caches (descriptor FFh).
            2 => [0xFF01, 0, 0, 0],
            4 => self.cache(subleaf),
            6 => [self.feature_bits(6, 0, 0), 0, 0, 0],
            7 => self.structured(subleaf, state),
            0xB => self.topology(subleaf, state),
            0xD => self.xsave(subleaf, state),
            0x15 => self.tsc_ratio(),
            0x16 => {
                let mhz = (self.tsc_hz / 1_000_000) as u32;
                [mhz, mhz, 100, 0]
            }
            0x4000_0000 => [
                LAST_HYPERVISOR,
                word(HYPERVISOR_VENDOR, 0),
                word(HYPERVISOR_VENDOR, 4),
                word(HYPERVISOR_VENDOR, 8),
            ],
            LAST_HYPERVISOR => [(self.tsc_hz / 1000) as u32, (APIC_TIMER_HZ / 1000) as u32, 0, 0],
            KVM => [LAST_KVM, word(KVM_VENDOR, 0), word(KVM_VENDOR, 4), word(KVM_VENDOR, 8)],
            // None of its features, and no hint.
            LAST_KVM => [0; 4],
            0x8000_0000 => [LAST_EXTENDED, 0, 0, 0],
            0x8000_0001 => self.extended(state),
            0x8000_0002..=0x8000_0004 => self.brand((leaf - 0x8000_0002) as usize * 16),
            // L2: 1 MiB, 16 ways (8), lines of 64 bytes.
            0x8000_0006 => [0, 0, 1024 << 16 | 8 << 12 | 64, 0],
            0x8000_0007 => [0, 0, 0, self.feature_bits(leaf, 0, 3)],
            LAST_EXTENDED => {
                let linear = match (self.has(Feature::Lm), self.has(Feature::La57)) {
                    (false, _) => 32,
                    (_, false) => 48,
                    _ => 57,
                };
                [self.phys_bits | linear << 8, 0, 0, 0]
            }
            _ => [0; 4],
        }
    }

    fn feature_bits(&self, leaf: u32, subleaf: u32, register: u8) -> u32 {
        self.features().bits(leaf, subleaf, register)
    }

    fn version(&self, state: &CpuidState) -> [u32; 4] {
        let cpus = self.cpus.max(1);
        let ids = cpus.next_power_of_two().min(128);
        let mut ecx = self.feature_bits(1, 0, 2);
        if state.osxsave {
            ecx |= 1 << 27;
        }
        let mut edx = self.feature_bits(1, 0, 3);
        if cpus > 1 {
            edx |= 1 << 28; // HTT: more than one logical processor in the package
        }
        if !state.apic_enabled {
            edx &= !(1 << 9);
        }
        let ebx = (state.vcpu & 0xFF) << 24 | ids << 16 | 8 << 8;
        [self.signature, ebx, ecx, edx]
    }

    fn cache(&self, subleaf: u32) -> [u32; 4] {
        let Some(c) = CACHES.get(subleaf as usize) else { return [0; 4] };
        let ids = self.cpus.max(1).next_power_of_two().min(64);
        let sharing = if c.shared { ids - 1 } else { 0 };
        let self_initializing = 1 << 8;
        let eax = c.kind | c.level << 5 | self_initializing | sharing << 14 | (ids - 1) << 26;
        let line = 64 - 1;
        let inclusive = if c.level == 3 { 1 << 1 } else { 0 };
        [eax, (c.ways - 1) << 22 | line, c.sets - 1, inclusive]
    }

    fn structured(&self, subleaf: u32, state: &CpuidState) -> [u32; 4] {
        if subleaf != 0 {
            return [0; 4];
        }
        let mut ecx = self.feature_bits(7, 0, 2);
        if state.ospke {
            ecx |= 1 << 4;
        }
        [1, self.feature_bits(7, 0, 1), ecx, self.feature_bits(7, 0, 3)]
    }

    fn topology(&self, subleaf: u32, state: &CpuidState) -> [u32; 4] {
        let cpus = self.cpus.max(1);
        let core_shift = cpus.next_power_of_two().trailing_zeros();
        match subleaf {
            0 => [0, 1, 1 << 8, state.vcpu],
            1 => [core_shift, cpus, 1 | 2 << 8, state.vcpu],
            _ => [0, 0, subleaf & 0xFF, state.vcpu],
        }
    }

    /// Size of the standard form of an XSAVE area with `components`.
    fn standard_size(&self, components: u64) -> u32 {
        let mut size = 576;
        if components & xfeature::AVX != 0 {
            size = AVX_STATE.0 + AVX_STATE.1;
        }
        if components & xfeature::PKRU != 0 {
            size = PKRU_STATE.0 + PKRU_STATE.1;
        }
        size
    }

    /// Size of the compacted form.
    fn compacted_size(&self, components: u64) -> u32 {
        let mut size = 576;
        if components & xfeature::AVX != 0 {
            size += AVX_STATE.1;
        }
        if components & xfeature::PKRU != 0 {
            size += PKRU_STATE.1;
        }
        size
    }

    fn xsave(&self, subleaf: u32, state: &CpuidState) -> [u32; 4] {
        if !self.has(Feature::Xsave) {
            return [0; 4];
        }
        let supported = self.xcr0_supported();
        match subleaf {
            0 => [
                supported as u32,
                self.standard_size(state.xcr0),
                self.standard_size(supported),
                (supported >> 32) as u32,
            ],
            1 => {
                let size =
                    if self.has(Feature::Xsavec) { self.compacted_size(state.xcr0 | state.xss) } else { 0 };
                [self.feature_bits(0xD, 1, 0), size, 0, 0]
            }
            2 if supported & xfeature::AVX != 0 => [AVX_STATE.1, AVX_STATE.0, 0, 0],
            9 if supported & xfeature::PKRU != 0 => [PKRU_STATE.1, PKRU_STATE.0, 0, 0],
            _ => [0; 4],
        }
    }

    /// The ratio of the time-stamp counter to the crystal, which the APIC timer counts. Linux multiplies the crystal's kilohertz
    /// with the numerator in 32 bits: where the exact ratio is too long for that, the nearest that is not.
    fn tsc_ratio(&self) -> [u32; 4] {
        const LONGEST: u64 = u32::MAX as u64 / (APIC_TIMER_HZ / 1000);
        match nearest_fraction(self.tsc_hz, APIC_TIMER_HZ, LONGEST) {
            Some((numerator, denominator)) => [denominator, numerator, APIC_TIMER_HZ as u32, 0],
            None => [0; 4],
        }
    }

    fn extended(&self, state: &CpuidState) -> [u32; 4] {
        let mut edx = self.feature_bits(0x8000_0001, 0, 3);
        if !state.in_64bit_mode {
            edx &= !(1 << 11); // SYSCALL exists in 64-bit mode only
        }
        [0, 0, self.feature_bits(0x8000_0001, 0, 2), edx]
    }

    fn brand(&self, at: usize) -> [u32; 4] {
        let base = self.name.split(',').next().unwrap_or_default();
        let text = format!("Trimotor virtual CPU {base}");
        let bytes = &text.as_bytes()[..text.len().min(47)];
        std::array::from_fn(|i| word(bytes, at + i * 4))
    }
}

/// The last convergent of the continued fraction of `a / b` with neither number above `limit`, as (numerator, denominator); `None`
/// where that is no fraction between the two greatest and smallest.
fn nearest_fraction(mut a: u64, mut b: u64, limit: u64) -> Option<(u32, u32)> {
    let (mut before, mut last) = ((0u64, 1u64), (1u64, 0u64));
    while b != 0 {
        let whole = a / b;
        let next = (
            whole.checked_mul(last.0).and_then(|n| n.checked_add(before.0)).filter(|n| *n <= limit),
            whole.checked_mul(last.1).and_then(|d| d.checked_add(before.1)).filter(|d| *d <= limit),
        );
        let (Some(numerator), Some(denominator)) = next else { break };
        (before, last) = (last, (numerator, denominator));
        (a, b) = (b, a % b);
    }
    match last {
        (0, _) | (_, 0) => None,
        (numerator, denominator) => Some((numerator as u32, denominator as u32)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(text: &str) -> CpuModel {
        CpuModel::parse(text, 2_500_000_000).expect("a model")
    }

    #[test]
    fn identity_and_features() {
        let m = model("x86-64-v3");
        let s = CpuidState { apic_enabled: true, in_64bit_mode: true, ..CpuidState::default() };
        let [max, b, c, d] = m.cpuid(0, 0, &s);
        assert_eq!(max, 0x16);
        let text: Vec<u8> = [b, d, c].iter().flat_map(|w| w.to_le_bytes()).collect();
        assert_eq!(text, VENDOR);
        let [eax, _, ecx, edx] = m.cpuid(1, 0, &s);
        assert_eq!((eax, ecx >> 28 & 1, ecx >> 27 & 1, edx & 1), (m.signature, 1, 0, 1));
        assert_eq!(m.cpuid(1, 0, &CpuidState { osxsave: true, ..s })[2] >> 27 & 1, 1);
        assert_eq!(m.cpuid(1, 0, &CpuidState { apic_enabled: false, ..s })[3] >> 9 & 1, 0);
        assert_eq!(m.cpuid(0x8000_0001, 0, &CpuidState { in_64bit_mode: false, ..s })[3] >> 11 & 1, 0);
        assert_eq!(m.cpuid(7, 0, &s)[1] >> 9 & 1, 0, "no ERMS");
    }

    #[test]
    fn the_tsc_frequency_is_told_exactly() {
        let [den, num, crystal, _] = model("max").cpuid(0x15, 0, &CpuidState::default());
        assert_eq!(crystal as u64 * num as u64 / den as u64, 2_500_000_000);
    }

    /// As Linux reckons: kilohertz of the crystal times the numerator in 32 bits.
    #[test]
    fn linux_understands_the_tsc_frequency_of_any_host() {
        for hz in [
            1_000_000,
            999_999_937,
            1_000_000_000,
            2_445_406_000,
            2_994_372_000,
            4_100_000_123,
            5_700_000_000,
        ] {
            let model = CpuModel::parse("max", hz).expect("a model");
            let [den, num, crystal, _] = model.cpuid(0x15, 0, &CpuidState::default());
            let khz = u64::from((crystal / 1000).checked_mul(num).expect("32 bits") / den);
            assert!((khz * 1000).abs_diff(hz) <= hz / 1_000_000 + 1000, "{hz}: {num}/{den}");
        }
        assert_eq!(nearest_fraction(1, 1_000_000, 10), None);
    }

    #[test]
    fn topology_gives_each_vcpu_a_core() {
        let mut m = model("max");
        m.cpus = 6;
        let s = CpuidState { vcpu: 5, ..CpuidState::default() };
        assert_eq!(m.cpuid(0xB, 1, &s), [3, 6, 0x201, 5]);
        assert_eq!(m.cpuid(1, 0, &s)[1] >> 16, 5 << 8 | 8);
        assert_eq!(m.cpuid(4, 0, &s)[0] >> 26, 7);
    }

    #[test]
    fn xsave_sizes_follow_xcr0() {
        let s = CpuidState { xcr0: 3, ..CpuidState::default() };
        assert_eq!(model("x86-64-v3").cpuid(0xD, 0, &s), [7, 576, 832, 0]);
        let s = CpuidState { xcr0: 0x207, ..s };
        assert_eq!(model("max").cpuid(0xD, 0, &s), [0x207, 840, 840, 0]);
        assert_eq!(model("x86-64-v1").cpuid(0xD, 0, &s), [0; 4]);
    }

    #[test]
    fn kvm_is_named_where_drivers_look_for_it_and_offers_nothing() {
        let (model, state) = (model("x86-64-v3"), CpuidState::default());
        let [last, b, c, d] = model.cpuid(0x4000_0100, 0, &state);
        let name = [b, c, d].map(u32::to_le_bytes).concat();
        assert_eq!(name, b"KVMKVMKVM\0\0\0");
        assert_eq!((last, model.cpuid(last, 0, &state)), (0x4000_0101, [0; 4]));
    }

    #[test]
    fn unknown_leaves_answer_as_the_last_basic_one() {
        let m = model("x86-64-v2");
        let s = CpuidState::default();
        assert_eq!(m.cpuid(0x1234, 0, &s), m.cpuid(0x16, 0, &s));
        assert_eq!(m.cpuid(0x8000_0002, 0, &s)[0].to_le_bytes(), *b"Trim");
    }
}
