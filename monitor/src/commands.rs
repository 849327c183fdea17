//! The commands that a monitor has beside the machine's own: what concerns the host, the keyboard's names, and the monitor itself.

use crate::host::PictureFormat;
use std::path::PathBuf;
use std::time::Duration;
use trimotor_devices::i8042::KeyCode;
use trimotor_devices::pointer::PointerButton;
use trimotor_machine::Command;
use trimotor_machine::control::definition::{find, split_words};
use trimotor_machine::control::{DEFINITIONS, Definition, ParseError, Summary, Words};

/// Keys that go down together, at most: as many as a hand has fingers, and the other one.
const MOST_KEYS: usize = 16;
/// The longest time that keys are held.
const LONGEST_HOLD: Duration = Duration::from_secs(60);

/// A command that the monitor carries out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Own {
    /// All commands, or one of them.
    Help(Option<String>),
    /// The topics of `info`.
    Topics,
    /// The vCPU that commands concern from now on.
    Vcpu(usize),
    /// Keys go down together, and up again after this time.
    SendKeys(Vec<KeyCode>, Duration),
    /// The mouse moves, and its wheel turns.
    MoveMouse {
        /// To the right.
        dx: i32,
        /// Down.
        dy: i32,
        /// Notches of the wheel, away from the user.
        wheel: i32,
    },
    /// These buttons of the mouse are down, and no others.
    Buttons(Vec<PointerButton>),
    /// The screen into a file.
    Screendump(PathBuf, PictureFormat),
    /// The machine into a file.
    Save {
        /// The file.
        file: PathBuf,
        /// Clones can map its memory.
        mapped: bool,
    },
    /// What a drive's image has itself goes into the one below; all drives', where none is named.
    Commit(Option<String>),
    /// Another medium into a drive.
    Change {
        /// The drive.
        drive: String,
        /// The file.
        file: PathBuf,
        /// Its format.
        format: Option<String>,
        /// Whether it is written.
        read_only: Option<bool>,
        /// Even where the guest has locked the door.
        force: bool,
    },
    /// No medium in a drive.
    Eject {
        /// The drive.
        drive: String,
        /// Even where the guest has locked the door.
        force: bool,
    },
    /// A port of the host leads to the guest.
    AddForward {
        /// The network; the only one, where none is named.
        network: Option<String>,
        /// From where to where.
        forward: String,
    },
    /// It does no longer.
    RemoveForward {
        /// The network; the only one, where none is named.
        network: Option<String>,
        /// From where.
        place: String,
    },
    /// The user-mode networks.
    UserNetworks,
    /// Where the guest can be seen.
    Servers,
    /// What this is.
    Version,
}

/// What a line asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Order {
    /// Of the machine.
    Machine(Command),
    /// Of the monitor.
    Own(Own),
}

