//! The VM generation ID: where a guest finds it, when it is another one, and guests that mean harm with it.

use super::saved_files::file;
use super::snapshots::{load, new_image, opened, save, with_config};
use super::*;
use crate::save::file::SavedMachine;
use crate::tests::chips::engines;
use crate::vcpu_bus::VcpuBus;
use std::io::Cursor;
use trimotor_bus::{CpuBus, PhysAddr, Port, Width, board};
use trimotor_devices::fw_cfg::{FIRST_FILE, KEY_FILE_DIRECTORY};

const TEXT: &str = "324e6eaf-d1d1-4bf6-bf41-b9bb6c91fb87";
/// Where the tables of a direct boot say that it is.
const PLACE: u64 = board::GENERATION_PAGE.0 + board::GENERATION_ID_AT as u64;
/// jmp $
const STAYS: [u8; 2] = [0xEB, 0xFE];

fn config_with(engine: Engine, guid: &str) -> MachineConfig {
    let mut config = MachineConfig { engine: Some(engine), random_seed: 7, ..config() };
    config.devices.push(DeviceConfig::new("vmgenid").with("guid", guid));
    config
}
/// What the guest reads as its ID.
fn in_memory(machine: &Machine) -> [u8; 16] {
    let mut bytes = [0; 16];
    machine.memory().read(PhysAddr(PLACE), &mut bytes);
    bytes
}
/// The general-purpose events that have happened.
fn events(machine: &mut Machine) -> u32 {
    VcpuBus::in_turn(machine.board(), 0).port_read(board::GPE0, Width::Word)
}
fn is_told(machine: &mut Machine) -> bool {
    events(machine) == 1 << board::GENERATION_GPE
}
/// As firmware does: writes an address to the device's file.
fn tell_page(machine: &mut Machine, page: u64) {
    const BLOCK: u64 = 0x5000;
    let (memory, name) = (machine.memory().clone(), board::GENERATION_ADDRESS_FILE.as_bytes());
    let mut bus = VcpuBus::in_turn(machine.board(), 0);
    bus.port_write(board::FW_CFG, Width::Word, KEY_FILE_DIRECTORY.into());
    let mut next = || bus.port_read(Port(board::FW_CFG.0 + 1), Width::Byte) as u8;
    let directory: Vec<u8> = (0..4 + 64 * 64).map(|_| next()).collect();
    let entry = directory[4..].chunks(64).position(|entry| entry[8..].starts_with(name)).unwrap();
    let control = (u32::from(FIRST_FILE) + entry as u32) << 16 | 0x18;
    memory.write(PhysAddr(BLOCK), &[control.to_be_bytes(), 8u32.to_be_bytes()].concat());
    memory.write(PhysAddr(BLOCK + 8), &(BLOCK + 16).to_be_bytes());
    memory.write(PhysAddr(BLOCK + 16), &page.to_le_bytes());
    for (port, value) in [(4, 0), (8, (BLOCK as u32).swap_bytes())] {
        bus.port_write(Port(board::FW_CFG.0 + port), Width::Dword, value);
    }
    assert_eq!(memory.read_u32(PhysAddr(BLOCK)), 0, "the request was refused");
}

#[test]
fn the_guest_finds_its_id_and_is_told_of_another_one() {
    for engine in engines() {
        let (mut machine, _) = machine(config_with(engine, TEXT), &STAYS);
        let id: Guid = TEXT.parse().unwrap();
        assert_eq!((machine.generation_id(), in_memory(&machine)), (Some(id), id.in_memory()));
        assert_eq!(events(&mut machine), 0);
        // A reset is no other machine, and its firmware tells of the page again.
        machine.reset().unwrap();
        assert_eq!(in_memory(&machine), id.in_memory());
        let other = Guid([0xA5; 16]);
        assert!(machine.begin_generation(Some(other)));
        assert_eq!((machine.generation_id(), in_memory(&machine)), (Some(other), other.in_memory()));
        assert!(is_told(&mut machine));
        assert!(machine.begin_generation(None));
        assert!(![id, other].contains(&machine.generation_id().unwrap()));
    }
    let (mut without, _) = machine(config(), &STAYS);
    assert!(!without.begin_generation(None) && without.generation_id().is_none());
    assert_eq!((events(&mut without), in_memory(&without)), (0, [0; 16]));
}

