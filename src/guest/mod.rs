//! `trimotor guest linux`: real Linux guests out of the distribution's packages.
//!
//! Gets Debian's kernel and busybox with apt, builds the initial file systems itself, and
//! says which command to run next. What is there already is not fetched again.

mod cpio;
mod display;
mod drives;
mod graphics;
mod initramfs;
mod input;
mod installers;
mod network;
mod packages;
mod programs;
mod stress;
mod tar;
mod virtio;

use crate::error::Failure;
use crate::note::note;
use anyhow::Context;
use clap::Args;
use initramfs::{ExtraFile, Purpose};
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// What a person without apt has to do.
pub(crate) const WHAT_TO_PROVIDE: &str = "Without apt, provide a kernel and an initial file system yourself: any bzImage \
(Debian's, from packages.debian.org, package linux-image-cloud-amd64, file boot/vmlinuz-*) and any initramfs that \
uses the serial console, and run: trimotor run --memory 512M --kernel VMLINUZ --initrd INITRD \
--append \"console=ttyS0\" --nographic";

/// Options of `trimotor guest linux`.
#[derive(Args, Debug)]
pub struct GuestArgs {
    /// The folder for kernels and file systems [default: guests/cache in a checkout, else
    /// $XDG_CACHE_HOME/trimotor/guests]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Debian's full 64-bit kernel too (70 MB of download)
    #[arg(long)]
    full: bool,
    /// The 32-bit kernel and initrd of Debian's i386 installer too (100 MB of download)
    #[arg(long)]
    i386_installer: bool,
    /// The kernel, the initrd and the boot menu of Debian's graphical installer too (130 MB of download)
    #[arg(long)]
    installer_gtk: bool,
    /// memtest86+ too
    #[arg(long)]
    memtest: bool,
    /// A guest that panics and reports it through pvpanic too
    #[arg(long)]
    panic: bool,
    /// A guest that runs stress-ng too, some 150 stressors in half a minute
    #[arg(long)]
    stress: bool,
    /// A guest with drivers and programs for disks, CDs and floppies too, for the full kernel
    #[arg(long)]
    drives: bool,
    /// A guest with drivers of virtio devices too, for the full kernel
    #[arg(long)]
    virtio: bool,
    /// A guest with drivers and programs for networks too, for the full kernel
    #[arg(long)]
    network: bool,
    /// A guest that shows each event of keyboard and mouse too, for the full kernel
    #[arg(long)]
    input: bool,
    /// A guest with a driver for the display adapter too, for the full kernel
    #[arg(long)]
    display: bool,
    /// A guest with X.Org, xterm and programs for the screen too, for the full kernel
    #[arg(long)]
    graphics: bool,
    /// grub-invaders too, a game without an operating system
    #[arg(long)]
    invaders: bool,
    /// The Xen hypervisor too, which is booted by Multiboot
    #[arg(long)]
    xen: bool,
}

/// The folder that keeps what was fetched and built.
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    fn packages(&self) -> PathBuf {
        self.root.join(".packages")
    }
    fn file(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }
}

/// The file systems that are built here, and anew where they are of another version.
const FILE_SYSTEMS: [(&str, Purpose); 2] =
    [("shell.cpio.gz", Purpose::Shell), ("off.cpio.gz", Purpose::PowerOff)];

/// Whether this host has what fetching guests takes.
pub fn can_fetch() -> bool {
    packages::apt_is_here()
}

