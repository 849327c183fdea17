//! Flags that are put nowhere, because they can be had again from what they were computed from.
//!
//! A memory check destroys the host's flags, and may lead to a fault that must find the guest's. Mostly
//! nothing else wants them any more, and both operands of the instruction that set them, or its result and
//! one operand, are still there: a [`Recipe`] says how to compute them anew, in cold code. What an instruction
//! loses of its operands (shifts do, and what has an operand in memory) it keeps in
//! `EngineArea::flags_operand`, which is still cheaper than keeping the flags.

use super::address::gpr_number;
use super::classify::{Kind, must_be_aligned};
use super::forms::form;
use super::generic::flag_use;
use super::operands::{is_high_byte, sized, width_of};
use super::plan::{Plan, Step};
use super::{ARITHMETIC, Flags, Translator};
use crate::emitter::{AluOp, Mem, Reg, Width};
use crate::layout::{FLAGS_OPERAND, HOST, T0, T2, gpr, state};
use iced_x86::{Instruction, Mnemonic, OpKind};
use trimotor_cpu::alu::{self, Operation, Recompute};

/// What flags are computed from.
#[derive(Clone, Copy, Debug)]
enum Source {
    Register(u8),
    Immediate(i32),
    /// What the instruction kept in `EngineArea::flags_operand`.
    Kept,
}

/// How.
#[derive(Clone, Copy, Debug)]
enum How {
    /// CMP.
    Compare(Source, Source),
    /// TEST.
    Test(Source, Source),
    /// What a register minus itself has.
    Zero,
    /// The register has the sum with the source.
    Sum(u8, Source),
    /// The register has the difference.
    Difference(u8, Source),
    /// The register has the sum of what was kept and an operand in memory.
    SumOfKept(u8),
    /// The register has the difference.
    DifferenceOfKept(u8),
    /// The instruction again, with what was kept in the place of its first register (and of others that are
    /// the same): its number within the block.
    Again { number: u8, product: bool },
}

/// What an instruction must keep for its recipe.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Keeps {
    Nothing,
    /// Its first register as it was before.
    Register,
    /// Its operand in memory.
    Memory,
}

/// How to have the flags of an instruction again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recipe {
    how: How,
    width: Width,
    pub keeps: Keeps,
    /// General registers that must be as they were when the instruction was over, a bit each.
    needs: u16,
}

