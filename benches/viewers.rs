//! What a viewer costs: a guest draws 30 pictures of 1280x800 a second, all of whose pixels change, and computes between them.
//! How many of them a VNC viewer gets, and how much less the guest computes than when nobody looks; the same beside QEMU's TCG.
//!
//! ```text
//! cargo bench --bench viewers
//! cargo bench --bench viewers -- --engines jit,tcg --seconds 20
//! ```
//! The viewer asks for the next picture as soon as it has one, and throws it away. It wants a host that is idle, with two
//! processors at least.

#![allow(missing_docs, reason = "a program")]
#![allow(clippy::unwrap_used, reason = "a bench that cannot be set up ends")]

use clap::Parser;
use iced_x86::IcedError;
use iced_x86::code_asm::*;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use trimotor_test_support::screen_guest::{eight_bits, frame_buffer, linear_mode};
use trimotor_test_support::small_guest::{CODE, Scratch, small_guest};

const WIDTH: u32 = 1280;
const HEIGHT: u32 = 800;
/// The ACPI timer's port, its frequency, and the bits that it has at least.
const TIMER: u32 = 0x608;
const TIMER_HZ: u32 = 3_579_545;
const TIMER_BITS: u32 = 24;
const PICTURES_A_SECOND: u32 = 30;
/// Steps of a unit of work: some ten microseconds.
const STEPS: u32 = 20_000;
/// Where the guest keeps the address of its frame buffer, its units of work, and when the next picture is due.
const FRAME_BUFFER: u32 = 0x8000;
const UNITS: u32 = 0x8004;
const DUE: u32 = 0x8008;
/// Encodings of RFC 6143.
const ENCODINGS: [(&str, i32); 2] = [("raw", 0), ("ZRLE", 16)];

#[derive(Parser)]
struct Options {
    /// Who runs it
    #[arg(long, value_delimiter = ',', default_value = "jit,tcg")]
    engines: Vec<String>,
    /// How long the guest runs
    #[arg(long, default_value_t = 10)]
    seconds: u32,
    /// `cargo bench` passes it
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let options = Options::parse();
    let guest = small_guest("viewers-bench", &program(options.seconds * PICTURES_A_SECOND).unwrap());
    println!("| engine | viewer | pictures a second | MB a second | the guest's work, of that unseen |");
    println!("|---|---|---|---|---|");
    for engine in &options.engines {
        let alone = run(engine, &guest.path(), None);
        println!("| {engine} | none | | | {} units |", alone.units);
        for (name, encoding) in ENCODINGS {
            let seen = run(engine, &guest.path(), Some(encoding));
            let seconds = seen.watched.as_secs_f64();
            println!(
                "| {engine} | {name} | {:.1} | {:.1} | {:.1} % |",
                f64::from(seen.pictures) / seconds,
                seen.bytes as f64 / 1e6 / seconds,
                100.0 * f64::from(seen.units) / f64::from(alone.units)
            );
        }
    }
}

#[derive(Default)]
struct Seen {
    units: u32,
    pictures: u32,
    bytes: u64,
    watched: Duration,
}

/// Runs the guest, with a viewer or without.
fn run(engine: &str, guest: &str, encoding: Option<i32>) -> Seen {
    let socket = Scratch::new("viewers-bench.vnc");
    let mut child = start(engine, guest, &socket.path());
    let viewer = encoding.map(|encoding| {
        let path = socket.path();
        thread::spawn(move || watch(&path, encoding))
    });
    let mut units = None;
    for line in BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok) {
        if let Some(at) = line.find("UNITS ") {
            units = u32::from_str_radix(line[at + 6..].trim(), 16).ok();
        }
    }
    child.wait().unwrap();
    let mut seen = viewer.map(|viewer| viewer.join().unwrap()).unwrap_or_default();
    seen.units = units.unwrap_or_else(|| panic!("{engine} did not come to its end"));
    seen
}

