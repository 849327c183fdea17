//! The trimotor program: the command line, and the wiring of machine and console.
//!
//! Everything that faces the host and the machine at once is here and nowhere else: files
//! are read ([`boot_files`](run)), host memory and time are looked at, and handed in.

mod args;
mod doctor;
mod error;
mod guest;
mod host_memory;
mod rtc_base;

use args::{Cli, Command, GuestCommand};
use clap::Parser;
use error::Failure;
use std::process::ExitCode;

fn main() -> ExitCode {
    let messages = env_logger::Target::Pipe(Box::new(trimotor_console::terminal::MessageWriter));
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn"))
        .target(messages)
        .init();
    let outcome = match Cli::parse().command {
        Some(Command::Guest { guest: GuestCommand::Linux(args) }) => {
            guest::linux(&args).map(|()| ExitCode::SUCCESS)
        }
        Some(Command::Doctor) => doctor::run(),
        _ => Err(Failure::bad("not wired yet")),
    };
    outcome.unwrap_or_else(|failure| failure.report())
}
