//! What a file is that is no kernel: its kind by its first bytes, and what would help.
//!
//! People give the file beside the right one: the compressed kernel, the installation image that
//! holds it, a kernel for another machine, a download that failed.

use super::bytes::Fields;
use flate2::bufread::GzDecoder;
use std::io::Read;

/// A kind of file, and what a person who gave it as the kernel could do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Foreign {
    /// What the file seems to be.
    pub looks_like: String,
    /// What would work.
    pub advice: &'static str,
}

/// What is wanted instead.
pub(crate) const WANTED: &str = "give a Linux bzImage or vmlinux, a PVH or a Multiboot kernel for x86";

const UNPACK: &str = "unpack it first, or give the bzImage (vmlinuz) that contains it";
const INITRD: &str = "give it with --initrd, and a kernel with --kernel";
const GZIP: &str =
    "if it is an initramfs, give it with --initrd beside --kernel; unpack a kernel with gunzip first";
const DISK: &str = "booting from disks is not there yet; take the kernel and its initrd out of it";
const CD: &str = "booting from CD is not there yet; take the kernel (often casper/vmlinuz, isolinux/linux or \
                  install.amd/vmlinuz) and its initrd out of it, with 7z x or mount -o loop";
const SECTOR: &str = "booting from disks is not there yet; --boot-as flat loads a program of up to 605K to 7C00h as a \
                      BIOS does, but there is no BIOS that it could call";
const FIRMWARE: &str = "firmware is not run yet, kernels are started directly; give a kernel";
const MODULE: &str =
    "give the kernel that it belongs to; a Multiboot or PVH kernel's modules go with --module";
const AGAIN: &str = "look into it: a download may have failed";
const PACKAGE: &str =
    "unpack it first (dpkg-deb -x for Debian's, rpm2cpio for Red Hat's); the kernel is boot/vmlinuz-*";
const OTHER_MACHINE: &str = "this PC is an x86; give that kernel built for x86-64 (bzImage)";
const EFI: &str = "EFI programs are not run yet; give the kernel itself (vmlinuz) with --kernel and --initrd";

/// Offset, magic, kind, advice: the first that fits. Magics at offset 0 come first where another
/// kind has its own further on.
const KINDS: &[(usize, &[u8], &str, &str)] = &[
    (0, b"\xFD7zXZ\0", "xz-compressed data", UNPACK),
    (0, b"\x28\xB5\x2F\xFD", "zstd-compressed data", UNPACK),
    (0, b"BZh", "bzip2-compressed data", UNPACK),
    (0, b"\x04\x22\x4D\x18", "lz4-compressed data", UNPACK),
    (0, b"\x02\x21\x4C\x18", "lz4-compressed data", UNPACK),
    (0, b"\x89LZO\0\r\n\x1A\n", "lzop-compressed data", UNPACK),
    (0, b"\x5D\0\0\x80\0\xFF\xFF\xFF\xFF", "lzma-compressed data", UNPACK),
    (0, b"070701", "a cpio archive (an initramfs)", INITRD),
    (0, b"070702", "a cpio archive (an initramfs)", INITRD),
    (0, b"070707", "a cpio archive", INITRD),
    (0, b"\xC7\x71", "a cpio archive", INITRD),
    (0x38, b"ARM\x64", "a Linux kernel for ARM64", OTHER_MACHINE),
    (4, b"zimg", "a compressed EFI kernel, as ARM64 and RISC-V have them", OTHER_MACHINE),
    (0x38, b"RSC\x05", "a Linux kernel for RISC-V", OTHER_MACHINE),
    (0x30, b"RISCV\0\0\0", "a Linux kernel for RISC-V", OTHER_MACHINE),
    (0x24, b"\x18\x28\x6F\x01", "a Linux kernel for 32-bit ARM", OTHER_MACHINE),
    (0, b"\x27\x05\x19\x56", "a U-Boot image", OTHER_MACHINE),
    (0, b"\xD0\x0D\xFE\xED", "a device tree or U-Boot FIT image", OTHER_MACHINE),
    (0, b"QFI\xFB", "a qcow2 disk image", DISK),
    (0, b"KDMV", "a VMDK disk image", DISK),
    (0, b"# Disk DescriptorFile", "the description of a VMDK disk image", DISK),
    (0, b"vhdxfile", "a VHDX disk image", DISK),
    (0, b"conectix", "a VHD disk image", DISK),
    (0x40, b"\x7F\x10\xDA\xBE", "a VirtualBox disk image", DISK),
    (0x8001, b"CD001", "an ISO 9660 image (CD or DVD)", CD),
    (0x8001, b"BEA01", "a UDF image (DVD)", CD),
    (0x28, b"_FVH", "UEFI firmware", FIRMWARE),
    (0, b"hsqs", "a squashfs file system", DISK),
    (0x438, b"\x53\xEF", "an ext2, ext3 or ext4 file system", DISK),
    (0, b"XFSB", "an XFS file system", DISK),
    (0x1_0040, b"_BHRfS_M", "a btrfs file system", DISK),
    (0x200, b"EFI PART", "a disk image with a GUID partition table", DISK),
    (0x101, b"ustar", "a tar archive", "unpack it first"),
    (0, b"!<arch>\ndebian-binary", "a Debian package", PACKAGE),
    (0, b"!<arch>\n", "an ar archive", "unpack it first"),
    (0, b"\xED\xAB\xEE\xDB", "an RPM package", PACKAGE),
    (0, b"PK\x03\x04", "a zip archive", "unpack it first"),
    (0, b"7z\xBC\xAF\x27\x1C", "a 7-Zip archive", "unpack it first"),
    (0, b"Rar!", "a RAR archive", "unpack it first"),
    (0, b"version https://git-lfs", "a pointer of Git LFS", "fetch the file itself with git lfs pull"),
    (0, b"#!", "a script", WANTED),
    (0, b"\x55\xAA", "an option ROM", FIRMWARE),
    (0x1FE, b"\x55\xAA", "a boot sector or disk image", SECTOR),
];

