//! MOV, MOVZX, MOVSX, MOVSXD, LEA, XCHG, CMOVcc, SETcc.

use super::alu::{Operand, operand_bytes};
use super::{by_kind, done, load, missed, modify, store};
use crate::core::{Core, Int};
use crate::op::{At, Exit, Handler, Op, info, next};
use iced_x86::{Code, Instruction, Mnemonic, OpKind};

fn mov_rr<T: Operand>(core: &mut Core, op: At<'_>) -> Exit {
    let value = core.reg::<T>(op.r2);
    core.set_reg(op.r1, value);
    next(core, op)
}
fn mov_ri<T: Operand>(core: &mut Core, op: At<'_>) -> Exit {
    core.set_reg(op.r1, T::cut(op.imm));
    next(core, op)
}
fn mov_rm<T: Operand, const K: u8>(core: &mut Core, op: At<'_>) -> Exit {
    let Some(value) = load::<T, K>(core, op) else { return missed::<K>(core, op, mov_rm::<T, 2>) };
    core.set_reg(op.r1, value);
    done::<K>(core, op)
}
fn mov_mr<T: Operand, const K: u8>(core: &mut Core, op: At<'_>) -> Exit {
    let value = core.reg::<T>(op.r1);
    if !store::<T, K>(core, op, value) {
        return missed::<K>(core, op, mov_mr::<T, 2>);
    }
    done::<K>(core, op)
}
fn mov_mi<T: Operand, const K: u8>(core: &mut Core, op: At<'_>) -> Exit {
    let value = T::cut(op.imm);
    if !store::<T, K>(core, op, value) {
        return missed::<K>(core, op, mov_mi::<T, 2>);
    }
    done::<K>(core, op)
}

/// Extension from `S` to `D`.
#[inline(always)]
fn extend<D: Int, S: Int, const SIGNED: bool>(value: S) -> D {
    D::cut(if SIGNED { value.to_i64() as u64 } else { value.to_u64() })
}
fn extend_rr<D: Operand, S: Operand, const SIGNED: bool>(core: &mut Core, op: At<'_>) -> Exit {
    let value = core.reg::<S>(op.r2);
    core.set_reg(op.r1, extend::<D, S, SIGNED>(value));
    next(core, op)
}
fn extend_rm<D: Operand, S: Operand, const SIGNED: bool, const K: u8>(core: &mut Core, op: At<'_>) -> Exit {
    let Some(value) = load::<S, K>(core, op) else {
        return missed::<K>(core, op, extend_rm::<D, S, SIGNED, 2>);
    };
    core.set_reg(op.r1, extend::<D, S, SIGNED>(value));
    done::<K>(core, op)
}
fn zero_extend_rm<D: Operand, S: Operand, const K: u8>(core: &mut Core, op: At<'_>) -> Exit {
    extend_rm::<D, S, false, K>(core, op)
}
fn sign_extend_rm<D: Operand, S: Operand, const K: u8>(core: &mut Core, op: At<'_>) -> Exit {
    extend_rm::<D, S, true, K>(core, op)
}

fn lea<T: Operand>(core: &mut Core, op: At<'_>) -> Exit {
    let value = core.effective(&op);
    core.set_reg(op.r1, T::cut(value));
    next(core, op)
}
/// LEA of 64-bit addresses without and with an index.
fn lea64<T: Operand, const INDEX: bool>(core: &mut Core, op: At<'_>) -> Exit {
    let mut value = core.reg::<u64>(op.base).wrapping_add(op.disp as i64 as u64);
    if INDEX {
        value = value.wrapping_add(core.reg::<u64>(op.index) << op.scale);
    }
    core.set_reg(op.r1, T::cut(value));
    next(core, op)
}

fn xchg_rr<T: Operand>(core: &mut Core, op: At<'_>) -> Exit {
    let (a, b) = (core.reg::<T>(op.r1), core.reg::<T>(op.r2));
    core.set_reg(op.r1, b);
    core.set_reg(op.r2, a);
    next(core, op)
}
fn xchg_m<T: Operand, const K: u8>(core: &mut Core, op: At<'_>) -> Exit {
    let new = core.reg::<T>(op.r1);
    match modify::<T, T, K>(core, op, move |_, old| (new, old)) {
        Some(old) => core.set_reg(op.r1, old),
        None => return missed::<K>(core, op, xchg_m::<T, 2>),
    }
    done::<K>(core, op)
}

