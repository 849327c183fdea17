//! `--gdb`: Debian's gdb at guests, on each engine.

pub mod document;
pub mod guests;
pub mod hostile;
pub mod linux;
mod remote;

use crate::support::needs::{Need, program};
use crate::support::program::Program;
use crate::support::small_guest::Scratch;

/// The debugger.
pub const GDB: Need = Need { name: "gdb", check: || program("gdb", "gdb") };

/// A guest with a socket for gdb.
pub struct Debugged {
    pub program: Program,
    socket: Scratch,
}

impl Debugged {
    /// Starts the program, with `view` behind the socket of `--gdb`.
    pub fn start(view: &str, arguments: &[&str]) -> Debugged {
        let socket = Scratch::new("gdb.sock");
        let gdb = format!("unix:{}{view}", socket.path());
        let fixed = ["run", "--display", "none", "--gdb", &gdb];
        Debugged { program: Program::start(&[&fixed[..], arguments].concat()), socket }
    }
    /// The same before its first instruction, with COM1 nowhere and the debug exit.
    pub fn start_stopped(engine: &str, view: &str, arguments: &[&str]) -> Debugged {
        let fixed = ["--accel", engine, "--memory", "64M", "--serial", "null", "--debug-exit", "-S"];
        Debugged::start(view, &[&fixed[..], arguments].concat())
    }
    /// The socket's path; gdb can connect there.
    pub fn place(&self) -> String {
        let path = self.socket.path();
        while !self.socket.0.exists() {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        path
    }
    /// Runs gdb, connected, with these commands; what it prints.
    pub fn gdb(&self, commands: &[&str]) -> String {
        self.gdb_with(&[], commands)
    }
    /// The same with commands before it connects.
    pub fn gdb_with(&self, before: &[&str], commands: &[&str]) -> String {
        let connect = format!("target remote {}", self.place());
        let fixed = ["set confirm off", "set pagination off", "set width 0", "set style enabled off"];
        let all = fixed.iter().chain(before).copied().chain([&*connect]).chain(commands.iter().copied());
        let arguments: Vec<&str> =
            ["-nx", "-q", "-batch"].into_iter().chain(all.flat_map(|one| ["-ex", one])).collect();
        let mut gdb = Program::start_other("gdb", &arguments, &[("LC_ALL", "C"), ("HOME", "/nonexistent")]);
        gdb.close_input();
        let ended = gdb.wait();
        format!("{}\n{}", ended.output, ended.errors)
    }
    /// The exit code, once the guest has ended the run.
    #[track_caller]
    pub fn ends_with(self, code: i32) {
        let ended = self.program.wait();
        assert_eq!(ended.code, Some(code), "{ended:?}");
        assert!(!ended.errors.contains("panicked"), "{ended:?}");
    }
}

/// That a text has these parts, one behind the other.
#[track_caller]
pub fn assert_in_order(text: &str, parts: &[&str]) {
    let mut rest = text;
    for part in parts {
        let Some(at) = rest.find(part) else { panic!("no {part:?} in its place in:\n{text}") };
        rest = &rest[at + part.len()..];
    }
}
