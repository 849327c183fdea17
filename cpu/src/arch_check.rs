//! Which states a processor can be in: what a state that comes from a file is held against.
//!
//! The rules are those that the instructions which write the registers keep, so no sequence of instructions leads to a state
//! that is refused here.

use crate::arch_state::ArchState;
use crate::model::CpuModel;
use crate::registers::{Cr0, Cr4, Efer, xfeature};
use crate::segment::{SegReg, Segment};
use crate::simd::fp::MXCSR_MASK;

/// Bits of RFLAGS that can be set (SDM Vol. 1, EFLAGS Register).
const RFLAGS_KNOWN: u64 = 0x3F_7FD7;
/// Virtual-8086 mode.
const RFLAGS_VM: u64 = 1 << 17;
/// Bits of DR6 that conditions set.
const DEBUG_CONDITIONS: u64 = 0xE00F;
/// Instructions retired of a machine that can still count for centuries.
const MAX_RETIRED: u64 = 1 << 62;

/// What of a state cannot be.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{register} cannot be {value:#x}")]
pub struct ImpossibleState {
    /// The register.
    pub register: &'static str,
    /// Its value.
    pub value: u64,
}

impl ArchState {
    /// Whether a processor of this model can be in this state.
    ///
    /// # Errors
    /// Names the register that is wrong by itself or beside others.
    pub fn check(&self, model: &CpuModel) -> Result<(), ImpossibleState> {
        let require = |right: bool, register: &'static str, value: u64| {
            if right { Ok(()) } else { Err(ImpossibleState { register, value }) }
        };
        let cr0 = Cr0::from_bits_retain(self.cr0);
        let cr4 = Cr4::from_bits_retain(self.cr4);
        let efer = Efer::from_bits_retain(self.efer);
        let paging = cr0.contains(Cr0::PG);
        let long = efer.contains(Efer::LMA);
        require(self.cr0 & !Cr0::all().bits() == 0, "CR0", self.cr0)?;
        require(!paging || cr0.contains(Cr0::PE), "CR0", self.cr0)?;
        require(!cr0.contains(Cr0::NW) || cr0.contains(Cr0::CD), "CR0", self.cr0)?;
        require(self.cr4 & !model.cr4_known().bits() == 0, "CR4", self.cr4)?;
        require(!long || cr4.contains(Cr4::PAE), "CR4", self.cr4)?;
        require(long || !cr4.contains(Cr4::PCIDE), "CR4", self.cr4)?;
        require(self.efer & !(model.efer_known() | Efer::LMA).bits() == 0, "EFER", self.efer)?;
        require(long == (paging && efer.contains(Efer::LME)), "EFER", self.efer)?;
        require(self.cr3 >> model.phys_bits == 0 || !long && self.cr3 >> 32 == 0, "CR3", self.cr3)?;

        let xcr0 = self.xcr0;
        let avx_alone = xcr0 & xfeature::AVX != 0 && xcr0 & xfeature::SSE == 0;
        let known = xcr0 & xfeature::X87 != 0 && xcr0 & !model.xcr0_supported() == 0;
        require(known && !avx_alone, "XCR0", xcr0)?;
        require(self.mxcsr & !MXCSR_MASK == 0, "MXCSR", self.mxcsr.into())?;

        require(self.rflags & !RFLAGS_KNOWN == 0, "RFLAGS", self.rflags)?;
        let v86 = self.rflags & RFLAGS_VM != 0;
        require(!v86 || cr0.contains(Cr0::PE) && !long, "RFLAGS", self.rflags)?;
        require(self.cpl <= 3 && (!v86 || self.cpl == 3), "CPL", self.cpl.into())?;
        require(cr0.contains(Cr0::PE) || self.cpl == 0, "CPL", self.cpl.into())?;
        let code = &self.segments[SegReg::Cs as usize];
        let is_64bit = long && code.attributes & Segment::L != 0;
        require(is_64bit || self.rip >> 32 == 0, "RIP", self.rip)?;

        require(self.dr[6] >> 32 == 0, "DR6", self.dr[6])?;
        require(self.dr[7] >> 32 == 0, "DR7", self.dr[7])?;
        require(self.pending_debug & !DEBUG_CONDITIONS == 0, "pending debug exceptions", self.pending_debug)?;
        require(self.retired < MAX_RETIRED, "instructions retired", self.retired)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::CpuState;

    #[test]
    fn a_processor_at_reset_can_be_and_changes_of_it_cannot() {
        let model = CpuModel::parse("max", 1_000_000_000).unwrap();
        let good = CpuState::at_reset(0).to_arch();
        assert_eq!(good.check(&model), Ok(()));
        let refused = |change: &dyn Fn(&mut ArchState)| {
            let mut state = good.clone();
            change(&mut state);
            state.check(&model).unwrap_err().register
        };
        assert_eq!(refused(&|s| s.cr0 = 1 << 31), "CR0");
        assert_eq!(refused(&|s| s.cr4 = 1 << 40), "CR4");
        assert_eq!(refused(&|s| s.efer = 1 << 1), "EFER");
        assert_eq!(refused(&|s| s.xcr0 = 0), "XCR0");
        assert_eq!(refused(&|s| s.mxcsr = 1 << 16), "MXCSR");
        assert_eq!(refused(&|s| s.rflags |= RFLAGS_VM), "RFLAGS");
        assert_eq!(refused(&|s| s.cpl = 3), "CPL");
        assert_eq!(refused(&|s| s.rip = 1 << 32), "RIP");
        assert_eq!(refused(&|s| s.dr[7] = 1 << 32), "DR7");
        assert_eq!(refused(&|s| s.retired = u64::MAX), "instructions retired");
    }
}
