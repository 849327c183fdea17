//! Output that nobody reads holds up neither the guest nor the end of the program, and a slow reader gets all of it. And
//! what a person typed does not stand before the key that leaves.

use crate::support::engines::ENGINE_NAMES;
use crate::support::needs::Tests;
use crate::support::program::{Program, executable};
use crate::support::pty::Pty;
use crate::support::small_guest::{CODE, Scratch, small_guest};
use iced_x86::code_asm::*;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::io::Read;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

pub fn tests() -> Tests {
    Tests::new()
        .each(&ENGINE_NAMES, a_guest_goes_on_while_nobody_reads_and_nothing_is_lost)
        .each(&ENGINE_NAMES, with_a_counted_clock_a_slow_reader_changes_nothing)
        .test(a_signal_ends_the_program_while_nobody_reads)
        .test(the_leave_key_does_not_wait_behind_what_was_typed)
        .test(a_signal_does_not_wait_behind_what_was_typed)
}

/// No wait of these tests takes this long: the guard against hanging.
const HANG_GUARD: Duration = Duration::from_secs(600);
/// Looks at a busy transmitter after which the guest says so: longer than any output that is read is busy.
const PATIENCE: u32 = 1_000_000;
/// What the guest writes to the exit port, where its transmitter stayed busy and where all was sent.
const BUSY: u32 = 5;
const ALL_SENT: u32 = 6;
/// More than what may wait on its way.
const MANY: u32 = 4 << 20;

fn exit_code(value: u32) -> Option<i32> {
    Some((value << 1 | 1) as i32)
}

/// A guest that sends so many bytes, counting upwards, by the book: each when the transmitter is ready for it. Where
/// that stays busy it writes a line to the debug port, and goes on or, if it `gives_up`, ends the program.
fn sender(bytes: u32, gives_up: bool) -> Result<Vec<u8>, IcedError> {
    let mut a = CodeAssembler::new(32)?;
    let [mut next, mut wait, mut ready] = [a.create_label(), a.create_label(), a.create_label()];
    a.mov(edx, 0x3FB)?;
    a.mov(al, 3)?;
    a.out(dx, al)?;
    a.xor(ebx, ebx)?;
    a.mov(esi, bytes)?;
    a.set_label(&mut next)?;
    a.mov(edi, PATIENCE)?;
    a.mov(edx, 0x3FD)?;
    a.set_label(&mut wait)?;
    a.in_(al, dx)?;
    a.test(al, 0x20)?;
    a.jnz(ready)?;
    a.dec(edi)?;
    a.jnz(wait)?;
    for byte in *b"busy\n" {
        a.mov(al, i32::from(byte))?;
        a.out(0xE9, al)?;
    }
    if gives_up {
        a.mov(al, BUSY as i32)?;
        a.out(0xF4, al)?;
    }
    a.jmp(next)?;
    a.set_label(&mut ready)?;
    a.mov(edx, 0x3F8)?;
    a.mov(al, bl)?;
    a.out(dx, al)?;
    a.inc(ebx)?;
    a.dec(esi)?;
    a.jnz(next)?;
    a.mov(al, ALL_SENT as i32)?;
    a.out(0xF4, al)?;
    a.hlt()?;
    a.assemble(u64::from(CODE))
}

/// The program with such a guest, whose debug port this test hears.
struct Sender {
    child: Child,
    debug_port: UnixStream,
    _image: Scratch,
}

