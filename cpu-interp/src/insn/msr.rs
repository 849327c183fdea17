//! RDMSR and WRMSR (SDM Vol. 4). Registers of the local APIC are the board's.

use crate::core::Core;
use crate::insn::branch_record;
use crate::insn::misc_system::time_stamp;
use crate::insn::msr_memory_types as memory_types;
use crate::op::{Done, Op, Row, body, row};
use iced_x86::Code;
use trimotor_cpu::model::{ARCH_CAPABILITIES, Feature};
use trimotor_cpu::msr::*;
use trimotor_cpu::registers::{Cr0, Efer};
use trimotor_cpu::{Fault, SegReg};

pub(crate) const ROWS: &[Row] = &[row(Code::Rdmsr, body(rdmsr)), row(Code::Wrmsr, body(wrmsr))];

/// What reading and writing an MSR gives: an error is #GP(0).
type Answer<T> = Result<T, Fault>;

const BAD: Fault = Fault::gp(0);
/// Registers of the local APIC in x2APIC mode.
const X2APIC: std::ops::RangeInclusive<u32> = 0x800..=0x8FF;
/// Banks of machine-check registers.
const MC_BANKS: u32 = 10;
/// Bits of IA32_MISC_ENABLE that can be written.
const MISC_ENABLE_WRITABLE: u64 = 1 | 1 << 3 | 1 << 16 | 1 << 22 | 1 << 34;
/// Bits of IA32_DEBUGCTL that can be written: LBR and BTF.
const DEBUGCTL_WRITABLE: u64 = branch_record::LBR | branch_record::BTF;
/// IBRS, STIBP, SSBD.
const SPEC_CTRL_WRITABLE: u64 = 7;
/// The bus clock that ratios are relative to.
const BUS_HZ: u64 = 100_000_000;

fn index(core: &Core) -> u32 {
    core.state.gpr(1) as u32
}

#[inline(never)]
fn rdmsr(core: &mut Core, _op: &Op) -> Done {
    if core.state.cpl != 0 {
        return Err(BAD);
    }
    let n = index(core);
    let value = read(core, n).inspect_err(|_| log::debug!("RDMSR of unknown {n:#x}"))?;
    core.trace_msr(n, false, value);
    core.state.set_gpr(0, value & 0xFFFF_FFFF);
    core.state.set_gpr(2, value >> 32);
    Ok(())
}

#[inline(never)]
fn wrmsr(core: &mut Core, op: &Op) -> Done {
    if core.state.cpl != 0 {
        return Err(BAD);
    }
    let n = index(core);
    let value = core.state.gpr(0) & 0xFFFF_FFFF | core.state.gpr(2) << 32;
    write(core, n, value).inspect_err(|_| log::debug!("WRMSR of {value:#x} to {n:#x} refused"))?;
    core.trace_msr(n, true, value);
    if matches!(n, IA32_EFER | IA32_DEBUGCTL) {
        // Branches are recorded instruction by instruction.
        core.mode_changed();
        let next = core.next_rip(op);
        return core.leave(next);
    }
    Ok(())
}

fn with(core: &Core, feature: Feature) -> Answer<()> {
    if core.model.has(feature) { Ok(()) } else { Err(BAD) }
}

