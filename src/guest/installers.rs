//! Debian's installers: kernels, initial file systems, and the boot menu of the graphical one.

use super::packages::Unpacked;
use super::{Cache, write_whole};
use crate::error::Failure;

/// The 32-bit installer for terminals, and what boots it from a network: PXELINUX, which is written last, as what stands for all of it.
///
/// # Errors
/// apt does not have it, or the host fails.
pub fn text_i386(cache: &Cache) -> Result<(), Failure> {
    const FOLDER: &str = "usr/lib/debian-installer/images/12/i386/text/debian-installer/i386";
    let package = Unpacked::new(cache, "debian-installer-12-netboot-i386")?;
    let to = cache.file("di-i386");
    for name in ["boot-screens/ldlinux.c32", "linux", "initrd.gz", "pxelinux.0"] {
        let file = name.rsplit('/').next().unwrap_or(name);
        write_whole(&to.join(file), &read(&package, &format!("{FOLDER}/{name}"))?)?;
    }
    Ok(())
}

fn read(package: &Unpacked<'_>, path: &str) -> Result<Vec<u8>, Failure> {
    package.read(path).map_err(|error| Failure::bad(format!("{path}: {error}. {}", super::WHAT_TO_PROVIDE)))
}

/// The 64-bit installer with a graphical front end. `boot-screens` is what its media have for ISOLINUX: configuration,
/// menu program and picture. shim and GRUB boot it from a network where the firmware is UEFI; GRUB is written last, as what stands for
/// all of it.
///
/// # Errors
/// apt does not have it, or the host fails.
pub fn gtk_amd64(cache: &Cache) -> Result<(), Failure> {
    const FOLDER: &str = "usr/lib/debian-installer/images/12/amd64/gtk/debian-installer/amd64";
    let package = Unpacked::new(cache, "debian-installer-12-netboot-amd64")?;
    let to = cache.file("di-gtk-amd64");
    for (name, contents) in package.files_of(&format!("{FOLDER}/boot-screens"))? {
        write_whole(&to.join("boot-screens").join(name), &contents)?;
    }
    for name in ["linux", "initrd.gz", "bootnetx64.efi", "grubx64.efi"] {
        write_whole(&to.join(name), &read(&package, &format!("{FOLDER}/{name}"))?)?;
    }
    Ok(())
}
