//! Disk images beside QEMU's tools: `trimotor img` and `qemu-img` convert and create, and requests here and by `qemu-io`.
//!
//! `cargo bench --bench images` runs each pair alternately and prints the medians and their ratio; below 1 is faster than QEMU's
//! tool. `cargo bench --bench images -- MIB ROUNDS` takes other sizes [512, 7]. Files are in `$TMPDIR`, and
//! stay in the host's page cache: what is measured is the program's own work.

#![allow(clippy::unwrap_used, reason = "a failure to set the bench up ends it")]

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;
use trimotor_storage::qcow2::{CreateOptions, Header, Mode, Qcow2, create};
use trimotor_storage::{BlockBackend, HostFile};

const MIB: u64 = 1 << 20;
/// Requests of 4 KiB in a run.
const RANDOM_REQUESTS: u64 = 4000;

struct Bench {
    folder: PathBuf,
    mib: u64,
    rounds: usize,
}

fn main() {
    let numbers: Vec<u64> = std::env::args().skip(1).filter_map(|text| text.parse().ok()).collect();
    let mib = numbers.first().copied().unwrap_or(512).max(16);
    let rounds = numbers.get(1).copied().unwrap_or(7).max(1) as usize;
    let folder = std::env::temp_dir().join(format!("trimotor-bench-images-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let bench = Bench { folder, mib, rounds };
    bench.make_source();
    println!("{mib} MiB, {rounds} rounds; seconds, medians\n");
    println!("| what | trimotor | QEMU's tool | ratio |\n|---|---|---|---|");
    bench.converts();
    bench.creates();
    bench.requests();
    let _ = fs::remove_dir_all(&bench.folder);
}

impl Bench {
    fn path(&self, name: &str) -> String {
        self.folder.join(name).to_str().unwrap().to_owned()
    }
    /// A disk of which half is data that compresses somewhat, in pieces, and half is a hole.
    fn make_source(&self) {
        let mut file = File::create(self.path("source.raw")).unwrap();
        file.set_len(self.mib * MIB).unwrap();
        let mut state = 1u64;
        let mut piece = vec![0u8; MIB as usize];
        for at in (0..self.mib).step_by(2) {
            for word in piece.chunks_exact_mut(8) {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                // Half of the bits are random.
                word.copy_from_slice(&((state >> 33) | 0x6161_6161_0000_0000).to_le_bytes());
            }
            std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(at * MIB)).unwrap();
            file.write_all(&piece).unwrap();
        }
        run(
            "qemu-img",
            &["convert", "-f", "raw", "-O", "qcow2", &self.path("source.raw"), &self.path("source.qcow2")],
        );
    }
    /// Runs two ways in turn, and prints a line.
    fn pair(&self, what: &str, mut ours: impl FnMut() -> f64, mut theirs: impl FnMut() -> f64) {
        let (mut our_times, mut their_times) = (Vec::new(), Vec::new());
        for _ in 0..self.rounds {
            our_times.push(ours());
            their_times.push(theirs());
        }
        let (ours, theirs) = (median(&mut our_times), median(&mut their_times));
        println!("| {what} | {ours:.4} | {theirs:.4} | {:.2} |", ours / theirs);
    }
    fn converts(&self) {
        let trimotor = env!("CARGO_BIN_EXE_trimotor");
        let ways: [(&str, &[&str], &str, &str); 5] = [
            ("convert raw to qcow2", &["-f", "raw", "-O", "qcow2"], "source.raw", "out.qcow2"),
            ("convert qcow2 to raw", &["-f", "qcow2", "-O", "raw"], "source.qcow2", "out.raw"),
            ("convert qcow2 to qcow2", &["-f", "qcow2", "-O", "qcow2"], "source.qcow2", "out.qcow2"),
            ("convert raw to raw", &["-f", "raw", "-O", "raw"], "source.raw", "out.raw"),
            ("convert -c raw to qcow2", &["-f", "raw", "-c", "-O", "qcow2"], "source.raw", "out.qcow2"),
        ];
        for (what, options, from, to) in ways {
            let (from, to) = (self.path(from), self.path(to));
            let timed = |program: &str, before: &[&str]| {
                let _ = fs::remove_file(&to);
                timed(|| run(program, &[before, options, &[&from, &to]].concat()))
            };
            self.pair(what, || timed(trimotor, &["img", "convert"]), || timed("qemu-img", &["convert"]));
        }
    }
    fn creates(&self) {
        let trimotor = env!("CARGO_BIN_EXE_trimotor");
        let image = self.path("new.qcow2");
        for (what, options) in [
            ("create 100G", &["-f", "qcow2"][..]),
            ("create 100G, preallocation=metadata", &["-f", "qcow2", "-o", "preallocation=metadata"]),
        ] {
            let timed = |program: &str, before: &[&str]| {
                let _ = fs::remove_file(&image);
                timed(|| run(program, &[before, options, &["-q", &image, "100G"]].concat()))
            };
            self.pair(what, || timed(trimotor, &["img", "create"]), || timed("qemu-img", &["create"]));
        }
    }
    fn requests(&self) {
        let sequential: Vec<(u64, u64)> = (0..self.mib).map(|n| (n * MIB, MIB)).collect();
        let blocks = self.mib * MIB / 4096;
        let random: Vec<(u64, u64)> = (1..=RANDOM_REQUESTS)
            .map(|n| (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) % blocks * 4096, 4096))
            .collect();
        for (what, requests) in [("1 MiB in sequence", &sequential), ("4 KiB at random", &random)] {
            for (verb, is_write, is_new) in
                [("write new clusters", true, true), ("write in place", true, false), ("read", false, false)]
            {
                let image = self.path("requests.qcow2");
                let prepare = || {
                    make(Path::new(&image), self.mib * MIB);
                    if !is_new {
                        by_storage(Path::new(&image), requests, true);
                    }
                };
                self.pair(
                    &format!("{verb}, {what}"),
                    || {
                        prepare();
                        timed(|| by_storage(Path::new(&image), requests, is_write))
                    },
                    || {
                        prepare();
                        timed(|| by_qemu_io(&image, requests, is_write))
                    },
                );
            }
        }
    }
}

