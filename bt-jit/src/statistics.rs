//! What the translator counted, for `--stats` and `info jit`.

use crate::cache::TranslatedCode;
use crate::thunks::Leave;

/// Forms of instructions that are shown, those that fell back to the interpreter most often.
const FORMS_SHOWN: usize = 40;
/// Blocks that are shown, those that ran most instructions.
const BLOCKS_SHOWN: usize = 20;

/// Ways out of translated code and what they are called, by [`Leave`].
const EXITS: [(Leave, &str); 6] = [
    (Leave::Lookup, "exits to look for a block"),
    (Leave::Budget, "exits at the budget's end"),
    (Leave::Dead, "exits from dead blocks"),
    (Leave::Step, "exits to step an instruction"),
    (Leave::BudgetAtRip, "exits at the budget's end after an interpreter fallback"),
    (Leave::X87InState, "exits for fallback of x87 instructions"),
];

impl TranslatedCode {
    /// Names and counts, of all vCPUs together.
    pub fn statistics(&self) -> Vec<(String, u64)> {
        let c = &self.counts;
        let counts = [
            ("translated blocks alive", self.live_blocks() as u64),
            ("translated blocks", c.blocks),
            ("translated instructions", c.instructions),
            ("host bytes", c.host_bytes),
            ("code memory in use", self.used_bytes() as u64),
            ("translated blocks killed by writes", c.killed),
            ("code memory regions emptied for room", c.evictions),
            ("translated blocks dropped with regions", c.evicted),
            ("interpreter fallbacks", c.fallbacks),
            ("faults of interpreter fallbacks", c.faults),
            ("instructions stepped", c.stepped),
            ("instructions of code that is not translated", c.untranslated),
            ("links made", c.links),
            ("links made to other pages", c.relinks),
            ("jump table misses", c.lookups),
            ("leaves of translated code", c.leaves),
            ("megamorphic accesses", self.ic_policy.megamorphic),
            ("accesses that are monomorphic again", self.ic_policy.monomorphic_again),
        ];
        let mut lines: Vec<_> = counts.map(|(name, count)| (name.to_owned(), count)).into();
        lines.extend(EXITS.map(|(reason, name)| (name.to_owned(), c.exits[reason as usize])));
        if self.profiler.is_timed() {
            lines.push(("nanoseconds of translation".to_owned(), c.translation_ns));
        }
        let forms = self.most_fallbacks(FORMS_SHOWN);
        lines.extend(forms.into_iter().map(|(form, n)| (format!("interpreter fallback: {form}"), n)));
        let blocks = self.profiler.hottest(BLOCKS_SHOWN).into_iter();
        lines.extend(
            blocks.map(|(block, runs)| {
                (format!("hot block: {block}, instructions {}", block.instructions), runs)
            }),
        );
        lines
    }
}
