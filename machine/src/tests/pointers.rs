//! Keys and a pointer from outside, as guests get them: by the mouse's interrupt, through the backdoor port, by the BIOS.

use super::chips::{assemble, engines};
use super::*;
use crate::events::MemoryLog;
use iced_x86::code_asm::*;
use trimotor_bus::GuestTime;
use trimotor_devices::drive::{DriveConfig, DrivePlace, Media, Medium};
use trimotor_devices::i8042::{KeyCode, TimedKey};
use trimotor_devices::pointer::{PointerButton, PointerEvent};
use trimotor_firmware::bios;
use trimotor_storage::MemoryDisk;

const MAGIC: u32 = 0x564D_5868;

fn out(a: &mut CodeAssembler, port: u32, value: u32) {
    a.mov(dx, port).unwrap();
    a.mov(al, value).unwrap();
    a.out(dx, al).unwrap();
}
fn leave(a: &mut CodeAssembler, code: u32) {
    out(a, 0xF4, code);
    a.hlt().unwrap();
}
fn backdoor(a: &mut CodeAssembler, command: u32, argument: u32) {
    a.mov(eax, MAGIC).unwrap();
    a.mov(ebx, argument).unwrap();
    a.mov(ecx, command).unwrap();
    a.mov(edx, 0x5658u32).unwrap();
    a.in_(eax, dx).unwrap();
}
/// Says a dword, the lowest byte first. EAX and EDX are lost.
fn say(a: &mut CodeAssembler, register: AsmRegister32) {
    a.mov(eax, register).unwrap();
    a.mov(dx, 0x3F8u32).unwrap();
    for _ in 0..4 {
        a.out(dx, al).unwrap();
        a.shr(eax, 8u32).unwrap();
    }
}

/// Finds the VMware mouse, switches it and the PS/2 mouse on, says the first packet, and leaves; with code 2 where there is
/// none.
fn driver(a: &mut CodeAssembler) {
    let (mut none, mut look, mut answer) = (a.create_label(), a.create_label(), a.create_label());
    a.cli().unwrap();
    a.xor(ax, ax).unwrap();
    a.mov(ds, ax).unwrap();
    a.mov(ss, ax).unwrap();
    a.mov(sp, 0x7000u32).unwrap();
    out(a, 0x3FB, 3);
    backdoor(a, 10, 0);
    a.cmp(ebx, MAGIC).unwrap();
    a.jne(none).unwrap();
    say(a, eax);
    backdoor(a, 41, 0x4541_4552);
    backdoor(a, 39, 1);
    say(a, eax);
    backdoor(a, 41, 0x5342_4152);
    for (port, value) in [(0x64, 0xA8), (0x64, 0xD4), (0x60, 0xF4)] {
        out(a, port, value);
    }
    a.set_label(&mut answer).unwrap();
    a.in_(al, 0x64u32).unwrap();
    a.test(al, 1).unwrap();
    a.jz(answer).unwrap();
    a.in_(al, 0x60u32).unwrap();
    a.set_label(&mut look).unwrap();
    a.in_(al, 0x64u32).unwrap();
    a.and(al, 0x21u32).unwrap();
    a.cmp(al, 0x21u32).unwrap();
    a.jne(look).unwrap();
    a.in_(al, 0x60u32).unwrap();
    backdoor(a, 40, 0);
    a.test(eax, eax).unwrap();
    a.jz(look).unwrap();
    backdoor(a, 39, 4);
    a.mov(edi, edx).unwrap();
    a.mov(esi, eax).unwrap();
    for register in [esi, ebx, ecx, edi] {
        say(a, register);
    }
    leave(a, 1);
    a.set_label(&mut none).unwrap();
    leave(a, 2);
}

fn dwords(log: &Log) -> Vec<u32> {
    let bytes = log.0.lock().unwrap().clone();
    bytes.chunks_exact(4).map(|four| u32::from_le_bytes(four.try_into().unwrap())).collect()
}