/// Runs the command.
///
/// # Errors
/// apt is missing or has no such package; the host fails.
pub fn linux(args: &GuestArgs) -> Result<(), Failure> {
    let root = args.out.clone().unwrap_or_else(default_folder);
    let cache = Cache { root };
    fs::create_dir_all(&cache.root).map_err(|error| {
        Failure::bad(format!("--out {}: {error}; name a folder that can be written", cache.root.display()))
    })?;
    note(format_args!("Linux guests in {}", cache.root.display()));
    let fetch = |name: &str, make: &dyn Fn() -> Result<(), Failure>| {
        let purpose = FILE_SYSTEMS.iter().find(|(file, _)| *file == name).map(|(_, purpose)| *purpose);
        let path = cache.file(name);
        if path.exists() && purpose.is_none_or(|purpose| initramfs::is_current(purpose, &path)) {
            note(format_args!("  {name}: here already"));
            return Ok(());
        }
        if !packages::apt_is_here() {
            return Err(Failure::bad(format!("this host has no apt-get and dpkg-deb. {WHAT_TO_PROVIDE}")));
        }
        make()?;
        note(format_args!("  {name}: ready"));
        Ok(())
    };
    fetch("vmlinuz-cloud", &|| kernel(&cache, CLOUD_KERNELS, "vmlinuz-cloud"))?;
    for (name, purpose) in FILE_SYSTEMS {
        fetch(name, &|| file_system(&cache, purpose, &[], name))?;
    }
    if args.full || args.drives || args.virtio || args.network || args.input || args.display || args.graphics
    {
        fetch("vmlinuz", &|| kernel(&cache, FULL_KERNELS, "vmlinuz"))?;
    }
    if args.drives {
        fetch("drives.cpio.gz", &|| with_drives(&cache))?;
    }
    if args.virtio {
        fetch("virtio.cpio.gz", &|| with_virtio(&cache))?;
    }
    if args.network {
        fetch("network.cpio.gz", &|| with_network(&cache))?;
    }
    if args.input {
        fetch("input.cpio.gz", &|| with_input(&cache))?;
    }
    if args.display {
        fetch("display.cpio.gz", &|| with_display(&cache))?;
    }
    if args.graphics {
        fetch("graphics.cpio.gz", &|| with_graphics(&cache))?;
    }
    // What is written last: an installer without it counts as not fetched.
    if args.i386_installer {
        fetch("di-i386/pxelinux.0", &|| installers::text_i386(&cache))?;
    }
    if args.installer_gtk {
        fetch("di-gtk-amd64/grubx64.efi", &|| installers::gtk_amd64(&cache))?;
    }
    if args.invaders {
        fetch("invaders", &|| invaders(&cache))?;
    }
    if args.memtest {
        fetch("memtest.bin", &|| memtest(&cache))?;
    }
    if args.panic {
        fetch("panic.cpio.gz", &|| panicking(&cache))?;
    }
    if args.stress {
        fetch("stress.cpio.gz", &|| {
            file_system(&cache, Purpose::Stress, &stress::files(&cache)?, "stress.cpio.gz")
        })?;
    }
    if args.xen {
        fetch("xen", &|| xen(&cache))?;
    }
    print_next_steps(&cache, args)?;
    Ok(())
}

fn print_next_steps(cache: &Cache, args: &GuestArgs) -> io::Result<()> {
    let out = &mut io::stdout().lock();
    let path = |name: &str| shell_word(&cache.file(name));
    let program = shell_word(Path::new(&std::env::args().next().unwrap_or_else(|| "trimotor".to_owned())));
    let run = |memory: &str, kernel: &str, initrd: &str| {
        format!(
            "  {program} run --memory {memory} --kernel {} --initrd {} --append \"console=ttyS0\" --nographic",
            path(kernel),
            path(initrd)
        )
    };
    writeln!(out, "A Linux shell on the serial console (Ctrl-A x leaves):")?;
    writeln!(out, "{}", run("512M", "vmlinuz-cloud", "shell.cpio.gz"))?;
    if args.full {
        writeln!(out, "The same with Debian's full kernel:")?;
        writeln!(out, "{}", run("512M", "vmlinuz", "shell.cpio.gz"))?;
    }
    if args.i386_installer {
        writeln!(out, "Debian's 32-bit installer:")?;
        writeln!(out, "{}", run("512M", "di-i386/linux", "di-i386/initrd.gz"))?;
    }
    if args.installer_gtk {
        writeln!(
            out,
            "Debian's graphical installer, in a browser (mode 788 is 800x600, as its boot menu has it):"
        )?;
        writeln!(out, "  {program} run --memory 1G --kernel {} \\", path("di-gtk-amd64/linux"))?;
        writeln!(out, "      --initrd {} --display web", path("di-gtk-amd64/initrd.gz"))?;
    }
    if args.memtest {
        writeln!(out, "memtest86+ on the terminal's screen:")?;
        writeln!(out, "  {program} run --memory 64M --kernel {}", path("memtest.bin"))?;
    }
    if args.drives {
        writeln!(
            out,
            "Debian's drivers and programs for disks, CDs and floppies (add --drive, --cdrom, --floppy):"
        )?;
        writeln!(out, "{}", run("512M", "vmlinuz", "drives.cpio.gz"))?;
    }
    if args.virtio {
        writeln!(out, "Debian's drivers of virtio devices (add --device virtio-rng-pci and others):")?;
        writeln!(out, "{}", run("512M", "vmlinuz", "virtio.cpio.gz"))?;
    }
    if args.network {
        writeln!(out, "Drivers and programs for networks (`up` asks for an address; add --nic user):")?;
        writeln!(out, "{}", run("512M", "vmlinuz", "network.cpio.gz"))?;
    }
    if args.input {
        writeln!(out, "What Linux gets from keyboard and mouse:")?;
        writeln!(out, "{}", run("512M", "vmlinuz", "input.cpio.gz"))?;
    }
    if args.display {
        writeln!(
            out,
            "A driver for the display adapter; its console is on the picture, this shell on COM1:"
        )?;
        writeln!(out, "{}", run("512M", "vmlinuz", "display.cpio.gz"))?;
    }
    if args.graphics {
        writeln!(
            out,
            "X.Org (`x vesa`, or `load bochs; x modesetting`) and programs for the screen, which a browser shows:"
        )?;
        writeln!(
            out,
            "{} --display web",
            run("512M", "vmlinuz", "graphics.cpio.gz").replace(" --nographic", "")
        )?;
    }
    if args.invaders {
        writeln!(out, "Space invaders, in a browser:")?;
        writeln!(out, "  {program} run --memory 64M --kernel {} --display web", path("invaders"))?;
    }
    if args.stress {
        writeln!(out, "stress-ng, which ends by itself:")?;
        writeln!(out, "{}", run("512M", "vmlinuz-cloud", "stress.cpio.gz"))?;
    }
    if args.xen {
        writeln!(out, "Xen, with Linux as its first domain:")?;
        writeln!(
            out,
            "  {program} run --memory 1G --kernel {} --boot-as multiboot1 --append \"console=com1\" \\\n      \
             --module '{} earlyprintk=xen' --module {} --nographic",
            path("xen"),
            cache.file("vmlinuz-cloud").display(),
            path("shell.cpio.gz")
        )?;
    }
    Ok(())
}

