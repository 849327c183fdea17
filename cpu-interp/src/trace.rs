//! Where the interpreter tells a trace what happens.
//!
//! Exceptions, interrupts and accesses to ports, devices, MSRs and control registers are told of by the bodies that carry them out,
//! which translated code leaves for too: one test of a byte each, and nothing anywhere else.
//!
//! With a trace of instructions the vCPU runs *straight* blocks ([`Core::run_traced`]): blocks that end at each jump, with a
//! budget that covers nothing but the block. How much of the budget is gone says how many of their instructions have
//! retired, in a row from the first one; their bytes were copied before. Single steps are told of one by one. An
//! instruction's line stands before those of what it does.

#![allow(unsafe_code, reason = "code bytes are read from guest memory by pointer")]

use crate::cache::header;
use crate::core::{Core, mode};
use crate::decode::{MAX_INSTRUCTIONS, MAX_LENGTH};
use crate::op::{Exit, Op};
use iced_x86::{Decoder, DecoderOptions};
use trimotor_bus::memory::View;
use trimotor_bus::{Label, PhysAddr, Port, Width, guest_copy};
use trimotor_cpu::trace::{InterruptKind, Kinds, Place, Record, VcpuTrace, What};
use trimotor_cpu::{Fault, SegReg};

/// Bytes of a straight block.
const BLOCK_BYTES: usize = MAX_INSTRUCTIONS * MAX_LENGTH;
/// Bytes of a page.
const PAGE: usize = 4096;

/// The trace of a core.
#[derive(Default)]
pub struct Tracer {
    trace: Option<Box<VcpuTrace>>,
    /// Of `trace`; none without one.
    kinds: Kinds,
    running: Option<Box<Running>>,
}

/// The code that runs while instructions are traced.
struct Running {
    /// Where its next instruction that was not told of is.
    next: Place,
    bytes: [u8; BLOCK_BYTES],
    /// Of `bytes`: the instructions that were not told of.
    left: std::ops::Range<usize>,
    bits: u8,
    /// The instruction that was told of last: how many had retired before it, and its RIP. A repeated one is told of once.
    told: Option<(u64, u64)>,
    /// Lengths of instructions, by their bytes' hash: decoding is slow.
    lengths: Box<[(u128, u8)]>,
}

/// Entries of [`Running::lengths`].
const LENGTHS: usize = 1 << 13;

impl Running {
    fn new() -> Running {
        Running {
            next: Place { retired: 0, rip: 0, linear: 0, selector: 0, cpl: 0 },
            bytes: [0; BLOCK_BYTES],
            left: 0..0,
            bits: 64,
            told: None,
            lengths: vec![(0, 0); LENGTHS].into_boxed_slice(),
        }
    }
    /// The length of the next instruction, 0 where there is none.
    #[inline]
    fn length(&mut self) -> usize {
        let bytes = &self.bytes[self.left.clone()];
        let mut first = [0; 16];
        let given = bytes.len().min(MAX_LENGTH);
        first[..given].copy_from_slice(&bytes[..given]);
        // Bytes and mode together are the key.
        first[15] = self.bits;
        let key = u128::from_le_bytes(first);
        let hash = (key as u64 ^ (key >> 64) as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 51;
        let entry = &mut self.lengths[hash as usize % LENGTHS];
        if entry.0 != key {
            let mut decoder = Decoder::new(self.bits.into(), &first[..given], DecoderOptions::NONE);
            let length = if decoder.can_decode() { decoder.decode().len() } else { 0 };
            *entry = (key, length as u8);
        }
        usize::from(entry.1).min(given)
    }
}

impl Core {
    /// Whether records of these kinds are wanted.
    #[inline(always)]
    pub fn traces(&self, kinds: Kinds) -> bool {
        self.tracer.kinds.intersects(kinds)
    }
    /// Sets the trace, between two runs. Returns the one before.
    pub fn set_trace(&mut self, trace: Option<Box<VcpuTrace>>) -> Option<Box<VcpuTrace>> {
        let tracer = &mut self.tracer;
        tracer.kinds = trace.as_ref().map_or(Kinds::empty(), |trace| trace.kinds());
        tracer.running = tracer.kinds.contains(Kinds::INSN).then(|| Box::new(Running::new()));
        std::mem::replace(&mut tracer.trace, trace)
    }
    /// The trace.
    pub fn trace(&self) -> Option<&VcpuTrace> {
        self.tracer.trace.as_deref()
    }
    /// At the end of a run: what was collected goes out. A trace that has ended is not asked any more.
    pub(crate) fn flush_trace(&mut self) {
        let tracer = &mut self.tracer;
        let Some(trace) = &mut tracer.trace else { return };
        trace.flush();
        tracer.kinds = trace.kinds();
        if tracer.kinds.is_empty() {
            tracer.running = None;
        }
    }

