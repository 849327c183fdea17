//! Linux under gdb: a breakpoint from a kernel's start on, and one that a program in the guest hits.

use super::{Debugged, GDB, assert_in_order};
use crate::support::engines::ENGINE_NAMES;
use crate::support::guests::{DEBIAN, Guest};
use crate::support::needs::Tests;

pub fn tests() -> Tests {
    Tests::needing(&[GDB, DEBIAN]).each(&ENGINE_NAMES, a_kernel_stops_where_it_is_told)
}

/// The shell's prompt.
const PROMPT: &str = "/root # ";

fn a_kernel_stops_where_it_is_told(engine: &str) {
    let (kernel, initrd) = (Guest::CloudKernel.path(), Guest::Shell.path());
    let mut guest = Debugged::start(
        "",
        &[
            "--accel",
            engine,
            "--memory",
            "256M",
            "--serial",
            "stdio",
            "--kernel",
            &kernel,
            "--initrd",
            &initrd,
            "--append",
            "console=ttyS0 quiet nokaslr",
        ],
    );
    guest.program.expect(PROMPT);
    // The kernel's own symbols.
    let mut address = |name: &str| {
        guest.program.send(&format!("grep ' {name}$' /proc/kallsyms\n"));
        let line = guest.program.expect(&format!(" {name}\r\n"));
        let line = line.lines().last().expect("a line").to_owned();
        guest.program.expect(PROMPT);
        format!("0x{}", line.split_whitespace().next().expect("an address"))
    };
    // Not of the code that Linux frees: that is filled with INT3, which gdb takes for a breakpoint of the program's own.
    let (start, sync) = (address("rest_init"), address("__x64_sys_sync"));
    let (at_start, at_sync) = (format!("hbreak *{start}"), format!("break *{sync}"));
    // Set before the kernel is there, and its page tables.
    let shown = guest.gdb(&[
        "show architecture",
        &at_start,
        "monitor system_reset",
        "continue",
        "print $cr0",
        "print $efer",
        "print/x $gs_base",
        "stepi",
        "stepi",
        "delete",
        "detach",
    ]);
    let reached = format!("Breakpoint 1, {start}");
    assert_in_order(&shown, &["i386:x86-64", &reached, "PG", "LMA", "detached"]);
    guest.program.expect(PROMPT);
    // Again and again, as nobody knows when gdb is there.
    guest.program.send("while sleep 1; do sync; echo SYN''CED; done\n");
    let shown = guest.gdb(&[
        &at_sync,
        "continue",
        "print $cs & 3",
        "print/x $k_gs_base",
        "x/2i $pc",
        "delete",
        "stepi",
        "stepi",
        "stepi",
        "detach",
    ]);
    let reached = format!("Breakpoint 1, {sync}");
    assert_in_order(&shown, &[&reached, "= 0\n", "=> ", "detached"]);
    guest.program.expect("SYNCED");
    guest.program.send("\x03");
    guest.program.expect(PROMPT);
    guest.program.send("poweroff -f\n");
    guest.ends_with(0);
}
