//! The guest that uses networks: Debian's kernel drivers for network cards, and Debian's programs that look at them and measure.

use super::Cache;
use super::drives::modules;
use super::initramfs::ExtraFile;
use super::packages::Unpacked;
use super::programs::Programs;
use crate::error::Failure;

/// The programs, and the packages that have them.
const PROGRAMS: [(&str, &str); 2] = [("ethtool", "sbin/ethtool"), ("iperf3", "usr/bin/iperf3")];
/// Kernel modules that are loaded at the start, with those that they need.
const MODULES: [&str; 4] = ["e1000", "virtio_pci", "virtio_net", "8021q"];

/// The rest of `/init`: loads the drivers, and gives a shell. `up` asks for an address.
pub const INIT: &str = "/bin/busybox --install -s /bin
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null
mkdir -p /dev/pts
mount -t devpts devpts /dev/pts
mount -t tmpfs tmp /tmp
export PATH=/sbin:/bin LD_LIBRARY_PATH=/lib HOME=/root
for module in /modules/*; do insmod $module || echo MARK-NO-MODULE $module; done
ip link set lo up
echo MARK-DRIVERS
setsid cttyhack sh
poweroff -f
";

/// What `udhcpc` runs with what it was told.
pub const DHCP_SCRIPT: &str = "#!/bin/sh
case $1 in
deconfig) ip addr flush dev $interface; ip link set $interface up;;
bound|renew)
  ip addr replace $ip/$mask dev $interface
  for via in $router; do ip route replace default via $via dev $interface; done
  : > /etc/resolv.conf
  for server in $dns; do echo nameserver $server >> /etc/resolv.conf; done
  [ -z \"$domain\" ] || echo search $domain >> /etc/resolv.conf;;
esac
";

/// `up [INTERFACE]`: asks for an address.
pub const UP: &str = "#!/bin/sh
udhcpc -i ${1:-eth0} -s /etc/udhcpc.sh -n -q -t 8 -T 2 2>&1
";

/// The drivers of the kernel in `kernel_package` and the programs, out of Debian's packages.
///
/// # Errors
/// apt does not have them, or the host fails.
pub fn files(cache: &Cache, kernel_package: &str) -> Result<Vec<ExtraFile>, Failure> {
    let mut files = modules(&Unpacked::new(cache, kernel_package)?, &MODULES)?;
    let mut programs = Programs::of(cache, &PROGRAMS.map(|(package, _)| package))?;
    for (_, path) in PROGRAMS {
        programs.program(path, &format!("sbin/{}", path.rsplit('/').next().unwrap_or(path)))?;
    }
    files.extend(programs.finish()?);
    Ok(files)
}
