//! Debuggers: what they see and change of a machine, and how a vCPU's stop becomes the machine's.
//!
//! A vCPU that stops for a debugger ends its run with [`VcpuExit::Debugger`](trimotor_cpu::VcpuExit::Debugger). The machine is then
//! paused as by `stop`, and [`MachineEvent::Stopped`] says why. Where several vCPUs stop at once, one stop is told; the others keep
//! theirs, and stop again as soon as the machine goes on.

use crate::control::debug::{DebugAction, DebugAddress, DebugRequest, MOST_BYTES};
use crate::control::{CommandError, MachineEvent, Outcome, Reply};
use crate::exit::ExitReason;
use crate::machine::{Machine, VcpuSlot};
use crate::obey::Standstill;
use trimotor_bus::PhysAddr;
use trimotor_bus::memory::View;
use trimotor_cpu::backend::ShutdownReport;
use trimotor_cpu::registers::Efer;
use trimotor_cpu::state::Activity;
use trimotor_cpu::{ArchState, DebugPoints, DebugStop};

/// Bytes of a page.
const PAGE: u64 = 4096;

/// What a machine keeps for a debugger.
#[derive(Default)]
pub(crate) struct Debugging {
    /// There is one.
    attached: bool,
    /// Where it wants vCPUs to stop.
    points: Option<DebugPoints>,
    /// The vCPU in shutdown that the debugger was told of, and what led to it.
    shutdown: Option<(usize, ShutdownReport)>,
}

fn failed(text: impl Into<String>) -> CommandError {
    CommandError::Failed(text.into())
}

impl Standstill<'_> {
    /// Carries out a debugger's request.
    pub(crate) fn debug(&mut self, request: &DebugRequest) -> Outcome {
        match request {
            DebugRequest::Attach => {
                self.machine.debugging.attached = true;
                self.set_paused(true);
            }
            DebugRequest::Detach { resume } => {
                self.machine.debugging.attached = false;
                self.each_vcpu(None, |_| DebugAction::Continue);
                if *resume {
                    self.set_paused(false);
                }
            }
            DebugRequest::State { cpu } => {
                return Ok(Reply::State(Box::new(self.vcpu(*cpu)?.vcpu.state())));
            }
            DebugRequest::SetState { cpu, state } => self.set_state(*cpu, state)?,
            DebugRequest::Read { at, bytes } => return self.read(*at, *bytes).map(Reply::Bytes),
            DebugRequest::Write { at, bytes } => self.write(*at, bytes)?,
            DebugRequest::Resume { points, actions } => {
                let action = |cpu| actions.get(cpu).copied().unwrap_or(DebugAction::Continue);
                self.each_vcpu(Some(points), action);
                if !self.machine.paused {
                    self.machine.control.tell(&MachineEvent::Resumed);
                }
                self.set_paused(false);
            }
        }
        Ok(Reply::Done)
    }
    /// Nothing of a debugger's last resumption counts any more: all vCPUs go on.
    pub(crate) fn let_all_go_on(&mut self) {
        for slot in &mut self.machine.vcpus {
            slot.held = false;
            slot.set_stepping(false);
        }
    }
    fn each_vcpu(&mut self, points: Option<&DebugPoints>, action: impl Fn(usize) -> DebugAction) {
        for (cpu, slot) in self.machine.vcpus.iter_mut().enumerate() {
            let action = action(cpu);
            slot.vcpu.set_debug_points(points);
            slot.set_stepping(action == DebugAction::Step);
            slot.held = action == DebugAction::Hold;
        }
        self.machine.debugging.points = points.cloned();
    }
    /// What the guest can notice is refused where it would make a recording worthless.
    fn may_change(&self) -> Result<(), CommandError> {
        let intake = &self.machine.intake;
        if intake.replays() || intake.is_logged() { Err(CommandError::Replays) } else { Ok(()) }
    }
    fn set_state(&mut self, cpu: usize, state: &ArchState) -> Result<(), CommandError> {
        self.may_change()?;
        state.check(&self.machine.model).map_err(|error| failed(error.to_string()))?;
        let slot = self.vcpu(cpu)?;
        slot.vcpu.set_state(state);
        slot.halted = (state.activity != Activity::Active).then(|| slot.vcpu.open_signals());
        Ok(())
    }
    fn view(&mut self, at: DebugAddress) -> Result<View, CommandError> {
        match at {
            DebugAddress::Linear { cpu, .. } => Ok(View::of(self.vcpu(cpu)?.vcpu.state().in_smm)),
            DebugAddress::Physical(_) => Ok(View::Plain),
        }
    }
    /// The guest-physical address of the byte `offset` bytes behind `at`.
    fn physical(&mut self, at: DebugAddress, offset: u64) -> Result<Option<PhysAddr>, CommandError> {
        match at {
            DebugAddress::Linear { cpu, address } => {
                let vcpu = &mut self.vcpu(cpu)?.vcpu;
                let address = address.wrapping_add(offset);
                let is_long = vcpu.state().efer & Efer::LMA.bits() != 0;
                let mask = if is_long { u64::MAX } else { 0xFFFF_FFFF };
                Ok(vcpu.physical(address & mask))
            }
            DebugAddress::Physical(address) => Ok(address.checked_add(offset).map(PhysAddr)),
        }
    }
    /// The pieces of `bytes` bytes at `at`, each within a page; ends where nothing is mapped.
    fn pieces(
        &mut self,
        at: DebugAddress,
        bytes: usize,
    ) -> Result<Vec<(PhysAddr, std::ops::Range<usize>)>, CommandError> {
        if bytes > MOST_BYTES {
            return Err(failed(format!("{bytes} bytes at a time are too many: {MOST_BYTES} at most")));
        }
        let (mut pieces, mut done) = (Vec::new(), 0);
        while done < bytes {
            let Some(physical) = self.physical(at, done as u64)? else { break };
            let length = (bytes - done).min((PAGE - physical.page_offset()) as usize);
            pieces.push((physical, done..done + length));
            done += length;
        }
        Ok(pieces)
    }
    fn read(&mut self, at: DebugAddress, bytes: usize) -> Result<Vec<u8>, CommandError> {
        let view = self.view(at)?;
        let memory = self.machine.board.memory.clone();
        let mut read = Vec::new();
        for (physical, piece) in self.pieces(at, bytes)? {
            let mut part = vec![0; piece.len()];
            if memory.read_for(physical, &mut part, view) < part.len() {
                break;
            }
            read.extend(part);
        }
        Ok(read)
    }
    fn write(&mut self, at: DebugAddress, bytes: &[u8]) -> Result<(), CommandError> {
        self.may_change()?;
        let view = self.view(at)?;
        let pieces = self.pieces(at, bytes.len())?;
        let memory = self.machine.board.memory.clone();
        let mapped: usize = pieces.iter().map(|(_, piece)| piece.len()).sum();
        let is_ram = |(physical, _): &(PhysAddr, _)| !memory.backing_for(*physical, view).write.is_null();
        if mapped < bytes.len() || !pieces.iter().all(is_ram) {
            return Err(failed("no memory that can be written is there"));
        }
        for (physical, piece) in pieces {
            memory.write_for(physical, &bytes[piece], view);
        }
        Ok(())
    }
}

