//! VNC: viewers that nobody here wrote, and viewers that behave badly.

use super::viewer::{Viewer, connected};
use crate::pictures::clients::{GVNCCAPTURE, gvnccapture};
use crate::pictures::picture::EXACT;
use crate::pictures::screen::Screen;
use crate::support::needs::{Tests, free_port};
use crate::support::program::{Program, run_to_end};
use crate::support::small_guest::Scratch;
use rustix::process::{Pid, Signal, kill_process};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

pub fn tests() -> Tests {
    Tests::new()
        .test(what_is_typed_in_a_viewer_reaches_the_guest)
        .test_needing(&[GVNCCAPTURE], another_viewer_sees_the_same_picture)
        .test_needing(&[GVNCCAPTURE], viewers_that_behave_badly_disturb_nobody)
        .test(a_server_that_cannot_be_is_refused)
}

/// The demo with displays, at its prompt.
fn demo(displays: &str) -> Program {
    let mut program = Program::start(&["demo", "--display", displays]);
    program.expect("trimotor>");
    program
}

fn what_is_typed_in_a_viewer_reaches_the_guest() {
    let socket = Scratch::new("typed.vnc");
    let mut program = demo(&format!("vnc=unix:{}", socket.path()));
    let mut viewer = Viewer::unix(&socket.path());
    viewer.look_until("text", |viewer| viewer.height > 300 && viewer.drawn(0, viewer.height) > 1000);
    // The shift is the server's work.
    viewer.strike("Xyz:?\r");
    program.expect("Xyz:?");
    viewer.strike("ticks\r");
    program.expect("Timer interrupts: ");
    viewer.request(true);
    viewer.update();
    // A key that is held goes up with its viewer, so that the guest does not repeat it for ever.
    viewer.say(&[4, 1, 0, 0, 0, 0, 0, b'w']);
    program.expect("ww");
    drop(viewer);
    let mut other = Viewer::unix(&socket.path());
    other.strike("\r");
    other.strike("poweroff\r");
    program.expect("\ntrimotor> poweroff");
    assert_eq!(program.wait().code, Some(0));
    assert!(!std::path::Path::new(&socket.path()).exists(), "the socket goes with the server");
}

fn another_viewer_sees_the_same_picture() {
    let port = free_port();
    let mut program = demo(&format!("vnc=127.0.0.1:{}", port - 5900));
    let mut viewer = Viewer::tcp(port);
    viewer.look_until("text", |viewer| viewer.drawn(0, viewer.height) > 1000);
    // It wants the screen for itself, which ends ours.
    let (ours, theirs) = (viewer.look(), gvnccapture(port));
    // But for a cursor that blinks.
    let differing = theirs.differing(&ours, EXACT).len();
    assert!(differing < 200, "{differing} pixels differ");
    // It did not ask to be alone, or it did: the server is there for the next one.
    let mut next = Viewer::tcp(port);
    next.strike("poweroff\r");
    program.expect("poweroff");
    assert_eq!(program.wait().code, Some(0));
}

/// A shell that connects to a TCP port as a viewer, says this much, and takes nothing.
fn connected_shell(port: u16, says: &str) -> Child {
    let script =
        format!("exec 3<>/dev/tcp/127.0.0.1/{port}; printf '{says}' >&3; echo connected; exec sleep 1000");
    let mut child = Command::new("bash").args(["-c", &script]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = [0; 9];
    child.stdout.as_mut().unwrap().read_exact(&mut line).unwrap();
    assert_eq!(&line, b"connected");
    child
}

/// One viewer that asks and takes nothing, until it is [ended](end_stopped), after one that went away with a key down and one that
/// talked rubbish.
pub fn bad_viewers(port: u16, program: &mut Program) -> Child {
    let greets = "RFB 003.008\\n\\x01\\x01";
    // All of the screen, a thousand times: more than any buffer takes.
    let asks = "\\x03\\x00\\x00\\x00\\x00\\x00\\x02\\x80\\x01\\x90".repeat(1000);
    let stopped = connected_shell(port, &format!("{greets}{asks}"));
    kill_process(Pid::from_child(&stopped), Signal::STOP).unwrap();
    let mut killed = connected_shell(port, &format!("{greets}\\x04\\x01\\x00\\x00\\x00\\x00\\x00k"));
    // The guest repeats its key while it is there.
    program.expect("kk");
    killed.kill().unwrap();
    killed.wait().unwrap();
    let mut garbage = connected(|| TcpStream::connect(("127.0.0.1", port)));
    let mut greeting = [0; 12];
    garbage.read_exact(&mut greeting).unwrap();
    garbage.write_all(&[0xEE; 4096]).unwrap();
    // It is sent away: the end comes, or an error as not all was read.
    let mut rest = Vec::new();
    let _ = garbage.read_to_end(&mut rest);
    assert!(rest.is_empty());
    stopped
}
/// Ends a viewer that stands still.
pub fn end_stopped(mut viewer: Child) {
    kill_process(Pid::from_child(&viewer), Signal::KILL).unwrap();
    viewer.wait().unwrap();
}

fn viewers_that_behave_badly_disturb_nobody() {
    let port = free_port();
    let mut program = demo(&format!("vnc=127.0.0.1:{}", port - 5900));
    let stopped = bad_viewers(port, &mut program);
    let mut viewer = Viewer::tcp(port);
    viewer.strike("\r");
    viewer.strike("ticks\r");
    program.expect("Timer interrupts: ");
    viewer.look_until("text", |viewer| viewer.drawn(0, viewer.height) > 1000);
    // Another program's viewer, too.
    gvnccapture(port);
    let mut last = Viewer::tcp(port);
    last.strike("poweroff\r");
    program.expect("\ntrimotor> poweroff");
    assert_eq!(program.wait().code, Some(0), "the viewer that stands still holds up no end either");
    end_stopped(stopped);
}

fn a_server_that_cannot_be_is_refused() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let number = taken.local_addr().unwrap().port() - 5900;
    for (display, says) in [
        (format!("vnc=127.0.0.1:{number}"), "is taken"),
        ("vnc=0.0.0.0:77".to_owned(), "password-file=F"),
        ("vnc=no-such-host.invalid:1".to_owned(), "127.0.0.1"),
        ("vnc=127.0.0.1:1,password-file=/nonexistent".to_owned(), "/nonexistent"),
        ("vnc=unix:/nonexistent/socket".to_owned(), "/nonexistent/socket"),
        ("web=0.0.0.0:8086".to_owned(), "tunnel"),
        ("lines,none".to_owned(), "one of them only"),
        ("gtk".to_owned(), "--display window"),
        ("holodeck".to_owned(), "vnc=HOST:N"),
    ] {
        let ended = run_to_end(&["demo", "--display", &display]);
        assert_eq!(ended.code, Some(2), "{display}: {}", ended.errors);
        assert!(ended.errors.contains(says), "{display}: {}", ended.errors);
    }
    // A socket of a program that is gone is none.
    let socket = Scratch::new("left.vnc");
    drop(std::os::unix::net::UnixListener::bind(socket.path()).unwrap());
    let program = demo(&format!("vnc=unix:{}", socket.path()));
    let mut greeting = [0; 12];
    connected(|| UnixStream::connect(socket.path())).read_exact(&mut greeting).unwrap();
    drop(program);
}
