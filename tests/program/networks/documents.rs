//! The chapters of docs/network-howto.md: their commands run as they stand there, on a host of the test's own.
//!
//! Blocks that are marked `console` have commands of the host behind `$` and of the guest behind `#`, and what they must print below
//! them. A word behind the mark names the terminal: what stands behind `#` is typed into the machine that was started in it. `sudo`
//! is a program that runs what it is given, as the test is root.

use super::guest::{Booting, Shell};
use super::hosts::World;
use crate::support::engines::JIT;
use crate::support::guests::{DEBIAN, Guest};
use crate::support::needs::{NAMESPACES, Need, Tests, program};
use crate::support::program::{Program, executable};
use crate::support::small_guest::Scratch;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

const CURL: Need = Need { name: "curl", check: || program("curl", "curl") };
const SYSCTL: Need = Need { name: "sysctl", check: || program("sysctl", "procps") };
const DNSMASQ: Need = Need { name: "dnsmasq", check: || program("dnsmasq", "dnsmasq-base") };

pub fn tests() -> Tests {
    Tests::needing(&[DEBIAN, JIT, NAMESPACES, DNSMASQ])
        .test_needing(&[CURL], a_port_is_forwarded_as_the_document_says)
        .test(two_machines_are_joined_as_the_document_says)
        .test_needing(&[SYSCTL], a_machine_is_on_a_bridge_as_the_document_says)
}

fn a_port_is_forwarded_as_the_document_says() {
    run_chapter("Forward a port");
}
fn two_machines_are_joined_as_the_document_says() {
    let mut terminals = run_chapter("Join two machines");
    // The sum that was sent back.
    let sums = terminals.printed.iter().filter_map(|text| text.split_once("  ")).map(|(sum, _)| sum.trim());
    let sums: Vec<&str> = sums.filter(|sum| sum.len() == 32).collect();
    assert!(sums.len() == 2 && sums[0] == sums[1], "{:?}", terminals.printed);
    terminals.machines.remove("first").expect("the first machine").power_off();
}
fn a_machine_is_on_a_bridge_as_the_document_says() {
    run_chapter("A TAP and a bridge");
}

/// A command of a document.
#[derive(Debug, PartialEq, Eq)]
struct Command {
    terminal: String,
    /// The guest's, not the host's.
    is_guests: bool,
    text: String,
    /// Lines that it must print.
    prints: Vec<String>,
}

/// The commands of a chapter, and of what stands before the first chapter.
fn commands(document: &str, chapter: &str) -> Vec<Command> {
    let mut commands: Vec<Command> = Vec::new();
    let (mut terminal, mut is_wanted, mut continues) = (None, true, false);
    for line in document.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            is_wanted = title == chapter;
        } else if let Some(name) = line.strip_prefix("```console") {
            terminal = Some(name.trim().to_owned());
        } else if line == "```" {
            terminal = None;
        } else if let (Some(terminal), true) = (&terminal, is_wanted) {
            let (text, is_continued) = line.strip_suffix('\\').map_or((line, false), |text| (text, true));
            let hosts = text.strip_prefix("$ ").map(|text| (text, false));
            let found = hosts.or_else(|| text.strip_prefix("# ").map(|text| (text, true)));
            if let (true, Some(last)) = (continues, commands.last_mut()) {
                last.text += text.trim_start();
            } else if let Some((text, is_guests)) = found {
                let (terminal, text) = (terminal.clone(), text.to_owned());
                commands.push(Command { terminal, is_guests, text, prints: Vec::new() });
            } else {
                let last = commands.last_mut().expect("a command before what it prints");
                last.prints.push(line.to_owned());
            }
            continues = is_continued;
        }
    }
    commands
}

/// What the commands of a chapter are run in.
struct Terminals {
    machines: BTreeMap<String, Shell>,
    printed: Vec<String>,
    // The rest goes after the machines.
    world: World,
    folder: Folder,
}

/// A folder with the guests, and the programs that the document calls.
struct Folder(Scratch);

impl Folder {
    fn new() -> Self {
        let folder = Self(Scratch::new("network-howto"));
        let (guests, programs) = (folder.0.0.join("guests"), folder.0.0.join("bin"));
        fs::create_dir_all(&guests).unwrap();
        fs::create_dir_all(&programs).unwrap();
        // The file system first: where it is fetched, the kernel that it is for comes with it.
        for guest in [Guest::Network, Guest::FullKernel, Guest::CloudKernel, Guest::Shell, Guest::PowerOff] {
            let path = guest.path();
            symlink(&path, guests.join(Path::new(&path).file_name().unwrap())).unwrap();
        }
        symlink(executable(), programs.join("trimotor")).unwrap();
        let sudo = programs.join("sudo");
        fs::write(&sudo, "#!/bin/sh\nexec \"$@\"\n").unwrap();
        fs::set_permissions(&sudo, fs::Permissions::from_mode(0o755)).unwrap();
        folder
    }
}
impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0.0);
    }
}

impl Terminals {
    /// The command of the host that runs this one there, as a user's shell does.
    fn on_host(&self, command: &str) -> Vec<String> {
        let path = format!("{}/bin:{}", self.folder.0.path(), std::env::var("PATH").unwrap_or_default());
        let script = "cd \"$0\" && PATH=$1 && USER=$(id -un) && export PATH USER && eval \"$2\"";
        let shell = ["sh", "-c", script, &self.folder.0.path(), &path, command].map(str::to_owned);
        [self.world.host.launcher(), shell.to_vec()].concat()
    }
    fn run(&mut self, command: &Command) {
        let Command { terminal, is_guests, text, .. } = command;
        let printed = if *is_guests {
            let mut machine = self.machines.remove(terminal).expect("a machine in this terminal");
            if text == "poweroff -f" {
                machine.power_off();
                return;
            }
            let printed = machine.must(text);
            self.machines.insert(terminal.clone(), machine);
            printed
        } else if text.starts_with("trimotor run") {
            let start = self.on_host(&format!("exec {text}"));
            let arguments: Vec<&str> = start[1..].iter().map(String::as_str).collect();
            let booting = Booting::of(Program::start_other(&start[0], &arguments, &[]));
            self.machines.insert(terminal.clone(), booting.ready());
            return;
        } else {
            let run = self.on_host(text);
            let output = std::process::Command::new(&run[0]).args(&run[1..]).output().unwrap();
            assert!(output.status.success(), "`{text}`: {output:?}");
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        let mut lines = printed.lines();
        for wanted in &command.prints {
            assert!(lines.any(|line| line.trim() == wanted), "`{text}`: no {wanted:?} in\n{printed}");
        }
        self.printed.push(printed);
    }
}

fn run_chapter(title: &str) -> Terminals {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/network-howto.md");
    let commands = commands(&fs::read_to_string(document).expect("the document"), title);
    assert!(commands.len() > 5, "{commands:?}");
    let mut terminals = Terminals {
        machines: BTreeMap::new(),
        printed: Vec::new(),
        world: World::new(),
        folder: Folder::new(),
    };
    commands.iter().for_each(|command| terminals.run(command));
    terminals
}
