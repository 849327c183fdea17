//! Memory of a card as guests use it, on every engine: it moves while it is written, holds code, is reached by DMA, and
//! tells which pages were written.

use super::cards::{card_config, card_machine, configure, driver, leave, restored, set};
use super::chips::engines;
use super::*;
use iced_x86::code_asm::*;
use trimotor_devices::demo_card::registers::{DESTINATION, DIRTY, DOORBELL, LENGTH, SOURCE, STATUS};
use trimotor_devices::demo_card::rom;

/// Where the guests place the card's memory, and where they move it.
const HERE: u32 = 0xE000_0000;
const THERE: u32 = 0xE800_0000;
const ROM: u32 = 0xFEB0_0000;
const REGISTERS: u32 = super::cards::REGISTERS;
/// Bytes of the card's memory.
const VRAM_BYTES: u32 = 64 << 10;
/// RAM for what the guests keep.
const SCRATCH: u32 = 0x20_5000;
/// Where the other vCPUs begin, in real mode, and what they read there.
const TRAMPOLINE: u32 = 0x8000;
const GDT: u32 = 0x7000;
const SELECTOR: u32 = 0x7010;

fn config(engine: Engine, cpus: u8, clock: ClockSource, bytes: u64) -> MachineConfig {
    let mut config = card_config(engine, cpus, clock);
    for device in config.devices.iter_mut().filter(|device| device.kind == "demo-card") {
        *device = DeviceConfig::new("demo-card").with("vram", bytes);
    }
    config
}

/// Points BAR 4 to `at`.
fn place(a: &mut CodeAssembler, at: u32) {
    configure(a, 0x20, at);
    configure(a, 0x24, 0);
}
/// Goes on only if a dword in memory is `value`.
pub(super) fn expect(a: &mut CodeAssembler, at: u32, value: u32, wrong: CodeLabel) {
    a.mov(eax, dword_ptr(at)).unwrap();
    a.cmp(eax, value as i32).unwrap();
    a.jne(wrong).unwrap();
}
fn call(a: &mut CodeAssembler, at: u32, answer: u32, wrong: CodeLabel) {
    a.mov(eax, at).unwrap();
    a.call(eax).unwrap();
    a.cmp(eax, answer as i32).unwrap();
    a.jne(wrong).unwrap();
}
fn dirty(a: &mut CodeAssembler, pages: u32, wrong: CodeLabel) {
    expect(a, REGISTERS + DIRTY as u32, pages, wrong);
}
/// Has the card copy `bytes` bytes in reverse, and waits.
fn copy(a: &mut CodeAssembler, from: u32, to: u32, bytes: u32) {
    for (register, value) in [(SOURCE, from), (DESTINATION, to), (LENGTH, bytes), (DOORBELL, 0)] {
        set(a, register as u32, value);
    }
    let mut wait = a.create_label();
    a.set_label(&mut wait).unwrap();
    a.cmp(dword_ptr(REGISTERS + STATUS as u32), 1).unwrap();
    a.jne(wait).unwrap();
    set(a, STATUS as u32, 1);
}
fn end(a: &mut CodeAssembler, wrong: &mut CodeLabel) {
    leave(a, 1);
    a.set_label(wrong).unwrap();
    leave(a, 2);
}

/// How often the guest below fills the card's memory, and writes over the code in it.
const FILLS: u32 = 20;
const REWRITES: u32 = 1000;

