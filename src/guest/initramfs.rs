//! The root file systems of the Linux guests: busybox and a small `init`.

use super::cpio::Archive;
use flate2::{Compression, GzBuilder};
use std::io::{self, Write};

/// What the guest does once it is up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// An interactive shell on the console; leaving it powers off.
    Shell,
    /// Power off at once.
    PowerOff,
    /// Load the kernel modules that are handed over, and panic.
    Panic,
}

/// What every `init` does first: /proc, and the line that says how long the boot took.
const COMMON: &str = "#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
read up idle < /proc/uptime
echo MARK-BOOTED $up
";

const SHELL: &str = "/bin/busybox --install -s /bin
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null
export HOME=/root PATH=/bin
cd
echo 'A shell of busybox. `poweroff -f` or leaving the shell powers off, `reboot -f` resets.'
setsid cttyhack sh
poweroff -f
";

const PANIC: &str = "for module in /modules/*; do /bin/busybox insmod $module; done
echo c > /proc/sysrq-trigger
";

const POWER_OFF: &str = "/bin/busybox poweroff -f\n";

/// A kernel module: its file's name and content.
pub type Module = (String, Vec<u8>);

/// Builds the compressed archive around a statically linked busybox. `modules` are put into `/modules`, to be
/// loaded in the order of their names.
///
/// # Errors
/// Compression fails, which it does not in memory.
pub fn build(purpose: Purpose, busybox: &[u8], modules: &[Module]) -> io::Result<Vec<u8>> {
    let mut archive = Archive::default();
    for directory in ["bin", "dev", "proc", "sys", "tmp", "root"] {
        archive.directory(directory);
    }
    archive.character_device("dev/console", 0o600, 5, 1);
    archive.character_device("dev/null", 0o666, 1, 3);
    archive.file("bin/busybox", 0o755, busybox);
    archive.symlink("bin/sh", "busybox");
    archive.directory("modules");
    for (name, content) in modules {
        archive.file(&format!("modules/{name}"), 0o644, content);
    }
    let rest = match purpose {
        Purpose::Shell => SHELL,
        Purpose::PowerOff => POWER_OFF,
        Purpose::Panic => PANIC,
    };
    archive.file("init", 0o755, format!("{COMMON}{rest}").as_bytes());
    let mut gzip = GzBuilder::new().mtime(0).write(Vec::new(), Compression::default());
    gzip.write_all(&archive.finish())?;
    gzip.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn archives_are_gzip_and_hold_init() {
        let modules = [("a.ko".to_owned(), vec![1])];
        for (purpose, word) in [
            (Purpose::Shell, "cttyhack"),
            (Purpose::PowerOff, "poweroff -f"),
            (Purpose::Panic, "modules/a.ko"),
        ] {
            let bytes = build(purpose, b"\x7fELF", &modules).unwrap();
            assert_eq!(bytes, build(purpose, b"\x7fELF", &modules).unwrap(), "the same each time");
            let mut text = Vec::new();
            flate2::read::GzDecoder::new(&bytes[..]).read_to_end(&mut text).unwrap();
            let text = String::from_utf8_lossy(&text).into_owned();
            assert!(text.contains("MARK-BOOTED") && text.contains(word));
        }
    }
}
