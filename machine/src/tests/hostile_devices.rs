//! Hostile twins of drivers for the display adapter, the flash chip and the VMware mouse: guests that no system would be.
//!
//! Code, stacks and page tables lie in device memory, and move or vanish while they are used. Registers get values at random. What
//! such a guest sees is its own matter, but it is the same on every engine and in every run that counts instructions, the picture
//! stays one that can be drawn, and the program goes on.

use super::card_memory::expect;
use super::cards::{Ticking, card_machine, configure_slot, leave, multiboot, restored};
use super::chips::engines;
use super::random::Random;
use super::*;
use iced_x86::code_asm::*;
use trimotor_bus::board::{VGA_FRAME_BUFFER, VGA_WINDOW};
use trimotor_devices::display::Surface;
use trimotor_devices::drive::{DriveConfig, DrivePlace, Media};
use trimotor_devices::pointer::PointerEvent;
use trimotor_storage::{BlockBackend, MemoryDisk};

const WINDOW: u32 = VGA_WINDOW.0 as u32;
const LINEAR: u32 = VGA_FRAME_BUFFER.0 as u32;
/// The adapter's PCI function.
const ADAPTER: u32 = 2;
const STACK: u32 = 0x20_F000;
/// Ports of the adapter, and those of DISPI, which are words.
const VGA_PORTS: std::ops::Range<u32> = 0x3B0..0x3E0;
const DISPI: u32 = 0x1CE;
/// Random operations of a guest, and guests.
const OPERATIONS: u32 = 1500;
const GUESTS: u64 = 6;
/// Instructions between two looks at the picture.
const STEP: u64 = 2000;
/// Larger than any mode of the adapter.
const MOST_PIXELS: usize = 4096 * 4096;

fn config(engine: Engine, cpus: u8, clock: ClockSource) -> MachineConfig {
    MachineConfig { engine: Some(engine), cpus, clock, memory_bytes: 8 << 20, ..super::config() }
}
fn dispi(a: &mut CodeAssembler, index: u32, value: u32) {
    for (port, word) in [(DISPI, index), (DISPI + 1, value)] {
        a.mov(dx, port).unwrap();
        a.mov(ax, word).unwrap();
        a.out(dx, ax).unwrap();
    }
}
/// 640x480x32 with a linear frame buffer, whose first bank is the window.
fn banked_mode(a: &mut CodeAssembler) {
    for (index, value) in [(4, 0), (1, 640), (2, 480), (3, 32), (4, 0x41), (5, 0)] {
        dispi(a, index, value);
    }
}
/// MOV EAX, n; RET.
fn put_function(a: &mut CodeAssembler, at: u32, n: u32) {
    a.mov(byte_ptr(at), 0xB8).unwrap();
    a.mov(dword_ptr(at + 1), n as i32).unwrap();
    a.mov(byte_ptr(at + 5), 0xC3).unwrap();
}
fn call(a: &mut CodeAssembler, at: u32, answer: u32, wrong: CodeLabel) {
    a.mov(ecx, at).unwrap();
    a.call(ecx).unwrap();
    a.cmp(eax, answer as i32).unwrap();
    a.jne(wrong).unwrap();
}

