//! A vCPU that KVM runs, with another engine's vCPU for what KVM cannot do.
//!
//! The state is in one of two places: in KVM, or with the other vCPU. It is moved when the other place has to go on.

use crate::exits::{self, Exit, ExitCounts};
use crate::kick::Kicker;
use crate::registers::{self, MSRS};
use crate::requests;
use crate::stretches::Stretches;
use crate::vector_state;
use crate::vm::Vm;
use kvm_bindings::{
    CpuId, KVM_MAX_CPUID_ENTRIES, Msrs as KvmMsrs, kvm_mp_state, kvm_msr_entry, kvm_sregs, kvm_xcr, kvm_xcrs,
};
use kvm_ioctls::VcpuFd;
use std::sync::Arc;
use trimotor_bus::event_flags::Recall;
use trimotor_bus::{CpuBus, PhysAddr, VcpuSignals};
use trimotor_cpu::backend::{ShutdownReport, Vcpu, VcpuExit};
use trimotor_cpu::debugger::{DebugPoints, DebugStop};
use trimotor_cpu::model::CpuModel;
use trimotor_cpu::state::Activity;
use trimotor_cpu::trace::VcpuTrace;
use trimotor_cpu::{ArchState, msr};

/// KVM's time-stamp counter is set anew where it is so far from the machine's, in nanoseconds.
const TSC_TOLERANCE_NS: u64 = 1_000_000;
/// RFLAGS.IF.
const IF: u64 = 1 << 9;
/// A stretch of a state that stays with the other engine (system-management mode, a closed A20 gate): looked at again after so many
/// instructions.
const LOOK_AGAIN: u64 = 10_000;
/// A stretch until the other engine's turn is over.
const WHOLE_TURN: u64 = u64::MAX;
/// Exits to complete one instruction, at most: an access is cut into pieces at pages and eight bytes.
const MOST_PIECES: usize = 64;

/// Where the state is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    Kvm,
    Other,
}

/// A step of a request that the host refused.
type Refused = String;

fn refused<E: std::fmt::Display>(step: &'static str) -> impl Fn(E) -> Refused {
    move |error| format!("{step}: {error}")
}

/// How often the other engine was asked, by cause.
#[derive(Clone, Copy, Debug, Default)]
struct Asked {
    states: u64,
    msrs: u64,
    events: u64,
    modes: u64,
    debugger: u64,
    refusals: u64,
}

/// One vCPU.
pub struct KvmVcpu {
    fd: VcpuFd,
    vm: Arc<Vm>,
    id: u32,
    model: Arc<CpuModel>,
    signals: Arc<VcpuSignals>,
    kicker: Arc<Kicker>,
    /// The other engine's vCPU.
    other: Box<dyn Vcpu>,
    place: Place,
    /// While the state is in KVM: what it was when it went there, for all that KVM has not.
    shadow: ArchState,
    /// While the state is in KVM: instructions, as far as they were seen.
    retired: u64,
    activity: Activity,
    a20: bool,
    /// KVM completes the last access when it is entered next.
    completes: bool,
    /// KVM takes an external interrupt now.
    takes_interrupt: bool,
    /// Of a stretch of the other engine's: instructions left.
    stretch: u64,
    has_points: bool,
    stepping: bool,
    /// `Vm::runs` when the other engine ran last.
    seen_runs: u64,
    began: u64,
    exits: ExitCounts,
    asked: Asked,
    other_instructions: u64,
    stretches: Stretches,
}

