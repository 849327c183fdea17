//! System instructions that fit nowhere else: HLT, CPUID, time stamps, TLB and cache
//! management, protection keys, FS and GS bases, RDPID (SDM Vol. 2).

use crate::core::{Core, Int};
use crate::insn::control::require_cpl0;
use crate::insn::msr::set_base;
use crate::op::{Done, Op, Row, Unit, body, row};
use iced_x86::Code;
use trimotor_cpu::model::CpuidState;
use trimotor_cpu::registers::Cr4;
use trimotor_cpu::state::Activity;
use trimotor_cpu::{Fault, SegReg};

pub(crate) const ROWS: &[Row] = &[
    row(Code::Hlt, body(hlt)),
    row(Code::Cpuid, body(cpuid)),
    row(Code::Rdtsc, body(rdtsc)),
    row(Code::Rdtscp, body(rdtscp)),
    row(Code::Rdpmc, body(rdpmc)),
    row(Code::Rdpid_r32, body(rdpid::<u32>)),
    row(Code::Rdpid_r64, body(rdpid::<u64>)),
    row(Code::Invlpg_m, body(invlpg)),
    row(Code::Invpcid_r32_m128, body(invpcid::<u32>)).unit(Unit::None),
    row(Code::Invpcid_r64_m128, body(invpcid::<u64>)).unit(Unit::None),
    row(Code::Invd, body(cache_control)),
    row(Code::Wbinvd, body(cache_control)),
    row(Code::Wbnoinvd, body(cache_control)),
    row(Code::Rdpkru, body(rdpkru)),
    row(Code::Wrpkru, body(wrpkru)),
    row(Code::Rdfsbase_r32, body(read_base::<u32, FS>)),
    row(Code::Rdfsbase_r64, body(read_base::<u64, FS>)),
    row(Code::Rdgsbase_r32, body(read_base::<u32, GS>)),
    row(Code::Rdgsbase_r64, body(read_base::<u64, GS>)),
    row(Code::Wrfsbase_r32, body(write_base::<u32, FS>)),
    row(Code::Wrfsbase_r64, body(write_base::<u64, FS>)),
    row(Code::Wrgsbase_r32, body(write_base::<u32, GS>)),
    row(Code::Wrgsbase_r64, body(write_base::<u64, GS>)),
    row(Code::Rdrand_r16, body(random::<u16>)),
    row(Code::Rdrand_r32, body(random::<u32>)),
    row(Code::Rdrand_r64, body(random::<u64>)),
    row(Code::Rdseed_r16, body(random::<u16>)),
    row(Code::Rdseed_r32, body(random::<u32>)),
    row(Code::Rdseed_r64, body(random::<u64>)),
    row(Code::Pause, body(nothing)),
    row(Code::Rdsspd_r32, body(nothing)),
    row(Code::Rdsspq_r64, body(nothing)),
    row(Code::Cldemote_m8, body(nothing)),
    row(Code::Clflush_m8, body(flush_line)).unit(Unit::None),
    row(Code::Clflushopt_m8, body(flush_line)).unit(Unit::None),
    row(Code::Prefetcht0_m8, body(nothing)).unit(Unit::None),
    row(Code::Prefetcht1_m8, body(nothing)).unit(Unit::None),
    row(Code::Prefetcht2_m8, body(nothing)).unit(Unit::None),
    row(Code::Prefetchnta_m8, body(nothing)).unit(Unit::None),
    row(Code::Prefetchw_m8, body(nothing)).unit(Unit::None),
    row(Code::Prefetchwt1_m8, body(nothing)).unit(Unit::None),
    row(Code::Prefetch_m8, body(nothing)).unit(Unit::None),
    row(Code::Prefetchit0_m8, body(nothing)).unit(Unit::None),
    row(Code::Prefetchit1_m8, body(nothing)).unit(Unit::None),
    row(Code::Lfence, body(nothing)).unit(Unit::None),
    row(Code::Mfence, body(fence)).unit(Unit::None),
    row(Code::Sfence, body(nothing)).unit(Unit::None),
    row(Code::Ud0, body(undefined)),
    row(Code::Ud0_r16_rm16, body(undefined)),
    row(Code::Ud0_r32_rm32, body(undefined)),
    row(Code::Ud0_r64_rm64, body(undefined)),
    row(Code::Ud1_r16_rm16, body(undefined)),
    row(Code::Ud1_r32_rm32, body(undefined)),
    row(Code::Ud1_r64_rm64, body(undefined)),
    row(Code::Ud2, body(undefined)),
];

