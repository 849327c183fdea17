//! Xen, a Multiboot client from the world: it relocates itself, goes from protected to long mode, finds
//! the ACPI tables and timers, and runs the Linux kernel that is its first module as a domain, with the second as
//! its initial file system.

use crate::support::engines::ENGINE_NAMES;
use crate::support::guests::{DEBIAN, Guest};
use crate::support::needs::Tests;
use crate::support::program::Program;

pub fn tests() -> Tests {
    Tests::needing(&[DEBIAN]).each(&ENGINE_NAMES, xen_runs_its_modules)
}

/// Its image has headers of both kinds. One engine takes each: it is the boot protocol that differs.
fn xen_runs_its_modules(engine: &str) {
    // Of Multiboot 2 Xen drops the first word too, where the boot loader is not one it knows.
    let (protocol, append) = match engine {
        "interp" => ("multiboot1", "console=com1 loglvl=all"),
        _ => ("multiboot2", "xen console=com1 loglvl=all"),
    };
    let name = if engine == "interp" { "" } else { "dom0 " };
    let kernel = format!("{} {name}earlyprintk=xen one=two", Guest::CloudKernel.path());
    let (xen, initrd) = (Guest::Xen.path(), Guest::Shell.path());
    let machine = ["run", "--accel", engine, "--memory", "768M", "--nographic"];
    let boot = ["--kernel", &xen, "--boot-as", protocol, "--append", append];
    let modules = ["--module", &kernel, "--module", &initrd];
    let mut program = Program::start(&[&machine[..], &boot, &modules].concat());
    program.expect("Bootloader: Trimotor");
    program.expect("Command line: console=com1 loglvl=all");
    program.expect("Building a PV Dom0");
    program.expect("Kernel command line: earlyprintk=xen one=two");
    program.expect("Run /init as init process");
    program.send("\x01x");
    assert_eq!(program.wait().code, Some(0));
}