impl KvmVcpu {
    /// vCPU `id`, in its state after RESET.
    ///
    /// # Errors
    /// The request that was refused, and why.
    pub fn new(
        vm: &Arc<Vm>,
        id: u32,
        model: &Arc<CpuModel>,
        signals: &Arc<VcpuSignals>,
        other: Box<dyn Vcpu>,
    ) -> Result<KvmVcpu, String> {
        let mut fd = vm.fd().create_vcpu(id.into()).map_err(refused("KVM_CREATE_VCPU"))?;
        let entries = crate::model::cpuid(model, id);
        debug_assert!(entries.len() <= KVM_MAX_CPUID_ENTRIES);
        let cpuid = CpuId::from_entries(&entries).map_err(|error| format!("CPUID: {error:?}"))?;
        fd.set_cpuid2(&cpuid).map_err(refused("KVM_SET_CPUID2"))?;
        // Where the host cannot scale its counter, `Kvm::lacks` had the model take its frequency.
        let _ = fd.set_tsc_khz((model.tsc_hz / 1000) as u32);
        let kicker = Arc::new(Kicker::new(&mut fd).map_err(refused("a signal handler"))?);
        let shadow = other.state();
        Ok(KvmVcpu {
            fd,
            vm: vm.clone(),
            id,
            model: model.clone(),
            signals: signals.clone(),
            kicker,
            place: Place::Other,
            retired: shadow.retired,
            activity: shadow.activity,
            a20: shadow.a20,
            shadow,
            other,
            completes: false,
            takes_interrupt: false,
            stretch: 0,
            has_points: false,
            stepping: false,
            seen_runs: u64::MAX,
            began: 0,
            exits: ExitCounts::default(),
            asked: Asked::default(),
            other_instructions: 0,
            stretches: Stretches::default(),
        })
    }

    // ---- the state's ways ----

    /// Takes the state to KVM.
    fn push(&mut self, state: ArchState) -> Result<(), Refused> {
        self.complete_blindly();
        let fd = &self.fd;
        let sregs = registers::to_sregs(&state, self.id == 0);
        fd.set_sregs(&sregs).map_err(refused("KVM_SET_SREGS"))?;
        // A KVM of software takes modes that it does not know for others, and does not say so.
        if !self.vm.hardware {
            let taken = fd.get_sregs().map_err(refused("KVM_GET_SREGS"))?;
            let mode = |s: &kvm_sregs| (s.cr0, s.cr3, s.cr4, s.efer);
            if mode(&taken) != mode(&sregs) {
                return Err(format!("KVM_SET_SREGS: {:x?} became {:x?}", mode(&sregs), mode(&taken)));
            }
        }
        if state.xcr0 != 0 {
            let mut xcrs = kvm_xcrs { nr_xcrs: 1, ..Default::default() };
            xcrs.xcrs[0] = kvm_xcr { xcr: 0, value: state.xcr0, ..Default::default() };
            fd.set_xcrs(&xcrs).map_err(refused("KVM_SET_XCRS"))?;
        }
        fd.set_regs(&registers::to_regs(&state)).map_err(refused("KVM_SET_REGS"))?;
        let entries = self.msr_entries(&state);
        let msrs = KvmMsrs::from_entries(&entries).map_err(|error| format!("MSRs: {error:?}"))?;
        match fd.set_msrs(&msrs).map_err(refused("KVM_SET_MSRS"))? {
            count if count == entries.len() => {}
            count => return Err(format!("KVM_SET_MSRS: MSR {:#x}", entries[count].index)),
        }
        fd.set_debug_regs(&registers::to_debug(&state)).map_err(refused("KVM_SET_DEBUGREGS"))?;
        let area = vector_state::to_xsave(&state, self.vm.layout);
        requests::set_xsave(fd, &area).map_err(refused("KVM_SET_XSAVE"))?;
        fd.set_vcpu_events(&registers::to_events(&state)).map_err(refused("KVM_SET_VCPU_EVENTS"))?;
        fd.set_mp_state(kvm_mp_state::default()).map_err(refused("KVM_SET_MP_STATE"))?;
        self.takes_interrupt = state.rflags & IF != 0 && !state.interrupt_shadow;
        self.retired = state.retired;
        self.activity = state.activity;
        self.shadow = state;
        self.place = Place::Kvm;
        Ok(())
    }
    fn msr_entries(&self, state: &ArchState) -> Vec<kvm_msr_entry> {
        let has_tsc_aux = self.model.has(trimotor_cpu::model::Feature::Rdtscp);
        let entries = registers::to_msrs(state).into_iter();
        entries.filter(|entry| has_tsc_aux || entry.index != msr::IA32_TSC_AUX).collect()
    }
    /// The state that is in KVM.
    fn read(&self) -> Result<ArchState, Refused> {
        let fd = &self.fd;
        let mut state = self.shadow.clone();
        (state.repeating, state.port_access) = (false, None);
        registers::from_regs(&fd.get_regs().map_err(refused("KVM_GET_REGS"))?, &mut state);
        let sregs = fd.get_sregs().map_err(refused("KVM_GET_SREGS"))?;
        registers::from_sregs(&sregs, &self.vm.memory, &mut state);
        let xcrs = fd.get_xcrs().map_err(refused("KVM_GET_XCRS"))?;
        let listed = xcrs.xcrs.iter().take(xcrs.nr_xcrs as usize);
        state.xcr0 = listed.into_iter().find(|xcr| xcr.xcr == 0).map_or(state.xcr0, |xcr| xcr.value);
        let entries = self.msr_entries(&state);
        let mut msrs = KvmMsrs::from_entries(&entries).map_err(|error| format!("MSRs: {error:?}"))?;
        let count = fd.get_msrs(&mut msrs).map_err(refused("KVM_GET_MSRS"))?;
        registers::from_msrs(&msrs.as_slice()[..count.min(MSRS.len())], &mut state);
        registers::from_debug(&fd.get_debug_regs().map_err(refused("KVM_GET_DEBUGREGS"))?, &mut state);
        let area = fd.get_xsave().map_err(refused("KVM_GET_XSAVE"))?;
        vector_state::from_xsave(&area, self.vm.layout, &mut state);
        let events = fd.get_vcpu_events().map_err(refused("KVM_GET_VCPU_EVENTS"))?;
        registers::from_events(&events, &mut state);
        (state.activity, state.a20, state.retired) = (self.activity, self.a20, self.retired);
        Ok(state)
    }
    /// Takes the state to the other engine. An exception that KVM was about to deliver comes again as its instruction does.
    fn pull(&mut self) {
        if self.place == Place::Other {
            return;
        }
        let state = self.read().unwrap_or_else(|why| {
            log::error!(
                "vCPU {}: KVM does not give its state back ({why}): the guest goes on from an older one",
                self.id
            );
            ArchState { retired: self.retired, ..self.shadow.clone() }
        });
        self.other.set_state(&state);
        self.place = Place::Other;
    }
    /// Completes what KVM has begun, where its result does not count any more.
    fn complete_blindly(&mut self) {
        for _ in 0..MOST_PIECES {
            if !std::mem::take(&mut self.completes) {
                return;
            }
            self.kicker.set_immediate_exit(true);
            let exit = exits::run(&mut self.fd);
            self.completes = matches!(exit, Exit::Port { .. } | Exit::Memory { .. });
        }
        self.completes = false;
    }

