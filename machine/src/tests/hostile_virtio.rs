//! Guests' drivers that misbehave at virtio devices, one case a machine, on every engine: afterwards the device works for a driver that
//! behaves. The disk's are in `virtio.rs`; more, without a guest, in `devices/src/virtio/tests/`.

use super::cards::{Ticking, configure, leave, multiboot};
use super::chips::engines;
use super::*;
use iced_x86::code_asm::*;
use trimotor_devices::serial::TestCable;

/// Where the driver puts the modern registers, and where the device's configuration and notifications are there.
const REGISTERS: u32 = 0xD000_0000;
const CONFIG: u32 = 0x2000;
const NOTIFY: u32 = 0x3000;
/// The ring of the queue that is used, in three pages; and what its descriptors point to.
const DESC: u32 = 0x20_0000;
const DRIVER: u32 = 0x20_1000;
const DEVICE: u32 = 0x20_2000;
const DATA: u32 = 0x20_4000;
const ANSWER: u32 = 0x20_6000;
const STACK: u32 = 0x20_F000;
/// The registers of the local APIC, and a place in the BIOS's ROM.
const LAPIC: u32 = 0xFEE0_0000;
const ROM: u32 = 0xF_0000;
/// Descriptor flags.
const NEXT: u32 = 1;
const WRITE: u32 = 2;
/// Registers of the common configuration.
const FEATURE_SELECT: u32 = 0x08;
const FEATURES: u32 = 0x0C;
const STATUS: u32 = 0x14;
const QUEUE_SELECT: u32 = 0x16;
const QUEUE_SIZE: u32 = 0x18;
const QUEUE_ENABLE: u32 = 0x1C;
const QUEUE_RESET: u32 = 0x3A;

/// A dword that the driver writes to memory: address, value.
type Store = (u32, u32);
/// A register that it writes: offset, bytes, value.
type Write = (u32, u32, u32);

/// A device, and a request that it does.
#[derive(Clone, Copy)]
struct Subject {
    /// Its name and those of what belongs to it, and options.
    devices: &'static [(&'static str, &'static str, &'static str)],
    /// Features of its own.
    features: u32,
    queue: u32,
    /// What is in memory at [`DATA`].
    data: &'static [u32],
    /// The request's descriptors: address, bytes, flags.
    chain: &'static [(u32, u32, u32)],
    /// A byte at [`ANSWER`] afterwards.
    answer: Option<u8>,
}

const NET: Subject = Subject {
    devices: &[("virtio-net-pci", "mac", "52:54:00:00:00:01")],
    // CSUM, MAC, MRG_RXBUF, CTRL_VQ, CTRL_RX.
    features: 1 | 1 << 5 | 1 << 15 | 1 << 17 | 1 << 18,
    queue: 2,
    // Promiscuous.
    data: &[0x01_00_00],
    chain: &[(DATA, 3, 0), (ANSWER, 1, WRITE)],
    answer: Some(0),
};
const CONSOLE: Subject = Subject {
    devices: &[("virtio-serial-pci", "packed", "off"), ("virtconsole", "chardev", "c")],
    features: 1 << 1,
    queue: 1,
    data: &[0x6C6C_6548],
    chain: &[(DATA, 4, 0)],
    answer: None,
};
const BALLOON: Subject = Subject {
    devices: &[("virtio-balloon-pci", "deflate-on-oom", "on")],
    features: 1 << 1 | 1 << 2,
    queue: 0,
    // The page of the answer.
    data: &[ANSWER >> 12],
    chain: &[(DATA, 4, 0)],
    answer: Some(0),
};
const RNG: Subject = Subject {
    devices: &[("virtio-rng-pci", "packed", "off")],
    features: 0,
    queue: 0,
    data: &[],
    chain: &[(DATA, 16, WRITE)],
    answer: None,
};

/// What becomes of the device.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expected {
    /// It asks for a reset.
    Reset,
    /// It goes on.
    Fine,
    /// One of them: it depends on what is in memory.
    Either,
}
use Expected::{Either, Fine, Reset};

