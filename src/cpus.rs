//! `trimotor cpus`: the CPU models and their features.

use crate::error::Failure;
use std::io::{self, Write};
use trimotor_cpu::model::{CpuModel, FEATURES, NAMES};

/// Frequency of the guest's time-stamp counter: one tick a nanosecond of guest time.
const TSC_HZ: u64 = 1_000_000_000;
/// Columns of the list where standard output is no terminal.
const DEFAULT_COLUMNS: usize = 80;

/// The model that `text` names, as `--cpu` takes it.
///
/// # Errors
/// [`Failure::BadInput`] that says what would work.
pub fn parse(text: &str) -> Result<CpuModel, Failure> {
    CpuModel::parse(text, TSC_HZ)
        .map(CpuModel::limited_to_host)
        .map_err(|error| Failure::bad(format!("--cpu {text}: {error}")))
}

/// The model of a saved machine. `None`: this build knows none of that name.
pub fn of_saved((name, tsc_hz): (&str, u64)) -> Option<CpuModel> {
    CpuModel::parse(name, tsc_hz).map(CpuModel::limited_to_host).ok()
}

/// Prints all models, or the one that `only` names.
///
/// # Errors
/// [`Failure::BadInput`] for an unknown model or feature; standard output cannot be written to.
pub fn run(only: Option<&str>) -> Result<(), Failure> {
    let out = &mut io::stdout().lock();
    if let Some(text) = only {
        print_features(out, text, &features(&parse(text)?))?;
        return Ok(());
    }
    let mut before = Vec::new();
    for (number, name) in NAMES.iter().enumerate() {
        let all = features(&parse(name)?);
        let added: Vec<_> = all.iter().filter(|feature| !before.contains(*feature)).copied().collect();
        let title = match number.checked_sub(1) {
            None => (*name).to_owned(),
            Some(previous) => format!("{name}: as {}, and", NAMES[previous]),
        };
        print_features(out, &title, &added)?;
        before = all;
    }
    writeln!(out, "\nChange a model with --cpu MODEL,+feature,-feature, as in --cpu x86-64-v3,+la57,-avx2.")?;
    writeln!(
        out,
        "The default is x86-64-v3. Engines on the host's hardware offer what that has of a model."
    )?;
    Ok(())
}

fn features(model: &CpuModel) -> Vec<&'static str> {
    FEATURES.iter().filter(|row| model.has(row.feature)).map(|row| row.name).collect()
}

fn print_features(out: &mut impl Write, title: &str, names: &[&str]) -> io::Result<()> {
    let columns = if io::IsTerminal::is_terminal(&io::stdout()) {
        trimotor_console::terminal::size().0
    } else {
        DEFAULT_COLUMNS
    };
    writeln!(out, "{title}")?;
    let mut line = String::from(" ");
    for name in names {
        if line.len() + 1 + name.len() >= columns && line.len() > 1 {
            writeln!(out, "{line}")?;
            line = String::from(" ");
        }
        line.push(' ');
        line += name;
    }
    writeln!(out, "{line}")
}