    // ---- the other engine ----

    /// Has the other engine run so many instructions. The run ends with what it says, be it that they are done: the other engine may have
    /// been kicked as well, and has taken the kick then.
    fn run_other(&mut self, bus: &mut dyn CpuBus, instructions: u64) -> VcpuExit {
        if std::mem::replace(&mut self.seen_runs, self.vm.runs()) != self.vm.runs() {
            self.vm.memory.peers().tell_all_written(self.id as usize);
        }
        let before = self.other.retired();
        // Long stretches may end a little early, rather than in single steps.
        self.other.set_exact_budget(instructions < 1000);
        let began = self.now(bus);
        let exit = self.other.run(bus, instructions);
        let ran = self.other.retired().wrapping_sub(before);
        let now = self.now(bus);
        self.stretches.other_ran(now.saturating_sub(began));
        self.other_instructions += ran;
        self.stretch = self.stretch.saturating_sub(ran.max(1));
        if exit != VcpuExit::Budget && self.stretch < LOOK_AGAIN {
            self.stretch = 0;
        }
        exit
    }
    fn now(&mut self, bus: &mut dyn CpuBus) -> u64 {
        bus.set_retired(self.retired().wrapping_sub(self.began));
        bus.now().ns()
    }

    // ---- runs ----

    /// Whether somebody looks at each instruction or access, which the other engine lets them do.
    fn is_watched(&self) -> bool {
        self.has_points || self.stepping || self.other.trace().is_some()
    }
    /// One turn with the state at the other engine: a stretch there, or the way to KVM.
    fn step_other(&mut self, bus: &mut dyn CpuBus, left: u64) -> Option<VcpuExit> {
        if self.is_watched() {
            self.asked.debugger += 1;
            return Some(self.run_other(bus, left.min(LOOK_AGAIN)));
        }
        if self.stretch > 0 {
            return Some(self.run_other(bus, left.min(self.stretch)));
        }
        let state = self.other.state();
        let first = self.signals.pending() & (VcpuSignals::SMI | VcpuSignals::INIT | VcpuSignals::SIPI) != 0;
        if first || state.activity == Activity::Halted {
            self.asked.events += 1;
            self.stretch = 1;
            return Some(self.run_other(bus, 1));
        }
        if registers::needs_interpreter(&state, self.vm.hardware).is_some() {
            self.asked.modes += 1;
            return Some(self.run_other(bus, left.min(LOOK_AGAIN)));
        }
        self.asked.states += 1;
        if let Err(why) = self.push(state) {
            log::debug!("vCPU {}: KVM refuses the state ({why}): the other engine runs it", self.id);
            self.asked.refusals += 1;
            self.place = Place::Other;
            self.stretch = self.stretches.next();
        } else {
            self.keep_time(bus);
        }
        None
    }

