//! A virtio disk as a guest's driver of our own uses it, on every engine: requests in both kinds of rings, one over running code, and
//! rings that no driver may make, one mistake a machine.

use super::cards::{Ticking, configure, leave, multiboot};
use super::chips::engines;
use super::*;
use iced_x86::code_asm::*;
use trimotor_storage::{BlockBackend, MemoryDisk};

/// Where the driver puts the modern registers.
const REGISTERS: u32 = 0xD000_0000;
const NOTIFY: u32 = REGISTERS + 0x3000;
/// The ring, in three pages.
const DESC: u32 = 0x20_0000;
const DRIVER: u32 = 0x20_1000;
const DEVICE: u32 = 0x20_2000;
/// The request: header, data, status; and a table.
const HEADER: u32 = 0x20_4000;
const DATA: u32 = 0x20_5000;
const STATUS: u32 = 0x20_6000;
const TABLE: u32 = 0x20_7000;
const STACK: u32 = 0x20_F000;
/// Descriptor flags.
const NEXT: u32 = 1;
const WRITE: u32 = 2;
const INDIRECT: u32 = 4;

/// A dword that the driver writes: address, value.
type Store = (u32, u32);

fn set8(a: &mut CodeAssembler, register: u32, value: u32) {
    a.mov(byte_ptr(REGISTERS + register), value).unwrap();
}
fn set16(a: &mut CodeAssembler, register: u32, value: u32) {
    a.mov(word_ptr(REGISTERS + register), value).unwrap();
}
fn set32(a: &mut CodeAssembler, register: u32, value: u32) {
    a.mov(dword_ptr(REGISTERS + register), value).unwrap();
}
fn store(a: &mut CodeAssembler, stores: &[Store]) {
    for (address, value) in stores {
        a.mov(dword_ptr(*address), *value).unwrap();
    }
}
/// Places the card and makes it bus master.
fn place(a: &mut CodeAssembler) {
    a.mov(esp, STACK).unwrap();
    configure(a, 0x10, 0xC000);
    configure(a, 0x14, 0xD001_0000);
    configure(a, 0x20, REGISTERS);
    configure(a, 0x24, 0);
    configure(a, 0x04, 7);
}
/// The handshake of virtio 1 and a queue of 16 with an empty ring. Leaves with code 9 where the device does not agree.
fn begin(a: &mut CodeAssembler, packed: bool) {
    let (mut agreed, mut clear) = (a.create_label(), a.create_label());
    set8(a, 0x14, 0);
    set8(a, 0x14, 1);
    set8(a, 0x14, 3);
    // Indirect descriptors, VERSION_1.
    for (select, features) in [(0, 1 << 28), (1, 1 | u32::from(packed) << 2)] {
        set32(a, 0x08, select);
        set32(a, 0x0C, features);
    }
    set8(a, 0x14, 0xB);
    a.test(byte_ptr(REGISTERS + 0x14), 8).unwrap();
    a.jne(agreed).unwrap();
    leave(a, 9);
    a.set_label(&mut agreed).unwrap();
    a.mov(edi, DESC).unwrap();
    a.mov(ecx, 0x3000u32 / 4).unwrap();
    a.set_label(&mut clear).unwrap();
    a.mov(dword_ptr(edi), 0u32).unwrap();
    a.add(edi, 4).unwrap();
    a.loop_(clear).unwrap();
    set16(a, 0x16, 0);
    set16(a, 0x18, 16);
    for (register, address) in [(0x20, DESC), (0x28, DRIVER), (0x30, DEVICE)] {
        set32(a, register, address);
        set32(a, register + 4, 0);
    }
    set16(a, 0x1C, 1);
    set8(a, 0x14, 0xF);
}
/// A descriptor of a split ring, or with `id` of a packed one.
fn descriptor(index: u32, addr: u32, len: u32, third: u32, fourth: u32) -> [Store; 4] {
    let at = DESC + 16 * index;
    [(at, addr), (at + 4, 0), (at + 8, len), (at + 12, third | fourth << 16)]
}
/// A request to read sector 0 to the address in EBX.
fn read_sector(a: &mut CodeAssembler, packed: bool) {
    store(a, &[(HEADER, 0), (HEADER + 4, 0), (HEADER + 8, 0), (HEADER + 12, 0), (STATUS, 0xEE)]);
    let tail = |flags: u32, next: u32| if packed { (7, flags | 1 << 7) } else { (flags, next) };
    for (index, addr, len, flags) in [(2, STATUS, 1, WRITE), (1, 0, 512, NEXT | WRITE), (0, HEADER, 16, NEXT)]
    {
        let (third, fourth) = tail(flags, index + 1);
        store(a, &descriptor(index, addr, len, third, fourth));
        if index == 1 {
            a.mov(dword_ptr(DESC + 16), ebx).unwrap();
        }
    }
    if !packed {
        store(a, &[(DRIVER + 4, 0), (DRIVER, 1 << 16)]);
    }
    a.mov(word_ptr(NOTIFY), 0u32).unwrap();
}
/// Waits until the request was given back; leaves with code 5 where it failed.
fn wait_for_it(a: &mut CodeAssembler, packed: bool) {
    let (mut wait, mut good) = (a.create_label(), a.create_label());
    a.set_label(&mut wait).unwrap();
    if packed {
        // Available and used.
        a.mov(ax, word_ptr(DESC + 14)).unwrap();
        a.and(ax, 0x8080).unwrap();
        a.cmp(ax, 0x8080).unwrap();
    } else {
        a.cmp(word_ptr(DEVICE + 2), 1).unwrap();
    }
    a.jne(wait).unwrap();
    a.cmp(byte_ptr(STATUS), 0).unwrap();
    a.je(good).unwrap();
    leave(a, 5);
    a.set_label(&mut good).unwrap();
}