/// What a driver does wrong, after it set up a queue as it should.
struct Case {
    name: &'static str,
    queue: u32,
    stores: Vec<Store>,
    chain: Vec<(u32, u32, u32)>,
    /// Registers that it writes before and after it tells of the queue.
    before: Vec<Write>,
    after: Vec<Write>,
    expected: Expected,
}
fn case(
    name: &'static str,
    queue: u32,
    stores: &[Store],
    chain: &[(u32, u32, u32)],
    expected: Expected,
) -> Case {
    let (stores, chain) = (stores.to_vec(), chain.to_vec());
    Case { name, queue, stores, chain, before: Vec::new(), after: Vec::new(), expected }
}
fn registers(name: &'static str, before: &[Write], after: &[Write]) -> Case {
    let case = case(name, 0, &[], &[(DATA, 16, 0), (DATA + 0x400, 64, WRITE)], Fine);
    Case { before: before.to_vec(), after: after.to_vec(), ..case }
}

fn set(a: &mut CodeAssembler, (register, bytes, value): Write) {
    let at = REGISTERS + register;
    match bytes {
        1 => a.mov(byte_ptr(at), value & 0xFF).unwrap(),
        2 => a.mov(word_ptr(at), value & 0xFFFF).unwrap(),
        _ => a.mov(dword_ptr(at), value).unwrap(),
    }
}
fn store(a: &mut CodeAssembler, stores: &[Store]) {
    stores.iter().for_each(|(address, value)| a.mov(dword_ptr(*address), *value).unwrap());
}
/// Resets the device and sets up a queue of 16 with an empty ring. Leaves with code 9 where the device does not agree.
fn begin(a: &mut CodeAssembler, features: u32, queue: u32) {
    let (mut agreed, mut clear) = (a.create_label(), a.create_label());
    for status in [0, 1, 3] {
        set(a, (STATUS, 1, status));
    }
    // VERSION_1.
    for (select, features) in [(0, features), (1, 1)] {
        set(a, (FEATURE_SELECT, 4, select));
        set(a, (FEATURES, 4, features));
    }
    set(a, (STATUS, 1, 0xB));
    a.test(byte_ptr(REGISTERS + STATUS), 8).unwrap();
    a.jne(agreed).unwrap();
    leave(a, 9);
    a.set_label(&mut agreed).unwrap();
    a.mov(edi, DESC).unwrap();
    a.mov(ecx, 0x3000u32 / 4).unwrap();
    a.set_label(&mut clear).unwrap();
    a.mov(dword_ptr(edi), 0u32).unwrap();
    a.add(edi, 4).unwrap();
    a.loop_(clear).unwrap();
    set(a, (QUEUE_SELECT, 2, queue));
    set(a, (QUEUE_SIZE, 2, 16));
    for (register, address) in [(0x20, DESC), (0x28, DRIVER), (0x30, DEVICE)] {
        set(a, (register, 4, address));
        set(a, (register + 4, 4, 0));
    }
    set(a, (QUEUE_ENABLE, 2, 1));
    set(a, (STATUS, 1, 0xF));
}
/// Offers a chain, the only one of its ring.
fn offer(a: &mut CodeAssembler, chain: &[(u32, u32, u32)]) {
    for (index, (addr, len, flags)) in (0u32..).zip(chain) {
        let more = if index as usize + 1 < chain.len() { NEXT } else { 0 };
        let at = DESC + 16 * index;
        store(a, &[(at, *addr), (at + 4, 0), (at + 8, *len), (at + 12, flags | more | (index + 1) << 16)]);
    }
    store(a, &[(DRIVER + 4, 0), (DRIVER, 1 << 16)]);
}
fn notify(a: &mut CodeAssembler, queue: u32) {
    set(a, (NOTIFY + 4 * queue, 2, queue));
}

