//! PUSH, POP, PUSHA, POPA, ENTER, LEAVE. (PUSHF and POPF are with the flags of the system; segment
//! registers with the segments.)

use crate::access::Guest;
use crate::core::{Core, Int};
use crate::op::{At, Done, Exit, Handler, Op, Row, body, next, row};
use iced_x86::{Code, Instruction};
use trimotor_cpu::mmu::Access;
use trimotor_cpu::{Fault, SegReg};

const RBP: u8 = 40;

/// PUSH r64 in 64-bit mode.
fn push_r64(core: &mut Core, op: At<'_>) -> Exit {
    let sp = core.state.reg_file[4].wrapping_sub(8);
    if !core.write_inline(sp, core.reg::<u64>(op.r1)) {
        return PUSH_R64_SLOW(core, op);
    }
    core.state.reg_file[4] = sp;
    next(core, op)
}
/// POP r64 in 64-bit mode.
fn pop_r64(core: &mut Core, op: At<'_>) -> Exit {
    let sp = core.state.reg_file[4];
    let Some(value) = core.read_inline::<u64>(sp) else { return POP_R64_SLOW(core, op) };
    core.state.reg_file[4] = sp.wrapping_add(8);
    core.set_reg(op.r1, value);
    next(core, op)
}
const PUSH_R64_SLOW: Handler = body(push_r::<u64>);
const POP_R64_SLOW: Handler = body(pop_r::<u64>);

/// The inline handler for `i` in 64-bit mode, if it has one.
pub(crate) fn select(i: &Instruction, _op: &mut Op) -> Option<Handler> {
    match i.code() {
        Code::Push_r64 => Some(push_r64),
        Code::Pop_r64 => Some(pop_r64),
        _ => None,
    }
}

fn push_r<T: Int + Guest>(core: &mut Core, op: &Op) -> Done {
    let value = core.reg::<T>(op.r1);
    core.push(value)
}
fn push_m<T: Int + Guest>(core: &mut Core, op: &Op) -> Done {
    let value = if op.has_mem() { core.load::<T>(op)? } else { core.reg(op.r1) };
    core.push(value)
}
fn push_i<T: Int + Guest>(core: &mut Core, op: &Op) -> Done {
    core.push(T::cut(op.imm))
}
fn pop_r<T: Int + Guest>(core: &mut Core, op: &Op) -> Done {
    let value = core.peek::<T>(0)?;
    core.drop_stack(T::BYTES as u64);
    core.set_reg(op.r1, value);
    Ok(())
}
/// POP r/m: a memory operand is addressed with the stack pointer after the pop.
fn pop_m<T: Int + Guest>(core: &mut Core, op: &Op) -> Done {
    let value = core.peek::<T>(0)?;
    let old = core.state.reg_file[4];
    core.drop_stack(T::BYTES as u64);
    if !op.has_mem() {
        core.set_reg(op.r1, value);
        return Ok(());
    }
    let stored = core.store(op, value);
    if stored.is_err() {
        core.state.reg_file[4] = old;
    }
    stored
}

fn pusha<T: Int + Guest>(core: &mut Core, _op: &Op) -> Done {
    let size = T::BYTES as u64;
    let sp = core.stack_pointer();
    let mask = core.stack_mask();
    let mut linears = [0; 8];
    for (n, linear) in linears.iter_mut().enumerate() {
        let at = sp.wrapping_sub(size * (n as u64 + 1)) & mask;
        *linear = core.segment_linear(SegReg::Ss, at, size, Access::Write)?;
        core.check_write_linear(*linear, size)?;
    }
    for (n, linear) in linears.into_iter().enumerate() {
        let value = core.reg::<T>(n as u8 * 8);
        core.write_linear(linear, value)?;
    }
    core.set_stack_pointer(sp.wrapping_sub(8 * size));
    Ok(())
}
fn popa<T: Int + Guest>(core: &mut Core, _op: &Op) -> Done {
    let size = T::BYTES as u64;
    let mut values = [T::default(); 8];
    for (n, value) in values.iter_mut().enumerate() {
        *value = core.peek(n as u64 * size)?;
    }
    core.drop_stack(8 * size);
    for (n, value) in values.into_iter().enumerate() {
        let register = 7 - n as u8;
        if register != 4 {
            core.set_reg(register * 8, value);
        }
    }
    Ok(())
}

