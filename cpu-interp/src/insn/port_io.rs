//! IN, OUT, INS, OUTS (SDM Vol. 1, Input/Output).
//!
//! Where CPL exceeds IOPL, and always in virtual-8086 mode, the I/O permission bitmap of the TSS
//! decides. An access ends the block, since a device may have changed anything; repeated ones
//! work in bounded portions ([`Fault::RESUME`]).

use crate::core::{Core, Int};
use crate::insn::debug;
use crate::op::{Done, Op, Row, body, row};
use iced_x86::Code;
use trimotor_bus::{Port, PortRegisters, Width};
use trimotor_cpu::arch_state::PortAccess;
use trimotor_cpu::flags::Rflags;
use trimotor_cpu::mmu::Access;
use trimotor_cpu::{ArchState, Fault, SegReg};

pub(crate) const ROWS: &[Row] = &[
    row(Code::In_AL_imm8, body(in_immediate::<u8>)),
    row(Code::In_AX_imm8, body(in_immediate::<u16>)),
    row(Code::In_EAX_imm8, body(in_immediate::<u32>)),
    row(Code::In_AL_DX, body(in_dx::<u8>)),
    row(Code::In_AX_DX, body(in_dx::<u16>)),
    row(Code::In_EAX_DX, body(in_eax_dx)),
    row(Code::Out_imm8_AL, body(out_immediate::<u8>)),
    row(Code::Out_imm8_AX, body(out_immediate::<u16>)),
    row(Code::Out_imm8_EAX, body(out_immediate::<u32>)),
    row(Code::Out_DX_AL, body(out_dx::<u8>)),
    row(Code::Out_DX_AX, body(out_dx::<u16>)),
    row(Code::Out_DX_EAX, body(out_dx::<u32>)),
    row(Code::Insb_m8_DX, body(ins::<u8>)),
    row(Code::Insw_m16_DX, body(ins::<u16>)),
    row(Code::Insd_m32_DX, body(ins::<u32>)),
    row(Code::Outsb_DX_m8, body(outs::<u8>)),
    row(Code::Outsw_DX_m16, body(outs::<u16>)),
    row(Code::Outsd_DX_m32, body(outs::<u32>)),
];

/// The last access to a port, and when it was.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IoAccess {
    /// Instructions retired before it; the largest number where there was none.
    pub(crate) retired: u64,
    /// The access, with bits of [`access`].
    pub(crate) access: PortAccess,
}

impl Default for IoAccess {
    fn default() -> Self {
        IoAccess { retired: u64::MAX, access: PortAccess::default() }
    }
}

impl IoAccess {
    /// The access that was made right before `state`.
    pub(crate) fn before(state: &ArchState) -> IoAccess {
        let Some(access) = state.port_access else { return IoAccess::default() };
        let repeats = state.repeating && access.rip == state.rip;
        IoAccess { retired: state.retired.wrapping_sub(u64::from(!repeats)), access }
    }
    /// The access, if it was made right before the state in which the core is.
    pub(crate) fn just_made(&self, core: &Core) -> Option<PortAccess> {
        let s = &core.state;
        let retired = s.retired == self.retired.wrapping_add(1);
        let repeats = s.retired == self.retired && s.rip == self.access.rip && core.is_repeating();
        (self.retired != u64::MAX && (retired || repeats)).then_some(self.access)
    }
}

/// Bits of [`PortAccess::what`] (AMD64 Architecture Programmer's Manual Vol. 2, "I/O Instruction Restart").
mod access {
    pub(super) const INPUT: u32 = 1 << 0;
    pub(super) const VALID: u32 = 1 << 1;
    pub(super) const STRING: u32 = 1 << 2;
    pub(super) const REPEATED: u32 = 1 << 3;
    /// First of three bits: 1, 2 and 4 bytes.
    pub(super) const SIZE_SHIFT: u32 = 4;
    pub(super) const TRACED: u32 = 1 << 11;
    pub(super) const PORT_SHIFT: u32 = 16;
}