/// A driver that misbehaves, and then one that behaves. Leaves with code 1, or 6 where the device asks for a reset and should not, or 7
/// where the answer is another.
fn guest(a: &mut CodeAssembler, subject: &Subject, case: &Case) {
    a.mov(esp, STACK).unwrap();
    for (register, value) in [(0x10, 0xC000), (0x14, 0xD001_0000), (0x20, REGISTERS), (0x24, 0), (0x04, 7)] {
        configure(a, register, value);
    }
    begin(a, subject.features, case.queue);
    offer(a, &case.chain);
    store(a, &case.stores);
    case.before.iter().for_each(|write| set(a, *write));
    notify(a, case.queue);
    case.after.iter().for_each(|write| set(a, *write));
    let mut wait = a.create_label();
    if case.expected == Reset {
        a.set_label(&mut wait).unwrap();
        a.test(byte_ptr(REGISTERS + STATUS), 0x40).unwrap();
        a.je(wait).unwrap();
    } else {
        let mut good = a.create_label();
        a.mov(ecx, 2000u32).unwrap();
        a.set_label(&mut wait).unwrap();
        a.test(byte_ptr(REGISTERS + STATUS), 0x40).unwrap();
        a.je(good).unwrap();
        if case.expected == Fine {
            leave(a, 6);
        }
        a.set_label(&mut good).unwrap();
        a.loop_(wait).unwrap();
    }
    behave(a, subject);
}
fn behave(a: &mut CodeAssembler, subject: &Subject) {
    let (mut wait, mut right) = (a.create_label(), a.create_label());
    begin(a, subject.features, subject.queue);
    for (at, value) in (DATA..).step_by(4).zip(subject.data) {
        store(a, &[(at, *value)]);
    }
    store(a, &[(ANSWER, 0x77)]);
    offer(a, subject.chain);
    notify(a, subject.queue);
    a.set_label(&mut wait).unwrap();
    a.cmp(word_ptr(DEVICE + 2), 1).unwrap();
    a.jne(wait).unwrap();
    if let Some(answer) = subject.answer {
        a.cmp(byte_ptr(ANSWER), u32::from(answer)).unwrap();
        a.je(right).unwrap();
        leave(a, 7);
    }
    a.set_label(&mut right).unwrap();
    leave(a, 1);
}

fn run(engine: Engine, cpus: u8, clock: ClockSource, subject: &Subject, case: &Case) -> ExitReason {
    let image = multiboot(|a| guest(a, subject, case));
    let devices = subject.devices.iter().map(|(kind, name, value)| DeviceConfig::new(kind).with(name, value));
    let config = MachineConfig {
        engine: Some(engine),
        cpus,
        clock,
        devices: [DeviceConfig::new("isa-debug-exit")].into_iter().chain(devices).collect(),
        ..super::config()
    };
    let request = BootRequest::new(BootFile { name: "test".into(), bytes: image });
    let plan = boot::load(request, &config.platform()).unwrap();
    let model = Arc::new(CpuModel::parse("max", 1_000_000_000).unwrap());
    let mut services = HostServices::new(Arc::new(Ticking::default()));
    if subject.devices.iter().any(|(_, name, _)| *name == "chardev") {
        services.chardevs.insert("c".to_owned(), Box::new(TestCable::new(1 << 20)));
    }
    Machine::new(config, model, services, Box::new(plan)).unwrap().run()
}
fn run_all(subject: &Subject, cases: &[Case]) {
    for engine in engines() {
        for (cpus, clock) in [(1, ClockSource::Instructions), (2, ClockSource::Host)] {
            for case in cases {
                let end = run(engine, cpus, clock, subject, case);
                assert_eq!(end, ExitReason::DebugExit(1), "{engine}, {cpus} vCPUs: {}", case.name);
            }
        }
    }
}

/// What is wrong at any queue of any device.
fn at_any(queue: u32) -> Vec<Case> {
    let looped = [(DESC, DATA), (DESC + 8, 16), (DESC + 12, NEXT), (DRIVER + 4, 0), (DRIVER, 1 << 16)];
    let head = [(DRIVER + 4, 16), (DRIVER, 1 << 16)];
    vec![
        case("registers of a processor", queue, &[], &[(LAPIC, 64, 0), (LAPIC, 64, WRITE)], Reset),
        case("writes before reads", queue, &[], &[(DATA, 64, WRITE), (DATA, 64, 0)], Reset),
        case("a loop", queue, &looped, &[], Reset),
        case("a head that is not there", queue, &head, &[], Reset),
    ]
}