/// Code runs in the window and in the frame buffer, is written by the other address, and its bank is switched by itself.
fn code_in_the_frame_buffer(a: &mut CodeAssembler) {
    let (mut wrong, mut again) = (a.create_label(), a.create_label());
    a.mov(esp, STACK).unwrap();
    banked_mode(a);
    for bank in [0, 1] {
        put_function(a, LINEAR + (bank << 16) + 0x100, 0x11 + bank);
    }
    a.mov(ebx, 50).unwrap();
    a.set_label(&mut again).unwrap();
    for bank in [0, 1] {
        dispi(a, 5, bank);
        call(a, WINDOW + 0x100, 0x11 + bank, wrong);
        call(a, LINEAR + 0x100, 0x11, wrong);
    }
    a.dec(ebx).unwrap();
    a.jne(again).unwrap();
    // Written by one address, run by the other.
    dispi(a, 5, 0);
    for n in 0..20 {
        put_function(a, LINEAR + 0x100, 0x100 + n);
        call(a, WINDOW + 0x100, 0x100 + n, wrong);
        put_function(a, WINDOW + 0x100, 0x200 + n);
        call(a, LINEAR + 0x100, 0x200 + n, wrong);
    }
    // OUT DX, AX; RET in both banks: the code's own bank goes.
    for bank in [0, 1] {
        a.mov(dword_ptr(LINEAR + (bank << 16) + 0x200), 0x00C3_EF66).unwrap();
    }
    for bank in [1, 0, 1, 0] {
        a.mov(dx, DISPI).unwrap();
        a.mov(ax, 5).unwrap();
        a.out(dx, ax).unwrap();
        a.mov(dx, DISPI + 1).unwrap();
        a.mov(ax, bank).unwrap();
        a.mov(ecx, WINDOW + 0x200).unwrap();
        a.call(ecx).unwrap();
    }
    // The stack in the window, and in the frame buffer, while the bank goes back and forth.
    for top in [WINDOW + 0x8000, LINEAR + 0x8000] {
        a.mov(esp, top).unwrap();
        call(a, LINEAR + 0x100, 0x213, wrong);
    }
    a.mov(esp, STACK).unwrap();
    // Memory decoding off and on: the code is gone, and comes back as it was.
    configure_slot(a, ADAPTER, 0x04, 0);
    expect(a, LINEAR + 0x100, u32::MAX, wrong);
    configure_slot(a, ADAPTER, 0x04, 7);
    call(a, LINEAR + 0x100, 0x213, wrong);
    leave(a, 1);
    a.set_label(&mut wrong).unwrap();
    leave(a, 2);
}

/// Page tables lie in the frame buffer. They are changed through the window, and at the end they vanish.
fn tables_in_the_frame_buffer(a: &mut CodeAssembler) {
    const DIRECTORY: u32 = LINEAR + 0x4000;
    const TABLE: u32 = LINEAR + 0x5000;
    let (mut wrong, mut entry) = (a.create_label(), a.create_label());
    a.mov(esp, STACK).unwrap();
    banked_mode(a);
    // 4 MiB pages for all, but for the first 4 MiB, which have a table.
    a.mov(eax, cr4).unwrap();
    a.or(eax, 0x10).unwrap();
    a.mov(cr4, eax).unwrap();
    for (base, size, flags) in [(DIRECTORY, 1u32 << 22, 0x83u32), (TABLE, 1 << 12, 3)] {
        a.mov(edi, base).unwrap();
        a.mov(eax, flags).unwrap();
        a.mov(ecx, 1024).unwrap();
        let mut next = a.create_label();
        a.set_label(&mut next).unwrap();
        a.mov(dword_ptr(edi), eax).unwrap();
        a.add(eax, size as i32).unwrap();
        a.add(edi, 4).unwrap();
        a.dec(ecx).unwrap();
        a.jne(next).unwrap();
    }
    a.mov(dword_ptr(DIRECTORY), (TABLE | 3) as i32).unwrap();
    a.mov(eax, DIRECTORY).unwrap();
    a.mov(cr3, eax).unwrap();
    a.mov(eax, cr0).unwrap();
    a.or(eax, 0x8000_0000u32 as i32).unwrap();
    a.mov(cr0, eax).unwrap();
    a.jmp(entry).unwrap();
    a.set_label(&mut entry).unwrap();
    // The entry of 30_0000h points elsewhere, by the window and by the frame buffer in turn.
    a.mov(dword_ptr(0x30_1000), 0x31).unwrap();
    a.mov(dword_ptr(0x30_2000), 0x32).unwrap();
    for n in 0..20u32 {
        let base = if n % 2 == 0 { WINDOW + 0x5000 } else { TABLE };
        let page = 0x30_1000 + ((n & 1) << 12);
        a.mov(dword_ptr(base + 0x300 * 4), (page | 3) as i32).unwrap();
        a.mov(eax, cr3).unwrap();
        a.mov(cr3, eax).unwrap();
        expect(a, 0x30_0000, 0x31 + (n & 1), wrong);
    }
    // Accessed and dirty bits go there too.
    a.mov(eax, dword_ptr(TABLE + 0x300 * 4)).unwrap();
    a.and(eax, 0x20).unwrap();
    a.jz(wrong).unwrap();
    for (port, value) in [(0x3FBu32, 3u32), (0x3F8, u32::from(b'.'))] {
        a.mov(dx, port).unwrap();
        a.mov(al, value).unwrap();
        a.out(dx, al).unwrap();
    }
    // All ones are what is read where nothing answers: every page is there, and none of them is memory.
    configure_slot(a, ADAPTER, 0x04, 0);
    a.mov(eax, cr3).unwrap();
    a.mov(cr3, eax).unwrap();
    a.nop().unwrap();
    leave(a, 3);
    a.set_label(&mut wrong).unwrap();
    leave(a, 2);
}

