//! A Wayland compositor without a screen (sway), and what a person does there: keys by wtype, the pointer by a viewer of
//! wayvnc, a look at the screen by grim.

use super::picture::Picture;
use super::viewer::connected;
use super::xserver::wait_for;
use crate::support::needs::{Need, free_port, program};
use crate::support::small_guest::Scratch;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, Permissions};
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

pub const SWAY: Need = Need {
    name: "sway",
    check: || ["sway", "wtype", "grim", "wayvnc"].into_iter().try_for_each(|name| program(name, name)),
};

/// The screen's size.
pub const SCREEN: (usize, usize) = (1500, 900);
/// The compositor gives a window all of the screen, and no frame.
const CONFIGURATION: &str =
    "output HEADLESS-1 resolution 1500x900\ndefault_border none\nfocus_follows_mouse no\n";

/// The user that owns nothing.
const NOBODY: u32 = 65_534;

pub struct Compositor {
    child: Child,
    /// Its sockets, and nothing else.
    folder: PathBuf,
    socket: String,
    display: String,
    /// The viewer, and its server. Keyboard and pointer are there as long as they are.
    hands: Option<(TcpStream, Child)>,
}

impl Compositor {
    pub fn start() -> Compositor {
        let folder = Scratch::new("wayland").0.clone();
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, Permissions::from_mode(0o700)).unwrap();
        let (configuration, socket) = (folder.join("sway"), folder.join("messages"));
        fs::write(&configuration, CONFIGURATION).unwrap();
        let mut command = Command::new("sway");
        command
            .arg("--config")
            .arg(&configuration)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.env("XDG_RUNTIME_DIR", &folder).env("SWAYSOCK", &socket);
        command
            .env("WLR_BACKENDS", "headless")
            .env("WLR_RENDERER", "pixman")
            .env("WLR_LIBINPUT_NO_DEVICES", "1");
        command.env_remove("WAYLAND_DISPLAY").env_remove("DISPLAY");
        // It does not start as root.
        if rustix::process::geteuid().is_root() {
            [&folder, &configuration]
                .into_iter()
                .for_each(|path| chown(path, Some(NOBODY), Some(NOBODY)).unwrap());
            command.uid(NOBODY).gid(NOBODY);
        }
        let mut compositor = Compositor {
            child: command.spawn().unwrap(),
            folder: folder.clone(),
            socket: socket.to_string_lossy().into_owned(),
            display: String::new(),
            hands: None,
        };
        compositor.display = wait_for("compositor", || {
            let names = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name());
            let names = names.map(|name| name.to_string_lossy().into_owned());
            names.into_iter().find(|name| name.starts_with("wayland-") && !name.ends_with(".lock"))
        });
        wait_for("answer of the compositor", || {
            compositor.run("swaymsg", &["-t", "get_outputs"]).status.success().then_some(())
        });
        compositor.connect_hands();
        compositor
    }
    fn connect_hands(&mut self) {
        let port = free_port();
        let mut command = Command::new("wayvnc");
        command.args(["127.0.0.1", &port.to_string()]).envs(self.variables());
        let server =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut stream = connected(|| TcpStream::connect(("127.0.0.1", port)));
        // No password, and the screen is shared.
        stream.write_all(b"RFB 003.008\n\x01\x01").unwrap();
        self.hands = Some((stream, server));
        wait_for("keyboard and pointer", || {
            let inputs = self.does("swaymsg", &["-t", "get_inputs"]);
            (inputs.contains("\"keyboard\"") && inputs.contains("\"pointer\"")).then_some(())
        });
    }
    /// The environment of a program that shows its windows here.
    pub fn variables(&self) -> [(&str, &str); 2] {
        [("WAYLAND_DISPLAY", &self.display), ("XDG_RUNTIME_DIR", self.folder.to_str().unwrap())]
    }
    fn run(&self, program: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new(program);
        command.args(arguments).envs(self.variables()).env("SWAYSOCK", &self.socket).output().unwrap()
    }
    pub fn does(&self, program: &str, arguments: &[&str]) -> String {
        let output = self.run(program, arguments);
        assert!(
            output.status.success(),
            "{program} {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
    /// What all windows are called.
    pub fn titles(&self) -> String {
        let tree = self.does("swaymsg", &["-t", "get_tree"]);
        tree.lines().filter(|line| line.contains("\"name\"")).collect()
    }
    /// The pointer goes to a place of the screen, with these buttons down: a bit for each (RFC 6143, "PointerEvent").
    pub fn point_at(&mut self, x: usize, y: usize, buttons: u8) {
        let [x, y] = [x, y].map(|at| (at as u16).to_be_bytes());
        let (stream, _) = self.hands.as_mut().unwrap();
        stream.write_all(&[5, buttons, x[0], x[1], y[0], y[1]]).unwrap();
    }
    /// What the screen shows.
    pub fn picture(&self) -> Picture {
        let file = Scratch::new("grim.png");
        self.does("grim", &[&file.path()]);
        Picture::from_png(&file.0)
    }
    pub fn kill(&mut self) {
        if let Some((_, mut server)) = self.hands.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
        let _ = kill_process(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
    }
}

impl Drop for Compositor {
    fn drop(&mut self) {
        self.kill();
        let _ = fs::remove_dir_all(&self.folder);
    }
}
