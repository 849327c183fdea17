//! The display adapter's memory: text, planes, mode 13h and a linear frame buffer, filled and scrolled by a small guest on
//! our engines and on QEMU's TCG, in turn. CPU seconds of the emulator for each workload, and what was written a second.
//!
//! ```text
//! cargo bench --bench display
//! cargo bench --bench display -- --engines jit,tcg --runs 3
//! ```
//! Nobody looks at the screen in these runs.

#![allow(missing_docs, reason = "a program")]
#![allow(clippy::unwrap_used, reason = "a bench that cannot be set up ends")]

use clap::Parser;
use iced_x86::IcedError;
use iced_x86::code_asm::*;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use trimotor_firmware::vga_bios::mode_table::{MODES, Mode};
use trimotor_test_support::host_time::host_seconds;
use trimotor_test_support::screen_guest::{dispi, eight_bits, frame_buffer, linear_mode};
use trimotor_test_support::small_guest::{CODE, small_guest};

const TEXT: u32 = 0xB_8000;
const WINDOW: u32 = 0xA_0000;
/// Where the guest keeps the address of its frame buffer.
const FRAME_BUFFER: u32 = 0x8000;
const LINEAR_BYTES: u32 = 1280 * 800 * 4;

/// A workload: its name, how often its body runs, and the bytes that the body writes.
type Workload = (&'static str, u32, u32, fn(&mut CodeAssembler) -> Result<(), IcedError>);

const WORKLOADS: [Workload; 10] = [
    ("text, a word at a time", 2000, 4000, |a| words(a, TEXT, 2000)),
    ("text, scrolled", 2000, 3840, |a| copy(a, TEXT + 160, TEXT, 960)),
    ("16 colours, filled", 400, 38400, |a| fill(a, WINDOW, 9600)),
    ("16 colours, scrolled by latches", 100, 37120, |a| latched(a, 37120)),
    ("16 colours, a byte at a time", 50, 38400, |a| bytes(a, WINDOW, 38400)),
    ("mode 13h, filled", 2000, 64000, |a| fill(a, WINDOW, 16000)),
    ("mode 13h, a byte at a time", 500, 64000, |a| bytes(a, WINDOW, 64000)),
    ("1280x800x32, filled", 100, LINEAR_BYTES, |a| {
        a.mov(edi, dword_ptr(FRAME_BUFFER))?;
        a.mov(ecx, LINEAR_BYTES / 4)?;
        a.rep().stosd()
    }),
    ("1280x800x32, scrolled", 100, LINEAR_BYTES - 5120 * 16, |a| {
        a.mov(edi, dword_ptr(FRAME_BUFFER))?;
        a.lea(esi, dword_ptr(edi + 5120 * 16))?;
        a.mov(ecx, (LINEAR_BYTES - 5120 * 16) / 4)?;
        a.rep().movsd()
    }),
    ("banks of 64 KiB, filled", 20, 16 * 0x1_0000, |a| {
        for bank in 0..16u32 {
            dispi(a, 5, bank)?;
            fill(a, WINDOW, 0x4000)?;
        }
        Ok(())
    }),
];

#[derive(Parser)]
struct Options {
    /// Who runs it
    #[arg(long, value_delimiter = ',', default_value = "jit,interp,tcg")]
    engines: Vec<String>,
    /// Runs of each, in turn; the least times are shown
    #[arg(long, default_value_t = 1)]
    runs: usize,
    /// `cargo bench` passes it
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let options = Options::parse();
    let guest = small_guest("display-bench", &program().unwrap());
    let mut least: BTreeMap<(usize, usize), f64> = BTreeMap::new();
    for _ in 0..options.runs {
        for (peer, engine) in options.engines.iter().enumerate() {
            for (workload, seconds) in run(engine, &guest.path()) {
                let old = least.entry((workload, peer)).or_insert(f64::MAX);
                *old = old.min(seconds);
            }
        }
    }
    print!("| workload |");
    options.engines.iter().for_each(|engine| print!(" {engine} | |"));
    println!("\n|---{}|", "|---|---".repeat(options.engines.len()));
    for (n, (name, times, written, _)) in WORKLOADS.iter().enumerate() {
        print!("| {name} |");
        for peer in 0..options.engines.len() {
            let seconds = least.get(&(n, peer)).copied().unwrap_or(f64::NAN);
            print!(" {seconds:.3} s | {:.1} MB/s |", f64::from(*times) * f64::from(*written) / seconds / 1e6);
        }
        println!();
    }
}

/// CPU seconds of the workloads, by their numbers.
fn run(engine: &str, guest: &str) -> Vec<(usize, f64)> {
    let mut command = if engine == "tcg" {
        let mut command = Command::new("qemu-system-x86_64");
        command.args(["-accel", "tcg", "-m", "64", "-display", "none", "-serial", "stdio", "-nic", "none"]);
        command.args(["-vga", "std", "-device", "isa-debug-exit,iobase=0xf4", "-monitor", "none"]);
        command.args(["-kernel", guest]);
        command
    } else {
        let mut command = Command::new(env!("CARGO_BIN_EXE_trimotor"));
        command.args(["run", "--accel", engine, "--memory", "64M", "--display", "none", "--timeout", "10m"]);
        command.args(["--device", "isa-debug-exit", "--kernel", guest]);
        command
    };
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let pid = child.id();
    let mut began = 0.0;
    let mut times = Vec::new();
    for line in BufReader::new(child.stdout.take().unwrap()).split(b'\n').map_while(Result::ok) {
        let now = host_seconds(pid).unwrap_or(f64::NAN);
        // A letter for each workload: a small one at its start, a capital at its end.
        match line.iter().find(|byte| byte.is_ascii_alphabetic()) {
            Some(byte @ b'a'..=b'z') if usize::from(byte - b'a') < WORKLOADS.len() => began = now,
            Some(byte @ b'A'..=b'Z') => times.push((usize::from(byte - b'A'), now - began)),
            _ => {}
        }
    }
    let _ = child.wait();
    assert_eq!(times.len(), WORKLOADS.len(), "{engine} did not run all of it");
    times
}

fn program() -> Result<Vec<u8>, IcedError> {
    let mut a = CodeAssembler::new(32)?;
    let a = &mut a;
    a.mov(esp, 0x7000u32)?;
    a.cld()?;
    eight_bits(a)?;
    frame_buffer(a)?;
    a.mov(dword_ptr(FRAME_BUFFER), eax)?;
    for (n, (name, times, _, body)) in WORKLOADS.iter().enumerate() {
        match *name {
            "16 colours, filled" => set_mode(a, 0x12)?,
            "mode 13h, filled" => set_mode(a, 0x13)?,
            "1280x800x32, filled" => linear_mode(a, 1280, 800)?,
            _ => {}
        }
        say(a, b'a' + n as u8)?;
        a.mov(ebp, *times)?;
        let mut again = a.create_label();
        a.set_label(&mut again)?;
        a.mov(eax, ebp)?;
        body(a)?;
        a.dec(ebp)?;
        a.jnz(again)?;
        say(a, b'A' + n as u8)?;
    }
    // The threads must be there when their times are looked at.
    let mut wait = a.create_label();
    a.mov(ecx, 200_000_000)?;
    a.set_label(&mut wait)?;
    a.dec(ecx)?;
    a.jnz(wait)?;
    a.mov(al, 0u32)?;
    a.out(0xF4, al)?;
    a.hlt()?;
    a.assemble(CODE.into())
}
fn say(a: &mut CodeAssembler, letter: u8) -> Result<(), IcedError> {
    for byte in [letter, b'\n'] {
        out(a, 0x3F8, byte)?;
    }
    Ok(())
}
fn out(a: &mut CodeAssembler, port: u16, value: u8) -> Result<(), IcedError> {
    a.mov(edx, u32::from(port))?;
    a.mov(al, u32::from(value))?;
    a.out(dx, al)
}
fn indexed(a: &mut CodeAssembler, port: u16, index: u8, value: u8) -> Result<(), IcedError> {
    out(a, port, index)?;
    out(a, port + 1, value)
}
fn set_mode(a: &mut CodeAssembler, number: u8) -> Result<(), IcedError> {
    let mode: &Mode = MODES.iter().find(|mode| mode.number == number).unwrap();
    let row = mode.row();
    out(a, 0x3C2, row[9])?;
    for n in 0..4 {
        indexed(a, 0x3C4, n + 1, row[5 + usize::from(n)])?;
    }
    indexed(a, 0x3D4, 0x11, 0)?;
    for n in 0..25 {
        indexed(a, 0x3D4, n, row[10 + usize::from(n)])?;
    }
    for n in 0..9 {
        indexed(a, 0x3CE, n, row[55 + usize::from(n)])?;
    }
    Ok(())
}
fn fill(a: &mut CodeAssembler, at: u32, dwords: u32) -> Result<(), IcedError> {
    a.mov(edi, at)?;
    a.mov(ecx, dwords)?;
    a.rep().stosd()
}
fn copy(a: &mut CodeAssembler, from: u32, to: u32, dwords: u32) -> Result<(), IcedError> {
    a.mov(esi, from)?;
    a.mov(edi, to)?;
    a.mov(ecx, dwords)?;
    a.rep().movsd()
}
fn words(a: &mut CodeAssembler, at: u32, count: u32) -> Result<(), IcedError> {
    let mut next = a.create_label();
    a.mov(edi, at)?;
    a.mov(ecx, count)?;
    a.set_label(&mut next)?;
    a.mov(word_ptr(edi), ax)?;
    a.add(edi, 2)?;
    a.dec(ecx)?;
    a.jnz(next)
}
fn bytes(a: &mut CodeAssembler, at: u32, count: u32) -> Result<(), IcedError> {
    let mut next = a.create_label();
    a.mov(edi, at)?;
    a.mov(ecx, count)?;
    a.set_label(&mut next)?;
    a.mov(byte_ptr(edi), al)?;
    a.inc(edi)?;
    a.dec(ecx)?;
    a.jnz(next)
}
/// 16 lines up, four planes at once: write mode 1.
fn latched(a: &mut CodeAssembler, count: u32) -> Result<(), IcedError> {
    indexed(a, 0x3CE, 5, 1)?;
    a.mov(esi, WINDOW + 80 * 16)?;
    a.mov(edi, WINDOW)?;
    a.mov(ecx, count)?;
    a.rep().movsb()?;
    indexed(a, 0x3CE, 5, 0)
}
