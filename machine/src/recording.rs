//! Keeping the log of a run, and replaying it: see [`crate::events`].

use crate::config::MachineConfig;
use crate::events::{Divergence, EventLog, Replay, TakenEvent};
use crate::machine::{BootSource, HostServices, Machine, MachineError};
use std::sync::Arc;
use trimotor_cpu::model::CpuModel;

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
        let mut replay = Replay::new(log);
        let mut machine = Self::assemble(config, model, services, boot, replay.take_power_on(), None)?;
        machine.attach(replay);
        machine.power_on()?;
        Ok(machine)
    }
    /// Has a machine that was [restored](Self::restored), and has not run, replay what followed.
    pub fn replay(&mut self, log: Vec<TakenEvent>) {
        self.attach(Replay::new(log));
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
    /// Where a replay left its recording, if it did.
    pub fn divergence(&self) -> Option<&Divergence> {
        self.intake.diverged()
    }
}
