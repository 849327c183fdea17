//! What gdb may ask of the machine.
//!
//! Requests go to the machine by its handle and are waited for; the machine answers within milliseconds, whether it runs
//! or not. vCPU 0 is thread 1.

use crate::description;
use crate::registers::{Register, View};
use gdbstub::arch::{Arch, RegId, Registers};
use gdbstub::common::{Signal, Tid};
use gdbstub::target::ext::base::BaseOps;
use gdbstub::target::ext::base::multithread::{
    MultiThreadBase, MultiThreadResume, MultiThreadResumeOps, MultiThreadSchedulerLocking,
    MultiThreadSchedulerLockingOps, MultiThreadSingleStep, MultiThreadSingleStepOps,
};
use gdbstub::target::ext::base::single_register_access::{SingleRegisterAccess, SingleRegisterAccessOps};
use gdbstub::target::ext::breakpoints::BreakpointsOps;
use gdbstub::target::ext::monitor_cmd::{ConsoleOutput, MonitorCmd, MonitorCmdOps};
use gdbstub::target::ext::target_description_xml_override::{
    TargetDescriptionXmlOverride, TargetDescriptionXmlOverrideOps,
};
use gdbstub::target::ext::thread_extra_info::{ThreadExtraInfo, ThreadExtraInfoOps};
use gdbstub::target::{Target, TargetError, TargetResult};
use std::collections::BTreeSet;
use std::fmt;
use std::num::NonZeroUsize;
use std::time::Duration;
use trimotor_cpu::state::Activity;
use trimotor_cpu::{ArchState, DebugPoints, Watchpoint};
use trimotor_machine::control::{DebugAction, DebugAddress, DebugRequest};
use trimotor_machine::{Command, CommandError, MachineControl, Reply};
use trimotor_monitor::Monitor;
use trimotor_monitor::commands::{Order, parse};

/// How long the machine is waited for.
const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes of a packet, at most: what gdb is told, and what a longer one ends the session at.
pub const PACKET_BYTES: usize = 1 << 14;
/// Bytes that are read at a time: their hexadecimal digits fill a packet. gdb asks for no more.
const MOST_READ: usize = PACKET_BYTES / 2;
/// Bytes of text in one packet.
const CONSOLE_BYTES: usize = 1000;

/// The machine does not answer any more: the session is over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lost(pub String);

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// x86 with the registers of any view.
pub enum X86 {}

impl Arch for X86 {
    type Usize = u64;
    type Registers = RegisterBytes;
    type BreakpointKind = usize;
    type RegId = RegisterNumber;
}

/// A register's place in the description.
#[derive(Clone, Copy, Debug)]
pub struct RegisterNumber(usize);

impl RegId for RegisterNumber {
    fn from_raw_id(id: usize) -> Option<(Self, Option<NonZeroUsize>)> {
        Some((RegisterNumber(id), None))
    }
}

/// All registers of a view, one behind the other.
#[derive(Clone, Default, PartialEq, Debug)]
pub struct RegisterBytes(Vec<u8>);

impl Registers for RegisterBytes {
    type ProgramCounter = u64;
    /// Nobody asks: the stub replaces no instructions.
    fn pc(&self) -> u64 {
        0
    }
    fn gdb_serialize(&self, mut write_byte: impl FnMut(Option<u8>)) {
        self.0.iter().for_each(|byte| write_byte(Some(*byte)));
    }
    fn gdb_deserialize(&mut self, bytes: &[u8]) -> Result<(), ()> {
        self.0 = bytes.to_vec();
        Ok(())
    }
}

/// The machine as one session sees it.
pub struct Machine {
    control: MachineControl,
    monitor: Monitor,
    view: View,
    registers: Vec<Register>,
    xml: String,
    vcpus: usize,
    pub(crate) software: BTreeSet<u64>,
    pub(crate) hardware: BTreeSet<u64>,
    pub(crate) watchpoints: Vec<Watchpoint>,
    /// What vCPUs do when they are resumed, where something was said of them.
    actions: Vec<Option<DebugAction>>,
    /// Those of which nothing is said stand still.
    locked: bool,
    /// The vCPU that commands of the monitor concern.
    monitor_cpu: usize,
    /// Addresses of memory are physical.
    physical: bool,
}

