//! A whole machine to a value and back.
//!
//! [`Machine::save`] gives everything that the guest could notice: configuration, guest time, RAM, the vCPUs with
//! what waits at their pins, whose turn it is, and each device by its name. [`Machine::restored`] builds a fresh
//! machine and gives it that; nothing of it runs before all of it is taken, so that a state that is refused leaves
//! nothing behind. The engine is not part of it: another one may go on.
//!
//! Both happen while the machine stands still, between two instructions of all vCPUs. Requests that devices have under
//! way are saved by the devices, and begun anew.
//!
//! | part | file |
//! |---|---|
//! | the value, and back | this |
//! | the CPU model, which must be the same | [`cpu_model`] |
//! | the value as a file, and a machine from there | [`file`] |
//! | snapshots: the value beside the disks' own, and a machine that goes back to it | [`snapshots`] |

mod cpu_model;
pub mod file;
pub mod snapshots;

use crate::board::Board;
use crate::config::MachineConfig;
use crate::machine::{BootSource, HostServices, Machine, MachineError};
use crate::networks::NetworksStateV1;
use crate::run::Turn;
use crate::serial_line::{SerialLine, SerialLineStateV1};
pub(crate) use cpu_model::CpuModelStateV1;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use trimotor_bus::address::{PAGE_SIZE, PhysAddr};
use trimotor_bus::memory::{HIGH_RAM_BASE, RamFile, RegionInfo};
use trimotor_bus::peers::PageRange;
use trimotor_bus::signals::SignalsStateV1;
use trimotor_bus::{GuestMemory, GuestTime, RestoreError};
use trimotor_cpu::ArchState;
use trimotor_cpu::arch_check::ImpossibleState;
use trimotor_cpu::model::CpuModel;
use trimotor_devices::drive::Drive;
use trimotor_devices::drive_limits::LimiterStateV1;
use trimotor_devices::requests::MachineRequest;
use trimotor_firmware::boot::BootPlan;

/// A saved machine.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MachineStateV1 {
    /// What it was made from.
    pub config: MachineConfig,
    /// What was booted, for people.
    pub boot_name: String,
    /// What the program around the machine keeps with it: see [`HostServices::host_state`].
    pub host: Vec<u8>,
    model: CpuModelStateV1,
    /// The firmware ROM below 4 GiB: another build may have another one.
    rom: Vec<u8>,
    time_ns: u64,
    next_poll_ns: u64,
    turn: Turn,
    /// See [`Position::step`](crate::events::Position::step).
    step: u64,
    at_position: bool,
    /// What the serial ports see of their cables, COM1 first.
    lines: Vec<SerialLineStateV1>,
    /// What network cards see of their cables, and frames that wait there.
    networks: NetworksStateV1,
    pub(crate) vcpus: Vec<VcpuStateV1>,
    board: BoardStateV1,
    /// Pages of RAM that hold anything but zeros, by their number in RAM.
    ram: BTreeMap<u64, Vec<u8>>,
    /// Memory of devices, by name.
    device_memory: BTreeMap<String, DeviceMemoryStateV1>,
}

/// The saved memory of a device.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct DeviceMemoryStateV1 {
    bytes: u64,
    /// Pages that hold anything but zeros, by their number in it.
    pages: BTreeMap<u64, Vec<u8>>,
}

/// A saved vCPU.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct VcpuStateV1 {
    pub(crate) state: ArchState,
    signals: SignalsStateV1,
    halted: bool,
}

