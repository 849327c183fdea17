//! A recording of a run as a file ([`trimotor_snapshot`]), which is written while the run goes on.
//!
//! | section | |
//! |---|---|
//! | `recording` | [`StateV1`]: whether the file is whole. It always has the same length, and is written once more at the end |
//! | `machine` | [`RecordingV1`]: what was recorded, and what its machine was like |
//! | `events` | the next events; as many sections as are needed |
//! | `end of the run` | [`EndV1`]: where the machine was then |
//!
//! **A file that is cut.** A recorder that is killed leaves the file as it was a moment before: it says that it is not whole, and
//! ends behind any byte. The whole sections of it count. A file that says that it is whole, and is not, was damaged afterwards,
//! and is refused.
//!
//! **Memory is bounded.** [`LogWriter`] encodes events where they are taken, and a thread of its own writes what has gathered. Where the host is slower
//! than the guest, the machine waits, which a guest with counted time does not notice. [`LogEvents`] reads a section at a time.

use super::check::VcpuCheck;
use super::file::{EVENTS, VERSION, events_of};
use super::{EventLog, EventSource, MediumFacts, ReplayEnd, TakenEvent};
use crate::config::MachineConfig;
use crate::networks::NetworkFacts;
use crate::save::CpuModelStateV1;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use trimotor_snapshot::{FormatError, Reader, Section, Writer};

const STATE: &str = "recording";
const MACHINE: &str = "machine";
const END: &str = "end of the run";
/// The version of the content of all sections but those with events.
const FIRST: u16 = 1;

/// What has gathered is written after this time at the latest: so much of a run is lost where the recorder is killed.
const WRITTEN_AFTER: Duration = Duration::from_millis(200);
/// Bytes of a section from which on it is written at once.
const AT_A_TIME: usize = 1 << 20;
/// Bytes that wait to be written, from which on the machine waits.
const MOST_WAITING: usize = 8 << 20;

/// What was recorded.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct RecordingV1 {
    /// What the machine was made from.
    pub config: MachineConfig,
    /// What the guest sees of its CPU.
    pub(crate) model: CpuModelStateV1,
    /// What was in the drives.
    pub media: BTreeMap<String, MediumFacts>,
    /// What the machine saw of its networks.
    pub networks: BTreeMap<String, NetworkFacts>,
    /// Instructions that had been retired when it began: a machine that was saved goes on.
    pub begins_at: u64,
    /// What the program keeps with it.
    #[serde(with = "serde_bytes")]
    pub host: Vec<u8>,
}

/// Where a machine was at the end of its run.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct EndV1 {
    /// Whether somebody outside ended the run; otherwise the guest did.
    pub(crate) by_quit: bool,
    /// Instructions that all vCPUs had retired.
    pub instructions: u64,
    /// Each vCPU.
    pub(crate) vcpus: Vec<VcpuCheck>,
    /// CRC-32 of RAM.
    pub(crate) ram: u32,
}

/// Whether a file is whole.
struct StateV1 {
    /// Bytes of the whole file; 0 while it is written.
    bytes: u64,
}

impl StateV1 {
    /// A file's beginning.
    fn beginning(&self) -> Result<Vec<u8>, FormatError> {
        let mut writer = Writer::new(Vec::new())?;
        writer.section(STATE, FIRST, &self.bytes.to_le_bytes())?;
        Ok(writer.into_inner())
    }
    fn of(section: &Section) -> Result<Self, FormatError> {
        section.check_version(FIRST)?;
        match section.content.as_slice().try_into() {
            Ok(bytes) => Ok(Self { bytes: u64::from_le_bytes(bytes) }),
            Err(_) => Err(section.refused("it has another length")),
        }
    }
}

/// What waits to be written.
#[derive(Default)]
struct Waiting {
    /// Events as they are encoded, one after the other.
    bytes: Vec<u8>,
    count: u64,
    /// No more come.
    ended: bool,
    /// Why nothing is written any more.
    failed: Option<String>,
}

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    /// Something came, or was written.
    changed: Condvar,
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes a recording. Dropping it without [`finish`](Self::finish) leaves a file that is cut.
pub struct LogWriter<W> {
    shared: Arc<Shared>,
    thread: JoinHandle<Result<Writer<W>, FormatError>>,
}

