//! The virtio entropy device (virtio 1.2, 5.4): fills buffers with random bytes.
//!
//! One queue, no configuration, no features. A driver offers buffers to write; a worker asks the host, and each comes back with up to
//! [`MOST_BYTES`] bytes. With `max-bytes=` and `period=` it gives so many bytes in a period of so many milliseconds, and buffers wait for the next one.

use super::device::{Kind, VirtioDevice};
use super::io::Io;
use super::queue::{Chain, ChainStateV1};
use crate::device::OutsideRef;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use trimotor_bus::{GuestTime, RestoreError};

/// Bytes that a buffer gets at most.
pub const MOST_BYTES: u64 = 4096;
/// Buffers of the queue.
pub const QUEUE_SIZE: u16 = 64;
/// Numbers of requests begin anew behind this one.
const MOST_TOKEN: u64 = u64::MAX >> 1;
/// What a request takes, in nanoseconds of counted time.
const REQUEST_NS: u64 = 20_000;

/// Where random bytes come from: fills a buffer for a request of that number. A worker calls it. With counted time the same
/// number gives the same bytes.
pub type Entropy = Arc<dyn Fn(u64, &mut [u8]) + Send + Sync>;

/// So much at a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    /// Bytes in a period.
    pub bytes: u64,
    /// The period in nanoseconds, not zero.
    pub period_ns: u64,
}

/// The device.
pub struct Rng {
    outside: OutsideRef,
    entropy: Entropy,
    rate: Option<Rate>,

    /// Buffers that workers fill: what they are, how many bytes, and when it is due.
    under_way: BTreeMap<u64, (Chain, u64, u64)>,
    /// Those of before a reset, and when each is due: they are waited for, so that workers never have more than the queue.
    draining: BTreeMap<u64, u64>,
    next_token: u64,
    /// Bytes that may be given until the period ends, and when that is.
    left: u64,
    period_ends: GuestTime,
    waits: bool,
}

/// A saved request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FillStateV1 {
    chain: ChainStateV1,
    bytes: u64,
    due_ns: u64,
}
/// The saved state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RngStateV1 {
    under_way: BTreeMap<u64, FillStateV1>,
    draining: BTreeMap<u64, u64>,
    next_token: u64,
    left: u64,
    period_ends_ns: u64,
    waits: bool,
}

impl Rng {
    /// A device that gives what `entropy` has, at most so fast.
    pub fn new(outside: OutsideRef, entropy: Entropy, rate: Option<Rate>) -> Self {
        Self {
            outside,
            entropy,
            rate,
            under_way: BTreeMap::new(),
            draining: BTreeMap::new(),
            next_token: 0,
            left: rate.map_or(u64::MAX, |rate| rate.bytes),
            period_ends: GuestTime::ZERO,
            waits: false,
        }
    }
    fn begin_period(&mut self, now: GuestTime) {
        if let Some(rate) = self.rate
            && self.period_ends <= now
        {
            self.left = rate.bytes;
            self.period_ends = now + rate.period_ns;
        }
    }
    /// A number that no request has.
    fn token(&mut self) -> u64 {
        loop {
            let token = self.next_token;
            self.next_token = (token + 1) & MOST_TOKEN;
            if !self.under_way.contains_key(&token) && !self.draining.contains_key(&token) {
                return token;
            }
        }
    }
    fn send(&self, token: u64, bytes: u64, due: GuestTime) {
        let entropy = self.entropy.clone();
        let job = move || {
            let mut buffer = vec![0; bytes as usize];
            entropy(token, &mut buffer);
            buffer
        };
        self.outside.begin(token, due, Box::new(job));
    }
}

impl VirtioDevice for Rng {
    type State = RngStateV1;

    fn kind(&self) -> Kind {
        Kind { name: "entropy device", device_type: 4, transitional: Some(0x1005), class: 0x00_FF_00 }
    }
    fn features(&self) -> u64 {
        0
    }
    fn queue_sizes(&self) -> Vec<u16> {
        vec![QUEUE_SIZE]
    }
    fn config(&self, _features: u64) -> Vec<u8> {
        Vec::new()
    }

