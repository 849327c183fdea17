//! Guests that fill traces, disks that are full, and readers that go away.

use super::{assemble, traced};
use crate::support::engines::ENGINE_NAMES;
use crate::support::needs::Tests;
use crate::support::program::{Program, run_to_end};
use crate::support::small_guest::{Scratch, small_guest};
use iced_x86::code_asm::*;
use std::io::Read;

pub fn tests() -> Tests {
    Tests::new()
        .each(&ENGINE_NAMES, a_guest_that_faults_for_ever_fills_no_disk)
        .test(a_full_disk_ends_the_trace_and_not_the_guest)
        .test(a_reader_that_goes_away_ends_the_trace_and_not_the_guest)
}

/// A guest whose handler of #UD raises #UD, until its stack has grown by a megabyte.
fn faults_for_ever() -> Scratch {
    small_guest("faults", &assemble(write_faults))
}
fn write_faults(a: &mut CodeAssembler, [at_handler, at_idtr]: [u32; 2]) -> [CodeLabel; 2] {
    let (mut handler, mut idtr, mut on) = (a.create_label(), a.create_label(), a.create_label());
    a.mov(esp, 0x30_0000).unwrap();
    a.mov(eax, at_handler).unwrap();
    a.mov(edx, eax).unwrap();
    a.and(eax, 0xFFFF).unwrap();
    a.mov(bx, cs).unwrap();
    a.shl(ebx, 16).unwrap();
    a.or(eax, ebx).unwrap();
    a.and(edx, 0xFFFF_0000u32 as i32).unwrap();
    a.or(edx, 0x8E00).unwrap();
    a.mov(dword_ptr(0x8030), eax).unwrap();
    a.mov(dword_ptr(0x8034), edx).unwrap();
    a.lidt(dword_ptr(at_idtr)).unwrap();
    a.set_label(&mut handler).unwrap();
    a.cmp(esp, 0x20_0000).unwrap();
    a.jb(on).unwrap();
    a.ud2().unwrap();
    a.set_label(&mut on).unwrap();
    a.mov(al, 0).unwrap();
    a.out(0xF4, al).unwrap();
    a.hlt().unwrap();
    a.set_label(&mut idtr).unwrap();
    a.dw(&[0xFF]).unwrap();
    a.dd(&[0x8000]).unwrap();
    [handler, idtr]
}

fn a_guest_that_faults_for_ever_fills_no_disk(engine: &str) {
    let guest = faults_for_ever();
    let (ended, text) = traced(engine, &guest, "exc,insn,limit=64K", &[]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(text.len() < (64 << 10) + 200, "{} bytes", text.len());
    let last = text.lines().last().unwrap_or_default();
    assert!(last.starts_with("the trace ends: it has ") && last.contains("limit=65536"), "{last}");
    assert!(ended.errors.contains("may not have more than limit=65536"), "{ended:?}");
    // Each line but that is whole.
    assert!(text.lines().rev().skip(1).all(|line| line.contains(" cpl0 ")), "{text}");
}

fn a_full_disk_ends_the_trace_and_not_the_guest() {
    let (guest, name) = (faults_for_ever(), "exc,file=/dev/full");
    let kernel = guest.path();
    let fixed = ["run", "--memory", "16M", "--nographic", "--debug-exit", "--kernel", &kernel];
    let ended = run_to_end(&[&fixed[..], &["--trace", name]].concat());
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.errors.contains("the trace to /dev/full ends: No space left on device"), "{ended:?}");
}

fn a_reader_that_goes_away_ends_the_trace_and_not_the_guest() {
    let (guest, pipe) = (faults_for_ever(), Scratch::new("pipe"));
    let made = std::process::Command::new("mkfifo").arg(&pipe.0).status().expect("mkfifo");
    assert!(made.success());
    let (kernel, trace) = (guest.path(), format!("exc,insn,file={}", pipe.path()));
    let fixed = ["run", "--memory", "16M", "--nographic", "--debug-exit", "--kernel", &kernel];
    let program = Program::start(&[&fixed[..], &["--trace", &trace]].concat());
    let mut reader = std::fs::File::open(&pipe.0).expect("the pipe");
    let mut first = [0; 100];
    reader.read_exact(&mut first).expect("lines");
    drop(reader);
    let ended = program.wait();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.errors.contains("ends: Broken pipe"), "{ended:?}");
}