#[test]
fn a_position_comes_through_the_backdoor_on_every_engine_and_again_in_a_replay() {
    let code = assemble(driver);
    let mut ends = Vec::new();
    let at = PointerEvent::Position { x: 0x1234, y: 0xFFFF };
    for engine in engines() {
        let config = MachineConfig { engine: Some(engine), ..config() };
        let (mut first, log) = machine(config.clone(), &code);
        let events = MemoryLog::default();
        first.log_events(Box::new(events.clone()));
        let control = first.control();
        assert_eq!(first.run_until(3_000_000), None);
        assert!(control.pointer(at));
        assert_eq!(first.run(), ExitReason::DebugExit(1), "{engine}");
        assert!(control.pointer_is_absolute());
        assert_eq!(dwords(&log), [6, 0x3442_554A, 0, 0x1234, 0xFFFF, 0], "{engine}");
        let again = Log::default();
        let services =
            HostServices { serial: vec![Box::new(again.clone())], ..HostServices::new(Arc::new(NoClock)) };
        let model = Arc::new(CpuModel::parse("x86-64-v3", 1_000_000_000).unwrap());
        let plan = Box::new(flat_plan(&config, &code));
        let mut second = Machine::replaying(config, model, services, plan, events.events()).unwrap();
        assert_eq!(second.run(), ExitReason::DebugExit(1), "{engine}: {:?}", second.divergence());
        assert_eq!((second.instructions(), dwords(&again)), (first.instructions(), dwords(&log)));
        ends.push(first.instructions());
    }
    assert!(ends.windows(2).all(|pair| pair[0] == pair[1]), "{ends:?}");
}

#[test]
fn a_machine_may_be_without_the_vmware_mouse() {
    let code = assemble(driver);
    for engine in engines() {
        let without = MachineConfig { engine: Some(engine), without: vec!["vmmouse".into()], ..config() };
        assert_eq!(machine(without, &code).0.run(), ExitReason::DebugExit(2), "{engine}");
    }
    let plan = Box::new(flat_plan(&config(), &code));
    let refused = MachineConfig { without: vec!["rtc".into()], ..config() };
    let model = Arc::new(CpuModel::parse("max", 1_000_000_000).unwrap());
    let machine = Machine::new(refused, model, HostServices::new(Arc::new(NoClock)), plan);
    assert!(machine.is_err_and(|error| error.to_string().contains("vmmouse")));
}

/// Says each scan code, and leaves at that of Escape.
fn reader(a: &mut CodeAssembler) {
    let (mut look, mut go_on) = (a.create_label(), a.create_label());
    a.cli().unwrap();
    out(a, 0x3FB, 3);
    a.set_label(&mut look).unwrap();
    a.in_(al, 0x64u32).unwrap();
    a.test(al, 1).unwrap();
    a.jz(look).unwrap();
    a.in_(al, 0x60u32).unwrap();
    a.mov(dx, 0x3F8u32).unwrap();
    a.out(dx, al).unwrap();
    a.cmp(al, 1).unwrap();
    a.jne(go_on).unwrap();
    leave(a, 1);
    a.set_label(&mut go_on).unwrap();
    a.jmp(look).unwrap();
}

#[test]
fn a_script_presses_keys_at_the_same_instructions_each_time() {
    let code = assemble(reader);
    let key = |ms: u64, key, down| TimedKey { at: GuestTime(ms * 1_000_000), key, down };
    let typing = vec![key(20, KeyCode::Escape, true), key(10, KeyCode::A, true), key(11, KeyCode::A, false)];
    let mut ends = Vec::new();
    for engine in engines() {
        for _ in 0..2 {
            let config = MachineConfig { engine: Some(engine), typing: typing.clone(), ..config() };
            let (mut machine, log) = machine(config, &code);
            assert_eq!(machine.run(), ExitReason::DebugExit(1), "{engine}");
            assert_eq!(*log.0.lock().unwrap(), [0x1E, 0x9E, 0x01], "{engine}");
            assert!((20_000_000..20_100_000).contains(&machine.instructions()), "{}", machine.instructions());
            ends.push(machine.instructions());
        }
    }
    assert!(ends.windows(2).all(|pair| pair[0] == pair[1]), "{ends:?}");
}

/// Where the BIOS's handler counts packets and puts them.
const COUNT: u32 = 0x600;
const PACKETS: u32 = 0x608;

