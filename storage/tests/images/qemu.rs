//! QEMU's tools.

use std::path::Path;
use std::process::{Command, Output};

fn output(program: &str, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"))
}

/// The same, again where it found a lock: another test is just starting a program, which has the files of this one until
/// it runs.
fn patient_output(program: &str, arguments: &[&str]) -> Output {
    const TRIES: u32 = 200;
    let is_lock =
        |done: &Output| !done.status.success() && String::from_utf8_lossy(&done.stderr).contains("lock");
    let mut done = output(program, arguments);
    for _ in 0..TRIES {
        if !is_lock(&done) {
            break;
        }
        done = output(program, arguments);
    }
    done
}

/// Runs `qemu-img`, which must succeed; returns what it printed.
#[track_caller]
pub fn img(arguments: &[&str]) -> String {
    let done = patient_output("qemu-img", arguments);
    let text = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "qemu-img {arguments:?}: {}\n{text}", done.status);
    text
}
/// Runs `qemu-io` commands on an image; they must succeed.
#[track_caller]
pub fn io(image: &Path, format: &str, commands: &[String]) {
    let path = image.to_str().unwrap();
    let mut arguments = vec!["-f", format];
    commands.iter().for_each(|command| arguments.extend(["-c", command]));
    arguments.push(path);
    let done = patient_output("qemu-io", &arguments);
    let text = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success() && !text.contains("fail"), "qemu-io {arguments:?}: {text}");
}
/// Whether `qemu-io` can open an image for writing, and what it says.
pub fn can_write(image: &Path, format: &str) -> Result<(), String> {
    let done = output("qemu-io", &["-f", format, "-c", "write 0 512", image.to_str().unwrap()]);
    if done.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&done.stderr).into_owned()) }
}
/// `qemu-img check` must find neither errors nor leaks.
#[track_caller]
pub fn check(image: &Path) {
    img(&["check", "-f", "qcow2", image.to_str().unwrap()]);
}
/// `qemu-img check` must find no errors; whether it found clusters that are counted and not used.
#[track_caller]
pub fn check_without_errors(image: &Path) -> bool {
    let done = patient_output("qemu-img", &["check", "-f", "qcow2", image.to_str().unwrap()]);
    let text = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(matches!(done.status.code(), Some(0 | 3)), "{}: {text}", image.display());
    done.status.code() == Some(3)
}
/// `qemu-img compare` must find two images equal.
#[track_caller]
pub fn compare(one: (&Path, &str), other: (&Path, &str)) {
    img(&["compare", "-f", one.1, "-F", other.1, one.0.to_str().unwrap(), other.0.to_str().unwrap()]);
}
