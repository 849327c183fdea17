//! One vCPU of the interpreter: its state and what it works with.

#![allow(
    unsafe_code,
    reason = "the register file is accessed by byte offset; the bus is a pointer for one run"
)]

use crate::cache::{CodeCache, JumpCache};
use crate::debugger::Debugger;
use crate::insn::port_io::IoAccess;
pub use crate::op::{Done, Op};
use crate::trace::Tracer;
use std::ptr::NonNull;
use std::sync::Arc;
use trimotor_bus::{CpuBus, GuestMemory, VcpuSignals, Width};
use trimotor_cpu::backend::ShutdownReport;
use trimotor_cpu::flags::Rflags;
use trimotor_cpu::mmu::Mmu;
use trimotor_cpu::model::CpuModel;
use trimotor_cpu::registers::{Cr0, Cr4, xfeature};
use trimotor_cpu::state::reg_file;
use trimotor_cpu::{CpuState, Fault, SegReg, Segment};

/// A value that general registers hold.
pub trait Int: Copy + Default + Eq + 'static {
    /// Bytes.
    const BYTES: usize;
    /// Bits.
    const BITS: u32 = Self::BYTES as u32 * 8;
    /// Zero-extends.
    fn to_u64(self) -> u64;
    /// Sign-extends.
    fn to_i64(self) -> i64;
    /// Cuts.
    fn cut(value: u64) -> Self;
    /// LOCK CMPXCHG: stores `new` at `at` if it holds `old`; false where it does not. The bytes need not be
    /// aligned.
    ///
    /// # Safety
    /// The bytes at `at` are mapped and writable.
    unsafe fn replace(at: *mut Self, old: Self, new: Self) -> bool;
}
macro_rules! int {
    ($($t:ty, $s:ty, $class:ident, $a:tt, $new:literal);*) => {$(
        impl Int for $t {
            const BYTES: usize = size_of::<$t>();
            #[inline(always)]
            fn to_u64(self) -> u64 { self as u64 }
            #[inline(always)]
            fn to_i64(self) -> i64 { self as $s as i64 }
            #[inline(always)]
            fn cut(value: u64) -> Self { value as $t }
            #[cfg(target_arch = "x86_64")]
            #[inline]
            unsafe fn replace(at: *mut $t, old: $t, new: $t) -> bool {
                let equal: u8;
                // SAFETY: the caller's promise. An atomic operation of Rust would need alignment.
                unsafe {
                    std::arch::asm!(
                        concat!("lock cmpxchg [{at}], ", $new),
                        "sete {equal}",
                        at = in(reg) at,
                        new = in($class) new,
                        equal = out(reg_byte) equal,
                        inout($a) old => _,
                        options(nostack),
                    );
                }
                equal != 0
            }
            // Elsewhere no engine runs vCPUs at the same time.
            #[cfg(not(target_arch = "x86_64"))]
            #[inline]
            unsafe fn replace(at: *mut $t, old: $t, new: $t) -> bool {
                // SAFETY: the caller's promise.
                unsafe {
                    let equal = at.read_unaligned() == old;
                    if equal {
                        at.write_unaligned(new);
                    }
                    equal
                }
            }
        }
    )*};
}
int!(
    u8, i8, reg_byte, "al", "{new}"; u16, i16, reg, "ax", "{new:x}"; u32, i32, reg, "eax", "{new:e}";
    u64, i64, reg, "rax", "{new:r}"
);

