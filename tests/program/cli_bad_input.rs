//! What cannot be used ends at once with one message that names it, and exit code 2.

use crate::support::engines::JIT;
use crate::support::needs::{Need, Tests};
use crate::support::program::{executable, run_to_end};
use crate::support::small_guest::small_guest;
use std::fs;
use std::path::PathBuf;
use trimotor_machine::Engine;

pub fn tests() -> Tests {
    Tests::new()
        .test(a_missing_kernel)
        .test(a_kernel_that_is_a_folder)
        .test(an_empty_a_truncated_and_a_foreign_kernel)
        .test(an_initrd_larger_than_memory)
        .test(modules_larger_than_memory_together)
        .test(files_that_have_no_end)
        .test(files_of_other_kinds_are_named_with_what_would_help)
        .test(files_that_take_no_bytes_are_named_with_their_flag)
        .test_needing(&[JIT], a_perf_map_that_takes_no_bytes_is_named_with_its_flag)
        .test(memory_of_zero_of_nonsense_and_beyond_the_board)
        .test_needing(&[LESS_THAN_64G], memory_beyond_the_host)
        .test(unknown_cpu_models_and_features)
        .test(too_many_processors)
        .test(serial_ports_that_cannot_be_opened)
        .test(unknown_flags_and_commands_are_named)
        .test(a_machine_with_nothing_to_boot_from_says_what_to_give_it)
        .test(devices_that_no_board_can_have)
        .test(switches_that_cannot_be_made)
        .test(a_screen_dump_that_cannot_be_written)
        .test(a_file_is_no_folder_for_guests)
        .test(a_full_standard_output_is_named)
}

