//! Another engine for a machine that runs.
//!
//! Between two instructions of all vCPUs, the states of these go to vCPUs of another engine, which go on from there. Nothing
//! else moves: memory with its page states, devices with the local APICs, the pins of the vCPUs, guest time, and whose turn it is are the
//! machine's. What an engine has derived from memory (translations, decoded and translated code) goes with its vCPUs, which
//! give up what they track as they are dropped. The guest can notice nothing: a run with a counted clock is the same with switches
//! as without.

use crate::engines::{Engine, STALE_USES, TLB_DIFFERENCES, TLB_HITS};
use crate::machine::{Machine, MachineError, VcpuSlot, check_clock, make_vcpus, runs_at_once, start};
use crate::obey::Standstill;
use std::fmt;
use std::time::Duration;
use trimotor_bus::GuestTime;
use trimotor_cpu::backend::{CpuBackend, Lacks};
use trimotor_cpu::model::{CpuModel, FEATURES};

/// The lines of an engine's counts that are summed up over a run, whichever engines it was on.
const SUMMED: [&str; 3] = [TLB_HITS, TLB_DIFFERENCES, STALE_USES];

/// A switch that was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Switched {
    /// The engine before.
    pub from: Engine,
    /// The engine now; the same where the guest ran on it already.
    pub to: Engine,
    /// How long the vCPUs stood still for it, by the host's clock.
    pub took: Duration,
    /// Guest time when it was made.
    pub at: GuestTime,
    /// Instructions that all vCPUs had retired by then.
    pub instructions: u64,
}

impl fmt::Display for Switched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Switched { from, to, took, .. } = self;
        if from == to {
            return write!(f, "the guest runs on {to} already");
        }
        write!(
            f,
            "the guest runs on {to} now: the switch from {from} took {:.3} ms",
            took.as_secs_f64() * 1e3
        )
    }
}

/// When a switch is to be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SwitchTime {
    /// At this guest time.
    Time(GuestTime),
    /// Once all vCPUs together have retired so many instructions: exactly then with a counted clock, soon after with the host's.
    Instructions(u64),
}

/// A switch that is to be made by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PlannedSwitch {
    /// When.
    pub when: SwitchTime,
    /// To which engine.
    pub engine: Engine,
}

/// The switches that are to come.
#[derive(Default)]
pub(crate) struct PlannedSwitches(Vec<PlannedSwitch>);

impl PlannedSwitches {
    /// The guest time of the next one in nanoseconds; the largest number where there is none.
    pub(crate) fn next_ns(&self) -> u64 {
        let time = |planned: &PlannedSwitch| match planned.when {
            SwitchTime::Time(time) => Some(time.ns()),
            SwitchTime::Instructions(_) => None,
        };
        self.0.iter().filter_map(time).min().unwrap_or(u64::MAX)
    }
    /// The count of instructions of the next one; the largest number where there is none.
    pub(crate) fn next_instructions(&self) -> u64 {
        let count = |planned: &PlannedSwitch| match planned.when {
            SwitchTime::Instructions(count) => Some(count),
            SwitchTime::Time(_) => None,
        };
        self.0.iter().filter_map(count).min().unwrap_or(u64::MAX)
    }
    /// Whether one is to be made now.
    #[inline]
    pub(crate) fn is_due(&self, now: GuestTime, instructions: impl FnOnce() -> u64) -> bool {
        !self.0.is_empty() && (self.next_ns() <= now.ns() || self.next_instructions() <= instructions())
    }
    /// The engine of the last of those that are due, which are planned no longer.
    fn take_due(&mut self, now: GuestTime, instructions: u64) -> Option<Engine> {
        let is_due = |planned: &mut PlannedSwitch| match planned.when {
            SwitchTime::Time(time) => time <= now,
            SwitchTime::Instructions(count) => count <= instructions,
        };
        self.0.extract_if(.., is_due).last().map(|planned| planned.engine)
    }
}

impl Machine {
    /// Has other engines go on, later. Of those that are due at one moment the last one counts.
    pub fn plan_switches(&mut self, switches: impl IntoIterator<Item = PlannedSwitch>) {
        self.planned.0.extend(switches);
    }
    /// Has another engine go on, while the machine does not run.
    ///
    /// # Errors
    /// The engine cannot be used here, or the host refuses what its vCPUs need; the machine is on the engine that it was on then.
    pub fn switch_engine(&mut self, engine: Engine) -> Result<Switched, MachineError> {
        self.stand_still().switch_engine(engine)
    }
    /// Makes the planned switch that is due, if one is.
    pub(crate) fn switch_as_planned(&mut self, now: GuestTime) {
        let instructions = self.instructions();
        let Some(engine) = self.planned.take_due(now, instructions) else { return };
        if let Err(error) = self.switch_engine(engine) {
            log::error!("the guest stays on {}: {error}", self.engine);
        }
    }
    /// Keeps what the present vCPUs counted of what is summed up.
    pub(crate) fn keep_counts(&mut self) {
        let counts = self.statistics();
        let sum = |name: &str| {
            counts.iter().flatten().filter(|(line, _)| line == name).map(|(_, count)| count).sum()
        };
        self.earlier_counts = SUMMED.iter().map(|name| ((*name).to_owned(), sum(name))).collect();
    }
}

