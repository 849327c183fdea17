//! `trimotor img`: each command beside what `qemu-img` says of its result.

pub mod documents;
pub mod img;

use crate::support::program::executable;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A folder for a test's files, gone with the test. Programs run in it.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("trimotor-img-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a temporary folder");
        Folder(path)
    }
    pub fn path(&self) -> &Path {
        &self.0
    }
    /// Runs a program here.
    pub fn run(&self, program: &Path, arguments: &[&str]) -> Output {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(&self.0)
            .output()
            .unwrap_or_else(|error| panic!("{program:?}: {error}"))
    }
    /// Runs `trimotor img`, which must succeed; returns what it printed on standard output.
    #[track_caller]
    pub fn img(&self, arguments: &[&str]) -> String {
        text_of(arguments, &self.run(&executable(), &[&["img"], arguments].concat()))
    }
    /// Runs `qemu-img`, which must succeed; returns what it printed on standard output.
    #[track_caller]
    pub fn qemu_img(&self, arguments: &[&str]) -> String {
        text_of(arguments, &self.run(Path::new("qemu-img"), arguments))
    }
}

#[track_caller]
fn text_of(arguments: &[&str], output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {}: {errors}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
