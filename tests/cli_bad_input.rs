//! What cannot be used ends at once with one message that names it, and exit code 2.

mod support;

use std::fs;
use std::path::PathBuf;
use support::program::run_to_end;
use support::small_guest::small_guest;

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

#[test]
fn a_missing_kernel() {
    check_refused(
        &["run", "--kernel", "/nonexistent/vmlinuz"],
        &["--kernel /nonexistent/vmlinuz", "guest linux"],
    );
}

#[test]
fn a_kernel_that_is_a_folder() {
    check_refused(&["run", "--kernel", "/"], &["--kernel /", "directory"]);
}

#[test]
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

#[test]
fn an_initrd_larger_than_memory() {
    let folder = Folder::new("initrd");
    let kernel = folder.file("kernel", &truncated_kernel());
    let initrd = folder.file("initrd", &vec![0; 9 << 20]);
    let arguments = ["run", "--memory", "8M", "--kernel", &kernel, "--initrd", &initrd];
    check_refused(&arguments, &["--initrd", &initrd, "8M", "--memory"]);
}

#[test]
fn memory_of_zero_of_nonsense_and_beyond_the_host() {
    for size in ["0", "0M", "lots", "65G", "-1"] {
        check_refused(&["run", "--kernel", "k", &format!("--memory={size}")], &["--memory", "64G"]);
    }
    let host: u64 = fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| text.lines().next()?.split_whitespace().nth(1)?.parse().ok())
        .unwrap_or(u64::MAX);
    if host < 60 << 20 {
        check_refused(&["run", "--kernel", "/dev/null", "--memory", "64G"], &["--memory 64G", "would work"]);
    } else {
        eprintln!("skipped: this host could hold a guest of 64G");
    }
}

#[test]
fn unknown_cpu_models_and_features() {
    check_refused(&["cpus", "x86-64-v9"], &["x86-64-v9", "x86-64-v3"]);
    check_refused(&["cpus", "max,+teleport"], &["teleport"]);
    let folder = Folder::new("cpu");
    let kernel = folder.file("kernel", &truncated_kernel());
    check_refused(&["run", "--kernel", &kernel, "--cpu", "max,+teleport"], &["--cpu", "teleport"]);
    check_refused(&["run", "--kernel", &kernel, "--cpu", "80486"], &["--cpu", "80486", "x86-64-v3"]);
}

#[test]
fn too_many_processors() {
    check_refused(&["run", "--kernel", "k", "--cpus", "9"], &["--cpus", "8"]);
    check_refused(&["run", "--kernel", "k", "--cpus", "0"], &["--cpus"]);
}

#[test]
fn serial_ports_that_cannot_be_opened() {
    let serial = |spec: &str, words: &[&str]| check_refused(&["demo", "--serial", spec], words);
    serial("file:/nonexistent/folder/log", &["--serial", "/nonexistent/folder/log"]);
    serial("unix:/nonexistent/folder/socket", &["--serial", "/nonexistent/folder/socket"]);
    serial("telepathy", &["--serial", "telepathy", "stdio"]);
    let five = ["--serial", "null"].repeat(5);
    check_refused(&[&["demo"], &five[..]].concat(), &["--serial", "4"]);
}

#[test]
fn unknown_flags_and_commands_are_named() {
    check_refused(&["run", "--kernel", "k", "--turbo"], &["--turbo"]);
    check_refused(&["fly"], &["fly"]);
    check_refused(&["run"], &["--kernel"]);
}

#[test]
fn a_screen_dump_that_cannot_be_written() {
    check_refused(&["demo", "--screen-dump", "/nonexistent/screen.txt"], &["--screen-dump", "/nonexistent"]);
}

#[test]
fn a_file_is_no_folder_for_guests() {
    let folder = Folder::new("guests");
    let file = folder.file("file", b"");
    check_refused(&["guest", "linux", "--out", &format!("{file}/below")], &["--out", &file]);
}

/// Runs with `arguments`, which write to a device that is always full: the message names option and file.
#[track_caller]
fn check_full(arguments: &[&str], code: i32, word: &str) {
    let ended = run_to_end(arguments);
    assert_eq!(ended.code, Some(code), "{arguments:?}: {ended:?}");
    assert!(ended.errors.contains(word), "{arguments:?}: no {word:?} in {:?}", ended.errors);
    assert!(ended.errors.contains("No space left"), "{}", ended.errors);
}

#[test]
fn a_full_disk_is_named_with_its_option() {
    let demo = |more: &[&'static str]| [&["demo", "--expect", "trimotor> "], more].concat();
    check_full(&demo(&["--screen-dump", "/dev/full"]), 1, "--screen-dump /dev/full");
    check_full(&demo(&["--serial", "file:/dev/full"]), 0, "--serial file:/dev/full");
    if support::engines::usable("jit") {
        check_full(&demo(&["--accel", "jit", "--perf-map=/dev/full"]), 0, "--perf-map /dev/full");
    }
    // mov al, 'x'; out 0e9h, al; xor al, al; out 0f4h, al; hlt
    let image = small_guest("debugcon-full", &[0xb0, b'x', 0xe6, 0xe9, 0x30, 0xc0, 0xe6, 0xf4, 0xf4]);
    let path = image.path();
    let arguments =
        ["run", "--memory", "16M", "--debug-exit", "--debugcon", "file:/dev/full", "--kernel", &path];
    check_full(&arguments, 1, "--debugcon file:/dev/full");
}

#[test]
fn a_full_standard_output_is_named() {
    for arguments in [&["cpus"][..], &["doctor"], &["demo", "--serial", "stdio"]] {
        let full = fs::File::options().write(true).open("/dev/full").expect("/dev/full");
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_trimotor"));
        let command = command.args(arguments).stdin(std::process::Stdio::null()).stdout(full);
        let ended = command.output().expect("the program");
        let told = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(1), "{arguments:?}: {told}");
        assert!(told.contains("standard output: No space left"), "{arguments:?}: {told}");
    }
}
