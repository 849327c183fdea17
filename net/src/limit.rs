//! A network that is no faster than it may be.
//!
//! Frames for the guest wait in the network, which is held up by that. Frames of the guest wait here, up to a bound, and are dropped beyond, as a
//! slow line drops them: the guest's TCP finds its rate.

use crate::backend::{NetBackend, PortForwards, Waker};
use crate::bucket::TokenBucket;
use crate::error::NetError;
use crate::frame::{Frame, Offloads};
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Bytes of the guest's frames that wait.
const MOST_WAITING: usize = 512 << 10;
/// A burst where none is given: what the rate allows in a tenth of a second.
const BURSTS_PER_S: u64 = 10;

/// The options, with what they are for.
pub const OPTIONS: &[(&str, &str)] = &[
    ("bps", "BYTES: bytes in a second, in each direction, like 10M (K, M, G are powers of 1024)"),
    ("bps_max", "BYTES: bytes at once (a tenth of a second's)"),
    ("pps", "NUMBER: frames in a second, in each direction"),
    ("pps_max", "NUMBER: frames at once (a tenth of a second's)"),
];

/// How fast each direction may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateConfig {
    /// Bytes in a second.
    pub bytes_per_s: Option<u64>,
    /// Bytes at once.
    pub burst_bytes: Option<u64>,
    /// Frames in a second.
    pub frames_per_s: Option<u64>,
    /// Frames at once.
    pub burst_frames: Option<u64>,
}

impl RateConfig {
    /// Sets one option.
    ///
    /// # Errors
    /// It is unknown, or the value is not one.
    pub fn set(&mut self, option: &str, value: &str) -> Result<(), NetError> {
        let place = match option {
            "bps" => &mut self.bytes_per_s,
            "bps_max" => &mut self.burst_bytes,
            "pps" => &mut self.frames_per_s,
            "pps_max" => &mut self.burst_frames,
            _ => {
                let known = OPTIONS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
                return Err(NetError::Option { network: "rate limit", option: option.into(), known });
            }
        };
        *place = Some(amount(option, value)?);
        Ok(())
    }
    /// Whether nothing is limited.
    pub fn is_unlimited(&self) -> bool {
        self.bytes_per_s.is_none() && self.frames_per_s.is_none()
    }
}

fn amount(option: &str, value: &str) -> Result<u64, NetError> {
    let (digits, shift) = match value.as_bytes().last() {
        Some(b'K' | b'k') => (&value[..value.len() - 1], 10),
        Some(b'M' | b'm') => (&value[..value.len() - 1], 20),
        Some(b'G' | b'g') => (&value[..value.len() - 1], 30),
        _ => (value, 0),
    };
    let amount = digits.parse::<u64>().ok().and_then(|n| n.checked_mul(1 << shift)).filter(|n| *n > 0);
    amount.ok_or_else(|| NetError::value(option, value, "expected a number above 0, like 500 or 10M"))
}

/// The buckets of one direction.
struct Gate {
    bytes: Option<TokenBucket>,
    frames: Option<TokenBucket>,
}

impl Gate {
    fn new(config: &RateConfig) -> Self {
        let bucket = |rate: Option<u64>, burst: Option<u64>| {
            rate.map(|rate| TokenBucket::new(rate, burst.unwrap_or(rate / BURSTS_PER_S), Duration::ZERO))
        };
        Self {
            bytes: bucket(config.bytes_per_s, config.burst_bytes),
            frames: bucket(config.frames_per_s, config.burst_frames),
        }
    }
    fn wait(&mut self, now: Duration) -> Option<Duration> {
        let bytes = self.bytes.as_mut().and_then(|bucket| bucket.wait(now));
        let frames = self.frames.as_mut().and_then(|bucket| bucket.wait(now));
        bytes.max(frames)
    }
    /// A frame goes through. One that is meant to be cut is as many as its pieces.
    fn take(&mut self, frame: &Frame) {
        let pieces = frame
            .segmentation
            .map_or(1, |segmentation| frame.bytes.len().div_ceil(usize::from(segmentation.payload).max(1)));
        if let Some(bucket) = &mut self.bytes {
            bucket.take(frame.bytes.len() as u64);
        }
        if let Some(bucket) = &mut self.frames {
            bucket.take(pieces as u64);
        }
    }
}

struct State {
    out: Gate,
    inward: Gate,
    waiting: VecDeque<Frame>,
    waiting_bytes: usize,
    dropped: u64,
    /// When the guest's side is to look again.
    inward_at: Option<Duration>,
    waker: Option<Waker>,
    stop: bool,
}