    fn look(&mut self, queue: usize, io: &mut Io<'_>, now: GuestTime) {
        if !self.draining.is_empty() {
            return;
        }
        self.begin_period(now);
        loop {
            while self.left > 0 {
                let Some(chain) = io.pop(queue) else { break };
                let bytes = chain.writable().min(MOST_BYTES).min(self.left);
                if bytes == 0 {
                    io.push(queue, chain, 0);
                    continue;
                }
                self.left -= if self.rate.is_some() { bytes } else { 0 };
                let (token, due) = (self.token(), now + REQUEST_NS);
                self.send(token, bytes, due);
                self.under_way.insert(token, (chain, bytes, due.ns()));
            }
            self.waits = self.left == 0;
            if self.waits || !io.arm(queue) {
                return;
            }
        }
    }
    fn queue_reset(&mut self, _queue: usize) {
        let forgotten = std::mem::take(&mut self.under_way);
        self.draining.extend(forgotten.into_iter().map(|(token, (_, _, due_ns))| (token, due_ns)));
        self.waits = false;
    }
    fn reset(&mut self) {
        self.queue_reset(0);
    }
    fn power_on(&mut self) {
        self.reset();
        self.draining.clear();
    }
    fn complete(&mut self, token: u64, result: &[u8], io: &mut Io<'_>, now: GuestTime) {
        if self.draining.remove(&token).is_some() {
            return self.look(0, io, now);
        }
        let Some((chain, bytes, _)) = self.under_way.remove(&token) else { return };
        let result = &result[..result.len().min(bytes as usize)];
        if io.write(chain.writable_segments(), 0, result).is_some() {
            io.push(0, chain, result.len() as u64);
        }
    }
    fn next_event(&self) -> Option<GuestTime> {
        self.waits.then_some(self.period_ends)
    }
    fn advance(&mut self, io: &mut Io<'_>, now: GuestTime) {
        self.look(0, io, now);
    }

    fn info(&self) -> String {
        format!("{} requests so far", self.next_token)
    }
    fn save(&self) -> RngStateV1 {
        let Self {
            outside: _,
            entropy: _,
            rate: _,
            under_way,
            draining,
            next_token,
            left,
            period_ends,
            waits,
        } = self;
        let fill = |(token, (chain, bytes, due_ns)): (&u64, &(Chain, u64, u64))| {
            (*token, FillStateV1 { chain: chain.save(), bytes: *bytes, due_ns: *due_ns })
        };
        RngStateV1 {
            under_way: under_way.iter().map(fill).collect(),
            draining: draining.clone(),
            next_token: *next_token,
            left: *left,
            period_ends_ns: period_ends.ns(),
            waits: *waits,
        }
    }
    fn check(&self, state: &RngStateV1) -> Result<(), RestoreError> {
        let refuse = |field, value: String| Err(RestoreError { part: "entropy device", field, value });
        let RngStateV1 { under_way, draining, next_token, left, period_ends_ns: _, waits } = state;
        if under_way.len().max(draining.len()) > QUEUE_SIZE.into()
            || under_way.keys().chain(draining.keys()).chain([next_token]).any(|token| *token > MOST_TOKEN)
            || draining.keys().any(|token| under_way.contains_key(token))
        {
            return refuse("requests", format!("{} up to {next_token}", under_way.len()));
        }
        for (token, fill) in under_way {
            let chain = Chain::restored(fill.chain.clone());
            let fits = chain.is_some_and(|chain| chain.writable() >= fill.bytes) && fill.bytes <= MOST_BYTES;
            if !fits {
                return refuse("request", format!("{token}: {fill:?}"));
            }
        }
        match self.rate {
            Some(rate) if *left > rate.bytes => refuse("rate", left.to_string()),
            None if *left != u64::MAX || *waits => refuse("rate", left.to_string()),
            _ => Ok(()),
        }
    }
    fn restore(&mut self, state: RngStateV1) {
        let RngStateV1 { under_way, draining, next_token, left, period_ends_ns, waits } = state;
        for (token, due_ns) in &draining {
            self.send(*token, 0, GuestTime(*due_ns));
        }
        self.draining = draining;
        (self.next_token, self.left, self.waits) = (next_token, left, waits);
        self.period_ends = GuestTime(period_ends_ns);
        self.under_way.clear();
        for (token, FillStateV1 { chain, bytes, due_ns }) in under_way {
            if let Some(chain) = Chain::restored(chain) {
                self.send(token, bytes, GuestTime(due_ns));
                self.under_way.insert(token, (chain, bytes, due_ns));
            }
        }
    }
}
