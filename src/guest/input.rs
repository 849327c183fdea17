//! The guest that shows its input events: Debian's drivers of mice and of `/dev/input`, and a line on the console for each event.

use super::Cache;
use super::drives::modules;
use super::initramfs::ExtraFile;
use super::packages::Unpacked;
use crate::error::Failure;

/// Kernel modules that are loaded at the start, with those that they need.
const MODULES: [&str; 2] = ["evdev", "psmouse"];

/// The rest of `/init`: loads the drivers, tells each event of each input device as `IN eventN ... type code value`, and
/// gives a shell.
pub const INIT: &str = "/bin/busybox --install -s /bin
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null
export PATH=/bin HOME=/root
for module in /modules/*; do insmod $module || echo MARK-NO-MODULE $module; done
sleep 2
for event in /sys/class/input/event*; do
  name=${event##*/}
  echo MARK-DEVICE $name: $(cat $event/device/name)
  hexdump -v -e '\"IN '$name' \" 1/4 \"%u \" 1/4 \"%u \" 1/4 \"%u \" 1/4 \"%u \" 1/2 \"%u \" 1/2 \"%u \" 1/4 \"%d\" \"\\n\"' /dev/input/$name &
done
sleep 1
echo MARK-INPUT
setsid cttyhack sh
poweroff -f
";

/// The drivers of the kernel in `kernel_package`.
///
/// # Errors
/// apt does not have the package, or the host fails.
pub fn files(cache: &Cache, kernel_package: &str) -> Result<Vec<ExtraFile>, Failure> {
    modules(&Unpacked::new(cache, kernel_package)?, &MODULES)
}
