//! Two engines side by side: random programs in all modes, run by both from the same state and
//! memory; registers, memory, accesses to the board and counts are compared whenever a run ends.
//!
//! The pairs are the interpreter in whole blocks against the interpreter in steps of an instruction,
//! and each other engine of this build and host against the interpreter, the translator with plenty of
//! memory and with little, and in turn with the interpreter: after each run one goes on where the other ended.
//!
//! Environment variables: `TRIMOTOR_LOCKSTEP_BLOCKS` (how many programs each pair runs, default
//! 40,000), `TRIMOTOR_LOCKSTEP_SEED`, `TRIMOTOR_LOCKSTEP_FROM` (the number of the first one),
//! `TRIMOTOR_LOCKSTEP_ENGINES` (one pair, as in `interp,jit`, `interp,jit/small` or `interp,interp/1`;
//! `/1` runs an instruction at a time, `/small` with so little code memory that blocks are dropped all the time, `/switched` in turn with the interpreter), `TRIMOTOR_LOCKSTEP_MODE` (a part of a mode's name),
//! `TRIMOTOR_LOCKSTEP_SHOW` (prints the program with this number).

#![allow(unsafe_code, missing_docs, clippy::unwrap_used, reason = "a test; memory is compared in place")]

mod board;
mod case;
mod forms;
mod handlers;
mod instructions;
mod map;
mod pair;
mod program;
mod reduce;
mod report;
mod side;
mod world;

use forms::Forms;
use iced_x86::InstructionInfoFactory;
use pair::Pair;
use reduce::Trial;
use side::Driver;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use trimotor_cpu::model::CpuModel;
use trimotor_machine::engines::Engine;
use trimotor_test_support::engines::JIT;
use trimotor_test_support::needs::{Case, Tests, run};
use trimotor_test_support::random::values::{self, Random};
use world::World;

/// Programs of one mode in a row: changing the mode writes much memory anew.
const ROW: u64 = 32;
/// After so many programs both sides start anew, so that a difference that only old programs explain
/// is found again in a short time.
const EPOCH: u64 = 1024;
/// How often all of RAM is compared.
const WHOLE: u64 = 256;
/// How often progress is shown.
const SHOWN_EVERY: Duration = Duration::from_secs(10);

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|v| !v.is_empty())
}
fn number(name: &str, default: u64) -> u64 {
    variable(name).map_or(default, |v| v.replace('_', "").parse().unwrap_or_else(|_| panic!("{name}={v}")))
}

/// What all cases share.
struct Fuzzer {
    seed: u64,
    model: Arc<CpuModel>,
    worlds: Vec<World>,
    /// For code of 16, 32 and 64 bits.
    forms: [Forms; 3],
    info: InstructionInfoFactory,
}

impl Fuzzer {
    fn new(seed: u64, only: Option<&str>) -> Fuzzer {
        let model = CpuModel::parse("max", 1_000_000_000).unwrap().limited_to_host();
        let mut random = Random::new(0x5EED);
        let data: Vec<u8> = (0..4).flat_map(|_| values::template(&mut random)).collect();
        let model = Arc::new(model);
        let driver = Driver { engine: Engine::Interp, small: false, stepped: false, switched: false };
        let reset = side::Side::new(driver, &model).unwrap().vcpu.state();
        let mut worlds = world::all(&reset, &data);
        worlds.retain(|world| only.is_none_or(|part| world.name.contains(part)));
        assert!(!worlds.is_empty(), "no mode of that name");
        let forms = [16, 32, 64].map(|bits| Forms::new(&model, bits));
        Fuzzer { seed, model, worlds, forms, info: InstructionInfoFactory::new() }
    }
    /// Case `number`.
    fn case(&mut self, number: u64) -> case::Case {
        let world = (number / ROW % self.worlds.len() as u64) as usize;
        let seed = Random::new(self.seed.wrapping_mul(0x1_0000_01B3) ^ number << 20).next();
        let forms = &self.forms[self.worlds[world].bits as usize / 32];
        case::Case::new(seed, world, &self.worlds[world], forms, &mut self.info)
    }

