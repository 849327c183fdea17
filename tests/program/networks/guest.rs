//! A Linux guest with drivers of network cards or virtio devices, in the program as a person runs it, or in QEMU.

use super::hosts::Host;
use crate::support::guests::Guest;
use crate::support::program::{Ended, Program};

/// A guest at its shell's prompt.
pub struct Shell {
    program: Program,
}

/// A guest on its way to its shell.
pub struct Booting(Program);

impl Booting {
    /// Boots Debian's kernel with these options beside its own.
    pub fn start(options: &[&str]) -> Self {
        Self(Program::start(&strs(&arguments(Guest::Network, options))))
    }
    /// The same on another host.
    pub fn start_on(host: &Host, options: &[&str]) -> Self {
        Self::start_under(&strs(&host.launcher()), options)
    }
    /// The same by a program that runs it in its own place, or below it.
    pub fn start_under(launcher: &[&str], options: &[&str]) -> Self {
        Self(Program::start_under(launcher, &strs(&arguments(Guest::Network, options))))
    }
    /// The same in QEMU, which has other options.
    pub fn start_in_qemu(options: &[&str]) -> Self {
        let (kernel, initrd) = files(Guest::Network);
        let machine = ["-accel", "tcg", "-m", "512", "-nodefaults", "-display", "none", "-serial", "stdio"];
        let boots = ["-kernel", &kernel, "-initrd", &initrd, "-append", "console=ttyS0 quiet"];
        Self(Program::start_other("qemu-system-x86_64", &[&machine[..], &boots, options].concat(), &[]))
    }
    /// One that another command started.
    pub fn of(program: Program) -> Self {
        Self(program)
    }
    /// Waits for the prompt.
    pub fn ready(mut self) -> Shell {
        let booted = self.0.expect("MARK-DRIVERS");
        assert!(!booted.contains("MARK-NO-MODULE"), "{booted}");
        self.0.expect("# ");
        Shell { program: self.0 }
    }
}

/// Kernel and file system.
fn files(initrd: Guest) -> (String, String) {
    // The file system first: where it is fetched, the kernel that it is for comes with it.
    let initrd = initrd.path();
    (Guest::FullKernel.path(), initrd)
}
fn arguments(initrd: Guest, options: &[&str]) -> Vec<String> {
    let (kernel, initrd) = files(initrd);
    let own = ["run", "--memory", "512M", "--kernel", &kernel, "--initrd", &initrd, "--nographic"];
    let append = ["--append", "console=ttyS0 quiet"];
    [&own[..], &append, options].concat().into_iter().map(str::to_owned).collect()
}
fn strs(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}

impl Shell {
    /// Boots Debian's kernel with these options beside its own.
    pub fn start(options: &[&str]) -> Self {
        Booting::start(options).ready()
    }
    /// Boots it with another file system that says when its drivers are loaded.
    pub fn start_with(initrd: Guest, options: &[&str]) -> Self {
        Booting(Program::start(&strs(&arguments(initrd, options)))).ready()
    }
    /// Types a line that goes on by itself.
    pub fn begin(&mut self, command: &str) {
        // What goes on in the background has its separator already.
        let separator = if command.ends_with('&') { "" } else { ";" };
        // The marks are put together by the shell, so that the echo of the line does not have them.
        self.program.send(&format!("echo BE''GIN; {command}{separator} echo DO''NE $?\n"));
        self.program.expect("BEGIN");
    }
    /// Waits for a text that the command which was begun prints.
    pub fn expect(&mut self, wanted: &str) -> String {
        self.program.expect(wanted)
    }
    /// What the command which was begun has printed, when it is done, and its exit status.
    fn finish(&mut self) -> (String, String) {
        let printed = self.program.expect("DONE ");
        let status = self.program.expect("\n").trim().to_owned();
        self.program.expect("# ");
        (printed.trim_end_matches("DONE ").replace("\r\n", "\n").trim().to_owned(), status)
    }
    /// What the command which was begun has printed, when it is done.
    pub fn end(&mut self) -> String {
        self.finish().0
    }
    /// Runs a command; returns what it printed.
    pub fn run(&mut self, command: &str) -> String {
        self.begin(command);
        self.end()
    }
    /// Runs a command, which must end well; returns what it printed.
    #[track_caller]
    pub fn must(&mut self, command: &str) -> String {
        self.begin(command);
        let (printed, status) = self.finish();
        assert_eq!(status, "0", "`{command}` printed:\n{printed}");
        printed
    }
    /// Asks for an address.
    pub fn up(&mut self) {
        let told = self.run("up");
        assert!(told.contains("obtained") || told.contains("lease of"), "{told}");
    }
    /// The name of the interface whose card has this address.
    #[track_caller]
    pub fn interface(&mut self, mac: &str) -> String {
        let name = self.must(&format!("grep -l {mac} /sys/class/net/*/address | cut -d/ -f5"));
        assert!(!name.is_empty() && !name.contains('\n'), "{mac}: {name:?}");
        name
    }
    /// Pings, and must hear the answers.
    #[track_caller]
    pub fn ping(&mut self, address: &str) {
        let said = self.run(&format!("ping -c 3 -W 10 {address}"));
        assert!(said.contains("3 packets received"), "{said}");
    }
    /// Ends the guest.
    pub fn power_off(mut self) -> Ended {
        self.program.send("poweroff -f\n");
        let ended = self.program.wait();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        ended
    }
}
