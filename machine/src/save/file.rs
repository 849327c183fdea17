//! A saved machine as a file ([`trimotor_snapshot`]), and a machine from there.
//!
//! | section | what is in it |
//! |---|---|
//! | `machine` | [`MachineSectionV1`]: the configuration, what the board and the run loop remember |
//! | `cpu model` | what the guest sees of its CPU |
//! | `host` | what the program keeps with the machine |
//! | `vcpu N` | a vCPU |
//! | `device NAME` | a device's state, as the device encodes it |
//! | `firmware ROM` | its bytes |
//! | `ram` | pages of RAM |
//! | `mapped ram` | instead: which pages of RAM stand behind all sections as they are ([`trimotor_snapshot::mapped`]) |
//! | `memory NAME` | pages of a device's memory, or of its ROM |
//!
//! Memory comes last, and goes into the machine as it is read: a reader needs no second copy.

use super::{
    BoardStateV1, CpuModelStateV1, DeviceMemoryStateV1, MachineStateV1, NetworksStateV1, SerialLineStateV1,
    Turn, VcpuStateV1, take_page,
};
use crate::config::MachineConfig;
use crate::engines::Engine;
use crate::machine::{BootSource, HostServices, Machine, MachineError};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::sync::Arc;
use trimotor_bus::GuestMemory;
use trimotor_bus::address::PAGE_SIZE;
use trimotor_bus::memory::{MAX_ROM, RamFile};
use trimotor_cpu::model::CpuModel;
use trimotor_devices::drive_limits::LimiterStateV1;
use trimotor_devices::requests::MachineRequest;
use trimotor_snapshot::mapped::{ALIGNMENT, MAPPED, MAPPED_VERSION, MappedV1};
use trimotor_snapshot::pages::Unpacker;
use trimotor_snapshot::{FormatError, Reader, Section, Writer};

const MACHINE: &str = "machine";
const CPU_MODEL: &str = "cpu model";
const HOST: &str = "host";
const ROM: &str = "firmware ROM";
const RAM: &str = "ram";
/// What the sections' names of other parts begin with.
const VCPU: &str = "vcpu ";
const DEVICE: &str = "device ";
const DEVICE_MEMORY: &str = "memory ";
/// The version of the content of all sections so far.
const FIRST: u16 = 1;

/// Bytes of all sections before memory, at most: many times what a machine has.
const MOST_STATE_BYTES: usize = 256 << 20;

/// What has no section of its own.
#[derive(Serialize, Deserialize)]
struct MachineSectionV1 {
    config: MachineConfig,
    boot_name: String,
    time_ns: u64,
    next_poll_ns: u64,
    turn: Turn,
    step: u64,
    at_position: bool,
    lines: Vec<SerialLineStateV1>,
    networks: NetworksStateV1,
    random: u64,
    pci_mechanism: Vec<u8>,
    request: Option<MachineRequest>,
    drive_limits: Vec<Option<LimiterStateV1>>,
    /// The devices, in the order of the registry.
    devices: Vec<String>,
    /// Pages of RAM that are in the file.
    ram_pages: u64,
    /// Each device's memory: its name, its bytes, and how many of its pages are in the file.
    device_memory: Vec<(String, u64, u64)>,
}

impl MachineSectionV1 {
    fn of(state: &MachineStateV1) -> Self {
        let memory = |(name, memory): (&String, &DeviceMemoryStateV1)| {
            (name.clone(), memory.bytes, memory.pages.len() as u64)
        };
        Self {
            config: state.config.clone(),
            boot_name: state.boot_name.clone(),
            time_ns: state.time_ns,
            next_poll_ns: state.next_poll_ns,
            turn: state.turn,
            step: state.step,
            at_position: state.at_position,
            lines: state.lines.clone(),
            networks: state.networks.clone(),
            random: state.board.random,
            pci_mechanism: state.board.pci_mechanism.clone(),
            request: state.board.request,
            drive_limits: state.board.drive_limits.clone(),
            devices: state.board.devices.iter().map(|(name, _)| name.clone()).collect(),
            ram_pages: state.ram.len() as u64,
            device_memory: state.device_memory.iter().map(memory).collect(),
        }
    }
}