/// Writes registers and memory of the adapter at random.
fn at_random(a: &mut CodeAssembler, random: &mut Random) {
    a.mov(esp, STACK).unwrap();
    for _ in 0..OPERATIONS {
        let value = random.next() as u32;
        match random.below(12) {
            // Values that are near what modes have make more of a picture than any would.
            0..=1 => {
                let index = random.below(12) as u32;
                let likely = [0u32, 1, 4, 8, 16, 24, 32, 0x41, 0xC1, 640, 800, 4096][random.below(12)];
                dispi(a, index, if value & 1 == 0 { likely } else { value & 0xFFFF });
            }
            2..=5 => {
                let port = VGA_PORTS.start + value % VGA_PORTS.len() as u32;
                a.mov(dx, port).unwrap();
                a.mov(al, value >> 24).unwrap();
                a.out(dx, al).unwrap();
            }
            6 => {
                let index = [0x3C4u32, 0x3CE, 0x3D4][random.below(3)];
                a.mov(dx, index).unwrap();
                a.mov(ax, value & 0xFF1F).unwrap();
                a.out(dx, ax).unwrap();
            }
            7 => {
                a.mov(dx, VGA_PORTS.start + value % VGA_PORTS.len() as u32).unwrap();
                a.in_(eax, dx).unwrap();
            }
            8 => a.mov(byte_ptr(WINDOW + value % 0x2_0000), (value >> 24) as i32 & 0x7F).unwrap(),
            9 => a.mov(dword_ptr(WINDOW + value % 0x1_FFFE), value as i32).unwrap(),
            10 => a.mov(eax, dword_ptr(WINDOW + value % 0x1_FFFE)).unwrap(),
            _ => a.mov(dword_ptr(LINEAR + value % 0xFF_FFFC), value as i32).unwrap(),
        }
    }
    leave(a, 1);
}

#[test]
fn code_and_stacks_in_the_frame_buffer_are_followed() {
    let image = multiboot(code_in_the_frame_buffer);
    for engine in engines() {
        for (cpus, clock) in [(1, ClockSource::Instructions), (1, ClockSource::Host), (4, ClockSource::Host)]
        {
            let (mut machine, _) = card_machine(config(engine, cpus, clock), &image);
            assert_eq!(machine.run(), ExitReason::DebugExit(1), "{engine}, {cpus} vCPUs, {clock:?}");
        }
    }
}

#[test]
fn page_tables_that_vanish_end_in_a_triple_fault() {
    let image = multiboot(tables_in_the_frame_buffer);
    for engine in engines() {
        let (mut machine, log) = card_machine(config(engine, 1, ClockSource::Instructions), &image);
        let reason = machine.run();
        assert!(matches!(reason, ExitReason::TripleFault(_)), "{engine}: {reason:?}");
        assert_eq!(log.0.lock().unwrap().as_slice(), b".", "{engine}: the tables were followed");
    }
}