/// Notes an access before it is made.
fn note_access<T: Int>(core: &mut Core, port: u16, kind: u32) {
    let traced = if core.state.rflags.contains(Rflags::TF) { access::TRACED } else { 0 };
    let size = T::BYTES as u32; // 1, 2, 4: the bits themselves
    core.last_io = IoAccess {
        retired: core.retired_before_current(),
        access: PortAccess {
            rip: core.current_rip(),
            registers: [RCX, RSI, RDI].map(|n| core.state.gpr(n)),
            what: kind
                | access::VALID
                | size << access::SIZE_SHIFT
                | traced
                | u32::from(port) << access::PORT_SHIFT,
        },
    };
}

/// [`access`] bits of a string instruction.
fn string_access(op: &Op) -> u32 {
    access::STRING | if op.rep() || op.repne() { access::REPEATED } else { 0 }
}

const RAX: u8 = 0;
const RCX: usize = 1;
const RDX: u8 = 16;
const RSI: usize = 6;
const RDI: usize = 7;

/// Iterations of a repeated instruction between looks at interrupts.
const PORTION: u32 = 64;

fn width<T: Int>() -> Width {
    match T::BYTES {
        1 => Width::Byte,
        2 => Width::Word,
        _ => Width::Dword,
    }
}

/// Whether the program may access `bytes` bytes at `port`.
///
/// # Faults
/// #GP(0) if not; #PF from the TSS.
fn check_port(core: &mut Core, port: u16, bytes: u64) -> Result<(), Fault> {
    let s = &core.state;
    if !s.protected() || !s.v86() && s.cpl <= s.iopl() {
        return Ok(());
    }
    let tr = s.tr;
    let bad = Err(Fault::gp(0));
    if tr.kind() & 8 == 0 || tr.limit < 103 {
        return bad;
    }
    let base = core.read_system::<u16>(tr.base.wrapping_add(102))? as u64;
    let at = base + port as u64 / 8;
    if at + 1 > tr.limit as u64 {
        return bad;
    }
    let bits = core.read_system::<u16>(tr.base.wrapping_add(at))? >> (port & 7);
    if bits & ((1 << bytes) - 1) != 0 { bad } else { Ok(()) }
}

fn input<T: Int>(core: &mut Core, op: &Op, port: u16) -> Done {
    check_port(core, port, T::BYTES as u64)?;
    note_access::<T>(core, port, access::INPUT);
    let value = core.port_in(port, width::<T>());
    core.trace_port(port, (false, false), width::<T>(), value);
    core.set_reg::<T>(RAX, T::cut(value as u64));
    finish::<T>(core, op, port)
}

fn output<T: Int>(core: &mut Core, op: &Op, port: u16) -> Done {
    check_port(core, port, T::BYTES as u64)?;
    note_access::<T>(core, port, 0);
    let value = core.reg::<T>(RAX).to_u64() as u32;
    core.port_out(port, width::<T>(), value);
    core.trace_port(port, (true, false), width::<T>(), value);
    finish::<T>(core, op, port)
}

fn finish<T: Int>(core: &mut Core, op: &Op, port: u16) -> Done {
    debug::note_port(core, port, T::BYTES as u64);
    let next = core.next_rip(op);
    core.leave(next)
}

fn in_immediate<T: Int>(core: &mut Core, op: &Op) -> Done {
    input::<T>(core, op, op.imm as u8 as u16)
}
fn in_dx<T: Int>(core: &mut Core, op: &Op) -> Done {
    let port = core.reg::<u16>(RDX);
    input::<T>(core, op, port)
}
/// `IN EAX, DX`, by which programs also call backdoors of hypervisors: these take and give more registers.
fn in_eax_dx(core: &mut Core, op: &Op) -> Done {
    let port = core.reg::<u16>(RDX);
    check_port(core, port, u32::BYTES as u64)?;
    let [eax, ecx, edx, ebx, .., esi, edi] = std::array::from_fn::<u32, 8, _>(|n| core.state.gpr(n) as u32);
    let before = PortRegisters { eax, ebx, ecx, edx, esi, edi };
    let mut after = before;
    note_access::<u32>(core, port, access::INPUT);
    let read = core.on_bus(|bus| {
        let called = bus.port_call(Port(port), &mut after);
        (!called).then(|| bus.port_read(Port(port), Width::Dword))
    });
    core.trace_port(port, (false, false), Width::Dword, read.unwrap_or(after.eax));
    if let Some(value) = read {
        core.set_reg::<u32>(RAX, value);
        return finish::<u32>(core, op, port);
    }
    let PortRegisters { eax, ebx, ecx, edx, esi, edi } = after;
    let values = [eax, ecx, edx, ebx, 0, 0, esi, edi];
    let old = [before.eax, before.ecx, before.edx, before.ebx, 0, 0, before.esi, before.edi];
    for n in (0..8).filter(|n| values[*n] != old[*n]) {
        core.state.set_gpr(n, values[n].into());
    }
    finish::<u32>(core, op, port)
}
fn out_immediate<T: Int>(core: &mut Core, op: &Op) -> Done {
    output::<T>(core, op, op.imm as u8 as u16)
}
fn out_dx<T: Int>(core: &mut Core, op: &Op) -> Done {
    let port = core.reg::<u16>(RDX);
    output::<T>(core, op, port)
}