impl Recipe {
    /// The flags are those of a multiplication: [`Flags::Product`].
    fn is_product(&self) -> bool {
        matches!(self.how, How::Again { product: true, .. })
    }
    /// The recipe for `i`, the block's instruction `number`, which sets all flags and reads none, if there is one.
    fn of(i: &Instruction, number: usize, step: &Step) -> Option<Recipe> {
        let operand = |n: u32| source(i, n);
        let memory = step.memory.is_some();
        let bytes = match i.op0_kind() {
            OpKind::Register if i.op0_register().is_gpr() => i.op0_register().size(),
            OpKind::Memory => i.memory_size().size(),
            _ => return None,
        };
        let same = i.op_count() == 2
            && i.op1_kind() == OpKind::Register
            && i.op0_kind() == OpKind::Register
            && i.op0_register() == i.op1_register();
        let first = || match operand(0)? {
            Source::Register(n) => Some(n),
            _ => None,
        };
        let row = alu::instruction(i.mnemonic());
        // IMUL with several operands is computed again too, though its flags are a product's.
        let product = i.mnemonic() == Mnemonic::Imul;
        let again = How::Again { number: number as u8, product };
        let recompute =
            row.map_or(if product { Recompute::Again } else { Recompute::Never }, |row| row.recompute);
        let operation = row.map(|row| row.operation);
        let (how, keeps) = match recompute {
            Recompute::Compare if operation == Some(Operation::Cmp) => {
                (How::Compare(operand(0)?, operand(1)?), Keeps::of_memory(memory))
            }
            Recompute::Compare => (How::Test(operand(0)?, operand(1)?), Keeps::of_memory(memory)),
            _ if same && matches!(operation, Some(Operation::Xor | Operation::Sub)) => {
                (How::Zero, Keeps::Nothing)
            }
            Recompute::FromResult => {
                let result = Source::Register(first()?);
                (How::Test(result, result), Keeps::Nothing)
            }
            Recompute::Undo => match (operation == Some(Operation::Add), memory) {
                (true, _) if same => (again, Keeps::Register),
                (true, true) => (How::SumOfKept(first()?), Keeps::Register),
                (true, false) => (How::Sum(first()?, operand(1)?), Keeps::Nothing),
                (false, true) => (How::DifferenceOfKept(first()?), Keeps::Register),
                (false, false) => (How::Difference(first()?, operand(1)?), Keeps::Nothing),
            },
            Recompute::Again if !memory => {
                first()?;
                if i.op_count() > 1 {
                    operand(1)?;
                }
                (again, Keeps::Register)
            }
            Recompute::Again | Recompute::Never => return None,
        };
        let recipe = Recipe { how, width: width_of(bytes), keeps, needs: 0 };
        Some(Recipe { needs: recipe.needed(i), ..recipe })
    }
    fn needed(&self, i: &Instruction) -> u16 {
        let bit = |s: Source| if let Source::Register(n) = s { 1 << n } else { 0 };
        match self.how {
            How::Compare(a, b) | How::Test(a, b) => bit(a) | bit(b),
            How::Zero => 0,
            How::Sum(a, b) | How::Difference(a, b) => 1 << a | bit(b),
            How::SumOfKept(a) | How::DifferenceOfKept(a) => 1 << a,
            How::Again { .. } => {
                let others = (1..i.op_count()).filter(|&n| i.op_kind(n) == OpKind::Register);
                let others = others.map(|n| gpr_number(i.op_register(n)));
                others.filter(|&n| n != gpr_number(i.op0_register())).fold(0, |mask, n| mask | 1 << n)
            }
        }
    }
}

impl Keeps {
    fn of_memory(memory: bool) -> Keeps {
        if memory { Keeps::Memory } else { Keeps::Nothing }
    }
}

/// Operand `n` of `i`; `None`: a recipe cannot name it.
fn source(i: &Instruction, n: u32) -> Option<Source> {
    match i.op_kind(n) {
        OpKind::Memory => Some(Source::Kept),
        OpKind::Register => {
            let r = i.op_register(n);
            (r.is_gpr() && !is_high_byte(r)).then(|| Source::Register(gpr_number(r)))
        }
        _ => {
            let bytes =
                if i.op0_kind() == OpKind::Memory { i.memory_size().size() } else { i.op0_register().size() };
            let value = i.try_immediate(n).ok()?;
            Some(Source::Immediate(match bytes {
                1 => value as u8 as i32,
                2 => value as u16 as i32,
                _ => value as i32,
            }))
        }
    }
}

/// What an instruction does with the flags that it finds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Event {
    Nothing,
    /// They are used, in the host's flags.
    Read,
    /// Some of them are overwritten.
    Change,
    /// They are overwritten.
    Overwrite,
    /// They must be in memory, or the block ends.
    End,
}

/// What an instruction means for flags that were set before it.
#[derive(Clone, Copy, Debug)]
pub(super) struct FlagStep {
    pub event: Event,
    /// It makes a memory check, which may lead to a fault.
    pub checks: bool,
    /// General registers that it writes, a bit each.
    writes: u16,
    /// Arithmetic flags that it reads (or may keep), and that it writes, of kinds for which that is asked.
    pub uses: (u32, u32),
    /// How to have its flags again; only where that will be wanted.
    recipe: Option<Recipe>,
}

