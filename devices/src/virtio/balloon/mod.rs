//! The memory balloon (virtio 1.2, 5.5): memory that the guest does not use goes back to the host.
//!
//! | queue | feature | what the driver puts there |
//! |---|---|---|
//! | 0, 1 | | numbers of pages that go into the balloon, or come back, 32 bits each |
//! | 2 | `STATS_VQ` | figures of the guest's memory ([`stats`]); the device gives the buffer back to ask for new ones |
//! | 3 | `FREE_PAGE_HINT` | free pages, when the device has asked for them |
//! | 4 | `PAGE_REPORTING` | free pages, whenever there are some |
//!
//! The configuration has the size that the balloon should have in pages of 4 KiB (`num_pages`) and the size that it has (`actual`, which the driver
//! writes), the number of the question for free pages, and the pattern that the guest fills free pages with.
//!
//! Pages in the balloon, and those that are free, read as zeroes afterwards. With `deflate-on-oom` the guest may take pages back
//! before its programs are killed. A guest that fills free pages with a pattern other than zero, and says so, keeps them.
//!
//! **When hinted pages may go.** A hint holds only as long as the driver has not taken the page back, which it does without
//! telling (5.5.6.5). So hints are looked at within the driver's notification, and this device has no doorbells: until the
//! notification returns, Linux's driver holds the page.

pub mod stats;

use super::device::{Kind, VirtioDevice};
use super::io::Io;
use super::queue::{Chain, ChainStateV1, RingError, Segment};
use serde::{Deserialize, Serialize};
use stats::Stats;
use std::ops::Range;
use trimotor_bus::{GuestTime, RestoreError};

const INFLATE: usize = 0;
const DEFLATE: usize = 1;
const STATS: usize = 2;
const HINTS: usize = 3;
const REPORTS: usize = 4;
/// Buffers of a queue.
const QUEUE_SIZE: u16 = 128;
/// `log2` of the bytes of a page of the balloon.
const PAGE_SHIFT: u32 = 12;
/// Page numbers in a buffer at most: 256 MiB at a time. Linux has 256.
const MOST_NUMBERS: u64 = 64 << 10;
/// Pages that are a piece of work, and calls of the host: after some of them others have their turn.
const PAGES_AT_A_TIME: u64 = 512;
const CALLS_AT_A_TIME: u64 = 16;
/// `free_page_hint_cmd_id`: the driver may stop, and take its pages back.
const HINT_STOP: u32 = 0;
const HINT_DONE: u32 = 1;
/// Numbers of questions for free pages begin here.
const FIRST_QUESTION: u32 = 0x8000_0000;

/// Features.
pub mod feature {
    /// The driver tells of pages that it takes back before it uses them.
    pub const MUST_TELL_HOST: u64 = 1 << 0;
    /// Figures of the guest's memory.
    pub const STATS_VQ: u64 = 1 << 1;
    /// The guest may take pages back where it has no memory left.
    pub const DEFLATE_ON_OOM: u64 = 1 << 2;
    /// The device may ask which pages are free.
    pub const FREE_PAGE_HINT: u64 = 1 << 3;
    /// The guest says with what it fills free pages.
    pub const PAGE_POISON: u64 = 1 << 4;
    /// The driver tells which pages are free.
    pub const PAGE_REPORTING: u64 = 1 << 5;
}

/// What a balloon can do.
#[derive(Clone, Copy, Debug, Default)]
pub struct BalloonConfig {
    /// See [`feature::DEFLATE_ON_OOM`].
    pub deflate_on_oom: bool,
    /// See [`feature::PAGE_REPORTING`].
    pub free_page_reporting: bool,
    /// See [`feature::FREE_PAGE_HINT`].
    pub free_page_hint: bool,
    /// Guest time between questions for the figures, in nanoseconds; 0: they are asked for with each change of the target.
    pub stats_every_ns: u64,
}

/// How a balloon is doing.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct BalloonStatus {
    /// Pages of 4 KiB that should be in it, and that are.
    pub target: u32,
    /// See `target`.
    pub actual: u32,
    /// Pages that were given back to the host so far, with those that were free.
    pub given_back: u64,
    /// The guest's last figures: name, value.
    pub stats: Vec<(&'static str, u64)>,
}

/// The device.
pub struct Balloon {
    config: BalloonConfig,
    /// Pages of the guest's memory.
    pages: u32,