    /// One turn in KVM.
    fn step_kvm(&mut self, bus: &mut dyn CpuBus) -> Option<VcpuExit> {
        use VcpuSignals as S;
        if !self.a20 || self.is_watched() {
            return self.leave_kvm(bus, 0);
        }
        let pending = self.signals.pending();
        if pending & S::KICK != 0 {
            self.signals.take(S::KICK);
            return Some(VcpuExit::Budget);
        }
        if pending & (S::SMI | S::INIT) != 0 {
            self.asked.events += 1;
            return self.leave_kvm(bus, 1);
        }
        self.signals.take(S::SIPI | S::LOOK);
        if self.activity == Activity::Halted {
            if pending & self.open_signals() == 0 {
                return Some(VcpuExit::Halted);
            }
            self.activity = Activity::Active;
        }
        if pending & S::NMI != 0 {
            // A KVM without hardware does not deliver all of them.
            if !self.vm.hardware || self.fd.nmi().is_err() {
                self.asked.events += 1;
                return self.leave_kvm(bus, 1);
            }
            self.signals.take_nmi();
        }
        self.offer_interrupt(pending, bus);
        if self.vm.follow_map().is_err() {
            self.asked.refusals += 1;
            return self.leave_kvm(bus, 1);
        }
        let exit = self.enter(bus, pending);
        self.handle(exit, bus)
    }
    /// Gives KVM an external interrupt, or has it say when it takes one.
    fn offer_interrupt(&mut self, pending: u32, bus: &mut dyn CpuBus) {
        let mut waits = pending & VcpuSignals::INTR != 0;
        if waits
            && self.takes_interrupt
            && let Some(vector) = bus.acknowledge_interrupt()
        {
            match requests::interrupt(&self.fd, vector) {
                Ok(()) => self.takes_interrupt = false,
                Err(error) => log::error!("vCPU {}: KVM_INTERRUPT {vector:#x}: {error}", self.id),
            }
            waits = self.signals.pending() & VcpuSignals::INTR != 0;
        }
        self.fd.get_kvm_run().request_interrupt_window = waits.into();
    }
    /// Enters KVM, unless a pin is high that was not `seen`.
    fn enter(&mut self, bus: &mut dyn CpuBus, seen: u32) -> Exit {
        let priority = u64::from(bus.task_priority() & 15);
        self.fd.get_kvm_run().cr8 = priority;
        let began = self.now(bus);
        self.vm.count_run();
        self.kicker.set_immediate_exit(false);
        if self.signals.go_away() & !seen != 0 {
            self.signals.come_back();
            return Exit::Interrupted;
        }
        let exit = exits::run(&mut self.fd);
        self.signals.come_back();
        self.completes = matches!(exit, Exit::Port { .. } | Exit::Memory { .. } | Exit::Msr { .. });
        self.exits.add(exit);
        self.retired += u64::from(exit != Exit::Interrupted);
        let now = self.now(bus);
        self.stretches.kvm_ran(now.saturating_sub(began));
        let run = self.fd.get_kvm_run();
        self.takes_interrupt = run.ready_for_interrupt_injection != 0 && run.if_flag != 0;
        let cr8 = (run.cr8 & 15) as u8;
        if u64::from(cr8) != priority {
            bus.set_task_priority(cr8);
        }
        exit
    }
    fn handle(&mut self, exit: Exit, bus: &mut dyn CpuBus) -> Option<VcpuExit> {
        match exit {
            Exit::Interrupted | Exit::Window | Exit::TaskPriority => None,
            Exit::Port { .. } => {
                exits::port(&mut self.fd, exit, bus);
                None
            }
            Exit::Memory { .. } => {
                exits::memory(&mut self.fd, exit, bus, &self.vm.memory);
                None
            }
            Exit::Msr { index, write } => self.handle_msr(index, write, bus),
            Exit::Halted => {
                self.activity = Activity::Halted;
                None
            }
            Exit::Shutdown => self.handle_shutdown(bus),
            Exit::Emulation | Exit::Entry | Exit::Other(_) => {
                let length = self.stretches.next();
                if let Some(percent) = self.stretches.verdict() {
                    log::warn!(
                        "this host's KVM cannot run all of the guest: {percent} % of the time goes to the interpreter; \
                         --accel jit will be faster"
                    );
                }
                self.leave_kvm(bus, length)
            }
        }
    }
    fn handle_msr(&mut self, index: u32, write: bool, bus: &mut dyn CpuBus) -> Option<VcpuExit> {
        if !matches!(index, msr::IA32_APIC_BASE | msr::IA32_TSC_DEADLINE | 0x800..=0x8FF) {
            // The other engine runs the instruction as a whole. What KVM would do at its end counts no more.
            self.asked.msrs += 1;
            exits::answer_msr(&mut self.fd, Some(0));
            self.pull();
            self.stretch = 1;
            return None;
        }
        let answer = if write {
            let value = exits::msr_data(&mut self.fd);
            bus.apic_msr_write(index, value).map(|()| value)
        } else {
            bus.apic_msr_read(index)
        };
        exits::answer_msr(&mut self.fd, answer.ok());
        None
    }
    /// KVM reports a triple fault. The other engine goes through it again, and says what led to it; it goes on where there is none.
    fn handle_shutdown(&mut self, bus: &mut dyn CpuBus) -> Option<VcpuExit> {
        let lost = self.fd.get_sregs().is_ok_and(|sregs| sregs.cs.base == 0xFFFF_0000 && sregs.cr0 & 1 == 0)
            && self.fd.get_regs().is_ok_and(|regs| regs.rip == 0xFFF0);
        if lost {
            self.activity = Activity::Shutdown;
            let chain = vec!["a triple fault that KVM reports without saying more".to_owned()];
            return Some(VcpuExit::Shutdown(Box::new(ShutdownReport {
                chain,
                details: Vec::new(),
                last: Vec::new(),
            })));
        }
        let length = self.stretches.next().max(16);
        self.leave_kvm(bus, length)
    }