#[test]
fn what_is_no_id_is_refused() {
    for (guid, says) in [("324e6eaf", "write a GUID"), ("", "write a GUID")] {
        let config = config_with(Engine::Interp, guid);
        let plan = Box::new(flat_plan(&config, &STAYS));
        let model = Arc::new(CpuModel::parse("x86-64-v3", 1_000_000_000).unwrap());
        let made = Machine::new(config, model, HostServices::new(Arc::new(NoClock)), plan);
        let error = made.err().expect("no such device").to_string();
        assert!(error.contains("--device vmgenid,guid=") && error.contains(says), "{error}");
    }
}

#[test]
fn a_machine_that_goes_on_alone_keeps_its_id_and_a_clone_does_not() {
    for engine in engines() {
        let (mut first, _) = machine(config_with(engine, "auto"), &STAYS);
        assert_eq!(first.run_until(1000), None);
        let bytes = file(&mut first);
        let go_on = |clone: bool| {
            let services = HostServices::new(Arc::new(NoClock));
            let boot = Box::new(flat_plan(&config(), &STAYS));
            let model = Arc::new(CpuModel::parse("x86-64-v3", 1_000_000_000).unwrap());
            let saved = SavedMachine::read(Cursor::new(&bytes)).unwrap();
            let mut machine = saved.restore(Some(engine), model, services, boot).unwrap();
            assert!(!clone || machine.begin_generation(None));
            machine
        };
        let mut alone = go_on(false);
        assert!(file(&mut alone) == bytes, "{engine}: it goes on exactly");
        assert!(!is_told(&mut alone) && in_memory(&alone) == in_memory(&first));
        let mut clones = [go_on(true), go_on(true)];
        for clone in &mut clones {
            assert!(is_told(clone), "{engine}");
            assert_ne!(in_memory(clone), in_memory(&first));
            assert_eq!(in_memory(clone), clone.generation_id().unwrap().in_memory());
        }
        // Time is counted: the same each time.
        let [one, other] = clones.each_mut().map(file);
        assert!(one == other, "{engine}");
    }
}

#[test]
fn a_machine_that_goes_back_is_another_one_each_time() {
    for engine in engines() {
        // The ID that a machine begins with may be another one than when the snapshot was made.
        let image = new_image();
        let run = |guid: &str, saves: bool| {
            let (mut machine, _) = with_config(config_with(engine, guid), &[opened(&image)]);
            let mut ids = vec![machine.generation_id().unwrap()];
            assert_eq!(machine.run_until(500), None);
            if saves {
                save(&mut machine, "then");
                assert_eq!(events(&mut machine), 0);
            }
            for _ in 0..3 {
                load(&mut machine, "then").unwrap();
                assert!(is_told(&mut machine), "{engine}");
                assert_eq!(in_memory(&machine), machine.generation_id().unwrap().in_memory());
                ids.push(machine.generation_id().unwrap());
            }
            ids
        };
        let first = run("auto", true);
        let second = run(TEXT, false);
        let all: Vec<String> = first.iter().chain(&second).map(ToString::to_string).collect();
        let mut unique = all.clone();
        unique.sort();
        unique.dedup();
        assert_eq!(unique.len(), all.len(), "{engine}: {all:?}");
        // Time is counted: the same each time.
        assert_eq!(run("auto", false), first, "{engine}");
    }
}

/// A guest puts the page where its code is: the ID that comes next is code, and runs.
#[test]
fn a_hostile_guest_has_the_id_written_over_its_code() {
    const LOOP: u64 = 0x7C00;
    // mov al, 5Ah; out 0F4h, al; hlt, behind a jump that is not taken any more; in the order of a GUID's text.
    const CODE: [u8; 16] =
        [0xB0, 0x5A, 0xE6, 0xF4, 0xF4, 0xF4, 0xF4, 0xF4, 0xF4, 0xF4, 0xF4, 0xF4, 0xF4, 0xF4, 0xF4, 0xF4];
    for engine in engines() {
        let (mut machine, _) = machine(config_with(engine, "auto"), &STAYS);
        assert_eq!(machine.run_until(5000), None);
        let mut text = CODE;
        text[..4].reverse();
        text[4..6].reverse();
        text[6..8].reverse();
        for page in [u64::MAX, u64::MAX - 40, (4 << 20) - 48, 0xFEE0_0000, 0xFFFF_FF00, 0xA_0000] {
            tell_page(&mut machine, page);
            assert!(machine.begin_generation(None));
        }
        tell_page(&mut machine, 0);
        assert!(machine.begin_generation(Some(Guid(text))));
        assert_eq!(machine.run_until(6000), None, "{engine}: no page, nothing written");
        tell_page(&mut machine, LOOP - u64::from(board::GENERATION_ID_AT));
        assert_eq!(machine.run(), ExitReason::DebugExit(0x5A), "{engine}");
    }
}
