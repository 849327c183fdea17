//! One of the two sides: an engine with a vCPU, memory and board of its own.

use crate::board::Board;
use crate::map::{ACTIVE, PAGE, RAM, WHOLE};
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use trimotor_bus::memory::WindowRead;
use trimotor_bus::{GuestMemory, PhysAddr, VcpuSignals};
use trimotor_cpu::model::CpuModel;
use trimotor_cpu::{ArchState, CpuBackend, Vcpu, VcpuExit};
use trimotor_machine::engines::{Engine, EngineOptions, LEAST_CODE_CACHE};

/// An engine and how it is run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Driver {
    pub engine: Engine,
    /// Memory for translated code is so little that blocks are dropped all the time.
    pub small: bool,
    /// An instruction a run: what the engine does between blocks, it does after each.
    pub stepped: bool,
    /// After each run another engine goes on, in turn: the interpreter and this one.
    pub switched: bool,
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let small = if self.small { " with little memory" } else { "" };
        let stepped = if self.stepped { " stepped" } else { "" };
        write!(f, "{}{small}{stepped}{}", self.engine, if self.switched { " and interp in turn" } else { "" })
    }
}

impl std::str::FromStr for Driver {
    type Err = String;
    /// `interp`, or `interp/1` for an instruction a run; `jit/small` for little memory; `jit/switched` for switches.
    fn from_str(text: &str) -> Result<Self, String> {
        let (text, switched) = text.strip_suffix("/switched").map_or((text, false), |name| (name, true));
        let (text, stepped) = text.strip_suffix("/1").map_or((text, false), |name| (name, true));
        let (engine, small) = text.strip_suffix("/small").map_or((text, false), |name| (name, true));
        Ok(Driver { engine: engine.parse()?, small, stepped, switched })
    }
}

pub struct Side {
    pub driver: Driver,
    /// The engine that drives the vCPU, and those that follow it, where another one goes on after each run.
    engines: VecDeque<Box<dyn CpuBackend>>,
    model: Arc<CpuModel>,
    pub memory: Arc<GuestMemory>,
    pub vcpu: Box<dyn Vcpu>,
    pub board: Board,
}

impl Side {
    /// # Errors
    /// The engine cannot be used; the text says why.
    pub fn new(driver: Driver, model: &Arc<CpuModel>) -> Result<Side, String> {
        let code_cache_bytes = driver.small.then_some(LEAST_CODE_CACHE);
        let options = EngineOptions { code_cache_bytes, ..EngineOptions::default() };
        let mut engines = VecDeque::from([driver.engine.start_with(options)?]);
        if driver.switched {
            engines.push_back(Engine::Interp.start()?);
        }
        let memory = GuestMemory::new(RAM, &[]).map_err(|e| e.to_string())?;
        assert_eq!(memory.window(PhysAddr(crate::map::DEVICE)).0, WindowRead::Device);
        let signals = VcpuSignals::new();
        let vcpu = engines[0].create_vcpu(0, model, &memory, &signals).map_err(|e| e.to_string())?;
        let board = Board::new(memory.clone(), signals);
        Ok(Side { driver, engines, model: model.clone(), memory, vcpu, board })
    }
    /// The next engine goes on.
    fn switch(&mut self) {
        self.engines.rotate_left(1);
        let Side { engines, model, memory, board, .. } = self;
        let mut vcpu = engines[0].create_vcpu(0, model, memory, &board.signals).expect("as at the start");
        vcpu.set_state(&self.vcpu.state());
        self.vcpu = vcpu;
    }

    /// Has memory be as `wanted`, in the active pages or in all, and starts from `state`.
    pub fn restore(&mut self, wanted: &[u8], state: &ArchState, all: bool) {
        for range in ranges(all) {
            for at in range.clone().step_by(PAGE as usize) {
                let page = &wanted[at as usize..][..PAGE as usize];
                if self.page(at).is_some_and(|now| now != page) {
                    self.memory.write(PhysAddr(at), page);
                }
            }
        }
        self.board.reset();
        self.vcpu.set_state(state);
    }

    /// A page of RAM; `None` where the device is.
    pub fn page(&self, at: u64) -> Option<&[u8]> {
        let read = self.memory.backing(PhysAddr(at)).read;
        // SAFETY: a whole page is mapped there for as long as the memory lives; it is written only
        // while the vCPU runs or `memory` is written to, which nobody does while the slice lives.
        (!read.is_null()).then(|| unsafe { std::slice::from_raw_parts(read, PAGE as usize) })
    }

    /// Runs up to `budget` instructions.
    pub fn run(&mut self, budget: u64) -> VcpuExit {
        self.board.kicked = false;
        self.board.earlier = 0;
        if self.driver.switched {
            let exit = self.vcpu.run(&mut self.board, budget);
            self.switch();
            return exit;
        }
        if !self.driver.stepped {
            return self.vcpu.run(&mut self.board, budget);
        }
        let began = self.vcpu.retired();
        loop {
            self.board.earlier = self.vcpu.retired() - began;
            let left = budget - self.board.earlier;
            let before = self.vcpu.retired();
            let exit = self.vcpu.run(&mut self.board, left.min(1));
            let retired = self.vcpu.retired() - before;
            let ended = exit != VcpuExit::Budget || self.board.kicked || retired == 0;
            if ended || self.vcpu.retired() - began == budget {
                return exit;
            }
        }
    }
}

/// The active pages, or all of RAM.
fn ranges(all: bool) -> &'static [std::ops::Range<u64>] {
    if all { std::slice::from_ref(&WHOLE) } else { &ACTIVE }
}

/// The pages in which two sides' memory differs, among the active ones or all.
pub fn differing_pages(a: &Side, b: &Side, all: bool) -> Vec<u64> {
    let pages = ranges(all).iter().flat_map(|range| range.clone().step_by(PAGE as usize));
    pages.filter(|&at| a.page(at) != b.page(at)).collect()
}