/// Runs it with somebody who looks; what was seen last, and how long it ran.
fn looked_at(engine: Engine, image: &[u8]) -> (Surface, u64, Vec<u8>) {
    let (mut machine, _) = card_machine(config(engine, 1, ClockSource::Instructions), image);
    let mut viewer = machine.control().view();
    let mut picture = Surface::default();
    let end = loop {
        let end = machine.run_until(machine.instructions() + STEP);
        viewer.update(&mut picture);
        assert!(picture.width() * picture.height() <= MOST_PIXELS);
        if let Some(end) = end {
            break end;
        }
    };
    assert_eq!(end, ExitReason::DebugExit(1), "{engine}");
    // Its state is one that a machine can be restored to.
    let saved = postcard::to_stdvec(&machine.save().unwrap()).unwrap();
    restored(&saved, engine, Log::default()).unwrap();
    let adapter = machine.board().refs.display.unwrap();
    let seen = machine.board().devices.with(adapter, |display| format!("{:?}", display.screen()));
    (picture, machine.instructions(), seen.into_bytes())
}

#[test]
fn registers_at_random_draw_the_same_picture_on_every_engine() {
    for seed in 0..GUESTS {
        let image = multiboot(|a| at_random(a, &mut Random(seed)));
        let mut runs = engines().into_iter().map(|engine| (engine, looked_at(engine, &image)));
        let (_, first) = runs.next().unwrap();
        for (engine, run) in runs {
            assert!(run == first, "guest {seed}: {engine} differs");
        }
    }
}

/// Calls of the backdoor with any command and any argument, while the pointer moves and moves.
fn calls_the_backdoor(a: &mut CodeAssembler) {
    const MAGIC: u32 = 0x564D_5868;
    let mut random = Random(7);
    let mut wrong = a.create_label();
    a.mov(esp, STACK).unwrap();
    let call = |a: &mut CodeAssembler, magic: u32, command: u32, argument: u32| {
        a.mov(eax, magic).unwrap();
        a.mov(ebx, argument).unwrap();
        a.mov(ecx, command).unwrap();
        a.mov(edx, 0x5658u32).unwrap();
        a.in_(eax, dx).unwrap();
    };
    for _ in 0..400 {
        let argument = match random.below(4) {
            0 => random.below(70) as u32,
            1 => [0x4541_4552u32, 0xF5, 0x4C45_5252, 0x5342_4152][random.below(4)],
            _ => random.next() as u32,
        };
        let command = if random.below(8) == 0 { random.next() as u32 } else { 39 + random.below(3) as u32 };
        call(a, if random.below(16) == 0 { MAGIC ^ 1 } else { MAGIC }, command, argument);
    }
    call(a, MAGIC, 10, 0);
    a.cmp(ebx, MAGIC as i32).unwrap();
    a.jne(wrong).unwrap();
    // Switched off and on it is as new.
    call(a, MAGIC, 41, 0xF5);
    call(a, MAGIC, 41, 0x4541_4552);
    call(a, MAGIC, 39, 1);
    a.cmp(eax, 0x3442_554A).unwrap();
    a.jne(wrong).unwrap();
    leave(a, 1);
    a.set_label(&mut wrong).unwrap();
    leave(a, 2);
}

#[test]
fn a_mouse_that_is_asked_for_nonsense_goes_on() {
    let image = multiboot(calls_the_backdoor);
    for engine in engines() {
        let (mut machine, _) = card_machine(config(engine, 1, ClockSource::Instructions), &image);
        let control = machine.control();
        let end = loop {
            for n in 0..50u16 {
                control.pointer(PointerEvent::Position { x: n.wrapping_mul(1311), y: 0xFFFF - n });
                control.pointer(PointerEvent::Wheel { down: i32::from(n) - 25, right: 0 });
            }
            if let Some(end) = machine.run_until(machine.instructions() + 100) {
                break end;
            }
        };
        assert_eq!(end, ExitReason::DebugExit(1), "{engine}");
    }
}

/// Bytes of the flash chip.
const FLASH_BYTES: u32 = 64 << 10;

