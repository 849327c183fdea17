//! `trimotor devices`: the devices of this build.

use crate::error::Failure;
use std::io::{self, Write};
use trimotor_machine::devices::{DeviceKind, KINDS};

/// Prints the table.
///
/// # Errors
/// Standard output cannot be written.
pub fn run() -> Result<(), Failure> {
    write(&mut io::stdout().lock())?;
    Ok(())
}

fn write(out: &mut impl Write) -> io::Result<()> {
    let width = KINDS.iter().map(|kind| kind.name.len()).max().unwrap_or(0);
    let row = |out: &mut dyn Write, kind: &DeviceKind| -> io::Result<()> {
        writeln!(out, "  {:width$}  {} ({})", kind.name, kind.summary, kind.place)?;
        kind.options.iter().try_for_each(|option| {
            writeln!(out, "  {:width$}    {}={}  {}", "", option.name, option.value, option.help)
        })
    };
    writeln!(out, "On every board:")?;
    KINDS.iter().filter(|kind| kind.built_in).try_for_each(|kind| row(out, kind))?;
    writeln!(out, "  (`--device NAME,OPTION=VALUE` sets options of those that have some)")?;
    writeln!(out, "\nWith `trimotor run --device NAME[,OPTION=VALUE]...`:")?;
    KINDS.iter().filter(|kind| !kind.built_in).try_for_each(|kind| row(out, kind))
}