#[test]
fn network_cards_live_through_drivers_that_misbehave() {
    // Flags, kind, bytes of headers, of payload, start and offset of the checksum.
    let header = |flags_and_kind: u32, payload: u32, start: u32, offset: u32| {
        [(DATA, flags_and_kind | 0xFFFF << 16), (DATA + 4, payload | start << 16), (DATA + 8, offset)]
    };
    let command = |words: [u32; 2]| [(DATA, words[0]), (DATA + 4, words[1])];
    let whole = [(DATA, 12 + 60, 0)];
    let with_answer = |bytes: u32| [(DATA, bytes, 0), (ANSWER, 1, WRITE)];
    let mut cases = at_any(1);
    cases.extend(at_any(2));
    cases.extend([
        case("a checksum behind the end", 1, &header(1, 0, 0xFFFF, 0xFFFF), &whole, Fine),
        case("pieces of nothing", 1, &header(1 | 1 << 8, 0, 34, 16), &whole, Fine),
        case("all kinds of pieces", 1, &header(0xFFFF, 0xFFFF, 34, 16), &whole, Fine),
        case("half a header", 1, &[], &[(DATA, 5, 0)], Fine),
        case("a frame of gigabytes", 1, &[], &[(DATA, u32::MAX, 0)], Fine),
        case("a frame in the card's own registers", 1, &[], &[(DATA, 12, 0), (REGISTERS, 60, 0)], Reset),
        case("a frame from ROM", 1, &[], &[(DATA, 12, 0), (ROM, 60, 0)], Either),
        case("half a command", 2, &command([0; 2]), &with_answer(1), Fine),
        case("an unknown command", 2, &command([0x77_77, 0]), &with_answer(8), Fine),
        case("millions of addresses", 2, &command([0xFFFF_0001, 0xFFFF]), &with_answer(8), Fine),
        case("a command without an answer", 2, &command([0; 2]), &[(DATA, 3, 0)], Fine),
        case(
            "an answer to the card's own registers",
            2,
            &command([1 << 16, 0]),
            &[(DATA, 3, 0), (REGISTERS, 1, WRITE)],
            Reset,
        ),
        case("a receive buffer in registers", 0, &[], &[(LAPIC, 1500, WRITE)], Fine),
    ]);
    run_all(&NET, &cases);
}

#[test]
fn consoles_live_through_drivers_that_misbehave() {
    let message = |port: u32, event: u32, value: u32| [(DATA, port), (DATA + 4, event | value << 16)];
    let whole = [(DATA, 8, 0)];
    let mut cases = at_any(1);
    cases.extend(at_any(3));
    cases.extend([
        case("a port that is not there", 3, &message(1, 6, 1), &whole, Fine),
        case("port 32", 3, &message(32, 3, 1), &whole, Fine),
        case("the last port number", 3, &message(u32::MAX, 6, 1), &whole, Fine),
        case("an event that there is not", 3, &message(0, 0xFFFF, 0xFFFF), &whole, Fine),
        case("an event of the device's", 3, &message(0, 1, 1), &whole, Fine),
        case("a driver that failed", 3, &message(0, 0, 0), &whole, Fine),
        case("half a message", 3, &message(0, 0, 1), &[(DATA, 4, 0)], Fine),
        case("a message of gigabytes", 3, &message(0, 0, 1), &[(DATA, u32::MAX, 0)], Fine),
        case("a message in the card's own registers", 3, &[], &[(REGISTERS, 8, 0)], Reset),
        case("bytes in ROM", 1, &[], &[(ROM, 64, 0)], Either),
        case("bytes past the end of memory", 1, &[], &[(0x3F_FFF0, 64, 0)], Reset),
    ]);
    run_all(&CONSOLE, &cases);
}

#[test]
fn balloons_live_through_drivers_that_misbehave() {
    let numbers = |first: u32, second: u32| [(DATA, first), (DATA + 4, second)];
    let whole = [(DATA, 8, 0)];
    let mut cases = at_any(0);
    cases.extend(at_any(2));
    cases.extend([
        case("pages below 1 MiB", 0, &numbers(0, 0x9F), &whole, Fine),
        case("pages of the VGA and of ROM", 0, &numbers(0xA0, 0xFF), &whole, Fine),
        case("pages of ROM below 4 GiB", 0, &numbers(0xF_FFFF, 0xF_FFF0), &whole, Fine),
        case("pages of registers", 0, &numbers(LAPIC >> 12, REGISTERS >> 12), &whole, Fine),
        case("pages past the end of memory", 0, &numbers(0x400, u32::MAX), &whole, Fine),
        case("a page twice", 0, &numbers(0x300, 0x300), &whole, Fine),
        case("the pages of the ring itself", 0, &numbers(DESC >> 12, DRIVER >> 12), &whole, Reset),
        case("page numbers in ROM", 0, &[], &[(ROM, 64, 0)], Either),
        case("millions of page numbers", 0, &[], &[(DATA, 0x20_0000, 0)], Reset),
        case("half a page number", 0, &[], &[(DATA, 3, 0)], Fine),
        case("figures of gigabytes", 2, &[], &[(DATA, u32::MAX, 0)], Fine),
        case("half a figure", 2, &[], &[(DATA, 5, 0)], Fine),
        case("figures past the end of memory", 2, &[], &[(0x3F_FFFC, 10, 0)], Reset),
    ]);
    run_all(&BALLOON, &cases);
}

