//! The machine: made, reset, looked at. How it runs is in [`crate::run`].

use crate::board::Board;
use crate::boot;
use crate::clock::HostClock;
use crate::config::{ClockSource, MachineConfig, OnPanic, OnReset};
use crate::control::{MachineControl, MachineEvent, Shot};
use crate::debugger::Debugging;
use crate::devices::drive_tables::write_boot_order;
use crate::engines::{Engine, EngineOptions};
use crate::events::{Intake, PowerOn};
use crate::exit::ExitReason;
use crate::pace::Pace;
use crate::run::{Turn, shot};
use crate::serial_line::{SerialLine, serial_lines};
use crate::slice_timer::SliceTimer;
use crate::switch::PlannedSwitches;
use crate::trace::Tracing;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use trimotor_bus::board::MAX_VCPUS;
use trimotor_bus::memory::{MemoryError, RamFile};
use trimotor_bus::{GuestMemory, VcpuSignals};
use trimotor_cpu::ArchState;
use trimotor_cpu::backend::{BackendError, CpuBackend, Lacks, Vcpu};
use trimotor_cpu::model::{CpuModel, FEATURES, Feature};
use trimotor_devices::debug_port::DebugSink;
use trimotor_devices::drive::Medium;
use trimotor_devices::lapic::LapicModel;
use trimotor_devices::requests::ResetCause;
use trimotor_devices::serial::SerialBackend;
use trimotor_devices::vga::TextScreen;
use trimotor_devices::virtio::rng::Entropy;
use trimotor_firmware::boot::{ApplyError, BootPlan};
use trimotor_net::NetBackend;

/// What the host provides to a machine.
pub struct HostServices {
    /// The monotonic clock.
    pub clock: Arc<dyn HostClock>,
    /// What is at the other end of the serial ports, COM1 first; ports without one are unplugged.
    pub serial: Vec<Box<dyn SerialBackend>>,
    /// What is at the other end of ports of other devices, by the ids that their options name.
    pub chardevs: BTreeMap<String, Box<dyn SerialBackend>>,
    /// Where bytes written to port E9h go, if anywhere.
    pub debug_console: Option<Box<dyn DebugSink>>,
    /// The expansion ROM of the VGA; empty: it has none.
    pub vga_rom: Vec<u8>,
    /// Files that firmware finds by fw_cfg, by their names there.
    pub firmware_files: Vec<(String, Vec<u8>)>,
    /// What is in the drives, by their ids; a drive without a medium is empty.
    pub drives: BTreeMap<String, Medium>,
    /// Expansion ROMs of cards, by what their options `romfile` say.
    pub option_roms: BTreeMap<String, Vec<u8>>,
    /// The networks that cards may be connected to, by their ids.
    pub networks: BTreeMap<String, Arc<dyn NetBackend>>,
    /// Where devices get random bytes; without it they follow from the configuration's seed, as a reproducible run needs.
    pub entropy: Option<Entropy>,
    /// What profilers want of the engine.
    pub engine: EngineOptions,
    /// With a counted clock: whether so much output waits for the host that the machine must stand still for a while.
    pub output_waits: Option<Box<dyn Fn() -> bool + Send>>,
    /// What the program keeps with a saved machine.
    pub host_state: Option<Box<dyn HostState>>,
}

/// What the program around a machine keeps with a saved one, in bytes that only it understands.
pub trait HostState: Send {
    /// What is kept of the machine as it is now. It is asked while the machine stands still, with all that the guest has written
    /// on its disks.
    ///
    /// # Errors
    /// Such a machine cannot be saved, and why.
    fn state(&self) -> Result<Vec<u8>, String>;
    /// Sees that this machine can go back to a snapshot with which this was kept.
    ///
    /// # Errors
    /// It cannot, and what would help.
    fn check(&self, kept: &[u8]) -> Result<(), String>;
    /// The time since 1970, for the dates of snapshots.
    fn since_1970(&self) -> Duration;
    /// Random bytes, for what must be another one where the machine goes back or is cloned.
    fn random(&self) -> [u8; 16];
}

impl HostServices {
    /// A clock and nothing else: all ports are unplugged.
    pub fn new(clock: Arc<dyn HostClock>) -> Self {
        Self {
            clock,
            serial: Vec::new(),
            chardevs: BTreeMap::new(),
            debug_console: None,
            vga_rom: Vec::new(),
            firmware_files: Vec::new(),
            drives: BTreeMap::new(),
            networks: BTreeMap::new(),
            option_roms: BTreeMap::new(),
            entropy: None,
            engine: EngineOptions::default(),
            output_waits: None,
            host_state: None,
        }
    }
}

