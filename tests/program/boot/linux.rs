//! Boots Debian's kernels and talks to them on the serial console.

use super::vmlinux;
use crate::support::engines::{ENGINE_NAMES, JIT};
use crate::support::guests::{DEBIAN, Guest};
use crate::support::needs::Tests;
use crate::support::program::{Ended, Program, run_to_end};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

pub fn tests() -> Tests {
    Tests::needing(&[DEBIAN])
        .each(&ENGINE_NAMES, the_cloud_kernel_runs_a_shell_reboots_and_powers_off)
        .each(&ENGINE_NAMES, a_shell_powers_off_reboots_and_halts_as_any_system)
        .each(&ENGINE_NAMES, the_power_off_guest_ends_with_code_0)
        .each(&ENGINE_NAMES, the_full_kernel_runs_a_shell)
        .each(&ENGINE_NAMES, the_32_bit_installer_reaches_its_first_dialog)
        .each(&ENGINE_NAMES, four_processors_come_up)
        .each(&ENGINE_NAMES, two_processors_do_the_work_of_one)
        .each(&ENGINE_NAMES, no_translation_that_is_kept_is_wrong)
        .each(&ENGINE_NAMES, translations_that_stay_until_a_flush_do_no_harm)
        .test_needing(&[JIT], a_small_code_cache_is_enough)
        .test(a_reset_ends_the_program_where_it_is_told_so)
        .each(&ENGINE_NAMES, counted_runs_print_the_same_bytes)
        .test(the_kernel_proper_boots_as_vmlinux_and_by_its_pvh_entry)
        .test(a_64_bit_kernel_boots_by_its_32_bit_entry)
}

/// Words that a kernel says when it finds something wrong with the machine.
const COMPLAINTS: &str = "BUG|WARNING|unchecked MSR|Call Trace|Oops";

/// Arguments that boot `kernel` with `initrd` on the serial console, on an engine.
fn boot(engine: &str, kernel: Guest, initrd: Guest, append: &str, more: &[&str]) -> Vec<String> {
    boot_file(engine, &kernel.path(), initrd, append, more)
}

/// Arguments that boot the kernel in the file `kernel`.
fn boot_file(engine: &str, kernel: &str, initrd: Guest, append: &str, more: &[&str]) -> Vec<String> {
    let append = format!("console=ttyS0 {append}");
    let initrd = initrd.path();
    let fixed = ["run", "--accel", engine, "--memory", "512M", "--nographic"];
    let named = ["--kernel", kernel, "--initrd", &initrd, "--append", &append];
    fixed.iter().chain(&named).chain(more).map(|argument| argument.to_string()).collect()
}

fn strs(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}

/// A shell in a guest.
struct Shell(Program);

impl Shell {
    /// Waits for the prompt of the guest that `arguments` boot.
    fn start(arguments: &[String]) -> Self {
        let mut program = Program::start(&strs(arguments));
        program.expect("MARK-BOOTED");
        program.expect("# ");
        Shell(program)
    }
    /// Runs `command`; returns what it printed.
    fn run(&mut self, command: &str) -> String {
        // The mark is put together by the shell, so that the echo of the line does not have it.
        self.0.send(&format!("{command}; echo DO''NE\n"));
        self.0.expect("DO''NE");
        let printed = self.0.expect("DONE");
        // Before its prompt the shell may not have the terminal in its hands, which then echoes too.
        self.0.expect("# ");
        printed.trim_end_matches("DONE").replace("\r\n", "\n").trim().to_owned()
    }
    fn power_off(mut self) -> Ended {
        self.0.send("poweroff -f\n");
        self.0.wait()
    }
    fn has_no_complaints(&mut self) {
        let complaints = self.run(&format!("dmesg | grep -E '{COMPLAINTS}'"));
        assert_eq!(complaints, "", "the kernel complains");
    }
}

fn a_small_code_cache_is_enough() {
    let more = ["--code-cache", "1M", "--stats=all"];
    let mut shell = Shell::start(&boot("jit", Guest::CloudKernel, Guest::Shell, "", &more));
    shell.has_no_complaints();
    let ended = shell.power_off();
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    let emptied = ended.errors.lines().find(|line| line.contains("code memory regions emptied for room"));
    let emptied = emptied.expect("a line of the statistics").split_whitespace().nth(6).expect("a number");
    assert!(emptied.replace(',', "").parse::<u64>().is_ok_and(|n| n > 100), "{emptied}");
}

