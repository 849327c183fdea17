//! Disk calls of a BIOS's stub, as code in ROM makes them, on every engine.

use super::chips::{assemble, engines};
use super::*;
use iced_x86::code_asm::*;
use trimotor_devices::drive::{DriveConfig, DrivePlace, Media, Medium};
use trimotor_storage::MemoryDisk;

/// Where the frame is.
const FRAME: u32 = 0x6000;
/// Where sectors are read to.
const BUFFER: u32 = 0x8000;
/// Calls of the reader.
const CALLS: u32 = 12;

fn leave(a: &mut CodeAssembler, code: u32) {
    a.mov(al, code).unwrap();
    a.out(0xF4, al).unwrap();
    a.hlt().unwrap();
}
fn begin(a: &mut CodeAssembler) {
    a.xor(ax, ax).unwrap();
    a.mov(ds, ax).unwrap();
    a.mov(ss, ax).unwrap();
    a.mov(sp, 0x7000u32).unwrap();
    a.mov(dx, 0x3FBu32).unwrap();
    a.mov(al, 3u32).unwrap();
    a.out(dx, al).unwrap();
}
/// Makes the call of the frame and counts in EDI how often it looks whether it is done.
fn call(a: &mut CodeAssembler) {
    let mut look = a.create_label();
    a.mov(dx, 0x520u32).unwrap();
    a.mov(eax, FRAME).unwrap();
    a.out(dx, eax).unwrap();
    a.mov(dx, 0x524u32).unwrap();
    a.set_label(&mut look).unwrap();
    a.pause().unwrap();
    a.inc(edi).unwrap();
    a.in_(al, dx).unwrap();
    a.test(al, 1).unwrap();
    a.jz(look).unwrap();
}
/// Fills the frame for a read of `count` sectors to 0:`buffer`; ECX is the caller's.
fn read_frame(a: &mut CodeAssembler, count: u32, buffer: u32) {
    let fields =
        [(0, 0x13), (16, 0), (20, buffer), (24, 0x80), (28, 0x200 | count), (32, 0x200 | count), (36, 0)];
    for (offset, value) in fields {
        a.mov(dword_ptr(FRAME + offset), value).unwrap();
    }
    a.mov(dword_ptr(FRAME + 28), ecx).unwrap();
    a.mov(dword_ptr(FRAME + 40), 0u32).unwrap();
    a.mov(word_ptr(FRAME + 44), 0u32).unwrap();
}
fn say_byte(a: &mut CodeAssembler) {
    a.mov(dx, 0x3F8u32).unwrap();
    a.out(dx, al).unwrap();
}

/// Reads a sector at a time, says the first byte and the status of each, and how often it had to look.
fn reader(a: &mut CodeAssembler) {
    let mut next = a.create_label();
    begin(a);
    a.xor(edi, edi).unwrap();
    a.mov(esi, 1u32).unwrap();
    a.set_label(&mut next).unwrap();
    a.mov(ecx, esi).unwrap();
    read_frame(a, 1, BUFFER);
    call(a);
    a.mov(al, byte_ptr(BUFFER)).unwrap();
    say_byte(a);
    a.mov(al, byte_ptr(FRAME + 33)).unwrap();
    say_byte(a);
    a.inc(esi).unwrap();
    a.cmp(esi, CALLS).unwrap();
    a.jbe(next).unwrap();
    for _ in 0..4 {
        a.mov(eax, edi).unwrap();
        say_byte(a);
        a.shr(edi, 8u32).unwrap();
    }
    leave(a, 1);
}

/// The hostile twin: reads sectors over the code that runs, over the frame, over the vectors, and where no RAM is.
fn over_code(a: &mut CodeAssembler) {
    let (mut target, mut start, mut again, mut new) =
        (a.create_label(), a.create_label(), a.create_label(), a.create_label());
    begin(a);
    a.call(start).unwrap();
    a.set_label(&mut target).unwrap();
    // mov al, 0; ret. The disk has mov al, 1; ret.
    a.db(&[0xB0, 0, 0xC3]).unwrap();
    a.db(&[0x90; 509]).unwrap();
    a.set_label(&mut start).unwrap();
    a.pop(bp).unwrap();
    for (segment, offset) in [
        (0u32, 0u32),
        (0, FRAME - 256),
        (0xA000, 0),
        (0xB800, 0),
        (0xF000, 0xFE00),
        (0xFFFF, 0xFFF0),
        (0x9FC0, 0),
    ] {
        a.mov(ecx, 1u32).unwrap();
        read_frame(a, 1, offset);
        a.mov(word_ptr(FRAME + 36), segment).unwrap();
        call(a);
    }
    a.mov(ecx, 1u32).unwrap();
    read_frame(a, 1, 0);
    a.mov(word_ptr(FRAME + 20), bp).unwrap();
    // Frames where none can be.
    for at in [0xFFFF_FFFFu32, 0xFFFF_FFF0, 0xF_FFF0, 0xA_0000, 0xFEE0_0000, 0x3F_FFF0] {
        a.mov(dx, 0x520u32).unwrap();
        a.mov(eax, at).unwrap();
        a.out(dx, eax).unwrap();
    }
    a.mov(dx, 0x520u32).unwrap();
    a.mov(eax, FRAME).unwrap();
    a.out(dx, eax).unwrap();
    a.set_label(&mut again).unwrap();
    a.call(bp).unwrap();
    a.cmp(al, 1).unwrap();
    a.je(new).unwrap();
    a.jmp(again).unwrap();
    a.set_label(&mut new).unwrap();
    leave(a, 1);
}

