//! MOVS, STOS, LODS, SCAS, CMPS with their repeat prefixes.
//!
//! A repeated instruction works in bounded portions: after one it returns [`Fault::RESUME`],
//! so that interrupts are taken between iterations, with RCX, RSI and RDI as the manual says.
//! REP MOVS and REP STOS go page by page through host memory where they can.

#![allow(unsafe_code, reason = "whole pieces of guest memory are copied by pointer")]

use super::alu::Operand;
use crate::core::{Core, Int};
use crate::op::{Done, Op, Row, body, row};
use iced_x86::Code;
use trimotor_bus::Width;
use trimotor_cpu::flags::Rflags;
use trimotor_cpu::mmu::Access;
use trimotor_cpu::{Fault, SegReg};

const RAX: u8 = 0;
const RCX: usize = 1;
const RSI: usize = 6;
const RDI: usize = 7;
/// Iterations after which a repeated instruction lets interrupts in, when it goes one by one.
const PORTION: u64 = 4096;
/// Bytes after which a block copy or fill does.
const PORTION_BYTES: u64 = 1 << 16;
/// As so many bytes counts an element that goes alone: a device may take long to answer.
const ALONE_BYTES: u64 = 256;
/// The same for one of a run that goes to a device at once.
const TOGETHER_BYTES: u64 = 64;
/// Elements of such a run at most.
const RUN: usize = 64;
/// So many elements at most go alone before the table is asked again.
const MOST_ALONE: u64 = 32;

/// What a string instruction knows of its operands.
#[derive(Clone, Copy)]
struct Operands {
    mask: u64,
    source: SegReg,
    step: i64,
}

fn operands<T: Int>(core: &Core, op: &Op) -> Result<Operands, Fault> {
    let Some(source) = SegReg::from_encoding(op.segment()) else { return Err(Fault::UD) };
    let down = core.state.rflags.contains(Rflags::DF);
    let step = if down { -(T::BYTES as i64) } else { T::BYTES as i64 };
    Ok(Operands { mask: op.address_mask(), source, step })
}

/// Sets an index register as the address size writes it.
#[inline(always)]
fn set_index(core: &mut Core, register: usize, value: u64, mask: u64) {
    let r = &mut core.state.reg_file[register];
    *r = if mask == 0xFFFF { *r & !mask | value & mask } else { value & mask };
}
#[inline(always)]
fn advance(core: &mut Core, register: usize, by: i64, mask: u64) {
    let value = core.state.reg_file[register].wrapping_add(by as u64);
    set_index(core, register, value, mask);
}

#[inline(always)]
fn load_source<T: Operand>(core: &mut Core, o: Operands) -> Result<T, Fault> {
    let at = core.state.reg_file[RSI] & o.mask;
    let linear = core.segment_linear(o.source, at, T::BYTES as u64, Access::Read)?;
    core.read_linear(linear)
}
#[inline(always)]
fn destination<T: Operand>(core: &mut Core, o: Operands, access: Access) -> Result<u64, Fault> {
    let at = core.state.reg_file[RDI] & o.mask;
    core.segment_linear(SegReg::Es, at, T::BYTES as u64, access)
}

/// How many iterations may follow each other: the single-step trap comes after each (SDM Vol. 3B,
/// Single-Step Exception Condition).
#[inline(always)]
fn portion(core: &Core) -> u64 {
    if core.state.rflags.contains(Rflags::TF) { 1 } else { PORTION }
}

/// Repeats `once` by RCX; `once` says whether to go on.
#[inline(always)]
fn repeat(core: &mut Core, o: Operands, mut once: impl FnMut(&mut Core) -> Result<bool, Fault>) -> Done {
    for _ in 0..portion(core) {
        let count = core.state.reg_file[RCX] & o.mask;
        if count == 0 {
            return Ok(());
        }
        let go_on = once(core)?;
        set_index(core, RCX, count - 1, o.mask);
        if !go_on || count == 1 {
            return Ok(());
        }
        if core.attention {
            break;
        }
    }
    Err(Fault::RESUME)
}

