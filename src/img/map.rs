//! `trimotor img map`: what of a disk is where.

use super::shared::{failed, not_open, parse_format};
use crate::error::Failure;
use crate::host_images::HostImages;
use clap::Args;
use serde_json::{Value, json};
use std::io::Write;
use std::path::PathBuf;
use trimotor_storage::{BlockBackend, BlockError, Extent, Format, ImageOptions, open};

/// Options of `trimotor img map`.
#[derive(Args, Debug)]
pub struct MapArgs {
    /// The image's format [default: what it looks like]
    #[arg(short = 'f', value_name = "FORMAT", value_parser = parse_format)]
    format: Option<Format>,
    /// Prints JSON, with the names that qemu-img gives
    #[arg(long)]
    json: bool,
    /// Looks at an image that another program has open for writing
    #[arg(short = 'U', long)]
    force_share: bool,
    /// The image
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// The image cannot be opened or read.
pub fn run(args: &MapArgs) -> Result<(), Failure> {
    let mut options = ImageOptions::new(&args.file).read_only().format(args.format);
    options.share = args.force_share;
    let disk = open(&options, &HostImages).map_err(not_open)?;
    let out = &mut std::io::stdout().lock();
    if args.json {
        write!(out, "[")?;
    } else {
        writeln!(out, "{:>16} {:>16} {:>6}  {:<12} AT", "START", "BYTES", "IMAGE", "WHAT")?;
    }
    let mut start = 0;
    let mut first = true;
    while start < disk.size() {
        let extent = merged(&*disk, start).map_err(|error| failed(&args.file, &error))?;
        if args.json {
            write!(out, "{}{}", if first { "" } else { ",\n" }, as_json(start, extent))?;
        } else {
            print(out, start, extent)?;
        }
        first = false;
        start += extent.bytes;
    }
    if args.json {
        writeln!(out, "]")?;
    }
    Ok(())
}

/// The extent at `start` with those behind it that go on in the same way.
fn merged(disk: &dyn BlockBackend, start: u64) -> Result<Extent, BlockError> {
    let mut extent = disk.extent(start, disk.size() - start)?;
    while start + extent.bytes < disk.size() {
        let at = start + extent.bytes;
        let next = disk.extent(at, disk.size() - at)?;
        let expected =
            Extent { bytes: next.bytes, at: extent.at.map(|place| place + extent.bytes), ..extent };
        if next != expected {
            break;
        }
        extent.bytes += next.bytes;
    }
    Ok(extent)
}

fn as_json(start: u64, extent: Extent) -> Value {
    let mut value = json!({
        "start": start,
        "length": extent.bytes,
        "depth": extent.depth,
        "present": extent.is_here,
        "zero": extent.is_zero,
        "data": extent.has_data,
        "compressed": extent.compressed,
    });
    if let Some(at) = extent.at {
        value["offset"] = at.into();
    }
    value
}

fn print(out: &mut impl Write, start: u64, extent: Extent) -> std::io::Result<()> {
    let what = match (extent.is_zero, extent.compressed, extent.is_here) {
        (true, _, false) => "nothing",
        (true, _, true) => "zeroes",
        (false, true, _) => "compressed",
        (false, false, _) => "data",
    };
    let at = extent.at.map_or_else(|| "-".to_owned(), |at| format!("{at:#x}"));
    let image = if extent.is_here { extent.depth.to_string() } else { "-".to_owned() };
    writeln!(out, "{start:>#16x} {:>#16x} {image:>6}  {what:<12} {at}", extent.bytes)
}
