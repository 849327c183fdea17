//! `trimotor run --replay FILE`: which options count, whether the machine is the one that was recorded, and how a replay ends.
//!
//! A recording comes with its command line. `--replay FILE` alone takes that, without what leads to the outside: serial ports but
//! the terminal's, displays, monitors, networks, the ends of the run. Such options may be given anew, and an engine. Where
//! options of the machine are given too, all of them count, and a machine that the guest could tell from the recorded one is refused.

use super::kept::{FileSumV1, KeptV1};
use super::{Testimony, Witness, shut};
use crate::args::{Command, MachineArgs, RunArgs};
use crate::drives::{self, Drives};
use crate::error::Failure;
use crate::networks::{self, Networks};
use crate::note::note;
use crate::snapshots::restore::{self, GIVEN_ANEW};
use anyhow::anyhow;
use std::fs::{File, TryLockError};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use trimotor_console::serial::SerialSpec;
use trimotor_cpu::model::CpuModel;
use trimotor_machine::events::{EndV1, EventSource, LogReader, MediumFacts, RecordingV1, ReplayEnd};
use trimotor_machine::{
    BootSource, DeviceConfig, ExitReason, HostServices, HostState, Machine, MachineConfig,
};
use trimotor_snapshot::FormatError;

/// Options that name another start or another image, though a saved machine takes them.
const OF_THE_START: [&str; 2] = ["restore", "clone"];

/// A recording that is replayed.
pub struct Replay {
    log: LogReader<BufReader<File>>,
    kept: KeptV1,
    file: PathBuf,
    /// Options of the machine were given: they must be those of the recording.
    is_given: bool,
    /// The ends of the run that were given are those of the recording.
    same_ends: bool,
}

/// How a replay is to end.
pub struct Expected {
    end: Option<EndV1>,
    file: PathBuf,
}

