//! Bit manipulation and its neighbours on general registers: BMI1, BMI2, ADX, MOVBE, POPCNT,
//! LZCNT, CRC32, CLWB, and the encodings of prefetches and fences that have no name of their own.
//!
//! Flags that the manual leaves undefined are as AMD's processors leave them: AF clear (set
//! by BEXTR, which clears SF), PF by the result, and by TZCNT and LZCNT OF untouched.

use crate::access::Guest;
use crate::core::{Core, Int};
use crate::op::{Done, Op, Row, body, row};
use iced_x86::Code::{self, *};
use trimotor_cpu::Fault;
use trimotor_cpu::flags::ArithFlags;

/// SF, ZF and PF of a result; the other flags are clear.
#[inline(always)]
fn result_flags<T: Int>(result: T) -> u16 {
    let value = result.to_u64();
    let sign = if value >> (T::BITS - 1) != 0 { ArithFlags::SF } else { 0 };
    let zero = if value == 0 { ArithFlags::ZF } else { 0 };
    let parity = if (value as u8).count_ones() & 1 == 0 { ArithFlags::PF } else { 0 };
    sign | zero | parity
}
#[inline(always)]
fn carry_if(condition: bool) -> u16 {
    if condition { ArithFlags::CF } else { 0 }
}
#[inline(always)]
fn set_flags(core: &mut Core, flags: u16) {
    core.state.arith = ArithFlags(flags);
}

/// The last source: the memory operand, or register `register`.
#[inline(always)]
fn source<T: Guest + Int>(core: &mut Core, op: &Op, register: u8) -> Result<T, Fault> {
    if op.has_mem() { core.load(op) } else { Ok(core.reg(register)) }
}

// ---- BMI1 ----

/// ANDN.
fn andn<T: Guest + Int>(core: &mut Core, op: &Op) -> Done {
    let b: T = source(core, op, op.r3)?;
    let result = T::cut(!core.reg::<T>(op.r2).to_u64() & b.to_u64());
    set_flags(core, result_flags(result));
    core.set_reg(op.r1, result);
    Ok(())
}
/// BLSR: clears the lowest bit.
fn blsr<T: Guest + Int>(core: &mut Core, op: &Op) -> Done {
    let value = core.rm::<T>(op)?.to_u64();
    let result = T::cut(value & value.wrapping_sub(1));
    set_flags(core, result_flags(result) | carry_if(value == 0));
    core.set_reg(op.r1, result);
    Ok(())
}
/// BLSMSK: ones up to the lowest bit.
fn blsmsk<T: Guest + Int>(core: &mut Core, op: &Op) -> Done {
    let value = core.rm::<T>(op)?.to_u64();
    let result = T::cut(value ^ value.wrapping_sub(1));
    set_flags(core, result_flags(result) | carry_if(value == 0));
    core.set_reg(op.r1, result);
    Ok(())
}
/// BLSI: the lowest bit alone.
fn blsi<T: Guest + Int>(core: &mut Core, op: &Op) -> Done {
    let value = core.rm::<T>(op)?.to_u64();
    let result = T::cut(value & value.wrapping_neg());
    set_flags(core, result_flags(result) | carry_if(value != 0));
    core.set_reg(op.r1, result);
    Ok(())
}
/// The register that BEXTR, BZHI and the shifts take their control from.
#[inline(always)]
fn control<T: Int>(core: &Core, op: &Op) -> u64 {
    core.reg::<T>(if op.has_mem() { op.r2 } else { op.r3 }).to_u64()
}
/// BEXTR: a field by start and length.
fn bextr<T: Guest + Int>(core: &mut Core, op: &Op) -> Done {
    let value = core.rm::<T>(op)?.to_u64();
    let control = control::<T>(core, op);
    let (start, length) = (control as u8 as u32, (control >> 8) as u8 as u32);
    let shifted = value.checked_shr(start).unwrap_or(0);
    let result = T::cut(if length >= 64 { shifted } else { shifted & !(u64::MAX << length) });
    set_flags(core, result_flags(result) & !ArithFlags::SF | ArithFlags::AF);
    core.set_reg(op.r1, result);
    Ok(())
}
/// TZCNT: zeros below the lowest bit.
fn tzcnt<T: Guest + Int>(core: &mut Core, op: &Op) -> Done {
    let value = core.rm::<T>(op)?.to_u64();
    count(core, op, value, value.trailing_zeros().min(T::BITS), T::cut)
}
/// LZCNT: zeros above the highest bit.
fn lzcnt<T: Guest + Int>(core: &mut Core, op: &Op) -> Done {
    let value = core.rm::<T>(op)?.to_u64();
    count(core, op, value, value.leading_zeros() - (64 - T::BITS), T::cut)
}
#[inline(always)]
fn count<T: Int>(core: &mut Core, op: &Op, value: u64, zeros: u32, cut: fn(u64) -> T) -> Done {
    let zero = if zeros == 0 { ArithFlags::ZF } else { 0 };
    let overflow = core.state.arith.0 & ArithFlags::OF;
    set_flags(core, zero | overflow | carry_if(value == 0));
    core.set_reg(op.r1, cut(zeros as u64));
    Ok(())
}
/// POPCNT.
fn popcnt<T: Guest + Int>(core: &mut Core, op: &Op) -> Done {
    let value = core.rm::<T>(op)?.to_u64();
    set_flags(core, if value == 0 { ArithFlags::ZF } else { 0 });
    core.set_reg(op.r1, T::cut(value.count_ones() as u64));
    Ok(())
}

