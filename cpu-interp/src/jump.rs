//! How blocks follow each other: links, the jump cache, the lookup behind them, and the near
//! transfers of control that use them.
//!
//! A direct jump within a page is linked: its op remembers the target block, which is right
//! for as long as both live, because the page that the jump is in is the page that the target is
//! in. All other jumps go through the jump cache, whose entries hold for one address space,
//! generation and mode.

#![allow(unsafe_code, reason = "blocks lead to each other by pointer")]

use crate::cache::header;
use crate::core::{Core, mode};
use crate::op::{At, Exit, Op, go, next, stop};
use trimotor_cpu::Fault;
use trimotor_cpu::state::reg_file;

/// Index in the register file of the running block's RIP.
const BLOCK_RIP: usize = reg_file::BLOCK_RIP as usize / 8;
/// Index in the register file of the mask of linear addresses.
const LINEAR_MASK: usize = reg_file::LINEAR_MASK as usize / 8;
/// Index in the register file of the CS base.
const CS_BASE: usize = reg_file::SEG_BASE as usize / 8 + 1;

/// Target of a direct jump: the block's RIP plus the op's displacement.
#[inline(always)]
fn direct_target(core: &Core, op: At<'_>) -> u64 {
    core.state.reg_file[BLOCK_RIP].wrapping_add(op.disp as i64 as u64) & core.state.reg_file[LINEAR_MASK]
}

/// Takes the linked jump `op`.
#[inline(always)]
pub(crate) fn take_link(core: &mut Core, op: At<'_>) -> Exit {
    let first = op.imm as *const Op;
    if !first.is_null() {
        // SAFETY: a link leads to the first op of a block of the arena.
        let (charge, first) = unsafe { ((*header(first)).charge, At::new(first)) };
        let budget = core.state.budget - charge + op.left as i64;
        if budget >= 0 {
            core.state.budget = budget;
            core.state.reg_file[BLOCK_RIP] = direct_target(core, op);
            return go(core, first);
        }
    }
    link_slow(core, op)
}

/// Links `op` to the block at its target, and takes the link.
#[cold]
#[inline(never)]
fn link_slow(core: &mut Core, op: At<'_>) -> Exit {
    let target = direct_target(core, op);
    core.state.budget += op.left as i64;
    core.state.rip = target;
    let first = op.imm as *const Op;
    // SAFETY: a link leads to the first op of a block of the arena.
    if !first.is_null() && unsafe { (*header(first)).charge } != crate::cache::DEAD {
        return Exit::Budget;
    }
    let Some(first) = core.lookup_linked(target) else { return Exit::Lookup };
    // SAFETY: the op is in the arena, which is written through pointers only, and no reference to it lives.
    unsafe { (*op.as_ptr().cast_mut()).imm = first as u64 };
    enter(core, first, target)
}

/// Enters a block if the budget covers it. The state of the block that is left is up to date.
#[inline(always)]
fn enter(core: &mut Core, first: *const Op, rip: u64) -> Exit {
    // SAFETY: the callers have it from `lookup_linked`, which returns first ops of blocks of the arena.
    let (charge, first) = unsafe { ((*header(first)).charge, At::new(first)) };
    let budget = core.state.budget - charge;
    if budget < 0 {
        core.state.rip = rip;
        return Exit::Budget;
    }
    core.state.budget = budget;
    core.state.reg_file[BLOCK_RIP] = rip;
    go(core, first)
}

