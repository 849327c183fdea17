//! The guest that uses drives: Debian's kernel drivers for IDE, CD-ROM and floppy drives, and Debian's programs that partition
//! and format disks.

use super::Cache;
use super::initramfs::ExtraFile;
use super::packages::Unpacked;
use super::programs::Programs;
use crate::error::Failure;
use goblin::elf::Elf;
use std::collections::BTreeSet;

/// The programs, and the packages that have them.
const PROGRAMS: [(&str, &str); 7] = [
    ("fdisk", "sbin/sfdisk"),
    ("e2fsprogs", "sbin/mke2fs"),
    ("e2fsprogs", "sbin/e2fsck"),
    ("hdparm", "sbin/hdparm"),
    ("smartmontools", "usr/sbin/smartctl"),
    ("eject", "usr/bin/eject"),
    ("perl-base", "usr/bin/perl"),
];
/// Kernel modules that are loaded at the start, with those that they need.
const MODULES: [&str; 9] =
    ["ata_piix", "sd_mod", "sr_mod", "crc32c_generic", "ext4", "isofs", "vfat", "nls_cp437", "nls_ascii"];
/// Kernel modules that wait for `insmod`, because they look for their hardware.
const LATER: [&str; 1] = ["floppy"];

/// The rest of `/init`: loads the drivers, and gives a shell.
pub const INIT: &str = "/bin/busybox --install -s /bin
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null
mount -t tmpfs tmp /tmp
export PATH=/sbin:/bin LD_LIBRARY_PATH=/lib HOME=/root
mkdir -p /mnt
for module in /modules/*; do insmod $module || echo MARK-NO-MODULE $module; done
echo MARK-DRIVERS
setsid cttyhack sh
poweroff -f
";

/// The drivers of the kernel in `kernel_package` and the programs, out of Debian's packages.
///
/// # Errors
/// apt does not have them, or the host fails.
pub fn files(cache: &Cache, kernel_package: &str) -> Result<Vec<ExtraFile>, Failure> {
    let kernel = Unpacked::new(cache, kernel_package)?;
    let mut files = modules(&kernel, &MODULES)?;
    for name in LATER {
        files.push((format!("later/{name}.ko"), 0o644, module(&kernel, name)?));
    }
    let packages: BTreeSet<_> = PROGRAMS.iter().map(|(package, _)| *package).collect();
    let mut programs = Programs::of(cache, &packages.into_iter().collect::<Vec<_>>())?;
    for (_, path) in PROGRAMS {
        programs.program(path, &format!("sbin/{}", path.rsplit('/').next().unwrap_or(path)))?;
    }
    files.extend(programs.finish()?);
    Ok(files)
}

/// Modules with those that they need, in files whose names are in the order in which they can be loaded.
///
/// # Errors
/// The package has no such module, or the host fails.
pub(super) fn modules(kernel: &Unpacked<'_>, names: &[&str]) -> Result<Vec<ExtraFile>, Failure> {
    let mut order = Vec::new();
    for name in names {
        add_module(kernel, name, &mut order)?;
    }
    let file = |(number, (name, content))| (format!("modules/{number:02}-{name}.ko"), 0o644, content);
    Ok(order.into_iter().enumerate().map(file).collect())
}

/// Adds a module behind those that it needs.
fn add_module(kernel: &Unpacked<'_>, name: &str, order: &mut Vec<(String, Vec<u8>)>) -> Result<(), Failure> {
    if order.iter().any(|(other, _)| other == name) {
        return Ok(());
    }
    let content = module(kernel, name)?;
    for needed in dependencies(&content)? {
        add_module(kernel, &needed, order)?;
    }
    order.push((name.to_owned(), content));
    Ok(())
}

/// A module's file, whose name may have dashes where the module's has underscores.
fn module(kernel: &Unpacked<'_>, name: &str) -> Result<Vec<u8>, Failure> {
    let wanted = |file: &str| file.strip_suffix(".ko").is_some_and(|stem| stem.replace('-', "_") == name);
    kernel.find(&wanted).ok_or_else(|| Failure::bad(format!("the kernel's package has no module {name}")))
}

/// The modules that a module says it needs.
fn dependencies(module: &[u8]) -> Result<Vec<String>, Failure> {
    let elf = Elf::parse(module).map_err(|error| Failure::bad(format!("a kernel module: {error}")))?;
    let section = elf.section_headers.iter().find(|s| elf.shdr_strtab.get_at(s.sh_name) == Some(".modinfo"));
    let range = section.and_then(|section| section.file_range());
    let text = range.and_then(|range| module.get(range)).unwrap_or_default();
    let depends = text.split(|byte| *byte == 0).find_map(|entry| entry.strip_prefix(b"depends="));
    let names = String::from_utf8_lossy(depends.unwrap_or_default()).into_owned();
    Ok(names.split(',').filter(|name| !name.is_empty()).map(|name| name.replace('-', "_")).collect())
}
