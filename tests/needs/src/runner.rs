//! A list of tests whose needs are known before they run.

use crate::{Need, is_ci, may_lack};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A value that tests are run with, as an engine.
#[derive(Clone, Copy, Debug)]
pub struct Case<T> {
    /// Stands in the test's name before the function's.
    pub name: &'static str,
    /// What this value needs of the host.
    pub needs: &'static [Need],
    /// What the function gets.
    pub value: T,
}

/// The tests of a module, which share needs.
///
/// ```
/// use trimotor_test_needs::{QEMU, Tests};
///
/// fn two_and_two() {
///     assert_eq!(2 + 2, 4);
/// }
/// fn qemu_agrees() {}
///
/// fn tests() -> Tests {
///     Tests::new().test(two_and_two).test_needing(&[QEMU], qemu_agrees)
/// }
/// # let _ = tests();
/// ```
///
/// A function that is in no list is unused, which the compiler says.
#[derive(Default)]
pub struct Tests {
    needs: Vec<Need>,
    list: Vec<Test>,
}

struct Test {
    name: String,
    needs: Vec<Need>,
    function: Box<dyn FnOnce() + Send>,
}

impl Tests {
    /// Tests that need nothing.
    pub fn new() -> Tests {
        Tests::default()
    }
    /// Tests that all need the same.
    pub fn needing(needs: &[Need]) -> Tests {
        Tests { needs: needs.to_vec(), list: Vec::new() }
    }
    /// Adds a test.
    pub fn test<F: FnOnce() + Send + 'static>(self, function: F) -> Tests {
        self.test_needing(&[], function)
    }
    /// Adds a test that needs more than the others.
    pub fn test_needing<F: FnOnce() + Send + 'static>(self, needs: &[Need], function: F) -> Tests {
        let name = name_of::<F>("");
        self.add(name, needs, Box::new(function))
    }
    /// Adds a test for each of some values.
    pub fn each<T, F>(mut self, cases: &[Case<T>], function: F) -> Tests
    where
        T: Copy + Send + 'static,
        F: Fn(T) + Copy + Send + 'static,
    {
        for case in cases {
            let value = case.value;
            self = self.add(name_of::<F>(case.name), case.needs, Box::new(move || function(value)));
        }
        self
    }
    fn add(mut self, name: String, needs: &[Need], function: Box<dyn FnOnce() + Send>) -> Tests {
        let needs = [&self.needs, needs].concat();
        self.list.push(Test { name, needs, function });
        self
    }
}

/// A function's path in its crate, with `case` before its own name.
fn name_of<F>(case: &str) -> String {
    let path = std::any::type_name::<F>();
    assert!(!path.contains('{'), "tests are functions with a name, not {path}");
    let path = path.split_once("::").map_or(path, |(_crate, rest)| rest);
    match (path.rsplit_once("::"), case) {
        (_, "") => path.to_owned(),
        (Some((module, name)), case) => format!("{module}::{case}::{name}"),
        (None, case) => format!("{case}::{path}"),
    }
}

/// Runs lists of tests as the command line says, which is that of Rust's own test programs.
pub fn run(lists: impl IntoIterator<Item = Tests>) -> ExitCode {
    let arguments = Arguments::from_args();
    // Who asks for ignored tests by their flag wants them run.
    let forced = arguments.ignored || arguments.include_ignored;
    let listed = arguments.list;
    let tests = lists.into_iter().flat_map(|tests| tests.list);
    let trials = tests.map(|test| trial(test, forced, listed)).collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    if !listed {
        name_the_slowest();
    }
    conclusion.exit_code()
}

/// How long each test took that has ended.
static DURATIONS: Mutex<Vec<(Duration, String)>> = Mutex::new(Vec::new());
/// So many of the slowest are named, of those that took [`SLOW`] at least: nearly all of the time is theirs.
const NAMED: usize = 60;
const SLOW: Duration = Duration::from_secs(10);

fn note_duration(name: String, began: Instant) {
    DURATIONS.lock().unwrap_or_else(PoisonError::into_inner).push((began.elapsed(), name));
}

fn name_the_slowest() {
    let mut all = std::mem::take(&mut *DURATIONS.lock().unwrap_or_else(PoisonError::into_inner));
    all.retain(|(took, _)| *took >= SLOW);
    all.sort_by(|one, other| other.cmp(one));
    for (took, name) in all.iter().take(NAMED) {
        println!("{:5} s  {name}", took.as_secs());
    }
}

fn trial(test: Test, forced: bool, listed: bool) -> Trial {
    let Test { name, needs, function } = test;
    let unmet = needs.iter().find_map(|need| (need.check)().err().map(|why| (need.name, why)));
    // Other runners, as nextest, ask by `--list --ignored`.
    let ignored = unmet.is_some() && listed && !is_ci();
    let timed = name.clone();
    let run = move || match unmet {
        Some((need, why)) if !forced => unmet_need(need, &why),
        _ => {
            let began = Instant::now();
            function();
            note_duration(timed, began);
            Ok(Completion::Completed)
        }
    };
    Trial::ignorable_test(name, run).with_ignored_flag(ignored)
}

fn unmet_need(need: &str, why: &str) -> Result<Completion, Failed> {
    if is_ci() && !may_lack(need) {
        return Err(format!("would be ignored, which CI does not allow: {why}").into());
    }
    Ok(Completion::ignored_with(why))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing() {}
    fn of_a_number(_number: u32) {}

    #[test]
    fn names_are_paths_within_the_crate() {
        let cases = [Case { name: "one", needs: &[], value: 1 }, Case { name: "two", needs: &[], value: 2 }];
        let tests = Tests::new().test(nothing).each(&cases, of_a_number);
        let names: Vec<_> = tests.list.iter().map(|test| test.name.as_str()).collect();
        let wanted =
            ["runner::tests::nothing", "runner::tests::one::of_a_number", "runner::tests::two::of_a_number"];
        assert_eq!(names, wanted);
    }

    #[test]
    fn needs_add_up() {
        const NEVER: Need = Need { name: "never", check: || Err("it is never there".into()) };
        const ALWAYS: Need = Need { name: "always", check: || Ok(()) };
        let tests = Tests::needing(&[ALWAYS]).test(nothing).test_needing(&[NEVER], nothing);
        let names = |test: &Test| test.needs.iter().map(|need| need.name).collect::<Vec<_>>();
        assert_eq!(names(&tests.list[0]), ["always"]);
        assert_eq!(names(&tests.list[1]), ["always", "never"]);
    }
}
