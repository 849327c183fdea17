//! `trimotor img rebase`: a linked clone gets another image below it, or none.

use super::create::check_backing;
use super::shared::{Progress, failed, not_open, parse_format};
use crate::error::Failure;
use crate::host_images::HostImages;
use clap::Args;
use std::path::PathBuf;
use std::sync::Arc;
use trimotor_storage::qcow2::{Mode, Qcow2};
use trimotor_storage::{BlockBackend, BlockError, Format, ImageOptions, backing_path, open, open_qcow2};

/// Bytes that are compared and copied at once.
const STRETCH: u64 = 1 << 20;

/// Options of `trimotor img rebase`.
#[derive(Args, Debug)]
pub struct RebaseArgs {
    /// The image that is to be below; "" for none. A relative name counts from the clone's folder
    #[arg(short = 'b', value_name = "FILE")]
    backing: String,
    /// The format of the image of -b
    #[arg(short = 'F', value_name = "FORMAT", value_parser = parse_format)]
    backing_format: Option<Format>,
    /// Changes the name only: right where the image was moved, else the disk's content changes
    #[arg(short = 'u')]
    unsafe_name: bool,
    /// Shows how far it is, on a terminal
    #[arg(short = 'p')]
    progress: bool,
    /// The clone (qcow2)
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// An image cannot be opened, or the host fails.
pub fn run(args: &RebaseArgs) -> Result<(), Failure> {
    let path = &args.file;
    let mut options = ImageOptions::new(path);
    options.without_backing = args.unsafe_name;
    let new_name = (!args.backing.is_empty()).then_some(args.backing.as_str());
    let mut new = None;
    if let Some(name) = new_name {
        if args.backing_format.is_none() {
            return Err(Failure::bad(format!("-b {name}: say its format too: -F qcow2 or -F raw")));
        }
        if !args.unsafe_name {
            check_backing(path, Format::Qcow2, name, args.backing_format)?;
            let below = backing_path(path, name).map_err(Failure::bad)?;
            let below = ImageOptions::new(below).read_only().format(args.backing_format);
            new = Some(open(&below, &HostImages).map_err(not_open)?);
        }
    }
    let clone = open_qcow2(&options, Mode::Write, &HostImages).map_err(not_open)?;
    let done = (|| {
        if !args.unsafe_name {
            let progress = Progress::new(args.progress, clone.size());
            keep_content(&clone, new.as_ref(), &progress)?;
        }
        clone.set_backing(new_name.zip(args.backing_format))?;
        clone.close()
    })();
    done.map_err(|error| failed(path, &error))
}

/// Writes to the clone what would look different with the new image below it.
fn keep_content(
    clone: &Qcow2,
    new: Option<&Arc<dyn BlockBackend>>,
    progress: &Progress,
) -> Result<(), BlockError> {
    let (size, mut offset) = (clone.size(), 0);
    let (mut now, mut then) = (vec![0; STRETCH as usize], vec![0; STRETCH as usize]);
    while offset < size {
        let extent = clone.extent(offset, STRETCH.min(size - offset))?;
        // What the clone has itself stays; the rest comes from below.
        if extent.depth > 0 || !extent.is_here {
            let count = extent.bytes as usize;
            let (now, then) =
                (now.get_mut(..count).unwrap_or_default(), then.get_mut(..count).unwrap_or_default());
            clone.read(offset, now)?;
            then.fill(0);
            if let Some(new) = new {
                let there = new.size().saturating_sub(offset).min(extent.bytes) as usize;
                if there > 0 {
                    new.read(offset, then.get_mut(..there).unwrap_or_default())?;
                }
            }
            for ((piece, other), at) in now.chunks(4096).zip(then.chunks(4096)).zip((offset..).step_by(4096))
            {
                if piece != other {
                    clone.write(at, piece)?;
                }
            }
        }
        offset += extent.bytes;
        progress.set(offset);
    }
    Ok(())
}
