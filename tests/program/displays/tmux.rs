//! The terminal display in tmux, as people have it on other machines.

use super::drawing_guest::{self, HEIGHT, Mouse, WIDTH, image};
use super::kept_terminal;
use super::picture::Picture;
use super::seen::{check, half};
use crate::support::engines::{ENGINE_NAMES, JIT};
use crate::support::guests::{DEBIAN, Guest};
use crate::support::needs::{Need, Tests, program};
use crate::support::program::executable;
use crate::support::pty::Pty;
use crate::support::small_guest::Scratch;
use std::fs;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use trimotor_test_terminal::Terminal;

/// The multiplexer.
const TMUX: Need = Need { name: "tmux", check: || program("tmux", "tmux") };

pub fn tests() -> Tests {
    Tests::needing(&[TMUX])
        .each(&ENGINE_NAMES, pictures_are_half_blocks_in_tmux)
        .each(&ENGINE_NAMES, a_mouse_in_tmux_is_the_guest_s)
        .test_needing(&[DEBIAN, JIT], a_text_console_of_linux_is_used_in_tmux)
        .test_needing(&[DEBIAN, JIT], a_picture_of_linux_is_shown_in_tmux)
}

const COLUMNS: usize = 160;
const ROWS: usize = 50;
/// No wait takes as long: the guard against hanging.
const PATIENCE: Duration = Duration::from_secs(600);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(100);

/// A server of our own, with the program in its only window.
struct Session {
    name: String,
    /// A person's terminal, if one is attached.
    client: Option<(Child, fs::File)>,
}

