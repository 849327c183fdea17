//! Cold code, behind the block: slow paths, exits, stubs of links.

use super::Translator;
use super::address::Access;
use super::rematerialize::Recipe;
use crate::emitter::{AluOp, Label, Mem, Reg, Width};
use crate::layout::{BUDGET, SPARE, T0, T1, gpr, ic_misses, page_rip, state};
use crate::positions::NO_INSTRUCTION;

/// What comes after an instruction fell back to the interpreter.
pub(super) enum After {
    /// Back to the block.
    Resume {
        at: Label,
        /// What scratch registers hold there: guest registers.
        reload: [Option<(Reg, u8)>; 3],
    },
    /// The variant without check coalescing, at the next instruction.
    Uncoalesced { next: u16, refund: u8 },
}

/// A piece of cold code.
pub(super) enum Cold {
    /// Hands an instruction over.
    Op { at: Label, lost: Option<Recipe>, site: u32, way: After },
    /// Goes on with the instruction at `offset` in the variant of the block without check coalescing.
    Uncoalesced { at: Label, lost: Option<Recipe>, offset: u16, refund: u8 },
    /// The budget does not cover the block once more, which began anew.
    LoopBudget { at: Label, lost: Option<Recipe>, refund: u8 },
    /// Fills the inline cache of an access.
    FillInlineCache { at: Label, ic: u32, bytes: u32, write: bool, slow: Label, resume: Label },
    /// The check of an access whose inline cache was given up.
    ByTable { at: Label, ic: u32, bytes: u32, access: Access, aligned: bool, slow: Label, resume: Label },
    /// Brings the vector registers into the host's.
    LoadVector { at: Label, resume: Label },
    /// Brings the x87 registers into the host's.
    LoadX87 { at: Label, resume: Label, refund: u8 },
    /// A conditional jump that is taken.
    Taken { at: Label, save_flags: bool, refund: u8, target: i32, newer: [Option<(Reg, u8)>; 3] },
    /// Runs the instruction at `offset` alone.
    Step { at: Label, lost: Option<Recipe>, offset: u16, refund: u8 },
    /// RET where the block goes on behind its CALL, and it leads elsewhere.
    ReturnElsewhere { at: Label, work: super::flow::Miss, refund: u8 },
    /// Code that was given as it is: an indirect jump's miss.
    Miss { at: Label, work: super::flow::Miss },
}

impl Translator<'_> {
    /// All cold code, the exits and the links' stubs.
    pub(super) fn emit_cold(&mut self, count: usize, out_of_budget: Label) {
        self.out.cold = self.e.offset();
        self.scratch.forget_all();
        self.cold_of.resize(self.cold.len(), NO_INSTRUCTION);
        let mut pieces = std::mem::take(self.cold);
        for (n, cold) in pieces.drain(..).enumerate() {
            self.out.cold_positions.push((self.cold_of[n], self.e.offset() as u32));
            self.emit_one(cold);
        }
        debug_assert!(self.cold.is_empty(), "cold code has none of its own");
        *self.cold = pieces;
        self.out.cold_positions.push((NO_INSTRUCTION, self.e.offset() as u32));
        self.out.dead = self.e.offset();
        self.e.mov_ri(T0, self.source.offset as u64);
        self.e.jmp_placed(self.thunks.exit_dead);
        self.e.bind(out_of_budget);
        self.e.alu_mi(AluOp::Add, Width::Qword, state(BUDGET), count as i32);
        self.begin_anew();
        for n in 0..self.open_links.len() {
            let super::OpenLink { stub, target, key, .. } = self.open_links[n];
            let number = self.source.first_link + n as u32;
            self.e.bind(stub);
            if key.is_some() {
                // Other address spaces use the code too: the table may have where it leads in this one.
                let width = self.stack_width();
                self.e.mov_mi(Width::Dword, state(SPARE), number as i32);
                self.e.mov_rm(Width::Qword, T1, page_rip());
                self.e.lea(width, T1, Mem::base(T1, target));
                self.e.jmp_placed(self.thunks.probe);
            } else {
                self.e.mov_ri(T0, number as u64);
                self.e.jmp_placed(self.thunks.link);
            }
        }
    }

    /// The block begins anew with the next quantum of the budget, if there is one. Nothing of it has run.
    fn begin_anew(&mut self) {
        self.e.mov_ri(T0, self.source.offset as u64);
        self.e.call_placed(self.thunks.next_quantum);
        self.e.jmp(self.start);
    }

    fn emit_one(&mut self, cold: Cold) {
        match cold {
            Cold::Op { at, lost, site, way } => {
                self.e.bind(at);
                self.recover(lost);
                self.e.mov_ri(T0, site as u64);
                self.e.call_placed(self.op_thunk());
                match way {
                    After::Resume { at, reload } => {
                        for (host, guest) in reload.into_iter().flatten() {
                            self.e.mov_rm(Width::Qword, host, gpr(guest));
                        }
                        self.e.jmp(at);
                    }
                    After::Uncoalesced { next, refund } => {
                        self.refund(refund);
                        self.go_to_uncoalesced(next);
                    }
                }
            }
            Cold::Uncoalesced { at, lost, offset, refund } => {
                self.e.bind(at);
                self.recover(lost);
                self.refund(refund);
                self.go_to_uncoalesced(offset);
            }
            Cold::LoopBudget { at, lost, refund } => {
                self.e.bind(at);
                self.recover(lost);
                self.refund(refund);
                self.begin_anew();
            }
            Cold::FillInlineCache { at, ic, bytes, write, slow, resume } => {
                self.e.bind(at);
                self.fill_ic(ic, bytes, write, slow, resume);
            }
            Cold::ByTable { at, ic, bytes, access, aligned, slow, resume } => {
                self.e.bind(at);
                self.e.alu_mi(AluOp::Add, Width::Dword, state(ic_misses(ic)), 1);
                self.check_by_table(bytes, access, aligned, slow);
                self.e.jmp(resume);
            }
            Cold::LoadVector { at, resume } => {
                self.e.bind(at);
                self.e.call_placed(self.thunks.load_vector);
                self.e.jmp(resume);
            }
            Cold::LoadX87 { at, resume, refund } => {
                self.e.bind(at);
                self.load_x87(resume, refund);
            }
            Cold::Taken { at, save_flags, refund, target, newer } => {
                self.e.bind(at);
                for (host, guest) in newer.into_iter().flatten() {
                    self.e.mov_mr(Width::Qword, gpr(guest), host);
                }
                if save_flags {
                    self.emit_save_flags();
                }
                self.refund(refund);
                self.go_to(target);
            }
            Cold::Step { at, lost, offset, refund } => {
                self.e.bind(at);
                self.recover(lost);
                self.refund(refund);
                self.e.mov_ri(T0, offset as u64);
                self.e.jmp_placed(self.thunks.exit_step);
            }
            Cold::ReturnElsewhere { at, work, refund } => {
                self.e.bind(at);
                self.return_elsewhere(work, refund);
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
