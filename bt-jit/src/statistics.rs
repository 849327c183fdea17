//! What the translator counted, for `--stats` and `info jit`.

use crate::cache::TranslatedCode;
use crate::thunks::Leave;

/// Forms of instructions that are shown, those handed over most often.
const FORMS_SHOWN: usize = 40;
/// Blocks that are shown, those that ran most instructions.
const BLOCKS_SHOWN: usize = 20;

/// Ways out of translated code and what they are called, by [`Leave`].
const EXITS: [(Leave, &str); 6] = [
    (Leave::Lookup, "exits to look for a block"),
    (Leave::Budget, "exits at the budget's end"),
    (Leave::Dead, "exits from dead blocks"),
    (Leave::Step, "exits to run an instruction alone"),
    (Leave::BudgetAtRip, "exits at the budget's end after a handed-over instruction"),
    (Leave::X87InState, "exits to hand x87 instructions over"),
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
            ("instructions handed over", c.handed_over),
            ("faults of handed-over instructions", c.faults),
            ("instructions run alone", c.stepped),
            ("instructions of code that is not translated", c.untranslated),
            ("links made", c.links),
            ("links made to other pages", c.relinks),
            ("jump table misses", c.lookups),
            ("leaves of translated code", c.leaves),
            ("accesses that gave their slots up", self.wanderers.given_up),
            ("accesses that had their slots back", self.wanderers.settled_accesses),
        ];
        let mut lines: Vec<_> = counts.map(|(name, count)| (name.to_owned(), count)).into();
        lines.extend(EXITS.map(|(reason, name)| (name.to_owned(), c.exits[reason as usize])));
        if self.insight.is_timed() {
            lines.push(("nanoseconds of translation".to_owned(), c.translation_ns));
        }
        let forms = self.most_handed_over(FORMS_SHOWN);
        lines.extend(forms.into_iter().map(|(form, n)| (format!("handed over: {form}"), n)));
        let blocks = self.insight.hottest(BLOCKS_SHOWN).into_iter();
        lines.extend(
            blocks.map(|(block, runs)| {
                (format!("hot block: {block}, instructions {}", block.instructions), runs)
            }),
        );
        lines
    }
}
