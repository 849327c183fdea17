//! Disk images in the host's files: opens, locks and makes them.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use trimotor_storage::{Access, FileError, HostFile, ImageFile, LockMode, Opener, host_file, lock};

/// The host's files.
pub struct HostImages;

impl Opener for HostImages {
    fn open(&self, path: &Path, access: Access) -> Result<Arc<dyn ImageFile>, FileError> {
        // Opening a pipe would wait for its other end, and a tape would be rewound.
        host_file::is_disk(&std::fs::metadata(path)?)?;
        let mut options = OpenOptions::new();
        options.read(true).write(access.write);
        let file = options.open(path)?;
        if !access.share {
            lock(&file, if access.write { LockMode::Write } else { LockMode::Read })?;
        }
        let direct = match access.direct {
            true => Some(options.custom_flags(direct_flag()).open(path).map_err(no_direct)?),
            false => None,
        };
        Ok(Arc::new(HostFile::new(file, direct)?))
    }
    fn temporary(&self) -> Result<Arc<dyn ImageFile>, FileError> {
        Ok(Arc::new(HostFile::new(temporary_file()?, None)?))
    }
}

/// Opens a file for a new image, and makes it if needed; it is locked, and keeps what it has.
///
/// # Errors
/// The host's, or another program uses it.
pub fn create(path: &Path) -> Result<File, FileError> {
    if let Ok(metadata) = std::fs::metadata(path) {
        host_file::is_disk(&metadata)?;
    }
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
    lock(&file, LockMode::Write)?;
    Ok(file)
}

fn direct_flag() -> i32 {
    rustix::fs::OFlags::DIRECT.bits().cast_signed()
}

fn no_direct(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::InvalidInput => {
            io::Error::other("its file system cannot go past the page cache: use another cache= than none")
        }
        _ => error,
    }
}

/// A file without a name in the folder for temporary files, `$TMPDIR`.
fn temporary_file() -> io::Result<File> {
    let folder = std::env::temp_dir();
    let named = |error: io::Error| {
        io::Error::new(error.kind(), format!("a temporary file in {} ($TMPDIR): {error}", folder.display()))
    };
    let flags = rustix::fs::OFlags::TMPFILE.bits().cast_signed();
    let unnamed = OpenOptions::new().read(true).write(true).custom_flags(flags).mode(0o600).open(&folder);
    unnamed
        .or_else(|_| {
            // A file system without nameless files.
            let path = folder.join(format!(
                "trimotor-{}-{:x}",
                std::process::id(),
                crate::host_services::monotonic_ns()
            ));
            let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
            std::fs::remove_file(&path)?;
            Ok(file)
        })
        .map_err(named)
}
