//! The same programs in a Linux guest on our engines, on QEMU's TCG, and natively, in turn: CPU seconds of each
//! workload, and by groups the geometric means of the ratios.
//!
//! The guest's file system runs a list of workloads and prints for each `BENCH-START name`, `BENCH-END name` and
//! `BENCH name SECONDS cpu SECONDS` on the serial port; `bench.only=name,name` on the kernel's command line
//! picks some. Natively the same list runs in a folder that the file system was unpacked to, as root:
//! ```text
//! mkdir /tmp/native; cd /tmp/native; gunzip < bench.cpio.gz | cpio -id; mount --bind /proc proc
//! cargo bench --bench side_by_side -- --kernel vmlinuz --initrd bench.cpio.gz --native /tmp/native
//! cargo bench --bench side_by_side -- ... --engines jit,tcg --only sieve,crc --runs 3
//! ```
//! An emulator's CPU seconds are those that the host counts for its threads between the two marks, so that a busy
//! host does little to them; natively the workload's own. With `--wall` both are the guest's clock.

#![allow(missing_docs, reason = "a program")]

use clap::{Parser, ValueEnum};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;
use trimotor_test_support::host_time::host_seconds;

/// Workloads by groups, and what the translator aims at: times relative to TCG's and to native ones.
const GROUPS: [(&str, &[&str], [f64; 2]); 4] = [
    ("integer", &["sieve", "crc", "mix", "vmloop", "fib"], [0.33, 1.8]),
    ("programs", &["gzip", "sha256", "lua"], [0.32, 1.8]),
    ("fp, vectors, strings", &["matmul", "x87", "memstr", "repmovs"], [0.035, 2.5]),
    ("system", &["syscall", "pipepp", "fork", "exec", "pgfault", "smc"], [0.35, 6.0]),
];
/// The aims for all workloads together.
const ALL: [f64; 2] = [0.20, 2.9];

/// No run takes as long: a guard against hanging.
const LONGEST_RUN: Duration = Duration::from_secs(1800);

/// Who runs the workloads.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Peer {
    Jit,
    Interp,
    Tcg,
    Native,
}

impl Peer {
    fn name(self) -> &'static str {
        match self {
            Peer::Jit => "jit",
            Peer::Interp => "interp",
            Peer::Tcg => "TCG",
            Peer::Native => "native",
        }
    }
}

/// Compares engines, QEMU's TCG and native runs of the same programs.
#[derive(Parser)]
struct Options {
    /// The guest's kernel
    #[arg(long)]
    kernel: PathBuf,
    /// The guest's file system with the workloads
    #[arg(long)]
    initrd: PathBuf,
    /// Where that file system is unpacked, for native runs
    #[arg(long)]
    native: Option<PathBuf>,
    /// Who runs them [default: jit,interp,tcg, and native with --native]
    #[arg(long, value_delimiter = ',')]
    engines: Vec<Peer>,
    /// Only these workloads
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Runs of each, in turn; medians are shown
    #[arg(long, default_value_t = 1)]
    runs: usize,
    /// Seconds of the guest's clock instead of CPU seconds
    #[arg(long)]
    wall: bool,
    /// QEMU
    #[arg(long, default_value = "qemu-system-x86_64")]
    qemu: PathBuf,
    /// `cargo bench` passes it
    #[arg(long, hide = true)]
    bench: bool,
}

/// Seconds by workload.
type Seconds = BTreeMap<String, f64>;