/// What the board remembers, and its devices.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct BoardStateV1 {
    pub(crate) random: u64,
    pub(crate) pci_mechanism: Vec<u8>,
    /// What a device asked of the machine that was not done yet.
    pub(crate) request: Option<MachineRequest>,
    /// Bytes by name, in the order of the registry.
    pub(crate) devices: Vec<(String, Vec<u8>)>,
    /// How far the limits of drives are used up, in the order of the configuration.
    pub(crate) drive_limits: Vec<Option<LimiterStateV1>>,
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
            host: Vec::new(),
            model: CpuModelStateV1::of(&self.model),
            rom: firmware_rom(&self.board.memory),
            time_ns: self.board.clock.now().ns(),
            next_poll_ns: self.next_poll_ns,
            turn: self.turn,
            step: self.intake.step(),
            at_position: self.at_position,
            lines: self.intake.lines().iter().map(SerialLine::save).collect(),
            networks: self.board.networks.save(),
            vcpus: vcpus.collect(),
            board: self.board.save()?,
            ram: self.board.memory.pages_in_use(self.board.memory.main_memory()).collect(),
            device_memory: save_device_memory(&self.board.memory),
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
        Self::restored_with(state, engine, model, services, boot, None, |_| Ok(()))
    }
    /// The same, where RAM may be what is in a file, and `more` gives pages of memory that the state is without.
    fn restored_with(
        state: MachineStateV1,
        engine: Option<crate::Engine>,
        model: Arc<CpuModel>,
        services: HostServices,
        boot: Box<dyn BootSource>,
        ram_file: Option<&RamFile>,
        more: impl FnOnce(&GuestMemory) -> Result<(), MachineError>,
    ) -> Result<Self, MachineError> {
        state.model.check(&model)?;
        let rom = state.rom.clone();
        let boot = Box::new(WithRom { boot, rom });
        let config = MachineConfig { engine, ..state.config.clone() };
        let mut machine = Self::assemble(config, model, services, boot, None, ram_file)?;
        machine.take(state, more)?;
        Ok(machine)
    }
    /// Takes a state, as a machine that is fresh or was just reset; `more` gives pages of memory that the state is without.
    pub(crate) fn take(
        &mut self,
        state: MachineStateV1,
        more: impl FnOnce(&GuestMemory) -> Result<(), MachineError>,
    ) -> Result<(), MachineError> {
        let MachineStateV1 {
            config: _,
            boot_name,
            host: _,
            model: _,
            rom: _,
            time_ns,
            next_poll_ns,
            turn,
            step,
            at_position,
            lines,
            networks,
            vcpus,
            board,
            ram,
            device_memory,
        } = state;
        if vcpus.len() != self.vcpus.len() || !turn.is_possible(vcpus.len()) {
            let value = format!("{} vCPUs, {turn:?}", vcpus.len());
            return Err(RestoreError { part: "machine", field: "vCPUs", value }.into());
        }
        take_pages(&self.board.memory, "RAM", self.board.memory.main_memory(), &ram)?;
        take_device_memory(&self.board.memory, device_memory)?;
        more(&self.board.memory)?;
        self.board.clock.set(GuestTime(time_ns));
        if lines.len() != self.intake.lines().len() {
            let value = format!("{} of {}", lines.len(), self.intake.lines().len());
            return Err(RestoreError { part: "machine", field: "serial lines", value }.into());
        }
        for (line, state) in self.intake.lines().iter().zip(lines) {
            line.restore(state)?;
        }
        // Before the cards, which look at their cables.
        self.board.networks.restore(networks)?;
        self.board.restore(board)?;
        let model = self.model.clone();
        for (slot, saved) in self.vcpus.iter_mut().zip(vcpus) {
            let VcpuStateV1 { state, signals, halted } = saved;
            let impossible = |error: ImpossibleState| RestoreError {
                part: "vCPU",
                field: error.register,
                value: format!("{:#x}", error.value),
            };
            state.check(&model).map_err(impossible)?;
            slot.vcpu.set_state(&state);
            slot.signals.restore(signals)?;
            slot.halted = halted.then(|| slot.vcpu.open_signals());
        }
        self.boot_name = boot_name;
        self.next_poll_ns = next_poll_ns;
        self.turn = turn;
        self.intake.set_step(step);
        self.at_position = at_position;
        self.a20 = !self.board.requests.a20();
        self.apply_a20();
        Ok(())
    }
}

/// The guest's firmware, and what the plan of the next reset says.
struct WithRom {
    boot: Box<dyn BootSource>,
    rom: Vec<u8>,
}
impl BootSource for WithRom {
    fn plan(&mut self) -> Result<BootPlan, String> {
        self.boot.plan()
    }
    fn rom(&mut self) -> Result<Vec<u8>, String> {
        Ok(std::mem::take(&mut self.rom))
    }
}

