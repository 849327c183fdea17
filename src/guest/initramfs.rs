//! The root file systems of the Linux guests: busybox and a few lines of shell.
//!
//! `/init` prepares the file systems and becomes busybox's `init`, because a Linux system needs a
//! process 1 that does what `poweroff`, `reboot` and `halt` ask it by signals, and that never ends.

use super::cpio::Archive;
use super::{display, drives, graphics, input, network, stress};
use flate2::read::GzDecoder;
use flate2::{Compression, Crc, GzBuilder};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

/// What the guest does once it is up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// An interactive shell on the console; leaving it powers off.
    Shell,
    /// Power off at once.
    PowerOff,
    /// Load the kernel modules that are handed over, and panic.
    Panic,
    /// Run stress-ng, and power off.
    Stress,
    /// Load drivers of disks, CD-ROM and floppy drives, and give a shell.
    Drives,
    /// Load drivers of virtio devices, and give a shell.
    Virtio,
    /// Load drivers of network cards, and give a shell.
    Network,
    /// Load drivers of input devices, show each event, and give a shell.
    Input,
    /// Load a driver of the display adapter, and give a shell.
    Display,
    /// Give a shell with X.Org and programs for the screen.
    Graphics,
}

/// What every `/init` does first: /proc, and the line that says how long the boot took.
const COMMON: &str = "#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
read up idle < /proc/uptime
echo MARK-BOOTED $up
";

const SHELL_INIT: &str = "/bin/busybox --install -s /bin
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null
export PATH=/bin
exec init
";

/// What busybox's `init` runs: once at the start, and at Ctrl-Alt-Del.
const INITTAB: &str = "::once:/etc/shell
::ctrlaltdel:/bin/reboot
";

const SHELL: &str = "#!/bin/sh
export HOME=/root
cd
echo 'A shell of busybox. `poweroff` or leaving the shell powers off, `reboot` resets.'
setsid cttyhack sh
echo 'The shell has ended: powering off.'
poweroff
";

const PANIC: &str = "for module in /modules/*; do /bin/busybox insmod $module; done
echo c > /proc/sysrq-trigger
";

const POWER_OFF: &str = "/bin/busybox poweroff -f\n";

/// A file beside those that every archive has: path, permissions and content.
pub type ExtraFile = (String, u32, Vec<u8>);

impl Purpose {
    /// Path, permissions and contents of what is in the archive beside busybox.
    fn files(self) -> Vec<(&'static str, u32, String)> {
        match self {
            Purpose::Shell => vec![
                ("init", 0o755, format!("{COMMON}{SHELL_INIT}")),
                ("etc/inittab", 0o644, INITTAB.to_owned()),
                ("etc/shell", 0o755, SHELL.to_owned()),
            ],
            Purpose::PowerOff => vec![("init", 0o755, format!("{COMMON}{POWER_OFF}"))],
            Purpose::Panic => vec![("init", 0o755, format!("{COMMON}{PANIC}"))],
            Purpose::Drives | Purpose::Virtio => vec![("init", 0o755, format!("{COMMON}{}", drives::INIT))],
            Purpose::Network => vec![
                ("init", 0o755, format!("{COMMON}{}", network::INIT)),
                ("etc/udhcpc.sh", 0o755, network::DHCP_SCRIPT.to_owned()),
                ("bin/up", 0o755, network::UP.to_owned()),
            ],
            Purpose::Input => vec![("init", 0o755, format!("{COMMON}{}", input::INIT))],
            Purpose::Display => vec![("init", 0o755, format!("{COMMON}{}", display::INIT))],
            Purpose::Graphics => vec![("init", 0o755, format!("{COMMON}{}", graphics::INIT))],
            Purpose::Stress => vec![("init", 0o755, format!("{COMMON}{}", stress::init()))],
        }
    }
    /// The archive's name in its gzip header, which changes with what is in it. (Linux skips a name
    /// there, but no comment.)
    fn name(self) -> String {
        let mut sum = Crc::new();
        for (path, _, contents) in self.files() {
            sum.update(path.as_bytes());
            sum.update(contents.as_bytes());
        }
        format!("trimotor-{:08x}.cpio", sum.sum())
    }
}

