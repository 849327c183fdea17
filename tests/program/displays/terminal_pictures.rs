//! Pictures in the terminal: what a person would see there is what the guest shows, in each format, and the mouse is the
//! guest's.

use super::drawing_guest::{self, CORNER, CORNER_COLOUR, HEIGHT, Mouse, TEXT, WIDTH, colour};
use super::kept_terminal::keep;
use super::seen::{BLOCKS, CELL, COLUMNS, PATIENCE, PIXELS, ROWS, Seen, check, half, is_near, kitty, xterm};
use crate::support::engines::ENGINE_NAMES;
use crate::support::needs::Tests;
use crate::support::program::Program;
use crate::support::small_guest::Scratch;
use std::time::Instant;
use trimotor_test_terminal::{Answers, Terminal};

pub fn tests() -> Tests {
    Tests::new()
        .each(&ENGINE_NAMES, half_blocks_are_what_the_screen_shows)
        .each(&ENGINE_NAMES, sixels_are_what_the_screen_shows)
        .each(&ENGINE_NAMES, kitty_s_images_are_what_the_screen_shows)
        .each(&ENGINE_NAMES, the_mouse_moves_a_guest_s_mouse)
        .each(&ENGINE_NAMES, the_mouse_tells_positions_to_a_guest_that_takes_them)
        .each(&ENGINE_NAMES, mode_13h_is_shown)
        .test(a_format_that_is_asked_for_is_taken)
        .test(a_zoom_follows_the_mouse)
        .test(doctor_says_what_the_terminal_can)
        .test(modes_and_sizes_leave_nothing_behind)
        .test(a_terminal_that_draws_slowly_gets_the_newest_picture_only)
        .test(the_mouse_and_a_picture_are_given_back_on_every_way_out)
        .test(what_the_terminal_says_is_no_key)
        .test(a_key_pauses_and_goes_on)
}

const TRUE_COLOUR: [(&str, &str); 1] = [("COLORTERM", "truecolor")];

fn half_blocks_are_what_the_screen_shows(engine: &str) {
    let mut seen = Seen::start(xterm("1;2"), Mouse::Moves, &["--accel", engine], &TRUE_COLOUR);
    seen.wait_for_picture(false);
    seen.program.send(" ");
    seen.wait_for_picture(true);
    let (picture, terminal) = seen.leave();
    keep(&terminal, &format!("blocks-{engine}"));
    check(&picture, BLOCKS, 1.5, |column, line| half(&terminal, column, line));
    assert!(terminal.row(ROWS - 1).contains("640x480 blocks"));
}

/// Draws, changes a corner, and compares with what the guest shows.
fn check_pixels(answers: Answers, engine: &str, near: f64) {
    let mut seen = Seen::start(answers, Mouse::Moves, &["--accel", engine], &[]);
    seen.wait_for_picture(false);
    let before = seen.terminal.pictures();
    seen.program.send("c");
    let (left, top, ..) = PIXELS;
    seen.wait_until("the corner", |terminal| {
        terminal.pixel(left, top + CORNER - 1).is_some_and(|pixel| is_near(pixel, CORNER_COLOUR, 2))
    });
    // A tile of many.
    assert!(seen.terminal.pictures() - before <= 2);
    let (picture, terminal) = seen.leave();
    keep(&terminal, &format!("pixels-{near}-{engine}"));
    check(&picture, PIXELS, near, |x, y| terminal.pixel(x, y));
    assert_eq!(terminal.pixel(left - 1, top), None);
    assert_eq!(terminal.scrolled(), 0);
}

fn sixels_are_what_the_screen_shows(engine: &str) {
    // Colours come in hundredths.
    check_pixels(xterm("62;4;22"), engine, 2.0);
}

fn kitty_s_images_are_what_the_screen_shows(engine: &str) {
    check_pixels(kitty(), engine, 0.5);
}

fn mode_13h_is_shown(engine: &str) {
    let (floppy, shot) = (drawing_guest::mode_13h(), Scratch::new("mode13h.png"));
    let (name, file) = (floppy.path(), shot.path());
    let arguments = ["run", "--accel", engine, "--memory", "16M", "--floppy", &name, "--screenshot", &file];
    let program = Program::start_on_terminal_with(&arguments, COLUMNS as u16, ROWS as u16, &[]);
    let terminal = Terminal::new(COLUMNS, ROWS).with_cells(CELL.0, CELL.1).answering(kitty());
    let mut seen = Seen { program, terminal, debug: Scratch::new("none"), shot, _image: floppy };
    // 320 by 200, each pixel twice: 80 columns and 25 rows in the middle.
    let place = (10 * CELL.0, 7 * CELL.1, 640, 400);
    seen.wait_until("all of the picture", |terminal| {
        // The last pixel's colour is 199 + 319, of which the table has white shades.
        terminal.pixel(place.0 + 639 - 2 * 256, place.1 + 399).is_some_and(|pixel| pixel != [0; 3])
            && terminal.pixel(place.0 + 639, place.1 + 399)
                == terminal.pixel(place.0 + 639 - 2 * 256, place.1 + 399)
    });
    assert!(seen.terminal.row(ROWS - 1).contains("640x400 kitty"));
    let (picture, terminal) = seen.leave();
    keep(&terminal, &format!("mode13h-{engine}"));
    check(&picture, place, 0.5, |x, y| terminal.pixel(x, y));
    let colours: std::collections::BTreeSet<_> =
        (0..640).map(|x| terminal.pixel(place.0 + x, place.1)).collect();
    assert!(colours.len() > 150, "{} colours", colours.len());
}

