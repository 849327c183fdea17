//! Debian's graphical installer from its own boot menu, driven through three of its dialogs by VNC.
//!
//! ISOLINUX's menu starts the kernel with `vga=788`, so that the kernel's code for real mode sets a mode of our video BIOS. The
//! installer loads the adapter's own driver, and runs X.Org and GTK on that.

use super::clients::{GVNCCAPTURE, VNCDOTOOL, gvnccapture, vncdo, vncdo_capture};
use super::picture::{EXACT, Part, Picture, READER};
use super::screen::{DOWN, RETURN, Screen};
use crate::bios::images::{self, Folder};
use crate::displays::viewer::Viewer;
use crate::support::engines::JIT;
use crate::support::guests::{DEBIAN, Guest};
use crate::support::needs::{Tests, free_port};
use crate::support::program::Program;
use crate::support::small_guest::Scratch;
use std::net::TcpStream;
use std::path::Path;

pub fn tests() -> Tests {
    Tests::needing(&[images::TOOLS, DEBIAN, JIT, READER, VNCDOTOOL, GVNCCAPTURE])
        .test(three_dialogs_are_answered_by_keys_and_pointer)
}

const WIDTH: usize = 1280;
const HEIGHT: usize = 800;
/// The installer's picture on top, the same in all dialogs.
const BANNER: Part = Part { x: 0, y: 0, width: WIDTH, height: 75 };
const TITLE: Part = Part { x: 0, y: 80, width: 600, height: 32 };
/// The title and the question, in which no cursor blinks.
const QUESTION: Part = Part { x: 0, y: 80, width: WIDTH, height: 90 };
/// The button that goes on.
const CONTINUE: [&str; 2] = ["1218", "774"];

/// The machine whose screen several viewers see at the same time.
struct Installer {
    program: Program,
    screen: Viewer<TcpStream>,
    port: u16,
}

impl Installer {
    fn boot(cd: &str, screenshot: &str) -> Installer {
        let port = free_port();
        let display = format!("vnc=127.0.0.1:{}", port - 5900);
        let arguments = ["run", "--memory", "1G", "--cdrom", cd, "--boot", "order=d", "--display", &display];
        let program = Program::start(&[&arguments[..], &["--screenshot", screenshot]].concat());
        Installer { program, screen: Viewer::tcp(port), port }
    }
    /// Waits for the dialog with this title to be drawn, and has another viewer take the same picture.
    fn dialog(&mut self, name: &str, title: &str, other: impl Fn(u16) -> Picture) -> Picture {
        self.screen.read(name, Some(TITLE), &[title]);
        let picture =
            self.screen.settle(name, 5, |picture| (picture.width, picture.height) == (WIDTH, HEIGHT));
        let theirs = other(self.port);
        // One that wants the screen for itself ends the others.
        self.screen = Viewer::tcp(self.port);
        assert_eq!(theirs.differing(&picture, EXACT).len(), 0, "{name}: another viewer sees something else");
        picture
    }
}

/// A key, a click into a list and on a button, and keys again, from two programs. The pointer is where it is sent: a click that
/// missed its button would change nothing.
fn three_dialogs_are_answered_by_keys_and_pointer() {
    let folder = Folder::new();
    let initrd = Guest::GtkInstallerInitrd.path();
    let cd = images::installer_cd(&folder, Path::new(&initrd).parent().unwrap(), true);
    let last = Scratch::new("last.png");
    let mut installer = Installer::boot(&cd, &last.path());
    installer.screen.read("installer-0-menu", None, &["Press a key"]);
    vncdo(installer.port, &["key", "enter"]);

    let language = installer.dialog("installer-1-language", "Select a language", vncdo_capture);
    installer.screen.key(RETURN);
    let location = installer.dialog("installer-2-location", "Select your location", gvnccapture);
    vncdo(installer.port, &["move", "60", "237", "click", "1"]);
    // White lines are those of the list that are not chosen.
    installer.screen.settle("installer-2-chosen", 3, |picture| picture.at(600, 237) != 0xFF_FFFF);
    vncdo(installer.port, &["move", CONTINUE[0], CONTINUE[1], "click", "1"]);
    let keyboard = installer.dialog("installer-3-keyboard", "Configure the keyboard", gvnccapture);
    installer.screen.key(DOWN);
    let moved = installer.screen.settle("installer-3-moved", 5, |picture| *picture != keyboard);
    let dialogs = [&language, &location, &keyboard];
    for (a, b) in [(0, 1), (1, 2), (0, 2)] {
        let (a, b) = (dialogs[a], dialogs[b]);
        assert_eq!(a.part(BANNER).differing(&b.part(BANNER), EXACT).len(), 0, "the banner stays");
        assert!(
            !a.part(QUESTION).differing(&b.part(QUESTION), EXACT).is_empty(),
            "the question is another one"
        );
    }
    installer.program.send("\x01x");
    assert_eq!(installer.program.wait().code, Some(0));
    let differing = Picture::from_png(&last.0).differing(&moved, EXACT).len();
    assert_eq!(differing, 0, "the screenshot shows something else");
}
