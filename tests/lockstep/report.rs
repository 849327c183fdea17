//! A difference, for people.

use crate::case::Case;
use crate::pair::{Found, Pair};
use crate::reduce::is_nops;
use crate::world::World;
use iced_x86::{Decoder, DecoderOptions, Formatter, IntelFormatter};
use std::fmt::Write;
use trimotor_bus::PhysAddr;
use trimotor_cpu::{ArchState, Segment};

/// Differing bytes of memory that are shown.
const SHOWN: usize = 16;

/// The program, without its NOPs.
pub fn listing(case: &Case, world: &World) -> String {
    let mut text = String::new();
    let mut formatter = IntelFormatter::new();
    for item in case.items.iter().filter(|item| !is_nops(&item.bytes, world.bits)) {
        let ip = world.code + item.at;
        let mut decoder = Decoder::with_ip(world.bits, &item.bytes, ip, DecoderOptions::NONE);
        let mut line = String::new();
        formatter.format(&decoder.decode(), &mut line);
        let bytes: String = item.bytes.iter().map(|b| format!("{b:02x}")).collect();
        let mark = if ip == case.state.rip { '>' } else { ' ' };
        let _ = writeln!(text, "  {mark}{ip:8x}: {line:<50} {bytes}");
    }
    text
}

/// All that is known of a difference.
pub fn describe(case: &Case, found: &Found, pair: &Pair, worlds: &[World]) -> String {
    let world = &worlds[case.world];
    let names = [0, 1].map(|n: usize| pair.sides[n].driver.to_string());
    let mut text = format!("mode: {}\n{}", world.name, listing(case, world));
    let _ = writeln!(text, "runs up to the one that differs:");
    for (number, run) in case.runs.iter().enumerate().take(found.run + 1) {
        let _ = write!(text, "  {number}: budget {}", run.budget);
        if let Some(event) = run.before {
            let _ = write!(text, " after {event:x?}");
        }
        let _ = writeln!(text);
    }
    if found.run >= case.runs.len() {
        let _ = writeln!(text, "  (noticed at the end)");
    }
    let start = &found.before;
    let code = code_at(start, pair);
    if !code.is_empty() {
        let _ = writeln!(text, "code there, as memory is now: {code}");
    }
    let _ = writeln!(text, "before it:");
    for (n, name) in ["rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi"].iter().enumerate() {
        let _ = writeln!(text, "  {name} {:16x}   r{:<2} {:16x}", start.gpr[n], n + 8, start.gpr[n + 8]);
    }
    let _ = writeln!(
        text,
        "  rip {:x} rflags {:x} cpl {} cr0 {:x} cr2 {:x} cr3 {:x} cr4 {:x} dr7 {:x} mxcsr {:x}",
        start.rip,
        start.rflags,
        start.cpl,
        start.cr0,
        start.cr2,
        start.cr3,
        start.cr4,
        start.dr[7],
        start.mxcsr
    );
    let _ = writeln!(text, "differing: {} | {}", names[0], names[1]);
    for d in found.after[0].differences(&found.after[1]) {
        let _ = writeln!(text, "  {}: {} | {}", d.name, d.first, d.second);
    }
    if found.exits[0] != found.exits[1] {
        let _ = writeln!(text, "  end of run: {:?} | {:?}", found.exits[0], found.exits[1]);
    }
    accesses(&mut text, found);
    for (at, a, b) in found.memory.iter().take(SHOWN) {
        let _ = writeln!(text, "  memory {at:x}: {a:02x} | {b:02x}");
    }
    if found.memory.len() > SHOWN {
        let _ = writeln!(text, "  and {} bytes more", found.memory.len() - SHOWN);
    }
    text
}

/// The instructions at CS:RIP as they stand in memory now.
fn code_at(state: &ArchState, pair: &Pair) -> String {
    let cs = &state.segments[1];
    let long = cs.attributes & Segment::L != 0;
    let bits = match (long, cs.is_32bit()) {
        (true, _) => 64,
        (_, true) => 32,
        _ => 16,
    };
    let at = if long { state.rip } else { cs.base.wrapping_add(state.rip) & 0xFFFF_FFFF };
    let flat = crate::map::linear::CODE;
    let at = if at.wrapping_sub(flat) < crate::map::CODE_BYTES { at - flat + crate::map::CODE } else { at };
    let mut bytes = [0; 48];
    pair.sides[0].memory.read(PhysAddr(at), &mut bytes);
    let mut decoder = Decoder::with_ip(bits, &bytes, state.rip, DecoderOptions::NONE);
    let mut formatter = IntelFormatter::new();
    let mut text = String::new();
    for _ in 0..4 {
        formatter.format(&decoder.decode(), &mut text);
        text.push_str("; ");
    }
    text
}

/// The first access to the board that differs.
fn accesses(text: &mut String, found: &Found) {
    let [a, b] = &found.noted;
    let common = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    if common < a.len().max(b.len()) {
        let _ = writeln!(text, "  access {common}: {:x?} | {:x?}", a.get(common), b.get(common));
    }
}