    target: u32,
    actual: [u8; 4],
    poison: [u8; 4],
    given_back: u64,
    stats: Stats,
    /// The driver's buffer for figures, which is given back to ask.
    stats_buffer: Option<Chain>,
    stats_wanted: bool,
    next_stats: GuestTime,
    /// The number of the question, or what was said last.
    hint_id: u32,
    last_question: u32,
    hinting: bool,
}

/// The saved state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BalloonStateV1 {
    target: u32,
    actual: [u8; 4],
    poison: [u8; 4],
    given_back: u64,
    stats: Vec<(u16, u64)>,
    stats_buffer: Option<ChainStateV1>,
    stats_wanted: bool,
    next_stats_ns: u64,
    hint_id: u32,
    last_question: u32,
    hinting: bool,
}

impl Balloon {
    /// An empty balloon in a guest with so many bytes of memory.
    pub fn new(config: BalloonConfig, memory_bytes: u64) -> Self {
        Self {
            config,
            pages: (memory_bytes >> PAGE_SHIFT).min(u32::MAX.into()) as u32,
            target: 0,
            actual: [0; 4],
            poison: [0; 4],
            given_back: 0,
            stats: Stats::default(),
            stats_buffer: None,
            stats_wanted: false,
            next_stats: GuestTime(config.stats_every_ns),
            hint_id: HINT_STOP,
            last_question: FIRST_QUESTION - 1,
            hinting: false,
        }
    }
    /// How it is doing.
    pub fn status(&self) -> BalloonStatus {
        BalloonStatus {
            target: self.target,
            actual: u32::from_le_bytes(self.actual),
            given_back: self.given_back,
            stats: self.stats.named(),
        }
    }
    /// Somebody wants so many bytes of memory to be left for the guest.
    pub fn leave(&mut self, bytes: u64, io: &mut Io<'_>) {
        let left = (bytes >> PAGE_SHIFT).min(self.pages.into()) as u32;
        self.target = self.pages - left;
        io.config_changed();
        self.stats_wanted = true;
        self.ask_for_stats(io);
    }
    /// Somebody wants free pages to go back to the host now. Returns whether the guest can be asked.
    pub fn ask_for_free_pages(&mut self, io: &mut Io<'_>) -> bool {
        if !io.uses(HINTS) || !io.has(feature::FREE_PAGE_HINT) {
            return false;
        }
        // Numbers of questions go round above those that mean something else.
        self.last_question = self.last_question.wrapping_add(1).max(FIRST_QUESTION);
        (self.hint_id, self.hinting) = (self.last_question, false);
        io.config_changed();
        true
    }

