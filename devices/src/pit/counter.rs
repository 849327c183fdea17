//! One counter of the 8254, as a function of time in ticks of its clock.

use serde::{Deserialize, Serialize};
use trimotor_bus::RestoreError;

/// Which byte a read or write of the counter moves next.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
enum Access {
    #[default]
    Low,
    High,
    LowThenHigh,
}

/// What the counting element does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
enum Phase {
    /// No count was written since the mode was set, or (modes 1 and 5) no trigger came.
    Idle,
    /// Counts; `loaded` went into the counting element at tick `origin`.
    Running { origin: u64 },
    /// The gate holds it after this many ticks.
    Held { elapsed: u64 },
}

/// Everything that a counter remembers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CounterStateV1 {
    mode: u8,
    bcd: bool,
    access: Access,
    gate: bool,
    phase: Phase,
    /// What the counting element counts from, 1 to 10000h.
    loaded: u32,
    /// A count that takes effect at the end of the period or at the next trigger.
    next: Option<u32>,
    /// When `next` takes effect by itself, where it does.
    next_at: Option<u64>,
    /// The first byte of a two-byte write.
    first_byte: Option<u8>,
    /// The second byte of a two-byte read is next.
    high_next: bool,
    latched_count: Option<u16>,
    latched_status: Option<u8>,
}

/// One counter.
#[derive(Clone, Debug)]
pub struct Counter {
    state: CounterStateV1,
}

impl Counter {
    /// A counter at power-on, with the level of its gate.
    pub fn new(gate: bool) -> Self {
        Self {
            state: CounterStateV1 {
                mode: 0,
                bcd: false,
                access: Access::LowThenHigh,
                gate,
                phase: Phase::Idle,
                loaded: 0x1_0000,
                next: None,
                next_at: None,
                first_byte: None,
                high_next: false,
                latched_count: None,
                latched_status: None,
            },
        }
    }

    /// A control word for this counter: its low six bits (a latch command where bits 5 and 4 are 0).
    pub fn control(&mut self, word: u8, tick: u64) {
        let access = match word >> 4 & 3 {
            0 => return self.latch_count(tick),
            1 => Access::Low,
            2 => Access::High,
            _ => Access::LowThenHigh,
        };
        let mode = match word >> 1 & 7 {
            m @ 0..=5 => m,
            m => m - 4,
        };
        let gate = self.state.gate;
        let loaded = self.state.loaded;
        *self = Self::new(gate);
        self.state = CounterStateV1 { mode, bcd: word & 1 != 0, access, loaded, ..self.state.clone() };
    }
    /// The read-back command for this counter.
    pub fn read_back(&mut self, count: bool, status: bool, tick: u64) {
        if status && self.state.latched_status.is_none() {
            self.state.latched_status = Some(self.status(tick));
        }
        if count {
            self.latch_count(tick);
        }
    }
    fn latch_count(&mut self, tick: u64) {
        if self.state.latched_count.is_none() {
            self.state.latched_count = Some(self.count(tick));
        }
    }
    fn status(&self, tick: u64) -> u8 {
        let s = &self.state;
        let access = match s.access {
            Access::Low => 1,
            Access::High => 2,
            Access::LowThenHigh => 3,
        };
        let null_count = s.next.is_some() || matches!(s.phase, Phase::Idle);
        u8::from(self.output(tick)) << 7
            | u8::from(null_count) << 6
            | access << 4
            | s.mode << 1
            | u8::from(s.bcd)
    }

