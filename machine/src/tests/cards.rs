//! The demonstration card as a guest's driver uses it, on every engine.

use super::chips::engines;
use super::*;
use iced_x86::code_asm::*;

const LOAD: u32 = 0x10_0000;
/// Where the driver puts the card's BARs.
const PORTS: u32 = 0xC000;
pub(super) const REGISTERS: u32 = 0xD000_0000;
const VECTORS: u32 = 0xD001_0000;
/// Its tables and buffers.
pub(super) const IDT: u32 = 0x20_0000;
pub(super) const COUNT: u32 = 0x20_2000;
pub(super) const SOURCE: u32 = 0x20_3000;
pub(super) const DESTINATION: u32 = 0x20_4000;
const TABLE: u32 = 0x20_6000;
const STACK: u32 = 0x20_F000;
/// Bytes of each request.
const BYTES: u32 = 64;

/// Writes a register of PCI configuration space of slot 3.
pub(super) fn configure(a: &mut CodeAssembler, register: u32, value: u32) {
    configure_slot(a, 3, register, value);
}
/// Writes a register of PCI configuration space.
pub(super) fn configure_slot(a: &mut CodeAssembler, slot: u32, register: u32, value: u32) {
    a.mov(dx, 0xCF8u32).unwrap();
    a.mov(eax, 0x8000_0000 | slot << 11 | register).unwrap();
    a.out(dx, eax).unwrap();
    a.mov(dx, 0xCFCu32).unwrap();
    a.mov(eax, value).unwrap();
    a.out(dx, eax).unwrap();
}
pub(super) fn set(a: &mut CodeAssembler, register: u32, value: u32) {
    a.mov(dword_ptr(REGISTERS + register), value).unwrap();
}
pub(super) fn leave(a: &mut CodeAssembler, code: u32) {
    a.mov(al, code).unwrap();
    a.out(0xF4, al).unwrap();
    a.hlt().unwrap();
}

/// A Multiboot 1 image of the 32-bit code that `build` writes.
pub(super) fn multiboot(build: impl Fn(&mut CodeAssembler)) -> Vec<u8> {
    const MAGIC: u32 = 0x1BAD_B002;
    const HAS_ADDRESSES: u32 = 1 << 16;
    let mut a = CodeAssembler::new(32).unwrap();
    build(&mut a);
    let entry = LOAD + 32;
    let code = a.assemble(entry.into()).unwrap();
    let end = entry + code.len() as u32;
    let checksum = 0u32.wrapping_sub(MAGIC).wrapping_sub(HAS_ADDRESSES);
    let header = [MAGIC, HAS_ADDRESSES, checksum, LOAD, LOAD, end, end, entry];
    header.iter().flat_map(|field| field.to_le_bytes()).chain(code).collect()
}
/// One that places the card's BARs and then runs what `build` writes.
pub(super) fn driver(build: impl Fn(&mut CodeAssembler)) -> Vec<u8> {
    multiboot(|a| {
        a.mov(esp, STACK).unwrap();
        configure(a, 0x10, PORTS);
        configure(a, 0x18, REGISTERS);
        configure(a, 0x1C, 0);
        configure(a, 0x14, VECTORS);
        configure(a, 0x04, 7);
        build(a);
    })
}

