//! Images to boot from, made by the tools that people use.

use crate::support::needs::{Need, program};
use crate::support::small_guest::{self, Scratch};
use iced_x86::code_asm::*;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the boot sector says that loaders load.
pub const SECTOR_SAYS: &str = "the boot sector runs";
/// What the kernel says.
pub const KERNEL_SAYS: &str = "the kernel runs";
/// Debian's images (package grub-rescue-pc).
pub const GRUB_RESCUE_FLOPPY: &str = "/usr/lib/grub-rescue/grub-rescue-floppy.img";
/// The same as a CD.
pub const GRUB_RESCUE_CD: &str = "/usr/lib/grub-rescue/grub-rescue-cdrom.iso";
const GRUB_MODULES: &str = "/usr/lib/grub/i386-pc";
const ISOLINUX: &str = "/usr/lib/ISOLINUX/isolinux.bin";
const LDLINUX: &str = "/usr/lib/syslinux/modules/bios/ldlinux.c32";
const MEMTEST: &str = "/boot/memtest86+x64.bin";

/// Tools that make bootable images, and loaders.
pub const TOOLS: Need = Need { name: "boot-images", check: tools };

fn tools() -> Result<(), String> {
    let programs = [
        ("xorriso", "xorriso"),
        ("mcopy", "mtools"),
        ("syslinux", "syslinux"),
        ("grub-mkrescue", "grub-common"),
        ("mkfs.ext4", "e2fsprogs"),
    ];
    let files = [
        (GRUB_RESCUE_CD, "grub-rescue-pc"),
        (GRUB_MODULES, "grub-pc-bin"),
        (ISOLINUX, "isolinux"),
        (LDLINUX, "syslinux-common"),
        (MEMTEST, "memtest86+"),
    ];
    programs.into_iter().try_for_each(|(name, package)| {
        // Administrators' programs are not on everyone's path.
        let beside = Path::new("/usr/sbin").join(name).is_file();
        if beside { Ok(()) } else { program(name, package) }
    })?;
    match files.into_iter().find(|(file, _)| !Path::new(file).exists()) {
        Some((file, package)) => Err(format!("{file} is not installed (Debian's package {package})")),
        None => Ok(()),
    }
}

/// A folder that goes with the test.
pub struct Folder(PathBuf);