impl VcpuSlot {
    fn set_stepping(&mut self, stepping: bool) {
        self.stepping = stepping;
        self.vcpu.set_stepping(stepping);
    }
    /// Stops where the vCPU of another engine would have stopped for a debugger.
    pub(crate) fn take_over_stops(&mut self, other: &VcpuSlot, debugging: &Debugging) {
        self.held = other.held;
        self.vcpu.set_debug_points(debugging.points.as_ref());
        self.set_stepping(other.stepping);
    }
}

impl Machine {
    /// Stops the vCPUs and guest time, as a debugger or [`Command::Pause`](crate::Command::Pause) does: before the first
    /// instruction, where the machine has not run.
    pub fn pause(&mut self) {
        self.stand_still().set_paused(true);
    }
    /// vCPU `cpu` stopped for the debugger: so does the machine.
    pub(crate) fn stopped_for_debugger(&mut self, cpu: usize) {
        if let Some(stop) = self.vcpus[cpu].vcpu.take_debug_stop() {
            self.stop_for_debugger(cpu, stop);
        }
    }
    fn stop_for_debugger(&mut self, cpu: usize, stop: DebugStop) {
        self.stand_still().let_all_go_on();
        // Before others hear that it is paused: who let it go on wants to know why it stopped.
        self.control.tell(&MachineEvent::Stopped { cpu, stop });
        self.stand_still().set_paused(true);
    }
    /// A vCPU is in shutdown: the run's end, unless a debugger is there that has not been told.
    pub(crate) fn shutdown_unless_debugged(
        &mut self,
        cpu: usize,
        report: ShutdownReport,
    ) -> Option<ExitReason> {
        let told = self.debugging.shutdown.take();
        if self.debugging.attached && told.is_none() {
            self.debugging.shutdown = Some((cpu, report));
            self.stop_for_debugger(cpu, DebugStop::Shutdown);
            return None;
        }
        let (cpu, report) = told.unwrap_or((cpu, report));
        Some(self.shutdown(cpu, report))
    }
    /// The machine was reset: no vCPU is in shutdown any more.
    pub(crate) fn debugger_saw_reset(&mut self) {
        self.debugging.shutdown = None;
    }
}
