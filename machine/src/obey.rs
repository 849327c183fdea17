//! Carrying out commands: the one place where the machine does what is asked of it from outside.
//!
//! What concerns the vCPUs is a method of [`Standstill`], which only the machine's own thread can make, and only while no
//! vCPU runs: whoever has one may look at everything and change it. Where vCPUs have threads of their own, these have ended by then
//! ([`crate::threads`]).

use crate::board::Board;
use crate::clock::TimeSource;
use crate::control::command::{Command, CommandError, Outcome};
use crate::control::reply::{DriveStatus, MachineEvent, Reply, Status};
use crate::engines::Unusable;
use crate::events::{ExternalEvent, Intake};
use crate::exit::ExitReason;
use crate::machine::{Machine, MachineError};
use crate::network_line::NetworkLine;
use crate::save::MachineStateV1;
use trimotor_devices::drive::Drive;

/// All vCPUs of a machine stand still, between two instructions each.
pub(crate) struct Standstill<'a> {
    pub(crate) machine: &'a mut Machine,
}

impl Machine {
    /// All vCPUs stand still while what this returns is there. Guest time goes on, unless the machine is paused.
    pub(crate) fn stand_still(&mut self) -> Standstill<'_> {
        Standstill { machine: self }
    }
}

impl Standstill<'_> {
    /// Stops guest time, and runs no vCPU any more; or goes on.
    pub(crate) fn set_paused(&mut self, paused: bool) {
        let machine = &mut *self.machine;
        machine.paused = paused;
        if paused {
            machine.board.clock.pause();
        } else {
            machine.let_time_go_on();
        }
        machine.control.publish_paused(paused);
    }
    /// Resets the machine, which starts over. The run's end, where it cannot.
    pub(crate) fn reset(&mut self) -> Result<(), MachineError> {
        self.machine.reset()?;
        self.machine.debugger_saw_reset();
        self.machine.control.tell(&MachineEvent::Reset);
        Ok(())
    }
    /// Has guest time stand still while something is done that takes a while.
    pub(crate) fn while_time_stands<T>(&mut self, action: impl FnOnce(&mut Machine) -> T) -> T {
        let machine = &mut *self.machine;
        machine.board.clock.pause();
        let done = action(machine);
        if !machine.paused {
            machine.let_time_go_on();
        }
        done
    }
    /// Carries out a command that needs a standstill, and no event.
    fn obey(&mut self, command: &Command) -> Outcome {
        match command {
            Command::Pause => self.set_paused(true),
            Command::Resume => {
                self.let_all_go_on();
                self.set_paused(false);
            }
            Command::Save => {
                let saved = self.while_time_stands(Machine::save_settled).map_err(CommandError::Failed)?;
                return Ok(Reply::Saved(Box::new(saved)));
            }
            Command::SaveSnapshot(_)
            | Command::LoadSnapshot(_)
            | Command::DeleteSnapshot(_)
            | Command::Snapshots => {
                let done = self.while_time_stands(|machine| machine.obey_snapshots(command));
                return done.map(Reply::Text).map_err(CommandError::Failed);
            }
            Command::SwitchEngine(engine) => {
                let refused = |why: Unusable| CommandError::Failed(format!("{engine}: {}", why.verdict));
                engine.can_start().map_err(refused)?;
                let switched = self.switch_engine(*engine);
                return switched
                    .map(Reply::Switched)
                    .map_err(|error| CommandError::Failed(error.to_string()));
            }
            Command::Statistics | Command::Exits => {
                let (engine, vcpus) = (self.machine.engine, self.machine.statistics());
                return Ok(Reply::Statistics { engine, vcpus });
            }
            Command::Look(look) => return self.look(look).map(Reply::Text),
            Command::Trace(request) => return self.trace(request),
            Command::Debug(request) => return self.debug(request),
            // The others do without.
            _ => {}
        }
        Ok(Reply::Done)
    }
}

impl Machine {
    /// The machine as it is now, with all that the guest has written on its disks.
    pub(crate) fn save_settled(&mut self) -> Result<MachineStateV1, String> {
        self.settle_drives()?;
        let host = self.host_state.as_ref().map_or(Ok(Vec::new()), |host| host.state())?;
        let mut state = self.save().map_err(|error| error.to_string())?;
        state.host = host;
        Ok(state)
    }
    /// Sees that what the guest has written is on its disks, which then stay as they are until it writes again.
    pub(crate) fn settle_drives(&self) -> Result<(), String> {
        self.board.completions.finish();
        self.board.drives().try_for_each(|drive| match drive.medium() {
            Some(medium) => medium.settle().map_err(|error| format!("drive {}: {error}", drive.config().id)),
            None => Ok(()),
        })
    }
    /// Carries out the commands that wait. Returns early where the run must end, and where a command that the guest can notice
    /// cannot be taken at this position: see [`crate::events`].
    pub(crate) fn obey_all(&mut self, may_take_events: bool) -> Option<ExitReason> {
        let now = self.board.clock.latest();
        let can_take = |command: &Command| may_take_events || !command.is_for_guest();
        while let Some(waiting) = self.control.take_command_if(can_take) {
            let command = &waiting.command;
            let outcome = match command {
                Command::Reset if self.intake.replays() => Err(CommandError::Replays),
                Command::Reset => {
                    self.intake.note(now, || ExternalEvent::Reset);
                    match self.stand_still().reset() {
                        Ok(()) => Ok(Reply::Done),
                        Err(error) => {
                            log::error!("{error}");
                            let _ = waiting.reply_to.try_send(Err(CommandError::Failed(error.to_string())));
                            return Some(ExitReason::Quit);
                        }
                    }
                }
                Command::LoadSnapshot(_) if self.intake.replays() => Err(CommandError::Replays),
                _ if command.needs_standstill() => self.stand_still().obey(command),
                _ => {
                    let status = self.status();
                    let time = &mut TimeSource::Board(&self.board.clock);
                    self.board.obey(command, status, &mut self.intake, time)
                }
            };
            // Nobody need wait for it.
            let _ = waiting.reply_to.try_send(outcome);
        }
        None
    }
    fn status(&self) -> Status {
        let (time, instructions) = (self.board.clock.latest(), self.instructions());
        Status { paused: self.paused, engine: self.engine, time, instructions }
    }
}