impl Machine {
    /// Stops the machine, and looks at it in that view, or else in the one that suits what its first vCPU runs.
    ///
    /// # Errors
    /// The machine does not answer.
    pub fn attach(monitor: &Monitor, view: Option<View>) -> Result<Machine, Lost> {
        let control = monitor.control().clone();
        ask(&control, DebugRequest::Attach)?.map_err(|error| Lost(error.to_string()))?;
        let state = state_of(&control, 0)?.map_err(|error| Lost(error.to_string()))?;
        let view = view.unwrap_or_else(|| View::of(&state));
        let vcpus = monitor.host().vcpus();
        Ok(Machine {
            control,
            monitor: monitor.clone(),
            view,
            registers: view.registers(),
            xml: description::xml(view),
            vcpus,
            software: BTreeSet::new(),
            hardware: BTreeSet::new(),
            watchpoints: Vec::new(),
            actions: vec![None; vcpus],
            locked: false,
            monitor_cpu: 0,
            physical: false,
        })
    }
    /// Lets go of the machine, which goes on or not.
    pub fn detach(&self, resume: bool) {
        // It may have ended.
        let _ = ask(&self.control, DebugRequest::Detach { resume });
    }
    /// Ends the run, as a person does who leaves.
    pub fn kill(&self) {
        self.monitor.host().leave();
    }
    /// Stops the machine; that it has is told by an event.
    ///
    /// # Errors
    /// The machine does not answer.
    pub fn pause(&self) -> Result<(), Lost> {
        let answer = self.control.send(Command::Pause).wait_for(PATIENCE);
        match answer {
            Some(Ok(_)) => Ok(()),
            Some(Err(error)) => Err(Lost(error.to_string())),
            None => Err(Lost(NO_ANSWER.to_owned())),
        }
    }
    /// The handle.
    pub fn control(&self) -> &MachineControl {
        &self.control
    }
    /// How the session sees it.
    pub fn view(&self) -> View {
        self.view
    }
    /// A vCPU's state.
    ///
    /// # Errors
    /// The machine does not answer, or there is no such vCPU.
    pub fn state(&self, cpu: usize) -> Result<ArchState, TargetError<Lost>> {
        state_of(&self.control, cpu).map_err(TargetError::Fatal)?.map_err(|_| TargetError::NonFatal)
    }
    /// Whether gdb set a breakpoint at a linear address as a hardware breakpoint.
    pub fn is_hardware(&self, linear: u64) -> bool {
        self.hardware.contains(&linear)
    }

    /// Has the machine do something. What it refuses is an error that gdb hears of.
    fn ask(&self, request: DebugRequest) -> Result<Reply, TargetError<Lost>> {
        ask(&self.control, request).map_err(TargetError::Fatal)?.map_err(|error| {
            log::info!("gdb: {error}");
            TargetError::NonFatal
        })
    }
    fn cpu(&self, tid: Tid) -> Result<usize, TargetError<Lost>> {
        let cpu = tid.get() - 1;
        if cpu < self.vcpus { Ok(cpu) } else { Err(TargetError::NonFatal) }
    }
    fn set_state(&self, cpu: usize, state: ArchState) -> Result<(), TargetError<Lost>> {
        self.ask(DebugRequest::SetState { cpu, state: Box::new(state) }).map(drop)
    }
    fn address(&self, address: u64, tid: Tid) -> Result<DebugAddress, TargetError<Lost>> {
        if self.physical {
            return Ok(DebugAddress::Physical(address));
        }
        Ok(DebugAddress::Linear { cpu: self.cpu(tid)?, address })
    }
    fn set_action(&mut self, tid: Tid, action: DebugAction) {
        // gdb may still know a thread that never was.
        if let Some(place) = self.actions.get_mut(tid.get() - 1) {
            *place = Some(action);
        }
    }
    /// `physical [on|off]`, or a command of the monitor.
    fn obey(&mut self, line: &str) -> Result<String, String> {
        match line.split_whitespace().collect::<Vec<_>>()[..] {
            ["physical"] => {
                Ok(format!("addresses are {}", if self.physical { "physical" } else { "linear" }))
            }
            ["physical", state @ ("on" | "off")] => {
                self.physical = state == "on";
                Ok(String::new())
            }
            ["physical", ..] => Err("physical on or physical off: what addresses of memory mean".to_owned()),
            _ if matches!(parse(line), Ok(Some(Order::Machine(Command::Resume)))) => {
                Err("gdb would not hear of it: use gdb's own continue".to_owned())
            }
            _ => self.monitor.obey(line, &mut self.monitor_cpu),
        }
    }
}

