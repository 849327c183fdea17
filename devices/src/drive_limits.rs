//! Limits of a drive: so many bytes and requests in a second of guest time.
//!
//! A request that is made too early waits: it completes so much later, and its controller and worker wait for nothing else meanwhile. The
//! wait follows from what the guest asked for and when, in guest time: with counted time two runs are the same.
//!
//! Each limit is a token bucket ([`TokenBucket`]). A request takes its tokens when it is made, and begins once all buckets that it took from are
//! out of debt. So those that are made later wait behind it, without a list of them.

use crate::disk_work::Work;
use crate::drive::Direction;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use trimotor_bus::{GuestTime, RestoreError};
use trimotor_net::TokenBucket;

/// A burst where none is given: what the rate allows in a tenth of a second.
const BURSTS_PER_S: u64 = 10;

/// A limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Rate {
    /// So much in a second, above 0.
    pub per_s: u64,
    /// So much at once; a tenth of a second's unless given.
    pub burst: Option<u64>,
}

/// Limits of reads and writes, together and of each.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Rates {
    /// Both together.
    pub total: Option<Rate>,
    /// Reads.
    pub read: Option<Rate>,
    /// Writes.
    pub write: Option<Rate>,
}

/// The limits of a drive.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DriveLimits {
    /// Bytes.
    pub bytes: Rates,
    /// Requests, as controllers give them to workers: long ones in parts.
    pub requests: Rates,
}

impl DriveLimits {
    /// Whether nothing is limited.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// What a request costs: nothing for one that moves nothing.
pub(crate) type Cost = Option<(Direction, u64)>;

/// The buckets of a drive.
#[derive(Clone, Debug)]
pub(crate) struct Limiter {
    bytes: Buckets,
    requests: Buckets,
}

/// Those of [`Rates`].
#[derive(Clone, Debug)]
struct Buckets {
    total: Option<TokenBucket>,
    read: Option<TokenBucket>,
    write: Option<TokenBucket>,
}

impl Buckets {
    fn new(rates: &Rates) -> Self {
        let bucket = |rate: Option<Rate>| {
            rate.map(|Rate { per_s, burst }| {
                TokenBucket::new(per_s, burst.unwrap_or(per_s / BURSTS_PER_S), Duration::ZERO)
            })
        };
        Self { total: bucket(rates.total), read: bucket(rates.read), write: bucket(rates.write) }
    }
    fn all(&self) -> [Option<&TokenBucket>; 3] {
        [self.total.as_ref(), self.read.as_ref(), self.write.as_ref()]
    }
    /// Those that count a request in this direction.
    fn of(&mut self, direction: Direction) -> impl Iterator<Item = &mut TokenBucket> {
        let own = match direction {
            Direction::Read => &mut self.read,
            Direction::Write => &mut self.write,
        };
        [self.total.as_mut(), own.as_mut()].into_iter().flatten()
    }
}

impl Limiter {
    pub(crate) fn new(limits: &DriveLimits) -> Self {
        Self { bytes: Buckets::new(&limits.bytes), requests: Buckets::new(&limits.requests) }
    }
    /// When a request may begin that is made `now`. It counts from now on.
    pub(crate) fn admit(&mut self, (direction, bytes): (Direction, u64), now: GuestTime) -> GuestTime {
        let at = Duration::from_nanos(now.ns());
        let mut wait = Duration::ZERO;
        for (buckets, tokens) in [(&mut self.bytes, bytes), (&mut self.requests, 1)] {
            for bucket in buckets.of(direction) {
                wait = wait.max(bucket.wait(at).unwrap_or_default());
                bucket.take(tokens);
            }
        }
        now + u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX)
    }
    /// The state now: what each bucket has.
    pub(crate) fn save(&self) -> LimiterStateV1 {
        let level = |bucket: &TokenBucket| {
            let (level, at) = bucket.level();
            BucketStateV1 { level, at_ns: at.as_nanos() as u64 }
        };
        let all = self.bytes.all().into_iter().chain(self.requests.all());
        LimiterStateV1(all.map(|bucket| bucket.map(level)).collect())
    }
    /// Takes a saved state, at the guest time `now`.
    ///
    /// # Errors
    /// Other limits, or a time that is to come.
    pub(crate) fn restore(&mut self, state: &LimiterStateV1, now: GuestTime) -> Result<(), RestoreError> {
        let refuse = || Err(RestoreError { part: "drive", field: "limits", value: format!("{state:?}") });
        let Buckets { total, read, write } = &mut self.bytes;
        let Buckets { total: total_requests, read: read_requests, write: write_requests } =
            &mut self.requests;
        let own = [total, read, write, total_requests, read_requests, write_requests];
        let fits = own.len() == state.0.len()
            && own.iter().zip(&state.0).all(|(own, state)| own.is_some() == state.is_some());
        if !fits || state.0.iter().flatten().any(|bucket| bucket.at_ns > now.ns()) {
            return refuse();
        }
        for (own, state) in own.into_iter().zip(&state.0) {
            if let (Some(own), Some(state)) = (own, state) {
                own.set_level(state.level, Duration::from_nanos(state.at_ns));
            }
        }
        Ok(())
    }
}