/// Goes to `target` (already cut to its size) from `op`, which ends or leaves its block, through the
/// jump cache. Only in modes where CS needs no limit check.
#[inline(always)]
pub(crate) fn jump_to(core: &mut Core, op: At<'_>, target: u64) -> Exit {
    let linear = target.wrapping_add(core.state.reg_file[CS_BASE]) & core.state.reg_file[LINEAR_MASK];
    let key = core.state.jump_key;
    let e = core.jumps.entry(linear);
    if e.linear == linear && e.key == key {
        // SAFETY: entries whose key matches lead to first ops of blocks of the arena.
        let (charge, first) = unsafe { ((*header(e.first)).charge, At::new(e.first)) };
        let budget = core.state.budget - charge + op.left as i64;
        if budget >= 0 {
            core.state.budget = budget;
            core.state.reg_file[BLOCK_RIP] = target;
            return go(core, first);
        }
    }
    core.state.rip = target;
    jump_slow(core, op)
}

/// Looks the block at `state.rip` up and enters it.
#[cold]
#[inline(never)]
fn jump_slow(core: &mut Core, op: At<'_>) -> Exit {
    core.state.budget += op.left as i64;
    let rip = core.state.rip;
    match core.lookup_linked(rip) {
        Some(first) => enter(core, first, rip),
        None => Exit::Lookup,
    }
}

/// Leaves the block for `target`, with all checks: modes in which CS has a limit to check.
#[inline(never)]
pub(crate) fn jump_checked(core: &mut Core, op: At<'_>, target: u64) -> Exit {
    core.current = op.as_ptr();
    if let Err(fault) = core.check_target(target) {
        return stop(core, op, fault);
    }
    core.state.budget += op.left as i64;
    core.state.rip = target;
    Exit::Lookup
}

impl Core {
    /// Whether a near transfer to `target` is allowed.
    ///
    /// # Faults
    /// #GP(0): outside CS's limit, or not canonical.
    #[inline]
    pub fn check_target(&self, target: u64) -> Result<(), Fault> {
        let ok = if self.state.mode & mode::CODE_SIZE == mode::CODE64 {
            self.canonical(target)
        } else {
            target <= self.state.seg(trimotor_cpu::SegReg::Cs).limit as u64
        };
        if ok { Ok(()) } else { Err(Fault::gp(0)) }
    }
    /// Cuts a near branch target to the operand size of `op` (in bits: 16, 32 or 64).
    #[inline]
    pub fn cut_target(target: u64, operand_bits: u32) -> u64 {
        target & (u64::MAX >> (64 - operand_bits))
    }
}

// ---- near jumps ----

/// JMP rel within the page, and the end of a block.
pub(crate) fn jmp_link(core: &mut Core, op: At<'_>) -> Exit {
    take_link(core, op)
}

/// JMP rel to another page, and the end of a page.
pub(crate) fn jmp_page(core: &mut Core, op: At<'_>) -> Exit {
    let target = direct_target(core, op);
    jump_to(core, op, target)
}

/// JMP rel where CS must be checked; `r1` is the operand size in bits.
pub(crate) fn jmp_checked(core: &mut Core, op: At<'_>) -> Exit {
    let target = core.state.reg_file[BLOCK_RIP].wrapping_add(op.disp as i64 as u64);
    jump_checked(core, op, Core::cut_target(target, op.r1 as u32))
}

/// The end of a block whose next instruction must be looked up with all checks.
pub(crate) fn end_lookup(core: &mut Core, op: At<'_>) -> Exit {
    core.state.rip = core.cut_rip(core.state.reg_file[BLOCK_RIP].wrapping_add(op.disp as i64 as u64));
    Exit::Lookup
}

/// Jcc rel within the page.
pub(crate) fn jcc_link<const CC: u8>(core: &mut Core, op: At<'_>) -> Exit {
    if core.state.arith.condition(CC) { take_link(core, op) } else { next(core, op) }
}

/// Jcc rel to another page.
pub(crate) fn jcc_page<const CC: u8>(core: &mut Core, op: At<'_>) -> Exit {
    if core.state.arith.condition(CC) { jmp_page(core, op) } else { next(core, op) }
}

/// Jcc rel where CS must be checked; the condition is in `r2`.
pub(crate) fn jcc_checked(core: &mut Core, op: At<'_>) -> Exit {
    if core.state.arith.condition(op.r2) { jmp_checked(core, op) } else { next(core, op) }
}