    /// Gives pages back, unless their content matters.
    fn discard(&mut self, frames: Range<u64>, io: &mut Io<'_>) {
        self.given_back = self.given_back.saturating_add(io.memory().discard(frames));
    }
    /// Pages that go into the balloon. Their numbers mostly follow each other, up or down.
    fn inflate(&mut self, chain: &Chain, io: &mut Io<'_>) -> Option<()> {
        let numbers = chain.readable() / 4;
        if numbers > MOST_NUMBERS {
            io.fail(RingError::Malformed);
            return None;
        }
        let mut run: Range<u64> = 0..0;
        let mut bytes = [0; 4096];
        let (mut at, mut calls) = (0, 0_u64);
        while at < numbers * 4 {
            let piece = &mut bytes[..(numbers * 4 - at).min(4096) as usize];
            io.read(chain.readable_segments(), at, piece)?;
            for number in piece.chunks_exact(4) {
                let number = u64::from(u32::from_le_bytes([number[0], number[1], number[2], number[3]]));
                if number == run.end && !run.is_empty() {
                    run.end += 1;
                } else if number + 1 == run.start {
                    run.start = number;
                } else {
                    self.discard(run, io);
                    run = number..number + 1;
                    calls += 1;
                    if calls.is_multiple_of(CALLS_AT_A_TIME) {
                        io.may_go_on(INFLATE);
                    }
                }
            }
            at += piece.len() as u64;
        }
        self.discard(run, io);
        Some(())
    }
    /// Free pages: whole pages of what the buffer would have written. No buffer has more of them than there are: what comes behind so
    /// many is left out.
    fn free(&mut self, queue: usize, segments: &[Segment], io: &mut Io<'_>) {
        let keeps = io.has(feature::PAGE_POISON) && self.poison != [0; 4];
        let mut left = u64::from(self.pages);
        for Segment { addr, len } in segments {
            let end = (addr + u64::from(*len)) >> PAGE_SHIFT;
            let frames = addr.div_ceil(1 << PAGE_SHIFT)..end;
            let pages = end.saturating_sub(frames.start).min(left);
            if pages > 0 && !keeps {
                self.discard(frames.start..frames.start + pages, io);
            }
            left -= pages;
            // A large range counts as many pieces of work.
            for _ in 0..pages.div_ceil(PAGES_AT_A_TIME) {
                io.may_go_on(queue);
            }
        }
    }
    fn take_hint(&mut self, chain: &Chain, io: &mut Io<'_>) -> Option<()> {
        if chain.readable() >= 4 {
            let mut id = [0; 4];
            io.read(chain.readable_segments(), 0, &mut id)?;
            let id = u32::from_le_bytes(id);
            let asked = self.hint_id >= FIRST_QUESTION && id == self.hint_id;
            if self.hinting && !asked {
                // All of them were told: the driver may have them again.
                self.hint_id = HINT_DONE;
                io.config_changed();
            }
            self.hinting = asked;
        }
        if self.hinting {
            self.free(HINTS, chain.writable_segments(), io);
        }
        Some(())
    }
    fn take_stats(&mut self, chain: Chain, io: &mut Io<'_>, now: GuestTime) -> Option<()> {
        let mut bytes = vec![0; chain.readable().min(stats::MOST_BYTES) as usize];
        io.read(chain.readable_segments(), 0, &mut bytes)?;
        self.stats = Stats::of(&bytes);
        // A driver has one buffer for this.
        if let Some(old) = self.stats_buffer.replace(chain) {
            io.push(STATS, old, 0);
        }
        self.next_stats = now + self.config.stats_every_ns;
        Some(())
    }
    fn ask_for_stats(&mut self, io: &mut Io<'_>) {
        if self.stats_wanted
            && let Some(chain) = self.stats_buffer.take()
        {
            self.stats_wanted = false;
            io.push(STATS, chain, 0);
        }
    }
    /// Takes a buffer of a queue with this number in the specification.
    fn take(
        &mut self,
        number: usize,
        queue: usize,
        chain: Chain,
        io: &mut Io<'_>,
        now: GuestTime,
    ) -> Option<()> {
        match number {
            INFLATE => self.inflate(&chain, io)?,
            DEFLATE => {}
            STATS => return self.take_stats(chain, io, now),
            HINTS => self.take_hint(&chain, io)?,
            _ => self.free(queue, chain.writable_segments(), io),
        }
        io.push(queue, chain, 0);
        Some(())
    }
    /// The features that belong to a queue.
    fn has_queue(&self, queue: usize) -> bool {
        let needs = [0, 0, feature::STATS_VQ, feature::FREE_PAGE_HINT, feature::PAGE_REPORTING];
        needs.get(queue).is_some_and(|needs| self.features() & needs == *needs)
    }
}

impl VirtioDevice for Balloon {
    type State = BalloonStateV1;

    fn kind(&self) -> Kind {
        Kind { name: "virtio balloon", device_type: 5, transitional: Some(0x1002), class: 0x00_FF_00 }
    }
    fn features(&self) -> u64 {
        let BalloonConfig { deflate_on_oom, free_page_reporting, free_page_hint, stats_every_ns: _ } =
            self.config;
        let mut features = feature::STATS_VQ;
        for (wanted, bits) in [
            (deflate_on_oom, feature::DEFLATE_ON_OOM),
            (free_page_hint, feature::FREE_PAGE_HINT | feature::PAGE_POISON),
            (free_page_reporting, feature::PAGE_REPORTING | feature::PAGE_POISON),
        ] {
            features |= if wanted { bits } else { 0 };
        }
        features
    }
    fn queue_sizes(&self) -> Vec<u16> {
        // A driver counts the queues that it uses, and all that are offered are used: so one that is not offered is not there.
        vec![QUEUE_SIZE; (0..=REPORTS).filter(|queue| self.has_queue(*queue)).count()]
    }
    fn config(&self, _features: u64) -> Vec<u8> {
        let [target, id] = [self.target, self.hint_id].map(u32::to_le_bytes);
        [target, self.actual, id, self.poison].concat()
    }
    fn config_write(&mut self, offset: usize, byte: u8, io: &mut Io<'_>, _now: GuestTime) {
        match offset {
            4..8 => self.actual[offset - 4] = byte,
            12..16 if io.has(feature::PAGE_POISON) => self.poison[offset - 12] = byte,
            _ => {}
        }
    }

