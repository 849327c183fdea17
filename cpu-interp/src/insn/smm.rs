//! System-management mode: SMI and RSM (AMD64 Architecture Programmer's Manual Vol. 2,
//! System-Management Mode).
//!
//! The state is saved at SMBASE + FE00h in the layout of AMD64, which BIOSes for emulated
//! machines know (revision 00030064h): base relocation and I/O restart are offered. An SMI that comes
//! right after an access to a port, because a device asks for the handler's help with it, says in the
//! save area which access it was; the handler can have the instruction done again.

use crate::core::Core;
use crate::insn::control_paging::{read_pdptes, uses_pdptes};
use crate::op::{Done, Op, Row, body, row};
use iced_x86::Code;
use trimotor_bus::PhysAddr;
use trimotor_bus::memory::View;
use trimotor_cpu::flags::Rflags;
use trimotor_cpu::registers::{Cr0, Cr4, Efer};
use trimotor_cpu::state::Activity;
use trimotor_cpu::{Fault, SegReg, Segment};

pub(crate) const ROWS: &[Row] = &[row(Code::Rsm, body(rsm))];

/// Revision: AMD64 layout, SMBASE relocation, I/O restart.
const REVISION: u32 = 0x0003_0064;
/// In [`at::IO_RESTART`]: the I/O instruction must be done again.
const RESTART: u8 = 0xFF;
/// Where the save area starts, from SMBASE.
const AREA: u64 = 0xFE00;

/// Offsets in the save area.
mod at {
    pub(super) const ES: usize = 0x000;
    pub(super) const GDTR: usize = 0x060;
    pub(super) const LDTR: usize = 0x070;
    pub(super) const IDTR: usize = 0x080;
    pub(super) const TR: usize = 0x090;
    /// RIP, RCX, RSI and RDI before the access to a port.
    pub(super) const IO_RIP: usize = 0x0A0;
    pub(super) const IO_REGISTERS: usize = 0x0A8;
    /// Which access it was.
    pub(super) const IO_ACCESS: usize = 0x0C0;
    pub(super) const IO_RESTART: usize = 0x0C8;
    pub(super) const AUTO_HALT: usize = 0x0C9;
    pub(super) const NMI_MASK: usize = 0x0CA;
    pub(super) const EFER: usize = 0x0D0;
    pub(super) const REVISION: usize = 0x0FC;
    pub(super) const SMBASE: usize = 0x100;
    pub(super) const CR4: usize = 0x148;
    pub(super) const CR3: usize = 0x150;
    pub(super) const CR0: usize = 0x158;
    pub(super) const DR7: usize = 0x160;
    pub(super) const DR6: usize = 0x168;
    pub(super) const RFLAGS: usize = 0x170;
    pub(super) const RIP: usize = 0x178;
    /// R15; the others follow downwards to RAX.
    pub(super) const R15: usize = 0x180;
}

/// The save area.
struct Area([u8; 512]);

