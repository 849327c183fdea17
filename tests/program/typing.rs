//! `--type`, `--keys` and `--keymap`: scripts at the keyboard.

use crate::images::documents::commands;
use crate::support::engines::ENGINE_NAMES;
use crate::support::needs::{Need, Tests, program};
use crate::support::program::{executable, run_to_end};
use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use trimotor_devices::i8042::keymap::{KEYS, Layout};

pub fn tests() -> Tests {
    Tests::new()
        .test(commands_of_the_document_about_typing_work)
        .each(&ENGINE_NAMES, two_counted_runs_with_a_script_are_the_same)
        .test(what_cannot_be_typed_is_told)
        .test_needing(&[XKB], layouts_are_those_of_xkeyboard_config)
}

/// The keyboard layouts of X, and the names of its characters.
const XKB: Need = Need {
    name: "xkb",
    check: || {
        program("xkbcli", "libxkbcommon-tools")?;
        match Path::new(KEYSYMS).exists() {
            true => Ok(()),
            false => Err(format!("{KEYSYMS} is not installed (Debian's package x11proto-dev)")),
        }
    },
};
const KEYSYMS: &str = "/usr/include/X11/keysymdef.h";

fn commands_of_the_document_about_typing_work() {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/typing.md");
    let commands = commands(&fs::read_to_string(document).expect("the document"));
    assert!(commands.len() >= 5, "{commands:?}");
    let folder = executable().parent().unwrap().display().to_string();
    let path = format!("{folder}:{}", std::env::var("PATH").unwrap_or_default());
    for command in commands {
        let output = Command::new("sh").args(["-c", &command]).env("PATH", &path).output().unwrap();
        let (said, errors) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "`{command}`: {}: {errors}\n{said}", output.status);
    }
}

/// The demo's prompt is on COM1 and on the screen.
fn two_counted_runs_with_a_script_are_the_same(engine: &str) {
    let run = || {
        run_to_end(&[
            "demo",
            "--accel",
            engine,
            "--icount",
            "--nographic",
            "--stats=all",
            "--keymap",
            "uk",
            "--type",
            "cpuid 1\\n@1.25",
            "--keys",
            "h e l p ret@text:\"trimotor> \"",
            "--type",
            "ticks\\n@text:\"this list\"",
            "--type",
            "poweroff\\n@text:\"Timer interrupts\"",
        ])
    };
    let (first, second) = (run(), run());
    assert_eq!(first.code, Some(0), "{first:?}");
    assert_eq!(first.output, second.output);
    let instructions = |errors: &str| -> Vec<String> {
        errors.lines().filter(|line| line.contains("instructions")).map(str::to_owned).collect()
    };
    let counted = instructions(&first.errors);
    assert!(!counted.is_empty(), "{}", first.errors);
    // Speeds are those of the host.
    let count =
        |lines: &[String]| lines.first().map(|line| line.split(" instructions").next().map(str::to_owned));
    assert_eq!(count(&counted), count(&instructions(&second.errors)));
    for text in ["help", "this list", "Timer interrupts"] {
        assert!(first.output.contains(text), "no {text:?} in {}", first.output);
    }
}

fn what_cannot_be_typed_is_told() {
    for (arguments, word) in [
        (["--type", "x"], "@2.5"),
        (["--type", "ß@1"], "--keymap"),
        (["--type", "\\q@1"], "no escape"),
        (["--keys", "ctrl-alt-dell@1"], "dell"),
        (["--keymap", "qwerty"], "de-ch"),
        (["--without", "rtc"], "vmmouse"),
    ] {
        let ended = run_to_end(&[&["demo"][..], &arguments].concat());
        assert_eq!(ended.code, Some(2), "{arguments:?}: {ended:?}");
        assert!(ended.errors.contains(word), "no {word:?} in {}", ended.errors);
    }
}

/// Names of characters in X, from lines like `#define XK_ssharp 0x00df /* U+00DF ... */`.
fn keysyms() -> HashMap<String, char> {
    let text = fs::read_to_string(KEYSYMS).unwrap();
    let line = |line: &str| {
        let name = line.strip_prefix("#define XK_")?.split_whitespace().next()?;
        let digits = line.split_once("U+")?.1;
        let digits = digits.split(|c: char| !c.is_ascii_hexdigit()).next()?;
        Some((name.to_owned(), char::from_u32(u32::from_str_radix(digits, 16).ok()?)?))
    };
    text.lines().filter_map(line).collect()
}

