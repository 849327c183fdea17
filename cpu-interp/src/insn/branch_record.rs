//! Branches as the debug features see them: single steps on branches (IA32_DEBUGCTL.BTF) and the
//! last-branch record (IA32_DEBUGCTL.LBR): the eight branches, interrupts and exceptions taken last,
//! and the branch before the last interrupt or exception.
//!
//! While either bit matters the run loop goes one instruction at a time. A debug exception clears
//! both.
//!
//! Source: SDM Vol. 3B, "Debug, Branch Profile, TSC", "Last Branch, Interrupt, and Exception Recording
//! (Intel Atom Processors)" and "Single-Stepping on Branches"; Vol. 4, "MSRs in the Intel Atom
//! Processor Family".

use crate::core::{Core, mode};
use iced_x86::{Decoder, DecoderOptions, FlowControl};
use trimotor_bus::memory::View;
use trimotor_cpu::msr::*;

/// IA32_DEBUGCTL: record branches.
pub(crate) const LBR: u64 = 1 << 0;
/// IA32_DEBUGCTL: TF traps after branches only.
pub(crate) const BTF: u64 = 1 << 1;
/// Branches that are kept.
const DEPTH: u32 = LAST_BRANCHES as u32;
/// The longest instruction, in bytes.
const LONGEST: usize = 15;

/// A control transfer that is about to run.
pub(crate) struct Branch {
    next_rip: u64,
    is_conditional: bool,
}

impl Branch {
    /// The instruction at `rip`, if it is a control transfer and somebody wants to know.
    pub(crate) fn at(core: &Core, rip: u64) -> Option<Branch> {
        if core.state.msrs.debugctl & (LBR | BTF) == 0 {
            return None;
        }
        let (bits, base) = match core.state.mode & mode::CODE_SIZE {
            mode::CODE64 => (64, 0),
            mode::CODE32 => (32, core.state.seg(trimotor_cpu::SegReg::Cs).base),
            _ => (16, core.state.seg(trimotor_cpu::SegReg::Cs).base),
        };
        let mut code = Vec::with_capacity(LONGEST);
        for n in 0..LONGEST as u64 {
            let linear = base.wrapping_add(rip).wrapping_add(n);
            let linear = if bits == 64 { linear } else { linear & 0xFFFF_FFFF };
            let Some(at) = core.mmu.inspect(&core.state, linear, &mut Vec::new()) else { break };
            let mut byte = [0];
            if core.memory.read_for(at, &mut byte, View::of_code(core.state.in_smm)) == 0 {
                break;
            }
            code.push(byte[0]);
        }
        let instruction = Decoder::with_ip(bits, &code, rip, DecoderOptions::NONE).decode();
        let is_conditional = match instruction.flow_control() {
            FlowControl::Next | FlowControl::Exception | FlowControl::XbeginXabortXend => return None,
            FlowControl::ConditionalBranch => true,
            _ => false,
        };
        Some(Branch { next_rip: instruction.next_ip(), is_conditional })
    }
    /// Whether it was taken, now that RIP is `rip`.
    pub(crate) fn was_taken(&self, rip: u64) -> bool {
        // INTO and the like go on behind themselves where they do nothing.
        !self.is_conditional || rip != self.next_rip
    }
}

/// A transfer of control from `from` to the present RIP.
pub(crate) fn record(core: &mut Core, from: u64) {
    if core.state.msrs.debugctl & LBR == 0 {
        return;
    }
    let to = core.state.rip;
    let record = &mut core.state.msrs.last_branches;
    record.top = (record.top + 1) % LAST_BRANCHES as u64;
    record.from[record.top as usize] = from;
    record.to[record.top as usize] = to;
}

/// An interrupt or exception took control from `from`: the branch before it is kept apart.
pub(crate) fn record_event(core: &mut Core, from: u64) {
    if core.state.msrs.debugctl & LBR == 0 {
        return;
    }
    let record = &mut core.state.msrs.last_branches;
    let top = record.top as usize;
    record.before_event = [record.from[top], record.to[top]];
    self::record(core, from);
}

/// A debug exception is delivered.
pub(crate) fn stop(core: &mut Core) {
    core.state.msrs.debugctl &= !(LBR | BTF);
}

/// The register of the record with this MSR's number.
pub(crate) fn register(core: &mut Core, msr: u32) -> Option<&mut u64> {
    let record = &mut core.state.msrs.last_branches;
    let nth = |first: u32| msr.checked_sub(first).filter(|&n| n < DEPTH).map(|n| n as usize);
    if let Some(n) = nth(MSR_LASTBRANCH_0_FROM_IP) {
        return Some(&mut record.from[n]);
    }
    if let Some(n) = nth(MSR_LASTBRANCH_0_TO_IP) {
        return Some(&mut record.to[n]);
    }
    match msr {
        MSR_LER_FROM_LIP => Some(&mut record.before_event[0]),
        MSR_LER_TO_LIP => Some(&mut record.before_event[1]),
        _ => None,
    }
}
