//! Runs cases on two sides and compares.

use crate::board::Noted;
use crate::case::Case;
use crate::side::{Driver, Side, differing_pages};
use crate::world::World;
use std::sync::Arc;
use trimotor_cpu::model::CpuModel;
use trimotor_cpu::{ArchState, VcpuExit};

/// How two sides came apart.
pub struct Found {
    /// Which run of the case.
    pub run: usize,
    /// The states before it, and after it on the two sides.
    pub before: ArchState,
    pub after: [ArchState; 2],
    pub exits: [VcpuExit; 2],
    pub noted: [Vec<Noted>; 2],
    /// Physical addresses with the two bytes.
    pub memory: Vec<(u64, u8, u8)>,
}

pub struct Pair {
    pub sides: [Side; 2],
    /// RAM as cases find it.
    wanted: Vec<u8>,
    /// The mode of the last case.
    world: usize,
    /// Runs that were compared.
    pub runs: u64,
}

impl Pair {
    /// # Errors
    /// An engine cannot be used; the text says why.
    pub fn new(drivers: [Driver; 2], model: &Arc<CpuModel>) -> Result<Pair, String> {
        let sides = [Side::new(drivers[0], model)?, Side::new(drivers[1], model)?];
        Ok(Pair { sides, wanted: Vec::new(), world: usize::MAX, runs: 0 })
    }

    /// Runs a case to its end, or to the first difference. With `all`, all of RAM is compared after it,
    /// otherwise what the case can reach; with `closely`, after each run.
    pub fn run(&mut self, case: &Case, worlds: &[World], all: bool, closely: bool) -> Option<Found> {
        let world = &worlds[case.world];
        let new = self.world != case.world;
        if new {
            self.wanted.clone_from(&world.image);
            self.world = case.world;
        }
        case.apply(&mut self.wanted);
        for side in &mut self.sides {
            side.restore(&self.wanted, &case.state, new || all);
        }
        case.remove(&mut self.wanted, world);
        let mut before = case.state.clone();
        let mut halted = false;
        for (number, run) in case.runs.iter().enumerate() {
            if halted && run.before.is_none() {
                break;
            }
            let mut exits = [VcpuExit::Budget, VcpuExit::Budget];
            for (side, exit) in self.sides.iter_mut().zip(&mut exits) {
                if let Some(event) = run.before {
                    event.apply(side);
                }
                *exit = side.run(run.budget);
            }
            self.runs += 1;
            let after = [0, 1].map(|n: usize| self.sides[n].vcpu.state());
            let [a, b] = &self.sides;
            let same = exits[0] == exits[1]
                && after[0] == after[1]
                && a.board.noted == b.board.noted
                && a.board.accesses == b.board.accesses;
            if !same || closely && !differing_pages(a, b, all).is_empty() {
                return Some(self.found(number, before, after, exits));
            }
            halted = exits[0] == VcpuExit::Halted;
            if matches!(exits[0], VcpuExit::Shutdown(_)) {
                break;
            }
            let [first, _] = after;
            before = first;
        }
        if differing_pages(&self.sides[0], &self.sides[1], all).is_empty() {
            return None;
        }
        let after = [0, 1].map(|n: usize| self.sides[n].vcpu.state());
        Some(self.found(case.runs.len(), before, after, [VcpuExit::Budget, VcpuExit::Budget]))
    }

    fn found(&self, run: usize, before: ArchState, after: [ArchState; 2], exits: [VcpuExit; 2]) -> Found {
        let [a, b] = &self.sides;
        let mut memory = Vec::new();
        for page in differing_pages(a, b, true) {
            let (Some(first), Some(second)) = (a.page(page), b.page(page)) else { continue };
            let bytes = first.iter().zip(second).enumerate();
            memory.extend(bytes.filter(|(_, (x, y))| x != y).map(|(n, (x, y))| (page + n as u64, *x, *y)));
        }
        let noted = [a.board.noted.clone(), b.board.noted.clone()];
        Found { run, before, after, exits, noted, memory }
    }
}
