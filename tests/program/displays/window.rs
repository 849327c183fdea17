//! The window on an X server: what it shows, how it begins and how it ends, and who is beside it.

use super::picture::Picture;
use super::viewer::Viewer;
use super::vnc::{bad_viewers, end_stopped};
use super::xserver::{XServer, XVFB, authority, end_server, start_server, wait_for};
use crate::support::engines::ENGINE_NAMES;
use crate::support::guests::{DEBIAN, Guest};
use crate::support::needs::{Tests, free_port};
use crate::support::program::Program;
use crate::support::small_guest::Scratch;
use rustix::process::Signal;

pub fn tests() -> Tests {
    Tests::new()
        .test(what_is_no_desktop_is_named)
        .test_needing(&[XVFB], a_server_that_lets_nobody_in_is_named)
        .test_needing(&[XVFB], the_window_is_chosen_where_nothing_else_can_be_drawn_on)
        .test_needing(&[XVFB], the_window_has_the_guest_s_picture_in_each_size)
        .test_needing(&[XVFB], closing_the_window_ends_the_run)
        .test_needing(&[XVFB], a_guest_goes_on_without_its_window)
        .test_needing(&[XVFB], a_server_that_stands_still_holds_up_nobody)
        .test_needing(&[XVFB], bad_viewers_and_a_window_disturb_nobody)
}

pub fn linux_tests() -> Tests {
    Tests::needing(&[XVFB, DEBIAN]).each(&ENGINE_NAMES, what_is_typed_in_the_window_reaches_linux)
}

/// A program with these displays, at the demo's prompt.
fn demo(x: &XServer, more: &[&str]) -> Program {
    let arguments = [&["demo"], more].concat();
    let mut program = Program::start_with(&arguments, &x.variables());
    program.expect("trimotor>");
    program
}

/// Whether the demo's prompt is in a picture's text.
fn has_prompt(text: &[String]) -> bool {
    text.iter().any(|line| line.starts_with("trimotor>"))
}

/// The messages of a run that is refused.
#[track_caller]
fn refused(variables: &[(&str, &str)]) -> String {
    let mut program = Program::start_with(&["demo", "--display", "window"], variables);
    program.close_input();
    let ended = program.wait();
    assert_eq!(ended.code, Some(2), "{}", ended.errors);
    assert_eq!(ended.errors.trim_end().lines().count(), 1, "{}", ended.errors);
    ended.errors
}

fn what_is_no_desktop_is_named() {
    let runtime = ("XDG_RUNTIME_DIR", "/nonexistent");
    for (variables, says) in [
        (&[][..], "neither DISPLAY nor WAYLAND_DISPLAY"),
        (&[("DISPLAY", ":54321")], "no X server answers at DISPLAY=:54321"),
        (&[("DISPLAY", "rubbish")], "is no name of an X server"),
        (&[("WAYLAND_DISPLAY", "wayland-7"), runtime], "WAYLAND_DISPLAY=wayland-7"),
        (&[("DISPLAY", ":54321"), ("WAYLAND_DISPLAY", "wayland-7"), runtime], "XDG_RUNTIME_DIR"),
    ] {
        let message = refused(variables);
        assert!(message.contains(says) && message.contains("--display web"), "{variables:?}: {message}");
    }
    // A doctor finds the same, and a run without --display goes on without.
    let mut program = Program::start_with(&["doctor"], &[("DISPLAY", ":54321")]);
    program.expect("  window    no: no X server answers at DISPLAY=:54321");
    assert_eq!(program.wait().code, Some(0));
    let mut program = Program::start_with(&["demo"], &[("DISPLAY", ":54321")]);
    program.expect("trimotor>");
    program.send("poweroff\r");
    let ended = program.wait();
    assert_eq!((ended.code, &*ended.errors), (Some(0), ""));
}

fn a_server_that_lets_nobody_in_is_named() {
    let file = Scratch::new("server.authority");
    // The server wants one cookie, and the program has another.
    let right = authority("right", ":0", "00112233445566778899aabbccddeeff");
    std::fs::copy(right.path(), file.path()).unwrap();
    let (mut server, display) = start_server(&["-auth", &file.path()]);
    let wrong = authority("wrong", &display, "ffeeddccbbaa99887766554433221100");
    let message = refused(&[("DISPLAY", &display), ("XAUTHORITY", &wrong.path())]);
    assert!(message.contains("lets Trimotor not in") && message.contains("XAUTHORITY"), "{message}");
    let message = refused(&[("DISPLAY", &display), ("XAUTHORITY", "/nonexistent")]);
    assert!(message.contains("XAUTHORITY"), "{message}");
    let right = authority("right", &display, "00112233445566778899aabbccddeeff");
    let variables = [("DISPLAY", &*display), ("XAUTHORITY", &*right.path())];
    let mut program = Program::start_with(&["doctor"], &variables);
    program.expect(&format!("  window    yes: on this machine's screen (X11, DISPLAY={display})"));
    program.wait();
    end_server(&mut server);
}