impl Replay {
    /// Opens a recording, and reads it through.
    ///
    /// # Errors
    /// [`Failure::BadInput`]: it is none, or cannot be replayed by this build.
    pub fn open(file: &Path) -> Result<Self, Failure> {
        let refuse = |error: &dyn std::fmt::Display| refused(file, error);
        let opened = File::open(file).map_err(|error| refuse(&error))?;
        if opened.metadata().is_ok_and(|metadata| !metadata.is_file()) {
            return Err(refuse(&"it is no file"));
        }
        if let Err(TryLockError::WouldBlock) = opened.try_lock_shared() {
            return Err(refuse(&"it is still being recorded"));
        }
        let log = LogReader::open(BufReader::new(opened)).map_err(|error| match error {
            FormatError::NoMachine => refuse(&"it is no recording: `trimotor run --record FILE` makes one"),
            error => refuse(&error),
        })?;
        let kept = postcard::from_bytes(&log.recording().host);
        let kept = kept.map_err(|error| refuse(&format!("what the program kept is damaged: {error}")))?;
        if !log.recording().is_counted() {
            return Err(refuse(&"guest time was the host's (no --icount): such a run cannot be run again"));
        }
        Ok(Self { log, kept, file: file.to_owned(), is_given: false, same_ends: false })
    }
    /// Has the command line that counts take the place of `args`: see the [module](self).
    ///
    /// # Errors
    /// A recorded command line that this build does not understand.
    pub fn choose_command(&mut self, args: &mut RunArgs) -> Result<(), Failure> {
        let given = restore::given_options();
        let is_of_program = |id: &String| {
            id == "replay" || GIVEN_ANEW.contains(&id.as_str()) && !OF_THE_START.contains(&id.as_str())
        };
        self.is_given = !given.iter().all(is_of_program);
        let mut recorded = self.recorded_command()?;
        let ends = |args: &RunArgs| (args.machine.expect.clone(), args.machine.exit_on.clone());
        self.same_ends = ends(&recorded) == ends(args);
        if self.is_given {
            return Ok(());
        }
        shut_ends(&mut recorded.machine);
        restore::anew(&mut recorded.machine, &args.machine, &given);
        recorded.machine.icount = true;
        (recorded.record, recorded.replay) = (None, args.replay.take());
        *args = recorded;
        Ok(())
    }
    fn recorded_command(&self) -> Result<RunArgs, Failure> {
        match restore::kept_command(&self.kept.arguments).map_err(|reason| self.refused(&reason))? {
            Command::Run(run) => Ok(*run),
            _ => Err(self.refused(&"its command line runs no machine")),
        }
    }
    fn refused(&self, reason: &dyn std::fmt::Display) -> Failure {
        refused(&self.file, reason)
    }
    fn recording(&self) -> &RecordingV1 {
        self.log.recording()
    }
    /// Sees that the machine begins as the recorded one: where `restored` was saved, or at power-on.
    ///
    /// # Errors
    /// It does not.
    pub fn check_start(&self, restored: Option<&Path>) -> Result<(), Failure> {
        match (restored, &self.kept.restored) {
            (None, None) => Ok(()),
            (Some(_), None) => Err(self.refused(&"its machine was switched on: leave --restore out")),
            (None, Some(_)) => Err(self.refused(&"its machine was a saved one: give it with --restore")),
            (Some(path), Some(then)) => match FileSumV1::of(path) {
                Ok(now) if now == *then => Ok(()),
                Ok(_) => Err(self
                    .refused(&format!("{}: it is not the saved machine that went on then", path.display()))),
                Err(error) => Err(self.refused(&format!("{}: {error}", path.display()))),
            },
        }
    }
    /// Sees that the guest finds the machine that was recorded, as far as `given` options say another one.
    ///
    /// # Errors
    /// How it differs.
    pub fn check(&self, args: &MachineArgs, given: &Given<'_>, model: &CpuModel) -> Result<(), Failure> {
        let recording = self.recording();
        if !self.is_given || self.kept.restored.is_some() {
            return recording.check_model(model).map_err(|reason| self.refused(&reason));
        }
        let mut config = given.config.clone();
        let drives = drives::open(&args.drives, given.image, true, |_| None)?;
        (config.drives, config.boot) = (drives.configs, drives.boot);
        config.devices.extend(drives.devices);
        let networks = networks::cards_only(
            &args.networks,
            &networks::Machine {
                devices: &config.devices,
                boots_from_drives: given.boots_from_drives,
                boots_from_network: given.boots_from_drives && crate::run::tries_network(&config.boot),
                counted: true,
                identity: crate::run::identity(args, given.image),
            },
        )?;
        config.devices = networks.devices;
        let media = drives.media.iter().map(|(id, medium)| (id.clone(), MediumFacts::of(medium))).collect();
        recording
            .check(&config, model, &media)
            .map_err(|reason| self.refused(&format!("another machine: {reason}")))
    }
    /// The machine's configuration.
    pub fn config(&self) -> &MachineConfig {
        &self.recording().config
    }
    /// Drives that look as they did: what is read from them is in the recording, and what is written goes nowhere.
    pub fn drives(&self) -> Drives {
        let recording = self.recording();
        let media = recording.media.iter().map(|(id, facts)| (id.clone(), facts.stand_in())).collect();
        let (configs, boot) = (recording.config.drives.clone(), recording.config.boot.clone());
        Drives { configs, media, boot, ..Drives::default() }
    }
    /// Cards without networks.
    ///
    /// # Errors
    /// A ROM that cannot be read.
    pub fn networks(&self, boots_from_network: bool) -> Result<Networks, Failure> {
        let mut devices: Vec<DeviceConfig> = self.config().devices.clone();
        let roms = networks::roms_of(&mut devices, boots_from_network)?;
        let backends = match self.kept.restored {
            // The recording begins with what it saw of its networks.
            None => Default::default(),
            Some(_) => shut::networks(&self.recording().networks),
        };
        Ok(Networks { backends, devices, roms })
    }
    /// Whether texts of `--expect` and `--exit-on` are those of the recording, so that its end is theirs.
    pub fn ends_by_itself(&self) -> bool {
        self.same_ends
    }
    /// Sees what the machine boots, which must be what was booted then.
    ///
    /// # Errors
    /// It is not.
    pub fn witness(
        &self,
        source: Box<dyn BootSource>,
        services: &HostServices,
    ) -> Result<(Witness, Testimony), Failure> {
        Witness::new(source, services, Some(&self.kept.boot)).map_err(|reason| self.refused(&reason))
    }
    /// A machine that replays the recording from its power-on.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn start(
        self,
        config: MachineConfig,
        model: Arc<CpuModel>,
        services: HostServices,
        boot: Box<dyn BootSource>,
    ) -> Result<(Machine, Expected), Failure> {
        let (log, end, expected) = self.events()?;
        let machine = Machine::replaying_from(config, model, services, boot, log, end);
        Ok((machine.map_err(|error| refused(&expected.file, &error))?, expected))
    }
    /// Has a machine that was restored replay what followed.
    ///
    /// # Errors
    /// It was saved elsewhere.
    pub fn go_on(self, mut machine: Machine) -> Result<(Machine, Expected), Failure> {
        let (begins_at, now) = (self.recording().begins_at, machine.instructions());
        if begins_at != now {
            let reason =
                format!("it begins after {begins_at} instructions, and the machine was saved after {now}");
            return Err(self.refused(&reason));
        }
        let (log, end, expected) = self.events()?;
        machine.replay_from(log, end);
        Ok((machine, expected))
    }
    fn events(self) -> Result<(Box<dyn EventSource>, ReplayEnd, Expected), Failure> {
        let Self { log, file, .. } = self;
        let (end, replay_end) = (log.end().cloned(), log.replay_end());
        if replay_end == ReplayEnd::Unknown {
            note(format_args!(
                "trimotor: {}: its recorder did not come to the end of the run; what it wrote is replayed: {} bytes",
                file.display(),
                log.bytes()
            ));
        }
        let events = log.events().map_err(|error| refused(&file, &error))?;
        Ok((Box::new(events), replay_end, Expected { end, file }))
    }
}