fn a_zoom_follows_the_mouse() {
    let mut seen = Seen::start(xterm("62"), Mouse::Moves, &[], &TRUE_COLOUR);
    seen.wait_for_picture(false);
    seen.wait_until("the mouse", |terminal| terminal.modes().contains(&1003));
    seen.program.send("\x01z");
    // A pixel of the guest's is one of the picture's: half a cell.
    let shows = |terminal: &Terminal, left: usize, top: usize| {
        let is_so = |x: usize, y: usize| {
            half(terminal, x, y).is_some_and(|shown| is_near(shown, colour(left + x, top + y, false), 0))
        };
        (0..100).all(|x| (0..78).all(|y| is_so(x, y)))
    };
    seen.wait_until("the corner", |terminal| terminal.text().contains("zoomed") && shows(terminal, 0, 0));
    // To the lower right, in as many steps as the way there takes.
    let began = Instant::now();
    while !shows(&seen.terminal, WIDTH - 100, HEIGHT - 78) {
        assert!(began.elapsed() < PATIENCE, "{}", seen.terminal.text());
        seen.program.send(&report(35, COLUMNS - 1, ROWS - 2, 'M'));
        (0..5).for_each(|_| _ = seen.look());
    }
    keep(&seen.terminal, "zoomed");
    seen.program.send("\x01z");
    seen.wait_for_picture(false);
    seen.leave();
}

fn doctor_says_what_the_terminal_can() {
    for (answers, says) in [
        (xterm("62;4;22"), "pictures as sixels of 256 colours; mouse"),
        (kitty(), "pictures by kitty's protocol; mouse by pixels"),
        (xterm("62"), "pictures as half-blocks in 256 colours; mouse"),
        (Answers::default(), "pictures as half-blocks in 256 colours (it answers nothing)"),
    ] {
        let program = Program::start_on_terminal(&["doctor"], COLUMNS as u16, ROWS as u16);
        let terminal = Terminal::new(COLUMNS, ROWS).answering(answers);
        let nothing = || Scratch::new("none");
        let mut seen = Seen { program, terminal, debug: nothing(), shot: nothing(), _image: nothing() };
        let code = seen.end();
        assert_eq!(code, Some(0));
        let text = seen.terminal.text();
        assert!(text.contains(says), "{text}");
        assert!(!text.contains("$q") && !text.contains("Gi="), "{text}");
    }
}

fn a_format_that_is_asked_for_is_taken() {
    let mut seen = Seen::start(kitty(), Mouse::Moves, &["--display", "terminal=sixel"], &[]);
    seen.wait_for_picture(false);
    assert_eq!(seen.terminal.images(), 0);
    assert!(seen.terminal.row(ROWS - 1).contains("640x480 sixel"));
    seen.leave();
    // Of a terminal that answers nothing, inside of a multiplexer too.
    let answers = Answers::default();
    let more = ["--display", "terminal=kitty"];
    let mut seen = Seen::start(answers, Mouse::Moves, &more, &[("TMUX", "/tmp/none,1,0")]);
    seen.wait_until("an image", |terminal| terminal.images() > 0);
    seen.leave();
    let mut seen = Seen::start(kitty(), Mouse::Moves, &[], &[("TMUX", "/tmp/none,1,0"), TRUE_COLOUR[0]]);
    seen.wait_for_picture(false);
    assert!(seen.terminal.row(ROWS - 1).contains("640x480 blocks"));
    // tmux would have taken commands of kitty's for a title.
    assert_eq!((seen.terminal.images(), seen.terminal.pictures()), (0, 0));
    seen.leave();
}

