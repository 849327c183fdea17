//! One case: a program, the state that it starts from, and what happens from outside meanwhile.

use crate::forms::Forms;
use crate::instructions::{Maker, POINTERS, SMALL};
use crate::map::{self, CODE, DATA, LENGTHS};
use crate::program::{Builder, COUNTER, Item};
use crate::world::{Paging, World};
use iced_x86::InstructionInfoFactory;
use trimotor_bt_jit::engine_area::InlineCache;
use trimotor_bus::{PhysAddr, VcpuSignals};
use trimotor_cpu::ArchState;
use trimotor_test_support::random::registers::take_registers;
use trimotor_test_support::random::values::{self, Random};

/// Instructions that most cases run at most, and long ones.
const MOST: u64 = 300;
const MOST_LONG: u64 = 3000;
/// Runs of a case.
const MOST_RUNS: usize = 40;
/// Long ones are the common ones: short ones decode each instruction anew, and take their time.
const BUDGETS: [u64; 12] = [1000, 1000, 1000, 1000, 1000, 50, 50, 50, 7, 3, 2, 1];

/// Something that happens between two runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    Interrupt(u8),
    Signal(u32),
    /// A device writes to memory.
    Write(u64, u8),
}

/// A run, and what happens before it.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    pub before: Option<Event>,
    pub budget: u64,
}

#[derive(Clone)]
pub struct Case {
    /// Which mode.
    pub world: usize,
    pub items: Vec<Item>,
    pub state: ArchState,
    pub runs: Vec<Run>,
    /// How often the whole program is repeated at most.
    pub repetitions: u8,
}

impl Case {
    /// The case of `seed` in the mode `world`.
    pub fn new(
        seed: u64,
        index: usize,
        world: &World,
        forms: &Forms,
        info: &mut InstructionInfoFactory,
    ) -> Case {
        let maker = Maker { random: Random::new(seed), world, info, kept: 0, moved: None };
        let mut builder = Builder::new(maker, forms);
        let entry = builder.build();
        let r = &mut builder.maker.random;
        let mut state = world.base.clone();
        registers(r, world, &mut state);
        system(r, world, &mut state);
        state.rip = world.code + entry;
        let most = if r.percent(20) { 60 } else { 6 };
        let repetitions = 1 + r.below(most) as u8;
        let runs = runs(r);
        Case { world: index, items: builder.items, state, runs, repetitions }
    }

    /// Lays the program and its table of lengths over `image`.
    pub fn apply(&self, image: &mut [u8]) {
        for item in &self.items {
            let code = (CODE + item.at) as usize;
            image[code..code + item.bytes.len()].copy_from_slice(&item.bytes);
            image[(LENGTHS + item.at) as usize] = if item.last { 0 } else { item.bytes.len() as u8 };
        }
        image[(DATA + COUNTER) as usize..][..4].copy_from_slice(&u32::from(self.repetitions).to_le_bytes());
    }
    /// Takes it away again.
    pub fn remove(&self, image: &mut [u8], world: &World) {
        for item in &self.items {
            for base in [CODE, LENGTHS] {
                let range = (base + item.at) as usize..(base + item.at) as usize + item.bytes.len();
                image[range.clone()].copy_from_slice(&world.image[range]);
            }
        }
        let counter = (DATA + COUNTER) as usize..(DATA + COUNTER) as usize + 4;
        image[counter.clone()].copy_from_slice(&world.image[counter]);
    }
}

impl Event {
    /// Has it happen to a side.
    pub fn apply(self, side: &mut crate::side::Side) {
        match self {
            Event::Interrupt(vector) => side.board.interrupt(vector),
            Event::Signal(bits) => side.board.signals.raise(bits),
            Event::Write(at, value) => {
                side.memory.write(PhysAddr(at), &[value]);
            }
        }
    }
}

