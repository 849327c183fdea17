//! The trimotor program: the command line, and the wiring of machine and console.
//!
//! Everything that faces the host and the machine at once is here and nowhere else: files
//! are read ([`boot_files`]), host memory and time are looked at, and handed in.

mod args;
mod boot_files;
mod chardevs;
mod cpus;
mod devices;
mod display;
mod doctor;
mod drives;
mod error;
mod gdb;
mod generation;
mod guest;
mod guest_view;
mod host_fault;
mod host_images;
mod host_memory;
mod host_services;
mod img;
mod lockstep;
mod monitor;
mod networks;
mod note;
mod overheard;
mod payload;
mod perf_map;
mod ports;
mod qemu_habits;
mod recording;
mod report;
mod rom_file;
mod rtc_base;
mod run;
mod snapshots;
mod switches;
mod trace;
mod typing;
mod watch;

use args::{Cli, Command, DemoArgs, GuestCommand};
use clap::{CommandFactory, Parser};
use log::Level;
use std::io::{self, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    let messages = env_logger::Target::Pipe(Box::new(trimotor_console::terminal::MessageWriter));
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn"))
        .target(messages)
        .format(write_message)
        .init();
    let success = |()| ExitCode::SUCCESS;
    let arguments: Vec<String> =
        std::env::args_os().skip(1).map(|text| text.to_string_lossy().into()).collect();
    let outcome = qemu_habits::check(&arguments, &Cli::command()).and_then(|()| match Cli::parse().command {
        None => run::demo(&DemoArgs::default()),
        Some(Command::Demo(args)) => run::demo(&args),
        Some(Command::Run(args)) => run::kernel(*args),
        Some(Command::Lockstep(args)) => lockstep::run(*args),
        Some(Command::Doctor { verbose }) => doctor::run(verbose).map(success),
        Some(Command::Guest { guest: GuestCommand::Linux(args) }) => guest::linux(&args).map(success),
        Some(Command::Img { command }) => img::run(&command),
        Some(Command::Devices) => devices::run().map(success),
        Some(Command::Networks) => networks::list().map(success),
        Some(Command::Cpus { model }) => cpus::run(model.as_deref()).map(success),
    });
    let code = outcome.unwrap_or_else(|failure| failure.report());
    note::finish();
    code
}

/// A message as people read it; those that are asked for with RUST_LOG say where they come from.
fn write_message(out: &mut env_logger::fmt::Formatter, record: &log::Record<'_>) -> io::Result<()> {
    match record.level() {
        Level::Error => writeln!(out, "trimotor: error: {}", record.args()),
        Level::Warn => writeln!(out, "trimotor: warning: {}", record.args()),
        level => writeln!(out, "trimotor: {level} of {}: {}", record.target(), record.args()),
    }
}