// ---- BMI2 ----

/// BZHI: clears the bits from an index up.
fn bzhi<T: Guest + Int>(core: &mut Core, op: &Op) -> Done {
    let value = core.rm::<T>(op)?.to_u64();
    let index = control::<T>(core, op) as u8 as u32;
    let result = T::cut(if index < T::BITS { value & !(u64::MAX << index) } else { value });
    set_flags(core, result_flags(result) | carry_if(index >= T::BITS));
    core.set_reg(op.r1, result);
    Ok(())
}
/// MULX: the unsigned product with rDX; the high half is written last.
fn mulx<T: Guest + Int>(core: &mut Core, op: &Op) -> Done {
    const RDX: u8 = 2 * 8;
    let value = source::<T>(core, op, op.r3)?.to_u64();
    let product = value as u128 * core.reg::<T>(RDX).to_u64() as u128;
    core.set_reg(op.r2, T::cut(product as u64));
    core.set_reg(op.r1, T::cut((product >> T::BITS) as u64));
    Ok(())
}
/// PDEP: scatters low bits to the places of a mask.
fn pdep<T: Guest + Int>(core: &mut Core, op: &Op) -> Done {
    let mut mask = source::<T>(core, op, op.r3)?.to_u64();
    let mut value = core.reg::<T>(op.r2).to_u64();
    let mut result = 0;
    while mask != 0 {
        if value & 1 != 0 {
            result |= mask & mask.wrapping_neg();
        }
        mask &= mask - 1;
        value >>= 1;
    }
    core.set_reg(op.r1, T::cut(result));
    Ok(())
}
/// PEXT: gathers the bits at the places of a mask.
fn pext<T: Guest + Int>(core: &mut Core, op: &Op) -> Done {
    let mut mask = source::<T>(core, op, op.r3)?.to_u64();
    let value = core.reg::<T>(op.r2).to_u64();
    let (mut result, mut place) = (0, 0);
    while mask != 0 {
        if value & mask & mask.wrapping_neg() != 0 {
            result |= 1 << place;
        }
        mask &= mask - 1;
        place += 1;
    }
    core.set_reg(op.r1, T::cut(result));
    Ok(())
}
/// RORX.
fn rorx<T: Guest + Int>(core: &mut Core, op: &Op) -> Done {
    let value = core.rm::<T>(op)?.to_u64();
    let n = op.imm as u32 & (T::BITS - 1);
    let result = if n == 0 { value } else { value >> n | value << (T::BITS - n) };
    core.set_reg(op.r1, T::cut(result));
    Ok(())
}
/// SHLX.
fn shlx<T: Guest + Int>(core: &mut Core, op: &Op) -> Done {
    let value = core.rm::<T>(op)?.to_u64();
    let n = control::<T>(core, op) as u32 & (T::BITS - 1);
    core.set_reg(op.r1, T::cut(value << n));
    Ok(())
}
/// SHRX.
fn shrx<T: Guest + Int>(core: &mut Core, op: &Op) -> Done {
    let value = core.rm::<T>(op)?.to_u64();
    let n = control::<T>(core, op) as u32 & (T::BITS - 1);
    core.set_reg(op.r1, T::cut(value >> n));
    Ok(())
}
/// SARX.
fn sarx<T: Guest + Int>(core: &mut Core, op: &Op) -> Done {
    let value = core.rm::<T>(op)?.to_i64();
    let n = control::<T>(core, op) as u32 & (T::BITS - 1);
    core.set_reg(op.r1, T::cut((value >> n) as u64));
    Ok(())
}

