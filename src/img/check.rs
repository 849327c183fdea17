//! `trimotor img check`.

use super::shared::{failed, not_open, parse_format};
use crate::error::Failure;
use crate::host_images::HostImages;
use clap::{Args, ValueEnum};
use serde_json::json;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use trimotor_storage::qcow2::{Findings, Mode, Repair};
use trimotor_storage::{Format, ImageOptions, format_of, open, open_qcow2};

/// Exit code where errors are left, as `qemu-img check` has it.
const EXIT_ERRORS: u8 = 2;
/// Exit code where only leaks are left.
const EXIT_LEAKS: u8 = 3;
/// Messages that are printed.
const MOST_SHOWN: usize = 20;

/// Options of `trimotor img check`.
#[derive(Args, Debug)]
pub struct CheckArgs {
    /// The image's format [default: what it looks like]
    #[arg(short = 'f', value_name = "FORMAT", value_parser = parse_format)]
    format: Option<Format>,
    /// Repairs: `leaks` gives back clusters that nothing uses, `all` sets everything right that can be
    #[arg(short = 'r', value_name = "WHAT")]
    repair: Option<What>,
    /// Prints JSON, with the names that qemu-img gives
    #[arg(long)]
    json: bool,
    /// Checks an image that another program has open for writing: what it changes meanwhile looks like errors
    #[arg(short = 'U', long)]
    force_share: bool,
    /// The image
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// What is repaired.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum What {
    Leaks,
    All,
}

/// Runs the command. The exit code is 0 where the image is consistent, 2 where errors are left, 3 where leaks are.
///
/// # Errors
/// The image cannot be opened.
pub fn run(args: &CheckArgs) -> Result<ExitCode, Failure> {
    let mut options = ImageOptions::new(&args.file).read_only().format(args.format);
    (options.share, options.without_backing) = (args.force_share, true);
    if args.force_share && args.repair.is_some() {
        return Err(Failure::bad(
            "-r: an image that another program writes to cannot be repaired; leave out -U",
        ));
    }
    let format = format_of(&options, &HostImages).map_err(not_open)?;
    if format != Format::Qcow2 {
        open(&options, &HostImages).map_err(not_open)?;
        let what = format!(
            "{}: it opens; a {format} image has no refcounts that could be wrong",
            args.file.display()
        );
        writeln!(std::io::stdout(), "{what}")?;
        return Ok(ExitCode::SUCCESS);
    }
    let (mode, repair) = match args.repair {
        None => (Mode::Check, Repair::Nothing),
        Some(What::Leaks) => (Mode::Repair, Repair::Leaks),
        Some(What::All) => (Mode::Repair, Repair::All),
    };
    options.format = Some(format);
    let image = open_qcow2(&options, mode, &HostImages).map_err(not_open)?;
    let found = image.check(repair).map_err(|error| failed(&args.file, &error))?;
    image.close().map_err(|error| failed(&args.file, &error))?;
    let (errors, leaks) = (found.errors - found.errors_repaired, found.leaks - found.leaks_repaired);
    if args.json {
        print_json(args, &found)?
    } else {
        print(&found)?
    }
    Ok(ExitCode::from(if errors > 0 {
        EXIT_ERRORS
    } else if leaks > 0 {
        EXIT_LEAKS
    } else {
        0
    }))
}

fn print_json(args: &CheckArgs, found: &Findings) -> Result<(), Failure> {
    let mut value = json!({
        "filename": args.file.to_string_lossy(),
        "format": "qcow2",
        "check-errors": 0,
        "total-clusters": found.clusters,
        "allocated-clusters": found.allocated,
        "compressed-clusters": found.compressed,
        "fragmented-clusters": found.fragmented,
        "image-end-offset": found.end,
    });
    let counts = [
        ("corruptions", found.errors - found.errors_repaired),
        ("leaks", found.leaks - found.leaks_repaired),
        ("corruptions-fixed", found.errors_repaired),
        ("leaks-fixed", found.leaks_repaired),
    ];
    for (name, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
        value[name] = count.into();
    }
    Ok(writeln!(std::io::stdout(), "{value:#}")?)
}

fn print(found: &Findings) -> Result<(), Failure> {
    let out = &mut std::io::stdout().lock();
    for message in found.messages.iter().take(MOST_SHOWN) {
        writeln!(out, "{message}")?;
    }
    if found.messages.len() > MOST_SHOWN {
        writeln!(out, "... and more")?;
    }
    let line = |what: &str, count: u64, repaired: u64| match (count, repaired) {
        (0, _) => format!("no {what}"),
        (count, 0) => format!("{count} {what}"),
        (count, repaired) => format!("{count} {what}, {repaired} of them repaired"),
    };
    writeln!(
        out,
        "{}; {}",
        line("errors", found.errors, found.errors_repaired),
        line("leaks", found.leaks, found.leaks_repaired)
    )?;
    let share = found.allocated as f64 * 100.0 / found.clusters.max(1) as f64;
    writeln!(
        out,
        "{} of {} clusters in use ({share:.1}%), {} of them compressed",
        found.allocated, found.clusters, found.compressed
    )?;
    if found.errors > found.errors_repaired {
        writeln!(out, "errors can cost data: make a copy, then `trimotor img check -r all`")?;
    } else if found.leaks > found.leaks_repaired {
        writeln!(out, "leaks cost space only: `trimotor img check -r leaks` gives it back")?;
    }
    Ok(())
}
