//! The guest with programs for the screen: X.Org with its drivers `vesa` and `modesetting`, xterm, and Debian's small tools
//! for frame buffers, mode setting and the video BIOS.
//!
//! It gives a shell on the console, from which `x DRIVER` starts X with an xterm. Two drivers of the kernel wait in `/later`
//! for `load bochs` and such, because X's `vesa` refuses a card that the kernel drives.

use super::Cache;
use super::drives;
use super::initramfs::ExtraFile;
use super::packages::Unpacked;
use super::programs::Programs;
use crate::error::Failure;

/// The packages with programs and data.
const PACKAGES: [&str; 11] = [
    "xserver-xorg-core",
    "xserver-xorg-video-vesa",
    "xserver-xorg-input-evdev",
    "x11-xkb-utils",
    "xkb-data",
    "xfonts-base",
    "xterm",
    "vbetool",
    "fbcat",
    "libdrm-tests",
    "kbd",
];
/// What X loads, by name.
const X_MODULES: [&str; 9] = [
    "drivers/vesa_drv.so",
    "drivers/modesetting_drv.so",
    "input/evdev_drv.so",
    "libint10.so",
    "libvgahw.so",
    "libshadow.so",
    "libshadowfb.so",
    "libfbdevhw.so",
    "libwfb.so",
];
const PROGRAMS: [&str; 7] = [
    "usr/lib/xorg/Xorg",
    "usr/bin/xkbcomp",
    "usr/bin/xterm",
    "usr/sbin/vbetool",
    "usr/bin/fbcat",
    "usr/bin/modetest",
    "bin/setfont",
];
/// Kernel modules that are loaded at the start, with those that they need.
const MODULES: [&str; 2] = ["evdev", "psmouse"];
/// Kernel modules that are loaded by `load`, each with those that it needs.
const LATER: [&str; 1] = ["bochs"];
/// xterm's font, which text is read from easily. X has its cursors and `fixed` built in.
const FONT: &str = "usr/share/fonts/X11/misc/10x20-ISO8859-1.pcf.gz";
const FONTS_DIR: &str =
    "1\n10x20-ISO8859-1.pcf.gz -misc-fixed-medium-r-normal--20-200-75-75-c-100-iso8859-1\n";
const FONTS_ALIAS: &str = "10x20 -misc-fixed-medium-r-normal--20-200-75-75-c-100-iso8859-1\n";

/// The rest of `/init`: loads the drivers, and gives a shell.
pub const INIT: &str = "/bin/busybox --install -s /bin
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null
mount -t tmpfs tmp /tmp
mkdir -p /dev/pts /var/log /var/lib/xkb /run
mount -t devpts pts /dev/pts
export PATH=/usr/bin:/usr/sbin:/sbin:/bin LD_LIBRARY_PATH=/lib HOME=/root
for module in /modules/*; do insmod $module || echo MARK-NO-MODULE $module; done
echo MARK-DRIVERS
setsid cttyhack sh
poweroff -f
";

/// `load MODULE`: the module, and those that it needs.
const LOAD: &str = "#!/bin/sh
for module in /later/$1/*; do insmod $module || echo MARK-NO-MODULE $module; done
";

/// `x DRIVER [MODE]`: X with this driver, keyboard and mice as the kernel has them, and an xterm on all of the screen.
const X: &str = "#!/bin/sh
{
  echo 'Section \"Files\"
  FontPath \"/usr/share/fonts/X11/misc\"
  FontPath \"built-ins\"
EndSection
Section \"ServerFlags\"
  Option \"AutoAddDevices\" \"false\"
  Option \"AutoAddGPU\" \"false\"
EndSection
Section \"Monitor\"
  Identifier \"monitor\"
EndSection'
  echo \"Section \\\"Device\\\"
  Identifier \\\"card\\\"
  Driver \\\"$1\\\"
  Option \\\"AccelMethod\\\" \\\"none\\\"
EndSection
Section \\\"Screen\\\"
  Identifier \\\"screen\\\"
  Device \\\"card\\\"
  Monitor \\\"monitor\\\"
  DefaultDepth 24
  SubSection \\\"Display\\\"
    Modes \\\"${2:-1024x768}\\\"
  EndSubSection
EndSection\"
  devices=
  for event in /sys/class/input/event*; do
    name=${event##*/}
    case $(cat $event/device/name) in
      *keyboard*) use=CoreKeyboard;;
      *Mouse*) use=SendCoreEvents;;
      *) continue;;
    esac
    echo \"Section \\\"InputDevice\\\"
  Identifier \\\"$name\\\"
  Driver \\\"evdev\\\"
  Option \\\"Device\\\" \\\"/dev/input/$name\\\"
EndSection\"
    devices=\"$devices
  InputDevice \\\"$name\\\" \\\"$use\\\"\"
  done
  echo \"Section \\\"ServerLayout\\\"
  Identifier \\\"all\\\"
  Screen \\\"screen\\\"$devices
EndSection\"
} >/tmp/xorg.conf
rm -f /tmp/display
/usr/lib/xorg/Xorg :0 -config /tmp/xorg.conf -logfile /tmp/xorg.log -nolisten tcp -noreset -s 0 -displayfd 3 \
  3>/tmp/display >/tmp/xorg.out 2>&1 &
until [ -s /tmp/display ]; do
  kill -0 $! 2>/dev/null || { cat /tmp/xorg.log /tmp/xorg.out; echo MARK-NO-X; exit 1; }
  sleep 0.2
done
DISPLAY=:0 xterm -fn 10x20 -geometry 90x30+0+0 +bc +sb -e /bin/sh >/tmp/xterm.out 2>&1 &
echo MARK-X
";

/// Drivers, programs and scripts, out of Debian's packages.
///
/// # Errors
/// apt does not have them, or the host fails.
pub fn files(cache: &Cache, kernel_package: &str) -> Result<Vec<ExtraFile>, Failure> {
    let kernel = Unpacked::new(cache, kernel_package)?;
    let mut files = drives::modules(&kernel, &MODULES)?;
    for name in LATER {
        let with_needed = drives::modules(&kernel, &[name])?;
        let moved = |(path, permissions, content): ExtraFile| {
            (path.replacen("modules", &format!("later/{name}"), 1), permissions, content)
        };
        files.extend(with_needed.into_iter().map(moved));
    }
    let mut programs = Programs::of(cache, &PACKAGES)?;
    for path in PROGRAMS {
        let name = path.rsplit('/').next().unwrap_or(path);
        let folder = if path == PROGRAMS[0] { "usr/lib/xorg" } else { "usr/bin" };
        programs.program(path, &format!("{folder}/{name}"))?;
    }
    for name in X_MODULES {
        let path = format!("usr/lib/xorg/modules/{name}");
        programs.program(&path, &path)?;
    }
    programs.data(FONT, FONT)?;
    programs.folder("usr/share/X11/xkb")?;
    files.extend(programs.finish()?);
    files.push(("usr/share/fonts/X11/misc/fonts.dir".to_owned(), 0o644, FONTS_DIR.into()));
    files.push(("usr/share/fonts/X11/misc/fonts.alias".to_owned(), 0o644, FONTS_ALIAS.into()));
    files.push(("usr/bin/x".to_owned(), 0o755, X.into()));
    files.push(("usr/bin/load".to_owned(), 0o755, LOAD.into()));
    Ok(files)
}