const NO_ANSWER: &str = "the machine has not answered for a minute";

type Asked<T> = Result<Result<T, CommandError>, Lost>;

fn ask(control: &MachineControl, request: DebugRequest) -> Asked<Reply> {
    let answer = control.send(Command::Debug(request)).wait_for(PATIENCE);
    match answer.ok_or_else(|| Lost(NO_ANSWER.to_owned()))? {
        Err(CommandError::Ended) => Err(Lost(CommandError::Ended.to_string())),
        outcome => Ok(outcome),
    }
}

fn state_of(control: &MachineControl, cpu: usize) -> Asked<ArchState> {
    Ok(match ask(control, DebugRequest::State { cpu })? {
        Ok(Reply::State(state)) => Ok(*state),
        Ok(_) => Err(CommandError::Failed("the machine gives no state".to_owned())),
        Err(error) => Err(error),
    })
}

impl Target for Machine {
    type Arch = X86;
    type Error = Lost;

    fn base_ops(&mut self) -> BaseOps<'_, X86, Lost> {
        BaseOps::MultiThread(self)
    }
    fn guard_rail_implicit_sw_breakpoints(&self) -> bool {
        true
    }
    fn use_lldb_register_info(&self) -> bool {
        false
    }
    fn support_breakpoints(&mut self) -> Option<BreakpointsOps<'_, Self>> {
        Some(self)
    }
    fn support_monitor_cmd(&mut self) -> Option<MonitorCmdOps<'_, Self>> {
        Some(self)
    }
    fn support_target_description_xml_override(
        &mut self,
    ) -> Option<TargetDescriptionXmlOverrideOps<'_, Self>> {
        Some(self)
    }
}

impl MultiThreadBase for Machine {
    fn read_registers(&mut self, registers: &mut RegisterBytes, tid: Tid) -> TargetResult<(), Self> {
        let state = self.state(self.cpu(tid)?)?;
        registers.0 = self.registers.iter().flat_map(|register| register.read(&state)).collect();
        Ok(())
    }
    fn write_registers(&mut self, registers: &RegisterBytes, tid: Tid) -> TargetResult<(), Self> {
        let cpu = self.cpu(tid)?;
        let mut state = self.state(cpu)?;
        let mut rest = &registers.0[..];
        for register in &self.registers {
            // gdb may send fewer than there are.
            let Some((bytes, after)) = rest.split_at_checked(register.bytes()) else { break };
            register.write(&mut state, bytes).map_err(|_| TargetError::NonFatal)?;
            rest = after;
        }
        self.set_state(cpu, state)
    }
    fn support_single_register_access(&mut self) -> Option<SingleRegisterAccessOps<'_, Tid, Self>> {
        Some(self)
    }
    fn read_addrs(&mut self, start: u64, data: &mut [u8], tid: Tid) -> TargetResult<usize, Self> {
        if data.len() > MOST_READ {
            return Err(TargetError::NonFatal);
        }
        let at = self.address(start, tid)?;
        match self.ask(DebugRequest::Read { at, bytes: data.len() })? {
            Reply::Bytes(bytes) if !bytes.is_empty() && bytes.len() <= data.len() => {
                data[..bytes.len()].copy_from_slice(&bytes);
                Ok(bytes.len())
            }
            _ => Err(TargetError::NonFatal),
        }
    }
    fn write_addrs(&mut self, start: u64, data: &[u8], tid: Tid) -> TargetResult<(), Self> {
        let at = self.address(start, tid)?;
        self.ask(DebugRequest::Write { at, bytes: data.to_vec() }).map(drop)
    }
    fn list_active_threads(&mut self, found: &mut dyn FnMut(Tid)) -> Result<(), Lost> {
        (1..=self.vcpus).filter_map(NonZeroUsize::new).for_each(found);
        Ok(())
    }
    fn support_resume(&mut self) -> Option<MultiThreadResumeOps<'_, Self>> {
        Some(self)
    }
    fn support_thread_extra_info(&mut self) -> Option<ThreadExtraInfoOps<'_, Self>> {
        Some(self)
    }
}