    /// Takes the state to the other engine, for a stretch of so many instructions.
    fn leave_kvm(&mut self, bus: &mut dyn CpuBus, stretch: u64) -> Option<VcpuExit> {
        if self.place == Place::Kvm {
            self.settle(bus);
            self.pull();
        }
        self.stretch = stretch;
        None
    }
    /// Ends what is half done in KVM: an access, an interrupt that was acknowledged and not delivered.
    fn settle(&mut self, bus: &mut dyn CpuBus) {
        for _ in 0..MOST_PIECES {
            if !std::mem::take(&mut self.completes) {
                break;
            }
            self.kicker.set_immediate_exit(true);
            let exit = exits::run(&mut self.fd);
            self.completes = matches!(exit, Exit::Port { .. } | Exit::Memory { .. });
            if self.completes {
                self.exits.add(exit);
                self.handle(exit, bus);
            }
        }
        let Ok(events) = self.fd.get_vcpu_events() else { return };
        if events.nmi.injected != 0 || events.nmi.pending != 0 {
            // It is still to come: it waits at its pin again.
            self.pull();
            self.signals.raise(VcpuSignals::NMI);
        }
        if events.interrupt.injected != 0 && events.interrupt.soft == 0 {
            self.pull();
            self.other.inject_interrupt(events.interrupt.nr);
            self.asked.events += 1;
            self.run_other(bus, 0);
            self.signals.raise(VcpuSignals::KICK);
            self.stretch = 0;
        }
    }

