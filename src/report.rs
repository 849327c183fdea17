//! `--stats` and the console's `i`: what the engine counted, as a table for people.

use std::fmt::Write;
use trimotor_machine::engines::{Engine, STALE_USES, TLB_DIFFERENCES, TLB_HITS, TRANSLATION_TIME};

/// Counts of one vCPU.
type Counts = [(String, u64)];

/// Counts that each vCPU has for itself.
const OF_VCPU: &[&str] = &[
    "faults delivered",
    "interrupts delivered",
    "block lookups",
    "single steps",
    "slow reads",
    "slow writes",
    "page walks",
    "TLB flushes",
    "spaces begun",
    "page-table writes noticed",
    TLB_HITS,
    TLB_DIFFERENCES,
    STALE_USES,
];
/// Counts that are shown for all vCPUs together, in groups.
const OF_ALL: &[(&str, &[&str])] = &[
    (
        "the interpreter's code cache",
        &["blocks alive", "blocks decoded", "blocks killed by writes", "cache flushes", "cache bytes"],
    ),
    (
        "translated code",
        &[
            "translated blocks alive",
            "translated blocks",
            TRANSLATED,
            "host bytes",
            "code memory in use",
            "translated blocks killed by writes",
            "code memory regions emptied for room",
            "translated blocks dropped with regions",
            "links made",
            "links made to other pages",
            "jump table misses",
            "accesses that gave their slots up",
            "accesses that had their slots back",
        ],
    ),
    (
        "ways out of translated code",
        &[
            "leaves of translated code",
            "exits to look for a block",
            "exits at the budget's end",
            "exits from dead blocks",
            "exits to run an instruction alone",
            "exits by faults",
            "faults of handed-over instructions",
            "exits at the budget's end after a handed-over instruction",
            "exits to hand x87 instructions over",
        ],
    ),
];
const TRANSLATED: &str = "translated instructions";
/// What the interpreter ran for the translator.
const HANDED_OVER: &str = "instructions handed over";
const RUN_ALONE: &str = "instructions run alone";
const NOT_TRANSLATED: &str = "instructions of code that is not translated";
/// Prefixes of lists.
const FORM: &str = "handed over: ";
const HOT_BLOCK: &str = "hot block: ";

/// So much of a list is shown on the console, where there is not much room.
const SHORT_LIST: usize = 5;

/// The whole report.
pub fn text(engine: Engine, vcpus: &[Vec<(String, u64)>]) -> String {
    let report = Report::new(engine, vcpus);
    let mut out = report.head() + "\n";
    for (cpu, counts) in vcpus.iter().enumerate() {
        let title = format!("vCPU {cpu}: {} instructions", grouped(count(counts, "instructions")));
        report.group(&mut out, &title, counts, OF_VCPU, count(counts, "instructions"));
    }
    for (title, names) in OF_ALL {
        report.group(&mut out, title, &report.all, names, report.instructions());
    }
    out + &report.translation()
        + &report.interpreted()
        + &report.forms(usize::MAX)
        + &report.hot_blocks(usize::MAX)
        + &report.others()
}

/// The lines that matter most, for a box on the screen.
pub fn short(engine: Engine, vcpus: &[Vec<(String, u64)>]) -> Vec<String> {
    let report = Report::new(engine, vcpus);
    let mut out = report.head() + "\n";
    let instructions = report.instructions();
    let names = ["translated blocks alive", "code memory in use", "jump table misses", "blocks alive"];
    report.group(&mut out, "code", &report.all, &names, instructions);
    report.group(
        &mut out,
        "events",
        &report.all,
        &["faults delivered", "interrupts delivered"],
        instructions,
    );
    out += &report.translation();
    out += &report.interpreted();
    out += &report.forms(SHORT_LIST);
    out += &report.hot_blocks(SHORT_LIST);
    out.lines().map(str::to_owned).collect()
}

fn count(counts: &Counts, name: &str) -> u64 {
    find(counts, name).unwrap_or(0)
}
fn find(counts: &Counts, name: &str) -> Option<u64> {
    counts.iter().find(|(n, _)| n == name).map(|(_, count)| *count)
}

