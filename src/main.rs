//! The trimotor program: the command line, and the wiring of machine and console.
//!
//! Everything that faces the host and the machine at once is here and nowhere else: files
//! are read ([`boot_files`]), host memory and time are looked at, and handed in.

mod args;
mod boot_files;
mod cpus;
mod devices;
mod doctor;
mod error;
mod guest;
mod guest_view;
mod host_fault;
mod host_memory;
mod host_services;
mod lockstep;
mod note;
mod perf_map;
mod ports;
mod report;
mod rtc_base;
mod run;
mod screen_dump;

use args::{Cli, Command, DemoArgs, GuestCommand};
use clap::Parser;
use std::process::ExitCode;
use std::time::Duration;
use trimotor_console::background_writer;

/// How long a standard error that takes nothing is waited for at the end.
const LAST_WAIT: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let messages = env_logger::Target::Pipe(Box::new(trimotor_console::terminal::MessageWriter));
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn"))
        .target(messages)
        .init();
    let success = |()| ExitCode::SUCCESS;
    let outcome = match Cli::parse().command {
        None => run::demo(&DemoArgs::default()),
        Some(Command::Demo(args)) => run::demo(&args),
        Some(Command::Run(args)) => run::kernel(&args),
        Some(Command::Lockstep(args)) => lockstep::run(*args),
        Some(Command::Doctor) => doctor::run().map(success),
        Some(Command::Guest { guest: GuestCommand::Linux(args) }) => guest::linux(&args).map(success),
        Some(Command::Devices) => devices::run().map(success),
        Some(Command::Cpus { model }) => cpus::run(model.as_deref()).map(success),
    };
    let code = outcome.unwrap_or_else(|failure| failure.report());
    background_writer::stderr().drain(LAST_WAIT);
    code
}