fn the_cloud_kernel_runs_a_shell_reboots_and_powers_off(engine: &str) {
    let mut shell = Shell::start(&boot(engine, Guest::CloudKernel, Guest::Shell, "", &[]));
    let cpuinfo = shell.run("cat /proc/cpuinfo");
    let flags = cpuinfo.lines().find(|line| line.starts_with("flags")).expect("flags");
    for flag in
        ["fpu", "tsc", "apic", "sse2", "syscall", "nx", "lm", "sse4_2", "popcnt", "avx2", "bmi2", "fma"]
    {
        assert!(flags.split_whitespace().any(|word| word == flag), "no {flag} in {flags}");
    }
    shell.has_no_complaints();

    let host_now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let guest_now: u64 = shell.run("date +%s").parse().expect("a number");
    assert!(guest_now.abs_diff(host_now) < 120, "guest {guest_now}, host {host_now}");
    // Guest time may not run faster than the host's; how much slower is the host's load.
    let started = Instant::now();
    let slept = shell.run("a=$(date +%s); sleep 2; b=$(date +%s); echo $((b-a))");
    assert!(slept.parse::<u64>().is_ok_and(|seconds| seconds >= 2), "{slept}");
    assert!(started.elapsed() >= Duration::from_millis(1900), "{:?}", started.elapsed());

    shell.0.send("reboot -f\n");
    shell.0.expect("MARK-BOOTED");
    shell.0.expect("# ");
    assert_eq!(shell.run("echo $((6*7))"), "42");
    let ended = shell.power_off();
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
}

/// The commands without `-f`: process 1 ends the others and does what they ask. Leaving the shell is one more way.
fn a_shell_powers_off_reboots_and_halts_as_any_system(engine: &str) {
    let start = || Shell::start(&boot(engine, Guest::CloudKernel, Guest::Shell, "quiet", &[]));
    let mut shell = start();
    shell.0.send("reboot\n");
    shell.0.expect("MARK-BOOTED");
    shell.0.expect("# ");
    shell.0.send("poweroff\n");
    let ended = shell.0.wait();
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.output, ended.errors);
    for leave in ["\x04", "exit\n"] {
        let mut shell = start();
        shell.0.send(leave);
        shell.0.expect("The shell has ended: powering off.");
        let ended = shell.0.wait();
        assert_eq!(ended.code, Some(0), "{}\n{}", ended.output, ended.errors);
        assert!(!ended.output.contains("Kernel panic"), "{}", ended.output);
    }
    let mut shell = start();
    // What the kernel says at its end is no warning, which `quiet` would let through.
    shell.run("dmesg -n 8");
    shell.0.send("halt\n");
    shell.0.expect("System halted");
    shell.0.send("\x01x");
    assert_eq!(shell.0.wait().code, Some(0));
}

fn the_power_off_guest_ends_with_code_0(engine: &str) {
    let ended = run_to_end(&strs(&boot(engine, Guest::CloudKernel, Guest::PowerOff, "", &[])));
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.output, ended.errors);
    assert!(ended.output.contains("MARK-BOOTED") && ended.output.contains("Power down"), "{}", ended.output);
}

fn a_reset_ends_the_program_where_it_is_told_so() {
    // The board's doing, whatever the engine.
    let engine = "interp";
    let mut shell =
        Shell::start(&boot(engine, Guest::CloudKernel, Guest::Shell, "quiet", &["--on-reset", "exit"]));
    shell.0.send("reboot -f\n");
    let ended = shell.0.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    assert_eq!(ended.output.matches("MARK-BOOTED").count(), 1);
}

fn the_full_kernel_runs_a_shell(engine: &str) {
    let mut shell = Shell::start(&boot(engine, Guest::FullKernel, Guest::Shell, "", &[]));
    shell.has_no_complaints();
    assert!(shell.run("uname -m").contains("x86_64"));
    assert_eq!(shell.power_off().code, Some(0));
}

fn the_32_bit_installer_reaches_its_first_dialog(engine: &str) {
    let arguments = boot(engine, Guest::InstallerKernel, Guest::InstallerInitrd, "", &[]);
    let mut program = Program::start(&strs(&arguments));
    program.expect("Select a language");
    program.send("\x01x");
    assert_eq!(program.wait().code, Some(0));
}

fn counted_runs_print_the_same_bytes(engine: &str) {
    let run = |engine: &str| {
        let ended = run_to_end(&strs(&boot(engine, Guest::CloudKernel, Guest::PowerOff, "", &["--icount"])));
        assert_eq!(ended.code, Some(0), "{engine}: {}\n{}", ended.output, ended.errors);
        ended.output
    };
    let first = run("interp");
    assert_eq!(first, run(engine));
}

fn four_processors_come_up(engine: &str) {
    let mut shell = Shell::start(&boot(engine, Guest::CloudKernel, Guest::Shell, "", &["--cpus", "4"]));
    assert_eq!(shell.run("nproc"), "4");
    assert_eq!(shell.run("grep -c ^processor /proc/cpuinfo"), "4");
    shell.has_no_complaints();
    assert_eq!(shell.power_off().code, Some(0));
}

