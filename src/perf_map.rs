//! `--perf-map`: names for translated code in `perf report`.
//!
//! The format (Linux, tools/perf/Documentation/jit-interface.txt): a line for each piece of code with its start and
//! length in hexadecimal and its name. `perf` looks for `/tmp/perf-PID.map`, and takes it if the user who runs it
//! owns it. Code memory that was used anew has two lines then, and `perf` cannot tell them apart.

use crate::error::Failure;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use trimotor_cpu::code_observer::{CodeObserver, PlacedCode};

/// After so many lines they are written out, for who looks while the guest runs.
const LINES_AT_ONCE: u32 = 1000;

/// An observer that writes the map to `path`, or where `perf` looks for it.
///
/// # Errors
/// The file cannot be made.
pub fn observer(path: Option<&Path>) -> Result<CodeObserver, Failure> {
    let (path, file) = match path {
        Some(path) => (path.to_owned(), File::create(path)),
        None => (usual_path(), create_anew(&usual_path())),
    };
    let name = format!("--perf-map={}", path.display());
    let file =
        file.map_err(|error| Failure::bad(format!("{name}: {error}; name a file that can be written")))?;
    let mut map = PerfMap::new(file, name);
    Ok(Arc::new(Mutex::new(move |code: &PlacedCode| map.add(code))))
}

fn usual_path() -> PathBuf {
    PathBuf::from(format!("/tmp/perf-{}.map", std::process::id()))
}

/// A new file: one that is left from a process of the same number goes, and nobody else's is written to.
fn create_anew(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => File::create_new(path),
    }
}

struct PerfMap<W: Write> {
    out: BufWriter<W>,
    /// Flag and file, for messages.
    name: String,
    lines: u32,
    failed: bool,
}

impl<W: Write> PerfMap<W> {
    fn new(out: W, name: String) -> Self {
        Self { out: BufWriter::new(out), name, lines: 0, failed: false }
    }
    fn add(&mut self, code: &PlacedCode) {
        if self.failed {
            return;
        }
        self.lines += 1;
        let mut written = writeln!(self.out, "{:x} {:x} {}", code.host, code.bytes, code.what);
        if self.lines.is_multiple_of(LINES_AT_ONCE) {
            written = written.and_then(|()| self.out.flush());
        }
        if let Err(error) = written {
            self.fail(&error);
        }
    }
}

impl<W: Write> PerfMap<W> {
    fn fail(&mut self, error: &io::Error) {
        log::warn!("{}: {error}; the map is not complete", self.name);
        self.failed = true;
    }
}

impl<W: Write> Drop for PerfMap<W> {
    fn drop(&mut self) {
        if !self.failed
            && let Err(error) = self.out.flush()
        {
            self.fail(&error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trimotor_cpu::code_observer::{CodeKind, GuestBlock};

    #[test]
    fn a_line_has_start_length_and_name() {
        let mut lines = Vec::new();
        let mut map = PerfMap::new(&mut lines, String::new());
        let block = GuestBlock { rip: 0x40_1000, instructions: 3, bits: 64, user: true };
        map.add(&PlacedCode { host: 0x7f00_0000_1000, bytes: 0x60, what: CodeKind::Block(block) });
        map.add(&PlacedCode { host: 0x7f00_0000_0000, bytes: 16, what: CodeKind::Shared("enter") });
        drop(map);
        assert_eq!(
            String::from_utf8(lines).unwrap(),
            "7f0000001000 60 guest 0x401000 (64-bit user)\n7f0000000000 10 trimotor enter\n"
        );
    }
}