fn modes_and_sizes_leave_nothing_behind() {
    for (answers, variables) in
        [(xterm("62;4"), &[][..]), (kitty(), &[][..]), (xterm("62"), &TRUE_COLOUR[..])]
    {
        let mut seen = Seen::start(answers, Mouse::Moves, &[], variables);
        seen.wait_for_picture(false);
        seen.program.send("t");
        seen.wait_until("text", |terminal| terminal.row(0) == TEXT);
        let any = |terminal: &Terminal| {
            (0..COLUMNS * CELL.0)
                .any(|x| (0..ROWS * CELL.1).step_by(7).any(|y| terminal.pixel(x, y).is_some()))
        };
        assert!(!any(&seen.terminal) && seen.terminal.images() == 0, "pixels behind the text");
        assert!((1..ROWS - 1).all(|row| seen.terminal.row(row).is_empty()), "{}", seen.terminal.text());
        seen.program.send("g");
        seen.wait_for_picture(false);
        assert!(!seen.terminal.text().contains(TEXT));
        // Help lies over the picture, and leaves it as it was.
        seen.program.send("\x01h");
        seen.wait_until("help", |terminal| terminal.text().contains("leave Trimotor"));
        assert_eq!(
            seen.terminal.pixel(COLUMNS * CELL.0 / 2, ROWS * CELL.1 / 2),
            None,
            "the picture is over the help"
        );
        keep(&seen.terminal, &format!("help-{}", seen.terminal.pictures().min(1)));
        seen.program.send("x");
        seen.wait_until("the picture without help", |terminal| !terminal.text().contains("leave Trimotor"));
        seen.wait_for_picture(false);
        // Another size.
        seen.terminal = Terminal::new(60, 20).with_cells(CELL.0, CELL.1).answering(xterm("62"));
        seen.program.resize(60, 20);
        seen.wait_until("the status line", |terminal| terminal.row(19).contains("keys"));
        seen.wait_until("the picture", |terminal| {
            half(terminal, 30, 10).or(terminal.pixel(240, 100)).is_some()
        });
        seen.leave();
    }
}

fn a_terminal_that_draws_slowly_gets_the_newest_picture_only() {
    // It never says that it has drawn a picture.
    let mut seen = Seen::start(Answers { status: false, ..xterm("62;4") }, Mouse::Moves, &[], &[]);
    seen.wait_for_picture(false);
    let began = Instant::now();
    seen.program.send("r");
    let before = seen.terminal.pictures();
    seen.wait_until("a change", |terminal| terminal.pictures() >= before + 2);
    // One in three seconds is sent all the same.
    let most = 2 + began.elapsed().as_secs() as usize / 3;
    assert!(seen.terminal.pictures() - before <= most, "pictures pile up");
    // Once it says so the next one comes.
    let before = seen.terminal.pictures();
    seen.program.send("\x1b[0n");
    seen.wait_until("the next one", |terminal| terminal.pictures() > before);
    seen.leave();
}

/// The middle of a cell, as reports number it.
fn report(code: u32, column: usize, row: usize, last: char) -> String {
    format!("\x1b[<{code};{};{}{last}", column + 1, row + 1)
}

fn the_mouse_moves_a_guest_s_mouse(engine: &str) {
    let mut seen = Seen::start(xterm("62"), Mouse::Moves, &["--accel", engine], &TRUE_COLOUR);
    seen.wait_for_picture(false);
    seen.wait_until("the mouse's modes", |terminal| {
        [1003, 1006].iter().all(|mode| terminal.modes().contains(mode))
    });
    // What the mouse answered to being switched on.
    let answered = seen.wait_for_bytes(1).len();
    for (code, column, row, last) in [
        (35, 50, 20, 'M'),
        (35, 60, 25, 'M'),
        (0, 60, 25, 'M'),
        (0, 60, 25, 'm'),
        (2, 60, 25, 'M'),
        (2, 60, 25, 'm'),
    ] {
        seen.program.send(&report(code, column, row, last));
    }
    let (mut moved, mut buttons) = ((0, 0), Vec::new());
    let began = Instant::now();
    while buttons.len() < 4 {
        assert!(began.elapsed() < PATIENCE, "{moved:?} {buttons:?}");
        seen.look();
        let sent = seen.sent();
        (moved, buttons) = ((0, 0), Vec::new());
        let mut before = 0;
        for packet in sent[answered..].chunks_exact(3) {
            let side = |byte: u8, negative: bool| i32::from(byte) - if negative { 256 } else { 0 };
            moved.0 += side(packet[1], packet[0] & 0x10 != 0);
            moved.1 += side(packet[2], packet[0] & 0x20 != 0);
            if packet[0] & 7 != before {
                before = packet[0] & 7;
                buttons.push(before);
            }
        }
    }
    // Ten cells of 6.4 pixels to the right and five of 12.8 down, which a PS/2 mouse counts upwards.
    assert_eq!((moved, buttons), ((64, -64), vec![1, 0, 2, 0]));
    // The person takes it back, to select text.
    seen.program.send("\x01m");
    seen.wait_until("no mouse", |terminal| {
        !terminal.modes().contains(&1003) && !terminal.row(ROWS - 1).contains("mouse")
    });
    seen.program.send("\x01m");
    seen.wait_until("the mouse again", |terminal| terminal.modes().contains(&1003));
    seen.leave();
}