impl<W: Write + Seek + Send + 'static> LogWriter<W> {
    /// Begins the file, and starts the thread that writes it.
    ///
    /// # Errors
    /// The host cannot write, or has no thread left.
    pub fn start(mut out: W, recording: &RecordingV1) -> Result<Self, FormatError> {
        out.write_all(&StateV1 { bytes: 0 }.beginning()?)?;
        let mut writer = Writer::behind(out, StateV1 { bytes: 0 }.beginning()?.len() as u64);
        writer.value(MACHINE, FIRST, recording)?;
        let shared = Arc::new(Shared::default());
        let for_thread = shared.clone();
        let thread = thread::Builder::new().name("recorder".to_owned());
        let thread = thread.spawn(move || write_events(&for_thread, writer))?;
        Ok(Self { shared, thread })
    }
    /// The log to [record](crate::Machine::record) to.
    pub fn log(&self) -> Box<dyn EventLog> {
        Box::new(Log(self.shared.clone()))
    }
    /// Writes the rest, and says that the file is whole.
    ///
    /// # Errors
    /// The host could not write: the file is cut.
    pub fn finish(self, end: &EndV1) -> Result<W, FormatError> {
        self.shared.waiting().ended = true;
        self.shared.changed.notify_all();
        let ended = self.thread.join();
        let mut writer = ended.map_err(|_| std::io::Error::other("the thread that writes it panicked"))??;
        writer.value(END, FIRST, end)?;
        let (mut out, bytes) = writer.end()?;
        out.flush()?;
        out.seek(SeekFrom::Start(0))?;
        out.write_all(&StateV1 { bytes }.beginning()?)?;
        out.flush()?;
        Ok(out)
    }
}