/// LEAVE: the stack pointer from rBP (as wide as the stack), then POP rBP.
fn leave<T: Int + Guest>(core: &mut Core, _op: &Op) -> Done {
    let mask = core.stack_mask();
    let bp = core.reg::<u64>(RBP) & mask;
    let linear = core.segment_linear(SegReg::Ss, bp, T::BYTES as u64, Access::Read)?;
    let value = core.read_linear::<T>(linear)?;
    core.set_stack_pointer(bp.wrapping_add(T::BYTES as u64));
    core.set_reg(RBP, value);
    Ok(())
}

/// ENTER: frame bytes in the low half of the immediate, nesting level above.
fn enter<T: Int + Guest>(core: &mut Core, op: &Op) -> Done {
    let (frame, level) = (op.imm as u16 as u64, (op.imm >> 32) & 31);
    let size = T::BYTES as u64;
    let mask = core.stack_mask();
    let old_sp = core.state.reg_file[4];
    let result = enter_frames::<T>(core, level, size, mask).and_then(|frame_pointer| {
        let sp = core.stack_pointer().wrapping_sub(frame) & mask;
        // The last byte of the new frame must be writable.
        let linear = core.segment_linear(SegReg::Ss, sp, 1, Access::Write)?;
        core.check_write_linear(linear, 1)?;
        core.set_stack_pointer(sp);
        Ok(frame_pointer)
    });
    match result {
        Ok(frame_pointer) => {
            core.set_reg(RBP, T::cut(frame_pointer));
            Ok(())
        }
        Err(fault) => {
            core.state.reg_file[4] = old_sp;
            Err(fault)
        }
    }
}
fn enter_frames<T: Int + Guest>(core: &mut Core, level: u64, size: u64, mask: u64) -> Result<u64, Fault> {
    let bp = core.reg::<T>(RBP);
    core.push(bp)?;
    // As wide as the operand, not as the stack: with a 16-bit stack the upper half of ESP goes to EBP too.
    let frame_pointer = core.state.reg_file[4];
    for n in 1..level {
        let at = core.reg::<u64>(RBP).wrapping_sub(n * size) & mask;
        let linear = core.segment_linear(SegReg::Ss, at, size, Access::Read)?;
        let value = core.read_linear::<T>(linear)?;
        core.push(value)?;
    }
    if level > 0 {
        core.push(T::cut(frame_pointer))?;
    }
    Ok(frame_pointer)
}

/// The rows of this module.
pub(crate) const ROWS: &[Row] = &[
    row(Code::Push_r16, body(push_r::<u16>)),
    row(Code::Push_r32, body(push_r::<u32>)),
    row(Code::Push_r64, body(push_r::<u64>)),
    row(Code::Push_rm16, body(push_m::<u16>)),
    row(Code::Push_rm32, body(push_m::<u32>)),
    row(Code::Push_rm64, body(push_m::<u64>)),
    row(Code::Push_imm16, body(push_i::<u16>)),
    row(Code::Pushd_imm32, body(push_i::<u32>)),
    row(Code::Pushq_imm32, body(push_i::<u64>)),
    row(Code::Pushw_imm8, body(push_i::<u16>)),
    row(Code::Pushd_imm8, body(push_i::<u32>)),
    row(Code::Pushq_imm8, body(push_i::<u64>)),
    row(Code::Pop_r16, body(pop_r::<u16>)),
    row(Code::Pop_r32, body(pop_r::<u32>)),
    row(Code::Pop_r64, body(pop_r::<u64>)),
    row(Code::Pop_rm16, body(pop_m::<u16>)),
    row(Code::Pop_rm32, body(pop_m::<u32>)),
    row(Code::Pop_rm64, body(pop_m::<u64>)),
    row(Code::Pushaw, body(pusha::<u16>)),
    row(Code::Pushad, body(pusha::<u32>)),
    row(Code::Popaw, body(popa::<u16>)),
    row(Code::Popad, body(popa::<u32>)),
    row(Code::Leavew, body(leave::<u16>)),
    row(Code::Leaved, body(leave::<u32>)),
    row(Code::Leaveq, body(leave::<u64>)),
    row(Code::Enterw_imm16_imm8, body(enter::<u16>)),
    row(Code::Enterd_imm16_imm8, body(enter::<u32>)),
    row(Code::Enterq_imm16_imm8, body(enter::<u64>)),
];