    /// Has the time-stamp counter in KVM show the machine's time, where it is elsewhere: at first, and after a pause. `adjust` is what
    /// the guest adds to it; returns what it is now.
    fn follow_time(&mut self, bus: &mut dyn CpuBus, adjust: u64) -> Result<u64, Refused> {
        let hz = self.model.tsc_hz;
        let tolerance = trimotor_bus::GuestTime(TSC_TOLERANCE_NS).ticks(hz);
        let is_near = |ahead: u64| (ahead as i64).unsigned_abs() <= tolerance;
        self.now(bus);
        let machine = bus.now().ticks(hz).wrapping_add(adjust);
        let mut msrs = KvmMsrs::from_entries(&[kvm_msr_entry { index: msr::IA32_TSC, ..Default::default() }])
            .map_err(|error| format!("MSRs: {error:?}"))?;
        self.fd.get_msrs(&mut msrs).map_err(refused("KVM_GET_MSRS"))?;
        let in_kvm = msrs.as_slice()[0].data;
        if self.vm.hardware {
            let ahead = machine.wrapping_sub(in_kvm);
            if !is_near(ahead) {
                let offset = self.tsc_offset()?.wrapping_add(ahead);
                requests::set_tsc_offset(&self.fd, offset).map_err(refused("KVM_VCPU_TSC_OFFSET"))?;
            }
            return Ok(adjust);
        }
        // RDTSC is the processor's own, without the offset: the machine's counter follows it, as if the guest had written it.
        let ahead = in_kvm.wrapping_sub(self.tsc_offset()?).wrapping_sub(machine);
        if is_near(ahead) {
            return Ok(adjust);
        }
        let adjust = adjust.wrapping_add(ahead);
        bus.set_tsc_offset(adjust);
        Ok(adjust)
    }
    fn tsc_offset(&self) -> Result<u64, Refused> {
        requests::tsc_offset(&self.fd).map_err(refused("KVM_VCPU_TSC_OFFSET"))
    }
    /// The same while the state is in KVM.
    fn keep_time(&mut self, bus: &mut dyn CpuBus) {
        match self.follow_time(bus, self.shadow.msrs.tsc_adjust) {
            Ok(adjust) => self.shadow.msrs.tsc_adjust = adjust,
            Err(why) => log::debug!("vCPU {}: {why}", self.id),
        }
    }

    /// Whether this run is KVM's or the other engine's: on a KVM of software, the guest would hardly get on otherwise.
    fn take_turns(&mut self, bus: &mut dyn CpuBus) {
        if self.stretches.turn_to_other() {
            self.leave_kvm(bus, WHOLE_TURN);
        } else if self.stretch >= LOOK_AGAIN {
            self.stretch = 0;
        }
    }
    fn run_loop(&mut self, bus: &mut dyn CpuBus, budget: u64) -> VcpuExit {
        let end = self.began.saturating_add(budget);
        loop {
            let left = end.saturating_sub(self.retired());
            if left == 0 {
                return VcpuExit::Budget;
            }
            let exit = match self.place {
                Place::Other => self.step_other(bus, left),
                Place::Kvm => self.step_kvm(bus),
            };
            if let Some(exit) = exit {
                return exit;
            }
        }
    }
}

impl Drop for KvmVcpu {
    fn drop(&mut self) {
        let ours: Arc<dyn Recall> = self.kicker.clone();
        self.signals.drop_recall(&ours);
        self.kicker.forget();
    }
}

