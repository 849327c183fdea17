//! The run loop: runs blocks, and looks around between them.

#![allow(
    unsafe_code,
    reason = "blocks are entered by pointer; the bus and the cache are pointers for one run"
)]

use crate::cache::{CodeCache, header};
use crate::core::Core;
use crate::events;
use crate::insn::branch_record::{self, Branch};
use crate::op::{At, Exit, Op, run};
use trimotor_bus::peers::Written;
use trimotor_bus::{GuestMemory, VcpuSignals};
use trimotor_cpu::Fault;
use trimotor_cpu::backend::VcpuExit;
use trimotor_cpu::flags::Rflags;
use trimotor_cpu::state::{Activity, reg_file};
use trimotor_cpu::trace::Kinds;

impl Core {
    pub(crate) fn code(&mut self) -> &mut CodeCache {
        // SAFETY: `run_with` set `code` for the run, and nobody else uses it meanwhile.
        unsafe { &mut *self.code }
    }

    /// Whether this run has retired an instruction.
    fn has_retired(&mut self) -> bool {
        self.sync_retired();
        self.state.retired != self.run_began
    }

    pub(crate) fn run_loop(&mut self, blocks: &mut dyn FnMut(&mut Core) -> Exit) -> VcpuExit {
        loop {
            self.sync_retired();
            if self.debugger_has_stop() {
                return VcpuExit::Debugger;
            }
            let (steps_by_event, before) = (self.steps_by_event(), self.state.retired);
            if let Some(exit) = self.poll_events() {
                return exit;
            }
            if steps_by_event {
                self.step_done();
                return VcpuExit::Debugger;
            }
            if self.debugger_stops_ahead() {
                return VcpuExit::Debugger;
            }
            if self.state.budget <= 0 && !self.next_quantum() {
                return VcpuExit::Budget;
            }
            if self.repeats_long() {
                if self.faults_in_a_row < self.most_repeats() {
                    return VcpuExit::Budget;
                }
                self.faults_in_a_row = 0;
                return VcpuExit::Faulting;
            }
            // What happened between blocks ends none: the look-up sees it. Left over, it would end the first
            // instruction that looks, after the first of its ops.
            self.attention = false;
            let exit = if self.must_step() { self.step_one() } else { blocks(self) };
            match exit {
                // The pins are looked at, and the next block is found again.
                Exit::Budget if self.next_quantum() => self.handle_exit(exit),
                Exit::Budget if !self.exact_budget && self.has_retired() => return VcpuExit::Budget,
                Exit::Budget if self.state.budget > 0 => {
                    // The rest of the budget ends within a block.
                    self.sync_retired();
                    loop {
                        let exit = self.step_one();
                        self.handle_exit(exit);
                        if exit != Exit::Lookup
                            || self.state.budget <= 0
                            || self.board_wants_attention()
                            || self.must_step()
                            || self.state.activity != Activity::Active
                        {
                            break;
                        }
                    }
                }
                exit => self.handle_exit(exit),
            }
            if self.holds_interrupts() || self.steps_by_event() {
                self.end_step(exit, before);
            }
            if self.state.activity == Activity::Shutdown {
                return VcpuExit::Shutdown(Box::new(std::mem::take(&mut self.shutdown)));
            }
        }
    }

    /// Whether repeated string instructions were left between two iterations, or faults led to faults, so often that
    /// the run ends: nothing retires meanwhile, and the board must get its turn. With an exact budget much later, as
    /// there no time passes meanwhile.
    #[inline]
    pub(crate) fn repeats_long(&self) -> bool {
        self.portions.max(self.faults_in_a_row) >= self.most_repeats()
    }
    fn most_repeats(&self) -> u32 {
        if self.exact_budget { 1 << 16 } else { 1 << 8 }
    }

    /// Delivers the fault that ended a block, if one did.
    pub fn handle_exit(&mut self, exit: Exit) {
        self.sync_retired();
        if exit == Exit::Fault {
            self.counts.faults += 1;
            if std::mem::replace(&mut self.faulted_at, self.state.retired) != self.state.retired {
                self.faults_in_a_row = 0;
            }
            self.faults_in_a_row += 1;
            self.debugger.forget_access();
            let fault = self.fault;
            events::raise(self, fault);
        }
    }

