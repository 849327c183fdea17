//! CMPXCHG, CMPXCHG8B/16B, XADD, flag instructions, XLAT, BOUND, NOP, UD.

use super::alu::Operand;
use super::modify_slow;
use crate::core::{Core, Int};
use crate::op::{Done, Op, Row, body, row};
use iced_x86::Code;
use trimotor_cpu::Fault;
use trimotor_cpu::flags::{ArithFlags, Rflags};
use trimotor_cpu::mmu::Access;

const RAX: u8 = 0;
const AH: u8 = 1;

fn cmpxchg<T: Operand>(core: &mut Core, op: &Op) -> Done {
    let expected = core.reg::<T>(RAX);
    let (old, flags) = if op.has_mem() {
        let new = core.reg::<T>(op.r1);
        // The destination is written in any case.
        let old = modify_slow::<T, T>(core, op, |_, old| (if old == expected { new } else { old }, old))?;
        (old, expected.sub(old).1)
    } else {
        let old = core.reg::<T>(op.r1);
        if old == expected {
            let new = core.reg::<T>(op.r2);
            core.set_reg(op.r1, new);
        }
        (old, expected.sub(old).1)
    };
    if old != expected {
        core.set_reg(RAX, old);
    }
    core.state.arith = flags;
    Ok(())
}

fn xadd<T: Operand>(core: &mut Core, op: &Op) -> Done {
    if op.has_mem() {
        let b = core.reg::<T>(op.r1);
        let (old, f) = modify_slow::<T, _>(core, op, |_, a| {
            let (r, f) = a.add(b);
            (r, (a, f))
        })?;
        core.set_reg(op.r1, old);
        core.state.arith = f;
    } else {
        let (a, b) = (core.reg::<T>(op.r1), core.reg::<T>(op.r2));
        let (r, f) = a.add(b);
        core.set_reg(op.r2, a);
        core.set_reg(op.r1, r);
        core.state.arith = f;
    }
    Ok(())
}

fn set_zero(core: &mut Core, zero: bool) {
    let f = &mut core.state.arith.0;
    *f = *f & !ArithFlags::ZF | if zero { ArithFlags::ZF } else { 0 };
}
fn cmpxchg8b(core: &mut Core, op: &Op) -> Done {
    let pair =
        |core: &Core, low: u8, high: u8| core.reg::<u32>(low) as u64 | (core.reg::<u32>(high) as u64) << 32;
    let (expected, new) = (pair(core, 0, 16), pair(core, 24, 8));
    let old = modify_slow::<u64, u64>(core, op, |_, old| (if old == expected { new } else { old }, old))?;
    if old != expected {
        core.set_reg(0, old as u32);
        core.set_reg(16, (old >> 32) as u32);
    }
    set_zero(core, old == expected);
    Ok(())
}
fn cmpxchg16b(core: &mut Core, op: &Op) -> Done {
    let linear = core.linear_of(op, 0, 16, Access::Write)?;
    if linear & 15 != 0 {
        return Err(Fault::gp(0));
    }
    let pair =
        |core: &Core, low: u8, high: u8| core.reg::<u64>(low) as u128 | (core.reg::<u64>(high) as u128) << 64;
    let (expected, new) = (pair(core, 0, 16), pair(core, 24, 8));
    let old = match core.host_to_exchange(linear, 16)? {
        Some(m) if core.atomic => {
            // SAFETY: the bytes are mapped, writable and aligned to 16.
            let old = unsafe { cmpxchg16b_host(m.host.cast(), expected, new) };
            core.exchanged(linear, m, 16);
            old
        }
        _ => {
            core.check_write_linear(linear, 16)?;
            let old = core.read_linear::<u128>(linear)?;
            core.write_linear(linear, if old == expected { new } else { old })?;
            old
        }
    };
    if old != expected {
        core.set_reg(0, old as u64);
        core.set_reg(16, (old >> 64) as u64);
    }
    set_zero(core, old == expected);
    Ok(())
}