/// One vCPU uses all that there is.
fn uses_everything(a: &mut CodeAssembler) {
    let mut wrong = a.create_label();
    place(a, HERE);
    configure(a, 0x30, ROM | 1);
    expect(a, ROM, 0x0001_AA55, wrong);
    set_at(a, ROM, 0);
    expect(a, ROM, 0x0001_AA55, wrong);
    call(a, ROM + rom::FUNCTION as u32, rom::ANSWER, wrong);
    dirty(a, VRAM_BYTES >> 12, wrong);
    dirty(a, 0, wrong);
    for at in [0x1000, 0x3000, 0x3FFC] {
        set_at(a, HERE + at, 1);
    }
    a.lock().inc(dword_ptr(HERE + 0x3008)).unwrap();
    dirty(a, 2, wrong);
    dirty(a, 0, wrong);
    let (mut fill, mut store) = (a.create_label(), a.create_label());
    a.mov(esi, FILLS).unwrap();
    a.set_label(&mut fill).unwrap();
    a.mov(edi, HERE).unwrap();
    a.mov(ecx, VRAM_BYTES / 4).unwrap();
    a.set_label(&mut store).unwrap();
    a.mov(dword_ptr(edi), ecx).unwrap();
    a.add(edi, 4).unwrap();
    a.dec(ecx).unwrap();
    a.jne(store).unwrap();
    a.dec(esi).unwrap();
    a.jne(fill).unwrap();
    dirty(a, VRAM_BYTES >> 12, wrong);
    expect(a, HERE + VRAM_BYTES - 8, 2, wrong);
    // Code in it that is written over again and again: MOV EAX, n; RET.
    let mut again = a.create_label();
    a.mov(edi, HERE + 0x8000).unwrap();
    a.mov(byte_ptr(edi), 0xB8).unwrap();
    a.mov(byte_ptr(edi + 5), 0xC3).unwrap();
    a.mov(esi, REWRITES).unwrap();
    a.set_label(&mut again).unwrap();
    a.mov(dword_ptr(edi + 1), esi).unwrap();
    a.call(edi).unwrap();
    a.cmp(eax, esi).unwrap();
    a.jne(wrong).unwrap();
    a.dec(esi).unwrap();
    a.jne(again).unwrap();
    dirty(a, 1, wrong);
    // It moves, with its content, and nothing is left behind.
    place(a, THERE);
    expect(a, HERE, u32::MAX, wrong);
    set_at(a, HERE + 0x1000, 0);
    expect(a, THERE + 0x1000, VRAM_BYTES / 4 - 0x400, wrong);
    call(a, THERE + 0x8000, 1, wrong);
    dirty(a, 0, wrong);
    // DMA reads it, writes it, and writes code there that has run.
    set_at(a, THERE + 0x9000, 0x0403_0201);
    copy(a, THERE + 0x9000, THERE + 0xA000, 4);
    expect(a, THERE + 0xA000, 0x0102_0304, wrong);
    // In reverse: B8 77 00 00 00 C3.
    for (n, byte) in [0xC3u32, 0, 0, 0, 0x77, 0xB8].into_iter().enumerate() {
        a.mov(byte_ptr(SCRATCH + n as u32), byte).unwrap();
    }
    copy(a, SCRATCH, THERE + 0x8000, 6);
    call(a, THERE + 0x8000, 0x77, wrong);
    dirty(a, 3, wrong);
    // Without memory decoding nothing is there; with it all is as it was.
    configure(a, 0x04, 5);
    expect(a, THERE, u32::MAX, wrong);
    configure(a, 0x04, 7);
    expect(a, THERE, VRAM_BYTES / 4, wrong);
    end(a, &mut wrong);
}
fn set_at(a: &mut CodeAssembler, at: u32, value: u32) {
    a.mov(dword_ptr(at), value).unwrap();
}

/// A statistic of the first vCPU: all whose name begins so, added up.
pub(super) fn count(machine: &Machine, name: &str) -> u64 {
    machine.statistics()[0].iter().filter(|(line, _)| line.starts_with(name)).map(|(_, count)| count).sum()
}

#[test]
fn a_guest_uses_memory_of_a_card() {
    let image = driver(uses_everything);
    for engine in engines() {
        for (cpus, clock, bytes) in [
            (1, ClockSource::Instructions, VRAM_BYTES.into()),
            (1, ClockSource::Host, VRAM_BYTES.into()),
            (4, ClockSource::Host, VRAM_BYTES.into()),
        ] {
            let (mut machine, _) = card_machine(config(engine, cpus, clock, bytes), &image);
            assert_eq!(machine.run(), ExitReason::DebugExit(1), "{engine}, {cpus} vCPUs, {clock:?}");
            // Stores to it need the engine's help only where its pages are watched.
            let stores = u64::from(FILLS * VRAM_BYTES / 4);
            let slow = count(&machine, "slow writes");
            assert!(slow < stores / 50, "{engine}: {slow} of {stores} stores were slow");
            assert!(count(&machine, "blocks killed by writes") >= 1, "{engine}");
        }
    }
}

