//! Cold code, behind the block: slow ways, exits, stubs of links.

use super::Translator;
use crate::emitter::{AluOp, Label, Width};
use crate::layout::{BUDGET, T0, state};

/// A piece of cold code.
pub(super) enum Cold {
    /// Hands an instruction over and comes back.
    Op {
        at: Label,
        site: u32,
        resume: Label,
        /// The guest's flags are in the host's from there on.
        load_flags: bool,
    },
    /// Brings the vector registers into the host's.
    LoadVector { at: Label, resume: Label },
    /// A conditional jump that is taken.
    Taken { at: Label, save_flags: bool, refund: u8, target: i32 },
    /// Runs the instruction at `offset` alone.
    Step { at: Label, offset: u16, refund: u8 },
    /// Code that was given as it is: an indirect jump's miss.
    Miss { at: Label, work: super::flow::Miss },
}

impl Translator<'_> {
    /// All cold code, the exits and the links' stubs.
    pub(super) fn emit_cold(&mut self, count: usize, out_of_budget: Label) {
        for cold in std::mem::take(&mut self.cold) {
            self.emit_one(cold);
        }
        self.out.dead = self.e.offset();
        self.e.mov_ri(T0, self.source.offset as u64);
        self.e.jmp_placed(self.thunks.exit_dead);
        self.e.bind(out_of_budget);
        self.e.alu_mi(AluOp::Add, Width::Qword, state(BUDGET), count as i32);
        self.e.mov_ri(T0, self.source.offset as u64);
        self.e.jmp_placed(self.thunks.exit_budget);
        for n in 0..self.open_links.len() {
            self.e.bind(self.open_links[n].stub);
            self.e.mov_ri(T0, self.source.first_link as u64 + n as u64);
            self.e.jmp_placed(self.thunks.link);
        }
    }

    fn emit_one(&mut self, cold: Cold) {
        match cold {
            Cold::Op { at, site, resume, load_flags } => {
                self.e.bind(at);
                self.e.mov_ri(T0, site as u64);
                let thunk = if self.vector { self.thunks.op_vector } else { self.thunks.op };
                self.e.call_placed(thunk);
                if load_flags {
                    self.emit_load_flags();
                }
                self.e.jmp(resume);
            }
            Cold::LoadVector { at, resume } => {
                self.e.bind(at);
                self.e.call_placed(self.thunks.load_vector);
                self.e.jmp(resume);
            }
            Cold::Taken { at, save_flags, refund, target } => {
                self.e.bind(at);
                if save_flags {
                    self.emit_save_flags();
                }
                self.refund(refund);
                self.go_to(target);
            }
            Cold::Step { at, offset, refund } => {
                self.e.bind(at);
                self.refund(refund);
                self.e.mov_ri(T0, offset as u64);
                self.e.jmp_placed(self.thunks.exit_step);
            }
            Cold::Miss { at, work } => {
                self.e.bind(at);
                self.miss(work);
            }
        }
    }

    /// Gives instructions back that the block was charged for and that do not run.
    pub(super) fn refund(&mut self, instructions: u8) {
        if instructions > 0 {
            self.e.alu_mi(AluOp::Add, Width::Qword, state(BUDGET), instructions as i32);
        }
    }
}
