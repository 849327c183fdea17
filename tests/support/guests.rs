//! Finds the guests that tests boot, and fetches them where they are not there yet.
//!
//! Looked for in `$TRIMOTOR_GUESTS` and in `guests/cache`; fetched into the latter by the
//! program itself (`trimotor guest linux`), under a lock, because tests run in parallel.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A guest file that tests use.
#[derive(Clone, Copy)]
pub enum Guest {
    /// Debian's cloud kernel, x86-64.
    CloudKernel,
    /// Debian's full kernel, x86-64.
    FullKernel,
    /// A shell on the console.
    Shell,
    /// Powers off once it is up.
    PowerOff,
    /// The kernel of Debian's 32-bit installer.
    InstallerKernel,
    /// The file system of Debian's 32-bit installer.
    InstallerInitrd,
    /// Panics with the cloud kernel, whose pvpanic driver it loads before.
    Panic,
    /// memtest86+.
    Memtest,
    /// The Xen hypervisor.
    Xen,
}

impl Guest {
    fn name_and_flag(self) -> (&'static str, Option<&'static str>) {
        match self {
            Guest::CloudKernel => ("vmlinuz-cloud", None),
            Guest::FullKernel => ("vmlinuz", Some("--full")),
            Guest::Shell => ("shell.cpio.gz", None),
            Guest::PowerOff => ("off.cpio.gz", None),
            Guest::InstallerKernel => ("di-i386/linux", Some("--i386-installer")),
            Guest::InstallerInitrd => ("di-i386/initrd.gz", Some("--i386-installer")),
            Guest::Panic => ("panic.cpio.gz", Some("--panic")),
            Guest::Memtest => ("memtest.bin", Some("--memtest")),
            Guest::Xen => ("xen", Some("--xen")),
        }
    }
    /// The file, fetched if it has to be.
    pub fn path(self) -> String {
        let (name, flag) = self.name_and_flag();
        let given = std::env::var_os("TRIMOTOR_GUESTS").map(|folder| PathBuf::from(folder).join(name));
        if let Some(path) = given.filter(|path| path.exists()) {
            return path.to_string_lossy().into_owned();
        }
        let cache = Path::new(env!("CARGO_MANIFEST_DIR")).join("guests/cache");
        let path = cache.join(name);
        if !path.exists() {
            fetch(&cache, flag);
        }
        assert!(path.exists(), "{} was not fetched", path.display());
        path.to_string_lossy().into_owned()
    }
}

fn fetch(cache: &Path, flag: Option<&str>) {
    fs::create_dir_all(cache).expect("guests/cache can be made");
    let lock = File::create(cache.join(".lock")).expect("guests/cache can be written");
    lock.lock().expect("guests/cache can be locked");
    let output = Command::new(env!("CARGO_BIN_EXE_trimotor"))
        .args(["guest", "linux", "--out"])
        .arg(cache)
        .args(flag)
        .stdin(Stdio::null())
        .output()
        .expect("trimotor runs");
    assert!(output.status.success(), "trimotor guest linux: {}", String::from_utf8_lossy(&output.stderr));
}
