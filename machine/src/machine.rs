//! The machine: made, reset, looked at. How it runs is in [`crate::run`].

use crate::board::Board;
use crate::boot;
use crate::clock::HostClock;
use crate::config::{ClockSource, MachineConfig, OnPanic, OnReset};
use crate::control::MachineControl;
use crate::engines::{Engine, EngineOptions};
use crate::exit::ExitReason;
use crate::run::Turn;
use crate::slice_timer::SliceTimer;
use std::sync::Arc;
use trimotor_bus::board::MAX_VCPUS;
use trimotor_bus::memory::MemoryError;
use trimotor_bus::{GuestMemory, VcpuSignals};
use trimotor_cpu::ArchState;
use trimotor_cpu::backend::{BackendError, Vcpu};
use trimotor_cpu::model::{CpuModel, Feature};
use trimotor_devices::debug_port::DebugSink;
use trimotor_devices::lapic::LapicModel;
use trimotor_devices::requests::ResetCause;
use trimotor_devices::serial::SerialBackend;
use trimotor_devices::vga_text::TextScreen;
use trimotor_firmware::boot::{ApplyError, BootPlan};

/// What the host provides to a machine.
pub struct HostServices {
    /// The monotonic clock.
    pub clock: Arc<dyn HostClock>,
    /// What is at the other end of the serial ports, COM1 first; ports without one are unplugged.
    pub serial: Vec<Box<dyn SerialBackend>>,
    /// Where bytes written to port E9h go, if anywhere.
    pub debug_console: Option<Box<dyn DebugSink>>,
    /// What profilers want of the engine.
    pub engine: EngineOptions,
    /// With a counted clock: whether so much output waits for the host that the machine must stand still for a while.
    pub output_waits: Option<Box<dyn Fn() -> bool + Send>>,
}

