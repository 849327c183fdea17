//! x87 loads, stores, exchanges and constants.
//!
//! Source: SDM Vol. 2, FLD, FST, FILD, FIST, FISTTP, FBLD, FBSTP, FXCH, FLD1 and its kin.

use iced_x86::Code::*;
use trimotor_cpu::x87::kernels as k;
use trimotor_cpu::x87::kernels::Kernel;
use trimotor_cpu::x87::operations::Stored;
use trimotor_cpu::x87::{constant, status};

use super::x87::{whole, x87};
use crate::core::Core;
use crate::op::{Done, Op, Row, body};

/// Pushes a converted memory operand.
fn load<K: Kernel, const N: usize, const OPCODE: u16>(core: &mut Core, op: &Op) -> Done {
    core.waiting_x87()?;
    let mut value = core.load_x87::<N>(op)?;
    core.state.x87.load::<K, OPCODE>(&mut value);
    core.note_x87(op);
    Ok(())
}

/// FLD m80.
fn load_m80(core: &mut Core, op: &Op) -> Done {
    core.waiting_x87()?;
    let value = core.load::<[u8; 10]>(op)?;
    core.state.x87.load_m80::<0x329>(&value);
    core.note_x87(op);
    Ok(())
}

/// Stores ST0 converted, then pops if `POP`.
fn store<K: Kernel, const N: usize, const OPCODE: u16, const POP: bool>(core: &mut Core, op: &Op) -> Done {
    core.waiting_x87()?;
    let mut memory = [0; 16];
    let stored = core.state.x87.store::<K, OPCODE>(&mut memory);
    let value: [u8; N] = std::array::from_fn(|i| memory[i]);
    match stored {
        Stored::Fast(status) => {
            core.store(op, value)?;
            core.state.x87.status = status;
            if POP {
                core.state.x87.drop_top();
            }
        }
        Stored::Whole(after, stored) => {
            if stored {
                core.store(op, value)?;
            } else {
                core.check_store(op, 0, N as u64)?;
            }
            core.state.x87 = *after;
        }
    }
    core.note_x87(op);
    Ok(())
}

/// FSTP m80.
fn store_m80(core: &mut Core, op: &Op) -> Done {
    core.waiting_x87()?;
    let x = &core.state.x87;
    if x.is_empty(0) {
        let mut memory = [0; 16];
        if let Stored::Whole(after, stored) = x.store_whole::<0x339>(&mut memory) {
            if stored {
                let value: [u8; 10] = std::array::from_fn(|i| memory[i]);
                core.store(op, value)?;
            } else {
                core.check_store(op, 0, 10)?;
            }
            core.state.x87 = *after;
        }
    } else {
        let register = x.st(0).0;
        let value: [u8; 10] = std::array::from_fn(|i| register[i]);
        core.store(op, value)?;
        core.state.x87.drop_top();
        core.state.x87.status &= !status::C1;
    }
    core.note_x87(op);
    Ok(())
}

/// FLD ST(i).
fn load_sti(core: &mut Core, op: &Op) -> Done {
    core.waiting_x87()?;
    let x = &mut core.state.x87;
    if x.is_empty(op.r1) || !x.is_empty(7) {
        x.whole::<0x1C1>(op.r1);
    } else {
        let value = *x.st(op.r1);
        x.push_value(value);
    }
    core.note_x87(op);
    Ok(())
}

/// FST ST(i), FSTP ST(i).
fn store_sti<const OPCODE: u16, const POP: bool>(core: &mut Core, op: &Op) -> Done {
    core.waiting_x87()?;
    let x = &mut core.state.x87;
    if x.is_empty(0) {
        x.whole::<OPCODE>(op.r1);
    } else {
        let (to, from) = (x.physical(op.r1), x.physical(0));
        x.regs[to] = x.regs[from];
        x.empty &= !(1 << to);
        x.status &= !status::C1;
        if POP {
            x.drop_top();
        }
    }
    core.note_x87(op);
    Ok(())
}

