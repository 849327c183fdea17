//! `trimotor doctor`: what this build and host can do, and why not.

use crate::display;
use crate::error::Failure;
use crate::guest;
use std::fs;
use std::io::{self, IsTerminal, Write};
use trimotor_console::terminal;
use trimotor_machine::engines::{self, Engine};

/// Columns of the details where standard output is no terminal.
const DEFAULT_COLUMNS: usize = 80;
/// Columns in front of the details.
const INDENT: usize = 10;
/// Columns in front of what is said of a display.
const DISPLAY_INDENT: usize = 12;

/// Prints the report: a line for each verdict, with `verbose` the details below it.
///
/// # Errors
/// Standard output cannot be written to.
pub fn run(verbose: bool) -> Result<(), Failure> {
    let out = &mut io::stdout().lock();
    writeln!(out, "Trimotor {} on {}", env!("CARGO_PKG_VERSION"), host_name())?;
    writeln!(out, "\nEngines (--accel auto takes {})", Engine::fastest())?;
    let mut more = false;
    for status in engines::doctor() {
        let name = status.engine.name();
        match status.available {
            Ok(()) => {
                writeln!(out, "  {name:<7} yes: {}", status.description)?;
                more |= status.by_name.is_some();
                let why = status.by_name.iter().filter(|_| verbose);
                for line in why.flat_map(|text| wrapped(text, INDENT)) {
                    writeln!(out, "{:INDENT$}{line}", "")?;
                }
            }
            Err(why) => {
                writeln!(out, "  {name:<7} no: {}", why.verdict)?;
                more |= !why.details.is_empty();
                for line in why.details.iter().filter(|_| verbose).flat_map(|text| wrapped(text, INDENT)) {
                    writeln!(out, "{:INDENT$}{line}", "")?;
                }
            }
        }
    }
    let (automatic, displays) = display::doctor();
    writeln!(out, "\nDisplays (--display auto takes {automatic})")?;
    for (name, verdict) in displays {
        let mut lines = wrapped(&verdict, DISPLAY_INDENT).into_iter();
        writeln!(out, "  {name:<9} {}", lines.next().unwrap_or_default())?;
        for line in lines {
            writeln!(out, "{:DISPLAY_INDENT$}{line}", "")?;
        }
    }
    writeln!(out, "\nHost")?;
    writeln!(out, "  memory      {}", memory())?;
    writeln!(out, "  processors  {}", std::thread::available_parallelism().map_or(1, |count| count.get()))?;
    writeln!(out, "  /dev/kvm    {}", kvm_device())?;
    writeln!(out, "  guests      {}", guests())?;
    if more && !verbose {
        writeln!(out, "\n`trimotor doctor -v` says more of what cannot be used, or by name only.")?;
    }
    Ok(())
}

/// A text's lines behind an indent, none longer than the terminal has room for unless a word is.
fn wrapped(text: &str, indent: usize) -> Vec<String> {
    let columns = if io::stdout().is_terminal() { terminal::size().0 } else { DEFAULT_COLUMNS };
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if indent + line.chars().count() + 1 + word.chars().count() <= columns => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

fn host_name() -> String {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{} {} {}", std::env::consts::ARCH, std::env::consts::OS, release.trim())
}

fn memory() -> String {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let gibibytes = |name: &str| {
        let line = meminfo.lines().find(|line| line.starts_with(name))?;
        let kibibytes: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
        Some(format!("{:.1} GiB", kibibytes / (1 << 20) as f64))
    };
    match (gibibytes("MemTotal:"), gibibytes("MemAvailable:")) {
        (Some(total), Some(available)) => format!("{total}, {available} of it free"),
        _ => "unknown: no /proc/meminfo".to_owned(),
    }
}

fn kvm_device() -> String {
    match fs::File::options().read(true).write(true).open("/dev/kvm") {
        Ok(_) => "opens".to_owned(),
        Err(error) => format!("does not open: {error}"),
    }
}

fn guests() -> &'static str {
    if guest::can_fetch() {
        "apt is here: `trimotor guest linux` fetches a Linux guest"
    } else {
        "no apt here: `trimotor guest linux` says what to provide"
    }
}