/// Runs code in the flash chip at `at` that programs, erases and asks the chip, and page tables there.
fn code_in_flash(at: u32) -> impl Fn(&mut CodeAssembler) {
    move |a| {
        let mut wrong = a.create_label();
        a.mov(esp, STACK).unwrap();
        let program = |a: &mut CodeAssembler, offset: u32, byte: u32| {
            a.mov(byte_ptr(at + offset), 0x40).unwrap();
            a.mov(byte_ptr(at + offset), i32::from(byte as u8 as i8)).unwrap();
        };
        for (n, byte) in [0xB8u32, 0x77, 0, 0, 0, 0xC3].into_iter().enumerate() {
            program(a, n as u32, byte);
        }
        a.mov(byte_ptr(at), -1).unwrap();
        call(a, at, 0x77, wrong);
        // Zeros stay zeros: 77h and 0Fh make 07h.
        program(a, 1, 0x0F);
        a.mov(byte_ptr(at), -1).unwrap();
        call(a, at, 0x07, wrong);
        // An erased block is all ones, and no code.
        a.mov(byte_ptr(at), 0x20).unwrap();
        a.mov(byte_ptr(at), 0xD0u32 as i32 - 256).unwrap();
        a.mov(byte_ptr(at), -1).unwrap();
        expect(a, at, u32::MAX, wrong);
        // Buffers that never end, commands within commands, at every offset.
        let mut random = Random(3);
        for _ in 0..600 {
            let value = random.next() as u32;
            let command = [0x10, 0x20, 0x40, 0x50, 0x70, -0x70, -0x68, -0x18, -0x30, -1][random.below(10)];
            let to = at + value % FLASH_BYTES;
            match random.below(4) {
                0 => a.mov(dword_ptr(to & !3), value as i32).unwrap(),
                1 => a.mov(al, byte_ptr(to)).unwrap(),
                _ => a.mov(byte_ptr(to), command).unwrap(),
            }
        }
        // A stack there gives what the chip gives; the call comes back by a register.
        a.mov(esp, at + 0x8000).unwrap();
        a.push(1).unwrap();
        a.pop(eax).unwrap();
        a.mov(esp, STACK).unwrap();
        for _ in 0..300 {
            // Whatever command waits for bytes has had enough of them.
            a.mov(byte_ptr(at), -1).unwrap();
        }
        a.mov(byte_ptr(at), 0x50).unwrap();
        program(a, 0, 0xFF);
        a.mov(al, byte_ptr(at)).unwrap();
        a.cmp(al, 0x80u32 as i32).unwrap();
        a.jne(wrong).unwrap();
        leave(a, 1);
        a.set_label(&mut wrong).unwrap();
        leave(a, 2);
    }
}

fn flash_machine(engine: Engine, image: &[u8]) -> Machine {
    let chip: Arc<dyn BlockBackend> = Arc::new(MemoryDisk::new(vec![0xFF; FLASH_BYTES as usize]));
    let config = MachineConfig {
        devices: vec![DeviceConfig::new("isa-debug-exit"), DeviceConfig::new("pflash").with("drive", "chip")],
        drives: vec![DriveConfig::new("chip", DrivePlace::Unattached, Media::Disk)],
        ..config(engine, 1, ClockSource::Instructions)
    };
    let request = BootRequest::new(BootFile { name: "test".into(), bytes: image.to_vec() });
    let plan = boot::load(request, &config.platform()).unwrap();
    let model = Arc::new(CpuModel::parse("max", 1_000_000_000).unwrap());
    let services = HostServices {
        drives: [("chip".to_owned(), chip)].into(),
        ..HostServices::new(Arc::new(Ticking::default()))
    };
    Machine::new(config, model, services, Box::new(plan)).unwrap()
}

#[test]
fn code_in_flash_that_is_programmed_sees_the_chip() {
    let nothing = multiboot(|a| leave(a, 1));
    for engine in engines() {
        let rom = flash_machine(engine, &nothing).board().memory.rom_bytes();
        let at = ((1u64 << 32) - rom - u64::from(FLASH_BYTES)) as u32;
        let image = multiboot(code_in_flash(at));
        let mut ends = [0, 0].map(|_| {
            let mut machine = flash_machine(engine, &image);
            assert_eq!(machine.run(), ExitReason::DebugExit(1), "{engine}");
            machine.instructions()
        });
        ends.sort_unstable();
        assert_eq!(ends[0], ends[1], "{engine}: two runs differ");
    }
}
