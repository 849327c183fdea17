//! Random cases by the batch, on the host's CPU and on an engine.

use crate::generate::{Generated, Generator};
use crate::{compare, guest, native};
use iced_x86::{Code, CpuidFeature, EncodingKind, Formatter, OpCodeOperandKind};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex};
use trimotor_cpu::model::CpuModel;
use trimotor_machine::engines::Engine;
use trimotor_test_support::engines::ENGINES;
use trimotor_test_support::needs::Tests;
use trimotor_test_support::random::layout::*;
use trimotor_test_support::random::values;

/// Examples kept of each form that differs.
const EXAMPLES: usize = 3;

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|v| !v.is_empty())
}

fn number(name: &str, default: u64) -> u64 {
    variable(name).map_or(default, |v| v.replace('_', "").parse().unwrap_or_else(|_| panic!("{name}={v}")))
}

/// Whether the host has a feature; `None` where we cannot tell.
fn host_has(feature: CpuidFeature) -> Option<bool> {
    use CpuidFeature as F;
    Some(match feature {
        F::SSE3 => is_x86_feature_detected!("sse3"),
        F::SSSE3 => is_x86_feature_detected!("ssse3"),
        F::SSE4_1 => is_x86_feature_detected!("sse4.1"),
        F::SSE4_2 => is_x86_feature_detected!("sse4.2"),
        F::POPCNT => is_x86_feature_detected!("popcnt"),
        F::AES => is_x86_feature_detected!("aes"),
        F::PCLMULQDQ => is_x86_feature_detected!("pclmulqdq"),
        F::SHA => is_x86_feature_detected!("sha"),
        F::AVX => is_x86_feature_detected!("avx"),
        F::AVX2 => is_x86_feature_detected!("avx2"),
        F::FMA => is_x86_feature_detected!("fma"),
        F::F16C => is_x86_feature_detected!("f16c"),
        F::BMI1 => is_x86_feature_detected!("bmi1"),
        F::BMI2 => is_x86_feature_detected!("bmi2"),
        F::LZCNT => is_x86_feature_detected!("lzcnt"),
        F::ADX => is_x86_feature_detected!("adx"),
        F::MOVBE => is_x86_feature_detected!("movbe"),
        F::XSAVE => is_x86_feature_detected!("xsave"),
        F::XSAVEOPT => is_x86_feature_detected!("xsaveopt"),
        F::XSAVEC => is_x86_feature_detected!("xsavec"),
        F::XSAVES => is_x86_feature_detected!("xsaves"),
        F::CMPXCHG16B => is_x86_feature_detected!("cmpxchg16b"),
        // Leaf 7, EBX, bit 10 (SDM Vol. 2A, CPUID): what lacks it has #UD where others look at privileges.
        F::INVPCID => std::arch::x86_64::__cpuid_count(7, 0).ebx & 1 << 10 != 0,
        F::PKU => return None,
        _ => true,
    })
}