    /// Where the vCPU is: at the instruction whose body runs, or between two.
    fn trace_place(&self) -> Place {
        self.trace_place_at(self.current_rip())
    }
    fn trace_place_at(&self, rip: u64) -> Place {
        let linear = if self.state.is_64bit_code() {
            rip
        } else {
            self.state.seg(SegReg::Cs).base.wrapping_add(rip) & 0xFFFF_FFFF
        };
        let selector = self.state.seg(SegReg::Cs).selector;
        Place { retired: self.retired_before_current(), rip, linear, selector, cpl: self.state.cpl }
    }
    fn tell(&mut self, what: What) {
        let place = self.trace_place();
        self.tell_from(place, what);
    }
    #[cold]
    fn tell_from(&mut self, place: Place, what: What) {
        if self.traces(Kinds::INSN) && !self.current.is_null() {
            self.tell_instructions(place.retired.wrapping_add(1));
        }
        if let Some(trace) = &mut self.tracer.trace
            && trace.takes(&place)
        {
            trace.push(Record { place, what });
        }
    }

    /// An exception is about to be delivered.
    #[inline]
    pub(crate) fn trace_exception(&mut self, fault: Fault) {
        if self.traces(Kinds::EXC) {
            let cr2 = self.state.cr2;
            // RIP is up to date. Where a body raises an exception itself, its instruction is another one by now.
            let place = self.trace_place_at(self.state.rip);
            self.tell_from(place, What::Exception { fault, cr2 });
        }
        self.trace_event_follows();
    }
    /// An interrupt is about to be delivered.
    #[inline]
    pub(crate) fn trace_interrupt(&mut self, kind: InterruptKind) {
        if self.traces(Kinds::INT) {
            self.tell(What::Interrupt(kind));
        }
        self.trace_event_follows();
    }
    /// What runs next is no repetition, wherever it is.
    #[inline]
    fn trace_event_follows(&mut self) {
        if let Some(running) = &mut self.tracer.running {
            running.told = None;
        }
    }
    /// A port was read or written by the instruction that runs.
    #[inline]
    pub(crate) fn trace_port(&mut self, port: u16, (write, string): (bool, bool), width: Width, value: u32) {
        if self.traces(Kinds::IO) {
            let label = self.bus().port_label(Port(port));
            self.tell(What::Port { port: Port(port), write, string, width, value, label });
        }
    }
    /// Memory of a device was read or written.
    #[inline]
    pub(crate) fn trace_mmio(&mut self, address: PhysAddr, write: bool, width: Width, value: u64) {
        if self.traces(Kinds::MMIO) {
            let label: Label = self.bus().memory_label(address);
            self.tell(What::Mmio { address, write, width, value, label });
        }
    }
    /// RDMSR or WRMSR is done.
    #[inline]
    pub(crate) fn trace_msr(&mut self, index: u32, write: bool, value: u64) {
        if self.traces(Kinds::MSR) {
            self.tell(What::Msr { index, write, value });
        }
    }
    /// A control register is about to be written, or was.
    #[inline]
    pub(crate) fn trace_control(&mut self, mnemonic: &'static str, register: u8, value: u64) {
        if self.traces(Kinds::CR) {
            self.tell(What::Control { mnemonic, register, value });
        }
    }