/// Bits of the mode that code is decoded for (`CpuState::mode`, 24 bits).
pub mod mode {
    /// Default operand size: 16 bits.
    pub const CODE16: u32 = 0;
    /// Default operand size: 32 bits.
    pub const CODE32: u32 = 1;
    /// 64-bit mode.
    pub const CODE64: u32 = 2;
    /// Mask of the code size.
    pub const CODE_SIZE: u32 = 3;
    /// SS.B: ESP rather than SP (not in 64-bit mode).
    pub const STACK32: u32 = 1 << 2;
    /// First of six bits, by segment register: no access through it needs a check.
    pub const OPEN_SHIFT: u32 = 3;
    /// CS is open too: its limit needs no check.
    pub const OPEN_CS: u32 = 1 << (OPEN_SHIFT + 1);
    /// Protected mode without virtual-8086 mode.
    pub const PROTECTED: u32 = 1 << 9;
    /// Virtual-8086 mode.
    pub const V86: u32 = 1 << 10;
    /// CPL 3.
    pub const USER: u32 = 1 << 11;
    /// CR0.EM.
    pub const EM: u32 = 1 << 12;
    /// CR0.TS.
    pub const TS: u32 = 1 << 13;
    /// CR0.MP.
    pub const MP: u32 = 1 << 14;
    /// CR4.OSFXSR.
    pub const SSE: u32 = 1 << 15;
    /// CR4.OSXSAVE and XCR0 with SSE and AVX.
    pub const AVX: u32 = 1 << 16;
    /// Some SSE exception is unmasked.
    pub const FP_CHECKED: u32 = 1 << 17;
    /// Alignment checks are on.
    pub const ALIGN: u32 = 1 << 18;
}

/// Instructions between two looks at the vCPU's pins, which other threads raise: the budget of a run is spent in such
/// parts, so that a run of any length ends soon after a kick, whatever an instruction costs. Some microseconds, or a
/// millisecond where each instruction takes as long as FSIN does. A tenth of it made the translator 5 % slower: the end of a
/// quantum goes through cold code, a different piece for each block.
pub const QUANTUM: i64 = 10_000;

/// One vCPU. `state` stands first, so that a pointer to the one is a pointer to the other.
#[repr(C)]
pub struct Core {
    /// Registers and all.
    pub state: CpuState,
    /// What an engine around the interpreter keeps with the vCPU, for that engine to use; null if it is the interpreter alone.
    pub engine_area: *mut (),
    /// Paging.
    pub mmu: Mmu,
    /// Guest memory.
    pub memory: Arc<GuestMemory>,
    /// What CPUID says.
    pub model: Arc<CpuModel>,
    /// The vCPU's pins.
    pub signals: Arc<VcpuSignals>,
    /// The vCPU's number and initial APIC id.
    pub id: u32,
    /// The exception that ended the last block.
    pub fault: Fault,
    /// Something happened that ends the block after the current instruction: code of the block was
    /// written, a device raised a pin, a data breakpoint was hit.
    pub attention: bool,
    /// The op whose body runs (or whose slow path does).
    pub current: *const Op,
    /// Where a loop dispatch goes on.
    pub next_op: *const Op,
    /// Decoded code; valid during a run.
    pub(crate) code: *mut CodeCache,
    /// Other vCPUs may run at the same time: locked instructions are atomic.
    pub atomic: bool,
    pub(crate) jumps: JumpCache,
    bus: Option<NonNull<dyn CpuBus>>,
    /// `budget` at which `retired` was last brought up to date.
    pub budget_mark: i64,
    /// What the run may retire beyond `state.budget`: see [`QUANTUM`].
    pub budget_reserve: i64,
    /// `state.retired` when the present run began.
    pub(crate) run_began: u64,
    /// See `Vcpu::set_exact_budget`.
    pub exact_budget: bool,
    /// An external interrupt that was acknowledged elsewhere, and is delivered before anything else.
    pub(crate) injected: Option<u8>,
    /// `state.retired` when a repeated string instruction was last left between two iterations.
    pub(crate) repeating_at: u64,
    /// How often that happened in the present run.
    pub(crate) portions: u32,
    /// `state.retired` when a fault was last delivered.
    pub(crate) faulted_at: u64,
    /// Faults since an instruction retired, or since a run ended for them.
    pub(crate) faults_in_a_row: u32,
    /// The last access to a port.
    pub(crate) last_io: IoAccess,
    /// What a debugger outside the guest wants.
    pub debugger: Debugger,
    /// Whom what happens is told to.
    pub(crate) tracer: Tracer,
    /// What led to a shutdown.
    pub shutdown: ShutdownReport,
    /// The chain of faults under delivery, for the report.
    pub fault_chain: Vec<String>,
    /// Counts for statistics.
    pub counts: Counts,
}

