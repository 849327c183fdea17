//! What boot loaders and programs without an operating system draw, beside QEMU's picture of the same medium: GRUB's menu with
//! a theme, the menu of Debian's installer (`vesamenu.c32`), memtest86+, grub-invaders.
//!
//! Each runs by our BIOS and its video BIOS, and by SeaBIOS with its own, on both engines where it is quick enough.

use super::picture::{EXACT, Part, Picture, READER, SIX_BITS};
use super::qemu::Qemu;
use super::screen::{DOWN, LEFT, RETURN, Screen};
use crate::bios::images::{self, Folder};
use crate::bios::oracle::{SEABIOS, VGA_ROM};
use crate::displays::viewer::Viewer;
use crate::support::guests::{DEBIAN, Guest};
use crate::support::needs::{Need, QEMU, Tests};
use crate::support::program::Program;
use crate::support::small_guest::Scratch;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// GRUB's theme, as Debian has it.
const THEME: &str = "/usr/share/grub/themes/starfield";
const THEMES: Need = Need {
    name: "grub-theme",
    check: || match Path::new(THEME).join("theme.txt").exists() && Path::new(SEABIOS).exists() {
        true => Ok(()),
        false => Err(format!(
            "{THEME} or {SEABIOS} is not installed (Debian's packages grub-theme-starfield and seabios)"
        )),
    },
};

pub fn tests() -> Tests {
    Tests::needing(&[images::TOOLS, THEMES, QEMU])
        .test(grub_draws_its_theme_as_on_qemu)
        .test_needing(&[DEBIAN, READER], the_menu_of_debians_installer_is_that_on_qemu)
        .test_needing(&[DEBIAN, READER], memtest_looks_as_on_qemu)
        .test_needing(&[DEBIAN], the_ship_of_the_invaders_moves)
}

/// SeaBIOS with its VGA BIOS, in place of ours.
const BY_SEABIOS: [&str; 4] = ["--bios", SEABIOS, "--vga-rom", VGA_ROM];
/// Engine, BIOS, a name for pictures.
const RUNS: [(&str, &[&str], &str); 3] =
    [("jit", &[], "jit"), ("interp", &[], "interp"), ("jit", &BY_SEABIOS, "seabios")];

/// A machine that boots from a CD, and its screen.
struct Machine {
    program: Program,
    screen: Viewer<UnixStream>,
    _socket: Scratch,
}

impl Machine {
    fn boot(engine: &str, cd: &str, options: &[&str]) -> Machine {
        let socket = Scratch::new("menu.vnc");
        let display = format!("vnc=unix:{}", socket.path());
        let arguments = ["run", "--accel", engine, "--memory", "64M", "--debug-exit", "--display", &display];
        let program = Program::start(&[&arguments[..], &["--cdrom", cd], options].concat());
        let screen = Viewer::unix(&socket.path());
        Machine { program, screen, _socket: socket }
    }
}

fn is_of_size(width: usize, height: usize) -> impl Fn(&Picture) -> bool {
    move |picture| (picture.width, picture.height) == (width, height) && picture.colours(8) == 8
}

/// Waits for the picture to be the other one but for these parts.
fn wait_for_same(screen: &mut impl Screen, name: &str, wanted: &Picture, but: &[Part]) {
    let may = |(x, y): (usize, usize)| but.iter().any(|part| part.has(x, y));
    screen.wait(name, |picture| picture.differing(wanted, EXACT).into_iter().all(may));
}

/// The theme's fonts, its picture, boxes and the selection. Its second entry is chosen by key, and boots.
fn grub_draws_its_theme_as_on_qemu() {
    let folder = Folder::new();
    let cd = images::grub_theme_cd(&folder, THEME);
    let (first, second) = {
        let mut qemu = Qemu::start(&["-cdrom", &cd, "-boot", "d"]);
        let first = qemu.settle("grub-qemu", 5, is_of_size(1024, 768));
        qemu.strike("down");
        (first.clone(), qemu.settle("grub-qemu-second", 5, |picture| *picture != first))
    };
    for (engine, bios, name) in RUNS {
        let mut machine = Machine::boot(engine, &cd, bios);
        wait_for_same(&mut machine.screen, &format!("grub-{name}"), &first, &[]);
        machine.screen.key(DOWN);
        wait_for_same(&mut machine.screen, &format!("grub-{name}-second"), &second, &[]);
        machine.screen.key(RETURN);
        machine.program.expect(images::KERNEL_SAYS);
        assert_eq!(machine.program.wait().code, Some(3));
    }
}

