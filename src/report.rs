//! `--stats`, `--profile` and the console's `i`: what the engine counted, as a table for people.
//!
//! Tables are as wide as a terminal of 80 columns has room for in a box, names that are too long aside.

use std::fmt::Write;
use std::time::Duration;
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
            "megamorphic accesses",
            "accesses that are monomorphic again",
        ],
    ),
    (
        "ways out of translated code",
        &[
            "leaves of translated code",
            "exits to look for a block",
            "exits at the budget's end",
            "exits from dead blocks",
            "exits to step an instruction",
            "exits by faults",
            "faults of interpreter fallbacks",
            "exits at the budget's end after an interpreter fallback",
            "exits for fallback of x87 instructions",
        ],
    ),
];
/// What matters most, of all vCPUs together.
const MOST: &[&str] = &[
    "faults delivered",
    "interrupts delivered",
    "page walks",
    "translated blocks alive",
    "code memory in use",
    "jump table misses",
    "blocks alive",
];
const TRANSLATED: &str = "translated instructions";
/// What the interpreter ran for the translator.
const FALLBACKS: &str = "interpreter fallbacks";
const STEPPED: &str = "instructions stepped";
const NOT_TRANSLATED: &str = "instructions of code that is not translated";
/// Prefixes of lists.
const FORM: &str = "interpreter fallback: ";
const HOT_BLOCK: &str = "hot block: ";
/// Inside the name of a hot block: before its address, and before its number of instructions.
const HOT_BLOCK_PLACE: &str = "guest ";
const HOT_BLOCK_LENGTH: &str = ", instructions ";

/// So much of a list is shown on the console, where there is not much room.
const SHORT_LIST: usize = 3;
/// So much of a list `--stats` shows.
const LIST: usize = 10;
/// Columns of a row: name, count, what is added.
const NAME_COLUMNS: usize = 42;
const COUNT_COLUMNS: usize = 18;
const MORE_COLUMNS: usize = 14;

/// How much is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Detail {
    /// What matters most.
    Most,
    /// Every count.
    All,
    /// The hottest blocks alone.
    Profile,
}

/// The report at the end of a run that took `elapsed` of the host's time.
pub fn text(engine: Engine, vcpus: &[Vec<(String, u64)>], elapsed: Duration, detail: Detail) -> String {
    let report = Report::new(engine, vcpus);
    let mut out = report.head_with_speed(elapsed) + "\n";
    match detail {
        Detail::Profile => out += &report.hot_blocks(LIST),
        Detail::Most => {
            report.most(&mut out, LIST);
            out += "--stats=all shows every count\n";
        }
        Detail::All => report.all(&mut out),
    }
    out
}

/// The lines that matter most, for a box on the screen.
pub fn short(engine: Engine, vcpus: &[Vec<(String, u64)>]) -> Vec<String> {
    let report = Report::new(engine, vcpus);
    let mut out = report.head() + "\n";
    report.most(&mut out, SHORT_LIST);
    out.lines().map(str::to_owned).collect()
}

/// Every count so far.
pub fn every(engine: Engine, vcpus: &[Vec<(String, u64)>]) -> String {
    let report = Report::new(engine, vcpus);
    let mut out = report.head() + "\n";
    report.all(&mut out);
    out
}