/// Moves an index or count register as the address size writes it.
fn advance(core: &mut Core, register: usize, by: u64, mask: u64) {
    let old = core.state.gpr(register);
    let value = old.wrapping_add(by) & mask;
    core.state.set_gpr(register, if mask == 0xFFFF { old & !mask | value } else { value });
}

fn step<T: Int>(core: &Core) -> u64 {
    let bytes = T::BYTES as u64;
    if core.state.rflags.contains(Rflags::DF) { bytes.wrapping_neg() } else { bytes }
}

/// Runs `once` as often as the repeat prefix and RCX say, in portions.
fn repeat(core: &mut Core, op: &Op, mut once: impl FnMut(&mut Core) -> Done) -> Done {
    let next = core.next_rip(op);
    if !op.rep() && !op.repne() {
        once(core)?;
        return core.leave(next);
    }
    let mask = op.address_mask();
    let traced = core.state.rflags.contains(Rflags::TF) || core.state.dr[7] & 0xFF != 0;
    let portion = if traced { 1 } else { PORTION };
    for _ in 0..portion {
        if core.state.gpr(RCX) & mask == 0 {
            return core.leave(next);
        }
        once(core)?;
        advance(core, RCX, u64::MAX, mask);
        if core.attention {
            break;
        }
    }
    if core.state.gpr(RCX) & mask == 0 { core.leave(next) } else { Err(Fault::RESUME) }
}

#[inline(never)]
fn ins<T: Int + crate::access::Guest>(core: &mut Core, op: &Op) -> Done {
    let mask = op.address_mask();
    let port = core.reg::<u16>(RDX);
    repeat(core, op, |core| {
        check_port(core, port, T::BYTES as u64)?;
        // The destination is checked before the device is read: a read cannot be taken back.
        let at = core.state.gpr(RDI) & mask;
        let linear = core.segment_linear(SegReg::Es, at, T::BYTES as u64, Access::Write)?;
        core.check_write_linear(linear, T::BYTES as u64)?;
        note_access::<T>(core, port, access::INPUT | string_access(op));
        let value = core.port_in(port, width::<T>());
        core.trace_port(port, (false, true), width::<T>(), value);
        core.write_linear::<T>(linear, T::cut(value as u64))?;
        let by = step::<T>(core);
        advance(core, RDI, by, mask);
        debug::note_port(core, port, T::BYTES as u64);
        Ok(())
    })
}

#[inline(never)]
fn outs<T: Int + crate::access::Guest>(core: &mut Core, op: &Op) -> Done {
    let mask = op.address_mask();
    let port = core.reg::<u16>(RDX);
    let Some(source) = SegReg::from_encoding(op.segment()) else { return Err(Fault::UD) };
    repeat(core, op, |core| {
        check_port(core, port, T::BYTES as u64)?;
        let at = core.state.gpr(RSI) & mask;
        let linear = core.segment_linear(source, at, T::BYTES as u64, Access::Read)?;
        let value = core.read_linear::<T>(linear)?;
        note_access::<T>(core, port, string_access(op));
        core.port_out(port, width::<T>(), value.to_u64() as u32);
        core.trace_port(port, (true, true), width::<T>(), value.to_u64() as u32);
        let by = step::<T>(core);
        advance(core, RSI, by, mask);
        debug::note_port(core, port, T::BYTES as u64);
        Ok(())
    })
}
