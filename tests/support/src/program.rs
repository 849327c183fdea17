//! Runs the program with pipes, as a script would: send a line, wait for an answer.

use super::pty::{Pty, set_size};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};
use rustix::termios::{LocalModes, tcgetattr};
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

/// No run of a test takes this long: the guard against hanging, not a measure of speed.
const HANG_GUARD: Duration = Duration::from_secs(1800);
/// How much of the output a failure shows.
const SHOWN_BYTES: usize = 6000;

/// The program while it runs.
pub struct Program {
    child: Child,
    input: Option<Box<dyn Write>>,
    output: Receiver<Vec<u8>>,
    text: String,
    cut: Vec<u8>,
    /// What was read of standard error.
    messages: Vec<u8>,
    terminal: Option<File>,
    seen: usize,
    started: Instant,
}

/// How the program ended.
#[derive(Debug)]
pub struct Ended {
    /// The exit code; none where a signal ended it.
    pub code: Option<i32>,
    /// All that it printed on standard output (or on the terminal).
    pub output: String,
    /// All that it printed on standard error (empty for a terminal).
    pub errors: String,
}

/// The program as Cargo built it for this test.
///
/// # Panics
/// It is not there: this is no test of the package `trimotor`.
pub fn executable() -> PathBuf {
    // Test programs lie in `deps` beside it. Cargo and other runners say where it is, a shell does not.
    let built = std::env::var_os("CARGO_BIN_EXE_trimotor").map(PathBuf::from).unwrap_or_else(|| {
        let test = std::env::current_exe().expect("a test program has a path");
        let folder = test.parent().and_then(Path::parent).expect("a target folder");
        folder.join("trimotor")
    });
    assert!(built.is_file(), "{} is not built", built.display());
    built
}

/// Runs the program to its end with nothing on its standard input.
pub fn run_to_end(arguments: &[&str]) -> Ended {
    let mut program = Program::start(arguments);
    program.close_input();
    program.wait()
}

/// Takes the desktop away on which the tests may run: no window is opened there.
fn without_desktop(command: &mut Command) -> &mut Command {
    for variable in ["DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY"] {
        command.env_remove(variable);
    }
    command
}

impl Program {
    /// Starts the program with pipes.
    pub fn start(arguments: &[&str]) -> Self {
        Self::start_with(arguments, &[])
    }
    /// The same with variables of the environment.
    pub fn start_with(arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new(executable());
        without_desktop(&mut command).args(arguments).envs(variables.iter().copied());
        Self::start_command(command)
    }
    /// The same by another program, which runs the one that its last arguments name in its own place, or below it.
    pub fn start_under(launcher: &[&str], arguments: &[&str]) -> Self {
        let mut command = Command::new(launcher[0]);
        without_desktop(&mut command).args(&launcher[1..]).arg(executable()).args(arguments);
        Self::start_command(command)
    }
    /// Starts another program in the same way: one that this one talks to, or that starts this one by a command line of its own.
    pub fn start_other(program: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new(program);
        without_desktop(&mut command).args(arguments).envs(variables.iter().copied());
        Self::start_command(command)
    }
    fn start_command(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("trimotor starts");
        let input = child.stdin.take().expect("a pipe");
        let output = child.stdout.take().expect("a pipe");
        Self::watch(child, Box::new(input), output)
    }
    /// Starts the program on a terminal of this size.
    pub fn start_on_terminal(arguments: &[&str], columns: u16, rows: u16) -> Self {
        Self::start_on_terminal_with(arguments, columns, rows, &[])
    }
    /// The same with variables of the environment.
    pub fn start_on_terminal_with(
        arguments: &[&str],
        columns: u16,
        rows: u16,
        variables: &[(&str, &str)],
    ) -> Self {
        let pty = Pty::open(columns, rows);
        let mut command = Command::new(executable());
        command.args(arguments).env("TERM", "xterm-256color").env("LC_ALL", "C.UTF-8");
        // What the terminal is that these tests were started on does not matter.
        ["COLORTERM", "TMUX", "STY"].into_iter().for_each(|name| _ = command.env_remove(name));
        without_desktop(&mut command).envs(variables.iter().copied());
        command.stdin(pty.user_end()).stdout(pty.user_end()).stderr(pty.user_end());
        let child = command.spawn().expect("trimotor starts");
        let (input, output) = pty.into_host_ends();
        let terminal = Some(output.try_clone().expect("a descriptor"));
        let mut program = Self::watch(child, Box::new(input), output);
        program.terminal = terminal;
        program
    }

    fn watch(child: Child, input: Box<dyn Write>, mut output: impl Read + Send + 'static) -> Self {
        let (sender, receiver) = channel();
        thread::spawn(move || {
            let mut bytes = [0; 65536];
            // A terminal whose program is gone reads as an error.
            while let Ok(length @ 1..) = output.read(&mut bytes) {
                if sender.send(bytes[..length].to_vec()).is_err() {
                    break;
                }
            }
        });
        let started = Instant::now();
        Self {
            child,
            input: Some(input),
            output: receiver,
            text: String::new(),
            cut: Vec::new(),
            messages: Vec::new(),
            terminal: None,
            seen: 0,
            started,
        }
    }

