//! One program of calls, on several BIOSes and machines, and what differs between them.

use super::services::probe::{self, Call};
use crate::support::program::run_to_end;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// SeaBIOS and its video BIOSes (Debian's package seabios).
pub const SEABIOS: &str = "/usr/share/seabios/bios-256k.bin";
/// For this card.
pub const VGA_ROM: &str = "/usr/share/seabios/vgabios-stdvga.bin";

/// The call, the fields, the reason.
pub type Difference = (&'static str, &'static [&'static str], &'static str);

/// What a line has in front of memory.
const FIELDS: [&str; 9] = ["flags", "eax", "ebx", "ecx", "edx", "esi", "edi", "ebp", "es"];

/// What the calls gave: for each the fields of its line.
pub type Answers = Vec<Vec<String>>;

fn answers<'a>(lines: impl Iterator<Item = &'a str>) -> Answers {
    let fields = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    // POST may have written to the port before.
    let is_answer = |fields: &Vec<String>| fields.len() >= FIELDS.len() && fields[1].len() == 8;
    lines.map(fields).filter(is_answer).collect()
}

/// A floppy that makes calls.
pub struct Floppy(PathBuf);
impl Floppy {
    /// In a file that goes with it.
    pub fn new(calls: &[Call]) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("trimotor-probe-{}-{number}.img", std::process::id()));
        std::fs::write(&path, probe::floppy(calls).unwrap()).unwrap();
        Self(path)
    }
    fn path(&self) -> String {
        self.0.to_string_lossy().into_owned()
    }
}
impl Drop for Floppy {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// On this machine, with more options.
pub fn here(floppy: &Floppy, engine: &str, options: &[&str]) -> Answers {
    let path = floppy.path();
    let mut arguments = vec!["run", "--accel", engine, "--display", "none", "--icount", "--timeout", "5m"];
    arguments.extend(["--exit-on", probe::END, "--floppy", &path]);
    arguments.extend(options);
    let ended = run_to_end(&arguments);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    answers(ended.output.lines())
}

/// Under QEMU, with its SeaBIOS and more options.
pub fn under_qemu(floppy: &Floppy, options: &[&str]) -> Answers {
    let drive = format!("file={},if=floppy,format=raw", floppy.path());
    let mut qemu = Command::new("qemu-system-x86_64")
        .args(["-machine", "pc", "-m", "256", "-display", "none", "-monitor", "none", "-net", "none"])
        .args(["-serial", "stdio", "-boot", "a", "-drive", &drive])
        .args(options)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let output = BufReader::new(qemu.stdout.take().unwrap());
    let lines: Vec<String> =
        output.lines().map_while(Result::ok).take_while(|line| !line.contains(probe::END)).collect();
    qemu.kill().unwrap();
    qemu.wait().unwrap();
    answers(lines.iter().map(String::as_str))
}

/// Names of the fields in which two answers differ.
pub fn differing(ours: &[String], theirs: &[String]) -> Vec<&'static str> {
    let mut names: Vec<_> = FIELDS
        .into_iter()
        .enumerate()
        .filter(|(i, _)| ours[*i] != theirs[*i])
        .map(|(_, name)| name)
        .collect();
    if ours[FIELDS.len()..] != theirs[FIELDS.len()..] {
        names.push("memory");
    }
    names
}

/// What is wrong: what differs must be in the list, but for fields that vary, and what is in the list must differ.
pub fn compare(
    calls: &[Call],
    ours: &Answers,
    theirs: &Answers,
    allowed: &[Difference],
    varying: &[Difference],
) -> Vec<String> {
    assert_eq!((ours.len(), theirs.len()), (calls.len(), calls.len()), "not every call was answered");
    let mut wrong = Vec::new();
    for (call, (ours, theirs)) in calls.iter().zip(ours.iter().zip(theirs)) {
        let varies = |field: &&str| {
            varying.iter().any(|(name, fields, _)| *name == call.name && fields.contains(field))
        };
        let found: Vec<_> = differing(ours, theirs).into_iter().filter(|field| !varies(field)).collect();
        let known = allowed.iter().find(|(name, _, _)| *name == call.name).map_or(&[][..], |row| row.1);
        if found != known {
            wrong.push(format!(
                "{}: differs in {found:?}, known are {known:?}\n  here {}\n  there {}",
                call.name,
                ours.join(" "),
                theirs.join(" ")
            ));
        }
    }
    wrong
}