/// What the interpreter counts.
#[derive(Default, Debug, Clone)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Counts {
    pub lookups: u64,
    pub faults: u64,
    pub interrupts: u64,
    pub slow_reads: u64,
    pub slow_writes: u64,
    pub single_steps: u64,
    pub stale_uses_told: u64,
}

// SAFETY: the raw pointers are used only during a run, on the thread that runs.
unsafe impl Send for Core {}

impl Core {
    /// A vCPU after RESET.
    pub fn new(id: u32, model: Arc<CpuModel>, memory: Arc<GuestMemory>, signals: Arc<VcpuSignals>) -> Core {
        let mmu = Mmu::new(memory.clone(), id as usize, model.phys_bits, model.gib_pages());
        let mut core = Core {
            state: CpuState::at_reset(model.signature),
            engine_area: std::ptr::null_mut(),
            mmu,
            memory,
            model,
            signals,
            id,
            fault: Fault::UD,
            attention: false,
            current: std::ptr::null(),
            next_op: std::ptr::null(),
            code: std::ptr::null_mut(),
            atomic: false,
            jumps: JumpCache::new(),
            bus: None,
            budget_mark: 0,
            budget_reserve: 0,
            run_began: 0,
            exact_budget: true,
            injected: None,
            repeating_at: u64::MAX,
            portions: 0,
            faulted_at: 0,
            faults_in_a_row: 0,
            last_io: IoAccess::default(),
            debugger: Debugger::default(),
            tracer: Tracer::default(),
            shutdown: ShutdownReport::default(),
            fault_chain: Vec::new(),
            counts: Counts::default(),
        };
        core.mode_changed();
        core
    }

    /// Reads a general register by its offset in the register file.
    #[inline(always)]
    pub fn reg<T: Int>(&self, offset: u8) -> T {
        // SAFETY: offset + BYTES stays within `CpuState`, which is larger than 255 + 8 bytes, and
        // any bytes are a valid T.
        unsafe { (self as *const Core as *const u8).add(offset as usize).cast::<T>().read_unaligned() }
    }
    /// Writes a general register by its offset in the register file; 32-bit values zero the upper half.
    #[inline(always)]
    pub fn set_reg<T: Int>(&mut self, offset: u8, value: T) {
        // SAFETY: as in `reg`; offsets of registers are at most 15 * 8 + 1.
        unsafe {
            let at = (self as *mut Core as *mut u8).add(offset as usize);
            if T::BYTES == 4 {
                at.cast::<u64>().write_unaligned(value.to_u64());
            } else {
                at.cast::<T>().write_unaligned(value);
            }
        }
    }
    /// A whole entry of the register file, zero-extended registers included.
    #[inline(always)]
    pub fn reg64(&self, offset: u8) -> u64 {
        self.state.reg_file[(offset / 8) as usize & 31]
    }

