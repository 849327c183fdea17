//! What profilers learn of translated code: where each block was placed, how often it ran, and how long translation
//! took.
//!
//! All is off unless it is asked for. Counting costs each block two instructions.

use crate::cache::TranslatedCode;
use std::collections::HashMap;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use trimotor_cpu::code_observer::{CodeKind, CodeObserver, GuestBlock, PlacedCode};
use trimotor_cpu_interp::core::mode;

/// Counters that are made at once.
const CHUNK: usize = 4096;
/// Blocks of code that was dropped whose counts are kept, those that ran most.
const KEPT: usize = 4096;

/// A clock of the host, in nanoseconds from any time on.
pub type Clock = fn() -> u64;

/// The observer and the counters.
#[derive(Default)]
pub struct Profiler {
    observer: Option<CodeObserver>,
    counting: bool,
    clock: Option<Clock>,
    /// Counters of the blocks by number; chunks stay where they are.
    chunks: Vec<Box<[AtomicU64]>>,
    /// What the counters count, by number.
    blocks: Vec<GuestBlock>,
    /// Numbers whose blocks were dropped.
    free: Vec<u32>,
    /// Executions of blocks whose code was dropped.
    past: HashMap<GuestBlock, u64>,
}

impl Profiler {
    /// Has `observer` called for all code from now on, and blocks counted where `counting` is true.
    pub fn new(observer: Option<CodeObserver>, counting: bool) -> Profiler {
        Profiler { observer, counting, ..Profiler::default() }
    }

    /// The same with a clock that translation is timed by: it is read twice for each block.
    #[must_use]
    pub fn timed_by(self, clock: Option<Clock>) -> Profiler {
        Profiler { clock, ..self }
    }

    /// The same for another vCPU.
    pub fn for_another(&self) -> Profiler {
        Profiler::new(self.observer.clone(), self.counting).timed_by(self.clock)
    }

    /// Whether translation is timed.
    pub fn is_timed(&self) -> bool {
        self.clock.is_some()
    }
    /// The time, in nanoseconds; 0 where there is no clock.
    pub fn now_ns(&self) -> u64 {
        self.clock.map_or(0, |clock| clock())
    }

    /// Whether somebody wants to know where code is.
    pub fn is_observed(&self) -> bool {
        self.observer.is_some()
    }

    /// The host address of the counter of the block that is placed next.
    pub fn next_counter(&mut self) -> Option<u64> {
        if !self.counting {
            return None;
        }
        let n = self.next_number();
        if n / CHUNK == self.chunks.len() {
            self.chunks.push((0..CHUNK).map(|_| AtomicU64::new(0)).collect());
        }
        Some(self.chunks[n / CHUNK][n % CHUNK].as_ptr() as u64)
    }
    fn next_number(&self) -> usize {
        self.free.last().map_or(self.blocks.len(), |&free| free as usize)
    }

    /// A block was placed; the number of its counter.
    pub fn placed(&mut self, host: u64, bytes: u64, block: GuestBlock) -> Option<u32> {
        self.report(host, bytes, CodeKind::Block(block));
        if !self.counting {
            return None;
        }
        let n = self.next_number();
        match self.free.pop() {
            Some(_) => self.blocks[n] = block,
            None => self.blocks.push(block),
        }
        Some(n as u32)
    }
    /// Code for all blocks was placed.
    pub fn placed_shared(&mut self, host: u64, bytes: u64, name: &'static str) {
        self.report(host, bytes, CodeKind::Shared(name));
    }
    fn report(&mut self, host: u64, bytes: u64, what: CodeKind) {
        if let Some(observer) = &self.observer {
            let mut observer = observer.lock().unwrap_or_else(PoisonError::into_inner);
            observer(&PlacedCode { host, bytes, what });
        }
    }

    /// The blocks with these counters are dropped: others may use them.
    pub fn forget(&mut self, counters: impl Iterator<Item = u32>) {
        for n in counters {
            let counter = &self.chunks[n as usize / CHUNK][n as usize % CHUNK];
            let runs = counter.swap(0, Ordering::Relaxed);
            if runs > 0 {
                *self.past.entry(self.blocks[n as usize]).or_default() += runs;
            }
            self.free.push(n);
        }
        if self.past.len() > 2 * KEPT {
            self.past = most(std::mem::take(&mut self.past), KEPT).into_iter().collect();
        }
    }