impl Area {
    fn put(&mut self, at: usize, value: u64) {
        self.0[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }
    fn put32(&mut self, at: usize, value: u32) {
        self.0[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }
    fn put_segment(&mut self, at: usize, s: &Segment) {
        self.0[at..at + 2].copy_from_slice(&s.selector.to_le_bytes());
        self.0[at + 2..at + 4].copy_from_slice(&s.attributes.to_le_bytes());
        self.put32(at + 4, s.limit);
        self.put(at + 8, s.base);
    }
    fn get(&self, at: usize) -> u64 {
        u64::from_le_bytes(std::array::from_fn(|i| self.0[at + i]))
    }
    fn get32(&self, at: usize) -> u32 {
        self.get(at) as u32
    }
    fn get_segment(&self, at: usize) -> Segment {
        let head = self.get(at);
        Segment {
            base: self.get(at + 8),
            limit: (head >> 32) as u32,
            attributes: (head >> 16) as u16 & 0xF0FF,
            selector: head as u16,
        }
    }
}

fn save(core: &Core) -> Area {
    let s = &core.state;
    let mut a = Area([0; 512]);
    for reg in SegReg::ALL {
        a.put_segment(at::ES + reg as usize * 16, s.seg(reg));
    }
    a.put32(at::GDTR + 4, s.gdtr.limit as u32);
    a.put(at::GDTR + 8, s.gdtr.base);
    a.put_segment(at::LDTR, &s.ldtr);
    a.put32(at::IDTR + 4, s.idtr.limit as u32);
    a.put(at::IDTR + 8, s.idtr.base);
    a.put_segment(at::TR, &s.tr);
    if let Some(io) = core.last_io.just_made(core) {
        a.put(at::IO_RIP, io.rip);
        for (n, register) in io.registers.into_iter().enumerate() {
            a.put(at::IO_REGISTERS + 8 * n, register);
        }
        a.put32(at::IO_ACCESS, io.what);
    }
    a.0[at::AUTO_HALT] = (s.activity == Activity::Halted) as u8;
    a.0[at::NMI_MASK] = s.nmi_blocked as u8;
    a.put(at::EFER, s.efer.bits());
    a.put32(at::REVISION, REVISION);
    a.put32(at::SMBASE, s.msrs.smbase);
    a.put(at::CR4, s.cr4.bits());
    a.put(at::CR3, s.cr3);
    a.put(at::CR0, s.cr0.bits());
    a.put(at::DR7, s.dr[7]);
    a.put(at::DR6, s.dr[6]);
    a.put(at::RFLAGS, s.rflags());
    a.put(at::RIP, s.rip);
    for n in 0..16 {
        a.put(at::R15 + (15 - n) * 8, s.gpr(n));
    }
    a
}

/// Enters system-management mode between two instructions.
pub(crate) fn enter(core: &mut Core) {
    let area = save(core);
    let base = core.state.msrs.smbase as u64;
    core.current = std::ptr::null();
    core.memory.write_by_vcpu(PhysAddr(base + AREA), &area.0, View::Smm);
    let s = &mut core.state;
    s.in_smm = true;
    s.nmi_blocked = true;
    s.activity = Activity::Active;
    s.shadow_at = u64::MAX;
    s.pending_debug = 0;
    s.cr0.remove(Cr0::PE | Cr0::EM | Cr0::TS | Cr0::PG);
    s.cr4 = Cr4::empty();
    s.efer = Efer::empty();
    s.cpl = 0;
    s.dr[7] = 0x400;
    s.set_rflags(2);
    s.rip = 0x8000;
    let data = Segment { base: 0, limit: u32::MAX, attributes: 0x8093, selector: 0 };
    s.segments = [data; 6];
    s.segments[SegReg::Cs as usize] = Segment { base, selector: (base >> 4) as u16, ..data };
    after_mode_change(core);
}

fn after_mode_change(core: &mut Core) {
    let state = &mut core.state;
    core.mmu.load_cr3(state);
    core.mmu.flush_all(state);
    core.mode_changed();
}

#[inline(never)]
fn rsm(core: &mut Core, _op: &Op) -> Done {
    if !core.state.in_smm {
        return Err(Fault::UD);
    }
    let base = core.state.msrs.smbase as u64;
    let mut area = Area([0; 512]);
    core.memory.read_for(PhysAddr(base + AREA), &mut area.0, View::Smm);
    let cr0 = Cr0::from_bits_retain(area.get(at::CR0));
    let cr4 = Cr4::from_bits_retain(area.get(at::CR4));
    let efer = Efer::from_bits_retain(area.get(at::EFER));
    if !restorable(core, cr0, cr4, efer) {
        core.state.activity = Activity::Shutdown;
        core.shutdown.chain = vec![format!("RSM with CR0 {cr0:?}, CR4 {cr4:?}, EFER {efer:?}")];
        return Err(Fault::LEAVE);
    }
    restore(core, &area);
    if area.0[at::NMI_MASK] & 1 == 0 {
        core.unblock_nmis();
    }
    after_mode_change(core);
    core.leave(core.state.rip)
}

/// Whether the control registers of a save area can be loaded.
fn restorable(core: &Core, cr0: Cr0, cr4: Cr4, efer: Efer) -> bool {
    let paging = cr0.contains(Cr0::PG);
    !(paging && !cr0.contains(Cr0::PE)
        || cr0.contains(Cr0::NW) && !cr0.contains(Cr0::CD)
        || cr0.bits() >> 32 != 0
        || !(cr4 - core.model.cr4_known()).is_empty()
        || !(efer - core.model.efer_known() - Efer::LMA).is_empty()
        || paging && efer.contains(Efer::LME) && !cr4.contains(Cr4::PAE)
        || efer.contains(Efer::LMA) && !(paging && efer.contains(Efer::LME)))
}

fn restore(core: &mut Core, a: &Area) {
    let s = &mut core.state;
    s.in_smm = false;
    s.cr0 = Cr0::from_bits_truncate(a.get(at::CR0)) | Cr0::ET;
    s.cr3 = a.get(at::CR3);
    s.cr4 = Cr4::from_bits_retain(a.get(at::CR4));
    s.efer = Efer::from_bits_retain(a.get(at::EFER));
    // LMA follows from the others, whatever the save area says.
    s.efer.set(Efer::LMA, s.efer.contains(Efer::LME) && s.cr0.contains(Cr0::PG));
    s.dr[7] = a.get(at::DR7) & 0xFFFF_FFFF | 0x400;
    s.dr[6] = a.get(at::DR6) & 0xFFFF_FFFF;
    s.set_rflags(a.get(at::RFLAGS) & 0x3F_7FD7);
    s.rip = a.get(at::RIP);
    for n in 0..16 {
        s.set_gpr(n, a.get(at::R15 + (15 - n) * 8));
    }
    for reg in SegReg::ALL {
        s.segments[reg as usize] = a.get_segment(at::ES + reg as usize * 16);
    }
    s.gdtr.limit = a.get32(at::GDTR + 4) as u16;
    s.gdtr.base = a.get(at::GDTR + 8);
    s.idtr.limit = a.get32(at::IDTR + 4) as u16;
    s.idtr.base = a.get(at::IDTR + 8);
    s.ldtr = a.get_segment(at::LDTR);
    s.tr = a.get_segment(at::TR);
    s.msrs.smbase = a.get32(at::SMBASE);
    if a.0[at::IO_RESTART] == RESTART {
        s.rip = a.get(at::IO_RIP);
        for (n, register) in [1, 6, 7].into_iter().enumerate() {
            s.set_gpr(register, a.get(at::IO_REGISTERS + 8 * n));
        }
    }
    s.activity = if a.0[at::AUTO_HALT] & 1 != 0 { Activity::Halted } else { Activity::Active };
    s.shadow_at = u64::MAX;
    // CPL is the RPL of CS, but 3 in virtual-8086 mode and 0 in real mode.
    s.cpl = if !s.protected() {
        0
    } else if s.rflags.contains(Rflags::VM) {
        3
    } else {
        (s.seg(SegReg::Cs).selector & 3) as u8
    };
    let (cr0, cr4, efer, cr3) = (s.cr0, s.cr4, s.efer, s.cr3);
    if uses_pdptes(cr0, cr4, efer) {
        core.state.pdpte = read_pdptes(core, cr3).unwrap_or_default();
    }
}
