//! Where guest state is while translated code runs.
//!
//! The host's RSP is at the vCPU's [`Core`]; guest state in memory is addressed relative to it. Twelve of the
//! guest's general registers have a host register for themselves; R8 to R11, which compilers use least,
//! stay in memory, and so three host registers are free for the translator. The guest's RAX is not in the
//! host's, because LAHF and SETO AL work there.

use crate::emitter::{AluOp, Emitter, Mem, Reg, Width};
use crate::engine_area::{CoreAndArea, EngineArea, InlineCache, X87Area};
use std::mem::offset_of;
use trimotor_cpu::CpuState;
use trimotor_cpu::Segment;
use trimotor_cpu::mmu::{TLB_ENTRIES, TlbEntry};
use trimotor_cpu::state::{Msrs, reg_file};
use trimotor_cpu_interp::core::Core;

/// First scratch register: RAX, for flags and for the translation table's entry.
pub const T0: Reg = Reg::Rax;
/// Second scratch register: linear addresses, then host addresses, and jump targets.
pub const T1: Reg = Reg::R11;
/// Third scratch register.
pub const T2: Reg = Reg::R10;

/// The host register of each guest register; `None`: it stays in memory.
pub const HOST: [Option<Reg>; 16] = [
    Some(Reg::R8),
    Some(Reg::Rcx),
    Some(Reg::Rdx),
    Some(Reg::Rbx),
    Some(Reg::R9),
    Some(Reg::Rbp),
    Some(Reg::Rsi),
    Some(Reg::Rdi),
    None,
    None,
    None,
    None,
    Some(Reg::R12),
    Some(Reg::R13),
    Some(Reg::R14),
    Some(Reg::R15),
];
/// Where the guest's RAX is.
pub const RAX: Reg = Reg::R8;
/// Where the guest's RSP is.
pub const RSP: Reg = Reg::R9;

/// A place in the vCPU's state, `displacement` bytes from its start.
pub fn state(displacement: i32) -> Mem {
    Mem::base(Reg::Rsp, displacement)
}
/// The entry of general register `n` in the register file.
pub fn gpr(n: u8) -> Mem {
    state(n as i32 * 8)
}
/// The RIP of the first byte of the page that code runs from.
pub fn page_rip() -> Mem {
    state(reg_file::BLOCK_RIP as i32)
}
/// The base of segment `n` (ES, CS, SS, DS, FS, GS).
pub fn segment_base(n: u8) -> Mem {
    state(reg_file::SEG_BASE as i32 + n as i32 * 8)
}

/// Displacement of the translation table's address.
pub const TLB: i32 = offset_of!(CpuState, tlb) as i32;
/// Displacement of the instruction budget.
pub const BUDGET: i32 = offset_of!(CpuState, budget) as i32;
/// Displacement of the key of links and jumps.
pub const JUMP_KEY: i32 = offset_of!(CpuState, jump_key) as i32;
/// Displacement of the arithmetic flags.
pub const ARITH: i32 = offset_of!(CpuState, arith) as i32;
/// Displacement of RIP.
pub const RIP: i32 = offset_of!(CpuState, rip) as i32;
/// Displacement of YMM0.
pub const YMM: i32 = offset_of!(CpuState, ymm) as i32;

const ENGINE: i32 = CoreAndArea::AREA as i32;
/// Displacement of the host's stack pointer.
pub const HOST_STACK: i32 = ENGINE + offset_of!(EngineArea, host_stack) as i32;
/// Displacement of the offset where code was left.
pub const EXIT_OFFSET: i32 = ENGINE + offset_of!(EngineArea, exit_offset) as i32;
/// Displacement of the reason why code was left.
pub const EXIT_REASON: i32 = ENGINE + offset_of!(EngineArea, exit_reason) as i32;
/// Displacement of the mark that vector registers are in the host's.
pub const VECTOR_LIVE: i32 = ENGINE + offset_of!(EngineArea, vector_live) as i32;
/// Displacement of the mark that the x87 registers are in the host's.
pub const X87_LIVE: i32 = ENGINE + offset_of!(EngineArea, x87_live) as i32;
const X87: i32 = ENGINE + offset_of!(EngineArea, x87) as i32;
/// Displacement of their image in memory.
pub const X87_IMAGE: i32 = X87 + offset_of!(X87Area, image) as i32;
/// Displacement of the page of the last x87 instruction.
pub const X87_PAGE: i32 = X87 + offset_of!(X87Area, page) as i32;
/// Displacement of its offset in the page.
pub const X87_OFFSET: i32 = X87 + offset_of!(X87Area, offset) as i32;
/// Displacement of the offset of its memory operand.
pub const X87_OPERAND: i32 = X87 + offset_of!(X87Area, operand) as i32;
/// Displacement of the segment of its memory operand.
pub const X87_SEGMENT: i32 = X87 + offset_of!(X87Area, segment) as i32;
/// Displacement of a place for one register.
pub const SPARE: i32 = ENGINE + offset_of!(EngineArea, spare) as i32;
/// Displacement of the operand that flags are computed from again.
pub const FLAGS_OPERAND: i32 = ENGINE + offset_of!(EngineArea, flags_operand) as i32;
/// Displacement of the host addresses of groups of accesses.
pub const CHECK_GROUPS: i32 = ENGINE + offset_of!(EngineArea, check_groups) as i32;
/// Displacement of the count of links that are followed by way of the jump table.
pub const PROBES: i32 = ENGINE + offset_of!(EngineArea, probes) as i32;
/// Displacement of the jump table's address.
pub const JUMPS: i32 = ENGINE + offset_of!(EngineArea, jumps) as i32;