/// ISOLINUX's `vesamenu.c32` with Debian's picture behind it. A key stops its count of seconds and moves the selection. Its letters
/// are those of the video BIOS, so that they are the same by SeaBIOS only; by ours they are read.
fn the_menu_of_debians_installer_is_that_on_qemu() {
    let folder = Folder::new();
    let initrd = Guest::GtkInstallerInitrd.path();
    let cd = images::installer_cd(&folder, Path::new(&initrd).parent().unwrap(), false);
    let wanted = {
        let mut qemu = Qemu::start(&["-cdrom", &cd, "-boot", "d"]);
        let counts =
            |picture: &Picture| is_of_size(640, 480)(picture) && picture.text().contains("Press a key");
        qemu.wait("debian-menu-qemu-counts", counts);
        qemu.strike("down");
        qemu.settle("debian-menu-qemu", 5, |picture| !counts(picture))
    };
    for (engine, bios, name) in RUNS {
        let mut machine = Machine::boot(engine, &cd, bios);
        machine.screen.read(&format!("debian-menu-{name}-counts"), None, &["Press a key"]);
        machine.screen.key(DOWN);
        let name = format!("debian-menu-{name}");
        let letters = if bios.is_empty() { &[LETTERS][..] } else { &[] };
        wait_for_same(&mut machine.screen, &name, &wanted, letters);
        machine.screen.read(
            &name,
            None,
            &["installer menu (BIOS", "Accessible dark contrast", "Help", "Install with speech"],
        );
    }
}

/// The lines of the menu, and of its title.
const LETTERS: Part = Part { x: 128, y: 144, width: 384, height: 120 };

/// Text mode: what does not depend on processor and time. By SeaBIOS its letters are those that QEMU shows; by ours they are read.
fn memtest_looks_as_on_qemu() {
    /// The title, and the line of keys.
    const SAME: [Part; 2] =
        [Part { x: 0, y: 0, width: 28 * 9, height: 16 }, Part { x: 0, y: 384, width: 720, height: 16 }];
    const SAYS: [&str; 1] = ["Configuration"];
    let folder = Folder::new();
    let cd = images::grub_cd(&folder, "linux /boot/memtest");
    let wanted = Qemu::start(&["-cdrom", &cd, "-boot", "d"]).read("memtest-qemu", Some(SAME[1]), &SAYS);
    for (engine, bios, name) in RUNS {
        let mut machine = Machine::boot(engine, &cd, bios);
        let picture = machine.screen.read(&format!("memtest-{name}"), Some(SAME[1]), &SAYS);
        assert_eq!((picture.width, picture.height), (720, 400));
        for part in SAME.into_iter().filter(|_| !bios.is_empty()) {
            let differing = picture.part(part).differing(&wanted.part(part), SIX_BITS).len();
            assert_eq!(differing, 0, "{name}: pixels of {part:?} differ");
        }
    }
}

/// The game is drawn with letters, and reads the keyboard's ports itself: an arrow key moves the ship.
fn the_ship_of_the_invaders_moves() {
    /// Its colour, by the default palette.
    const SHIP: u32 = 0xAA_00AA;
    let left_end = |picture: &Picture| {
        let places = picture.pixels.iter().enumerate().filter(|(_, pixel)| **pixel == SHIP);
        places.map(|(at, _)| at % picture.width).min()
    };
    let folder = Folder::new();
    let cd = images::grub_cd_with(&folder, &Guest::Invaders.path(), "multiboot /boot/kernel");
    for (engine, bios, name) in RUNS {
        let mut machine = Machine::boot(engine, &cd, bios);
        let picture = machine.screen.wait(&format!("invaders-{name}"), |picture| left_end(picture).is_some());
        let before = left_end(&picture);
        // The key is held for a moment that the game may not look at.
        loop {
            machine.screen.key(LEFT);
            let picture =
                machine.screen.wait(&format!("invaders-{name}-left"), |picture| left_end(picture).is_some());
            if left_end(&picture) < before {
                break;
            }
        }
    }
}
