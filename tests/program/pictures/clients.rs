//! VNC viewers that others wrote, which are driven by command lines: vncdotool (Python) and gvnccapture (gtk-vnc).

use super::picture::Picture;
use crate::support::needs::{Need, program};
use crate::support::small_guest::Scratch;
use std::path::{Path, PathBuf};
use std::process::Command;

/// vncdotool is no package of Debian's: `.ci/run` installs it here, or it is on the path.
const PLACE: &str = "guests/cache/vncdotool";
pub const VNCDOTOOL: Need = Need {
    name: "vncdotool",
    check: || match installed().is_file() {
        true => Ok(()),
        false => program("vncdo", "none: `.ci/run tools` brings it, or pip install vncdotool"),
    },
};
pub const GVNCCAPTURE: Need = Need { name: "gvnccapture", check: || program("gvnccapture", "gvncviewer") };

fn installed() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(PLACE).join("bin/vncdo")
}

/// Has vncdotool do what its commands say, at the server at a port.
pub fn vncdo(port: u16, commands: &[&str]) {
    let installed = installed();
    let program = if installed.is_file() { installed } else { "vncdo".into() };
    let server = format!("127.0.0.1::{port}");
    let output = Command::new(program)
        // Keys and clicks that follow each other at once are faster than hands are.
        .args(["-t", "600", "--delay", "100", "-s", &server])
        .args(commands)
        .output()
        .unwrap();
    assert!(output.status.success(), "vncdo {commands:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The picture that vncdotool takes.
pub fn vncdo_capture(port: u16) -> Picture {
    let file = Scratch::new("vncdo.png");
    vncdo(port, &["capture", &file.path()]);
    Picture::from_png(&file.0)
}

/// The picture that gvnccapture takes.
pub fn gvnccapture(port: u16) -> Picture {
    let file = Scratch::new("captured.png");
    let display = format!("127.0.0.1:{}", port - 5900);
    let output = Command::new("gvnccapture").args([&*display, &file.path()]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Picture::from_png(&file.0)
}
