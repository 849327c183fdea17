//! An X server without a screen, and what a person does there: keys and pointer by xdotool, a look at the screen.

use super::picture::Picture;
use crate::support::needs::{Need, program};
use crate::support::small_guest::Scratch;
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use x11rb::connection::Connection;
use x11rb::protocol::xproto::{
    ClientMessageEvent, ConnectionExt as _, EventMask, ImageFormat, InputFocus, Window,
};
use x11rb::rust_connection::RustConnection;

pub const XVFB: Need =
    Need { name: "xvfb", check: || program("Xvfb", "xvfb").and_then(|()| program("xdotool", "xdotool")) };

/// No window takes as long: the guard against hanging.
const PATIENCE: Duration = Duration::from_secs(300);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(30);
/// The number of Escape, the lowest.
const ESCAPE: u8 = 9;

pub struct XServer {
    child: Child,
    pub display: String,
    connection: RustConnection,
    root: Window,
}

/// Waits until there is something.
#[track_caller]
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "no {what}");
        std::thread::sleep(LOOK);
    }
}

/// Starts a server with options; the name of the display that it chose.
pub fn start_server(options: &[&str]) -> (Child, String) {
    let mut command = Command::new("Xvfb");
    command.args(["-displayfd", "1", "-nolisten", "tcp", "-noreset"]).args(options);
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::null()).stdin(Stdio::null()).spawn().unwrap();
    let mut number = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut number).unwrap();
    assert!(!number.trim().is_empty(), "Xvfb starts");
    (child, format!(":{}", number.trim()))
}

/// A file with a cookie for a display, as `xauth` makes it.
pub fn authority(name: &str, display: &str, cookie: &str) -> Scratch {
    let file = Scratch::new(name);
    std::fs::write(file.path(), "").unwrap();
    let output = Command::new("xauth")
        .args(["-f", &file.path(), "add", display, "MIT-MAGIC-COOKIE-1", cookie])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    file
}

impl XServer {
    pub fn start() -> XServer {
        let (child, display) = start_server(&["-screen", "0", "1600x1200x24"]);
        let (connection, screen) = RustConnection::connect(Some(&display)).unwrap();
        let root = connection.setup().roots[screen].root;
        XServer { child, display, connection, root }
    }
    /// The environment of a program that shows its windows here.
    pub fn variables(&self) -> [(&str, &str); 1] {
        [("DISPLAY", &self.display)]
    }
    pub fn xdotool(&self, arguments: &[&str]) -> String {
        let output = Command::new("xdotool").args(arguments).env("DISPLAY", &self.display).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
    /// The program's window, once it is shown.
    pub fn window(&self) -> Window {
        wait_for("window", || {
            let mut search = Command::new("xdotool");
            search.args(["search", "--onlyvisible", "--class", "trimotor"]).env("DISPLAY", &self.display);
            String::from_utf8_lossy(&search.output().unwrap().stdout).trim().parse().ok()
        })
    }
    pub fn title(&self, window: Window) -> String {
        self.xdotool(&["getwindowname", &window.to_string()])
    }
    /// Waits until the title has a text.
    pub fn wait_for_title(&self, window: Window, text: &str) -> String {
        wait_for(text, || Some(self.title(window)).filter(|title| title.contains(text)))
    }
    pub fn size(&self, window: Window) -> (usize, usize) {
        let geometry = self.connection.get_geometry(window).unwrap().reply().unwrap();
        (geometry.width.into(), geometry.height.into())
    }
    /// What the window shows.
    pub fn picture(&self, window: Window) -> Picture {
        let (width, height) = self.size(window);
        let (format, all) = (ImageFormat::Z_PIXMAP, u32::MAX);
        let image = self.connection.get_image(format, window, 0, 0, width as u16, height as u16, all);
        let image = image.unwrap().reply().unwrap();
        let pixel = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().unwrap()) & 0x00FF_FFFF;
        Picture { width, height, pixels: image.data.chunks_exact(4).map(pixel).collect() }
    }
    /// Waits until the window has a text, by lines.
    pub fn wait_for_text(&self, window: Window, what: &str, is_right: impl Fn(&[String]) -> bool) -> Picture {
        wait_for(what, || Some(self.picture(window)).filter(|picture| is_right(&picture.lines())))
    }
    /// Moves the pointer into the window, where keys go to without a window manager.
    pub fn point_at(&self, window: Window, x: usize, y: usize) {
        self.xdotool(&["mousemove", "--window", &window.to_string(), &x.to_string(), &y.to_string()]);
    }
    /// Types a line by the keys of the server's layout.
    pub fn type_line(&self, text: &str) {
        self.xdotool(&["type", "--delay", "20", text]);
        // Of a line feed xdotool makes a key that PCs do not have.
        self.xdotool(&["key", "Return"]);
    }
    /// A key goes down or up, by the server's number.
    pub fn key(&self, number: u8, down: bool) {
        // A digit alone is the key that types it.
        let key = if number == ESCAPE { "Escape".to_owned() } else { number.to_string() };
        self.xdotool(&[if down { "keydown" } else { "keyup" }, &key]);
    }
    /// Gives the keyboard to a window of another program.
    pub fn focus_elsewhere(&self) {
        let other = self.connection.generate_id().unwrap();
        let aux = Default::default();
        self.connection
            .create_window(0, other, self.root, 1400, 1100, 10, 10, 0, Default::default(), 0, &aux)
            .unwrap();
        self.connection.map_window(other).unwrap();
        self.connection
            .set_input_focus(InputFocus::PARENT, other, x11rb::CURRENT_TIME)
            .unwrap()
            .check()
            .unwrap();
    }
    pub fn focus(&self, window: Window) {
        self.connection
            .set_input_focus(InputFocus::PARENT, window, x11rb::CURRENT_TIME)
            .unwrap()
            .check()
            .unwrap();
    }
    /// Asks the program to close its window, as window managers do.
    pub fn close(&self, window: Window) {
        let atom =
            |name: &str| self.connection.intern_atom(false, name.as_bytes()).unwrap().reply().unwrap().atom;
        let data = [atom("WM_DELETE_WINDOW"), 0, 0, 0, 0];
        let message = ClientMessageEvent::new(32, window, atom("WM_PROTOCOLS"), data);
        self.connection.send_event(false, window, EventMask::NO_EVENT, message).unwrap().check().unwrap();
    }
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }
}

impl Drop for XServer {
    fn drop(&mut self) {
        end_server(&mut self.child);
    }
}

/// Ends a server, also one that was stopped.
pub fn end_server(child: &mut Child) {
    let process = Pid::from_child(child);
    // It takes its files below /tmp away with it.
    let _ = kill_process(process, Signal::TERM);
    let _ = kill_process(process, Signal::CONT);
    let _ = child.wait();
}