fn start(engine: &str, guest: &str, socket: &str) -> Child {
    let mut command = if engine == "tcg" {
        let mut command = Command::new("qemu-system-x86_64");
        command.args(["-accel", "tcg", "-m", "64", "-vnc", &format!("unix:{socket}"), "-serial", "stdio"]);
        command.args(["-vga", "std", "-device", "isa-debug-exit,iobase=0xf4", "-monitor", "none"]);
        command.args(["-nic", "none", "-kernel", guest]);
        command
    } else {
        let mut command = Command::new(env!("CARGO_BIN_EXE_trimotor"));
        command.args(["run", "--accel", engine, "--memory", "64M", "--timeout", "10m"]);
        command.args(["--display", &format!("vnc=unix:{socket}")]);
        command.args(["--device", "isa-debug-exit", "--kernel", guest]);
        command
    };
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

/// Looks until the server goes. What was counted ends with the last picture.
fn watch(socket: &str, encoding: i32) -> Seen {
    let mut stream = loop {
        match UnixStream::connect(socket) {
            Ok(stream) => break stream,
            Err(_) => thread::sleep(Duration::from_millis(5)),
        }
    };
    let mut seen = Seen::default();
    let mut first = None;
    let mut look = || -> io::Result<()> {
        let mut size = greet(&mut stream, encoding)?;
        loop {
            let [w, h] = size.map(u16::to_be_bytes);
            stream.write_all(&[3, 1, 0, 0, 0, 0, w[0], w[1], h[0], h[1]])?;
            let bytes = update(&mut stream, &mut size)?;
            // The time counts from the first picture of the mode.
            if u32::from(size[0]) == WIDTH && bytes > 0 {
                let first: &mut Instant = first.get_or_insert_with(Instant::now);
                seen.pictures += 1;
                seen.bytes += bytes;
                seen.watched = first.elapsed();
            }
        }
    };
    // The end of the guest is the end of the connection.
    let _ = look();
    seen
}

/// Says what is understood; the size of the picture.
fn greet(stream: &mut UnixStream, encoding: i32) -> io::Result<[u16; 2]> {
    take(stream, 12)?;
    stream.write_all(b"RFB 003.008\n")?;
    let kinds = take(stream, 1)?[0];
    take(stream, usize::from(kinds))?;
    stream.write_all(&[1])?;
    take(stream, 4)?;
    stream.write_all(&[1])?;
    let init = take(stream, 24)?;
    let name = u32::from_be_bytes([init[20], init[21], init[22], init[23]]);
    take(stream, name as usize)?;
    // That encoding, and DesktopSize.
    let mut message = vec![2, 0, 0, 2];
    message.extend(encoding.to_be_bytes());
    message.extend((-223i32).to_be_bytes());
    stream.write_all(&message)?;
    Ok([0, 2].map(|at| u16::from_be_bytes([init[at], init[at + 1]])))
}

/// Takes a message; the bytes of pixels that it had.
fn update(stream: &mut UnixStream, size: &mut [u16; 2]) -> io::Result<u64> {
    match take(stream, 1)?[0] {
        0 => {}
        // A bell.
        2 => return Ok(0),
        other => return Err(io::Error::other(format!("message {other}"))),
    }
    let head = take(stream, 3)?;
    let mut bytes = 0;
    for _ in 0..u16::from_be_bytes([head[1], head[2]]) {
        let header = take(stream, 12)?;
        let [width, height] = [4, 6].map(|at| u16::from_be_bytes([header[at], header[at + 1]]));
        let length = match i32::from_be_bytes([header[8], header[9], header[10], header[11]]) {
            0 => usize::from(width) * usize::from(height) * 4,
            16 => {
                let length = take(stream, 4)?;
                u32::from_be_bytes([length[0], length[1], length[2], length[3]]) as usize
            }
            -223 => {
                *size = [width, height];
                0
            }
            other => return Err(io::Error::other(format!("encoding {other}"))),
        };
        bytes += io::copy(&mut stream.take(length as u64), &mut io::sink())?;
    }
    Ok(bytes)
}
fn take(stream: &mut UnixStream, count: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// The guest: so many pictures, and work between them.
fn program(pictures: u32) -> Result<Vec<u8>, IcedError> {
    let mut a = CodeAssembler::new(32)?;
    let a = &mut a;
    a.mov(esp, 0x7000u32)?;
    eight_bits(a)?;
    frame_buffer(a)?;
    a.mov(dword_ptr(FRAME_BUFFER), eax)?;
    linear_mode(a, WIDTH, HEIGHT)?;
    a.mov(dword_ptr(UNITS), 0)?;
    a.mov(edx, TIMER)?;
    a.in_(eax, dx)?;
    a.mov(dword_ptr(DUE), eax)?;
    a.mov(ebp, pictures)?;
    let mut next = a.create_label();
    a.set_label(&mut next)?;
    draw(a)?;
    work(a)?;
    a.dec(ebp)?;
    a.jnz(next)?;
    say_units(a)?;
    a.mov(al, 0u32)?;
    a.out(0xF4, al)?;
    a.hlt()?;
    a.assemble(CODE.into())
}
/// Every pixel of picture EBP is another one than in the picture before.
fn draw(a: &mut CodeAssembler) -> Result<(), IcedError> {
    let (mut line, mut pixel) = (a.create_label(), a.create_label());
    a.mov(edi, dword_ptr(FRAME_BUFFER))?;
    a.imul_3(ebx, ebp, 0x03_0507)?;
    a.mov(edx, HEIGHT)?;
    a.set_label(&mut line)?;
    a.mov(eax, ebx)?;
    a.mov(ecx, WIDTH)?;
    a.set_label(&mut pixel)?;
    a.mov(dword_ptr(edi), eax)?;
    a.add(eax, 0x01_0203)?;
    a.add(edi, 4)?;
    a.dec(ecx)?;
    a.jnz(pixel)?;
    a.add(ebx, 0x02_0101)?;
    a.dec(edx)?;
    a.jnz(line)
}
/// Works until the next picture is due.
fn work(a: &mut CodeAssembler) -> Result<(), IcedError> {
    let (mut unit, mut step) = (a.create_label(), a.create_label());
    a.add(dword_ptr(DUE), (TIMER_HZ / PICTURES_A_SECOND) as i32)?;
    a.set_label(&mut unit)?;
    a.mov(ecx, STEPS)?;
    a.set_label(&mut step)?;
    a.imul_3(eax, eax, 1_103_515_245)?;
    a.add(eax, 12345)?;
    a.dec(ecx)?;
    a.jnz(step)?;
    a.inc(dword_ptr(UNITS))?;
    a.mov(edx, TIMER)?;
    a.in_(eax, dx)?;
    // The sign of the difference, in as many bits as the timer has.
    a.sub(eax, dword_ptr(DUE))?;
    a.shl(eax, 32 - TIMER_BITS)?;
    a.js(unit)
}
/// Says the units of work in hexadecimal digits.
fn say_units(a: &mut CodeAssembler) -> Result<(), IcedError> {
    let mut digit = a.create_label();
    let mut decimal = a.create_label();
    a.mov(edx, 0x3F8u32)?;
    for byte in *b"\nUNITS " {
        a.mov(al, u32::from(byte))?;
        a.out(dx, al)?;
    }
    a.mov(ebx, dword_ptr(UNITS))?;
    a.mov(ecx, 8u32)?;
    a.set_label(&mut digit)?;
    a.rol(ebx, 4u32)?;
    a.mov(eax, ebx)?;
    a.and(eax, 0xF)?;
    a.add(eax, i32::from(b'0'))?;
    a.cmp(eax, i32::from(b'9'))?;
    a.jbe(decimal)?;
    a.add(eax, i32::from(b'A' - b'9' - 1))?;
    a.set_label(&mut decimal)?;
    a.out(dx, al)?;
    a.dec(ecx)?;
    a.jnz(digit)?;
    a.mov(al, u32::from(b'\n'))?;
    a.out(dx, al)
}