/// The forms to exercise, and why others are not.
fn select(model: &CpuModel, bits: u32) -> (Vec<Code>, Vec<(Code, &'static str)>) {
    let only: Option<Vec<String>> =
        variable("TRIMOTOR_DIFF_ONLY").map(|v| v.split(',').map(|m| m.trim().to_ascii_lowercase()).collect());
    let (mut chosen, mut skipped) = (Vec::new(), Vec::new());
    for code in Code::values() {
        let op = code.op_code();
        let encoding = matches!(op.encoding(), EncodingKind::Legacy | EncodingKind::VEX);
        let mode = if bits == 64 { op.mode64() } else { op.mode32() };
        if !op.is_instruction() || !mode || !encoding || op.fwait() || op.decoder_option() != 0 {
            continue;
        }
        let features = code.cpuid_features();
        if !features.iter().all(|&f| model.allows_iced(f)) {
            continue;
        }
        if let Some(only) = &only {
            let name = format!("{:?}", code.mnemonic()).to_ascii_lowercase();
            let form = format!("{code:?}").to_ascii_lowercase();
            if !only.contains(&name) && !only.contains(&form) {
                continue;
            }
        }
        match compare::skip_reason(code) {
            Some(reason) => skipped.push((code, reason)),
            None if !features.iter().all(|&f| host_has(f) == Some(true)) => {
                skipped.push((code, "the host may not have it"));
            }
            None if bits == 64 && op.can_use_bnd_prefix() && op.operand_size() == 16 => {
                skipped.push((code, "AMD honours the prefix, Intel does not"));
            }
            None if is_short_branch(code) => {
                skipped.push((code, "cuts the target to 16 bits"));
            }
            None => chosen.push(code),
        }
    }
    (chosen, skipped)
}

/// A branch whose target is cut to 16 bits, where no code is. In 64-bit mode Intel has none.
fn is_short_branch(code: Code) -> bool {
    let op = code.op_code();
    (0..op.op_count()).any(|n| matches!(op.op_kind(n), OpCodeOperandKind::br16_1 | OpCodeOperandKind::br16_2))
}

/// Fills a batch; returns what was generated, and the code for the guest.
fn fill(
    generator: &mut Generator,
    native: &mut native::Native,
    codes: &[Code],
    next: &mut usize,
    count: usize,
    ungenerated: &mut BTreeMap<Code, u64>,
) -> (Vec<Generated>, Vec<u8>) {
    let mut guest_code = vec![0xCC; CODE_BYTES];
    let mut batch = Vec::with_capacity(count);
    while batch.len() < count {
        let code = codes[*next % codes.len()];
        *next += 1;
        let Some(g) = generator.case(batch.len(), code, codes) else {
            let tries = ungenerated.entry(code).or_default();
            *tries += 1;
            assert!(codes.len() > 1 || *tries < 1000, "no instruction of {code:?} can be made");
            continue;
        };
        let at = batch.len() * SLOT;
        let slot = &mut native.code()[at..at + SLOT];
        slot.fill(0xCC);
        slot[..g.bytes.len()].copy_from_slice(&g.bytes);
        let stubs = if generator.bits == 64 {
            [native::EXIT_FALLTHROUGH, native::EXIT_TAKEN].map(native::jump_through)
        } else {
            [LEAVES, LEAVES + 16].map(native::far_jump)
        };
        for (place, stub) in [g.bytes.len(), TAKEN].into_iter().zip(stubs) {
            slot[place..place + stub.len()].copy_from_slice(&stub);
        }
        guest_code[at..at + g.bytes.len()].copy_from_slice(&g.bytes);
        native.shared().cases[batch.len()] = g.case;
        batch.push(g);
    }
    (batch, guest_code)
}

/// The instructions of a case, for people.
fn listing(g: &Generated, slot: u64) -> String {
    let mut decoder = iced_x86::Decoder::with_ip(g.case.bits, &g.bytes, slot, 0);
    let mut formatter = iced_x86::IntelFormatter::new();
    let mut text = String::new();
    while decoder.can_decode() {
        let i = decoder.decode();
        formatter.format(&i, &mut text);
        text.push_str("; ");
    }
    let bytes: String = g.bytes.iter().map(|b| format!("{b:02x}")).collect();
    format!("{text}[{bytes}] {} bits", g.case.bits)
}

/// What came of a whole run.
#[derive(Default)]
struct Report {
    exercised: BTreeMap<Code, u64>,
    faulted: BTreeMap<Code, u64>,
    different: BTreeMap<Code, (u64, Vec<String>)>,
    cases: u64,
}

impl Report {
    fn add(&mut self, g: &Generated, i: usize, host: &Outcome, ours: &Outcome) {
        self.cases += 1;
        for &code in &g.code {
            *self.exercised.entry(code).or_default() += 1;
        }
        *self.faulted.entry(g.code[0]).or_default() += (host.vector != NO_VECTOR) as u64;
        if let Some(text) = compare::difference(&g.code, &g.blanks, &g.case, host, ours) {
            let culprit = *g.code.last().unwrap_or(&g.code[0]);
            let entry = self.different.entry(culprit).or_default();
            entry.0 += 1;
            if entry.1.len() < EXAMPLES {
                let slot = CODE + (i * SLOT) as u64;
                entry.1.push(format!("{}\n      {text}", listing(g, slot)));
            }
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for (code, (count, examples)) in &self.different {
            let _ = writeln!(text, "{code:?}: {count} of {}", self.exercised[code]);
            for example in examples {
                let _ = writeln!(text, "    {example}");
            }
        }
        text
    }

    fn coverage(&self, chosen: &[Code], skipped: &[(Code, &str)]) -> String {
        let mut text = format!(
            "{} cases; {} forms exercised, {} left out\n",
            self.cases,
            self.exercised.len(),
            skipped.len()
        );
        for code in chosen {
            let n = self.exercised.get(code).copied().unwrap_or(0);
            let faulted = self.faulted.get(code).copied().unwrap_or(0);
            let _ = writeln!(text, "{code:?}: {n} times, {faulted} with an exception");
        }
        for (code, reason) in skipped {
            let _ = writeln!(text, "{code:?}: left out, {reason}");
        }
        text
    }
}

pub fn tests() -> Tests {
    Tests::new().each(&ENGINES, an_engine_does_as_the_hosts_cpu)
}

fn an_engine_does_as_the_hosts_cpu(engine: Engine) {
    // The host's side has fixed addresses in this process.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let cases = number("TRIMOTOR_DIFF_CASES", 100_000);
    let seed = number("TRIMOTOR_DIFF_SEED", 1);
    let model = Arc::new(CpuModel::parse("max", 1_000_000_000).unwrap());
    let (long, mut skipped) = select(&model, 64);
    let (compat, skipped32) = select(&model, 32);
    skipped.extend(skipped32.into_iter().filter(|s| !long.contains(&s.0)));
    let mut modes = [(64, long, 0), (32, compat, 0)];
    modes.iter_mut().for_each(|mode| mode.2 = seed as usize * 7919);
    assert!(modes.iter().any(|mode| !mode.1.is_empty()), "no form of that name");
    let mut generator = Generator::new(seed);
    let mut templates: Vec<Vec<u8>> =
        (0..TEMPLATES).map(|_| values::template(&mut generator.random)).collect();
    let read_only = templates[0][WRITABLE..].to_vec();
    templates.iter_mut().for_each(|t| t[WRITABLE..].copy_from_slice(&read_only));
    let mut guest = guest::Guest::new(engine.start().unwrap(), &model, templates.clone());
    let mut report = Report::default();
    let mut native = native::Native::new(templates);
    let (mut batches, mut done) = (0, 0);
    let mut ungenerated = BTreeMap::new();
    // SAFETY: zeroes are a valid outcome.
    let mut ours: Box<Outcome> = Box::new(unsafe { std::mem::zeroed() });
    while done < cases {
        let count = BATCH.min((cases - done) as usize);
        // Every fourth batch is 32-bit code in compatibility mode.
        batches += 1;
        let (bits, chosen, next) = &mut modes[(batches % 4 == 0) as usize];
        if chosen.is_empty() {
            continue;
        }
        generator.bits = *bits;
        let (batch, code) = fill(&mut generator, &mut native, chosen, next, count, &mut ungenerated);
        if let Err((i, how)) = native.run(count) {
            panic!("case {i} of a batch: {how}: {}", listing(&batch[i], CODE + (i * SLOT) as u64));
        }
        done += count as u64;
        guest.load_code(&code);
        for (i, g) in batch.iter().enumerate() {
            guest.run(i, &g.case, &mut ours);
            report.add(g, i, &native.shared().outcomes[i], &ours);
        }
    }
    let mut chosen = modes.map(|mode| mode.1).concat();
    chosen.sort();
    chosen.dedup();
    if let Some(path) = variable("TRIMOTOR_DIFF_COVERAGE") {
        std::fs::write(&path, report.coverage(&chosen, &skipped)).unwrap();
    }
    let missing: Vec<_> = chosen.iter().filter(|c| !report.exercised.contains_key(c)).collect();
    let enough = cases >= 4 * chosen.len() as u64;
    assert!(missing.is_empty() || !enough, "forms never exercised: {missing:?}");
    let differing: u64 = report.different.values().map(|d| d.0).sum();
    assert_eq!(differing, 0, "{engine}: {differing} of {cases} differ (seed {seed}):\n{}", report.text());
}