/// What options say of a machine, before its drives and networks.
pub struct Given<'a> {
    /// Its configuration.
    pub config: &'a MachineConfig,
    /// A bare image.
    pub image: Option<&'a Path>,
    /// It boots from its drives.
    pub boots_from_drives: bool,
}

fn refused(file: &Path, reason: &dyn std::fmt::Display) -> Failure {
    Failure::bad(format!("--replay {}: {reason}", file.display()))
}

/// Leaves the terminal of what a recorded machine was connected to.
fn shut_ends(args: &mut MachineArgs) {
    let is_terminal = |text: &str| text.parse() == Ok(SerialSpec::Stdio);
    let shut = |text: &mut String| {
        if !is_terminal(text) {
            "null".clone_into(text);
        }
    };
    args.serial.iter_mut().for_each(shut);
    args.debugcon.iter_mut().for_each(shut);
    for chardev in &mut args.chardev {
        if chardev.spec != SerialSpec::Stdio {
            chardev.spec = SerialSpec::Null;
        }
    }
    args.display.clear();
}

impl Expected {
    /// Says how the replay ended; whether it was the recording's end that ended it.
    ///
    /// # Errors
    /// It was not the same run.
    pub fn report(&self, machine: &Machine, reason: &ExitReason) -> Result<bool, Failure> {
        let file = self.file.display();
        let now = machine.end_of_run(reason);
        let instructions = now.instructions;
        if *reason == ExitReason::Diverged {
            let what = machine.divergence().map_or_else(String::new, ToString::to_string);
            return Err(anyhow!("--replay {file}: {what}").into());
        }
        match &self.end {
            _ if !machine.replay_is_done() && *reason == ExitReason::Quit => {
                let all =
                    self.end.as_ref().map_or_else(|| "?".to_owned(), |end| end.instructions.to_string());
                note(format_args!(
                    "trimotor: {file}: the replay was left after {instructions} of {all} instructions"
                ));
                return Ok(false);
            }
            None if *reason == ExitReason::Quit => note(format_args!(
                "trimotor: {file}: the recording is cut, and ends here, after {instructions} instructions"
            )),
            Some(end) if machine.replay_is_done() => match end.difference(&now) {
                None => note(format_args!(
                    "trimotor: {file}: the replay ended as the recording did, after {instructions} instructions; registers and \
                     memory are the same"
                )),
                Some(difference) => {
                    return Err(anyhow!(
                        "--replay {file}: the run left the recording: at its end, {difference}"
                    )
                    .into());
                }
            },
            _ => {
                return Err(anyhow!(
                    "--replay {file}: the run left the recording: the guest ended after {instructions} instructions, and the \
                     recording goes on"
                )
                .into());
            }
        }
        Ok(true)
    }
}

/// Stands for what the program keeps with a saved machine, where that could not go on.
pub struct NotKept;

impl HostState for NotKept {
    fn state(&self) -> Result<Vec<u8>, String> {
        Err("the machine replays a recording, and its disks are none that it could go on with".to_owned())
    }
    fn check(&self, _kept: &[u8]) -> Result<(), String> {
        self.state().map(drop)
    }
    fn since_1970(&self) -> Duration {
        Duration::ZERO
    }
    fn random(&self) -> [u8; 16] {
        [0; 16]
    }
}
