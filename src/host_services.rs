//! What the host gives a machine: a clock and a random seed.

use std::fs::File;
use std::io::Read;
use std::time::Instant;
use trimotor_machine::HostClock;

/// The seed of a deterministic run.
const FIXED_SEED: u64 = 0x7472_696d_6f74_6f72;

/// The host's monotonic clock.
pub struct MonotonicClock {
    origin: Instant,
}

impl MonotonicClock {
    /// A clock that starts now.
    pub fn new() -> Self {
        Self { origin: Instant::now() }
    }
}

impl HostClock for MonotonicClock {
    fn now_ns(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// The seed of the guest's random numbers: the host's, or with `icount` always the same.
pub fn random_seed(icount: bool) -> u64 {
    let mut bytes = FIXED_SEED.to_le_bytes();
    if !icount && let Ok(mut source) = File::open("/dev/urandom") {
        // Where the host has no random numbers, the fixed ones are better than none.
        let _ = source.read_exact(&mut bytes);
    }
    u64::from_le_bytes(bytes)
}