fn main() {
    let mut options = Options::parse();
    if options.engines.is_empty() {
        options.engines = vec![Peer::Jit, Peer::Interp, Peer::Tcg];
        options.engines.extend(options.native.is_some().then_some(Peer::Native));
    }
    let mut runs: BTreeMap<Peer, Vec<Seconds>> = BTreeMap::new();
    for n in 1..=options.runs {
        for &peer in &options.engines {
            eprintln!("run {n} of {}: {}", options.runs, peer.name());
            match run(&options, peer) {
                Ok(seconds) => runs.entry(peer).or_default().push(seconds),
                Err(why) => {
                    eprintln!("{}: {why}", peer.name());
                    std::process::exit(1);
                }
            }
        }
    }
    let medians: BTreeMap<Peer, Seconds> = runs.iter().map(|(peer, runs)| (*peer, medians(runs))).collect();
    print!("{}{}", workloads_table(&medians), groups_table(&medians));
}

fn command(options: &Options, peer: Peer) -> Result<Command, String> {
    let only = options.only.join(",");
    if peer == Peer::Native {
        let folder = options.native.as_ref().ok_or("--native says where the file system is unpacked")?;
        let mut command = Command::new("chroot");
        command.arg(folder).arg("/b/bench.sh").env_clear().env("PATH", "/usr/sbin:/usr/bin:/bin:/sbin:/b");
        command.env("BENCH_SCALE", "1").env("BENCH_ONLY", only);
        return Ok(command);
    }
    let append = format!("console=ttyS0 quiet panic=-1 bench.only={only}");
    let mut command = match peer {
        Peer::Tcg => {
            let mut command = Command::new(&options.qemu);
            command.args(["-accel", "tcg", "-m", "512", "-nographic", "-no-reboot", "-nic", "none"]);
            command.arg("-kernel").arg(&options.kernel).arg("-initrd").arg(&options.initrd);
            command.arg("-append").arg(append);
            command
        }
        _ => {
            let mut command = Command::new(env!("CARGO_BIN_EXE_trimotor"));
            command.args(["run", "--accel", peer.name(), "--memory", "512M", "--nographic"]);
            command.arg("--kernel").arg(&options.kernel).arg("--initrd").arg(&options.initrd);
            command.arg("--append").arg(append);
            command
        }
    };
    command.stdin(Stdio::null());
    Ok(command)
}

/// Runs all workloads once.
fn run(options: &Options, peer: Peer) -> Result<Seconds, String> {
    let mut command = command(options, peer)?;
    let mut child =
        command.stdout(Stdio::piped()).spawn().map_err(|error| format!("{command:?}: {error}"))?;
    let pid = child.id();
    let lines = BufReader::new(child.stdout.take().ok_or("no output")?);
    let (over, wait) = channel::<()>();
    let guard = thread::spawn(move || {
        if wait.recv_timeout(LONGEST_RUN) == Err(RecvTimeoutError::Timeout) {
            let _ = child.kill();
        }
        child.wait()
    });
    let mut seconds = Seconds::new();
    let mut began = 0.0;
    for line in lines.split(b'\n') {
        let line = line.map_err(|error| error.to_string())?;
        let line = String::from_utf8_lossy(&line);
        let words: Vec<_> = line.split_whitespace().collect();
        match words[..] {
            ["BENCH-START", _] => began = host_seconds(pid).unwrap_or_default(),
            ["BENCH-END", name] if peer != Peer::Native && !options.wall => {
                let ended = host_seconds(pid).ok_or("the host does not tell CPU times")?;
                seconds.insert(name.to_owned(), ended - began);
            }
            ["BENCH-FAIL", name, ..] => eprintln!("{}: {name} failed", peer.name()),
            ["BENCH", name, wall, "cpu", cpu] if peer == Peer::Native || options.wall => {
                let text = if options.wall { wall } else { cpu };
                seconds.insert(name.to_owned(), text.parse().map_err(|_| format!("{line}: no number"))?);
            }
            _ => {}
        }
    }
    let _ = over.send(());
    let status = guard.join().map_err(|_| "a thread ended early")?.map_err(|error| error.to_string())?;
    if seconds.is_empty() {
        return Err(format!("it printed no result; {status}"));
    }
    Ok(seconds)
}

