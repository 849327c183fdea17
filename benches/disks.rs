//! Disks and starting beside QEMU: sequential and small requests of a Linux guest by IDE DMA and to a virtio disk, and the time from the start of the
//! program to a kernel's and to a boot sector's first byte on the serial port.
//!
//! ```text
//! trimotor guest linux --full --drives --virtio
//! cargo bench --bench disks -- --kernel guests/cache/vmlinuz --initrd guests/cache/drives.cpio.gz \
//!     --virtio-initrd guests/cache/virtio.cpio.gz
//! ```
//! The guest's programs (`dd` with direct requests) are run alternately on the translator and on TCG, with a raw image in the host's page
//! cache. What counts is the CPU time that the host reckons to the emulator between two marks, so that a busy host does little to
//! it; the guest's own time is shown beside. Starts are wall time, and want a host that is idle.

#![allow(missing_docs, reason = "a program")]
#![allow(clippy::unwrap_used, reason = "a failure to set the bench up ends it")]

#[allow(dead_code, reason = "each bench uses a part of it")]
mod guest;

use clap::Parser;
use guest::{Guest, median, qemu, trimotor};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

/// Bytes of the disk.
const DISK_BYTES: u64 = 256 << 20;
/// What is measured, and the command; DISK is the disk.
const WORK: [(&str, &str); 10] = [
    ("write, 1 MiB in sequence", "dd if=/dev/zero of=DISK bs=1M count=256 oflag=direct conv=fsync"),
    ("read, 1 MiB in sequence", "dd if=DISK of=/dev/null bs=1M count=256 iflag=direct"),
    ("write, 4 KiB", "dd if=/dev/zero of=DISK bs=4k count=16000 oflag=direct"),
    ("read, 4 KiB", "dd if=DISK of=/dev/null bs=4k count=16000 iflag=direct"),
    (
        "write, 4 KiB, 32 at a time",
        "for i in $(seq 0 31); do dd if=/dev/zero of=DISK bs=4k count=500 seek=$((i * 2000)) oflag=direct & done; wait",
    ),
    (
        "read, 4 KiB, 32 at a time",
        "for i in $(seq 0 31); do dd if=DISK of=/dev/null bs=4k count=500 skip=$((i * 2000)) iflag=direct & done; wait",
    ),
    // Places at random: a request for each page, as the page cache has none of them and reads nothing ahead.
    (
        "write, 4 KiB at random",
        "perl -e 'sysopen(F,\"DISK\",2);srand(7);$b=\"x\"x4096;\
         for(1..16000){sysseek(F,4096*int(rand(65536)),0);syswrite(F,$b)}'; sync",
    ),
    (
        "read, 4 KiB at random",
        "D=DISK; echo 0 > /sys/block/${D#/dev/}/queue/read_ahead_kb; echo 3 > /proc/sys/vm/drop_caches;\
         perl -e 'sysopen(F,\"DISK\",0);srand(7);\
         for(1..16000){sysseek(F,4096*int(rand(65536)),0);sysread(F,$b,4096)==4096||die}'",
    ),
    (
        "write, 4 KiB at random, 32 at a time",
        "perl -e '$b=\"x\"x4096;for$i(1..32){fork&&next;sysopen(F,\"DISK\",2);srand($i);\
         for(1..500){sysseek(F,4096*int(rand(65536)),0);syswrite(F,$b)};exit}1while wait>0'; sync",
    ),
    (
        "read, 4 KiB at random, 32 at a time",
        "echo 3 > /proc/sys/vm/drop_caches;\
         perl -e 'for$i(1..32){fork&&next;sysopen(F,\"DISK\",0);srand($i);\
         for(1..500){sysseek(F,4096*int(rand(65536)),0);sysread(F,$b,4096)==4096||die};exit}1while wait>0'",
    ),
];

/// A kind of disk.
struct Kind<'a> {
    name: &'a str,
    /// As `--drive` has it.
    interface: &'a str,
    /// Its name in the guest.
    device: &'a str,
    initrd: &'a str,
    cpus: u32,
}

#[derive(Parser)]
struct Options {
    /// Debian's full kernel
    #[arg(long)]
    kernel: PathBuf,
    /// The file system with drivers for disks
    #[arg(long)]
    initrd: PathBuf,
    /// The file system with drivers of virtio devices; without it virtio disks are left out
    #[arg(long)]
    virtio_initrd: Option<PathBuf>,
    /// Runs of each, in turn; medians are shown
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Starts of each
    #[arg(long, default_value_t = 20)]
    starts: usize,
    /// `cargo bench` gives it
    #[arg(long, hide = true)]
    bench: bool,
}