/// Writes what gathers, until no more comes.
fn write_events<W: Write>(shared: &Shared, mut writer: Writer<W>) -> Result<Writer<W>, FormatError> {
    loop {
        let waiting = shared.waiting();
        let gathers = |waiting: &mut Waiting| waiting.bytes.len() < AT_A_TIME && !waiting.ended;
        let waited = shared.changed.wait_timeout_while(waiting, WRITTEN_AFTER, gathers);
        let (mut waiting, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let (bytes, count) = (std::mem::take(&mut waiting.bytes), std::mem::take(&mut waiting.count));
        let ended = waiting.ended;
        drop(waiting);
        shared.changed.notify_all();
        if count > 0
            && let Err(error) = write_section(&mut writer, count, &bytes)
        {
            log::error!("the recording ends here, as it cannot be written: {error}");
            let mut waiting = shared.waiting();
            waiting.failed = Some(error.to_string());
            waiting.bytes.clear();
            drop(waiting);
            shared.changed.notify_all();
            return Err(error);
        }
        if ended {
            return Ok(writer);
        }
    }
}
fn write_section<W: Write>(writer: &mut Writer<W>, count: u64, bytes: &[u8]) -> Result<(), FormatError> {
    // As postcard encodes a list.
    let encoded = postcard::to_stdvec(&count);
    let mut content = encoded.map_err(|error| FormatError::in_section(EVENTS, error.to_string()))?;
    content.extend_from_slice(bytes);
    writer.section(EVENTS, VERSION, &content)?;
    writer.flush()
}

struct Log(Arc<Shared>);

impl EventLog for Log {
    fn taken(&mut self, event: &TakenEvent) {
        let mut waiting = self.0.waiting();
        while waiting.bytes.len() > MOST_WAITING && waiting.failed.is_none() {
            waiting = self.0.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        if waiting.failed.is_some() {
            return;
        }
        let bytes = std::mem::take(&mut waiting.bytes);
        match postcard::to_extend(event, bytes) {
            Ok(bytes) => (waiting.bytes, waiting.count) = (bytes, waiting.count + 1),
            Err(error) => waiting.failed = Some(error.to_string()),
        }
        if waiting.bytes.len() >= AT_A_TIME {
            self.0.changed.notify_all();
        }
    }
}

/// A recording that can be replayed.
pub struct LogReader<R> {
    input: R,
    recording: RecordingV1,
    end: Option<EndV1>,
    /// Whole sections with events.
    sections: u64,
    /// Bytes of the file that count.
    bytes: u64,
}

impl<R: Read + Seek> LogReader<R> {
    /// Reads a recording through, so that what is damaged is told of before anything runs.
    ///
    /// # Errors
    /// It is no recording, damaged, truncated, or of a newer build; the host cannot read.
    pub fn open(mut input: R) -> Result<Self, FormatError> {
        let length = input.seek(SeekFrom::End(0))?;
        let (mut reader, recording, state) = begin(&mut input)?;
        let (mut end, mut sections, mut bytes) = (None, 0, reader.position());
        loop {
            match reader.next() {
                Ok(Some(section)) if section.name == EVENTS && end.is_none() => {
                    section.check_version(VERSION)?;
                    sections += 1;
                }
                Ok(Some(section)) if section.name == END && end.is_none() => {
                    section.check_version(FIRST)?;
                    end = Some(section.value::<EndV1>()?);
                }
                Ok(Some(section)) => return Err(section.refused("a recording has no such section here")),
                Ok(None) => break,
                Err(FormatError::Truncated { .. }) if state.bytes == 0 => {
                    end = None;
                    break;
                }
                Err(error) => return Err(error),
            }
            bytes = reader.position();
        }
        if state.bytes != 0 && (state.bytes != length || reader.position() != length || end.is_none()) {
            let reason = format!("the file has {length} bytes, and had {}: it is damaged", state.bytes);
            return Err(FormatError::in_section(STATE, reason));
        }
        Ok(Self { input, recording, end, sections, bytes })
    }
    /// What was recorded.
    pub fn recording(&self) -> &RecordingV1 {
        &self.recording
    }
    /// Where the machine was at the end; nothing where the recorder was killed before.
    pub fn end(&self) -> Option<&EndV1> {
        self.end.as_ref()
    }
    /// Bytes of the file that count.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
    /// What follows the last event.
    pub fn replay_end(&self) -> ReplayEnd {
        match &self.end {
            None => ReplayEnd::Unknown,
            Some(EndV1 { by_quit: true, .. }) => ReplayEnd::Quit,
            Some(EndV1 { instructions, .. }) => ReplayEnd::Guest(*instructions),
        }
    }
    /// The events.
    ///
    /// # Errors
    /// The host cannot read.
    pub fn events(mut self) -> Result<LogEvents<R>, FormatError> {
        self.input.seek(SeekFrom::Start(0))?;
        let mut reader = Reader::new(self.input)?;
        // What `open` has read.
        for _ in 0..2 {
            reader.next()?;
        }
        Ok(LogEvents { reader, left: self.sections })
    }
}

/// Whether a file begins as a recording does.
pub fn is_recording(input: impl Read) -> bool {
    let first = Reader::new(input).and_then(|mut reader| reader.next());
    first.is_ok_and(|first| first.is_some_and(|first| first.name == STATE))
}

/// Reads what stands before the events.
fn begin<R: Read + Seek>(input: &mut R) -> Result<(Reader<&mut R>, RecordingV1, StateV1), FormatError> {
    input.seek(SeekFrom::Start(0))?;
    let mut reader = Reader::new(input)?;
    let nothing = || FormatError::Truncated { place: "what says what was recorded".to_owned() };
    let first = reader.next()?.ok_or_else(nothing)?;
    if first.name != STATE {
        return Err(first.refused("a recording of a run (`trimotor run --record`) does not begin with it"));
    }
    let state = StateV1::of(&first)?;
    let machine = reader.next()?.ok_or_else(nothing)?;
    if machine.name != MACHINE {
        return Err(machine.refused("a recording does not go on with it"));
    }
    machine.check_version(FIRST)?;
    let recording: RecordingV1 = machine.value()?;
    if let Some((drive, _)) = recording.media.iter().find(|(_, facts)| !facts.is_possible()) {
        return Err(machine.refused(format!("no medium can be like that in drive {drive}")));
    }
    Ok((reader, recording, state))
}

/// The events of a recording, read on the way.
pub struct LogEvents<R> {
    reader: Reader<R>,
    left: u64,
}

impl<R: Read + Send> EventSource for LogEvents<R> {
    fn more(&mut self) -> Result<Vec<TakenEvent>, String> {
        while self.left > 0 {
            self.left -= 1;
            let section = self.reader.next().map_err(|error| error.to_string())?;
            let section = section.ok_or("it ends earlier than it did before")?;
            let events = events_of(&section).map_err(|error| error.to_string())?;
            if !events.is_empty() {
                return Ok(events);
            }
        }
        Ok(Vec::new())
    }
}
