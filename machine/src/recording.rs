//! Keeping the log of a run, and replaying it: see [`crate::events`].

use crate::config::{ClockSource, MachineConfig};
use crate::devices::DeviceConfig;
use crate::events::check::{self, VcpuCheck};
use crate::events::{
    Divergence, EndV1, EventLog, EventSource, ExternalEvent, MediumFacts, RecordingV1, Replay, ReplayEnd,
    TakenEvent,
};
use crate::exit::ExitReason;
use crate::machine::{BootSource, HostServices, Machine, MachineError};
use crate::save::CpuModelStateV1;
use std::collections::BTreeMap;
use std::sync::Arc;
use trimotor_bus::GuestTime;
use trimotor_cpu::model::CpuModel;
use trimotor_devices::drive::Drive;
use trimotor_storage::BlockError;

/// A recording is told where the vCPUs are after so many instructions: a few times a second.
const CHECKED_EVERY: u64 = 20_000_000;

impl Machine {
    /// Puts a machine together that replays `log`, which a machine of the same configuration kept from its beginning
    /// ([`log_events`](Self::log_events)): nothing that the host has reaches the guest. Serial output goes to the back ends of `services`.
    /// Behind the last event the guest is alone.
    ///
    /// # Errors
    /// See [`MachineError`].
    pub fn replaying(
        config: MachineConfig,
        model: Arc<CpuModel>,
        services: HostServices,
        boot: Box<dyn BootSource>,
        log: Vec<TakenEvent>,
    ) -> Result<Self, MachineError> {
        Self::replaying_log(config, model, services, boot, Replay::new(log))
    }
    /// The same with a log that is read on the way, whose `end` says what follows it.
    ///
    /// # Errors
    /// See [`MachineError`].
    pub fn replaying_from(
        config: MachineConfig,
        model: Arc<CpuModel>,
        services: HostServices,
        boot: Box<dyn BootSource>,
        log: Box<dyn EventSource>,
        end: ReplayEnd,
    ) -> Result<Self, MachineError> {
        Self::replaying_log(config, model, services, boot, Replay::from_source(log, end))
    }
    fn replaying_log(
        config: MachineConfig,
        model: Arc<CpuModel>,
        services: HostServices,
        boot: Box<dyn BootSource>,
        mut replay: Replay,
    ) -> Result<Self, MachineError> {
        let mut machine = Self::assemble(config, model, services, boot, replay.take_power_on(), None)?;
        machine.attach(replay);
        machine.power_on()?;
        Ok(machine)
    }
    /// Has a machine that was [restored](Self::restored), and has not run, replay what followed.
    pub fn replay(&mut self, log: Vec<TakenEvent>) {
        self.attach(Replay::new(log));
    }
    /// The same with a log that is read on the way, whose `end` says what follows it.
    pub fn replay_from(&mut self, log: Box<dyn EventSource>, end: ReplayEnd) {
        self.attach(Replay::from_source(log, end));
    }
    /// Has a machine that [replays](Self::replaying) a log replay what came after it too: so it can follow another one that still runs.
    /// It must not run past the other one, as it knows nothing of what comes there.
    pub fn replay_more(&mut self, more: Vec<TakenEvent>) {
        self.intake.replay_more(more);
    }
    fn attach(&mut self, replay: Replay) {
        self.board.completions.replay();
        self.board.networks.replay();
        self.intake.replay(replay);
    }
    /// Logs all external events from now on. A log that begins before the first instruction begins with what the machine was
    /// switched on with.
    pub fn log_events(&mut self, log: Box<dyn EventLog>) {
        self.intake.log_to(log);
        if self.instructions() == 0 {
            let MachineConfig { rtc_seconds, random_seed, .. } = self.config;
            let networks = self.board.networks.facts();
            self.intake.note_power_on(rtc_seconds, random_seed, networks);
        }
    }
    /// What a recording of this machine, which has not run, begins with; `host` is what the program keeps with it.
    ///
    /// # Errors
    /// A medium that cannot be read, which a device keeps all of.
    pub fn recording(&self, host: Vec<u8>) -> Result<RecordingV1, BlockError> {
        let whole = |id: &str| {
            let is_flash = |kind: &str| kind == "pflash";
            let names = |drive: &String| drive == id;
            self.config
                .devices
                .iter()
                .any(|it| is_flash(&it.kind) && it.options.get("drive").is_some_and(names))
        };
        let facts = |drive: &Drive| {
            let (id, medium) = (drive.config().id.clone(), drive.medium()?);
            let facts =
                if whole(&id) { MediumFacts::with_content(&medium) } else { Ok(MediumFacts::of(&medium)) };
            Some(facts.map(|facts| (id, facts)))
        };
        Ok(RecordingV1 {
            config: MachineConfig { engine: None, ..self.config.clone() },
            model: CpuModelStateV1::of(&self.model),
            media: self.board.drives().filter_map(facts).collect::<Result<BTreeMap<_, _>, _>>()?,
            networks: self.board.networks.facts(),
            begins_at: self.instructions(),
            host,
        })
    }
    /// Records from now on: [logs](Self::log_events), and notes where the vCPUs are every now and then.
    pub fn record(&mut self, log: Box<dyn EventLog>) {
        self.log_events(log);
        self.next_check = self.instructions().saturating_add(CHECKED_EVERY);
    }
    /// Where the machine is at the end of its run.
    pub fn end_of_run(&self, reason: &ExitReason) -> EndV1 {
        EndV1 {
            by_quit: *reason == ExitReason::Quit,
            instructions: self.instructions(),
            vcpus: self.check(),
            ram: check::sum_of_ram(&self.board.memory),
        }
    }
    /// Where the vCPUs are.
    pub(crate) fn check(&self) -> Vec<VcpuCheck> {
        self.vcpus.iter().map(|slot| VcpuCheck::of(&slot.vcpu.state())).collect()
    }
    /// Notes where the vCPUs are, if it is time.
    pub(crate) fn record_check(&mut self, now: GuestTime) {
        let instructions = self.instructions();
        if instructions < self.next_check {
            return;
        }
        self.next_check = instructions.saturating_add(CHECKED_EVERY);
        let vcpus = self.check();
        self.intake.note(now, || ExternalEvent::Check(vcpus));
    }
    /// Where a replay left its recording, if it did.
    pub fn divergence(&self) -> Option<&Divergence> {
        self.intake.diverged()
    }
    /// Whether all of a log was replayed.
    pub fn replay_is_done(&self) -> bool {
        self.intake.replay_is_done()
    }
}

