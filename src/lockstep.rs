//! `trimotor lockstep`: two engines side by side.

use crate::args::LockstepArgs;
use crate::boot_files::GuestFiles;
use crate::error::Failure;
use crate::note::note;
use crate::run::{self, Payload, Planner};
use crate::{cpus, host_fault, host_memory};
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use trimotor_firmware::demo::PROMPT as DEMO_PROMPT;
use trimotor_machine::lockstep::{self, Outcome, Plan, Progress};
use trimotor_machine::{HostServices, Machine};

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
    let engines = [run::engine(first)?, run::engine(second)?];
    for engine in engines {
        host_fault::report(engine)?;
    }
    let mut model = cpus::parse(&options.cpu)?;
    model.cpus = options.cpus.into();
    let model = Arc::new(model);
    let payload = match args.run.kernel {
        Some(_) => Payload::Kernel(Box::new(GuestFiles::open(&args.run)?)),
        None => Payload::Demo,
    };
    let mut until_text = options.exit_on.clone();
    if args.until.is_none() && until_text.is_empty() && matches!(payload, Payload::Demo) {
        // It waits there for good.
        until_text.push(DEMO_PROMPT.to_owned());
    }
    let config = run::config(options, engines[0], 1);
    let boot = Planner::new(payload, &config).make()?;
    let plan = Plan {
        every: args.every,
        memory_every: args.memory_every,
        until: args.until.unwrap_or(u64::MAX),
        until_text: &until_text,
    };
    if args.until.is_none() && until_text.is_empty() {
        note("trimotor: compares until the guest ends; --until N or --exit-on TEXT ends it before");
    }
    let mut make = |side: usize, mut services: HostServices| {
        services.engine.code_cache_bytes = options.code_cache.map(|size| size.0);
        let boot = Box::new(boot.clone());
        Machine::new(run::config(options, engines[side], 1), model.clone(), services, boot)
    };
    let mut shown = Shown::new();
    let outcome =
        lockstep::run(plan, &mut make, &mut |progress| shown.show(progress)).map_err(Failure::bad)?;
    let [a, b] = engines;
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
            Ok(ExitCode::from(DIFFERENT))
        }
    }
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