/// Processes on two processors that fork, execute, write files and compute, and check each other.
fn two_processors_do_the_work_of_one(engine: &str) {
    let mut shell = Shell::start(&boot(engine, Guest::CloudKernel, Guest::Shell, "", &["--cpus", "2"]));
    shell.run("seq 1 60000 >/tmp/text; sha256sum </tmp/text >/tmp/sum");
    // Short lines, so that the shell's line editor does not break the marks.
    for line in [
        "n=0; while [ $n -lt 3 ]; do",
        "gzip -c /tmp/text | gunzip |",
        "sha256sum >/tmp/s$1",
        "cmp /tmp/s$1 /tmp/sum || echo wrong",
        "m=0; while [ $m -lt 10 ]; do",
        "sh -c true; m=$((m+1)); done",
        "n=$((n+1)); done; echo done $1",
    ] {
        shell.run(&format!("echo '{line}' >>/tmp/w"));
    }
    for n in 1..4 {
        shell.run(&format!("{{ sh /tmp/w {n} >/tmp/{n} 2>&1 & }}"));
    }
    let said = shell.run("wait; cat /tmp/[123] | tr '\\n' ' '");
    assert!(said.contains("done 1 done 2 done 3") && !said.contains("wrong"), "{engine}: {said}");
    shell.has_no_complaints();
    assert_eq!(shell.power_off().code, Some(0));
}

/// A kernel that a test made of Debian's; the file is removed with it.
struct MadeKernel(PathBuf);

impl MadeKernel {
    fn new(name: &str, bytes: &[u8]) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        fs::write(&path, bytes).expect("the target folder can be written");
        MadeKernel(path)
    }
    fn path(&self) -> &str {
        self.0.to_str().expect("a path in UTF-8")
    }
}

impl Drop for MadeKernel {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// What Linux says of who loaded it: see `bootloader_type` in its "The Linux/x86 Boot Protocol". FFh is
/// a loader without a number; its own PVH entry notes B0h.
fn loader(shell: &mut Shell) -> u32 {
    shell.run("cat /proc/sys/kernel/bootloader_type").parse().expect("a number")
}

fn the_kernel_proper_boots_as_vmlinux_and_by_its_pvh_entry() {
    let image = fs::read(Guest::CloudKernel.path()).expect("the kernel can be read");
    let elf = vmlinux::unpack(&image).expect("Debian compresses its cloud kernel with LZ4");
    let kernel = MadeKernel::new("vmlinux", &elf);
    for (boot_as, wanted) in [("vmlinux", 0xFF), ("pvh", 0xB0)] {
        let more = ["--boot-as", boot_as];
        let mut shell = Shell::start(&boot_file("interp", kernel.path(), Guest::Shell, "quiet", &more));
        assert_eq!(loader(&mut shell), wanted, "{boot_as}");
        shell.has_no_complaints();
        assert_eq!(shell.power_off().code, Some(0));
    }
}

fn a_64_bit_kernel_boots_by_its_32_bit_entry() {
    /// `xloadflags`, of which bit 0 offers the 64-bit entry.
    const XLOADFLAGS: usize = 0x236;
    let mut image = fs::read(Guest::CloudKernel.path()).expect("the kernel can be read");
    image[XLOADFLAGS] &= !1;
    let kernel = MadeKernel::new("vmlinuz-32", &image);
    let mut shell = Shell::start(&boot_file("interp", kernel.path(), Guest::Shell, "quiet", &[]));
    // The kernel got the header that offers no 64-bit entry.
    let flags =
        shell.run("dd if=/sys/kernel/boot_params/data bs=1 skip=566 count=1 2>/dev/null | od -An -tu1");
    assert!(flags.trim().parse::<u8>().is_ok_and(|flags| flags & 1 == 0), "{flags}");
    assert!(shell.run("uname -m").contains("x86_64"));
    shell.has_no_complaints();
    assert_eq!(shell.power_off().code, Some(0));
}

fn no_translation_that_is_kept_is_wrong(engine: &str) {
    let ended =
        run_to_end(&strs(&boot(engine, Guest::CloudKernel, Guest::PowerOff, "quiet", &["--check-tlb"])));
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.output, ended.errors);
    assert!(ended.output.contains("MARK-BOOTED"));
    assert!(ended.errors.contains("contradicts: 0\n"), "{}", ended.errors);
}

/// Linux flushes what it changes.
fn translations_that_stay_until_a_flush_do_no_harm(engine: &str) {
    let ended =
        run_to_end(&strs(&boot(engine, Guest::CloudKernel, Guest::PowerOff, "quiet", &["--tlb", "keep"])));
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.output, ended.errors);
    assert!(ended.output.contains("MARK-BOOTED"));
    assert!(ended.errors.contains("missing INVLPGs: 0\n"), "{}", ended.errors);
}