impl Folder {
    /// A fresh one.
    pub fn new() -> Self {
        let name = Scratch::new("boot-images");
        let path = name.0.clone();
        std::fs::create_dir_all(&path).expect("a temporary folder");
        Self(path)
    }
    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
    /// A file with this content, in a folder of its own where the name has one; its path.
    pub fn file(&self, name: &str, content: &[u8]) -> String {
        let path = self.path(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).expect("a temporary folder");
        }
        std::fs::write(&path, content).expect("a temporary file");
        path.to_string_lossy().into_owned()
    }
    /// Copies a file.
    pub fn copy(&self, from: &str, name: &str) {
        self.file(name, &std::fs::read(from).expect("a file of a package"));
    }
    /// Runs a tool here.
    pub fn run(&self, tool: &str, arguments: &[&str]) {
        let path = std::env::var("PATH").unwrap_or_default();
        let output = Command::new(tool)
            .args(arguments)
            .current_dir(&self.0)
            .env("PATH", format!("{path}:/usr/sbin:/sbin"))
            .output()
            .expect("a tool that was looked for");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{tool} {arguments:?}: {said}");
    }
    /// The path of a file that a tool made.
    pub fn result(&self, name: &str) -> String {
        self.path(name).to_string_lossy().into_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A boot sector that says so on COM1 and leaves with code 3. It runs wherever it is loaded.
fn boot_sector() -> Vec<u8> {
    // cli; xor ax, ax; mov dx, 3fbh; mov al, 3; out dx, al; call next; next: pop si; add si, text
    let mut code = vec![0xFA, 0x31, 0xC0, 0xBA, 0xFB, 3, 0xB0, 3, 0xEE, 0xE8, 0, 0, 0x5E, 0x83, 0xC6, 0];
    // again: cs lodsb; test al, al; jz end; mov dx, 3f8h; out dx, al; jmp again; end: mov al, 1; out 0f4h, al; hlt
    code.extend([
        0x2E, 0xAC, 0x84, 0xC0, 0x74, 6, 0xBA, 0xF8, 3, 0xEE, 0xEB, 0xF4, 0xB0, 1, 0xE6, 0xF4, 0xF4,
    ]);
    const NEXT: usize = 12;
    code[15] = (code.len() - NEXT) as u8;
    code.extend(SECTOR_SAYS.bytes().chain(*b"\r\n\0"));
    code.resize(510, 0);
    code.extend([0x55, 0xAA]);
    code
}
fn kernel() -> Vec<u8> {
    // mov al, 1; out 0f4h, al; hlt
    const LEAVES: [u8; 5] = [0xB0, 1, 0xE6, 0xF4, 0xF4];
    let text = format!("{KERNEL_SAYS}\r\n");
    let guest =
        small_guest::small_guest("kernel", &small_guest::prints(text.as_bytes(), |_| LEAVES.to_vec()));
    std::fs::read(&guest.0).expect("a kernel that was written")
}
/// The configuration of ISOLINUX and SYSLINUX.
fn loader_configuration(file: &str) -> String {
    format!("SERIAL 0 115200\nDEFAULT ok\nLABEL ok\n  KERNEL {file}\n")
}

/// A CD from which ISOLINUX loads the boot sector: no emulation.
pub fn isolinux_cd(folder: &Folder) -> String {
    folder.file("cd/isolinux/ok.bin", &boot_sector());
    cd_with_isolinux(folder, &loader_configuration("ok.bin"))
}
fn cd_with_isolinux(folder: &Folder, configuration: &str) -> String {
    folder.copy(ISOLINUX, "cd/isolinux/isolinux.bin");
    folder.copy(LDLINUX, "cd/isolinux/ldlinux.c32");
    folder.file("cd/isolinux/isolinux.cfg", configuration.as_bytes());
    cd_of(folder, "isolinux/isolinux.bin", "isolinux/boot.cat")
}
/// A CD of the folder "cd" that starts ISOLINUX.
fn cd_of(folder: &Folder, loader: &str, catalog: &str) -> String {
    let loader = ["-b", loader, "-no-emul-boot", "-boot-load-size", "4", "-boot-info-table"];
    let place = ["-as", "mkisofs", "-quiet", "-J", "-R", "-o", "isolinux.iso", "-c", catalog];
    folder.run("xorriso", &[&place[..], &loader, &["cd"]].concat());
    folder.result("isolinux.iso")
}
/// A CD from which ISOLINUX loads Linux.
pub fn linux_cd(folder: &Folder, kernel: &str, initrd: &str, options: &str) -> String {
    folder.copy(kernel, "cd/isolinux/vmlinuz");
    folder.copy(initrd, "cd/isolinux/initrd");
    let append = format!("APPEND initrd=initrd {options} console=tty0 console=ttyS0 quiet");
    cd_with_isolinux(folder, &format!("SERIAL 0 115200\nDEFAULT l\nLABEL l\n  KERNEL vmlinuz\n  {append}\n"))
}
/// A floppy of 1.44 MB with FAT12, from which SYSLINUX loads the boot sector.
pub fn syslinux_floppy(folder: &Folder) -> String {
    folder.file("ok.bs", &boot_sector());
    folder.file("syslinux.cfg", loader_configuration("ok.bs").as_bytes());
    folder.run("mformat", &["-C", "-f", "1440", "-i", "floppy.img", "::"]);
    folder.run("syslinux", &["-i", "floppy.img"]);
    folder.run("mcopy", &["-i", "floppy.img", "ok.bs", "syslinux.cfg", "::"]);
    folder.result("floppy.img")
}
/// A hard disk with one partition, which ends where the disk does, and the boot sector.
pub fn partitioned_boot_sector(folder: &Folder) -> String {
    const CYLINDERS: u8 = 16;
    const SECTORS: u32 = CYLINDERS as u32 * 2 * 32;
    let mut disk = boot_sector();
    disk[446..454].copy_from_slice(&[0x80, 0, 2, 0, 6, 1, 32, CYLINDERS - 1]);
    disk[454..458].copy_from_slice(&1u32.to_le_bytes());
    disk[458..462].copy_from_slice(&(SECTORS - 1).to_le_bytes());
    disk.resize(SECTORS as usize * 512, 0);
    folder.file("disk.img", &disk)
}
/// A CD with an image that is emulated.
pub fn emulating_cd(folder: &Folder, image: &str, options: &[&str]) -> String {
    folder.copy(image, "cd/image");
    let place = ["-as", "mkisofs", "-quiet", "-o", "emulating.iso", "-c", "boot.cat", "-b", "image"];
    folder.run("xorriso", &[&place[..], options, &["cd"]].concat());
    folder.result("emulating.iso")
}
/// A CD with a file and nothing to boot.
pub fn data_cd(folder: &Folder) -> String {
    folder.file("data/file", b"content");
    folder.run("xorriso", &["-as", "mkisofs", "-quiet", "-o", "data.iso", "data"]);
    folder.result("data.iso")
}

fn grub_configuration(boot: &str) -> String {
    format!("serial\nterminal_output serial console\necho grub here\n{boot}\nboot\n")
}
/// A CD by grub-mkrescue, which is a disk as well.
pub fn grub_cd(folder: &Folder, boot: &str) -> String {
    folder.file("cd/boot/kernel", &kernel());
    folder.copy(MEMTEST, "cd/boot/memtest");
    grub_cd_of(folder, &grub_configuration(boot))
}
/// One whose `/boot/kernel` is this file.
pub fn grub_cd_with(folder: &Folder, kernel: &str, boot: &str) -> String {
    folder.copy(kernel, "cd/boot/kernel");
    grub_cd_of(folder, &grub_configuration(boot))
}
/// One that shows a menu of 1024x768 pixels with the theme in a folder of the host, and waits. Its second entry boots the kernel.
pub fn grub_theme_cd(folder: &Folder, theme: &str) -> String {
    let mut load = String::new();
    for entry in std::fs::read_dir(theme).expect("a theme").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        folder.copy(&entry.path().to_string_lossy(), &format!("cd/theme/{name}"));
        if name.ends_with(".pf2") {
            load += &format!("loadfont /theme/{name}\n");
        }
    }
    folder.file("cd/boot/kernel", &kernel());
    let configuration = format!(
        "insmod all_video\ninsmod gfxterm\ninsmod gfxmenu\ninsmod png\nloadfont /boot/grub/fonts/unicode.pf2\n{load}\
         set gfxmode=1024x768x32\nterminal_output gfxterm\nset theme=/theme/theme.txt\nset timeout=-1\n\
         menuentry 'A first entry' {{ true }}\n\
         menuentry 'The kernel' {{ multiboot /boot/kernel\nboot }}\n\
         menuentry 'Another one' {{ true }}\n"
    );
    grub_cd_of(folder, &configuration)
}
fn grub_cd_of(folder: &Folder, configuration: &str) -> String {
    folder.file("cd/boot/grub/grub.cfg", configuration.as_bytes());
    folder.run("grub-mkrescue", &["-d", GRUB_MODULES, "-o", "grub.iso", "cd"]);
    folder.result("grub.iso")
}
/// The CD of Debian's graphical installer, of what its package has in `files`: the boot menu, and kernel and initial file system
/// where it is to boot.
pub fn installer_cd(folder: &Folder, files: &Path, boots: bool) -> String {
    const PLACE: &str = "cd/debian-installer/amd64";
    let screens = files.join("boot-screens");
    for entry in std::fs::read_dir(&screens).expect("the installer's boot menu").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        folder.copy(&entry.path().to_string_lossy(), &format!("{PLACE}/boot-screens/{name}"));
    }
    for (name, to) in [("ldlinux.c32", "cd/ldlinux.c32"), ("syslinux.cfg", "cd/isolinux.cfg")] {
        folder.copy(&screens.join(name).to_string_lossy(), to);
    }
    for name in ["linux", "initrd.gz"].into_iter().filter(|_| boots) {
        folder.copy(&files.join(name).to_string_lossy(), &format!("{PLACE}/{name}"));
    }
    folder.copy(ISOLINUX, "cd/isolinux.bin");
    cd_of(folder, "isolinux.bin", "boot.cat")
}
/// A disk with a partition of ext4, from which GRUB loads the kernel.
pub fn grub_disk(folder: &Folder) -> String {
    folder.file("root/boot/kernel", &kernel());
    disk_of_root(folder, "multiboot /boot/kernel")
}
/// One with Linux and its first file system.
pub fn linux_disk(folder: &Folder, kernel: &str, initrd: &str) -> String {
    folder.copy(kernel, "root/boot/vmlinuz");
    folder.copy(initrd, "root/boot/initrd");
    disk_of_root(folder, "linux /boot/vmlinuz console=ttyS0\ninitrd /boot/initrd")
}
/// A disk whose partition holds the folder "root", with GRUB before it.
fn disk_of_root(folder: &Folder, boot: &str) -> String {
    const MIB: usize = 1 << 20;
    const SECTORS: u32 = 95 * 2048;
    folder.file("root/boot/grub/grub.cfg", grub_configuration(boot).as_bytes());
    folder.run("mkfs.ext4", &["-q", "-d", "root", "part.img", "95M"]);
    let modules = ["biosdisk", "part_msdos", "ext2", "multiboot", "linux", "serial", "echo", "normal"];
    let more = ["configfile", "terminal", "boot"];
    let place = ["-O", "i386-pc", "-o", "core.img", "-p", "(hd0,msdos1)/boot/grub"];
    folder.run("grub-mkimage", &[&place[..], &modules, &more].concat());
    let read = |name: &str| std::fs::read(folder.path(name)).expect("a file that was made");
    let (core, part) = (read("core.img"), read("part.img"));
    let boot = std::fs::read(Path::new(GRUB_MODULES).join("boot.img")).expect("GRUB's boot sector");
    let mut disk = vec![0; MIB];
    disk[..440].copy_from_slice(&boot[..440]);
    disk[446..454].copy_from_slice(&[0x80, 0xFE, 0xFF, 0xFF, 0x83, 0xFE, 0xFF, 0xFF]);
    disk[454..458].copy_from_slice(&2048u32.to_le_bytes());
    disk[458..462].copy_from_slice(&SECTORS.to_le_bytes());
    disk[510..512].copy_from_slice(&[0x55, 0xAA]);
    // GRUB's core is in the sectors between the first one and the partition.
    disk[512..512 + core.len()].copy_from_slice(&core);
    disk.extend(part);
    folder.file("grub.img", &disk)
}

