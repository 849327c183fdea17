//! X.Org with Debian's drivers, and xterm on it.
//!
//! `vesa` runs our video BIOS in X's own emulator of real-mode code (x86emu), with nothing but ROM, low memory and the VGA's ports
//! and memory; `modesetting` asks the kernel's driver for the adapter. Keyboard and pointer come through `evdev`.

use super::picture::{EXACT, Part, Picture, READER};
use super::screen::Screen;
use crate::bios::images::{self, Folder};
use crate::displays::viewer::Viewer;
use crate::support::engines::JIT;
use crate::support::guests::{DEBIAN, Guest};
use crate::support::needs::Tests;
use crate::support::program::Program;
use crate::support::small_guest::Scratch;
use std::os::unix::net::UnixStream;

pub fn tests() -> Tests {
    Tests::needing(&[images::TOOLS, DEBIAN, JIT, READER])
        .test(xterm_runs_on_the_driver_vesa)
        .test(xterm_runs_on_the_driver_modesetting)
}

/// The guest with X at its prompt on COM1, and its screen.
pub struct Linux {
    pub program: Program,
    pub screen: Viewer<UnixStream>,
    _socket: Scratch,
}

impl Linux {
    /// Boots as the options say.
    pub fn boot(options: &[&str]) -> Linux {
        let socket = Scratch::new("linux.vnc");
        let display = format!("vnc=unix:{}", socket.path());
        let arguments = ["run", "--accel", "jit", "--display", &display];
        let mut program = Program::start(&[&arguments[..], options].concat());
        let screen = Viewer::unix(&socket.path());
        program.expect("MARK-DRIVERS");
        program.expect("# ");
        // So that the shell does not break the lines that it echoes.
        program.send("stty cols 1000\n");
        program.expect("stty cols 1000");
        program.expect("# ");
        Linux { program, screen, _socket: socket }
    }
    /// The full kernel with the guest's file system, by our own loader.
    pub fn boot_kernel(append: &str) -> Linux {
        let (kernel, initrd) = (Guest::FullKernel.path(), Guest::Graphics.path());
        let append = format!("console=tty0 console=ttyS0 quiet {append}");
        Linux::boot(&["--memory", "512M", "--kernel", &kernel, "--initrd", &initrd, "--append", &append])
    }
    /// Runs a command in the shell on COM1; what it printed.
    pub fn run(&mut self, command: &str) -> String {
        // The mark is put together by the shell, so that the echo of the line does not have it.
        self.program.send(&format!("{command}; echo DO''NE\n"));
        self.program.expect("DO''NE");
        let printed = self.program.expect("DONE");
        self.program.expect("# ");
        printed.trim_end_matches("DONE").replace("\r\n", "\n").trim().to_owned()
    }
    pub fn power_off(mut self) {
        self.program.send("poweroff -f\n");
        let ended = self.program.wait();
        assert_eq!(ended.code, Some(0), "{}{}", ended.output, ended.errors);
    }
}

/// By our BIOS, which brings the video BIOS to where X finds it: a kernel that the board loads has none.
fn xterm_runs_on_the_driver_vesa() {
    let folder = Folder::new();
    let cd = images::linux_cd(&folder, &Guest::FullKernel.path(), &Guest::Graphics.path(), "");
    let mut linux = Linux::boot(&["--memory", "512M", "--cdrom", &cd]);
    use_vbetool(&mut linux);
    let said = linux.run("x vesa");
    assert!(said.contains("MARK-X"), "{said}");
    use_xterm(&mut linux, "vesa");
    linux.power_off();
}

fn xterm_runs_on_the_driver_modesetting() {
    let mut linux = Linux::boot_kernel("");
    let said = linux.run("load bochs; x modesetting");
    assert!(said.contains("MARK-X"), "{said}");
    use_xterm(&mut linux, "modesetting");
    linux.power_off();
}

/// vbetool runs the video BIOS in an emulator of its own (libx86): it reads the mode, saves the state, sets another mode, and goes back.
fn use_vbetool(linux: &mut Linux) {
    assert_eq!(linux.run("vbetool vbemode get"), "3");
    assert_eq!(linux.run("vbetool vbestate save > /tmp/state 2> /dev/null; echo $?"), "0");
    assert_eq!(linux.run("vbetool vbemode set 257 2> /dev/null; vbetool vbemode get"), "257");
    linux.screen.wait("vbetool-mode", |picture| (picture.width, picture.height) == (640, 480));
    assert_eq!(linux.run("vbetool vbemode set 3 2> /dev/null; vbetool vbemode get"), "3");
    linux.screen.wait("vbetool-back", |picture| picture.height == 400);
}

/// Types into xterm, and moves the pointer over it.
fn use_xterm(linux: &mut Linux, driver: &str) {
    // X chooses a mode of its own.
    let is_there = |picture: &Picture| picture.width >= 1024 && picture.at(850, 500) == 0xFF_FFFF;
    linux.screen.settle(&format!("x-{driver}-prompt"), 5, is_there);
    linux.screen.strike("echo Typed in xterm: $((6*7)) >/dev/ttyS0\r");
    linux.program.expect("Typed in xterm: 42");
    linux.screen.strike("echo The answer is $((6*7))\r");
    linux.screen.read(&format!("x-{driver}-typed"), None, &["The answer is 42"]);
    // The pointer is drawn where it is sent.
    let pointer = |linux: &mut Linux, x: u16, y: u16| {
        let before = linux.screen.look();
        linux.screen.point(x, y, 0);
        linux.screen.settle(&format!("x-{driver}-pointer-{x}"), 5, |picture| *picture != before)
    };
    let (here, there) = (pointer(linux, 300, 400), pointer(linux, 700, 500));
    let around = |x: usize, y: usize| Part { x: x - 16, y: y - 16, width: 32, height: 32 };
    let differing = here.differing(&there, EXACT);
    assert!(!differing.is_empty());
    for (x, y) in differing {
        assert!(around(300, 400).has(x, y) || around(700, 500).has(x, y), "{driver}: {x}, {y}");
    }
}