// ---- ADX ----

/// ADCX (`FLAG` is CF) and ADOX (OF): addition with a carry chain of one flag only.
fn add_with<T: Guest + Int, const FLAG: u16>(core: &mut Core, op: &Op) -> Done {
    let b = core.rm::<T>(op)?.to_u64() as u128;
    let flags = core.state.arith.0;
    let sum = core.reg::<T>(op.r1).to_u64() as u128 + b + (flags & FLAG != 0) as u128;
    let carry = if sum >> T::BITS != 0 { FLAG } else { 0 };
    set_flags(core, flags & !FLAG | carry);
    core.set_reg(op.r1, T::cut(sum as u64));
    Ok(())
}

// ---- MOVBE, CRC32 ----

#[inline(always)]
fn swap_bytes<T: Int>(value: T) -> T {
    T::cut(value.to_u64().swap_bytes() >> (64 - T::BITS))
}
/// MOVBE from memory.
fn movbe_load<T: Guest + Int>(core: &mut Core, op: &Op) -> Done {
    let value: T = core.load(op)?;
    core.set_reg(op.r1, swap_bytes(value));
    Ok(())
}
/// MOVBE to memory.
fn movbe_store<T: Guest + Int>(core: &mut Core, op: &Op) -> Done {
    core.store(op, swap_bytes(core.reg::<T>(op.r1)))
}
/// CRC32: CRC-32C of the destination's low half continued over the source.
fn crc32<T: Guest + Int>(core: &mut Core, op: &Op) -> Done {
    let value = core.rm::<T>(op)?.to_u64();
    let crc = (0..T::BYTES).fold(core.reg::<u32>(op.r1), |crc, i| {
        let index = crc as u8 ^ (value >> (8 * i)) as u8;
        crc >> 8 ^ CRC32C[index as usize]
    });
    core.set_reg::<u32>(op.r1, crc);
    Ok(())
}