/// `goes_on`: it is not the last of its block; `uses`: as in [`FlagStep`].
fn event(kind: Kind, goes_on: bool, uses: (u32, u32)) -> Event {
    match kind {
        Kind::Call if goes_on => Event::Nothing,
        Kind::Nothing | Kind::Lea | Kind::Extend | Kind::Push | Kind::Pop | Kind::Leave => Event::Nothing,
        Kind::Multiply => Event::Overwrite,
        Kind::Jcc => Event::Read,
        Kind::Generic { .. } | Kind::Mmx | Kind::CompareExchange | Kind::CompareStrings => match uses {
            (0, 0) => Event::Nothing,
            (0, ARITHMETIC) => Event::Overwrite,
            (_, 0) => Event::Read,
            _ => Event::Change,
        },
        Kind::X87 if uses == (0, 0) => Event::Nothing,
        _ => Event::End,
    }
}

impl Plan {
    /// Finds out what each instruction means for flags, and where recipes will be wanted.
    pub(super) fn plan_flags(&mut self, instructions: &[Instruction], kinds: &[Kind]) {
        self.flags.clear();
        for (n, (i, &kind)) in instructions.iter().zip(kinds).enumerate() {
            let asked = matches!(
                kind,
                Kind::Generic { .. } | Kind::Mmx | Kind::CompareExchange | Kind::CompareStrings | Kind::X87
            );
            let uses = if asked { flag_use(i) } else { (0, 0) };
            let step = FlagStep {
                event: event(kind, n + 1 < kinds.len(), uses),
                checks: self.checks(n, i, kind),
                writes: self.written(n, kind),
                uses,
                recipe: None,
            };
            self.flags.push(step);
        }
        // The next instruction that makes a check or overwrites all flags: only a check can want a recipe.
        let mut next: Option<usize> = None;
        for n in (0..kinds.len()).rev() {
            let FlagStep { event, checks, .. } = self.flags[n];
            if let Some(m) = next
                && event == Event::Overwrite
                && matches!(kinds[n], Kind::Generic { .. })
                && self.flags[m].checks
            {
                let recipe = Recipe::of(&instructions[n], n, &self.steps[n]);
                self.flags[n].recipe = recipe.filter(|r| self.can_do_without(n, r, m));
            }
            if checks || event == Event::Overwrite {
                next = Some(n);
            }
        }
    }
    /// How to have the flags of instruction `n` again, where that will be wanted.
    pub(super) fn recipe(&self, n: usize) -> Option<&Recipe> {
        self.flags[n].recipe.as_ref()
    }
    /// Whether the flags that instruction `from` has set may be lost at the check of instruction `at`: they
    /// will be used or overwritten next, and until then `recipe` can be followed.
    pub(super) fn can_do_without(&self, from: usize, recipe: &Recipe, at: usize) -> bool {
        let spoils = |n: usize| self.flags[n].writes & recipe.needs != 0;
        let kept = |n: usize| matches!(self.flags[n].event, Event::Nothing | Event::Read);
        if !self.flags[at].checks || !(from + 1..at).all(|n| kept(n) && !spoils(n)) {
            return false;
        }
        let Some(next) = (at..self.flags.len()).find(|&n| self.flags[n].event != Event::Nothing) else {
            return false;
        };
        let last_use = match self.flags[next].event {
            Event::Read | Event::Change => next,
            Event::Overwrite => (at..=next).rev().find(|&n| self.flags[n].checks).unwrap_or(next),
            _ => return false,
        };
        !(at..last_use).any(spoils)
    }
    /// Where the block is a loop that jumps back to its first instruction: the instruction whose flags are there
    /// then, and the recipe for them, where the first instruction that touches flags overwrites them and the
    /// recipe can be followed until then.
    pub(super) fn find_loop(&mut self, instructions: &[Instruction], kinds: &[Kind]) {
        let (Some(first), Some(last)) = (instructions.first(), instructions.last()) else { return };
        if kinds.last() != Some(&Kind::Jcc) || last.near_branch_target() != first.ip() {
            return;
        }
        let count = kinds.len();
        let touches = |n: &usize| self.flags[*n].event != Event::Nothing;
        let overwrites = |n: &usize| self.flags[*n].event == Event::Overwrite;
        let setter = (0..count).rev().find(|n| touches(n) && self.flags[*n].event != Event::Read);
        let Some(setter) = setter.filter(overwrites) else { return };
        let Some(next) = (0..count).find(touches).filter(overwrites) else { return };
        let Some(recipe) = Recipe::of(&instructions[setter], setter, &self.steps[setter]) else { return };
        let last_check = (0..=next).rev().find(|&n| self.flags[n].checks).unwrap_or(0);
        let spoils = |n: usize| self.flags[n].writes & recipe.needs != 0;
        if matches!(kinds[setter], Kind::Generic { .. })
            && !(setter + 1..count).any(spoils)
            && !(0..last_check).any(spoils)
        {
            self.flags[setter].recipe = Some(recipe);
            self.looped = Some((setter, recipe));
        }
    }
    /// Whether instruction `n` makes a memory check, which may fail.
    pub(super) fn may_fault(&self, n: usize) -> bool {
        self.flags[n].checks
    }
    /// Whether instruction `n` makes a memory check.
    fn checks(&self, n: usize, i: &Instruction, kind: Kind) -> bool {
        let step = &self.steps[n];
        let operand = step.memory.is_some() && !matches!(kind, Kind::Lea | Kind::Nothing);
        let stack = matches!(kind, Kind::Push | Kind::Pop | Kind::Leave | Kind::Call);
        let establishes = |group: u8| self.groups[group as usize].first == n;
        let aligned = |group: u8| must_be_aligned(i) && self.groups[group as usize].align.is_none();
        operand && step.operand.is_none_or(|m| establishes(m.group) || aligned(m.group))
            || stack && step.stack.is_none_or(|m| establishes(m.group))
    }
    /// The general registers that instruction `n` writes, a bit each.
    fn written(&self, n: usize, kind: Kind) -> u16 {
        const ACCUMULATORS: u16 = 1 | 1 << 2;
        let implied = match kind {
            Kind::Push | Kind::Pop | Kind::Call => 1 << 4,
            Kind::Leave => 1 << 4 | 1 << 5,
            Kind::Extend | Kind::Multiply | Kind::CompareExchange | Kind::X87 => ACCUMULATORS,
            Kind::CompareStrings => 1 << 1,
            _ => 0,
        };
        self.steps[n].written | implied
    }
}