    /// Writes a byte of the count.
    pub fn write(&mut self, value: u8, tick: u64) {
        self.catch_up(tick);
        let count = match (self.state.access, self.state.first_byte.take()) {
            (Access::Low, _) => u16::from(value),
            (Access::High, _) => u16::from(value) << 8,
            (Access::LowThenHigh, Some(low)) => u16::from_le_bytes([low, value]),
            (Access::LowThenHigh, None) => {
                self.state.first_byte = Some(value);
                if self.state.mode == 0 {
                    // The first byte of a new count stops mode 0 and lowers its output.
                    self.state.phase = Phase::Idle;
                }
                return;
            }
        };
        let count = self.decode(count);
        let s = &mut self.state;
        match s.mode {
            0 | 4 => {
                s.loaded = count;
                s.phase =
                    if s.gate { Phase::Running { origin: tick + 1 } } else { Phase::Held { elapsed: 0 } };
            }
            1 | 5 => s.next = Some(count),
            _ if matches!(s.phase, Phase::Idle) => {
                s.loaded = count;
                if s.gate {
                    s.phase = Phase::Running { origin: tick + 1 };
                } else {
                    s.next = Some(count);
                }
            }
            _ => {
                s.next = Some(count);
                self.state.next_at = self.reload_at(tick);
            }
        }
    }
    /// Reads a byte: of a latched status, a latched count or the running count.
    pub fn read(&mut self, tick: u64) -> u8 {
        self.catch_up(tick);
        if let Some(status) = self.state.latched_status.take() {
            return status;
        }
        let count = self.state.latched_count.unwrap_or_else(|| self.count(tick));
        let [low, high] = count.to_le_bytes();
        let (byte, last) = match self.state.access {
            Access::Low => (low, true),
            Access::High => (high, true),
            Access::LowThenHigh => {
                self.state.high_next = !self.state.high_next;
                if self.state.high_next { (low, false) } else { (high, true) }
            }
        };
        if last {
            self.state.latched_count = None;
        }
        byte
    }
    /// Drives the gate.
    pub fn set_gate(&mut self, gate: bool, tick: u64) {
        self.catch_up(tick);
        let s = &mut self.state;
        if s.gate == gate {
            return;
        }
        s.gate = gate;
        match (s.mode, gate) {
            (0 | 4, false) => {
                if let Phase::Running { origin } = s.phase {
                    s.phase = Phase::Held { elapsed: tick.saturating_sub(origin) };
                }
            }
            (0 | 4, true) => {
                if let Phase::Held { elapsed } = s.phase {
                    s.phase = Phase::Running { origin: (tick + 1).saturating_sub(elapsed) };
                }
            }
            (2 | 3, false) if s.phase != Phase::Idle => s.phase = Phase::Held { elapsed: 0 },
            (2 | 3, false) => {}
            // Without a count there is nothing to trigger.
            (_, true) if s.next.is_none() && s.phase == Phase::Idle => {}
            (_, true) => {
                // A trigger (in modes 2 and 3, the gate's return) takes a new count, or counts the
                // old one again.
                s.loaded = s.next.take().unwrap_or(s.loaded);
                s.next_at = None;
                s.phase = Phase::Running { origin: tick + 1 };
            }
            _ => {}
        }
    }
    /// Lets a new count take effect where its time has come.
    pub fn catch_up(&mut self, tick: u64) {
        let s = &mut self.state;
        let (Phase::Running { origin }, Some(next), Some(at)) = (s.phase, s.next, s.next_at) else { return };
        if tick < at {
            return;
        }
        let position = at.saturating_sub(origin) % u64::from(s.loaded);
        // Mode 3 may reload in the middle of its period: then the low half comes.
        let done = if position == 0 { 0 } else { u64::from(next).div_ceil(2) };
        s.loaded = next;
        s.phase = Phase::Running { origin: at.saturating_sub(done) };
        (s.next, s.next_at) = (None, None);
    }
    /// When a count written at `tick` replaces the running one: mode 2 reloads at the end of the
    /// period, mode 3 at the end of either half.
    fn reload_at(&self, tick: u64) -> Option<u64> {
        let (2 | 3, Phase::Running { origin }) = (self.state.mode, self.state.phase) else { return None };
        let period = u64::from(self.state.loaded);
        let high = period.div_ceil(2);
        let position = tick.saturating_sub(origin) % period;
        let start = tick.max(origin) - position;
        Some(if self.state.mode == 3 && position < high { start + high } else { start + period })
    }