/// The other vCPUs write the card's memory at its first place for as long as they live, while the first one moves it away
/// and back: where it is away, none of their writes arrives; where it is back, they do, and make one page dirty.
fn moves_it_under_the_others(a: &mut CodeAssembler) {
    const COUNTER: u32 = 0x5000;
    const ROUNDS: u32 = 100;
    let mut wrong = a.create_label();
    place(a, HERE);
    start_others(a, |a| {
        let mut write = a.create_label();
        a.set_label(&mut write).unwrap();
        a.inc(ecx).unwrap();
        a.mov(dword_ptr(HERE + COUNTER), ecx).unwrap();
        a.jmp(write).unwrap();
    });
    let (mut round, mut wait, mut delay) = (a.create_label(), a.create_label(), a.create_label());
    a.mov(esi, ROUNDS).unwrap();
    a.set_label(&mut round).unwrap();
    // They write.
    a.mov(ebx, dword_ptr(HERE + COUNTER)).unwrap();
    a.set_label(&mut wait).unwrap();
    a.cmp(ebx, dword_ptr(HERE + COUNTER)).unwrap();
    a.je(wait).unwrap();
    place(a, THERE);
    // They write to nowhere.
    a.mov(eax, dword_ptr(REGISTERS + DIRTY as u32)).unwrap();
    a.mov(ebx, dword_ptr(THERE + COUNTER)).unwrap();
    a.mov(ecx, 5000).unwrap();
    a.set_label(&mut delay).unwrap();
    a.cmp(ebx, dword_ptr(THERE + COUNTER)).unwrap();
    a.jne(wrong).unwrap();
    a.dec(ecx).unwrap();
    a.jne(delay).unwrap();
    dirty(a, 0, wrong);
    place(a, HERE);
    let mut arrives = a.create_label();
    a.set_label(&mut arrives).unwrap();
    a.cmp(ebx, dword_ptr(HERE + COUNTER)).unwrap();
    a.je(arrives).unwrap();
    // A write is seen in memory before its page is dirty: one that has just arrived may not be noted yet.
    let mut noted = a.create_label();
    a.set_label(&mut noted).unwrap();
    a.mov(eax, dword_ptr(REGISTERS + DIRTY as u32)).unwrap();
    a.test(eax, eax).unwrap();
    a.je(noted).unwrap();
    a.cmp(eax, 1u32).unwrap();
    a.jne(wrong).unwrap();
    a.dec(esi).unwrap();
    a.jne(round).unwrap();
    end(a, &mut wrong);
}

/// Has the other vCPUs run what `build` writes, in 32-bit mode with the loader's segments.
fn start_others(a: &mut CodeAssembler, build: impl Fn(&mut CodeAssembler)) {
    // CLI; XOR AX, AX; MOV DS, AX; LGDT [7000h]; CR0.PE; JMP to what follows the call.
    let trampoline: [u8; 27] = [
        0xFA, 0x31, 0xC0, 0x8E, 0xD8, 0x66, 0x0F, 0x01, 0x16, 0x00, 0x70, 0x0F, 0x20, 0xC0, 0x0C, 0x01, 0x0F,
        0x22, 0xC0, 0x66, 0xEA, 0, 0, 0, 0, 0, 0,
    ];
    for (n, byte) in trampoline.into_iter().enumerate() {
        a.mov(byte_ptr(TRAMPOLINE + n as u32), u32::from(byte)).unwrap();
    }
    let mut go_on = a.create_label();
    a.call(go_on).unwrap();
    a.mov(ax, word_ptr(SELECTOR)).unwrap();
    a.mov(ds, ax).unwrap();
    a.mov(es, ax).unwrap();
    a.mov(ss, ax).unwrap();
    a.xor(ecx, ecx).unwrap();
    build(a);
    a.set_label(&mut go_on).unwrap();
    a.pop(eax).unwrap();
    a.mov(dword_ptr(TRAMPOLINE + 21), eax).unwrap();
    a.mov(word_ptr(TRAMPOLINE + 25), cs).unwrap();
    a.mov(word_ptr(SELECTOR), ds).unwrap();
    a.sgdt(ptr(GDT)).unwrap();
    a.mov(dword_ptr(0xFEE0_00F0u32), 0x1FFu32).unwrap();
    // A start-up message with vector 8 to all but the sender.
    a.mov(dword_ptr(0xFEE0_0300u32), 0x000C_4608u32).unwrap();
}

#[test]
fn memory_moves_while_other_vcpus_write_it() {
    let image = driver(moves_it_under_the_others);
    for engine in engines() {
        for cpus in [2, 4] {
            let (mut machine, _) =
                card_machine(config(engine, cpus, ClockSource::Host, VRAM_BYTES.into()), &image);
            assert_eq!(machine.run(), ExitReason::DebugExit(1), "{engine}, {cpus} vCPUs");
        }
    }
}

