//! [`ArchState`]: the architectural state in its exchange form, for snapshots, engine
//! switches and lockstep.

use crate::flags::Rflags;
use crate::registers::{Cr0, Cr4, Efer};
use crate::segment::{Segment, TableRegister};
use crate::state::{Activity, CpuState, Fpr, Msrs, X87State, Ymm};
use serde::{Deserialize, Serialize};

/// Everything that instructions can see of a vCPU, at an instruction boundary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchState {
    /// RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8 to R15.
    pub gpr: [u64; 16],
    /// RIP.
    pub rip: u64,
    /// RFLAGS.
    pub rflags: u64,
    /// ES, CS, SS, DS, FS, GS with hidden parts.
    pub segments: [Segment; 6],
    /// LDTR.
    pub ldtr: Segment,
    /// TR.
    pub tr: Segment,
    /// GDTR.
    pub gdtr: TableRegister,
    /// IDTR.
    pub idtr: TableRegister,
    /// Current privilege level.
    pub cpl: u8,
    /// CR0.
    pub cr0: u64,
    /// CR2.
    pub cr2: u64,
    /// CR3.
    pub cr3: u64,
    /// CR4.
    pub cr4: u64,
    /// IA32_EFER.
    pub efer: u64,
    /// XCR0.
    pub xcr0: u64,
    /// PDPTEs of PAE paging.
    pub pdpte: [u64; 4],
    /// DR0 to DR3, unused, unused, DR6, DR7.
    pub dr: [u64; 8],
    /// MXCSR.
    pub mxcsr: u32,
    /// PKRU.
    pub pkru: u32,
    /// YMM0 to YMM15, low quadword first.
    pub ymm: [[u64; 4]; 16],
    /// The x87 unit.
    pub x87: X87Arch,
    /// Model-specific registers.
    pub msrs: Msrs,
    /// What the vCPU does between instructions.
    pub activity: Activity,
    /// Whether the A20 gate is open.
    pub a20: bool,
    /// In system-management mode.
    pub in_smm: bool,
    /// NMIs are blocked until IRET.
    pub nmi_blocked: bool,
    /// Interrupts are inhibited for the next instruction (STI, MOV SS, POP SS).
    pub interrupt_shadow: bool,
    /// That shadow is one of MOV SS or POP SS.
    pub shadow_is_ss: bool,
    /// Instructions retired.
    pub retired: u64,
    /// Debug conditions (DR6 bits) that wait for delivery.
    pub pending_debug: u64,
    /// The instruction at RIP is a repeated string instruction, of which some iterations are done.
    pub repeating: bool,
    /// The access to a port that the last instruction made, or the last iteration of a repeated one.
    pub port_access: Option<PortAccess>,
}

/// An access to a port, as an SMI that comes right after it tells of it: with what it takes to do it again (AMD64
/// Architecture Programmer's Manual Vol. 2, "I/O Instruction Restart").
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortAccess {
    /// RIP of the instruction.
    pub rip: u64,
    /// RCX, RSI and RDI before it.
    pub registers: [u64; 3],
    /// The port in bits 16 up, and what kind of access it was, as the state-save area has it.
    pub what: u32,
}

/// The x87 unit in [`ArchState`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct X87Arch {
    /// R0 to R7 by physical number, 80 bits each.
    pub regs: [[u8; 10]; 8],
    /// Control word.
    pub control: u16,
    /// Status word with TOP.
    pub status: u16,
    /// Empty registers by physical number: 1 is empty.
    pub empty: u8,
    /// Last opcode.
    pub last_opcode: u16,
    /// Last CS selector.
    pub last_cs: u16,
    /// Last data selector.
    pub last_ds: u16,
    /// Last instruction offset.
    pub last_ip: u64,
    /// Last operand offset.
    pub last_dp: u64,
}

impl From<&X87State> for X87Arch {
    fn from(x: &X87State) -> Self {
        let X87State { regs, control, status, top, empty, last_opcode, last_cs, last_ds, last_ip, last_dp } =
            *x;
        X87Arch {
            regs: regs.map(|r| std::array::from_fn(|i| r.0[i])),
            control,
            status: status & !0x3800 | (top as u16 & 7) << 11,
            empty,
            last_opcode,
            last_cs,
            last_ds,
            last_ip,
            last_dp,
        }
    }
}