    /// The OUT pin.
    pub fn output(&self, tick: u64) -> bool {
        let s = &self.state;
        let loaded = u64::from(s.loaded);
        let elapsed = match s.phase {
            Phase::Idle => return s.mode != 0,
            Phase::Running { origin } if tick < origin => return s.mode != 0,
            Phase::Running { origin } => tick - origin,
            Phase::Held { elapsed } => elapsed,
        };
        match s.mode {
            0 => elapsed >= loaded,
            1 => elapsed >= loaded,
            2 => !s.gate || elapsed % loaded != loaded - 1,
            3 => !s.gate || elapsed % loaded < loaded.div_ceil(2),
            _ => elapsed != loaded,
        }
    }
    /// For how long OUT is high in a period that repeats; 0 in modes in which it does not.
    pub fn high_ticks(&self) -> u64 {
        let loaded = u64::from(self.state.loaded);
        match self.state.mode {
            2 => loaded - 1,
            3 => loaded.div_ceil(2),
            _ => 0,
        }
    }
    /// The tick after `tick` at which the square wave of mode 3 falls, as long as nothing is written.
    pub fn next_fall(&self, tick: u64) -> Option<u64> {
        let (3, Phase::Running { origin }) = (self.state.mode, self.state.phase) else { return None };
        let (period, high) = (u64::from(self.state.loaded), self.high_ticks());
        let periods = (tick + 1).saturating_sub(origin.saturating_add(high)).div_ceil(period);
        Some(origin + high + periods * period)
    }
    /// The first tick after `tick` at which OUT rises, if it does by itself.
    pub fn next_rise(&self, tick: u64) -> Option<u64> {
        let s = &self.state;
        let Phase::Running { origin } = s.phase else { return None };
        let loaded = u64::from(s.loaded);
        let once = |at: u64| (at > tick).then_some(at);
        match s.mode {
            0 | 1 => once(origin + loaded),
            2 | 3 => {
                // A new count takes effect at `next_at`, which is looked at first.
                let passed = (tick + 1).saturating_sub(origin).div_ceil(loaded).max(1);
                let rise = origin + passed * loaded;
                Some(s.next_at.filter(|at| *at > tick).map_or(rise, |at| at.min(rise)))
            }
            _ => once(origin + loaded + 1),
        }
    }
    /// Whether OUT rose after `from`, up to and including `to`.
    pub fn rose(&mut self, from: u64, to: u64) -> bool {
        let s = &self.state;
        let Phase::Running { origin } = s.phase else { return false };
        let loaded = u64::from(s.loaded);
        let rise = match s.mode {
            0 | 1 => origin + loaded,
            2 | 3 => origin + (from + 1).saturating_sub(origin).div_ceil(loaded).max(1) * loaded,
            _ => origin + loaded + 1,
        };
        let rose = rise > from && rise <= to;
        self.catch_up(to);
        rose
    }

    /// The counting element, as a read shows it.
    fn count(&self, tick: u64) -> u16 {
        let s = &self.state;
        let loaded = u64::from(s.loaded);
        let elapsed = match s.phase {
            Phase::Idle => 0,
            Phase::Running { origin } => tick.saturating_sub(origin),
            Phase::Held { elapsed } => elapsed,
        };
        let modulus = if s.bcd { 10_000 } else { 0x1_0000 };
        let value = match s.mode {
            2 => loaded - elapsed % loaded,
            3 => {
                let position = elapsed % loaded;
                let high = loaded.div_ceil(2);
                let within = if position < high { position } else { position - high };
                (loaded & !1).saturating_sub(2 * within)
            }
            _ => (loaded + modulus - elapsed % modulus) % modulus,
        } % modulus;
        self.encode(value as u32)
    }
    /// The count that a written value means, 1 to 10000h.
    fn decode(&self, value: u16) -> u32 {
        let count = if self.state.bcd {
            (0..4).rev().fold(0, |sum, digit| sum * 10 + u32::from(value >> (4 * digit) & 0xF))
        } else {
            u32::from(value)
        };
        let whole = if self.state.bcd { 10_000 } else { 0x1_0000 };
        match (count, self.state.mode) {
            (0, _) => whole,
            // A count of 1 is illegal in modes 2 and 3; it acts as 2 here.
            (1, 2 | 3) => 2,
            (count, _) => count.min(whole),
        }
    }
    fn encode(&self, value: u32) -> u16 {
        if !self.state.bcd {
            return value as u16;
        }
        (0..4).fold(0, |sum, digit| sum | ((value / 10u32.pow(digit) % 10) << (4 * digit)) as u16)
    }

