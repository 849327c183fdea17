//! The two machines, and what of them is compared.

use super::{Make, Outside};
use crate::clock::HostClock;
use crate::events::MemoryLog;
use crate::exit::ExitReason;
use crate::machine::{HostServices, Machine, MachineError};
use std::sync::{Arc, Mutex, PoisonError};
use trimotor_cpu::ArchState;
use trimotor_devices::serial::SerialBackend;

/// Bytes of an instruction at most.
pub(super) const LONGEST: usize = 15;

/// What a guest wrote to a serial port.
#[derive(Clone, Default, Debug)]
pub struct SerialLog(Arc<Mutex<Vec<u8>>>);

impl SerialLog {
    /// All of it.
    pub fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl SerialBackend for SerialLog {
    fn write(&mut self, bytes: &[u8]) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        bytes.len()
    }
    fn flush(&mut self) {}
    fn read(&mut self, _into: &mut [u8]) -> usize {
        0
    }
    fn connected(&self) -> bool {
        true
    }
}

/// A clock that nobody reads: guest time counts instructions.
struct NoClock;

impl HostClock for NoClock {
    fn now_ns(&self) -> u64 {
        0
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    Same,
    Different,
}

/// What ended the two machines' runs.
pub(super) type Ends = [Option<ExitReason>; 2];

pub(super) struct Pair {
    pub(super) machines: [Machine; 2],
    outputs: [SerialLog; 2],
    followed: Option<Followed>,
}

/// What the second machine gets of what comes to the first one.
struct Followed {
    log: MemoryLog,
    /// So many events it has got.
    given: usize,
}

impl Pair {
    /// Two machines at their beginning. With `events`, what comes from outside to the first one is kept there, and comes to the second
    /// one too; where there are some already, both get these.
    pub(super) fn new(make: &mut Make<'_>, events: Option<&MemoryLog>) -> Result<Pair, MachineError> {
        let outputs = [SerialLog::default(), SerialLog::default()];
        let mut one = |side: usize, outside: Outside| {
            let serial: Vec<Box<dyn SerialBackend>> = vec![Box::new(outputs[side].clone())];
            make(side, HostServices { serial, ..HostServices::new(Arc::new(NoClock)) }, outside)
        };
        let (machines, followed) = match events {
            None => ([one(0, Outside::Host)?, one(1, Outside::Host)?], None),
            Some(log) if log.is_empty() => {
                let mut first = one(0, Outside::Host)?;
                first.log_events(Box::new(log.clone()));
                let begin = log.events();
                let given = begin.len();
                let second = one(1, Outside::Replayed(begin))?;
                ([first, second], Some(Followed { log: log.clone(), given }))
            }
            Some(log) => {
                ([one(0, Outside::Replayed(log.events()))?, one(1, Outside::Replayed(log.events()))?], None)
            }
        };
        assert!(
            machines.iter().all(|machine| machine.board.clock.counts_instructions()),
            "lockstep needs guest time from a count of instructions"
        );
        Ok(Pair { machines, outputs, followed })
    }
    pub(super) fn run_until(&mut self, instructions: u64) -> Ends {
        let [first, second] = &mut self.machines;
        let end = first.run_until(instructions);
        if let Some(followed) = &mut self.followed {
            let more = followed.log.events_from(followed.given);
            followed.given += more.len();
            second.replay_more(more);
        }
        [end, second.run_until(instructions)]
    }
    /// Where each left what came from outside: an engine did something else, or did it at another instruction.
    pub(super) fn divergences(&self) -> [Option<String>; 2] {
        self.machines.each_ref().map(|machine| machine.divergence().map(ToString::to_string))
    }
    pub(super) fn instructions(&self) -> [u64; 2] {
        self.machines.each_ref().map(Machine::instructions)
    }
    /// What the guest of one side wrote to COM1.
    pub(super) fn output(&self, side: usize) -> Vec<u8> {
        self.outputs[side].bytes()
    }
    /// The states of all vCPUs on both sides.
    pub(super) fn states(&self) -> [Vec<ArchState>; 2] {
        self.machines.each_ref().map(|machine| machine.vcpus.iter().map(|slot| slot.vcpu.state()).collect())
    }
    /// The bytes of the instruction that each vCPU runs next, as the first side has them.
    pub(super) fn next_instructions(&mut self) -> Vec<Vec<u8>> {
        let machine = &mut self.machines[0];
        let cpus = machine.vcpus();
        let code = |cpu| {
            let mut bytes = vec![0; LONGEST];
            let read = machine.code_at_rip(cpu, &mut bytes);
            bytes.truncate(read);
            bytes
        };
        (0..cpus).map(code).collect()
    }
    /// Guest time on both sides, in nanoseconds.
    pub(super) fn times(&mut self) -> [u64; 2] {
        self.machines.each_mut().map(|machine| machine.board.clock.now().ns())
    }
    /// The pages of RAM that differ.
    pub(super) fn differing_pages(&self) -> Vec<u64> {
        self.machines[0].board.memory.differing_pages(&self.machines[1].board.memory)
    }
    /// Compares everything but RAM, and RAM if `memory`.
    pub(super) fn compare(&mut self, ends: &Ends, memory: bool) -> Verdict {
        let [first, second] = self.states();
        let [time, other_time] = self.times();
        let same = first == second
            && time == other_time
            && ends[0] == ends[1]
            && self.output(0) == self.output(1)
            && self.divergences() == [None, None]
            && (!memory || self.differing_pages().is_empty());
        if same { Verdict::Same } else { Verdict::Different }
    }
}
