//! Two machines of the same configuration on two engines, side by side: they must do the same.
//!
//! Guest time is a count of instructions, so that both runs are a function of the configuration and
//! both machines get the same slices. After each *interval* of so many instructions registers, guest
//! time and serial output are compared, after some of them all of RAM that was touched. At the first
//! difference both machines start over, and the interval is cut into shorter ones until it is a single
//! instruction; that costs a few runs up to there, and needs no snapshots. The report has the last instructions
//! with what they changed, and the host code of their blocks where an engine makes some.
//!
//! What comes from outside would come to each machine at an instruction of its own. So the first one gets it, with where it took it
//! ([`crate::events`]), and the second one, which runs behind, replays that. Both replay where they start over.

mod report;
mod side;
#[cfg(test)]
mod tests;

pub use report::{Difference, Executed};
pub use side::SerialLog;

use crate::events::{MemoryLog, TakenEvent};
use crate::exit::ExitReason;
use crate::machine::{HostServices, Machine, MachineError};
use side::{Pair, Verdict};

/// How many parts an interval with a difference is cut into each time.
const PARTS: u64 = 32;

/// How many instructions before the interval that is looked at singly are listed too.
const TRACED: u64 = 16;

/// How many instructions are listed at most.
const LISTED: usize = 64;

/// How long, and how closely.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    /// So many instructions run before the first comparison.
    pub from: u64,
    /// Instructions of an interval.
    pub every: u64,
    /// RAM is compared after so many intervals.
    pub memory_every: u64,
    /// Ends after so many instructions of all vCPUs.
    pub until: u64,
    /// Ends at the end of the interval in which the guest has written one of these texts to COM1.
    pub until_text: &'a [String],
    /// For machines that the outside reaches: what comes to the first one is kept here, and comes to the second one at the same
    /// instructions. Where there are events already, both machines get these, and nothing else.
    pub events: Option<&'a MemoryLog>,
}

/// What comes to a machine from outside.
#[derive(Debug)]
pub enum Outside {
    /// What the host has, if its services have anything.
    Host,
    /// This: the machine is one that [replays](Machine::replaying).
    Replayed(Vec<TakenEvent>),
}

/// Makes the first (0) or the second (1) machine on the host's services that it is handed.
pub type Make<'a> = dyn FnMut(usize, HostServices, Outside) -> Result<Machine, MachineError> + 'a;

impl Plan<'_> {
    /// Whether a text ends in `output` behind its first `known` bytes.
    fn ends_with(&self, output: &[u8], known: usize) -> bool {
        self.until_text.iter().any(|text| {
            let from = known.saturating_sub(text.len().saturating_sub(1));
            output[from..].windows(text.len().max(1)).any(|part| part == text.as_bytes())
        })
    }
}

/// What is going on, for people who wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress<'a> {
    /// So many instructions, and all is the same. With what the guest wrote to COM1 meanwhile.
    Same(u64, &'a [u8]),
    /// A difference is between these counts of instructions; looking closer.
    Narrowing(u64, u64),
}

/// How it ended.
#[derive(Debug)]
pub enum Outcome {
    /// No difference up to so many instructions; why the machines ended, if they did.
    Same(u64, Option<ExitReason>),
    /// The first difference.
    Different(Box<Difference>),
}

/// Runs two machines side by side. `make` is called several times; what it makes must count instructions.
///
/// # Errors
/// A machine cannot be made.
pub fn run(
    plan: Plan<'_>,
    make: &mut Make<'_>,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Outcome, MachineError> {
    let mut pair = Pair::new(make, plan.events)?;
    // Up to where all was the same, memory included.
    let mut same = plan.from.min(plan.until);
    let mut shown = 0;
    let mut at = same;
    let ends = pair.run_until(at);
    if ends.iter().any(Option::is_some) {
        let differ = pair.compare(&ends, true) == Verdict::Different;
        let [first, _] = ends;
        return Ok(if differ {
            Outcome::Different(Box::new(Difference::unsteady(0, at)))
        } else {
            Outcome::Same(pair.instructions()[0], first)
        });
    }
    for interval in 1u64.. {
        let target = (at + plan.every.max(1)).min(plan.until);
        let ends = pair.run_until(target);
        let output = pair.output(0);
        let over = ends[0].is_some()
            || target == plan.until
            || pair.instructions()[0] < target
            || plan.ends_with(&output, shown);
        let memory = over || interval.is_multiple_of(plan.memory_every.max(1));
        if pair.compare(&ends, memory) == Verdict::Different {
            drop(pair);
            return Ok(match narrow(plan, same, target, make, progress)? {
                Some(difference) => Outcome::Different(Box::new(difference)),
                // Cut at other places the two are the same.
                None => Outcome::Different(Box::new(Difference::unsteady(same, target))),
            });
        }
        at = target;
        progress(Progress::Same(pair.instructions()[0], &output[shown..]));
        shown = output.len();
        if memory {
            same = target;
        }
        if over {
            let [first, _] = ends;
            return Ok(Outcome::Same(pair.instructions()[0], first));
        }
    }
    Ok(Outcome::Same(at, None))
}

/// Finds the instruction after which the machines differ, somewhere after `from` and up to `to`.
fn narrow(
    plan: Plan<'_>,
    mut from: u64,
    mut to: u64,
    make: &mut Make<'_>,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Option<Difference>, MachineError> {
    loop {
        progress(Progress::Narrowing(from, to));
        let part = (to - from).div_ceil(PARTS);
        if part == 1 {
            from = from.saturating_sub(TRACED);
        }
        let mut pair = Pair::new(make, plan.events)?;
        pair.run_until(from);
        let mut executed = Vec::new();
        let mut found = false;
        let began = from;
        while from < to {
            let before = pair.states();
            let next = pair.next_instructions();
            let target = (from + part).min(to);
            let ends = pair.run_until(target);
            if part == 1 {
                let [first, second] = pair.states();
                executed.push(Executed::new(&before, [Some(&first), Some(&second)], next));
            }
            if pair.compare(&ends, true) == Verdict::Different {
                if part == 1 {
                    return Ok(Some(Difference::new(target, before, &mut pair, ends, executed)));
                }
                (to, found) = (target, true);
                break;
            }
            if ends[0].is_some() {
                break;
            }
            from = target;
        }
        if !found {
            return whole(plan, began, to, make);
        }
    }
}

/// The difference that shows only where an engine runs the instructions between `from` and `to` in one
/// piece: the second machine does, the first one goes by single steps, so that they can be listed.
fn whole(
    plan: Plan<'_>,
    from: u64,
    to: u64,
    make: &mut Make<'_>,
) -> Result<Option<Difference>, MachineError> {
    let mut pair = Pair::new(make, plan.events)?;
    pair.run_until(from);
    let before = pair.states();
    let mut executed = Vec::new();
    let mut first = None;
    for target in from + 1..=to {
        let (start, next) = (pair.states(), pair.next_instructions());
        first = pair.machines[0].run_until(target);
        executed.push(Executed::new(&start, [Some(&pair.states()[0]), None], next));
        if executed.len() > LISTED {
            executed.remove(0);
        }
    }
    let ends = [first, pair.machines[1].run_until(to)];
    let differs = pair.compare(&ends, true) == Verdict::Different;
    Ok(differs.then(|| Difference::new(to, before, &mut pair, ends, executed)))
}
