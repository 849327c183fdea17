//! The two machines, and what of them is compared.

use crate::clock::HostClock;
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
}

impl Pair {
    pub(super) fn new(
        make: &mut dyn FnMut(usize, HostServices) -> Result<Machine, MachineError>,
    ) -> Result<Pair, MachineError> {
        let outputs = [SerialLog::default(), SerialLog::default()];
        let mut one = |side: usize| {
            let serial: Vec<Box<dyn SerialBackend>> = vec![Box::new(outputs[side].clone())];
            make(side, HostServices { serial, ..HostServices::new(Arc::new(NoClock)) })
        };
        let machines = [one(0)?, one(1)?];
        assert!(
            machines.iter().all(|machine| machine.board.clock.counts_instructions()),
            "lockstep needs guest time from a count of instructions"
        );
        Ok(Pair { machines, outputs })
    }
    pub(super) fn run_until(&mut self, instructions: u64) -> Ends {
        self.machines.each_mut().map(|machine| machine.run_until(instructions))
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
            && (!memory || self.differing_pages().is_empty());
        if same { Verdict::Same } else { Verdict::Different }
    }
}
