//! `trimotor img convert`.

use super::create::{check_backing, format_by_name, make, same_file};
use super::format_options;
use super::shared::{NewFile, Progress, failed, not_open, parse_format, threads};
use crate::error::Failure;
use crate::host_images::HostImages;
use clap::Args;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use trimotor_storage::copy::Copy;
use trimotor_storage::qcow2::{Header, Mode, Qcow2};
use trimotor_storage::raw::RawImage;
use trimotor_storage::{BlockBackend, BlockError, Format, ImageOptions, backing_path, open};

/// Options of `trimotor img convert`.
#[derive(Args, Debug)]
pub struct ConvertArgs {
    /// The source's format [default: what it looks like]
    #[arg(short = 'f', value_name = "FORMAT", value_parser = parse_format)]
    format: Option<Format>,
    /// The new image's format: qcow2 or raw [default: raw if the file's name ends in .raw or .img, else qcow2]
    #[arg(short = 'O', value_name = "FORMAT", value_parser = parse_format)]
    output_format: Option<Format>,
    /// Compresses (qcow2 only)
    #[arg(short = 'c')]
    compress: bool,
    /// Leaves out what this image has, which the new image then stands on
    #[arg(short = 'B', value_name = "FILE")]
    backing: Option<String>,
    /// The format of the image of -B
    #[arg(short = 'F', value_name = "FORMAT", value_parser = parse_format)]
    backing_format: Option<Format>,
    /// Options of the new image's format; -o help lists them
    #[arg(short = 'o', value_name = "NAME=VALUE,...")]
    options: Vec<String>,
    /// Shows how far it is, on a terminal
    #[arg(short = 'p')]
    progress: bool,
    /// Reads a source that another program has open for writing: what it writes meanwhile may be copied or not
    #[arg(short = 'U', long)]
    force_share: bool,
    /// The image to copy
    #[arg(value_name = "SOURCE", required_unless_present = "options")]
    source: Option<PathBuf>,
    /// The new image. A file of this name is replaced, unless another program has it open
    #[arg(value_name = "TARGET", required_unless_present = "options")]
    target: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// An image or option cannot be used, or the host fails. A file that was begun is removed.
pub fn run(args: &ConvertArgs) -> Result<(), Failure> {
    if format_options::asks_for_help(&args.options) {
        return Ok(writeln!(std::io::stdout(), "{}", format_options::QCOW2_HELP)?);
    }
    let (Some(source_path), Some(target_path)) = (&args.source, &args.target) else {
        return Err(Failure::bad("img convert: name the source and the new image"));
    };
    if same_file(source_path, target_path) {
        return Err(Failure::bad(format!("{}: it is the source and the target", target_path.display())));
    }
    let mut source = ImageOptions::new(source_path).read_only().format(args.format);
    source.share = args.force_share;
    let source = open(&source, &HostImages).map_err(not_open)?;
    let format = args.output_format.unwrap_or_else(|| format_by_name(target_path));
    let mut options = format_options::parse(format, &args.options)?;
    options.qcow2.size = source.size();
    options.backing = args.backing.clone().or(options.backing);
    options.backing_format = args.backing_format.or(options.backing_format);
    if args.compress && format != Format::Qcow2 {
        return Err(Failure::bad(format!("-c: {format} images are not compressed; use -O qcow2")));
    }
    let mut below = None;
    if let Some(backing) = &options.backing {
        check_backing(target_path, format, backing, options.backing_format)?;
        let path = backing_path(target_path, backing).map_err(Failure::bad)?;
        let image = ImageOptions::new(path).read_only().format(options.backing_format);
        below = Some(open(&image, &HostImages).map_err(not_open)?);
    }

    let new = NewFile::new(target_path)?;
    let copied = make(&*new.file, format, &options).and_then(|()| {
        let progress = Progress::new(args.progress, source.size());
        let target = Target::open(&new, format, below.clone())?;
        let copy = Copy {
            from: &*source,
            to: &*target.disk,
            is_new: !new.is_device() || format == Format::Qcow2,
            backing: below.as_deref(),
            compress: target.qcow2.as_deref().filter(|_| args.compress),
            threads: threads(),
            progress: &|done| progress.set(done),
        };
        copy.run()?;
        target.close()
    });
    copied.map_err(|error| failed(target_path, &error))?;
    new.keep();
    Ok(())
}

/// The new image, open for writing.
struct Target {
    disk: Arc<dyn BlockBackend>,
    qcow2: Option<Arc<Qcow2>>,
}

impl Target {
    fn open(
        new: &NewFile<'_>,
        format: Format,
        below: Option<Arc<dyn BlockBackend>>,
    ) -> Result<Self, BlockError> {
        // As `cp` does: the host writes it to its disk when it likes.
        let file = trimotor_storage::file::unsynced(new.file.clone());
        if format != Format::Qcow2 {
            return Ok(Self { disk: Arc::new(RawImage::open(file, false)?), qcow2: None });
        }
        let header = Header::read(&*file)?;
        let image = Arc::new(Qcow2::open(file, header, below, Mode::Write)?);
        Ok(Self { disk: image.clone(), qcow2: Some(image) })
    }
    fn close(&self) -> Result<(), BlockError> {
        self.qcow2.as_ref().map_or(Ok(()), |image| image.close())
    }
}
