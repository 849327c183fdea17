//! Breakpoints, watchpoints and single steps of a debugger outside the guest.
//!
//! They use the ways of the guest's own debug registers (`insn/debug.rs`), but end the run instead of raising #DB, and cost
//! little where they are not hit:
//!
//! - Blocks end before an instruction whose offset in its page is that of a *cut*: a breakpoint of any page. So a breakpoint is
//!   at the start of a block, whatever linear address the block runs at. No link and no jump cache leads to such an offset:
//!   all ways there look the block up, and the run loop steps the instruction where its linear address is a breakpoint's. Cuts
//!   outlive breakpoints, as debuggers remove theirs at each stop and set them again.
//! - Pages with watchpoints are in no table of inline translations, so that accesses to them take the slow way, which looks.

use crate::core::Core;
use crate::events;
use crate::insn::debug::Range;
use crate::op::Exit;
use trimotor_cpu::SegReg;
use trimotor_cpu::debugger::{DebugPoints, DebugStop, Watchpoint};
use trimotor_cpu::state::Activity;

/// Bytes of a page.
const PAGE: usize = 4096;
/// Cuts that are kept when new ones come. More of them are dropped, so that blocks do not get shorter and shorter.
const KEPT_CUTS: u32 = 64;

/// A set of offsets in a page.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PageOffsets([u64; PAGE / 64]);

impl PageOffsets {
    /// None.
    pub const NONE: PageOffsets = PageOffsets([0; PAGE / 64]);

    /// Whether an offset is among them; none outside the page is.
    #[inline]
    pub fn contains(&self, offset: usize) -> bool {
        self.0.get(offset / 64).is_some_and(|word| word >> (offset % 64) & 1 != 0)
    }
    fn insert(&mut self, address: u64) {
        let offset = address as usize % PAGE;
        self.0[offset / 64] |= 1 << (offset % 64);
    }
    fn includes(&self, other: &PageOffsets) -> bool {
        self.0.iter().zip(&other.0).all(|(all, some)| some & !all == 0)
    }
    fn count(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }
}

/// What other points lead to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Changed {
    /// There are other cuts: blocks must be decoded anew.
    pub(crate) cuts: bool,
    /// Other memory is watched: translations must go.
    pub(crate) watched: bool,
}

/// What a debugger wants of a vCPU, and what of it has happened.
#[derive(Debug)]
pub struct Debugger {
    /// Something below must be looked for.
    armed: bool,
    /// Linear addresses, sorted.
    breakpoints: Vec<u64>,
    cuts: PageOffsets,
    watchpoints: Vec<Watchpoint>,
    stepping: bool,
    /// The step is done, and not taken yet.
    stepped: bool,
    /// A watchpoint was hit, and is not taken yet.
    hit: Option<Watchpoint>,
    /// The breakpoint that was taken last, and `state.retired` then.
    told: Option<(u64, u64)>,
}

impl Default for Debugger {
    fn default() -> Self {
        Debugger {
            armed: false,
            breakpoints: Vec::new(),
            cuts: PageOffsets::NONE,
            watchpoints: Vec::new(),
            stepping: false,
            stepped: false,
            hit: None,
            told: None,
        }
    }
}

impl Debugger {
    /// Offsets in pages where blocks end, and to which nothing is linked.
    pub fn cuts(&self) -> &PageOffsets {
        &self.cuts
    }
    /// Whether blocks at this address are looked up each time.
    #[inline]
    pub fn cuts_at(&self, address: u64) -> bool {
        self.cuts.contains(address as usize % PAGE)
    }
    /// Whether memory is watched.
    #[inline]
    pub(crate) fn watches(&self) -> bool {
        self.armed && !self.watchpoints.is_empty()
    }
    /// Whether memory of the page of `linear` is watched.
    #[inline]
    pub(crate) fn watches_page(&self, linear: u64) -> bool {
        let page = Range { start: linear & !(PAGE as u64 - 1), bytes: PAGE as u64, mask: u64::MAX };
        self.watches() && self.watchpoints.iter().any(|watched| page.meets(watched.address, watched.bytes))
    }
    /// Notes the watchpoint that an access hits; whether it hits one.
    pub(crate) fn note_access(&mut self, accessed: Range, write: bool) -> bool {
        let hits = |watched: &&Watchpoint| {
            watched.kind.includes(write) && accessed.meets(watched.address, watched.bytes)
        };
        let hit = self.watchpoints.iter().find(hits).copied();
        self.hit = self.hit.or(hit);
        hit.is_some()
    }
    /// An instruction faulted: what it accessed on the way does not count.
    pub(crate) fn forget_access(&mut self) {
        self.hit = None;
    }
    /// Sets the points. Says what follows.
    pub(crate) fn set_points(&mut self, points: Option<&DebugPoints>) -> Changed {
        let watched = std::mem::take(&mut self.watchpoints);
        self.breakpoints.clear();
        if let Some(points) = points {
            self.breakpoints.extend(&points.breakpoints);
            self.breakpoints.sort_unstable();
            self.watchpoints.extend(&points.watchpoints);
        }
        self.hit = self.hit.filter(|hit| self.watchpoints.contains(hit));
        self.arm();
        Changed { cuts: self.cut(points.is_some()), watched: watched != self.watchpoints }
    }
    /// Makes the cuts that the breakpoints need. `keeps`: those from before may come back. Whether they are others now.
    fn cut(&mut self, keeps: bool) -> bool {
        let mut needed = PageOffsets::NONE;
        self.breakpoints.iter().for_each(|at| needed.insert(*at));
        if keeps && self.cuts.includes(&needed) {
            return false;
        }
        if keeps && self.cuts.count() <= KEPT_CUTS {
            let kept = self.cuts.0;
            needed.0.iter_mut().zip(kept).for_each(|(word, kept)| *word |= kept);
        }
        let changed = self.cuts != needed;
        self.cuts = needed;
        changed
    }
    /// See `Vcpu::set_stepping`.
    pub(crate) fn set_stepping(&mut self, stepping: bool) {
        (self.stepping, self.stepped) = (stepping, false);
        self.arm();
    }
    fn arm(&mut self) {
        self.armed = self.stepping || !self.breakpoints.is_empty() || !self.watchpoints.is_empty();
    }
    /// Whether a stop waits that is not the breakpoint ahead.
    fn has_stop(&self) -> bool {
        self.stepped || self.hit.is_some()
    }
}