    /// The state, for saving.
    pub fn save(&self) -> CounterStateV1 {
        self.state.clone()
    }
    /// Checks a saved state.
    ///
    /// # Errors
    /// A value that a counter cannot have.
    pub fn from_state(state: CounterStateV1) -> Result<Self, RestoreError> {
        let refuse = |field, value: u32| RestoreError { part: "PIT", field, value: value.to_string() };
        if state.mode > 5 {
            return Err(refuse("mode", u32::from(state.mode)));
        }
        let least = if matches!(state.mode, 2 | 3) { 2 } else { 1 };
        // Before the first count of its mode a counter keeps that of the mode before.
        let least_loaded = if state.phase == Phase::Idle { 1 } else { least };
        let counts = [(least_loaded, Some(state.loaded)), (least, state.next)];
        for (least, count) in counts.into_iter().filter_map(|(least, count)| Some((least, count?))) {
            if !(least..=0x1_0000).contains(&count) {
                return Err(refuse("count", count));
            }
        }
        Ok(Self { state })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn programmed(mode: u8, count: u16) -> Counter {
        let mut counter = Counter::new(true);
        counter.control(0x30 | mode << 1, 0);
        for byte in count.to_le_bytes() {
            counter.write(byte, 0);
        }
        counter
    }
    /// Levels of OUT at ticks 1 to `n`.
    fn wave(counter: &Counter, n: u64) -> String {
        (1..=n).map(|t| if counter.output(t) { '1' } else { '0' }).collect()
    }

    #[test]
    fn waves_of_the_data_sheet() {
        assert_eq!(wave(&programmed(0, 4), 8), "00001111");
        assert_eq!(wave(&programmed(2, 3), 9), "110110110");
        assert_eq!(wave(&programmed(3, 4), 9), "110011001");
        assert_eq!(wave(&programmed(3, 5), 11), "11100111001");
        assert_eq!(wave(&programmed(4, 3), 6), "111011");
        let mut one_shot = programmed(1, 3);
        assert_eq!(wave(&one_shot, 5), "11111");
        one_shot.set_gate(false, 1);
        one_shot.set_gate(true, 2);
        assert_eq!(wave(&one_shot, 8), "11000111");
        let mut strobe = programmed(5, 2);
        strobe.set_gate(false, 1);
        strobe.set_gate(true, 2);
        assert_eq!(wave(&strobe, 7), "1111011");
    }

    #[test]
    fn rising_edges_agree_with_the_wave() {
        for mode in 0..6 {
            for count in [2, 3, 7, 10] {
                let mut counter = programmed(mode, count);
                counter.set_gate(false, 1);
                counter.set_gate(true, 2);
                for tick in 3..40 {
                    let mut at = tick + 1;
                    while at < 100 && (!counter.output(at) || counter.output(at - 1)) {
                        at += 1;
                    }
                    let expected = (at < 100).then_some(at);
                    assert_eq!(counter.next_rise(tick), expected, "mode {mode} count {count} tick {tick}");
                    assert_eq!(counter.rose(tick, tick + 1), expected == Some(tick + 1));
                }
            }
        }
    }

    #[test]
    fn counts_go_down_and_latches_hold() {
        let mut counter = programmed(0, 0x1234);
        assert_eq!((counter.read(1), counter.read(1)), (0x34, 0x12));
        counter.control(0x00, 0x35);
        assert_eq!((counter.read(0x100), counter.read(0x200)), (0x00, 0x12));
        counter.read_back(true, true, 0x35);
        assert_eq!(counter.read(0x35), 0x30);
        assert_eq!((counter.read(0x35), counter.read(0x35)), (0x00, 0x12));
    }

    #[test]
    fn binary_coded_decimal() {
        let mut counter = Counter::new(true);
        counter.control(0x35, 0);
        counter.write(0x00, 0);
        counter.write(0x10, 0);
        assert_eq!((counter.read(2), counter.read(2)), (0x99, 0x09));
    }

    #[test]
    fn a_new_count_waits_for_the_end_of_the_period() {
        let mut counter = programmed(2, 10);
        counter.write(4, 3);
        counter.write(0, 3);
        assert_eq!(counter.next_rise(3), Some(11));
        assert!(counter.rose(3, 11));
        assert_eq!(counter.next_rise(11), Some(15));
    }

    #[test]
    fn the_gate_holds_mode_0() {
        let mut counter = programmed(0, 10);
        counter.set_gate(false, 6);
        assert_eq!(counter.next_rise(6), None);
        assert_eq!((counter.read(50), counter.read(50)), (5, 0));
        counter.set_gate(true, 100);
        assert_eq!(counter.next_rise(100), Some(106));
    }
}