/// Begins all sixteen requests, takes their interrupts (vectors 50h to 53h) until all are done, says in which order they
/// completed and how many interrupts came on COM1, and leaves with code 3, or 5 where a byte is wrong.
pub(super) fn all_requests(a: &mut CodeAssembler) {
    requests(a, |a| {
        a.mov(dword_ptr(REGISTERS + 0x18), eax).unwrap();
        a.mov(dword_ptr(REGISTERS + 0x28), ecx).unwrap();
    });
}
/// The same, with requests that a table in memory describes, begun by a doorbell.
fn requests_by_table(a: &mut CodeAssembler) {
    requests(a, |a| {
        set(a, 0x50, TABLE);
        a.mov(ebx, ecx).unwrap();
        a.shl(ebx, 5u32).unwrap();
        a.mov(dword_ptr(ebx + TABLE), SOURCE).unwrap();
        a.mov(dword_ptr(ebx + TABLE + 8), eax).unwrap();
        a.mov(dword_ptr(ebx + TABLE + 16), BYTES).unwrap();
        a.mov(dword_ptr(REGISTERS + 0x58), ecx).unwrap();
    });
}
/// `begin` begins request ECX, with its destination in EAX; it may change EBX.
fn requests(a: &mut CodeAssembler, begin: impl Fn(&mut CodeAssembler)) {
    let (mut handler, mut start, mut gate, mut wait, mut done) =
        (a.create_label(), a.create_label(), a.create_label(), a.create_label(), a.create_label());
    // The return address is the handler's.
    a.call(start).unwrap();
    a.set_label(&mut handler).unwrap();
    a.inc(dword_ptr(COUNT)).unwrap();
    a.mov(dword_ptr(0xFEE0_00B0u32), 0u32).unwrap();
    a.iretd().unwrap();
    a.set_label(&mut start).unwrap();
    // Gates for the four vectors, with the code segment that the loader gave.
    a.pop(eax).unwrap();
    a.mov(edi, IDT + 0x50 * 8).unwrap();
    a.mov(ecx, 4u32).unwrap();
    a.set_label(&mut gate).unwrap();
    a.mov(word_ptr(edi), ax).unwrap();
    a.mov(word_ptr(edi + 2), cs).unwrap();
    a.mov(word_ptr(edi + 4), 0x8E00u32).unwrap();
    a.mov(ebx, eax).unwrap();
    a.shr(ebx, 16u32).unwrap();
    a.mov(word_ptr(edi + 6), bx).unwrap();
    a.add(edi, 8).unwrap();
    a.loop_(gate).unwrap();
    a.sub(esp, 8).unwrap();
    a.mov(word_ptr(esp), 0x7FFu32).unwrap();
    a.mov(dword_ptr(esp + 2), IDT).unwrap();
    a.lidt(ptr(esp)).unwrap();
    a.mov(dword_ptr(0xFEE0_00F0u32), 0x1FFu32).unwrap();
    // MSI-X: its capability follows the header.
    for vector in 0..4 {
        for (offset, value) in [(0, 0xFEE0_0000u32), (4, 0), (8, 0x50 + vector), (12, 0)] {
            a.mov(dword_ptr(VECTORS + vector * 16 + offset), value).unwrap();
        }
    }
    configure(a, 0x40, 0x8000_0011);
    // Byte i of the source is i.
    let (mut fill, mut ring) = (a.create_label(), a.create_label());
    a.xor(ecx, ecx).unwrap();
    a.set_label(&mut fill).unwrap();
    a.mov(byte_ptr(ecx + SOURCE), cl).unwrap();
    a.inc(ecx).unwrap();
    a.cmp(ecx, BYTES).unwrap();
    a.jb(fill).unwrap();
    set(a, 0x10, SOURCE);
    set(a, 0x20, BYTES);
    a.xor(ecx, ecx).unwrap();
    a.set_label(&mut ring).unwrap();
    a.mov(eax, ecx).unwrap();
    a.shl(eax, 8u32).unwrap();
    a.add(eax, DESTINATION).unwrap();
    begin(a);
    a.inc(ecx).unwrap();
    a.cmp(ecx, 16).unwrap();
    a.jb(ring).unwrap();
    a.set_label(&mut wait).unwrap();
    a.cli().unwrap();
    a.cmp(dword_ptr(REGISTERS + 0x30), 0xFFFF).unwrap();
    a.je(done).unwrap();
    a.sti().unwrap();
    a.hlt().unwrap();
    a.jmp(wait).unwrap();
    a.set_label(&mut done).unwrap();
    // Interrupts of requests that completed since the last look come now.
    a.sti().unwrap();
    for _ in 0..8 {
        a.nop().unwrap();
    }
    a.cli().unwrap();
    check_and_report(a);
}

