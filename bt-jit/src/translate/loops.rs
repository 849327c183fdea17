//! Loops of one block.
//!
//! A block that jumps back to its first instruction is emitted twice. The second time it is entered from its own end
//! only: the flags need not be in memory, because there is a recipe for them, and nothing has to be brought
//! into the host's registers. The jump back is the host's jump behind the comparison itself.

use super::classify::Kind;
use super::cold::Cold;
use super::{Flags, Translator};
use crate::emitter::{AluOp, Condition, Width};
use crate::layout::{BUDGET, state};
use crate::positions::NO_INSTRUCTION;
use iced_x86::Instruction;

impl Translator<'_> {
    /// The last jump of a block, on `condition`, where it leads to the block itself and that is emitted again.
    /// The flags are in the host's, and in memory behind it.
    pub(super) fn loop_jump(&mut self, condition: Condition) -> bool {
        if self.plan.looped.is_none() {
            return false;
        }
        self.spill_all();
        let again = *self.again.get_or_insert_with(|| self.e.label());
        self.e.jcc(condition, again);
        self.save_flags();
        true
    }

    /// Emits the block a second time, for when it comes from its own end.
    pub(super) fn emit_again(&mut self, instructions: &[Instruction], kinds: &[Kind]) {
        let Some(again) = self.again else { return };
        let count = kinds.len();
        self.e.bind(again);
        self.anew = true;
        self.out.cold_positions.push((NO_INSTRUCTION, self.e.offset() as u32));
        self.flags = Flags::Recipe;
        self.recipe = self.plan.looped;
        self.established = 0;
        self.x87_noted = false;
        let at = self.e.label();
        self.e.alu_mi(AluOp::Sub, Width::Qword, state(BUDGET), count as i32);
        self.e.jcc(Condition::Sign, at);
        self.cold.push(Cold::LoopBudget { at, lost: self.lost_flags(), refund: count as u8 });
        self.count_execution();
        self.body(instructions, kinds);
    }
}