impl Vcpu for KvmVcpu {
    fn run(&mut self, bus: &mut dyn CpuBus, budget: u64) -> VcpuExit {
        self.kicker.run_here();
        self.signals.set_recall(Some(self.kicker.clone()));
        self.began = self.retired();
        if !self.vm.hardware {
            self.take_turns(bus);
        }
        if self.place == Place::Kvm {
            self.keep_time(bus);
        }
        let exit = self.run_loop(bus, budget);
        if self.place == Place::Kvm {
            self.settle(bus);
        }
        self.vm.collect_dirty();
        exit
    }
    /// Ignored: KVM counts no instructions.
    fn set_exact_budget(&mut self, _exact: bool) {}
    fn open_signals(&self) -> u32 {
        use VcpuSignals as S;
        if self.place == Place::Other {
            return self.other.open_signals();
        }
        let mut open = S::INIT | S::SMI;
        if self.fd.get_vcpu_events().is_ok_and(|events| events.nmi.masked == 0) {
            open |= S::NMI;
        }
        if self.fd.get_regs().is_ok_and(|regs| regs.rflags & IF != 0) {
            open |= S::INTR;
        }
        open
    }
    fn state(&self) -> ArchState {
        if self.place == Place::Other {
            return self.other.state();
        }
        self.read().unwrap_or_else(|why| {
            log::error!("vCPU {}: KVM does not tell its state: {why}", self.id);
            self.shadow.clone()
        })
    }
    fn set_state(&mut self, state: &ArchState) {
        self.other.set_state(state);
        self.a20 = state.a20;
        self.place = Place::Other;
        self.stretch = 0;
    }
    fn inject_interrupt(&mut self, vector: u8) {
        self.pull();
        self.other.inject_interrupt(vector);
        self.stretch = self.stretch.max(1);
    }
    fn retired(&self) -> u64 {
        match self.place {
            Place::Kvm => self.retired,
            Place::Other => self.other.retired(),
        }
    }
    fn reset(&mut self) {
        self.pull();
        self.other.reset();
        self.stretch = 0;
    }
    fn set_a20(&mut self, open: bool) {
        self.a20 = open;
        self.other.set_a20(open);
    }
    fn read_linear(&mut self, addr: u64, into: &mut [u8]) -> usize {
        self.pull();
        self.other.read_linear(addr, into)
    }
    fn physical(&mut self, linear: u64) -> Option<PhysAddr> {
        self.pull();
        self.other.physical(linear)
    }
    fn set_debug_points(&mut self, points: Option<&DebugPoints>) {
        self.has_points = points.is_some_and(|p| !p.breakpoints.is_empty() || !p.watchpoints.is_empty());
        self.other.set_debug_points(points);
    }
    fn set_stepping(&mut self, stepping: bool) {
        self.stepping = stepping;
        self.other.set_stepping(stepping);
    }
    fn take_debug_stop(&mut self) -> Option<DebugStop> {
        self.other.take_debug_stop()
    }
    fn set_trace(&mut self, trace: Option<Box<VcpuTrace>>) -> Option<Box<VcpuTrace>> {
        self.other.set_trace(trace)
    }
    fn trace(&self) -> Option<&VcpuTrace> {
        self.other.trace()
    }
    fn host_code(&mut self, _linear: u64) -> Option<String> {
        None
    }
    fn statistics(&self) -> Vec<(String, u64)> {
        let asked = &self.asked;
        let mut lines = vec![("instructions".to_owned(), self.retired())];
        lines.extend(self.exits.lines());
        let more = [
            ("states given to KVM", asked.states),
            ("states that KVM refused", asked.refusals),
            ("interpreter: instructions", self.other_instructions),
            ("interpreter: MSR accesses", asked.msrs),
            ("interpreter: events", asked.events),
            ("interpreter: stretches in modes of its own", asked.modes),
            ("interpreter: stretches for debuggers and traces", asked.debugger),
            ("nanoseconds in KVM", self.stretches.kvm_ns),
            ("nanoseconds in the interpreter", self.stretches.other_ns),
        ];
        lines.extend(more.map(|(name, count)| (name.to_owned(), count)));
        lines
    }
}