impl Board {
    /// Carries out a command that vCPUs may run beside.
    pub(crate) fn obey(
        &self,
        command: &Command,
        status: Status,
        intake: &mut Intake,
        time: &mut TimeSource<'_>,
    ) -> Outcome {
        let event = match command {
            Command::Devices => {
                let line = |id| (self.devices.name(id).to_owned(), self.devices.lock(id).info());
                return Ok(Reply::Devices(self.devices.ids().map(line).collect()));
            }
            Command::Networks => return Ok(Reply::Networks(self.network_info())),
            Command::Drives => return Ok(Reply::Drives(self.drive_states())),
            Command::Look(look) => return self.look(look).map(Reply::Text),
            Command::SetLink { .. } if intake.replays() => return Err(CommandError::Replays),
            // The card hears of it by an event, at the look at the networks that follows.
            Command::SetLink { name, up } => return self.set_link(name, *up).map(|()| Reply::Done),
            Command::Status => return Ok(Reply::Status(status)),
            Command::Engine => return Ok(Reply::Engine(status.engine)),
            Command::Balloon(_) | Command::BalloonHint | Command::BalloonStatus
                if self.refs.balloon.is_none() =>
            {
                return Err(CommandError::NoDevice("memory balloon: add --device virtio-balloon-pci"));
            }
            Command::BalloonStatus => {
                let status =
                    self.refs.balloon.map(|card| self.devices.with(card, |card| card.device().status()));
                return Ok(Reply::Balloon(status.unwrap_or_default()));
            }
            Command::Balloon(bytes) => ExternalEvent::Balloon { bytes: *bytes },
            Command::BalloonHint => ExternalEvent::BalloonHint,
            Command::PowerButton if self.refs.power.is_none() => {
                return Err(CommandError::NoDevice("power button"));
            }
            Command::PowerButton => ExternalEvent::PowerButton,
            Command::Nmi => ExternalEvent::Nmi,
            Command::SerialBreak(port) if *port >= self.refs.serials.len() => {
                return Err(CommandError::NoDevice("such serial port"));
            }
            Command::SerialBreak(port) => ExternalEvent::SerialBreak { port: *port },
            Command::Pause
            | Command::Resume
            | Command::Reset
            | Command::Save
            | Command::SaveSnapshot(_)
            | Command::LoadSnapshot(_)
            | Command::DeleteSnapshot(_)
            | Command::Snapshots
            | Command::SwitchEngine(_)
            | Command::Statistics
            | Command::Exits
            | Command::Trace(_)
            | Command::Debug(_)
            | Command::Quit => return Ok(Reply::Done),
        };
        if intake.replays() {
            return Err(CommandError::Replays);
        }
        intake.apply(&event, self, time);
        intake.note(time.latest(), || event);
        Ok(Reply::Done)
    }
    /// Puts the cable into a card, or pulls it out.
    fn set_link(&self, name: &str, up: bool) -> Result<(), CommandError> {
        let card = |line: &NetworkLine| self.devices.name(line.device()).to_owned();
        let lines = self.networks.lines();
        let Some(line) = lines.iter().find(|line| card(line) == name || line.network() == name) else {
            let known: Vec<_> =
                lines.iter().map(|line| format!("{} (network {})", card(line), line.network())).collect();
            let known = if known.is_empty() {
                "there is none".to_owned()
            } else {
                format!("there are {}", known.join(", "))
            };
            return Err(CommandError::Failed(format!("no network card is called {name:?}: {known}")));
        };
        line.pull(!up);
        Ok(())
    }
    /// Each network's id with what its back end says, and where its cable leads.
    fn network_info(&self) -> Vec<(String, String)> {
        let mut info = self.networks.info();
        for (id, text) in &mut info {
            if let Some(line) = self.networks.lines().iter().find(|line| line.network() == id) {
                let pulled = if line.is_pulled() { ", whose cable is out (set_link)" } else { "" };
                *text += &format!("\n  card {}{pulled}", self.devices.name(line.device()));
            }
        }
        info
    }
    fn drive_states(&self) -> Vec<DriveStatus> {
        let state = |drive: &Drive| {
            let medium = drive.medium();
            DriveStatus {
                config: drive.config().clone(),
                bytes: medium.as_ref().map(|medium| medium.size()),
                read_only: medium.is_some_and(|medium| medium.limits().read_only),
            }
        };
        self.drives().map(state).collect()
    }
}