/// FXCH.
fn exchange(core: &mut Core, op: &Op) -> Done {
    core.waiting_x87()?;
    let i = op.r1 | op.r2;
    let x = &mut core.state.x87;
    if x.is_empty(0) || x.is_empty(i) {
        x.whole::<0x1C9>(i);
    } else {
        let (a, b) = (x.physical(0), x.physical(i));
        x.regs.swap(a, b);
        x.status &= !status::C1;
    }
    core.note_x87(op);
    Ok(())
}

/// FLD1, FLDL2T, FLDL2E, FLDPI, FLDLG2, FLDLN2, FLDZ: number `N` of them.
fn load_constant<const N: usize, const OPCODE: u16>(core: &mut Core, op: &Op) -> Done {
    core.waiting_x87()?;
    let x = &mut core.state.x87;
    if x.is_empty(7) {
        let value = constant(N, x.control);
        x.push_value(value);
    } else {
        x.whole::<OPCODE>(1);
    }
    core.note_x87(op);
    Ok(())
}

pub(crate) const ROWS: &[Row] = &[
    x87(Fld_m32fp, body(load::<k::LoadM32, 4, 0x101>)),
    x87(Fld_m64fp, body(load::<k::LoadM64, 8, 0x501>)),
    x87(Fld_m80fp, body(load_m80)),
    x87(Fild_m16int, body(load::<k::LoadI16, 2, 0x701>)),
    x87(Fild_m32int, body(load::<k::LoadI32, 4, 0x301>)),
    x87(Fild_m64int, body(load::<k::LoadI64, 8, 0x729>)),
    x87(Fbld_m80bcd, body(load::<k::LoadBcd, 10, 0x721>)),
    x87(Fst_m32fp, body(store::<k::StoreM32, 4, 0x111, false>)),
    x87(Fstp_m32fp, body(store::<k::StoreM32, 4, 0x119, true>)),
    x87(Fst_m64fp, body(store::<k::StoreM64, 8, 0x511, false>)),
    x87(Fstp_m64fp, body(store::<k::StoreM64, 8, 0x519, true>)),
    x87(Fstp_m80fp, body(store_m80)),
    x87(Fist_m16int, body(store::<k::StoreI16, 2, 0x711, false>)),
    x87(Fistp_m16int, body(store::<k::StoreI16, 2, 0x719, true>)),
    x87(Fist_m32int, body(store::<k::StoreI32, 4, 0x311, false>)),
    x87(Fistp_m32int, body(store::<k::StoreI32, 4, 0x319, true>)),
    x87(Fistp_m64int, body(store::<k::StoreI64, 8, 0x739, true>)),
    x87(Fisttp_m16int, body(store::<k::TruncateI16, 2, 0x709, true>)),
    x87(Fisttp_m32int, body(store::<k::TruncateI32, 4, 0x309, true>)),
    x87(Fisttp_m64int, body(store::<k::TruncateI64, 8, 0x509, true>)),
    x87(Fbstp_m80bcd, body(store::<k::StoreBcd, 10, 0x731, true>)),
    x87(Fld_sti, body(load_sti)),
    x87(Fst_sti, body(store_sti::<0x5D1, false>)),
    x87(Fstp_sti, body(store_sti::<0x5D9, true>)),
    x87(Fstp_sti_DFD0, body(store_sti::<0x5D9, true>)),
    x87(Fstp_sti_DFD8, body(store_sti::<0x5D9, true>)),
    x87(Fstpnce_sti, body(whole::<0x1D9>)),
    x87(Fxch_st0_sti, body(exchange)),
    x87(Fxch_st0_sti_DDC8, body(exchange)),
    x87(Fxch_st0_sti_DFC8, body(exchange)),
    x87(Fld1, body(load_constant::<0, 0x1E8>)),
    x87(Fldl2t, body(load_constant::<1, 0x1E9>)),
    x87(Fldl2e, body(load_constant::<2, 0x1EA>)),
    x87(Fldpi, body(load_constant::<3, 0x1EB>)),
    x87(Fldlg2, body(load_constant::<4, 0x1EC>)),
    x87(Fldln2, body(load_constant::<5, 0x1ED>)),
    x87(Fldz, body(load_constant::<6, 0x1EE>)),
];