/// Displacement of a translation-table entry's tag for reading.
pub const READ_TAG: i32 = offset_of!(TlbEntry, read_tag) as i32;
/// Displacement of its tag for writing.
pub const WRITE_TAG: i32 = offset_of!(TlbEntry, write_tag) as i32;
/// Displacement of its host address.
pub const HOST_PAGE: i32 = offset_of!(TlbEntry, host) as i32;
/// Displacement of its tag for execution.
pub const EXEC_TAG: i32 = offset_of!(TlbEntry, exec_tag) as i32;
/// Displacement of RFLAGS without the arithmetic flags.
pub const RFLAGS: i32 = offset_of!(CpuState, rflags) as i32;
/// Displacement of the privilege level.
pub const CPL: i32 = offset_of!(CpuState, cpl) as i32;
/// Displacement of the count of retired instructions, as it was when the budget was the mark.
pub const RETIRED: i32 = offset_of!(CpuState, retired) as i32;
/// Displacement of the budget's mark.
pub const BUDGET_MARK: i32 = offset_of!(Core, budget_mark) as i32;
/// Displacement of what the run's budget has beyond that.
pub const BUDGET_RESERVE: i32 = offset_of!(Core, budget_reserve) as i32;
/// Displacement of the count at which an interrupt shadow ends.
pub const SHADOW_AT: i32 = offset_of!(CpuState, shadow_at) as i32;
/// Displacement of the mark that the shadow is one of MOV SS.
pub const SHADOW_IS_SS: i32 = offset_of!(CpuState, shadow_is_ss) as i32;
/// Displacement of IA32_KERNEL_GS_BASE.
pub const KERNEL_GS_BASE: i32 = offset_of!(CpuState, msrs) as i32 + offset_of!(Msrs, kernel_gs_base) as i32;
/// Displacement of the address of the vCPU's pins.
pub const PENDING: i32 = ENGINE + offset_of!(EngineArea, pending) as i32;
/// Displacement of the base in a segment register's hidden part.
pub const fn segment_descriptor_base(n: u8) -> i32 {
    offset_of!(CpuState, segments) as i32
        + n as i32 * size_of::<Segment>() as i32
        + offset_of!(Segment, base) as i32
}
/// Displacement of a segment register's selector.
pub const fn selector(n: u8) -> i32 {
    offset_of!(CpuState, segments) as i32
        + n as i32 * size_of::<Segment>() as i32
        + offset_of!(Segment, selector) as i32
}
/// Displacement of IA32_EFER.
pub const EFER: i32 = offset_of!(CpuState, efer) as i32;
/// Displacement of CR0, CR2, CR3 or CR4.
pub const fn control_register(n: usize) -> i32 {
    (match n {
        0 => offset_of!(CpuState, cr0),
        2 => offset_of!(CpuState, cr2),
        3 => offset_of!(CpuState, cr3),
        _ => offset_of!(CpuState, cr4),
    }) as i32
}
/// Puts the address of the shadow page table's entry for the linear address in T1 into T0; `table` is where the table's
/// address is. Destroys flags.
pub fn table_entry(e: &mut Emitter, table: Mem) {
    const ENTRY_SHIFT: u8 = 5;
    e.rorx(Width::Dword, T0, T1, 12 - ENTRY_SHIFT);
    e.alu_ri(AluOp::And, Width::Dword, T0, ((TLB_ENTRIES - 1) << ENTRY_SHIFT) as i32);
    e.alu_rm(AluOp::Add, Width::Qword, T0, table);
}

/// Displacement of inline cache `n`'s tag.
pub fn ic_tag(n: u32) -> i32 {
    ENGINE
        + offset_of!(EngineArea, inline_caches) as i32
        + n as i32 * size_of::<InlineCache>() as i32
        + offset_of!(InlineCache, tag) as i32
}
/// Displacement of inline cache `n`'s delta.
pub fn ic_delta(n: u32) -> i32 {
    ic_tag(n) + (offset_of!(InlineCache, delta) - offset_of!(InlineCache, tag)) as i32
}
/// Displacement of inline cache `n`'s count of misses.
pub fn ic_misses(n: u32) -> i32 {
    ENGINE + offset_of!(EngineArea, ic_misses) as i32 + n as i32 * 4
}
/// Displacement of the page number that inline cache `n` last missed.
pub fn ic_candidate(n: u32) -> i32 {
    ENGINE + offset_of!(EngineArea, ic_candidates) as i32 + n as i32 * 4
}
/// Displacement of the byte with inline cache `n`'s mark of use, and the mark.
pub fn ic_used(n: u32) -> (i32, u8) {
    (ENGINE + offset_of!(EngineArea, ics_used) as i32 + n as i32 / 8, 1 << (n % 8))
}

/// Places that translated code stores to and loads from all the time, and their bytes.
const BUSY: [(i32, i32); 7] = [
    (8 * 8, 4 * 8), // R8 to R11
    (reg_file::BLOCK_RIP as i32, 8),
    (BUDGET, 8),
    (ARITH, 4),
    (SPARE, 24),
    (CHECK_GROUPS, size_of::<[u64; 16]>() as i32),
    (FLAGS_OPERAND, 8),
];

// A host that forwards a store to a load by the displacement (a Zen 3 does for RSP, and looks at ten bits of it) is
// wrong where two of these places agree in them, and begins anew each time: the budget beside such a place costs
// not one cycle but six to eighteen.
const _: () = {
    const BITS: i32 = 1 << 10;
    let mut n = 0;
    while n < BUSY.len() {
        let mut m = n + 1;
        while m < BUSY.len() {
            let (a, b) = (BUSY[n], BUSY[m]);
            let from_a = (b.0 - a.0).rem_euclid(BITS);
            assert!(from_a >= a.1 && from_a <= BITS - b.1, "busy places look alike to the host");
            m += 1;
        }
        n += 1;
    }
};
