//! The first difference between two machines, for people.

use super::side::{Ends, Pair};
use iced_x86::{Decoder, DecoderOptions, Formatter, IntelFormatter};
use std::fmt;
use trimotor_bus::PhysAddr;
use trimotor_bus::address::PAGE_SIZE;
use trimotor_cpu::{ArchState, SegReg, Segment};

/// Differing bytes of memory that are shown.
const SHOWN_BYTES: usize = 32;
/// Characters of the serial output that are shown before where it differs.
const SHOWN_OUTPUT: usize = 200;

/// An instruction that ran.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executed {
    /// The vCPU.
    pub cpu: usize,
    /// Where.
    pub rip: u64,
    /// As an assembler writes it.
    pub text: String,
}

impl Executed {
    /// What ran between two states of all vCPUs; `next` is the code that each was about to run.
    pub(super) fn new(before: &[ArchState], after: &[ArchState], next: Vec<Vec<u8>>) -> Executed {
        let ran = before.iter().zip(after).position(|(a, b)| a.retired != b.retired);
        let cpu = ran.unwrap_or(0);
        let state = &before[cpu];
        Executed { cpu, rip: state.rip, text: disassemble(state, &next[cpu]) }
    }
}

fn disassemble(state: &ArchState, code: &[u8]) -> String {
    let cs = &state.segments[SegReg::Cs as usize];
    let bits = match cs.attributes & (Segment::L | Segment::DB) {
        Segment::DB => 32,
        0 => 16,
        _ => 64,
    };
    let mut text = String::new();
    let mut decoder = Decoder::with_ip(bits, code, state.rip, DecoderOptions::NONE);
    IntelFormatter::new().format(&decoder.decode(), &mut text);
    text
}

/// The first difference.
#[derive(Clone, Debug)]
pub struct Difference {
    /// All vCPUs' instructions after which it shows.
    pub instructions: u64,
    /// The last instructions, the last of which made the difference.
    pub executed: Vec<Executed>,
    /// What is different, a line each.
    pub lines: Vec<String>,
    /// The registers before, on both sides.
    pub before: String,
}

impl Difference {
    pub(super) fn new(
        instructions: u64,
        before: [Vec<ArchState>; 2],
        pair: &mut Pair,
        ends: Ends,
        executed: Vec<Executed>,
    ) -> Difference {
        let mut lines = Vec::new();
        let [first, second] = pair.states();
        for (cpu, (a, b)) in first.iter().zip(&second).enumerate() {
            let differing = a.differences(b).into_iter();
            lines.extend(differing.map(|d| format!("vCPU {cpu} {}: {} | {}", d.name, d.first, d.second)));
        }
        let [a, b] = pair.times();
        if a != b {
            lines.push(format!("guest time: {a} ns | {b} ns"));
        }
        if ends[0] != ends[1] {
            let [a, b] = ends.map(|end| end.map_or("runs on".to_owned(), |reason| format!("{reason:?}")));
            lines.push(format!("end: {a} | {b}"));
        }
        lines.extend(output(pair));
        lines.extend(memory(pair));
        let cpu = executed.last().map_or(0, |last| last.cpu);
        Difference { instructions, executed, lines, before: registers(&before[0][cpu]) }
    }
    /// A difference that did not come again when the intervals were cut.
    pub(super) fn unsteady(from: u64, to: u64) -> Difference {
        let line = format!(
            "between {from} and {to}, but not again in shorter intervals: it depends on where slices end"
        );
        Difference { instructions: to, executed: Vec::new(), lines: vec![line], before: String::new() }
    }
}

fn output(pair: &Pair) -> Option<String> {
    let (a, b) = (pair.output(0), pair.output(1));
    let common = a.iter().zip(&b).take_while(|(x, y)| x == y).count();
    if common == a.len().max(b.len()) {
        return None;
    }
    let show =
        |text: &[u8]| String::from_utf8_lossy(&text[common.saturating_sub(SHOWN_OUTPUT)..]).into_owned();
    Some(format!("serial output: {:?} | {:?}", show(&a), show(&b)))
}

fn memory(pair: &Pair) -> Vec<String> {
    let mut lines = Vec::new();
    let pages = pair.differing_pages();
    for page in &pages {
        let [a, b] = pair.machines.each_ref().map(|machine| {
            let mut bytes = vec![0; PAGE_SIZE as usize];
            machine.board.memory.read(*page, &mut bytes);
            bytes
        });
        for (n, (x, y)) in a.iter().zip(&b).enumerate().filter(|(_, (x, y))| x != y) {
            if lines.len() < SHOWN_BYTES {
                let PhysAddr(at) = page.offset(n as u64);
                lines.push(format!("memory {at:#x}: {x:02x} | {y:02x}"));
            }
        }
    }
    if !pages.is_empty() {
        lines.push(format!("memory: {} pages differ", pages.len()));
    }
    lines
}

fn registers(s: &ArchState) -> String {
    const NAMES: [&str; 16] = [
        "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13",
        "r14", "r15",
    ];
    let mut text = String::new();
    for (n, (name, value)) in NAMES.iter().zip(s.gpr).enumerate() {
        text += &format!("{name:>5} {value:016x}{}", if n % 4 == 3 { "\n" } else { "" });
    }
    text + &format!(
        "  rip {:016x} rflags {:x} cpl {} cr0 {:x} cr2 {:x} cr3 {:x} cr4 {:x}",
        s.rip, s.rflags, s.cpl, s.cr0, s.cr2, s.cr3, s.cr4
    )
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "difference after {} instructions", self.instructions)?;
        if !self.executed.is_empty() {
            writeln!(f, "last instructions:")?;
        }
        for e in &self.executed {
            writeln!(f, "  vCPU {} {:016x}: {}", e.cpu, e.rip, e.text)?;
        }
        if !self.before.is_empty() {
            writeln!(f, "registers before the last one:\n{}", self.before)?;
        }
        writeln!(f, "differing:")?;
        for line in &self.lines {
            writeln!(f, "  {line}")?;
        }
        Ok(())
    }
}