/// The host's LOCK CMPXCHG16B; returns what was there. Every host that runs vCPUs at the same time has it:
/// x86-64-v2 is the least that the translator works on.
///
/// # Safety
/// The bytes at `at` are mapped, writable and aligned to 16.
#[cfg(target_arch = "x86_64")]
unsafe fn cmpxchg16b_host(at: *mut u128, expected: u128, new: u128) -> u128 {
    let (low, high): (u64, u64);
    // SAFETY: the caller's promise. RBX is LLVM's: it is exchanged around the instruction.
    unsafe {
        std::arch::asm!(
            "xchg {b}, rbx",
            "lock cmpxchg16b [{at}]",
            "mov rbx, {b}",
            at = in(reg) at,
            b = inout(reg) new as u64 => _,
            in("rcx") (new >> 64) as u64,
            inout("rax") expected as u64 => low,
            inout("rdx") (expected >> 64) as u64 => high,
            options(nostack),
        );
    }
    u128::from(low) | u128::from(high) << 64
}

/// Compares and stores; elsewhere no engine runs vCPUs at the same time.
///
/// # Safety
/// The bytes at `at` are mapped, writable and aligned to 16.
#[cfg(not(target_arch = "x86_64"))]
unsafe fn cmpxchg16b_host(at: *mut u128, expected: u128, new: u128) -> u128 {
    // SAFETY: the caller's promise.
    unsafe {
        let old = at.read();
        if old == expected {
            at.write(new);
        }
        old
    }
}

fn lahf(core: &mut Core, _op: &Op) -> Done {
    let flags = core.state.arith.to_rflags() as u8 | 2;
    core.set_reg(AH, flags);
    Ok(())
}
fn sahf(core: &mut Core, _op: &Op) -> Done {
    let overflow = core.state.arith.0 & ArithFlags::OF;
    let flags = core.reg::<u8>(AH) as u64;
    core.state.arith = ArithFlags(ArithFlags::from_rflags(flags).0 | overflow);
    Ok(())
}
fn clc(core: &mut Core, _op: &Op) -> Done {
    core.state.arith.0 &= !ArithFlags::CF;
    Ok(())
}
fn stc(core: &mut Core, _op: &Op) -> Done {
    core.state.arith.0 |= ArithFlags::CF;
    Ok(())
}
fn cmc(core: &mut Core, _op: &Op) -> Done {
    core.state.arith.0 ^= ArithFlags::CF;
    Ok(())
}
fn cld(core: &mut Core, _op: &Op) -> Done {
    core.state.rflags.remove(Rflags::DF);
    Ok(())
}
fn std(core: &mut Core, _op: &Op) -> Done {
    core.state.rflags.insert(Rflags::DF);
    Ok(())
}
fn salc(core: &mut Core, _op: &Op) -> Done {
    let value = if core.state.arith.carry() != 0 { 0xFFu8 } else { 0 };
    core.set_reg(RAX, value);
    Ok(())
}

/// XLAT: AL from the table at rBX.
fn xlat(core: &mut Core, op: &Op) -> Done {
    let offset = core.reg::<u64>(24).wrapping_add(core.reg::<u8>(RAX) as u64) & op.address_mask();
    let Some(seg) = trimotor_cpu::SegReg::from_encoding(op.segment()) else { return Err(Fault::UD) };
    let linear = core.segment_linear(seg, offset, 1, Access::Read)?;
    let value = core.read_linear::<u8>(linear)?;
    core.set_reg(RAX, value);
    Ok(())
}

fn bound<T: Int + crate::access::Guest>(core: &mut Core, op: &Op) -> Done {
    let lower = core.load::<T>(op)?.to_i64();
    let upper = core.load_at::<T>(op, T::BYTES as u64)?.to_i64();
    let index = core.reg::<T>(op.r1).to_i64();
    if index < lower || index > upper { Err(Fault::BR) } else { Ok(()) }
}

fn nop(_core: &mut Core, _op: &Op) -> Done {
    Ok(())
}

