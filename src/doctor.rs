//! `trimotor doctor`: what this build and host can do, and why not.

use crate::error::Failure;
use crate::guest;
use std::fs;
use std::io::{self, Write};
use trimotor_machine::engines::{self, Engine};

/// Prints the report.
///
/// # Errors
/// Standard output cannot be written to.
pub fn run() -> Result<(), Failure> {
    let out = &mut io::stdout().lock();
    writeln!(out, "Trimotor {} on {}", env!("CARGO_PKG_VERSION"), host_name())?;
    writeln!(out, "\nEngines")?;
    for status in engines::doctor() {
        match status.available {
            Ok(()) => writeln!(out, "  {:<7} can be used: {}", status.engine.name(), status.description)?,
            Err(why) => writeln!(out, "  {:<7} cannot be used: {why}", status.engine.name())?,
        }
    }
    writeln!(out, "  --accel auto takes {}", Engine::fastest())?;
    writeln!(out, "\nHost")?;
    writeln!(out, "  memory      {}", memory())?;
    writeln!(out, "  processors  {}", std::thread::available_parallelism().map_or(1, |count| count.get()))?;
    writeln!(out, "  /dev/kvm    {}", kvm_device())?;
    writeln!(out, "  guests      {}", guests())?;
    Ok(())
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