impl Session {
    fn start(arguments: &[&str]) -> Session {
        static STARTED: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = STARTED.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let session = Session { name: format!("trimotor-{}-{number}", std::process::id()), client: None };
        let quoted: Vec<String> = arguments.iter().map(|word| format!("'{word}'")).collect();
        let run = format!("'{}' {}; echo ended: $?; exec cat", executable().display(), quoted.join(" "));
        let (columns, rows) = (COLUMNS.to_string(), ROWS.to_string());
        let new = ["-f", "/dev/null", "new-session", "-d", "-x", &columns, "-y", &rows];
        let variables = ["-e", "COLORTERM=truecolor", "-e", "TERM=tmux-256color", "-e", "LC_ALL=C.UTF-8"];
        // tmux writes UTF-8 where it is told so.
        session.tmux(&[&["-u"], &new[..], &variables[..], &["sh", "-c", &run]].concat());
        session
    }
    fn tmux(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("tmux");
        command.args(["-L", &self.name]).args(arguments).env_remove("TMUX").env("LC_ALL", "C.UTF-8");
        let output = command.stdin(Stdio::null()).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "tmux {arguments:?}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }
    /// What the window shows.
    fn screen(&self) -> Terminal {
        let mut terminal = Terminal::new(COLUMNS, ROWS);
        let captured = self.tmux(&["capture-pane", "-e", "-p", "-N"]);
        terminal.write(captured.trim_end_matches('\n').replace('\n', "\r\n").as_bytes());
        terminal
    }
    fn wait_until(&self, what: &str, done: impl Fn(&Terminal) -> bool) -> Terminal {
        let began = Instant::now();
        loop {
            let screen = self.screen();
            if done(&screen) {
                return screen;
            }
            assert!(began.elapsed() < PATIENCE, "never {what}:\n{}", screen.text());
            thread::sleep(PAUSE);
        }
    }
    fn wait_for(&self, text: &str) -> Terminal {
        self.wait_until(text, |screen| screen.text().contains(text))
    }
    fn type_text(&self, text: &str) {
        self.tmux(&["send-keys", "-l", text]);
    }
    fn strike(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }
    /// A person attaches with a terminal of the same size, whose mouse tmux is to pass on.
    fn attach(&mut self) {
        let rows = ROWS as u16 + 1;
        let pty = Pty::open(COLUMNS as u16, rows);
        let mut command = Command::new("tmux");
        command.args(["-L", &self.name, "-u", "attach"]).env_remove("TMUX").env("TERM", "xterm-256color");
        command.stdin(pty.user_end()).stdout(pty.user_end()).stderr(pty.user_end());
        let client = command.spawn().unwrap();
        let (input, mut output) = pty.into_host_ends();
        thread::spawn(move || while let Ok(1..) = output.read(&mut [0; 4096]) {});
        self.client = Some((client, input));
        let began = Instant::now();
        while self.tmux(&["list-clients"]).is_empty() {
            assert!(began.elapsed() < PATIENCE, "no client");
            thread::sleep(PAUSE);
        }
    }
    /// The person's terminal sends this.
    fn send(&mut self, bytes: &str) {
        self.client.as_mut().unwrap().1.write_all(bytes.as_bytes()).unwrap();
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let mut command = Command::new("tmux");
        command.args(["-L", &self.name, "kill-server"]).stdout(Stdio::null()).stderr(Stdio::null());
        let _ = command.status();
        if let Some((client, _)) = &mut self.client {
            let _ = client.kill();
            let _ = client.wait();
        }
    }
}

/// Where the picture is: first column and line, width, height. A cell is twice as high as wide, as far as anybody knows.
fn place(columns: usize, rows: usize) -> (usize, usize, usize, usize) {
    let lines = 2 * rows;
    let (width, height) = if columns * HEIGHT < lines * WIDTH {
        (columns, columns * HEIGHT / WIDTH)
    } else {
        (lines * WIDTH / HEIGHT, lines)
    };
    ((columns - width) / 2, (rows - height.div_ceil(2)) / 2 * 2, width, height)
}

/// The guest that draws, with one more option.
fn drawing(engine: &str, kernel: &str, option: [&str; 2]) -> Session {
    let machine = ["run", "--accel", engine, "--memory", "16M", "--kernel", kernel];
    Session::start(&[&machine[..], &option].concat())
}

fn pictures_are_half_blocks_in_tmux(engine: &str) {
    let (image, shot) = (image(Mouse::Moves), Scratch::new("tmux.png"));
    let (kernel, file) = (image.path(), shot.path());
    let session = drawing(engine, &kernel, ["--screenshot", &file]);
    // The status line is below it.
    let (left, top, width, height) = place(COLUMNS, ROWS - 1);
    let is_there = |other: u8| {
        move |screen: &Terminal| {
            screen.text().contains("640x480 blocks")
                && half(screen, left + width / 2, top + height - 1)
                    .is_some_and(|colour| colour[2].abs_diff(other) < 3)
        }
    };
    session.wait_until("the picture", is_there(0x40));
    session.strike(&["Space"]);
    let screen = session.wait_until("other colours", is_there(0xC0));
    session.strike(&["C-a", "x"]);
    // What was there before is back.
    let after = session.wait_for("ended: 0");
    assert_eq!(after.row(0), "ended: 0");
    let picture = Picture::from_png(&shot.0);
    check(&picture, (left, top, width, height), 1.5, |column, line| half(&screen, column, line));
    // tmux takes commands that it does not know for titles.
    let title = session.tmux(&["display-message", "-p", "#{pane_title}"]);
    assert!(!title.contains("Gi="), "{title}");
}

fn a_mouse_in_tmux_is_the_guest_s(engine: &str) {
    let (image, debug) = (image(Mouse::Positions), Scratch::new("tmux-mouse"));
    let (kernel, port) = (image.path(), format!("file:{}", debug.path()));
    let mut session = drawing(engine, &kernel, ["--debugcon", &port]);
    session.tmux(&["set", "-g", "mouse", "on"]);
    session.attach();
    session.wait_for("640x480 blocks");
    session.wait_for("mouse");
    let (left, top, width, height) = place(COLUMNS, ROWS - 1);
    // tmux passes on what its own terminal says of the mouse.
    let (column, row) = (left + width / 2, (top + height / 2) / 2);
    session.send(&format!("\x1b[<0;{};{}M", column + 1, row + 1));
    session.send(&format!("\x1b[<0;{};{}m", column + 1, row + 1));
    let began = Instant::now();
    let packets = loop {
        let packets = drawing_guest::packets(&debug);
        let press = packets.iter().position(|packet| packet[0] & 0x20 != 0);
        if press.is_some_and(|press| packets[press..].iter().any(|packet| packet[0] & 0x20 == 0)) {
            break packets;
        }
        assert!(began.elapsed() < PATIENCE, "{packets:x?}\n{}", session.screen().text());
        thread::sleep(PAUSE);
    };
    // A cell is 800h of FFFFh wide, or twice that high.
    let press = packets.iter().find(|packet| packet[0] & 0x20 != 0).unwrap();
    assert!(press[1].abs_diff(0x8000) < 0x500 && press[2].abs_diff(0x8000) < 0x800, "{packets:x?}");
}

/// Linux on the terminal, with a shell on its console.
fn linux(initrd: Guest, more: &[&str]) -> Session {
    let (kernel, initrd) = (Guest::FullKernel.path(), initrd.path());
    let fixed = ["run", "--accel", "jit", "--memory", "512M", "--kernel", &kernel, "--initrd", &initrd];
    Session::start(&[&fixed[..], &["--append", "console=tty0 quiet"], more].concat())
}

fn a_text_console_of_linux_is_used_in_tmux() {
    let session = linux(Guest::Drives, &[]);
    session.wait_for("MARK-DRIVERS");
    session.type_text("echo \"$((6*7)) <Moin>\"");
    session.strike(&["Enter"]);
    session.wait_until("the answer", |screen| (0..ROWS).any(|row| screen.row(row) == "42 <Moin>"));
    session.strike(&["C-l"]);
    session.wait_until("a cleared screen", |screen| !screen.text().contains("Moin"));
    session.strike(&["C-a", "x"]);
    session.wait_for("ended: 0");
}

/// A console on a linear frame buffer: its letters are pixels.
fn a_picture_of_linux_is_shown_in_tmux() {
    let (shot, serial) = (Scratch::new("linux.png"), Scratch::new("tmux-serial"));
    let (file, port) = (shot.path(), format!("file:{}", serial.path()));
    let session = linux(Guest::Display, &["--screenshot", &file, "--serial", &port]);
    session.wait_for("1280x800 blocks");
    // What is typed before the shell has the console may be lost, or lose a quotation mark which all that follows would
    // be part of.
    let began = Instant::now();
    while !fs::read_to_string(&serial.0).is_ok_and(|text| text.contains("shell 42")) {
        assert!(began.elapsed() < PATIENCE, "no shell:\n{}", session.screen().text());
        session.strike(&["C-c"]);
        session.type_text("echo shell $((6*7)) >/dev/ttyS0");
        session.strike(&["Enter"]);
        thread::sleep(Duration::from_secs(2));
    }
    // The upper half is white, below which the prompt is not. In one write: of several that end amid a line, Linux 6.1
    // copies only parts to the screen.
    session.type_text("echo 0 >/sys/class/graphics/fbcon/cursor_blink; clear; ");
    session.type_text("head -c 2048000 /dev/zero | tr '\\0' '\\377' >/tmp/white; ");
    session.type_text("dd if=/tmp/white of=/dev/fb0 bs=2048000");
    session.strike(&["Enter"]);
    let bright =
        |screen: &Terminal, column, line| half(screen, column, line).is_some_and(|colour| colour == [255; 3]);
    session.wait_until("white", |screen| {
        let cells = (0..COLUMNS).flat_map(|column| (0..2 * (ROWS - 1)).map(move |line| (column, line)));
        cells.filter(|&(column, line)| bright(screen, column, line)).count() >= 3000
    });
    // Until nothing is new any more, but for the status line.
    let picture_of = |screen: &Terminal| -> Vec<_> {
        (0..ROWS - 1)
            .flat_map(|row| (0..COLUMNS).map(move |column| (column, row)))
            .map(|(column, row)| screen.cell(column, row))
            .collect()
    };
    let mut before = session.screen();
    let screen = loop {
        thread::sleep(Duration::from_secs(3));
        let now = session.screen();
        if picture_of(&now) == picture_of(&before) {
            break now;
        }
        before = now;
    };
    kept_terminal::keep(&screen, "linux");
    session.strike(&["C-a", "x"]);
    session.wait_for("ended: 0");
    let picture = Picture::from_png(&shot.0);
    assert_eq!((picture.width, picture.height), (1280, 800));
    // All of the width: 98 lines of 160 columns are wider than the picture is.
    let (width, height) = (2 * (ROWS - 1) * 1280 / 800, 2 * (ROWS - 1));
    check(&picture, ((COLUMNS - width) / 2, 0, width, height), 1.5, |column, line| {
        half(&screen, column, line)
    });
}