    fn look(&mut self, queue: usize, io: &mut Io<'_>, now: GuestTime) {
        // Its number in the specification: reports come right behind the figures where there are no hints.
        let number = (0..=REPORTS).filter(|number| self.has_queue(*number)).nth(queue).unwrap_or(REPORTS);
        loop {
            while let Some(chain) = io.pop(queue) {
                if self.take(number, queue, chain, io, now).is_none() {
                    return;
                }
            }
            if !io.arm(queue) {
                break;
            }
        }
        self.ask_for_stats(io);
    }
    fn queue_reset(&mut self, queue: usize) {
        if queue == STATS {
            self.stats_buffer = None;
        }
    }
    fn reset(&mut self) {
        self.actual = [0; 4];
        self.poison = [0; 4];
        self.stats = Stats::default();
        self.stats_buffer = None;
        self.stats_wanted = false;
        (self.hint_id, self.hinting) = (HINT_STOP, false);
    }
    fn next_event(&self) -> Option<GuestTime> {
        let polls = self.config.stats_every_ns > 0 && self.stats_buffer.is_some();
        polls.then_some(self.next_stats)
    }
    fn advance(&mut self, io: &mut Io<'_>, now: GuestTime) {
        self.next_stats = now + self.config.stats_every_ns.max(1);
        self.stats_wanted = true;
        self.ask_for_stats(io);
    }

    fn info(&self) -> String {
        let mib = |pages: u64| pages >> 8;
        let status = self.status();
        format!(
            "{} MiB in it, {} wanted, {} given back to the host so far",
            mib(status.actual.into()),
            mib(status.target.into()),
            mib(status.given_back)
        )
    }
    fn save(&self) -> BalloonStateV1 {
        let Self {
            config: _,
            pages: _,
            target,
            actual,
            poison,
            given_back,
            stats,
            stats_buffer,
            stats_wanted,
            next_stats,
            hint_id,
            last_question,
            hinting,
        } = self;
        BalloonStateV1 {
            target: *target,
            actual: *actual,
            poison: *poison,
            given_back: *given_back,
            stats: stats.save(),
            stats_buffer: stats_buffer.as_ref().map(Chain::save),
            stats_wanted: *stats_wanted,
            next_stats_ns: next_stats.ns(),
            hint_id: *hint_id,
            last_question: *last_question,
            hinting: *hinting,
        }
    }
    fn check(&self, state: &BalloonStateV1) -> Result<(), RestoreError> {
        let refuse = |field, value: String| Err(RestoreError { part: "virtio balloon", field, value });
        if state.target > self.pages {
            return refuse("target", state.target.to_string());
        }
        let buffer = &state.stats_buffer;
        if buffer.as_ref().is_some_and(|buffer| Chain::restored(buffer.clone()).is_none()) {
            return refuse("buffer", format!("{buffer:?}"));
        }
        if state.hint_id > HINT_DONE && state.hint_id != state.last_question
            || state.last_question < FIRST_QUESTION - 1
        {
            return refuse("question", format!("{:#x} {:#x}", state.hint_id, state.last_question));
        }
        if Stats::restored(state.stats.clone()).is_none() {
            return refuse("figures", format!("{:?}", state.stats));
        }
        Ok(())
    }
    fn restore(&mut self, state: BalloonStateV1) {
        let BalloonStateV1 {
            target,
            actual,
            poison,
            given_back,
            stats,
            stats_buffer,
            stats_wanted,
            next_stats_ns,
            hint_id,
            last_question,
            hinting,
        } = state;
        (self.target, self.actual, self.poison, self.given_back) = (target, actual, poison, given_back);
        self.stats = Stats::restored(stats).unwrap_or_default();
        self.stats_buffer = stats_buffer.and_then(Chain::restored);
        (self.stats_wanted, self.next_stats) = (stats_wanted, GuestTime(next_stats_ns));
        (self.hint_id, self.last_question, self.hinting) = (hint_id, last_question, hinting);
    }
}