/// All of them.
pub static OWN_DEFINITIONS: &[Definition<Own>] = &[
    Definition::new(
        "help",
        "[COMMAND]",
        "what commands there are, or how one is used",
        &[Words::Command],
        |arguments| match arguments {
            [] => Ok(Own::Help(None)),
            words => Ok(Own::Help(Some(words.join(" ")))),
        },
    )
    .or(&["?"]),
    Definition::new(
        "info",
        "[TOPIC]",
        "what there is to know of the machine, or one of its topics",
        &[],
        topics,
    ),
    Definition::new("cpu", "NUMBER", "the vCPU that x, print and info concern", &[Words::Any], |arguments| {
        match arguments {
            [number] => Ok(Own::Vcpu(parsed(number, "the number of a vCPU")?)),
            _ => Err("the number of a vCPU (`info cpus` lists them)".to_owned()),
        }
    }),
    Definition::new(
        "sendkey",
        "KEYS [MILLISECONDS]",
        "press keys together: sendkey ctrl-alt-delete; they are held so long",
        &[Words::Keys],
        send_keys,
    ),
    Definition::new(
        "mouse_move",
        "DX DY [DZ]",
        "move the mouse to the right and down, and turn its wheel up",
        &[],
        |arguments| {
            let number = |text: &str| parsed(text, "a number of steps");
            match arguments {
                [dx, dy] => Ok(Own::MoveMouse { dx: number(dx)?, dy: number(dy)?, wheel: 0 }),
                [dx, dy, dz] => Ok(Own::MoveMouse { dx: number(dx)?, dy: number(dy)?, wheel: number(dz)? }),
                _ => Err("two numbers, or three, as in mouse_move 10 -5".to_owned()),
            }
        },
    ),
    Definition::new(
        "mouse_button",
        "STATE",
        "hold these buttons of the mouse, the sum of 1 left, 2 right, 4 middle; 0 lets go",
        &[],
        buttons,
    ),
    Definition::new(
        "screendump",
        "[-f FORMAT] FILE",
        "the screen into a file: png, ppm, or of text modes txt, svg; by the name's end, else ppm",
        &[Words::File],
        screendump,
    ),
    Definition::new(
        "save",
        "[-m] FILE",
        "put the machine as it is now into a file: trimotor run --restore FILE goes on from there; -m: clones share its memory",
        &[Words::File],
        |arguments| match flag(arguments, "-m") {
            (mapped, [file]) => Ok(Own::Save { file: file.into(), mapped }),
            _ => Err("the name of a file, as in save booted.machine".to_owned()),
        },
    ),
    Definition::new(
        "commit",
        "DRIVE|all",
        "write what a drive's image (qcow2) has itself into the image that it stands on",
        &[Words::OneOf(&["all"])],
        |arguments| match arguments {
            ["all"] => Ok(Own::Commit(None)),
            [drive] => Ok(Own::Commit(Some((*drive).to_owned()))),
            _ => Err("a drive (`info block` lists them), or all".to_owned()),
        },
    ),
    Definition::new(
        "change",
        "[-f] DRIVE FILE [FORMAT [read-only|read-write]]",
        "put a medium into a drive; -f: even where the guest has locked its door",
        &[Words::Drive, Words::File, Words::Any, Words::OneOf(&["read-only", "read-write"])],
        change,
    ),
    Definition::new(
        "eject",
        "[-f] DRIVE",
        "take the medium out of a drive; -f: even where the guest has locked its door",
        &[Words::Drive],
        |arguments| {
            let (force, rest) = flag(arguments, "-f");
            match rest {
                [drive] => Ok(Own::Eject { drive: (*drive).to_owned(), force }),
                _ => Err("a drive (`info block` lists them), perhaps -f before it".to_owned()),
            }
        },
    ),
    Definition::new(
        "hostfwd_add",
        "[NETWORK] tcp|udp:[HOSTADDR]:HOSTPORT-[GUESTADDR]:GUESTPORT",
        "have a port of the host lead to the guest: hostfwd_add tcp:127.0.0.1:2222-:22",
        &[Words::Network],
        |arguments| {
            let (network, forward) = in_network(arguments, "tcp:127.0.0.1:2222-:22")?;
            Ok(Own::AddForward { network, forward })
        },
    ),
    Definition::new(
        "hostfwd_remove",
        "[NETWORK] tcp|udp:[HOSTADDR]:HOSTPORT",
        "end a forward; connections that came by it stay",
        &[Words::Network],
        |arguments| {
            let (network, place) = in_network(arguments, "tcp:127.0.0.1:2222")?;
            Ok(Own::RemoveForward { network, place })
        },
    ),
    Definition::plain("info usernet", "the user-mode networks: connections, counts, forwards", |_| {
        Ok(Own::UserNetworks)
    }),
    Definition::plain("info vnc", "where the guest can be seen and used from elsewhere", |_| {
        Ok(Own::Servers)
    }),
    Definition::plain("info version", "what this program is", |_| Ok(Own::Version)),
];

/// What people see of all commands, the machine's and these, by their names.
pub fn summaries() -> Vec<Summary> {
    let machines = DEFINITIONS.iter().map(|definition| definition.summary);
    let mut all: Vec<_> =
        machines.chain(OWN_DEFINITIONS.iter().map(|definition| definition.summary)).collect();
    all.sort_unstable_by_key(|summary| summary.name);
    all
}