    /// A call to the board. It may wait there for a device's lock, which another thread holds that waits for this vCPU to
    /// serve a request: so it counts as outside meanwhile, and serves what was asked before it goes on (see
    /// [`peers`](trimotor_bus::peers)). What was found out about memory before holds no longer. Call only from instruction
    /// bodies.
    pub fn on_bus<R>(&mut self, call: impl FnOnce(&mut dyn CpuBus) -> R) -> R {
        self.memory.peers().leave(self.id as usize);
        let answer = call(self.bus());
        self.memory.peers().enter(self.id as usize);
        if self.board_wants_attention() {
            self.back_from_board();
        }
        answer
    }
    #[cold]
    fn back_from_board(&mut self) {
        self.attention = true;
        self.serve_board();
    }
    /// The board, for what it answers without a lock. Call only from instruction bodies.
    pub(crate) fn bus(&mut self) -> &mut dyn CpuBus {
        let retired = self.retired_before_current();
        let Some(mut bus) = self.bus else { unreachable!("the bus is there during a run") };
        // SAFETY: `run` put the pointer there from a reference that it holds for the whole run, and
        // nobody else uses it meanwhile.
        let bus = unsafe { bus.as_mut() };
        bus.set_retired(retired.wrapping_sub(self.run_began));
        bus
    }
    pub(crate) fn set_bus(&mut self, bus: Option<NonNull<dyn CpuBus>>) {
        self.bus = bus;
    }
    /// Whether the run loop must look around: pins, DMA into code, changes of the memory map.
    pub(crate) fn board_wants_attention(&self) -> bool {
        let pending = self.signals.pending();
        pending != 0 && pending & !self.masked_signals() != 0
            || self.memory.peers().is_asked(self.id as usize)
            || self.memory.map_generation() != self.mmu.map_generation()
    }
    /// Signals that wait for something which the vCPU does later, and looks at them then: an interrupt that is masked is no
    /// reason to end a block at each access to a device meanwhile.
    pub(crate) fn masked_signals(&self) -> u32 {
        let masked = |signal: u32, is_masked: bool| if is_masked { signal } else { 0 };
        masked(VcpuSignals::INTR, !self.state.rflags.contains(Rflags::IF))
            | masked(VcpuSignals::NMI, self.state.nmi_blocked)
            | masked(VcpuSignals::SMI, self.state.in_smm)
    }
    /// Reads a port as an IN instruction does, after all checks.
    pub fn port_in(&mut self, port: u16, width: Width) -> u32 {
        self.on_bus(|bus| bus.port_read(trimotor_bus::Port(port), width))
    }
    /// Writes a port as an OUT instruction does, after all checks.
    pub fn port_out(&mut self, port: u16, width: Width, value: u32) {
        self.on_bus(|bus| bus.port_write(trimotor_bus::Port(port), width, value));
    }

    /// RIP of the op.
    #[inline]
    pub fn this_rip(&self, op: &Op) -> u64 {
        self.cut_rip(self.reg64(reg_file::BLOCK_RIP).wrapping_add(op.offset as u64))
    }
    /// RIP of the instruction whose body runs.
    pub fn current_rip(&self) -> u64 {
        // SAFETY: `current` is null or points to an op of the running block.
        unsafe { self.current.as_ref() }.map_or(self.state.rip, |op| self.this_rip(op))
    }
    /// RIP after the op.
    #[inline]
    pub fn next_rip(&self, op: &Op) -> u64 {
        self.cut_rip(self.reg64(reg_file::BLOCK_RIP).wrapping_add(op.offset as u64 + op.len as u64))
    }
    /// Cuts an instruction pointer to the code size.
    #[inline]
    pub fn cut_rip(&self, rip: u64) -> u64 {
        match self.state.mode & mode::CODE_SIZE {
            mode::CODE64 => rip,
            _ => rip & 0xFFFF_FFFF,
        }
    }
    /// Ends the block after the current instruction, which goes on at `rip`: what a control transfer
    /// or a mode change returns.
    #[inline]
    pub fn leave(&mut self, rip: u64) -> Done {
        self.state.rip = rip;
        Err(Fault::LEAVE)
    }

    /// Instructions retired before the current op.
    pub fn retired_before_current(&self) -> u64 {
        // SAFETY: `current` is null or points to an op of the running block.
        let unspent = unsafe { self.current.as_ref() }.map_or(0, |op| op.left as i64 + 1);
        self.state.retired.wrapping_add((self.budget_mark - self.state.budget - unspent) as u64)
    }
    /// Brings `state.retired` up to date; between blocks only.
    pub(crate) fn sync_retired(&mut self) {
        self.state.retired = self.state.retired.wrapping_add((self.budget_mark - self.state.budget) as u64);
        self.budget_mark = self.state.budget;
        // No op runs now: accesses while an exception is delivered come after all that retired.
        self.current = std::ptr::null();
    }
    pub(crate) fn set_budget(&mut self, budget: i64) {
        self.state.budget = budget.min(QUANTUM);
        self.budget_mark = self.state.budget;
        self.budget_reserve = budget - self.state.budget;
    }
    /// Goes on with the next quantum of the run's budget; false where all of it is spent or in `state.budget`.
    pub(crate) fn next_quantum(&mut self) -> bool {
        let next = self.budget_reserve.min(QUANTUM);
        self.budget_reserve -= next;
        self.shift_budget(next);
        next > 0
    }
    /// Changes the budget without counting it as spent.
    pub(crate) fn shift_budget(&mut self, by: i64) {
        self.state.budget += by;
        self.budget_mark += by;
    }
    /// Inhibits interrupts for the next instruction (STI, MOV SS, POP SS). Call from the body.
    pub fn set_shadow(&mut self, is_ss: bool) {
        self.state.shadow_at = self.retired_before_current() + 1;
        self.state.shadow_is_ss = is_ss;
    }

