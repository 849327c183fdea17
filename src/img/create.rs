//! `trimotor img create`.

use super::format_options::{self, FormatOptions};
use super::shared::{NewFile, failed, not_open, parse_format, parse_size, size_text};
use crate::error::Failure;
use crate::host_images::HostImages;
use crate::note::note;
use clap::Args;
use std::io::Write;
use std::path::{Path, PathBuf};
use trimotor_storage::qcow2::Preallocation;
use trimotor_storage::{BlockError, Format, ImageFile, ImageOptions, backing_path, qcow2};

/// Options of `trimotor img create`.
#[derive(Args, Debug)]
pub struct CreateArgs {
    /// The image's format: qcow2 or raw [default: raw if the file's name ends in .raw or .img, else qcow2]
    #[arg(short = 'f', value_name = "FORMAT", value_parser = parse_format)]
    format: Option<Format>,
    /// Makes a linked clone: what is not written comes from this image, which must not change any more. A relative name
    /// counts from the new image's folder
    #[arg(short = 'b', value_name = "FILE")]
    backing: Option<String>,
    /// The format of the image of -b
    #[arg(short = 'F', value_name = "FORMAT", value_parser = parse_format)]
    backing_format: Option<Format>,
    /// Options of the format; -o help lists them
    #[arg(short = 'o', value_name = "NAME=VALUE,...")]
    options: Vec<String>,
    /// Prints nothing
    #[arg(short = 'q')]
    quiet: bool,
    /// The new image. A file of this name is replaced, unless another program has it open
    #[arg(value_name = "FILE", required_unless_present = "options")]
    file: Option<PathBuf>,
    /// The disk's size: 512M, 20G, 1.5T [default: that of -b]
    #[arg(value_name = "SIZE", value_parser = parse_size)]
    size: Option<u64>,
}

/// Runs the command.
///
/// # Errors
/// The options contradict each other, or the host fails.
pub fn run(args: &CreateArgs) -> Result<(), Failure> {
    if format_options::asks_for_help(&args.options) {
        return Ok(writeln!(std::io::stdout(), "{}", format_options::QCOW2_HELP)?);
    }
    let path = args.file.as_deref().ok_or_else(|| Failure::bad("img create: name the new image"))?;
    let format = args.format.unwrap_or_else(|| format_by_name(path));
    let mut options = format_options::parse(format, &args.options)?;
    options.backing = args.backing.clone().or(options.backing);
    options.backing_format = args.backing_format.or(options.backing_format);
    options.qcow2.size = size(args, path, format, &options)?;
    let new = NewFile::new(path)?;
    make(&*new.file, format, &options).map_err(|error| failed(path, &error))?;
    new.keep();
    if !args.quiet {
        let size = options.qcow2.size.next_multiple_of(512);
        let clone =
            options.backing.map(|backing| format!(", a linked clone of {backing}")).unwrap_or_default();
        note(format_args!("{}: {format}, {} ({size} bytes){clone}", path.display(), size_text(size)));
    }
    Ok(())
}

/// Raw for names that say so.
pub(super) fn format_by_name(path: &Path) -> Format {
    if trimotor_storage::probe::name_says_raw(path) { Format::Raw } else { Format::Qcow2 }
}

/// The new disk's size; checks the backing file on the way.
fn size(args: &CreateArgs, path: &Path, format: Format, options: &FormatOptions) -> Result<u64, Failure> {
    let Some(backing) = &options.backing else {
        return args
            .size
            .ok_or_else(|| Failure::bad("img create: say the disk's size, as in `disk.qcow2 20G`"));
    };
    let below = check_backing(path, format, backing, options.backing_format)?;
    Ok(args.size.unwrap_or(below))
}

/// Checks that an image can stand on a backing file; returns the size of that disk.
///
/// # Errors
/// It cannot.
pub(super) fn check_backing(
    path: &Path,
    format: Format,
    backing: &str,
    backing_format: Option<Format>,
) -> Result<u64, Failure> {
    if format != Format::Qcow2 {
        return Err(Failure::bad(format!(
            "-b {backing}: {format} images have no backing file; use -f qcow2"
        )));
    }
    let backing_file = backing_path(path, backing).map_err(Failure::bad)?;
    if same_file(&backing_file, path) {
        return Err(Failure::bad(format!("-b {backing}: it is the new image itself")));
    }
    let below = ImageOptions::new(&backing_file).read_only();
    if backing_format.is_none() {
        let guess = trimotor_storage::format_of(&below, &HostImages).map_err(not_open)?;
        return Err(Failure::bad(format!(
            "-b {backing}: say its format too; it looks like {guess}: -F {guess}"
        )));
    }
    let below = trimotor_storage::open(&below.format(backing_format), &HostImages).map_err(not_open)?;
    Ok(below.size())
}

pub(super) fn same_file(one: &Path, other: &Path) -> bool {
    match (one.canonicalize(), other.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

/// Makes an image in a file that was opened for it.
///
/// # Errors
/// The options are impossible, or the host fails.
pub(super) fn make(file: &dyn ImageFile, format: Format, options: &FormatOptions) -> Result<(), BlockError> {
    let mut qcow2 = options.qcow2.clone();
    match format {
        Format::Qcow2 => {
            qcow2.backing = options.backing.clone().zip(options.backing_format);
            qcow2::create(file, &qcow2)
        }
        Format::Raw => {
            let size = qcow2.size.next_multiple_of(512);
            if file.grows_with_zeroes() {
                file.set_bytes(0)?;
            }
            file.set_bytes(size)?;
            match qcow2.preallocation {
                Preallocation::Off => Ok(()),
                Preallocation::Metadata => {
                    Err(BlockError::Unsupported("preallocation=metadata of a raw image".into()))
                }
                Preallocation::Full => {
                    let zeroes = vec![0; 1 << 20];
                    for at in (0..size).step_by(zeroes.len()) {
                        let count = (size - at).min(zeroes.len() as u64) as usize;
                        file.write_at(at, zeroes.get(..count).unwrap_or_default())?;
                    }
                    Ok(file.sync()?)
                }
            }
        }
        format => Err(BlockError::Unsupported(format!("making {format} images (qcow2 and raw are made)"))),
    }
}
