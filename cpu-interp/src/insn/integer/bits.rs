//! BT, BTS, BTR, BTC, BSF, BSR, BSWAP.

use super::modify_slow;
use crate::access::Guest;
use crate::core::{Core, Int};
use crate::op::{Done, Op, Row, body, row};
use iced_x86::Code;
use trimotor_bus::address::PAGE_SIZE;
use trimotor_cpu::alu::WideAlu;
use trimotor_cpu::flags::ArithFlags;
use trimotor_cpu::mmu::Access;
use trimotor_cpu::{Fault, SegReg};

/// What happens to the bit.
const TEST: u8 = 0;
const SET: u8 = 1;
const RESET: u8 = 2;
const COMPLEMENT: u8 = 3;

fn change<const WHAT: u8>(value: u64, bit: u64) -> u64 {
    match WHAT {
        SET => value | bit,
        RESET => value & !bit,
        COMPLEMENT => value ^ bit,
        _ => value,
    }
}
fn set_carry(core: &mut Core, carry: bool) {
    let f = &mut core.state.arith.0;
    *f = *f & !ArithFlags::CF | (carry as u16) << 8;
}

/// The bit number is the immediate.
fn bit_imm<T: Int + Guest, const WHAT: u8>(core: &mut Core, op: &Op) -> Done {
    let bit = 1u64 << (op.imm as u32 & (T::BITS - 1));
    let old = if !op.has_mem() {
        let old = core.reg::<T>(op.r1).to_u64();
        if WHAT != TEST {
            core.set_reg(op.r1, T::cut(change::<WHAT>(old, bit)));
        }
        old
    } else if WHAT == TEST {
        core.load::<T>(op)?.to_u64()
    } else {
        modify_slow::<T, u64>(core, op, |_, v| (T::cut(change::<WHAT>(v.to_u64(), bit)), v.to_u64()))?
    };
    set_carry(core, old & bit != 0);
    Ok(())
}

/// The bit number is a register: with memory it reaches beyond the operand, in both directions.
fn bit_reg<T: Int + Guest, const WHAT: u8>(core: &mut Core, op: &Op) -> Done {
    if !op.has_mem() {
        let number = core.reg::<T>(op.r2).to_u64();
        let bit = 1u64 << (number as u32 & (T::BITS - 1));
        let old = core.reg::<T>(op.r1).to_u64();
        if WHAT != TEST {
            core.set_reg(op.r1, T::cut(change::<WHAT>(old, bit)));
        }
        set_carry(core, old & bit != 0);
        return Ok(());
    }
    let number = core.reg::<T>(op.r1).to_i64();
    let bit = 1u64 << (number as u32 & (T::BITS - 1));
    let offset = (number >> T::BITS.trailing_zeros()).wrapping_mul(T::BYTES as i64) as u64;
    let access = if WHAT == TEST { Access::Read } else { Access::Write };
    let linear = core.linear_of(op, offset, T::BYTES as u64, access)?;
    let old = read_modify_write::<T, WHAT>(core, linear, bit)?;
    set_carry(core, old & bit != 0);
    Ok(())
}
fn read_modify_write<T: Int + Guest, const WHAT: u8>(
    core: &mut Core,
    linear: u64,
    bit: u64,
) -> Result<u64, Fault> {
    if WHAT == TEST {
        return Ok(core.read_linear::<T>(linear)?.to_u64());
    }
    core.check_write_linear(linear, T::BYTES as u64)?;
    let old = core.read_linear::<T>(linear)?.to_u64();
    core.write_linear(linear, T::cut(change::<WHAT>(old, bit)))?;
    Ok(old)
}

fn scan<T: Int + Guest + WideAlu, const REVERSE: bool>(core: &mut Core, op: &Op) -> Done {
    let value = core.rm::<T>(op)?;
    let old = core.reg::<T>(op.r1);
    let flags = core.state.arith;
    let (r, f) = if REVERSE { value.bsr(old, flags) } else { value.bsf(old, flags) };
    if value != T::default() {
        core.set_reg(op.r1, r);
    }
    core.state.arith = f;
    Ok(())
}

fn bswap<T: Int>(core: &mut Core, op: &Op) -> Done {
    let value = core.reg::<T>(op.r1).to_u64();
    let swapped = match T::BYTES {
        2 => 0, // undefined by the manual; processors give zero
        4 => (value as u32).swap_bytes() as u64,
        _ => value.swap_bytes(),
    };
    core.set_reg(op.r1, T::cut(swapped));
    Ok(())
}

const _: () = assert!(PAGE_SIZE == 4096 && SegReg::Ds as u8 == 3);

macro_rules! bit_rows {
    ($($what:expr, $i16:ident $i32:ident $i64:ident $r16:ident $r32:ident $r64:ident;)*) => {
        &[
            $(
                row(Code::$i16, body(bit_imm::<u16, { $what }>)),
                row(Code::$i32, body(bit_imm::<u32, { $what }>)),
                row(Code::$i64, body(bit_imm::<u64, { $what }>)),
                row(Code::$r16, body(bit_reg::<u16, { $what }>)),
                row(Code::$r32, body(bit_reg::<u32, { $what }>)),
                row(Code::$r64, body(bit_reg::<u64, { $what }>)),
            )*
            row(Code::Bsf_r16_rm16, body(scan::<u16, false>)),
            row(Code::Bsf_r32_rm32, body(scan::<u32, false>)),
            row(Code::Bsf_r64_rm64, body(scan::<u64, false>)),
            row(Code::Bsr_r16_rm16, body(scan::<u16, true>)),
            row(Code::Bsr_r32_rm32, body(scan::<u32, true>)),
            row(Code::Bsr_r64_rm64, body(scan::<u64, true>)),
            row(Code::Bswap_r16, body(bswap::<u16>)),
            row(Code::Bswap_r32, body(bswap::<u32>)),
            row(Code::Bswap_r64, body(bswap::<u64>)),
        ]
    };
}
/// The rows of this module.
pub(crate) const ROWS: &[Row] = bit_rows! {
    TEST, Bt_rm16_imm8 Bt_rm32_imm8 Bt_rm64_imm8 Bt_rm16_r16 Bt_rm32_r32 Bt_rm64_r64;
    SET, Bts_rm16_imm8 Bts_rm32_imm8 Bts_rm64_imm8 Bts_rm16_r16 Bts_rm32_r32 Bts_rm64_r64;
    RESET, Btr_rm16_imm8 Btr_rm32_imm8 Btr_rm64_imm8 Btr_rm16_r16 Btr_rm32_r32 Btr_rm64_r64;
    COMPLEMENT, Btc_rm16_imm8 Btc_rm32_imm8 Btc_rm64_imm8 Btc_rm16_r16 Btc_rm32_r32 Btc_rm64_r64;
};
