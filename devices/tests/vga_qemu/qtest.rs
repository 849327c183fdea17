//! QEMU, driven by its test protocol: a line a command on standard input, and a line "OK" as the answer.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

/// A screen dump.
pub struct Picture {
    pub width: usize,
    pub height: usize,
    /// 00RRGGBBh.
    pub pixels: Vec<u32>,
}

/// A QEMU that runs no guest.
pub struct Qemu {
    process: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    monitor: UnixStream,
    folder: PathBuf,
}

impl Qemu {
    pub fn start() -> Self {
        let folder = std::env::temp_dir().join(format!("trimotor-vga-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let socket = folder.join("monitor");
        let mut process = Command::new("qemu-system-x86_64")
            .args(["-machine", "pc,accel=tcg", "-S", "-vga", "std", "-display", "none", "-net", "none"])
            .args(["-serial", "none", "-parallel", "none", "-qtest", "stdio", "-qtest-log", "/dev/null"])
            .arg("-monitor")
            .arg(format!("unix:{},server=on,wait=off", socket.display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (to, from) = (process.stdin.take().unwrap(), BufReader::new(process.stdout.take().unwrap()));
        let connect = || {
            (0..1000).find_map(|_| {
                std::thread::sleep(Duration::from_millis(10));
                UnixStream::connect(&socket).ok()
            })
        };
        let monitor = connect().expect("QEMU opens its monitor");
        let mut qemu = Self { process, to, from, monitor, folder };
        qemu.prompt();
        qemu
    }
    /// Waits for the monitor's prompt.
    fn prompt(&mut self) {
        let mut seen = Vec::new();
        let mut byte = [0];
        while !seen.ends_with(b"(qemu) ") {
            self.monitor.read_exact(&mut byte).unwrap();
            seen.push(byte[0]);
        }
    }
    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.from.read_line(&mut line).unwrap();
        assert!(line.starts_with("OK"), "QEMU says {line:?}");
        line
    }
    /// Does something.
    pub fn command(&mut self, command: &str) {
        writeln!(self.to, "{command}").unwrap();
        self.answer();
    }
    /// Reads something.
    pub fn number(&mut self, command: &str) -> u64 {
        writeln!(self.to, "{command}").unwrap();
        let answer = self.answer();
        let digits = answer.trim_start_matches("OK").trim().trim_start_matches("0x");
        u64::from_str_radix(digits, 16).unwrap()
    }
    /// Writes bytes.
    pub fn write(&mut self, addr: u64, bytes: &[u8]) {
        for (n, piece) in bytes.chunks(4096).enumerate() {
            let mut hex = String::new();
            piece.iter().for_each(|byte| write!(hex, "{byte:02x}").unwrap());
            self.command(&format!("write {:#x} {:#x} 0x{hex}", addr + 4096 * n as u64, piece.len()));
        }
    }
    /// What the screen shows.
    pub fn screen(&mut self) -> Picture {
        let path = self.folder.join("screen.ppm");
        writeln!(self.monitor, "screendump {}", path.display()).unwrap();
        self.prompt();
        let file = std::fs::read(&path).unwrap();
        // P6, size, 255: words, and then the bytes.
        let mut at = 0;
        let mut word = || {
            let start = at;
            at += file[start..].iter().position(u8::is_ascii_whitespace).unwrap() + 1;
            std::str::from_utf8(&file[start..at - 1]).unwrap().to_owned()
        };
        assert_eq!(word(), "P6");
        let (width, height) = (word().parse().unwrap(), word().parse().unwrap());
        assert_eq!(word(), "255");
        let pixel = |c: &[u8]| u32::from_be_bytes([0, c[0], c[1], c[2]]);
        Picture { width, height, pixels: file[at..].chunks_exact(3).map(pixel).collect() }
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