/// Compares all destinations, writes order and count to COM1, and leaves.
fn check_and_report(a: &mut CodeAssembler) {
    let (mut request, mut byte, mut wrong, mut out) =
        (a.create_label(), a.create_label(), a.create_label(), a.create_label());
    a.xor(esi, esi).unwrap();
    a.set_label(&mut request).unwrap();
    a.xor(ecx, ecx).unwrap();
    a.set_label(&mut byte).unwrap();
    a.mov(ebx, esi).unwrap();
    a.shl(ebx, 8u32).unwrap();
    a.mov(al, byte_ptr(ebx + ecx + DESTINATION)).unwrap();
    a.add(al, cl).unwrap();
    a.cmp(al, BYTES as i32 - 1).unwrap();
    a.jne(wrong).unwrap();
    a.inc(ecx).unwrap();
    a.cmp(ecx, BYTES).unwrap();
    a.jb(byte).unwrap();
    a.inc(esi).unwrap();
    a.cmp(esi, 16).unwrap();
    a.jb(request).unwrap();
    a.mov(eax, dword_ptr(REGISTERS + 0x40)).unwrap();
    a.mov(dword_ptr(COUNT + 4), eax).unwrap();
    a.mov(eax, dword_ptr(REGISTERS + 0x44)).unwrap();
    a.mov(dword_ptr(COUNT + 8), eax).unwrap();
    // Eight data bits.
    a.mov(dx, 0x3FBu32).unwrap();
    a.mov(al, 3u32).unwrap();
    a.out(dx, al).unwrap();
    a.mov(esi, COUNT).unwrap();
    a.mov(ecx, 12u32).unwrap();
    a.mov(dx, 0x3F8u32).unwrap();
    a.set_label(&mut out).unwrap();
    a.mov(al, byte_ptr(esi)).unwrap();
    a.out(dx, al).unwrap();
    a.inc(esi).unwrap();
    a.loop_(out).unwrap();
    leave(a, 1);
    a.set_label(&mut wrong).unwrap();
    leave(a, 2);
}

pub(super) fn card_config(engine: Engine, cpus: u8, clock: ClockSource) -> MachineConfig {
    let devices = ["isa-serial", "isa-debug-exit", "demo-card"].map(DeviceConfig::new).to_vec();
    MachineConfig { engine: Some(engine), cpus, clock, devices, ..super::config() }
}

/// A clock that goes on by a microsecond each time that someone looks.
#[derive(Default)]
pub(super) struct Ticking(std::sync::atomic::AtomicU64);
impl HostClock for Ticking {
    fn now_ns(&self) -> u64 {
        self.0.fetch_add(1000, std::sync::atomic::Ordering::Relaxed)
    }
}

pub(super) fn card_machine(config: MachineConfig, image: &[u8]) -> (Machine, Log) {
    let log = Log::default();
    let services = HostServices {
        serial: vec![Box::new(log.clone())],
        ..HostServices::new(Arc::new(Ticking::default()))
    };
    let request = BootRequest::new(BootFile { name: "test".into(), bytes: image.to_vec() });
    let plan = boot::load(request, &config.platform()).unwrap();
    let model = Arc::new(CpuModel::parse("max", 1_000_000_000).unwrap());
    (Machine::new(config, model, services, Box::new(plan)).unwrap(), log)
}

/// The order in which requests completed, and how many interrupts came.
fn report(log: &Log) -> (u64, u32) {
    let bytes = log.0.lock().unwrap();
    let (count, order) = bytes.split_at(4);
    (u64::from_le_bytes(order.try_into().unwrap()), u32::from_le_bytes(count.try_into().unwrap()))
}

#[test]
fn a_driver_sees_all_requests_done_with_the_hosts_clock() {
    let images = [driver(all_requests), driver(requests_by_table)];
    for (engine, image) in
        engines().into_iter().flat_map(|engine| images.each_ref().map(|image| (engine, image)))
    {
        for cpus in [1, 4] {
            let (mut machine, log) = card_machine(card_config(engine, cpus, ClockSource::Host), image);
            assert_eq!(machine.run(), ExitReason::DebugExit(1), "{engine}, {cpus} vCPUs");
            let (order, interrupts) = report(&log);
            let mut numbers: Vec<u64> = (0..16).map(|i| order >> (4 * i) & 15).collect();
            numbers.sort_unstable();
            assert_eq!(numbers, (0..16).collect::<Vec<_>>(), "{engine}, {cpus} vCPUs");
            // Requests that complete while the driver looks, with interrupts off, need none.
            assert!((4..=16).contains(&interrupts), "{interrupts} interrupts");
        }
    }
}

