//! An engine's side: 64-bit user mode with the same addresses as on the host.
//!
//! Page tables map the code area and the scratch pages for user mode at their host addresses.
//! Each exception vector's handler is a HLT of its own, so that the run ends with the frame on
//! the supervisor's stack.

use std::sync::Arc;
use trimotor_bus::empty_board::EmptyBoard;
use trimotor_bus::{GuestMemory, PhysAddr, VcpuSignals};
use trimotor_cpu::model::CpuModel;
use trimotor_cpu::state::Activity;
use trimotor_cpu::{ArchState, CpuBackend, Segment, TableRegister, Vcpu, VcpuExit};
use trimotor_test_support::random::layout::*;
use trimotor_test_support::random::registers::{give_registers, take_registers};

const TABLES: u64 = 0x1000;
const GDT: u64 = 0x8000;
const IDT: u64 = 0x9000;
const HANDLERS: u64 = 0xA000;
const TSS: u64 = 0xB000;
const STACK: u64 = 0xE000;
const HIGH_DIRECTORY: u64 = 0xF000;
/// Where the supervisor's low memory appears: away from what user code might reach.
const HIGH: u64 = 0xFFFF_8000_0000_0000;
const CODE_AT: u64 = 0x20_0000;
const SCRATCH_AT: u64 = 0x10_0000;
/// Instructions that a case may take: REP counts its iterations.
const BUDGET: u64 = 1 << 20;

pub struct Guest {
    /// Keeps what the vCPU shares with others of its engine.
    _backend: Box<dyn CpuBackend>,
    memory: Arc<GuestMemory>,
    vcpu: Box<dyn Vcpu>,
    base: ArchState,
    templates: Vec<Vec<u8>>,
    scratch: *mut u8,
}

fn put(memory: &GuestMemory, at: u64, value: u64) {
    memory.write(PhysAddr(at), &value.to_le_bytes());
}

/// Page tables: the low 2 MiB for the supervisor, code and scratch for the user.
fn write_tables(memory: &GuestMemory) {
    const PRESENT: u64 = 1;
    const WRITE: u64 = 2;
    const USER: u64 = 4;
    const TOUCHED: u64 = 0x60;
    const NO_EXECUTE: u64 = 1 << 63;
    let all = PRESENT | WRITE | USER | TOUCHED;
    put(memory, TABLES, (TABLES + 0x1000) | all);
    put(memory, TABLES + 0x1000, (TABLES + 0x2000) | all);
    for (directory, table) in [(SCRATCH >> 21, 0x4000), (CODE >> 21, 0x5000)] {
        put(memory, TABLES + 0x2000 + directory * 8, (TABLES + table) | all);
    }
    put(memory, TABLES + 256 * 8, (TABLES + 0x6000) | all);
    put(memory, TABLES + 0x6000, HIGH_DIRECTORY | all);
    put(memory, HIGH_DIRECTORY, (TABLES + 0x3000) | all);
    for page in 0..16 {
        put(memory, TABLES + 0x3000 + page * 8, page << 12 | PRESENT | WRITE | TOUCHED);
    }
    for page in 0..3 {
        put(memory, TABLES + 0x4000 + page * 8, (SCRATCH_AT + (page << 12)) | all | NO_EXECUTE);
    }
    put(memory, TABLES + 0x4000 + 24, (SCRATCH_AT + 0x3000) | PRESENT | USER | TOUCHED | NO_EXECUTE);
    for page in 0..(CODE_BYTES >> 12) as u64 {
        put(memory, TABLES + 0x5000 + page * 8, (CODE_AT + (page << 12)) | all);
    }
}

/// GDT, IDT, TSS and the handlers.
fn write_descriptors(memory: &GuestMemory) {
    for (selector, descriptor) in [
        (0x08, 0x00AF_9B00_0000_FFFF_u64),
        (0x10, 0x00CF_9300_0000_FFFF),
        (0x20, 0x00CF_FB00_0000_FFFF),
        (0x28, 0x00CF_F300_0000_FFFF),
        (0x30, 0x00AF_FB00_0000_FFFF),
        (0x40, 0x0000_8B00_0000_0067 | (TSS & 0xFFFF) << 16),
        (0x48, HIGH >> 32),
    ] {
        put(memory, GDT + selector, descriptor);
    }
    put(memory, TSS + 4, HIGH + STACK);
    // No I/O bitmap: its base lies beyond the limit.
    put(memory, TSS + 0x60, 0x68 << 48);
    for vector in 0..256 {
        let handler = HIGH + HANDLERS + vector;
        let dpl = if vector == 3 || vector == 4 { 3 } else { 0 };
        put(memory, IDT + 16 * vector, handler & 0xFFFF | 0x08 << 16 | (0x8E00 | dpl << 13) << 32);
        put(memory, IDT + 16 * vector + 8, HIGH >> 32);
        memory.write(PhysAddr(HANDLERS + vector), &[0xF4]);
    }
}

