//! Opening an image, with all that it stands on.

use crate::block::{BlockBackend, BlockError};
use crate::file::{Access, FileError, ImageFile, Opener, unsynced};
use crate::options::{CacheMode, ImageOptions};
use crate::policy::Policy;
use crate::probe::{self, Format};
use crate::qcow2::{self, Mode, Qcow2};
use crate::raw::RawImage;
use crate::{vdi, vhd, vmdk};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Most images that may stand on each other. Each costs a look-up where it does not have what is read.
const MOST_IMAGES: usize = 200;

/// Opens a disk image for a device.
///
/// # Errors
/// See [`OpenError`]; each message names the file.
pub fn open(options: &ImageOptions, opener: &dyn Opener) -> Result<Arc<dyn BlockBackend>, OpenError> {
    let disk = open_chain(options, opener)?;
    Ok(Policy::wrap(disk, options))
}

/// Why an image cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file cannot be opened.
    #[error("{}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        error: FileError,
    },
    /// The image cannot be used.
    #[error("{}: {error}", path.display())]
    Image {
        /// Which.
        path: PathBuf,
        /// Why not.
        error: BlockError,
    },
    /// The options and the file contradict each other.
    #[error("{}: {why}", path.display())]
    Refused {
        /// Which.
        path: PathBuf,
        /// Why, and what would work.
        why: String,
    },
}

fn refused(path: &Path, why: impl Into<String>) -> OpenError {
    OpenError::Refused { path: path.into(), why: why.into() }
}

/// Opens a qcow2 image as what it is, for what other formats do not have. The options' policies, and whether they say
/// read-only, do not apply.
///
/// # Errors
/// As for [`open()`], and where the image has another format.
pub fn open_qcow2(options: &ImageOptions, mode: Mode, opener: &dyn Opener) -> Result<Arc<Qcow2>, OpenError> {
    let mut chain = Chain { opener, options, mode: Some(mode), files: Vec::new() };
    match chain.open(&options.path, options.format, matches!(mode, Mode::Write | Mode::Repair))? {
        Image::Qcow2(image) => Ok(image),
        Image::Other(_, format) => {
            Err(refused(&options.path, format!("it is a {format} image: only qcow2 has this")))
        }
    }
}

/// The format that an image looks like, for reading.
///
/// # Errors
/// It cannot be opened.
pub fn format_of(options: &ImageOptions, opener: &dyn Opener) -> Result<Format, OpenError> {
    let path = &options.path;
    let access = Access { share: options.share, ..Access::READ };
    let file = opener.open(path, access).map_err(|error| OpenError::File { path: path.clone(), error })?;
    Ok(choose_format(path, options.format, &*file, false)?.0)
}

/// An open image.
enum Image {
    Qcow2(Arc<Qcow2>),
    Other(Arc<dyn BlockBackend>, Format),
}

impl Image {
    fn disk(self) -> Arc<dyn BlockBackend> {
        match self {
            Image::Qcow2(image) => image,
            Image::Other(disk, _) => disk,
        }
    }
}

/// Opens what the options name, without their policies.
fn open_chain(options: &ImageOptions, opener: &dyn Opener) -> Result<Arc<dyn BlockBackend>, OpenError> {
    if options.share && !options.read_only {
        return Err(refused(&options.path, "an image can only be shared read-only"));
    }
    let mut chain = Chain { opener, options, mode: None, files: Vec::new() };
    let writes = !options.read_only && !options.snapshot;
    let disk = chain.open(&options.path, options.format, writes)?.disk();
    if !options.snapshot || options.read_only {
        return Ok(disk);
    }
    let image = |error| OpenError::Image { path: options.path.clone(), error };
    let overlay =
        opener.temporary().map_err(|error| OpenError::File { path: options.path.clone(), error })?;
    let overlay = unsynced(overlay);
    qcow2::create(&*overlay, &qcow2::CreateOptions::new(disk.size())).map_err(image)?;
    let header = qcow2::Header::read(&*overlay).map_err(image)?;
    Ok(Arc::new(Qcow2::open(overlay, header, Some(disk), Mode::Write).map_err(image)?))
}

/// An image and those that it stands on, while they are opened.
struct Chain<'a> {
    opener: &'a dyn Opener,
    options: &'a ImageOptions,
    /// What the topmost is opened for, where that is special.
    mode: Option<Mode>,
    files: Vec<(PathBuf, Option<(u64, u64)>)>,
}

