//! `trimotor run --restore FILE`: which options count.
//!
//! A saved machine comes with the command line that made it, which says what it is: memory, devices, drives, networks. Options
//! about the program around it (the engine, the console, the end of the run) may be given anew.

use super::HostStateV1;
use crate::args::{Cli, Command, MachineArgs, RunArgs};
use crate::error::Failure;
use crate::generation::Generation;
use crate::host_services;
use crate::note::note;
use clap::parser::ValueSource;
use clap::{CommandFactory, Parser};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use trimotor_cpu::model::CpuModel;
use trimotor_devices::i8042::TimedKey;
use trimotor_machine::save::file::SavedMachine;
use trimotor_machine::{BootSource, ClockSource, Engine, HostServices, Machine};

/// Options that a restored machine takes, by the names of their fields. All others are the saved machine's.
pub const GIVEN_ANEW: &[&str] = &[
    "restore",
    "clone",
    "record",
    "replay",
    "accel",
    "switch",
    "code_cache",
    "nographic",
    "display",
    "serial",
    "chardev",
    "monitor",
    "gdb",
    "trace",
    "stopped",
    "escape",
    "debugcon",
    "screenshot",
    "screen_dump",
    "timeout",
    "expect",
    "exit_on",
    "perf_map",
    "stats",
    "profile",
    "text",
    "keys",
    "keymap",
    "vmgenid",
];

/// What a command line said that was kept with a machine.
///
/// # Errors
/// This build does not understand it.
pub fn kept_command(arguments: &[String]) -> Result<Command, String> {
    let words = std::iter::once("trimotor").chain(arguments.iter().map(String::as_str));
    let cli = Cli::try_parse_from(words).map_err(|error| {
        let reason = error.to_string();
        format!("its command line: {}", reason.lines().next().unwrap_or_default())
    })?;
    Ok(cli.command.unwrap_or_else(|| Command::Demo(Box::default())))
}

/// A machine in a file, which waits for what the host gives it.
pub struct Saved {
    /// The machine.
    pub machine: SavedMachine<BufReader<File>>,
    /// What this program kept with it.
    pub host: HostStateV1,
    /// The file, for messages.
    pub file: PathBuf,
    /// The same file, to be mapped.
    mapping: File,
    /// It is one of many: what it writes to disks goes with the run.
    pub is_clone: bool,
    /// The VM generation ID that it goes on with; unless given, a clone has a new one.
    generation: Option<Generation>,
}

impl Saved {
    /// Reads a file up to the machine's memory.
    ///
    /// # Errors
    /// [`Failure::BadInput`]: it is no saved machine, or not one for this build.
    pub fn open(file: &Path, args: &RunArgs) -> Result<Self, Failure> {
        let refuse = |error: &dyn std::fmt::Display| refused(file, error);
        let opened = File::open(file).map_err(|error| refuse(&error))?;
        if opened.metadata().is_ok_and(|metadata| !metadata.is_file()) {
            return Err(refuse(&"it is no file"));
        }
        let mapping = opened.try_clone().map_err(|error| refuse(&error))?;
        let machine = SavedMachine::read(BufReader::new(opened)).map_err(|error| refuse(&error))?;
        let host = postcard::from_bytes(machine.host());
        let host = host.map_err(|error| refuse(&format!("section \"host\": {error}")))?;
        let (is_clone, generation) = (args.clone, args.machine.vmgenid);
        Ok(Self { machine, host, file: file.to_owned(), mapping, is_clone, generation })
    }
    /// The command line that counts: the saved one, with what `args` give anew.
    ///
    /// # Errors
    /// An option that only the saved machine can have, or a saved command line that this build does not understand.
    pub fn command(&self, args: &RunArgs) -> Result<Command, Failure> {
        let given = given_options();
        check_options(&given)?;
        let mut command = kept_command(&self.host.arguments)
            .map_err(|reason| refused(&self.file, &format!("section \"host\": {reason}")))?;
        match &mut command {
            Command::Run(run) if run.restore.is_none() => anew(&mut run.machine, &args.machine, &given),
            Command::Demo(demo) => anew(&mut demo.machine, &args.machine, &given),
            _ => return Err(refused(&self.file, &"section \"host\": its command line makes no machine")),
        }
        Ok(command)
    }
    /// Sees that the disks are as they were.
    ///
    /// # Errors
    /// One is not.
    pub fn check_drives(&self) -> Result<(), Failure> {
        let HostStateV1 { drives, folder, .. } = &self.host;
        let check = |drive: &super::host_state::DriveStateV1| drive.check(folder);
        drives.iter().try_for_each(check).map_err(|error| refused(&self.file, &error))
    }
    /// Sees that there are as many ends of serial ports as the machine has ports, and no keys that are typed at an instant: these are
    /// part of a machine from its beginning.
    ///
    /// # Errors
    /// What does not fit.
    pub fn check_ends(&self, serial_ports: usize, typing: &[TimedKey]) -> Result<(), Failure> {
        let ports = self.machine.config().count("isa-serial");
        if ports != serial_ports {
            let reason =
                format!("its machine has {ports} serial ports, and --serial is given {serial_ports} times");
            return Err(refused(&self.file, &reason));
        }
        if !typing.is_empty() {
            let reason =
                "--type and --keys: a machine that goes on types what waits for a text, as in @text:\"# \"";
            return Err(refused(&self.file, &reason));
        }
        Ok(())
    }
    /// The machine, which goes on where it was saved.
    ///
    /// # Errors
    /// The rest of the file is damaged, or this build or host cannot have such a machine.
    pub fn restore(
        self,
        engine: Engine,
        model: Arc<CpuModel>,
        services: HostServices,
        boot: Box<dyn BootSource>,
    ) -> Result<Machine, Failure> {
        let Self { machine, file, mapping, is_clone, generation, .. } = self;
        let restored = if is_clone {
            if !machine.is_mapped() {
                note(
                    "trimotor: the file's memory is packed, and this clone has a copy of it; the monitor's save -m makes files that clones share",
                );
            }
            let by_host = machine.config().clock == ClockSource::Host;
            let seed = by_host.then(|| host_services::random_seed(false));
            machine.restore_clone(mapping, seed, Some(engine), model, services, boot)
        } else {
            machine.restore(Some(engine), model, services, boot)
        };
        let mut restored = restored.map_err(|error| refused(&file, &error))?;
        match generation {
            Some(generation) => generation.begin(&mut restored)?,
            // Most machines have no such device.
            None if is_clone => _ = restored.begin_generation(None),
            None => {}
        }
        Ok(restored)
    }
    /// What was in the drive of this id; nothing where there was no such drive.
    pub fn file_in(&self, drive: &str) -> Option<Option<PathBuf>> {
        let found = self.host.drives.iter().find(|state| state.id == drive)?;
        Some(found.file.as_ref().map(|(name, _)| PathBuf::from(name)))
    }
}