/// A number with commas between thousands.
fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `part` of `whole` in per cent.
fn share(part: u64, whole: u64) -> String {
    format!("{:.4} %", part as f64 * 100.0 / whole.max(1) as f64)
}

fn row(out: &mut String, name: &str, count: u64, more: &str) {
    let _ = writeln!(out, "  {name:<58}{:>18}{more:>16}", grouped(count));
}

struct Report<'a> {
    engine: Engine,
    vcpus: &'a [Vec<(String, u64)>],
    /// The counts of all vCPUs together.
    all: Vec<(String, u64)>,
}

/// The sums of all vCPUs' counts: in the order of the first vCPU's, but for lists, whose largest come first.
fn together(vcpus: &[Vec<(String, u64)>]) -> Vec<(String, u64)> {
    let mut all: Vec<(String, u64)> = Vec::new();
    for (name, count) in vcpus.iter().flatten() {
        match all.iter_mut().find(|(n, _)| n == name) {
            Some((_, sum)) => *sum += count,
            None => all.push((name.clone(), *count)),
        }
    }
    if vcpus.len() > 1 {
        let of_list = |name: &str| name.starts_with(FORM) || name.starts_with(HOT_BLOCK);
        all.sort_by_key(|(name, count)| of_list(name).then_some(std::cmp::Reverse(*count)));
    }
    all
}

impl<'a> Report<'a> {
    fn new(engine: Engine, vcpus: &'a [Vec<(String, u64)>]) -> Report<'a> {
        Report { engine, vcpus, all: together(vcpus) }
    }
}

impl Report<'_> {
    fn instructions(&self) -> u64 {
        self.sum("instructions")
    }
    fn sum(&self, name: &str) -> u64 {
        self.vcpus.iter().map(|counts| count(counts, name)).sum()
    }
    fn head(&self) -> String {
        let (engine, cpus) = (self.engine, self.vcpus.len());
        format!("engine {engine}, vCPUs {cpus}: {} instructions", grouped(self.instructions()))
    }

    /// A group of counts; events also as their number in a million instructions.
    fn group(&self, out: &mut String, title: &str, counts: &Counts, names: &[&str], instructions: u64) {
        let found: Vec<_> = names.iter().filter_map(|name| Some((name, find(counts, name)?))).collect();
        if found.is_empty() {
            return;
        }
        let _ = writeln!(out, "{title}{:>width$}", "per million", width = 94 - title.chars().count());
        for (name, count) in found {
            let is_size = ["alive", "bytes", "in use"].iter().any(|end| name.ends_with(end));
            let rate = format!("{:.2}", count as f64 * 1e6 / instructions.max(1) as f64);
            row(out, name, count, if is_size { "" } else { &rate });
        }
    }

    /// How long translation took, where that is known.
    fn translation(&self) -> String {
        let Some(ns) = find(&self.all, TRANSLATION_TIME) else { return String::new() };
        let instructions = count(&self.all, TRANSLATED);
        let seconds = format!("{:.3} s", ns as f64 / 1e9);
        let each = format!("{:.0} ns each", ns as f64 / instructions.max(1) as f64);
        let name = format!("translation of {} instructions", grouped(instructions));
        format!("time\n  {name:<58}{seconds:>18}{each:>16}\n")
    }

    /// What the interpreter ran for the translator, in per cent of all instructions.
    fn interpreted(&self) -> String {
        let counts = &self.all;
        let Some(handed_over) = find(counts, HANDED_OVER) else { return String::new() };
        let alone = count(counts, RUN_ALONE);
        let not_translated = count(counts, NOT_TRANSLATED);
        let steps = self.sum("single steps").saturating_sub(alone);
        let all = self.instructions();
        let mut out = "instructions that the interpreter ran\n".to_owned();
        for (name, count) in [
            ("handed over", handed_over),
            ("run alone", alone),
            ("the rest of a budget, single steps", steps),
            ("of code that is not translated", not_translated),
            ("together", handed_over + alone + steps + not_translated),
        ] {
            row(&mut out, name, count, &share(count, all));
        }
        out
    }

