//! QEMU with the same medium: what its screen shows.

use super::picture::Picture;
use super::screen::Screen;
use crate::support::small_guest::Scratch;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

/// A PC of QEMU's, with SeaBIOS and its VGA BIOS.
pub struct Qemu {
    process: Child,
    monitor: UnixStream,
    dump: Scratch,
    _socket: Scratch,
}

impl Qemu {
    /// Starts it with more options.
    pub fn start(options: &[&str]) -> Qemu {
        let (socket, dump) = (Scratch::new("monitor"), Scratch::new("screen.ppm"));
        let process = Command::new("qemu-system-x86_64")
            .args(["-machine", "pc,accel=tcg", "-m", "64", "-vga", "std", "-display", "none", "-net", "none"])
            .args(["-serial", "null", "-parallel", "none", "-monitor"])
            .arg(format!("unix:{},server=on,wait=off", socket.path()))
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let monitor = crate::displays::viewer::connected(|| UnixStream::connect(&socket.0));
        let mut qemu = Qemu { process, monitor, dump, _socket: socket };
        qemu.prompt();
        qemu
    }
    /// Waits for the monitor's prompt.
    fn prompt(&mut self) {
        let (mut seen, mut byte) = (Vec::new(), [0]);
        while !seen.ends_with(b"(qemu) ") {
            self.monitor.read_exact(&mut byte).unwrap();
            seen.push(byte[0]);
        }
    }
    fn command(&mut self, command: &str) {
        writeln!(self.monitor, "{command}").unwrap();
        self.prompt();
    }
    /// Strikes a key, as QEMU's monitor names it.
    pub fn strike(&mut self, key: &str) {
        self.command(&format!("sendkey {key}"));
    }
}

impl Screen for Qemu {
    fn look(&mut self) -> Picture {
        self.command(&format!("screendump {}", self.dump.path()));
        Picture::from_ppm(&std::fs::read(&self.dump.0).unwrap())
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
