//! Small guests under gdb: a boot sector, a 32-bit kernel with its source, two vCPUs.

use super::{Debugged, GDB, assert_in_order};
use crate::images::Folder;
use crate::support::engines::ENGINE_NAMES;
use crate::support::needs::{Need, Tests, program};
use crate::support::small_guest::{CODE, Scratch, small_guest, triple_fault};
use iced_x86::code_asm::*;
use std::path::Path;

/// A compiler of kernels.
pub const GCC: Need = Need { name: "gcc", check: || program("gcc", "gcc") };

pub fn tests() -> Tests {
    Tests::needing(&[GDB])
        .each(&ENGINE_NAMES, a_boot_sector_is_debugged)
        .each(&ENGINE_NAMES, vcpus_are_threads)
        .each(&ENGINE_NAMES, a_triple_fault_stops_first)
        .test(kill_ends_the_run)
}

pub fn source_tests() -> Tests {
    Tests::needing(&[GDB, GCC]).each(&ENGINE_NAMES, a_kernel_is_debugged_by_its_source)
}

/// mov ax, 1234h; inc ax; jmp 07C0h:9; nop; mov bx, 5678h; mov al, 0; out F4h, al; hlt.
const SECTOR: [u8; 18] = [
    0xB8, 0x34, 0x12, 0x40, 0xEA, 0x09, 0x00, 0xC0, 0x07, 0x90, 0xBB, 0x78, 0x56, 0xB0, 0x00, 0xE6, 0xF4,
    0xF4,
];

fn a_boot_sector_is_debugged(engine: &str) {
    let mut image = vec![0; 1_474_560];
    image[..SECTOR.len()].copy_from_slice(&SECTOR);
    image[510..512].copy_from_slice(&[0x55, 0xAA]);
    let floppy = Scratch::new("sector.img");
    std::fs::write(&floppy.0, image).unwrap();
    let guest = Debugged::start_stopped(engine, "", &["--floppy", &floppy.path()]);
    let shown = guest.gdb(&[
        "show architecture",
        "print/x $pc",
        "break *0x7c00",
        "continue",
        "x/i $pc",
        "stepi",
        "print/x $ax",
        "stepi",
        "stepi",
        "print/x $pc",
        "print/x $cs",
        "print/x $cs_base",
        "x/2i $pc",
        "print $cr0",
        "break *0x7c0d",
        "continue",
        "print/x $bx",
        "x/1xh 0x7dfe",
        "monitor info status",
        "monitor cont",
        "info registers eflags",
    ]);
    assert_in_order(
        &shown,
        &[
            "i8086",
            "= 0xfffffff0",
            "Breakpoint 1, 0x00007c00",
            "=> 0x7c00:\tmov    $0x1234,%ax",
            "= 0x1234",
            "= 0x7c09",
            "= 0x7c0",
            "= 0x7c00",
            "=> 0x7c09:\tnop",
            "0x7c0a:\tmov    $0x5678,%bx",
            "= [ ET",
            "Breakpoint 2, 0x00007c0d",
            "= 0x5678",
            "0x7dfe:\t0xaa55",
            "eflags         0x",
            "detached",
            // What the stub shows goes to standard error.
            "VM status: paused",
            "Error: gdb would not hear of it",
        ],
    );
    // It has detached, and the guest goes on.
    guest.ends_with(1);
}

/// The options that make a Multiboot kernel of one C file.
pub const CFLAGS: [&str; 9] = [
    "-m32",
    "-g",
    "-ffreestanding",
    "-fno-toplevel-reorder",
    "-fno-pie",
    "-fcf-protection=none",
    "-nostdlib",
    "-static",
    "-Wl,-n,-Ttext=0x100000,--build-id=none",
];

fn a_kernel_is_debugged_by_its_source(engine: &str) {
    let folder = Folder::new(&format!("gdb-source-{engine}"));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/program/gdb/kernel.c");
    let kernel = folder.path().join("kernel.elf").to_string_lossy().into_owned();
    let compiled =
        folder.run(Path::new("gcc"), &[&CFLAGS[..], &["-o", &kernel, &source.to_string_lossy()]].concat());
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    let guest = Debugged::start_stopped(engine, "", &["--kernel", &kernel]);
    let file = format!("file {kernel}");
    let shown = guest.gdb_with(
        &[&file],
        &[
            "show architecture",
            "break add",
            "continue",
            "print a + 10 * b",
            "finish",
            "delete",
            "watch total",
            "continue",
            "continue",
            "delete",
            "set var total = 100",
            "rwatch total",
            "continue",
            "delete",
            "tbreak add",
            "continue",
            "next",
            "print sum",
            "set var sum = 50",
            "step",
            "up",
            "down",
            "hbreak out",
            "continue",
            "backtrace",
            "print total",
            "print $xmm0",
            "set $xmm0.v4_int32[1] = 7",
            "print $xmm0.v4_int32",
            "set $ymm1.v8_int32[7] = 9",
            "print $ymm1.v8_int32[7]",
            "set $st0 = 1.5",
            "print $st0",
            "print/x $ftag",
            "set $eax = 0x12345678",
            "print/x $ax",
            "set $cr0 = 0",
            "print $cr0",
            "print/x $gdt_limit",
            "monitor physical on",
            "x/2xw 0x100000",
            "monitor physical off",
            "set $before = $eip",
            "set $eip = _start",
            "print $eip",
            "set $eip = $before",
            "continue",
        ],
    );
    assert_in_order(
        &shown,
        &[
            "i386",
            "Breakpoint 1, add (a=0, b=1)",
            "= 10",
            "Value returned is",
            "= 1",
            "ardware watchpoint 2: total",
            "Old value = 0\nNew value = 1\n",
            "Old value = 1\nNew value = 3\n",
            "read watchpoint 3: total",
            "Value = 100",
            "add (a=100, b=3)",
            "= 103",
            "_start ()",
            "add (a=100, b=3)",
            "out (port=244, value=1 '\\001')",
            "#0  out (",
            "in _start ()",
            "= 50",
            "v4_float = ",
            "{0, 7, 0, 0}",
            "= 9",
            "= 1.5",
            "= 0x5678",
            "= [ PE",
            "0x1badb002",
            "<_start>",
            "exited with code 03",
        ],
    );
    guest.ends_with(3);
}