/// Reads a line; nothing where it is empty.
///
/// # Errors
/// Says what would be right.
pub fn parse(line: &str) -> Result<Option<Order>, ParseError> {
    let words = split_words(line)?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    if words.is_empty() {
        return Ok(None);
    }
    if let Some(found) = find(DEFINITIONS, &words) {
        return found.map(|command| Some(Order::Machine(command)));
    }
    let unknown = |words: &[&str]| {
        let all = summaries();
        ParseError::unknown(words, all.iter().map(|summary| summary.name))
    };
    match find(OWN_DEFINITIONS, &words) {
        // A topic that neither table has.
        Some(Ok(Own::Topics)) if words.len() > 1 => Err(unknown(&words)),
        Some(found) => found.map(|own| Some(Order::Own(own))),
        None => Err(unknown(&words)),
    }
}

fn topics(_: &[&str]) -> Result<Own, String> {
    Ok(Own::Topics)
}

fn parsed<T: std::str::FromStr>(text: &str, what: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text:?} is not {what}"))
}

/// Whether the arguments begin with this flag, and the others.
fn flag<'a, 'b>(arguments: &'a [&'b str], flag: &str) -> (bool, &'a [&'b str]) {
    match arguments.split_first() {
        Some((first, rest)) if *first == flag => (true, rest),
        _ => (false, arguments),
    }
}

fn in_network(arguments: &[&str], example: &str) -> Result<(Option<String>, String), String> {
    match arguments {
        [one] => Ok((None, (*one).to_owned())),
        [network, one] => Ok((Some((*network).to_owned()), (*one).to_owned())),
        _ => Err(format!("a network, if there are several, and a port, as in {example}")),
    }
}

fn send_keys(arguments: &[&str]) -> Result<Own, String> {
    let (keys, hold) = match arguments {
        [keys] => (keys, Duration::ZERO),
        [keys, hold] => (keys, Duration::from_millis(parsed(hold, "a number of milliseconds")?)),
        _ => return Err("keys with - between them, as in ctrl-alt-delete, f1, shift-a".to_owned()),
    };
    if hold > LONGEST_HOLD {
        return Err(format!("keys are held for {} s at most", LONGEST_HOLD.as_secs()));
    }
    let keys = KeyCode::from_chord(keys).map_err(|error| error.to_string())?;
    if keys.len() > MOST_KEYS {
        return Err(format!("{} keys at a time: {MOST_KEYS} at most", keys.len()));
    }
    Ok(Own::SendKeys(keys, hold))
}

fn buttons(arguments: &[&str]) -> Result<Own, String> {
    /// As QEMU numbers them.
    const BITS: [(u8, PointerButton); 3] =
        [(1, PointerButton::Left), (2, PointerButton::Right), (4, PointerButton::Middle)];
    let [state] = arguments else { return Err("a sum of 1 left, 2 right, 4 middle".to_owned()) };
    let state = state.parse::<u8>().ok().filter(|state| *state <= 7);
    let state = state.ok_or("a sum of 1 left, 2 right, 4 middle: 0 to 7")?;
    Ok(Own::Buttons(BITS.into_iter().filter(|(bit, _)| state & bit != 0).map(|(_, button)| button).collect()))
}

fn screendump(arguments: &[&str]) -> Result<Own, String> {
    let (format, file) = match arguments {
        ["-f", format, file] | [file, "-f", format] => {
            let known = || format!("{format:?} is no format: {}", PictureFormat::NAMES.join(", "));
            (Some(PictureFormat::named(format).ok_or_else(known)?), file)
        }
        [file] => (None, file),
        _ => return Err("the name of a file, as in screendump screen.png".to_owned()),
    };
    let file = PathBuf::from(file);
    let format = format.unwrap_or_else(|| PictureFormat::of_file(&file));
    Ok(Own::Screendump(file, format))
}

