//! `trimotor img resize`.

use super::shared::{failed, not_open, parse_format, parse_size, size_text};
use crate::error::Failure;
use crate::host_images::HostImages;
use crate::note::note;
use clap::Args;
use std::path::PathBuf;
use trimotor_storage::qcow2::Mode;
use trimotor_storage::{Access, BlockBackend, Format, ImageOptions, Opener, format_of, open_qcow2};

/// Options of `trimotor img resize`.
#[derive(Args, Debug)]
pub struct ResizeArgs {
    /// The image's format [default: what it looks like]
    #[arg(short = 'f', value_name = "FORMAT", value_parser = parse_format)]
    format: Option<Format>,
    /// Allows a smaller disk: what lies behind its new end is lost
    #[arg(long)]
    shrink: bool,
    /// Prints nothing
    #[arg(short = 'q')]
    quiet: bool,
    /// The image
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The disk's new size, or the change with + or - in front
    #[arg(value_name = "[+|-]SIZE", allow_hyphen_values = true)]
    size: String,
}

/// Runs the command.
///
/// # Errors
/// The image cannot have this size, or the host fails.
pub fn run(args: &ResizeArgs) -> Result<(), Failure> {
    let path = &args.file;
    let mut options = ImageOptions::new(path).format(args.format);
    let format = format_of(&options, &HostImages).map_err(not_open)?;
    options.format = Some(format);
    match format {
        Format::Qcow2 => {
            let image = open_qcow2(&options, Mode::Write, &HostImages).map_err(not_open)?;
            let size = new_size(args, image.size())?;
            image.resize(size).and_then(|()| image.close()).map_err(|error| failed(path, &error))?;
            say(args, size);
        }
        Format::Raw => {
            let bad =
                |error: trimotor_storage::FileError| Failure::bad(format!("{}: {error}", path.display()));
            let file = HostImages.open(path, Access::WRITE).map_err(bad)?;
            if !file.grows_with_zeroes() {
                return Err(Failure::bad(format!("{}: a block device keeps its size", path.display())));
            }
            let old = file.bytes().map_err(|error| failed(path, &error.into()))?;
            let size = new_size(args, old)?;
            file.set_bytes(size).map_err(|error| failed(path, &error.into()))?;
            say(args, size);
        }
        _ => {
            let why = "images keep their size: convert it to qcow2 first (`trimotor img convert -O qcow2`)";
            return Err(Failure::bad(format!("{}: {format} {why}", path.display())));
        }
    }
    Ok(())
}

fn say(args: &ResizeArgs, size: u64) {
    if !args.quiet {
        note(format_args!("{}: {} ({size} bytes)", args.file.display(), size_text(size)));
    }
}

fn new_size(args: &ResizeArgs, old: u64) -> Result<u64, Failure> {
    let bad = |why: String| Failure::bad(format!("{}: {why}", args.size));
    let (sign, text) = match args.size.as_bytes().first() {
        Some(b'+') => (1, &args.size[1..]),
        Some(b'-') => (-1, &args.size[1..]),
        _ => (0, args.size.as_str()),
    };
    let given = parse_size(text).map_err(bad)?;
    let size = match sign {
        1 => old.checked_add(given),
        -1 => old.checked_sub(given),
        _ => Some(given),
    };
    let size = size.and_then(|size| size.checked_next_multiple_of(512));
    let size = size.ok_or_else(|| bad(format!("the disk has {old} bytes")))?;
    if size < old && !args.shrink {
        return Err(bad(format!(
            "the disk has {old} bytes, and what lies behind its new end would be lost: make partitions and file \
             systems smaller first, then say --shrink"
        )));
    }
    Ok(size)
}