impl MachineStateV1 {
    /// Writes the machine as a file; gives back what was written to.
    ///
    /// # Errors
    /// The host cannot write.
    pub fn write_to<W: Write>(&self, out: W) -> Result<W, FormatError> {
        let mut writer = self.write_state(out)?;
        writer.pages(RAM, self.ram_pages())?;
        self.write_device_memory(&mut writer)?;
        writer.finish()
    }
    /// Writes the machine as a file whose RAM can be mapped; gives back what was written to, and how many bytes the file must have:
    /// its end may be a hole.
    ///
    /// # Errors
    /// The host cannot write.
    pub fn write_mapped_to<W: Write + Seek>(&self, out: W) -> Result<(W, u64), FormatError> {
        let mut writer = self.write_state(out)?;
        writer.value(MAPPED, MAPPED_VERSION, &MappedV1::of(self.ram_pages()))?;
        self.write_device_memory(&mut writer)?;
        let (out, at) = writer.finish_mapped(self.ram_pages())?;
        Ok((out, at + self.config.memory_bytes))
    }
    fn ram_pages(&self) -> impl Iterator<Item = (u64, &[u8])> {
        self.ram.iter().map(|(page, bytes)| (*page, &bytes[..]))
    }
    /// Everything but memory.
    fn write_state<W: Write>(&self, out: W) -> Result<Writer<W>, FormatError> {
        let mut writer = Writer::new(out)?;
        writer.value(MACHINE, FIRST, &MachineSectionV1::of(self))?;
        writer.value(CPU_MODEL, FIRST, &self.model)?;
        writer.section(HOST, FIRST, &self.host)?;
        for (number, vcpu) in self.vcpus.iter().enumerate() {
            writer.value(&format!("{VCPU}{number}"), FIRST, vcpu)?;
        }
        for (name, bytes) in &self.board.devices {
            writer.section(&format!("{DEVICE}{name}"), FIRST, bytes)?;
        }
        writer.section(ROM, FIRST, &self.rom)?;
        Ok(writer)
    }
    fn write_device_memory(&self, writer: &mut Writer<impl Write>) -> Result<(), FormatError> {
        for (name, memory) in &self.device_memory {
            let pages = memory.pages.iter().map(|(page, bytes)| (*page, &bytes[..]));
            writer.pages(&format!("{DEVICE_MEMORY}{name}"), pages)?;
        }
        Ok(())
    }
}

/// A file with a saved machine, read up to its memory.
pub struct SavedMachine<R> {
    state: MachineStateV1,
    /// How many pages of each memory are to come, by the names of their sections.
    pages: BTreeMap<String, u64>,
    /// The pages of RAM behind all sections, where they are there.
    mapped: Option<MappedV1>,
    /// The first section with memory, if there is one.
    next: Option<Section>,
    reader: Reader<R>,
}