/// What `bytes` seem to be; for files that are no kernel.
pub(crate) fn look(bytes: &[u8]) -> Foreign {
    let found = |looks_like: &str, advice| Foreign { looks_like: looks_like.into(), advice };
    if bytes.starts_with(b"\x1F\x8B") {
        return gzip(bytes);
    }
    let at = |offset: usize, magic: &[u8]| bytes.get(offset..).is_some_and(|rest| rest.starts_with(magic));
    if let Some((_, _, kind, advice)) = KINDS.iter().find(|(offset, magic, ..)| at(*offset, magic)) {
        return found(kind, advice);
    }
    if bytes.starts_with(b"MZ") {
        return pe(bytes);
    }
    let sample = &bytes[..bytes.len().min(1024)];
    if is_text(sample) {
        let is_page = sample.trim_ascii_start().starts_with(b"<");
        return if is_page { found("a page of HTML or XML", AGAIN) } else { found("text", WANTED) };
    }
    if has_reset_vector(bytes) {
        return found("a BIOS image", FIRMWARE);
    }
    if sample.iter().all(|&c| c == 0) {
        return found("a file that begins with zeros", AGAIN);
    }
    let first: Vec<_> = sample.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    found(&format!("data of no known kind (it begins with {})", first.join(" ")), WANTED)
}

/// A ROM ends at 4 GiB, and 16 bytes before its end is the jump that a processor starts with.
fn has_reset_vector(bytes: &[u8]) -> bool {
    let is_rom_size = bytes.len() >= 1 << 16 && bytes.len().is_power_of_two();
    is_rom_size && matches!(bytes[bytes.len() - 16..], [0xE9 | 0xEA, ..] | [0x90, 0x90, 0xE9, ..])
}

/// Text, where a character at the end may be cut.
fn is_text(sample: &[u8]) -> bool {
    let printable = |c: &u8| matches!(c, b' '..=b'~' | b'\n' | b'\r' | b'\t' | 0x80..);
    let whole = std::str::from_utf8(sample).err().is_none_or(|e| e.error_len().is_none());
    !sample.is_empty() && sample.iter().all(printable) && whole
}

/// Data that gzip compressed: what is in it says more.
fn gzip(bytes: &[u8]) -> Foreign {
    /// Enough of what is inside to tell a kernel, and no more, whatever the file would unpack to.
    const LOOKED_AT: u64 = 4096;
    let mut start = Vec::new();
    // What cannot be unpacked is told apart by what came before.
    let _ = GzDecoder::new(bytes).take(LOOKED_AT).read_to_end(&mut start);
    let (inside, advice) = match &start[..] {
        s if s.starts_with(b"0707") => ("a cpio archive, an initramfs", INITRD),
        s if s.starts_with(b"\x7FELF") => {
            ("an ELF file", "unpack it with gunzip first, and give what comes out")
        }
        s if s.get(0x202..0x206) == Some(b"HdrS") => ("a Linux bzImage", "unpack it with gunzip first"),
        s if s.get(0x38..0x3C) == Some(b"ARM\x64") => ("a Linux kernel for ARM64", OTHER_MACHINE),
        s if s.get(0x30..0x35) == Some(b"RISCV") => ("a Linux kernel for RISC-V", OTHER_MACHINE),
        s if s.get(0x101..0x106) == Some(b"ustar") => ("a tar archive", "unpack it first"),
        _ => return Foreign { looks_like: "gzip-compressed data".into(), advice: GZIP },
    };
    Foreign { looks_like: format!("gzip-compressed data ({inside})"), advice }
}