/// Makes all memory zero that is not: a state has only what is not.
fn clear_memory(memory: &GuestMemory) {
    let clear = |range: PageRange| {
        for page in memory.numbers_in_use(range) {
            memory.write_ram_page(page, &[0; PAGE_SIZE as usize]);
        }
    };
    clear(memory.main_memory());
    memory.regions().into_iter().for_each(|region| clear(region.pages));
}

fn firmware_rom(memory: &GuestMemory) -> Vec<u8> {
    let mut rom = vec![0; memory.rom_bytes() as usize];
    memory.read(PhysAddr(HIGH_RAM_BASE - memory.rom_bytes()), &mut rom);
    rom
}

/// Memory of devices and their ROMs, but for what is all zeros.
fn save_device_memory(memory: &GuestMemory) -> BTreeMap<String, DeviceMemoryStateV1> {
    let save = |RegionInfo { name, pages, .. }| {
        let in_use = memory.pages_in_use(pages).map(|(page, bytes)| (page - pages.first, bytes));
        (name, DeviceMemoryStateV1 { bytes: pages.count * PAGE_SIZE, pages: in_use.collect() })
    };
    memory.regions().into_iter().map(save).collect()
}
fn take_device_memory(
    memory: &GuestMemory,
    mut saved: BTreeMap<String, DeviceMemoryStateV1>,
) -> Result<(), RestoreError> {
    let refuse = |value| Err(RestoreError { part: "machine", field: "device memory", value });
    for region in memory.regions() {
        match saved.remove(&region.name) {
            Some(state) if state.bytes == region.pages.count * PAGE_SIZE => {
                if region.rom {
                    // The host's ROM is there, of which another build may have another one.
                    region
                        .pages
                        .pages()
                        .for_each(|page| memory.write_ram_page(page, &[0; PAGE_SIZE as usize]));
                }
                take_pages(memory, "device memory", region.pages, &state.pages)?;
            }
            Some(state) => return refuse(format!("{} bytes of {}", state.bytes, region.name)),
            None => return refuse(format!("without {}", region.name)),
        }
    }
    match saved.keys().next() {
        Some(name) => refuse(format!("with {name}, which this machine has not")),
        None => Ok(()),
    }
}
/// Takes pages by their number within `range`.
fn take_pages(
    memory: &GuestMemory,
    field: &'static str,
    range: PageRange,
    pages: &BTreeMap<u64, Vec<u8>>,
) -> Result<(), RestoreError> {
    pages.iter().try_for_each(|(page, bytes)| take_page(memory, field, range, *page, bytes))
}
fn take_page(
    memory: &GuestMemory,
    field: &'static str,
    range: PageRange,
    page: u64,
    bytes: &[u8],
) -> Result<(), RestoreError> {
    if page >= range.count || bytes.len() as u64 != PAGE_SIZE {
        let value = format!("page {page:#x} of {} bytes", bytes.len());
        return Err(RestoreError { part: "machine", field, value });
    }
    memory.write_ram_page(range.first + page, bytes);
    Ok(())
}

impl Board {
    fn save(&self) -> Result<BoardStateV1, RestoreError> {
        let named = |id| Ok((self.devices.name(id).to_owned(), self.devices.lock(id).save_bytes()?));
        Ok(BoardStateV1 {
            random: self.random_state(),
            pci_mechanism: self.save_mechanism()?,
            request: self.requests.waiting(),
            devices: self.devices.ids().map(named).collect::<Result<_, RestoreError>>()?,
            drive_limits: self.drives().map(Drive::save_limits).collect(),
        })
    }
    /// Restores the devices in the order of the registry: the interrupt controllers come first, with the levels of
    /// their inputs, so that devices that then drive their wires make no edges.
    fn restore(&self, state: BoardStateV1) -> Result<(), RestoreError> {
        let BoardStateV1 { random, pci_mechanism, request, devices, drive_limits } = state;
        if drive_limits.len() != self.drives().count() {
            let value = format!("of {} drives", drive_limits.len());
            return Err(RestoreError { part: "machine", field: "limits", value });
        }
        let now = self.clock.now();
        for (drive, state) in self.drives().zip(&drive_limits) {
            drive.restore_limits(state.as_ref(), now)?;
        }
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
        // Chips that drive the A20 gate as they are restored ask for nothing.
        _ = self.requests.take();
        if let Some(request) = request {
            self.requests.request(request);
        }
        Ok(())
    }
}