/// CMOVcc; the condition is in `r3`.
fn cmov_rr<T: Operand>(core: &mut Core, op: At<'_>) -> Exit {
    let from = if core.state.arith.condition(op.r3) { op.r2 } else { op.r1 };
    let value = core.reg::<T>(from);
    core.set_reg(op.r1, value);
    next(core, op)
}
fn cmov_rm<T: Operand, const K: u8>(core: &mut Core, op: At<'_>) -> Exit {
    let Some(value) = load::<T, K>(core, op) else { return missed::<K>(core, op, cmov_rm::<T, 2>) };
    let value = if core.state.arith.condition(op.r3) { value } else { core.reg::<T>(op.r1) };
    core.set_reg(op.r1, value);
    done::<K>(core, op)
}
/// SETcc; the condition is in `r3`.
fn set_r(core: &mut Core, op: At<'_>) -> Exit {
    let value = core.state.arith.condition(op.r3) as u8;
    core.set_reg(op.r1, value);
    next(core, op)
}
fn set_m<const K: u8>(core: &mut Core, op: At<'_>) -> Exit {
    let value = core.state.arith.condition(op.r3) as u8;
    if !store::<u8, K>(core, op, value) {
        return missed::<K>(core, op, set_m::<2>);
    }
    done::<K>(core, op)
}

fn mov<T: Operand>(i: &Instruction, op: &Op) -> Handler {
    match (i.op0_kind(), i.op1_kind()) {
        (OpKind::Register, OpKind::Register) => mov_rr::<T>,
        (OpKind::Register, OpKind::Memory) => by_kind!(op, mov_rm::<T>),
        (OpKind::Memory, OpKind::Register) => by_kind!(op, mov_mr::<T>),
        (OpKind::Memory, _) => by_kind!(op, mov_mi::<T>),
        _ => mov_ri::<T>,
    }
}

fn source_bytes(i: &Instruction) -> usize {
    if i.op1_kind() == OpKind::Register { i.op1_register().size() } else { i.memory_size().size() }
}

fn zero_extend<D: Operand, S: Operand>(i: &Instruction, op: &Op) -> Handler {
    if i.op1_kind() == OpKind::Register {
        extend_rr::<D, S, false>
    } else {
        by_kind!(op, zero_extend_rm::<D, S>)
    }
}
fn sign_extend<D: Operand, S: Operand>(i: &Instruction, op: &Op) -> Handler {
    if i.op1_kind() == OpKind::Register {
        extend_rr::<D, S, true>
    } else {
        by_kind!(op, sign_extend_rm::<D, S>)
    }
}

fn lea_form<T: Operand>(op: &Op) -> Handler {
    if op.info & (info::ADDR16 | info::ADDR32) != 0 {
        lea::<T>
    } else if op.index == trimotor_cpu::state::reg_file::ZERO {
        lea64::<T, false>
    } else {
        lea64::<T, true>
    }
}
fn xchg<T: Operand>(i: &Instruction, op: &Op) -> Handler {
    if i.op0_kind() == OpKind::Register && i.op1_kind() == OpKind::Register {
        xchg_rr::<T>
    } else {
        by_kind!(op, xchg_m::<T>)
    }
}
fn cmov<T: Operand>(i: &Instruction, op: &Op) -> Handler {
    if i.op1_kind() == OpKind::Register { cmov_rr::<T> } else { by_kind!(op, cmov_rm::<T>) }
}