    /// Between blocks: what other vCPUs ask, DMA into code, changes of the memory map, debug traps, pins.
    ///
    /// A kick comes last. It ends the run where the vCPU stands as it would without the kick, with nothing left
    /// to deliver, so that a run that is cut by kicks and one that is not are the same.
    fn poll_events(&mut self) -> Option<VcpuExit> {
        if self.signals.pending() & VcpuSignals::LOOK != 0 {
            // Before what it is about is looked at, so that a later one stays.
            self.signals.take(VcpuSignals::LOOK);
        }
        self.mmu.catch_up(&mut self.state);
        self.serve_board();
        if let Some(vector) = self.injected.take() {
            self.counts.interrupts += 1;
            self.current = std::ptr::null();
            events::external(self, vector);
        }
        if self.state.pending_debug != 0 && matches!(self.state.activity, Activity::Active | Activity::Halted)
        {
            events::after_instruction(self);
        }
        let kicked = self.signals.pending() != 0 && self.take_signals();
        match self.state.activity {
            Activity::Active => kicked.then_some(VcpuExit::Budget),
            Activity::Shutdown => Some(VcpuExit::Shutdown(Box::new(std::mem::take(&mut self.shutdown)))),
            Activity::Halted | Activity::WaitForSipi => Some(VcpuExit::Halted),
        }
    }

    /// Does what other vCPUs and the board ask, and follows changes of the memory map.
    #[inline]
    pub(crate) fn serve_board(&mut self) {
        if self.memory.peers().is_asked(self.id as usize) {
            self.serve_peers();
        }
        if self.memory.map_generation() != self.mmu.map_generation() {
            self.mmu.check_memory_map(&mut self.state);
            self.jumps.clear();
        }
    }
    /// Does what other vCPUs ask: gives up the right to write pages inline, and drops code that was written
    /// by them or by devices.
    #[cold]
    pub(crate) fn serve_peers(&mut self) {
        self.mmu.serve_protect();
        let memory = self.memory.clone();
        let cpu = self.id as usize;
        memory.peers().serve_written(cpu, |write| {
            let killed = match write {
                Some(write) => self.peer_wrote(&memory, write),
                None => {
                    self.mmu.flush_all(&mut self.state);
                    self.code().all_written(&memory);
                    true
                }
            };
            self.attention |= killed;
        });
    }
    /// True if code was dropped.
    fn peer_wrote(&mut self, memory: &GuestMemory, write: Written) -> bool {
        let Written { ram_page, offset, bytes, by_device } = write;
        if by_device {
            self.mmu.device_wrote(&mut self.state, ram_page, offset, bytes);
        }
        let at = memory.ram_page_host(ram_page).wrapping_add(offset as usize);
        self.code().written(memory, at, bytes)
    }

    /// The signals that are taken before the next instruction, as the state stands. Those that end a halt are the same.
    pub(crate) fn open_signals(&self) -> u32 {
        use VcpuSignals as S;
        let s = &self.state;
        match s.activity {
            Activity::WaitForSipi => return S::INIT | S::SIPI,
            Activity::Shutdown => return S::INIT,
            Activity::Active | Activity::Halted => {}
        }
        if self.holds_interrupts() {
            return S::INIT;
        }
        // Nothing is in the shadow of STI or MOV SS but the next instruction, which a halt does not come to.
        let shadow = s.shadow_at == s.retired && s.activity == Activity::Active;
        let ss_shadow = shadow && s.shadow_is_ss;
        let shadowed = match (shadow, ss_shadow) {
            (_, true) => S::SMI | S::NMI | S::INTR,
            (true, false) => S::INTR,
            (false, false) => 0,
        };
        S::INIT | (S::SMI | S::NMI | S::INTR) & !(self.masked_signals() | shadowed)
    }

