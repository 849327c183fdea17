//! Files of recorded runs: sections that were changed, whose checksums are right, and files that were.
//!
//! A file is refused with a message, or a machine replays it, which ends: where the recording does, or where it leaves it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::io::{Cursor, Seek, SeekFrom, Write};
use std::sync::{Arc, LazyLock, Mutex};
use trimotor_cpu::model::CpuModel;
use trimotor_devices::i8042::KeyCode;
use trimotor_firmware::boot::{self, BootFile, BootPlan, BootRequest, KernelKind};
use trimotor_fuzz::Input;
use trimotor_machine::events::{LogReader, LogWriter};
use trimotor_machine::{
    ClockSource, Command, DeviceConfig, Engine, ExitReason, HostClock, HostServices, Machine, MachineConfig,
};
use trimotor_snapshot::{FormatError, Reader, Section, Writer};

/// Changes of one file at most.
const CHANGES: usize = 6;
/// Instructions that a replay runs at most: many times the recorded ones.
const MOST_INSTRUCTIONS: u64 = 200_000;

/// Guest time counts instructions.
struct NoClock;
impl HostClock for NoClock {
    fn now_ns(&self) -> u64 {
        0
    }
}

fn config() -> MachineConfig {
    MachineConfig {
        memory_bytes: 1 << 20,
        engine: Some(Engine::Interp),
        clock: ClockSource::Instructions,
        devices: ["isa-serial", "virtio-rng-pci"].map(DeviceConfig::new).to_vec(),
        ..MachineConfig::default()
    }
}
/// Looks at the keyboard for ever.
fn plan() -> BootPlan {
    // again: in al, 60h; jmp again
    let mut request = BootRequest::new(BootFile { name: "looks".into(), bytes: vec![0xE4, 0x60, 0xEB, 0xFC] });
    request.kind = Some(KernelKind::Flat);
    boot::load(request, &config().platform()).expect("a plan for two instructions")
}
fn model() -> Arc<CpuModel> {
    Arc::new(CpuModel::parse("max", 1_000_000_000).expect("a model"))
}
fn services() -> HostServices {
    HostServices::new(Arc::new(NoClock))
}

/// A file in memory.
#[derive(Clone, Default)]
struct File(Arc<Mutex<Cursor<Vec<u8>>>>);
impl Write for File {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no thread panicked").write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
impl Seek for File {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        self.0.lock().expect("no thread panicked").seek(to)
    }
}

/// A recording's sections.
static SECTIONS: LazyLock<Vec<Section>> = LazyLock::new(|| {
    let mut machine = Machine::new(config(), model(), services(), Box::new(plan())).expect("a machine");
    let recording = machine.recording(Vec::new()).expect("there is no medium");
    let file = File::default();
    let writer = LogWriter::start(file.clone(), &recording).expect("memory has room");
    machine.record(writer.log());
    let control = machine.control();
    for round in 1..6 {
        assert_eq!(machine.run_until(round * 1000), None);
        assert!(control.key(KeyCode::A, round % 2 == 0) && control.type_text("hi"));
        drop(control.send(Command::Nmi));
    }
    control.quit();
    let reason = machine.run();
    assert_eq!(reason, ExitReason::Quit);
    writer.finish(&machine.end_of_run(&reason)).expect("memory has room");
    let bytes = file.0.lock().expect("no thread panicked").get_ref().clone();
    assert_eq!(replay(&bytes).expect("it is whole"), Some(ExitReason::Quit));
    let (mut reader, mut sections) = (Reader::new(&bytes[..]).expect("a file"), Vec::new());
    while let Some(section) = reader.next().expect("it is whole") {
        sections.push(section);
    }
    sections
});

/// How the replay of a file ends, if it does.
fn replay(bytes: &[u8]) -> Result<Option<ExitReason>, FormatError> {
    let log = LogReader::open(Cursor::new(bytes.to_vec()))?;
    let recorded = log.recording();
    if recorded.check(&config(), &model(), &Default::default()).is_err() {
        return Ok(None);
    }
    let (end, events) = (log.replay_end(), log.events()?);
    let made =
        Machine::replaying_from(config(), model(), services(), Box::new(plan()), Box::new(events), end);
    let Ok(mut machine) = made else { return Ok(None) };
    let ended = machine.run_until(MOST_INSTRUCTIONS);
    if let Some(divergence) = machine.divergence() {
        assert!(!divergence.to_string().is_empty());
    }
    Ok(ended)
}

fn change(sections: &mut Vec<Section>, input: &mut Input<'_>) {
    if sections.is_empty() {
        return;
    }
    let at = input.below(sections.len());
    let length = sections[at].content.len();
    match input.below(8) {
        0 => _ = sections.remove(at),
        1 => {
            let other = sections[input.below(sections.len())].clone();
            sections.insert(at, other);
        }
        2 => sections[at].content.truncate(input.below(length + 1)),
        3 => {
            let bytes = input.bytes(64);
            sections[at].content.extend_from_slice(bytes);
        }
        4 => sections[at].version = input.number(2) as u16,
        5 => sections[at].content = input.bytes(200).to_vec(),
        _ if length == 0 => {}
        6 => sections[at].content[input.below(length)] ^= 1 << input.below(8),
        _ => {
            let first = input.below(length);
            for (place, byte) in sections[at].content[first..].iter_mut().zip(input.bytes(12)) {
                *place = *byte;
            }
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input(bytes);
    let kind = input.below(8);
    if kind == 0 {
        // Whatever a file may have.
        assert!(replay(input.0).is_err());
        return;
    }
    let mut sections = SECTIONS.clone();
    for _ in 0..1 + input.below(CHANGES) {
        change(&mut sections, &mut input);
    }
    let mut writer = Writer::new(Vec::new()).expect("memory has room");
    for (number, section) in sections.iter().enumerate() {
        // A file that is still written has no length to be held against.
        let content = if number == 0 && kind > 2 { &[0; 8][..] } else { &section.content };
        if writer.section(&section.name, section.version, content).is_err() {
            return;
        }
    }
    let mut file = writer.finish().expect("memory has room");
    if kind == 1 {
        let (at, bit) = (input.number(3) as usize % file.len(), input.below(8));
        file[at] ^= 1 << bit;
        assert!(replay(&file).is_err(), "bit {bit} of byte {at}");
        return;
    }
    if let Err(error) = replay(&file) {
        assert!(!error.to_string().is_empty());
    }
});
