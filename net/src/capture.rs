//! What goes over a cable, in a file that Wireshark and tcpdump read.
//!
//! A name that ends in `.pcap` makes a file of the old format, any other a pcapng file (IETF draft-ietf-opsawg-pcapng), which says of each frame in
//! which direction it went. Frames are written as they are on this cable: long ones whole, and checksums open where the receiver is to
//! fill them in, as a capture on Linux shows them too.
//!
//! A thread writes. What it is not done with waits, up to a bound; frames beyond that are counted in place of being kept, so that a slow disk holds up
//! nobody.

use crate::backend::{NetBackend, PortForwards, Waker};
use crate::error::NetError;
use crate::frame::{Frame, Offloads};
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Bytes that may wait for the disk.
const MOST_WAITING: usize = 8 << 20;
/// Bytes of a frame that are kept if nothing else is said: all.
pub const WHOLE: usize = 262_144;
/// Ethernet, in both formats.
const LINK_TYPE: u16 = 1;

/// How a capture is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CaptureConfig {
    /// Bytes of a frame that are kept.
    pub most_of_frame: usize,
    /// The largest file, in bytes: what would be behind that is not written.
    pub most_of_file: u64,
}

impl Default for CaptureConfig {
    fn default() -> Self {
        Self { most_of_frame: WHOLE, most_of_file: u64::MAX }
    }
}

/// Which way a frame went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    ToGuest = 1,
    FromGuest = 2,
}

/// A network whose frames are written to a file.
pub struct Capture {
    network: Arc<dyn NetBackend>,
    recorder: Arc<Recorder>,
    path: String,
    thread: Option<JoinHandle<()>>,
}

struct Recorder {
    state: Mutex<State>,
    changed: Condvar,
    format: Format,
    config: CaptureConfig,
    written: AtomicU64,
    missed: AtomicU64,
}

#[derive(Default)]
struct State {
    waiting: Vec<u8>,
    bytes: u64,
    stop: bool,
    failed: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Pcap,
    PcapNg,
}

impl Capture {
    /// Has the frames of a network written to a file, which is made anew.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn new(network: Arc<dyn NetBackend>, path: &Path, config: CaptureConfig) -> Result<Self, NetError> {
        let name = path.display().to_string();
        let host = |error| NetError::host(format!("capture to {name}"), error);
        let file = File::create(path).map_err(host)?;
        let is_old = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("pcap"));
        let format = if is_old { Format::Pcap } else { Format::PcapNg };
        let waiting = format.begin(config.most_of_frame);
        let recorder = Arc::new(Recorder {
            state: Mutex::new(State { bytes: waiting.len() as u64, waiting, ..State::default() }),
            changed: Condvar::new(),
            format,
            config,
            written: AtomicU64::new(0),
            missed: AtomicU64::new(0),
        });
        let writer = recorder.clone();
        let thread = std::thread::Builder::new().name("capture".into()).spawn(move || writer.run(file));
        Ok(Self { network, recorder, path: name.clone(), thread: Some(thread.map_err(host)?) })
    }
}