/// Reads a sector over code that is called again and again, until it says 1.
fn over_code(a: &mut CodeAssembler, packed: bool) {
    let (mut start, mut target, mut again) = (a.create_label(), a.create_label(), a.create_label());
    place(a);
    begin(a, packed);
    // The return address is the target's.
    a.call(start).unwrap();
    a.set_label(&mut target).unwrap();
    a.mov(al, 0u32).unwrap();
    a.ret().unwrap();
    (0..512).for_each(|_| a.nop().unwrap());
    a.set_label(&mut start).unwrap();
    a.pop(ebx).unwrap();
    read_sector(a, packed);
    a.set_label(&mut again).unwrap();
    a.call(target).unwrap();
    a.cmp(al, 1).unwrap();
    a.jne(again).unwrap();
    wait_for_it(a, packed);
    leave(a, 1);
}

/// Makes a mistake, waits until the device asks for a reset, and uses it as it should be used. Leaves with code 1, or 7 where
/// the data is wrong.
fn mistake(a: &mut CodeAssembler, packed: bool, stores: &[Store]) {
    let (mut wait, mut right) = (a.create_label(), a.create_label());
    place(a);
    begin(a, packed);
    store(a, stores);
    a.mov(word_ptr(NOTIFY), 0u32).unwrap();
    a.set_label(&mut wait).unwrap();
    a.test(byte_ptr(REGISTERS + 0x14), 0x40).unwrap();
    a.je(wait).unwrap();
    begin(a, packed);
    a.mov(ebx, DATA).unwrap();
    read_sector(a, packed);
    wait_for_it(a, packed);
    a.cmp(word_ptr(DATA), 0x01B0).unwrap();
    a.je(right).unwrap();
    leave(a, 7);
    a.set_label(&mut right).unwrap();
    leave(a, 1);
}

fn machine(engine: Engine, cpus: u8, clock: ClockSource, image: &[u8]) -> Machine {
    let mut sector = vec![0x90; 512];
    // mov al, 1; ret.
    sector[..3].copy_from_slice(&[0xB0, 1, 0xC3]);
    let disk: Arc<dyn BlockBackend> = Arc::new(MemoryDisk::new(sector));
    let config = MachineConfig {
        engine: Some(engine),
        cpus,
        clock,
        devices: vec![
            DeviceConfig::new("isa-debug-exit"),
            DeviceConfig::new("virtio-blk-pci").with("drive", "disk").with("packed", "on"),
        ],
        drives: vec![DriveConfig::new("disk", DrivePlace::Unattached, Media::Disk)],
        ..super::config()
    };
    let request = BootRequest::new(BootFile { name: "test".into(), bytes: image.to_vec() });
    let plan = boot::load(request, &config.platform()).unwrap();
    let model = Arc::new(CpuModel::parse("max", 1_000_000_000).unwrap());
    let services = HostServices {
        drives: [("disk".to_owned(), disk)].into(),
        ..HostServices::new(Arc::new(Ticking::default()))
    };
    Machine::new(config, model, services, Box::new(plan)).unwrap()
}

#[test]
fn a_driver_reads_over_its_running_code() {
    for packed in [false, true] {
        let image = multiboot(|a| over_code(a, packed));
        for engine in engines() {
            let mut ends = Vec::new();
            for (cpus, clock) in [
                (1, ClockSource::Instructions),
                (1, ClockSource::Instructions),
                (1, ClockSource::Host),
                (4, ClockSource::Host),
            ] {
                let mut machine = machine(engine, cpus, clock, &image);
                let end = machine.run();
                assert_eq!(end, ExitReason::DebugExit(1), "{engine}, {cpus} vCPUs, {clock:?}, {packed}");
                if clock == ClockSource::Instructions {
                    ends.push(machine.instructions());
                }
            }
            assert_eq!(ends[0], ends[1], "{engine}: two runs differ");
        }
    }
}