/// What a bucket has, in billionths of a token, and since when, in nanoseconds of guest time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct BucketStateV1 {
    level: i128,
    at_ns: u64,
}

/// The saved buckets of a drive: of bytes and of requests, together, read and written each.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LimiterStateV1(Vec<Option<BucketStateV1>>);

impl Work {
    /// What it costs of a drive's limits. `data` is what is written, or the list of ranges.
    pub(crate) fn cost(self, data: &[u8]) -> Cost {
        const SECTOR: u64 = 512;
        match self {
            Work::Read { bytes, .. } => Some((Direction::Read, bytes.into())),
            Work::Verify { bytes, .. } => Some((Direction::Read, bytes)),
            Work::Write { .. } => Some((Direction::Write, data.len() as u64)),
            // A byte, and two for the number of each sector.
            Work::Fill => Some((Direction::Write, (data.len() as u64).saturating_sub(1) / 2 * SECTOR)),
            Work::Zero { .. } => {
                let sectors = crate::disk_work::wide_ranges(data).map(|(_, count, _)| u64::from(count));
                Some((Direction::Write, sectors.sum::<u64>() * SECTOR))
            }
            // Nothing moves.
            Work::Trim | Work::Discard => Some((Direction::Write, 0)),
            Work::Flush | Work::Nothing => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn rate(per_s: u64) -> Option<Rate> {
        Some(Rate { per_s, burst: None })
    }
    fn limiter(limits: DriveLimits) -> Limiter {
        Limiter::new(&limits)
    }

    #[test]
    fn requests_wait_for_those_before_them() {
        let bytes = Rates { total: rate(10 * MIB), ..Rates::default() };
        let mut limiter = limiter(DriveLimits { bytes, ..DriveLimits::default() });
        // All at once: the first begins at once, and takes what may go at once.
        let starts: Vec<u64> = (0..101)
            .map(|_| limiter.admit((Direction::Read, MIB), GuestTime::ZERO).ns() / 1_000_000)
            .collect();
        assert_eq!(starts[..3], [0, 0, 100]);
        // 101 MiB: 100 of them at 10 in a second, less the first two.
        assert_eq!(starts[100], 9900);
        let later = limiter.admit((Direction::Write, 1), GuestTime(20_000_000_000));
        assert_eq!(later, GuestTime(20_000_000_000));
    }

    #[test]
    fn directions_and_requests_have_limits_of_their_own() {
        let limits = DriveLimits {
            bytes: Rates { read: rate(MIB), ..Rates::default() },
            requests: Rates { write: Some(Rate { per_s: 10, burst: Some(2) }), ..Rates::default() },
        };
        let mut limiter = limiter(limits);
        let mut start =
            |direction, bytes| limiter.admit((direction, bytes), GuestTime::ZERO).ns() / 1_000_000;
        assert_eq!(start(Direction::Read, 3 * MIB), 0);
        assert!((2899..2901).contains(&start(Direction::Read, 1)));
        assert_eq!([0; 5].map(|_| start(Direction::Write, 1 << 40)), [0, 0, 100, 200, 300]);
    }

    #[test]
    fn a_saved_limiter_goes_on() {
        let limits = DriveLimits {
            bytes: Rates { total: rate(MIB), ..Rates::default() },
            requests: Rates { read: rate(5), ..Rates::default() },
        };
        let mut first = limiter(limits);
        for _ in 0..20 {
            first.admit((Direction::Read, MIB), GuestTime(7));
        }
        let state = first.save();
        let mut second = limiter(limits);
        second.restore(&state, GuestTime(9)).unwrap();
        let start = |limiter: &mut Limiter| limiter.admit((Direction::Read, 5), GuestTime(10_000));
        assert_eq!(start(&mut first), start(&mut second));
        assert!(second.restore(&state, GuestTime(6)).is_err(), "a time to come");
        let mut other = limiter(DriveLimits::default());
        assert!(other.restore(&state, GuestTime(9)).is_err(), "other limits");
        let mut debt = state.clone();
        for bucket in debt.0.iter_mut().flatten() {
            bucket.level = i128::MIN;
        }
        second.restore(&debt, GuestTime(9)).unwrap();
        assert_eq!(start(&mut second), GuestTime(u64::MAX), "a debt that is never paid");
    }

    #[test]
    fn what_work_costs() {
        let ranges = [&[0; 8][..], &4u32.to_le_bytes(), &[0; 4]].concat();
        for (work, data, cost) in [
            (Work::Read { offset: 9, bytes: 512 }, &[][..], Some((Direction::Read, 512))),
            (Work::Write { offset: 9, through: true }, &[1; 1024], Some((Direction::Write, 1024))),
            (Work::Fill, &[0; 5], Some((Direction::Write, 1024))),
            (Work::Zero { unmap: true }, &ranges, Some((Direction::Write, 2048))),
            (Work::Discard, &ranges, Some((Direction::Write, 0))),
            (Work::Flush, &[], None),
        ] {
            assert_eq!(work.cost(data), cost, "{work:?}");
        }
    }
}