fn change(arguments: &[&str]) -> Result<Own, String> {
    let (force, rest) = flag(arguments, "-f");
    let (drive, file, more) = match rest {
        [drive, file, more @ ..] if more.len() <= 2 => (drive, file, more),
        _ => return Err("a drive (`info block` lists them) and a file, as in change cd0 disc.iso".to_owned()),
    };
    let read_only = match more.get(1) {
        None | Some(&"retain") => None,
        Some(&"read-only") => Some(true),
        Some(&"read-write") => Some(false),
        Some(other) => return Err(format!("{other:?}: read-only or read-write")),
    };
    Ok(Own::Change {
        drive: (*drive).to_owned(),
        file: PathBuf::from(file),
        format: more.first().map(|format| (*format).to_owned()),
        read_only,
        force,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use PointerButton::{Left, Middle};

    fn own(line: &str) -> Own {
        match parse(line) {
            Ok(Some(Order::Own(own))) => own,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn lines_are_orders() {
        let text = |text: &str| Some(text.to_owned());
        for (line, order) in [
            ("help", Own::Help(None)),
            ("? info pic", Own::Help(text("info pic"))),
            ("info", Own::Topics),
            ("cpu 1", Own::Vcpu(1)),
            (
                "sendkey ctrl-alt-delete 100",
                Own::SendKeys(
                    vec![KeyCode::ControlLeft, KeyCode::AltLeft, KeyCode::Delete],
                    Duration::from_millis(100),
                ),
            ),
            ("mouse_move -3 4", Own::MoveMouse { dx: -3, dy: 4, wheel: 0 }),
            ("mouse_button 5", Own::Buttons(vec![Left, Middle])),
            ("screendump a.png", Own::Screendump("a.png".into(), PictureFormat::Png)),
            ("screendump -f png \"my screen\"", Own::Screendump("my screen".into(), PictureFormat::Png)),
            ("screendump a", Own::Screendump("a".into(), PictureFormat::Ppm)),
            (
                "change -f cd x.iso raw read-only",
                Own::Change {
                    drive: "cd".to_owned(),
                    file: "x.iso".into(),
                    format: text("raw"),
                    read_only: Some(true),
                    force: true,
                },
            ),
            ("save \"my machine\"", Own::Save { file: "my machine".into(), mapped: false }),
            ("save -m m", Own::Save { file: "m".into(), mapped: true }),
            ("commit all", Own::Commit(None)),
            ("commit ide0-hd0", Own::Commit(text("ide0-hd0"))),
            ("eject cd", Own::Eject { drive: "cd".to_owned(), force: false }),
            ("hostfwd_add tcp::1-:2", Own::AddForward { network: None, forward: "tcp::1-:2".to_owned() }),
            (
                "hostfwd_remove net0 tcp::1",
                Own::RemoveForward { network: text("net0"), place: "tcp::1".to_owned() },
            ),
        ] {
            assert_eq!(own(line), order, "{line}");
        }
        assert_eq!(parse("  "), Ok(None));
        assert_eq!(parse("stop"), Ok(Some(Order::Machine(Command::Pause))));
        assert_eq!(parse("info status"), Ok(Some(Order::Machine(Command::Status))));
    }

    #[test]
    fn errors_say_what_would_be_right() {
        for (line, part) in [
            ("fly", "help lists"),
            ("hlep", "did you mean help?"),
            ("info registres", "did you mean info registers?"),
            ("info nothing", "info lists"),
            ("cpu one", "\"one\" is not the number"),
            ("sendkey", "ctrl-alt-delete"),
            ("sendkey ctrl-alt-dell", "\"dell\""),
            ("sendkey a 100000", "60 s at most"),
            ("sendkey a-a-a-a-a-a-a-a-a-a-a-a-a-a-a-a-a", "16 at most"),
            ("mouse_move 1", "two numbers"),
            ("mouse_button 8", "0 to 7"),
            ("screendump -f gif x", "png, ppm"),
            ("screendump", "screen.png"),
            ("change cd", "info block"),
            ("change cd x raw never", "read-only"),
            ("eject", "info block"),
            ("save", "booted.machine"),
            ("commit", "info block"),
            ("hostfwd_add", "2222"),
            ("screendump \"x", "not closed"),
        ] {
            let error = parse(line).unwrap_err().to_string();
            assert!(error.contains(part), "{line}: {error}");
        }
    }

    #[test]
    fn names_are_used_once() {
        let all = summaries();
        let mut names: Vec<_> =
            all.iter().flat_map(|summary| std::iter::once(&summary.name).chain(summary.short)).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        assert!(all.iter().all(|summary| !summary.help.is_empty() && !summary.help.ends_with('.')));
    }
}