/// Whether the file at `path` is an archive as [`build`] makes it now.
pub fn is_current(purpose: Purpose, path: &Path) -> bool {
    let name = |file: File| GzDecoder::new(file).header()?.filename().map(<[u8]>::to_vec);
    File::open(path).ok().and_then(name).is_some_and(|name| name == purpose.name().as_bytes())
}

/// The folders that every archive has.
const FOLDERS: [&str; 7] = ["bin", "dev", "etc", "proc", "sys", "tmp", "root"];

/// The folders that files are in, each behind the one that it is in.
fn folders(files: &[ExtraFile]) -> BTreeSet<&str> {
    let above =
        |path| std::iter::successors(Some(path), |path: &&str| Some(path.rsplit_once('/')?.0)).skip(1);
    files.iter().flat_map(|(path, ..)| above(path.as_str())).collect()
}

/// Builds the compressed archive around a statically linked busybox. Kernel modules among the `extra` files are loaded
/// from `/modules` in the order of their names.
///
/// # Errors
/// Compression fails, which it does not in memory.
pub fn build(purpose: Purpose, busybox: &[u8], extra: &[ExtraFile]) -> io::Result<Vec<u8>> {
    let mut archive = Archive::default();
    FOLDERS.iter().for_each(|folder| archive.directory(folder));
    archive.character_device("dev/console", 0o600, 5, 1);
    archive.character_device("dev/null", 0o666, 1, 3);
    archive.file("bin/busybox", 0o755, busybox);
    archive.symlink("bin/sh", "busybox");
    for folder in folders(extra).into_iter().filter(|folder| !FOLDERS.contains(folder)) {
        archive.directory(folder);
    }
    for (path, permissions, content) in extra {
        archive.file(path, *permissions, content);
    }
    for (path, permissions, contents) in purpose.files() {
        archive.file(path, permissions, contents.as_bytes());
    }
    let builder = GzBuilder::new().mtime(0).filename(purpose.name());
    let mut gzip = builder.write(Vec::new(), Compression::default());
    gzip.write_all(&archive.finish())?;
    gzip.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn archives_are_gzip_and_hold_init() {
        let extra =
            [("modules/a.ko".to_owned(), 0o644, vec![1]), ("usr/share/x/y".to_owned(), 0o644, vec![2])];
        assert!(folders(&extra).into_iter().eq(["modules", "usr", "usr/share", "usr/share/x"]));
        for (purpose, word) in [
            (Purpose::Shell, "::once:/etc/shell"),
            (Purpose::PowerOff, "poweroff -f"),
            (Purpose::Panic, "modules/a.ko"),
            (Purpose::Stress, "tlb-shootdown"),
            (Purpose::Drives, "MARK-DRIVERS"),
            (Purpose::Input, "MARK-INPUT"),
            (Purpose::Network, "udhcpc"),
            (Purpose::Graphics, "devpts"),
        ] {
            let bytes = build(purpose, b"\x7fELF", &extra).unwrap();
            assert_eq!(bytes, build(purpose, b"\x7fELF", &extra).unwrap(), "the same each time");
            let mut text = Vec::new();
            flate2::read::GzDecoder::new(&bytes[..]).read_to_end(&mut text).unwrap();
            let text = String::from_utf8_lossy(&text).into_owned();
            assert!(text.contains("MARK-BOOTED") && text.contains(word));
        }
    }

    #[test]
    fn archives_of_another_version_are_not_current() {
        let path = std::env::temp_dir().join(format!("trimotor-archive-{}", std::process::id()));
        std::fs::write(&path, build(Purpose::Shell, b"\x7fELF", &[]).unwrap()).unwrap();
        assert!(is_current(Purpose::Shell, &path) && !is_current(Purpose::PowerOff, &path));
        std::fs::write(&path, b"\x1f\x8b\x08\0\0\0\0\0\0\0").unwrap();
        assert!(!is_current(Purpose::Shell, &path));
        std::fs::remove_file(&path).unwrap();
        assert!(!is_current(Purpose::Shell, &path));
    }
}