fn drives() -> Vec<DriveConfig> {
    vec![DriveConfig::new("disk", DrivePlace::Ide { channel: 0, unit: 0 }, Media::Disk)]
}
fn services(log: &Log) -> HostServices {
    // The first sector is mov al, 1; ret over and over, the others begin with their number.
    let mut content = [0xB0, 1, 0xC3, 0x90].repeat(2016 * 128);
    content.chunks_mut(512).zip(0u16..).skip(1).for_each(|(sector, n)| sector[0] = n as u8);
    let medium: Medium = Arc::new(MemoryDisk::new(content));
    HostServices {
        serial: vec![Box::new(log.clone())],
        drives: std::iter::once(("disk".to_owned(), medium)).collect(),
        ..HostServices::new(Arc::new(super::cards::Ticking::default()))
    }
}
fn model() -> Arc<CpuModel> {
    Arc::new(CpuModel::parse("max", 1_000_000_000).unwrap())
}
fn disk_machine(engine: Engine, cpus: u8, clock: ClockSource, code: &[u8]) -> (Machine, Log) {
    let config = MachineConfig { engine: Some(engine), cpus, clock, drives: drives(), ..config() };
    let log = Log::default();
    let plan = flat_plan(&config, code);
    (Machine::new(config, model(), services(&log), Box::new(plan)).unwrap(), log)
}

/// The first bytes of the sectors and the statuses of the calls.
fn sectors() -> Vec<u8> {
    (0..CALLS as u8).flat_map(|n| [if n == 0 { 0xB0 } else { n }, 0]).collect()
}

#[test]
fn sectors_are_read_on_every_engine() {
    let code = assemble(reader);
    for engine in engines() {
        for cpus in [1, 2] {
            let (mut machine, log) = disk_machine(engine, cpus, ClockSource::Host, &code);
            assert_eq!(machine.run(), ExitReason::DebugExit(1), "{engine}, {cpus} vCPUs");
            assert!(log.0.lock().unwrap().starts_with(&sectors()), "{engine}, {cpus} vCPUs");
        }
    }
}

/// With counted time, how often the guest looks is a function of the guest.
#[test]
fn a_counted_run_looks_as_often_each_time() {
    let code = assemble(reader);
    let mut ends = Vec::new();
    for engine in engines() {
        for _ in 0..2 {
            let (mut machine, log) = disk_machine(engine, 1, ClockSource::Instructions, &code);
            assert_eq!(machine.run(), ExitReason::DebugExit(1), "{engine}");
            let said = log.0.lock().unwrap().clone();
            assert!(said.starts_with(&sectors()));
            let looks = u32::from_le_bytes(said[said.len() - 4..].try_into().unwrap());
            assert!(looks > 100 * CALLS, "{looks}");
            ends.push((machine.instructions(), said));
        }
    }
    assert!(ends.windows(2).all(|pair| pair[0] == pair[1]), "{ends:?}");
}

#[test]
fn a_sector_over_running_code_is_seen_and_elsewhere_harmless() {
    let code = assemble(over_code);
    for engine in engines() {
        for (cpus, clock) in [(1, ClockSource::Instructions), (1, ClockSource::Host), (2, ClockSource::Host)]
        {
            let (mut machine, _) = disk_machine(engine, cpus, clock, &code);
            assert_eq!(machine.run(), ExitReason::DebugExit(1), "{engine}, {cpus} vCPUs, {clock:?}");
        }
    }
}

/// Saved in the middle of a call and continued in another machine with the same disk, on another engine.
#[test]
fn a_saved_machine_goes_on_with_its_call() {
    let code = assemble(reader);
    let engines = engines();
    let (mut whole, log) = disk_machine(engines[0], 1, ClockSource::Instructions, &code);
    assert_eq!(whole.run(), ExitReason::DebugExit(1));
    let (end, expected) = (whole.instructions(), log.0.lock().unwrap().clone());
    let mut under_way = 0;
    for cut in (0..end).step_by((end / 24) as usize) {
        let (from, to) = (engines[0], engines[engines.len() - 1]);
        let (mut first, before) = disk_machine(from, 1, ClockSource::Instructions, &code);
        assert_eq!(first.run_until(cut), None);
        let device = first.board().devices.find("bios-services").unwrap();
        under_way += usize::from(first.board().devices.lock(device).info().contains("under way"));
        let bytes = postcard::to_stdvec(&first.save().unwrap()).unwrap();
        let (after, state) = (Log::default(), postcard::from_bytes(&bytes).unwrap());
        let plan = flat_plan(&config(), &code);
        let mut second =
            Machine::restored(state, Some(to), model(), services(&after), Box::new(plan)).unwrap();
        assert_eq!(second.run(), ExitReason::DebugExit(1), "at {cut}");
        let said = [before.0.lock().unwrap().as_slice(), &after.0.lock().unwrap()].concat();
        assert_eq!((second.instructions(), said), (end, expected.clone()), "at {cut}");
    }
    assert!(under_way > 10, "{under_way}");
}