    /// Runs cases on a pair, an epoch at a time; returns the number of the first that differs.
    fn run(&mut self, drivers: [Driver; 2], work: &Work) -> Result<Option<u64>, String> {
        while let Some(range) = work.next_epoch() {
            let mut pair = Pair::new(drivers, &self.model)?;
            for number in range.clone() {
                let case = self.case(number);
                if pair.run(&case, &self.worlds, number % WHOLE == 0, false).is_some() {
                    work.stop.store(true, Ordering::Relaxed);
                    return Ok(Some(number));
                }
                if work.stop.load(Ordering::Relaxed) {
                    return Ok(None);
                }
            }
            work.done(drivers, range.end - range.start, pair.runs);
        }
        Ok(None)
    }

    /// Finds a difference again on fresh sides, makes its case smaller and describes it.
    fn explain(&mut self, drivers: [Driver; 2], number: u64, case: &case::Case) -> String {
        let again = format!(
            "TRIMOTOR_LOCKSTEP_ENGINES={},{} TRIMOTOR_LOCKSTEP_SEED={}",
            name(drivers[0]),
            name(drivers[1]),
            self.seed
        );
        let title = format!("{} and {} differ in program {number}", drivers[0], drivers[1]);
        let epoch = number - number % EPOCH;
        let mut earlier = 0;
        loop {
            let from = number.saturating_sub(earlier).max(epoch);
            let before: Vec<case::Case> = (from..number).map(|earlier| self.case(earlier)).collect();
            let mut trial = Trial { worlds: &self.worlds, drivers, model: &self.model, before };
            if trial.run(case).is_some() {
                trial.forget(case);
                let small = trial.reduce(case);
                let (pair, found) = trial.run(&small).expect("it differed just now");
                let text = report::describe(&small, &found, &pair, &self.worlds);
                let mut first = String::new();
                for earlier in &trial.before {
                    let world = &self.worlds[earlier.world];
                    first +=
                        &format!("after one in {} mode:\n{}", world.name, report::listing(earlier, world));
                }
                return format!("{title}\nagain: {again} TRIMOTOR_LOCKSTEP_FROM={from}\n{first}{text}");
            }
            if from == epoch {
                let listing = report::listing(case, &self.worlds[case.world]);
                return format!("{title}, but not again; {again} TRIMOTOR_LOCKSTEP_FROM={epoch}\n{listing}");
            }
            // Only with what earlier programs left in the engines.
            earlier = (earlier * 2).max(1);
        }
    }
}

fn name(driver: Driver) -> String {
    let (small, stepped) = (if driver.small { "/small" } else { "" }, if driver.stepped { "/1" } else { "" });
    format!("{}{small}{stepped}{}", driver.engine, if driver.switched { "/switched" } else { "" })
}

/// What the threads share: which epoch is next, and what has been done.
struct Work {
    next: AtomicU64,
    end: u64,
    stop: AtomicBool,
    done: Mutex<(u64, u64, Instant)>,
    began: Instant,
}

