//! A Linux guest with a shell on its serial port, in our program or in QEMU.

use std::io::{BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

/// An emulator with a guest.
pub struct Guest {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
    seen: String,
}

impl Guest {
    /// Starts an emulator whose serial port is its standard output.
    pub fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, output, seen: String::new() }
    }
    /// Waits for a text; what came before it.
    pub fn wait_for(&mut self, text: &str) -> String {
        let mut byte = [0];
        loop {
            if let Some(at) = self.seen.find(text) {
                let before = self.seen[..at].to_owned();
                self.seen.drain(..at + text.len());
                return before;
            }
            assert!(self.output.read(&mut byte).unwrap() > 0, "the guest ended: {}", self.seen);
            self.seen.push(byte[0] as char);
        }
    }
    fn type_in(&mut self, text: &str) {
        self.child.stdin.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }
    /// CPU seconds of the process so far.
    pub fn cpu_seconds(&self) -> f64 {
        trimotor_test_support::host_time::host_seconds(self.child.id()).unwrap()
    }
    /// Runs a command in the guest's shell; what it printed.
    pub fn output_of(&mut self, command: &str) -> String {
        self.type_in(&format!("echo BE''GIN; {command}; echo E''ND\n"));
        self.wait_for("BEGIN");
        let printed = self.wait_for("END");
        self.wait_for("# ");
        printed
    }
    /// CPU seconds and wall seconds of a command in the guest.
    pub fn run(&mut self, command: &str) -> (f64, f64) {
        self.type_in(&format!("echo BE''GIN; {command} 2>/dev/null; echo E''ND\n"));
        self.wait_for("BEGIN");
        let (cpu, began) = (self.cpu_seconds(), Instant::now());
        self.wait_for("END");
        let took = (self.cpu_seconds() - cpu, began.elapsed().as_secs_f64());
        self.wait_for("# ");
        took
    }
}
impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The middle one of some figures.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
/// Our program, with the translator.
pub fn trimotor(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trimotor"));
    command.args(["run", "--accel", "jit", "--nographic", "--serial", "stdio"]).args(arguments);
    command
}
/// QEMU with TCG and no devices but those that are named.
pub fn qemu(arguments: &[&str]) -> Command {
    let mut command = Command::new("qemu-system-x86_64");
    command.args([
        "-machine",
        "pc,accel=tcg",
        "-cpu",
        "max",
        "-nodefaults",
        "-display",
        "none",
        "-serial",
        "stdio",
    ]);
    command.args(arguments);
    command
}