/// The second vCPU, started by INIT and SIPI at 8000h, counts at 9000h; the first one at 9100h.
fn two_counters() -> Vec<u8> {
    let mut a = CodeAssembler::new(32).unwrap();
    let emit = |a: &mut CodeAssembler| -> Result<(), IcedError> {
        let mut count = a.create_label();
        // inc word [9000h]; jmp back, in 16-bit code
        a.mov(dword_ptr(0x8000), 0x9000_06FFu32)?;
        a.mov(dword_ptr(0x8004), 0xFAEB)?;
        a.mov(dword_ptr(0xFEE0_00F0u32), 0x1FF)?;
        for command in [0xC500, 0x8500, 0x608] {
            a.mov(dword_ptr(0xFEE0_0310u32), 0x100_0000)?;
            a.mov(dword_ptr(0xFEE0_0300u32), command)?;
        }
        a.set_label(&mut count)?;
        a.inc(dword_ptr(0x9100))?;
        a.jmp(count)
    };
    emit(&mut a).unwrap();
    a.assemble(u64::from(CODE)).unwrap()
}

fn vcpus_are_threads(engine: &str) {
    let kernel = small_guest(&format!("gdb-threads-{engine}"), &two_counters());
    let guest = Debugged::start_stopped(engine, "", &["--cpus", "2", "--kernel", &kernel.path()]);
    let shown = guest.gdb(&[
        "info threads",
        // Reached by the second one only.
        "hbreak *0x8004",
        "continue",
        "info threads",
        "continue",
        "print/x $pc",
        "set $before = *(int *)0x9100",
        "set scheduler-locking on",
        "stepi",
        "stepi",
        "print *(int *)0x9100 - $before",
        "continue",
        "print *(short *)0x9000",
        "thread 1",
        "stepi",
        "stepi",
        "stepi",
        "stepi",
        "print *(int *)0x9100 > $before",
        "print *(short *)0x9000",
        "set scheduler-locking off",
        "delete",
        "watch *(int *)0x9100 if *(int *)0x9100 > $before + 5",
        "continue",
        "info threads",
        "monitor info cpus",
        "kill",
    ]);
    assert_in_order(
        &shown,
        &[
            "* 1    Thread 1.1",
            "CPU#0 [running]",
            "2    Thread 1.2",
            "CPU#1 [waits for SIPI]",
            "Thread 2 hit Breakpoint 1, 0x00008004",
            "* 2    Thread 1.2",
            "CPU#1 [running]",
            "Thread 2 hit Breakpoint 1, 0x00008004",
            "= 0x8004",
            "= 0\n",
            "hit Breakpoint 1",
            "= 4\n",
            "= 1\n",
            "= 4\n",
            "Thread 1 hit Hardware watchpoint",
            "CPU#1 [running]",
            "CPU #1: pc=",
        ],
    );
    guest.ends_with(0);
}

fn a_triple_fault_stops_first(engine: &str) {
    let kernel = small_guest(&format!("gdb-triple-{engine}"), &triple_fault(CODE));
    let guest = Debugged::start_stopped(engine, "", &["--kernel", &kernel.path()]);
    let shown = guest.gdb(&["continue", "x/i $pc", "continue"]);
    assert_in_order(&shown, &["received signal SIGABRT", "ud2", "terminated with signal SIGABRT"]);
    let ended = guest.program.wait();
    assert!(ended.errors.contains("triple fault on vCPU 0") && ended.errors.contains("#UD"), "{ended:?}");
}

fn kill_ends_the_run() {
    let kernel = small_guest("gdb-kill", &[0xEB, 0xFE]);
    let guest = Debugged::start_stopped("interp", "", &["--kernel", &kernel.path()]);
    let shown = guest.gdb(&["print/x $pc", "kill"]);
    assert_in_order(&shown, &[&format!("= {CODE:#x}"), "killed"]);
    guest.ends_with(0);
}