impl Work {
    fn new(from: u64, count: u64) -> Work {
        let began = Instant::now();
        let done = Mutex::new((0, 0, began));
        Work { next: AtomicU64::new(from), end: from + count, stop: AtomicBool::new(false), done, began }
    }
    /// The next cases that are run on the same sides.
    fn next_epoch(&self) -> Option<std::ops::Range<u64>> {
        let step = |at: u64| Some((at / EPOCH + 1) * EPOCH).filter(|_| at < self.end);
        let start = self.next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step).ok()?;
        (!self.stop.load(Ordering::Relaxed)).then(|| start..((start / EPOCH + 1) * EPOCH).min(self.end))
    }
    /// Counts, and shows progress now and then.
    fn done(&self, drivers: [Driver; 2], programs: u64, runs: u64) {
        let mut done = self.done.lock().unwrap();
        done.0 += programs;
        done.1 += runs;
        let last = self.next.load(Ordering::Relaxed) >= self.end;
        if last || done.2.elapsed() > SHOWN_EVERY {
            done.2 = Instant::now();
            let seconds = self.began.elapsed().as_secs_f64();
            let (a, b) = (drivers[0], drivers[1]);
            let rate = done.0 as f64 / seconds;
            println!(
                "{a} and {b}: {} programs in {} runs, {seconds:.0} s, {rate:.0} a second",
                done.0, done.1
            );
        }
    }
}

/// Runs `count` cases on a pair, on all of the host's cores; the text tells of the first difference.
fn campaign(drivers: [Driver; 2], from: u64, count: u64) -> Result<(), String> {
    let seed = number("TRIMOTOR_LOCKSTEP_SEED", 1);
    let only = variable("TRIMOTOR_LOCKSTEP_MODE");
    let work = Work::new(from, count);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let found: Result<Vec<_>, _> = std::thread::scope(|scope| {
        let run = || Fuzzer::new(seed, only.as_deref()).run(drivers, &work);
        let started: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        started.into_iter().map(|thread| thread.join().expect("a thread of the test")).collect()
    });
    match found?.into_iter().flatten().min() {
        None => Ok(()),
        Some(number) => {
            let mut fuzzer = Fuzzer::new(seed, only.as_deref());
            let case = fuzzer.case(number);
            Err(fuzzer.explain(drivers, number, &case))
        }
    }
}

/// The pairs of engines to compare. KVM's processor is the host's, whose flags and faults are its own.
fn pairs() -> Vec<Case<[Driver; 2]>> {
    let parse = |text: &str| text.trim().parse::<Driver>().unwrap_or_else(|error| panic!("{error}"));
    if let Some(text) = variable("TRIMOTOR_LOCKSTEP_ENGINES") {
        let (first, second) = text.split_once(',').expect("two engines with a comma between them");
        return vec![Case { name: "chosen", needs: &[], value: [parse(first), parse(second)] }];
    }
    let pair = |name, needs, second| Case { name, needs, value: [parse("interp"), parse(second)] };
    vec![
        pair("interp_stepped", &[], "interp/1"),
        pair("jit", &[JIT], "jit"),
        pair("jit_with_little_memory", &[JIT], "jit/small"),
        pair("jit_and_interp_in_turn", &[JIT], "jit/small/switched"),
    ]
}

fn main() -> ExitCode {
    if let Some(number) = variable("TRIMOTOR_LOCKSTEP_SHOW") {
        show(number.parse().unwrap());
        return ExitCode::SUCCESS;
    }
    run([Tests::new().each(&pairs(), engines_do_the_same)])
}

/// Prints a program.
fn show(program: u64) {
    let only = variable("TRIMOTOR_LOCKSTEP_MODE");
    let mut fuzzer = Fuzzer::new(number("TRIMOTOR_LOCKSTEP_SEED", 1), only.as_deref());
    let case = fuzzer.case(program);
    println!("{}\n{:?}", fuzzer.worlds[case.world].name, case.runs);
    println!("{}", report::listing(&case, &fuzzer.worlds[case.world]));
}

fn engines_do_the_same(drivers: [Driver; 2]) {
    // With little memory the way is the same, and longer; new vCPUs for each run take longer still.
    let default = match drivers[1] {
        Driver { switched: true, .. } => 2_000,
        Driver { small: true, .. } => 10_000,
        _ => 40_000,
    };
    let count = number("TRIMOTOR_LOCKSTEP_BLOCKS", default);
    if let Err(difference) = campaign(drivers, number("TRIMOTOR_LOCKSTEP_FROM", 0), count) {
        panic!("{difference}");
    }
}
