//! Pictures of the screen in files.

use crate::support::engines::ENGINE_NAMES;
use crate::support::needs::Tests;
use crate::support::program::run_to_end;
use crate::support::small_guest::Scratch;
use std::fs;

pub fn tests() -> Tests {
    Tests::new()
        .each(&ENGINE_NAMES, a_screenshot_is_the_same_each_time)
        .test(screenshots_are_taken_at_their_moments)
        .test(files_and_moments_that_cannot_be_are_named)
}

/// The demo sends each character to its serial port before it shows it: when the space comes, the prompt's sign is on the screen.
const DEMO: [&str; 5] = ["demo", "--display", "none", "--exit-on", "trimotor> "];

fn a_screenshot_is_the_same_each_time(engine: &str) {
    let of = |name: &str, more: &[&str]| {
        let file = Scratch::new(name);
        let shot = format!("{}@300ms", file.path());
        let arguments = [&DEMO[..], &["--icount", "--accel", engine, "--screenshot", &shot], more].concat();
        let ended = run_to_end(&arguments);
        assert_eq!(ended.code, Some(0), "{}", ended.errors);
        fs::read(file.path()).unwrap()
    };
    let first = of("one.png", &[]);
    assert!(first.starts_with(b"\x89PNG") && first.len() > 1000);
    assert!(first == of("two.png", &[]), "two runs show the same");
    // Who else looks makes no difference.
    let socket = Scratch::new("beside.vnc");
    let display = format!("vnc=unix:{}", socket.path());
    let file = Scratch::new("three.png");
    let shot = format!("{}@300ms", file.path());
    let arguments = [
        "demo",
        "--display",
        &display,
        "--exit-on",
        "trimotor>",
        "--icount",
        "--accel",
        engine,
        "--screenshot",
        &shot,
    ];
    assert_eq!(run_to_end(&arguments).code, Some(0));
    assert!(first == fs::read(file.path()).unwrap(), "a server is there");
}

fn screenshots_are_taken_at_their_moments() {
    let [early, at_text, last, drawn] =
        ["early.txt", "text.txt", "last.txt", "last.svg"].map(|name| Scratch::new(&format!("at-{name}")));
    let shots = [
        format!("{}@1ms", early.path()),
        format!("{}@text: 5 Interrupts", at_text.path()),
        last.path(),
        format!("{}@end", drawn.path()),
    ];
    let shots = shots.iter().flat_map(|shot| ["--screenshot", shot]);
    let ended = run_to_end(&DEMO.into_iter().chain(shots).collect::<Vec<_>>());
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    let read = |file: &Scratch| fs::read_to_string(file.path()).unwrap();
    assert!(!read(&early).contains("Interrupts"));
    let text = read(&at_text);
    assert!(text.contains(" 5 Interrupts") && !text.contains("trimotor>"), "{text}");
    assert!(read(&last).contains("trimotor>"));
    assert!(read(&drawn).contains("<svg"));
}

fn files_and_moments_that_cannot_be_are_named() {
    for (shot, says) in
        [("/nonexistent/a.png", "/nonexistent/a.png"), ("a.gif", ".png"), ("a.png@yesterday", "@text:TEXT")]
    {
        let ended = run_to_end(&["demo", "--screenshot", shot]);
        assert_eq!(ended.code, Some(2), "{}", ended.errors);
        assert!(ended.errors.contains(says), "{}", ended.errors);
    }
    let file = Scratch::new("never.png");
    let shot = format!("{}@1h", file.path());
    let ended = run_to_end(&[&DEMO[..], &["--screenshot", &shot]].concat());
    assert_eq!(ended.code, Some(1));
    assert!(ended.errors.contains("never.png: the run ended before"), "{}", ended.errors);
}
