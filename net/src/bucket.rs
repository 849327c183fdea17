//! Token buckets: so much at a time on average, and more now and then.
//!
//! A bucket fills at a rate up to its size, and what is done takes tokens out. It may be done while there is a token left, though it take more
//! than there are: then the bucket is in debt, and what comes next waits until that is paid. So a rate holds also for
//! frames that are larger than the bucket.
//!
//! A bucket knows no clock: whoever has one says what time it is. Networks say the host's, drives (`devices/src/drive_limits.rs`) the guest's.

use std::time::Duration;

/// A bucket. Times are since any beginning, as long as it is the same one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenBucket {
    /// Tokens in a second.
    rate: u64,
    /// The size, in billionths of a token.
    size: i128,
    /// What is in it, in billionths of a token.
    level: i128,
    at: Duration,
}

const BILLION: i128 = 1_000_000_000;

impl TokenBucket {
    /// A full bucket: `rate` tokens in a second, `burst` tokens at once. A bucket holds one token at least.
    pub fn new(rate: u64, burst: u64, now: Duration) -> Self {
        let size = i128::from(burst.max(1)) * BILLION;
        Self { rate, size, level: size, at: now }
    }
    fn fill(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.at);
        self.at = self.at.max(now);
        let more = passed.as_nanos() as i128 * i128::from(self.rate);
        self.level = self.level.saturating_add(more).min(self.size);
    }
    /// How long to wait until something may be done; nothing where it may be now.
    pub fn wait(&mut self, now: Duration) -> Option<Duration> {
        self.fill(now);
        if self.level > 0 {
            return None;
        }
        let missing = BILLION.saturating_sub(self.level);
        let nanos = (missing / i128::from(self.rate.max(1))).saturating_add(1);
        Some(Duration::from_nanos(nanos.min(i128::from(u64::MAX)) as u64))
    }
    /// Takes tokens out, after [`TokenBucket::wait`] said that it may be.
    pub fn take(&mut self, tokens: u64) {
        self.level = self.level.saturating_sub(i128::from(tokens) * BILLION);
    }
    /// What is in it, in billionths of a token, and since when.
    pub fn level(&self) -> (i128, Duration) {
        (self.level, self.at)
    }
    /// Has so much in it since `at`, as [`TokenBucket::level`] said; no more than it holds.
    pub fn set_level(&mut self, level: i128, at: Duration) {
        (self.level, self.at) = (level.min(self.size), at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_holds_on_average_and_bursts_are_let_through() {
        let mut bucket = TokenBucket::new(1000, 500, Duration::ZERO);
        let (mut now, mut taken) = (Duration::ZERO, 0);
        while bucket.wait(now).is_none() {
            bucket.take(100);
            taken += 100;
        }
        assert_eq!(taken, 500);
        while now < Duration::from_secs(10) {
            match bucket.wait(now) {
                Some(wait) => now += wait,
                None => {
                    bucket.take(100);
                    taken += 100;
                }
            }
        }
        assert!((10_400..=10_700).contains(&taken), "{taken}");
    }

    #[test]
    fn what_is_larger_than_the_bucket_makes_a_debt() {
        let mut bucket = TokenBucket::new(1000, 10, Duration::ZERO);
        assert_eq!(bucket.wait(Duration::ZERO), None);
        bucket.take(2010);
        let wait = bucket.wait(Duration::ZERO).unwrap_or_default();
        assert!(wait > Duration::from_millis(1999) && wait < Duration::from_millis(2010), "{wait:?}");
        assert_eq!(bucket.wait(wait), None);
    }

    #[test]
    fn a_level_comes_back() {
        let mut bucket = TokenBucket::new(1000, 10, Duration::ZERO);
        assert_eq!(bucket.wait(Duration::from_secs(1)), None);
        bucket.take(500);
        let (level, at) = bucket.level();
        let mut other = TokenBucket::new(1000, 10, Duration::ZERO);
        other.set_level(level, at);
        assert_eq!(other, bucket);
        other.set_level(i128::MAX, at);
        assert_eq!(other.level(), (10 * BILLION, at));
    }
}