/// The message that a file cannot be used.
pub fn refused(file: &Path, reason: &dyn std::fmt::Display) -> Failure {
    Failure::bad(format!("--restore {}: {reason}", file.display()))
}

/// The options that stand on this program's command line, by the names of their fields.
pub fn given_options() -> BTreeSet<String> {
    let program = Cli::command();
    let Some(options) =
        program.find_subcommand("run").map(|run| run.get_arguments().map(|arg| arg.get_id().clone()))
    else {
        return BTreeSet::new();
    };
    let options: Vec<_> = options.collect();
    let Ok(matches) = program.try_get_matches_from(std::env::args_os()) else { return BTreeSet::new() };
    let Some((_, run)) = matches.subcommand() else { return BTreeSet::new() };
    let is_given = |id: &&clap::Id| run.value_source(id.as_str()) == Some(ValueSource::CommandLine);
    options.iter().filter(is_given).map(|id| id.as_str().to_owned()).collect()
}

fn check_options(given: &BTreeSet<String>) -> Result<(), Failure> {
    let Some(other) = given.iter().find(|id| !GIVEN_ANEW.contains(&id.as_str())) else { return Ok(()) };
    let option = match other.as_str() {
        "image" => "an image".to_owned(),
        id => format!("--{}", id.replace('_', "-")),
    };
    Err(Failure::bad(format!(
        "{option}: beside --restore, the saved machine's own counts; leave it out (options of the engine, the console, monitors \
         and the end of the run may be given)"
    )))
}

/// Has what is given anew count; the VM generation ID is [`Saved::restore`]'s. What ends a run, is typed in it or connects to it is this run's alone.
pub fn anew(saved: &mut MachineArgs, new: &MachineArgs, given: &BTreeSet<String>) {
    let is_given = |option: &str| given.contains(option);
    saved.accel = new.accel;
    saved.code_cache = new.code_cache;
    if is_given("nographic") || is_given("display") {
        saved.nographic = new.nographic;
        saved.display.clone_from(&new.display);
    }
    if is_given("serial") {
        saved.serial.clone_from(&new.serial);
    }
    if is_given("chardev") {
        saved.chardev.clone_from(&new.chardev);
    }
    if is_given("debugcon") {
        saved.debugcon.clone_from(&new.debugcon);
    }
    if is_given("escape") {
        saved.escape = new.escape;
    }
    if is_given("keymap") {
        saved.input.keymap = new.input.keymap;
    }
    saved.switch.clone_from(&new.switch);
    saved.monitor.clone_from(&new.monitor);
    saved.gdb.clone_from(&new.gdb);
    saved.trace.clone_from(&new.trace);
    saved.stopped = new.stopped;
    saved.screenshot.clone_from(&new.screenshot);
    saved.screen_dump.clone_from(&new.screen_dump);
    saved.timeout = new.timeout;
    saved.expect.clone_from(&new.expect);
    saved.exit_on.clone_from(&new.exit_on);
    saved.perf_map.clone_from(&new.perf_map);
    saved.stats = new.stats;
    saved.profile = new.profile;
    saved.input.text.clone_from(&new.input.text);
    saved.input.keys.clone_from(&new.input.keys);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_the_machine_are_refused() {
        let given = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect();
        assert!(check_options(&given(&["restore", "accel", "expect"])).is_ok());
        for (id, says) in [("memory", "--memory: "), ("image", "an image: "), ("on_reset", "--on-reset: ")] {
            let message = check_options(&given(&["restore", id])).unwrap_err().to_string();
            assert!(message.starts_with(says), "{message}");
        }
    }

    #[test]
    fn the_options_that_count_are_options() {
        let program = Cli::command();
        let run = program.find_subcommand("run").unwrap();
        let ids: Vec<_> = run.get_arguments().map(|arg| arg.get_id().as_str()).collect();
        for option in GIVEN_ANEW {
            assert!(ids.contains(option), "{option}");
        }
    }
}
