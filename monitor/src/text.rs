//! Answers as text for people: help, and replies of the machine.

use crate::commands::summaries;
use crate::host::Host;
use std::fmt::Write;
use trimotor_devices::drive::{DrivePlace, Media};
use trimotor_machine::control::{DriveStatus, ParseError, Reply, Status, Summary};
use trimotor_machine::{BalloonStatus, Command, Engine};

/// The column where help begins, behind usages that are no longer.
const HELP_COLUMN: usize = 28;

/// All commands, a line each; the topics of `info` are listed by itself.
pub fn help() -> String {
    let mut out = String::new();
    for summary in summaries().iter().filter(|summary| !summary.name.starts_with("info ")) {
        line(&mut out, &summary.usage(), summary.help);
    }
    out += "A word that has blanks stands in \"quotation marks\". Tab completes, the arrow keys bring lines back.";
    out
}

/// The topics of `info`.
pub fn topics() -> String {
    let mut out = String::new();
    for summary in summaries().iter().filter(|summary| summary.name.starts_with("info ")) {
        line(&mut out, &summary.usage(), summary.help);
    }
    out.truncate(out.trim_end().len());
    out
}

fn line(out: &mut String, usage: &str, help: &str) {
    if usage.len() >= HELP_COLUMN {
        _ = writeln!(out, "{usage}\n{:HELP_COLUMN$}{help}", "");
    } else {
        _ = writeln!(out, "{usage:<HELP_COLUMN$}{help}");
    }
}

/// How one command is used.
///
/// # Errors
/// There is none of this name.
pub fn help_on(name: &str) -> Result<String, ParseError> {
    let words: Vec<&str> = name.split_whitespace().collect();
    let all = summaries();
    let is_it = |summary: &&Summary| summary.name == words.join(" ") || summary.short == words;
    let Some(summary) = all.iter().find(is_it) else {
        return Err(ParseError::unknown(&words, all.iter().map(|summary| summary.name)));
    };
    let mut out = format!("{}\n  {}", summary.usage(), summary.help);
    if !summary.short.is_empty() {
        _ = write!(out, "\n  in short: {}", summary.short.join(", "));
    }
    if summary.takes_format {
        out += "\n  FMT: a count, one of x d u o c (and i, instructions, of memory), one of b h w g for 1, 2, 4, 8 bytes";
    }
    if summary.name == "info" {
        out = out + "\n" + &topics();
    }
    Ok(out)
}

/// What the machine answered to a command.
pub fn reply(command: &Command, reply: Reply, host: &dyn Host) -> String {
    match reply {
        Reply::Done => String::new(),
        Reply::Text(text) => text,
        Reply::Status(status) => status_text(status),
        Reply::Balloon(balloon) => balloon_text(&balloon),
        Reply::Devices(devices) => lines(devices.iter().map(|(name, info)| format!("{name}: {info}"))),
        Reply::Networks(networks) if networks.is_empty() => "there is no network".to_owned(),
        Reply::Networks(networks) => lines(networks.iter().map(|(id, info)| format!("{id}: {info}"))),
        Reply::Drives(drives) if drives.is_empty() => "there is no drive".to_owned(),
        Reply::Drives(drives) => lines(drives.iter().map(|drive| drive_text(drive, host))),
        Reply::Engine(engine) => engines_text(engine),
        Reply::Switched(switched) => switched.to_string(),
        Reply::Statistics { engine, vcpus } => host.engine_report(engine, &vcpus, *command == Command::Exits),
        // No command of a monitor asks for it.
        Reply::Saved(_) => "the machine was saved".to_owned(),
        Reply::State(_) | Reply::Bytes(_) => String::new(),
    }
}

fn lines(lines: impl Iterator<Item = String>) -> String {
    lines.collect::<Vec<_>>().join("\n")
}

fn status_text(status: Status) -> String {
    let state = if status.paused { "paused" } else { "running" };
    let seconds = status.time.ns() as f64 / 1e9;
    let Status { engine, instructions, .. } = status;
    format!("VM status: {state}\nengine: {engine}\nguest time: {seconds:.6} s\ninstructions: {instructions}")
}

/// All engines, `runs` among them.
fn engines_text(runs: Engine) -> String {
    lines(Engine::ALL.into_iter().map(|engine| match engine.can_start() {
        _ if engine == runs => format!("{engine}: runs the guest"),
        Ok(()) => format!("{engine}: can go on with it (accel {engine})"),
        Err(why) => format!("{engine}: cannot be used: {}", why.verdict),
    }))
}

fn balloon_text(balloon: &BalloonStatus) -> String {
    let mib = |pages: u64| pages >> 8;
    let mut out = format!(
        "balloon: {} MiB in it, {} MiB wanted, {} MiB given back to the host so far",
        mib(balloon.actual.into()),
        mib(balloon.target.into()),
        mib(balloon.given_back)
    );
    for (name, value) in &balloon.stats {
        _ = write!(out, "\n  {name}: {value}");
    }
    out
}

fn drive_text(drive: &DriveStatus, host: &dyn Host) -> String {
    let config = &drive.config;
    let media = match config.media {
        Media::Disk => "disk",
        Media::Cdrom => "CD",
        Media::Floppy => "floppy",
    };
    let place = match config.place {
        DrivePlace::Ide { channel, unit } => {
            format!("ide{channel}, {}", ["master", "slave"][usize::from(unit & 1)])
        }
        DrivePlace::Floppy { unit } => format!("floppy {}:", char::from(b'A' + (unit & 1))),
        DrivePlace::Unattached => "at a device that names it".to_owned(),
    };
    let content = match drive.bytes {
        None => "empty".to_owned(),
        Some(bytes) => {
            let file = host.file_in(&config.id).unwrap_or_else(|| "an image".to_owned());
            let rights = if drive.read_only { ", read only" } else { "" };
            format!("{file}, {bytes} bytes{rights}")
        }
    };
    format!("{} ({media}, {place}): {content}", config.id)
}

/// A text as a terminal shows it: lines end as they do there, and nothing else that it would obey is in it.
pub fn for_terminal(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 64);
    for character in text.chars() {
        match character {
            '\n' => out.push_str("\r\n"),
            '\t' => out.push('\t'),
            control if control.is_control() => out.push('?'),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_has_its_help() {
        let all = help();
        for summary in summaries() {
            let one = help_on(summary.name).unwrap();
            assert!(one.contains(summary.help), "{one}");
            let list = if summary.name.starts_with("info ") { &topics() } else { &all };
            assert!(list.contains(summary.help), "{}", summary.name);
        }
        let engines = engines_text(Engine::Interp);
        assert!(engines.contains("interp: runs the guest\n") || engines.ends_with("interp: runs the guest"));
        let kvm =
            if Engine::Kvm.can_start().is_ok() { "kvm: can go on with it" } else { "kvm: cannot be used: " };
        assert!(engines.contains(kvm), "{engines}");
        assert!(help_on("q").unwrap().contains("in short: q"));
        assert!(help_on("info").unwrap().contains("info registers"));
        assert!(help_on("x").unwrap().starts_with("x/FMT ADDRESS"));
        assert!(help_on("screndump").unwrap_err().to_string().contains("did you mean screendump?"));
    }

    #[test]
    fn a_terminal_gets_nothing_that_it_obeys() {
        assert_eq!(for_terminal("a\nb\x1b[2J\tc\u{9b}"), "a\r\nb?[2J\tc?");
    }
}
