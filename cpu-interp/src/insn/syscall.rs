//! SYSCALL and SYSRET, SYSENTER and SYSEXIT, SWAPGS (SDM Vol. 2; Vol. 3A, System Instruction
//! Calls). As on Intel's processors, SYSCALL and SYSRET exist in 64-bit mode only, SYSENTER and
//! SYSEXIT in every protected mode.

use crate::core::Core;
use crate::insn::debug;
use crate::op::{Done, Op, Row, body, row};
use iced_x86::Code;
use trimotor_cpu::flags::Rflags;
use trimotor_cpu::registers::Efer;
use trimotor_cpu::state::reg_file;
use trimotor_cpu::{Fault, SegReg, Segment};

pub(crate) const ROWS: &[Row] = &[
    row(Code::Syscall, body(syscall)),
    row(Code::Sysretd, body(sysret::<false>)),
    row(Code::Sysretq, body(sysret::<true>)),
    row(Code::Sysenter, body(sysenter)),
    row(Code::Sysexitd, body(sysexit::<false>)),
    row(Code::Sysexitq, body(sysexit::<true>)),
    row(Code::Swapgs, body(swapgs)),
];

/// RFLAGS bits that SYSRET takes from R11.
const SYSRET_FLAGS: u64 = 0x3C_7FD7;

/// What the fast transfers load into CS and SS: flat segments, without looking at descriptors.
const CODE64: u16 = 0xA09B;
const CODE32: u16 = 0xC09B;
const DATA: u16 = 0xC093;

fn load_flat(core: &mut Core, cs: u16, code: u16, ss: u16, level: u8) {
    let dpl = (level as u16) << 5;
    let flat = |selector: u16, attributes: u16| Segment {
        base: 0,
        limit: u32::MAX,
        attributes: attributes | dpl,
        selector: selector & !3 | level as u16,
    };
    core.state.segments[SegReg::Cs as usize] = flat(cs, code);
    core.state.segments[SegReg::Ss as usize] = flat(ss, DATA);
    core.state.cpl = level;
}

fn syscall(core: &mut Core, op: &Op) -> Done {
    if !core.state.is_64bit_code() || !core.state.efer.contains(Efer::SCE) {
        return Err(Fault::UD);
    }
    core.enter_by_syscall(op.offset as u64 + op.len as u64);
    Err(Fault::LEAVE)
}

fn sysret<const TO_64: bool>(core: &mut Core, _op: &Op) -> Done {
    if !core.state.is_64bit_code() || !core.state.efer.contains(Efer::SCE) {
        return Err(Fault::UD);
    }
    let rip = core.state.gpr(1);
    if core.state.cpl != 0 || TO_64 && !core.canonical(rip) {
        return Err(Fault::gp(0));
    }
    if TO_64 {
        core.return_by_sysret();
        return Err(Fault::LEAVE);
    }
    let traced = core.state.rflags.contains(Rflags::TF);
    core.state.set_rflags(core.state.gpr(11) & SYSRET_FLAGS | 2);
    debug::trap_flag_loaded(core, traced);
    let base = (core.state.msrs.star >> 48) as u16;
    load_flat(core, base, CODE32, base.wrapping_add(8), 3);
    core.mode_changed();
    core.leave(rip & 0xFFFF_FFFF)
}

impl Core {
    /// What SYSCALL does where it is enabled. `next` is the offset of what follows it from `reg_file::BLOCK_RIP`.
    pub fn enter_by_syscall(&mut self, next: u64) {
        let s = &mut self.state;
        let flags = s.rflags() & !Rflags::RF.bits();
        let traced = s.rflags.contains(Rflags::TF);
        s.reg_file[1] = s.reg_file[(reg_file::BLOCK_RIP / 8) as usize].wrapping_add(next);
        s.reg_file[11] = flags;
        s.set_rflags(flags & !s.msrs.fmask);
        s.rip = s.msrs.lstar;
        let selector = (s.msrs.star >> 32) as u16;
        load_flat(self, selector, CODE64, (selector & !3).wrapping_add(8), 0);
        debug::trap_flag_loaded(self, traced);
        self.level_changed();
    }
    /// What SYSRET to 64-bit mode does where it is enabled, at CPL 0 and to a canonical address.
    pub fn return_by_sysret(&mut self) {
        let s = &mut self.state;
        s.rip = s.reg_file[1];
        let traced = s.rflags.contains(Rflags::TF);
        s.set_rflags(s.reg_file[11] & SYSRET_FLAGS | 2);
        let base = (s.msrs.star >> 48) as u16;
        load_flat(self, base.wrapping_add(16), CODE64, base.wrapping_add(8), 3);
        debug::trap_flag_loaded(self, traced);
        self.level_changed();
    }
}

fn sysenter(core: &mut Core, _op: &Op) -> Done {
    let cs = core.state.msrs.sysenter_cs as u16;
    if !core.state.protected() || cs & !3 == 0 {
        return Err(Fault::gp(0));
    }
    core.state.rflags.remove(Rflags::VM | Rflags::IF | Rflags::RF);
    let long = core.state.long_mode();
    let mask = if long { u64::MAX } else { 0xFFFF_FFFF };
    core.state.set_gpr(4, core.state.msrs.sysenter_esp & mask);
    load_flat(core, cs, if long { CODE64 } else { CODE32 }, (cs & !3).wrapping_add(8), 0);
    core.mode_changed();
    core.leave(core.state.msrs.sysenter_eip & mask)
}

fn sysexit<const TO_64: bool>(core: &mut Core, _op: &Op) -> Done {
    let cs = core.state.msrs.sysenter_cs as u16;
    if !core.state.protected() || cs & !3 == 0 || core.state.cpl != 0 || core.state.v86() {
        return Err(Fault::gp(0));
    }
    let (rsp, rip) = (core.state.gpr(1), core.state.gpr(2));
    if TO_64 && !(core.canonical(rsp) && core.canonical(rip)) {
        return Err(Fault::gp(0));
    }
    let cs = cs & !3;
    if TO_64 {
        load_flat(core, cs.wrapping_add(32), CODE64, cs.wrapping_add(40), 3);
        core.state.set_gpr(4, rsp);
    } else {
        load_flat(core, cs.wrapping_add(16), CODE32, cs.wrapping_add(24), 3);
        core.state.set_gpr(4, rsp & 0xFFFF_FFFF);
    }
    core.mode_changed();
    core.leave(if TO_64 { rip } else { rip & 0xFFFF_FFFF })
}

fn swapgs(core: &mut Core, _op: &Op) -> Done {
    if !core.state.is_64bit_code() {
        return Err(Fault::UD);
    }
    if core.state.cpl != 0 {
        return Err(Fault::gp(0));
    }
    let gs = &mut core.state.segments[SegReg::Gs as usize].base;
    std::mem::swap(gs, &mut core.state.msrs.kernel_gs_base);
    let base = *gs;
    core.state.reg_file[(reg_file::SEG_BASE / 8) as usize + SegReg::Gs as usize] = base;
    Ok(())
}