impl Recorder {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn record(&self, frame: &Frame, direction: Direction) {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let kept = &frame.bytes[..frame.bytes.len().min(self.config.most_of_frame)];
        let mut state = self.state();
        let size = kept.len() + LARGEST_HEADER;
        let is_full = state.bytes + size as u64 > self.config.most_of_file;
        if is_full || state.failed.is_some() || state.waiting.len() + size > MOST_WAITING {
            drop(state);
            self.missed.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let before = state.waiting.len();
        self.format.append(&mut state.waiting, kept, frame.bytes.len(), time, direction);
        state.bytes += (state.waiting.len() - before) as u64;
        let was_empty = before == 0;
        drop(state);
        self.written.fetch_add(1, Ordering::Relaxed);
        if was_empty {
            self.changed.notify_one();
        }
    }
    /// Writes until the end.
    fn run(&self, mut file: File) {
        let mut bytes = Vec::new();
        loop {
            let mut state = self.state();
            while state.waiting.is_empty() && !state.stop {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if state.waiting.is_empty() {
                return;
            }
            std::mem::swap(&mut bytes, &mut state.waiting);
            drop(state);
            if let Err(error) = file.write_all(&bytes) {
                log::warn!("the capture ends: {error}");
                let mut state = self.state();
                state.failed = Some(error.to_string());
                state.waiting.clear();
                return;
            }
            bytes.clear();
        }
    }
}

/// Bytes that a frame takes beside its own, at most.
const LARGEST_HEADER: usize = 48;

impl Format {
    /// What a file begins with.
    fn begin(self, most_of_frame: usize) -> Vec<u8> {
        let most = (most_of_frame.min(WHOLE) as u32).to_le_bytes();
        let mut bytes = Vec::new();
        match self {
            Self::Pcap => {
                // Times are in nanoseconds; version 2.4.
                bytes.extend_from_slice(&0xA1B2_3C4D_u32.to_le_bytes());
                bytes.extend_from_slice(&[2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
                bytes.extend_from_slice(&most);
                bytes.extend_from_slice(&u32::from(LINK_TYPE).to_le_bytes());
            }
            Self::PcapNg => {
                // Section header: byte order, version 1.0, length unknown.
                let section = [&0x1A2B_3C4D_u32.to_le_bytes()[..], &[1, 0, 0, 0], &[0xFF; 8]].concat();
                block(&mut bytes, 0x0A0D_0D0A, &section);
                // Interface description: times are in units of 10^-9 s.
                let times = [9, 0, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0];
                let interface = [&LINK_TYPE.to_le_bytes()[..], &[0, 0], &most, &times].concat();
                block(&mut bytes, 1, &interface);
            }
        }
        bytes
    }
    fn append(self, to: &mut Vec<u8>, kept: &[u8], whole: usize, time: Duration, direction: Direction) {
        let (kept_length, whole) = ((kept.len() as u32).to_le_bytes(), (whole as u32).to_le_bytes());
        match self {
            Self::Pcap => {
                to.extend_from_slice(&(time.as_secs() as u32).to_le_bytes());
                to.extend_from_slice(&time.subsec_nanos().to_le_bytes());
                to.extend_from_slice(&kept_length);
                to.extend_from_slice(&whole);
                to.extend_from_slice(kept);
            }
            Self::PcapNg => {
                let time = time.as_nanos() as u64;
                let padding = kept.len().next_multiple_of(4) - kept.len();
                // Type, length twice, five words; the flags and the end of options have three.
                let length = 12 + 20 + kept.len() + padding + 12;
                to.extend_from_slice(&6_u32.to_le_bytes());
                to.extend_from_slice(&(length as u32).to_le_bytes());
                to.extend_from_slice(&[0; 4]);
                to.extend_from_slice(&((time >> 32) as u32).to_le_bytes());
                to.extend_from_slice(&(time as u32).to_le_bytes());
                to.extend_from_slice(&kept_length);
                to.extend_from_slice(&whole);
                to.extend_from_slice(kept);
                to.extend_from_slice(&[0; 3][..padding]);
                to.extend_from_slice(&[2, 0, 4, 0, direction as u8, 0, 0, 0, 0, 0, 0, 0]);
                to.extend_from_slice(&(length as u32).to_le_bytes());
            }
        }
    }
}

/// A block of a pcapng file; the body's length is a multiple of four.
fn block(to: &mut Vec<u8>, kind: u32, body: &[u8]) {
    let length = (12 + body.len() as u32).to_le_bytes();
    to.extend_from_slice(&kind.to_le_bytes());
    to.extend_from_slice(&length);
    to.extend_from_slice(body);
    to.extend_from_slice(&length);
}

impl NetBackend for Capture {
    fn send(&self, frame: Frame) {
        self.recorder.record(&frame, Direction::FromGuest);
        self.network.send(frame);
    }
    fn receive(&self) -> Option<Frame> {
        let frame = self.network.receive()?;
        self.recorder.record(&frame, Direction::ToGuest);
        Some(frame)
    }
    fn accepts(&self) -> Offloads {
        self.network.accepts()
    }
    fn port_forwards(&self) -> Option<&dyn PortForwards> {
        self.network.port_forwards()
    }
    fn card_accepts(&self, offloads: Offloads) {
        self.network.card_accepts(offloads);
    }
    fn set_waker(&self, waker: Waker) {
        self.network.set_waker(waker);
    }
    fn carrier(&self) -> bool {
        self.network.carrier()
    }
    fn mtu(&self) -> u16 {
        self.network.mtu()
    }
    fn queues(&self) -> u16 {
        self.network.queues()
    }
    fn info(&self) -> String {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let failed = self.recorder.state().failed.clone();
        let failed = failed.map(|why| format!(", ended: {why}")).unwrap_or_default();
        format!(
            "{}\n  capture to {}: {} frames, {} missed{failed}",
            self.network.info(),
            self.path,
            read(&self.recorder.written),
            read(&self.recorder.missed)
        )
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.recorder.state().stop = true;
        self.recorder.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            // All that waits is written.
            _ = thread.join();
        }
    }
}