/// CALL rel in 64-bit mode; `LINK`: within the page.
pub(crate) fn call_near64<const LINK: bool>(core: &mut Core, op: At<'_>) -> Exit {
    let ret = core.state.reg_file[BLOCK_RIP].wrapping_add(op.offset as u64 + op.len as u64);
    let sp = core.state.reg_file[4].wrapping_sub(8);
    if !core.write_inline(sp, ret) {
        return call_slow(core, op);
    }
    core.state.reg_file[4] = sp;
    if LINK { take_link(core, op) } else { jmp_page(core, op) }
}

#[cold]
#[inline(never)]
fn call_slow(core: &mut Core, op: At<'_>) -> Exit {
    core.current = op.as_ptr();
    let ret = core.next_rip(&op);
    let target = direct_target(core, op);
    if let Err(fault) = core.check_target(target).and_then(|()| core.push(ret)) {
        return stop(core, op, fault);
    }
    core.attention = false; // the lookup sees what happened
    core.state.rip = target;
    core.state.budget += op.left as i64;
    Exit::Lookup
}

/// RET in 64-bit mode; `imm` more bytes are dropped.
pub(crate) fn ret_near64(core: &mut Core, op: At<'_>) -> Exit {
    let sp = core.state.reg_file[4];
    let Some(target) = core.read_inline::<u64>(sp) else { return ret_slow(core, op) };
    if !core.canonical(target) {
        return ret_slow(core, op);
    }
    core.state.reg_file[4] = sp.wrapping_add(8).wrapping_add(op.imm);
    jump_to(core, op, target)
}

#[cold]
#[inline(never)]
fn ret_slow(core: &mut Core, op: At<'_>) -> Exit {
    core.current = op.as_ptr();
    let target = match core.peek::<u64>(0).and_then(|t| core.check_target(t).map(|()| t)) {
        Ok(target) => target,
        Err(fault) => return stop(core, op, fault),
    };
    core.drop_stack(8u64.wrapping_add(op.imm));
    core.attention = false;
    core.state.rip = target;
    core.state.budget += op.left as i64;
    Exit::Lookup
}

/// JMP r/m64 (`CALL`: CALL r/m64) in 64-bit mode; the register is `r1`.
pub(crate) fn indirect64<const CALL: bool>(core: &mut Core, op: At<'_>) -> Exit {
    core.current = op.as_ptr();
    let o: &Op = &op;
    let target = if o.has_mem() {
        match core.load::<u64>(o) {
            Ok(target) => target,
            Err(fault) => return stop(core, op, fault),
        }
    } else {
        core.reg::<u64>(o.r1)
    };
    if !core.canonical(target) {
        return stop(core, op, Fault::gp(0));
    }
    if CALL {
        let ret = core.next_rip(o);
        let sp = core.state.reg_file[4].wrapping_sub(8);
        if core.write_inline(sp, ret) {
            core.state.reg_file[4] = sp;
        } else if let Err(fault) = core.push(ret) {
            return stop(core, op, fault);
        }
    }
    if core.attention {
        core.attention = false;
        core.state.rip = target;
        core.state.budget += o.left as i64;
        return Exit::Lookup;
    }
    jump_to(core, op, target)
}

/// Near CALL, JMP and RET of any operand size in any mode, with all checks.
///
/// `r3` says what: see [`near`]. `r1` is the register of an indirect form, or the operand size of a
/// direct one; `r2` is the operand size in bits.
pub(crate) fn near_general(core: &mut Core, op: At<'_>) -> Exit {
    core.current = op.as_ptr();
    let o: &Op = &op;
    match near_target(core, o) {
        Ok(target) => {
            core.attention = false;
            if core.state.mode & mode::OPEN_CS != 0 {
                return jump_to(core, op, target);
            }
            core.state.budget += o.left as i64;
            core.state.rip = target;
            Exit::Lookup
        }
        Err(fault) => stop(core, op, fault),
    }
}