    /// Takes interrupts and other pins until none is open; whether a kick was among them.
    fn take_signals(&mut self) -> bool {
        let kicked = self.signals.take(VcpuSignals::KICK) != 0;
        while self.take_signal() {}
        kicked
    }
    /// Takes the pin of the highest priority; false where none is open.
    fn take_signal(&mut self) -> bool {
        use VcpuSignals as S;
        let pending = self.signals.pending();
        if pending & S::INIT != 0 && self.signals.take(S::INIT) != 0 {
            events::init(self);
        }
        let open = pending & self.open_signals();
        if self.state.activity == Activity::WaitForSipi {
            let starts = open & S::SIPI != 0 && self.signals.take(S::SIPI) != 0;
            if starts {
                let vector = self.signals.startup_vector();
                events::startup(self, vector);
            }
            return starts;
        }
        self.signals.take(S::SIPI);
        if open & S::SMI != 0 && self.signals.take(S::SMI) != 0 {
            events::enter_smm(self);
            return true;
        }
        if open & S::NMI != 0 && self.signals.take_nmi() {
            self.counts.interrupts += 1;
            events::nmi(self);
            return true;
        }
        if open & S::INTR == 0 {
            return false;
        }
        self.current = std::ptr::null();
        let Some(vector) = self.on_bus(|bus| bus.acknowledge_interrupt()) else { return false };
        self.counts.interrupts += 1;
        events::external(self, vector);
        true
    }

    /// Whether the next instruction must stepped: single step, breakpoints on code, or an
    /// interrupt that waits for a shadow to end; or branches are recorded, or a debugger wants it.
    #[inline]
    pub(crate) fn must_step(&self) -> bool {
        self.state.rflags.contains(Rflags::TF)
            || self.state.dr[7] & 0xFF != 0
            || self.state.shadow_at == self.state.retired && self.signals.pending() != 0
            || self.state.rflags.contains(Rflags::RF)
            || self.state.msrs.debugctl & branch_record::LBR != 0
            || self.debugger_steps()
    }

    /// Runs blocks of the interpreter until one returns.
    pub fn run_blocks(&mut self) -> Exit {
        let rip = self.state.rip;
        match self.find_block(rip, crate::decode::MAX_INSTRUCTIONS) {
            Ok(first) => self.run_block(first, rip),
            Err(fault) => {
                self.fault = fault;
                Exit::Fault
            }
        }
    }

    /// Runs one instruction.
    pub fn step_one(&mut self) -> Exit {
        self.step(1)
    }
    /// Runs one instruction that is likely to be written to soon: its decoding is not kept, and its page not tracked
    /// for it.
    pub fn step_unkept(&mut self) -> Exit {
        self.step(0)
    }
    /// `limit`: as [`find_block`](Self::find_block) takes it.
    fn step(&mut self, limit: usize) -> Exit {
        self.counts.single_steps += 1;
        if self.state.dr[7] & 0xFF != 0
            && !self.state.rflags.contains(Rflags::RF)
            && events::before_instruction(self)
        {
            self.fault = Fault::DB;
            return Exit::Fault;
        }
        let trap = self.state.rflags.contains(Rflags::TF);
        let resume = self.state.rflags.contains(Rflags::RF);
        let rip = self.state.rip;
        let branch = Branch::at(self, rip);
        let on_branches = self.state.msrs.debugctl & branch_record::BTF != 0;
        // A budget of one: what the instruction links or jumps to does not run.
        let rest = self.state.budget - 1;
        self.shift_budget(-rest);
        let exit = match self.find_block(rip, limit) {
            Ok(first) if self.traces(Kinds::INSN) => {
                self.begin_instructions(rip, first);
                let exit = self.run_block(first, rip);
                self.end_instructions(exit);
                exit
            }
            Ok(first) => self.run_block(first, rip),
            Err(fault) => {
                self.fault = fault;
                Exit::Fault
            }
        };
        self.shift_budget(rest);
        let exit = if exit == Exit::Budget { Exit::Lookup } else { exit };
        if exit != Exit::Fault {
            if resume && !events::sets_rf(self) {
                self.state.rflags.remove(Rflags::RF);
            }
            let taken = branch.is_some_and(|branch| branch.was_taken(self.state.rip));
            if taken {
                branch_record::record(self, rip);
            }
            if trap && (taken || !on_branches) {
                events::single_step_done(self);
            }
        }
        exit
    }

    pub(crate) fn run_block(&mut self, first: *const Op, rip: u64) -> Exit {
        // SAFETY: `first` is the first op of a block of the arena, which lives until the next flush;
        // flushes happen in `find_block` only.
        let (charge, first) = unsafe { ((*header(first)).charge, At::new(first)) };
        let budget = self.state.budget - charge;
        if budget < 0 {
            return Exit::Budget;
        }
        self.state.budget = budget;
        self.state.reg_file[(reg_file::BLOCK_RIP / 8) as usize] = rip;
        run(self, first)
    }
}