/// Repeats upwards by RCX: piece by piece where `piece` can (it returns the bytes it did), `run` by run of elements
/// where a device takes them (it returns how many), else `once`, for one element.
fn by_pieces(
    core: &mut Core,
    o: Operands,
    piece: impl Fn(&mut Core, Operands) -> u64,
    run: impl Fn(&mut Core, Operands) -> u64,
    mut once: impl FnMut(&mut Core) -> Result<bool, Fault>,
) -> Done {
    if portion(core) == 1 {
        return repeat(core, o, once);
    }
    let mut moved = 0;
    // Elements that go alone before the table is asked again: more and more where a device answers.
    let mut alone = 1;
    while moved < PORTION_BYTES {
        let bytes = piece(core, o);
        if core.state.reg_file[RCX] & o.mask == 0 {
            return Ok(());
        }
        if bytes > 0 {
            moved += bytes;
            alone = 1;
            continue;
        }
        // Where one element has found a device, the next ones may go there together.
        let together = if alone > 1 { run(core, o) } else { 0 };
        if together > 0 {
            moved += together * TOGETHER_BYTES;
            if core.state.reg_file[RCX] & o.mask == 0 {
                return Ok(());
            }
            if core.attention {
                return Err(Fault::RESUME);
            }
            continue;
        }
        // What the table does not have, and page crossings.
        for _ in 0..alone {
            let count = core.state.reg_file[RCX] & o.mask;
            once(core)?;
            set_index(core, RCX, count - 1, o.mask);
            if count == 1 {
                return Ok(());
            }
            if core.attention {
                return Err(Fault::RESUME);
            }
        }
        moved += alone * ALONE_BYTES;
        alone = (2 * alone).min(MOST_ALONE);
    }
    Err(Fault::RESUME)
}

fn movs<T: Operand>(core: &mut Core, op: &Op) -> Done {
    let o = operands::<T>(core, op)?;
    let once = |core: &mut Core| {
        let value = load_source::<T>(core, o)?;
        let to = destination::<T>(core, o, Access::Write)?;
        core.write_linear(to, value)?;
        advance(core, RSI, o.step, o.mask);
        advance(core, RDI, o.step, o.mask);
        Ok(true)
    };
    if !op.rep() && !op.repne() {
        return once(core).map(|_| ());
    }
    if o.step > 0 {
        return by_pieces(core, o, copy_piece::<T>, copy_run::<T>, once);
    }
    repeat(core, o, once)
}

/// How many elements from `linear` on lie in its page.
fn elements_in_page<T: Int>(linear: u64) -> u64 {
    (4096 - (linear & 4095)) / T::BYTES as u64
}
/// How many elements may be moved before an index register wraps.
fn elements_to_wrap<T: Int>(index: u64, mask: u64) -> u64 {
    ((mask - index) / T::BYTES as u64).saturating_add(1)
}

/// Copies as many elements as lie in the present pages of both sides; returns bytes (0: none).
fn copy_piece<T: Operand>(core: &mut Core, o: Operands) -> u64 {
    let (si, di) = (core.state.reg_file[RSI] & o.mask, core.state.reg_file[RDI] & o.mask);
    let count = core.state.reg_file[RCX] & o.mask;
    let size = T::BYTES as u64;
    let Ok(from) = core.segment_linear(o.source, si, size, Access::Read) else { return 0 };
    let Ok(to) = core.segment_linear(SegReg::Es, di, size, Access::Write) else { return 0 };
    let n = count
        .min(elements_in_page::<T>(from))
        .min(elements_in_page::<T>(to))
        .min(elements_to_wrap::<T>(si, o.mask))
        .min(elements_to_wrap::<T>(di, o.mask));
    if n == 0
        || core.segment_linear(o.source, si, n * size, Access::Read).is_err()
        || core.segment_linear(SegReg::Es, di, n * size, Access::Write).is_err()
    {
        return 0;
    }
    let bytes = n * size;
    let (Some(p), Some(q)) = (core.host_to_read(from, bytes), core.host_to_write(to, bytes)) else {
        return 0;
    };
    let distance = (q as u64).wrapping_sub(p as u64);
    // SAFETY: both ranges are mapped guest memory by the table.
    unsafe {
        if distance == 0 || distance >= bytes {
            std::ptr::copy(p, q, bytes as usize);
        } else {
            // The destination overlaps what is still to be read: element by element, forwards.
            for i in 0..n as usize {
                let value = p.cast::<T>().add(i).read_unaligned();
                q.cast::<T>().add(i).write_unaligned(value);
            }
        }
    }
    advance(core, RSI, bytes as i64, o.mask);
    advance(core, RDI, bytes as i64, o.mask);
    set_index(core, RCX, count - n, o.mask);
    bytes
}

