//! Recordings as files: whole, cut, damaged; and what a replay sees of a run that is another one.

use super::cards::{card_config, driver, leave};
use super::*;
use crate::events::{
    EventSource, ExternalEvent, LogReader, LogWriter, Position, ReplayEnd, TakenEvent, is_recording,
};
use std::io::{Cursor, Seek, SeekFrom, Write};
use trimotor_cpu::ArchState;

/// A file in memory.
#[derive(Clone, Default)]
struct File(Arc<Mutex<Cursor<Vec<u8>>>>);
impl File {
    fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().get_ref().clone()
    }
}
impl Write for File {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
impl Seek for File {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        self.0.lock().unwrap().seek(to)
    }
}

/// A host without room.
struct Full;
impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        // What stands before the events fits.
        if bytes.len() > 4096 { Err(std::io::ErrorKind::StorageFull.into()) } else { Ok(bytes.len()) }
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
impl Seek for Full {
    fn seek(&mut self, _to: SeekFrom) -> std::io::Result<u64> {
        Ok(0)
    }
}

/// Counts for a moment, and ends with code 1.
fn machine() -> Machine {
    let config = card_config(Engine::Interp, 1, ClockSource::Instructions);
    let code = driver(|a| {
        use iced_x86::code_asm::*;
        let mut again = a.create_label();
        a.mov(ecx, 1000u32).unwrap();
        a.set_label(&mut again).unwrap();
        a.dec(ecx).unwrap();
        a.jne(again).unwrap();
        leave(a, 0);
    });
    let request = BootRequest::new(BootFile { name: "test".into(), bytes: code });
    let plan = boot::load(request, &config.platform()).unwrap();
    let model = Arc::new(CpuModel::parse("max", 1_000_000_000).unwrap());
    Machine::new(config, model, HostServices::new(Arc::new(NoClock)), Box::new(plan)).unwrap()
}
fn event(number: u64, bytes: usize) -> TakenEvent {
    let at = Position { instructions: number, step: 1, time_ns: number };
    TakenEvent { at, event: ExternalEvent::SerialInput { port: 0, bytes: vec![number as u8; bytes] } }
}
/// A recording with these events, and the file at the moment before its end.
fn recorded(events: &[TakenEvent]) -> (Vec<u8>, Vec<u8>) {
    let machine = machine();
    let file = File::default();
    let writer = LogWriter::start(file.clone(), &machine.recording(b"kept".to_vec()).unwrap()).unwrap();
    let mut log = writer.log();
    events.iter().for_each(|event| log.taken(event));
    drop(log);
    let end = machine.end_of_run(&ExitReason::Quit);
    let before = file.bytes();
    writer.finish(&end).unwrap();
    (file.bytes(), before)
}
fn read(bytes: &[u8]) -> Result<(Vec<TakenEvent>, ReplayEnd), String> {
    let log = LogReader::open(Cursor::new(bytes)).map_err(|error| error.to_string())?;
    assert_eq!(log.recording().host, b"kept");
    let end = log.replay_end();
    let mut source = log.events().map_err(|error| error.to_string())?;
    let mut events = Vec::new();
    loop {
        match source.more()? {
            more if more.is_empty() => return Ok((events, end)),
            more => events.extend(more),
        }
    }
}

#[test]
fn a_recording_is_read_as_it_was_written() {
    // More than waits to be written, and more than a section.
    for events in
        [vec![], (0..100).map(|n| event(n, 5)).collect(), (0..40).map(|n| event(n, 600_000)).collect()]
    {
        let (bytes, _) = recorded(&events);
        assert!(is_recording(&bytes[..]));
        let (read, end) = read(&bytes).unwrap();
        assert!(read == events && end == ReplayEnd::Quit);
    }
    assert!(!is_recording(&b"anything else"[..]));
}

#[test]
fn what_was_written_before_a_recorder_died_counts() {
    let events: Vec<_> = (0..40).map(|n| event(n, 600_000)).collect();
    let (whole, _) = recorded(&events);
    // As it was while it was written: without a length.
    let mut cut = whole.clone();
    let (_, unfinished) = recorded(&[]);
    let state = 24 + 16 + "recording".len() + 4 + 8;
    cut[..state].copy_from_slice(&unfinished[..state]);
    let mut before = usize::MAX;
    for length in [cut.len() - 1, cut.len() - 200, cut.len() - 1_000_000, cut.len() / 2, 10_000] {
        let (read, end) = read(&cut[..length]).unwrap();
        assert!(end == ReplayEnd::Unknown && events.starts_with(&read) && read.len() <= before, "{length}");
        before = read.len();
    }
    assert!(read(&cut[..100]).unwrap_err().contains("truncated"));
    // Damage is none of a recorder that died.
    cut[whole.len() / 2] ^= 1;
    assert!(read(&cut).unwrap_err().contains("checksum"));
}

#[test]
fn a_recording_that_was_whole_and_is_not_is_refused() {
    let (whole, _) = recorded(&(0..20).map(|n| event(n, 50)).collect::<Vec<_>>());
    for length in 0..whole.len() {
        assert!(read(&whole[..length]).is_err(), "{length} bytes");
    }
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (at % 8);
        assert!(read(&flipped).is_err(), "byte {at}");
    }
    assert!(read(&[&whole[..], b"more"].concat()).unwrap_err().contains("damaged"));
}

#[test]
fn a_host_without_room_ends_the_recording_and_nothing_else() {
    let machine = machine();
    let writer = LogWriter::start(Full, &machine.recording(Vec::new()).unwrap()).unwrap();
    let mut log = writer.log();
    // Many times what may wait.
    (0..100).for_each(|number| log.taken(&event(number, 600_000)));
    assert!(writer.finish(&machine.end_of_run(&ExitReason::Quit)).is_err());
}

#[test]
fn other_registers_are_told_with_what_they_were() {
    let mut machine = machine();
    let before = machine.end_of_run(&ExitReason::Quit);
    assert_eq!(before.difference(&machine.end_of_run(&ExitReason::Quit)), None);
    let state = machine.vcpu_state(0).unwrap();
    let changed = ArchState { rip: state.rip + 1, ..state };
    machine.vcpus[0].vcpu.set_state(&changed);
    let told = before.difference(&machine.end_of_run(&ExitReason::Quit)).unwrap();
    assert!(told.starts_with("vCPU 0: RIP is 0x"), "{told}");
    machine.vcpus[0].vcpu.set_state(&ArchState { rip: changed.rip - 1, ..changed });
    machine.memory().write(trimotor_bus::PhysAddr(0x5000), &[1]);
    let told = before.difference(&machine.end_of_run(&ExitReason::Quit)).unwrap();
    assert!(told.starts_with("RAM is another one"), "{told}");
}