/// CRC-32C (polynomial 11EDC6F41h, bit-reflected) of each byte.
static CRC32C: [u32; 256] = {
    let mut table = [0u32; 256];
    let mut i = 0;
    while i < 256 {
        let mut crc = i as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = crc >> 1 ^ if crc & 1 != 0 { 0x82F6_3B78 } else { 0 };
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
};

// ---- caches ----

/// Fences and prefetches: accesses are already in order, and caches are not modelled.
fn nothing(_core: &mut Core, _op: &Op) -> Done {
    Ok(())
}
/// CLWB: nothing to write back, but faults as a byte load does.
fn clwb(core: &mut Core, op: &Op) -> Done {
    core.load::<u8>(op)?;
    Ok(())
}

macro_rules! sizes {
    ($f:ident: $code32:ident, $code64:ident) => {
        [row($code32, body($f::<u32>)), row($code64, body($f::<u64>))]
    };
}

const TWO_SIZES: &[[Row; 2]] = &[
    sizes!(andn: VEX_Andn_r32_r32_rm32, VEX_Andn_r64_r64_rm64),
    sizes!(blsr: VEX_Blsr_r32_rm32, VEX_Blsr_r64_rm64),
    sizes!(blsmsk: VEX_Blsmsk_r32_rm32, VEX_Blsmsk_r64_rm64),
    sizes!(blsi: VEX_Blsi_r32_rm32, VEX_Blsi_r64_rm64),
    sizes!(bextr: VEX_Bextr_r32_rm32_r32, VEX_Bextr_r64_rm64_r64),
    sizes!(bzhi: VEX_Bzhi_r32_rm32_r32, VEX_Bzhi_r64_rm64_r64),
    sizes!(mulx: VEX_Mulx_r32_r32_rm32, VEX_Mulx_r64_r64_rm64),
    sizes!(pdep: VEX_Pdep_r32_r32_rm32, VEX_Pdep_r64_r64_rm64),
    sizes!(pext: VEX_Pext_r32_r32_rm32, VEX_Pext_r64_r64_rm64),
    sizes!(rorx: VEX_Rorx_r32_rm32_imm8, VEX_Rorx_r64_rm64_imm8),
    sizes!(shlx: VEX_Shlx_r32_rm32_r32, VEX_Shlx_r64_rm64_r64),
    sizes!(shrx: VEX_Shrx_r32_rm32_r32, VEX_Shrx_r64_rm64_r64),
    sizes!(sarx: VEX_Sarx_r32_rm32_r32, VEX_Sarx_r64_rm64_r64),
    [
        row(Adcx_r32_rm32, body(add_with::<u32, { ArithFlags::CF }>)),
        row(Adcx_r64_rm64, body(add_with::<u64, { ArithFlags::CF }>)),
    ],
    [
        row(Adox_r32_rm32, body(add_with::<u32, { ArithFlags::OF }>)),
        row(Adox_r64_rm64, body(add_with::<u64, { ArithFlags::OF }>)),
    ],
];

const THREE_SIZES: &[Row] = &[
    row(Tzcnt_r16_rm16, body(tzcnt::<u16>)),
    row(Tzcnt_r32_rm32, body(tzcnt::<u32>)),
    row(Tzcnt_r64_rm64, body(tzcnt::<u64>)),
    row(Lzcnt_r16_rm16, body(lzcnt::<u16>)),
    row(Lzcnt_r32_rm32, body(lzcnt::<u32>)),
    row(Lzcnt_r64_rm64, body(lzcnt::<u64>)),
    row(Popcnt_r16_rm16, body(popcnt::<u16>)),
    row(Popcnt_r32_rm32, body(popcnt::<u32>)),
    row(Popcnt_r64_rm64, body(popcnt::<u64>)),
    row(Movbe_r16_m16, body(movbe_load::<u16>)),
    row(Movbe_r32_m32, body(movbe_load::<u32>)),
    row(Movbe_r64_m64, body(movbe_load::<u64>)),
    row(Movbe_m16_r16, body(movbe_store::<u16>)),
    row(Movbe_m32_r32, body(movbe_store::<u32>)),
    row(Movbe_m64_r64, body(movbe_store::<u64>)),
    row(Crc32_r32_rm8, body(crc32::<u8>)),
    row(Crc32_r64_rm8, body(crc32::<u8>)),
    row(Crc32_r32_rm16, body(crc32::<u16>)),
    row(Crc32_r32_rm32, body(crc32::<u32>)),
    row(Crc32_r64_rm64, body(crc32::<u64>)),
    row(Clwb_m8, body(clwb)),
];

/// Instructions that do nothing that can be seen.
const NOTHING: &[Code] = &[
    Prefetchreserved3_m8,
    Prefetchreserved4_m8,
    Prefetchreserved5_m8,
    Prefetchreserved6_m8,
    Prefetchreserved7_m8,
    Lfence_E9,
    Lfence_EA,
    Lfence_EB,
    Lfence_EC,
    Lfence_ED,
    Lfence_EE,
    Lfence_EF,
    Mfence_F1,
    Mfence_F2,
    Mfence_F3,
    Mfence_F4,
    Mfence_F5,
    Mfence_F6,
    Mfence_F7,
    Sfence_F9,
    Sfence_FA,
    Sfence_FB,
    Sfence_FC,
    Sfence_FD,
    Sfence_FE,
    Sfence_FF,
];

const fn nothing_rows() -> [Row; NOTHING.len()] {
    let mut rows = [row(NOTHING[0], body(nothing)); NOTHING.len()];
    let mut i = 1;
    while i < NOTHING.len() {
        rows[i].code = NOTHING[i];
        i += 1;
    }
    rows
}

const PARTS: &[&[Row]] = &[TWO_SIZES.as_flattened(), THREE_SIZES, &nothing_rows()];

/// The family's instruction forms.
pub(crate) const ROWS: &[Row] = &super::vector_forms::concat::<{ super::vector_forms::length(PARTS) }>(PARTS);
