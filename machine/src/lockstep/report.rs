//! The first difference between two machines, for people.

use super::side::{Ends, Pair};
use iced_x86::{Decoder, DecoderOptions, Formatter, IntelFormatter};
use std::fmt;
use trimotor_cpu::{ArchState, SegReg, Segment};

/// Differing bytes of memory that are shown.
const SHOWN_BYTES: usize = 32;
/// Blocks whose host code is shown, of each side.
const SHOWN_BLOCKS: usize = 4;
/// Characters of the serial output that are shown before where it differs.
const SHOWN_OUTPUT: usize = 200;

/// An instruction that ran.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executed {
    /// The vCPU.
    pub cpu: usize,
    /// Where.
    pub rip: u64,
    /// Its bytes.
    pub code: Vec<u8>,
    /// As an assembler writes it.
    pub text: String,
    /// What it changed, on each side; `None` where a side ran it together with others.
    pub changes: [Option<String>; 2],
    linear: u64,
}

impl Executed {
    /// What ran between two states of all vCPUs, on the first side and, where that stopped there too, on
    /// the second one; `next` is the code that each vCPU was about to run.
    pub(super) fn new(
        before: &[Vec<ArchState>; 2],
        after: [Option<&[ArchState]>; 2],
        mut next: Vec<Vec<u8>>,
    ) -> Executed {
        let first = after[0].unwrap_or_default();
        let ran = before[0].iter().zip(first).position(|(a, b)| a.retired != b.retired);
        let cpu = ran.unwrap_or(0);
        let state = &before[0][cpu];
        let (length, text) = disassemble(state, &next[cpu]);
        let mut code = std::mem::take(&mut next[cpu]);
        code.truncate(length);
        let linear = state.segments[SegReg::Cs as usize].base.wrapping_add(state.rip);
        let changes = [0, 1].map(|side| Some(changes(&before[side][cpu], after[side]?.get(cpu)?)));
        Executed { cpu, rip: state.rip, code, text, changes, linear }
    }
}

/// The registers that an instruction changed, RIP apart.
fn changes(before: &ArchState, after: &ArchState) -> String {
    let changed = before.differences(after).into_iter();
    let changed = changed.filter(|d| d.name != "RIP" && d.name != "retired instructions");
    changed.map(|d| format!("{} {} -> {}", d.name, d.first, d.second)).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for Executed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code: String = self.code.iter().map(|byte| format!("{byte:02x}")).collect();
        write!(f, "  vCPU {} {:016x}: {code:<16} {:<32}", self.cpu, self.rip, self.text)?;
        match &self.changes {
            [Some(first), Some(second)] if first == second => write!(f, " {first}"),
            [first, second] => {
                let text = |side: &Option<String>| match side {
                    Some(changes) if changes.is_empty() => "nothing".to_owned(),
                    Some(changes) => changes.clone(),
                    None => "(not stopped here)".to_owned(),
                };
                write!(f, " {} | {}", text(first), text(second))
            }
        }
    }
}

/// The first instruction of `code`: its length, and as an assembler writes it.
fn disassemble(state: &ArchState, code: &[u8]) -> (usize, String) {
    let cs = &state.segments[SegReg::Cs as usize];
    let bits = match cs.attributes & (Segment::L | Segment::DB) {
        Segment::DB => 32,
        0 => 16,
        _ => 64,
    };
    let mut text = String::new();
    let i = Decoder::with_ip(bits, code, state.rip, DecoderOptions::NONE).decode();
    IntelFormatter::new().format(&i, &mut text);
    (i.len(), text)
}

/// The host code of the blocks that the last instructions were in, of each side that makes some.
fn host_code(pair: &mut Pair, executed: &[Executed]) -> Vec<String> {
    let mut listings = Vec::new();
    for (side, machine) in pair.machines.iter_mut().enumerate() {
        let mut seen = Vec::new();
        for e in executed.iter().rev() {
            let linear = e.linear;
            if seen.len() == SHOWN_BLOCKS || seen.contains(&(e.cpu, linear)) {
                continue;
            }
            let vcpu = machine.vcpus.get_mut(e.cpu);
            if let Some(listing) = vcpu.and_then(|slot| slot.vcpu.host_code(linear)) {
                seen.push((e.cpu, linear));
                let which = if side == 0 { "first" } else { "second" };
                listings.push(format!("{which} engine, vCPU {}, block at {:016x}: {listing}", e.cpu, e.rip));
            }
        }
    }
    listings
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
    /// Host code of the blocks that the last instructions began, the last one first: guest instructions and what they
    /// became.
    pub host_code: Vec<String>,
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
        for (side, divergence) in ["first", "second"].iter().zip(pair.divergences()) {
            lines.extend(divergence.map(|text| format!("from outside, {side} engine: {text}")));
        }
        lines.extend(output(pair));
        lines.extend(memory(pair));
        let cpu = executed.last().map_or(0, |last| last.cpu);
        let host_code = host_code(pair, &executed);
        Difference { instructions, executed, lines, before: registers(&before[0][cpu]), host_code }
    }
    /// A difference that did not come again when the intervals were cut.
    pub(super) fn unsteady(from: u64, to: u64) -> Difference {
        let line = format!(
            "between {from} and {to}, but not again in shorter intervals: it depends on where slices end"
        );
        Difference {
            instructions: to,
            executed: Vec::new(),
            lines: vec![line],
            before: String::new(),
            host_code: Vec::new(),
        }
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
        let [a, b] = pair.machines.each_ref().map(|machine| machine.board.memory.ram_page_bytes(*page));
        for (n, (x, y)) in a.iter().zip(&b).enumerate().filter(|(_, (x, y))| x != y) {
            if lines.len() < SHOWN_BYTES {
                let page = pair.machines[0].board.memory.describe_page(*page);
                lines.push(format!("memory {page} + {n:#x}: {x:02x} | {y:02x}"));
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
            writeln!(f, "last instructions and what they changed, on both sides or on each:")?;
        }
        for e in &self.executed {
            writeln!(f, "{e}")?;
        }
        if !self.before.is_empty() {
            writeln!(f, "registers before the last one:\n{}", self.before)?;
        }
        writeln!(f, "differing:")?;
        for line in &self.lines {
            writeln!(f, "  {line}")?;
        }
        for listing in &self.host_code {
            writeln!(f, "host code, {listing}")?;
        }
        Ok(())
    }
}