/// What no driver may do in a split ring: names, and what it writes behind the handshake.
fn split_mistakes() -> Vec<(&'static str, Vec<Store>)> {
    let one = [(DRIVER, 1 << 16)];
    let with = |stores: &[&[Store]]| [stores.concat(), one.to_vec()].concat();
    vec![
        ("a loop", with(&[&descriptor(0, HEADER, 16, NEXT, 0)])),
        ("a head that is not there", with(&[&[(DRIVER + 4, 16)]])),
        ("a next that is not there", with(&[&descriptor(0, HEADER, 16, NEXT, 0xFFFF)])),
        ("an index far ahead", vec![(DRIVER, 0x8000 << 16)]),
        ("no status", with(&[&descriptor(0, HEADER, 16, 0, 0)])),
        (
            "registers of a device",
            with(&[&descriptor(0, 0xFEE0_0000, 16, NEXT, 1), &descriptor(1, STATUS, 1, WRITE, 0)]),
        ),
        (
            "data in registers of the card itself",
            with(&[
                &[(HEADER, 0), (HEADER + 8, 0), (HEADER + 12, 0)],
                &descriptor(0, HEADER, 16, NEXT, 1),
                &descriptor(1, REGISTERS, 512, NEXT | WRITE, 2),
                &descriptor(2, STATUS, 1, WRITE, 0),
            ]),
        ),
        (
            "writes before reads",
            with(&[&descriptor(0, STATUS, 1, WRITE | NEXT, 1), &descriptor(1, HEADER, 16, 0, 0)]),
        ),
        ("a table of half a descriptor", with(&[&descriptor(0, TABLE, 8, INDIRECT, 0)])),
        (
            "a table within a table",
            with(&[
                &[(TABLE, TABLE), (TABLE + 4, 0), (TABLE + 8, 16), (TABLE + 12, INDIRECT)],
                &descriptor(0, TABLE, 16, INDIRECT, 0),
            ]),
        ),
    ]
}

#[test]
fn mistakes_of_drivers_have_the_device_ask_for_a_reset() {
    for engine in engines() {
        for (cpus, clock) in [(1, ClockSource::Instructions), (2, ClockSource::Host)] {
            for (name, stores) in split_mistakes() {
                let image = multiboot(|a| mistake(a, false, &stores));
                let mut machine = machine(engine, cpus, clock, &image);
                assert_eq!(machine.run(), ExitReason::DebugExit(1), "{engine}, {cpus} vCPUs: {name}");
            }
            let all: Vec<Store> =
                (0..16).flat_map(|index| descriptor(index, HEADER, 16, 0, NEXT | 1 << 7)).collect();
            let image = multiboot(|a| mistake(a, true, &all));
            let mut machine = machine(engine, cpus, clock, &image);
            assert_eq!(
                machine.run(),
                ExitReason::DebugExit(1),
                "{engine}, {cpus} vCPUs: a packed chain without end"
            );
        }
    }
}

/// A vCPU on a thread of its own notifies while somebody has the device's lock.
#[test]
fn a_notification_waits_for_no_lock() {
    use trimotor_bus::{CpuBus, PhysAddr, Width};
    let image = multiboot(|a| {
        place(a);
        begin(a, false);
        leave(a, 1);
    });
    let mut machine = machine(engines()[0], 2, ClockSource::Host, &image);
    assert_eq!(machine.run(), ExitReason::DebugExit(1));
    let control = machine.control();
    let board = machine.board();
    let card = board.devices.find("virtio-blk@00:03.0").unwrap();
    let mut bus = crate::vcpu_bus::VcpuBus::beside(board, 0, &control);
    // An index far ahead, which the device finds when it looks.
    board.memory.write(PhysAddr(u64::from(DRIVER) + 2), &[0, 0x80]);
    let locked = board.devices.lock(card);
    bus.mmio_write(PhysAddr(u64::from(NOTIFY)), Width::Word, 0);
    drop(locked);
    let status = PhysAddr(u64::from(REGISTERS) + 0x14);
    assert_eq!(bus.mmio_read(status, Width::Byte), 0xF, "nobody has told the device");
    board.answer_doorbells(&mut crate::clock::TimeSource::Board(&board.clock));
    assert_eq!(bus.mmio_read(status, Width::Byte), 0x4F);
}