const FS: u8 = SegReg::Fs as u8;
const GS: u8 = SegReg::Gs as u8;

fn nothing(_core: &mut Core, _op: &Op) -> Done {
    Ok(())
}
fn undefined(_core: &mut Core, _op: &Op) -> Done {
    Err(Fault::UD)
}
fn fence(_core: &mut Core, _op: &Op) -> Done {
    std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
    Ok(())
}

fn hlt(core: &mut Core, op: &Op) -> Done {
    require_cpl0(core)?;
    // A debug trap of this instruction, or one that MOV SS held back, wakes the CPU at once.
    core.state.activity = Activity::Halted;
    let next = core.next_rip(op);
    core.leave(next)
}

#[inline(never)]
fn cpuid(core: &mut Core, _op: &Op) -> Done {
    // IA32_APIC_BASE, bit 11: the APIC is enabled.
    let apic_enabled = core
        .on_bus(|bus| bus.apic_msr_read(trimotor_cpu::msr::IA32_APIC_BASE))
        .is_ok_and(|v| v >> 11 & 1 != 0);
    let s = &core.state;
    let state = CpuidState {
        osxsave: s.cr4.contains(Cr4::OSXSAVE),
        ospke: s.cr4.contains(Cr4::PKE),
        apic_enabled,
        in_64bit_mode: s.is_64bit_code(),
        xcr0: s.xcr0,
        xss: s.msrs.xss,
        vcpu: core.id,
    };
    let answer = core.model.cpuid(s.gpr(0) as u32, s.gpr(1) as u32, &state);
    for (register, value) in [0, 3, 1, 2].into_iter().zip(answer) {
        core.state.set_gpr(register, value as u64);
    }
    Ok(())
}

/// The time-stamp counter.
pub(crate) fn time_stamp(core: &mut Core) -> u64 {
    let hz = core.model.tsc_hz;
    let ticks = core.bus().now().ticks(hz);
    ticks.wrapping_add(core.state.msrs.tsc_adjust)
}

/// # Faults
/// #GP(0) where CR4.TSD keeps user mode from the counter.
fn check_tsd(core: &Core) -> Done {
    if core.state.cr4.contains(Cr4::TSD) && core.state.cpl != 0 { Err(Fault::gp(0)) } else { Ok(()) }
}

impl Core {
    /// RDTSC, and RDTSCP where `with_aux`, as an instruction of an engine's block with `left` more after it. False, and
    /// nothing is done: it faults.
    pub fn read_time_stamp(&mut self, left: u8, with_aux: bool) -> bool {
        if check_tsd(self).is_err() {
            return false;
        }
        // No op of the interpreter says how much of the block is ahead.
        let unspent = left as i64 + 1;
        self.current = std::ptr::null();
        self.state.budget += unspent;
        let value = time_stamp(self);
        self.state.budget -= unspent;
        set_edx_eax(self, value);
        if with_aux {
            self.state.set_gpr(1, self.state.msrs.tsc_aux);
        }
        true
    }
}

fn set_edx_eax(core: &mut Core, value: u64) {
    core.state.set_gpr(0, value & 0xFFFF_FFFF);
    core.state.set_gpr(2, value >> 32);
}

fn rdtsc(core: &mut Core, _op: &Op) -> Done {
    check_tsd(core)?;
    let value = time_stamp(core);
    set_edx_eax(core, value);
    Ok(())
}

fn rdtscp(core: &mut Core, op: &Op) -> Done {
    rdtsc(core, op)?;
    core.state.set_gpr(1, core.state.msrs.tsc_aux);
    Ok(())
}

/// There are no performance counters.
fn rdpmc(_core: &mut Core, _op: &Op) -> Done {
    Err(Fault::gp(0))
}

fn rdpid<T: Int>(core: &mut Core, op: &Op) -> Done {
    let value = core.state.msrs.tsc_aux;
    core.set_reg(op.r1, T::cut(value));
    Ok(())
}

