//! What people write who know QEMU's command line: each option is told what does that here, or that it comes later.
//!
//! QEMU takes its options with one dash or two. Here a single dash stands before single letters, so that `-hda F` would
//! be `-h` and print the help: the command line is looked through before it is parsed.

use crate::error::Failure;
use clap::{ArgAction, Command};
use std::path::Path;

/// What is said of an option.
#[derive(Clone, Copy)]
enum Answer {
    /// This option of ours does it.
    Ours(&'static str),
    /// What will do it, in the plural or without a number: "disks".
    Later(&'static str),
    /// Why there is no such option.
    Without(&'static str),
}
use Answer::{Later, Ours, Without};

impl Answer {
    fn text(self) -> String {
        match self {
            Ours(option) => format!("here it is {option}"),
            Later(what) => format!("{what} come later; {WHAT_BOOTS}"),
            Without(why) => why.to_owned(),
        }
    }
}

const DISKS: Answer = Later("disks at other controllers and shared folders");
const NETWORK: Answer = Ours("--nic user,model=e1000");
const GRAPHICS: Answer = Without("every machine has a VGA with large modes; other adapters come later");
const WINDOW: Answer = Without(WINDOWS);
const SOUND: Answer = Later("sound");
const USB: Answer = Later("USB");
const MONITOR: Answer = Ours("--monitor SPEC");
const QMP: Answer = Later("connections by QMP");
const FIRMWARE: Answer = Later("tables and firmware files of your own");
const ONE_BOARD: Answer = Without("there is one board, an i440FX PC; leave it out");
const IN_ALL: Answer = Without("every machine has it, and --without vmmouse leaves it out");
const TABLET: Answer = Without(
    "every machine has a keyboard and a mouse, which tells positions too where the guest has a driver for VMware's",
);
const NOT_NEEDED: Answer = Without("not needed here; leave it out");
const SHELL_DOES: Answer = Without("the shell or the service manager does that");

/// QEMU's options that are not ours under the same name.
const HABITS: &[(&[&str], Answer)] = &[
    (&["smp"], Ours("--cpus N")),
    (&["enable-kvm"], Ours("--accel auto")),
    (&["no-reboot"], Ours("--on-reset exit")),
    (&["curses"], Ours("--display terminal")),
    (&["vnc"], Ours("--display vnc=HOST:N")),
    (&["seed"], Ours("--icount")),
    (&["action", "watchdog-action"], Ours("--on-reset and --on-panic")),
    (&["d", "D", "plugin"], Ours("--trace exc,int,io,insn,file=F, --stats or --profile")),
    (&["hda"], Ours("--drive file=F,index=0")),
    (&["hdb"], Ours("--drive file=F,index=1")),
    (&["hdc"], Ours("--drive file=F,index=2")),
    (&["hdd"], Ours("--drive file=F,index=3")),
    (&["disk"], Ours("--drive file=F")),
    (&["iso"], Ours("--cdrom F")),
    (&["fda"], Ours("--floppy F")),
    (&["fdb"], Ours("--drive file=F,if=floppy,index=1")),
    (&["blockdev"], Ours("--drive file=F,if=none,id=NAME")),
    (&["snapshot"], Ours("--drive file=F,snapshot=on")),
    (&["sd", "mtdblock", "fsdev", "virtfs"], DISKS),
    (&["vga", "g"], GRAPHICS),
    (&["sdl", "gtk", "full-screen", "alt-grab", "ctrl-grab"], WINDOW),
    (&["spice"], Without("SPICE is not planned; for viewers elsewhere there is --display vnc=HOST:N")),
    (&["audio", "audiodev", "soundhw", "audio-help"], SOUND),
    (&["usb", "usbdevice"], USB),
    (&["mon"], MONITOR),
    (&["qmp", "qmp-pretty"], QMP),
    (&["s"], Ours("--gdb 1234")),
    (&["incoming"], Ours("--restore FILE")),
    (&["L", "fw_cfg", "smbios", "acpitable"], FIRMWARE),
    (
        &["machine", "M", "numa", "global", "set", "readconfig", "object", "dtb", "parallel", "tpmdev"],
        ONE_BOARD,
    ),
    (
        &[
            "nodefaults",
            "no-user-config",
            "nodefconfig",
            "no-hpet",
            "no-acpi",
            "no-fd-bootchk",
            "no-shutdown",
            "name",
            "uuid",
            "msg",
            "mem-path",
            "mem-prealloc",
            "overcommit",
            "tb-size",
            "singlestep",
            "watchdog",
            "only-migratable",
            "win2k-hack",
            "no-quit",
            "compat",
        ],
        NOT_NEEDED,
    ),
    (&["daemonize", "pidfile", "runas", "run-with", "chroot", "sandbox", "runstate"], SHELL_DOES),
    (&["k"], Ours("--keymap LAYOUT")),
];

/// QEMU's devices behind `-device` that are not ours, by the beginning of their names.
const DEVICES: &[(&str, Answer)] = &[
    ("pci-serial", Ours("--serial SPEC")),
    ("ide-hd", Ours("--drive file=F")),
    ("ide-cd", Ours("--cdrom F")),
    ("floppy", Ours("--floppy F")),
    ("VGA", GRAPHICS),
    ("virtio-gpu", GRAPHICS),
    ("virtio-vga", GRAPHICS),
    ("virtio-net", Ours("--nic user,model=virtio")),
    ("e1000", NETWORK),
    ("rtl8139", NETWORK),
    ("ne2k", NETWORK),
    ("vmmouse", IN_ALL),
    ("vmport", IN_ALL),
    ("usb-tablet", TABLET),
    ("usb-mouse", TABLET),
    ("usb-kbd", TABLET),
    ("usb", USB),
    ("qemu-xhci", USB),
    ("AC97", SOUND),
    ("intel-hda", SOUND),
    ("", Later("NVMe, SCSI and other devices")),
];

const WINDOWS: &str = "the window is --display window";

/// Values that QEMU's options of the same name take: option, beginning of the value, what to write.
const VALUES: &[(&str, &str, &str)] = &[
    (
        "accel",
        "tcg",
        "the translator is --accel jit here, and the choice of --accel auto where it can be used",
    ),
    ("accel", "hvf", "use --accel auto"),
    ("accel", "whpx", "use --accel auto"),
    ("accel", "xen", "use --accel auto"),
    ("cpu", "host", "the model with all that the engine can do is --cpu max (see `trimotor cpus`)"),
    ("cpu", "qemu", "the model nearest to it is --cpu x86-64-v1 (see `trimotor cpus`)"),
    ("cpu", "kvm", "the model nearest to it is --cpu x86-64-v1 (see `trimotor cpus`)"),
    ("display", "curses", "the text screen in the terminal is --display terminal"),
    ("display", "gtk", WINDOWS),
    ("display", "sdl", WINDOWS),
    ("display", "cocoa", WINDOWS),
    ("display", "spice", "SPICE is not planned; for viewers elsewhere there is --display vnc=HOST:N"),
    ("display", "egl-headless", "no display is --display none"),
    ("serial", "mon:stdio", "write --serial stdio: the monitor is behind Ctrl-A c"),
    ("monitor", "telnet:", "write --monitor tcp:HOST:PORT,server"),
    ("monitor", "vc", "write --monitor stdio: the monitor is behind Ctrl-A c"),
    ("monitor", "chardev:", "write --monitor unix:PATH,server or another end"),
    ("serial", "none", "write --serial null"),
    ("rtc", "base=", "write --rtc utc, or a date as in --rtc 2026-01-31"),
];

/// What is said of a value that an option of ours has in QEMU and not here.
fn of_value(option: &str, value: &str) -> Option<String> {
    if option == "device" {
        let device = value.split(',').next().unwrap_or_default();
        let device = device.strip_prefix("driver=").unwrap_or(device);
        if trimotor_machine::devices::kind(device).is_ok() {
            return None;
        }
        let (_, answer) = DEVICES.iter().find(|(start, _)| device.starts_with(start))?;
        return Some(format!("{} (`trimotor devices` lists what there is)", answer.text()));
    }
    let value = value.to_ascii_lowercase();
    let (.., advice) = VALUES.iter().find(|row| row.0 == option && value.starts_with(row.1))?;
    Some((*advice).to_owned())
}

/// Refuses a command line that is written in QEMU's way, or has a file where an option should be. Says of each such
/// argument what to write.
///
/// # Errors
/// [`Failure::BadInput`], with a line for each argument.
pub fn check(arguments: &[String], program: &Command) -> Result<(), Failure> {
    let Some((command, rest)) = machine_command(arguments, program) else { return Ok(()) };
    let mut scan = Scan { command, in_run: rest.len() < arguments.len(), said: Vec::new() };
    scan.all(rest);
    if scan.said.is_empty() {
        return Ok(());
    }
    Err(Failure::BadInput(scan.said.join("\ntrimotor: ")))
}

/// The command whose options the arguments are, and the arguments behind its name. None for commands that make no machine.
fn machine_command<'a>(arguments: &'a [String], program: &'a Command) -> Option<(&'a Command, &'a [String])> {
    let named = arguments.first().and_then(|name| program.find_subcommand(name));
    match named {
        Some(command) if ["run", "demo", "lockstep"].contains(&command.get_name()) => {
            Some((command, &arguments[1..]))
        }
        Some(_) => None,
        None if arguments.first().is_some_and(|name| name == "help") => None,
        // Without a command's name: what stands there belongs behind `run`.
        None => Some((program.find_subcommand("run")?, arguments)),
    }
}

struct Scan<'a> {
    command: &'a Command,
    /// Whether a command is named.
    in_run: bool,
    said: Vec<String>,
}

/// How an option of ours is followed.
enum Follows {
    Nothing,
    Value,
}

impl Scan<'_> {
    fn all(&mut self, arguments: &[String]) {
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            if argument == "--" {
                return;
            }
            let Some(name) = argument.strip_prefix('-') else {
                if !self.bare(argument) {
                    return;
                }
                continue;
            };
            let (double, name) = match name.strip_prefix('-') {
                Some(name) => (true, name),
                None => (false, name),
            };
            let (name, attached) = match name.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (name, None),
            };
            let value = attached.or(rest.as_slice().first().map(String::as_str));
            let ours = self.ours(name, double);
            if !self.option(argument, name, value, double) && ours.is_none() {
                // Unknown to both: the parser names it, but where it would take it for letters of their own.
                if !double && name.len() > 1 && name != "help" && !name.starts_with('m') {
                    self.said.push(format!("{argument}: no such option (see `trimotor run --help`)"));
                }
                return;
            }
            let next_is_value = match ours {
                Some(Follows::Value) => true,
                Some(Follows::Nothing) => false,
                None => rest.as_slice().first().is_some_and(|next| !next.starts_with('-')),
            };
            if next_is_value && attached.is_none() {
                rest.next();
            }
        }
    }

    /// Our option of that name, with one dash or two.
    fn ours(&self, name: &str, double: bool) -> Option<Follows> {
        let is_it = |arg: &&clap::Arg| {
            arg.get_long() == Some(name)
                || !double && arg.get_short().is_some_and(|short| name.starts_with(short) && name.len() == 1)
        };
        let found = self.command.get_arguments().find(is_it)?;
        let takes_value = matches!(found.get_action(), ArgAction::Set | ArgAction::Append);
        Some(if takes_value && !found.is_require_equals_set() { Follows::Value } else { Follows::Nothing })
    }

    /// Says what is to be said of an option; false where nothing is.
    fn option(&mut self, argument: &str, name: &str, value: Option<&str>, double: bool) -> bool {
        let dashed = argument.split('=').next().unwrap_or(argument);
        if self.ours(name, double).is_some() {
            let value = value.unwrap_or_default();
            if let Some(advice) = of_value(name, value) {
                self.said.push(format!("{dashed} {value}: {advice}"));
            } else if !double && name.len() > 1 {
                self.said.push(format!("{dashed}: write --{name}, with two dashes"));
            } else if !self.in_run && (double || name.len() == 1) {
                self.said.push(format!(
                    "{dashed}: options of a machine stand behind a command, as in `trimotor run {dashed}`"
                ));
            }
            return true;
        }
        let Some((_, answer)) = HABITS.iter().find(|(names, _)| names.contains(&name)) else { return false };
        self.said.push(format!("{dashed}: {}", answer.text()));
        true
    }

    /// Says what is to be said of an argument that is no option's; true where it is an image, which `run` takes.
    fn bare(&mut self, argument: &str) -> bool {
        let lower = argument.to_ascii_lowercase();
        let is_file = Path::new(argument).is_file();
        let is_image = [".iso", ".img", ".ima", ".qcow2", ".raw", ".vmdk", ".vdi", ".vhd", ".vhdx", ".flp"]
            .iter()
            .any(|end| lower.ends_with(end));
        if self.in_run && (is_image || is_file || argument.starts_with("/dev/")) {
            return true;
        }
        if is_image {
            self.said.push(format!("{argument}: an image stands behind a command: trimotor run {argument}"));
        } else if self.in_run || is_file || argument.contains(['/', '.']) {
            self.said.push(format!(
                "{argument}: a kernel is named by an option: trimotor run --kernel {argument}"
            ));
        }
        false
    }
}

