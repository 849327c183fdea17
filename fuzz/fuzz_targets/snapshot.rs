//! Files of saved machines: sections that were changed, whose checksums are right, and files that were.
//!
//! A file is refused with a message, or gives a machine.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::io::Cursor;
use std::sync::{Arc, LazyLock};
use trimotor_cpu::model::CpuModel;
use trimotor_firmware::boot::{self, BootFile, BootPlan, BootRequest, KernelKind};
use trimotor_fuzz::Input;
use trimotor_machine::save::file::SavedMachine;
use trimotor_machine::{
    ClockSource, DeviceConfig, Engine, HostClock, HostServices, Machine, MachineConfig, MachineError,
};
use trimotor_snapshot::{Reader, Section, Writer};

/// Changes of one file at most.
const CHANGES: usize = 6;

/// Guest time counts instructions.
struct NoClock;
impl HostClock for NoClock {
    fn now_ns(&self) -> u64 {
        0
    }
}

fn config() -> MachineConfig {
    let kinds = ["isa-serial", "pvpanic", "vmgenid", "isa-debug-exit", "demo-card", "virtio-rng-pci"];
    MachineConfig {
        memory_bytes: 1 << 20,
        engine: Some(Engine::Interp),
        clock: ClockSource::Instructions,
        devices: kinds.map(DeviceConfig::new).to_vec(),
        ..MachineConfig::default()
    }
}
fn plan() -> BootPlan {
    const HLT: u8 = 0xF4;
    let mut request = BootRequest::new(BootFile { name: "halts".into(), bytes: vec![HLT] });
    request.kind = Some(KernelKind::Flat);
    boot::load(request, &config().platform()).expect("a plan for a byte of code")
}
fn model() -> Arc<CpuModel> {
    Arc::new(CpuModel::parse("max", 1_000_000_000).expect("a model"))
}
fn services() -> HostServices {
    HostServices::new(Arc::new(NoClock))
}

/// A machine's sections.
static SECTIONS: LazyLock<Vec<Section>> = LazyLock::new(|| {
    let mut machine = Machine::new(config(), model(), services(), Box::new(plan())).expect("a machine");
    let bytes = machine.save().expect("it can be saved").write_to(Vec::new()).expect("memory has room");
    let (mut reader, mut sections) = (Reader::new(&bytes[..]).expect("a file"), Vec::new());
    while let Some(section) = reader.next().expect("it is whole") {
        sections.push(section);
    }
    sections
});

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

fn restored(bytes: &[u8]) -> Result<Machine, MachineError> {
    SavedMachine::read(Cursor::new(bytes))?.restore(Some(Engine::Interp), model(), services(), Box::new(plan()))
}

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input(bytes);
    let kind = input.below(8);
    if kind == 0 {
        // Whatever a file may have.
        assert!(restored(input.0).is_err());
        return;
    }
    let mut sections = SECTIONS.clone();
    for _ in 0..1 + input.below(CHANGES) {
        change(&mut sections, &mut input);
    }
    let mut writer = Writer::new(Vec::new()).expect("memory has room");
    for section in &sections {
        if writer.section(&section.name, section.version, &section.content).is_err() {
            return;
        }
    }
    let mut file = writer.finish().expect("memory has room");
    if kind == 1 {
        let (at, bit) = (input.number(3) as usize % file.len(), input.below(8));
        file[at] ^= 1 << bit;
        assert!(restored(&file).is_err(), "bit {bit} of byte {at}");
        return;
    }
    match restored(&file) {
        Ok(mut machine) => _ = machine.save().expect("what was restored can be saved"),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
