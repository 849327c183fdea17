//! The host's files for these tests: an opener, and folders that go with their test.

use std::fs::{self, File};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use trimotor_storage::qcow2::{self, CreateOptions, Mode, Qcow2};
use trimotor_storage::{
    Access, BlockBackend, FileError, HostFile, ImageFile, ImageOptions, LockMode, OpenError, Opener, lock,
    open, open_qcow2,
};

/// Opens files by their names.
pub struct Files;

impl Opener for Files {
    fn open(&self, path: &Path, access: Access) -> Result<Arc<dyn ImageFile>, FileError> {
        let file = File::options().read(true).write(access.write).open(path)?;
        if !access.share {
            lock(&file, if access.write { LockMode::Write } else { LockMode::Read })?;
        }
        let direct = if access.direct { Some(open_direct(path, access.write)?) } else { None };
        Ok(Arc::new(HostFile::new(file, direct)?))
    }
    fn temporary(&self) -> Result<Arc<dyn ImageFile>, FileError> {
        let folder = Folder::new("temporary");
        let file = File::options().read(true).write(true).create_new(true).open(folder.path("file"))?;
        Ok(Arc::new(HostFile::new(file, None)?))
    }
}

/// Opens a file past the page cache.
pub fn open_direct(path: &Path, write: bool) -> std::io::Result<File> {
    let flag = rustix::fs::OFlags::DIRECT.bits().cast_signed();
    File::options().read(true).write(write).custom_flags(flag).open(path)
}

/// A folder for a test's files, gone with the test.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("trimotor-images-{}-{number}-{name}", std::process::id()));
        fs::create_dir_all(&path).expect("a temporary folder");
        Folder(path)
    }
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Makes a qcow2 image.
pub fn make(path: &Path, options: &CreateOptions) {
    let file =
        File::options().read(true).write(true).create(true).truncate(true).open(path).expect("a new file");
    qcow2::create(&HostFile::new(file, None).expect("a file"), options).expect("a new image");
}
/// Opens, and again if another test is just starting a program, which has this one's files until it runs.
fn patiently<T>(open: impl Fn() -> Result<T, OpenError>) -> T {
    const TRIES: u32 = 100_000;
    let is_lock = |error: &OpenError| matches!(error, OpenError::File { error: FileError::InUse(_), .. });
    for _ in 0..TRIES {
        match open() {
            Err(error) if is_lock(&error) => std::thread::yield_now(),
            opened => return opened.unwrap_or_else(|error| panic!("{error}")),
        }
    }
    open().unwrap_or_else(|error| panic!("{error}"))
}
/// Opens an image for reading and writing.
pub fn writable(path: &Path) -> Arc<dyn BlockBackend> {
    let mut options = ImageOptions::new(path);
    options.discard = trimotor_storage::Discard::Unmap;
    patiently(|| open(&options, &Files))
}
/// Opens a qcow2 image for what `mode` says.
pub fn qcow2_for(path: &Path, mode: Mode) -> Arc<Qcow2> {
    patiently(|| open_qcow2(&ImageOptions::new(path), mode, &Files))
}
/// Opens a qcow2 image for reading and writing.
pub fn qcow2(path: &Path) -> Arc<Qcow2> {
    qcow2_for(path, Mode::Write)
}
/// All of a disk's content.
pub fn content(path: &Path) -> Vec<u8> {
    let disk = patiently(|| open(&ImageOptions::new(path).read_only(), &Files));
    let mut content = vec![0; disk.size() as usize];
    disk.read(0, &mut content).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    content
}