/// With counted time the last request begun is the first one done, and two runs are the same.
#[test]
fn a_counted_run_of_the_driver_is_the_same_each_time() {
    for image in [driver(all_requests), driver(requests_by_table)] {
        let mut ends = Vec::new();
        for engine in engines() {
            for _ in 0..2 {
                let (mut machine, log) =
                    card_machine(card_config(engine, 1, ClockSource::Instructions), &image);
                assert_eq!(machine.run(), ExitReason::DebugExit(1), "{engine}");
                assert_eq!(report(&log).0, 0xFEDC_BA98_7654_3210, "{engine}");
                ends.push((machine.instructions(), report(&log)));
            }
        }
        assert!(ends.windows(2).all(|pair| pair[0] == pair[1]), "{ends:?}");
    }
}

/// A vCPU on a thread of its own rings while somebody has the card's lock.
#[test]
fn a_doorbell_waits_for_no_lock() {
    use trimotor_bus::{CpuBus, PhysAddr, Width};
    let image = driver(|a| leave(a, 1));
    let config = card_config(engines()[0], 2, ClockSource::Host);
    let (mut machine, _) = card_machine(config, &image);
    assert_eq!(machine.run(), ExitReason::DebugExit(1));
    let control = machine.control();
    let board = machine.board();
    let card = board.devices.find("demo-card@00:03.0").unwrap();
    let mut bus = crate::vcpu_bus::VcpuBus::beside(board, 0, &control);
    let locked = board.devices.lock(card);
    // The table is all zeros: requests without a byte, which are refused.
    bus.mmio_write(PhysAddr(u64::from(REGISTERS) + 0x58), Width::Dword, 3);
    bus.mmio_write(PhysAddr(u64::from(REGISTERS) + 0x58), Width::Dword, 5);
    drop(locked);
    let status = PhysAddr(u64::from(REGISTERS) + 0x30);
    assert_eq!(bus.mmio_read(status, Width::Dword), 0, "nobody has told the card");
    board.answer_doorbells(&mut crate::clock::TimeSource::Board(&board.clock));
    assert_eq!(bus.mmio_read(status, Width::Dword), 1 << (16 + 3) | 1 << (16 + 5));
}

/// The hostile twin: requests that write over the code that runs, and where no RAM is.
fn over_code(a: &mut CodeAssembler) {
    let (mut target, mut start, mut again, mut new) =
        (a.create_label(), a.create_label(), a.create_label(), a.create_label());
    // The return address is the target's.
    a.call(start).unwrap();
    a.set_label(&mut target).unwrap();
    // mov al, 0; the card makes it mov al, 1.
    a.db(&[0xB0, 0]).unwrap();
    a.ret().unwrap();
    a.set_label(&mut start).unwrap();
    a.pop(ebx).unwrap();
    set(a, 0x10, SOURCE);
    set(a, 0x20, 2);
    a.mov(word_ptr(SOURCE), 0xB001u32).unwrap();
    // ROM, registers of the card itself and of others, nothing at all, the end of the address space.
    for (number, at) in
        [0xFFFF_0000u32, REGISTERS, 0xFEC0_0000, 0xFED0_0000, 0xE000_0000, 0xA_0000, 0xFFFF_FFFF]
            .into_iter()
            .enumerate()
    {
        set(a, 0x18, at);
        set(a, 0x28, number as u32);
    }
    set(a, 0x18, 0xFFFF_FFFF);
    set(a, 0x1C, 0xFFFF_FFFF);
    set(a, 0x28, 8);
    set(a, 0x1C, 0);
    a.mov(dword_ptr(REGISTERS + 0x18), ebx).unwrap();
    set(a, 0x28, 9);
    a.set_label(&mut again).unwrap();
    a.call(target).unwrap();
    a.cmp(al, 1).unwrap();
    a.je(new).unwrap();
    a.jmp(again).unwrap();
    a.set_label(&mut new).unwrap();
    // The identity is what it was.
    a.mov(eax, dword_ptr(REGISTERS)).unwrap();
    a.cmp(eax, 0x6F74_6F72).unwrap();
    let mut wrong = a.create_label();
    a.jne(wrong).unwrap();
    leave(a, 1);
    a.set_label(&mut wrong).unwrap();
    leave(a, 2);
}

