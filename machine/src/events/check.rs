//! Where a run is, so that another one can be held against it.

use serde::{Deserialize, Serialize};
use trimotor_bus::GuestMemory;
use trimotor_cpu::ArchState;

/// Where a vCPU is between two instructions.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct VcpuCheck {
    /// Instructions retired.
    retired: u64,
    /// RIP.
    rip: u64,
    /// RFLAGS.
    rflags: u64,
    /// CR3.
    cr3: u64,
    /// RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8 to R15.
    gpr: [u64; 16],
    /// CRC-32 of the whole state.
    state: u32,
}

/// The general registers, in the order of their numbers.
const GPR_NAMES: [&str; 16] = [
    "RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI", "R8", "R9", "R10", "R11", "R12", "R13", "R14",
    "R15",
];

impl VcpuCheck {
    /// Of a vCPU in this state.
    pub(crate) fn of(state: &ArchState) -> Self {
        // It has no part that cannot be encoded.
        let whole = postcard::to_stdvec(state).unwrap_or_default();
        Self {
            retired: state.retired,
            rip: state.rip,
            rflags: state.rflags,
            cr3: state.cr3,
            gpr: state.gpr,
            state: crc32fast::hash(&whole),
        }
    }
    /// The first difference of the vCPU `now` from this recorded one, for people.
    fn difference(&self, now: &Self) -> Option<String> {
        let Self { retired, rip, rflags, cr3, gpr, state } = self;
        if *retired != now.retired {
            return Some(format!(
                "it has retired {} instructions, and had {retired} in the recording",
                now.retired
            ));
        }
        let named = [("RIP", *rip, now.rip), ("RFLAGS", *rflags, now.rflags), ("CR3", *cr3, now.cr3)];
        let general = (0..16).map(|number| (GPR_NAMES[number], gpr[number], now.gpr[number]));
        let different = |(_, then, now): &(&str, u64, u64)| then != now;
        if let Some((name, then, now)) = named.into_iter().chain(general).find(different) {
            return Some(format!("{name} is {now:#x}, and was {then:#x} in the recording"));
        }
        (*state != now.state).then(|| {
            "a register beside the general ones is another one (segments, control, vector, x87, MSRs)"
                .to_owned()
        })
    }
}

/// The first vCPU that is elsewhere than in the recording, and how it differs.
pub(crate) fn difference(recorded: &[VcpuCheck], now: &[VcpuCheck]) -> Option<(usize, String)> {
    let different =
        |(cpu, (then, now)): (usize, (&VcpuCheck, &VcpuCheck))| Some((cpu, then.difference(now)?));
    recorded.iter().zip(now).enumerate().find_map(different).or_else(|| {
        let (then, now) = (recorded.len(), now.len());
        (then != now)
            .then(|| (then.min(now), format!("the recording has {then} vCPUs, and this machine {now}")))
    })
}

/// CRC-32 of RAM: of the pages that hold anything but zeros, with their numbers.
pub(crate) fn sum_of_ram(memory: &GuestMemory) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    for (page, bytes) in memory.pages_in_use(memory.main_memory()) {
        sum.update(&page.to_le_bytes());
        sum.update(&bytes);
    }
    sum.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_named() {
        let check = VcpuCheck { retired: 9, rip: 1, rflags: 2, cr3: 3, gpr: [7; 16], state: 5 };
        let both = [check.clone(), check.clone()];
        assert_eq!(difference(&both, &both), None);
        let says = |now: VcpuCheck| difference(&both, &[check.clone(), now]).unwrap();
        let mut other = VcpuCheck { cr3: 0x1000, ..check.clone() };
        other.gpr[2] = 8;
        let (cpu, told) = says(other);
        assert_eq!((cpu, told.as_str()), (1, "CR3 is 0x1000, and was 0x3 in the recording"));
        let mut other = VcpuCheck { state: 0, ..check.clone() };
        assert!(says(other.clone()).1.contains("vector"));
        other.gpr[10] = 8;
        assert!(says(other.clone()).1.starts_with("R10 is 0x8"));
        other.retired = 8;
        assert!(says(other).1.contains("has retired 8 instructions"));
        assert!(difference(&both, &both[..1]).unwrap().1.contains("2 vCPUs"));
    }
}