fn registers(r: &mut Random, world: &World, s: &mut ArchState) {
    let flat = world.code != 0;
    let mask = match world.bits {
        64 => u64::MAX,
        32 => 0xFFFF_FFFF,
        _ if r.percent(80) => 0xFFFF,
        _ => 0xFFFF_FFFF,
    };
    s.gpr = std::array::from_fn(|_| values::integer(r) & mask);
    for n in SMALL {
        if r.percent(92) {
            s.gpr[n] = r.below(40);
        }
    }
    for n in POINTERS {
        let at = 0x1000 + r.below(0x5000);
        let at = if r.percent(75) { at & !63 } else { at };
        s.gpr[n] = match n {
            5 if !flat => r.below(map::PAGE),
            6 | 7 if world.bits == 16 && r.percent(40) => r.below(100),
            // What the translator's empty inline caches take for theirs.
            _ if world.bits == 64 && r.percent(2) => InlineCache::NOWHERE + r.below(map::PAGE + 100) - 50,
            _ => world.data + at,
        };
    }
    let top = world.stack + 0x1800 - 8 * r.below(0x80);
    s.gpr[4] = match r.below(60) {
        0 => world.stack + r.below(40),
        1 => top + r.below(8),
        2 => values::integer(r) & mask,
        _ => top,
    };
    if world.bits != 64 {
        s.gpr[8..].fill(0);
    }
    let tame = r.percent(70);
    take_registers(&values::xsave(r, tame).0, s);
    for n in [7, 15] {
        // Indices for gathers.
        s.ymm[n] = std::array::from_fn(|_| r.below(100) | r.below(100) << 32);
    }
}

/// Flags and control registers.
fn system(r: &mut Random, world: &World, s: &mut ArchState) {
    s.rflags |= r.next() & 0x8D5;
    let mut flag = |percent, bits| {
        if r.percent(percent) { bits } else { 0 }
    };
    s.rflags |= flag(60, 0x200) | flag(15, 0x400) | flag(2, 0x100) | flag(40, 0x3000) | flag(4, 1 << 18);
    s.cr0 ^= flag(10, 1 << 16) | flag(10, 1 << 18) | flag(2, 8) | flag(1, 4) | flag(10, 1 << 5);
    s.cr4 ^=
        flag(1, 1 << 9) | flag(1, 1 << 18) | flag(5, 1 << 10) | flag(8, 4) | flag(8, 1 << 11) | flag(8, 8);
    if world.bits == 64 && world.cpl == 0 {
        s.cr4 |= flag(10, 1 << 20) | flag(10, 1 << 21);
    }
    if world.paging != Paging::Off && r.percent(4) {
        let wanted = [world.code + 0x1000 - r.below(60), world.data + 0x1000 + r.below(0x5000)];
        s.dr[0] = wanted[0];
        s.dr[1] = wanted[1];
        s.dr[7] = 0x400 | r.pick(&[1, 2, 4, 5]) | r.pick(&[1, 3]) << 20 | r.pick(&[0, 1, 3, 2]) << 22;
    }
}

fn runs(r: &mut Random) -> Vec<Run> {
    let most = if r.percent(8) { MOST_LONG } else { MOST };
    let mixed = r.percent(30);
    let budget = r.pick(&BUDGETS);
    let eventful = r.percent(30);
    let mut runs = Vec::new();
    let mut total = 0;
    while total < most && runs.len() < MOST_RUNS {
        let budget = if mixed { r.pick(&BUDGETS) } else { budget };
        let event = eventful && r.percent(25);
        let before = event.then(|| match r.below(20) {
            0..11 => Event::Interrupt(0x20 + r.below(0xE0) as u8),
            11..14 => Event::Signal(VcpuSignals::NMI),
            14 | 15 => Event::Signal(VcpuSignals::KICK),
            16 => Event::Signal(VcpuSignals::SMI),
            17 => Event::Write(DATA + r.below(map::DATA_BYTES), r.next() as u8),
            _ => Event::Write(CODE + 0xFA0 + r.below(0xA0), r.next() as u8),
        });
        runs.push(Run { before, budget });
        total += budget;
    }
    runs
}
