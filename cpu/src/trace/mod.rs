//! What a vCPU does, line by line, for people: exceptions, interrupts, accesses to devices and to MSRs and control registers,
//! instructions.
//!
//! An engine hands a [`Record`] of each to its vCPU's [`VcpuTrace`]. That keeps the last [`LAST`] of them, for the report of a
//! triple fault, and writes lines of text for a [`TraceSink`], which is the host's. Records are found at the places that all engines
//! share and leave their own code for; so an engine asks whether there is a trace in no other place, and a vCPU without one
//! does the same as before. Instructions are another matter: for them an engine runs instruction by instruction.
//!
//! | part | file |
//! |---|---|
//! | what is traced | [`record`] |
//! | a record as a line | [`text`] |
//! | names of MSRs and of bits | [`names`] |
//! | instructions as text, kept | [`listing`] |

pub mod listing;
pub mod names;
pub mod record;
pub mod text;

use listing::Listing;
pub use record::{InterruptKind, Place, Record, What};
use std::ops::RangeInclusive;
use std::sync::Arc;
use text::Text;

/// How many records are kept for the report of a triple fault.
pub const LAST: usize = 200;
/// Bytes of lines that a vCPU collects before the sink gets them, where its run does not end sooner.
const PORTION: usize = 256 << 10;
/// Room for the longest line.
const LONGEST_LINE: usize = 512;

bitflags::bitflags! {
    /// What is traced.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct Kinds: u8 {
        /// Exceptions that are delivered.
        const EXC = 1 << 0;
        /// Interrupts: from outside and by instructions; NMI, SMI, INIT, SIPI.
        const INT = 1 << 1;
        /// Accesses to ports.
        const IO = 1 << 2;
        /// Accesses to memory of devices.
        const MMIO = 1 << 3;
        /// RDMSR and WRMSR that do not fault.
        const MSR = 1 << 4;
        /// Writes of control registers.
        const CR = 1 << 5;
        /// Instructions.
        const INSN = 1 << 6;
    }
}

impl Kinds {
    /// The words for them, in the order of their lines in help texts.
    pub const WORDS: [(&str, Kinds); 7] = [
        ("exc", Kinds::EXC),
        ("int", Kinds::INT),
        ("io", Kinds::IO),
        ("mmio", Kinds::MMIO),
        ("msr", Kinds::MSR),
        ("cr", Kinds::CR),
        ("insn", Kinds::INSN),
    ];
    /// The kind that a word means.
    pub fn named(word: &str) -> Option<Kinds> {
        Kinds::WORDS.iter().find(|(name, _)| *name == word).map(|(_, kind)| *kind)
    }
    /// As people write them: `exc,io`.
    pub fn words(self) -> String {
        let named = Kinds::WORDS.iter().filter(|(_, kind)| self.contains(*kind));
        named.map(|(name, _)| *name).collect::<Vec<_>>().join(",")
    }
}

/// Which records are wanted, of those of the kinds that are traced.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Filter {
    /// Of instructions at these linear addresses.
    pub addresses: RangeInclusive<u64>,
    /// At this CPL.
    pub cpl: Option<u8>,
}

impl Default for Filter {
    fn default() -> Self {
        Filter { addresses: 0..=u64::MAX, cpl: None }
    }
}

impl Filter {
    /// Whether a record of this place is wanted.
    #[inline]
    pub fn takes(&self, place: &Place) -> bool {
        self.addresses.contains(&place.linear) && self.cpl.is_none_or(|cpl| cpl == place.cpl)
    }
}

/// A sink takes no more lines: its file is full, nobody reads it, or its limit is reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SinkEnded;

/// Where lines go. It tells people itself why it ends.
pub trait TraceSink: Send + Sync {
    /// Takes whole lines, of one vCPU in their order. May wait a while for the host.
    ///
    /// # Errors
    /// It takes no more, now and later.
    fn write(&self, lines: &[u8]) -> Result<(), SinkEnded>;
    /// Why it takes no more, if so.
    fn ended(&self) -> Option<String>;
    /// Waits until what it took is written.
    fn finish(&self) {}
}

/// The trace of one vCPU.
pub struct VcpuTrace {
    cpu: u32,
    kinds: Kinds,
    filter: Filter,
    /// The last records, the oldest one at `oldest` once all are there.
    last: Vec<Record>,
    oldest: usize,
    sink: Option<Arc<dyn TraceSink>>,
    lines: Text,
    listing: Listing,
}

impl VcpuTrace {
    /// A trace of `kinds` of vCPU `cpu`. Without a sink nothing but the last records is kept.
    pub fn new(cpu: u32, kinds: Kinds, filter: Filter, sink: Option<Arc<dyn TraceSink>>) -> VcpuTrace {
        let lines = Text::with_room(if sink.is_some() { PORTION + LONGEST_LINE } else { 0 });
        let last = Vec::with_capacity(LAST);
        VcpuTrace { cpu, kinds, filter, last, oldest: 0, sink, lines, listing: Listing::default() }
    }
    /// The same, with the records that another trace of the vCPU has kept before them.
    #[must_use]
    pub fn after(mut self, mut before: VcpuTrace) -> VcpuTrace {
        (self.last, self.oldest) = (std::mem::take(&mut before.last), before.oldest);
        self
    }
    /// What is traced; nothing once the sink has ended.
    pub fn kinds(&self) -> Kinds {
        self.kinds
    }
    /// Whether a record of this place is wanted.
    #[inline]
    pub fn takes(&self, place: &Place) -> bool {
        self.filter.takes(place)
    }
    /// Takes a record that [is wanted](Self::takes).
    #[inline]
    pub fn push(&mut self, record: Record) {
        if self.last.len() < LAST {
            self.last.push(record);
        } else {
            self.last[self.oldest] = record;
            self.oldest = if self.oldest + 1 == LAST { 0 } else { self.oldest + 1 };
        }
        if self.sink.is_some() {
            text::line(&mut self.lines, self.cpu, &record, &mut self.listing);
            if self.lines.len() >= PORTION {
                self.flush();
            }
        }
    }
    /// Gives the sink what was collected. Where that takes no more, nothing is traced any longer.
    pub fn flush(&mut self) {
        let Some(sink) = &self.sink else { return };
        if !self.lines.is_empty() && sink.write(self.lines.as_bytes()).is_err() {
            self.sink = None;
            self.kinds = Kinds::empty();
            self.listing = Listing::default();
        }
        self.lines.clear();
    }
    /// The last records as lines, the oldest one first.
    pub fn last(&self) -> Vec<String> {
        let (newer, older) = self.last.split_at(self.oldest);
        let mut listing = Listing::default();
        let line = |record| {
            let mut line = Text::with_room(LONGEST_LINE);
            text::line(&mut line, self.cpu, record, &mut listing);
            String::from_utf8_lossy(line.as_bytes()).trim_end().to_owned()
        };
        older.iter().chain(newer).map(line).collect()
    }
}

impl Drop for VcpuTrace {
    fn drop(&mut self) {
        self.flush();
    }
}

#[cfg(test)]
mod tests;