fn disks(options: &Options, kind: &Kind<'_>, disk: &str) {
    let (kernel, initrd) = (options.kernel.to_str().unwrap(), kind.initrd);
    let (line, cpus) = ("console=ttyS0 quiet", kind.cpus.to_string());
    let mut times = vec![[Vec::new(), Vec::new(), Vec::new(), Vec::new()]; WORK.len()];
    for _ in 0..options.runs {
        for side in 0..2 {
            let drive = format!("file={disk},format=raw,if={}", kind.interface);
            let command = if side == 0 {
                let kernel = ["--memory", "256M", "--kernel", kernel, "--initrd", initrd, "--append", line];
                trimotor(&[&kernel[..], &["--drive", &drive, "--cpus", &cpus]].concat())
            } else {
                let kernel = ["-m", "256", "-kernel", kernel, "-initrd", initrd, "-append", line];
                qemu(&[&kernel[..], &["-drive", &drive, "-smp", &cpus]].concat())
            };
            let mut guest = Guest::start(command);
            guest.wait_for("MARK-DRIVERS");
            guest.wait_for("# ");
            for ((_, command), times) in WORK.iter().zip(&mut times) {
                let (cpu, wall) = guest.run(&command.replace("DISK", kind.device));
                times[side].push(cpu);
                times[2 + side].push(wall);
            }
        }
    }
    println!(
        "| {} | trimotor, CPU s | TCG, CPU s | ratio | wall s | TCG, wall s |\n|---|---|---|---|---|---|",
        kind.name
    );
    for ((name, _), times) in WORK.iter().zip(times) {
        let [ours, theirs, wall, their_wall] = times.map(median);
        println!("| {name} | {ours:.2} | {theirs:.2} | {:.2} | {wall:.2} | {their_wall:.2} |", ours / theirs);
    }
}

/// A boot sector, or with `kernel` a Multiboot kernel, that writes a byte to COM1 and stops.
fn first_byte(kernel: bool) -> Vec<u8> {
    if !kernel {
        // mov dx, 3fbh; mov al, 3; out dx, al (eight data bits); mov dx, 3f8h; mov al, '!'; out dx, al; cli; hlt
        let mut sector =
            vec![0xBA, 0xFB, 0x03, 0xB0, 3, 0xEE, 0xBA, 0xF8, 0x03, 0xB0, b'!', 0xEE, 0xFA, 0xF4];
        sector.resize(510, 0);
        sector.extend([0x55, 0xAA]);
        sector.resize(1 << 20, 0);
        return sector;
    }
    const LOAD: u32 = 0x10_0000;
    let fields = [
        0x1BAD_B002,
        0x1_0000,
        0u32.wrapping_sub(0x1BAD_B002 + 0x1_0000),
        LOAD,
        LOAD,
        LOAD + 64,
        LOAD + 64,
        LOAD + 32,
    ];
    let mut image: Vec<u8> = fields.iter().flat_map(|field| field.to_le_bytes()).collect();
    image.extend([
        0x66, 0xBA, 0xFB, 0x03, 0xB0, 3, 0xEE, 0x66, 0xBA, 0xF8, 0x03, 0xB0, b'!', 0xEE, 0xFA, 0xF4,
    ]);
    image.resize(64, 0);
    image
}
/// Seconds from the start of the program to the guest's byte.
fn start(command: impl Fn() -> Command, starts: usize) -> f64 {
    let one = |_| {
        let began = Instant::now();
        let mut guest = Guest::start(command());
        guest.wait_for("!");
        began.elapsed().as_secs_f64()
    };
    median((0..starts).map(one).collect())
}
fn starts(options: &Options, folder: &str) {
    let (kernel, disk) = (format!("{folder}/kernel"), format!("{folder}/boot.img"));
    fs::write(&kernel, first_byte(true)).unwrap();
    fs::write(&disk, first_byte(false)).unwrap();
    let drive = format!("file={disk},format=raw,if=ide");
    println!("\n| start to | trimotor, ms | QEMU, ms |\n|---|---|---|");
    let count = options.starts;
    let ours = start(|| trimotor(&["--kernel", &kernel]), count);
    let theirs = start(|| qemu(&["-kernel", &kernel]), count);
    println!("| a kernel's first byte | {:.0} | {:.0} |", ours * 1e3, theirs * 1e3);
    let ours = start(|| trimotor(&["--drive", &drive]), count);
    let theirs = start(|| qemu(&["-drive", &drive]), count);
    println!("| a boot sector's first byte | {:.0} | {:.0} |", ours * 1e3, theirs * 1e3);
}

fn main() {
    let options = Options::parse();
    let folder = std::env::temp_dir().join(format!("trimotor-bench-disks-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let disk = folder.join("disk.raw");
    let file = fs::File::create(&disk).unwrap();
    file.set_len(DISK_BYTES).unwrap();
    drop(file);
    let disk = disk.to_str().unwrap();
    let initrd = options.initrd.to_str().unwrap();
    let ide = Kind { name: "IDE DMA", interface: "ide", device: "/dev/sda", initrd, cpus: 1 };
    disks(&options, &ide, disk);
    if let Some(initrd) = options.virtio_initrd.as_ref().and_then(|path| path.to_str()) {
        for (name, cpus) in [("virtio disk", 1), ("virtio disk, two processors", 2)] {
            println!();
            disks(&options, &Kind { name, interface: "virtio", device: "/dev/vda", initrd, cpus }, disk);
        }
    }
    starts(&options, folder.to_str().unwrap());
    let _ = fs::remove_dir_all(folder);
}
