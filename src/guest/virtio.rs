//! The guest that uses virtio devices: Debian's kernel drivers for them, and programs that look at them.

use super::Cache;
use super::drives::modules;
use super::initramfs::ExtraFile;
use super::packages::Unpacked;
use super::programs::Programs;
use crate::error::Failure;
use std::collections::BTreeSet;

/// The programs, and the packages that have them.
const PROGRAMS: [(&str, &str); 5] = [
    ("e2fsprogs", "sbin/mke2fs"),
    ("e2fsprogs", "sbin/e2fsck"),
    ("pciutils", "usr/bin/lspci"),
    ("util-linux", "sbin/blkdiscard"),
    ("perl-base", "usr/bin/perl"),
];
/// Kernel modules that are loaded at the start, with those that they need.
const MODULES: [&str; 8] = [
    "virtio_pci",
    "virtio_blk",
    "virtio_rng",
    "virtio_console",
    "virtio_balloon",
    "virtio_net",
    "crc32c_generic",
    "ext4",
];

/// The drivers of the kernel in `kernel_package` and the programs, out of Debian's packages.
///
/// # Errors
/// apt does not have them, or the host fails.
pub fn files(cache: &Cache, kernel_package: &str) -> Result<Vec<ExtraFile>, Failure> {
    let kernel = Unpacked::new(cache, kernel_package)?;
    let mut files = modules(&kernel, &MODULES)?;
    let packages: BTreeSet<_> = PROGRAMS.iter().map(|(package, _)| *package).collect();
    let mut programs = Programs::of(cache, &packages.into_iter().collect::<Vec<_>>())?;
    for (_, path) in PROGRAMS {
        programs.program(path, &format!("sbin/{}", path.rsplit('/').next().unwrap_or(path)))?;
    }
    files.extend(programs.finish()?);
    Ok(files)
}
