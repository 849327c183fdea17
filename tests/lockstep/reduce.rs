//! Makes a case that differs smaller: instructions that do not matter become NOPs, and what happens
//! from outside is left out.

use crate::case::{Case, Run};
use crate::pair::{Found, Pair};
use crate::side::Driver;
use crate::world::World;
use std::sync::Arc;
use trimotor_cpu::model::CpuModel;

/// NOPs of one to nine bytes (SDM Vol. 2B, NOP: recommended multi-byte sequences).
const NOPS: [&[u8]; 9] = [
    &[0x90],
    &[0x66, 0x90],
    &[0x0F, 0x1F, 0x00],
    &[0x0F, 0x1F, 0x40, 0x00],
    &[0x0F, 0x1F, 0x44, 0x00, 0x00],
    &[0x66, 0x0F, 0x1F, 0x44, 0x00, 0x00],
    &[0x0F, 0x1F, 0x80, 0x00, 0x00, 0x00, 0x00],
    &[0x0F, 0x1F, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00],
    &[0x66, 0x0F, 0x1F, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00],
];

/// Bytes of NOPs, as few as there can be. In 16-bit code the longer ones have other lengths, so that
/// there it is one-byte ones.
fn nops(mut bytes: usize, bits: u32) -> Vec<u8> {
    let mut all = Vec::new();
    while bytes > 0 {
        let size = if bits == 16 { 1 } else { bytes.min(NOPS.len()) };
        all.extend_from_slice(NOPS[size - 1]);
        bytes -= size;
    }
    all
}

/// How a case is tried: on fresh sides, after other cases that leave something behind in the engines.
pub struct Trial<'a> {
    pub worlds: &'a [World],
    pub drivers: [Driver; 2],
    pub model: &'a Arc<CpuModel>,
    pub before: Vec<Case>,
}

impl Trial<'_> {
    /// Runs a case; the sides as they are then, and the difference if there was one.
    pub fn run(&self, case: &Case) -> Option<(Pair, Found)> {
        let mut pair = Pair::new(self.drivers, self.model).ok()?;
        for earlier in &self.before {
            pair.run(earlier, self.worlds, false, false);
        }
        let found = pair.run(case, self.worlds, false, true)?;
        Some((pair, found))
    }
    fn differs(&self, case: &Case) -> bool {
        self.run(case).is_some()
    }

    /// Leaves out as many of the earlier cases as possible.
    pub fn forget(&mut self, case: &Case) {
        let mut size = self.before.len().div_ceil(2);
        while size > 0 {
            let mut at = 0;
            while at < self.before.len() {
                let mut fewer = self.before.clone();
                fewer.drain(at..(at + size).min(self.before.len()));
                let all = std::mem::replace(&mut self.before, fewer);
                if !self.differs(case) {
                    self.before = all;
                    at += size;
                }
            }
            size = if size == 1 { 0 } else { size.div_ceil(2) };
        }
    }

    /// The smallest case that we find which still differs.
    pub fn reduce(&self, case: &Case) -> Case {
        let mut best = case.clone();
        for _ in 0..2 {
            let mut groups: Vec<u32> = best.items.iter().map(|item| item.group).collect();
            groups.dedup();
            for group in groups {
                let smaller = without(&best, group, self.worlds[case.world].bits);
                if self.differs(&smaller) {
                    best = smaller;
                }
            }
        }
        let best = self.shorten(best);
        quieten(best, |case| self.differs(case))
    }

    /// Ends the case with the instruction that differs, and begins its last run as late as can be.
    fn shorten(&self, case: Case) -> Case {
        let mut best = case;
        let Some((_, found)) = self.run(&best) else { return best };
        best.runs.truncate(found.run + 1);
        let Some(last) = best.runs.pop() else { return best };
        let with =
            |end: &[Run]| Case { runs: best.runs.iter().chain(end).copied().collect(), ..best.clone() };
        let shortest = (1..last.budget).find(|&budget| self.differs(&with(&[Run { budget, ..last }])));
        let budget = shortest.unwrap_or(last.budget);
        let mut split = (1..budget)
            .map(|late| with(&[Run { budget: budget - late, ..last }, Run { before: None, budget: late }]));
        let late = split.find(|case| self.differs(case));
        late.unwrap_or_else(|| with(&[Run { budget, ..last }]))
    }
}

/// Leaves out what happens from outside and special register contents, where they do not matter.
fn quieten(case: Case, differs: impl Fn(&Case) -> bool) -> Case {
    let mut best = case;
    for n in 0..best.runs.len() {
        let mut quieter = best.clone();
        if quieter.runs[n].before.take().is_some() && differs(&quieter) {
            best = quieter;
        }
    }
    let mut plainer = best.clone();
    plainer.state.ymm = [[0; 4]; 16];
    plainer.state.mxcsr = 0x1F80;
    if differs(&plainer) {
        best = plainer;
    }
    best
}

/// The case with a group of instructions made NOPs; they stay in the image, but are items no more.
fn without(case: &Case, group: u32, bits: u32) -> Case {
    let mut smaller = case.clone();
    for item in &mut smaller.items {
        if item.group == group && !item.last {
            item.bytes = nops(item.bytes.len(), bits);
        }
    }
    smaller
}

/// Whether an item is nothing but NOPs.
pub fn is_nops(bytes: &[u8], bits: u32) -> bool {
    bytes == nops(bytes.len(), bits)
}