struct Inner {
    network: Arc<dyn NetBackend>,
    state: Mutex<State>,
    changed: Condvar,
    began: Instant,
}

/// A network with limits.
pub struct RateLimit {
    inner: Arc<Inner>,
    config: RateConfig,
    thread: Option<JoinHandle<()>>,
}

impl RateLimit {
    /// Limits a network, the same in both directions.
    ///
    /// # Errors
    /// The host has no more threads.
    pub fn new(network: Arc<dyn NetBackend>, config: RateConfig) -> Result<Self, NetError> {
        let state = State {
            out: Gate::new(&config),
            inward: Gate::new(&config),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            dropped: 0,
            inward_at: None,
            waker: None,
            stop: false,
        };
        let inner = Arc::new(Inner {
            network,
            state: Mutex::new(state),
            changed: Condvar::new(),
            began: Instant::now(),
        });
        let timer = inner.clone();
        let thread = std::thread::Builder::new().name("rate limit".into()).spawn(move || timer.run());
        let thread = Some(thread.map_err(|error| NetError::host("rate limit", error))?);
        Ok(Self { inner, config, thread })
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// Does what has to wait.
    fn run(&self) {
        let mut state = self.state();
        while !state.stop {
            let now = self.began.elapsed();
            let mut next = None;
            while !state.waiting.is_empty() {
                if let Some(wait) = state.out.wait(now) {
                    next = Some(wait);
                    break;
                }
                if let Some(frame) = state.waiting.pop_front() {
                    state.waiting_bytes -= frame.bytes.len();
                    state.out.take(&frame);
                    self.network.send(frame);
                }
            }
            if state.inward_at.is_some_and(|at| at <= now) {
                state.inward_at = None;
                if let Some(waker) = state.waker.clone() {
                    drop(state);
                    waker();
                    state = self.state();
                    continue;
                }
            }
            let inward = state.inward_at.map(|at| at - now);
            let timeout = [next, inward].into_iter().flatten().min();
            state = match timeout {
                Some(timeout) => {
                    self.changed.wait_timeout(state, timeout).unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}

impl NetBackend for RateLimit {
    fn send(&self, frame: Frame) {
        let mut state = self.inner.state();
        if state.waiting.is_empty() && state.out.wait(self.inner.began.elapsed()).is_none() {
            state.out.take(&frame);
            // In order with those that waited: the thread holds the lock while it sends.
            return self.inner.network.send(frame);
        }
        if state.waiting_bytes + frame.bytes.len() > MOST_WAITING {
            state.dropped += 1;
            return;
        }
        state.waiting_bytes += frame.bytes.len();
        state.waiting.push_back(frame);
        drop(state);
        self.inner.changed.notify_one();
    }
    fn receive(&self) -> Option<Frame> {
        let mut state = self.inner.state();
        let now = self.inner.began.elapsed();
        if let Some(wait) = state.inward.wait(now) {
            state.inward_at = Some(now + wait);
            drop(state);
            self.inner.changed.notify_one();
            return None;
        }
        let frame = self.inner.network.receive()?;
        state.inward.take(&frame);
        Some(frame)
    }
    fn port_forwards(&self) -> Option<&dyn PortForwards> {
        self.inner.network.port_forwards()
    }
    fn accepts(&self) -> Offloads {
        self.inner.network.accepts()
    }
    fn card_accepts(&self, offloads: Offloads) {
        self.inner.network.card_accepts(offloads);
    }
    fn set_waker(&self, waker: Waker) {
        self.inner.state().waker = Some(waker.clone());
        self.inner.network.set_waker(waker);
    }
    fn carrier(&self) -> bool {
        self.inner.network.carrier()
    }
    fn mtu(&self) -> u16 {
        self.inner.network.mtu()
    }
    fn queues(&self) -> u16 {
        self.inner.network.queues()
    }
    fn info(&self) -> String {
        let RateConfig { bytes_per_s, frames_per_s, .. } = self.config;
        let rate = |rate: Option<u64>, unit: &str| rate.map(|rate| format!("{rate} {unit}/s"));
        let rates = [rate(bytes_per_s, "bytes"), rate(frames_per_s, "frames")];
        let rates: Vec<String> = rates.into_iter().flatten().collect();
        let dropped = self.inner.state().dropped;
        format!(
            "{}\n  limited to {}: {dropped} of the guest dropped",
            self.inner.network.info(),
            rates.join(", ")
        )
    }
}

impl Drop for RateLimit {
    fn drop(&mut self) {
        self.inner.state().stop = true;
        self.inner.changed.notify_one();
        crate::bell::join(&mut self.thread);
    }
}