/// The dead keys that layouts here have.
const DEAD: [(&str, char); 13] = [
    ("dead_grave", '\u{300}'),
    ("dead_acute", '\u{301}'),
    ("dead_circumflex", '\u{302}'),
    ("dead_tilde", '\u{303}'),
    ("dead_macron", '\u{304}'),
    ("dead_breve", '\u{306}'),
    ("dead_abovedot", '\u{307}'),
    ("dead_diaeresis", '\u{308}'),
    ("dead_abovering", '\u{30A}'),
    ("dead_doubleacute", '\u{30B}'),
    ("dead_caron", '\u{30C}'),
    ("dead_cedilla", '\u{327}'),
    ("dead_ogonek", '\u{328}'),
];

fn character(keysyms: &HashMap<String, char>, name: &str) -> Option<char> {
    if let Some((_, dead)) = DEAD.iter().find(|(dead, _)| *dead == name) {
        return Some(*dead);
    }
    let hex = name.strip_prefix('U').filter(|hex| hex.len() >= 4);
    hex.and_then(|hex| char::from_u32(u32::from_str_radix(hex, 16).ok()?)).or_else(|| {
        let mut letters = name.chars();
        match (letters.next(), letters.next()) {
            (Some(letter), None) => Some(letter),
            _ => keysyms.get(name).copied(),
        }
    })
}

/// The keys of [`KEYS`] as X calls them.
fn x_names() -> Vec<String> {
    let row =
        |letters: &str, count: u32| (1..=count).map(|n| format!("A{letters}{n:02}")).collect::<Vec<_>>();
    let one = |name: &str| vec![name.to_owned()];
    let rows =
        [one("TLDE"), row("E", 12), row("D", 12), row("C", 11), one("BKSL"), one("LSGT"), row("B", 10)];
    rows.concat().into_iter().chain(["AE13".to_owned(), "AB11".to_owned()]).collect()
}

fn layouts_are_those_of_xkeyboard_config() {
    let keysyms = keysyms();
    let names = x_names();
    assert_eq!(names.len(), KEYS.len());
    let mut differences = Vec::new();
    let mut compared = 0;
    for layout in Layout::all() {
        let (x_layout, variant, model) = match layout.name() {
            "uk" => ("gb", "", "pc105"),
            "de-ch" => ("ch", "", "pc105"),
            "fr-ch" => ("ch", "fr", "pc105"),
            "fr-be" => ("be", "", "pc105"),
            "br" => ("br", "", "abnt2"),
            "jp" => ("jp", "", "jp106"),
            name => (name, "", "pc105"),
        };
        let output = Command::new("xkbcli")
            .args(["compile-keymap", "--layout", x_layout, "--variant", variant, "--model", model])
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        for (key, name) in names.iter().enumerate() {
            // Boards of these countries have no such key.
            let absent = name == "LSGT" && ["us", "pl", "jp"].contains(&layout.name());
            let symbols = if absent { Vec::new() } else { symbols(&text, name) };
            for row in 0..4 {
                let theirs = symbols.get(row).and_then(|name| character(&keysyms, name));
                let ours = layout.character(key, row);
                compared += usize::from(ours.is_some());
                if theirs != ours {
                    differences.push(format!("{layout} {name} {row}: {ours:?}, in X {theirs:?} {symbols:?}"));
                }
            }
        }
    }
    assert!(compared > 2000, "{compared}");
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// What a key has in a keymap that was compiled: `key <AE01> { [ 1, exclam ] };`, with its type before the list where that
/// is no usual one.
fn symbols(keymap: &str, key: &str) -> Vec<String> {
    let Some((_, rest)) = keymap.split_once(&format!("key <{key}>")) else { return Vec::new() };
    let body = rest.split_once("};").map_or(rest, |(body, _)| body);
    let list = body.rsplit_once('[').and_then(|(_, list)| list.split_once(']')).map_or("", |(list, _)| list);
    list.split(',').map(|name| name.trim().to_owned()).collect()
}