/// Reads an MSR.
///
/// # Faults
/// #GP(0): there is none of that number.
fn read(core: &mut Core, n: u32) -> Answer<u64> {
    let ratio = (core.model.tsc_hz / BUS_HZ) & 0xFF;
    let m = &core.state.msrs;
    Ok(match n {
        IA32_TSC => time_stamp(core),
        IA32_APIC_BASE => core.on_bus(|bus| bus.apic_msr_read(n)).map_err(|_| BAD)?,
        IA32_TSC_DEADLINE => {
            with(core, Feature::TscDeadline)?;
            core.on_bus(|bus| bus.apic_msr_read(n)).map_err(|_| BAD)?
        }
        n if X2APIC.contains(&n) => {
            with(core, Feature::X2apic)?;
            core.on_bus(|bus| bus.apic_msr_read(n)).map_err(|_| BAD)?
        }
        IA32_PLATFORM_ID => 0,
        IA32_FEATURE_CONTROL => m.feature_control,
        IA32_TSC_ADJUST => with(core, Feature::TscAdjust).map(|()| m.tsc_adjust)?,
        IA32_SPEC_CTRL => with(core, Feature::SpecCtrl).map(|()| m.spec_ctrl)?,
        IA32_BIOS_SIGN_ID => m.bios_sign_id,
        IA32_SMBASE if core.state.in_smm => m.smbase as u64,
        MSR_PLATFORM_INFO => ratio << 8 | ratio << 40,
        IA32_PERF_STATUS => ratio << 8,
        IA32_ARCH_CAPABILITIES => with(core, Feature::ArchCapabilities).map(|()| ARCH_CAPABILITIES)?,
        IA32_SYSENTER_CS => m.sysenter_cs,
        IA32_SYSENTER_ESP => m.sysenter_esp,
        IA32_SYSENTER_EIP => m.sysenter_eip,
        IA32_MCG_CAP => with(core, Feature::Mca).map(|()| MC_BANKS as u64 | 1 << 8)?,
        IA32_MCG_STATUS => with(core, Feature::Mca).map(|()| m.mcg_status)?,
        IA32_MCG_CTL => with(core, Feature::Mca).map(|()| m.mcg_ctl)?,
        IA32_MISC_ENABLE => m.misc_enable,
        IA32_DEBUGCTL => m.debugctl,
        MSR_LASTBRANCH_TOS => m.last_branches.top,
        IA32_XSS => with(core, Feature::Xsaves).map(|()| m.xss)?,
        IA32_EFER => core.state.efer.bits(),
        IA32_STAR => m.star,
        IA32_LSTAR => m.lstar,
        IA32_CSTAR => m.cstar,
        IA32_FMASK => m.fmask,
        IA32_FS_BASE => core.state.seg(SegReg::Fs).base,
        IA32_GS_BASE => core.state.seg(SegReg::Gs).base,
        IA32_KERNEL_GS_BASE => m.kernel_gs_base,
        IA32_TSC_AUX => with(core, Feature::Rdtscp).map(|()| m.tsc_aux)?,
        n if (IA32_MC0_CTL..IA32_MC0_CTL + MC_BANKS * 4).contains(&n) => {
            with(core, Feature::Mca)?;
            let n = (n - IA32_MC0_CTL) as usize;
            m.mc_banks[n / 4][n % 4]
        }
        n => match branch_record::register(core, n) {
            Some(register) => *register,
            None => return memory_types::read(core, n).ok_or(BAD),
        },
    })
}

fn canonical(core: &Core, value: u64) -> Answer<u64> {
    if core.is_canonical_base(value) { Ok(value) } else { Err(BAD) }
}
fn only(value: u64, bits: u64) -> Answer<u64> {
    if value & !bits == 0 { Ok(value) } else { Err(BAD) }
}