/// `path` as a shell takes it.
pub(crate) fn shell_word(path: &Path) -> String {
    let text = path.to_string_lossy();
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-+~".contains(letter);
    if text.chars().all(plain) { text.into_owned() } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

/// `guests/cache` in a checkout of this project, else the user's cache folder.
fn default_folder() -> PathBuf {
    let is_checkout = |folder: &Path| folder.join("guests").is_dir() && folder.join("Cargo.toml").is_file();
    let here = std::env::current_dir().unwrap_or_default();
    if is_checkout(&here) {
        return PathBuf::from("guests/cache");
    }
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = variable("XDG_CACHE_HOME").or_else(|| variable("HOME").map(|home| home.join(".cache")));
    cache.unwrap_or(here).join("trimotor").join("guests")
}

/// The packages that stand for the cloud kernel.
const CLOUD_KERNELS: &[&str] = &["linux-image-cloud-amd64", "linux-image-virtual"];

/// The packages that stand for the full kernel.
const FULL_KERNELS: &[&str] = &["linux-image-amd64", "linux-image-generic"];

/// The package with the kernel of the first of `metas` that apt knows.
fn kernel_package(metas: &[&str]) -> String {
    packages::ensure_lists();
    let package = metas.iter().find_map(|meta| packages::dependency_of(meta, "linux-image-"));
    package.unwrap_or_else(|| metas[0].to_owned())
}

/// Writes the kernel of the first of `metas` that apt knows to `name`.
fn kernel(cache: &Cache, metas: &[&str], name: &str) -> Result<(), Failure> {
    let package = kernel_package(metas);
    let image =
        packages::file_of(cache, &package, "boot/vmlinuz-*", &|path| path.starts_with("boot/vmlinuz"))?;
    write_whole(&cache.file(name), &image)
}

/// The cloud kernel, and a file system with the modules of that very kernel, which takes no others.
fn panicking(cache: &Cache) -> Result<(), Failure> {
    let package = kernel_package(CLOUD_KERNELS);
    let mut modules = Vec::new();
    for (index, name) in ["pvpanic.ko", "pvpanic-mmio.ko"].iter().enumerate() {
        let path = format!("/pvpanic/{name}");
        let content = packages::file_of(cache, &package, &path, &|found| found.ends_with(&path))?;
        modules.push((format!("modules/{index}-{name}"), 0o644, content));
    }
    kernel(cache, CLOUD_KERNELS, "vmlinuz-cloud")?;
    file_system(cache, Purpose::Panic, &modules, "panic.cpio.gz")
}

/// The full kernel, and a file system with the drivers of that very kernel, which takes no others.
fn with_drives(cache: &Cache) -> Result<(), Failure> {
    let extra = drives::files(cache, &kernel_package(FULL_KERNELS))?;
    kernel(cache, FULL_KERNELS, "vmlinuz")?;
    file_system(cache, Purpose::Drives, &extra, "drives.cpio.gz")
}

/// The full kernel, and a file system with the virtio drivers of that very kernel.
fn with_virtio(cache: &Cache) -> Result<(), Failure> {
    let extra = virtio::files(cache, &kernel_package(FULL_KERNELS))?;
    kernel(cache, FULL_KERNELS, "vmlinuz")?;
    file_system(cache, Purpose::Virtio, &extra, "virtio.cpio.gz")
}

/// The full kernel, and a file system with the network drivers of that very kernel.
fn with_network(cache: &Cache) -> Result<(), Failure> {
    let extra = network::files(cache, &kernel_package(FULL_KERNELS))?;
    kernel(cache, FULL_KERNELS, "vmlinuz")?;
    file_system(cache, Purpose::Network, &extra, "network.cpio.gz")
}

/// The full kernel, and a file system with the input drivers of that very kernel.
fn with_input(cache: &Cache) -> Result<(), Failure> {
    let extra = input::files(cache, &kernel_package(FULL_KERNELS))?;
    kernel(cache, FULL_KERNELS, "vmlinuz")?;
    file_system(cache, Purpose::Input, &extra, "input.cpio.gz")
}

/// The full kernel, and a file system with the display driver of that very kernel.
fn with_display(cache: &Cache) -> Result<(), Failure> {
    let extra = display::files(cache, &kernel_package(FULL_KERNELS))?;
    kernel(cache, FULL_KERNELS, "vmlinuz")?;
    file_system(cache, Purpose::Display, &extra, "display.cpio.gz")
}

/// The full kernel, and a file system with programs for the screen and drivers of that very kernel.
fn with_graphics(cache: &Cache) -> Result<(), Failure> {
    let extra = graphics::files(cache, &kernel_package(FULL_KERNELS))?;
    kernel(cache, FULL_KERNELS, "vmlinuz")?;
    file_system(cache, Purpose::Graphics, &extra, "graphics.cpio.gz")
}

fn file_system(cache: &Cache, purpose: Purpose, extra: &[ExtraFile], name: &str) -> Result<(), Failure> {
    let busybox =
        packages::file_of(cache, "busybox-static", "bin/busybox", &|path| path.ends_with("bin/busybox"))?;
    write_whole(&cache.file(name), &initramfs::build(purpose, &busybox, extra)?)
}

fn invaders(cache: &Cache) -> Result<(), Failure> {
    const PATH: &str = "boot/invaders.exec";
    let image = packages::file_of(cache, "grub-invaders", PATH, &|path| path == PATH)?;
    write_whole(&cache.file("invaders"), &image)
}

fn memtest(cache: &Cache) -> Result<(), Failure> {
    let named = |path: &str| path.starts_with("boot/") && path.contains("x64") && path.ends_with(".bin");
    let image = packages::file_of(cache, "memtest86+", "boot/*x64*.bin", &named)?;
    write_whole(&cache.file("memtest.bin"), &image)
}

fn xen(cache: &Cache) -> Result<(), Failure> {
    packages::ensure_lists();
    let package = packages::dependency_of("xen-system-amd64", "xen-hypervisor-")
        .unwrap_or_else(|| "xen-hypervisor-4.17-amd64".to_owned());
    let named = |path: &str| path.starts_with("boot/xen-") && path.ends_with("-amd64.gz");
    let packed = packages::file_of(cache, &package, "boot/xen-*-amd64.gz", &named)?;
    let mut image = Vec::new();
    let unpacker = flate2::read::GzDecoder::new(&packed[..]);
    unpacker.take(tar::LARGEST_FILE).read_to_end(&mut image).context("Xen's image")?;
    write_whole(&cache.file("xen"), &image)
}

/// Writes a file in full or not at all, so that an interrupted run leaves no half of it.
fn write_whole(to: &Path, bytes: &[u8]) -> Result<(), Failure> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).with_context(|| format!("{}", folder.display()))?;
    }
    let partial = to.with_extension(format!("partial-{}", std::process::id()));
    fs::write(&partial, bytes).with_context(|| format!("{}", partial.display()))?;
    fs::rename(&partial, to).with_context(|| format!("{}", to.display()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_quoted_for_the_shell_where_needed() {
        assert_eq!(shell_word(Path::new("guests/cache/vmlinuz-cloud")), "guests/cache/vmlinuz-cloud");
        assert_eq!(shell_word(Path::new("my guests/it's")), "'my guests/it'\\''s'");
    }
}