    /// Types `text`.
    pub fn send(&mut self, text: &str) {
        let input = self.input.as_mut().expect("the input is open");
        input.write_all(text.as_bytes()).and_then(|()| input.flush()).expect("trimotor reads its input");
    }
    /// Ends the program's standard input.
    pub fn close_input(&mut self) {
        self.input = None;
    }
    /// Waits until `wanted` is printed after what was waited for before; returns what was
    /// printed up to its end.
    pub fn expect(&mut self, wanted: &str) -> String {
        loop {
            if let Some(at) = self.text[self.seen..].find(wanted) {
                let start = self.seen;
                self.seen += at + wanted.len();
                return self.text[start..self.seen].to_owned();
            }
            if !self.read_more() {
                let status = self.child.wait().expect("trimotor is a child");
                self.fail(&format!("ended ({status}) without printing {wanted:?}"));
            }
        }
    }
    /// Waits until `wanted` is on standard error, where a message may come a moment after what it is about.
    pub fn expect_message(&mut self, wanted: &str) {
        while !String::from_utf8_lossy(&self.messages).contains(wanted) {
            let left = HANG_GUARD.saturating_sub(self.started.elapsed());
            let Some(pipe) = &mut self.child.stderr else { panic!("a terminal has no messages apart") };
            let limit = Timespec::try_from(left).expect("it is short");
            let waits =
                poll(&mut [PollFd::new(pipe, PollFlags::IN)], Some(&limit)).expect("it can be waited for");
            let mut bytes = [0; 4096];
            match if waits > 0 { pipe.read(&mut bytes).expect("a pipe is read") } else { 0 } {
                0 => self.fail(&format!("says nothing of {wanted:?}")),
                length => self.messages.extend(&bytes[..length]),
            }
        }
    }
    /// Waits until something is printed after what was waited for before, for so long at most; returns it, as much as there
    /// is. None where all was returned and no more comes.
    pub fn next_output(&mut self, limit: Duration) -> Option<String> {
        if self.rest().is_empty() {
            match self.output.recv_timeout(limit) {
                Ok(bytes) => self.take_text(&bytes),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
        let start = std::mem::replace(&mut self.seen, self.text.len());
        Some(self.text[start..].to_owned())
    }
    /// Waits for the program's end.
    pub fn wait(mut self) -> Ended {
        while self.read_more() {}
        let status = self.child.wait().expect("trimotor is a child");
        if let Some(mut pipe) = self.child.stderr.take() {
            pipe.read_to_end(&mut self.messages).expect("a pipe is read");
        }
        let errors = String::from_utf8(std::mem::take(&mut self.messages)).expect("messages are UTF-8");
        Ended { code: status.code(), output: std::mem::take(&mut self.text), errors }
    }
    /// Whether the terminal that the program runs on echoes and edits lines, as a shell wants it.
    pub fn terminal_is_cooked(&self) -> bool {
        let terminal = self.terminal.as_ref().expect("a terminal");
        let modes = tcgetattr(terminal).expect("a terminal's modes");
        modes.local_modes.contains(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG)
    }
    /// Gives the program's terminal another size. The program hears of it as from its shell's terminal.
    pub fn resize(&self, columns: u16, rows: u16) {
        set_size(self.terminal.as_ref().expect("a terminal"), columns, rows);
        self.signal(Signal::WINCH);
    }
    /// What the program printed after what was waited for.
    pub fn rest(&self) -> &str {
        &self.text[self.seen..]
    }
    /// The process that was started.
    pub fn id(&self) -> u32 {
        self.child.id()
    }
    /// Sends the program a signal.
    pub fn signal(&self, signal: Signal) {
        let process = Pid::from_child(&self.child);
        kill_process(process, signal).expect("the program runs");
    }
    /// Waits for the end of a program on a terminal; the terminal stays open to be looked at.
    pub fn wait_on_terminal(&mut self) -> Option<i32> {
        while self.read_more() {}
        self.child.wait().expect("trimotor is a child").code()
    }

    /// Reads what comes next; false at the end.
    fn read_more(&mut self) -> bool {
        let left = HANG_GUARD.saturating_sub(self.started.elapsed());
        match self.output.recv_timeout(left) {
            Ok(bytes) => {
                self.take_text(&bytes);
                true
            }
            Err(RecvTimeoutError::Disconnected) => false,
            Err(RecvTimeoutError::Timeout) => self.fail("hangs"),
        }
    }
    /// Appends bytes as text; a character cut at their end waits for its rest.
    fn take_text(&mut self, bytes: &[u8]) {
        self.cut.extend(bytes);
        let whole = match std::str::from_utf8(&self.cut) {
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            _ => self.cut.len(),
        };
        self.text += &String::from_utf8_lossy(&self.cut[..whole]);
        self.cut.drain(..whole);
    }
    fn fail(&mut self, why: &str) -> ! {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(mut pipe) = self.child.stderr.take() {
            let _ = pipe.read_to_end(&mut self.messages);
        }
        let errors = String::from_utf8_lossy(&self.messages);
        let tail: Vec<char> = self.text.chars().rev().take(SHOWN_BYTES).collect();
        let tail: String = tail.into_iter().rev().collect();
        panic!("trimotor {why}\n--- the end of its output\n{tail}\n--- its messages\n{errors}");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
