//! Traces: what guests of a few instructions and Linux do, line by line.

pub mod document;
pub mod guests;
pub mod hostile;
pub mod linux;

use crate::support::program::{Ended, run_to_end};
use crate::support::small_guest::{CODE, Scratch};
use iced_x86::BlockEncoderOptions;
use iced_x86::code_asm::{CodeAssembler, CodeLabel};

/// 32-bit code that knows the addresses of its own labels: `write` gets them, and returns the labels in the same order.
fn assemble<const N: usize>(write: impl Fn(&mut CodeAssembler, [u32; N]) -> [CodeLabel; N]) -> Vec<u8> {
    let pass = |addresses| {
        let mut a = CodeAssembler::new(32).unwrap();
        let labels = write(&mut a, addresses);
        let options = BlockEncoderOptions::RETURN_NEW_INSTRUCTION_OFFSETS;
        let result = a.assemble_options(CODE.into(), options).unwrap();
        let addresses = labels.map(|label| result.label_ip(&label).unwrap() as u32);
        (addresses, result.inner.code_buffer)
    };
    // All numbers take four bytes, so that nothing moves.
    let (addresses, _) = pass([CODE; N]);
    pass(addresses).1
}

/// Runs a guest with a counted clock and a trace in a file; how it ended, and the trace.
fn traced(engine: &str, kernel: &Scratch, trace: &str, more: &[&str]) -> (Ended, String) {
    let (file, kernel) = (Scratch::new("trace.log"), kernel.path());
    let trace = format!("{trace},file={}", file.path());
    let fixed = ["run", "--accel", engine, "--icount", "--memory", "16M", "--nographic", "--debug-exit"];
    let ended = run_to_end(&[&fixed[..], &["--kernel", &kernel, "--trace", &trace], more].concat());
    let text = std::fs::read_to_string(&file.0).unwrap_or_default();
    (ended, text)
}

/// The lines without what stands before the event: vCPU, count, place and CPL.
fn events(trace: &str) -> Vec<&str> {
    trace.lines().filter_map(|line| line.splitn(5, ' ').nth(4)).collect()
}
