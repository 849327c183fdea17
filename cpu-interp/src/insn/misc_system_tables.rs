//! LGDT, LIDT, SGDT, SIDT, SLDT, STR (SDM Vol. 2).

use crate::core::{Core, Int};
use crate::insn::control::{check_umip, require_cpl0};
use crate::insn::segment::require_protected;
use crate::op::{Done, Op, Row, body, row};
use iced_x86::Code;
use trimotor_cpu::{Fault, TableRegister};

pub(crate) const ROWS: &[Row] = &[
    row(Code::Lgdt_m1632_16, body(load_table::<GDTR, 3>)),
    row(Code::Lgdt_m1632, body(load_table::<GDTR, 4>)),
    row(Code::Lgdt_m1664, body(load_table::<GDTR, 8>)),
    row(Code::Lidt_m1632_16, body(load_table::<IDTR, 3>)),
    row(Code::Lidt_m1632, body(load_table::<IDTR, 4>)),
    row(Code::Lidt_m1664, body(load_table::<IDTR, 8>)),
    row(Code::Sgdt_m1632_16, body(store_table::<GDTR, 4>)),
    row(Code::Sgdt_m1632, body(store_table::<GDTR, 4>)),
    row(Code::Sgdt_m1664, body(store_table::<GDTR, 8>)),
    row(Code::Sidt_m1632_16, body(store_table::<IDTR, 4>)),
    row(Code::Sidt_m1632, body(store_table::<IDTR, 4>)),
    row(Code::Sidt_m1664, body(store_table::<IDTR, 8>)),
    row(Code::Sldt_rm16, body(store_selector::<u16, LDTR>)),
    row(Code::Sldt_r32m16, body(store_selector::<u32, LDTR>)),
    row(Code::Sldt_r64m16, body(store_selector::<u64, LDTR>)),
    row(Code::Str_rm16, body(store_selector::<u16, TR>)),
    row(Code::Str_r32m16, body(store_selector::<u32, TR>)),
    row(Code::Str_r64m16, body(store_selector::<u64, TR>)),
];

const GDTR: u8 = 0;
const IDTR: u8 = 1;
const LDTR: u8 = 0;
const TR: u8 = 1;

/// `BASE` bytes of base count; with a 16-bit operand size that is 24 bits.
fn load_table<const WHICH: u8, const BASE: usize>(core: &mut Core, op: &Op) -> Done {
    require_cpl0(core)?;
    let size = if BASE == 8 { 10 } else { 6 };
    let mut bytes = [0u8; 10];
    core.read_bytes(op, 0, &mut bytes[..size])?;
    let limit = u16::from_le_bytes([bytes[0], bytes[1]]);
    let mut base = [0u8; 8];
    base[..BASE].copy_from_slice(&bytes[2..2 + BASE]);
    let base = u64::from_le_bytes(base);
    if BASE == 8 && !core.is_canonical_base(base) {
        return Err(Fault::gp(0));
    }
    let table = TableRegister { base, limit };
    if WHICH == GDTR {
        core.state.gdtr = table
    } else {
        core.state.idtr = table
    }
    Ok(())
}

/// With a 16-bit operand size all 32 bits of the base are stored too, as processors do.
fn store_table<const WHICH: u8, const BASE: usize>(core: &mut Core, op: &Op) -> Done {
    check_umip(core)?;
    let table = if WHICH == GDTR { core.state.gdtr } else { core.state.idtr };
    let mut bytes = [0u8; 10];
    bytes[..2].copy_from_slice(&table.limit.to_le_bytes());
    bytes[2..].copy_from_slice(&table.base.to_le_bytes());
    core.write_bytes(op, 0, &bytes[..BASE + 2])
}

fn store_selector<T: Int, const WHICH: u8>(core: &mut Core, op: &Op) -> Done {
    require_protected(core)?;
    check_umip(core)?;
    let selector = if WHICH == LDTR { core.state.ldtr.selector } else { core.state.tr.selector };
    if op.has_mem() {
        return core.store::<u16>(op, selector);
    }
    core.set_reg(op.r1, T::cut(selector as u64));
    Ok(())
}