impl<R: Read + Seek> SavedMachine<R> {
    /// Reads everything but memory.
    ///
    /// # Errors
    /// It is no saved machine, or one that this build does not understand.
    pub fn read(input: R) -> Result<Self, FormatError> {
        let mut reader = Reader::new(input)?;
        let mut sections = Sections::default();
        let next = loop {
            match reader.next()? {
                Some(section) if is_memory(&section.name) => break Some(section),
                Some(section) => sections.add(section)?,
                None => break None,
            }
        };
        let machine: MachineSectionV1 = sections.take_value(MACHINE)?;
        let mapped: Option<MappedV1> = match sections.by_name.contains_key(MAPPED) {
            true => Some(sections.take_value(MAPPED)?),
            false => None,
        };
        let mut pages = BTreeMap::new();
        match &mapped {
            None => _ = pages.insert(RAM.to_owned(), machine.ram_pages),
            Some(mapped) if mapped.count() == machine.ram_pages => {}
            Some(mapped) => {
                let reason = format!("it has {} pages of {}", mapped.count(), machine.ram_pages);
                return Err(FormatError::in_section(MAPPED, reason));
            }
        }
        let of_device = |(name, _, count): &(String, u64, u64)| (format!("{DEVICE_MEMORY}{name}"), *count);
        pages.extend(machine.device_memory.iter().map(of_device));
        let state = sections.into_state(machine)?;
        Ok(Self { state, pages, mapped, next, reader })
    }
    /// What the machine was made from.
    pub fn config(&self) -> &MachineConfig {
        &self.state.config
    }
    /// The CPU model, as [`CpuModel::parse`](trimotor_cpu::model::CpuModel::parse) takes it, and the frequency of its time-stamp
    /// counter in Hz. It is not always that of the command line: the engine that the machine began on may have lacked something.
    pub fn cpu_model(&self) -> (&str, u64) {
        self.state.model.named()
    }
    /// What the program kept with it.
    pub fn host(&self) -> &[u8] {
        &self.state.host
    }
    /// Whether its RAM can be mapped: see [`restore_clone`](Self::restore_clone).
    pub fn is_mapped(&self) -> bool {
        self.mapped.is_some()
    }
    /// A machine that goes on where this one was saved: see [`Machine::restored`].
    ///
    /// # Errors
    /// As there; a file that is damaged.
    pub fn restore(
        self,
        engine: Option<Engine>,
        model: Arc<CpuModel>,
        services: HostServices,
        boot: Box<dyn BootSource>,
    ) -> Result<Machine, MachineError> {
        let Self { state, pages, mapped, next, reader } = self;
        Machine::restored_with(state, engine, model, services, boot, None, |memory| {
            let reader = read_memory(memory, pages, next, reader)?;
            let Some(mapped) = mapped else { return Ok(()) };
            reader.mapped_pages(&mapped, |page, bytes| {
                Ok(take_page(memory, "RAM", memory.main_memory(), page, bytes)?)
            })
        })
    }
    /// The machine as a value, with all of its memory: the whole file is read, and all its checksums hold.
    ///
    /// # Errors
    /// It is damaged.
    pub fn into_state(self) -> Result<MachineStateV1, FormatError> {
        let Self { mut state, mut pages, mapped, next, mut reader } = self;
        if mapped.is_some() {
            return Err(FormatError::in_section(MAPPED, "it stands in a file of its own"));
        }
        let mut unpacker = Unpacker::new();
        let mut next = next;
        while let Some(section) = next {
            let name = section.name.clone();
            let memory = match name.strip_prefix(DEVICE_MEMORY) {
                None if name == RAM => Some((state.config.memory_bytes, &mut state.ram)),
                None => None,
                Some(device) => {
                    state.device_memory.get_mut(device).map(|memory| (memory.bytes, &mut memory.pages))
                }
            };
            let (Some((bytes, into)), Some(missing)) = (memory, pages.get_mut(&name)) else {
                return Err(unknown(&section));
            };
            section.pages::<FormatError>(&mut unpacker, |page, content| {
                *missing = missing
                    .checked_sub(1)
                    .ok_or_else(|| section.refused("there are more pages than were saved"))?;
                if page >= bytes / PAGE_SIZE {
                    return Err(section.refused("a page that the machine has not"));
                }
                into.insert(page, content.to_vec());
                Ok(())
            })?;
            next = reader.next()?;
        }
        none_missing(&pages)?;
        Ok(state)
    }
    /// The same, where RAM is mapped from `file`, the one that this was read from: nothing of it is read, or checked, before it is
    /// used. A machine whose RAM cannot be mapped has a copy. A `random_seed` takes the place of the saved one: clones should not draw
    /// the same numbers.
    ///
    /// # Errors
    /// As [`restore`](Self::restore).
    pub fn restore_clone(
        mut self,
        file: File,
        random_seed: Option<u64>,
        engine: Option<Engine>,
        model: Arc<CpuModel>,
        services: HostServices,
        boot: Box<dyn BootSource>,
    ) -> Result<Machine, MachineError> {
        self.state.board.random = random_seed.unwrap_or(self.state.board.random);
        let Some(mapped) = self.mapped.take() else { return self.restore(engine, model, services, boot) };
        let Self { state, pages, next, mut reader, .. } = self;
        // Where RAM begins is known behind the last section.
        let mut device_memory: Vec<Section> = next.into_iter().collect();
        while let Some(section) = reader.next()? {
            device_memory.push(section);
        }
        let ram = RamFile {
            file,
            at: reader.position().next_multiple_of(ALIGNMENT),
            in_use: mapped.ranges().collect(),
        };
        Machine::restored_with(state, engine, model, services, boot, Some(&ram), |memory| {
            take_sections(memory, pages, device_memory.into_iter().map(Ok))
        })
    }
}

fn is_memory(section: &str) -> bool {
    section == RAM || section.starts_with(DEVICE_MEMORY)
}