/// A program in the format of Windows and EFI: machine, sections and subsystem tell what for
/// (Microsoft's "PE Format").
fn pe(bytes: &[u8]) -> Foreign {
    const MAX_SECTIONS: u16 = 96;
    let f = Fields(bytes);
    let found = |looks_like: &str, advice| Foreign { looks_like: looks_like.into(), advice };
    let header = f.u32(0x3C).map_or(usize::MAX, |at| at as usize);
    let field = |offset: usize| header.checked_add(offset);
    if field(0).and_then(|at| f.array(at)) != Some(*b"PE\0\0") {
        return found("a DOS program", WANTED);
    }
    let word = |offset: usize| field(offset).and_then(|at| f.u16(at)).unwrap_or(0);
    let table = field(24 + usize::from(word(20)));
    let name = |n: u16| f.array::<8>(table?.checked_add(40 * usize::from(n))?);
    let sections = 0..word(6).min(MAX_SECTIONS);
    let is_unified = sections.into_iter().any(|n| name(n) == Some(*b".linux\0\0"));
    // The subsystem is at the same place in both forms of the optional header.
    let is_efi = (10..=13).contains(&word(24 + 68));
    match word(4) {
        0x8664 | 0x14C if is_unified => found(
            "a unified kernel image",
            "EFI programs are not run yet; take kernel and initrd out of it: \
             objcopy -O binary --only-section=.linux FILE vmlinuz, and .initrd likewise",
        ),
        0x8664 | 0x14C if is_efi => found("an EFI program", EFI),
        0x8664 | 0x14C => found("a Windows program", WANTED),
        _ => found("an EFI or Windows program for another machine than a PC", OTHER_MACHINE),
    }
}

/// An ELF file that is not linked to be loaded: modules and objects.
pub(crate) fn elf_object(bytes: &[u8]) -> Foreign {
    const KEY: &[u8] = b"vermagic=";
    if bytes.windows(KEY.len()).any(|w| w == KEY) {
        return Foreign { looks_like: "a module of a Linux kernel".into(), advice: MODULE };
    }
    Foreign {
        looks_like: "an ELF file that is not linked yet, or a core dump".into(),
        advice: "link it as an executable for x86 or x86-64",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn check(bytes: &[u8], words: &[&str]) {
        let Foreign { looks_like, advice } = look(bytes);
        for word in words {
            assert!(
                looks_like.contains(word) || advice.contains(word),
                "no {word:?}: {looks_like}; {advice}"
            );
        }
    }

    /// `magic` at `offset` of a file that is not zero elsewhere.
    fn with(offset: usize, magic: &[u8]) -> Vec<u8> {
        let mut bytes = vec![1; offset];
        bytes.extend(magic);
        bytes.extend([1; 600]);
        bytes
    }

    fn gzipped(bytes: &[u8]) -> Vec<u8> {
        let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        writer.write_all(bytes).unwrap();
        writer.finish().unwrap()
    }

    #[test]
    fn each_kind_of_the_table_is_found() {
        for (offset, magic, kind, advice) in KINDS {
            assert_eq!(look(&with(*offset, magic)), Foreign { looks_like: (*kind).into(), advice }, "{kind}");
        }
    }

    #[test]
    fn what_gzip_holds_is_told_without_unpacking_all_of_it() {
        check(&gzipped(b"\x7FELF\x02\x01\x01"), &["ELF file", "gunzip"]);
        check(&gzipped(b"070701"), &["initramfs", "--initrd"]);
        check(&gzipped(&with(0x38, b"ARM\x64")), &["ARM64", "x86"]);
        check(&gzipped(&vec![0; 64 << 20]), &["gzip-compressed data", "--initrd", "gunzip"]);
        check(b"\x1F\x8B\x08\0\0", &["gzip-compressed data"]);
    }

    #[test]
    fn text_pages_roms_and_zeros_are_told_apart() {
        check(b"hello, world\n", &["text"]);
        check("grüße".as_bytes(), &["text"]);
        check(b"\n<!DOCTYPE html><html>", &["HTML", "download"]);
        check(&[0; 4096], &["zeros"]);
        check(&[0xFF; 64], &["no known kind", "ff ff ff ff"]);
        let mut rom = vec![0xFF; 1 << 17];
        rom[(1 << 17) - 16] = 0xEA;
        check(&rom, &["BIOS image", "firmware"]);
    }

    #[test]
    fn programs_for_efi_and_windows_are_told_apart() {
        let program = |machine: u16, subsystem: u16, section: &[u8]| {
            let mut bytes = vec![0; 0x400];
            bytes[..2].copy_from_slice(b"MZ");
            bytes[0x3C] = 0x80;
            bytes[0x80..0x84].copy_from_slice(b"PE\0\0");
            bytes[0x84..0x86].copy_from_slice(&machine.to_le_bytes());
            bytes[0x86] = 1;
            bytes[0x94] = 0xF0;
            bytes[0x80 + 92..][..2].copy_from_slice(&subsystem.to_le_bytes());
            bytes[0x80 + 24 + 0xF0..][..section.len()].copy_from_slice(section);
            bytes
        };
        check(&program(0x8664, 10, b".text"), &["EFI program"]);
        check(&program(0x8664, 10, b".linux"), &["unified kernel image", "objcopy"]);
        check(&program(0x8664, 3, b".text"), &["Windows program"]);
        check(&program(0xAA64, 10, b".text"), &["another machine"]);
        check(b"MZ\x90\0", &["DOS program"]);
        let mut far = program(0x8664, 10, b".text");
        far[0x3C..0x40].fill(0xFF);
        check(&far, &["DOS program"]);
    }
}