impl Translator<'_> {
    /// A memory check is about to destroy the host's flags: keeps the guest's in memory if there is no recipe
    /// for them. Destroys T0.
    pub(super) fn spill_for_check(&mut self) {
        if let (Flags::Host | Flags::Product, Some((from, recipe))) = (self.flags, self.recipe)
            && self.plan.can_do_without(from, &recipe, self.number)
        {
            self.flags = Flags::Recipe;
        }
        if self.flags != Flags::Recipe {
            self.spill_flags();
        }
    }
    /// The recipe that cold code must follow before it needs the flags in memory.
    pub(super) fn lost_flags(&self) -> Option<Recipe> {
        self.recipe.filter(|_| self.flags == Flags::Recipe).map(|(_, recipe)| recipe)
    }
    /// The instruction under translation has set the host's flags.
    pub(super) fn flags_are(&mut self, flags: Flags) {
        self.flags = flags;
        self.recipe = self.plan.recipe(self.number).map(|&recipe| (self.number, recipe));
    }
    /// The flags become the host's again, by their recipe. Destroys T0 and T2.
    pub(super) fn follow_own_recipe(&mut self) {
        if let Some(recipe) = self.lost_flags() {
            self.follow(&recipe);
            self.flags = if recipe.is_product() { Flags::Product } else { Flags::Host };
        }
    }
    /// Cold: puts the flags into memory by `recipe`.
    pub(super) fn recover(&mut self, recipe: Option<Recipe>) {
        let Some(recipe) = recipe else { return };
        self.follow(&recipe);
        if recipe.is_product() { self.emit_save_product() } else { self.emit_save_flags() }
    }

    fn follow(&mut self, recipe: &Recipe) {
        let width = recipe.width;
        match recipe.how {
            How::Zero => {
                self.spill(T0);
                self.e.alu_rr(AluOp::Xor, Width::Dword, T0, T0);
            }
            How::Compare(a, b) => {
                let a = self.operand_in(a, T0);
                match b {
                    Source::Immediate(b) => self.e.alu_ri(AluOp::Cmp, width, a, b),
                    b => {
                        let b = self.operand_in(b, T2);
                        self.e.alu_rr(AluOp::Cmp, width, a, b);
                    }
                }
            }
            How::Test(a, b) => {
                let host = self.operand_in(a, T0);
                match (a, b) {
                    (_, Source::Immediate(b)) => self.e.test_ri(width, host, b),
                    (Source::Register(a), Source::Register(b)) if a == b => {
                        self.e.test_rr(width, host, host);
                    }
                    (_, b) => {
                        let b = self.operand_in(b, T2);
                        self.e.test_rr(width, host, b);
                    }
                }
            }
            How::Sum(a, b) => self.undo_and_do(AluOp::Sub, AluOp::Add, width, a, b),
            How::Difference(a, b) => self.undo_and_do(AluOp::Add, AluOp::Sub, width, a, b),
            How::SumOfKept(a) => {
                self.copy_of(a);
                self.e.alu_rm(AluOp::Sub, width, T0, state(FLAGS_OPERAND));
                self.operand_in(Source::Kept, T2);
                self.e.alu_rr(AluOp::Add, width, T2, T0);
            }
            How::DifferenceOfKept(a) => {
                let a = self.operand_in(Source::Register(a), T2);
                self.operand_in(Source::Kept, T0);
                self.e.alu_rr(AluOp::Sub, width, T0, a);
                self.operand_in(Source::Kept, T2);
                self.e.alu_rr(AluOp::Sub, width, T2, T0);
            }
            How::Again { number, .. } => self.again(number),
        }
    }
    fn undo_and_do(&mut self, undo: AluOp, again: AluOp, width: Width, a: u8, b: Source) {
        self.copy_of(a);
        if let Source::Immediate(b) = b {
            self.e.alu_ri(undo, width, T0, b);
            return self.e.alu_ri(again, width, T0, b);
        }
        let b = self.operand_in(b, T2);
        self.e.alu_rr(undo, width, T0, b);
        self.e.alu_rr(again, width, T0, b);
    }
    /// Instruction `number` again, with what it kept.
    fn again(&mut self, number: u8) {
        let i = &self.instructions[number as usize];
        let mut g = *i;
        g.set_code(form(i.code()).general);
        let first = gpr_number(i.op0_register());
        self.operand_in(Source::Kept, T0);
        for n in (0..i.op_count()).filter(|&n| i.op_kind(n) == OpKind::Register) {
            let r = i.op_register(n);
            let host = match gpr_number(r) {
                same if same == first => T0,
                other => self.operand_in(Source::Register(other), T2),
            };
            g.set_op_register(n, sized(host, r.size()));
        }
        self.encode(&g);
    }
    /// Puts guest register `n` into T0.
    fn copy_of(&mut self, n: u8) {
        let host = self.operand_in(Source::Register(n), T0);
        if host != T0 {
            self.spill(T0);
            self.e.mov_rr(Width::Qword, T0, host);
        }
    }
    /// A host register with a source: its own, or `free`, loaded with it. Keeps flags.
    fn operand_in(&mut self, source: Source, free: Reg) -> Reg {
        let place: Mem = match source {
            Source::Register(n) => match HOST[n as usize & 15] {
                Some(host) => return host,
                None => {
                    // Where it is cached may be needed for another operand.
                    self.write_back();
                    gpr(n)
                }
            },
            _ => state(FLAGS_OPERAND),
        };
        self.spill(free);
        self.e.mov_rm(Width::Qword, free, place);
        free
    }
}
