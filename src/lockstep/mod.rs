//! `trimotor lockstep`: two engines side by side.

mod outside;

use crate::args::{LockstepArgs, RunArgs};
use crate::boot_files::GuestFiles;
use crate::error::Failure;
use crate::guest::shell_word;
use crate::note::note;
use crate::payload::{Payload, Planner};
use crate::rom_file::Firmware;
use crate::run;
use crate::typing::Script;
use crate::{cpus, drives, host_fault, host_memory};
use outside::Outside;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use trimotor_firmware::boot::BootPlan;
use trimotor_firmware::demo::PROMPT as DEMO_PROMPT;
use trimotor_machine::lockstep::{self, Outcome, Plan, Progress};
use trimotor_machine::{BootSource, HostServices, Machine, MachineConfig, MachineError};

/// How often progress is shown.
const SHOWN_EVERY: Duration = Duration::from_secs(5);
/// The exit code where the engines differ.
const DIFFERENT: u8 = 1;

/// Runs `trimotor lockstep`. Guest time counts instructions whatever the options say.
///
/// # Errors
/// Bad input, or a host that fails.
pub fn run(mut args: LockstepArgs) -> Result<ExitCode, Failure> {
    args.run.machine.icount = true;
    let options = &args.run.machine;
    host_memory::check_against_host(options.memory)?;
    let [first, second] = args.engines[..] else {
        return Err(Failure::bad("--engines: write two with a comma between them, as in interp,jit"));
    };
    if options.timeout.is_some() || !options.expect.is_empty() {
        return Err(Failure::bad(
            "--timeout and --expect: a comparison ends by --until N or --exit-on TEXT instead",
        ));
    }
    if !options.switch.is_empty() {
        return Err(Failure::bad("--switch: a comparison stays on the engines of --engines"));
    }
    let engines = [run::engine(first)?, run::engine(second)?];
    host_fault::report()?;
    let mut model = cpus::parse(&options.cpu)?;
    model.cpus = options.cpus.into();
    let model = Arc::new(model);
    if options.gdb.is_some() || options.stopped {
        return Err(Failure::bad("--gdb and -S: a comparison cannot be stopped"));
    }
    if options.trace.is_some() {
        return Err(Failure::bad(
            "--trace: a comparison shows the last instructions before a difference itself",
        ));
    }
    if args.run.restore.is_some() || args.run.loadvm.is_some() {
        return Err(Failure::bad(
            "--restore and --loadvm: a comparison starts both machines at their power-on",
        ));
    }
    let payload = payload(&args.run)?;
    payload.check_flash(options)?;
    let mut until_text = options.exit_on.clone();
    if args.until.is_none() && until_text.is_empty() && matches!(payload, Payload::Demo) {
        // It waits there for good.
        until_text.push(DEMO_PROMPT.to_owned());
    }
    let script = Script::new(&options.input)?;
    if script.waits_for_text() {
        return Err(Failure::bad("--type and --keys: a comparison types at instants only, as in @2.5"));
    }
    // Files that cannot be used are told of before anything runs.
    let drives = drives::open(&options.drives, args.run.image.as_deref(), true, |_| None)?;
    let boot = matches!(payload, Payload::Bios(_)).then_some(&drives.boot);
    let devices = [run::config(options, engines[0], 1).devices, drives.devices].concat();
    let outside = Outside::open(&args, &devices, boot)?;
    let start = Start::new(payload, &run::config(options, engines[0], 1))?;
    let plan = Plan {
        from: args.from,
        every: args.every,
        memory_every: args.memory_every,
        until: args.until.unwrap_or(u64::MAX),
        until_text: &until_text,
        events: outside.log.as_ref(),
    };
    if args.until.is_none() && until_text.is_empty() {
        note("trimotor: compares until the guest ends; --until N or --exit-on TEXT ends it before");
    }
    let mut make = |side: usize, mut services: HostServices, from: lockstep::Outside| {
        // Each machine has the drives for itself, as the files are now.
        let drives = drives::open(&options.drives, args.run.image.as_deref(), true, |_| None);
        let drives = drives.map_err(|failure| MachineError::Source(failure.to_string()))?;
        services.engine.code_cache_bytes = options.code_cache.map(|size| size.0);
        services.vga_rom.clone_from(&start.vga_rom);
        services.firmware_files.clone_from(&start.firmware_files);
        services.drives = drives.media;
        services.option_roms.clone_from(&outside.networks.roms);
        let config = MachineConfig {
            drives: drives.configs,
            boot: drives.boot,
            typing: script.timed.clone(),
            devices: outside.networks.devices.clone(),
            ..run::config(options, engines[side], 1)
        };
        let (model, start) = (model.clone(), Box::new(start.clone()));
        match from {
            lockstep::Outside::Host => {
                services.networks.clone_from(&outside.networks.backends);
                Machine::new(config, model, services, start)
            }
            lockstep::Outside::Replayed(events) => Machine::replaying(config, model, services, start, events),
        }
    };
    let mut shown = Shown::new();
    let outcome =
        lockstep::run(plan, &mut make, &mut |progress| shown.show(progress)).map_err(Failure::bad)?;
    let [a, b] = engines;
    let kept = outside.keep(matches!(outcome, Outcome::Different(_)))?;
    match outcome {
        Outcome::Same(instructions, reason) => {
            let end = reason.map_or("it runs on".to_owned(), |reason| format!("{reason:?}"));
            note(format_args!(
                "trimotor: {a} and {b} are the same for {instructions} instructions; the guest: {end}"
            ));
            Ok(ExitCode::SUCCESS)
        }
        Outcome::Different(difference) => {
            writeln!(io::stdout(), "\n{a} | {b}: {difference}")?;
            // One that shows in single steps, at least on one side.
            if !difference.executed.is_empty() {
                writeln!(
                    io::stdout(),
                    "again, from right before it: {}",
                    again(std::env::args_os(), difference.instructions - 1, kept.as_deref())
                )?;
            }
            Ok(ExitCode::from(DIFFERENT))
        }
    }
}