/// What can be booted instead of what comes later.
const WHAT_BOOTS: &str = "what boots today: trimotor run IMAGE for a disk, CD or floppy, --nic user for a network, --kernel FILE (see `trimotor run --help`)";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Cli;
    use clap::CommandFactory;

    /// What is said of a command line; nothing where it may pass.
    fn said(line: &str) -> Option<String> {
        let arguments: Vec<String> = line.split(' ').map(str::to_owned).collect();
        check(&arguments, &Cli::command()).err().map(|failure| failure.to_string())
    }

    #[test]
    fn our_own_command_lines_pass() {
        for line in [
            "run --kernel k --append -nographic",
            "run -m 2G --kernel k",
            "run -m2G --kernel k",
            "run --kernel=k --cpus=4 --accel=jit --cpu max,-avx2",
            "run --stats --kernel k --debug-exit --nographic --perf-map",
            "lockstep --engines interp,jit --kernel k",
            "demo --display none --serial null",
            "cpus host",
            "guest linux --full",
            "help run",
            "--help",
            "-h",
            "-V",
            "fly",
            "run --turbo -hda x",
        ] {
            assert_eq!(said(line), None, "{line}");
        }
    }

    #[test]
    fn no_habit_is_an_option_of_ours() {
        let program = Cli::command();
        let run = program.find_subcommand("run").unwrap();
        for (name, _) in
            HABITS.iter().flat_map(|(names, answer)| names.iter().map(move |name| (name, answer)))
        {
            let ours = run.get_arguments().any(|arg| arg.get_long() == Some(name));
            assert!(!ours, "--{name} is ours");
        }
    }

    #[test]
    fn every_option_that_is_named_is_ours() {
        let program = Cli::command();
        let run = program.find_subcommand("run").unwrap();
        let answers = HABITS.iter().map(|row| row.1).chain(DEVICES.iter().map(|row| row.1));
        let texts = answers.filter_map(|answer| match answer {
            Ours(text) => Some(text),
            _ => None,
        });
        for text in texts.chain(VALUES.iter().map(|row| row.2)) {
            for word in text.split_whitespace().filter_map(|word| word.strip_prefix("--")) {
                let name = word.split(['[', '=', ',', ';']).next().unwrap();
                assert!(run.get_arguments().any(|arg| arg.get_long() == Some(name)), "--{name} in {text:?}");
            }
        }
    }

    #[test]
    fn all_of_a_command_line_is_answered_at_once() {
        let text = said("-m 512 -smp 4,cores=2 -hda disk.img -kernel k -nographic").unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 5, "{text}");
        for (line, word) in
            lines.iter().zip(["trimotor run -m", "--cpus N", "--drive", "--kernel", "--nographic"])
        {
            assert!(line.contains(word), "no {word} in {line}");
        }
    }
}