fn segment(selector: u16, attributes: u16) -> Segment {
    Segment { base: 0, limit: 0xFFFF_FFFF, attributes, selector }
}

impl Guest {
    pub fn new(mut backend: Box<dyn CpuBackend>, model: &Arc<CpuModel>, templates: Vec<Vec<u8>>) -> Guest {
        let memory = GuestMemory::new(8 << 20, &[]).unwrap();
        write_tables(&memory);
        write_descriptors(&memory);
        let vcpu = backend.create_vcpu(0, model, &memory, &VcpuSignals::new()).unwrap();
        memory.write(PhysAddr(SCRATCH_AT), &templates[0]);
        let mut base = vcpu.state();
        base.cr0 = 0x8005_0033;
        base.cr3 = TABLES;
        base.cr4 = 1 << 5 | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 16 | 1 << 18;
        base.efer = 0xD01;
        base.xcr0 = 7;
        base.cpl = 3;
        base.segments = [segment(0, 0); 6];
        base.segments[0] = segment(0x2B, 0xC0F3);
        base.segments[2] = segment(0x2B, 0xC0F3);
        base.segments[3] = segment(0x2B, 0xC0F3);
        base.gdtr = TableRegister { base: HIGH + GDT, limit: 0x4F };
        base.idtr = TableRegister { base: HIGH + IDT, limit: 0xFFF };
        base.tr = Segment { base: HIGH + TSS, limit: 0x67, attributes: 0x8B, selector: 0x40 };
        base.ldtr = Segment { base: 0, limit: 0, attributes: 0, selector: 0 };
        base.activity = Activity::Active;
        // Pages of 4 KiB that lie one after the other in the low RAM.
        let scratch = memory.backing(PhysAddr(SCRATCH_AT)).write;
        Guest { _backend: backend, memory, vcpu, base, templates, scratch }
    }

    /// Puts the code of a batch in place.
    pub fn load_code(&mut self, code: &[u8]) {
        self.memory.write(PhysAddr(CODE_AT), code);
    }

    /// Runs case `i`.
    pub fn run(&mut self, i: usize, case: &Case, outcome: &mut Outcome) {
        let template = &self.templates[case.template as usize];
        // SAFETY: the scratch pages are RAM, mapped in one piece, and nobody runs.
        unsafe { case.fill_scratch(template, self.scratch) };
        let slot = CODE + (i * SLOT) as u64;
        self.base.gpr = case.gpr;
        self.base.rip = slot;
        self.base.rflags = case.rflags;
        self.base.segments[1] = if case.bits == 32 { segment(0x23, 0xC0FB) } else { segment(0x33, 0xA0FB) };
        take_registers(&case.xsave.0, &mut self.base);
        self.base.retired = self.vcpu.retired();
        self.vcpu.set_state(&self.base);
        let exit = self.vcpu.run(&mut EmptyBoard::default(), BUDGET);
        let after = self.vcpu.state();
        outcome.gpr = after.gpr;
        give_registers(&after, &mut outcome.xsave.0);
        outcome.cr2 = 0;
        if exit == VcpuExit::Halted && (1..=256).contains(&after.rip.wrapping_sub(HIGH + HANDLERS)) {
            self.unwind(after.rip - HIGH - HANDLERS - 1, &after, slot, case, outcome);
        } else {
            outcome.vector = 0x1000 + matches!(exit, VcpuExit::Budget) as u32;
            (outcome.rip, outcome.rflags, outcome.error) = (after.rip.wrapping_sub(slot), after.rflags, 0);
        }
        // SAFETY: as above.
        let now = unsafe { std::slice::from_raw_parts(self.scratch, WRITABLE) };
        note_changes(outcome, &self.templates[case.template as usize][..WRITABLE], now);
    }

    /// Takes the interrupted program's registers from the frame.
    fn unwind(&mut self, vector: u64, after: &ArchState, slot: u64, case: &Case, outcome: &mut Outcome) {
        let has_error = matches!(vector, 8 | 10..=14 | 17);
        let frame = STACK - if has_error { 48 } else { 40 };
        let read = |n: u64| self.memory.read_u64(PhysAddr(frame + 8 * n));
        let first = has_error as u64;
        outcome.error = if has_error { read(0) } else { 0 };
        outcome.rip = read(first).wrapping_sub(slot);
        outcome.rflags = read(first + 2);
        outcome.gpr[4] = read(first + 3);
        outcome.vector = vector as u32;
        if vector == 14 {
            outcome.cr2 = after.cr2;
        }
        let stub = outcome.rip.wrapping_sub(1);
        if vector == 3 && (stub == case.code_len as u64 || stub == TAKEN as u64) {
            outcome.rip = stub;
            outcome.vector = NO_VECTOR;
        }
    }
}