/// The rows of this module.
pub(crate) const ROWS: &[Row] = &[
    row(Code::Cmpxchg_rm8_r8, body(cmpxchg::<u8>)),
    row(Code::Cmpxchg_rm16_r16, body(cmpxchg::<u16>)),
    row(Code::Cmpxchg_rm32_r32, body(cmpxchg::<u32>)),
    row(Code::Cmpxchg_rm64_r64, body(cmpxchg::<u64>)),
    row(Code::Cmpxchg8b_m64, body(cmpxchg8b)),
    row(Code::Cmpxchg16b_m128, body(cmpxchg16b)),
    row(Code::Xadd_rm8_r8, body(xadd::<u8>)),
    row(Code::Xadd_rm16_r16, body(xadd::<u16>)),
    row(Code::Xadd_rm32_r32, body(xadd::<u32>)),
    row(Code::Xadd_rm64_r64, body(xadd::<u64>)),
    row(Code::Lahf, body(lahf)),
    row(Code::Sahf, body(sahf)),
    row(Code::Clc, body(clc)),
    row(Code::Stc, body(stc)),
    row(Code::Cmc, body(cmc)),
    row(Code::Cld, body(cld)),
    row(Code::Std, body(std)),
    row(Code::Salc, body(salc)),
    row(Code::Xlat_m8, body(xlat)),
    row(Code::Bound_r16_m1616, body(bound::<u16>)),
    row(Code::Bound_r32_m3232, body(bound::<u32>)),
    row(Code::Nopw, body(nop)),
    row(Code::Nopd, body(nop)),
    row(Code::Nopq, body(nop)),
    row(Code::Nop_rm16, body(nop)),
    row(Code::Nop_rm32, body(nop)),
    row(Code::Nop_rm64, body(nop)),
    row(Code::Reservednop_rm16_r16_0F0D, body(nop)),
    row(Code::Reservednop_rm32_r32_0F0D, body(nop)),
    row(Code::Reservednop_rm64_r64_0F0D, body(nop)),
    row(Code::Reservednop_rm16_r16_0F18, body(nop)),
    row(Code::Reservednop_rm32_r32_0F18, body(nop)),
    row(Code::Reservednop_rm64_r64_0F18, body(nop)),
    row(Code::Reservednop_rm16_r16_0F19, body(nop)),
    row(Code::Reservednop_rm32_r32_0F19, body(nop)),
    row(Code::Reservednop_rm64_r64_0F19, body(nop)),
    row(Code::Reservednop_rm16_r16_0F1A, body(nop)),
    row(Code::Reservednop_rm32_r32_0F1A, body(nop)),
    row(Code::Reservednop_rm64_r64_0F1A, body(nop)),
    row(Code::Reservednop_rm16_r16_0F1B, body(nop)),
    row(Code::Reservednop_rm32_r32_0F1B, body(nop)),
    row(Code::Reservednop_rm64_r64_0F1B, body(nop)),
    row(Code::Reservednop_rm16_r16_0F1C, body(nop)),
    row(Code::Reservednop_rm32_r32_0F1C, body(nop)),
    row(Code::Reservednop_rm64_r64_0F1C, body(nop)),
    row(Code::Reservednop_rm16_r16_0F1D, body(nop)),
    row(Code::Reservednop_rm32_r32_0F1D, body(nop)),
    row(Code::Reservednop_rm64_r64_0F1D, body(nop)),
    row(Code::Reservednop_rm16_r16_0F1E, body(nop)),
    row(Code::Reservednop_rm32_r32_0F1E, body(nop)),
    row(Code::Reservednop_rm64_r64_0F1E, body(nop)),
    row(Code::Reservednop_rm16_r16_0F1F, body(nop)),
    row(Code::Reservednop_rm32_r32_0F1F, body(nop)),
    row(Code::Reservednop_rm64_r64_0F1F, body(nop)),
    row(Code::Endbr64, body(nop)),
    row(Code::Endbr32, body(nop)),
];