fn the_window_is_chosen_where_nothing_else_can_be_drawn_on() {
    let x = XServer::start();
    // With pipes.
    for arguments in [&["demo"][..], &["demo", "--display", "auto"]] {
        let mut program = Program::start_with(arguments, &x.variables());
        program.expect("trimotor>");
        let window = x.window();
        assert!(x.title(window).starts_with("Trimotor - demo ("));
        program.send("poweroff\r");
        let ended = program.wait();
        assert_eq!(ended.code, Some(0), "{}", ended.errors);
        assert!(ended.errors.contains("window") && ended.errors.contains("no terminal"), "{}", ended.errors);
    }
    // A terminal that can be drawn on comes first, one that cannot does not.
    let terminal = |kind| {
        let variables = [("TERM", kind), ("DISPLAY", &*x.display)];
        Program::start_on_terminal_with(&["demo", "--display", "auto"], 80, 24, &variables)
    };
    let mut program = terminal("xterm-256color");
    program.expect("--display auto: terminal, as");
    drop(program);
    let mut program = terminal("dumb");
    program.expect("--display auto: window, as");
    program.expect("trimotor>");
    program.send("poweroff\r");
    assert_eq!(program.wait_on_terminal(), Some(0));
}

fn the_window_has_the_guest_s_picture_in_each_size() {
    let x = XServer::start();
    let file = Scratch::new("window.png");
    let shot = format!("{}@end", file.path());
    let mut program = demo(&x, &["--display", "window,scale=2", "--screenshot", &shot]);
    let window = x.window();
    // Each pixel is two wide and high. Between two looks the cursor may blink.
    let is_doubled =
        |picture: &Picture| has_prompt(&picture.every(2).lines()) && *picture == picture.every(2).scaled(2);
    wait_for("picture twice as large", || {
        (x.size(window) == (1440, 800)).then(|| x.picture(window)).filter(is_doubled)
    });
    x.wait_for_title(window, " MIPS");
    // Another program's window was over it, or the window manager's: what was there is drawn anew.
    x.xdotool(&["windowunmap", "--sync", &window.to_string()]);
    x.xdotool(&["windowmap", "--sync", &window.to_string()]);
    wait_for("picture drawn anew", || Some(x.picture(window)).filter(is_doubled));
    // A person makes it smaller: black is around the picture, and a smaller one shows all of it.
    let resize = |width: usize, height: usize| {
        x.xdotool(&["windowsize", &window.to_string(), &width.to_string(), &height.to_string()]);
        wait_for("a picture of that size", || {
            let picture = x.picture(window);
            let drawn = picture.pixels.iter().filter(|pixel| **pixel != 0).count();
            ((picture.width, picture.height) == (width, height) && drawn > 1000).then_some(picture)
        })
    };
    let framed = resize(1000, 500);
    for (y, line) in framed.pixels.chunks(1000).enumerate() {
        let around = line[..140].iter().chain(&line[860..]);
        let all = if (50..450).contains(&y) { around.copied().collect() } else { line.to_vec() };
        assert!(all.iter().all(|pixel| *pixel == 0), "line {y} has something beside the picture");
    }
    resize(360, 200);
    resize(1440, 800);
    // The cursor blinks: which of its two looks the end has is not known.
    program.send("poweroff\r");
    assert_eq!(program.wait().code, Some(0));
    let end = Picture::from_png(&file.0);
    assert!(has_prompt(&end.lines()));
}

fn closing_the_window_ends_the_run() {
    let x = XServer::start();
    let program = demo(&x, &["--display", "window"]);
    let window = x.window();
    let picture = x.wait_for_text(window, "prompt", has_prompt);
    assert_eq!((picture.width, picture.height), (720, 400));
    x.close(window);
    let ended = program.wait();
    assert_eq!((ended.code, &*ended.errors), (Some(0), ""));
    // The chord does the same, and what --expect waited for did not come.
    let program = demo(&x, &["--display", "window", "--expect", "never"]);
    let window = x.window();
    x.point_at(window, 100, 100);
    x.xdotool(&["key", "ctrl+alt+q"]);
    assert_eq!(program.wait().code, Some(6));
}