/// The hostile twin: places that are others'. None of them is covered, and none is left.
fn goes_where_others_are(a: &mut CodeAssembler) {
    let mut wrong = a.create_label();
    place(a, HERE);
    a.mov(edi, HERE).unwrap();
    a.mov(ecx, VRAM_BYTES / 4).unwrap();
    a.mov(eax, 0x5A5A_5A5A).unwrap();
    a.rep().stosd().unwrap();
    // Of IOAPIC, local APIC, HPET, RAM and the card's own registers, a dword that is not the card's memory.
    a.mov(dword_ptr(0xFEC0_0000u32), 1u32).unwrap();
    for (at, register) in [
        (0xFEC0_0000u32, 0xFEC0_0010u32),
        (0xFEE0_0000, 0xFEE0_0030),
        (0xFED0_0000, 0xFED0_0004),
        (0x0020_0000, SCRATCH),
        (REGISTERS, REGISTERS),
    ] {
        a.mov(ebx, dword_ptr(register)).unwrap();
        place(a, at);
        a.cmp(ebx, dword_ptr(register)).unwrap();
        a.jne(wrong).unwrap();
        a.cmp(ebx, 0x5A5A_5A5A).unwrap();
        a.je(wrong).unwrap();
    }
    // Behind the local APIC's page it is there.
    place(a, 0xFEE0_0000);
    expect(a, 0xFEE0_1000, 0x5A5A_5A5A, wrong);
    // The ends of the address spaces, and all ones, as sizing does.
    for (low, high) in [(0xFFFF_0000u32, 0u32), (0, 0x8000_0000), (u32::MAX, u32::MAX), (0, 0)] {
        configure(a, 0x20, low);
        configure(a, 0x24, high);
    }
    expect(a, HERE, u32::MAX, wrong);
    place(a, HERE);
    expect(a, HERE + VRAM_BYTES - 4, 0x5A5A_5A5A, wrong);
    end(a, &mut wrong);
}

#[test]
fn memory_of_a_card_covers_nothing_that_was_there() {
    let image = driver(goes_where_others_are);
    for engine in engines() {
        for cpus in [1, 4] {
            let (mut machine, _) =
                card_machine(config(engine, cpus, ClockSource::Host, VRAM_BYTES.into()), &image);
            assert_eq!(machine.run(), ExitReason::DebugExit(1), "{engine}, {cpus} vCPUs");
        }
    }
}

/// Saved and restored wherever the cut is, on another engine, with its memory of 64 MiB.
#[test]
fn memory_of_a_card_is_saved() {
    let image = driver(|a| {
        let mut wrong = a.create_label();
        place(a, HERE);
        for (n, at) in (0..64 << 20).step_by(4 << 20).enumerate() {
            set_at(a, HERE + at, n as u32 + 1);
        }
        for (n, at) in (0..64 << 20).step_by(4 << 20).enumerate() {
            expect(a, HERE + at, n as u32 + 1, wrong);
        }
        end(a, &mut wrong);
    });
    let engines = engines();
    let config = |engine| config(engine, 1, ClockSource::Instructions, 64 << 20);
    let (mut whole, _) = card_machine(config(engines[0]), &image);
    assert_eq!(whole.run(), ExitReason::DebugExit(1));
    let end = whole.instructions();
    for cut in (0..end).step_by(5) {
        let (from, to) = (engines[cut as usize % engines.len()], engines[(cut as usize + 1) % engines.len()]);
        let (mut first, _) = card_machine(config(from), &image);
        assert_eq!(first.run_until(cut), None);
        let bytes = postcard::to_stdvec(&first.save().unwrap()).unwrap();
        assert!(bytes.len() < 1 << 20, "pages of zeros are left out");
        let mut second = restored(&bytes, to, Log::default()).unwrap();
        assert_eq!(second.run(), ExitReason::DebugExit(1), "{from} to {to} at {cut}");
    }
}

#[test]
fn a_card_without_memory_has_no_such_register() {
    let image = driver(|a| {
        let mut wrong = a.create_label();
        place(a, HERE);
        expect(a, HERE, u32::MAX, wrong);
        dirty(a, 0, wrong);
        end(a, &mut wrong);
    });
    let engine = engines()[0];
    let (mut machine, _) = card_machine(card_config(engine, 1, ClockSource::Instructions), &image);
    assert_eq!(machine.run(), ExitReason::DebugExit(1));
}
