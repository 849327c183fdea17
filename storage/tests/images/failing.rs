//! A host that fails: the disk says so, nothing that was flushed is lost, and the image stays consistent.

use crate::host::{Folder, content, make};
use crate::qemu;
use crate::random::Random;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use trimotor_storage::qcow2::{CreateOptions, Header, Mode, Qcow2};
use trimotor_storage::{BlockBackend, BlockError, HostFile, ImageFile};
use trimotor_test_needs::{QEMU_IMG, Tests};

pub fn tests() -> Tests {
    Tests::needing(&[QEMU_IMG]).test(a_full_host_loses_nothing).test(a_failing_host_loses_nothing)
}

/// A file that fails after so many writes.
struct Failing {
    file: HostFile,
    writes_left: Arc<AtomicI64>,
    with: io::ErrorKind,
}

impl Failing {
    fn count(&self) -> io::Result<()> {
        if self.writes_left.fetch_sub(1, Ordering::Relaxed) > 0 { Ok(()) } else { Err(self.with.into()) }
    }
}

impl ImageFile for Failing {
    fn bytes(&self) -> io::Result<u64> {
        self.file.bytes()
    }
    fn set_bytes(&self, bytes: u64) -> io::Result<()> {
        self.count()?;
        self.file.set_bytes(bytes)
    }
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.file.read_at(offset, into)
    }
    fn write_at(&self, offset: u64, from: &[u8]) -> io::Result<()> {
        self.count()?;
        self.file.write_at(offset, from)
    }
    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
    fn zero_at(&self, offset: u64, bytes: u64, unmap: bool) -> io::Result<()> {
        self.count()?;
        self.file.zero_at(offset, bytes, unmap)
    }
    fn hole_at(&self, offset: u64, bytes: u64) -> io::Result<(bool, u64)> {
        self.file.hole_at(offset, bytes)
    }
    fn identity(&self) -> Option<(u64, u64)> {
        self.file.identity()
    }
    fn grows_with_zeroes(&self) -> bool {
        self.file.grows_with_zeroes()
    }
    fn used_bytes(&self) -> Option<u64> {
        self.file.used_bytes()
    }
}

/// An image whose host fails after so many writes.
pub fn open(image: &Path, with: io::ErrorKind, writes: i64) -> (Qcow2, Arc<AtomicI64>) {
    let file = File::options().read(true).write(true).open(image).unwrap();
    let writes_left = Arc::new(AtomicI64::new(writes));
    let file = Failing { file: HostFile::new(file, None).unwrap(), writes_left: writes_left.clone(), with };
    let header = Header::read(&file).expect("a header");
    (Qcow2::open(Arc::new(file), header, None, Mode::Write).expect("opens"), writes_left)
}

fn check(with: io::ErrorKind, is_expected: fn(&BlockError) -> bool) {
    const BLOCK: usize = 2048;
    let folder = Folder::new("failing");
    let image = folder.path("image.qcow2");
    let mut random = Random(31);
    for writes in (0..120).step_by(3) {
        make(&image, &CreateOptions { cluster_bytes: 4096, ..CreateOptions::new(4 << 20) });
        let (disk, left) = open(&image, with, writes);
        let mut flushed = vec![0; 4 << 20];
        let mut model = flushed.clone();
        let mut touched = Vec::new();
        let failed = loop {
            let at = random.below((4 << 20) / BLOCK as u64) as usize * BLOCK;
            let data = random.bytes(BLOCK);
            touched.push(at);
            if let Err(error) = disk.write(at as u64, &data) {
                break error;
            }
            model[at..at + BLOCK].copy_from_slice(&data);
            if touched.len() % 4 == 0 {
                if let Err(error) = disk.flush() {
                    break error;
                }
                flushed.copy_from_slice(&model);
                touched.clear();
            }
        };
        assert!(is_expected(&failed), "{failed:?}");
        // The host has space again: all goes on, or the program ends here.
        if writes % 2 == 0 {
            left.store(i64::MAX, Ordering::Relaxed);
            disk.flush().expect("flushes");
            for at in &touched {
                disk.write(*at as u64, &model[*at..at + BLOCK]).expect("writes");
            }
            flushed.copy_from_slice(&model);
        }
        drop(disk);
        qemu::check_without_errors(&image);
        let found = content(&image);
        for at in (0..found.len()).step_by(BLOCK) {
            let was_flushed = found[at..at + BLOCK] == flushed[at..at + BLOCK];
            assert!(
                was_flushed || (writes % 2 == 1 && touched.contains(&at)),
                "{writes} writes: {at:#x} is lost"
            );
        }
    }
}

fn a_full_host_loses_nothing() {
    check(io::ErrorKind::StorageFull, |error| matches!(error, BlockError::NoSpace));
}
fn a_failing_host_loses_nothing() {
    check(io::ErrorKind::Other, |error| matches!(error, BlockError::Host(_)));
}
