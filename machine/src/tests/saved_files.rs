//! Saved machines as files: what goes on from one is what was saved, and files that are damaged, or were made to harm, are
//! refused with a message.

use super::*;
use crate::save::file::SavedMachine;
use crate::tests::chips::engines;
use crate::tests::hostile_vcpus::run_a_little;
use iced_x86::code_asm::*;
use std::io::Cursor;
use trimotor_cpu::ArchState;
use trimotor_snapshot::{Reader, Section, Writer};

/// Instructions up to the save, and as many behind it.
pub(super) const HALF: u64 = 100_003;

/// Fills 64 KiB with numbers that follow from each other, again and again, and tells the time by each port that has one.
pub(super) fn numbers() -> Vec<u8> {
    let mut a = CodeAssembler::new(16).unwrap();
    let mut top = a.create_label();
    a.mov(ax, 0x2000).unwrap();
    a.mov(es, ax).unwrap();
    a.xor(di, di).unwrap();
    a.mov(eax, 1).unwrap();
    a.set_label(&mut top).unwrap();
    a.imul_3(eax, eax, 0x0019_660D).unwrap();
    a.add(eax, 0x3C6E_F35F).unwrap();
    a.stosd().unwrap();
    a.mov(ebx, eax).unwrap();
    a.in_(al, 0x40).unwrap();
    a.xor(ebx, eax).unwrap();
    a.rdtsc().unwrap();
    a.xor(eax, ebx).unwrap();
    a.jmp(top).unwrap();
    a.assemble(0x7C00).unwrap()
}
fn of_engine(engine: Engine) -> MachineConfig {
    MachineConfig { engine: Some(engine), ..config() }
}
/// The machine after so many instructions.
fn after(engine: Engine, instructions: u64) -> Machine {
    let (mut machine, _) = machine(of_engine(engine), &numbers());
    assert_eq!(machine.run_until(instructions), None);
    machine
}
pub(super) fn file(machine: &mut Machine) -> Vec<u8> {
    machine.save().unwrap().write_to(Vec::new()).unwrap()
}
fn restored_as(model: &str, bytes: &[u8], engine: Engine) -> Result<Machine, MachineError> {
    let model = Arc::new(CpuModel::parse(model, 1_000_000_000).unwrap());
    let services =
        HostServices { serial: vec![Box::new(Log::default())], ..HostServices::new(Arc::new(NoClock)) };
    let boot = Box::new(flat_plan(&config(), &[0xF4]));
    SavedMachine::read(Cursor::new(bytes))?.restore(Some(engine), model, services, boot)
}
fn restored(bytes: &[u8], engine: Engine) -> Result<Machine, MachineError> {
    restored_as("x86-64-v3", bytes, engine)
}
/// Where the machine is.
pub(super) fn state(machine: &Machine) -> (u64, ArchState) {
    (machine.instructions(), machine.vcpu_state(0).unwrap())
}

#[test]
fn two_halves_are_the_whole_on_each_engine_and_across_them() {
    let whole = after(Engine::Interp, 2 * HALF);
    for first in engines() {
        let bytes = file(&mut after(first, HALF));
        for second in engines() {
            let mut machine = restored(&bytes, second).unwrap();
            assert_eq!(machine.instructions(), HALF);
            assert_eq!(machine.run_until(2 * HALF), None);
            assert!(state(&machine) == state(&whole), "{first}, {second}");
            let other: Vec<u64> = machine.memory().differing_pages(whole.memory());
            assert!(other.is_empty(), "{first}, {second}: {other:?}");
            // Saved once more, the two cannot be told apart either.
            assert!(file(&mut machine) == file(&mut after(second, 2 * HALF)), "{first}, {second}");
        }
    }
}

#[test]
fn a_damaged_file_is_refused_wherever_it_is_damaged() {
    let bytes = file(&mut after(Engine::Interp, HALF));
    let mut random = crate::tests::random::Random(3);
    let mut places: Vec<usize> = (0..200).chain(bytes.len() - 20..bytes.len()).collect();
    places.extend((0..300).map(|_| random.below(bytes.len())));
    for at in places {
        let refused = |bytes: &[u8], what: &str| {
            let message = restored(bytes, Engine::Interp).err().map(|error| error.to_string());
            let message = message.unwrap_or_else(|| panic!("{what} at {at} is taken"));
            assert!(
                ["section ", "header", "truncated", "no saved machine", "version"]
                    .iter()
                    .any(|word| message.contains(word)),
                "{what} at {at}: {message}"
            );
        };
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << random.below(8);
        refused(&flipped, "a flipped bit");
        refused(&bytes[..at], "the end");
    }
}

