//! A whole machine to a value and back.
//!
//! [`Machine::save`] gives everything that the guest could notice: configuration, guest time, RAM, the vCPUs with
//! what waits at their pins, whose turn it is, and each device by its name. [`Machine::restored`] builds a fresh
//! machine and gives it that; nothing of it runs before all of it is taken, so that a state that is refused leaves
//! nothing behind. The engine is not part of it: another one may go on.
//!
//! Both happen while the machine stands still, between two instructions of all vCPUs. Requests that devices have under
//! way are saved by the devices, and begun anew.

use crate::board::Board;
use crate::config::MachineConfig;
use crate::machine::{BootSource, HostServices, Machine, MachineError};
use crate::run::Turn;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use trimotor_bus::address::PAGE_SIZE;
use trimotor_bus::signals::SignalsStateV1;
use trimotor_bus::{GuestTime, RestoreError};
use trimotor_cpu::ArchState;
use trimotor_cpu::model::CpuModel;

/// A saved machine.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MachineStateV1 {
    /// What it was made from.
    pub config: MachineConfig,
    /// What was booted, for people.
    pub boot_name: String,
    time_ns: u64,
    next_poll_ns: u64,
    turn: Turn,
    vcpus: Vec<VcpuStateV1>,
    board: BoardStateV1,
    /// Pages of RAM that hold anything but zeros, by their number in RAM.
    ram: BTreeMap<u64, Vec<u8>>,
}

/// A saved vCPU.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct VcpuStateV1 {
    state: ArchState,
    signals: SignalsStateV1,
    halted: bool,
}

/// What the board remembers, and its devices.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct BoardStateV1 {
    pub(crate) random: u64,
    pub(crate) pci_mechanism: Vec<u8>,
    /// Bytes by name, in the order of the registry.
    pub(crate) devices: Vec<(String, Vec<u8>)>,
}

impl Machine {
    /// The machine as it is now.
    ///
    /// # Errors
    /// A device that cannot be saved.
    pub fn save(&mut self) -> Result<MachineStateV1, MachineError> {
        let vcpus = self.vcpus.iter().map(|slot| VcpuStateV1 {
            state: slot.vcpu.state(),
            signals: slot.signals.save(),
            halted: slot.halted.is_some(),
        });
        Ok(MachineStateV1 {
            config: MachineConfig { engine: None, ..self.config.clone() },
            boot_name: self.boot_name().to_owned(),
            time_ns: self.board.clock.now().ns(),
            next_poll_ns: self.next_poll_ns,
            turn: self.turn,
            vcpus: vcpus.collect(),
            board: self.board.save()?,
            ram: self.board.memory.pages_in_use().collect(),
        })
    }

    /// A machine that goes on where `state` was saved, on the engine that `engine` names or the fastest one. `boot` is
    /// asked for a plan at the next reset.
    ///
    /// # Errors
    /// See [`MachineError`]; a state that this build's devices refuse.
    pub fn restored(
        state: MachineStateV1,
        engine: Option<crate::Engine>,
        model: Arc<CpuModel>,
        services: HostServices,
        boot: Box<dyn BootSource>,
    ) -> Result<Self, MachineError> {
        let MachineStateV1 { config, boot_name, time_ns, next_poll_ns, turn, vcpus, board, ram } = state;
        let mut machine = Self::assemble(MachineConfig { engine, ..config }, model, services, boot)?;
        if vcpus.len() != machine.vcpus.len() || !turn.is_possible(vcpus.len()) {
            let value = format!("{} vCPUs, {turn:?}", vcpus.len());
            return Err(RestoreError { part: "machine", field: "vCPUs", value }.into());
        }
        machine.take_ram(&ram)?;
        machine.board.clock.set(GuestTime(time_ns));
        machine.board.restore(board)?;
        for (slot, saved) in machine.vcpus.iter_mut().zip(vcpus) {
            let VcpuStateV1 { state, signals, halted } = saved;
            slot.vcpu.set_state(&state);
            slot.signals.restore(signals)?;
            slot.halted = halted.then(|| slot.vcpu.open_signals());
        }
        machine.boot_name = boot_name;
        machine.next_poll_ns = next_poll_ns;
        machine.turn = turn;
        machine.a20 = !machine.board.requests.a20();
        machine.apply_a20();
        Ok(machine)
    }
    fn take_ram(&self, ram: &BTreeMap<u64, Vec<u8>>) -> Result<(), RestoreError> {
        let memory = &self.board.memory;
        for (page, bytes) in ram {
            if *page >= memory.ram_pages() as u64 || bytes.len() as u64 != PAGE_SIZE {
                let value = format!("page {page:#x} of {} bytes", bytes.len());
                return Err(RestoreError { part: "machine", field: "RAM", value });
            }
            memory.write_ram_page(*page, bytes);
        }
        Ok(())
    }
}

impl Board {
    fn save(&self) -> Result<BoardStateV1, RestoreError> {
        let named = |id| Ok((self.devices.name(id).to_owned(), self.devices.lock(id).save_bytes()?));
        Ok(BoardStateV1 {
            random: self.random_state(),
            pci_mechanism: self.save_mechanism()?,
            devices: self.devices.ids().map(named).collect::<Result<_, RestoreError>>()?,
        })
    }
    /// Restores the devices in the order of the registry: the interrupt controllers come first, with the levels of
    /// their inputs, so that devices that then drive their wires make no edges.
    fn restore(&self, state: BoardStateV1) -> Result<(), RestoreError> {
        let BoardStateV1 { random, pci_mechanism, devices } = state;
        let mut named: BTreeMap<String, Vec<u8>> = devices.into_iter().collect();
        for id in self.devices.ids() {
            let name = self.devices.name(id);
            let bytes = named.remove(name).ok_or_else(|| RestoreError {
                part: "machine",
                field: "devices",
                value: format!("without {name}"),
            })?;
            self.devices.lock(id).restore_bytes(&bytes)?;
        }
        if let Some(name) = named.keys().next() {
            let value = format!("with {name}, which this machine has not");
            return Err(RestoreError { part: "machine", field: "devices", value });
        }
        self.restore_mechanism(&pci_mechanism)?;
        self.set_random_state(random);
        self.after_change();
        Ok(())
    }
}