fn the_mouse_tells_positions_to_a_guest_that_takes_them(engine: &str) {
    // In pixels.
    let mut seen = Seen::start(kitty(), Mouse::Positions, &["--accel", engine], &[]);
    seen.wait_for_picture(false);
    seen.wait_until("pixels", |terminal| terminal.modes().contains(&1016));
    let (left, top, ..) = PIXELS;
    seen.program.send(&format!("\x1b[<0;{};{}M", left + 320, top + 240));
    let press = seen.wait_for_bytes(32);
    seen.program.send(&format!("\x1b[<0;{};{}m", left + 640, top));
    seen.program.send(&format!("\x1b[<65;{};{}M", left + 639, top));
    let began = Instant::now();
    let mut packets = Vec::new();
    while packets.last().is_none_or(|packet: &[u32; 4]| packet[3] == 0) {
        assert!(began.elapsed() < PATIENCE, "{packets:x?}");
        seen.look();
        packets = drawing_guest::packets(&seen.debug);
    }
    let near = |word: u32, meant: u32| word.abs_diff(meant) < 0x100;
    assert!(press.len() >= 32);
    let middle = packets.iter().find(|packet| packet[0] & 0x20 != 0).expect("a press");
    assert!(near(middle[1], 0x8000) && near(middle[2], 0x8000), "{packets:x?}");
    let last = packets.last().unwrap();
    assert!(last[0] & 0x20 == 0 && near(last[1], 0xFFFF) && near(last[2], 0) && last[3] == 1, "{packets:x?}");
    seen.leave();
}

fn the_mouse_and_a_picture_are_given_back_on_every_way_out() {
    use rustix::process::Signal;
    for signal in [Signal::TERM, Signal::HUP] {
        let mut seen = Seen::start(kitty(), Mouse::Moves, &[], &[]);
        seen.wait_for_picture(false);
        seen.wait_until("the mouse", |terminal| terminal.modes().contains(&1003));
        seen.program.signal(signal);
        assert!(matches!(seen.end(), Some(143 | 129)));
    }
    // The serial port takes the terminal's place.
    let mut seen = Seen::start(kitty(), Mouse::Moves, &[], &[]);
    seen.wait_for_picture(false);
    seen.program.send("\x01s");
    seen.wait_until("the serial port", |terminal| terminal.text().contains("[serial port]"));
    assert_eq!(seen.terminal.images(), 0);
    assert!(!seen.terminal.modes().contains(&1003));
    seen.program.send("\x01s");
    seen.wait_for_picture(false);
    seen.leave();
}

fn what_the_terminal_says_is_no_key() {
    let mut seen = Seen::start(xterm("62"), Mouse::Moves, &[], &TRUE_COLOUR);
    seen.wait_for_picture(false);
    seen.wait_until("the mouse", |terminal| terminal.modes().contains(&1003));
    // Were any of it typed, the spaces would change the colours.
    for said in [
        "\x1b[<35; 1;1M",
        "\x1b[?62; c",
        "\x1b_G ;   \x1b\\",
        "\x1bP1$r \x1b\\",
        "\x1b[<3 5;1",
        "\x1b_G      ",
    ] {
        seen.program.send(said);
    }
    // Help is opened by a key and closed by the next one, not by a mouse.
    seen.program.send("\x1b\\\x01h");
    seen.wait_until("help", |terminal| terminal.text().contains("leave Trimotor"));
    seen.program.send(&report(35, 3, 3, 'M'));
    seen.program.send("\x01t");
    seen.wait_until("no status line", |terminal| !terminal.row(ROWS - 1).contains("Ctrl-A"));
    assert!(seen.terminal.text().contains("leave Trimotor"));
    seen.program.send("\x01t");
    seen.program.send("x");
    seen.wait_for_picture(false);
    seen.leave();
}

fn a_key_pauses_and_goes_on() {
    let mut seen = Seen::start(xterm("62"), Mouse::Moves, &[], &TRUE_COLOUR);
    seen.wait_for_picture(false);
    seen.program.send("\x01p");
    seen.wait_until("paused", |terminal| terminal.row(ROWS - 1).contains("paused"));
    // What is typed meanwhile is taken afterwards.
    seen.program.send(" ");
    seen.program.send("\x01p");
    seen.wait_until("running", |terminal| !terminal.row(ROWS - 1).contains("paused"));
    seen.wait_for_picture(true);
    seen.leave();
}
