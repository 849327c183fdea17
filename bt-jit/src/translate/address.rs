//! Memory operands: the linear address, and the inline check against the shadow page table.

use super::classify::must_be_aligned;
use super::cold::Cold;
use super::{Flags, Translator};
use crate::emitter::{AluOp, Condition, Label, Mem, Reg, Scale, Width};
use crate::layout::{HOST, HOST_PAGE, READ_TAG, T0, T1, T2, TLB, WRITE_TAG, gpr, page_rip, segment_base, state};
use iced_x86::{Instruction, Register};
use trimotor_cpu::mmu::TLB_ENTRIES;
use trimotor_cpu_interp::lower::iced_address_bits;

/// What an access does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Access {
    Read,
    Write,
}

/// The number of a general register, of any size.
pub(super) fn gpr_number(r: Register) -> u8 {
    r.full_register().number() as u8
}

fn scale_of(i: &Instruction) -> Scale {
    match i.memory_index_scale() {
        1 => Scale::One,
        2 => Scale::Two,
        4 => Scale::Four,
        _ => Scale::Eight,
    }
}

impl Translator<'_> {
    /// Puts the effective address of the memory operand into T1, cut to its size. May destroy T2; keeps flags.
    pub(super) fn effective_address(&mut self, i: &Instruction, to: Reg) {
        let bits = iced_address_bits(i, self.source.mode);
        let width = if bits == 64 { Width::Qword } else { Width::Dword };
        let displacement = i.memory_displacement64();
        if i.is_ip_rel_memory_operand() {
            // The decoder counted RIP from the page's first byte.
            self.e.mov_rm(Width::Qword, T1, page_rip());
            let relative = if bits == 64 { displacement as i64 as i32 } else { displacement as u32 as i32 };
            self.e.lea(width, to, Mem::base(T1, relative));
            return;
        }
        let displacement = displacement as i32;
        let base = i.memory_base();
        let index = i.memory_index();
        let base = (base != Register::None).then(|| self.address_register(base, T1));
        let index = (index != Register::None).then(|| (self.address_register(index, T2), scale_of(i)));
        let place = match (base, index) {
            (Some(base), Some((index, scale))) => Mem::indexed(base, index, scale, displacement),
            (Some(base), None) if displacement == 0 => {
                if base != to || width == Width::Dword {
                    self.e.mov_rr(width, to, base);
                }
                return;
            }
            (Some(base), None) => Mem::base(base, displacement),
            (None, index) => Mem::without_base(index, displacement),
        };
        self.e.lea(width, to, place);
    }
    /// A host register with the guest register: its own, or `free`.
    fn address_register(&mut self, r: Register, free: Reg) -> Reg {
        let n = gpr_number(r);
        match HOST[n as usize & 15] {
            Some(host) => host,
            None => {
                self.e.mov_rm(Width::Qword, free, gpr(n));
                free
            }
        }
    }

    /// Puts the linear address of the memory operand into T1. Destroys flags and T2.
    pub(super) fn linear_operand(&mut self, i: &Instruction) {
        self.effective_address(i, T1);
        let width = if self.wide { Width::Qword } else { Width::Dword };
        match i.memory_segment() {
            Register::FS => self.e.alu_rm(AluOp::Add, width, T1, segment_base(4)),
            Register::GS => self.e.alu_rm(AluOp::Add, width, T1, segment_base(5)),
            _ => {}
        }
    }

    /// Turns the linear address in T1 into the host address of `bytes` bytes, or goes to `slow`.
    /// Destroys T0 and flags, which must be in memory.
    pub(super) fn check(&mut self, bytes: u32, access: Access, aligned: bool, slow: Label) {
        debug_assert_eq!(self.flags, Flags::Memory);
        const ENTRY_SHIFT: u8 = 5;
        let tag = if access == Access::Write { WRITE_TAG } else { READ_TAG };
        self.e.rorx(Width::Dword, T0, T1, 12 - ENTRY_SHIFT);
        self.e.alu_ri(AluOp::And, Width::Dword, T0, ((TLB_ENTRIES - 1) << ENTRY_SHIFT) as i32);
        self.e.alu_rm(AluOp::Add, Width::Qword, T0, state(TLB));
        self.e.alu_rm(AluOp::Sub, Width::Qword, T1, Mem::base(T0, tag));
        if aligned {
            self.e.test_ri(Width::Dword, T1, bytes as i32 - 1);
            self.e.jcc(Condition::NotEqual, slow);
        }
        self.e.alu_ri(AluOp::Cmp, Width::Qword, T1, 4096 - bytes as i32);
        self.e.jcc(Condition::Above, slow);
        self.e.alu_rm(AluOp::Add, Width::Qword, T1, Mem::base(T0, HOST_PAGE));
    }

    /// Puts the host address of the memory operand into T1; where the table does not have it, the
    /// instruction is handed over. Destroys flags (which go to memory), T0 and T2. The cold
    /// code goes on at the label that is returned, and is finished by [`resume`](Self::resume).
    pub(super) fn operand_address(&mut self, i: &Instruction, access: Access) -> Pending {
        let bytes = i.memory_size().size().max(1) as u32;
        self.spill_flags();
        self.linear_operand(i);
        let slow = self.e.label();
        self.check(bytes, access, must_be_aligned(i), slow);
        self.pending(slow)
    }
    /// The cold code of an access whose slow way is to hand the instruction over.
    pub(super) fn pending(&mut self, slow: Label) -> Pending {
        Pending { slow, site: self.site() }
    }
    /// Here the slow way of an access comes back.
    pub(super) fn resume(&mut self, pending: Pending) {
        let resume = self.e.label();
        self.e.bind(resume);
        let load_flags = self.flags == Flags::Host;
        self.cold.push(Cold::Op { at: pending.slow, site: pending.site, resume, load_flags });
    }
}

/// A slow way that is not finished.
#[must_use]
pub(super) struct Pending {
    slow: Label,
    site: u32,
}

impl Pending {
    /// Where further checks of the same instruction go.
    pub(super) fn slow_label(&self) -> Label {
        self.slow
    }
}