/// A machine could not be made.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// A number that no board has.
    #[error("{cpus} processors: a machine has 1 to {MAX_VCPUS}")]
    Cpus {
        /// The number asked for.
        cpus: u8,
    },
    /// Guest memory cannot be made.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The engine cannot be used.
    #[error("--accel {engine}: {reason}")]
    Engine {
        /// The engine.
        engine: Engine,
        /// Why, and what would help.
        reason: String,
    },
    /// The host has no thread left.
    #[error("the host gives no thread: {0}")]
    Thread(#[from] std::io::Error),
    /// The engine cannot make a vCPU.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// The boot plan does not fit this machine.
    #[error(transparent)]
    Boot(#[from] ApplyError),
    /// The board cannot have a device.
    #[error(transparent)]
    Device(#[from] crate::devices::DeviceError),
    /// A saved state that this machine cannot have.
    #[error(transparent)]
    Restore(#[from] trimotor_bus::RestoreError),
    /// A file with a saved machine that cannot be read.
    #[error(transparent)]
    File(#[from] trimotor_snapshot::FormatError),
    /// The machine was saved with another CPU model.
    #[error("section \"cpu model\": the machine was saved with {name}; {differs}")]
    CpuModel {
        /// The saved one's name.
        name: String,
        /// What a guest sees of the difference.
        differs: String,
    },
    /// There is no boot plan: see [`BootSource::plan`].
    #[error("{0}")]
    Source(String),
}

/// What a CPU model says of its local APIC.
fn lapic_model(model: &CpuModel) -> LapicModel {
    LapicModel {
        tsc_hz: model.tsc_hz,
        x2apic: model.has(Feature::X2apic),
        tsc_deadline: model.has(Feature::TscDeadline),
        phys_bits: model.phys_bits,
    }
}

/// Where the boot plan comes from, at power-on and again at each reset.
///
/// A plan holds the kernel and the initrd, which are in guest memory already: the machine asks anew
/// rather than keep a second copy.
pub trait BootSource: Send {
    /// The plan.
    ///
    /// # Errors
    /// A message for people that names the file and says what would help.
    fn plan(&mut self) -> Result<BootPlan, String>;
    /// The firmware ROM below 4 GiB, asked for once, before there is a machine; empty where the plan needs none.
    ///
    /// # Errors
    /// As [`plan`](Self::plan).
    fn rom(&mut self) -> Result<Vec<u8>, String> {
        Ok(Vec::new())
    }
}

/// A plan that is small enough to keep.
impl BootSource for BootPlan {
    fn plan(&mut self) -> Result<BootPlan, String> {
        Ok(self.clone())
    }
}

/// Starts an engine.
pub(crate) fn start(engine: Engine, options: &EngineOptions) -> Result<Box<dyn CpuBackend>, MachineError> {
    engine.start_with(options.clone()).map_err(|reason| MachineError::Engine { engine, reason })
}

/// What an engine offers of a CPU model.
///
/// # Errors
/// It cannot have guest time counted by instructions, as `clock` asks for.
fn offered(
    backend: &dyn CpuBackend,
    engine: Engine,
    clock: ClockSource,
    model: Arc<CpuModel>,
) -> Result<Arc<CpuModel>, MachineError> {
    check_clock(backend, engine, clock)?;
    let lacks = backend.lacks(&model);
    if lacks == Lacks::default() {
        return Ok(model);
    }
    let names: Vec<_> = lacks.features.iter().map(|f| FEATURES[*f as usize].name).collect();
    if !names.is_empty() {
        log::warn!(
            "this host's {engine} does not offer {} of the CPU model {}",
            names.join(", "),
            model.name
        );
    }
    let mut cut = (*model).clone().without(&lacks.features);
    cut.tsc_hz = lacks.tsc_hz.unwrap_or(cut.tsc_hz);
    Ok(Arc::new(cut))
}
/// Whether an engine can have the clock.
///
/// # Errors
/// It cannot have guest time counted by instructions, as `clock` asks for.
pub(crate) fn check_clock(
    backend: &dyn CpuBackend,
    engine: Engine,
    clock: ClockSource,
) -> Result<(), MachineError> {
    if clock == ClockSource::Host || backend.counts_instructions() {
        return Ok(());
    }
    let reason = "it counts no instructions, which guest time is derived from with --icount; use --accel jit or interp";
    Err(MachineError::Engine { engine, reason: reason.to_owned() })
}

/// A vCPU for each of `signals`, in its state after RESET.
pub(crate) fn make_vcpus(
    backend: &mut dyn CpuBackend,
    clock: ClockSource,
    model: &Arc<CpuModel>,
    memory: &Arc<GuestMemory>,
    signals: &[Arc<VcpuSignals>],
) -> Result<Vec<VcpuSlot>, MachineError> {
    let make = |(id, signals): (usize, &Arc<VcpuSignals>)| {
        let mut vcpu = backend.create_vcpu(id as u32, model, memory, signals)?;
        // With the host's clock a slice ends by a kick, and a turn is no exact number.
        vcpu.set_exact_budget(clock != ClockSource::Host);
        Ok(VcpuSlot { vcpu, signals: signals.clone(), halted: None, held: false, stepping: false })
    };
    signals.iter().enumerate().map(make).collect()
}

/// Whether each vCPU of such an engine has a thread of its own.
pub(crate) fn runs_at_once(backend: &dyn CpuBackend, config: &MachineConfig) -> bool {
    config.cpus > 1 && config.clock == ClockSource::Host && backend.runs_vcpus_at_once()
}

/// A vCPU and what the board knows of it.
pub(crate) struct VcpuSlot {
    pub(crate) vcpu: Box<dyn Vcpu>,
    pub(crate) signals: Arc<VcpuSignals>,
    /// Halted, until one of these signals is pending.
    pub(crate) halted: Option<u32>,
    /// A debugger wants it to stand still while others run.
    pub(crate) held: bool,
    /// A debugger wants it to stop after an instruction.
    pub(crate) stepping: bool,
}

/// One PC.
pub struct Machine {
    pub(crate) config: MachineConfig,
    pub(crate) engine: Engine,
    /// What each engine that the vCPUs run on is started with.
    pub(crate) engine_options: EngineOptions,
    /// What engines counted that drove the vCPUs before, of what is summed up over a run.
    pub(crate) earlier_counts: Vec<(String, u64)>,
    /// Other engines that are to go on, later.
    pub(crate) planned: PlannedSwitches,
    pub(crate) model: Arc<CpuModel>,
    pub(crate) board: Board,
    pub(crate) vcpus: Vec<VcpuSlot>,
    pub(crate) control: MachineControl,
    boot: Box<dyn BootSource>,
    /// `name` of the boot plan.
    pub(crate) boot_name: String,
    pub(crate) turn: Turn,
    /// What comes from outside.
    pub(crate) intake: Intake,
    /// External events may be taken here: see [`crate::events`].
    pub(crate) at_position: bool,
    /// With a counted clock: something waits to be taken at the end of this instruction.
    pub(crate) finish_instruction: bool,
    /// The intake's step when the machine looked outside last.
    pub(crate) looked_at_step: u64,
    /// The count of instructions from which on a recording is told where the vCPUs are.
    pub(crate) next_check: u64,
    pub(crate) a20: bool,
    /// When the back ends are looked at next, in guest time.
    pub(crate) next_poll_ns: u64,
    /// `changes` of the display when it was last published.
    pub(crate) published_screen: Option<u64>,
    pub(crate) paused: bool,
    pub(crate) debugging: Debugging,
    pub(crate) tracing: Tracing,
    /// The count of all vCPUs' instructions at which slices end at the latest.
    pub(crate) stop_at: u64,
    /// vCPUs run on threads of their own, not in turn: see [`crate::threads`].
    pub(crate) at_once: bool,
    /// The engine's vCPUs count no instructions, so that turns end by time.
    pub(crate) uncounted: bool,
    /// With the host's clock: ends slices where vCPUs run in turn.
    pub(crate) timer: Option<SliceTimer>,
    /// See [`HostServices::output_waits`].
    pub(crate) output_waits: Option<Box<dyn Fn() -> bool + Send>>,
    pub(crate) host_state: Option<Box<dyn HostState>>,
    /// It went back to a snapshot, and what the run loop knew of it holds no more.
    pub(crate) went_back: bool,
    /// With a counted clock: see [`Machine::keep_pace`].
    pub(crate) pace: Option<Pace>,
}

impl Machine {
    /// Puts a machine together and starts the guest of `boot`'s plan at its first instruction.
    ///
    /// # Errors
    /// See [`MachineError`].
    pub fn new(
        config: MachineConfig,
        model: Arc<CpuModel>,
        services: HostServices,
        boot: Box<dyn BootSource>,
    ) -> Result<Self, MachineError> {
        let mut machine = Self::assemble(config, model, services, boot, None, None)?;
        machine.power_on()?;
        Ok(machine)
    }
    /// Puts a machine together whose RAM is empty, or what is in a file, and whose vCPUs are in their state after RESET.
    pub(crate) fn assemble(
        mut config: MachineConfig,
        model: Arc<CpuModel>,
        mut services: HostServices,
        mut boot: Box<dyn BootSource>,
        power_on: Option<PowerOn>,
        ram: Option<&RamFile>,
    ) -> Result<Self, MachineError> {
        if let Some(PowerOn { rtc_seconds, random_seed, .. }) = &power_on {
            (config.rtc_seconds, config.random_seed) = (*rtc_seconds, *random_seed);
        }
        let cpus = config.cpus;
        if !(1..=MAX_VCPUS as u8).contains(&cpus) {
            return Err(MachineError::Cpus { cpus });
        }
        let engine = config.engine.unwrap_or_else(Engine::fastest);
        let mut options = std::mem::take(&mut services.engine);
        options.check_tlb |= config.check_tlb;
        options.keep_tlb |= config.keep_tlb;
        let mut backend = start(engine, &options)?;
        let model = offered(&*backend, engine, config.clock, model)?;
        let rom = boot.rom().map_err(MachineError::Source)?;
        let memory = match ram {
            None => GuestMemory::new(config.memory_bytes, &rom)?,
            Some(ram) => GuestMemory::from_file(config.memory_bytes, &rom, ram)?,
        };
        let signals: Vec<_> = (0..cpus).map(|_| VcpuSignals::new()).collect();
        let vcpus = make_vcpus(&mut *backend, config.clock, &model, &memory, &signals)?;
        let at_once = runs_at_once(&*backend, &config);
        let uncounted = !backend.counts_instructions();
        let by_host_clock = config.clock == ClockSource::Host;
        let timer =
            by_host_clock.then(|| SliceTimer::start(services.clock.clone(), signals.clone())).transpose()?;
        let output_waits = services.output_waits.take();
        let host_state = services.host_state.take();
        let control = MachineControl::default();
        control.set_vcpus(signals.clone());
        control.publish_engine(engine);
        let lines = serial_lines(config.count("isa-serial"), &mut services, power_on.as_ref());
        let lapic = lapic_model(&model);
        let mut chip_ends: Vec<_> = lines.iter().map(SerialLine::chip_end).collect();
        // Cables of other devices follow those of the serial ports.
        let others = chip_ends.split_off(lines.len() - services.chardevs.len());
        services.serial = chip_ends;
        services.chardevs.values_mut().zip(others).for_each(|(end, chip_end)| *end = chip_end);
        let board = Board::new(&config, memory, signals, lapic, services, &control, power_on.as_ref())?;
        let intake = Intake::new(control.clone(), lines);
        Ok(Self {
            config,
            engine,
            engine_options: options,
            earlier_counts: Vec::new(),
            planned: PlannedSwitches::default(),
            model,
            board,
            vcpus,
            control,
            boot,
            boot_name: String::new(),
            turn: Turn::default(),
            intake,
            at_position: true,
            finish_instruction: false,
            looked_at_step: 0,
            next_check: u64::MAX,
            a20: true,
            next_poll_ns: 0,
            published_screen: None,
            paused: false,
            debugging: Debugging::default(),
            tracing: Tracing::default(),
            stop_at: u64::MAX,
            at_once,
            uncounted,
            timer,
            output_waits,
            host_state,
            went_back: false,
            pace: None,
        })
    }

    /// Resets chips and vCPUs, and starts the boot plan anew. RAM keeps what the plan does not write.
    ///
    /// # Errors
    /// There is no boot plan any more, or it does not fit.
    pub fn reset(&mut self) -> Result<(), MachineError> {
        self.board.reset();
        if self.config.boot.once.is_some()
            && let Some(rtc) = self.board.refs.rtc
        {
            let order = &self.config.boot.order;
            self.board.devices.with(rtc, |rtc| write_boot_order(rtc, order));
        }
        for slot in &mut self.vcpus {
            slot.signals.lower(!VcpuSignals::INTR);
            slot.vcpu.reset();
            slot.halted = None;
        }
        self.power_on()
    }
    pub(crate) fn power_on(&mut self) -> Result<(), MachineError> {
        let plan = self.boot.plan().map_err(MachineError::Source)?;
        if let Some(entry) = &plan.entry {
            boot::firmware_setup(&self.board);
            plan.apply(&self.board.memory)?;
            self.board.place_generation_page();
            for (id, slot) in self.vcpus.iter_mut().enumerate() {
                let mut state = slot.vcpu.state();
                if id == 0 {
                    state = boot::entry_state(state, entry);
                }
                boot::set_memory_types(&mut state, self.model.phys_bits);
                slot.vcpu.set_state(&state);
            }
        }
        self.boot_name = plan.name;
        self.a20 = false;
        self.apply_a20();
        self.turn = Turn::default();
        Ok(())
    }
    /// Passes the A20 gate's position on to the vCPUs.
    pub(crate) fn apply_a20(&mut self) {
        let open = self.board.requests.a20();
        if open != self.a20 {
            self.a20 = open;
            for slot in &mut self.vcpus {
                slot.vcpu.set_a20(open);
            }
        }
    }
    /// A reset that the guest asked for: the run's end, if the configuration says so.
    pub(crate) fn guest_reset(&mut self, cause: ResetCause) -> Option<ExitReason> {
        log::info!("reset by {cause:?}");
        if self.config.on_reset == OnReset::Exit {
            return Some(ExitReason::Reset(cause));
        }
        self.start_over()
    }
    /// A panic that the guest reported: what the configuration says.
    pub(crate) fn guest_panic(&mut self) -> Option<ExitReason> {
        self.control.tell(&MachineEvent::Panicked);
        match self.config.on_panic {
            OnPanic::Ignore => None,
            OnPanic::Pause => {
                self.stand_still().set_paused(true);
                None
            }
            OnPanic::Reset => self.start_over(),
            OnPanic::Exit => Some(ExitReason::Panic),
        }
    }
    pub(crate) fn start_over(&mut self) -> Option<ExitReason> {
        if let Err(error) = self.stand_still().reset() {
            log::error!("{error}");
            return Some(ExitReason::Quit);
        }
        None
    }

    /// The handle for other threads.
    pub fn control(&self) -> MachineControl {
        self.control.clone()
    }
    /// The configuration.
    pub fn config(&self) -> &MachineConfig {
        &self.config
    }
    /// The engine that drives the vCPUs.
    pub fn engine(&self) -> Engine {
        self.engine
    }
    /// What is booted and how, for people.
    pub fn boot_name(&self) -> &str {
        &self.boot_name
    }
    /// Guest memory.
    pub fn memory(&self) -> &Arc<GuestMemory> {
        &self.board.memory
    }
    /// The chips, for monitors and tests, while the machine does not run.
    pub fn board(&mut self) -> &mut Board {
        &mut self.board
    }
    /// The text screen now.
    pub fn screen(&self) -> Option<TextScreen> {
        let display = self.board.refs.display?;
        self.board.devices.with(display, |display| display.screen())
    }
    /// What the screen shows now.
    pub fn shot(&self) -> Shot {
        shot(&self.control, &self.board, self.board.clock.latest())
    }
    /// The code bytes at a vCPU's CS:RIP that can be read now, as many as `into` takes.
    pub fn code_at_rip(&mut self, cpu: usize, into: &mut [u8]) -> usize {
        let Some(slot) = self.vcpus.get_mut(cpu) else { return 0 };
        let state = slot.vcpu.state();
        let cs = &state.segments[trimotor_cpu::SegReg::Cs as usize];
        slot.vcpu.read_linear(cs.base.wrapping_add(state.rip), into)
    }
    /// How many vCPUs there are.
    pub fn vcpus(&self) -> usize {
        self.vcpus.len()
    }
    /// A vCPU's state.
    pub fn vcpu_state(&self, cpu: usize) -> Option<ArchState> {
        self.vcpus.get(cpu).map(|slot| slot.vcpu.state())
    }
    /// Lines about the engine's inner life, for each vCPU, since it took over. What is summed up over a run counts from
    /// power-on, and is among the first vCPU's.
    pub fn statistics(&self) -> Vec<Vec<(String, u64)>> {
        let mut counts: Vec<_> = self.vcpus.iter().map(|slot| slot.vcpu.statistics()).collect();
        for (name, earlier) in &self.earlier_counts {
            if let Some((_, count)) = counts[0].iter_mut().find(|(line, _)| line == name) {
                *count += earlier;
            }
        }
        counts
    }
    /// What a vCPU's local APIC has in hand, in one line.
    pub fn describe_lapic(&self, cpu: usize) -> String {
        self.board.fabric.describe_lapic(cpu)
    }
    /// Instructions that all vCPUs have retired.
    pub fn instructions(&self) -> u64 {
        self.vcpus.iter().map(|slot| slot.vcpu.retired()).sum()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.control.close();
        // What the guest wrote reaches its disks, however the program ends after this.
        self.board.completions.finish();
    }
}
