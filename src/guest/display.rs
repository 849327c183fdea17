//! The guest with a driver for the display adapter: Linux' `bochs`, which has the console on a linear frame buffer.

use super::initramfs::ExtraFile;
use super::packages::Unpacked;
use super::{Cache, drives};
use crate::error::Failure;

/// The drivers, with those that they need.
const MODULES: [&str; 1] = ["bochs"];

/// The rest of `/init`: loads the driver, and gives a shell.
pub const INIT: &str = "/bin/busybox --install -s /bin
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null
mount -t tmpfs tmp /tmp
export PATH=/bin HOME=/root
for module in /modules/*; do insmod $module || echo MARK-NO-MODULE $module; done
echo MARK-DRIVERS
setsid cttyhack sh
poweroff -f
";

/// The drivers of the kernel in `kernel_package`.
///
/// # Errors
/// apt does not have them, or the host fails.
pub fn files(cache: &Cache, kernel_package: &str) -> Result<Vec<ExtraFile>, Failure> {
    drives::modules(&Unpacked::new(cache, kernel_package)?, &MODULES)
}