/// How often translated code, or KVM, was left so far, and for what.
pub fn exits(engine: Engine, vcpus: &[Vec<(String, u64)>]) -> String {
    let report = Report::new(engine, vcpus);
    let mut out = report.head() + "\n";
    if engine == Engine::Kvm {
        let lines = report.all.iter().filter(|(name, count)| name != "instructions" && *count != 0);
        lines.for_each(|(name, count)| out += &format!("  {:>14}  {name}\n", grouped(*count)));
        return out;
    }
    let (title, names) = OF_ALL[OF_ALL.len() - 1];
    report.group(&mut out, title, &report.all, names, report.instructions());
    out += &report.interpreted(Detail::All);
    out += &report.forms(LIST);
    if out.lines().count() == 1 {
        out += "the engine makes no host code that could be left\n";
    }
    out
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
    let count = grouped(count);
    let _ = writeln!(out, "  {name:<NAME_COLUMNS$}{count:>COUNT_COLUMNS$}{more:>MORE_COLUMNS$}");
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
    fn head_with_speed(&self, elapsed: Duration) -> String {
        let seconds = elapsed.as_secs_f64();
        let millions = self.instructions() as f64 / seconds.max(1e-9) / 1e6;
        format!("{} in {seconds:.2} s, {millions:.1} million a second", self.head())
    }

    /// What matters most, with `longest` entries of each list.
    fn most(&self, out: &mut String, longest: usize) {
        let instructions = self.instructions();
        self.group(out, "counts", &self.all, MOST, instructions);
        *out += &self.translation();
        *out += &self.interpreted(Detail::Most);
        *out += &self.forms(longest);
        *out += &self.hot_blocks(longest);
    }
    /// Every count.
    fn all(&self, out: &mut String) {
        for (cpu, counts) in self.vcpus.iter().enumerate() {
            let instructions = count(counts, "instructions");
            let title = format!("vCPU {cpu}: {} instructions", grouped(instructions));
            self.group(out, &title, counts, OF_VCPU, instructions);
        }
        for (title, names) in OF_ALL {
            self.group(out, title, &self.all, names, self.instructions());
        }
        *out += &self.translation();
        *out += &self.interpreted(Detail::All);
        *out += &self.forms(usize::MAX);
        *out += &self.hot_blocks(usize::MAX);
        *out += &self.others();
    }

    /// A group of counts; events also as their number in a million instructions.
    fn group(&self, out: &mut String, title: &str, counts: &Counts, names: &[&str], instructions: u64) {
        let found: Vec<_> = names.iter().filter_map(|name| Some((name, find(counts, name)?))).collect();
        if found.is_empty() {
            return;
        }
        let width = 2 + NAME_COLUMNS + COUNT_COLUMNS + MORE_COLUMNS - title.chars().count();
        let _ = writeln!(out, "{title}{:>width$}", "per million");
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
        format!("time\n  {name:<NAME_COLUMNS$}{seconds:>COUNT_COLUMNS$}{each:>MORE_COLUMNS$}\n")
    }

    /// What the interpreter ran for the translator, in per cent of all instructions: the sum, or all its parts too.
    fn interpreted(&self, detail: Detail) -> String {
        let counts = &self.all;
        let Some(fallbacks) = find(counts, FALLBACKS) else { return String::new() };
        let stepped = count(counts, STEPPED);
        let not_translated = count(counts, NOT_TRANSLATED);
        let steps = self.sum("single steps").saturating_sub(stepped);
        let all = self.instructions();
        let mut out = "instructions that the interpreter ran\n".to_owned();
        let rows = [
            ("fallbacks", fallbacks),
            ("stepped", stepped),
            ("the rest of a budget, single steps", steps),
            ("of code that is not translated", not_translated),
            ("together", fallbacks + stepped + steps + not_translated),
        ];
        let first = if detail == Detail::All { 0 } else { rows.len() - 1 };
        for (name, count) in &rows[first..] {
            row(&mut out, name, *count, &share(*count, all));
        }
        out
    }

    /// Which instructions fell back to the interpreter most, in per cent of all instructions.
    fn forms(&self, most: usize) -> String {
        let all = self.instructions();
        self.list(FORM, "most interpreter fallbacks", most, |name, count| {
            (name.to_owned(), share(count, all))
        })
    }
    /// The blocks with the most instructions run, in per cent of all instructions.
    fn hot_blocks(&self, most: usize) -> String {
        let all = self.instructions();
        self.list(
            HOT_BLOCK,
            "hottest blocks (address, mode, instructions) and their runs",
            most,
            |name, runs| {
                let (block, length) = name.rsplit_once(HOT_BLOCK_LENGTH).unwrap_or((name, "1"));
                let block = block.strip_prefix(HOT_BLOCK_PLACE).unwrap_or(block);
                let instructions = runs.saturating_mul(length.parse().unwrap_or(1));
                (format!("{block}, {length}"), share(instructions, all))
            },
        )
    }
    /// The largest `most` counts whose names begin with `prefix`; `show` says what stands for the rest of the name
    /// and behind the count.
    fn list(
        &self,
        prefix: &str,
        title: &str,
        most: usize,
        show: impl Fn(&str, u64) -> (String, String),
    ) -> String {
        let counts = &self.all;
        let mut out = String::new();
        let found = counts.iter().filter_map(|(name, count)| Some((name.strip_prefix(prefix)?, *count)));
        for (name, count) in found.take(most) {
            if out.is_empty() {
                out = format!("{title}\n");
            }
            let (name, more) = show(name, count);
            row(&mut out, &name, count, &more);
        }
        out
    }

    /// Counts that no group has.
    fn others(&self) -> String {
        let counts = &self.all;
        let known = |name: &str| {
            let single = ["instructions", TRANSLATION_TIME, FALLBACKS, STEPPED, NOT_TRANSLATED];
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
            ("interpreter fallbacks", 900),
            ("instructions stepped", 100),
            ("instructions of code that is not translated", 1000),
            ("interpreter fallback: Cpuid", 400),
            ("hot block: guest 0x100 (64-bit user), instructions 5", 100_000),
            ("something new", 7),
        ]);
        let second = counts(&[
            ("instructions", 500_000),
            ("single steps", 90),
            ("translated instructions", 2000),
            ("nanoseconds of translation", 700_000),
        ]);
        let vcpus = [first, second];
        let report = text(Engine::Jit, &vcpus, Duration::from_millis(500), Detail::All);
        let head = "engine jit, vCPUs 2: 2,000,000 instructions in 0.50 s, 4.0 million a second\n";
        assert!(report.starts_with(head), "{report}");
        assert_eq!(line(&report, "faults delivered"), ["3", "2.00"]);
        assert_eq!(line(&report, "fallbacks "), ["900", "0.0450", "%"]);
        assert_eq!(line(&report, "the rest of a budget, single steps"), ["100", "0.0050", "%"]);
        assert_eq!(line(&report, "translation of 5,000 instructions"), ["0.002", "s", "340", "ns", "each"]);
        assert_eq!(line(&report, "together"), ["2,100", "0.1050", "%"]);
        assert_eq!(line(&report, "Cpuid"), ["400", "0.0200", "%"]);
        assert_eq!(line(&report, "0x100 (64-bit user), 5"), ["100,000", "25.0000", "%"]);
        assert_eq!(line(&report, "something new"), ["7"]);
        let most = text(Engine::Jit, &vcpus, Duration::from_secs(1), Detail::Most);
        assert_eq!(line(&most, "faults delivered"), ["3", "1.50"]);
        assert_eq!(line(&most, "--stats=all"), ["shows", "every", "count"]);
        assert!(!most.contains("something new") && !most.contains("vCPU 0"), "{most}");
        let profile = text(Engine::Jit, &vcpus, Duration::from_secs(1), Detail::Profile);
        assert_eq!(profile.lines().count(), 3, "{profile}");
    }

    #[test]
    fn what_the_console_shows_fits_in_a_box_on_a_usual_terminal() {
        let mut all = counts(&[("instructions", 123_456_789_012_345)]);
        all.extend(MOST.iter().map(|name| ((*name).to_owned(), 12_345_678_901)));
        for name in [TRANSLATION_TIME, TRANSLATED, FALLBACKS, STEPPED, NOT_TRANSLATED] {
            all.push((name.to_owned(), 12_345_678_901));
        }
        for n in 0..20 {
            all.push((format!("{FORM}Instruction_rm64_imm8_{n}"), 12_345_678));
            let block = format!("{HOT_BLOCK}guest {:#x} (64-bit kernel), instructions 64", u64::MAX - n);
            all.push((block, 12_345_678));
        }
        let lines = short(Engine::Interp, &[all]);
        // Two rows and four columns are the box's edges, one row is the status line's.
        assert!(lines.len() <= 24 - 3, "{} lines", lines.len());
        for line in &lines {
            assert!(line.chars().count() <= 80 - 4, "{line:?}");
        }
    }

    #[test]
    fn the_interpreter_hands_nothing_over() {
        let vcpus = [counts(&[("instructions", 10), ("blocks alive", 3)])];
        let report = text(Engine::Interp, &vcpus, Duration::ZERO, Detail::All);
        assert!(!report.contains("that the interpreter ran"), "{report}");
        assert_eq!(line(&report, "blocks alive"), ["3"]);
        assert!(exits(Engine::Interp, &vcpus).ends_with("makes no host code that could be left\n"));
        let vcpus = [counts(&[("instructions", 10), ("leaves of translated code", 3), ("blocks alive", 4)])];
        let kvm = [vec![
            ("instructions".to_owned(), 5),
            ("exits: HLT".to_owned(), 1234),
            ("exits: CR8".to_owned(), 0),
        ]];
        let kvm = exits(Engine::Kvm, &kvm);
        assert!(kvm.contains("engine kvm, vCPUs 1: 5 ") && kvm.contains("1,234  exits: HLT\n"), "{kvm}");
        assert!(!kvm.contains("CR8"), "what did not happen is left out: {kvm}");
        let report = exits(Engine::Jit, &vcpus);
        assert_eq!(line(&report, "leaves of translated code"), ["3", "300000.00"]);
        assert!(!report.contains("blocks alive"), "{report}");
        assert!(every(Engine::Jit, &vcpus).contains("blocks alive"));
    }
}