fn invlpg(core: &mut Core, op: &Op) -> Done {
    require_cpl0(core)?;
    let linear = core.effective(op).wrapping_add(core.reg64(op.seg));
    if core.state.is_64bit_code() && !core.canonical(linear) {
        return Ok(());
    }
    core.mmu.flush_page(&mut core.state, linear);
    let next = core.next_rip(op);
    core.leave(next)
}

#[inline(never)]
fn invpcid<T: Int>(core: &mut Core, op: &Op) -> Done {
    if !core.state.protected() {
        // In real mode it works as in protected mode at CPL 0.
    } else if core.state.v86() || core.state.cpl != 0 {
        return Err(Fault::gp(0));
    }
    let kind = core.reg::<T>(op.r1).to_u64();
    let descriptor = core.load::<u128>(op)?;
    let (pcid, linear) = (descriptor as u64, (descriptor >> 64) as u64);
    let uses_pcid = kind < 2;
    let bad_pcid = pcid >> 12 != 0 || uses_pcid && pcid != 0 && !core.state.cr4.contains(Cr4::PCIDE);
    if kind > 3 || bad_pcid || kind == 0 && !core.is_canonical_base(linear) {
        return Err(Fault::gp(0));
    }
    let state = &mut core.state;
    match kind {
        // One address of one PCID: flushing it for all is allowed.
        0 => core.mmu.flush_page(state, linear),
        2 => core.mmu.flush_globals(state),
        _ => core.mmu.flush_non_global(state),
    }
    let next = core.next_rip(op);
    core.leave(next)
}

/// INVD, WBINVD: there are no caches to write back or drop.
fn cache_control(core: &mut Core, _op: &Op) -> Done {
    require_cpl0(core)
}

/// CLFLUSH: nothing to flush, but it faults as a read of the byte does.
fn flush_line(core: &mut Core, op: &Op) -> Done {
    let at = core.linear_of(op, 0, 1, trimotor_cpu::mmu::Access::Read)?;
    core.translate(at, trimotor_cpu::mmu::Access::Read)?;
    Ok(())
}

/// # Faults
/// #UD without CR4.PKE, #GP(0) unless ECX is zero.
fn check_pkru(core: &Core) -> Done {
    if !core.state.cr4.contains(Cr4::PKE) {
        return Err(Fault::UD);
    }
    if core.state.gpr(1) as u32 != 0 { Err(Fault::gp(0)) } else { Ok(()) }
}

fn rdpkru(core: &mut Core, _op: &Op) -> Done {
    check_pkru(core)?;
    let value = core.state.pkru as u64;
    set_edx_eax(core, value);
    Ok(())
}

fn wrpkru(core: &mut Core, _op: &Op) -> Done {
    check_pkru(core)?;
    if core.state.gpr(2) as u32 != 0 {
        return Err(Fault::gp(0));
    }
    let value = core.state.gpr(0) as u32;
    if value != core.state.pkru {
        core.state.pkru = value;
        // The tables of inline translations hold rights with the keys applied.
        core.mmu.flush_all(&mut core.state);
    }
    Ok(())
}

fn check_fsgsbase(core: &Core) -> Done {
    let allowed = core.state.cr4.contains(Cr4::FSGSBASE) && core.state.is_64bit_code();
    if allowed { Ok(()) } else { Err(Fault::UD) }
}

fn read_base<T: Int, const REG: u8>(core: &mut Core, op: &Op) -> Done {
    check_fsgsbase(core)?;
    let base = core.state.segments[REG as usize].base;
    core.set_reg(op.r1, T::cut(base));
    Ok(())
}

fn write_base<T: Int, const REG: u8>(core: &mut Core, op: &Op) -> Done {
    check_fsgsbase(core)?;
    let value = core.reg::<T>(op.r1).to_u64();
    let reg = if REG == FS { SegReg::Fs } else { SegReg::Gs };
    set_base(core, reg, value)
}

/// RDRAND and RDSEED: always successful.
fn random<T: Int>(core: &mut Core, op: &Op) -> Done {
    let value = core.bus().random();
    core.set_reg(op.r1, T::cut(value));
    core.state.arith = trimotor_cpu::flags::ArithFlags(trimotor_cpu::flags::ArithFlags::CF);
    Ok(())
}
