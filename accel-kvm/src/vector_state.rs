//! x87, vector registers and PKRU in the area of XSAVE's standard form, as KVM_GET_XSAVE gives it.
//!
//! Source: SDM Vol. 1, "Standard Format of XSAVE Area" and "FXSAVE Area".

use kvm_bindings::kvm_xsave;
use trimotor_cpu::ArchState;
use trimotor_cpu::arch_state::X87Arch;

/// Byte offsets in the area.
mod at {
    pub const FCW: usize = 0;
    pub const FSW: usize = 2;
    pub const FTW: usize = 4;
    pub const FOP: usize = 6;
    pub const FIP: usize = 8;
    pub const FDP: usize = 16;
    pub const MXCSR: usize = 24;
    pub const MXCSR_MASK: usize = 28;
    pub const ST: usize = 32;
    pub const XMM: usize = 160;
    pub const XSTATE_BV: usize = 512;
    pub const YMM_HIGH: usize = 576;
}
/// XSTATE_BV bits.
const X87_SSE_AVX: u64 = 7;
const AVX: u64 = 1 << 2;
const PKRU: u64 = 1 << 9;

/// Where an area has what, on this host.
#[derive(Clone, Copy, Debug, Default)]
pub struct Layout {
    /// The host has AVX.
    pub avx: bool,
    /// Where PKRU is; `None`: the host has none.
    pub pkru: Option<usize>,
}

/// An area as bytes.
struct Area([u8; 4096]);

impl Area {
    fn get<const N: usize>(&self, offset: usize) -> [u8; N] {
        std::array::from_fn(|i| self.0[offset + i])
    }
    fn put(&mut self, offset: usize, bytes: &[u8]) {
        self.0[offset..offset + bytes.len()].copy_from_slice(bytes);
    }
    fn u16(&self, offset: usize) -> u16 {
        u16::from_le_bytes(self.get(offset))
    }
    fn u32(&self, offset: usize) -> u32 {
        u32::from_le_bytes(self.get(offset))
    }
    fn u64(&self, offset: usize) -> u64 {
        u64::from_le_bytes(self.get(offset))
    }
    fn of(xsave: &kvm_xsave) -> Area {
        let mut area = Area([0; 4096]);
        for (bytes, word) in area.0.chunks_exact_mut(4).zip(xsave.region) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        area
    }
    fn to_xsave(&self) -> kvm_xsave {
        let mut xsave = kvm_xsave::default();
        for (word, bytes) in xsave.region.iter_mut().zip(self.0.chunks_exact(4)) {
            *word = u32::from_le_bytes(std::array::from_fn(|i| bytes[i]));
        }
        xsave
    }
}

/// The area for a state. Selectors of the last x87 instruction, which the 64-bit form has not, stay behind.
pub fn to_xsave(state: &ArchState, layout: Layout) -> kvm_xsave {
    let mut area = Area([0; 4096]);
    let x87 = &state.x87;
    area.put(at::FCW, &x87.control.to_le_bytes());
    area.put(at::FSW, &x87.status.to_le_bytes());
    area.put(at::FTW, &[!x87.empty]);
    area.put(at::FOP, &x87.last_opcode.to_le_bytes());
    area.put(at::FIP, &x87.last_ip.to_le_bytes());
    area.put(at::FDP, &x87.last_dp.to_le_bytes());
    area.put(at::MXCSR, &state.mxcsr.to_le_bytes());
    area.put(at::MXCSR_MASK, &0xFFFFu32.to_le_bytes());
    let top = usize::from(x87.status >> 11 & 7);
    for i in 0..8 {
        area.put(at::ST + 16 * i, &x87.regs[(top + i) & 7]);
    }
    for (i, ymm) in state.ymm.iter().enumerate() {
        for (half, quad) in ymm.iter().enumerate() {
            let within = half % 2 * 8;
            let offset = if half < 2 { at::XMM } else { at::YMM_HIGH } + 16 * i + within;
            area.put(offset, &quad.to_le_bytes());
        }
    }
    let mut present = if layout.avx { X87_SSE_AVX } else { X87_SSE_AVX & !AVX };
    if let Some(offset) = layout.pkru {
        area.put(offset, &state.pkru.to_le_bytes());
        present |= PKRU;
    }
    area.put(at::XSTATE_BV, &present.to_le_bytes());
    area.to_xsave()
}

/// What an area says; what it has not stays as `state` has it. Components that XSTATE_BV leaves out are in their initial
/// state.
pub fn from_xsave(xsave: &kvm_xsave, layout: Layout, state: &mut ArchState) {
    let area = Area::of(xsave);
    let present = area.u64(at::XSTATE_BV);
    let status = area.u16(at::FSW);
    let top = usize::from(status >> 11 & 7);
    let mut regs = [[0; 10]; 8];
    for i in 0..8 {
        regs[(top + i) & 7] = area.get(at::ST + 16 * i);
    }
    state.x87 = X87Arch {
        regs,
        control: area.u16(at::FCW),
        status,
        empty: !area.0[at::FTW],
        last_opcode: area.u16(at::FOP) & 0x7FF,
        last_ip: area.u64(at::FIP),
        last_dp: area.u64(at::FDP),
        ..state.x87
    };
    if present & 1 == 0 {
        state.x87 = X87Arch { regs: [[0; 10]; 8], control: 0x37F, status: 0, empty: 0xFF, ..state.x87 };
    }
    state.mxcsr = area.u32(at::MXCSR);
    let has = |bit: u64| present & bit != 0;
    for (i, ymm) in state.ymm.iter_mut().enumerate() {
        *ymm = std::array::from_fn(|half| {
            let (base, there) =
                if half < 2 { (at::XMM, has(2)) } else { (at::YMM_HIGH, has(AVX) && layout.avx) };
            if there { area.u64(base + 16 * i + half % 2 * 8) } else { 0 }
        });
    }
    if let Some(offset) = layout.pkru {
        state.pkru = if has(PKRU) { area.u32(offset) } else { 0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trimotor_cpu::CpuState;

    #[test]
    fn what_goes_into_an_area_comes_out_of_it() {
        let mut state = CpuState::at_reset(0).to_arch();
        state.x87.status = 5 << 11 | 0x4100;
        state.x87.empty = 0b1100_0011;
        for i in 0..8 {
            state.x87.regs[i] = [i as u8 + 1; 10];
        }
        for i in 0..16 {
            state.ymm[i] = [1, 2, 3, 4].map(|n| n << 32 | i as u64);
        }
        (state.mxcsr, state.pkru) = (0x1FBF, 0x5554);
        let layout = Layout { avx: true, pkru: Some(2696) };
        let xsave = to_xsave(&state, layout);
        let mut back = CpuState::at_reset(0).to_arch();
        from_xsave(&xsave, layout, &mut back);
        assert_eq!((back.x87, back.ymm), (state.x87, state.ymm));
        assert_eq!((back.mxcsr, back.pkru), (state.mxcsr, state.pkru));
    }

    #[test]
    fn components_that_are_not_there_are_in_their_initial_state() {
        let mut state = CpuState::at_reset(0).to_arch();
        state.ymm[3] = [9; 4];
        let layout = Layout { avx: true, pkru: None };
        let mut xsave = to_xsave(&state, layout);
        xsave.region[at::XSTATE_BV / 4] = 0;
        from_xsave(&xsave, layout, &mut state);
        assert_eq!((state.ymm[3], state.x87.control, state.x87.empty), ([0; 4], 0x37F, 0xFF));
    }
}
