//! The CPU state in memory, as the interpreter and the translator work on it.
//!
//! One `repr(C)` structure per vCPU. The general registers stand in a *register file* of 32
//! eight-byte entries at offset 0, together with what effective addresses add up
//! (an entry that is always zero, the RIP of the running block, the segment bases), so that
//! a decoded operand is a byte offset into the register file and nothing else: AL is offset
//! 0, AH offset 1, RCX offset 8.

use crate::flags::{ArithFlags, Rflags};
use crate::mmu::TlbEntry;
use crate::msr::LAST_BRANCHES;
use crate::registers::{Cr0, Cr4, Efer};
use crate::segment::{SegReg, Segment, TableRegister};

/// Byte offsets into the register file, besides the general registers (number times 8).
pub mod reg_file {
    /// RSP.
    pub const RSP: u8 = 4 * 8;
    /// Always zero: no base, no index.
    pub const ZERO: u8 = 16 * 8;
    /// RIP of the first instruction of the running block: the base of RIP-relative operands.
    pub const BLOCK_RIP: u8 = 17 * 8;
    /// All ones in 64-bit mode, else 2^32 - 1: what linear addresses are cut to.
    pub const LINEAR_MASK: u8 = 18 * 8;
    /// For operations that one instruction was split into.
    pub const TEMP: u8 = 19 * 8;
    /// Segment bases as effective addresses use them (zero for ES, CS, SS, DS in 64-bit
    /// mode): add 8 times the register's encoding.
    pub const SEG_BASE: u8 = 24 * 8;
}

/// A vector register.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
#[repr(C, align(32))]
pub struct Ymm(pub [u64; 4]);

/// An x87 register: 80 bits in the low 10 bytes, little endian; the rest is zero.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[repr(C, align(16))]
pub struct Fpr(pub [u8; 16]);

/// The x87 unit. Registers are by physical number: ST(i) is `regs[(top + i) & 7]`; MMi is
/// the low 64 bits of `regs[i]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct X87State {
    /// R0 to R7.
    pub regs: [Fpr; 8],
    /// Control word.
    pub control: u16,
    /// Status word, without TOP (bits 11 to 13 are zero here).
    pub status: u16,
    /// TOP, 0 to 7.
    pub top: u8,
    /// Empty registers, a bit each by physical number: 1 is empty.
    pub empty: u8,
    /// Opcode of the last non-control instruction (11 bits).
    pub last_opcode: u16,
    /// Selector of the last instruction.
    pub last_cs: u16,
    /// Selector of the last memory operand.
    pub last_ds: u16,
    /// Offset of the last instruction.
    pub last_ip: u64,
    /// Offset of the last memory operand.
    pub last_dp: u64,
}

impl X87State {
    /// As FNINIT leaves it.
    pub const INIT: X87State = X87State {
        regs: [Fpr([0; 16]); 8],
        control: 0x37F,
        status: 0,
        top: 0,
        empty: 0xFF,
        last_opcode: 0,
        last_cs: 0,
        last_ds: 0,
        last_ip: 0,
        last_dp: 0,
    };
}

/// The branches taken last: see SDM Vol. 3B, "Last Branch Recording".
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LastBranches {
    /// Addresses of the branches.
    pub from: [u64; LAST_BRANCHES],
    /// Where they led.
    pub to: [u64; LAST_BRANCHES],
    /// The latest one's index.
    pub top: u64,
    /// From and to of the latest one before the last interrupt or exception.
    pub before_event: [u64; 2],
}

/// MSRs that are plain storage, and a few with checks at the write.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[allow(missing_docs, reason = "the names are the manual's")]
pub struct Msrs {
    pub star: u64,
    pub lstar: u64,
    pub cstar: u64,
    pub fmask: u64,
    pub kernel_gs_base: u64,
    pub tsc_aux: u64,
    /// Added to the machine's time-stamp counter.
    pub tsc_adjust: u64,
    pub sysenter_cs: u64,
    pub sysenter_esp: u64,
    pub sysenter_eip: u64,
    pub pat: u64,
    pub misc_enable: u64,
    pub debugctl: u64,
    pub last_branches: LastBranches,
    pub spec_ctrl: u64,
    pub xss: u64,
    pub smbase: u32,
    pub mcg_status: u64,
    pub mcg_ctl: u64,
    /// CTL, STATUS, ADDR, MISC of each bank.
    pub mc_banks: [[u64; 4]; 10],
    pub mtrr_def_type: u64,
    pub mtrr_fixed: [u64; 11],
    /// Base and mask of each variable range.
    pub mtrr_variable: [[u64; 2]; 8],
    pub feature_control: u64,
    pub bios_sign_id: u64,
}

