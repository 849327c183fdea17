//! `trimotor img compare`.

use super::shared::{Progress, failed, not_open, parse_format, threads};
use crate::error::Failure;
use crate::host_images::HostImages;
use clap::Args;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use trimotor_storage::copy::first_difference;
use trimotor_storage::{Format, ImageOptions, open};

/// Exit code where the disks differ, as `qemu-img compare` has it.
const EXIT_DIFFERENT: u8 = 1;

/// Options of `trimotor img compare`.
#[derive(Args, Debug)]
pub struct CompareArgs {
    /// The first image's format [default: what it looks like]
    #[arg(short = 'f', value_name = "FORMAT", value_parser = parse_format)]
    format: Option<Format>,
    /// The second image's format [default: what it looks like]
    #[arg(short = 'F', value_name = "FORMAT", value_parser = parse_format)]
    other_format: Option<Format>,
    /// Disks of different sizes are different; without, what is behind the end of the smaller one must be zero
    #[arg(short = 's')]
    strict: bool,
    /// Shows how far it is, on a terminal
    #[arg(short = 'p')]
    progress: bool,
    /// Prints nothing: the exit code tells
    #[arg(short = 'q')]
    quiet: bool,
    /// Compares images that other programs have open for writing
    #[arg(short = 'U', long)]
    force_share: bool,
    /// An image
    #[arg(value_name = "FILE")]
    one: PathBuf,
    /// Another image
    #[arg(value_name = "OTHER")]
    other: PathBuf,
}

/// Runs the command. The exit code is 0 where the disks have the same content and 1 where they differ.
///
/// # Errors
/// An image cannot be opened or read.
pub fn run(args: &CompareArgs) -> Result<ExitCode, Failure> {
    let open_one = |path: &PathBuf, format| {
        let mut options = ImageOptions::new(path).read_only().format(format);
        options.share = args.force_share;
        open(&options, &HostImages).map_err(not_open)
    };
    let one = open_one(&args.one, args.format)?;
    let other = open_one(&args.other, args.other_format)?;
    let progress = Progress::new(args.progress, one.size().max(other.size()));
    let different = |what: String| {
        if !args.quiet {
            writeln!(std::io::stdout(), "{what}")?;
        }
        Ok(ExitCode::from(EXIT_DIFFERENT))
    };
    if args.strict && one.size() != other.size() {
        return different(format!(
            "different: one disk has {} bytes, the other {}",
            one.size(),
            other.size()
        ));
    }
    let difference = first_difference(&*one, &*other, threads(), &|done| progress.set(done));
    drop(progress);
    match difference.map_err(|error| failed(&args.one, &error))? {
        Some(at) => different(format!("different: the first byte that differs is at {at} ({at:#x})")),
        None => {
            if !args.quiet {
                writeln!(std::io::stdout(), "equal")?;
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}