/// Kinds of [`near_general`].
pub(crate) mod near {
    pub const CALL_DIRECT: u8 = 0;
    pub const CALL_INDIRECT: u8 = 1;
    pub const JMP_INDIRECT: u8 = 2;
    pub const RET: u8 = 3;
    /// The displacement from the block's start does not fit `disp`: it is in `imm`.
    pub const CALL_WIDE: u8 = 4;
    /// The same for JMP and Jcc; `r1` is the condition, 16 for none.
    pub const JMP_WIDE: u8 = 5;
}

/// Out of line, so that no local of it has its address taken in the handler, which tail-calls.
#[inline(never)]
fn near_target(core: &mut Core, op: &Op) -> Result<u64, Fault> {
    let bits = op.r2 as u32;
    let target = match op.r3 {
        near::CALL_DIRECT => core.reg64(reg_file::BLOCK_RIP).wrapping_add(op.disp as i64 as u64),
        near::JMP_WIDE if op.r1 < 16 && !core.state.arith.condition(op.r1) => core.next_rip(op),
        near::CALL_WIDE | near::JMP_WIDE => core.reg64(reg_file::BLOCK_RIP).wrapping_add(op.imm),
        near::RET => match bits {
            16 => core.peek::<u16>(0)? as u64,
            32 => core.peek::<u32>(0)? as u64,
            _ => core.peek::<u64>(0)?,
        },
        _ if op.has_mem() => match bits {
            16 => core.load::<u16>(op)? as u64,
            32 => core.load::<u32>(op)? as u64,
            _ => core.load::<u64>(op)?,
        },
        _ => core.reg::<u64>(op.r1),
    };
    let target = Core::cut_target(target, bits);
    core.check_target(target)?;
    match op.r3 {
        near::CALL_DIRECT | near::CALL_INDIRECT | near::CALL_WIDE => {
            let ret = core.next_rip(op);
            match bits {
                16 => core.push(ret as u16)?,
                32 => core.push(ret as u32)?,
                _ => core.push(ret)?,
            }
        }
        near::RET => core.drop_stack((bits as u64 / 8).wrapping_add(op.imm)),
        _ => {}
    }
    Ok(target)
}

/// LOOP, LOOPE, LOOPNE, JCXZ: `r2` is 0 (LOOPNE), 1 (LOOPE), 2 (LOOP) or 3 (JCXZ); `r1` the operand
/// size in bits; the address size says which counter.
pub(crate) fn loop_rel(core: &mut Core, op: At<'_>) -> Exit {
    core.current = op.as_ptr();
    let o: &Op = &op;
    let mask = o.address_mask();
    let rcx = core.state.reg_file[1];
    let zero = core.state.arith.condition(4);
    let count = if o.r2 == 3 { rcx & mask } else { rcx.wrapping_sub(1) & mask };
    let taken = match o.r2 {
        0 => count != 0 && !zero,
        1 => count != 0 && zero,
        2 => count != 0,
        _ => count == 0,
    };
    let target =
        Core::cut_target(core.state.reg_file[BLOCK_RIP].wrapping_add(o.disp as i64 as u64), o.r1 as u32);
    if taken && let Err(fault) = core.check_target(target) {
        return stop(core, op, fault);
    }
    if o.r2 != 3 {
        match o.address_bits() {
            16 => core.set_reg::<u16>(8, count as u16),
            32 => core.set_reg::<u32>(8, count as u32),
            _ => core.set_reg::<u64>(8, count),
        }
    }
    if !taken {
        return next(core, op);
    }
    if core.state.mode & mode::OPEN_CS != 0 {
        return jump_to(core, op, target);
    }
    core.state.budget += o.left as i64;
    core.state.rip = target;
    Exit::Lookup
}
