//! AAA, AAS, AAM, AAD, DAA, DAS.

use crate::core::Core;
use crate::op::{Done, Op, Row, body, row};
use iced_x86::Code;
use trimotor_cpu::Fault;
use trimotor_cpu::alu::Alu;
use trimotor_cpu::flags::ArithFlags;

const AL: u8 = 0;
const AH: u8 = 1;

/// SF, ZF and PF of a byte, with the given AF and CF; OF is clear.
fn result_flags(value: u8, adjust: bool, carry: bool) -> ArithFlags {
    let f = value.and(value).1.0 & (ArithFlags::SF | ArithFlags::ZF | ArithFlags::PF);
    ArithFlags(f | if adjust { ArithFlags::AF } else { 0 } | if carry { ArithFlags::CF } else { 0 })
}

fn decimal<const SUBTRACT: bool>(core: &mut Core, _op: &Op) -> Done {
    let old = core.reg::<u8>(AL);
    let f = core.state.arith.0;
    let (old_adjust, old_carry) = (f & ArithFlags::AF != 0, f & ArithFlags::CF != 0);
    let mut al = old;
    let mut carry = false;
    let adjust = old & 15 > 9 || old_adjust;
    if adjust {
        let (r, c) = if SUBTRACT { al.overflowing_sub(6) } else { al.overflowing_add(6) };
        al = r;
        carry = old_carry || c;
    }
    if old > 0x99 || old_carry {
        al = if SUBTRACT { al.wrapping_sub(0x60) } else { al.wrapping_add(0x60) };
        carry = true;
    }
    core.set_reg(AL, al);
    core.state.arith = result_flags(al, adjust, carry);
    Ok(())
}

fn ascii<const SUBTRACT: bool>(core: &mut Core, _op: &Op) -> Done {
    let ax = core.reg::<u16>(AL);
    let adjust = ax & 15 > 9 || core.state.arith.0 & ArithFlags::AF != 0;
    let ax = match (adjust, SUBTRACT) {
        (false, _) => ax,
        (true, false) => ax.wrapping_add(0x106),
        (true, true) => ax.wrapping_sub(6).wrapping_sub(0x100),
    };
    core.set_reg(AL, ax & 0xFF0F);
    core.state.arith = result_flags(ax as u8 & 15, adjust, adjust);
    Ok(())
}

fn aam(core: &mut Core, op: &Op) -> Done {
    let base = op.imm as u8;
    if base == 0 {
        return Err(Fault::DE);
    }
    let al = core.reg::<u8>(AL);
    core.set_reg(AH, al / base);
    core.set_reg(AL, al % base);
    core.state.arith = result_flags(al % base, false, false);
    Ok(())
}

fn aad(core: &mut Core, op: &Op) -> Done {
    let (al, ah) = (core.reg::<u8>(AL), core.reg::<u8>(AH));
    let value = al.wrapping_add(ah.wrapping_mul(op.imm as u8));
    core.set_reg(AL, value as u16);
    core.state.arith = result_flags(value, false, false);
    Ok(())
}

/// The rows of this module.
pub(crate) const ROWS: &[Row] = &[
    row(Code::Daa, body(decimal::<false>)),
    row(Code::Das, body(decimal::<true>)),
    row(Code::Aaa, body(ascii::<false>)),
    row(Code::Aas, body(ascii::<true>)),
    row(Code::Aam_imm8, body(aam)),
    row(Code::Aad_imm8, body(aad)),
];