/// The linear address of the elements at index register `register`, and how many of at most `most` follow each other in one page and
/// within their segment.
fn elements<T: Int>(core: &mut Core, o: Operands, register: usize, most: u64) -> Option<(u64, u64)> {
    let (segment, access) =
        if register == RSI { (o.source, Access::Read) } else { (SegReg::Es, Access::Write) };
    let index = core.state.reg_file[register] & o.mask;
    let size = T::BYTES as u64;
    let linear = core.segment_linear(segment, index, size, access).ok()?;
    let n = most.min(elements_in_page::<T>(linear)).min(elements_to_wrap::<T>(index, o.mask));
    let whole = n > 0 && core.segment_linear(segment, index, n * size, access).is_ok();
    whole.then_some((linear, n))
}
/// How many elements a run may have.
fn run_count(core: &Core, o: Operands) -> u64 {
    (core.state.reg_file[RCX] & o.mask).min(RUN as u64)
}

/// Copies a run of elements to a device, from RAM or from the device itself; returns how many (0: none).
fn copy_run<T: Operand>(core: &mut Core, o: Operands) -> u64 {
    let Some(width) = Width::from_bytes(T::BYTES) else { return 0 };
    let count = core.state.reg_file[RCX] & o.mask;
    let Some((from, n)) = elements::<T>(core, o, RSI, run_count(core, o)) else { return 0 };
    let Some((to, n)) = elements::<T>(core, o, RDI, n) else { return 0 };
    let Some(device) = core.device_at(to, Access::Write, width) else { return 0 };
    let bytes = n as usize * T::BYTES;
    let done = if let Some(p) = core.host_to_read(from, bytes as u64) {
        let mut elements = [0; 8 * RUN];
        // SAFETY: the range is mapped guest memory by the table.
        unsafe { std::ptr::copy(p, elements.as_mut_ptr(), bytes) };
        core.write_device_run(device, width, &elements[..bytes])
    } else {
        let source = core.device_at(from, Access::Read, width);
        source.is_some_and(|source| core.copy_device_run(source, device, width, n as usize))
    };
    if !done {
        return 0;
    }
    advance(core, RSI, bytes as i64, o.mask);
    advance(core, RDI, bytes as i64, o.mask);
    set_index(core, RCX, count - n, o.mask);
    n
}
/// Writes a run of elements to a device; returns how many (0: none).
fn fill_run<T: Operand>(core: &mut Core, o: Operands) -> u64 {
    let Some(width) = Width::from_bytes(T::BYTES) else { return 0 };
    let count = core.state.reg_file[RCX] & o.mask;
    let Some((to, n)) = elements::<T>(core, o, RDI, run_count(core, o)) else { return 0 };
    let Some(device) = core.device_at(to, Access::Write, width) else { return 0 };
    let value = core.reg::<T>(RAX).to_u64().to_le_bytes();
    let mut elements = [0; 8 * RUN];
    let bytes = &mut elements[..n as usize * T::BYTES];
    bytes.chunks_exact_mut(T::BYTES).for_each(|element| element.copy_from_slice(&value[..T::BYTES]));
    if !core.write_device_run(device, width, bytes) {
        return 0;
    }
    advance(core, RDI, bytes.len() as i64, o.mask);
    set_index(core, RCX, count - n, o.mask);
    n
}

fn stos<T: Operand>(core: &mut Core, op: &Op) -> Done {
    let o = operands::<T>(core, op)?;
    let once = |core: &mut Core| {
        let to = destination::<T>(core, o, Access::Write)?;
        let value = core.reg::<T>(RAX);
        core.write_linear(to, value)?;
        advance(core, RDI, o.step, o.mask);
        Ok(true)
    };
    if !op.rep() && !op.repne() {
        return once(core).map(|_| ());
    }
    if o.step > 0 {
        return by_pieces(core, o, fill_piece::<T>, fill_run::<T>, once);
    }
    repeat(core, o, once)
}