impl Sender {
    fn start(name: &str, code: &[u8], more: &[&str], output: Stdio) -> Sender {
        let image = small_guest(name, code);
        let socket = Scratch::new(&format!("{name}-socket"));
        let listener = UnixListener::bind(&socket.0).unwrap();
        let (kernel, debug) = (image.path(), format!("unix:{}", socket.path()));
        let mut command = Command::new(executable());
        command.args(["run", "--memory", "16M", "--nographic", "--debug-exit"]);
        command.args(["--kernel", &kernel, "--debugcon", &debug]);
        command.args(more).stdin(Stdio::null()).stdout(output).stderr(Stdio::null());
        let child = command.spawn().unwrap();
        let debug_port = listener.accept().unwrap().0;
        debug_port.set_read_timeout(Some(HANG_GUARD)).unwrap();
        Sender { child, debug_port, _image: image }
    }
    /// Waits until the guest says that its transmitter stays busy.
    fn hear_busy(&mut self) {
        let mut line = [0; 5];
        self.debug_port.read_exact(&mut line).unwrap();
        assert_eq!(&line, b"busy\n");
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn assert_counts(bytes: &[u8], what: &str) {
    let wrong = bytes.iter().enumerate().find(|(n, byte)| **byte != *n as u8);
    assert_eq!(wrong, None, "{what}: a byte is lost or out of order");
}

fn a_guest_goes_on_while_nobody_reads_and_nothing_is_lost(engine: &str) {
    for cpus in ["1", "2"] {
        let code = sender(u32::MAX, true).unwrap();
        let more = ["--accel", engine, "--cpus", cpus];
        let mut sender = Sender::start("stuck", &code, &more, Stdio::piped());
        sender.hear_busy();
        let mut got = Vec::new();
        sender.child.stdout.take().unwrap().read_to_end(&mut got).unwrap();
        assert!(got.len() > 1 << 20, "{engine}, {cpus}: {} bytes", got.len());
        assert_counts(&got, engine);
        assert_eq!(sender.child.wait().unwrap().code(), exit_code(BUSY), "{engine}, {cpus}");
    }
}

fn with_a_counted_clock_a_slow_reader_changes_nothing(engine: &str) {
    let code = sender(MANY, true).unwrap();
    let mut sender = Sender::start("counted", &code, &["--icount", "--accel", engine], Stdio::piped());
    let mut output = sender.child.stdout.take().unwrap();
    let mut got = vec![0; 200_000];
    // A byte a call: slower than the guest.
    got.iter_mut().for_each(|byte| output.read_exact(std::slice::from_mut(byte)).unwrap());
    output.read_to_end(&mut got).unwrap();
    assert_eq!(got.len(), MANY as usize);
    assert_counts(&got, engine);
    assert_eq!(
        sender.child.wait().unwrap().code(),
        exit_code(ALL_SENT),
        "its transmitter was never busy for long"
    );
}

fn a_signal_ends_the_program_while_nobody_reads() {
    let (host, user) = {
        let pty = Pty::open(80, 24);
        let user = pty.user_end();
        (pty.into_host_ends(), user)
    };
    for output in [Stdio::piped(), Stdio::from(user)] {
        let code = sender(u32::MAX, false).unwrap();
        let mut sender = Sender::start("signalled", &code, &["--accel", "interp"], output);
        sender.hear_busy();
        kill_process(Pid::from_child(&sender.child), Signal::TERM).unwrap();
        assert_eq!(sender.child.wait().unwrap().code(), Some(143));
    }
    drop::<(File, File)>(host);
}

/// A guest that takes no keys, on a terminal, and more typing than anything keeps.
fn deaf_guest_that_was_typed_at(name: &str) -> (Program, Scratch) {
    let image = small_guest(name, &[0xFA, 0xEB, 0xFE]); // cli; jmp $
    let kernel = image.path();
    let mut program = Program::start_on_terminal(
        &["run", "--accel", "interp", "--memory", "16M", "--kernel", &kernel],
        100,
        30,
    );
    program.expect("keys");
    for _ in 0..100 {
        program.send(&"a".repeat(1000));
    }
    (program, image)
}

fn the_leave_key_does_not_wait_behind_what_was_typed() {
    let (mut program, _image) = deaf_guest_that_was_typed_at("deaf-key");
    program.send("\x01x");
    assert_eq!(program.wait_on_terminal(), Some(0));
    assert!(program.terminal_is_cooked());
}

fn a_signal_does_not_wait_behind_what_was_typed() {
    let (mut program, _image) = deaf_guest_that_was_typed_at("deaf-signal");
    program.signal(Signal::TERM);
    assert_eq!(program.wait_on_terminal(), Some(143));
    assert!(program.terminal_is_cooked());
}