/// The handler for `i`, if it is one of this module's.
pub(crate) fn select(i: &Instruction, op: &mut Op) -> Option<Handler> {
    use Mnemonic as M;
    if is_cmovcc(i.code()) {
        op.r3 = i.condition_code() as u8 - 1;
        return Some(match operand_bytes(i) {
            2 => cmov::<u16>(i, op),
            4 => cmov::<u32>(i, op),
            _ => cmov::<u64>(i, op),
        });
    }
    if is_setcc(i.code()) {
        op.r3 = i.condition_code() as u8 - 1;
        return Some(if i.op0_kind() == OpKind::Register {
            set_r
        } else {
            match super::kind_of(op) {
                super::BASE => set_m::<0>,
                super::INDEXED => set_m::<1>,
                _ => set_m::<2>,
            }
        });
    }
    if !implements(i.code()) {
        return None;
    }
    let size = operand_bytes(i);
    Some(match (i.mnemonic(), size) {
        (M::Mov, 1) => mov::<u8>(i, op),
        (M::Mov, 2) => mov::<u16>(i, op),
        (M::Mov, 4) => mov::<u32>(i, op),
        (M::Mov, _) => mov::<u64>(i, op),
        (M::Lea, 2) => lea_form::<u16>(op),
        (M::Lea, 4) => lea_form::<u32>(op),
        (M::Lea, _) => lea_form::<u64>(op),
        (M::Xchg, 1) => xchg::<u8>(i, op),
        (M::Xchg, 2) => xchg::<u16>(i, op),
        (M::Xchg, 4) => xchg::<u32>(i, op),
        (M::Xchg, _) => xchg::<u64>(i, op),
        (M::Movzx, 2) if source_bytes(i) == 1 => zero_extend::<u16, u8>(i, op),
        (M::Movzx, 4) if source_bytes(i) == 1 => zero_extend::<u32, u8>(i, op),
        (M::Movzx, 8) if source_bytes(i) == 1 => zero_extend::<u64, u8>(i, op),
        (M::Movzx, 2) => zero_extend::<u16, u16>(i, op),
        (M::Movzx, 4) => zero_extend::<u32, u16>(i, op),
        (M::Movzx, _) => zero_extend::<u64, u16>(i, op),
        (M::Movsx, 2) if source_bytes(i) == 1 => sign_extend::<u16, u8>(i, op),
        (M::Movsx, 4) if source_bytes(i) == 1 => sign_extend::<u32, u8>(i, op),
        (M::Movsx, 8) if source_bytes(i) == 1 => sign_extend::<u64, u8>(i, op),
        (M::Movsx, 2) => sign_extend::<u16, u16>(i, op),
        (M::Movsx, 4) => sign_extend::<u32, u16>(i, op),
        (M::Movsx, _) => sign_extend::<u64, u16>(i, op),
        (M::Movsxd, 2) => sign_extend::<u16, u16>(i, op),
        (M::Movsxd, 4) => sign_extend::<u32, u32>(i, op),
        (M::Movsxd, _) => sign_extend::<u64, u32>(i, op),
        _ => return None,
    })
}

/// Whether [`select`] knows the form: not the moves of segment, control and debug registers.
pub(crate) fn implements(code: Code) -> bool {
    use Mnemonic as M;
    if is_cmovcc(code) || is_setcc(code) {
        return true;
    }
    match code.mnemonic() {
        M::Mov => !is_system_move(code),
        M::Lea | M::Xchg | M::Movzx | M::Movsx | M::Movsxd => true,
        _ => false,
    }
}

/// MOV from or to a segment, control, debug or test register.
fn is_system_move(code: Code) -> bool {
    matches!(
        code,
        Code::Mov_rm16_Sreg
            | Code::Mov_r32m16_Sreg
            | Code::Mov_r64m16_Sreg
            | Code::Mov_Sreg_rm16
            | Code::Mov_Sreg_r32m16
            | Code::Mov_Sreg_r64m16
            | Code::Mov_r32_cr
            | Code::Mov_r64_cr
            | Code::Mov_r32_dr
            | Code::Mov_r64_dr
            | Code::Mov_cr_r32
            | Code::Mov_cr_r64
            | Code::Mov_dr_r32
            | Code::Mov_dr_r64
            | Code::Mov_r32_tr
            | Code::Mov_tr_r32
    )
}

/// CMOVcc.
fn is_cmovcc(code: Code) -> bool {
    use Mnemonic as M;
    matches!(
        code.mnemonic(),
        M::Cmovo
            | M::Cmovno
            | M::Cmovb
            | M::Cmovae
            | M::Cmove
            | M::Cmovne
            | M::Cmovbe
            | M::Cmova
            | M::Cmovs
            | M::Cmovns
            | M::Cmovp
            | M::Cmovnp
            | M::Cmovl
            | M::Cmovge
            | M::Cmovle
            | M::Cmovg
    )
}

/// SETcc.
fn is_setcc(code: Code) -> bool {
    use Mnemonic as M;
    matches!(
        code.mnemonic(),
        M::Seto
            | M::Setno
            | M::Setb
            | M::Setae
            | M::Sete
            | M::Setne
            | M::Setbe
            | M::Seta
            | M::Sets
            | M::Setns
            | M::Setp
            | M::Setnp
            | M::Setl
            | M::Setge
            | M::Setle
            | M::Setg
    )
}