/// Fills as many elements as lie in the present page; returns bytes (0: none).
fn fill_piece<T: Operand>(core: &mut Core, o: Operands) -> u64 {
    let di = core.state.reg_file[RDI] & o.mask;
    let count = core.state.reg_file[RCX] & o.mask;
    let size = T::BYTES as u64;
    let Ok(to) = core.segment_linear(SegReg::Es, di, size, Access::Write) else { return 0 };
    let n = count.min(elements_in_page::<T>(to)).min(elements_to_wrap::<T>(di, o.mask));
    if n == 0 || core.segment_linear(SegReg::Es, di, n * size, Access::Write).is_err() {
        return 0;
    }
    let bytes = n * size;
    let Some(q) = core.host_to_write(to, bytes) else { return 0 };
    let value = core.reg::<T>(RAX);
    // SAFETY: the range is mapped guest memory by the table.
    unsafe {
        if T::BYTES == 1 || value == T::default() {
            std::ptr::write_bytes(q, value.to_u64() as u8, bytes as usize);
        } else {
            for i in 0..n as usize {
                q.cast::<T>().add(i).write_unaligned(value);
            }
        }
    }
    advance(core, RDI, bytes as i64, o.mask);
    set_index(core, RCX, count - n, o.mask);
    bytes
}

fn lods<T: Operand>(core: &mut Core, op: &Op) -> Done {
    let o = operands::<T>(core, op)?;
    let once = |core: &mut Core| {
        let value = load_source::<T>(core, o)?;
        core.set_reg(RAX, value);
        advance(core, RSI, o.step, o.mask);
        Ok(true)
    };
    if op.rep() || op.repne() { repeat(core, o, once) } else { once(core).map(|_| ()) }
}

fn scas<T: Operand>(core: &mut Core, op: &Op) -> Done {
    let o = operands::<T>(core, op)?;
    let (rep, repne) = (op.rep(), op.repne());
    let once = |core: &mut Core| {
        let at = destination::<T>(core, o, Access::Read)?;
        let value = core.read_linear::<T>(at)?;
        let f = core.reg::<T>(RAX).sub(value).1;
        core.state.arith = f;
        advance(core, RDI, o.step, o.mask);
        Ok(f.condition(4) != repne)
    };
    if rep || repne { repeat(core, o, once) } else { once(core).map(|_| ()) }
}

fn cmps<T: Operand>(core: &mut Core, op: &Op) -> Done {
    let o = operands::<T>(core, op)?;
    let (rep, repne) = (op.rep(), op.repne());
    let once = |core: &mut Core| {
        let a = load_source::<T>(core, o)?;
        let at = destination::<T>(core, o, Access::Read)?;
        let b = core.read_linear::<T>(at)?;
        let f = a.sub(b).1;
        core.state.arith = f;
        advance(core, RSI, o.step, o.mask);
        advance(core, RDI, o.step, o.mask);
        Ok(f.condition(4) != repne)
    };
    if rep || repne { repeat(core, o, once) } else { once(core).map(|_| ()) }
}

/// The rows of this module.
pub(crate) const ROWS: &[Row] = &[
    row(Code::Movsb_m8_m8, body(movs::<u8>)),
    row(Code::Movsw_m16_m16, body(movs::<u16>)),
    row(Code::Movsd_m32_m32, body(movs::<u32>)),
    row(Code::Movsq_m64_m64, body(movs::<u64>)),
    row(Code::Stosb_m8_AL, body(stos::<u8>)),
    row(Code::Stosw_m16_AX, body(stos::<u16>)),
    row(Code::Stosd_m32_EAX, body(stos::<u32>)),
    row(Code::Stosq_m64_RAX, body(stos::<u64>)),
    row(Code::Lodsb_AL_m8, body(lods::<u8>)),
    row(Code::Lodsw_AX_m16, body(lods::<u16>)),
    row(Code::Lodsd_EAX_m32, body(lods::<u32>)),
    row(Code::Lodsq_RAX_m64, body(lods::<u64>)),
    row(Code::Scasb_AL_m8, body(scas::<u8>)),
    row(Code::Scasw_AX_m16, body(scas::<u16>)),
    row(Code::Scasd_EAX_m32, body(scas::<u32>)),
    row(Code::Scasq_RAX_m64, body(scas::<u64>)),
    row(Code::Cmpsb_m8_m8, body(cmps::<u8>)),
    row(Code::Cmpsw_m16_m16, body(cmps::<u16>)),
    row(Code::Cmpsd_m32_m32, body(cmps::<u32>)),
    row(Code::Cmpsq_m64_m64, body(cmps::<u64>)),
];