impl HostServices {
    /// A clock and nothing else: all ports are unplugged.
    pub fn new(clock: Arc<dyn HostClock>) -> Self {
        Self {
            clock,
            serial: Vec::new(),
            debug_console: None,
            engine: EngineOptions::default(),
            output_waits: None,
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
}

/// A plan that is small enough to keep.
impl BootSource for BootPlan {
    fn plan(&mut self) -> Result<BootPlan, String> {
        Ok(self.clone())
    }
}

/// A vCPU and what the board knows of it.
pub(crate) struct VcpuSlot {
    pub(crate) vcpu: Box<dyn Vcpu>,
    pub(crate) signals: Arc<VcpuSignals>,
    /// Halted, until one of these signals is pending.
    pub(crate) halted: Option<u32>,
}

/// One PC.
pub struct Machine {
    pub(crate) config: MachineConfig,
    pub(crate) engine: Engine,
    pub(crate) model: Arc<CpuModel>,
    pub(crate) board: Board,
    pub(crate) vcpus: Vec<VcpuSlot>,
    pub(crate) control: MachineControl,
    boot: Box<dyn BootSource>,
    /// `name` of the boot plan.
    pub(crate) boot_name: String,
    pub(crate) turn: Turn,
    pub(crate) a20: bool,
    /// When the back ends are looked at next, in guest time.
    pub(crate) next_poll_ns: u64,
    /// `changes` of the display when it was last published.
    pub(crate) published_screen: Option<u64>,
    pub(crate) paused: bool,
    /// The count of all vCPUs' instructions at which slices end at the latest.
    pub(crate) stop_at: u64,
    /// vCPUs run on threads of their own, not in turn: see [`crate::threads`].
    pub(crate) at_once: bool,
    /// With the host's clock: ends slices where vCPUs run in turn.
    pub(crate) timer: Option<SliceTimer>,
    /// See [`HostServices::output_waits`].
    pub(crate) output_waits: Option<Box<dyn Fn() -> bool + Send>>,
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
        let mut machine = Self::assemble(config, model, services, boot)?;
        machine.power_on()?;
        Ok(machine)
    }
    /// Puts a machine together whose RAM is empty and whose vCPUs are in their state after RESET.
    pub(crate) fn assemble(
        config: MachineConfig,
        model: Arc<CpuModel>,
        mut services: HostServices,
        boot: Box<dyn BootSource>,
    ) -> Result<Self, MachineError> {
        let cpus = config.cpus;
        if !(1..=MAX_VCPUS as u8).contains(&cpus) {
            return Err(MachineError::Cpus { cpus });
        }
        let engine = config.engine.unwrap_or_else(Engine::fastest);
        let mut options = std::mem::take(&mut services.engine);
        options.check_tlb |= config.check_tlb;
        options.keep_tlb |= config.keep_tlb;
        let started = engine.start_with(options);
        let mut backend = started.map_err(|reason| MachineError::Engine { engine, reason })?;
        let memory = GuestMemory::new(config.memory_bytes, &[])?;
        let at_once = cpus > 1 && config.clock == ClockSource::Host && backend.runs_vcpus_at_once();
        let signals: Vec<_> = (0..cpus).map(|_| VcpuSignals::new()).collect();
        let mut vcpus = Vec::with_capacity(usize::from(cpus));
        for (id, signals) in signals.iter().enumerate() {
            let mut vcpu = backend.create_vcpu(id as u32, &model, &memory, signals)?;
            // With the host's clock a slice ends by a kick, and a turn is no exact number.
            vcpu.set_exact_budget(config.clock != ClockSource::Host);
            vcpus.push(VcpuSlot { vcpu, signals: signals.clone(), halted: None });
        }
        let by_host_clock = config.clock == ClockSource::Host;
        let timer =
            by_host_clock.then(|| SliceTimer::start(services.clock.clone(), signals.clone())).transpose()?;
        let ends_slice = timer.as_ref().map(SliceTimer::slice_end);
        let output_waits = services.output_waits.take();
        let control = MachineControl::default();
        let lapic = lapic_model(&model);
        let board = Board::new(&config, memory, signals, lapic, services, &control, ends_slice)?;
        Ok(Self {
            config,
            engine,
            model,
            board,
            vcpus,
            control,
            boot,
            boot_name: String::new(),
            turn: Turn::default(),
            a20: true,
            next_poll_ns: 0,
            published_screen: None,
            paused: false,
            stop_at: u64::MAX,
            at_once,
            timer,
            output_waits,
        })
    }

    /// Resets chips and vCPUs, and starts the boot plan anew. RAM keeps what the plan does not write.
    ///
    /// # Errors
    /// There is no boot plan any more, or it does not fit.
    pub fn reset(&mut self) -> Result<(), MachineError> {
        self.board.reset();
        for slot in &mut self.vcpus {
            slot.signals.lower(!VcpuSignals::INTR);
            slot.vcpu.reset();
            slot.halted = None;
        }
        self.power_on()
    }
    fn power_on(&mut self) -> Result<(), MachineError> {
        let plan = self.boot.plan().map_err(MachineError::Source)?;
        boot::firmware_setup(&self.board);
        plan.apply(&self.board.memory)?;
        for (id, slot) in self.vcpus.iter_mut().enumerate() {
            let mut state = slot.vcpu.state();
            if id == 0 {
                state = boot::entry_state(state, &plan.entry);
            }
            boot::set_memory_types(&mut state, self.model.phys_bits);
            slot.vcpu.set_state(&state);
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
        match self.config.on_panic {
            OnPanic::Ignore => None,
            OnPanic::Pause => {
                self.set_paused(true);
                None
            }
            OnPanic::Reset => self.start_over(),
            OnPanic::Exit => Some(ExitReason::Panic),
        }
    }
    fn start_over(&mut self) -> Option<ExitReason> {
        if let Err(error) = self.reset() {
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
    /// Lines about the engine's inner life, for each vCPU.
    pub fn statistics(&self) -> Vec<Vec<(String, u64)>> {
        self.vcpus.iter().map(|slot| slot.vcpu.statistics()).collect()
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