impl Default for Msrs {
    fn default() -> Self {
        Msrs {
            star: 0,
            lstar: 0,
            cstar: 0,
            fmask: 0,
            kernel_gs_base: 0,
            tsc_aux: 0,
            tsc_adjust: 0,
            sysenter_cs: 0,
            sysenter_esp: 0,
            sysenter_eip: 0,
            pat: 0x0007_0406_0007_0406,
            misc_enable: 1,
            debugctl: 0,
            last_branches: LastBranches::default(),
            spec_ctrl: 0,
            xss: 0,
            smbase: 0x3_0000,
            mcg_status: 0,
            mcg_ctl: 0,
            mc_banks: [[0; 4]; 10],
            mtrr_def_type: 0,
            mtrr_fixed: [0; 11],
            mtrr_variable: [[0; 2]; 8],
            feature_control: 1,
            bios_sign_id: 0,
        }
    }
}

/// What the vCPU does between instructions.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
#[repr(u8)]
pub enum Activity {
    /// Runs instructions.
    #[default]
    Active,
    /// HLT: waits for an interrupt.
    Halted,
    /// An application processor before its SIPI.
    WaitForSipi,
    /// Triple fault: waits for a reset.
    Shutdown,
}

/// The state of one vCPU. See the [module](self) for its layout.
#[repr(C, align(64))]
pub struct CpuState {
    /// The register file: see [`reg_file`].
    pub reg_file: [u64; 32],
    /// The current table of inline translations (shadow page table), see [`crate::mmu`].
    pub tlb: *mut TlbEntry,
    /// Instructions left in this run, after those of the running block.
    pub budget: i64,
    /// Names the address space, its flushes and the execution mode: equal keys mean that a
    /// linear address leads to the same code.
    pub jump_key: u64,
    /// The arithmetic flags.
    pub arith: ArithFlags,
    /// Written with them by translated code, which stores 32 bits; never read. Hosts take much longer for
    /// narrow stores that alternate with others.
    pub arith_above: u16,
    /// Current privilege level, 0 to 3.
    pub cpl: u8,
    /// What the vCPU does between instructions.
    pub activity: Activity,
    /// The mode that code is decoded for: see the decoder.
    pub mode: u32,
    /// RFLAGS without the arithmetic flags (FIXED is set).
    pub rflags: Rflags,
    /// RIP. Valid between blocks; inside a block see `reg_file::BLOCK_RIP`.
    pub rip: u64,
    /// Linear address of the page fault on its way.
    pub fault_address: u64,
    /// MXCSR.
    pub mxcsr: u32,
    /// PKRU.
    pub pkru: u32,
    /// YMM0 to YMM15.
    pub ymm: [Ymm; 16],
    /// The x87 unit and the MMX registers.
    pub x87: X87State,
    /// ES, CS, SS, DS, FS, GS.
    pub segments: [Segment; 6],
    /// LDTR.
    pub ldtr: Segment,
    /// TR.
    pub tr: Segment,
    /// GDTR.
    pub gdtr: TableRegister,
    /// IDTR.
    pub idtr: TableRegister,
    /// CR0.
    pub cr0: Cr0,
    /// CR2.
    pub cr2: u64,
    /// CR3.
    pub cr3: u64,
    /// CR4.
    pub cr4: Cr4,
    /// IA32_EFER.
    pub efer: Efer,
    /// XCR0.
    pub xcr0: u64,
    /// The four PDPTEs of PAE paging, as the last CR3 load read them.
    pub pdpte: [u64; 4],
    /// DR0 to DR3, (two unused), DR6, DR7.
    pub dr: [u64; 8],
    /// Model-specific registers.
    pub msrs: Msrs,
    /// All ones but bit 20 where the A20 gate is closed.
    pub a20_mask: u64,
    /// In system-management mode.
    pub in_smm: bool,
    /// NMIs are blocked until IRET.
    pub nmi_blocked: bool,
    /// Value of the instruction count at which an interrupt shadow (STI, MOV SS, POP SS)
    /// ends it: interrupts are inhibited while exactly that many instructions have retired.
    pub shadow_at: u64,
    /// The shadow is one of MOV SS or POP SS, which inhibits debug exceptions and NMI too.
    pub shadow_is_ss: bool,
    /// Instructions retired since the vCPU was made, up to the last time a run ended or synced.
    pub retired: u64,
    /// Debug conditions met by the current instruction (DR6 bits), delivered after it.
    pub pending_debug: u64,
}

// SAFETY: `tlb` points into a table that the vCPU's own MMU owns; it moves between threads
// with the vCPU.
#[allow(unsafe_code)]
unsafe impl Send for CpuState {}