/// The file with other sections, whose checksums are right.
fn changed(bytes: &[u8], mut change: impl FnMut(&mut Vec<Section>)) -> Vec<u8> {
    let (mut reader, mut sections) = (Reader::new(bytes).unwrap(), Vec::new());
    while let Some(section) = reader.next().unwrap() {
        sections.push(section);
    }
    change(&mut sections);
    let mut writer = Writer::new(Vec::new()).unwrap();
    for section in sections {
        writer.section(&section.name, section.version, &section.content).unwrap();
    }
    writer.finish().unwrap()
}
fn named<'a>(sections: &'a mut [Section], name: &str) -> &'a mut Section {
    sections.iter_mut().find(|section| section.name == name).unwrap()
}

#[test]
fn sections_that_do_not_belong_there_are_named() {
    let bytes = file(&mut after(Engine::Interp, HALF));
    let section = |name: &str| Section { name: name.to_owned(), version: 1, content: vec![1] };
    let check = |change: &dyn Fn(&mut Vec<Section>), says: &str| {
        let message = restored(&changed(&bytes, change), Engine::Interp).err().unwrap().to_string();
        assert!(message.contains(says), "{says}: {message}");
    };
    assert!(restored(&changed(&bytes, |_| ()), Engine::Interp).is_ok());
    check(
        &|all| all.insert(1, section("device flux capacitor")),
        "\"device flux capacitor\": this build does not know",
    );
    check(
        &|all| all.push(section("memory of elephants")),
        "\"memory of elephants\": this build does not know",
    );
    check(&|all| all.insert(1, all[0].clone()), "\"machine\": it is there twice");
    check(&|all| all.retain(|section| section.name != "vcpu 0"), "\"vcpu 0\": it is missing");
    check(&|all| all.retain(|section| section.name != "host"), "\"host\": it is missing");
    check(&|all| all.retain(|section| section.name != "ram"), "\"ram\": ");
    check(&|all| named(all, "cpu model").version = 2, "\"cpu model\": it has version 2");
    check(&|all| named(all, "ram").version = 9, "\"ram\": it has version 9");
    check(&|all| named(all, "machine").content.truncate(30), "\"machine\": ");
    check(&|all| named(all, "vcpu 0").content.push(0), "\"vcpu 0\": 1 bytes are too many");
    check(&|all| named(all, "ram").content.truncate(20), "\"ram\": ");
    let twice = |all: &mut Vec<Section>| {
        let ram = named(all, "ram").clone();
        all.push(ram);
    };
    check(&twice, "more pages than were saved");
    check(&|all| named(all, "firmware ROM").content = vec![0; 5000], "whole pages");
}

#[test]
fn a_machine_goes_on_with_no_other_cpu_model() {
    let bytes = file(&mut after(Engine::Interp, HALF));
    let message = restored_as("x86-64-v2", &bytes, Engine::Interp).err().unwrap().to_string();
    assert!(
        message.contains("\"cpu model\"") && message.contains(" without ") && message.contains(" avx,"),
        "{message}"
    );
}

/// Random bytes in sections, with checksums that are right: refused, or a machine that can run.
#[test]
fn hostile_sections_harm_nobody() {
    let bytes = file(&mut after(Engine::Interp, HALF));
    let mut taken = 0;
    for seed in 0..400 {
        let mut random = crate::tests::random::Random(seed);
        let hostile = changed(&bytes, |all| {
            let count = all.len();
            let section = &mut all[random.below(count)];
            for _ in 0..=random.below(3) {
                let length = section.content.len().max(1);
                section.content.resize(length, 0);
                section.content[random.below(length)] = random.next() as u8;
            }
        });
        if let Ok(mut machine) = restored(&hostile, Engine::Interp) {
            taken += 1;
            run_a_little(&mut machine);
        }
    }
    assert!(taken > 20, "{taken}");
}