/// What both machines start: a kernel, what firmware finds where there is something to find it on, or the demo.
fn payload(args: &RunArgs) -> Result<Payload, Failure> {
    if args.kernel.is_some() {
        return Ok(Payload::Kernel(Box::new(GuestFiles::open(args)?)));
    }
    GuestFiles::check_none(args)?;
    let drives = &args.machine.drives;
    let has_drives = args.image.is_some() || drives.cdrom.is_some() || !drives.drive.is_empty();
    let has_media = has_drives || !drives.floppy.is_empty() || !drives.pflash.is_empty();
    let boots_network = drives.boot.as_ref().is_some_and(|boot| run::tries_network(&boot.0));
    let has_firmware =
        boots_network || args.bios.is_some() || args.vga_rom.is_some() || !args.option_rom.is_empty();
    if has_media || has_firmware { Ok(Payload::Bios(Firmware::open(args)?)) } else { Ok(Payload::Demo) }
}

/// What machines start with, made once for all of them.
#[derive(Clone)]
struct Start {
    plan: BootPlan,
    rom: Vec<u8>,
    vga_rom: Vec<u8>,
    firmware_files: Vec<(String, Vec<u8>)>,
}

impl Start {
    fn new(payload: Payload, config: &MachineConfig) -> Result<Self, Failure> {
        let (vga_rom, firmware_files) = (payload.vga_rom()?, payload.firmware_files().to_vec());
        let mut planner = Planner::new(payload, config);
        Ok(Self { plan: planner.make()?, rom: planner.make_rom()?, vga_rom, firmware_files })
    }
}

impl BootSource for Start {
    fn plan(&mut self) -> Result<BootPlan, String> {
        Ok(self.plan.clone())
    }
    fn rom(&mut self) -> Result<Vec<u8>, String> {
        Ok(self.rom.clone())
    }
}

/// The command line that compares again, from so many instructions on, with what came from the networks out of a file.
fn again(mut given: impl Iterator<Item = OsString>, from: u64, events: Option<&Path>) -> String {
    const CHANGED: [&str; 5] = ["--from", "--every", "--memory-every", "--until", "--record"];
    let mut words = Vec::new();
    while let Some(word) = given.next() {
        let text = word.to_string_lossy();
        if CHANGED.contains(&&*text) {
            // With its value.
            given.next();
        } else if !CHANGED.iter().any(|option| text.starts_with(&format!("{option}="))) {
            words.push(shell_word(Path::new(&word)));
        }
    }
    if let Some(events) = events {
        words.extend(["--replay".to_owned(), shell_word(events)]);
    }
    format!("{} --from {from} --every 1 --memory-every 1", words.join(" "))
}

/// What people see meanwhile: the guest's serial output, and on standard error how far it is.
struct Shown {
    began: Instant,
    last: Instant,
}

impl Shown {
    fn new() -> Shown {
        let now = Instant::now();
        Shown { began: now, last: now }
    }
    fn show(&mut self, progress: Progress<'_>) {
        match progress {
            Progress::Same(instructions, output) => {
                // Nobody reads it any more: the comparison goes on.
                let _ = io::stdout().write_all(output).and_then(|()| io::stdout().flush());
                if self.last.elapsed() > SHOWN_EVERY {
                    self.last = Instant::now();
                    let seconds = self.began.elapsed().as_secs_f64();
                    let millions = instructions as f64 / 1e6;
                    note(format_args!(
                        "trimotor: {millions:.0} million instructions, {:.1} a second",
                        millions / seconds
                    ));
                }
            }
            Progress::Narrowing(from, to) => {
                note(format_args!(
                    "trimotor: a difference between {from} and {to} instructions; looking closer"
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comparison_begins_again_right_before_the_difference() {
        let given =
            ["trimotor", "lockstep", "--until", "9000", "--every=7", "--memory", "16M", "my disk.img"];
        let again = |events| again(given.iter().map(OsString::from), 41, events);
        assert_eq!(
            again(None),
            "trimotor lockstep --memory 16M 'my disk.img' --from 41 --every 1 --memory-every 1"
        );
        let line = again(Some(Path::new("/tmp/what came")));
        assert!(line.contains(" 'my disk.img' --replay '/tmp/what came' --from 41 "), "{line}");
    }
}