fn a_guest_goes_on_without_its_window() {
    let x = XServer::start();
    let mut program = demo(&x, &["--display", "window"]);
    x.wait_for_text(x.window(), "prompt", has_prompt);
    x.signal(Signal::KILL);
    program.expect_message("the window is gone");
    program.send("ticks\r");
    program.expect("Timer interrupts: ");
    program.send("poweroff\r");
    let ended = program.wait();
    assert_eq!(ended.code, Some(0));
    // One message, which says how to end a run that has no window any more.
    assert_eq!(ended.errors.lines().count(), 1, "{}", ended.errors);
    assert!(
        ended.errors.contains("the window is gone") && ended.errors.contains("`kill "),
        "{}",
        ended.errors
    );
    // A window that another program destroyed.
    let x = XServer::start();
    let mut program = demo(&x, &["--display", "window"]);
    let window = x.window();
    x.xdotool(&["windowkill", &window.to_string()]);
    program.expect_message("the window is gone");
    program.send("ticks\r");
    program.expect("Timer interrupts: ");
    program.send("poweroff\r");
    let ended = program.wait();
    assert_eq!((ended.code, ended.errors.lines().count()), (Some(0), 1), "{}", ended.errors);
}

fn a_server_that_stands_still_holds_up_nobody() {
    let x = XServer::start();
    let mut program = demo(&x, &["--display", "window"]);
    x.wait_for_text(x.window(), "prompt", has_prompt);
    x.signal(Signal::STOP);
    for _ in 0..30 {
        // More lines than the screen has: each scrolls all of it.
        program.send("help\r");
        program.expect("this list");
    }
    program.send("poweroff\r");
    let ended = program.wait();
    assert_eq!((ended.code, &*ended.errors), (Some(0), ""));
    // One that does not answer at the beginning.
    let message = refused(&x.variables());
    assert!(message.contains("does not answer"), "{message}");
}

/// A window and two viewers, with others beside them that stop, go away with a key down, or talk rubbish.
fn bad_viewers_and_a_window_disturb_nobody() {
    let x = XServer::start();
    let port = free_port();
    let mut program = demo(&x, &["--display", &format!("window,vnc=127.0.0.1:{}", port - 5900)]);
    let window = x.window();
    x.point_at(window, 100, 100);
    let [mut one, mut two] = [(); 2].map(|()| Viewer::tcp(port));
    let stopped = bad_viewers(port, &mut program);
    // The three of them, in turn; each sees what the others typed.
    x.xdotool(&["key", "Return"]);
    x.type_line("ticks");
    program.expect("Timer interrupts: ");
    one.strike("Xyz\r");
    program.expect("Xyz");
    two.strike("poweR");
    x.wait_for_text(window, "what was typed by VNC", |text| {
        let has = |wanted: &str| text.iter().any(|line| line.contains(wanted));
        has("trimotor> Xyz") && has("trimotor> poweR")
    });
    for viewer in [&mut one, &mut two] {
        viewer.look_until("text", |viewer| viewer.drawn(0, viewer.height) > 1000);
    }
    x.xdotool(&["key", "BackSpace"]);
    x.type_line("roff");
    assert_eq!(program.wait().code, Some(0));
    end_stopped(stopped);
}

fn what_is_typed_in_the_window_reaches_linux(engine: &str) {
    let x = XServer::start();
    let file = Scratch::new("linux.png");
    let shot = format!("{}@end", file.path());
    let (kernel, initrd) = (Guest::FullKernel.path(), Guest::Shell.path());
    let boots = ["--kernel", &kernel, "--initrd", &initrd, "--append", "console=ttyS0 console=tty0"];
    let fixed = ["run", "--accel", engine, "--memory", "512M", "--display", "window", "--screenshot", &shot];
    let mut program = Program::start_with(&[&fixed[..], &boots].concat(), &x.variables());
    let window = x.window();
    assert!(x.title(window).starts_with(&format!("Trimotor - vmlinuz ({engine}) - running")));
    let is_prompt = |line: &String| line.starts_with("/root #");
    x.wait_for_text(window, "shell", |text| text.iter().any(is_prompt));
    x.point_at(window, 300, 300);
    // Shift, and characters at all ends of the keyboard.
    x.type_line("clear; printf '\\033[?25l'; echo \"{Window}-$((6*7))@~\" | tee /dev/ttyS0");
    program.expect("{Window}-42@~");
    let shown = x.wait_for_text(window, "next prompt", |text| {
        text.first().is_some_and(|line| line == "{Window}-42@~") && text.get(1).is_some_and(is_prompt)
    });
    x.xdotool(&["key", "ctrl+alt+q"]);
    let ended = program.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    shown.assert_same(&Picture::from_png(&file.0));
}