    /// The blocks that ran most instructions, and how often each was entered.
    pub fn hottest(&self, count: usize) -> Vec<(GuestBlock, u64)> {
        most(self.executions(), count)
    }
    fn executions(&self) -> HashMap<GuestBlock, u64> {
        let mut all = self.past.clone();
        for (block, counter) in self.blocks.iter().zip(self.chunks.iter().flatten()) {
            let runs = counter.load(Ordering::Relaxed);
            if runs > 0 {
                *all.entry(*block).or_default() += runs;
            }
        }
        all
    }
}

/// The `count` blocks with the most instructions run.
fn most(all: HashMap<GuestBlock, u64>, count: usize) -> Vec<(GuestBlock, u64)> {
    let mut all: Vec<_> = all.into_iter().filter(|(_, runs)| *runs > 0).collect();
    all.sort_by_key(|(block, runs)| (std::cmp::Reverse(runs * block.instructions as u64), *block));
    all.truncate(count);
    all
}

/// The block that starts at `rip` in the mode `m`.
pub fn guest_block(rip: u64, m: u32, instructions: usize) -> GuestBlock {
    let bits = match m & mode::CODE_SIZE {
        mode::CODE64 => 64,
        mode::CODE32 => 32,
        _ => 16,
    };
    GuestBlock { rip, instructions: instructions as u32, bits, user: m & mode::USER != 0 }
}

impl TranslatedCode {
    /// Tells of the code that is the same for all blocks.
    pub(crate) fn report_thunks(&mut self) {
        let (mut thunks, end) = (self.thunks().named(), self.thunks_end());
        thunks.sort_by_key(|(_, at)| *at);
        for (n, (name, at)) in thunks.iter().enumerate() {
            let next = thunks.get(n + 1).map_or(end, |next| next.1.0);
            let host = self.address(*at);
            self.profiler.placed_shared(host, (next - at.0) as u64, name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    fn block(rip: u64) -> GuestBlock {
        guest_block(rip, mode::CODE64 | mode::USER, 2)
    }
    fn run(profiler: &mut Profiler, rip: u64, times: u64) {
        let counter = profiler.next_counter().unwrap();
        let n = profiler.placed(0x1000, 16, block(rip)).unwrap() as usize;
        assert_eq!(counter, profiler.chunks[n / CHUNK][n % CHUNK].as_ptr() as u64);
        profiler.chunks[n / CHUNK][n % CHUNK].fetch_add(times, Ordering::Relaxed);
    }

    #[test]
    fn counts_outlive_the_code() {
        let mut profiler = Profiler::new(None, true);
        run(&mut profiler, 0x100, 5);
        run(&mut profiler, 0x200, 7);
        run(&mut profiler, 0x300, 0);
        profiler.forget([0, 2].into_iter());
        run(&mut profiler, 0x100, 4);
        run(&mut profiler, 0x400, 1);
        assert_eq!(profiler.blocks.len(), 3, "counters are used again");
        let all = [(block(0x100), 9), (block(0x200), 7), (block(0x400), 1)];
        assert_eq!(profiler.hottest(8), all);
        assert_eq!(profiler.hottest(1).len(), 1);
    }

    #[test]
    fn an_observer_is_told_of_each_block() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sink = seen.clone();
        let mut profiler = Profiler::new(
            Some(Arc::new(Mutex::new(move |code: &PlacedCode| sink.lock().unwrap().push(*code)))),
            false,
        );
        assert_eq!(profiler.next_counter(), None);
        profiler.placed(0x1000, 16, block(0x100));
        let what = CodeKind::Block(block(0x100));
        assert_eq!(*seen.lock().unwrap(), [PlacedCode { host: 0x1000, bytes: 16, what }]);
        assert!(profiler.hottest(8).is_empty());
    }
}