fn make(image: &Path, size: u64) {
    let file = File::options().read(true).write(true).create(true).truncate(true).open(image).unwrap();
    create(&HostFile::new(file, None).unwrap(), &CreateOptions::new(size)).unwrap();
}
fn by_storage(image: &Path, requests: &[(u64, u64)], is_write: bool) {
    let file = File::options().read(true).write(true).open(image).unwrap();
    let file = Arc::new(HostFile::new(file, None).unwrap());
    let header = Header::read(&*file).unwrap();
    let disk = Qcow2::open(file, header, None, Mode::Write).unwrap();
    let mut buffer = vec![0xA5; MIB as usize];
    for (offset, bytes) in requests {
        let buffer = &mut buffer[..*bytes as usize];
        if is_write { disk.write(*offset, buffer).unwrap() } else { disk.read(*offset, buffer).unwrap() }
    }
    disk.close().unwrap();
}
fn by_qemu_io(image: &str, requests: &[(u64, u64)], is_write: bool) {
    let verb = if is_write { "write" } else { "read" };
    let mut script = String::new();
    requests.iter().for_each(|(offset, bytes)| script += &format!("{verb} -q {offset} {bytes}\n"));
    let mut command = Command::new("qemu-io");
    command.args(["-f", "qcow2", image]).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).stdout(Stdio::null()).status();
    assert!(status.unwrap().success(), "{program} {arguments:?}");
}
fn timed(work: impl FnOnce()) -> f64 {
    let began = Instant::now();
    work();
    began.elapsed().as_secs_f64()
}
fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
