//! Linux's console on a frame buffer: of our video BIOS (`vesafb`), of UEFI (`efifb`), and of the adapter's own driver (`bochs`).
//! What the console says is read from the picture with the kernel's own font.

use super::font::Font;
use super::picture::{Part, Picture};
use super::screen::Screen;
use super::x::Linux;
use crate::bios::images::{self, Folder};
use crate::bios::ovmf;
use crate::support::engines::JIT;
use crate::support::guests::{DEBIAN, Guest};
use crate::support::needs::Tests;
use std::process::Command;

pub fn tests() -> Tests {
    Tests::needing(&[images::TOOLS, DEBIAN, JIT])
        .test(the_console_is_on_vesafb_and_then_on_bochs)
        .test_needing(&[ovmf::OVMF], the_console_is_on_efifb)
}

/// Has the console show the beginning of the kernel's log, and reads it from the picture.
fn read_console(linux: &mut Linux, name: &str, width: usize, height: usize) {
    linux.run("echo 0 >/sys/class/graphics/fbcon/cursor_blink");
    linux.run("setfont -C /dev/tty1 -o /tmp/font");
    let dump = linux.run("hexdump -v -e '1/1 \"%02x\"' /tmp/font; echo");
    let digits: Vec<u8> = dump.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    let font = Font::from_psf(&digits.chunks_exact(2).map(byte).collect::<Vec<_>>());
    // Lines that are not wider than the screen, and no control characters.
    linux.run("dmesg | cut -c 1-90 | head -n 20 | tr -cd '\\12\\40-\\176' >/tmp/lines");
    let said = linux.run("cat /tmp/lines");
    let said: Vec<&str> = said.lines().map(str::trim_end).collect();
    assert!(said.len() == 20 && said[0].contains("Linux version"), "{said:?}");
    linux.run("printf '\\033[H\\033[J\\033[?25l' >/dev/tty1; cat /tmp/lines >/dev/tty1");
    linux.screen.wait(name, |picture| {
        (picture.width, picture.height) == (width, height) && {
            let lines = font.read(picture);
            lines.starts_with(&said.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>())
                && lines[20..].iter().all(String::is_empty)
        }
    });
}

/// The name of the first frame buffer.
fn frame_buffer(linux: &mut Linux) -> String {
    linux.run("cat /proc/fb")
}

fn the_console_is_on_vesafb_and_then_on_bochs() {
    let folder = Folder::new();
    let cd = images::linux_cd(&folder, &Guest::FullKernel.path(), &Guest::Graphics.path(), "vga=0x317");
    let mut linux = Linux::boot(&["--memory", "512M", "--cdrom", &cd]);
    assert_eq!(frame_buffer(&mut linux), "0 VESA VGA");
    read_console(&mut linux, "console-vesafb", 1024, 768);
    linux.run("load bochs");
    assert_eq!(frame_buffer(&mut linux), "0 bochs-drmdrmfb");
    read_console(&mut linux, "console-bochs", 1280, 800);
    a_program_reads_the_frame_buffer_as_it_is_shown(&mut linux);
    a_program_sets_a_mode_and_shows_a_test_card(&mut linux);
    linux.power_off();
}

/// `fbcat` maps the frame buffer and writes what it finds as a picture: the same as viewers see.
fn a_program_reads_the_frame_buffer_as_it_is_shown(linux: &mut Linux) {
    let theirs = linux.run("fbcat >/tmp/shot.ppm; sha256sum </tmp/shot.ppm");
    let ours = linux.screen.look();
    let head = format!("P6 {} {} 255\n", ours.width, ours.height);
    let bytes = ours.pixels.iter().flat_map(|pixel| pixel.to_be_bytes()[1..].to_vec());
    let file = crate::support::small_guest::Scratch::new("shot.ppm");
    std::fs::write(&file.0, head.into_bytes().into_iter().chain(bytes).collect::<Vec<_>>()).unwrap();
    let output = Command::new("sha256sum").stdin(std::fs::File::open(&file.0).unwrap()).output().unwrap();
    assert_eq!(theirs, String::from_utf8_lossy(&output.stdout).trim());
}

/// `modetest` of libdrm sets a mode by the kernel's interface, and draws the bars of SMPTE.
fn a_program_sets_a_mode_and_shows_a_test_card(linux: &mut Linux) {
    /// The upper bars from left to right, as modetest has them.
    const BARS: [u32; 7] = [0xC0_C0C0, 0xC0_C000, 0x00_C0C0, 0x00_C000, 0xC0_00C0, 0xC0_0000, 0x00_00C0];
    linux.run(
        "id=$(modetest -M bochs-drm -c | sed -n 's/^\\([0-9]*\\).*connected.*/\\1/p' | head -n 1); echo $id",
    );
    linux.run("{ sleep 100000 | modetest -M bochs-drm -s $id:800x600 >/tmp/modetest 2>&1 & }");
    let shows = |picture: &Picture| {
        let bar = |number: usize| Part { x: 800 * number / 7 + 3, y: 20, width: 800 / 7 - 6, height: 300 };
        (picture.width, picture.height) == (800, 600)
            && BARS
                .iter()
                .enumerate()
                .all(|(n, colour)| picture.part(bar(n)).pixels.iter().all(|p| p == colour))
    };
    linux.screen.wait("console-modetest", shows);
    linux.run("killall sleep");
}

/// OVMF draws by the adapter's DISPI registers, and hands the kernel the frame buffer as it left it. The disk is read by EDK II's
/// driver, in whole files at a time.
fn the_console_is_on_efifb() {
    let folder = Folder::new();
    let disk = format!("format=raw,snapshot=on,file={}", efi_disk(&folder));
    let variables = format!("if=pflash,unit=1,format=raw,snapshot=on,file={}", ovmf::VARIABLES);
    let drives = ["--pflash", ovmf::CODE, "--drive", &variables, "--drive", &disk];
    let mut linux = Linux::boot(&[&["--memory", "512M"][..], &drives].concat());
    assert_eq!(frame_buffer(&mut linux), "0 EFI VGA");
    read_console(&mut linux, "console-efifb", 1280, 800);
    linux.power_off();
}

/// A disk with FAT from which OVMF's shell starts Linux.
fn efi_disk(folder: &Folder) -> String {
    const SCRIPT: &[u8] = b"fs0:\nvmlinuz.efi console=tty0 console=ttyS0 quiet initrd=\\initrd\n";
    folder.file("startup.nsh", SCRIPT);
    folder.copy(&Guest::FullKernel.path(), "vmlinuz.efi");
    folder.copy(&Guest::Graphics.path(), "initrd");
    folder.run("mformat", &["-C", "-T", "122976", "-h", "16", "-s", "63", "-i", "efi.img", "::"]);
    folder.run("mcopy", &["-i", "efi.img", "startup.nsh", "vmlinuz.efi", "initrd", "::"]);
    folder.result("efi.img")
}
