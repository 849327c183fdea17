//! Drivers that misbehave, as those of `hostile.rs` do, at every device.
//!
//! What breaks a ring has the device ask for a reset. What is no request of the device is refused, or lost, and the device goes on. Whatever
//! it was, after a reset the device works.

use super::super::balloon::Balloon;
use super::super::console::Console;
use super::super::net::Net;
use super::super::registers::{common, modern};
use super::super::rng::{MOST_BYTES, Rng};
use super::hostile::RING_MISTAKES;
use super::probe::{DATA, Driver, OWN, Probe, SIZE, for_each_device, frame};
use super::ring::WRITE;
use super::*;
use crate::network::NetworkCard;
use trimotor_bus::Timed;

/// Registers of a device, where no memory is.
const REGISTERS: u64 = 0xFEE0_0000;
/// The end of memory.
const END: u64 = 4 << 20;
/// Descriptors of a chain: address, bytes, flags.
type Descriptors = &'static [(u64, u32, u16)];
/// What is offered in which queue, and whether the device asks for a reset.
type Case = (&'static str, usize, Descriptors, bool);

#[test]
fn each_mistake_in_each_ring_of_each_device_has_it_ask_for_a_reset() {
    fn check<D: Probe>() {
        let queues = Driver::<D>::new().rings.len();
        for queue in 0..queues {
            for (name, mistake) in RING_MISTAKES {
                let mut driver = Driver::<D>::new();
                let what = format!("{} {queue}: {name}", driver.bench.card.device().kind().name);
                mistake(&driver.bench.memory, &mut driver.rings[queue]);
                driver.bench.notify(queue as u64);
                driver.bench.finish_all();
                D::poke(&mut driver);
                assert!(driver.bench.needs_reset(), "{what}");
                assert!(driver.bench.pin(), "{what}: the driver is told by a change of the configuration");
                driver.assert_works_after_reset(&what);
            }
        }
    }
    for_each_device!(check);
}

/// Makes each request at a device of its own.
fn try_all<D: Probe>(bytes: &[u8], cases: &[Case]) {
    for (name, queue, chain, needs_reset) in cases {
        let mut driver = Driver::<D>::new();
        driver.bench.memory.write(PhysAddr(DATA), bytes);
        driver.offer(*queue, chain);
        driver.bench.finish_all();
        D::poke(&mut driver);
        assert_eq!(driver.bench.needs_reset(), *needs_reset, "{name}");
        driver.assert_works_after_reset(name);
    }
}

#[test]
fn frames_that_cannot_be_are_lost() {
    const TCP4: u8 = 1;
    // Flags, kind, bytes of headers, of payload, start and offset of the checksum.
    for (name, header, bytes, sent) in [
        ("checksum behind the end", [1, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF], 60, 0),
        ("checksum half behind the end", [1, 0, 0, 0, 0, 0, 43, 0, 16, 0], 60, 0),
        ("a kind that there is not", [1, 3, 0, 0, 100, 0, 14, 0, 16, 0], 2000, 0),
        ("all bits of the kind", [1, 0xFF, 0, 0, 100, 0, 14, 0, 16, 0], 2000, 0),
        ("pieces of nothing", [1, TCP4, 54, 0, 0, 0, 34, 0, 16, 0], 2000, 0),
        ("pieces without a checksum", [0, TCP4, 54, 0, 100, 0, 34, 0, 16, 0], 2000, 0),
        ("headers longer than the frame", [1, TCP4, 0xFF, 0xFF, 100, 0, 34, 0, 16, 0], 2000, 1),
        ("pieces longer than the frame", [1, TCP4, 54, 0, 0xFF, 0xFF, 34, 0, 16, 0], 2000, 1),
        ("all flags", [0xFF, 0, 0, 0, 0, 0, 34, 0, 16, 0], 60, 1),
        ("a frame of 13 bytes", [0; 10], 13, 0),
        ("a frame of no byte", [0; 10], 0, 0),
        ("a frame longer than IP", [0; 10], 70_000, 0),
    ] {
        let mut driver = Driver::<Net>::new();
        driver.say(1, &[&header[..], &[0; 2], &vec![0; bytes]].concat());
        assert_eq!(driver.ends.take_sent().len(), sent, "{name}");
        assert!(driver.used(1).is_some() && !driver.bench.needs_reset(), "{name}");
        assert!(Net::works(&mut driver), "{name}: the next one is sent");
        driver.assert_works_after_reset(name);
    }
    try_all::<Net>(
        &[0; 64],
        &[
            ("half a header", 1, &[(DATA, 6, 0)], false),
            ("nothing at all", 1, &[(DATA, 0, 0)], false),
            ("a frame to be written", 1, &[(DATA, 80, WRITE)], false),
            ("a header in registers", 1, &[(REGISTERS, 12, 0), (DATA, 60, 0)], true),
            ("a frame in registers", 1, &[(DATA, 12, 0), (REGISTERS, 60, 0)], true),
            ("a frame past the end of memory", 1, &[(END - 40, 80, 0)], true),
            ("a frame of gigabytes", 1, &[(DATA, u32::MAX, 0); 4], false),
        ],
    );
}

#[test]
fn receive_buffers_that_are_none() {
    // Each buffer alone, for a frame of 60 bytes and its header of 12.
    try_all::<Net>(
        &[],
        &[
            ("of no byte", 0, &[(DATA, 0, WRITE)], false),
            ("of a byte", 0, &[(DATA, 1, WRITE)], false),
            ("to be read", 0, &[(DATA, 1500, 0)], false),
            ("in registers", 0, &[(REGISTERS, 1500, WRITE)], true),
            ("in the windows of the VGA", 0, &[(0xA_0000, 1500, WRITE)], true),
            ("past the end of memory", 0, &[(END - 40, 1500, WRITE)], true),
            ("of gigabytes", 0, &[(DATA, u32::MAX, WRITE); 8], false),
        ],
    );
    // A ring full of buffers that have no room together: the frame is lost, and does not wait for ever.
    for bytes in [0, 1, 4] {
        let mut driver = Driver::<Net>::new();
        (0..SIZE).for_each(|_| driver.offer(0, &[(DATA, bytes, WRITE)]));
        assert!(driver.bench.card.has_room() && driver.bench.card.receive(&frame(60), NOW), "{bytes}");
        assert_eq!(driver.used(0), None);
        driver.assert_works_after_reset("small buffers");
    }
    // Small ones go on where others follow them.
    let mut driver = Driver::<Net>::new();
    for bytes in [0, 0, 5] {
        driver.offer(0, &[(DATA, bytes, WRITE)]);
    }
    assert!(driver.bench.card.has_room() && !driver.bench.card.receive(&frame(60), NOW));
    driver.offer(0, &[(DATA + 5, 1500, WRITE)]);
    assert!(driver.bench.card.has_room() && driver.bench.card.receive(&frame(60), NOW));
    let used: Vec<_> = std::iter::from_fn(|| driver.used(0)).map(|(_, bytes)| bytes).collect();
    assert_eq!(used, [0, 0, 5, 67]);
    assert_eq!(driver.bench.bytes(DATA, 72), [&[0; 10][..], &[4, 0], &frame(60).bytes].concat());
}

/// Has the card obey a command: its answer.
fn command(driver: &mut Driver<Net>, bytes: &[u8]) -> u8 {
    driver.bench.memory.write(PhysAddr(DATA), bytes);
    driver.bench.memory.write(PhysAddr(OWN), &[99]);
    driver.offer(2, &[(DATA, bytes.len() as u32, 0), (OWN, 1, WRITE)]);
    assert!(driver.used(2).is_some(), "{bytes:?}");
    driver.bench.bytes(OWN, 1)[0]
}

#[test]
fn commands_of_a_network_card_that_are_none() {
    // Cut off anywhere.
    let addresses = [&[1, 0, 1, 0, 0, 0][..], &[2; 6], &[1, 0, 0, 0], &[3; 6]].concat();
    let offloads = [&[5, 0][..], &[0; 8]].concat();
    let mut driver = Driver::<Net>::new();
    for whole in [&[0, 0, 1][..], &[0, 5, 1], &addresses, &[1, 1, 2, 0, 0, 0, 0, 9], &[2, 0, 5, 0], &offloads]
    {
        for length in 0..whole.len() {
            assert_eq!(command(&mut driver, &whole[..length]), 1, "{whole:?} of {length} bytes");
        }
        assert_eq!(command(&mut driver, whole), 0, "{whole:?}");
    }
    // Absurd.
    for bytes in [
        &[1, 0, 0xFF, 0xFF, 0xFF, 0xFF, 1, 2, 3, 4, 5, 6][..],
        &[&[1, 0, 0, 0, 0, 0][..], &[0xFF; 4]].concat(),
        &[1, 1, 1, 2, 3, 4, 5, 6, 7],
        &[2, 0, 0, 0x10],
        &[2, 1, 0xFF, 0xFF],
        &[4, 0, 1, 0],
        &[4, 1, 0, 0, 0, 0],
        &[&[5, 0][..], &[0xFF; 8]].concat(),
        &vec![1; 100_000],
    ] {
        assert_eq!(command(&mut driver, bytes), 1, "{:?}", &bytes[..4]);
    }
    // Unknown.
    for class in 0..=255 {
        for number in 0..=255 {
            let known = matches!((class, number), (0, 0..=5) | (1, 0 | 1) | (2, 0 | 1) | (3, 0) | (5, 0));
            if !known {
                assert_eq!(command(&mut driver, &[class, number, 0, 0, 0, 0]), 1, "{class} {number}");
            }
        }
    }
    assert!(!driver.bench.needs_reset());
    driver.assert_works_after_reset("commands");
    try_all::<Net>(
        &[0, 0, 1],
        &[
            ("without room for an answer", 2, &[(DATA, 3, 0)], false),
            ("an answer alone", 2, &[(DATA, 1, WRITE)], false),
            ("an answer of gigabytes", 2, &[(DATA, 3, 0), (DATA, u32::MAX, WRITE)], false),
            ("an answer in registers", 2, &[(DATA, 3, 0), (REGISTERS, 1, WRITE)], true),
            ("a command in registers", 2, &[(REGISTERS, 3, 0), (DATA, 1, WRITE)], true),
            ("a command past the end of memory", 2, &[(END - 1, 3, 0), (DATA, 1, WRITE)], true),
        ],
    );
}

#[test]
fn control_messages_of_a_console_that_are_none() {
    let mut driver = Driver::<Console>::new();
    // Room for some of what the device answers, more and less.
    (0..12).for_each(|bytes| driver.offer(2, &[(DATA, bytes, WRITE)]));
    for port in [0, 1, 2, 30, 31, 32, 33, 0x8000_0000, u32::MAX] {
        for event in (0..=12).chain([0xFF, 0x100, 0xFFFF]) {
            for value in [0, 1, 2, 0xFFFF_u16] {
                let message =
                    [port.to_le_bytes().as_slice(), &u16::to_le_bytes(event), &value.to_le_bytes()].concat();
                for length in [8, 7, 4, 1, 0] {
                    driver.say(3, &message[..length]);
                }
                driver.say(3, &[message.as_slice(), &[0xAA; 4096]].concat());
                while driver.used(3).is_some() {}
                while driver.used(2).is_some() {
                    driver.offer(2, &[(DATA, u32::from(value) % 12, WRITE)]);
                }
            }
        }
    }
    assert!(!driver.bench.needs_reset());
    let saved = serde_json::to_string(&trimotor_bus::SaveState::save(&driver.bench.card)).unwrap();
    assert!(saved.len() < 100_000, "{} bytes", saved.len());
    driver.assert_works_after_reset("messages");
    let ready = [0, 0, 0, 0, 0, 0, 1, 0];
    try_all::<Console>(
        &ready,
        &[
            ("a message in registers", 3, &[(REGISTERS, 8, 0)], true),
            ("a message past the end of memory", 3, &[(END - 4, 8, 0)], true),
            ("a message to be written", 3, &[(DATA, 8, WRITE)], false),
            ("a message of gigabytes", 3, &[(DATA, u32::MAX, 0); 4], false),
            ("answers to registers", 2, &[(REGISTERS, 64, WRITE)], true),
            ("answers of no byte", 2, &[(DATA, 0, WRITE)], false),
            ("answers to be read", 2, &[(DATA, 64, 0)], false),
            ("bytes to registers", 0, &[(REGISTERS, 64, WRITE)], true),
            ("bytes to nowhere", 0, &[(DATA, 0, WRITE)], false),
            ("bytes to what is read", 4, &[(DATA, 64, 0)], false),
            ("bytes from registers", 1, &[(REGISTERS, 64, 0)], true),
            ("no bytes", 5, &[(DATA, 0, 0)], false),
            ("bytes in what is written", 5, &[(DATA, 64, WRITE)], false),
        ],
    );
}

#[test]
fn a_console_s_buffer_of_gigabytes_ends_soon() {
    let mut driver = Driver::<Console>::new();
    driver.ends[0].set_room(usize::MAX);
    driver.offer(1, &[(DATA, 1 << 20, 0); SIZE as usize]);
    let first = driver.ends[0].take_output().len();
    assert!((1 << 20..=8 << 20).contains(&first), "{first} bytes at once");
    assert_eq!(driver.used(1), None, "the rest comes in turns");
    driver.assert_works_after_reset("gigabytes");
}

#[test]
fn a_byte_at_once_is_one_byte_whatever_the_width() {
    let mut driver = Driver::<Console>::new();
    for width in [Width::Byte, Width::Word, Width::Dword, Width::Qword] {
        for at in 0..24 {
            driver.bench.set(modern::DEVICE + at, width, u64::from_le_bytes(*b"01234567"));
            // The byte that hits the field at offset 8.
            let hits = (at..at + width.bytes() as u64).contains(&8);
            let expected = if hits { vec![b'0' + (8 - at) as u8] } else { Vec::new() };
            assert_eq!(driver.ends[0].take_output(), expected, "{width:?} at {at}");
        }
    }
    assert_eq!(driver.bench.get(modern::DEVICE + 4, Width::Dword), 2, "ports");
    driver.assert_works_after_reset("widths");
}

fn given_back(driver: &Driver<Balloon>) -> u64 {
    driver.bench.card.device().status().given_back
}

#[test]
fn page_numbers_of_a_balloon_that_are_none() {
    let low: Vec<u8> = (0..=255).collect();
    for (name, numbers, given) in [
        ("below 1 MiB", (0..0x100).collect::<Vec<u32>>(), 0),
        ("windows of the VGA, and ROM", vec![0xA0, 0xBF, 0xC0, 0xF0, 0xFF], 0),
        ("past the end of memory", vec![0x400, 0x401, 0xF_FFFF, 0x10_0000], 0),
        ("where page numbers end", vec![u32::MAX, u32::MAX - 1, u32::MAX], 0),
        ("registers", vec![0xF_EE00, 0xF_EC00], 0),
        ("the same again and again", vec![0x300; 500], 500),
        ("up and down", vec![0x301, 0x300, 0x301, 0x302, 0x301], 5),
        ("on both sides of an end", vec![0xFF, 0x3FE, 0x3FF, 0x400], 2),
    ] {
        let mut driver = Driver::<Balloon>::new();
        driver.bench.memory.write(PhysAddr(0x8_0000), &low);
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        for queue in [1, 0] {
            driver.say(queue, &bytes);
            assert!(driver.used(queue).is_some() && !driver.bench.needs_reset(), "{name}");
        }
        assert_eq!((given_back(&driver), driver.bench.bytes(0x8_0000, 256)), (given, low.clone()), "{name}");
        driver.assert_works_after_reset(name);
    }
    try_all::<Balloon>(
        &0x300u32.to_le_bytes(),
        &[
            ("no number", 0, &[(DATA, 0, 0)], false),
            ("half a number", 0, &[(DATA, 2, 0)], false),
            ("one and a half", 0, &[(DATA, 6, 0)], false),
            ("numbers to be written", 0, &[(DATA, 8, WRITE)], false),
            ("numbers in registers", 0, &[(REGISTERS, 8, 0)], true),
            ("numbers past the end of memory", 0, &[(END - 4, 8, 0)], true),
            ("millions of numbers", 0, &[(DATA, 2 << 20, 0)], true),
            ("numbers in pieces of a byte", 0, &[(DATA, 1, 0), (DATA + 1, 2, 0), (DATA + 3, 1, 0)], false),
            ("numbers that come back from registers", 1, &[(REGISTERS, 8, 0)], false),
        ],
    );
    // A driver that puts its own ring into the balloon finds it empty.
    let mut driver = Driver::<Balloon>::new();
    let ring = (driver.rings[0].desc >> 12) as u32;
    let numbers: Vec<u8> = (ring..ring + 16).flat_map(u32::to_le_bytes).collect();
    driver.say(0, &numbers);
    assert!(driver.bench.needs_reset());
    driver.assert_works_after_reset("its own ring");
}

#[test]
fn figures_hints_and_reports_of_a_balloon_that_are_none() {
    let figure = [&[4, 0][..], &77u64.to_le_bytes()].concat();
    try_all::<Balloon>(
        &figure,
        &[
            ("no figure", 2, &[(DATA, 0, 0)], false),
            ("half a figure", 2, &[(DATA, 9, 0)], false),
            ("figures of gigabytes", 2, &[(DATA, u32::MAX, 0); 8], false),
            ("figures to be written", 2, &[(DATA, 10, WRITE)], false),
            ("figures in registers", 2, &[(REGISTERS, 10, 0)], true),
            ("an answer that nobody asked for", 3, &[(DATA, 4, 0)], false),
            ("half an answer", 3, &[(DATA, 3, 0)], false),
            ("an answer in registers", 3, &[(REGISTERS, 4, 0)], true),
            ("hints before a question", 3, &[(0x30_0000, 0x1000, WRITE)], false),
            ("reports of registers", 4, &[(REGISTERS, 0x1000, WRITE)], false),
            ("reports below 1 MiB", 4, &[(0, 0x10_0000, WRITE)], false),
            ("reports of half a page", 4, &[(0x30_0800, 0xFFF, WRITE)], false),
            ("reports of no byte", 4, &[(0x30_0000, 0, WRITE)], false),
            ("reports to be read", 4, &[(0x30_0000, 0x1000, 0)], false),
            ("reports past the end of memory", 4, &[(END - 0x1000, u32::MAX, WRITE)], false),
            ("reports of all memory, with the rings", 4, &[(0, 4 << 20, WRITE)], true),
        ],
    );
    // Several buffers for figures: one stays, the others come back.
    let mut driver = Driver::<Balloon>::new();
    for buffer in 0..4 {
        driver.say(2, &figure);
        assert_eq!(driver.used(2).is_some(), buffer > 0);
    }
    // Numbers of questions that were not asked.
    Balloon::poke(&mut driver);
    for id in [0, 1, 0x7FFF_FFFF, 0x8000_0001, u32::MAX] {
        driver.say(3, &id.to_le_bytes());
        driver.offer(3, &[(0x30_0000, 0x1000, WRITE)]);
    }
    assert_eq!(given_back(&driver), 0);
    driver.assert_works_after_reset("questions");
}

#[test]
fn a_balloon_s_work_is_bounded_and_others_have_their_turn() {
    // The same pages again and again: no buffer has more pages than there are.
    let mut driver = Driver::<Balloon>::new();
    driver.offer(4, &[(0x30_0000, 0x10_0000, WRITE); 10]);
    assert_eq!(given_back(&driver), END >> 12);
    // Pages that do not follow each other take a call of the host each.
    let numbers: Vec<u8> = (0..32 << 10).flat_map(|n: u32| (0x300 + 2 * (n % 2)).to_le_bytes()).collect();
    driver.bench.memory.write(PhysAddr(DATA), &numbers);
    for _ in 0..2 {
        driver.rings[0].offer_direct(&driver.bench.memory, &[(DATA, numbers.len() as u32, 0)]);
    }
    driver.bench.notify(0);
    assert_eq!([driver.used(0).is_some(), driver.used(0).is_some()], [true, false]);
    let again = driver.bench.card.next_event().expect("the second one comes later");
    driver.bench.card.advance(again);
    assert!(driver.used(0).is_some());
    driver.assert_works_after_reset("much work");
}

#[test]
fn a_balloon_s_configuration_is_written_in_each_width() {
    for width in [Width::Byte, Width::Word, Width::Dword, Width::Qword] {
        for at in 0..24 {
            let mut driver = Driver::<Balloon>::new();
            driver.bench.set(modern::DEVICE + at, width, u64::MAX);
            let is_written =
                |byte: u64| (at..at + width.bytes() as u64).contains(&byte) && matches!(byte, 4..8 | 12..16);
            let expected: Vec<u8> = (0..24).map(|byte| if is_written(byte) { 0xFF } else { 0 }).collect();
            let read: Vec<u8> =
                (0..24).map(|byte| driver.bench.get(modern::DEVICE + byte, Width::Byte) as u8).collect();
            assert_eq!(read, expected, "{width:?} at {at}");
            driver.assert_works_after_reset("widths");
        }
    }
}

#[test]
fn buffers_for_random_bytes_that_are_none() {
    try_all::<Rng>(
        &[],
        &[
            ("of no byte", 0, &[(DATA, 0, WRITE)], false),
            ("to be read", 0, &[(DATA, 64, 0)], false),
            ("in registers", 0, &[(REGISTERS, 64, WRITE)], true),
            ("in the windows of the VGA", 0, &[(0xA_0000, 64, WRITE)], true),
            ("past the end of memory", 0, &[(END - 8, 64, WRITE)], true),
            ("of gigabytes", 0, &[(DATA, u32::MAX, WRITE); 8], false),
        ],
    );
    let mut driver = Driver::<Rng>::new();
    driver.bench.memory.write(PhysAddr(DATA + MOST_BYTES), &[1; 16]);
    driver.offer(0, &[(DATA, u32::MAX, WRITE)]);
    driver.bench.finish_all();
    assert_eq!(driver.used(0), Some((0, MOST_BYTES as u32)));
    assert_eq!(driver.bench.bytes(DATA + MOST_BYTES, 16), [1; 16]);
}

#[test]
fn a_queue_or_the_device_is_reset_while_requests_are_under_way() {
    fn check<D: Probe>() {
        let queues = Driver::<D>::new().rings.len();
        for queue in 0..queues {
            let mut driver = Driver::<D>::new();
            let what = format!("{} {queue}", driver.bench.card.device().kind().name);
            // Something to read and something to write: each device takes what it can use.
            driver.bench.memory.write(PhysAddr(DATA), &[0; 4096]);
            for _ in 0..3 {
                driver.offer(queue, &[(DATA, 16, 0), (DATA + 0x800, 513, WRITE)]);
            }
            D::poke(&mut driver);
            let begun = driver.bench.jobs();
            driver.bench.set(common::QUEUE_SELECT, Width::Word, queue as u64);
            driver.bench.set(common::QUEUE_RESET, Width::Word, 1);
            assert_eq!(driver.bench.get(common::QUEUE_RESET, Width::Word), 0, "{what}");
            assert_eq!(driver.bench.get(common::QUEUE_ENABLE, Width::Word), 0, "{what}");
            driver.bench.finish_all();
            while driver.used(queue).is_some() {}
            // Nothing is looked at there any more, and what was under way comes to nothing.
            driver.bench.notify(queue as u64);
            D::poke(&mut driver);
            driver.bench.finish_all();
            assert_eq!(driver.used(queue), None, "{what}: {begun} requests");
            driver.rings[queue] = driver.bench.queue(queue as u16, SIZE, super::blk::SPLIT);
            assert_eq!(driver.bench.get(common::QUEUE_ENABLE, Width::Word), 1, "{what}");
            assert!(!driver.bench.needs_reset(), "{what}");
            // Once more, and a reset of the whole device.
            driver.offer(queue, &[(DATA, 16, 0), (DATA + 0x800, 513, WRITE)]);
            driver.bench.set(common::STATUS, Width::Byte, 0);
            driver.bench.finish_all();
            driver.assert_works_after_reset(&what);
        }
    }
    for_each_device!(check);
}
