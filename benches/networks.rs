//! Networks beside QEMU: a Linux guest's TCP through the user-mode network in both directions, and how long an echo takes.
//!
//! ```text
//! trimotor guest linux --full --network
//! cargo bench --bench networks -- --kernel guests/cache/vmlinuz --initrd guests/cache/network.cpio.gz
//! ```
//! Debian's iperf3 runs in the guest, and as a server on the host's loopback, where it must be installed. The guest runs alternately
//! on the translator and on TCG. What counts is throughput; beside it stands what the host's loopback does without an emulator.

#![allow(missing_docs, reason = "a program")]
#![allow(clippy::unwrap_used, reason = "a failure to set the bench up ends it")]

#[allow(dead_code, reason = "each bench uses a part of it")]
mod guest;

use clap::Parser;
use guest::{Guest, median, qemu, trimotor};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Cards, as both programs name them, and processors.
const KINDS: [(&str, u32); 4] = [("e1000", 1), ("virtio-net-pci", 1), ("e1000", 2), ("virtio-net-pci", 2)];
/// What is measured, and what iperf3 is told beside.
const WORK: [(&str, &str); 3] =
    [("out of the guest", ""), ("into the guest", "-R"), ("into the guest, two connections", "-R -P 2")];

#[derive(Parser)]
struct Options {
    /// Debian's full kernel
    #[arg(long)]
    kernel: PathBuf,
    /// The file system with drivers of network cards
    #[arg(long)]
    initrd: PathBuf,
    /// Runs of each, in turn; medians are shown
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Seconds of each transfer
    #[arg(long, default_value_t = 4)]
    seconds: u32,
    /// `cargo bench` gives it
    #[arg(long, hide = true)]
    bench: bool,
}

/// iperf3 on the host's loopback.
struct Server {
    child: Child,
    port: u16,
}
impl Server {
    fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new("iperf3")
            .args(["-s", "-B", "127.0.0.1", "-p", &port.to_string()])
            .stdout(Stdio::null())
            .spawn()
            .expect("iperf3 is installed");
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            std::thread::sleep(Duration::from_millis(10));
        }
        Self { child, port }
    }
}
impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Gbit/s that arrived, as iperf3 says it: of all connections, if there are several.
fn gigabits(said: &str) -> f64 {
    let line = said.lines().rfind(|line| line.contains("receiver")).unwrap_or_else(|| panic!("{said}"));
    let words: Vec<&str> = line.split_whitespace().collect();
    let unit = words.iter().position(|word| word.ends_with("bits/sec")).unwrap_or_else(|| panic!("{line}"));
    let scale = match words[unit] {
        "Gbits/sec" => 1.0,
        "Mbits/sec" => 1e-3,
        "Kbits/sec" => 1e-6,
        other => panic!("{other}"),
    };
    words[unit - 1].parse::<f64>().unwrap() * scale
}
/// Least, mean and greatest milliseconds of an echo, as busybox says them.
fn echoes(said: &str) -> [f64; 3] {
    let line = said.lines().find(|line| line.contains("min/avg/max")).unwrap_or_else(|| panic!("{said}"));
    let figures = line.split(" = ").nth(1).unwrap().trim_end().trim_end_matches(" ms");
    let figures: Vec<f64> = figures.split('/').map(|figure| figure.trim().parse().unwrap()).collect();
    figures.try_into().unwrap()
}

fn measure(options: &Options, (card, cpus): (&str, u32), server: &Server) {
    let (kernel, initrd) = (options.kernel.to_str().unwrap(), options.initrd.to_str().unwrap());
    let (line, device, cpus) = ("console=ttyS0 quiet", format!("{card},netdev=n"), cpus.to_string());
    let mut throughput = vec![[Vec::new(), Vec::new()]; WORK.len()];
    let mut times: [Vec<[f64; 3]>; 2] = [Vec::new(), Vec::new()];
    for _ in 0..options.runs {
        for side in 0..2 {
            let network = ["user,id=n", device.as_str()];
            let command = if side == 0 {
                let kernel = ["--memory", "512M", "--kernel", kernel, "--initrd", initrd, "--append", line];
                let card = ["--netdev", network[0], "--device", network[1], "--cpus", &cpus];
                trimotor(&[kernel.as_slice(), &card].concat())
            } else {
                let kernel = ["-m", "512", "-kernel", kernel, "-initrd", initrd, "-append", line];
                let card = ["-netdev", network[0], "-device", network[1], "-smp", &cpus];
                qemu(&[kernel.as_slice(), &card].concat())
            };
            let mut guest = Guest::start(command);
            guest.wait_for("MARK-DRIVERS");
            guest.wait_for("# ");
            guest.output_of("up");
            // The first echo asks for the router's Ethernet address too.
            guest.output_of("ping -c 1 10.0.2.2");
            times[side].push(echoes(&guest.output_of("ping -c 40 -i 0.05 -q 10.0.2.2")));
            for ((_, how), of_work) in WORK.iter().zip(&mut throughput) {
                let (port, seconds) = (server.port, options.seconds);
                let said = guest.output_of(&format!("iperf3 -c 10.0.2.2 -p {port} -t {seconds} {how} 2>&1"));
                of_work[side].push(gigabits(&said));
            }
        }
    }
    println!("\n| {card}, processors: {cpus} | trimotor | TCG | ratio |\n|---|---|---|---|");
    for ((name, _), of_work) in WORK.iter().zip(throughput) {
        let [ours, theirs] = of_work.map(median);
        println!("| {name}, Gbit/s | {ours:.2} | {theirs:.2} | {:.1} |", ours / theirs);
    }
    for (which, name) in ["least", "mean", "greatest"].iter().enumerate() {
        let of_side = |side: &[[f64; 3]]| median(side.iter().map(|run| run[which]).collect());
        let (ours, theirs) = (of_side(&times[0]), of_side(&times[1]));
        println!("| an echo of the router, {name}, ms | {ours:.2} | {theirs:.2} | {:.1} |", theirs / ours);
    }
}

fn main() {
    let options = Options::parse();
    let server = Server::start();
    let host = Command::new("iperf3")
        .args(["-c", "127.0.0.1", "-p", &server.port.to_string(), "-t", &options.seconds.to_string()])
        .output()
        .unwrap();
    println!("The host's loopback: {:.1} Gbit/s", gigabits(&String::from_utf8_lossy(&host.stdout)));
    for kind in KINDS {
        measure(&options, kind, &server);
    }
}