fn medians(runs: &[Seconds]) -> Seconds {
    let mut all: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for (name, seconds) in runs.iter().flatten() {
        all.entry(name).or_default().push(*seconds);
    }
    let median = |mut seconds: Vec<f64>| {
        seconds.sort_by(f64::total_cmp);
        (seconds[(seconds.len() - 1) / 2] + seconds[seconds.len() / 2]) / 2.0
    };
    all.into_iter().map(|(name, seconds)| (name.to_owned(), median(seconds))).collect()
}

/// What the first peer is compared with: TCG and native runs, where there are any.
fn bases(medians: &BTreeMap<Peer, Seconds>) -> Vec<(usize, Peer)> {
    let wanted = [Peer::Tcg, Peer::Native].into_iter().enumerate();
    wanted.filter(|(_, base)| medians.contains_key(base)).collect()
}
/// Who is compared.
fn ours(medians: &BTreeMap<Peer, Seconds>) -> Vec<Peer> {
    medians.keys().copied().filter(|peer| matches!(peer, Peer::Jit | Peer::Interp)).collect()
}
fn ratio(medians: &BTreeMap<Peer, Seconds>, peer: Peer, base: Peer, name: &str) -> Option<f64> {
    Some(medians.get(&peer)?.get(name)? / medians.get(&base)?.get(name)?)
}

/// Seconds of each workload, and the ratios.
fn workloads_table(medians: &BTreeMap<Peer, Seconds>) -> String {
    let mut head = "| workload |".to_owned();
    for peer in medians.keys() {
        head += &format!(" {} |", peer.name());
    }
    for (_, base) in bases(medians) {
        for peer in ours(medians) {
            head += &format!(" {}/{} |", peer.name(), base.name());
        }
    }
    let mut out = format!("{head}\n{}\n", "|---".repeat(head.matches('|').count() - 1) + "|");
    for name in GROUPS.iter().flat_map(|(_, names, _)| *names) {
        if !medians.values().any(|seconds| seconds.contains_key(*name)) {
            continue;
        }
        out += &format!("| {name} |");
        for seconds in medians.values() {
            out += &seconds.get(*name).map_or(" - |".to_owned(), |s| format!(" {s:.3} |"));
        }
        for (_, base) in bases(medians) {
            for peer in ours(medians) {
                let ratio = ratio(medians, peer, base, name);
                out += &ratio.map_or(" - |".to_owned(), |ratio| format!(" {ratio:.3} |"));
            }
        }
        out.push('\n');
    }
    out
}

/// Geometric means of the ratios by groups, and the aims.
fn groups_table(medians: &BTreeMap<Peer, Seconds>) -> String {
    let mut out = String::new();
    for (n, base) in bases(medians) {
        out += &format!("\n| relative to {} |", base.name());
        let peers = ours(medians);
        peers.iter().for_each(|peer| out += &format!(" {} |", peer.name()));
        out += &format!(" aim |\n|---|{}---|\n", "---|".repeat(peers.len()));
        let all: Vec<&str> = GROUPS.iter().flat_map(|(_, names, _)| names.iter().copied()).collect();
        let groups = GROUPS.iter().map(|(group, names, aims)| (*group, names.to_vec(), aims[n]));
        for (group, names, aim) in groups.chain([("all", all, ALL[n])]) {
            out += &format!("| {group} |");
            for &peer in &peers {
                let ratios: Vec<f64> =
                    names.iter().filter_map(|name| ratio(medians, peer, base, name)).collect();
                out += &geometric_mean(&ratios).map_or(" - |".to_owned(), |mean| format!(" {mean:.3} |"));
            }
            out += &format!(" {aim} |\n");
        }
    }
    out
}

fn geometric_mean(ratios: &[f64]) -> Option<f64> {
    let sum: f64 = ratios.iter().map(|ratio| ratio.ln()).sum();
    (!ratios.is_empty()).then(|| (sum / ratios.len() as f64).exp())
}
