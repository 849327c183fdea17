//! The machine's CPU model in KVM: what KVM cannot offer of it, and CPUID.

use kvm_bindings::{CpuId, kvm_cpuid_entry2};
use trimotor_cpu::model::{CpuModel, CpuidState, FEATURES, Feature};

/// Features that KVM's list does not decide about: the machine carries them out itself.
const OWN: [Feature; 7] = [
    Feature::Apic,
    Feature::X2apic,
    Feature::TscDeadline,
    Feature::Hypervisor,
    Feature::Arat,
    Feature::Mtrr,
    Feature::ArchCapabilities,
];
/// CPUID entries with subleaves have this flag.
const BY_SUBLEAF: u32 = 1;
/// Leaves of the model and their subleaves: see [`CpuModel::cpuid`].
const LEAVES: [(u32, u32); 36] = {
    let mut leaves = [(0, 1); 36];
    let mut leaf = 0;
    while leaf <= 0x16 {
        leaves[leaf as usize] = (leaf, 1);
        leaf += 1;
    }
    leaves[4] = (4, 5);
    leaves[7] = (7, 1);
    leaves[0xB] = (0xB, 3);
    leaves[0xD] = (0xD, 10);
    leaves[23] = (0x4000_0000, 1);
    leaves[24] = (0x4000_0010, 1);
    leaves[25] = (0x4000_0100, 1);
    leaves[26] = (0x4000_0101, 1);
    let mut i = 0;
    while i <= 8 {
        leaves[27 + i as usize] = (0x8000_0000 + i, 1);
        i += 1;
    }
    leaves
};
const fn has_subleaves(leaf: u32) -> bool {
    matches!(leaf, 4 | 7 | 0xB | 0xD)
}

/// Features of the model that KVM does not offer. On software it cannot change the time-stamp counter.
pub fn lacking(model: &CpuModel, supported: &CpuId, hardware: bool) -> Vec<Feature> {
    let offers = |feature: Feature| {
        let place = FEATURES[feature as usize].place;
        let entry = supported.as_slice().iter().find(|entry| {
            entry.function == place.leaf && (entry.index == place.subleaf || !has_subleaves(place.leaf))
        });
        entry.is_some_and(|e| [e.eax, e.ebx, e.ecx, e.edx][usize::from(place.register)] >> place.bit & 1 != 0)
    };
    let lacks = |feature: Feature| match feature {
        Feature::TscAdjust => !hardware,
        _ => !OWN.contains(&feature) && !offers(feature),
    };
    let all = FEATURES.iter().map(|row| row.feature);
    let gone: Vec<_> = all.filter(|feature| model.has(*feature) && lacks(*feature)).collect();
    model.with_dependents(&gone)
}

/// The model's CPUID for vCPU `vcpu`. KVM keeps what depends on the vCPU's state (OSXSAVE, OSPKE, sizes of XSAVE) up to date.
pub fn cpuid(model: &CpuModel, vcpu: u32) -> Vec<kvm_cpuid_entry2> {
    let state = CpuidState {
        apic_enabled: true,
        in_64bit_mode: true,
        xcr0: model.xcr0_supported(),
        vcpu,
        ..CpuidState::default()
    };
    let entry = |function: u32, index: u32| {
        let [eax, ebx, ecx, edx] = model.cpuid(function, index, &state);
        let flags = if has_subleaves(function) { BY_SUBLEAF } else { 0 };
        kvm_cpuid_entry2 { function, index, flags, eax, ebx, ecx, edx, ..Default::default() }
    };
    LEAVES
        .into_iter()
        .flat_map(|(leaf, subleaves)| (0..subleaves).map(move |i| (leaf, i)))
        .map(|(l, i)| entry(l, i))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_leaf_is_listed_once_and_says_what_the_model_says() {
        let model = CpuModel::parse("max", 1_000_000_000).expect("a model");
        let entries = cpuid(&model, 3);
        for (i, entry) in entries.iter().enumerate() {
            let same =
                |other: &kvm_cpuid_entry2| (other.function, other.index) == (entry.function, entry.index);
            assert_eq!(entries.iter().position(same), Some(i), "{:#x}", entry.function);
        }
        let leaf_1 = entries.iter().find(|entry| entry.function == 1).expect("leaf 1");
        assert_eq!((leaf_1.eax, leaf_1.ebx >> 24), (model.signature, 3));
    }

    #[test]
    fn what_kvm_does_not_offer_goes_with_what_needs_it() {
        let model = CpuModel::parse("max", 1_000_000_000).expect("a model");
        let mut entries = cpuid(&model, 0);
        let leaf_1 = entries.iter_mut().find(|entry| entry.function == 1).expect("leaf 1");
        leaf_1.ecx &= !(1 << 28); // AVX
        let gone = lacking(&model, &CpuId::from_entries(&entries).expect("entries"), true);
        assert!(
            gone.contains(&Feature::Avx) && gone.contains(&Feature::Avx2) && gone.contains(&Feature::Fma)
        );
        assert!(!gone.contains(&Feature::Sse42) && !gone.contains(&Feature::X2apic), "{gone:?}");
        let cut = model.without(&gone);
        assert!(!cut.has(Feature::Avx2) && cut.name.contains("-avx2"), "{}", cut.name);
    }
}