/// Whether a guest that was told of this CPU model can go on with an engine.
///
/// # Errors
/// It lacks something; the text says what, and what would help.
fn check_model(backend: &dyn CpuBackend, engine: Engine, model: &CpuModel) -> Result<(), MachineError> {
    let Lacks { features, tsc_hz } = backend.lacks(model);
    let refused = |reason| Err(MachineError::Engine { engine, reason });
    if !features.is_empty() {
        let names: Vec<_> = features.iter().map(|feature| FEATURES[*feature as usize].name).collect();
        let (them, off) = (names.join(", "), names.join(",-"));
        return refused(format!(
            "it does not offer {them}, which the guest was told of; begin it with --cpu {},-{off}",
            model.name
        ));
    }
    match tsc_hz {
        None => Ok(()),
        Some(hz) => refused(format!(
            "its time-stamp counter has {hz} Hz and cannot be scaled, and the guest was told {}; begin it with --cpu {},tsc-frequency={hz}",
            model.tsc_hz, model.name
        )),
    }
}

impl Standstill<'_> {
    /// Has another engine go on.
    pub(crate) fn switch_engine(&mut self, engine: Engine) -> Result<Switched, MachineError> {
        let machine = &mut *self.machine;
        let began = machine.board.clock.host_now_ns();
        let from = machine.engine;
        if engine != from {
            let mut backend = start(engine, &machine.engine_options)?;
            check_clock(&*backend, engine, machine.config.clock)?;
            check_model(&*backend, engine, &machine.model)?;
            let board = &machine.board;
            let (clock, model) = (machine.config.clock, &machine.model);
            let mut vcpus = make_vcpus(&mut *backend, clock, model, &board.memory, &board.signals)?;
            for (new, old) in vcpus.iter_mut().zip(&mut machine.vcpus) {
                new.take_over(old);
                new.take_over_stops(old, &machine.debugging);
                new.vcpu.set_trace(old.vcpu.set_trace(None));
            }
            machine.keep_counts();
            machine.at_once = runs_at_once(&*backend, &machine.config);
            machine.uncounted = !backend.counts_instructions();
            machine.vcpus = vcpus;
            machine.engine = engine;
            machine.config.engine = Some(engine);
        }
        let took = Duration::from_nanos(machine.board.clock.host_now_ns().saturating_sub(began));
        let (at, instructions) = (machine.board.clock.latest(), machine.instructions());
        let switched = Switched { from, to: engine, took, at, instructions };
        machine.control.publish_switch(switched);
        Ok(switched)
    }
}

impl VcpuSlot {
    /// Goes on where the vCPU of another engine stands.
    fn take_over(&mut self, other: &VcpuSlot) {
        self.vcpu.set_state(&other.vcpu.state());
        if other.halted.is_some() {
            self.halt();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planned_switches_are_due_once_and_the_last_one_counts() {
        let planned = |when, engine| PlannedSwitch { when, engine };
        let mut switches = PlannedSwitches(vec![
            planned(SwitchTime::Time(GuestTime(50)), Engine::Jit),
            planned(SwitchTime::Instructions(10), Engine::Interp),
            planned(SwitchTime::Instructions(20), Engine::Jit),
        ]);
        assert_eq!((switches.next_ns(), switches.next_instructions()), (50, 10));
        assert!(!switches.is_due(GuestTime(49), || 9));
        assert!(switches.is_due(GuestTime(50), || 0) && switches.is_due(GuestTime(0), || 10));
        assert_eq!(switches.take_due(GuestTime(50), 10), Some(Engine::Interp));
        assert_eq!((switches.next_ns(), switches.next_instructions()), (u64::MAX, 20));
        assert_eq!(switches.take_due(GuestTime(60), 19), None);
        assert_eq!(switches.take_due(GuestTime(60), 20), Some(Engine::Jit));
        assert!(!switches.is_due(GuestTime(u64::MAX), || u64::MAX));
    }
}
