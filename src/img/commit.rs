//! `trimotor img commit`: what a linked clone has goes into the image below it.

use super::shared::{Progress, failed, not_open};
use crate::error::Failure;
use crate::host_images::HostImages;
use crate::note::note;
use clap::Args;
use std::path::{Path, PathBuf};
use trimotor_storage::qcow2::{Mode, Qcow2};
use trimotor_storage::{
    BlockBackend, BlockError, CacheMode, ImageOptions, backing_path, format_of, open, open_qcow2,
};

/// Bytes that are copied at once.
const STRETCH: u64 = 2 << 20;

/// Options of `trimotor img commit`.
#[derive(Args, Debug)]
pub struct CommitArgs {
    /// Leaves the clone as it is, instead of emptying it
    #[arg(short = 'd')]
    drop: bool,
    /// Shows how far it is, on a terminal
    #[arg(short = 'p')]
    progress: bool,
    /// Prints nothing
    #[arg(short = 'q')]
    quiet: bool,
    /// The clone (qcow2)
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// The image stands on none, the one below is in use, or the host fails.
pub fn run(args: &CommitArgs) -> Result<(), Failure> {
    let path = &args.file;
    let mut options = ImageOptions::new(path);
    // The image below is opened for writing here.
    options.without_backing = true;
    let clone = open_qcow2(&options, Mode::Write, &HostImages).map_err(not_open)?;
    let header = clone.header();
    let Some(name) = header.backing else {
        return Err(Failure::bad(format!(
            "{}: it stands on no other image, so there is nothing to commit",
            path.display()
        )));
    };
    let below_path = backing_path(path, &name).map_err(Failure::bad)?;
    let mut below = ImageOptions::new(&below_path);
    below.format = header.backing_format.as_deref().and_then(|format| format.parse().ok());
    below.cache = CacheMode::Unsafe;
    grow(&below, clone.size())?;
    let below = open(&below, &HostImages).map_err(not_open)?;
    let progress = Progress::new(args.progress, clone.size());
    copy(&clone, &*below, &progress).map_err(|error| failed(&below_path, &error))?;
    drop(below);
    // The content is safe before the clone loses it.
    let file = std::fs::File::open(&below_path).and_then(|file| file.sync_all());
    file.map_err(|error| failed(&below_path, &error.into()))?;
    if !args.drop {
        clone.make_empty().map_err(|error| failed(path, &error))?;
    }
    clone.close().map_err(|error| failed(path, &error))?;
    if !args.quiet {
        note(format_args!("{}: committed to {}", path.display(), below_path.display()));
    }
    Ok(())
}

/// Makes the image below as large as the clone.
///
/// # Errors
/// It cannot be opened or become larger.
pub fn grow(below: &ImageOptions, size: u64) -> Result<(), Failure> {
    let format = format_of(below, &HostImages).map_err(not_open)?;
    let path: &Path = &below.path;
    if format == trimotor_storage::Format::Qcow2 {
        let image = open_qcow2(below, Mode::Write, &HostImages).map_err(not_open)?;
        if image.size() < size {
            image.resize(size).and_then(|()| image.close()).map_err(|error| failed(path, &error))?;
        }
        return Ok(());
    }
    let disk = open(below, &HostImages).map_err(not_open)?;
    if disk.size() < size {
        drop(disk);
        let file = std::fs::File::options().write(true).open(path).and_then(|file| file.set_len(size));
        file.map_err(|error| failed(path, &error.into()))?;
    }
    Ok(())
}

/// Copies what the clone has itself.
fn copy(clone: &Qcow2, below: &dyn BlockBackend, progress: &Progress) -> Result<(), BlockError> {
    let (size, mut offset) = (clone.size(), 0);
    let mut buffer = vec![0; STRETCH as usize];
    while offset < size {
        let extent = clone.extent(offset, STRETCH.min(size - offset))?;
        if extent.is_here && extent.is_zero {
            below.write_zeroes(offset, extent.bytes, true)?;
        } else if extent.is_here {
            let piece = buffer.get_mut(..extent.bytes as usize).unwrap_or_default();
            clone.read(offset, piece)?;
            below.write(offset, piece)?;
        }
        offset += extent.bytes;
        progress.set(offset);
    }
    below.flush()
}