#[test]
fn dma_over_running_code_is_seen_and_elsewhere_harmless() {
    let image = driver(over_code);
    for engine in engines() {
        for (cpus, clock) in [(1, ClockSource::Instructions), (1, ClockSource::Host), (4, ClockSource::Host)]
        {
            let (mut machine, _) = card_machine(card_config(engine, cpus, clock), &image);
            assert_eq!(machine.run(), ExitReason::DebugExit(1), "{engine}, {cpus} vCPUs, {clock:?}");
        }
    }
}

/// Saved after so many instructions, sent as bytes, and continued on another engine: the end is that of a run in one
/// piece, wherever the cut is. Most cuts find requests under way.
#[test]
fn a_saved_machine_goes_on_with_its_requests() {
    let image = driver(all_requests);
    let engines = engines();
    let config = |engine| card_config(engine, 1, ClockSource::Instructions);
    let (mut whole, log) = card_machine(config(engines[0]), &image);
    assert_eq!(whole.run(), ExitReason::DebugExit(1));
    let (end, expected) = (whole.instructions(), log.0.lock().unwrap().clone());
    let busy = busy(config(engines[0]), &image);
    assert!(busy.end - busy.start > 20, "{busy:?}");
    let cuts = (0..end).step_by((end / 16) as usize).chain(busy.step_by(7));
    for cut in cuts {
        let from = engines[cut as usize % engines.len()];
        let to = engines[(cut as usize + 1) % engines.len()];
        let (mut first, before) = card_machine(config(from), &image);
        assert_eq!(first.run_until(cut), None);
        let bytes = postcard::to_stdvec(&first.save().unwrap()).unwrap();
        let after = Log::default();
        let mut second = restored(&bytes, to, after.clone()).unwrap();
        assert_eq!(second.run(), ExitReason::DebugExit(1), "{from} to {to} at {cut}");
        let said = [before.0.lock().unwrap().as_slice(), &after.0.lock().unwrap()].concat();
        assert_eq!((second.instructions(), said), (end, expected.clone()), "{from} to {to} at {cut}");
    }
}

/// While so many instructions run, the card has requests under way.
fn busy(config: MachineConfig, image: &[u8]) -> std::ops::Range<u64> {
    let (mut machine, _) = card_machine(config, image);
    let mut idle = |at| {
        assert_eq!(machine.run_until(at), None);
        let card = machine.board().devices.find("demo-card@00:03.0").unwrap();
        machine.board().devices.lock(card).info().starts_with("0 requests")
    };
    let first = (0..).find(|at| !idle(*at)).unwrap();
    first..(first..).find(|at| idle(*at)).unwrap()
}

pub(super) fn restored(bytes: &[u8], engine: Engine, log: Log) -> Result<Machine, MachineError> {
    let services =
        HostServices { serial: vec![Box::new(log)], ..HostServices::new(Arc::new(Ticking::default())) };
    let model = Arc::new(CpuModel::parse("max", 1_000_000_000).unwrap());
    struct NoBoot;
    impl BootSource for NoBoot {
        fn plan(&mut self) -> Result<BootPlan, String> {
            Err("nothing is booted again".into())
        }
    }
    Machine::restored(postcard::from_bytes(bytes).unwrap(), Some(engine), model, services, Box::new(NoBoot))
}

/// A machine with other devices, or pieces that cannot be, is refused by what is wrong with it.
#[test]
fn a_state_that_does_not_fit_is_refused() {
    let image = driver(all_requests);
    let engine = engines()[0];
    let (mut machine, _) = card_machine(card_config(engine, 1, ClockSource::Instructions), &image);
    machine.run_until(1000);
    let state = machine.save().unwrap();
    let check = |change: &dyn Fn(&mut crate::save::MachineStateV1), says: &str| {
        let mut state = state.clone();
        change(&mut state);
        let bytes = postcard::to_stdvec(&state).unwrap();
        let error = restored(&bytes, engine, Log::default()).err().unwrap().to_string();
        assert!(error.contains(says), "{says}: {error}");
    };
    check(&|s| _ = s.config.devices.pop(), "with demo-card@00:03.0");
    check(&|s| s.config.devices.push(DeviceConfig::new("pvpanic")), "without pvpanic");
    check(&|s| s.config.cpus = 2, "1 vCPUs");
    check(&|s| s.config.cpus = 9, "9 processors");
    check(&|s| s.config.memory_bytes = 1 << 20, "RAM");
    check(&|s| s.config.devices[0].kind = "e1001".into(), "no device \"e1001\"");
}