/// The sector that the program of [`keeper_disk`] writes.
pub const KEPT_SECTOR: usize = 8;

/// A hard disk whose boot program reads a sector by INT 13h. At the first start it says "nothing", fills the sector, and resets the
/// machine; at the second one it says "kept", and leaves with code 3.
pub fn keeper_disk() -> Vec<u8> {
    const BUFFER: u32 = 0x8000;
    /// Where the texts stand behind the code, so many bytes for each.
    const TEXTS: [&[u8]; 3] = [b"nothing\r\n\0", b"kept\r\n\0", b"failed\r\n\0"];
    const FIRST_TEXT: usize = 0x160;
    const TEXT_BYTES: usize = 16;
    let text = |number: usize| 0x7C00 + (FIRST_TEXT + TEXT_BYTES * number) as u32;
    let sector = KEPT_SECTOR as u32 + 1;
    let build = || -> Result<Vec<u8>, iced_x86::IcedError> {
        let mut a = CodeAssembler::new(16)?;
        let (mut kept, mut failed, mut print, mut next, mut end) =
            (a.create_label(), a.create_label(), a.create_label(), a.create_label(), a.create_label());
        a.cli()?;
        a.xor(ax, ax)?;
        a.mov(ds, ax)?;
        a.mov(es, ax)?;
        a.mov(ss, ax)?;
        a.mov(sp, 0x7000u32)?;
        a.sti()?;
        // Eight data bits.
        a.mov(dx, 0x3FBu32)?;
        a.mov(al, 3u32)?;
        a.out(dx, al)?;
        a.mov(bx, BUFFER)?;
        a.mov(ax, 0x0201u32)?;
        a.mov(cx, sector)?;
        a.mov(dx, 0x80u32)?;
        a.int(0x13)?;
        a.jc(failed)?;
        a.cmp(byte_ptr(BUFFER + 511), 0x5Au32)?;
        a.je(kept)?;
        a.mov(si, text(0))?;
        a.call(print)?;
        a.mov(di, BUFFER)?;
        a.mov(cx, 256u32)?;
        a.mov(ax, 0x5A5Au32)?;
        a.cld()?;
        a.rep().stosw()?;
        a.mov(ax, 0x0301u32)?;
        a.mov(cx, sector)?;
        a.mov(dx, 0x80u32)?;
        a.int(0x13)?;
        a.jc(failed)?;
        a.mov(dx, 0xCF9u32)?;
        a.mov(al, 6u32)?;
        a.out(dx, al)?;
        a.hlt()?;
        a.set_label(&mut kept)?;
        a.mov(si, text(1))?;
        a.call(print)?;
        a.mov(al, 1u32)?;
        a.out(0xF4u32, al)?;
        a.hlt()?;
        a.set_label(&mut failed)?;
        a.mov(si, text(2))?;
        a.call(print)?;
        a.mov(al, 2u32)?;
        a.out(0xF4u32, al)?;
        a.hlt()?;
        a.set_label(&mut print)?;
        a.mov(dx, 0x3F8u32)?;
        a.set_label(&mut next)?;
        a.lodsb()?;
        a.test(al, al)?;
        a.jz(end)?;
        a.out(dx, al)?;
        a.jmp(next)?;
        a.set_label(&mut end)?;
        a.ret()?;
        a.assemble(0x7C00)
    };
    let mut disk = build().expect("a boot program");
    assert!(disk.len() <= FIRST_TEXT, "{} bytes", disk.len());
    for (number, text) in TEXTS.iter().enumerate() {
        disk.resize(FIRST_TEXT + TEXT_BYTES * number, 0);
        disk.extend(*text);
    }
    disk.resize(510, 0);
    disk.extend([0x55, 0xAA]);
    disk.resize(4 * 16 * 63 * 512, 0);
    disk
}