impl SingleRegisterAccess<Tid> for Machine {
    fn read_register(
        &mut self,
        tid: Tid,
        number: RegisterNumber,
        into: &mut [u8],
    ) -> TargetResult<usize, Self> {
        let state = self.state(self.cpu(tid)?)?;
        let register = self.registers.get(number.0).ok_or(TargetError::NonFatal)?;
        let bytes = register.read(&state);
        into.get_mut(..bytes.len()).ok_or(TargetError::NonFatal)?.copy_from_slice(&bytes);
        Ok(bytes.len())
    }
    fn write_register(&mut self, tid: Tid, number: RegisterNumber, bytes: &[u8]) -> TargetResult<(), Self> {
        let cpu = self.cpu(tid)?;
        let mut state = self.state(cpu)?;
        let register = self.registers.get(number.0).ok_or(TargetError::NonFatal)?;
        register.write(&mut state, bytes).map_err(|_| TargetError::NonFatal)?;
        self.set_state(cpu, state)
    }
}

impl MultiThreadResume for Machine {
    fn resume(&mut self) -> Result<(), Lost> {
        let rest = if self.locked { DebugAction::Hold } else { DebugAction::Continue };
        let actions = self.actions.iter().map(|action| action.unwrap_or(rest)).collect();
        let breakpoints = self.software.union(&self.hardware).copied().collect();
        let points = DebugPoints { breakpoints, watchpoints: self.watchpoints.clone() };
        let outcome = ask(&self.control, DebugRequest::Resume { points, actions })?;
        outcome.map(drop).map_err(|error| Lost(error.to_string()))
    }
    fn clear_resume_actions(&mut self) -> Result<(), Lost> {
        self.actions.fill(None);
        self.locked = false;
        Ok(())
    }
    /// Signals mean nothing to a machine.
    fn set_resume_action_continue(&mut self, tid: Tid, _signal: Option<Signal>) -> Result<(), Lost> {
        self.set_action(tid, DebugAction::Continue);
        Ok(())
    }
    fn support_single_step(&mut self) -> Option<MultiThreadSingleStepOps<'_, Self>> {
        Some(self)
    }
    fn support_scheduler_locking(&mut self) -> Option<MultiThreadSchedulerLockingOps<'_, Self>> {
        Some(self)
    }
}

impl MultiThreadSingleStep for Machine {
    fn set_resume_action_step(&mut self, tid: Tid, _signal: Option<Signal>) -> Result<(), Lost> {
        self.set_action(tid, DebugAction::Step);
        Ok(())
    }
}

impl MultiThreadSchedulerLocking for Machine {
    fn set_resume_action_scheduler_lock(&mut self) -> Result<(), Lost> {
        self.locked = true;
        Ok(())
    }
}

impl ThreadExtraInfo for Machine {
    fn thread_extra_info(&self, tid: Tid, into: &mut [u8]) -> Result<usize, Lost> {
        let cpu = tid.get() - 1;
        let doing = match self.state(cpu) {
            Ok(state) => match state.activity {
                Activity::Active => "running",
                Activity::Halted => "halted",
                Activity::WaitForSipi => "waits for SIPI",
                Activity::Shutdown => "shutdown",
            },
            Err(_) => "unknown",
        };
        let text = format!("CPU#{cpu} [{doing}]");
        let length = text.len().min(into.len());
        into[..length].copy_from_slice(&text.as_bytes()[..length]);
        Ok(length)
    }
}

impl MonitorCmd for Machine {
    fn handle_monitor_cmd(&mut self, command: &[u8], mut out: ConsoleOutput<'_>) -> Result<(), Lost> {
        let line = String::from_utf8_lossy(command).into_owned();
        let text = self.obey(&line).unwrap_or_else(|error| format!("Error: {error}"));
        if !text.is_empty() {
            let text = text.trim_end_matches('\n').to_owned() + "\n";
            for piece in text.as_bytes().chunks(CONSOLE_BYTES) {
                out.write_raw(piece);
                out.flush();
            }
        }
        Ok(())
    }
}

impl TargetDescriptionXmlOverride for Machine {
    fn target_description_xml(
        &self,
        annex: &[u8],
        offset: u64,
        length: usize,
        into: &mut [u8],
    ) -> TargetResult<usize, Self> {
        if annex != b"target.xml" {
            return Err(TargetError::NonFatal);
        }
        let rest = usize::try_from(offset).ok().and_then(|offset| self.xml.as_bytes().get(offset..));
        let rest = rest.unwrap_or_default();
        let count = rest.len().min(length).min(into.len());
        into[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }
}
