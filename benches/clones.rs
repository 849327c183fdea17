//! Clones of a saved machine: how long one takes from the start of the program to the guest's first answer, and how much of the host's memory many of
//! them need together.
//!
//! ```text
//! cargo bench --bench clones -- --kernel vmlinuz-cloud --initrd shell.cpio.gz
//! cargo bench --bench clones -- --kernel vmlinuz-cloud --initrd shell.cpio.gz --memory 2G --clones 30
//! ```
//! The guest boots to its shell once, and is saved in both forms. Each clone then gets an empty line typed, which its shell answers by another prompt.
//! Memory is the host's *proportional set size* (proc(5), smaps_rollup): pages that several programs share count as their part
//! of it.

#![allow(missing_docs, reason = "a program")]
#![allow(clippy::unwrap_used, reason = "a bench that cannot be set up ends")]

use clap::Parser;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use trimotor_test_support::program::Program;
use trimotor_test_support::small_guest::Scratch;

/// What the guest's shell shows.
const PROMPT: &str = "# ";

#[derive(Parser)]
struct Options {
    /// The guest's kernel
    #[arg(long)]
    kernel: PathBuf,
    /// Its file system, with a shell
    #[arg(long)]
    initrd: PathBuf,
    /// Its memory
    #[arg(long, default_value = "512M")]
    memory: String,
    /// How many clones there are
    #[arg(long, default_value_t = 10)]
    clones: usize,
    /// What runs them
    #[arg(long, default_value = "jit")]
    engine: String,
    /// `cargo bench` passes it
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let options = Options::parse();
    let (packed, mapped) = (Scratch::new("packed"), Scratch::new("mapped"));
    boot_and_save(&options, &packed, &mapped);
    println!(
        "| form | file, MiB | first answer, ms: least, median, most | memory of {} clones, MiB: PSS, RSS |",
        options.clones
    );
    println!("|---|---|---|---|");
    for (form, file) in [("packed", &packed), ("mapped", &mapped)] {
        let mut clones = Vec::new();
        let mut times = Vec::new();
        for _ in 0..options.clones {
            let (clone, time) = start(&options, file);
            clones.push(clone);
            times.push(time);
        }
        times.sort();
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let [pss, rss] =
            ["Pss:", "Rss:"].map(|field| clones.iter().map(|clone| memory(clone, field)).sum::<f64>());
        println!(
            "| {form} | {:.1} | {:.1}, {:.1}, {:.1} | {pss:.1}, {rss:.1} |",
            used(file),
            ms(times[0]),
            ms(times[times.len() / 2]),
            ms(times[times.len() - 1]),
        );
        for mut clone in clones {
            clone.send("\x01x");
            clone.wait();
        }
    }
}

/// Boots the guest, and saves it in both forms.
fn boot_and_save(options: &Options, packed: &Scratch, mapped: &Scratch) {
    let (kernel, initrd) = (options.kernel.to_str().unwrap(), options.initrd.to_str().unwrap());
    let mut program = Program::start(&[
        "run",
        "--accel",
        &options.engine,
        "--memory",
        &options.memory,
        "--nographic",
        "--kernel",
        kernel,
        "--initrd",
        initrd,
        "--append",
        "console=ttyS0 quiet",
    ]);
    program.expect(PROMPT);
    // The monitor is behind the console's keys.
    program.send("\x01c");
    for (flag, file) in [("", packed), ("-m ", mapped)] {
        program.expect("(trimotor) ");
        program.send(&format!("save {flag}{}\r", file.path()));
        program.expect("\n");
    }
    program.expect("(trimotor) ");
    program.send("quit\r");
    assert_eq!(program.wait().code, Some(0));
}

/// Starts a clone; how long it took until its guest answered.
fn start(options: &Options, file: &Scratch) -> (Program, Duration) {
    let begin = Instant::now();
    let mut clone = Program::start(&[
        "run",
        "--restore",
        &file.path(),
        "--clone",
        "--accel",
        &options.engine,
        "--monitor",
        "none",
    ]);
    clone.send("\r");
    clone.expect(PROMPT);
    (clone, begin.elapsed())
}

/// A field of a program's memory, in MiB.
fn memory(program: &Program, field: &str) -> f64 {
    let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", program.id())).unwrap();
    let line = text.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}

/// What a file takes of the host's disk, in MiB.
fn used(file: &Scratch) -> f64 {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(&file.0).unwrap().blocks() as f64 / 2048.0
}
