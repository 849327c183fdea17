//! MTRRs and PAT (SDM Vol. 3A, Memory Cache Control). They are kept and checked, and change
//! nothing: all memory behaves as write-back.

use crate::core::Core;
use trimotor_cpu::model::Feature;
use trimotor_cpu::msr::*;

/// Variable ranges.
const VARIABLE: u32 = 8;
/// IA32_MTRRCAP: variable ranges, fixed ranges, write combining.
const MTRRCAP: u64 = VARIABLE as u64 | 1 << 8 | 1 << 10;
/// Bits of IA32_MTRR_DEF_TYPE: type, FE, E.
const DEF_TYPE_WRITABLE: u64 = 0xCFF;

/// Which place of `mtrr_fixed` a fixed-range register has.
fn fixed_place(n: u32) -> Option<usize> {
    Some(match n {
        IA32_MTRR_FIX64K_00000 => 0,
        IA32_MTRR_FIX16K_80000 => 1,
        IA32_MTRR_FIX16K_A0000 => 2,
        _ if (IA32_MTRR_FIX4K_C0000..IA32_MTRR_FIX4K_C0000 + 8).contains(&n) => {
            3 + (n - IA32_MTRR_FIX4K_C0000) as usize
        }
        _ => return None,
    })
}

/// Which range and half of it (base, mask) a variable-range register has.
fn variable_place(n: u32) -> Option<(usize, usize)> {
    let at = n.checked_sub(IA32_MTRR_PHYSBASE0).filter(|&at| at < VARIABLE * 2)? as usize;
    Some((at / 2, at % 2))
}

/// Reads one of these registers; `None`: it is none of them.
pub(super) fn read(core: &Core, n: u32) -> Option<u64> {
    let m = &core.state.msrs;
    if n == IA32_PAT && core.model.has(Feature::Pat) {
        return Some(m.pat);
    }
    if !core.model.has(Feature::Mtrr) {
        return None;
    }
    match n {
        IA32_MTRRCAP => Some(MTRRCAP),
        IA32_MTRR_DEF_TYPE => Some(m.mtrr_def_type),
        _ => match (fixed_place(n), variable_place(n)) {
            (Some(i), _) => Some(m.mtrr_fixed[i]),
            (_, Some((i, half))) => Some(m.mtrr_variable[i][half]),
            _ => None,
        },
    }
}

fn is_type(value: u64) -> bool {
    matches!(value, 0 | 1 | 4 | 5 | 6)
}

/// Writes one of these registers; `None`: it is none of them, or the value is not allowed.
pub(super) fn write(core: &mut Core, n: u32, value: u64) -> Option<()> {
    let beyond = !0 << core.model.phys_bits;
    let (mtrr, pat) = (core.model.has(Feature::Mtrr), core.model.has(Feature::Pat));
    let m = &mut core.state.msrs;
    if n == IA32_PAT {
        let valid = pat && value.to_le_bytes().iter().all(|&t| is_type(t as u64) || t == 7);
        return valid.then(|| m.pat = value);
    }
    if !mtrr {
        return None;
    }
    if n == IA32_MTRR_DEF_TYPE {
        let valid = value & !DEF_TYPE_WRITABLE == 0 && is_type(value & 0xFF);
        return valid.then(|| m.mtrr_def_type = value);
    }
    if let Some(i) = fixed_place(n) {
        let valid = value.to_le_bytes().iter().all(|&t| is_type(t as u64));
        return valid.then(|| m.mtrr_fixed[i] = value);
    }
    let (i, half) = variable_place(n)?;
    let valid = if half == 0 {
        value & (beyond | 0xF00) == 0 && is_type(value & 0xFF)
    } else {
        value & (beyond | 0x7FF) == 0
    };
    valid.then(|| m.mtrr_variable[i][half] = value)
}