impl From<&X87Arch> for X87State {
    fn from(x: &X87Arch) -> Self {
        X87State {
            regs: x.regs.map(|r| Fpr(std::array::from_fn(|i| if i < 10 { r[i] } else { 0 }))),
            control: x.control,
            status: x.status & !0x3800,
            top: (x.status >> 11 & 7) as u8,
            empty: x.empty,
            last_opcode: x.last_opcode,
            last_cs: x.last_cs,
            last_ds: x.last_ds,
            last_ip: x.last_ip,
            last_dp: x.last_dp,
        }
    }
}

impl CpuState {
    /// The state in exchange form. RIP must be current (between instructions). What only an engine knows is as where nothing
    /// is under way: `repeating` and `port_access`.
    pub fn to_arch(&self) -> ArchState {
        ArchState {
            gpr: std::array::from_fn(|i| self.gpr(i)),
            rip: self.rip,
            rflags: self.rflags(),
            segments: self.segments,
            ldtr: self.ldtr,
            tr: self.tr,
            gdtr: self.gdtr,
            idtr: self.idtr,
            cpl: self.cpl,
            cr0: self.cr0.bits(),
            cr2: self.cr2,
            cr3: self.cr3,
            cr4: self.cr4.bits(),
            efer: self.efer.bits(),
            xcr0: self.xcr0,
            pdpte: self.pdpte,
            dr: self.dr,
            mxcsr: self.mxcsr,
            pkru: self.pkru,
            ymm: self.ymm.map(|y| y.0),
            x87: (&self.x87).into(),
            msrs: self.msrs.clone(),
            activity: self.activity,
            a20: self.a20_mask == u64::MAX,
            in_smm: self.in_smm,
            nmi_blocked: self.nmi_blocked,
            interrupt_shadow: self.shadow_at == self.retired,
            shadow_is_ss: self.shadow_is_ss,
            retired: self.retired,
            pending_debug: self.pending_debug,
            repeating: false,
            port_access: None,
        }
    }

    /// Takes a state in exchange form. The engine must then drop what it derived from the old
    /// one (address space, mode).
    pub fn set_arch(&mut self, a: &ArchState) {
        let ArchState {
            gpr,
            rip,
            rflags,
            segments,
            ldtr,
            tr,
            gdtr,
            idtr,
            cpl,
            cr0,
            cr2,
            cr3,
            cr4,
            efer,
            xcr0,
            pdpte,
            dr,
            mxcsr,
            pkru,
            ymm,
            x87,
            msrs,
            activity,
            a20,
            in_smm,
            nmi_blocked,
            interrupt_shadow,
            shadow_is_ss,
            retired,
            pending_debug,
            repeating: _,
            port_access: _,
        } = a;
        self.reg_file[..16].copy_from_slice(gpr);
        self.rip = *rip;
        self.set_rflags(*rflags);
        self.segments = *segments;
        self.ldtr = *ldtr;
        self.tr = *tr;
        self.gdtr = *gdtr;
        self.idtr = *idtr;
        self.cpl = *cpl & 3;
        self.cr0 = Cr0::from_bits_retain(*cr0);
        self.cr2 = *cr2;
        self.cr3 = *cr3;
        self.cr4 = Cr4::from_bits_retain(*cr4);
        self.efer = Efer::from_bits_retain(*efer);
        self.xcr0 = *xcr0;
        self.pdpte = *pdpte;
        self.dr = *dr;
        self.mxcsr = *mxcsr;
        self.pkru = *pkru;
        self.ymm = ymm.map(Ymm);
        self.x87 = x87.into();
        self.msrs = msrs.clone();
        self.activity = *activity;
        self.a20_mask = if *a20 { u64::MAX } else { !(1 << 20) };
        self.in_smm = *in_smm;
        self.nmi_blocked = *nmi_blocked;
        self.retired = *retired;
        self.shadow_at = if *interrupt_shadow { *retired } else { u64::MAX };
        self.shadow_is_ss = *shadow_is_ss;
        self.pending_debug = *pending_debug;
        self.rflags |= Rflags::FIXED;
        self.refresh_derived();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exchange_form_keeps_everything() {
        let mut s = CpuState::at_reset(0x806E9);
        s.set_gpr(5, 0x1234_5678_9ABC_DEF0);
        s.set_rflags(0xAD7);
        s.x87.top = 5;
        s.x87.status = 0x4100;
        s.x87.regs[3].0[9] = 0x7F;
        s.shadow_at = s.retired;
        let a = s.to_arch();
        let mut t = CpuState::at_reset(0);
        t.set_arch(&a);
        assert_eq!(t.to_arch(), a);
        assert_eq!(t.x87.top, 5);
        assert!(a.interrupt_shadow);
    }
}
