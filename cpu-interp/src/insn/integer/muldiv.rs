//! MUL, IMUL, DIV, IDIV, and the sign extensions of the accumulator.

use crate::access::Guest;
use crate::core::{Core, Int};
use crate::op::{Done, Op, Row, body, row};
use iced_x86::Code;
use trimotor_cpu::Fault;
use trimotor_cpu::alu::{WideAlu, product_flags};

const RAX: u8 = 0;
const RDX: u8 = 16;
const AH: u8 = 1;

/// The first source: register `r1` or memory.
fn source<T: Int + Guest>(core: &mut Core, op: &Op) -> Result<T, Fault> {
    if op.has_mem() { core.load(op) } else { Ok(core.reg(op.r1)) }
}

/// A double-width value to AX or rDX:rAX.
fn set_double<T: Int>(core: &mut Core, value: u128) {
    if T::BYTES == 1 {
        core.set_reg::<u16>(RAX, value as u16);
    } else {
        core.set_reg(RAX, T::cut(value as u64));
        core.set_reg(RDX, T::cut((value >> T::BITS) as u64));
    }
}
/// The double-width dividend in AX or rDX:rAX.
fn double<T: Int>(core: &Core) -> u128 {
    if T::BYTES == 1 {
        core.reg::<u16>(RAX) as u128
    } else {
        core.reg::<T>(RAX).to_u64() as u128 | (core.reg::<T>(RDX).to_u64() as u128) << T::BITS
    }
}

fn mul<T: Int + Guest>(core: &mut Core, op: &Op) -> Done {
    let b = source::<T>(core, op)?.to_u64() as u128;
    let product = core.reg::<T>(RAX).to_u64() as u128 * b;
    set_double::<T>(core, product);
    core.state.arith = product_flags(product >> T::BITS != 0);
    Ok(())
}
fn imul_one<T: Int + Guest>(core: &mut Core, op: &Op) -> Done {
    let b = source::<T>(core, op)?.to_i64() as i128;
    let product = core.reg::<T>(RAX).to_i64() as i128 * b;
    set_double::<T>(core, product as u128);
    let fits = T::cut(product as u64).to_i64() as i128 == product;
    core.state.arith = product_flags(!fits);
    Ok(())
}
fn imul_two<T: Int + Guest + WideAlu>(core: &mut Core, op: &Op) -> Done {
    let b = core.rm::<T>(op)?;
    let (r, f) = core.reg::<T>(op.r1).imul(b);
    core.set_reg(op.r1, r);
    core.state.arith = f;
    Ok(())
}
fn imul_three<T: Int + Guest + WideAlu>(core: &mut Core, op: &Op) -> Done {
    let b = core.rm::<T>(op)?;
    let (r, f) = b.imul(T::cut(op.imm));
    core.set_reg(op.r1, r);
    core.state.arith = f;
    Ok(())
}
/// Quotient and remainder to AL and AH, or rAX and rDX.
fn set_quotient<T: Int>(core: &mut Core, quotient: u64, remainder: u64) {
    core.set_reg(RAX, T::cut(quotient));
    core.set_reg(if T::BYTES == 1 { AH } else { RDX }, T::cut(remainder));
}
fn div<T: Int + Guest>(core: &mut Core, op: &Op) -> Done {
    let b = source::<T>(core, op)?.to_u64();
    if b == 0 {
        return Err(Fault::DE);
    }
    let a = double::<T>(core);
    let (q, r) = if a >> 64 == 0 {
        ((a as u64 / b) as u128, a as u64 % b)
    } else {
        (a / b as u128, (a % b as u128) as u64)
    };
    if q >> T::BITS != 0 {
        return Err(Fault::DE);
    }
    set_quotient::<T>(core, q as u64, r);
    Ok(())
}
fn idiv<T: Int + Guest>(core: &mut Core, op: &Op) -> Done {
    let b = source::<T>(core, op)?.to_i64() as i128;
    if b == 0 {
        return Err(Fault::DE);
    }
    let unused = 128 - 2 * T::BITS;
    let a = ((double::<T>(core) << unused) as i128) >> unused;
    let (q, r) = match (i64::try_from(a), b as i64) {
        (Ok(a), b) if b != -1 => ((a / b) as i128, (a % b) as i128),
        _ => (a.wrapping_div(b), a.wrapping_rem(b)),
    };
    if T::cut(q as u64).to_i64() as i128 != q {
        return Err(Fault::DE);
    }
    set_quotient::<T>(core, q as u64, r as u64);
    Ok(())
}

/// CBW, CWDE, CDQE: `S` to `D`.
fn extend_accumulator<D: Int, S: Int>(core: &mut Core, _op: &Op) -> Done {
    core.set_reg(RAX, D::cut(core.reg::<S>(RAX).to_i64() as u64));
    Ok(())
}
/// CWD, CDQ, CQO.
fn extend_to_double<T: Int>(core: &mut Core, _op: &Op) -> Done {
    core.set_reg(RDX, T::cut((core.reg::<T>(RAX).to_i64() >> 63) as u64));
    Ok(())
}

/// The rows of this module.
pub(crate) const ROWS: &[Row] = &[
    row(Code::Mul_rm8, body(mul::<u8>)),
    row(Code::Mul_rm16, body(mul::<u16>)),
    row(Code::Mul_rm32, body(mul::<u32>)),
    row(Code::Mul_rm64, body(mul::<u64>)),
    row(Code::Imul_rm8, body(imul_one::<u8>)),
    row(Code::Imul_rm16, body(imul_one::<u16>)),
    row(Code::Imul_rm32, body(imul_one::<u32>)),
    row(Code::Imul_rm64, body(imul_one::<u64>)),
    row(Code::Imul_r16_rm16, body(imul_two::<u16>)),
    row(Code::Imul_r32_rm32, body(imul_two::<u32>)),
    row(Code::Imul_r64_rm64, body(imul_two::<u64>)),
    row(Code::Imul_r16_rm16_imm8, body(imul_three::<u16>)),
    row(Code::Imul_r32_rm32_imm8, body(imul_three::<u32>)),
    row(Code::Imul_r64_rm64_imm8, body(imul_three::<u64>)),
    row(Code::Imul_r16_rm16_imm16, body(imul_three::<u16>)),
    row(Code::Imul_r32_rm32_imm32, body(imul_three::<u32>)),
    row(Code::Imul_r64_rm64_imm32, body(imul_three::<u64>)),
    row(Code::Div_rm8, body(div::<u8>)),
    row(Code::Div_rm16, body(div::<u16>)),
    row(Code::Div_rm32, body(div::<u32>)),
    row(Code::Div_rm64, body(div::<u64>)),
    row(Code::Idiv_rm8, body(idiv::<u8>)),
    row(Code::Idiv_rm16, body(idiv::<u16>)),
    row(Code::Idiv_rm32, body(idiv::<u32>)),
    row(Code::Idiv_rm64, body(idiv::<u64>)),
    row(Code::Cbw, body(extend_accumulator::<u16, u8>)),
    row(Code::Cwde, body(extend_accumulator::<u32, u16>)),
    row(Code::Cdqe, body(extend_accumulator::<u64, u32>)),
    row(Code::Cwd, body(extend_to_double::<u16>)),
    row(Code::Cdq, body(extend_to_double::<u32>)),
    row(Code::Cqo, body(extend_to_double::<u64>)),
];
