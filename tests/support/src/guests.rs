//! Finds the guests that tests boot, and fetches them where they are not there yet.
//!
//! Looked for in `$TRIMOTOR_GUESTS` and in `guests/cache`; fetched into the latter by the
//! program itself (`trimotor guest linux`), under a lock, because tests run in parallel.

use crate::needs::{Need, program};
use crate::program::executable;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Once;

/// Debian's packages, of which guests are made, or guests that were made of them before.
pub const DEBIAN: Need = Need {
    name: "debian",
    check: || {
        let (kernel, _) = Guest::CloudKernel.name_and_flag();
        if given(kernel).is_some() || cache().join(kernel).exists() {
            return Ok(());
        }
        program("apt-get", "apt")
            .map_err(|why| format!("no guests (TRIMOTOR_GUESTS names a folder), and {why}"))
    },
};

/// Where guests are kept once they are fetched.
fn cache() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../guests/cache")
}
/// A guest's file in the folder that `TRIMOTOR_GUESTS` names.
fn given(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("TRIMOTOR_GUESTS").map(PathBuf::from);
    folder.map(|folder| folder.join(name)).filter(|path| path.exists())
}

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
    /// PXELINUX, which boots Debian's 32-bit installer from a network; its module `ldlinux.c32` is beside it.
    InstallerLoader,
    /// The kernel of Debian's graphical installer.
    GtkInstallerKernel,
    /// The file system of Debian's graphical installer; its boot menu is in `boot-screens` beside it.
    GtkInstallerInitrd,
    /// GRUB for UEFI firmware that boots from a network; shim, which starts it, is `bootnetx64.efi` beside it.
    EfiNetLoader,
    /// X.Org and programs for the screen, for the full kernel.
    Graphics,
    /// grub-invaders, a Multiboot kernel.
    Invaders,
    /// Panics with the cloud kernel, whose pvpanic driver it loads before.
    Panic,
    /// Runs stress-ng and powers off.
    Stress,
    /// Drivers and programs for disks, CDs and floppies, for the full kernel.
    Drives,
    /// Drivers of virtio devices, for the full kernel.
    Virtio,
    /// Drivers and programs for networks, for the full kernel.
    Network,
    /// Shows each event of keyboard and mouse, for the full kernel.
    Input,
    /// A driver for the display adapter, for the full kernel.
    Display,
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
            Guest::InstallerLoader => ("di-i386/pxelinux.0", Some("--i386-installer")),
            Guest::GtkInstallerKernel => ("di-gtk-amd64/linux", Some("--installer-gtk")),
            Guest::GtkInstallerInitrd => ("di-gtk-amd64/initrd.gz", Some("--installer-gtk")),
            Guest::EfiNetLoader => ("di-gtk-amd64/grubx64.efi", Some("--installer-gtk")),
            Guest::Graphics => ("graphics.cpio.gz", Some("--graphics")),
            Guest::Invaders => ("invaders", Some("--invaders")),
            Guest::Panic => ("panic.cpio.gz", Some("--panic")),
            Guest::Stress => ("stress.cpio.gz", Some("--stress")),
            Guest::Drives => ("drives.cpio.gz", Some("--drives")),
            Guest::Virtio => ("virtio.cpio.gz", Some("--virtio")),
            Guest::Network => ("network.cpio.gz", Some("--network")),
            Guest::Input => ("input.cpio.gz", Some("--input")),
            Guest::Display => ("display.cpio.gz", Some("--display")),
            Guest::Memtest => ("memtest.bin", Some("--memtest")),
            Guest::Xen => ("xen", Some("--xen")),
        }
    }
    /// The file, fetched if it has to be.
    pub fn path(self) -> String {
        let (name, flag) = self.name_and_flag();
        if let Some(path) = given(name) {
            return path.to_string_lossy().into_owned();
        }
        let path = cache().join(name);
        // File systems that an older version of the program built are built anew.
        static FILE_SYSTEMS: Once = Once::new();
        if matches!(self, Guest::Shell | Guest::PowerOff) {
            FILE_SYSTEMS.call_once(|| fetch(&cache(), flag));
        } else if !path.exists() {
            fetch(&cache(), flag);
        }
        assert!(path.exists(), "{} was not fetched", path.display());
        path.to_string_lossy().into_owned()
    }
}

fn fetch(cache: &Path, flag: Option<&str>) {
    fs::create_dir_all(cache).expect("guests/cache can be made");
    let lock = File::create(cache.join(".lock")).expect("guests/cache can be written");
    lock.lock().expect("guests/cache can be locked");
    let output = Command::new(executable())
        .args(["guest", "linux", "--out"])
        .arg(cache)
        .args(flag)
        .stdin(Stdio::null())
        .output()
        .expect("trimotor runs");
    assert!(output.status.success(), "trimotor guest linux: {}", String::from_utf8_lossy(&output.stderr));
}