    /// Which instructions were handed over most, in per cent of all instructions.
    fn forms(&self, most: usize) -> String {
        let all = self.instructions();
        self.list(FORM, "handed over most", most, |_, count| share(count, all))
    }
    /// The blocks with the most instructions run, in per cent of all instructions.
    fn hot_blocks(&self, most: usize) -> String {
        let all = self.instructions();
        self.list(HOT_BLOCK, "hottest blocks, by instructions run", most, |name, runs| {
            let length = name.rsplit(' ').next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(1);
            share(runs.saturating_mul(length), all)
        })
    }
    fn list(&self, prefix: &str, title: &str, most: usize, more: impl Fn(&str, u64) -> String) -> String {
        let counts = &self.all;
        let mut out = String::new();
        let found = counts.iter().filter_map(|(name, count)| Some((name.strip_prefix(prefix)?, *count)));
        for (name, count) in found.take(most) {
            if out.is_empty() {
                out = format!("{title}\n");
            }
            row(&mut out, name, count, &more(name, count));
        }
        out
    }

    /// Counts that no group has.
    fn others(&self) -> String {
        let counts = &self.all;
        let known = |name: &str| {
            let single = ["instructions", TRANSLATION_TIME, HANDED_OVER, RUN_ALONE, NOT_TRANSLATED];
            name.starts_with(FORM)
                || name.starts_with(HOT_BLOCK)
                || single.contains(&name)
                || OF_VCPU.contains(&name)
                || OF_ALL.iter().any(|(_, names)| names.contains(&name))
        };
        let mut out = String::new();
        for (name, count) in counts.iter().filter(|(name, _)| !known(name)) {
            if out.is_empty() {
                out += "other counts\n";
            }
            row(&mut out, name, *count, "");
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(list: &[(&str, u64)]) -> Vec<(String, u64)> {
        list.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    }
    /// The columns of the line that begins with `name`.
    fn line(report: &str, name: &str) -> Vec<String> {
        let line = report.lines().find(|line| line.trim_start().starts_with(name));
        let line = line.unwrap_or_else(|| panic!("no line {name} in\n{report}"));
        line.trim_start()[name.len()..].split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn shares_are_of_all_instructions() {
        let first = counts(&[
            ("instructions", 1_500_000),
            ("faults delivered", 3),
            ("single steps", 110),
            ("translated instructions", 3000),
            ("nanoseconds of translation", 1_000_000),
            ("instructions handed over", 900),
            ("instructions run alone", 100),
            ("instructions of code that is not translated", 1000),
            ("handed over: Cpuid", 400),
            ("hot block: guest 0x100 (64-bit user), instructions 5", 100_000),
            ("something new", 7),
        ]);
        let second = counts(&[
            ("instructions", 500_000),
            ("single steps", 90),
            ("translated instructions", 2000),
            ("nanoseconds of translation", 700_000),
        ]);
        let report = text(Engine::Jit, &[first.clone(), second.clone()]);
        assert!(report.starts_with("engine jit, vCPUs 2: 2,000,000 instructions\n"), "{report}");
        assert_eq!(line(&report, "faults delivered"), ["3", "2.00"]);
        assert_eq!(line(&report, "handed over "), ["900", "0.0450", "%"]);
        assert_eq!(line(&report, "the rest of a budget, single steps"), ["100", "0.0050", "%"]);
        assert_eq!(line(&report, "translation of 5,000 instructions"), ["0.002", "s", "340", "ns", "each"]);
        assert_eq!(line(&report, "together"), ["2,100", "0.1050", "%"]);
        assert_eq!(line(&report, "Cpuid"), ["400", "0.0200", "%"]);
        assert_eq!(line(&report, "guest 0x100 (64-bit user), instructions 5"), ["100,000", "25.0000", "%"]);
        assert_eq!(line(&report, "something new"), ["7"]);
        assert!(short(Engine::Jit, &[first, second]).len() < 24);
    }

    #[test]
    fn the_interpreter_hands_nothing_over() {
        let report = text(Engine::Interp, &[counts(&[("instructions", 10), ("blocks alive", 3)])]);
        assert!(!report.contains("that the interpreter ran"), "{report}");
        assert_eq!(line(&report, "blocks alive"), ["3"]);
    }
}