    /// Runs straight blocks until there is something to look at: one.
    pub fn run_traced(&mut self) -> Exit {
        let rip = self.state.rip;
        let first = match self.find_straight(rip) {
            Ok(first) => first,
            Err(fault) => {
                self.fault = fault;
                return Exit::Fault;
            }
        };
        // SAFETY: `first` is the first op of a block.
        let charge = unsafe { (*header(first)).charge };
        let rest = self.state.budget - charge;
        if rest < 0 {
            return Exit::Budget;
        }
        self.begin_instructions(rip, first);
        // What the block links or jumps to does not run.
        self.shift_budget(-rest);
        let exit = self.run_block(first, rip);
        self.shift_budget(rest);
        self.end_instructions(exit);
        if exit == Exit::Budget { Exit::Lookup } else { exit }
    }
    /// The code at `rip` is about to run, a block that starts with `first`.
    #[inline(never)]
    pub(crate) fn begin_instructions(&mut self, rip: u64, first: *const Op) {
        let retired = self.retired_before_current();
        // SAFETY: `first` is the first op of a block.
        let size = usize::from(unsafe { (*header(first)).bytes }).min(BLOCK_BYTES);
        let linear = self.next_linear();
        let Some(mut running) = self.tracer.running.take() else { return };
        let read = self.copy_code(linear, &mut running.bytes[..size]);
        running.left = 0..read;
        let selector = self.state.seg(SegReg::Cs).selector;
        running.next = Place { retired, rip, linear, selector, cpl: self.state.cpl };
        running.bits = match self.state.mode & mode::CODE_SIZE {
            mode::CODE16 => 16,
            mode::CODE32 => 32,
            _ => 64,
        };
        self.tracer.running = Some(running);
    }
    /// It was left: what of it has run is told of, with the instruction that faulted.
    #[inline(never)]
    pub(crate) fn end_instructions(&mut self, exit: Exit) {
        let ran = (self.budget_mark - self.state.budget) as u64;
        let end = self.state.retired.wrapping_add(ran).wrapping_add(u64::from(exit == Exit::Fault));
        self.tell_instructions(end);
        if let Some(running) = &mut self.tracer.running {
            running.left = 0..0;
        }
    }
    /// Tells of the instructions of the code that runs before that which `end` instructions retire before.
    fn tell_instructions(&mut self, end: u64) {
        let tracer = &mut self.tracer;
        let (Some(running), Some(trace)) = (&mut tracer.running, &mut tracer.trace) else { return };
        while running.next.retired < end {
            let length = running.length();
            if length == 0 && running.left.start != 0 {
                return;
            }
            let place = running.next;
            let is_told = running.told == Some((place.retired, place.rip));
            if !is_told && trace.takes(&place) {
                let mut bytes = [0; MAX_LENGTH];
                bytes[..length].copy_from_slice(&running.bytes[running.left.start..][..length]);
                let what = What::Instruction { bytes, len: length as u8, bits: running.bits };
                trace.push(Record { place, what });
            }
            running.told = Some((place.retired, place.rip));
            let next = |at: u64, mask: u64| at.wrapping_add(length as u64) & mask;
            let mask = if running.bits == 64 { u64::MAX } else { 0xFFFF_FFFF };
            let (rip, linear) = (next(place.rip, mask), next(place.linear, mask));
            running.next = Place { retired: place.retired + 1, rip, linear, ..place };
            running.left.start += length;
            if length == 0 {
                return;
            }
        }
    }
    /// Copies code from guest memory, without a side effect; how much of it could be read.
    fn copy_code(&mut self, linear: u64, into: &mut [u8]) -> usize {
        let here = into.len().min(PAGE - linear as usize % PAGE);
        let mut done = 0;
        if let Ok(Some(host)) = self.fetch_host(linear) {
            // SAFETY: `host` lies in a mapped page of guest memory, and `here` bytes stay within it.
            unsafe { guest_copy::read(host as *const u8, &mut into[..here]) };
            done = here;
        }
        if done < here || done == into.len() {
            return done;
        }
        let next = self.linear_of_next_page(linear);
        let Some(at) = self.mmu.inspect(&self.state, next, &mut Vec::new()) else { return done };
        done + self.memory.read_for(at, &mut into[done..], View::of(self.state.in_smm))
    }
    fn linear_of_next_page(&self, linear: u64) -> u64 {
        (linear | (PAGE as u64 - 1)).wrapping_add(1) & self.linear_mask(crate::access::By::Instruction)
    }
}