/// A folder for a test's files, gone with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("trimotor-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a temporary folder");
        Folder(path)
    }
    fn file(&self, name: &str, contents: &[u8]) -> String {
        let path = self.0.join(name);
        fs::write(&path, contents).expect("a temporary file");
        path.to_string_lossy().into_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs with `arguments`, which must be refused with a message that has all of `words`.
#[track_caller]
fn check_refused(arguments: &[&str], words: &[&str]) {
    let ended = run_to_end(arguments);
    assert_eq!(ended.code, Some(2), "{arguments:?}: {ended:?}");
    assert_eq!(ended.output, "", "{arguments:?} printed something");
    for word in words {
        assert!(ended.errors.contains(word), "{arguments:?}: no {word:?} in {:?}", ended.errors);
    }
    assert!(!ended.errors.contains("panicked"), "{}", ended.errors);
}

/// A bzImage header (Linux boot protocol 2.12) that says it is much longer than it is.
fn truncated_kernel() -> Vec<u8> {
    let mut image = vec![0; 0x1000];
    image[0x1f1] = 4; // setup_sects
    image[0x1f4..0x1f8].copy_from_slice(&0x10_0000u32.to_le_bytes()); // syssize, in paragraphs
    image[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
    image[0x200..0x202].copy_from_slice(&[0xeb, 0x66]);
    image[0x202..0x206].copy_from_slice(b"HdrS");
    image[0x206..0x208].copy_from_slice(&0x020cu16.to_le_bytes());
    image[0x211] = 1; // LOADED_HIGH
    image
}

fn a_missing_kernel() {
    check_refused(
        &["run", "--kernel", "/nonexistent/vmlinuz"],
        &["--kernel /nonexistent/vmlinuz", "guest linux"],
    );
}

fn a_kernel_that_is_a_folder() {
    check_refused(&["run", "--kernel", "/"], &["--kernel /", "directory"]);
}

fn an_empty_a_truncated_and_a_foreign_kernel() {
    let folder = Folder::new("kernels");
    let empty = folder.file("empty", b"");
    check_refused(&["run", "--kernel", &empty], &[&empty, "empty"]);
    let truncated = folder.file("truncated", &truncated_kernel());
    check_refused(&["run", "--kernel", &truncated], &[&truncated, "truncated"]);
    let text = folder.file("notes.txt", b"These are notes, not a kernel.\n");
    check_refused(&["run", "--kernel", &text], &[&text, "bzImage"]);
    let program = folder.file("foreign", b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\xb7\0");
    check_refused(&["run", "--kernel", &program], &[&program]);
}

fn an_initrd_larger_than_memory() {
    let folder = Folder::new("initrd");
    let kernel = folder.file("kernel", &truncated_kernel());
    let initrd = folder.file("initrd", &vec![0; 9 << 20]);
    let arguments = ["run", "--memory", "8M", "--kernel", &kernel, "--initrd", &initrd];
    check_refused(&arguments, &["--initrd", &initrd, "8M", "--memory"]);
}

/// Files without content that are large by their size: reading them would take as much memory.
fn modules_larger_than_memory_together() {
    let folder = Folder::new("modules");
    let kernel = folder.file("kernel", &truncated_kernel());
    let modules = ["one", "two"].map(|name| {
        let path = folder.file(name, b"");
        fs::File::options()
            .write(true)
            .open(&path)
            .and_then(|file| file.set_len(300 << 20))
            .expect("a sparse file");
        path
    });
    let [one, two] = &modules;
    let arguments = ["run", "--memory", "512M", "--kernel", &kernel, "--module", one, "--module", two];
    let words = [
        &format!("--module {one} has 300M"),
        &format!("--module {two} has 300M"),
        "601M",
        "512M",
        "--memory 1216M",
    ];
    check_refused(&arguments, &words);
}

fn files_that_have_no_end() {
    check_refused(&["run", "--kernel", "/dev/zero"], &["--kernel /dev/zero", "is a device"]);
}

/// What people give for the kernel in their first ten minutes.
fn files_of_other_kinds_are_named_with_what_would_help() {
    let folder = Folder::new("foreign");
    let mut iso = vec![0; 0x9000];
    iso[0x8001..0x8006].copy_from_slice(b"CD001");
    let mut sector = vec![1; 512];
    sector[510..].copy_from_slice(&[0x55, 0xAA]);
    let mut arm = vec![0; 0x100];
    arm[..2].copy_from_slice(b"MZ");
    arm[0x38..0x3C].copy_from_slice(b"ARM\x64");
    for (name, contents, words) in [
        ("debian.iso", iso, ["ISO 9660", "CD is not there yet"]),
        ("disk.img", sector, ["boot sector", "--boot-as flat"]),
        ("Image", arm, ["Linux kernel for ARM64", "x86-64"]),
        ("initrd", b"070701".to_vec(), ["cpio archive", "--initrd"]),
        ("page", b"<!DOCTYPE html>\n".to_vec(), ["HTML", "download"]),
    ] {
        let path = folder.file(name, &contents);
        check_refused(&["run", "--kernel", &path], &[&path, words[0], words[1]]);
    }
    let text = folder.file("text", b"no kernel\n");
    for (kind, lacks) in [
        ("bzimage", "HdrS"),
        ("vmlinux", "ELF"),
        ("pvh", "ELF"),
        ("multiboot1", "1BADB002h"),
        ("multiboot2", "E85250D6h"),
    ] {
        check_refused(
            &["run", "--boot-as", kind, "--kernel", &text],
            &[&text, lacks, "looks like text", "--boot-as"],
        );
    }
}

fn memory_of_zero_of_nonsense_and_beyond_the_board() {
    for size in ["0", "0M", "lots", "65G", "-1"] {
        check_refused(&["run", "--kernel", "k", &format!("--memory={size}")], &["--memory", "64G"]);
    }
}

/// A host with less memory than the largest guest.
const LESS_THAN_64G: Need = Need {
    name: "less-than-64g",
    check: || {
        let text = fs::read_to_string("/proc/meminfo").map_err(|error| format!("/proc/meminfo: {error}"))?;
        let kib = text.lines().next().and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
        match kib {
            Some(0..0x3C0_0000) => Ok(()),
            Some(_) => Err("this host could hold a guest of 64G".into()),
            None => Err("/proc/meminfo does not begin with MemTotal".into()),
        }
    },
};

fn memory_beyond_the_host() {
    check_refused(&["run", "--kernel", "/dev/null", "--memory", "64G"], &["--memory 64G", "would work"]);
}

fn unknown_cpu_models_and_features() {
    check_refused(&["cpus", "x86-64-v9"], &["x86-64-v9", "x86-64-v3"]);
    check_refused(&["cpus", "max,+teleport"], &["teleport"]);
    let folder = Folder::new("cpu");
    let kernel = folder.file("kernel", &truncated_kernel());
    check_refused(&["run", "--kernel", &kernel, "--cpu", "max,+teleport"], &["--cpu", "teleport"]);
    check_refused(&["run", "--kernel", &kernel, "--cpu", "80486"], &["--cpu", "80486", "x86-64-v3"]);
}

fn too_many_processors() {
    check_refused(&["run", "--kernel", "k", "--cpus", "9"], &["--cpus", "8"]);
    check_refused(&["run", "--kernel", "k", "--cpus", "0"], &["--cpus"]);
}

fn serial_ports_that_cannot_be_opened() {
    let serial = |spec: &str, words: &[&str]| check_refused(&["demo", "--serial", spec], words);
    serial("file:/nonexistent/folder/log", &["--serial", "/nonexistent/folder/log"]);
    serial("unix:/nonexistent/folder/socket", &["--serial", "/nonexistent/folder/socket"]);
    serial("telepathy", &["--serial", "telepathy", "stdio"]);
    let five = ["--serial", "null"].repeat(5);
    check_refused(&[&["demo"], &five[..]].concat(), &["--serial", "4"]);
}

fn switches_that_cannot_be_made() {
    if let Err(why) = Engine::Kvm.can_start() {
        let words = ["--switch kvm", &why.verdict, "trimotor doctor"];
        check_refused(&["demo", "--switch", "kvm@1"], &words);
    }
    check_refused(&["demo", "--switch", "tcg@1"], &["--switch", "there are interp, jit and kvm"]);
    check_refused(&["demo", "--switch", "interp"], &["--switch", "ENGINE@SECONDS", "jit@2.5"]);
    check_refused(&["demo", "--switch", "interp@soon"], &["--switch", "\"soon\" is no moment"]);
    check_refused(&["lockstep", "--switch", "interp@1"], &["--switch", "--engines"]);
}

fn devices_that_no_board_can_have() {
    for (device, says) in [
        ("isa-nothing", "`trimotor devices` lists"),
        ("isa-debug-exit,port=1", "its options: iobase"),
        ("isa-debug-exit,iobase=0x60", "another device has port 0x60"),
        ("demo-card,addr=1", "piix3 is at 00:01.0 already"),
        ("demo-card,addr=20", "a slot from 0 to 1f"),
        ("isa-debugcon", "--debugcon"),
    ] {
        check_refused(&["demo", "--device", device], &["--device", device.split(',').next().unwrap(), says]);
    }
    let five = ["--device", "isa-serial"].repeat(5);
    check_refused(&[&["demo"][..], &five].concat(), &["four serial ports"]);
}

fn unknown_flags_and_commands_are_named() {
    check_refused(&["run", "--kernel", "k", "--turbo"], &["--turbo"]);
    check_refused(&["fly"], &["fly"]);
}

fn a_machine_with_nothing_to_boot_from_says_what_to_give_it() {
    let ended = run_to_end(&["run", "--display", "lines", "--serial", "null", "--timeout", "3s"]);
    assert!(ended.errors.contains("trimotor run IMAGE"), "{}", ended.errors);
    assert!(ended.output.contains("No bootable device"), "{}", ended.output);
    assert_eq!(ended.code, Some(124));
}

fn a_screen_dump_that_cannot_be_written() {
    check_refused(&["demo", "--screen-dump", "/nonexistent/screen.txt"], &["--screen-dump", "/nonexistent"]);
}

/// A guest that ends at once, with each flag whose file takes no bytes.
fn files_that_take_no_bytes_are_named_with_their_flag() {
    full(&["--screen-dump /dev/full", "--serial file:/dev/full", "--debugcon file:/dev/full"]);
}
fn a_perf_map_that_takes_no_bytes_is_named_with_its_flag() {
    full(&["--perf-map=/dev/full"]);
}
fn full(outputs: &[&str]) {
    // mov al, '!'; out 0e9h, al; mov dx, 3f8h; out dx, al; xor al, al; out 0f4h, al; hlt
    let code = [0xb0, b'!', 0xe6, 0xe9, 0x66, 0xba, 0xf8, 0x03, 0xee, 0x30, 0xc0, 0xe6, 0xf4, 0xf4];
    let guest = small_guest("full", &code);
    let kernel = guest.path();
    for output in outputs {
        let more: Vec<_> = output.split(' ').collect();
        let machine = ["run", "--kernel", &kernel, "--debug-exit", "--display", "none"];
        let ended = run_to_end(&[&machine[..], &more].concat());
        let line = ended.errors.lines().find(|line| line.contains("No space left on device"));
        assert!(line.is_some_and(|line| line.contains(output)), "{output}: {}", ended.errors);
    }
}

fn a_file_is_no_folder_for_guests() {
    let folder = Folder::new("guests");
    let file = folder.file("file", b"");
    check_refused(&["guest", "linux", "--out", &format!("{file}/below")], &["--out", &file]);
}

fn a_full_standard_output_is_named() {
    for arguments in [&["cpus"][..], &["doctor"], &["demo", "--serial", "stdio"]] {
        let full = fs::File::options().write(true).open("/dev/full").expect("/dev/full");
        let mut command = std::process::Command::new(executable());
        let command = command.args(arguments).stdin(std::process::Stdio::null()).stdout(full);
        let ended = command.output().expect("the program");
        let told = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(1), "{arguments:?}: {told}");
        assert!(told.contains("standard output: No space left"), "{arguments:?}: {told}");
    }
}