#[test]
fn entropy_devices_live_through_drivers_that_misbehave() {
    let mut cases = at_any(0);
    cases.extend([
        case("a buffer to be read", 0, &[], &[(DATA, 64, 0)], Fine),
        case("a buffer of no byte", 0, &[], &[(DATA, 0, WRITE)], Fine),
        case("a buffer of gigabytes", 0, &[], &[(DATA, u32::MAX, WRITE)], Fine),
        case("a buffer in ROM", 0, &[], &[(ROM, 64, WRITE)], Either),
        case("the card's own registers", 0, &[], &[(REGISTERS, 64, WRITE)], Reset),
        case("a buffer past the end of memory", 0, &[], &[(0x3F_FFF0, 64, WRITE)], Reset),
    ]);
    run_all(&RNG, &cases);
}

#[test]
fn handshakes_in_any_order_leave_a_device_that_works() {
    let sweep = |from: u32| -> Vec<Write> {
        [1, 2, 4].iter().flat_map(|bytes| (0..16).map(move |at| (from + at, *bytes, u32::MAX))).collect()
    };
    let cases = [
        registers("ready at once", &[(STATUS, 1, 0), (STATUS, 1, 4), (STATUS, 1, 0xF)], &[]),
        registers(
            "no features",
            &[(STATUS, 1, 0), (STATUS, 1, 1), (STATUS, 1, 3), (STATUS, 1, 0xB), (STATUS, 1, 0xF)],
            &[],
        ),
        // Where the first kilobytes of memory say what they say.
        Case {
            expected: Either,
            ..registers(
                "a queue that is enabled before it has a size",
                &[
                    (STATUS, 1, 0),
                    (QUEUE_ENABLE, 2, 1),
                    (FEATURE_SELECT, 4, 1),
                    (FEATURES, 4, 1),
                    (STATUS, 1, 0xB),
                    (QUEUE_ENABLE, 2, 1),
                    (QUEUE_SIZE, 2, 3),
                    (STATUS, 1, 0xF),
                ],
                &[],
            )
        },
        registers(
            "features that are not offered",
            &[
                (STATUS, 1, 0),
                (FEATURE_SELECT, 4, 1),
                (FEATURES, 4, u32::MAX),
                (STATUS, 1, 0xB),
                (STATUS, 1, 0xF),
            ],
            &[],
        ),
        registers(
            "features while it is in use",
            &[(FEATURE_SELECT, 4, 0), (FEATURES, 4, u32::MAX), (STATUS, 1, 0xF)],
            &[],
        ),
        registers(
            "a queue of absurd size",
            &[
                (QUEUE_SIZE, 2, 0),
                (QUEUE_SIZE, 2, 0xFFFF),
                (QUEUE_SELECT, 2, 0xFFFF),
                (QUEUE_SIZE, 2, 1),
                (QUEUE_ENABLE, 2, 1),
            ],
            &[],
        ),
        registers(
            "a queue's reset that was not agreed on",
            &[],
            &[(QUEUE_RESET, 2, 1), (QUEUE_RESET, 2, 0xFFFF)],
        ),
        registers("a reset with a request under way", &[], &[(STATUS, 1, 0)]),
        registers("a driver that gives up", &[], &[(STATUS, 1, 0x80), (STATUS, 1, 0)]),
        registers("queues that are not there", &[(NOTIFY + 0xFFC, 2, 0xFFFF), (NOTIFY + 0x100, 4, 7)], &[]),
        registers("the configuration in each width", &sweep(CONFIG), &sweep(CONFIG)),
        registers("notifications in each width", &sweep(NOTIFY), &[]),
        registers("the interrupt status in each width", &sweep(0x1000), &sweep(0x1000)),
    ];
    for subject in [NET, CONSOLE, BALLOON, RNG] {
        run_all(&subject, &cases);
    }
}