/// Reads the sections with memory into the machine.
fn read_memory<R: Read>(
    memory: &GuestMemory,
    missing: BTreeMap<String, u64>,
    next: Option<Section>,
    mut reader: Reader<R>,
) -> Result<Reader<R>, MachineError> {
    let more = std::iter::from_fn(|| reader.next().transpose());
    take_sections(memory, missing, next.into_iter().map(Ok).chain(more))?;
    Ok(reader)
}
/// Takes sections with memory, which have as many pages as are `missing`.
fn take_sections(
    memory: &GuestMemory,
    mut missing: BTreeMap<String, u64>,
    sections: impl Iterator<Item = Result<Section, FormatError>>,
) -> Result<(), MachineError> {
    let of_device =
        |region: trimotor_bus::memory::RegionInfo| (format!("{DEVICE_MEMORY}{}", region.name), region.pages);
    let mut ranges: BTreeMap<String, _> = memory.regions().into_iter().map(of_device).collect();
    ranges.insert(RAM.to_owned(), memory.main_memory());
    let mut unpacker = Unpacker::new();
    for section in sections {
        let section = section?;
        let (Some(range), Some(missing)) = (ranges.get(&section.name), missing.get_mut(&section.name)) else {
            return Err(unknown(&section).into());
        };
        let field = if section.name == RAM { "RAM" } else { "device memory" };
        section.pages::<MachineError>(&mut unpacker, |page, bytes| {
            *missing = missing
                .checked_sub(1)
                .ok_or_else(|| section.refused("there are more pages than were saved"))?;
            Ok(take_page(memory, field, *range, page, bytes)?)
        })?;
    }
    Ok(none_missing(&missing)?)
}
fn none_missing(missing: &BTreeMap<String, u64>) -> Result<(), FormatError> {
    match missing.iter().find(|(_, count)| **count > 0) {
        Some((name, count)) => Err(FormatError::in_section(name, format!("{count} pages are missing"))),
        None => Ok(()),
    }
}

fn unknown(section: &Section) -> FormatError {
    section.refused("this build does not know it: use the build that saved it")
}

/// Sections by name.
#[derive(Default)]
struct Sections {
    by_name: BTreeMap<String, Section>,
    bytes: usize,
}

impl Sections {
    fn add(&mut self, section: Section) -> Result<(), FormatError> {
        self.bytes += section.name.len() + section.content.len();
        if self.bytes > MOST_STATE_BYTES {
            return Err(section.refused("all sections together are too large"));
        }
        if self.by_name.contains_key(&section.name) {
            return Err(section.refused("it is there twice"));
        }
        self.by_name.insert(section.name.clone(), section);
        Ok(())
    }
    /// The section of this name.
    fn take(&mut self, name: &str) -> Result<Section, FormatError> {
        let section =
            self.by_name.remove(name).ok_or_else(|| FormatError::in_section(name, "it is missing"))?;
        section.check_version(FIRST)?;
        Ok(section)
    }
    fn take_value<T: DeserializeOwned>(&mut self, name: &str) -> Result<T, FormatError> {
        self.take(name)?.value()
    }
    /// The state, without pages of memory. No section may be left.
    fn into_state(mut self, machine: MachineSectionV1) -> Result<MachineStateV1, FormatError> {
        let MachineSectionV1 {
            config,
            boot_name,
            time_ns,
            next_poll_ns,
            turn,
            step,
            at_position,
            lines,
            networks,
            random,
            pci_mechanism,
            request,
            drive_limits,
            devices,
            ram_pages: _,
            device_memory,
        } = machine;
        let model: CpuModelStateV1 = self.take_value(CPU_MODEL)?;
        let host = self.take(HOST)?.content;
        let rom = self.take(ROM)?;
        if rom.content.len() > MAX_ROM {
            return Err(rom.refused(format!("{} bytes are too many", rom.content.len())));
        }
        let vcpu = |number: u8| self.take_value(&format!("{VCPU}{number}"));
        let vcpus: Vec<VcpuStateV1> = (0..config.cpus).map(vcpu).collect::<Result<_, _>>()?;
        let mut device = |name: String| {
            let section = self.take(&format!("{DEVICE}{name}"))?;
            Ok((name, section.content))
        };
        let devices = devices.into_iter().map(&mut device).collect::<Result<_, FormatError>>()?;
        if let Some(section) = self.by_name.values().next() {
            return Err(unknown(section));
        }
        let memory = |(name, bytes, _)| (name, DeviceMemoryStateV1 { bytes, pages: BTreeMap::new() });
        Ok(MachineStateV1 {
            config,
            boot_name,
            host,
            model,
            rom: rom.content,
            time_ns,
            next_poll_ns,
            turn,
            step,
            at_position,
            lines,
            networks,
            vcpus,
            board: BoardStateV1 { random, pci_mechanism, request, devices, drive_limits },
            ram: BTreeMap::new(),
            device_memory: device_memory.into_iter().map(memory).collect(),
        })
    }
}