/// Writes an MSR.
///
/// # Faults
/// #GP(0): there is none of that number, it is read-only, or the value has reserved bits or is not
/// canonical.
fn write(core: &mut Core, n: u32, value: u64) -> Answer<()> {
    match n {
        IA32_APIC_BASE => write_apic(core, n, value)?,
        IA32_TSC_DEADLINE => {
            with(core, Feature::TscDeadline)?;
            write_apic(core, n, value)?;
        }
        n if X2APIC.contains(&n) => {
            with(core, Feature::X2apic)?;
            write_apic(core, n, value)?;
        }
        IA32_TSC => {
            let delta = value.wrapping_sub(time_stamp(core));
            set_tsc_adjust(core, core.state.msrs.tsc_adjust.wrapping_add(delta));
        }
        IA32_TSC_ADJUST => {
            with(core, Feature::TscAdjust)?;
            set_tsc_adjust(core, value);
        }
        IA32_SPEC_CTRL => {
            with(core, Feature::SpecCtrl)?;
            core.state.msrs.spec_ctrl = only(value, SPEC_CTRL_WRITABLE)?;
        }
        IA32_PRED_CMD => {
            with(core, Feature::SpecCtrl)?;
            only(value, 1)?;
        }
        IA32_BIOS_UPDT_TRIG => {}
        IA32_BIOS_SIGN_ID => core.state.msrs.bios_sign_id = value,
        IA32_SYSENTER_CS => core.state.msrs.sysenter_cs = value & 0xFFFF_FFFF,
        IA32_SYSENTER_ESP => core.state.msrs.sysenter_esp = canonical(core, value)?,
        IA32_SYSENTER_EIP => core.state.msrs.sysenter_eip = canonical(core, value)?,
        IA32_MISC_ENABLE => {
            let m = &mut core.state.msrs;
            m.misc_enable = m.misc_enable & !MISC_ENABLE_WRITABLE | value & MISC_ENABLE_WRITABLE;
        }
        IA32_DEBUGCTL => core.state.msrs.debugctl = only(value, DEBUGCTL_WRITABLE)?,
        IA32_XSS => {
            with(core, Feature::Xsaves)?;
            core.state.msrs.xss = only(value, 0)?;
        }
        IA32_EFER => write_efer(core, value)?,
        IA32_STAR => core.state.msrs.star = value,
        IA32_LSTAR => core.state.msrs.lstar = canonical(core, value)?,
        IA32_CSTAR => core.state.msrs.cstar = canonical(core, value)?,
        IA32_FMASK => core.state.msrs.fmask = only(value, 0xFFFF_FFFF)?,
        IA32_FS_BASE => set_base(core, SegReg::Fs, value)?,
        IA32_GS_BASE => set_base(core, SegReg::Gs, value)?,
        IA32_KERNEL_GS_BASE => core.state.msrs.kernel_gs_base = canonical(core, value)?,
        IA32_TSC_AUX => {
            with(core, Feature::Rdtscp)?;
            core.state.msrs.tsc_aux = only(value, 0xFFFF_FFFF)?;
        }
        n => return write_machine_check(core, n, value),
    }
    Ok(())
}

fn write_machine_check(core: &mut Core, n: u32, value: u64) -> Answer<()> {
    match n {
        IA32_MCG_STATUS => {
            with(core, Feature::Mca)?;
            core.state.msrs.mcg_status = only(value, 7)?;
        }
        IA32_MCG_CTL => {
            with(core, Feature::Mca)?;
            core.state.msrs.mcg_ctl = value;
        }
        n if (IA32_MC0_CTL..IA32_MC0_CTL + MC_BANKS * 4).contains(&n) => {
            with(core, Feature::Mca)?;
            let n = (n - IA32_MC0_CTL) as usize;
            // STATUS, ADDR and MISC can be cleared, no more.
            if !n.is_multiple_of(4) && value != 0 {
                return Err(BAD);
            }
            core.state.msrs.mc_banks[n / 4][n % 4] = value;
        }
        n => {
            if canonical(core, value).is_ok()
                && let Some(register) = branch_record::register(core, n)
            {
                *register = value;
                return Ok(());
            }
            return memory_types::write(core, n, value).ok_or(BAD);
        }
    }
    Ok(())
}

/// The deadline timer compares with the adjusted counter.
fn set_tsc_adjust(core: &mut Core, value: u64) {
    core.state.msrs.tsc_adjust = value;
    core.on_bus(|bus| bus.set_tsc_offset(value));
}

fn write_apic(core: &mut Core, n: u32, value: u64) -> Answer<()> {
    core.on_bus(|bus| bus.apic_msr_write(n, value)).map_err(|_| BAD)
}

/// Sets a segment base, as WRMSR and WRFSBASE do.
///
/// # Faults
/// #GP(0): not canonical.
pub(crate) fn set_base(core: &mut Core, reg: SegReg, value: u64) -> Answer<()> {
    core.state.segments[reg as usize].base = canonical(core, value)?;
    core.state.refresh_derived();
    Ok(())
}

fn write_efer(core: &mut Core, value: u64) -> Answer<()> {
    only(value, (core.model.efer_known() | Efer::LMA).bits())?;
    let old = core.state.efer;
    // LMA follows CR0.PG; what is written to it does not count.
    let new = (Efer::from_bits_retain(value) - Efer::LMA) | (old & Efer::LMA);
    if (old ^ new).contains(Efer::LME) && core.state.cr0.contains(Cr0::PG) {
        return Err(BAD);
    }
    core.state.efer = new;
    if (old ^ new).contains(Efer::NXE) {
        core.mmu.reconfigure(&mut core.state);
    }
    Ok(())
}