impl RecordingV1 {
    /// Sees that a machine of this configuration and CPU model, with these media, can replay it.
    ///
    /// # Errors
    /// How the machine differs from the one that was recorded.
    pub fn check(
        &self,
        config: &MachineConfig,
        model: &CpuModel,
        media: &BTreeMap<String, MediumFacts>,
    ) -> Result<(), String> {
        let different = self.different_config(config);
        different.map_or(Ok(()), Err)?;
        self.check_model(model)?;
        for (id, then) in &self.media {
            let now =
                media.get(id).ok_or_else(|| format!("drive {id} is empty, and was not in the recording"))?;
            then.difference(now).map_or(Ok(()), |difference| Err(format!("drive {id}: {difference}")))?;
        }
        match media.keys().find(|id| !self.media.contains_key(*id)) {
            Some(id) => Err(format!("drive {id} was empty in the recording")),
            None => Ok(()),
        }
    }
    /// Sees that the guest finds the same CPU.
    ///
    /// # Errors
    /// How it differs.
    pub fn check_model(&self, model: &CpuModel) -> Result<(), String> {
        self.model.check(model).map_err(|error| error.to_string())
    }
    fn different_config(&self, now: &MachineConfig) -> Option<String> {
        let MachineConfig {
            memory_bytes,
            cpus,
            engine: _,
            clock,
            rtc_seconds: _,
            on_reset,
            devices,
            without,
            drives,
            boot,
            on_panic,
            check_tlb: _,
            keep_tlb,
            random_seed: _,
            typing,
        } = &self.config;
        if *memory_bytes != now.memory_bytes {
            return Some(format!(
                "{} bytes of memory, and {memory_bytes} in the recording",
                now.memory_bytes
            ));
        }
        if *cpus != now.cpus {
            return Some(format!("{} processors, and {cpus} in the recording", now.cpus));
        }
        if devices != &now.devices {
            let named = |list: &[DeviceConfig], other: &[DeviceConfig]| {
                let mut other = other.to_vec();
                let is_more = |device: &&DeviceConfig| match other.iter().position(|known| known == *device) {
                    Some(at) => {
                        other.swap_remove(at);
                        false
                    }
                    None => true,
                };
                let more: Vec<_> = list.iter().filter(is_more).map(ToString::to_string).collect();
                if more.is_empty() { "none more".to_owned() } else { more.join(", ") }
            };
            return Some(format!(
                "other devices: {} here, {} in the recording",
                named(&now.devices, devices),
                named(devices, &now.devices)
            ));
        }
        let parts = [
            (*clock != now.clock, "guest time (--icount)"),
            (*on_reset != now.on_reset, "--on-reset"),
            (*without != now.without, "devices that the board is without"),
            (*drives != now.drives, "drives, or options of theirs"),
            (*boot != now.boot, "--boot, or what the image is"),
            (*on_panic != now.on_panic, "--on-panic"),
            (*keep_tlb != now.keep_tlb, "--tlb"),
            (*typing != now.typing, "what --type and --keys type at an instant"),
        ];
        let other = parts.into_iter().find(|(differs, _)| *differs);
        other.map(|(_, what)| format!("{what}: it is another one than in the recording"))
    }
    /// Whether guest time is counted, as only such a run can be replayed.
    pub fn is_counted(&self) -> bool {
        self.config.clock == ClockSource::Instructions
    }
}

impl EndV1 {
    /// How a replay, which ended so, differs from the recording.
    pub fn difference(&self, now: &Self) -> Option<String> {
        if self.instructions != now.instructions {
            let (then, now) = (self.instructions, now.instructions);
            return Some(format!("it ended after {now} instructions, and the recording after {then}"));
        }
        let vcpu = check::difference(&self.vcpus, &now.vcpus);
        vcpu.map(|(cpu, difference)| format!("vCPU {cpu}: {difference}")).or_else(|| {
            (self.ram != now.ram).then(|| {
                format!(
                    "RAM is another one (checksum {:08x}, and {:08x} in the recording)",
                    now.ram, self.ram
                )
            })
        })
    }
}
