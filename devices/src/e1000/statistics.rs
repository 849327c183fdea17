//! The statistics registers (8254x manual, "Statistics Registers").
//!
//! They are cleared when they are read, and stay at their largest value. Those of 64 bits are two
//! registers, of which reading the high one clears both. Registers of errors that a cable brings stay zero here: what is
//! not listed below.

use super::registers::STATISTICS;

/// How many registers there are room for.
pub const REGISTERS: usize = 64;

/// A counter of 32 bits, by its offset from [`STATISTICS`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Counter {
    /// MPC: frames that were lost for want of buffers.
    Missed = 0x10,
    /// RLEC: frames shorter or longer than allowed.
    LengthErrors = 0x40,
    /// PRC64; those of longer frames follow.
    Received64 = 0x5C,
    /// GPRC: good frames that passed the filters.
    GoodReceived = 0x74,
    /// BPRC: broadcasts.
    Broadcasts = 0x78,
    /// MPRC: multicasts.
    Multicasts = 0x7C,
    /// GPTC: frames sent.
    GoodSent = 0x80,
    /// RNBC: frames for which there were no buffers.
    NoBuffers = 0xA0,
    /// ROC: longer than allowed.
    Oversize = 0xAC,
    /// TPR: all frames received.
    TotalReceived = 0xD0,
    /// TPT: all frames sent.
    TotalSent = 0xD4,
    /// PTC64; those of longer frames follow.
    Sent64 = 0xD8,
    /// MPTC: multicasts sent.
    MulticastsSent = 0xF0,
    /// BPTC: broadcasts sent.
    BroadcastsSent = 0xF4,
    /// TSCTC: segmentations done.
    Segmentations = 0xF8,
    /// TSCTFC: segmentations that could not be done.
    FailedSegmentations = 0xFC,
}

/// A counter of 64 bits, by the offset of its low register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Octets {
    /// GORC: bytes of good frames received.
    GoodReceived = 0x88,
    /// GOTC: bytes sent.
    GoodSent = 0x90,
    /// TOR: bytes of all frames received.
    TotalReceived = 0xC0,
    /// TOT: bytes of all frames sent.
    TotalSent = 0xC8,
}
const OCTETS: [Octets; 4] =
    [Octets::GoodReceived, Octets::GoodSent, Octets::TotalReceived, Octets::TotalSent];

/// All counters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statistics {
    values: [u32; REGISTERS],
}

impl Default for Statistics {
    fn default() -> Self {
        Self { values: [0; REGISTERS] }
    }
}

impl Statistics {
    /// Those with these values.
    pub fn new(values: [u32; REGISTERS]) -> Self {
        Self { values }
    }
    /// Their values.
    pub fn values(&self) -> &[u32; REGISTERS] {
        &self.values
    }
    /// Counts one more.
    pub fn count(&mut self, counter: Counter) {
        self.add(counter, 1);
    }
    /// Counts `n` more.
    pub fn add(&mut self, counter: Counter, n: u32) {
        let value = &mut self.values[counter as usize / 4];
        *value = value.saturating_add(n);
    }
    /// Counts a frame of `bytes` bytes in the histogram that begins at `first`.
    pub fn count_length(&mut self, first: Counter, bytes: usize, frames: u32) {
        let class = [64, 127, 255, 511, 1023].iter().filter(|limit| bytes > **limit).count();
        let value = &mut self.values[first as usize / 4 + class];
        *value = value.saturating_add(frames);
    }
    /// Counts bytes.
    pub fn add_octets(&mut self, octets: Octets, bytes: u64) {
        let low = octets as usize / 4;
        let value = u64::from(self.values[low]) | u64::from(self.values[low + 1]) << 32;
        let value = value.saturating_add(bytes);
        (self.values[low], self.values[low + 1]) = (value as u32, (value >> 32) as u32);
    }
    /// A driver reads the register at an offset.
    pub fn read(&mut self, offset: u64) -> u32 {
        let index = (offset - STATISTICS) as usize / 4;
        let Some(value) = self.values.get_mut(index) else { return 0 };
        let answer = *value;
        match OCTETS.iter().map(|octets| *octets as usize / 4).find(|low| index.wrapping_sub(*low) < 2) {
            // The high one takes the low one with it.
            Some(low) if index == low => {}
            Some(low) => self.values[low..low + 2].fill(0),
            None => *value = 0,
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_stick_and_are_cleared_by_reading() {
        let mut statistics = Statistics::default();
        statistics.add(Counter::Missed, u32::MAX);
        statistics.count(Counter::Missed);
        assert_eq!(statistics.read(0x4010), u32::MAX);
        assert_eq!(statistics.read(0x4010), 0);
        for (bytes, offset) in [(64, 0x405C), (65, 0x4060), (1023, 0x406C), (1024, 0x4070), (9000, 0x4070)] {
            statistics.count_length(Counter::Received64, bytes, 1);
            assert_eq!(statistics.read(offset), 1, "{bytes}");
        }
    }

    #[test]
    fn the_high_half_clears_both() {
        let mut statistics = Statistics::default();
        statistics.add_octets(Octets::GoodSent, u64::from(u32::MAX));
        statistics.add_octets(Octets::GoodSent, 5);
        assert_eq!([statistics.read(0x4090), statistics.read(0x4090)], [4, 4]);
        assert_eq!(statistics.read(0x4094), 1);
        assert_eq!([statistics.read(0x4090), statistics.read(0x4094)], [0, 0]);
        statistics.add_octets(Octets::GoodSent, u64::MAX);
        statistics.add_octets(Octets::GoodSent, 1);
        assert_eq!(statistics.read(0x4090), u32::MAX);
        assert_eq!(statistics.read(0x40FC), 0);
    }
}