impl Chain<'_> {
    /// Opens an image and what is below it. Only the topmost is opened for writing.
    fn open(&mut self, path: &Path, format: Option<Format>, writes: bool) -> Result<Image, OpenError> {
        let image = |error| OpenError::Image { path: path.into(), error };
        let options = self.options;
        let direct = options.cache == CacheMode::None;
        let access = Access { write: writes, direct, share: options.share };
        let file =
            self.opener.open(path, access).map_err(|error| OpenError::File { path: path.into(), error })?;
        self.enter(path, &*file)?;
        let (format, guessed) = choose_format(path, format, &*file, writes)?;
        if writes && !matches!(format, Format::Raw | Format::Qcow2) {
            return Err(refused(
                path,
                format!(
                    "{format} images are only read: convert it (`trimotor img convert -O qcow2`), or say \
                     readonly=on or snapshot=on"
                ),
            ));
        }
        let file = if options.cache == CacheMode::Unsafe { unsynced(file) } else { file };
        match format {
            Format::Raw => {
                let raw = RawImage::open(file, !writes).map_err(image)?;
                let raw = if guessed { raw.guarded() } else { raw };
                Ok(Image::Other(Arc::new(raw), format))
            }
            Format::Qcow2 => {
                let header = qcow2::Header::read(&*file).map_err(image)?;
                // Only the topmost image is checked.
                let mode = match (self.files.len(), self.mode, writes) {
                    (1, Some(mode), _) => mode,
                    (_, _, true) => Mode::Write,
                    (_, _, false) => Mode::Read,
                };
                let backing = match &header.backing {
                    Some(name) if !options.without_backing => {
                        Some(self.open_backing(path, name, header.backing_format.as_deref())?)
                    }
                    _ => None,
                };
                Ok(Image::Qcow2(Arc::new(Qcow2::open(file, header, backing, mode).map_err(image)?)))
            }
            Format::Vmdk => {
                let mut extent = |name: &str| self.open_extent(path, name);
                Ok(Image::Other(vmdk::open(file, &mut extent).map_err(image)?, format))
            }
            Format::Vhd => Ok(Image::Other(vhd::open(file).map_err(image)?, format)),
            Format::Vdi => Ok(Image::Other(vdi::open(file).map_err(image)?, format)),
        }
    }
    /// Opens the file of a VMDK's extent, which is in the image's folder.
    fn open_extent(&self, image: &Path, name: &str) -> Result<Arc<dyn ImageFile>, BlockError> {
        let path = image.parent().unwrap_or(Path::new("")).join(name);
        let access = Access { write: false, direct: false, share: self.options.share };
        let opened = self.opener.open(&path, access);
        opened.map_err(|error| BlockError::Damaged(format!("its extent {}: {error}", path.display())))
    }
    /// Notes that the chain has this file; refuses chains that bite their tail.
    fn enter(&mut self, path: &Path, file: &dyn ImageFile) -> Result<(), OpenError> {
        let identity = file.identity();
        let seen = self.files.iter().position(|(_, seen)| identity.is_some() && *seen == identity);
        self.files.push((path.into(), identity));
        let names = || {
            let names: Vec<_> = self.files.iter().map(|(path, _)| path.display().to_string()).collect();
            names.join(" -> ")
        };
        if seen.is_some() {
            return Err(refused(
                &self.options.path,
                format!("its chain of backing files is a loop: {}", names()),
            ));
        }
        if self.files.len() > MOST_IMAGES {
            return Err(refused(
                &self.options.path,
                format!("more than {MOST_IMAGES} images stand on each other"),
            ));
        }
        Ok(())
    }
    fn open_backing(
        &mut self,
        image: &Path,
        name: &str,
        format: Option<&str>,
    ) -> Result<Arc<dyn BlockBackend>, OpenError> {
        let format = format.map(str::parse).transpose();
        let format =
            format.map_err(|why: String| refused(image, format!("the format of its backing file: {why}")))?;
        let path = backing_path(image, name).map_err(|why| refused(image, why))?;
        Ok(self.open(&path, format, false)?.disk())
    }
}

/// Where a backing file is that an image names: relative to the image's folder.
///
/// # Errors
/// The name is no file's.
pub fn backing_path(image: &Path, name: &str) -> Result<PathBuf, String> {
    let name = name.strip_prefix("file:").unwrap_or(name);
    let protocol = name.split_once(':').map(|(protocol, _)| protocol);
    let is_protocol =
        |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    if let Some(protocol) = protocol.filter(|text| is_protocol(text)) {
        return Err(format!("its backing file is `{name}`: {protocol}: is not supported, files are"));
    }
    Ok(image.parent().unwrap_or(Path::new("")).join(name))
}

/// The format of an image, and whether it was guessed.
fn choose_format(
    path: &Path,
    format: Option<Format>,
    file: &dyn ImageFile,
    writes: bool,
) -> Result<(Format, bool), OpenError> {
    if let Some(format) = format {
        return Ok((format, false));
    }
    let mut head = [0; 512];
    file.read_at(0, &mut head).map_err(|error| OpenError::File { path: path.into(), error: error.into() })?;
    let format = match probe::by_head(&head) {
        None if has_vhd_footer(path, file)? => Some(Format::Vhd),
        format => format,
    };
    match format {
        None => Ok((Format::Raw, true)),
        Some(format) if writes && (probe::name_says_raw(path) || !file.grows_with_zeroes()) => {
            let what = if file.grows_with_zeroes() { "its name says raw" } else { "it is a block device" };
            Err(refused(
                path,
                format!(
                    "its content looks like {format}, but {what}, and a guest may have written that: \
                     say format={format} or format=raw"
                ),
            ))
        }
        Some(format) => Ok((format, true)),
    }
}

/// Whether a file ends as a fixed VHD does.
fn has_vhd_footer(path: &Path, file: &dyn ImageFile) -> Result<bool, OpenError> {
    let mut tail = [0; 512];
    let read = file.bytes().and_then(|bytes| match bytes.checked_sub(512) {
        Some(at) => file.read_at(at, &mut tail),
        None => Ok(()),
    });
    read.map_err(|error| OpenError::File { path: path.into(), error: error.into() })?;
    Ok(vhd::is_footer(&tail))
}