    /// Whether the instruction at RIP is a repeated string instruction, of which some iterations are done.
    pub(crate) fn is_repeating(&self) -> bool {
        self.repeating_at == self.state.retired
    }

    /// NMIs are not blocked any more, after IRET or RSM.
    pub(crate) fn unblock_nmis(&mut self) {
        if std::mem::take(&mut self.state.nmi_blocked) {
            self.signals.keep_one_nmi();
        }
    }

    /// Recomputes what depends on mode and segments: derived entries of the register file, the decode mode, the table.
    pub fn mode_changed(&mut self) {
        self.state.refresh_derived();
        self.state.mode = decode_mode(&self.state);
        self.mmu.select(&mut self.state);
    }
    /// The same where code of 64 bits goes on as code of 64 bits, and nothing but CS, SS, the CPL and RFLAGS
    /// changed.
    #[inline]
    pub(crate) fn level_changed(&mut self) {
        let user = self.state.cpl == 3;
        let m = self.state.mode & !(mode::USER | mode::ALIGN);
        self.state.mode = m | user_mode(&self.state, user);
        debug_assert_eq!(self.state.mode, decode_mode(&self.state));
        self.mmu.select(&mut self.state);
    }
}

/// The bits of the mode that are those of user mode.
#[inline]
fn user_mode(s: &CpuState, user: bool) -> u32 {
    let align = user && s.cr0.contains(Cr0::AM) && s.rflags.contains(Rflags::AC);
    (user as u32 * mode::USER) | (align as u32 * mode::ALIGN)
}

/// The mode that code is decoded for, as `state` stands.
fn decode_mode(s: &CpuState) -> u32 {
    let cs = s.seg(SegReg::Cs);
    let long = s.is_64bit_code();
    let mut m = if long {
        mode::CODE64
    } else if cs.is_32bit() {
        mode::CODE32
    } else {
        mode::CODE16
    };
    // Interrupts from user mode leave SS null: code of 64 bits must not be another because of that.
    if !long && s.seg(SegReg::Ss).is_32bit() {
        m |= mode::STACK32;
    }
    if long {
        m |= 0x3F << mode::OPEN_SHIFT;
    } else {
        m |= open_segments(s);
    }
    let bit = |on: bool, bit: u32| if on { bit } else { 0 };
    let avx = xfeature::SSE | xfeature::AVX;
    m | bit(s.protected() && !s.v86(), mode::PROTECTED)
        | bit(s.v86(), mode::V86)
        | user_mode(s, s.cpl == 3)
        | bit(s.cr0.contains(Cr0::EM), mode::EM)
        | bit(s.cr0.contains(Cr0::TS), mode::TS)
        | bit(s.cr0.contains(Cr0::MP), mode::MP)
        | bit(s.cr4.contains(Cr4::OSFXSR), mode::SSE)
        | bit(s.cr4.contains(Cr4::OSXSAVE) && s.xcr0 & avx == avx, mode::AVX)
        | bit(s.mxcsr >> 7 & 0x3F != 0x3F, mode::FP_CHECKED)
}

/// The bits of the mode that say which segments are open, outside 64-bit mode.
fn open_segments(s: &CpuState) -> u32 {
    let mut m = 0;
    for reg in SegReg::ALL {
        let seg = s.seg(reg);
        let open = if reg == SegReg::Cs {
            seg.limit == u32::MAX && seg.attributes & (Segment::RW | Segment::P) == Segment::RW | Segment::P
        } else {
            seg.is_open()
        };
        m |= (open as u32) << (mode::OPEN_SHIFT + reg as u32);
    }
    m
}