/// Has the BIOS call a routine for each packet of the mouse; says three of them and leaves. Code 2: the BIOS refuses.
fn bios_driver(a: &mut CodeAssembler) {
    let (mut refused, mut wait, mut handler) = (a.create_label(), a.create_label(), a.create_label());
    let mut start = a.create_label();
    a.jmp(start).unwrap();
    // Words on the stack: the routine's BP and return address, then the fourth byte, Y, X, and the status.
    a.set_label(&mut handler).unwrap();
    a.push(bp).unwrap();
    a.mov(bp, sp).unwrap();
    a.pusha().unwrap();
    a.push(ds).unwrap();
    a.xor(ax, ax).unwrap();
    a.mov(ds, ax).unwrap();
    a.movzx(bx, byte_ptr(COUNT)).unwrap();
    a.shl(bx, 2u32).unwrap();
    for (n, place) in [12, 10, 8, 6].into_iter().enumerate() {
        a.mov(ax, word_ptr(bp + place)).unwrap();
        a.mov(byte_ptr(bx + (PACKETS + n as u32)), al).unwrap();
    }
    a.inc(byte_ptr(COUNT)).unwrap();
    a.pop(ds).unwrap();
    a.popa().unwrap();
    a.pop(bp).unwrap();
    a.retf().unwrap();
    a.set_label(&mut start).unwrap();
    a.xor(ax, ax).unwrap();
    a.mov(ds, ax).unwrap();
    a.mov(es, ax).unwrap();
    a.mov(byte_ptr(COUNT), 0).unwrap();
    for (function, argument) in [(0xC205u32, 0x0300u32), (0xC207, 0), (0xC200, 0x0100)] {
        a.mov(bx, argument).unwrap();
        if function == 0xC207 {
            // The routine is behind the first jump, of two bytes.
            a.mov(bx, 0x7C02u32).unwrap();
        }
        a.mov(ax, function).unwrap();
        a.int(0x15).unwrap();
        a.jc(refused).unwrap();
    }
    out(a, 0x3FB, 3);
    out(a, 0x3F8, u32::from(b'R'));
    a.set_label(&mut wait).unwrap();
    a.sti().unwrap();
    a.hlt().unwrap();
    a.cmp(byte_ptr(COUNT), 3).unwrap();
    a.jb(wait).unwrap();
    for n in 0..12 {
        a.mov(dx, 0x3F8u32).unwrap();
        a.mov(al, byte_ptr(PACKETS + n)).unwrap();
        a.out(dx, al).unwrap();
    }
    leave(a, 1);
    a.set_label(&mut refused).unwrap();
    leave(a, 2);
}

/// What the built-in BIOS boots.
pub(super) struct FromRom(pub(super) Vec<u8>);
impl BootSource for FromRom {
    fn plan(&mut self) -> Result<BootPlan, String> {
        Ok(BootPlan::firmware("the BIOS"))
    }
    fn rom(&mut self) -> Result<Vec<u8>, String> {
        Ok(self.0.clone())
    }
}

#[test]
fn the_bios_calls_a_routine_for_each_packet() {
    let mut sector = assemble(bios_driver);
    assert!(sector.len() <= 510 && sector[..2] == [0xEB, sector[1]], "{} bytes", sector.len());
    sector.resize(510, 0);
    sector.extend([0x55, 0xAA]);
    sector.resize(1440 << 10, 0);
    for engine in engines() {
        let place = DrivePlace::Floppy { unit: 0 };
        let drives = vec![DriveConfig::new("floppy", place, Media::Floppy)];
        let config = MachineConfig { engine: Some(engine), drives, ..config() };
        let medium: Medium = Arc::new(MemoryDisk::new(sector.clone()));
        let log = Log::default();
        let services = HostServices {
            serial: vec![Box::new(log.clone())],
            drives: std::iter::once(("floppy".to_owned(), medium)).collect(),
            ..HostServices::new(Arc::new(NoClock))
        };
        let model = Arc::new(CpuModel::parse("max", 1_000_000_000).unwrap());
        let rom = bios::build(&config.platform()).unwrap().image;
        let mut machine = Machine::new(config, model, services, Box::new(FromRom(rom))).unwrap();
        let control = machine.control();
        let ready = |log: &Log| log.0.lock().unwrap().contains(&b'R');
        let mut instructions = 0;
        while !ready(&log) {
            instructions += 20_000_000;
            assert!(instructions < 20_000_000_000, "{engine}: the BIOS does not boot");
            assert_eq!(machine.run_until(instructions), None, "{engine}");
        }
        for event in [
            PointerEvent::Motion { dx: 5, dy: -3 },
            PointerEvent::Button { button: PointerButton::Right, down: true },
            PointerEvent::Motion { dx: -1, dy: 2 },
            PointerEvent::Button { button: PointerButton::Right, down: false },
        ] {
            assert!(control.pointer(event));
        }
        assert_eq!(machine.run(), ExitReason::DebugExit(1), "{engine}");
        let said = log.0.lock().unwrap().clone();
        let packets = &said[said.iter().position(|byte| *byte == b'R').unwrap() + 1..];
        assert_eq!(packets, [0x08, 5, 3, 0, 0x3A, 0xFF, 0xFE, 0, 0x08, 0, 0, 0], "{engine}");
    }
}