impl CpuState {
    /// The state after power-on or RESET (SDM Vol. 3A, Processor Management and Initialization).
    /// `signature` is CPUID's family, model and stepping, which EDX holds.
    pub fn at_reset(signature: u32) -> CpuState {
        let mut s = CpuState {
            reg_file: [0; 32],
            tlb: std::ptr::null_mut(),
            budget: 0,
            jump_key: 0,
            arith: ArithFlags(0),
            arith_above: 0,
            cpl: 0,
            activity: Activity::Active,
            mode: 0,
            rflags: Rflags::FIXED,
            rip: 0xFFF0,
            fault_address: 0,
            mxcsr: 0x1F80,
            pkru: 0,
            ymm: [Ymm::default(); 16],
            x87: X87State { control: 0x40, empty: 0, ..X87State::INIT },
            segments: [Segment::real_mode(0); 6],
            ldtr: Segment { limit: 0xFFFF, attributes: 0x82, ..Segment::default() },
            tr: Segment { limit: 0xFFFF, attributes: 0x8B, ..Segment::default() },
            gdtr: TableRegister { base: 0, limit: 0xFFFF },
            idtr: TableRegister { base: 0, limit: 0xFFFF },
            cr0: Cr0::from_bits_retain(0x6000_0010),
            cr2: 0,
            cr3: 0,
            cr4: Cr4::empty(),
            efer: Efer::empty(),
            xcr0: 1,
            pdpte: [0; 4],
            dr: [0, 0, 0, 0, 0, 0, 0xFFFF_0FF0, 0x400],
            msrs: Msrs::default(),
            a20_mask: u64::MAX,
            in_smm: false,
            nmi_blocked: false,
            shadow_at: u64::MAX,
            shadow_is_ss: false,
            retired: 0,
            pending_debug: 0,
        };
        s.segments[SegReg::Cs as usize] =
            Segment { base: 0xFFFF_0000, limit: 0xFFFF, attributes: 0x9B, selector: 0xF000 };
        s.reg_file[2] = signature as u64;
        s.refresh_derived();
        s
    }

    /// Recomputes what is derived from segments and mode: segment bases, the linear mask.
    /// To be called after any change of segments, CR0.PE, EFER.LMA or RFLAGS.VM.
    pub fn refresh_derived(&mut self) {
        let long = self.is_64bit_code();
        self.reg_file[(reg_file::LINEAR_MASK / 8) as usize] = if long { u64::MAX } else { u32::MAX as u64 };
        for reg in SegReg::ALL {
            let flat = long && !matches!(reg, SegReg::Fs | SegReg::Gs);
            let base = if flat { 0 } else { self.segments[reg as usize].base };
            self.reg_file[(reg_file::SEG_BASE / 8) as usize + reg as usize] = base;
        }
    }

    /// General register `n` (0 to 15, RAX RCX RDX RBX RSP RBP RSI RDI R8...).
    #[inline]
    pub fn gpr(&self, n: usize) -> u64 {
        self.reg_file[n & 15]
    }
    /// Sets general register `n`.
    #[inline]
    pub fn set_gpr(&mut self, n: usize, value: u64) {
        self.reg_file[n & 15] = value;
    }
    /// A segment register.
    #[inline]
    pub fn seg(&self, reg: SegReg) -> &Segment {
        &self.segments[reg as usize]
    }
    /// CR0.PE.
    #[inline]
    pub fn protected(&self) -> bool {
        self.cr0.contains(Cr0::PE)
    }
    /// RFLAGS.VM in protected mode.
    #[inline]
    pub fn v86(&self) -> bool {
        self.rflags.contains(Rflags::VM)
    }
    /// EFER.LMA: long mode, 64-bit or compatibility.
    #[inline]
    pub fn long_mode(&self) -> bool {
        self.efer.contains(Efer::LMA)
    }
    /// 64-bit mode: EFER.LMA and CS.L.
    #[inline]
    pub fn is_64bit_code(&self) -> bool {
        self.long_mode() && self.segments[SegReg::Cs as usize].attributes & Segment::L != 0
    }
    /// All of RFLAGS.
    #[inline]
    pub fn rflags(&self) -> u64 {
        (self.rflags.bits() & !Rflags::ARITH.bits()) | self.arith.to_rflags() | 2
    }
    /// Sets all of RFLAGS, unchecked.
    #[inline]
    pub fn set_rflags(&mut self, value: u64) {
        self.arith = ArithFlags::from_rflags(value);
        self.rflags = Rflags::from_bits_retain(value & !Rflags::ARITH.bits() | 2);
    }
    /// IOPL, 0 to 3.
    #[inline]
    pub fn iopl(&self) -> u8 {
        (self.rflags.bits() >> 12 & 3) as u8
    }
}