impl Core {
    /// Whether the next instruction must be stepped for the debugger, or not be run at all.
    #[inline]
    pub(crate) fn debugger_steps(&self) -> bool {
        self.debugger.armed && (self.debugger.stepping || self.debugger.has_stop() || self.is_at_breakpoint())
    }
    /// Whether the run ends here for the debugger, for what has happened.
    #[inline]
    pub(crate) fn debugger_has_stop(&self) -> bool {
        self.debugger.armed && self.debugger.has_stop()
    }
    /// Whether it ends for the breakpoint at the next instruction, as no event comes before that.
    #[inline]
    pub(crate) fn debugger_stops_ahead(&self) -> bool {
        self.debugger.armed && !self.debugger.stepping && self.breakpoint_to_tell().is_some()
    }
    /// Whether the vCPU is stepped, and does not wait for an interrupt.
    #[inline]
    pub(crate) fn holds_interrupts(&self) -> bool {
        self.debugger.stepping && self.state.activity == Activity::Active
    }
    /// Whether the vCPU is stepped while it halts: the event that wakes it is the step.
    #[inline]
    pub(crate) fn steps_by_event(&self) -> bool {
        self.debugger.stepping && self.state.activity != Activity::Active
    }
    /// The step is done.
    pub(crate) fn step_done(&mut self) {
        self.debugger.stepped = true;
    }
    /// After an instruction that was stepped for the debugger, or after its fault was delivered: the step is done, unless the
    /// instruction is to go on. `before`: what had retired before it.
    pub(crate) fn end_step(&mut self, exit: Exit, before: u64) {
        self.sync_retired();
        if exit != Exit::Fault && self.state.retired == before {
            return;
        }
        if self.state.pending_debug != 0 && self.state.activity == Activity::Active {
            // The trap after the instruction is part of it.
            events::after_instruction(self);
        }
        self.step_done();
    }
    /// The stop that waits.
    pub(crate) fn take_debug_stop(&mut self) -> Option<DebugStop> {
        let stepped = std::mem::take(&mut self.debugger.stepped);
        if stepped {
            self.debugger.set_stepping(false);
        }
        if let Some(hit) = self.debugger.hit.take() {
            return Some(DebugStop::Watchpoint(hit));
        }
        if stepped {
            return Some(DebugStop::Step);
        }
        let linear = self.breakpoint_to_tell()?;
        self.debugger.told = Some((linear, self.state.retired));
        Some(DebugStop::Breakpoint)
    }

    /// The breakpoint at the next instruction, unless this execution of it was told.
    fn breakpoint_to_tell(&self) -> Option<u64> {
        let linear = self.next_linear();
        (self.is_at_breakpoint() && self.debugger.told != Some((linear, self.state.retired)))
            .then_some(linear)
    }
    #[inline]
    fn is_at_breakpoint(&self) -> bool {
        let linear = self.next_linear();
        self.debugger.cuts_at(linear) && self.debugger.breakpoints.binary_search(&linear).is_ok()
    }
    /// The linear address of the next instruction.
    pub(crate) fn next_linear(&self) -> u64 {
        if self.state.is_64bit_code() {
            return self.state.rip;
        }
        self.state.seg(SegReg::Cs).base.wrapping_add(self.state.rip) & 0xFFFF_FFFF
    }
}
