//! The BIOS runs the expansion ROM of a card: its image for PCs, with the number of the PCI function.

use super::chips::{assemble, engines};
use super::pointers::FromRom;
use super::*;
use iced_x86::code_asm::*;
use trimotor_devices::demo_card::rom::NOTED;
use trimotor_devices::drive::{DriveConfig, DrivePlace, Media, Medium};
use trimotor_firmware::bios;
use trimotor_storage::MemoryDisk;

/// Vendor and device of the demonstration card.
const CARD: u32 = 0x7D01_1B36;

fn leave(a: &mut CodeAssembler, code: u32) {
    a.mov(al, code).unwrap();
    a.mov(dx, 0xF4u32).unwrap();
    a.out(dx, al).unwrap();
    a.hlt().unwrap();
}

/// A boot sector that looks for ROMs of the card where option ROMs are, says what each noted, and how many there were.
fn looks_for_roms(a: &mut CodeAssembler) {
    let (mut next, mut other, mut sum) = (a.create_label(), a.create_label(), a.create_label());
    a.mov(dx, 0x3FBu32).unwrap();
    a.mov(al, 3u32).unwrap();
    a.out(dx, al).unwrap();
    a.mov(bx, 0xC000u32).unwrap();
    a.set_label(&mut next).unwrap();
    a.mov(es, bx).unwrap();
    a.cmp(word_ptr(0).es(), 0xAA55u32 as i32).unwrap();
    a.jne(other).unwrap();
    a.mov(di, word_ptr(0x18).es()).unwrap();
    a.cmp(dword_ptr(di + 4).es(), CARD as i32).unwrap();
    a.jne(other).unwrap();
    a.mov(dx, 0x3F8u32).unwrap();
    a.mov(ax, word_ptr(u32::from(NOTED)).es()).unwrap();
    a.out(dx, al).unwrap();
    a.mov(al, ah).unwrap();
    a.out(dx, al).unwrap();
    // Its bytes still add up to zero.
    a.xor(si, si).unwrap();
    a.xor(al, al).unwrap();
    a.mov(cx, 512u32).unwrap();
    a.set_label(&mut sum).unwrap();
    a.add(al, byte_ptr(si).es()).unwrap();
    a.inc(si).unwrap();
    a.loop_(sum).unwrap();
    a.out(dx, al).unwrap();
    a.set_label(&mut other).unwrap();
    a.add(bx, 0x80).unwrap();
    a.cmp(bx, 0xE000u32 as i32).unwrap();
    a.jb(next).unwrap();
    leave(a, 1);
}

#[test]
fn the_bios_runs_the_roms_of_cards() {
    let mut sector = assemble(looks_for_roms);
    assert!(sector.len() <= 510);
    sector.resize(510, 0);
    sector.extend([0x55, 0xAA]);
    sector.resize(1440 << 10, 0);
    for engine in engines() {
        let place = DrivePlace::Floppy { unit: 0 };
        let mut config = MachineConfig { engine: Some(engine), ..config() };
        config.drives = vec![DriveConfig::new("floppy", place, Media::Floppy)];
        config.devices.extend([DeviceConfig::new("demo-card"), DeviceConfig::new("demo-card")]);
        let medium: Medium = Arc::new(MemoryDisk::new(sector.clone()));
        let log = Log::default();
        let services = HostServices {
            serial: vec![Box::new(log.clone())],
            drives: [("floppy".to_owned(), medium)].into(),
            ..HostServices::new(Arc::new(NoClock))
        };
        let rom = bios::build(&config.platform()).unwrap().image;
        let model = Arc::new(CpuModel::parse("x86-64-v3", 1_000_000_000).unwrap());
        let mut machine = Machine::new(config, model, services, Box::new(FromRom(rom))).unwrap();
        assert_eq!(machine.run(), ExitReason::DebugExit(1), "{engine}");
        // Bus 0, devices 3 and 4.
        assert_eq!(log.0.lock().unwrap().as_slice(), [0x18, 0, 0, 0x20, 0, 0], "{engine}");
    }
}
